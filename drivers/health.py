"""What a meter is worth, from how its polls went. Pure.

    poll went well, values plausible       GOOD
    ... but the same to the last bit under load for frozen_after_s   STALE: it repeats itself
    poll went well, values nonsense        IMPLAUSIBLE
    poll failed, last good reading younger than stale_after_s   as before: a lost poll or two is no trouble
    poll failed, older                     STALE
    never read, or DEAD_AFTER times older  DEAD

An implausible meter whose polls then fail turns STALE and DEAD by the same clock. While a state stands
as before, its reading ages: who needs to know how old it is asks `reading.time`.
"""

from __future__ import annotations

from msgspec import structs

from drivers.decoding import Implausible
from drivers.reading import MeterState, PerPhase, Quality, Reading

FROZEN_S = 30.0
"""By default. Meters measure anew each second at the slowest, and under load the last digit of a current or
a voltage moves with each; an energy register alone need not (10 Wh at 1 kW take 36 s)."""
LOAD_A = 0.5
"""Below, a current may well stand still."""
DEAD_AFTER = 6.0
"""Times `stale_after_s` without a good reading."""


class MeterHealth:
    """The quality of one meter. Times in s, monotonic."""

    def __init__(self, meter: str, stale_after_s: float, frozen_after_s: float = FROZEN_S) -> None:
        self._meter = meter
        self._stale_after_s = stale_after_s
        self._frozen_after_s = frozen_after_s
        self._still_s = 0.0
        self._good: Reading | None = None
        self._changed_at: float | None = None
        self._verdict = Quality.DEAD
        self._problem = "not read yet"

    def read(self, outcome: Reading | Implausible, now: float) -> MeterState:
        """A poll was answered."""
        if isinstance(outcome, Implausible):
            return self._settle(Quality.IMPLAUSIBLE, outcome.why)
        if self._changed_at is None or self._good is None or not _same(outcome, self._good):
            self._changed_at = now
        self._good = outcome
        self._still_s = now - self._changed_at if _loaded(outcome.current_a) else 0.0
        if self._still_s > self._frozen_after_s:
            return self._settle(
                Quality.STALE,
                f"it has repeated itself for {self._still_s:.0f} s under load; restart it or its gateway",
            )
        return self._settle(Quality.GOOD, "")

    def failed(self, why: str, now: float) -> MeterState:
        """A poll had no answer, or a refusal."""
        age = None if self._good is None else now - self._good.time
        if age is not None and age <= self._stale_after_s:
            return self._settle(self._verdict, self._problem)
        self._changed_at = None  # what it did meanwhile nobody knows
        dead = age is None or age > DEAD_AFTER * self._stale_after_s
        return self._settle(Quality.DEAD if dead else Quality.STALE, why)

    def _settle(self, verdict: Quality, problem: str) -> MeterState:
        self._verdict, self._problem = verdict, problem
        return MeterState(
            meter=self._meter, quality=verdict, reading=self._good, problem=problem, still_s=self._still_s
        )


def _same(one: Reading, other: Reading) -> bool:
    return structs.replace(one, time=other.time) == other


def _loaded(current_a: PerPhase) -> bool:
    return any(amps is not None and abs(amps) > LOAD_A for amps in current_a)
