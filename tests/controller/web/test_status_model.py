"""The status as it is made of the site's state."""

from __future__ import annotations

import pytest

from controller.load_management.evse.learned_values import LearnedResponse
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.load_management.site_view import CircuitView, EvseView, SiteView
from controller.model.observations import EvseRef, EvseState
from controller.model.statements import Statement, StatementCode
from controller.web.status_model import ClockOffsetStatus, circuit_statuses, clock_offset_statuses

REFUSES = Statement(code=StatementCode.LIMITS_REFUSED, detail="NotSupported")
OFFLINE = Statement(code=StatementCode.OFFLINE)


def site_view(problem: Statement | None, booked_a: float, *, connected: bool = True) -> SiteView:
    amps = (booked_a, booked_a, 0.0)
    evse = EvseView(
        ref=EvseRef("A", 1),
        connected=connected,
        state=EvseState.CHARGING,
        offered_a=32.0,
        drawn_a=(0.0, 0.0, 0.0),
        statement=problem or Statement(code=StatementCode.ALL_IT_CAN_TAKE),
        problem=problem,
        learned=LearnedResponse(),
    )
    circuits = [
        CircuitView(
            id=name,
            limit_a=(63.0, 63.0, 63.0) if name == "grid" else (32.0, 32.0, 32.0),
            limit_now_a=(63.0, 63.0, 63.0) if name == "grid" else (32.0, 32.0, 32.0),
            measured_a=None,
            base_a=(10.0, 0.0, 0.0),
            booked_a=amps,
            meter_quality=None,
        )
        for name in ("grid", "row")
    ]
    return SiteView(circuits=tuple(circuits), evses=(evse,))


SITE = SiteTree(
    circuits=(
        CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3),
        CircuitNode(id="row", parent="grid", limit_a=(32.0,) * 3),
    ),
    evses=(EvseNode(ref=EvseRef("A", 1), circuit="row", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6),),
)


@pytest.mark.parametrize(
    ("view", "excess"),
    [
        (site_view(REFUSES, 32.0), {"grid": 0.0, "row": 10.0}),
        (site_view(REFUSES, 60.0), {"grid": 7.0, "row": 38.0}),
        (site_view(REFUSES, 20.0), {"grid": 0.0, "row": 0.0}),
        (site_view(None, 60.0), {"grid": 0.0, "row": 0.0}),
        (site_view(OFFLINE, 60.0, connected=False), {"grid": 0.0, "row": 0.0}),
    ],
)
def test_status_model_circuit_that_refusing_station_may_overload_is_named(
    view: SiteView, excess: dict[str, float]
) -> None:
    found = circuit_statuses(SITE, view)
    assert {each.id: each.excess_a for each in found} == excess
    assert {each.id for each in found if each.unlimited} == {name for name, amps in excess.items() if amps}


def test_clock_offsets_name_stations_and_backends() -> None:
    assert clock_offset_statuses({"station=CS=1": 7200.04, "backend=cpo": -300.0}) == (
        ClockOffsetStatus(kind="backend", id="cpo", offset_s=-300.0),
        ClockOffsetStatus(kind="station", id="CS=1", offset_s=7200.0),
    )
