"""The configuration in use: a broken file is replaced by the last valid copy; a reload changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.config.loader import InvalidConfigError
from controller.services.configuration.configuration import (
    LAST_VALID,
    check_reload,
    keep_copy,
    open_configuration,
)
from tests.controller.cli.command_line import CONFIG, write_config


def test_valid_file_is_used_and_copied(tmp_path: Path) -> None:
    path = write_config(tmp_path)
    active = open_configuration(path)
    keep_copy(active)
    assert active.problem == ""
    assert (tmp_path / LAST_VALID).read_bytes() == path.read_bytes()
    assert (tmp_path / LAST_VALID).stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("edit", ["limit_a = -1", "limit_a = = 63", "limit = 63"])
def test_broken_file_is_replaced_by_last_valid_copy(
    tmp_path: Path, edit: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path))  # as systemd sets it: a syntax error hides [store]
    path = write_config(tmp_path)
    valid = open_configuration(path)
    keep_copy(valid)
    write_config(tmp_path, CONFIG.replace("limit_a = 63", edit))
    active = open_configuration(path)
    assert active.config == valid.config
    assert f"{path}:14" in active.problem
    keep_copy(active)
    assert open_configuration(path).config == valid.config, "a broken file never replaces the copy"


def test_configuration_broken_file_without_copy_is_error(tmp_path: Path) -> None:
    with pytest.raises(InvalidConfigError):
        open_configuration(write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit = 63")))


def test_configuration_reload_of_unchanged_file_finds_same(tmp_path: Path) -> None:
    active = open_configuration(write_config(tmp_path))
    assert check_reload(active).config == active.config


def test_configuration_reload_of_broken_file_reports_errors(tmp_path: Path) -> None:
    active = open_configuration(write_config(tmp_path))
    write_config(tmp_path, CONFIG.replace('owner = "cpo"', 'owner = "nobody"'))
    found = check_reload(active)
    assert found.config is None
    assert 'backend "nobody" does not exist' in found.problem
