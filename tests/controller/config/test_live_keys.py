"""Comparison of two configurations: what a reload applies, and what needs a restart."""

from __future__ import annotations

import pytest

from controller.config.live_keys import LIVE_KEYS, ReloadPlan, plan_reload, remove_stations
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
        ('id = "CS01"', 'id = "CS01"\nprotocol = "ocpp1.6"', "station CS01 protocol"),
        ('id = "CS01"', 'id = "CS01"\nquirk = "A"', "station CS01 quirk"),
        ("priority = 0", "max_a = 16", "station CS01 evse 1 max_a"),
        ('url = "wss', 'url = "ws', "backend cpo url"),
        ('url = "wss', 'node = "N1"\nurl = "wss', "backend cpo node"),
        ('id = "cpo"', 'id = "cpo"\nobserve = ["BootNotification"]', "backend cpo observe"),
        ('owner = "cpo"', 'owner = "cpo"\nwhen_backend_away = "grace"', "station CS01 when_backend_away"),
        ('host = "192.0.2.1"', 'host = "192.0.2.2"', "meter m host"),
        ("limit_a = 100", 'limit_a = 100\nfuse = "gG"', "circuit grid fuse"),
        ("limit_a = 100", 'limit_a = 100\nmeasures = "building"', "circuit grid measures"),
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
        ("[[card]]", "[web]\n[[card]]", "web"),
    ],
)
def test_live_keys_other_key_needs_restart_and_changes_nothing(before: str, after: str, name: str) -> None:
    applied, needs_restart, config = changed((before, after))
    assert applied == ()
    assert name in needs_restart
    assert config == load(SITE)


def test_live_keys_of_dc_evse_are_applied_with_the_currents_that_follow() -> None:
    before = SITE.replace("priority = 0", "max_kw = 50\nreserve_kw = 5\nfallback_a = 0")
    after = before.replace("max_kw = 50\nreserve_kw = 5", "max_kw = 40\nefficiency = 0.9\nreserve_kw = 8")
    plan = plan_reload(load(before), load(after))
    keys = ("max_a", "min_a", "max_kw", "efficiency", "reserve_kw")
    assert plan.applied == tuple(f"station CS01 evse 1 {key}" for key in keys)
    assert (plan.needs_restart, plan.config) == ((), load(after))


def test_live_keys_evse_that_becomes_dc_or_ac_needs_restart() -> None:
    dc = SITE.replace("priority = 0", "max_kw = 50\nfallback_a = 0")
    ac = SITE.replace("priority = 0", "fallback_a = 0")
    for before, after in ((dc, ac), (ac, dc)):
        plan = plan_reload(load(before), load(after))
        keys = ("max_a", "min_a", "max_kw")
        assert (plan.applied, plan.config) == ((), load(before))
        assert plan.needs_restart == tuple(f"station CS01 evse 1 {key}" for key in keys)


@pytest.mark.parametrize(("key", "value"), [("protocol", "ocpp1.6"), ("quirk", "A")])
def test_live_keys_protocol_and_quirk_wait_for_the_end_of_a_transaction(key: str, value: str) -> None:
    after = load(SITE.replace('id = "CS01"', f'id = "CS01"\n{key} = "{value}"'))
    plan = plan_reload(load(SITE), after, busy=("CS01",))
    assert (plan.applied, plan.waiting, plan.config) == ((), (f"station CS01 {key}",), load(SITE))
    assert plan_reload(load(SITE), after, busy=("CS02",)).applied == (f"station CS01 {key}",)


def test_live_keys_certificate_of_the_page_is_applied_while_it_stays_https() -> None:
    plain = SITE.replace("[[card]]", "[web]\n[[card]]")
    first = plain.replace("[web]", '[web]\ncertificate = "a.pem"\nkey = "a.key"')
    other = first.replace("a.pem", "b.pem").replace("a.key", "b.key")
    plan = plan_reload(load(first), load(other))
    assert (plan.applied, plan.needs_restart) == (("web certificate", "web key"), ())
    for before, after in ((plain, first), (first, plain)):
        assert plan_reload(load(before), load(after)).needs_restart == ("web certificate", "web key")


def test_live_keys_of_the_page_are_its_roles_names_and_open_status() -> None:
    before = SITE + "[web]\nport = 8080\n"
    role = '[[web.role]]\nname = "guard"\npermissions = ["stations:read"]\n'
    after = before + f'names = ["lc.example.org"]\nopen_status = false\n{role}'
    plan = plan_reload(load(before), load(after))
    assert plan.applied == ("web names", "web open_status", "web role")
    assert (plan.needs_restart, plan.config) == ((), load(after))
    other = plan_reload(load(before), load(before.replace("port = 8080", "port = 8081")))
    assert other.needs_restart == ("web port",)


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
def test_live_keys_station_is_added_with_the_table_that_it_needs(key: str, value: str, table: str) -> None:
    lines = [f'{key} = "{value}"' if line.startswith(f"{key} = ") else line for line in FURTHER.splitlines()]
    applied, needs_restart, config = changed(("[[card]]", table + "\n".join(lines) + "\n[[card]]"))
    assert "station CS02 (added)" in applied
    assert any(each.endswith(f"{value} (added)") for each in applied)
    assert needs_restart == ()
    assert getattr(config.station[-1], key) == value


def test_live_keys_station_and_backend_are_added_to_overlay_site() -> None:
    site = SITE.replace("[[card]]", "[overlay]\n[[card]]")
    other = '[[backend]]\nid = "other"\nurl = "wss://other.example/{station}"\nmode = "overlay"\n'
    plan = plan_reload(load(site), load(site + FURTHER + other))
    assert plan.applied == ("backend other (added)", "station CS02 (added)")
    assert plan.needs_restart == ()


def test_live_keys_overlay_itself_waits_for_restart_with_modes_in_it() -> None:
    site = SITE.replace("[[card]]", "[overlay]\n[[card]]").replace(
        'id = "cpo"', 'id = "cpo"\nmode = "overlay"'
    )
    plan = plan_reload(load(SITE), load(site))
    assert (plan.applied, plan.config) == ((), load(SITE))
    assert set(plan.needs_restart) == {"overlay", "backend cpo mode"}


GROUP = ('id = "cpo"', 'id = "cpo"\ngroup = "csms"')


@pytest.mark.parametrize(("busy", "queued"), [({"CS01"}, ()), ((), {"cpo"})])
def test_live_keys_group_waits_while_something_is_stored_under_former_name(
    busy: set[str], queued: set[str]
) -> None:
    grouped = load(SITE.replace(*GROUP))
    plan = plan_reload(load(SITE), grouped, (), busy, queued)
    assert (plan.applied, plan.waiting) == ((), ("backend cpo group",))
    later = plan_reload(plan.config, grouped)
    assert (later.applied, later.waiting, later.config) == (("backend cpo group",), (), grouped)
    assert later.removed_backends == ()  # it is found by its id


def test_live_keys_endpoint_joins_group_that_keeps_its_name_at_once() -> None:
    site = SITE.replace(*GROUP)
    further = '[[backend]]\nid = "second"\nurl = "wss://second.example/{station}"\n'
    plan = plan_reload(
        load(site + further), load(site + further + 'group = "csms"\n'), (), {"CS01"}, {"csms"}
    )
    assert (plan.applied, plan.waiting) == (("backend second group",), ())


def test_live_keys_group_of_the_sites_own_backend_waits_for_restart() -> None:
    site = SITE.replace('id = "lc"', 'id = "lc"\nbackend = "cpo"')
    plan = plan_reload(load(site), load(site.replace(*GROUP)))
    assert (plan.applied, plan.needs_restart) == ((), ("backend cpo group",))


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
    site = SITE.replace(station, '[station_defaults]\nprotocol = "ocpp1.6"\n' + station)
    plan = plan_reload(load(site), load(site.replace("ocpp1.6", "ocpp2.0.1")))
    assert (plan.applied, plan.needs_restart) == (("station CS01 protocol",), ())


def test_unchanged_file_changes_nothing() -> None:
    assert plan_reload(load(SITE), load(SITE)).needs_restart == ()


def test_live_keys_exist_in_schema() -> None:
    tables = {"station.evse": EvseConfig, "meter": MeterConfig, "load_management": LoadManagementConfig}
    for table, keys in LIVE_KEYS.items():
        if table in tables:
            assert keys <= set(tables[table].__struct_fields__)


def test_live_keys_first_meter_is_added_with_what_needs_it() -> None:
    meter = SITE[SITE.index("[[meter]]") : SITE.index("[[card]]")]
    text = SITE.replace('meter = "m"\n', "").replace(meter, "")
    plan = plan_reload(load(text), load(SITE.replace("limit_a = 100", "limit_a = 100\npeak_kw = 30")))
    assert set(plan.applied) == {"circuit grid peak_kw", "circuit grid meter", "meter m (added)"}
    assert plan.needs_restart == ()


def test_live_keys_grid_meter_of_eebus_site_waits_for_restart() -> None:
    eebus = "[signing]\nkey = 'k.pem'\n[dimming]\n[[dimming.source]]\nid = 'box'\nkind = 'eebus'\n[eebus]\n"
    eebus += "[[eebus.partner]]\nski = '0123456789012345678901234567890123456789'\n"
    site = SITE.replace("priority = 0", "steuve = true") + eebus
    other = site.replace('"m"', '"n"')
    plan = plan_reload(load(site), load(other))
    assert "circuit grid meter" in plan.needs_restart


def running_owner_change(busy: tuple[str, ...], removed: tuple[str, ...] = ()) -> ReloadPlan:
    backend = SITE[SITE.index("[[backend]]") : SITE.index("[[circuit]]")]
    other = SITE.replace(backend, backend.replace("cpo", "other")).replace('owner = "cpo"', 'owner = "other"')
    return plan_reload(load(SITE), load(other), removed, busy)


def test_live_keys_owner_changes_at_once_without_transaction() -> None:
    plan = running_owner_change(())
    assert plan.applied == ("backend other (added)", "backend cpo (removed)", "station CS01 owner")
    assert (plan.waiting, plan.removed_backends) == ((), ("cpo",))
    assert plan.assumed[0].startswith("backend cpo: messages that wait for it stay stored")


def test_live_keys_owner_of_running_transaction_stays_with_its_backend() -> None:
    plan = running_owner_change(("CS01",))
    assert plan.applied == ("backend other (added)",)
    assert plan.waiting == ("station CS01 owner", "backend cpo (removed)")
    assert [backend.id for backend in plan.config.backend] == ["other", "cpo"]
    assert plan.config.station[0].owner == "cpo"


def test_live_keys_circuit_of_removed_station_stays_until_it_is_gone() -> None:
    row = '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 40\n'
    row += '[[circuit]]\nid = "end"\nparent = "row"\nlimit_a = 32\n'
    with_row = SITE.replace("[[meter]]", row + "[[meter]]") + FURTHER.replace('"grid"', '"end"')
    plan = plan_reload(load(with_row), load(SITE))
    assert plan.applied == ("station CS02 (removed)",)
    assert plan.waiting == ("circuit row (removed)", "circuit end (removed)")
    assert [circuit.id for circuit in plan.config.circuit] == ["grid", "row", "end"]
    gone = plan_reload(remove_stations(plan.config, ("CS02",)), load(SITE))
    assert gone.applied == ("circuit row (removed)", "circuit end (removed)")
    assert gone.config == load(SITE)


def test_live_keys_removed_station_stays_in_use_until_it_is_gone() -> None:
    text = SITE + FURTHER
    plan = plan_reload(load(text), load(SITE))
    assert (plan.applied, plan.needs_restart) == (("station CS02 (removed)",), ())
    assert plan.removed == ("CS02",)
    assert plan.config == load(text)
    assert remove_stations(plan.config, plan.removed) == load(SITE)
    assert plan.assumed[0].startswith("station CS02: it may still draw")


def test_live_keys_station_of_overlay_site_is_removed() -> None:
    site = SITE.replace("[[card]]", "[overlay]\n[[card]]")
    plan = plan_reload(load(site + FURTHER), load(site))
    assert (plan.applied, plan.needs_restart, plan.removed) == (("station CS02 (removed)",), (), ("CS02",))


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
    loaded = load(
        SITE.replace('id = "grid"', 'id = "house"').replace('circuit = "grid"', 'circuit = "house"')
    )
    plan = plan_reload(load(SITE + FURTHER), loaded, ("CS02",))
    assert (plan.applied, plan.removed) == ((), ("CS02",))
    assert "circuit house (added)" in plan.needs_restart
