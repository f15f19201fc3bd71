"""The way from a station to its owner, and what is done while the owner is away.

    DIALLING   the station is there, the owner not yet: CALLs wait in line
    UP         both are there
    WAITING    the owner is gone, `grace`: CALLs wait for it to come back
    AWAY       the owner is gone, `autonomous`: CALLs are answered in its stead, what counts is kept
    LOST       the owner is gone for good, `strict` or after the grace: the station is to be closed

OCPP 2.x Part 4, 6.3 asks for `strict`; 1.6 leaves it open; so each station declares it.

A CALL that its owner never answers is answered by us with an error, but for transaction messages: an
error would count as an attempt and the station would drop them after a few (1.6: TransactionMessageAttempts).
There the owner counts as lost. With `autonomous` it counts as lost whatever it does not answer.
"""

from __future__ import annotations

import enum
import logging
from collections import deque
from collections.abc import Callable

import msgspec

from controller.model.deadlines import earliest
from controller.model.effects import LogEntry, OwnCall, ToBackend
from controller.model.journal import Persist, Record
from controller.ocpp.frames import Answer, Call, CallResult, Send, call, call_error, call_result
from controller.ocpp.payloads import is_accepted
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.relay.call_queue import LINE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, ObservationMade, Redial, ToStation

TRANSACTION_MESSAGES = {"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"}


_OWN = 0
"""The token of what we say ourselves: nobody waits for the answer."""


class OwnerMode(enum.Enum):
    """See the module."""

    DIALLING = "dialling"
    UP = "up"
    WAITING = "waiting"
    AWAY = "away"
    LOST = "lost"


class CallSettled(msgspec.Struct, frozen=True):
    """A CALL of the station has its first good answer: it hears it now, or when it asks again."""

    frame: Call
    result: bytes


class ServedOffline(msgspec.Struct, frozen=True):
    """An answer of our own to a CALL of the station with this action."""

    action: str
    text: str


class Unanswerable(msgspec.Struct, frozen=True):
    """The station has said what must not be lost and cannot be kept: close it, and it keeps that itself."""

    reason: str


class CommandsAllowed(msgspec.Struct, frozen=True):
    """The station has been accepted: it may be commanded."""


Outcome = Action | CallSettled | ServedOffline | CommandsAllowed | Unanswerable | OwnCall


class Upstream:
    """The state machine of one connected station's way up. Times are s, monotonic.

    `grace_s`: how long the owner may be away before the station is closed. With a `stead` it is served
    meanwhile instead, for as long as that takes. `seal` gives the text of a CALL as it leaves the line.
    """

    def __init__(
        self,
        station: str,
        owner: str,
        observer: StationStateTracker,
        call_timeout_s: float,
        grace_s: float = 0.0,
        stead: OfflineHandler | None = None,
        seal: Callable[[PendingCall, float], str] = lambda call, _now: call.text,
    ) -> None:
        self.mode = OwnerMode.DIALLING
        self._station = station
        self._owner = owner
        self._observer = observer
        self._line = CallQueue(LINE_DEPTH, call_timeout_s)
        self._grace_s = grace_s
        self._stead = stead
        self._seal = seal
        self._patience_until: float | None = None
        self._sends: deque[Send] = deque()

    @property
    def deadline(self) -> float | None:
        """When a tick is wanted."""
        stead = self._stead.deadline if self._stead is not None and self.mode is OwnerMode.UP else None
        return earliest(self._line.deadline, self._patience_until, stead)

    @property
    def hears(self) -> bool:
        """False while the line is full: leave the station's further messages in the socket."""
        return not self._line.full

    @property
    def has_own(self) -> bool:
        """Whether a CALL of our own waits or is outstanding."""
        return self._line.has_own

    @property
    def can_move(self) -> bool:
        """Whether the link may be closed and made anew: nothing is under way, and the station may stay."""
        stays = self._stead is not None or self._grace_s > 0
        return stays and not self._line.has_any

    @property
    def is_idle(self) -> bool:
        """Whether nothing waits for the owner: no CALL, and nothing that is kept for it."""
        return not self._line.has_any and (self._stead is None or not self._stead.has_backlog)

    def has(self, action: str) -> bool:
        """Whether such a CALL of the station waits or is outstanding."""
        return self._line.has(action)

    def awaits(self, message_id: str) -> bool:
        """Whether a CALL of the station with this id has no answer yet."""
        return self._line.awaits(message_id)

    def asked(self, message_id: str) -> str | None:
        """What the owner was asked that an answer with this id would be for."""
        return self._line.asked(message_id)

    # -- the station speaks ---------------------------------------------------------------------------

    def take(self, frame: Call, now: float) -> list[Outcome]:
        """A CALL of the station: into the line, or answered in the owner's stead."""
        if self._line.holds(frame.text):
            what = f"{frame.action} {frame.id} before its answer: sent on once"
            return [LogEntry(logging.INFO, f"station {self._station} repeats {what}")]
        if self._stead is None:
            self._line.put(PendingCall(frame.id, frame.action, frame.text, frame.payload))
            return []
        if self.mode is OwnerMode.AWAY:
            return self._serve(frame.id, frame.action, frame.payload, None, now)
        journal = self._stead.record_call(frame, now)
        if journal.serve:
            return self._serve(frame.id, frame.action, frame.payload, None, now)
        self._line.put(
            PendingCall(frame.id, frame.action, journal.text, frame.payload, number=journal.number)
        )
        return [*_saved(journal.records), *_noted(journal.notes)]

    def take_send(self, frame: Send) -> list[Outcome]:
        """A SEND of the station: it wants no answer, and waits for a while only."""
        if self.mode is OwnerMode.UP:
            return [ToBackend(frame.text)]
        if self.mode is OwnerMode.LOST:
            return []
        self._sends.append(frame)
        if len(self._sends) <= LINE_DEPTH:
            return []
        what = f"{self._sends.popleft().action} (SEND) dropped, no backend yet"
        return [LogEntry(logging.WARNING, f"station {self._station}: {what}")]

    def _serve(
        self, message_id: str, action: str, payload: bytes, number: int | None, now: float
    ) -> list[Outcome]:
        """Answer in the owner's stead; what counts is on disk before the station hears of it."""
        if self._stead is None:
            return []
        served = self._stead.answer_call(message_id, action, payload, number, now)
        outcomes: list[Outcome] = [*_saved(served.records), *_noted(served.notes)]
        if served.text is None:
            return [*outcomes, Unanswerable(f"{action} cannot be kept for backend {self._owner}")]
        frame = Call(call(message_id, action, payload), message_id, action, payload)
        return outcomes + self._settled(frame, ServedOffline(action, served.text), served.result)

    def _settled(self, frame: Call, answer: ToStation | ServedOffline, result: bytes | None) -> list[Outcome]:
        """The station hears the answer to its CALL; `result` is its payload where it is a good one."""
        if result is None:
            return [answer]
        seen = self._observer.on_call_result(frame.action, frame.payload, result)
        outcomes: list[Outcome] = [CallSettled(frame, result), answer, *map(ObservationMade, seen)]
        if frame.action == "BootNotification" and is_accepted(result):
            outcomes.append(CommandsAllowed())
        return outcomes

    # -- the owner comes, speaks and goes -------------------------------------------------------------

    def up(self, now: float) -> list[Outcome]:
        """The link to the owner stands."""
        if self.mode is OwnerMode.LOST:
            return []
        was_away = self.mode is OwnerMode.AWAY
        self.mode, self._patience_until = OwnerMode.UP, None
        if self._stead is not None:
            self._stead.on_attached(was_away=was_away)
        outcomes: list[Outcome] = [ToBackend(each.text) for each in self._sends]
        self._sends.clear()
        return outcomes

    def lost(self, reason: str, now: float) -> list[Outcome]:
        """The link to the owner could not be made, or is gone, or is as good as gone."""
        if self.mode in (OwnerMode.WAITING, OwnerMode.AWAY, OwnerMode.LOST):
            return []
        if self._stead is not None:
            return self._go_on_without(reason, now)
        if self._grace_s > 0:
            self.mode, self._patience_until = OwnerMode.WAITING, now + self._grace_s
            self._line.rewind()
            return [self._gone(reason, f"it is waited for, {self._grace_s:g} s at most (grace)")]
        return self._give_up(reason)

    def _give_up(self, reason: str) -> list[Outcome]:
        self.mode, self._patience_until = OwnerMode.LOST, None
        self._line.drain()  # unanswered: the station keeps them
        mode = "grace" if self._grace_s > 0 else "strict"
        return [self._gone(reason, f"the station is closed as soon as its safe limit is in it ({mode})")]

    def _go_on_without(self, reason: str, now: float) -> list[Outcome]:
        self.mode = OwnerMode.AWAY
        outcomes: list[Outcome] = [self._gone(reason, "it is served without (autonomous)")]
        assert self._stead is not None
        self._stead.on_detached()
        for waiting in self._line.drain():
            if waiting.rank is Rank.PEER:
                outcomes += self._serve(waiting.id, waiting.action, waiting.payload, waiting.number, now)
        return outcomes

    def _gone(self, reason: str, so: str) -> LogEntry:
        what = f"backend {self._owner} is away for station {self._station}: {reason}; {so}"
        return LogEntry(logging.WARNING, what)

    def answered(self, frame: Answer, now: float) -> list[Outcome]:
        """The owner answers."""
        waiting = self._line.answered(frame.id)
        if waiting is None:
            what = f"answer to {frame.id} of {self._station} unasked for: dropped"
            return [LogEntry(logging.INFO, f"backend {self._owner}: {what}")]
        if waiting.rank is not Rank.PEER:
            return self._told(waiting, frame, now)
        outcomes: list[Outcome] = []
        if self._stead is not None:
            heard = self._stead.on_call_answer(waiting.action, waiting.payload, waiting.number, frame)
            outcomes += _saved(heard.records)
            if heard.before is not None:
                return [*outcomes, ServedOffline(waiting.action, call_result(waiting.id, heard.before))]
        said = Call(waiting.text, waiting.id, waiting.action, waiting.payload)
        result = frame.payload if isinstance(frame, CallResult) else None
        return outcomes + self._settled(said, ToStation(frame.text), result)

    def _told(self, waiting: PendingCall, frame: Answer, now: float) -> list[Outcome]:
        """The owner has heard what was kept for it, or said by us."""
        if self._stead is None or waiting.token is not None:
            return []
        told = self._stead.on_outbox_answer(frame, now)
        settled = [] if told.settled is None else [CallSettled(*told.settled)]
        return [*_saved(told.records), *_noted(told.notes), *settled, *told.calls]

    # -- our own and time -----------------------------------------------------------------------------

    def own(self, message_id: str, action: str, payload: bytes) -> None:
        """Say something to the owner ourselves; nobody waits for its answer."""
        text = call(message_id, action, payload)
        self._line.put(PendingCall(message_id, action, text, payload, Rank.OWN, token=_OWN))

    def tick(self, now: float) -> list[Outcome]:
        """Time has passed."""
        outcomes: list[Outcome] = []
        late = self._line.expired(now)
        if late is not None:
            outcomes += self._is_late(late, now)
        if self._patience_until is not None and now >= self._patience_until:
            outcomes += self._give_up(f"it has not come back within {self._grace_s:g} s")
        return outcomes

    def _is_late(self, late: PendingCall, now: float) -> list[Outcome]:
        counts = self._stead is not None or late.action in TRANSACTION_MESSAGES
        if counts and late.token is None:
            reason = f"it does not answer {late.action}"
            outcomes = self.lost(reason, now) + self._serve_late(late, now)
            return outcomes if self.mode is OwnerMode.LOST else [*outcomes, Redial(self._owner, reason)]
        what = f"{late.action} {late.id} of {self._station}"
        note = LogEntry(logging.WARNING, f"backend {self._owner} does not answer {what}")
        if late.token is not None:
            return [note]  # our own: no station waits for it
        why = "the backend gave no answer in time"
        return [note, ToStation(call_error(late.id, "GenericError", why))]

    def _serve_late(self, late: PendingCall, now: float) -> list[Outcome]:
        """The one that was outstanding has left the line: it is served like those that still stand there."""
        if late.rank is not Rank.PEER:
            return []
        if self._stead is not None:
            return self._serve(late.id, late.action, late.payload, late.number, now)
        if self._grace_s > 0:
            self._line.put_first(late)
        return []

    def advance(self, now: float) -> list[Outcome]:
        """Send what may be sent now."""
        if self.mode is not OwnerMode.UP:
            return []
        outcomes: list[Outcome] = []
        if self._stead is not None and not self._line.has_any:
            outcomes += self._catch_up(now)  # in turn with what the station asks meanwhile
        following = self._line.next(now)
        return outcomes if following is None else [*outcomes, ToBackend(self._seal(following, now))]

    def _catch_up(self, now: float) -> list[Outcome]:
        """The next of what is kept for the owner stands in line, if there is any."""
        assert self._stead is not None
        following = self._stead.next_outbox_call(now)
        if following is None:
            return []
        text = call(following.id, following.action, following.payload)
        self._line.put(PendingCall(following.id, following.action, text, following.payload, Rank.OWN))
        return [*_saved(following.records), *_noted(following.notes)]

    def settle(self) -> None:
        """The link ends: the station keeps what has no answer, and so does the outbox."""
        self._line.drain()
        self._patience_until = None
        if self._stead is not None:
            self._stead.on_detached()


def _saved(words: tuple[Record, ...]) -> list[Outcome]:
    return [Persist(words)] if words else []


def _noted(notes: tuple[LogEntry, ...]) -> list[Outcome]:
    return list(notes)
