"""Passes of the control: each shares the current anew and returns what brings every station there.

The steps of a pass: update what events and time have changed; find the energy plan's part of each EVSE; plan
the shares with the limits less margin and base load; find who is cut because others need the room; then send
cuts, and rises only into room that is free with every EVSE booked at the most that it may still be taking.

A pass over a large site is cut into slices, between which events are taken in. What an EVSE shows meanwhile
counts in the next pass; what the meters and the bookings show counts in the next slice.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Generator, Iterator, Mapping, Set
from heapq import heapify

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import NO_BOOKING, Bookings, Headroom
from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.cuts_and_rises import (
    SPARE_A,
    CutPlanner,
    OffShares,
    RankBesideShare,
    RiseCandidate,
    RoomGroups,
    Waiting,
    place_beside_share,
    rank_beside_share,
    rising_place,
    take_first,
    target_a,
)
from controller.load_management.events import NO_PLAN, NO_ROOMS, SetLimit
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import LimitStanding
from controller.load_management.metering.circuit_metering import SiteBase
from controller.load_management.share_planner import SharePlanner, SitePart, Turns, make_part
from controller.load_management.site_model import DUE_AT_ONCE, SiteModel
from controller.model.observations import EvseRef

SLICE = 2000
"""Work (about us of a small computer) after which a pass lets others run."""
COST_CREDIT = 12
COST_REFRESH = 35
COST_COMMAND = 50
COST_NOTED = 2
COST_SHARE = 8
COST_ANSWER = 25
COST_USE = 10
"""Work of one EVSE in each step of a pass."""
NOTED_AT_ONCE = 100
"""EVSEs with another share that are noted in one step."""


class ControlPass:
    """Makes the passes over a site. The model's `log` gets the changes of limits."""

    def __init__(self, model: SiteModel, supply: CircuitSupply) -> None:
        self._model = model
        self._supply = supply
        self._turns = Turns(model.settings.rotation_s)
        self._cuts = CutPlanner(model)
        self._base: tuple[object, SiteBase] | None = None
        """Base load, and what it was found for."""
        self._supplied: tuple[SiteBase, Headroom] | None = None
        """Supply of the circuits with a base load, and that base load."""
        self._bookings = Bookings(model.site)
        self._falling = Bookings(model.site)
        """Parts of the bookings that cuts which are under way will free."""
        self._waiting = Bookings(model.site)
        """Room that EVSEs wait for which are to rise: what their shares are above their bookings."""
        self._planned: set[EvseRef] = set()
        self._departures: dict[EvseRef, float] = {}
        """When cars with goals leave (s, monotonic)."""
        self.whole = SitePart(model.site, model.controllers)
        self._parts: dict[str, SitePart] = {}
        self._planners: dict[str, SharePlanner] = {}
        self._now = 0.0
        self._steps: Iterator[int] | None = None
        self._next_cost = 0
        """Work of the step with which the next slice begins."""
        self._commands: list[SetLimit] = []
        self._touched: dict[EvseRef, None] = {}
        """EVSEs to update."""
        self._concerned: dict[EvseRef, None] = {}
        """EVSEs that were updated or given another share and have not been sent what follows from it."""
        self._reasoned: dict[EvseRef, None] = {}
        """EVSEs with another reason for their limit, which is to be logged."""
        self._to_book: dict[EvseRef, None] = {}
        """EVSEs of which only what is booked for them has changed, not noted yet."""
        self._to_rise: dict[EvseRef, None] = {}
        """EVSEs for which a rise to their share is worth a write by now, not noted yet."""
        self._off_shares = OffShares()
        self._to_test: dict[EvseRef, None] = {}
        """EVSEs whose cars may be tested by now, if no other one below their meter is tested first."""
        self._noted_in_part: dict[EvseRef, None] = {}
        """EVSEs that were noted with shares of a part of the site since the last pass over the whole."""
        self._to_rank: dict[EvseRef, None] = {}
        """EVSEs whose rank in `_raisable` may be another, or that may not belong there any more."""
        self._raisable: RoomGroups[RankBesideShare] = RoomGroups()
        """EVSEs with an allocation, but not those below a limited unbalance: these follow their shares."""
        self._rising: RoomGroups[None] = RoomGroups()
        """EVSEs that wait for room to rise to their share."""

    def replace_site(self) -> None:
        """Follow another tree and other settings of the model; EVSEs that are gone are dropped."""
        self._turns.rotation.set_turn(self._model.settings.rotation_s)
        gone = {each.evse.ref for each in self.whole.controllers} - self._model.by_ref.keys()
        for ref in gone:
            self._turns.rotation.remove(ref)
            self._departures.pop(ref, None)
        noted = (
            *(self._touched, self._concerned, self._noted_in_part),
            *(self._to_book, self._to_rise, self._to_test, self._reasoned, self._to_rank),
        )
        for refs in noted:
            for ref in gone & refs.keys():
                del refs[ref]
        self._planned -= gone
        self._planners.clear()
        site = self._model.site
        self._bookings, self._falling, self._waiting = Bookings(site), Bookings(site), Bookings(site)
        self._off_shares, self._raisable, self._rising = OffShares(), RoomGroups(), RoomGroups()
        for controller in self._model.controllers:
            self._book(controller)
            self._to_rank[controller.evse.ref] = None
            self._note_rising(controller, controller.offer.allocation)
        self.whole = SitePart(self._model.site, self._model.controllers)
        self._cuts = CutPlanner(self._model)
        self._base = None
        self._parts.clear()

    def all_to_fallback(self, now: float) -> list[SetLimit]:
        """Send every station to its fallback, after a fault in a pass."""
        self._steps, self._commands = None, []
        self._planners.clear()  # the fault may have left them incomplete
        commands: list[SetLimit] = []
        for controller in self._model.controllers:
            target_a = min(controller.evse.fallback_a, controller.delivery.standing(now).offered_a)
            try:
                controller.mark_due()
                commands += controller.delivery.commands(target_a, 0.0, now, urgent=True)
                controller.model.draw.offer(controller.delivery.standing(now).offered_a, now)
            except Exception as error:  # noqa: BLE001 - its own state may have failed; the others are cut
                self._model.notices.note(
                    f"pass {controller.evse.ref}",
                    f"fallback failed evse={controller.evse.ref} {error!r:.80}",
                    "",
                )
        return commands

    @property
    def is_running(self) -> bool:
        """Return True if a pass is not finished: `advance` goes on with it."""
        return self._steps is not None

    def begin(self, part: SitePart, *, urgent: bool, to_shares: bool = False) -> None:
        """Begin a pass over a part of the site, in place of one that is running.

        `urgent`: a limit is exceeded: nobody rises, and what is sent goes before all else. `to_shares`: every
        EVSE above its share comes down to it, not only those whose room is needed. What the other pass had
        left to do is left to the next one.
        """
        self._steps, self._next_cost = self._make_steps(part, urgent=urgent, to_shares=to_shares), 0

    def advance(self, now: float, *, to_end: bool = False) -> list[SetLimit]:
        """Go on with the pass until `SLICE` is used up, or to its end; return what to send by now."""
        assert self._steps is not None
        self._now, spent = now, self._next_cost
        for cost in self._steps:
            if spent + cost > SLICE and not to_end:
                self._next_cost = cost
                break
            spent += cost
        else:
            self._steps, self._next_cost = None, 0
        commands, self._commands = self._commands, []
        return commands

    def cut(self, part: SitePart, now: float) -> list[SetLimit]:
        """Make a pass over a small part of the site at once; another one may be running."""
        self._now = now
        self._model.changes += 1
        before, self._commands = self._commands, []
        for _ in self._make_steps(part, urgent=True):
            pass
        commands, self._commands = self._commands, before
        return commands

    def _make_steps(self, part: SitePart, *, urgent: bool, to_shares: bool = False) -> Iterator[int]:
        """Share the current of a part of the site anew; `_commands` has what to send.

        Yields the cost of each step before it, or after it where the next one is much the same. Between two
        steps events may come: shares are planned once, and whatever is sent afterwards rises only into room
        that is free by then.
        """
        model, planner = self._model, self._planner_of(part)
        is_whole = part is self.whole
        while model.update_due_credits(self._now):
            yield DUE_AT_ONCE * COST_CREDIT
        scan_costs = part.site.scan_costs
        yield from scan_costs
        base = yield from self._find_base(part)
        changes = model.changes
        if is_whole:
            yield from scan_costs
            if model.energy.has_plan or self._planned:
                yield from self._apply_energy_plan(base, self._now)
            self._supplied = None  # the plan bounds what circuits supply
            touched = self._touched
            touched |= dict.fromkeys(model.due.updates.take_due(self._now))
            yield from self._note_tests()
            renewed = model.due.renewals.take_due(self._now)
            self._concerned |= dict.fromkeys(renewed)
            planner.note(renewed)  # they come to shares that have risen by a little, too
            planner.mark([*touched, *model.due.demands.take_due(self._now)])
            yield from self._note_bookings()
            yield from self._note_rises()
        else:
            self._supplied = None
            in_part = {each.evse.ref: None for each in part.controllers}
            self._noted_in_part |= in_part
            self._concerned |= in_part
            planner.mark(in_part)
            touched = model.due.have_changed(in_part, self._now)
        for number, ref in enumerate(list(touched), 1):
            self._refresh(model.by_ref[ref], self._now)
            self._concerned[ref] = None
            del touched[ref]
            if number % 20 == 0:
                yield 20 * COST_REFRESH
        yield from planner.update(self._now)
        yield from scan_costs
        if changes != model.changes:
            base = yield from self._find_base(part)
        room = self._supplies_of(part, base)
        yield from planner.share(room, base, self._now)
        yield from self._send(part, planner, urgent=urgent, to_shares=to_shares)

    def _note_bookings(self) -> Iterator[int]:
        """Note the EVSEs with a new lease, and those whose stations have followed a cut.

        A cut that was accepted has freed its room, or soon will. Those to update are left out, which follows.
        """
        due = self._to_book
        due |= dict.fromkeys(self._model.due.bookings.take_due(self._now))
        for number, ref in enumerate(list(due), 1):
            del due[ref]
            if ref in self._touched:
                continue
            each = self._model.by_ref[ref]
            self._book(each)
            each.offer.offered_a = each.delivery.standing(self._now).offered_a
            each.offer.settle(each.offer.allocation, self._now)
            self._note_rise(each)
            if number % 50 == 0:
                yield 50 * COST_ANSWER

    def _note_tests(self) -> Iterator[int]:
        """Note the EVSEs whose cars may be tested by now; the last test may have shown more of their draw."""
        due = self._model.due.tests.take_due(self._now)
        self._to_test |= dict.fromkeys(due)
        for number, ref in enumerate(due, 1):
            self._model.update_credit(self._model.by_ref[ref], self._now)
            if number % 100 == 0:
                yield 100 * COST_CREDIT

    def _note_rises(self) -> Iterator[int]:
        """Note the EVSEs for which a rise to their share is worth a write by now."""
        due = self._to_rise
        due |= dict.fromkeys(self._model.due.rises.take_due(self._now))
        for number, ref in enumerate(list(due), 1):
            each = self._model.by_ref[ref]
            each.offer.update_rising(self._now)
            self._note_rise(each)
            del due[ref]
            if number % 100 == 0:
                yield 100 * COST_SHARE

    def _note_rise(self, each: EvseController) -> None:
        if each.offer.is_rising and each.booking.most_a(self._now) > each.offer.offered_a:
            # Into what is still booked for it, it rises without other room.
            self._concerned[each.evse.ref] = None
        self._note_rising(each, each.offer.allocation)

    def _send(self, part: SitePart, planner: SharePlanner, *, urgent: bool, to_shares: bool) -> Iterator[int]:
        """Bring every station to its share, as far as its room is free by now.

        Cuts are sent first. Who has least rises first, while there is not yet room for all to rise. At last
        few EVSEs are raised into the room that is left.
        """
        yield from self._note_changed(part, planner)
        yield from part.site.scan_costs
        headroom = self._headroom(part)
        off_shares = self._off_shares_of(part, planner.allocations)
        cuts = yield from self._cuts.plan_cuts(off_shares, headroom, self._falling, self._now)
        yield from self._send_concerned(part, planner, headroom, cuts, urgent=urgent, to_shares=to_shares)
        if part is self.whole and not urgent:
            yield from self._raise_few(planner)
        for ref in self._reasoned:
            if decision := self._model.by_ref[ref].offer.take_decision(self._now):
                self._model.log.append(decision)
        self._reasoned.clear()
        for each in self._model.unconfigured.values():
            self._commands += each.commands(self._now)

    def _off_shares_of(self, part: SitePart, allocations: Mapping[EvseRef, Allocation]) -> OffShares:
        """Return the EVSEs of a part of the site whose offers differ from these shares."""
        if part is self.whole:
            for ref in self._noted_in_part:
                self._note_share(self._model.by_ref[ref], allocations.get(ref))
            self._noted_in_part.clear()
            return self._off_shares
        found = OffShares()
        for each in part.controllers:
            if each.evse.ref in self._off_shares.refs:
                found.note(each, allocations.get(each.evse.ref))
        return found

    def _note_changed(self, part: SitePart, planner: SharePlanner) -> Iterator[int]:
        """Note the EVSEs that were given another share, and those for which that has a consequence."""
        by_ref, allocations = self._model.by_ref, planner.allocations
        while changed := planner.take_changed(NOTED_AT_ONCE):
            for ref in changed:
                each, allocation = by_ref[ref], allocations.get(ref)
                # The share of a part is another one than that of the whole, with which it is compared later.
                if ref not in self._concerned:
                    statement = each.offer.statement
                    if each.offer.is_due_for(allocation, self._now, may_wait=part is self.whole):
                        self._concerned[ref] = None
                    elif each.offer.statement is not statement:
                        self._reasoned[ref] = None
                self._note_share(each, allocation)
            if len(changed) == NOTED_AT_ONCE:
                yield NOTED_AT_ONCE * COST_SHARE

    def _send_concerned(
        self,
        part: SitePart,
        planner: SharePlanner,
        headroom: Headroom,
        cuts: Mapping[EvseRef, float],
        *,
        urgent: bool,
        to_shares: bool,
    ) -> Iterator[int]:
        """Send to the EVSEs of a part for which something may have changed, and to those that have room.

        Cuts come first, then who has least.
        """
        changes = self._model.changes
        unbalanced: Set[EvseRef] = frozenset()
        concerned = self._concerned | dict.fromkeys(cuts) | dict.fromkeys(planner.changing_phases())
        if to_shares:
            concerned |= self._off_shares.refs
        elif unbalanced := self._model.find_unbalanced():
            concerned |= dict.fromkeys(self._off_shares.refs.keys() & unbalanced)
        concerned = self._in_part(concerned, part)
        waiting = yield from self._rising.find_rising(
            part.site.circuit_by_id, headroom, rising_place, self._now
        )
        tested = self._to_test if part is self.whole else {}
        waiting += yield from self._in_order(concerned | tested, cuts)
        heapify(waiting)
        cost = 0
        while waiting:
            if changes != self._model.changes:
                headroom, changes = self._headroom(part), self._model.changes
            cost += COST_NOTED
            each, only_rises = take_first(waiting, headroom)
            if each is None:
                continue
            ref = each.evse.ref
            if only_rises and (ref in concerned or not self._can_rise(each, headroom)):
                continue
            self._to_test.pop(ref, None)
            if not only_rises and ref not in concerned and not each.offer.await_test(self._now):
                continue
            self._command(
                each,
                planner.allocations.get(ref),
                headroom,
                urgent=urgent,
                to_share=to_shares or ref in unbalanced,
                cut_a=cuts.get(ref),
            )
            self._concerned.pop(ref, None)
            if part is not self.whole:
                self._model.due.updates.add(ref)  # its share of the whole is planned next
            cost += COST_COMMAND
            if cost >= 10 * COST_COMMAND:
                yield cost
                cost = 0

    def _in_order(
        self, concerned: Collection[EvseRef], cuts: Mapping[EvseRef, float]
    ) -> Generator[int, None, list[Waiting]]:
        """Return these EVSEs in the order of their commands: cuts first, then who has least."""
        order: list[RiseCandidate] = []
        for number, ref in enumerate(concerned, 1):
            each = self._model.by_ref[ref]
            place = (ref not in cuts, each.delivery.standing(self._now).offered_a, ref)
            order.append(RiseCandidate(place, each))
            if number % NOTED_AT_ONCE == 0:
                yield NOTED_AT_ONCE * COST_NOTED
        order.sort()
        following = iter(order)
        first = next(following, None)
        return [] if first is None else [(first, -math.inf, following)]

    def _raise_few(self, planner: SharePlanner) -> Iterator[int]:
        """Raise few EVSEs into the room that is left, until their renewal."""
        yield from self.whole.site.scan_costs
        headroom, changes = self._spare_room(), self._model.changes
        if headroom.is_full(SPARE_A):
            return
        yield from self._rank_raisable(planner)
        waiting = yield from self._raisable.find_with_room(headroom, SPARE_A, place_beside_share, self._now)
        heapify(waiting)
        cost = 0
        while waiting:
            if changes != self._model.changes:
                headroom, changes = self._spare_room(), self._model.changes
            if headroom.is_full(SPARE_A):
                break
            cost += COST_NOTED
            controller, _ = take_first(waiting, headroom)
            if controller is None or (allocation := planner.allocations.get(controller.evse.ref)) is None:
                continue
            limit_a = target_a(controller, allocation, headroom, self._now)
            if limit_a is not None:
                before = controller.delivery.standing(self._now)
                self._commands += controller.offer.raise_to(limit_a, headroom, self._now)
                self._finish(controller, allocation, before)
                cost += COST_COMMAND
            if cost >= 10 * COST_COMMAND:
                yield cost
                cost = 0

    def _rank_raisable(self, planner: SharePlanner) -> Iterator[int]:
        """Rank the EVSEs anew of which something has changed since anybody was raised."""
        ranked, self._to_rank = self._to_rank, {}
        for number, ref in enumerate(ranked, 1):
            each, allocation = self._model.by_ref[ref], planner.allocations.get(ref)
            if allocation is None or each.demand.unbalance_limited:
                self._raisable.drop(ref)
            else:
                rank = rank_beside_share(each, allocation)
                if not self._raisable.is_noted(each, rank):
                    self._raisable.note(each, rank)
            if number % NOTED_AT_ONCE == 0:
                yield NOTED_AT_ONCE * COST_NOTED

    def _spare_room(self) -> Headroom:
        """Return the room that neither a rise that is to come nor a session that is to begin waits for."""
        headroom = self._headroom(self.whole)
        self._supply.book_reserves(headroom)
        headroom.book_all(self._waiting)
        return headroom

    def _find_base(self, part: SitePart) -> Generator[int, None, SiteBase]:
        """Return the base load of a part of the site; yields the cost of the steps of a large one."""
        if part is self.whole and part.site.scan_costs:
            yield from self._model.metering.estimate(self._now)
        return self._base_of(part)

    def _base_of(self, part: SitePart) -> SiteBase:
        """Return the base load of a part of the site; that found before while nothing has changed."""
        found_for = (id(part.site), self._now, self._model.changes)
        if self._base is None or self._base[0] != found_for:
            self._base = found_for, self._model.metering.base(self._now, part.site)
        return self._base[1]

    def _supplies_of(self, part: SitePart, base: SiteBase) -> Headroom:
        """Return what each circuit of a part supplies; that found before while its base load is the same."""
        if self._supplied is None or self._supplied[0] is not base:
            self._supplied = base, self._supply.supplies(part.site, base.assumed, self._now)
        return self._supplied[1].copy()

    def _headroom(self, part: SitePart) -> Headroom:
        """Return the room that is free now with every EVSE booked at the most that it may be taking."""
        headroom = self._supplies_of(part, self._base_of(part))
        headroom.book_all(self._bookings)
        self._planner_of(part).book_excess(headroom, self._now)
        return headroom

    def _can_rise(self, controller: EvseController, headroom: Headroom) -> bool:
        room_a = headroom.room(controller.evse, controller.model.phases)
        return room_a >= controller.offer.least_room_a(self._now, self._now)

    def _command(
        self,
        controller: EvseController,
        allocation: Allocation | None,
        headroom: Headroom,
        *,
        urgent: bool,
        to_share: bool,
        cut_a: float | None,
    ) -> None:
        """Add what brings one EVSE to its allocation, and book what it may take from now on."""
        now = self._now
        before = controller.delivery.standing(now)
        self._commands += controller.offer.commands_towards(
            allocation, headroom, now, urgent=urgent, to_share=to_share, cut_a=cut_a
        )
        self._finish(controller, allocation, before)

    def _finish(
        self, controller: EvseController, allocation: Allocation | None, before: LimitStanding
    ) -> None:
        """Note what an EVSE is offered now, after `before`: one that was sent nothing is booked as it was."""
        now = self._now
        self._reasoned.pop(controller.evse.ref, None)
        is_other = controller.delivery.standing(now) is not before
        if is_other:
            self._model.note_offer(controller, before.offered_a, now)
        if decision := controller.offer.take_decision(now):
            self._model.log.append(decision)
        if is_other:
            self._book(controller)
        controller.offer.settle(allocation, now)
        self._note_share(controller, allocation)

    def _book(self, controller: EvseController) -> None:
        """Book the most that an EVSE may be taking, and what of it will be free soon."""
        controller.booking.booked_at = self._now
        booking, falling_a = controller.booking.current_and_falling(self._now)
        self._bookings.set(controller.evse, booking)
        self._falling.set(controller.evse, (booking[0], falling_a))
        if (planner := self._planners.get(self._model.site.circuits[0].id)) is not None:
            planner.note_booking(controller.evse, booking, self._now)

    def _note_share(self, controller: EvseController, allocation: Allocation | None) -> None:
        """Note how the offer of an EVSE differs from its share, and for what room it waits to rise."""
        self._off_shares.note(controller, allocation)
        self._to_rank[controller.evse.ref] = None
        self._note_rising(controller, allocation)

    def _note_rising(self, controller: EvseController, allocation: Allocation | None) -> None:
        """Note whether an EVSE waits to rise to its share, and for what room."""
        ref = controller.evse.ref
        waits_for = NO_BOOKING
        if controller.offer.is_rising:
            self._rising.note(controller, None)
            if allocation is not None:
                _, booked_a = self._bookings.booking_of(ref)
                waits_for = controller.model.phases, max(0.0, allocation.limit_a - booked_a)
        elif ref in self._rising:
            self._rising.drop(ref)
        else:
            return
        self._waiting.set(controller.evse, waits_for)

    def _in_part(self, refs: dict[EvseRef, None], part: SitePart) -> dict[EvseRef, None]:
        """Return those of some EVSEs that are in a part of the site: for the whole, all of them."""
        if part is self.whole:
            return refs
        return {each.evse.ref: None for each in part.controllers if each.evse.ref in refs}

    def _planner_of(self, part: SitePart) -> SharePlanner:
        key = part.site.circuits[0].id
        if key not in self._planners:
            self._planners[key] = SharePlanner(self._model, self._supply, self._turns, part)
        return self._planners[key]

    def _refresh(self, controller: EvseController, now: float) -> None:
        """Update what depends on time and on events of an EVSE, and what is booked for it."""
        offered_a = controller.offer.offered_a
        evse, demand, dimming = controller.evse, controller.demand, self._model.dimming
        controller.delivery.hold_s = dimming.hold_s(evse, now)
        controller.refresh(self._model.metering.voltage_v(evse.circuit), now)
        if controller.offer.offered_a != offered_a:
            self._note_share(controller, self._planner_of(self.whole).allocations.get(controller.evse.ref))
        for groups in (self._off_shares.above, self._rising):
            groups.regroup(controller)
        self._to_rank[evse.ref] = None
        if controller.model.goal.leaves_at > now:
            self._departures[evse.ref] = controller.model.goal.leaves_at
        else:
            self._departures.pop(evse.ref, None)
        self._model.update_credit(controller, now)
        if evse.is_controllable:
            minimum = (demand.phases_to_come, evse.min_a) if demand.has_demand else None
            dimming.set_minimum(evse.ref, minimum)
        self._book(controller)
        self._model.note_reaction(controller)

    def _apply_energy_plan(self, base: SiteBase, now: float) -> Iterator[int]:
        """Find what the plan over hours asks for at `now`, and give each EVSE its part."""
        energy, uses = self._model.energy, {}
        is_due = energy.evses.goals.are_due(self._departures, energy.utc(now))
        bases = self._supply.peak_bases(base, now)
        rooms = self._supply.car_rooms(base) if is_due or energy.evses.waits.are_used else NO_ROOMS
        for number, ref in enumerate(self._model.by_ref if is_due else energy.evses.tracked, 1):
            controller = self._model.by_ref[ref]
            uses[ref] = controller.demand.use(self._model.metering.voltage_v(controller.evse.circuit), now)
            if number % NOTED_AT_ONCE == 0:
                yield NOTED_AT_ONCE * COST_USE
        plans = yield from energy.update(bases, uses, now, rooms, self._departures)
        for number, ref in enumerate(self._planned | plans.keys(), 1):
            controller = self._model.by_ref[ref]
            if controller.demand.set_plan(plans.get(ref, NO_PLAN)):
                controller.mark_due()
            if number % NOTED_AT_ONCE == 0:
                yield NOTED_AT_ONCE * COST_NOTED
        self._planned = set(plans)

    def part_below(self, circuit: str) -> SitePart:
        """Return a circuit, with all that it feeds, as a site of its own: the whole for the first one."""
        if circuit == self._model.site.circuits[0].id:
            return self.whole
        if circuit not in self._parts:
            self._parts[circuit] = make_part(self._model, circuit)
        return self._parts[circuit]
