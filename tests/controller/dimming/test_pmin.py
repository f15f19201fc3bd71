"""The figures, by vectors worked out by hand."""

from __future__ import annotations

import pytest

from controller.dimming.pmin import (
    SIMULTANEITY,
    Counting,
    device_count,
    grid_draw_w,
    minimum_w,
)


@pytest.mark.parametrize(
    ("devices", "minimum"),
    [
        (0, 0),
        (1, 4200),
        (2, 7560),
        (3, 10_500),
        (4, 13_020),
        (5, 15_120),
        (6, 16_800),
        (7, 18_060),
        (8, 18_900),
        (9, 19_320),
        (20, 40_110),
    ],
)
def test_pmin_minimum_behind_energy_management_system(devices: int, minimum: float) -> None:
    assert minimum_w(devices) == pytest.approx(minimum)


def test_minimum_rises_with_each_device() -> None:
    minima = [minimum_w(devices) for devices in range(40)]
    assert minima == sorted(minima)
    assert sorted(SIMULTANEITY) == list(range(2, 10))


@pytest.mark.parametrize(("counting", "count"), [("evse", 4), ("circuit", 2), ("one", 1)])
def test_devices_are_counted_as_configured(counting: Counting, count: int) -> None:
    assert device_count(["a", "a", "b", "a"], counting) == count
    assert device_count([], counting) == 0


@pytest.mark.parametrize(
    ("devices_w", "grid_w", "drawn_w"),
    [
        (10_000, 12_000, 10_000),  # the building draws too
        (10_000, 4000, 4000),  # 6 kW come from the roof
        (10_000, -2000, 0),  # all of it does, and the site feeds in
        (10_000, None, 10_000),  # without a meter nothing of it is proven
        (None, 4000, 4000),  # a device that reports nothing draws what the grid delivers, at most
        (None, -2000, 0),
        (None, None, None),
        (0, 3000, 0),
    ],
)
def test_pmin_limited_draw_is_draw_from_grid(
    devices_w: float | None, grid_w: float | None, drawn_w: float | None
) -> None:
    assert grid_draw_w(devices_w, grid_w) == drawn_w
