"""Reports of stations that are not so: ends while current flows, and no current while a car draws."""

from __future__ import annotations

from collections import deque

from controller.load_management.evse.consumption import BEFORE_STATE_S, DRAWING_A
from controller.model.observations import EvseState

WITH_CAR = frozenset({EvseState.CHARGING, EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE})
"""A car is there and may need current now or soon."""
ENDED = frozenset({EvseState.AVAILABLE, EvseState.FINISHING})
"""The session is over."""
WITHOUT_CAR = ENDED | {EvseState.RESERVED, EvseState.UNAVAILABLE, EvseState.FAULTED}
"""No car may take current."""
RETURN_S = 60.0
"""Without a new transaction no car charges within this time (s) after the last session was over."""
FALSE_ENDS = 3
FALSE_ENDS_S = 180.0
"""So many ends within this time (s), without a new transaction, are those of one session."""
ZERO_TESTS = 2
MOST_ZERO_TESTS = 6
"""Steps that are made to show whether a car draws: without one that shows it, and with one."""
FALSE_ZEROS = 2
"""So many steps of its offer in the meter above show that a car draws whose station reports no current."""


class FalseEnds:
    """States without a car, weighed against what the station of an EVSE reports next.

    Some stations report `Available` or `Finishing` while current flows. `are_usual`: its station has done so
    on its present link; from then on such a state counts where its transaction was reported to end.
    `is_ignored`: its station reports such a state now, and it does not count.
    """

    def __init__(self) -> None:
        self.are_usual = self.is_ignored = False
        self._ends: deque[float] = deque(maxlen=FALSE_ENDS)
        """Times (s) of such states since a transaction was reported last."""
        self._is_over = False
        """True while its station reports the end of a session whose transaction did not end."""
        self._end_is_reported = False

    def weigh_state(self, state: EvseState, before: EvseState, now: float) -> EvseState:
        """Return the state that counts after `before`: `Charging` in place of a false end.

        A car that charges again without a new session never went, nor did one that goes again and again.
        """
        if self._is_over and state in WITH_CAR and now <= self._ends[-1] + RETURN_S:
            self.are_usual = True
        if state is EvseState.PREPARING:
            self._end_is_reported = False
        had_car = before in WITH_CAR or before is EvseState.PREPARING
        if state not in WITHOUT_CAR or not had_car or self._end_is_reported:
            self._is_over &= state in ENDED
            self.is_ignored = False
            return state
        self._is_over = before in WITH_CAR and state in ENDED
        self._ends.append(now)
        if len(self._ends) == FALSE_ENDS and now <= self._ends[0] + FALSE_ENDS_S:
            self.are_usual = True
        self.is_ignored = self.are_usual
        return EvseState.CHARGING if self.is_ignored else state

    def on_draw(self, now: float) -> None:
        """Note a report that current flows."""
        if self._is_over and now > self._ends[-1] + BEFORE_STATE_S:
            self.are_usual = True

    def on_transaction(self, *, running: bool) -> None:
        """Note that a transaction was reported to begin or to end."""
        self._ends.clear()
        self._is_over = False
        self._end_is_reported = not running
        self.is_ignored &= running


class FalseZeros:
    """Reports of no current, weighed against the steps of the offer that the meter above shows.

    Some stations report 0 A whatever their cars draw. `are_usual`: its station does so; its reports of no
    current then count as none, until it reports some.
    """

    def __init__(self) -> None:
        self.are_usual = False
        self._steps = 0
        self.tests = 0
        """Steps that were made for this car to show whether it draws."""

    @property
    def needs_test(self) -> bool:
        """Return True if a step of the offer is to show whether the car draws: of few, unless one has."""
        return not self.are_usual and self.tests < (MOST_ZERO_TESTS if self._steps else ZERO_TESTS)

    def on_step(self, drawn_a: float) -> None:
        """Note that the meter shows a step of this car, whose station has reported no current yet."""
        self._steps += drawn_a > DRAWING_A
        self.are_usual = self._steps >= FALSE_ZEROS

    def on_draw(self) -> None:
        """Note a report that current flows."""
        self.are_usual = False
        self._steps = 0
