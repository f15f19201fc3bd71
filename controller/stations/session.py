"""One station's connection, from its accepted upgrade to its end: sockets around a StationRelay.

    station's link --> relay --> ways to the owner and to those who observe
    station's link <-- relay <-- ways to the owner and to those who observe

All decisions are the relay's. Here are only the tasks, and they all live in one nursery. Where the relay
wants something saved, all that it wants done after that waits until it is on disk.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
import trio

from controller.backends.backend_link import GOING_AWAY, BackendLink
from controller.backends.pool import BackendPool
from controller.model.effects import (
    BackendLost,
    BackendUp,
    FromBackend,
    LogEntry,
    OwnCall,
    TimePassed,
    ToBackend,
)
from controller.model.journal import JournalError, Persist, Record
from controller.model.observations import Observation
from controller.model.rate_limits import TokenBucket
from controller.ocpp.frames import Version
from controller.overlay.binary_messages import BinaryMessages
from controller.profiles.profile_messages import BackendProfile, ProfilesAbsorbed
from controller.relay.events import (
    Action,
    Close,
    Commandable,
    Event,
    FromObserver,
    FromStation,
    ObservationMade,
    ObserverLost,
    ObserverUp,
    OwnAnswered,
    Redial,
    ToObserver,
    ToStation,
)
from controller.relay.station_relay import StationRelay
from controller.stations.admission import Admission
from controller.stations.connection_stats import ConnectionStats
from controller.transport.channel import Channel, send_pings
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError
from controller.transport.websocket_connection import Pause

log = logging.getLogger("controller.transport")

POLICY_VIOLATION = 1008
"""WebSocket close code (RFC 6455, 7.4.1)."""


class SessionSite(Protocol):
    """What a session tells the load management."""

    def station_up(self, station: str, version: Version) -> None:
        """The station may be sent our limits."""

    def station_down(self, station: str) -> None:
        """The station is gone."""

    def observed(self, station: str, observation: Observation) -> None:
        """The station has told something."""

    def answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        """A limit of ours has its answer; None: no good one, `detail` says why."""

    def kept(self, station: str, version: Version, profiles: Sequence[BackendProfile]) -> None:
        """These profiles are kept for the station's backend now: save them before this returns."""


class SessionJournal(Protocol):
    """What outlives a session, and us."""

    async def save(self, records: Sequence[Record]) -> None:
        """Save the records; they are on disk when it returns. Raises StoreFailed where they are not."""

    def forget(self, station: str) -> None:
        """What the station's machines believe is on disk is not: let the next session read it anew."""


class SessionRules(msgspec.Struct, frozen=True, kw_only=True):
    """How a session treats its links.

    `pace`: how fast the station's messages are read; more of them wait in its socket. `ping_s`: how often
    the station is asked for a sign of life, `backend_ping_s` a backend; 0 is never. `sealed` says which
    binary messages pass between the station and its owner; without it none does. `utc_of` turns s, monotonic,
    into POSIX s.
    """

    utc_of: Callable[[float], float]
    pace: TokenBucket
    ping_s: float
    backend_ping_s: float
    sealed: BinaryMessages | None = None


class StationSession:
    """Runs one connection of one station. `run` returns when all its links are closed.

    Without a `link` the station is not there: what is kept for its backends is delivered, no more.
    """

    def __init__(
        self,
        admitted: Admission,
        relay: StationRelay,
        link: Channel | None,
        site: SessionSite,
        memory: SessionJournal,
        tally: ConnectionStats,
        rules: SessionRules,
    ) -> None:
        self.version = admitted.version
        self._admitted = admitted
        self._station = admitted.station
        self._relay = relay
        self._link = link
        self._site = site
        self._memory = memory
        self._tally = tally
        self._rules = rules
        self._ways: dict[str, BackendLink] = {}
        self._owner = ""
        self._todo: deque[Action] = deque()
        self._doing = False
        self._saving: tuple[Record, ...] = ()
        self._save_wanted = trio.Event()
        self._alarm = DeadlineTimer(lambda: self._relay.deadline)
        self._closing: Close | None = None
        self._close_code: int | None = None
        self._was_commandable = False
        self._has_failed_call = False
        self._closed = trio.Event()

    async def run(self, owner: BackendPool | None, observers: Sequence[BackendPool] = ()) -> None:
        """Serve the station until it is gone or its owner is given up, or until cancelled.

        Without an owner only the observers are told what waits for them.
        """
        if owner is not None:
            self._owner = owner.backend
            self._ways = {owner.backend: self._way(owner, owns=True)}
        self._ways |= {each.backend: self._way(each, owns=False) for each in observers}
        try:
            async with trio.open_nursery() as nursery:
                if self._link is not None:
                    nursery.start_soon(self._read_station, self._link)
                    nursery.start_soon(self._ping_station, self._link)
                for way in self._ways.values():
                    nursery.start_soon(way.run)
                nursery.start_soon(self._keep_time)
                nursery.start_soon(self._keep_saving)
                await self._closed.wait()
                async with trio.open_nursery() as closing:
                    closing.start_soon(self._close_station)
                    for way in self._ways.values():
                        closing.start_soon(way.close, f"station {self._station} is gone")
                nursery.cancel_scope.cancel()
        finally:
            self._end("the controller closes the link")
            with trio.CancelScope(shield=True):
                await self._save_rest()
                await self._close_station()

    def _way(self, pool: BackendPool, *, owns: bool) -> BackendLink:
        return BackendLink(
            pool,
            self._admitted.link_request(),
            self,
            self._alarm,
            self._rules.backend_ping_s,
            is_owner=owns,
            adopted=self._admitted.owner_link if owns else None,
        )

    # -- its backend links: see `LinkUser` ------------------------------------------------------------

    def wants_link(self, backend: str) -> bool:
        """Return True while the relay wants a link to this backend."""
        return self._relay.wants(backend)

    def can_move_link(self, backend: str) -> bool:
        """Return True if no call is open over the link."""
        return self._relay.can_move(backend)

    def on_link_opened(self, backend: str) -> None:
        """Pass the event to the relay."""
        self._feed(BackendUp() if backend == self._owner else ObserverUp(backend))

    def on_link_lost(self, backend: str, reason: str) -> None:
        """Pass the event to the relay."""
        self._feed(BackendLost(reason) if backend == self._owner else ObserverLost(backend, reason))

    def on_station_refused(self, backend: str, reason: str) -> None:
        """Close a connected station that its owner has rejected: it is not served in the owner's place."""
        if backend == self._owner and self.is_present:
            self._end(f"its backend rejected the station: {reason}", POLICY_VIOLATION)

    def on_backend_message(self, backend: str, message: str | bytes) -> None:
        """Pass a message of a backend to the relay; binary messages of the owner to the station."""
        self._tally.from_backends += 1
        if isinstance(message, str):
            is_owner = backend == self._owner
            self._feed(FromBackend(message) if is_owner else FromObserver(backend, message))
        elif backend == self._owner:
            self._pass_down(message)
        else:
            log.warning("binary message ignored backend=%s station=%s", backend, self._station)

    def mark_replaced(self) -> None:
        """Close the connection because a newer one of the same station replaces it."""
        self._end("a newer connection with this station's id has replaced this one", POLICY_VIOLATION)

    @property
    def has_set_limits(self) -> bool:
        """True if the station could be sent limits, and has accepted all that it was sent."""
        return self._was_commandable and not self._has_failed_call

    @property
    def is_open(self) -> bool:
        """False once its links are being closed."""
        return self._relay.is_open

    @property
    def is_present(self) -> bool:
        """Whether the station is there, or only spoken for."""
        return self._link is not None

    def call(self, own: OwnCall) -> None:
        """Let a CALL of the controller stand in line; its end is told to the site."""
        self._feed(own)

    # -- the relay and its actions ------------------------------------------------------------------

    def _feed(self, event: Event) -> None:
        now = trio.current_time()
        self._do(self._relay.handle(event, now, self._rules.utc_of(now)))

    def _end(self, reason: str, code: int | None = None) -> None:
        if code is not None and self._closing is None:
            self._close_code = code
        now = trio.current_time()
        self._do(self._relay.close(reason, now, self._rules.utc_of(now)))

    def _do(self, actions: list[Action]) -> None:
        """Do the actions in order; those that follow from a site's reaction come after, not in between.

        After a Save, all others wait until it is on disk.
        """
        self._todo.extend(actions)
        if self._doing or self._saving:
            return
        self._doing = True
        try:
            while self._todo and not self._saving:
                self._act(self._todo.popleft())
        finally:
            self._doing = False
        self._alarm.update()

    def _act(self, action: Action) -> None:
        match action:
            case ToStation(text):
                self._put_down(text)
            case ToBackend(text):
                self._put_up(text)
            case ToObserver(backend, text):
                self._put(self._ways[backend], text, f"backend {backend} of station {self._station}")
            case Persist(records):
                self._saving = records
                self._save_wanted.set()
            case Redial(backend):
                self._ways[backend].reopen()
            case Close():
                self._close(action)
            case Commandable():
                self._was_commandable = True
                self._site.station_up(self._station, self.version)
            case ObservationMade(observation):
                self._site.observed(self._station, observation)
            case OwnAnswered(token, result, detail):
                self._has_failed_call |= result is None
                self._site.answered(self._station, token, result, detail)
            case ProfilesAbsorbed(profiles):
                self._site.kept(self._station, self.version, profiles)
            case LogEntry(level, text):
                log.log(level, "%s", text)

    def _close(self, closing: Close) -> None:
        self._closing = closing if self._close_code is None else Close(self._close_code, closing.reason)
        self._closed.set()
        if self.is_present:
            self._site.station_down(self._station)

    def _put_down(self, message: str | bytes) -> None:
        self._put(self._link, message, f"station {self._station}")

    def _put_up(self, message: str | bytes) -> None:
        self._put(self._ways[self._owner], message, f"backend of station {self._station}")

    def _put(self, reader: Channel | BackendLink | None, message: str | bytes, name: str) -> None:
        try:
            if reader is not None:
                reader.send_nowait(message)
        except SendQueueFullError as full:
            log.warning("%s does not read: %s, the link is closed", name, full)
            self._end(f"{name} does not read")
        except ConnectionLostError:
            return  # its reader hears of it as well, and tells the relay

    # -- what must be on disk -----------------------------------------------------------------------

    async def _keep_saving(self) -> None:
        while True:
            await self._save_wanted.wait()
            self._save_wanted = trio.Event()
            try:
                with trio.CancelScope(shield=True):  # what is begun is on disk, or told not to be
                    await self._memory.save(self._saving)
            except JournalError as failed:
                log.error("station %s: closed, its messages cannot be kept: %s", self._station, failed)
                self._break_promises()
                self._memory.forget(self._station)
                self._end("the controller cannot keep its messages")
            else:
                self._saving = ()
                self._do([])

    async def _save_rest(self) -> None:
        """Cut short, we answer nothing more; but the next session counts on what this one has taken in."""
        rest = [word for action in self._todo if isinstance(action, Persist) for word in action.records]
        self._saving += tuple(rest)
        if self._saving:
            try:
                await self._memory.save(self._saving)
            except JournalError as failed:
                log.warning("station %s: its last messages are not kept: %s", self._station, failed)
                self._memory.forget(self._station)
        self._break_promises()
        self._do([])

    def _break_promises(self) -> None:
        """What was to be said after a Save that did not happen is not said; the rest is done."""
        if not self._saving:
            return
        self._saving = ()
        promises = (ToStation, ToBackend, ToObserver, Persist)
        self._todo = deque(action for action in self._todo if not isinstance(action, promises))

    # -- the station --------------------------------------------------------------------------------

    async def _read_station(self, link: Channel) -> None:
        try:
            await self._until_heard(0.0)
            await link.read_messages(self._hear_station)
        except ConnectionLostError as lost:
            if self._closing is None:
                level = logging.INFO if lost.is_clean else logging.WARNING
                log.log(level, "station %s is gone: %s", self._station, lost)
            self._end(f"station {self._station} is gone")

    def _hear_station(self, message: str | bytes) -> Pause | None:
        self._tally.from_stations += 1
        if isinstance(message, str):
            self._feed(FromStation(message))
        else:
            self._pass_up(message)
        wait_s = self._rules.pace.take(trio.current_time())
        if wait_s > 0 or not self._relay.accepts_messages:
            return partial(self._until_heard, wait_s)
        return None

    def _pass_up(self, message: bytes) -> None:
        sealed = self._rules.sealed
        if sealed is not None and self._owner and sealed.goes_up(message, trio.current_time()):
            self._put_up(message)
        else:
            log.warning("station %s sent a binary message: ignored", self._station)

    def _pass_down(self, message: bytes) -> None:
        sealed = self._rules.sealed
        if sealed is not None and sealed.goes_down(message, trio.current_time()):
            self._put_down(message)
        else:
            log.warning("the owner of %s sent a binary message: ignored", self._station)

    async def _until_heard(self, wait_s: float) -> None:
        """Wait so long; and until the relay has an ear for the station."""
        if wait_s > 0:
            await trio.sleep(wait_s)
        while not self._relay.accepts_messages:
            await self._alarm.wait_updated()

    async def _close_station(self) -> None:
        if self._link is not None:
            closing = self._closing or Close(GOING_AWAY, "")
            await self._link.close(closing.code, closing.reason)

    async def _ping_station(self, link: Channel) -> None:
        try:
            await send_pings(link, self._rules.ping_s)
        except ConnectionLostError as lost:
            log.warning("station %s is gone: %s", self._station, lost)
            self._end(f"station {self._station} is gone")

    # -- time ---------------------------------------------------------------------------------------

    async def _keep_time(self) -> None:
        while True:
            await self._alarm.wait_due()
            self._feed(TimePassed())
