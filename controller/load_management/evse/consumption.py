"""Draw of one EVSE at this moment, as an interval: reports are late, and offers change between them.

A report is *settled* if it came after the station had the time to follow its last offer: `reaction_s`
where the draw is at that offer or the car's own, else as long as the station may take at the worst. Then the
draw is known. Between a change and the next settled report the EVSE is *in transition*: it draws at least
the smaller of its last report and the new offer, at most the highest offer that it may follow yet. Which of
the offers that is, each report shows.

A report that is *overdue* shows nothing about the least draw any more, but the offer still bounds the
draw from above. An EVSE that never reports therefore counts as drawing between 0 and its offer.

That interval is sure, and wide while reports are missing. Within it lies what is likely: once the station and
its car had the time to follow, a car that charges draws its offer, or as much as it was seen to need. A base
load found beside the likely draw is right within few A where the sure interval leaves tens of A open.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence

import msgspec

from controller.load_management.evse.learned_values import (
    OVERDRAW_A,
    REACTION_S,
    SLOWEST_S,
    UNLOADED_A,
    UNSHOWN_S,
)
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps, PhaseFlags
from controller.model.deadlines import first_after
from controller.model.observations import DrawSeen, EvseRef
from drivers.reading import PerPhase

LIMITS = 8
"""Number of offers in a row among which the one that a station follows is looked for."""
TRANSITION_S = 30.0
"""Longest transition of an EVSE that reports often (s)."""
PATIENCE = 1.5
"""Report intervals that may pass before the next report is overdue."""
LONGEST_TRANSITION_S = 150.0
LONGEST_INTERVAL_S = 1200.0
"""Longest interval of reports (s): after a longer one its station has paused them."""
FOLLOWED_S = 3.0
"""Time (s) after a station has followed its offer until the meter shows that: cars ramp, answers and meters
are late. What a cut frees is not missed, and cut again, before."""
EPISODE_S = 60.0
"""An EVSE without reports whose offer fell within this time has had its chance to reduce."""
CREEP_A = 0.3
"""Least excess over a settled offer that counts when two reports in a row show it."""
RESTORED_S = 120.0
"""Longest time (s) after a restart for which an offer stands of which no report has shown the draw."""
UNREPORTED_S = 300.0
"""A station whose last report of currents is older reports none: the meter above shows its car's phases."""
DRAWING_A = 1.0
"""A report above this shows a car, whatever the state: some stations stay `Available`."""
BEFORE_STATE_S = 5.0
"""Longest time (s) that current flows before the state `Charging` is reported."""
HIGH_VOLTAGE = 1.07
"""Multiple of the declared voltage up to which a power shows no more current than the limits allow. Cars that
draw 0.5 A above 6 A are above that."""
IMPOSSIBLE = 1.25
IMPOSSIBLE_A = 5.0
"""A report above this multiple of the EVSE's maximum, and by so much, cannot be true of its wiring."""
NOISE_BELOW_A = 1.0
"""Zero of a meter that is so much too low is noise (A); a lower report cannot be true."""


def bound_power(seen: DrawSeen, allowed_a: float) -> DrawSeen:
    """Return a draw from powers at a voltage that nothing measures, within the limits (A per phase).

    One that is above them by no more than a high voltage explains is as high as they are.
    """
    first, second, third = (
        allowed_a if amps is not None and allowed_a < amps <= HIGH_VOLTAGE * allowed_a else amps
        for amps in seen.current_a
    )
    return msgspec.structs.replace(seen, current_a=(first, second, third))


class OfferCredit(msgspec.Struct, frozen=True, gc=False):
    """Draw of one EVSE on the site's phases, in A: from `low` to `high`.

    `unreacted`: the least that it draws if it has not yet followed a cut that is on its way to it.
    `in_reaction`: the same, but `low` once its station has had the time to follow.
    `likely_low` to `likely_high`: what it draws as a rule, within `low` to `high`.
    """

    low: PhaseAmps
    high: PhaseAmps
    unreacted: PhaseAmps
    in_reaction: PhaseAmps
    likely_low: PhaseAmps
    likely_high: PhaseAmps

    @classmethod
    def within(
        cls, low: PhaseAmps, high: PhaseAmps, unreacted: PhaseAmps, *, reacting: bool = False
    ) -> OfferCredit:
        """Return a draw of which nothing is known but its bounds."""
        return cls(low, high, unreacted, unreacted if reacting else low, low, high)

    def unreacted_on(self, phases: PhaseFlags) -> OfferCredit:
        """Return the same for a car that has not followed a cut on these phases alone."""
        return msgspec.structs.replace(
            self, unreacted=_only_on(phases, self.unreacted), in_reaction=_only_on(phases, self.in_reaction)
        )

    def expecting(self, likely_low: PhaseAmps, likely_high: PhaseAmps) -> OfferCredit:
        """Return the same with another likely draw, as far as that lies between `low` and `high`."""
        bounded = self._bounded(likely_low)
        other = bounded if likely_high == likely_low else self._bounded(likely_high)
        return OfferCredit(self.low, self.high, self.unreacted, self.in_reaction, bounded, other)

    def _bounded(self, draw: PhaseAmps) -> PhaseAmps:
        (low_a, low_b, low_c), (high_a, high_b, high_c) = self.low, self.high
        first, second, third = draw
        if low_a <= first <= high_a and low_b <= second <= high_b and low_c <= third <= high_c:
            return draw
        return (
            min(max(first, low_a), high_a),
            min(max(second, low_b), high_b),
            min(max(third, low_c), high_c),
        )


def _only_on(phases: PhaseFlags, amps: PhaseAmps) -> PhaseAmps:
    """Return the current (A) of these phases, and none of the others."""
    first, second, third = (each if flag else 0.0 for each, flag in zip(amps, phases, strict=True))
    return (first, second, third)


NOTHING = OfferCredit.within(ZERO, ZERO, ZERO)


class ReportedStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Step of one EVSE's draw by `delta_a` (A on the site's phases) that a report of `reported_at` shows.

    It happened between `since` and `at` (s, monotonic).
    """

    ref: EvseRef
    delta_a: PhaseAmps
    since: float
    at: float
    reported_at: float


class CommandedStep(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Step of an EVSE's draw (A on the site's phases) by a limit that its station accepted at `at` (s).

    Its car has followed `takes_s` later as a rule, `slowest_s` later at the worst. `is_known`: its last
    report shows what it draws; else the step is the most that it can be. Its station reports each `report_s`.
    """

    ref: EvseRef
    delta_a: PhaseAmps
    at: float
    takes_s: float
    slowest_s: float
    report_s: float
    is_known: bool


def on_site_phases(evse: EvseNode, amps: Sequence[float]) -> PhaseAmps:
    """Map a station's A per phase to the phases of the site that it is wired to."""
    site = [0.0, 0.0, 0.0]
    for phase, value in zip(evse.phases, amps, strict=True):
        site[phase] += value
    return (site[0], site[1], site[2])


def on_wired_phases(evse: EvseNode, report: PerPhase) -> tuple[float | None, ...]:
    """Map a report to the phases that the station has; a one-phase station may use any column.

    Stations whose `reports_on_grid` is set report on the phases of the site, not on their own.
    """
    if len(evse.phases) == 1:
        known = [amps for amps in report if amps is not None]
        return (max(known) if known else None,)
    if evse.reports_on_grid:
        return tuple(report[phase] for phase in evse.phases)
    return report[: len(evse.phases)]


def is_possible(evse: EvseNode, report: PerPhase) -> bool:
    """Check that a report is finite, not negative and not far above the EVSE's maximum."""
    highest_a = max(IMPOSSIBLE * evse.max_a, evse.max_a + IMPOSSIBLE_A)
    return all(
        amps is None or (math.isfinite(amps) and -NOISE_BELOW_A <= amps <= highest_a) for amps in report
    )


class ConsumptionTracker:
    """Reports and offers of one EVSE. `report`: the last A per wired phase, None where not reported.

    `defiant_a`: draw at the last report if no limit in the station allows that much, else 0. `is_late`: the
    last report shows that it has not followed its offer in the time that it takes as a rule.
    """

    def __init__(self, evse: EvseNode, now: float) -> None:
        self.report: tuple[float | None, ...] = (None,) * len(evse.phases)
        self._sure_a: tuple[float, ...] = (0.0,) * len(evse.phases)
        """Least that flows on each wired phase by the last report (A): it may not show which carry it."""
        self._total_a = 0.0
        self.replace_evse(evse)
        self._reaction_s = self._slowest_s = REACTION_S
        self.shown_a = (0.0, math.inf)
        """Least and most that it draws by the last step of its offer in the meter above (A per phase)."""
        self.reported_at: float | None = None
        self.known_at = now
        """Time at which its draw was last known, by a report or by a state without current."""
        self._interval_s = 0.0
        self._offered_a = evse.max_a
        self._limits: deque[tuple[float, float]] = deque([(now, evse.max_a)], maxlen=LIMITS)
        """Offers that the station may follow yet, with the times from which on they counted, oldest first."""
        self._highest_a = self._lowest_a = self._unfollowed_a = evse.max_a
        self._before_rise_a = math.inf
        """Offer before a rise that its station may not have followed yet; infinite after a cut."""
        self.follows_a = math.inf
        """Highest offer that the station may follow yet by its last report; infinite: that shows none."""
        self.followed_since: float | None = None
        """Time from which on the offer counted that the last report shows first; None: it shows none."""
        self.followed_within = (-math.inf, math.inf)
        """Moments between which its car has followed its offers from the one to the other of the last two
        reports (s, monotonic); unbounded where a report shows anything else."""
        self.is_late = False
        self.own_a = math.inf
        """Draw of a car that charges at the last settled report (A per phase), where the offer was higher."""
        self.takes_a = 0.0
        """The most that its car has been reported to take of an offer (A per phase); 0: unknown."""
        self._changed_at = self._begun_at = now
        self._settled = False
        self._follows = False
        """True if the last report shows as much of the offer as its car takes."""
        self.has_followed = False
        """True if the one before it did, too: it has followed all offers between them."""
        self.was_settled = False
        """True if the last report shows the draw under the offer before this one."""
        self._stopped = False
        self.defiant_a = 0.0
        self._excess_a = 0.0
        self._creep_a = 0.0
        self._restored_a, self._restored_until = 0.0, -math.inf
        """Its offer from before a restart (A per phase), and until when at most no report shows the draw."""
        self._find_moments()

    def _find_moments(self) -> None:
        """Find from when its station has followed its offer, and from when a report is overdue.

        It is likely to have followed from `_followed_at` on, for sure from `_shown_at` on; a settled report
        shows its draw. From `_unreported_at` on it reports no currents, without another report.
        """
        takes_s = self._slowest_s if self.is_late else self._reaction_s
        self._followed_at = self._changed_at + takes_s + FOLLOWED_S
        self._shown_at = math.inf if self._settled else self._changed_at + self._slowest_s + FOLLOWED_S
        patience_s = min(max(TRANSITION_S, PATIENCE * self._interval_s), LONGEST_TRANSITION_S)
        self._report_due_at = self.known_at + patience_s + self._reaction_s - REACTION_S
        self._unreported_at = -math.inf if self.reported_at is None else self.reported_at + UNREPORTED_S

    def set_reaction(self, reaction_s: float, slowest_s: float) -> None:
        """Set the time (s) that its station takes to follow, and the longest that it may take."""
        self._reaction_s, self._slowest_s = reaction_s, slowest_s
        self._find_moments()

    def restore_offer(self, limit_a: float, now: float) -> None:
        """Take the offer from before a restart (A per phase) as one that its station has followed."""
        self._offered_a = self._highest_a = self._lowest_a = self._unfollowed_a = limit_a
        self._limits = deque([(now, limit_a)], maxlen=LIMITS)
        self._find_moments()

    def let_offer_stand(self, now: float) -> None:
        """Count its draw by an offer from before a restart as base load, until a report has shown it."""
        if self._offered_a >= self._evse.min_a:
            self._restored_a, self._restored_until = self._offered_a, now + RESTORED_S

    def restored_a(self, now: float) -> float | None:
        """Return its offer from before a restart (A per phase), while its draw is a part of the base load.

        None: it is not, or the offer began after the start.
        """
        return self._restored_a if now < self._restored_until else None

    def end_restored(self) -> None:
        """Take it from now on as any EVSE whose station has not reported its draw."""
        self._restored_until = -math.inf

    def replace_evse(self, evse: EvseNode) -> None:
        """Use other settings of the EVSE, on as many phases."""
        self._evse = evse
        self._wires = on_site_phases(evse, (1.0,) * len(evse.phases))
        """1 for each of the site's phases that one of the station's is wired to, else 0."""
        self._set_report(self.report, self._sure_a, self._total_a)

    def _set_report(
        self, report: tuple[float | None, ...], sure_a: tuple[float, ...], total_a: float = 0.0
    ) -> None:
        """Set the last report, the least that flows on each wired phase, and all phases together (A)."""
        self.report, self._sure_a, self._total_a = report, sure_a, total_a
        shown_a = [amps or 0.0 for amps in report]
        self.most_loaded_a = max(shown_a, default=0.0)
        """The last report's most loaded phase (A)."""
        self.drawn = on_site_phases(self._evse, shown_a)
        """The last report on the site's phases (A), a missing value as 0."""
        self.surely_drawn = on_site_phases(self._evse, sure_a)
        """The least that flows on the site's phases by it (A)."""

    @property
    def settled(self) -> bool:
        """Return True if the last report shows the car's draw under its present offer."""
        return self._settled

    @property
    def total_a(self) -> float:
        """Return the last report of all phases together (A); where they are not shown, the most it can be."""
        return self._total_a or sum(amps or 0.0 for amps in self.report)

    @property
    def shown(self) -> PhaseAmps:
        """Return the last report on the site's phases (A) for people.

        Of a total that names no phases, each carries an equal part where it is not known which do.
        """
        most_a = sum(amps or 0.0 for amps in self.report)
        if not 0.0 < self._total_a < most_a:
            return self.drawn
        first, second, third = (amps * self._total_a / most_a for amps in self.drawn)
        return first, second, third

    @property
    def may_follow_a(self) -> float:
        """Return the highest offer that its station may follow yet (A per phase)."""
        return self._highest_a

    def least_offer_a(self, now: float) -> float:
        """Return its offer, or the one before a rise that it may not have followed yet (A per phase)."""
        return self._offered_a if now >= self._followed_at else min(self._offered_a, self._before_rise_a)

    @property
    def overdraw_a(self) -> float:
        """Return the draw beyond the offer (A on the most loaded phase) that no limit allows."""
        return max(0.0, self.defiant_a - self._offered_a, self._creep_a)

    @property
    def has_excess(self) -> bool:
        """Return True if the last reports were above a limit: `overdraw_a` may be more than 0."""
        return self.defiant_a > 0 or self._creep_a > 0

    @property
    def report_interval_s(self) -> float:
        """Return the longest recent time between two reports (s); 0 before the second one."""
        return self._interval_s

    def reports_each_s(self, now: float) -> float:
        """Return the longest recent time (s) between two reports, or since the last one."""
        return math.inf if self.reported_at is None else max(self._interval_s, now - self.reported_at)

    def reports_none(self, now: float) -> bool:
        """Return True if its station has not reported the current of each phase for minutes."""
        return now > self._unreported_at

    def has_just_changed(self, now: float) -> bool:
        """Return True if its offer changed so late that the last report may be the first one under it."""
        return now <= self._changed_at + max(EPISODE_S, PATIENCE * self._interval_s) + self._reaction_s

    def held_for(self, duration_s: float, now: float) -> bool:
        """Return True if its station has followed its present offer for so long (s)."""
        return now - duration_s >= self._changed_at + self._reaction_s

    def unknown(self, now: float) -> bool:
        """Return True if it may draw something and no recent report shows how much."""
        return None in self.report or self.is_overdue(now)

    def offer(self, limit_a: float, now: float) -> bool:
        """Set the offer (A per phase) from now on; return True if it changed."""
        if abs(limit_a - self._offered_a) < 0.05:
            return False
        # What its station had the time to follow, no later change makes doubtful again.
        before_a = self._offered_a if now >= self._followed_at else self._unfollowed_a
        self._unfollowed_a = max(before_a, limit_a)
        if limit_a < self._offered_a:
            self._before_rise_a = math.inf
        elif now >= self._followed_at or self._before_rise_a == math.inf:
            self._before_rise_a = self._offered_a
        self._offered_a = limit_a
        self._limits.append((now, limit_a))
        self.was_settled = self._settled
        self._highest_a = max(self._highest_a, limit_a)
        self._lowest_a = min(self._lowest_a, limit_a)
        self._changed_at = now
        self._settled = self.is_late = False
        self._find_moments()
        return True

    def start(self, now: float) -> None:
        """Assume that it may draw from now on, against the last report."""
        if self._stopped:
            self.known_at = max(self.known_at, now - BEFORE_STATE_S)
        self._stopped = False
        self._changed_at = now
        self._settled = False
        self._find_moments()

    def stop(self, now: float) -> None:
        """Assume that it gives no current from now on, by its state; a later report may contradict."""
        self.end_restored()
        self._stopped = True
        self.followed_within = (-math.inf, math.inf)
        self.own_a = math.inf
        self.known_at = now
        self.defiant_a = self._excess_a = self._creep_a = 0.0
        self._follow(len(self._limits) - 1)
        nothing = (0.0,) * len(self._evse.phases)
        self._set_report(nothing, nothing)
        self._find_moments()

    def drop_reports(self) -> None:
        """Take it as not having reported: what its station reported was wrong."""
        wired = len(self._evse.phases)
        self._set_report((None,) * wired, (0.0,) * wired)
        self.takes_a = 0.0
        self.reported_at = None
        self.followed_within = (-math.inf, math.inf)
        self._settled = self.was_settled = self.is_late = False
        self._find_moments()

    def add_report(
        self, report: PerPhase, now: float, first_a: float | None = None, total_a: float = 0.0
    ) -> bool:
        """Take in one report; return True if it is settled.

        `first_a`: it shows what each phase may carry, and for sure only so much (A) on the station's first
        one, which every car uses; None: it shows what each carries. `total_a`: of all phases, if it shows
        that.
        """
        if self.reported_at is not None and now - self.reported_at <= LONGEST_INTERVAL_S:
            self._interval_s = max(0.9 * self._interval_s, now - self.reported_at)
        before_a = self.most_loaded_a
        wired = on_wired_phases(self._evse, report)
        sure_a = [amps or 0.0 for amps in wired] if first_a is None else [first_a, *(0.0 for _ in wired[1:])]
        self._set_report(wired, tuple(sure_a), total_a)
        self._find_followed(before_a, now)
        self.reported_at = self.known_at = now
        self._find_moments()
        return self._settled

    def _find_followed(self, before_a: float, now: float) -> None:
        """Find by the last report which of its offers the station follows, after one of `before_a`.

        It follows the oldest one that agrees with the draw, or a later one. A draw that agrees with none, and
        is not above the offer, is the car's own.
        """
        drawn_a, waited_s = self.most_loaded_a, now - self._changed_at
        agrees = [abs(drawn_a - limit_a) <= OVERDRAW_A for _, limit_a in self._limits]
        is_usual = not self.takes_a or abs(drawn_a - self.takes_a) <= OVERDRAW_A
        found = agrees.index(True) if True in agrees else None
        self.followed_since, self.follows_a = None, math.inf
        self.followed_within = (-math.inf, math.inf)
        if found is not None:
            since, _ = self._limits[found]
            has_begun = before_a > UNLOADED_A and abs(before_a - self._limits[0][1]) <= OVERDRAW_A
            if found and has_begun and all(agrees[found:]):
                # Few quick reports do not show that a station always follows so soon.
                self.followed_within = (self._limits[1][0], since + max(self._slowest_s, UNSHOWN_S))
            if abs(drawn_a - before_a) > OVERDRAW_A and now > self._begun_at + SLOWEST_S:
                self.followed_since = since
            self._follow(found)
            self.follows_a = self._highest_a
        shows_all = drawn_a <= self._offered_a + OVERDRAW_A if found is None else all(agrees[found:])
        if waited_s >= self._slowest_s or (waited_s >= self._reaction_s and shows_all):
            self._settled, self.is_late = True, False
            self._follow(len(self._limits) - 1)
            takes_less = UNLOADED_A < drawn_a < self._offered_a - OVERDRAW_A
            self.own_a = drawn_a if takes_less else math.inf
            self.takes_a = min(self.takes_a, self.own_a)
        elif waited_s >= self._reaction_s:
            self.is_late = True
        if drawn_a > UNLOADED_A:
            self.takes_a = max(self.takes_a, drawn_a)
        elif self._offered_a >= self._evse.min_a:
            self.takes_a = 0.0
        # A car that draws nothing may have become full at any time.
        follows = drawn_a > UNLOADED_A and waited_s >= self._reaction_s
        follows &= agrees[-1] or (is_usual and drawn_a < self._offered_a)
        self.has_followed, self._follows = self._follows and follows, follows
        if drawn_a > self.shown_a[1] + OVERDRAW_A:
            self.shown_a = (0.0, math.inf)  # the report is right

    def _follow(self, place: int) -> None:
        """Drop the offers before this one: the station follows it, or a later one."""
        for _ in range(place):
            self._limits.popleft()
        self._highest_a = max(limit_a for _, limit_a in self._limits)
        self._lowest_a = min(limit_a for _, limit_a in self._limits)

    def check_obedience(self, allowed_a: float) -> None:
        """Compare the last report with the highest limit (A) that may be in the station.

        Two settled reports in a row that exceed the offer by a little make that excess part of the draw:
        cars that draw 0.5 to 1 A above every offer overload a row of them. A report that is not settled
        shows nothing of that.
        """
        drawn_a = self.most_loaded_a
        self.defiant_a = drawn_a if drawn_a > allowed_a + OVERDRAW_A else 0.0
        if not self._settled:
            return
        excess_a = max(0.0, drawn_a - allowed_a)
        if excess_a <= CREEP_A:
            excess_a = 0.0
        self._creep_a = min(excess_a, self._excess_a)
        self._excess_a = excess_a

    def is_overdue(self, now: float) -> bool:
        """Return True if a report should have come by now, or none ever came."""
        return not self._stopped and now > self._report_due_at

    def likely_a(self, now: float) -> tuple[float, float] | None:
        """Return the least and the most that a car which charges draws as a rule (A), however much it needs.

        None while it follows a change of its offer, and where a report shows the draw. A car that drew less
        than its offer may do so under a higher one.
        """
        if now < self._followed_at or (now < self._shown_at and not self.is_overdue(now)):
            return None
        most_a = min(self._offered_a + self.overdraw_a, self.shown_a[1])
        return min(self.own_a, most_a), most_a

    def credit_changes_at(self, now: float) -> float:
        """Return when `credit`, `reports_none` or `restored_a` changes without an event (s, monotonic).

        inf: never.
        """
        moments = (self._followed_at, self._shown_at, self._unreported_at + 1e-3, self._restored_until)
        soonest = first_after(now, moments)
        if self._stopped:
            return soonest
        overdue_at = self._report_due_at + 1e-3
        if now < overdue_at:
            return min(soonest, overdue_at)
        episode_ends_at = self._changed_at + EPISODE_S
        return min(soonest, episode_ends_at) if now < episode_ends_at else soonest

    def credit(self, now: float, *, has_car: bool) -> OfferCredit:
        """Return what it draws now.

        An EVSE that gives no current but has a car may begin in this second: current flows a moment
        before a message reports it. Without a car it cannot.
        """
        if self._stopped and self.most_loaded_a < UNLOADED_A:
            high_a = self._on_all_phases(self._highest_a) if has_car else ZERO
            return OfferCredit.within(ZERO, high_a, ZERO)
        obeyed = self._offered_a + self.overdraw_a
        reacting = now < self._followed_at
        unfollowed_a = self._highest_a if self.is_late else self._unfollowed_a
        before = max(min(unfollowed_a, self._before_rise_a), self.defiant_a) if reacting else obeyed
        if self.is_overdue(now):
            return self._overdue_credit(before, now, reacting=reacting)
        least_a = before if self.is_late else obeyed
        low = self._sure_below(least_a)
        unreacted = low if before == least_a else self._sure_below(before)
        if self._settled:
            likely, high = self._sure_below(obeyed), self._reported_below(obeyed)
        else:
            likely = self._sure_below(self._lowest_a)
            high = self._on_all_phases(max(self._highest_a, self.defiant_a))
        return OfferCredit(low, high, unreacted, unreacted, likely, high)

    def _sure_below(self, most_a: float) -> PhaseAmps:
        """Return what flows for sure by the last report, at most so much (A on the site's phases)."""
        first, second, third = self.surely_drawn
        return (min(first, most_a), min(second, most_a), min(third, most_a))

    def _reported_below(self, most_a: float) -> PhaseAmps:
        """Return the last report, at most so much (A on the site's phases).

        A missing value counts as the highest of the others.
        """
        known = [amps for amps in self.report if amps is not None]
        missing_a = max(known, default=self._highest_a)
        return on_site_phases(
            self._evse, [min(missing_a if amps is None else amps, most_a) for amps in self.report]
        )

    def _overdue_credit(self, before: float, now: float, *, reacting: bool) -> OfferCredit:
        """Bound the draw by the offer alone.

        Where a circuit is above its plan, the EVSE is first taken to draw all of its offer, so that the
        plan falls by the excess and no more. If that did not help in the time that it takes, the EVSE draws
        less than its offer, the rest must be the building, and the plan counts it as such.
        """
        had_its_chance = not reacting and now < self._changed_at + EPISODE_S
        high_a = self._on_all_phases(max(self._highest_a, self.defiant_a))
        unreacted_a = ZERO if had_its_chance else self._on_all_phases(min(before, self.shown_a[1]))
        return OfferCredit.within(ZERO, high_a, unreacted_a, reacting=reacting)

    def _on_all_phases(self, amps: float) -> PhaseAmps:
        """Return so much (A) on each phase of the station, on the phases of the site."""
        first, second, third = self._wires
        return (amps * first, amps * second, amps * third)
