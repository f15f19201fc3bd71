"""Numbers beyond all measure in messages: no exception, and nothing unbounded is passed on or stored."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from controller.model.observations import DrawSeen, NeedsSeen, Observation
from controller.ocpp.frames import Call, Version, parse
from controller.relay.events import Action, ObservationMade, ToStation
from controller.store.record_rules import changes_of
from tests.scenario.stored_relay import MessageHarness, StoredRelay

WHEN = "2026-01-01T00:00:00Z"
EXTREME = [
    "1e308",
    "-1e308",
    "1e-320",
    "9" * 401,
    "-" + "9" * 401,
    "2147483648",
    "-9223372036854775809",
    "1.5",
    "-1",
    "0",
    "null",
    "true",
    '"1e308"',
    '"' + "9" * 401 + '"',
]
MARK = "@number@"

BOOT_16 = {"chargePointVendor": "V", "chargePointModel": "M"}
BOOT_2 = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
BOOTED = {"status": "Accepted", "currentTime": WHEN, "interval": 300}
VALUES_16 = {
    "connectorId": 1,
    "transactionId": 7,
    "meterValue": [{"timestamp": WHEN, "sampledValue": [{"value": 10, "measurand": "Current.Import"}]}],
}
VALUES_2 = [
    {
        "timestamp": WHEN,
        "sampledValue": [
            {"value": 10, "measurand": "Current.Import", "unitOfMeasure": {"unit": "A", "multiplier": 0}}
        ],
    }
]
EVENT_2 = {
    "eventType": "Updated",
    "timestamp": WHEN,
    "triggerReason": "MeterValuePeriodic",
    "seqNo": 3,
    "transactionInfo": {"transactionId": "T1", "chargingState": "Charging", "timeSpentCharging": 9},
    "evse": {"id": 1, "connectorId": 1},
    "meterValue": VALUES_2,
}
NEEDS_2 = {
    "evseId": 1,
    "chargingNeeds": {
        "requestedEnergyTransfer": "AC_three_phase",
        "departureTime": WHEN,
        "acChargingParameters": {
            "energyAmount": 9000,
            "evMinCurrent": 6,
            "evMaxCurrent": 32,
            "evMaxVoltage": 230,
        },
    },
}

STATION: list[tuple[Version, str, dict[str, Any], dict[str, Any]]] = [
    (Version.V16, "BootNotification", BOOT_16, BOOTED),
    (
        Version.V16,
        "StatusNotification",
        {"connectorId": 1, "errorCode": "NoError", "status": "Charging"},
        {},
    ),
    (
        Version.V16,
        "StartTransaction",
        {"connectorId": 1, "idTag": "T", "meterStart": 5, "timestamp": WHEN},
        {"transactionId": 7, "idTagInfo": {"status": "Accepted"}},
    ),
    (Version.V16, "MeterValues", VALUES_16, {}),
    (Version.V16, "StopTransaction", {"transactionId": 7, "meterStop": 9, "timestamp": WHEN}, {}),
    (Version.V201, "BootNotification", BOOT_2, BOOTED),
    (
        Version.V201,
        "StatusNotification",
        {"timestamp": WHEN, "connectorStatus": "Occupied", "evseId": 1, "connectorId": 1},
        {},
    ),
    (Version.V201, "TransactionEvent", EVENT_2, {"totalCost": 1, "chargingPriority": 1}),
    (Version.V201, "MeterValues", {"evseId": 1, "meterValue": VALUES_2}, {}),
    (Version.V21, "NotifyEVChargingNeeds", NEEDS_2, {"status": "Accepted"}),
]
SCHEDULE = {
    "duration": 60,
    "chargingRateUnit": "A",
    "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 9}],
}
PROFILE_16 = {
    "chargingProfileId": 5,
    "stackLevel": 1,
    "chargingProfilePurpose": "TxDefaultProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": SCHEDULE | {"startSchedule": WHEN},
}
PROFILE_2 = {
    "id": 5,
    "stackLevel": 1,
    "chargingProfilePurpose": "ChargingStationMaxProfile",
    "chargingProfileKind": "Absolute",
    "chargingSchedule": [SCHEDULE | {"id": 1, "startSchedule": WHEN}],
}
OWNER: list[tuple[Version, str, dict[str, Any], dict[str, Any]]] = [
    (
        Version.V16,
        "SetChargingProfile",
        {"connectorId": 0, "csChargingProfiles": PROFILE_16},
        {"status": "Accepted"},
    ),
    (Version.V16, "RemoteStartTransaction", {"connectorId": 1, "idTag": "T"}, {"status": "Accepted"}),
    (Version.V16, "RemoteStopTransaction", {"transactionId": 7}, {"status": "Accepted"}),
    (Version.V16, "GetCompositeSchedule", {"connectorId": 1, "duration": 600}, {"status": "Rejected"}),
    (
        Version.V16,
        "SendLocalList",
        {"listVersion": 4, "updateType": "Full", "localAuthorizationList": []},
        {"status": "Accepted"},
    ),
    (Version.V16, "ClearChargingProfile", {"id": 5, "stackLevel": 1}, {"status": "Accepted"}),
    (Version.V201, "SetChargingProfile", {"evseId": 0, "chargingProfile": PROFILE_2}, {"status": "Accepted"}),
    (Version.V201, "GetCompositeSchedule", {"evseId": 1, "duration": 600}, {"status": "Rejected"}),
    (Version.V201, "GetChargingProfiles", {"requestId": 4, "chargingProfile": {}}, {"status": "Accepted"}),
]


def number_paths(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The paths of all numbers in a payload."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from number_paths(member, (*path, name))
    elif isinstance(value, list):
        for place, member in enumerate(value):
            yield from number_paths(member, (*path, place))
    elif isinstance(value, int | float):
        yield path


def with_number(payload: dict[str, Any], path: tuple[Any, ...], number: str) -> str:
    """The payload with `number` in the place of the value at `path`."""
    changed = json.loads(json.dumps(payload))
    inner = changed
    for step in path[:-1]:
        inner = inner[step]
    inner[path[-1]] = MARK
    return json.dumps(changed).replace(f'"{MARK}"', number)


class LenientHarness(MessageHarness):
    """A relay whose effects need not be expected.

    `observations`: those that the site got; `commands`: texts that the station was sent.
    """

    def __init__(self, stored: StoredRelay, version: Version, *, up: bool) -> None:
        self.observations: list[Observation] = []
        self.commands: list[str] = []
        super().__init__(
            version, up=up, offline=stored.make_offline_handler(), snapshot=stored.snapshot, observers={}
        )

    def _take_effects(self, actions: list[Action]) -> None:
        self.commands += [each.text for each in actions if isinstance(each, ToStation)]
        self.observations += [each.observation for each in actions if isinstance(each, ObservationMade)]
        super()._take_effects(actions)

    def assert_bounded(self) -> None:
        """Check that observations and records are finite, and that the records can be written."""
        for seen in self.observations:
            amounts = seen.current_a if isinstance(seen, DrawSeen) else ()
            if isinstance(seen, NeedsSeen):
                amounts = (seen.energy_wh, seen.departs_in_s)
            assert all(each is None or (math.isfinite(each) and abs(each) < 1e12) for each in amounts)
        for records in self.commits:
            changes_of(records)
        msgspec.json.encode(self.commits)


@pytest.mark.parametrize("up", [True, False], ids=["owner there", "owner away"])
@pytest.mark.parametrize(("version", "action", "payload", "answer"), STATION, ids=lambda each: str(each)[:20])
def test_extreme_number_of_station_harms_nothing(
    tmp_path: Path, version: Version, action: str, payload: dict[str, Any], answer: dict[str, Any], up: bool
) -> None:
    numbers = itertools.count()
    scenario = LenientHarness(StoredRelay(tmp_path, version), version, up=up)
    if not up:
        scenario.csms.disconnect()
    variants = [with_number(payload, path, each) for path in number_paths(payload) for each in EXTREME]
    answers = [with_number(answer, path, each) for path in number_paths(answer) for each in EXTREME]
    for sent, received in [
        *((each, json.dumps(answer)) for each in [json.dumps(payload), *variants]),
        *((json.dumps(payload), each) for each in answers),
    ]:
        number = next(numbers)
        scenario.drop_effects()
        scenario.station.send(f'[2,"{number}","{action}",{sent}]')
        scenario.drop_effects()
        if up:
            scenario.csms.send(f'[3,"{number}",{received}]')
            scenario.drop_effects()
        assert scenario.relay.is_open
    scenario.assert_bounded()


@pytest.mark.parametrize(("version", "action", "payload", "answer"), OWNER, ids=lambda each: str(each)[:20])
def test_extreme_number_of_backend_harms_nothing(
    tmp_path: Path, version: Version, action: str, payload: dict[str, Any], answer: dict[str, Any]
) -> None:
    scenario = LenientHarness(StoredRelay(tmp_path, version), version, up=True)
    variants = [with_number(payload, path, each) for path in number_paths(payload) for each in EXTREME]
    for number, sent in enumerate([json.dumps(payload), *variants]):
        scenario.drop_effects()
        scenario.csms.send(f'[2,"c{number}","{action}",{sent}]')
        scenario.drop_effects()
        for _ in range(3):  # one command may become several
            sent_on, scenario.commands = scenario.commands, []
            for frame in map(parse, sent_on):
                if isinstance(frame, Call):
                    scenario.station.send(f'[3,"{frame.id}",{json.dumps(answer)}]')
                    scenario.drop_effects()
        assert scenario.relay.is_open
    scenario.assert_bounded()
