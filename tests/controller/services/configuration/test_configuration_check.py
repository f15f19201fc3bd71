"""Findings of the check as the page gets them: English text, and its template with values."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec
import pytest

from controller.config.live_keys import plan_reload
from controller.config.loader import check_config
from controller.services.configuration.configuration import ERROR_RULES, HINT_RULES
from controller.services.configuration.configuration_check import find_in_configuration
from tests.controller.config.test_installer_slips import ERRORS, HINTS, write_into
from tests.controller.config.test_value_rules import text_of
from tests.scenario.configuration import read_valid_config

VALID = """[site]
id = "lc"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
"""
TEXT = VALID.replace('circuit = "grid"', 'circuit = "gird"') + 'mod = "standard"\npriority_class = "vip"\n'


def test_configuration_check_finding_has_template_and_values(tmp_path: Path) -> None:
    found = find_in_configuration(TEXT, tmp_path / "controller.toml")
    circuit, key = (msgspec.to_builtins(each) for each in found if each.line in (8, 9))
    assert circuit["text"] == 'station "CS01" circuit: circuit "gird" does not exist; did you mean "grid"?'
    assert circuit["key"] == 'station "CS01" circuit'
    assert circuit["what"] == {
        "template": '{kind} "{name}" does not exist',
        "values": {"kind": "circuit", "name": "gird"},
    }
    assert circuit["remedy"] == {"template": "did you mean {meant}?", "values": {"meant": '"grid"'}}
    assert key["what"]["template"] == "is not a known key"
    assert key["remedy"]["template"] == "did you mean {meant}?"


def test_configuration_check_form_of_value_is_template_in_template(tmp_path: Path) -> None:
    wrong = TEXT.replace("limit_a = 40", 'limit_a = 40\nmeasures = "roof"')
    found = find_in_configuration(wrong, tmp_path / "controller.toml")
    [measures] = [msgspec.to_builtins(each) for each in found if each.key.endswith("measures")]
    assert measures["remedy"] == {
        "template": "write {form}",
        "values": {"form": {"template": "one of {names}", "values": {"names": "all, building"}}},
    }


def test_configuration_check_message_of_parser_has_template(tmp_path: Path) -> None:
    found = find_in_configuration(VALID + "[site]\n", tmp_path / "controller.toml")
    [twice] = [msgspec.to_builtins(each) for each in found]
    assert twice["what"] == {"template": "Cannot declare {table} twice", "values": {"table": "[site]"}}
    assert twice["remedy"]["template"].startswith("the table is there twice")


def test_configuration_check_names_when_each_change_takes_effect(tmp_path: Path) -> None:
    changed = VALID.replace("limit_a = 40", "limit_a = 63") + "[web]\nport = 8090\n"
    plan = partial(plan_reload, read_valid_config(VALID))
    found = find_in_configuration(changed, tmp_path / "controller.toml", plan)
    effects = {each.key: str(each.text).split(": ")[1] for each in found if each.line is None}
    assert effects == {
        "web": "takes effect after a restart only; "
        "run `sudo systemctl restart local-controller` once it is written",
        "circuit grid limit_a": "changes; it is applied at once, without a restart",
    }
    assert {each.severity for each in found} == {"hint"}


def test_configuration_check_unchanged_text_names_no_change(tmp_path: Path) -> None:
    plan = partial(plan_reload, read_valid_config(VALID))
    found = find_in_configuration(VALID, tmp_path / "controller.toml", plan)
    assert [each for each in found if each.line is None] == []


def test_configuration_check_marks_what_the_present_file_has_too(tmp_path: Path) -> None:
    before = VALID.replace("limit_a = 40", "limit_a = 40\ngeneration_a = 99.5")
    changed = "# a line more\n" + before.replace('circuit = "grid"', 'circuit = "grid"\nping_s = 1')
    found = find_in_configuration(changed, tmp_path / "controller.toml", before=before)
    marked = {each.key: each.was_there for each in found}
    assert (marked['circuit "grid" generation_a'], marked['station "CS01" ping_s']) == (True, False)
    again = find_in_configuration(before, tmp_path / "controller.toml", before=before)
    assert again
    assert all(each.was_there for each in again)
    assert not any(each.was_there for each in find_in_configuration(before, tmp_path / "controller.toml"))


@pytest.mark.parametrize(("table", "changes", "expected"), [*ERRORS, *HINTS])
def test_configuration_check_key_has_either_an_error_or_hints(
    tmp_path: Path, table: str, changes: dict[str, str], expected: str
) -> None:
    _, errors, hints = check_config(
        write_into(table, changes), "site.toml", tmp_path, ERROR_RULES, HINT_RULES
    )
    assert expected in map(text_of, [*errors, *hints])
    wrong = [(each.line, each.key) for each in errors]
    assert not {(each.line, each.key) for each in hints} & set(wrong)
    assert len(wrong) == len(set(wrong))
