"""What a meter is worth, by how its polls go."""

from __future__ import annotations

from drivers.decoding import Implausible
from drivers.health import FROZEN_S, MeterHealth
from drivers.reading import Quality, Reading

NONSENSE = Implausible("current_l1 is infinite")


def reading(time: float, amps: float = 10.0, energy: float | None = None) -> Reading:
    return Reading(time=time, current_a=(amps, amps, amps), energy_import_wh=energy)


def health() -> MeterHealth:
    return MeterHealth("grid", stale_after_s=5.0)


def test_a_meter_that_was_never_read_is_dead() -> None:
    state = health().failed("no answer", 0.0)
    assert (state.meter, state.quality, state.reading) == ("grid", Quality.DEAD, None)
    assert state.problem == "no answer"


def test_a_meter_ages_from_good_over_stale_to_dead_and_comes_back() -> None:
    meter = health()
    first = reading(100.0)
    assert meter.read(first, 100.0).quality is Quality.GOOD
    assert meter.failed("lost", 105.0).quality is Quality.GOOD
    stale = meter.failed("lost", 105.1)
    assert (stale.quality, stale.problem, stale.reading) == (Quality.STALE, "lost", first)
    assert meter.failed("lost", 130.0).quality is Quality.STALE
    assert meter.failed("lost", 130.1).quality is Quality.DEAD
    back = meter.read(reading(131.0), 131.0)
    assert (back.quality, back.problem) == (Quality.GOOD, "")


def test_nonsense_keeps_the_last_good_reading_and_stands_over_a_lost_poll() -> None:
    meter = health()
    good = reading(0.0)
    meter.read(good, 0.0)
    for state in (meter.read(NONSENSE, 1.0), meter.failed("lost", 2.0)):
        assert (state.quality, state.reading, state.problem) == (Quality.IMPLAUSIBLE, good, NONSENSE.why)
    assert meter.failed("lost", 6.0).quality is Quality.STALE
    assert meter.read(reading(7.0), 7.0).quality is Quality.GOOD


def test_nonsense_from_the_first_moment_has_no_reading() -> None:
    meter = health()
    assert meter.read(NONSENSE, 0.0).reading is None
    assert meter.failed("lost", 1.0).quality is Quality.DEAD


def test_a_load_that_repeats_itself_is_stale_until_it_moves() -> None:
    meter = health()
    for second in range(int(FROZEN_S) + 1):
        assert meter.read(reading(second), second).quality is Quality.GOOD
    late_s = FROZEN_S + 1
    frozen = meter.read(reading(late_s), late_s)
    assert frozen.quality is Quality.STALE
    assert frozen.still_s == late_s
    assert f"repeated itself for {late_s:g} s" in frozen.problem
    assert meter.failed("lost", late_s + 1).quality is Quality.STALE
    alive = meter.read(reading(late_s + 2, amps=10.01), late_s + 2)
    assert (alive.quality, alive.still_s) == (Quality.GOOD, 0.0)


def test_a_coarse_meter_may_be_given_longer() -> None:
    coarse = MeterHealth("grid", stale_after_s=5.0, frozen_after_s=300.0)
    for second in range(0, 301, 10):
        assert coarse.read(reading(second), second).quality is Quality.GOOD
    assert coarse.read(reading(301.0), 301.0).quality is Quality.STALE


def test_no_load_may_stand_still_and_a_counter_that_moves_is_life() -> None:
    idle, counting = health(), health()
    for second in range(0, 200, 10):
        assert idle.read(reading(second, amps=0.5), second).quality is Quality.GOOD
        assert counting.read(reading(second, energy=float(second)), second).quality is Quality.GOOD
