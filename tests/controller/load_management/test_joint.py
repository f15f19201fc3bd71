"""Power and unbalance: what bounds the phases of a circuit together."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.load_management.allocation.allocator import allocate
from controller.load_management.allocation.constraints import PAIRS, JointConstraint
from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef, EvseState
from tests.controller.load_management.allocation.test_allocator import (
    Case,
    cases,
    demand,
    depot,
    in_tenths,
    shares_of,
    tenths,
)
from tests.examples import examples
from tests.scenario.site_harness import (
    CarModel,
    SiteHarness,
    StationModel,
    good_state,
    make_grid,
    make_station,
    stale_state,
)

L1, L2 = (True, False, False), (False, True, False)
L1_L2 = (True, True, False)


@st.composite
def joints(draw: st.DrawFn) -> tuple[Case, dict[str, JointConstraint]]:
    case = draw(cases())
    base = tenths(0, 300)
    return case, {
        circuit.id: JointConstraint(
            sum_a=draw(st.none() | tenths(-50, 1500)),
            unbalance_a=draw(st.none() | tenths(10, 300)),
            base_a=(draw(base), draw(base), draw(base)),
        )
        for circuit in case[0].circuits
        if draw(st.booleans())
    }


def on(case: Case, shares: dict[EvseRef, int], circuit: str) -> Iterator[tuple[tuple[bool, ...], int]]:
    """The phases and the share of everybody below a circuit."""
    site, demands, _ = case
    for each in demands:
        home = site.evse_by_ref[each.ref].circuit
        if circuit in [above.id for above in site.path(home)]:
            yield each.phases, shares[each.ref]


@settings(max_examples=examples(300), deadline=None, derandomize=True)
@given(joints())
def test_neither_power_nor_unbalance_is_exceeded(drawn: tuple[Case, dict[str, JointConstraint]]) -> None:
    case, joint = drawn
    shares = in_tenths(allocate(*case, joint))
    for circuit, bound in joint.items():
        below = list(on(case, shares, circuit))
        if bound.sum_a is not None:
            total = sum(sum(phases) * share for phases, share in below)
            assert total <= max(0, round(bound.sum_a * 10))
        if bound.unbalance_a is not None:
            for high, low in PAIRS:
                leading = sum(share for phases, share in below if phases[high] and not phases[low])
                helping = sum(share for phases, share in below if phases[low] and not phases[high])
                allowed = round((bound.unbalance_a - bound.base_a[high] + bound.base_a[low]) * 10)
                assert leading <= max(0, allowed + helping)


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(cases())
def test_joint_bounds_not_reached_change_nothing(case: Case) -> None:
    joint = {circuit.id: JointConstraint(sum_a=10_000.0, unbalance_a=5_000.0) for circuit in case[0].circuits}
    assert allocate(*case, joint) == allocate(*case)


def test_power_counts_each_phase() -> None:
    site, capacity = depot(grid=60)
    demands = [demand("grid1"), demand("grid2", phases=L1)]
    got = allocate(site, demands, capacity, {"grid": JointConstraint(sum_a=40.0)})
    assert shares_of(got) == {"grid1": 10.0, "grid2": 10.0}
    assert got[EvseRef("grid1", 1)].reason == "grid full (power)"


def test_joint_phase_leads_no_further_than_it_may() -> None:
    site, capacity = depot(grid=60)
    joint = {"grid": JointConstraint(unbalance_a=20.0)}
    alone = allocate(site, [demand("grid1", phases=L1)], capacity, joint)
    assert alone[EvseRef("grid1", 1)].limit_a == 20.0
    assert alone[EvseRef("grid1", 1)].reason in ("grid L1 too far above L2", "grid L1 too far above L3")


def test_joint_car_on_other_phase_gives_first_one_more() -> None:
    site, capacity = depot(grid=60)
    demands = [demand("grid1", phases=L1), demand("grid2", phases=L2)]
    pair = allocate(
        site, demands, capacity, {"grid": JointConstraint(unbalance_a=20.0, base_a=(0.0, 0.0, 12.0))}
    )
    assert shares_of(pair) == {"grid1": 32.0, "grid2": 32.0}


def test_joint_three_phase_car_is_never_held_back_by_unbalance() -> None:
    site, capacity = depot(grid=60)
    joint = {"grid": JointConstraint(unbalance_a=5.0, base_a=(30.0, 0.0, 0.0))}
    got = allocate(site, [demand("grid1"), demand("grid2", phases=L1)], capacity, joint)
    assert shares_of(got) == {"grid1": 32.0, "grid2": 0.0}


def test_joint_two_phases_lead_third_together() -> None:
    site, capacity = depot(grid=60)
    got = allocate(
        site, [demand("grid1", phases=L1_L2)], capacity, {"grid": JointConstraint(unbalance_a=16.0)}
    )
    assert shares_of(got) == {"grid1": 16.0}


def test_joint_site_stays_below_power() -> None:
    cars = [make_station(f"S{i}", car=CarModel()) for i in range(3)]
    site = SiteHarness(
        (make_grid(63.0, limit_w=27_600.0),), cars, lambda now: (8.0 if now > 600 else 2.0, 2.0, 2.0)
    )
    site.connect()
    site.wait(1200)
    watts = [230 * sum(amps) for amps in site.flowed[60:]]
    assert max(watts) <= 27_600 + 6 * 230  # the second until the meter shows the jump
    assert sum(w > 27_600 for w in watts) <= 6
    assert watts[-1] > 0.9 * 27_600
    assert site.evse_view("S0").reason == "grid full (power)"


def test_power_limit_holds_without_meter_after_newcomer_fallback() -> None:
    site = SiteHarness(
        (make_grid(63.0, meter=None, limit_w=24_150.0),),
        [make_station("A", car=CarModel()), make_station("B")],
    )
    site.connect()
    site.wait(180)
    assert site.evse_view("A").offered_a == 32.0
    site.plug_in("B", CarModel())
    site.wait(240)  # a renewal levels what a deep cut has left
    over = [230 * sum(amps) > 24_150 for amps in site.flowed[60:]]
    assert sum(over) <= 1 + 3 + 1  # A answers, A's car obeys
    assert not any(over[-60:])
    assert [site.evse_view(name).offered_a for name in "AB"] == [17.0, 17.0]


def _gap(amps: PhaseAmps) -> float:
    return max(amps) - min(amps)


@pytest.mark.parametrize("phases", [(0,), (0, 1)])
def test_one_phase_cars_on_three_phase_stations_stay_within_unbalance(phases: tuple[int, ...]) -> None:
    cars = [make_station(f"S{i}", car=CarModel(32.0, phases)) for i in range(2)]
    site = SiteHarness((make_grid(100.0, unbalance_a=20.0),), cars)
    site.connect()
    site.wait(900)
    assert max(_gap(amps) for amps in site.flowed[-600:]) <= 20.0
    assert _gap(site.flowed[-1]) > 18.0


@pytest.mark.parametrize("report_s", [10, 60, 300])
@pytest.mark.parametrize("number", [2, 3, 4])
def test_cars_of_unknown_phases_lead_by_no_more_than_unbalance(number: int, report_s: int) -> None:
    # All of them draw on L1 alone: two share 20 A, three have 6.6 A each, and the fourth waits.
    stations = [make_station(f"S{place}", car=None) for place in range(number)]
    for station in stations:
        station.report_s = report_s
    site = SiteHarness((make_grid(100.0, unbalance_a=20.0),), stations)
    site.connect()
    site.wait(60)
    for place in range(number):
        site.plug_in(f"S{place}", CarModel(32.0, (0,)))
    site.wait(900)
    gaps = [_gap(amps) for amps in site.flowed[60:]]
    assert max(gaps) <= 4 * 6.0  # their fallbacks, until the fourth has none
    assert sum(gap > 20.05 for gap in gaps) <= 10
    assert gaps[-1] > 18.0


@pytest.mark.parametrize("lead_a", [0.0, 16.0, 25.0])
@pytest.mark.parametrize("number", [1, 3])
def test_cars_on_three_phases_charge_beside_building_that_leads(number: int, lead_a: float) -> None:
    # They may draw on L1 alone until they have shown that they do not: one after the other does so.
    stations = [make_station(f"S{place}", car=None) for place in range(number)]
    site = SiteHarness(
        (make_grid(100.0, unbalance_a=20.0),), stations, lambda _now: (10.0 + lead_a, 10.0, 10.0)
    )
    site.connect()
    site.wait(60)
    for place in range(number):
        site.plug_in(f"S{place}", CarModel(32.0))
    site.wait(600)
    expected_a = min(32.0, (100.0 - 1.0 - 10.0 - lead_a) / number)
    drawn_a = [site.station(f"S{place}").draw_a for place in range(number)]
    assert drawn_a == pytest.approx([expected_a] * number, abs=0.4)


def _one_phase_stations(report_s: int = 10) -> list[StationModel]:
    return [
        make_station(name, phases=(phase,), car=CarModel(32.0, (0,)), report_s=report_s)
        for phase, name in enumerate("ABC")
    ]


@pytest.mark.parametrize("report_s", [0, 300])
def test_silent_cars_on_one_phase_each_help_each_other(report_s: int) -> None:
    # No report shows their draw for minutes: the meter shows each rise of one, which is help for the others.
    site = SiteHarness((make_grid(63.0, unbalance_a=16.0),), _one_phase_stations(report_s))
    site.connect()
    site.wait(900)
    assert max(_gap(amps) for amps in site.flowed) <= 16.1
    assert [site.station(name).draw_a for name in "ABC"] == [32.0] * 3


def test_silent_car_that_becomes_full_helps_no_longer() -> None:
    site = SiteHarness((make_grid(63.0, unbalance_a=16.0),), _one_phase_stations(report_s=0))
    site.connect()
    site.wait(900)
    site.station("C").car = CarModel(0.0, (0,))  # its state stays "Charging"
    site.station("C").next_state = lambda: EvseState.CHARGING  # type: ignore[method-assign]
    site.wait(60)
    assert sum(_gap(amps) > 16.1 for amps in site.flowed) <= 10
    site.wait(900)
    assert max(_gap(amps) for amps in site.flowed[-900:]) <= 16.1
    assert [site.station(name).draw_a for name in "AB"] == pytest.approx([16.0] * 2, abs=0.2)


def test_short_loss_of_meter_stops_no_car_on_one_phase() -> None:
    # What is declared as the building's load is no lead of a phase.
    grid = make_grid(100.0, unbalance_a=20.0, base_load_a=40.0)
    stations = [*_one_phase_stations(), make_station("D", car=CarModel(32.0))]
    site = SiteHarness((grid,), stations, lambda _now: (10.0, 10.0, 10.0))
    site.connect()
    site.wait(900)
    site.meter = stale_state
    site.wait(25)
    site.meter = good_state
    site.wait(60)
    assert not any(_stops(station) for station in stations)


def test_unbalance_is_kept_where_another_car_starts_at_once() -> None:
    # E needs 6 A on L1, which is less than A has to come down by as B leaves.
    stations = [*_one_phase_stations(), make_station("D", car=CarModel(32.0)), make_station("E")]
    site = SiteHarness((make_grid(63.0, unbalance_a=10.0),), stations)
    site.connect()
    site.wait(900)
    assert site.station("A").draw_a == pytest.approx(31.0, abs=0.3)
    site.plug_in("B", None)
    site.plug_in("E", CarModel(32.0))
    site.wait(120)
    assert sum(_gap(amps) > 10.1 for amps in site.flowed[-120:]) <= 10


@pytest.mark.parametrize(("shown_l1_a", "got_a"), [(15.0, 6.0), (25.0, 0.0)])
@pytest.mark.parametrize("is_served", [False, True])
def test_unbalance_keeps_minimum_beside_load_that_is_shown(
    shown_l1_a: float, got_a: float, is_served: bool
) -> None:
    # L1 may have 20 A and L2 10 A of the building: nobody starts, but who charges goes on beside 15 A.
    site, capacity = depot(grid=60.0)
    joint = JointConstraint(
        unbalance_a=12.0,
        base_a=(20.0, 15.0, 15.0),
        low_a=(10.0, 10.0, 10.0),
        shown_a=(shown_l1_a, 15.0, 15.0),
    )
    asked = msgspec.structs.replace(demand("grid1", phases=L1), is_served=is_served)
    assert shares_of(allocate(site, [asked], capacity, {"grid": joint})) == {
        "grid1": got_a if is_served else 0.0
    }


def test_unbalance_of_phases_that_swing_together_stops_no_car() -> None:
    # L1 and L2 rise and fall by 10 A together: neither leads the other.
    def building(now: float) -> tuple[float, float, float]:
        swing_a = 15.0 if now < 900 else 10.0 + 10.0 * (now // 10 % 2)
        return (swing_a, swing_a, 20.0)

    stations = [make_station("A", phases=(0,)), make_station("B", phases=(1,))]
    for station, phase in zip(stations, (0, 1), strict=True):
        station.evse = msgspec.structs.replace(station.evse, phases=(phase,), fallback_a=0.0)
        station.car = CarModel(32.0, (0,))
    site = SiteHarness((make_grid(100.0, unbalance_a=8.0),), stations, building)
    site.connect()
    site.wait(1800)
    assert not any(_stops(station) for station in stations)
    assert min(station.draw_a for station in stations) >= 6.0
    assert sum(_gap(amps) > 8.1 for amps in site.flowed[-800:]) <= 10


@pytest.mark.parametrize("jump_a", [0.8, 1.5, 3.0])
def test_unbalance_that_grows_by_little_is_cut_at_once(jump_a: float) -> None:
    # Each of three cars comes down by less than is worth a write elsewhere.
    stations = [make_station(name, phases=(0,), car=CarModel(32.0, (0,))) for name in "ABC"]
    site = SiteHarness(
        (make_grid(63.0, unbalance_a=20.0),), stations, lambda now: (1.0 + jump_a * (now > 605), 5.0, 8.0)
    )
    site.connect()
    site.wait(600)
    assert _gap(site.flowed[-1]) == pytest.approx(20.0, abs=0.5)
    site.wait(60)
    assert sum(_gap(amps) > 20.6 for amps in site.flowed[-60:]) <= 10
    assert _gap(site.flowed[-1]) > 19.0


def _stops(station: StationModel) -> int:
    limits = [limit_a for _, limit_a in station.leases]
    return sum(after == 0 < before for before, after in pairwise(limits))


@pytest.mark.parametrize(("taken_a", "left_a"), [(32.0, 0.0), (11.0, 7.0)])
def test_cars_on_surplus_count_the_leads_of_the_others(taken_a: float, left_a: float) -> None:
    # 20 A may lead: what A is offered of them on L1 (2 A beyond its draw) is not there for B.
    grid = make_grid(63.0, unbalance_a=20.0, generation_a=40.0)
    stations = [
        make_station("A", phases=(0,), car=CarModel(taken_a, (0,))),
        make_station("B", phases=(0,), car=CarModel(32.0, (0,)), surplus=True),
        make_station("C", phases=(1,), car=CarModel(16.0, (0,)), surplus=True),
    ]
    site = SiteHarness((grid,), stations, lambda _now: (-20.0, -20.0, -20.0))
    site.connect()
    site.wait(1200)
    assert max(_gap(amps) for amps in site.flowed[60:]) <= 20.1
    drawn_a = [site.station(name).draw_a for name in "ABC"]
    assert drawn_a == pytest.approx([min(20.0, taken_a), left_a, 16.0], abs=0.3)


def test_car_at_station_without_connection_leaves_its_lead_to_nobody() -> None:
    # A falls back to 16 A once its lease ends: 4 A of the lead are left, less than the minimum of B.
    stations = [
        make_station("A", phases=(0,), car=CarModel(32.0, (0,))),
        make_station("B", phases=(0,), car=CarModel(32.0, (0,))),
        make_station("C", car=CarModel(32.0)),
    ]
    stations[0].evse = msgspec.structs.replace(stations[0].evse, fallback_a=16.0)
    site = SiteHarness((make_grid(100.0, unbalance_a=20.0),), stations)
    site.connect()
    site.wait(600)
    assert [site.station(name).draw_a for name in "ABC"] == pytest.approx([10.0, 10.0, 32.0], abs=0.2)
    site.disconnect("A")
    site.wait(900)
    assert max(_gap(amps) for amps in site.flowed[-900:]) <= 20.1
    assert [site.station(name).draw_a for name in "ABC"] == pytest.approx([16.0, 0.0, 32.0], abs=0.2)


def test_unbalance_of_the_building_makes_no_writes_to_cars_on_all_phases() -> None:
    # L3 leads by 20 A where 10 are allowed. No share of the car can change that.
    stations = [make_station("A", car=CarModel(32.0))]
    site = SiteHarness(
        (make_grid(63.0, unbalance_a=10.0),),
        stations,
        lambda now: (5.0 + 0.02 * max(0.0, now - 600), 5.0, 25.0 + 0.02 * max(0.0, now - 600)),
    )
    site.connect()
    site.wait(900)
    assert stations[0].draw_a > 26.0
    sent = len(stations[0].leases)
    site.wait(600)
    assert len(stations[0].leases) - sent <= 10
    assert site.seconds_over("grid", 63.0) == 0


def test_stop_of_a_car_on_all_phases_stops_no_car_on_one_phase() -> None:
    # The reading shows that A is full a moment before its state: all phases fall by 32 A, none leads by it.
    stations = [
        make_station("A", car=CarModel(32.0)),
        *(make_station(name, phases=(phase,), car=CarModel(32.0, (0,))) for phase, name in enumerate("BC")),
    ]
    site = SiteHarness((make_grid(63.0, unbalance_a=10.0),), stations, lambda _now: (3.2, 0.0, 3.5))
    site.connect()
    site.wait(900)
    before_a = [site.station(name).draw_a for name in "BC"]
    assert before_a == pytest.approx([10.3, 13.5], abs=0.3)
    site.station("A").car = CarModel(0.0)
    site.wait(60)
    assert [site.station(name).draw_a for name in "BC"] == pytest.approx(before_a, abs=0.3)


@pytest.mark.parametrize("pulse_s", [10, 30, 60])
def test_pulses_of_the_building_on_all_phases_are_no_lead(pulse_s: int) -> None:
    # Each phase carries 12 A or 2 A in the same moments: cars on two of them lead the third by 10 A.
    stations = [
        make_station(name, phases=(phase,), car=CarModel(32.0, (0,))) for phase, name in enumerate("AB")
    ]
    site = SiteHarness(
        (make_grid(63.0, unbalance_a=10.0),),
        stations,
        lambda now: (12.0 if now % (2 * pulse_s) < pulse_s else 2.0,) * 3,
    )
    site.connect()
    site.wait(1200)
    assert max(_gap(amps) for amps in site.flowed[60:]) <= 10.1
    assert [each.draw_a for each in stations] == pytest.approx([10.0, 10.0], abs=0.2)
    assert all(limit_a >= 6.0 for each in stations for at, limit_a in each.leases if at > 300)


def test_car_starts_only_into_a_lead_that_noise_does_not_take() -> None:
    # L1 may lead L3 by 10 A; the building's 4 A leave 6.0 A, less by the last digit of every third reading.
    stations = [
        make_station("A", phases=(0,), car=CarModel(32.0, (0,))),
        make_station("B", car=CarModel(32.0)),
    ]
    site = SiteHarness(
        (make_grid(63.0, unbalance_a=10.0),), stations, lambda now: (6.0 + 0.04 * (now % 3 == 0), 7.0, 2.0)
    )
    site.connect()
    site.wait(1800)
    assert stations[0].draw_a == 0.0
    assert sum(limit_a >= 6.0 for at, limit_a in stations[0].leases if at > 60) <= 1
    assert stations[1].draw_a == 32.0


@pytest.mark.parametrize("connects_s", [2, 40])
@pytest.mark.parametrize("report_s", [10, 60])
def test_restart_stops_no_car_that_leads(report_s: int, connects_s: int) -> None:
    # Two cars on L1 lead L3 by 20 A. Until they report, their draw is a part of the building's load.
    stations = [
        make_station(name, phases=(phase,), car=CarModel(32.0, (0,)), report_s=report_s)
        for name, phase in (("A", 0), ("B", 0), ("C", 1))
    ]
    site = SiteHarness((make_grid(63.0, unbalance_a=20.0),), stations, lambda _now: (5.0, 5.0, 5.0))
    site.connect()
    site.wait(900)
    drawn_a = [station.draw_a for station in stations]
    assert drawn_a == pytest.approx([10.0, 10.0, 20.0], abs=0.2)
    site.restart()
    site.wait(connects_s)
    site.connect()
    for _ in range(300):
        site.step()
        assert min(station.draw_a for station in stations) >= 6.0
    assert [station.draw_a for station in stations] == pytest.approx(drawn_a, abs=0.2)
    assert max(_gap(amps) for amps in site.flowed[60:]) <= 20.1


def test_lead_of_the_building_after_restart_cuts_cars_without_a_report() -> None:
    station = make_station("A", phases=(0,), car=CarModel(32.0, (0,)), report_s=0)
    site = SiteHarness(
        (make_grid(63.0, unbalance_a=20.0),),
        [station],
        lambda now: (12.0 if now > 920 else 0.0, 0.0, 0.0),
    )
    site.connect()
    site.wait(900)
    assert station.draw_a == pytest.approx(20.0, abs=0.2)
    site.restart()
    site.connect()
    site.wait(60)
    assert _gap(site.flowed[-1]) <= 20.1


def test_doubt_about_the_sign_of_feed_in_leaves_a_car_the_lead_as_shown() -> None:
    # The load of each phase has become a feed-in of its size within a second. L1 is 4 A below L3 then.
    station = make_station("A", phases=(0,), car=None)
    site = SiteHarness(
        (make_grid(125.0, unbalance_a=10.0, generation_a=69.0, base_load_a=60.0),),
        [station],
        lambda now: (54.0, 47.0, 50.0) if now < 300 else (-54.0, -47.0, -50.0),
    )
    site.connect()
    site.wait(310)
    site.plug_in("A", CarModel(32.0, (0,)))
    site.wait(120)
    assert 6.0 <= station.draw_a <= 14.1
    site.wait(600)
    assert station.draw_a == pytest.approx(14.0, abs=0.2)


def test_restart_counts_leads_that_no_meter_shows() -> None:
    # A has 20 A on L1, where no meter shows it. Another car there gets none of the 20 A beside it.
    stations = [make_station(name, phases=(0,), car=None, report_s=0) for name in "AB"]
    for station in stations:
        station.evse = msgspec.structs.replace(station.evse, fallback_a=0.0)
    site = SiteHarness((make_grid(63.0, meter=None, unbalance_a=20.0),), stations)
    site.connect()
    site.wait(60)
    site.plug_in("A", CarModel(32.0, (0,)))
    site.wait(300)
    assert stations[0].draw_a == pytest.approx(20.0, abs=0.2)
    site.restart()
    stations[1].car = CarModel(32.0, (0,))
    site.connect()
    site.wait(100)
    assert max(_gap(amps) for amps in site.flowed) <= 20.1
