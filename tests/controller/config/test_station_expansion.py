"""Defaults of stations and ranges of ids: expanded, and reported where they are written."""

from __future__ import annotations

import pytest

from controller.config.loader import check_config
from controller.config.schema import Config

SITE = """
[site]
id = "lc"
[[backend]]
id = "cpo"
url = "wss://csms.example/{station}"
[[circuit]]
id = "grid"
limit_a = 400
"""
DEFAULTS = """
[station_defaults]
circuit = "grid"
owner = "cpo"
when_backend_away = "autonomous"
password_file = "credentials/{station}"
[[station_defaults.evse]]
max_a = 16
"""


def load(text: str) -> Config:
    config, errors, _ = check_config(SITE + text, "c.toml")
    assert config is not None, errors
    return config


def errors_of(text: str) -> list[str]:
    return [str(each) for each in check_config(SITE + text, "c.toml")[1]]


def test_range_of_ids_makes_equal_stations() -> None:
    config = load(DEFAULTS + '[[station]]\nid = "CS[08-11]"\n')
    assert [each.id for each in config.station] == ["CS08", "CS09", "CS10", "CS11"]
    assert {each.when_backend_away for each in config.station} == {"autonomous"}
    assert config.station[1].password_file == "credentials/CS09"
    assert config.station[1].evse[0].max_a == 16


def test_key_of_station_comes_before_default() -> None:
    config = load(
        DEFAULTS + '[[station]]\nid = "A"\ngrace_s = 9\nwhen_backend_away = "grace"\n[[station]]\nid = "B"\n'
    )
    assert [each.when_backend_away for each in config.station] == ["grace", "autonomous"]


def test_station_expansion_error_in_range_is_reported_once_at_table() -> None:
    text = (
        '[[station]]\nid = "A"\ncircuit = "grid"\n[[station]]\nid = "B[1-40]"\ncircuit = "gird"\nmax_a = 3\n'
    )
    found = errors_of(text)
    assert len(found) == 2
    assert 'c.toml:15: station "B[1-40]" circuit: circuit "gird" does not exist' in found[0]
    assert 'c.toml:16: station "B[1-40]" max_a: is not a known key' in found[1]


AS_ELSEWHERE = ("CS01-CS04", "CS01..04", "CS01...CS04", "CS04..CS01", "CS01 to CS04", "CS01\u2013CS04")


@pytest.mark.parametrize(
    ("text", "error"),
    [
        (
            '[[station]]\nid = "CS[9-1]"\ncircuit = "grid"\n',
            "a range of 0 ids; write the lower number first",
        ),
        ('[[station]]\nid = "CS[1-99999]"\ncircuit = "grid"\n', "at most 1000 stations in one range"),
        ('[[station]]\nid = "CS[1..9]"\ncircuit = "grid"\n', 'is no range of ids; did you mean "CS[1-9]"?'),
        ('[station_defaults]\ngrace = 3\n[[station]]\nid = "A"\ncircuit = "grid"\n', "did you mean grace_s?"),
        (
            '[station_defaults]\ngrace_s = "3"\n[[station]]\nid = "A"\ncircuit = "grid"\n',
            'station_defaults.grace_s: cannot be "3"',
        ),
        *(
            (
                f'[[station]]\nid = "{several}"\ncircuit = "grid"\n'
                '[[group]]\nid = "a"\nstations = ["CS01", "CS02"]\nguaranteed_a = 6\n',
                f'"{several}" is the id of one station; {remedy}',
            )
            for several, remedy in (
                *((each, 'for several stations write id = "CS[01-04]"') for each in AS_ELSEWHERE),
                ("CS01,CS02", "write a [[station]] for each"),
                ("CS01; CS02", "write a [[station]] for each"),
            )
        ),
        (
            DEFAULTS + '[[station]]\nid = "CS[1-3]"\n[[station]]\nid = "CS2"\n',
            '"CS2" is already defined; give each its own id',
        ),
    ],
)
def test_wrong_range_or_default_is_one_error(text: str, error: str) -> None:
    found = errors_of(text)
    assert len(found) == 1, found
    assert error in found[0]
