"""Texts of findings as a code with values: English as they are, and to be rendered in another language.

A rule writes its text once: `coded(TextCode.DID_YOU_MEAN, meant='"grid"')` is the English text, and carries
code and values for the page. Texts of rules that are seldom seen are plain.
"""

from __future__ import annotations

import enum
from typing import Self


class TextCode(enum.StrEnum):
    """Code of a text, with its English template; `{name}` stands for a value."""

    template: str

    def __new__(cls, code: str, template: str) -> Self:
        """Make a code with its English template."""
        made = str.__new__(cls, code)
        made._value_ = code
        made.template = template
        return made

    # Problems
    UNKNOWN_KEY = "unknown-key", "is not a known key"
    MISSING = "missing", "is missing"
    CANNOT_BE = "cannot-be", "cannot be {value}"
    CANNOT_BE_IN_UNIT = "cannot-be-in-unit", "cannot be {value} {unit}"
    INVALID_VALUE = "invalid-value", "has an invalid value"
    DOES_NOT_EXIST = "does-not-exist", '{kind} "{name}" does not exist'
    DEFINED_ALREADY = "defined-already", '"{name}" is already defined'

    # Remedies
    DID_YOU_MEAN = "did-you-mean", "did you mean {meant}?"
    DID_YOU_MEAN_IN_UNIT = "did-you-mean-in-unit", "did you mean {meant}? The unit is {unit}, {bounds}"
    NOT_IN_PERCENT = "not-in-percent", "write it in {unit}, not in percent: {form}"
    WRITE = "write", "write {form}"
    PUT_IN_QUOTES = "put-in-quotes", "put it in quotes"
    WRITE_AS_TABLE = "write-as-table", "write it as a table: {table}"
    WRITE_AS_TABLES = "write-as-tables", "write {table} with two brackets: there may be several"
    WRITE_BELOW = "write-below", "write it below {table}"
    KEY_OF = "key-of", "it is a key of {tables}"
    REMOVE_KNOWN_ARE = "remove-known-are", "remove it; known are {names}"
    KNOWN_ARE = "known-are", "known are {names}"
    ADD_KEY = "add-key", "add {key} = ... ({form})"
    ADD_TABLE = "add-table", "add a table: {table}"
    ADD_A = "add-a", "add a {table}"
    GIVE_OWN_ID = "give-own-id", "give each its own id"

    # Values and forms
    ONE_OR_OTHER = "one-or-other", "{others} or {last}"
    A_TABLE = "a-table", "a table"
    EMPTY_LIST = "empty-list", "an empty list"
    LIST_OF = "list-of", "a list of {count}"
    TEXT = "text", "a text"
    WHOLE_NUMBER = "whole-number", "a whole number"
    NUMBER = "number", "a number"
    TRUE_OR_FALSE = "true-or-false", "true or false"
    DATE = "date", "a date, like 2027-12-31"
    TIME = "time", "a time with its zone, like 2026-11-21T12:00:00Z"
    ONE_OF = "one-of", "one of {names}"
    FROM_TO = "from-to", "{kind} from {least} to {most}"
    BOUNDS = "bounds", "from {least} to {most}"
    BOUNDS_ABOVE = "bounds-above", "above {least}, at most {most}"

    # Ports, zones, units, addresses, files, and what is booked without the controller
    TAKEN_BY = "taken-by", "{port} is taken by {other}"
    OTHER_PORT = "other-port", "choose another port"
    PORT_OF = "port-of", "{port} is the port of {service}"
    ODD_PORT = "odd-port", "{port} is hardly any server's port"
    PORT_OF_TLS = "port-of-tls", "{port} is a port of TLS, and there is no certificate"
    PORT_OF_PAGE = "port-of-page", "{port} is the port of a web page"
    REMOVE_PORT = "remove-port", "remove :{port}, or begin the URL with {scheme}://"
    WRITE_SERVER_PORT = "write-server-port", "write the port of its server, usually {port}"
    NAME_SERVER_PORT = "name-server-port", "name the port of its server, usually {port}"
    WRITE_MODBUS_PORT = "write-modbus-port", "write the port of its Modbus server, usually {port}"
    NOT_A_ZONE = "not-a-zone", '"{name}" is not a time zone'
    USE_ZONE = "use-zone", 'use a name like "Europe/Berlin"'
    WRITE_ZONE = "write-zone", 'write the zone of the site, e.g. timezone = "Europe/Berlin"'
    SHORT_ZONE = (
        "short-zone",
        "{name} is an abbreviation: the days on which its summer time begins are those of no country",
    )
    ODD_UNIT = "odd-unit", "{unit} is a unit to which hardly any device answers"
    UNIT_IN_SETTINGS = (
        "unit-in-settings",
        "write the unit in the device's settings, usually 1; {own} where it has none",
    )
    NOT_SERIAL_UNIT = "not-serial-unit", "is not a unit of a serial bus: {unit}"
    USE_UNITS = "use-units", "use 1 to {most}"
    IS_URL = "is-url", '"{host}" is a URL'
    ADDRESS_ALONE = "address-alone", "write the address alone: {form}"
    CONTAINS_PORT = "contains-port", '"{host}" contains a port'
    HOST_AND_PORT = "host-and-port", 'write host = "{host}" and port = {port}'
    NOT_AN_ADDRESS = "not-an-address", '"{host}" is not an address'
    WRITE_HOST = "write-host", "write a host name or an IP address"
    IS_PLACEHOLDER = "is-placeholder", "{host} is a placeholder of an example"
    WRITE_DEVICE_ADDRESS = "write-device-address", "write the address of the device"
    WRITE_OPERATORS_URL = "write-operators-url", "write the URL that the backend's operator has given"
    NO_MEANING_WITH = "no-meaning-with", 'has no meaning with transport "{transport}"'
    REMOVE_OR_TRANSPORT = "remove-or-transport", "remove it, or set transport to {transports}"
    HAS_NO_STATION = "has-no-station", "has no {place}"
    END_WITH_STATION = "end-with-station", 'end it like "/ocpp/{place}"'
    TOO_FEW_WATTS = "too-few-watts", "{power} W is less than any device draws"
    DID_YOU_MEAN_WATTS = "did-you-mean-watts", "did you mean {meant} (W)?"
    OWNER_UNVERIFIED = (
        "owner-unverified",
        "the controller cannot verify who connects while the owner is away: any station "
        "that shows what the owner accepted last is served, without a password if the station showed none",
    )
    PASSWORD_OR_CA = "password-or-ca", "add password_file, or set listen.client_ca"
    STATION_OPEN = "station-open", "is missing: anybody in the network can connect in its place"
    ADD_PASSWORD = "add-password", "add password_file"
    PAGE_IN_CLEAR = (
        "page-in-clear",
        "passwords and tokens pass in the clear: other machines reach the page by http",
    )
    PAGE_CERTIFICATE = (
        "page-certificate",
        'name certificate and key, or set host = "127.0.0.1" with a reverse proxy in front',
    )
    BASE_LOAD_UNSET = (
        "base-load-unset",
        "is not set: that all fallbacks fit without the controller or the meter is checked for "
        "the stations alone",
    )
    ADD_BASE_LOAD = (
        "add-base-load",
        "add the most that draws there beside them (A on each phase), or 0 for nothing",
    )
    WIRE_UNNOTICED = "wire-unnoticed", "with a broken wire the grid operator's limit is lost unnoticed"
    USE_OPENING_CONTACT = (
        "use-opening-contact",
        'use the contact that opens for the limit, and on_when = "open"',
    )
    NO_CIRCUIT_USES = "no-circuit-uses", 'no circuit uses meter "{name}"'
    USE_IN_CIRCUIT = "use-in-circuit", 'set meter = "{name}" in the circuit that it measures, or remove it'
    FILE_UNREADABLE = "file-unreadable", "{file} cannot be read: {reason}"
    CREATE_FILE = "create-file", "create it, readable by the controller's user"
    READABLE_BY_ALL = "readable-by-all", "{file} is readable by everybody on this machine"
    RUN_COMMAND = "run-command", "{command}"
    OVER_COMMITTED = (
        "over-committed",
        "without the controller, {who} take {current} A on {phase}, its limit is {limit} A",
    )
    STATIONS_BELOW = "stations-below", 'the stations below "{circuit}"'
    STATIONS_AND_BASE = (
        "stations-and-base",
        'the stations below "{circuit}" and the declared base load of {base} A',
    )
    LOWER_FALLBACKS = "lower-fallbacks", "lower fallback_a (0: pause), or connect fewer stations there"
    MARGIN_LEAVES_NONE = (
        "margin-leaves-none",
        "margin_a of {margin} A leaves nothing of the limit of {limit} A",
    )

    # When a change takes effect
    NEEDS_RESTART = "needs-restart", "takes effect after a restart only"
    RESTART_AFTERWARDS = (
        "restart-afterwards",
        "run `sudo systemctl restart local-controller` once it is written",
    )
    WAITS = "waits", "waits for the end of a transaction, or until a removed station is gone"
    APPLIED_LATER = "applied-later", "it is applied then, without another reload"
    CHANGES = "changes", "changes"
    APPLIED_AT_ONCE = "applied-at-once", "it is applied at once, without a restart"


class CodedText(str):
    """English text that carries its code and values; a value may be a coded text itself."""

    code: TextCode
    values: dict[str, str]


def coded(code: TextCode, **values: str) -> CodedText:
    """Return the English text of a code with its values."""
    text = CodedText(code.template.format(**values))
    text.code = code
    text.values = values
    return text


def join_or(names: list[str]) -> str:
    """Return names as an enumeration: "a, b or c"."""
    if len(names) == 1:
        return names[0]
    return coded(TextCode.ONE_OR_OTHER, others=", ".join(names[:-1]), last=names[-1])
