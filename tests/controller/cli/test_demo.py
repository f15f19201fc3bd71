"""The arguments of `demo`; the demo itself is tested in `tests/controller/demo`."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.controller.cli.command_line import run_command


@pytest.mark.parametrize("report", ["nowhere/report.json", "."])
def test_unwritable_report_is_rejected_before_it_starts(tmp_path: Path, report: str) -> None:
    done = run_command("demo", "--duration", "60", "--report", tmp_path / report)
    assert done.returncode == 2
    assert "cannot be written; name a file in a writable directory" in done.stderr
