"""Values learned in a session: the phases that the car uses, and how much it takes.

Both are worst-case until proven: every wired phase, and all that the EVSE can give. Both are forgotten
when the next car may be another one.
"""

from __future__ import annotations

from collections.abc import Sequence

LOADED_A = 2.0
"""A phase with more than this is used by a car."""
UNLOADED_A = 0.5
"""A phase with less than this is unused: meters and filters take some tenths."""
AGREEING_REPORTS = 2
"""Reports in a row that must show the same idle phases."""
UNUSED_EVIDENCE = 7.0
"""Evidence of a car's steps in the meter above after which a phase counts as unused (a log-likelihood)."""
MOST_TESTS = 10
"""Steps that are made for a car to learn its phases."""
MOST_EVIDENCE = 10.0
"""Highest sum of evidence: one clear step brings back a phase that the car adds later."""

HEADROOM_A = 2.0
"""Offer above a car's highest draw, so that its rise can be seen."""
NEAR_CAP_A = 1.0
"""A draw this near to the cap shows that the car could take more."""
WATCH_S = 45.0
"""Time that a car draws less than offered until the cap is set (s)."""
CAP_GROWTH = 1.5
CAP_STEP_A = 6.0

MOST_NEEDED_A = 10.0
"""Highest minimum that a car is taken to need: some charge with 8 to 10 A or more only."""
LOWER_A = 0.5
"""Fall of an offer that may have stopped the car."""


class LearnedPhases:
    """Phases of the station that the car draws on: `used`, one flag for each.

    `known`: reports have shown it; before, `used` is the worst case. `least`: so many are used for sure.
    """

    def __init__(self, wired: int) -> None:
        self._wired = wired
        self.reset()

    def reset(self, *, single: bool = False) -> None:
        """Count every phase again for another car; the first alone where it was set to use one."""
        self.used = (True,) * (1 if single else self._wired) + (False,) * (self._wired - 1 if single else 0)
        self.known = single or self._wired == 1
        self.least = 1
        self._seen: tuple[bool, ...] | None = None
        self._times = 0
        self._evidence = [0.0] * self._wired
        self._tests = 0

    def see_step(self, evidence: Sequence[float]) -> bool:
        """Take in what a step of the car shows of each phase; return True if `used` changes.

        For stations that report no currents. `evidence`: that a phase is not used; negative: that it is.
        """
        self._evidence = [
            min(max(-MOST_EVIDENCE, before + found), MOST_EVIDENCE)
            for before, found in zip(self._evidence, evidence, strict=True)
        ]
        before = self.used
        self.used = tuple(sum_ < UNUSED_EVIDENCE for sum_ in self._evidence)
        self.known |= not all(self.used) or max(self._evidence) <= -UNUSED_EVIDENCE
        return self.used != before

    @property
    def needs_test(self) -> bool:
        """Return True if a step of the offer is to show the phases; only a few times for each car."""
        is_decided = self._wired == 1 or all(abs(each) >= UNUSED_EVIDENCE for each in self._evidence)
        return self._tests < MOST_TESTS and not is_decided

    def on_test(self) -> int:
        """Note that a test begins; return which one it is, from 1 on."""
        self._tests += 1
        return self._tests

    def see(self, draw: Sequence[float | None], least: int = 0) -> bool:
        """Take in one report (A per phase) of a charging car; return True if `used` has grown by it.

        `least`: the report names no phases, and shows only that at least so many are used; 0: it names them.
        A phase comes back at the first report that shows it in use. It goes only after agreeing
        reports in each of which it is idle, all phases are reported, and another one is loaded.
        """
        before = self.used
        if least:
            self.least = max(self.least, min(least, sum(before)))
            self.known |= self.least == self._wired
            return False
        self.used = tuple(
            used or (amps is not None and amps >= UNLOADED_A) for used, amps in zip(before, draw, strict=True)
        )
        loaded = tuple(amps is not None and amps > LOADED_A for amps in draw)
        idle = [amps is not None and amps < UNLOADED_A for amps in draw]
        clear = any(loaded) and all(a or b for a, b in zip(loaded, idle, strict=True))
        if not clear:
            self._seen, self._times = None, 0
        else:
            self._times = self._times + 1 if loaded == self._seen else 1
            self._seen = loaded
            if self._times >= AGREEING_REPORTS:
                self.used = loaded
                self.known = True
        return any(now and not then for now, then in zip(self.used, before, strict=True))


class LearnedMinimum:
    """Least offer (A per phase) under which the car charges: `least_a`, the EVSE's minimum until it stops.

    A car that charges under one offer and stops when it falls needs more than the lower one for as long as it
    is connected. It is then offered the lowest that has kept it charging, at most `MOST_NEEDED_A`.
    """

    def __init__(self, min_a: float, max_a: float) -> None:
        self._needed_a = 0.0
        self.set_bounds(min_a, max_a)
        self.reset()

    def set_bounds(self, min_a: float, max_a: float) -> None:
        """Use another minimum and maximum of the EVSE."""
        self._min_a, self._max_a = min_a, max_a
        self._update()

    def reset(self) -> None:
        """Drop the minimum: another car may need less."""
        self._kept_a: float | None = None
        self._needed_a = 0.0
        self._update()

    def _update(self) -> None:
        self.least_a = max(self._min_a, min(self._needed_a, self._max_a))

    def see_draw(self, offered_a: float) -> None:
        """Note that the car charges under a settled offer."""
        self._kept_a = offered_a if self._kept_a is None else min(self._kept_a, offered_a)

    def see_stop(self, offered_a: float) -> None:
        """Note that the car has stopped right after its offer fell to this one."""
        if self._kept_a is not None and offered_a < self._kept_a - LOWER_A:
            self._needed_a = max(self._needed_a, min(self._kept_a, MOST_NEEDED_A))
            self._update()


class LearnedNeed:
    """Current that the car takes when it may take more: `cap_a` (A per phase), None: all."""

    def __init__(self, min_a: float, max_a: float) -> None:
        self._min_a = min_a
        self._max_a = max_a
        self._since: float | None = None
        self._highest = 0.0
        self.cap_a: float | None = None

    def set_bounds(self, min_a: float, max_a: float) -> None:
        """Use another minimum and maximum of the EVSE."""
        self._min_a, self._max_a = min_a, max_a

    def reset(self) -> None:
        """Drop the cap: another car may take all."""
        self.cap_a = None
        self._end_watch()

    def see(self, draw_a: float, offered_a: float, now: float) -> None:
        """Take in one settled report of a charging car: its most loaded phase (A)."""
        if self.cap_a is not None and draw_a >= self.cap_a - NEAR_CAP_A:
            risen = max(self.cap_a * CAP_GROWTH, self.cap_a + CAP_STEP_A)
            self.cap_a = risen if risen < self._max_a else None
            self._end_watch()
        elif draw_a < offered_a - HEADROOM_A:
            self._watch(draw_a, now)
        else:
            self._end_watch()

    def _watch(self, draw_a: float, now: float) -> None:
        if self._since is None:
            self._since = now
        self._highest = max(self._highest, draw_a)
        if now - self._since >= WATCH_S:  # reports at both ends: at least two of them
            self.cap_a = max(self._min_a, self._highest + HEADROOM_A)

    def _end_watch(self) -> None:
        self._since = None
        self._highest = 0.0
