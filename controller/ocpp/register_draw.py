"""Draw of an EVSE by the rise of its energy register, for stations that report nothing else.

The mean power between two registers is a draw only where both are exact enough: one in whole kWh shows
nothing of a minute. How exact a register is, its values show: all that came so far are multiples of it.
"""

from __future__ import annotations

from typing import NamedTuple

SURE_W = 100.0
"""Largest error of a mean power that is used (W): less than half an ampere on one phase."""
LONGEST_S = 1800.0
"""Longest time of a mean (s)."""
STEPS_WH = (1000.0, 100.0, 10.0, 1.0, 0.1, 0.01)
"""Steps in which registers count; finer ones count as the last."""


class MeanDraw(NamedTuple):
    """Mean power (W) of the last so many s."""

    power_w: float
    mean_s: float


class RegisterDraw:
    """Register of one EVSE. Times in POSIX s."""

    def __init__(self) -> None:
        self._begin: tuple[float, float] | None = None
        """Register (Wh) from which the next mean is counted, and its time."""
        self._step_wh = STEPS_WH[0]

    def on_register_value(self, register_wh: float, at: float) -> MeanDraw | None:
        """Take in one register; return the mean power since an earlier one, None where none is exact."""
        self._step_wh = next(
            (step for step in STEPS_WH if step <= self._step_wh and _is_multiple(register_wh, step)),
            STEPS_WH[-1],
        )
        if self._begin is None:
            self._begin = register_wh, at
            return None
        rise_wh, mean_s = register_wh - self._begin[0], at - self._begin[1]
        if rise_wh < 0 or not 0 < mean_s <= LONGEST_S:  # another register, another clock, or a long silence
            self._begin = register_wh, at
            return None
        if self._step_wh * 3600 / mean_s > SURE_W:
            return None
        self._begin = register_wh, at
        return MeanDraw(rise_wh * 3600 / mean_s, mean_s)


def _is_multiple(value: float, step: float) -> bool:
    return abs(value / step - round(value / step)) < 1e-6 / step
