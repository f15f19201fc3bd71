"""Quality of a meter's readings, from the results of its polls. Sans-IO.

    poll answered, values plausible         GOOD
    ... but the same to the last bit under load for frozen_after_s   STALE
    poll answered, values impossible        IMPLAUSIBLE
    poll answered, values contradictory     as a failed poll for CONTRADICTION_S, then IMPLAUSIBLE
    poll failed, last good reading younger than stale_after_s        as before
    poll failed, older                      STALE
    never read, or DEAD_AFTER times older   DEAD

An implausible meter whose polls then fail turns STALE and DEAD by the same clock. While a state stands
as before, its reading ages: `reading.time` shows how old it is.
"""

from __future__ import annotations

from collections import Counter

from msgspec import structs

from drivers.coded_text import coded, join_and
from drivers.decoding import Implausible
from drivers.errors import Cause
from drivers.reading import MeterState, PerPhase, Quality, Reading

FROZEN_S = 30.0
"""By default. Meters measure anew each second at the slowest, and under load the last digit of a current or
a voltage changes each time; an energy register alone need not (10 Wh at 1 kW take 36 s)."""
LOAD_A = 0.5
"""Below, a current may stand still."""
DEAD_AFTER = 6.0
"""Times `stale_after_s` without a good reading."""
CONTRADICTION_S = 3.0
COUNTER_TOLERANCE_WH = 10.0
COUNTER_NOTE_S = 600.0
"""Time (s) that a counter that ran backwards stands in the state."""


class MeterHealth:
    """Quality of one meter. Times in s, monotonic."""

    def __init__(self, meter: str, stale_after_s: float, frozen_after_s: float = FROZEN_S) -> None:
        self._meter = meter
        self.set_ages(stale_after_s, frozen_after_s)
        self._still_s = 0.0
        self._good: Reading | None = None
        self._changed_at: float | None = None
        self._contradicted_at: float | None = None
        self._verdict = Quality.DEAD
        self._problem: str = coded("not read yet")
        self._cause = Cause.NOT_READ
        self._counter_note: str = ""
        self._counter_noted_at = 0.0
        self.events: Counter[str] = Counter()
        """Number of failed polls by cause, and of counters that ran backwards (`counter_backwards`)."""

    def set_ages(self, stale_after_s: float, frozen_after_s: float) -> None:
        """Apply other ages (s) from which readings are stale, and unchanged ones frozen."""
        self._stale_after_s = stale_after_s
        self._frozen_after_s = frozen_after_s

    def on_outcome(self, outcome: Reading | Implausible, now: float) -> MeterState:
        """Judge the values of a poll that was answered."""
        if isinstance(outcome, Implausible):
            return self._on_implausible(outcome, now)
        self._contradicted_at = None
        self._watch_counters(outcome, now)
        if self._changed_at is None or self._good is None or not _same(outcome, self._good):
            self._changed_at = now
        self._good = outcome
        self._still_s = now - self._changed_at if _loaded(outcome.current_a) else 0.0
        if self._still_s > self._frozen_after_s:
            self.events[Cause.FROZEN] += 1
            return self._settle(
                Quality.STALE,
                coded(
                    "all its values have been the same for {duration} s under load; restart it or its "
                    "gateway",
                    duration=f"{self._still_s:.0f}",
                ),
                Cause.FROZEN,
                now,
            )
        return self._settle(Quality.GOOD, "", Cause.NONE, now)

    def on_failure(self, problem: str, cause: Cause, now: float) -> MeterState:
        """Judge a poll without a usable answer."""
        self.events[cause] += 1
        return self._without_values(problem, cause, now)

    def on_skipped(self, problem: str, cause: Cause, now: float) -> MeterState:
        """Judge a poll that was left out after failures."""
        return self._without_values(problem, cause, now)

    def _on_implausible(self, outcome: Implausible, now: float) -> MeterState:
        self.events[outcome.cause] += 1
        if outcome.contradiction and self._good is not None:
            if self._contradicted_at is None:
                self._contradicted_at = now
            if now - self._contradicted_at < CONTRADICTION_S:
                return self._without_values(outcome.problem, outcome.cause, now, seen=True)
        return self._settle(Quality.IMPLAUSIBLE, outcome.problem, outcome.cause, now)

    def _without_values(self, problem: str, cause: Cause, now: float, *, seen: bool = False) -> MeterState:
        age = None if self._good is None else now - self._good.time
        if age is not None and age <= self._stale_after_s:
            return self._settle(self._verdict, self._problem, self._cause, now)
        if not seen:
            self._changed_at = None  # it may have changed meanwhile
        dead = age is None or age > DEAD_AFTER * self._stale_after_s
        return self._settle(Quality.DEAD if dead else Quality.STALE, problem, cause, now)

    def _watch_counters(self, reading: Reading, now: float) -> None:
        """Note an energy counter that is lower than before: it was reset, replaced, or wrapped around."""
        if self._good is None:
            return
        for is_import, before, after in (
            (True, self._good.energy_import_wh, reading.energy_import_wh),
            (False, self._good.energy_export_wh, reading.energy_export_wh),
        ):
            if before is not None and after is not None and after < before - COUNTER_TOLERANCE_WH:
                self.events["counter_backwards"] += 1
                self._counter_note = coded(
                    "its {name} counter went from {before} Wh back to {after} Wh: it was reset, replaced, or "
                    "wrapped around",
                    name=coded("import") if is_import else coded("export"),
                    before=f"{before:.0f}",
                    after=f"{after:.0f}",
                )
                self._counter_noted_at = now

    def _settle(self, verdict: Quality, problem: str, cause: Cause, now: float) -> MeterState:
        self._verdict, self._problem, self._cause = verdict, problem, cause
        return MeterState(
            meter=self._meter,
            quality=verdict,
            reading=self._good,
            problem=problem,
            cause=cause,
            limitation=self._limitation(now) if verdict is Quality.GOOD else "",
            still_s=self._still_s,
        )

    def _limitation(self, now: float) -> str:
        if self._good is not None and self._good.direction_unknown:
            return coded(
                "the direction of {phases} is unknown and counts as import; it has no power per phase",
                phases=join_and([f"L{phase}" for phase in self._good.direction_unknown]),
            )
        if self._counter_note and now - self._counter_noted_at < COUNTER_NOTE_S:
            return self._counter_note
        return ""


def _same(one: Reading, other: Reading) -> bool:
    return structs.replace(one, time=other.time) == other


def _loaded(current_a: PerPhase) -> bool:
    first, second, third = current_a
    return max(abs(first or 0.0), abs(second or 0.0), abs(third or 0.0)) > LOAD_A
