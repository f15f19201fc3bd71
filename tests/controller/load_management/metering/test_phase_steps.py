"""Phases of a car from the meter above it, where its station reports no currents."""

from __future__ import annotations

from itertools import pairwise

import pytest
from msgspec.structs import replace

from controller.load_management.evse.evse_model import MOST_PAUSES
from controller.load_management.evse.evse_offer import TEST_S
from controller.load_management.evse.learned_values import MOST_TESTS, LearnedPhases
from controller.load_management.metering.meter_window import MOST_OTHERS, MeterWindow
from controller.load_management.metering.phase_steps import (
    AFTER_S,
    BEFORE_S,
    LATE_SETTLE_S,
    REST_S,
    TURN_S,
    OfferStep,
    PhaseSteps,
    PhaseTests,
    StepVote,
)
from controller.load_management.site_tree import PhaseAmps, PhaseFlags
from controller.model.observations import EvseRef
from drivers.reading import MeterState, Reading
from tests.scenario.site_harness import CarModel, SiteHarness, good_state, make_grid, make_station

CAR = EvseRef("CAR", 1)
OTHER = EvseRef("OTHER", 1)
STEP_AT = 20


def votes(
    moved_by: PhaseAmps,
    step_a: float = 6.0,
    *,
    other_a: PhaseAmps | None = None,
    other_sure: PhaseFlags = (True, True, True),
    follows_s: int = 3,
    read_each_s: int = 1,
) -> list[StepVote]:
    """Return the votes of one step, `follows_s` after which the readings are higher by `moved_by`."""
    window = MeterWindow(120.0)
    steps = PhaseSteps(window)
    found: list[StepVote] = []
    steps.add_step(OfferStep(ref=CAR, phases=(0, 1, 2), step_a=step_a, at=STEP_AT, lower_a=6.0))
    if other_a is not None:
        window.add_offer(OTHER, other_a, STEP_AT, other_sure)
    before_s, after_s = max(BEFORE_S, 2 * read_each_s), max(AFTER_S, 2 * read_each_s)
    last = int(STEP_AT + LATE_SETTLE_S + after_s) + read_each_s
    for second in range(int(STEP_AT - before_s), last + 1, read_each_s):
        moved = second > STEP_AT + follows_s
        amps = [30.0 + (by if moved else 0.0) for by in moved_by]
        window.add_reading((amps[0], amps[1], amps[2]), second)
        found += steps.judge_due(second)
    return found


@pytest.mark.parametrize(
    ("moved_by", "evidence"),
    [
        ((6.0, 0.0, 0.0), (-4.0, 4.0, 4.0)),
        ((6.0, 6.0, 6.0), (-4.0, -4.0, -4.0)),
        ((6.0, 3.0, -1.0), (-4.0, 0.0, 4.0)),
        ((3.0, 0.2, 0.0), (-4.0, 4.0, 4.0)),  # a car that could take 3 A more only
        ((3.0, 3.0, 0.0), (-4.0, -4.0, 4.0)),
    ],
)
def test_phase_steps_phase_that_moves_with_step_is_used(
    moved_by: PhaseAmps, evidence: tuple[float, ...]
) -> None:
    (vote,) = votes(moved_by)
    assert vote.evidence == evidence


@pytest.mark.parametrize(
    ("building_a", "used"),
    [(-12.5, 1), (-8.0, 2), (9.0, 1)],  # a lift that stops or starts as the car of one or two phases follows
)
def test_phase_steps_load_on_all_phases_proves_no_unused_one(building_a: float, used: int) -> None:
    step_a = -17.0
    moves = [building_a + (step_a if phase < used else 0.0) for phase in range(3)]
    (vote,) = votes((moves[0], moves[1], moves[2]), step_a=step_a)
    assert all(each <= -1.0 for each in vote.evidence[:used])
    assert all(each >= 1.0 for each in vote.evidence[used:])


def test_phase_steps_small_step_is_weak_evidence() -> None:
    (vote,) = votes((1.5, 0.0, 0.0), step_a=1.5)
    # (1.5 A / 0.6 A)^2 / 2: the square of the step over twice that of the noise. With 1 A each, L1 and L2
    # would both be off: (0.5^2 + 1^2) / (2 * 0.6^2) = 1.7.
    assert vote.evidence == pytest.approx((-3.1, 1.7, 3.1), abs=0.1)


def test_phase_steps_load_beside_the_step_shows_nothing() -> None:
    assert votes((16.0, 0.5, 0.0)) == []


def test_phase_steps_slow_station_is_looked_at_again() -> None:
    (vote,) = votes((6.0, 0.0, 0.0), follows_s=29)
    assert vote.evidence == (-4.0, 4.0, 4.0)


@pytest.mark.parametrize("read_each_s", [2, 5, 10])
@pytest.mark.parametrize("follows_s", [3, 29])
def test_phase_steps_of_meter_that_is_seldom_read(read_each_s: int, follows_s: int) -> None:
    (vote,) = votes((6.0, 0.0, 0.0), follows_s=follows_s, read_each_s=read_each_s)
    assert vote.evidence == (-4.0, 4.0, 4.0)


def test_phase_steps_cut_moves_phases_down() -> None:
    (vote,) = votes((-6.0, 0.0, 0.0), step_a=-6.0)
    assert vote.evidence == (-4.0, 4.0, 4.0)


def test_phase_steps_step_that_moves_nothing_is_no_vote() -> None:
    assert votes((0.5, 0.5, 0.5)) == []


def test_phase_steps_what_another_evse_may_have_done_shows_nothing() -> None:
    (vote,) = votes((6.0, 0.0, 6.0), other_a=(0.0, -6.0, 6.0))
    assert vote.evidence == (-4.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("moved_by", "other_a", "evidence"),
    [
        ((12.0, 0.0, 0.0), 6.0, (-4.0, 4.0, 4.0)),  # both cars have risen on L1
        ((0.0, 0.0, 0.0), -6.0, (-4.0, 0.0, 0.0)),  # the other one has come down, perhaps on all phases
    ],
)
def test_phase_steps_other_car_may_use_first_phase_alone(
    moved_by: PhaseAmps, other_a: float, evidence: tuple[float, ...]
) -> None:
    (vote,) = votes(moved_by, other_a=(other_a,) * 3, other_sure=(True, False, False), follows_s=29)
    assert vote.evidence == evidence


def test_phase_steps_second_step_within_the_readings_makes_neither_a_vote() -> None:
    window = MeterWindow(60.0)
    steps = PhaseSteps(window)
    found: list[StepVote] = []
    for at, step_a in ((STEP_AT, 6.0), (STEP_AT + 8, -6.0)):
        steps.add_step(OfferStep(ref=CAR, phases=(0, 1, 2), step_a=step_a, at=at, lower_a=6.0))
    for second in range(STEP_AT - 5, STEP_AT + 40):
        window.add_reading((36.0 if STEP_AT < second < STEP_AT + 8 else 30.0, 30.0, 30.0), second)
        found += steps.judge_due(second)
    assert found == []


def test_phase_steps_large_site_shows_no_step() -> None:
    window = MeterWindow(60.0)
    steps = PhaseSteps(window)
    for number in range(MOST_OTHERS + 1):
        window.add_offer(EvseRef(f"S{number}", 1), (6.0, 6.0, 6.0), 0, (True, True, True))
    steps.add_step(OfferStep(ref=CAR, phases=(0, 1, 2), step_a=6.0, at=STEP_AT, lower_a=6.0))
    for second in range(STEP_AT - 5, STEP_AT + 20):
        window.add_reading((36.0 if second > STEP_AT else 30.0, 30.0, 30.0), second)
        assert steps.judge_due(second) == []


def test_learned_phases_go_after_clear_steps_and_come_back() -> None:
    phases = LearnedPhases(3)
    assert not phases.on_step((-4.0, 4.0, 4.0))
    assert phases.needs_test
    assert phases.on_step((-4.0, 4.0, 4.0))
    assert phases.used == (True, False, False)
    assert phases.known
    assert not phases.needs_test
    assert phases.on_step((-4.0, -4.0, 4.0))
    assert phases.used == (True, True, False)


def test_learned_phases_are_tested_a_few_times_only() -> None:
    phases = LearnedPhases(3)
    for _ in range(MOST_TESTS):
        assert phases.needs_test
        phases.on_test()
    assert not phases.needs_test


def test_site_tests_phases_of_one_car_at_a_time() -> None:
    # Two tests at once would hide each other. A charges on L1 and B on L2: each may have 32 of the 34 A
    # there, and 17 A while both are booked on all phases.
    cars = [
        make_station("A", car=CarModel(phases=(0,)), report_s=0),
        make_station("B", car=CarModel(phases=(0,)), report_s=0, phases=(1, 2, 0)),
    ]
    site = SiteHarness((make_grid(40.0),), cars, lambda now: (5.0 + now % 2 / 10, 5.0, 5.0))
    site.connect()
    site.wait(600)
    first, second = ([at for at, a in site.station(name).leases if at > 5 and a == 6.0] for name in "AB")
    assert first
    assert second
    assert min(abs(a - b) for a in first for b in second) >= 2 * TEST_S
    assert site.evse_view("A").offered_a == site.evse_view("B").offered_a == 32.0


def test_site_tests_phases_of_car_that_has_only_its_minimum() -> None:
    # Four cars share 26 A: 6.5 A each while A is booked on all phases, and it would have no step to follow.
    cars = [make_station("A", car=CarModel(phases=(0,)), report_s=0)]
    cars += [make_station(name, car=CarModel()) for name in "BCD"]
    site = SiteHarness((make_grid(27.0),), cars, lambda now: (now % 2 / 10, 0.0, 0.0))
    site.connect()
    site.wait(1200)
    assert site.control._model.by_ref[site.station("A").ref].model.phases == (True, False, False)


def test_learned_phases_count_as_known_once_each_is_decided() -> None:
    # One of the other phases is not used: the car is on one phase or on two.
    phases = LearnedPhases(3)
    for _ in range(2):
        phases.on_step((-4.0, 0.0, 4.0))
    assert (phases.used, phases.known) == ((True, True, False), False)
    for _ in range(2):
        phases.on_step((-4.0, 4.0, 0.0))
    assert (phases.used, phases.known) == ((True, False, False), True)


def test_rise_after_phase_test_is_over_before_next_test() -> None:
    # Nine cars of 8.7 A are tested by 2.7 A each, less than a rise that is worth a write on its own.
    wirings = [(0, 1, 2), (1, 2, 0), (2, 0, 1)] * 3
    cars = [
        make_station(f"S{number}", car=CarModel(phases=(0,)), report_s=0, phases=wirings[number])
        for number in range(9)
    ]
    site = SiteHarness((make_grid(80.0),), cars, lambda now: (now % 2 / 100,) * 3)
    site.connect()
    site.wait(500)
    tests = [
        (begun_at, ended_at, after_a)
        for station in cars
        for (begun_at, limit_a), (ended_at, after_a) in pairwise(station.leases)
        if begun_at > 120 and limit_a == 6.0
    ]
    assert len(tests) >= 5
    assert max(ended_at - begun_at for begun_at, ended_at, _ in tests) <= TEST_S + 5
    assert min(after_a for *_, after_a in tests) > 7.0


@pytest.mark.slow
@pytest.mark.parametrize(("limit_a", "cars"), [(25.0, 3), (40.0, 6), (80.0, 9)])
def test_site_finds_own_phase_of_each_car_without_reports(limit_a: float, cars: int) -> None:
    # Each phase of the site has its own one-phase cars, one to three, booked on all phases at first:
    # 6.5 A for each of six, as long as none of them can be tested.
    wirings = [(0, 1, 2), (1, 2, 0), (2, 0, 1)] * 3
    stations = [
        make_station(f"S{number}", car=CarModel(phases=(0,)), report_s=0, phases=wirings[number])
        for number in range(cars)
    ]
    site = SiteHarness((make_grid(limit_a),), stations, lambda now: (now % 2 / 100,) * 3)
    site.connect()
    site.wait(3000)
    assert sum(each.draw_a for each in stations) == pytest.approx(3 * (limit_a - 1.0), rel=0.04)
    assert site.seconds_over("grid", limit_a) == 0


@pytest.mark.parametrize("limit_a", [25.0, 32.0])
def test_cars_without_room_for_step_are_paused_to_show_their_phases(limit_a: float) -> None:
    # Six one-phase cars, two on each phase: booked on all phases, four or five of them fill the circuit.
    wirings = [(0, 1, 2), (1, 2, 0), (2, 0, 1)] * 2
    stations = [
        make_station(f"S{number}", car=CarModel(phases=(0,)), report_s=0, phases=wirings[number])
        for number in range(6)
    ]
    for each in stations:
        each.evse = replace(each.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(limit_a),), stations, lambda now: (now % 2 / 100,) * 3)
    site.connect()
    site.wait(3000)
    assert sum(each.draw_a for each in stations) == pytest.approx(3 * (limit_a - 1.0), rel=0.04)
    pauses = [
        sum(before > after == 0.0 for (_, before), (_, after) in pairwise(each.leases)) for each in stations
    ]
    assert max(pauses) <= MOST_PAUSES
    assert site.seconds_over("grid", limit_a) == 0


def test_load_counted_before_cars_were_known_is_given_to_them_later() -> None:
    # Stations connect while cars draw their fallback of 6 A: that counts as base load until a step shows it.
    stations = [make_station(f"S{number}", car=CarModel(), report_s=0) for number in range(11)]
    site = SiteHarness((make_grid(80.0),), stations)
    site.connect()
    site.wait(3000)
    assert sum(each.draw_a for each in stations) == pytest.approx(79.0, abs=3.2)
    assert min(each.draw_a for each in stations) >= 6.0
    assert site.seconds_over("grid", 80.0) == 0


@pytest.mark.parametrize(("limit_a", "cars"), [(25.0, 2), (40.0, 3), (63.0, 6)])
def test_load_that_came_once_is_given_back_to_cars_without_reports(limit_a: float, cars: int) -> None:
    # 12 A for a minute beside 5 A. Three-phase cars prove the meter by two steps, which move all phases.
    stations = [make_station(f"S{number}", car=CarModel(), report_s=0) for number in range(cars)]
    for each in stations:
        each.evse = replace(each.evse, fallback_a=0.0)
    site = SiteHarness(
        (make_grid(limit_a),), stations, lambda now: ((17.0 if 700 <= now < 760 else 5.0) + now % 2 / 10,) * 3
    )
    site.connect()
    site.wait(1600)
    assert sum(each.draw_a for each in stations) == pytest.approx(limit_a - 6.0, abs=1.0)
    assert site.seconds_over("grid", limit_a) <= 6


@pytest.mark.parametrize("is_backwards", [True, False])
def test_meter_that_shows_no_cars_is_not_proven_by_loads_of_all_phases(is_backwards: bool) -> None:
    # A heat pump of 8 A on three phases, beside two cars that are tested; else the meter shows it alone.
    def building(now: float) -> PhaseAmps:
        amps = 12.0 if now % 190 < 70 else 4.0
        return (amps, amps, amps)

    def shown(reading: Reading) -> MeterState:
        first, second, third = site.flowed[-1]
        amps = (-first, -second, -third) if is_backwards else building(site.now)
        return good_state(replace(reading, current_a=amps))

    stations = [make_station(f"S{number}", car=CarModel(), report_s=0) for number in range(2)]
    site = SiteHarness((make_grid(63.0),), stations, building)
    site.meter = shown
    site.connect()
    site.wait(1800)
    assert site.control.metering.meter_of(site.site.circuits[0]).phase_steps.proven == [False] * 3


def test_phase_tests_raise_one_evse_after_the_other() -> None:
    tests = PhaseTests()
    first, second = EvseRef("A", 1), EvseRef("B", 1)
    tests.set_needed(first, is_needed=True, has_step=False)
    tests.set_needed(second, is_needed=True, has_step=False)
    assert (tests.take_turn(10.0), tests.raised) == ([first], first)
    tests.set_needed(first, is_needed=True, has_step=True)  # raised, and not tested yet
    tests.begin(20.0, 60.0)
    assert (tests.take_turn(60.0), tests.raised) == ([], first)
    tests.set_needed(first, is_needed=False, has_step=True)
    assert (tests.take_turn(100.0), tests.raised) == ([first, second], second)
    tests.set_needed(first, is_needed=True, has_step=False)
    assert (tests.take_turn(100.0 + TURN_S), tests.raised) == ([second], None)  # no room for a test of it
    assert (tests.take_turn(100.0 + TURN_S + REST_S), tests.raised) == ([first], first)


def test_site_learns_phases_of_station_without_reports() -> None:
    site = SiteHarness(
        (make_grid(40.0),),
        [make_station("A", car=CarModel(phases=(0,)), report_s=0), make_station("B", car=CarModel())],
        lambda now: (
            (10.0 + now % 2 / 10, 10.0, 10.0) if now % 300 < 150 else (16.0 + now % 2 / 10, 10.0, 10.0)
        ),
    )
    site.connect()
    site.wait(1800)
    # 39 A: A leaves L2 and L3 to B alone.
    assert site.station("B").draw_a + site.station("A").draw_a == pytest.approx(23.0, abs=4.0)
    assert site.control.snapshots.take_view(site.now).evses[0].offered_a > 0
