"""Power that cars with departure goals can expect in each quarter hour to come.

It is their share of the room for cars beside the building as it is now, under the limits, targets and modes
that the calendar sets then. The shares under the same entries are found once. In a quarter hour in which
entries begin or end, a car can expect the mean of its parts. In surplus mode it can expect nothing for sure.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from typing import NamedTuple

from controller.load_management.energy.active_calendar import ActiveCalendar, find_surplus_modes
from controller.load_management.energy.energy_settings import CalendarEntry
from controller.load_management.energy.goal_shares import LEAST_PART, GoalShare, find_shares
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.load_management.events import CarRoom, EvseUse
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef

NOTHING = GoalShare(0.0, 0.0)


class _Requirements(NamedTuple):
    """Entries that hold in a part of a quarter hour, and the quarter's targets by circuit (W)."""

    entries: tuple[CalendarEntry, ...]
    targets_w: tuple[tuple[str, float], ...]


class CarOutlook:
    """Shares of cars that need energies (`needs_wh`), by quarter hour (POSIX s / 900).

    `uses` has all EVSEs that share the rooms, `rooms` those of the circuits by their own limits.
    """

    def __init__(
        self,
        site: SiteTree,
        calendar: ActiveCalendar,
        peaks: PeakBudgets,
        uses: Mapping[EvseRef, EvseUse],
        needs_wh: Mapping[EvseRef, float],
        rooms: Mapping[str, CarRoom],
    ) -> None:
        self._site, self._calendar, self._peaks = site, calendar, peaks
        self._uses, self._needs_wh, self._rooms = uses, needs_wh, rooms
        self._parts: dict[int, tuple[tuple[float, _Requirements], ...]] = {}
        self._shares: dict[_Requirements, dict[EvseRef, GoalShare]] = {}

    def shares(self, ref: EvseRef, quarters: Collection[int]) -> list[GoalShare]:
        """Return what a car can expect in each of these quarter hours."""
        parts = [self._parts_of(quarter) for quarter in quarters]
        means = {each: self._mean(ref, each) for each in set(parts)}
        return [means[each] for each in parts]

    def _parts_of(self, quarter: int) -> tuple[tuple[float, _Requirements], ...]:
        if quarter not in self._parts:
            known_w = (
                (c, self._peaks.target_w(c, quarter * QUARTER_S)) for c in sorted(self._peaks.circuits)
            )
            targets_w = tuple((circuit, watts) for circuit, watts in known_w if watts is not None)
            self._parts[quarter] = tuple(
                (each.part, _Requirements(each.entries, targets_w))
                for each in self._calendar.parts_of(quarter)
            )
        return self._parts[quarter]

    def _mean(self, ref: EvseRef, parts: tuple[tuple[float, _Requirements], ...]) -> GoalShare:
        share_w = one_phase_w = 0.0
        most_w = self._uses[ref].most_w
        for part, requirements in parts:
            if requirements not in self._shares:
                self._shares[requirements] = self._find(requirements)
            found = self._shares[requirements].get(ref, NOTHING)
            share_w += part * min(most_w, found.share_w)
            one_phase_w += part * min(most_w, found.one_phase_w)
        return GoalShare(share_w, one_phase_w)

    def _find(self, requirements: _Requirements) -> dict[EvseRef, GoalShare]:
        """Return the shares of the cars that are not in surplus mode."""
        modes = find_surplus_modes(requirements.entries)
        in_surplus = {each.ref for each in self._site.evses if modes.get(each.ref, each.surplus)}
        shares = find_shares(
            self._site,
            {ref: use for ref, use in self._uses.items() if ref not in in_surplus},
            {ref: need_wh for ref, need_wh in self._needs_wh.items() if ref not in in_surplus},
            self._lowered(requirements),
        )
        if requirements.entries:
            return shares
        # Without an entry, only the building can leave less: that may change.
        return {
            ref: share._replace(share_w=max(share.share_w, LEAST_PART * self._uses[ref].most_w))
            for ref, share in shares.items()
        }

    def _lowered(self, requirements: _Requirements) -> dict[str, CarRoom]:
        limits_a: dict[str, float] = {}
        limits_w = dict(requirements.targets_w)
        for each in requirements.entries:
            if each.circuit is not None and each.limit_a is not None:
                limits_a[each.circuit] = min(each.limit_a, limits_a.get(each.circuit, math.inf))
            if each.circuit is not None and each.limit_w is not None:
                limits_w[each.circuit] = min(each.limit_w, limits_w.get(each.circuit, math.inf))
        return {
            circuit: room.lowered(limits_a.get(circuit, math.inf), limits_w.get(circuit, math.inf))
            for circuit, room in self._rooms.items()
        }
