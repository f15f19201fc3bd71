"""Entries of the calendar that hold now."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings
from controller.load_management.energy.quarter_peak import QUARTER_S
from controller.load_management.energy.week_schedule import local_time
from controller.load_management.site_tree import CircuitNode, PhaseAmps
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

MINUTE_S = 60.0
QUARTERS_KEPT = 2
"""Quarter hours whose peaks are kept: the one that runs, and the one that has ended."""


class QuarterTarget(NamedTuple):
    """Target of a quarter hour (W), and the entry that sets it; empty: the circuit's own."""

    watts: float
    entry: str


class ActiveCalendar:
    """Calendar at one moment. Without a time of day all entries hold: of each limit the lowest.

    A `peak_w` holds for each quarter hour of which its entry contains a part: their mean is what counts.
    """

    def __init__(self, settings: EnergySettings) -> None:
        self._settings = settings
        self._minute: int | None = None
        self.entries: tuple[CalendarEntry, ...] = settings.calendar
        """Entries that hold, in the order of the settings."""
        self.day_began_at = 0.0
        """Begin of that date (POSIX s)."""
        self.day = ""
        """Date of the site's clock ("2026-11-27"); empty where the time of day is unknown."""
        self._peaks_of: dict[int, list[tuple[CalendarEntry, ...]]] = {}
        """Entries with a `peak_w` in the minutes of quarter hours (POSIX s / 900), each combination once."""

    def replace_settings(self, settings: EnergySettings, utc: float | None) -> None:
        """Apply another calendar, and find what holds of it at a time of day (POSIX s)."""
        self._settings = settings
        self._minute = None
        self.entries = settings.calendar
        self._peaks_of.clear()
        self.update(utc)

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

    def _of_circuit(self, circuit: str) -> Iterator[CalendarEntry]:
        return (entry for entry in self.entries if entry.circuit == circuit)

    def limit_a(self, circuit: CircuitNode) -> PhaseAmps:
        """Return the limit of each phase (A): the circuit's own, or a lower one."""
        if not self.entries:
            return circuit.limit_a
        limits = [entry.limit_a for entry in self._of_circuit(circuit.id) if entry.limit_a is not None]
        lowest_a = min(limits, default=math.inf)
        first, second, third = circuit.limit_a
        return (min(first, lowest_a), min(second, lowest_a), min(third, lowest_a))

    def time_of_day(self, utc: float) -> str:
        """Return the time of day at the site as hh:mm."""
        return f"{local_time(utc, self._settings.zone):%H:%M}"

    def limit_w(self, circuit: CircuitNode) -> float | None:
        """Return the limit of all phases together (W): the circuit's own, or a lower one; None: none."""
        if not self.entries:
            return circuit.limit_w
        limits = [entry.limit_w for entry in self._of_circuit(circuit.id) if entry.limit_w is not None]
        if circuit.limit_w is not None:
            limits.append(circuit.limit_w)
        return min(limits, default=None)

    def limits_w(self, circuits: Sequence[CircuitNode]) -> dict[str, float]:
        """Return the limits of all phases together (W) of those of these circuits that have one."""
        entries = {entry.circuit for entry in self.entries if entry.limit_w is not None}
        limited = [each for each in circuits if each.limit_w is not None or each.id in entries]
        return {each.id: limit_w for each in limited if (limit_w := self.limit_w(each)) is not None}

    def peak_target(self, circuit: str, own_w: float | None, utc: float | None) -> QuarterTarget | None:
        """Return the target of the quarter hour that runs at a circuit at `utc`; None: there is none.

        In minutes for which no entry sets one it is `own_w` (W). The lowest of all minutes counts.
        """
        found: list[QuarterTarget] = []
        for entries in self._peaks_in(utc):
            of_circuit = [e for e in entries if e.circuit == circuit]
            found += [QuarterTarget(e.peak_w, e.name) for e in of_circuit if e.peak_w is not None]
            if not of_circuit and own_w is not None:
                found.append(QuarterTarget(own_w, ""))
        return min(found, default=None)

    def _peaks_in(self, utc: float | None) -> list[tuple[CalendarEntry, ...]]:
        """Return the entries with a `peak_w` in the minutes of a quarter hour, each combination once."""
        with_peak = tuple(entry for entry in self._settings.calendar if entry.peak_w is not None)
        if utc is None or not with_peak:
            return [with_peak]
        quarter = math.floor(utc / QUARTER_S)
        if quarter not in self._peaks_of:
            while len(self._peaks_of) >= QUARTERS_KEPT:
                del self._peaks_of[next(iter(self._peaks_of))]
            minutes = (quarter * QUARTER_S + MINUTE_S * number for number in range(int(QUARTER_S / MINUTE_S)))
            walls = [local_time(each, self._settings.zone) for each in minutes]
            holding = (tuple(e for e in with_peak if e.span.is_active(wall)) for wall in walls)
            self._peaks_of[quarter] = list(dict.fromkeys(holding))
        return self._peaks_of[quarter]

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
        return {
            ref: entry.surplus for entry in self.entries if entry.surplus is not None for ref in entry.evses
        }
