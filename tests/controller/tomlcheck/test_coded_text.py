"""Coded texts: one code, an English and a German text with the same values."""

from __future__ import annotations

import re

import pytest

from controller.tomlcheck.coded_text import TextCode, coded, join_or
from controller.web.page import ASSETS

SOURCE = ASSETS["/assets/findings.js"].body.decode()
GERMAN = dict(re.findall(r'^  "([a-z-]+)": "(.*)",$', SOURCE, re.MULTILINE))


def test_coded_text_is_english_with_code_and_values() -> None:
    text = coded(TextCode.DID_YOU_MEAN, meant=join_or(["host", "port", "unit"]))
    assert text == "did you mean host, port or unit?"
    assert (text.code, text.values) == (TextCode.DID_YOU_MEAN, {"meant": "host, port or unit"})
    assert join_or(["host"]) == "host"


@pytest.mark.parametrize("code", list(TextCode))
def test_coded_text_has_german_text_with_the_same_values(code: TextCode) -> None:
    def named(template: str) -> set[str]:
        return set(re.findall(r"\{(\w+)\}", template))

    assert named(GERMAN[code.value]) == named(code.template)


def test_coded_text_catalogue_has_no_unknown_code() -> None:
    assert set(GERMAN) == {code.value for code in TextCode}
