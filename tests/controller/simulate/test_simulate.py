"""One simulated day in all its outputs, and the command `simulate`."""

from __future__ import annotations

import copy
import xml.etree.ElementTree as ET
from collections import Counter
from datetime import datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from controller.cli import main
from controller.config.loader import check_config
from controller.load_management.energy.price_series import make_series
from controller.load_management.site_builder import build_site
from controller.model.observations import EvseRef
from controller.simulate.day_file import read_day
from controller.simulate.day_plot import render_plot
from controller.simulate.day_record import DayRecord
from controller.simulate.day_summary import day_figures, render_summary
from controller.simulate.omniscient_allocator import QuarterAllowance
from controller.simulate.overload_causes import ARRIVAL, BUILDING, CONTROL, SURGE, OverloadCauses
from controller.simulate.simulation import simulate

pytestmark = pytest.mark.slow

ETC = Path(__file__).parents[3] / "etc"
CONFIG = """
[site]
id = "lc"
[load_management]
fallback_a = 0
tick_s = 15
[[backend]]
id = "cpo"
url = "wss://csms.example/{station}"
[[meter]]
id = "m"
driver = "janitza-umg604"
transport = "tcp"
host = "192.0.2.1"
[[circuit]]
id = "grid"
limit_a = [60, 60, 50]
meter = "m"
[[circuit]]
id = "row <&>"
parent = "grid"
limit_a = 40
[[station]]
id = "A"
circuit = "row <&>"
owner = "cpo"
[[station]]
id = "B"
circuit = "row <&>"
owner = "cpo"
[[station.evse]]
id = 1
phases = ["L2"]
[[station]]
id = "C"
circuit = "grid"
owner = "cpo"
"""
DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,10,10,10,,,
06:00,load,grid,30,45,20,,,
12:00,load,grid,-5,-5,-5,,,
01:00,plug,A,,,,20,3,32
08:00,unplug,A,,,,,,
01:00,plug,B,,,,500,1,32
12:00,unplug,B,,,,,,
13:00,plug,B,,,,1,1,16
"""

CALENDAR = """
[[calendar]]
name = "afternoon"
days = ["mon", "tue", "wed", "thu", "fri"]
begin = "14:00"
end = "16:00"
circuit = "row <&>"
limit_a = 11
"""
PEAK_DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,2,2,2,,,
09:00,plug,A,,,,300,3,32
09:00,plug,C,,,,300,3,32
17:00,unplug,A,,,,,,
17:00,unplug,C,,,,,,
"""

SWITCHING = """
id = "C"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 1
phase_switching = true
"""
TIGHT_DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,0,0,0,,,
11:00,load,grid,40,55,10,,,
13:00,load,grid,0,0,0,,,
10:00,plug,C,,,,500,3,32
"""


@pytest.fixture(scope="module")
def record() -> DayRecord:
    config, mistakes, _ = check_config(CONFIG, "site.toml")
    assert config is not None, mistakes
    return simulate(config, read_day(DAY, "day.csv", build_site(config)))


def a(record: DayRecord, station: str, clock: str) -> float:
    """Return the current of a station's car at this time."""
    return record.evses[EvseRef(station, 1)].minutes[minute(clock)]


def minute(clock: str) -> int:
    return int(clock[:2]) * 60 + int(clock[3:])


def test_simulate_two_cars_on_one_phase_share_it(record: DayRecord) -> None:
    assert a(record, "A", "01:10") == pytest.approx(19.5, abs=0.1)
    assert a(record, "B", "01:10") == pytest.approx(19.5, abs=0.1)


def test_simulate_full_car_leaves_share_to_other(record: DayRecord) -> None:
    first = record.evses[EvseRef("A", 1)]
    assert first.got_wh == pytest.approx(20_000, rel=0.01)
    hour = record.evses[EvseRef("B", 1)].minutes[minute("04:30") : minute("05:30")]
    assert sum(amps < 32.0 for amps in hour) <= 1  # while the full car is probed
    assert min(hour) >= 39.0 - 10.0


def test_simulate_car_is_reduced_as_building_takes_more(record: DayRecord) -> None:
    assert 6.0 <= a(record, "B", "07:00") <= 14.0
    grid = record.circuits[0]
    assert grid.minutes[minute("07:00")][1] <= 60.0
    assert grid.over_s <= 30.0


def test_simulate_unplugged_car_draws_nothing_and_next_begins_anew(record: DayRecord) -> None:
    second = record.evses[EvseRef("B", 1)]
    assert a(record, "B", "12:30") == 0.0
    assert minute("12:30") not in second.here
    assert a(record, "B", "13:02") == pytest.approx(16.0)
    assert second.asked_wh == 501_000


def test_record_of_energy_and_charge_agree(record: DayRecord) -> None:
    second = record.evses[EvseRef("B", 1)]
    assert second.got_wh == pytest.approx(second.charge_as * 230 / 3600)
    assert second.plugged_s == pytest.approx(22 * 3600, abs=10)
    assert sum(second.reasons.values()) <= len(second.here)
    grid, row = record.circuits
    assert grid.minutes[minute("23:00")] == (-5.0, -5.0, -5.0)
    assert row.over_s == 0.0
    assert row.peak_a[1] <= 40.0
    assert grid.peak_a[0] > 0


def test_simulate_summary_names_evses_without_car(record: DayRecord) -> None:
    lines = render_summary(record).splitlines()
    assert any(line.startswith("C/1") and line.endswith("no car came") for line in lines)
    assert any("60/60/50" in line and "grid" in line for line in lines)
    assert any(line.startswith("A/1") and "row <&> L2 full" in line for line in lines)
    assert any(line.endswith("of 521.0 kWh asked for") for line in lines)


def test_simulate_summary_has_figures_of_day(record: DayRecord) -> None:
    figures = day_figures(record)
    assert 0.9 < figures["utilisation"] <= 1.01  # type: ignore[operator]
    assert figures["asked_kwh"] == 521.0
    assert sum(figures["reasons"].values()) == pytest.approx(1.0, abs=0.01)  # type: ignore[attr-defined]
    text = render_summary(record)
    assert "utilisation: " in text
    assert "above limits: " in text
    assert "highest quarter hour of grid: " in text
    assert "100%" in text or "%  " in text


def test_simulate_utilisation_names_what_its_allocator_lacks(record: DayRecord) -> None:
    assert record.uncounted == ()
    surplus = '[[station.evse]]\nid = 1\nmode = "surplus"\n'
    quota = '[[group]]\nid = "tenant"\nstations = ["A"]\nquota_kwh = 10\n'
    config, mistakes, _ = check_config(CONFIG + surplus + quota, "site.toml")
    assert config is not None, mistakes
    other = simulate(config, read_day(DAY, "day.csv", build_site(config)))
    assert "same limits and margins, without surplus mode and quotas" in render_summary(other)
    assert day_figures(other)["utilisation_without"] == ["surplus mode", "quotas"]


def test_simulate_summary_adds_up_short_reasons(record: DayRecord) -> None:
    record = copy.deepcopy(record)
    evse = next(iter(record.evses.values()))
    evse.reasons = Counter({"grid L1 full": 990, "row L2 full": 4, "dimmed": 3, "meter is lost": 3})
    for each in record.evses.values():
        if each is not evse:
            each.reasons = Counter()
    lines = render_summary(record).splitlines()
    assert lines[-2:] == ["   99%  grid L1 full", "    1%  other reasons"]


def test_omniscient_allocator_spends_allowance_until_quarter_ends() -> None:
    allowance = QuarterAllowance(900.0 * 10.0, 900.0)
    assert allowance.left_a(0.0) == 10.0
    allowance.use(0.0, 450.0)
    assert allowance.left_a(450.0) == 20.0
    allowance.use(20.0, 450.0)
    assert allowance.left_a(890.0) == 0.0
    assert allowance.left_a(900.0) == 0.0


def test_overload_is_split_by_cause() -> None:
    causes = OverloadCauses()
    causes.add((50.0, 10.0, 10.0), (30.0, 10.0, 10.0), (60.0, 60.0, 60.0), 0.0, 2.0)
    causes.add((80.0, 10.0, 10.0), (45.0, 10.0, 10.0), (60.0, 60.0, 60.0), 2.0, 2.0)
    assert causes.ampere_s == {BUILDING: 0.0, SURGE: 30.0, CONTROL: 10.0}
    causes.add_arrival(100.0)
    causes.add((70.0, 65.0, 10.0), (45.0, 65.0, 10.0), (60.0, 60.0, 60.0), 102.0, 2.0)
    assert causes.ampere_s[BUILDING] == 10.0
    assert causes.ampere_s[ARRIVAL] == 20.0


def test_simulate_simulation_follows_calendar_and_peak_of_date() -> None:
    text = CONFIG.replace('meter = "m"', 'meter = "m"\nbase_load_a = 45\npeak_kw = 20') + CALENDAR
    config, mistakes, _ = check_config(text, "site.toml")
    assert config is not None, mistakes
    day = read_day(PEAK_DAY, "day.csv", build_site(config))
    friday = simulate(config, day, "2026-11-27")
    assert max(friday.circuits[0].quarters_w) <= 20_000.0
    assert friday.circuits[0].quarters_w[40] > 18_500.0
    assert friday.circuits[0].targets_w == [20_000.0] * 96
    assert friday.utilisation == pytest.approx(0.97, abs=0.03)
    text = render_summary(friday)
    assert "same limits, margins and quarter-hour targets" in text
    assert ", target 20 kW" in text
    assert day_figures(friday)["quarter_hours_above_target"] == {"grid": 0}
    root = ET.fromstring(render_plot(friday, "day"))
    bars = [each for each in root.iter("{http://www.w3.org/2000/svg}rect") if each.get("class") == "quarter"]
    assert len(bars) == 96
    assert a(friday, "A", "12:05") == pytest.approx(13.5, abs=0.5)  # (20 kW / 690 V - 2 A) / 2
    assert a(friday, "A", "15:00") == pytest.approx(10.0, abs=1.0)


def test_plot_is_valid_svg_with_every_name(record: DayRecord) -> None:
    root = ET.fromstring(render_plot(record, "<site> & \x07 day"))
    texts = ["".join(text.itertext()) for text in root.iter("{http://www.w3.org/2000/svg}text")]
    assert {"<site> & ? day", "grid", "row <&>", "A/1", "B/1", "60/50 A", "40 A"} <= set(texts)
    assert "C/1" not in texts
    lines = list(root.iter("{http://www.w3.org/2000/svg}polyline"))
    assert len(lines) == 3 * len(record.circuits) + 1
    assert all(2 <= len(line.attrib["points"].split()) <= 1440 for line in lines)


def test_switching_evse_uses_one_phase_while_three_do_not_fit() -> None:
    """L2 is full at noon; the station's first phase sits on L1, which is not."""
    text = CONFIG.replace('id = "C"\ncircuit = "grid"\nowner = "cpo"\n', SWITCHING)
    config, mistakes, _ = check_config(text, "site.toml")
    assert config is not None, mistakes
    record = simulate(config, read_day(TIGHT_DAY, "day.csv", build_site(config)))
    switching = record.evses[EvseRef("C", 1)]
    grid = record.circuits[0]
    assert grid.minutes[minute("10:30")] == pytest.approx((32.0, 32.0, 32.0), abs=1.0)
    assert grid.minutes[minute("11:30")] == pytest.approx((40.0 + 19.0, 55.0, 10.0), abs=1.0)
    assert grid.minutes[minute("13:30")] == pytest.approx((32.0, 32.0, 32.0), abs=1.0)
    assert switching.reasons["on one phase: grid L1 full"] > 100
    assert grid.over_s <= 10.0


def test_example_day_runs_and_is_plotted(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    plot = tmp_path / "day.svg"
    example = ["-c", str(ETC / "controller.toml"), "--day", str(ETC / "day.example.csv")]
    assert main.main(["simulate", *example, "--plot", str(plot)]) == 0
    assert "255.0 kWh asked for" in capsys.readouterr().out
    assert ET.fromstring(plot.read_text("utf-8")).tag.endswith("svg")


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [(b"nothing\n", 1, ":1: no head"), (b"\xff\xfe", 2, "UTF-8"), (None, 2, "No such file")],
)
def test_simulate_unreadable_day_is_error(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes | None, status: int, words: str
) -> None:
    day = tmp_path / "day.csv"
    if content is not None:
        day.write_bytes(content)
    assert main.main(["simulate", "-c", str(ETC / "controller.toml"), "--day", str(day)]) == status
    stderr = capsys.readouterr().err
    assert str(day) in stderr
    assert words in stderr


BUILDING_METER = ('meter = "m"', 'meter = "m"\nmeasures = "building"\nbase_load_a = 10')
GRID_REPORTS = (
    'id = "C"\ncircuit = "grid"\nowner = "cpo"\n',
    'id = "C"\ncircuit = "grid"\nowner = "cpo"\n[[station.evse]]\nid = 1\n'
    'phases = ["L2", "L3", "L1"]\nreports_on = "grid"\n',
)
SHARED_DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,20,20,20,,,
08:00,plug,A,,,,500,3,32
08:00,plug,C,,,,500,1,32
12:00,unplug,A,,,,,,
12:00,unplug,C,,,,,,
"""


@pytest.mark.parametrize("declared", [BUILDING_METER, GRID_REPORTS])
def test_simulate_meter_and_reports_show_what_is_declared(declared: tuple[str, str]) -> None:
    config, mistakes, _ = check_config(CONFIG.replace(*declared), "site.toml")
    assert config is not None, mistakes
    record = simulate(config, read_day(SHARED_DAY, "day.csv", build_site(config)))
    assert record.utilisation == pytest.approx(0.97, abs=0.03)
    assert record.circuits[0].over_s == 0.0


SUNNY_BATTERY = """
[[station.evse]]
id = 1
mode = "surplus"
[battery]
meter = "b"
[[meter]]
id = "b"
driver = "sunspec"
transport = "tcp"
host = "192.0.2.3"
"""
SUNNY_DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,5,5,5,,,
10:00,load,grid,-12,-12,-12,,,
12:00,load,grid,5,5,5,,,
08:00,plug,C,,,,50,3,32
"""


def test_simulate_car_in_surplus_mode_charges_beside_battery() -> None:
    config, mistakes, _ = check_config(CONFIG + SUNNY_BATTERY, "site.toml")
    assert config is not None, mistakes
    record = simulate(config, read_day(SUNNY_DAY, "day.csv", build_site(config)))
    assert a(record, "C", "11:00") == pytest.approx(12.0, abs=0.5)
    assert a(record, "C", "09:00") == a(record, "C", "13:00") == 0.0


FILES = '\n[prices]\nfile = "{prices}"\n'
PRICES = "begin,price\n" + "".join(
    f"2026-11-27T{hour:02}:00+01:00,{0.1 if hour == 10 else 0.4}\n" for hour in range(24)
)


def write_priced_site(folder: Path, prices: str, departures: str) -> list[str]:
    """Write a configuration with these files and a day; return the arguments of the command."""
    text = CONFIG.replace("tick_s = 15", f'tick_s = 15\ndepartures = "{folder / "departures.csv"}"')
    (folder / "site.toml").write_text(text + FILES.format(prices=folder / "prices.csv"))
    (folder / "prices.csv").write_text(prices)
    (folder / "departures.csv").write_text(departures)
    (folder / "day.csv").write_text(SHARED_DAY)
    files = ["-c", str(folder / "site.toml"), "--day", str(folder / "day.csv")]
    return ["simulate", *files, "--date", "2026-11-27"]


def test_simulate_waits_for_price_before_departure_of_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    departures = "station,day,ready_by,energy_kwh\nA,,12:00,10\n"
    assert main.main(write_priced_site(tmp_path, PRICES, departures)) == 0
    out = capsys.readouterr().out
    assert "waits for a cheaper quarter hour before its departure" in out
    assert "hours in" not in out


@pytest.mark.parametrize(
    ("prices", "departures", "words"),
    [
        (
            "begin,price\n",
            "station,day,ready_by,energy_kwh\nZ,,12:00,10\n",
            "departures.csv: line 2: station:",
        ),
        ("time,price\n", "station,day,ready_by,energy_kwh\n", "prices.csv: line 1: has no column begin"),
    ],
)
def test_simulate_mistake_in_prices_or_departures_names_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], prices: str, departures: str, words: str
) -> None:
    assert main.main(write_priced_site(tmp_path, prices, departures)) == 1
    assert words in capsys.readouterr().err


def test_simulate_day_of_clock_change_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = write_priced_site(tmp_path, PRICES, "station,day,ready_by,energy_kwh\nA,,12:00,10\n")
    site, day = tmp_path / "site.toml", tmp_path / "day.csv"
    site.write_text(site.read_text().replace("[site]\n", '[site]\ntimezone = "Europe/Berlin"\n'))
    day.write_text("\n".join(SHARED_DAY.splitlines()[:2]))
    assert main.main([*arguments[:-1], "2026-03-29"]) == 0
    out = capsys.readouterr().out
    assert "2026-03-29 has 23 hours in Europe/Berlin: 02:00 to 03:00 is left out" in out
    assert "prices.csv has no price on 2026-03-29: cars charged as without prices" in out


CLOCK_DAY = """time,what,where,l1_a,l2_a,l3_a,kwh,phases,max_a
00:00,load,grid,5,5,5,,,
02:00,load,grid,21,21,21,,,
03:00,load,grid,9,9,9,,,
01:00,plug,A,,,,500,3,32
06:00,unplug,A,,,,,,
02:10,plug,B,,,,5,1,32
02:50,unplug,B,,,,,,
"""
BY_CLOCK = """
[[calendar]]
name = "night"
begin = "02:00"
end = "03:30"
circuit = "row <&>"
limit_a = 13
[prices]
"""


@pytest.mark.parametrize(
    ("day", "hours", "grid_a", "row_a", "waits", "need_kwh", "b_came"),
    [
        # elapsed minutes: the load and the limit of 02:00 are not there, and 03:00 to 03:30 follows 02:00
        ("2026-03-29", 23, {110: 5, 121: 9, 239: 9}, {110: 32, 140: 12, 160: 32}, (180, 240), 45, False),
        # the load and the limit of 02:00 to 03:00 hold for both hours
        (
            "2026-10-25",
            25,
            {110: 5, 130: 21, 230: 21, 250: 9},
            {110: 32, 230: 12, 260: 12, 280: 32},
            (300, 360),
            60,
            True,
        ),
    ],
)
def test_simulate_day_of_clock_change_follows_the_wall_clock(
    day: str,
    hours: int,
    grid_a: dict[int, int],
    row_a: dict[int, int],
    waits: tuple[int, int],
    need_kwh: int,
    b_came: bool,
) -> None:
    text = CONFIG.replace("[site]\n", '[site]\ntimezone = "Europe/Berlin"\n') + BY_CLOCK
    config, mistakes, _ = check_config(text, "site.toml")
    assert config is not None, mistakes
    zone = ZoneInfo("Europe/Berlin")
    dear = datetime.fromisoformat(day).replace(hour=4, tzinfo=zone).timestamp()
    prices = make_series([(dear - 14_400.0, 0.2), (dear, 9.0), (dear + 3600.0, 0.2)])
    departures = f"station,day,ready_by,energy_kwh\nA,{day},06:00,{need_kwh}\n"
    record = simulate(config, read_day(CLOCK_DAY, "day.csv", build_site(config)), day, prices, departures)
    grid, car = record.circuits[0], record.evses[EvseRef("A", 1)]
    assert len(grid.minutes) == 60 * hours
    drawn_a = {at: sum(evse.minutes[at] for evse in record.evses.values()) for at in grid_a | row_a}
    assert {at: round(grid.minutes[at][0] - car.minutes[at]) for at in grid_a} == grid_a
    assert {at: drawn_a[at] for at in row_a} == pytest.approx(row_a, abs=1.1)
    assert [at for at in range(100, 60 * hours) if at in car.here and car.minutes[at] == 0] == [
        *range(*waits)
    ]
    assert max(car.here) == pytest.approx(waits[1] + 59, abs=1)
    assert bool(record.evses[EvseRef("B", 1)].here) is b_came
    root = ET.fromstring(render_plot(record, "day"))
    assert len([each for each in root.iter() if each.text == "24:00"]) == len(record.circuits) + 2
