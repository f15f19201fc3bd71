"""Pmin of section 14a EnWG: the power that the law leaves to the controllable devices, and their grid draw.

The grid operator limits what the controllable devices together draw from the grid, and not below a minimum
(BNetzA BK6-22-300, Annex 1). What own generation supplies at the same moment comes on top.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from controller.model.section_14a import DEVICE_W

Counting = Literal["evse", "circuit", "one"]
"""Unit of one device: each EVSE, all EVSEs of a circuit, or all together. The grid operator decides it:
several charging points behind one meter may count as one."""


SIMULTANEITY = {2: 0.80, 3: 0.75, 4: 0.70, 5: 0.65, 6: 0.60, 7: 0.55, 8: 0.50, 9: 0.45}
"""Simultaneity factor by the number of devices; the last holds for that number and more.

All but the last are from secondary sources alone: the decision's text was not at hand.
"""


def minimum_w(devices: int) -> float:
    """Return the minimum of `devices` together behind an energy management system (W); 0 without any."""
    if devices <= 1:
        return max(0, devices) * DEVICE_W
    return DEVICE_W + (devices - 1) * SIMULTANEITY[min(devices, max(SIMULTANEITY))] * DEVICE_W


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
