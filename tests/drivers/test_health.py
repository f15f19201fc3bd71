"""Quality of a meter's readings, from the results of its polls."""

from __future__ import annotations

from drivers.decoding import Implausible
from drivers.errors import Cause
from drivers.health import CONTRADICTION_S, COUNTER_NOTE_S, FROZEN_S, MeterHealth
from drivers.reading import MeterState, Quality, Reading

IMPOSSIBLE = Implausible("current_l1 is infinite")
CONTRADICTORY = Implausible("its phases add up to 7590 W, its total is 1500 W", contradiction=True)


def reading(time: float, amps: float = 10.0, energy: float | None = None) -> Reading:
    return Reading(time=time, current_a=(amps, amps, amps), energy_import_wh=energy)


def health() -> MeterHealth:
    return MeterHealth("grid", stale_after_s=5.0)


def failed(meter: MeterHealth, now: float) -> MeterState:
    return meter.on_failure("lost", Cause.NO_ANSWER, now)


def test_health_meter_never_read_is_dead_with_cause() -> None:
    state = failed(health(), 0.0)
    assert (state.meter, state.quality, state.reading) == ("grid", Quality.DEAD, None)
    assert (state.problem, state.cause) == ("lost", Cause.NO_ANSWER)


def test_meter_ages_from_good_over_stale_to_dead_and_recovers() -> None:
    meter = health()
    first = reading(100.0)
    assert meter.on_outcome(first, 100.0).quality is Quality.GOOD
    assert failed(meter, 105.0).quality is Quality.GOOD
    stale = failed(meter, 105.1)
    assert (stale.quality, stale.problem, stale.reading) == (Quality.STALE, "lost", first)
    assert failed(meter, 130.0).quality is Quality.STALE
    assert failed(meter, 130.1).quality is Quality.DEAD
    back = meter.on_outcome(reading(131.0), 131.0)
    assert (back.quality, back.problem, back.cause) == (Quality.GOOD, "", Cause.NONE)
    assert meter.events[Cause.NO_ANSWER] == 4


def test_health_impossible_values_keep_last_good_reading() -> None:
    meter = health()
    good = reading(0.0)
    meter.on_outcome(good, 0.0)
    for state in (meter.on_outcome(IMPOSSIBLE, 1.0), failed(meter, 2.0)):
        assert (state.quality, state.reading) == (Quality.IMPLAUSIBLE, good)
        assert (state.problem, state.cause) == (IMPOSSIBLE.problem, Cause.IMPOSSIBLE_VALUE)
    assert failed(meter, 6.0).quality is Quality.STALE
    assert meter.on_outcome(reading(7.0), 7.0).quality is Quality.GOOD


def test_health_impossible_values_from_start_leave_no_reading() -> None:
    meter = health()
    assert meter.on_outcome(IMPOSSIBLE, 0.0).reading is None
    assert failed(meter, 1.0).quality is Quality.DEAD


def test_health_contradiction_for_moment_is_lost_poll() -> None:
    meter = health()
    meter.on_outcome(reading(0.0), 0.0)
    assert meter.on_outcome(CONTRADICTORY, 1.0).quality is Quality.GOOD
    assert meter.on_outcome(reading(2.0), 2.0).quality is Quality.GOOD
    assert meter.on_outcome(CONTRADICTORY, 3.0).quality is Quality.GOOD
    state = meter.on_outcome(CONTRADICTORY, 3.0 + CONTRADICTION_S)
    assert (state.quality, state.problem) == (Quality.IMPLAUSIBLE, CONTRADICTORY.problem)


def test_health_contradiction_from_start_is_implausible() -> None:
    assert health().on_outcome(CONTRADICTORY, 0.0).quality is Quality.IMPLAUSIBLE


def test_same_values_under_load_are_stale_until_they_change() -> None:
    meter = health()
    for second in range(int(FROZEN_S) + 1):
        assert meter.on_outcome(reading(second), second).quality is Quality.GOOD
    late_s = FROZEN_S + 1
    frozen = meter.on_outcome(reading(late_s), late_s)
    assert (frozen.quality, frozen.cause, frozen.still_s) == (Quality.STALE, Cause.FROZEN, late_s)
    assert f"the same for {late_s:g} s" in frozen.problem
    assert failed(meter, late_s + 1).quality is Quality.STALE
    alive = meter.on_outcome(reading(late_s + 2, amps=10.01), late_s + 2)
    assert (alive.quality, alive.still_s) == (Quality.GOOD, 0.0)


def test_coarse_meter_may_be_given_longer() -> None:
    coarse = MeterHealth("grid", stale_after_s=5.0, frozen_after_s=300.0)
    for second in range(0, 301, 10):
        assert coarse.on_outcome(reading(second), second).quality is Quality.GOOD
    assert coarse.on_outcome(reading(301.0), 301.0).quality is Quality.STALE


def test_health_idle_load_may_stand_still_and_moving_counter_counts() -> None:
    idle, counting = health(), health()
    for second in range(0, 200, 10):
        assert idle.on_outcome(reading(second, amps=0.5), second).quality is Quality.GOOD
        moving = reading(second, energy=float(second))
        assert counting.on_outcome(moving, second).quality is Quality.GOOD


def test_counter_that_runs_backwards_is_named_and_counted() -> None:
    meter = health()
    meter.on_outcome(reading(0.0, energy=4_294_967_290.0), 0.0)
    state = meter.on_outcome(reading(1.0, energy=20.0), 1.0)
    assert state.quality is Quality.GOOD
    assert "import counter went from 4294967290 Wh back to 20 Wh" in state.limitation
    assert meter.events["counter_backwards"] == 1
    later = COUNTER_NOTE_S + 1.0
    assert meter.on_outcome(reading(later, energy=30.0), later).limitation == ""


def test_health_reading_without_direction_has_limitation() -> None:
    meter = health()
    state = meter.on_outcome(Reading(time=0.0, current_a=(1.0, 2.0, 3.0), direction_unknown=(1, 3)), 0.0)
    assert state.quality is Quality.GOOD
    assert "the direction of L1 and L3 is unknown and counts as import" in state.limitation
