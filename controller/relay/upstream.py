"""Upstream: a station's CALLs to its owner, and what is done with them while the owner is away.

The states of the connection to the owner are a table of their own (`offline.owner_states`).

A CALL that its owner never answers gets an error from us, except transaction messages: an error would
count as an attempt, and the station drops them after a few (1.6: TransactionMessageAttempts). These stay
unanswered, and the station repeats them. With an offline handler the CALL is answered in the owner's place,
and sent to the owner again later; an answer that comes late still counts. The owner counts as lost when it
leaves CALLs of two actions unanswered, or several of one, without any answer between them.
"""

from __future__ import annotations

import logging
import math

import msgspec

from controller.model.effects import LogEntry, OwnCall, ToBackend
from controller.model.peer_text import peer_word
from controller.ocpp.frames import Answer, Call, CallResult, Send, call, call_error, call_result
from controller.ocpp.payloads import is_accepted
from controller.ocpp.station_state import RESULT_ACTIONS, StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.offline.owner_states import AwayMode, OwnerConnection, OwnerEvent, OwnerState
from controller.offline.station_snapshot import StationSnapshot
from controller.profiles.profile_messages import PULL
from controller.relay.call_queue import QUEUE_DEPTH, CallQueue, PendingCall, Rank
from controller.relay.events import Action, ObservationMade, Redial, ToStation, UnansweredCall, persist

TRANSACTION_MESSAGES = {"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"}

_READ_RESULTS = RESULT_ACTIONS | {PULL}
SETTLED_ACTIONS = _READ_RESULTS | {"Heartbeat"}
"""The station's CALLs whose CALLRESULT is read."""

CLOCK_S = 60.0
"""The owner's time is read from the CALLRESULT of a Heartbeat so often at most."""

_NOT_WAITED_FOR = 0
"""The token of a CALL of ours to the owner: its answer is ignored, but that of PULL."""


MOST_UNANSWERED = 3
"""CALLs that the owner leaves unanswered, one after the other, before it counts as lost."""


class CallSettled(msgspec.Struct, frozen=True):
    """A CALL of the station has its first CALLRESULT, which the station gets now or when it repeats it.

    `by_owner`: the owner has given it, not the offline handler. `is_own`: the CALL is ours, in the station's
    place, and the station gets nothing.
    """

    frame: Call
    result: bytes
    by_owner: bool = True
    is_own: bool = False


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


class OwnerSide(msgspec.Struct, frozen=True):
    """The owner of a station, and what is done for it over one link of the station.

    `permitted`: actions that it may command; None: all of them, unknown ones included.
    `grace_s`: how long the owner may be away before the station is closed. With an `offline` handler the
    station is served meanwhile instead, for as long as that takes. `snapshot`: what is replayed to backends
    that attach later; None: none needs it.
    """

    name: str
    permitted: frozenset[str] | None = None
    grace_s: float = 0.0
    offline: OfflineHandler | None = None
    snapshot: StationSnapshot | None = None


class Upstream:
    """The state machine of one station's CALLs to its owner. Times are s, monotonic.

    `is_observed`: there are observers, who get a copy of each settled CALL.
    """

    def __init__(
        self,
        station: str,
        owner: OwnerSide,
        tracker: StationStateTracker,
        call_timeout_s: float,
        *,
        is_observed: bool = False,
    ) -> None:
        mode = AwayMode.GRACE if owner.grace_s > 0 else AwayMode.STRICT
        self.owner = OwnerConnection(mode) if owner.offline is None else owner.offline.owner
        self.queue = CallQueue(QUEUE_DEPTH, call_timeout_s)
        self._station = station
        self._owner = owner.name
        self._tracker = tracker
        self._grace_s = owner.grace_s
        self._offline = owner.offline
        self._is_observed = is_observed
        self._clock_due_at = -math.inf
        self._grace_until = math.inf
        self._sends: list[Send] = []
        self._unanswered: dict[str, str] = {}
        """Actions by id of the CALLs that the owner has not answered since its last answer."""

    @property
    def deadline(self) -> float:
        """Time of the next `on_time`, apart from the queue's own deadline (s; inf: none)."""
        if self._offline is None or not self.owner.is_up or not self.queue.is_empty:
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

    @property
    def has_only_passed(self) -> bool:
        """True if the link is up and the queue has no CALL but one of the station, outstanding."""
        sent = self.queue.outstanding
        return (
            (self._offline is None or self._offline.is_quiet)
            and self.owner.state is OwnerState.ATTACHED
            and not (self.queue.waiting or self.queue.has_sent_beside)
            and (sent is None or (sent.rank is Rank.PEER and sent.is_valid))
        )

    def needs_record(self, frame: Call) -> bool:
        """Return True if a CALL of the station may not be taken by `send_at_once`: it counts offline."""
        offline = self._offline
        return offline is not None and not (offline.is_quiet and offline.passes_call(frame))

    def send_at_once(self, frame: Call, now: float) -> None:
        """Take a CALL of the station as sent. Requires `has_only_passed`, and no outstanding CALL."""
        self.queue.send_at_once(
            PendingCall(frame.id, frame.action, frame.text, frame.payload, is_ruled=False), now
        )

    def pass_result(self, frame: CallResult, now: float) -> bool:
        """End the outstanding CALL by its CALLRESULT; return False if more follows than this answer.

        Requires `has_only_passed`.
        """
        sent = self.queue.outstanding
        if (
            sent is None
            or sent.id != frame.id
            or self._is_observed
            or sent.action in _READ_RESULTS
            or (sent.action == "Heartbeat" and now >= self._clock_due_at)
            or (self._offline is not None and not self._offline.passes_result(sent.action, sent.number))
        ):
            return False
        self._unanswered.clear()
        self.queue.on_answer(frame.id)
        return True

    # -- messages of the station ----------------------------------------------------------------------

    def on_call(
        self, frame: Call, now: float, *, is_valid: bool = True, is_ruled: bool = True
    ) -> list[UpstreamEffect]:
        """Queue a CALL of the station, or answer it while the owner is away."""
        if (self.queue.outstanding is not None or self.queue.waiting) and self.queue.has_text(frame.text):
            about = f"action={peer_word(frame.action)} id={peer_word(frame.id)}"
            line = f"repeated call sent once station={self._station} {about}"
            return [LogEntry(logging.INFO, line)]
        text, number = frame.text, None
        effects: list[UpstreamEffect] = []
        if self._offline is not None and is_valid:
            if self.owner.state is OwnerState.AWAY:
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
        if self.owner.is_up:
            return [ToBackend(frame.text)]
        if self.owner.state is OwnerState.LOST:
            return []
        self._sends.append(frame)
        if len(self._sends) <= QUEUE_DEPTH:
            return []
        action = self._sends.pop(0).action
        line = f"send dropped station={self._station} action={peer_word(action)} reason='no backend yet'"
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
        by_owner = isinstance(answer, ToStation)
        effects: list[UpstreamEffect] = [CallSettled(frame, result, by_owner), answer]
        if frame.action in RESULT_ACTIONS:
            seen = self._tracker.on_call_result(frame.action, frame.payload, result)
            effects += [ObservationMade(each) for each in seen]
            if frame.action == "BootNotification":
                effects.append(BootAnswered(is_accepted(result)))
        return effects

    # -- the owner ------------------------------------------------------------------------------------

    def on_up(self) -> list[UpstreamEffect]:
        """Go on with an open link."""
        if self.owner.state is OwnerState.LOST:
            return []
        self._grace_until = math.inf
        self._unanswered.clear()
        if self._offline is not None:
            self._offline.on_attached(was_away=self.owner.state is OwnerState.AWAY)
        else:
            self.owner.on_event(OwnerEvent.LINK_UP)
        effects: list[UpstreamEffect] = [ToBackend(each.text) for each in self._sends]
        self._sends.clear()
        return effects

    def on_lost(self, reason: str, now: float) -> list[UpstreamEffect]:
        """Go on without a link: it could not be opened, is lost, or counts as lost."""
        if self.owner.state in (OwnerState.WAITING, OwnerState.AWAY, OwnerState.LOST):
            return []
        if self._offline is not None:
            return self._go_offline(reason, now)
        if self._grace_s > 0:
            was_up = self.owner.is_up
            self.owner.on_event(OwnerEvent.LINK_LOST)
            self._grace_until = now + self._grace_s
            self.queue.rewind()
            return [self._report_lost(was_up, reason, f"waiting for it up to {self._grace_s:g} s (grace)")]
        return self._give_up(reason)

    def _give_up(self, reason: str) -> list[UpstreamEffect]:
        was_up = self.owner.is_up
        event = OwnerEvent.GRACE_ENDED if self.owner.state is OwnerState.WAITING else OwnerEvent.LINK_LOST
        self.owner.on_event(event)
        self._grace_until = math.inf
        self.queue.drain()  # unanswered: the station keeps them
        mode = "grace" if self._grace_s > 0 else "strict"
        return [self._report_lost(was_up, reason, f"the station is closed once its fallback is set ({mode})")]

    def _go_offline(self, reason: str, now: float) -> list[UpstreamEffect]:
        effects: list[UpstreamEffect] = [
            self._report_lost(self.owner.is_up, reason, "the station is served offline (autonomous)")
        ]
        assert self._offline is not None
        self._offline.on_detached()
        for pending in self.queue.drain():
            if not pending.is_valid:
                effects.append(ToStation(call_error(pending.id, "GenericError", "the backend is away")))
            elif pending.rank is Rank.PEER:
                effects += self._serve(pending.id, pending.action, pending.payload, pending.number, now)
        return effects

    def _report_lost(self, was_up: bool, reason: str, consequence: str) -> LogEntry:
        """Return the line about a lost owner: a WARNING if its link was open.

        A link that cannot be opened is reported by the pool, once an outage, however many stations try it
        and however often.
        """
        line = f"backend lost backend={self._owner} station={self._station} reason={reason!r}: {consequence}"
        return LogEntry(logging.WARNING if was_up else logging.INFO, line)

    def on_answer(self, frame: Answer, now: float) -> list[UpstreamEffect]:
        """End the CALL that the owner answers."""
        self._unanswered.clear()
        sent = self.queue.on_answer(frame.id)
        if sent is None and self._offline is not None:
            late = self._offline.on_late_answer(frame, now)
            if late is not None:
                return [*persist(late.records), *late.notes]
        if sent is None:
            about = f"backend={self._owner} station={self._station} id={peer_word(frame.id)}"
            return [LogEntry(logging.INFO, f"answer dropped {about} reason='no such call'")]
        if sent.rank is not Rank.PEER:
            return self._on_outbox_answer(sent, frame, now)
        is_settled = self._is_observed or sent.action in _READ_RESULTS
        if now >= self._clock_due_at and sent.action == "Heartbeat":
            self._clock_due_at, is_settled = now + CLOCK_S, True
        if not sent.is_valid or not (is_settled or self._offline is not None):
            return [ToStation(frame.text)]  # nothing follows from it but the answer
        effects: list[UpstreamEffect] = []
        if self._offline is not None:
            answered = self._offline.on_call_answer(sent.action, sent.payload, sent.number, frame)
            effects += persist(answered.records)
            if answered.before is not None:
                return [*effects, ServedOffline(sent.action, call_result(sent.id, answered.before))]
        if not (is_settled and isinstance(frame, CallResult)):
            return [*effects, ToStation(frame.text)]
        call_frame = Call(sent.text, sent.id, sent.action, sent.payload)
        return effects + self._settle_call(call_frame, ToStation(frame.text), frame.payload)

    def _on_outbox_answer(self, sent: PendingCall, frame: Answer, now: float) -> list[UpstreamEffect]:
        if sent.token is not None and sent.action == PULL and isinstance(frame, CallResult):
            own = Call(sent.text, sent.id, sent.action, sent.payload)
            return [CallSettled(own, frame.payload, is_own=True)]
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
        """End a CALL that the owner does not answer.

        One kind of message that it never answers does not make it unreachable; several do.
        """
        if late.token is not None:
            return [self._report_late(late)]  # our own: no station waits for it
        if not late.is_valid:  # shows nothing of the backend, which may be unable to read it
            return [self._report_late(late), _late_error(late)]
        self._unanswered[late.id] = late.action
        actions = dict.fromkeys(self._unanswered.values())
        if len(actions) > 1 or len(self._unanswered) >= MOST_UNANSWERED:
            reason = f"no answer to {', '.join(map(peer_word, actions))}"
            self._unanswered.clear()
            effects = [self._report_late(late), *self.on_lost(reason, now), *self._serve_late(late, now)]
            if self.owner.state is OwnerState.LOST:
                return effects
            return [*effects, Redial(self._owner, reason)]
        note = self._report_late(late)
        if self._offline is not None:
            return [note, *self._go_on_unanswered(self._offline, late, now)]
        if late.action in TRANSACTION_MESSAGES:
            return [note]  # the station repeats it after its own timeout; an error would count as a try
        return [note, _late_error(late)]

    def _report_late(self, late: PendingCall) -> LogEntry:
        line = (
            f"call not answered backend={self._owner} station={self._station} "
            f"action={peer_word(late.action)} id={peer_word(late.id)}"
        )
        return UnansweredCall(logging.WARNING, line, self._owner, peer_word(late.action))

    def _go_on_unanswered(
        self, offline: OfflineHandler, late: PendingCall, now: float
    ) -> list[UpstreamEffect]:
        """Count a failed try, and answer the station in the owner's place if it waits."""
        if late.rank is not Rank.PEER:
            done = offline.on_outbox_timeout(now)
            return [*persist(done.records), *done.notes]
        effects = self._serve_late(late, now)
        done = offline.on_call_timeout(late.number, now)
        return [*effects, *persist(done.records), *done.notes]

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


def _late_error(late: PendingCall) -> ToStation:
    return ToStation(call_error(late.id, "GenericError", "the backend gave no answer in time"))
