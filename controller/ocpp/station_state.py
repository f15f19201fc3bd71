"""Reading along: what a station's messages tell about its EVSEs.

A tolerant eye: a message that does not fit is passed on all the same and tells us nothing. It keeps
the little memory that OCPP asks for: which transaction runs at which EVSE, because a 1.6
StopTransaction and a 2.x TransactionEvent need not name it again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import TypeVar

import msgspec

from controller.model.observations import (
    Booted,
    DrawSeen,
    EvseState,
    NeedsSeen,
    Observation,
    PerPhase,
    StateSeen,
    TransactionSeen,
)
from controller.ocpp import v2, v16
from controller.ocpp.frames import Version
from controller.ocpp.payloads import is_accepted, read_payload

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
_CHARGING_STATES_2 = {
    "Charging": EvseState.CHARGING,
    "EVConnected": EvseState.PREPARING,
    "SuspendedEV": EvseState.SUSPENDED_EV,
    "SuspendedEVSE": EvseState.SUSPENDED_EVSE,
    "Idle": EvseState.FINISHING,
}
_PHASES = {"L1": 0, "L2": 1, "L3": 2, "L1-N": 0, "L2-N": 1, "L3-N": 2}
_CURRENT = "Current.Import"
_POWER = "Power.Active.Import"
_WATTS = {"": 1.0, "W": 1.0, "kW": 1000.0}
_REMEMBERED = 64
"""Transactions kept in mind per station: far more than a station has EVSEs."""

_MessageT = TypeVar("_MessageT", bound=msgspec.Struct)


class StationStateTracker:
    """Reads one station's messages in order.

    `voltage` (V, line to neutral) turns a station's power values into current where it sends no others.
    `wall` tells the date and time, with its zone: without it no car's departure can be known.
    """

    def __init__(self, version: Version, voltage: float, wall: Callable[[], datetime] | None = None) -> None:
        self._voltage = voltage
        self._wall = wall
        self._evse_of: dict[int | str, int] = {}
        self._charging_at: dict[int, EvseState] = {}
        self._readers: dict[str, Callable[[bytes], list[Observation]]] = (
            {
                "StatusNotification": self._status_16,
                "StartTransaction": self._start_16,
                "StopTransaction": self._stop_16,
                "MeterValues": self._meter_values_16,
            }
            if version is Version.V16
            else {
                "StatusNotification": self._status_2,
                "TransactionEvent": self._transaction_event_2,
                "MeterValues": self._meter_values_2,
                "NotifyEVChargingNeeds": self._needs_2,
            }
        )
        self._boot = _boot_16 if version is Version.V16 else _boot_2

    def request(self, action: str, payload: bytes) -> list[Observation]:
        """What a CALL or SEND of the station tells at once."""
        reader = self._readers.get(action)
        return reader(payload) if reader else []

    def answered(self, action: str, payload: bytes, result: bytes) -> list[Observation]:
        """What a CALL of the station tells once its backend has answered it well."""
        if action == "BootNotification" and is_accepted(result):
            return self._boot(payload)
        if action == "StartTransaction":
            start = read_payload(v16.StartTransactionV16, payload)
            given = read_payload(v16.StartTransactionResultV16, result)
            if start and given:
                self._remember(given.transaction_id, start.connector_id)
        return []

    def _remember(self, transaction: int | str, evse: int) -> None:
        if len(self._evse_of) >= _REMEMBERED:
            self._evse_of.pop(next(iter(self._evse_of)))
        self._evse_of[transaction] = evse

    def _status_16(self, payload: bytes) -> list[Observation]:
        message = read_payload(v16.StatusNotificationV16, payload)
        if message is None or message.connector_id == 0:
            return []
        return [StateSeen(message.connector_id, _STATES_16.get(message.status, EvseState.UNKNOWN))]

    def _start_16(self, payload: bytes) -> list[Observation]:
        message = read_payload(v16.StartTransactionV16, payload)
        return [TransactionSeen(message.connector_id, True)] if message else []

    def _stop_16(self, payload: bytes) -> list[Observation]:
        message = read_payload(v16.StopTransactionV16, payload)
        evse = self._evse_of.pop(message.transaction_id, None) if message else None
        return [] if evse is None else [TransactionSeen(evse, False)]

    def _meter_values_16(self, payload: bytes) -> list[Observation]:
        message = read_payload(v16.MeterValuesV16, payload)
        if message is None or not message.meter_value or message.connector_id == 0:
            return []
        samples: list[tuple[str, str, float]] = []
        for sample in message.meter_value[-1].sampled_value:
            value = _number(sample.value)  # signed values are no numbers: skipped here, passed on as they are
            if value is not None:
                samples.append((sample.measurand, sample.phase, value * _WATTS.get(sample.unit, 1.0)))
        return self._draw(message.connector_id, samples)

    def _status_2(self, payload: bytes) -> list[Observation]:
        message = read_payload(v2.StatusNotificationV2, payload)
        if message is None or message.evse_id == 0:
            return []
        state = _CONNECTOR_STATES_2.get(message.connector_status, EvseState.UNKNOWN)
        if state is EvseState.PREPARING:  # "Occupied" says less than the transaction that runs there
            state = self._charging_at.get(message.evse_id, state)
        else:
            self._charging_at.pop(message.evse_id, None)
        return [StateSeen(message.evse_id, state)]

    def _transaction_event_2(self, payload: bytes) -> list[Observation]:
        message = read_payload(v2.TransactionEventV2, payload)
        if message is None:
            return []
        transaction = message.transaction_info
        evse = message.evse.id if message.evse else self._evse_of.get(transaction.transaction_id)
        if evse is None:
            return []
        seen: list[Observation] = []
        if message.event_type == "Started":
            seen.append(TransactionSeen(evse, True, transaction.transaction_id))
        self._remember(transaction.transaction_id, evse)
        state = _CHARGING_STATES_2.get(transaction.charging_state)
        if message.event_type == "Ended":
            self._evse_of.pop(transaction.transaction_id, None)
            self._charging_at.pop(evse, None)
            return [*seen, TransactionSeen(evse, False), StateSeen(evse, EvseState.FINISHING)]
        if state is not None:
            self._charging_at[evse] = state
            seen.append(StateSeen(evse, state))
        return seen + self._meter_value_2(evse, message.meter_value)

    def _meter_values_2(self, payload: bytes) -> list[Observation]:
        message = read_payload(v2.MeterValuesV2, payload)
        return (
            self._meter_value_2(message.evse_id, message.meter_value) if message and message.evse_id else []
        )

    def _needs_2(self, payload: bytes) -> list[Observation]:
        message = read_payload(v2.NotifyEVChargingNeedsV2, payload)
        if message is None or message.evse_id == 0:
            return []
        needs = message.charging_needs
        wanted = needs.ac_charging_parameters
        energy_wh = None if wanted is None else wanted.energy_amount
        return [NeedsSeen(message.evse_id, energy_wh, self._seconds_until(needs.departure_time))]

    def _seconds_until(self, moment: str | None) -> float | None:
        """Site logic knows no wall clock: a moment becomes s from now."""
        if moment is None or self._wall is None:
            return None
        try:
            leaves = datetime.fromisoformat(moment)
        except ValueError:
            return None
        now = self._wall()  # a moment without a zone is UTC
        return ((leaves if leaves.tzinfo else leaves.replace(tzinfo=UTC)) - now).total_seconds()

    def _meter_value_2(self, evse: int, values: tuple[v2.MeterValueV2, ...]) -> list[Observation]:
        if not values:
            return []
        samples = [
            (sample.measurand, sample.phase, sample.value * _scale_2(sample.unit_of_measure))
            for sample in values[-1].sampled_value
        ]
        return self._draw(evse, samples)

    def _draw(self, evse: int, samples: Iterable[tuple[str, str, float]]) -> list[Observation]:
        """Currents as sent; where a station sends none, from its powers per phase."""
        found: dict[str, dict[str, float]] = {_CURRENT: {}, _POWER: {}}
        for measurand, phase, value in samples:
            if measurand in found and (not phase or phase in _PHASES) and math.isfinite(value):
                found[measurand][phase] = value
        currents = found[_CURRENT] or {
            phase: watts / self._voltage for phase, watts in found[_POWER].items() if phase in _PHASES
        }
        if not currents:
            return []
        return [DrawSeen(evse, _per_phase(currents))]


def _per_phase(currents: dict[str, float]) -> PerPhase:
    if not any(phase in _PHASES for phase in currents):
        # One value without a phase: what flows in the first phase; of the others nothing is said.
        return (next(iter(currents.values())), None, None)
    values: list[float | None] = [None, None, None]
    for phase, value in currents.items():
        if phase in _PHASES:
            values[_PHASES[phase]] = value
    return (values[0], values[1], values[2])


def _scale_2(unit: v2.UnitOfMeasureV2) -> float:
    # A multiplier beyond what any meter needs is nonsense, and 10.0**400 an OverflowError.
    if abs(unit.multiplier) > 30:
        return math.nan
    return float(10.0**unit.multiplier) * _WATTS.get(unit.unit, 1.0)


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None


def _boot_16(payload: bytes) -> list[Observation]:
    # Whoever it is and however it says so: it has booted, and may have lost our limits.
    boot = read_payload(v16.BootNotificationV16, payload) or v16.BootNotificationV16()
    return [Booted(boot.charge_point_vendor, boot.charge_point_model, boot.firmware_version)]


def _boot_2(payload: bytes) -> list[Observation]:
    station = (read_payload(v2.BootNotificationV2, payload) or v2.BootNotificationV2()).charging_station
    return [Booted(station.vendor_name, station.model, station.firmware_version)]
