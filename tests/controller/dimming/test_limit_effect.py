"""What came of a limit, by what was measured."""

from __future__ import annotations

from controller.dimming.dimming_limits import EffectiveLimit, LimitBound
from controller.dimming.limit_effect import (
    APART_S,
    EXCEEDED_S,
    PATIENCE_S,
    EffectWatch,
    LimitOutcome,
    Measurement,
)
from controller.model.observations import EvseRef

ONE, TWO = EvseRef("CS01", 1), EvseRef("CS02", 1)
TOTAL = EffectiveLimit(total=LimitBound(watts=8000, source="dso"), sources=("dso",))


def watch(effective: EffectiveLimit = TOTAL) -> EffectWatch:
    return EffectWatch(effective, None, 100.0)


def drawn(at: float, one: float | None, two: float | None = 0.0, grid: float | None = None) -> Measurement:
    return Measurement(at, {ONE: one, TWO: two}, grid)


def phases(outcomes: list[LimitOutcome]) -> list[str]:
    return [outcome.phase for outcome in outcomes]


def test_limit_is_reached_by_measured_draw() -> None:
    watched = watch()
    assert watched.on_measurement(drawn(101, 22_000)) == []
    assert watched.on_measurement(drawn(102, 8800.1)) == []
    [reached] = watched.on_measurement(drawn(103.5, 4000, 4000))
    assert (reached.phase, reached.took_s) == ("reached", 3.5)
    assert watched.on_measurement(drawn(104, 7000)) == []
    assert watched.deadline is None


def test_limit_without_measurement_is_not_reached() -> None:
    watched = watch()
    assert watched.on_measurement(drawn(101, 0, None)) == []
    assert phases(watched.on_measurement(drawn(102, 20_000, None, grid=7999))) == ["reached"]


def test_own_generation_is_not_grid_draw() -> None:
    assert phases(watch().on_measurement(drawn(101, 20_000, 0, grid=-500))) == ["reached"]
    assert phases(watch().on_measurement(drawn(101, 5000, 0, grid=60_000))) == ["reached"]


def test_limit_not_reached_in_time_failed_and_may_still_be_reached() -> None:
    watched = watch()
    assert watched.deadline == 100 + PATIENCE_S
    assert watched.pass_time(100 + PATIENCE_S - 1) == []
    [failed] = watched.pass_time(100 + PATIENCE_S)
    assert (failed.phase, failed.measurement) == ("failed", None)
    assert watched.pass_time(1000) == []
    assert phases(watched.on_measurement(drawn(2000, 5000))) == ["reached"]


def test_limit_effect_late_measurement_is_failure_then_reached() -> None:
    assert phases(watch().on_measurement(drawn(500, 5000))) == ["failed", "reached"]


def test_draw_above_reached_limit_has_grace_period() -> None:
    watched = watch()
    watched.on_measurement(drawn(101, 5000))
    assert watched.on_measurement(drawn(102, 9000)) == []
    assert watched.on_measurement(drawn(105, 5000)) == []
    assert watched.on_measurement(drawn(110, 9000)) == []
    [exceeded] = watched.on_measurement(drawn(110 + EXCEEDED_S, 9500))
    assert (exceeded.phase, exceeded.most_w) == ("exceeded", 9500)
    assert watched.on_measurement(drawn(140, 9500)) == []
    assert phases(watched.on_measurement(drawn(141, 5000))) == ["kept"]


def test_limit_effect_draw_is_recorded_at_intervals_with_maximum() -> None:
    watched = watch()
    watched.on_measurement(drawn(101, 5000))
    watched.on_measurement(drawn(200, 7900))
    [during] = watched.on_measurement(drawn(101 + APART_S, 6000))
    assert (during.phase, during.most_w) == ("during", 7900)
    watched.on_measurement(drawn(500, 6100))
    [during] = watched.on_measurement(drawn(101 + 2 * APART_S, 5000))
    assert during.most_w == 6100


def test_disobedient_devices_are_named() -> None:
    direct = EffectiveLimit(
        evses={ref: LimitBound(watts=4200, source="dso") for ref in (ONE, TWO)}, sources=("dso",)
    )
    watched = watch(direct)
    assert watched.on_measurement(drawn(101, 4200, 11_000)) == []
    assert watched.on_measurement(drawn(102, 4200, None)) == []
    watched.on_measurement(drawn(103, 4200, 11_000))
    [failed] = watched.pass_time(100 + PATIENCE_S)
    assert failed.disobedient == (TWO,)
    assert phases(watched.on_measurement(drawn(200, 4200, 4100))) == ["reached"]
