"""Steps that cars below a meter are made to make, where nothing else shows whether it is right.

One car makes a step at a time: it is lowered for a moment, or paused where no other step is possible. Below a
suspected meter, where each car has its fallback at most, one that waits may be offered its minimum instead.
What for, each check of the meter states by a `NeededStep`; the pauses between steps grow with their number.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence

import msgspec

from controller.load_management.site_tree import PhaseAmps
from controller.model.observations import EvseRef

CAR_STEPS_S = (90.0, 3600.0)
"""Least and longest time (s) of quiet readings until a car is to make a step."""
LONGEST_REPORT_S = 60.0
"""Longest interval of reports (s) that show a step of a car in time."""
CAR_PAUSE_S = 900.0
"""Time (s) from the first step for which a car is paused to the next."""
FOLLOW_UP_S = 120.0
"""Longest time (s) from a step that has shown a part of that to the next."""
STEP_PAUSE_S = 30.0
"""Time (s) from the end of the first such step to the next."""
RATIO_PAUSE_S = 60.0
"""The same for steps that are to show a ratio."""


class NeededStep(msgspec.Struct, frozen=True, gc=False):
    """Step of a car that is to show whether a meter is right, as nothing else does.

    It is at least `least_a` and at most `most_a` (A per phase) on one of the `phases` (0 to 2). Its station
    reports at least each `report_s` (s). It `is_commanded` if limits that were accepted show it, with its
    return: no report has to. It `may_pause` a car where no other step is possible. One that is offered
    nothing may start into `start_room_a` (A per phase); None: none may. `apart`: phases that it must not move
    all alike. It `counts_phases` if a step on more of them is the better one.
    """

    least_a: float
    most_a: float
    phases: Sequence[int]
    report_s: float
    pauses: StepPauses
    is_commanded: bool = False
    may_pause: bool = False
    start_room_a: PhaseAmps | None = None
    counts_phases: bool = False
    apart: Collection[int] = ()
    otherwise: NeededStep | None = None
    """Step that is made where no car can make this one."""


class StepPauses:
    """Pauses between the steps that cars make for one purpose: each is twice as long as the last.

    `first_s`: the first one; `longest_s`: the longest one (s).
    """

    def __init__(self, first_s: float, longest_s: float = CAR_STEPS_S[1]) -> None:
        self._first_s, self._longest_s = first_s, longest_s
        self._next_at = -math.inf
        self._count = 0

    def have_ended(self, now: float) -> bool:
        """Return True if the next step may begin (s, monotonic)."""
        return now >= self._next_at

    def begin(self, duration_s: float, now: float) -> None:
        """Note that a step of so long (s) begins."""
        self._next_at = now + duration_s + min(self._first_s * 2**self._count, self._longest_s)
        self._count += 1

    def restart(self, now: float) -> None:
        """Have the first step follow after the first pause from now on."""
        self._count, self._next_at = 0, now + self._first_s

    def follow_up(self, now: float) -> None:
        """Have the next step follow soon: the last one has shown a part of what they are for."""
        self._count, self._next_at = 0, min(self._next_at, now + FOLLOW_UP_S)

    def put_off(self, now: float) -> None:
        """Note that no car can make one now."""
        self._next_at = now + STEP_PAUSE_S

    def reset(self) -> None:
        """Have the next pause be as short as the first one."""
        self._count = 0


class CarSteps:
    """Steps that cars below a meter make to check it, one at a time. Times in s, monotonic.

    `stepping`: the EVSE whose car makes one, since `begun_at`; None: none does.
    """

    def __init__(self) -> None:
        self.stepping: EvseRef | None = None
        self.begun_at = -math.inf
        self.is_commanded = False
        self.for_quiet = StepPauses(STEP_PAUSE_S)
        """Of steps that are to move the readings."""
        self.for_fall = StepPauses(STEP_PAUSE_S, CAR_PAUSE_S)
        """Of steps that are to show that the meter still sees the cars, after a fall of the base load."""
        self.for_proof = StepPauses(STEP_PAUSE_S, CAR_PAUSE_S)
        """Of steps that are to prove phases."""
        self.for_pauses = StepPauses(CAR_PAUSE_S)
        """Of steps for which a car is paused, for whatever purpose."""
        self.for_ratio = StepPauses(RATIO_PAUSE_S)
        """Of steps that are to show a ratio."""
        self.for_trust = StepPauses(CAR_PAUSE_S)
        """Of steps that are to show whether a suspected meter has been corrected."""
        self._pauses = self.for_quiet

    def begin(
        self, ref: EvseRef, duration_s: float, needed: NeededStep, now: float, *, is_pause: bool = False
    ) -> None:
        """Note that a car makes a step for so long (s). `is_pause`: it is paused for that."""
        self.stepping, self.begun_at, self._pauses = ref, now, needed.pauses
        self.is_commanded = needed.is_commanded
        needed.pauses.begin(duration_s, now)
        if is_pause:
            self.for_pauses.begin(duration_s, now)

    def end(self) -> EvseRef:
        """End the step that a car makes; return its EVSE."""
        assert self.stepping is not None
        ended, self.stepping = self.stepping, None
        return ended

    def is_for(self, pauses: StepPauses) -> bool:
        """Return True if a car makes a step for this purpose."""
        return self.stepping is not None and self._pauses is pauses
