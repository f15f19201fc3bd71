"""Schedule arithmetic: the limit that charging profiles allow over time.

The rules (OCPP 1.6 ed. 2, 3.13; OCPP 2.0.1 Part 2, K01 and K08):

- Within a purpose, the profile of the highest stack level with a limit for the moment prevails.
- A transaction's profile replaces a default; a default for one EVSE replaces that for all (EVSE 0). Profiles
  of the whole station apply beside them: the lowest limit prevails.
- A schedule has no limit before its start, after its duration, and outside the validity of its profile.
- Recurring schedules repeat in UTC: a day has 86 400 s, also when local time changes.
- Relative schedules start with the transaction. Where its start is unknown, the lowest of their limits is
  taken to hold all the time.

Every evaluation is bounded. A schedule of n periods is searched by bisection; a stretch of time is swept from
one border of a schedule to the next, and only the profiles that have a border there are evaluated again. A
sweep ends after `MOST_STEPS` borders: its result then states up to which moment it holds.

Times are POSIX seconds. Limits are A per phase, or W of all phases where the context is in W; None is no
limit.
"""

from __future__ import annotations

import enum
import heapq
import math
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence

import msgspec

DAY_S = 86_400.0
PHASES = 3
"""The number of phases of a period without numberPhases (1.6 ed. 2, 7.14)."""
MOST_STEPS = 1024
"""Borders of profiles that one sweep visits: some milliseconds."""
_ROUNDING_S = 1e-6
"""A border is a sum of POSIX seconds and may be rounded down: it is evaluated so much later."""


class ProfilePurpose(enum.Enum):
    """The purpose of a profile, independent of the version."""

    STATION = "station"
    DEFAULT = "default"
    TRANSACTION = "transaction"
    EXTERNAL = "external"
    """A limit from outside, of the whole station or of an EVSE (2.x)."""


class LimitPeriod(msgspec.Struct, frozen=True):
    """A limit from `start_s` (s after the schedule's start) on, in the schedule's unit."""

    start_s: float
    limit: float
    phases: int = PHASES


class LimitSchedule(msgspec.Struct, frozen=True, kw_only=True):
    """Limits over time; periods ascend from 0, the duration is above 0.

    `start` None: relative. `watts`: limits are W over all phases, else A per phase.
    """

    start: float | None
    periods: tuple[LimitPeriod, ...]
    duration_s: float = math.inf
    watts: bool = False


class LimitProfile(msgspec.Struct, frozen=True, kw_only=True):
    """A profile with its purpose and stack level.

    `every_s`: period of a recurring one. `evse` 0: the whole station. 2.x permits an EV to choose among up to
    three schedules: the lowest of them counts.
    """

    id: int
    evse: int
    purpose: ProfilePurpose
    stack_level: int
    schedules: tuple[LimitSchedule, ...]
    every_s: float | None = None
    valid_from: float = -math.inf
    valid_to: float = math.inf


class ScheduleContext(msgspec.Struct, frozen=True, kw_only=True):
    """The EVSE for which profiles are evaluated, in A per phase or `in_watts` of all its phases.

    `phases`: the number of phases that share a limit in W. `voltage`: V, line to neutral. `since`: the start
    of its transaction; None if that is unknown. `is_site`: it is a whole site, whose loads share a limit in W
    on all phases, whatever number of phases a period states.
    """

    evse: int
    phases: int
    voltage: float
    since: float | None = None
    in_watts: bool = False
    is_site: bool = False


class LimitSpan(msgspec.Struct, frozen=True):
    """A limit that holds from `start` until the next span."""

    start: float
    limit: float | None


class CompositeLimits(msgspec.Struct, frozen=True):
    """Spans of different limits, the first at the start of the sweep; they hold until `end`."""

    spans: tuple[LimitSpan, ...]
    end: float


def limit_at(profiles: Iterable[LimitProfile], moment: float, context: ScheduleContext) -> float | None:
    """Return the lowest limit that the profiles of a station allow one of its EVSEs at a moment."""
    return _Sweep(profiles, context).evaluate(moment)


def composite(
    profiles: Iterable[LimitProfile],
    start: float,
    duration_s: float,
    context: ScheduleContext,
    most_steps: int = MOST_STEPS,
) -> CompositeLimits:
    """Return the limits from `start` on for `duration_s`, or shorter after `most_steps` borders."""
    sweep = _Sweep(profiles, context)
    spans: list[LimitSpan] = []
    for span in sweep.run(start, start + duration_s, most_steps):
        if not spans or spans[-1].limit != span.limit:
            spans.append(span)
    return CompositeLimits(tuple(spans), sweep.end)


def lowest_within(
    profiles: Sequence[LimitProfile],
    start: float,
    duration_s: float,
    context: ScheduleContext,
    most_steps: int = MOST_STEPS,
) -> float | None:
    """Return a limit that the profiles never go below from `start` on for `duration_s`.

    It is the lowest, unless there are more than `most_steps` borders: then the lowest of all that may follow.
    """
    if not profiles:
        return None
    found = composite(profiles, start, duration_s, context, most_steps)
    limit = lowest(*(span.limit for span in found.spans))
    if found.end < start + duration_s:
        limit = lowest(limit, lowest_to_come(profiles, start, context))
    return limit


def changes_after(
    profiles: Iterable[LimitProfile],
    start: float,
    moments: Sequence[float],
    context: ScheduleContext,
    horizon_s: float,
    most_steps: int = MOST_STEPS,
) -> list[float]:
    """Return the first change of the limit after each of the ascending `moments`.

    The sweep ends at `start` + `horizon_s`, or after `most_steps` borders: its end stands for changes that
    were not found until there.
    """
    sweep = _Sweep(profiles, context)
    found: list[float] = []
    limit: float | None = None
    for steps, span in enumerate(sweep.run(start, start + horizon_s, most_steps)):
        changed, limit = steps > 0 and span.limit != limit, span.limit
        while changed and len(found) < len(moments) and span.start > moments[len(found)]:
            found.append(span.start)
        if len(found) == len(moments):
            return found
    return [*found, sweep.end]


def lowest_to_come(profiles: Iterable[LimitProfile], moment: float, context: ScheduleContext) -> float | None:
    """Return a limit that the profiles never go below, from a moment on and for ever."""
    limits = [
        _lowest_of(schedule, context)
        for profile in profiles
        if profile.valid_to > moment and profile.evse in (0, context.evse)
        for schedule in profile.schedules
        if schedule.start is None
        or profile.every_s is not None
        or schedule.start + schedule.duration_s > moment
    ]
    return min(limits, default=None)


def lowest(*limits: float | None) -> float | None:
    """Return the lowest of some limits, where None is no limit."""
    found: float | None = None
    for limit in limits:
        if limit is not None and (found is None or limit < found):
            found = limit
    return found


class _Sweep:
    """Profiles grouped by purpose and place, in the order of their precedence, with their limits of now."""

    def __init__(self, profiles: Iterable[LimitProfile], context: ScheduleContext) -> None:
        self._context = context
        here = context.evse
        # Each group is one purpose at one place. The first three replace each other; the rest apply beside.
        self._alternatives = [
            (ProfilePurpose.TRANSACTION, here),
            (ProfilePurpose.DEFAULT, here),
            (ProfilePurpose.DEFAULT, 0),
        ]
        beside = {(ProfilePurpose.STATION, 0), (ProfilePurpose.EXTERNAL, 0), (ProfilePurpose.EXTERNAL, here)}
        self._groups: dict[tuple[ProfilePurpose, int], list[int]] = {
            place: [] for place in (*dict.fromkeys(self._alternatives), *beside)
        }
        self._beside = list(beside)
        relevant = [each for each in profiles if (each.purpose, each.evse) in self._groups]
        self._profiles = sorted(relevant, key=lambda profile: -profile.stack_level)
        for index, profile in enumerate(self._profiles):
            self._groups[profile.purpose, profile.evse].append(index)
        self._limits: list[float | None] = [None] * len(self._profiles)
        self.end = -math.inf
        """The moment until which a sweep that is over holds."""

    def evaluate(self, moment: float) -> float | None:
        """Evaluate all profiles at a moment."""
        for index, profile in enumerate(self._profiles):
            self._limits[index] = _limit(profile, moment, self._context)
        return self._prevailing()

    def run(self, start: float, end: float, most_steps: int) -> Iterator[LimitSpan]:
        """Yield the limit at `start` and at every border before `end`, in order; `most_steps` at most."""
        yield LimitSpan(start, self.evaluate(start))
        streams = [self._stream(index, start, end) for index in range(len(self._profiles))]
        at: float | None = None
        for steps, (border, index) in enumerate(heapq.merge(*streams)):
            # All profiles with a border at the same moment are evaluated before its limit is yielded.
            if at is not None and border != at:
                yield LimitSpan(at, self._prevailing())
            if steps >= most_steps:
                self.end = border
                return
            at = border
            self._limits[index] = _limit(self._profiles[index], border, self._context)
        if at is not None:
            yield LimitSpan(at, self._prevailing())
        self.end = end

    def _stream(self, index: int, start: float, end: float) -> Iterator[tuple[float, int]]:
        for border in _borders(self._profiles[index], start, end, self._context):
            yield border, index

    def _prevailing(self) -> float | None:
        own = _first(self._of_group(place) for place in self._alternatives)
        return lowest(own, *(self._of_group(place) for place in self._beside))

    def _of_group(self, place: tuple[ProfilePurpose, int]) -> float | None:
        return _first(self._limits[index] for index in self._groups[place])


def _first(limits: Iterable[float | None]) -> float | None:
    return next((limit for limit in limits if limit is not None), None)


def _limit(profile: LimitProfile, moment: float, context: ScheduleContext) -> float | None:
    if not profile.valid_from <= moment < profile.valid_to:
        return None
    return lowest(*(_limit_of(schedule, profile.every_s, moment, context) for schedule in profile.schedules))


def _limit_of(
    schedule: LimitSchedule, every_s: float | None, moment: float, context: ScheduleContext
) -> float | None:
    start = context.since if schedule.start is None else schedule.start
    if start is None:
        return _lowest_of(schedule, context)
    elapsed = moment - start + _ROUNDING_S
    if every_s is not None and elapsed >= 0:
        elapsed %= every_s
    if not 0 <= elapsed < schedule.duration_s:
        return None
    return _in_unit_of(schedule.periods[_index_at(schedule, elapsed)], schedule, context)


def _index_at(schedule: LimitSchedule, elapsed: float) -> int:
    """Return the index of the period that holds `elapsed` s after the start."""
    return bisect_right(schedule.periods, elapsed, key=lambda period: period.start_s) - 1


def _lowest_of(schedule: LimitSchedule, context: ScheduleContext) -> float:
    """Return the lowest of all periods that its duration does not cut off."""
    periods = [period for period in schedule.periods if period.start_s < schedule.duration_s]
    return min(_in_unit_of(period, schedule, context) for period in periods)


def _in_unit_of(period: LimitPeriod, schedule: LimitSchedule, context: ScheduleContext) -> float:
    """Return the limit of a period in the unit of the context; one in that unit stays exact."""
    if schedule.watts is context.in_watts:
        return period.limit
    phases = context.phases if context.is_site else min(period.phases, context.phases)
    watts_per_a = context.voltage * phases
    return period.limit / watts_per_a if schedule.watts else period.limit * watts_per_a


def _borders(profile: LimitProfile, start: float, end: float, context: ScheduleContext) -> Iterator[float]:
    """Yield in order the moments between `start` and `end` at which the profile's limit may change."""
    validity = sorted(each for each in (profile.valid_from, profile.valid_to) if start < each < end)
    schedules = (_borders_of(each, profile.every_s, start, end, context) for each in profile.schedules)
    return heapq.merge(validity, *schedules)


def _borders_of(
    schedule: LimitSchedule, every_s: float | None, start: float, end: float, context: ScheduleContext
) -> Iterator[float]:
    first = context.since if schedule.start is None else schedule.start
    if first is None:
        return
    turns = 0 if every_s is None else max(0, math.floor((start - first) / every_s))
    while True:
        turn = first + turns * (every_s or 0.0)
        if turn >= end:
            return
        # The first period that may begin after `start`; earlier ones are skipped by bisection. What lies
        # beyond the duration, or beyond the next turn, never begins.
        until = turn + min(schedule.duration_s, math.inf if every_s is None else every_s)
        for index in range(max(0, _index_at(schedule, start - turn)), len(schedule.periods)):
            border = turn + schedule.periods[index].start_s
            if border >= min(until, end):
                break
            if border > start:
                yield border
        if every_s is None or schedule.duration_s < every_s:
            border = turn + schedule.duration_s
            if start < border < end:
                yield border
        if every_s is None:
            return
        turns += 1
