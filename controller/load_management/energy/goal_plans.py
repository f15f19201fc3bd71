"""Plans of cars with departure goals: waits for lower prices, and bounds by entries of the calendar.

Bounds are found anew in each quarter hour, and when departures have changed, once a minute at most. Between
these, each goal follows by them what its car needs.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Mapping

from controller.load_management.energy.active_calendar import MINUTE_S, QUARTER_MINUTES
from controller.load_management.energy.car_outlook import CarOutlook
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.price_waits import PriceWaits, Wait
from controller.load_management.events import NO_DEPARTURES, CarRoom, EvseUse, GoalBound
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef


class GoalPlans:
    """Plans of all cars with goals, and waits of those without.

    `bounds`: the most that a car with a goal can expect while entries of the calendar hold, from now on.
    """

    def __init__(self, site: SiteTree, settings: EnergySettings, peaks: PeakBudgets) -> None:
        self._peaks = peaks
        self.waits = PriceWaits(site, settings, peaks.calendar)
        self.replace_settings(site, settings)

    def replace_settings(self, site: SiteTree, settings: EnergySettings) -> None:
        """Apply another site, calendar or settings; the prices stay, and bounds are found anew."""
        self._site = site
        self.waits.replace_settings(site, settings)
        self._found_in: int | None = None
        self._departures = NO_DEPARTURES
        self.bounds: dict[EvseRef, tuple[GoalBound, ...]] = {}

    def are_due(self, departures: Mapping[EvseRef, float], utc: float | None) -> bool:
        """Return True if the bounds of cars that leave at these times (s, monotonic) are to be found anew."""
        if utc is None or not self._peaks.calendar.limits_power or not (departures or self.bounds):
            return False
        minute = math.floor(utc / MINUTE_S)
        if self._found_in is None or minute // QUARTER_MINUTES != self._found_in // QUARTER_MINUTES:
            return True
        return minute != self._found_in and departures != self._departures

    def update(
        self,
        uses: Mapping[EvseRef, EvseUse],
        utc: float | None,
        now: float,
        rooms: Mapping[str, CarRoom],
        departures: Mapping[EvseRef, float],
    ) -> Generator[int, None, dict[EvseRef, Wait]]:
        """Find the bounds where they are due, of the `uses` of all EVSEs, and return who waits.

        Yields the cost of its steps.
        """
        outlook = CarOutlook(self._site, self._peaks, uses, rooms)
        if utc is not None and self.are_due(departures, utc):
            self.bounds = yield from self._find_bounds(outlook, uses, departures, utc, now)
            self._found_in, self._departures = math.floor(utc / MINUTE_S), dict(departures)
        return (yield from self.waits.update(uses, utc, outlook))

    def _find_bounds(
        self,
        outlook: CarOutlook,
        uses: Mapping[EvseRef, EvseUse],
        departures: Mapping[EvseRef, float],
        utc: float,
        now: float,
    ) -> Generator[int, None, dict[EvseRef, tuple[GoalBound, ...]]]:
        leaves_at = {
            ref: moment - now + utc
            for ref, moment in departures.items()
            if ref in outlook.needs_wh and uses[ref].least_w > 0
        }
        found: dict[EvseRef, tuple[GoalBound, ...]] = {}
        bounds_w = yield from outlook.find_bounds(leaves_at, utc)
        for ref, spans in bounds_w.items():
            amps_per_w = self._site.evse_by_ref[ref].min_a / uses[ref].least_w
            if spans:
                found[ref] = tuple(
                    GoalBound(begins_at - utc + now, ends_at - utc + now, share_w * amps_per_w)
                    for begins_at, ends_at, share_w in spans
                )
        return found
