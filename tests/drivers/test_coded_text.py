"""Coded texts: an English template and a German one with the same values, for all that a page shows."""

from __future__ import annotations

import ast
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import controller
import drivers
from controller.tomlcheck.diagnostics import FILE_REMEDIES
from controller.web.page import ASSETS
from drivers.coded_text import (
    CodedText,
    TextParts,
    coded,
    decimal,
    join_and,
    join_or,
    join_texts,
    literal,
    parts_of,
    rebuild_text,
    text_of,
)

PRODUCT = Path(controller.__file__).parent
DRIVERS = Path(drivers.__file__).parent
SOURCE = ASSETS["/assets/findings.js"].body.decode()


def read_table(name: str) -> dict[str, str]:
    block = SOURCE.partition(f"const {name} = {{")[2].partition("\n};")[0]
    entries = re.findall(r'^  ("(?:[^"\\]|\\.)+"): (".*"),$', block, re.MULTILINE)
    return {json.loads(english): json.loads(german) for english, german in entries}


GERMAN = read_table("DE")
RULES = sorted(
    {
        *PRODUCT.glob("config/*.py"),
        *PRODUCT.glob("services/*/*_rules.py"),
        *PRODUCT.glob("tomlcheck/*.py"),
        DRIVERS / "virtual_meter.py",
        PRODUCT / "chargers/quirks.py",
        *PRODUCT.glob("signing/policy_*.py"),
        PRODUCT / "signing/key_entries.py",
    }
)
TEXTS = {"what", "remedy"}
METERING = sorted(
    {
        *DRIVERS.glob("*.py"),
        *DRIVERS.glob("modbus/*.py"),
        *PRODUCT.glob("load_management/metering/*.py"),
        *PRODUCT.glob("timekeeping/*.py"),
        PRODUCT / "dimming/digital_inputs.py",
        PRODUCT / "dimming/dimming_limits.py",
        PRODUCT / "dimming/eebus_source.py",
        PRODUCT / "services/machine/chrony_state.py",
        PRODUCT / "services/access/command_service.py",
    }
)
FAULTS = {
    *("BusError", "ChronyError", "ConnectionClosedError", "DeviceRefusedError", "Diagnosis", "Implausible"),
    *("InputError", "MeterProblem", "ModbusAnswerError", "ModbusTlsError", "SunSpecError"),
    *("TimekeepingError", "TimesyncdError"),
}
"""Errors and structs whose first value is a text of a status: of a meter, an input or the clock."""


def calls(path: Path) -> Iterator[ast.Call]:
    return (each for each in ast.walk(ast.parse(path.read_text())) if isinstance(each, ast.Call))


def is_plain(node: ast.expr) -> bool:
    """Return True for a literal text, also as one side of a condition."""
    match node:
        case ast.IfExp():
            return is_plain(node.body) or is_plain(node.orelse)
        case ast.BoolOp():
            return any(map(is_plain, node.values))
        case ast.BinOp():
            return is_plain(node.left) or is_plain(node.right)
        case ast.Constant():
            return isinstance(node.value, str) and node.value != ""
    return isinstance(node, ast.JoinedStr)


CODED = [path for path in [*PRODUCT.rglob("*.py"), *DRIVERS.rglob("*.py")] if "coded(" in path.read_text()]

TEMPLATES = sorted(
    {
        ast.literal_eval(call.args[0])
        for path in [*PRODUCT.rglob("*.py"), *DRIVERS.rglob("*.py")]
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == "coded"
    }
)


def test_coded_text_is_english_with_template_and_values() -> None:
    text = coded("did you mean {meant}?", meant=join_or(["host", "port", "unit"]))
    assert text == "did you mean host, port or unit?"
    assert (text.template, text.values) == ("did you mean {meant}?", {"meant": "host, port or unit"})
    assert join_or(["host"]) == join_and(["host"]) == "host"
    assert join_and(["L1", "L2", "L3"]) == "L1, L2 and L3"
    assert join_texts(["a", "b"]) == "a; b"
    assert join_texts([]) == ""


def test_coded_text_is_the_same_after_a_file() -> None:
    inner = coded("did you mean {meant}?", meant="host")
    text = coded("{text}; {others}", text=inner, others="{}")
    parts = parts_of(text)
    assert parts is not None
    rebuilt = rebuild_text(msgspec.json.decode(msgspec.json.encode(parts), type=TextParts))
    assert rebuilt == text == "did you mean host?; {}"
    assert parts_of(rebuilt) == parts
    assert (parts_of("plain"), rebuild_text("plain")) == (None, "plain")


def test_coded_text_decimal_has_a_comma_in_german() -> None:
    text = coded("it shows {frequency} Hz; check its register map", frequency=decimal(49.95))
    assert text == "it shows 49.95 Hz; check its register map"
    assert GERMAN[decimal(-12.5).template] == "{whole},{fraction}"
    assert (decimal(-12.5), decimal(1.0), decimal(3.0, ".1f")) == ("-12.5", "1", "3.0")


def test_coded_text_number_of_a_file_has_a_point_in_each_language() -> None:
    text = coded("did you mean {meant} (kW)?", meant=literal(3.7))
    assert (text, text.values) == ("did you mean 3.7 (kW)?", {"meant": "3.7"})


@pytest.mark.parametrize("template", TEMPLATES)
def test_coded_text_has_german_text_with_the_same_values(template: str) -> None:
    def named(text: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", text))

    assert named(GERMAN[template]) == named(template)


def test_coded_text_catalogue_has_no_unknown_template() -> None:
    assert set(GERMAN) == set(TEMPLATES)


def test_coded_text_reasons_of_the_system_are_german() -> None:
    assert set(map(os.strerror, FILE_REMEDIES)) <= set(read_table("SYSTEM"))


def test_text_of_error_keeps_its_template() -> None:
    assert text_of(ValueError(coded("is missing"))) == "is missing"
    assert isinstance(text_of(ValueError(coded("is missing"))), CodedText)
    assert text_of(ValueError()) == ""
    assert text_of(OSError(2, "No such file")) == "[Errno 2] No such file"


def test_coded_text_has_one_template_for_each_wording() -> None:
    wordings = [re.sub(r"\{\w+\}", "{}", template) for template in TEMPLATES]
    assert [each for each in wordings if wordings.count(each) > 1 and re.search(r"\w", each)] == []


def _texts_of(call: ast.Call) -> list[ast.expr]:
    """Return the texts among the arguments of a problem or an error without their names."""
    name = call.func.id if isinstance(call.func, ast.Name) else ""
    if name == "Problem":
        return call.args[1:3]
    return call.args if name in {"CardFileError", "PasswordFileError"} else []


@pytest.mark.parametrize("path", RULES, ids=lambda path: path.name)
def test_rule_has_no_text_without_template(path: Path) -> None:
    plain = [
        ast.unparse(text)
        for call in calls(path)
        for text in [
            *(_texts_of(call)),
            *(each.value for each in call.keywords if each.arg in TEXTS),
        ]
        if is_plain(text)
    ]
    assigned = [
        ast.unparse(node)
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and node.targets[0].id in TEXTS
        and is_plain(node.value)
    ]
    assert plain + assigned == []


@pytest.mark.parametrize("path", METERING, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_text_of_status_has_a_template(path: Path) -> None:
    plain = [
        ast.unparse(text)
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id != "coded"
        for text in [
            *(call.args[:1] if call.func.id in FAULTS else []),
            *(
                each.value
                for each in call.keywords
                if each.arg in {"problem", "limitation", "reason", "proof"}
            ),
        ]
        if is_plain(text)
    ]
    assert plain == []


def decimals_in(node: ast.AST) -> list[str]:
    """Return the formatted numbers of a piece of code that may have decimals."""
    return [
        ast.unparse(each)
        for each in ast.walk(node)
        if isinstance(each, ast.FormattedValue)
        and each.format_spec is not None
        and re.search(r"(?<!\.0)[efg]'$", ast.unparse(each.format_spec))
    ]


@pytest.mark.parametrize("path", CODED, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_coded_text_has_decimals_of_both_languages(path: Path) -> None:
    formatted = [
        number
        for call in calls(path)
        if isinstance(call.func, ast.Name) and call.func.id == "coded"
        for number in decimals_in(call)
    ]
    assert formatted == [], "decimal() writes a comma in German, literal() what a file is to have"


@pytest.mark.parametrize(
    "path", [each for each in RULES if each.name.endswith("_rules.py")], ids=lambda path: path.name
)
def test_rule_formats_no_number_outside_of_its_texts(path: Path) -> None:
    assert decimals_in(ast.parse(path.read_text())) == [], "decimal() writes a comma in German"


def test_coded_text_alternatives_are_joined_in_both_languages() -> None:
    joined = [path.name for path in RULES if re.search(r'" (or|and) "\.join', path.read_text())]
    assert joined == [], "join_or and join_and have a German text"
