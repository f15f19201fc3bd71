"""The site's control: events go in, limits for stations come out.

Two loops over the same model. The *fair* one runs on every tick and soon after anything that changes
who may take what: it plans with the limits less the margin, the base load, and what stations that
cannot be commanded may be taking. The *fast* one runs inside the event that shows a circuit above
its limit: all stations concerned are cut in one pass, urgently.

A share that falls is sent at once. One that rises is handed out only into room that is free with
every EVSE booked at the most that it may still be taking (`LimitDelivery.booked_a`): reduce first, raise
when it is done.
"""

from __future__ import annotations

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Mapping

import msgspec

from controller.load_management.allocation.allocator import Allocation, Demand, allocate
from controller.load_management.allocation.constraints import JointConstraint
from controller.load_management.allocation.dimming_cap import DimmingCap
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.allocation.phase_count_choice import consider, consider_alone
from controller.load_management.allocation.rotation import REST_S, Rotation
from controller.load_management.allocation.surplus import Surplus, sunlit
from controller.load_management.decision_log import LoggedDecision
from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    MeterUpdated,
    QuirkSelected,
    SetLimit,
    SiteDimmed,
    SiteEvent,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.load_management.metering.circuit_metering import CircuitMetering
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import CircuitNode, PhaseAmps, SiteTree
from controller.load_management.site_view import CircuitView, SiteView
from controller.model.observations import BackendLimit, Booted, EvseRef, Observation, ProfilesTouched

PASS_S_PER_EVSE = 1e-4
"""At least so much time for each EVSE between two passes: a burst of events on a big site shares one."""
AT_ONCE = 100
"""On a site of so many EVSEs each station that comes has a pass of its own all the same."""

NO_PAUSE = "its station cannot pause: held at its minimum"
RESTING = f"gave up its place, rests {REST_S:g} s at least"


class SiteControl:
    """Owns how much current each station of the site may take. All times are monotonic s."""

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self._site = site
        self._settings = settings
        self._metering = CircuitMetering(site, settings, now)
        self._turns = Rotation(settings.rotation_s)
        self._surplus = Surplus()
        self._steering = DimmingCap()
        # The k-th of n EVSEs numbers its calls k, k + n, k + 2 n ...: a token tells whose it is.
        count = len(site.evses)
        self._outlets = [
            EvseController(evse, settings.lease_s, itertools.count(index, count), now)
            for index, evse in enumerate(site.evses)
        ]
        self._by_ref = {outlet.evse.ref: outlet for outlet in self._outlets}
        self._of_station: defaultdict[str, list[EvseController]] = defaultdict(list)
        for outlet in self._outlets:
            self._of_station[outlet.evse.ref.station].append(outlet)
        self._group_a: float | None = None
        self._due = False
        self._planned_at: float | None = None
        self._news: list[LoggedDecision] = []

    def handle(self, event: SiteEvent, now: float) -> list[SetLimit]:
        """Take in one event; what to send to stations because of it, in this order.

        `now` never goes backwards. Events of stations, EVSEs and meters that the site does not have
        tell it nothing.
        """
        overloaded = isinstance(event, MeterUpdated) and self._metered(event, now)
        if overloaded:
            return self._plan(now, urgent=True)
        if isinstance(event, SiteDimmed) and self._steering.dim(event):
            return self._plan(now, urgent=True)
        self._due |= self._takes_in(event, now)
        if (due_at := self.due_at) is None:
            return []
        if now >= due_at or isinstance(event, ControlTick):
            return self._plan(now)
        return self._comes(event.station, now) if isinstance(event, StationUp) else []

    @property
    def due_at(self) -> float | None:
        """When a Tick is wanted, because something is to be thought over and a pass was a moment ago."""
        if not self._due:
            return None
        rest_s = PASS_S_PER_EVSE * len(self._outlets)
        return -math.inf if self._planned_at is None else self._planned_at + rest_s

    def _comes(self, station: str, now: float) -> list[SetLimit]:
        """It may be gone again before the next pass: what must be in it does not wait for that."""
        if len(self._outlets) <= AT_ONCE:
            return self._plan(now)
        return [limit for outlet in self._of_station[station] for limit in outlet.delivery.secure(now)]

    def news(self) -> list[LoggedDecision]:
        """What changed for EVSEs since this was last asked, in words for people."""
        news, self._news = self._news, []
        return news

    def memories(self, refs: Iterable[EvseRef], now: float) -> dict[EvseRef, DeliveryMemory]:
        """What the next of us should know of these EVSEs."""
        return {ref: self._by_ref[ref].memory(now) for ref in refs}

    def to_remember(self) -> set[EvseRef]:
        """The EVSEs with something new for `memories` that no limit tells: a goal, what was learnt."""
        return {outlet.evse.ref for outlet in self._outlets if outlet.to_remember}

    def recall(self, memories: Mapping[EvseRef, DeliveryMemory]) -> None:
        """Take over what the last of us knew; EVSEs that the site no longer has are forgotten."""
        for ref, memory in memories.items():
            if ref in self._by_ref:
                self._by_ref[ref].recall(memory)

    def snapshot(self, now: float) -> SiteView:
        """The site as it is known now."""
        base = self._metering.base(now)
        left = self._ledger(base, self._outlets, now).rooms()
        circuits = []
        for circuit in self._site.circuits:
            supply = self._supply(circuit, base[circuit.id])
            problem = self._metering.meter_problem(circuit, now)
            circuits.append(
                CircuitView(
                    id=circuit.id,
                    limit_a=circuit.limit_a,
                    measured_a=self._metering.measured(circuit),
                    base_a=base[circuit.id],
                    booked_a=_less(supply, left[circuit.id]),
                    meter_quality=self._metering.quality(circuit, now),
                    meter_problem=problem.text,
                    meter_cause=problem.cause,
                )
            )
        return SiteView(circuits=tuple(circuits), evses=tuple(outlet.view(now) for outlet in self._outlets))

    # What is known

    def _takes_in(self, event: SiteEvent, now: float) -> bool:
        """Let the model know; whether the sharing has to be thought over."""
        match event:
            case StationUp(station=station):
                for outlet in self._of_station.get(station, ()):
                    outlet.delivery.up(now)
                return True
            case StationDown(station=station):
                for outlet in self._of_station.get(station, ()):
                    outlet.down(now)
                return True
            case QuirkSelected(station=station, quirk=quirk):
                for outlet in self._of_station.get(station, ()):
                    outlet.adapt(quirk, now)
                return True
            case StationObserved(station=station, observation=observation):
                return self._observed(station, observation, now)
            case LimitAnswered():
                return self._answered(event, now)
            case GroupLimit(limit_a=limit_a):
                self._group_a = limit_a
                return True
            case ControlTick() | SiteDimmed():
                return True
            case MeterUpdated():
                return False  # taken in by the fast loop before

    def _observed(self, station: str, observation: Observation, now: float) -> bool:
        if isinstance(observation, Booted | ProfilesTouched):
            for outlet in self._of_station.get(station, ()):
                outlet.delivery.touched(now)
            return True
        told = self._by_ref.get(EvseRef(station, observation.evse))
        if isinstance(observation, BackendLimit):
            if told is not None:
                told.backend_a = observation.limit_a
            return told is not None
        return told is not None and told.observed(observation, now)

    def _answered(self, answer: LimitAnswered, now: float) -> bool:
        """A refusal changes what can be shared at once; the room that a cut frees is free a little later."""
        if not self._outlets:
            return False
        known = self._outlets[answer.token % len(self._outlets)].answered(answer, now)
        return known and not answer.accepted

    def _metered(self, event: MeterUpdated, now: float) -> bool:
        """Whether a circuit is over its limit now."""
        circuit = self._metering.circuit_of(event.state.meter)
        if circuit is None:
            return False
        before = self._doubts(circuit, now)
        below = [self._by_ref[evse.ref] for evse in self._site.below[circuit.id]]
        credits = {outlet.evse.ref: outlet.credit(now) for outlet in below}
        slowest_s = max((outlet.delivery.reaction_s for outlet in below), default=0.0)
        overloaded = self._metering.see(event.state, credits, now, slowest_s)
        self._due |= before != self._doubts(circuit, now) or self._metering.crossed(circuit)
        return overloaded

    def _doubts(self, circuit: CircuitNode, now: float) -> tuple[str, bool]:
        return self._metering.trouble(circuit, now), self._metering.doubted(circuit)

    # What to do about it

    def _plan(self, now: float, *, urgent: bool = False) -> list[SetLimit]:
        """Share the current anew and bring every station there."""
        self._due = False
        self._planned_at = now
        for outlet in self._outlets:
            outlet.look_at_car(self._settings.voltage_v, now)
            outlet.delivery.hold_s = self._steering.hold_s(outlet.evse, now)
        base = self._metering.base(now)
        allocations = self._allocations(base, now)
        ledger = self._ledger(base, self._outlets, now)
        commands: list[SetLimit] = []
        self._news = []  # of a pass that nobody asked about
        # Who has least rises first, while there is not yet room for all to rise.
        for outlet in sorted(self._outlets, key=lambda o: (o.delivery.offered_a(now), o.evse.ref)):
            commands += outlet.bring(allocations.get(outlet.evse.ref), ledger, now, urgent=urgent)
            if told := outlet.news(now):
                self._news.append(told)
        return commands

    def _allocations(self, base: dict[str, PhaseAmps], now: float) -> dict[EvseRef, Allocation]:
        """The allocator's answer for all EVSEs that have a car, can be commanded, and do not rest."""
        turns = self._turns
        turns.wanting([outlet.evse.ref for outlet in self._outlets if outlet.model.wants], now)
        ranks = turns.ranks(now, {o.evse.ref for o in self._outlets if o.model.asleep(now)})
        highest_v = self._metering.highest_v(self._site.circuits[0])
        troubles, metered = self._metering.troubles_above(now), self._metering.covers
        reserved: list[EvseController] = []
        shared: list[EvseController] = []
        allocations: dict[EvseRef, Allocation] = {}
        demands = []
        for outlet in self._outlets:
            ref, circuit = outlet.evse.ref, outlet.evse.circuit
            if outlet.delivery.problem(now):
                reserved.append(outlet)
                continue
            shared.append(outlet)
            if outlet.model.wants:
                if turns.resting_s(ref, now) and not outlet.delivery.never_pauses:
                    why = self._steering.explained(outlet.evse, RESTING)
                    allocations[ref] = Allocation(ref, 0.0, why)
                else:
                    demands.append(
                        outlet.demand(
                            ranks[ref],
                            troubles[circuit],
                            metered=metered[circuit],
                            unbalance_a=self._site.unbalance_a.get(circuit),
                            dimmed=self._steering.cap(outlet.evse, outlet.phases_to_come, highest_v),
                        )
                    )
            elif idle := self._steering.idle(outlet.evse):
                allocations[ref] = Allocation(ref, 0.0, idle)
        room = self._ledger(base, reserved, now)
        for outlet in shared:
            outlet.book_overdraw(room, now, steered=room.steered() is not None)
        given = self._given(shared, demands, room, base, now)
        for ref, allocation in given.items():
            turns.served(ref, allocation.limit_a > 0, now)
        return allocations | self._explained(given)

    def _given(
        self,
        outlets: list[EvseController],
        demands: list[Demand],
        room: Headroom,
        base: dict[str, PhaseAmps],
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Shares for all demands of these outlets: first for those who do not wait for the sun."""
        sunny = {d.ref: d for d in demands if self._site.evse_by_ref[d.ref].surplus}
        fair = [demand for demand in demands if demand.ref not in sunny]
        given = self._share(fair, room, base, now)
        rooms, joint = room.rooms(), self._joint(base, room)
        others = [outlet for outlet in outlets if outlet.evse.ref not in sunny]
        consider(others, fair, given, lambda asking: allocate(self._site, asking, rooms, joint), now)
        return given | self._sunshine(list(sunny.values()), given, room, base, now)

    def _share(
        self, demands: list[Demand], room: Headroom, base: dict[str, PhaseAmps], now: float
    ) -> dict[EvseRef, Allocation]:
        """Shares for all demands. Who cannot pause and gets nothing takes his minimum all the same."""
        held: dict[EvseRef, Allocation] = {}
        while True:
            given = allocate(self._site, demands, room.rooms(), self._joint(base, room))
            stuck = [
                outlet
                for ref, allocation in given.items()
                if allocation.limit_a == 0 and (outlet := self._by_ref[ref]).delivery.never_pauses
            ]
            if not stuck:
                return given | held
            for outlet in stuck:
                outlet.book(room, now)
                held[outlet.evse.ref] = Allocation(outlet.evse.ref, outlet.evse.min_a, NO_PAUSE)
            demands = [demand for demand in demands if demand.ref not in held]

    def _explained(self, given: dict[EvseRef, Allocation]) -> dict[EvseRef, Allocation]:
        """With a limit of a backend on the whole site, "grid L1 full" is not the whole truth."""
        root = self._site.circuits[0]
        if self._group_a is None or self._group_a >= max(root.limit_a):
            return given
        why = f"the backend limits the site to {self._group_a:g} A"
        return {
            ref: msgspec.structs.replace(one, reason=f"{why}: {one.reason}")
            if f"{root.id} L" in one.reason
            else one
            for ref, one in given.items()
        }

    def _sunshine(
        self,
        demands: list[Demand],
        given: Mapping[EvseRef, Allocation],
        room: Headroom,
        base: dict[str, PhaseAmps],
        now: float,
    ) -> dict[EvseRef, Allocation]:
        """Shares of the feed-in that the others leave."""
        if not demands:
            return {}
        surplus_a = self._metering.surplus_a(now)
        for ref, allocation in given.items():
            outlet = self._by_ref[ref]
            room.book(outlet.evse, outlet.model.phases, allocation.limit_a)
            surplus_a -= allocation.limit_a * sum(outlet.model.phases)
        rooms, joint = room.rooms(), self._joint(base, room)
        outlets = [self._by_ref[demand.ref] for demand in demands]
        consider_alone(
            outlets, demands, lambda asking: sunlit(self._site, asking, rooms, joint, surplus_a), now
        )
        held = {outlet.evse.ref for outlet in outlets if outlet.model.switch.narrows}
        return self._surplus.share(self._site, demands, rooms, joint, surplus_a, now, held)

    def _ledger(self, base: dict[str, PhaseAmps], booked: list[EvseController], now: float) -> Headroom:
        """What is left of the supply of each circuit when these EVSEs take the most that they may."""
        supply = {c.id: self._supply(c, base[c.id]) for c in self._site.circuits}
        grid = self._site.circuits[0]
        steered = self._steering.steered(self._metering.highest_v(grid), self._metering.surplus_a(now))
        ledger = Headroom(self._site, supply, self._sums(base), steered)
        for outlet in booked:
            outlet.book(ledger, now)
        return ledger

    def _sums(self, base: dict[str, PhaseAmps]) -> dict[str, float]:
        """The supply of all phases together (A), where power is limited."""
        return {
            c.id: c.limit_w / self._metering.highest_v(c) - sum(base[c.id]) - 3 * self._metering.margin_a(c)
            for c in self._site.circuits
            if c.limit_w is not None
        }

    def _joint(self, base: dict[str, PhaseAmps], room: Headroom) -> dict[str, JointConstraint]:
        """What bounds phases together, where something does."""
        sums = room.sums()
        steered = {self._site.circuits[0].id: room.steered()}
        return {
            c.id: JointConstraint(
                sum_a=sums.get(c.id),
                unbalance_a=c.unbalance_a,
                base_a=base[c.id],
                steered=steered.get(c.id),
            )
            for c in self._site.circuits
            if c.limit_w is not None or c.unbalance_a is not None or steered.get(c.id) is not None
        }

    def _supply(self, circuit: CircuitNode, base_a: PhaseAmps) -> PhaseAmps:
        margin_a = self._metering.margin_a(circuit)
        limit_a = circuit.limit_a
        if self._group_a is not None and circuit.parent is None:
            limit_a = (
                min(limit_a[0], self._group_a),
                min(limit_a[1], self._group_a),
                min(limit_a[2], self._group_a),
            )
        return _less(limit_a, (base_a[0] + margin_a, base_a[1] + margin_a, base_a[2] + margin_a))


def _less(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])
