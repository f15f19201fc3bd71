"""Controller of one EVSE: joins what is known of it with the limits in its station."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from msgspec.structs import replace

from controller.load_management.allocation.allocator import ALL_IT_CAN_TAKE, Allocation, Demand, Place
from controller.load_management.allocation.headroom import Booking, Headroom
from controller.load_management.decision_log import DecisionLog, LoggedDecision
from controller.load_management.events import (
    NO_PLAN,
    EvseOverridden,
    EvsePlan,
    EvseUse,
    LimitAnswered,
    SetLimit,
)
from controller.load_management.evse.awake_evses import AwakeEvses
from controller.load_management.evse.charger_response import ChargerResponse
from controller.load_management.evse.consumption import OfferCredit, ReportedStep, is_possible
from controller.load_management.evse.departure_goal import NO_NEED
from controller.load_management.evse.evse_model import START_A, EvseModel, EvseObservation
from controller.load_management.evse.limit_delivery import (
    NOISE_A,
    SMALL_CUT_A,
    STEP_A,
    DeliveryMemory,
    LimitDelivery,
    choose_timing,
)
from controller.load_management.evse.limit_reasons import (
    ALL_ITS_CAR_TAKES,
    CAR_ON_ONE_PHASE,
    CAR_TAKES_NOTHING,
    NO_CAR,
    NOT_PLANNED,
    RISING,
    STATE_NOT_REPORTED,
    UNAUTHORIZED,
    LimitReason,
    explain_backend_limit,
    explain_disobedience,
    explain_fallback,
    explain_kept_free,
    explain_one_phase,
    explain_switch,
)
from controller.load_management.site_tree import EvseNode, PhaseAmps, PhaseFlags
from controller.load_management.site_view import EvseView
from controller.model.observations import (
    BackendLimit,
    DrawSeen,
    EvseState,
    NeedsSeen,
    TransactionSeen,
)

if TYPE_CHECKING:
    from controller.chargers.quirks import Quirk

TEST_A = 3.0
TEST_S = 20.0
"""Step of an offer that shows the phases of a car whose station reports no currents, and its duration."""
TEST_AFTER_S = 40.0
"""Least time (s) between its last limit and a test."""
LAG = 0.15
"""Part of its share by which an EVSE may stay below it until its renewal, unless spare room raises it."""
SEEN_CHANGE_A = 1.0
"""Smallest change of a reported draw that is looked for in the meters above."""


class EvseController:
    """Controls one EVSE. `statement` states why it has its limit.

    `impossible`: the last report that its wiring does not allow (A per phase), None without one.
    """

    def __init__(
        self, evse: EvseNode, delivery: LimitDelivery, now: float, awake: AwakeEvses | None = None
    ) -> None:
        self.evse = evse
        self._awake = AwakeEvses() if awake is None else awake
        self.model = EvseModel(evse, now)
        self.delivery = delivery
        self.response = ChargerResponse()
        self.has_unsaved_state = False
        """Return True if `record` has something new beside the limits."""
        self.statement = NOT_PLANNED
        self.backend = BackendLimit(evse.ref.evse, None)
        """Limit of its backend's own profiles."""
        self.override = EvseOverridden(ref=evse.ref)
        """Order of a person for it."""
        self.plan = NO_PLAN
        """Its part of the energy plan."""
        self.shares_its_limit = False
        """True while an EVSE that the configuration does not name may draw under its limit."""
        self.impossible: DrawSeen | None = None
        self.credit_due_at = 0.0
        """Time at which `credit` changes next without an event (s, monotonic)."""
        self.allocation: Allocation | None = None
        """Allocation of the last pass; None: it got none."""
        self.quiet_until = -math.inf
        """Until when nothing changes here without an event (s, monotonic): see `settle`."""
        self.offered_a = evse.max_a
        """Offer of the last pass (A per phase)."""
        self.is_rising = False
        """Return True if it was offered less than its share in the last pass, by a step or more."""
        self.has_demand = self.takes_nothing = self.is_paused = self.has_fallback = self.waits_for_surplus = (
            False
        )
        self.problem: LimitReason | None = None
        self._demand: Demand | None = None
        self._demand_terms: tuple[object, ...] = ()
        self._test_ends_at = -math.inf
        self.is_below_meter = False
        """A meter above shows its current, so that a step of its offer shows the phases of its car."""
        self._unbalance_limited = False
        """True if the unbalance of a circuit above it is limited."""
        self._need = NO_NEED
        self.apply_phase_switching(None)
        self._decisions = DecisionLog()
        self.wake()

    def on_observation(self, observation: EvseObservation, now: float) -> tuple[bool, ReportedStep | None]:
        """Take in one observation of its station.

        Return whether the sharing changes by it, and the step of its draw that the meters above must see.
        """
        if isinstance(observation, DrawSeen) and not is_possible(self.evse, observation.current_a):
            self.impossible = observation
            return False, None
        draw = self.model.draw
        before_a, before, since = draw.defiant_a, draw.drawn, draw.known_at
        was_known = None not in draw.report
        changed = self.model.on_observation(observation, self.delivery.offered_a(now), now)
        if isinstance(observation, DrawSeen):
            self.impossible = None
            draw.check_obedience(self.delivery.booked_a(now))
            self._learn(now)
        elif isinstance(observation, TransactionSeen):
            self.response.forget_car()
        self.has_unsaved_state |= isinstance(observation, NeedsSeen)
        return changed or draw.defiant_a > before_a, self._step(before, since, now) if was_known else None

    def _step(self, before: PhaseAmps, since: float, now: float) -> ReportedStep | None:
        after = self.model.draw.drawn
        delta = (after[0] - before[0], after[1] - before[1], after[2] - before[2])
        if max(map(abs, delta)) < SEEN_CHANGE_A:
            return None
        return ReportedStep(ref=self.evse.ref, delta_a=delta, since=since, at=now)

    def _learn(self, now: float) -> None:
        before = self.response.habits
        drawn_a = self.model.draw.most_loaded_a
        self.response.on_draw(drawn_a, now)
        if self.model.draw.settled and self.model.state is EvseState.CHARGING:
            self.response.on_settled_draw(self.delivery.offered_a(now), drawn_a)
        self._apply_response()
        self.has_unsaved_state |= self.response.habits != before

    def _apply_response(self) -> None:
        self.delivery.learned_s = self.response.habits.reaction_s
        self.model.draw.reaction_s = self.delivery.reaction_s

    def offer_step_a(self, before_a: float, now: float) -> float:
        """Return the step (A per phase) that its car makes now as its lease has changed from `before_a`.

        0 where its station reports currents itself, and where no car charges.
        """
        if not self.model.is_charging or not self.model.reports_no_current(now):
            return 0.0
        return self.delivery.leased_a - before_a

    def on_limit_answered(self, answer: LimitAnswered, now: float) -> bool:
        """Take in the end of one of its limits; return True if it was waited for."""
        known = self.delivery.on_answer(answer.token, answer.accepted, answer.detail, now)
        if known and answer.accepted:
            self.response.on_limit_accepted(self.delivery.offered_a(now), now)
        return known

    def record(self, now: float) -> DeliveryMemory:
        """Return what must survive a restart, as of now."""
        self.has_unsaved_state = False
        known = self.delivery.record(now)
        return replace(known, goal=self.model.goal.record(), habits=self.response.habits)

    def restore(self, record: DeliveryMemory) -> None:
        """Take over what was recorded before a restart."""
        self.delivery.restore(record)
        self.response.restore(record.habits)
        self._apply_response()
        if record.goal is not None:
            self.model.goal.restore(record.goal)

    def on_station_down(self, now: float) -> None:
        """Note that its station cannot be commanded any more."""
        self.model.on_station_down(now)
        self.delivery.on_disconnected(now)

    def apply_quirk(self, quirk: Quirk, now: float) -> bool:
        """Follow the quirk of its station from now on; return True if the current has to be shared anew."""
        could_switch = self.model.switch.able
        is_other = self.delivery.apply_quirk(quirk, now)
        self._apply_response()
        self.apply_phase_switching(quirk.phase_switching)
        return is_other or self.model.switch.able is not could_switch

    def apply_phase_switching(self, reported: bool | None) -> None:
        """Use what the station reports of phase switching where the site's owner has not set it."""
        wanted = reported if self.evse.phase_switching is None else self.evse.phase_switching
        can = not self.delivery.never_pauses and not self.delivery.in_watts
        self.model.switch.able = bool(wanted) and can and len(self.evse.phases) == 3

    @property
    def all_phases(self) -> PhaseFlags:
        """Return the site's phases that it is wired to."""
        return to_flags(self.evse.phases)

    @property
    def one_phase(self) -> PhaseFlags:
        """Return the site's phase that it uses when it is set to use one: its own L1."""
        return to_flags(self.evse.phases[:1])

    def wake(self) -> None:
        """Have the next pass update it: an event has changed something here."""
        self.quiet_until = -math.inf
        self._awake.add(self.evse.ref)

    def set_plan(self, plan: EvsePlan) -> None:
        """Set its part of the energy plan."""
        if plan != self.plan:
            self.plan = plan
            self.wake()

    def refresh(self, voltage: float, now: float) -> None:
        """Update what depends on time: a change of phases that is due, the need, the phases of a W limit.

        A limit in W is sent for the phases that the car uses: for one until it has shown more. What a pass
        asks of every EVSE is stored here: it holds until the next event, or until `quiet_until`.
        """
        if self.model.switch.changing and self._booked_a(now) <= NOISE_A:
            self.model.holds_nothing(now)
        self.delivery.number_phases = 1 if self.model.switch.single else None
        self._need = self.model.goal.need(voltage, sum(self.model.phases), now)
        self.delivery.set_phases(self._watt_phases)
        self.delivery.most_w = self.backend.limit_w
        pauses = not self.delivery.never_pauses
        self.has_demand = self.model.has_demand(now)
        self.waits_for_surplus = self.is_surplus
        self.takes_nothing = pauses and self.model.takes_nothing(now) and not self.waits_for_surplus
        self.is_paused = pauses and self.limit_by_order[0] < self.evse.min_a
        self.has_fallback = pauses and self.evse.fallback_a > 0
        self.problem = self.delivery.problem(now)
        self.offered_a = self.delivery.offered_a(now)
        self._demand = None

    def is_given_another(self, allocation: Allocation | None) -> bool:
        """Return True if this allocation has another consequence than that of the last pass.

        A share that differs by less than a step has none: the next renewal brings the limit there.
        """
        last = self.allocation
        if allocation is last or allocation == last:
            return False
        if allocation is None or last is None or allocation.statement != last.statement or self._must_obey:
            return True
        if min(allocation.limit_a, last.limit_a) < self.evse.min_a:
            return True
        if allocation.limit_a > self.offered_a + NOISE_A or allocation.limit_a < self.offered_a - SMALL_CUT_A:
            return True
        self.allocation = allocation
        return False

    def settle(self, allocation: Allocation | None, now: float) -> None:
        """Note the allocation of this pass, and find until when the next passes may leave the EVSE alone.

        They may not while it has to stop, changes its phases, or has a line to log.
        """
        self.allocation = allocation
        target_a = self.evse.fallback_a if allocation is None else allocation.limit_a
        target_a = self.delivery.possible_a(target_a)
        offered_a = self.delivery.offered_a(now)
        self.offered_a = offered_a
        starts = offered_a < self.evse.min_a <= target_a
        step_a = self._step_a(allocation)
        rises_at = self.delivery.rises_at(target_a - offered_a + NOISE_A, step_a)
        self.is_rising = starts or (target_a - offered_a > NOISE_A and now >= rises_at)
        # A station that is away cannot be stopped: its connection wakes it.
        is_stopping = self.delivery.connected and target_a < self.evse.min_a <= offered_a
        if is_stopping or self.model.switch.is_due or self._decisions.is_waiting:
            self.wake()
        else:
            self.quiet_until = min(self.delivery.changes_at(now), self.model.changes_at(now))
            moments = (self._test_ends_at, self._tests_from(now), rises_at)
            self.quiet_until = min([self.quiet_until, *(each for each in moments if each > now)])
            self._awake.set_due(self.evse.ref, self.quiet_until)

    def may_draw(self, now: float) -> bool:
        """Return True if current is kept for it: while a station is away, a car may come unseen."""
        return self.model.has_demand(now) or self.shares_its_limit or not self.delivery.connected

    def credit(self, now: float) -> OfferCredit:
        """Return what it draws on the site's phases now."""
        return self.model.draw.credit(now, has_car=self.may_draw(now))

    @property
    def waking_a(self) -> float:
        """Return the offer to wake a car with: more than the minimum if it has never drawn."""
        return self.evse.min_a if self.model.has_drawn else max(self.evse.min_a, START_A)

    @property
    def has_whole_steps(self) -> bool:
        """Return True if its station follows whole amperes only, or some of them."""
        return self.delivery.quirk.has_whole_steps or self.response.habits.whole_amps

    def usable_a(self, limit_a: float) -> float:
        """Return what of a limit its station can follow (A per phase)."""
        usable_a = self.delivery.possible_a(limit_a)
        if self.response.habits.whole_amps:
            usable_a = max(min(usable_a, self.evse.min_a), float(math.floor(usable_a + 1e-6)))
        return usable_a

    def next_step_a(self, limit_a: float) -> float:
        """Return the lowest limit above that its station can follow (A per phase), infinite without one."""
        step_a = self.delivery.quirk.next_step_a(limit_a)
        return float(math.ceil(step_a - 1e-6)) if self.response.habits.whole_amps else step_a

    def booking(self, now: float) -> Booking:
        """Return the most that it may be taking now; without a car, the fallback that one takes at once."""
        booked_a = self._booked_a(now)
        if not self.may_draw(now):
            booked_a = min(booked_a, self.evse.fallback_a)
        return self._phases_at_risk(now), booked_a

    def falling_a(self, now: float) -> float:
        """Return how much of its booking a cut that is under way will free (A per phase).

        A cut that is not answered in time frees nothing, so that others are cut instead.
        """
        if self.problem or not self.may_draw(now) or self.delivery.late_a(now):
            return 0.0
        expected_a = max(self.delivery.offered_a(now), self.model.draw.defiant_a)
        return max(0.0, self._booked_a(now) - expected_a)

    def book(self, ledger: Headroom, now: float) -> None:
        """Book the most that it may be taking now."""
        ledger.book(self.evse, *self.booking(now))

    def book_overdraw(self, ledger: Headroom, now: float, *, steered: bool) -> None:
        """Book its draw beyond its offer: part of no share, and missing all the same.

        `steered`: the grid operator limits it. Then no meter shows who has not received a cut: what is not
        answered in time counts as not obeyed.
        """
        late_a = self.delivery.late_a(now) if steered and self.evse.steerable else 0.0
        amps = max(self.model.draw.overdraw_a, late_a)
        if amps:
            ledger.book(self.evse, self.model.phases, amps)

    def book_excess(self, ledger: Headroom, now: float) -> None:
        """Book its reported draw beyond its offer, as far as it is above what is booked for it."""
        drawn_a = self.delivery.offered_a(now) + self.model.draw.overdraw_a
        excess_a = drawn_a - self.booking(now)[1]
        if self.model.draw.has_excess and excess_a > 0:
            ledger.book(self.evse, self.model.phases, excess_a)

    @property
    def priority(self) -> int:
        """Return its priority: that of an override, else of the energy plan, else the configured one."""
        for priority in (self.override.priority, self.plan.priority):
            if priority is not None:
                return priority
        return self.evse.priority

    @property
    def limit_by_order(self) -> tuple[float, LimitReason]:
        """Return the lowest limit of an override, the energy plan and its backend (A per phase), and why."""
        limits = [(math.inf, ALL_IT_CAN_TAKE)]
        if self.backend.limit_a is not None:
            allowed = explain_backend_limit(self.backend.limit_a, None)
            limits.append((self.backend.limit_a, allowed))
        if self.backend.limit_w is not None:
            allowed = explain_backend_limit(None, self.backend.limit_w)
            limits.append((self._backend_share_a, allowed))
        if self.override.limit_a is not None:
            limits.append((self.override.limit_a, self.override.why or ALL_IT_CAN_TAKE))
        if self.plan.limit_a is not None and not (self.plan.is_wait and self.override.boost):
            limits.append((self.plan.limit_a, self.plan.why or ALL_IT_CAN_TAKE))
        return min(limits, key=lambda pair: pair[0])

    @property
    def _watt_phases(self) -> int:
        """Return how many phases share a limit in W at least: one, until reports have shown more."""
        if self.evse.divides_watts:
            return len(self.evse.phases)
        return self.model.least_phases

    @property
    def _backend_share_a(self) -> float:
        """Return the current on a phase that its backend's limit in W needs at most (A).

        That limit is sent as it is, also where the station makes less than its minimum of it on each phase:
        it gets the room for its minimum then, unless the W are too few for one phase.
        """
        one_phase_a = (self.backend.limit_w or 0.0) / self.evse.watts_per_a
        if one_phase_a < self.evse.min_a:
            return one_phase_a
        return max(self.evse.min_a, one_phase_a / self._watt_phases)

    @property
    def is_surplus(self) -> bool:
        """Return True if it charges only from what the site would feed in."""
        surplus = self.evse.surplus if self.plan.surplus is None else self.plan.surplus
        return surplus and not self.override.boost

    def use(self, voltage_v: float, now: float) -> EvseUse:
        """Return its use for the energy plan; where no report shows its draw, it counts with its offer."""
        model, offered_a = self.model, self.delivery.offered_a(now)
        phases = sum(model.phases)
        has_demand = model.has_demand(now)
        drawn_a = sum(model.draw.drawn)
        if has_demand and model.draw.unknown(now):
            drawn_a = offered_a * phases
        left = model.goal.left(voltage_v, now)
        return EvseUse(
            has_demand=has_demand,
            is_served=offered_a >= self.evse.min_a,
            drawn_w=drawn_a * voltage_v,
            priority=self.priority,
            max_a=self.evse.max_a,
            most_w=min(self.evse.max_a, max(self.evse.min_a, model.need_a(now))) * phases * voltage_v,
            left_wh=None if left is None else left[0],
            leaves_in_s=None if left is None else left[1],
        )

    @property
    def cannot_wait(self) -> bool:
        """Return True if its car needs its minimum or more without a break to leave in time."""
        return self._need.needs_a >= self.evse.min_a

    def demand(
        self,
        place: Place,
        trouble: LimitReason | None,
        now: float,
        *,
        unbalance_a: float | None = None,
        dimmed: tuple[float, LimitReason] | None = None,
        is_served: bool = False,
    ) -> Demand:
        """Return what it could take now.

        `unbalance_a`: the least unbalance (A) that a circuit above it allows, if one limits it. `trouble`
        states why EVSEs on its circuit keep to their fallback, if they must. `dimmed`: the most that the grid
        operator leaves it (A per phase), and why.
        """
        caps = [(self.evse.max_a, ALL_IT_CAN_TAKE), (self.model.need_a(now), self._explain_need(now))]
        caps.append(self.limit_by_order)
        if trouble is not None:
            caps.append((self.evse.fallback_a, explain_fallback(trouble)))
        if unbalance_a is not None and not self.model.phases_known:
            # Three phases in step or one alone: it starts small enough for either.
            caps.append((max(self.evse.min_a, unbalance_a), CAR_ON_ONE_PHASE))
        max_a, cap = min(caps, key=lambda pair: pair[0])
        min_a = self.evse.min_a
        if (
            self.delivery.in_watts
            and self._watt_phases < len(self.evse.phases)
            and not self.model.phases_known
        ):
            # Enough W for the minimum on all phases, which one phase alone may take together.
            min_a = min(len(self.evse.phases) * min_a, self.evse.max_a)
            max_a = max(max_a, min_a) if not trouble else max_a
        if dimmed is not None and dimmed[0] < max_a:
            max_a, cap = dimmed
        min_a = max(min_a, min(self.model.start_a(now), max_a))
        used = [amps for amps, flag in zip(self.credit(now).low, self.phases_to_come, strict=True) if flag]
        needs_a, why = self._need.needs_a, self._need.why
        if self.plan.needs_a > needs_a:
            needs_a, why = self.plan.needs_a, self.plan.need_why
        return Demand(
            ref=self.evse.ref,
            phases=self.phases_to_come,
            min_a=min_a,
            max_a=max_a,
            needs_a=needs_a,
            why=why,
            priority=self.priority,
            place=place,
            cap=cap,
            is_served=is_served,
            help_a=min(used, default=0.0),
        )

    def demand_for(
        self,
        place: Place,
        trouble: LimitReason | None,
        now: float,
        *,
        unbalance_a: float | None,
        dimmed: tuple[float, LimitReason] | None,
        is_served: bool,
    ) -> Demand:
        """Return `demand`: that of the last pass if nothing has changed."""
        helping = None if unbalance_a is None else self.credit(now).low
        self._unbalance_limited = unbalance_a is not None
        terms = (place, trouble, is_served, dimmed, helping)
        if self._demand is None or terms != self._demand_terms:
            self._demand_terms = terms
            self._demand = self.demand(
                place, trouble, now, unbalance_a=unbalance_a, dimmed=dimmed, is_served=is_served
            )
        return self._demand

    def _explain_need(self, now: float) -> LimitReason:
        if self.model.idle:
            return CAR_TAKES_NOTHING
        if self.model.unauthorized:
            return UNAUTHORIZED
        return STATE_NOT_REPORTED if self.model.unreported else ALL_ITS_CAR_TAKES

    def commands_towards(
        self,
        allocation: Allocation | None,
        ledger: Headroom,
        now: float,
        *,
        urgent: bool,
        to_share: bool = False,
        cut_a: float | None = None,
    ) -> list[SetLimit]:
        """Return what to send so that it comes to its allocation (None: it gets none).

        A rise goes only into room that is left in `ledger`, where everybody is booked, and is booked there.
        `cut_a`: it is cut to this limit now, as its room is needed. `to_share`: it is cut to its share now.
        """
        if allocation is not None and self.model.switch.changing:
            allocation = Allocation(self.evse.ref, 0.0, explain_switch(to_single=self.model.switch.to_single))
        fallback_a = self.evse.fallback_a
        target_a = fallback_a if allocation is None else allocation.limit_a
        if allocation is not None and allocation.limit_a > 0 and cut_a is not None and not to_share:
            target_a = min(cut_a, self.delivery.offered_a(now))
        target_a = self._tested_a(target_a, now)
        booked_a = self._booked_a(now)
        problem = self.delivery.problem(now)
        has_fallback = not self.delivery.hold_s and self.delivery.offered_a(now) >= fallback_a
        commands = self.delivery.commands(
            target_a,
            self._ceiling_a(booked_a, ledger),
            now,
            urgent=urgent,
            idle=allocation is None and not problem and has_fallback,
            timing=choose_timing(
                is_needed=to_share or cut_a is not None or self._must_obey or now < self._test_ends_at,
                may_wait=self._may_differ(allocation),
            ),
            step_a=self._step_a(allocation),
        )
        offered_a = self.delivery.offered_a(now)
        self.model.draw.offer(offered_a, now)
        if offered_a > booked_a and self.may_draw(now):
            ledger.book(self.evse, self.model.phases, offered_a - booked_a)
        self.statement = self._explain(allocation, problem, offered_a, booked_a, now)
        return commands

    def _tested_a(self, target_a: float, now: float) -> float:
        """Return the target, lower for `TEST_S` where that step shows the phases of its car."""
        offered_a = self.delivery.offered_a(now)
        if now < self._test_ends_at:
            return min(target_a, offered_a)
        if now < self._tests_from(now) or min(target_a, offered_a) - TEST_A < self.evse.min_a:
            return target_a
        self.model.on_phase_test()
        self._test_ends_at = now + TEST_S
        return min(target_a, offered_a) - TEST_A

    def _tests_from(self, now: float) -> float:
        """Return when a test of its car's phases may begin (s, monotonic); inf: none is needed."""
        is_possible = self.is_below_meter and self.offered_a - TEST_A >= self.evse.min_a
        if not is_possible or not self.model.needs_phase_test(now):
            return math.inf
        return self.delivery.written_at + TEST_AFTER_S

    def _may_differ(self, allocation: Allocation | None) -> bool:
        """Return True if its offer may differ from its share until its renewal.

        It may where the share is bound by the room of circuits alone: whoever needs that room gets it by a
        cut. Limits of its own, unbalance and the sun are followed at once.
        """
        if allocation is None or self._demand is None or self._must_obey or self.waits_for_surplus:
            return False
        return allocation.limit_a < self._demand.max_a - NOISE_A and not self._unbalance_limited

    def _step_a(self, allocation: Allocation | None) -> float:
        """Return the smallest rise to its share (A per phase) that is sent right after its last lease."""
        if allocation is None or not self._may_differ(allocation):
            return STEP_A
        return max(STEP_A, LAG * allocation.limit_a)

    def differs_from(self, allocation: Allocation | None) -> bool:
        """Return True if its offer differs from what it was allocated."""
        share_a = self.evse.fallback_a if allocation is None else allocation.limit_a
        return abs(self.offered_a - share_a) > NOISE_A

    def is_worth_rise(self, room_a: float, now: float) -> bool:
        """Return True if a rise into so much room (A per phase) is worth a write now."""
        return room_a >= self.delivery.least_rise_a(now) - NOISE_A

    def most_beside_share_a(self, allocation: Allocation) -> float:
        """Return the most that it can take (A per phase) while nobody else takes the room; 0: its share."""
        if not self._may_differ(allocation) or self._demand is None:
            return 0.0
        takes_part = self.offered_a >= self.evse.min_a <= allocation.limit_a
        if not takes_part or self.model.switch.changing or self.model.draw.has_excess:
            return 0.0
        return self._demand.max_a

    def raise_beyond_share(self, target_a: float, ledger: Headroom, now: float) -> list[SetLimit]:
        """Return what to send so that it rises to a target (A per phase) that may be above its share."""
        booked_a = self._booked_a(now)
        commands = self.delivery.commands(target_a, self._ceiling_a(booked_a, ledger), now)
        offered_a = self.delivery.offered_a(now)
        self.model.draw.offer(offered_a, now)
        if offered_a > booked_a:
            ledger.book(self.evse, self.model.phases, offered_a - booked_a)
        return commands

    def take_decision(self, now: float) -> LoggedDecision | None:
        """Return its limit and the reason, when it is time to log a change."""
        decision = LoggedDecision(self.evse.ref, self.delivery.offered_a(now), self.statement)
        return decision if self._decisions.is_due(decision, now) else None

    def view(self, now: float) -> EvseView:
        """Return its state for people."""
        return EvseView(
            ref=self.evse.ref,
            connected=self.delivery.connected,
            state=self.model.state,
            offered_a=self.delivery.offered_a(now),
            drawn_a=self.model.draw.drawn,
            statement=self.statement,
            problem=self.delivery.problem(now),
            habits=self.response.habits,
            single_phase=self.model.switch.single,
            draw_unknown=self.model.draw.unknown(now),
            reports_every_s=self.model.draw.report_interval_s,
            offered_w=self.delivery.offered_w(now),
        )

    @property
    def _must_obey(self) -> bool:
        """Return True if its limit was ordered by a person, which is followed to the letter."""
        backend = self.backend.limit_a is not None or self.backend.limit_w is not None
        return backend or self.override.limit_a is not None or self.delivery.hold_s > 0

    def _phases_at_risk(self, now: float) -> PhaseFlags:
        """Return where it may draw: on all phases where it is in doubt that it uses only one."""
        in_doubt = self.model.switch.single and self.delivery.problem(now)
        return self.all_phases if in_doubt or self.shares_its_limit else self.model.phases

    @property
    def phases_to_come(self) -> PhaseFlags:
        """Return where it will draw, once a change that was decided is made."""
        switch = self.model.switch
        if not switch.changing:
            return self.model.phases
        return self.one_phase if switch.to_single else self.all_phases

    def _booked_a(self, now: float) -> float:
        """Return the most that it may be taking now (A per phase), by its limits and by its draw."""
        return max(self.delivery.booked_a(now), self.model.draw.defiant_a)

    def _ceiling_a(self, booked_a: float, ledger: Headroom) -> float:
        """Return the highest limit that it may rise to by now: in whole tenths, nothing below its minimum."""
        ceiling_a = booked_a + max(0.0, ledger.room(self.evse, self.model.phases))
        ceiling_a = math.floor(ceiling_a * 10 + 1e-6) / 10
        return ceiling_a if ceiling_a >= self.evse.min_a else 0.0

    def _explain(
        self,
        allocation: Allocation | None,
        problem: LimitReason | None,
        offered_a: float,
        booked_a: float,
        now: float,
    ) -> LimitReason:
        if problem is not None:
            if not self.may_draw(now):
                return problem
            return explain_kept_free(problem, booked_a)
        if self.model.draw.defiant_a > offered_a:
            return explain_disobedience(self.model.draw.defiant_a, offered_a)
        if allocation is None:
            return UNAUTHORIZED if self.model.unauthorized else NO_CAR
        starts = offered_a < self.evse.min_a <= allocation.limit_a
        if starts or offered_a < allocation.limit_a - self._step_a(allocation):
            return RISING
        if self.model.switch.single:
            return explain_one_phase(allocation.statement)
        return allocation.statement


def to_flags(used: tuple[int, ...]) -> PhaseFlags:
    """Return a flag for each of the site's phases."""
    return (0 in used, 1 in used, 2 in used)
