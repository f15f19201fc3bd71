"""`check` as a person types it."""

from __future__ import annotations

from pathlib import Path

from tests.controller.cli.command_line import run_command, write_config


def test_check_valid_file_prints_summary(tmp_path: Path) -> None:
    done = run_command("check", "-c", write_config(tmp_path))
    assert done.returncode == 0
    assert "1 station, 1 EVSE, 1 circuit, 0 meters, 1 backend" in done.stdout


def test_check_example_for_installers_is_valid() -> None:
    example = Path(__file__).parents[3] / "etc" / "controller.toml"
    done = run_command("check", "-c", example)
    assert (done.returncode, done.stderr) == (0, "")
