"""Stationary battery: what its meter shows, and what cars may count on."""

from __future__ import annotations

import pytest

from controller.load_management.energy.energy_settings import BatterySettings
from controller.load_management.energy.site_battery import SiteBattery
from drivers.reading import MeterState, Quality, Reading


def seen(reading: Reading, *, cars_first: bool = False) -> SiteBattery:
    battery = SiteBattery(BatterySettings(meter="battery", cars_first=cars_first), 230.0)
    battery.on_meter(MeterState(meter="battery", quality=Quality.GOOD, reading=reading), 0.0)
    return battery


@pytest.mark.parametrize(
    ("total_w", "hidden_a", "surplus_a"),
    [
        (-6_900.0, (10.0, 10.0, 10.0), 10.0),
        (6_900.0, (0.0, 0.0, 0.0), 70.0),
        (None, (10.0, 10.0, 10.0), 10.0),
    ],
)
def test_battery_current_without_direction_has_that_of_total_power(
    total_w: float | None, hidden_a: tuple[float, ...], surplus_a: float
) -> None:
    # Without a direction a meter shows each current as import; 40 A are fed in.
    reading = Reading(
        time=0.0, current_a=(10.0, 10.0, 10.0), power_total_w=total_w, direction_unknown=(1, 2, 3)
    )
    battery = seen(reading, cars_first=True)
    assert battery.hidden_a(0.0) == pytest.approx(hidden_a)
    assert battery.surplus_a(40.0, 0.0) == pytest.approx(surplus_a)


def test_battery_current_with_direction_is_taken_as_it_is() -> None:
    battery = seen(Reading(time=0.0, current_a=(-10.0, 4.0, 0.0), direction_unknown=(3,)))
    assert battery.flow_a(0.0) == (-10.0, 4.0, 0.0)
    assert battery.hidden_a(0.0) == (10.0, 0.0, 0.0)
