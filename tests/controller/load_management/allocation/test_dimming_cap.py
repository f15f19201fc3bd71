"""Dimming by the grid operator: grid draw of the controllable EVSEs, also with disobedient ones."""

from __future__ import annotations

import pytest

from controller.dimming.pmin import minimum_w
from controller.load_management.allocation.dimming_cap import VOLTAGE_HELD_S, DimmingCap
from controller.load_management.events import SiteDimmed, StationObserved
from controller.model.observations import (
    BackendLimit,
    EvseRef,
    EvseState,
    ProfilesTouched,
    StateSeen,
    TransactionSeen,
)
from controller.model.statements import Statement, StatementCode
from tests.scenario.site_harness import CarModel, SiteHarness, StationModel, make_grid, make_station

VOLT = 230.0
STATEMENT = Statement(code=StatementCode.DIMMED_UNTIL, name="dso", power_w=4200.0, time="14:45")
WHY = "dimmed by dso to 4.2 kW until 14:45"
CHARGING_S = 60
FOLLOWS_S = 1 + 3 + 1
"""The answer, the car, and one for the steps of a second."""
CARS = [CarModel(32.0), CarModel(16.0), CarModel(32.0, (0,)), CarModel(16.0, (0, 1))]
ROTATIONS = [(0, 1, 2), (1, 2, 0), (2, 0, 1)]


def controllable(index: int) -> StationModel:
    return make_station(f"S{index:03}", phases=ROTATIONS[index % 3], car=CARS[index % 4], controllable=True)


def depot(count: int, *more: StationModel, limit_a: float | None = None) -> SiteHarness:
    """So many controllable EVSEs with a car each, all charging."""
    stations = [controllable(index) for index in range(count)]
    site = SiteHarness((make_grid(limit_a or 40.0 * (count + len(more)) + 100.0),), [*stations, *more])
    site.connect()
    site.wait(CHARGING_S)
    return site


def controllable_w(site: SiteHarness) -> float:
    """Return the power that the controllable EVSEs draw (W)."""
    return sum(sum(each.drawn()) for each in site.stations.values() if each.evse.is_controllable) * VOLT


def seconds_until_under(site: SiteHarness, watts: float, most: int = 90) -> int:
    for second in range(most):
        if controllable_w(site) <= watts + 1e-6:
            return second
        site.step()
    raise AssertionError(f"{controllable_w(site):.0f} W after {most} s, {watts:.0f} W are allowed")


def stays_under(site: SiteHarness, watts: float, seconds: int) -> None:
    for _ in range(seconds):
        site.step()
        assert controllable_w(site) <= watts + 1e-6, f"at second {site.now:g}"


def dim(watts: float | None, until: float | None = None) -> SiteDimmed:
    return SiteDimmed(total_w=watts, why=STATEMENT, until=until)


@pytest.mark.slow
@pytest.mark.parametrize("count", [1, 3, 100])
def test_dimming_cap_draw_is_under_limit_as_soon_as_cars_follow(count: int) -> None:
    site = depot(count)
    limit_w = minimum_w(count)
    assert controllable_w(site) > limit_w
    site.handle(dim(limit_w))
    assert seconds_until_under(site, limit_w) <= FOLLOWS_S
    stays_under(site, limit_w, 60)
    assert controllable_w(site) > 0.5 * limit_w, "and no lower than it must be"


def test_dimming_cap_reason_states_who_until_when() -> None:
    site = depot(2)
    site.handle(dim(4200.0))
    shown = {decision.reason for decision in site.decisions}
    assert WHY in shown
    assert f"no room for its minimum of 6 A, {WHY}: waiting" in shown
    site.wait(20)
    assert {site.evse_view(name).reason for name in ("S000", "S001")} == {
        WHY,
        f"{WHY}: gave up its place, rests 60 s at least",
    }


@pytest.mark.slow
@pytest.mark.parametrize("count", [100, 500])
def test_dimming_cap_others_compensate_slow_and_unresponsive(count: int) -> None:
    site = depot(count)
    limit_w = minimum_w(count)
    for index, each in enumerate(site.stations.values()):
        if index % 25 == 1:
            each.obeys = False
        elif index % 25 == 2:
            each.silent = True
        elif index % 25 == 3:
            each.reaction_s = 15
    site.handle(dim(limit_w))
    assert seconds_until_under(site, limit_w) <= 40
    stays_under(site, limit_w, 30)


def test_dimming_cap_evse_not_controllable_keeps_its_share() -> None:
    public = make_station("public", car=CarModel(32.0))
    site = depot(3, public)
    site.handle(dim(4200.0))
    site.wait(20)
    assert public.draw_a == 32.0
    assert controllable_w(site) <= 4200.0


def test_dimming_cap_adds_own_generation_proven_by_meter() -> None:
    site = depot(10)
    site.building = lambda now: (-20.0, -20.0, -20.0)
    site.wait(30)
    site.handle(dim(4200.0))
    site.wait(60)
    with_sun = 4200.0 + 60 * VOLT
    assert 0.8 * with_sun < controllable_w(site) <= with_sun
    grid_w = sum(site.flowed[-1]) * VOLT
    assert grid_w <= 4200.0
    site.building = lambda now: (0.0, 0.0, 0.0)
    site.wait(10)
    stays_under(site, 4200.0, 60)


def test_dimming_cap_each_phase_has_own_limit() -> None:
    site = depot(6)
    site.handle(SiteDimmed(total_w=9000.0, phases_w=(1500.0, 4000.0, 4000.0), why=STATEMENT))
    site.wait(20)
    drawn = [each.drawn() for each in site.stations.values()]
    on_site = [0.0, 0.0, 0.0]
    for each, amps in zip(site.stations.values(), drawn, strict=True):
        for phase, value in zip(each.evse.phases, amps, strict=True):
            on_site[phase] += value
    assert on_site[0] * VOLT <= 1500.0
    assert max(on_site[1:]) * VOLT <= 4000.0
    assert sum(on_site) > 0


@pytest.mark.parametrize(("car", "expected_a"), [(CarModel(32.0), 6.0), (CarModel(32.0, (0,)), 18.2)])
def test_direct_control_is_4200_w_on_as_many_phases_as_car_uses(car: CarModel, expected_a: float) -> None:
    site = SiteHarness((make_grid(100.0),), [make_station("S000", car=car, controllable=True)])
    site.connect()
    site.wait(CHARGING_S)
    site.handle(SiteDimmed(evses_w={EvseRef("S000", 1): 4200.0}, whys={EvseRef("S000", 1): STATEMENT}))
    site.wait(CHARGING_S)
    assert site.station("S000").draw_a == pytest.approx(expected_a)
    assert site.evse_view("S000").reason == WHY


def test_dimming_cap_less_than_minimum_is_pause() -> None:
    site = depot(1)
    site.handle(SiteDimmed(evses_w={EvseRef("S000", 1): 4100.0}, whys={EvseRef("S000", 1): STATEMENT}))
    assert site.evse_view("S000").reason == f"{WHY}: 5.9 A, less than its minimum of 6 A"
    site.wait(10)
    assert site.station("S000").draw_a == 0


def test_dimming_cap_lifted_limit_is_removed() -> None:
    site = depot(4)
    before = controllable_w(site)
    site.handle(dim(4200.0))
    site.wait(60)
    site.handle(SiteDimmed())
    site.wait(60)
    assert controllable_w(site) == before


def test_dimming_cap_backend_limit_does_not_raise_it() -> None:
    site = depot(20)
    limit_w = minimum_w(20)
    site.handle(dim(limit_w))
    seconds_until_under(site, limit_w)
    for second in range(60):
        name = f"S{second % 20:03}"
        site.report(name, BackendLimit(1, 32.0))
        site.report(name, ProfilesTouched("a boot"))
        stays_under(site, limit_w, 1)


def test_dimming_cap_survives_restart() -> None:
    site = depot(20)
    limit_w = minimum_w(20)
    site.handle(dim(limit_w))
    seconds_until_under(site, limit_w)
    site.wait(10)
    site.is_controlled = False
    stays_under(site, limit_w, 30)
    site.restart()
    site.handle(dim(limit_w))  # the restored limit comes before all else
    for name in [ref.station for ref in site.stations]:
        stays_under(site, limit_w, 1)
        site.connect(name)
    stays_under(site, limit_w, 60)
    assert controllable_w(site) > 0


@pytest.mark.parametrize("is_restarted", [False, True])
def test_dimming_cap_is_first_lease_of_station_that_comes_back(*, is_restarted: bool) -> None:
    """What it was left with before, 13 A, may still be in it: that is no reason to send it again."""
    site = depot(1)
    site.handle(dim(9000.0))
    site.wait(60)
    assert site.station("S000").leases[-1][1] == 13.0
    site.disconnect("S000")
    if is_restarted:
        site.restart()
        for stored in (StateSeen(1, EvseState.CHARGING), TransactionSeen(1, True)):
            site.handle(StationObserved("S000", stored))
    site.handle(dim(4500.0))
    before = len(site.station("S000").leases)
    site.connect("S000")
    site.wait(3)
    assert [limit_a for _, limit_a in site.station("S000").leases[before:]] in ([6.5], [6.0])


def test_dimming_cap_applies_at_once_to_new_car() -> None:
    site = depot(3)
    site.plug_in("S001", None)
    site.wait(5)
    site.handle(dim(4200.0))
    site.wait(20)
    assert site.evse_view("S001").reason == f"{WHY}: no car"
    site.plug_in("S001", CARS[1])
    stays_under(site, 4200.0, 60)


def test_dimming_cap_of_lost_sender_applies_until_its_end() -> None:
    """All backends away, with stations that are closed for it, or the controller's machine dead."""
    site = depot(20)
    site.plug_in("S007", None)
    site.wait(5)
    limit_w = minimum_w(20)
    site.handle(dim(limit_w, until=site.now + 1800))
    seconds_until_under(site, limit_w)
    site.wait(30)
    for ref in list(site.stations):
        site.disconnect(ref.station)
    stays_under(site, limit_w, 300)
    site.is_controlled = False
    site.station("S007").car = CarModel(32.0)
    stays_under(site, limit_w, 1400)
    site.wait(120)
    assert controllable_w(site) > limit_w, "then they have their floors again"


def test_dimming_cap_over_leaves_no_evse_below_its_floor() -> None:
    site = depot(3)
    site.plug_in("S001", None)
    site.wait(5)
    site.handle(dim(4200.0))
    site.wait(60)
    site.handle(SiteDimmed())
    site.wait(60)
    assert site.station("S001").limit_a(site.now) == 6.0
    leases = len(site.station("S001").leases)
    site.wait(600)
    assert len(site.station("S001").leases) == leases, "an idle station is not written to"


def test_dimming_cap_end_of_limit_ends_rests_of_stopped_cars() -> None:
    site = depot(3)
    site.wait(400)
    site.handle(dim(4200.0))
    site.wait(15)
    stopped = [each for each in site.stations.values() if each.limit_a(site.now) == 0.0]
    assert len(stopped) == 2
    site.handle(SiteDimmed())
    site.wait(15)
    assert all(each.limit_a(site.now) >= 6.0 for each in stopped)


def test_dimming_cap_higher_limit_leaves_stopped_cars_resting() -> None:
    site = depot(3)
    site.wait(400)
    site.handle(dim(4200.0))
    site.wait(15)
    site.handle(dim(42_000.0))
    site.wait(15)
    assert sum(each.limit_a(site.now) == 0.0 for each in site.stations.values()) == 2


THREE_PHASES = ((True, True, True), 6.0)
ONE_PHASE = ((True, False, False), 6.0)


@pytest.mark.parametrize(
    ("measured_v", "minima", "sum_a"),
    [
        (230.0, [ONE_PHASE], 4200 / 230),
        (240.0, [ONE_PHASE], 4200 / 240),
        (238.2, [ONE_PHASE], 4200 / 240),
        (240.0, [THREE_PHASES], 18.0),
        (240.0, [ONE_PHASE, ONE_PHASE, ONE_PHASE], 18.0),
        (240.0, [ONE_PHASE, THREE_PHASES], 4200 / 240),
        (400.0, [ONE_PHASE], 4200 / 255),
    ],
)
def test_dimming_cap_watts_at_measured_voltage_leave_minima(
    measured_v: float, minima: list[tuple[tuple[bool, bool, bool], float]], sum_a: float
) -> None:
    cap = DimmingCap(VOLT)
    cap.dim(dim(4200.0), 0.0)
    cap.set_voltage(measured_v, 0.0)
    for number, minimum in enumerate(minima):
        cap.set_minimum(EvseRef("A", number), minimum)
    dimmed = cap.find_bound(0.0)
    assert dimmed is not None
    assert dimmed.sum_a == pytest.approx(sum_a)


def test_dimming_cap_leaves_no_minimum_of_evse_without_car() -> None:
    cap = DimmingCap(VOLT)
    cap.dim(dim(4200.0), 0.0)
    cap.set_voltage(240.0, 0.0)
    ref = EvseRef("A", 1)
    sums = []
    for minimum in (THREE_PHASES, ONE_PHASE, None):
        cap.set_minimum(ref, minimum)
        dimmed = cap.find_bound(0.0)
        assert dimmed is not None
        sums.append(dimmed.sum_a)
    assert sums == pytest.approx([18.0, 4200 / 240, 4200 / 240])


def test_dimming_cap_highest_voltage_is_held() -> None:
    cap = DimmingCap(VOLT)
    cap.dim(dim(4200.0), 0.0)
    sums = []
    for now, measured_v in ((0.0, 238.0), (10.0, 231.0), (VOLTAGE_HELD_S + 1, 231.0)):
        cap.set_voltage(measured_v, now)
        dimmed = cap.find_bound(0.0)
        assert dimmed is not None
        sums.append(dimmed.sum_a)
    assert sums == pytest.approx([4200 / 240, 4200 / 240, 4200 / 235])


@pytest.mark.parametrize("voltage", [207.0, 230.0, 234.0, 240.0, 253.0])
def test_dimming_cap_direct_control_of_4200_w_is_never_pause(voltage: float) -> None:
    evse = controllable(0).evse
    cap = DimmingCap(voltage)
    cap.dim(SiteDimmed(evses_w={evse.ref: 4200.0}, why=STATEMENT), 0.0)
    found = cap.cap(evse, (True, True, True))
    assert found is not None
    assert found[0] >= 6.0
    group = DimmingCap(voltage)
    group.dim(dim(4200.0), 0.0)
    dimmed = group.find_bound(0.0)
    assert dimmed is not None
    assert dimmed.sum_a >= 18.0
