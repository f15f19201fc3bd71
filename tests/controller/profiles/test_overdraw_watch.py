"""Stations that accept limits and draw more."""

from __future__ import annotations

from controller.profiles.overdraw_watch import OVERDRAW_S, RETRY_S, OverdrawWatch

THREE = (32.0, 32.0, None)


def test_overdraw_watch_draw_above_accepted_limit_is_reported_once_hour() -> None:
    watch = OverdrawWatch()
    found = [watch.on_draw(1, THREE, 16.0, float(second)) for second in range(0, 7000, 10)]
    reported = [index * 10 for index, drawn in enumerate(found) if drawn is not None]
    assert reported[0] == OVERDRAW_S
    assert len(reported) == 2
    assert reported[1] - reported[0] >= RETRY_S
    assert found[int(OVERDRAW_S / 10)] == 32.0


def test_overdraw_watch_draw_within_tolerance_is_not_reported() -> None:
    watch = OverdrawWatch()
    assert all(watch.on_draw(1, (17.0, 16.5, 0.0), 16.0, second * 10.0) is None for second in range(50))


def test_overdraw_watch_draw_that_follows_limit_late_is_not_reported() -> None:
    watch = OverdrawWatch()
    for second in range(20):
        assert watch.on_draw(1, THREE, 16.0, float(second)) is None
    assert watch.on_draw(1, (16.0, 16.0, 16.0), 16.0, 20.0) is None
    assert watch.on_draw(1, THREE, 16.0, 40.0) is None


def test_overdraw_watch_draw_without_limit_in_force_is_not_reported() -> None:
    watch = OverdrawWatch()
    assert all(watch.on_draw(1, THREE, None, second * 10.0) is None for second in range(50))
