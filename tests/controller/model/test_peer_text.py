"""Peers' text, bounded and escaped."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.model.peer_text import LONGEST_CHARACTERS, bounded_text, peer_word


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("ABB Terra AC", "ABB Terra AC"),
        ("  Säule 1 ", "Säule 1"),
        ("", ""),
        ("\n\n", ""),
        ("first\nsecond", "first..."),
        ("first\r\n\x1b[2J", "first..."),
        ("\x1b[31mred\x07", "\\x1b[31mred\\x07"),
        ("\u202egpj.exe", "\\u202egpj.exe"),
        ("\ud800", "\\ud800"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 77 + "..."),
        ("\x00" * 40, "\\x00" * 19 + "\\..."),
    ],
)
def test_bounded_text_keeps_first_line_and_escapes_controls(text: str, shown: str) -> None:
    assert bounded_text(text) == shown


@given(st.text(max_size=2000))
def test_bounded_text_of_any_text_is_short_and_printable(text: str) -> None:
    shown = bounded_text(text)
    assert len(shown) <= LONGEST_CHARACTERS
    assert all(character == " " or unicodedata.category(character)[0] not in "C" for character in shown)
    assert "\n" not in shown
    shown.encode()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("5f0c-17", "5f0c-17"),
        ("", '""'),
        ("x station=CP2 reason='forged'", "\"x station=CP2 reason='forged'\""),
        ('x" level="', "\"x' level='\""),
        ("x\nERROR forged", '"x..."'),
        ("x" * 1_000_000, '"' + "x" * 77 + '..."'),
    ],
)
def test_peer_word_is_one_short_value_of_a_log_line(text: str, shown: str) -> None:
    assert peer_word(text) == shown
