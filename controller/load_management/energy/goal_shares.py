"""Power that a car with a departure goal can expect beside the others: its part of the room for cars.

All cars with goals that charge at the same time share the room of each phase and of each limit in W equally,
until they have what they need. So a car has its energy once it and each other have received as much, or
all that the other needs: what it needs, divided by this time, is what it receives on average.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Mapping
from itertools import accumulate
from typing import NamedTuple

from controller.load_management.events import CarRoom, EvseUse
from controller.load_management.site_tree import PhaseFlags, SiteTree
from controller.model.observations import EvseRef


class GoalShare(NamedTuple):
    """Power that a car can expect, as it uses its phases by all that is known, and on one phase alone (W)."""

    share_w: float
    one_phase_w: float


UNBOUNDED = GoalShare(math.inf, math.inf)
LEAST_PART = 0.1
"""Part of its greatest power that a car is expected to receive at least, where it can expect as much."""


class _Queue:
    """Energies (Wh) that cars need of one room."""

    def __init__(self, needs_wh: Collection[float]) -> None:
        self._needs_wh = sorted(needs_wh)
        self._sums_wh = [0.0, *accumulate(self._needs_wh)]

    def before_wh(self, need_wh: float) -> float:
        """Return what all have received when each has this much, or all that it needs."""
        number = bisect_right(self._needs_wh, need_wh)
        return self._sums_wh[number] + need_wh * (len(self._needs_wh) - number)


def find_shares(
    site: SiteTree,
    uses: Mapping[EvseRef, EvseUse],
    needs_wh: Mapping[EvseRef, float],
    rooms: Mapping[str, CarRoom],
) -> dict[EvseRef, GoalShare]:
    """Return what each car with a goal can expect, of energies that are left.

    Cars without a goal get their minimum first. A room below the minimum of a car gives it nothing.
    """
    shares = dict.fromkeys(needs_wh, UNBOUNDED)
    for circuit, room in rooms.items():
        below = [evse for evse in site.below[circuit] if evse.ref in uses]
        cars = [evse for evse in below if evse.ref in needs_wh]
        if not cars:
            continue
        others = [uses[e.ref] for e in below if e.ref not in needs_wh and uses[e.ref].has_demand]
        for phase, room_w in enumerate((*room.phases_w, room.sum_w)):
            left_w = max(0.0, room_w - sum(use.least_w * _part(use.phases, phase) for use in others))
            queue = _Queue(
                [
                    needs_wh[evse.ref] * _part(uses[evse.ref].phases, phase)
                    for evse in cars
                    if uses[evse.ref].has_demand
                ]
            )
            for evse in cars:
                need_wh, before = needs_wh[evse.ref], shares[evse.ref]
                use = uses[evse.ref]
                part, one_part = _part(use.phases, phase), _part(evse.one_phase, phase)
                least_w = use.least_w * part
                least_one_w = use.least_w / max(1, sum(use.phases)) * one_part
                shares[evse.ref] = GoalShare(
                    min(before.share_w, _share_w(queue, need_wh, part, left_w if room_w >= least_w else 0.0)),
                    min(
                        before.one_phase_w,
                        _share_w(queue, need_wh, one_part, left_w if room_w >= least_one_w else 0.0),
                    ),
                )
    return shares


def _share_w(queue: _Queue, need_wh: float, part: float, room_w: float) -> float:
    """Return what a car can expect (W) that needs a part of its energy from this room."""
    if part == 0:
        return math.inf
    return room_w * need_wh / max(need_wh * part, queue.before_wh(need_wh * part))


def _part(phases: PhaseFlags, phase: int) -> float:
    """Return the part of a car's power that flows on a phase (0 to 2), or on all together (3)."""
    if phase == len(phases):
        return 1.0
    return phases[phase] / max(1, sum(phases))
