"""Mistakes of installers in every table: each is found at its key, with its unit and the remedy.

A row names a table, what is written there, and the whole finding. `#1` is the second table of that name.
"""

from __future__ import annotations

import pytest

from controller.config.loader import check_config
from tests.controller.config.test_value_rules import text_of

SITE = """
[site]
id = "lc"
voltage = 230
timezone = "Europe/Berlin"
[listen]
path = "/ocpp"
host = "10.0.0.1"
port = 8887
[web]
host = "127.0.0.1"
port = 8080
[load_management]
margin_a = 1
fallback_a = 6
[mqtt]
host = "10.0.0.50"
[[webhook]]
url = "https://hook.internal/lc"
[[backend]]
id = "cpo"
url = "wss://csms.internal/ocpp/{station}"
[[backend]]
id = "fleet"
url = "wss://fleet.internal/ocpp/{station}"
observe = ["MeterValues"]
[[circuit]]
id = "grid"
limit_a = 63
fuse = "gG"
meter = "grid"
base_load_a = 20
[[circuit]]
id = "row"
parent = "grid"
limit_a = 40
meter = "row"
[[meter]]
id = "grid"
driver = "janitza-umg604"
transport = "tcp"
host = "10.0.0.20"
unit = 1
interval_s = 1
[[meter]]
id = "row"
driver = "eastron-sdm630-v2"
transport = "rtu"
device = "/dev/serial/by-id/x"
unit = 2
interval_s = 1
[[station]]
id = "CS01"
circuit = "row"
owner = "cpo"
observers = ["fleet"]
[[station.evse]]
id = 1
max_a = 32
min_a = 6
steuve = true
[signing]
key = "key.pem"
[dimming]
failsafe_w = 4200
[[dimming.source]]
id = "box"
kind = "contact"
module = "io"
[[dimming.contact]]
name = "K1"
source = "box"
input = 0
limit_w = 4200
[[dimming.module]]
id = "io"
transport = "tcp"
driver = "wago-750"
host = "10.0.0.30"
[[dimming.source]]
id = "hems"
kind = "eebus"
[eebus]
port = 4712
[[eebus.partner]]
ski = "0123456789012345678901234567890123456789"
host = "10.0.0.40"
[prices]
pause_above = 0.35
[[group]]
id = "tenant"
stations = ["CS01"]
quota_kwh = 80
guaranteed_a = 8
[[calendar]]
name = "night"
circuit = "grid"
limit_a = 40
begin = "22:00"
end = "06:00"
[[departure]]
stations = ["CS01"]
ready_by = "06:30"
energy_kwh = 30
[[card]]
token = "04A1B2"
[time]
max_error_s = 1
"""


def write_into(table: str, changes: dict[str, str]) -> str:
    """Return SITE with keys of one table set to other values; "-" removes a key."""
    name, _, number = table.partition("#")
    tables = SITE.split("\n[")
    places = [index for index, each in enumerate(tables) if f"[{each}".startswith(f"{name}\n")]
    if not places:
        return f"{SITE}{name}\n" + "".join(f"{key} = {value}\n" for key, value in changes.items())
    place = places[int(number or 0)]
    lines = [line for line in tables[place].splitlines() if line.partition(" =")[0] not in changes]
    lines += [f"{key} = {value}" for key, value in changes.items() if value != "-"]
    tables[place] = "\n".join(lines)
    return "\n[".join(tables) + "\n"


BLANK = "A blank that belongs to the path is written %20"

ERRORS = [
    ("[site]", {"id": '" lc"'}, 'site.id: has a blank at its begin or end; did you mean "lc"?'),
    (
        "[site]",
        {"voltage": "0.23"},
        "site.voltage: 0.23 V is not a mains voltage; write the voltage between line and neutral, e.g. 230 "
        "(V)",
    ),
    ("[listen]", {"host": '"[::]"'}, 'listen.host: "[::]" is not an address; did you mean "::"?'),
    (
        "[listen]",
        {"host": '"10.0.0.0/24"'},
        'listen.host: "10.0.0.0/24" is not an address; write the address of one machine, without the mask '
        "of its network",
    ),
    (
        "[[meter]]",
        {"host": '"10.0.0.20/24"'},
        'meter "grid" host: "10.0.0.20/24" is not an address; did you mean "10.0.0.20"?',
    ),
    (
        "[mqtt]",
        {"permissions": '["stations.run"]'},
        'mqtt.permissions: permission "stations.run"; did you mean "stations:run"?',
    ),
    (
        "[[circuit]]",
        {"base_load_a": "70"},
        'circuit "grid" base_load_a: 70 A are above the limit of 63 A: the building alone trips the fuse; '
        "write the most that the building draws on a phase (A)",
    ),
    (
        "[[circuit]]",
        {"parent": '"grid"'},
        'circuit "grid" parent: forms a loop; name the circuit that feeds it; the grid connection has no '
        "parent",
    ),
    (
        "[[meter]]",
        {"transport": '"RTU over TCP"'},
        'meter "grid" transport: cannot be "RTU over TCP"; did you mean "rtu-over-tcp"?',
    ),
    (
        "[[meter]]#1",
        {"device": '"usb-FTDI_FT232R-if00-port0"'},
        'meter "row" device: "usb-FTDI_FT232R-if00-port0" is not the whole path of a serial port; did you '
        'mean "/dev/serial/by-id/usb-FTDI_FT232R-if00-port0"?',
    ),
    (
        "[[station]]",
        {"id": '"CS01 "'},
        'station "CS01 " id: has a blank at its begin or end; did you mean "CS01"?',
    ),
    (
        "[[station.evse]]",
        {"max_a": "5"},
        'station "CS01" evse[0].max_a: 5 A is below min_a, 6 A: no car charges; lower min_a or raise max_a',
    ),
    (
        "[[station.evse]]",
        {"max_kw": "22"},
        'station "CS01" evse[0].max_a: max_a and min_a beside max_kw: it makes this a DC station, which '
        "has max_kw and min_kw; remove max_a and min_a; remove max_kw if it is an AC station",
    ),
    (
        "[[station.evse]]",
        {"current": "16"},
        'station "CS01" evse[0].current: is not a known key; did you mean max_a?',
    ),
    (
        "[[station.evse]]",
        {"connector": "1"},
        'station "CS01" evse[0].connector: is not a known key; did you mean id?',
    ),
    (
        "[time]",
        {"nts_servers": '["nts://ptbtime1.ptb.de:4460"]'},
        'time.nts_servers[0]: "nts://ptbtime1.ptb.de:4460" is a URL; write the address alone: '
        '"ptbtime1.ptb.de:4460"',
    ),
    (
        "[[station]]",
        {"circuit": '" row"'},
        'station "CS01" circuit: has a blank at its begin or end; did you mean "row"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/{station} "'},
        'backend "cpo" url: has a blank at its begin or end; did you mean '
        '"wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[station]]",
        {"password_file": '"credentials/{id}"'},
        'station "CS01" password_file: contains {id}; write {station} where the station\'s id belongs',
    ),
    (
        "[[meter]]",
        {"host": '"[fe80::1]"'},
        'meter "grid" host: "[fe80::1]" is not an address; did you mean "fe80::1"?',
    ),
    (
        "[[station]]",
        {"password_file": '"credentials/<id>"'},
        'station "CS01" password_file: contains <id>; write {station} where the station\'s id belongs',
    ),
    (
        "[load_management]",
        {"rotation_s": '"15min"'},
        'load_management.rotation_s: cannot be "15min"; did you mean 900?',
    ),
    (
        "[[station]]",
        {"id": '"CS[A-F]"'},
        'station "CS[A-F]" id: "CS[A-F]" is no range of ids; write it like "CS[01-40]"',
    ),
    (
        "[[station]]",
        {"id": '"CS[1-3][1-3]"'},
        'station "CS[1-3][1-3]" id: "CS[1-3][1-3]" is no range of ids; write it like "CS[01-40]"',
    ),
    (
        "[[circuit]]",
        {"limit_a": "{L1 = 63, L2 = 63, L3 = 63}"},
        'circuit "grid" limit_a: cannot be a table; write a number from 1 to 10000 A, or a list of 3 of them',
    ),
    (
        "[[circuit]]",
        {"limit_kva": "0.63"},
        'circuit "grid" limit_kva: cannot be 0.63 kVA; did you mean 630? The unit is kVA, from 1 to 20000',
    ),
    ("[[calendar]]", {"begin": '"6am"'}, 'calendar "night" begin: cannot be "6am"; did you mean "06:00"?'),
    (
        "[[departure]]",
        {"energy_kwh": '"80%"'},
        'departure[0].energy_kwh: cannot be "80%"; write it in kWh, not in percent: a number above 0, at '
        "most 1000 kWh",
    ),
    (
        "[[dimming.contact]]",
        {"on_when": '"low"'},
        'dimming.contact "K1" on_when: cannot be "low"; write the state of the input while the limit holds, '
        '"open" or "closed"',
    ),
    (
        "[[dimming.source]]",
        {"kind": '"fnn"'},
        'dimming.source "box" kind: cannot be "fnn"; did you mean "contact"?',
    ),
    (
        "[prices]",
        {"pause_above": '"35 ct"'},
        'prices.pause_above: cannot be "35 ct"; write a number from -100 to 100',
    ),
    (
        "[[card]]",
        {"valid_until": '"31.12.2027"'},
        'card[0].valid_until: cannot be "31.12.2027"; did you mean "2027-12-31"?',
    ),
    (
        "[web]",
        {"names": '["*.example.org"]'},
        'web.names[0]: "*.example.org" is not an address; write a host name or an IP address',
    ),
    (
        "[mqtt]",
        {"root": '"/site/#"'},
        'mqtt.root: cannot be "/site/#"; write a text without +, # and / at its ends, like "site/depot"',
    ),
    (
        "[[backend]]",
        {"url": '"wss://2001:db8::1/ocpp/{station}"'},
        'backend "cpo" url: has an IPv6 address without brackets; write it like '
        '"wss://[2001:db8::1]/ocpp/{station}"',
    ),
    ("[[meter]]", {"ct_ratio": '"250/5"'}, 'meter "grid" ct_ratio: cannot be "250/5"; did you mean 50?'),
    (
        "[[station.evse]]",
        {"phases": '["R", "S", "T"]'},
        'station "CS01" evse[0].phases: cannot be "R"; did you mean "L1"?',
    ),
    (
        "[[circuit]]",
        {"limit_a": "[63, 63, 0]"},
        'circuit "grid" limit_a: cannot be 0; write a number from 1 to 10000 A, or a list of 3 of them',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal:443:443/ocpp/{station}"'},
        'backend "cpo" url: is not a URL: its port is no number up to 65535; write it like '
        '"wss://csms.example/ocpp/{station}"',
    ),
    (
        "[[backend]]",
        {"url": '"wss://2001:db8::1/ocpp/{station}"'},
        'backend "cpo" url: has an IPv6 address without brackets; write it like '
        '"wss://[2001:db8::1]/ocpp/{station}"',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/{station}#cpo"'},
        'backend "cpo" url: has a part after #, which no WebSocket URL has; remove it',
    ),
    *(
        ("[[backend]]", {"est_url": f'"{url}"'}, f'backend "cpo" est_url: {finding}')
        for url, finding in (
            ("http://ca.internal/est", 'is not an https URL; begin it with "https://"'),
            (
                "https://ca.internal/ est",
                f'contains a blank; did you mean "https://ca.internal/est"? {BLANK}',
            ),
            ("https:///est", 'names no host; write it like "https://csms.example/.well-known/est"'),
            (
                "https://ca.internal:99999/est",
                "is not a URL: its port is no number up to 65535; write it like "
                '"https://csms.example/.well-known/est"',
            ),
            (
                "https://ca.internal/{station}/est",
                'has more than a host and a path; write it like "https://csms.example/.well-known/est"',
            ),
            (
                "https://ca.internal/est/simplereenroll",
                "ends with simplereenroll, which the controller appends itself; remove it",
            ),
        )
    ),
    (
        "[[backend]]",
        {"est_url": '"https://ca.internal/est"', "renew_by_ocpp": "true"},
        'backend "cpo" renew_by_ocpp: is beside est_url, and the certificate is renewed in one way; '
        "remove one of the two",
    ),
    (
        "[[meter]]",
        {"driver": '"File: own.toml"'},
        'meter "grid" driver: driver "File: own.toml" does not exist; did you mean "file:own.toml"?',
    ),
    (
        "[[calendar]]",
        {"begin": '"22:00:00"'},
        'calendar "night" begin: cannot be "22:00:00"; did you mean "22:00"?',
    ),
    (
        "[load_management]",
        {"fairness": '"rotate"'},
        'load_management.fairness: cannot be "rotate"; did you mean "turns"?',
    ),
    (
        "[[meter]]",
        {"driver": '"virtual"'},
        'meter "grid" driver: driver "virtual" does not exist; set transport = "virtual", too',
    ),
    ("[dimming]", {"failsafe_w": '"4,2 kW"'}, 'dimming.failsafe_w: cannot be "4,2 kW"; did you mean 4200?'),
    (
        "[load_management]",
        {"rotation_s": '"15 min"'},
        'load_management.rotation_s: cannot be "15 min"; did you mean 900?',
    ),
    (
        "[[meter]]",
        {"interval_s": '"500 ms"'},
        'meter "grid" interval_s: cannot be "500 ms"; did you mean 0.5?',
    ),
    (
        "[[group]]",
        {"quota_kwh": '"80000 Wh"'},
        'group "tenant" quota_kwh: cannot be "80000 Wh"; did you mean 80?',
    ),
    (
        "[[circuit]]",
        {"unbalance_a": '"4.6 kVA"'},
        'circuit "grid" unbalance_a: cannot be "4.6 kVA"; write a number from 1 to 10000 A',
    ),
    (
        "[[dimming.module]]",
        {"interval_s": "0.001"},
        'dimming.module "io" interval_s: cannot be 0.001 s; did you mean 1? The unit is s, from 0.05 to 60',
    ),
    (
        "[[dimming.source]]",
        {"settle_s": "300"},
        'dimming.source "box" settle_s: cannot be 300 s; did you mean 0.3? The unit is s, from 0 to 10',
    ),
    (
        "[[meter]]",
        {"frozen_after_s": "1"},
        'meter "grid" frozen_after_s: cannot be 1 s; did you mean 60? The unit is s, from 5 to 3600',
    ),
    (
        "[[meter]]",
        {"stale_after_s": "5000"},
        'meter "grid" stale_after_s: cannot be 5000 s; did you mean 5? The unit is s, from 0.5 to 300',
    ),
    (
        "[local_csms]",
        {"heartbeat_s": "5"},
        "local_csms.heartbeat_s: cannot be 5 s; did you mean 300? The unit is s, from 10 to 86400",
    ),
    (
        "[load_management]",
        {"rotation_s": "15"},
        "load_management.rotation_s: cannot be 15 s; did you mean 900? The unit is s, from 60 to 86400",
    ),
    (
        "[dimming]",
        {"failsafe_duration_s": "120"},
        "dimming.failsafe_duration_s: cannot be 120 s; did you mean 7200? The unit is s, from 7200 to 86400",
    ),
    (
        "[site]",
        {"voltage": '"230/400"'},
        'site.voltage: cannot be "230/400"; write the voltage between line and neutral, e.g. 230 (V)',
    ),
    (
        "[site]",
        {"voltage": "0.23"},
        "site.voltage: 0.23 V is not a mains voltage; write the voltage between line and "
        "neutral, e.g. 230 (V)",
    ),
    (
        "[load_management]",
        {"margin_a": '"10%"'},
        'load_management.margin_a: cannot be "10%"; write it in A, not in percent: a number '
        'from 0 to 10000 A, or "auto"',
    ),
    (
        "[[circuit]]#1",
        {"margin_a": '"5 %"'},
        'circuit "row" margin_a: cannot be "5 %"; write it in A, not in percent: a number '
        'from 0 to 10000 A, or "auto"',
    ),
    (
        "[[circuit]]",
        {"limit_a": "0.063"},
        'circuit "grid" limit_a: cannot be 0.063; write a number from 1 to 10000 A, or a list of 3 of them',
    ),
    (
        "[[circuit]]",
        {"limit_a": "63000"},
        'circuit "grid" limit_a: cannot be 63000 A; did you mean 63? The unit is A, from 1 to 10000',
    ),
    (
        "[[station.evse]]",
        {"max_a": "32000"},
        'station "CS01" evse[0].max_a: cannot be 32000 A; did you mean 32? The unit is A, from 1 to 10000',
    ),
    (
        "[[station.evse]]",
        {"min_a": "0.6"},
        'station "CS01" evse[0].min_a: cannot be 0.6 A; did you mean 6? The unit is A, from 1 to 10000',
    ),
    (
        "[[station.evse]]",
        {"efficiency": "95"},
        'station "CS01" evse[0].efficiency: cannot be 95; did you mean 0.95?',
    ),
    (
        "[[station.evse]]",
        {"power_factor": '"98 %"'},
        'station "CS01" evse[0].power_factor: cannot be "98 %"; did you mean 0.98?',
    ),
    ("[[station.evse]]", {"phases": "1"}, 'station "CS01" evse[0].phases: cannot be 1; did you mean ["L1"]?'),
    (
        "[[station.evse]]",
        {"phases": "3"},
        'station "CS01" evse[0].phases: cannot be 3; did you mean ["L1", "L2", "L3"]?',
    ),
    (
        "[[station.evse]]",
        {"phases": '"all"'},
        'station "CS01" evse[0].phases: cannot be "all"; did you mean ["L1", "L2", "L3"]?',
    ),
    (
        "[[station.evse]]",
        {"phases": '"three"'},
        'station "CS01" evse[0].phases: cannot be "three"; did you mean ["L1", "L2", "L3"]?',
    ),
    (
        "[[station.evse]]",
        {"mode": '"eco"'},
        'station "CS01" evse[0].mode: cannot be "eco"; did you mean "surplus"?',
    ),
    (
        "[[station.evse]]",
        {"reports_on": '"site"'},
        'station "CS01" evse[0].reports_on: cannot be "site"; did you mean "grid"?',
    ),
    (
        "[[dimming.contact]]",
        {"limit_w": "60"},
        'dimming.contact "K1" limit_w: 60 W is less than any device draws; 60% of what all '
        "controllable EVSEs draw is 13248 (W)",
    ),
    (
        "[[dimming.contact]]",
        {"limit_w": '"60%"'},
        'dimming.contact "K1" limit_w: cannot be "60%"; write it in W, not in percent: a number '
        "from 0 to 100000000 W",
    ),
    (
        "[[dimming.contact]]",
        {"limit_w": "0.3"},
        'dimming.contact "K1" limit_w: 0.3 W is less than any device draws; 30% of what all '
        "controllable EVSEs draw is 6624 (W)",
    ),
    (
        "[[dimming.contact]]",
        {"on_when": "true"},
        'dimming.contact "K1" on_when: cannot be true; write the state of the input while the '
        'limit holds, "open" or "closed"',
    ),
    (
        "[[dimming.contact]]",
        {"on_when": '"high"'},
        'dimming.contact "K1" on_when: cannot be "high"; write the state of the input while the '
        'limit holds, "open" or "closed"',
    ),
    (
        "[[dimming.contact]]",
        {"input": '"DI1"'},
        'dimming.contact "K1" input: cannot be "DI1"; write its number on the module, counted '
        "from 0: the first input is 0",
    ),
    (
        "[eebus]",
        {"host": '"10.0.0.1:4712"'},
        'eebus.host: "10.0.0.1:4712" contains a port; write host = "10.0.0.1" and port = 4712',
    ),
    (
        "[[eebus.partner]]",
        {"host": '"wss://10.0.0.40"'},
        'eebus.partner[0].host: "wss://10.0.0.40" is a URL; write the address alone: host = "10.0.0.40"',
    ),
    (
        "[[eebus.partner]]",
        {"host": '"0.0.0.0"'},
        "eebus.partner[0].host: 0.0.0.0 stands for all addresses of this machine; write the "
        "address of the other device",
    ),
    (
        "[[eebus.partner]]",
        {"port": "0"},
        "eebus.partner[0].port: cannot be 0; write a whole number from 1 to 65535",
    ),
    (
        "[time]",
        {"nts_servers": '["https://ptbtime1.ptb.de"]'},
        'time.nts_servers[0]: "https://ptbtime1.ptb.de" is a URL; write the address alone: "ptbtime1.ptb.de"',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/(station)"'},
        'backend "cpo" url: has no {station}; did you mean "wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/:id"'},
        'backend "cpo" url: has no {station}; did you mean "wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/chargePointId"'},
        'backend "cpo" url: has no {station}; did you mean "wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/CS01"'},
        'backend "cpo" url: has no {station}; did you mean "wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal\\\\ocpp\\\\{station}"'},
        'backend "cpo" url: contains \\, which no URL has; did you mean '
        '"wss://csms.internal/ocpp/{station}"?',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal:0/ocpp/{station}"'},
        'backend "cpo" url: has the port 0, where nobody listens; write its port, or leave out :0',
    ),
    (
        "[mqtt]",
        {"discovery_prefix": '"homeassistant/"'},
        'mqtt.discovery_prefix: cannot be "homeassistant/"; write a text without +, # and / at its ends',
    ),
    ("[[meter]]#1", {"parity": '"8N1"'}, 'meter "row" parity: cannot be "8N1"; did you mean "N"?'),
    ("[[meter]]#1", {"stopbits": '"1"'}, 'meter "row" stopbits: cannot be "1"; did you mean 1?'),
    (
        "[[meter]]",
        {"transport": '"RTUoverTCP"'},
        'meter "grid" transport: cannot be "RTUoverTCP"; did you mean "rtu-over-tcp"?',
    ),
    (
        "[[dimming.module]]",
        {"transport": '"rtu"', "device": '"/dev/ttyS0"', "host": "-", "unit": "248"},
        'dimming.module "io" unit: is not a unit of a serial bus: 248; use 1 to 247',
    ),
    (
        "[listen]",
        {"port": "4712", "host": '"0.0.0.0"'},
        "eebus.port: 4712 is taken by [listen]; choose another port",
    ),
    ("[eebus]", {"port": "8887"}, "eebus.port: 8887 is taken by [listen]; choose another port"),
    (
        "[listen]",
        {"host": '"eth0"'},
        'listen.host: "eth0" is the name of a network interface; write its address, or "0.0.0.0" for all',
    ),
    ("[web]", {"host": '"*"'}, 'web.host: "*" is not an address; did you mean "0.0.0.0"?'),
    (
        "[listen]",
        {"path": '"/ocpp/*"'},
        'listen.path: contains *, which no station\'s path has; write the path alone, e.g. "/ocpp"',
    ),
    (
        "[listen]",
        {"unknown_stations": '"accept"'},
        'listen.unknown_stations: cannot be "accept"; did you mean "pending"?',
    ),
    (
        "[site]",
        {"timezone": '"Wien"'},
        'site.timezone: "Wien" is not a time zone; did you mean "Europe/Vienna"?',
    ),
    (
        "[site]",
        {"timezone": '"Europe/Munich"'},
        'site.timezone: "Europe/Munich" is not a time zone; did you mean "Europe/Berlin"?',
    ),
    (
        "[site]",
        {"timezone": '"W. Europe Standard Time"'},
        'site.timezone: "W. Europe Standard Time" is not a time zone; did you mean "Europe/Berlin"?',
    ),
    (
        "[site]",
        {"timezone": '"Europe"'},
        'site.timezone: "Europe" is not a time zone; did you mean "Europe/Berlin"?',
    ),
    (
        "[[circuit]]",
        {"fuse": '"63A"'},
        'circuit "grid" fuse: cannot be "63A"; write its curve, "gG", "B", "C" or "plain"; '
        "its rated current is limit_a (A)",
    ),
    (
        "[[circuit]]",
        {"fuse": "63"},
        'circuit "grid" fuse: cannot be 63; write its curve, "gG", "B", "C" or "plain"; its '
        "rated current is limit_a (A)",
    ),
    (
        "[[circuit]]",
        {"fuse": '"NH00 gG 63A"'},
        'circuit "grid" fuse: cannot be "NH00 gG 63A"; did you mean "gG"?',
    ),
    (
        "[[circuit]]",
        {"fuse": '"SLS 63 A"'},
        'circuit "grid" fuse: cannot be "SLS 63 A"; did you mean "plain"?',
    ),
    (
        "[[circuit]]#1",
        {"measures": '"house"'},
        'circuit "row" measures: cannot be "house"; did you mean "building"?',
    ),
    ("[dimming]", {"count": '"all"'}, 'dimming.count: cannot be "all"; did you mean "one"?'),
    ("[dimming]", {"language": '"german"'}, 'dimming.language: cannot be "german"; did you mean "de"?'),
    ("[log]", {"level": '"quiet"'}, 'log.level: cannot be "quiet"; did you mean "error"?'),
    (
        "[store]",
        {"directory": '"~/lc"'},
        "store.directory: contains ~, which only a shell expands; write the whole path, or "
        "one relative to the directory of this file",
    ),
    (
        "[store]",
        {"directory": '"C:\\\\lc"'},
        'store.directory: "C:\\lc" is a path of Windows; write the whole path, or one relative '
        "to the directory of this file",
    ),
    ("[store]", {"directory": '""'}, "store.directory: is empty; write a path, or remove the key"),
    (
        "[signing]",
        {"key": '"file:///etc/lc/key.pem"'},
        'signing.key: "file:///etc/lc/key.pem" is a URL; write the path alone: "/etc/lc/key.pem"',
    ),
    (
        "[prices]",
        {"file": '"https://prices.internal/today.csv"'},
        'prices.file: "https://prices.internal/today.csv" is a URL; copy the file to this '
        "machine, and write its path",
    ),
    (
        "[[station]]",
        {"password_file": '"$HOME/CS01"'},
        'station "CS01" password_file: contains $HOME, which only a shell expands; write the '
        "whole path, or one relative to the directory of this file",
    ),
    ("[[station]]", {"protocol": "1.6"}, 'station "CS01" protocol: cannot be 1.6; did you mean "ocpp1.6"?'),
    (
        "[[station]]",
        {"authorise_when_away": '"all"'},
        'station "CS01" authorise_when_away: cannot be "all"; did you mean "everyone"?',
    ),
    ("[[card]]", {"type": '"RFID"'}, 'card[0].type: cannot be "RFID"; did you mean "ISO14443"?'),
    ("[[calendar]]", {"begin": '"10pm"'}, 'calendar "night" begin: cannot be "10pm"; did you mean "22:00"?'),
    (
        "[[departure]]",
        {"ready_by": '"6:30 am"'},
        'departure[0].ready_by: cannot be "6:30 am"; did you mean "06:30"?',
    ),
    (
        "[[backend]]#1",
        {"observe": '["all"]'},
        'backend "fleet" observe[0]: "all" is neither an action nor a class; leave observe '
        "out: states, transactions and meter values are copied by default",
    ),
    (
        "[[backend]]#1",
        {"commands": '["*"]'},
        'backend "fleet" commands[0]: "*" is neither an action nor a class; leave commands '
        "out in the owner, or list classes: profiles, configuration, reset, firmware, "
        "local-list, reservations, transactions, availability, certificates, tariffs, "
        "displays, customers, reads, vendor",
    ),
    ("[pki]", {"passphrase": '"x"'}, "pki.folder: is missing; add folder = ... (a text)"),
    ("[[eebus.partner]]", {"ski": "-"}, "eebus.partner[0].ski: is missing; add ski = ... (a text)"),
    ("[ocpp]", {"port": "8887"}, "ocpp: is not a known key; did you mean listen?"),
    (
        "[[webhook]]",
        {"url": '"https://hook.internal/my alarms"'},
        f'webhook[0].url: contains a blank; did you mean "https://hook.internal/myalarms"? {BLANK}',
    ),
    (
        "[[calendar]]",
        {"days": '["mon", "tue", "mon"]'},
        'calendar "night" days[2]: "mon" is listed twice; write the day that is missing, or remove it',
    ),
    (
        "[[departure]]",
        {"energy_kwh": '30\n[[departure]]\nstations = ["CS01"]\nready_by = "06:30"\nenergy_kwh = 30'},
        "departure[1]: is another one again; change what differs, e.g. ready_by, or remove it",
    ),
    (
        "[[station.evse]]",
        {"efficiency": "0.9"},
        'station "CS01" evse[0].efficiency: is for DC: max_kw is missing; add max_kw, or remove efficiency',
    ),
    (
        "[[station.evse]]",
        {"min_kw": "8"},
        'station "CS01" evse[0].min_kw: is for DC: max_kw is missing; add max_kw, or remove min_kw',
    ),
    (
        "[[station.evse]]",
        {"min_kw": "5"},  # the default
        'station "CS01" evse[0].min_kw: is for DC: max_kw is missing; add max_kw, or remove min_kw',
    ),
    (
        "[mqtt]",
        {"permissions": '["stations:write"]'},
        'mqtt.permissions: permission "stations:write"; did you mean "stations:edit"?',
    ),
    (
        "[[group]]",
        {"stations": '["CS01/2"]'},
        'group "tenant" stations[0]: station "CS01" has no EVSE 2; did you mean "CS01/1"?',
    ),
    (
        "[[group]]",
        {"stations": '["CS01:1"]'},
        'group "tenant" stations[0]: station "CS01:1" does not exist; did you mean "CS01/1"?',
    ),
    (
        "[[group]]",
        {"stations": '["CS*"]'},
        'group "tenant" stations[0]: station "CS*" does not exist; list each station by its id: '
        "patterns are not known here",
    ),
    ("[token]", {"label": '"Anna"'}, "token: is not a known key; did you mean card?"),
    (
        "[web]",
        {"token": '"abc"'},
        "web.token: is not a known key; tokens are not in this file: make them with "
        "`local-controller user token NAME RESOURCE:VERB`",
    ),
    ("[mqtt]", {"user": '"lc"'}, "mqtt.user: is not a known key; did you mean username?"),
    (
        "[[backend]]",
        {"username": '"lc"'},
        'backend "cpo" username: is not a known key; remove it: the user name is always the station\'s id',
    ),
    (
        "[[meter]]",
        {"driver": '"meters/m.toml"'},
        'meter "grid" driver: driver "meters/m.toml" does not exist; did you mean "file:meters/m.toml"?',
    ),
    (
        "[[meter]]",
        {"driver": '"xyz"'},
        'meter "grid" driver: driver "xyz" does not exist; `local-controller meter list` lists '
        "the known ones",
    ),
    (
        "[[circuit]]",
        {"limit_kva": "4"},
        'circuit "grid" limit_kva: 4 kVA are 5.7 A on each phase: no car charges; write the '
        "rated power of the transformer that feeds it (kVA), or remove it",
    ),
    (
        "[[circuit]]",
        {"limit_kva": "10"},
        'circuit "grid" limit_kva: without the controller, the stations below "grid" and the '
        "declared base load of 20 A take 26 A on L1, its limit is 14.4 A; lower fallback_a "
        "(0: pause), or connect fewer stations there",
    ),
    (
        "[[station.evse]]",
        {"min_a": "-", "max_kw": "22"},
        'station "CS01" evse[0].max_a: max_a beside max_kw: it makes this a DC station, which has max_kw; '
        "remove max_a; remove max_kw if it is an AC station",
    ),
    (
        "[[station.evse]]",
        {"max_a": "-", "max_kw": "22", "reserve_kw": "5", "fallback_a": "0"},
        'station "CS01" evse[0].min_a: min_a beside max_kw: it makes this a DC station, which has min_kw; '
        "remove min_a; remove max_kw if it is an AC station",
    ),
    (
        "[[station]]",
        {"id": '"CS[40-01]"'},
        'station "CS[40-01]" id: "CS[40-01]" is a range of 0 ids; write the lower number first, '
        "and at most 1000 stations in one range",
    ),
    (
        "[[station]]",
        {"owner": '"wss://csms.internal/ocpp/{station}"'},
        'station "CS01" owner: "wss://csms.internal/ocpp/{station}" is a URL; did you mean "cpo"?',
    ),
    (
        "[[station]]",
        {"observers": '["wss://new.internal/{station}"]'},
        'station "CS01" observers: "wss://new.internal/{station}" is a URL; write the URL into a '
        "[[backend]], and the id of that table here",
    ),
    (
        "[site]",
        {"backend": '"wss://fleet.internal/ocpp/{station}"'},
        'site.backend: "wss://fleet.internal/ocpp/{station}" is a URL; did you mean "fleet"?',
    ),
    (
        "[[meter]]",
        {"device": '"/dev/ttyUSB0"', "baud": "9600"},
        'meter "grid" device: has no meaning with transport "tcp", nor baud; remove them, or set '
        "transport to rtu",
    ),
    (
        "[[meter]]",
        {"device": '"/dev/ttyUSB0"', "ca": '"meters.pem"'},
        'meter "grid" device: has no meaning with transport "tcp", nor ca; keep the keys of one transport',
    ),
    (
        "[[dimming.module]]",
        {"transport": '"gpio"', "device": '"/dev/gpiochip0"'},
        'dimming.module "io" driver: has no meaning with transport "gpio", nor host; remove them, or set '
        "transport to rtu-over-tcp or tcp",
    ),
    (
        "[[dimming.module]]",
        {"transport": '"gpio"', "driver": "-", "host": "-", "device": '"/dev/ttyUSB0"'},
        'dimming.module "io" device: "/dev/ttyUSB0" is not a GPIO chip; did you mean "/dev/gpiochip0"? The '
        "line is the input of the contact: `gpioinfo` lists chips and lines",
    ),
    (
        "[[meter]]#1",
        {"device": '"/dev/gpiochip0"'},
        'meter "row" device: "/dev/gpiochip0" is not a serial port; write its name on this machine: '
        "`ls -l /dev/serial/by-id`",
    ),
    (
        "[[meter]]#1",
        {"device": '"/dev/serial/by-id/"'},
        'meter "row" device: /dev/serial/by-id/ is a directory; write its name on this machine: '
        "`ls -l /dev/serial/by-id`",
    ),
    (
        "[[meter]]#1",
        {"device": '"10.0.0.7"'},
        'meter "row" device: "10.0.0.7" is an address; write it in host, with transport = "tcp" or '
        '"rtu-over-tcp"',
    ),
    (
        "[[meter]]#1",
        {"baud": '"9600 8N1"'},
        'meter "row" baud: cannot be "9600 8N1"; write the baud rate alone, e.g. 9600; parity and stopbits '
        "have keys of their own",
    ),
    ("[[meter]]", {"ct_ratio": '"100:5"'}, 'meter "grid" ct_ratio: cannot be "100:5"; did you mean 20?'),
    (
        "[[meter]]",
        {"driver": '"eastron-sdm630"'},
        'meter "grid" driver: driver "eastron-sdm630" does not exist; did you mean "eastron-sdm630-v2"?',
    ),
    ("[[meter]]", {"poll_s": "1"}, 'meter "grid" poll_s: is not a known key; did you mean interval_s?'),
    (
        "[[meter]]",
        {"register": "3"},
        'meter "grid" register: is not a known key; registers are in a file of its own: '
        'driver = "file:NAME.toml"',
    ),
    *(
        (
            "[[station]]",
            {"id": f'"{name}"'},
            f'station "{name}" id: "{name}" is no range of ids; did you mean "CP[1-5]"?',
        )
        for name in ("CP[1:5]", "CP[1..5]", "CP[1-5", "CP[5 to 1]")
    ),
    (
        "[[station]]",
        {"id": '"CP(1-5)"'},
        'station "CP(1-5)" id: "CP(1-5)" is the id of one station; for several stations write id = "CP[1-5]"',
    ),
    (
        "[[station]]",
        {"ip": '"10.0.0.7"'},
        'station "CS01" ip: is not a known key; remove it: the station connects by itself, to the '
        "address and path in [listen]",
    ),
    (
        "[station_defaults]",
        {"id": '"CS01"'},
        "station_defaults.id: is not a known key; write it in [[station]]: each station has its own",
    ),
    (
        "[[backend]]",
        {"token": '"x"'},
        'backend "cpo" token: is not a known key; no secrets in this file: write it into a file of its own, '
        "and name that in password_file",
    ),
    (
        "[web]",
        {"enabled": "false"},
        "web.enabled: is not a known key; remove the line: a table that is in the file is on; to switch it "
        "off, remove the table",
    ),
    ("[listen]", {"host": '""'}, 'listen.host: is empty; write an address, or "0.0.0.0" for all'),
    (
        "[[circuit]]",
        {"meter": '"janitza-umg604"'},
        'circuit "grid" meter: meter "janitza-umg604" does not exist; did you mean "grid"?',
    ),
    (
        "[[circuit]]",
        {"parent": '"none"'},
        'circuit "grid" parent: "none" is no circuit; leave parent out: the circuit is the grid connection',
    ),
    *(
        (table, {key: '""'}, f"{place}: is empty; write a value, or remove the key")
        for table, key, place in (
            ("[[circuit]]", "parent", 'circuit "grid" parent'),
            ("[[circuit]]", "meter", 'circuit "grid" meter'),
            ("[listen]", "certificate", "listen.certificate"),
            ("[listen]", "client_ca", "listen.client_ca"),
            ("[mqtt]", "username", "mqtt.username"),
            ("[mqtt]", "password_file", "mqtt.password_file"),
            ("[[backend]]", "est_url", 'backend "cpo" est_url'),
            ("[[meter]]", "device", 'meter "grid" device'),
            ("[[station]]", "quirk", 'station "CS01" quirk'),
            ("[[station]]", "owner", 'station "CS01" owner'),
            ("[time]", "legal_authority", "time.legal_authority"),
        )
    ),
    (
        "[time]",
        {"legal_authority": '" "'},
        "time.legal_authority: is empty; write a value, or remove the key",
    ),
    (
        "[[meter]]",
        {"transport": '"rtu"'},
        'meter "grid" host: has no meaning with transport "rtu", which needs device; write device = '
        '"/dev/serial/by-id/..." in its place, or set transport to rtu-over-tcp, tcp, tls or udp',
    ),
    (
        "[[meter]]#1",
        {"transport": '"tcp"'},
        'meter "row" device: has no meaning with transport "tcp", which needs host; write host = '
        '"192.0.2.20" in its place, or set transport to rtu',
    ),
    (
        "[[meter]]#1",
        {"transport": '"tcp"', "port": "502", "device": '"/dev/ttyUSB0"', "ca": '"a.pem"'},
        'meter "row" device: has no meaning with transport "tcp", which needs host; write host = '
        '"192.0.2.20" in its place',
    ),
    (
        "[[meter]]",
        {"transport": '"virtual"'},
        'meter "grid" transport: "virtual" is for a meter that is computed from others; write how the device '
        'is connected, e.g. "tcp", or set driver = "virtual" and add plus',
    ),
    (
        "[[meter]]",
        {"device": '"ttyUSB0"'},
        'meter "grid" device: has no meaning with transport "tcp"; remove it, or set transport to rtu',
    ),
    (
        "[[meter]]",
        {"key": '"meter.key"'},
        'meter "grid" key: has no meaning with transport "tcp"; remove it, or set transport to tls',
    ),
    (
        "[[dimming.module]]",
        {"transport": '"rtu"'},
        'dimming.module "io" host: has no meaning with transport "rtu", which needs device; write device = '
        '"/dev/serial/by-id/..." in its place, or set transport to rtu-over-tcp or tcp',
    ),
    (
        "[[dimming.module]]",
        {"transport": '"gpio"'},
        'dimming.module "io" driver: has no meaning with transport "gpio", which needs device; write '
        'device = "/dev/gpiochip0" in its place, or set transport to rtu-over-tcp or tcp',
    ),
    (
        "[[meter.share]]",
        {"port": "1502", "host": '"10.0.0.1:1502"'},
        'meter "row" share[0].host: "10.0.0.1:1502" contains a port; write host = "10.0.0.1" and port = 1502',
    ),
    (
        "[[meter.share]]",
        {"port": "1502", "host": '""'},
        'meter "row" share[0].host: is empty; write an address, or "0.0.0.0" for all',
    ),
    (
        "[[station.evse]]",
        {"id": "1\nfallback_a = 25\n[[station.evse]]\nid = 1\nfallback_a = 25"},
        'station "CS01" evse[1].id: EVSE 1 is already defined; give each its own id',
    ),
    (
        "[[calendar]]",
        {"circuit": "1979-05-27"},
        'calendar "night" circuit: cannot be 1979-05-27; write a text',
    ),
    (
        "[[circuit]]",
        {"parent": '"?"'},
        'circuit "grid" parent: circuit "?" does not exist; known are grid, row',
    ),
    ("[[circuit]]", {"meter": '"?"'}, 'circuit "grid" meter: meter "?" does not exist; known are grid, row'),
    (
        "[[backend]]",
        {"renew_by_ocpp": "true"},
        """backend "cpo" renew_by_ocpp: needs the link of the site's own identity; set backend = "cpo" in """
        "[site], or use est_url",
    ),
    (
        "[[station.evse]]",
        {"id": "1\n[[station.evse]]\nid = 1"},
        'station "CS01" evse[1].id: EVSE 1 is already defined; give each its own id',
    ),
    (
        "[[station.evse]]",
        {"exempt": "true"},
        "dimming: has no controllable EVSE; remove exempt where steuve = true: an exempt EVSE is never "
        "dimmed",
    ),
    (
        "[[dimming.contact]]",
        {"source": '"hems"'},
        'dimming.contact "K1" source: "hems" is no source of contacts; set kind = "contact" in it, or name '
        "another",
    ),
    (
        "[dimming]",
        {"retention_days": '"2 years"'},
        'dimming.retention_days: cannot be "2 years"; did you mean 732?',
    ),
    (
        "[sessions]",
        {"retention_months": '"2 Jahre"'},
        'sessions.retention_months: cannot be "2 Jahre"; did you mean 24?',
    ),
    (
        "[prices]",
        {"pause_above": '"35 ct"'},
        'prices.pause_above: cannot be "35 ct"; write a number from -100 to 100',
    ),
    (
        "[[group]]",
        {"stations": '["CS01", "CS01"]'},
        'group "tenant" stations[1]: "CS01" is in group "tenant" already; remove it',
    ),
    (
        "[[eebus.partner]]",
        {"ski": '"012345678901234567890123456789012345678O"'},
        'eebus.partner[0].ski: "012345678901234567890123456789012345678O" is not an SKI: it has 40 '
        "hexadecimal digits; copy it from the partner's page or label",
    ),
    ("[tariff]", {"pause_above": "0.3"}, "tariff: is not a known key; did you mean prices?"),
    ("[section14a]", {"failsafe_w": "4200"}, "section14a: is not a known key; did you mean dimming?"),
    (
        "[time]",
        {"servers": '["ptbtime1.ptb.de"]'},
        "time.servers: is not a known key; did you mean nts_servers?",
    ),
    (
        "[[webhook]]",
        {"severity": '"high"'},
        'webhook[0].severity: cannot be "high"; did you mean "critical"?',
    ),
]


HINTS = [
    (
        "[eebus]",
        {"port": "502"},
        "eebus.port: 502 is the port of Modbus TCP; write the port of EEBUS, usually 4712",
    ),
    (
        "[time]",
        {"nts_servers": '["pool.ntp.org"]'},
        "time.nts_servers[0]: pool.ntp.org has no NTS: its time cannot be verified; name servers with NTS, "
        'e.g. "ptbtime1.ptb.de" or "time.cloudflare.com"',
    ),
    (
        "[time]",
        {"nts_servers": '["ptbtime1.ptb.de:123", "b.ptb.de"]'},
        "time.nts_servers[0]: 123 is the port of NTP, and keys of NTS come from another; remove :123",
    ),
    (
        "[[card]]",
        {"label": '"04a1b2"'},
        "card[0].label: is the token itself: it would be shown wherever the label is; write a name for the "
        "card, or remove label",
    ),
    (
        "[[backend]]",
        {"node": '"LC1"'},
        'backend "cpo" node: has no effect with mode = "standard"; remove it, or write mode = "overlay"',
    ),
    (
        "[[backend]]",
        {"commands": "[]"},
        'backend "cpo" commands: is empty: the owner of stations may command nothing, not even a remote '
        "start; leave it out in an owner, or list what it may command",
    ),
    (
        "[[backend]]",
        {"observe": '["MeterValues"]'},
        'backend "cpo" observe: has no effect: an owner receives everything; remove it, or name the backend '
        "in the observers of stations",
    ),
    (
        "[[backend]]#1",
        {"group": '"CPO"'},
        'backend "fleet" group: "CPO" and "cpo" are two backends; did you mean "cpo"?',
    ),
    (
        "[[calendar]]",
        {"circuit": '"grid"', "limit_a": "20", "limit_w": "-", "peak_kw": "-"},
        'calendar "night" limit_a: is at or below base_load_a of "grid", 20 A: while the building draws '
        "that, no car charges; write the limit of the whole circuit, with the building",
    ),
    (
        "[[calendar]]",
        {"circuit": '"grid"', "limit_a": "-", "limit_w": "-", "peak_kw": "13"},
        'calendar "night" peak_kw: is at or below base_load_a of "grid", 20 A (13.8 kW): while the building '
        "draws that, no car charges; write the limit of the whole circuit, with the building",
    ),
    (
        "[[circuit]]",
        {"peak_kw": "13"},
        'circuit "grid" peak_kw: is at or below base_load_a of "grid", 20 A (13.8 kW): while the building '
        "draws that, no car charges; write the limit of the whole circuit, with the building",
    ),
    (
        "[mqtt]",
        {"interval_s": "1000"},
        "mqtt.interval_s: changes are published up to 1000 s late; write some seconds, e.g. 5 (s)",
    ),
    (
        "[[dimming.module]]",
        {"interval_s": "30"},
        'dimming.module "io" interval_s: a limit of the grid operator is noticed up to 30 s '
        "late; write 1 (s) or less",
    ),
    (
        "[[dimming.source]]",
        {"settle_s": "5"},
        'dimming.source "box" settle_s: no contact bounces for 5 s, and each limit is late by '
        "it; write some tenths of a second, e.g. 0.3 (s)",
    ),
    (
        "[[dimming.source]]",
        {"lost_after_s": "0.5"},
        'dimming.source "box" lost_after_s: after 0.5 s a single late reading already limits '
        "the site; write a few intervals of its module, e.g. 5 (s)",
    ),
    (
        "[[dimming.source]]",
        {"lost_after_s": "86400"},
        'dimming.source "box" lost_after_s: a dead module goes unnoticed for 86400 s, and a '
        "limit with it; write a few intervals of its module, e.g. 5 (s)",
    ),
    (
        "[[meter]]",
        {"interval_s": "4"},
        'meter "grid" stale_after_s: one lost reading makes the meter stale: the next is due '
        "after 4 s; write three intervals, 12 (s), or a shorter interval_s",
    ),
    (
        "[[meter]]",
        {"frozen_after_s": "3600"},
        'meter "grid" frozen_after_s: a meter that hangs goes unnoticed for 3600 s; write '
        "some tens of seconds, e.g. 30 (s)",
    ),
    (
        "[local_csms]",
        {"meter_values_s": "1"},
        "local_csms.meter_values_s: hardly any station keeps an interval of 1 s; write 10 to 60 (s)",
    ),
    (
        "[local_csms]",
        {"meter_values_s": "900"},
        "local_csms.meter_values_s: what a car draws is unknown for 900 s, and its current "
        "stays booked; write 10 to 60 (s)",
    ),
    (
        "[load_management]",
        {"lease_s": "24"},
        "load_management.lease_s: each station stores a new limit every 16 s, which wears out "
        "its flash memory; write some minutes, e.g. 300 (s)",
    ),
    (
        "[[circuit]]#1",
        {"limit_kva": "400"},
        'circuit "row" limit_kva: has no effect: the circuit carries 27.6 kVA; write the '
        "rated power of the transformer that feeds it (kVA), or remove it",
    ),
    (
        "[[station.evse]]",
        {"max_a": "7.2"},
        'station "CS01" evse[0].max_a: 7.2 A is no rated current; 7.2 kW on one phase are 32 '
        "A; write the rated current of the station per phase in A",
    ),
    (
        "[[station.evse]]",
        {"phase_switching": "true", "phases": '["L1"]'},
        'station "CS01" evse[0].phase_switching: has no effect: the EVSE has one phase; '
        'remove it, or write all phases, e.g. phases = ["L1", "L2", "L3"]',
    ),
    (
        "[eebus]",
        {"consumption_w": "690000"},
        'eebus.consumption_w: 690000 W is more than "grid" carries, 43470 W; write the power '
        "of the connection's contract (W), or leave it out",
    ),
    (
        "[eebus]",
        {"consumption_w": "690"},
        "eebus.consumption_w: 690 W is less than the law leaves a single device, 4200 W; "
        "write the power of the connection's contract (W), or leave it out",
    ),
    (
        "[[eebus.partner]]",
        {"host": '"192.0.2.40"'},
        "eebus.partner[0].host: 192.0.2.40 is a placeholder of an example; write the address of the partner",
    ),
    (
        "[[eebus.partner]]",
        {"port": "502"},
        "eebus.partner[0].port: 502 is the port of Modbus TCP; write the port of its server, usually 4712",
    ),
    (
        "[time]",
        {"nts_servers": '["ptbtime1.ptb.de", "PTBtime1.ptb.de"]'},
        'time.nts_servers[1]: "PTBtime1.ptb.de" is listed twice; remove one of the two',
    ),
    (
        "[time]",
        {"servers_agree": "3", "nts_servers": '["ptbtime1.ptb.de", "ptbtime2.ptb.de"]'},
        "time.servers_agree: 3 servers must agree, and nts_servers lists 2; list more "
        "servers, or write a lower number",
    ),
    (
        "[time]",
        {"chrony_socket": '"127.0.0.1:323"'},
        'time.chrony_socket: "127.0.0.1:323" is not the path of a socket; write the whole '
        'path, e.g. "/run/chrony/chronyd.sock"',
    ),
    (
        "[time]",
        {"max_error_s": "1000"},
        "time.max_error_s: an error of 1000 s makes meter values and commands useless; write 1 (s)",
    ),
    (
        "[time]",
        {"max_error_s": "0.001"},
        "time.max_error_s: an error of 0.001 s is less than any time server allows; write 1 (s)",
    ),
    (
        "[[backend]]",
        {"url": '"wss://10.0.0.9/ocpp/{station}"'},
        'backend "cpo" url: 10.0.0.9 is an address, and public certificates are for names; '
        "write the name that is in the backend's certificate, or name its authority in ca",
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal/ocpp/{station}?token=abc"'},
        'backend "cpo" url: has a secret in it, token: URLs are written into logs; put it '
        "into a password_file, if the backend takes Basic authentication",
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal:8080/ocpp/{station}"'},
        'backend "cpo" url: 8080 is the port of ws://; remove :8080, or begin the URL with ws://',
    ),
    (
        "[[backend]]",
        {"url": '"ws://10.0.0.9:4443/ocpp/{station}"'},
        'backend "cpo" url: 4443 is the port of wss://; remove :4443, or begin the URL with wss://',
    ),
    (
        "[[backend]]",
        {"url": '"wss://csms.internal:1883/ocpp/{station}"'},
        'backend "cpo" url: 1883 is the port of MQTT; name the port of its server, usually 443',
    ),
    (
        "[[webhook]]",
        {"url": '"http://hook.internal:443/lc"'},
        "webhook[0].url: 443 is the port of https://; remove :443, or begin the URL with https://",
    ),
    (
        "[[webhook]]",
        {"url": '"https://hook.internal:8080/lc"'},
        "webhook[0].url: 8080 is the port of http://; remove :8080, or begin the URL with http://",
    ),
    ("[mqtt]", {"port": "1884"}, "mqtt.port: 1884 is hardly any server's port; did you mean 1883?"),
    (
        "[mqtt]",
        {"port": "8884"},
        "mqtt.port: 8884 is hardly any server's port; did you mean 8883, with tls = true?",
    ),
    (
        "[mqtt]",
        {"port": "8884", "tls": "true"},
        "mqtt.port: 8884 is hardly any server's port; did you mean 8883?",
    ),
    (
        "[mqtt]",
        {"port": "9001"},
        "mqtt.port: 9001 is usually the port of MQTT over WebSocket, which is not used here; "
        "write the port of MQTT itself, usually 1883",
    ),
    (
        "[mqtt]",
        {"port": "502"},
        "mqtt.port: 502 is the port of Modbus TCP; write the port of its server, usually 1883",
    ),
    (
        "[mqtt]",
        {"host": '"broker.hivemq.com"'},
        "mqtt.host: broker.hivemq.com is a public test broker: everybody reads what is "
        "published there; write the address of your broker",
    ),
    (
        "[mqtt]",
        {"host": '"mqtt.vendor.com"'},
        "mqtt.tls: is false, and readings and states pass through the internet; set tls = true",
    ),
    ("[[meter]]", {"port": "503"}, 'meter "grid" port: 503 is hardly any server\'s port; did you mean 502?'),
    (
        "[[meter]]",
        {"port": "5020"},
        'meter "grid" port: 5020 is hardly any server\'s port; did you mean 502?',
    ),
    (
        "[[meter]]",
        {"port": "5502"},
        'meter "grid" port: 5502 is hardly any server\'s port; did you mean 502?',
    ),
    (
        "[[meter]]",
        {"port": "802"},
        'meter "grid" port: 802 is the port of Modbus over TLS; write the port of its server, usually 502',
    ),
    (
        "[[meter]]",
        {"port": "1883"},
        'meter "grid" port: 1883 is the port of MQTT; write the port of its server, usually 502',
    ),
    (
        "[[meter]]",
        {"unit": "0"},
        'meter "grid" unit: 0 is a unit to which hardly any device answers; write the unit in '
        "the device's settings, usually 1; 255 where it has none",
    ),
    (
        "[[meter]]",
        {"unit": "248"},
        'meter "grid" unit: 248 is a unit to which hardly any device answers; write the unit '
        "in the device's settings, usually 1; 255 where it has none",
    ),
    (
        "[[meter]]",
        {"host": '"127.0.0.1"'},
        'meter "grid" host: 127.0.0.1 is this machine; write the address of the device, '
        "unless a program on this machine passes its values on",
    ),
    (
        "[[meter]]",
        {"host": '"169.254.10.20"'},
        'meter "grid" host: 169.254.10.20 is an address that a device gives itself without '
        "DHCP, each time another; give the device a fixed address, and write that",
    ),
    (
        "[[dimming.module]]",
        {"unit": "0"},
        'dimming.module "io" unit: 0 is a unit to which hardly any device answers; write the '
        "unit in the device's settings, usually 1; 255 where it has none",
    ),
    (
        "[[dimming.module]]",
        {"port": "503"},
        'dimming.module "io" port: 503 is hardly any server\'s port; did you mean 502?',
    ),
    (
        "[[dimming.module]]",
        {"port": "80"},
        'dimming.module "io" port: 80 is the port of a web page; write the port of its Modbus '
        "server, usually 502",
    ),
    (
        "[listen]",
        {"port": "502"},
        "listen.port: 502 is the port of Modbus TCP; write the port of the stations' URL, e.g. 8887",
    ),
    (
        "[listen]",
        {"port": "1883"},
        "listen.port: 1883 is the port of MQTT; write the port of the stations' URL, e.g. 8887",
    ),
    (
        "[listen]",
        {"port": "443"},
        "listen.port: 443 is a port of TLS, and there is no certificate; name certificate and "
        "key, or write the port of the stations' URL, e.g. 8887",
    ),
    ("[web]", {"port": "22"}, "web.port: 22 is the port of SSH; write the port of the page, e.g. 8080"),
    (
        "[web]",
        {"port": "443"},
        "web.port: 443 is a port of TLS, and there is no certificate; name certificate and "
        "key, or write the port of the page, e.g. 8080",
    ),
    (
        "[listen]",
        {"path": '"/ocpp//"'},
        "listen.path: has //, an empty part, which no station's URL has; write one /",
    ),
    (
        "[site]",
        {"timezone": '"CET"'},
        "site.timezone: CET is an abbreviation: the days on which its summer time begins are "
        'those of no country; write the zone of the site, e.g. timezone = "Europe/Berlin"',
    ),
    (
        "[site]",
        {"timezone": '"GMT"'},
        "site.timezone: is GMT: the times of day in [[calendar]] are not those of a clock on "
        'the wall; write the zone of the site, e.g. timezone = "Europe/Berlin"',
    ),
    (
        "[[group]]",
        {"quota_kwh": "-", "guaranteed_a": "-"},
        'group "tenant" id: has no effect: it has no guaranteed_a, no quota_kwh and no [[calendar]] entry; '
        "add one of them, or remove the group",
    ),
    (
        "[[station]]",
        {"circuit": '"east"\n[[circuit]]\nid = "east"\nparent = "row"\nlimit_a = 32\nmeasures = "building"'},
        'circuit "east" measures: has no effect: the circuit has no meter; '
        'name the circuit\'s meter: meter = "..."',
    ),
    (
        "[[calendar]]",
        {
            "mode": '"surplus"',
            "group": '"tenant"\n[[calendar]]\nname = "day"\nstations = ["CS01"]\nmode = "fair"',
        },
        'calendar "day" mode: overrides that of "night" for the same stations at all times; '
        "remove one of the two, or write other times",
    ),
    (
        "[[webhook]]",
        {"url": '"https://hook.internal/lc"\n[[webhook]]\nurl = "https://hook.internal/lc"'},
        "webhook[1].url: is that of another webhook: each alarm is posted twice; remove one of the two",
    ),
    (
        "[overlay]",
        {"learn": '"none"'},
        "overlay: has no effect: no link is in overlay mode; "
        'set mode = "overlay" in the stations and backends that take part, or remove it',
    ),
    (
        "[[station.evse]]",
        {"max_a": "-", "min_a": "-", "max_kw": "22", "fallback_a": "0", "phase_switching": "true"},
        'station "CS01" evse[0].phase_switching: has no effect: a DC station draws from all '
        "phases; remove it",
    ),
    (
        "[[departure]]",
        {"ready_by": '"24:00"'},
        "departure[0].ready_by: is the midnight at which a day ends; keep it if that is meant, "
        'else write the time of the departure, e.g. "06:30"',
    ),
    (
        "[[departure]]",
        {"ready_by": '"00:00"'},
        "departure[0].ready_by: is the midnight at which a day begins; keep it if that is meant, "
        'else write the time of the departure, e.g. "06:30"',
    ),
    (
        "[[departure]]",
        {"cards": '["Anna"]'},
        "departure[0].cards[0]: is neither the label nor the token of a [[card]]; compare it "
        "with label and token there; case counts in labels",
    ),
    (
        "[mqtt]",
        {"root": '"homeassistant/lc"'},
        'mqtt.root: "homeassistant/lc" is below discovery_prefix, where Home Assistant expects '
        'announcements; write other first levels, e.g. root = "local-controller/lc"',
    ),
    (
        "[mqtt]",
        {"root": '"ha"', "discovery_prefix": '"ha/discovery"'},
        'mqtt.discovery_prefix: "ha/discovery" is below root, the topics of the values; write '
        'the prefix that Home Assistant is set to, by default "homeassistant"',
    ),
    (
        "[[web.role]]",
        {"name": '"Viewer"', "permissions": '["stations:read"]'},
        'web.role "Viewer" name: "Viewer" is easily taken for the role "viewer"; choose another name; '
        "viewer, operator and administrator exist without a table",
    ),
    (
        "[[web.role]]",
        {"name": '"admin"', "permissions": '["stations:read"]'},
        'web.role "admin" name: "admin" is easily taken for the role "administrator"; choose another '
        "name; viewer, operator and administrator exist without a table",
    ),
    (
        "[[web.role]]",
        {"name": '"guard"', "permissions": '["stations:read", "stations:read"]'},
        'web.role "guard" permissions[1]: "stations:read" is listed twice; remove one of the two',
    ),
    (
        "[[web.role]]",
        {"name": '"guard"', "permissions": '["stations:run", "stations:*"]'},
        'web.role "guard" permissions[0]: "stations:run" has no effect: "stations:*" contains it; remove it',
    ),
    (
        "[[web.role]]",
        {"name": '"guard"', "permissions": '["sessions:run"]'},
        'web.role "guard" permissions[0]: "sessions:run" permits nothing; did you mean "sessions:read"?',
    ),
    (
        "[mqtt]",
        {"tls": "true", "permissions": '["stations:read"]'},
        'mqtt.permissions[0]: "stations:read" permits nothing; did you mean "stations:edit" or '
        '"stations:run"?',
    ),
    (
        "[[web.role]]",
        {
            "name": '"guard"',
            "permissions": '["stations:read"]\n[[web.role]]\nname = "Guard"\npermissions = ["sessions:read"]',
        },
        'web.role "Guard" name: "Guard" is easily taken for the role "guard"; choose another name; '
        "viewer, operator and administrator exist without a table",
    ),
    (
        "[site]",
        {
            "id": '"lc"',
            "timezone": (
                '"Europe/Berlin"\n[overlay]\nlearn = "all"\n[[overlay.group]]\nid = "g"\nmembers = ["LC2"]\n'
                '[[backend]]\nid = "peer"\nurl = "wss://peer.internal/{station}"\nmode = "overlay"\n'
                'node = "lc-02"'
            ),
        },
        'overlay.group "g" members[0]: no node "LC2" is known here; did you mean "lc-02"?',
    ),
    (
        "[site]",
        {
            "id": '"lc"',
            "timezone": (
                '"Europe/Berlin"\n[overlay]\nlearn = "none"\n[[overlay.group]]\nid = "g"\nmembers = '
                '["lc-9"]\n[[backend]]\nid = "peer"\nurl = "wss://peer.internal/{station}"\nmode = '
                '"overlay"\nnode = "lc-02"'
            ),
        },
        'overlay.group "g" members[0]: no route leads to "lc-9", and with learn = "none" none is '
        "learned; add an [[overlay.route]] to it, or remove it",
    ),
    (
        "[site]",
        {
            "id": '"lc"',
            "timezone": (
                '"Europe/Berlin"\n[overlay]\nlearn = "all"\n'
                '[[overlay.route]]\ndestination = "lc2"\nvia = "peer"\n'
                '[[backend]]\nid = "peer"\nurl = "wss://peer.internal/{station}"\nmode = "overlay"\n'
                'node = "lc-02"'
            ),
        },
        'overlay.route[0].destination: no node "lc2" is known here; did you mean "lc-02"?',
    ),
]


def test_installer_slips_site_without_slips_has_no_findings() -> None:
    assert check_config(SITE, "site.toml")[1:] == ([], [])


@pytest.mark.parametrize(("table", "changes", "expected"), ERRORS)
def test_installer_slips_impossible_value_is_error(
    table: str, changes: dict[str, str], expected: str
) -> None:
    config, errors, _ = check_config(write_into(table, changes), "site.toml")
    assert config is None
    assert expected in map(text_of, errors)


@pytest.mark.parametrize(
    ("table", "changes", "keys"),
    [
        ("[[station]]", {"id": '"CS[40-01]"'}, ['station "CS[40-01]" id']),
        ("[[station]]", {"id": '"CS[1..4]"'}, ['station "CS[1..4]" id']),
        ("[[circuit]]", {"limit_kva": "4"}, ['circuit "grid" limit_kva']),
        ("[[station.evse]]", {"max_kw": "22", "min_a": "-"}, ['station "CS01" evse[0].max_a']),
    ],
)
def test_installer_slips_follow_on_errors_are_left_out(
    table: str, changes: dict[str, str], keys: list[str]
) -> None:
    _, errors, _ = check_config(write_into(table, changes), "site.toml")
    assert [error.key for error in errors] == keys


@pytest.mark.parametrize(
    ("key", "value", "meant"),
    [
        ("backend", '"cpo"', "owner"),
        ("csms", '"cpo"', "owner"),
        ("owners", '["cpo"]', "owner"),
        ("observer", '"fleet"', "observers"),
    ],
)
def test_installer_slips_misspelt_owner_is_one_finding(key: str, value: str, meant: str) -> None:
    _, errors, hints = check_config(write_into("[[station]]", {meant: "-", key: value}), "site.toml")
    expected = f'station "CS01" {key}: is not a known key; did you mean {meant}?'
    assert [text_of(each) for each in [*errors, *hints]] == [expected]


@pytest.mark.parametrize(("table", "changes", "expected"), HINTS)
def test_installer_slips_unusual_value_is_hint(table: str, changes: dict[str, str], expected: str) -> None:
    config, errors, hints = check_config(write_into(table, changes), "site.toml")
    assert config is not None, [text_of(error) for error in errors]
    assert [text_of(hint) for hint in hints] == [expected]


PASTED = [
    ('[[meter]]\nid = "grid"\ndriver = "janitza-umg604"\ntransport = "tcp"\nhost = "10.0.0.20"', "grid"),
    ('[[circuit]]\nid = "grid"\nlimit_a = 63\nfuse = "gG"\nmeter = "grid"\nbase_load_a = 20', "grid"),
    (
        '[[station]]\nid = "CS01"\nowner = "cpo"\ncircuit = "row"\n'
        "[[station.evse]]\nfallback_a = 32\nsteuve = true",
        "CS01",
    ),
    ('[[group]]\nid = "tenant"\nstations = ["CS01"]', "tenant"),
    ('[[priority_class]]\nid = "vip"\npriority = 1\n[[priority_class]]\nid = "vip"\npriority = 2', "vip"),
    ('[[dimming.source]]\nid = "hems"\nkind = "eebus"', "hems"),
    ('[[dimming.module]]\nid = "io"\ntransport = "tcp"\ndriver = "wago-750"\nhost = "10.0.0.30"', "io"),
    ('[[dimming.contact]]\nname = "K1"\nsource = "box"\ninput = 0\nlimit_w = 4200', "K1"),
]


@pytest.mark.parametrize(("table", "name"), PASTED)
def test_installer_slips_table_pasted_twice_is_one_error(table: str, name: str) -> None:
    config, errors, hints = check_config(f"{SITE}{table}\n", "site.toml")
    assert config is None
    assert [error.what for error in errors] == [f'"{name}" is already defined']
    assert [hint for hint in hints if name in hint.key] == []


ADDED = [
    (
        '[[station]]\nid = "CS02"\ncircuit="row"\nowner="cpo"\nevse = [1, 2]',
        'station "CS02" evse: cannot be a list of 2; write each of them as a table: [[station.evse]]',
    ),
    (
        '[[station]]\nid = "CS02"\ncircuit="row"\nowner="cpo"\n[[evse]]\nid = 1',
        "evse: is not a known key; did you mean [[station.evse]] or [[station_defaults.evse]]?",
    ),
    (
        '[station.CS02]\ncircuit="row"\nowner="cpo"',
        'station "CS01" CS02: is not a known key; did you mean [[station]] with id = "CS02"?',
    ),
    ('[meter.x]\ndriver="row"', 'meter "row" x: is not a known key; did you mean [[meter]] with id = "x"?'),
    ('[[contact]]\nname="row"', "contact: is not a known key; did you mean [[dimming.contact]]?"),
    ('[pki]\ndirectory = "pki"', "pki.directory: is not a known key; did you mean folder?"),
]


@pytest.mark.parametrize(("tables", "expected"), ADDED)
def test_installer_slips_added_table_is_one_error(tables: str, expected: str) -> None:
    config, errors, hints = check_config(f"{SITE}{tables}\n", "site.toml")
    assert config is None
    assert [text_of(each) for each in [*errors, *hints]] == [expected]


LISTS = [
    ("[listen]", {"protocols": '["ocpp1.6", "ocpp1.6"]'}, 'listen.protocols[1]: "ocpp1.6"'),
    ("[web]", {"names": '["a.example.org", "A.example.org"]'}, 'web.names[1]: "A.example.org"'),
    (
        "[[backend]]#1",
        {"observe": '["MeterValues", "MeterValues"]'},
        'backend "fleet" observe[1]: "MeterValues"',
    ),
    ("[[departure]]", {"stations": '["CS01", "CS01"]'}, 'departure[0].stations[1]: "CS01"'),
    ("[[departure]]", {"days": '["mon", "mon"]'}, 'departure[0].days[1]: "mon"'),
    ("[[departure]]", {"cards": '["04A1B2", "04a1b2"]'}, 'departure[0].cards[1]: "04a1b2"'),
]


@pytest.mark.parametrize(("table", "changes", "place"), LISTS)
def test_installer_slips_name_twice_in_a_list_is_hint(
    table: str, changes: dict[str, str], place: str
) -> None:
    config, _, hints = check_config(write_into(table, changes), "site.toml")
    assert config is not None
    assert [text_of(hint) for hint in hints] == [f"{place} is listed twice; remove one of the two"]


SYNTAX = [
    ('id = "lc"', "id = 'lc\"", "Unclosed text; close the text with the quote that it begins with"),
    ('id = "lc"', "id = `lc`", 'Invalid value; did you mean id = "lc"?'),
    (
        'id = "lc"',
        'id = "l"c"',
        "Expected the end of the line after the value; write one key = value per line; a decimal has a "
        "point, 1.5, and no leading 0",
    ),
    ('id = "lc"', 'id = "lc",', 'Expected the end of the line after the value; did you mean id = "lc"?'),
    (
        'observers = ["fleet"]',
        'observers = "fleet", "cpo"',
        'Expected the end of the line after the value; did you mean observers = ["fleet", "cpo"]?',
    ),
    (
        'observers = ["fleet"]',
        'observers = ["fleet, "cpo"]',
        'Unclosed list; did you mean observers = ["fleet", "cpo"]?',
    ),
    (
        'observers = ["fleet"]',
        'observers += ["fleet"]',
        'Expected "=" after a key; did you mean observers = ["fleet"]?',
    ),
    (
        'observers = ["fleet"]',
        "observers = ['fleet]",
        "Unclosed text; close the text with the quote that it begins with",
    ),
    (
        "voltage = 230",
        "voltage == 230",
        'Invalid value; did you mean voltage = 230; as text: voltage = "230"?',
    ),
    (
        "voltage = 230",
        "voltage := 230",
        'Expected "=" after a key; did you mean voltage = 230; as text: voltage = "230"?',
    ),
    (
        "limit_a = 63",
        "limit_a = 4.6kVA",
        "Expected the end of the line after the value; write the number alone, in A",
    ),
    (
        "voltage = 230",
        "interval_s = 500ms",
        "Expected the end of the line after the value; did you mean interval_s = 0.5?",
    ),
    (
        "limit_a = 63",
        "limit_w = 43kW",
        "Expected the end of the line after the value; did you mean limit_w = 43000?",
    ),
    *(
        ("[web]", f"{comment}\n[web]", "Invalid statement; a comment begins with #: # the page")
        for comment in ("// the page", "/* the page */", "; the page", "<!-- the page -->", "* the page")
    ),
    ("[web]", "//\n[web]", "Invalid statement; a comment begins with #"),
    (
        "[web]",
        "[web]  // the page",
        "Expected the end of the line after the value; a comment begins with #: [web]  # the page",
    ),
    (
        'url = "https://hook.internal/lc"',
        'url = "https://hook.internal/lc" ; the hook',
        "Expected the end of the line after the value; a comment begins with #: "
        'url = "https://hook.internal/lc"  # the hook',
    ),
    (
        'url = "https://hook.internal/lc"',
        "url = https://hook.internal/lc",
        'Invalid value; did you mean url = "https://hook.internal/lc"?',
    ),
    (
        'id = "lc"',
        'id = ""lc""',
        'Expected the end of the line after the value; did you mean id = "lc"?',
    ),
    (
        "[[meter]]",
        "[meter]  # the first",
        "Invalid TOML: [meter] is a single table, and there are several; did you mean [[meter]]?",
    ),
    (
        "[web]",
        "[[web]",
        "The name of the table is not closed; close the name of the table: [table], or [[table]]",
    ),
    (
        "[web]",
        "[web]:",
        "Expected the end of the line after the value; close the name of the table: [table], or [[table]]",
    ),
    ("[web]", "[ [web] ]", "Invalid name of a key; close the name of the table: [table], or [[table]]"),
    (
        "[web]",
        "<<<<<<< HEAD\n[web]",
        "Invalid statement; remove the marks of the merge, and one of the two versions",
    ),
    ("[site]", "site:", 'Expected "=" after a key; did you mean [site]?'),
    (
        "voltage = 230",
        "voltage = 230;",
        "Expected the end of the line after the value; did you mean voltage = 230?",
    ),
    (
        "limit_a = 63",
        "limit_a = 63.5 // A",
        "Expected the end of the line after the value; a comment begins with #: limit_a = 63.5  # A",
    ),
    (
        "limit_a = 63",
        "limit_a = 80%",
        "Expected the end of the line after the value; write the quantity itself, or a part of 1 "
        "like 0.8: percentages are not known here",
    ),
    (
        "limit_a = 63",
        "limit_a = 63.",
        "Expected the end of the line after the value; did you mean limit_a = 63?",
    ),
    (
        "limit_a = 63",
        "limit a = 63",
        'Expected "=" after a key; the name of a key has only a to z, 0 to 9, - and _',
    ),
    (
        "limit_a = 63",
        "gr\u00f6\u00dfe_a = 63",
        'Expected "=" after a key; the name of a key has only a to z, 0 to 9, - and _',
    ),
    (
        "limit_a = 63",
        "- limit_a = 63",
        'Expected "=" after a key; the name of a key has only a to z, 0 to 9, - and _',
    ),
    (
        "limit_a = 63",
        "limit_a\u00a0= 63",
        'Expected "=" after a key; the line has a character that is not shown (U+00A0): type it anew',
    ),
    (
        "limit_a = 63",
        "\u200blimit_a = 63",
        "Invalid statement; the line has a character that is not shown (U+200B): type it anew",
    ),
    ("limit_a = 63", "limit_a =", "Invalid value; write a value after =, or remove the line"),
    ("limit_a = 63", "limit_a = null", "Invalid value; remove the line: a key without a value is left out"),
    ('id = "lc"', 'id = "l\0c"', "Illegal character '\\x00'; remove the character"),
    ('id = "lc"', 'id = "lc', "Unclosed text; close the text with a quote on its line"),
    ("pause_above = 0.35", "pause_above = \u22120.35", "Invalid value; did you mean pause_above = -0.35?"),
    (
        'token = "04A1B2"',
        'token = "04A1B2"\nvalid_until = 31.12.2027',
        "Expected the end of the line after the value; did you mean valid_until = 2027-12-31?",
    ),
    (
        'token = "04A1B2"',
        'token = "04A1B2"\nvalid_until = 2027-2-1',
        "Expected the end of the line after the value; did you mean valid_until = 2027-02-01?",
    ),
    (
        'token = "04A1B2"',
        'token = "04A1B2"\nvalid_until = 2027-02-30',
        "Invalid date or time; write a day that there is, like 2027-12-31",
    ),
    ('observers = ["fleet"]', 'observers = ("fleet")', 'Invalid value; did you mean observers = ["fleet"]?'),
    (
        'observers = ["fleet"]',
        'observers = {"fleet"}',
        'Expected "=" after a key; did you mean observers = ["fleet"]?',
    ),
    ('observers = ["fleet"]', "observers = [fleet]", 'Invalid value; did you mean observers = ["fleet"]?'),
    (
        'observers = ["fleet"]',
        'observers = ["fleet" "cpo"]',
        'Unclosed list; did you mean observers = ["fleet", "cpo"]?',
    ),
    (
        'observers = ["fleet"]',
        'observers = ["fleet"; "cpo"]',
        'Unclosed list; did you mean observers = ["fleet", "cpo"]?',
    ),
    (
        'observers = ["fleet"]',
        'observers = ["fleet"',
        'Unclosed list; separate by commas and close with ]: ["a", "b"]',
    ),
    (
        '[mqtt]\nhost = "10.0.0.50"',
        'mqtt = {\nhost = "10.0.0.50"\n}',
        "Invalid name of a key; write a table in braces on one line, without a comma at its end",
    ),
    (
        '[mqtt]\nhost = "10.0.0.50"',
        'mqtt = { host = "10.0.0.50", }',
        "Invalid name of a key; write a table in braces on one line, without a comma at its end",
    ),
]


@pytest.mark.parametrize(("right", "wrong", "expected"), SYNTAX)
def test_installer_slips_syntax_error_has_its_remedy(right: str, wrong: str, expected: str) -> None:
    assert right in SITE
    config, errors, _ = check_config(SITE.replace(right, wrong, 1), "site.toml")
    assert config is None
    assert [f"{error.what}; {error.remedy}" for error in errors] == [expected]


EMPTY_TABLES = (
    "[[backend]]\n",
    "[[battery]]\n",
    "[battery]\n",
    "[[calendar]]\n",
    "[[card]]\n",
    "[[departure]]\n",
    "[dimming]\n[[dimming.contact]]\n[[dimming.module]]\n[[dimming.source]]\n",
    "[eebus]\n[[eebus.partner]]\n",
    "[[group]]\n",
    "[[meter]]\n[[meter.share]]\n",
    "[mqtt]\n",
    "[overlay]\n[[overlay.group]]\n[[overlay.route]]\n",
    "[pki]\n",
    "[[priority_class]]\n",
    "[[station]]\n[[station.evse]]\n",
    "[web]\n[[web.role]]\n",
    "[[webhook]]\n",
)


@pytest.mark.parametrize("tables", EMPTY_TABLES)
def test_installer_slips_empty_table_lacks_its_keys(tables: str) -> None:
    config, errors, _ = check_config(tables, "site.toml")
    assert config is None
    assert "site" in [error.key for error in errors]
