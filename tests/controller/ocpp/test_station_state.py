"""State from stations' messages: conforming ones, checked against the schemas, and the odd ones."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import UTC as UTC_ZONE
from datetime import datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.observations import (
    Booted,
    DrawSeen,
    EvseRating,
    EvseRecord,
    EvseState,
    Observation,
    PerPhase,
    StateSeen,
    TransactionSeen,
)
from controller.ocpp.frames import Version
from controller.ocpp.payloads import is_accepted
from controller.ocpp.station_state import MOST_TRANSACTIONS, MOST_UNCONFIGURED, StationStateTracker
from tests.controller.ocpp.schemas import check, request

ON_ANY_MACHINE = settings(deadline=None, derandomize=True)

VOLTAGE = 230.0
WHEN = "2026-03-29T12:00:00Z"
UTC = 1_774_785_600.0
V2 = [Version.V201, Version.V21]

StationCall = tuple[str, dict[str, Any]]
Sample = dict[str, Any]


def seen(version: Version, *calls: StationCall) -> list[Observation]:
    """Observations of the last of these messages; all must fit their schemas."""
    for action, message in calls:
        check(version, request(version, action), json.dumps(message).encode())
    return oddly_seen(version, *calls)


def oddly_seen(version: Version, *calls: StationCall) -> list[Observation]:
    """The same for messages that no schema allows."""
    observer = StationStateTracker(version, VOLTAGE)
    observations: list[Observation] = []
    for action, message in calls:
        observations = observer.on_message(action, json.dumps(message).encode(), UTC)
    return observations


# -- 1.6 ------------------------------------------------------------------------------------------------


def status_16(connector: int, status: str) -> StationCall:
    return "StatusNotification", {"connectorId": connector, "errorCode": "NoError", "status": status}


def values_16(connector: int, *samples: Sample) -> StationCall:
    return "MeterValues", {
        "connectorId": connector,
        "meterValue": [{"timestamp": WHEN, "sampledValue": list(samples)}],
    }


def current(value: str, phase: str | None = None, unit: str | None = "A") -> Sample:
    sample = {"value": value, "measurand": "Current.Import", "phase": phase, "unit": unit}
    return {name: member for name, member in sample.items() if member is not None}


def power(value: str, phase: str | None = None, unit: str | None = "W") -> Sample:
    return {**current(value, phase, unit), "measurand": "Power.Active.Import"}


def voltage(value: str, phase: str | None = None) -> Sample:
    return {**current(value, phase, "V"), "measurand": "Voltage"}


@pytest.mark.parametrize(
    ("status", "state"),
    [
        ("Available", EvseState.AVAILABLE),
        ("Preparing", EvseState.PREPARING),
        ("Charging", EvseState.CHARGING),
        ("SuspendedEV", EvseState.SUSPENDED_EV),
        ("SuspendedEVSE", EvseState.SUSPENDED_EVSE),
        ("Finishing", EvseState.FINISHING),
        ("Reserved", EvseState.RESERVED),
        ("Unavailable", EvseState.UNAVAILABLE),
        ("Faulted", EvseState.FAULTED),
    ],
)
def test_status_of_16_becomes_evse_state(status: str, state: EvseState) -> None:
    assert seen(Version.V16, status_16(2, status)) == [StateSeen(2, state)]


def test_connector_0_is_no_evse() -> None:
    assert seen(Version.V16, status_16(0, "Faulted")) == []
    assert seen(Version.V16, values_16(0, current("16"))) == []


def test_state_without_record_is_unknown() -> None:
    assert oddly_seen(Version.V16, status_16(1, "Dreaming")) == [StateSeen(1, EvseState.UNKNOWN)]


OCMF = json.dumps({"signedMeterValue": 'OCMF|{"FV":"1.0"}', "encodingMethod": "OCMF"})

DRAWS_16: list[tuple[str, list[Sample], PerPhase | None]] = [
    ("three phases", [current("6.1", "L1"), current("6.2", "L2"), current("6.3", "L3")], (6.1, 6.2, 6.3)),
    ("to neutral", [current("10", "L1-N"), current("11", "L2-N"), current("12", "L3-N")], (10, 11, 12)),
    ("one of three", [current("16", "L2")], (None, 16, None)),
    ("without a phase", [current("16")], (16, None, None)),
    ("a sum beside the phases", [current("20"), current("9", "L1"), current("11", "L2")], (9, 11, None)),
    ("neutral is no phase", [current("1.5", "N"), current("16", "L1")], (16, None, None)),
    ("neutral alone says nothing", [current("1.5", "N")], None),
    ("current before power", [power("9999", "L1"), current("10", "L1")], (10, None, None)),
    ("power of all phases: whose?", [power("6900")], None),
    ("zero is a value", [current("0.0", "L1"), current("0", "L2")], (0, 0, None)),
    ("energy only", [{"value": "12345"}], None),
    ("offered is not drawn", [{**current("32"), "measurand": "Current.Offered"}], None),
    ("NaN is none", [current("NaN", "L1"), current("8", "L2")], (None, 8, None)),
    ("nor is infinity", [current("inf", "L1"), current("-Infinity", "L2"), current("1e999", "L3")], None),
    ("nor is text", [current("", "L1"), current("n/a", "L2"), current("7", "L3")], (None, None, 7)),
    (
        "signed values are passed, not read",
        [{"value": OCMF, "format": "SignedData"}, current("8", "L1")],
        (8, None, None),
    ),
    ("signed current", [{**current(OCMF, "L1"), "format": "SignedData"}], None),
]


@pytest.mark.parametrize(("samples", "draw"), [row[1:] for row in DRAWS_16], ids=[row[0] for row in DRAWS_16])
def test_meter_values_of_16_become_draw(samples: list[Sample], draw: PerPhase | None) -> None:
    assert seen(Version.V16, values_16(1, *samples)) == ([] if draw is None else [DrawSeen(1, draw)])


POWERS_16: list[tuple[str, list[Sample], PerPhase]] = [
    ("W per phase", [power("2300", "L1"), power("4600", "L2")], (10, 20, None)),
    ("kW per phase", [power("2.3", "L1", "kW"), power("4.6", "L2", "kW")], (10, 20, None)),
    ("W without a unit", [power("2300", "L3", None)], (None, None, 10)),
]


@pytest.mark.parametrize(
    ("samples", "draw"), [row[1:] for row in POWERS_16], ids=[row[0] for row in POWERS_16]
)
def test_powers_of_16_become_draw_at_nominal_voltage(samples: list[Sample], draw: PerPhase) -> None:
    assert seen(Version.V16, values_16(1, *samples)) == [DrawSeen(1, draw, at_v=VOLTAGE)]


VOLTAGES_16: list[tuple[str, list[Sample], DrawSeen]] = [
    ("of each phase", [voltage("240", "L1-N"), voltage("260", "L2-N")], DrawSeen(1, (None, 9.2, None))),
    ("without a phase", [voltage("250")], DrawSeen(1, (None, 9.2, None))),
    ("of two phases", [voltage("433", "L1-L2")], DrawSeen(1, (None, 10, None), at_v=VOLTAGE)),
    ("of the battery", [voltage("400")], DrawSeen(1, (None, 10, None), at_v=VOLTAGE)),
]


@pytest.mark.parametrize(
    ("samples", "draw"), [row[1:] for row in VOLTAGES_16], ids=[row[0] for row in VOLTAGES_16]
)
def test_power_is_current_at_reported_voltage(samples: list[Sample], draw: DrawSeen) -> None:
    [found] = seen(Version.V16, values_16(1, power("2300", "L2"), *samples))
    assert isinstance(found, DrawSeen)
    assert found.current_a[1] == pytest.approx(draw.current_a[1])
    assert found.at_v == draw.at_v


def test_draw_from_power_at_other_voltage_is_same_power() -> None:
    draw = DrawSeen(1, (10.0, 20.0, None), least_phases=2, total_a=30.0, at_v=230.0).at_voltage(250.0)
    assert draw.current_a == (pytest.approx(9.2), pytest.approx(18.4), None)
    assert (draw.total_a, draw.at_v) == (pytest.approx(27.6), 0.0)
    current = DrawSeen(1, (10.0, 20.0, None))
    assert current.at_voltage(250.0) == current


def test_station_state_last_of_several_meter_values_counts() -> None:
    values = [{"timestamp": WHEN, "sampledValue": [current(amperes)]} for amperes in ("6", "16")]
    message = ("MeterValues", {"connectorId": 1, "meterValue": values})
    assert seen(Version.V16, message) == [DrawSeen(1, (16, None, None))]


START = {"connectorId": 2, "idTag": "VID:00112233", "meterStart": 0, "timestamp": WHEN}


def test_station_state_transaction_of_16_ends_at_evse_where_it_began() -> None:
    observer = StationStateTracker(Version.V16, VOLTAGE)
    start = json.dumps(START).encode()
    assert observer.on_message("StartTransaction", start, UTC) == [TransactionSeen(2, True)]
    result = b'{"transactionId":4000000000,"idTagInfo":{"status":"Accepted"}}'
    assert observer.on_call_result("StartTransaction", start, result) == []
    stop = b'{"transactionId":4000000000,"meterStop":9,"timestamp":"2026-03-29T13:00:00Z"}'
    assert observer.on_message("StopTransaction", stop, UTC) == [TransactionSeen(2, False)]
    assert observer.on_message("StopTransaction", stop, UTC) == []


def test_end_of_unknown_transaction_is_not_observed() -> None:
    stop = ("StopTransaction", {"transactionId": -1, "meterStop": 9, "timestamp": WHEN})
    assert seen(Version.V16, stop) == []


def test_tracked_transactions_are_bounded() -> None:
    observer = StationStateTracker(Version.V16, VOLTAGE)
    for number in range(1000):
        observer.on_call_result("StartTransaction", b'{"connectorId":1}', b'{"transactionId":%d}' % number)
    assert observer.on_message("StopTransaction", b'{"transactionId":0}', UTC) == []
    assert observer.on_message("StopTransaction", b'{"transactionId":999}', UTC) == [
        TransactionSeen(1, False)
    ]


# -- 2.0.1 and 2.1 --------------------------------------------------------------------------------------


def status_2(evse: int, status: str) -> StationCall:
    return "StatusNotification", {
        "timestamp": WHEN,
        "evseId": evse,
        "connectorId": 1,
        "connectorStatus": status,
    }


def notify_2(
    evse: int, value: str, component: str = "Connector", variable: str = "AvailabilityState"
) -> StationCall:
    where = {"name": component} | ({"evse": {"id": evse, "connectorId": 1}} if evse else {})
    reported = {
        "eventId": 1,
        "timestamp": WHEN,
        "trigger": "Delta",
        "actualValue": value,
        "eventNotificationType": "HardWiredNotification",
        "component": where,
        "variable": {"name": variable},
    }
    return "NotifyEvent", {"generatedAt": WHEN, "seqNo": 0, "eventData": [reported]}


def event(kind: str, state: str | None = None, evse: int | None = None, *samples: Sample) -> StationCall:
    info = {"transactionId": "tx-1"} | ({"chargingState": state} if state else {})
    message: dict[str, Any] = {
        "eventType": kind,
        "timestamp": WHEN,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 0,
        "transactionInfo": info,
    }
    if evse is not None:
        message["evse"] = {"id": evse, "connectorId": 1}
    if samples:
        message["meterValue"] = [{"timestamp": WHEN, "sampledValue": list(samples)}]
    return "TransactionEvent", message


def values_2(evse: int, *samples: Sample) -> StationCall:
    return "MeterValues", {
        "evseId": evse,
        "meterValue": [{"timestamp": WHEN, "sampledValue": list(samples)}],
    }


def current_2(value: float, phase: str | None = None, **unit: str | int) -> Sample:
    sample: Sample = {"value": value, "measurand": "Current.Import"}
    return sample | ({"phase": phase} if phase else {}) | ({"unitOfMeasure": unit} if unit else {})


def power_2(value: float, phase: str | None = None, **unit: str | int) -> Sample:
    return {**current_2(value, phase, **unit), "measurand": "Power.Active.Import"}


CHARGING = StateSeen(1, EvseState.CHARGING)

CONVERSATIONS_2: list[tuple[str, list[StationCall], list[Observation]]] = [
    ("available", [status_2(1, "Available")], [StateSeen(1, EvseState.AVAILABLE)]),
    ("occupied", [status_2(1, "Occupied")], [StateSeen(1, EvseState.PREPARING)]),
    ("reserved", [status_2(1, "Reserved")], [StateSeen(1, EvseState.RESERVED)]),
    ("unavailable", [status_2(1, "Unavailable")], [StateSeen(1, EvseState.UNAVAILABLE)]),
    ("faulted", [status_2(1, "Faulted")], [StateSeen(1, EvseState.FAULTED)]),
    ("EVSE 0 is none", [status_2(0, "Faulted")], []),
    ("available by an event", [notify_2(1, "Available")], [StateSeen(1, EvseState.AVAILABLE)]),
    ("occupied by an event", [notify_2(1, "Occupied")], [StateSeen(1, EvseState.PREPARING)]),
    (
        "an event is as specific as a status",
        [event("Started", "Charging", 1), notify_2(1, "Occupied")],
        [CHARGING],
    ),
    ("an event of the whole station", [notify_2(0, "Available", "ChargingStation")], []),
    ("an event of another variable", [notify_2(1, "true", variable="Problem")], []),
    (
        "starts on the cable, before any authorisation",
        [event("Started", "EVConnected", 1)],
        [TransactionSeen(1, True, "tx-1", waits=True), StateSeen(1, EvseState.PREPARING)],
    ),
    (
        "started while charging",
        [event("Started", "Charging", 1, current_2(16, "L1"))],
        [TransactionSeen(1, True, "tx-1"), CHARGING, DrawSeen(1, (16, None, None))],
    ),
    ("updated without an EVSE", [event("Started", None, 1), event("Updated", "Charging")], [CHARGING]),
    ("updated, begun before we were there", [event("Updated", "Charging")], []),
    ("the same with its EVSE", [event("Updated", "Charging", 1)], [CHARGING]),
    ("from there on without", [event("Updated", "Charging", 1), event("Updated", "Charging")], [CHARGING]),
    (
        "suspended by the car",
        [event("Updated", "SuspendedEV", 1)],
        [StateSeen(1, EvseState.SUSPENDED_EV)],
    ),
    (
        "suspended by the station",
        [event("Updated", "SuspendedEVSE", 1)],
        [StateSeen(1, EvseState.SUSPENDED_EVSE)],
    ),
    ("idle", [event("Updated", "Idle", 1)], [StateSeen(1, EvseState.FINISHING)]),
    (
        "values without a state",
        [event("Started", None, 1), event("Updated", None, None, current_2(9, "L2"))],
        [DrawSeen(1, (None, 9, None))],
    ),
    (
        "occupied says less than the transaction",
        [event("Started", "Charging", 1), status_2(1, "Occupied")],
        [CHARGING],
    ),
    (
        "at another EVSE it says what it says",
        [event("Started", "Charging", 1), status_2(2, "Occupied")],
        [StateSeen(2, EvseState.PREPARING)],
    ),
    (
        "ended without an EVSE",
        [event("Started", "Charging", 1), event("Ended", "EVConnected")],
        [TransactionSeen(1, False), StateSeen(1, EvseState.FINISHING)],
    ),
    (
        "occupied after the end",
        [event("Started", "Charging", 1), event("Ended"), status_2(1, "Occupied")],
        [StateSeen(1, EvseState.PREPARING)],
    ),
    ("ended twice", [event("Started", None, 1), event("Ended"), event("Ended")], []),
]


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("calls", "expected"), [row[1:] for row in CONVERSATIONS_2], ids=[row[0] for row in CONVERSATIONS_2]
)
def test_station_state_messages_become_observations(
    version: Version, calls: list[StationCall], expected: list[Observation]
) -> None:
    assert seen(version, *calls) == expected


DRAWS_2: list[tuple[str, list[Sample], PerPhase | None]] = [
    ("three phases", [current_2(6.1, "L1"), current_2(6.2, "L2"), current_2(6.3, "L3")], (6.1, 6.2, 6.3)),
    ("to neutral", [current_2(10, "L1-N"), current_2(11, "L3-N")], (10, None, 11)),
    ("without a phase", [current_2(16)], (16, None, None)),
    ("neutral alone", [current_2(16, "N")], None),
    ("mA by a multiplier", [current_2(16000, "L1", unit="A", multiplier=-3)], (16, None, None)),
    ("kW by its unit", [power_2(2.3, "L1", unit="kW")], (10, None, None)),
    ("kW by a multiplier", [power_2(2.3, "L1", unit="W", multiplier=3)], (10, None, None)),
    ("a multiplier beyond sense", [current_2(1, "L1", multiplier=400), current_2(5, "L2")], (None, 5, None)),
    ("and below", [current_2(1, "L1", multiplier=-400)], None),
    ("power of all phases: whose?", [power_2(6900)], None),
    ("energy only", [{"value": 12345.0}], None),
]


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(("samples", "draw"), [row[1:] for row in DRAWS_2], ids=[row[0] for row in DRAWS_2])
def test_meter_values_of_2x_become_draw(
    version: Version, samples: list[Sample], draw: PerPhase | None
) -> None:
    expected = seen(version, values_2(1, *samples))
    assert len(expected) == (0 if draw is None else 1)
    for observation in expected:
        assert isinstance(observation, DrawSeen)
        assert observation.current_a == pytest.approx(draw)


@pytest.mark.parametrize("version", V2)
def test_values_of_evse_0_are_of_no_evse(version: Version) -> None:
    assert seen(version, values_2(0, current_2(32))) == []


# -- boots, and what is no message at all ---------------------------------------------------------------

BOOTS = [
    (
        Version.V16,
        {
            "chargePointVendor": "ACME",
            "chargePointModel": "One",
            "firmwareVersion": "1.2",
            "chargePointSerialNumber": "S-4711",
        },
    ),
    *[
        (
            version,
            {
                "reason": "PowerUp",
                "chargingStation": {
                    "vendorName": "ACME",
                    "model": "One",
                    "firmwareVersion": "1.2",
                    "serialNumber": "S-4711",
                },
            },
        )
        for version in V2
    ],
]


@pytest.mark.parametrize(("version", "boot"), BOOTS)
def test_station_state_boot_counts_when_it_is_accepted(version: Version, boot: dict[str, Any]) -> None:
    observer = StationStateTracker(version, VOLTAGE)
    payload = json.dumps(boot).encode()
    check(version, request(version, "BootNotification"), payload)
    assert observer.on_message("BootNotification", payload, UTC) == []
    for status in ("Pending", "Rejected"):
        result = f'{{"status":"{status}","currentTime":"{WHEN}","interval":60}}'.encode()
        assert observer.on_call_result("BootNotification", payload, result) == []
    result = f'{{"status":"Accepted","currentTime":"{WHEN}","interval":300}}'.encode()
    assert observer.on_call_result("BootNotification", payload, result) == [
        Booted("ACME", "One", "1.2", "S-4711")
    ]


@pytest.mark.parametrize("version", list(Version))
def test_station_state_boot_with_invalid_members_counts(version: Version) -> None:
    """The limits may be lost after any boot."""
    odd = b'{"chargePointVendor":null,"firmwareVersion":7,"chargingStation":{"model":null}}'
    expected = StationStateTracker(version, VOLTAGE).on_call_result(
        "BootNotification", odd, b'{"status":"Accepted"}'
    )
    assert expected == [Booted("", "", "")]


@pytest.mark.parametrize(
    ("result", "good"),
    [
        (b'{"status":"Accepted"}', True),
        (b'{"status":"Accepted","statusInfo":{"reasonCode":"x"}}', True),
        (b'{"status":"Rejected"}', False),
        (b'{"status":"accepted"}', False),
        (b"{}", False),
        (b"[]", False),
        (b"null", False),
        (b'{"status":1}', False),
    ],
)
def test_is_accepted_reads_status_of_result(result: bytes, good: bool) -> None:
    assert is_accepted(result) is good


ACTIONS = [
    "BootNotification",
    "StatusNotification",
    "StartTransaction",
    "StopTransaction",
    "MeterValues",
    "TransactionEvent",
    "Heartbeat",
    "SomethingNew",
]
MEMBERS = [
    "connectorId",
    "evseId",
    "evse",
    "id",
    "status",
    "connectorStatus",
    "transactionId",
    "eventType",
    "transactionInfo",
    "chargingState",
    "meterValue",
    "sampledValue",
    "value",
    "measurand",
    "phase",
    "unit",
    "unitOfMeasure",
    "multiplier",
]
WORDS = ["Accepted", "Charging", "Current.Import", "L1", "kW", "Started", "Ended", "NaN", "9" * 400]
payloads = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.sampled_from(WORDS) | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(MEMBERS), inner, max_size=5),
    max_leaves=12,
).map(lambda value: json.dumps(value).encode())


@ON_ANY_MACHINE
@given(
    st.sampled_from(Version), st.lists(st.tuples(st.sampled_from(ACTIONS), payloads, payloads), max_size=5)
)
def test_station_state_any_payload_never_raises(
    version: Version, calls: list[tuple[str, bytes, bytes]]
) -> None:
    observer = StationStateTracker(version, VOLTAGE)
    for action, payload, result in calls:
        observer.on_message(action, payload, UTC)
        observer.on_call_result(action, payload, result)


@pytest.mark.parametrize("payload", [b"", b"{", b"[" * 100_000, b'"\xff"'])
def test_station_state_text_without_json_changes_nothing(payload: bytes) -> None:
    for version in Version:
        for action in ACTIONS:
            assert StationStateTracker(version, VOLTAGE).on_message(action, payload, UTC) == []


# -- the present and the past ---------------------------------------------------------------------------

EVSES = {1: EvseRating(3, 32.0)}


def at(minutes: float) -> str:
    return datetime.fromtimestamp(UTC + 60 * minutes, tz=UTC_ZONE).isoformat()


class Tracked:
    """One station's tracker, and what it reports of each message; minutes count from UTC."""

    def __init__(self, version: Version, evses: dict[int, EvseRating] = EVSES) -> None:
        self.tracker = StationStateTracker(version, VOLTAGE, evses)

    def sends(self, action: str, minute: float = 0.0, **message: Any) -> list[Observation]:
        return self.tracker.on_message(action, json.dumps(message).encode(), UTC + 60 * minute)

    def starts_16(self, number: int, connector: int = 1, minute: float = 0.0) -> None:
        message = {"connectorId": connector, "timestamp": at(minute)}
        self.sends("StartTransaction", minute, **message)
        result = json.dumps({"transactionId": number}).encode()
        self.tracker.on_call_result("StartTransaction", json.dumps(message).encode(), result)

    def values_16(
        self, *samples: Any, minute: float = 0.0, stamped: float | None = None, **more: Any
    ) -> list[Observation]:
        element = {"timestamp": at(minute if stamped is None else stamped), "sampledValue": list(samples)}
        return self.sends("MeterValues", minute, **{"connectorId": 1, "meterValue": [element], **more})

    def event_2(self, kind: str, transaction: str, minute: float = 0.0, **more: Any) -> list[Observation]:
        message = {
            "eventType": kind,
            "timestamp": at(minute),
            "transactionInfo": {"transactionId": transaction, "chargingState": "Charging"},
            "evse": {"id": 1},
        }
        return self.sends("TransactionEvent", **{**message, **more})


def drawn_a(seen: Sequence[Observation]) -> list[PerPhase]:
    """Return the draws among observations (A per phase)."""
    return [each.current_a for each in seen if isinstance(each, DrawSeen)]


SIXTEEN = [DrawSeen(1, (16.0, 16.0, 16.0))]
PHASES_16 = [current("16", phase) for phase in ("L1", "L2", "L3")]
ENERGY = {"value": 1234, "unit": "Wh"}

ODD_SAMPLES_16: list[tuple[str, list[Any]]] = [
    ("numbers", [{**sample, "value": 16.0} for sample in PHASES_16]),
    ("null unit", [{**sample, "unit": None} for sample in PHASES_16]),
    ("null location", [{**sample, "location": None} for sample in PHASES_16]),
    ("energy as a number", [*PHASES_16, ENERGY]),
    ("decimal comma", [current("16,0", phase) for phase in ("L1", "L2", "L3")]),
    ("blanks", [current(" 16.0 ", phase) for phase in ("L1", "L2", "L3")]),
    ("lower case", [current("16", phase) for phase in ("l1", "l2", "l3")]),
    ("mA", [current("16000", phase, "mA") for phase in ("L1", "L2", "L3")]),
    ("total power", [power("11.04", None, "kW")]),
    ("no phase", [current("16")]),
    ("inlet beside", [*PHASES_16, *({**sample, "value": "0", "location": "Inlet"} for sample in PHASES_16)]),
    ("inlet alone", [{**sample, "location": "Inlet"} for sample in PHASES_16]),
    ("an object", [{"value": {}, "phase": 7}, *PHASES_16]),
    ("text in place of a sample", ["odd", None, *PHASES_16]),
]


@pytest.mark.parametrize(
    "samples", [row[1] for row in ODD_SAMPLES_16], ids=[row[0] for row in ODD_SAMPLES_16]
)
def test_meter_values_16_in_odd_form_are_read(samples: list[Any]) -> None:
    assert drawn_a(Tracked(Version.V16).values_16(*samples)) == [(16.0, 16.0, 16.0)]


def test_meter_values_16_of_main_meter_count_for_only_evse() -> None:
    assert Tracked(Version.V16).values_16(*PHASES_16, connectorId=0) == SIXTEEN
    two = Tracked(Version.V16, {1: EVSES[1], 2: EVSES[1]})
    assert two.values_16(*PHASES_16, connectorId=0) == []


@pytest.mark.parametrize(
    "elements",
    [
        [{"timestamp": WHEN, "sampledValue": [sample]} for sample in PHASES_16],
        [{"timestamp": WHEN, "sampledValue": PHASES_16}, {"timestamp": WHEN, "sampledValue": [ENERGY]}],
        [{"timestamp": WHEN, "sampledValue": PHASES_16}, "odd"],
        [
            {"timestamp": "2026-03-29T11:59:00Z", "sampledValue": [current("6", "L1")]},
            {"timestamp": WHEN, "sampledValue": PHASES_16},
        ],
        [
            {"timestamp": WHEN, "sampledValue": PHASES_16},
            {"timestamp": "2026-03-29T11:59:00Z", "sampledValue": [current("6", "L1")]},
        ],
    ],
    ids=["one per phase", "energy in its own", "odd element", "older element", "newest first"],
)
def test_meter_values_16_in_several_elements_are_read(elements: list[Any]) -> None:
    assert Tracked(Version.V16).sends("MeterValues", connectorId=1, meterValue=elements) == SIXTEEN


@pytest.mark.parametrize("value", ["1e308", "1e999", 1e308, "9" * 401, "nan", "-inf", True, [], {}])
def test_current_beyond_measure_is_skipped(value: Any) -> None:
    odd = {**current("1", "L1"), "value": value}
    assert Tracked(Version.V16).values_16(odd, current("8", "L2")) == [DrawSeen(1, (None, 8.0, None))]


def test_power_beyond_measure_is_skipped() -> None:
    assert Tracked(Version.V16).values_16(power("1e308", "L1", "kW")) == []
    assert Tracked(Version.V16).values_16(power("1e308", None, "kW")) == []


def test_current_above_rating_is_bounded() -> None:
    assert Tracked(Version.V16).values_16(current("63", "L1")) == [DrawSeen(1, (40.0, None, None))]
    assert Tracked(Version.V16).values_16(current("-63", "L1")) == [DrawSeen(1, (-40.0, None, None))]


def test_current_far_above_rating_is_left_to_be_rejected() -> None:
    """Bounded to 40 A it would count as the draw of a car that no limit holds."""
    [seen] = Tracked(Version.V16).values_16(current("3200", "L1"), current("16", "L2"))
    assert seen == DrawSeen(1, (3200.0, 16.0, None))


@pytest.mark.parametrize("version", list(Version))
def test_main_meter_counts_until_evse_reports_own_current(version: Version) -> None:
    tracked, key = Tracked(version), "connectorId" if version is Version.V16 else "evseId"
    samples = PHASES_16 if version is Version.V16 else [current_2(16, phase) for phase in ("L1", "L2", "L3")]

    def send(number: int, minute: float, *values: Any) -> list[Observation]:
        element = {"timestamp": at(minute), "sampledValue": list(values)}
        return tracked.sends("MeterValues", minute, **{key: number, "meterValue": [element]})

    assert send(1, 0, ENERGY) == []
    assert send(0, 0, *samples) == SIXTEEN
    assert send(1, 1, *samples) == SIXTEEN
    assert send(0, 2, *samples) == []


def test_total_power_that_one_phase_carries_counts_in_each() -> None:
    assert drawn_a(Tracked(Version.V16).values_16(power("3680"))) == [(16.0, 16.0, 16.0)]


@pytest.mark.parametrize(
    ("samples", "max_a", "least"),
    [
        (PHASES_16, 16.0, 0),
        ([power("3680")], 16.0, 1),
        ([power("4000")], 16.0, 1),
        ([power("7360")], 16.0, 2),
        ([power("11040")], 16.0, 3),
        ([power("11040")], 32.0, 2),
        ([current("16")], 16.0, 1),
        ([current("16"), power("3680")], 32.0, 1),
        ([current("16"), power("4050")], 32.0, 1),
        ([current("16"), power("11040")], 32.0, 3),
        ([current("16"), power("9.4", None, "kW")], 32.0, 3),
        ([current("0.4"), power("300")], 32.0, 1),
    ],
)
def test_draw_without_phases_shows_least_number_of_phases(
    samples: list[Any], max_a: float, least: int
) -> None:
    [seen] = Tracked(Version.V16, {1: EvseRating(3, max_a)}).values_16(*samples)
    assert isinstance(seen, DrawSeen)
    assert seen.least_phases == least


def test_replayed_meter_values_change_no_current() -> None:
    tracked = Tracked(Version.V16)
    tracked.values_16(*PHASES_16)
    assert tracked.values_16(*PHASES_16, minute=1, stamped=-120) == []
    assert tracked.values_16(*PHASES_16, minute=2) == SIXTEEN


def test_station_with_clock_behind_is_read() -> None:
    tracked = Tracked(Version.V16)
    for minute in range(3):
        assert tracked.values_16(*PHASES_16, minute=minute, stamped=minute - 120) == SIXTEEN


def test_station_clock_set_back_is_adopted_after_minute() -> None:
    tracked = Tracked(Version.V16)
    tracked.values_16(*PHASES_16)
    assert tracked.values_16(*PHASES_16, minute=1, stamped=-119) == []
    assert tracked.values_16(*PHASES_16, minute=1.5, stamped=-118.5) == []
    assert tracked.values_16(*PHASES_16, minute=2, stamped=-118) == SIXTEEN
    assert tracked.values_16(*PHASES_16, minute=3, stamped=-117) == SIXTEEN


def test_closing_values_16_change_no_current() -> None:
    tracked = Tracked(Version.V16)
    tracked.starts_16(7)
    closing = [{**sample, "context": "Transaction.End"} for sample in PHASES_16]
    assert tracked.values_16(*closing, transactionId=7) == []
    assert tracked.sends("StopTransaction", transactionId=7, timestamp=at(0)) == [TransactionSeen(1, False)]
    assert tracked.values_16(*PHASES_16, transactionId=7) == []
    assert tracked.values_16(*PHASES_16) == SIXTEEN
    tracked.starts_16(7)
    assert tracked.values_16(*PHASES_16, transactionId=7) == SIXTEEN


def test_stop_16_of_earlier_transaction_ends_no_later_one() -> None:
    tracked = Tracked(Version.V16)
    tracked.starts_16(7)
    tracked.starts_16(8)
    assert tracked.sends("StopTransaction", transactionId=7, timestamp=at(0)) == []
    assert tracked.sends("StopTransaction", transactionId=8, timestamp=at(0)) == [TransactionSeen(1, False)]


def test_stop_16_replayed_while_next_car_charges_ends_nothing() -> None:
    tracked = Tracked(Version.V16)
    tracked.starts_16(7)
    tracked.sends("StatusNotification", 180, connectorId=1, status="Charging")
    tracked.values_16(*PHASES_16, minute=180)
    assert tracked.sends("StopTransaction", 180, transactionId=7, timestamp=at(30)) == []


def test_event_2_of_replayed_transaction_changes_nothing() -> None:
    tracked = Tracked(Version.V201)
    values = [{"timestamp": at(0), "sampledValue": [current_2(10, "L1")]}]
    started = [TransactionSeen(1, True, "NEW"), CHARGING]
    assert tracked.event_2("Started", "NEW", -0.5, offline=True) == started
    assert tracked.event_2("Updated", "NEW", meterValue=values) == [
        CHARGING,
        DrawSeen(1, (10.0, None, None)),
    ]
    assert tracked.event_2("Updated", "OLD", -120, offline=True, meterValue=values) == []
    assert tracked.event_2("Ended", "OLD", -110, offline=True) == []
    assert tracked.event_2("Updated", "NEW", -120, offline=True, meterValue=values) == []
    assert tracked.event_2("Ended", "NEW") == [TransactionSeen(1, False), StateSeen(1, EvseState.FINISHING)]
    assert tracked.event_2("Updated", "NEW", meterValue=values) == []


def test_event_2_without_evse_counts_for_only_evse() -> None:
    assert Tracked(Version.V201).event_2("Updated", "T", evse=None) == [CHARGING]
    two = Tracked(Version.V201, {1: EVSES[1], 2: EVSES[1]})
    assert two.event_2("Updated", "T", evse=None) == []


@pytest.mark.parametrize(
    "sample",
    [
        {**current_2(16), "value": "16.0"},
        current_2(160, unit="A", multiplier=-1),
        current_2(16000, unit="mA"),
        {**current_2(16), "location": None, "unitOfMeasure": None},
        power_2(11040, unit="W"),
    ],
)
def test_event_2_in_odd_form_is_read(sample: Sample) -> None:
    values = [{"timestamp": at(0), "sampledValue": [sample]}]
    seen = Tracked(Version.V201).event_2("Updated", "T", meterValue=values)
    assert seen[0] == CHARGING
    assert drawn_a(seen) == [(16.0, 16.0, 16.0)]


def test_boot_names_are_one_short_printable_line() -> None:
    boot = {"chargePointVendor": "A\x1b[31mB\nC", "chargePointModel": "x" * 200}
    tracker = StationStateTracker(Version.V16, VOLTAGE)
    expected = tracker.on_call_result("BootNotification", json.dumps(boot).encode(), b'{"status":"Accepted"}')
    assert expected == [Booted("A[31mB", "x" * 80)]


def test_unchanged_draw_is_reported_again_after_5_s() -> None:
    tracked = Tracked(Version.V16)
    assert tracked.values_16(*PHASES_16) == SIXTEEN
    assert tracked.values_16(*PHASES_16, minute=0.05) == []
    assert tracked.values_16(current("8", "L1"), minute=0.06) == [DrawSeen(1, (8.0, None, None))]
    assert tracked.values_16(*PHASES_16, minute=0.07) == SIXTEEN
    assert tracked.values_16(*PHASES_16, minute=0.16) == SIXTEEN


EVSES = {1: EvseRating(3, 32.0), 2: EvseRating(3, 32.0)}


def started_2x(evse: int) -> tuple[str, bytes]:
    event = {
        "eventType": "Started",
        "timestamp": WHEN,
        "triggerReason": "Authorized",
        "seqNo": 0,
        "transactionInfo": {"transactionId": "T1", "chargingState": "Charging"},
        "evse": {"id": evse},
    }
    return "TransactionEvent", json.dumps(event).encode()


def event_2x(kind: str, amps: float) -> tuple[str, bytes]:
    values = [{"value": amps, "measurand": "Current.Import", "phase": f"L{n}"} for n in (1, 2, 3)]
    event = {
        "eventType": kind,
        "timestamp": WHEN,
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 1,
        "transactionInfo": {"transactionId": "T1"},
        "meterValue": [{"timestamp": WHEN, "sampledValue": values}],
    }
    return "TransactionEvent", json.dumps(event).encode()


@pytest.mark.parametrize("version", V2)
def test_station_state_tracker_after_restart_finds_evse_of_transaction(version: Version) -> None:
    before = StationStateTracker(version, VOLTAGE, EVSES)
    before.on_message(*started_2x(2), UTC)
    record = before.take_record()
    assert record == (EvseRecord(2, EvseState.CHARGING, is_running=True, transaction="T1"),)
    after = StationStateTracker(version, VOLTAGE, EVSES)
    assert after.restore(record) == [StateSeen(2, EvseState.CHARGING), TransactionSeen(2, True, "T1")]
    assert after.on_message(*event_2x("Updated", 14.0), UTC) == [DrawSeen(2, (14.0, 14.0, 14.0))]
    assert after.on_message(*event_2x("Ended", 14.0), UTC) == [
        TransactionSeen(2, False),
        StateSeen(2, EvseState.FINISHING),
    ]
    assert after.take_record() == (EvseRecord(2, EvseState.FINISHING),)


def test_station_state_tracker_after_restart_ends_transaction_of_16() -> None:
    before = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    start = {"connectorId": 2, "idTag": "T", "meterStart": 0, "timestamp": WHEN}
    before.on_message("StartTransaction", json.dumps(start).encode(), UTC)
    before.on_call_result("StartTransaction", json.dumps(start).encode(), b'{"transactionId":7}')
    record = before.take_record()
    assert record == (EvseRecord(2, EvseState.UNKNOWN, is_running=True, transaction=7),)
    assert before.take_record() is None
    after = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    assert after.restore(record) == [TransactionSeen(2, True)]
    stop = {"transactionId": 7, "meterStop": 1, "timestamp": WHEN}
    assert after.on_message("StopTransaction", json.dumps(stop).encode(), UTC) == [TransactionSeen(2, False)]


def test_station_state_tracker_lists_evses_without_state_on_this_link() -> None:
    tracker = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    status = {"connectorId": 2, "errorCode": "NoError", "status": "Available"}
    tracker.on_message("StatusNotification", json.dumps(status).encode(), UTC)
    assert tracker.list_unreported() == [1]
    tracker.on_link_opened()
    assert tracker.list_unreported() == [1, 2]


def test_station_state_tracker_stores_bounded_number_of_connectors() -> None:
    tracker = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    for connector in range(1, 10 * MOST_TRANSACTIONS):
        start = {"connectorId": connector, "idTag": "T", "meterStart": 0, "timestamp": WHEN}
        tracker.on_message("StartTransaction", json.dumps(start).encode(), UTC)
        assert tracker.find_transaction(connector) is None
    assert len(tracker.take_record() or ()) <= len(EVSES)
    assert max(len(table) for table in vars(tracker).values() if isinstance(table, dict)) <= MOST_TRANSACTIONS


@pytest.mark.parametrize("status", ["Finishing", "Available"])
def test_tracker_ends_transaction_whose_stop_names_another_id(status: str) -> None:
    start = {"connectorId": 1, "idTag": "T", "meterStart": 0, "timestamp": WHEN}
    tracker = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    tracker.on_message("StartTransaction", json.dumps(start).encode(), UTC)
    tracker.on_call_result("StartTransaction", json.dumps(start).encode(), b'{"transactionId":7}')
    stop = {"transactionId": 0, "meterStop": 1, "timestamp": WHEN}
    assert tracker.on_message("StopTransaction", json.dumps(stop).encode(), UTC) == []
    state = {"connectorId": 1, "errorCode": "NoError", "status": status}
    assert tracker.on_message("StatusNotification", json.dumps(state).encode(), UTC) == [
        TransactionSeen(1, False, inferred=True),
        StateSeen(1, EvseState(status.lower())),
    ]
    assert tracker.on_message("StatusNotification", json.dumps(state).encode(), UTC) == [
        StateSeen(1, EvseState(status.lower()))
    ]


def test_station_state_tracker_counts_bounded_number_of_unconfigured_evses() -> None:
    tracker = StationStateTracker(Version.V16, VOLTAGE, EVSES)
    counted = []
    for connector in [*range(3, 100), 3, 1]:
        status = {"connectorId": connector, "errorCode": "NoError", "status": "Charging"}
        for seen in tracker.on_message("StatusNotification", json.dumps(status).encode(), UTC):
            assert isinstance(seen, StateSeen)
            counted.append(seen.evse)
    assert counted == [*range(3, 3 + MOST_UNCONFIGURED), 3, 1]


def test_station_state_of_unconfigured_evse_outlives_restart() -> None:
    tracked = Tracked(Version.V16, {1: EvseRating(3, 32.0)})
    tracked.starts_16(7, connector=3)
    tracked.sends("StatusNotification", connectorId=3, errorCode="NoError", status="Charging")
    record = tracked.tracker.take_record()
    assert record is not None
    restored = Tracked(Version.V16, {1: EvseRating(3, 32.0)}).tracker
    assert restored.restore(record) == [StateSeen(3, EvseState.CHARGING), TransactionSeen(3, True)]
    assert restored.list_unreported() == [1, 3]


# -- energy registers alone ---------------------------------------------------------------------------------


def register_draws(
    registers: Sequence[tuple[float, str]], unit: str = "Wh", ratings: dict[int, EvseRating] | None = None
) -> list[DrawSeen | None]:
    """Return the draw that each register, of this second and with this text, shows."""
    tracker = StationStateTracker(Version.V16, VOLTAGE, ratings or {1: EvseRating(3, 32.0)})
    found: list[DrawSeen | None] = []
    for second, text in registers:
        stamp = datetime.fromtimestamp(UTC + second, UTC_ZONE).isoformat()
        sample = {"value": text, "unit": unit}
        message = {"connectorId": 1, "meterValue": [{"timestamp": stamp, "sampledValue": [sample]}]}
        seen_now = tracker.on_message("MeterValues", json.dumps(message).encode(), UTC + second)
        found.append(next((each for each in seen_now if isinstance(each, DrawSeen)), None))
    return found


def test_register_of_each_minute_is_mean_draw() -> None:
    # 184 Wh a minute are 11.04 kW: 16 A on three phases, more than one could carry.
    draws = register_draws([(60.0 * k, str(12_345 + 184 * k)) for k in range(4)])
    assert draws[0] is None
    for draw in draws[1:]:
        assert draw is not None
        assert draw.current_a == pytest.approx((16.0, 16.0, 16.0), abs=0.01)
        assert (draw.mean_s, draw.least_phases) == (60.0, 2)


def test_register_that_stays_shows_no_draw() -> None:
    draws = register_draws([(60.0 * k, "12345.6") for k in range(3)])
    assert [None if each is None else each.current_a for each in draws[1:]] == [(0, 0, 0)] * 2


def test_register_in_tens_of_wh_is_used_over_longer_times() -> None:
    # 2300 W are 38 Wh a minute: 10 Wh of error are 600 W then, and 100 W after six minutes.
    draws = register_draws([(60.0 * k, f"{(7120 + 38 * k) // 10 / 100:.2f}") for k in range(7)], "kWh")
    assert draws[:6] == [None] * 6
    assert draws[6] is not None
    assert draws[6].current_a[0] == pytest.approx(10.0, abs=0.5)
    assert draws[6].mean_s == 360.0


def test_register_that_is_set_back_or_late_begins_anew() -> None:
    draws = register_draws([(0.0, "12345"), (60.0, "3"), (5000.0, "9003"), (5060.0, "9187")])
    assert draws[:3] == [None] * 3
    assert draws[3] is not None
    assert draws[3].current_a[0] == pytest.approx(16.0, abs=0.01)


def test_register_beside_currents_is_no_draw() -> None:
    tracker = StationStateTracker(Version.V16, VOLTAGE, {1: EvseRating(3, 32.0)})
    action, message = values_16(1, current("16", "L1"))
    assert tracker.on_message(action, json.dumps(message).encode(), UTC)
    for minute in range(3):
        action, message = values_16(1, {"value": str(12_345 + minute)})
        assert tracker.on_message(action, json.dumps(message).encode(), UTC + 60 * minute) == []


def test_register_of_transaction_end_is_no_draw() -> None:
    tracker = StationStateTracker(Version.V16, VOLTAGE, {1: EvseRating(3, 32.0)})
    for minute in range(3):
        sample = {"value": str(12_345 + 184 * minute), "context": "Transaction.End"}
        action, message = values_16(1, sample)
        assert tracker.on_message(action, json.dumps(message).encode(), UTC + 60 * minute) == []
