"""Stations with quirks among others: the site's own limits hold, whatever one of them cannot do."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

from controller.chargers.quirks import NO_QUIRK, Quirk
from controller.load_management.events import QuirkSelected, SetLimit
from controller.load_management.evse.charger_response import REACTION_S
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.share_planner import NO_PAUSE
from controller.load_management.site_tree import EvseNode
from controller.model.observations import EvseRef
from controller.profiles.limit_profiles import LimitKind
from tests.scenario.site_harness import Car, SiteHarness, StationModel, make_grid, make_station

WATTS = Quirk(name="takes W only", unit="W")
NO_ZERO = Quirk(name="a pause harms it", zero="minimum")
STEPS = Quirk(name="steps", steps_a=(6, 8, 10, 13, 16), decimals=0)

REACTS_S = 6
"""1 s until the meter shows it, 1 s until the station answers, 3 s until its car obeys."""


@dataclass
class WattStation(StationModel):
    """Its limit is of all phases together: a car on one phase takes all of it there."""

    def accept(self, command: SetLimit, now: float) -> bool:
        total_a = command.limit_a * command.phases
        if command.kind is LimitKind.FALLBACK:
            self.fallback_a = total_a
            return True
        assert command.duration_s is not None
        self.lease = (total_a, now + command.duration_s)
        self.leases.append((now, total_a))
        return True

    def limit_a(self, now: float) -> float:
        return super().limit_a(now) / (len(self.car.phases) if self.car else 1)


def watts_site(limit_a: float, car: Car, building_a: float = 0.0) -> SiteHarness:
    plain = make_station("W")
    site = SiteHarness((make_grid(limit_a),), [WattStation(plain.evse, car)], lambda now: (building_a,) * 3)
    site.handle(QuirkSelected("W", WATTS))
    site.connect()
    return site


def most_after_connecting(site: SiteHarness) -> float:
    """The most loaded phase, once the stations have their first limits."""
    return max(max(amps) for amps in site.flowed[REACTS_S:])


def test_quirky_sites_car_on_three_phases_gets_share_in_watts() -> None:
    site = watts_site(33.0, Car(32.0))
    site.wait(600)
    assert site.station("W").draw_a >= 30
    assert most_after_connecting(site) <= 33


def test_quirky_sites_car_on_one_phase_never_has_three_times_share() -> None:
    site = watts_site(33.0, Car(32.0, (0,)), 8.0)
    site.wait(600)
    assert 20 <= site.station("W").draw_a <= 24
    assert most_after_connecting(site) <= 33


def test_quirky_sites_next_car_may_use_one_phase_again() -> None:
    site = watts_site(33.0, Car(32.0), 8.0)
    site.wait(600)
    site.plug_in("W", None)
    site.wait(30)
    site.plug_in("W", Car(32.0, (1,)))
    site.wait(600)
    assert site.station("W").draw_a >= 20
    assert most_after_connecting(site) <= 33


def test_without_controller_no_car_takes_more_than_fallback_on_any_phase() -> None:
    site = watts_site(33.0, Car(32.0, (0,)))
    site.wait(300)
    site.is_controlled = False
    site.wait(600)
    assert site.station("W").draw_a == 6


def test_quirky_sites_too_little_for_any_car_is_pause() -> None:
    site = watts_site(24.0, Car(32.0, (0,)), 8.0)  # 15 A are free: 18 A may be what it takes
    site.wait(300)
    assert site.station("W").draw_a == 0


def test_quirky_sites_fewer_phases_that_share_it_are_booked_at_once() -> None:
    evse = EvseNode(ref=EvseRef("W", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
    delivery = LimitDelivery(evse, 120.0, itertools.count())
    delivery.apply_quirk(WATTS, 0)
    delivery.on_connected(0)
    delivery.set_phases(3)
    for command in delivery.commands(10, 32, 0):
        assert command.phases == (1 if command.kind is LimitKind.FALLBACK else 3)
        delivery.on_answer(command.token, True, "", 0)
    assert delivery.held_a(REACTION_S) == 10
    delivery.set_phases(1)
    assert delivery.held_a(REACTION_S) == 30
    delivery.set_phases(3)
    assert delivery.held_a(REACTION_S) == 30  # cautious until it is told anew


def pair(quirk: Quirk, limit_a: float) -> SiteHarness:
    site = SiteHarness((make_grid(limit_a),), [make_station("A", car=Car()), make_station("B", car=Car())])
    site.handle(QuirkSelected("A", quirk))
    site.connect()
    return site


def test_station_that_cannot_pause_keeps_its_minimum() -> None:
    site = pair(NO_ZERO, 11.0)  # room for one of them
    site.wait(1800)
    assert min(limit for _, limit in site.station("A").leases) >= 6
    assert site.station("A").draw_a >= 6
    assert site.seconds_over("grid", 12.0) <= 2 * REACTS_S  # before their first limits
    assert any(told.reason == NO_PAUSE for told in site.decisions) or site.station("B").draw_a == 0


def test_unpausable_station_takes_minimum_and_others_nothing() -> None:
    site = pair(NO_ZERO, 5.0)
    site.wait(600)
    assert site.station("A").draw_a == 6
    assert site.station("B").draw_a == 0
    assert site.evse_view("A").reason == NO_PAUSE


def test_those_without_this_quirk_take_turns() -> None:
    site = pair(NO_QUIRK, 11.0)
    site.wait(3600)
    assert 0 in {limit for _, limit in site.station("A").leases}


def test_quirky_sites_station_with_steps_stays_below_share() -> None:
    site = pair(STEPS, 25.0)
    site.wait(600)
    assert site.station("A").draw_a == 10
    assert {limit for _, limit in site.station("A").leases} <= {0, 6, 8, 10, 13, 16}
    assert site.seconds_over("grid", 25.0) <= 2 * REACTS_S
