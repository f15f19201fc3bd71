"""[eebus] and its energy guard among the sources of limits."""

from __future__ import annotations

import pytest

from controller.config.loader import check_config

SITE = """
[site]
id = "lc"
[signing]
key = "key.pem"
[[backend]]
id = "cpo"
url = "ws://csms.example/{station}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[station.evse]]
id = 1
steuve = true
"""
GUARD = '[[dimming.source]]\nid = "box"\nkind = "eebus"\n'
PARTNER = f'[[eebus.partner]]\nski = "{"ab" * 20}"\n'


def problems(text: str) -> list[str]:
    return [str(each) for each in check_config(SITE + text, "site.toml")[1]]


def test_eebus_with_guard_is_valid() -> None:
    assert problems(f"[dimming]\n{GUARD}[eebus]\n{PARTNER}") == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (f"[dimming]\n{GUARD}", "there is no [eebus]; add [eebus], empty will do"),
        ("[eebus]\n", "has no source of limits: what the control box writes would be ignored"),
        (f'[dimming]\n{GUARD}{GUARD.replace("box", "two")}[eebus]\n', "is the second energy guard"),
        (f'[dimming]\n{GUARD}[eebus]\n[[eebus.partner]]\nski = "12"\n', "is not an SKI"),
        (f"[dimming]\n{GUARD}[eebus]\n{PARTNER}{PARTNER.replace('ab', 'AB')}", "is there twice"),
        (f'[dimming]\n{GUARD}[eebus]\nbelow_minimum = "ignore"\n', "below_minimum"),
        (f"[dimming]\n{GUARD}[eebus]\nconsumption_w = -1\n", "consumption_w"),
        (f'[dimming]\n{GUARD}[eebus]\n{PARTNER}path = "ship"\n', "path"),
    ],
)  # fmt: skip
def test_eebus_that_cannot_work_is_named(text: str, found: str) -> None:
    [problem] = problems(text)
    assert found in problem
