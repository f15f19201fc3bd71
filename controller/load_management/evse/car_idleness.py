"""Idleness of a car: since when it takes nothing of its offer, and when it is offered more to find out.

A car that takes nothing for `FULL_S` is full, or not ready, and its share goes to others. It is *probed* for
`PROBE_S` of each hour: it is offered as much as any other, as some go on only then. A car whose draw has
ended without a taper may be pausing: it is probed with its minimum after `PAUSE_PROBE_S`, too. A car that did
not start with its minimum is *helped to start* once: others make room for an offer of `START_A`.
"""

from __future__ import annotations

import math

from controller.load_management.evse.consumption import (
    BEFORE_STATE_S,
    DRAWING_A,
    PATIENCE,
    ConsumptionTracker,
)
from controller.load_management.evse.learned_values import LearnedMinimum
from controller.model.observations import EvseState

FULL_S = 60.0
"""A car that takes nothing of its offer for so long is full, or is not ready."""
PROBE_EVERY_S = 3600.0
PROBE_S = 60.0
"""Interval and duration (s) of offers to a full car as to any other: some resume only then."""
FIRST_PROBE_S = 300.0
"""Least time (s) from the end of its draw to the first such offer."""
PAUSE_PROBE_S = 600.0
PAUSE_SPREAD_S = 300.0
"""When a car that may be pausing is probed, too (s after the end of its draw), and the time over which these
probes are spread: not all cars of a site at once."""
TAPER = 0.7
"""Part of its offer, or of the most that it has drawn, below which a car is in its taper."""
START_A = 10.0
"""Offer for a car that did not start at its minimum: some start at 8 to 10 A."""
START_PROBE_AT_S = 90.0
START_PROBE_S = 120.0
"""When others make room for that offer (s after the car did not start), and its duration."""
RESTLESS_S = 30.0
"""Where states show twice within this time (s) that current begins or ends, they show no step of the draw."""
SHORT_IDLE_S = 900.0
"""A car that took nothing for less than a minute keeps its need for a minute within this time (s)."""
IDLE_A = 0.5
"""A report below this shows that the car takes nothing."""


class CarIdleness:
    """Idleness of the car at one EVSE, from its state and its reports. Times in s, monotonic.

    `since`: the car has taken nothing of its offer from then on; None: it takes some, or nothing shows that
    it does not. `has_drawn`: it has taken current since it came. `charges_idle`: a report has shown that it
    takes nothing while its state was Charging, and none of a draw came since.
    """

    def __init__(self, draw: ConsumptionTracker, minimum: LearnedMinimum) -> None:
        self.since: float | None = None
        self.has_drawn = self.charges_idle = False
        self.probed_at_s = 0.0
        """Time in each `PROBE_EVERY_S` at which a full car is probed (s): not all of a site at once."""
        self._draw = draw
        self._minimum = minimum
        self._state = EvseState.UNKNOWN
        self._ended_at = -math.inf
        """Time at which its car last went on after it took nothing for less than `FULL_S`."""
        self._refused_at = -math.inf
        """Time of the last report that its car takes nothing of an offer."""
        self._shown_by: float | None = None
        """Time by which a report is to show that of a car which is idle by its state."""
        self._flips = (-math.inf, -math.inf)
        """Times at which its car began or ended to draw last by its states."""
        self._has_suspended = False
        """True if its state has been SuspendedEV since its car came."""
        self._draws_suspended = False
        """True if its station has reported a draw while its state was SuspendedEV, on its present link."""
        self._last_a = self._most_a = 0.0
        """Last draw that was reported, 0 once it has ended, and the highest (A on the most loaded phase)."""
        self._ended_untapered = False
        """True if its draw has ended without a taper."""

    def spread_probes(self, number: int) -> None:
        """Probe its car at another time than those of EVSEs with other numbers, of 60 in a row."""
        self.probed_at_s = number * PROBE_S % PROBE_EVERY_S

    def reset(self, state: EvseState) -> None:
        """Drop what is known of the car: another one may be there, in this state of the EVSE."""
        self.end()
        self._refused_at = self._ended_at = -math.inf
        self.has_drawn = self.charges_idle = False
        self._last_a = self._most_a = 0.0
        self._has_suspended = state is EvseState.SUSPENDED_EV

    def on_link_lost(self) -> None:
        """Drop what the station has shown of itself: another firmware may come with the next link."""
        self._draws_suspended = False

    def end(self) -> None:
        """Take the car as one that takes current."""
        self.since = self._shown_by = None

    def watch(
        self,
        state: EvseState,
        state_since: float,
        offered_a: float,
        now: float,
        *,
        is_running: bool,
        is_report: bool,
    ) -> None:
        """Follow for how long the car has taken nothing; weigh the state against the last report.

        `state` holds from `state_since` on, a transaction is running or not, and `offered_a` (A per phase) is
        offered. `is_report`: a report of the draw has come just now. A car sleeps on through pauses that are
        ordered: SuspendedEVSE follows from the offer then. Under an offer it shows, as Preparing does, that
        the car has not started.
        """
        draw = self._draw
        is_drawing = draw.most_loaded_a > DRAWING_A
        is_offered = offered_a >= self._minimum.min_a
        refuses = draw.settled and is_offered and draw.most_loaded_a < IDLE_A and None not in draw.report
        self._follow_state(state, state_since, now, draws=is_report and is_drawing)
        if is_report and refuses:
            self._refused_at = now
            self.charges_idle |= state is EvseState.CHARGING
        if is_drawing or not self._is_idle(state_since, now, is_running=is_running, refuses=refuses):
            if self.since is not None and self.has_drawn and now < self.since + FULL_S:
                self._ended_at = now
            self.end()
        elif self.since is None:
            self.since = now
            self._ended_untapered = self._last_a > max(0.0, TAPER * min(offered_a, self._most_a))
            self._last_a = 0.0
            if self.has_drawn and is_offered and draw.has_just_changed(now):
                self._minimum.on_stop(offered_a)
        if self.since is not None and self._shown_by is None and draw.report_interval_s:
            self._shown_by = now + PATIENCE * draw.report_interval_s
        if is_drawing:
            self.has_drawn, self.charges_idle = True, False
            self._last_a, self._most_a = draw.most_loaded_a, max(self._most_a, draw.most_loaded_a)

    def _follow_state(self, state: EvseState, state_since: float, now: float, *, draws: bool) -> None:
        """Note what the state shows of the car and its station; `draws`: a report shows a draw just now."""
        if {state, self._state} == {EvseState.CHARGING, EvseState.SUSPENDED_EV}:
            self._flips = (self._flips[1], now)  # SuspendedEVSE follows from the offer
        self._state = state
        if state is EvseState.SUSPENDED_EV:
            self._has_suspended = True
            self._draws_suspended |= draws and now > state_since + BEFORE_STATE_S

    def _is_idle(self, state_since: float, now: float, *, is_running: bool, refuses: bool) -> bool:
        """Return True if a car whose last report shows no draw takes nothing of its offer.

        `refuses`: that report belongs to the present offer.
        """
        state, since = self._state, self.since
        if state is EvseState.SUSPENDED_EV:
            return True
        if state is EvseState.SUSPENDED_EVSE or (state is EvseState.PREPARING and is_running):
            return since is not None or refuses
        if state is EvseState.CHARGING:
            # An offer of 0 A shows nothing new, nor does the next one before its report. A station that
            # reports Charging whenever it offers current shows no start by it.
            was_idle = since is not None and (since >= state_since or self.charges_idle)
            return refuses or (was_idle and not self._draw.unknown(now))
        return False

    @property
    def has_only_zeros(self) -> bool:
        """Return True if its station has reported that its car takes nothing, and never a draw."""
        return self._refused_at > -math.inf and not self.has_drawn

    def is_restless(self, now: float) -> bool:
        """Return True if its states change so often that they show no step of its draw."""
        return now < max(self._flips[0] + RESTLESS_S, self._ended_at + SHORT_IDLE_S)

    def is_unconfirmed(self, now: float) -> bool:
        """Return True if its car has begun to take nothing by its state, which no report has shown yet."""
        since = self.since
        if since is None or self._refused_at >= since or self.is_restless(now):
            return False
        return now < since + FULL_S

    def is_full(self, now: float) -> bool:
        """Return True if its car has taken nothing for `FULL_S`."""
        return self.since is not None and now >= self.since + FULL_S

    def may_be_pausing(self, now: float) -> bool:
        """Return True if its draw has ended without a taper, and no probe since then has shown it full."""
        if self.since is None or not self._ended_untapered:
            return False
        return now < self.since + PAUSE_PROBE_S + PAUSE_SPREAD_S + PROBE_S

    def may_go_on(self, now: float) -> bool:
        """Return True if its car may go on in a moment, as it did before: each change would be two writes."""
        since = self.since
        return since is not None and since < self._ended_at + SHORT_IDLE_S and now < since + FULL_S

    def takes_nothing(self, now: float) -> bool:
        """Return True if its car is full, as far as it has to be shown, and is not offered more just now."""
        since = self.since
        if since is None or now < since + FULL_S or self.is_start_helped(now):
            return False
        if self._refused_at < since and now < (self._shown_by or -math.inf):
            return False
        return not self._is_probed(now)

    def is_start_helped(self, now: float) -> bool:
        """Return True if others make room for its start: its car did not charge with the minimum."""
        needs_more = not self.has_drawn or self._minimum.least_a > self._minimum.min_a
        if not needs_more or self.since is None:
            return False
        if START_PROBE_AT_S <= now - self.since < START_PROBE_AT_S + START_PROBE_S:
            return True
        return now >= self.since + FULL_S and self._is_probed(now)

    def was_start_helped(self, now: float) -> bool:
        """Return True if its car has taken nothing for longer than the help to its start lasts."""
        return self.since is not None and now - self.since >= START_PROBE_AT_S + START_PROBE_S

    def _is_probed(self, now: float) -> bool:
        """Return True if it is the time of the hour to offer its idle car current as to any other."""
        probe_at = self._last_probe(now)
        is_first = self.since is not None and probe_at < self.since + FIRST_PROBE_S
        return not is_first and now < probe_at + self._probe_s(probe_at)

    def _probe_s(self, probe_at: float) -> float:
        """Return the duration (s) of a probe: where reports are seldom, until one shows what it takes.

        A station that has shown by its state that the car suspends shows its start so, too, unless it has
        reported a draw in that state.
        """
        shows_start = self._has_suspended and not self._draws_suspended
        shows_start &= self._state in (EvseState.SUSPENDED_EV, EvseState.SUSPENDED_EVSE)
        if shows_start or self._refused_at >= probe_at:
            return PROBE_S
        return max(PROBE_S, PATIENCE * self._draw.report_interval_s)

    def _probes(self, now: float) -> list[float]:
        """Return when its idle car is probed (s, monotonic): each hour, and sooner if it may be pausing."""
        hourly_at = now - (now - self.probed_at_s) % PROBE_EVERY_S
        probes = [hourly_at, hourly_at + PROBE_EVERY_S]
        if self.since is not None and self._ended_untapered:
            probes.append(self.since + PAUSE_PROBE_S + self.probed_at_s % PAUSE_SPREAD_S)
        return probes

    def _last_probe(self, now: float) -> float:
        """Return when an idle car was to be probed last (s, monotonic)."""
        return max(probe_at for probe_at in self._probes(now) if probe_at <= now)

    def moments(self, now: float) -> list[float]:
        """Return when the answers here may change next without an event (s, monotonic), past ones, too."""
        if self.since is None:
            return []
        probe_at = self._last_probe(now)
        steps_s = (FULL_S, START_PROBE_AT_S, START_PROBE_AT_S + START_PROBE_S)
        return [
            *(self.since + step_s for step_s in steps_s),
            probe_at + self._probe_s(probe_at),
            *self._probes(now),
            self._shown_by or -math.inf,
        ]
