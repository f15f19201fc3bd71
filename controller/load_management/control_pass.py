"""Passes of the control: each shares the current anew and returns what brings every station there.

The steps of a pass: update what events and time have changed; find the energy plan's part of each EVSE; plan
the shares with the limits less margin and base load; find who is cut because others need the room; then send
cuts, and rises only into room that is free with every EVSE booked at the most that it may still be taking.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.load_management.allocation.headroom import Bookings
from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.cut_planner import CutPlanner
from controller.load_management.decision_log import LoggedDecision
from controller.load_management.events import NO_PLAN, SetLimit
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import NOISE_A, STEP_A
from controller.load_management.metering.circuit_metering import SiteBase
from controller.load_management.share_planner import SharePlanner, SitePart
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import CircuitNode, SiteTree
from controller.model.observations import EvseRef


class ControlPass:
    """Makes the passes over a site."""

    def __init__(self, model: SiteModel, supply: CircuitSupply) -> None:
        self._model = model
        self._supply = supply
        self._shares = SharePlanner(model, supply)
        self._cuts = CutPlanner(model)
        self._bookings = Bookings(model.site)
        self._planned: set[EvseRef] = set()
        self.whole = SitePart(model.site, model.controllers)
        self._parts: dict[str, SitePart] = {}
        self._decisions: list[LoggedDecision] = []

    def replace_site(self) -> None:
        """Follow another tree and other settings of the model."""
        self._shares.replace_site()
        self.whole = SitePart(self._model.site, self._model.controllers)
        self._parts.clear()

    def take_decisions(self) -> list[LoggedDecision]:
        """Return the changes of EVSEs' limits since the last call, in words for people."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def all_to_fallback(self, now: float) -> list[SetLimit]:
        """Send every station to its fallback, after a fault in a pass."""
        commands: list[SetLimit] = []
        for controller in self._model.controllers:
            target_a = min(controller.evse.fallback_a, controller.delivery.offered_a(now))
            try:
                controller.wake()
                commands += controller.delivery.commands(target_a, 0.0, now, urgent=True)
                controller.model.draw.offer(controller.delivery.offered_a(now), now)
            except Exception as error:  # noqa: BLE001 - its own state may have failed; the others are cut
                self._model.notices.note(
                    f"pass {controller.evse.ref}",
                    f"fallback failed evse={controller.evse.ref} {error!r:.80}",
                    "",
                )
        return commands

    def run(self, now: float, part: SitePart, *, urgent: bool) -> list[SetLimit]:
        """Share the current of a part of the site anew; return what brings every station there.

        `urgent`: a circuit is above its limit.
        """
        self._model.update_due_credits(now)
        base = self._model.metering.base(now)
        self._apply_energy_plan(base, now)
        supply = self._supply.supplies(part.site, base.believed, now)
        touched = [each for each in part.controllers if each.quiet_until <= now]
        self._refresh(touched, now)
        ledger = supply.copy()
        allocations = self._shares.allocations(part, touched, supply, base, now)
        ledger.book_all(self._bookings)
        cuts = self._cuts.plan_cuts(allocations, ledger)
        commands: list[SetLimit] = []
        self._decisions = []  # of a pass that was not requested
        concerned = [
            each
            for each in part.controllers
            if urgent
            or each.quiet_until <= now
            or each.evse.ref in cuts
            or each.is_given_another(allocations.get(each.evse.ref))
            or (each.is_rising and ledger.room(each.evse, each.model.phases) >= STEP_A - NOISE_A)
            or each.model.switch.changing
        ]
        # Who has least rises first, while there is not yet room for all to rise.
        for controller in sorted(concerned, key=lambda c: (c.delivery.offered_a(now), c.evse.ref)):
            before = controller.delivery.offered_a(now)
            ref = controller.evse.ref
            allocation = allocations.get(ref)
            commands += controller.commands_towards(
                allocation,
                ledger,
                now,
                urgent=urgent,
                cut_a=cuts.get(ref),
            )
            self._model.note_offer(controller, before, now)
            if decision := controller.take_decision(now):
                self._decisions.append(decision)
            controller.settle(allocation, now)
            self._bookings.set(controller.evse, controller.booking(now))
        return commands + self._limit_unconfigured(now)

    def _limit_unconfigured(self, now: float) -> list[SetLimit]:
        """Return what brings the EVSEs that the configuration does not name to their fallback."""
        return [limit for each in self._model.unconfigured.values() for limit in each.commands(now)]

    def _refresh(self, controllers: Sequence[EvseController], now: float) -> None:
        """Update what depends on time and on events of these EVSEs, and what is booked for them."""
        for controller in controllers:
            controller.refresh(self._model.settings.voltage_v, now)
            self._model.update_credit(controller, now)
            controller.delivery.hold_s = self._model.dimming.hold_s(controller.evse, now)
            self._bookings.set(controller.evse, controller.booking(now))
            self._model.note_reaction(controller)

    def _apply_energy_plan(self, base: SiteBase, now: float) -> None:
        """Find what the plan over hours asks for now, and give each EVSE its part."""
        uses = {
            ref: self._model.by_ref[ref].use(self._model.settings.voltage_v, now)
            for ref in self._model.energy.evses.tracked
        }
        plans = self._model.energy.update(self._supply.peak_bases(base, now), uses, now)
        for ref in self._planned | plans.keys():
            self._model.by_ref[ref].set_plan(plans.get(ref, NO_PLAN))
        self._planned = set(plans)

    def part_below(self, circuit: CircuitNode) -> SitePart:
        """Return a circuit, with all that it feeds, as a site of its own: the whole for the first one."""
        if circuit.parent is None:
            return self.whole
        found = self._parts.get(circuit.id)
        if found is None:
            below = {
                each.id
                for each in self._model.site.circuits
                if circuit.id in {up.id for up in self._model.site.path(each.id)}
            }
            circuits = [each for each in self._model.site.circuits if each.id in below]
            root = msgspec.structs.replace(circuit, parent=None)
            site = SiteTree(circuits=(root, *circuits[1:]), evses=self._model.site.below[circuit.id])
            controllers = [self._model.by_ref[evse.ref] for evse in site.evses]
            found = self._parts[circuit.id] = SitePart(site, controllers)
        return found
