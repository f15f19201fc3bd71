"""A mistake is one error: what follows from it in other tables is left out."""

from __future__ import annotations

import re

import pytest

from controller.config.loader import check_config
from tests.controller.config.test_value_rules import text_of

CONFIG = """
[site]
id = "lc"
backend = "cpo"
[listen]
certificate = "server.pem"
key = "server.key"
[eebus]
[overlay]
[[overlay.route]]
destination = "CS77"
via = "fleet"
[[backend]]
id = "cpo"
url = "wss://csms.internal/{station}"
[[backend]]
id = "fleet"
url = "wss://fleet.internal/{station}"
mode = "overlay"
[[circuit]]
id = "grid"
limit_a = 63
meter = "main"
peak_kw = 30
base_load_a = 10
[[circuit]]
id = "row"
parent = "grid"
limit_a = 32
[[meter]]
id = "main"
driver = "janitza-umg604"
transport = "tcp"
host = "10.0.0.20"
[[station]]
id = "CS01"
circuit = "row"
owner = "cpo"
[[station.evse]]
max_a = 16
steuve = true
[[calendar]]
name = "evening"
begin = "17:00"
end = "20:00"
circuit = "grid"
limit_a = 30
[dimming]
[[dimming.source]]
id = "box"
kind = "contact"
module = "io"
[[dimming.source]]
id = "hems"
kind = "eebus"
[[dimming.contact]]
name = "W3"
source = "box"
input = 0
limit_w = 4200
[[dimming.module]]
id = "io"
transport = "tcp"
driver = "wago-750"
host = "10.0.0.30"
[signing]
key = "keys"
"""
LINES = [
    number
    for number, line in enumerate(CONFIG.splitlines())
    if re.match(r"\[+(?!overlay\])[a-z]|[a-z_]+ =", line)
]


def misspell(word: str) -> str:
    """Return a word with one letter too many in its middle."""
    return f"{word[: len(word) // 2]}{word[len(word) // 2 - 1]}{word[len(word) // 2 :]}"


def test_follow_on_errors_configuration_of_these_tests_is_valid() -> None:
    assert check_config(CONFIG, "site.toml")[1] == []


@pytest.mark.parametrize("number", LINES, ids=lambda number: CONFIG.splitlines()[number])
def test_misspelt_name_is_one_error(number: int) -> None:
    lines = CONFIG.splitlines()
    name = re.search(r"[a-z_0-9]+(?=\]| =)", lines[number])
    assert name is not None
    lines[number] = f"{lines[number][: name.start()]}{misspell(name[0])}{lines[number][name.end() :]}"
    _, errors, _ = check_config("\n".join(lines), "site.toml")
    assert [each.line for each in errors] == [number + 1], list(map(text_of, errors))


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('id = "row"', 'id = "grid"', 'circuit "grid" id: "grid" is already defined; give each its own id'),
        ('id = "grid"', 'id = "row"', 'circuit "row" id: "row" is already defined; give each its own id'),
        ("[signing]", "[singing]", "singing: is not a known key; did you mean signing?"),
        ("limit_a = 32", "limit_ = 32", 'circuit "row" limit_: is not a known key; did you mean limit_a?'),
    ],
)
def test_mistake_that_others_follow_from_is_one_error(old: str, new: str, expected: str) -> None:
    _, errors, _ = check_config(CONFIG.replace(old, new, 1), "site.toml")
    assert [text_of(each) for each in errors] == [expected]
