"""Load a configuration file as a `Config`: all errors at once, each with its line and remedy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from controller.config.cross_rules import check_tables
from controller.config.derived_currents import with_derived_currents, without_contradictions
from controller.config.file_rules import check_files, check_paths, find_store_hints, with_absolute_paths
from controller.config.hints import find_hints
from controller.config.local_csms_rules import check_card_file
from controller.config.meter_rules import load_user_models
from controller.config.password_files import ConfigError
from controller.config.schema import Config, StationDefaultsConfig
from controller.config.station_expansion import ExpandedStations
from controller.tomlcheck.diagnostics import (
    ErrorDiagnostic,
    HintDiagnostic,
    Problem,
    locate_problems,
    read_text,
)
from controller.tomlcheck.schema_check import SchemaCheck
from controller.tomlcheck.toml_syntax import parse_toml
from drivers.coded_text import coded

Rule = Callable[[Config], Iterable[Problem]]
"""A rule on a whole configuration, for what only a higher layer can check."""

_PLACEHOLDERS: dict[str, object] = {
    "id": "?",
    "token": "?",
    "driver": "?",
    "transport": "tcp",
    "kind": "signed",
    "limit_a": 10_000.0,
    "url": "ws://?/{station}",
    "site": {"id": "?"},
    "circuit": [],
    "name": "?",
    "source": "?",
    "input": 0,
    "destination": "?",
    "via": "?",
    "members": ("?",),
    "stations": ("?",),
    "priority": 0,
    "ready_by": "00:00",
    "energy_kwh": 1.0,
    "meter": "?",
    "host": "?",
    "permissions": ("*:*",),
    "folder": "?",
    "port": 1,
    "ski": "0" * 40,
}
"""For required keys that are wrong or missing, so that the other rules can still be checked."""

_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "address": ("host", "unit"),
    "backend": ("owner",),
    "baudrate": ("baud",),
    "baud_rate": ("baud",),
    "breaker": ("fuse",),
    "broker": ("mqtt",),
    "cards": ("card",),
    "charger": ("station",),
    "chargers": ("station",),
    "charge_point": ("station",),
    "chargepoint": ("station",),
    "charging_station": ("station",),
    "connector": ("evse", "id"),
    "connectors": ("evse",),
    "current": ("max_a", "limit_a"),
    "directory": ("folder",),
    "csms": ("backend", "owner"),
    "current_limit": ("limit_a",),
    "end_time": ("end",),
    "from": ("begin",),
    "fuse_a": ("limit_a",),
    "gateway": ("site",),
    "general": ("site",),
    "id": ("name",),
    "id_tag": ("token", "card"),
    "id_token": ("token", "card"),
    "idtag": ("token", "card"),
    "idtoken": ("token", "card"),
    "ip": ("host",),
    "max_current": ("max_a", "limit_a"),
    "min_current": ("min_a",),
    "members": ("stations",),
    "model": ("driver",),
    "modbus": ("meter",),
    "mqtt_broker": ("mqtt",),
    "network": ("listen",),
    "ntp": ("nts_servers", "time"),
    "ntp_servers": ("nts_servers",),
    "ocpp": ("listen",),
    "name": ("label", "id"),
    "path": ("directory", "folder"),
    "power": ("max_kw",),
    "poll": ("interval_s",),
    "poll_interval": ("interval_s",),
    "poll_s": ("interval_s",),
    "polling": ("interval_s",),
    "prefix": ("root",),
    "ratio": ("ct_ratio",),
    "rfid": ("token", "card"),
    "scale": ("ct_ratio",),
    "start": ("begin",),
    "start_time": ("begin",),
    "section14a": ("dimming",),
    "server": ("host", "backend"),
    "servers": ("nts_servers",),
    "serial": ("device",),
    "slave": ("unit",),
    "slave_id": ("unit",),
    "strategy": ("fairness",),
    "stop_bits": ("stopbits",),
    "tag": ("token", "card"),
    "tags": ("card",),
    "tariff": ("prices",),
    "tariffs": ("prices",),
    "tenant": ("group",),
    "tenants": ("group",),
    "to": ("end",),
    "token": ("card",),
    "tokens": ("card",),
    "type": ("driver", "kind"),
    "topic": ("root",),
    "tz": ("timezone",),
    "uid": ("token", "card"),
    "unit_id": ("unit",),
    "user": ("username",),
    "wallbox": ("station",),
}
"""Other names of keys that installers use; the first name that the table has is suggested."""

_OTHER_VALUES: dict[str, str] = {
    **dict.fromkeys(("d01", "d02", "diazed", "gl", "neozed", "nh", "nh00", "nh000", "nh1", "nh2"), "gG"),
    **dict.fromkeys(("ls-b", "mcb b"), "B"),
    **dict.fromkeys(("ls-c", "mcb", "mcb c"), "C"),
    **dict.fromkeys(("trace", "verbose"), "debug"),
    **dict.fromkeys(("all", "anyone", "everybody", "everyone", "none", "open"), "free"),
    **dict.fromkeys(("list", "rfid", "whitelist"), "cards"),
    **dict.fromkeys(("offline", "local", "standalone"), "autonomous"),
    **dict.fromkeys(("close", "disconnect"), "strict"),
    **dict.fromkeys(("alarm", "error", "fatal", "severity.high"), "critical"),
    **{"severity.low": "info", "below_minimum.reject": "refuse"},
    **dict.fromkeys(("2.0", "ocpp2.0", "ocpp 2.0", "2.0.1j"), "ocpp2.0.1"),
    **dict.fromkeys(("mifare", "nfc", "uid"), "ISO14443"),
    **dict.fromkeys(("d", "k"), "C"),
    **dict.fromkeys(("ethernet", "lan", "modbus tcp", "modbus-tcp", "modbustcp"), "tcp"),
    **dict.fromkeys(("modbus rtu", "modbus-rtu", "modbusrtu", "rs-485", "rs485", "serial", "usb"), "rtu"),
    **dict.fromkeys(("control box", "fnn", "relais", "relay", "rundsteuerung", "steuerbox"), "contact"),
    **dict.fromkeys(("lpc", "ship", "spine"), "eebus"),
    **dict.fromkeys(("nc", "normally closed"), "open"),
    **dict.fromkeys(("no", "normally open"), "closed"),
    **dict.fromkeys(("photovoltaic", "pv", "solar"), "surplus"),
    **{"r": "L1", "s": "L2", "t": "L3"},
    **{"u": "L1", "v": "L2", "w": "L3"},
    **dict.fromkeys(("weekdays", "workdays", "werktags", "mo-fr"), "mon-fri"),
    **dict.fromkeys(("weekend", "weekends", "wochenende"), "sat-sun"),
    **dict.fromkeys(("always", "daily", "every day", "everyday", "t\u00e4glich"), "mon-sun"),
    **dict.fromkeys(("parity.8n1", "parity.8n2", "parity.no"), "N"),
    **{
        "parity.8e1": "E",
        "parity.8o1": "O",
        "1.6j": "ocpp1.6",
        "1.6": "ocpp1.6",
        "rtuovertcp": "rtu-over-tcp",
    },
    **dict.fromkeys(("authorise_when_away.all", "authorise_when_away.any"), "everyone"),
    **dict.fromkeys(("type.rfid", "type.tag", "type.card", "type.chip"), "ISO14443"),
    **dict.fromkeys(("unknown_stations.accept", "unknown_stations.allow"), "pending"),
    **dict.fromkeys(("count.1", "count.all", "count.site", "count.total"), "one"),
    **dict.fromkeys(("count.station", "count.charger", "count.connector", "count.each"), "evse"),
    **dict.fromkeys(("phases.3", "phases.three", "phases.3p", "phases.dreiphasig"), "L1L2L3"),
    **dict.fromkeys(("phases.1", "phases.one", "phases.single", "phases.1p", "phases.einphasig"), "L1"),
    **dict.fromkeys(("mode.eco", "mode.green", "mode.sun", "mode.minpv", "mode.excess"), "surplus"),
    **dict.fromkeys(("mode.fast", "mode.now", "mode.grid", "mode.normal"), "fair"),
    **dict.fromkeys(("level.off", "level.none", "level.quiet", "level.critical", "level.err"), "error"),
    **dict.fromkeys(("language.german", "language.deutsch", "language.ger", "language.de_de"), "de"),
    **dict.fromkeys(("language.english", "language.englisch", "language.eng", "language.en_us"), "en"),
    **dict.fromkeys(("clock.ntp", "clock.nts", "clock.sync", "clock.synced"), "synchronised"),
    **dict.fromkeys(("clock.any", "clock.local", "clock.rtc"), "believed"),
    **dict.fromkeys(("reports_on.site", "reports_on.house", "reports_on.building"), "grid"),
    **dict.fromkeys(("fuse.sls", "fuse.none", "fuse.e", "fuse.ls-e"), "plain"),
    **dict.fromkeys(
        (
            "fairness.equal",
            "fairness.fair",
            "fairness.round-robin",
            "fairness.time",
            "fairness.rotate",
            "fairness.rotation",
        ),
        "turns",
    ),
    **dict.fromkeys(("fairness.rotate", "fairness.rotation"), "turns"),
    **dict.fromkeys(("measures.total", "measures.grid", "measures.everything"), "all"),
    **dict.fromkeys(("measures.house", "measures.rest", "measures.others"), "building"),
    **{"di": "tue", "do": "thu", "mi": "wed", "so": "sun"},
    **{"dienstag": "tue", "donnerstag": "thu", "mittwoch": "wed", "sonntag": "sun"},
}
"""Other names of choices that installers use, lower case; KEY.NAME holds for that key alone."""


_USER_KEYS = ("user", "username")
_USERS = coded("users are not in this file: add them with `local-controller user add NAME`")
_TOKENS = coded(
    "tokens are not in this file: make them with `local-controller user token NAME RESOURCE:VERB`"
)
_USER_NAME = coded("remove it: the user name is always the station's id")
_TLS = coded("name certificate and key: TLS is on with both")
_SECRET = coded("no secrets in this file: write it into a file of its own, and name that in password_file")
_STATION_CONNECTS = coded("remove it: the station connects by itself, to the address and path in [listen]")
_SWITCH = coded("remove the line: a table that is in the file is on; to switch it off, remove the table")
_REGISTERS = coded('registers are in a file of its own: driver = "file:NAME.toml"')
_KEY_REMEDIES: dict[str, str] = {
    **dict.fromkeys(("backend.token", "backend.api_key", "backend.secret", "mqtt.token"), _SECRET),
    **dict.fromkeys(
        (f"station.{key}" for key in ("address", "host", "ip", "ip_address", "port", "url")),
        _STATION_CONNECTS,
    ),
    **dict.fromkeys(("active", "disabled", "enable", "enabled"), _SWITCH),
    **dict.fromkeys(
        (f"meter.{key}" for key in ("function", "function_code", "register", "registers")), _REGISTERS
    ),
    "password": _SECRET,
    **dict.fromkeys(("web.user", "web.users", "web.password", "web.admin_password", "user", "users"), _USERS),
    **dict.fromkeys(("web.token", "web.tokens", "web.api_key", "web.api_token"), _TOKENS),
    **dict.fromkeys((f"{table}.{key}" for table in ("backend", "station") for key in _USER_KEYS), _USER_NAME),
    "station_defaults.id": coded("write it in [[station]]: each station has its own"),
    "mqtt.user": coded("did you mean {meant}?", meant="username"),
    **dict.fromkeys(("listen.tls", "listen.ssl", "web.tls", "web.ssl", "web.https"), _TLS),
    **dict.fromkeys(
        ("log.file", "log.path", "log.directory"),
        coded("the log is in the journal: `journalctl -u local-controller`"),
    ),
}
"""Remedies for keys that installers look for and whose setting is elsewhere."""


_VALUE_REMEDIES: dict[str, str] = {
    "meter.baud": coded("write the baud rate alone, e.g. 9600; parity and stopbits have keys of their own"),
    "circuit.fuse": coded('write its curve, "gG", "B", "C" or "plain"; its rated current is limit_a (A)'),
    "dimming.contact.input": coded("write its number on the module, counted from 0: the first input is 0"),
    "dimming.contact.on_when": coded(
        'write the state of the input while the limit holds, "open" or "closed"'
    ),
    "meter.ct_ratio": coded("write primary divided by secondary current: 200/5 A is 40"),
    "site.voltage": coded("write the voltage between line and neutral, e.g. 230 (V)"),
}
"""Remedies for keys whose type does not state what is to be written there."""


class InvalidConfigError(ConfigError):
    """The file can be read, but has errors."""

    def __init__(self, errors: list[ErrorDiagnostic], hints: list[HintDiagnostic]) -> None:
        super().__init__(f"{len(errors)} errors")
        self.errors = errors
        self.hints = hints


def read_config(
    path: Path,
    error_rules: Iterable[Rule] = (),
    hint_rules: Iterable[Rule] = (),
    *,
    plan_only: bool = False,
) -> tuple[Config, list[HintDiagnostic]]:
    """Read a configuration file and check it with the files that it names.

    `plan_only`: of these only the ones that say how the current is shared, for a simulation.
    Raises FileUnreadableError if there is no text to read, InvalidConfigError if it has errors.
    """
    text = read_text(path)
    config, errors, hints = check_config(
        text, str(path), path.parent, error_rules, hint_rules, plan_only=plan_only
    )
    if config is None:
        raise InvalidConfigError(errors, hints)
    return config, hints


def check_config(
    text: str,
    file: str,
    folder: Path | None = None,
    error_rules: Iterable[Rule] = (),
    hint_rules: Iterable[Rule] = (),
    *,
    plan_only: bool = False,
) -> tuple[Config | None, list[ErrorDiagnostic], list[HintDiagnostic]]:
    """Return the configuration of a text with all errors and hints, in the order of the file.

    The Config is None where there are errors. Paths are relative to `folder`; None leaves out the files.
    """
    data = parse_toml(text, file)
    if isinstance(data, ErrorDiagnostic):
        return None, [data], []
    model_problems, model_hints = ([], []) if folder is None else load_user_models(data, folder)
    schema = SchemaCheck(Config, _PLACEHOLDERS, _OTHER_NAMES, _OTHER_VALUES, _KEY_REMEDIES, _VALUE_REMEDIES)
    expanded, stations = _expand_stations(data, schema)
    tables = schema.check_table(Config, expanded, ())
    config, contradictions = without_contradictions(msgspec.convert(tables, Config), tables)
    config = with_derived_currents(config)
    found = stations.problems + contradictions + check_tables(config) + list(check_paths(config))
    remarks = find_hints(config) + model_hints
    if folder is not None:
        config = with_absolute_paths(config, folder)
        replaced = {problem.path for problem in model_problems}  # else they would be reported as unknown, too
        found = [problem for problem in found if problem.path not in replaced] + model_problems
        wrong = {problem.path for problem in found}  # their files and addresses are not meant
        found += [each for each in check_files(config, plan_only=plan_only) if each.path not in wrong]
        found += [] if plan_only else check_card_file(config)
        found += [each for rule in error_rules for each in rule(config) if each.path not in wrong]
        remarks += find_store_hints(config, folder)
        remarks += [problem for rule in hint_rules for problem in rule(config)]
    wrong = {problem.path for problem in found}
    found = [each for each in found if each.depends_on == each.path or each.depends_on not in wrong]
    found = stations.fold_unknown(found)
    found = schema.problems + [problem for problem in found if not schema.is_consequence(problem)]
    found = stations.to_file(found)
    errors = locate_problems(found, text, data, file, ErrorDiagnostic)
    wrong = {problem.path for problem in found}
    # A hint at a table with an error in it follows from the error.
    wrong |= {path[:length] for path in wrong for length in range(1, len(path))}
    remarks = [each for each in stations.to_file(remarks) if not {each.path, each.depends_on} & wrong]
    remarks = [problem for problem in remarks if not schema.is_consequence(problem)]
    hints = locate_problems(remarks, text, data, file, HintDiagnostic)
    return None if errors else config, errors, hints


def _expand_stations(data: dict[str, Any], schema: SchemaCheck) -> tuple[dict[str, Any], ExpandedStations]:
    """Return the data with single [[station]] tables that are complete; checks [station_defaults]."""
    defaults: dict[str, object] = {}
    if "station_defaults" in data:
        place = ("station_defaults",)
        defaults = schema.check_table(StationDefaultsConfig, data["station_defaults"], place)
    tables = data.get("station")
    stations = ExpandedStations(tables if isinstance(tables, list) else [], defaults)
    rest = {key: value for key, value in data.items() if key != "station_defaults"}
    return rest | ({"station": stations.tables} if isinstance(tables, list) else {}), stations
