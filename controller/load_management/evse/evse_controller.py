"""Controller of one EVSE: takes in what its station reports, and joins demand, booking and offer."""

from __future__ import annotations

import math

from msgspec.structs import replace

from controller.chargers.quirks import Quirk
from controller.load_management.evse.car_idleness import START_A
from controller.load_management.evse.consumption import (
    CommandedStep,
    ReportedStep,
    bound_power,
    is_possible,
    on_site_phases,
)
from controller.load_management.evse.due_evses import DueQueues
from controller.load_management.evse.evse_demand import EvseBooking, EvseDemand
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.evse_offer import EvseOffer
from controller.load_management.evse.learned_values import (
    OVERDRAW_A,
    REACTION_S,
    UNLOADED_A,
    UNSHOWN_S,
    ChargerResponse,
)
from controller.load_management.evse.limit_delivery import NOISE_A, DeliveryMemory, LimitDelivery
from controller.load_management.site_tree import EvseNode, PhaseAmps
from controller.load_management.site_view import EvseView
from controller.model.observations import DrawSeen, EvseObservation, EvseState, NeedsSeen, TransactionSeen

PLENTY_A = 40.0
"""Room that nobody takes (A per phase) of which a sleeping car is offered more than its minimum."""
RAMP_S = 12.0
"""Longest time (s) as a rule from when a station follows a limit until its car and the meter have."""
SEEN_CHANGE_A = 1.0
"""Smallest change of a reported draw that is looked for in the meters above."""


class EvseController:
    """Controls one EVSE.

    `impossible`: the last report that its wiring does not allow (A per phase), None without one.
    """

    def __init__(
        self,
        evse: EvseNode,
        delivery: LimitDelivery,
        now: float,
        due: DueQueues | None = None,
    ) -> None:
        self.evse = evse
        self._due = DueQueues() if due is None else due
        self.model = EvseModel(evse, now)
        self.delivery = delivery
        self.response = ChargerResponse()
        self.booking = EvseBooking(self.model, delivery)
        self.demand = EvseDemand(self.model, delivery, self.booking)
        self.offer = EvseOffer(self.model, delivery, self.booking, self.demand, self._due)
        self.has_unsaved_state = False
        """True if `record` has something new beside the limits."""
        self.impossible: DrawSeen | None = None
        self.apply_phase_switching(None)
        self.mark_due()

    def replace_evse(self, evse: EvseNode, now: float) -> None:
        """Use other settings of the EVSE, on as many phases; its session and what was learned of it stay."""
        self.evse = evse
        self.model.replace_evse(evse)
        self.delivery.replace_evse(evse, now)
        self.mark_due()

    def waits(self, now: float) -> bool:
        """Return True if its car would take current, and is offered none."""
        return self.offer.offered_a <= 0 and self.model.has_demand(now) and not self.model.takes_nothing(now)

    @property
    def is_short(self) -> bool:
        """Return True if its car could take more than its share."""
        allocation, most_a = self.offer.allocation, self.demand.most_a
        return allocation is not None and most_a is not None and allocation.limit_a < most_a - NOISE_A

    def on_observation(self, observation: EvseObservation, now: float) -> tuple[bool, ReportedStep | None]:
        """Take in one observation of its station.

        Return whether the sharing changes by it, and the step of its draw that the meters above must see.
        """
        draw = self.model.draw
        before_a, before, since = draw.defiant_a, draw.surely_drawn, draw.known_at
        reported_at = -math.inf if draw.reported_at is None else draw.reported_at
        planned_with = self._planned_with(now)
        is_step, reported_phases = None not in draw.report, self.model.reported_phases
        if isinstance(observation, DrawSeen):
            if self.model.is_false_zero(observation):
                return False, None
            allowed_a = self.delivery.standing(now).booked_a
            if observation.least_phases:
                observation = self.model.name_phases(observation, allowed_a)
            if observation.at_v:
                observation = bound_power(observation, allowed_a)
            if not is_possible(self.evse, observation.current_a):
                self.impossible = observation
                return False, None
            if observation.mean_s and not draw.held_for(observation.mean_s, now):
                return False, None  # a mean over a change of the offer is no draw under it
            is_step = is_step and not observation.mean_s
            if draw.reported_at is None:
                self._apply_response(reports=True)  # the first one is judged by what such a station may need
        had_car = self.booking.may_draw(now)
        changed = self.model.on_observation(observation, self.delivery.standing(now).offered_a, now)
        if not had_car and not isinstance(observation, DrawSeen) and self.booking.may_draw(now):
            # Others may have what was booked for it before: a car that comes gets no more back than is free.
            self.delivery.on_followed(self.evse.fallback_a)
        if isinstance(observation, DrawSeen):
            self.impossible = None
            draw.check_obedience(self.delivery.standing(now).booked_a)
            self._learn(reported_at, now)
        elif isinstance(observation, TransactionSeen):
            self.response.reset_car()
        self.has_unsaved_state |= isinstance(observation, NeedsSeen)
        # Where the phases of a report were found meanwhile, its draw seems to change without a step.
        is_step &= reported_phases == self.model.reported_phases
        is_step = is_step and not self.model.idleness.is_restless(now)
        # A surplus share is followed at once, by small steps, too: each report brings the offer there. Each
        # report also shows what is left of a departure goal.
        follows_draw = self.demand.waits_for_surplus or self.model.goal.is_set
        if follows_draw or planned_with != self._planned_with(now):
            self.mark_due()
        return changed or draw.defiant_a > before_a, self._step(before, since, now) if is_step else None

    def _planned_with(self, now: float) -> tuple[object, ...]:
        """Return what of its reports a pass reads when it updates it: most reports change nothing of that."""
        draw = self.model.draw
        response = (self.delivery.reaction_s, self.response.whole_amps)
        return (self.model.learned(now), draw.defiant_a, draw.overdraw_a, response)

    def _step(self, before: PhaseAmps, since: float, now: float) -> ReportedStep | None:
        after = self.model.draw.surely_drawn
        delta = (after[0] - before[0], after[1] - before[1], after[2] - before[2])
        if max(map(abs, delta)) < SEEN_CHANGE_A:
            return None
        # A car that has followed its offer has done so as that changed, however late the report is.
        begin, end = self.model.draw.followed_within
        return ReportedStep(
            ref=self.evse.ref, delta_a=delta, since=max(since, begin), at=min(now, end), reported_at=now
        )

    def _learn(self, reported_at: float, now: float) -> None:
        """Learn from the last report, after one of `reported_at` (s)."""
        before = self.response.learned
        draw = self.model.draw
        drawn_a = draw.most_loaded_a
        if draw.followed_since is not None:
            self.response.on_followed(draw.followed_since, reported_at, drawn_a, now)
        self.response.on_draw(drawn_a, now)
        if self.delivery.on_followed(draw.follows_a):
            self.mark_due()
        self.delivery.is_obeyed = draw.defiant_a == 0
        if draw.settled and self.model.state is EvseState.CHARGING:
            self.response.on_settled_draw(self.delivery.standing(now).offered_a, drawn_a)
        self._apply_response(reports=True)
        self.has_unsaved_state |= self.response.learned != before

    def _apply_response(self, *, reports: bool) -> None:
        """Apply what its station, which `reports` its currents or not, has shown of itself.

        Of one that reports no current, what it draws above its offer is base load by the meter above.
        """
        learned = self.response.learned
        self.delivery.learn_reaction(learned.reaction_s, learned.slowest_s if reports else REACTION_S)
        self.model.draw.set_reaction(self.delivery.reaction_s, self.delivery.slowest_s)

    def offer_step_a(self, before_a: float, now: float) -> float:
        """Return the step (A per phase) that its car makes now as its lease has changed from `before_a`.

        0 where its station reports currents of phases, and where no car charges. One that has reported none
        of a car that charges by its state may not do so. Where reports show that its car takes less than both
        leases, it makes no step.
        """
        model, after_a = self.model, self.delivery.leased_a
        if not model.is_charging or not model.shows_by_meter(now):
            return 0.0
        most_a = math.inf if model.reports_no_current(now) else model.draw.own_a
        return min(after_a, most_a) - min(before_a, most_a)

    def commanded_step(self, before_a: float, now: float) -> CommandedStep | None:
        """Return the step that its car makes now as its lease has changed from `before_a`; None: none.

        Its car draws as much of a limit as its reports have shown. Whether it would take more is unknown.
        """
        model, draw, after_a = self.model, self.model.draw, self.delivery.leased_a
        if not self.booking.may_draw(now) or abs(after_a - before_a) < SEEN_CHANGE_A:
            return None
        if model.idleness.since is not None and after_a < before_a:
            return None
        drawn_a, phases = draw.takes_a, [amps > UNLOADED_A for amps in draw.surely_drawn]
        is_known = model.is_charging
        if (
            model.state is EvseState.SUSPENDED_EVSE
            and before_a < self.evse.min_a
            and model.idleness.since is None
        ):
            is_known, phases = model.phases_known, [*model.phases]  # it goes on after a pause
        if drawn_a < model.least_a or model.switch.changing:
            is_known = False
        if max(before_a, after_a) > drawn_a + OVERDRAW_A and not math.isfinite(draw.own_a):
            is_known = False
        if is_known:
            first_a, last_a = (min(a, drawn_a) if a >= model.least_a else 0.0 for a in (before_a, after_a))
            delta_a = tuple(last_a - first_a if flag else 0.0 for flag in phases)
        else:
            delta_a = on_site_phases(self.evse, [after_a - before_a] * len(self.evse.phases))
        return CommandedStep(
            ref=self.evse.ref,
            delta_a=(delta_a[0], delta_a[1], delta_a[2]),
            at=now,
            takes_s=self.delivery.reaction_s + RAMP_S,
            slowest_s=max(self.delivery.slowest_s, UNSHOWN_S),
            report_s=draw.reports_each_s(now),
            is_known=is_known,
        )

    def on_answer(self, token: int, accepted: bool, detail: str, now: float) -> bool:
        """Take in the end of one of its limits; return True if it was waited for.

        As a rule nothing changes by it but the moments of its lease.
        """
        before = self._standing(now)
        known = self.delivery.on_answer(token, accepted, detail, now)
        if known and accepted:
            self.response.on_limit_accepted(self.delivery.standing(now).offered_a, now)
        is_special = not accepted or self.delivery.in_watts or self.model.switch.changing
        if is_special or before != self._standing(now):
            self.mark_due()
        return known

    def _standing(self, now: float) -> tuple[object, ...]:
        """Return what of its delivery a pass plans with."""
        delivery = self.delivery
        return delivery.standing(now), delivery.has_fallback, delivery.leased_a >= self.evse.min_a

    def record(self, now: float) -> DeliveryMemory:
        """Return what must survive a restart, as of now."""
        self.has_unsaved_state = False
        known = self.delivery.record(now)
        model = self.model
        return replace(
            known, goal=model.goal.record(), learned=self.response.learned, phases=model.shown_phases
        )

    def restore(self, record: DeliveryMemory, now: float) -> None:
        """Take over what was recorded before a restart."""
        self.delivery.restore(record)
        self.model.draw.restore_offer(self.delivery.standing(now).held_a, now)
        self.response.restore(record.learned)
        self._apply_response(reports=self.model.draw.reported_at is not None)
        if record.goal is not None:
            self.model.goal.restore(record.goal)
        if record.is_running(now):
            self.model.restore_phases(record.phases, now)

    def may_be_charging(self, now: float) -> bool:
        """Return True if its car may be charging: by its state, or by its limit until that is reported."""
        if self.model.state is EvseState.UNKNOWN:
            return self.delivery.standing(now).held_a >= self.evse.min_a
        return self.model.is_charging

    def on_station_down(self, now: float) -> None:
        """Note that its station cannot be commanded any more."""
        self.model.on_station_down(now)
        self.delivery.on_disconnected(now)

    def apply_quirk(self, quirk: Quirk, now: float) -> bool:
        """Follow the quirk of its station from now on; return True if the current has to be shared anew."""
        could_switch = self.model.switch.able
        is_other = self.delivery.apply_quirk(quirk, now)
        self._apply_response(reports=self.model.draw.reported_at is not None)
        self.apply_phase_switching(quirk.phase_switching)
        return is_other or self.model.switch.able is not could_switch

    def apply_phase_switching(self, reported: bool | None) -> None:
        """Use what the station reports of phase switching where the site's owner has not set it."""
        wanted = reported if self.evse.phase_switching is None else self.evse.phase_switching
        can = not self.delivery.never_pauses and not self.delivery.in_watts
        self.model.switch.able = bool(wanted) and can and len(self.evse.phases) == 3

    def mark_due(self) -> None:
        """Have the next pass update it: an event has changed something here."""
        self._due.updates.add(self.evse.ref)

    def refresh(self, voltage_v: float, now: float) -> None:
        """Update what depends on time: a change of phases that is due, the demand, the phases of a W limit.

        A limit in W is sent for the phases that the car uses: for one until it has shown more. What a pass
        asks of every EVSE is stored: it holds until the next event, or until the moment that `settle` finds.
        """
        if self.model.switch.changing and self.booking.most_a(now) <= NOISE_A:
            self.model.holds_nothing(now)
        self.delivery.number_phases = 1 if self.model.switch.single else None
        self.delivery.set_phases(self.demand.watt_phases)
        self.delivery.most_w = self.demand.backend.limit_w
        self.model.drop_lost_phases(now)
        self.model.count_unreported(now)
        self.demand.refresh(voltage_v, now)
        self.offer.offered_a = self.delivery.standing(now).offered_a

    def starting_a(self, room_a: float) -> float:
        """Return the offer to start a car with, of so much room that nobody takes (A per phase).

        It is more than the minimum if the car has never drawn, and where there is plenty: some do not start
        with that.
        """
        has_it = self.offer.offered_a >= START_A
        is_plenty = room_a >= START_A if has_it else room_a >= PLENTY_A
        return (
            max(self.evse.min_a, START_A)
            if is_plenty or not self.model.idleness.has_drawn
            else self.evse.min_a
        )

    @property
    def has_whole_steps(self) -> bool:
        """Return True if its station follows whole amperes only, or some of them."""
        return self.delivery.quirk.has_whole_steps or self.response.whole_amps

    def usable_a(self, limit_a: float) -> float:
        """Return what of a limit its station can follow (A per phase)."""
        usable_a = self.delivery.possible_a(limit_a)
        if self.response.whole_amps:
            usable_a = max(min(usable_a, self.evse.min_a), float(math.floor(usable_a + 1e-6)))
        return usable_a

    def next_step_a(self, limit_a: float) -> float:
        """Return the lowest limit above that its station can follow (A per phase), infinite without one."""
        step_a = self.delivery.quirk.next_step_a(limit_a)
        return float(math.ceil(step_a - 1e-6)) if self.response.whole_amps else step_a

    def view(self, now: float) -> EvseView:
        """Return its state for people."""
        return EvseView(
            ref=self.evse.ref,
            connected=self.delivery.connected,
            state=self.model.state,
            offered_a=self.delivery.standing(now).offered_a,
            drawn_a=self.model.draw.shown,
            statement=self.offer.statement,
            problem=self.delivery.standing(now).problem,
            learned=self.response.learned,
            single_phase=self.model.switch.single,
            draw_unknown=self.model.draw.unknown(now),
            reports_every_s=self.model.draw.report_interval_s,
            offered_w=self.delivery.offered_w(now),
        )
