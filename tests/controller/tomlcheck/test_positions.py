"""Every key is found on its line, with any text around it."""

from __future__ import annotations

import tomllib
from typing import Any

import pytest
import tomli_w
from hypothesis import given
from hypothesis import strategies as st

from controller.tomlcheck.positions import DataPath, locate_lines

TEXT = '''\
# [not.a.header]
[site]                                  # 2
id = "a # no comment [nor.header]"
voltage = 230  # a comment = with a sign

[[circuit]]                             # 6
id = "grid"
limit_a = [                             # 8
    63,  # ] no end
    63,
    [1, 2],                             # 11
]
note = """
[[circuit]]
id = "in a string \\""" still"""
after = 1                               # 16

[[circuit]]                             # 18
id = 'C:\\'
"quoted.key" = 'x'                      # 20
dotted . "k=e]y" = 1                    # 21

[[circuit.evse]]                        # 23
id = 1
[[circuit.evse]]                        # 25
id = 2
[circuit.evse.more]                     # 27
inline = { a = 1, b.c = [{ d = "}" }] }

["od]d # key"]                          # 30
raw = \'\'\'
x = 1\'\'\'\'\'
last = 1979-05-27 07:32:00Z             # 33
list = [
    { id = 1 },                         # 35
    { id = 2, s = """
""" },                                  # 37
]
'''

PLACES: list[tuple[DataPath, int]] = [
    (("site",), 2),
    (("site", "id"), 3),
    (("site", "voltage"), 4),
    (("circuit",), 6),
    (("circuit", 0), 6),
    (("circuit", 0, "id"), 7),
    (("circuit", 0, "limit_a"), 8),
    (("circuit", 0, "limit_a", 1), 10),
    (("circuit", 0, "limit_a", 2, 1), 11),
    (("circuit", 0, "note"), 13),
    (("circuit", 0, "after"), 16),
    (("circuit", 1), 18),
    (("circuit", 1, "id"), 19),
    (("circuit", 1, "quoted.key"), 20),
    (("circuit", 1, "dotted"), 21),
    (("circuit", 1, "dotted", "k=e]y"), 21),
    (("circuit", 1, "evse"), 23),
    (("circuit", 1, "evse", 0), 23),
    (("circuit", 1, "evse", 0, "id"), 24),
    (("circuit", 1, "evse", 1), 25),
    (("circuit", 1, "evse", 1, "id"), 26),
    (("circuit", 1, "evse", 1, "more"), 27),
    (("circuit", 1, "evse", 1, "more", "inline", "b", "c", 0, "d"), 28),
    (("od]d # key",), 30),
    (("od]d # key", "raw"), 31),
    (("od]d # key", "last"), 33),
    (("od]d # key", "list", 0, "id"), 35),
    (("od]d # key", "list", 1, "s"), 36),
]


@pytest.mark.parametrize(("path", "line"), PLACES, ids=str)
def test_positions_each_place_has_line(path: DataPath, line: int) -> None:
    assert locate_lines(TEXT)[path] == line


def test_positions_equal_those_of_parser() -> None:
    assert set(locate_lines(TEXT)) == set(places(tomllib.loads(TEXT)))


@pytest.mark.parametrize("text", ["", "\n", "# only a comment", "[a]", "a = 1", "a = ''\r\n"])
def test_positions_of_short_texts_are_found(text: str) -> None:
    assert set(locate_lines(text)) == set(places(tomllib.loads(text)))


@pytest.mark.parametrize("odd", ["\u2028", "\u0085", "\u2029"])
def test_positions_only_newline_ends_line(odd: str) -> None:
    assert locate_lines(f'a = "x{odd}y"\nb = 1')[("b",)] == 2


def test_windows_line_ends_are_accepted() -> None:
    assert locate_lines('a = """x\r\n"""\r\n[t]\r\nb = 1\r\n')[("t", "b")] == 4


values = st.recursive(
    st.booleans() | st.integers(-9, 99) | st.floats(allow_nan=False) | st.text(max_size=8) | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(data=st.dictionaries(st.text(max_size=4), values, max_size=4), multiline=st.booleans())
def test_positions_of_written_toml_are_found(data: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps(data, multiline_strings=multiline)
    lines = locate_lines(text)
    read = tomllib.loads(text)
    assert set(lines) == set(places(read))
    rows = text.split("\n")
    for path, line in lines.items():
        if isinstance(path[-1], str) and path[-1].isascii() and path[-1].isalnum():
            assert path[-1] in rows[line - 1]


def places(data: object, path: DataPath = ()) -> list[DataPath]:
    """Every table, element and key of parsed data."""
    found: list[DataPath] = [path] if path else []
    children: list[tuple[str | int, object]] = []
    if isinstance(data, dict):
        children = list(data.items())
    elif isinstance(data, list):
        children = list(enumerate(data))
    for key, value in children:
        found += places(value, (*path, key))
    return found
