"""Passes that touch only what changed, and passes in slices, hold the same limits as complete ones."""

from __future__ import annotations

import math
import random

import pytest

from controller.load_management import control_pass, share_planner, site_tree
from controller.load_management.energy.energy_settings import EnergySettings
from controller.load_management.energy.price_series import make_series
from controller.load_management.events import (
    ControlTick,
    LimitAnswered,
    MeterUpdated,
    SetLimit,
    SiteEvent,
    StationDown,
    StationObserved,
    StationUp,
)
from controller.load_management.share_planner import KEPT_A, SharePlanner
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import CircuitNode, EvseNode, SiteTree
from controller.model.observations import (
    DrawSeen,
    EvseRef,
    EvseState,
    NeedsSeen,
    StateSeen,
    TransactionSeen,
)
from controller.profiles.limit_profiles import LimitKind
from drivers.reading import MeterState, Quality, Reading

ROWS = 3
EVSES = 18
SMALL_SLICE = 40
BUILDING_A = 12.0
BEGIN = 1_774_785_600.0
"""Begin of a quarter hour (POSIX s)."""
RUN_S = 120


def cut_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let passes over sites that are made from now on pause as on a large site, after little work."""
    monkeypatch.setattr(control_pass, "SLICE", SMALL_SLICE)
    monkeypatch.setattr(site_tree, "MANY_CIRCUITS", 1)


def rows_site() -> SiteTree:
    """Build three rows of six EVSEs below a grid connection; the grid and one row have a meter."""
    circuits = [CircuitNode(id="grid", parent=None, limit_a=(125.0,) * 3, meter="grid")]
    circuits += [
        CircuitNode(id=f"row-{k}", parent="grid", limit_a=(50.0,) * 3, meter="row-0" if k == 0 else None)
        for k in range(ROWS)
    ]
    evses = tuple(
        EvseNode(
            ref=EvseRef(f"S{k:02}", 1),
            circuit=f"row-{k % ROWS}",
            phases=[(0, 1, 2), (1, 2, 0), (2, 0, 1)][k % 3],
            min_a=6.0,
            max_a=32.0,
            fallback_a=0.0,
            priority=k % 2,
        )
        for k in range(EVSES)
    )
    return SiteTree(circuits=tuple(circuits), evses=evses)


class RandomDay:
    """Cars that come, go and draw what they are offered, from one seed; `flows` are checked at each step.

    `has_prices`: each has a goal, and the first quarter hour is the most expensive one.
    """

    def __init__(self, seed: int, *, has_prices: bool = False) -> None:
        self.rng = random.Random(seed)
        self.site = rows_site()
        self.has_prices = has_prices
        energy = EnergySettings(has_prices=has_prices)
        self.control = SiteControl(self.site, SiteSettings(energy=energy), 0.0)
        self.now = 0.0
        self.control.energy.set_clock(BEGIN, self.now)
        if has_prices:
            prices = [0.5, *(self.rng.uniform(0.1, 0.4) for _ in range(23))]
            begins = [BEGIN + 900.0 * number for number in range(24)]
            self.control.energy.evses.prices.set_prices(make_series(list(zip(begins, prices, strict=True))))
        self.building_a = BUILDING_A
        self.limit_a = {evse.ref: 0.0 for evse in self.site.evses}
        self.wanted_a = {evse.ref: 0.0 for evse in self.site.evses}
        self.slices = 0
        for evse in self.site.evses:
            self.pass_event(StationUp(evse.ref.station))
            self.pass_event(StationObserved(evse.ref.station, StateSeen(1, EvseState.AVAILABLE)))

    def pass_event(self, event: SiteEvent) -> None:
        self.answer(self.control.handle(event, self.now))

    def answer(self, limits: list[SetLimit]) -> None:
        for limit in limits:
            if limit.kind is LimitKind.LEASE:
                self.limit_a[limit.ref] = limit.limit_a
            self.answer(self.control.handle(LimitAnswered(limit.token, True), self.now))

    def drawn_a(self, ref: EvseRef) -> float:
        amps = min(self.limit_a[ref], self.wanted_a[ref])
        return amps if amps >= 6.0 else 0.0

    def flow_a(self, circuit: str) -> float:
        cars = sum(self.drawn_a(evse.ref) for evse in self.site.below[circuit])
        return cars + (self.building_a if circuit == "grid" else 0.0)

    def check(self) -> None:
        for circuit in self.site.circuits:
            assert self.flow_a(circuit.id) <= circuit.limit_a[0], (self.now, circuit.id)

    def step(self) -> None:
        """One second: a car may come or go, meters and some stations report, a tick each five seconds."""
        self.now += 1
        evse = self.rng.choice(self.site.evses)
        if self.rng.random() < 0.3 and self.now < RUN_S - 30:
            self.plug(evse.ref, 0.0 if self.wanted_a[evse.ref] else self.rng.choice([8.0, 16.0, 32.0]))
        self.read_meters()
        for each in self.rng.sample(self.site.evses, 6):
            amps = self.drawn_a(each.ref)
            self.pass_event(StationObserved(each.ref.station, DrawSeen(1, (amps, amps, amps))))
        if self.now % 5 == 0:
            self.pass_event(ControlTick())
        self.check()
        if self.control.due_at == -math.inf and self.rng.random() < 0.7:
            self.finish_pass()
        self.check()

    def read_meters(self) -> None:
        for circuit in ("grid", "row-0"):
            amps = self.flow_a(circuit)
            shown = (amps, amps, amps + self.rng.random() / 100)
            reading = Reading(time=self.now, current_a=shown, voltage_v=(230.0,) * 3)
            self.pass_event(MeterUpdated(MeterState(meter=circuit, quality=Quality.GOOD, reading=reading)))
            self.check()

    def plug(self, ref: EvseRef, wanted_a: float) -> None:
        self.wanted_a[ref] = wanted_a
        running = wanted_a > 0
        self.pass_event(StationObserved(ref.station, TransactionSeen(1, running)))
        if running and self.has_prices:
            goal = NeedsSeen(1, self.rng.uniform(1_000.0, 20_000.0), self.rng.uniform(3_600.0, 18_000.0))
            self.pass_event(StationObserved(ref.station, goal))
        state = EvseState.CHARGING if running else EvseState.AVAILABLE
        self.pass_event(StationObserved(ref.station, StateSeen(1, state)))

    def finish_pass(self) -> None:
        while self.control.due_at == -math.inf:
            self.slices += 1
            self.pass_event(ControlTick())
            self.check()


def incremental_and_complete(
    control: SiteControl, now: float
) -> tuple[dict[EvseRef, tuple[float, str]], dict[EvseRef, tuple[float, str]]]:
    """Return the shares of the planner that stays, and those of one that is made for this moment."""
    run = control._pass
    stays = run._planner_of(run.whole)
    complete = SharePlanner(control._model, control._supply, run._turns, run.whole)
    for planner in (stays, complete):
        base = control._model.metering.base(now)
        room = control._supply.supplies(run.whole.site, base.assumed, now)
        if planner is complete:
            planner.mark(evse.ref for evse in run.whole.site.evses)
        list(planner.update(now))
        list(planner.share(room, base, now))
    first, second = (
        {ref: (each.limit_a, each.reason) for ref, each in planner.allocations.items()}
        for planner in (stays, complete)
    )
    return first, second


@pytest.mark.parametrize("seed", range(4))
def test_share_planner_after_changes_shares_like_a_new_one(seed: int) -> None:
    day = RandomDay(seed)
    for _ in range(RUN_S):
        day.step()
        if day.now % 15 == 0:
            day.pass_event(ControlTick())
            day.pass_event(ControlTick())  # turns that the first one began count in the second one
            incremental, complete = incremental_and_complete(day.control, day.now)
            assert incremental == complete, day.now


@pytest.mark.parametrize("seed", range(4))
def test_share_planner_with_lost_stations_shares_like_a_new_one(seed: int) -> None:
    day = RandomDay(seed)
    lost: set[str] = set()
    for _ in range(RUN_S):
        day.step()
        if day.rng.random() < 0.2:
            station = day.rng.choice(day.site.evses).ref.station
            day.pass_event(StationUp(station) if station in lost else StationDown(station))
            lost ^= {station}
        if day.now % 15 == 0:
            day.pass_event(ControlTick())
            day.pass_event(ControlTick())
            incremental, complete = incremental_and_complete(day.control, day.now)
            assert incremental == complete, day.now


def test_share_planner_of_large_site_keeps_share_that_rises_by_little(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(share_planner, "MANY_EVSES", EVSES)
    day, kept = RandomDay(0), 0
    for _ in range(RUN_S):
        day.building_a = BUILDING_A - day.rng.random()
        day.step()
        if day.now % 15 == 0:
            day.pass_event(ControlTick())
            day.pass_event(ControlTick())
            incremental, complete = incremental_and_complete(day.control, day.now)
            assert incremental.keys() == complete.keys()
            for ref, (share_a, reason) in incremental.items():
                full_a, full_reason = complete[ref]
                assert reason == full_reason
                assert full_a - KEPT_A - 1e-6 <= share_a <= full_a
                kept += share_a < full_a
    assert kept > 0


@pytest.mark.parametrize("seed", range(8))
def test_pass_in_slices_is_never_above_limits_and_ends_alike(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    whole = RandomDay(seed)
    for _ in range(RUN_S):
        whole.step()
    assert whole.slices == 0
    cut_in_slices(monkeypatch)
    sliced = RandomDay(seed)
    for _ in range(RUN_S):
        sliced.step()
    assert sliced.slices > RUN_S
    assert any(whole.limit_a.values())
    for day in (whole, sliced):
        for _ in range(40):
            day.now += 5
            day.pass_event(ControlTick())
            day.finish_pass()
            day.check()
    served = {ref for ref, wanted_a in whole.wanted_a.items() if wanted_a}
    first, second = (sum(day.drawn_a(ref) for ref in served) for day in (whole, sliced))
    assert second == pytest.approx(first, rel=0.05)


@pytest.mark.parametrize("seed", range(4))
def test_quarter_hours_chosen_in_slices_are_those_of_one_pass(
    monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    waits = []
    for small_slices in (False, True):
        if small_slices:
            cut_in_slices(monkeypatch)
        day = RandomDay(seed, has_prices=True)
        for evse in day.site.evses:
            day.plug(evse.ref, 16.0)
        day.read_meters()
        day.finish_pass()
        day.now += 5
        day.slices = 0
        day.pass_event(ControlTick())
        day.finish_pass()
        assert small_slices == (day.slices > EVSES)
        waits.append({wait.ref: wait.begins_at for wait in day.control.energy.view(day.now).waiting})
    assert waits[0]
    assert waits[0] == waits[1]


@pytest.fixture
def day(monkeypatch: pytest.MonkeyPatch) -> RandomDay:
    """Return a day with a car at each EVSE, a minute after the last pass; passes are in many slices."""
    cut_in_slices(monkeypatch)
    made = RandomDay(0)
    for evse in made.site.evses:
        made.plug(evse.ref, 16.0)
    made.finish_pass()
    made.now += 60
    return made


def test_pass_in_slices_without_event_is_followed_by_no_pass(day: RandomDay) -> None:
    day.slices = 0
    day.pass_event(ControlTick())
    day.finish_pass()
    assert day.slices > 1
    assert day.control.due_at is None


def test_event_between_slices_makes_no_step_of_the_pass(day: RandomDay) -> None:
    day.pass_event(ControlTick())
    assert day.control.due_at == -math.inf
    assert day.control.handle(StationObserved("S00", StateSeen(1, EvseState.SUSPENDED_EV)), day.now) == []
    assert day.control.due_at == -math.inf
    day.finish_pass()
    assert day.control.due_at != -math.inf


def test_overload_of_a_row_between_slices_is_cut_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(site_tree, "MANY_CIRCUITS", 1)
    day = RandomDay(0)
    row = [evse.ref for evse in day.site.below["row-0"]]
    for ref in row[:3]:
        day.plug(ref, 32.0)
    for _ in range(120):
        day.now += 1
        day.pass_event(ControlTick())
        for ref in row[:3]:
            amps = day.drawn_a(ref)
            day.pass_event(StationObserved(ref.station, DrawSeen(1, (amps, amps, amps))))
        for circuit in ("grid", "row-0"):
            amps = day.flow_a(circuit)
            reading = Reading(time=day.now, current_a=(amps, amps, amps + 0.01 * (day.now % 3)))
            day.pass_event(MeterUpdated(MeterState(meter=circuit, quality=Quality.GOOD, reading=reading)))
    cut_in_slices(monkeypatch)
    for ref in row:
        day.pass_event(StationObserved(ref.station, StateSeen(1, EvseState.CHARGING)))
    day.now += 5
    day.pass_event(ControlTick())
    assert day.control.due_at == -math.inf
    before_a = sum(day.limit_a[ref] for ref in row)
    limits: list[SetLimit] = []
    for second in range(4):
        reading = Reading(time=day.now + second, current_a=(70.0, 70.0, 70.0 + second / 100))
        event = MeterUpdated(MeterState(meter="row-0", quality=Quality.GOOD, reading=reading))
        limits += day.control.handle(event, day.now + second)
    assert any(limit.urgent for limit in limits)
    assert {limit.ref for limit in limits} <= set(row)
    assert before_a > sum(limit.limit_a for limit in limits)


def test_overload_of_a_small_site_is_cut_within_one_call(monkeypatch: pytest.MonkeyPatch) -> None:
    day = RandomDay(0)
    cars = [evse.ref for evse in day.site.evses[:6]]
    for ref in cars:
        day.plug(ref, 32.0)
    for _ in range(200):
        day.now += 1
        day.pass_event(ControlTick())
        for ref in cars:
            amps = day.drawn_a(ref)
            day.pass_event(StationObserved(ref.station, DrawSeen(1, (amps, amps, amps))))
        for circuit in ("grid", "row-0"):
            amps = day.flow_a(circuit)
            reading = Reading(time=day.now, current_a=(amps, amps, amps + 0.01 * (day.now % 3)))
            day.pass_event(MeterUpdated(MeterState(meter=circuit, quality=Quality.GOOD, reading=reading)))
    before_a = sum(day.limit_a.values())
    assert before_a > 40.0
    cut_in_slices(monkeypatch)
    limits: list[SetLimit] = []
    while not limits and day.now < 210:
        day.now += 1
        reading = Reading(time=day.now, current_a=(150.0, 150.0, 150.0 + day.now / 1000))
        event = MeterUpdated(MeterState(meter="grid", quality=Quality.GOOD, reading=reading))
        limits = day.control.handle(event, day.now)
    assert day.control.due_at != -math.inf
    assert all(limit.urgent for limit in limits)
    cut_a = {limit.ref: limit.limit_a for limit in limits if limit.kind is LimitKind.LEASE}
    assert sum((day.limit_a | cut_a).values()) < before_a
