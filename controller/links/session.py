"""One station's connection, from its accepted upgrade to its end: sockets around a StationRelay.

    station link --reader--> relay --> Outgoing --writer--> backend link
    station link <--writer-- Outgoing <-- relay <--reader-- backend link

All decisions are the relay's. Here are only the tasks, and they all live in one nursery.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Protocol

import trio

from controller.groups import leaves
from controller.links.alarm import Alarm
from controller.links.dial import LinkRefused
from controller.links.engine import CLOSE_S, Link, LinkLost
from controller.links.outgoing import Full, Outgoing
from controller.links.pacing import Bucket
from controller.links.tally import Tally
from controller.ocpp.frames import Version
from controller.ocpp.observations import Observation
from controller.ocpp.profile_messages import Held
from controller.relay.events import (
    Action,
    BackendLost,
    BackendUp,
    Close,
    Commandable,
    Event,
    FromBackend,
    FromStation,
    Kept,
    Note,
    Observed,
    OwnAnswered,
    OwnCall,
    Tick,
    ToBackend,
    ToStation,
)
from controller.relay.station import StationRelay

log = logging.getLogger("controller.links")

GOING_AWAY = 1001
"""WebSocket close code (RFC 6455, 7.4.1)."""

Dial = Callable[[], AbstractAsyncContextManager[Link]]


class Site(Protocol):
    """What a session tells the load management."""

    def station_up(self, station: str, version: Version) -> None:
        """The station may be sent our limits."""

    def station_down(self, station: str) -> None:
        """The station is gone."""

    def observed(self, station: str, observation: Observation) -> None:
        """The station has told something."""

    def answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        """A limit of ours has its answer; None: no good one, `detail` says why."""

    def kept(self, station: str, version: Version, profiles: Sequence[Held]) -> None:
        """These profiles are kept for the station's backend now: save them before this returns."""


class StationSession:
    """Runs one connection of one station. `run` returns when both its links are closed."""

    def __init__(
        self,
        station: str,
        version: Version,
        relay: StationRelay,
        link: Link,
        site: Site,
        tally: Tally,
        ping_s: float,
        pace: Bucket,
    ) -> None:
        """`pace`: how fast the station's messages are read; more of them wait in its socket."""
        self.version = version
        self._station = station
        self._relay = relay
        self._link = link
        self._site = site
        self._tally = tally
        self._ping_s = ping_s
        self._pace = pace
        self._to_station, self._to_backend = Outgoing(), Outgoing()
        self._todo: deque[Action] = deque()
        self._doing = False
        self._alarm = Alarm(lambda: self._relay.deadline)
        self._closing: Close | None = None
        self._closed = trio.Event()
        self._flushed = {"station": trio.Event(), "backend": trio.Event()}

    async def run(self, dial: Dial) -> None:
        """Serve the station until it or its backend is gone, or until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read_station)
                nursery.start_soon(self._write_station)
                nursery.start_soon(self._serve_backend, dial)
                nursery.start_soon(self._keep_time)
                nursery.start_soon(self._ping_station)
                await self._closed.wait()
                with trio.move_on_after(CLOSE_S):
                    for flushed in self._flushed.values():
                        await flushed.wait()
                nursery.cancel_scope.cancel()
        finally:
            self._end("the controller closes the link")
            with trio.CancelScope(shield=True):
                closing = self._closing or Close(GOING_AWAY, "")
                await self._link.close(closing.code, closing.reason)

    @property
    def is_open(self) -> bool:
        """False once its links are being closed."""
        return self._relay.is_open

    def call(self, own: OwnCall) -> None:
        """Let a CALL of the controller stand in line; its end is told to the site."""
        self._feed(own)

    # -- the relay and its actions ------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        self._do(self._relay.handle(event, trio.current_time()))

    def _end(self, reason: str) -> None:
        self._do(self._relay.close(reason))

    def _do(self, actions: list[Action]) -> None:
        """Do the actions in order; those that follow from a site's reaction come after, not in between."""
        self._todo.extend(actions)
        if self._doing:
            return
        self._doing = True
        try:
            while self._todo:
                self._act(self._todo.popleft())
        finally:
            self._doing = False
        self._alarm.stir()

    def _act(self, action: Action) -> None:
        match action:
            case ToStation(text):
                self._put(self._to_station, text, f"station {self._station}")
            case ToBackend(text):
                self._put(self._to_backend, text, f"backend of station {self._station}")
            case Close():
                self._closing = action
                self._to_station.close()
                self._to_backend.close()
                self._closed.set()
                self._site.station_down(self._station)
            case Commandable():
                self._site.station_up(self._station, self.version)
            case Observed(observation):
                self._site.observed(self._station, observation)
            case OwnAnswered(token, result, detail):
                self._site.answered(self._station, token, result, detail)
            case Kept(profiles):
                self._site.kept(self._station, self.version, profiles)
            case Note(level, text):
                log.log(level, "%s", text)

    def _put(self, outgoing: Outgoing, text: str, reader: str) -> None:
        try:
            outgoing.put(text)
        except Full as full:
            log.warning("%s does not read: %s, the link is closed", reader, full)
            self._end(f"{reader} does not read")
        except trio.ClosedResourceError:
            return  # an answer that came after the end: its sender's link is gone as well

    # -- tasks --------------------------------------------------------------------------------------

    async def _read_station(self) -> None:
        try:
            while True:
                while not self._relay.hears_station:
                    await self._alarm.stirred()
                message = await self._link.receive()
                await trio.sleep(self._pace.take(trio.current_time()))
                self._tally.from_stations += 1
                if isinstance(message, str):
                    self._feed(FromStation(message))
                else:
                    log.warning("station %s sent a binary message: ignored", self._station)
        except LinkLost as lost:
            if self._closing is None:
                level = logging.INFO if lost.clean else logging.WARNING
                log.log(level, "station %s is gone: %s", self._station, lost)
            self._end(f"station {self._station} is gone")

    async def _write_station(self) -> None:
        try:
            async for text in self._to_station:
                await self._link.send(text)
        except LinkLost:
            self._end(f"station {self._station} is gone")
        self._flushed["station"].set()

    async def _serve_backend(self, dial: Dial) -> None:
        try:
            async with dial() as link, trio.open_nursery() as nursery:
                self._feed(BackendUp())
                nursery.start_soon(self._write_backend, link)
                nursery.start_soon(self._ping_backend, link)
                await self._read_backend(link)
                nursery.cancel_scope.cancel()
        except* (LinkLost, LinkRefused) as lost:
            self._feed(BackendLost("; ".join(sorted({str(each) for each in leaves(lost)}))))
        self._flushed["backend"].set()

    async def _read_backend(self, link: Link) -> None:
        while True:
            message = await link.receive()
            self._tally.from_backends += 1
            if isinstance(message, str):
                self._feed(FromBackend(message))
            else:
                log.warning("backend of station %s sent a binary message: ignored", self._station)

    async def _write_backend(self, link: Link) -> None:
        async for text in self._to_backend:
            await link.send(text)
        await link.close(GOING_AWAY, f"station {self._station} is gone")
        self._flushed["backend"].set()

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.ring()
            self._feed(Tick())

    async def _ping_station(self) -> None:
        try:
            await self._ping(self._link)
        except LinkLost as lost:
            log.warning("station %s is gone: %s", self._station, lost)
            self._end(f"station {self._station} is gone")

    async def _ping_backend(self, link: Link) -> None:
        await self._ping(link)

    async def _ping(self, link: Link) -> None:
        """Ask for a sign of life every `ping_s`: many stations and routers drop a silent link after 60 s."""
        while self._ping_s > 0:
            await trio.sleep(self._ping_s)
            await link.ping(2 * self._ping_s)
