"""One station's connection, from its accepted upgrade to its end: channels around a StationRelay.

    station's channel --> relay --> links to the owner and the observers
    station's channel <-- relay <-- links to the owner and the observers

All decisions are the relay's; this module runs the tasks, all in one nursery, and carries out the relay's
actions in order. Actions that follow a Persist wait until its records are durable. Load management is called
behind the messages of the same batch, in order too: they do not wait for it.
"""

from __future__ import annotations

import itertools
import logging
import math
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

import msgspec
import trio

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
from controller.ocpp.frames import decode_binary
from controller.overlay.binary_messages import BinaryEffect, BinaryMessages, ForwardBinary
from controller.relay.events import (
    Action,
    Close,
    Commandable,
    Event,
    FromObserver,
    FromStation,
    LocalAnswer,
    LocalCall,
    ObservationMade,
    ObserverLost,
    ObserverUp,
    OwnAnswered,
    PasswordCommand,
    Redial,
    StopRequested,
    ToObserver,
    ToStation,
)
from controller.relay.station_relay import StationRelay
from controller.stations.session_host import SessionHost
from controller.stations.session_links import SessionLinks
from controller.transport.channel import Channel, Pause
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.poller import call_after_sends
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller.transport")

GOING_AWAY = 1001
POLICY_VIOLATION = 1008
SERVICE_RESTART = 1012
"""WebSocket close codes (RFC 6455, 7.4.1, and the registry of IANA)."""

CLOCK_CHECK_S = 1.0
"""The wall clock is compared with the monotonic one so often: reading it costs more than a message."""

REMOVED = "the station was removed from the configuration"
"""Reason of the close frame to a station that the controller does not serve any more."""

RENEWED = "the configuration of the station has changed: connect again"
"""Reason of the close frame to a station whose next session is served with other backends or rules."""

SILENT_PINGS = 3
"""Ping intervals without any data after which a connection is lost."""


FIRST_REQUEST_TOKEN = 1 << 62
"""Token of the first CALL of `StationSession.request`; load management counts its own from 0."""

_request_tokens = itertools.count(FIRST_REQUEST_TOKEN)


class RequestResult(msgspec.Struct, frozen=True):
    """Result of a CALL to a station: a JSON object; None: it failed, for the reason `detail`."""

    result: bytes | None
    detail: str = ""


class _Receiver(Protocol):
    """A channel of the station, or a link to a backend."""

    def send_nowait(self, message: str | bytes) -> None:
        """Send a message, or queue it."""


class _PendingRequest:
    """A CALL of `StationSession.request` that waits for its result."""

    def __init__(self) -> None:
        self.answer = RequestResult(None)
        self.ended = trio.Event()


class SessionRules(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one session.

    `pace` returns the wait (s) after a message read at a time (s, monotonic); more wait in the socket.
    `ping_s`: interval of pings to the station, `backend_ping_s` to backends; 0 for never. `binary_messages`
    decides which binary messages pass between the station and its owner; None: none does. `utc_of` converts
    monotonic s to POSIX s. `on_password_command` takes a station and the owner's command that may set its
    password, with its result; `on_local_call` takes the CALLs that the controller answers with
    `StationSession.answer_local_call`.
    """

    utc_of: Callable[[float], float]
    pace: Callable[[float], float]
    ping_s: float
    backend_ping_s: float
    binary_messages: BinaryMessages | None = None
    on_password_command: Callable[[str, str, bytes, bytes], object] = lambda *_: None
    on_local_call: Callable[[StationSession, LocalCall], object] | None = None


class StationSession:
    """Runs one connection of one station; `run` returns when all its channels are closed.

    Without a channel (`link` None) the station is absent: what waits for its backends is delivered, no more.
    """

    __slots__ = (
        "_actions",
        "_backend_pings",
        "_clock",
        "_clock_checked_at",
        "_close_code",
        "_close_reason",
        "_closed",
        "_closing",
        "_event_at",
        "_has_failed_call",
        "_is_acting",
        "_journal",
        "_link",
        "_links",
        "_reading",
        "_recent",
        "_relay",
        "_requests",
        "_rules",
        "_scope",
        "_site",
        "_station",
        "_station_pings",
        "_stats",
        "_timer",
        "_uncommitted",
        "_utc_offset_s",
        "_was_commandable",
        "version",
    )

    def __init__(
        self,
        relay: StationRelay,
        link: Channel | None,
        links: SessionLinks,
        host: SessionHost,
        rules: SessionRules,
    ) -> None:
        self.version = links.admitted.version
        self._station = links.admitted.station
        self._relay = relay
        self._link = link
        self._links = links
        self._site = host.site
        self._journal = host.journal
        self._stats = host.stats
        self._recent = host.stats.recent_messages(self._station)
        self._rules = rules
        self._actions: list[Action | BinaryEffect] = []  # an empty deque takes 600 bytes
        self._clock = trio.lowlevel.current_clock()
        self._utc_offset_s = 0.0
        self._clock_checked_at = -math.inf
        self._event_at = -math.inf
        """Time at which the newest message was read (s, monotonic): the clock is read once for each."""
        self._is_acting = False
        self._uncommitted: tuple[Record, ...] = ()
        self._requests: dict[int, _PendingRequest] = {}
        self._station_pings = _Interval(rules.ping_s if link is not None else 0.0)
        self._backend_pings = _Interval(rules.backend_ping_s)
        self._timer = DeadlineTimer(self._deadline)
        self._closing: Close | None = None
        self._close_code: int | None = None
        self._close_reason: str | None = None
        self._was_commandable = False
        self._has_failed_call = False
        self._closed: trio.Event | None = None
        """Event to be set when `_closing` is; None while no task waits for it."""
        self._reading = trio.CancelScope()
        self._scope: trio.CancelScope | None = None
        """Scope of all tasks of `run`."""

    async def run(self) -> None:
        """Serve the station until it is disconnected or its owner is lost, or until cancelled."""
        try:
            async with trio.open_nursery() as nursery:
                self._scope = nursery.cancel_scope
                self._links.start(nursery, self, self._timer)
                nursery.start_soon(self._run_timer)
                if self._link is not None:
                    with self._reading:  # in this task: each costs memory per station
                        await self._read_station(self._link)
                await self._wait_closing()
                async with trio.open_nursery() as closing:
                    closing.start_soon(self._close_station)
                    self._links.start_closing(closing, f"station {self._station} is disconnected")
                nursery.cancel_scope.cancel()
        finally:
            self._end("the controller closes the link")
            with trio.CancelScope(shield=True):
                await self._commit_rest()
                await self._close_station()

    async def _wait_closing(self) -> None:
        await trio.lowlevel.checkpoint()
        while self._closing is None:
            self._closed = trio.Event()
            await self._closed.wait()

    # -- its backend links: see `LinkUser` ------------------------------------------------------------

    def needs_link(self, backend: str) -> bool:
        """Return True while the relay needs a link to this backend."""
        return self._relay.needs_link(backend)

    def can_move_link(self, backend: str) -> bool:
        """Return True if no call is open over the link."""
        return self._relay.can_move(backend)

    def is_link_idle(self, backend: str) -> bool:
        """Return True if no call is open over the link, in either direction."""
        return self._relay.is_link_idle(backend)

    def on_link_opened(self, backend: str) -> None:
        """Pass the event to the relay."""
        self._pass_event(BackendUp() if backend == self._links.owner else ObserverUp(backend))

    def on_link_lost(self, backend: str, reason: str) -> None:
        """Pass the event to the relay."""
        self._pass_event(
            BackendLost(reason) if backend == self._links.owner else ObserverLost(backend, reason)
        )

    def on_station_refused(self, backend: str, reason: str) -> None:
        """Close a connected station that its owner has rejected: it is not served in the owner's place."""
        if backend == self._links.owner and self.is_present:
            self._end(f"its backend rejected the station: {reason}", POLICY_VIOLATION)

    def on_backend_message(self, backend: str, message: str | bytes) -> None:
        """Pass a message of a backend to the relay; binary messages of the owner to the station."""
        self._stats.from_backends += 1
        text = message if isinstance(message, str) else decode_binary(message)
        if backend == self._links.owner:
            if text is not None:
                self._on_owner_text(text)
            elif isinstance(message, bytes):
                self._pass_binary_down(message)
        elif text is not None:
            self._pass_event(FromObserver(backend, text))
        else:
            log.warning("binary message ignored backend=%s station=%s", backend, self._station)

    def stop(self) -> None:
        """Accept nothing new, and end once the answers that are out have arrived."""
        self._pass_event(StopRequested())

    def cancel(self) -> None:
        """End `run` at once, without waiting for answers."""
        if self._scope is not None:
            self._scope.cancel()

    def mark_replaced(self) -> None:
        """Close the connection because a newer one of the same station replaces it."""
        self._end("a newer connection with this station's id has replaced this one", POLICY_VIOLATION)

    def reconnect(self) -> None:
        """Close the connection because a person has requested a new one."""
        self._end("a person has requested a new connection", SERVICE_RESTART)

    def remove(self) -> None:
        """Accept nothing new, and close as `stop` does: the station was removed from the configuration."""
        self._close_code, self._close_reason = POLICY_VIOLATION, REMOVED
        self.stop()

    def renew(self) -> None:
        """Accept nothing new, and close as `stop` does: the next session has other backends or rules."""
        self._close_code, self._close_reason = SERVICE_RESTART, RENEWED
        self.stop()

    def end_now(self) -> None:
        """Close a session that is to be removed or renewed at once, without the answers that are out."""
        self._end(self._close_reason or "", self._close_code)

    @property
    def has_set_limits(self) -> bool:
        """True if the station could be sent limits, and has accepted all that it was sent."""
        return self._was_commandable and not self._has_failed_call

    @property
    def station(self) -> str:
        """Id of the station."""
        return self._station

    @property
    def is_commandable(self) -> bool:
        """True once the station accepts CALLs of the controller."""
        return self._was_commandable

    @property
    def is_open(self) -> bool:
        """False once its links are being closed."""
        return self._relay.is_open

    @property
    def is_present(self) -> bool:
        """True if the station is connected; False if only deliveries are made for it."""
        return self._link is not None

    def call(self, own: OwnCall) -> None:
        """Queue a CALL of the controller; its result goes to the load management."""
        self._pass_event(own)

    async def request(self, action: str, payload: bytes) -> RequestResult:
        """Send the station a CALL and wait for its result, its time limit or the end of the session."""
        token, pending = next(_request_tokens), _PendingRequest()
        self._requests[token] = pending
        try:
            self._pass_event(OwnCall(token, str(uuid.uuid4()), action, payload))
            await pending.ended.wait()
        finally:
            del self._requests[token]
        return pending.answer

    def answer_local_call(self, call_id: str, result: bytes | None) -> None:
        """Answer a CALL of the station that the controller handles; None: with an error."""
        self._pass_event(LocalAnswer(call_id, result))

    # -- the relay and its actions ------------------------------------------------------------------

    def _read_clock(self) -> float:
        """Return the time (s, monotonic) of the event that is handled now."""
        self._event_at = now = self._clock.current_time()
        if now >= self._clock_checked_at + CLOCK_CHECK_S:
            self._utc_offset_s, self._clock_checked_at = self._rules.utc_of(now) - now, now
        return now

    def _pass_event(self, event: Event) -> None:
        now = self._read_clock()
        self._do_actions(self._relay.handle(event, now, now + self._utc_offset_s))

    def _on_station_text(self, text: str) -> None:
        now = self._read_clock()
        utc = now + self._utc_offset_s
        self._recent.add_message(utc, text, is_from_station=True)
        if self._actions or self._uncommitted:
            self._do_actions(self._relay.handle(FromStation(text), now, utc))
        elif (actions := self._relay.on_station_text(text, now, utc)) is not None:
            self._do_actions(actions)
        else:
            # It passes: nothing follows from that, and the relay's deadline is that of the event.
            self._send(self._links.owner_link, text, self._links.owner)
            self._timer.update(self._relay.next_deadline)

    def _on_owner_text(self, text: str) -> None:
        if self._actions or self._uncommitted:
            self._pass_event(FromBackend(text))
            return
        now = self._read_clock()
        actions = self._relay.on_backend_text(text, now, now + self._utc_offset_s)
        if actions is not None:
            self._do_actions(actions)
        else:
            self._send_to_station(text)
            self._timer.update(self._relay.next_deadline)

    def _end(self, reason: str, code: int | None = None) -> None:
        if code is not None and self._closing is None:
            self._close_code = code
        now = trio.current_time()
        self._do_actions(self._relay.close(reason, now, self._rules.utc_of(now)))

    def _do_actions(self, actions: Sequence[Action | BinaryEffect]) -> None:
        """Carry out actions in order; those that follow from them are appended, not run in between.

        After a Persist, all others wait until its records are durable.
        """
        self._actions.extend(actions)
        if self._is_acting or self._uncommitted:
            return
        self._is_acting = True
        try:
            while self._actions and not self._uncommitted:
                self._do_action(self._actions.pop(0))
        finally:
            self._is_acting = False
        self._timer.update()

    def _do_action(self, action: Action | BinaryEffect) -> None:
        match action:
            case ToStation(text):
                self._send_to_station(text)
            case ToBackend(text):
                self._send(self._links.owner_link, text, self._links.owner)
            case ToObserver(backend, text):
                self._send(self._links.find(backend), text, backend)
            case ForwardBinary(message, is_up=True):
                self._send(self._links.owner_link, message, self._links.owner)
            case ForwardBinary(message):
                self._send(self._link, message)
            case Persist(records):
                self._uncommitted = records
            case Redial(backend):
                self._links.find(backend).reopen()
            case Close():
                self._close(action)
            case Commandable():
                self._was_commandable = True
                call_after_sends(partial(self._site.on_station_up, self._station, self.version))
            case ObservationMade(observation):
                call_after_sends(partial(self._site.on_observation, self._station, observation))
            case OwnAnswered(token, result, detail) if token >= FIRST_REQUEST_TOKEN:
                if token in self._requests:
                    self._requests[token].answer = RequestResult(result, detail)
                    self._requests[token].ended.set()
            case LocalCall() if self._rules.on_local_call is not None:
                self._rules.on_local_call(self, action)
            case OwnAnswered(token, result, detail):
                self._has_failed_call |= result is None
                call_after_sends(partial(self._site.on_call_answered, self._station, token, result, detail))
            case PasswordCommand(name, payload, result):
                self._rules.on_password_command(self._station, name, payload, result)
            case LogEntry(level, text):
                log.log(level, "%s", text)
                self._stats.count_entry(action, trio.current_time())

    def _close(self, closing: Close) -> None:
        code, reason = self._close_code, self._close_reason
        self._closing = Close(
            closing.code if code is None else code, closing.reason if reason is None else reason
        )
        if self._closed is not None:
            self._closed.set()
        self._reading.cancel()
        if self.is_present:
            call_after_sends(partial(self._site.on_station_down, self._station))

    def _send_to_station(self, text: str) -> None:
        if self._link is not None:
            self._recent.add_message(self._event_at + self._utc_offset_s, text, is_from_station=False)
            self._send(self._link, text)

    def _send(self, receiver: _Receiver | None, message: str | bytes, backend: str = "") -> None:
        """Send to the station, or to a backend, without waiting; a full queue ends the session."""
        try:
            if receiver is not None:
                receiver.send_nowait(message)
        except SendQueueFullError as full:
            name = f"backend {backend} of station {self._station}" if backend else f"station {self._station}"
            log.warning("peer does not read, its connection is closed peer=%s reason=%s", name, full)
            self._end(f"{name} does not read")
        except ConnectionLostError:
            return  # the reading task raises it as well, and reports it

    # -- durable records ------------------------------------------------------------------------------

    async def _commit(self) -> None:
        """Commit the records that the relay's further actions wait for."""
        try:
            with trio.CancelScope(shield=True):  # a commit that has begun ends with a known result
                await self._journal.save(self._uncommitted)
        except JournalError as failed:
            log.error(
                "session closed, its messages cannot be stored station=%s reason=%s", self._station, failed
            )
            self._drop_dependent_actions()
            self._journal.drop_station(self._station)
            self._end("the controller cannot store its messages")
        else:
            self._uncommitted = ()
            self._do_actions([])

    async def _commit_rest(self) -> None:
        """Commit what is left at the end: the next session relies on what this one has received."""
        rest = [each for action in self._actions if isinstance(action, Persist) for each in action.records]
        self._uncommitted += tuple(rest)
        if self._uncommitted:
            try:
                await self._journal.save(self._uncommitted)
            except JournalError as failed:
                log.warning("last messages not stored station=%s reason=%s", self._station, failed)
                self._journal.drop_station(self._station)
        self._drop_dependent_actions()
        self._do_actions([])

    def _drop_dependent_actions(self) -> None:
        """Drop the messages that were to be sent after a commit that did not happen; keep the rest."""
        if not self._uncommitted:
            return
        self._uncommitted = ()
        dependent = (ToStation, ToBackend, ToObserver, ForwardBinary, Persist)
        self._actions = [action for action in self._actions if not isinstance(action, dependent)]

    # -- the station --------------------------------------------------------------------------------

    async def _read_station(self, link: Channel) -> None:
        try:
            await self._wait_accepting(0.0)
            await link.read_messages(self._on_station_message)
        except ConnectionLostError as lost:
            if self._closing is None:
                level = logging.INFO if lost.is_clean else logging.WARNING
                log.log(level, "station disconnected station=%s reason=%s", self._station, lost)
            self._end(f"station {self._station} is disconnected")

    def _on_station_message(self, message: str | bytes) -> Pause | None:
        self._stats.from_stations += 1
        text = message if isinstance(message, str) else decode_binary(message)
        if text is not None:
            self._on_station_text(text)
        elif isinstance(message, bytes):
            self._event_at = trio.current_time()
            self._pass_binary_up(message)
        wait_s = self._rules.pace(self._event_at)
        if wait_s > 0 or not self._relay.accepts_messages:
            return partial(self._wait_accepting, wait_s)
        return None

    def _pass_binary_up(self, message: bytes) -> None:
        if self._rules.binary_messages is not None and self._links.owner:
            self._do_actions(self._rules.binary_messages.check_from_station(message, trio.current_time()))
        else:
            log.warning("binary message ignored station=%s", self._station)

    def _pass_binary_down(self, message: bytes) -> None:
        if self._rules.binary_messages is not None:
            self._do_actions(self._rules.binary_messages.check_from_owner(message, trio.current_time()))
        else:
            log.warning("binary message ignored backend=%s station=%s", self._links.owner, self._station)

    async def _wait_accepting(self, wait_s: float) -> None:
        """Wait `wait_s`, and until the relay accepts messages of the station."""
        if wait_s > 0:
            await trio.sleep(wait_s)
        while not self._relay.accepts_messages:
            await self._timer.wait_updated()

    async def _close_station(self) -> None:
        if self._link is not None:
            closing = self._closing or Close(GOING_AWAY, "")
            await self._link.close(closing.code, closing.reason)

    # -- time -----------------------------------------------------------------------------------------

    def _deadline(self) -> float | None:
        """Return the next time for the timer's task: a commit is due at once."""
        if self._uncommitted:
            return -math.inf
        first = self._relay.deadline
        for ping_at in (self._station_pings.due_at, self._backend_pings.due_at):
            if ping_at is not None and (first is None or ping_at < first):
                first = ping_at
        return first

    async def _run_timer(self) -> None:
        """Commit records, send pings and pass time to the relay: one task for all of a session."""
        while True:
            await self._timer.wait_due()
            if self._uncommitted:
                await self._commit()
                continue
            now = trio.current_time()
            if self._link is not None and self._station_pings.is_due(now):
                self._link.keep_alive(SILENT_PINGS * self._rules.ping_s)
            if self._backend_pings.is_due(now):
                self._links.keep_alive(SILENT_PINGS * self._rules.backend_ping_s)
            deadline = self._relay.deadline
            if deadline is not None and deadline <= now:
                self._pass_event(TimePassed())


class _Interval:
    """A time that comes again every `interval_s`; never for 0."""

    __slots__ = ("_interval_s", "due_at")

    def __init__(self, interval_s: float) -> None:
        self._interval_s = interval_s
        self.due_at = trio.current_time() + interval_s if interval_s > 0 else None

    def is_due(self, now: float) -> bool:
        """Return True once per interval."""
        if self.due_at is None or now < self.due_at:
            return False
        self.due_at = now + self._interval_s
        return True
