"""EVSE of a configured station that the configuration does not name: a car at it is counted and limited.

It is taken to be wired like the station's first EVSE, and to be able to draw the most that any of them can.
It takes no part in the sharing. Where the station has a limit for each EVSE, it gets a permanent one at the
station's fallback. Where one limit holds for the whole station, that of its only configured EVSE holds for
the sum of both. It is booked at the most that it may draw: without a limit that is in force, or above one,
at its maximum.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec.structs import replace

from controller.chargers.quirks import LimitScope, limit_scope
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.events import SetLimit
from controller.load_management.evse.consumption import OfferCredit, is_possible
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.evse_model import EvseModel
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.site_tree import EvseNode
from controller.load_management.site_view import UnconfiguredView
from controller.model.observations import DrawSeen, EvseObservation, EvseRef
from controller.profiles.limit_profiles import LimitKind, is_ours, profile_id

OVERDRAW_A = 1.0
"""Draw of all EVSEs above the limit of their station that shows that it does not hold for their sum (A)."""


class UnconfiguredEvse:
    """Unconfigured EVSE of a station. `siblings`: the controllers of its station's configured EVSEs."""

    def __init__(
        self,
        number: int,
        siblings: Sequence[EvseController],
        lease_s: float,
        tokens: Iterator[int],
        now: float,
    ) -> None:
        self._number = number
        self.evse = _wired_as(siblings, number)
        self.delivery = LimitDelivery(self.evse, lease_s, tokens)
        self._siblings = siblings
        self._model = EvseModel(self.evse, now)
        self.delivery.apply_quirk(siblings[0].delivery.quirk, now)
        if siblings[0].delivery.connected:
            self.delivery.on_connected(now)

    def replace_siblings(self, now: float) -> None:
        """Use other settings of the configured EVSEs of its station, on as many phases."""
        self.evse = _wired_as(self._siblings, self._number)
        self.delivery.replace_evse(self.evse, now)
        self._model.replace_evse(self.evse)

    @property
    def shares_limit(self) -> bool:
        """Return True if its station has one limit, which holds for the sum of its EVSEs."""
        return limit_scope(self.delivery.quirk, len(self._siblings)) is LimitScope.STATION

    def on_observation(self, observation: EvseObservation, now: float) -> None:
        """Take in one observation of its station; a report that cannot be true is ignored."""
        if isinstance(observation, DrawSeen) and not is_possible(self.evse, observation.current_a):
            return
        self._model.on_observation(observation, self.delivery.standing(now).offered_a, now)
        if isinstance(observation, DrawSeen) and not self.shares_limit:
            self._model.draw.check_obedience(self.delivery.standing(now).booked_a)

    def on_station_down(self, now: float) -> None:
        """Note that its station cannot be commanded any more: a car may come unseen."""
        self._model.on_station_down(now)
        self.delivery.on_disconnected(now)

    def may_draw(self, now: float) -> bool:
        """Return True if a car may be there."""
        return self._model.has_demand(now) or not self.delivery.connected

    def is_limited(self, now: float) -> bool:
        """Return True if a limit is in force and its draw does not contradict it.

        That a limit of the station holds for the sum counts only where the draw shows it: some stations allow
        it to each connector.
        """
        if self.shares_limit:
            is_known = not (self._model.has_demand(now) and self._model.draw.unknown(now))
            return self._siblings[0].delivery.has_fallback and is_known and self._excess_a(now) <= OVERDRAW_A
        return (
            self.delivery.has_fallback and self._model.draw.defiant_a <= self.delivery.standing(now).booked_a
        )

    def _excess_a(self, now: float) -> float:
        """Return by how much all EVSEs of the station draw more than its one limit allows (A)."""
        sibling = self._siblings[0]
        drawn_a = self._model.draw.most_loaded_a + sibling.model.draw.most_loaded_a
        return drawn_a - sibling.delivery.standing(now).booked_a

    def booked_a(self, now: float) -> float:
        """Return the most that it may draw beside what is booked for the configured EVSEs (A per phase)."""
        if not self.may_draw(now):
            return 0.0
        if self.shares_limit:
            return 0.0 if self.is_limited(now) else self.evse.max_a
        return max(self.delivery.standing(now).booked_a, self._model.draw.defiant_a)

    def credit(self, now: float) -> OfferCredit:
        """Return what it draws on the site's phases now."""
        return self._model.draw.credit(now, has_car=self.may_draw(now))

    def book(self, headroom: Headroom, now: float) -> None:
        """Book the most that it may be taking now, on all of its phases."""
        if amps := self.booked_a(now):
            headroom.book(self.evse, self.evse.all_phases, amps)

    def commands(self, now: float) -> list[SetLimit]:
        """Return what to send so that it comes to its station's fallback."""
        if self.shares_limit or not is_ours(profile_id(self.evse.ref.evse, LimitKind.LEASE)):
            return []
        commands = self.delivery.commands(self.evse.fallback_a, self.evse.fallback_a, now, idle=True)
        self._model.draw.offer(self.delivery.standing(now).offered_a, now)
        return commands

    def view(self, now: float) -> UnconfiguredView:
        """Return its state for people."""
        return UnconfiguredView(
            ref=self.evse.ref,
            phases=self.evse.phases,
            max_a=self.evse.max_a,
            may_draw=self.may_draw(now),
            drawn_a=self._model.draw.shown,
            booked_a=self.booked_a(now),
            is_limited=self.is_limited(now),
            shares_limit=self.shares_limit,
        )


def _wired_as(siblings: Sequence[EvseController], number: int) -> EvseNode:
    """Return an EVSE that is wired like the first of these, and draws the most of them all."""
    first = siblings[0].evse
    most_a = max(each.evse.max_a for each in siblings)
    return replace(first, ref=EvseRef(first.ref.station, number), max_a=most_a)
