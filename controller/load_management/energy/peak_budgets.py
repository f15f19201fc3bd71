"""Budgets of all circuits with a limited quarter-hour peak, and their stored state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import msgspec

from controller.load_management.energy.active_calendar import ActiveCalendar, QuarterTarget
from controller.load_management.energy.energy_records import EnergyCounted, MonthPeakStored, QuarterStored
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.energy_view import PeakView
from controller.load_management.energy.quarter_peak import QUARTER_S, QuarterMemory, QuarterPeak
from controller.load_management.site_tree import SiteTree
from controller.model.statements import Statement, StatementCode

MONTHS_KEPT = 3
"""Months whose highest mean is kept: a clock that is set to another one and back loses none."""


class CircuitBase(msgspec.Struct, frozen=True, kw_only=True):
    """Base load of a circuit at this pass: power of all phases (W), and whether its meter is good.

    `worst_w`: the most that can flow there while the meter is not read (W).
    """

    base_w: float
    worst_w: float
    is_trusted: bool


class _Budget(msgspec.Struct, frozen=True):
    """Power that the EVSEs below a circuit may draw now, and in every quarter (W); `why`: the reason.

    `keep_w`: that in which the minima of EVSEs that charge are kept now.
    """

    room_w: float
    keep_w: float
    lasting_w: float
    why: Statement


class PeakBudgets:
    """Energy budgets of the running quarter hour. Times in POSIX s, None where unknown.

    `calendar`: that by which targets are found. `records`: list to which what has to be stored is added.
    """

    def __init__(
        self,
        site: SiteTree,
        settings: EnergySettings,
        calendar: ActiveCalendar,
        voltage_v: float,
        records: list[EnergyCounted],
    ) -> None:
        self._settings = settings
        self.calendar = calendar
        self._peaks: dict[str, QuarterPeak] = {}
        self._months: dict[str, dict[str, dict[str, float]]] = {}
        """Highest means (W) of each circuit by month, of the last few, in the quarters of each target.

        By the entry of the calendar that set it; empty: in all quarters.
        """
        self._stored_month = ""
        self._budgets: dict[str, _Budget] = {}
        self._sum_whys: dict[str, Statement] = {}
        self._stored_quarters: dict[str, int] = {}
        self._records = records
        self._fuse_w: dict[str, float] = {}
        self._worst_w: dict[str, float] = {}
        self.replace_site(site, settings, voltage_v)

    def replace_site(self, site: SiteTree, settings: EnergySettings, voltage_v: float) -> None:
        """Apply other limits and targets.

        A circuit that had a target keeps its energy of the quarter; for one that had none, the part of the
        quarter that has passed counts at the fuse's rating.
        """
        self._settings = settings
        by_calendar = [e.circuit for e in settings.calendar if e.circuit is not None and e.peak_w is not None]
        circuits = dict.fromkeys([*settings.peaks, *by_calendar])
        self._peaks = {circuit: self._peaks.get(circuit) or QuarterPeak() for circuit in circuits}
        self._budgets = {
            circuit: budget for circuit, budget in self._budgets.items() if circuit in self._peaks
        }
        self._fuse_w.clear()
        for circuit in self._peaks:
            self._fuse_w[circuit] = sum(site.circuit_by_id[circuit].limit_a) * voltage_v
        self._worst_w = dict(self._fuse_w)

    def begin_anew(self, circuits: Iterable[str]) -> None:
        """Count the quarter of these circuits anew, at the fuse's rating so far: their meters are others."""
        for circuit in circuits:
            if circuit in self._peaks:
                self._peaks[circuit] = QuarterPeak()
                self._budgets.pop(circuit, None)

    @property
    def circuits(self) -> frozenset[str]:
        """Return the circuits whose quarter-hour peak is limited."""
        return frozenset(self._peaks)

    def restore(self, record: QuarterStored | MonthPeakStored) -> None:
        """Take over what was stored before a restart; circuits without a peak are ignored."""
        peak = self._peaks.get(record.circuit)
        if peak is None:
            return
        if isinstance(record, QuarterStored):
            peak.restore(QuarterMemory(quarter=record.quarter, register_wh=record.register_wh))
            self._stored_quarters[record.circuit] = record.quarter
        else:
            self._months[record.circuit] = {record.month: {"": record.peak_w, **dict(record.entries)}}
            self._stored_month = max(self._stored_month, record.month)

    def on_reading(
        self, circuit: str, power_w: float, base_w: float, register_wh: float | None, utc: float
    ) -> None:
        """Process a good reading of one of `circuits`: its power, and the building's part of it (W)."""
        peak = self._peaks[circuit]
        # Before the first reading stations were not bounded by limits that are known now.
        worst_w = self._fuse_w[circuit] if peak.quarter is None else self._worst_w[circuit]
        peak.on_reading(power_w, base_w, register_wh, worst_w, utc)
        memory = peak.record()
        if memory is not None and self._stored_quarters.get(circuit) != memory.quarter:
            self._stored_quarters[circuit] = memory.quarter
            self._records.append(QuarterStored(circuit, memory.quarter, memory.register_wh))
        finished_w = peak.take_finished()
        if finished_w is not None:
            self._note_peak(circuit, finished_w, utc - QUARTER_S)

    def _note_peak(self, circuit: str, mean_w: float, utc: float) -> None:
        """Raise the month's highest means by that of a quarter hour at `utc`; a new month begins at 0."""
        months = self._months.setdefault(circuit, {})
        reached_w = months.setdefault(self.calendar.month(utc), {})
        while len(months) > MONTHS_KEPT:
            del months[next(iter(months))]
        target = self._target(circuit, utc)
        raised = [
            entry
            for entry in dict.fromkeys(("", "" if target is None else target.entry))
            if mean_w > reached_w.get(entry, 0.0)
        ]
        if raised:
            reached_w.update(dict.fromkeys(raised, mean_w))
            self._store_month(circuit, utc)

    def _store_month(self, circuit: str, utc: float) -> None:
        """Store the month's highest means, not in place of a later month: the clock may be behind."""
        month = self.calendar.month(utc)
        reached_w = self._months.get(circuit, {}).get(month, {})
        if month >= self._stored_month and (peak_w := reached_w.get("", 0.0)):
            self._stored_month = month
            entries = tuple((entry, watts) for entry, watts in reached_w.items() if entry)
            self._records.append(MonthPeakStored(circuit, month, peak_w, entries))

    def on_clock_set(self, step_s: float, utc: float) -> None:
        """Follow a step of the clock to `utc`: the quarter's energy stays known, and each month's peak."""
        if step_s < 0:
            self._stored_month = ""
        for circuit, peak in self._peaks.items():
            peak.on_clock_set(step_s, self._worst_w[circuit], utc)
            self._store_month(circuit, utc)

    def update(self, bases: Mapping[str, CircuitBase], utc: float | None) -> None:
        """Find the budgets of this pass; `bases` has each of `circuits`."""
        self._sum_whys.clear()
        for circuit, peak in self._peaks.items():
            target_w = self.target_w(circuit, utc)
            base = bases[circuit]
            # Since the last pass limits have held that it has found, or those of now.
            before_w = 0.0 if peak.quarter is None else self._worst_w[circuit]
            if utc is not None:
                peak.count_unread(max(before_w, base.worst_w), utc)
            self._worst_w[circuit] = base.worst_w
            if target_w is None:
                self._budgets.pop(circuit, None)
                continue
            room_w = keep_w = lasting_w = target_w - base.base_w
            if utc is not None:
                lasting_w = peak.lasting_w(target_w, base.base_w, utc, is_trusted=base.is_trusted)
                room_w, keep_w = peak.rooms_w(
                    target_w, base.base_w, base.worst_w, utc, is_trusted=base.is_trusted
                )
            why = Statement(code=StatementCode.QUARTER_HOUR_PEAK, circuit=circuit, power_w=target_w)
            self._budgets[circuit] = _Budget(room_w, keep_w, min(room_w, lasting_w), why)

    def _target(self, circuit: str, utc: float | None) -> QuarterTarget | None:
        """Return the target of the quarter hour at `utc`: by the calendar, else as set; None: no target."""
        settings = self._settings.peaks.get(circuit)
        return self.calendar.peak_target(circuit, None if settings is None else settings.target_w, utc)

    def target_w(self, circuit: str, utc: float | None) -> float | None:
        """Return the target of the quarter hour at `utc` (W), or what is free in its place; None: no target.

        What the month has reached under the circuit's own target is not free where the calendar sets one.
        """
        target, settings = self._target(circuit, utc), self._settings.peaks.get(circuit)
        if target is None:
            return None
        if settings is None or not settings.reached_is_free or utc is None:
            return target.watts
        return max(target.watts, self._month_w(circuit, utc, target.entry))

    def _month_w(self, circuit: str, utc: float, entry: str = "") -> float:
        """Return the month's highest mean (W) in the quarters of an entry, or in all; 0: none has ended."""
        return self._months.get(circuit, {}).get(self.calendar.month(utc), {}).get(entry, 0.0)

    @property
    def budgeted(self) -> Collection[str]:
        """Return the circuits with a budget for the rest of the quarter hour."""
        return self._budgets.keys()

    def bound_sum(self, circuit: str, room_a: float | None, volts: float) -> float | None:
        """Return the room of all EVSEs below a circuit (A, all phases): the given one, or the budget's."""
        budget = self._budgets.get(circuit)
        if budget is None:
            return room_a
        budget_a = budget.room_w / volts
        if room_a is not None and room_a <= budget_a:
            return room_a
        self._sum_whys[circuit] = budget.why
        return budget_a

    def sum_why(self, circuit: str) -> Statement | None:
        """Return the peak that uses up the room of all EVSEs below a circuit; None: none does."""
        return self._sum_whys.get(circuit)

    def kept_a(self, circuit: str, volts: float) -> float:
        """Return the room beyond that (A, all phases) in which the minima of EVSEs that charge are kept."""
        budget = self._budgets.get(circuit)
        return 0.0 if budget is None else (budget.keep_w - budget.room_w) / volts

    def unlasting_a(self, circuit: str, volts: float) -> float:
        """Return the part of the room (A, all phases) that ends with the quarter: no car starts in it."""
        budget = self._budgets.get(circuit)
        return 0.0 if budget is None else (budget.room_w - budget.lasting_w) / volts

    def views(self, utc: float) -> tuple[PeakView, ...]:
        """Return the state for people."""
        targets = {circuit: self.target_w(circuit, utc) for circuit in self._peaks}
        return tuple(
            PeakView(
                circuit=circuit,
                target_w=target_w,
                used_wh=max(0.0, self._peaks[circuit].used_wh(self._worst_w[circuit], utc)),
                is_measured=self._peaks[circuit].is_whole,
                ends_in_s=QUARTER_S - utc % QUARTER_S,
                month_w=self._month_w(circuit, utc),
            )
            for circuit, target_w in targets.items()
            if target_w is not None
        )
