"""Steps that stations report, looked for in the readings of the meters above them."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

import pytest

from controller.load_management.evse.consumption import NOTHING, CommandedStep, OfferCredit, ReportedStep
from controller.load_management.metering.car_steps import (
    CAR_PAUSE_S,
    CAR_STEPS_S,
    STEP_PAUSE_S,
    StepPauses,
)
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.metering.step_check import (
    LATE_SPANS_S,
    LIVELY_SPANS,
    MEMORY_S,
    QuietWatch,
    StepCheck,
)
from controller.load_management.metering.step_edges import SwappedPhases
from controller.load_management.site_tree import ZERO, PhaseAmps
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)
LIMIT_A = (63.0, 63.0, 63.0)
Meter = Callable[[PhaseAmps, PhaseAmps], PhaseAmps]
"""Shown currents of a building's and the cars' true ones."""


def session(meter: Meter, delta: PhaseAmps = (16.0, 0.0, 0.0), times: int = 2) -> StepCheck:
    """Return the check after `observe`."""
    return observe(meter, delta, times)[1]


def observe(
    meter: Meter, delta: PhaseAmps = (16.0, 0.0, 0.0), times: int = 2
) -> tuple[MeterWindow, StepCheck]:
    """A car that begins and stops every two minutes, and reports each 10 s; the building hardly moves."""
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    drawn, at = (0.0, 0.0, 0.0), 0
    for now in range(times * 120):
        if now % 120 in (30, 90):
            drawn = delta if now % 120 == 30 else (0.0, 0.0, 0.0)
            at = now
        noise = 0.1 * (now % 3)
        window.add_reading(meter((10.0 + noise, 11.0 - noise, 12.0), drawn), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if at and now == at + 7:
            sign = 1.0 if drawn == delta else -1.0
            step = (sign * delta[0], sign * delta[1], sign * delta[2])
            check.add_step(
                ReportedStep(ref=A, delta_a=step, since=now - 10.0, at=float(now), reported_at=float(now))
            )
    return window, check


def true_meter(base: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    return (base[0] + cars[0], base[1] + cars[1], base[2] + cars[2])


def test_step_check_meter_that_follows_is_not_suspected() -> None:
    assert session(true_meter, times=5).proof.problem == ""


@pytest.mark.parametrize("late_s", [0, 4, 8])
def test_step_check_late_reports_beside_seldom_readings_suspect_nothing(late_s: int) -> None:
    """A car steps every 67 s; its reports of each 5 s come late, the meter is read each 10 s."""
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    reported_a = 0.0
    for now in range(900):
        drawn_a = [16.0 if at >= 0 and at // 67 % 2 else 0.0 for at in (now, now - late_s)]
        if now % 10 == 9:
            window.add_reading((10.0 + drawn_a[0], 11.0, 12.0), float(now))
            check.on_reading(ZERO, NOTHING, float(now))
        if (now - late_s) % 5 == 0 and drawn_a[1] != reported_a:
            step = (drawn_a[1] - reported_a, 0.0, 0.0)
            reported_a = drawn_a[1]
            check.add_step(
                ReportedStep(ref=A, delta_a=step, since=now - 5.0, at=float(now), reported_at=float(now))
            )
    assert check.proof.problem == ""


FAULTS: dict[str, tuple[Meter, str]] = {
    "backwards": (lambda base, cars: (base[0] - cars[0], base[1], base[2]), "L1 is built in backwards"),
    "swapped": (lambda base, cars: (base[0], base[1] + cars[0], base[2]), "phases L1 and L2 are swapped"),
    "before the cars": (lambda base, cars: base, 'set measures = "building"'),
    "frozen": (lambda base, cars: (10.0, 11.0, 12.0), "is frozen"),
}


@pytest.mark.parametrize("fault", list(FAULTS))
def test_step_check_second_missed_step_names_cause(fault: str) -> None:
    meter, words = FAULTS[fault]
    assert session(meter, times=1).proof.problem.startswith("L1 does not follow station A/1")
    assert words in session(meter, times=1).proof.problem


def test_step_check_backwards_meter_of_car_that_rises_in_steps_is_seen() -> None:
    # The car rises by 6 A and 10 s later by 19 A: around either step the meter falls by 25 A.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    drawn_a = 0.0
    for now in range(60):
        if now in (30, 40):
            rise_a = 6.0 if now == 30 else 19.0
            drawn_a += rise_a
            window.add_change(A, (rise_a, 0.0, 0.0), float(now))
            check.add_step(
                ReportedStep(
                    ref=A, delta_a=(rise_a, 0.0, 0.0), since=now - 10.0, at=float(now), reported_at=float(now)
                )
            )
        window.add_reading((10.0 + 0.1 * (now % 3) - drawn_a, 11.0, 12.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
    assert "L1 is built in backwards" in check.proof.problem


@pytest.mark.parametrize(("pulse_a", "proven_by_first"), [(0.0, True), (8.0, True), (12.0, False)])
def test_step_check_proves_by_two_steps_beside_pulses(pulse_a: float, proven_by_first: bool) -> None:
    # The building has just moved as far as the car does: it may have moved again, and the car not at all.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    proven = {}
    for now in range(121):
        building_a = 10.0 + (pulse_a if now % 60 in range(10, 18) else 0.0)
        window.add_reading((building_a + (16.0 if 40 <= now < 100 else 0.0), 11.0, 12.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now in (47, 107):
            change_a = 16.0 if now == 47 else -16.0
            check.add_step(
                ReportedStep(
                    ref=A,
                    delta_a=(change_a, 0.0, 0.0),
                    since=now - 10.0,
                    at=float(now),
                    reported_at=float(now),
                )
            )
        proven[now] = check.proof.proven[0]
    assert proven[60] is proven_by_first
    assert proven[120]


@pytest.mark.parametrize(("sign", "is_proven"), [(1, True), (-1, False)])
@pytest.mark.parametrize(("load_a", "on_s"), [(15.0, 7), (20.0, 11)])
def test_step_check_finds_edge_of_car_among_those_of_larger_loads(
    sign: int, is_proven: bool, load_a: float, on_s: int
) -> None:
    # A load of the building goes on and off all the time: only the edges of 6 A are those of the car.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(400):
        building_a = 12.0 + 0.1 * (now % 3) + (load_a if now % 17 < on_s else 0.0)
        drawn_a = 6.0 if now >= 360 else 0.0
        window.add_reading((building_a + sign * drawn_a, 11.0, 12.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now == 365:
            check.add_step(
                ReportedStep(ref=A, delta_a=(6.0, 0.0, 0.0), since=355.0, at=365.0, reported_at=365.0)
            )
    assert check.proof.proven[0] is is_proven


@pytest.mark.parametrize(("follows", "is_suspected"), [(True, True), (False, False)])
def test_step_check_counts_missed_limits_that_next_report_confirms(follows: bool, is_suspected: bool) -> None:
    # The station reports each 300 s, and the meter measures the building alone.
    check = _with_limits(before_the_cars, follows=follows)
    assert ("L1 does not follow station A/1" in check.proof.problem) is is_suspected


def test_step_check_limits_that_meter_has_shown_suspect_nothing() -> None:
    assert not _with_limits(true_meter, follows=True).proof.problem


def test_step_check_drops_missed_limits_with_proof() -> None:
    check = _with_limits(before_the_cars, follows=False, reports=False)
    check.drop_proof((0, 1, 2))
    check.on_report(A, shows_limits=True)
    assert not check.proof.problem


def before_the_cars(base: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
    return base


def _with_limits(meter: Meter, *, follows: bool, reports: bool = True) -> StepCheck:
    """Return a check after two limits in 150 s that a car of 16 A has got, and the next report."""
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(300):
        drawn_a = 10.0 if 103 <= now < 203 else 16.0
        shown = meter((10.0 + 0.1 * (now % 3), 11.0, 12.0), (drawn_a, 0.0, 0.0))
        window.add_reading(shown, float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now in (100, 200):
            check.add_commanded(
                CommandedStep(
                    ref=A,
                    delta_a=(-6.0 if now == 100 else 6.0, 0.0, 0.0),
                    at=float(now),
                    takes_s=17.0,
                    slowest_s=30.0,
                    report_s=300.0,
                    is_known=True,
                )
            )
    if reports:
        check.on_report(B, shows_limits=True)
        assert not check.proof.problem
        check.on_report(A, shows_limits=follows)
    return check


@pytest.mark.parametrize(("sign", "is_proven"), [(1, True), (-1, False)])
def test_step_check_start_that_is_cut_at_once_proves_right_meter_only(sign: int, is_proven: bool) -> None:
    # The car starts with 14 A and is cut by 8 A some seconds later, within the window of its first report. A
    # meter built in backwards shows that cut as a rise of 8 A, but none of 14 A.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    drawn_a = 0.0
    for now in range(400):
        if now in (328, 336):
            change_a = 14.0 if now == 328 else -8.0
            drawn_a += change_a
            window.add_change(A, (change_a, 0.0, 0.0), float(now))
        if now == 332:
            check.add_step(
                ReportedStep(ref=A, delta_a=(14.0, 0.0, 0.0), since=322.0, at=332.0, reported_at=332.0)
            )
        window.add_reading((20.0 + 0.1 * (now % 3) + sign * drawn_a, 11.0, 12.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
    assert check.proof.proven == [is_proven, False, False]


def test_step_check_one_missed_step_is_not_enough() -> None:
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(60):
        window.add_reading((10.0, 10.0 + 0.1 * (now % 2), 10.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now == 30:
            check.add_step(
                ReportedStep(ref=A, delta_a=(16.0, 0.0, 0.0), since=20.0, at=30.0, reported_at=30.0)
            )
    assert check.proof.problem == ""


@pytest.mark.parametrize("interval_s", [1, 2, 5, 10])
@pytest.mark.parametrize(("lost_from", "lost_until"), [(50, 65), (52, 71), (58, 80), (61, 75), (50, 120)])
def test_step_check_steps_beside_lost_readings_are_not_missed(
    interval_s: int, lost_from: int, lost_until: int
) -> None:
    # Two cars step by 9 A; the readings are 5 s late, and some are lost.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(200):
        drawn_a = 18.0 if now - 5 < 58 else 0.0
        for ref, at in ((A, 61), (B, 63)):
            if now == at:
                step = ReportedStep(
                    ref=ref, delta_a=(-9.0, 0.0, 0.0), since=at - 10.0, at=float(at), reported_at=float(at)
                )
                window.add_step(step)
                check.add_step(step)
        if now % interval_s == 0 and not lost_from <= now < lost_until:
            window.add_reading((10.0 + 0.1 * (now % 3) + drawn_a, 11.0, 12.0), float(now))
            check.on_reading(ZERO, NOTHING, float(now))
    assert not check.proof.has_missed(0)


def test_step_check_dead_transformer_beside_phases_that_follow() -> None:
    def meter(base: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
        return (0.0, base[1] + cars[1], base[2] + cars[2])

    assert "L1 is dead or not connected" in session(meter, (16.0, 16.0, 16.0)).proof.problem


def test_step_check_two_seen_steps_clear_suspicion() -> None:
    window, check = observe(FAULTS["backwards"][0])
    assert check.proof.problem
    for start in (1000, 1100):
        for now in range(start - 20, start + 40):
            window.add_reading((26.0 if now >= start + 10 else 10.0, 10.0, 10.0), float(now))
            check.on_reading(ZERO, NOTHING, float(now))
            if now == start + 17:
                check.add_step(
                    ReportedStep(
                        ref=A,
                        delta_a=(16.0, 0.0, 0.0),
                        since=start + 7.0,
                        at=start + 17.0,
                        reported_at=start + 17.0,
                    )
                )
    assert check.proof.problem == ""


def test_step_check_asks_for_step_of_missed_phase_beside_swapped_ones() -> None:
    check = StepCheck(MeterWindow(MEMORY_S))
    check.proof.add_missed_sum([1], is_quiet=False)
    check.proof.set_swapped(SwappedPhases(A, 0, 2, 6.0))
    needed = check.needed_step(LIMIT_A, 1000.0)
    assert needed is not None
    assert list(needed.phases) == [0, 1, 2]
    check.proof.set_swapped(None)  # the edges show L1 and L3 where they belong
    needed = check.needed_step(LIMIT_A, 1000.0)
    assert needed is not None
    assert list(needed.phases) == [1]
    assert not needed.apart


def test_step_check_fewer_phases_of_small_parts_keep_seen_steps() -> None:
    proof = StepCheck(MeterWindow(MEMORY_S)).proof
    proof.set_small_parts({0: 0.5, 1: 0.5})
    proof.add_proven([0], [10.0, 0.0, 0.0])
    proof.set_small_parts({1: 0.5})
    assert "L2 does not show more than 50 %" in proof.problem
    assert proof.seen == 2
    proof.set_small_parts({1: 0.5, 2: 0.5})
    assert proof.seen == 0


def test_step_check_busy_building_proves_nothing() -> None:
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(400):
        pulse = 14.0 if now % 20 < 10 else 0.0
        window.add_reading((10.0 + pulse, 10.0, 10.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now % 40 == 30:
            check.add_step(
                ReportedStep(
                    ref=A, delta_a=(6.0, 0.0, 0.0), since=now - 10.0, at=float(now), reported_at=float(now)
                )
            )
    assert check.proof.problem == ""


def test_step_check_step_hidden_by_another_station_proves_nothing() -> None:
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(200):
        window.add_reading((20.0, 10.0, 10.0), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now % 40 == 30:
            check.add_step(
                ReportedStep(
                    ref=A, delta_a=(16.0, 0.0, 0.0), since=now - 10.0, at=float(now), reported_at=float(now)
                )
            )
            window.add_change(B, (-16.0, 0.0, 0.0), float(now))
    assert check.proof.problem == ""


def test_step_check_steps_between_missing_readings_are_not_missed() -> None:
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(300):
        off = now >= 150
        if not 110 <= now < 150:  # the meter was doubted meanwhile, and its cars stopped
            window.add_reading((10.0 + 0.1 * (now % 3) - 7.0 * off,) * 3, float(now))
            check.on_reading(ZERO, NOTHING, float(now))
        if now in (152, 154):
            ref = A if now == 152 else B
            check.add_step(
                ReportedStep(ref=ref, delta_a=(-7.0,) * 3, since=142.0, at=float(now), reported_at=float(now))
            )
    assert check.proof.problem == ""


def test_step_check_first_step_missed_on_all_phases_suspects_meter() -> None:
    check = session(lambda base, cars: base, (16.0, 16.0, 16.0), times=1)
    assert check.proof.problem.startswith("L1, L2 and L3 do not follow station A/1")


def test_step_check_one_missed_phase_does_not_suspect_meter_at_once() -> None:
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(60):
        window.add_reading((10.0, 11.0, 12.0 + 0.1 * (now % 3)), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now == 30:
            step = ReportedStep(ref=A, delta_a=(16.0, 0.0, 0.0), since=20.0, at=30.0, reported_at=30.0)
            check.add_step(step)
    assert check.proof.problem == ""
    assert check.proof.has_missed(0)
    assert not check.proof.proven[0]


def test_step_check_proves_phases_that_follow() -> None:
    check = session(true_meter, (16.0, 0.0, 0.0), times=1)
    assert check.proof.proven == [True, False, False]


def test_step_check_own_cut_in_backwards_meter_is_no_seen_rise() -> None:
    # A rise of 6 A, and a cut by 26 A right after it, which a meter built in backwards shows as a rise.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(60):
        drawn_a = 26.0 if now < 30 else 32.0 if now < 36 else 6.0
        window.add_reading((-drawn_a, 0.0, 0.1 * (now % 3)), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if now == 35:
            check.add_step(
                ReportedStep(ref=A, delta_a=(6.0, 0.0, 0.0), since=25.0, at=35.0, reported_at=35.0)
            )
            window.add_change(A, (6.0, 0.0, 0.0), 35.0)
            window.add_change(A, (-26.0, 0.0, 0.0), 36.0)
    assert not check.proof.proven[0]


def quiet_after(moves_s: int, spans: int, night_s: int = 0) -> tuple[QuietWatch, float]:
    """Return the watch of a building that has moved each `moves_s` so often, and when it has come to rest.

    Before that it has rested for `night_s`, longer ago than counts.
    """
    watch, now = QuietWatch(), 0.0
    for number, span_s in enumerate([night_s, *[moves_s] * spans]):
        for _ in range(span_s):
            now += 1.0
            watch.on_reading((10.0 + 2.0 * (number % 2), 0.3 * (now % 2), 0.0), now)
        if number == 0 and night_s:
            now += LATE_SPANS_S
    return watch, now - moves_s


@pytest.mark.parametrize(("moves_s", "longest_s"), [(20, CAR_STEPS_S[0]), (42, CAR_STEPS_S[0]), (44, 88.0)])
def test_quiet_watch_is_long_after_twice_longest_quiet_span(moves_s: int, longest_s: float) -> None:
    watch, since = quiet_after(moves_s, LIVELY_SPANS + 1)
    assert not watch.is_long(since + longest_s - 3)
    assert watch.is_long(since + longest_s + 4)


def test_quiet_watch_of_building_that_hardly_moves_is_long_after_an_hour() -> None:
    # Cars have moved the meter a few times.
    watch, since = quiet_after(30, LIVELY_SPANS // 2)
    assert not watch.is_long(since + CAR_STEPS_S[1] - 3)
    assert watch.is_long(since + CAR_STEPS_S[1] + 3)


def test_quiet_watch_forgets_how_quiet_the_night_was() -> None:
    watch, since = quiet_after(20, LIVELY_SPANS + 2, night_s=3000)
    assert watch.is_long(since + CAR_STEPS_S[0] + 3)


def test_quiet_watch_takes_missing_readings_for_no_quiet_span() -> None:
    watch, since = quiet_after(20, LIVELY_SPANS + 1)
    watch.on_reading((10.0, 0.0, 0.0), since + 2000.0)
    assert watch.moved_at == since + 2000.0
    assert not watch.is_long(since + 2000.0)


@pytest.mark.parametrize(("shown_a", "flutter_a"), [(10.0, 0.9), (100.0, 1.9), (150.0, 2.9)])
def test_quiet_watch_takes_flutter_of_last_digits_for_quiet(shown_a: float, flutter_a: float) -> None:
    rng = random.Random(4)
    watch = QuietWatch()
    for now in range(300):
        watch.on_reading((shown_a - rng.uniform(0.0, flutter_a), 10.0, 10.0), float(now))
    assert watch.moved_at == 0.0
    assert watch.span_a == pytest.approx(flutter_a, rel=0.05)
    watch.on_reading((shown_a - 2.0 * flutter_a, 10.0, 10.0), 300.0)
    assert watch.moved_at == 300.0


@pytest.mark.parametrize("is_lively", [True, False])
def test_step_check_needs_step_that_no_flutter_hides(is_lively: bool) -> None:
    # A car is paused for it only where the readings have moved often before.
    rng = random.Random(3)
    check = StepCheck(MeterWindow(MEMORY_S))
    now = 0.0
    for number in range(2 * LIVELY_SPANS if is_lively else 2):
        for _ in range(20):
            now += 1.0
            check.on_reading((120.0 + 9.0 * (number % 2), 40.0, 40.0), NOTHING, now)
    while (needed := check.needed_step(LIMIT_A, now)) is None:
        now += 1.0
        check.on_reading((120.0 + rng.uniform(-1.0, 1.0), 40.0, 40.0), NOTHING, now)
    assert needed.least_a == pytest.approx(5.5, abs=0.2)
    assert needed.may_pause is is_lively


def test_step_check_suspects_unusually_quiet_meter_by_first_missed_step() -> None:
    rng = random.Random(2)
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)

    def read(now: int, amps: float) -> None:
        shown_a = (amps, amps, amps)
        window.add_reading(shown_a, float(now))
        check.on_reading(shown_a, NOTHING, float(now))

    for now in range(600):
        read(now, 100.0 + 12.0 * (now // 15 % 2))
    for now in range(600, 720):
        read(now, 106.0 + rng.uniform(-0.9, 0.9))
        if now == 700:
            step = ReportedStep(ref=A, delta_a=(-7.0, 0.0, 0.0), since=695.0, at=700.0, reported_at=700.0)
            window.add_step(step)
            check.add_step(step)
    assert check.proof.problem.startswith("L1 does not follow station A/1")
    assert "the meter is frozen" in check.proof.problem


def test_car_steps_come_less_and_less_often_while_they_are_needed() -> None:
    pauses, now, lasted = StepPauses(STEP_PAUSE_S), 0.0, []
    for _ in range(12):
        pauses.begin(30.0, now)
        begun_at = now
        while not pauses.have_ended(now):
            now += 1.0
        lasted.append(now - begun_at - 30.0)
    assert lasted[:3] == [STEP_PAUSE_S, 2 * STEP_PAUSE_S, 4 * STEP_PAUSE_S]
    assert lasted[-1] == CAR_STEPS_S[1]
    pauses.reset()
    pauses.begin(30.0, now)
    assert pauses.have_ended(now + 30.0 + STEP_PAUSE_S)
    assert not pauses.have_ended(now + 29.0 + STEP_PAUSE_S)


def test_step_check_asks_for_step_of_quiet_meter_until_it_moves() -> None:
    check = StepCheck(MeterWindow(MEMORY_S))
    now = 0.0
    while (needed := check.needed_step(LIMIT_A, now)) is None:
        now += 1.0
        check.on_reading((10.0, 10.0, 10.0), NOTHING, now)
    assert now == pytest.approx(CAR_STEPS_S[1], abs=3)
    check.car_steps.begin(A, 30.0, needed, now)
    assert not check.has_answered(now)
    assert check.needed_step(LIMIT_A, now + 1.0) is None
    check.on_reading((4.0, 4.0, 4.0), NOTHING, now + 5.0)
    assert check.has_answered(now + 5.0)


@pytest.mark.parametrize(("limit_a", "largest_a"), [(25.0, 3.0), (100.0, 6.0)])
def test_step_check_asks_for_step_until_ratio_is_shown(limit_a: float, largest_a: float) -> None:
    # One car draws 16 A beside a building of 20 A; no move has shown yet which part of it the meter shows.
    check, limits_a = StepCheck(MeterWindow(MEMORY_S)), (limit_a, limit_a, limit_a)

    def read(drawn_a: float, begin: int, end: int) -> None:
        for now in range(begin, end):
            load_a = 0.7 * limit_a
            check.on_reading((load_a + drawn_a - 16.0,) * 3, OfferCredit.within(*[(drawn_a,) * 3] * 3), now)

    read(16.0, 0, 60)
    needed = check.needed_step(limits_a, 59.0)
    assert needed is not None
    assert (needed.least_a, needed.most_a) == (pytest.approx(3.0), pytest.approx(largest_a))
    check.car_steps.begin(A, 30.0, needed, 59.0)
    read(16.0, 60, 65)
    assert check.needed_step(limits_a, 64.0) is None
    check.add_step(ReportedStep(ref=A, delta_a=(-4.0, -4.0, -4.0), since=60.0, at=64.0, reported_at=64.0))
    read(12.0, 65, 80)
    assert check.has_answered(79.0)
    read(12.0, 80, 200)
    assert check.needed_step(limits_a, 199.0) is None
    assert check.proof.problem == ""


def test_step_check_asks_for_no_step_far_below_limit() -> None:
    check = StepCheck(MeterWindow(MEMORY_S))
    for now in range(100):
        check.on_reading((30.0, 30.0, 30.0), OfferCredit.within(*[(16.0, 16.0, 16.0)] * 3), now)
    assert check.needed_step((63.0, 63.0, 63.0), 99.0) is None
    assert check.needed_step((40.0, 40.0, 40.0), 99.0) is not None


@pytest.mark.parametrize(("held_back_a", "may_pause"), [(3.0, False), (8.0, True)])
def test_step_check_asks_for_step_of_phase_whose_proof_holds_current_back(
    held_back_a: float, may_pause: bool
) -> None:
    # The building has moved by 0.5 A within half a minute: four times that stands out.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    for now in range(130):
        shown = (10.0, 10.0 + 0.5 * (now % 2), 10.0)
        window.add_reading(shown, float(now))
        check.on_reading(shown, NOTHING, float(now))
    assert check.needed_step(LIMIT_A, 129.0) is None
    needed = check.needed_step(LIMIT_A, 129.0, (0.0, held_back_a, 0.0), car_is_short=True)
    assert needed is not None
    assert (needed.phases, needed.least_a, needed.may_pause) == ([1], 2.0, may_pause)
    check.proof.proven[1] = True
    assert check.needed_step(LIMIT_A, 129.0, (0.0, held_back_a, 0.0)) is None


def test_step_check_pauses_car_for_proof_not_twice_in_quarter_of_hour() -> None:
    check = StepCheck(MeterWindow(MEMORY_S))
    held_back_a = (20.0, 0.0, 0.0)
    needed = check.needed_step(LIMIT_A, 0.0, held_back_a, car_is_short=True)
    assert needed is not None
    check.car_steps.begin(A, 60.0, needed, 0.0, is_pause=True)
    paused = [
        needed.may_pause
        for now in range(1, 1000)
        if (needed := check.needed_step(LIMIT_A, float(now), held_back_a, car_is_short=True)) is not None
    ]
    assert paused.count(False) == CAR_PAUSE_S - STEP_PAUSE_S
    assert all(paused[paused.count(False) :])


@pytest.mark.parametrize(
    ("held_back_a", "car_waits", "car_is_short", "may_pause"),
    [
        (5.0, False, True, False),
        (5.0, True, True, True),
        (6.0, False, True, True),
        (40.0, False, False, False),
    ],
)
def test_step_check_pauses_car_for_less_where_another_waits(
    held_back_a: float, car_waits: bool, car_is_short: bool, may_pause: bool
) -> None:
    """Where no car is short of what is held back, none is paused for it."""
    check = StepCheck(MeterWindow(MEMORY_S))
    needed = check.needed_step(
        LIMIT_A, 0.0, (held_back_a, 0.0, 0.0), car_waits=car_waits, car_is_short=car_is_short
    )
    assert needed is not None
    assert needed.may_pause is may_pause


@pytest.mark.parametrize(("since", "is_small"), [(90.0, True), (0.0, False)])
def test_step_check_finds_no_ratio_by_step_of_seldom_reports(since: float, is_small: bool) -> None:
    # A car of 16 A became full minutes before the report that shows it; then 5 A of the building went off.
    check = StepCheck(MeterWindow(MEMORY_S))
    for now in range(200):
        drawn_a, shown_a = (16.0, 40.0) if now < 120 else (0.0, 35.0)
        if now == 120:
            check.add_step(
                ReportedStep(ref=A, delta_a=(-16.0,) * 3, since=since, at=120.0, reported_at=120.0)
            )
        check.on_reading((shown_a,) * 3, OfferCredit.within(*[(drawn_a,) * 3] * 3), float(now))
    assert bool(check.proof.problem) is is_small


def parts_meter(first: float, second: float, third: float) -> Meter:
    """A meter that shows such parts of each phase."""

    def meter(base: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
        flow_a = true_meter(base, cars)
        return (first * flow_a[0], second * flow_a[1], third * flow_a[2])

    return meter


def lively_site(seed: int, meter: Meter, pieces: int = 1, car_phases: Sequence[int] = (0, 1, 2)) -> list[str]:
    """A car that steps each 50 s beside loads which go on and off each half minute, and reports each 10 s.

    `pieces`: offers by which each step is made. Return why the meter is suspected after each second.
    """
    rng = random.Random(seed)
    loads = [(rng.uniform(5.0, 20.0), phases) for phases in ((0,), (1,), (2,), (0, 1, 2), (0, 1, 2))]
    switches_at = [rng.uniform(0.0, 30.0) for _ in loads]
    is_on = [False] * len(loads)
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    drawn_a = reported_a = 16.0
    problems: list[str] = []

    def on_phases(amps: float) -> PhaseAmps:
        first, second, third = (amps if phase in car_phases else 0.0 for phase in range(3))
        return (first, second, third)

    pieces_a: dict[int, float] = {}
    for now in range(1800):
        if now % 50 == 20:
            change_a = rng.choice([6.0, 9.0, 14.0]) * (1 if drawn_a < 20 else -1)
            pieces_a = {now + 4 * number: change_a / pieces for number in range(pieces)}
        if (piece_a := pieces_a.get(now)) is not None:
            drawn_a += piece_a
            window.add_change(A, on_phases(piece_a), float(now))
        base_a = [rng.gauss(30.0, 0.2) for _ in range(3)]
        for number, (load_a, phases) in enumerate(loads):
            if now >= switches_at[number]:
                is_on[number] = not is_on[number]
                switches_at[number] = now + rng.uniform(8.0, 45.0)
            for phase in phases if is_on[number] else ():
                base_a[phase] += load_a
        first, second, third = base_a
        window.add_reading(meter((first, second, third), on_phases(drawn_a)), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        problems.append(check.proof.problem)
        if now % 10 == 9 and drawn_a != reported_a:
            step_a, reported_a = drawn_a - reported_a, drawn_a
            step = ReportedStep(
                ref=A, delta_a=on_phases(step_a), since=now - 10.0, at=float(now), reported_at=float(now)
            )
            window.add_step(step)
            check.add_step(step)
    return problems


@pytest.mark.parametrize("part", [0.33, 0.5, 0.67, 0.75, 0.8])
@pytest.mark.parametrize("seed", range(4))
def test_step_check_finds_ratio_beside_lively_building(seed: int, part: float) -> None:
    assert "check the ratio" in lively_site(seed, parts_meter(part, part, part))[-1]


@pytest.mark.parametrize("part", [0.5, 0.67])
@pytest.mark.parametrize("seed", range(4))
def test_step_check_finds_ratio_of_one_phase_beside_lively_building(seed: int, part: float) -> None:
    problem = lively_site(seed, parts_meter(1.0, part, 1.0))[-1]
    assert problem.startswith("L2 does not show more than")
    assert "check the ratio" in problem


@pytest.mark.parametrize(("pieces", "car_phases"), [(1, (0, 1, 2)), (2, (0, 1, 2)), (1, (0,)), (1, (0, 1))])
@pytest.mark.parametrize("seed", range(8))
def test_step_check_right_meter_beside_lively_building(
    seed: int, pieces: int, car_phases: Sequence[int]
) -> None:
    assert not any(lively_site(seed, true_meter, pieces, car_phases))


@pytest.mark.parametrize("meter", [before_the_cars, FAULTS["backwards"][0]])
@pytest.mark.parametrize("seed", range(5))
def test_step_check_finds_wrong_meter_beside_lively_building(seed: int, meter: Meter) -> None:
    # All loads are as large as the car's steps and move more often: some of its steps look as if they were
    # seen, but no three in a row.
    problems = lively_site(seed, meter)
    assert sum(map(bool, problems)) >= 200


@pytest.mark.parametrize("car_phases", [(0,), (0, 1)])
@pytest.mark.parametrize("seed", range(8))
def test_step_check_finds_swapped_phases_beside_lively_building(seed: int, car_phases: Sequence[int]) -> None:
    def swapped_meter(base: PhaseAmps, cars: PhaseAmps) -> PhaseAmps:
        first, second, third = true_meter(base, cars)
        return (third, second, first)

    problems = lively_site(seed, swapped_meter, car_phases=car_phases)
    assert any("phases L1 and L3 are swapped" in problem for problem in problems)


@pytest.mark.parametrize(("follows", "is_found"), [(True, True), (False, False)])
def test_step_check_finds_ratio_by_limits_that_seldom_reports_confirm(follows: bool, is_found: bool) -> None:
    # A car follows each limit within 5 s; its station reports each 300 s. The meter shows a half of L2.
    window = MeterWindow(MEMORY_S)
    check = StepCheck(window)
    drawn_a = 16.0
    for now in range(900):
        change_a = {20: -8.0, 170: 8.0, 320: -10.0, 470: 10.0}.get(now, 0.0)
        drawn_a += change_a
        window.add_reading((40.0 + drawn_a, 20.0 + drawn_a / 2, 40.0 + drawn_a), float(now))
        check.on_reading(ZERO, NOTHING, float(now))
        if change_a:
            check.add_commanded(
                CommandedStep(
                    ref=A,
                    delta_a=(change_a, change_a, change_a),
                    at=float(now) - 1.0,
                    takes_s=5.0,
                    slowest_s=12.0,
                    report_s=300.0,
                    is_known=True,
                )
            )
        if now % 300 == 299:
            check.on_report(A, shows_limits=follows)
    assert check.proof.problem.startswith("L2 does not show more than 50 %") is is_found
