"""Model of the site: what is known of its EVSEs and meters, kept up to date by events."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Collection

import msgspec

from controller.load_management.allocation.dimming_cap import DimmingCap
from controller.load_management.energy.energy_planner import EnergyPlanner
from controller.load_management.events import (
    ControlTick,
    EvseOverridden,
    GroupLimit,
    LimitAnswered,
    MeterUpdated,
    QuirkSelected,
    SiteDimmed,
    SiteEvent,
    SiteLog,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.due_evses import DueQueues
from controller.load_management.evse.evse_controller import SEEN_CHANGE_A, EvseController
from controller.load_management.evse.limit_delivery import NOISE_A, DeliveryMemory, LimitDelivery
from controller.load_management.evse.unconfigured_evse import UnconfiguredEvse
from controller.load_management.fault_notices import FaultNotices
from controller.load_management.metering.circuit_metering import CircuitMetering
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import ZERO, CircuitNode, EvseNode, PhaseAmps, SiteTree, lower_of
from controller.model.observations import (
    BackendLimit,
    Booted,
    DrawSeen,
    EvseObservation,
    EvseRef,
    NeedsSeen,
    Observation,
    ProfilesTouched,
    TransactionSeen,
)

UNBALANCE_NOISE_A = 0.5
SOUGHT_AT_ONCE = 200
"""EVSEs among which one is looked for whose car makes a step: each search takes others of a large site."""
DUE_AT_ONCE = 200
"""Largest number of EVSEs whose part of the draw totals is updated in one go."""

EVSE_NUMBERS = 2**20
"""Number of an EVSE is its token modulo this: no number is used twice while the controller runs."""
UNCONFIGURED_TOKENS = 2**48
"""Limits of EVSEs that the configuration does not name have tokens from here on."""


class SiteModel:
    """Knowledge about the site that a pass plans with. `group_a`: limit of a backend for the whole site."""

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self.site = site
        self.settings = settings
        self.metering = CircuitMetering(site, settings, now)
        self.dimming = DimmingCap(settings.voltage_v)
        self.energy = EnergyPlanner(site, settings.energy, settings.voltage_v)
        self.log: SiteLog = []
        """Faults and changes of limits that are to be logged."""
        self.notices = FaultNotices(self.log)
        self.due = DueQueues()
        self.unsaved: set[EvseRef] = set()
        """EVSEs with something new to record beside their limits: a goal, a learned value."""
        self._numbers = itertools.count()
        self._by_number: dict[int, EvseController] = {}
        self._number_of: dict[EvseRef, int] = {}
        self._restored: dict[EvseRef, None] = {}
        """EVSEs below a limited unbalance: a draw by an offer from before a restart is in the base load."""
        self.controllers: list[EvseController] = []
        self.by_ref: dict[EvseRef, EvseController] = {}
        self.of_station: defaultdict[str, list[EvseController]] = defaultdict(list)
        self._add_controllers(now)
        self.unconfigured: dict[EvseRef, UnconfiguredEvse] = {}
        """EVSEs of the site's stations that the configuration does not name, as they are reported."""
        self._unconfigured_tokens = itertools.count(UNCONFIGURED_TOKENS)
        self.group_a: float | None = None
        self.changes = 0
        """Number of events so far that may have changed what circuits supply or what is booked on them."""
        self._slowest_s: dict[str, float] = {}
        self._reactions: dict[EvseRef, float] = {}

    def _add_controllers(self, now: float) -> None:
        """Control the EVSEs of the site, in its order, each new one with the next number."""
        known = self.by_ref
        self.controllers = []
        for evse in self.site.evses:
            controller = known.get(evse.ref)
            if controller is None:
                number = next(self._numbers)
                controller = _make_controller(evse, number, self.settings, self.due, now)
                self._by_number[number], self._number_of[evse.ref] = controller, number
                self._note_place(controller, evse)
                controller.model.idleness.spread_probes(number)
            self.controllers.append(controller)
        self.by_ref = {controller.evse.ref: controller for controller in self.controllers}
        self.of_station = defaultdict(list)
        for controller in self.controllers:
            self.of_station[controller.evse.ref.station].append(controller)

    def replace_site(
        self, site: SiteTree, settings: SiteSettings, now: float, other_meters: Collection[str] = ()
    ) -> None:
        """Apply other limits, priorities and energy settings; add, change and remove circuits and EVSEs.

        A new EVSE is booked at its maximum until its station has accepted a limit. `other_meters`: those
        whose values mean something else than before. Raises ValueError if the grid connection is another
        circuit, or EVSEs that stay have another number of phases.
        """
        there = site.evse_by_ref
        staying = [each for each in self.site.evses if each.ref in there]
        if site.circuits[0].id != self.site.circuits[0].id:
            raise ValueError(f"the grid connection is {self.site.circuits[0].id}, not {site.circuits[0].id}")
        if any(_fixed_wiring(each) != _fixed_wiring(there[each.ref]) for each in staying):
            raise ValueError("EVSEs of the site have other numbers of phases than before")
        for ref in self.by_ref.keys() - site.evse_by_ref.keys():
            self._drop_controller(ref)
        for circuit in self.site.circuit_by_id.keys() - site.circuit_by_id.keys():
            self.notices.drop_circuit(circuit)
        self.site, self.settings = site, settings
        unknown = self.metering.replace_site(site, settings, now, other_meters)
        self.energy.replace_site(site, settings.energy, settings.voltage_v, now)
        self.energy.peaks.begin_anew(unknown)
        if settings.energy.battery is None:
            self.metering.set_battery(ZERO, ZERO)
        self._slowest_s.clear()  # of the EVSEs below each circuit: they are noted in the next pass
        self._reactions.clear()
        self._add_controllers(now)
        for controller, evse in zip(self.controllers, site.evses, strict=True):
            if evse != controller.evse:
                self._replace_evse(controller, evse, now)
            self._note_place(controller, evse)
            controller.mark_due()
            self.update_credit(controller, now)
        for each in self.unconfigured.values():
            self.metering.totals.set(each.evse, each.credit(now))

    def _note_place(self, controller: EvseController, evse: EvseNode) -> None:
        """Note which meters show an EVSE's car, and whether its draw helps other phases."""
        controller.model.phase_tests = self.metering.phase_tests_of(evse)
        controller.model.helps_phases = evse.circuit in self.site.unbalance_a
        controller.model.is_metered = evse.circuit not in self.site.partly_metered

    def _replace_evse(self, controller: EvseController, evse: EvseNode, now: float) -> None:
        """Use other settings of an EVSE, for those that are taken to be wired like it, too."""
        self.metering.totals.remove(controller.evse)
        controller.replace_evse(evse, now)
        for ref, each in self.unconfigured.items():
            if ref.station == evse.ref.station:
                self.metering.totals.remove(each.evse)
                each.replace_siblings(now)
                self.metering.totals.set(each.evse, each.credit(now))

    def _drop_controller(self, ref: EvseRef) -> None:
        """Remove an EVSE that the site no longer has, with those that are limited as it is."""
        controller = self.by_ref[ref]
        if (tests := controller.model.phase_tests) is not None:
            tests.set_needed(ref, is_needed=False, has_step=False)
        self.metering.totals.remove(controller.evse)
        del self._by_number[self._number_of.pop(ref)]
        self.due.remove(ref)
        self.unsaved.discard(ref)
        self._restored.pop(ref, None)
        self.dimming.set_minimum(ref, None)
        self._reactions.pop(ref, None)
        for each in [each for each in self.unconfigured if each.station == ref.station]:
            self.metering.totals.remove(self.unconfigured.pop(each).evse)

    def restore(self, ref: EvseRef, record: DeliveryMemory, now: float) -> None:
        """Take over what was recorded of an EVSE before a restart, if the site still has it."""
        if (controller := self.by_ref.get(ref)) is None:
            return
        controller.restore(record, now)
        controller.mark_due()
        if controller.model.helps_phases and self._shows_leads(controller.evse.circuit):
            controller.model.draw.let_offer_stand(now)
            self._restored[ref] = None
        self.update_credit(controller, now)

    def _shows_leads(self, circuit: str) -> bool:
        """Return True if meters show the leads on each circuit up to the grid connection that limits them."""
        return not any(
            each.unbalance_a is not None and (each.meter is None or each.measures_building)
            for each in self.site.path(circuit)
        )

    def on_event(self, event: SiteEvent, now: float) -> bool:
        """Update the model; return True if the current has to be shared anew."""
        self._mark_concerned(event)
        self.changes += not isinstance(event, ControlTick | LimitAnswered)
        match event:
            case StationUp(station=station):
                for controller in self.of_station.get(station, ()):
                    controller.delivery.on_connected(now)
                    controller.model.on_station_up()
                    self.update_credit(controller, now)
                for each in self._unconfigured_of(station):
                    each.delivery.on_connected(now)
                return True
            case StationDown(station=station):
                for controller in self.of_station.get(station, ()):
                    controller.on_station_down(now)
                    self.update_credit(controller, now)
                for each in self._unconfigured_of(station):
                    each.on_station_down(now)
                self._update_shared_limits(station, now)
                return True
            case QuirkSelected(station=station, quirk=quirk):
                changed = [each.apply_quirk(quirk, now) for each in self.of_station.get(station, ())]
                for unconfigured in self._unconfigured_of(station):
                    unconfigured.delivery.apply_quirk(quirk, now)
                return any(changed)
            case StationObserved(station=station, observation=observation):
                return self._on_observation(station, observation, now)
            case LimitAnswered():
                return self._on_limit_answered(event, now)
            case GroupLimit(limit_a=limit_a):
                self.group_a = limit_a
                return True
            case EvseOverridden(ref=ref):
                if ref in self.by_ref:
                    self.by_ref[ref].demand.override = event
                return ref in self.by_ref
            case SiteDimmed():
                return True
            case ControlTick() | MeterUpdated():
                return False  # taken in before: by a pass, by the fast loop

    def _mark_concerned(self, event: SiteEvent) -> None:
        """Have the next pass update the EVSEs that an event concerns."""
        match event:
            case StationObserved(observation=DrawSeen()):
                pass  # its EVSE is marked where what it draws changes what a pass plans with
            case StationUp() | StationDown() | QuirkSelected() | StationObserved():
                for each in self.of_station.get(event.station, ()):
                    each.mark_due()
            case EvseOverridden(ref=ref):
                if ref in self.by_ref:
                    self.by_ref[ref].mark_due()
            case _:
                pass

    def _on_observation(self, station: str, observation: Observation, now: float) -> bool:
        if isinstance(observation, Booted | ProfilesTouched):
            for each in (*self.of_station.get(station, ()), *self._unconfigured_of(station)):
                if isinstance(observation, Booted):
                    each.delivery.on_boot(now)
                else:
                    each.delivery.on_profiles_touched(now)
            return True
        controller = self.by_ref.get(EvseRef(station, observation.evse))
        if isinstance(observation, DrawSeen) and observation.at_v:
            nearby = self.of_station.get(station, ()) if controller is None else (controller,)
            measured_v = self.metering.measured_v(nearby[0].evse.circuit) if nearby else None
            if measured_v is not None:
                observation = observation.at_voltage(measured_v)
        if controller is None:
            return self._on_unconfigured(station, observation, now)
        return self._on_evse_observation(controller, observation, now)

    def _on_evse_observation(
        self, controller: EvseController, observation: EvseObservation | BackendLimit, now: float
    ) -> bool:
        """Update an EVSE of the site; return True if the current has to be shared anew."""
        if isinstance(observation, BackendLimit):
            controller.demand.backend = observation
            return True
        if isinstance(observation, TransactionSeen) and not observation.waits:
            self._plan_departure(controller, observation.running, now)
        if isinstance(observation, NeedsSeen) and not observation.is_planned:
            if not observation.is_goal and self.energy.evses.departures.has_goal(controller.evse.ref):
                return False  # the planned goal stays: the car names no other one
            self.energy.evses.departures.on_goal_set(controller.evse.ref)
        model, was_charging = controller.model, controller.model.is_charging
        changed, step = controller.on_observation(observation, now)
        if controller.has_unsaved_state:
            self.unsaved.add(controller.evse.ref)
        if model.is_charging and not was_charging and model.shows_by_meter(now):
            self.metering.add_start(controller.evse, now)
        self.notices.note_impossible(controller)
        self._update_help(controller, now)
        if step is not None:
            self.metering.add_step(controller.evse, step)
        if isinstance(observation, DrawSeen):
            self.metering.add_report(controller.evse, now, shows_limits=model.draw.has_followed)
        return changed

    def _plan_departure(self, controller: EvseController, running: bool, now: float) -> None:
        """Give a session that begins the planned departure goal, unless it has one already.

        That is one from before a restart, or one that was set for the next car.
        """
        needs = self.energy.on_transaction(controller.evse.ref, running, now)
        if controller.model.goal.leaves_at > now:
            self.energy.evses.departures.on_goal_set(controller.evse.ref)
        elif needs is not None:
            controller.on_observation(needs, now)

    def _on_unconfigured(self, station: str, observation: EvseObservation | BackendLimit, now: float) -> bool:
        """Count an EVSE that the configuration does not name; return True if its room changes."""
        siblings = self.of_station.get(station)
        if not siblings or isinstance(observation, BackendLimit) or observation.evse <= 0:
            return False
        ref = EvseRef(station, observation.evse)
        is_new = ref not in self.unconfigured
        if is_new:
            self.unconfigured[ref] = UnconfiguredEvse(
                observation.evse, siblings, self.settings.lease_s, self._unconfigured_tokens, now
            )
        each = self.unconfigured[ref]
        before = each.booked_a(now)
        each.on_observation(observation, now)
        self.metering.totals.set(each.evse, each.credit(now))
        self.notices.note_unconfigured(each.view(now))
        self._update_shared_limits(station, now)
        return is_new or before != each.booked_a(now)

    def _unconfigured_of(self, station: str) -> list[UnconfiguredEvse]:
        return [each for ref, each in self.unconfigured.items() if ref.station == station]

    def _update_shared_limits(self, station: str, now: float) -> None:
        """Note for the only configured EVSE of a station whether others draw under its limit, too."""
        unconfigured = self._unconfigured_of(station)
        for controller in self.of_station.get(station, ()):
            controller.booking.shares_its_limit = any(
                each.shares_limit and each.may_draw(now) for each in unconfigured
            )
            controller.mark_due()

    def _on_limit_answered(self, answer: LimitAnswered, now: float) -> bool:
        """Take in an answer; a refusal changes what can be shared at once, a cut frees its room later."""
        if answer.token >= UNCONFIGURED_TOKENS:
            answered = [
                each.delivery.on_answer(answer.token, answer.accepted, answer.detail, now)
                for each in self.unconfigured.values()
            ]
            return any(answered)
        controller = self._find_by_token(answer.token)
        if controller is None:
            return False
        before_a = controller.delivery.leased_a
        known = controller.on_answer(answer.token, answer.accepted, answer.detail, now)
        self.due.bookings.add(controller.evse.ref)
        if answer.accepted and (commanded := controller.commanded_step(before_a, now)) is not None:
            self.metering.add_commanded_step(controller.evse, commanded)
        if known and (step_a := controller.offer_step_a(before_a, now)):
            lower_a = min(before_a, controller.delivery.leased_a)
            self.metering.add_offer_step(controller.evse, step_a, lower_a, now)
        return known and not answer.accepted

    def _find_by_token(self, token: int) -> EvseController | None:
        """Return the configured EVSE that a limit was for; None for a limit of another one."""
        return None if token >= UNCONFIGURED_TOKENS else self._by_number.get(token % EVSE_NUMBERS)

    def limit_now_a(self, circuit: CircuitNode) -> PhaseAmps:
        """Return the limit of each phase (A) that the calendar and, at the root, a backend leave now."""
        return lower_of(
            self.energy.calendar.limit_a(circuit), self.group_a if circuit.parent is None else None
        )

    def on_meter(self, event: MeterUpdated, circuit: CircuitNode, now: float) -> tuple[bool, bool]:
        """Take in one state of a circuit's meter.

        Return whether its circuit has to be cut now, and whether the current has to be shared anew.
        """
        self.changes += 1
        metered = self.metering.meter_of(circuit)
        before = metered.standing(now)
        self.update_due_credits(now)
        overloaded = self.metering.on_meter_state(
            event.state,
            now,
            self._slowest_s.get(circuit.id, 0.0),
            self.limit_now_a(circuit),
            self.energy.calendar.limit_w(circuit),
        )
        if circuit.id in self.energy.peaks.circuits:
            self._measure_peak(circuit, now)
        defiant = self._find_defiant(circuit) if metered.over_limit else None
        self.notices.note_circuit(metered, now, defiant)
        is_other = metered.crossed or before != metered.standing(now)
        if overloaded:
            since = now - metered.over_limit_s(now)
            self._doubt_phases(circuit, metered.load.highest_rises_a, since, now)
        for vote in metered.votes:
            controller = self.by_ref[vote.ref]
            before_a = controller.booking.credit(now).likely_high
            if controller.model.on_step_seen(vote, now):
                likely_a = controller.booking.credit(now).likely_high
                missing_a = (before_a[0] - likely_a[0], before_a[1] - likely_a[1], before_a[2] - likely_a[2])
                for above in self.metering.metered_above(controller.evse.circuit):
                    above.explain_less(missing_a)
                controller.mark_due()
                is_other = True
            self._update_help(controller, now)
        if self.site.unbalance_a and metered.load.lacks_a != ZERO:
            is_other |= self._doubt_help(circuit, metered.load.lacks_a, now)
        for ref in metered.phase_steps.tests.take_turn(now):
            if ref in self.by_ref:
                self.by_ref[ref].mark_due()
        self._follow_car_steps(circuit, now)
        return overloaded, self._follow_unbalance(circuit, now) or is_other

    def _follow_unbalance(self, circuit: CircuitNode, now: float) -> bool:
        """Return True if the meter of a circuit shows more unbalance than it allows.

        Then no offer from before a restart stands below it; nor does one whose draw is out of the base load
        by the reading, as a report has shown it.
        """
        if circuit.unbalance_a is None:
            return False
        is_unbalanced = self._is_unbalanced(circuit)
        for ref in list(self._restored):
            controller = self.by_ref[ref]
            if circuit not in self.site.path(controller.evse.circuit):
                continue
            draw = controller.model.draw
            if is_unbalanced or draw.reported_at is not None or draw.restored_a(now) is None:
                del self._restored[ref]
                draw.end_restored()
                self._update_help(controller, now)
                self.due.demands.add(ref)
        return is_unbalanced

    def _is_unbalanced(self, circuit: CircuitNode) -> bool:
        """Return True if the meter of a circuit shows more unbalance than it allows."""
        most_a = circuit.unbalance_a
        return most_a is not None and self.metering.unbalanced_a(circuit) > most_a + UNBALANCE_NOISE_A

    def find_unbalanced(self) -> set[EvseRef]:
        """Return the EVSEs below circuits whose meters show more unbalance than they allow.

        Cars that surely draw on all phases are left out: they load no lead.
        """
        site = self.site
        limited = [site.circuit_by_id[name] for name in site.unbalance_a]
        return {
            evse.ref
            for each in limited
            if self._is_unbalanced(each)
            for evse in site.below[each.id]
            if not all(self.by_ref[evse.ref].model.sure_phases)
        }

    def _follow_car_steps(self, circuit: CircuitNode, now: float) -> None:
        """Have a car make a step where nothing else shows whether a circuit's meter is right."""
        metered = self.metering.meter_of(circuit)
        check, car_steps = metered.steps, metered.steps.car_steps
        if check.has_answered(now) and (stepping := self.by_ref.get(car_steps.end())) is not None:
            stepping.offer.end_step(now)
        held_back_a = metered.held_back_a
        is_held_back = held_back_a != ZERO
        below = self._sought_below(circuit, now) if is_held_back else []
        needed = check.needed_step(
            circuit.limit_a,
            now,
            held_back_a,
            car_waits=any(each.waits(now) for each in below),
            car_is_short=any(each.is_short for each in below),
            start_room_a=self.metering.start_room_a(circuit, now) if check.proof.problem else None,
        )
        is_readable = metered.has_good_reading if check.proof.problem else metered.is_good(now)
        if needed is None or not is_readable:
            return
        below = self._sought_below(circuit, now)
        able = [each for each in below if each.offer.possible_step_a(needed, now)]
        if not able and needed.otherwise is not None:
            needed = needed.otherwise
            able = [each for each in below if each.offer.possible_step_a(needed, now)]
        if able:
            best = min(able, key=lambda each: each.offer.step_order(needed, now))
            is_pause = best.offer.pauses_for(needed, now)
            duration_s = best.offer.begin_step(needed, now)
            car_steps.begin(best.evse.ref, duration_s, needed, now, is_pause=is_pause)
        else:
            needed.pauses.put_off(now)

    def _sought_below(self, circuit: CircuitNode, now: float) -> list[EvseController]:
        """Return the EVSEs below a circuit among which one is looked for now."""
        evses = self.site.below[circuit.id]
        first = int(now) % max(1, len(evses) - SOUGHT_AT_ONCE + 1)
        return [self.by_ref[evse.ref] for evse in evses[first : first + SOUGHT_AT_ONCE]]

    def _find_defiant(self, circuit: CircuitNode) -> EvseController | None:
        """Return the EVSE below a circuit that draws most above its limits by reports; None: none does."""
        below = (self.by_ref[evse.ref] for evse in self.site.below[circuit.id])
        found = max(below, key=lambda each: each.model.draw.overdraw_a, default=None)
        return found if found is not None and found.model.draw.defiant_a > 0 else None

    def _doubt_phases(self, circuit: CircuitNode, rises_a: PhaseAmps, since: float, now: float) -> None:
        """Doubt the phases of cars that may have added some, as their circuit is above its limit.

        `rises_a`: of its base load (A per phase). Stations have not reported since then (s). Reports or tests
        show it; until then all phases are booked.
        """
        for evse in self.site.below[circuit.id]:
            controller = self.by_ref[evse.ref]
            offered_a = controller.delivery.standing(now).offered_a
            if controller.model.doubt_phases(rises_a, offered_a, since, now):
                self.update_credit(controller, now)
                controller.mark_due()

    def _doubt_help(self, circuit: CircuitNode, lacks_a: PhaseAmps, now: float) -> bool:
        """Count no draw of cars without reports that a reading does not show; return True if there are any.

        `lacks_a`: how much less it shows than is likely to be drawn (A per phase).
        """
        found = False
        for evse in self.site.below[circuit.id]:
            controller = self.by_ref[evse.ref]
            if controller.model.on_draw_missing(lacks_a, now):
                self._update_help(controller, now)
                found = True
        return found

    def _measure_peak(self, circuit: CircuitNode, now: float) -> None:
        """Report a good reading to the quarter-hour peak of a circuit, with the building's part of it.

        What may be drawn by cars that have not been reported yet is no surge of the building.
        """
        metered = self.metering.meter_of(circuit)
        power_w = self.metering.active_w(metered)
        if metered.reading is None or power_w is None or not metered.is_good(now):
            return
        own_a = (max(pair) for pair in zip(metered.load.drawn_a, metered.load.unreported_a, strict=True))
        own_w = sum(own_a) * self.metering.voltage_v(circuit.id)
        self.energy.on_reading(circuit.id, power_w, power_w - own_w, metered.reading.energy_import_wh, now)

    def _update_help(self, controller: EvseController, now: float) -> None:
        """Bring an EVSE's part of the draw totals up to date, and what it draws to help other phases."""
        if self.update_credit(controller, now):
            self._mark_help(controller)

    def _mark_help(self, controller: EvseController) -> None:
        """Have the next pass find what an EVSE draws to help other phases, where that counts."""
        if controller.evse.circuit in self.site.unbalance_a:
            self.due.demands.add(controller.evse.ref)

    def update_credit(self, controller: EvseController, now: float) -> bool:
        """Bring an EVSE's part of the draw totals up to date, and note when it changes by itself.

        Returns True if it has changed.
        """
        self.due.credits.set_due(controller.evse.ref, controller.model.draw.credit_changes_at(now))
        return self.metering.totals.set(controller.evse, controller.booking.credit(now))

    def update_due_credits(self, now: float) -> bool:
        """Bring the draw totals up to date for EVSEs whose draw is known less or better by now.

        At most `DUE_AT_ONCE` of them, those that are due for longest; return True if there may be more.
        """
        due = self.due.credits.take_due(now, DUE_AT_ONCE)
        for ref in due:
            controller = self.by_ref[ref]
            self.update_credit(controller, now)
            self._mark_help(controller)
        return len(due) == DUE_AT_ONCE

    def note_reaction(self, controller: EvseController) -> None:
        """Note for the metered circuits above an EVSE how long the slowest one below them takes to obey."""
        ref, reaction_s = controller.evse.ref, controller.delivery.reaction_s
        before = self._reactions.get(ref)
        if reaction_s == before:
            return
        self._reactions[ref] = reaction_s
        for circuit in self.site.path(controller.evse.circuit):
            if self.metering.metered(circuit.id) is None:
                continue
            if before is None or reaction_s > before:
                self._slowest_s[circuit.id] = max(self._slowest_s.get(circuit.id, 0.0), reaction_s)
            else:
                below = self.site.below[circuit.id]
                self._slowest_s[circuit.id] = max(self._reactions.get(evse.ref, 0.0) for evse in below)

    def note_offer(self, controller: EvseController, before: float, now: float) -> None:
        """Notify the meters' checks that the draw of an EVSE may change now.

        Where a report shows the draw under the last offer, it changes from that to this one, else also by as
        much as the offer does.
        """
        offered = controller.offer.offered_a
        change = offered - before
        if abs(change) <= NOISE_A:
            return
        self.update_credit(controller, now)
        if abs(change) < SEEN_CHANGE_A or not controller.booking.may_draw(now):
            return
        drawn = controller.model.draw.drawn
        delta = [0.0, 0.0, 0.0]
        draw = [0.0, 0.0, 0.0]
        is_unreported = controller.model.reports_no_current(now)
        is_unknown = controller.model.draw.unknown(now) or not controller.model.draw.was_settled
        for phase in controller.evse.phases:
            follows = offered - drawn[phase]
            delta[phase] = min(0.0, follows) if change < 0 else max(0.0, follows)
            if is_unknown:
                delta[phase] = min(delta[phase], change) if change < 0 else max(delta[phase], change)
            if controller.model.phases[phase]:
                draw[phase] = offered if is_unreported else delta[phase]
        self.metering.add_offer(
            controller.evse,
            (delta[0], delta[1], delta[2]),
            (draw[0], draw[1], draw[2]),
            controller.model.sure_phases,
            now,
        )


def _make_controller(
    evse: EvseNode, number: int, settings: SiteSettings, due: DueQueues, now: float
) -> EvseController:
    """Return the controller of an EVSE; the tokens of its limits identify it by its number."""
    tokens = itertools.count(number, EVSE_NUMBERS)
    delivery = LimitDelivery(evse, settings.lease_s, tokens, settings.writes_per_day)
    return EvseController(evse, delivery, now, due)


def _fixed_wiring(evse: EvseNode) -> EvseNode:
    """Return what of an EVSE cannot change while the site runs: other keys are at their defaults."""
    return msgspec.structs.replace(
        evse,
        circuit="",
        phases=tuple(range(len(evse.phases))),
        min_a=0.0,
        max_a=0.0,
        fallback_a=0.0,
        reserve_a=0.0,
        priority=0,
        surplus=False,
    )
