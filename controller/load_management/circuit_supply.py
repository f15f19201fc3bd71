"""Supply of the circuits: what each may carry for the EVSEs below it, per phase and for all phases."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Sequence

from controller.load_management.allocation.constraints import AdmissionRooms, DimmedGroup, JointConstraint
from controller.load_management.allocation.headroom import FixedLeads, Headroom
from controller.load_management.energy.energy_planner import CircuitBase
from controller.load_management.events import CarRoom
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.metering.circuit_metering import BaseByCircuit, SiteBase
from controller.load_management.metering.unproven_phases import StartingCars
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps, SiteTree, lower_of, subtract
from controller.model.statements import Statement, StatementCode

NOISE_A = 0.03
"""Last digit of readings (A), which the margin carries: less than a minimum of 6 A fits in otherwise."""


class CircuitSupply:
    """Limits less base load and margin, and what the calendar, the grid operator and a backend leave."""

    def __init__(self, model: SiteModel) -> None:
        self._model = model
        self._building_peaks: dict[tuple[str, int], Statement] = {}
        """Last statement about each phase (circuit, 0 to 2)."""
        self.starting: set[str] = set()
        """Circuits that supply few cars, as their meters have shown no current yet."""
        self._reserved_a: defaultdict[str, float] = defaultdict(float)
        """Current that is kept free below each circuit for the next sessions of DC EVSEs (A per phase)."""
        self._rooms: dict[str, tuple[tuple[object, ...], PhaseAmps, PhaseAmps]] = {}
        """Last rooms for minima of each circuit (`keep`, `start`), and what they were found from."""

    def supplies(self, site: SiteTree, base: BaseByCircuit, now: float) -> Headroom:
        """Return what each circuit supplies to the EVSEs that the configuration names."""
        supply = {c.id: self.supply(c, base[c.id], now) for c in site.circuits}
        found = Headroom(site, supply, self._sums(site, base), self._dimmed_bound(now))
        for each in self._model.unconfigured.values():
            if each.evse.circuit in site.circuit_by_id:
                each.book(found, now)
        return found

    def _dimmed_bound(self, now: float) -> DimmedGroup | None:
        """Return what the grid operator leaves the controllable EVSEs, with own generation on top."""
        dimming = self._model.dimming
        if not dimming.bounds_all and not dimming.has_caps:
            return None
        dimming.set_voltage(self._model.metering.highest_v(self._model.site.circuits[0]), now)
        if not dimming.bounds_all:
            return None
        fed_in_a = self._model.metering.fed_in_a(now, is_sure=True)
        generated_a = self._model.energy.surplus_a(fed_in_a, now)
        return dimming.find_bound(max(0.0, generated_a - self._others_draw(now)))

    def supply(self, circuit: CircuitNode, base_a: PhaseAmps, now: float) -> PhaseAmps:
        """Return what a circuit with this base load supplies to the EVSEs below it (A per phase)."""
        left_a = self._left_a(circuit, self._model.energy.calendar.limit_a(circuit), base_a)
        self.starting.discard(circuit.id)
        metered = self._model.metering.metered(circuit.id)
        if metered is None or not metered.unseen.phases:
            return left_a
        found = metered.supplied_a(left_a, self._find_starting(circuit, now), now)
        if found != left_a:
            self.starting.add(circuit.id)
        return found

    def _left_a(self, circuit: CircuitNode, limit_a: PhaseAmps, base_a: PhaseAmps) -> PhaseAmps:
        """Return what a limit of a circuit, and a backend's of the site, leave beside all but cars."""
        if circuit.id == self._model.site.circuits[0].id:
            limit_a = lower_of(limit_a, self._model.group_a)
        return subtract(limit_a, self._others_a(circuit, base_a))

    def _others_a(self, circuit: CircuitNode, base_a: PhaseAmps) -> PhaseAmps:
        """Return what a circuit with this base load has for no EVSE, with its margin (A per phase)."""
        margin_a = self._model.metering.margin_a(circuit)
        if margin_a >= NOISE_A:
            base_a = _without_noise(base_a)
        first, second, third = self._hidden_a(circuit)
        return (base_a[0] + margin_a + first, base_a[1] + margin_a + second, base_a[2] + margin_a + third)

    def _hidden_a(self, circuit: CircuitNode) -> PhaseAmps:
        """Return what a battery delivers at a circuit and no car may count on (A per phase)."""
        is_root = circuit.id == self._model.site.circuits[0].id
        return self._model.energy.hidden_a if is_root else ZERO

    def _find_starting(self, circuit: CircuitNode, now: float) -> StartingCars:
        """Return what the EVSEs below a circuit need whose meter has shown no current yet."""
        least_a, is_asking = 0.0, False
        fallbacks_a, others_a = [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]
        for evse in self._model.site.below[circuit.id]:
            each = self._model.by_ref[evse.ref]
            least_a = max(least_a, each.demand.starting_a)
            if each.demand.has_demand and not each.demand.problem:
                is_asking = True
                for phase in evse.phases:
                    fallbacks_a[phase] += evse.fallback_a
                continue
            phases, booked_a = each.booking.current(now)
            for phase in range(3):
                others_a[phase] += evse.reserve_a + (booked_a if phases[phase] else 0.0)
        first, second, third = fallbacks_a
        return StartingCars(
            is_asking, least_a, (first, second, third), (others_a[0], others_a[1], others_a[2])
        )

    def _sums(self, site: SiteTree, base: BaseByCircuit) -> dict[str, float]:
        """Return the supply of all phases together (A), where power or the quarter's energy is limited."""
        found: dict[str, float] = {}
        peaks, limits_w = self._model.energy.peaks, self._model.energy.calendar.limits_w(site.circuits)
        for circuit in site.circuits:
            limit_w = limits_w.get(circuit.id)
            if limit_w is None and circuit.id not in peaks.budgeted:
                continue
            volts = self._model.metering.highest_v(circuit)
            room_a = None
            if limit_w is not None:
                room_a = limit_w / volts - sum(self._others_a(circuit, base[circuit.id]))
            if (bound_a := peaks.bound_sum(circuit.id, room_a, volts)) is not None:
                found[circuit.id] = bound_a
        return found

    def joint(
        self, site: SiteTree, base: SiteBase, room: Headroom, leads: FixedLeads, now: float
    ) -> dict[str, JointConstraint]:
        """Return what bounds phases together, where something does."""
        sums = room.sums()
        dimmed = {site.circuits[0].id: room.dimmed()}
        return {
            c.id: JointConstraint(
                sum_a=sums.get(c.id),
                sum_why=self._model.energy.peaks.sum_why(c.id),
                unbalance_a=c.unbalance_a,
                base_a=base.leading[c.id],
                low_a=base.low[c.id],
                shown_a=self._model.metering.shown_base_a(c, now),
                leads_a=leads.of_circuit(c.id),
                dimmed=dimmed.get(c.id),
            )
            for c in site.circuits
            if c.id in sums or c.unbalance_a is not None or dimmed.get(c.id) is not None
        }

    def find_reserves(self, controllers: Sequence[EvseController], room: Headroom, now: float) -> None:
        """Find the current that is kept free for the next sessions of DC EVSEs below each circuit.

        It is all that is reserved, unless a circuit cannot supply it beside those whose session is to begin:
        they come first. Where it never can, the room for one session at a time is kept free.
        """
        self._reserved_a.clear()
        circuits = self._model.site.circuit_by_id
        all_a: defaultdict[str, float] = defaultdict(float)
        one_a: defaultdict[str, float] = defaultdict(float)
        least_a: defaultdict[str, float] = defaultdict(float)
        for each in controllers:
            has_car = each.model.has_demand(now)
            for circuit in self._model.site.path(each.evse.circuit):
                all_a[circuit.id] += each.evse.reserve_a
                if has_car:
                    least_a[circuit.id] += each.demand.starting_a
                else:
                    one_a[circuit.id] = max(one_a[circuit.id], each.evse.reserve_a)
                    self._reserved_a[circuit.id] += each.evse.reserve_a
        for circuit_id, reserved_a in self._reserved_a.items():
            if all_a[circuit_id] > self._most_supplied_a(circuits[circuit_id]):
                reserved_a = one_a[circuit_id]
            left_a = room.least_on(circuit_id) - least_a[circuit_id]
            self._reserved_a[circuit_id] = max(0.0, min(reserved_a, left_a))

    def _most_supplied_a(self, circuit: CircuitNode) -> float:
        """Return the most that a circuit supplies on all phases at once (A per phase)."""
        most_a = min(circuit.limit_a)
        if circuit.limit_w is not None:
            most_a = min(most_a, circuit.limit_w / (3 * self._model.settings.voltage_v))
        return most_a - self._model.metering.margin_a(circuit)

    def book_reserves(self, room: Headroom) -> None:
        """Book room for the next sessions of DC EVSEs: cars that charge are not stopped for it."""
        for circuit, reserved_a in self._reserved_a.items():
            room.book_on(circuit, reserved_a)

    def admission(self, site: SiteTree, room: Headroom, base: SiteBase, now: float) -> AdmissionRooms:
        """Return the room for minima: of cars that charge it reaches to the limit itself.

        Another car starts where its minimum fits into the plan now, and into the limit with the highest base
        load of the last minutes: if that comes again, the margin carries it.
        """
        rooms = room.rooms()
        keep: dict[str, PhaseAmps] = {}
        start: dict[str, PhaseAmps] = {}
        building_peaks: dict[tuple[str, int], Statement] = {}
        for circuit in site.circuits:
            margin_a = self._model.metering.margin_a(circuit)
            kept_a = margin_a + self._reserved_a.get(circuit.id, 0.0)
            left, assumed = rooms[circuit.id], base.assumed[circuit.id]
            kept, begun = base.keep[circuit.id], base.start[circuit.id]
            terms = (left, assumed, kept, begun, margin_a, kept_a)
            known = self._rooms.get(circuit.id)
            if known is None or known[0] != terms:
                known = self._rooms[circuit.id] = (
                    terms,
                    (
                        left[0] + assumed[0] - kept[0] + kept_a,
                        left[1] + assumed[1] - kept[1] + kept_a,
                        left[2] + assumed[2] - kept[2] + kept_a,
                    ),
                    (
                        min(left[0], left[0] + assumed[0] - begun[0] + margin_a),
                        min(left[1], left[1] + assumed[1] - begun[1] + margin_a),
                        min(left[2], left[2] + assumed[2] - begun[2] + margin_a),
                    ),
                )
            _, keep[circuit.id], start[circuit.id] = known
            if begun is assumed:
                continue
            for phase in range(3):
                if begun[phase] > assumed[phase] + margin_a:
                    statement = self._building_peak(circuit, phase, now)
                    if statement is not None:
                        building_peaks[circuit.id, phase] = statement
        peaks = self._model.energy.peaks
        unlasting = {
            c.id: peaks.unlasting_a(c.id, self._model.metering.highest_v(c))
            for c in site.circuits
            if c.id in peaks.budgeted
        }
        sums = {
            circuit: self._admitted_sums(site.circuit_by_id[circuit], left_a, base)
            for circuit, left_a in room.sums().items()
        }
        return AdmissionRooms(keep, start, unlasting, building_peaks, sums)

    def _admitted_sums(self, circuit: CircuitNode, left_a: float, base: SiteBase) -> tuple[float, float]:
        """Return the room for minima of all phases together (A): of who charges, and of who would start.

        `left_a`: the room for shares. As on a phase, who charges is kept in the margin of a power limit and
        in what is reserved for others; a quarter hour's energy has no margin, but may be drawn sooner.
        """
        keep_a = left_a + 3 * self._reserved_a.get(circuit.id, 0.0)
        peaks = self._model.energy.peaks
        if peaks.sum_why(circuit.id) is not None:
            return keep_a + peaks.kept_a(circuit.id, self._model.metering.highest_v(circuit)), left_a
        margin_a = 3 * self._model.metering.margin_a(circuit)
        assumed_a, kept_a, begun_a = (sum(b[circuit.id]) for b in (base.assumed, base.keep, base.start))
        start_a = left_a + assumed_a - begun_a + margin_a
        return keep_a + assumed_a - kept_a + margin_a, min(left_a, start_a)

    def _building_peak(self, circuit: CircuitNode, phase: int, now: float) -> Statement | None:
        """Return the recent load in which no car starts, to whole A and minutes, so that it is steady."""
        peak = self._model.metering.start_peak(circuit, phase, now)
        time = "" if peak is None else self._model.energy.time_of_day(peak[0])
        if peak is None or not time:
            return None
        key, current_a = (circuit.id, phase), float(math.ceil(peak[1]))
        shown = self._building_peaks.get(key)
        if shown is None or (shown.current_a, shown.time) != (current_a, time):
            shown = self._building_peaks[key] = Statement(
                code=StatementCode.BUILDING_PEAK,
                circuit=circuit.id,
                phase=phase + 1,
                current_a=current_a,
                time=time,
            )
        return shown

    def _others_draw(self, now: float) -> float:
        """Return what EVSEs that the grid operator cannot dim draw of the own generation (A, all phases)."""
        return sum(
            sum(each.booking.credit(now).low)
            for each in self._model.controllers
            if not each.evse.is_controllable
        )

    def car_rooms(self, base: SiteBase) -> dict[str, CarRoom]:
        """Return the power that each circuit has for cars by its own limits, beside the building as it is."""
        found: dict[str, CarRoom] = {}
        for circuit in self._model.site.circuits:
            base_a = base.assumed[circuit.id]
            base_w = sum(
                self._model.metering.power_w(circuit, amps) for amps in (base_a, self._hidden_a(circuit))
            )
            first, second, third = self._left_a(circuit, circuit.limit_a, base_a)
            volts = self._model.metering.voltage_v(circuit.id)
            found[circuit.id] = CarRoom(
                phases_w=(first * volts, second * volts, third * volts),
                sum_w=math.inf if circuit.limit_w is None else circuit.limit_w - base_w,
                others_a=self._others_a(circuit, base_a),
                base_w=base_w,
                volts=volts,
            )
        return found

    def peak_bases(self, base: SiteBase, now: float) -> dict[str, CircuitBase]:
        """Return the base load of each circuit whose quarter-hour peak is limited.

        While its meter is not good, what may flow is the worst base load and the highest limits of the EVSEs.
        """
        found: dict[str, CircuitBase] = {}
        for circuit_id in self._model.energy.peaks.circuits:
            circuit = self._model.site.circuit_by_id[circuit_id]
            metered = self._model.metering.metered(circuit_id)
            is_trusted = metered is None or metered.is_good(now)
            base_a = base.assumed[circuit_id]
            if metered is not None:
                base_a = subtract(base_a, metered.load.unreported_a)
            base_w = self._model.metering.power_w(circuit, base_a)
            worst_w = self._model.metering.power_w(circuit, circuit.limit_a)
            if not is_trusted:
                held_a = sum(
                    self._model.by_ref[evse.ref].delivery.standing(now).held_a * len(evse.phases)
                    for evse in self._model.site.below[circuit_id]
                )
                worst_w = min(worst_w, base_w + held_a * self._model.metering.highest_v(circuit))
            found[circuit_id] = CircuitBase(base_w=base_w, worst_w=worst_w, is_trusted=is_trusted)
        return found


def _without_noise(load_a: PhaseAmps) -> PhaseAmps:
    """Return a load in tenths (A) on each phase where it is as much but for the last digit of readings."""
    found = list(load_a)
    for phase, amps in enumerate(load_a):
        tenths_a = math.floor(amps * 10) / 10
        if amps - tenths_a <= NOISE_A:
            found[phase] = tenths_a
    return (found[0], found[1], found[2])
