"""Recorder of one station's charging sessions, from its messages, alike for all OCPP versions.

A session begins with the answer to a StartTransaction, which contains its id (1.6), or with a
TransactionEvent (2.x); it ends with StopTransaction, or TransactionEvent Ended. Each message is idempotent:
a repeated one changes nothing. A message about an unknown transaction begins a session of which the start
is not known. Records come back to be persisted before the station gets its answer.

    recorder = SessionRecorder("CS01", Version.V16, name_card)
    recorder.on_call_result("StartTransaction", payload, result, utc)   # [RunningSessionStored]
    recorder.on_message("StopTransaction", payload, utc)                # [EndedSessionStored]
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from controller.model.journal import Record
from controller.model.rate_limits import TokenBucket
from controller.ocpp import v16
from controller.ocpp.energy_register import read_energy_wh
from controller.ocpp.frames import Version
from controller.ocpp.id_tokens import IdToken, named_token
from controller.ocpp.payloads import read_payload, read_time
from controller.session_ledger.charging_session import (
    NO_CARD,
    CardReference,
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
)

DAY_S = 86_400.0
MOST_BEGUN_A_DAY = 2000
"""Sessions of a station that are recorded at once and in a day, so that the store is bounded."""
MOST_RUNNING = 64
"""Sessions of one station that run at a time; with more, the oldest counts as ended."""
MOST_ENDED = 64
"""Ended transactions that are stored: a repeated end is not another session."""
METER_INTERVAL_S = 60.0
"""Interval at which the register of a running session is read from its meter values."""
STORE_INTERVAL_S = 900.0
"""Interval at which a running session is stored again: its last register survives a restart."""
PLAUSIBLE_PAST_S = 90 * 86_400.0
PLAUSIBLE_FUTURE_S = 3600.0
"""Largest difference of a usable timestamp of a station from the controller's clock."""
EARLIEST_S = 1_767_225_600.0
"""Year 2026: a gateway whose clock is before it has just started without a battery, or a network."""

_ACTIONS_16 = frozenset(("StopTransaction", "MeterValues"))
_ACTIONS_2 = frozenset(("TransactionEvent",))

NOT_REPORTED = "NotReported"
"""End reason of a session whose end the station has not reported."""

FOLLOWS_CLOCK_S = 60.0
"""A session whose begin is so near to the arrival of its message has the controller's time."""

NameCard = Callable[[IdToken], CardReference]


def _always() -> bool:
    return True


class _Start16(msgspec.Struct, frozen=True, rename="camel"):
    connector_id: int
    meter_start: float | None = None
    timestamp: str | None = None


class _Stop16(msgspec.Struct, frozen=True, rename="camel"):
    transaction_id: int
    meter_stop: float | None = None
    timestamp: str | None = None
    reason: str | None = None


class _MeterValues16(msgspec.Struct, frozen=True, rename="camel"):
    connector_id: int
    transaction_id: int | None = None


class _Transaction2(msgspec.Struct, frozen=True, rename="camel"):
    transaction_id: str
    stopped_reason: str | None = None


class _Evse2(msgspec.Struct, frozen=True):
    id: int


class _Event2(msgspec.Struct, frozen=True, rename="camel"):
    event_type: str
    transaction_info: _Transaction2
    timestamp: str | None = None
    evse: _Evse2 | None = None


class _Running(msgspec.Struct):
    number: int
    session: ChargingSession
    stored_at: float
    read_at: float
    arrived_at: float | None = None
    """Time at which its first message arrived, corrected by steps of the clock; None: before a restart."""


class ClockChange(msgspec.Struct, frozen=True, kw_only=True):
    """Step of the controller's clock by `step_s` (s) since the check `checked_s` ago, and its state now."""

    step_s: float
    checked_s: float
    synchronised: bool


class SessionRecorder:
    """The sessions of one station over all its links with one version.

    `only_evse`: the station's EVSE if it has one alone, for messages that name none. `is_clock_synchronised`
    is the state of the controller's clock. `utc` of the methods is POSIX s.
    """

    def __init__(
        self,
        station: str,
        version: Version,
        name_card: NameCard,
        only_evse: int | None = None,
        is_clock_synchronised: Callable[[], bool] = _always,
    ) -> None:
        self._station = station
        self._version = version
        self._name_card = name_card
        self._only_evse = only_evse
        self._is_clock_synchronised = is_clock_synchronised
        self._running: dict[str, _Running] = {}
        self._ended: dict[str, None] = {}
        self._last_number = 0
        self._begins = TokenBucket(MOST_BEGUN_A_DAY / DAY_S, burst=MOST_BEGUN_A_DAY)
        self.actions = _ACTIONS_16 if version is Version.V16 else _ACTIONS_2
        """The actions that `on_message` reads."""

    @property
    def running(self) -> tuple[ChargingSession, ...]:
        """Return the sessions that run, with the last register that was read."""
        return tuple(each.session for each in self._running.values())

    def pop_unrecorded(self) -> int:
        """Return the number of sessions above the rate, which were not recorded, since the last call."""
        return self._begins.pop_rejected()

    def restore(self, records: Iterable[Record]) -> None:
        """Take over the sessions of before a restart: those that run, and the ended ones, the oldest first.

        The end of a session is stored before the station gets its answer, so the station may repeat it.
        """
        for record in records:
            if isinstance(record, EndedSessionStored) and record.station == self._station:
                self._note_ended(record.session.transaction)
            if isinstance(record, RunningSessionStored) and record.station == self._station:
                session = record.session
                running = _Running(record.number, session, session.updated_at, session.updated_at)
                self._running[session.transaction] = running
                self._last_number = max(self._last_number, record.number)

    def on_call_result(self, action: str, payload: bytes, result: bytes, utc: float) -> list[Record]:
        """Take the answer to a StartTransaction: it contains the transaction's id."""
        if action != "StartTransaction":
            return []
        start = read_payload(_Start16, payload)
        given = read_payload(v16.StartTransactionResultV16, result)
        if start is None or given is None:
            return []
        token = named_token(self._version, payload)
        session = ChargingSession(
            station=self._station,
            evse=start.connector_id,
            transaction=str(given.transaction_id),
            started_at=self._usable_time(start.timestamp, utc),
            updated_at=utc,
            meter_start_wh=_usable_wh(start.meter_start),
            card=NO_CARD if token is None else self._name_card(token),
        )
        known = self._running.get(session.transaction)
        if known is not None and _is_same_start(known.session, session):
            return []
        if not self._begins.try_take(utc):
            return []
        self._ended.pop(session.transaction, None)  # some backends use an id again
        records = self._end_others(start.connector_id, utc, except_for="")
        if known is not None and session.transaction in self._running:
            records += self._end(known, known.session.updated_at, NOT_REPORTED, utc)
            self._ended.pop(session.transaction, None)
        return [*records, self._store(self._add(session, utc), utc)]

    def on_message(self, action: str, payload: bytes, utc: float) -> list[Record]:
        """Take a CALL of the station as it arrives."""
        match action:
            case "StopTransaction":
                return self._on_stop_16(payload, utc)
            case "MeterValues":
                return self._on_meter_values_16(payload, utc)
            case "TransactionEvent":
                return self._on_transaction_event_2(payload, utc)
        return []

    def on_clock_change(self, change: ClockChange, utc: float) -> list[Record]:
        """Correct the begin of running sessions that began by a clock that was not synchronised.

        Sessions from before a restart keep their times, and stay marked.
        """
        records: list[Record] = []
        for running in self._running.values():
            session, arrived_at = running.session, running.arrived_at
            if session.clock_synchronised or arrived_at is None:
                continue
            # One that began between the step and this check has the time after the step already.
            is_before = not utc - change.checked_s <= arrived_at <= utc
            corrected = arrived_at + change.step_s if is_before else arrived_at
            session = msgspec.structs.replace(
                session,
                started_at=_corrected_start(session.started_at, arrived_at, corrected),
                clock_synchronised=change.synchronised,
            )
            running.session, running.arrived_at = session, corrected
            records.append(self._store(running, utc))
        return records

    # -- 1.6 ------------------------------------------------------------------------------------------

    def _on_stop_16(self, payload: bytes, utc: float) -> list[Record]:
        stop = read_payload(_Stop16, payload)
        if stop is None or str(stop.transaction_id) in self._ended:
            return []
        if str(stop.transaction_id) not in self._running and not self._begins.try_take(utc):
            return []
        running = self._find_or_begin(str(stop.transaction_id), None, utc)
        meter_wh = _usable_wh(stop.meter_stop)
        if meter_wh is not None:
            running.session = msgspec.structs.replace(running.session, meter_wh=meter_wh)
        # Reason Local is the default of 1.6 (section 6.49).
        return self._end(running, self._usable_time(stop.timestamp, utc), stop.reason or "Local", utc)

    def _on_meter_values_16(self, payload: bytes, utc: float) -> list[Record]:
        for each in self._running.values():
            if _is_due(each.read_at, METER_INTERVAL_S, utc):
                break
        else:
            return []  # the usual case costs no decoding
        values = read_payload(_MeterValues16, payload)
        if values is None or values.transaction_id is None:
            return []
        running = self._running.get(str(values.transaction_id))
        if running is None or not _is_due(running.read_at, METER_INTERVAL_S, utc):
            return []
        return self._update(running, read_energy_wh(self._version, "MeterValues", payload), utc)

    # -- 2.x ------------------------------------------------------------------------------------------

    def _on_transaction_event_2(self, payload: bytes, utc: float) -> list[Record]:
        event = read_payload(_Event2, payload)
        if event is None or event.transaction_info.transaction_id in self._ended:
            return []
        transaction = event.transaction_info.transaction_id
        evse = self._only_evse if event.evse is None else event.evse.id
        records: list[Record] = []
        running = self._running.get(transaction)
        is_new = running is None
        if running is None:
            if not self._begins.try_take(utc):
                return []
            if evse is not None:
                records = self._end_others(evse, utc, except_for=transaction)
            running = self._find_or_begin(transaction, evse, utc)
        session = running.session
        before = session
        token = named_token(self._version, payload)
        if token is not None and session.card == NO_CARD:
            session = msgspec.structs.replace(session, card=self._name_card(token))
        if evse is not None and session.evse is None:
            session = msgspec.structs.replace(session, evse=evse)
        is_end = event.event_type == "Ended"
        is_due = is_new or is_end or _is_due(running.read_at, METER_INTERVAL_S, utc)
        meter_wh = read_energy_wh(self._version, "TransactionEvent", payload) if is_due else None
        if event.event_type == "Started" or (is_new and not is_end):
            session = msgspec.structs.replace(
                session, started_at=self._usable_time(event.timestamp, utc), meter_start_wh=meter_wh
            )
        elif session.meter_start_wh is None and not is_new:
            session = msgspec.structs.replace(session, meter_start_wh=meter_wh)
        running.session = session
        if meter_wh is not None:
            running.session = msgspec.structs.replace(session, meter_wh=meter_wh, updated_at=utc)
        if is_end:
            reason = event.transaction_info.stopped_reason or "Local"  # the default of 2.x (ReasonEnumType)
            return [*records, *self._end(running, self._usable_time(event.timestamp, utc), reason, utc)]
        if is_due:
            running.read_at = utc
        if is_new or session.card != before.card or _is_due(running.stored_at, STORE_INTERVAL_S, utc):
            return [*records, self._store(running, utc)]
        return records

    # -- the life of a session ------------------------------------------------------------------------

    def _find_or_begin(self, transaction: str, evse: int | None, utc: float) -> _Running:
        """Return the running session of a transaction; one with an unknown start if there is none."""
        running = self._running.get(transaction)
        if running is None:
            session = ChargingSession(
                station=self._station,
                evse=self._only_evse if evse is None else evse,
                transaction=transaction,
                started_at=utc,
                updated_at=utc,
            )
            running = self._add(session, utc)
        return running

    def _add(self, session: ChargingSession, utc: float) -> _Running:
        # A number made of the time is unique after a restart, too, without a counter on disk.
        self._last_number = max(self._last_number + 1, int(utc * 1000))
        if not self._is_clock_synchronised():
            session = msgspec.structs.replace(session, clock_synchronised=False)
        running = _Running(self._last_number, session, utc, utc, utc)
        self._running[session.transaction] = running
        return running

    def _update(self, running: _Running, meter_wh: float | None, utc: float) -> list[Record]:
        running.read_at = utc
        if meter_wh is None:
            return []
        running.session = msgspec.structs.replace(running.session, meter_wh=meter_wh, updated_at=utc)
        return [self._store(running, utc)] if _is_due(running.stored_at, STORE_INTERVAL_S, utc) else []

    def flush(self, utc: float) -> list[Record]:
        """Return records of what running sessions have measured since they were stored."""
        changed = [each for each in self._running.values() if each.session.updated_at > each.stored_at]
        return [self._store(each, utc) for each in changed]

    def _store(self, running: _Running, utc: float) -> Record:
        running.stored_at = utc
        running.session = msgspec.structs.replace(running.session, updated_at=utc)
        return RunningSessionStored(self._station, running.number, running.session)

    def _end(self, running: _Running, ended_at: float, reason: str, utc: float) -> list[Record]:
        session = msgspec.structs.replace(
            running.session,
            ended_at=max(ended_at, running.session.started_at),
            end_reason=reason[:40],
            updated_at=utc,
            clock_synchronised=running.session.clock_synchronised and self._is_clock_synchronised(),
        )
        self._running.pop(session.transaction, None)
        self._note_ended(session.transaction)
        return [EndedSessionStored(session.month, self._station, running.number, session)]

    def _note_ended(self, transaction: str) -> None:
        self._ended.pop(transaction, None)
        if len(self._ended) >= MOST_ENDED:
            del self._ended[next(iter(self._ended))]
        self._ended[transaction] = None

    def _end_others(self, evse: int, utc: float, *, except_for: str) -> list[Record]:
        """End sessions whose end was not reported: another begins at their EVSE, or there are too many."""
        stale = [
            each
            for each in self._running.values()
            if each.session.evse == evse and each.session.transaction != except_for
        ]
        if not stale and len(self._running) >= MOST_RUNNING:
            stale = [next(iter(self._running.values()))]
        return [
            record for each in stale for record in self._end(each, each.session.updated_at, NOT_REPORTED, utc)
        ]

    def _usable_time(self, timestamp: str | None, utc: float) -> float:
        """Return the station's timestamp as POSIX s if it is plausible, else the controller's time.

        While the controller's clock shows a time before its own release, the station's is the better one.
        """
        moment = read_time(timestamp)
        if moment is not None and utc < EARLIEST_S <= moment:
            return moment
        return moment if moment is not None and _is_plausible(moment, utc) else utc


def _corrected_start(started_at: float, arrived_at: float, corrected: float) -> float:
    """Return the begin of a session whose first message arrived at another time than was assumed."""
    if abs(started_at - arrived_at) <= FOLLOWS_CLOCK_S:
        return started_at + corrected - arrived_at
    return started_at if _is_plausible(started_at, corrected) else corrected


def _is_due(since: float, interval_s: float, utc: float) -> bool:
    """Return True if the interval is over, or the clock was set back meanwhile."""
    return not 0.0 <= utc - since < interval_s


def _is_plausible(moment: float, utc: float) -> bool:
    """Return True if a station's timestamp may be right at `utc` (POSIX s)."""
    return utc - PLAUSIBLE_PAST_S <= moment <= utc + PLAUSIBLE_FUTURE_S


def _is_same_start(known: ChargingSession, session: ChargingSession) -> bool:
    """Compare by what a repeated start has in common: its time may be that of its arrival."""
    return (known.evse, known.meter_start_wh, known.card.token_hash) == (
        session.evse,
        session.meter_start_wh,
        session.card.token_hash,
    )


def _usable_wh(value: float | None) -> float | None:
    return value if value is not None and abs(value) <= 1e12 else None
