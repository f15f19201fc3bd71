"""Source of kind "eebus": the LPC state machine of `drivers` as one of several sources of limits."""

from __future__ import annotations

from controller.dimming.effective_limit import SourceLimit
from drivers.eebus.lpc import Action, ControllableSystem, Event, Failsafe, LpcView


class EebusSource:
    """One energy guard and its limit. Times are s, monotonic."""

    def __init__(self, source: str, failsafe: Failsafe, minimum_w: float, now: float) -> None:
        self.source = source
        self._system = ControllableSystem(failsafe, minimum_w, now)

    @property
    def failsafe(self) -> Failsafe:
        """Failsafe values that the guard has written."""
        return self._system.failsafe

    @property
    def view(self) -> LpcView:
        """State of the machine."""
        return self._system.view

    def handle(self, event: Event, now: float) -> list[Action]:
        """Process an event of the guard, or the passing of time."""
        return self._system.handle(event, now)

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """Limit that applies now."""
        if self._system.limit_w is None:
            return ()
        return (
            SourceLimit(
                source=self.source,
                watts=self._system.limit_w,
                begins=now,
                until=self._system.until,
                proof=f"EEBUS LPC: {self._system.state.value}",
            ),
        )

    def deadline(self, now: float) -> float | None:
        """Time of the next transition; None: there is none."""
        return self._system.deadline
