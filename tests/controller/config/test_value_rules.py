"""Slips of installers that the types allow: each is found at its key, with the remedy."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config.loader import check_config
from controller.config.value_rules import BREAKER_CARRIES
from controller.load_management.metering.fuse_curve import CURVES, OBEYED_S
from controller.load_management.site_tree import Fuse
from controller.tomlcheck.diagnostics import Diagnostic

CONFIG = """
[site]
id = "lc"
voltage = 230
timezone = "Europe/Berlin"
[listen]
path = "/ocpp"
host = "10.0.0.1"
[web]
host = "127.0.0.1"
[load_management]
margin_a = 1
[[backend]]
id = "cpo"
url = "wss://csms.internal/{station}"
[[circuit]]
id = "grid"
limit_a = 63
meter = "grid"
base_load_a = 20
[[meter]]
id = "grid"
driver = "janitza-umg604"
transport = "tcp"
host = "10.0.0.20"
interval_s = 1
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[station.evse]]
max_a = 32
min_a = 6
"""


def text_of(found: Diagnostic) -> str:
    return f"{found.key}: {found.what}; {found.remedy}"


ERRORS = [
    ("voltage = 230", "voltage = 400", "site.voltage: 400 V is the voltage between two phases"),
    ("voltage = 230", "voltage = 24", "site.voltage: 24 V is not a mains voltage"),
    ("margin_a = 1", "margin_a = 70", "limit_a: margin_a of 70 A leaves nothing"),
    ("limit_a = 63", "limit_a = 63\nmargin_a = 63", "margin_a: margin_a of 63 A leaves nothing"),
    (
        "limit_a = 63",
        "limit_a = 63\nlimit_w = 22",
        "limit_w: 22 W is less than any device draws; did you mean 22000",
    ),
    ('host = "10.0.0.20"', 'host = "10.0.0.20:502"', 'host = "10.0.0.20" and port = 502'),
    ('host = "10.0.0.20"', 'host = "tcp://10.0.0.20/"', 'write the address alone: host = "10.0.0.20"'),
    ('host = "10.0.0.20"', 'host = "10.0.0 .20"', "is not an address"),
    ('host = "10.0.0.20"', 'host = "10,0,0,020"', 'not an address; did you mean "10.0.0.20"?'),
    ('host = "10.0.0.20"', 'host = "10.0.0.20/24"', 'not an address; did you mean "10.0.0.20"?'),
    ('host = "10.0.0.20"', 'host = "0.0.0.0"', "0.0.0.0 stands for all addresses of this machine"),
    ("{station}", "{{station}}", "has {{station}} with two braces; write {station}"),
    ("{station}", "<Charge Point>", 'has no {station}; did you mean "wss://csms.internal/{station}"?'),
    ("{station}", "{id}", 'has no {station}; did you mean "wss://csms.internal/{station}"?'),
    ("{station}", "CS01", 'has no {station}; did you mean "wss://csms.internal/{station}"?'),
    ("wss://", "https://", 'did you mean "wss://csms.internal/{station}"?'),
    ("wss://csms.internal", "ws://10.0.0.1:8887", "url: is the address at which this controller listens"),
    ("wss://csms.internal", "ws://localhost:8887", "url: is the address at which this controller listens"),
    ('path = "/ocpp"', 'path = "/ocpp/{id}"', "listen.path: contains {id}; remove it"),
    ('path = "/ocpp"', 'path = "/ocpp?x=1"', "listen.path: contains ?, which no station's path has"),
    ('path = "/ocpp"', 'path = "wss://gw/ocpp"', 'did you mean "/ocpp"?'),
    ('path = "/ocpp"', 'path = "ocpp"', 'did you mean "/ocpp"?'),
    ('id = "CS01"', "id = 12", 'cannot be 12; did you mean "12"?'),
    ("limit_a = 63", "limit_a = [63]", "cannot be a list of 1; did you mean 63?"),
    ("interval_s = 1", 'invert = "yes"', 'cannot be "yes"; did you mean true?'),
    ("interval_s = 1", "invert = yes", "TOML: Invalid value; did you mean invert = true?"),
    ("interval_s = 1", "interval_s: 1", "did you mean interval_s = 1"),
    ("interval_s = 1", "// interval", "TOML: Invalid statement; a comment begins with #: # interval"),
    ("max_a = 32", "max_a = 3.7", "max_a: 3.7 A is below min_a, 6 A: no car charges"),
    ("[[station.evse]]", "[station.evse]", "write [[station.evse]] with two brackets"),
    ('transport = "tcp"', 'transport = "modbus-tcp"', 'did you mean "tcp"?'),
    (
        'transport = "tcp"\nhost = "10.0.0.20"',
        'transport = "RS485"\ndevice = "/dev/ttyUSB0"\nbaud = 9600',
        'transport: cannot be "RS485"; did you mean "rtu"?',
    ),
    (
        'transport = "tcp"\nhost = "10.0.0.20"',
        'transport = "rtu"\ndevice = "COM3"',
        'device: "COM3" is a serial port of Windows; write its name on this machine',
    ),
    ('owner = "cpo"', 'owner = "none"', '"none" is no backend; leave owner out: the controller is its CSMS'),
    (
        "[web]",
        "[web]\nadmin_password = 1",
        "users are not in this file: add them with `local-controller user",
    ),
    ("[web]", "[web]\ntls = true", "name certificate and key: TLS is on with both"),
    (
        "[web]",
        '[log]\nfile = "/var/log/lc"\n[web]',
        "log.file: is not a known key; the log is in the journal",
    ),
    ("max_a = 32", 'max_a = 32\nphases = ["R"]', 'phases: cannot be "R"; did you mean "L1"?'),
    ("max_a = 32\nmin_a = 6", "max_kw = 20\nmin_kw = 40\nfallback_a = 0", "min_kw: 40 kW is above max_kw"),
    ("[web]", '[web]\nnames = ["lc.lan:8080"]', 'contains a port; write "lc.lan" alone'),
    ("[web]", '[mqtt]\nhost = "broker"\nroot = "lc/#"\n[web]', "write a text without +, # and /"),
    ("/{station}", "/ocpp /{station}", 'blank; did you mean "wss://csms.internal/ocpp/{station}"? A'),
    ('path = "/ocpp"', 'path = "/ocpp/{station}"', "listen.path: contains {station}"),
    ("interval_s = 1", "interval_s = 1000", "interval_s: cannot be 1000 s; did you mean 1? The unit is s"),
    ("interval_s = 1", "interval_s = 0.001", "interval_s: cannot be 0.001 s; did you mean 1? The unit is s"),
    (
        'owner = "cpo"',
        'owner = "CPO"',
        'backend "CPO" does not exist; did you mean "cpo"?',
    ),
    ("umg604", "UMG604", 'driver "janitza-UMG604" does not exist; did you mean "janitza-umg604"?'),
    ('driver = "janitza-umg604"', 'driver = "umg604"', 'did you mean "janitza-umg604"?'),
    (
        "margin_a = 1",
        "margin_a = 1\nrotation_s = 1",
        "rotation_s: cannot be 1 s; did you mean 60? The unit is s",
    ),
    (
        "margin_a = 1",
        "margin_a = 1\nlease_s = 1",
        "lease_s: cannot be 1 s; did you mean 60? The unit is s",
    ),
    (
        'path = "/ocpp"',
        'path = "/ocpp"\ncall_timeout_s = 0.01',
        "call_timeout_s: cannot be 0.01 s; did you mean 10? The unit is s",
    ),
    ("max_a = 32", 'max_a = 32\nphases = "L1L2L3"', 'did you mean ["L1", "L2", "L3"]?'),
    ("max_a = 32", "max_a = 32\nphases = 3", 'did you mean ["L1", "L2", "L3"]?'),
    ("limit_a = 63", 'limit_a = "3x63 A"', "did you mean 63?"),
    ("limit_a = 63", "limit_a = -63", "a number from 1 to 10000 A, or a list of 3 of them"),
    ("limit_a = 63", "limit_a = 63000", "limit_a: cannot be 63000 A; did you mean 63? The unit is A"),
    ("limit_a = 63", 'limit_a = 63\nfuse = "c 63"', 'fuse: cannot be "c 63"; did you mean "C"?'),
    ("limit_a = 63", 'limit_a = 63\nfuse = "NH"', 'fuse: cannot be "NH"; did you mean "gG"?'),
    ("interval_s = 1", 'parity = "even"', 'parity: cannot be "even"; did you mean "E"?'),
    ('owner = "cpo"', 'owner = "cpo"\nwhen_backend_away = "auto"', 'did you mean "autonomous"?'),
    (
        "[web]",
        '[web]\nnames = "lc.example"',
        'web.names: cannot be "lc.example"; did you mean ["lc.example"]?',
    ),
    ("[web]", '[web]\nnames = ["https://lc.example/"]', 'write the address alone: "lc.example"'),
    ("[[station.evse]]", "[[evse]]", "evse: is not a known key; did you mean [[station.evse]] or [["),
    (
        "[[station]]\n",
        "[[energy.departure]]\n\n[[station]]\n",
        "energy: is not a known key; did you mean [[departure]]?",
    ),
    (
        "[[station]]\n",
        '[[stations]]\nid = "CS00"\n\n[[station.evse]]\nmax_a = 32\n\n[[station]]\n',
        "[[station.evse]] is not below a [[station]]; did you mean [[station]] in [[stations]] (line",
    ),
    ("max_a = 32", 'max_a = 32\nphases = "L1"', 'phases: cannot be "L1"; did you mean ["L1"]?'),
    (
        'owner = "cpo"',
        'owner = "cpo"\nmax_a = 32',
        'station "CS01" max_a: is not a known key; write it below [[',
    ),
    (
        'owner = "cpo"',
        'owner = "cpo"\nmode = "surplus"',
        'station "CS01" mode: cannot be "surplus"; write one of standard, overlay; "surplus" is for '
        "[[station_defaults.evse]], [[station.evse]] or [[calendar]]",
    ),
    ("max_a = 32", 'max_a = 32\nowner = "cpo"', "it is a key of [station_defaults] or [[station]]"),
    (
        "[web]",
        "[web]\nmargin_a = 3",
        "web.margin_a: is not a known key; it is a key of [[circuit]] or [load_management]",
    ),
    ("[[station]]\n", "[[wallbox]]\n", "wallbox: is not a known key; did you mean station?"),
    ("[[station]]\n", "[[stations]]\n", "stations: is not a known key; did you mean station?"),
    ('id = "CS01"', 'name = "CS01"', "name: is not a known key; did you mean id?"),
    ('id = "CS01"', 'ID = "CS01"', "ID: is not a known key; did you mean id?"),
    ("limit_a = 63", "limit = 63", "limit: is not a known key; did you mean limit_a, limit_w or limit_kva?"),
    ('host = "10.0.0.20"', 'ip = "10.0.0.20"', "ip: is not a known key; did you mean host?"),
    ('driver = "janitza', 'model = "janitza', "model: is not a known key; did you mean driver?"),
    ("limit_a = 63", 'limit_a = "63 A"', 'limit_a: cannot be "63 A"; did you mean 63?'),
    ("base_load_a = 20", 'base_load_a = "20,5"', "did you mean 20.5?"),
    ("interval_s = 1", 'ct_ratio = "200/5"', "did you mean 40?"),
    ("limit_a = 63", "limit_a = [63, 63]", "cannot be a list of 2; write"),
    ("limit_a = 63", "limit_a = 63,5", "did you mean limit_a = 63.5?"),
    ("limit_a = 63", "limit_a = 63A", "did you mean limit_a = 63?"),
    ('id = "CS01"', "id = 007", 'did you mean id = 7; as text: id = "007"?'),
    ('host = "10.0.0.20"', "host = 10.0.0.20", 'did you mean host = "10.0.0.20"?'),
    ('id = "CS01"', "id = \u201eCS01\u201c", 'did you mean id = "CS01"?'),
    (
        "[[circuit]]",
        "[circuit]\n[[circuit]]",
        "is a single table, and there are several; did you mean [[circuit]]?",
    ),
    ('host = "10.0.0.20"', 'host = "192.0.2.300"', '"192.0.2.300" is not an address'),
    ('host = "10.0.0.20"', 'host = ""', "host: is empty"),
    (
        'transport = "tcp"\nhost = "10.0.0.20"',
        'transport = "rtu"\ndevice = "ttyUSB0"',
        'device: "ttyUSB0" is not the whole path of a serial port; did you mean "/dev/ttyUSB0"?',
    ),
]


@pytest.mark.parametrize(("old", "new", "expected"), ERRORS)
def test_value_rules_wrong_value_is_error_with_remedy(old: str, new: str, expected: str) -> None:
    assert old in CONFIG
    config, errors, _ = check_config(CONFIG.replace(old, new, 1), "site.toml")
    assert config is None
    assert [expected in text_of(error) for error in errors] == [True], [text_of(error) for error in errors]


HINTS = [
    (
        "limit_a = 63",
        'limit_a = 32\nfuse = "B"',
        "fuse: margin_a of 1 A is too little: a load of 10 A that is switched on trips a full B breaker "
        "before cars obey; set margin_a = 6 or more in this circuit",
    ),
    (
        "[[meter]]",
        '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 32\nmargin_a = "auto"\n'
        '[[station]]\nid = "CS00"\ncircuit = "row"\nowner = "cpo"\n[[meter]]',
        'margin_a: the circuit has no meter, so that "auto" learns nothing and 1 A is kept free',
    ),
    ("margin_a = 1", "margin_a = 60", "limit_a: margin_a of 60 A leaves 3 A of the limit of 63 A; no car"),
    ('host = "10.0.0.1"', 'host = "127.0.0.1"', "listen.host: only this machine reaches 127.0.0.1"),
    ("wss://csms.internal", "wss://csms.internal:80", "80 is the port of ws://; remove :80"),
    ("{station}", "{station}/", "url: ends with / after the id"),
    (
        '[[station]]\nid = "CS01"',
        '[[backend]]\nid = "fleet"\nurl = "wss://csms.internal/{station}"\n[[station]]\nid = "CS01"\n'
        'observers = ["fleet"]',
        'backend "fleet" url: is also the URL of "cpo", which receives everything twice',
    ),
    ('path = "/ocpp"', 'path = "/ocpp"\nport = 0', "listen.port: 0 is another port at each start"),
    (
        "[[station]]\n",
        '[[station]]\nid = "cs01"\ncircuit = "grid"\nowner = "cpo"\n[[station]]\n',
        'differs from "cs01" in upper and lower case alone',
    ),
    (
        "[[station]]\n",
        '[[station]]\nid = "A"\ncircuit = "grid"\nowner = "cpo"\npassword_file = "p"\n'
        '[[station]]\npassword_file = "p"\n',
        'password_file: is also that of "A"',
    ),
    ("max_a = 32", "max_a = 22", "22 A is no rated current; 22 kW on three phases are 32 A"),
    ("min_a = 6", "min_a = 6\n[[station.evse]]\nid = 3\nmax_a = 16", "id: EVSE 2 is missing"),
    ("limit_a = 63", "limit_a = 63\nunbalance_a = 4.6", "write it in A: 4.6 kVA are 20 A at 230 V"),
    ("limit_a = 63", "limit_a = 63\nunbalance_a = 4600", "unbalance_a: has no effect: the limit of the"),
    ("limit_a = 63", "limit_a = 63\npeak_kw = 60", "peak_kw: has no effect: the circuit carries 43.47 kW"),
    ("limit_a = 63", "limit_a = 63\nlimit_w = 69000", "limit_w: has no effect: the circuit carries 43470 W"),
    (
        "[[meter]]",
        '[[circuit]]\nid = "row"\nparent = "grid"\nlimit_a = 32\n[[meter]]',
        'no station is connected to "row"',
    ),
    (
        "[[meter]]",
        '[[backend]]\nid = "billing"\nurl = "wss://billing.internal/{station}"\n[[meter]]',
        'no station names backend "billing" as its owner or as an observer; write observers = ["billing"]',
    ),
    ("interval_s = 1", "ct_ratio = 0.025", "ct_ratio: 0.025 makes readings smaller; write primary divided"),
    ("interval_s = 1", "ct_ratio = 4000", "transformers of 4000 A at least, around a fuse of 63 A"),
    (
        'transport = "tcp"\nhost = "10.0.0.20"\ninterval_s = 1',
        'transport = "rtu"\ndevice = "/dev/ttyUSB0"\ninterval_s = 0.05\n[[meter]]\nid = "b"\n'
        'driver = "abb-b23"\ntransport = "rtu"\ndevice = "/dev/ttyUSB0"\nbaud = 9600\nparity = "N"\n'
        'unit = 2\n[battery]\nmeter = "b"',
        "all readings that are due on /dev/ttyUSB0 take longer than their intervals",
    ),
    ("margin_a = 1", "margin_a = 1\nlease_s = 86400", "stations keep their last limit for 24 h"),
    ("[web]", '[[webhook]]\nurl = "http://alarms.acme.com/x"\n[web]', "alarms pass in the clear"),
    ("[web]", '[mqtt]\nhost = "b"\ntls = true\nport = 1883\n[web]', "1883 is the port without TLS"),
    ("max_a = 32", "max_a = 320", "max_a: 320 A is more than an AC station can offer"),
    ("max_a = 32", "max_a = 64", "max_a: 64 A is above the limit of its circuit, 63 A"),
    ("min_a = 6", "min_a = 3\nfallback_a = 0", "min_a: 3 A is below 6 A"),
    (
        '[web]\nhost = "127.0.0.1"',
        '[web]\nhost = "0.0.0.0"',
        "web.host: passwords and tokens pass in the clear",
    ),
    (
        "[[circuit]]",
        '[[backend]]\nid = "fleet"\nurl = "wss://f.internal/{station}"\nobserve = []\n[[circuit]]',
        "observe: the backend receives nothing",
    ),
    ("interval_s = 1", "port = 80", "port: 80 is the port of a web page"),
    (
        'transport = "tcp"\nhost = "10.0.0.20"',
        'transport = "rtu"\ndevice = "/dev/ttyUSB0"\nbaud = 9601',
        "baud: 9601 is no usual baud rate",
    ),
    ("wss://csms.internal", "ws://csms.acme.com", "url: passwords, cards and meter values pass in the clear"),
    ('id = "CS01"', 'id = "CS 01"', "id: contains a blank"),
    ("base_load_a = 20", "base_load_a = 20\ngeneration_a = 600", "600 A is more than the circuit carries"),
]


@pytest.mark.parametrize(("old", "new", "expected"), HINTS)
def test_unusual_value_is_hint(old: str, new: str, expected: str) -> None:
    assert old in CONFIG
    config, errors, hints = check_config(CONFIG.replace(old, new, 1), "site.toml")
    assert errors == []
    assert config is not None
    assert [expected in text_of(hint) for hint in hints] == [True], [text_of(hint) for hint in hints]


def test_valid_site_has_neither_errors_nor_hints() -> None:
    assert check_config(CONFIG, "site.toml")[1:] == ([], [])


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("[[circuit]]", "[[circut]]", "circut: is not a known key; did you mean circuit?"),
        ("[[backend]]", "[[backends]]", "backends: is not a known key; did you mean backend?"),
        ("[[meter]]", "[[metter]]", "metter: is not a known key; did you mean meter?"),
        ("[[circuit]]", "[circuit]", "circuit: cannot be a table; write [[circuit]] with two brackets"),
    ],
)
def test_value_rules_misspelt_table_is_one_error_without_consequences(old: str, new: str, line: str) -> None:
    _, errors, _ = check_config(CONFIG.replace(old, new, 1), "site.toml")
    assert [line in text_of(error) for error in errors] == [True], [text_of(error) for error in errors]


@pytest.mark.parametrize("url", ["ws://10.0.0.7/{station}", "ws://csms.lan/{station}", "ws://csms/{station}"])
def test_backend_url_of_private_network_has_no_hint(url: str) -> None:
    assert check_config(CONFIG.replace("wss://csms.internal/{station}", url), "site.toml")[1:] == ([], [])


TABLES = [
    (
        '[mqtt]\nhost = "mqtt://broker.lan:1883"\n',
        ['"mqtt://broker.lan:1883" is a URL; write host = "broker.lan" and port = 1883'],
    ),
    (
        '[mqtt]\nhost = "mqtt://[fd00::1]/"\n',
        ['"mqtt://[fd00::1]/" is a URL; write the address alone: host = "fd00::1"'],
    ),
    (
        "[station_defaults]\nmax_a = 16\n",
        ["max_a: is not a known key; write it below [[station_defaults.evse]]"],
    ),
    (
        '[[calendar]]\nid = "n"\ndays = ["Mo"]\nfrom = "7:00"\nend = "9:00"\n'
        'stations = ["CS01"]\npriority = 1\n',
        [
            "id: is not a known key; did you mean name?",
            'days: cannot be "Mo"; did you mean "mon"?',
            "from: is not a known key; did you mean begin?",
            'end: cannot be "9:00"; did you mean "09:00"?',
        ],
    ),
    (
        '[[group]]\nid = "bakery"\nmembers = ["CS01"]\nguaranteed_a = 16\n',
        ["members: is not a known key; did you mean stations?"],
    ),
    (
        '[[departure]]\nstation = "CS01"\nready_by = "07:00"\nenergy_kwh = 20\n',
        ["station: is not a known key; did you mean stations?"],
    ),
]


@pytest.mark.parametrize(("table", "expected"), TABLES)
def test_error_in_table_has_no_follow_on_errors(table: str, expected: list[str]) -> None:
    _, errors, hints = check_config(CONFIG + table, "site.toml")
    found = [text_of(each) for each in [*errors, *hints]]
    assert [part in text for part, text in zip(expected, found, strict=True)] == [True] * len(expected), found


def test_dimming_source_of_unknown_kind_has_no_follow_on_errors() -> None:
    table = '[dimming]\n[[dimming.source]]\nid = "dso"\nkind = "contacts"\n'
    _, errors, hints = check_config(CONFIG + table, "site.toml")
    found = [each for each in [*errors, *hints] if "source" in each.key]
    assert [text_of(each) for each in found] == [
        'dimming.source "dso" kind: cannot be "contacts"; did you mean "contact"?'
    ]


@pytest.mark.parametrize("fuse", [Fuse.B, Fuse.C])
def test_breaker_carries_what_fuse_curve_does(fuse: Fuse) -> None:
    assert pytest.approx(CURVES[fuse].carries(OBEYED_S), abs=0.001) == BREAKER_CARRIES


def test_value_rules_times_of_day_in_utc_are_a_hint() -> None:
    text = CONFIG.replace('timezone = "Europe/Berlin"\n', "")
    text += '[[departure]]\nstations = ["CS01"]\nready_by = "06:30"\nenergy_kwh = 20\n'
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert [text_of(each).partition(":")[0] for each in hints] == ["site.timezone"]


def test_value_rules_store_in_volatile_directory_is_a_hint() -> None:
    text = CONFIG.replace("[web]", '[store]\ndirectory = "/run/lc"\n[web]')
    _, errors, hints = check_config(text, "site.toml", Path("/etc/local-controller"))
    assert errors == []
    assert [text_of(each) for each in hints] == [
        "store.directory: is below /run, which is emptied when the machine starts; "
        'write "/var/lib/local-controller"'
    ]
    _, _, hints = check_config(text, "site.toml", Path("/run"))  # a trial
    assert hints == []


def test_value_rules_two_adapters_by_their_order_are_hints() -> None:
    serial = 'transport = "rtu"\ndevice = "/dev/ttyUSB0"\n'
    text = CONFIG.replace('transport = "tcp"\nhost = "10.0.0.20"\n', serial)
    assert check_config(text, "site.toml")[1:] == ([], [])
    text += (
        '[[meter]]\nid = "b"\ndriver = "abb-b23"\n'
        + serial.replace("USB0", "USB1")
        + '[battery]\nmeter = "b"\n'
    )
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    assert [text_of(each).partition(";")[0] for each in hints] == [
        f'meter "{meter}" device: /dev/ttyUSB{number} may be another adapter after the next start'
        for number, meter in enumerate(("grid", "b"))
    ]


@pytest.mark.parametrize(
    ("limits", "found"),
    [
        ("limit_a = 630", []),
        ("limit_a = 1000", ["1000 A on each phase is more than the largest main fuse, 630 A"]),
        (
            "limit_a = [63, 63, 6300]",
            ["6300 A on each phase is more than the largest main fuse, 630 A"],
        ),
        ("limit_a = 1000\nlimit_kva = 630", []),
    ],
)
def test_value_rules_large_connection_without_transformer_is_hint(limits: str, found: list[str]) -> None:
    _, errors, hints = check_config(CONFIG.replace("limit_a = 63", limits), "site.toml")
    assert errors == []
    assert [each.what for each in hints if each.key.endswith("limit_a")] == found


def test_value_rules_fallback_of_all_stations_below_min_is_one_error() -> None:
    text = CONFIG.replace("margin_a = 1", "fallback_a = 3") + '[[station]]\nid = "CS02"\ncircuit = "grid"\n'
    _, errors, _ = check_config(text, "site.toml")
    assert [text_of(each) for each in errors] == [
        "load_management.fallback_a: fallback_a is 3 A, below min_a of 6 A: too little to charge; "
        "set fallback_a to at least min_a, or to 0"
    ]


def test_value_rules_name_of_maker_lists_its_models() -> None:
    _, errors, _ = check_config(CONFIG.replace("janitza-umg604", "Janitza"), "site.toml")
    remedy = str(errors[0].remedy)
    assert remedy.startswith('did you mean "janitza-')
    assert '"janitza-umg604"' in remedy


def hints_of(text: str) -> list[str]:
    _, errors, hints = check_config(text, "site.toml")
    assert errors == []
    return [text_of(each) for each in hints]


def test_value_rules_dc_station_has_no_hint_of_ac_stations() -> None:
    text = CONFIG.replace("max_a = 32\nmin_a = 6", "max_kw = 150\nfallback_a = 0")
    assert hints_of(text.replace("limit_a = 63", "limit_a = 400")) == []
    [hint] = hints_of(text)
    assert hint.startswith('station "CS01" evse[0].max_kw: ')
    assert "A is above the limit of its circuit, 63 A; write the rated power of the station in kW" in hint


def test_value_rules_label_of_two_stations_is_hint() -> None:
    other = '[[station]]\nid = "CS02"\ncircuit = "grid"\nowner = "cpo"\nlabel = "{label}"\n'
    text = CONFIG.replace('owner = "cpo"\n', 'owner = "cpo"\nlabel = "Bay 1"\n')
    assert hints_of(text + other.format(label="Bay 2")) == []
    expected = 'station "CS02" label: is that of station "CS01", too; give each station its own label'
    assert hints_of(text + other.format(label="Bay 1")) == [expected]


@pytest.mark.parametrize(
    ("server", "has_nts"),
    [("0.de.pool.ntp.org", False), ("time.google.com", False), ("ptbtime1.ptb.de", True), ("ntp.lan", True)],
)
def test_value_rules_time_server_without_nts_is_hint(server: str, has_nts: bool) -> None:
    found = hints_of(f'{CONFIG}[time]\nservers_agree = 1\nnts_servers = ["{server}"]\n')
    assert [text.startswith(f"time.nts_servers[0]: {server} has no NTS") for text in found] == (
        [] if has_nts else [True]
    )
