"""Comparison of two configurations: what a reload applies, and what needs a restart."""

from __future__ import annotations

import pytest

from controller.config.live_keys import LIVE_KEYS, plan_reload, remove_stations
from controller.config.loader import check_config
from controller.config.schema import Config, EvseConfig, LoadManagementConfig, MeterConfig

SITE = """
[site]
id = "lc"
[listen]
port = 8887
[load_management]
margin_a = 1
fallback_a = 6
[[backend]]
id = "cpo"
url = "wss://csms.example/{station}"
[[circuit]]
id = "grid"
limit_a = 100
meter = "m"
base_load_a = 20
[[meter]]
id = "m"
driver = "janitza-umg604"
transport = "tcp"
host = "192.0.2.1"
[[card]]
token = "A"
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 1
priority = 0
"""
CALENDAR = '[[calendar]]\nname = "night"\nbegin = "22:00"\nend = "06:00"\ncircuit = "grid"\nlimit_a = 63\n'
DEPARTURE = '[[departure]]\nstations = ["CS01"]\nready_by = "06:30"\nenergy_kwh = 30\n'


def load(text: str) -> Config:
    config, errors, _ = check_config(text, "c.toml")
    assert config is not None, errors
    return config


def changed(*edits: tuple[str, str]) -> tuple[tuple[str, ...], tuple[str, ...], Config]:
    text = SITE
    for before, after in edits:
        assert before in text
        text = text.replace(before, after, 1)
    plan = plan_reload(load(SITE), load(text))
    return plan.applied, plan.needs_restart, plan.config


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("limit_a = 100", "limit_a = 80", "circuit grid limit_a"),
        ("base_load_a = 20", "base_load_a = 30", "circuit grid base_load_a"),
        ("margin_a = 1", "margin_a = 3", "load_management margin_a"),
        ("priority = 0", "priority = 2", "station CS01 evse 1 priority"),
        ('id = "CS01"', 'id = "CS01"\nlabel = "Yard"', "station CS01 label"),
        ("priority = 0", "max_a = 16", "station CS01 evse 1 max_a"),
        ("priority = 0", "min_a = 5", "station CS01 evse 1 min_a"),
        ("priority = 0", "fallback_a = 8", "station CS01 evse 1 fallback_a"),
        ("priority = 0", 'circuit = "grid"', "station CS01 evse 1 circuit"),
        ("priority = 0", 'phases = ["L2", "L3", "L1"]', "station CS01 evse 1 phases"),
        ("fallback_a = 6", "fallback_a = 8", "load_management fallback_a"),
        ('host = "192.0.2.1"', 'host = "192.0.2.1"\ninterval_s = 2', "meter m interval_s"),
        ('token = "A"', 'token = "B"', "card"),
        ("[listen]", "[sessions]\nretention_months = 3\n[listen]", "sessions retention_months"),
        ("[listen]", "[local_csms]\nheartbeat_s = 60\n[listen]", "local_csms heartbeat_s"),
        ("limit_a = 100", "limit_a = 100\npeak_kw = 30", "circuit grid peak_kw"),
        ("margin_a = 1", 'margin_a = 1\nfairness = "energy"', "load_management fairness"),
        ("[listen]", f"{CALENDAR}[listen]", "calendar"),
        ("[listen]", '[[group]]\nid = "shop"\nstations = ["CS01"]\nquota_kwh = 9\n[listen]', "group"),
        ("[listen]", '[[priority_class]]\nid = "vip"\npriority = 2\n[listen]', "priority_class"),
        ("[listen]", f"{DEPARTURE}[listen]", "departure"),
        ("[listen]", "[prices]\npause_above = 0.3\n[listen]", "prices"),
    ],
)
def test_live_key_is_applied(before: str, after: str, name: str) -> None:
    applied, needs_restart, config = changed((before, after))
    assert (applied, needs_restart) == ((name,), ())
    assert config == load(SITE.replace(before, after, 1))


@pytest.mark.parametrize(
    ("before", "after", "name"),
    [
        ("port = 8887", "port = 8888", "listen port"),
        ("priority = 0", 'phases = ["L2"]', "station CS01 evse 1 phases"),
        ("priority = 0", 'reports_on = "grid"', "station CS01 evse 1 reports_on"),
        ('url = "wss', 'url = "ws', "backend cpo url"),
        ("[[card]]", "[web]\n[[card]]", "web"),
        ('host = "192.0.2.1"', 'host = "192.0.2.2"', "meter m host"),
    ],
)
def test_live_keys_other_key_needs_restart_and_changes_nothing(before: str, after: str, name: str) -> None:
    applied, needs_restart, config = changed((before, after))
    assert applied == ()
    assert name in needs_restart
    assert config == load(SITE)


FURTHER = """
[[station]]
id = "CS02"
circuit = "grid"
owner = "cpo"
"""


def test_live_keys_added_station_is_applied_after_those_there() -> None:
    applied, needs_restart, config = changed(("[[station]]", FURTHER + "[[station]]"))
    assert (applied, needs_restart) == (("station CS02 (added)",), ())
    assert [station.id for station in config.station] == ["CS01", "CS02"]


def test_live_keys_renamed_station_is_added_and_old_one_stays() -> None:
    applied, needs_restart, config = changed(('id = "CS01"', 'id = "CS02"'))
    assert (applied, needs_restart) == (("station CS02 (added)", "station CS01 (removed)"), ())
    assert [station.id for station in config.station] == ["CS01", "CS02"]


@pytest.mark.parametrize(
    ("key", "value", "table"),
    [
        ("circuit", "row", '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 40\n'),
        ("owner", "other", '[[backend]]\nid = "other"\nurl = "wss://other.example/{station}"\n'),
    ],
)
def test_live_keys_station_that_needs_new_table_waits_for_restart(key: str, value: str, table: str) -> None:
    lines = [f'{key} = "{value}"' if line.startswith(f"{key} = ") else line for line in FURTHER.splitlines()]
    _, needs_restart, config = changed(("[[card]]", table + "\n".join(lines) + "\n[[card]]"))
    assert "station CS02 (added)" in needs_restart
    assert config == load(SITE)


def test_live_keys_station_added_to_overlay_site_waits_for_restart() -> None:
    site = SITE.replace("[[card]]", "[overlay]\n[[card]]")
    plan = plan_reload(load(site), load(site + FURTHER))
    assert (plan.applied, plan.needs_restart) == ((), ("station CS02 (added)",))


def test_live_keys_are_applied_beside_those_that_need_restart() -> None:
    applied, needs_restart, config = changed(("limit_a = 100", "limit_a = 80"), ("8887", "8888"))
    assert (applied, needs_restart) == (("circuit grid limit_a",), ("listen port",))
    assert (config.circuit[0].limit_a, config.listen.port) == (80, 8887)


def test_live_keys_limit_is_applied_with_lower_fallbacks() -> None:
    # Without the lower fallback, the base load and the fallback do not fit below the new limit.
    edits = (("limit_a = 100", "limit_a = 24"), ("fallback_a = 6", "fallback_a = 0"))
    applied, needs_restart, config = changed(*edits)
    assert applied == ("circuit grid limit_a", "load_management fallback_a")
    assert (needs_restart, config.circuit[0].limits_a) == ((), (24.0, 24.0, 24.0))


def test_live_keys_default_of_stations_is_named_by_station() -> None:
    station = '[[station]]\nid = "CS01"\ncircuit = "grid"\nowner'
    site = SITE.replace(station, "[station_defaults]\nping_s = 60\n" + station)
    plan = plan_reload(load(site), load(site.replace("ping_s = 60", "ping_s = 90")))
    assert (plan.applied, plan.needs_restart) == ((), ("station CS01 ping_s",))


def test_unchanged_file_changes_nothing() -> None:
    assert plan_reload(load(SITE), load(SITE)).needs_restart == ()


def test_live_keys_exist_in_schema() -> None:
    tables = {"station.evse": EvseConfig, "meter": MeterConfig, "load_management": LoadManagementConfig}
    for table, keys in LIVE_KEYS.items():
        if table in tables:
            assert keys <= set(tables[table].__struct_fields__)


def test_live_keys_peak_of_circuit_without_meter_waits_for_its_meter() -> None:
    meter = SITE[SITE.index("[[meter]]") : SITE.index("[[card]]")]
    text = SITE.replace('meter = "m"\n', "").replace(meter, "")
    plan = plan_reload(load(text), load(SITE.replace("limit_a = 100", "limit_a = 100\npeak_kw = 30")))
    assert plan.applied == ()
    assert set(plan.needs_restart) == {"circuit grid peak_kw", "circuit grid meter", "meter"}


def test_live_keys_battery_with_new_meter_waits_for_it() -> None:
    meter = SITE[SITE.index("[[meter]]") : SITE.index("[[card]]")]
    battery = meter.replace('id = "m"', 'id = "b"').replace("192.0.2.1", "192.0.2.9")
    _, needs_restart, config = changed(("[[card]]", f'{battery}[battery]\nmeter = "b"\n[[card]]'))
    assert set(needs_restart) == {"battery", "meter b (added)"}
    assert config.battery is None


def test_live_keys_removed_station_stays_in_use_until_it_is_gone() -> None:
    text = SITE + FURTHER
    plan = plan_reload(load(text), load(SITE))
    assert (plan.applied, plan.needs_restart) == (("station CS02 (removed)",), ())
    assert plan.removed == ("CS02",)
    assert plan.config == load(text)
    assert remove_stations(plan.config, plan.removed) == load(SITE)
    assert plan.assumed[0].startswith("station CS02: it may still draw")


def test_live_keys_station_of_overlay_site_is_removed_by_restart() -> None:
    site = SITE.replace("[[card]]", "[overlay]\n[[card]]")
    plan = plan_reload(load(site + FURTHER), load(site))
    assert (plan.applied, plan.needs_restart) == ((), ("station CS02 (removed)",))


def test_live_keys_replaced_station_is_applied_where_both_exceed_circuit() -> None:
    # Base load and both fallbacks exceed the limit; the new configuration alone does not.
    site = SITE.replace("limit_a = 100", "limit_a = 30")
    other = site.replace('id = "CS01"', 'id = "CS02"').replace("8887", "8888")
    both = plan_reload(load(site), load(other))
    assert both.applied == ("station CS02 (added)", "station CS01 (removed)")
    assert both.removed == ("CS01",)


def test_live_keys_removed_station_is_named_once_and_stays_removed() -> None:
    in_use = load(SITE + FURTHER)
    again = plan_reload(in_use, load(SITE), ("CS02",))
    assert (again.applied, again.needs_restart, again.removed) == ((), (), ("CS02",))
    back = plan_reload(in_use, load(SITE + FURTHER), ("CS02",))
    assert (back.applied, back.removed) == (("station CS02 (added)",), ())


def test_live_keys_removed_station_stays_removed_where_changes_wait() -> None:
    meter = SITE[SITE.index("[[meter]]") : SITE.index("[[card]]")]
    battery = meter.replace('id = "m"', 'id = "b"').replace("192.0.2.1", "192.0.2.9")
    loaded = load(SITE.replace("[[card]]", f'{battery}[battery]\nmeter = "b"\n[[card]]', 1))
    plan = plan_reload(load(SITE + FURTHER), loaded, ("CS02",))
    assert (plan.applied, plan.removed) == ((), ("CS02",))
