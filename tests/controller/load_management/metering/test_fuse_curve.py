"""The fuse model against the standards' figures, and a building that jumps on a site with real fuses."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.load_management.metering.fuse_curve import (
    CURVES,
    GRACE_S,
    INRUSH_S,
    MOTOR_S,
    FuseCurve,
    FuseLoad,
    FuseWatch,
)
from controller.load_management.site_tree import Fuse
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station

COLD = 0.0
HOUR_S = 3600.0
REAL = [Fuse.B, Fuse.C, Fuse.GG]


@pytest.mark.parametrize(
    ("fuse", "load", "not_before_s"),
    [
        (Fuse.B, 1.13, HOUR_S),
        (Fuse.C, 1.13, HOUR_S),
        (Fuse.GG, 1.25, HOUR_S),  # conventional currents
        (Fuse.B, 2.55, 1.0),
        (Fuse.C, 2.55, 1.0),
        (Fuse.GG, 2.0, 10.0),  # gates
    ],
)
def test_fuse_curve_trip_is_predicted_at_lower_edge_of_band(
    fuse: Fuse, load: float, not_before_s: float
) -> None:
    earliest = CURVES[fuse].trips_in_s(COLD, load)
    assert earliest >= not_before_s - 1e-9
    assert earliest == math.inf or earliest < not_before_s + 1e-6


@pytest.mark.parametrize(("fuse", "load"), [(Fuse.B, 3.0), (Fuse.C, 5.0)])
def test_fuse_curve_magnetic_release_has_no_delay(fuse: Fuse, load: float) -> None:
    assert CURVES[fuse].trips_in_s(COLD, load) == 0.0


@pytest.mark.parametrize("fuse", REAL)
def test_fuse_curve_conventional_tripping_current_trips_within_hour(fuse: Fuse) -> None:
    trips = {Fuse.B: 1.45, Fuse.C: 1.45, Fuse.GG: 1.6}[fuse]
    assert CURVES[fuse].trips_in_s(COLD, trips) < HOUR_S


@given(st.sampled_from(REAL), st.floats(0, 1.2), st.floats(1.3, 2.9), st.floats(0.01, 0.99))
def test_fuse_curve_remaining_time_falls(fuse: Fuse, heat: float, load: float, part: float) -> None:
    curve = CURVES[fuse]
    whole = curve.trips_in_s(heat, load)
    passed = part * whole
    left = curve.trips_in_s(curve.heated(heat, load, passed), load)
    assert left == pytest.approx(whole - passed, abs=1e-6)


def test_fuse_curve_plain_limit_is_over_with_first_reading_above() -> None:
    watch = FuseWatch(100.0, Fuse.PLAIN, 0.0)
    assert watch.on_reading(100.0, 1.0) is FuseLoad.WITHIN
    assert watch.on_reading(100.1, 2.0) is FuseLoad.OVER


@pytest.mark.parametrize(("fuse", "borne", "cut"), [(Fuse.B, 1.12, 1.14), (Fuse.GG, 1.25, 1.35)])
def test_fuse_curve_excess_beyond_its_long_time_current_is_cut(fuse: Fuse, borne: float, cut: float) -> None:
    assert FuseWatch(100.0, fuse, 0.0).on_reading(100 * cut, 1.0) is FuseLoad.OVER
    watch = FuseWatch(100.0, fuse, 0.0)
    assert watch.on_reading(100 * borne, 1.0) is FuseLoad.WITHSTOOD
    assert watch.on_reading(100 * borne, 1.0 + GRACE_S - 0.1) is FuseLoad.WITHSTOOD
    assert watch.on_reading(100 * borne, 1.0 + GRACE_S) is FuseLoad.OVER
    assert watch.on_reading(90.0, 20.0) is FuseLoad.WITHIN
    assert watch.on_reading(100 * borne, 21.0) is FuseLoad.WITHSTOOD


def test_between_two_readings_higher_one_is_taken_to_have_flowed() -> None:
    often, seldom = FuseWatch(100.0, Fuse.GG, 0.0), FuseWatch(100.0, Fuse.GG, 0.0)
    for watch in (often, seldom):
        assert watch.on_reading(127.0, 1.0) is FuseLoad.WITHSTOOD
    for now in range(2, 22):
        assert often.on_reading(50.0, now) is FuseLoad.WITHIN
    assert seldom.on_reading(50.0, 21.0) is FuseLoad.WITHIN
    assert often.on_reading(127.0, 22.0) is FuseLoad.WITHSTOOD
    assert seldom.on_reading(127.0, 22.0) is FuseLoad.OVER


LIMIT_A = 100.0
HOLDS = {Fuse.B: 1.13, Fuse.C: 1.13, Fuse.GG: 1.25}
TAU_S = {Fuse.B: 4.57, Fuse.C: 4.57, Fuse.GG: 20.19}
METER_DELAY_S = 1
ANSWER_S = 1


class RealFuse:
    """The heat of a fuse that has no tolerance to give, stepped through what really flowed."""

    def __init__(self, fuse: Fuse) -> None:
        self.heat = 0.0
        self.highest = 0.0
        self._tau_s = TAU_S[fuse]

    def carry(self, amps: float) -> None:
        for _ in range(20):  # 50 ms each
            self.heat += ((amps / LIMIT_A) ** 2 - self.heat) * 0.05 / self._tau_s
        self.highest = max(self.highest, self.heat)


def outlasted(fuse: Fuse, seconds: float) -> float:
    """The highest load that the fuse, warm from a full circuit, carries for so long."""
    lower, upper = HOLDS[fuse], CURVES[fuse].instant if fuse is not Fuse.GG else 6.0
    curve = FuseCurve(HOLDS[fuse], CURVES[fuse].gate, CURVES[fuse].gate_s, math.inf)
    for _ in range(60):
        middle = (lower + upper) / 2
        lower, upper = (middle, upper) if curve.trips_in_s(1.0, middle) > seconds else (lower, middle)
    return lower


def jumping(fuse: Fuse, reaction_s: int, load: float) -> SiteHarness:
    """A full site; its building jumps up every ten minutes to `load` times the limit, for 280 s."""

    def building(now: float) -> tuple[float, float, float]:
        extra = LIMIT_A * (load - 1.0) if now >= 600 and now % 600 < 280 else 0.0
        return (20.0 + extra, 20.0, 20.0)

    stations = [
        make_station(f"S{i}", car=CarModel(), reaction_s=reaction_s, answer_s=ANSWER_S, report_s=5)
        for i in range(6)
    ]
    site = SiteHarness((make_grid(LIMIT_A, fuse=fuse),), stations, building)
    site.meter_delay_s = METER_DELAY_S
    site.connect()
    return site


def reaction_times(site: SiteHarness) -> list[float]:
    """For each jump, the s from the first reading above the limit until the first cut was sent."""
    over = [max(amps) > LIMIT_A for amps in site.flowed]
    begins = [index + 2 for index, (before, after) in enumerate(pairwise(over)) if after and not before]
    found = []
    for begin in (begin for begin in begins if begin >= 600 and begin % 600 < 10):
        before = {c.ref: c.limit_a for at, c in site.commands if at < begin}
        cuts = [at for at, c in site.commands if at >= begin and c.limit_a < before[c.ref]]
        found.append(min(cuts) - begin - METER_DELAY_S)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("fuse", REAL)
@pytest.mark.parametrize("reaction_s", [1, 3, 10, 30])
def test_fuse_never_trips_if_station_delay_allows(fuse: Fuse, reaction_s: int) -> None:
    unavoidable_s = METER_DELAY_S + ANSWER_S + reaction_s + 2  # two more for the steps of a second
    site = jumping(fuse, reaction_s, outlasted(fuse, unavoidable_s))
    site.wait(60)
    real = RealFuse(fuse)
    for _ in range(3000):
        site.step()
        real.carry(max(site.flowed[-1]))
    assert real.highest < HOLDS[fuse] ** 2
    assert max(max(amps) for amps in site.flowed[60:]) > LIMIT_A  # it was put to the test


@pytest.mark.slow
@pytest.mark.parametrize("fuse", list(Fuse))
@pytest.mark.parametrize("load", [1.1, 1.5])
def test_cut_is_sent_with_reading_unless_overload_is_harmless(fuse: Fuse, load: float) -> None:
    site = jumping(fuse, 3, load)
    site.wait(1260)
    waits_s = INRUSH_S if load == 1.1 and fuse is not Fuse.PLAIN else 0.0
    assert reaction_times(site) == [waits_s, waits_s]


@pytest.mark.slow
@pytest.mark.parametrize("reaction_s", [1, 3, 10, 30])
def test_plain_limit_is_exceeded_for_no_longer_than_stations_take(reaction_s: int) -> None:
    site = jumping(Fuse.PLAIN, reaction_s, 1.3)
    site.wait(60)
    site.row_flowed["grid"].clear()
    site.wait(3000)
    assert site.longest_over("grid", LIMIT_A) <= METER_DELAY_S + ANSWER_S + reaction_s + 1


@pytest.mark.parametrize("fuse", list(Fuse))
@pytest.mark.parametrize(("over_a", "stops"), [(3.0, 1), (8.0, 2), (14.0, 3)])
@pytest.mark.parametrize("report_s", [10, 60])
def test_fuse_curve_overload_stops_as_many_cars_as_it_takes(
    fuse: Fuse, over_a: float, stops: int, report_s: int
) -> None:
    # Eight cars at 6 A and 12 A of the building fill 60 A.
    load_a = [10.0]
    stations = [make_station(f"S{i}", car=CarModel(), reaction_s=5, report_s=report_s) for i in range(8)]
    site = SiteHarness((make_grid(60.0, fuse=fuse),), stations, lambda _: (load_a[0],) * 3)
    site.connect()
    site.wait(900)
    load_a[0] = 12.0 + over_a
    site.wait(90)
    assert sum(each.draw_a > 0 for each in stations) == len(stations) - stops


@pytest.mark.slow
@pytest.mark.parametrize(("starts_s", "seen"), [(1, 0), (2, 1)])
def test_fuse_curve_motor_that_starts_again_costs_no_car_current(starts_s: int, seen: int) -> None:
    def building(now: float) -> tuple[float, float, float]:
        return (30.0 if now >= 600 and now % 60 < starts_s else 20.0, 20.0, 20.0)

    def changes(fuse: Fuse, seen: int) -> int:
        stations = [make_station(f"S{i}", car=CarModel(), report_s=5) for i in range(6)]
        site = SiteHarness((make_grid(LIMIT_A, fuse=fuse),), stations, building)
        site.connect()
        site.wait(590 + 360 * seen)  # the first start of a slow motor is cut like any other load
        before = site.limit_changes("S0")
        site.wait(600)
        return site.limit_changes("S0") - before

    assert changes(Fuse.GG, seen) == 0
    assert changes(Fuse.PLAIN, 0) > 0


def test_fuse_watch_slow_motor_is_remembered_for_an_hour() -> None:
    watch = FuseWatch(100.0, Fuse.GG, 0.0)
    assert watch.inrush_s(0.0) == INRUSH_S
    for now, amps in ((1.0, 90.0), (2.0, 110.0), (3.0, 90.0)):
        watch.on_reading(amps, now)
    assert watch.inrush_s(3.0) == INRUSH_S  # a moment of a second is waited for in any case
    for now, amps in ((10.0, 110.0), (11.0, 110.0), (12.0, 90.0)):
        watch.on_reading(amps, now)
    assert watch.inrush_s(12.0) == watch.inrush_s(3600.0) == MOTOR_S
    assert watch.inrush_s(12.0 + 3600.0) == INRUSH_S
    for now in range(4000, 4005):
        watch.on_reading(110.0, float(now))
    watch.on_reading(90.0, 4005.0)  # cars may have obeyed by then
    assert watch.inrush_s(4005.0) == INRUSH_S
    assert FuseWatch(100.0, Fuse.PLAIN, 0.0).inrush_s(0.0) == MOTOR_S


@pytest.mark.parametrize(
    ("lasted_s", "waits"),
    [
        ([8, 8], [True, True, False]),  # kettles have no inrush
        ([8, 8, 8, 1], [True, True, False, False, True]),  # a motor
        ([8, 1, 8, 1, 8], [True] * 6),
        ([1, 1, 1], [True] * 4),
    ],
)
def test_fuse_watch_waits_for_inrush_unless_overloads_have_lasted(
    lasted_s: list[int], waits: list[bool]
) -> None:
    watch, now, found = FuseWatch(100.0, Fuse.GG, 0.0), 0.0, []
    for seconds in [*lasted_s, 1]:
        for second in range(seconds):
            watch.on_reading(110.0, now + second)
            if second == 0:
                found.append(watch.is_inrush)
        watch.on_reading(90.0, now + seconds)
        now += 60.0
    assert found == waits
