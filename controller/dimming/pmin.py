"""Figures of section 14a EnWG: the minimum that is left to the devices.

The grid operator limits what the steerable consumption devices together draw from the grid, and not below
a minimum (BNetzA BK6-22-300, Annex 1). What own generation supplies at the same moment comes on top. The
decision's text was not at hand: each figure states how well it is founded, and stands here alone.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Sequence
from typing import Literal

import msgspec

Counting = Literal["evse", "circuit", "one"]
"""Unit of one device: each EVSE, all EVSEs of a circuit, or all together. The grid operator decides it:
several charging points behind one meter may count as one."""


class Founded(enum.Enum):
    """Quality of the source of a figure."""

    SEVERAL = "in a primary source, or in several secondary ones"
    ONE = "in one secondary source"
    UNCONFIRMED = "to be confirmed in the decision's text"


class Figure(msgspec.Struct, frozen=True):
    """A number and the quality of its source."""

    value: float
    founded: Founded


DEVICE_W = Figure(4200.0, Founded.SEVERAL)
"""Minimum of each device under direct control; devices of at most this power are not controllable."""

HEAT_SHARE = Figure(0.4, Founded.UNCONFIRMED)
"""Of their rated power, heat pumps and cooling above `HEAT_ABOVE_W` keep this."""

HEAT_ABOVE_W = Figure(11_000.0, Founded.UNCONFIRMED)

SIMULTANEITY = {
    2: Figure(0.80, Founded.UNCONFIRMED),
    3: Figure(0.75, Founded.UNCONFIRMED),
    4: Figure(0.70, Founded.UNCONFIRMED),
    5: Figure(0.65, Founded.UNCONFIRMED),
    6: Figure(0.60, Founded.UNCONFIRMED),
    7: Figure(0.55, Founded.UNCONFIRMED),
    8: Figure(0.50, Founded.UNCONFIRMED),
    9: Figure(0.45, Founded.SEVERAL),
}
"""By the number of devices; the last holds for that number and more."""


def minimum_w(devices: int, heat_w: Sequence[float] = ()) -> float:
    """Return the minimum of `devices` together behind an energy management system (W).

    `heat_w` are the rated powers (W) of the heat pumps and cooling devices among them. No device: 0.
    """
    if devices <= 0:
        return 0.0
    large_w = math.fsum(each for each in heat_w if each > HEAT_ABOVE_W.value)
    first_w = max(HEAT_SHARE.value * large_w, DEVICE_W.value)
    others = devices - 1
    factor = SIMULTANEITY[min(devices, max(SIMULTANEITY))].value if others else 0.0
    return first_w + others * factor * DEVICE_W.value


def device_minimum_w(heat_w: float | None = None) -> float:
    """Return the minimum of one device under direct control (W). `heat_w`: its power if it heats or cools."""
    if heat_w is None or heat_w <= HEAT_ABOVE_W.value:
        return DEVICE_W.value
    return HEAT_SHARE.value * heat_w


def device_count(circuits: Sequence[str], counting: Counting) -> int:
    """Return the number of devices for controllable EVSEs on these `circuits`."""
    if counting == "evse":
        return len(circuits)
    return len(set(circuits)) if counting == "circuit" else min(len(circuits), 1)


def grid_draw_w(devices_w: float | None, grid_w: float | None) -> float | None:
    """Return the draw of the devices from the grid (W), which is limited; None where it is unknown.

    `devices_w` is what they draw in all, None where one of them does not report; `grid_w` is the grid
    connection's meter, import positive, None without one. What the devices draw and the grid does not
    deliver comes from own generation; the meter proves it, for it counts everybody else's draw as well.
    """
    if grid_w is None:
        return devices_w
    delivered_w = max(0.0, grid_w)
    return delivered_w if devices_w is None else min(devices_w, delivered_w)
