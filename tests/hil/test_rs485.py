"""The hardware scenario in its simulated form, and what it says when the hardware is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from hil.__main__ import MEASURED, EnvironmentWrong, run, settings_from


async def test_the_simulated_meter_is_read_unplugged_and_replugged(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with trio.fail_after(60):
        assert await run({})
    printed = capsys.readouterr().out
    for quantity, value in MEASURED.items():
        assert f"PASS  {quantity:<20} {value:>14.2f}" in printed
    for said in ("PASS  unplugged: stale", "PASS  plugged in again", "\nPASS\n"):
        assert said in printed
    assert "FAIL" not in printed


async def test_absent_hardware_fails_with_the_reason(
    autojump_clock: trio.testing.MockClock, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    device = str(tmp_path / "nothing")
    assert not await run({"HIL_DEVICE": device, "HIL_DRIVER": "abb-b23"})
    assert f"FAIL  expected a good reading within 15 s; the last state was dead: {device}" in (
        capsys.readouterr().out
    )


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"HIL_DEVICE": "/dev/x"}, "needs HIL_DRIVER"),
        ({"HIL_DRIVER": "eastron"}, 'HIL_DRIVER: meter model "eastron" is unknown'),
        ({"HIL_BAUD": "fast"}, 'HIL_BAUD is "fast"'),
        ({"HIL_UNIT": "-1"}, 'HIL_UNIT is "-1"'),
    ],
)
def test_a_wrong_environment_is_refused(environment: dict[str, str], said: str) -> None:
    with pytest.raises(EnvironmentWrong, match=said):
        settings_from(environment, "/dev/x")
