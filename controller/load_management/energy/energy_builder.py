"""Settings of energy over hours from a checked configuration."""

from __future__ import annotations

from collections.abc import Iterable
from zoneinfo import ZoneInfo

from controller.config import Config
from controller.config.energy_rules import find_evses
from controller.config.schema import CalendarConfig
from controller.load_management.energy.energy_settings import (
    BatterySettings,
    CalendarEntry,
    DepartureRule,
    EnergySettings,
    GroupSettings,
    PeakSettings,
)
from controller.load_management.energy.week_schedule import DAYS, WeekSpan, parse_minute
from controller.model.observations import EvseRef


def build_energy_settings(config: Config) -> EnergySettings:
    """Build the settings; with nothing configured they ask for nothing."""
    return EnergySettings(
        zone=ZoneInfo(config.site.timezone),
        peaks={
            circuit.id: PeakSettings(
                target_w=None if circuit.peak_kw is None else 1000 * circuit.peak_kw,
                reached_is_free=circuit.peak_reached_is_free,
            )
            for circuit in config.circuit
            if circuit.peak_kw is not None or circuit.peak_reached_is_free
        },
        calendar=tuple(_calendar_entry(config, entry) for entry in config.calendar),
        groups=tuple(
            GroupSettings(
                id=group.id,
                evses=_refs(config, group.stations),
                guaranteed_a=group.guaranteed_a or 0.0,
                quota_wh=None if group.quota_kwh is None else 1000 * group.quota_kwh,
            )
            for group in config.group
        ),
        class_priorities={each.id: each.priority for each in config.priority_class},
        is_fair_by_energy=config.load_management.fairness == "energy",
        departures=tuple(
            DepartureRule(
                evses=_refs(config, departure.stations or [station.id for station in config.station]),
                cards=frozenset(departure.cards),
                priority_classes=frozenset(departure.priority_classes),
                days=_days(departure.days),
                minute=_minute(departure.ready_by),
                energy_wh=1000 * departure.energy_kwh,
            )
            for departure in config.departure
        ),
        has_prices=config.prices is not None,
        pause_above=None if config.prices is None else config.prices.pause_above,
        battery=None
        if config.battery is None
        else BatterySettings(
            meter=config.battery.meter,
            use_battery=config.battery.use_battery,
            cars_first=config.battery.cars_first,
        ),
    )


def _calendar_entry(config: Config, entry: CalendarConfig) -> CalendarEntry:
    in_group = [group.stations for group in config.group if group.id == entry.group]
    return CalendarEntry(
        name=entry.name,
        span=WeekSpan(days=_days(entry.days), begin=_minute(entry.begin), end=_minute(entry.end)),
        circuit=entry.circuit,
        limit_a=entry.limit_a,
        limit_w=entry.limit_w,
        peak_w=None if entry.peak_kw is None else 1000 * entry.peak_kw,
        evses=_refs(config, [*entry.stations, *(name for names in in_group for name in names)]),
        priority=entry.priority,
        surplus=None if entry.mode is None else entry.mode == "surplus",
    )


def _refs(config: Config, names: Iterable[str]) -> frozenset[EvseRef]:
    return frozenset(EvseRef(*ref) for name in names for ref in find_evses(config, name))


def _days(names: Iterable[str]) -> frozenset[int]:
    return frozenset(DAYS.index(name) for name in names)


def _minute(text: str) -> int:
    minute = parse_minute(text)
    assert minute is not None  # the schema has checked the form
    return minute
