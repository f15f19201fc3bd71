"""Power that cars can expect in each quarter hour under the calendar, as computed by hand."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest

from controller.load_management.energy.active_calendar import ActiveCalendar
from controller.load_management.energy.car_outlook import CarOutlook
from controller.load_management.energy.energy_settings import CalendarEntry, EnergySettings, PeakSettings
from controller.load_management.energy.peak_budgets import PeakBudgets
from controller.load_management.energy.week_schedule import WeekSpan
from controller.load_management.events import CarRoom
from controller.load_management.site_tree import SiteTree
from controller.model.observations import EvseRef
from tests.controller.load_management.energy.evse_uses import make_use
from tests.controller.load_management.steps import finish_steps
from tests.scenario.site_harness import make_grid, make_row, make_station

BERLIN = ZoneInfo("Europe/Berlin")
A, B = EvseRef("A", 1), EvseRef("B", 1)
NOON = int(datetime(2026, 11, 27, 11, tzinfo=UTC).timestamp()) // 900
"""Quarter hour that begins at 12:00 in Berlin, on a Friday."""
V = 230.0


def make_outlook(*entries: CalendarEntry, peak_w: float | None = None, row: str = "grid") -> CarOutlook:
    """Return the outlook of A and B, whose cars need as much as each other.

    The building draws 4 A of 63 A and the margin is 1 A: 58 A are left, which are 40.02 kW on three phases.
    """
    circuits = (make_grid(63.0), *([make_row(row, 32.0)] if row != "grid" else []))
    site = SiteTree(circuits=circuits, evses=(make_station("A", row).evse, make_station("B").evse))
    peaks = {} if peak_w is None else {"grid": PeakSettings(target_w=peak_w)}
    settings = EnergySettings(zone=BERLIN, calendar=entries, peaks=peaks)
    calendar = ActiveCalendar(settings)
    use = make_use(most_w=22_080.0, least_w=4_140.0, left_wh=9_000.0, leaves_in_s=14_400.0)
    rooms = {"grid": CarRoom((58.0 * V,) * 3, others_a=(5.0,) * 3, base_w=12 * V)}
    if row != "grid":
        rooms[row] = CarRoom((32.0 * V,) * 3)
    budgets = PeakBudgets(site, settings, calendar, V, [])
    return CarOutlook(site, budgets, {A: use, B: use}, rooms)


def outlook_w(
    *entries: CalendarEntry,
    quarters: range,
    peak_w: float | None = None,
    first: int = NOON,
    row: str = "grid",
) -> list[float]:
    """Return what A can expect in quarter hours (W), by their number from the first one on."""
    found = make_outlook(*entries, peak_w=peak_w, row=row)
    numbers = range(first + quarters.start, first + quarters.stop)
    finish_steps(found.find(numbers))
    return [share.share_w for share in found.shares(A, numbers)]


def entry(
    begin: int, end: int, *, limit_a: float | None = None, limit_w: float | None = None, circuit: str = "grid"
) -> CalendarEntry:
    """Return an entry that holds between two minutes after noon."""
    span = WeekSpan(begin=720 + begin, end=720 + end)
    return CalendarEntry(name="x", span=span, circuit=circuit, limit_a=limit_a, limit_w=limit_w)


def test_outlook_limit_to_come_lowers_shares_while_it_holds() -> None:
    # 25 A less 5 A are 13.8 kW for both.
    found_w = outlook_w(entry(15, 45, limit_a=25.0), quarters=range(4))
    assert found_w == pytest.approx([20_010.0, 6_900.0, 6_900.0, 20_010.0])


def test_outlook_limit_within_quarter_counts_for_its_minutes() -> None:
    # From 12:20 to 12:36: 10 of the second 15 minutes, and 6 of the third.
    found_w = outlook_w(entry(20, 36, limit_a=25.0), quarters=range(4))
    assert found_w == pytest.approx([20_010.0, 11_270.0, 14_766.0, 20_010.0])


def test_outlook_limit_below_minimum_of_car_leaves_nothing() -> None:
    # Of 10 A the building and the margin leave 5 A: no car charges with that.
    assert outlook_w(entry(0, 15, limit_a=10.0), quarters=range(1)) == [0.0]
    assert outlook_w(entry(0, 15, limit_a=11.0), quarters=range(1)) == pytest.approx([2_070.0])


def test_outlook_lowest_of_power_limit_and_target_binds() -> None:
    # 23 A * V less the building's 12 A * V are 2530 W for both, below a minimum; 43 A * V leave 7130 W.
    entries = entry(0, 15, limit_w=23 * V), entry(15, 30, limit_w=43 * V)
    assert outlook_w(*entries, quarters=range(2)) == pytest.approx([0.0, 3_565.0])
    found_w = outlook_w(entry(15, 30, limit_w=43 * V), quarters=range(2), peak_w=52 * V)
    assert found_w == pytest.approx([4_600.0, 3_565.0])


def test_outlook_target_of_calendar_holds_for_whole_quarter() -> None:
    target = CalendarEntry(name="x", span=WeekSpan(begin=740, end=742), circuit="grid", peak_w=52 * V)
    assert outlook_w(target, quarters=range(3)) == pytest.approx([20_010.0, 4_600.0, 20_010.0])


def test_outlook_limit_of_row_concerns_its_cars_only() -> None:
    # The row's 20 A are all for A; a limit of another row is none of it.
    limited = entry(15, 30, limit_a=20.0, circuit="row")
    assert outlook_w(limited, quarters=range(2), row="row") == pytest.approx([20_010.0, 13_800.0])
    assert outlook_w(limited, quarters=range(2)) == pytest.approx([20_010.0, 20_010.0])


def test_outlook_car_in_surplus_mode_expects_nothing_and_takes_nothing() -> None:
    both = [
        CalendarEntry(name="sun", span=WeekSpan(begin=735, end=750), evses=frozenset({ref}), surplus=True)
        for ref in (A, B)
    ]
    assert outlook_w(both[0], quarters=range(2)) == pytest.approx([20_010.0, 0.0])
    assert outlook_w(both[1], quarters=range(2)) == pytest.approx([20_010.0, 22_080.0])


def test_outlook_limit_in_autumn_holds_in_both_hours() -> None:
    # 2026-10-25 from 02:00 to 03:00 by the wall clock: 00:00 to 02:00 UTC.
    night = CalendarEntry(name="x", span=WeekSpan(begin=120, end=180), circuit="grid", limit_a=25.0)
    midnight = int(datetime(2026, 10, 25, tzinfo=UTC).timestamp()) // 900
    found_w = outlook_w(night, quarters=range(-1, 9), first=midnight)
    assert found_w == pytest.approx([20_010.0, *[6_900.0] * 8, 20_010.0])


def test_outlook_limit_in_hour_left_out_in_spring_does_not_occur() -> None:
    night = CalendarEntry(name="x", span=WeekSpan(begin=120, end=180), circuit="grid", limit_a=25.0)
    before = int(datetime(2026, 3, 29, tzinfo=UTC).timestamp()) // 900
    assert outlook_w(night, quarters=range(8), first=before) == pytest.approx([20_010.0] * 8)


def test_outlook_bounds_hold_while_entries_do_until_departure() -> None:
    noon = NOON * 900.0
    outlook = make_outlook(entry(20, 36, limit_a=25.0), entry(30, 90, limit_a=15.0))
    leaves_at = {A: noon + 4_000.0, B: noon + 1_500.0}
    assert finish_steps(outlook.find_bounds(leaves_at, noon)) == {
        A: [
            (noon + 1_200.0, noon + 1_800.0, pytest.approx(6_900.0)),
            (noon + 1_800.0, noon + 2_160.0, pytest.approx(3_450.0)),
            (noon + 2_160.0, noon + 4_000.0, pytest.approx(3_450.0)),
        ],
        B: [(noon + 1_200.0, noon + 1_500.0, pytest.approx(6_900.0))],
    }


def test_outlook_without_entries_bounds_nothing() -> None:
    outlook, noon = make_outlook(peak_w=20_000.0), NOON * 900.0
    assert finish_steps(outlook.find_bounds({A: noon + 4_000.0}, noon)) == {A: []}
