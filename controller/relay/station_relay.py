"""Relay of one station: the way of each message, and exactly one answer to each CALL.

    station  --CALL-->  upstream    --CALL-->  owner        one outstanding, in order
    station  <-CALL---  downstream  <-CALL---  owner, observers, and the controller itself
                        secondary   --CALL-->  observers    copies

A message passes through one pipeline, all of it in this file:

    parse       `ocpp.frames.parse`, once; from here on parts hand each other the frame with its text
    authorize   the policy of signatures, and the commands that its sender may send
    track       station state, profiles, what observers will be sent
    route       into the queue of its direction, or to the CALL that it answers
    sign        where the policy has it so, as the message leaves its queue
    send        an effect; what passes is the text that arrived

Nearly all messages are CALLs that only pass, and their answers, while nothing else is under way: no rule of
the policy for them, no offline mode, no CALL to the station. `_pass_call` and `_pass_result` do for these in
one step what the pipeline does in many, with the same effects; `_is_quiet` is when. Whatever is not usual
takes the pipeline.

`upstream` has what is done while the owner is away, `downstream` what may be sent to the station,
`secondary_backend` what observers get. Their effects are carried out in `_apply`. Parts that change what
has to be evaluated again show it by their deadline or mark: a message that passes asks none of them.
"""

from __future__ import annotations

import functools
import logging
import math
import uuid
from collections.abc import Iterable, Mapping

from controller.model.effects import (
    BackendLost,
    BackendUp,
    FromBackend,
    LogEntry,
    OwnCall,
    TimePassed,
    ToBackend,
)
from controller.model.peer_text import peer_word
from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    MalformedFrame,
    Send,
    UnknownMessageType,
    Version,
    call_error,
    call_result,
    malformed_answer,
    malformed_code,
    parse,
    result_frame,
)
from controller.ocpp.payloads import is_accepted
from controller.ocpp.station_state import StationStateTracker
from controller.offline.owner_states import OwnerState
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.downstream import (
    OWNER,
    CommandObeyed,
    Downstream,
    DownstreamEffect,
    ReplyToBackend,
)
from controller.relay.events import (
    PASSWORD_ACTIONS,
    Action,
    Close,
    Event,
    FromObserver,
    FromStation,
    LocalAnswer,
    LocalCall,
    LocalScope,
    ObservationMade,
    ObserverLost,
    ObserverUp,
    OwnAnswered,
    PasswordCommand,
    StopRequested,
    ToObserver,
    ToStation,
    TransactionRecorder,
    calls_for_limits,
    persist,
    persist_at_once,
    persist_profiles,
    persist_states,
)
from controller.relay.policy_check import PolicyCheck, PolicyPeer, SignedText, backend_peer, station_peer
from controller.relay.secondary_backend import (
    COMMAND_DENIED,
    AnswerToObserver,
    CallToObserver,
    CommandPermissions,
    ObserverCommand,
    ObserverCopy,
    ObserverEvent,
    ObserverFrame,
    SecondaryBackend,
)
from controller.relay.upstream import (
    SETTLED_ACTIONS,
    BootAnswered,
    CallSettled,
    OwnerSide,
    ServedOffline,
    Unanswerable,
    Upstream,
    UpstreamEffect,
)

DRAIN_S = 5.0
"""Time that a station stays connected after its owner is lost, so that its fallback limits reach it."""

NORMAL = 1000
GOING_AWAY = 1001
TRY_AGAIN_LATER = 1013
"""WebSocket close codes (RFC 6455, 7.4.1, and IANA): all is done; the controller stops; the service is away
for the moment."""

_SNAPSHOT_ACTIONS = {"BootNotification", "StatusNotification"}
_ARBITER_ACTIONS = {
    "BootNotification",
    "ReportChargingProfiles",
    "StartTransaction",
    "StatusNotification",
    "StopTransaction",
    "TransactionEvent",
}
"""The station's CALLs of which the arbiter reads the timestamp, or more; it gets that of MeterValues from the
tracker, which reads them anyway."""
_UNREADABLE = (MalformedFrame, UnknownMessageType)
_ANSWERS = (CallResult, CallError)


@functools.cache
def _join_actions(tracked: frozenset[str], recorded: frozenset[str]) -> frozenset[str]:
    """Return the actions that somebody reads: one set for all stations alike."""
    return tracked | recorded | _ARBITER_ACTIONS | _SNAPSHOT_ACTIONS


class StationRelay:
    """The state machine of one connected station. Times: `now` is s, monotonic; `utc` POSIX s.

    `observers` by backend. Without a station (`is_present` False) it only delivers what
    waits for the backends, and ends when that is done. `policy`: the policy of signatures. `local`: the
    messages that the controller handles in the owner's place. `recorder`: the session ledger's.
    """

    def __init__(
        self,
        station: str,
        version: Version,
        owner: OwnerSide,
        tracker: StationStateTracker,
        profiles: ProfileArbiter,
        call_timeout_s: float,
        now: float,
        *,
        observers: Mapping[str, SecondaryBackend] | None = None,
        is_present: bool = True,
        policy: PolicyCheck | None = None,
        local: LocalScope | None = None,
        recorder: TransactionRecorder | None = None,
    ) -> None:
        self.is_open = True
        """False once the relay has asked for all links to be closed."""
        self.accepts_messages = True
        """False while the station's queue is full: leave its further messages in the socket."""
        self._station = station
        self._owner = owner.name
        self._version = version
        self._tracker = tracker
        self._profiles = profiles
        self._is_present = is_present
        self._observers = dict(observers or {})
        self._snapshot = owner.snapshot
        self._permissions = CommandPermissions(owner.name, owner.permitted)
        self._policy = policy
        self._recorder = recorder
        self._local = local
        self._local_calls: dict[str, str] = {}
        """Action by id of the station's CALLs that are answered here."""
        self._serves_offline = owner.offline is not None
        self._up = Upstream(station, owner, tracker, call_timeout_s, is_observed=bool(self._observers))
        self._down = Downstream(
            station,
            version,
            profiles,
            call_timeout_s,
            now,
            is_present=is_present,
            is_rejected=tracker.is_rejected,
            list_unreported=tracker.list_unreported,
        )
        if is_present:
            tracker.on_link_opened()
        self._station_peer = station_peer(station)
        self._backend_peers = {name: backend_peer(name) for name in self._observers}
        self._backend_peers[OWNER] = backend_peer(owner.name)
        self._recorded_actions = frozenset() if recorder is None else recorder.actions
        self._tracked_actions = _join_actions(tracker.actions, self._recorded_actions)
        self._drain_until = math.inf
        self.next_deadline = self._parts_deadline = -math.inf
        """The first deadline as of the last event, and that of the parts other than the two queues."""
        self._profiles_deadline = -math.inf
        """That of the charging profiles alone."""
        self._own_calls_wait = False
        self._is_quiet = False
        """True as long as a CALL of the station may pass in one step, and so may its answer: as of the last
        event that took the pipeline, since when only messages have passed."""
        self._actions: list[Action] = []

    # -- what the links ask ---------------------------------------------------------------------------

    @property
    def deadline(self) -> float:
        """Time of the next TimePassed (s, monotonic; inf: none). Limits and profiles change from outside."""
        return -math.inf if self._profiles.has_changed and self.is_open else self.next_deadline

    def needs_link(self, backend: str) -> bool:
        """Return True if there should be a link to this backend; a lost one is then opened anew."""
        return self.is_open and (backend != self._owner or self._up.owner.state is not OwnerState.LOST)

    def can_move(self, backend: str) -> bool:
        """Return True if its link may be closed and opened anew without loss or delay."""
        if backend == self._owner:
            return self._up.can_move
        return self._observers[backend].is_idle

    def is_link_idle(self, backend: str) -> bool:
        """Return True if no call is open over the link to this backend, in either direction."""
        if backend == self._owner:
            return self._up.queue.is_empty and not self._down.queue.has_sent_command
        return not self._observers[backend].has_open_call

    # -- events ---------------------------------------------------------------------------------------

    def handle(self, event: Event, now: float, utc: float) -> list[Action]:
        """Handle one event; the effects are to be done in their order."""
        if not self.is_open:
            token = event.token if isinstance(event, OwnCall) else None
            return [] if token is None else [OwnAnswered(token, None, "the link is closed")]
        if isinstance(event, FromStation):
            passed = self.on_station_text(event.text, now, utc)
            return [ToBackend(event.text)] if passed is None else passed
        if isinstance(event, FromBackend):
            passed = self.on_backend_text(event.text, now, utc)
            return [ToStation(event.text)] if passed is None else passed
        self._actions = []
        if isinstance(event, OwnCall):  # it changes the queue alone, which has a deadline of its own
            self._down.on_own_call(event, now)
        else:
            self._on_other_event(event, now, utc)
            self._parts_deadline = -math.inf
        return self._finish(now, utc)

    def on_station_text(self, text: str, now: float, utc: float) -> list[Action] | None:
        """Handle a text of the station; None: it passes to the owner as it is, and nothing else follows."""
        if not self.is_open:
            return []
        self._actions = []
        frame = parse(text)
        if self._is_quiet and isinstance(frame, Call) and self._pass_call(frame, now, utc):
            if self._actions:
                return self._actions
            return None if frame.text is text else [ToBackend(frame.text)]
        self._on_station_frame(frame, text, now, utc)
        return self._finish(now, utc)

    def on_backend_text(self, text: str, now: float, utc: float) -> list[Action] | None:
        """Handle a text of the owner; None: it passes to the station as it is, and nothing else follows."""
        if not self.is_open:
            return []
        self._actions = []
        frame = parse(text)
        if self._is_quiet and isinstance(frame, CallResult) and self._pass_result(frame, now):
            return None if frame.text is text else [ToStation(frame.text)]
        self._on_backend_frame(frame, text, now, utc)
        return self._finish(now, utc)

    def _finish(self, now: float, utc: float) -> list[Action]:
        """Send what may be sent after an event; return its effects."""
        actions = self._actions
        self._advance(now, utc)
        if self._tracker.has_unsaved_state and (evses := self._tracker.take_record()) is not None:
            # Last: nothing that is sent waits for it.
            actions += persist_states(self._station, self._version, evses)
        return actions if len(actions) < 2 else persist_at_once(actions)

    def _on_other_event(self, event: Event, now: float, utc: float) -> None:
        match event:
            case LocalAnswer():
                self._on_local_answer(event, utc)
            case StopRequested():
                self._down.is_stopping = True
                for observer in self._observers.values():
                    observer.stop()
            case BackendUp():
                self._apply(self._up.on_up(), now, utc)
            case BackendLost(reason):
                self._down.on_backend_lost(OWNER)
                self._apply(self._up.on_lost(reason, now), now, utc)
            case FromObserver(backend, text):
                self._on_observer_text(backend, text, now, utc)
            case ObserverUp(backend) | ObserverLost(backend):
                self._run_observer(backend, event, now, utc)
            case TimePassed():
                self._apply(self._up.on_time(now), now, utc)
                self._apply(self._down.on_time(now), now, utc)
                for backend in self._observers:
                    self._run_observer(backend, event, now, utc)

    def close(self, reason: str, now: float, utc: float) -> list[Action]:
        """End the relay: the station is gone, or the controller stops. Every open CALL is ended."""
        if not self.is_open:
            return []
        self._actions = []
        self._settle(TRY_AGAIN_LATER, reason, now, utc)
        return persist_at_once(self._actions)

    # -- messages that only pass ----------------------------------------------------------------------

    def _pass_call(self, frame: Call, now: float, utc: float) -> bool:
        """Pass a CALL of the station at once; return False, with nothing done, if more is to be done.

        Where it has effects, one of them sends the CALL; without any, the caller does.
        """
        action, profiles, queue, policy = frame.action, self._profiles, self._up.queue, self._policy
        if policy is not None and policy.ruled[policy.enforcer.revision, self._station_peer, Call, action]:
            return False
        if (
            queue.outstanding is not None
            or now >= self._parts_deadline
            or profiles.shared_revision != profiles.absorbed.revision
            or (self._serves_offline and self._up.needs_record(frame))
            or (self._local is not None and self._local.takes_call(action, frame.payload))
        ):
            return False
        if action in self._tracked_actions:
            if action != "MeterValues":
                return False
            self._track(frame, now, utc)
            profiles.on_sampled(self._tracker.sampled_at, now, utc)
        self._up.send_at_once(frame, now)
        has_changed = profiles.shared_revision != profiles.absorbed.revision
        if has_changed or self._actions:
            self._actions.append(ToBackend(frame.text))
        if has_changed:
            self._advance(now, utc)  # the values have changed more than what is known of the EVSE
        else:
            deadline = queue.deadline
            self.next_deadline = deadline if deadline < self._parts_deadline else self._parts_deadline
        return True

    def _pass_result(self, frame: CallResult, now: float) -> bool:
        """Pass the owner's CALLRESULT at once; return False, with nothing done, if more is to be done.

        The caller sends it.
        """
        profiles, policy, sent = self._profiles, self._policy, self._up.queue.outstanding
        if policy is not None and sent is not None:
            sender, action = self._backend_peers[OWNER], sent.action
            if policy.ruled[policy.enforcer.revision, sender, CallResult, action]:
                return False
        if (
            now >= self._parts_deadline
            or profiles.shared_revision != profiles.absorbed.revision
            or not self._up.pass_result(frame, now)
        ):
            return False
        self.next_deadline = self._parts_deadline
        return True

    def _find_quiet(self) -> bool:
        """Return True if nothing is under way but, perhaps, the CALL of the station that was sent last."""
        return (
            self._is_present
            and not self._own_calls_wait
            and self._drain_until == math.inf
            and self._down.is_quiet
            and self._up.has_only_passed
        )

    # -- messages of the station ----------------------------------------------------------------------

    def _on_station_frame(
        self, frame: Frame | MalformedFrame | UnknownMessageType, text: str, now: float, utc: float
    ) -> None:
        is_valid = True
        if isinstance(frame, _UNREADABLE):
            lenient = self._read_malformed_from_station(frame, text)
            if lenient is None:
                return
            frame, is_valid = lenient, False
        if self._down.queue.outstanding is not None and isinstance(frame, Call | CallResult | CallError):
            answer = self._down.read_answer(frame, is_valid=is_valid)
            frame = frame if answer is None else answer
        is_ruled = False
        if self._policy is not None:
            action = frame.action if isinstance(frame, Call | Send) else None
            if isinstance(frame, CallResult):
                action = self._down.queue.find_action(frame.id)
            revision = self._policy.enforcer.revision
            is_ruled = self._policy.ruled[revision, self._station_peer, type(frame), action]
        if self._policy is not None and is_ruled:
            checked = self._check_station_frame(self._policy, frame, utc)
            if checked is None:
                return
            frame = checked
        if not self._down.is_commandable or (isinstance(frame, Call) and frame.action == "BootNotification"):
            self._note_boot(frame, now, utc)
        match frame:
            case Call():
                self._on_call(frame, now, utc, is_valid=is_valid, is_ruled=is_ruled)
            case CallResult() | CallError():
                self._parts_deadline = -math.inf
                self._apply(self._down.on_answer(frame, now), now, utc)
            case Send():
                self._track(frame, now, utc)
                self._copy(frame, None, now, utc)
                self._apply(self._up.on_send(frame), now, utc)
            case CallResultError():
                self._reply(OWNER, frame, now, utc)

    def _on_call(self, frame: Call, now: float, utc: float, *, is_valid: bool, is_ruled: bool) -> None:
        if self._down.is_stopping:
            return  # the station sends it again to the next process
        if self._local is not None and is_valid and self._local.takes_call(frame.action, frame.payload):
            if frame.id not in self._local_calls:  # a repeated one gets the one answer
                self._local_calls[frame.id] = frame.action
                self._actions.append(LocalCall(frame.id, frame.action, frame.payload))
            return
        if is_valid and frame.action in self._tracked_actions:
            self._track(frame, now, utc)
            if frame.action == "MeterValues":
                self._profiles.on_sampled(self._tracker.sampled_at, now, utc)
            elif frame.action in _ARBITER_ACTIONS and self._profiles.on_station_call(frame, now):
                self._parts_deadline = -math.inf
                self._apply([ServedOffline(frame.action, call_result(frame.id, b"{}"))], now, utc)
                return
        effects = self._up.on_call(frame, now, is_valid=is_valid, is_ruled=is_ruled)
        if effects:
            self._apply(effects, now, utc)

    def _on_local_answer(self, answer: LocalAnswer, utc: float) -> None:
        action = self._local_calls.pop(answer.id, None)
        if action is None:
            return
        if answer.result is None:
            text = call_error(answer.id, "InternalError", f"{action} could not be answered")
        else:
            text = self._sign_served(action, call_result(answer.id, answer.result), utc)
        self._actions.append(ToStation(text))

    def _refuse_command(self, frame: Call, backend: str) -> CallResult | None:
        """Return the response to a command about what the controller itself manages; None: it passes."""
        rejection = None if self._local is None else self._local.refuse_command(frame.action, frame.payload)
        if rejection is None:
            return None
        self._log(
            logging.WARNING,
            f"command rejected station={self._station} backend={backend} action={peer_word(frame.action)} "
            "reason='the site CA manages the certificates of this station'",
        )
        return result_frame(frame.id, rejection)

    def _note_boot(self, frame: Frame, now: float, utc: float) -> None:
        """Wait for the answer to a boot; any other message shows that the station did not boot anew."""
        self._parts_deadline = -math.inf
        if isinstance(frame, Call) and frame.action == "BootNotification":
            self._down.on_boot()
        elif not self._up.queue.has_action("BootNotification"):
            self._apply(self._down.allow_commands(now), now, utc)

    def _take_boot(self, frame: Call, result: bytes, by_owner: bool) -> bool:
        """Take an answered boot, unless the owner did not accept it; return whether it was taken."""
        if by_owner and not is_accepted(result):
            return False
        if self._snapshot is not None:
            records = self._snapshot.on_boot(self._version, frame.payload)
            if by_owner:
                records += self._snapshot.on_boot_accepted_by(self._owner)
            self._actions += persist(records)
        return True

    def _track(self, frame: Call | Send, now: float, utc: float) -> None:
        if self._snapshot is not None and frame.action in _SNAPSHOT_ACTIONS:
            records = self._snapshot.on_station_call(self._version, frame.action, frame.payload)
            self._actions += persist(records)
        if self._recorder is not None and frame.action in self._recorded_actions:
            records = self._recorder.on_message(frame.action, frame.payload, utc)
            if records:
                self._actions += persist(records)
        for seen in self._tracker.on_message(frame.action, frame.payload, utc):
            self._profiles.on_observation(seen, now)
            self._actions.append(ObservationMade(seen))

    def _read_malformed_from_station(
        self, malformed: MalformedFrame | UnknownMessageType, text: str
    ) -> Call | Answer | None:
        """Return the CALL or answer in a text that is not a valid frame; None: it is answered or dropped.

        An unknown message type is ignored (OCPP-J 2.x Part 4, 4.1.3).
        """
        self._log_malformed(malformed, text, self._station_peer)
        if isinstance(malformed, UnknownMessageType):
            return None
        frame = malformed.frame
        if isinstance(frame, Call) and self._up.owner.state is not OwnerState.AWAY:
            return frame  # it is the owner's to judge
        if isinstance(frame, _ANSWERS) and self._down.queue.find_action(frame.id) is not None:
            return frame
        answer = malformed_answer(self._version, malformed)
        if answer is not None:
            self._actions.append(ToStation(answer))
        return None

    # -- messages of the owner ------------------------------------------------------------------------

    def _on_backend_frame(
        self, frame: Frame | MalformedFrame | UnknownMessageType, text: str, now: float, utc: float
    ) -> None:
        if isinstance(frame, _UNREADABLE):
            lenient = self._read_malformed_from_backend(frame, text, OWNER)
            if lenient is None:
                return
            frame = lenient
        if self._policy is not None:
            action = frame.action if isinstance(frame, Call | Send) else None
            if isinstance(frame, CallResult):
                action = self._up.queue.find_action(frame.id)
            revision = self._policy.enforcer.revision
            if self._policy.ruled[revision, self._backend_peers[OWNER], type(frame), action]:
                checked = self._check_backend_frame(self._policy, frame, OWNER, utc)
                if checked is None:
                    return
                frame = checked
        match frame:
            case CallResult() | CallError():
                effects = self._up.on_answer(frame, now)
                if len(effects) == 1 and isinstance(effects[0], ToStation):
                    self._actions.append(effects[0])
                else:
                    self._apply(effects, now, utc)
            case Call():
                self._parts_deadline = -math.inf
                self._route_command(frame, now, utc)
            case Send() | CallResultError():
                self._actions.append(ToStation(frame.text))

    def _route_command(self, frame: Call, now: float, utc: float) -> None:
        refusal = self._permissions.find_refusal(self._station, frame.action)
        if refusal is not None:
            self._log(logging.WARNING, f"command rejected: {refusal}")
            self._actions.append(ToBackend(call_error(frame.id, COMMAND_DENIED, refusal)))
        elif (rejection := self._refuse_command(frame, self._owner)) is not None:
            signed = self._sign_answer(self._backend_peers[OWNER], frame.action, rejection, utc)
            self._actions.append(ToBackend(signed.text))
        elif self._up.owner.is_up:
            command = self._up.translate_command(frame)
            self._apply(self._down.on_command(command, OWNER, self._owner, now), now, utc)
        else:  # the owner counts as lost, and its link is being closed
            why = f"station {self._station} is being disconnected"
            self._actions.append(ToBackend(call_error(frame.id, "GenericError", why)))

    def _read_malformed_from_backend(
        self, malformed: MalformedFrame | UnknownMessageType, text: str, origin: str
    ) -> CallError | None:
        """Return the answer in a text that is not a valid frame; None: it is answered or dropped.

        A command has to be valid: an ambiguous one might raise a limit. The answer to a
        station's CALL passes as it is.
        """
        self._log_malformed(malformed, text, self._backend_peers[origin])
        if isinstance(malformed, UnknownMessageType):
            return None
        frame = malformed.frame
        if isinstance(frame, _ANSWERS) and self._up.queue.find_action(frame.id) is not None:
            return CallError(frame.text, frame.id, malformed_code(self._version))
        answer = malformed_answer(self._version, malformed)
        if answer is not None:
            self._actions.append(ToBackend(answer) if origin == OWNER else ToObserver(origin, answer))
        return None

    def _reply(self, origin: str, frame: Answer | CallResultError, now: float, utc: float) -> None:
        """Answer the backend that sent the command; an answer to a lost link goes nowhere."""
        if origin == OWNER:
            if self._up.owner.is_up:
                self._actions.append(ToBackend(frame.text))
        elif origin in self._observers and not isinstance(frame, CallResultError):
            self._run_observer(origin, AnswerToObserver(frame), now, utc)

    # -- observers ------------------------------------------------------------------------------------

    def _on_observer_text(self, backend: str, text: str, now: float, utc: float) -> None:
        frame = parse(text)
        if isinstance(frame, _UNREADABLE):
            self._read_malformed_from_backend(frame, text, backend)
            return
        if self._policy is not None and isinstance(frame, Call):
            checked = self._check_backend_frame(self._policy, frame, backend, utc)
            if checked is None:
                return
            frame = checked
        self._run_observer(backend, ObserverFrame(frame), now, utc)

    def _run_observer(self, backend: str, event: ObserverEvent, now: float, utc: float) -> None:
        self._parts_deadline = -math.inf
        for effect in self._observers[backend].handle(event, now):
            match effect:
                case ObserverCommand(call):
                    rejection = self._refuse_command(call, backend)
                    if rejection is not None:
                        self._run_observer(backend, AnswerToObserver(rejection), now, utc)
                        continue
                    self._apply(self._down.on_command(call, backend, backend, now), now, utc)
                case CallToObserver(call):
                    text = self._sign_call(self._station_peer, call.action, call.text, call.payload, utc)
                    self._actions.append(ToObserver(backend, text))
                case _:
                    self._actions.append(effect)

    def _copy(self, frame: Call | Send, result: bytes | None, now: float, utc: float) -> None:
        """Give each observer a message of the station, once it has its CALLRESULT."""
        given = None if result is None else self._tracker.read_transaction_id(frame.action, result)
        for backend in self._observers:
            self._run_observer(backend, ObserverCopy(frame, utc, given), now, utc)

    # -- authorize and sign ---------------------------------------------------------------------------

    def _check_station_frame(self, policy: PolicyCheck, frame: Frame, utc: float) -> Frame | None:
        action = self._down.queue.find_action(frame.id) if isinstance(frame, CallResult) else None
        is_repeated = isinstance(frame, Call) and self._up.queue.has_id(frame.id)
        checked = policy.check(frame, self._station_peer, action, utc, is_repeated=is_repeated)
        self._actions += checked.effects
        if checked.answer:
            self._actions.append(ToStation(checked.answer))
        return checked.frame

    def _check_backend_frame(
        self, policy: PolicyCheck, frame: Frame, origin: str, utc: float
    ) -> Frame | None:
        action = self._up.queue.find_action(frame.id) if isinstance(frame, CallResult) else None
        is_repeated = isinstance(frame, Call) and (
            self._down.queue.has_id(frame.id, OWNER)
            if origin == OWNER
            else self._observers[origin].has_command(frame.id)
        )
        checked = policy.check(frame, self._backend_peers[origin], action, utc, is_repeated=is_repeated)
        self._actions += checked.effects
        if checked.answer:
            self._actions.append(
                ToBackend(checked.answer) if origin == OWNER else ToObserver(origin, checked.answer)
            )
        return checked.frame

    def _sign_call(self, sender: PolicyPeer, action: str, text: str, payload: bytes, utc: float) -> str:
        """Return the text of a peer's CALL as it leaves its queue."""
        if self._policy is None:
            return text
        return self._add_effects_of(self._policy.sign_passing_call(sender, action, text, payload, utc))

    def _sign_own(self, receiver: PolicyPeer, action: str, text: str, payload: bytes, utc: float) -> str:
        """Return the text of a CALL of our own as it leaves its queue."""
        if self._policy is None:
            return text
        return self._add_effects_of(self._policy.sign_own(receiver, action, text, payload, utc))

    def _sign_answer(self, receiver: PolicyPeer, action: str, frame: Answer, utc: float) -> Answer:
        """Return an answer of our own, signed where the policy has it so."""
        if self._policy is None or not isinstance(frame, CallResult):
            return frame
        text = self._add_effects_of(self._policy.sign_own_answer(receiver, action, frame, utc))
        return CallResult(text, frame.id, frame.payload)

    def _add_effects_of(self, signed: SignedText) -> str:
        self._actions += signed.effects
        return signed.text

    # -- effects of the parts -------------------------------------------------------------------------

    def _apply(self, effects: Iterable[UpstreamEffect | DownstreamEffect], now: float, utc: float) -> None:
        """Append actions as they are; carry out what one part asks of another."""
        for effect in effects:
            match effect:
                case ToStation():
                    self._actions.append(effect)
                case CallSettled(frame, result, by_owner, is_own):
                    if frame.action == "BootNotification" and not self._take_boot(frame, result, by_owner):
                        continue
                    if self._recorder is not None and frame.action == "StartTransaction":
                        started = self._recorder.on_call_result(frame.action, frame.payload, result, utc)
                        self._actions += persist(started)
                    if frame.action in SETTLED_ACTIONS:
                        self._profiles.on_settled(frame, result, now)
                    if self._observers and not is_own:
                        self._copy(frame, result, now, utc)
                case ReplyToBackend(origin, answer, action):
                    if action:
                        answer = self._sign_answer(self._backend_peers[origin], action, answer, utc)
                    self._reply(origin, answer, now, utc)
                case ServedOffline(action, text):
                    self._actions.append(ToStation(self._sign_served(action, text, utc)))
                case CommandObeyed(origin, action, payload, result):
                    if origin == OWNER:
                        self._apply(self._up.on_command_obeyed(action, payload, result, now), now, utc)
                        if action in PASSWORD_ACTIONS:
                            self._actions.append(PasswordCommand(action, payload, result))
                case BootAnswered(is_accepted):
                    self._apply(self._down.on_boot_answered(now, is_accepted=is_accepted), now, utc)
                case OwnCall():
                    self._down.on_own_call(effect, now)
                case Unanswerable(reason):
                    self._settle(TRY_AGAIN_LATER, reason, now, utc)
                    return
                case _:
                    self._actions.append(effect)

    def _sign_served(self, action: str, text: str, utc: float) -> str:
        frame = None if self._policy is None else parse(text)
        if not isinstance(frame, CallResult):
            return text
        return self._sign_answer(self._station_peer, action, frame, utc).text

    # -- what follows ---------------------------------------------------------------------------------

    def _advance(self, now: float, utc: float) -> None:
        """Send what may be sent now, and end a drain that is done."""
        profiles = self._profiles
        has_changed = profiles.shared_revision != profiles.absorbed.revision
        if has_changed or self._own_calls_wait or now >= self._profiles_deadline:
            self._share_profiles(now, utc)
            self._parts_deadline = -math.inf
        up, down = self._up, self._down
        state = up.owner.state
        if down.is_stopping:
            if self._has_all_answers():
                self._settle(GOING_AWAY, "the controller stops", now, utc)
        elif state is OwnerState.LOST:
            self._advance_drain(now, utc)
        elif state is OwnerState.ATTACHED or state is OwnerState.CATCHING_UP:
            if self._serves_offline:
                self._apply(up.catch_up(now), now, utc)
            if up.queue.waiting:
                self._send_up(now, utc)
        if down.queue.waiting:
            self._send_down(now, utc)
        if self.is_open and not self._is_present and self._is_idle():
            self._settle(NORMAL, "all is delivered", now, utc)
        if not self.is_open:
            return
        self.accepts_messages = not up.queue.is_full
        if self._parts_deadline <= now:
            self._parts_deadline = self._find_parts_deadline()
        # Written out: min() of three would be a tenth of this function, which runs for each message.
        deadline = self._parts_deadline
        if up.queue.deadline < deadline:
            deadline = up.queue.deadline
        if down.queue.deadline < deadline:
            deadline = down.queue.deadline
        if self._serves_offline:
            deadline = min(deadline, up.deadline)
        if self._drain_until < math.inf:
            # With nothing left to send: be called at once, and close.
            deadline = min(deadline, self._drain_until) if self._down.queue.has_own else -math.inf
        self.next_deadline = deadline
        self._is_quiet = self._find_quiet()

    def _send_up(self, now: float, utc: float) -> None:
        """Send the next CALL; a text that is not a valid frame does not hold up the one behind it."""
        queue = self._up.queue
        while queue.waiting and (call := queue.next_call(now)) is not None:
            text = call.text
            if self._policy is not None and call.is_ruled:
                if call.token is None:
                    text = self._sign_call(self._station_peer, call.action, text, call.payload, utc)
                else:
                    text = self._sign_own(self._backend_peers[OWNER], call.action, text, call.payload, utc)
            self._actions.append(ToBackend(text))

    def _send_down(self, now: float, utc: float) -> None:
        # A station that is about to be closed gets our own limits alone.
        call = self._down.next_call(now, peer=self._up.owner.state is not OwnerState.LOST)
        if call is None:
            return
        if call.decision is None:
            text = self._sign_own(self._station_peer, call.action, call.text, call.payload, utc)
        else:
            sender = self._backend_peers[call.origin]
            text = self._sign_call(sender, call.action, call.text, call.payload, utc)
        self._actions.append(ToStation(text))

    def _advance_drain(self, now: float, utc: float) -> None:
        """Drain the station once its owner is lost for good: its fallback limits are sent first."""
        if self._drain_until == math.inf:
            self._drain_until = now + DRAIN_S
            self._apply(self._down.allow_commands(now), now, utc)
        self._send_down(now, utc)
        if now >= self._drain_until or self._is_drained():
            self._settle(TRY_AGAIN_LATER, f"backend {self._owner} is away", now, utc)

    def _has_all_answers(self) -> bool:
        """Return True if what was sent on behalf of others is answered: it would be sent twice else."""
        observers = self._observers.values()
        is_waiting = self._up.queue.has_sent or any(each.waits_for_answer for each in observers)
        return not (is_waiting or self._down.queue.has_sent_command)

    def _is_drained(self) -> bool:
        return not self._down.queue.has_own and not any(map(calls_for_limits, self._actions))

    def _is_idle(self) -> bool:
        return self._up.is_idle and all(each.is_idle for each in self._observers.values())

    def _share_profiles(self, now: float, utc: float) -> None:
        """Report to the site and to the owner what follows from the owner's profiles and our limits."""
        self._actions += [ObservationMade(seen) for seen in self._profiles.observations(now)]
        held = self._profiles.changed_profiles(now)
        if held is not None:  # before the answer that accepts them
            self._actions += persist_profiles(self._station, self._version, held)
        self._profiles.mark_shared()
        for origin, text in self._profiles.responses(now):
            answer = parse(text)
            if isinstance(answer, _ANSWERS):
                self._reply(origin, answer, now, utc)
        # One batch of CALLs at a time: their number is bounded by that.
        self._own_calls_wait = not self._up.owner.is_up or self._up.queue.has_own
        if not self._own_calls_wait:
            for action, payload in self._profiles.own_calls(now):
                self._up.push_own(str(uuid.uuid4()), action, payload)

    def _find_parts_deadline(self) -> float:
        # While own CALLs wait for the owner, their time may have passed: they are sent when it is back.
        profiles = self._profiles.find_deadline(sends_calls=not self._own_calls_wait)
        self._profiles_deadline = math.inf if profiles is None else profiles
        deadline = min(self._up.deadline, self._down.deadline, self._profiles_deadline)
        return min([deadline, *(each.deadline for each in self._observers.values())])

    def _settle(self, code: int, reason: str, now: float, utc: float) -> None:
        """Close: our own CALLs and the backends' are ended; the station keeps its own for later."""
        self._apply(self._down.settle(reason), now, utc)
        self._up.settle()
        self._drain_until = self.next_deadline = math.inf
        self.is_open = False
        self._actions.append(Close(code, reason))

    # -- small helpers --------------------------------------------------------------------------------

    def _log(self, level: int, line: str) -> None:
        self._actions.append(LogEntry(level, line))

    def _log_malformed(
        self, malformed: MalformedFrame | UnknownMessageType, text: str, sender: PolicyPeer
    ) -> None:
        if isinstance(malformed, UnknownMessageType):
            line = f"frame of unknown type ignored {sender.name} type={malformed.type}"
        else:
            line = (
                f"malformed frame received {sender.name} reason={malformed.reason!r} characters={len(text)}"
            )
        if sender is not self._station_peer:
            line += f" station={self._station}"
        self._log(logging.WARNING, line)
