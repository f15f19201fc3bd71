"""The relay of one station's link: which message goes where, and that each CALL has one answer.

    station  --CALL-->  upward    --CALL-->  owner        one outstanding, in order
    station  <-CALL---  downward  <-CALL---  owner, observers, and the controller's own
                        copies    --CALL-->  observers

Here is only the routing between them. `upward` knows what is done while the owner is away, `downward`
what may be sent to the station, `observing` what the other backends hear. A message that passes is the
text that came.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial

from controller.model.deadlines import earliest
from controller.model.effects import (
    BackendLost,
    BackendUp,
    FromBackend,
    LogEntry,
    OwnCall,
    TimePassed,
    ToBackend,
)
from controller.model.journal import Persist, Record
from controller.ocpp import v16
from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    Send,
    Version,
    call_error,
    call_result,
)
from controller.ocpp.payloads import is_accepted, read_payload
from controller.ocpp.station_state import StationStateTracker
from controller.offline.offline_handler import OfflineHandler
from controller.offline.station_snapshot import StationSnapshot
from controller.profiles.arbiter import ProfileArbiter
from controller.profiles.profile_messages import ProfilesAbsorbed
from controller.relay import downstream, upstream
from controller.relay.command_permissions import DENIED, CommandPermissions
from controller.relay.downstream import OWNER, CommandObeyed, Downstream, ReplyToBackend
from controller.relay.events import (
    Action,
    Close,
    Event,
    FromObserver,
    FromStation,
    ObservationMade,
    ObserverLost,
    ObserverUp,
    OwnAnswered,
    ToObserver,
    ToStation,
    calls_for_limits,
    saved_at_once,
)
from controller.relay.hearing import UnreadableText, parse_text
from controller.relay.policy_check import PolicyPeer, RelayPolicyCheck
from controller.relay.secondary_backend import (
    AnswerToObserver,
    ObserverCommand,
    ObserverCopy,
    ObserverEvent,
    SecondaryBackend,
)
from controller.relay.upstream import (
    CallSettled,
    CommandsAllowed,
    OwnerMode,
    ServedOffline,
    Unanswerable,
    Upstream,
)
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.signature_format import Direction

FAREWELL_S = 5.0
"""How long a station stays connected after its backend is lost, so that its safe limits reach it."""

NORMAL = 1000
TRY_AGAIN_LATER = 1013
"""WebSocket close codes (RFC 6455, 7.4.1, and IANA): all is done; the service is away for the moment."""


class StationRelay:
    """The state machine of one connected station. `handle` takes an event and the time in s, monotonic.

    `grace_s` and `stead`: see `Upstream`. `commands`: what the owner may. `observers` by their backend's
    name; `story`: what those hear of the station that attach later. `utc_of` turns monotonic s into POSIX
    s. Without a station (`present` False) it only delivers what is kept for the backends, and is done when
    that is. With a `gate` messages are held against the policy of signatures.
    """

    def __init__(
        self,
        station: str,
        backend: str,
        version: Version,
        observer: StationStateTracker,
        ownership: ProfileArbiter,
        call_timeout_s: float,
        now: float,
        *,
        grace_s: float = 0.0,
        stead: OfflineHandler | None = None,
        observers: Mapping[str, SecondaryBackend] | None = None,
        story: StationSnapshot | None = None,
        commands: CommandPermissions | None = None,
        utc_of: Callable[[float], float] = lambda now: now,
        present: bool = True,
        gate: PolicyEnforcer | None = None,
    ) -> None:
        self._station = station
        self._backend = backend
        self._version = version
        self._observer = observer
        self._ownership = ownership
        self._present = present
        self._stead = stead
        self._observers = dict(observers or {})
        self._story = story
        self._commands = commands
        self._utc_of = utc_of
        seen = RelayPolicyCheck(gate, version, station, utc_of, lambda action: self._actions.append(action))
        self._up = Upstream(station, backend, observer, call_timeout_s, grace_s, stead, seen.seal_up)
        self._down = Downstream(station, ownership, call_timeout_s, now, present=present, seal=seen.seal_down)
        self._inspection = seen
        self._below, self._above = self._peers()
        seen.meet(self._below, self._above)
        self._farewell_until: float | None = None
        self._is_open = True
        self._actions: list[Action] = []

    @property
    def is_open(self) -> bool:
        """False once the relay has asked for all links to be closed."""
        return self._is_open

    @property
    def hears_station(self) -> bool:
        """False while the station's line is full: leave its further messages in the socket."""
        return self._up.hears

    def wants(self, backend: str) -> bool:
        """Whether there should be a link to this backend; one that is gone is to be made anew."""
        return self._is_open and (backend != self._backend or self._up.mode is not OwnerMode.LOST)

    def can_move(self, backend: str) -> bool:
        """Whether its link may be closed and made anew, and nothing be lost or late by it."""
        if backend == self._backend:
            return self._up.can_move
        return self._observers[backend].is_idle

    @property
    def _is_idle(self) -> bool:
        """Whether nothing waits for any backend."""
        return self._up.is_idle and all(each.is_idle for each in self._observers.values())

    @property
    def _peers_may_command(self) -> bool:
        """A station that is about to be closed hears our own limits alone."""
        return self._up.mode is not OwnerMode.LOST

    @property
    def deadline(self) -> float | None:
        """When the relay next wants a Tick (s, monotonic)."""
        if not self._is_open:
            return None
        if self._farewell_until is not None and not self._down.concerns_limits:
            return -math.inf  # nothing left to say: look once more and close
        watched = (each.deadline for each in self._observers.values())
        return earliest(self._up.deadline, self._down.deadline, self._farewell_until, *watched)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; the actions are to be done in their order."""
        if not self._is_open:
            token = event.token if isinstance(event, OwnCall) else None
            return [] if token is None else [OwnAnswered(token, None, "the link is closed")]
        self._actions = []
        match event:
            case FromStation(text):
                self._from_station(text, now)
            case FromBackend(text):
                self._from_backend(text, now)
            case OwnCall():
                self._do(self._down.own(event), now)
            case BackendUp():
                self._do(self._up.up(now), now)
            case BackendLost(reason):
                self._down.forget(OWNER)
                self._do(self._up.lost(reason, now), now)
            case FromObserver():
                self._from_observer(event, now)
            case ObserverUp() | ObserverLost():
                self._observer_says(event.backend, event, now)
            case TimePassed():
                self._do(self._up.tick(now), now)
                self._do(self._down.tick(now), now)
                for backend in self._observers:
                    self._observer_says(backend, event, now)
        self._advance(now)
        return saved_at_once(self._actions)

    def close(self, reason: str, now: float) -> list[Action]:
        """The station is gone, or we stop: settle what is open."""
        if not self._is_open:
            return []
        self._actions = []
        self._settle(TRY_AGAIN_LATER, reason, now)
        return saved_at_once(self._actions)

    # -- what comes ---------------------------------------------------------------------------------

    def _from_station(self, text: str, now: float) -> None:
        frame = self._parse(text, self._below, now)
        if frame is None:
            return
        if isinstance(frame, Call) and frame.action == "BootNotification":
            self._down.boots()
        elif not self._up.has("BootNotification"):
            self._do(self._down.allow(), now)
        match frame:
            case Call():
                self._observe(frame, now)
                if self._ownership.on_station_call(frame, now):
                    self._do([ServedOffline(frame.action, call_result(frame.id, b"{}"))], now)
                else:
                    self._do(self._up.take(frame, now), now)
            case Send():
                self._observe(frame, now)
                self._copy(frame, None, now)
                self._do(self._up.take_send(frame), now)
            case CallResult() | CallError():
                self._do(self._down.answered(frame, now), now)
            case CallResultError():
                self._reply(OWNER, frame.text, now)

    def _from_backend(self, text: str, now: float) -> None:
        frame = self._parse(text, self._above[OWNER], now)
        match frame:
            case Call():
                self._command(frame, now)
            case Send() | CallResultError():
                self._actions.append(ToStation(frame.text))
            case CallResult() | CallError():
                self._do(self._up.answered(frame, now), now)

    def _command(self, frame: Call, now: float) -> None:
        """A CALL of the owner: into the station's line, or answered by us."""
        refusal = None if self._commands is None else self._commands.refusal(self._station, frame.action)
        if refusal is not None:
            self._note(logging.WARNING, refusal)
            self._actions.append(ToBackend(call_error(frame.id, DENIED, refusal)))
        elif self._up.mode is OwnerMode.UP:
            asked = frame if self._stead is None else self._stead.translate_command(frame)
            self._do(self._down.command(asked, OWNER, f"backend {self._backend}", now), now)
        else:  # we have given it up, yet it speaks
            why = f"station {self._station} is being disconnected"
            self._actions.append(ToBackend(call_error(frame.id, "GenericError", why)))

    def _from_observer(self, event: FromObserver, now: float) -> None:
        text = self._inspection.look_at_command(event.text, self._above[event.backend], now)
        if text is not None:
            self._observer_says(event.backend, FromObserver(event.backend, text), now)

    def _parse(self, text: str, sender: PolicyPeer, now: float) -> Frame | None:
        """A frame that may go on; whatever else there is to say about the text is said."""
        heard = parse_text(self._version, text, sender.name)
        if not isinstance(heard, UnreadableText):
            return self._inspection.look(heard, sender, now)
        self._note(logging.WARNING, heard.note)
        if heard.answer is not None:
            self._actions.append(sender.back(heard.answer))
        return None

    def _peers(self) -> tuple[PolicyPeer, dict[str, PolicyPeer]]:
        """The station; and its backends, by the origin of their commands."""
        up, down, owner = self._up, self._down, self._backend
        above = {
            name: PolicyPeer(Direction.DOWN, name, partial(ToObserver, name), each.awaits)
            for name, each in self._observers.items()
        }
        above[OWNER] = PolicyPeer(
            Direction.DOWN, owner, ToBackend, partial(down.awaits, origin=OWNER), up.asked
        )
        return PolicyPeer(Direction.UP, self._station, ToStation, up.awaits, down.asked), above

    # -- what follows -------------------------------------------------------------------------------

    def _do(self, outcomes: Iterable[upstream.Outcome | downstream.Outcome], now: float) -> None:
        """Actions as they are; what one part wants of another is done here."""
        for outcome in outcomes:
            match outcome:
                case ReplyToBackend(origin, text, action):
                    if action:
                        text = self._inspection.sign_answer(self._above[origin], action, text, now)
                    self._reply(origin, text, now)
                case ServedOffline(action, text):
                    text = self._inspection.sign_answer(self._below, action, text, now)
                    self._actions.append(ToStation(text))
                case CommandObeyed(origin, action, payload, result):
                    if origin == OWNER and self._stead is not None:
                        self._save(self._stead.on_command_result(action, payload, result, now))
                case CallSettled(frame, result):
                    self._ownership.on_settled(frame, result)
                    if frame.action == "BootNotification" and not is_accepted(result):
                        self._do(self._down.on_boot_answered(accepted=False), now)
                    self._copy(frame, result, now)
                case CommandsAllowed():
                    self._do(self._down.on_boot_answered(accepted=True), now)
                case OwnCall():
                    self._do(self._down.own(outcome), now)
                case Unanswerable(reason):
                    self._settle(TRY_AGAIN_LATER, reason, now)
                    return
                case _:
                    self._actions.append(outcome)

    def _reply(self, origin: str, text: str, now: float) -> None:
        """An answer for the backend that asked; where its link is gone, nobody waits for it."""
        if origin != OWNER:
            if origin in self._observers:
                self._observer_says(origin, AnswerToObserver(text), now)
        elif self._up.mode is OwnerMode.UP:
            self._actions.append(ToBackend(text))

    # -- observers ----------------------------------------------------------------------------------

    def _copy(self, frame: Call | Send, result: bytes | None, now: float) -> None:
        """Each observer hears what the station has said, once that counts."""
        if not self._observers:
            return
        given = None if result is None else _started(frame.action, result)
        for backend in self._observers:
            self._observer_says(backend, ObserverCopy(frame, self._utc_of(now), given), now)

    def _observer_says(self, backend: str, event: ObserverEvent, now: float) -> None:
        for action in self._observers[backend].handle(event, now):
            if isinstance(action, ObserverCommand):
                name = f"backend {backend}"
                self._do(self._down.command(action.call, backend, name, now), now)
            elif isinstance(action, ToObserver):
                self._actions.append(ToObserver(backend, self._inspection.seal_copy(action.text, now)))
            else:
                self._actions.append(action)

    def _save(self, words: Sequence[Record]) -> None:
        if words:
            self._actions.append(Persist(tuple(words)))

    def _observe(self, frame: Call | Send, now: float) -> None:
        if self._story is not None:
            self._save(self._story.on_station_call(self._version, frame.action, frame.payload))
        for seen in self._observer.on_message(frame.action, frame.payload, self._utc_of(now)):
            self._ownership.on_observation(seen, now)
            self._actions.append(ObservationMade(seen))

    def _share(self, now: float) -> None:
        """What follows from the backend's profiles and ours, for the site and for the backend."""
        held = self._ownership.changed_profiles(now)
        if held is not None:
            self._actions.append(ProfilesAbsorbed(tuple(held)))
        self._actions += [ObservationMade(seen) for seen in self._ownership.observations(now)]
        for origin, text in self._ownership.responses(now):
            self._reply(origin, text, now)
        if self._up.mode is OwnerMode.UP and not self._up.has_own:  # one batch at a time: the line is bounded
            for action, payload in self._ownership.own_calls(now):
                self._up.own(str(uuid.uuid4()), action, payload)

    def _advance(self, now: float) -> None:
        """Send what may be sent now, and end a farewell that has nothing left to say."""
        self._share(now)
        if self._up.mode is OwnerMode.LOST and self._farewell_until is None:
            self._farewell_until = now + FAREWELL_S
            self._do(self._down.allow(), now)
        self._do(self._up.advance(now), now)
        self._do(self._down.advance(now, peers=self._peers_may_command), now)
        if self._farewell_until is not None and (now >= self._farewell_until or self._said_farewell()):
            self._settle(TRY_AGAIN_LATER, f"backend {self._backend} is away", now)
        if not self._present and self._is_open and self._is_idle:
            self._settle(NORMAL, "all is delivered", now)

    def _said_farewell(self) -> bool:
        return not any(map(calls_for_limits, self._actions)) and not self._down.concerns_limits

    def _settle(self, code: int, reason: str, now: float) -> None:
        """Close: our own CALLs and the backend's get their end; the station keeps its own for later."""
        self._do(self._down.settle(reason), now)
        self._up.settle()
        self._farewell_until = None
        self._is_open = False
        self._actions.append(Close(code, reason))

    def _note(self, level: int, text: str) -> None:
        self._actions.append(LogEntry(level, text))


def _started(action: str, result: bytes) -> int | None:
    """The transaction id that a station is given in a 1.6 StartTransaction's answer."""
    if action != "StartTransaction":
        return None
    given = read_payload(v16.StartTransactionResultV16, result)
    return None if given is None else given.transaction_id
