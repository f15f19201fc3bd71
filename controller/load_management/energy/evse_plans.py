"""Plans of EVSEs: quotas, classes of cards, fairness by energy, departures and waits for cheaper quarters."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import msgspec

from controller.load_management.allocation.allocator import Demand
from controller.load_management.energy.active_calendar import ActiveCalendar
from controller.load_management.energy.departure_plan import CardInUse, DeparturePlan
from controller.load_management.energy.energy_records import (
    EnergyCounted,
    PricesStored,
    QuotaStored,
    SessionEnergyStored,
)
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.energy_use import LESS_ENERGY, EnergyUse
from controller.load_management.energy.energy_view import GroupView, WaitView
from controller.load_management.energy.price_plan import (
    CHEAPER_QUARTER,
    PricePlan,
    Waits,
    make_series,
    parse_prices,
    wait_for_price,
)
from controller.load_management.energy.tenant_groups import GuaranteedGroup
from controller.load_management.events import EvsePlan, EvseUse
from controller.load_management.site_tree import CircuitNode, SiteTree
from controller.model.observations import EvseRef, NeedsSeen

NO_ROOMS: Mapping[str, float] = {}


class EvsePlans:
    """Plans of all EVSEs at one moment.

    `records`: list to which what has to be stored is added. `departures`: goals of the cars by rule;
    `prices`: the quarter hours that cars with a departure choose.
    """

    def __init__(
        self, site: SiteTree, settings: EnergySettings, calendar: ActiveCalendar, records: list[EnergyCounted]
    ) -> None:
        self._calendar = calendar
        self._use = EnergyUse((), records)
        self._classes: dict[EvseRef, str] = {}
        self._waiting: tuple[EvseRef, ...] = ()
        self.departures = DeparturePlan(settings)
        self.prices = PricePlan()
        self.replace_settings(site, settings)

    def replace_settings(self, site: SiteTree, settings: EnergySettings) -> None:
        """Apply other settings; energies counted so far, prices, cards and departures of files stay."""
        self._site, self._settings = site, settings
        self._use.replace_groups(settings.groups, stores_sessions=settings.is_fair_by_energy)
        self._guaranteed = [GuaranteedGroup(site, group) for group in settings.groups if group.guaranteed_a]
        self.departures.replace_settings(settings)
        every = settings.is_fair_by_energy or settings.has_prices
        self.tracked = tuple(evse.ref for evse in site.evses if every or evse.ref in self._use.refs)
        """EVSEs whose use `update` has to be given."""

    def restore(self, record: QuotaStored | SessionEnergyStored | PricesStored) -> None:
        """Take over what groups and sessions had used before a restart, or the prices."""
        if isinstance(record, PricesStored):
            self.prices.set_prices(make_series(list(zip(record.begins, record.prices, strict=True))))
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

    def read_prices(self, text: str) -> int:
        """Use the prices of a CSV file from now on; return their number. Raises EnergyFileError."""
        series = parse_prices(text)
        self.prices.set_prices(series)
        return len(series.begins)

    def make_price_record(self, pairs: Sequence[tuple[float, float]]) -> PricesStored:
        """Return the record of prices (begin in POSIX s, price). Raises EnergyFileError."""
        series = make_series(pairs)
        return PricesStored(series.begins, series.prices)

    def update(
        self,
        uses: Mapping[EvseRef, EvseUse],
        utc: float | None,
        now: float,
        rooms_w: Mapping[str, float] = NO_ROOMS,
    ) -> dict[EvseRef, EvsePlan]:
        """Return the plan of each EVSE that has one now; `uses` has each of `tracked`.

        A card's class comes before the calendar; a used quota before a wait for a cheaper quarter hour.
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
        waits = {} if utc is None else self._waits(uses, utc, rooms_w)
        self._waiting = tuple(waits)
        for ref, why in waits.items():
            parts[ref] |= {"limit_a": 0.0, "why": why, "is_wait": True}
        for ref, why in self._use.exhausted(day).items():
            parts[ref] |= {"limit_a": 0.0, "why": why, "is_wait": False}
        return {ref: msgspec.convert(part, EvsePlan) for ref, part in parts.items()}

    @property
    def uses_prices(self) -> bool:
        """Return True if cars may wait for a lower price."""
        return self._settings.has_prices and bool(self.prices.series.begins)

    def _waits(self, uses: Mapping[EvseRef, EvseUse], utc: float, rooms_w: Mapping[str, float]) -> Waits:
        """Return the EVSEs whose cars wait for a lower price, and why."""
        found: Waits = {}
        if not self.uses_prices:
            return found
        price, most = self.prices.series.price_at(utc), self._settings.pause_above
        goals: dict[EvseRef, tuple[float, float]] = {}
        for ref, use in uses.items():
            left_wh, leaves_in_s = use.left_wh or 0.0, use.leaves_in_s or 0.0
            if left_wh > 0 and leaves_in_s > 0:
                goals[ref] = left_wh, utc + leaves_in_s
            elif most is not None and price is not None and price > most:
                found[ref] = wait_for_price(most)
        shares_w = self._shares_w(uses, goals.keys(), rooms_w)
        for ref, (left_wh, leaves_at) in goals.items():
            share_w = min((shares_w[c.id] for c in self._path(ref) if c.id in shares_w), default=math.inf)
            use = uses[ref]
            powers_w = (share_w, use.sure_w, use.small_w)
            if not self.prices.may_charge(ref, left_wh, use.most_w, leaves_at, utc, *powers_w):
                found[ref] = CHEAPER_QUARTER
        return found

    def _shares_w(
        self, uses: Mapping[EvseRef, EvseUse], goals: Collection[EvseRef], rooms_w: Mapping[str, float]
    ) -> dict[str, float]:
        """Return what each circuit has for one car with a goal (W): all others there get their minimum."""
        left_w, numbers = dict(rooms_w), dict.fromkeys(rooms_w, 0)
        if not goals:
            return {}
        for ref, use in uses.items():
            if not use.has_demand:
                continue
            for circuit in self._path(ref):
                if ref in goals:
                    numbers[circuit.id] += 1
                else:
                    left_w[circuit.id] -= use.least_w
        return {circuit: max(0.0, left_w[circuit]) / number for circuit, number in numbers.items() if number}

    def _path(self, ref: EvseRef) -> tuple[CircuitNode, ...]:
        return self._site.path(self._site.evse_by_ref[ref].circuit)

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

    def wait_views(self, utc: float) -> tuple[WaitView, ...]:
        """Return the EVSEs that wait for a lower price."""
        return tuple(WaitView(ref=ref, begins_at=self.prices.next_begin(ref, utc)) for ref in self._waiting)
