"""Plans of EVSEs: quotas, classes of cards, fairness by energy, departures and waits for cheaper quarters."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Generator, Mapping

import msgspec

from controller.load_management.allocation.allocator import Demand
from controller.load_management.energy.departure_plan import CardInUse, DeparturePlan
from controller.load_management.energy.energy_records import (
    EnergyCounted,
    PricesStored,
    QuotaStored,
    SessionEnergyStored,
)
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.energy_use import LESS_ENERGY, EnergyUse
from controller.load_management.energy.energy_view import GroupView
from controller.load_management.energy.goal_plans import GoalPlans
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.tenant_groups import GuaranteedGroup
from controller.load_management.events import NO_DEPARTURES, NO_PLAN, NO_ROOMS, CarRoom, EvsePlan, EvseUse
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef, NeedsSeen


class EvsePlans:
    """Plans of all EVSEs at one moment.

    `records`: list to which what has to be stored is added. `departures`: goals of the cars by rule; `goals`:
    what follows from goals; `waits`: those of cars for lower prices; `prices`: the quarter hours that cars
    with a departure choose.
    """

    def __init__(
        self,
        site: SiteTree,
        settings: EnergySettings,
        peaks: PeakBudgets,
        records: list[EnergyCounted],
    ) -> None:
        self._calendar = peaks.calendar
        self._use = EnergyUse((), records)
        self._classes: dict[EvseRef, str] = {}
        self.departures = DeparturePlan(settings)
        self.goals = GoalPlans(site, settings, peaks)
        self.waits = self.goals.waits
        self.prices = self.waits.prices
        self.replace_settings(site, settings)

    def replace_settings(self, site: SiteTree, settings: EnergySettings) -> None:
        """Apply other settings; energies counted so far, prices, cards and departures of files stay."""
        self._settings = settings
        self.goals.replace_settings(site, settings)
        self._use.replace_groups(settings.groups, stores_sessions=settings.is_fair_by_energy)
        self._guaranteed = [GuaranteedGroup(site, group) for group in settings.groups if group.guaranteed_a]
        self.departures.replace_settings(settings)
        every = settings.is_fair_by_energy or settings.has_prices
        self.tracked = tuple(evse.ref for evse in site.evses if every or evse.ref in self._use.refs)
        """EVSEs whose use `update` has to be given."""

    def restore(self, record: QuotaStored | SessionEnergyStored | PricesStored) -> None:
        """Take over what groups and sessions had used before a restart, or the prices."""
        if isinstance(record, PricesStored):
            self.waits.restore(record)
        else:
            self._use.restore(record)

    def on_transaction(self, ref: EvseRef, running: bool, utc: float | None) -> NeedsSeen | None:
        """Note that a session begins or ends; return the car's needs by the next departure, if it has one."""
        self._use.on_transaction(ref, running)
        self.prices.remove(ref)
        if not running:
            self._classes.pop(ref, None)
        return self.departures.on_transaction(ref, running, utc)

    def on_clock_set(self, step_s: float, utc: float, now: float) -> None:
        """Assign energies to their day, and departures to their time, after a step of the clock (s).

        The calendar has been updated to `utc` (POSIX s).
        """
        began_at = now - (utc - self._calendar.day_began_at)
        self._use.on_clock_set(self._calendar.day, began_at, was_set_back=step_s < 0)
        self.departures.on_clock_set()

    def set_cards(self, cards: Mapping[EvseRef, CardInUse]) -> None:
        """Set the cards that charge now; EVSEs without one are left out."""
        self._classes = {ref: card.priority_class for ref, card in cards.items()}
        self.departures.set_cards(cards)

    def update(
        self,
        uses: Mapping[EvseRef, EvseUse],
        utc: float | None,
        now: float,
        rooms: Mapping[str, CarRoom] = NO_ROOMS,
        departures: Mapping[EvseRef, float] = NO_DEPARTURES,
    ) -> Generator[int, None, dict[EvseRef, EvsePlan]]:
        """Return the plan of each EVSE that has one now; `uses` has each of `tracked`, or all EVSEs.

        They are all where `goals` are due for cars that leave at `departures` (s, monotonic).

        A card's class comes before the calendar; a used quota before a wait for a cheaper quarter hour.
        Yields the cost of its steps.
        """
        day = self._calendar.day
        self._use.count(uses, day, now)
        parts: defaultdict[EvseRef, dict[str, object]] = defaultdict(dict)
        for ref, priority in self._calendar.priorities().items():
            parts[ref]["priority"] = priority
        for ref, is_surplus in self._calendar.surplus_modes().items():
            parts[ref]["surplus"] = is_surplus
        for ref, name in self._classes.items():
            if name in self._settings.class_priorities:
                parts[ref]["priority"] = self._settings.class_priorities[name]
        if self._settings.is_fair_by_energy:
            for ref in self._use.behind(uses):
                parts[ref] |= {"needs_a": uses[ref].max_a, "need_why": LESS_ENERGY}
        waits = yield from self.goals.update(uses, utc, now, rooms, departures)
        for ref, wait in waits.items():
            parts[ref] |= {"limit_a": wait.limit_a, "why": wait.why, "is_wait": True}
        for ref, bounds in self.goals.bounds.items():
            parts[ref]["bounds"] = bounds
        for ref, why in self._use.exhausted(day).items():
            parts[ref] |= {"limit_a": 0.0, "why": why, "is_wait": False}
        return {ref: msgspec.structs.replace(NO_PLAN, **part) for ref, part in parts.items()}

    def with_guarantees(self, demands: Mapping[EvseRef, Demand]) -> dict[EvseRef, Demand]:
        """Return those of the demands that have a part of their group's guaranteed current, with it."""
        found: dict[EvseRef, Demand] = {}
        for group in self._guaranteed:
            found |= group.with_guarantees(demands)
        return found

    def turn_energies(self, refs: Collection[EvseRef]) -> dict[EvseRef, float] | None:
        """Return the energies by which EVSEs take turns (Wh); None: they take turns by time."""
        return self._use.turn_energies(refs) if self._settings.is_fair_by_energy else None

    def group_views(self) -> tuple[GroupView, ...]:
        """Return the state of the groups for people."""
        return tuple(
            GroupView(
                id=group.id,
                guaranteed_a=group.guaranteed_a,
                used_wh=self._use.used_wh(group.id, self._calendar.day),
                quota_wh=group.quota_wh,
            )
            for group in self._settings.groups
        )
