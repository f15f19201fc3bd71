"""Charger quirks of a site's own: checked, preferred to the controller's, and chosen by name."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config.loader import InvalidConfigError
from controller.config.schema import Config
from controller.model.observations import Booted
from controller.services.configuration.configuration import load_configuration
from controller.services.configuration.quirk_rules import make_discovery
from tests.controller.cli.command_line import CONFIG, write_config

ROW = '[[quirk]]\nname = "Garage wallbox"\nvendor = "Garage*"\nzero = "minimum"\n'


def load(folder: Path, rows: str, station: str = "") -> Config:
    (folder / "quirks.toml").write_bytes(rows.encode("latin-1"))
    text = CONFIG.replace('id = "lc"', 'id = "lc"\nquirks_file = "quirks.toml"', 1) + station
    return load_configuration(write_config(folder, text))[0]


def test_quirk_rules_own_row_comes_before_controllers(tmp_path: Path) -> None:
    rows = ROW + '[[quirk]]\nname = "our Easee"\nvendor = "Easee*"\nunit = "W"\n'
    discovery = make_discovery(load(tmp_path, rows))
    discovery.on_boot("CS01", Booted("Easee", "Charge"))
    assert discovery.quirk("CS01").name == "our Easee"
    discovery.on_boot("CS01", Booted("GARAGE AG", "X"))
    assert discovery.quirk("CS01").zero == "minimum"


def test_quirk_rules_row_chosen_by_name_applies_to_any_boot(tmp_path: Path) -> None:
    discovery = make_discovery(load(tmp_path, ROW, 'quirk = "Garage wallbox"\n'))
    assert discovery.quirk("CS01").name == "Garage wallbox"
    discovery.on_boot("CS01", Booted("Easee", "Charge"))
    assert discovery.quirk("CS01").name == "Garage wallbox"


@pytest.mark.parametrize(
    ("rows", "station", "error"),
    [
        (ROW, 'quirk = "garage wallbox"\n', 'does not exist; did you mean "Garage wallbox"?'),
        (ROW, 'quirk = "Nobody"\n', "name a row of site.quirks_file"),
        (ROW + "steps_a = [9, 6]\n", "", 'quirk "Garage wallbox" steps_a: does not ascend from above 0'),
        (ROW + "speed = 3\n", "", 'quirk "Garage wallbox" speed: is not a known key'),
        ("[[quirk]\n", "", "quirks.toml"),
        ("# S\u00fcd\n", "", "quirks.toml:1: TOML: is not UTF-8 text at column 4"),
    ],
)
def test_wrong_quirk_is_found_with_remedy(tmp_path: Path, rows: str, station: str, error: str) -> None:
    with pytest.raises(InvalidConfigError) as raised:
        load(tmp_path, rows, station)
    found = [str(each) for each in raised.value.errors]
    assert len(found) == 1, found
    assert error in found[0]


def test_missing_quirks_file_is_one_error(tmp_path: Path) -> None:
    text = CONFIG.replace('id = "lc"', 'id = "lc"\nquirks_file = "none.toml"', 1)
    with pytest.raises(InvalidConfigError) as raised:
        load_configuration(write_config(tmp_path, text))
    assert len(raised.value.errors) == 1
