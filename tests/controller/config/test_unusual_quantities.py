"""Slips in addresses, times, energies and lists that the types allow: each at its key, with the remedy."""

from __future__ import annotations

import pytest

from controller.config.loader import check_config
from tests.controller.config.test_value_rules import CONFIG, text_of

DETAILED = CONFIG.replace('id = "grid"\nlimit_a', 'id = "grid"\nunbalance_a = 20\nlimit_a', 1) + (
    '[mqtt]\nhost = "10.0.0.50"\n'
    "[prices]\npause_above = 0.35\n"
    '[[group]]\nid = "tenant"\nstations = ["CS01"]\nquota_kwh = 80\nguaranteed_a = 8\n'
    '[[calendar]]\nname = "night"\ncircuit = "grid"\nlimit_a = 40\n'
    '[[departure]]\nstations = ["CS01"]\nready_by = "06:30"\nenergy_kwh = 30\n'
    '[[card]]\ntoken = "04A1B2"\n'
    '[[webhook]]\nurl = "https://hook.internal/lc"\n'
)

ERRORS = [
    ("wss://csms", "wss:/csms", 'did you mean "wss://csms.internal/{station}"?'),
    ("wss://csms", "wss://wss://csms", 'two schemes, wss:// and wss://; did you mean "wss://csms.internal'),
    ("csms.internal", "csms,internal", '"csms,internal" is not an address; did you mean "csms.internal"?'),
    ("csms.internal", "10.0.0.300", '"10.0.0.300" is not an address'),
    ("csms.internal", "0.0.0.0", "0.0.0.0 stands for all addresses of this machine"),
    ("/{station}", "/{station}/{station}", "url: has {station} twice; write it once"),
    ("/{station}", "/#{station}", "url: has {station} behind #, which is never sent"),
    ('"10.0.0.20"', '"224.0.0.1"', "host: 224.0.0.1 is the address of a group of devices"),
    ("https://hook.internal/lc", "https:///lc", 'webhook[0].url: names no host; write it like "https://HOST'),
    ("hook.internal/lc", "hook.internal:99999/lc", "webhook[0].url: "),
    ("https://hook", "https://me:secret@hook", "webhook[0].url: contains a user name"),
    ("limit_a = 63", "limit_a = 63\nlimit_kva = 44000", "cannot be 44000 kVA; did you mean 44?"),
    ("limit_a = 63", "limit_a = 63\nlimit_kva = 0.63", "cannot be 0.63 kVA; did you mean 630?"),
    ('name = "night"', 'name = "night"\ndays = ["Mo-Fr"]', 'mean ["mon", "tue", "wed", "thu", "fri"]?'),
    ('name = "night"', 'name = "night"\ndays = "weekend"', 'did you mean ["sat", "sun"]?'),
    ("max_a = 32", "max_a = 32\nphases = [1, 2, 3]", 'phases: cannot be 1; did you mean "L1"?'),
    ("max_a = 32", 'max_a = 32\nphases = ["U", "V", "W"]', 'phases: cannot be "U"; did you mean "L1"?'),
    ('token = "04A1B2"', 'token = "04A1B2"\nvalid_until = "31.12.2027"', 'did you mean "2027-12-31"?'),
    ('token = "04A1B2"', 'token = "04A1B2"\ntype = "NFC"', 'type: cannot be "NFC"; did you mean "ISO14443"?'),
    (
        '.internal/lc"',
        '.internal/lc"\nseverity = "error"',
        'severity: cannot be "error"; did you mean "critical"',
    ),
    ('"Europe/Berlin"', '"MEZ"', '"MEZ" is not a time zone; did you mean "Europe/Berlin"?'),
    ('"Europe/Berlin"', '"UTC+1"', '"UTC+1" is not a time zone; did you mean "Europe/Berlin"?'),
    ("voltage = 230", 'protocol = "2.0"', 'protocol: cannot be "2.0"; did you mean "ocpp2.0.1"?'),
    (
        "margin_a = 1",
        "margin_a = 1\nlease_s = 3",
        "lease_s: cannot be 3 s; did you mean 180? The unit is s, from 10 to 86400",
    ),
    (
        'stations = ["CS01"]',
        'stations = ["CS*"]',
        'station "CS*" does not exist; list each station by its id',
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), ERRORS)
def test_unusual_quantities_impossible_value_is_error(old: str, new: str, expected: str) -> None:
    assert old in DETAILED
    config, errors, _ = check_config(DETAILED.replace(old, new, 1), "site.toml")
    assert config is None
    assert [expected in text_of(error) for error in errors] == [True], [text_of(error) for error in errors]


HINTS = [
    (
        "csms.internal",
        "csms.example",
        "csms.example is a placeholder of an example; write the URL that the backend",
    ),
    ("csms.internal", "example.com", "url: example.com is a placeholder"),
    ("csms.internal", "your-csms.com", "url: your-csms.com is a placeholder"),
    ('"10.0.0.20"', '"192.0.2.20"', "host: 192.0.2.20 is a placeholder"),
    ('"10.0.0.50"', '"broker.example"', "mqtt.host: broker.example is a placeholder"),
    ("hook.internal", "alarms.example.org", "webhook[0].url: alarms.example.org is a placeholder"),
    ("csms.internal", "csms.internal:433", "433 is hardly any server's port; did you mean 443?"),
    ('host = "10.0.0.50"', 'host = "10.0.0.50"\nport = 1833', "mqtt.port: 1833 is hardly any server's port"),
    ('host = "10.0.0.50"', 'host = "10.0.0.50"\nusername = "lc"', "mqtt.username: has no password"),
    ("internal/{", "internal//ocpp/{", "url: has // in its path"),
    (
        "/{station}",
        "/ocpp{station}",
        'joins the id to the word before it; did you mean "wss://csms.internal/ocpp/{',
    ),
    ("/{station}", "/?id={station}", "url: has {station} behind ?"),
    ('"10.0.0.20"', '"8.8.8.8"', "8.8.8.8 is on the internet, and Modbus has no protection there"),
    ('"10.0.0.20"', '"10.0.0.255"', "10.0.0.255 is the address of a whole network"),
    ('path = "/ocpp"', 'path = "/ocpp/CS01"', 'ends with "CS01", the id of a station'),
    ('"Europe/Berlin"', '"Etc/GMT+1"', "timezone: Etc/GMT+1 has no summer time, and its sign is reversed"),
    ("pause_above = 0.35", "pause_above = 35", "35 is no usual price of a kWh in euros; did you mean 0.35?"),
    ("pause_above = 0.35", "pause_above = 0.0035", "did you mean 0.35?"),
    ("quota_kwh = 80", "quota_kwh = 50000", "the site carries 1043 kWh a day; did you mean 50 (kWh)?"),
    ("quota_kwh = 80", "quota_kwh = 0.08", "0.08 kWh are used up in minutes; did you mean 80 (kWh)?"),
    ("guaranteed_a = 8", "guaranteed_a = 3", "guaranteed_a: 3 A is too little for any car; write 6 or more"),
    ("energy_kwh = 30", "energy_kwh = 300", "300 kWh is more than the battery of a car holds"),
    ("energy_kwh = 30", "energy_kwh = 0.03", "0.03 kWh is too little for any trip; did you mean 30 (kWh)?"),
    (
        "limit_a = 63",
        "limit_a = 63\npeak_kw = 0.04",
        "0.04 kW is too little for any car; did you mean 40 (kW)?",
    ),
    ("limit_a = 40", "limit_a = 4", "4 A is below 6 A: no car charges meanwhile"),
    ("margin_a = 1", "margin_a = 0.1", "margin_a: 0.1 A is less than the jumps of any load; write amperes"),
    ('path = "/ocpp"', 'path = "/ocpp"\nping_s = 0', "ping_s: never is too seldom: a lost connection"),
    ('path = "/ocpp"', 'path = "/ocpp"\nping_s = 1', "ping_s: a ping every 1 s costs data"),
    (
        'path = "/ocpp"',
        'path = "/ocpp"\ncall_timeout_s = 1',
        "call_timeout_s: 1 s are less than a slow backend",
    ),
    ('path = "/ocpp"', 'path = "/ocpp"\nmessages_per_second = 0.1', "keeps stations waiting"),
    ('path = "/ocpp"', 'path = "/ocpp"\nmax_message_bytes = 2048', "2048 bytes are less than the stop"),
    ('id = "CS01"', 'id = "CS01"\ngrace_s = 60', 'grace_s: has no effect with when_backend_away = "strict"'),
    (
        'id = "CS01"',
        'id = "CS01"\nwhen_backend_away = "grace"\ngrace_s = 7200',
        "hardly any station waits 7200 s",
    ),
    ("interval_s = 1", "stale_after_s = 300", "a lost meter goes unnoticed for 300 s"),
    ("interval_s = 1", "interval_s = 0.05", "hardly any meter has new values every 0.05 s"),
    ("interval_s = 1", "timeout_s = 0.05", "timeout_s: 0.05 s are less than many meters take"),
    ('"04A1B2"', '"0x04A1B2"', "token: begins with 0x, which no station reports"),
]


@pytest.mark.parametrize(("old", "new", "expected"), HINTS)
def test_unusual_quantities_unusual_value_is_hint(old: str, new: str, expected: str) -> None:
    assert old in DETAILED
    config, errors, hints = check_config(DETAILED.replace(old, new, 1), "site.toml")
    assert config is not None, [text_of(error) for error in errors]
    found = [text_of(hint) for hint in hints]
    assert [expected in text for text in found] == ([True] if expected else []), found


def test_unusual_quantities_plausible_site_has_no_hints() -> None:
    assert check_config(DETAILED, "site.toml")[1:] == ([], [])


@pytest.mark.parametrize(
    ("name", "meant"),
    [("CS{1-10}", "CS[1-10]"), ("CS01-CS10", "CS[01-10]"), ("CS01..10", "CS[01-10]"), ("CS*", "CS[01-10]")],
)
def test_unusual_quantities_several_stations_in_one_id_are_hint(name: str, meant: str) -> None:
    text = CONFIG.replace('id = "CS01"', f'id = "{name}"')
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert [each.remedy for each in hints] == [f'for several stations write id = "{meant}"']


@pytest.mark.parametrize("name", ["CP-2024-0815", "DE*ABC*E1-2", "SN10-20-30"])
def test_unusual_quantities_id_with_dashes_is_no_range(name: str) -> None:
    _, _, hints = check_config(CONFIG.replace('id = "CS01"', f'id = "{name}"'), "site.toml")
    assert [each for each in hints if "several" in each.remedy] == []


def test_unusual_quantities_dimming_below_law_is_hint() -> None:
    text = CONFIG.replace("max_a = 32", "max_a = 32\nsteuve = true") + (
        '[signing]\nkey = "key.pem"\n[dimming]\nfailsafe_w = 0\n'
        '[[dimming.source]]\nid = "box"\nkind = "contact"\nmodule = "io"\n'
        '[[dimming.contact]]\nname = "K1"\nsource = "box"\ninput = 0\nlimit_w = 420\n'
        '[[dimming.module]]\nid = "io"\ntransport = "tcp"\ndriver = "wago-750"\nhost = "10.0.0.30"\n'
    )
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert [text_of(each).partition(" is less")[0] for each in hints] == [
        "dimming.failsafe_w: 0 W",
        'dimming.contact "K1" limit_w: 420 W',
    ]
