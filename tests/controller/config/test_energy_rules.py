"""Mistakes in peaks, calendars, groups, departures and DC stations: each at its key, with remedy."""

from __future__ import annotations

import pytest

from controller.config import Config
from controller.config.loader import check_config

SITE = """
[site]
id = "lc"
timezone = "Europe/Berlin"
[load_management]
fallback_a = 0
[[backend]]
id = "cpo"
url = "wss://csms.example/{station}"
[[circuit]]
id = "grid"
limit_a = 100
meter = "grid"
base_load_a = 40
peak_kw = 30
[[circuit]]
id = "row"
parent = "grid"
limit_a = 32
[[meter]]
id = "grid"
driver = "janitza-umg604"
transport = "tcp"
host = "192.0.2.20"
[[station]]
id = "CS01"
circuit = "row"
owner = "cpo"
[[station]]
id = "CS02"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 2
"""
CALENDAR = """
[[calendar]]
name = "night"
begin = "22:00"
end = "06:00"
circuit = "grid"
limit_a = 63
"""
GROUPS = """
[[group]]
id = "bakery"
stations = ["CS01"]
guaranteed_a = 16
[[group]]
id = "gym"
stations = ["CS02/2"]
quota_kwh = 50
"""
DEPARTURE = """
[[departure]]
stations = ["CS01"]
ready_by = "06:30"
energy_kwh = 30
"""
DC = SITE.replace("id = 2", "id = 2\nmax_kw = 50\nreserve_kw = 10")
BATTERY = """
[battery]
meter = "battery"
[[meter]]
id = "battery"
driver = "janitza-umg604"
transport = "tcp"
host = "192.0.2.21"
"""


def checked(text: str) -> tuple[Config | None, list[str]]:
    config, errors, _ = check_config(text, "site.toml")
    return config, [f"{each.key}: {each.what}; {each.remedy}" for each in errors]


@pytest.mark.parametrize(
    "text",
    [SITE, SITE + CALENDAR, SITE + GROUPS, SITE + GROUPS + CALENDAR, SITE + DEPARTURE, DC, SITE + BATTERY],
)
def test_energy_tables_without_error_are_accepted(text: str) -> None:
    assert checked(text)[1] == []


ERRORS = [
    (SITE, 'meter = "grid"\nbase_load_a = 40', "", "peak_kw: needs a meter"),
    (SITE, "base_load_a = 40", "", "peak_kw: needs base_load_a"),
    (
        SITE,
        "base_load_a = 40",
        'base_load_a = 40\nmeasures = "building"',
        "peak_kw: needs a meter of the whole",
    ),
    (SITE, "peak_kw = 30", "peak_kw = 30000", "did you mean 30 (kW)?"),
    (SITE, "peak_kw = 30", "peak_reached_is_free = true", "has no effect without peak_kw"),
    (CALENDAR, 'begin = "22:00"', 'begin = "22"', 'did you mean "22:00"?'),
    (CALENDAR, 'begin = "22:00"', "begin = 22", 'did you mean "22:00"?'),
    (CALENDAR, 'begin = "22:00"', "begin = 22:00:00", 'did you mean "22:00"?'),
    (CALENDAR, 'begin = "22:00"', 'begin = "22 Uhr"', 'did you mean "22:00"?'),
    (CALENDAR, 'begin = "22:00"', 'days = "mon-wed"', 'did you mean ["mon", "tue", "wed"]?'),
    (CALENDAR, 'begin = "22:00"', 'days = ["Di"]', 'days: cannot be "Di"; did you mean "tue"?'),
    (CALENDAR, 'end = "06:00"', 'end = "25:00"', 'write a text like "06:30"'),
    (CALENDAR, 'end = "06:00"', 'end = "22:00"', "the entry never holds"),
    (CALENDAR, 'begin = "22:00"', 'begin = "24:00"', 'write begin = "00:00"'),
    (CALENDAR, 'circuit = "grid"', 'circuit = "gird"', 'did you mean "grid"'),
    (CALENDAR, 'circuit = "grid"', "", "limit_a: needs a circuit"),
    (CALENDAR, "limit_a = 63", "", "sets nothing"),
    (CALENDAR, "limit_a = 63", "limit_a = 630", '630 A is above the limit of "grid", 100 A'),
    (CALENDAR, "limit_a = 63", "limit_w = 30", "did you mean 30000 (W)?"),
    (CALENDAR, "limit_a = 63", "priority = 1", "priority: needs stations or a group"),
    (CALENDAR, "limit_a = 63", 'mode = "surplus"\nstations = ["CS1"]', 'did you mean "CS01"'),
    (CALENDAR, "limit_a = 63", 'mode = "surplus"\ngroup = "gym"', "group"),
    (CALENDAR, 'circuit = "grid"\nlimit_a = 63', 'circuit = "row"\npeak_kw = 5', "needs a meter"),
    (GROUPS, 'stations = ["CS02/2"]', 'stations = ["CS02/1"]', 'CS02" has no EVSE 1'),
    (GROUPS, 'stations = ["CS02/2"]', 'stations = ["CS01/1"]', 'is in group "bakery" already'),
    (GROUPS, 'id = "gym"', 'id = "bakery"', "already defined"),
    (GROUPS, "guaranteed_a = 16", "guaranteed_a = 40", 'circuit "row" carries 32 A'),
    (GROUPS, "quota_kwh = 50", "guaranteed_a = 61\nquota_kwh = 5", 'circuit "grid" carries 100 A'),
    (DEPARTURE, '["CS01"]', '["CS09"]', "CS09"),
    (DEPARTURE, 'stations = ["CS01"]', "", "is for no car"),
    (DEPARTURE, 'stations = ["CS01"]', 'priority_classes = ["wip"]', "priority_class"),
    (DEPARTURE, 'stations = ["CS01"]', "cards = [4711]", "each a text of 1 to 48 characters"),
    (DEPARTURE, 'ready_by = "06:30"', "", "ready_by: is missing"),
    (DEPARTURE, "energy_kwh = 30", "energy_kwh = 30000", "energy_kwh"),
    (DC, "max_kw = 50", "", "is for DC: max_kw is missing"),
    (DC, "max_kw = 50", "max_kw = 50000", "did you mean 50 (kW)?"),
    (DC, "max_kw = 50", "max_kw = 50\nmin_kw = 60", "60 kW is above max_kw"),
    (DC, "max_kw = 50", 'max_kw = 50\nphases = ["L1"]', "a DC station has three phases"),
    (DC, "reserve_kw = 10", "reserve_kw = 60", "60 kW is above max_kw"),
    (DC, "reserve_kw = 10", "fallback_a = 6", "too little for a DC station: its min_kw is 7.8 A"),
    (BATTERY, 'meter = "battery"', 'meter = "batery"', 'did you mean "battery"'),
    (BATTERY, 'meter = "battery"', 'meter = "grid"', 'measures circuit "grid"'),
]


@pytest.mark.parametrize(("part", "right", "wrong", "message"), ERRORS)
def test_energy_error_is_named_with_remedy(part: str, right: str, wrong: str, message: str) -> None:
    assert right in part
    changed = part.replace(right, wrong, 1)
    config, errors = checked(changed if part in (SITE, DC) else SITE + changed)
    assert config is None
    assert any(message in error for error in errors), errors


def test_energy_rules_limit_kva_is_current_of_each_phase_and_power() -> None:
    config, errors = checked(SITE.replace("limit_a = 100", "limit_a = 100\nlimit_kva = 55.2"))
    assert config is not None, errors
    assert config.circuit[0].limits_a == pytest.approx((80.0, 80.0, 80.0))
    assert config.circuit[0].limit_w == 55_200


def test_energy_rules_limit_kva_is_rounded_down_as_it_is_shown() -> None:
    config, errors = checked(SITE.replace("limit_a = 100", "limit_a = 100\nlimit_kva = 50"))
    assert config is not None, errors
    assert config.circuit[0].limits_a == (72.4, 72.4, 72.4)
    assert config.circuit[0].limit_w == 50_000


def test_calendar_peak_within_quarter_hour_is_named_with_whole_one() -> None:
    entry = '[[calendar]]\nname = "x"\nbegin = "17:05"\nend = "19:50"\ncircuit = "grid"\npeak_kw = 20\n'
    _, errors, hints = check_config(SITE + entry, "site.toml")
    assert errors == []
    found = {each.key: each.remedy for each in hints if "quarter hour" in each.what}
    assert found == {
        'calendar "x" begin': 'keep it if that is meant, else write "17:00"',
        'calendar "x" end': 'keep it if that is meant, else write "20:00"',
    }


def test_energy_rules_dc_power_is_current_at_input() -> None:
    config, errors = checked(DC.replace("max_kw = 50", "max_kw = 50\nefficiency = 0.9\npower_factor = 0.95"))
    assert config is not None, errors
    evse = config.station[1].evse[0]
    assert evse.max_a == pytest.approx(50_000 / (3 * 230 * 0.9 * 0.95), abs=0.1)
    assert evse.max_a <= 50_000 / (3 * 230 * 0.9 * 0.95)
    assert evse.min_a >= 5_000 / (3 * 230 * 0.9 * 0.95)


@pytest.mark.parametrize(
    ("reserve_kw", "number", "is_named"), [(20, 3, False), (40, 1, False), (20, 4, True), (30, 3, True)]
)
def test_energy_rules_reserves_above_their_circuit_are_named(
    reserve_kw: int, number: int, is_named: bool
) -> None:
    # 20 kW are 31.1 A on each phase, of 99 A.
    evses = "".join(
        f"[[station.evse]]\nid = {each}\nmax_kw = 50\nreserve_kw = {reserve_kw}\n"
        for each in range(1, number + 1)
    )
    text = SITE.replace("[[station.evse]]\nid = 2\n", evses)
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    found = [f"{each.key}: {each.what}" for each in hints if "reserve" in each.what]
    assert len(found) == is_named
    reserved_a = reserve_kw / 0.6424 * number
    assert all(f"reserve {reserved_a:.0f} A on each phase, of 99 A" in each for each in found)


STATIONS = '[[calendar]]\nname = "day"\nend = "20:00"\nstations = ["CS01", "CS02"]\n'


@pytest.mark.parametrize(
    ("part", "key", "hint"),
    [
        (
            CALENDAR.replace("63", "100"),
            "limit_a",
            "100 A has no effect: the circuit never carries more than 100 A",
        ),
        (
            CALENDAR.replace("limit_a = 63", "limit_w = 69000"),
            "limit_w",
            "69000 W has no effect: the circuit never",
        ),
        (STATIONS + "priority = 0", "priority", "has no effect: these stations have it at all times"),
        (STATIONS + 'mode = "fair"', "mode", "has no effect: these stations have it at all times"),
    ],
)
def test_calendar_entry_without_effect_is_a_hint(part: str, key: str, hint: str) -> None:
    _, errors, hints = check_config(SITE + part, "site.toml")
    assert errors == []
    assert [each.what.startswith(hint) for each in hints if each.key.endswith(f'" {key}')] == [True]


@pytest.mark.parametrize(
    "part",
    [
        CALENDAR.replace("63", "99"),
        CALENDAR.replace("limit_a = 63", "peak_kw = 500"),  # no target by night
        STATIONS + "priority = 1",
        STATIONS + "priority = 0\n" + STATIONS.replace('"day"', '"all"') + "priority = 1",
    ],
)
def test_calendar_entry_with_effect_has_no_hint(part: str) -> None:
    _, errors, hints = check_config(SITE + part, "site.toml")
    assert errors == []
    assert [each for each in hints if "no effect" in each.what] == []


UNMETERED = SITE.replace('meter = "grid"\nbase_load_a = 40\npeak_kw = 30', "").replace(
    '[[meter]]\nid = "grid"\ndriver = "janitza-umg604"\ntransport = "tcp"\nhost = "192.0.2.20"', ""
)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        (
            UNMETERED + 'mode = "surplus"\n',
            'evse[0].mode: no car charges by it: no meter shows the feed-in of "grid"',
        ),
        (
            UNMETERED
            + CALENDAR.replace('circuit = "grid"\nlimit_a = 63', 'stations = ["CS01"]\nmode = "surplus"'),
            'calendar "night" mode: no car charges by it: no meter shows the feed-in of "grid"',
        ),
        (UNMETERED + BATTERY, 'battery.meter: has no effect: no meter shows the feed-in of "grid"'),
        (SITE + '[[priority_class]]\nid = "vip"\npriority = 5\n', "has no effect: no card is of this class"),
        (SITE + CALENDAR.replace("limit_a = 63", "limit_w = 900"), "900 W is below 1380 W: no car charges"),
        (SITE + CALENDAR.replace("limit_a = 63", "peak_kw = 1.2"), "1.2 kW is below 1.38 kW: no car charges"),
    ],
)
def test_energy_settings_by_which_no_car_charges_are_named(text: str, hint: str) -> None:
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert [f"{each.key}: {each.what}" for each in hints if hint in f"{each.key}: {each.what}"]


def test_surplus_with_meter_and_class_with_card_have_no_hint() -> None:
    card = '[[card]]\ntoken = "04AA"\npriority_class = "vip"\n'
    text = SITE + 'mode = "surplus"\n' + BATTERY + '[[priority_class]]\nid = "vip"\npriority = 5\n' + card
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert not [each for each in hints if "no car charges" in str(each.what) or "no effect" in str(each.what)]
