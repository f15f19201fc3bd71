"""Commands that need the packaged service stopped, or change its addresses."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from controller.cli import arguments
from controller.cli.arguments import (
    START,
    STOP,
    USUAL_CONFIG,
    CommandError,
    hold_stopped_store,
    reload_units,
    write_new,
)
from controller.store.store_lock import hold_store

ROOT = Path(__file__).parents[3]


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """File with the calls of systemctl on a machine that systemd has booted, as root."""
    program = tmp_path / "systemctl"
    program.write_text(f'#!/bin/sh\necho "$@" >>{tmp_path}/calls\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(arguments, "BOOTED", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 0)
    (tmp_path / "calls").touch()
    return tmp_path / "calls"


def test_reload_units_of_package_reads_addresses_again(calls: Path) -> None:
    reload_units(USUAL_CONFIG)
    assert calls.read_text() == "daemon-reload\n"


def test_reload_units_of_another_configuration_changes_nothing(calls: Path, tmp_path: Path) -> None:
    reload_units(tmp_path / "controller.toml")
    assert calls.read_text() == ""


def test_reload_units_without_root_or_systemd_changes_nothing(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "BOOTED", tmp_path / "missing")
    reload_units(USUAL_CONFIG)
    monkeypatch.setattr(arguments, "BOOTED", tmp_path)
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    reload_units(USUAL_CONFIG)
    assert calls.read_text() == ""


def test_hold_stopped_store_of_running_controller_names_stop(tmp_path: Path) -> None:
    with hold_store(tmp_path), pytest.raises(CommandError) as raised, hold_stopped_store(tmp_path):
        raise AssertionError("both hold it")
    assert str(raised.value).splitlines()[1:] == [STOP]


def test_hold_stopped_store_with_open_sockets_of_package_names_stop(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "UNIT_STORE", tmp_path)
    with pytest.raises(CommandError) as raised, hold_stopped_store(tmp_path):
        raise AssertionError("a station would start the controller")
    assert str(raised.value).splitlines()[1:] == [STOP]
    assert calls.read_text() == "--quiet is-active local-controller.socket local-controller-web.socket\n"


def test_hold_stopped_store_of_another_directory_needs_no_closed_sockets(calls: Path, tmp_path: Path) -> None:
    with hold_stopped_store(tmp_path):
        assert calls.read_text() == ""


def test_hold_stopped_store_with_closed_sockets_is_held(
    calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(arguments, "UNIT_STORE", tmp_path)
    (calls.parent / "systemctl").write_text("#!/bin/sh\nexit 3\n")
    with hold_stopped_store(tmp_path):
        assert (tmp_path / "systemctl").exists()


def test_arguments_commands_are_those_of_readme() -> None:
    assert f"\n{START}\n" in (ROOT / "README.md").read_text()
    assert STOP in (ROOT / "docs" / "operations.md").read_text()


def test_arguments_every_remedy_stops_sockets_too() -> None:
    files = [*ROOT.glob("controller/**/*.py"), *ROOT.glob("docs/*.md"), ROOT / "README.md"]
    stops = [
        line for each in files for line in each.read_text().splitlines() if "systemctl stop local" in line
    ]
    assert stops == []


def test_write_new_on_a_full_disk_names_the_file_and_leaves_none(tmp_path: Path) -> None:
    file = tmp_path / "backup.zip"

    def write() -> None:
        with write_new(file) as out:
            out.write(b"begun")
            raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(CommandError) as failed:
        write()
    assert str(failed.value) == f"{file}: No space left on device; make room on the disk"
    assert not file.exists()


def test_write_new_leaves_a_file_that_exists_alone(tmp_path: Path) -> None:
    file = tmp_path / "evidence.jsonl"
    file.write_bytes(b"signed")
    with pytest.raises(CommandError, match="name another file, or remove this one"), write_new(file):
        pass
    assert file.read_bytes() == b"signed"
