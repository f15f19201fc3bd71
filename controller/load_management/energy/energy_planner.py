"""Planner of a site's energy over hours: what calendar and quarter-hour peaks leave at this moment.

`SiteControl` reports readings and asks, in each pass, for limits that hold now. What the planner returns only
lowers limits and moves priorities: no answer of it raises a circuit above its fuse.

Time of day comes from outside (`set_clock`). Without it the worst case holds: all reductions of the calendar
at once, and a peak as an instantaneous limit.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import msgspec

from controller.load_management.energy.energy_records import MonthPeakStored, QuarterStored
from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings
from controller.load_management.energy.quarter_peak import QUARTER_S, QuarterMemory, QuarterPeak
from controller.load_management.energy.week_schedule import local_time
from controller.load_management.events import EvsePlan
from controller.load_management.site_tree import CircuitNode, PhaseAmps, SiteTree
from controller.model.journal import Record
from controller.model.observations import EvseRef


class PeakView(msgspec.Struct, frozen=True, kw_only=True):
    """Quarter-hour peak of a circuit: target and use of the running quarter, and the month's highest mean.

    `target_w`: what holds now; `used_wh` since the quarter's begin, `ends_in_s` until its end; `month_w`:
    0 before the first whole quarter of the month.
    """

    circuit: str
    target_w: float
    used_wh: float
    ends_in_s: float
    month_w: float


class EnergyView(msgspec.Struct, frozen=True, kw_only=True):
    """State of energy over hours, for people. `calendar`: names of the entries that hold now."""

    peaks: tuple[PeakView, ...] = ()
    calendar: tuple[str, ...] = ()


class CircuitBase(msgspec.Struct, frozen=True, kw_only=True):
    """Base load of a circuit at this pass: power of all phases (W), and whether its meter is good.

    `worst_w`: the most that can flow there while nobody reads the meter (W).
    """

    base_w: float
    worst_w: float
    is_trusted: bool


class _Budget(msgspec.Struct, frozen=True):
    """Power that the EVSEs below a circuit may draw now, and in every quarter (W); `name`: the reason."""

    room_w: float
    lasting_w: float
    name: str


class EnergyPlanner:
    """Limits that energy over hours sets at this moment. All `now` are monotonic s."""

    def __init__(self, site: SiteTree, settings: EnergySettings, voltage_v: float) -> None:
        self._site = site
        self._settings = settings
        self._clock_offset_s: float | None = None
        self._peaks = {circuit: QuarterPeak() for circuit in _peak_circuits(settings)}
        self._months: dict[str, tuple[str, float]] = {}
        self._active: tuple[CalendarEntry, ...] = settings.calendar
        self._active_minute: int | None = None
        self._budgets: dict[str, _Budget] = {}
        self._sum_names: dict[str, str] = {}
        self._worst_w = {
            circuit: sum(site.circuit_by_id[circuit].limit_a) * voltage_v for circuit in self._peaks
        }
        self._stored_quarters: dict[str, QuarterStored] = {}
        self._records: list[Record] = []

    # Time and records

    def set_clock(self, utc: float, now: float) -> None:
        """Set the time of day (POSIX s) that belongs to `now`."""
        self._clock_offset_s = utc - now

    def utc(self, now: float) -> float | None:
        """Return the time of day (POSIX s); None before `set_clock`."""
        return None if self._clock_offset_s is None else now + self._clock_offset_s

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart; circuits without a peak are ignored."""
        for record in records:
            if isinstance(record, QuarterStored) and record.circuit in self._peaks:
                memory = QuarterMemory(quarter=record.quarter, register_wh=record.register_wh)
                self._peaks[record.circuit].restore(memory)
                self._stored_quarters[record.circuit] = record
            elif isinstance(record, MonthPeakStored) and record.circuit in self._peaks:
                self._months[record.circuit] = record.month, record.peak_w

    def take_records(self) -> list[Record]:
        """Return what has to be stored since the last call."""
        records, self._records = self._records, []
        return records

    # Measurement

    @property
    def peak_circuits(self) -> frozenset[str]:
        """Return the circuits whose quarter-hour peak is limited."""
        return frozenset(self._peaks)

    def on_reading(
        self, circuit: CircuitNode, power_w: float, base_w: float, register_wh: float | None, now: float
    ) -> None:
        """Take in a good reading of a circuit in `peak_circuits`: its power, and the building's part (W)."""
        utc = self.utc(now)
        if utc is None:
            return
        peak = self._peaks[circuit.id]
        worst_w = self._worst_w[circuit.id]
        peak.on_reading(power_w, base_w, register_wh, worst_w, utc)
        self._store_quarter(circuit.id, peak)
        finished_w = peak.take_finished()
        if finished_w is not None:
            self._note_peak(circuit.id, finished_w, utc - QUARTER_S)

    def _store_quarter(self, circuit: str, peak: QuarterPeak) -> None:
        memory = peak.record()
        stored = self._stored_quarters.get(circuit)
        if memory is None or (stored is not None and stored.quarter == memory.quarter):
            return
        record = QuarterStored(circuit, memory.quarter, memory.register_wh)
        self._stored_quarters[circuit] = record
        self._records.append(record)

    def _note_peak(self, circuit: str, mean_w: float, utc: float) -> None:
        """Raise the month's highest mean; a new month begins at 0."""
        month = local_time(utc, self._settings.zone).strftime("%Y-%m")
        before = self._months.get(circuit)
        if before is None or before[0] != month or mean_w > before[1]:
            self._months[circuit] = month, mean_w
            self._records.append(MonthPeakStored(circuit, month, mean_w))

    # Limits of this pass

    def update(self, bases: Mapping[str, CircuitBase], now: float) -> dict[EvseRef, EvsePlan]:
        """Find what holds at `now`; return the plans of EVSEs. `bases` has each of `peak_circuits`."""
        utc = self.utc(now)
        self._update_calendar(utc)
        self._sum_names.clear()
        for circuit, peak in self._peaks.items():
            target_w = self._target_w(circuit, utc)
            base = bases[circuit]
            self._worst_w[circuit] = base.worst_w
            if target_w is None:
                self._budgets.pop(circuit, None)
                continue
            lasting_w = peak.lasting_w(target_w, base.base_w, is_trusted=base.is_trusted)
            room_w = target_w - base.base_w
            if utc is not None:
                room_w = peak.room_w(target_w, base.base_w, base.worst_w, utc, is_trusted=base.is_trusted)
            name = f"quarter-hour peak of {target_w / 1000:g} kW"
            self._budgets[circuit] = _Budget(room_w, min(room_w, lasting_w), name)
        return self._plans()

    def _update_calendar(self, utc: float | None) -> None:
        minute = None if utc is None else math.floor(utc / 60)
        if utc is None or minute == self._active_minute:
            return
        self._active_minute = minute
        local = local_time(utc, self._settings.zone)
        self._active = tuple(entry for entry in self._settings.calendar if entry.span.is_active(local))

    def _target_w(self, circuit: str, utc: float | None) -> float | None:
        """Return the target of the running quarter (W): by the calendar, else as set; None: no target."""
        by_calendar = [
            entry.peak_w for entry in self._active if entry.circuit == circuit and entry.peak_w is not None
        ]
        settings = self._settings.peaks.get(circuit)
        if by_calendar:
            target_w = min(by_calendar)
        elif settings is not None:
            target_w = settings.target_w
        else:
            return None
        if settings is not None and settings.reached_is_free and utc is not None:
            target_w = max(target_w, self._month_w(circuit, utc))
        return target_w

    def _month_w(self, circuit: str, utc: float) -> float:
        """Return the highest mean of the running month (W); 0 before its first whole quarter."""
        month, peak_w = self._months.get(circuit, ("", 0.0))
        return peak_w if month == local_time(utc, self._settings.zone).strftime("%Y-%m") else 0.0

    def limit_a(self, circuit: CircuitNode) -> PhaseAmps:
        """Return the limit of each phase (A): the circuit's own, or a lower one of the calendar."""
        lowest_a = min(
            (e.limit_a for e in self._active if e.circuit == circuit.id and e.limit_a is not None),
            default=math.inf,
        )
        first, second, third = circuit.limit_a
        return (min(first, lowest_a), min(second, lowest_a), min(third, lowest_a))

    def limit_w(self, circuit: CircuitNode) -> float | None:
        """Return the limit of all phases together (W): the circuit's own, or a lower one of the calendar."""
        limits = [e.limit_w for e in self._active if e.circuit == circuit.id and e.limit_w is not None]
        if circuit.limit_w is not None:
            limits.append(circuit.limit_w)
        return min(limits, default=None)

    def bound_sum(self, circuit: str, room_a: float | None, volts: float) -> float | None:
        """Return the room of all EVSEs below a circuit (A, all phases): the given one, or the budget's."""
        budget = self._budgets.get(circuit)
        if budget is None:
            return room_a
        budget_a = budget.room_w / volts
        if room_a is not None and room_a <= budget_a:
            return room_a
        self._sum_names[circuit] = budget.name
        return budget_a

    def sum_name(self, circuit: str) -> str:
        """Return why the room of all EVSEs below a circuit is used up."""
        return self._sum_names.get(circuit, "full (W)")

    def unlasting_a(self, circuit: str, volts: float) -> float:
        """Return the part of the room (A, all phases) that ends with the quarter: no car starts in it."""
        budget = self._budgets.get(circuit)
        return 0.0 if budget is None else (budget.room_w - budget.lasting_w) / volts

    def reduction(self, circuit: CircuitNode) -> str:
        """Return in words the calendar's entry that lowers a circuit's limit per phase; empty: none does."""
        limit_a = self.limit_a(circuit)
        if limit_a == circuit.limit_a:
            return ""
        [entry, *_] = [e for e in self._active if e.circuit == circuit.id and e.limit_a == min(limit_a)]
        return f'calendar "{entry.name}" limits {circuit.id} to {min(limit_a):g} A'

    # EVSEs

    def _plans(self) -> dict[EvseRef, EvsePlan]:
        """Return the plan of each EVSE that has one now; the later of two entries holds."""
        priorities: dict[EvseRef, int] = {}
        surplus: dict[EvseRef, bool] = {}
        for entry in self._active:
            for ref in entry.evses:
                if entry.priority is not None:
                    priorities[ref] = entry.priority
                if entry.surplus is not None:
                    surplus[ref] = entry.surplus
        return {
            ref: EvsePlan(priority=priorities.get(ref), surplus=surplus.get(ref))
            for ref in priorities.keys() | surplus.keys()
        }

    def view(self, now: float) -> EnergyView:
        """Return the state for people."""
        utc = self.utc(now)
        if utc is None:
            return EnergyView()
        views = []
        for circuit, peak in self._peaks.items():
            target_w = self._target_w(circuit, utc)
            if target_w is not None:
                views.append(
                    PeakView(
                        circuit=circuit,
                        target_w=target_w,
                        used_wh=max(0.0, peak.used_wh(self._worst_w[circuit], utc)),
                        ends_in_s=QUARTER_S - utc % QUARTER_S,
                        month_w=self._month_w(circuit, utc),
                    )
                )
        return EnergyView(peaks=tuple(views), calendar=tuple(entry.name for entry in self._active))


def _peak_circuits(settings: EnergySettings) -> list[str]:
    by_calendar = [e.circuit for e in settings.calendar if e.circuit is not None and e.peak_w is not None]
    return list(dict.fromkeys([*settings.peaks, *by_calendar]))
