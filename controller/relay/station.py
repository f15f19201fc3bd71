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
import uuid

from controller.ocpp.frames import (
    Answer,
    Call,
    CallError,
    CallResult,
    CallResultError,
    Frame,
    Send,
    Version,
    call,
    call_error,
    call_result,
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
    Kept,
    Note,
    Observed,
    OwnAnswered,
    OwnCall,
    Tick,
    ToBackend,
    ToStation,
    calls_for_limits,
)
from controller.relay.hearing import Misheard, hear
from controller.relay.line import CallLine, Rank, Waiting
from controller.relay.ownership import Ownership

LINE_DEPTH = 32
"""CALLs of one peer that may wait: OCPP allows one, stations have been seen with two."""

FAREWELL_S = 5.0
"""How long a station stays connected after its backend is lost, so that its safe limits reach it."""

QUIET_S = 3.0
"""A station that has connected and said nothing for so long has not booted anew: it may be commanded."""

TRY_AGAIN_LATER = 1013
"""WebSocket close code (IANA registry): the service is away for the moment."""

_NOBODY = 0
"""The token of our own calls to the backend: nobody waits for their answers."""

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
        if self._mode is _Mode.CLOSED:
            return None
        if self._mode is _Mode.FAREWELL and not self._down.concerns_limits:
            return -math.inf  # nothing left to say: look once more and close
        lines = (self._up.deadline, self._down.deadline)
        times = (*lines, self._quiet_until, self._farewell_until, self._ownership.deadline)
        return min((time for time in times if time is not None), default=None)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Take one event; the actions are to be done in their order."""
        if self._mode is _Mode.CLOSED:
            ended = "the link is closed"
            return [OwnAnswered(event.token, None, ended)] if isinstance(event, OwnCall) else []
        self._actions = []
        match event:
            case FromStation(text):
                self._from_station(text, now)
            case FromBackend(text):
                self._from_backend(text, now)
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

    def _from_station(self, text: str, now: float) -> None:
        frame = self._parse(text, f"station {self._station}", ToStation)
        if frame is None:
            return
        if isinstance(frame, Call) and frame.action == "BootNotification":
            self._quiet_until = None  # it boots anew: from here on the backend's answer decides
        elif not self._up.has("BootNotification"):
            self._allow_commands()
        match frame:
            case Call():
                self._observe(frame, now)
                if self._ownership.takes(frame, now):
                    self._actions.append(ToStation(call_result(frame.id, b"{}")))
                else:
                    self._line_up(frame)
            case Send():
                self._observe(frame, now)
                self._pass_send(frame)
            case CallResult() | CallError():
                self._answer_from_station(frame, now)
            case CallResultError():
                self._pass_to_backend(frame.text)

    def _from_backend(self, text: str, now: float) -> None:
        frame = self._parse(text, f"backend {self._backend}", ToBackend)
        match frame:
            case Call():
                self._command(frame, now)
            case Send() | CallResultError():
                self._actions.append(ToStation(frame.text))
            case CallResult() | CallError():
                self._answer_from_backend(frame)

    def _parse(self, text: str, sender: str, back: type[ToStation] | type[ToBackend]) -> Frame | None:
        heard = hear(self._version, text, sender)
        if not isinstance(heard, Misheard):
            return heard
        self._note(logging.WARNING, heard.note)
        if heard.answer is not None:
            self._actions.append(back(heard.answer))
        return None

    def _line_up(self, frame: Call) -> None:
        if self._up.holds(frame.text):
            what = f"{frame.action} {frame.id} before its answer: sent on once"
            self._note(logging.INFO, f"station {self._station} repeats {what}")
            return
        self._up.put(Waiting(frame.id, frame.action, frame.text, frame.payload))

    def _pass_send(self, frame: Send) -> None:
        if self._mode is _Mode.DIALLING:
            if len(self._held_sends) < LINE_DEPTH:
                self._held_sends.append(frame.text)
            else:
                what = f"{frame.action} (SEND) dropped, no backend yet"
                self._note(logging.WARNING, f"station {self._station}: {what}")
        else:
            self._pass_to_backend(frame.text)

    def _pass_to_backend(self, text: str) -> None:
        if self._mode is _Mode.UP:
            self._actions.append(ToBackend(text))

    def _command(self, frame: Call, now: float) -> None:
        """A CALL of the backend: into the station's line, or answered by us."""
        ruling = self._ownership.judge(frame, now)
        if ruling.call is None:
            if ruling.reason:
                what = f"{frame.action} to {self._station} refused, {ruling.reason}"
                self._note(logging.WARNING, f"backend {self._backend}: {what}")
            self._actions.append(ToBackend(ruling.answer))
        elif self._down.holds(ruling.call.text):
            what = f"{frame.action} {frame.id} to {self._station}: sent on once"
            self._note(logging.INFO, f"backend {self._backend} repeats {what}")
        elif self._down.full:
            self._ownership.unanswered(ruling)
            self._refuse_backend(frame.id, f"station {self._station} has {LINE_DEPTH} calls waiting already")
        else:
            sent = ruling.call
            self._down.put(Waiting(sent.id, sent.action, sent.text, sent.payload, ruling=ruling))

    def _answer_from_station(self, frame: Answer, now: float) -> None:
        waiting = self._down.answered(frame.id)
        if waiting is None:
            self._note(logging.INFO, f"station {self._station}: answer to {frame.id} unasked for: dropped")
        elif waiting.ruling is not None:
            text = self._ownership.answered(waiting.ruling, frame, now)
            if text is not None:
                self._pass_to_backend(text)
            if isinstance(frame, CallResult):
                self._observe_wiping(waiting)
        elif waiting.token is not None:
            if isinstance(frame, CallResult):
                self._actions.append(OwnAnswered(waiting.token, frame.payload))
            else:
                why = f"{frame.code} {frame.description}".strip()
                self._actions.append(OwnAnswered(waiting.token, None, why))

    def _answer_from_backend(self, frame: Answer) -> None:
        waiting = self._up.answered(frame.id)
        if waiting is None:
            what = f"answer to {frame.id} of {self._station} unasked for: dropped"
            self._note(logging.INFO, f"backend {self._backend}: {what}")
            return
        if waiting.token is not None:
            return  # it has heard us: that is all that we wanted
        self._actions.append(ToStation(frame.text))
        if isinstance(frame, CallResult):
            for seen in self._observer.answered(waiting.action, waiting.payload, frame.payload):
                self._actions.append(Observed(seen))
            if waiting.action == "BootNotification" and accepted(frame.payload):
                self._allow_commands()

    # -- what follows -------------------------------------------------------------------------------

    def _observe(self, frame: Call | Send, now: float) -> None:
        for seen in self._observer.request(frame.action, frame.payload):
            self._ownership.saw(seen, now)
            self._actions.append(Observed(seen))

    def _observe_wiping(self, waiting: Waiting) -> None:
        if waiting.wipes_limits:
            self._actions.append(Observed(ProfilesTouched(waiting.action)))

    def _share(self, now: float) -> None:
        """What follows from the backend's profiles and ours, for the site and for the backend."""
        held = self._ownership.to_save()
        if held is not None:
            self._actions.append(Kept(tuple(held)))
        self._actions += [Observed(seen) for seen in self._ownership.news(now)]
        for text in self._ownership.answers(now):
            self._pass_to_backend(text)
        if self._mode is _Mode.UP and not self._up.has_own:  # one batch at a time: the line is bounded
            for action, payload in self._ownership.calls(now):
                number = str(uuid.uuid4())
                text = call(number, action, payload)
                self._up.put(Waiting(number, action, text, payload, Rank.OWN, token=_NOBODY))

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
        what = f"{late.action} {late.id} of {self._station}"
        self._note(logging.WARNING, f"backend {self._backend} does not answer {what}")
        if late.token is not None:
            return  # our own: no station waits for it
        self._actions.append(
            ToStation(call_error(late.id, "GenericError", "the backend gave no answer in time"))
        )

    def _station_is_late(self, late: Waiting) -> None:
        self._note(logging.WARNING, f"station {self._station} does not answer {late.action} {late.id}")
        if late.token is not None:
            self._actions.append(OwnAnswered(late.token, None, "no answer in time"))
        else:
            self._refuse_backend(late.id, f"station {self._station} gave no answer in time")
            if late.ruling is not None:
                self._ownership.unanswered(late.ruling)
            self._observe_wiping(late)  # it may have done it all the same

    def _refuse_backend(self, message_id: str, why: str) -> None:
        self._pass_to_backend(call_error(message_id, "GenericError", why))

    def _advance(self, now: float) -> None:
        """Send what may be sent now, and end a farewell that has nothing left to say."""
        self._share(now)
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
        return not any(map(calls_for_limits, self._actions)) and not self._down.concerns_limits

    def _settle(self, code: int, reason: str) -> None:
        """Close: our own CALLs and the backend's get their end; the station keeps its own for later."""
        for waiting in self._down.drain():
            if waiting.token is not None:
                self._actions.append(OwnAnswered(waiting.token, None, reason))
            else:
                self._refuse_backend(waiting.id, reason)
        for text in self._ownership.last_answers():
            self._pass_to_backend(text)
        self._up.drain()
        self._quiet_until = self._farewell_until = None
        self._mode = _Mode.CLOSED
        self._actions.append(Close(code, reason))

    def _note(self, level: int, text: str) -> None:
        self._actions.append(Note(level, text))
