"""Draw of a DC EVSE: the power to the car, as a current at the input."""

from __future__ import annotations

import json

import pytest

from controller.model.observations import DrawSeen, EvseRating
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker

WATTS_PER_AMPERE = 3 * 230.0 * 0.95 * 0.98


def draws(samples: list[dict[str, str]]) -> list[DrawSeen]:
    tracker = StationStateTracker(Version.V16, 230.0, {1: EvseRating(3, 80.0, WATTS_PER_AMPERE)})
    values = [{"timestamp": "2026-11-27T12:00:00Z", "sampledValue": samples}]
    payload = json.dumps({"connectorId": 1, "meterValue": values}).encode()
    seen = tracker.on_message("MeterValues", payload, 1_795_780_800.0)
    return [each for each in seen if isinstance(each, DrawSeen)]


def test_dc_power_is_read_as_current_on_three_phases() -> None:
    [draw] = draws([{"measurand": "Power.Active.Import", "unit": "kW", "value": "32.0"}])
    assert draw.current_a == pytest.approx((32_000 / WATTS_PER_AMPERE,) * 3)


def test_dc_current_at_outlet_is_not_read_as_alternating_current() -> None:
    samples = [
        {"measurand": "Current.Import", "unit": "A", "value": "80"},
        {"measurand": "Voltage", "unit": "V", "value": "400"},
    ]
    assert draws(samples) == []
    [draw] = draws([*samples, {"measurand": "Power.Active.Import", "unit": "W", "value": "32000"}])
    assert draw.current_a == pytest.approx((32_000 / WATTS_PER_AMPERE,) * 3)
