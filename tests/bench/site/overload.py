"""What an overload costs: from the reading that shows it to the last station's cut, in the site's control.

The stations are then sent their cuts at once; how fast they obey is theirs, and no part of this.
"""

from __future__ import annotations

import statistics
import time

from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    StationObserved,
    StationUp,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import EvseRef, EvseState, StateSeen
from drivers.reading import MeterState, Quality, Reading

SIZES = (10, 100, 1_000)
REPEATS = 5


def bench() -> list[dict[str, object]]:
    """One row a size: the median and the worst of several overloads, in ms, and how many were cut."""
    rows: list[dict[str, object]] = []
    for size in SIZES:
        runs = [_overload(size) for _ in range(REPEATS)]
        times = [milliseconds for milliseconds, _ in runs]
        rows.append(
            {
                "what": "reading above the limit to the last cut",
                "evses": size,
                "cut": runs[0][1],
                "median_ms": round(statistics.median(times), 2),
                "max_ms": round(max(times), 2),
            }
        )
    return rows


def _overload(size: int) -> tuple[float, int]:
    """How long one overload takes (ms), and how many stations it cuts."""
    limit_a = 12.0 * size
    control = SiteControl(_site(size, limit_a), SiteSettings(), 0.0)
    now = _charging(control, size, limit_a)
    begin = time.perf_counter()
    cuts = control.handle(_metered(limit_a * 1.3, now), now)
    return (time.perf_counter() - begin) * 1e3, sum(cut.urgent for cut in cuts)


def _site(size: int, limit_a: float) -> SiteTree:
    circuit = CircuitNode(id="grid", parent=None, limit_a=(limit_a,) * 3, meter="grid")
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"CS{index:04}", 1),
            circuit="grid",
            phases=(0, 1, 2),
            min_a=6.0,
            max_a=32.0,
            fallback_a=6.0,
        )
        for index in range(size)
    )
    return SiteTree(circuits=(circuit,), evses=evses)


def _charging(control: SiteControl, size: int, limit_a: float) -> float:
    """All stations there, charging with what they were given; the time by then."""
    now = 0.0
    for index in range(size):
        _answer(control, control.handle(StationUp(f"CS{index:04}"), now), now)
        control.handle(StationObserved(f"CS{index:04}", StateSeen(1, EvseState.CHARGING)), now)
    for _ in range(60):
        now += 1.0
        control.handle(_metered(limit_a * 0.2, now), now)
        _answer(control, control.handle(ControlTick(), now), now)
    return now


def _answer(control: SiteControl, limits: list[SetLimit], now: float) -> None:
    for limit in limits:
        control.handle(LimitAnswered(limit.token, True), now)


def _metered(amps: float, now: float) -> MeterUpdated:
    reading = Reading(time=now, current_a=(amps, amps, amps))
    return MeterUpdated(MeterState(meter="grid", quality=Quality.GOOD, reading=reading))
