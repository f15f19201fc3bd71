"""mDNS announcement of the EEBUS node, and discovery of its partners, by the `zeroconf` library.

The library runs in threads of its own. It is started, changed and stopped in worker threads; what it finds
is handed to trio's thread as `Found`. Without a usable network it is tried again: fixed partners are dialed
all the same.
"""

from __future__ import annotations

import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import ifaddr
import msgspec
import trio
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from controller.services.eebus_connections import Target
from drivers.eebus.announcement import SERVICE_TYPE, Announcement, read_txt
from drivers.eebus.array_json import EebusError

log = logging.getLogger("controller.eebus")

RETRY_S = 60.0
LOOKUP_MS = 3000
MOST_FOUND = 256


class Found(msgspec.Struct, frozen=True):
    """Partner that was found on the network."""

    announcement: Announcement
    target: Target


class EebusDiscovery:
    """Announcement and browser. `found`: the partners on the network, by SKI."""

    def __init__(
        self, announcement: Announcement, port: Callable[[], int], changed: Callable[[], None]
    ) -> None:
        self.found: dict[str, Found] = {}
        self._announcement = announcement
        self._port = port
        self._changed = changed
        self._update = trio.Event()

    def announce(self, announcement: Announcement) -> None:
        """Announce something else from now on."""
        self._announcement = announcement
        self._update.set()

    async def run(self) -> None:
        """Announce and browse until cancelled."""
        while True:
            try:
                await self._run_once()
            except (OSError, ZeroconfError) as error:
                log.warning(
                    "mDNS failed reason=%s; is there a network? partners with a host are dialed all the same",
                    error or type(error).__name__,
                )
            await trio.sleep(RETRY_S)

    async def _run_once(self) -> None:
        token = trio.lowlevel.current_trio_token()
        zeroconf = await trio.to_thread.run_sync(Zeroconf)
        try:
            info = _service_info(self._announcement, self._port())
            await trio.to_thread.run_sync(zeroconf.register_service, info)

            def on_change(*, zeroconf: Zeroconf, service_type: str, name: str, state_change: object) -> None:
                """Look the partner up, in a thread of the library."""
                partner = None
                if state_change is not ServiceStateChange.Removed:
                    partner = _look_up(zeroconf, service_type, name)
                with suppress(trio.RunFinishedError):
                    token.run_sync_soon(self._take, name, partner)

            browser = ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[on_change])
            try:
                while True:
                    await self._update.wait()
                    self._update = trio.Event()
                    info = _service_info(self._announcement, self._port())
                    await trio.to_thread.run_sync(zeroconf.update_service, info)
            finally:
                with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                    await trio.to_thread.run_sync(browser.cancel)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + 5):
                await trio.to_thread.run_sync(zeroconf.close)

    def _take(self, name: str, partner: Found | None) -> None:
        """Take over what was found, in trio's thread; None: the name is gone, or its entry is invalid."""
        known = [ski for ski, each in self.found.items() if _service_name(each.announcement) == name]
        if partner is None:
            for ski in known:
                del self.found[ski]
        elif partner.announcement.ski != self._announcement.ski and len(self.found) < MOST_FOUND:
            self.found[partner.announcement.ski] = partner
        self._changed()


def _look_up(zeroconf: Zeroconf, service_type: str, name: str) -> Found | None:
    info = zeroconf.get_service_info(service_type, name, LOOKUP_MS)
    if info is None or not info.port:
        return None
    addresses = info.parsed_scoped_addresses()
    txt = {
        key.decode("utf-8", "replace"): (value or b"").decode("utf-8", "replace")
        for key, value in info.properties.items()
        if isinstance(key, bytes)
    }
    try:
        announcement = read_txt(txt)
    except EebusError as error:
        log.debug("mDNS entry ignored name=%s reason=%s", name, error)
        return None
    if not addresses:
        return None
    return Found(announcement, Target(addresses[0], info.port, announcement.path))


def _service_name(announcement: Announcement) -> str:
    return f"{announcement.ship_id}.{SERVICE_TYPE}"


def _service_info(announcement: Announcement, port: int) -> ServiceInfo:
    return ServiceInfo(
        SERVICE_TYPE,
        _service_name(announcement),
        port=port,
        properties=announcement.txt(),
        server=f"{announcement.ski}.local.",
        addresses=_own_addresses(),
    )


def _own_addresses() -> list[bytes]:
    """Return the IPv4 addresses of this machine, loopback alone if there is no other."""
    addresses = [
        address.ip
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
        if isinstance(address.ip, str)
    ]
    outside = [each for each in addresses if not each.startswith("127.")]
    return [socket.inet_aton(each) for each in outside or addresses]
