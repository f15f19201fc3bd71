"""Reasons of limits: each names what binds in its scene, and stays while that does."""

from __future__ import annotations

import random
from collections.abc import Callable

import msgspec
import pytest

from controller.load_management.events import EvseOverridden, GroupLimit, SiteDimmed
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import BackendLimit, EvseRef
from controller.model.statements import Statement, StatementCode
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_row, make_station

NOON = 1_700_000_000.0 - 1_700_000_000.0 % 86_400 + 12 * 3600
"""Noon of a day in UTC (POSIX s)."""


def two_cars(
    limit_a: float, building: Callable[[float], PhaseAmps] = lambda now: (0.0, 0.0, 0.0)
) -> SiteHarness:
    stations = [make_station(name, car=CarModel()) for name in "AB"]
    return SiteHarness((make_grid(limit_a),), stations, building=building, utc=NOON)


def settled(site: SiteHarness, seconds: int = 300) -> SiteHarness:
    """Connect the stations, then plug in their cars, so that the meter shows each of them begin."""
    cars = {name: station.car for (name, _), station in site.stations.items()}
    for station in site.stations.values():
        station.car = None
    site.connect()
    site.wait(20)
    for name, car in cars.items():
        site.plug_in(name, car)
    site.wait(seconds)
    return site


def test_reason_of_share_is_the_phase_that_is_full() -> None:
    site = settled(two_cars(40.0, lambda now: (4.0, 12.0, 0.0)))
    assert site.evse_view("A").statement == Statement(code=StatementCode.PHASE_FULL, circuit="grid", phase=2)


def test_reason_of_share_is_the_circuit_that_is_full() -> None:
    stations = [make_station("A", "row", car=CarModel()), make_station("B", "row", car=CarModel())]
    site = settled(SiteHarness((make_grid(100.0), make_row("row", 32.0)), stations))
    assert site.evse_view("A").reason == "row L1 full"


@pytest.mark.parametrize("away_s", [2, 8])
def test_reason_of_waiting_car_after_restart_is_no_rest(away_s: int) -> None:
    site = two_cars(13.0, lambda now: (2.0, 2.0, 2.0))
    for station in site.stations.values():
        station.evse = msgspec.structs.replace(station.evse, fallback_a=0.0)
    site = settled(SiteHarness(site.site.circuits, [*site.stations.values()], site.building, utc=NOON))
    assert site.station("A").draw_a == 10.0
    site.restart()
    site.wait(away_s)
    site.connect()
    for _ in range(30):
        site.step()
        assert site.evse_view("A").offered_a >= 6.0
        assert site.evse_view("B").statement.code is StatementCode.NO_ROOM


def test_reason_of_waiting_car_is_peak_of_building_with_its_time() -> None:
    def building(now: float) -> PhaseAmps:
        return (30.0, 0.0, 0.0) if 400 <= now < 430 else (2.0, 0.0, 0.0)

    stations = [make_station("A", car=CarModel(10.0)), make_station("B")]
    site = settled(SiteHarness((make_grid(40.0),), stations, building=building, utc=NOON), 480)
    site.plug_in("B", CarModel())
    site.wait(60)
    waits = site.evse_view("B")
    assert waits.reason == (
        "no room for its minimum of 6 A, grid L1: the building drew 30 A at 12:07: waiting"
    )
    assert waits.statement.kind == (
        "no room for its minimum of ..., grid L1: the building drew ... at ...: waiting"
    )
    site.wait(300)  # the peak is five minutes ago
    assert site.evse_view("B").offered_a >= 6.0


def test_reason_in_full_phase_is_not_the_peak_of_building() -> None:
    def building(now: float) -> PhaseAmps:
        return (5.0, 0.0, 0.0) if 400 <= now < 430 else (2.0, 0.0, 0.0)

    stations = [make_station(name, car=CarModel()) for name in "ABCDEFG"]
    site = settled(SiteHarness((make_grid(41.5),), stations, building, utc=NOON), 500)
    [waits] = [view for view in site.control.snapshots.take_view(site.now).evses if view.offered_a == 0]
    assert waits.reason == "no room for its minimum of 6 A, grid L1 full: waiting"


def test_reason_under_dimming_names_source_and_end() -> None:
    stations = [make_station("A", car=CarModel(), controllable=True)]
    site = settled(SiteHarness((make_grid(63.0),), stations, utc=NOON))
    why = Statement(code=StatementCode.DIMMED_UNTIL, name="dso", power_w=4200.0, time="12:30")
    site.handle(SiteDimmed(total_w=4200.0, why=why))
    site.wait(30)
    assert site.evse_view("A").statement == why


def test_reason_of_backend_limit_is_its_current() -> None:
    site = settled(two_cars(63.0))
    site.report("A", BackendLimit(1, 9.0))
    site.wait(30)
    assert site.evse_view("A").reason == "its backend allows 9 A"


def test_reason_under_site_limit_of_backend_names_both() -> None:
    site = settled(two_cars(63.0))
    site.handle(GroupLimit(20.0))
    site.wait(60)
    assert site.evse_view("A").reason.startswith("the backend limits the site to 20 A: grid L")


def test_reason_of_rest_is_the_rest() -> None:
    site = SiteHarness(
        (make_grid(11.0),), [make_station("A", car=CarModel()), make_station("B", car=CarModel())]
    )
    site.connect()
    seen: set[StatementCode] = set()
    for _ in range(2400):
        site.wait(1)
        seen |= {view.statement.code for view in site.control.snapshots.take_view(site.now).evses}
    assert StatementCode.RESTING in seen


def test_reason_of_order_names_person_and_end() -> None:
    site = settled(two_cars(63.0))
    why = Statement(code=StatementCode.LIMITED, current_a=8.0, name="anna", time="14:00")
    site.handle(EvseOverridden(ref=EvseRef("A", 1), limit_a=8.0, why=why))
    site.wait(30)
    assert site.evse_view("A").statement == why


def test_reason_of_circuit_is_not_that_of_another_with_like_name() -> None:
    # The site's limit is that of "grid", not that of the row whose name ends with it.
    stations = [make_station("A", "my-grid", car=CarModel())]
    row = make_row("my-grid", 16.0)
    site = settled(SiteHarness((make_grid(63.0), row), stations))
    site.handle(GroupLimit(40.0))
    site.wait(60)
    assert site.evse_view("A").reason == "my-grid L1 full"


def test_reasons_stay_while_building_is_lively() -> None:
    rng = random.Random(5)
    site = settled(
        two_cars(40.0, lambda now: (8.0 + rng.random(), 7.0 + rng.random(), 6.0 + rng.random())), 600
    )
    kinds: list[str] = []
    for _ in range(900):
        site.wait(1)
        kind = site.evse_view("A").statement.kind
        if not kinds or kinds[-1] != kind:
            kinds.append(kind)
    assert len(kinds) <= 4
    assert set(kinds) <= {"grid L1 full", "rises as others come down"}


def test_reasons_name_the_first_of_phases_that_are_full_alike() -> None:
    rng = random.Random(5)

    def building(_now: float) -> PhaseAmps:
        return rng.uniform(8.0, 8.2), rng.uniform(8.0, 8.2), rng.uniform(8.0, 8.2)

    site = settled(two_cars(40.0, building), 600)
    reasons = set()
    for _ in range(300):
        site.wait(1)
        reasons |= {site.evse_view(name).reason for name in "AB"}
    assert reasons == {"grid L1 full"}


def test_reason_names_another_phase_once_the_first_has_room() -> None:
    site = settled(two_cars(40.0, lambda now: (8.0 if now < 600 else 6.0, 8.0, 2.0)), 400)
    assert site.evse_view("A").reason == "grid L1 full"
    site.wait(300)
    assert site.evse_view("A").reason == "grid L2 full"
