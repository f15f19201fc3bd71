"""The hardware scenarios in their simulated form, and their errors without the hardware."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from drivers.meter_model import load_model
from hil import scenarios
from hil.__main__ import MEASURED, HilEnvironmentError, run, setup_from


@pytest.fixture(autouse=True)
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scenarios, "RATE_S", 1.5)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("read every quantity", "PASS  read every quantity: 13 quantities"),
        ("unplug", "PASS  unplug and replug: unplugged: stale, "),
        ("noise", "PASS  noise: disturbed: stale, unit 1 on "),
        ("two units", "PASS  two units: unit 1: "),
        ("inputs beside", "PASS  inputs beside: "),
        ("rates", "at 115200"),
    ],
)
async def test_scenarios_scenario_passes_on_simulated_bus(
    capsys: pytest.CaptureFixture[str], name: str, text: str
) -> None:
    with trio.fail_after(120):
        assert await run({}, name)
    printed = capsys.readouterr().out
    assert text in printed
    assert "FAIL" not in printed


async def test_scenarios_every_quantity_is_shown_with_unit(capsys: pytest.CaptureFixture[str]) -> None:
    with trio.fail_after(60):
        assert await run({}, "read every quantity")
    printed = capsys.readouterr().out
    registers = load_model("eastron-sdm630-v2").by_quantity
    for quantity, value in MEASURED.items():
        assert f"{quantity:<20} {value:>14.2f} {registers[quantity].unit}" in printed


async def test_scenarios_absent_hardware_fails_with_reason(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    device = str(tmp_path / "nothing")
    assert not await run({"HIL_DEVICE": device, "HIL_DRIVER": "abb-b23"}, "quantity")
    expected = "FAIL  read every quantity: expected a good reading within 15 s; the last state was dead: "
    assert f"{expected}{device} does not exist" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("environment", "text"),
    [
        ({"HIL_DEVICE": "/dev/x"}, "needs HIL_DRIVER"),
        ({"HIL_DRIVER": "eastron"}, 'meter model "eastron" is unknown'),
        ({"HIL_MODULE": "nothing"}, 'module "nothing" is unknown'),
        ({"HIL_BAUD": "fast"}, 'HIL_BAUD is "fast"'),
        ({"HIL_UNIT": "-1"}, 'HIL_UNIT is "-1"'),
    ],
)
def test_invalid_environment_is_refused(environment: dict[str, str], text: str) -> None:
    with pytest.raises(HilEnvironmentError, match=text):
        setup_from(environment, "/dev/x")
