"""Checks of single meters."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.load_management.metering.plausibility import (
    SIGN_DOUBT_S,
    SIGN_READINGS,
    STILL_S,
    ContradictionWatch,
    PlausibilityBounds,
    RestWatch,
    SignWatch,
    SpikeWatch,
    StillWatch,
)
from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps
from drivers.reading import Reading

CARS = (0.0, 30.0, 0.0)


def verdicts(*amps: PhaseAmps) -> list[bool]:
    watch = SignWatch()
    return [bool(watch.on_reading(each, CARS, float(now))) for now, each in enumerate(amps)]


@pytest.mark.parametrize(
    ("l2", "assumed"),
    [
        (-50.0, False),  # the same current the other way round: the cars' 30 A explain no 100 A
        (-40.0, False),
        (-20.0, True),  # another current: a cloud has gone, and a car
        (0.0, True),
        (-4.9, True),
        (49.0, True),
    ],
)
def test_plausibility_sign_watch_doubts_phase_that_keeps_size(l2: float, assumed: bool) -> None:
    assert verdicts((20.0, 50.0, 20.0), (20.0, l2, 20.0))[1] is not assumed


def test_cars_that_stop_may_leave_as_much_feed_in() -> None:
    assert verdicts((20.0, 16.0, 20.0), (20.0, -16.0, 20.0)) == [False, False]


def test_plausibility_meter_recovers_with_load_or_none() -> None:
    assert verdicts((0, 50, 0), (0, -50, 0), (0, -70, 0), (0, -20, 0), (0, -1, 0), (0, -30, 0)) == [
        False,
        True,
        True,
        True,
        False,
        False,
    ]


def test_plausibility_text_names_phase() -> None:
    watch = SignWatch()
    watch.on_reading((20.0, 50.0, 20.0), ZERO, 0.0)
    assert watch.on_reading((20.0, -50.0, -20.0), ZERO, 1.0).startswith(
        "L2 and L3 changed its sign under load"
    )


def test_sign_watch_is_implausible_for_some_readings_and_doubted_then() -> None:
    watch = SignWatch()
    watch.on_reading((8.0, 8.0, 8.0), ZERO, 0.0)
    found = [bool(watch.on_reading((-8.0, 8.0, 8.0), ZERO, float(now))) for now in range(1, 10)]
    assert found == [True] * SIGN_READINGS + [False] * (9 - SIGN_READINGS)
    assert watch.doubted
    watch.on_reading((-8.0, 8.0, 8.0), ZERO, SIGN_DOUBT_S + 1)
    assert not watch.doubted


BOUNDS = PlausibilityBounds((63.0, 63.0, 63.0), 230.0)


@pytest.mark.parametrize(
    ("reading", "words"),
    [
        (Reading(time=0, current_a=(10, 10, 10), voltage_v=(230, 231, 229), frequency_hz=50.0), ""),
        (Reading(time=0, current_a=(10, 10, 10), voltage_v=(230, 0, 229)), "L2 shows 0 V"),
        (Reading(time=0, current_a=(10, 10, 10), voltage_v=(277, 230, 229)), "L1 shows 277 V"),
        (Reading(time=0, current_a=(10, 10, 10), frequency_hz=500.0), "500 Hz"),
        (Reading(time=0, current_a=(10, 10, -64)), "L3 shows 64 A of feed-in"),
        (Reading(time=0, current_a=(0, 0, 0)), ""),
        (Reading(time=0, current_a=(0, 0, 0), frequency_hz=0.0), "every value is 0"),
    ],
)
def test_plausibility_bounds_name_what_reading_breaks(reading: Reading, words: str) -> None:
    first, second, third = (amps or 0.0 for amps in reading.current_a)
    found = BOUNDS.broken_by(reading, (first, second, third))
    assert words in found
    assert bool(words) is bool(found)


def test_plausibility_bounds_with_declared_generation_allow_feed_in() -> None:
    circuit = CircuitNode(id="grid", parent=None, limit_a=(63.0,) * 3)
    reading = Reading(time=0, current_a=(-90, -90, -90))
    declared = PlausibilityBounds.of_circuit(circuit, 80.0, 230.0)
    assert declared.broken_by(reading, (-90.0, -90.0, -90.0)) == ""


def test_plausibility_spike_of_one_reading_waits_for_next() -> None:
    watch = SpikeWatch((63.0, 63.0, 63.0))
    shown = enumerate((20.0, 327.67, 21.0, 327.67, 327.67))
    found = [watch.is_spike((amps, 5.0, 5.0), float(now)) for now, amps in shown]
    assert found == [False, True, False, True, False]


@pytest.mark.parametrize(("amps", "each_s", "waits"), [(126.0, 1, True), (126.0, 5, False), (200.0, 5, True)])
def test_plausibility_spike_of_twice_rating_waits_where_next_comes_soon(
    amps: float, each_s: int, waits: bool
) -> None:
    watch = SpikeWatch((63.0, 63.0, 63.0))
    watch.is_spike((20.0, 5.0, 5.0), 0.0)
    assert watch.is_spike((amps, 5.0, 5.0), float(each_s)) is waits


def test_contradiction_counts_only_after_several_readings() -> None:
    watch = ContradictionWatch()
    wrong = Reading(time=0, power_w=(5000.0,) * 3, power_total_w=5000.0)
    right = Reading(time=0, power_w=(5000.0,) * 3, power_total_w=15000.0)
    assert [bool(watch.on_reading(each)) for each in (wrong, wrong, right, wrong, wrong, wrong)] == [
        *[False] * 5,
        True,
    ]


def still(seconds: float, reported_a: float) -> StillWatch:
    """A meter that shows the same near-zero current for so long."""
    watch = StillWatch()
    for now in range(int(seconds) + 1):
        reported = reported_a if now else 0.0
        watch.on_reading(Reading(time=float(now), current_a=(0.2, 0.2, 0.2)), 0.0, reported, float(now))
    return watch


def test_still_watch_near_no_load_is_frozen_once_stations_report() -> None:
    assert not still(100, 0.0).doubted
    assert still(10, 16.0).doubted
    assert not still(10, 16.0).frozen
    assert still(40, 16.0).frozen


def test_still_watch_reported_end_of_current_is_no_doubt() -> None:
    # The meter shows that the cars have left before their stations report it.
    watch = StillWatch()
    for now in range(100):
        reported = 16.0 if now < 5 else 0.0
        watch.on_reading(
            Reading(time=float(now), current_a=(0.0,) * 3, voltage_v=(230.0,) * 3), 0.0, reported, now
        )
        assert not watch.doubted
    for now in range(100, 140):
        watch.on_reading(
            Reading(time=float(now), current_a=(0.0,) * 3, voltage_v=(230.0,) * 3), 0.0, 16.0, now
        )
    assert watch.frozen


def test_still_watch_doubts_meter_that_repeats_itself_unusually_long() -> None:
    watch = StillWatch()

    def see(still_s: float) -> bool:
        see.now += 1  # type: ignore[attr-defined]
        amps = float(see.now)  # type: ignore[attr-defined]
        shown = 10.0 if still_s else amps
        watch.on_reading(Reading(time=amps, current_a=(shown, shown, shown)), still_s, 0.0, amps)
        return watch.doubted

    see.now = 0  # type: ignore[attr-defined]
    assert not any(see(still_s) for still_s in (0.0, 3.0, STILL_S))
    assert see(STILL_S + 1)
    see(0.0)  # so long is usual from now on
    assert not see(2 * STILL_S + 2)
    assert see(2 * STILL_S + 3)


ROWS = ("row 1", "row 2")
SETTLED_S = 10.0
GRID_A = 40.0


def watch_rest(grid_a: Callable[[int], float], *rows_a: Callable[[int], float]) -> float:
    """Return the rise (A) of the rows that the meter above them has not shown after two minutes."""
    watch = RestWatch()
    for now in range(120):
        shown_a = grid_a(now) + 0.3 * (now % 3)  # the last digits flutter
        watch.on_reading((shown_a, GRID_A, GRID_A))
        for name, row_a in zip(ROWS, rows_a, strict=False):
            watch.on_reading_below(name, (row_a(now), 0.0, 0.0), SETTLED_S, float(now))
    assert watch.missed_a[1:] == (0.0, 0.0)
    assert watch.doubted is (watch.missed_a[0] > 0)
    return watch.missed_a[0]


def at_rest(now: int) -> float:
    return GRID_A


def rises_at(moment: int, first_a: float, rise_a: float) -> Callable[[int], float]:
    return lambda now: first_a + (rise_a if now >= moment else 0.0)


def test_rest_watch_doubts_meter_that_misses_rise_below_it() -> None:
    assert watch_rest(at_rest, rises_at(40, 10.0, 6.0)) == 6.0
    assert watch_rest(at_rest, rises_at(40, 10.0, 3.0), rises_at(60, 5.0, 3.0)) == 6.0
    assert watch_rest(at_rest, rises_at(40, 10.0, 4.0)) == 0.0


def test_rest_watch_meter_may_show_rise_before_or_after_those_below() -> None:
    for delay_s in (-8, 0, 8):
        assert watch_rest(rises_at(40 + delay_s, GRID_A, 6.0), rises_at(40, 10.0, 6.0)) == 0.0


def test_rest_watch_rise_that_ends_or_moves_to_another_row_is_none() -> None:
    assert watch_rest(at_rest, lambda now: 16.0 if 40 <= now < 48 else 10.0) == 0.0
    assert watch_rest(at_rest, rises_at(40, 10.0, 6.0), rises_at(42, 16.0, -6.0)) == 0.0
    assert watch_rest(at_rest, rises_at(40, 16.0, -6.0)) == 0.0


def test_rest_watch_meter_below_that_is_read_later_is_no_rise() -> None:
    watch = RestWatch()
    for now in range(120):
        watch.on_reading((GRID_A,) * 3)
        for name in ROWS[: 1 + (now >= 40)]:
            watch.on_reading_below(name, (15.0,) * 3, SETTLED_S, float(now))
    assert not watch.doubted


def test_rest_watch_doubt_lasts_until_meter_moves() -> None:
    def pulse(now: int) -> float:
        return 16.0 if 40 <= now < 60 else 10.0

    assert watch_rest(at_rest, pulse) == 6.0
    assert watch_rest(rises_at(90, GRID_A, 3.0), pulse) == 0.0
