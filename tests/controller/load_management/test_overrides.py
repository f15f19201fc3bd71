"""Overrides of a person: pause, manual limit, priority and boost of an EVSE."""

from __future__ import annotations

from controller.load_management.events import EvseOverridden
from controller.load_management.site_tree import CircuitNode, EvseNode
from controller.model.observations import BackendLimit, EvseRef
from controller.model.statements import Statement, StatementCode
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel


def test_overrides_paused_evse_gets_nothing_until_it_is_resumed() -> None:
    site = SiteHarness(
        (CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3),), [overridable("A", CarModel())]
    )
    site.connect()
    site.wait(60)
    assert site.station("A").draw_a == 32.0
    site.handle(
        EvseOverridden(
            ref=EvseRef("A", 1),
            limit_a=0.0,
            why=Statement(code=StatementCode.PAUSED, name="anna", time="14:00"),
        )
    )
    site.wait(30)
    assert site.station("A").draw_a == 0.0
    assert site.evse_view("A").reason == "paused by anna until 14:00"
    site.handle(EvseOverridden(ref=EvseRef("A", 1)))
    site.wait(120)
    assert site.station("A").draw_a == 32.0


def test_overrides_pause_of_backend_ends_as_soon_as_it_is_cleared() -> None:
    site = SiteHarness(
        (CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3),), [overridable("A", CarModel())]
    )
    site.connect()
    site.wait(60)
    assert site.station("A").draw_a == 32.0
    site.report("A", BackendLimit(1, 0.0))
    site.wait(30)
    assert site.station("A").draw_a == 0.0
    assert site.evse_view("A").reason == "its backend allows 0 A"
    site.report("A", BackendLimit(1, None))
    site.wait(15)
    assert site.station("A").draw_a == 32.0


def test_overrides_new_car_at_paused_evse_gets_nothing() -> None:
    site = SiteHarness((CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3),), [overridable("A", None)])
    site.connect()
    site.handle(EvseOverridden(ref=EvseRef("A", 1), limit_a=0.0, why=Statement(code=StatementCode.PAUSED)))
    site.wait(30)
    site.plug_in("A", CarModel())
    site.wait(60)
    assert site.station("A").energy_as == 0.0


def test_overrides_manual_limit_is_followed_and_never_raises_share() -> None:
    site = SiteHarness(
        (CircuitNode(id="grid", parent=None, limit_a=(20.0,) * 3),), [overridable("A", CarModel())]
    )
    site.connect()
    site.handle(
        EvseOverridden(
            ref=EvseRef("A", 1), limit_a=10.0, why=Statement(code=StatementCode.LIMITED, name="anna")
        )
    )
    site.wait(120)
    assert site.station("A").draw_a == 10.0
    site.handle(
        EvseOverridden(
            ref=EvseRef("A", 1), limit_a=500.0, why=Statement(code=StatementCode.LIMITED, name="anna")
        )
    )
    site.wait(120)
    assert site.station("A").draw_a == 19.0, "the circuit's limit less the margin"


def test_overrides_prioritized_evse_is_served_before_other() -> None:
    grid = CircuitNode(id="grid", parent=None, limit_a=(24.0,) * 3)
    site = SiteHarness((grid,), [overridable("A", CarModel()), overridable("B", CarModel())])
    site.handle(EvseOverridden(ref=EvseRef("B", 1), priority=10))
    site.connect()
    site.wait(300)
    assert site.station("A").draw_a == 6.0, "its minimum"
    assert site.station("B").draw_a == 17.0


def test_overrides_boosted_surplus_evse_charges_from_grid() -> None:
    grid = CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3, meter="grid")
    station = overridable("A", CarModel(), surplus=True)
    site = SiteHarness((grid,), [station], lambda now: (5.0, 5.0, 5.0))
    site.connect()
    site.wait(120)
    assert station.draw_a == 0.0
    site.handle(EvseOverridden(ref=EvseRef("A", 1), boost=True, priority=1000))
    site.wait(120)
    assert station.draw_a == 32.0


def overridable(name: str, car: CarModel | None, *, surplus: bool = False) -> StationModel:
    evse = EvseNode(
        ref=EvseRef(name, 1),
        circuit="grid",
        phases=(0, 1, 2),
        min_a=6.0,
        max_a=32.0,
        fallback_a=6.0,
        surplus=surplus,
    )
    return StationModel(evse, car)
