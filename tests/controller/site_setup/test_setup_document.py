"""The file that answers make: valid, commented, and on a present file nothing but what was asked."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

import pytest

from controller.config.loader import check_config
from controller.config.schema import LoadManagementConfig
from controller.site_setup import SetupError
from controller.site_setup.setup_document import (
    USUAL_FALLBACK_A,
    NewStation,
    SetupDocument,
    SitePlaces,
    add_station,
    set_key,
    write_document,
)
from controller.site_setup.setup_questions import SetupContext, next_section, with_defaults
from tests.controller.site_setup.test_setup_questions import CONTEXT, HOME

ROOT = Path(__file__).parents[3]
EXAMPLES = [ROOT / "etc/controller.toml", *sorted((ROOT / "etc/examples").glob("*.toml"))]


def errors_of(text: str) -> list[str]:
    return [str(each) for each in check_config(text, "controller.toml")[1]]


def changes_of(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-" and line[1:].strip()]


def test_document_of_a_home_is_valid_and_commented() -> None:
    text = write_document("", HOME, CONTEXT, "en")
    assert errors_of(text) == []
    data = tomllib.loads(text)
    assert data["site"] == {"id": "home", "timezone": "Europe/Berlin"}
    assert data["local_csms"] == {"authorization": "free"}
    assert data["circuit"] == [{"id": "grid", "limit_a": 35, "base_load_a": 20}]
    assert data["station"] == [
        {"id": "CS01", "circuit": "grid", "evse": [{"phases": ["L1", "L2", "L3"], "max_a": 16}]}
    ]
    assert "limit_a = 35 # fuse, A per phase" in text
    assert "# Sicherung" in write_document("", HOME, CONTEXT, "de").replace("limit_a = 35 ", "")


def test_document_without_backend_lists_the_cards_that_were_named() -> None:
    answers = {**HOME, "backend.authorization": "cards", "backend.tokens": "04a1b2, 04A1B2;04C3D4"}
    data = tomllib.loads(write_document("", answers, CONTEXT, "en"))
    assert data["local_csms"] == {"authorization": "cards"}
    assert data["card"] == [{"token": "04A1B2"}, {"token": "04C3D4"}]
    free = tomllib.loads(write_document("", {**answers, "backend.authorization": "free"}, CONTEXT, "en"))
    assert "card" not in free


BACKEND = {"backend.kind": "backend", "backend.url": "wss://csms.example/{station}", "backend.away": "strict"}
CONTACT = {"dimming.input": "2", "dimming.on_when": "open", "dimming.limit_w": "4200"}


@pytest.mark.parametrize(
    "more",
    [
        {"dimming.kind": "eebus"},
        {"dimming.kind": "gpio", "dimming.chip": "/dev/gpiochip0", **CONTACT},
        {
            "dimming.kind": "modbus",
            "dimming.host": "192.0.2.21:1502",
            "dimming.module": "wago-750",
            **CONTACT,
        },
        {"dimming.kind": "backend", **BACKEND},
        {"meter.connection": "network", "meter.host": "192.0.2.20", "meter.model": "janitza-umg604/1"},
        {
            "meter.connection": "network",
            "meter.host": "192.0.2.20:503",
            "meter.model": "other",
            "meter.driver": "siemens-pac2200",
            "meter.unit": "7",
        },
        {"page.host": "network", **BACKEND},
        {"connection.limit": "63/63/50"},
    ],
)
def test_document_of_every_answer_is_valid(more: dict[str, str]) -> None:
    answers = {**HOME, **more}
    assert next_section(answers, CONTEXT, "en") is None
    for language in ("en", "de"):
        text = write_document("", answers, CONTEXT, language)
        assert errors_of(text) == []
        assert "\n\n\n" not in text


@pytest.mark.parametrize(
    ("limit", "phases", "fallback_a"),
    [
        ("35", ["L1 L2 L3", "L3 L1 L2"], 0),  # 3 stations of 6 A and 20 A are 38 A
        ("38", ["L1 L2 L3", "L3 L1 L2"], None),
        ("38/38/32", ["L1 L2 L3", "L2"], None),
        ("38/38/31", ["L1 L2 L3", "L3"], 0),
        ("35", ["L1", "L2"], None),
    ],
)
def test_document_fallback_fits_fuse_without_controller(
    limit: str, phases: list[str], fallback_a: int | None
) -> None:
    stations = {f"stations.CS1{number}.phases": each for number, each in enumerate(phases)}
    answers = HOME | stations | {"connection.limit": limit, "stations.more": "CS10 CS11"}
    text = write_document("", with_defaults(answers, CONTEXT, "en"), CONTEXT, "en")
    assert errors_of(text) == []
    assert tomllib.loads(text).get("load_management", {}).get("fallback_a") == fallback_a
    assert ("more than the fuse" in text) == (fallback_a == 0)


def test_document_usual_fallback_is_that_of_the_schema() -> None:
    assert LoadManagementConfig().fallback_a == USUAL_FALLBACK_A


def test_document_serial_meter_has_its_line_settings() -> None:
    port = "/dev/serial/by-id/usb-FTDI"
    context = SetupContext(unknown_stations=CONTEXT.unknown_stations, serial_ports=(port,))
    answers = {**HOME, "meter.connection": port, "meter.model": "eastron-sdm630-v2/2/19200E1"}
    data = tomllib.loads(write_document("", answers, context, "en"))
    assert data["meter"] == [
        {
            "id": "grid",
            "driver": "eastron-sdm630-v2",
            "transport": "rtu",
            "device": port,
            "unit": 2,
            "baud": 19200,
            "parity": "E",
            "stopbits": 1,
        }
    ]
    assert data["circuit"][0]["meter"] == "grid"


def test_document_unusual_places_of_files_are_written() -> None:
    places = SitePlaces(store="/srv/state", host="192.0.2.1", port=9000, web_port=8081)
    data = tomllib.loads(write_document("", HOME, CONTEXT, "en", places))
    assert (data["store"], data["listen"], data["web"]) == (
        {"directory": "/srv/state"},
        {"host": "192.0.2.1", "port": 9000},
        {"port": 8081},
    )


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_document_present_site_without_a_change_stays_as_it_is(path: Path) -> None:
    text = path.read_text()
    context = SetupContext(document=tomllib.loads(text), has_users=True)
    answers = with_defaults({"dimming.kind": "none", "page.host": "local"}, context, "en")
    after = write_document(text, answers, context, "en")
    added = [] if "web" in context.document else ["+ [web] # the page"]
    assert [line for line in changes_of(text, after) if "base_load_a" not in line] == added


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_document_adopted_station_is_the_only_change(path: Path) -> None:
    text = path.read_text()
    document = SetupDocument(text)
    circuit = tomllib.loads(text)["circuit"][-1]["id"]
    station = NewStation(id="NEW", circuit=circuit, phases=("L2",), max_a=16.0, label="Bay 12")
    add_station(document, station, head="adopted today by anna")
    changes = changes_of(text, document.text)
    assert all(line.startswith("+") for line in changes)
    assert len(changes) == 7
    assert tomllib.loads(document.text)["station"][-1]["id"] == "NEW"
    assert "\n[[station]] # adopted today by anna\n" in document.text


def test_document_station_is_added_to_an_empty_list() -> None:
    document = SetupDocument('station = []\n[site]\nid = "lc"\n[[circuit]]\nid = "grid"\nlimit_a = 63\n')
    add_station(document, NewStation(id="CS01", circuit="grid", phases=("L1",), max_a=16.5))
    assert errors_of(document.text) == []
    assert tomllib.loads(document.text)["station"][0]["evse"] == [{"phases": ["L1"], "max_a": 16.5}]


def test_document_without_a_last_line_end_is_changed() -> None:
    text = (
        '[site]\nid = "lc"\n[[circuit]]\nid = "grid"\nlimit_a = 63\n'
        '[[station]]\nid = "A\u2028B"\ncircuit = "grid"'
    )
    document = SetupDocument(text)
    add_station(document, NewStation(id="CS02", circuit="grid", phases=("L1",), max_a=16), head="adopted")
    assert [each["id"] for each in tomllib.loads(document.text)["station"]] == ["A\u2028B", "CS02"]
    assert document.text.startswith(text + "\n")


def test_document_text_in_several_lines_is_not_taken_for_tables() -> None:
    text = '[site]\nid = "lc"\nnote = """\na\n[not.a.table]\nb"""\n'
    document = SetupDocument(text)
    set_key(document.table("web"), "port", 80)
    assert document.text == text + "\n[web]\nport = 80\n"


def test_document_meter_is_replaced_and_its_other_keys_stay() -> None:
    text = (
        '[site]\nid = "lc"\n[[circuit]]\nid = "grid"\nlimit_a = 63\nbase_load_a = 9\nmeter = "main"\n'
        '[[meter]]\nid = "main"\ndriver = "janitza-umg604"\ntransport = "tcp"\nhost = "192.0.2.1"\n'
        "port = 1502\ninvert = true # built in backwards\n[web]\n"
    )
    context = SetupContext(document=tomllib.loads(text), has_users=True)
    given = {"meter.connection": "network", "meter.host": "192.0.2.9", "meter.model": "janitza-umg96/3"}
    answers = with_defaults({**given, "backend.kind": "none", "backend.authorization": "free"}, context, "en")
    after = write_document(text, answers, context, "en")
    assert tomllib.loads(after)["meter"] == [
        {
            "id": "main",
            "driver": "janitza-umg96",
            "transport": "tcp",
            "invert": True,
            "host": "192.0.2.9",
            "unit": 3,
        }
    ]
    assert "invert = true # built in backwards" in after


def test_document_that_is_no_toml_is_rejected() -> None:
    with pytest.raises(SetupError, match="not valid TOML"):
        SetupDocument("[site\n")
