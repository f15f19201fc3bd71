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

import itertools
import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from heapq import heappop, heappush
from typing import NamedTuple

import msgspec

from controller.load_management.allocation.allocator import Allocation, Allocator, Demand
from controller.load_management.allocation.constraints import AdmissionRooms, JointConstraint
from controller.load_management.allocation.dimming_cap import DimmingCap
from controller.load_management.allocation.headroom import Bookings, Headroom
from controller.load_management.allocation.phase_count_choice import consider, consider_alone
from controller.load_management.allocation.rotation import REST_S, Rotation
from controller.load_management.allocation.surplus import Surplus, sunlit
from controller.load_management.decision_log import LoggedDecision, SiteNotice
from controller.load_management.energy.energy_planner import CircuitBase, EnergyPlanner
from controller.load_management.events import (
    NO_PLAN,
    ControlTick,
    EvseOverridden,
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
from controller.load_management.evse.evse_controller import (
    SEEN_CHANGE_A,
    EvseController,
    UnknownEvse,
)
from controller.load_management.evse.limit_delivery import (
    NOISE_A,
    STEP_A,
    DeliveryMemory,
    LimitDelivery,
)
from controller.load_management.metering.circuit_metering import BaseByCircuit, CircuitMetering, SiteBase
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from controller.load_management.site_view import CircuitView, SiteView
from controller.model.observations import (
    BackendLimit,
    Booted,
    DrawSeen,
    EvseRef,
    NeedsSeen,
    Observation,
    ProfilesTouched,
    StateSeen,
    TransactionSeen,
)

PASS_S_PER_EVSE = 1e-4
"""Least time between two passes for each EVSE: a burst of events on a large site shares one."""
AT_ONCE = 100
"""Largest site (EVSEs) on which each station that connects has a pass of its own."""
SETTLED_A = 0.5
"""Room beyond the fallback with which an EVSE without a car gets it back."""
ASKED_A = 2.0
"""A rise by less does not make others come down before their renewal."""
DEEP_A = 3.0
DEEP = 0.5
"""How far below its share an EVSE may be cut until its renewal: so many A, or this part of it."""
EXCESS_A = 1.0
"""Offers less above their share than this do not come down for others that rise: renewals level them."""
CHUNK_A = 2.0
"""Smallest cut where a circuit is short of room: the next small shortage is then within it already."""
UNBALANCE_NOISE_A = 0.5

NO_PAUSE = "its station cannot pause: held at its minimum"
RESTING = f"gave up its place, rests {REST_S:g} s at least"
ASLEEP = "its car takes nothing: probed from time to time"
NO_FALLBACK = "no car, and no room for the fallback that one would take"
LEFTOVER = "its car takes nothing: offered what nobody else wants"


class _SitePart(NamedTuple):
    """Site, or one of its circuits with all that it feeds, and the controllers of its EVSEs."""

    site: SiteTree
    controllers: list[EvseController]


class SiteControl:
    """Decides how much current each station of the site may take. All times are monotonic s."""

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self._site = site
        self._settings = settings
        self._metering = CircuitMetering(site, settings, now)
        self._rotation = Rotation(settings.rotation_s)
        self._surplus = Surplus()
        self._dimming = DimmingCap(settings.voltage_v)
        self.energy = EnergyPlanner(site, settings.energy, settings.voltage_v)
        # The k-th of n EVSEs numbers its calls k, k + n, k + 2 n ...: a token identifies its EVSE.
        count = len(site.evses)
        self._controllers = [
            EvseController(evse, self._make_delivery(evse, itertools.count(index, count)), now)
            for index, evse in enumerate(site.evses)
        ]
        self._by_ref = {controller.evse.ref: controller for controller in self._controllers}
        self._of_station: defaultdict[str, list[EvseController]] = defaultdict(list)
        for controller in self._controllers:
            self._of_station[controller.evse.ref.station].append(controller)
        self._index_of = {each.evse.ref: index for index, each in enumerate(self._controllers)}
        self._unknown: dict[EvseRef, UnknownEvse] = {}
        self._planned: set[EvseRef] = set()
        self._reserved_a: defaultdict[str, float] = defaultdict(float)
        """Current that is kept free below each circuit for the next sessions of DC EVSEs (A per phase)."""
        self._credits_due: list[tuple[float, int]] = []
        self._slowest_s: dict[str, float] = {}
        self._reactions: dict[EvseRef, float] = {}
        self._bookings = Bookings(site)
        self._allocators: dict[str, Allocator] = {}
        self._whole = _SitePart(site, self._controllers)
        self._parts: dict[str, _SitePart] = {}
        self._group_a: float | None = None
        self._due = False
        self._planned_at: float | None = None
        self._decisions: list[LoggedDecision] = []
        self._notices: list[SiteNotice] = []
        self._noticed: dict[str, str] = {}

    def _make_delivery(self, evse: EvseNode, tokens: Iterator[int]) -> LimitDelivery:
        return LimitDelivery(evse, self._settings.lease_s, tokens, self._settings.writes_per_day)

    def handle(self, event: SiteEvent, now: float) -> list[SetLimit]:
        """Take in one event; return what to send to stations because of it, in this order.

        `now` never goes backwards. Events of stations, EVSEs and meters that the site does not have
        change nothing.
        """
        if isinstance(event, ControlTick) and event.utc is not None:
            self.energy.set_clock(event.utc, now)
        if isinstance(event, MeterUpdated):
            circuit = self._metering.circuit_of(event.state.meter)
            if circuit is not None and self._on_meter(event, circuit, now):
                return self._plan_safely(now, urgent=True, within=circuit)
            if circuit is None and (flow_a := self.energy.on_meter(event.state, now)) is not None:
                self._metering.set_battery(flow_a)
        if isinstance(event, SiteDimmed):
            for each in self._controllers:
                each.wake()
            if self._dimming.dim(event):
                return self._plan_safely(now, urgent=True)
        self._due |= self._on_event(event, now)
        if (due_at := self.due_at) is None:
            return []
        if now >= due_at or isinstance(event, ControlTick):
            return self._plan_safely(now)
        return self._on_connected(event.station, now) if isinstance(event, StationUp) else []

    def replace_site(self, site: SiteTree, settings: SiteSettings, now: float) -> list[SetLimit]:
        """Apply other limits, margins, priorities and modes while the site runs; return what to send.

        `site` has the same circuits, meters and EVSEs as before, in the same order and wiring; `settings`
        has the same voltage, lease and energy targets. Raises ValueError if the circuits or EVSEs differ.
        """
        if _shape(site) != _shape(self._site):
            raise ValueError("the site has other circuits or EVSEs than before")
        self._site, self._settings = site, settings
        self._metering.replace_site(site, settings)
        self._rotation.set_turn(settings.rotation_s)
        self.energy.replace_site(site, settings.voltage_v)
        for controller, evse in zip(self._controllers, site.evses, strict=True):
            controller.evse = evse
            controller.wake()
        self._whole = _SitePart(site, self._controllers)
        self._parts.clear()
        self._allocators.clear()
        return self._plan_safely(now, urgent=True)

    @property
    def due_at(self) -> float | None:
        """Return when a ControlTick is wanted (s), because a pass was a moment ago; None: it is not."""
        if not self._due:
            return None
        pause_s = PASS_S_PER_EVSE * len(self._controllers)
        return -math.inf if self._planned_at is None else self._planned_at + pause_s

    def _on_connected(self, station: str, now: float) -> list[SetLimit]:
        """Send what must be in the station even if it is gone again before the next pass."""
        if len(self._controllers) <= AT_ONCE:
            return self._plan_safely(now)
        return [limit for each in self._of_station[station] for limit in each.delivery.secure_fallback(now)]

    def take_decisions(self) -> list[LoggedDecision]:
        """Return the changes of EVSEs' limits since the last call, in words for people."""
        decisions, self._decisions = self._decisions, []
        return decisions

    def take_notices(self) -> list[SiteNotice]:
        """Return the faults that began and ended since the last call, in words for people."""
        notices, self._notices = self._notices, []
        return notices

    def delivery_records(self, refs: Iterable[EvseRef], now: float) -> dict[EvseRef, DeliveryMemory]:
        """Return what must survive a restart of these EVSEs."""
        return {ref: self._by_ref[ref].record(now) for ref in refs}

    def silent_evses(self, now: float) -> list[EvseRef]:
        """Return the EVSEs with a car that charges, of which no recent report shows how much it draws."""
        return [
            each.evse.ref
            for each in self._controllers
            if each.delivery.connected and each.model.is_charging and each.model.draw.unknown(now)
        ]

    def unsaved_evses(self) -> set[EvseRef]:
        """Return the EVSEs with something new to record beside their limits: a goal, a learned value."""
        return {each.evse.ref for each in self._controllers if each.has_unsaved_state}

    def restore(self, records: Mapping[EvseRef, DeliveryMemory]) -> None:
        """Take over what was recorded before a restart; EVSEs that the site no longer has are ignored."""
        for ref, record in records.items():
            if ref in self._by_ref:
                self._by_ref[ref].restore(record)
                self._by_ref[ref].wake()

    def snapshot(self, now: float) -> SiteView:
        """Return the state of the site for people."""
        base = self._metering.base(now)
        supplied = self._supplies(self._site, base.believed, now)
        room = supplied.copy()
        for controller in self._controllers:
            if controller.may_draw(now):
                controller.book(room, now)
        left = room.rooms()
        for controller in self._controllers:
            if not controller.may_draw(now):
                controller.book(room, now)
        spare = room.rooms()
        return SiteView(
            circuits=tuple(
                self._circuit_view(circuit, base, left[circuit.id], spare[circuit.id], now)
                for circuit in self._site.circuits
            ),
            evses=tuple(controller.view(now) for controller in self._controllers),
            energy=self.energy.view(now),
        )

    def _circuit_view(
        self, circuit: CircuitNode, base: SiteBase, left: PhaseAmps, spare: PhaseAmps, now: float
    ) -> CircuitView:
        """Return the state of one circuit.

        `left`: what cars that may draw leave of its supply; `spare`: what newcomers' fallbacks leave of that.
        """
        reserved = _less(left, (max(0.0, spare[0]), max(0.0, spare[1]), max(0.0, spare[2])))
        metered = self._metering.metered(circuit.id)
        problem = self._metering.meter_problem(circuit, now)
        return CircuitView(
            id=circuit.id,
            limit_a=circuit.limit_a,
            measured_a=self._metering.measured(circuit),
            base_a=base.believed[circuit.id],
            booked_a=_less(self._supply(circuit, base.believed[circuit.id]), left),
            reserve_a=(max(0.0, reserved[0]), max(0.0, reserved[1]), max(0.0, reserved[2])),
            meter_quality=self._metering.quality(circuit, now),
            meter_problem=problem.text,
            meter_cause=problem.cause,
            over_limit_s=0.0 if metered is None else metered.over_limit_s(now),
            overloads=0 if metered is None else metered.overloads,
            margin_a=self._metering.margin_a(circuit),
            jump_a=0.0 if metered is None else metered.load.jump_a,
        )

    # Events

    def _on_event(self, event: SiteEvent, now: float) -> bool:
        """Update the model; return True if the current has to be shared anew."""
        self._wake_concerned(event)
        match event:
            case StationUp(station=station):
                for controller in self._of_station.get(station, ()):
                    controller.delivery.on_connected(now)
                    self._update_credit(controller, now)
                return True
            case StationDown(station=station):
                for controller in self._of_station.get(station, ()):
                    controller.on_station_down(now)
                    self._update_credit(controller, now)
                return True
            case QuirkSelected(station=station, quirk=quirk):
                for controller in self._of_station.get(station, ()):
                    controller.apply_quirk(quirk, now)
                return True
            case StationObserved(station=station, observation=observation):
                return self._on_observation(station, observation, now)
            case LimitAnswered():
                return self._on_limit_answered(event, now)
            case GroupLimit(limit_a=limit_a):
                self._group_a = limit_a
                return True
            case EvseOverridden(ref=ref):
                if ref in self._by_ref:
                    self._by_ref[ref].override = event
                return ref in self._by_ref
            case ControlTick() | SiteDimmed():
                return True
            case MeterUpdated():
                return False  # taken in by the fast loop before

    def _wake_concerned(self, event: SiteEvent) -> None:
        """Have the next pass update the EVSEs that an event concerns."""
        match event:
            case StationUp() | StationDown() | QuirkSelected() | StationObserved():
                for each in self._of_station.get(event.station, ()):
                    each.wake()
            case LimitAnswered(token=token) if self._controllers:
                self._controllers[token % len(self._controllers)].wake()
            case EvseOverridden(ref=ref):
                if ref in self._by_ref:
                    self._by_ref[ref].wake()
            case _:
                pass

    def _on_observation(self, station: str, observation: Observation, now: float) -> bool:
        if isinstance(observation, Booted | ProfilesTouched):
            for each in self._of_station.get(station, ()):
                if isinstance(observation, Booted):
                    each.delivery.on_boot(now)
                else:
                    each.delivery.on_profiles_touched(now)
            return True
        controller = self._by_ref.get(EvseRef(station, observation.evse))
        if controller is None:
            return self._on_unknown_evse(station, observation, now)
        if isinstance(observation, BackendLimit):
            controller.backend_a = observation.limit_a
            return True
        if isinstance(observation, TransactionSeen):
            self._plan_departure(controller, observation.running, now)
        changed, step = controller.on_observation(observation, now)
        self._notice_impossible(controller)
        self._update_credit(controller, now)
        if step is not None:
            self._metering.add_step(controller.evse, step)
        return changed

    def _plan_departure(self, controller: EvseController, running: bool, now: float) -> None:
        """Give a session that begins the planned departure goal, unless it has one from before a restart."""
        needs = self.energy.on_transaction(controller.evse.ref, running, now)
        if needs is not None and controller.model.goal.record() is None:
            controller.on_observation(needs, now)

    def _on_unknown_evse(
        self,
        station: str,
        observation: StateSeen | TransactionSeen | DrawSeen | NeedsSeen | BackendLimit,
        now: float,
    ) -> bool:
        """Count an EVSE that the configuration does not name; return True if its room changes."""
        siblings = self._of_station.get(station)
        if not siblings or isinstance(observation, BackendLimit) or observation.evse <= 0:
            return False
        ref = EvseRef(station, observation.evse)
        if ref not in self._unknown:
            self._unknown[ref] = UnknownEvse(observation.evse, siblings, now)
        unknown = self._unknown[ref]
        before = unknown.may_draw(now)
        unknown.on_observation(observation, now)
        self._metering.totals.set(unknown.evse, unknown.credit(now))
        max_a = unknown.evse.max_a
        self._notice(
            f"unknown {ref}",
            f"EVSE not configured evse={ref}: counted at {max_a:g} A and not limited; add [[station.evse]] "
            f"with id = {ref.evse} to station {station}"
            if unknown.may_draw(now)
            else "",
            f"EVSE not configured has no car any more evse={ref}",
        )
        return before is not unknown.may_draw(now)

    def _notice_impossible(self, controller: EvseController) -> None:
        """Warn once of a report that the EVSE's wiring does not allow."""
        report = controller.impossible
        shown = "" if report is None else "/".join("-" if a is None else f"{a:.3g}" for a in report.current_a)
        text = (
            f"report rejected evse={controller.evse.ref} current={shown}A max={controller.evse.max_a:g}A: no "
            "such current can flow there; check the unit in the station's meter values"
        )
        self._notice(f"report {controller.evse.ref}", text if shown else "", "reports plausible again")

    def _on_limit_answered(self, answer: LimitAnswered, now: float) -> bool:
        """Take in an answer; a refusal changes what can be shared at once, a cut frees its room later."""
        if not self._controllers:
            return False
        controller = self._controllers[answer.token % len(self._controllers)]
        known = controller.on_limit_answered(answer, now)
        return known and not answer.accepted

    def _on_meter(self, event: MeterUpdated, circuit: CircuitNode, now: float) -> bool:
        """Take in one state of a meter; return True if its circuit has to be cut now."""
        before = self._trust(circuit, now)
        self._update_due_credits(now)
        overloaded = self._metering.see(event.state, now, self._slowest_s.get(circuit.id, 0.0))
        if circuit.id in self.energy.peaks.circuits:
            self._measure_peak(circuit, now)
        self._due |= before != self._trust(circuit, now) or self._metering.crossed(circuit)
        self._due |= self._is_unbalanced(circuit)
        self._notice_circuit(circuit, now)
        return overloaded

    def _measure_peak(self, circuit: CircuitNode, now: float) -> None:
        """Report a good reading to the quarter-hour peak of the circuit, with the building's part of it."""
        metered = self._metering.metered(circuit.id)
        power_w = None if metered is None else self._metering.active_w(metered)
        if metered is None or metered.reading is None or power_w is None or self._trust(circuit, now)[0]:
            return
        if metered.is_bridged(now):
            return
        own_w = sum(self._metering.totals.below(circuit.id).low) * self._settings.voltage_v
        self.energy.on_reading(circuit.id, power_w, power_w - own_w, metered.reading.energy_import_wh, now)

    def _is_unbalanced(self, circuit: CircuitNode) -> bool:
        allowed_a = circuit.unbalance_a
        return allowed_a is not None and self._metering.unbalanced_a(circuit) > allowed_a + UNBALANCE_NOISE_A

    def _trust(self, circuit: CircuitNode, now: float) -> tuple[str, bool]:
        return self._metering.trouble(circuit, now), self._metering.doubted(circuit)

    def _update_credit(self, controller: EvseController, now: float) -> None:
        """Bring an EVSE's part of the draw totals up to date, and note when it changes by itself."""
        self._metering.totals.set(controller.evse, controller.credit(now))
        changes_at = controller.model.draw.credit_changes_at(now)
        if changes_at < math.inf and changes_at != controller.credit_due_at:
            controller.credit_due_at = changes_at
            heappush(self._credits_due, (changes_at, self._index_of[controller.evse.ref]))

    def _update_due_credits(self, now: float) -> None:
        """Bring the draw totals up to date for EVSEs whose draw is known less or better by now."""
        while self._credits_due and self._credits_due[0][0] <= now:
            self._update_credit(self._controllers[heappop(self._credits_due)[1]], now)

    def _note_reaction(self, controller: EvseController) -> None:
        """Note for the metered circuits above an EVSE how long the slowest one below them takes to obey."""
        ref, reaction_s = controller.evse.ref, controller.delivery.reaction_s
        before = self._reactions.get(ref)
        if reaction_s == before:
            return
        self._reactions[ref] = reaction_s
        for circuit in self._site.path(controller.evse.circuit):
            if self._metering.metered(circuit.id) is None:
                continue
            if before is None or reaction_s > before:
                self._slowest_s[circuit.id] = max(self._slowest_s.get(circuit.id, 0.0), reaction_s)
            else:
                below = self._site.below[circuit.id]
                self._slowest_s[circuit.id] = max(self._reactions.get(evse.ref, 0.0) for evse in below)

    # Notices

    def _notice_circuit(self, circuit: CircuitNode, now: float) -> None:
        """Warn when a meter becomes suspected and when a circuit stays above its limit, and of the end."""
        metered = self._metering.metered(circuit.id)
        if metered is None:
            return
        suspicion = metered.suspicion(now)
        text = f"meter suspected meter={circuit.meter} circuit={circuit.id}: {suspicion}"
        self._notice(
            f"meter {circuit.id}", text if suspicion else "", f"meter trusted again meter={circuit.meter}"
        )
        over = ""
        if metered.over_limit and metered.measured is not None:
            shown = "/".join(f"{amps:.0f}" for amps in metered.measured)
            limit = "/".join(f"{amps:g}" for amps in dict.fromkeys(circuit.limit_a))
            over = (
                f"circuit above its limit circuit={circuit.id} current={shown}A limit={limit}A: reduce the "
                "load of the building or raise margin_a"
            )
        ended = (
            f"circuit within its limit again circuit={circuit.id} after={metered.last_overload_s:.0f}s "
            f"highest={metered.last_overload_a:.0f}A"
        )
        self._notice(f"over {circuit.id}", over, ended, end_is_warning=True)

    def _notice(self, key: str, text: str, end: str, *, end_is_warning: bool = False) -> None:
        """Add a notice when a fault begins, and one when it ends; nothing while it lasts."""
        if text and key not in self._noticed:
            self._noticed[key] = text
            self._notices.append(SiteNotice(text=text, warning=True))
        elif not text and self._noticed.pop(key, ""):
            self._notices.append(SiteNotice(text=end, warning=end_is_warning))

    # Passes

    def _plan_safely(
        self, now: float, *, urgent: bool = False, within: CircuitNode | None = None
    ) -> list[SetLimit]:
        """Make one pass; after a fault in it all stations go to their fallback, and the next pass follows.

        Any exception counts, a programming error as well: without a next pass the leases of a whole site end,
        and a circuit above its limit is no longer cut.
        """
        try:
            commands = self._plan(now, urgent=urgent, within=within)
        except Exception as error:  # noqa: BLE001
            self._notice("pass", f"control pass failed, all stations to fallback error={error!r:.80}", "")
            self._due, self._planned_at = True, now
            return self._all_to_fallback(now)
        self._notice("pass", "", "control pass works again")
        return commands

    def _all_to_fallback(self, now: float) -> list[SetLimit]:
        commands: list[SetLimit] = []
        for controller in self._controllers:
            target_a = min(controller.evse.fallback_a, controller.delivery.offered_a(now))
            try:
                controller.wake()
                commands += controller.delivery.commands(target_a, 0.0, now, urgent=True)
                controller.model.draw.offer(controller.delivery.offered_a(now), now)
            except Exception as error:  # noqa: BLE001 - its own state may have failed; the others are cut
                self._notice(
                    f"pass {controller.evse.ref}",
                    f"fallback failed evse={controller.evse.ref} {error!r:.80}",
                    "",
                )
        return commands

    def _plan(self, now: float, *, urgent: bool = False, within: CircuitNode | None = None) -> list[SetLimit]:
        """Share the current anew and send what brings every station there.

        `within`: a circuit that is to be cut; only the stations below it are, as nothing else is in danger.
        The next pass, which is due at once, shares what that leaves to the others.
        """
        part = self._whole if within is None or within.parent is None else self._part_below(within)
        self._due = part is not self._whole
        self._planned_at = now
        self._update_due_credits(now)
        base = self._metering.base(now)
        self._apply_energy_plan(base, now)
        supply = self._supplies(part.site, base.believed, now)
        touched = [each for each in part.controllers if each.quiet_until <= now]
        self._refresh(touched, now)
        ledger = supply.copy()
        allocations = self._allocations(part, touched, supply, base, now)
        ledger.book_all(self._bookings)
        cuts = self._cuts(allocations, ledger)
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
            self._note_offer(controller, before, now)
            if decision := controller.take_decision(now):
                self._decisions.append(decision)
            controller.settle(allocation, now)
            self._bookings.set(controller.evse, controller.booking(now))
        return commands

    def _refresh(self, controllers: Sequence[EvseController], now: float) -> None:
        """Update what depends on time and on events of these EVSEs, and what is booked for them."""
        for controller in controllers:
            controller.refresh(self._settings.voltage_v, now)
            self._update_credit(controller, now)
            controller.delivery.hold_s = self._dimming.hold_s(controller.evse, now)
            self._bookings.set(controller.evse, controller.booking(now))
            self._note_reaction(controller)

    def _apply_energy_plan(self, base: SiteBase, now: float) -> None:
        """Find what the plan over hours asks for now, and give each EVSE its part."""
        uses = {
            ref: self._by_ref[ref].use(self._settings.voltage_v, now) for ref in self.energy.evses.tracked
        }
        plans = self.energy.update(self._peak_bases(base, now), uses, now)
        for ref in self._planned | plans.keys():
            self._by_ref[ref].set_plan(plans.get(ref, NO_PLAN))
        self._planned = set(plans)

    def _peak_bases(self, base: SiteBase, now: float) -> dict[str, CircuitBase]:
        """Return the base load of each circuit whose quarter-hour peak is limited.

        While its meter is not good, what may flow is the worst base load and the highest limits of the EVSEs.
        """
        found: dict[str, CircuitBase] = {}
        for circuit_id in self.energy.peaks.circuits:
            circuit = self._site.circuit_by_id[circuit_id]
            metered = self._metering.metered(circuit_id)
            is_trusted = not self._trust(circuit, now)[0] and not (metered and metered.is_bridged(now))
            base_w = self._metering.power_w(circuit, base.believed[circuit_id])
            worst_w = self._metering.power_w(circuit, circuit.limit_a)
            if not is_trusted:
                held_a = sum(
                    self._by_ref[evse.ref].delivery.held_a(now) * len(evse.phases)
                    for evse in self._site.below[circuit_id]
                )
                worst_w = min(worst_w, base_w + held_a * self._metering.highest_v(circuit))
            found[circuit_id] = CircuitBase(base_w=base_w, worst_w=worst_w, is_trusted=is_trusted)
        return found

    def _note_offer(self, controller: EvseController, before: float, now: float) -> None:
        """Notify the meters' checks that the draw of an EVSE may change now."""
        change = controller.delivery.offered_a(now) - before
        if abs(change) <= NOISE_A:
            return
        self._update_credit(controller, now)
        if abs(change) < SEEN_CHANGE_A or not controller.may_draw(now):
            return
        drawn = controller.model.draw.drawn
        offered = controller.delivery.offered_a(now)
        delta = [0.0, 0.0, 0.0]
        for phase in controller.evse.phases:
            delta[phase] = (
                min(0.0, offered - drawn[phase]) if change < 0 else max(0.0, offered - drawn[phase])
            )
        self._metering.add_change(controller.evse, (delta[0], delta[1], delta[2]), now)

    def _cuts(self, allocations: Mapping[EvseRef, Allocation], ledger: Headroom) -> dict[EvseRef, float]:
        """Return the limits (A per phase) of EVSEs that are cut now because their room is needed.

        Where a circuit is short of room or an EVSE cannot start, few are cut, and below their share, rather
        than many by a little, to spare writes: those first that obey fastest, then those whose lease would be
        renewed soonest. Where an EVSE cannot rise by `ASKED_A`, those that are far above their share come
        down to it. Renewals level the shares again.
        """
        off_share = [
            (controller, allocation, offered_a)
            for ref, allocation in allocations.items()
            if abs((offered_a := (controller := self._by_ref[ref]).offered_a) - allocation.limit_a) > NOISE_A
        ]
        short = self._shortage(ledger)
        asked = self._asked_room(off_share, ledger, short)
        cuts: dict[EvseRef, float] = {}
        if not short and not asked:
            return cuts
        above = [
            controller for controller, allocation, offered_a in off_share if offered_a > allocation.limit_a
        ]
        above.sort(
            key=lambda each: (
                allocations[each.evse.ref].limit_a > 0,  # stops are decided: others get what they free
                each.delivery.reaction_s,
                each.delivery.written_at,
                each.evse.ref,
            )
        )
        for controller in above:
            ref, min_a, places = controller.evse.ref, controller.evse.min_a, self._places(controller)
            offered_a, share_a = controller.offered_a, allocations[ref].limit_a
            missing_a = max((short[place] for place in places if place in short), default=0.0)
            asked_a = max((asked[place] for place in places if place in asked), default=0.0)
            if missing_a <= 0 and (asked_a <= 0 or offered_a - share_a < EXCESS_A):
                continue
            cuts[ref] = share_a
            if missing_a > 0 and share_a > min_a:
                deepest_a = max(min_a, share_a - max(DEEP_A, DEEP * share_a))
                cuts[ref] = max(deepest_a, offered_a - max(missing_a, CHUNK_A))
            for needed in (short, asked):
                for place in places:
                    if place in needed:
                        needed[place] -= offered_a - cuts[ref]
        return cuts

    def _shortage(self, ledger: Headroom) -> dict[tuple[str, int], float]:
        """Return the room (A) that is missing on phases of circuits, beyond what the margin carries."""
        found: dict[tuple[str, int], float] = {}
        for circuit_id, room in ledger.rooms().items():
            carried_a = self._metering.carried_a(self._site.circuit_by_id[circuit_id])
            for phase in range(3):
                if room[phase] < -carried_a:
                    found[circuit_id, phase] = -room[phase]
        return found

    def _asked_room(
        self,
        off_share: Sequence[tuple[EvseController, Allocation, float]],
        ledger: Headroom,
        short: dict[tuple[str, int], float],
    ) -> dict[tuple[str, int], float]:
        """Return the room (A) that rises of `ASKED_A` or more lack, on each phase of a circuit.

        `off_share`: EVSEs, their allocations and their offers (A) where these differ. What an EVSE lacks to
        start is added to `short` instead: it has nothing until it has its minimum.
        """
        found: dict[tuple[str, int], float] = {}
        for controller, allocation, offered_a in off_share:
            min_a = controller.evse.min_a
            starts = offered_a < min_a <= allocation.limit_a
            rise_a = min_a - offered_a if starts else allocation.limit_a - offered_a
            if not starts and rise_a < ASKED_A:
                continue
            lacking_a = rise_a - max(0.0, ledger.room(controller.evse, controller.model.phases))
            if lacking_a > NOISE_A:
                needed = short if starts else found
                for place in self._places(controller):
                    needed[place] = needed.get(place, 0.0) + lacking_a
        return found

    def _places(self, controller: EvseController) -> list[tuple[str, int]]:
        """Return the phases of circuits that an EVSE loads."""
        return [
            (circuit.id, phase)
            for circuit in self._site.path(controller.evse.circuit)
            for phase in range(3)
            if controller.model.phases[phase]
        ]

    def _part_below(self, circuit: CircuitNode) -> _SitePart:
        """Return a circuit, with all that it feeds, as a site of its own."""
        found = self._parts.get(circuit.id)
        if found is None:
            below = {
                each.id
                for each in self._site.circuits
                if circuit.id in {up.id for up in self._site.path(each.id)}
            }
            circuits = [each for each in self._site.circuits if each.id in below]
            root = msgspec.structs.replace(circuit, parent=None)
            site = SiteTree(circuits=(root, *circuits[1:]), evses=self._site.below[circuit.id])
            controllers = [self._by_ref[evse.ref] for evse in site.evses]
            found = self._parts[circuit.id] = _SitePart(site, controllers)
        return found

    def _allocations(
        self,
        part: _SitePart,
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
        troubles = self._metering.troubles_above(now)
        reserved: list[EvseController] = []
        shared: list[EvseController] = []
        sleeping: list[EvseController] = []
        idle: list[EvseController] = []
        allocations: dict[EvseRef, Allocation] = {}
        demands = []
        unbalance_a, caps = self._site.unbalance_a, self._dimming.has_caps
        for each in part.controllers:
            if each.problem:
                reserved.append(each)
                continue
            shared.append(each)
            ref, circuit = each.evse.ref, each.evse.circuit
            if each.is_paused:
                allocations[ref] = _zero(each, each.limit_by_order[1])
            elif not each.wants:
                if why := self._dimming.idle(each.evse):
                    allocations[ref] = _zero(each, why)
                elif each.has_fallback:
                    idle.append(each)
            elif each.is_asleep:
                sleeping.append(each)
            elif rotation.is_resting(ref, now) and not each.delivery.never_pauses:
                allocations[ref] = _zero(each, self._dimming.explain(each.evse, RESTING))
            else:
                demands.append(
                    each.demand_for(
                        troubles[circuit],
                        now,
                        unbalance_a=unbalance_a.get(circuit),
                        dimmed=self._dimming.cap(each.evse, each.phases_to_come) if caps else None,
                        is_served=rotation.is_served(ref),
                    )
                )
        demands = self.energy.evses.with_guarantees(demands)
        for each in reserved:
            each.book(room, now)
        steered = room.steered() is not None
        for each in shared:
            if steered or each.model.draw.has_excess:
                each.book_overdraw(room, now, steered=steered)
        self._book_reserves(shared, room, now)
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
            left.book(self._by_ref[ref].evse, self._by_ref[ref].model.phases, allocation.limit_a)
        return left

    def _ranks(self, refs: Sequence[EvseRef], now: float) -> Mapping[EvseRef, float]:
        """Return the places of these EVSEs in the order of service."""
        first = {ref for ref in refs if self._by_ref[ref].cannot_wait}
        return self._rotation.ranks(refs, now, first)

    def _book_reserves(self, controllers: Sequence[EvseController], room: Headroom, now: float) -> None:
        """Book room for the next sessions of DC EVSEs: cars that charge are not stopped for it."""
        self._reserved_a.clear()
        for each in controllers:
            if not each.evse.reserve_a or each.model.wants(now):
                continue
            room.book(each.evse, each.all_phases, each.evse.reserve_a)
            for circuit in self._site.path(each.evse.circuit):
                self._reserved_a[circuit.id] += each.evse.reserve_a

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
            dimmed = self._dimming.cap(evse, each.phases_to_come)
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
        sunny = {d.ref: d for d in demands if self._by_ref[d.ref].waits_for_surplus}
        fair = [demand for demand in demands if demand.ref not in sunny] if sunny else demands
        given = self._share(site, fair, room, base, now)
        switching = [
            each
            for each in controllers
            if (each.model.switch.able or each.model.switch.single) and each.evse.ref not in sunny
        ]
        if switching:
            rooms, joint = room.rooms(), self._joint(site, base, room)
            admission = self._admission(site, room, base)
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
            joint, admission = self._joint(site, base, room), self._admission(site, room, base)
            given = self._allocator(site).share(
                demands, room.rooms(), joint, admission, lambda refs: self._ranks(refs, now)
            )
            stuck = [
                controller
                for ref, allocation in given.items()
                if allocation.limit_a == 0 and (controller := self._by_ref[ref]).delivery.never_pauses
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

    def _admission(self, site: SiteTree, room: Headroom, base: SiteBase) -> AdmissionRooms:
        """Return the room for minima: of cars that charge it reaches to the limit itself.

        Another car starts where its minimum fits into the plan now, and into the limit with the highest base
        load of the last minutes: if that comes again, the margin carries it.
        """
        rooms = room.rooms()
        keep: dict[str, PhaseAmps] = {}
        start: dict[str, PhaseAmps] = {}
        for circuit in site.circuits:
            margin_a = self._metering.margin_a(circuit)
            kept_a = margin_a + self._reserved_a[circuit.id]
            left, believed = rooms[circuit.id], base.believed[circuit.id]
            kept, begun = base.keep[circuit.id], base.start[circuit.id]
            keep[circuit.id] = (
                left[0] + believed[0] - kept[0] + kept_a,
                left[1] + believed[1] - kept[1] + kept_a,
                left[2] + believed[2] - kept[2] + kept_a,
            )
            start[circuit.id] = (
                min(left[0], left[0] + believed[0] - begun[0] + margin_a),
                min(left[1], left[1] + believed[1] - begun[1] + margin_a),
                min(left[2], left[2] + believed[2] - begun[2] + margin_a),
            )
        peaks = self.energy.peaks
        unlasting = {
            c.id: peaks.unlasting_a(c.id, self._metering.highest_v(c))
            for c in site.circuits
            if peaks.has_budget(c.id)
        }
        return AdmissionRooms(keep, start, unlasting)

    def _explained(self, given: dict[EvseRef, Allocation]) -> dict[EvseRef, Allocation]:
        """Name the backend's limit or the calendar's where it is what makes a circuit full."""
        whys = {c.id: why for c in self._site.circuits if (why := self.energy.calendar.reduction(c))}
        root = self._site.circuits[0]
        if self._group_a is not None and self._group_a < max(self.energy.calendar.limit_a(root)):
            whys[root.id] = f"the backend limits the site to {self._group_a:g} A"
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
        surplus_a = self.energy.surplus_a(self._metering.surplus_a(now), now)
        for ref, allocation in given.items():
            controller = self._by_ref[ref]
            room.book(controller.evse, controller.model.phases, allocation.limit_a)
            surplus_a -= allocation.limit_a * sum(controller.model.phases)
        rooms, joint = room.rooms(), self._joint(site, base, room)
        controllers = [self._by_ref[demand.ref] for demand in demands]
        consider_alone(
            controllers, demands, lambda asking: sunlit(site, asking, rooms, joint, surplus_a), now
        )
        held = {each.evse.ref for each in controllers if each.model.switch.narrows}
        return self._surplus.share(site, demands, rooms, joint, surplus_a, now, held)

    def _others_draw(self, now: float) -> float:
        """Return what EVSEs that the grid operator cannot dim draw of the own generation (A, all phases)."""
        if not self._dimming.bounds_all:
            return 0.0
        return sum(sum(each.credit(now).low) for each in self._controllers if not each.evse.steerable)

    def _supplies(self, site: SiteTree, base: BaseByCircuit, now: float) -> Headroom:
        """Return what each circuit supplies to the EVSEs that the configuration names."""
        supply = {c.id: self._supply(c, base[c.id]) for c in site.circuits}
        own_a = max(0.0, self._metering.surplus_a(now) - self._others_draw(now))
        found = Headroom(site, supply, self._sums(site, base), self._dimming.steered(own_a))
        for unknown in self._unknown.values():
            if unknown.evse.circuit in site.circuit_by_id:
                unknown.book(found, now)
        return found

    def _sums(self, site: SiteTree, base: BaseByCircuit) -> dict[str, float]:
        """Return the supply of all phases together (A), where power or the quarter's energy is limited."""
        found: dict[str, float] = {}
        for circuit in site.circuits:
            limit_w = self.energy.calendar.limit_w(circuit)
            if limit_w is None and not self.energy.peaks.has_budget(circuit.id):
                continue
            volts = self._metering.highest_v(circuit)
            room_a = None
            if limit_w is not None:
                room_a = limit_w / volts - sum(base[circuit.id]) - 3 * self._metering.margin_a(circuit)
            if (bound_a := self.energy.peaks.bound_sum(circuit.id, room_a, volts)) is not None:
                found[circuit.id] = bound_a
        return found

    def _joint(self, site: SiteTree, base: SiteBase, room: Headroom) -> dict[str, JointConstraint]:
        """Return what bounds phases together, where something does."""
        sums = room.sums()
        steered = {site.circuits[0].id: room.steered()}
        return {
            c.id: JointConstraint(
                sum_a=sums.get(c.id),
                sum_name=self.energy.peaks.sum_name(c.id),
                unbalance_a=c.unbalance_a,
                base_a=base.believed[c.id],
                low_a=base.low[c.id],
                steered=steered.get(c.id),
            )
            for c in site.circuits
            if c.id in sums or c.unbalance_a is not None or steered.get(c.id) is not None
        }

    def _supply(self, circuit: CircuitNode, base_a: PhaseAmps) -> PhaseAmps:
        margin_a = self._metering.margin_a(circuit)
        limit_a = self.energy.calendar.limit_a(circuit)
        is_root = circuit.id == self._site.circuits[0].id
        if self._group_a is not None and is_root:
            limit_a = (
                min(limit_a[0], self._group_a),
                min(limit_a[1], self._group_a),
                min(limit_a[2], self._group_a),
            )
        if is_root:
            limit_a = _less(limit_a, self.energy.hidden_a)
        return _less(limit_a, (base_a[0] + margin_a, base_a[1] + margin_a, base_a[2] + margin_a))


def _zero(controller: EvseController, reason: str) -> Allocation:
    """Return an allocation of 0 A; that of the last pass if it is the same."""
    found = Allocation(controller.evse.ref, 0.0, reason)
    return controller.allocation if controller.allocation == found else found


def _less(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])


def _shape(site: SiteTree) -> list[object]:
    """Return what of a site cannot change while it runs: circuits, meters, wiring and ratings."""
    circuits = [
        (each.id, each.parent, each.meter, each.fuse, each.measures_building) for each in site.circuits
    ]
    evses = [msgspec.structs.replace(each, priority=0, surplus=False) for each in site.evses]
    return [circuits, evses]
