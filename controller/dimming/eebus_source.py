"""A source of kind "eebus": the LPC machine of `drivers`, seen as one of many sources of limits."""

from __future__ import annotations

from controller.dimming.effective_limit import SourceLimit
from drivers.eebus_lpc import Action, ControllableSystem, Event, Failsafe


class EebusSource:
    """One Energy Guard and what it has said. Times are s, monotonic."""

    def __init__(self, source: str, failsafe: Failsafe, minimum_w: float, now: float) -> None:
        self.source = source
        self._system = ControllableSystem(failsafe, minimum_w, now)

    @property
    def failsafe(self) -> Failsafe:
        """What holds without it, by its own word."""
        return self._system.failsafe

    @property
    def state(self) -> str:
        """The machine's state, in its own words."""
        return self._system.state.value

    def handle(self, event: Event, now: float) -> list[Action]:
        """It said something, or time has passed."""
        return self._system.handle(event, now)

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """What holds now."""
        if self._system.limit_w is None:
            return ()
        return (
            SourceLimit(
                source=self.source,
                watts=self._system.limit_w,
                begins=now,
                until=self._system.until,
                proof=f"EEBUS LPC: {self.state}",
            ),
        )

    def deadline(self, now: float) -> float:
        """When it wants to be told that time has passed."""
        return self._system.deadline
