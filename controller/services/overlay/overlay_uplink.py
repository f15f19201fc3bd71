"""Link in overlay mode to one backend, which carries the messages of all stations that use it."""

from __future__ import annotations

import logging
from functools import partial

import trio

from controller.backends.pool import BackendPool, LinkRequest
from controller.config import BackendConfig
from controller.model.exception_groups import leaves
from controller.ocpp.frames import Version
from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_wire import NetworkingMode
from controller.services.overlay.overlay_links import LinkCarrier, OverlayLinks
from controller.transport.channel import send_pings
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError

log = logging.getLogger("controller.overlay")

UPLINK_PRIORITY = 2
"""Priority of links to backends: after channels and links to children."""

FAULT_WAIT_S = 10.0
"""Time from the end of a link by an error of our own to the next one (s)."""


class OverlayUplink:
    """Keeps the link to a backend open. `own`: our id on it, in the OCPP version `protocol` of the site."""

    def __init__(
        self,
        links: OverlayLinks,
        pool: BackendPool,
        settings: BackendConfig,
        own: str,
        protocol: Version,
        ping_s: float,
    ) -> None:
        self._links = links
        self._pool = pool
        self.settings = settings
        self.is_retired = False
        """True: once the link ends, it is not opened again."""
        self._lost_reason = ""
        """Reason of the last failure since the link was open: a warning is logged for each once."""
        self._scope = trio.CancelScope()
        self._ping_s = ping_s
        self._request = LinkRequest(own, tuple(version.value for version in offered_versions(protocol)))

    def end(self) -> None:
        """Close the link for good."""
        self._scope.cancel()

    async def run(self) -> None:
        """Dial again and again, and pass on what is received, until cancelled or ended."""
        with self._scope:
            await self._run()

    async def _run(self) -> None:
        while not self.is_retired:
            try:
                await self._serve()
            except* (ConnectionLostError, DialError) as lost:
                reason = "; ".join(sorted({str(each) for each in leaves(lost)}))
                level = logging.DEBUG if reason == self._lost_reason else logging.WARNING
                log.log(level, "overlay link lost backend=%s reason=%s", self._pool.backend, reason)
                self._lost_reason = reason
            except* Exception as error:  # of one frame: the site goes on
                log.exception(
                    "overlay link closed by an internal error backend=%s", self._pool.backend, exc_info=error
                )
                await trio.sleep(FAULT_WAIT_S)
            await self._pool.wait_ready(self._request)

    async def _serve(self) -> None:
        """Serve one link until it ends."""
        backend = self._pool.backend
        async with (
            self._pool.hold_link(self._request, is_owner=True) as opened,
            trio.open_nursery() as nursery,
        ):
            state = LinkState(
                link=backend,
                peer=self.settings.node,
                mode=NetworkingMode.OVERLAY,
                side=LinkSide.UP,
                priority=UPLINK_PRIORITY,
                version=Version(opened.version),
            )
            carrier = LinkCarrier(opened.channel.send_nowait, partial(_cancel, nursery.cancel_scope))
            self._lost_reason = ""
            with self._links.use_link(state, carrier):
                nursery.start_soon(send_pings, opened.channel, self._ping_s)
                await opened.channel.read_messages(partial(self._links.receive, backend))


def offered_versions(protocol: Version) -> tuple[Version, ...]:
    """Return the versions that an overlay link offers: as WWCP nodes do, unless the site uses OCPP 1.6."""
    return (Version.V16,) if protocol is Version.V16 else (Version.V21, Version.V201)


def _cancel(scope: trio.CancelScope, reason: str) -> None:
    log.warning("overlay link ended reason=%s", reason)
    scope.cancel()
