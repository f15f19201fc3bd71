"""Control of the site: events go in, limits for stations come out.

Two loops run over the same model. The *fair* one runs on every tick and soon after anything that changes
who may take what: it plans with the limits less the margin, the base load, and what stations that
cannot be commanded may be taking. The *fast* one runs inside the event that shows a circuit above
its limit: all stations below that circuit are cut in one pass, urgently.

A share that falls is sent at once if anybody needs its room. One that rises is handed out only into room
that is free with every EVSE booked at the most that it may still be taking (`LimitDelivery.booked_a`):
reduce first, raise when it is done.

A car starts only into room that has been free for minutes, and is kept once started: the margin carries a
surge of the building before a car is stopped.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

from controller.load_management.circuit_supply import CircuitSupply
from controller.load_management.control_pass import ControlPass
from controller.load_management.events import (
    ControlTick,
    MeterUpdated,
    SetLimit,
    SiteDimmed,
    SiteEvent,
    SiteLog,
    StationUp,
)
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.load_management.evse.report_requests import SELDOM_S
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_model import SiteModel
from controller.load_management.site_snapshot import SiteSnapshots
from controller.load_management.site_tree import CircuitNode, SiteTree
from controller.model.observations import EvseRef

PASS_S_PER_EVSE = 5e-4
LONGEST_PAUSE_S = 0.5
"""Least time between two passes for each EVSE, and its bound: a burst of events, as when all stations of a
site connect after a restart, shares one. A cut waits for no pause."""
AT_ONCE = 20
"""Largest site (EVSEs) on which each station that connects has a pass of its own."""
FIRST_READINGS_S = 5.0
"""Longest time (s) after a restart for which running limits stay as they are until each meter has been read.
Without a reading a circuit counts at its worst: cars would be stopped that may charge on a moment later."""
CUT_AT_ONCE = 150
"""Largest site, or part of one (EVSEs), that is cut in one go; a larger one is cut in slices."""


class SiteControl:
    """Decides how much current each station of the site may take. All times are monotonic s."""

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self._model = SiteModel(site, settings, now)
        self._supply = CircuitSupply(self._model)
        self.energy = self._model.energy
        """Plan of the site's energy over hours."""
        self.metering = self._model.metering
        """Knowledge about each circuit from the site's meters."""
        self.unsaved_evses = self._model.unsaved
        """EVSEs with something new to record beside their limits: a goal, a learned value."""
        self._pass = ControlPass(self._model, self._supply)
        self.snapshots = SiteSnapshots(self._model, self._supply)
        self._due = False
        self._planned_at: float | None = None
        self._first_pass_at = -math.inf
        """When the first pass is made after a restart, if not each meter has been read before."""

    def handle(self, event: SiteEvent, now: float) -> list[SetLimit]:
        """Take in one event; return what to send to stations because of it, in this order.

        `now` never goes backwards. Events of stations, EVSEs and meters that the site does not have
        change nothing.
        """
        if isinstance(event, ControlTick):
            if event.utc is not None:
                self.energy.set_clock(event.utc, now)
            # It goes on with the pass that is running, and requests no further one.
            return self._plan_safely(now)
        if isinstance(event, MeterUpdated):
            circuit = self._model.metering.circuit_of(event.state.meter)
            if circuit is not None:
                overloaded, is_other = self._model.on_meter(event, circuit, now)
                self._due |= is_other
                if overloaded:
                    return self._plan_safely(now, urgent=True, within=circuit)
            elif self.energy.on_meter(event.state, now) is not None:
                self._model.metering.set_battery(*self.energy.battery_flow_a(now))
            if now < self._first_pass_at and not self.metering.awaits_readings(now):
                self._first_pass_at = -math.inf
        if isinstance(event, SiteDimmed):
            self._model.due.updates.add_all(self._model.by_ref)
            if self._model.dimming.dim(event, now):
                return self._plan_safely(now, urgent=True)
        self._due |= self._model.on_event(event, now)
        if not self._pass.is_running and (due_at := self.due_at) is not None and now >= due_at:
            return self._plan_safely(now)
        return self._on_connected(event.station, now) if isinstance(event, StationUp) else []

    def replace_site(
        self, site: SiteTree, settings: SiteSettings, now: float, other_meters: Collection[str] = ()
    ) -> list[SetLimit]:
        """Apply other circuits, EVSEs and energy settings while the site runs; return what to send.

        `site` has the same grid connection as before, and EVSEs that stay on as many phases; it may have
        further ones, and lack others, which must not draw any more. `settings` has the same voltage and
        lease. `other_meters`: those whose values mean something else than before. Raises ValueError if the
        grid connection differs, or the number of phases of EVSEs that stay.
        """
        self._model.replace_site(site, settings, now, other_meters)
        self._pass.replace_site()
        return self._plan_safely(now, urgent=True)

    @property
    def due_at(self) -> float | None:
        """Return when a ControlTick is wanted (s), because a pass was a moment ago; None: it is not."""
        if self._pass.is_running:
            return -math.inf
        if not self._due:
            return None
        pause_s = min(LONGEST_PAUSE_S, PASS_S_PER_EVSE * len(self._model.controllers))
        return max(self._first_pass_at, -math.inf if self._planned_at is None else self._planned_at + pause_s)

    def _on_connected(self, station: str, now: float) -> list[SetLimit]:
        """Send what must be in the station even if it is gone again before the next pass."""
        if len(self._model.controllers) <= AT_ONCE and now >= self._first_pass_at:
            return self._plan_safely(now)
        return [
            limit for each in self._model.of_station[station] for limit in each.delivery.secure_fallback(now)
        ]

    def delivery_records(self, refs: Iterable[EvseRef], now: float) -> dict[EvseRef, DeliveryMemory]:
        """Return what must survive a restart of those of these EVSEs that the configuration names."""
        named = [ref for ref in refs if ref in self._model.by_ref]
        self._model.unsaved.difference_update(named)
        return {ref: self._model.by_ref[ref].record(now) for ref in named}

    def take_log(self) -> SiteLog:
        """Return the faults and the changes of limits that are to be logged since the last call."""
        lines = self._model.log.copy()
        self._model.log.clear()
        return lines

    def booked_a(self, ref: EvseRef, now: float) -> float:
        """Return the most that an EVSE of the site may draw by its limits (A per phase)."""
        return self._model.by_ref[ref].delivery.standing(now).booked_a

    def silent_evses(self, now: float) -> list[EvseRef]:
        """Return the EVSEs whose draw is to be reported: no recent report shows it.

        Their cars charge, or have begun to take nothing of an offer by their state, which may be wrong.
        """
        return [
            each.evse.ref
            for each in self._model.controllers
            if each.delivery.connected
            and (
                (each.model.is_charging and each.model.draw.unknown(now))
                or (each.offer.offered_a >= each.evse.min_a and each.model.idleness.is_unconfirmed(now))
            )
        ]

    def seldom_evses(self, now: float) -> list[EvseRef]:
        """Return the EVSEs whose car could add phases that nothing but its next report would show.

        The last report is old, and a circuit above has no meter that shows the car.
        """
        return [
            each.evse.ref
            for each in self._model.controllers
            if each.delivery.connected
            and each.model.is_charging
            and sum(each.model.phases) < len(each.evse.phases)
            and now - (each.model.draw.reported_at or now) >= SELDOM_S
            and each.evse.circuit in self._model.site.partly_metered
        ]

    def restore(self, records: Mapping[EvseRef, DeliveryMemory], now: float) -> None:
        """Take over what was recorded before a restart; EVSEs that the site no longer has are ignored.

        While limits of them run, the first pass waits for a reading of each meter.
        """
        for ref, record in records.items():
            self._model.restore(ref, record, now)
        if any(record.is_running(now) for record in records.values()) and self.metering.awaits_readings(now):
            self._first_pass_at = now + FIRST_READINGS_S
            self.metering.expect_reports()

    def _plan_safely(
        self, now: float, *, urgent: bool = False, within: CircuitNode | None = None
    ) -> list[SetLimit]:
        """Make one pass; after a fault in it all stations go to their fallback, and the next pass follows.

        Any exception counts, a programming error as well: without a next pass the leases of a whole site end,
        and a circuit above its limit is no longer cut. `within`: a circuit that is to be cut; only the
        stations below it are, as nothing else is in danger. The next pass, which is due at once, shares what
        that leaves to the others.
        """
        if now < self._first_pass_at and not urgent and not self._pass.is_running:
            self._due = True
            return []
        part = self._pass.whole if within is None else self._pass.part_below(within.id)
        try:
            if part is not self._pass.whole and len(part.controllers) <= CUT_AT_ONCE:
                self._due, self._planned_at = True, now
                commands = self._pass.cut(part, now)
            else:
                if urgent or not self._pass.is_running:
                    self._due, self._planned_at = part is not self._pass.whole, now
                    self._pass.begin(part, urgent=urgent, to_shares=urgent and within is None)
                to_end = urgent and len(part.controllers) <= CUT_AT_ONCE
                commands = self._pass.advance(now, to_end=to_end)
        except Exception as error:  # noqa: BLE001
            self._model.notices.note(
                "pass", f"control pass failed, all stations to fallback error={error!r:.80}", ""
            )
            self._due, self._planned_at = True, now
            return self._pass.all_to_fallback(now)
        self._model.notices.note("pass", "", "control pass works again")
        return commands
