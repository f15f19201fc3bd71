"""A `SiteControl` in virtual time between models of stations, cars, a meter and a building.

    site = SiteHarness((make_grid(63),), [make_station("CS01", car=CarModel(16))])
    site.connect()
    site.wait(60)
    assert site.longest_over("grid", 63) == 0

The core driver of load management. One step is one second: currents flow, then the meter and the stations
report, then the control gets its tick. Currents and limits are recorded outside of the control.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from itertools import pairwise

from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    LoggedDecision,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    SiteNotice,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, PhaseAmps, SiteTree
from controller.load_management.site_view import CircuitView, EvseView
from controller.model.observations import (
    DrawSeen,
    EvseRef,
    EvseState,
    Observation,
    StateSeen,
    TransactionSeen,
)
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState, Quality, Reading

GRID_METER = "grid"
TICK_S = 5
UNLIMITED_A = 999.0
Building = Callable[[float], PhaseAmps]


@dataclass
class CarModel:
    """Draws up to `max_a` on the station phases `phases`; nothing below 6 A."""

    max_a: float = 32.0
    phases: tuple[int, ...] = (0, 1, 2)

    def draw_a(self, limit_a: float) -> float:
        return min(limit_a, self.max_a) if limit_a >= 6.0 else 0.0


@dataclass
class StationModel:
    """One EVSE: fallback, lease, a car that follows after `reaction_s`, and a report every `report_s`."""

    evse: EvseNode
    car: CarModel | None = None
    answer_s: float = 1.0
    reaction_s: int = 3
    report_s: int = 10
    obeys: bool = True
    refuses: bool = False
    silent: bool = False
    switches: bool = True
    up: bool = False
    fallback_a: float | None = None
    lease: tuple[float, float] | None = None
    state: EvseState = EvseState.AVAILABLE
    leases: list[tuple[float, float]] = field(default_factory=list)
    energy_as: float = 0.0
    one_phase: list[tuple[float, bool]] = field(default_factory=list)
    _limits: deque[tuple[float, bool]] = field(default_factory=deque)

    @property
    def ref(self) -> EvseRef:
        return self.evse.ref

    def limit_a(self, now: float) -> float:
        if self.lease is not None and now < self.lease[1]:
            return self.lease[0]
        return UNLIMITED_A if self.fallback_a is None else self.fallback_a

    def accept(self, command: SetLimit, now: float) -> bool:
        if self.refuses:
            return False
        if command.kind is LimitKind.FALLBACK:
            self.fallback_a = command.limit_a
        else:
            assert command.duration_s is not None
            self.lease = (command.limit_a, now + command.duration_s)
            self.leases.append((now, command.limit_a))
            self.one_phase.append((now, command.number_phases == 1))
        return True

    def step(self, now: float) -> None:
        """Let one second pass; the car follows the limit of `reaction_s` ago."""
        leased = self.lease is not None and now < self.lease[1]
        one_phase_now = leased and bool(self.one_phase) and self.one_phase[-1][1]
        self._limits.append((self.limit_a(now), one_phase_now and self.switches))
        if len(self._limits) > self.reaction_s + 1:
            self._limits.popleft()
        self.energy_as += self.draw_a

    @property
    def draw_a(self) -> float:
        if self.car is None:
            return 0.0
        limit_a = self._limits[0][0] if self.obeys and self._limits else UNLIMITED_A
        return min(self.car.draw_a(limit_a), self.evse.max_a)

    def drawn(self) -> tuple[float, float, float]:
        amps = [0.0, 0.0, 0.0]
        used = self.car.phases if self.car else ()
        for phase in used[:1] if self._limits and self._limits[0][1] else used:
            amps[phase] = self.draw_a
        return (amps[0], amps[1], amps[2])

    def read_meter(self, _now: float) -> list[Observation]:
        """Return what the meter values of this second show."""
        return [DrawSeen(1, self.drawn())]

    def next_state(self) -> EvseState:
        if self.car is None:
            return EvseState.AVAILABLE
        if self.draw_a > 0:
            return EvseState.CHARGING
        return EvseState.PREPARING if self.state is EvseState.AVAILABLE else EvseState.SUSPENDED_EVSE


class SiteHarness:
    """A control with its stations. `flowed`: A per phase at the grid connection in each second."""

    def __init__(
        self,
        circuits: tuple[CircuitNode, ...],
        stations: list[StationModel],
        building: Building = lambda now: (0.0, 0.0, 0.0),
        settings: SiteSettings | None = None,
        utc: float | None = None,
    ) -> None:
        self.site = SiteTree(circuits=circuits, evses=tuple(station.evse for station in stations))
        self.stations = {station.ref: station for station in stations}
        self.building = building
        self.now = 0.0
        self.utc = utc
        self._settings = settings or SiteSettings()
        self.control = SiteControl(self.site, self._settings, 0.0)
        if utc is not None:
            self.control.energy.set_clock(utc, 0.0)
        self.is_controlled = True
        self.is_reporting = True
        self.meter: Callable[[Reading], MeterState] = good_state
        self.meter_delay_s = 0
        self.voltage_v: float | None = None
        self.commands: list[tuple[float, SetLimit]] = []
        self.stored: dict[EvseRef, DeliveryMemory] = {}
        self.flowed: list[PhaseAmps] = []
        self.row_flowed: dict[str, list[PhaseAmps]] = {circuit.id: [] for circuit in circuits}
        self.decisions: list[LoggedDecision] = []
        self.notices: list[SiteNotice] = []
        self._answers: deque[tuple[float, SetLimit]] = deque()

    def station(self, name: str) -> StationModel:
        return self.stations[EvseRef(name, 1)]

    def connect(self, *names: str) -> None:
        for name in names or [ref.station for ref in self.stations]:
            self.station(name).up = True
            self.handle(StationUp(name))
            self.report(name, StateSeen(1, self.station(name).state))
            if self.station(name).car is not None:
                self.report(name, TransactionSeen(1, True))

    def disconnect(self, name: str) -> None:
        self.station(name).up = False
        self.handle(StationDown(name))

    def plug_in(self, name: str, car: CarModel | None) -> None:
        self.station(name).car = car
        self.report(name, TransactionSeen(1, car is not None))

    def report(self, name: str, observation: Observation) -> None:
        if self.station(name).up and not self.station(name).silent:
            self.handle(StationObserved(name, observation))

    def restart(self) -> None:
        """Continue with a new control, the stored limits and loads; all stations have to connect again."""
        for each in self.stations.values():
            each.up = False
        self._answers.clear()
        loads, energies = self.control.metering.take_records(), self.control.energy.take_records()
        self.control = SiteControl(self.site, self._settings, self.now)
        self.control.restore(self.stored, self.now)
        if self.utc is not None:
            self.control.energy.set_clock(self.utc + self.now, self.now)
        self.control.metering.restore(loads)
        self.control.energy.restore(energies)
        self.is_controlled = True

    def handle(self, event: SiteEvent) -> None:
        if not self.is_controlled:
            return
        self._send(self.control.handle(event, self.now))
        self._finish_pass()

    def _finish_pass(self) -> None:
        """Tick until the pass that runs has ended, as the service does between the events of others."""
        while self.control.due_at == -math.inf:
            self._send(self.control.handle(ControlTick(None), self.now))

    def replace_site(
        self, site: SiteTree, settings: SiteSettings, other_meters: Collection[str] = ()
    ) -> None:
        """Reload another tree, wired as it is from now on; see `SiteControl.replace_site`."""
        self.site, self._settings = site, settings
        for circuit in site.circuits:
            self.row_flowed.setdefault(circuit.id, [])
        for evse in site.evses:
            self.stations[evse.ref].evse = evse
        self._send(self.control.replace_site(site, settings, self.now, other_meters))
        self._finish_pass()

    def add_station(self, station: StationModel) -> None:
        """Reload the configuration with one more station, which is not connected yet."""
        self.stations[station.ref] = station
        self.site = SiteTree(circuits=self.site.circuits, evses=(*self.site.evses, station.evse))
        self.replace_site(self.site, SiteSettings())

    def _send(self, commands: list[SetLimit]) -> None:
        self.stored |= self.control.delivery_records({command.ref for command in commands}, self.now)
        for command in commands:
            self.commands.append((self.now, command))
            self._answers.append((self.now + self.stations[command.ref].answer_s, command))
        for line in self.control.take_log():
            if isinstance(line, LoggedDecision):
                self.decisions.append(line)
            else:
                self.notices.append(line)

    def take_notices(self) -> list[SiteNotice]:
        """Return the notices since the last call."""
        notices, self.notices = self.notices, []
        return notices

    def wait(self, seconds: int) -> None:
        for _ in range(seconds):
            self.step()

    def step(self) -> None:
        self.now += 1.0
        self._answer()
        for station in self.stations.values():
            station.step(self.now)
        self._flow()
        if self.is_reporting:
            self._send_reports()
        if self.now % TICK_S == 0:
            self.handle(ControlTick(None if self.utc is None else self.utc + self.now))

    def _answer(self) -> None:
        due = [command for at, command in self._answers if at <= self.now]
        self._answers = deque(pair for pair in self._answers if pair[0] > self.now)
        for command in due:
            station = self.stations[command.ref]
            if station.up and not station.silent:
                accepted = station.accept(command, self.now)
                self.handle(LimitAnswered(command.token, accepted, "" if accepted else "Rejected"))
                self.stored |= self.control.delivery_records({command.ref}, self.now)

    def _flow(self) -> None:
        totals = {circuit.id: [0.0, 0.0, 0.0] for circuit in self.site.circuits}
        for station in self.stations.values():
            for phase, amps in zip(station.evse.phases, station.drawn(), strict=False):  # one-phase stations
                for circuit in self.site.path(station.evse.circuit):
                    totals[circuit.id][phase] += amps
        root = self.site.circuits[0].id
        base = self.building(self.now)
        totals[root] = [amps + load for amps, load in zip(totals[root], base, strict=True)]
        for circuit, amps in totals.items():
            self.row_flowed[circuit].append((amps[0], amps[1], amps[2]))
        self.flowed = self.row_flowed[root]

    def _send_reports(self) -> None:
        shown = self.flowed[max(0, len(self.flowed) - 1 - self.meter_delay_s)]
        reading = Reading(time=self.now, current_a=shown, voltage_v=(self.voltage_v,) * 3)
        self.handle(MeterUpdated(self.meter(reading)))
        for index, station in enumerate(self.stations.values()):
            name = station.ref.station
            state = station.next_state()
            if state is not station.state:
                station.state = state
                self.report(name, StateSeen(1, state))
            if station.report_s and (self.now + index) % station.report_s == 0:
                for seen in station.read_meter(self.now):
                    self.report(name, seen)

    # -- records --------------------------------------------------------------------------------------

    def seconds_over(self, circuit: str, limit_a: float) -> int:
        return sum(max(amps) > limit_a + 1e-6 for amps in self.row_flowed[circuit])

    def longest_over(self, circuit: str, limit_a: float) -> int:
        longest = current = 0
        for amps in self.row_flowed[circuit]:
            current = current + 1 if max(amps) > limit_a + 1e-6 else 0
            longest = max(longest, current)
        return longest

    def limit_changes(self, name: str) -> int:
        """Count how often the station was sent a limit other than the last one."""
        sent = [limit for _, limit in self.station(name).leases]
        return sum(abs(a - b) > 0.05 for a, b in pairwise(sent))

    def evse_view(self, name: str) -> EvseView:
        return next(v for v in self.control.snapshots.take_view(self.now).evses if v.ref.station == name)

    def circuit_view(self, circuit: str) -> CircuitView:
        return next(v for v in self.control.snapshots.take_view(self.now).circuits if v.id == circuit)


def good_state(reading: Reading) -> MeterState:
    return MeterState(meter=GRID_METER, quality=Quality.GOOD, reading=reading)


def stale_state(reading: Reading) -> MeterState:
    return MeterState(meter=GRID_METER, quality=Quality.STALE, problem="no answer for 5 s")


def make_grid(limit_a: float, meter: str | None = GRID_METER, **more: object) -> CircuitNode:
    return CircuitNode(id="grid", parent=None, limit_a=(limit_a,) * 3, meter=meter, **more)  # type: ignore[arg-type]


def make_row(name: str, limit_a: float) -> CircuitNode:
    return CircuitNode(id=name, parent="grid", limit_a=(limit_a,) * 3)


def make_station(
    name: str,
    circuit: str = "grid",
    *,
    phases: tuple[int, ...] = (0, 1, 2),
    max_a: float = 32.0,
    car: CarModel | None = None,
    surplus: bool = False,
    controllable: bool = False,
    phase_switching: bool | None = None,
    **how: float,
) -> StationModel:
    evse = EvseNode(
        ref=EvseRef(name, 1),
        circuit=circuit,
        phases=phases,
        min_a=6.0,
        max_a=max_a,
        fallback_a=6.0,
        surplus=surplus,
        is_controllable=controllable,
        phase_switching=phase_switching,
    )
    return StationModel(evse=evse, car=car, **how)  # type: ignore[arg-type]
