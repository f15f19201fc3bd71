"""Check of a meter against the stations below it: a step that they report must be seen by it.

A meter that is built in backwards, whose phases are swapped, that sits before the cars, that is frozen or
has a dead current transformer shows plausible values, and every one of them is wrong. What it cannot do is
follow the cars. So each step of a station's reported consumption of `STEP_A` or more on a phase is looked
for in the readings around it:

    window    from `LEAD_S` before the report that precedes the step to `SEEN_S` after the one that shows it
    seen      within the window the readings of that phase rose (fell) by `SEEN` of the step
    missed    they did not rise by `MISSED` of it, and did not fall by as much, so that nothing of the
              building can have hidden the step; or they fell by about as much as the station rose, in this
              step or in all its steps within the window
    neither   anything else: the building was too busy, or other stations may have stepped the other way

`MISSES` in a row make the meter suspected, as many seen steps in a row clear it again.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import MeterWindow
from controller.load_management.site_tree import PhaseAmps

STEP_A = 5.0
"""Smallest step that is looked for."""
LEAD_S = 8.0
"""Earliest time (s) of a step before the previous report: reports and meters have their delays."""
SEEN_S = 10.0
"""Latest reading after the report that shows the step (s)."""
LONGEST_WINDOW_S = 150.0
"""Steps between reports that are further apart are not looked for."""
SEEN = 0.6
MISSED = 0.4
MIRRORED = (0.7, 1.4)
"""Multiples of a step by which a meter that is built in backwards moves the wrong way."""
MISSES = 2
FLAT_A = 0.05
"""Readings that differ by less are the same."""
MEMORY_S = LONGEST_WINDOW_S + LEAD_S + SEEN_S
"""Time for which the check needs readings and changes (s)."""
DEAD_A = 0.5
"""A phase that never carries more has no current transformer, or a dead one."""
FEWEST_READINGS = 3
LONGEST_GAP_S = 15.0
"""A step is not looked for where readings are missing for longer (s): it may have happened then."""


class StepCheck:
    """Check of one meter. `problem` states in words why it is suspected; empty while it is not."""

    def __init__(self, window: MeterWindow) -> None:
        self.problem = ""
        self._window = window
        self._pending: deque[ReportedStep] = deque()
        self._misses = [0, 0, 0]
        self._seen = 0

    def add_step(self, step: ReportedStep) -> None:
        """Look for a reported step in the readings, once they are there."""
        is_large = any(abs(delta) >= STEP_A for delta in step.delta_a)
        if is_large and step.at - step.since <= LONGEST_WINDOW_S:
            self._pending.append(step)

    def judge_due(self, now: float) -> None:
        """Judge the steps that the last reading has completed."""
        while self._pending and self._pending[0].at + SEEN_S <= now:
            self._judge(self._pending.popleft())

    def clear(self) -> None:
        """Drop the steps that no reading will show."""
        self._pending.clear()

    def _judge(self, step: ReportedStep) -> None:
        begin, end = step.since - LEAD_S, step.at + SEEN_S
        window = self._window.readings(begin, end)
        if len(window) < FEWEST_READINGS or not self._window.reaches_back_to(step.at - 1):
            return
        if self._window.has_gap(LONGEST_GAP_S, step.since, end):
            return
        for phase, delta in enumerate(step.delta_a):
            if abs(delta) < STEP_A or self._may_be_hidden(step, phase, begin, end):
                continue
            along, against = _moves([amps[phase] for amps in window], up=delta > 0)
            size = abs(delta)
            raised_a, lowered_a = self._window.moves_of(step.ref, phase, begin, end)
            own_a = max(size, raised_a if delta > 0 else lowered_a)
            if along >= SEEN * size:
                self._on_seen(phase)
            elif along < MISSED * size and (
                against < MISSED * size or MIRRORED[0] * size <= against <= MIRRORED[1] * own_a
            ):
                self._on_missed(step, phase, along, against, window)

    def _may_be_hidden(self, step: ReportedStep, phase: int, begin: float, end: float) -> bool:
        raised_a, lowered_a = self._window.moves_of(step.ref, phase, begin, end, others=True)
        opposite_a = lowered_a if step.delta_a[phase] > 0 else raised_a
        return opposite_a >= MISSED * abs(step.delta_a[phase])

    def _on_seen(self, phase: int) -> None:
        self._misses[phase] = 0
        self._seen += 1
        if self._seen >= MISSES and not any(misses >= MISSES for misses in self._misses):
            self.problem = ""

    def _on_missed(
        self, step: ReportedStep, phase: int, along: float, against: float, window: Sequence[PhaseAmps]
    ) -> None:
        self._seen = 0
        self._misses[phase] += 1
        if self._misses[phase] < MISSES:
            return
        cause = "; ".join(_causes(step, phase, along, against, window))
        self.problem = (
            f"L{phase + 1} does not follow station {step.ref}, which reported a step of "
            f"{step.delta_a[phase]:+.0f} A: {cause}"
        )


def _moves(values: Sequence[float], *, up: bool) -> tuple[float, float]:
    """Return the largest move along and against a direction, each from an earlier to a later value."""
    lowest = highest = values[0]
    rise = fall = 0.0
    for value in values:
        rise, fall = max(rise, value - lowest), max(fall, highest - value)
        lowest, highest = min(lowest, value), max(highest, value)
    return (rise, fall) if up else (fall, rise)


def _causes(
    step: ReportedStep, phase: int, along: float, against: float, window: Sequence[PhaseAmps]
) -> Iterator[str]:
    """Return the likely causes of a missed step, in words, with what to check."""
    size = abs(step.delta_a[phase])
    columns = [[amps[each] for amps in window] for each in range(3)]
    spans = [max(column) - min(column) for column in columns]
    swapped = [
        other
        for other in range(3)
        if other != phase and abs(step.delta_a[other]) < MISSED * size
        if _moves(columns[other], up=step.delta_a[phase] > 0)[0] >= SEEN * size
    ]
    others_follow = any(
        abs(step.delta_a[other]) >= STEP_A
        and _moves(columns[other], up=step.delta_a[other] > 0)[0] >= SEEN * abs(step.delta_a[other])
        for other in range(3)
        if other != phase
    )
    if max(spans) <= FLAT_A:
        yield "the meter is frozen; restart it or its gateway"
    elif against >= MIRRORED[0] * size:
        yield f"its current transformer of L{phase + 1} is built in backwards"
    elif swapped:
        names = " and ".join(f"L{each + 1}" for each in [phase, *swapped])
        yield f"phases {names} are swapped at the meter, or the station's phases are not as configured"
    elif others_follow and max(map(abs, columns[phase])) <= DEAD_A:
        yield f"its current transformer of L{phase + 1} is dead or not connected"
    else:
        yield (
            "the meter is placed before the cars and does not measure them (then set "
            'measures = "building"), or measures another circuit'
        )
