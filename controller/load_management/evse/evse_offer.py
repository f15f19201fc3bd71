"""Offer of one EVSE: what is sent so that it comes to its allocation, and when it is looked at again."""

from __future__ import annotations

import math

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.events import LoggedDecision, SetLimit
from controller.load_management.evse.due_evses import DueQueues
from controller.load_management.evse.evse_demand import EvseBooking, EvseDemand
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.learned_values import UNLOADED_A
from controller.load_management.evse.limit_delivery import (
    NOISE_A,
    SMALL_CUT_A,
    STEP_A,
    LimitDelivery,
    choose_timing,
)
from controller.load_management.evse.limit_reasons import (
    NO_CAR,
    NOT_PLANNED,
    RISING,
    STEP_FOR_METER,
    STEP_FOR_PHASES,
    UNAUTHORIZED,
    LimitReason,
    explain_disobedience,
    explain_kept_free,
    explain_one_phase,
    explain_switch,
)
from controller.load_management.metering.car_steps import LONGEST_REPORT_S, NeededStep
from controller.load_management.site_tree import ZERO
from controller.model.statements import StatementCode

NO_ROOM = StatementCode.NO_ROOM
PHASE_FULL = StatementCode.PHASE_FULL
BUDGET_USED = StatementCode.QUARTER_HOUR_PEAK
LEAST_STEP_A = 0.1
"""Smallest rise (A per phase) that is sent at once where its car does not start with less."""
TEST_A = 1.5
"""Least step of an offer (A per phase) that shows the phases of a car whose station reports no currents."""
TEST_S = 20.0
"""Duration of such a test, in which the car is offered the least under which it charges (s)."""
QUICK_TESTS = 3
LATE_TEST_S = 40.0
"""Duration of further tests: its station may be slow."""
PAUSE_AFTER_S = 60.0
"""Time (s) in its turn without room for a step until a car is paused instead, to show its phases."""
TEST_AFTER_S = 40.0
"""Least time (s) between its last limit, or the begin of charging, and a test."""
METER_STEP_A = 6.0
"""Largest step of an offer (A per phase) by which a meter shows that it follows the cars."""
METER_STEP_S = 20.0
"""Duration of such a step after the report that shows it (s)."""
METER_START_S = 60.0
"""The same where its car has to start for it: cars take some seconds to begin."""
QUIET_S = 10.0
"""At most one line an EVSE in this time, unless its limit falls."""
LAG = 0.15
"""Part of its share by which an EVSE may stay below it until its renewal, unless spare room raises it."""
DEEP_A = 3.0
DEEP = 0.5
"""Deviation from its share that an EVSE keeps until its renewal: so many A, or this part of it."""
RETURNED_A = 1.0
"""Rise of its share since it was cut below that (A per phase), by which room has returned."""


def deepest_a(share_a: float) -> float:
    """Return how far beside this share an EVSE may be until its renewal (A per phase)."""
    return max(DEEP_A, DEEP * share_a)


class DecisionLog:
    """Last logged decision of one EVSE."""

    def __init__(self) -> None:
        self._last: LoggedDecision | None = None
        self.is_waiting = False
        """True if a change is to be logged later."""
        self._at = 0.0

    def is_due(self, decision: LoggedDecision, now: float) -> bool:
        """Return True if this is to be logged now; it then counts as logged."""
        last = self._last
        self.is_waiting = False
        if last is not None:
            fallen = decision.limit_a < last.limit_a - NOISE_A
            if decision == last:
                return False
            if not (fallen or now >= self._at + QUIET_S):
                self.is_waiting = True
                return False
        self._last, self._at = decision, now
        return True


class EvseOffer:
    """Brings one EVSE to its allocation. Times in s, monotonic; currents in A per phase.

    `statement` states why it has its limit. `allocation`: that of the last pass; None: it got none.
    """

    def __init__(
        self,
        model: EvseModel,
        delivery: LimitDelivery,
        booking: EvseBooking,
        demand: EvseDemand,
        due: DueQueues,
    ) -> None:
        self._model = model
        self._delivery = delivery
        self._booking = booking
        self._demand = demand
        self._due = due
        self._decisions = DecisionLog()
        self._test_ends_at = -math.inf
        self._tested_with_a = 0.0
        """Limit of the last test (A per phase)."""
        self._tested_for = STEP_FOR_PHASES
        """Reason of the last test."""
        self._rises_after_test = False
        """True from the begin of a test until its offer has risen again: a late rise hides the next test."""
        self.statement = NOT_PLANNED
        self.allocation: Allocation | None = None
        self.offered_a = model.evse.max_a
        """Offer since the last pass."""
        self.is_rising = False
        """True if it was offered less than its share in the last pass, and a rise to it is worth a write."""
        self._asked_at = -math.inf
        """Time at which `commands_towards` was called last (s)."""
        self._rise_step_a = STEP_A
        """Smallest rise to its share that is sent right after its last lease."""
        self._cut_below_a = -math.inf
        """Share below which a quarter hour's budget has cut it; negative infinity: it has risen since."""

    def is_due_for(self, allocation: Allocation | None, now: float, *, may_wait: bool = True) -> bool:
        """Return True if this allocation may have another consequence now than that of the last pass.

        A share that differs by less than a step has none: the next renewal brings the limit there. Nor has
        one, where it `may_wait`, for which nothing is sent now unless there is room for a rise. Where another
        circuit or phase bounds it, `statement` names that.
        """
        last = self.allocation
        if allocation is last or allocation == last:
            return False
        if allocation is None or last is None:
            return True
        if self._stays_stopped(allocation, last):
            self.allocation, self.statement = allocation, allocation.statement
            return False
        if not self._is_followed_at_leisure(allocation, last):
            return True
        is_other_reason = allocation.statement != last.statement
        if is_other_reason and self.statement not in (RISING, last.statement):
            return True
        is_settled = -SMALL_CUT_A <= allocation.limit_a - self.offered_a <= NOISE_A
        if is_settled and not is_other_reason:
            self.allocation = allocation
            return False
        if not (may_wait and self._waits_for_share(allocation, now)):
            return True
        if is_other_reason and self.statement is not RISING:
            self.statement = allocation.statement
        return False

    def _waits_for_share(self, allocation: Allocation, now: float) -> bool:
        """Note a share for which nothing is sent now, unless there is room for a rise; else return False.

        Its station, its car, its orders and the reason of its share are as in the last pass. It is updated
        when the rise is worth a write.
        """
        share_a, step_a, may_differ = self._terms(allocation)
        offered_a, target_a = self.offered_a, self._delivery.possible_a(share_a)
        if min(offered_a, target_a) < self._model.evse.min_a or not (may_differ or target_a > offered_a):
            return False
        if self._delivery.in_watts or self._model.switch.is_due:
            return False
        test_at, _ = self._next_test(now)
        if self._decisions.is_waiting or now < self._test_ends_at or test_at <= now:
            return False
        if (self.statement is RISING) is not (offered_a < share_a - step_a):
            return False
        rises_at = self._rises_at(target_a, step_a)
        is_worth_write = target_a - offered_a > NOISE_A and now >= rises_at
        if is_worth_write and self._booking.most_a(now) > offered_a:
            return False
        self.allocation = allocation
        self._set_rising(target_a, step_a, rises_at, now)
        return True

    def _stays_stopped(self, allocation: Allocation, last: Allocation) -> bool:
        """Return True if it is offered nothing and gets nothing again, for want of room elsewhere by now."""
        if (allocation.statement.code, last.statement.code) != (NO_ROOM, NO_ROOM):
            return False
        is_explained = self.statement == last.statement and not self._decisions.is_waiting
        return is_explained and self.offered_a <= 0 and not self._delivery.in_watts

    def _is_followed_at_leisure(self, allocation: Allocation, last: Allocation) -> bool:
        """Return True if an allocation is followed at leisure: circuits bind it, as the last one."""
        codes = (allocation.statement.code, last.statement.code)
        if allocation.statement != last.statement and codes != (PHASE_FULL, PHASE_FULL):
            return False
        if self._demand.must_obey:
            return False
        return min(allocation.limit_a, last.limit_a) >= self._model.evse.min_a

    def commands_towards(
        self,
        allocation: Allocation | None,
        headroom: Headroom,
        now: float,
        *,
        urgent: bool,
        to_share: bool = False,
        cut_a: float | None = None,
    ) -> list[SetLimit]:
        """Return what to send so that it comes to its allocation (None: it gets none).

        A rise goes only into room that is left in `headroom`, where everybody is booked, and is booked there.
        `cut_a`: it is cut to this limit now, as its room is needed. `to_share`: it is cut to its share now.
        """
        model, delivery, fallback_a = self._model, self._delivery, self._model.evse.fallback_a
        if allocation is not None and model.switch.changing:
            allocation = Allocation(model.evse.ref, 0.0, explain_switch(to_single=model.switch.to_single))
        self._asked_at = now
        standing = delivery.standing(now)
        offered_a, problem = standing.offered_a, standing.problem
        target_a, step_a, may_differ = self._terms(allocation)
        if allocation is not None and allocation.limit_a > 0 and cut_a is not None and not to_share:
            # As low as its room is needed; where unbalance binds, its share may be lower, and holds at once.
            share_a, target_a = target_a, min(cut_a, offered_a)
            if self._demand.unbalance_limited:
                target_a = min(share_a, target_a)
            is_by_budget = any(part.code is BUDGET_USED for part in allocation.statement.parts())
            if is_by_budget and target_a < share_a - NOISE_A:
                self._cut_below_a = share_a
        target_a = self._tested_a(target_a, offered_a, now)
        booked_a = self._booking.most_a(now)
        has_fallback = not delivery.hold_s and offered_a >= fallback_a
        is_needed = to_share or cut_a is not None or self._demand.must_obey or now < self._test_ends_at
        commands = delivery.commands(
            target_a,
            self._booking.ceiling_a(booked_a, offered_a, headroom, min(model.start_a(now), target_a)),
            now,
            urgent=urgent,
            idle=allocation is None and not problem and has_fallback,
            timing=choose_timing(is_needed=is_needed, may_wait=may_differ),
            step_a=step_a,
        )
        if urgent and not commands and delivery.is_due(now):
            # An urgent pass renews nothing: the next one does, before the end.
            self._due.updates.add(model.evse.ref)
        self._book_offer(booked_a, headroom, now)
        self.statement = self._explain(allocation, problem, booked_a, step_a, now)
        return commands

    def raise_to(self, target_a: float, headroom: Headroom, now: float) -> list[SetLimit]:
        """Return what to send so that it rises to a target (A per phase), which may be above its share."""
        booked_a = self._booking.most_a(now)
        ceiling_a = self._booking.ceiling_a(booked_a, self.offered_a, headroom)
        commands = self._delivery.commands(target_a, ceiling_a, now)
        self._book_offer(booked_a, headroom, now)
        return commands

    def _book_offer(self, booked_a: float, headroom: Headroom, now: float) -> None:
        """Note its offer after a command, and book what of it is above `booked_a` (A per phase)."""
        before_a, self.offered_a = self.offered_a, self._delivery.standing(now).offered_a
        offered_a = self.offered_a
        if offered_a > before_a + NOISE_A:
            self._cut_below_a = -math.inf
        self._rises_after_test &= offered_a <= before_a + NOISE_A
        self._model.draw.offer(offered_a, now)
        if offered_a > booked_a and self._booking.may_draw(now):
            headroom.book(self._model.evse, self._model.phases, offered_a - booked_a)

    def settle(self, allocation: Allocation | None, now: float) -> None:
        """Note the allocation of this pass, and find until when the next passes may leave the EVSE alone.

        They may not while it has to stop, changes its phases, or has a line to log. What has changed since it
        was refreshed, in an earlier slice of the pass, is left to the next one.
        """
        self.allocation = allocation
        target_a = self.update_rising(now)
        self.await_test(now)
        evse = self._model.evse
        # A station that is away cannot be stopped: its connection marks it for the next pass.
        is_stopping = self._delivery.connected and target_a < evse.min_a <= self.offered_a
        if is_stopping or self._model.switch.is_due or self._decisions.is_waiting:
            self._due.updates.add(evse.ref)
            return
        since = self._demand.refreshed_at
        due_at = min(self._delivery.changes_at(since), self._model.changes_at(since))
        books_at = self._delivery.booking_changes_at(self._booking.booked_at)
        if self._model.switch.changing or self._demand.problem:
            # It changes its phases once its station may take nothing; the reason names what is booked.
            due_at, books_at = min(due_at, books_at), math.inf
        for ends_at in (self._test_ends_at, self._demand.shows_until):
            if now < ends_at < due_at:
                due_at = ends_at
        renews_at = self._delivery.renews_at
        if renews_at <= self._asked_at:
            renews_at = math.inf  # nothing was sent: its fallback will do, or its memory is worn
        if self._delivery.hold_s:  # the next lease is shorter, as is the time for which the limit holds
            due_at, renews_at = min(due_at, renews_at), math.inf
        self._due.updates.set_due(evse.ref, due_at)
        self._due.bookings.set_due(evse.ref, books_at)
        self._due.renewals.set_due(evse.ref, renews_at)

    def await_test(self, now: float) -> bool:
        """Have it asked again when a test of its car's phases may begin; return True if one may by now."""
        tests = self._model.phase_tests
        if tests is None:
            return False
        is_needed = self._model.needs_phase_test(now)
        has_step = is_needed and self._has_test_step
        tests.set_needed(self._model.evse.ref, is_needed=is_needed, has_step=has_step)
        test_at = self._next_test(now)[0] if is_needed else math.inf
        if now >= test_at:
            return True
        self._due.tests.set_due(self._model.evse.ref, test_at)
        return False

    def update_rising(self, now: float) -> float:
        """Find whether it waits for room to rise to its share, or else when a rise will be worth a write.

        Returns what its station can follow of its share (A per phase).
        """
        share_a, step_a, _ = self._terms(self.allocation)
        target_a = self._delivery.possible_a(share_a)
        self._set_rising(target_a, step_a, self._rises_at(target_a, step_a), now)
        return target_a

    def _set_rising(self, target_a: float, step_a: float, rises_at: float, now: float) -> None:
        """Find the same for a target, the smallest rise to it (A per phase), and when it is worth a write."""
        evse, offered_a = self._model.evse, self.offered_a
        self._rise_step_a = step_a
        starts = offered_a < evse.min_a <= target_a
        self.is_rising = starts or (target_a - offered_a > NOISE_A and now >= rises_at)
        if not self.is_rising and now < rises_at:
            self._due.rises.set_due(evse.ref, rises_at)

    def _rises_at(self, target_a: float, step_a: float) -> float:
        """Return when a rise to a target (A per phase) is worth a write (s, monotonic)."""
        return self._delivery.rises_at(target_a - self.offered_a + NOISE_A, step_a)

    def share_a(self, allocation: Allocation | None) -> float:
        """Return what it is allocated (A per phase): without an allocation, its fallback."""
        return self._model.evse.fallback_a if allocation is None else allocation.limit_a

    def least_room_a(self, now: float, at: float) -> float:
        """Return the least room (A per phase) into which a rise is worth a write at a moment (s, monotonic).

        inf: none is. It may be less once the EVSE is updated.
        """
        delivery, min_a = self._delivery, self._model.evse.min_a
        if at < self._test_ends_at or at < delivery.rises_from:
            return math.inf
        least_a, booked_a = delivery.least_rise_a(at), self._booking.most_a(now)
        if self.offered_a < min_a:
            return max(least_a, min_a - booked_a) - NOISE_A
        rise_a = delivery.least_rise_a(at, self._rise_step_a)
        return max(least_a, self.offered_a + rise_a - booked_a - NOISE_A) - NOISE_A

    def most_beside_share_a(self, allocation: Allocation) -> float:
        """Return the most that it can take (A per phase) while nobody else takes the room; 0: its share."""
        most_a = self._demand.most_a
        if most_a is None or not self._may_differ(allocation.limit_a):
            return 0.0
        takes_part = self.offered_a >= self._model.evse.min_a <= allocation.limit_a
        if not takes_part or self._model.switch.changing or self._model.draw.has_excess:
            return 0.0
        return most_a

    def take_decision(self, now: float) -> LoggedDecision | None:
        """Return its limit and the reason, when it is time to log a change."""
        decision = LoggedDecision(self._model.evse.ref, self.offered_a, self.statement)
        if self._decisions.is_due(decision, now):
            return decision
        if self._decisions.is_waiting:
            self._due.updates.add(decision.ref)
        return None

    def _tested_a(self, target_a: float, offered_a: float, now: float) -> float:
        """Return the target, lower for a while where that step shows the phases of its car."""
        lower_a = min(target_a, offered_a)
        if now < self._test_ends_at:
            return min(lower_a, self._tested_with_a)
        test_at, limit_a = self._next_test(now)
        most_a = lower_a - TEST_A if limit_a else target_a
        if now < test_at or most_a < self._model.least_a:
            return target_a
        self._tested_with_a, self._tested_for = limit_a, STEP_FOR_PHASES
        duration_s = TEST_S if self._model.on_phase_test() <= QUICK_TESTS else LATE_TEST_S
        self._test_ends_at = now + duration_s
        self._rises_after_test = True
        if self._model.phase_tests is not None:
            self._model.phase_tests.begin(duration_s, now)
        return self._tested_with_a

    def possible_step_a(self, needed: NeededStep, now: float) -> float:
        """Return by how much its car can come down for such a step (A per phase); 0: it cannot make one.

        It may be paused where nothing less is possible and the step is worth that. One that is offered
        nothing goes up to its minimum.
        """
        model, draw = self._model, self._model.draw
        if needed.apart and len({model.phases[phase] for phase in needed.apart}) == 1:
            return 0.0
        if self._starts_for(needed):
            return model.least_a if self._can_start(needed) else 0.0
        if not (self._delivery.connected and model.is_charging) or model.switch.changing:
            return 0.0
        if model.evse.is_dc or now < self._test_ends_at or draw.reports_each_s(now) > needed.report_s:
            return 0.0
        is_wired = max(draw.surely_drawn[phase] for phase in needed.phases) >= UNLOADED_A
        drawn_a = self._drawn_a(needed, now)
        if not is_wired:
            return 0.0
        step_a = min(METER_STEP_A, drawn_a - model.least_a)
        if step_a < needed.least_a and needed.may_pause and not self._delivery.never_pauses:
            step_a = drawn_a
        return step_a if step_a >= needed.least_a else 0.0

    def _can_start(self, needed: NeededStep) -> bool:
        """Return True if its car waits for nothing but a meter, and its start shows in time."""
        model, demand = self._model, self._demand
        if not self._delivery.connected or model.evse.is_dc or model.switch.changing:
            return False
        if demand.takes_nothing or demand.is_paused or demand.waits_for_surplus:
            return False
        room_a = needed.start_room_a or ZERO
        if any(used and amps < model.least_a for used, amps in zip(model.phases, room_a, strict=True)):
            return False
        is_wired = any(model.phases[phase] for phase in needed.phases)
        return demand.has_demand and is_wired and model.draw.report_interval_s <= needed.report_s

    def _drawn_a(self, needed: NeededStep, now: float) -> float:
        """Return what its car draws now (A per phase), before such a step; 0: unknown.

        Where no report has to show the step, that is what its reports have shown of its offers.
        """
        draw = self._model.draw
        if draw.settled and not self._model.reports_no_current(now):
            return draw.most_loaded_a
        is_known = needed.is_commanded and draw.held_for(self._delivery.slowest_s, now)
        return min(draw.takes_a, self.offered_a) if is_known else 0.0

    def step_order(self, needed: NeededStep, now: float) -> tuple[int, float, float, float]:
        """Return its place among those that can make a step: large ones first, those reported soon first.

        A pause comes after those, a start last. The car that has made the last one may not have followed it:
        it comes last among equals.
        """
        report_s = self._model.draw.report_interval_s
        shown_a = self.possible_step_a(needed, now)
        if needed.counts_phases:
            shown_a *= sum(self._model.phases[phase] for phase in needed.phases)
        kind = 2 if self._starts_for(needed) else int(self.pauses_for(needed, now))
        ended_at = max(self._test_ends_at, self._demand.shows_until)
        return kind, -shown_a, ended_at, report_s

    def pauses_for(self, needed: NeededStep, now: float) -> bool:
        """Return True if its car is paused for such a step, as nothing less is possible."""
        is_to_zero = self.possible_step_a(needed, now) >= self._drawn_a(needed, now)
        return is_to_zero and not self._starts_for(needed)

    def _starts_for(self, needed: NeededStep) -> bool:
        """Return True if its car goes up for such a step, as it is offered nothing."""
        return needed.start_room_a is not None and self.offered_a < self._model.evse.min_a

    def begin_step(self, needed: NeededStep, now: float) -> float:
        """Lower its offer for such a step; return the time (s) until the meter has shown it.

        Where limits show it, its return is a part of it.
        """
        report_s = self._model.draw.report_interval_s
        self._due.updates.add(self._model.evse.ref)
        if self._starts_for(needed):
            self._demand.shows_until = now + METER_START_S + report_s
            return METER_START_S + report_s
        step_a = min(needed.most_a, self.possible_step_a(needed, now))
        if needed.is_commanded:
            report_s = max(self._delivery.slowest_s, min(report_s, LONGEST_REPORT_S))
        self._tested_with_a, self._tested_for = self._drawn_a(needed, now) - step_a, STEP_FOR_METER
        self._test_ends_at = now + METER_STEP_S + report_s
        self._rises_after_test = True
        return (1 + needed.is_commanded) * (METER_STEP_S + report_s)

    def end_step(self, now: float) -> None:
        """End it: the meter has shown a move."""
        self._test_ends_at = min(self._test_ends_at, now)
        self._due.updates.add(self._model.evse.ref)

    def _next_test(self, now: float) -> tuple[float, float]:
        """Return when a test of its car's phases may begin (s, monotonic; inf: none does), and its limit (A).

        Its offer falls to the least under which its car charges on. In its turn it is offered more than that.
        Where the circuits have no room for more, which may be for want of the phases themselves, its car is
        paused (0 A): a pause and the start after it are two steps.
        """
        model, tests = self._model, self._model.phase_tests
        if tests is None or not model.needs_phase_test(now):
            return math.inf, 0.0
        begin_at = max(
            self._delivery.written_at + TEST_AFTER_S, model.state_since + TEST_AFTER_S, tests.begin_at
        )
        if self._has_test_step:
            return begin_at, model.least_a
        may_pause = model.may_pause_for_test(now) and not self._delivery.never_pauses
        if not may_pause or self.offered_a < model.least_a:
            return math.inf, 0.0
        return max(begin_at, tests.raised_at + PAUSE_AFTER_S), 0.0

    @property
    def _has_test_step(self) -> bool:
        """Return True if its offer can fall by enough to show the phases of its car."""
        return self.offered_a - TEST_A >= self._model.least_a

    def _terms(self, allocation: Allocation | None) -> tuple[float, float, bool]:
        """Return its share, the smallest rise to it that is sent right after its last lease, `_may_differ`.

        Both are in A per phase; without an allocation its share is its fallback. Who was cut below its share
        by a quarter hour's budget, which gets less and less, leaves it to the rest of the quarter hour.
        """
        share_a = self.share_a(allocation)
        may_differ = allocation is not None and self._may_differ(share_a)
        if self.offered_a < self._demand.start_a <= share_a:
            return share_a, LEAST_STEP_A, may_differ
        if self._rises_after_test:
            return share_a, TEST_A, may_differ
        if share_a <= self._cut_below_a + RETURNED_A:
            return share_a, deepest_a(share_a), may_differ
        lags = may_differ or (allocation is not None and self._lags_without_lead(share_a))
        return share_a, max(STEP_A, LAG * share_a) if lags else STEP_A, may_differ

    def _may_differ(self, share_a: float) -> bool:
        """Return True if its offer may differ from its share until its renewal.

        It may where the share is bound by the room of circuits alone: whoever needs that room gets it by a
        cut. Limits of its own, unbalance and surplus are followed at once.
        """
        return self._is_bound_by_room(share_a) and not self._demand.unbalance_limited

    def _lags_without_lead(self, share_a: float) -> bool:
        """Return True if its offer may stay below its share where unbalance is limited: it loads no lead."""
        return self._is_bound_by_room(share_a) and all(self._model.sure_phases)

    def _is_bound_by_room(self, share_a: float) -> bool:
        demand, most_a = self._demand, self._demand.most_a
        if most_a is None or demand.must_obey or demand.waits_for_surplus:
            return False
        return share_a < most_a - NOISE_A

    def _explain(
        self,
        allocation: Allocation | None,
        problem: LimitReason | None,
        booked_a: float,
        step_a: float,
        now: float,
    ) -> LimitReason:
        offered_a = self.offered_a
        if problem is not None:
            return explain_kept_free(problem, booked_a) if self._booking.may_draw(now) else problem
        if self._model.draw.defiant_a > offered_a:
            return explain_disobedience(self._model.draw.defiant_a, offered_a)
        if allocation is None:
            return UNAUTHORIZED if self._model.unauthorized else NO_CAR
        starts = offered_a < self._model.evse.min_a <= allocation.limit_a
        if starts or offered_a < allocation.limit_a - step_a:
            return self._tested_for if now < self._test_ends_at else RISING
        if self._model.switch.single:
            return explain_one_phase(allocation.statement)
        return allocation.statement
