"""Station state: states, transactions and currents of a station's EVSEs, read from its messages.

Reading is lenient, member by member: a message or sample that cannot be read is skipped here and relayed
all the same. Numbers are bounded. Only the present counts: values that a station replays after an absence,
what belongs to an ended transaction and the closing values of a transaction change no state of now. A
replayed state counts where the station's timestamps show none that is newer.

States and running transactions outlive the process (`take_record`, `restore`): a station does not repeat them
when its link or the controller was down for a moment.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import TypeVar

import msgspec

from controller.model.observations import (
    Booted,
    DrawSeen,
    EvseRating,
    EvseRecord,
    EvseState,
    NeedsSeen,
    Observation,
    PerPhase,
    ProfilesTouched,
    StateSeen,
    TransactionSeen,
)
from controller.ocpp import v2, v16
from controller.ocpp.connector_states import ConnectorStates
from controller.ocpp.energy_register import read_register
from controller.ocpp.frames import Version
from controller.ocpp.meter_values import (
    METER_VALUES_2,
    METER_VALUES_16,
    TRANSACTION_EVENT_2,
    MeterValue,
    Sample,
    read_carrier,
    read_sample,
    read_samples,
)
from controller.ocpp.payloads import is_accepted, read_payload, read_time
from controller.ocpp.register_draw import RegisterDraw

_STATES_16 = {
    "Available": EvseState.AVAILABLE,
    "Preparing": EvseState.PREPARING,
    "Charging": EvseState.CHARGING,
    "SuspendedEV": EvseState.SUSPENDED_EV,
    "SuspendedEVSE": EvseState.SUSPENDED_EVSE,
    "Finishing": EvseState.FINISHING,
    "Reserved": EvseState.RESERVED,
    "Unavailable": EvseState.UNAVAILABLE,
    "Faulted": EvseState.FAULTED,
}
_CONNECTOR_STATES_2 = {
    "Available": EvseState.AVAILABLE,
    "Occupied": EvseState.PREPARING,
    "Reserved": EvseState.RESERVED,
    "Unavailable": EvseState.UNAVAILABLE,
    "Faulted": EvseState.FAULTED,
}
_CONNECTOR_STATE_2 = ("Connector", "AvailabilityState")
"""Component and variable whose events report the state of a connector."""
_CHARGING_STATES_2 = {
    "Charging": EvseState.CHARGING,
    "EVConnected": EvseState.PREPARING,
    "SuspendedEV": EvseState.SUSPENDED_EV,
    "SuspendedEVSE": EvseState.SUSPENDED_EVSE,
    "Idle": EvseState.FINISHING,
}
_ADMITTED_BY = {"Authorized", "RemoteStart"}
"""Reasons of an event that authorizes the car of a transaction, which may have begun with its cable."""
_CAR_CHARGES = {EvseState.CHARGING, EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE}

_TRANSACTION_IS_OVER = {EvseState.FINISHING, EvseState.AVAILABLE}
"""States of a 1.6 connector after its transaction (1.6, 7.7 ChargePointStatus)."""

_PHASES = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_SUM = -1
"""The key of a value without a phase."""
_CURRENT = "Current.Import"
_POWER = "Power.Active.Import"
_VOLTAGE = "Voltage"
_SCALES = {
    _CURRENT: {None: 1.0, "": 1.0, "A": 1.0, "mA": 0.001},
    _POWER: {None: 1.0, "": 1.0, "W": 1.0, "kW": 1000.0},
    _VOLTAGE: {None: 1.0, "": 1.0, "V": 1.0},
}
_BEFORE_OUTLET = {"Inlet", "Cable", "EV", "Body"}
"""Locations whose values count only where none is given for the outlet."""
_CLOSING = "Transaction.End"
FARTHEST_DEPARTURE_S = 7 * 86_400.0
"""Farthest departure that a car reports (s ahead): one beyond it, or in the past, is unknown."""

MOST_A = 10_000.0
"""Highest current that is read (A); a higher one is an error of the station, and skipped."""
DRAW_TOLERANCE = 1.25
"""A draw counts up to so many times the rated current of its EVSE."""
WRONG_DRAW = 2.5
"""A draw above so many times the rated current is an error of the station: it is passed on as it is."""
VOLTAGE_BAND = 0.2
"""A reported voltage counts up to so far from the declared one: others are of two phases, or of direct
current."""
SURE_A = 2.0
"""Smaller currents do not show how many phases carry a power (A)."""
SURE = 1.25
"""Voltage, rounding and tolerances make a power on one phase appear at most so many times as high."""
SAME_DRAW_S = 5.0
"""An unchanged draw is reported again after so long: each one costs a step of the load management."""
MOST_TRANSACTIONS = 64
"""Transactions stored per station: running ones, and as many ended ones."""
MOST_CACHED_BYTES = 8192
"""Size of a message up to which its samples are compared with those of the next one."""
MOST_UNCONFIGURED = 8
"""EVSEs of a station beside the configured ones that are counted: each takes current from the others."""
PAST_S = 300.0
"""A message older than this, by the station's own clock, is a replay of the past."""
CLOCK_STEP_S = 60.0
"""A clock that lags alike for so long was set back."""
_SAME_LAG_S = 30.0
LONGEST_NAME = 80
"""Characters of vendor, model and firmware that are kept."""

RESULT_ACTIONS = {"BootNotification", "StartTransaction"}
"""The station's CALLs that are read together with their CALLRESULTs."""

_NO_EVSES: frozenset[int] = frozenset()
"""One for all stations: an empty set takes 216 bytes."""

_KeyT = TypeVar("_KeyT")
_ValueT = TypeVar("_ValueT")
_MessageT = TypeVar("_MessageT", bound=msgspec.Struct)
_Measured = v16.MeterValuesV16 | v2.MeterValuesV2 | v2.TransactionEventV2
_Reader = Callable[["StationStateTracker", bytes, float], list[Observation]]


class StationStateTracker:
    """Reads one station's messages in order of arrival, over all its links with one version.

    `voltage` (V, line to neutral) turns powers into currents where a station sends no currents. `evses`:
    the configured EVSEs by number; without an entry, a value that names no phase counts for L1 alone.
    `utc` of the methods is POSIX seconds.
    """

    def __init__(
        self, version: Version, voltage: float, evses: Mapping[int, EvseRating] | None = None
    ) -> None:
        self.has_unsaved_state = False
        """True if `take_record` may return something new."""
        self.is_rejected = False
        """True if the last answer to a boot was Pending or Rejected, over any link."""
        self._voltage = voltage
        self._evses = dict(evses or {})
        self._only_evse = next(iter(self._evses)) if len(self._evses) == 1 else None
        self._clock = _StationClock()
        self._meter_clock = _StationClock()
        """Clock of the timestamps of meter values: the meter of a station may have one of its own."""
        self._connectors = ConnectorStates()
        self._waiting = _NO_EVSES
        """EVSEs whose transaction began with the cable: their cars are not authorized yet (2.x)."""
        self._state_at: dict[int, float] = {}
        """Time of the newest state of each EVSE by the station's clock (2.x; POSIX s)."""
        self._over_at: dict[int, float] = {}
        """Time of the end of the last transaction of each EVSE by the station's clock (POSIX s)."""
        self._evse_of: dict[int | str, int] = {}
        self._running: dict[int, int | str | None] = {}
        """The transaction that runs at each EVSE; None: begun, and not numbered yet (1.6)."""
        self._ended: dict[int | str, None] = {}
        self._states: dict[int, EvseState] = {}
        """The last state of each EVSE that was passed on."""
        self._reported_on_link = _NO_EVSES
        """EVSEs whose state was reported over the present link."""
        self._unconfigured = _NO_EVSES
        """EVSEs that the station reports and the configuration does not name."""
        self._recorded: tuple[EvseRecord, ...] = ()
        self.sampled_at: float | None = None
        """Timestamp of the newest of the values in the last MeterValues (POSIX s); None: it has none."""
        self._newest_time: tuple[str | None, float | None] = (None, None)
        """The timestamp that was read last, as text and in POSIX s."""
        self._draws: dict[int, tuple[PerPhase, float]] = {}
        """The last draw of each EVSE that was reported, and when (POSIX s)."""
        self._samples: dict[int, tuple[msgspec.Raw, DrawSeen | None]] = {}
        """The last samples of each EVSE, and the draw that they show: often they are as before."""
        self._registers: dict[int, RegisterDraw] = {}
        """Energy register of each EVSE of which nothing else is reported."""
        self._with_current = _NO_EVSES
        """EVSEs of which currents or powers were reported: their registers show nothing better."""
        self._has_own_current = False
        """True if EVSEs report currents or powers of their own: those of the main meter do not count."""
        self._charging_at: dict[int, EvseState] = {}
        """The last state of each EVSE that a transaction (2.x) or a connector (1.6) reported as charging."""
        self._readers = _READERS_16 if version is Version.V16 else _READERS_2
        self.actions = _ACTIONS_16 if version is Version.V16 else _ACTIONS_2
        """The actions that `on_message` reads."""
        self._read_boot = _read_boot_16 if version is Version.V16 else _read_boot_2

    def set_ratings(self, evses: Mapping[int, EvseRating]) -> None:
        """Use other ratings of the same EVSEs for what is read from now on."""
        if evses != self._evses:
            self._evses = dict(evses)
            self._samples.clear()

    def on_message(self, action: str, payload: bytes, utc: float) -> list[Observation]:
        """Read a CALL or SEND of the station as it arrives."""
        reader = self._readers.get(action)
        if reader is None:
            return []
        read = reader(self, payload, utc)
        if not read:
            return read
        seen = [each for each in read if self._is_counted(each)]
        for each in seen:
            if isinstance(each, StateSeen) and (each.evse in self._evses or each.evse in self._unconfigured):
                self._reported_on_link |= {each.evse}
                self.has_unsaved_state |= self._states.get(each.evse) is not each.state
                self._states[each.evse] = each.state
            elif isinstance(each, TransactionSeen):
                self.has_unsaved_state = True
        return seen

    def _is_counted(self, seen: Observation) -> bool:
        """Return True unless a station names more EVSEs beside the configured ones than there can be."""
        if isinstance(seen, Booted | ProfilesTouched) or seen.evse in self._evses or not self._evses:
            return True
        if seen.evse not in self._unconfigured and len(self._unconfigured) < MOST_UNCONFIGURED:
            self._unconfigured |= {seen.evse}
        return seen.evse in self._unconfigured

    def on_call_result(self, action: str, payload: bytes, result: bytes) -> list[Observation]:
        """Read a CALL of the station together with its CALLRESULT."""
        if action == "BootNotification":
            self.is_rejected = not is_accepted(result)
            return [] if self.is_rejected else self._read_boot(payload)
        if action == "StartTransaction":
            start = read_payload(v16.StartTransactionV16, payload)
            given = read_payload(v16.StartTransactionResultV16, result)
            if start and given:
                self._number_transaction(start.connector_id, given.transaction_id)
        return []

    def read_transaction_id(self, action: str, result: bytes) -> int | None:
        """Return the transaction id in the CALLRESULT of a 1.6 StartTransaction; None for all others."""
        if action != "StartTransaction":
            return None
        given = read_payload(v16.StartTransactionResultV16, result)
        return None if given is None else given.transaction_id

    def find_transaction(self, evse: int) -> int | str | None:
        """Return the id of the transaction that runs at an EVSE; None without one, or before its number."""
        return self._running.get(evse)

    # -- what outlives a link and the process ---------------------------------------------------------

    def on_link_opened(self) -> None:
        """Note that the station has connected: it may have missed to report a change."""
        self._reported_on_link = _NO_EVSES

    def list_unreported(self) -> list[int]:
        """Return the EVSEs whose state was not reported over the present link."""
        counted = (*self._evses, *sorted(self._unconfigured))
        return [evse for evse in counted if evse not in self._reported_on_link]

    def take_record(self) -> tuple[EvseRecord, ...] | None:
        """Return what has to outlive the process; None if it is as before."""
        self.has_unsaved_state = False
        counted = (*self._evses, *sorted(self._unconfigured))
        evses = [evse for evse in counted if evse in self._states or evse in self._running]
        record = tuple(
            EvseRecord(
                evse,
                self._states.get(evse, EvseState.UNKNOWN),
                is_running=evse in self._running,
                transaction=self._running.get(evse),
                connector=self._connectors.find_in_use(evse),
            )
            for evse in evses
        )
        before, self._recorded = self._recorded, record
        return None if record == before else record

    def restore(self, record: Sequence[EvseRecord]) -> list[Observation]:
        """Take over what was recorded before a restart; return it as observations."""
        self._recorded = tuple(record)
        seen: list[Observation] = []
        for each in record:
            if each.evse not in self._evses:
                self._unconfigured |= {each.evse}
            self._states[each.evse] = each.state
            if each.state is not EvseState.UNKNOWN:
                seen.append(StateSeen(each.evse, each.state))
            if not each.is_running:
                continue
            self._running[each.evse] = each.transaction
            if each.transaction is not None:
                self._evse_of[each.transaction] = each.evse
            if each.connector is not None:
                self._connectors.set_in_use(each.evse, each.connector)
            if each.state in _CAR_CHARGES or each.state is EvseState.PREPARING:
                self._charging_at[each.evse] = each.state
            own_id = each.transaction if isinstance(each.transaction, str) else None
            seen.append(TransactionSeen(each.evse, True, own_id))
        return seen

    # -- transactions ---------------------------------------------------------------------------------

    def _number_transaction(self, evse: int, transaction: int | str) -> None:
        self.has_unsaved_state |= self._running.get(evse) != transaction
        self._ended.pop(transaction, None)  # backends have been seen to give a number again
        _store_entry(self._evse_of, transaction, evse)
        _store_entry(self._running, evse, transaction)

    def _end_transaction(self, transaction: int | str) -> None:
        self._draws.pop(self._evse_of.pop(transaction, -1), None)
        _store_entry(self._ended, transaction, None)

    def _on_start_16(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_payload(v16.StartTransactionV16, payload)
        if message is None or message.connector_id < 1:
            return []
        self._clock.is_past(self._read_time(message.timestamp), utc)
        _store_entry(self._running, message.connector_id, None)
        self._draws.pop(message.connector_id, None)
        return [TransactionSeen(message.connector_id, True)]

    def _on_stop_16(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_payload(v16.StopTransactionV16, payload)
        if message is None:
            return []
        transaction = message.transaction_id
        evse = self._evse_of.get(transaction)
        self._end_transaction(transaction)
        moment = self._read_time(message.timestamp)
        is_past = self._clock.is_past(moment, utc)
        if evse is not None and moment is not None:
            _store_entry(self._over_at, evse, moment)
        if evse is None or self._running.get(evse, transaction) != transaction:
            return []  # another transaction has begun there since
        self._running.pop(evse, None)
        if is_past and self._charging_at.get(evse) in _CAR_CHARGES:
            return []  # a replay: the car that charges now is the next one, whose start is still queued
        return [TransactionSeen(evse, False)]

    def _on_transaction_event_2(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_carrier(TRANSACTION_EVENT_2, payload)
        if message is None:
            return []
        transaction, kind = message.transaction_info.transaction_id, message.event_type
        evse, moment = self._find_evse_2(message), self._read_time(message.timestamp)
        is_past = self._clock.is_past(moment, utc) or bool(message.offline)
        if evse is None or (transaction in self._ended and kind != "Started"):
            return []
        if self._running.get(evse) not in (None, transaction) and (is_past or self._is_earlier(message)):
            if kind == "Ended":
                self._end_transaction(transaction)
            return []
        if kind == "Ended":
            self._end_transaction(transaction)
            self._running.pop(evse, None)
            self._charging_at.pop(evse, None)
            self._waiting -= {evse}
            self._connectors.on_transaction_ended(evse)
            self._is_newest_state(evse, moment)
            if moment is not None:
                _store_entry(self._over_at, evse, moment)
            return [TransactionSeen(evse, False), StateSeen(evse, EvseState.FINISHING)]
        seen: list[Observation] = []
        if kind == "Started" or evse in self._waiting:
            waits = _is_waiting(message, begins=kind == "Started")
            if kind == "Started" or not waits:
                seen.append(TransactionSeen(evse, True, transaction, waits=waits))
            self._waiting = self._waiting | {evse} if waits else self._waiting - {evse}
        self._number_transaction(evse, transaction)
        if message.evse is not None and message.evse.connector_id is not None:
            self._connectors.set_in_use(evse, message.evse.connector_id)
        state = _CHARGING_STATES_2.get(message.transaction_info.charging_state or "")
        if state is not None and (self._is_newest_state(evse, moment) or not is_past):
            _store_entry(self._charging_at, evse, state)
            seen.append(StateSeen(evse, state))
        if is_past:
            return seen
        return seen + self._read_own_draw(evse, message, utc, len(payload))

    def _is_earlier(self, message: v2.TransactionEventV2) -> bool:
        """Return True if an event is of a transaction from before the one that runs at its EVSE.

        An end of one of which nothing came before ends no other.
        """
        is_known = message.transaction_info.transaction_id in self._evse_of
        return message.event_type == "Ended" or (is_known and message.event_type != "Started")

    def _is_newest_state(self, evse: int, moment: float | None) -> bool:
        """Return True if no later state of an EVSE was reported before; take note of the moment."""
        if moment is None or moment < self._state_at.get(evse, -math.inf):
            return False
        _store_entry(self._state_at, evse, moment)
        return True

    def _find_evse_2(self, message: v2.TransactionEventV2) -> int | None:
        """Return the EVSE of an event: only the first event of a transaction has to name it."""
        if message.evse is not None and message.evse.id > 0:
            return message.evse.id
        return self._evse_of.get(message.transaction_info.transaction_id, self._only_evse)

    # -- states ---------------------------------------------------------------------------------------

    def _on_status_16(self, payload: bytes, _utc: float) -> list[Observation]:
        message = read_payload(v16.StatusNotificationV16, payload)
        if message is None or message.connector_id < 1:
            return []
        state = _STATES_16.get(message.status, EvseState.UNKNOWN)
        _store_entry(self._charging_at, message.connector_id, state)
        seen: list[Observation] = [StateSeen(message.connector_id, state)]
        if state in _TRANSACTION_IS_OVER and message.connector_id in self._running:
            # Also where its StopTransaction names another id than its start was given, or was lost.
            del self._running[message.connector_id]
            seen.insert(0, TransactionSeen(message.connector_id, False, inferred=True))
        return seen

    def _on_status_2(self, payload: bytes, _utc: float) -> list[Observation]:
        message = read_payload(v2.StatusNotificationV2, payload)
        if message is None or message.evse_id < 1:
            return []
        where = v2.EvseV2(id=message.evse_id, connector_id=message.connector_id)
        return [self._read_connector_2(where, message.connector_status, message.timestamp)]

    def _on_event_2(self, payload: bytes, _utc: float) -> list[Observation]:
        """Read the states of connectors, which a station may report by events alone (2.0.1, G01)."""
        message = read_payload(v2.NotifyEventV2, payload)
        return [
            self._read_connector_2(each.component.evse, each.actual_value, each.timestamp)
            for each in (message.event_data if message else ())
            if each.component.evse is not None
            and each.component.evse.id > 0
            and (each.component.name, each.variable.name) == _CONNECTOR_STATE_2
        ]

    def _read_connector_2(self, where: v2.EvseV2, status: str, timestamp: str | None) -> StateSeen:
        evse = where.id
        state = self._connectors.on_connector_state(
            evse,
            1 if where.connector_id is None else where.connector_id,
            _CONNECTOR_STATES_2.get(status, EvseState.UNKNOWN),
        )
        if state is EvseState.PREPARING:  # Occupied is less specific than the transaction that runs there
            state = self._charging_at.get(evse, state)
        else:
            self._charging_at.pop(evse, None)
            self._is_newest_state(evse, self._read_time(timestamp))
        return StateSeen(evse, state)

    def _on_charging_needs_2(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_payload(v2.NotifyEVChargingNeedsV2, payload)
        if message is None or message.evse_id < 1:
            return []
        needs = message.charging_needs
        departs_at = read_time(needs.departure_time)
        departs_in_s = None if departs_at is None else departs_at - utc
        if departs_in_s is not None and not 0 < departs_in_s <= FARTHEST_DEPARTURE_S:
            departs_in_s = None
        return [NeedsSeen(message.evse_id, needs.energy_wh, departs_in_s)]

    # -- currents -------------------------------------------------------------------------------------

    def _on_meter_values_16(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_carrier(METER_VALUES_16, payload)
        self._note_sampled(() if message is None else message.meter_value or ())
        if message is None:
            return []
        transaction = message.transaction_id
        if transaction in self._ended and transaction is not None:
            return []
        return self._read_measured(message.connector_id, message, utc, len(payload))

    def _on_meter_values_2(self, payload: bytes, utc: float) -> list[Observation]:
        message = read_carrier(METER_VALUES_2, payload)
        self._note_sampled(() if message is None else message.meter_value or ())
        if message is None:
            return []
        return self._read_measured(message.evse_id, message, utc, len(payload))

    def _read_measured(self, number: int, message: _Measured, utc: float, size: int) -> list[Observation]:
        """Read the current of an EVSE; those of number 0, the main meter, count for an only EVSE."""
        if number:
            return self._read_own_draw(number, message, utc, size)
        if self._only_evse is None or self._has_own_current:
            return []
        return self._read_draw(self._only_evse, message.meter_value or (), utc, size)

    def _read_own_draw(self, evse: int, message: _Measured, utc: float, size: int) -> list[Observation]:
        draws = self._read_draw(evse, message.meter_value or (), utc, size)
        self._has_own_current |= any(not each.mean_s for each in draws if isinstance(each, DrawSeen))
        return draws

    def _note_sampled(self, meter_value: Sequence[MeterValue]) -> None:
        self.sampled_at = self._read_time(meter_value[-1].timestamp) if meter_value else None

    def _read_time(self, timestamp: str | None) -> float | None:
        """Return a timestamp as POSIX s; one message often repeats it in several places."""
        if timestamp != self._newest_time[0]:
            self._newest_time = timestamp, read_time(timestamp)
        return self._newest_time[1]

    def _read_draw(
        self, evse: int, meter_value: Sequence[MeterValue], utc: float, size: int
    ) -> list[Observation]:
        """Read the current of an EVSE from the newest values of a message of `size` bytes."""
        draw, moment = self._find_draw(evse, meter_value, utc, can_cache=size <= MOST_CACHED_BYTES)
        if draw is None or self._meter_clock.is_past(moment, utc):
            return []
        over_at = self._over_at.get(evse)
        if over_at is not None and moment is not None and over_at - PAST_S <= moment < over_at:
            return []  # of the last transaction: it came late
        if (last := self._draws.get(evse)) is not None:
            if last[0] == draw.current_a and 0 <= utc - last[1] < SAME_DRAW_S:
                return []
        elif len(self._draws) >= MOST_TRANSACTIONS:
            self._draws.clear()
        self._draws[evse] = draw.current_a, utc
        return [draw]

    def _find_draw(
        self, evse: int, meter_value: Sequence[MeterValue], utc: float, *, can_cache: bool
    ) -> tuple[DrawSeen | None, float | None]:
        """Return the draw of an EVSE, and when it was sampled (POSIX s).

        Stations put all values of one moment into one element, or each into its own: elements with the
        same timestamp are read together, the newest moment first. One element with the samples of the last
        message shows what that showed.
        """
        samples = meter_value[0].sampled_value if can_cache and len(meter_value) == 1 else None
        if samples is not None:
            known = self._samples.get(evse)
            if known is not None and known[0] == samples:
                return known[1], self._read_time(meter_value[0].timestamp)
        amps: dict[int, float] = {}
        watts: dict[int, float] = {}
        volts: dict[int, float] = {}
        moment: str | None = None
        for values in reversed(meter_value):
            if values.timestamp != moment and (amps or watts):
                break
            moment = values.timestamp
            self._add_samples(read_samples(values), amps, watts, volts)
        if not (amps or watts):
            return self._find_mean_draw(evse, meter_value, utc)
        if evse not in self._with_current:
            self._with_current |= {evse}
        draw = self._draw(evse, amps, watts)
        if draw is not None and draw.at_v and (measured_v := self._measured_v(evse, volts)) is not None:
            draw = draw.at_voltage(measured_v)
        if samples is not None:
            _store_entry(self._samples, evse, (samples.copy(), draw))
        return draw, self._read_time(moment)

    def _find_mean_draw(
        self, evse: int, meter_value: Sequence[MeterValue], utc: float
    ) -> tuple[DrawSeen | None, float | None]:
        """Return the same by the rise of the energy register, where nothing else is reported."""
        if evse in self._with_current:
            return None, None
        for values in reversed(meter_value):
            samples = [each for each in read_samples(values) if each.context != _CLOSING]
            register_wh, moment = read_register(samples), self._read_time(values.timestamp)
            if register_wh is None:
                continue
            if evse not in self._registers:
                _store_entry(self._registers, evse, RegisterDraw())
            mean = self._registers[evse].on_register_value(register_wh, utc if moment is None else moment)
            draw = None if mean is None else self._draw(evse, {}, {_SUM: mean.power_w}, mean.mean_s)
            return draw, moment
        return None, None

    def _add_samples(
        self,
        samples: Sequence[Sample],
        amps: dict[int, float],
        watts: dict[int, float],
        volts: dict[int, float],
    ) -> None:
        """Add values by phase; what is there already is newer. Values before the outlet count last."""
        kinds = {_CURRENT: amps, _POWER: watts, _VOLTAGE: volts}
        before_outlet: list[tuple[dict[int, float], int, float]] = []
        for sample in samples:
            scales = _SCALES.get(sample.measurand or "")
            if scales is None or sample.context == _CLOSING:
                continue
            phase = _PHASES.get(sample.phase.upper()) if sample.phase else _SUM
            values = kinds[sample.measurand or ""]
            if phase is None or phase in values:
                continue
            value = read_sample(sample, scales, MOST_A * 1000)
            if value is None:
                continue
            if sample.location in _BEFORE_OUTLET:
                before_outlet.append((values, phase, value))
            else:
                values.setdefault(phase, value)
        for values, phase, value in before_outlet:
            values.setdefault(phase, value)

    def _draw(
        self, evse: int, amps: dict[int, float], watts: dict[int, float], mean_s: float = 0.0
    ) -> DrawSeen | None:
        """Return the draw that these values show (A, W), the mean of `mean_s`; None where they show none."""
        current = self._per_phase(evse, amps, watts)
        if current is None:
            return None
        least = self._least_phases(evse, amps, watts)
        total_a = watts[_SUM] / self._voltage if least and not amps else 0.0
        rating = self._evses.get(evse)
        is_power = not amps or (rating is not None and rating.dc_watts_per_ampere is not None)
        return DrawSeen(evse, current, least, total_a, mean_s, self._voltage if is_power else 0.0)

    def _measured_v(self, evse: int, volts: Mapping[int, float]) -> float | None:
        """Return the mean of the voltages that an EVSE reports (V, line to neutral); None without any."""
        rating = self._evses.get(evse)
        if rating is not None and rating.dc_watts_per_ampere is not None:
            return None
        band_v = VOLTAGE_BAND * self._voltage
        known = [each for each in volts.values() if abs(each - self._voltage) <= band_v]
        return sum(known) / len(known) if known else None

    def _least_phases(self, evse: int, amps: Mapping[int, float], watts: Mapping[int, float]) -> int:
        """Return on how many phases current flows at least, by values that name no phase; 0: they name them.

        The power is more than fewer phases could carry, at the reported current or else at the rated one.
        """
        rating = self._evses.get(evse)
        named = set(amps or watts) - {_SUM}
        if rating is None or rating.phases == 1 or rating.dc_watts_per_ampere is not None or named:
            return 0
        current_a = amps.get(_SUM, rating.max_a)
        power_a = watts.get(_SUM, 0.0) / self._voltage
        if current_a < SURE_A or power_a < SURE_A:
            return 1
        return max(1, min(rating.phases, math.ceil(power_a / (current_a * SURE) - 1e-9)))

    def _per_phase(self, evse: int, amps: dict[int, float], watts: dict[int, float]) -> PerPhase | None:
        """Return the current per phase (A), bounded by the EVSE's rating; None where none is known."""
        rating = self._evses.get(evse)
        if rating is not None and rating.dc_watts_per_ampere is not None:
            # A current at the outlet is the car's direct current: only power shows the current at the input.
            total_w = watts.get(_SUM, sum(watts.values()) if watts else None)
            amps = {} if total_w is None else dict.fromkeys(range(3), total_w / rating.dc_watts_per_ampere)
        elif not amps:
            if set(watts) - {_SUM}:
                amps = {phase: power / self._voltage for phase, power in watts.items() if phase != _SUM}
            elif _SUM in watts and rating is not None:
                amps = {_SUM: _split_power(watts[_SUM], self._voltage, rating)}
        if set(amps) - {_SUM}:
            values = [amps.get(phase) for phase in range(3)]
        elif _SUM in amps:
            # A single value without a phase. The phases that carry it are unknown: each may.
            count = 1 if rating is None else rating.phases
            values = [amps[_SUM] if phase < count else None for phase in range(3)]
        else:
            return None
        if rating is not None and max(abs(value or 0.0) for value in values) <= rating.max_a * WRONG_DRAW:
            most = rating.max_a * DRAW_TOLERANCE
        else:
            most = MOST_A
        bounded = [None if value is None else max(-most, min(most, value)) for value in values]
        return (bounded[0], bounded[1], bounded[2])


# One table a version, not one a station: bound methods would take half a KiB of each.
_READERS_16: Mapping[str, _Reader] = {
    "StatusNotification": StationStateTracker._on_status_16,
    "StartTransaction": StationStateTracker._on_start_16,
    "StopTransaction": StationStateTracker._on_stop_16,
    "MeterValues": StationStateTracker._on_meter_values_16,
}
_READERS_2: Mapping[str, _Reader] = {
    "StatusNotification": StationStateTracker._on_status_2,
    "TransactionEvent": StationStateTracker._on_transaction_event_2,
    "MeterValues": StationStateTracker._on_meter_values_2,
    "NotifyEVChargingNeeds": StationStateTracker._on_charging_needs_2,
    "NotifyEvent": StationStateTracker._on_event_2,
}
_ACTIONS_16, _ACTIONS_2 = frozenset(_READERS_16), frozenset(_READERS_2)


def _store_entry(table: dict[_KeyT, _ValueT], key: _KeyT, value: _ValueT) -> None:
    """Set an entry; the oldest is dropped where a station names more than there can be."""
    if key not in table and len(table) >= MOST_TRANSACTIONS:
        table.pop(next(iter(table)))
    table[key] = value


class _StationClock:
    """Compares a station's timestamps with each other, independent of its clock.

    `_lead_s`: how far the station's clock is ahead of ours (s; mostly below 0 for one that is behind), by
    the newest of its timestamps. A replayed message is far behind it. A clock that was set back is behind
    it, too, but stays behind by the same time while time passes: then its lead is adopted. One that stands
    still shows nothing: a replay does not repeat one moment for so long.
    """

    def __init__(self) -> None:
        self._standing: tuple[float, float] | None = None
        """The last timestamp, and when it arrived first (POSIX s)."""
        self._lead_s: float | None = None
        self._lagging: tuple[float, float] | None = None
        """Lead of the first of the messages that lag alike, and when it arrived (POSIX s)."""

    def is_past(self, moment: float | None, utc: float) -> bool:
        """Return True if a message of this moment (POSIX s) is a replay; take note of the moment."""
        if moment is None:
            return False
        if self._standing is None or self._standing[0] != moment:
            self._standing = (moment, utc)
        elif utc - self._standing[1] >= CLOCK_STEP_S:
            return False
        lead_s = moment - utc
        if self._lead_s is None or lead_s >= self._lead_s - PAST_S:
            self._lead_s = lead_s if self._lead_s is None else max(self._lead_s, lead_s)
            self._lagging = None
            return False
        if self._lagging is None or abs(lead_s - self._lagging[0]) > _SAME_LAG_S:
            self._lagging = (lead_s, utc)
        elif utc - self._lagging[1] >= CLOCK_STEP_S:
            self._lead_s, self._lagging = lead_s, None
            return False
        return True


def _is_waiting(message: v2.TransactionEventV2, *, begins: bool) -> bool:
    """Return True if an event shows a cable, but neither an authorization nor that the car charges.

    A begin without a state may be that of a car that charges.
    """
    if bytes(message.id_token) != b"null" or message.trigger_reason in _ADMITTED_BY:
        return False
    state = message.transaction_info.charging_state
    return state == "EVConnected" or (state is None and not begins)


def _split_power(watts: float, voltage: float, rating: EvseRating) -> float:
    """Return the highest current that a phase may carry for a total power (A).

    A power that one phase can carry may flow in one phase; a higher one flows in all of them.
    """
    one_phase_a = watts / voltage
    return one_phase_a if one_phase_a <= rating.max_a else one_phase_a / rating.phases


def _read_boot_16(payload: bytes) -> list[Observation]:
    # With any members: the station has booted, and may have lost our limits.
    boot = read_payload(v16.BootNotificationV16, payload) or v16.BootNotificationV16()
    return [
        Booted(
            _shorten(boot.charge_point_vendor),
            _shorten(boot.charge_point_model),
            _shorten(boot.firmware_version),
            _shorten(boot.charge_point_serial_number or boot.charge_box_serial_number),
        )
    ]


def _read_boot_2(payload: bytes) -> list[Observation]:
    station = (read_payload(v2.BootNotificationV2, payload) or v2.BootNotificationV2()).charging_station
    return [
        Booted(
            _shorten(station.vendor_name),
            _shorten(station.model),
            _shorten(station.firmware_version),
            _shorten(station.serial_number),
        )
    ]


def _shorten(text: str) -> str:
    """Return the printable characters of the first line, at most LONGEST_NAME."""
    first = text.splitlines()[0] if text else ""
    return "".join(character for character in first if character.isprintable())[:LONGEST_NAME]
