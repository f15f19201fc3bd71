"""Planner of a site's energy over hours: calendar, quarter-hour peaks, tenants, departures, prices, battery.

`SiteControl` reports readings, draws and sessions, and asks in each pass for what holds now. What the planner
returns only lowers limits and moves priorities: no answer of it raises a circuit above its fuse.

Time of day comes from outside (`set_clock`). Without it the worst case holds: all reductions of the calendar
at once, and a peak as an instantaneous limit. Where the clock was set, what was measured by the monotonic
clock is assigned anew: the energy of the day and of the quarter hour, and the departures.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Mapping

from msgspec import structs

from controller.load_management.energy.active_calendar import ActiveCalendar
from controller.load_management.energy.energy_records import (
    ENERGY_RECORDS,
    EnergyCounted,
    MonthPeakStored,
    PricesStored,
    QuarterStored,
    QuotaStored,
    SessionEnergyStored,
)
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.energy_view import EnergyView
from controller.load_management.energy.evse_plans import EvsePlans
from controller.load_management.energy.peak_budgets import CircuitBase as CircuitBase
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.site_battery import SiteBattery
from controller.load_management.events import NO_DEPARTURES, NO_ROOMS, CarRoom, EvsePlan, EvseUse
from controller.load_management.site_tree import ZERO, PhaseAmps, SiteTree
from controller.model.journal import Record
from controller.model.observations import EvseRef, NeedsSeen
from drivers.reading import MeterState

CLOCK_SET_S = 0.1
"""A change of the wall clock against the monotonic one from which on it was set (s); NTP slews it by less."""


class EnergyPlanner:
    """Requirements of the energy plan at this moment. All `now` are monotonic s.

    `record_types`: types of the records that it returns and restores.
    """

    record_types = ENERGY_RECORDS

    def __init__(self, site: SiteTree, settings: EnergySettings, voltage_v: float) -> None:
        self._clock_offset_s: float | None = None
        self.has_plan = settings.has_plan
        """True if `update` may find something."""
        self.calendar = ActiveCalendar(settings)
        self.records: list[EnergyCounted] = []
        """Records to be stored; `take_records` takes them out."""
        self.peaks = PeakBudgets(site, settings, self.calendar, voltage_v, self.records)
        self.evses = EvsePlans(site, settings, self.peaks, self.records)
        self._battery = None if settings.battery is None else SiteBattery(settings.battery, voltage_v)
        self.hidden_a = ZERO
        """Current that a battery delivers at the grid connection and no car may count on (A per phase)."""

    def replace_site(self, site: SiteTree, settings: EnergySettings, voltage_v: float, now: float) -> None:
        """Apply other limits and settings; energies counted so far, prices and departures of files stay."""
        self.has_plan = settings.has_plan
        self.calendar.replace_settings(settings, self.utc(now))
        self.peaks.replace_site(site, settings, voltage_v)
        self.evses.replace_settings(site, settings)
        if settings.battery is None:
            self._battery, self.hidden_a = None, ZERO
        elif self._battery is None or self._battery.meter != settings.battery.meter:
            self._battery = SiteBattery(settings.battery, voltage_v)
        else:
            self._battery.replace_settings(settings.battery)

    # Time and records

    def set_clock(self, utc: float, now: float) -> None:
        """Set the time of day (POSIX s) that belongs to `now`."""
        before_s, self._clock_offset_s = self._clock_offset_s, utc - now
        step_s = 0.0 if before_s is None else self._clock_offset_s - before_s
        if abs(step_s) < CLOCK_SET_S:
            return
        self.calendar.update(utc)
        self.peaks.on_clock_set(step_s, utc)
        self.evses.on_clock_set(step_s, utc, now)

    def time_of_day(self, now: float) -> str:
        """Return the time of day at the site as hh:mm; empty while the clock is unknown."""
        utc = self.utc(now)
        return "" if utc is None else self.calendar.time_of_day(utc)

    def utc(self, now: float) -> float | None:
        """Return the time of day (POSIX s); None before `set_clock`."""
        return None if self._clock_offset_s is None else now + self._clock_offset_s

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart; what the settings no longer have is ignored."""
        for record in records:
            if isinstance(record, QuarterStored | MonthPeakStored):
                self.peaks.restore(record)
            elif isinstance(record, QuotaStored | SessionEnergyStored | PricesStored):
                self.evses.restore(record)

    def take_records(self) -> list[Record]:
        """Return what has to be stored since the last call."""
        records: list[Record] = [*self.records]
        self.records.clear()
        return records

    def on_reading(
        self, circuit: str, power_w: float, base_w: float, register_wh: float | None, now: float
    ) -> None:
        """Take in a good reading of a circuit in `peaks.circuits`: its power, and the building's part (W)."""
        utc = self.utc(now)
        if utc is not None:
            self.peaks.on_reading(circuit, power_w, base_w, register_wh, utc)

    def on_meter(self, state: MeterState, now: float) -> PhaseAmps | None:
        """Take in a state of a meter that measures no circuit; return the battery's flow if it is its.

        The flow is in A per phase, positive while the battery charges, 0 while it is unknown.
        """
        if self._battery is None or state.meter != self._battery.meter:
            return None
        self._battery.on_meter(state, now)
        return self._battery.flow_a(now)

    def on_transaction(self, ref: EvseRef, running: bool, now: float) -> NeedsSeen | None:
        """Note that a session begins or ends; return the car's needs by the next departure, if it has one."""
        return self.evses.on_transaction(ref, running, self.utc(now))

    def update(
        self,
        bases: Mapping[str, CircuitBase],
        uses: Mapping[EvseRef, EvseUse],
        now: float,
        rooms: Mapping[str, CarRoom] = NO_ROOMS,
        departures: Mapping[EvseRef, float] = NO_DEPARTURES,
    ) -> Generator[int, None, dict[EvseRef, EvsePlan]]:
        """Find what holds at `now`; return the plans of EVSEs. Yields the cost of its steps.

        `bases` has each of `peaks.circuits`, `uses` each of `evses.tracked`, or all EVSEs where the
        `evses.goals` are due. `rooms`: power for the cars below each circuit, where it is known;
        `departures`: when cars with goals leave (s, monotonic).
        """
        utc = self.utc(now)
        self.calendar.update(utc)
        self.peaks.update(bases, utc)
        if self._battery is not None:
            self.hidden_a = self._battery.hidden_a(now)
        return (yield from self.evses.update(uses, utc, now, rooms, departures))

    def battery_flow_a(self, now: float) -> tuple[PhaseAmps, PhaseAmps]:
        """Return the flow of the battery (A per phase; positive: it charges), and what of it is hidden."""
        if self._battery is None:
            return ZERO, ZERO
        return self._battery.flow_a(now), self._battery.hidden_a(now)

    def surplus_a(self, fed_in_a: float, now: float) -> float:
        """Return the surplus for cars of what the site feeds in (A, all phases; negative: it draws)."""
        return max(0.0, fed_in_a) if self._battery is None else self._battery.surplus_a(fed_in_a, now)

    def view(self, now: float) -> EnergyView:
        """Return the state for people."""
        utc = self.utc(now)
        view = EnergyView(
            calendar=tuple(entry.name for entry in self.calendar.entries),
            groups=self.evses.group_views(),
            battery_a=sum(self.hidden_a),
        )
        if utc is None:
            return view
        return structs.replace(
            view,
            peaks=self.peaks.views(utc),
            waiting=self.evses.waits.views(utc),
            price=self.evses.prices.series.price_at(utc),
        )
