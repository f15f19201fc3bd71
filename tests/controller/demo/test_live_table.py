from __future__ import annotations

import io
import logging

from msgspec.structs import replace
from rich.console import Console

from controller.demo import demo_site as demo_site
from controller.demo import live_table
from controller.demo.site_physics import SimulatedSite
from controller.model.observations import EvseState
from controller.web import terminal
from controller.web.status_model import CircuitStatus, ControllerStatus, EvseStatus
from drivers.reading import Quality
from tests.controller.web.examples import STATUS

PLANS = demo_site.station_plans(1)
LONG = "row-a L2 full; rotated out, next turn 14:45, and a very long story about it besides this one"


def a_site() -> SimulatedSite:
    return SimulatedSite(
        demo_site.CIRCUITS, [evse for plan in PLANS for evse in plan.evses], demo_site.building_loads(1)
    )


def a_status() -> ControllerStatus:
    circuits = tuple(
        CircuitStatus(
            id=circuit.id,
            parent=circuit.parent,
            limit_a=(circuit.limit_a,) * 3,  # type: ignore[arg-type]
            measured_a=None,
            base_a=(0.0, 0.0, 0.0),
            booked_a=(0.0, 0.0, 0.0),
            meter_quality=None if circuit.id == "row-b" else Quality.GOOD,
        )
        for circuit in demo_site.CIRCUITS
    )
    evses = tuple(
        EvseStatus(
            station=plan.id,
            evse=evse.key[1],
            circuit=evse.circuit,
            ocpp=None if plan.id == "A5" else plan.version,
            connected=plan.id != "A5",
            state=EvseState.SUSPENDED_EVSE,
            offered_a=16.0,
            drawn_a=(0.0, 0.0, 0.0),
            reason=LONG,
        )
        for plan in PLANS
        for evse in plan.evses
    )
    return replace(STATUS, circuits=circuits, evses=evses)


def test_live_table_picture_fits_hundred_columns_and_shows_every_evse() -> None:
    console = Console(width=terminal.WIDTH, record=True, force_terminal=True, file=io.StringIO())
    console.print(live_table.render(a_site(), a_status(), 4711, ["info    " + "x" * 200]))
    lines = console.export_text().splitlines()
    assert max(map(len, lines)) <= terminal.WIDTH
    assert len(lines) <= 24
    text = "\n".join(lines)
    for plan in PLANS:
        assert f"{plan.id}/1" in text
    assert "suspended-evse" in text
    assert "away" in text
    assert "row-a L2 full" in text


def test_live_table_summary_is_one_line() -> None:
    text = live_table.summary(a_site(), a_status(), 4711)
    assert "\n" not in text
    assert "12 EVSEs connected" in text


def test_live_table_log_keeps_last_lines() -> None:
    tail = live_table.LogTail()
    for number in range(20):
        tail.emit(logging.LogRecord("x", logging.WARNING, "", 0, "line %d", (number,), None))
    assert list(tail.lines)[-1] == "warning line 19"
    assert len(tail.lines) == live_table.LOG_LINES
