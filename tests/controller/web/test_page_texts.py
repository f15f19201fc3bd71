"""Texts of the page: each in English and German, with the same values."""

from __future__ import annotations

import re

import pytest

from controller.session_ledger.session_recorder import NOT_REPORTED
from controller.timekeeping.clock_status import ClockState
from controller.web.page import ASSETS
from tests.controller.ocpp.schemas import end_reasons

SOURCE = ASSETS["/assets/texts.js"].body.decode()
PAIR = re.compile(
    r'(?:^|[ ,])"?([a-z_]\w*(?:[.][\w./-]+)?)"?: "((?:[^"\\]|\\.)*)"', re.MULTILINE | re.IGNORECASE
)


def texts(language: str) -> dict[str, str]:
    block = SOURCE.partition(f"const {language} = {{")[2].partition("\n};")[0]
    return dict(PAIR.findall(block))


ENGLISH, GERMAN = texts("EN"), texts("DE")


def test_page_texts_each_key_is_in_both_languages_with_its_values() -> None:
    assert set(ENGLISH) == set(GERMAN)
    for key, english in ENGLISH.items():
        assert set(re.findall(r"\{(\w+)\}", english)) == set(re.findall(r"\{(\w+)\}", GERMAN[key])), key


@pytest.mark.parametrize("catalogue", [ENGLISH, GERMAN])
def test_page_texts_name_each_end_reason_and_clock_state(catalogue: dict[str, str]) -> None:
    expected = {f"end.{reason}" for reason in {*end_reasons(), NOT_REPORTED}}
    expected |= {f"clock.{state.value}" for state in ClockState}
    assert {key for key in catalogue if key.startswith(("end.", "clock."))} == expected


@pytest.mark.parametrize("name", [name for name in ASSETS if name.endswith(".js")])
def test_page_script_imports_no_name_twice(name: str) -> None:
    imports = re.findall(r"^import \{([^}]*)\} from", ASSETS[name].body.decode(), re.MULTILINE)
    names = [each.strip() for names in imports for each in names.split(",")]
    assert len(names) == len(set(names))
