"""mDNS announcement of the EEBUS node, and discovery of its partners, by the `zeroconf` library.

The library runs in threads of its own. It is started, changed and stopped in worker threads; what it finds
is handed to trio's thread as `Found`. Without a usable network it is tried again: fixed partners are dialed
all the same.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
from collections.abc import Callable
from contextlib import suppress

import ifaddr
import msgspec
import trio
from zeroconf import Error as ZeroconfError
from zeroconf import ServiceBrowser, ServiceInfo, ServiceStateChange, Zeroconf

from controller.services.eebus.eebus_connections import Target
from controller.transport.transport_errors import describe_error
from drivers.eebus.announcement import SERVICE_TYPE, Announcement, read_txt
from drivers.eebus.array_json import EebusError

log = logging.getLogger("controller.eebus")

RETRY_S = 60.0
ADDRESSES_S = 60.0
"""Interval (s) of checks of the addresses of this machine."""
CLOSE_S = 5.0
LOOKUP_MS = 3000
MOST_FOUND = 256


class Found(msgspec.Struct, frozen=True):
    """Partner that was found on the network."""

    announcement: Announcement
    target: Target


class EebusDiscovery:
    """Announcement and browser. `found`: the partners on the network, by SKI; `host`: where we listen."""

    def __init__(
        self, announcement: Announcement, host: str, port: Callable[[], int], changed: Callable[[], None]
    ) -> None:
        self.found: dict[str, Found] = {}
        self._names: dict[str, str] = {}
        """SKI of each service name that was found."""
        self._announcement = announcement
        self._host = host
        self._port = port
        self._changed = changed
        self._updated = trio.Event()

    def announce(self, announcement: Announcement) -> None:
        """Announce something else from now on."""
        self._announcement = announcement
        self._updated.set()

    async def run(self) -> None:
        """Announce and browse until cancelled; begin again after a failure or with other addresses."""
        while True:
            addresses = own_addresses(self._host)
            try:
                await self._run_once(addresses)
            except (OSError, ZeroconfError) as error:
                log.warning(
                    "mDNS failed reason=%s; is there a network? partners with a host are dialed all the same",
                    describe_error(error),
                )
                await trio.sleep(RETRY_S)
            except Exception:  # an exception of the library ends discovery alone
                log.exception("mDNS failed")
                await trio.sleep(RETRY_S)

    async def _run_once(self, addresses: list[str]) -> None:
        """Announce and browse until the addresses of this machine are others."""
        token = trio.lowlevel.current_trio_token()

        def on_change(*, zeroconf: Zeroconf, service_type: str, name: str, state_change: object) -> None:
            """Look the partner up, in a thread of the library, and hand it to trio's."""
            removed = state_change is ServiceStateChange.Removed
            partner = None if removed else _look_up(zeroconf, service_type, name)
            with suppress(trio.RunFinishedError):
                token.run_sync_soon(self.on_found, name, partner)

        zeroconf = await trio.to_thread.run_sync(Zeroconf)
        browser: ServiceBrowser | None = None

        def close() -> None:
            """Withdraw the announcement and end the threads of the library."""
            if browser is not None:
                browser.cancel()
            zeroconf.close()

        try:
            info = service_info(self._announcement, self._port(), addresses)
            await trio.to_thread.run_sync(zeroconf.register_service, info)
            browser = ServiceBrowser(zeroconf, SERVICE_TYPE, handlers=[on_change])
            log.info("mDNS announcement sent addresses=%s", ",".join(addresses))
            while own_addresses(self._host) == addresses:
                with trio.move_on_after(ADDRESSES_S):
                    await self._updated.wait()
                    self._updated = trio.Event()
                    info = service_info(self._announcement, self._port(), addresses)
                    await trio.to_thread.run_sync(zeroconf.update_service, info)
        finally:
            with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                await trio.to_thread.run_sync(close, abandon_on_cancel=True)

    def on_found(self, name: str, partner: Found | None) -> None:
        """Take over a partner in trio's thread; None: its name is gone, or its entry is invalid."""
        known = self._names.pop(name, None)
        if known is not None:
            self.found.pop(known, None)
        is_other = partner is not None and partner.announcement.ski != self._announcement.ski
        if partner is not None and is_other and len(self.found) < MOST_FOUND:
            self._names[name] = partner.announcement.ski
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


def service_info(announcement: Announcement, port: int, addresses: list[str]) -> ServiceInfo:
    """Return the service as the library announces it."""
    return ServiceInfo(
        SERVICE_TYPE,
        f"{announcement.ship_id}.{SERVICE_TYPE}",
        port=port,
        properties=announcement.txt(),
        server=f"{announcement.ski}.local.",
        addresses=[socket.inet_aton(each) for each in addresses],
    )


def own_addresses(host: str) -> list[str]:
    """Return the IPv4 addresses of this machine that a listener at `host` has.

    Those of a listener at all addresses are without loopback, unless there is no other.
    """
    with suppress(ValueError):
        if not (address := ipaddress.IPv4Address(host)).is_unspecified:
            return [str(address)]
    addresses = [
        address.ip
        for adapter in ifaddr.get_adapters()
        for address in adapter.ips
        if isinstance(address.ip, str)
    ]
    outside = [each for each in addresses if not each.startswith("127.")]
    return sorted(outside or addresses)
