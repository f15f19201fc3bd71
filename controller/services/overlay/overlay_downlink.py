"""Link in overlay mode from a station or a child controller, with nodes behind it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import msgspec
import trio

from controller.backends.backend_link import GOING_AWAY
from controller.model.rate_limits import TokenBucket
from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import Message
from controller.overlay.overlay_wire import CSMS, NetworkingMode
from controller.services.overlay.overlay_links import LinkCarrier, OverlayLinks
from controller.stations.admission import Admission
from controller.transport.channel import Channel, Pause, VirtualChannel, send_pings
from controller.transport.transport_errors import ConnectionLostError

ServeSession = Callable[[Admission, Channel], Awaitable[None]]

SESSION_PRIORITY, DOWNLINK_PRIORITY = 0, 1
"""Priorities: a station's own session, then the link to what is behind it, then links to backends."""


class OverlayDownlink:
    """Serves one station in overlay mode.

    `messages_per_second`: rate allowed to it; more of them wait in its socket. `ping_s`: interval of pings.
    """

    def __init__(
        self,
        links: OverlayLinks,
        admission: Admission,
        channel: Channel,
        messages_per_second: float,
        ping_s: float,
    ) -> None:
        self._links = links
        self._admission = admission
        self._channel = channel
        self._pace = TokenBucket(messages_per_second, burst=max(1, int(messages_per_second)))
        self._ping_s = ping_s

    async def serve(self, serve_session: ServeSession) -> None:
        """Serve until the link or the session ends.

        `serve_session` runs the session of the station itself, over a virtual channel: for the node it is
        the station's own backend. Messages of nodes behind the station are routed.
        """
        station = self._admission.station
        link = LinkState(
            link=station,
            peer=station,
            mode=NetworkingMode.OVERLAY,
            side=LinkSide.DOWN,
            priority=DOWNLINK_PRIORITY,
            version=self._admission.version,
        )
        session = LinkState(
            link=f"session of {station}",
            peer=CSMS,
            mode=NetworkingMode.STANDARD,
            side=LinkSide.UP,
            priority=SESSION_PRIORITY,
            serves=station,
            only=station,
        )
        itself = msgspec.structs.replace(self._admission, mode=NetworkingMode.STANDARD)
        try:
            with self._links.open_channel(session) as own:
                carrier = LinkCarrier(self._channel.send_nowait, own.end)
                with self._links.use_link(link, carrier):
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(self._read, own)
                        nursery.start_soon(self._send_pings, own)
                        await serve_session(itself, own)
                        nursery.cancel_scope.cancel()
        finally:
            await self._channel.close(GOING_AWAY, "")

    async def _read(self, own: VirtualChannel) -> None:
        """Read messages at the rate that is allowed."""
        station = self._admission.station

        def receive(message: Message) -> Pause | None:
            return self._links.receive(station, message, self._pace.take(trio.current_time()))

        try:
            await self._channel.read_messages(receive)
        except ConnectionLostError as lost:
            own.end(str(lost))

    async def _send_pings(self, own: VirtualChannel) -> None:
        try:
            await send_pings(self._channel, self._ping_s)
        except ConnectionLostError as lost:
            own.end(str(lost))
