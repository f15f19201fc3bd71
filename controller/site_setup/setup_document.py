"""The configuration file that is made of answers: a new one with comments, or the present one changed.

What is not asked stays as it was written, with its comments and its order (tomlkit keeps both).
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, MutableMapping
from difflib import SequenceMatcher
from typing import Any

import msgspec
import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT

from controller.site_setup import SetupError
from controller.site_setup.setup_questions import (
    LOCAL,
    Answers,
    SetupContext,
    accepted_answers,
    adopted_stations,
    backend_names,
    read_host,
    read_meter,
    root_circuit,
    scan_target,
    split_list,
)
from controller.site_setup.setup_texts import Language, setup_text

Parent = MutableMapping[str, Any]
PHASES = ("L1", "L2", "L3")
USUAL_FALLBACK_A = 6.0
"""Default of `fallback_a`."""

SITE_BACKEND, SITE_METER, ROOT_CIRCUIT = "csms", "grid", "grid"
"""Names of what the setup adds."""
KEY_DIRECTORY = "keys"
"""Directory of the key that signs the evidence of dimming, beside the file."""
NETWORK = "0.0.0.0"


class SetupDocument:
    """A configuration text that is changed at single places. Raises SetupError for a text that is no TOML.

    document = SetupDocument(text)
    document.set_key(document.table("site"), "id", "depot")
    document.text
    """

    def __init__(self, text: str) -> None:
        if text and not text.endswith("\n"):
            text += "\n"
        try:
            self.root = tomlkit.parse(text)
        except TOMLKitError as error:
            raise SetupError(f"the configuration is not valid TOML: {error}") from error
        self._before = text

    @property
    def text(self) -> str:
        """Return the changed text. Raises SetupError if it would not mean what it should."""
        text = _separate_tables(self._before, tomlkit.dumps(self.root))
        try:
            is_meant = tomllib.loads(text) == self.root.unwrap()
        except tomllib.TOMLDecodeError:
            is_meant = False
        if not is_meant:
            raise SetupError("the file cannot be changed in this place; change it in an editor")
        return text

    def table(self, name: str, comment: str = "") -> Parent:
        """Return the table [name], which is added at the end if it is missing."""
        if name not in self.root:
            self._separate()
            table = tomlkit.table()
            if comment:
                table.comment(comment)
            self.root.append(name, table)
        found: Parent = self.root[name]
        return found

    def add_table(self, name: str, head: str = "") -> Parent:
        """Add a table [[name]] behind the others of its name, else at the end; `head` is its comment."""
        table = tomlkit.table()
        present = self.root.get(name)
        if isinstance(present, AoT) and present:
            if head:
                table.comment(head)
            present.append(table)
            return present[-1]
        if name in self.root:  # an empty array, as in `station = []`
            del self.root[name]
        self._separate()
        for line in head.splitlines():
            self.root.add(tomlkit.comment(line))
        self.root.append(name, tomlkit.aot())
        tables = self.root[name]
        assert isinstance(tables, AoT)
        tables.append(table)
        return tables[-1]

    def find_table(self, name: str, identity: str, key: str = "id") -> Parent | None:
        """Return the table [[name]] whose `key` is `identity`; None without."""
        return next((each for each in self.root.get(name, []) if each.get(key) == identity), None)

    def _separate(self) -> None:
        """Put an empty line between the last line and a table that follows."""
        if self.root.body:
            self.root.add(tomlkit.nl())


def set_key(table: Parent, name: str, value: Any, comment: str = "") -> None:
    """Set a key where its value differs; a comment behind a key that is there already stays."""
    present: Any = table.get(name)
    plain = present.unwrap() if hasattr(present, "unwrap") else present
    if name in table and plain == value and isinstance(plain, bool) == isinstance(value, bool):
        return
    item = tomlkit.item(value)
    if comment and name not in table:
        item.comment(comment)
    table[name] = item


def add_nested_table(table: Parent, name: str) -> Parent:
    """Add a table [[....name]] to a table, behind the others of its name."""
    if not isinstance(table.get(name), AoT):
        table[name] = tomlkit.aot()
    tables = table[name]
    tables.append(tomlkit.table())
    found: Parent = tables[-1]
    return found


def _separate_tables(before: str, after: str) -> str:
    """Return `after` with one empty line above each table that was added to `before`.

    Only lines that were added are touched: values that are written here have one line each, while a text in
    several lines of the file may look like a table.
    """
    old, new = before.split("\n"), after.split("\n")
    lines: list[str] = []
    for kind, _, _, start, end in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if kind == "equal":
            if lines and lines[-1] and new[start].startswith(("[", "#")) and start > 0:
                lines.append("")
            lines += new[start:end]
            continue
        for line in new[start:end]:
            if line.startswith("[") and lines and lines[-1] and not lines[-1].startswith("#"):
                lines.append("")
            if line or (lines and lines[-1]):
                lines.append(line)
    return "\n".join(lines).rstrip("\n") + "\n"


EVERY_ADDRESS = ("", "0.0.0.0", "::")
"""Hosts by which a listener is at all addresses of the gateway."""
USUAL_PORT = 8887
"""Port of stations in a file that names none."""


class SitePlaces(msgspec.Struct, frozen=True, kw_only=True):
    """Directory of the state and addresses of a new site, where they are not the usual ones.

    `host`, `port`: where stations connect.
    """

    store: str | None = None
    host: str | None = None
    port: int | None = None
    web_port: int | None = None


def write_document(
    text: str,
    answers: Answers,
    context: SetupContext,
    language: Language,
    places: SitePlaces = SitePlaces(),  # noqa: B008 it is immutable
) -> str:
    """Return the configuration file that the answers make of the present one (empty at the first start).

    `places` counts for a new file alone. Raises SetupError.
    """
    given = accepted_answers(answers, context, language)
    document = SetupDocument(text or _head(language))
    _write_site(document, given)
    if not text:
        _write_places(document, places)
    _write_backend(document, given, language)
    _write_connection(document, given, language)
    _write_meter(document, given)
    stations = adopted_stations(given, context)
    _write_dimming(document, given, language)
    for station in stations:
        add_station(document, _station_of(station, given, context), language)
    if not text:
        _write_fallback(document, given, stations, language)
    _write_page(document, given, language)
    return document.text


def _head(language: Language) -> str:
    return "".join(f"# {line}\n" for line in setup_text(language, "comment.head").splitlines())


def _write_site(document: SetupDocument, given: Answers) -> None:
    site = document.table("site")
    set_key(site, "id", given["site.id"])
    if given["site.timezone"] != site.get("timezone", "UTC"):
        set_key(site, "timezone", given["site.timezone"])


def _write_places(document: SetupDocument, places: SitePlaces) -> None:
    if places.store is not None:
        set_key(document.table("store"), "directory", places.store)
    if places.host is not None:
        set_key(document.table("listen"), "host", places.host)
    if places.port is not None:
        set_key(document.table("listen"), "port", places.port)
    if places.web_port is not None:
        set_key(document.table("web"), "port", places.web_port)


def _write_connection(document: SetupDocument, given: Answers, language: Language) -> None:
    identity = root_circuit(document.root).get("id")
    circuit = None if identity is None else document.find_table("circuit", str(identity))
    if circuit is None:
        circuit = document.add_table("circuit")
        set_key(circuit, "id", ROOT_CIRCUIT)
    limits = [plain_number(each) for each in given["connection.limit"].split("/")]
    set_key(
        circuit,
        "limit_a",
        limits[0] if len(limits) == 1 else limits,
        setup_text(language, "comment.limit"),
    )
    base = plain_number(given["connection.base_load"])
    set_key(circuit, "base_load_a", base, setup_text(language, "comment.base_load"))


def _write_fallback(document: SetupDocument, given: Answers, stations: list[str], language: Language) -> None:
    """Let the stations pause without the controller where their usual current would not fit."""
    limits_a = [float(each) for each in given["connection.limit"].split("/")]
    free_a = [each - float(given["connection.base_load"]) for each in limits_a * (3 // len(limits_a))]
    for station in stations:
        for phase in given[f"stations.{station}.phases"].split():
            free_a[PHASES.index(phase)] -= USUAL_FALLBACK_A
    if min(free_a) < 0 and stations:
        comment = setup_text(language, "comment.fallback", usual=f"{USUAL_FALLBACK_A:g}")
        set_key(document.table("load_management"), "fallback_a", 0, comment)


def _write_meter(document: SetupDocument, given: Answers) -> None:
    circuit = document.find_table("circuit", str(root_circuit(document.root)["id"]))
    assert circuit is not None
    place = given["meter.connection"]
    if place == "keep":
        return
    if place == "none":
        circuit.pop("meter", None)
        return
    answer = given["meter.model"]
    found = read_meter(answer)
    name = str(circuit.get("meter", SITE_METER))
    meter = document.find_table("meter", name)
    if meter is None:
        meter = document.add_table("meter")
        set_key(meter, "id", name)
    set_key(meter, "driver", given["meter.driver"] if found is None else found.driver)
    is_serial = place != "network"
    set_key(meter, "transport", "rtu" if is_serial else "tcp")
    for stale in ("host", "port", "device", "baud", "parity", "stopbits", "sunspec_instance", "unit"):
        meter.pop(stale, None)
    if is_serial:
        set_key(meter, "device", scan_target(given))
    else:
        host, port = read_host(given["meter.host"])
        set_key(meter, "host", host)
        if port != 502:
            set_key(meter, "port", port)
    unit = int(given["meter.unit"]) if found is None else found.unit
    if unit != 1:
        set_key(meter, "unit", unit)
    if found is not None and found.instance is not None:
        set_key(meter, "sunspec_instance", found.instance)
    if found is not None and found.baud is not None:
        set_key(meter, "baud", found.baud)
        set_key(meter, "parity", found.parity)
        set_key(meter, "stopbits", found.stopbits)
    set_key(circuit, "meter", name)


def _write_backend(document: SetupDocument, given: Answers, language: Language) -> None:
    if given.get("backend.kind") == "backend":
        backend = document.add_table("backend")
        set_key(backend, "id", SITE_BACKEND)
        set_key(backend, "url", given["backend.url"])
    elif "backend.authorization" in given:
        csms = document.table("local_csms", setup_text(language, "comment.free"))
        set_key(csms, "authorization", given["backend.authorization"])
    for token in split_list(given.get("backend.tokens", "")):
        set_key(document.add_table("card"), "token", token)


class NewStation(msgspec.Struct, frozen=True, kw_only=True):
    """A station to be added, with one EVSE. `phases`: the site's phases on its L1, L2, L3."""

    id: str
    circuit: str
    phases: tuple[str, ...]
    max_a: float
    owner: str | None = None
    when_backend_away: str | None = None
    label: str = ""
    steuve: bool = False


def _station_of(station: str, given: Answers, context: SetupContext) -> NewStation:
    prefix = f"stations.{station}"
    owner = given.get(f"{prefix}.owner")
    if given.get("backend.kind") == "backend":
        owner = SITE_BACKEND
    circuit = given.get(f"{prefix}.circuit", str(root_circuit(context.document).get("id", ROOT_CIRCUIT)))
    return NewStation(
        id=station,
        circuit=circuit,
        phases=tuple(given[f"{prefix}.phases"].split()),
        max_a=plain_number(given[f"{prefix}.max_a"]),
        owner=None if owner == LOCAL else owner,
        when_backend_away=given.get("backend.away"),
        steuve=given.get("dimming.kind", "none") != "none" or given.get(f"{prefix}.steuve") == "yes",
    )


def find_stations_url(root: Mapping[str, Any], places: SitePlaces = SitePlaces()) -> str:  # noqa: B008 it is immutable
    """Return the URL that stations connect to, without their ids; `places`: of a file that names none."""
    listen: Mapping[str, Any] = root.get("listen", {})
    scheme = "wss" if listen.get("certificate") else "ws"
    path = str(listen.get("path", "/ocpp")).rstrip("/")
    host = str(listen.get("host", places.host or ""))
    name = "GATEWAY" if host in EVERY_ADDRESS else f"[{host}]" if ":" in host else host
    return f"{scheme}://{name}:{listen.get('port', places.port or USUAL_PORT)}{path}"


def add_station(
    document: SetupDocument, station: NewStation, language: Language = "en", head: str = ""
) -> None:
    """Add the tables of a station, with the comment `head`; [station_defaults] count for what is not set."""
    if not head and not document.root.get("station"):
        head = setup_text(language, "comment.stations", url=find_stations_url(document.root))
    table = document.add_table("station", head)
    set_key(table, "id", station.id)
    if station.label:
        set_key(table, "label", station.label)
    set_key(table, "circuit", station.circuit)
    if station.owner is not None:
        set_key(table, "owner", station.owner)
        if station.when_backend_away is not None:
            set_key(table, "when_backend_away", station.when_backend_away)
    evse = add_nested_table(table, "evse")
    set_key(evse, "phases", list(station.phases), setup_text(language, "comment.phases"))
    set_key(evse, "max_a", plain_number(station.max_a), setup_text(language, "comment.max_a"))
    if station.steuve:
        set_key(evse, "steuve", True, setup_text(language, "comment.steuve"))


def _write_dimming(document: SetupDocument, given: Answers, language: Language) -> None:
    kind = given.get("dimming.kind", "none")
    if kind == "none":
        return
    if kind == "backend":
        owners = backend_names(document.root)
        set_key(document.table("site"), "backend", owners[0])
    signing = document.table("signing")
    if "key" not in signing:
        set_key(signing, "key", KEY_DIRECTORY)
    dimming = document.table("dimming")
    source = add_nested_table(dimming, "source")
    if kind in ("gpio", "modbus"):
        set_key(source, "id", "control-box")
        set_key(source, "kind", "contact")
        set_key(source, "module", "contacts")
        contact = add_nested_table(dimming, "contact")
        set_key(contact, "name", "S1")
        set_key(contact, "source", "control-box")
        set_key(contact, "input", int(given["dimming.input"]))
        set_key(contact, "limit_w", plain_number(given["dimming.limit_w"]))
        set_key(contact, "on_when", given["dimming.on_when"], setup_text(language, "comment.on_when"))
        module = add_nested_table(dimming, "module")
        set_key(module, "id", "contacts")
        if kind == "gpio":
            set_key(module, "transport", "gpio")
            set_key(module, "device", given["dimming.chip"])
        else:
            host, port = read_host(given["dimming.host"])
            set_key(module, "transport", "tcp")
            set_key(module, "driver", given["dimming.module"])
            set_key(module, "host", host)
            if port != 502:
                set_key(module, "port", port)
    elif kind == "eebus":
        set_key(source, "id", "control-box")
        set_key(source, "kind", "eebus")
        document.table("eebus")
    else:
        set_key(source, "id", "backend")
        set_key(source, "kind", "ocpp")


def _write_page(document: SetupDocument, given: Answers, language: Language) -> None:
    if "page.host" not in given:
        return
    web = document.table("web", setup_text(language, "comment.page"))
    if given["page.host"] == "network":
        set_key(web, "host", NETWORK)


def plain_number(value: str | float) -> int | float:
    """Return a number as a person would write it: whole ones without a point."""
    number = float(value)
    return int(number) if number.is_integer() else number
