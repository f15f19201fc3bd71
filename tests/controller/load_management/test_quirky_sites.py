"""Stations with quirks among others: the limits of the site apply in spite of any quirk."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import msgspec
import pytest

from controller.chargers.quirks import NO_QUIRK, Quirk
from controller.load_management.events import (
    ControlTick,
    GroupLimit,
    LimitAnswered,
    QuirkSelected,
    SetLimit,
    SiteEvent,
    StationObserved,
    StationUp,
)
from controller.load_management.evse.learned_values import REACTION_S
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.share_planner import NO_PAUSE
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_control import SiteControl
from controller.load_management.site_tree import EvseNode, SiteTree
from controller.load_management.site_view import EvseView
from controller.model.observations import BackendLimit, DrawSeen, EvseRef, EvseState, Observation, StateSeen
from controller.profiles.limit_profiles import LimitKind
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

WATTS = Quirk(name="takes W only", unit="W")
NO_ZERO = Quirk(name="a pause harms it", zero="minimum")
STEPS = Quirk(name="steps", steps_a=(6, 8, 10, 13, 16), decimals=0)

REACTS_S = 6
"""1 s until the meter shows it, 1 s until the station answers, 3 s until its car obeys."""


@dataclass
class WattStation(StationModel):
    """Its limit is of all phases together: a car on one phase takes all of it there."""

    def accept(self, command: SetLimit, now: float) -> bool:
        total_a = command.limit_w / 230.0
        if command.kind is LimitKind.FALLBACK:
            self.fallback_a = total_a
            return True
        assert command.duration_s is not None
        self.lease = (total_a, now + command.duration_s)
        self.leases.append((now, total_a))
        return True

    def limit_a(self, now: float) -> float:
        return super().limit_a(now) / (len(self.car.phases) if self.car else 1)


def watts_site(limit_a: float, car: CarModel, building_a: float = 0.0) -> SiteHarness:
    plain = make_station("W")
    site = SiteHarness((make_grid(limit_a),), [WattStation(plain.evse, car)], lambda now: (building_a,) * 3)
    site.handle(QuirkSelected("W", WATTS))
    site.connect()
    return site


def most_after_connecting(site: SiteHarness) -> float:
    """The most loaded phase, once the stations have their first limits."""
    return max(max(amps) for amps in site.flowed[REACTS_S:])


def test_quirky_sites_car_on_three_phases_gets_share_in_watts() -> None:
    site = watts_site(33.0, CarModel(32.0))
    site.wait(600)
    assert site.station("W").draw_a >= 30
    assert most_after_connecting(site) <= 33


def test_quirky_sites_car_on_one_phase_never_has_three_times_share() -> None:
    site = watts_site(33.0, CarModel(32.0, (0,)), 8.0)
    site.wait(600)
    assert 20 <= site.station("W").draw_a <= 24
    assert most_after_connecting(site) <= 33


def test_quirky_sites_next_car_may_use_one_phase_again() -> None:
    site = watts_site(33.0, CarModel(32.0), 8.0)
    site.wait(600)
    site.plug_in("W", None)
    site.wait(30)
    site.plug_in("W", CarModel(32.0, (1,)))
    site.wait(600)
    assert site.station("W").draw_a >= 20
    assert most_after_connecting(site) <= 33


def test_without_controller_no_car_takes_more_than_fallback_on_any_phase() -> None:
    site = watts_site(33.0, CarModel(32.0, (0,)))
    site.wait(300)
    site.is_controlled = False
    site.wait(600)
    assert site.station("W").draw_a == 6


def test_quirky_sites_too_little_for_any_car_is_pause() -> None:
    site = watts_site(24.0, CarModel(32.0, (0,)), 8.0)  # 15 A are free: 18 A may be what it takes
    site.wait(300)
    assert site.station("W").draw_a == 0


def test_quirky_sites_fewer_phases_that_share_it_are_booked_at_once() -> None:
    evse = EvseNode(ref=EvseRef("W", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    delivery = LimitDelivery(evse, 120.0, itertools.count())
    delivery.apply_quirk(WATTS, 0)
    delivery.on_connected(0)
    delivery.set_phases(3)
    for command in delivery.commands(10, 32, 0):
        assert command.limit_w == (6 * 230 if command.kind is LimitKind.FALLBACK else 10 * 3 * 230)
        delivery.on_answer(command.token, True, "", 0)
    assert delivery.standing(REACTION_S).held_a == 10
    delivery.set_phases(1)
    assert delivery.standing(REACTION_S).held_a == 30
    delivery.set_phases(3)
    assert delivery.standing(REACTION_S).held_a == 10


def watts_evse(**changes: Any) -> EvseNode:
    evse = EvseNode(ref=EvseRef("W", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=16, fallback_a=6)
    return msgspec.structs.replace(evse, **changes)


class WattControl:
    """The control of a site with one station that accepts W only, has a car and accepts every limit."""

    def __init__(self, evse: EvseNode, limit_a: float = 40.0) -> None:
        self.sent: list[SetLimit] = []
        self._control = SiteControl(
            SiteTree(circuits=(make_grid(limit_a, meter=None),), evses=(evse,)), SiteSettings(), 0.0
        )
        for event in (QuirkSelected("W", WATTS), StationUp("W"), self.seen(StateSeen(1, EvseState.CHARGING))):
            self.handle(event, 0.0)

    @staticmethod
    def seen(observation: Observation) -> StationObserved:
        return StationObserved("W", observation)

    def observe(self, observation: Observation, now: float) -> None:
        self.handle(self.seen(observation), now)

    def tick(self, now: float) -> None:
        self.handle(ControlTick(), now)

    def run(self, begin: int, end: int) -> None:
        for second in range(begin, end):
            self.tick(float(second))

    def last_w(self, kind: LimitKind = LimitKind.LEASE) -> float:
        """Return the last limit of a kind (W)."""
        return [command.limit_w for command in self.sent if command.kind is kind][-1]

    def view(self, now: float) -> EvseView:
        [view] = self._control.snapshots.take_view(now).evses
        return view

    def handle(self, event: SiteEvent, now: float) -> None:
        commands = self._control.handle(event, now)
        self.sent += commands
        for command in commands:
            self.handle(LimitAnswered(command.token, True), now)


def test_watt_station_on_three_phases_uses_its_whole_fuse() -> None:
    control = WattControl(watts_evse())
    control.run(0, 60)
    assert control.last_w() == 3 * 16 * 230


@pytest.mark.parametrize("backend_w", [11_000.0, 4_000.0])
def test_watt_station_has_room_for_limit_of_its_backend_in_watts(backend_w: float) -> None:
    control = WattControl(watts_evse())
    control.run(0, 30)
    assert control.last_w() == 11_040
    control.observe(BackendLimit(1, None, backend_w), 30.0)
    control.tick(31.0)
    assert control.last_w() == backend_w
    assert control.view(31.0).offered_w == backend_w


def test_watt_station_rises_at_once_when_its_backends_limit_in_watts_ends() -> None:
    control = WattControl(watts_evse())
    control.observe(BackendLimit(1, None, 4_000.0), 0.0)
    control.run(0, 30)
    assert control.last_w() == 4_000
    control.observe(BackendLimit(1, None), 30.0)
    control.tick(31.0)
    assert control.last_w() == 11_040


def test_watt_station_with_known_phases_is_booked_at_its_backends_limit() -> None:
    control = WattControl(watts_evse())
    control.observe(BackendLimit(1, None, 6_900.0), 0.0)
    control.run(0, 30)
    for second in (30.0, 31.0):
        control.observe(DrawSeen(1, (9.9, 9.9, 9.9)), second)
    control.run(31, 60)
    assert control.last_w() == pytest.approx(6_900)
    assert control.view(60.0).offered_a == pytest.approx(10.0)
    assert control.view(60.0).reason == "its backend allows 6.9 kW"


def test_watt_station_below_minimum_of_one_phase_by_its_backend_pauses() -> None:
    control = WattControl(watts_evse())
    control.observe(BackendLimit(1, None, 1_300.0), 0.0)
    control.run(0, 60)
    assert control.last_w() == 0


def test_watt_station_with_newly_known_phases_gets_new_lease_at_once() -> None:
    control = WattControl(watts_evse(max_a=32.0), limit_a=25.0)
    control.handle(GroupLimit(19.0), 0.0)
    control.run(0, 3)
    control.handle(GroupLimit(None), 13.0)  # it has rested from its cut
    control.tick(13.0)
    assert control.last_w() == 24 * 230  # a rise a second ago
    for second in (13.0, 14.0):
        control.observe(DrawSeen(1, (6.6, 6.6, 6.6)), second)
    control.tick(14.0)
    assert control.last_w() == pytest.approx(24 * 230 * 3)


def test_watt_station_shows_phases_by_power_that_fewer_cannot_carry() -> None:
    control = WattControl(watts_evse())
    control.run(0, 30)
    control.observe(DrawSeen(1, (15.9, 15.9, 15.9), least_phases=3), 30.0)
    control.observe(BackendLimit(1, None, 6_900.0), 31.0)
    control.run(31, 60)
    assert control.view(60.0).offered_a == pytest.approx(10.0)


def test_watt_station_power_that_one_phase_carries_shows_no_phases() -> None:
    control = WattControl(watts_evse(max_a=32.0), limit_a=21.0)
    control.run(0, 30)
    for second in (30.0, 31.0, 32.0):
        control.observe(DrawSeen(1, (18.0, 18.0, 18.0), least_phases=1), second)
    control.run(32, 60)
    assert control.last_w() == 20 * 230


def test_watt_station_that_divides_limits_gets_watts_for_all_phases() -> None:
    control = WattControl(watts_evse(max_a=32.0, divides_watts=True), limit_a=21.0)
    control.run(0, 60)
    assert control.last_w(LimitKind.FALLBACK) == 3 * 6 * 230
    assert control.last_w() == 3 * 20 * 230


def pair(quirk: Quirk, limit_a: float) -> SiteHarness:
    site = SiteHarness(
        (make_grid(limit_a),), [make_station("A", car=CarModel()), make_station("B", car=CarModel())]
    )
    site.handle(QuirkSelected("A", quirk))
    site.connect()
    return site


def test_station_that_cannot_pause_keeps_its_minimum() -> None:
    site = pair(NO_ZERO, 11.0)  # room for one of them
    site.wait(1800)
    assert min(limit for _, limit in site.station("A").leases) >= 6
    assert site.station("A").draw_a >= 6
    assert site.seconds_over("grid", 12.0) <= 2 * REACTS_S  # before their first limits
    assert any(decision.statement == NO_PAUSE for decision in site.decisions) or site.station("B").draw_a == 0


def test_unpausable_station_takes_minimum_and_others_nothing() -> None:
    site = pair(NO_ZERO, 5.0)
    site.wait(600)
    assert site.station("A").draw_a == 6
    assert site.station("B").draw_a == 0
    assert site.evse_view("A").statement == NO_PAUSE


def test_stations_without_quirk_take_turns() -> None:
    site = pair(NO_QUIRK, 11.0)
    site.wait(3600)
    assert 0 in {limit for _, limit in site.station("A").leases}


def test_quirky_sites_station_with_steps_stays_below_share() -> None:
    site = pair(STEPS, 25.0)
    site.wait(600)
    assert site.station("A").draw_a == 10
    assert {limit for _, limit in site.station("A").leases} <= {0, 6, 8, 10, 13, 16}
    assert site.seconds_over("grid", 25.0) <= 2 * REACTS_S
