"""Waits for lower prices: who waits now, what it is given meanwhile, and why."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence

import msgspec

from controller.load_management.energy.active_calendar import ActiveCalendar
from controller.load_management.energy.car_outlook import CarOutlook
from controller.load_management.energy.energy_csv import ValueMistakeError
from controller.load_management.energy.energy_records import PricesStored
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.energy_view import WaitView
from controller.load_management.energy.price_plan import ExpectedCar, PricePlan, quarters_until
from controller.load_management.energy.price_series import make_series, parse_prices
from controller.load_management.events import EvseUse
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from drivers.coded_text import coded

CHEAPER_QUARTER = Statement(code=StatementCode.CHEAPER_QUARTER)
SHOWS_PHASES = Statement(code=StatementCode.SHOWS_PHASES)
COST_CHOICE = 50
COST_NOTED = 2
"""Work of choosing the quarter hours of a car, and of finding whether it waits (about us)."""
AT_ONCE = 100
"""Cars of one step."""


class Wait(msgspec.Struct, frozen=True):
    """Reason why a car waits for a lower price, and what it is given meanwhile (A per phase)."""

    why: Statement
    limit_a: float = 0.0


class PriceWaits:
    """EVSEs whose cars wait for a lower price. `prices`: the quarter hours that cars with goals choose.

    In surplus mode a car with a goal does not wait: it buys nothing.
    """

    def __init__(self, site: SiteTree, settings: EnergySettings, calendar: ActiveCalendar) -> None:
        self.prices = PricePlan()
        self._calendar = calendar
        self._waiting: tuple[EvseRef, ...] = ()
        self.replace_settings(site, settings)

    def replace_settings(self, site: SiteTree, settings: EnergySettings) -> None:
        """Apply other settings; the prices stay."""
        self._site, self._settings = site, settings

    def restore(self, record: PricesStored) -> None:
        """Take over the prices that were set before a restart."""
        self.prices.set_prices(make_series(list(zip(record.begins, record.prices, strict=True))))

    def read_prices(self, text: str) -> int:
        """Use the prices of a CSV file from now on; return their number. Raises EnergyFileError."""
        series = parse_prices(text)
        self.prices.set_prices(series)
        return len(series.begins)

    def make_record(self, pairs: Sequence[tuple[float, float]], utc: float | None) -> PricesStored:
        """Return the record of prices (begin in POSIX s, price) that are of use from `utc` on, if known.

        Raises EnergyInputError.
        """
        if not self._settings.has_prices:
            raise ValueMistakeError(
                coded("has no effect: the configuration has no [prices]"), coded("add the table [prices]")
            )
        series = make_series(pairs)
        if utc is not None:
            series.check_time(utc)
        return PricesStored(series.begins, series.prices)

    @property
    def are_used(self) -> bool:
        """Return True if cars may wait for a lower price."""
        return self._settings.has_prices and bool(self.prices.series.begins)

    def update(
        self, uses: Mapping[EvseRef, EvseUse], utc: float | None, outlook: CarOutlook
    ) -> Generator[int, None, dict[EvseRef, Wait]]:
        """Find the EVSEs that wait at this moment, none while it is not known; yields the cost of steps."""
        found: dict[EvseRef, Wait] = {}
        if utc is not None and self.are_used:
            found = yield from self._find(uses, utc, outlook)
        self._waiting = tuple(ref for ref in found if uses[ref].has_demand)
        return found

    def _find(
        self, uses: Mapping[EvseRef, EvseUse], utc: float, outlook: CarOutlook
    ) -> Generator[int, None, dict[EvseRef, Wait]]:
        found: dict[EvseRef, Wait] = {}
        price, most = self.prices.series.price_at(utc), self._settings.pause_above
        if most is not None and price is not None and price > most:
            wait = Wait(Statement(code=StatementCode.PRICE_ABOVE, price=most))
            found = {ref: wait for ref in uses if ref not in outlook.needs_wh}
        modes = self._calendar.surplus_modes()
        for number, (ref, left_wh) in enumerate(outlook.needs_wh.items(), 1):
            if number % AT_ONCE == 0:
                yield AT_ONCE * COST_NOTED
            use, evse = uses[ref], self._site.evse_by_ref[ref]
            moment = utc + (use.leaves_in_s or 0.0)
            if self.prices.is_due(ref, moment, utc, knows_phases=not use.small_w):
                quarters = quarters_until(moment, utc)
                yield from outlook.find(quarters)
                yield COST_CHOICE
                car = ExpectedCar(left_wh, use.most_w, use.sure_w, use.small_w, outlook.shares(ref, quarters))
                self.prices.choose(ref, car, moment, utc)
            if self.prices.may_charge(ref, utc) or modes.get(ref, evse.surplus):
                continue
            if self.prices.shows_phases(ref, utc):
                found[ref] = Wait(SHOWS_PHASES, evse.min_a)
            else:
                found[ref] = Wait(CHEAPER_QUARTER)
        return found

    def views(self, utc: float) -> tuple[WaitView, ...]:
        """Return the EVSEs whose cars wait, for people."""
        return tuple(WaitView(ref=ref, begins_at=self.prices.next_begin(ref, utc)) for ref in self._waiting)
