"""What is measured, as dimming takes it: nothing is made up where a station or a meter is silent."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from controller.load_management.site_view import EvseView, SiteView
from controller.model.observations import EvseRef, EvseState
from controller.model.statements import Statement, StatementCode
from controller.services.dimming_history import draws_w, power_w
from drivers.reading import Reading

REF = EvseRef("CS01", 1)
CHARGING = EvseView(
    ref=REF,
    connected=True,
    state=EvseState.CHARGING,
    offered_a=10.0,
    drawn_a=(10.0, 0.0, 5.0),
    statement=Statement(code=StatementCode.NO_CAR),
)
READING = Reading(time=0.0, voltage_v=(240.0, None, 230.0))


@pytest.mark.parametrize(
    ("evse", "reading", "watts"),
    [
        (CHARGING, None, 15 * 220.0),
        (CHARGING, READING, 10 * 240.0 + 5 * 230.0),
        (replace(CHARGING, connected=False), READING, None),
        (replace(CHARGING, draw_unknown=True), READING, None),
    ],
)
def test_dimming_history_device_draws_what_station_reports(
    evse: EvseView, reading: Reading | None, watts: float | None
) -> None:
    view = SiteView(circuits=(), evses=(evse, replace(evse, ref=EvseRef("public", 1))))
    assert draws_w(view, {REF: "grid"}, reading, 220.0) == {REF: watts}


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
def test_dimming_history_meter_s_power(reading: Reading, watts: float | None) -> None:
    assert power_w(reading, 220.0) == watts
