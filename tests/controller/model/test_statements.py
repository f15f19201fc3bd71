"""Statements in English, and their catalogue in German."""

from __future__ import annotations

import re
from string import Formatter

import msgspec
import pytest

from controller.model.statements import Statement, StatementCode
from controller.web.page import ASSETS

FULL = Statement(code=StatementCode.PHASE_FULL, circuit="grid", phase=1)
WAITS = Statement(code=StatementCode.NO_ROOM, minimum_a=6.0, cause=FULL)
SOURCE = ASSETS["/assets/statements.js"].body.decode()
GERMAN = dict(re.findall(r'^  "([a-z-]+)": "(.*)",$', SOURCE, re.MULTILINE))


def values_of(template: str) -> set[str]:
    return {name for _, name, _, _ in Formatter().parse(template) if name}


@pytest.mark.parametrize("code", list(StatementCode))
def test_statement_code_has_german_text_with_the_same_values(code: StatementCode) -> None:
    assert values_of(code.template) <= set(Statement.__struct_fields__)
    wanted = values_of(code.template)
    assert set(re.findall(r"\{(\w+)\}", GERMAN[code.value])) == wanted


def test_statement_catalogue_has_no_unknown_code() -> None:
    assert set(GERMAN) == {code.value for code in StatementCode}


@pytest.mark.parametrize(
    ("statement", "text", "kind"),
    [
        (
            WAITS,
            "no room for its minimum of 6 A, grid L1 full: waiting",
            "no room for its minimum of ..., grid L1 full: waiting",
        ),
        (
            Statement(code=StatementCode.DIMMED_UNTIL, name="dso", power_w=7560.0, time="14:45"),
            "dimmed by dso to 7.56 kW until 14:45",
            "dimmed by dso to ... until ...",
        ),
        (
            Statement(code=StatementCode.LEAVES, duration_s=7800.0, current_a=14.5),
            "leaves in 2 h 10 min, needs 14.5 A on average",
            "leaves in ..., needs ... on average",
        ),
        (
            Statement(code=StatementCode.STATION_CLOCK_DIFFERS, name="CS01", offset_s=-12.4),
            "the clock of station CS01 differs by -12 s",
            "the clock of station CS01 differs by ...",
        ),
        (
            Statement(code=StatementCode.LIMITS_REFUSED, detail="{name}"),
            "refuses limits ({name})",
            "refuses limits (...)",
        ),
    ],
)
def test_statement_has_units_and_a_kind_without_numbers(statement: Statement, text: str, kind: str) -> None:
    assert (str(statement), statement.kind) == (text, kind)


def test_statement_survives_json_with_its_parts() -> None:
    text = msgspec.json.encode(WAITS)
    assert text == (
        b'{"code":"no-room","minimum_a":6.0,"cause":{"code":"phase-full","circuit":"grid","phase":1}}'
    )
    assert msgspec.json.decode(text, type=Statement) == WAITS
    assert list(WAITS.parts()) == [WAITS, FULL]
