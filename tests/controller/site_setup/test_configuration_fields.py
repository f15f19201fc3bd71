"""Forms of the configuration: what they show, and that a change touches one key alone."""

from __future__ import annotations

import difflib
import tomllib
from pathlib import Path

import pytest

from controller.config.loader import check_config
from controller.site_setup import AnswerError, SetupError
from controller.site_setup.configuration_fields import (
    ConfigurationField,
    FieldChange,
    change_fields,
    read_field_groups,
)

ROOT = Path(__file__).parents[3]
DEPOT = (ROOT / "etc/controller.toml").read_text()


def fields_of(text: str) -> dict[tuple[str | int, ...], ConfigurationField]:
    return {field.path: field for group in read_field_groups(text) for field in group.fields}


def change(text: str, value: str, *path: str | int) -> str:
    return change_fields(text, [FieldChange(path=path, value=value)])


def changed_lines(before: str, after: str) -> list[str]:
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if line[0] in "+-" and line[1:].strip()]


def test_fields_show_values_as_a_person_writes_them() -> None:
    fields = fields_of(DEPOT)
    assert fields["circuit", 0, "limit_a"].value == "250"
    assert fields["circuit", 0, "margin_a"].value == ""
    assert fields["station", 1, "evse", 0, "phases"].value == "L2 L3 L1"
    assert fields["station", 0, "circuit"].choices == ("grid", "row-a")
    assert fields["station", 0, "owner"].choices == ("cpo",)
    assert fields["backend", 0, "url"].value == "wss://csms.example/ocpp/{station}"
    per_phase = fields_of('[[circuit]]\nid = "grid"\nlimit_a = [63, 63, 50.5]\n')
    assert per_phase["circuit", 0, "limit_a"].value == "63/63/50.5"


def test_fields_of_several_evses_have_the_numbers_of_these() -> None:
    evses = "".join(f"[[station.evse]]\nid = {number}\n" for number in (2, 3))
    fields = fields_of(f'[[station]]\nid = "TW"\ncircuit = "grid"\n{evses}[[station]]\nid = "CS"\n')
    assert fields["station", 0, "evse", 0, "max_a"].evse == 2
    assert fields["station", 0, "evse", 1, "max_a"].evse == 3
    assert fields["station", 1, "evse", 0, "max_a"].evse == 1
    assert fields["station", 0, "circuit"].evse is None


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        (("circuit", 1, "limit_a"), "50", ["- limit_a = 63", "+ limit_a = 50"]),
        (("circuit", 1, "limit_a"), "50/50/40", ["- limit_a = 63", "+ limit_a = [50, 50, 40]"]),
        (("circuit", 1, "limit_a"), "3 x 50 A", ["- limit_a = 63", "+ limit_a = 50"]),
        (("circuit", 1, "limit_a"), "50 A/50 A/40 A", ["- limit_a = 63", "+ limit_a = [50, 50, 40]"]),
        (("circuit", 1, "margin_a"), "2,5", ["+ margin_a = 2.5"]),
        (("circuit", 0, "margin_a"), "auto", ['+ margin_a = "auto"']),
        (("station", 1, "label"), 'Bay "1"', ['+ label = "Bay \\"1\\""']),
        (("station", 1, "evse", 0, "max_a"), "16", ["+ max_a = 16"]),
        (("meter", 0, "interval_s"), "2", ["+ interval_s = 2"]),
        (("meter", 0, "interval_s"), "2 s", ["+ interval_s = 2"]),
    ],
)
def test_fields_change_touches_one_key(path: tuple[str | int, ...], value: str, lines: list[str]) -> None:
    after = change(DEPOT, value, *path)
    assert changed_lines(DEPOT, after) == lines
    assert check_config(after, "controller.toml")[1] == []


def test_fields_comment_behind_a_changed_value_stays() -> None:
    after = change(DEPOT, "200", "circuit", 0, "limit_a")
    assert "limit_a = 200                    # or one for each phase" in after


def test_fields_empty_value_removes_the_key() -> None:
    text = '[site]\nid = "x"\n\n[load_management]\nmargin_a = 2 # spare\nfallback_a = 6\n'
    after = change(text, "", "load_management", "margin_a")
    assert tomllib.loads(after)["load_management"] == {"fallback_a": 6}


def test_fields_missing_table_is_added() -> None:
    text = '[site]\nid = "x"\n\n[[station]]\nid = "CS01"\ncircuit = "grid"\n'
    after = change(text, "2", "load_management", "margin_a")
    assert tomllib.loads(after)["load_management"] == {"margin_a": 2}
    after = change(text, "L2", "station", 0, "evse", 0, "phases")
    assert tomllib.loads(after)["station"] == [
        {"id": "CS01", "circuit": "grid", "evse": [{"phases": ["L2"]}]}
    ]


def test_fields_evse_of_station_defaults_is_not_in_the_form() -> None:
    text = '[[station_defaults.evse]]\nmax_a = 16\n[[station]]\nid = "CS[01-40]"\ncircuit = "grid"\n'
    assert [field.path[-1] for field in fields_of(text).values() if field.path[0] == "station"] == [
        "label",
        "circuit",
    ]


@pytest.mark.parametrize(
    "path", [("site", "id"), ("station", 7, "label"), ("signing", "key"), ("circuit", 0, "id")]
)
def test_fields_key_outside_the_forms_is_rejected(path: tuple[str | int, ...]) -> None:
    with pytest.raises(SetupError, match="not in a form"):
        change(DEPOT, "1", *path)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("circuit", 0, "limit_a"), "much"),
        (("circuit", 0, "limit_a"), "1/2"),
        (("circuit", 0, "margin_a"), "nan"),
        (("station", 1, "evse", 0, "phases"), "L1 L1"),
    ],
)
def test_fields_value_of_another_type_is_rejected(path: tuple[str | int, ...], value: str) -> None:
    with pytest.raises(AnswerError):
        change(DEPOT, value, *path)


def test_fields_value_that_the_check_rejects_is_its_finding() -> None:
    after = change(DEPOT, "grid2", "station", 0, "circuit")
    errors = check_config(after, "controller.toml")[1]
    assert any("grid2" in str(each) for each in errors)
