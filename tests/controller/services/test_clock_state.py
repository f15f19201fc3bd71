"""What the kernel says of the clock."""

from __future__ import annotations

from pathlib import Path

import pytest

from controller.services import clock_state

UNIT = Path(__file__).parents[3] / "systemd/local-controller.service"


class Kernel:
    """A C library whose clock is in one state."""

    def __init__(self, state: int) -> None:
        self.state = state

    def adjtimex(self, timex: object) -> int:
        return self.state


@pytest.mark.parametrize(
    ("state", "synchronised"),
    [(0, True), (1, True), (5, False), (-1, False)],
    ids=["ok", "a leap second comes", "not synchronised", "cannot be asked"],
)
def test_a_clock_is_synchronised_when_the_kernel_says_so(
    monkeypatch: pytest.MonkeyPatch, state: int, synchronised: bool
) -> None:
    monkeypatch.setattr(clock_state, "_libc", Kernel(state))
    assert clock_state.is_synchronised() is synchronised


def test_the_unit_lets_the_question_through() -> None:
    unit = UNIT.read_text().splitlines()
    assert "ProtectClock=yes" not in unit, "its filter forbids adjtimex, whatever stands after it"
    filters = [line for line in unit if line.startswith("SystemCallFilter=")]
    assert filters[-1] == "SystemCallFilter=adjtimex clock_adjtime", "after the last that forbids @clock"
    assert "CapabilityBoundingSet=" in unit, "so that nobody sets it"


def test_the_kernel_of_this_machine_can_be_asked() -> None:
    assert clock_state.is_synchronised() in (True, False)
