"""Planner of the EVSEs' shares: who takes part in the sharing, and what each gets, with the reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import msgspec

from controller.load_management.allocation.allocator import Allocation, Allocator, Demand
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.allocation.phase_count_choice import consider, consider_alone
from controller.load_management.allocation.rotation import REST_S, Rotation
from controller.load_management.allocation.surplus import Surplus, sunlit
from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.metering.circuit_metering import SiteBase
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef

SETTLED_A = 0.5
"""Room beyond the fallback with which an EVSE without a car gets it back."""
NO_PAUSE = "its station cannot pause: held at its minimum"
RESTING = f"gave up its place, rests {REST_S:g} s at least"
ASLEEP = "its car takes nothing: probed from time to time"
NO_FALLBACK = "no car, and no room for the fallback that one would take"
LEFTOVER = "its car takes nothing: offered what nobody else wants"


class SitePart(NamedTuple):
    """Site, or one of its circuits with all that it feeds, and the controllers of its EVSEs."""

    site: SiteTree
    controllers: list[EvseController]


class SharePlanner:
    """Plans the shares of a site, or of a part of it, from the model and the supply of its circuits."""

    def __init__(self, model: SiteModel, supply: CircuitSupply) -> None:
        self._model = model
        self._supply = supply
        self._rotation = Rotation(model.settings.rotation_s)
        self._surplus = Surplus()
        self._allocators: dict[str, Allocator] = {}

    def replace_site(self) -> None:
        """Follow another tree and other settings of the model."""
        self._rotation.set_turn(self._model.settings.rotation_s)
        self._allocators.clear()

    def allocations(
        self,
        part: SitePart,
        touched: Sequence[EvseController],
        room: Headroom,
        base: SiteBase,
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Return the allocator's answer for all EVSEs with a car that can be commanded and do not rest.

        `touched`: those of which something may have changed since the last pass. `room`: of which the EVSEs
        that cannot be commanded take their part first.
        """
        rotation = self._rotation
        wanting = [each for each in touched if each.wants and not each.is_paused]
        rotation.set_wanting(
            {each.evse.ref for each in wanting},
            {each.evse.ref for each in touched},
            now,
            {each.evse.ref for each in wanting if each.model.may_be_charging},
        )
        troubles = self._model.metering.troubles_above(now)
        reserved: list[EvseController] = []
        shared: list[EvseController] = []
        sleeping: list[EvseController] = []
        idle: list[EvseController] = []
        allocations: dict[EvseRef, Allocation] = {}
        demands = []
        unbalance_a, caps = self._model.site.unbalance_a, self._model.dimming.has_caps
        for each in part.controllers:
            if each.problem:
                reserved.append(each)
                continue
            shared.append(each)
            ref, circuit = each.evse.ref, each.evse.circuit
            if each.is_paused:
                allocations[ref] = _zero(each, each.limit_by_order[1])
            elif not each.wants:
                if why := self._model.dimming.idle(each.evse):
                    allocations[ref] = _zero(each, why)
                elif each.has_fallback:
                    idle.append(each)
            elif each.is_asleep:
                sleeping.append(each)
            elif rotation.is_resting(ref, now) and not each.delivery.never_pauses:
                allocations[ref] = _zero(each, self._model.dimming.explain(each.evse, RESTING))
            else:
                demands.append(
                    each.demand_for(
                        troubles[circuit],
                        now,
                        unbalance_a=unbalance_a.get(circuit),
                        dimmed=self._model.dimming.cap(each.evse, each.phases_to_come) if caps else None,
                        is_served=rotation.is_served(ref),
                    )
                )
        demands = self._model.energy.evses.with_guarantees(demands)
        for each in reserved:
            each.book(room, now)
        steered = room.steered() is not None
        for each in shared:
            if steered or each.model.draw.has_excess:
                each.book_overdraw(room, now, steered=steered)
        self._supply.book_reserves(shared, room, now)
        given = self._given(part.site, shared, demands, room, base, now)
        for ref, allocation in given.items():
            rotation.set_served(ref, allocation.limit_a > 0, now)
        if sleeping or idle:
            left = self._after_shares(room, given)
            leftover = self._leftover(sleeping, left, troubles, now)
            for ref in leftover:
                rotation.set_served(ref, False, now)
            allocations |= self._without_fallback(idle, left, now) | leftover
        return allocations | self._explained(given)

    def _after_shares(self, room: Headroom, given: Mapping[EvseRef, Allocation]) -> Headroom:
        """Return what is left of this room once everybody takes its share."""
        left = room.copy()
        for ref, allocation in given.items():
            left.book(self._model.by_ref[ref].evse, self._model.by_ref[ref].model.phases, allocation.limit_a)
        return left

    def _ranks(self, refs: Sequence[EvseRef], now: float) -> Mapping[EvseRef, float]:
        """Return the places of these EVSEs in the order of service."""
        first = {ref for ref in refs if self._model.by_ref[ref].cannot_wait}
        return self._rotation.ranks(refs, now, first, self._model.energy.evses.turn_energies(refs))

    def _leftover(
        self,
        sleeping: Sequence[EvseController],
        left: Headroom,
        troubles: Mapping[str, str],
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Offer cars that take nothing the minimum from what no other car takes, so that they may wake up.

        A car that did not start at its minimum is offered more. `left`: what the others' shares leave.
        """
        found: dict[EvseRef, Allocation] = {}
        for each in sorted(sleeping, key=lambda c: (-c.priority, c.delivery.offered_a(now) == 0, c.evse.ref)):
            ref, evse = each.evse.ref, each.evse
            dimmed = self._model.dimming.cap(evse, each.phases_to_come)
            caps = [
                evse.max_a,
                each.limit_by_order[0],
                dimmed and dimmed[0],
                troubles[evse.circuit] and evse.fallback_a,
            ]
            most_a = min(cap for cap in caps if isinstance(cap, float))
            free_a = (
                math.floor(min(each.waking_a, most_a, left.room(evse, each.model.phases)) * 10 + 1e-6) / 10
            )
            if free_a < evse.min_a:
                found[ref] = Allocation(ref, 0.0, ASLEEP)
                continue
            left.book(evse, each.model.phases, free_a)
            found[ref] = Allocation(ref, free_a, LEFTOVER)
        return found

    def _without_fallback(
        self, idle: Sequence[EvseController], left: Headroom, now: float
    ) -> dict[EvseRef, Allocation]:
        """Limit EVSEs without a car to 0 A where their circuits have no room for their fallback.

        A car that comes takes the fallback in the same second, before anybody can make room for it.
        """
        found: dict[EvseRef, Allocation] = {}
        for each in sorted(idle, key=lambda c: (-c.delivery.offered_a(now), c.evse.ref)):
            evse = each.evse
            has_it = each.delivery.offered_a(now) >= evse.fallback_a
            needed_a = evse.fallback_a if has_it else evse.fallback_a + SETTLED_A
            if left.room(evse, each.model.phases) >= needed_a:
                left.book(evse, each.model.phases, evse.fallback_a)
            else:
                found[evse.ref] = Allocation(evse.ref, 0.0, NO_FALLBACK)
        return found

    def _given(
        self,
        site: SiteTree,
        controllers: list[EvseController],
        demands: list[Demand],
        room: Headroom,
        base: SiteBase,
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Return shares for all demands of these EVSEs: first for those that do not wait for the sun."""
        sunny = {d.ref: d for d in demands if self._model.by_ref[d.ref].waits_for_surplus}
        fair = [demand for demand in demands if demand.ref not in sunny] if sunny else demands
        given = self._share(site, fair, room, base, now)
        switching = [
            each
            for each in controllers
            if (each.model.switch.able or each.model.switch.single) and each.evse.ref not in sunny
        ]
        if switching:
            rooms, joint = room.rooms(), self._supply.joint(site, base, room)
            admission = self._supply.admission(site, room, base)
            consider(
                switching,
                fair,
                given,
                lambda asking: self._allocator(site).share(
                    asking, rooms, joint, admission, lambda refs: self._ranks(refs, now)
                ),
                now,
            )
        return given | self._sunshine(site, list(sunny.values()), given, room, base, now)

    def _share(
        self, site: SiteTree, demands: list[Demand], room: Headroom, base: SiteBase, now: float
    ) -> dict[EvseRef, Allocation]:
        """Return shares for all demands. Who cannot pause and gets nothing takes its minimum all the same."""
        held: dict[EvseRef, Allocation] = {}
        while True:
            joint, admission = self._supply.joint(site, base, room), self._supply.admission(site, room, base)
            given = self._allocator(site).share(
                demands, room.rooms(), joint, admission, lambda refs: self._ranks(refs, now)
            )
            stuck = [
                controller
                for ref, allocation in given.items()
                if allocation.limit_a == 0 and (controller := self._model.by_ref[ref]).delivery.never_pauses
            ]
            if not stuck:
                return given | held
            for controller in stuck:
                controller.book(room, now)
                ref = controller.evse.ref
                held[ref] = Allocation(ref, controller.evse.min_a, NO_PAUSE)
            demands = [demand for demand in demands if demand.ref not in held]

    def _allocator(self, site: SiteTree) -> Allocator:
        """Return the allocator of the site or of a part of it."""
        return self._allocators.setdefault(site.circuits[0].id, Allocator(site))

    def _explained(self, given: dict[EvseRef, Allocation]) -> dict[EvseRef, Allocation]:
        """Name the backend's limit or the calendar's where it is what makes a circuit full."""
        whys = {
            c.id: why for c in self._model.site.circuits if (why := self._model.energy.calendar.reduction(c))
        }
        root = self._model.site.circuits[0]
        if self._model.group_a is not None and self._model.group_a < max(
            self._model.energy.calendar.limit_a(root)
        ):
            whys[root.id] = f"the backend limits the site to {self._model.group_a:g} A"
        for circuit, why in whys.items():
            given = {
                ref: msgspec.structs.replace(one, reason=f"{why}: {one.reason}")
                if f"{circuit} L" in one.reason
                else one
                for ref, one in given.items()
            }
        return given

    def _sunshine(
        self,
        site: SiteTree,
        demands: list[Demand],
        given: Mapping[EvseRef, Allocation],
        room: Headroom,
        base: SiteBase,
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Return shares of the feed-in that the others leave."""
        if not demands:
            return {}
        surplus_a = self._model.energy.surplus_a(self._model.metering.surplus_a(now), now)
        for ref, allocation in given.items():
            controller = self._model.by_ref[ref]
            room.book(controller.evse, controller.model.phases, allocation.limit_a)
            surplus_a -= allocation.limit_a * sum(controller.model.phases)
        rooms, joint = room.rooms(), self._supply.joint(site, base, room)
        controllers = [self._model.by_ref[demand.ref] for demand in demands]
        consider_alone(
            controllers, demands, lambda asking: sunlit(site, asking, rooms, joint, surplus_a), now
        )
        held = {each.evse.ref for each in controllers if each.model.switch.narrows}
        return self._surplus.share(site, demands, rooms, joint, surplus_a, now, held)


def _zero(controller: EvseController, reason: str) -> Allocation:
    """Return an allocation of 0 A; that of the last pass if it is the same."""
    found = Allocation(controller.evse.ref, 0.0, reason)
    return controller.allocation if controller.allocation == found else found
