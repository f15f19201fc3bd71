"""Questions of the setup: which one is next, what is accepted, and what changes with earlier answers."""

from __future__ import annotations

import tomllib
from importlib import resources
from typing import Any

import pytest

from controller.site_setup import setup_texts
from controller.site_setup.setup_questions import (
    MeterChoice,
    MeterScan,
    SetupContext,
    UnknownStation,
    accepted_answers,
    adopted_stations,
    find_problems,
    next_section,
    read_meter,
    scan_target,
    with_defaults,
)

UNKNOWN = UnknownStation(
    id="CS01", address="192.0.2.7", first_seen="2026-11-27T10:04:00Z", vendor="ACME", model="Wallbox"
)
HOME = {
    "site.id": "home",
    "site.timezone": "Europe/Berlin",
    "connection.limit": "35",
    "connection.base_load": "20",
    "meter.connection": "none",
    "backend.kind": "none",
    "backend.authorization": "free",
    "stations.CS01.adopt": "yes",
    "stations.CS01.phases": "L1 L2 L3",
    "stations.CS01.max_a": "16",
    "stations.more": "",
    "dimming.kind": "none",
    "page.host": "local",
    "page.user": "anna",
}
CONTEXT = SetupContext(unknown_stations=(UNKNOWN,), host_name="gateway")


def asked(answers: dict[str, str], context: SetupContext = CONTEXT) -> list[str]:
    """Ids of the questions without a valid answer in the next section."""
    section = next_section(answers, context, "en")
    if section is None:
        return []
    return [each.id for each in section.questions if not each.value]


def test_questions_ask_for_cards_where_listed_ones_alone_may_charge() -> None:
    listed = {**HOME, "backend.authorization": "cards"}
    assert asked(listed) == ["backend.tokens"]
    assert asked({**listed, "backend.tokens": ""}) == asked(HOME)
    assert "backend.tokens" not in accepted_answers({**HOME, "backend.tokens": "04A1B2"}, CONTEXT, "en")
    with_card = SetupContext(document={"card": [{"token": "04A1B2"}]}, unknown_stations=(UNKNOWN,))
    assert "backend.tokens" not in asked(listed, with_card)
    problems = find_problems({**listed, "backend.tokens": "0" * 37}, CONTEXT, "en")
    assert problems == {
        "backend.tokens": "Numbers of at most 36 characters, separated by blanks or commas; "
        f"{'0' * 36} is longer."
    }


def test_questions_first_section_is_the_site_with_host_name() -> None:
    section = next_section({}, CONTEXT, "en")
    assert section is not None
    assert [each.id for each in section.questions] == ["site.id", "site.timezone"]
    assert section.questions[0].default == "gateway"


def test_questions_complete_answers_leave_nothing_open() -> None:
    assert asked(HOME) == []
    assert accepted_answers(HOME, CONTEXT, "en") == HOME


@pytest.mark.parametrize("missing", [name for name in HOME if name != "stations.more"])
def test_questions_each_missing_answer_is_asked(missing: str) -> None:
    answers = {name: value for name, value in HOME.items() if name != missing}
    assert missing in asked(answers)


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("site.id", "two words", "letters, digits"),
        ("site.id", "", "needed"),
        ("site.timezone", "Berlin", "time zone"),
        ("connection.limit", "63/63", "63/63/50"),
        ("connection.limit", "0", "Between 1 and"),
        ("connection.limit", "a lot", "number"),
        ("connection.limit", "63 mA", "number"),
        ("connection.limit", "63 W", "number"),
        ("connection.base_load", "-1", "Between 0 and"),
        ("connection.base_load", "nan", "Between 0 and"),
        ("meter.connection", "/dev/nothing", "One of"),
        ("stations.CS01.phases", "L1 L1 L1", "One of"),
        ("stations.CS01.max_a", "5", "Between 6 and"),
        ("stations.more", "CS02 a/b", "a/b is not one"),
        ("stations.more", "CS[01-40]", "is not one"),
        ("page.host", "everywhere", "local, network"),
        ("page.user", "-", "letters, digits"),
    ],
)
def test_questions_invalid_answer_is_asked_again_with_reason(name: str, value: str, problem: str) -> None:
    answers = {**HOME, name: value}
    assert name in asked(answers)
    assert problem in find_problems(answers, CONTEXT, "en")[name]
    assert find_problems(answers, CONTEXT, "de")[name] != find_problems(answers, CONTEXT, "en")[name]


def test_questions_decimal_comma_and_limit_per_phase_are_read() -> None:
    answers = {**HOME, "connection.limit": "63 / 62,5/50", "connection.base_load": "7,5"}
    accepted = accepted_answers(answers, CONTEXT, "en")
    assert accepted["connection.limit"] == "63/62.5/50"
    assert accepted["connection.base_load"] == "7.5"


def test_questions_number_with_its_unit_is_read() -> None:
    answers = {**HOME, "connection.limit": "63 A / 62.5a/50", "connection.base_load": "7 A"}
    accepted = accepted_answers(answers, CONTEXT, "en")
    assert accepted["connection.limit"] == "63/62.5/50"
    assert accepted["connection.base_load"] == "7"


@pytest.mark.parametrize(
    ("value", "limit"),
    [
        ("3x63", "63"),
        ("3 x 62,5 A", "62.5"),
        ("3X63A", "63"),
        ("3*63", "63"),
        ("3 \u00d7 63 A", "63"),
        ("3", "3"),
    ],
)
def test_questions_limit_as_on_a_fuse_is_read(value: str, limit: str) -> None:
    assert accepted_answers({**HOME, "connection.limit": value}, CONTEXT, "en")["connection.limit"] == limit


@pytest.mark.parametrize("value", ["3x63/63/63", "2x63", "3x", "x63", "3x3x63", "63/63"])
def test_questions_limit_in_another_form_is_rejected(value: str) -> None:
    assert "connection.limit" in find_problems({**HOME, "connection.limit": value}, CONTEXT, "en")


@pytest.mark.parametrize(("value", "limit_w"), [("4200 W", "4200"), ("4.2 kW", None)])
def test_questions_dimming_limit_is_in_watts(value: str, limit_w: str | None) -> None:
    answers = {**HOME, "dimming.kind": "gpio", "dimming.limit_w": value}
    assert accepted_answers(answers, CONTEXT, "en").get("dimming.limit_w") == limit_w


@pytest.mark.parametrize(
    ("value", "chip"), [("/dev/gpiochip0", "/dev/gpiochip0"), ("1", None), ("/dev/", None)]
)
def test_questions_gpio_chip_is_a_device(value: str, chip: str | None) -> None:
    answers = {**HOME, "dimming.kind": "gpio", "dimming.chip": value}
    assert accepted_answers(answers, CONTEXT, "en").get("dimming.chip") == chip
    assert ("dimming.chip" in find_problems(answers, CONTEXT, "en")) == (chip is None)


def test_questions_unknown_station_is_not_adopted_without_consent() -> None:
    complete = with_defaults({}, CONTEXT, "en")
    assert "stations.CS01.adopt" not in complete
    assert adopted_stations({**HOME, "stations.CS01.adopt": "no"}, CONTEXT) == []
    section = next_section({**HOME, "stations.CS01.adopt": ""}, CONTEXT, "en")
    assert section is not None
    text = "CS01: ACME Wallbox, 192.0.2.7, first seen 2026-11-27 11:04. Adopt it?"  # in Berlin
    assert section.questions[0].text == text
    assert section.questions[0].default == ""


def test_questions_station_that_connects_later_is_asked_for() -> None:
    second = UnknownStation(id="CS02", address="192.0.2.8", first_seen="2026-11-27T10:05:00Z")
    context = SetupContext(unknown_stations=(UNKNOWN, second), host_name="gateway")
    assert asked(HOME, context) == ["stations.CS02.adopt", "stations.more"]


@pytest.mark.parametrize("separated", ["CS07 CS08", "CS07,CS08", " CS07, CS08; "])
def test_questions_further_stations_are_asked_for_their_wiring(separated: str) -> None:
    answers = {**HOME, "stations.more": separated}
    open_ids = asked(answers)
    assert open_ids == [f"stations.{each}.{key}" for each in ("CS07", "CS08") for key in ("phases", "max_a")]
    assert with_defaults(answers, CONTEXT, "en")["stations.CS08.max_a"] == "32"


def test_questions_changed_answer_makes_later_ones_apply() -> None:
    answers = {**HOME, "backend.kind": "backend"}
    assert asked(answers) == ["backend.url", "backend.away"]
    answers |= {"backend.url": "wss://csms.example/ocpp", "backend.away": "autonomous"}
    accepted = accepted_answers(answers, CONTEXT, "en")
    assert accepted["backend.url"] == "wss://csms.example/ocpp/{station}"
    assert "backend.authorization" not in accepted


# -- the meter ----------------------------------------------------------------------------------------------


def test_questions_meter_in_the_network_is_searched_then_chosen() -> None:
    answers = {**HOME, "meter.connection": "network", "meter.host": "192.0.2.20"}
    section = next_section(answers, CONTEXT, "en")
    assert section is not None
    assert (section.questions[-1].kind, section.questions[-1].target) == ("scan", "192.0.2.20:502")
    meter = MeterChoice(driver="janitza-umg604", unit=1, serial_number="4711")
    context = SetupContext(unknown_stations=(UNKNOWN,), scans={"192.0.2.20:502": MeterScan(found=(meter,))})
    section = next_section(answers, context, "en")
    assert section is not None
    choices = section.questions[-1].choices
    assert [each.value for each in choices] == ["janitza-umg604/1", "again", "other"]
    assert "4711" in choices[0].text
    assert asked({**answers, "meter.model": "janitza-umg604/1"}, context) == []


def test_questions_search_without_a_find_offers_list_and_repeat() -> None:
    answers = {**HOME, "meter.connection": "network", "meter.host": "192.0.2.20"}
    context = SetupContext(
        unknown_stations=(UNKNOWN,), scans={"192.0.2.20:502": MeterScan(problem="connection refused")}
    )
    section = next_section(answers, context, "en")
    assert section is not None
    question = section.questions[-1]
    assert "connection refused" in question.text
    assert [each.value for each in question.choices] == ["again", "other"]
    assert asked({**answers, "meter.model": "again"}, context) == ["meter.model"]
    assert asked({**answers, "meter.model": "other"}, context) == ["meter.driver", "meter.unit"]


def test_questions_answers_file_names_meter_without_search() -> None:
    answers = {**HOME, "meter.connection": "network", "meter.host": "meter.lan:1502"}
    assert asked({**answers, "meter.model": "eastron-sdm630-v2/3"}) == []
    assert scan_target(answers) == "meter.lan:1502"


@pytest.mark.parametrize("host", ["192.0.2.20:0", "http://192.0.2.20", "a b", "192.0.2.20:99999"])
def test_questions_address_of_meter_is_checked(host: str) -> None:
    answers = {**HOME, "meter.connection": "network", "meter.host": host}
    assert "meter.host" in asked(answers)


@pytest.mark.parametrize(
    "meter",
    [
        MeterChoice(driver="janitza-umg604", unit=1),
        MeterChoice(driver="eastron-sdm630-v2", unit=11, baud=9600, parity="E", stopbits=1),
        MeterChoice(driver="sunspec", unit=126, instance=2),
    ],
)
def test_chosen_meter_is_read_back_from_answer(meter: MeterChoice) -> None:
    assert read_meter(meter.value) == meter


# -- a site that has a configuration -------------------------------------------------------------------------

PRESENT: dict[str, Any] = {
    "site": {"id": "depot", "timezone": "Europe/Vienna"},
    "web": {},
    "backend": [{"id": "cpo", "url": "wss://x/{station}"}],
    "circuit": [{"id": "grid", "limit_a": [63, 63, 50], "meter": "main", "base_load_a": 20}],
    "station": [{"id": "CS01", "circuit": "grid"}],
    "dimming": {},
}


def test_questions_present_site_proposes_its_values() -> None:
    context = SetupContext(document=PRESENT, has_users=True)
    complete = with_defaults({}, context, "en")
    assert complete == {
        "site.id": "depot",
        "site.timezone": "Europe/Vienna",
        "connection.limit": "63/63/50",
        "connection.base_load": "20",
        "meter.connection": "keep",
        "stations.more": "",
    }
    assert next_section(complete, context, "en") is None


def test_questions_existing_site_has_its_stations() -> None:
    context = SetupContext(document=PRESENT, unknown_stations=(UNKNOWN,), has_users=True)
    complete = with_defaults({}, context, "en")
    assert next_section(complete, context, "en") is None
    assert "stations.more" in find_problems({**complete, "stations.more": "CS01"}, context, "en")


def test_questions_adoption_asks_for_circuit_owner_and_dimming() -> None:
    present = {**PRESENT, "circuit": [*PRESENT["circuit"], {"id": "row", "parent": "grid", "limit_a": 32}]}
    context = SetupContext(document=present, has_users=True)
    answers = {**with_defaults({}, context, "en"), "stations.more": "CS02"}
    open_ids = asked(with_defaults(answers, context, "en"), context)
    assert open_ids == ["stations.CS02.steuve", "stations.CS02.circuit", "stations.CS02.owner"]


# -- texts -----------------------------------------------------------------------------------------------


def test_setup_texts_are_complete_in_both_languages() -> None:
    file = resources.files(setup_texts.__package__).joinpath("setup_texts.toml")
    texts = tomllib.loads(file.read_text("utf-8"))
    for key, by_language in texts.items():
        assert by_language.keys() == {"en", "de"}, key
        english, german = (
            {part.partition("}")[0] for part in by_language[each].split("{")[1:]} for each in ("en", "de")
        )
        assert english == german, key
