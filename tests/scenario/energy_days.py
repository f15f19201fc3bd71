"""Random hours of a site at changes of the calendar, with several features of energy over hours at once.

    day = make_day(seed)
    day.run()
    assert list(map(str, day.find_violations())) == []

`python -m tests.scenario.energy_days 0 50` runs these seeds and prints what does not hold.

What must hold is computed outside of the control, from what flowed and from the wall clock.
"""

from __future__ import annotations

import math
import random
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from msgspec.structs import replace

from controller.load_management.energy.departure_plan import CardInUse
from controller.load_management.energy.energy_settings import (
    BatterySettings,
    CalendarEntry,
    DepartureRule,
    EnergySettings,
    GroupSettings,
    PeakSettings,
)
from controller.load_management.energy.price_series import make_series
from controller.load_management.energy.week_schedule import WeekSpan
from controller.load_management.events import MeterUpdated
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import PhaseAmps
from controller.model.journal import Record
from controller.model.observations import EvseRef, EvseState
from drivers.reading import MeterState, Quality, Reading
from tests.scenario.site_harness import (
    GRID_METER,
    CarModel,
    SiteHarness,
    StationModel,
    make_grid,
    make_row,
    make_station,
)

BERLIN = ZoneInfo("Europe/Berlin")
V = 230.0
QUARTER_S = 900
ROWS = {"a": 63.0, "b": 40.0}
"""Limits of the circuits below the grid connection (A)."""
LOWERING = {
    *("peak", "calendar_peak", "calendar_limit", "surplus", "quota", "prices"),
    *("limit_w", "gap", "battery"),
}
"""Features that may leave a group less than its guarantee."""
REACTION_S = 16
"""The pass, the slowest answer, the slowest car, and the second cut of who is cut to its minimum first."""
CALENDAR_REACTION_S = 20
"""The same for a limit of the calendar, above which cars are stopped after some seconds."""
CLOUD_S = 420
"""Longest time without sun for which a car in surplus mode keeps its minimum."""
EDGES = (
    datetime(2026, 3, 29, 1, tzinfo=UTC),  # 02:00 becomes 03:00
    datetime(2026, 10, 25, 1, tzinfo=UTC),  # 03:00 becomes 02:00
    datetime(2026, 10, 25, 0, tzinfo=UTC),  # 02:00 for the first time
    datetime(2026, 11, 26, 23, tzinfo=UTC),  # midnight in winter
    datetime(2026, 7, 31, 22, tzinfo=UTC),  # a month's end in summer
    datetime(2026, 11, 30, 23, tzinfo=UTC),  # one in winter
    datetime(2026, 11, 27, 11, tzinfo=UTC),
)
"""Moments at which something of the calendar changes."""


class EnergyCar(CarModel):
    """Car that draws until it has `need_wh`; `received` (time, Wh) of each second is noted by its station."""

    def __init__(self, max_a: float, phases: tuple[int, ...], need_wh: float) -> None:
        super().__init__(max_a, phases)
        self.need_wh = need_wh
        self.received_wh = 0.0

    def draw_a(self, limit_a: float) -> float:
        return 0.0 if self.received_wh >= self.need_wh else super().draw_a(limit_a)


class EnergyStation(StationModel):
    """Station whose car becomes full."""

    def step(self, now: float) -> None:
        super().step(now)
        if isinstance(self.car, EnergyCar):
            self.car.received_wh += sum(self.drawn()) * V / 3600

    def next_state(self) -> EvseState:
        full = isinstance(self.car, EnergyCar) and self.car.received_wh >= self.car.need_wh
        return EvseState.SUSPENDED_EV if full else super().next_state()


class Jumps:
    """Building that jumps between loads (A per phase)."""

    def __init__(self, chance: random.Random, low_a: float, high_a: float, longest_s: int) -> None:
        self._chance, self._low_a, self._high_a, self._longest_s = chance, low_a, high_a, longest_s
        self._load: PhaseAmps = ((low_a + high_a) / 2,) * 3
        self._until = 200.0

    def __call__(self, now: float) -> PhaseAmps:
        if now >= self._until:
            first, second, third = (self._chance.uniform(self._low_a, self._high_a) for _ in range(3))
            self._load = (first, second, third)
            self._until = now + self._chance.randint(30, self._longest_s)
        return self._load


@dataclass
class Battery:
    """Battery that keeps the grid connection at 0: it takes what is fed in and delivers what is drawn."""

    most_a: float
    flow_a: float = 0.0

    def step(self, others: PhaseAmps) -> None:
        wanted_a = -sum(others) / 3
        change_a = max(-5.0, min(5.0, wanted_a - self.flow_a))
        self.flow_a = max(-self.most_a, min(self.most_a, self.flow_a + change_a))


class EnergySite(SiteHarness):
    """Site with an import register, a battery, and records that outlive a restart."""

    def __init__(self, day: EnergyDay, settings: SiteSettings) -> None:
        self.day = day
        self.settings = settings
        self.records: dict[tuple[str, ...], Record] = {}
        self.register_wh = 123_456.0
        self.battery = day.battery
        self.battery_flows: list[float] = []
        self.drawn: list[dict[EvseRef, tuple[float, float, float]]] = []
        self.alone: list[PhaseAmps] = []
        circuits = (
            make_grid(day.limit_a, base_load_a=day.highest_a, limit_w=day.limit_w),
            *(make_row(name, amps) for name, amps in ROWS.items()),
        )
        super().__init__(circuits, [*day.stations], self._load, settings, utc=day.begin)
        if day.prices:
            self.control.energy.evses.prices.set_prices(make_series(day.prices))
        self.meter = self._measure

    def _load(self, now: float) -> PhaseAmps:
        first, second, third = self.day.building(now)
        self.alone.append((first, second, third))
        if self.battery is None:
            return (first, second, third)
        drawn = self._drawn_on_site()
        flow = self.battery.flow_a
        self.battery_flows.append(flow)
        self.battery.step((first + drawn[0], second + drawn[1], third + drawn[2]))
        return (first + flow, second + flow, third + flow)

    def _drawn_on_site(self) -> PhaseAmps:
        amps = [0.0, 0.0, 0.0]
        for station in self.stations.values():
            for phase, each in zip(station.evse.phases, station.drawn(), strict=False):
                amps[phase] += each
        return (amps[0], amps[1], amps[2])

    def _flow(self) -> None:
        super()._flow()
        self.drawn.append({ref: station.drawn() for ref, station in self.stations.items()})
        self.register_wh += max(0.0, sum(self.flowed[-1])) * V / 3600

    def _measure(self, reading: Reading) -> MeterState:
        if self.battery is not None:
            amps = (self.battery_flows[-1],) * 3
            measured = Reading(time=self.now, current_a=amps)
            self.handle(MeterUpdated(MeterState(meter="battery", quality=Quality.GOOD, reading=measured)))
        gap = self.day.meter_gap
        if gap is not None and gap[0] <= self.now < gap[1]:
            return MeterState(meter=GRID_METER, quality=Quality.STALE, problem="no answer for 5 s")
        shown = reading.current_a
        powers = tuple(V * (amps or 0.0) for amps in shown)
        return MeterState(
            meter=GRID_METER,
            quality=Quality.GOOD,
            reading=replace(
                reading,
                voltage_v=(V,) * 3,
                power_w=powers,
                power_total_w=sum(powers),
                energy_import_wh=self.day.shown_register(self.register_wh, self.now),
            ),
        )

    def _finish_pass(self) -> None:
        super()._finish_pass()
        for record in self.control.energy.take_records():
            places = (getattr(record, name, "") for name in ("circuit", "group", "station"))
            self.records[(type(record).__name__, *places)] = record

    def restart(self) -> None:
        for each in self.stations.values():
            each.up = False
        self._answers.clear()
        loads = self.control.metering.take_records()
        self.control = SiteControl(self.site, self.settings, self.now)
        self.control.restore(self.stored, self.now)
        self.control.metering.restore(loads)
        self.control.energy.restore(self.records.values())
        self.control.energy.set_clock(self.day.begin + self.now, self.now)
        if self.day.prices:
            self.control.energy.evses.prices.set_prices(make_series(self.day.prices))


@dataclass
class Violation:
    """Breach of a promise: of which, at which second of the day, by how much."""

    what: str
    at_s: float
    amount: float

    def __str__(self) -> str:
        return f"{self.what} at={self.at_s:.0f}s amount={self.amount:.2f}"


@dataclass
class EnergyDay:
    """One day: what happens on it, what the site is set to, and what must hold. `begin`: POSIX s.

    `register`: how the meter's import register behaves. `goals`: planned energies (Wh) by `leaves_at`.
    """

    seed: int
    begin: float
    seconds: int
    features: frozenset[str]
    limit_a: float
    highest_a: float
    building: Jumps
    stations: Sequence[EnergyStation]
    limit_w: float | None = None
    register: str = "exact"
    meter_gap: tuple[int, int] | None = None
    restart_at: int | None = None
    battery: Battery | None = None
    prices: list[tuple[float, float]] = field(default_factory=list)
    cards: dict[EvseRef, CardInUse] = field(default_factory=dict)
    arrivals: dict[int, list[tuple[str, EnergyCar]]] = field(default_factory=dict)
    energy: EnergySettings = field(default_factory=EnergySettings)
    goals: dict[EvseRef, float] = field(default_factory=dict)
    leaves_at: float = 0.0
    site: EnergySite = field(init=False)
    all_cars: list[tuple[int, str, EnergyCar]] = field(default_factory=list)
    goal_met: dict[EvseRef, float] = field(default_factory=dict)
    offered: list[dict[EvseRef, float]] = field(default_factory=list)
    full_at: dict[EvseRef, int] = field(default_factory=dict)

    # -- run ---------------------------------------------------------------------------------------------

    def shown_register(self, wh: float, now: float) -> float | None:
        if self.register == "none":
            return None
        if self.register == "kwh":
            return math.floor(wh / 1000) * 1000.0
        if self.register == "reset" and now >= self.seconds / 2:
            return wh - 123_000.0
        if self.register == "jump" and now >= self.seconds / 2:
            return wh + 50_000.0
        if self.register == "still":
            return 123_456.0
        if self.register == "gaps" and now % 700 < 200:
            return None
        return wh

    def run(self, energy: EnergySettings | None = None) -> EnergyDay:
        self.site = EnergySite(self, SiteSettings(energy=energy or self.energy))
        self.site.connect()
        for second in range(self.seconds):
            for name, car in self.arrivals.get(second, ()):
                self.site.plug_in(name, car)
                self.all_cars.append((second, name, car))
                self.site.control.energy.evses.set_cards(self.cards)
            if second == self.restart_at:
                self.site.restart()
                self.site.connect()
                self.site.control.energy.evses.set_cards(self.cards)
            self.site.step()
            self.offered.append({ref: s.limit_a(self.site.now) for ref, s in self.site.stations.items()})
            if self.begin + self.site.now >= self.leaves_at and not self.goal_met and self.goals:
                here = {ref: self.site.stations[ref].car for ref in self.goals}
                self.goal_met = {
                    ref: car.received_wh for ref, car in here.items() if isinstance(car, EnergyCar)
                }
        return self

    # -- what must hold ----------------------------------------------------------------------------------

    def local(self, now: float) -> datetime:
        return datetime.fromtimestamp(self.begin + now, BERLIN)

    def entries(self, now: float) -> Iterator[CalendarEntry]:
        """Yield the entries of the calendar that hold, by the wall clock."""
        local = self.local(now)
        minute, weekday = 60 * local.hour + local.minute, local.weekday()
        for entry in self.energy.calendar:
            span = entry.span
            if span.begin < span.end:
                holds = weekday in span.days and span.begin <= minute < span.end
            else:
                holds = (weekday in span.days and minute >= span.begin) or (
                    (weekday - 1) % 7 in span.days and minute < span.end
                )
            if holds:
                yield entry

    def limits(self, circuit: str) -> list[tuple[float, float]]:
        """Return the limits of a circuit (A, W) in each second."""
        found = []
        known: dict[int, tuple[float, float]] = {}
        own_a = ROWS.get(circuit, self.limit_a)
        own_w = self._own_w(circuit)
        for second in range(1, self.seconds + 1):
            minute = math.floor((self.begin + second) / 60)
            if minute not in known:
                amps, watts = own_a, own_w
                for entry in self.entries(float(second)):
                    if entry.circuit == circuit:
                        amps = min(amps, entry.limit_a or math.inf)
                        watts = min(watts, entry.limit_w or math.inf)
                known[minute] = amps, watts
            found.append(known[minute])
        return found

    def cars_on(self, circuit: str, second: int) -> list[float]:
        amps = [0.0, 0.0, 0.0]
        for ref, drawn in self.site.drawn[second].items():
            evse = self.site.stations[ref].evse
            if circuit in ("grid", evse.circuit):
                for phase, each in zip(evse.phases, drawn, strict=False):
                    amps[phase] += each
        return amps

    def find_violations(self) -> list[Violation]:
        return [
            *self._overloads(),
            *self._peaks(),
            *self._quotas(),
            *self._guarantees(),
            *self._goals(),
            *self._battery_energy(),
            *self._unused(),
        ]

    def _overloads(self) -> Iterator[Violation]:
        """Find times in which cars draw above a limit that holds at all times, or one of the calendar."""
        for circuit in ("grid", *ROWS):
            own = [(ROWS.get(circuit, self.limit_a), self._own_w(circuit))] * self.seconds
            yield from self._over(circuit, own, REACTION_S)
            yield from self._over(circuit, self.limits(circuit), CALENDAR_REACTION_S)

    def _own_w(self, circuit: str) -> float:
        return self.limit_w or math.inf if circuit == "grid" else math.inf

    def _over(self, circuit: str, limits: list[tuple[float, float]], most_s: int) -> Iterator[Violation]:
        run = 0
        for second in range(60, self.seconds):
            recent = limits[max(0, second - most_s + 1) : second + 1]
            limit_a, limit_w = max(a for a, _ in recent), max(w for _, w in recent)
            flowed = self.site.row_flowed[circuit][second]
            cars = self.cars_on(circuit, second)
            over = max(min(f - limit_a, c) for f, c in zip(flowed, cars, strict=True))
            over = max(over, min((sum(flowed) - limit_w / V), sum(cars)))
            run = run + 1 if over > 1e-6 else 0
            if run == most_s:
                yield Violation(f"above limit of {circuit}", second, over)

    def targets(self) -> dict[int, tuple[float, str]]:
        """Return the lowest target of each whole quarter hour (W) and its entry, by its begin (s)."""
        first = math.ceil(self.begin / QUARTER_S) * QUARTER_S - self.begin
        settings = self.energy.peaks.get("grid")
        found = {}
        begin = int(first)
        while begin + QUARTER_S <= self.seconds:
            lowest = (math.inf, "")
            for second in range(begin, begin + QUARTER_S, 60):
                by_entry = [
                    (e.peak_w, e.name) for e in self.entries(second) if e.circuit == "grid" and e.peak_w
                ]
                own = settings.target_w if settings and settings.target_w else math.inf
                lowest = min(lowest, min(by_entry) if by_entry else (own, ""))
            found[begin] = lowest
            begin += QUARTER_S
        return found

    def quarter_means(self) -> dict[int, tuple[float, float]]:
        """Return the mean import of each whole quarter hour and the cars' part (W)."""
        found = {}
        for begin in self.targets():
            total = sum(max(0.0, sum(self.site.flowed[s])) for s in range(begin, begin + QUARTER_S))
            cars = sum(
                sum(sum(d) for d in self.site.drawn[s].values()) for s in range(begin, begin + QUARTER_S)
            )
            found[begin] = total * V / QUARTER_S, cars * V / QUARTER_S
        return found

    def _peaks(self) -> Iterator[Violation]:
        if "peak" not in self.features and "calendar_peak" not in self.features:
            return
        means = self.quarter_means()
        reached: dict[tuple[str, str], float] = defaultdict(float)
        settings = self.energy.peaks.get("grid")
        for begin, (target, entry) in self.targets().items():
            month = self.local(begin).strftime("%Y-%m")
            free = settings is not None and settings.reached_is_free
            allowed = max(target, reached[month, entry]) if free else target
            mean, cars = means[begin]
            for each in ("", entry):
                reached[month, each] = max(reached[month, each], mean)
            excess = min(mean - allowed, cars)
            if excess > 0.01 * allowed:
                yield Violation(f"peak target={allowed:.0f} cars={cars:.0f}", begin, excess)

    def _group_drawn_wh(self, group: GroupSettings) -> dict[str, float]:
        drawn: dict[str, float] = defaultdict(float)
        for second, each in enumerate(self.site.drawn):
            wh = sum(sum(each[ref]) for ref in group.evses) * V / 3600
            if wh:
                drawn[self.local(second + 1).date().isoformat()] += wh
        return drawn

    def _quotas(self) -> Iterator[Violation]:
        for group in self.energy.groups:
            if group.quota_wh is None:
                continue
            most_w = sum(3 * V * self.site.stations[ref].evse.max_a for ref in group.evses)
            slack = most_w * 90 / 3600 + (0.02 * group.quota_wh if self.restart_at else 0.0)
            for day, wh in self._group_drawn_wh(group).items():
                if wh > group.quota_wh + slack:
                    yield Violation(f"quota {day} {group.quota_wh:.0f}", 0, wh - group.quota_wh)

    def _guarantees(self) -> Iterator[Violation]:
        """Find groups that are offered less than their guarantee for minutes, where nothing forbids it."""
        if LOWERING & self.features or self.restart_at is not None:
            return
        for group in self.energy.groups:
            run = 0
            for second in range(600, self.seconds):
                lacks_a = max(self._lacking_a(group, phase, second) for phase in range(3))
                run = run + 1 if lacks_a else 0
                if run == 300:
                    yield Violation(f"guarantee {group.guaranteed_a}", second, lacks_a)

    def _lacking_a(self, group: GroupSettings, phase: int, second: int) -> float:
        """Return what a group is offered too little on a phase (A), a minimum that does not fit excepted."""
        wanted_a = offered_a = 0.0
        rooms_a = [self.limit_a - max(amps[phase] for amps in self.site.alone[max(0, second - 900) : second])]
        for ref in group.evses:
            evse, car = self.site.stations[ref].evse, self._car_at(ref, second)
            rooms_a += [ROWS[evse.circuit]] if evse.circuit in ROWS else []
            if car is None or self._is_full(ref, second) or phase not in (evse.phases[p] for p in car.phases):
                continue
            wanted_a += min(car.max_a, evse.max_a)
            offered_a += min(self.offered[second][ref], car.max_a)
        due_a = min(group.guaranteed_a, wanted_a, min(rooms_a) - 2.0)
        return due_a - offered_a if due_a >= 6.0 and offered_a < due_a - 6.0 else 0.0

    def _car_at(self, ref: EvseRef, second: int) -> EnergyCar | None:
        """Return the car that has been at an EVSE for five minutes."""
        car = self.site.stations[ref].car
        came_at = max((at for at, name, _ in self.all_cars if name == ref.station), default=0)
        return car if isinstance(car, EnergyCar) and came_at <= second - 300 else None

    def _is_full(self, ref: EvseRef, second: int) -> bool:
        """Return True if a car is full, or all but full, in this second."""
        car = self.site.stations[ref].car
        if self._car_at(ref, second) is None or not isinstance(car, EnergyCar):
            return True
        if car.received_wh < car.need_wh:
            return False
        if ref not in self.full_at:
            self.full_at[ref] = max((s for s, d in enumerate(self.site.drawn) if sum(d[ref])), default=0)
        return second >= self.full_at[ref] - 60

    def _goals(self) -> Iterator[Violation]:
        if "quota" in self.features:
            return
        for ref, wh in self.goal_met.items():
            goal = self.goals[ref]
            if wh < 0.97 * goal:
                yield Violation(f"goal {ref} {goal:.0f} got {wh:.0f}", self.leaves_at - self.begin, goal - wh)

    def _battery_energy(self) -> Iterator[Violation]:
        """Find cars in surplus mode that the battery charges: above their minimum, or for minutes."""
        if self.battery is None or self.energy.battery is None or self.energy.battery.use_battery:
            return
        above_wh = 0.0
        run = 0
        for second in range(600, self.seconds):
            drawn = {ref: d for ref, d in self.site.drawn[second].items() if self._is_surplus(ref, second)}
            cars_a = sum(map(sum, drawn.values()))
            least_a = sum(min(amps, 6.0) for d in drawn.values() for amps in d)
            delivered_a = -3 * self.site.battery_flows[second]
            lacks_sun = cars_a > 0 and delivered_a > 0 and sum(self.site.alone[second]) >= 0
            above_wh += (cars_a - least_a) * V / 3600 if lacks_sun else 0.0
            run = run + 1 if lacks_sun else 0
            if run == CLOUD_S:
                yield Violation("battery charges cars for minutes", second, cars_a)
        if above_wh > 100.0:
            yield Violation("battery charges cars", 0, above_wh)

    def _is_surplus(self, ref: EvseRef, second: int) -> bool:
        """Return True if an EVSE has been in surplus mode for minutes."""
        found = self.site.stations[ref].evse.surplus
        for at in (second - CLOUD_S, second):
            modes = [e.surplus for e in self.entries(at) if e.surplus is not None and ref in e.evses]
            found &= modes[-1] if modes else True
        return found

    def _unused(self) -> Iterator[Violation]:
        """Compare with what flows when each car takes all of the phase's room up to its maximum."""
        others = LOWERING - {"peak", "calendar_peak", "battery"}
        if not {"peak", "calendar_peak"} & self.features or others & self.features:
            return
        means = self.quarter_means()
        for begin, (target_w, _) in list(self.targets().items())[1:]:
            end = begin + QUARTER_S
            if self.restart_at is not None and begin - QUARTER_S < self.restart_at < end:
                continue
            mean_w, _ = means[begin]
            wanted_w = sum(
                len(car.phases) * min(car.max_a, station.evse.max_a) * V
                for ref, station in self.site.stations.items()
                if (car := self._car_at(ref, begin)) is not None and not self._is_full(ref, end)
            )
            alone_w = sum(map(sum, self.site.alone[begin:end])) * V / QUARTER_S
            free_w = min(target_w, alone_w + 0.5 * wanted_w)
            if mean_w < 0.85 * free_w and free_w - mean_w > 6 * 3 * V:
                yield Violation(f"unused of {free_w:.0f} W", begin, free_w - mean_w)


# -- random days ------------------------------------------------------------------------------------------


def make_day(seed: int, seconds: int = 7200) -> EnergyDay:
    """Return the day of a seed."""
    chance = random.Random(seed)
    edge = chance.choice(EDGES)
    begin = edge - timedelta(seconds=chance.choice([1800, 3000, 3600, 5400]) + chance.randint(-300, 300))
    features = {
        f
        for f in ("calendar_limit", "calendar_peak", "calendar_priority", "surplus")
        if chance.random() < 0.2
    }
    features |= {
        f
        for f in ("peak", "quota", "guarantee", "goals", "vip", "dc", "limit_w", "gap")
        if chance.random() < 0.3
    }
    if "goals" in features and chance.random() < 0.5:
        features.add("prices")
    if chance.random() < 0.2:
        features |= {"battery"} | ({"surplus"} if chance.random() < 0.6 else set())
    if chance.random() < 0.2:
        features.add("fair")
    limit_a = chance.uniform(70.0, 130.0)
    sunny = bool({"battery", "surplus"} & features) and chance.random() < 0.8
    high_a = chance.uniform(10.0, limit_a / 3)
    low_a = -chance.uniform(20.0, 60.0) if sunny else chance.uniform(1.0, high_a / 2)
    stations: list[EnergyStation] = []
    arrivals: dict[int, list[tuple[str, EnergyCar]]] = defaultdict(list)
    for number in range(chance.randint(2, 6)):
        name = f"S{number}"
        phases = chance.choice([(0,), (0, 1, 2), (0, 1, 2)])
        car = EnergyCar(chance.choice([10.0, 16.0, 32.0]), phases, chance.uniform(5_000, 60_000))
        made = make_station(
            name,
            chance.choice(["grid", "a", "b"]),
            phases=chance.choice([(0, 1, 2), (1, 2, 0), (2, 0, 1)]),
            answer_s=chance.choice([0.2, 1.0, 2.0]),
            reaction_s=chance.choice([1, 3, 5]),
            report_s=chance.choice([10, 30, 60]),
            surplus="surplus" in features and chance.random() < 0.5,
        )
        station = EnergyStation(made.evse, None, made.answer_s, made.reaction_s, made.report_s)
        if "dc" in features and number == 0:
            station.evse = replace(
                station.evse,
                is_dc=True,
                max_a=60.0,
                min_a=8.0,
                fallback_a=0.0,
                reserve_a=chance.choice([0.0, 20.0]),
            )
            car = EnergyCar(60.0, (0, 1, 2), chance.uniform(10_000, 40_000))
        if chance.random() < 0.6:
            station.car = car
        else:
            arrivals[chance.randint(60, seconds // 2)].append((name, car))
        stations.append(station)
    day = EnergyDay(
        seed=seed,
        begin=begin.timestamp(),
        seconds=seconds,
        features=frozenset(features),
        limit_a=limit_a,
        highest_a=high_a,
        building=Jumps(chance, low_a, high_a, chance.choice([120, 400, 1500])),
        stations=stations,
        arrivals=arrivals,
        register=chance.choice(["exact", "exact", "none", "kwh", "reset", "jump", "still", "gaps"]),
    )
    if "limit_w" in features:
        day.limit_w = chance.uniform(0.5, 0.9) * 3 * limit_a * V
    if "gap" in features:
        at = chance.randint(600, seconds - 900)
        day.meter_gap = (at, at + chance.choice([10, 40, 240]))
    if chance.random() < 0.3:
        day.restart_at = chance.randint(900, seconds - 900)
    refs = [s.ref for s in stations]
    local = begin.astimezone(BERLIN)
    minute_now = 60 * local.hour + local.minute

    def span() -> WeekSpan:
        begins = (minute_now + chance.choice([20, 30, 45, 60, 75])) % 1440
        ends = (begins + chance.choice([15, 30, 60, 600])) % 1440
        days = frozenset(range(7)) if chance.random() < 0.6 else frozenset({local.weekday()})
        return WeekSpan(days=days, begin=begins, end=ends or 1440)

    calendar = []
    if "calendar_limit" in features:
        circuit = chance.choice(["grid", "a"])
        calendar.append(
            CalendarEntry(name="limit", span=span(), circuit=circuit, limit_a=chance.uniform(15.0, 50.0))
        )
        if chance.random() < 0.3:
            calendar.append(
                CalendarEntry(name="watts", span=span(), circuit="grid", limit_w=chance.uniform(10e3, 30e3))
            )
    worst_w = 3 * high_a * V
    if "calendar_peak" in features:
        calendar.append(
            CalendarEntry(
                name="peak", span=span(), circuit="grid", peak_w=worst_w + chance.uniform(5e3, 25e3)
            )
        )
    if "calendar_priority" in features:
        calendar.append(CalendarEntry(name="first", span=span(), evses=frozenset({refs[-1]}), priority=5))
    if "surplus" in features and chance.random() < 0.4:
        calendar.append(
            CalendarEntry(name="sun", span=span(), evses=frozenset({refs[0]}), surplus=chance.random() < 0.5)
        )
    peaks = {}
    if "peak" in features:
        peaks["grid"] = PeakSettings(
            target_w=worst_w + chance.uniform(5e3, 25e3), reached_is_free=chance.random() < 0.5
        )
    groups = []
    if {"quota", "guarantee"} & features:
        members = frozenset(chance.sample(refs, chance.randint(1, max(1, len(refs) - 1))))
        groups.append(
            GroupSettings(
                id="tenant",
                evses=members,
                guaranteed_a=chance.choice([8.0, 16.0, 25.0]) if "guarantee" in features else 0.0,
                quota_wh=chance.uniform(2_000, 15_000) if "quota" in features else None,
            )
        )
    departures: list[DepartureRule] = []
    if "goals" in features:
        leaves = begin + timedelta(seconds=seconds - 600 - chance.randint(0, 1200))
        wall = leaves.astimezone(BERLIN)
        leaves = leaves.replace(second=0)
        wall = leaves.astimezone(BERLIN)
        day.leaves_at = wall.replace(fold=0).timestamp()  # the first of two such times of day
        for station in stations:
            if station.car is not None and not station.evse.surplus and chance.random() < 0.5:
                assert isinstance(station.car, EnergyCar)
                power = min(station.car.max_a, station.evse.max_a) * len(station.car.phases) * V
                wh = chance.uniform(0.1, 0.4) * power * (day.leaves_at - day.begin) / 3600
                station.car.need_wh = max(station.car.need_wh, wh)
                day.goals[station.ref] = wh
                departures.append(
                    DepartureRule(
                        evses=frozenset({station.ref}),
                        days=frozenset(range(7)),
                        minute=60 * wall.hour + wall.minute,
                        energy_wh=wh,
                    )
                )
    if "prices" in features:
        quarter = math.floor(day.begin / QUARTER_S) * QUARTER_S
        step = chance.choice([900, 3600])
        for k in range(chance.choice([6, 16]) * 900 // step + 1):
            if chance.random() < 0.9:
                day.prices.append((float(quarter + k * step), chance.uniform(-0.05, 0.4)))
    if "vip" in features:
        day.cards = {refs[-1]: CardInUse(frozenset({"v"}), "vip")}
    if "battery" in features:
        day.battery = Battery(chance.choice([8.0, 20.0]))
    day.energy = EnergySettings(
        zone=BERLIN,
        peaks=peaks,
        calendar=tuple(calendar),
        groups=tuple(groups),
        class_priorities={"vip": 9} if "vip" in features else {},
        is_fair_by_energy="fair" in features,
        departures=tuple(departures),
        has_prices="prices" in features,
        battery=BatterySettings(
            meter="battery", use_battery=chance.random() < 0.2, cars_first=chance.random() < 0.3
        )
        if "battery" in features
        else None,
    )
    return day


def main() -> None:
    """Run the seeds from the first argument to before the second."""
    first, end = map(int, sys.argv[1:3])
    for seed in range(first, end):
        day = make_day(seed).run()
        begin = datetime.fromtimestamp(day.begin, BERLIN)
        print(seed, f"{begin:%Y-%m-%d %H:%M}", f"register {day.register}", *sorted(day.features), flush=True)
        for violation in day.find_violations():
            print("   ", violation, flush=True)


if __name__ == "__main__":
    main()
