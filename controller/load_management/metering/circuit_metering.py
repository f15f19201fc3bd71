"""Meters of the site, put to its circuits: base load everywhere, and where no meter can be planned with."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from functools import cached_property

import msgspec

from controller.load_management.evse.consumption import (
    BEFORE_STATE_S,
    NOTHING,
    CommandedStep,
    OfferCredit,
    ReportedStep,
)
from controller.load_management.metering.base_load import MARGIN_USED, NOISE_A
from controller.load_management.metering.metered_circuit import (
    LOAD_RECORDS,
    NO_PROBLEM,
    LoadStored,
    MeteredCircuit,
    MeterProblem,
    phase_currents,
)
from controller.load_management.metering.phase_steps import OfferStep, PhaseTests
from controller.load_management.metering.plausibility import VOLTAGE, PlausibilityBounds
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import (
    ZERO,
    CircuitNode,
    EvseNode,
    PhaseAmps,
    PhaseFlags,
    SiteTree,
    add_up,
    subtract,
)
from controller.model.journal import Record
from controller.model.observations import EvseRef
from controller.model.statements import Statement
from drivers.reading import MeterState, Quality, Reading

BaseByCircuit = Mapping[str, PhaseAmps]
"""A per phase that flow besides our EVSEs, for every circuit."""


class SiteBase(msgspec.Struct, frozen=True):
    """Base load of every circuit (A per phase), estimated for each question; see `base_load.py`.

    `leading`: what a phase leads others by. `low`: the lowest recent load. In both feed-in is negative.
    """

    assumed: BaseByCircuit
    keep: BaseByCircuit
    start: BaseByCircuit
    leading: BaseByCircuit
    low: BaseByCircuit


STEADY_V = 1.0
"""Change (V) of a measured voltage that is followed: energies and powers need it to half a percent."""
COST_ESTIMATE = 50
"""Work (about us of a small computer) to estimate the base load of one circuit."""
LOWERED_S = 5.0
"""Time above a lower limit than the circuit's own after which cars are stopped (s): motors start in less."""
SUMS = 18
"""Numbers of an `OfferCredit`."""


class DrawTotals:
    """Draw of all EVSEs below each metered circuit, kept as running sums: an update costs its path only."""

    def __init__(self, site: SiteTree, metered: Mapping[str, object]) -> None:
        self._sums = {circuit: [0.0] * SUMS for circuit in metered}
        self._paths = {
            circuit.id: [self._sums[each.id] for each in site.path(circuit.id) if each.id in self._sums]
            for circuit in site.circuits
        }
        self._credits: dict[EvseRef, OfferCredit] = {}

    def set(self, evse: EvseNode, credit: OfferCredit) -> bool:
        """Replace one EVSE's part of the sums; return True if it is another one."""
        before = self._credits.get(evse.ref, NOTHING)
        if credit == before:
            return False
        self._credits[evse.ref] = credit
        paths = self._paths[evse.circuit]
        for begin, old, new in (
            (0, before.low, credit.low),
            (3, before.high, credit.high),
            (6, before.unreacted, credit.unreacted),
            (9, before.in_reaction, credit.in_reaction),
            (12, before.likely_low, credit.likely_low),
            (15, before.likely_high, credit.likely_high),
        ):
            if old == new:
                continue
            first, second, third = new[0] - old[0], new[1] - old[1], new[2] - old[2]
            for sums in paths:
                sums[begin] += first
                sums[begin + 1] += second
                sums[begin + 2] += third
        return True

    def remove(self, evse: EvseNode) -> None:
        """Take an EVSE out of the sums, with its circuit as it was when it was set last."""
        self.set(evse, NOTHING)
        self._credits.pop(evse.ref, None)

    def below(self, circuit: str) -> OfferCredit:
        """Return the draw of all EVSEs below a metered circuit."""
        a, b, c, d, e, f, g, h, i, j, k, m, n, o, p, q, r, s = self._sums[circuit]
        return OfferCredit((a, b, c), (d, e, f), (g, h, i), (j, k, m), (n, o, p), (q, r, s))


class CircuitMetering:
    """State of the site's meters, and base load of each circuit.

    `record_types`: types of the records that it returns and restores.
    """

    record_types: tuple[type[Record], ...] = LOAD_RECORDS

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self._site = site
        self._settings = settings
        self._metered = {
            circuit.id: self._make_metered(circuit, now)
            for circuit in site.circuits
            if circuit.meter is not None
        }
        self._by_meter = {each.circuit.meter: each for each in self._metered.values()}
        self.totals = DrawTotals(site, self._metered)
        self.unsaved: dict[str, MeteredCircuit] = {}
        """Circuits with something new of their base loads to record."""
        self._measured_v: dict[str, float] = {}
        """Voltage that the meter of each circuit shows, the mean of its phases (V, line to neutral)."""
        self._above_since: dict[str, float] = {}
        """Since when circuits are above a limit that is lower than their own (s)."""

    def replace_site(
        self, site: SiteTree, settings: SiteSettings, now: float, other_meters: Collection[str] = ()
    ) -> set[str]:
        """Apply other limits, margins, circuits and meters; return the circuits whose meter is not known yet.

        What the meter of a circuit has shown stays, unless it is another one: by its name, by the part of the
        current that it shows, or because it is one of `other_meters`, whose values mean something else now.
        The sums of `totals` begin at 0 where circuits or meters are others: each EVSE has to be set again.
        """
        before, former = self._site, self._metered
        self._site, self._settings = site, settings
        for name, member in vars(CircuitMetering).items():
            if isinstance(member, cached_property):  # computed once for each site
                vars(self).pop(name, None)
        self._metered = {}
        unknown = set()
        for circuit in site.circuits:
            if circuit.meter is None:
                continue
            metered = former.get(circuit.id)
            if (
                metered is None
                or circuit.meter in other_meters
                or _is_measured_anew(metered.circuit, circuit)
            ):
                self._metered[circuit.id] = added = self._make_metered(circuit, now)
                unknown.add(circuit.id)
                # A circuit that had no meter has been planned with the declared base load so far.
                if circuit.base_load_a or (metered is None and circuit.id in before.circuit_by_id):
                    added.await_first_reading(now)
                continue
            bounds = PlausibilityBounds.of_circuit(circuit, self._generation[circuit.id], settings.voltage_v)
            metered.replace_circuit(circuit, bounds, self._configured_margin_a(circuit), settings.silence_s)
            self._metered[circuit.id] = metered
        self._by_meter = {each.circuit.meter: each for each in self._metered.values()}
        self.unsaved = {name: each for name, each in self.unsaved.items() if self._metered.get(name) is each}
        if _list_places(before) != _list_places(site):
            self.totals = DrawTotals(site, self._metered)
        return unknown

    def _make_metered(self, circuit: CircuitNode, now: float) -> MeteredCircuit:
        return MeteredCircuit(
            circuit,
            PlausibilityBounds.of_circuit(circuit, self._generation[circuit.id], self._settings.voltage_v),
            self._configured_margin_a(circuit),
            self._settings.silence_s,
            now,
        )

    def margin_a(self, circuit: CircuitNode) -> float:
        """Return what is kept free below the circuit's limit (A per phase): as configured, or as learned.

        A circuit without a meter of its own has nothing to learn from.
        """
        found = self._metered.get(circuit.id)
        return self._configured_margin_a(circuit) if found is None else found.margin_a

    def take_records(self) -> list[Record]:
        """Return what has to be stored of the base loads since the last call."""
        unsaved, self.unsaved = self.unsaved, {}
        return [record for each in unsaved.values() for record in each.take_records()]

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart; circuits without a meter are ignored."""
        for record in records:
            if isinstance(record, LoadStored) and record.circuit in self._metered:
                self._metered[record.circuit].restore(record)

    def _configured_margin_a(self, circuit: CircuitNode) -> float:
        return self._settings.margin_a if circuit.margin_a is None else circuit.margin_a

    def start_room_a(self, circuit: CircuitNode, now: float) -> PhaseAmps | None:
        """Return what a circuit with a meter of its own leaves beside its base load (A per phase).

        None where no base load is declared: its worst is not known while the meter is suspected.
        """
        if not circuit.base_load_a:
            return None
        base_a = self._metered[circuit.id].base(now, self._declared[circuit.id]).start
        return subtract(subtract(circuit.limit_a, (self.margin_a(circuit),) * 3), base_a)

    def carried_a(self, circuit: CircuitNode) -> float:
        """Return the part of the margin that a surge may use before anybody is cut (A per phase)."""
        return MARGIN_USED * self.margin_a(circuit)

    def meter_problem(self, circuit: CircuitNode, now: float) -> MeterProblem:
        """Return what is wrong with the circuit's meter, or what its good readings lack; empty if nothing."""
        found = self._metered.get(circuit.id)
        return NO_PROBLEM if found is None else found.problem(now)

    def circuit_of(self, meter: str) -> CircuitNode | None:
        """Return the circuit that a meter measures; None for a meter that measures none."""
        found = self._by_meter.get(meter)
        return None if found is None else found.circuit

    def meter_of(self, circuit: CircuitNode) -> MeteredCircuit:
        """Return the state of the meter of a circuit that has one of its own."""
        return self._metered[circuit.id]

    def metered(self, circuit: str) -> MeteredCircuit | None:
        """Return the state of a circuit's own meter; None without one."""
        return self._metered.get(circuit)

    def awaits_readings(self, now: float) -> bool:
        """Return True if the meter of a circuit has no good reading."""
        return any(not each.is_good(now) for each in self._metered.values())

    def expect_reports(self) -> None:
        """Take cars to draw by offers from before a restart until their stations report."""
        for each in self._metered.values():
            each.expect_reports()

    def metered_above(self, circuit: str) -> list[MeteredCircuit]:
        """Return the circuits with meters from this one up to the grid connection."""
        return [self._metered[each] for each in self._meters_up[circuit]]

    def set_battery(self, flow_a: PhaseAmps, hidden_a: PhaseAmps) -> None:
        """Note the flow of a battery at the grid connection (A per phase; positive: it charges).

        `hidden_a`: what it delivers and no car may count on: that is taken off the supply of the circuit.
        """
        grid = self._metered.get(self._site.circuits[0].id)
        if grid is not None:
            grid.battery_a, grid.hidden_a = flow_a, hidden_a

    def add_step(self, evse: EvseNode, step: ReportedStep) -> None:
        """Let the meters above an EVSE look for a step that its station reported."""
        for each in self.metered_above(evse.circuit):
            if not each.circuit.measures_building:
                each.window.add_step(step)
                each.steps.add_step(step)

    def add_commanded_step(self, evse: EvseNode, step: CommandedStep) -> None:
        """Let the meters above an EVSE look for a step that its car makes by a limit."""
        for each in self.metered_above(evse.circuit):
            if not each.circuit.measures_building:
                each.steps.add_commanded(step)

    def add_offer(
        self, evse: EvseNode, change_a: PhaseAmps, draw_a: PhaseAmps, sure: PhaseFlags, now: float
    ) -> None:
        """Note that an EVSE's draw may change by `change_a`, to `draw_a`: it may hide another one's step.

        `draw_a` is the draw beyond the EVSE's last report; as a whole where it reports nothing. `sure`: the
        phases on which its car draws in any case.
        """
        for each in self.metered_above(evse.circuit):
            each.window.add_change(evse.ref, change_a, now)
            each.window.add_offer(evse.ref, draw_a, now, sure)

    def add_report(self, evse: EvseNode, now: float, *, shows_limits: bool) -> None:
        """Note that an EVSE has reported its draw: its earlier offers explain no change any more.

        `shows_limits`: its car has followed all limits since its last report.
        """
        for each in self.metered_above(evse.circuit):
            each.window.add_report(evse.ref, now)
            each.steps.on_report(evse.ref, shows_limits=shows_limits)

    def add_start(self, evse: EvseNode, now: float) -> None:
        """Let the nearest meter above an EVSE show the phases of its car, whose start was reported now."""
        self.add_offer_step(evse, evse.min_a, 0.0, now - BEFORE_STATE_S)

    def phase_tests_of(self, evse: EvseNode) -> PhaseTests | None:
        """Return the tests below the nearest meter above an EVSE that shows its current; None: none does."""
        metered = self._nearest_meter(evse)
        return None if metered is None else metered.phase_steps.tests

    def add_offer_step(self, evse: EvseNode, step_a: float, lower_a: float, at: float) -> None:
        """Let the nearest meter above an EVSE show the phases of its car, which follows a step (A) now.

        `lower_a`: the lower of the two offers (A per phase).
        """
        if (metered := self._nearest_meter(evse)) is not None:
            step = OfferStep(ref=evse.ref, phases=evse.phases, step_a=step_a, at=at, lower_a=lower_a)
            metered.phase_steps.add_step(step)

    def _nearest_meter(self, evse: EvseNode) -> MeteredCircuit | None:
        above = self.metered_above(evse.circuit)
        return next((each for each in above if not each.circuit.measures_building), None)

    def on_meter_state(
        self,
        state: MeterState,
        now: float,
        slowest_s: float = 0.0,
        limit_a: PhaseAmps | None = None,
        limit_w: float | None = None,
    ) -> bool:
        """Take in one state of a circuit's meter; return True if the circuit has to be cut now.

        `slowest_s`: the longest time an EVSE below that circuit takes to obey. `limit_a`, `limit_w`: limits
        that hold now, of each phase (A) and of the power of all (W); None: the circuit's own, and none.
        """
        metered = self._by_meter[state.meter]
        draw = self.totals.below(metered.circuit.id)
        too_much = self._is_above(metered.circuit, state, draw, limit_a, limit_w, now)
        is_over = metered.on_meter_state(state, draw, now, too_much, slowest_s)
        if state.reading is not None and state.quality is Quality.GOOD:
            self._note_voltage(metered.circuit.id, state.reading)
            self._note_own_load(metered, now)
            if not state.stations_alone:
                self._show_above(metered, now)
        if metered.is_unsaved:
            self.unsaved[metered.circuit.id] = metered
        return is_over

    def _is_above(
        self,
        circuit: CircuitNode,
        state: MeterState,
        draw: OfferCredit,
        limit_a: PhaseAmps | None,
        limit_w: float | None,
        now: float,
    ) -> bool:
        """Return True if a reading is above a limit in W, or cars are above one in A for some seconds."""
        is_lowered = limit_a is not None and limit_a != circuit.limit_a and not circuit.measures_building
        if not is_lowered:
            self._above_since.pop(circuit.id, None)
        if state.reading is None or (limit_w is None and not is_lowered):
            return False
        measured = phase_currents(state.reading, self._settings.voltage_v)
        if measured is None:
            return False
        if limit_w is not None and self.power_w(circuit, measured) > limit_w:
            return True
        if limit_a is None or not is_lowered:
            return False
        readings = zip(measured, limit_a, draw.high, strict=True)
        if not any(amps > most_a + NOISE_A and drawn_a > 0 for amps, most_a, drawn_a in readings):
            self._above_since.pop(circuit.id, None)
            return False
        return now - self._above_since.setdefault(circuit.id, now) >= LOWERED_S

    def unbalanced_a(self, circuit: CircuitNode) -> float:
        """Return how far the highest phase is above the lowest by the circuit's meter (A); 0 without one."""
        found = self._metered.get(circuit.id)
        if found is None or found.measured is None or found.circuit.measures_building:
            return 0.0
        return max(found.measured) - min(found.measured)

    def fed_in_a(self, now: float, *, is_sure: bool = False) -> float:
        """Return the feed-in besides our EVSEs, all phases added up (A of active power); 0 if unknown.

        It is negative while the site draws. Where the meter shows active power, that is what counts: reactive
        current is no feed-in. `is_sure`: a draw that no report shows is none there, and not as likely as
        beside the base load.
        """
        grid = self._site.circuits[0]
        found = self._metered.get(grid.id)
        if found is None or not found.is_good(now):
            return 0.0
        fed_in_a = -sum(found.load.signed(now))
        active_a = self._active_a(found)
        if active_a is not None:
            drawn_a = self.totals.below(grid.id).low if is_sure else found.load.drawn_a
            own_a = 0.0 if found.circuit.measures_building else sum(drawn_a)
            fed_in_a = min(fed_in_a, own_a - active_a) if fed_in_a > 0 else fed_in_a
        return fed_in_a

    def _active_a(self, metered: MeteredCircuit) -> float | None:
        """Return the active power of all phases (A at the site's voltage); None if it is not shown."""
        reading = metered.reading
        if reading is None:
            return None
        if reading.power_total_w is not None:
            return reading.power_total_w / self._settings.voltage_v
        known = [watts for watts in reading.power_w if watts is not None]
        return sum(known) / self._settings.voltage_v if len(known) == 3 else None

    def active_w(self, metered: MeteredCircuit) -> float | None:
        """Return the active power of all phases (W) as last read, else by its currents; None: unknown."""
        active_a = self._active_a(metered)
        if active_a is not None:
            return active_a * self._settings.voltage_v
        return None if metered.measured is None else self.power_w(metered.circuit, metered.measured)

    def power_w(self, circuit: CircuitNode, amps: PhaseAmps) -> float:
        """Return the most that these currents are, in W: at the circuit's own voltage, nothing reactive."""
        return sum(a * v for a, v in zip(amps, self._voltages(circuit), strict=True))

    def highest_v(self, circuit: CircuitNode) -> float:
        """Return the highest voltage of a phase to plan with (V): as measured, else as declared."""
        return max(self._voltages(circuit))

    def _voltages(self, circuit: CircuitNode) -> PhaseAmps:
        """Return the voltages to plan with (V): below the declared one while good readings show that."""
        declared = self._settings.voltage_v
        for each in self.metered_above(circuit.id):
            if (reading := each.reading) is not None:
                mean = self._measured_v.get(each.circuit.id) if each.has_good_reading else None
                least = declared if mean is None else mean
                first, second, third = reading.voltage_v
                return max(least, first or 0.0), max(least, second or 0.0), max(least, third or 0.0)
        return (declared,) * 3

    def _note_voltage(self, circuit: str, reading: Reading) -> None:
        """Note the voltage of a reading, where it is about as high as declared."""
        known = [volts for volts in reading.voltage_v if volts is not None]
        if not known:
            return
        volts, declared = sum(known) / len(known), self._settings.voltage_v
        before = self._measured_v.get(circuit, math.inf)
        if abs(volts - declared) <= VOLTAGE * declared and abs(volts - before) >= STEADY_V:
            self._measured_v[circuit] = volts

    def measured_v(self, circuit: str) -> float | None:
        """Return the voltage at a circuit (V, line to neutral) by the nearest meter that shows it.

        It follows changes of `STEADY_V` and more. None while no meter shows one.
        """
        for each in self._meters_up[circuit]:
            if (volts := self._measured_v.get(each)) is not None:
                return volts
        return None

    def voltage_v(self, circuit: str) -> float:
        """Return the voltage at a circuit (V, line to neutral): as measured, else as declared."""
        return self.measured_v(circuit) or self._settings.voltage_v

    def quality(self, circuit: CircuitNode, now: float) -> Quality | None:
        """Return what the circuit's meter is worth now; None without a meter."""
        found = self._metered.get(circuit.id)
        return None if found is None else found.quality(now)

    def troubles_above(self, now: float, site: SiteTree | None = None) -> dict[str, Statement | None]:
        """Return for every circuit why EVSEs below it must keep to their fallback; None: they need not.

        A meter that cannot be planned with is the trouble of everything below it. `site`: of this part of
        the site, and of what is above it.
        """
        part = self._site if site is None else site
        found: dict[str, Statement | None] = {}
        for circuit in [*reversed(self._site.path(part.circuits[0].id)), *part.circuits[1:]]:
            above = found[circuit.parent] if circuit.parent is not None else None
            metered = self._metered.get(circuit.id)
            found[circuit.id] = above if metered is None else metered.trouble(now) or above
        return found

    @cached_property
    def covers(self) -> dict[str, bool]:
        """Return for every circuit whether a meter measures it or one above it."""
        found: dict[str, bool] = {}
        for circuit in self._site.circuits:
            above = circuit.parent is not None and found[circuit.parent]
            found[circuit.id] = circuit.meter is not None or above
        return found

    def measured(self, circuit: CircuitNode) -> PhaseAmps | None:
        """Return the last currents that the circuit's meter showed, however old."""
        found = self._metered.get(circuit.id)
        return None if found is None else found.measured

    def estimate(self, now: float) -> Iterator[int]:
        """Find the base load of every circuit with a meter, so that `base` has it soon after.

        Yields the cost of each step.
        """
        for number, (circuit, metered) in enumerate(self._metered.items(), 1):
            metered.base(now, self._declared[circuit])
            if number % 20 == 0:
                yield 20 * COST_ESTIMATE

    def base(self, now: float, site: SiteTree | None = None) -> SiteBase:
        """Return the base load of every circuit; `site`: of this part of the site.

        Without a meter of its own a circuit is taken to carry what its children do, and what is declared.
        """
        part = self._site if site is None else site
        unmetered = self._without_meters
        assumed, keep, start, leading = unmetered.copy(), unmetered.copy(), unmetered.copy(), unmetered.copy()
        low = unmetered.copy()
        kinds = (assumed, keep, start, leading, low)
        for circuit in reversed(part.circuits):  # children first
            children = self._metered_below.get(circuit.id)
            if children is None:
                continue
            metered = self._metered.get(circuit.id)
            if metered is not None:
                own = metered.base(now, self._declared[circuit.id], self._shown_below(metered, assumed, now))
                for base, amps in zip(kinds, own, strict=True):
                    base[circuit.id] = amps
                continue
            for base in kinds:
                first = second = third = circuit.base_load_a
                for child in children:
                    a, b, c = base[child]
                    first += a
                    second += b
                    third += c
                base[circuit.id] = (first, second, third)
        return SiteBase(assumed, keep, start, leading, low)

    def _shown_below(self, metered: MeteredCircuit, assumed: BaseByCircuit, now: float) -> PhaseAmps:
        """Return the base load of the circuits with meters below one whose own is not good (A per phase)."""
        below = self._nearest_below.get(metered.circuit.id)
        if not below or (metered.is_good(now) and not metered.doubted):
            return ZERO
        return add_up(assumed[each] for each in below)

    def _note_own_load(self, metered: MeteredCircuit, now: float) -> None:
        """Note what a circuit carries beside those below it, while all their meters are good."""
        names = self._nearest_below.get(metered.circuit.id)
        if names is None or not metered.load.own_load.is_due(now):
            return
        below = [self._metered[each] for each in names]
        if all(each.is_good(now) and not each.circuit.measures_building for each in (metered, *below)):
            below_a = add_up(each.load.likely_a for each in below)
            metered.load.own_load.add(subtract(metered.load.likely_a, below_a), now)

    def _show_above(self, metered: MeteredCircuit, now: float) -> None:
        """Hold what a meter shows against the rest of the one above it."""
        names = self._meters_up[metered.circuit.id]
        above = self._metered[names[1]] if len(names) > 1 else None
        if above is None or above.circuit.measures_building or metered.circuit.measures_building:
            return
        if metered.measured is not None and metered.is_good(now):
            settled_s = max(metered.settled_s, above.settled_s)
            above.on_reading_below(metered.circuit.id, metered.measured, settled_s, now)

    def shown_base_a(self, circuit: CircuitNode, now: float) -> PhaseAmps | None:
        """Return what the meter of a circuit shows of its base load (A per phase); None if it is not good."""
        found = self._find_trusted(circuit, now)
        return None if found is None else found.load.likely_a

    def start_peak(self, circuit: CircuitNode, phase: int, now: float) -> tuple[float, float] | None:
        """Return the time and the base load (A) of the peak in which no car starts.

        None without a meter of its own, and where no car starts for another reason.
        """
        found = self._find_trusted(circuit, now)
        return None if found is None else found.start_peak(phase, now)

    def _find_trusted(self, circuit: CircuitNode, now: float) -> MeteredCircuit | None:
        """Return what the meter of a circuit shows; None without one, and while it is not good or doubted."""
        found = self._metered.get(circuit.id)
        return None if found is None or found.doubted or not found.is_good(now) else found

    @cached_property
    def _meters_up(self) -> dict[str, tuple[str, ...]]:
        """Return for every circuit those with meters from it up to the grid connection."""
        return {
            circuit.id: tuple(each.id for each in self._site.path(circuit.id) if each.id in self._metered)
            for circuit in self._site.circuits
        }

    @cached_property
    def _metered_below(self) -> dict[str, list[str]]:
        """Return the children of each circuit that has a meter itself or below it."""
        children: dict[str, list[str]] = {circuit.id: [] for circuit in self._site.circuits}
        with_meter: set[str] = set()
        for circuit in reversed(self._site.circuits):  # children first
            if circuit.meter is not None:
                with_meter.add(circuit.id)
            if circuit.parent is not None:
                children[circuit.parent].append(circuit.id)
                if circuit.id in with_meter:
                    with_meter.add(circuit.parent)
        return {circuit: children[circuit] for circuit in with_meter}

    @cached_property
    def _nearest_below(self) -> dict[str, list[str]]:
        """Return for each circuit with a meter those below it that no other one with a meter is above."""
        found: dict[str, list[str]] = {}
        for circuit in self._metered:
            if len(above := self._meters_up[circuit]) > 1:
                found.setdefault(above[1], []).append(circuit)
        return found

    @cached_property
    def _without_meters(self) -> dict[str, PhaseAmps]:
        """Return the base load of every circuit if none had a meter: what is declared there and below."""
        return {circuit: (amps, amps, amps) for circuit, amps in self._declared.items()}

    @cached_property
    def _declared(self) -> dict[str, float]:
        """Return for every circuit the most that draws there beside our EVSEs (A per phase), as declared."""
        found = {circuit.id: circuit.base_load_a for circuit in self._site.circuits}
        for circuit in reversed(self._site.circuits):  # children first
            if circuit.parent is not None:
                found[circuit.parent] += found[circuit.id]
        return found

    @cached_property
    def _generation(self) -> dict[str, float | None]:
        """Return for every circuit the generation declared there and below (A per phase); None: none."""
        found = {circuit.id: circuit.generation_a for circuit in self._site.circuits}
        for circuit in reversed(self._site.circuits):  # children first
            own = found[circuit.id]
            if circuit.parent is not None and own is not None:
                found[circuit.parent] = (found[circuit.parent] or 0.0) + own
        return found


def _is_measured_anew(before: CircuitNode, after: CircuitNode) -> bool:
    """Return True if the readings of a circuit come from another meter, or show another part of it."""
    return (before.meter, before.measures_building) != (after.meter, after.measures_building)


def _list_places(site: SiteTree) -> list[object]:
    """Return the places of the circuits and meters of a site."""
    return [(each.id, each.parent, each.meter is None) for each in site.circuits]
