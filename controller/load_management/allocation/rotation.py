"""Whose turn it is while not everybody can have the minimum.

The order in which minima are given:

1. newcomers, the first plugged in first: a car that was just connected shall be seen to charge;
2. those whose turn runs, the latest begun first: if the room shrinks, who has had the most yields;
3. those who wait, the longest waiting first;
4. those whose turn is over, the latest begun first. They yield to 3 and keep on if nobody waits;
5. those whose car sleeps: they keep what nobody else wants.

Who lost his minimum rests for `REST_S`: a room that comes and goes shall not switch a car on and off.
"""

from __future__ import annotations

from collections.abc import Container, Iterable

from controller.model.observations import EvseRef

NEWCOMER_S = 180.0
"""How long a car that was just connected goes before the others."""
REST_S = 60.0
"""How long a car that was put out stays out."""


class _Turn:
    """One EVSE with a car: since when it is here, and since when it has, or waits for, its minimum."""

    __slots__ = ("came_at", "resting_until", "served", "since")

    def __init__(self, now: float) -> None:
        self.came_at = now
        self.served = False
        self.since = now
        self.resting_until = now


class Rotation:
    """Keeps the turns of all EVSEs that want current."""

    def __init__(self, rotation_s: float) -> None:
        self._rotation_s = rotation_s
        self._turns: dict[EvseRef, _Turn] = {}

    def wanting(self, refs: Iterable[EvseRef], now: float) -> None:
        """These EVSEs have cars that want current now, and no others."""
        self._turns = {ref: self._turns.get(ref) or _Turn(now) for ref in refs}

    def resting_s(self, ref: EvseRef, now: float) -> float:
        """How long the EVSE still stays out; 0 if it may be served."""
        return max(0.0, self._turns[ref].resting_until - now)

    def ranks(self, now: float, asleep: Container[EvseRef] = ()) -> dict[EvseRef, float]:
        """Each wanting EVSE's place, the lower the earlier; those `asleep` come last."""
        keys = {
            ref: (*((5, turn.since) if ref in asleep else self._place(turn, now)), ref)
            for ref, turn in self._turns.items()
        }
        return {ref: float(place) for place, ref in enumerate(sorted(keys, key=keys.__getitem__))}

    def served(self, ref: EvseRef, is_served: bool, now: float) -> None:
        """Whether the EVSE has its minimum from now on."""
        turn = self._turns[ref]
        if is_served is turn.served:
            return
        turn.served = is_served
        turn.since = now
        if not is_served:
            turn.resting_until = now + REST_S

    def _place(self, turn: _Turn, now: float) -> tuple[int, float]:
        if now - turn.came_at < NEWCOMER_S:
            return 1, turn.came_at
        if not turn.served:
            return 3, turn.since
        return (2 if now - turn.since < self._rotation_s else 4), -turn.since
