"""What the kernel says of the clock."""

from __future__ import annotations

import pytest

from controller import clock


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
    monkeypatch.setattr(clock, "_libc", Kernel(state))
    assert clock.is_synchronised() is synchronised


def test_the_kernel_of_this_machine_can_be_asked() -> None:
    assert clock.is_synchronised() in (True, False)
