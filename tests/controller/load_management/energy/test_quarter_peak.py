"""Energy budget of a quarter hour: from readings, registers, gaps and restarts."""

from __future__ import annotations

import pytest

from controller.load_management.energy.quarter_peak import QUARTER_S, QuarterMemory, QuarterPeak

BEGIN = 1_700_000_100.0 // QUARTER_S * QUARTER_S
"""Begin of a quarter hour (POSIX s)."""
WORST_W = 100_000.0


def read(
    peak: QuarterPeak,
    begin: float,
    seconds: int,
    power_w: float,
    base_w: float = 0.0,
    register: float | None = None,
) -> float:
    """Report constant power each second; return the register at the end (Wh)."""
    for second in range(1, seconds + 1):
        shown = None if register is None else register + power_w * second / 3600
        peak.on_reading(power_w, base_w, shown, WORST_W, begin + second)
    return (register or 0.0) + power_w * seconds / 3600


def started() -> QuarterPeak:
    """Return a peak that was read from the begin of the quarter on."""
    peak = QuarterPeak()
    peak.on_reading(0.0, 0.0, None, WORST_W, BEGIN)
    return peak


def room(peak: QuarterPeak, utc: float, base_w: float = 0.0, *, is_trusted: bool = True) -> float:
    return peak.rooms_w(60_000.0, base_w, WORST_W, utc, is_trusted=is_trusted)[0]


def test_quarter_peak_room_after_low_use_is_above_target() -> None:
    peak = started()
    read(peak, BEGIN, 450, 30_000.0)
    assert room(peak, BEGIN + 450) == pytest.approx(90_000.0, rel=0.001)


def test_quarter_peak_room_after_high_use_is_below_target() -> None:
    peak = started()
    read(peak, BEGIN, 450, 100_000.0)
    assert room(peak, BEGIN + 450) == pytest.approx(20_000.0, rel=0.01)


def test_quarter_peak_room_leaves_what_building_takes_on_average() -> None:
    peak = QuarterPeak()
    peak.on_reading(20_000.0, 20_000.0, None, WORST_W, BEGIN)
    read(peak, BEGIN, 450, 20_000.0, base_w=20_000.0)
    assert room(peak, BEGIN + 450, base_w=20_000.0) == pytest.approx(80_000.0, rel=0.001)


def test_quarter_peak_room_keeps_surge_of_building_in_reserve() -> None:
    peak = started()
    peak.on_reading(10_000.0, 10_000.0, None, WORST_W, BEGIN + 1)
    read(peak, BEGIN + 1, 449, 60_000.0)
    assert room(peak, BEGIN + 450) == pytest.approx(60_000.0 - 100 * 10_000.0 / 450, abs=250.0)
    read(peak, BEGIN + 450, 420, 60_000.0)
    assert room(peak, BEGIN + 870) == pytest.approx(60_000.0 - 15 * 10_000.0 / 30, abs=2_500.0)


def test_quarter_peak_surge_is_expected_to_last_as_long_as_recent_one() -> None:
    peak = QuarterPeak()
    peak.on_reading(10_000.0, 10_000.0, None, WORST_W, BEGIN)
    for begin_s, length_s in ((0, 500), (800, 600)):
        read(peak, BEGIN + begin_s, length_s, 10_000.0, base_w=10_000.0)
        surge_s = 300 if begin_s == 0 else 10
        read(peak, BEGIN + begin_s + length_s, surge_s, 80_000.0, base_w=80_000.0)
    # Of the 390 s that are left, 290 s are expected to be as now.
    left_ws = 60_000.0 * 900 - 500 * 10_000.0 - 10 * 80_000.0
    assert room(peak, BEGIN + 1410, base_w=80_000.0) == pytest.approx(
        (left_ws - 290 * 80_000.0) / 390, rel=0.3
    )


def test_quarter_peak_keeps_minima_until_a_stop_must_save_energy() -> None:
    peak = started()
    read(peak, BEGIN, 600, 87_000.0)
    room_w, keep_w = peak.rooms_w(60_000.0, 0.0, WORST_W, BEGIN + 600, is_trusted=True)
    assert room_w == pytest.approx(6_000.0, rel=0.02)
    assert keep_w == pytest.approx(30_000.0, rel=0.02)
    read(peak, BEGIN + 600, 30, 90_000.0)
    room_w, keep_w = peak.rooms_w(60_000.0, 0.0, WORST_W, BEGIN + 630, is_trusted=True)
    assert room_w == keep_w < 0


def test_feed_in_is_no_credit() -> None:
    peak = started()
    read(peak, BEGIN, 450, -50_000.0)
    assert room(peak, BEGIN + 450) == pytest.approx(120_000.0, rel=0.001)


def test_quarter_peak_register_corrects_integrated_power() -> None:
    peak = QuarterPeak()
    peak.on_reading(0.0, 0.0, 5000.0, WORST_W, BEGIN)
    for second in range(1, 451):
        # The power is shown 10 % too low; the register counts in steps of 100 Wh.
        shown = 5000.0 + 100 * (60_000.0 * second / 3600 // 100)
        peak.on_reading(54_000.0, 0.0, shown, WORST_W, BEGIN + second)
    assert peak.used_wh(WORST_W, BEGIN + 450) == pytest.approx(7500.0, abs=101.0)


def test_quarter_peak_gap_without_register_counts_at_worst() -> None:
    peak = started()
    read(peak, BEGIN, 100, 10_000.0)
    peak.on_reading(10_000.0, 0.0, None, WORST_W, BEGIN + 400)
    assert peak.used_wh(WORST_W, BEGIN + 400) == pytest.approx((10_000 * 100 + WORST_W * 300) / 3600)


def test_quarter_peak_gap_with_register_counts_what_it_shows() -> None:
    peak = QuarterPeak()
    peak.on_reading(0.0, 0.0, 0.0, WORST_W, BEGIN)
    register = read(peak, BEGIN, 100, 36_000.0, register=0.0)
    peak.on_reading(36_000.0, 0.0, register + 500.0, WORST_W, BEGIN + 400)
    assert peak.used_wh(WORST_W, BEGIN + 400) == pytest.approx(1500.0)


def test_quarter_peak_dead_meter_uses_up_budget() -> None:
    peak = started()
    read(peak, BEGIN, 300, 10_000.0)
    rooms = [room(peak, BEGIN + 300 + k, base_w=30_000.0, is_trusted=False) for k in range(0, 600, 60)]
    assert rooms == sorted(rooms, reverse=True)
    assert rooms[-1] < 0


def test_quarter_peak_unread_time_counts_at_what_could_flow_in_it() -> None:
    # 100 s at 90 kW, and 200 s at 30 kW as cars have been stopped: 4167 Wh, whatever can flow later.
    peak = started()
    peak.count_unread(90_000.0, BEGIN + 100)
    peak.count_unread(30_000.0, BEGIN + 300)
    assert peak.used_wh(30_000.0, BEGIN + 300) == pytest.approx(4167, abs=1)
    assert peak.used_wh(90_000.0, BEGIN + 300) == pytest.approx(4167, abs=1)
    peak.on_reading(0.0, 0.0, None, 90_000.0, BEGIN + 310)
    assert peak.used_wh(0.0, BEGIN + 310) == pytest.approx(4417, abs=1)


def test_quarter_peak_unread_time_before_quarter_is_not_in_it() -> None:
    peak = started()
    peak.count_unread(90_000.0, BEGIN + 890)
    peak.count_unread(60_000.0, BEGIN + 930)
    assert peak.used_wh(60_000.0, BEGIN + 930) == pytest.approx(500)
    peak.on_reading(0.0, 0.0, None, 60_000.0, BEGIN + 960)
    assert peak.used_wh(0.0, BEGIN + 960) == pytest.approx(1000)


def test_quarter_peak_unread_time_follows_clock_that_is_set() -> None:
    # 110 s without readings at 36 kW, and 300 s before the first one, of which nothing is known.
    peak = started()
    peak.count_unread(36_000.0, BEGIN + 100)
    peak.on_clock_set(300.0, 36_000.0, BEGIN + 400)
    peak.count_unread(36_000.0, BEGIN + 410)
    assert peak.used_wh(0.0, BEGIN + 410) == pytest.approx(4100)


def test_new_quarter_begins_with_whole_budget() -> None:
    peak = started()
    read(peak, BEGIN, 900, 59_000.0)
    read(peak, BEGIN + 900, 10, 59_000.0)
    assert room(peak, BEGIN + 910) == pytest.approx(60_000.0, rel=0.001)
    assert peak.take_finished() == pytest.approx(59_000.0, rel=0.001)
    assert peak.take_finished() is None


def test_quarter_peak_gap_over_boundary_may_be_all_in_new_quarter() -> None:
    peak = started()
    read(peak, BEGIN, 800, 10_000.0)
    peak.on_reading(10_000.0, 0.0, None, WORST_W, BEGIN + 1000)
    assert peak.used_wh(WORST_W, BEGIN + 1000) == pytest.approx(WORST_W * 100 / 3600)
    assert peak.take_finished() is None


def test_start_within_quarter_counts_past_at_worst() -> None:
    peak = QuarterPeak()
    peak.on_reading(10_000.0, 0.0, 777.0, WORST_W, BEGIN + 450)
    assert peak.used_wh(WORST_W, BEGIN + 450) == pytest.approx(WORST_W * 450 / 3600)
    assert room(peak, BEGIN + 450) < 60_000.0
    assert not peak.is_whole
    read(peak, BEGIN + 450, 460, 10_000.0)
    assert peak.is_whole


@pytest.mark.parametrize("earlier", [0, 1])
def test_quarter_peak_restart_with_stored_register_has_past(earlier: int) -> None:
    peak = QuarterPeak()
    number = int(BEGIN // QUARTER_S)
    peak.restore(QuarterMemory(quarter=number - earlier, register_wh=1000.0))
    peak.on_reading(10_000.0, 0.0, 3000.0, WORST_W, BEGIN + 450)
    assert peak.used_wh(WORST_W, BEGIN + 450) == pytest.approx(2000.0)
    assert peak.is_whole is (earlier == 0)
    assert peak.record() == QuarterMemory(quarter=number, register_wh=pytest.approx(1000.0))


def test_quarter_peak_restart_with_another_meter_counts_worst() -> None:
    peak = QuarterPeak()
    peak.restore(QuarterMemory(quarter=int(BEGIN // QUARTER_S), register_wh=9000.0))
    peak.on_reading(10_000.0, 0.0, 3000.0, WORST_W, BEGIN + 450)
    assert peak.used_wh(WORST_W, BEGIN + 450) == pytest.approx(WORST_W * 450 / 3600)


@pytest.mark.parametrize("register", [10.0, 9_000_000.0])
def test_register_of_another_meter_changes_nothing(register: float) -> None:
    peak = QuarterPeak()
    peak.on_reading(0.0, 0.0, 5000.0, WORST_W, BEGIN)
    read(peak, BEGIN, 100, 36_000.0, register=5000.0)
    peak.on_reading(36_000.0, 0.0, register, WORST_W, BEGIN + 101)
    assert peak.used_wh(WORST_W, BEGIN + 101) == pytest.approx(1010.0)


def test_quarter_with_gap_is_no_reached_peak() -> None:
    peak = started()
    read(peak, BEGIN, 100, 10_000.0)
    read(peak, BEGIN + 200, 800, 10_000.0)
    assert peak.take_finished() is None


def test_quarter_peak_room_in_last_seconds_is_that_of_before() -> None:
    peak = started()
    read(peak, BEGIN, 880, 60_000.0)
    before_w = room(peak, BEGIN + 880)
    read(peak, BEGIN + 880, 15, 90_000.0)
    assert room(peak, BEGIN + 895) == before_w


@pytest.mark.parametrize("ratio", [0.0, 1 / 40, 0.2])
def test_quarter_peak_ignores_register_without_transformer_ratio(ratio: float) -> None:
    peak = QuarterPeak()
    for second in range(600):
        shown_wh = 500_000.0 + ratio * 20_000.0 * second / 3600
        peak.on_reading(20_000.0, 20_000.0, round(shown_wh), 60_000.0, BEGIN + second)
    assert peak.used_wh(60_000.0, BEGIN + 599) == pytest.approx(20_000.0 * 599 / 3600, rel=0.03)
