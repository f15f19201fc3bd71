"""Booking of one EVSE: the most that it may be taking now, by its limits and by its draw."""

from __future__ import annotations

import math

from controller.load_management.allocation.headroom import Booking, Headroom
from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.evse.limit_reasons import LimitReason
from controller.load_management.site_tree import PhaseFlags


class EvseBooking:
    """Books one EVSE on the circuits above it. Times in s, monotonic; currents in A per phase."""

    def __init__(self, model: EvseModel, delivery: LimitDelivery) -> None:
        self._model = model
        self._delivery = delivery
        self.shares_its_limit = False
        """True while an EVSE that the configuration does not name may draw under its limit."""

    def may_draw(self, now: float) -> bool:
        """Return True if current is kept for it: while a station is away, a car may come unseen."""
        return self._model.has_demand(now) or self.shares_its_limit or not self._delivery.connected

    def credit(self, now: float) -> OfferCredit:
        """Return what it draws on the site's phases now."""
        credit = self._model.draw.credit(now, has_car=self.may_draw(now))
        likely = self._model.likely_draw(now)
        return credit if likely is None else credit.expecting(*likely)

    def most_a(self, now: float) -> float:
        """Return the most that a car may be taking now (A per phase)."""
        return max(self._delivery.booked_a(now), self._model.draw.defiant_a)

    def current(self, now: float) -> Booking:
        """Return the most that it may be taking now; without a car, the fallback that one takes at once."""
        booking, _ = self.current_and_falling(now)
        return booking

    def current_and_falling(self, now: float) -> tuple[Booking, float]:
        """Return `current`, and how much of it a cut that is under way will free (A per phase).

        A cut that is not answered in time frees nothing, so that others are cut instead.
        """
        booked_a, problem = self.most_a(now), self._delivery.problem(now)
        phases = self._phases_at_risk(problem)
        if not self.may_draw(now):
            return (phases, min(booked_a, self._model.evse.fallback_a)), 0.0
        if problem or self._delivery.late_a(now):
            return (phases, booked_a), 0.0
        expected_a = max(self._delivery.offered_a(now), self._model.draw.defiant_a)
        return (phases, booked_a), min(booked_a, max(0.0, booked_a - expected_a))

    def book(self, ledger: Headroom, now: float) -> None:
        """Book the most that it may be taking now."""
        ledger.book(self._model.evse, *self.current(now))

    def book_rise(self, ledger: Headroom, booked_a: float, offered_a: float, now: float) -> None:
        """Book a new offer as far as it is above what is booked already (A per phase)."""
        if offered_a > booked_a and self.may_draw(now):
            ledger.book(self._model.evse, self._model.phases, offered_a - booked_a)

    def book_overdraw(self, ledger: Headroom, now: float, *, steered: bool) -> None:
        """Book its draw beyond its offer: part of no share, and missing all the same.

        `steered`: the grid operator limits it. Then no meter shows who has not received a cut: what is not
        answered in time counts as not obeyed.
        """
        evse = self._model.evse
        late_a = self._delivery.late_a(now) if steered and evse.steerable else 0.0
        if amps := max(self._model.draw.overdraw_a, late_a):
            ledger.book(evse, self._model.phases, amps)

    def book_excess(self, ledger: Headroom, now: float) -> None:
        """Book its reported draw beyond its offer, as far as it is above what is booked for it."""
        drawn_a = self._delivery.offered_a(now) + self._model.draw.overdraw_a
        excess_a = drawn_a - self.current(now)[1]
        if self._model.draw.has_excess and excess_a > 0:
            ledger.book(self._model.evse, self._model.phases, excess_a)

    def ceiling_a(self, booked_a: float, ledger: Headroom, least_a: float = 0.0) -> float:
        """Return the highest limit that it may rise to by now: in whole tenths, nothing below its minimum.

        `least_a`: less is of no use to it if it is offered nothing yet (A per phase).
        """
        evse = self._model.evse
        ceiling_a = booked_a + max(0.0, ledger.room(evse, self._model.phases))
        ceiling_a = math.floor(ceiling_a * 10 + 1e-6) / 10
        least_a = max(evse.min_a, least_a) if booked_a < evse.min_a else evse.min_a
        return ceiling_a if ceiling_a >= least_a else 0.0

    def _phases_at_risk(self, problem: LimitReason | None) -> PhaseFlags:
        """Return where it may draw: on all phases where it is in doubt that it uses only one."""
        in_doubt = self._model.switch.single and problem
        return self._model.evse.all_phases if in_doubt or self.shares_its_limit else self._model.phases
