"""State of the clock by the kernel, and by the file that a second process writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.services.machine import clock_state
from controller.services.machine.clock_state import MAX_AGE_S, read_state_file, write_state_file

UNITS = Path(__file__).parents[4] / "systemd"


class Kernel:
    """A C library whose clock is in one state."""

    def __init__(self, state: int) -> None:
        self.state = state

    def adjtimex(self, timex: object) -> int:
        return self.state


@pytest.mark.parametrize(
    ("state", "synchronised"),
    [(0, True), (1, True), (5, False), (-1, False)],
    ids=["ok", "a leap second comes", "not synchronised", "not allowed"],
)
def test_clock_is_synchronised_as_kernel_reports(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: int, *, synchronised: bool
) -> None:
    monkeypatch.setattr(clock_state, "_libc", Kernel(state))
    monkeypatch.setattr(clock_state, "STATE_FILE", tmp_path / "missing")
    assert clock_state.is_synchronised() is synchronised


@pytest.mark.parametrize(("state", "synchronised"), [(0, True), (5, False)])
def test_clock_in_sandbox_is_read_from_state_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, state: int, *, synchronised: bool
) -> None:
    path = tmp_path / "state"
    monkeypatch.setattr(clock_state, "_libc", Kernel(state))
    write_state_file(path, 1000.0)
    assert read_state_file(path, 1000.0 + MAX_AGE_S) is synchronised
    assert read_state_file(path, 1001.0 + MAX_AGE_S) is False
    assert read_state_file(path, 999.0) is False, "written before the machine was started again"
    monkeypatch.setattr(clock_state, "_libc", Kernel(-1))
    monkeypatch.setattr(clock_state, "STATE_FILE", path)
    monkeypatch.setattr("time.monotonic", lambda: 1001.0)
    assert clock_state.is_synchronised() is synchronised


@pytest.mark.parametrize("text", ["", "1", "1 now", "yes 1000", "\0"])
def test_clock_state_file_invalid_is_not_synchronised(tmp_path: Path, text: str) -> None:
    (tmp_path / "state").write_text(text)
    assert read_state_file(tmp_path / "state", 1000.0) is False


def test_clock_unit_allows_reading_clock_only() -> None:
    unit = (UNITS / "local-controller-clock.service").read_text().splitlines()
    assert "ProtectClock=yes" not in unit, "its filter forbids adjtimex, whatever stands after it"
    filters = [line for line in unit if line.startswith("SystemCallFilter=")]
    assert filters[-1] == "SystemCallFilter=adjtimex clock_adjtime", "after the last that forbids @clock"
    assert "CapabilityBoundingSet=" in unit, "so that nothing sets it"
    assert "controller.services.machine.clock_state" in "".join(unit)


def test_clock_of_this_machine_can_be_read() -> None:
    assert clock_state.is_synchronised() in (True, False)
