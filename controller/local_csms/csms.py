"""The controller as the CSMS of one station that has no backend.

It stands where the link to a backend stands: CALLs of the station arrive as texts, and answers and commands
go back as texts. A CALL is answered at once; durable facts come first as Persist, so
that a repeated message gets the same answer and counts once, also after a restart.

    csms = LocalCsms("CS01", Version.V16, cards, settings, memory)
    csms.on_text('[2,"1","Heartbeat",{}]', now, utc)      # [CsmsText('[3,"1",{"currentTime":...}]')]

Sources: OCPP 1.6 edition 2, sections 4 and 5; OCPP 2.0.1 and 2.1 Part 2, use cases B01, C01 to C04, E01 to
E06, F01 to F03, G02.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections import deque
from collections.abc import Callable

import msgspec

from controller.commands.station_calls import make_remote_stop
from controller.local_csms.cards import CardList
from controller.local_csms.csms_memory import CsmsMemory
from controller.local_csms.csms_settings import CsmsSettings
from controller.local_csms.station_setup import SetupStep, StationSetup
from controller.model.effects import LogEntry
from controller.model.journal import Persist, Record
from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    MalformedFrame,
    Version,
    call,
    call_error,
    call_result,
    malformed_answer,
    parse,
)
from controller.ocpp.id_tokens import IdToken, named_token
from controller.ocpp.payloads import read_payload
from controller.offline.dedup_key import dedup_key
from controller.offline.offline_answers import EMPTY, refused, reported

SETUP_DELAY_S = 15.0
"""Wait from a station's first message to its setup: the limits of the load management go first."""
MOST_STOPS = 16
"""Transactions of one station that wait to be stopped at a time."""
_TRANSACTION_ACTIONS = {"StartTransaction", "StopTransaction", "TransactionEvent"}
_UNKNOWN_VENDOR = b'{"status":"UnknownVendorId"}'
"""To a DataTransfer: the local CSMS has no extension of any vendor."""


class CsmsText(msgspec.Struct, frozen=True):
    """Send this text to the station."""

    text: str


CsmsEffect = CsmsText | Persist | LogEntry


class _Answer(msgspec.Struct, frozen=True, kw_only=True):
    result: bytes
    records: tuple[Record, ...] = ()
    stop: str | None = None
    """The transaction to be stopped: its token is not accepted."""


class _Pending(msgspec.Struct, frozen=True):
    id: str
    is_setup: bool
    expires_at: float


class _Start16(msgspec.Struct, frozen=True, rename="camel"):
    connector_id: int


class _Stop16(msgspec.Struct, frozen=True, rename="camel"):
    transaction_id: int


class _Info2(msgspec.Struct, frozen=True, rename="camel"):
    transaction_id: str


class _Evse2(msgspec.Struct, frozen=True):
    id: int


class _Event2(msgspec.Struct, frozen=True, rename="camel"):
    event_type: str
    transaction_info: _Info2
    evse: _Evse2 | None = None


class LocalCsms:
    """The CSMS of one station over one link. Times: `now` is s, monotonic; `utc` POSIX s."""

    def __init__(
        self, station: str, version: Version, cards: CardList, settings: CsmsSettings, memory: CsmsMemory
    ) -> None:
        self._station = station
        self._version = version
        self._cards = cards
        self._settings = settings
        self._memory = memory
        self._reported, self._refused = reported(version), refused(version)
        self._setup: StationSetup | None = None
        self._setup_at = math.inf
        """Time at which the setup begins (s, monotonic); inf: it has begun, or waits for a message."""
        self._stops: deque[str] = deque()
        """Transactions to be stopped, whose turn has not come."""
        self._pending: _Pending | None = None
        self._answers: dict[str, Callable[[Call, float, float], _Answer]] = {
            "BootNotification": self._boot,
            "Heartbeat": self._heartbeat,
            "Authorize": self._authorize,
            "StartTransaction": self._start,
            "StopTransaction": self._stop,
            "TransactionEvent": self._transaction_event,
            "DataTransfer": lambda *_: _Answer(result=_UNKNOWN_VENDOR),
        }

    def replace_cards(self, cards: CardList, settings: CsmsSettings) -> None:
        """Use other cards and settings; the station is set up again with its next message."""
        self._cards, self._settings, self._setup = cards, settings, None

    @property
    def deadline(self) -> float:
        """Return when `on_time` is due (s, monotonic; inf: not at all)."""
        return self._setup_at if self._pending is None else self._pending.expires_at

    # -- messages of the station ----------------------------------------------------------------------

    def on_text(self, text: str, now: float, utc: float) -> list[CsmsEffect]:
        """Answer a CALL of the station, or take its answer to one of ours."""
        frame = parse(text)
        match frame:
            case Call():
                return self._on_call(frame, now, utc)
            case CallResult() | CallError():
                return self._on_answer(frame, now)
            case MalformedFrame():
                answer = malformed_answer(self._version, frame)
                return [] if answer is None else [CsmsText(answer)]
        return []

    def _on_call(self, frame: Call, now: float, utc: float) -> list[CsmsEffect]:
        is_transaction = frame.action in _TRANSACTION_ACTIONS
        key = dedup_key(self._version, frame.action, frame.payload) if is_transaction else ""
        before = self._memory.responses.get_response(key) if is_transaction else None
        if before is not None:
            return [CsmsText(call_result(frame.id, before))]
        answer = self._find_answer(frame, now, utc)
        if answer is None:
            reason = f"the local CSMS does not handle {frame.action[:50]}"
            line = f"call not handled station={self._station} action={frame.action[:50]!r}"
            return [LogEntry(logging.INFO, line), CsmsText(call_error(frame.id, "NotImplemented", reason))]
        records = list(answer.records)
        if is_transaction:
            records += self._memory.responses.add_response(key, answer.result)
        effects: list[CsmsEffect] = [Persist(tuple(records))] if records else []
        effects.append(CsmsText(call_result(frame.id, answer.result)))
        if answer.stop is not None:
            effects += self._stop_unauthorized(answer.stop, now)
        if self._setup is None and frame.action != "BootNotification":
            self._plan_setup(now)  # also of a station that connected again without a boot
        return effects

    def _find_answer(self, frame: Call, now: float, utc: float) -> _Answer | None:
        make = self._answers.get(frame.action)
        if make is not None:
            return make(frame, now, utc)
        result = self._reported.get(frame.action) or self._refused.get(frame.action)
        return None if result is None else _Answer(result=result)

    def _boot(self, _frame: Call, _now: float, utc: float) -> _Answer:
        self._setup = None  # its settings may be gone: the setup begins with the next message
        return _Answer(
            result=msgspec.json.encode(
                {
                    "status": "Accepted",
                    "currentTime": self._format_time(utc),
                    "interval": self._settings.heartbeat_s,
                }
            )
        )

    def _heartbeat(self, _frame: Call, _now: float, utc: float) -> _Answer:
        return _Answer(result=msgspec.json.encode({"currentTime": self._format_time(utc)}))

    def _format_time(self, utc: float) -> str:
        return self._settings.station_time.format(utc)

    def _authorize(self, frame: Call, now: float, utc: float) -> _Answer:
        return _Answer(result=self._verdict(named_token(self._version, frame.payload), now, utc))

    # -- transactions ---------------------------------------------------------------------------------

    def _start(self, frame: Call, now: float, utc: float) -> _Answer:
        number, records = self._memory.allocate_id(utc)
        start = read_payload(_Start16, frame.payload)
        evse = None if start is None else start.connector_id
        records += self._memory.start_transaction(self._version, str(number), evse, frame, utc)
        status = self._authorize_token(named_token(self._version, frame.payload), now, utc)
        result = msgspec.json.encode({"transactionId": number, "idTagInfo": {"status": status}})
        return _Answer(
            result=result, records=tuple(records), stop=None if status == "Accepted" else str(number)
        )

    def _stop(self, frame: Call, now: float, utc: float) -> _Answer:
        stop = read_payload(_Stop16, frame.payload)
        records: list[Record] = []
        if stop is not None:
            records = self._memory.end_transaction(str(stop.transaction_id))
            records += self._memory.responses.end_transaction(stop.transaction_id)
        token = named_token(self._version, frame.payload)
        result = EMPTY if token is None else self._verdict(token, now, utc)
        return _Answer(result=result, records=tuple(records))

    def _transaction_event(self, frame: Call, now: float, utc: float) -> _Answer:
        event = read_payload(_Event2, frame.payload)
        token = named_token(self._version, frame.payload)
        records: list[Record] = []
        transaction = None if event is None else event.transaction_info.transaction_id
        is_end = event is not None and event.event_type == "Ended"
        if transaction is not None and is_end:
            records = self._memory.end_transaction(transaction)
        elif event is not None and transaction is not None and not self._memory.is_running(transaction):
            evse = None if event.evse is None else event.evse.id
            records = self._memory.start_transaction(self._version, transaction, evse, frame, utc)
        if token is None:
            return _Answer(result=EMPTY, records=tuple(records))
        status = self._authorize_token(token, now, utc)
        result = msgspec.json.encode({"idTokenInfo": {"status": status}})
        stop = None if status == "Accepted" or is_end else transaction
        return _Answer(result=result, records=tuple(records), stop=stop)

    # -- authorization --------------------------------------------------------------------------------

    def _verdict(self, token: IdToken | None, now: float, utc: float) -> bytes:
        name = "idTagInfo" if self._version is Version.V16 else "idTokenInfo"
        return msgspec.json.encode({name: {"status": self._authorize_token(token, now, utc)}})

    def _authorize_token(self, token: IdToken | None, now: float, utc: float) -> str:
        if token is not None and self._memory.is_remote_token(token.value, now):
            return "Accepted"
        return self._cards.authorize(self._version, token, utc)

    def _stop_unauthorized(self, transaction: str, now: float) -> list[CsmsEffect]:
        """Stop a transaction whose token is not accepted: not every station does so itself."""
        line = (
            f"transaction stopped station={self._station} transaction={transaction} "
            "reason='its card is not accepted'"
        )
        if len(self._stops) < MOST_STOPS:
            self._stops.append(transaction)
        return [LogEntry(logging.INFO, line), *self._send_next(now)]

    # -- CALLs of ours --------------------------------------------------------------------------------

    def _plan_setup(self, now: float) -> None:
        cards = None if self._cards.is_free else self._cards.cards
        self._setup = StationSetup(self._version, self._settings, cards)
        self._setup_at = now + SETUP_DELAY_S

    def _send_next(self, now: float) -> list[CsmsEffect]:
        """Send the next CALL if none is unanswered: stops first, then the setup once it is due."""
        if self._pending is not None:
            return []
        if now >= self._setup_at:
            self._setup_at = math.inf
        is_setup = not self._stops
        if self._stops:
            transaction = self._stops.popleft()
            is_numbered = self._version is Version.V16
            stop = make_remote_stop(self._version, int(transaction) if is_numbered else transaction)
            action, payload = stop.action, stop.payload
        else:
            is_due = self._setup is not None and self._setup_at == math.inf
            following = self._setup.next_call() if self._setup is not None and is_due else None
            if following is None:
                return []
            action, payload = following.action, following.payload
        message_id = str(uuid.uuid4())
        self._pending = _Pending(message_id, is_setup, now + self._settings.call_timeout_s)
        return [CsmsText(call(message_id, action, payload))]

    def _on_answer(self, frame: CallResult | CallError, now: float) -> list[CsmsEffect]:
        if self._pending is None or frame.id != self._pending.id:
            return []
        return self._end_pending(frame.payload if isinstance(frame, CallResult) else None, now)

    def on_time(self, now: float) -> list[CsmsEffect]:
        """Begin the setup, or end a CALL that the station has not answered in time."""
        if now < self.deadline:
            return []
        return self._send_next(now) if self._pending is None else self._end_pending(None, now)

    def _end_pending(self, result: bytes | None, now: float) -> list[CsmsEffect]:
        pending, self._pending = self._pending, None
        effects: list[CsmsEffect] = []
        if pending is not None and pending.is_setup and self._setup is not None:
            self._setup.on_answer(result)
            if self._setup.step is SetupStep.DONE:
                skipped = ",".join(dict.fromkeys(self._setup.skipped)) or "none"
                line = f"station set up station={self._station} rejected={skipped}"
                effects.append(LogEntry(logging.INFO, line))
        return [*effects, *self._send_next(now)]
