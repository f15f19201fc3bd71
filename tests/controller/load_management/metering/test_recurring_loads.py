"""Loads that come again and again, found in a base load that was drawn by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controller.load_management.metering.recurring_loads import (
    FORGOTTEN_S,
    LONGEST_PAUSE_S,
    MOST_LOADS,
    PAUSE_FACTOR,
    STILL_S,
    RecurringLoads,
)

Load = Callable[[float], float]


def followed(load: Load, until: int, every_s: int = 1) -> RecurringLoads:
    """Return what is known after a base load (A) was read each so many seconds until a time (s)."""
    loads = RecurringLoads()
    for now in range(0, until + 1, every_s):
        loads.add(load(float(now)), float(now))
    return loads


def pulses(amps: float, on_s: int, off_s: int, inrush_a: float = 0.0) -> Load:
    """Return 20 A, and so many more for `on_s` of each period, with an inrush in its first second."""

    def load(now: float) -> float:
        since = now % (on_s + off_s)
        return 20.0 + (amps if since < on_s else 0.0) + (inrush_a if since < 1 else 0.0)

    return load


@pytest.mark.parametrize("every_s", [1, 2, 5])
@pytest.mark.parametrize("inrush_a", [0.0, 15.0])
def test_recurring_loads_load_is_expected_a_little_longer_than_paused(inrush_a: float, every_s: int) -> None:
    load = pulses(8.0, 20, 40, inrush_a)
    assert (
        followed(load, 55, every_s).find_returning(20.0, 55).expected_a == 20.0
    )  # its first pause is not over
    off_at = 2 * 60 + 20  # it was on before the first reading
    loads = followed(load, off_at + 30, every_s)
    assert loads.find_returning(20.0, off_at + 30).expected_a == pytest.approx(28.0)
    assert loads.find_returning(20.0, off_at + 40 * PAUSE_FACTOR - every_s).expected_a == pytest.approx(28.0)
    assert loads.find_returning(20.0, off_at + 40 * PAUSE_FACTOR + every_s).expected_a == 20.0


def test_recurring_loads_load_that_returns_is_not_counted_twice() -> None:
    load = pulses(8.0, 20, 40)
    for now in range(110, 140):
        assert followed(load, now).find_returning(load(now), now).expected_a <= 28.0 + 1e-6


def test_recurring_loads_load_is_found_whatever_else_runs() -> None:
    pulse, oven = pulses(8.0, 20, 40), pulses(13.0, 300, 300)
    loads = followed(lambda now: pulse(now) + oven(now + 270) - 20.0, 3 * 60 + 50)
    assert loads.find_returning(20.0, 3 * 60 + 50).expected_a == pytest.approx(28.0, abs=0.1)


def test_recurring_loads_greatest_of_two_is_expected() -> None:
    small, great = pulses(8.0, 20, 40), pulses(13.0, 30, 90)
    loads = followed(lambda now: small(now) + great(now + 75) - 20.0, 400)  # both are off
    assert loads.find_returning(20.0, 400).expected_a == pytest.approx(33.0, abs=0.1)


@pytest.mark.parametrize(("off_s", "is_expected"), [(150, True), (int(LONGEST_PAUSE_S) + 10, False)])
def test_recurring_loads_room_is_used_in_long_pauses(off_s: int, is_expected: bool) -> None:
    now = 2 * (20 + off_s) + 30
    assert (followed(pulses(8.0, 20, off_s), now).find_returning(20.0, now).expected_a > 20.0) is is_expected


@pytest.mark.parametrize("second_a", [4.0, 13.0])
def test_recurring_loads_loads_that_differ_do_not_make_a_pause(second_a: float) -> None:
    def load(now: float) -> float:
        return 20.0 + (8.0 if 10 <= now < 30 else second_a if 60 <= now < 80 else 0.0)

    assert followed(load, 100).find_returning(20.0, 100).expected_a == 20.0


def test_recurring_loads_drift_is_no_step() -> None:
    assert (
        followed(lambda now: 20.0 + 10.0 * abs(now % 200 - 100) / 100, 1000)
        .find_returning(20.0, 1000)
        .expected_a
        == 20.0
    )


def test_recurring_loads_moment_is_no_step() -> None:
    loads = followed(lambda now: 30.0 if now % 30 < STILL_S else 20.0, 300)
    assert loads.find_returning(20.0, 300).expected_a == 20.0


def test_recurring_loads_few_loads_are_remembered() -> None:
    loads = RecurringLoads()
    now = 0.0
    for number in range(3 * MOST_LOADS):
        for amps in (0.0, 5.0 + 7 * number):
            for _ in range(4):
                loads.add(amps, now)
                now += 1.0
    assert len(loads._loads) == MOST_LOADS
    now += FORGOTTEN_S
    for amps in (0.0, 500.0):
        for _ in range(4):
            loads.add(amps, now)
            now += 1.0
    assert 500.0 in [load.amps for load in loads._loads]
    assert len(loads._loads) <= 2


@pytest.mark.parametrize(
    ("pauses_s", "is_regular"),
    [([400, 400], True), ([400, 450], True), ([300, 600], False), ([950, 950], False)],
)
def test_recurring_loads_regular_load_is_expected_by_who_would_start(
    pauses_s: list[int], is_regular: bool
) -> None:
    loads, now = RecurringLoads(), 0
    loads.add(10.0, -10.0)
    for pause_s in pauses_s:
        for duration_s, load_a in ((60, 18.0), (pause_s, 10.0), (60, 18.0)):
            for _ in range(duration_s):
                now += 1
                loads.add(load_a, float(now))
    for _ in range(200):
        now += 1
        loads.add(10.0, float(now))
    assert loads.find_returning(10.0, float(now)).regular_a == pytest.approx(
        18.0 if is_regular else 10.0, abs=0.2
    )
    assert loads.find_returning(10.0, float(now)).expected_a == 10.0


def test_recurring_loads_load_that_seems_off_for_moments_stays_regular() -> None:
    # Cars follow the cut at its return: for 3 s they seem to take a part of it.
    loads, now = RecurringLoads(), 0
    loads.add(10.0, -10.0)
    for duration_s, load_a in (*((5, 18.0), (3, 11.0), (52, 18.0), (400, 10.0)) * 3, (60, 18.0), (200, 10.0)):
        for _ in range(duration_s):
            now += 1
            loads.add(load_a, float(now))
    assert loads.find_returning(10.0, float(now)).regular_a == pytest.approx(18.0, abs=0.5)
