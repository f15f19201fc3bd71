"""The whole demo, with the controller in the middle, for as long as it takes the peers to meet."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from controller.demo import grid_operator
from controller.demo.demo_report import DemoReport
from controller.demo.demo_run import run_demo


async def test_demo_runs_real_controller_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(grid_operator, "COMMAND_S", 3.0)
    file = tmp_path / "report.json"
    report = await run_demo(duration_s=8, seed=3, report=file, live=False)
    assert report.stations == {"ocpp1.6": 4, "ocpp2.0.1": 4, "ocpp2.1": 4}
    assert report.messages.own >= 12, "each station gets its limits"
    assert report.messages.relayed > 100
    assert (report.messages.lost, report.messages.duplicated, report.messages.altered) == (0, 0, 0)
    assert [circuit.id for circuit in report.circuits] == ["grid", "row-a", "row-b"]
    assert report.dimming is not None
    assert report.dimming.refused == {"bad-signature": 1, "replayed": 1}
    assert (report.dimming.commands, report.dimming.accepted) == (3, 1)
    assert report.evidence is not None
    assert report.evidence.records > 5
    assert report.failures == []
    assert msgspec.json.decode(file.read_bytes(), type=DemoReport) == report
    shown = capsys.readouterr().out
    assert "13 EVSEs connected" in shown
    assert "0 lost" in shown
