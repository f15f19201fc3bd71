"""Causes of the current above a circuit's limit.

Each step's excess is split: what the building draws above the limit by itself; what the building has risen by
in the time that cars need to follow; what cars draw that came in that time; and the rest, which the control
has to answer for.
"""

from __future__ import annotations

from collections import Counter, deque

from controller.load_management.site_tree import PhaseAmps

FOLLOW_S = 15.0
"""Time in which a rise of the building cannot be followed yet: reading, message and car (s)."""
BUILDING = "building alone above the limit"
SURGE = "building rose"
ARRIVAL = "car arrived"
CONTROL = "limits of the control"
CAUSES = (BUILDING, SURGE, ARRIVAL, CONTROL)


class OverloadCauses:
    """Ampere seconds above one circuit's limit, all phases added up, by cause."""

    def __init__(self) -> None:
        self.ampere_s: Counter[str] = Counter()
        self._past: deque[tuple[float, PhaseAmps]] = deque()
        self._arrived_at: float | None = None

    def add_arrival(self, now: float) -> None:
        """Note that a car has come to an EVSE below the circuit."""
        self._arrived_at = now

    def add(
        self, amps: PhaseAmps, building_a: PhaseAmps, limit_a: PhaseAmps, now: float, step_s: float
    ) -> None:
        """Add one step: what flows, the building's part of it, and the limit, on each phase (A)."""
        while self._past and self._past[0][0] < now - FOLLOW_S:
            self._past.popleft()
        for phase in range(3):
            excess_a = amps[phase] - limit_a[phase]
            if excess_a <= 1e-9:
                continue
            alone_a = min(excess_a, max(0.0, building_a[phase] - limit_a[phase]))
            lowest_a = min((past[phase] for _, past in self._past), default=building_a[phase])
            risen_a = min(excess_a - alone_a, max(0.0, building_a[phase] - lowest_a))
            rest_a = excess_a - alone_a - risen_a
            is_new = self._arrived_at is not None and now - self._arrived_at <= FOLLOW_S
            self.ampere_s[BUILDING] += alone_a * step_s  # type: ignore[assignment]
            self.ampere_s[SURGE] += risen_a * step_s  # type: ignore[assignment]
            self.ampere_s[ARRIVAL if is_new else CONTROL] += rest_a * step_s  # type: ignore[assignment]
        self._past.append((now, building_a))
