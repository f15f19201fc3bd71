"""Energy over hours while the clock is set: nothing is lost, counted twice or owed by another day."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.load_management.energy.active_calendar import ActiveCalendar
from controller.load_management.energy.energy_planner import CircuitBase, EnergyPlanner
from controller.load_management.energy.energy_records import MonthPeakStored, QuarterStored, QuotaStored
from controller.load_management.energy.energy_settings import (
    CalendarEntry,
    DepartureRule,
    EnergySettings,
    GroupSettings,
    PeakSettings,
)
from controller.load_management.energy.quarter_peak import QuarterPeak
from controller.load_management.energy.week_schedule import WeekSpan
from controller.load_management.site_tree import EvseNode, SiteTree
from controller.model.journal import Record
from controller.model.observations import EvseRef
from tests.controller.load_management.energy.evse_uses import make_use
from tests.controller.load_management.steps import finish_steps
from tests.scenario.site_harness import make_grid

REF = EvseRef("CS01", 1)
BERLIN = ZoneInfo("Europe/Berlin")
NOON = datetime(2026, 11, 27, 11, tzinfo=UTC).timestamp()
"""A Friday, 12:00 in Berlin."""
DAY_S = 86_400.0
FIRST_OF_1970 = 3_000.0
EVSE = EvseNode(ref=REF, circuit="grid", phases=(0, 1, 2), min_a=6.0, max_a=32.0, fallback_a=6.0)
SITE = SiteTree(circuits=(make_grid(100.0),), evses=(EVSE,))
SETTINGS = EnergySettings(
    zone=BERLIN,
    peaks={"grid": PeakSettings(target_w=10_000.0, reached_is_free=True)},
    groups=(GroupSettings(id="shop", evses=frozenset({REF}), quota_wh=20_000.0),),
    departures=(
        DepartureRule(evses=frozenset({REF}), days=frozenset(range(7)), minute=18 * 60, energy_wh=9_000.0),
    ),
    calendar=(CalendarEntry(name="noon", span=WeekSpan(begin=690, end=780), circuit="grid", limit_a=20.0),),
)

GOOD = {"grid": CircuitBase(base_w=0.0, worst_w=69_000.0, is_trusted=True)}


class Day:
    """A planner with a car that draws 11 kW, all that its grid connection carries."""

    def __init__(self, utc: float, stored: tuple[Record, ...] = ()) -> None:
        self.energy = EnergyPlanner(SITE, SETTINGS, 230.0)
        self.now = 0.0
        self.utc = utc
        self.energy.set_clock(utc, 0.0)
        self.energy.restore(stored)
        self.energy.on_transaction(REF, True, 0.0)
        self.stored: dict[type[Record], Record] = {}

    def run(self, seconds: float, power_w: float = 11_000.0) -> None:
        use = make_use(drawn_w=power_w)
        end = self.now + seconds
        while self.now < end:
            self.energy.on_reading("grid", power_w, 0.0, None, self.now)
            self.energy.set_clock(self.utc + self.now, self.now)
            finish_steps(self.energy.update(GOOD, {REF: use}, self.now))
            self.stored |= {type(each): each for each in self.energy.take_records()}
            self.now += 5.0

    def set_clock(self, step_s: float) -> None:
        self.utc += step_s
        self.energy.set_clock(self.utc + self.now, self.now)

    @property
    def quota_wh(self) -> float:
        return self.energy.view(self.now).groups[0].used_wh

    @property
    def quarter_wh(self) -> float:
        return self.energy.view(self.now).peaks[0].used_wh


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, FIRST_OF_1970 - NOON, 600.0, -3.0])
def test_clock_step_and_back_keeps_quota_of_day(step_s: float) -> None:
    day = Day(NOON)
    day.run(3600.0)
    day.set_clock(step_s)
    day.run(1800.0)
    day.set_clock(-step_s)
    day.run(1800.0)
    assert day.quota_wh == pytest.approx(22_000.0, rel=0.01)
    record = day.stored[QuotaStored]
    assert isinstance(record, QuotaStored)
    assert record.day == "2026-11-27"
    assert record.used_wh == pytest.approx(22_000.0, rel=0.02)


def test_clock_step_over_midnight_begins_quota_of_new_day() -> None:
    day = Day(NOON + 12 * 3600.0 - 3600.0)
    day.run(3300.0)
    day.set_clock(600.0)  # 23:55 to 0:05
    day.run(5.0)
    assert day.quota_wh == pytest.approx(11_000.0 * 300 / 3600, rel=0.1)


@pytest.mark.parametrize("start", [FIRST_OF_1970, NOON - DAY_S])
def test_quota_of_today_survives_start_with_clock_behind(start: float) -> None:
    stored = QuotaStored("shop", "2026-11-27", 15_000.0)
    day = Day(start, (stored,))
    day.run(1200.0)
    assert day.quota_wh == pytest.approx(15_000.0 + 11_000.0 / 3, rel=0.01)
    assert QuotaStored not in day.stored, "a clock that is behind must not replace the quota of today"
    day.set_clock(NOON - start)
    day.run(10.0)
    assert day.quota_wh == pytest.approx(15_000.0 + 11_000.0 / 3, rel=0.01)
    record = day.stored[QuotaStored]
    assert isinstance(record, QuotaStored)
    assert record.day == "2026-11-27"


def test_quota_of_yesterday_is_not_owed_after_clock_is_set() -> None:
    day = Day(FIRST_OF_1970, (QuotaStored("shop", "2026-11-26", 15_000.0),))
    day.set_clock(NOON - FIRST_OF_1970)
    day.run(10.0)
    assert day.quota_wh < 100.0


def test_quota_restored_ends_with_its_day() -> None:
    day = Day(NOON + 12 * 3600.0 - 600.0, (QuotaStored("shop", "2026-11-27", 15_000.0),))
    day.run(660.0)
    assert day.quota_wh == pytest.approx(11_000.0 * 60 / 3600, rel=0.15)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S, FIRST_OF_1970 // 900 * 900 - NOON])
def test_clock_step_by_quarters_keeps_energy_of_quarter(step_s: float) -> None:
    day = Day(NOON)
    day.run(600.0)
    day.set_clock(step_s)
    assert day.quarter_wh == pytest.approx(11_000.0 * 600 / 3600, rel=0.02)
    day.run(60.0)
    assert day.quarter_wh == pytest.approx(11_000.0 * 660 / 3600, rel=0.02)


def test_clock_step_into_quarter_counts_since_its_begin() -> None:
    day = Day(NOON)
    day.run(1500.0)  # 10 minutes of the second quarter hour
    day.set_clock(240.0)
    assert day.quarter_wh == pytest.approx(11_000.0 * 840 / 3600, rel=0.03)
    day.set_clock(-480.0)  # the quarter hour had 10 minutes, and has 6 now
    assert day.quarter_wh == pytest.approx(11_000.0 * 360 / 3600, rel=0.04)


def test_clock_step_before_first_reading_counts_fuse() -> None:
    day = Day(NOON)
    day.run(60.0)
    day.set_clock(300.0)
    assert day.quarter_wh == pytest.approx((69_000.0 * 300 + 11_000.0 * 60) / 3600, rel=0.02)


@pytest.mark.parametrize("step_s", [DAY_S, -DAY_S])
def test_clock_step_keeps_memory_of_surge_as_long_as_ever(step_s: float) -> None:
    peak = QuarterPeak()
    peak.on_reading(40_000.0, 40_000.0, None, 69_000.0, NOON)
    for second in range(1, 100):
        peak.on_reading(5_000.0, 5_000.0, None, 69_000.0, NOON + second)
    before_w = peak.lasting_w(60_000.0, 5_000.0, NOON + 100, is_trusted=True)
    peak.on_clock_set(step_s, 69_000.0, NOON + step_s + 100)
    after_w = peak.lasting_w(60_000.0, 5_000.0, NOON + step_s + 100, is_trusted=True)
    assert after_w == pytest.approx(before_w)
    for second in range(100, 3000):
        peak.on_reading(5_000.0, 5_000.0, None, 69_000.0, NOON + step_s + second)
    later_w = peak.lasting_w(60_000.0, 5_000.0, NOON + step_s + 3000, is_trusted=True)
    assert later_w == pytest.approx(55_000.0, rel=0.01)  # the surge is forgotten


@pytest.mark.parametrize("step_s", [30 * DAY_S, -30 * DAY_S, FIRST_OF_1970 - NOON])
def test_clock_step_to_other_month_and_back_keeps_reached_peak(step_s: float) -> None:
    day = Day(NOON)
    day.run(1800.0, 15_000.0)
    day.set_clock(step_s)
    day.run(1800.0, 12_000.0)
    day.set_clock(-step_s)
    day.run(10.0)
    [peak] = day.energy.view(day.now).peaks
    assert peak.month_w == pytest.approx(15_000.0, rel=0.01)
    assert peak.target_w == pytest.approx(15_000.0, rel=0.01)
    record = day.stored[MonthPeakStored]
    assert isinstance(record, MonthPeakStored)
    assert (record.month, record.peak_w) == ("2026-11", pytest.approx(15_000.0, rel=0.01))


def test_reached_peak_survives_start_with_clock_behind() -> None:
    day = Day(FIRST_OF_1970, (MonthPeakStored("grid", "2026-11", 15_000.0),))
    day.run(1800.0)
    assert MonthPeakStored not in day.stored
    day.set_clock(NOON - FIRST_OF_1970)
    day.run(10.0)
    assert day.energy.view(day.now).peaks[0].month_w == 15_000.0


def test_clock_step_stores_quarter_that_runs_now() -> None:
    day = Day(NOON)
    day.run(60.0)
    day.set_clock(DAY_S)
    day.run(5.0)
    record = day.stored[QuarterStored]
    assert isinstance(record, QuarterStored)
    assert record.quarter == (NOON + DAY_S) // 900


@pytest.mark.parametrize("step_s", [3 * 3600.0, -3 * 3600.0, NOON - FIRST_OF_1970])
def test_clock_step_moves_planned_departure(step_s: float) -> None:
    day = Day(NOON - step_s)
    day.run(60.0)
    assert day.energy.evses.departures.take_changes({}, day.utc + day.now) == []
    day.set_clock(step_s)
    [(ref, needs)] = day.energy.evses.departures.take_changes({REF: 1_000.0}, day.utc + day.now)
    assert ref == REF
    assert needs.departs_in_s == pytest.approx(6 * 3600.0 - 60.0)  # 18:00
    assert needs.energy_wh == 8_000.0
    assert day.energy.evses.departures.take_changes({}, day.utc + day.now) == []


def test_clock_step_leaves_goal_of_person_alone() -> None:
    day = Day(NOON)
    day.energy.evses.departures.on_goal_set(REF)
    day.set_clock(3600.0)
    assert day.energy.evses.departures.take_changes({}, day.utc) == []


def test_clock_step_moves_calendar_at_once() -> None:
    day = Day(NOON - DAY_S / 2)
    day.run(5.0)
    assert day.energy.calendar.limit_a(SITE.circuits[0]) == (100.0, 100.0, 100.0)
    day.set_clock(DAY_S / 2)
    assert day.energy.calendar.limit_a(SITE.circuits[0]) == (20.0, 20.0, 20.0)


def test_day_with_two_midnights_begins_at_the_first() -> None:
    # In Havana, on 2026-11-01, 00:00 to 01:00 occurs twice: at 04:00 and at 05:00 UTC.
    calendar = ActiveCalendar(EnergySettings(zone=ZoneInfo("America/Havana")))
    calendar.update(datetime(2026, 11, 1, 5, 30, tzinfo=UTC).timestamp())
    assert calendar.day == "2026-11-01"
    assert calendar.day_began_at == datetime(2026, 11, 1, 4, tzinfo=UTC).timestamp()
