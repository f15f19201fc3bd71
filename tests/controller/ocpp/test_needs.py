"""A car's charging needs, as a 2.x station reports them."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from controller.model.observations import NeedsSeen, Observation
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from tests.controller.ocpp.schemas import check, request

ACTION = "NotifyEVChargingNeeds"
NOON = datetime(2026, 3, 29, 12, tzinfo=UTC)
V2 = [Version.V201, Version.V21]
WANTED = {"energyAmount": 20_000, "evMinCurrent": 6, "evMaxCurrent": 32, "evMaxVoltage": 230}


def needs(departure: str | None = None, wanted: dict[str, Any] | None = None) -> dict[str, Any]:
    reported = {"departureTime": departure, "acChargingParameters": wanted}
    return {"requestedEnergyTransfer": "AC_three_phase"} | {
        k: v for k, v in reported.items() if v is not None
    }


def seen(version: Version, message: dict[str, Any]) -> list[Observation]:
    return StationStateTracker(version, 230.0).on_message(
        ACTION, json.dumps(message).encode(), NOON.timestamp()
    )


@pytest.mark.parametrize("version", V2)
@pytest.mark.parametrize(
    ("reported", "observed"),
    [
        (needs("2026-03-29T14:10:00Z", WANTED), NeedsSeen(2, 20_000, 7800.0)),
        (needs("2026-03-29T15:10:00+03:00", WANTED), NeedsSeen(2, 20_000, 600.0)),
        (needs("2026-03-29T11:59:00Z", WANTED), NeedsSeen(2, 20_000, None)),
        (needs("2026-04-05T12:00:00Z", WANTED), NeedsSeen(2, 20_000, 7 * 86_400.0)),
        (needs("2026-04-05T12:00:01Z", WANTED), NeedsSeen(2, 20_000, None)),
        (needs(None, WANTED), NeedsSeen(2, 20_000, None)),
        (needs(), NeedsSeen(2, None, None)),
    ],
)
def test_needs_are_energy_and_seconds_until_departure(
    version: Version, reported: dict[str, Any], observed: NeedsSeen
) -> None:
    message = {"evseId": 2, "chargingNeeds": reported}
    check(version, request(version, ACTION), json.dumps(message).encode())
    assert seen(version, message) == [observed]


DC_WANTED = {"evMaxCurrent": 200, "evMaxVoltage": 800}


@pytest.mark.parametrize(
    ("wanted", "energy_wh"),
    [
        ({"energyAmount": 30_000}, 30_000.0),
        ({"stateOfCharge": 40, "evEnergyCapacity": 60_000}, 36_000.0),
        ({"stateOfCharge": 40, "evEnergyCapacity": 60_000, "fullSoC": 80}, 24_000.0),
        ({"stateOfCharge": 90, "evEnergyCapacity": 60_000, "fullSoC": 80}, 0.0),
        ({"stateOfCharge": 40}, None),
    ],
)
@pytest.mark.parametrize("version", V2)
def test_needs_of_dc_car_are_energy_or_rest_of_its_battery(
    version: Version, wanted: dict[str, Any], energy_wh: float | None
) -> None:
    reported = {
        "requestedEnergyTransfer": "DC",
        "departureTime": "2026-03-29T13:00:00Z",
        "dcChargingParameters": DC_WANTED | wanted,
    }
    message = {"evseId": 1, "chargingNeeds": reported}
    check(version, request(version, ACTION), json.dumps(message).encode())
    assert seen(version, message) == [NeedsSeen(1, energy_wh, 3600.0)]


@pytest.mark.parametrize(("target_wh", "energy_wh"), [(25_000, 25_000.0), (-5_000, 0.0)])
def test_needs_of_bidirectional_car_are_its_target(target_wh: int, energy_wh: float) -> None:
    wanted = {"minChargePower": 1400, "maxChargePower": 11_000, "evTargetEnergyRequest": target_wh}
    reported = {"requestedEnergyTransfer": "AC_BPT", "v2xChargingParameters": wanted}
    message = {"evseId": 1, "chargingNeeds": reported}
    check(Version.V21, request(Version.V21, ACTION), json.dumps(message).encode())
    assert seen(Version.V21, message) == [NeedsSeen(1, energy_wh, None)]


def test_departure_without_zone_is_utc_and_invalid_time_is_unknown() -> None:
    for text, departs_in_s in (("2026-03-29T12:01:00", 60.0), ("soon", None)):
        reported = {"evseId": 1, "chargingNeeds": needs(text, WANTED)}
        assert seen(Version.V201, reported) == [NeedsSeen(1, 20_000, departs_in_s)]


@pytest.mark.parametrize(
    "message",
    [
        {},
        {"evseId": 0, "chargingNeeds": needs()},
        {"evseId": 1, "chargingNeeds": needs(None, WANTED | {"energyAmount": -1})},
        {"evseId": 1, "chargingNeeds": needs(None, WANTED | {"energyAmount": 1e300})},
    ],
)
def test_malformed_text_changes_no_state(message: dict[str, Any]) -> None:
    assert seen(Version.V21, message) == []


def test_version_1_6_has_no_such_message() -> None:
    assert seen(Version.V16, {"evseId": 1, "chargingNeeds": needs(None, WANTED)}) == []
