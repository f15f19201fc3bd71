"""Upstream: a station's CALLs to its owner, and what is done with them while the owner is away.

    DIALLING   the station is connected, the owner not yet: CALLs wait in the queue
    UP         both are connected
    WAITING    the owner is lost, `grace`: CALLs wait for it to return
    AWAY       the owner is lost, `autonomous`: the offline handler answers CALLs and keeps what counts
    LOST       the owner is lost for good, `strict` or after the grace period: the station is closed

OCPP 2.x Part 4, 6.3 asks for `strict`; 1.6 leaves it open; so the mode is configured for each station.

A CALL that its owner never answers gets an error from us, except transaction messages: an error would
count as an attempt, and the station drops them after a few (1.6: TransactionMessageAttempts). For these the
owner counts as lost. With an offline handler it counts as lost whichever CALL it does not answer.
"""

from __future__ import annotations

import enum
import logging
import math
from collections import deque

import msgspec

from controller.model.effects import LogEntry, OwnCall, ToBackend
from controller.ocpp.frames import Answer, Call, CallResult, Send, call, call_error, call_result
from controller.ocpp.payloads import is_accepted
from controller.ocpp.station_state import RESULT_ACTIONS, StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.relay.call_queue import QUEUE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, ObservationMade, Redial, ToStation, persist

TRANSACTION_MESSAGES = {"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"}

SETTLED_ACTIONS = RESULT_ACTIONS | {"Heartbeat"}
"""The station's CALLs whose CALLRESULT is read."""

CLOCK_S = 60.0
"""The owner's time is read from the CALLRESULT of a Heartbeat so often at most."""

_NOT_WAITED_FOR = 0
"""The token of a CALL of ours to the owner: nobody waits for the answer."""


class OwnerMode(enum.Enum):
    """Where the owner is: see the module."""

    DIALLING = "dialling"
    UP = "up"
    WAITING = "waiting"
    AWAY = "away"
    LOST = "lost"


class CallSettled(msgspec.Struct, frozen=True):
    """A CALL of the station has its first CALLRESULT, which the station gets now or when it repeats it."""

    frame: Call
    result: bytes


class ServedOffline(msgspec.Struct, frozen=True):
    """An answer of ours to a CALL of the station with this action."""

    action: str
    text: str


class Unanswerable(msgspec.Struct, frozen=True):
    """A message that must not be lost cannot be kept: close the station, which keeps it itself."""

    reason: str


class BootAnswered(msgspec.Struct, frozen=True):
    """The station's BootNotification was answered: an accepted station is commandable."""

    is_accepted: bool


UpstreamEffect = Action | CallSettled | ServedOffline | BootAnswered | Unanswerable | OwnCall


class Upstream:
    """The state machine of one station's CALLs to its owner. Times are s, monotonic.

    `grace_s`: how long the owner may be away before the station is closed. With an `offline` handler the
    station is served meanwhile instead, for as long as that takes. `is_observed`: there are observers,
    who get a copy of each settled CALL.
    """

    def __init__(
        self,
        station: str,
        owner: str,
        tracker: StationStateTracker,
        call_timeout_s: float,
        grace_s: float = 0.0,
        offline: OfflineHandler | None = None,
        *,
        is_observed: bool = False,
    ) -> None:
        self.mode = OwnerMode.DIALLING
        self.queue = CallQueue(QUEUE_DEPTH, call_timeout_s)
        self._station = station
        self._owner = owner
        self._tracker = tracker
        self._grace_s = grace_s
        self._offline = offline
        self._is_observed = is_observed
        self._clock_due_at = -math.inf
        self._grace_until = math.inf
        self._sends: deque[Send] = deque()

    @property
    def deadline(self) -> float:
        """When `on_time` has to be called, apart from the queue's own deadline (s; inf: not at all)."""
        if self._offline is None or self.mode is not OwnerMode.UP:
            return self._grace_until
        offline = self._offline.deadline
        return self._grace_until if offline is None else min(self._grace_until, offline)

    @property
    def can_move(self) -> bool:
        """True if the link may be closed and opened anew: nothing is under way, and the station may stay."""
        stays = self._offline is not None or self._grace_s > 0
        return stays and self.queue.is_empty

    @property
    def is_idle(self) -> bool:
        """True if nothing waits for the owner: no CALL, and nothing in its outbox."""
        return self.queue.is_empty and (self._offline is None or not self._offline.has_backlog)

    # -- messages of the station ----------------------------------------------------------------------

    def on_call(
        self, frame: Call, now: float, *, is_valid: bool = True, is_ruled: bool = True
    ) -> list[UpstreamEffect]:
        """Queue a CALL of the station, or answer it while the owner is away."""
        if (self.queue.outstanding is not None or self.queue.waiting) and self.queue.has_text(frame.text):
            line = f"repeated call sent once station={self._station} action={frame.action} id={frame.id}"
            return [LogEntry(logging.INFO, line)]
        text, number = frame.text, None
        effects: list[UpstreamEffect] = []
        if self._offline is not None and is_valid:
            if self.mode is OwnerMode.AWAY:
                return self._serve(frame.id, frame.action, frame.payload, None, now)
            journal = self._offline.record_call(frame, now)
            if journal.serve:
                return self._serve(frame.id, frame.action, frame.payload, None, now)
            text, number = journal.text, journal.number
            effects = [*persist(journal.records), *journal.notes]
        self.queue.push(
            PendingCall(
                frame.id,
                frame.action,
                text,
                frame.payload,
                number=number,
                is_valid=is_valid,
                is_ruled=is_ruled,
            )
        )
        return effects

    def on_send(self, frame: Send) -> list[UpstreamEffect]:
        """Pass a SEND of the station on; without a link the newest wait for one."""
        if self.mode is OwnerMode.UP:
            return [ToBackend(frame.text)]
        if self.mode is OwnerMode.LOST:
            return []
        self._sends.append(frame)
        if len(self._sends) <= QUEUE_DEPTH:
            return []
        action = self._sends.popleft().action
        line = f"send dropped station={self._station} action={action} reason='no backend yet'"
        return [LogEntry(logging.WARNING, line)]

    def _serve(
        self, message_id: str, action: str, payload: bytes, number: int | None, now: float
    ) -> list[UpstreamEffect]:
        """Answer a CALL ourselves; what counts is durable before the station gets the answer."""
        if self._offline is None:
            return []
        served = self._offline.answer_call(message_id, action, payload, number, now)
        effects: list[UpstreamEffect] = [*persist(served.records), *served.notes]
        if served.text is None:
            return [*effects, Unanswerable(f"{action} cannot be kept for backend {self._owner}")]
        frame = Call(call(message_id, action, payload), message_id, action, payload)
        return effects + self._settle_call(frame, ServedOffline(action, served.text), served.result)

    def _settle_call(
        self, frame: Call, answer: ToStation | ServedOffline, result: bytes | None
    ) -> list[UpstreamEffect]:
        """Give the station the answer to its CALL; `result` is the payload of a CALLRESULT."""
        if result is None or not (self._is_observed or frame.action in SETTLED_ACTIONS):
            return [answer]
        effects: list[UpstreamEffect] = [CallSettled(frame, result), answer]
        if frame.action in RESULT_ACTIONS:
            seen = self._tracker.on_call_result(frame.action, frame.payload, result)
            effects += [ObservationMade(each) for each in seen]
            if frame.action == "BootNotification":
                effects.append(BootAnswered(is_accepted(result)))
        return effects

    # -- the owner ------------------------------------------------------------------------------------

    def on_up(self) -> list[UpstreamEffect]:
        """Go on with an open link."""
        if self.mode is OwnerMode.LOST:
            return []
        was_away = self.mode is OwnerMode.AWAY
        self.mode, self._grace_until = OwnerMode.UP, math.inf
        if self._offline is not None:
            self._offline.on_attached(was_away=was_away)
        effects: list[UpstreamEffect] = [ToBackend(each.text) for each in self._sends]
        self._sends.clear()
        return effects

    def on_lost(self, reason: str, now: float) -> list[UpstreamEffect]:
        """Go on without a link: it could not be opened, is lost, or counts as lost."""
        if self.mode in (OwnerMode.WAITING, OwnerMode.AWAY, OwnerMode.LOST):
            return []
        if self._offline is not None:
            return self._go_offline(reason, now)
        if self._grace_s > 0:
            self.mode, self._grace_until = OwnerMode.WAITING, now + self._grace_s
            self.queue.rewind()
            return [self._report_lost(reason, f"waiting for it up to {self._grace_s:g} s (grace)")]
        return self._give_up(reason)

    def _give_up(self, reason: str) -> list[UpstreamEffect]:
        self.mode, self._grace_until = OwnerMode.LOST, math.inf
        self.queue.drain()  # unanswered: the station keeps them
        mode = "grace" if self._grace_s > 0 else "strict"
        return [self._report_lost(reason, f"the station is closed once its fallback is set ({mode})")]

    def _go_offline(self, reason: str, now: float) -> list[UpstreamEffect]:
        self.mode = OwnerMode.AWAY
        effects: list[UpstreamEffect] = [
            self._report_lost(reason, "the station is served offline (autonomous)")
        ]
        assert self._offline is not None
        self._offline.on_detached()
        for pending in self.queue.drain():
            if pending.rank is Rank.PEER:
                effects += self._serve(pending.id, pending.action, pending.payload, pending.number, now)
        return effects

    def _report_lost(self, reason: str, consequence: str) -> LogEntry:
        line = f"backend lost backend={self._owner} station={self._station} reason={reason!r}: {consequence}"
        return LogEntry(logging.WARNING, line)

    def on_answer(self, frame: Answer, now: float) -> list[UpstreamEffect]:
        """End the CALL that the owner answers."""
        sent = self.queue.on_answer(frame.id)
        if sent is None:
            about = f"backend={self._owner} station={self._station} id={frame.id}"
            return [LogEntry(logging.INFO, f"answer dropped {about} reason='no such call'")]
        if sent.rank is not Rank.PEER:
            return self._on_outbox_answer(sent, frame, now)
        is_followed = self._offline is not None or self._is_observed or sent.action in RESULT_ACTIONS
        if now >= self._clock_due_at and sent.action == "Heartbeat":
            self._clock_due_at, is_followed = now + CLOCK_S, True
        if not (is_followed and sent.is_valid):
            return [ToStation(frame.text)]  # nothing follows from it but the answer
        effects: list[UpstreamEffect] = []
        if self._offline is not None:
            answered = self._offline.on_call_answer(sent.action, sent.payload, sent.number, frame)
            effects += persist(answered.records)
            if answered.before is not None:
                return [*effects, ServedOffline(sent.action, call_result(sent.id, answered.before))]
        if not isinstance(frame, CallResult):
            return [*effects, ToStation(frame.text)]
        call_frame = Call(sent.text, sent.id, sent.action, sent.payload)
        return effects + self._settle_call(call_frame, ToStation(frame.text), frame.payload)

    def _on_outbox_answer(self, sent: PendingCall, frame: Answer, now: float) -> list[UpstreamEffect]:
        if self._offline is None or sent.token is not None:
            return []
        done = self._offline.on_outbox_answer(frame, now)
        settled = [] if done.settled is None else [CallSettled(*done.settled)]
        return [*persist(done.records), *done.notes, *settled, *done.calls]

    # -- commands of the owner, as the offline handler needs them -------------------------------------

    def translate_command(self, frame: Call) -> Call:
        """Return a command of the owner with the station's own transaction ids."""
        return frame if self._offline is None else self._offline.translate_command(frame)

    def on_command_obeyed(
        self, action: str, payload: bytes, result: bytes, now: float
    ) -> list[UpstreamEffect]:
        """Keep what a command of the owner has changed in the station."""
        if self._offline is None:
            return []
        return [*persist(self._offline.on_command_result(action, payload, result, now))]

    # -- our own CALLs and time -----------------------------------------------------------------------

    def push_own(self, message_id: str, action: str, payload: bytes) -> None:
        """Queue a CALL of ours to the owner."""
        text = call(message_id, action, payload)
        self.queue.push(PendingCall(message_id, action, text, payload, Rank.OWN, token=_NOT_WAITED_FOR))

    def on_time(self, now: float) -> list[UpstreamEffect]:
        """End what has waited for too long."""
        effects: list[UpstreamEffect] = []
        late = self.queue.expire(now)
        if late is not None:
            effects += self._on_late(late, now)
        if now >= self._grace_until:
            effects += self._give_up(f"it did not return within {self._grace_s:g} s")
        return effects

    def _on_late(self, late: PendingCall, now: float) -> list[UpstreamEffect]:
        is_lost = self._offline is not None or late.action in TRANSACTION_MESSAGES
        if is_lost and late.token is None:
            reason = f"no answer to {late.action}"
            effects = self.on_lost(reason, now) + self._serve_late(late, now)
            return effects if self.mode is OwnerMode.LOST else [*effects, Redial(self._owner, reason)]
        line = (
            f"call not answered backend={self._owner} station={self._station} "
            f"action={late.action} id={late.id}"
        )
        note = LogEntry(logging.WARNING, line)
        if late.token is not None:
            return [note]  # our own: no station waits for it
        return [note, ToStation(call_error(late.id, "GenericError", "the backend gave no answer in time"))]

    def _serve_late(self, late: PendingCall, now: float) -> list[UpstreamEffect]:
        """Serve the CALL that has just left the queue like those that are still in it."""
        if late.rank is not Rank.PEER:
            return []
        if self._offline is not None:
            return self._serve(late.id, late.action, late.payload, late.number, now)
        if self._grace_s > 0:
            self.queue.push_first(late)
        return []

    def catch_up(self, now: float) -> list[UpstreamEffect]:
        """Queue the next message of the outbox, in turn with the station's CALLs."""
        if self._offline is None or not self.queue.is_empty:
            return []
        following = self._offline.next_outbox_call(now)
        if following is None:
            return []
        text = call(following.id, following.action, following.payload)
        self.queue.push(PendingCall(following.id, following.action, text, following.payload, Rank.OWN))
        return [*persist(following.records), *following.notes]

    def settle(self) -> None:
        """End with the link: the station keeps what has no answer, and so does the outbox."""
        self.queue.drain()
        self._grace_until = math.inf
        if self._offline is not None:
            self._offline.on_detached()
