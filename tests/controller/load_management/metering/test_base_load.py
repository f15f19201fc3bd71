"""Base load from meters and reports that do not quite agree."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.load_management.evse.consumption import NOTHING, OfferCredit
from controller.load_management.metering.base_load import (
    FEED_IN_S,
    FEED_IN_SHARED,
    HOLD_S,
    MARGIN_USED,
    RESERVED_S,
    START_S,
    STEADY_S,
    WAIT_S,
    BaseLoad,
    RollingMax,
)
from controller.load_management.metering.fuse_curve import INRUSH_S, MOTOR_S
from controller.load_management.site_tree import ZERO, Fuse, PhaseAmps
from tests.examples import examples

LIMIT: PhaseAmps = (100.0, 100.0, 100.0)


def all_phases(amps: float) -> PhaseAmps:
    return (amps, amps, amps)


def credit(low: float, high: float, unreacted: float | None = None) -> OfferCredit:
    return OfferCredit.within(
        all_phases(low), all_phases(high), all_phases(low if unreacted is None else unreacted)
    )


def measured(load: BaseLoad, amps: float, now: float, *credits: OfferCredit) -> bool:
    return load.measure(all_phases(amps), total(*credits), now)


def total(*credits: OfferCredit) -> OfferCredit:
    sums = (
        tuple(sum(column) for column in zip(*(getattr(c, name) for c in credits), strict=True)) or ZERO
        for name in OfferCredit.__struct_fields__
    )
    return OfferCredit(*sums)  # type: ignore[arg-type]


def test_base_load_before_any_reading_is_zero() -> None:
    assert BaseLoad(LIMIT).assumed(0) == all_phases(0)
    assert BaseLoad(LIMIT).worst() == all_phases(0)


def test_known_draws_are_subtracted() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 50, 0, credit(10, 10), credit(5, 5))
    assert load.assumed(0) == all_phases(35)


def test_base_load_first_readings_count_as_building() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 50, 0, credit(0, 20))
    assert load.assumed(0) == all_phases(50)


def test_base_load_stays_where_two_cars_stop_one_after_the_other() -> None:
    # Readings show each stop before its message, which leaves open what the second car draws.
    load, first, second = BaseLoad(LIMIT), credit(20, 20), credit(20, 20)
    measured(load, 44, 0, first, second)
    measured(load, 24, 11, first, second)
    measured(load, 24, 12, second)
    assert load.likely_a == all_phases(4)
    measured(load, 4, 14, second)
    measured(load, 4, 16, credit(0, 24))
    assert load.likely_a == all_phases(4)


@pytest.mark.parametrize("building_a", [10.0, 45.0])
def test_base_load_follows_building_beside_car_that_reports_nothing(building_a: float) -> None:
    load, unreported = BaseLoad(LIMIT), credit(0, 32).expecting(all_phases(16), all_phases(16))
    measured(load, 30 + 16, 0, unreported)
    measured(load, building_a + 16, 1, unreported)
    now = 1.0
    while now < HOLD_S + 3:
        now += 1
        measured(load, building_a + 16, now, unreported)
    assert load.assumed(now) == all_phases(building_a)


def test_base_load_ignores_what_a_transition_explains() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 30, 0)
    measured(load, 46, 1, credit(0, 16))
    assert load.assumed(1) == all_phases(30)
    measured(load, 50, 2, credit(0, 16))
    assert load.assumed(2) == all_phases(34)


def test_base_load_above_limit_is_not_attributed_to_cars() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 60, 0)
    assert not measured(load, 100, 1, credit(10, 40))
    assert load.assumed(1) == all_phases(60)
    assert measured(load, 101, 2, credit(10, 40))
    assert load.assumed(2) == all_phases(91)


def test_base_load_cut_under_way_is_not_repeated() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 60, 0)
    measured(load, 110, 1, credit(10, 40, unreacted=40))
    assert load.assumed(1) == all_phases(70)


def test_base_load_overload_is_not_explained_by_car_on_other_phases() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 60, 0)
    silent = credit(0, 16, unreacted=16).expecting((0.0, 16.0, 16.0), (0.0, 16.0, 16.0))
    measured(load, 110, 1, silent)
    assert load.assumed(1) == (110.0, 94.0, 94.0)


def test_base_load_is_kept_per_phase() -> None:
    load = BaseLoad(LIMIT)
    load.measure((10.0, 20.0, 30.0), OfferCredit.within((1.0, 2.0, 3.0), (1.0, 2.0, 3.0), (1.0, 2.0, 3.0)), 0)
    assert load.assumed(0) == (9.0, 18.0, 27.0)


def test_up_at_once_and_down_slowly() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 50, 0)
    measured(load, 50, 1)
    measured(load, 20, 2)
    assert load.assumed(HOLD_S) == all_phases(50)
    measured(load, 20, HOLD_S + 3)
    assert load.assumed(HOLD_S + 3) == all_phases(20)
    measured(load, 45, HOLD_S + 4)
    assert load.assumed(HOLD_S + 4) == all_phases(45)


@pytest.mark.parametrize(("every_s", "assumed_a"), [(INRUSH_S, 20), (5 * INRUSH_S, 50)])
def test_base_load_single_reading_counts_unless_it_may_be_an_inrush(every_s: float, assumed_a: float) -> None:
    load = BaseLoad(LIMIT)
    measured(load, 20, 0)
    measured(load, 50, every_s)
    assert load.assumed(every_s) == all_phases(50)
    measured(load, 20, 2 * every_s)
    assert load.assumed(2 * every_s) == all_phases(assumed_a)


def test_base_load_highest_value_of_overload_that_lasts_is_held() -> None:
    load = BaseLoad(LIMIT, Fuse.GG)
    measured(load, 20, 0)
    measured(load, 130, 1, credit(30, 30))
    measured(load, 130, 2, credit(30, 60))
    measured(load, 60, 3, credit(40, 40))
    assert load.assumed(3) == all_phases(100)


def test_base_load_shares_part_of_feed_in_that_lasted() -> None:
    load = BaseLoad(LIMIT)
    for now in range(int(START_S)):
        measured(load, -20, float(now))
    assert load.assumed(START_S - 1) == all_phases(0)
    measured(load, -20, START_S)
    assert load.assumed(START_S) == all_phases(-20 * FEED_IN_SHARED)
    measured(load, -5, START_S + 1)
    assert load.assumed(START_S + 1) == all_phases(-5 * FEED_IN_SHARED)
    measured(load, 3, START_S + 2)
    assert load.assumed(START_S + 2) == all_phases(3)


def test_base_load_shares_feed_in_again_a_minute_after_cloud() -> None:
    load = BaseLoad(LIMIT)
    for now in range(600):
        measured(load, 2 if 445 < now <= 450 else -20, float(now))
        if now == 450 + FEED_IN_S:
            assert load.assumed(now) == all_phases(0)
            assert load.estimates(now).start == all_phases(2)  # another car starts after some minutes
    assert load.assumed(599.0) == all_phases(-20 * FEED_IN_SHARED)


def test_base_load_draw_that_is_unknown_is_no_feed_in() -> None:
    """Beside a car that draws 32 A, one that may draw up to 32 A draws nothing there and reports nothing."""
    load = BaseLoad(LIMIT)
    measured(load, 0, 0.0)
    for now in range(1, 400):
        measured(load, 31.9, float(now), credit(32, 32), credit(0, 32))
    assert min(load.assumed(400.0) + load.estimates(400.0).start + load.estimates(400.0).keep) >= -0.2


def test_base_load_to_keep_waits_before_car_is_stopped() -> None:
    load = BaseLoad(LIMIT, Fuse.GG)
    measured(load, 20, 0)
    for now in range(1, int(WAIT_S)):
        measured(load, 60, float(now))
        assert load.estimates(now).keep == all_phases(20)
    measured(load, 60, WAIT_S + 1)
    assert load.estimates(WAIT_S + 1).keep == all_phases(60)


def test_base_load_to_keep_does_not_wait_when_fuse_would_trip() -> None:
    load = BaseLoad(LIMIT, Fuse.GG)
    measured(load, 20, 0)
    for now in range(1, 8):
        measured(load, 180, float(now))
    assert load.estimates(7).keep == all_phases(180)


def test_base_load_to_start_is_highest_of_last_minutes() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 60, 0)
    measured(load, 60, 1)
    measured(load, 20, 2)
    measured(load, 20, START_S - 1)
    assert load.estimates(START_S - 1).start == all_phases(60)
    assert load.assumed(START_S - 1) == all_phases(20)
    measured(load, 20, START_S + 20)
    assert load.estimates(START_S + 20).start == all_phases(20)


def test_base_load_margin_carries_part_of_surge_that_is_over() -> None:
    load = BaseLoad(LIMIT, margin_a=10.0)
    measured(load, 30, 0)
    measured(load, 30, 1)
    measured(load, 20, 2)
    assert load.assumed(2) == all_phases(30 - 10 * MARGIN_USED)


def test_base_load_worst_case_is_longest_lasting_load() -> None:
    load = BaseLoad(LIMIT)
    for now in range(200):
        amps = 90 if now in (100, 101) else 40 if now < 60 else 20
        measured(load, amps, float(now))
    assert load.worst() == all_phases(40)


def test_base_load_soon_after_start_worst_case_is_least_seen() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 80, 0)
    measured(load, 30, STEADY_S - 1)
    assert load.worst() == all_phases(30)


@settings(max_examples=examples(100), deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.integers(0, 50), st.integers(-100, 100)), min_size=1, max_size=300))
def test_rolling_maximum_errs_only_upwards_by_1_40_of_window(
    steps: list[tuple[int, int]],
) -> None:
    window, now = 20.0, 0.0
    rolling = RollingMax(window)
    values: list[tuple[float, int]] = []
    for pause, value in steps:
        now += pause / 10
        rolling.add(value, now)
        values.append((now, value))
        highest = rolling.highest(now)
        assert highest is not None
        exact = max(v for t, v in values if t >= now - window)
        lenient = max(v for t, v in values if t >= now - window * (1 + 2 / 40))
        assert exact <= highest <= lenient


def test_base_load_rolling_maximum_memory_is_bounded() -> None:
    rolling = RollingMax(20.0)
    for n in range(20_000):
        rolling.add(-float(n), n / 1000)
    assert len(rolling._values) <= 100


def test_base_load_newest_value_never_grows_too_old() -> None:
    rolling = RollingMax(20.0)
    assert rolling.highest(0) is None
    rolling.add(7.0, 0)
    assert rolling.highest(1000) == pytest.approx(7.0)


def test_base_load_accepts_reading_above_plan() -> None:
    load = BaseLoad((50.0, 50.0, 50.0), margin_a=10.0)
    starting = OfferCredit.within(low=(0, 0, 0), high=(30, 30, 30), unreacted=(5, 5, 5))
    assert not load.measure((10, 10, 10), NOTHING, 0)
    assert not load.measure((40, 39, 10), starting, 1)
    assert not load.crossed
    assert load.assumed(1) == (10, 10, 10)
    # Above 40 A, three quarters of the margin and the noise; nothing to cut: the margin bridges it.
    assert not load.measure((49, 39, 10), starting, 2)
    assert load.crossed
    assert load.assumed(2) == (44, 10, 10)


def test_base_load_inrush_of_plain_circuit_stops_no_car() -> None:
    load = BaseLoad(LIMIT)
    for second in range(30):
        measured(load, 60, second, credit(20, 20))
    assert measured(load, 130, 30, credit(20, 20))  # offers are cut at once
    assert load.estimates(30).keep == all_phases(40)
    assert measured(load, 130, 30 + MOTOR_S, credit(20, 20))
    assert load.estimates(30 + MOTOR_S).keep == all_phases(110)


@pytest.mark.parametrize(
    ("fuse", "measured_a", "kept_s"),
    [
        (Fuse.GG, 110.0, WAIT_S),  # a gG fuse holds 1.25 times its rating for hours
        (Fuse.C, 110.0, WAIT_S),  # a breaker 1.13 times
        (Fuse.C, 120.0, 0.0),  # it may trip before slow stations have obeyed
        (Fuse.PLAIN, 110.0, MOTOR_S),
    ],
)
def test_base_load_keeps_cars_while_fuse_holds_overload(fuse: Fuse, measured_a: float, kept_s: float) -> None:
    load = BaseLoad(LIMIT, fuse)
    for second in range(60):
        measured(load, 60, second, credit(20, 20))
    kept = []
    for second in range(60, 120):
        measured(load, measured_a, second, credit(20, 20))
        kept.append(load.estimates(second).keep == all_phases(40))
    assert kept.index(False) == pytest.approx(kept_s, abs=2)


def test_base_load_doubt_ends_when_draw_is_known() -> None:
    load = BaseLoad((40.0, 40.0, 40.0), margin_a=1.0)
    measured(load, 26, 0, credit(6, 6))
    assert measured(
        load, 47, 1, credit(6, 19)
    )  # 28 A beside a car that has risen, or 41 A beside one that has not
    assert load.assumed(1) == all_phases(41)
    measured(load, 34, 5, credit(6, 6))
    assert load.assumed(5) == all_phases(28)


def test_base_load_doubt_lasts_while_draw_is_unknown() -> None:
    load = BaseLoad((40.0, 40.0, 40.0), margin_a=1.0)
    measured(load, 26, 0, credit(6, 6))
    measured(load, 47, 1, credit(6, 19))
    measured(load, 34, 5, credit(0, 19))
    assert load.assumed(5) == pytest.approx(all_phases(41 - MARGIN_USED))


@pytest.mark.parametrize("offers_a", [12.0, 24.0])
def test_base_load_doubt_ends_when_steps_have_shown_draw(offers_a: float) -> None:
    # Two cars without reports draw 24 A beside 10 A, then 18 A; later the steps of their offers show that.
    load = BaseLoad((40.0, 40.0, 40.0), margin_a=1.0)
    measured(load, 10, 0, credit(0, 0))
    measured(load, 34, 1, credit(0, 60))
    assert measured(load, 42, 2, credit(0, 60, unreacted=0).expecting(ZERO, all_phases(24)))
    assert load.assumed(2) == all_phases(42)
    for now in range(3, 60):
        measured(load, 10 + offers_a, now, credit(0, 60).expecting(ZERO, all_phases(offers_a)))
    for now in range(60, 60 + int(HOLD_S)):
        measured(load, 10 + offers_a, now, credit(0, 60).expecting(*(all_phases(offers_a),) * 2))
    assert min(load.assumed(60 + HOLD_S)) > 11
    measured(load, 10 + offers_a, 61 + HOLD_S, credit(0, 60).expecting(*(all_phases(offers_a),) * 2))
    assert load.assumed(61 + HOLD_S) == all_phases(10)


def test_base_load_doubted_jump_is_not_learned() -> None:
    load = BaseLoad((40.0, 40.0, 40.0), margin_a=1.0)
    for now in range(int(STEADY_S) + 1):
        measured(load, 26, float(now), credit(6, 6))
    measured(load, 47, STEADY_S + 1, credit(6, 19))
    assert max(load.rises_a) == 8


@pytest.mark.parametrize(("off_s", "is_held"), [(25, True), (220, False)])
def test_base_load_holds_pulses_with_short_gaps(off_s: int, is_held: bool) -> None:
    load = BaseLoad(LIMIT)
    period_s = 5 + off_s
    for now in range(4 * period_s):
        measured(load, 28 if now % period_s < 5 else 20, float(now))
    last = 4.0 * period_s - 1
    assert load.assumed(last) == all_phases(28 if is_held else 20)


def test_base_load_pulses_that_ended_are_held_no_more() -> None:
    load = BaseLoad(LIMIT)
    for now in range(200):
        measured(load, 28 if now % 30 < 5 and now < 120 else 20, float(now))
    assert load.assumed(199) == all_phases(20)


def pulses_above_limit(load: BaseLoad, seconds: int) -> None:
    """Add readings of a building of 20 A, and 28 A for 15 s each minute, beside cars that rise in gaps."""
    for now in range(seconds):
        building_a = 28.0 if now % 60 < 15 else 20.0
        cars_a = 11.0 if 4 <= now % 60 < 15 else 19.0
        measured(load, building_a + cars_a, float(now), credit(cars_a, cars_a))


@pytest.mark.parametrize(("seconds", "is_reserved"), [(15, False), (60 + 15, True)])
def test_base_load_second_pulse_above_limit_is_reserved(seconds: int, is_reserved: bool) -> None:
    load = BaseLoad((40.0, 40.0, 40.0))
    pulses_above_limit(load, seconds)
    later = seconds + 60.0
    measured(load, 20, later)
    assert load.assumed(later) == all_phases(28 if is_reserved else 20)
    assert load.estimates(later).start == all_phases(28)


@pytest.mark.parametrize(("second_a", "assumed_a"), [(26.0, 28.0), (30.5, 30.5), (33.0, 20.0)])
def test_base_load_pulses_of_other_loads_reserve_nothing(second_a: float, assumed_a: float) -> None:
    load = BaseLoad((40.0, 40.0, 40.0))
    for now, building_a in ((0, 20), (10, 28), (20, 20), (70, second_a), (80, 20), (140, 20)):
        measured(load, building_a + 19, float(now), credit(19, 19))
    assert load.assumed(140.0) == all_phases(assumed_a)


def test_base_load_reserve_ends_when_pulses_are_over() -> None:
    load = BaseLoad((40.0, 40.0, 40.0))
    pulses_above_limit(load, 300)
    for now in range(300, 300 + int(RESERVED_S), 5):
        measured(load, 20, float(now))
    end = 300 + RESERVED_S
    measured(load, 20, end)
    assert load.assumed(end) == all_phases(20)


def test_base_load_room_of_load_that_returns_soon_is_kept_free() -> None:
    load = BaseLoad(LIMIT)
    for now in range(140):
        measured(load, 28 if 15 <= now < 30 or 75 <= now < 90 else 20, float(now))
        if now == 60:
            assert load.assumed(now) == all_phases(20)  # it may have come once
    assert load.assumed(139) == all_phases(28)  # its pause was 45 s
    for now in range(140, 150):
        measured(load, 20, float(now))
    assert load.assumed(149) == all_phases(20)  # it has not come for 1.25 times that
    assert load.estimates(149).start == all_phases(28)


def test_base_load_moment_of_motor_start_is_no_load_to_plan_with() -> None:
    load = BaseLoad(LIMIT, Fuse.GG)
    for now in range(100):
        measured(load, {60: 160, 61: 75}.get(now, 70 if now < 60 else 75), float(now), credit(50, 50))
    assert load.estimates(62).assumed == all_phases(25)
    assert load.estimates(99).start == all_phases(25)
    assert load.estimates(99).keep == all_phases(25)


def test_base_load_draw_that_meter_shows_late_is_no_start_peak() -> None:
    load = BaseLoad(LIMIT)
    measured(load, 30, 0, credit(10, 10))
    measured(load, 30, 1, credit(0, 0))  # the station has reported the end, the meter has not shown it
    measured(load, 20, 2, credit(0, 0))
    assert load.estimates(2 + HOLD_S + 1).start == all_phases(20)


def test_base_load_leads_other_phases_by_all_of_its_feed_in() -> None:
    load = BaseLoad(LIMIT)
    measured(load, -16, 0)
    assert load.estimates(0).leading == all_phases(-16)
    assert load.assumed(0) == all_phases(0)
    measured(load, 12, 1)
    assert load.estimates(1).leading == all_phases(12)
