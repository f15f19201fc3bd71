"""Order of service while not all cars can have the minimum.

The order in which minima are given:

1. cars that need their minimum without a break to leave in time;
2. cars whose turn runs, the latest begun first: if the room shrinks, the longest served yields. A car that
   goes first to show its phases counts as the latest;
3. cars that were just connected, the first plugged in first;
4. cars that wait, the longest waiting first;
5. cars whose turn is over, the latest begun first. They yield to 3 and 4, and continue if no EVSE waits.

A car that lost its minimum rests for `REST_S`: room that comes and goes must not switch it on and off. One
that has lost it `MOST_STOPS` times within its turns rests until the first of these is `STOPS_S` ago, so that
neither its contactor nor that of its station is worn. The end of a grid operator's limit ends the rests that
began before it: that room does not come and go.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from controller.load_management.allocation.allocator import Place
from controller.model.observations import EvseRef

NEWCOMER_S = 180.0
"""Time for which a car that was just connected goes before those that wait."""
REST_S = 60.0
"""Shortest time that a car stays stopped."""
MOST_STOPS = 2
STOPS_S = 1800.0
"""A car is stopped so many times within this time (s) at most, for lack of room."""
BEGUN_S = 30.0
"""Time (s) with its minimum by which a car has begun to charge, so that its stop counts."""
SHOW_AFTER_S = 120.0
"""Time (s) that a car waits before it may go first to show its phases."""
DUE_S = 180.0
"""Time (s) with a share after which a car that could not begin is due: who charges makes room for it."""
STEADY_S = 900.0
"""Time (s) since a car was last stopped from which room is taken to be steady."""
SHOW_S = 400.0
"""Longest time (s) from then until its phases are known: by a report of a station that reports each 300 s."""


class _TurnState:
    """Turn of one EVSE with a car: since when it is here, and since when it charges or waits."""

    __slots__ = (
        "admitted_at",
        "came_at",
        "has_shown",
        "resting_until",
        "served",
        "since",
        "stopped_at",
        "stops",
    )

    def __init__(self, now: float, *, is_served: bool) -> None:
        self.came_at = now
        self.served = is_served
        self.since = now
        self.resting_until = now
        self.has_shown = False
        self.admitted_at = math.inf
        """Time from which on it has had a share and could not begin."""
        self.stopped_at = -math.inf
        self.stops: deque[float] = deque(maxlen=MOST_STOPS)
        """Times at which it lost its minimum after `BEGUN_S`, and before its turn was over."""


class Turn(NamedTuple):
    """Turn of an EVSE in the sharing.

    `place`: in the order of service: the kind of its turn, and its order in it. `is_served`: it had its
    minimum at the last pass. `is_due`: it has had a share for `DUE_S` and could not begin.
    """

    place: Place
    is_served: bool
    is_due: bool


class Rotation:
    """Turns of all EVSEs that need current.

    `showing`: an EVSE that goes before those whose turn runs, since its car is to show its phases.
    """

    def __init__(self, rotation_s: float) -> None:
        self._rotation_s = rotation_s
        self._turns: dict[EvseRef, _TurnState] = {}
        self.showing: EvseRef | None = None
        self._showing_since = -math.inf
        self._stopped_at = -math.inf
        """Time at which a car was last stopped otherwise (s, monotonic)."""

    def set_turn(self, rotation_s: float) -> None:
        """Apply another length of a turn (s)."""
        self._rotation_s = rotation_s

    def add(self, ref: EvseRef, now: float, *, is_charging: bool = False) -> None:
        """Take an EVSE to have a car that needs current from now on, unless it is known already.

        One that is charging when it gets known has its turn: we have just started.
        """
        if ref not in self._turns:
            self._turns[ref] = _TurnState(now, is_served=is_charging)

    def remove(self, ref: EvseRef) -> None:
        """Take an EVSE to have no car that needs current."""
        self._turns.pop(ref, None)

    def is_resting(self, ref: EvseRef, now: float, lifted_at: float = -math.inf) -> bool:
        """Return True if the EVSE stays stopped for now; `lifted_at`: rests that began before have ended."""
        turn = self._turns[ref]
        return now < turn.resting_until and turn.stopped_at > lifted_at

    def rest_s(self, ref: EvseRef) -> float:
        """Return how long the rest of an EVSE lasts that stays stopped (s)."""
        turn = self._turns[ref]
        return turn.resting_until - turn.stopped_at

    def is_served(self, ref: EvseRef) -> bool:
        """Return True if the EVSE had its minimum at the last pass."""
        return self._turns[ref].served

    def turn_of(self, ref: EvseRef, now: float, *, is_first: bool = False) -> Turn:
        """Return the turn of an EVSE that needs current; `is_first`: it goes before all others."""
        turn = self._turns[ref]
        if ref == self.showing and not turn.served:
            place = (1, -self._showing_since)
        elif turn.served:
            place = (1 if now - turn.since < self._rotation_s else 4), -turn.since
        elif now - turn.came_at < NEWCOMER_S:
            place = 2, turn.came_at
        else:
            place = 3, turn.since
        return Turn((0 if is_first else 1, *place), turn.served, now >= turn.admitted_at + DUE_S)

    def is_steady(self, now: float) -> bool:
        """Return True if no car has had to stop for a while: who stops for one that goes first can return."""
        return now >= self._stopped_at + STEADY_S

    def may_show(self, ref: EvseRef, now: float) -> bool:
        """Return True if the car of an EVSE has waited long enough, and has not gone first before."""
        turn = self._turns[ref]
        return not (turn.served or turn.has_shown) and now >= turn.since + SHOW_AFTER_S

    def begin_showing(self, ref: EvseRef, now: float) -> None:
        """Let an EVSE go first."""
        self.showing, self._showing_since = ref, now
        self._turns[ref].has_shown = True

    def is_showing(self, now: float) -> bool:
        """Return True if an EVSE goes first and still needs current, for `SHOW_S` at most."""
        return self.showing in self._turns and now < self._showing_since + SHOW_S

    def waits_since(self, ref: EvseRef) -> float:
        """Return since when (s, monotonic) an EVSE has been served or has waited."""
        return self._turns[ref].since

    def places_by_energy(self, energies: Mapping[EvseRef, float]) -> dict[EvseRef, tuple[int, float]]:
        """Return the places of wanting EVSEs that take turns by the energy they have received (Wh).

        Who charges goes before who waits, but for those that have received more than one that waits.
        """
        waiting = [energy for ref, energy in energies.items() if not self._turns[ref].served]
        least = min(waiting, default=math.inf)
        return {
            ref: (1, -self._turns[ref].since)
            if self._turns[ref].served and energy <= least
            else (4 if self._turns[ref].served else 2, energy)
            for ref, energy in energies.items()
        }

    def changes_at(self, ref: EvseRef, now: float) -> float:
        """Return when the place or the rest of an EVSE changes next (s, monotonic); inf: never."""
        turn = self._turns.get(ref)
        if turn is None:
            return math.inf
        first = math.inf
        for moment in (
            turn.resting_until,
            turn.since + self._rotation_s,
            turn.came_at + NEWCOMER_S,
            turn.admitted_at + DUE_S,
        ):
            if now < moment < first:
                first = moment
        return first

    def set_admitted(self, ref: EvseRef, admits: bool, now: float) -> bool:
        """Note whether the EVSE has a share from now on that it has not begun; return True if that is new."""
        turn = self._turns[ref]
        if admits is (turn.admitted_at < math.inf):
            return False
        turn.admitted_at = now if admits else math.inf
        return True

    def set_served(self, ref: EvseRef, is_served: bool, now: float, *, rests: bool = True) -> bool:
        """Note whether the EVSE has its minimum from now on; return True if that is new.

        `rests`: it stays stopped for `REST_S` if it has lost its minimum.
        """
        turn = self._turns[ref]
        if is_served is turn.served:
            return False
        counts = turn.since + BEGUN_S <= now < turn.since + self._rotation_s
        turn.served = is_served
        turn.since = now
        if not is_served and rests:
            turn.stopped_at, turn.resting_until = now, now + REST_S
            if counts:
                turn.stops.append(now)
            if len(turn.stops) == MOST_STOPS:
                turn.resting_until = max(turn.resting_until, turn.stops[0] + STOPS_S)
            if self.showing is None:
                self._stopped_at = now
        return True
