"""What is measured, as dimming takes it: nothing is made up where a station or a meter is silent."""

from __future__ import annotations

import pytest

from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef
from controller.services.dimming.dimming_output import draws_w, power_w
from drivers.reading import Reading

REF = EvseRef("CS01", 1)
READING = Reading(time=0.0, voltage_v=(240.0, None, 230.0))


@pytest.mark.parametrize(
    ("drawn_a", "reading", "watts"),
    [
        ((10.0, 0.0, 5.0), None, 15 * 220.0),
        ((10.0, 0.0, 5.0), READING, 10 * 240.0 + 5 * 230.0),
        (None, READING, None),
    ],
)
def test_dimming_output_device_draws_what_station_reports(
    drawn_a: PhaseAmps | None, reading: Reading | None, watts: float | None
) -> None:
    assert draws_w({REF: drawn_a}, reading, 220.0) == {REF: watts}


@pytest.mark.parametrize(
    ("reading", "watts"),
    [
        (Reading(time=0.0, power_total_w=-700.0, power_w=(1.0, 2.0, 3.0)), -700.0),
        (Reading(time=0.0, power_w=(1.0, 2.0, 3.0)), 6.0),
        (Reading(time=0.0, current_a=(1.0, -2.0, 0.0), voltage_v=(240.0, None, 230.0)), 240.0 - 2 * 220.0),
        (Reading(time=0.0, current_a=(1.0, 2.0, None)), None),
        (Reading(time=0.0), None),
    ],
    ids=["its total", "its phases", "currents and voltages", "a phase is missing", "nothing"],
)
def test_dimming_output_meter_s_power(reading: Reading, watts: float | None) -> None:
    assert power_w(reading, 220.0) == watts
