"""Planner of the EVSEs' shares: who takes part in the sharing, and what each gets, with the reason.

It stays from pass to pass: what an EVSE asks for is found anew only when the EVSE is updated, and its share
only when the allocator or one of the sets below gives it another.
"""

from __future__ import annotations

import heapq
import math
from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import NamedTuple

import msgspec

from controller.load_management.allocation.allocator import Allocation, Allocator, Demand
from controller.load_management.allocation.headroom import (
    NO_BOOKING,
    Booking,
    Bookings,
    FixedLeads,
    Headroom,
    Lead,
)
from controller.load_management.allocation.phase_count_choice import consider, consider_alone
from controller.load_management.allocation.rotation import REST_S, STOPS_S, Rotation
from controller.load_management.allocation.surplus import Surplus, share_surplus
from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.metering.circuit_metering import SiteBase
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import EvseNode, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

SETTLED_A = 0.5
"""Room beyond the fallback with which an EVSE without a car gets it back."""
NO_PAUSE = Statement(code=StatementCode.CANNOT_PAUSE)
ON_ONE_PHASE = Statement(code=StatementCode.CAR_ON_ONE_PHASE)
RESTING = Statement(code=StatementCode.RESTING, duration_s=REST_S)
STOPPED_OFTEN = Statement(code=StatementCode.STOPPED_OFTEN, duration_s=STOPS_S)
TAKES_NOTHING = Statement(code=StatementCode.CAR_PROBED)
NO_FALLBACK = Statement(code=StatementCode.NO_CAR_NO_FALLBACK)
LEFTOVER = Statement(code=StatementCode.CAR_OFFERED_LEFTOVER)
REMAINDER_A = 1.0
"""Most (A per phase) that an EVSE gets beyond its share from what others cannot use."""
MANY_EVSES = 500
KEPT_A = 0.3
"""Rise of a share (A per phase) that waits until its EVSE is updated, on a site of so many EVSEs."""
SOUGHT_EVERY_S = 10.0
"""Time (s) between two searches for a waiting car that may go first to show its phases."""
SOUGHT_AT_ONCE = 100
"""Longest waiting cars that are looked at in such a search."""
LEFTOVERS = 4
LEFTOVERS_S = 3600.0
"""A car that takes nothing is offered what no other takes so often within this time (s): it flutters."""
COST_UPDATE = 30
COST_OFFER = 6
COST_NOTED = 8
"""Work of one EVSE in each step (about us of a small computer)."""
ROUNDED_A = 1e-6
"""Error of sums that were added up one by one (A)."""

Evses = dict[EvseRef, EvseController]


class SitePart(NamedTuple):
    """Site, or one of its circuits with all that it feeds, and the controllers of its EVSEs."""

    site: SiteTree
    controllers: list[EvseController]


def make_part(model: SiteModel, circuit: str) -> SitePart:
    """Return a circuit, with all that it feeds, as a site of its own."""
    site = model.site
    below = {circuit}
    for each in site.circuits:  # parents first
        if each.parent in below:
            below.add(each.id)
    circuits = [each for each in site.circuits if each.id in below]
    root = msgspec.structs.replace(site.circuit_by_id[circuit], parent=None)
    part = SiteTree(circuits=(root, *circuits[1:]), evses=site.below[circuit])
    return SitePart(part, [model.by_ref[evse.ref] for evse in part.evses])


class Turns:
    """Times for which EVSEs have been served: one for all planners of a site."""

    def __init__(self, rotation_s: float) -> None:
        self.rotation = Rotation(rotation_s)
        self.surplus = Surplus()


class SharePlanner:
    """Plans the shares of a site, or of a part of it, from the model and the supply of its circuits."""

    def __init__(self, model: SiteModel, supply: CircuitSupply, turns: Turns, part: SitePart) -> None:
        self._model = model
        self._supply = supply
        self._rotation = turns.rotation
        self._surplus = turns.surplus
        self._site = part.site
        self._allocator = Allocator(part.site)
        self._trial_allocator = Allocator(part.site)
        self.allocations: dict[EvseRef, Allocation] = {}
        """Result: of all EVSEs that can be commanded and have a car or no room for one."""
        self._changed: dict[EvseRef, None] = {}
        self._on_circuit: defaultdict[str, list[EvseRef]] = defaultdict(list)
        for each in part.controllers:
            self._on_circuit[each.evse.circuit].append(each.evse.ref)
        self._troubles: Mapping[str, Statement | None] = {}
        self._to_update: dict[EvseRef, None] = {}
        self._to_note: dict[EvseRef, None] = {}
        """EVSEs whose result is found anew at the end of a pass."""
        self._demands: dict[EvseRef, Demand] = {}
        self._reserved: Evses = {}
        """EVSEs that cannot be commanded: they take what is booked for them before all others."""
        self._reserved_bookings = Bookings(part.site)
        self._switching: Evses = {}
        self._never_pausing: Evses = {}
        self._in_surplus_mode: Evses = {}
        self._overdrawn: Evses = {}
        self._probed: Evses = {}
        self._unproven: Evses = {}
        """EVSEs that have no room for their minimum, on phases that their cars may not use."""
        self._showing_sought_at = -math.inf
        """Time at which one of them was last looked for that may go first."""
        self._fits_surplus: set[EvseRef] = set()
        """EVSEs in surplus mode whose minimum on one phase the surplus has supplied, when last looked for."""
        self._stepping: Evses = {}
        """EVSEs whose stations follow whole steps only."""
        self._raised: dict[EvseRef, None] = {}
        """EVSEs that got more than their share of the last pass, from what others could not use."""
        self._idle: Evses = {}
        self._withdrawn_at: dict[EvseRef, deque[float]] = {}
        """Times at which cars that take nothing were last offered nothing any more (s, monotonic)."""
        self._fixed: dict[EvseRef, Allocation] = {}
        self._others: dict[EvseRef, Allocation] = {}
        """Results of the last pass that are not the allocator's."""
        self._guaranteed: dict[EvseRef, Demand] = {}
        self._reserved_leads = FixedLeads(part.site)
        self._leads = FixedLeads(part.site)
        """Leads by EVSEs that do not take part in the sharing, and by draws beyond the offers."""
        self._may_lead: dict[EvseRef, None] = {}
        """EVSEs below a limited unbalance whose cars may draw on one phase alone."""
        self._leading: EvseRef | None = None
        """The one of them that may lead by its minimum, beyond the unbalance."""
        self._whys: dict[str, Statement] = {}
        self._shares = Bookings(part.site)
        self._idle_needs = Bookings(part.site)
        self._dc = [each for each in part.controllers if each.evse.reserve_a]

    def take_changed(self, most: int) -> list[EvseRef]:
        """Return EVSEs whose allocation or maximum has changed, come or gone, each once: so many at most."""
        changed = list(islice(self._changed, most))
        for ref in changed:
            del self._changed[ref]
        return changed

    def changing_phases(self) -> list[EvseRef]:
        """Return the EVSEs for which a change of phases was decided and is not made yet."""
        return [ref for ref, each in self._switching.items() if each.model.switch.changing]

    # Who takes part

    def mark(self, refs: Iterable[EvseRef]) -> None:
        """Have `update` find anew what these EVSEs ask for."""
        self._to_update |= dict.fromkeys(refs)

    def note(self, refs: Iterable[EvseRef]) -> None:
        """Have `share` note what these EVSEs get, though they ask for the same as before."""
        self._to_note |= dict.fromkeys(refs)

    def update(self, now: float) -> Iterator[int]:
        """Find anew what marked EVSEs ask for, and those below a meter that is trusted no more or again.

        Yields the cost of each step.
        """
        troubles = self._model.metering.troubles_above(now, self._site)
        if troubles != self._troubles:
            for circuit, refs in self._on_circuit.items():
                if troubles[circuit] != self._troubles.get(circuit):
                    self._to_update |= dict.fromkeys(refs)
            self._troubles = troubles
        for number, ref in enumerate(list(self._to_update), 1):
            del self._to_update[ref]
            self._update_evse(self._model.by_ref[ref], now)
            if number % 50 == 0:
                yield 50 * COST_UPDATE

    def _update_evse(self, each: EvseController, now: float) -> None:
        """Put an EVSE into the sets that it belongs to now, and set its demand."""
        ref, evse = each.evse.ref, each.evse
        is_commandable = not each.demand.problem
        is_asking = each.demand.has_demand and not each.demand.is_paused
        if is_asking:
            self._rotation.add(ref, now, is_charging=each.may_be_charging(now))
            if is_commandable and self._is_begun(each, self.allocations.get(ref)):
                self._rotation.set_served(ref, True, now)
        else:
            self._rotation.remove(ref)
        if not each.demand.has_demand:
            self._withdrawn_at.pop(ref, None)
        demand, fixed = self._find_part(each, now) if is_commandable else (None, None)
        takes_nothing = is_commandable and is_asking and each.demand.takes_nothing
        is_idle = is_commandable and fixed is None and not each.demand.has_demand and each.demand.has_fallback
        moment = self._rotation.changes_at(ref, now)
        if moment < math.inf:
            self._model.due.demands.set_due(ref, moment)
        is_over = each.model.draw.has_excess or each.delivery.standing(now).late_a > 0
        can_switch = each.model.switch.able or each.model.switch.single
        uses_surplus = demand is not None and each.demand.waits_for_surplus
        for evses, belongs in (
            (self._reserved, not is_commandable),
            (self._probed, takes_nothing),
            (self._idle, is_idle),
            (self._in_surplus_mode, uses_surplus),
            (self._never_pausing, demand is not None and each.delivery.never_pauses),
            (self._stepping, demand is not None and not uses_surplus and each.has_whole_steps),
            (self._overdrawn, is_commandable and is_over),
            (self._switching, is_commandable and can_switch),
        ):
            if belongs:
                evses[ref] = each
            else:
                evses.pop(ref, None)
        self._reserved_bookings.set(evse, NO_BOOKING if is_commandable else each.booking.current(now))
        if self._site.unbalance_a:
            self._reserved_leads.set(ref, None if is_commandable else each.booking.lead(now))
        needed_a = evse.fallback_a + SETTLED_A
        self._idle_needs.set(evse, (each.model.phases, needed_a) if is_idle else NO_BOOKING)
        self._set_part(evse, demand, fixed)

    def _find_part(self, each: EvseController, now: float) -> tuple[Demand | None, Allocation | None]:
        """Return the demand with which an EVSE takes part in the sharing, or what it gets instead.

        Both are None where its car takes nothing of its offer, or none is there.
        """
        asks, dimming = each.demand, self._model.dimming
        if asks.is_paused:
            return None, _zero(each, asks.limit_by_override[1])
        if not asks.has_demand:
            why = dimming.idle(each.evse)
            return None, None if why is None else _zero(each, why)
        if asks.takes_nothing:
            return None, None
        ref = each.evse.ref
        lifted_at = dimming.lifted_at if each.evse.is_controllable else -math.inf
        has_nothing = each.evse.fallback_a < each.evse.min_a and self._troubles[each.evse.circuit] is not None
        may_rest = not (each.delivery.never_pauses or has_nothing)
        if may_rest and self._rotation.is_resting(ref, now, lifted_at):
            why = RESTING if self._rotation.rest_s(ref) <= REST_S else STOPPED_OFTEN
            return None, _zero(each, dimming.explain(each.evse, why))
        return self._demand(each, now), None

    def _set_part(self, evse: EvseNode, demand: Demand | None, fixed: Allocation | None) -> None:
        """Set what `_find_part` has found for an EVSE."""
        ref = evse.ref
        if fixed is None:
            self._fixed.pop(ref, None)
        else:
            self._fixed[ref] = fixed
        if demand is None or demand.sure_phases is None:
            self._may_lead.pop(ref, None)
        else:
            self._may_lead[ref] = None
        if demand is None:
            self._demands.pop(ref, None)
            self._unproven.pop(ref, None)
            self._shares.set(evse, NO_BOOKING)
        else:
            if (before := self._demands.get(ref)) is None or before.max_a != demand.max_a:
                self._changed[ref] = None  # what it can take beside its share
            self._demands[ref] = demand
        if ref not in self._guaranteed:
            self._allocator.set_demand(ref, None if ref in self._in_surplus_mode else demand)
        self._to_note[ref] = None

    def _demand(self, each: EvseController, now: float) -> Demand:
        ref, circuit = each.evse.ref, each.evse.circuit
        dimming = self._model.dimming
        return each.demand.current(
            self._rotation.turn_of(ref, now, is_first=each.demand.cannot_wait),
            self._troubles[circuit],
            now,
            unbalance_a=self._model.site.unbalance_a.get(circuit),
            dimmed=dimming.cap(each.evse, each.demand.phases_to_come) if dimming.has_caps else None,
        )

    def note_booking(self, evse: EvseNode, booking: Booking, now: float) -> None:
        """Note what is booked for an EVSE from now on, where it takes that before all others."""
        if (each := self._reserved.get(evse.ref)) is not None:
            self._reserved_bookings.set(evse, booking)
            if self._site.unbalance_a:
                self._reserved_leads.set(evse.ref, each.booking.lead(now))

    def book_excess(self, headroom: Headroom, now: float) -> None:
        """Book what EVSEs draw beyond their offers, where everything else is booked already."""
        for each in self._overdrawn.values():
            each.booking.book_excess(headroom, now)

    # What each gets

    def share(self, room: Headroom, base: SiteBase, now: float) -> Iterator[int]:
        """Share this room; `allocations` then has the result. Yields the cost of each step.

        EVSEs that cannot be commanded take their part first, then what is drawn beyond the offers. At last
        `room` is what all leave.
        """
        room.book_all(self._reserved_bookings)
        is_dimmed = room.dimmed() is not None
        for number, each in enumerate(self._overdrawn.values(), 1):
            each.booking.book_overdraw(room, now, is_dimmed=is_dimmed)
            if number % 100 == 0:
                yield 100 * COST_OFFER
        self._leads = self._reserved_leads.copy()
        if self._site.unbalance_a:
            for each in self._overdrawn.values():
                self._leads.add(each.booking.overdraw_lead())
        dc = [each for each in self._dc if each.evse.ref not in self._reserved]
        self._supply.find_reserves(dc, room, now)
        self._supply.book_reserves(room)
        self._set_turn_energies()
        self._let_one_lead()
        self._set_guarantees()
        self._to_note |= dict.fromkeys(self._others)
        self._others = {}
        yield from self._share(room, base, now)
        if self._switching:
            self._choose_phases(room, base, now)
        if self._in_surplus_mode:
            yield from self._share_surplus(room, base, now)
        self._to_note |= dict.fromkeys(self._others)
        yield from self._note_shares(now)
        self._choose_showing(now)
        yield from self._site.scan_costs
        room.book_all(self._shares)
        if self._stepping or self._raised:
            yield from self._share_remainders(room)
        if self._probed:
            yield from self._offer_leftover(room, now)
        if self._idle:
            yield from self._deny_fallbacks(room, now)
        self._to_note |= dict.fromkeys(self._others)
        self._note_others()

    def _set_turn_energies(self) -> None:
        """Set the places of EVSEs that take turns by energy."""
        energies = self._model.energy.evses.turn_energies(self._demands.keys())
        if energies is None:
            return
        for ref, place in self._rotation.places_by_energy(energies).items():
            demand = self._demands[ref]
            placed = msgspec.structs.replace(demand, place=(demand.place[0], *place))
            if placed != demand:
                self._demands[ref] = placed
                if ref not in self._in_surplus_mode:
                    self._allocator.set_demand(ref, placed)

    def _let_one_lead(self) -> None:
        """Let a waiting car whose phases are unknown start with its minimum, though it may lead by that.

        Where the building leads by nearly all of the unbalance, no car on three phases would ever start.
        """
        if self._site is not self._model.site:
            return
        if self._leading not in self._may_lead:
            self._leading = self._find_leading() if self._may_lead else None
        if self._leading is None or self._leading in self._in_surplus_mode:
            return
        demand = self._demands[self._leading]
        if demand.sure_phases is not None:
            demand = msgspec.structs.replace(demand, sure_phases=None, max_a=demand.min_a, cap=ON_ONE_PHASE)
            self._demands[self._leading] = demand
            self._allocator.set_demand(self._leading, demand)

    def _find_leading(self) -> EvseRef | None:
        """Return who waits for longest as a phase leads by too much; None: nobody, or cars may lead there."""
        given = self._allocator.allocations
        leads = {ref: lead for ref in self._may_lead if ref in given and (lead := given[ref].lead)}
        found = min(leads, key=self._rotation.waits_since, default=None)
        return None if found is None or self._do_cars_lead(*leads[found]) else found

    def _do_cars_lead(self, high: int, low: int) -> bool:
        """Return True if a car has a share that may load the lead of one phase (0 to 2) over another."""
        given = self._allocator.allocations
        return any(
            demand.phases[high] and not (demand.sure_phases or demand.phases)[low]
            for ref, demand in self._demands.items()
            if ref in given and given[ref].limit_a > 0
        )

    def _set_guarantees(self) -> None:
        """Set the demands of EVSEs with a part of their group's guaranteed current."""
        before, self._guaranteed = (
            self._guaranteed,
            self._model.energy.evses.with_guarantees(self._demands),
        )
        for ref in before.keys() | self._guaranteed.keys():
            demand = self._guaranteed.get(ref, self._demands.get(ref))
            self._allocator.set_demand(ref, None if ref in self._in_surplus_mode else demand)

    def _asked(self) -> list[Demand]:
        """Return the demands of all EVSEs that do not wait for surplus."""
        return [
            self._guaranteed.get(ref, demand)
            for ref, demand in self._demands.items()
            if ref not in self._in_surplus_mode
        ]

    def _share(self, room: Headroom, base: SiteBase, now: float) -> Iterator[int]:
        """Let the allocator share. Who cannot pause and gets nothing takes its minimum all the same."""
        held: list[EvseRef] = []
        while True:
            yield from self._site.scan_costs
            joint = self._supply.joint(self._site, base, room, self._leads, now)
            admission = self._supply.admission(self._site, room, base, now)
            yield from self._allocator.steps(room.rooms(), joint, admission)
            given = self._allocator.allocations
            stuck = [
                each for ref, each in self._never_pausing.items() if ref in given and given[ref].limit_a == 0
            ]
            if not stuck:
                break
            for each in stuck:
                ref = each.evse.ref
                each.booking.book(room, now)
                if (lead := each.booking.lead(now)) is not None:
                    self._leads.add(lead)
                self._others[ref] = Allocation(ref, each.evse.min_a, NO_PAUSE)
                self._allocator.set_demand(ref, None)
                held.append(ref)
        changed = self._allocator.take_changed()
        if len(self._site.evses) >= MANY_EVSES:
            changed = [ref for ref in changed if not self._keeps_share(ref)]
        self._to_note |= dict.fromkeys(changed)
        for ref in held:  # they ask again in the next pass
            self._allocator.set_demand(ref, self._guaranteed.get(ref, self._demands[ref]))

    def _choose_showing(self, now: float) -> None:
        """Choose a waiting car to go before others, so that it shows its phases.

        It is booked on all phases that it may use. Where it fits if it uses only the first of its station,
        the car that has to stop for it meanwhile is likely to charge on beside it. One that waits for surplus
        stops nobody: it takes its minimum, if the surplus supplies that on one phase.
        """
        rotation, showing = self._rotation, self._rotation.showing
        if self._site is not self._model.site:
            return
        if showing is not None:
            if rotation.is_showing(now) and not self._model.by_ref[showing].model.phases_known:
                return
            rotation.showing = None
            self._surplus.end_dwell(showing, now)
            self.mark({showing} & self._model.by_ref.keys())
        if not self._seeks_showing(now):
            return
        self._showing_sought_at = now
        is_steady = rotation.is_steady(now)
        able = [
            ref
            for ref in self._unproven
            if (ref in self._fits_surplus if ref in self._in_surplus_mode else is_steady)
            and rotation.may_show(ref, now)
        ]
        for ref in heapq.nsmallest(SOUGHT_AT_ONCE, able, key=rotation.waits_since):
            one_phase = self._unproven[ref].evse.one_phase
            if ref in self._in_surplus_mode or self._allocator.would_start(ref, one_phase):
                rotation.begin_showing(ref, now)
                self.mark((ref,))
                break

    def _seeks_showing(self, now: float) -> bool:
        """Return True if it is time to look for a waiting car that may go first to show its phases."""
        return now >= self._showing_sought_at + SOUGHT_EVERY_S

    def _choose_phases(self, room: Headroom, base: SiteBase, now: float) -> None:
        """Find whether EVSEs that can switch phases should use another number of them."""
        switching = [each for ref, each in self._switching.items() if ref not in self._in_surplus_mode]
        if not switching:
            return
        rooms, joint = room.rooms(), self._supply.joint(self._site, base, room, self._leads, now)
        admission = self._supply.admission(self._site, room, base, now)
        given = self._allocator.allocations | {
            ref: held for ref, held in self._others.items() if ref in self._never_pausing
        }
        asked = self._asked()
        consider(
            switching,
            asked,
            given,
            lambda asking: self._trial_allocator.share(asking, rooms, joint, admission),
            now,
        )

    def _share_surplus(self, room: Headroom, base: SiteBase, now: float) -> Iterator[int]:
        """Share the feed-in that the others leave among those that charge from nothing else."""
        yield from self._note_shares(now)
        for each in self._in_surplus_mode.values():
            self._shares.set(each.evse, NO_BOOKING)
        left = room.copy()
        left.book_all(self._shares)
        shared_a = self._shares.booked_a(self._site.circuits[0].id)[3] - self._unused_a(now)
        surplus_a = self._model.energy.surplus_a(self._model.metering.fed_in_a(now), now) - shared_a
        rooms, joint = left.rooms(), self._supply.joint(self._site, base, left, self._leads_of_others(), now)
        controllers = list(self._in_surplus_mode.values())
        demands = [self._surplus_demand(each) for each in controllers]

        def share(asking: list[Demand]) -> dict[EvseRef, Allocation]:
            return share_surplus(self._site, asking, rooms, joint, surplus_a)

        consider_alone(controllers, demands, share, now)
        if self._seeks_showing(now):
            self._fits_surplus = self._find_fitting(demands, share, now)
        narrowing = {each.evse.ref for each in controllers if each.model.switch.narrows}
        self._others |= self._surplus.share(self._site, demands, rooms, joint, surplus_a, now, narrowing)

    def _leads_of_others(self) -> FixedLeads:
        """Return the leads of all that do not wait for surplus."""
        leads = self._leads.copy()
        for demand in self._asked() if self._site.unbalance_a else ():
            share = self._allocator.allocations.get(demand.ref)
            if share is not None and share.limit_a > 0:
                help_a = share.limit_a if demand.help_a is None else min(demand.help_a, share.limit_a)
                circuit = self._site.evse_by_ref[demand.ref].circuit
                sure_phases = demand.sure_phases or demand.phases
                leads.add(Lead(circuit, demand.phases, sure_phases, share.limit_a, help_a))
        return leads

    def _surplus_demand(self, each: EvseController) -> Demand:
        ref = each.evse.ref
        demand = self._guaranteed.get(ref, self._demands[ref])
        is_showing = ref == self._rotation.showing and not each.model.phases_known
        return _showing_demand(each, demand) if is_showing else demand

    def _find_fitting(
        self,
        demands: Sequence[Demand],
        share: Callable[[list[Demand]], Mapping[EvseRef, Allocation]],
        now: float,
    ) -> set[EvseRef]:
        """Return the EVSEs that wait for surplus for want of phases which their cars may not use.

        That is, their minimum fits into it on one phase. Those that can switch phases are set to one instead.
        """
        waiting = {
            ref
            for ref, each in self._in_surplus_mode.items()
            if ref in self._unproven and not each.model.switch.able and self._rotation.may_show(ref, now)
        }
        if not waiting:
            return waiting
        given = share([_showing_demand(self._unproven[d.ref], d) if d.ref in waiting else d for d in demands])
        return {ref for ref in waiting if given[ref].limit_a > 0}

    def _unused_a(self, now: float) -> float:
        """Return what cars take less than their shares (A, all phases added up).

        Settled reports show it, or else the steps of their offers in the meter.
        """
        unused_a = 0.0
        for ref in self._demands:
            share = self._share_of(ref)
            model = self._model.by_ref[ref].model
            if share is None or share.limit_a == 0:
                continue
            if model.draw.settled:
                drawn_a = model.draw.total_a
            elif (likely := model.likely_draw(now)) is not None:
                drawn_a = sum(likely[1])
            else:
                continue
            unused_a += max(0.0, sum(model.phases) * share.limit_a - drawn_a)
        return unused_a

    def _note_shares(self, now: float) -> Iterator[int]:
        """Note the shares of EVSEs with a demand that have another demand, share or reason."""
        whys = self._reductions()
        if whys != self._whys:
            self._whys = whys
            self._to_note |= dict.fromkeys(self._demands)
        shared = [
            ref
            for ref in self._to_note
            if ref in self._demands and (ref not in self._in_surplus_mode or ref in self._others)
        ]
        for number, ref in enumerate(shared, 1):
            del self._to_note[ref]
            self._note_share(ref, now)
            if number % 200 == 0:
                yield 200 * COST_NOTED

    @staticmethod
    def _is_begun(each: EvseController, allocation: Allocation | None) -> bool:
        """Return True if an EVSE has a share and is offered its minimum.

        One that waits until others have come down for it is not served: the room may be gone by then, and
        nobody who charges is stopped for it.
        """
        return allocation is not None and allocation.limit_a > 0 and each.offer.offered_a >= each.evse.min_a

    def _keeps_share(self, ref: EvseRef) -> bool:
        """Return True if an EVSE keeps its share of the last pass, as it has risen by a little only.

        The shares of a circuit flutter with the draw of each car on it, and no station is sent that. A share
        that falls is noted at once, so that all shares fit into the room. One that has risen is noted when
        its EVSE is updated, as it is for its renewal.
        """
        before, found = self.allocations.get(ref), self._allocator.allocations.get(ref)
        if before is None or found is None or before.statement != found.statement:
            return False
        return 0 < before.limit_a <= found.limit_a <= before.limit_a + KEPT_A + ROUNDED_A

    def _share_of(self, ref: EvseRef) -> Allocation | None:
        found = self._others.get(ref)
        return (
            self._allocator.allocations.get(ref)
            if found is None and ref not in self._in_surplus_mode
            else found
        )

    def _note_share(self, ref: EvseRef, now: float) -> None:
        found = self._share_of(ref)
        if found is None:
            self._set_allocation(ref, None)
            return
        controller = self._model.by_ref[ref]
        self._shares.set(controller.evse, (controller.model.phases, found.limit_a))
        if found.limit_a == 0 and not controller.model.phases_known:
            self._unproven[ref] = controller
        else:
            self._unproven.pop(ref, None)
        is_begun = self._is_begun(controller, found)
        is_served = is_begun or (found.limit_a > 0 and self._rotation.is_served(ref))
        is_new = self._rotation.set_served(ref, is_served, now)
        if self._rotation.set_admitted(ref, found.limit_a > 0 and not is_begun, now) or is_new:
            self._to_update[ref] = None
        if ref not in self._stepping and ref not in self._raised:
            self._set_allocation(ref, self._explained(found) if self._whys else found)

    def _share_remainders(self, left: Headroom) -> Iterator[int]:
        """Give what stations with whole steps cannot use of their shares to others of the same circuits.

        `left`: what all shares leave. Each share is first rounded down to what its station can follow. What
        that frees raises others, the most important and then the smallest share first, by one step (1 A where
        a station follows every tenth): so nobody gets more than a step beyond its fair share. Who has its
        higher step already comes first, or two stations would exchange it in every pass.
        """
        given: dict[EvseRef, Allocation] = {}
        is_freed = False
        for number, (ref, each) in enumerate(self._stepping.items(), 1):
            if number % 200 == 0:
                yield 200 * COST_NOTED
            if (found := self._share_of(ref)) is None:
                continue  # already noted
            usable_a = each.usable_a(found.limit_a)
            if usable_a < found.limit_a - ROUNDED_A:
                is_freed = True
                left.book(each.evse, each.model.phases, usable_a - found.limit_a)
                found = msgspec.structs.replace(found, limit_a=usable_a)
            given[ref] = found
        before, self._raised = self._raised, {}
        rising = (yield from self._short_of_room(given)) if is_freed else []
        for number, ref in enumerate(rising, 1):
            each, found = self._model.by_ref[ref], given.get(ref) or self._share_of(ref)
            if found is not None and (raised_a := self._raised_a(each, found.limit_a, left)):
                left.book(each.evse, each.model.phases, raised_a - found.limit_a)
                given[ref] = msgspec.structs.replace(found, limit_a=raised_a)
                self._raised[ref] = None
            if number % 50 == 0:
                yield 50 * COST_OFFER
        for ref in before:
            if ref not in given and ref in self._demands and (found := self._share_of(ref)) is not None:
                given[ref] = found
        for ref, found in given.items():
            self._set_allocation(ref, self._explained(found))

    def _short_of_room(self, rounded: Mapping[EvseRef, Allocation]) -> Generator[int, None, list[EvseRef]]:
        """Return the EVSEs that could take more than their share, in the order in which they may rise.

        What binds phases to each other is not in a circuit's room: below a limited unbalance nobody rises.
        """
        found: list[tuple[int, bool, float, EvseRef]] = []
        for number, (ref, demand) in enumerate(self._demands.items(), 1):
            if number % 200 == 0:
                yield 200 * COST_NOTED
            each, share = self._model.by_ref[ref], rounded.get(ref) or self._share_of(ref)
            if ref in self._in_surplus_mode or share is None or each.evse.circuit in self._site.unbalance_a:
                continue
            if 0 < share.limit_a < self._most_a(ref) - ROUNDED_A:
                has_step = ref in self._stepping and each.offer.offered_a > share.limit_a + ROUNDED_A
                found.append((-demand.priority, not has_step, share.limit_a, ref))
        return [ref for *_, ref in sorted(found)]

    def _raised_a(self, each: EvseController, share_a: float, left: Headroom) -> float:
        """Return what an EVSE rises to from what others cannot use (A per phase); 0: it cannot rise."""
        ref = each.evse.ref
        most_a = min(self._most_a(ref), share_a + left.room(each.evse, each.model.phases))
        if ref in self._stepping:
            raised_a = each.next_step_a(share_a)
            return raised_a if raised_a <= most_a + ROUNDED_A else 0.0
        raised_a = math.floor(min(most_a, share_a + REMAINDER_A) * 10 + ROUNDED_A) / 10
        return raised_a if raised_a > share_a + ROUNDED_A else 0.0

    def _most_a(self, ref: EvseRef) -> float:
        return self._guaranteed.get(ref, self._demands[ref]).max_a

    def _note_others(self) -> None:
        """Note the results of EVSEs without a demand."""
        for ref in self._to_note:
            if ref not in self._demands:
                self._set_allocation(ref, self._fixed.get(ref) or self._others.get(ref))
        self._to_note.clear()

    def _set_allocation(self, ref: EvseRef, found: Allocation | None) -> None:
        if found is None:
            if self.allocations.pop(ref, None) is not None:
                self._changed[ref] = None
        elif self.allocations.get(ref) != found:
            self.allocations[ref] = found
            self._changed[ref] = None

    def _reductions(self) -> dict[str, Statement]:
        """Return why circuits supply less than their limit, by the backend's limit or the calendar's."""
        model = self._model
        whys = model.energy.calendar.reductions(self._site.circuits)
        root = model.site.circuits[0]
        if model.group_a is not None and model.group_a < max(model.energy.calendar.limit_a(root)):
            whys[root.id] = Statement(code=StatementCode.SITE_LIMIT, current_a=model.group_a)
        return whys

    def _explained(self, given: Allocation) -> Allocation:
        """Name the backend's limit or the calendar's where it is what makes a circuit full."""
        for circuit, why in self._whys.items():
            own_a = self._model.site.circuit_by_id[circuit].limit_a
            if any(
                part.circuit == circuit and part.phase and (why.current_a or 0.0) < own_a[part.phase - 1]
                for part in given.statement.parts()
            ):
                statement = Statement(code=StatementCode.UNDER, context=why, cause=given.statement)
                given = msgspec.structs.replace(given, statement=statement)
        return given

    def _offer_leftover(self, left: Headroom, now: float) -> Iterator[int]:
        """Offer cars that take nothing the minimum from what no other car takes, so that they may start.

        Some do not start with their minimum: they are offered more. `left`: what the others' shares leave. As
        that flutters with the building, it is offered a few times an hour only.
        """
        order = sorted(
            self._probed.values(),
            key=lambda c: (-c.demand.priority, c.delivery.standing(now).offered_a == 0, c.evse.ref),
        )
        for number, each in enumerate(order, 1):
            ref, evse = each.evse.ref, each.evse
            dimmed = self._model.dimming.cap(evse, each.demand.phases_to_come)
            caps = [
                evse.max_a,
                each.demand.limit_by_override[0],
                dimmed and dimmed[0],
                self._troubles[evse.circuit] and evse.fallback_a,
            ]
            most_a = min(cap for cap in caps if isinstance(cap, float))
            room_a = left.room(evse, each.model.phases)
            free_a = min(each.starting_a(room_a), most_a, room_a)
            free_a = math.floor(free_a * 10 + ROUNDED_A) / 10
            self._rotation.set_served(ref, False, now, rests=False)  # nothing was taken from its car
            has_some = each.delivery.standing(now).offered_a >= evse.min_a
            withdrawn = self._withdrawn_at.setdefault(ref, deque(maxlen=LEFTOVERS))
            if has_some and free_a < evse.min_a:
                withdrawn.append(now)
            rests = len(withdrawn) == LEFTOVERS and now < withdrawn[0] + LEFTOVERS_S
            if free_a < evse.min_a or (rests and not has_some):
                self._others[ref] = Allocation(ref, 0.0, TAKES_NOTHING)
            else:
                left.book(evse, each.model.phases, free_a)
                self._others[ref] = Allocation(ref, free_a, LEFTOVER)
            if number % 50 == 0:
                yield 50 * COST_OFFER

    def _deny_fallbacks(self, left: Headroom, now: float) -> Iterator[int]:
        """Limit EVSEs without a car to 0 A where their circuits have no room for their fallback.

        A car that comes takes the fallback in the same second, before anybody can make room for it. A circuit
        whose meter has shown no current yet has that room: the car shows itself by it.
        """
        all_in = left.copy()
        all_in.book_all(self._idle_needs)
        short = all_in.short_circuits() - self._supply.starting
        if not short:
            return
        concerned = [
            each
            for each in self._idle.values()
            if any(circuit.id in short for circuit in self._site.path(each.evse.circuit))
        ]
        yield len(self._idle)
        concerned.sort(key=lambda c: (-c.delivery.standing(now).offered_a, c.evse.ref))
        for number, each in enumerate(concerned, 1):
            evse = each.evse
            has_it = each.delivery.standing(now).offered_a >= evse.fallback_a
            needed_a = evse.fallback_a if has_it else evse.fallback_a + SETTLED_A
            if left.room(evse, each.model.phases) >= needed_a - ROUNDED_A:
                left.book(evse, each.model.phases, evse.fallback_a)
            else:
                self._others[evse.ref] = Allocation(evse.ref, 0.0, NO_FALLBACK)
            if number % 50 == 0:
                yield 50 * COST_OFFER


def _showing_demand(controller: EvseController, demand: Demand) -> Demand:
    """Return the demand of an EVSE whose car is to show its phases: its minimum, on one of them."""
    return msgspec.structs.replace(demand, phases=controller.evse.one_phase, max_a=demand.min_a)


def _zero(controller: EvseController, statement: Statement) -> Allocation:
    """Return an allocation of 0 A; that of the last pass if it is the same."""
    found = Allocation(controller.evse.ref, 0.0, statement)
    return controller.offer.allocation if controller.offer.allocation == found else found
