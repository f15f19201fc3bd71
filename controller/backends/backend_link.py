"""The way from one station to one of its backends: one link after the other, for as long as one is wanted."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress

import trio

from controller.backends.pool import BackendPool
from controller.model.effects import BackendLost, BackendUp, FromBackend
from controller.model.exception_groups import leaves
from controller.relay.events import Event, FromObserver, ObserverLost, ObserverUp
from controller.relay.station_relay import StationRelay
from controller.stations.admission import Admission
from controller.stations.connection_stats import ConnectionStats
from controller.transport.channel import Channel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError
from controller.transport.websocket_connection import ConnectionLostError

log = logging.getLogger("controller.transport")

GOING_AWAY = 1001
"""WebSocket close code (RFC 6455, 7.4.1)."""


class BackendLink:
    """`feed` takes what happens to the station's relay; `owns`: the backend is the station's owner.

    `pass_binary` takes what the owner says in binary, which the relay does not read.

    What is put while there is no link is dropped: the relay puts nothing then but answers that nobody
    waits for any more.
    """

    def __init__(
        self,
        uplinks: BackendPool,
        admitted: Admission,
        relay: StationRelay,
        feed: Callable[[Event], None],
        pass_binary: Callable[[bytes], None],
        alarm: DeadlineTimer,
        tally: ConnectionStats,
        ping_s: float,
        *,
        owns: bool,
    ) -> None:
        self._link: Channel | None = None
        self._uplink = ""
        self._uplinks = uplinks
        self._backend = uplinks.backend
        self._admitted = admitted
        self._station = admitted.station
        self._relay = relay
        self._feed = feed
        self._pass_binary = pass_binary
        self._alarm = alarm
        self._tally = tally
        self._ping_s = ping_s
        self._owns = owns
        self._scope = trio.CancelScope()

    async def run(self) -> None:
        """Make links until the relay wants no more."""
        while self._relay.wants(self._backend):
            reasons = {"it is made anew"}
            self._scope = trio.CancelScope()
            try:
                with self._scope:
                    await self._serve()
            except* (ConnectionLostError, DialError) as lost:
                reasons = {str(each) for each in leaves(lost)}
            finally:
                self._link = None
            self._feed(self._lost("; ".join(sorted(reasons))))
            if self._relay.wants(self._backend):
                await self._uplinks.ready(self._station)

    def put(self, message: str | bytes) -> None:
        """Send a message, or let it wait for the backend. Raises Full."""
        if self._link is not None:
            with suppress(ConnectionLostError):  # its reader hears of it as well, and tells the relay
                self._link.put(message)

    def redial(self) -> None:
        """The backend does not answer over this link: give it up, and make another."""
        self._uplinks.unanswered(self._station, self._uplink)
        self._scope.cancel()

    async def finish(self, reason: str) -> None:
        """Send what waits, and close the link if there is one."""
        if self._link is not None:
            await self._link.close(GOING_AWAY, reason)

    async def _serve(self) -> None:
        """One link, from its dial to its end."""
        async with (
            self._uplinks.open(self._admitted, owner=self._owns) as (link, uplink),
            trio.open_nursery() as nursery,
        ):
            self._link, self._uplink = link, uplink
            self._feed(BackendUp() if self._owns else ObserverUp(self._backend))
            nursery.start_soon(keep_pinging, link, self._ping_s)
            nursery.start_soon(self._move_up, uplink)
            await link.listen(self._hear)

    def _hear(self, message: str | bytes) -> None:
        self._tally.from_backends += 1
        if isinstance(message, str):
            self._feed(FromBackend(message) if self._owns else FromObserver(self._backend, message))
        elif self._owns:
            self._pass_binary(message)
        else:
            log.warning("backend %s of %s sent a binary message: ignored", self._backend, self._station)

    async def _move_up(self, uplink: str) -> None:
        """Leave for a better uplink when it is there, and nothing is under way that would have to wait."""
        await self._uplinks.outdone(self._station, uplink)
        while not self._relay.can_move(self._backend):
            await self._alarm.stirred()
        log.info("backend %s: the link of station %s moves to a better uplink", self._backend, self._station)
        self._scope.cancel()

    def _lost(self, reason: str) -> Event:
        return BackendLost(reason) if self._owns else ObserverLost(self._backend, reason)


async def keep_pinging(link: Channel, ping_s: float) -> None:
    """Ask for a sign of life every `ping_s`: many stations and routers drop a silent link after 60 s."""
    while ping_s > 0:
        await trio.sleep(ping_s)
        await link.ping(2 * ping_s)
