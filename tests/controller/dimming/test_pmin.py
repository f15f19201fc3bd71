"""The figures, by vectors worked out by hand."""

from __future__ import annotations

import pytest

from controller.dimming.pmin import (
    SIMULTANEITY,
    Counting,
    device_count,
    device_minimum_w,
    grid_draw_w,
    minimum_w,
)


@pytest.mark.parametrize(
    ("devices", "heat_w", "minimum"),
    [
        (0, [], 0),
        (1, [], 4200),
        (2, [], 7560),
        (3, [], 10_500),
        (4, [], 13_020),
        (5, [], 15_120),
        (6, [], 16_800),
        (7, [], 18_060),
        (8, [], 18_900),
        (9, [], 19_320),
        (20, [], 40_110),
        # Heat pumps above 11 kW keep 0.4 of their power in place of the first 4.2 kW.
        (1, [20_000], 8000),
        (1, [11_000], 4200),  # not above it
        (2, [20_000], 11_360),
        (3, [12_000, 15_000], 17_100),  # 10 800 + 2 x 0.75 x 4200
        (9, [11_500], 19_720),  # 4600 + 8 x 0.45 x 4200
        (20, [30_000, 8000], 47_910),  # 12 000 + 19 x 0.45 x 4200
    ],
)
def test_pmin_minimum_behind_energy_management_system(
    devices: int, heat_w: list[float], minimum: float
) -> None:
    assert minimum_w(devices, heat_w) == pytest.approx(minimum)


@pytest.mark.parametrize(("heat_w", "minimum"), [(None, 4200), (9000, 4200), (11_000, 4200), (20_000, 8000)])
def test_minimum_under_direct_control(heat_w: float | None, minimum: float) -> None:
    assert device_minimum_w(heat_w) == minimum


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
