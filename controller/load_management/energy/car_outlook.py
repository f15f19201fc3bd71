"""Power that cars with departure goals can expect in each quarter hour to come.

It is their share of the room for cars beside the building as it is now, under the limits, targets and modes
that the calendar sets then. The shares under the same entries are found once. In a quarter hour in which
entries begin or end, a car can expect the mean of its parts. In surplus mode it can expect nothing for sure.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Mapping
from itertools import chain
from typing import NamedTuple

from controller.load_management.energy.active_calendar import (
    find_surplus_modes,
    lowest_limit_a,
    lowest_limit_w,
)
from controller.load_management.energy.energy_settings import CalendarEntry
from controller.load_management.energy.goal_shares import LEAST_PART, LONGEST_PLAN_S, GoalShare, GoalShares
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.load_management.events import CarRoom, EvseUse
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef

NOTHING = GoalShare(0.0, 0.0)
Bound = tuple[float, float, float]
"""Begin and end of a span of time (POSIX s), and the most power in it (W)."""
COST_QUARTER = 10
"""Work of finding what holds in a quarter hour (about us)."""


class _Requirements(NamedTuple):
    """Entries that hold in a part of a quarter hour, and the quarter's targets by circuit (W)."""

    entries: tuple[CalendarEntry, ...]
    targets_w: tuple[tuple[str, float], ...]


_Parts = tuple[tuple[float, _Requirements], ...]
"""Parts of a quarter hour (0 to 1), and what holds in each."""


class CarOutlook:
    """Shares of cars with departure goals, by quarter hour (POSIX s / 900). `needs_wh`: what they need (Wh).

    `uses` has all EVSEs that share the rooms, `rooms` those of the circuits by their own limits. The work of
    a large site is done in steps: their costs are yielded.
    """

    def __init__(
        self,
        site: SiteTree,
        peaks: PeakBudgets,
        uses: Mapping[EvseRef, EvseUse],
        rooms: Mapping[str, CarRoom],
    ) -> None:
        self._site, self._peaks = site, peaks
        self._uses, self._rooms = uses, rooms
        self.needs_wh = {
            ref: use.left_wh
            for ref, use in uses.items()
            if use.left_wh is not None and use.left_wh > 0 and (use.leaves_in_s or 0.0) > 0
        }
        self._parts: dict[int, _Parts] = {}
        self._kinds: dict[range, tuple[list[_Parts], list[int]]] = {}
        """Of quarter hours: their parts, each kind once, and the number of its kind for each."""
        self._shares: dict[_Requirements, dict[EvseRef, GoalShare]] = {}
        self._goal_shares: dict[frozenset[EvseRef], GoalShares] = {}
        """Parts of all rooms that cars can expect while these EVSEs are in surplus mode."""

    def find(self, quarters: range) -> Iterator[int]:
        """Find what all cars can expect in these quarter hours: `shares` returns it."""
        if quarters not in self._kinds:
            yield len(quarters) * COST_QUARTER
            parts = [self._parts_of(quarter) for quarter in quarters]
            kinds = list(dict.fromkeys(parts))
            for _, requirements in chain.from_iterable(kinds):
                yield from self._find_shares(requirements)
            self._kinds[quarters] = kinds, [kinds.index(each) for each in parts]

    def shares(self, ref: EvseRef, quarters: range) -> list[GoalShare]:
        """Return what a car can expect in each of these quarter hours, for which `find` has been called."""
        kinds, numbers = self._kinds[quarters]
        means = [self._mean(ref, each) for each in kinds]
        return [means[number] for number in numbers]

    def find_bounds(
        self, leaves_at: Mapping[EvseRef, float], utc: float
    ) -> Generator[int, None, dict[EvseRef, list[Bound]]]:
        """Return what each of these cars can expect while entries hold, from `utc` until it leaves."""
        last_at = min(max(leaves_at.values(), default=utc), utc + LONGEST_PLAN_S)
        yield math.ceil((last_at - utc) / QUARTER_S) * COST_QUARTER
        spans = [each for each in self._spans(utc, last_at) if each[2].entries]
        for *_, requirements in spans:
            yield from self._find_shares(requirements)
        return {
            ref: [
                (begins_at, min(ends_at, moment), self._share(ref, requirements).share_w)
                for begins_at, ends_at, requirements in spans
                if begins_at < moment
            ]
            for ref, moment in leaves_at.items()
        }

    def _spans(self, utc: float, last_at: float) -> list[tuple[float, float, _Requirements]]:
        """Return the spans of equal requirements from `utc` until `last_at` (POSIX s), in their order."""
        found: list[tuple[float, float, _Requirements]] = []
        for quarter in range(math.floor(utc / QUARTER_S), math.ceil(last_at / QUARTER_S)):
            begins_at = quarter * QUARTER_S
            for part, requirements in self._parts_of(quarter):
                ends_at = begins_at + part * QUARTER_S
                if found and found[-1][2] == requirements:
                    found[-1] = found[-1][0], ends_at, requirements
                else:
                    found.append((begins_at, ends_at, requirements))
                begins_at = ends_at
        return found

    def _parts_of(self, quarter: int) -> _Parts:
        if quarter not in self._parts:
            known_w = (
                (c, self._peaks.target_w(c, quarter * QUARTER_S)) for c in sorted(self._peaks.circuits)
            )
            targets_w = tuple((circuit, watts) for circuit, watts in known_w if watts is not None)
            self._parts[quarter] = tuple(
                (each.part, _Requirements(each.entries, targets_w))
                for each in self._peaks.calendar.parts_of(quarter)
            )
        return self._parts[quarter]

    def _mean(self, ref: EvseRef, parts: _Parts) -> GoalShare:
        share_w = one_phase_w = 0.0
        most_w = self._uses[ref].most_w
        for part, requirements in parts:
            found = self._share(ref, requirements)
            share_w += part * min(most_w, found.share_w)
            one_phase_w += part * min(most_w, found.one_phase_w)
        return GoalShare(share_w, one_phase_w)

    def _share(self, ref: EvseRef, requirements: _Requirements) -> GoalShare:
        return self._shares[requirements].get(ref, NOTHING)

    def _find_shares(self, requirements: _Requirements) -> Iterator[int]:
        """Find the shares of the cars that are not in surplus mode."""
        if requirements in self._shares:
            return
        modes = find_surplus_modes(requirements.entries)
        in_surplus = frozenset(each.ref for each in self._site.evses if modes.get(each.ref, each.surplus))
        if in_surplus not in self._goal_shares:
            self._goal_shares[in_surplus] = GoalShares(
                self._site,
                {ref: use for ref, use in self._uses.items() if ref not in in_surplus},
                {ref: need_wh for ref, need_wh in self.needs_wh.items() if ref not in in_surplus},
            )
        shares = yield from self._goal_shares[in_surplus].find(self._lowered(requirements))
        if not requirements.entries:
            # Without an entry, only the building can leave less: that may change.
            for ref, share in shares.items():
                least_w = LEAST_PART * self._uses[ref].most_w
                if share.share_w < least_w:
                    shares[ref] = share._replace(share_w=least_w)
        self._shares[requirements] = shares

    def _lowered(self, requirements: _Requirements) -> dict[str, CarRoom]:
        """Return the rooms under the limits of these entries, and under the targets."""
        entries, targets_w = requirements.entries, dict(requirements.targets_w)
        return {
            circuit: room.lowered(
                lowest_limit_a(entries, circuit),
                min(targets_w.get(circuit, math.inf), lowest_limit_w(entries, circuit)),
            )
            for circuit, room in self._rooms.items()
        }
