"""Snapshot of the site: the state of its circuits and EVSEs at one moment, for people and monitoring."""

from __future__ import annotations

from collections.abc import Iterable

from msgspec import structs

from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.metering.circuit_metering import SiteBase
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import CircuitNode, PhaseAmps, subtract
from controller.load_management.site_view import CircuitView, EvseDraws, EvseView, SiteView, SiteViewParts
from controller.model.observations import EvseRef
from controller.model.parts import cut_in_parts, finish_parts


class SiteSnapshots:
    """Snapshots of a site that is controlled. Times are s, monotonic."""

    def __init__(self, model: SiteModel, supply: CircuitSupply) -> None:
        self._model = model
        self._supply = supply

    def take_view(self, now: float) -> SiteView:
        """Return the state of the site."""
        return finish_parts(self.take_parts(now), now)

    def take_parts(self, now: float) -> SiteViewParts:
        """Return the state of the site, read in parts; if it is replaced meanwhile, it is read again."""
        site, controllers = self._model.site, self._model.controllers
        base = self._model.metering.base(now)
        room = self._supply.supplies(site, base.assumed, now).copy()
        newcomers: list[EvseController] = []
        for part in cut_in_parts(controllers):
            for controller in part:
                if controller.booking.may_draw(now):
                    controller.booking.book(room, now)
                else:
                    newcomers.append(controller)
            now = yield
        left = room.rooms()
        for part in cut_in_parts(newcomers):
            for controller in part:
                controller.booking.book(room, now)
            now = yield
        spare = room.rooms()
        evses: list[EvseView] = []
        for part in cut_in_parts(controllers):
            evses += [self._view_evse(controller, now) for controller in part]
            now = yield
        if self._model.site is not site:
            return (yield from self.take_parts(now))
        return SiteView(
            circuits=tuple(
                self._view_circuit(circuit, base, left[circuit.id], spare[circuit.id], now)
                for circuit in site.circuits
            ),
            evses=tuple(evses),
            energy=self._model.energy.view(now),
            unconfigured=tuple(each.view(now) for each in self._model.unconfigured.values()),
        )

    def draws(self, refs: Iterable[EvseRef], now: float) -> EvseDraws:
        """Return what EVSEs draw.

        For all EVSEs of a site that takes a twentieth of `take_view`.
        """
        by_ref = self._model.by_ref
        return {
            ref: each.model.draw.shown
            if each.delivery.connected and not each.model.draw.unknown(now)
            else None
            for ref in refs
            if (each := by_ref.get(ref)) is not None
        }

    def view_evses(self, refs: Iterable[EvseRef], now: float) -> list[EvseView]:
        """Return the state of EVSEs alone, in the order of `refs`."""
        by_ref = self._model.by_ref
        return [self._view_evse(each, now) for ref in refs if (each := by_ref.get(ref)) is not None]

    def _view_evse(self, each: EvseController, now: float) -> EvseView:
        view, goal = each.view(now), each.model.goal
        if not goal.is_set:
            return view
        return structs.replace(view, goal=goal.left(self._model.metering.voltage_v(each.evse.circuit), now))

    def _view_circuit(
        self, circuit: CircuitNode, base: SiteBase, left: PhaseAmps, spare: PhaseAmps, now: float
    ) -> CircuitView:
        """Return the state of one circuit.

        `left`: what cars that may draw leave of its supply; `spare`: what newcomers' fallbacks leave of that.
        """
        reserved = subtract(left, (max(0.0, spare[0]), max(0.0, spare[1]), max(0.0, spare[2])))
        metered = self._model.metering.metered(circuit.id)
        problem = self._model.metering.meter_problem(circuit, now)
        return CircuitView(
            id=circuit.id,
            limit_a=circuit.limit_a,
            limit_now_a=self._model.limit_now_a(circuit),
            measured_a=self._model.metering.measured(circuit),
            base_a=base.assumed[circuit.id],
            booked_a=subtract(self._supply.supply(circuit, base.assumed[circuit.id], now), left),
            reserve_a=(max(0.0, reserved[0]), max(0.0, reserved[1]), max(0.0, reserved[2])),
            meter_quality=self._model.metering.quality(circuit, now),
            meter_problem=problem.text,
            meter_cause=problem.cause,
            over_limit_s=0.0 if metered is None else metered.over_limit_s(now),
            overloads=0 if metered is None else metered.overloads,
            margin_a=self._model.metering.margin_a(circuit),
            jump_a=0.0 if metered is None else metered.jumps.highest_a,
            jumps=0 if metered is None else metered.jumps.jumps,
            jumps_beyond=0 if metered is None else metered.jumps.beyond,
            proposed_margin_a=None if metered is None else metered.jumps.proposed_a,
            learns_margin=circuit.learns_margin and metered is not None,
        )
