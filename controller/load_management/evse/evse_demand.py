"""Booking and demand of one EVSE: the most that it may be taking now, and what it could take."""

from __future__ import annotations

import math
from operator import itemgetter

from controller.load_management.allocation.allocator import ALL_IT_CAN_TAKE, Demand
from controller.load_management.allocation.headroom import Booking, Headroom, Lead
from controller.load_management.allocation.rotation import Turn
from controller.load_management.events import NO_PLAN, EvseOverridden, EvsePlan, EvseUse
from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.evse.departure_goal import NO_NEED
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.evse.limit_reasons import (
    ALL_ITS_CAR_TAKES,
    CAR_ON_ONE_PHASE,
    CAR_TAKES_NOTHING,
    DRAW_NOT_REPORTED,
    STATE_NOT_REPORTED,
    UNAUTHORIZED,
    LimitReason,
    explain_backend_limit,
    explain_fallback,
    explain_start,
)
from controller.load_management.site_tree import PhaseAmps, PhaseFlags
from controller.model.observations import BackendLimit

ALL_PHASES: PhaseFlags = (True, True, True)
TESTED_A = 4.0
"""Offer beyond its minimum (A per phase) that a car gets before others more, in its turn to be tested."""

SHOWS_S = 30.0
"""Time (s) for which a report shows the draw under an offer that has changed since."""
SURE_CAR_A = 10.0
"""Current that any car takes on each phase that it uses (A): that of a small on-board charger."""
SMALL_CARS_A = (10.0, 16.0)
"""Currents of cars with a small charger, on one phase (A)."""
SURE_PART = 1 / 3
"""Part of the greatest power that a car surely takes: it may use one phase of three."""


class EvseBooking:
    """Books one EVSE on the circuits above it. Times in s, monotonic; currents in A per phase."""

    def __init__(self, model: EvseModel, delivery: LimitDelivery) -> None:
        self._model = model
        self._delivery = delivery
        self.shares_its_limit = False
        """True while an EVSE that the configuration does not name may draw under its limit."""
        self.booked_at = -math.inf
        """Time at which a pass booked it last (s)."""

    def may_draw(self, now: float) -> bool:
        """Return True if current is kept for it: while a station is away, a car may come unseen."""
        return self._model.has_demand(now) or self.shares_its_limit or not self._delivery.connected

    def credit(self, now: float) -> OfferCredit:
        """Return what it draws on the site's phases now."""
        model = self._model
        credit = model.draw.credit(now, has_car=self.may_draw(now))
        if model.phases_known and sum(model.phases) == 1 < len(model.evse.phases):
            # Two of three phases may be all of them, if the meter misses one.
            credit = credit.unreacted_on(model.phases)
        likely = model.likely_draw(now)
        return credit if likely is None else credit.expecting(*likely)

    def helping(self, now: float) -> PhaseAmps:
        """Return the draw (A on the site's phases) that other phases may exceed by the unbalance.

        A report that is overdue was true before: the meter shows an unbalance that has come since.
        """
        if self._model.reports_no_current(now):
            return self._model.draw_by_meter(now)
        return self.credit(now).likely_low

    def most_a(self, now: float) -> float:
        """Return the most that a car may be taking now (A per phase)."""
        return max(self._delivery.standing(now).booked_a, self._model.draw.defiant_a)

    def current(self, now: float) -> Booking:
        """Return the most that it may be taking now; without a car, the fallback that one takes at once."""
        booking, _ = self.current_and_falling(now)
        return booking

    def current_and_falling(self, now: float) -> tuple[Booking, float]:
        """Return `current`, and how much of it a cut that is under way will free (A per phase).

        A cut that is not answered in time frees nothing, so that others are cut instead.
        """
        model, standing = self._model, self._delivery.standing(now)
        booked_a, problem = max(standing.booked_a, model.draw.defiant_a), standing.problem
        # It may draw on all phases where it is in doubt that it uses only one.
        in_doubt = self.shares_its_limit or (problem and model.switch.single)
        phases = model.evse.all_phases if in_doubt else model.phases
        if not self.may_draw(now):
            return (phases, min(booked_a, model.evse.fallback_a)), 0.0
        if problem or model.draw.is_late or standing.late_a:
            return (phases, booked_a), 0.0
        expected_a = max(standing.offered_a, model.draw.defiant_a)
        return (phases, booked_a), min(booked_a, max(0.0, booked_a - expected_a))

    def lead(self, now: float) -> Lead | None:
        """Return the most that its car may be taking now, where it charges without having a share.

        None: nothing, or the base load has it.
        """
        model = self._model
        if not model.is_charging or model.draw.restored_a(now) is not None:
            return None
        phases, booked_a = self.current(now)
        drawn_a = min(booked_a, max(model.need_a(now), model.draw.defiant_a))
        help_a = min(drawn_a, _least_on(phases, self.helping(now)))
        return Lead(model.evse.circuit, phases, model.sure_phases, drawn_a, help_a)

    def overdraw_lead(self) -> Lead:
        """Return its draw beyond its offer, which is part of no share."""
        model = self._model
        return Lead(model.evse.circuit, model.phases, model.sure_phases, model.draw.overdraw_a, 0.0)

    def book(self, headroom: Headroom, now: float) -> None:
        """Book the most that it may be taking now."""
        headroom.book(self._model.evse, *self.current(now))

    def book_overdraw(self, headroom: Headroom, now: float, *, is_dimmed: bool) -> None:
        """Book its draw beyond its offer: part of no share, and missing all the same.

        `is_dimmed`: the grid operator limits it. Then no meter shows who has not received a cut: what is not
        answered in time counts as not obeyed.
        """
        evse = self._model.evse
        late_a = self._delivery.standing(now).late_a if is_dimmed and evse.is_controllable else 0.0
        if amps := max(self._model.draw.overdraw_a, late_a):
            headroom.book(evse, self._model.phases, amps)

    def book_excess(self, headroom: Headroom, now: float) -> None:
        """Book its reported draw beyond its offer, as far as it is above what is booked for it."""
        drawn_a = self._delivery.standing(now).offered_a + self._model.draw.overdraw_a
        excess_a = drawn_a - self.current(now)[1]
        if self._model.draw.has_excess and excess_a > 0:
            headroom.book(self._model.evse, self._model.phases, excess_a)

    def ceiling_a(self, booked_a: float, offered_a: float, headroom: Headroom, least_a: float = 0.0) -> float:
        """Return the highest limit that it may rise to by now: in whole tenths, nothing below its minimum.

        While its station may not have stopped it yet, what is booked for it may be missing elsewhere: that it
        gets back only as far as it is free. `least_a`: less is of no use to it if it is offered nothing yet
        (A per phase).
        """
        evse, room_a = self._model.evse, headroom.room(self._model.evse, self._model.phases)
        ceiling_a = booked_a + (room_a if offered_a < evse.min_a else max(0.0, room_a))
        ceiling_a = math.floor(ceiling_a * 10 + 1e-6) / 10
        least_a = max(evse.min_a, least_a) if booked_a < evse.min_a else evse.min_a
        return ceiling_a if ceiling_a >= least_a else 0.0


class EvseDemand:
    """Finds the demand of one EVSE. Times in s, monotonic; currents in A per phase.

    `problem` states why it cannot be commanded. It holds since `refresh`, as `has_demand`, `takes_nothing`,
    `is_paused`, `has_fallback`, `must_obey`, `waits_for_surplus` and `is_raised` do: until the next event, or
    until time changes them. `is_raised`: it is offered more than its minimum, as its car is to be tested.
    """

    def __init__(self, model: EvseModel, delivery: LimitDelivery, booking: EvseBooking) -> None:
        self._model = model
        self._delivery = delivery
        self._booking = booking
        self.backend = BackendLimit(model.evse.ref.evse, None)
        """Limit of its backend's own profiles."""
        self.override = EvseOverridden(ref=model.evse.ref)
        """Order of a person for it."""
        self.plan = NO_PLAN
        """Its part of the energy plan."""
        self.has_demand = self.takes_nothing = self.is_paused = self.has_fallback = False
        self.waits_for_surplus = self.is_raised = False
        self.must_obey = False
        """True if its limit was ordered, by a person or the grid operator: it is followed to the letter."""
        self.problem: LimitReason | None = None
        self.refreshed_at = -math.inf
        self.unbalance_limited = False
        """True if the unbalance of a circuit above it is limited."""
        self._need = NO_NEED
        self._demand: Demand | None = None
        self.most_a: float | None = None
        """Most that it could take by its last demand (A per phase); None without one."""
        self.shows_until = -math.inf
        """Time until which its minimum is offered below a suspected meter, for a step of its car (s)."""
        self.start_a = model.evse.min_a
        """Least offer (A per phase) that its car could use by its last demand."""
        self._terms: tuple[object, ...] = ()

    def refresh(self, voltage_v: float, now: float) -> None:
        """Find anew what events and time change."""
        model, pauses = self._model, not self._delivery.never_pauses
        self._need = model.goal.need(voltage_v, sum(model.phases), now, self.plan.bounds)
        self.has_demand = model.has_demand(now)
        self.waits_for_surplus = self.is_surplus
        self.is_raised = model.is_raised_for_test(now)
        self.takes_nothing = pauses and model.takes_nothing(now) and not self.waits_for_surplus
        self.is_paused = pauses and self.limit_by_override[0] < model.evse.min_a
        self.has_fallback = pauses and model.evse.fallback_a > 0
        backend = self.backend.limit_a is not None or self.backend.limit_w is not None
        self.must_obey = backend or self.override.limit_a is not None or self._delivery.hold_s > 0
        self.problem = self._delivery.standing(now).problem
        self.refreshed_at = now
        self._demand = self.most_a = None

    @property
    def priority(self) -> int:
        """Return its priority: that of an override, else of the energy plan, else the configured one."""
        if self.override.priority is not None:
            return self.override.priority
        return self._model.evse.priority if self.plan.priority is None else self.plan.priority

    @property
    def is_surplus(self) -> bool:
        """Return True if it charges only from what the site would feed in."""
        surplus = self._model.evse.surplus if self.plan.surplus is None else self.plan.surplus
        return surplus and not self.override.boost

    @property
    def limit_by_override(self) -> tuple[float, LimitReason]:
        """Return the lowest limit of an override, the energy plan and its backend (A per phase), and why."""
        limits = [(math.inf, ALL_IT_CAN_TAKE)]
        if self.backend.limit_a is not None:
            limits.append((self.backend.limit_a, explain_backend_limit(self.backend.limit_a, None)))
        if self.backend.limit_w is not None:
            allowed = explain_backend_limit(None, self.backend.limit_w)
            limits.append((self._backend_share_a(self.backend.limit_w), allowed))
        if self.override.limit_a is not None:
            limits.append((self.override.limit_a, self.override.why or ALL_IT_CAN_TAKE))
        if self.plan.limit_a is not None and not (self.plan.is_wait and self.override.boost):
            limits.append((self.plan.limit_a, self.plan.why or ALL_IT_CAN_TAKE))
        return min(limits, key=itemgetter(0))

    def _backend_share_a(self, limit_w: float) -> float:
        """Return the current on a phase that its backend's limit in W needs at most (A).

        That limit is sent as it is, also where the station makes less than its minimum of it on each phase:
        it gets the room for its minimum then, unless the W are too few for one phase.
        """
        evse = self._model.evse
        one_phase_a = limit_w / evse.watts_per_a
        if one_phase_a < evse.min_a:
            return one_phase_a
        return max(evse.min_a, one_phase_a / self.watt_phases)

    @property
    def watt_phases(self) -> int:
        """Return how many phases share a limit in W at least: one, until reports have shown more."""
        evse = self._model.evse
        return len(evse.phases) if evse.divides_watts else self._model.least_phases

    @property
    def starting_a(self) -> float:
        """Return the minimum (A per phase) that it needs to start.

        Of a limit in W it is enough for the minimum on all phases, which one phase alone may take together.
        """
        evse = self._model.evse
        if not self._delivery.in_watts or self._model.phases_known or self.watt_phases == len(evse.phases):
            return evse.min_a
        return min(len(evse.phases) * evse.min_a, evse.max_a)

    @property
    def phases_to_come(self) -> PhaseFlags:
        """Return where it will draw, once a change that was decided is made."""
        switch = self._model.switch
        if not switch.changing:
            return self._model.phases
        return self._model.evse.one_phase if switch.to_single else self._model.evse.all_phases

    @property
    def cannot_wait(self) -> bool:
        """Return True if its car needs its minimum or more without a break to leave in time."""
        return self._need.needs_a >= self._model.evse.min_a

    def current(
        self,
        turn: Turn,
        trouble: LimitReason | None,
        now: float,
        *,
        unbalance_a: float | None = None,
        dimmed: tuple[float, LimitReason] | None = None,
    ) -> Demand:
        """Return what it could take now: the demand of the last pass if nothing has changed.

        `unbalance_a`: the least unbalance (A) that a circuit above it allows, if one limits it. `trouble`
        states why EVSEs on its circuit keep to their fallback, if they must. `dimmed`: the most that the grid
        operator leaves it (A per phase), and why.
        """
        # Where nobody asks for its help it is not found, and no report makes another demand by it.
        helping = None if unbalance_a is None else self._booking.helping(now)
        restored_a = None if unbalance_a is None else self._model.draw.restored_a(now)
        self.unbalance_limited = unbalance_a is not None
        terms = (turn, trouble, dimmed, unbalance_a, helping, restored_a)
        if self._demand is None or terms != self._terms:
            self._terms = terms
            self._demand = self._make(turn, trouble, now, unbalance_a, helping, restored_a, dimmed)
            self.most_a = self._demand.max_a
        return self._demand

    def _make(
        self,
        turn: Turn,
        trouble: LimitReason | None,
        now: float,
        unbalance_a: float | None,
        helping: PhaseAmps | None,
        restored_a: float | None,
        dimmed: tuple[float, LimitReason] | None,
    ) -> Demand:
        """Return `current`, found anew; `helping`: what it helps other phases by (A), where that counts.

        `restored_a`: an offer that stands (A per phase), with a draw that is a part of the base load.
        """
        model, evse = self._model, self._model.evse
        caps: list[tuple[float, LimitReason | None]] = [(evse.max_a, ALL_IT_CAN_TAKE)]
        caps += ((model.need_a(now), None), self.limit_by_override)
        if trouble is not None:
            shows = now < self.shows_until and evse.fallback_a < evse.min_a
            caps.append(
                (evse.min_a, explain_start(trouble))
                if shows
                else (evse.fallback_a, explain_fallback(trouble))
            )
        if restored_a is not None:
            caps.append((restored_a, DRAW_NOT_REPORTED))
        elif unbalance_a is not None and not model.phases_known:
            # Three phases in step or one alone: it starts small enough for either.
            caps.append((max(evse.min_a, unbalance_a), CAR_ON_ONE_PHASE))
        max_a, cap = min(caps, key=itemgetter(0))
        if cap is None:
            cap = self._explain_need()
        min_a = self.starting_a
        if min_a > evse.min_a and not trouble:
            max_a = max(max_a, min_a)
        if dimmed is not None and dimmed[0] < max_a:
            max_a, cap = dimmed
        self.start_a = max(evse.min_a, min(model.start_a(now), max_a))
        min_a = max(min_a, self.start_a)
        phases = self.phases_to_come
        help_a = sure_phases = None
        if restored_a is not None:
            help_a, sure_phases = 0.0, ALL_PHASES  # by its share no phase leads more than the meter shows
        elif unbalance_a is not None and not model.phases_known and not model.switch.changing:
            help_a, sure_phases = 0.0, model.sure_phases
        elif helping is not None:
            help_a = _least_on(phases, helping)
        needs_a, why = self._need.needs_a, self._need.why
        if self.plan.needs_a > needs_a:
            needs_a, why = self.plan.needs_a, self.plan.need_why
        if self.is_raised and needs_a < model.least_a + TESTED_A:
            needs_a, why = min(model.least_a + TESTED_A, max_a), None
        return Demand(
            ref=evse.ref,
            phases=phases,
            sure_phases=sure_phases,
            min_a=min_a,
            max_a=max_a,
            needs_a=needs_a,
            why=why,
            priority=self.priority,
            place=turn.place,
            cap=cap,
            is_served=turn.is_served,
            is_due=turn.is_due,
            help_a=help_a,
        )

    def _explain_need(self) -> LimitReason:
        if self._model.idleness.since is not None:
            return CAR_TAKES_NOTHING
        if self._model.unauthorized:
            return UNAUTHORIZED
        return STATE_NOT_REPORTED if self._model.unreported else ALL_ITS_CAR_TAKES

    def use(self, voltage_v: float, now: float) -> EvseUse:
        """Return its use for the energy plan.

        Where no report shows its draw under its offer, it counts with that, or what its car took;
        without a transaction it takes nothing.
        """
        model, evse, offered_a = self._model, self._model.evse, self._delivery.standing(now).offered_a
        phases = sum(model.phases)
        has_demand = model.has_demand(now)
        drawn_a = model.draw.total_a
        is_old = not model.draw.settled and (model.draw.reported_at or -math.inf) < now - SHOWS_S
        if has_demand and not model.unauthorized and (is_old or model.draw.unknown(now)):
            drawn_a = min(offered_a, model.draw.own_a, model.draw.shown_a[1]) * phases
        most_w = min(evse.max_a, max(evse.min_a, model.need_a(now))) * phases * voltage_v
        knows_phases = model.phases_known and not evse.is_dc
        left = model.goal.left(voltage_v, now)
        return EvseUse(
            has_demand=has_demand,
            is_served=offered_a >= evse.min_a,
            drawn_w=drawn_a * voltage_v,
            priority=self.priority,
            max_a=evse.max_a,
            most_w=most_w,
            small_w=() if knows_phases or evse.is_dc else tuple(amps * voltage_v for amps in SMALL_CARS_A),
            sure_w=SURE_CAR_A * phases * voltage_v if knows_phases else most_w * SURE_PART,
            least_w=evse.min_a * phases * voltage_v,
            phases=model.phases,
            left_wh=None if left is None else left[0],
            leaves_in_s=None if left is None else left[1],
        )

    def set_plan(self, plan: EvsePlan) -> bool:
        """Set its part of the energy plan; return True if it is another one."""
        is_other = plan != self.plan
        self.plan = plan
        return is_other


def _least_on(phases: PhaseFlags, amps: PhaseAmps) -> float:
    """Return the least current (A) on one of these phases; 0 without a phase."""
    return min((each for each, flag in zip(amps, phases, strict=True) if flag), default=0.0)
