"""Margin that is learned from the jumps of a circuit's base load."""

from __future__ import annotations

import math

import pytest
from msgspec import structs

from controller.load_management.events import MeterUpdated
from controller.load_management.metering.fuse_curve import CURVES, OBEYED_S, needed_margin_a
from controller.load_management.metering.margin_learning import (
    DAY_S,
    DAYS,
    EXPLAINED_S,
    MOST_PART,
    RECURS,
    MarginLearning,
    MarginStored,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, Fuse, SiteTree
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station

LIMIT_A = 100.0


def make_circuit(limit_a: float = LIMIT_A, fuse: Fuse = Fuse.PLAIN, *, learns: bool = True) -> CircuitNode:
    return CircuitNode(
        id="grid",
        parent=None,
        limit_a=(limit_a,) * 3,
        meter="m",
        fuse=fuse,
        margin_a=2.0,
        learns_margin=learns,
    )


class ReadBuilding:
    """Readings of a building without cars, a reading each 5 s."""

    def __init__(self, circuit: CircuitNode) -> None:
        self.control = SiteControl(SiteTree((circuit,), ()), SiteSettings(), 0.0)
        self.now = 0.0
        self.lines: list[str] = []

    def run(self, seconds: float, load_a: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 5.0
            amps = (load_a, 3.0, 3.0)
            reading = Reading(time=self.now, current_a=amps, voltage_v=(230.0,) * 3)
            self.control.handle(
                MeterUpdated(MeterState(meter="m", quality=Quality.GOOD, reading=reading)), self.now
            )
            self.lines += [str(line) for line in self.control.take_log()]

    def jump(self, jump_a: float) -> None:
        self.run(60, 20.0)
        self.run(30, 20.0 + jump_a)
        self.run(60, 20.0)


def observe(learning: MarginLearning, days: float, start: float = 0.0) -> float:
    now = start
    while now < start + days * DAY_S:
        learning.add(0.0, 2.0, now)
        now += 60.0
    learning.add(0.0, 2.0, now)
    return now


def jump(learning: MarginLearning, jump_a: float, now: float) -> float:
    for after, rise_a in ((1.0, jump_a / 2), (2.0, jump_a), (3.0, jump_a), (20.0, 0.0)):
        learning.add(rise_a, 2.0, now + after)
    return now + 20.0


def test_margin_on_first_day_is_quarter_of_limit() -> None:
    learning = MarginLearning(make_circuit())
    observe(learning, 0.99)
    assert (learning.auto_a, learning.proposed_a) == (MOST_PART * LIMIT_A, None)


def test_margin_after_first_day_is_third_highest_jump() -> None:
    learning = MarginLearning(make_circuit())
    now = 0.0
    for jump_a in (4.0, 30.0, 9.2, 12.0, 6.0):
        now = jump(learning, jump_a, now)
    observe(learning, 1.0, now)
    assert learning.auto_a == learning.proposed_a == 9.5
    assert (learning.jumps, learning.beyond, learning.highest_a) == (5, 5, 30.0)


def test_margin_of_calm_building_is_one_ampere() -> None:
    learning = MarginLearning(make_circuit())
    observe(learning, 1.0)
    assert learning.auto_a == 1.0


def test_margin_never_exceeds_quarter_of_limit() -> None:
    learning = MarginLearning(make_circuit())
    now = 0.0
    for _ in range(RECURS):
        now = jump(learning, 40.0, now)
    observe(learning, 1.0, now)
    assert learning.auto_a == MOST_PART * LIMIT_A


def test_margin_rises_at_once_with_jump_that_recurs() -> None:
    learning = MarginLearning(make_circuit())
    now = observe(learning, 1.0)
    for _ in range(RECURS):
        assert learning.auto_a == 1.0
        now = jump(learning, 15.0, now)
    assert learning.auto_a == 15.0


def test_margin_forgets_jumps_after_a_week() -> None:
    learning = MarginLearning(make_circuit())
    now = 0.0
    for _ in range(RECURS):
        now = jump(learning, 15.0, now)
    now = observe(learning, DAYS - 0.1, now)
    assert learning.auto_a == 15.0
    observe(learning, 1.0, now)
    assert learning.auto_a == 1.0


def test_margin_learning_time_without_readings_is_not_observed() -> None:
    learning = MarginLearning(make_circuit())
    learning.add(0.0, 2.0, 0.0)
    learning.add(0.0, 2.0, 3 * DAY_S)
    assert learning.proposed_a is None


def test_margin_learning_load_that_rises_on_is_several_jumps() -> None:
    learning = MarginLearning(make_circuit())
    for second in range(0, 200, 5):
        learning.add(5.0, 2.0, float(second))
    assert learning.jumps == 3


def test_margin_learning_jump_beside_cars_counts_when_nothing_explains_it() -> None:
    learning = MarginLearning(make_circuit())
    for second, rise_a in ((0.0, 12.0), (20.0, 0.0), (20.0 + EXPLAINED_S - 1, 0.0)):
        learning.add(rise_a, 2.0, second, may_be_explained=True)
    assert learning.jumps == 0
    learning.add(0.0, 2.0, 20.0 + EXPLAINED_S, may_be_explained=True)
    assert (learning.jumps, learning.highest_a) == (1, 12.0)


def test_margin_learning_report_explains_last_jump_of_its_size() -> None:
    learning = MarginLearning(make_circuit())
    now = 0.0
    for rise_a in (5.0, 16.0, 4.0):
        learning.add(rise_a, 2.0, now, may_be_explained=True)
        learning.add(0.0, 2.0, now + 20.0, may_be_explained=True)
        now += 40.0
    learning.add(0.0, 2.0, now, explained_a=15.9, may_be_explained=True)
    learning.add(0.0, 2.0, now + EXPLAINED_S, may_be_explained=True)
    assert (learning.jumps, learning.highest_a) == (2, 5.0)


def test_margin_learning_restored_continues_as_before() -> None:
    learning = MarginLearning(make_circuit())
    now = 0.0
    for _ in range(RECURS):
        now = jump(learning, 12.0, now)
    observe(learning, 1.0, now)
    assert learning.is_unsaved
    stored = learning.take_record()
    assert not learning.is_unsaved
    again = MarginLearning(make_circuit())
    again.restore(stored)
    assert (again.auto_a, again.jumps, again.highest_a) == (12.0, 3, 12.0)
    assert again.take_record() == stored


def test_margin_of_breaker_carries_usual_load() -> None:
    learning = MarginLearning(make_circuit(32.0, Fuse.B))
    observe(learning, 1.0)
    assert learning.auto_a == 5.5
    # 32 A less 5.5 A, and 10 A more: the breaker carries 1.14 times its rating for the 10 s of a cut.
    assert CURVES[Fuse.B].trips_in_s(1.0, (32.0 - 5.5 + 10.0) / 32.0) > OBEYED_S
    assert CURVES[Fuse.B].trips_in_s(1.0, (32.0 - 5.0 + 10.0) / 32.0) < OBEYED_S


@pytest.mark.parametrize("fuse", [Fuse.B, Fuse.C, Fuse.GG])
def test_fuse_curve_carries_trips_just_then(fuse: Fuse) -> None:
    curve = CURVES[fuse]
    assert math.isclose(curve.trips_in_s(1.0, curve.carries(OBEYED_S)), OBEYED_S)


def test_needed_margin_of_plain_circuit_is_zero() -> None:
    assert needed_margin_a(16.0, Fuse.PLAIN) == 0.0


def test_site_control_jump_beyond_margin_is_counted_and_logged_hourly() -> None:
    building = ReadBuilding(make_circuit(learns=False))
    for _ in range(5):
        building.jump(10.0)
    view = building.control.snapshots.take_view(building.now).circuits[0]
    assert (view.margin_a, view.jumps_beyond, view.jump_a) == (2.0, 5, 10.0)
    assert building.lines == [
        "base load jumped beyond the margin circuit=grid times=1 highest=10.0A margin=2A"
    ]
    building.run(3600, 20.0)
    assert building.lines[1:] == [
        "base load jumped beyond the margin circuit=grid times=4 highest=10.0A margin=2A"
    ]


def test_site_control_learned_margin_is_in_use_logged_and_stored() -> None:
    building = ReadBuilding(make_circuit())
    for _ in range(RECURS):
        building.jump(8.0)
    assert building.control.snapshots.take_view(building.now).circuits[0].margin_a == 25.0
    building.run(DAY_S, 20.0)
    view = building.control.snapshots.take_view(building.now).circuits[0]
    assert (view.margin_a, view.proposed_margin_a, view.learns_margin) == (8.0, 8.0, True)
    assert building.lines == ["margin learned circuit=grid margin=8A before=25A"]
    (stored,) = building.control.metering.take_records()
    assert isinstance(stored, MarginStored)
    assert building.control.metering.take_records() == []
    after = ReadBuilding(make_circuit())
    after.control.metering.restore([stored, structs.replace(stored, circuit="gone")])
    assert after.control.metering.margin_a(make_circuit()) == 8.0


def test_site_control_configured_margin_proposes_learned_one() -> None:
    building = ReadBuilding(make_circuit(learns=False))
    for _ in range(RECURS):
        building.jump(8.0)
    building.run(DAY_S, 20.0)
    view = building.control.snapshots.take_view(building.now).circuits[0]
    assert (view.margin_a, view.proposed_margin_a, view.learns_margin) == (2.0, 8.0, False)


def test_site_control_cars_that_draw_more_by_themselves_are_no_jump() -> None:
    site = SiteHarness([make_grid(100.0)], [make_station("A", report_s=60)], lambda _now: (10.0, 9.0, 8.0))
    site.connect("A")
    site.plug_in("A", CarModel(8.0))
    site.wait(900)
    for most_a in (30.0, 8.0, 30.0):
        site.plug_in("A", CarModel(most_a))
        site.wait(600)
    assert site.station("A").draw_a == 30.0
    view = site.circuit_view("grid")
    assert (view.jumps, view.jump_a) == (0, 0.0)


def test_site_control_slow_stations_that_change_places_are_no_jump() -> None:
    stations = [make_station(name, reaction_s=14, report_s=120) for name in ("A", "B")]
    site = SiteHarness([make_grid(50.0)], stations, lambda _now: (10.0, 10.0, 10.0))
    site.connect("A", "B")
    for round_ in range(6):
        site.plug_in("A", CarModel() if round_ % 3 != 2 else None)
        site.plug_in("B", CarModel() if round_ % 2 else None)
        site.wait(400)
    assert site.circuit_view("grid").jumps == 0


def test_site_control_jump_of_building_beside_cars_counts_as_high_as_it_is() -> None:
    load_a = [10.0]
    site = SiteHarness(
        [make_grid(63.0)], [make_station("A"), make_station("B")], lambda _now: (load_a[0],) * 3
    )
    site.connect("A", "B")
    site.plug_in("A", CarModel())
    site.plug_in("B", CarModel())
    site.wait(600)
    for _ in range(3):
        load_a[0] = 22.0
        site.wait(120)
        load_a[0] = 10.0
        site.wait(120)
    site.wait(400)
    view = site.circuit_view("grid")
    assert (view.jumps, view.jumps_beyond, round(view.jump_a, 1)) == (3, 3, 12.0)
