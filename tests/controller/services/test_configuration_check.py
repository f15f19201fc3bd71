"""Findings of the check as the page gets them: English text, and code with values where there is one."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import msgspec

from controller.config.live_keys import plan_reload
from controller.services.configuration_check import find_in_configuration
from tests.scenario.configuration import read_valid_config

TEXT = """[site]
id = "lc"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "gird"
mod = "standard"
priority_class = "vip"
"""

VALID = """[site]
id = "lc"
[[circuit]]
id = "grid"
limit_a = 40
[[station]]
id = "CS01"
circuit = "grid"
"""


def test_configuration_check_finding_has_code_and_values_of_its_text(tmp_path: Path) -> None:
    found = find_in_configuration(TEXT, tmp_path / "controller.toml")
    circuit, key = (msgspec.to_builtins(each) for each in found if each.line in (8, 9))
    assert circuit["text"] == 'station "CS01" circuit: circuit "gird" does not exist; did you mean "grid"?'
    assert circuit["key"] == 'station "CS01" circuit'
    assert circuit["what"] == {"code": "does-not-exist", "values": {"kind": "circuit", "name": "gird"}}
    assert circuit["remedy"] == {"code": "did-you-mean", "values": {"meant": '"grid"'}}
    assert (key["what"]["code"], key["remedy"]["code"]) == ("unknown-key", "did-you-mean")


def test_configuration_check_form_of_value_has_code_inside_code(tmp_path: Path) -> None:
    wrong = TEXT.replace("limit_a = 40", 'limit_a = 40\nmeasures = "roof"')
    found = find_in_configuration(wrong, tmp_path / "controller.toml")
    [measures] = [msgspec.to_builtins(each) for each in found if each.key.endswith("measures")]
    assert measures["remedy"] == {
        "code": "write",
        "values": {"form": {"code": "one-of", "values": {"names": "all, building"}}},
    }


def test_configuration_check_plain_finding_has_no_code(tmp_path: Path) -> None:
    loop = TEXT.replace("limit_a = 40", 'limit_a = 40\nparent = "grid"')
    found = find_in_configuration(loop, tmp_path / "controller.toml")
    [parent] = [each for each in found if each.key.endswith("parent")]
    assert (parent.what, parent.remedy) == (None, None)


def test_configuration_check_names_when_each_change_takes_effect(tmp_path: Path) -> None:
    changed = VALID.replace("limit_a = 40", "limit_a = 63") + "[web]\nport = 8090\n"
    plan = partial(plan_reload, read_valid_config(VALID))
    found = find_in_configuration(changed, tmp_path / "controller.toml", plan)
    effects = {each.key: each.what.code for each in found if each.line is None and each.what is not None}
    assert effects == {"web": "needs-restart", "circuit grid limit_a": "changes"}
    assert {each.severity for each in found} == {"hint"}


def test_configuration_check_unchanged_text_names_no_change(tmp_path: Path) -> None:
    plan = partial(plan_reload, read_valid_config(VALID))
    found = find_in_configuration(VALID, tmp_path / "controller.toml", plan)
    assert [each for each in found if each.line is None] == []
