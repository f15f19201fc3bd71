"""Entries of the calendar that hold now, and in a quarter hour to come."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import NamedTuple

from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.load_management.energy.week_schedule import local_time
from controller.load_management.site_tree import CircuitNode, PhaseAmps
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

MINUTE_S = 60.0
QUARTER_MINUTES = int(QUARTER_S / MINUTE_S)
QUARTERS_KEPT = 1000
"""Quarter hours whose entries are kept: those of the longest plan, and the one that has ended."""


class QuarterTarget(NamedTuple):
    """Target of a quarter hour (W), and the entry that sets it; empty: the circuit's own."""

    watts: float
    entry: str


class CalendarPart(NamedTuple):
    """Part of a quarter hour (0 to 1) in which the same entries hold, those of priorities left out."""

    part: float
    entries: tuple[CalendarEntry, ...]


class ActiveCalendar:
    """Calendar at one moment. Without a time of day all entries hold: of each limit the lowest.

    A `peak_w` holds for each quarter hour of which its entry contains a part: their mean is what counts.
    """

    def __init__(self, settings: EnergySettings) -> None:
        self._settings = settings
        self._of_power = _find_power_entries(settings)
        self._minute: int | None = None
        self.entries: tuple[CalendarEntry, ...] = settings.calendar
        """Entries that hold, in the order of the settings."""
        self.day_began_at = 0.0
        """Begin of that date (POSIX s)."""
        self.day = ""
        """Date of the site's clock ("2026-11-27"); empty where the time of day is unknown."""
        self._parts: dict[int, tuple[CalendarPart, ...]] = {}
        """Parts of quarter hours (POSIX s / 900)."""

    def replace_settings(self, settings: EnergySettings, utc: float | None) -> None:
        """Apply another calendar, and find what holds of it at a time of day (POSIX s)."""
        self._settings = settings
        self._of_power = _find_power_entries(settings)
        self._minute = None
        self.entries = settings.calendar
        self._parts.clear()
        self.update(utc)

    @property
    def limits_power(self) -> bool:
        """Return True if entries set limits, targets or modes at some time."""
        return bool(self._of_power)

    def update(self, utc: float | None) -> None:
        """Find what holds at a time of day (POSIX s)."""
        minute = None if utc is None else math.floor(utc / 60)
        if utc is None or minute == self._minute:
            return
        self._minute = minute
        local = local_time(utc, self._settings.zone)
        self.day = local.date().isoformat()
        self.day_began_at = local.replace(hour=0, minute=0, second=0, microsecond=0, fold=0).timestamp()
        self.entries = tuple(entry for entry in self._settings.calendar if entry.span.is_active(local))

    def month(self, utc: float) -> str:
        """Return the month ("2026-11") of a time of day (POSIX s) by the site's clock."""
        return local_time(utc, self._settings.zone).strftime("%Y-%m")

    def limit_a(self, circuit: CircuitNode) -> PhaseAmps:
        """Return the limit of each phase (A): the circuit's own, or a lower one."""
        if not self.entries:
            return circuit.limit_a
        lowest_a = lowest_limit_a(self.entries, circuit.id)
        first, second, third = circuit.limit_a
        return (min(first, lowest_a), min(second, lowest_a), min(third, lowest_a))

    def time_of_day(self, utc: float) -> str:
        """Return the time of day at the site as hh:mm."""
        return f"{local_time(utc, self._settings.zone):%H:%M}"

    def limit_w(self, circuit: CircuitNode) -> float | None:
        """Return the limit of all phases together (W): the circuit's own, or a lower one; None: none."""
        if not self.entries:
            return circuit.limit_w
        own_w = math.inf if circuit.limit_w is None else circuit.limit_w
        lowest_w = min(own_w, lowest_limit_w(self.entries, circuit.id))
        return None if lowest_w == math.inf else lowest_w

    def limits_w(self, circuits: Sequence[CircuitNode]) -> dict[str, float]:
        """Return the limits of all phases together (W) of those of these circuits that have one."""
        entries = {entry.circuit for entry in self.entries if entry.limit_w is not None}
        limited = [each for each in circuits if each.limit_w is not None or each.id in entries]
        return {each.id: limit_w for each in limited if (limit_w := self.limit_w(each)) is not None}

    def peak_target(self, circuit: str, own_w: float | None, utc: float | None) -> QuarterTarget | None:
        """Return the target of the quarter hour that runs at a circuit at `utc`; None: there is none.

        In minutes for which no entry sets one it is `own_w` (W). The lowest of all minutes counts.
        """
        if utc is None:
            parts: tuple[CalendarPart, ...] = (CalendarPart(1.0, self._of_power),)
        else:
            parts = self.parts_of(math.floor(utc / QUARTER_S))
        found: list[QuarterTarget] = []
        for _, entries in parts:
            targets = [
                QuarterTarget(each.peak_w, each.name)
                for each in entries
                if each.circuit == circuit and each.peak_w is not None
            ]
            found += targets
            if not targets and own_w is not None:
                found.append(QuarterTarget(own_w, ""))
        return min(found, default=None)

    def parts_of(self, quarter: int) -> tuple[CalendarPart, ...]:
        """Return the parts of a quarter hour (POSIX s / 900), in their order."""
        if quarter not in self._parts:
            if len(self._parts) >= QUARTERS_KEPT:
                self._parts.clear()
            self._parts[quarter] = self._find_parts(quarter)
        return self._parts[quarter]

    def _find_parts(self, quarter: int) -> tuple[CalendarPart, ...]:
        """Return the parts of a quarter hour, cut where the clock shows the begin or end of an entry."""
        if not self._of_power:
            return (CalendarPart(1.0, ()),)
        local = local_time(quarter * QUARTER_S, self._settings.zone)
        edges = (edge for entry in self._of_power for edge in (entry.span.begin, entry.span.end))
        begins = sorted({0, *((edge - local.minute) % QUARTER_MINUTES for edge in edges)})
        parts: list[CalendarPart] = []
        for begin, end in pairwise((*begins, QUARTER_MINUTES)):
            wall = local_time(quarter * QUARTER_S + begin * MINUTE_S, self._settings.zone)
            entries = tuple(entry for entry in self._of_power if entry.span.is_active(wall))
            part = (end - begin) / QUARTER_MINUTES
            if parts and parts[-1].entries == entries:
                part += parts.pop().part
            parts.append(CalendarPart(part, entries))
        return tuple(parts)

    def reductions(self, circuits: Iterable[CircuitNode]) -> dict[str, Statement]:
        """Return the entries that lower the limit of a phase of one of these circuits, by circuit."""
        lowest: dict[str, tuple[float, str]] = {}
        for entry in self.entries:
            if entry.circuit is not None and entry.limit_a is not None:
                before_a, _ = lowest.get(entry.circuit, (math.inf, ""))
                if entry.limit_a < before_a:
                    lowest[entry.circuit] = entry.limit_a, entry.name
        return {
            circuit.id: Statement(
                code=StatementCode.CALENDAR_LIMIT,
                name=lowest[circuit.id][1],
                circuit=circuit.id,
                current_a=lowest[circuit.id][0],
            )
            for circuit in (circuits if lowest else ())
            if circuit.id in lowest and lowest[circuit.id][0] < max(circuit.limit_a)
        }

    def priorities(self) -> dict[EvseRef, int]:
        """Return the priorities that entries set; of several the last one holds."""
        return {
            ref: entry.priority for entry in self.entries if entry.priority is not None for ref in entry.evses
        }

    def surplus_modes(self) -> dict[EvseRef, bool]:
        """Return for each EVSE whose mode an entry sets whether it is surplus; the last one holds."""
        return find_surplus_modes(self.entries)


def lowest_limit_a(entries: Iterable[CalendarEntry], circuit: str) -> float:
    """Return the lowest limit of each phase (A) that these entries set at a circuit; inf: none does."""
    limits = (each.limit_a for each in entries if each.circuit == circuit and each.limit_a is not None)
    return min(limits, default=math.inf)


def lowest_limit_w(entries: Iterable[CalendarEntry], circuit: str) -> float:
    """Return the lowest limit of all phases together (W) that they set at a circuit; inf: none does."""
    limits = (each.limit_w for each in entries if each.circuit == circuit and each.limit_w is not None)
    return min(limits, default=math.inf)


def find_surplus_modes(entries: Iterable[CalendarEntry]) -> dict[EvseRef, bool]:
    """Return for each EVSE whose mode one of these entries sets whether it is surplus; the last one holds."""
    return {ref: entry.surplus for entry in entries if entry.surplus is not None for ref in entry.evses}


def _find_power_entries(settings: EnergySettings) -> tuple[CalendarEntry, ...]:
    """Return the entries that change what EVSEs can receive: limits, targets and modes."""
    return tuple(
        entry
        for entry in settings.calendar
        if entry.surplus is not None
        or any(limit is not None for limit in (entry.limit_a, entry.limit_w, entry.peak_w))
    )
