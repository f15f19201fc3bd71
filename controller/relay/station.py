"""The relay of one station's link: which message goes where, and that each CALL has one answer.

    station  --CALL-->  line  --CALL-->  backend        one outstanding, in order
    station  <-CALL---  line  <-CALL---  backend, and the controller's own

Modes of a link, `strict` as OCPP 2.x Part 4 section 6.3 has it:

    DIALLING   the station is there, the backend not yet: CALLs wait in line
    UP         both are there
    FAREWELL   the backend is gone: only our own limits still go to the station, for a moment
    CLOSED     nothing more is done

A message that passes is the text that came. The controller's own CALLs wait until the station may be
commanded: it has been accepted by its backend, or did not boot anew.

A CALL that its backend never answers is answered by us with an error, but for transaction messages: an
error would count as an attempt and the station would drop them after a few (1.6: TransactionMessageAttempts).
There we close, as for a lost backend, and the station keeps them.
"""

from __future__ import annotations

import enum
import logging
import math

from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    Malformed,
    Send,
    UnknownType,
    Version,
    call,
    call_error,
    malformed_answer,
    parse,
)
from controller.ocpp.observations import ProfilesTouched
from controller.ocpp.observer import Observer, accepted
from controller.relay.events import (
    Action,
    BackendLost,
    BackendUp,
    Close,
    Commandable,
    Event,
    FromBackend,
    FromStation,
    Note,
    Observed,
    OwnAnswered,
    OwnCall,
    Tick,
    ToBackend,
    ToStation,
)
from controller.relay.line import CallLine, Rank, Waiting
from controller.relay.ownership import Effect, Ownership

LINE_DEPTH = 32
"""CALLs of one peer that may wait: OCPP allows one, stations have been seen with two."""

FAREWELL_S = 5.0
"""How long a station stays connected after its backend is lost, so that its safe limits reach it."""

QUIET_S = 3.0
"""A station that has connected and said nothing for so long has not booted anew: it may be commanded."""

TRY_AGAIN_LATER = 1013
"""WebSocket close code (IANA registry): the service is away for the moment."""

_TRANSACTION_MESSAGES = {"StartTransaction", "StopTransaction", "MeterValues", "TransactionEvent"}


class _Mode(enum.Enum):
    DIALLING = "dialling"
    UP = "up"
    FAREWELL = "farewell"
    CLOSED = "closed"


class StationRelay:
    """The state machine of one connected station. `handle` takes an event and the time in s, monotonic."""

    def __init__(
        self,
        station: str,
        backend: str,
        version: Version,
        observer: Observer,
        ownership: Ownership,
        call_timeout_s: float,
        now: float,
    ) -> None:
        self._station = station
        self._backend = backend
        self._version = version
        self._observer = observer
        self._ownership = ownership
        self._mode = _Mode.DIALLING
        self._up = CallLine(LINE_DEPTH, call_timeout_s)
        self._down = CallLine(LINE_DEPTH, call_timeout_s)
        self._held_sends: list[str] = []
        self._commandable = False
        self._quiet_until: float | None = now + QUIET_S
        self._farewell_until: float | None = None
        self._actions: list[Action] = []

    @property
    def is_open(self) -> bool:
        """False once the relay has asked for both links to be closed."""
        return self._mode is not _Mode.CLOSED

    @property
    def hears_station(self) -> bool:
        """False while the station's line is full: leave its further messages in the socket."""
        return not self._up.full

    @property
    def deadline(self) -> float | None:
        """When the relay next wants a Tick (s, monotonic)."""
        if self._mode is _Mode.FAREWELL and not self._down.concerns_limits:
            return -math.inf  # nothing left to say: look once more and close
        times = (self._up.deadline, self._down.deadline, self._quiet_until, self._farewell_until)
        return min((time for time in times if time is not None), default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; the actions are to be done in their order."""
        if self._mode is _Mode.CLOSED:
            return (
                [OwnAnswered(event.token, None, "the link is closed")] if isinstance(event, OwnCall) else []
            )
        self._actions = []
        match event:
            case FromStation(text):
                self._from_station(text)
            case FromBackend(text):
                self._from_backend(text)
            case OwnCall():
                rank = Rank.URGENT if event.urgent else Rank.OWN
                text = call(event.id, event.action, event.payload)
                self._down.put(Waiting(event.id, event.action, text, event.payload, rank, event.token))
            case BackendUp():
                self._mode = _Mode.UP
                self._actions += [ToBackend(text) for text in self._held_sends]
                self._held_sends.clear()
            case BackendLost(reason):
                self._lose_backend(reason, now)
            case Tick():
                self._tick(now)
        self._advance(now)
        return self._actions

    def close(self, reason: str) -> list[Action]:
        """The station is gone, or we stop: settle what is open."""
        if self._mode is _Mode.CLOSED:
            return []
        self._actions = []
        self._settle(TRY_AGAIN_LATER, reason)
        return self._actions

    # -- what comes ---------------------------------------------------------------------------------

    def _from_station(self, text: str) -> None:
        frame = self._parse(text, f"station {self._station}", ToStation)
        if frame is None:
            return
        if isinstance(frame, Call) and frame.action == "BootNotification":
            self._quiet_until = None  # it boots anew: from here on the backend's answer decides
        elif not self._up.has("BootNotification"):
            self._allow_commands()
        match frame:
            case Call():
                self._observe(frame)
                self._line_up(frame)
            case Send():
                self._observe(frame)
                self._pass_send(frame)
            case CallResult() | CallError():
                self._answer_from_station(frame)
            case CallResultError():
                self._pass_to_backend(frame.text)

    def _from_backend(self, text: str) -> None:
        frame = self._parse(text, f"backend {self._backend}", ToBackend)
        match frame:
            case Call():
                self._command(frame)
            case Send() | CallResultError():
                self._actions.append(ToStation(frame.text))
            case CallResult() | CallError():
                self._answer_from_backend(frame)

    def _parse(self, text: str, sender: str, back: type[ToStation] | type[ToBackend]) -> Frame | None:
        frame = parse(text)
        if isinstance(frame, UnknownType):
            self._note(logging.WARNING, f"{sender} sent a frame of unknown type {frame.type}: ignored")
            return None
        if isinstance(frame, Malformed):
            self._note(
                logging.WARNING,
                f"{sender} sent a frame that we cannot read: {frame.reason} ({len(text)} characters)",
            )
            answer = malformed_answer(self._version, frame)
            if answer is not None:
                self._actions.append(back(answer))
            return None
        return frame

    def _line_up(self, frame: Call) -> None:
        if self._up.holds(frame.text):
            self._note(
                logging.INFO,
                f"station {self._station} repeats {frame.action} {frame.id} before its answer: sent on once",
            )
            return
        self._up.put(Waiting(frame.id, frame.action, frame.text, frame.payload))

    def _pass_send(self, frame: Send) -> None:
        if self._mode is _Mode.DIALLING:
            if len(self._held_sends) < LINE_DEPTH:
                self._held_sends.append(frame.text)
            else:
                self._note(
                    logging.WARNING, f"station {self._station}: {frame.action} (SEND) dropped, no backend yet"
                )
        else:
            self._pass_to_backend(frame.text)

    def _pass_to_backend(self, text: str) -> None:
        if self._mode is _Mode.UP:
            self._actions.append(ToBackend(text))

    def _command(self, frame: Call) -> None:
        """A CALL of the backend: into the station's line, or refused."""
        ruling = self._ownership.judge(frame)
        if ruling.effect is Effect.LOOSENS:
            self._note(
                logging.WARNING,
                f"backend {self._backend}: {frame.action} to {self._station} refused, {ruling.reason}",
            )
            self._actions.append(ToBackend(ruling.answer))
        elif self._down.holds(frame.text):
            self._note(
                logging.INFO,
                f"backend {self._backend} repeats {frame.action} {frame.id} to {self._station}: sent on once",
            )
        elif self._down.full:
            self._refuse_backend(frame.id, f"station {self._station} has {LINE_DEPTH} calls waiting already")
        else:
            wipes = ruling.effect is Effect.WIPES
            self._down.put(
                Waiting(frame.id, frame.action, frame.text, frame.payload, wipes_limits=wipes),
            )

    def _answer_from_station(self, frame: Answer) -> None:
        waiting = self._down.answered(frame.id)
        if waiting is None:
            self._note(
                logging.INFO,
                f"station {self._station}: answer to {frame.id} unasked for: dropped",
            )
        elif waiting.token is None:
            self._pass_to_backend(frame.text)
            if isinstance(frame, CallResult):
                self._observe_wiping(waiting)
        elif isinstance(frame, CallResult):
            self._actions.append(OwnAnswered(waiting.token, frame.payload))
        else:
            self._actions.append(
                OwnAnswered(waiting.token, None, f"{frame.code} {frame.description}".strip())
            )

    def _answer_from_backend(self, frame: Answer) -> None:
        waiting = self._up.answered(frame.id)
        if waiting is None:
            self._note(
                logging.INFO,
                f"backend {self._backend}: answer to {frame.id} of {self._station} unasked for: dropped",
            )
            return
        self._actions.append(ToStation(frame.text))
        if isinstance(frame, CallResult):
            for seen in self._observer.answered(waiting.action, waiting.payload, frame.payload):
                self._actions.append(Observed(seen))
            if waiting.action == "BootNotification" and accepted(frame.payload):
                self._allow_commands()

    # -- what follows -------------------------------------------------------------------------------

    def _observe(self, frame: Call | Send) -> None:
        self._actions += [Observed(seen) for seen in self._observer.request(frame.action, frame.payload)]

    def _observe_wiping(self, waiting: Waiting) -> None:
        if waiting.wipes_limits:
            self._actions.append(Observed(ProfilesTouched(waiting.action)))

    def _allow_commands(self) -> None:
        self._quiet_until = None
        if not self._commandable:
            self._commandable = True
            self._actions.append(Commandable())

    def _lose_backend(self, reason: str, now: float) -> None:
        if self._mode is _Mode.FAREWELL:
            return  # we have given it up already
        self._note(
            logging.WARNING,
            f"backend {self._backend} is away for station {self._station}: {reason}; "
            "the station is closed as soon as its safe limit is in it (strict)",
        )
        self._mode = _Mode.FAREWELL
        self._up.drain()  # unanswered: the station keeps them
        self._allow_commands()
        self._farewell_until = now + FAREWELL_S

    def _tick(self, now: float) -> None:
        if self._quiet_until is not None and now >= self._quiet_until:
            self._allow_commands()
        late = self._up.expired(now)
        if late is not None:
            self._backend_is_late(late, now)
        late = self._down.expired(now)
        if late is not None:
            self._station_is_late(late)

    def _backend_is_late(self, late: Waiting, now: float) -> None:
        if late.action in _TRANSACTION_MESSAGES:
            self._lose_backend(f"it does not answer {late.action}", now)
            return
        self._note(
            logging.WARNING,
            f"backend {self._backend} does not answer {late.action} {late.id} of {self._station}",
        )
        self._actions.append(
            ToStation(call_error(late.id, "GenericError", "the backend gave no answer in time"))
        )

    def _station_is_late(self, late: Waiting) -> None:
        self._note(logging.WARNING, f"station {self._station} does not answer {late.action} {late.id}")
        if late.token is not None:
            self._actions.append(OwnAnswered(late.token, None, "no answer in time"))
        else:
            self._refuse_backend(late.id, f"station {self._station} gave no answer in time")
            self._observe_wiping(late)  # it may have done it all the same

    def _refuse_backend(self, message_id: str, why: str) -> None:
        self._pass_to_backend(call_error(message_id, "GenericError", why))

    def _advance(self, now: float) -> None:
        """Send what may be sent now, and end a farewell that has nothing left to say."""
        if self._mode is _Mode.UP:
            following = self._up.next(now)
            if following is not None:
                self._actions.append(ToBackend(following.text))
        following = self._down.next(now, own=self._commandable, peer=self._mode is _Mode.UP)
        if following is not None:
            self._actions.append(ToStation(following.text))
        if self._farewell_until is not None and (now >= self._farewell_until or self._said_farewell()):
            self._settle(TRY_AGAIN_LATER, f"backend {self._backend} is away")

    def _said_farewell(self) -> bool:
        # After a `Commandable` or wiped limits of this very turn, ours are still to come.
        fresh = any(action == Commandable() or _tells_of_wiped_limits(action) for action in self._actions)
        return not fresh and not self._down.concerns_limits

    def _settle(self, code: int, reason: str) -> None:
        """Close: our own CALLs and the backend's get their end; the station keeps its own for later."""
        for waiting in self._down.drain():
            if waiting.token is not None:
                self._actions.append(OwnAnswered(waiting.token, None, reason))
            else:
                self._refuse_backend(waiting.id, reason)
        self._up.drain()
        self._quiet_until = self._farewell_until = None
        self._mode = _Mode.CLOSED
        self._actions.append(Close(code, reason))

    def _note(self, level: int, text: str) -> None:
        self._actions.append(Note(level, text))


def _tells_of_wiped_limits(action: Action) -> bool:
    return isinstance(action, Observed) and isinstance(action.observation, ProfilesTouched)
