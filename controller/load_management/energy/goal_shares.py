"""Power that a car with a departure goal can expect beside the others: its part of the room for cars.

All cars with goals that charge at the same time share the room of each phase and of each limit in W equally,
until they have what they need. So a car has its energy once it and each other have received as much, or
all that the other needs: what it needs, divided by this time, is what it receives on average.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import Collection, Generator, Mapping, Sequence
from itertools import accumulate
from typing import NamedTuple

from controller.load_management.events import CarRoom, EvseUse
from controller.load_management.site_tree import EvseNode, PhaseFlags, SiteTree
from controller.model.observations import EvseRef


class GoalShare(NamedTuple):
    """Power that a car can expect, as it uses its phases by all that is known, and on one phase alone (W)."""

    share_w: float
    one_phase_w: float


UNBOUNDED = GoalShare(math.inf, math.inf)
LONGEST_PLAN_S = 8 * 86_400.0
"""Longest time until a departure that is planned (s)."""
LEAST_PART = 0.1
"""Part of its greatest power that a car is expected to receive at least, where it can expect as much."""
COST_CLAIM = 2
"""Work of finding the claim of one car on a room (about us)."""


class _Queue:
    """Energies (Wh) that cars need of one room."""

    def __init__(self, needs_wh: Collection[float]) -> None:
        self._needs_wh = sorted(needs_wh)
        self._sums_wh = [0.0, *accumulate(self._needs_wh)]

    def before_wh(self, need_wh: float) -> float:
        """Return what all have received when each has this much, or all that it needs."""
        number = bisect_right(self._needs_wh, need_wh)
        return self._sums_wh[number] + need_wh * (len(self._needs_wh) - number)

    def expected_part(self, need_wh: float, part: float) -> float:
        """Return the part of the room that a car can expect which needs `part` of its energy from it."""
        return need_wh / max(need_wh * part, self.before_wh(need_wh * part))


class _Claim(NamedTuple):
    """Part of a room that a car can expect, if the room is enough for its minimum (W)."""

    ref: EvseRef
    least_w: float
    part: float


class _Room(NamedTuple):
    """Claims on a room, after the minima of cars without a goal (W).

    `ones`: those of cars that would use one phase alone.
    """

    others_w: float
    claims: list[_Claim]
    ones: list[_Claim]


class GoalShares:
    """Parts of all rooms that cars with goals can expect of energies that are left, whatever the rooms are.

    Cars without a goal get their minimum first. A room below the minimum of a car gives it nothing. The parts
    of a circuit are found when its room is first looked at.
    """

    def __init__(
        self, site: SiteTree, uses: Mapping[EvseRef, EvseUse], needs_wh: Mapping[EvseRef, float]
    ) -> None:
        self._site, self._uses, self._needs_wh = site, uses, needs_wh
        self._rooms: dict[str, tuple[_Room, ...]] = {}
        """Of circuits: their three phases, and all together; none where no car has a goal."""

    def find(self, rooms: Mapping[str, CarRoom]) -> Generator[int, None, dict[EvseRef, GoalShare]]:
        """Return what each car with a goal can expect of these rooms; yields the cost of its steps."""
        shares_w = dict.fromkeys(self._needs_wh, math.inf)
        ones_w = dict.fromkeys(self._needs_wh, math.inf)
        for circuit, room in rooms.items():
            claimed = yield from self._find_rooms(circuit)
            for room_w, found in zip((*room.phases_w, room.sum_w), claimed, strict=False):
                yield len(found.claims)
                left_w = max(0.0, room_w - found.others_w)
                for claims, watts in ((found.claims, shares_w), (found.ones, ones_w)):
                    for ref, least_w, part in claims:
                        share_w = left_w * part if room_w >= least_w else 0.0
                        if share_w < watts[ref]:
                            watts[ref] = share_w
        return {ref: GoalShare(shares_w[ref], ones_w[ref]) for ref in self._needs_wh}

    def _find_rooms(self, circuit: str) -> Generator[int, None, tuple[_Room, ...]]:
        if circuit not in self._rooms:
            uses, needs_wh = self._uses, self._needs_wh
            below = [evse for evse in self._site.below[circuit] if evse.ref in uses]
            cars = [(evse, uses[evse.ref], needs_wh[evse.ref]) for evse in below if evse.ref in needs_wh]
            others = [uses[evse.ref] for evse in below if evse.ref not in needs_wh]
            others = [use for use in others if use.has_demand]
            found: list[_Room] = []
            for phase in range(4) if cars else ():
                yield len(cars) * COST_CLAIM
                found.append(_find_room(cars, others, phase))
            self._rooms[circuit] = tuple(found)
        return self._rooms[circuit]


def _find_room(
    cars: Sequence[tuple[EvseNode, EvseUse, float]], others: Sequence[EvseUse], phase: int
) -> _Room:
    """Return the claims of cars that need energies (Wh) on a phase (0 to 2), or on all together (3)."""
    needed = [(evse, use, need_wh, _part(use.phases, phase)) for evse, use, need_wh in cars]
    queue = _Queue([need_wh * part for _, use, need_wh, part in needed if use.has_demand])
    room = _Room(sum(use.least_w * _part(use.phases, phase) for use in others), [], [])
    for evse, use, need_wh, part in needed:
        if part:
            room.claims.append(_Claim(evse.ref, use.least_w * part, queue.expected_part(need_wh, part)))
        if one_part := _part(evse.one_phase, phase):
            least_w = use.least_w / max(1, sum(use.phases)) * one_part
            room.ones.append(_Claim(evse.ref, least_w, queue.expected_part(need_wh, one_part)))
    return room


def _part(phases: PhaseFlags, phase: int) -> float:
    """Return the part of a car's power that flows on a phase (0 to 2), or on all together (3)."""
    if phase == len(phases):
        return 1.0
    return phases[phase] / max(1, sum(phases))
