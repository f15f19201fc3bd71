"""One phase where three do not fit, and back: as a machine, and on a site with cars."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest

from controller.chargers.quirks import Quirk
from controller.load_management.events import QuirkSelected
from controller.load_management.evse.phase_switch import DWELL_S, SETTLE_S, PhaseSwitch
from controller.load_management.metering.fuse_curve import MOTOR_S
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef, ProfilesTouched
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station


def switch() -> PhaseSwitch:
    found = PhaseSwitch()
    found.able = True
    return found


def wanted(found: PhaseSwitch, begin: float, end: float) -> None:
    for now in range(int(begin), int(end) + 1, 5):
        found.set_wanted(True, now)


def test_phase_change_is_decided_after_delay_made_without_current() -> None:
    found = switch()
    wanted(found, 0, SETTLE_S - 5)
    assert not found.changing
    found.set_wanted(True, SETTLE_S)
    assert (found.changing, found.to_single, found.single) == (True, True, False)
    found.on_change_made(70)
    assert (found.changing, found.single) == (False, True)


def test_phase_switch_abandoned_change_begins_anew() -> None:
    found = switch()
    wanted(found, 0, SETTLE_S - 5)
    found.set_wanted(False, SETTLE_S)
    wanted(found, SETTLE_S + 5, 2 * SETTLE_S)
    assert not found.changing


def test_no_change_comes_soon_after_another() -> None:
    found = switch()
    wanted(found, 0, SETTLE_S)
    found.on_change_made(100)
    wanted(found, 105, 100 + DWELL_S - 5)
    assert not found.changing
    found.set_wanted(True, 100 + DWELL_S)
    assert (found.changing, found.to_single) == (True, False)


def test_phase_switch_refused_is_not_requested_again_on_that_link() -> None:
    found = switch()
    wanted(found, 0, SETTLE_S)
    found.on_change_made(70)
    found.on_failure()
    assert not found.single
    assert not found.may_change(10_000)
    found.on_link_lost()
    assert found.may_change(10_000)


def building(now: float) -> PhaseAmps:
    """Room for 9 A on L1 alone between 300 s and 1500 s; else there is plenty."""
    return (22.0, 31.0, 31.0) if 300 <= now < 1500 else (5.0, 5.0, 5.0)


def tight(
    *, switching: bool | None = True, switches: bool = True, phases: tuple[int, ...] = (0, 1, 2)
) -> SiteHarness:
    one = make_station("A", car=CarModel(), phases=phases, phase_switching=switching, switches=switches)  # type: ignore[arg-type]
    site = SiteHarness((make_grid(32.0),), [one], building)
    site.connect()
    return site


def changes_of_phases(site: SiteHarness) -> list[float]:
    commanded = site.station("A").one_phase
    return [at for (_, before), (at, after) in pairwise(commanded) if before is not after]


def test_car_without_room_for_three_phases_uses_one_and_returns() -> None:
    site = tight()
    site.wait(300)
    site.row_flowed["grid"].clear()
    site.wait(900)
    assert site.station("A").drawn() == (site.evse_view("A").offered_a, 0.0, 0.0)
    assert site.evse_view("A").offered_a == 9.0
    assert site.evse_view("A").reason == "on one phase: grid L1 full"
    site.wait(900)
    assert min(site.station("A").drawn()) == 26.0
    assert len(changes_of_phases(site)) == 2
    assert site.longest_over("grid", 32.0) <= 6 + MOTOR_S
    # Never on the old and the new phases at once: each change was made without current.
    for changed in changes_of_phases(site):
        before = [limit for at, limit in site.station("A").leases if at < changed]
        assert before[-1] == 0.0


@pytest.mark.parametrize(
    ("switching", "reported", "able"),
    [(True, None, True), (False, True, False), (None, True, True), (None, False, False), (None, None, False)],
)
def test_phase_switch_is_requested_of_capable_stations_only(
    switching: bool | None, reported: bool | None, able: bool
) -> None:
    site = tight(switching=switching)
    site.handle(QuirkSelected("A", Quirk(name="says so", phase_switching=reported)))
    site.wait(900)
    assert (site.station("A").draw_a > 0) is able


@pytest.mark.parametrize(
    ("free_a", "drawn"),
    [
        ((8.0, 6.9), (8.0, 0.0, 0.0)),  # the next small rise of the building would end it
        ((8.0, 7.1), (7.1, 7.1, 7.1)),
        ((26.0, 7.1), (26.0, 0.0, 0.0)),  # one phase is more than three
        ((20.0, 7.1), (7.1, 7.1, 7.1)),
    ],
)
def test_phase_switch_returns_only_to_lasting_gain(
    free_a: tuple[float, float], drawn: tuple[float, float, float]
) -> None:
    site = tight()
    site.wait(900)
    site.building = lambda now: (31.0 - free_a[0], 31.0 - free_a[1], 5.0)
    site.wait(900)
    assert site.station("A").drawn() == pytest.approx(drawn)


def test_phase_switch_takes_no_current_from_another_evse() -> None:
    """One who is served first would have three phases, on the last room of his neighbour."""
    first = make_station("A", car=CarModel(), phase_switching=True)
    first.evse = msgspec.structs.replace(first.evse, priority=1)
    second = make_station("B", car=CarModel(phases=(0,)), phases=(1, 2, 0))
    site = SiteHarness((make_grid(32.0),), [first, second], building)
    site.connect()
    site.wait(900)
    assert site.station("A").drawn() == (9.0, 0.0, 0.0)
    site.building = lambda now: (22.0, 23.0, 5.0)
    site.wait(900)
    assert site.station("A").drawn() == (9.0, 0.0, 0.0)
    assert site.station("B").draw_a == 8.0


def test_phase_switch_unanswered_is_booked_on_all_phases() -> None:
    site = tight()
    site.wait(900)
    site.station("A").refuses = True
    site.report("A", ProfilesTouched("a backend's command"))
    site.wait(10)
    assert min(site.circuit_view("grid").booked_a) >= 6.0


def test_station_that_ignores_phase_limit_is_detected() -> None:
    site = tight(switches=False)
    site.wait(1400)
    commanded = [single for at, single in site.station("A").one_phase if at > 400]
    assert any(commanded)
    assert not commanded[-1]
    assert site.station("A").draw_a == 0.0
    assert len(changes_of_phases(site)) == 2
    assert site.longest_over("grid", 32.0) <= 15


def test_phase_switch_absent_station_is_booked_on_all_phases() -> None:
    site = tight()
    site.wait(900)
    assert site.circuit_view("grid").booked_a == pytest.approx((9.0, 0.0, 0.0))
    site.disconnect("A")
    site.wait(5)
    assert min(site.circuit_view("grid").booked_a) >= 6.0


@pytest.mark.parametrize("report_s", [10, 300, 0])
@pytest.mark.parametrize("sun_a", [2.5, 4.0])
def test_phase_switch_lasts_on_surplus_too_small_for_all_phases(sun_a: float, report_s: int) -> None:
    # All of the sun on the one phase. Without reports, its first step shows nothing of the other phases.
    station = make_station("A", car=CarModel(), phase_switching=True, surplus=True, report_s=report_s)
    site = SiteHarness((make_grid(63.0),), [station], lambda now: (now % 3 / 100 - sun_a,) * 3)
    site.connect()
    site.wait(1800)
    assert station.drawn() == (pytest.approx(3 * sun_a, abs=0.3), 0.0, 0.0)
    assert len(changes_of_phases(site)) == 1


@pytest.mark.slow
def test_phase_switch_unbalance_bounds_what_one_phase_gets() -> None:
    site = tight()
    leaning = SiteHarness(
        (make_grid(32.0, unbalance_a=12.0),), [site.station("A")], lambda now: (10.0, 10.0, 31.0)
    )
    leaning.connect()
    leaning.wait(1500)
    assert leaning.station("A").drawn() == (12.0, 0.0, 0.0)
    assert leaning.evse_view("A").reason == "on one phase: grid L1 too far above L2"


@pytest.mark.slow
def test_phase_switch_room_that_comes_and_goes_makes_no_flapping() -> None:
    site = tight()
    site.building = lambda now: (22.0, 31.0, 31.0) if now % 120 < 60 else (5.0, 5.0, 5.0)
    site.wait(7200)
    assert all(after - before >= DWELL_S for before, after in pairwise(changes_of_phases(site)))
    assert len(changes_of_phases(site)) <= 2


def test_one_phase_is_stations_first_wherever_it_sits() -> None:
    site = tight(phases=(1, 2, 0))
    site.building = lambda now: (31.0, 22.0, 31.0)
    site.wait(900)
    assert site.station("A").ref == EvseRef("A", 1)
    assert site.flowed[-1] == (31.0, 31.0, 31.0)


def test_two_cars_switch_to_one_phase_so_that_both_charge() -> None:
    cars = [
        make_station("A", car=CarModel(), phase_switching=True),
        make_station("B", car=CarModel(), phases=(1, 2, 0), phase_switching=True),
    ]
    site = SiteHarness((make_grid(10.0),), cars)
    for each in cars:
        each.evse = msgspec.structs.replace(each.evse, fallback_a=0.0)
    site.connect()
    site.wait(900)
    assert [each.draw_a for each in cars] == [9.0, 9.0]
    assert [sum(amps > 0 for amps in each.drawn()) for each in cars] == [1, 1]


def test_cloud_of_a_minute_and_a_half_switches_no_phases() -> None:
    # Each 10 min 2.6 A of sun on each phase are left of 18: one phase would do, for 90 s.
    station = make_station("A", car=CarModel(16.0), surplus=True, phase_switching=True)
    sun_a = (-18.0, -18.0, -18.0), (-2.6, -2.6, -2.6)
    site = SiteHarness((make_grid(63.0),), [station], lambda now: sun_a[now % 600 < 90])
    site.connect()
    site.wait(3600)
    assert not any(is_single for _, is_single in station.one_phase)
    assert sum(then < 6.0 <= now for (_, then), (_, now) in pairwise(station.leases)) <= 1
