"""Random sites in virtual time: utilisation, stops, writes and overloads of the control.

python -m tests.bench.site.random_sites --seeds 0-19 --hours 1
"""

from __future__ import annotations

import argparse
import random
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, field

from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationObserved,
    StationUp,
)
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, Fuse, SiteTree
from controller.model.observations import DrawSeen, EvseRef, EvseState, StateSeen, TransactionSeen
from controller.simulate.omniscient_allocator import max_min_shares
from drivers.health import MeterHealth
from drivers.reading import Reading
from tests.bench.site.simulated_cars import BenchStation, SimulatedBattery, SimulatedBuilding

ARRIVALS_S = 900.0
SAMPLE_S = 10
SETTLED_S = 120
VOLTAGES = (230.0, 230.0, 230.0)


@dataclass
class CarBook:
    """Figures of one car's stay: from when to when (s), commanded stops, writes to its station."""

    began: int
    writes_before: int
    ended: int = 0
    stops: int = 0
    writes: int = 0
    served: bool = False


@dataclass
class SiteFigures:
    """Figures of one site. Ampere-seconds over all phases, of the cars and of the reference."""

    seed: int
    building: str
    margin_a: float
    cars: list[CarBook] = field(default_factory=list)
    got_as: float = 0.0
    reference_as: float = 0.0
    over_as: float = 0.0

    @property
    def car_hours(self) -> float:
        return sum(car.ended - car.began for car in self.cars) / 3600

    @property
    def stops_per_hour(self) -> float:
        return sum(car.stops for car in self.cars) / max(self.car_hours, 1e-9)

    @property
    def worst_stops(self) -> float:
        stays = [car for car in self.cars if car.ended - car.began > 1800]
        return max((3600 * car.stops / (car.ended - car.began) for car in stays), default=0.0)

    @property
    def writes_per_hour(self) -> float:
        return sum(car.writes for car in self.cars) / max(self.car_hours, 1e-9)

    @property
    def utilisation(self) -> float:
        return self.got_as / max(self.reference_as, 1e-9)


def random_tree(rng: random.Random) -> tuple[SiteTree, SimulatedBuilding, float]:
    """Return a site of two to four levels, its building, and the margin at the grid connection (A)."""
    limit_a = rng.choice([63, 80, 100, 125, 160, 250])
    fuse = rng.choice([Fuse.PLAIN, Fuse.GG, Fuse.GG, Fuse.C])
    generation_a = limit_a * rng.uniform(0.1, 0.4) if rng.random() < 0.3 else 0.0
    building = SimulatedBuilding(rng, limit_a, generation_a)
    margin_a = rng.choice([1.0, float(round(building.largest_a)), round(0.05 * limit_a, 1)])
    circuits = [_circuit("grid", None, limit_a, "m0", fuse, margin_a, building.declared_a)]
    parents = circuits[:]
    for level in range(1, rng.randint(2, 4)):
        children = []
        for parent in parents:
            for index in range(rng.randint(1, 3 if level == 1 else 2)):
                name = f"r{index}" if parent.id == "grid" else f"{parent.id}.{index}"
                most_a = max(25, round(parent.limit_a[0] * rng.uniform(0.35, 0.8)))
                meter = f"m{len(circuits)}" if rng.random() < 0.3 else None
                own_fuse = rng.choice([Fuse.PLAIN, fuse])
                circuits.append(_circuit(name, parent.id, most_a, meter, own_fuse))
                children.append(circuits[-1])
        parents = children[:6]
    leaves = circuits[1:]
    count = max(4, min(28, round(limit_a * rng.uniform(0.9, 1.6) / 9)))
    evses = [_evse(rng, index, rng.choice(leaves).id) for index in range(count)]
    site = SiteTree(circuits=tuple(circuits), evses=tuple(evses))
    return (site if _fallbacks_fit(site) else _without_fallbacks(site)), building, margin_a


def _circuit(
    name: str,
    parent: str | None,
    limit_a: float,
    meter: str | None,
    fuse: Fuse,
    margin_a: float | None = None,
    base_load_a: float = 0.0,
) -> CircuitNode:
    return CircuitNode(
        id=name,
        parent=parent,
        limit_a=(float(limit_a),) * 3,
        meter=meter,
        fuse=fuse,
        margin_a=margin_a,
        base_load_a=base_load_a,
    )


def _evse(rng: random.Random, index: int, circuit: str, fallback_a: float | None = None) -> EvseNode:
    rotated = rng.choice([(0, 1, 2), (1, 2, 0), (2, 0, 1)])
    return EvseNode(
        ref=EvseRef(f"S{index:02}", 1),
        circuit=circuit,
        phases=rotated if rng.random() < 0.9 else rotated[:1],
        min_a=6.0,
        max_a=float(rng.choice([16, 32, 32, 32])),
        fallback_a=rng.choice([0.0, 6.0]) if fallback_a is None else fallback_a,
    )


def _fallbacks_fit(site: SiteTree) -> bool:
    for circuit in site.circuits:
        totals = [circuit.base_load_a] * 3
        for evse in site.below[circuit.id]:
            for phase in evse.phases:
                totals[phase] += evse.fallback_a
        if max(totals) > circuit.limit_a[0]:
            return False
    return True


def _without_fallbacks(site: SiteTree) -> SiteTree:
    evses = [
        EvseNode(
            ref=evse.ref,
            circuit=evse.circuit,
            phases=evse.phases,
            min_a=evse.min_a,
            max_a=evse.max_a,
            fallback_a=0.0,
        )
        for evse in site.evses
    ]
    return SiteTree(circuits=site.circuits, evses=tuple(evses))


class SiteRun:
    """One site around a SiteControl. One step is a second: cars, meters, reports, control."""

    def __init__(self, seed: int) -> None:
        self._rng = rng = random.Random(seed)
        self._site, self._building, margin_a = random_tree(rng)
        self.figures = SiteFigures(seed, self._building.kind, margin_a)
        self._control = SiteControl(self._site, SiteSettings(), 0.0)
        self._stations = {evse.ref: BenchStation(rng, evse) for evse in self._site.evses}
        self._books: dict[EvseRef, CarBook] = {}
        self._paths = {c.id: [each.id for each in self._site.path(c.id)] for c in self._site.circuits}
        self._rows = {circuit.id: 3 * index for index, circuit in enumerate(self._site.circuits)}
        self._flows = {circuit.id: deque([[0.0] * 3], maxlen=8) for circuit in self._site.circuits}
        self._meters = {
            circuit.id: (MeterHealth(circuit.meter, 5.0), rng.choice([1, 1, 1, 2, 2, 3, 4, 5]))
            for circuit in self._site.circuits
            if circuit.meter is not None
        }
        self._answers: deque[tuple[int, SetLimit]] = deque()
        self._arrivals = {ref: rng.expovariate(1 / ARRIVALS_S) for ref in self._stations}
        self._begins: dict[EvseRef, int] = {}
        self._leaves: dict[EvseRef, float] = {}
        for ref in self._stations:
            self._handle_event(StationUp(ref.station), 0)
            self._handle_event(StationObserved(ref.station, StateSeen(1, EvseState.AVAILABLE)), 0)

    def run(self, seconds: int) -> SiteFigures:
        for now in range(1, seconds + 1):
            self._come_and_go(now)
            self._answer(now)
            base = self._building.step(now)
            self._flow(base, now)
            self._measure(now)
            self._report(now)
            if now % 5 == 0:
                self._handle_event(ControlTick(), now)
            if now % SAMPLE_S == 0 and now > SETTLED_S:
                self._compare(base)
        for ref in list(self._books):
            self._close(ref, seconds)
        return self.figures

    def _handle_event(self, event: SiteEvent, now: int) -> None:
        limits = self._control.handle(event, float(now))
        if self._control.due_at is not None and self._control.due_at <= now:
            limits += self._control.handle(ControlTick(), float(now))
        for limit in limits:
            station = self._stations[limit.ref]
            station.writes += 1
            self._answers.append((now + station.answer_s, limit))

    def _come_and_go(self, now: int) -> None:
        for ref, station in self._stations.items():
            if station.car is None and now >= self._arrivals[ref]:
                station.car = SimulatedBattery(self._rng, len(station.evse.phases))
                self._begins[ref] = now + self._rng.randint(3, 30)
                self._leaves[ref] = now + self._rng.uniform(1800, 3 * 3600)
                self._books[ref] = CarBook(now, station.writes)
            if station.car is not None and not station.runs and now >= self._begins[ref]:
                station.runs = True
                self._handle_event(StationObserved(ref.station, TransactionSeen(1, True)), now)
            if station.car is not None and now >= self._leaves[ref]:
                self._close(ref, now)
                station.runs, station.car = False, None
                self._arrivals[ref] = now + self._rng.expovariate(1 / ARRIVALS_S)
                self._handle_event(StationObserved(ref.station, TransactionSeen(1, False)), now)

    def _close(self, ref: EvseRef, now: int) -> None:
        book = self._books.pop(ref)
        book.ended, book.writes = now, self._stations[ref].writes - book.writes_before
        self.figures.cars.append(book)

    def _answer(self, now: int) -> None:
        due = [limit for at, limit in self._answers if at <= now]
        self._answers = deque(pair for pair in self._answers if pair[0] > now)
        for limit in due:
            self._stations[limit.ref].apply(limit, now)
            self._handle_event(LimitAnswered(limit.token, True), now)

    def _flow(self, base: list[float], now: int) -> None:
        flows = {circuit.id: [0.0] * 3 for circuit in self._site.circuits}
        flows["grid"] = list(base)
        for ref, station in self._stations.items():
            station.step(now)
            if station.car is None:
                continue
            for phase in station.used_phases:
                for circuit in self._paths[station.evse.circuit]:
                    flows[circuit][phase] += station.car.amps
            book = self._books[ref]
            is_served = station.limit_a > 0
            if book.served and not is_served and station.runs and station.car.wanted_a > 0:
                book.stops += 1
            book.served = is_served
        for circuit in self._site.circuits:
            self._flows[circuit.id].append(flows[circuit.id])
            if now > 60:
                self.figures.over_as += sum(max(0.0, a - circuit.limit_a[0]) for a in flows[circuit.id])

    def _measure(self, now: int) -> None:
        for circuit, (health, latency_s) in self._meters.items():
            flows = self._flows[circuit]
            shown = flows[max(0, len(flows) - 1 - latency_s)]
            first, second, third = (
                round(a * (1 + self._rng.gauss(0, 0.003)) + self._rng.gauss(0, 0.02), 2) for a in shown
            )
            reading = Reading(time=float(now), current_a=(first, second, third), voltage_v=VOLTAGES)
            self._handle_event(MeterUpdated(health.on_outcome(reading, float(now))), now)

    def _report(self, now: int) -> None:
        for ref, station in self._stations.items():
            state = station.next_state()
            if state is not station.state:
                station.state = state
                self._handle_event(StationObserved(ref.station, StateSeen(1, state)), now)
            due = station.report_s and (now + station.report_offset_s) % station.report_s == 0
            if due and station.runs:
                self._handle_event(StationObserved(ref.station, DrawSeen(1, station.report)), now)

    def _compare(self, base: list[float]) -> None:
        """Add what the cars draw now, and what the reference would give them with the same margins."""
        running = [s for s in self._stations.values() if s.car is not None and s.runs]
        room = []
        for circuit in self._site.circuits:
            margin_a = 1.0 if circuit.margin_a is None else circuit.margin_a
            own = base if circuit.id == "grid" else [0.0] * 3
            room += [circuit.limit_a[0] - margin_a - amps for amps in own]
        loads = [
            [self._rows[c] + p for c in self._paths[s.evse.circuit] for p in s.used_phases] for s in running
        ]
        cars = [s.car for s in running if s.car is not None]
        maxima = [min(car.wanted_a, s.evse.max_a) for car, s in zip(cars, running, strict=True)]
        order = sorted(range(len(running)), key=lambda i: (running[i].limit_a == 0, running[i].evse.ref))
        shares = max_min_shares(loads, room, [6.0] * len(running), maxima, order)
        self.figures.got_as += SAMPLE_S * sum(car.amps * car.phases for car in cars)
        self.figures.reference_as += SAMPLE_S * sum(
            car.phases * min(share, most) for car, share, most in zip(cars, shares, maxima, strict=True)
        )


def bench(seeds: Iterable[int], hours: float) -> list[dict[str, object]]:
    """Return one row a site, and one for all together."""
    found = [SiteRun(seed).run(round(hours * 3600)) for seed in seeds]
    rows = [
        {
            "what": f"random site {each.seed}, {each.building}, margin {each.margin_a:g} A",
            "utilisation": round(each.utilisation, 3),
            "stops_per_car_hour": round(each.stops_per_hour, 2),
            "worst_car": round(each.worst_stops, 1),
            "writes_per_car_hour": round(each.writes_per_hour, 1),
            "over_ampere_seconds": round(each.over_as),
        }
        for each in found
    ]
    hours_of_cars = max(sum(each.car_hours for each in found), 1e-9)
    total: dict[str, object] = {
        "what": f"{len(found)} random sites, {hours:g} h each",
        "utilisation": round(
            sum(each.got_as for each in found) / max(sum(each.reference_as for each in found), 1e-9), 3
        ),
        "stops_per_car_hour": round(sum(c.stops for e in found for c in e.cars) / hours_of_cars, 2),
        "worst_car": round(max(each.worst_stops for each in found), 1),
        "writes_per_car_hour": round(sum(c.writes for e in found for c in e.cars) / hours_of_cars, 1),
        "over_ampere_seconds": round(sum(each.over_as for each in found)),
    }
    return [*rows, total]


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seeds", default="0-3", help="first and last seed")
    parser.add_argument("--hours", type=float, default=1.0)
    options = parser.parse_args()
    first, _, last = options.seeds.partition("-")
    for row in bench(range(int(first), int(last or first) + 1), options.hours):
        print("  ".join(f"{key} {value}" for key, value in row.items()), flush=True)


if __name__ == "__main__":
    main()
