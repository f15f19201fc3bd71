"""A car at an EVSE: how it follows the control pilot (IEC 61851-1), and how its battery fills."""

from __future__ import annotations

from collections import deque

import msgspec

PAUSE_BELOW_A = 6.0
"""The control pilot has no current below 6 A: less means pause (IEC 61851-1, annex A)."""

TAPER = 0.1
"""The last tenth of the need is charged with falling current."""


class CarSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Properties of a car: current, energy and delays.

    `reaction_s` passes from a change of the pilot to the car's following it; a rise takes `ramp_s` from
    nothing to `max_a`; after a pause it needs `resume_s` before it draws again.
    """

    phases: int
    max_a: float
    need_wh: float
    ramp_s: float = 4.0
    reaction_s: float = 2.0
    resume_s: float = 3.0


class Car:
    """A plugged car. `current_a` flows on each phase that it uses."""

    def __init__(self, spec: CarSpec) -> None:
        self.spec = spec
        self.current_a = 0.0
        self.charged_wh = 0.0
        self._pilot_a = 0.0
        self._seen_a = 0.0
        self._pending: deque[tuple[float, float]] = deque()
        """Changes of the pilot that the car has not reacted to yet: due time, A; a few seconds' worth."""
        self._draws_from: float | None = None

    @property
    def full(self) -> bool:
        """Return whether the car has the energy that it needs."""
        return self.charged_wh >= self.spec.need_wh

    @property
    def wanted_a(self) -> float:
        """Return the current that the car would draw without a limit (A)."""
        if self.full:
            return 0.0
        share = (self.spec.need_wh - self.charged_wh) / (TAPER * self.spec.need_wh)
        return max(PAUSE_BELOW_A, self.spec.max_a * min(1.0, share))

    def advance(self, offered_a: float, now: float, step_s: float, voltage_v: float, phases: int) -> float:
        """React to the pilot, then charge for `step_s`; returns the energy (Wh)."""
        self._follow(offered_a, now)
        target_a = self._target(now)
        rise_a = self.spec.max_a / self.spec.ramp_s * step_s
        # A fall has no ramp: the car has to be down when its reaction time is over.
        self.current_a = min(target_a, self.current_a + rise_a)
        energy_wh = self.current_a * voltage_v * phases * step_s / 3600
        self.charged_wh += energy_wh
        return energy_wh

    def _follow(self, offered_a: float, now: float) -> None:
        if offered_a != self._pilot_a:
            self._pilot_a = offered_a
            self._pending.append((now + self.spec.reaction_s, offered_a))
        while self._pending and self._pending[0][0] <= now:
            _, self._seen_a = self._pending.popleft()

    def _target(self, now: float) -> float:
        if self._seen_a < PAUSE_BELOW_A:
            self._draws_from = None
            return 0.0
        if self._draws_from is None:
            self._draws_from = now + self.spec.resume_s
        return min(self._seen_a, self.wanted_a) if now >= self._draws_from else 0.0
