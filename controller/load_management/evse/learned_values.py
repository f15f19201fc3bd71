"""Values learned of a car in its session, and of its station.

*Of the car*: the phases that it uses, and how much it takes. Both are worst-case until proven: every wired
phase, and all that the EVSE can give. Both are forgotten when the next car may be another one.

*Reaction* of the station: from its acceptance of a lower limit until a report shows the draw below it.
Reports are seldom, so a station counts as slow only when one has shown it still above after `REACTION_S`;
then the time of the next one that shows it below counts. The slowest of the last `WINDOW` cuts counts.
What it may take at the worst is as long as `UNSHOWN_S` until a report has shown it follow a change sooner.

*Step* of the station: what it left of a limit when a higher limit later showed that its car would have taken
more: a station with steps of 6, 8, 10, 13 and 16 A only takes 13 A of 15 A. A station that draws whole
amperes only of several offers is given whole amperes.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

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
LOWER_A = 0.2
"""Fall of an offer that may have stopped the car."""


REACTION_S = 5.0
"""Longest normal time from the answer until the car obeys (s): IEC 61851-1 gives the car 5 s."""
SLOWEST_S = 60.0
"""A station that draws more than its limit for longer after its answer does not obey (s)."""
OVERDRAW_A = 1.0
"""Meters and pilots are not exact: a draw must be so far above the offer to count as disobedience."""
UNSHOWN_S = 30.0
"""Time (s) that a station may take of which nothing is known: the slowest of those that are in use."""
WINDOW = 8
QUICK_STEPS = 2
"""Steps in a row that no report has shown late, after which a station is taken to follow as others do."""
STEP_A = 0.5
"""Draws that differ by less are the same."""
LEAST_FRACTION_A = 0.3
"""Offers with a smaller fraction of an ampere do not show how a station rounds."""
EXACT_A = 0.06
"""Error of a draw that is given with one decimal."""
WHOLE_OFFERS = 3
"""Number of different offers of which a station that rounds has drawn the whole amperes only."""


class LearnedPhases:
    """Phases of the station that the car draws on: `used`, one flag for each.

    `known`: reports have shown it; before, `used` is the worst case. `least`: so many are used for sure.
    `needs_test`: a step of the offer is to show the phases; only a few times for each car. `tests`: so many
    were made.
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
        if single:  # only a step that another phase clearly follows shows that its station has not switched
            self._evidence = [MOST_EVIDENCE if not used else -MOST_EVIDENCE for used in self.used]
        self.tests = 0
        self._find_test()

    def restore(self, used: tuple[bool, ...]) -> None:
        """Take these to be used, as reports have shown before."""
        self.used, self.known = used, True

    def doubt(self) -> None:
        """Count every phase again until reports or steps show it anew: the same car may have added some."""
        self.used = (True,) * self._wired
        self.known = self._wired == 1
        self._seen, self._times = None, 0
        self._evidence = [0.0] * self._wired
        self._find_test()

    @property
    def _is_decided(self) -> bool:
        """Return True if the car's steps have shown of each phase whether it is used, or reports of all."""
        return self.least == self._wired or all(abs(each) >= UNUSED_EVIDENCE for each in self._evidence)

    @property
    def may_test(self) -> bool:
        """Return True if another step may be made for its car."""
        return self.tests < MOST_TESTS

    def _find_test(self) -> None:
        self.needs_test = self.may_test and not self._is_decided

    def on_step(self, evidence: Sequence[float]) -> bool:
        """Take in what a step of the car shows of each phase; return True if `used` changes.

        For stations that report no currents, or name no phases. `evidence`: that a phase is not used;
        negative: that it is. Fewer phases than reports have shown to be used are no result.
        """
        self._evidence = [
            min(max(-MOST_EVIDENCE, before + found), MOST_EVIDENCE)
            for before, found in zip(self._evidence, evidence, strict=True)
        ]
        before = self.used
        used = tuple(sum_ < UNUSED_EVIDENCE for sum_ in self._evidence)
        self._find_test()
        if sum(used) < self.least:
            return False
        self.used = used
        self.known |= self._is_decided
        return self.used != before

    def on_test(self) -> int:
        """Note that a test begins; return which one it is, from 1 on."""
        self.tests += 1
        self._find_test()
        return self.tests

    def on_report(self, draw: Sequence[float | None], least: int = 0) -> bool:
        """Take in one report (A per phase) of a charging car; return True if `used` has grown by it.

        `least`: the report names no phases, and shows only that at least so many are used; 0: it names them.
        A phase comes back at the first report that shows it in use. It goes only after agreeing
        reports in each of which it is idle, all phases are reported, and another one is loaded.
        """
        before = self.used
        if least:
            self.least = max(self.least, min(least, sum(before)))
            self.known |= self.least == self._wired
            self._find_test()
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
    """Least offer (A per phase) under which the car charges: `least_a`, the EVSE's `min_a` until it stops.

    A car that charges under one offer and stops when it falls needs more than the lower one, until it charges
    under less. It is then offered the lowest that has kept it charging, at most `MOST_NEEDED_A`.
    """

    def __init__(self, min_a: float, max_a: float) -> None:
        self._needed_a = 0.0
        self.set_bounds(min_a, max_a)
        self.reset()

    def set_bounds(self, min_a: float, max_a: float) -> None:
        """Use another minimum and maximum of the EVSE."""
        self.min_a, self._max_a = min_a, max_a
        self._update()

    def reset(self) -> None:
        """Drop the minimum: another car may need less."""
        self._kept_a: float | None = None
        self._needed_a = 0.0
        self._update()

    def _update(self) -> None:
        self.least_a = max(self.min_a, min(self._needed_a, self._max_a))

    def on_draw(self, offered_a: float) -> None:
        """Note that the car charges under a settled offer."""
        self._kept_a = offered_a if self._kept_a is None else min(self._kept_a, offered_a)
        if self._kept_a < self._needed_a:
            self._needed_a = self._kept_a
            self._update()

    def on_stop(self, offered_a: float) -> None:
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

    def on_settled_draw(self, draw_a: float, offered_a: float, now: float) -> None:
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


class LearnedResponse(msgspec.Struct, frozen=True):
    """`reaction_s`, from a yes to the draw (s); `step_a`, the most (A) it left of a limit by rounding.

    `obeys`: whether it followed its last cut; None before the first. `whole_amps`: it follows whole amperes
    only. `shown_s`: the shortest time (s) in which reports have shown it follow a change.
    """

    reaction_s: float = REACTION_S
    step_a: float = 0.0
    obeys: bool | None = None
    whole_amps: bool = False
    shown_s: float = UNSHOWN_S

    @property
    def slowest_s(self) -> float:
        """Return the longest that it may take to follow (s), as far as its reports leave that open."""
        return max(self.reaction_s, self.shown_s)


class ChargerResponse:
    """Learns the response of one EVSE's station. It outlives its links, and a restart of ours."""

    def __init__(self) -> None:
        self._reactions: deque[float] = deque(maxlen=WINDOW)
        self._step_a = 0.0
        self._obeys: bool | None = None
        self._cut: tuple[float, float] | None = None  # the limit (A), and when the station accepted it
        self._late = False
        self._drawn_a = 0.0
        self._shown_s = UNSHOWN_S
        self._quick_steps = 0
        """Steps that it has followed since one was late."""
        self._left: tuple[float, float] | None = None  # an offer, and the draw that stayed below it
        self.whole_amps = False
        """True if its station follows whole amperes only."""
        self._rounded: set[int] = set()  # whole amperes that it drew of an offer with more

    @property
    def learned(self) -> LearnedResponse:
        """Return what has been learned."""
        return LearnedResponse(
            max(self._reactions, default=REACTION_S),
            self._step_a,
            self._obeys,
            self.whole_amps,
            self._shown_s,
        )

    def restore(self, learned: LearnedResponse) -> None:
        """Take over what was learned before a restart."""
        if learned.reaction_s > REACTION_S:
            self._reactions.append(min(learned.reaction_s, SLOWEST_S))
        self._step_a, self._obeys, self.whole_amps = learned.step_a, learned.obeys, learned.whole_amps
        self._shown_s = learned.shown_s

    def reset_car(self) -> None:
        """Drop what the last car left of its offers."""
        self._cut = self._left = None
        self._drawn_a = 0.0

    def on_limit_accepted(self, limit_a: float, now: float) -> None:
        """Note a limit (A per phase) that the station accepted."""
        if self._drawn_a <= limit_a + OVERDRAW_A:
            self._cut = None
        elif self._cut is None or limit_a < self._cut[0]:
            self._cut, self._late = (limit_a, now), False
        else:
            self._cut = (limit_a, self._cut[1])  # raised again, and still below what it drew

    def on_followed(self, since: float, reported_at: float, drawn_a: float, now: float) -> None:
        """Take in that it draws `drawn_a`, by an offer of `since`, which it did not at the report before (s).

        Reports are seldom: a few steps of which none was late show as much as an early report. A cut shows
        the reaction, also where the limit has changed again by now; a rise shows how the car ramps up, too.
        """
        if drawn_a < self._drawn_a:
            is_late = reported_at > since + REACTION_S
            self._reactions.append(min(now - since, SLOWEST_S) if is_late else REACTION_S)
            self._obeys = True
        if now - since >= UNSHOWN_S:
            return
        self._shown_s = min(self._shown_s, now - since)
        self._quick_steps = self._quick_steps + 1 if reported_at <= since + REACTION_S else 0
        if self._quick_steps >= QUICK_STEPS:
            self._shown_s = min(self._shown_s, REACTION_S)

    def on_draw(self, drawn_a: float, now: float) -> None:
        """Take in one report: the draw on the most loaded phase (A)."""
        self._drawn_a = drawn_a
        if self._cut is None:
            return
        limit_a, since = self._cut
        waited_s = now - since
        if drawn_a <= limit_a + OVERDRAW_A:
            self._reactions.append(min(waited_s, SLOWEST_S) if self._late else REACTION_S)
            self._obeys, self._cut = True, None
        elif waited_s > SLOWEST_S:
            self._obeys, self._cut = False, None
        else:
            self._late |= waited_s > REACTION_S

    def on_settled_draw(self, offered_a: float, drawn_a: float) -> None:
        """Take in the draw of a car that had the time to follow its offer."""
        if self._left is not None:
            offer_a, draw_a = self._left
            if offered_a > offer_a and drawn_a > draw_a + STEP_A:
                self._step_a = max(self._step_a, round(offer_a - draw_a, 1))
        begun = drawn_a > STEP_A  # a car that has not begun leaves all of its offer, and that is no rounding
        self._left = (offered_a, drawn_a) if begun and drawn_a < offered_a - STEP_A else None
        self._learn_whole_amps(offered_a, drawn_a)

    def _learn_whole_amps(self, offered_a: float, drawn_a: float) -> None:
        """Learn whether it leaves what an offer has beyond whole amperes, at several offers.

        A car at its own limit of 16 A leaves as much, but at offers of 16 A only. One draw of a fraction
        shows that its station does follow fractions.
        """
        whole_a = math.floor(offered_a)
        if offered_a - whole_a < LEAST_FRACTION_A:
            return
        if abs(drawn_a - whole_a) <= EXACT_A:
            self._rounded.add(whole_a)
            self.whole_amps |= len(self._rounded) >= WHOLE_OFFERS
        elif drawn_a > whole_a + LEAST_FRACTION_A / 2:
            self._rounded.clear()
            self.whole_amps = False
