"""What charging profiles allow over time: the arithmetic of a composite schedule, pure.

The rules (OCPP 1.6 ed. 2, 3.13; OCPP 2.0.1 Part 2, K01 and K08):

- Inside a purpose, the highest stack level that has something to say about a moment prevails.
- A transaction's own profile takes the place of a default; a default for one EVSE that of the default for
  all (EVSE 0). What holds for the whole station holds beside them: the lowest wins.
- A schedule says nothing before its start, after its duration, and outside the validity of its profile.
- Recurring counts in UTC: a day has 86 400 s, whatever the clocks on the wall do.
- Relative counts from the start of the transaction. Where that is not known, the lowest of its limits is
  taken to hold all the time.

Times are POSIX seconds. Limits come out in A per phase; None means that nothing limits.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Iterator, Sequence

import msgspec

DAY_S = 86_400.0
PHASES = 3
"""What a period means that does not say numberPhases (1.6 ed. 2, 7.14)."""


class ProfilePurpose(enum.Enum):
    """What a profile is for, in the words of no version."""

    STATION = "station"
    DEFAULT = "default"
    TRANSACTION = "transaction"
    EXTERNAL = "external"
    """A limit from outside, of the whole station or of an EVSE (2.x)."""


class LimitPeriod(msgspec.Struct, frozen=True):
    """From `start_s` (s after the schedule's start) on, `limit` holds, in the schedule's unit."""

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
    """A profile with its purpose and rank. `every_s` for a recurring one; `evse` 0: the whole station.

    2.x lets an EV choose among up to three schedules: whichever it chooses, the lowest is not exceeded.
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
    """What turns a profile into amperes at one EVSE.

    `phases`: on how many it is wired. `voltage`: V, line to neutral. `since`: when its transaction began,
    None where that is not known.
    """

    evse: int
    phases: int
    voltage: float
    since: float | None = None


class LimitSpan(msgspec.Struct, frozen=True):
    """From `start` (POSIX s) until the next span, `limit_a` holds (A per phase; None: no limit)."""

    start: float
    limit_a: float | None


def limit_at(profiles: Iterable[LimitProfile], moment: float, context: ScheduleContext) -> float | None:
    """The lowest that the profiles of one station allow one of its EVSEs at a moment (A per phase)."""
    tiers: dict[tuple[ProfilePurpose, int], list[LimitProfile]] = {}
    for profile in profiles:
        tiers.setdefault((profile.purpose, profile.evse), []).append(profile)
    own = _first(
        _prevailing(tiers.get(place, ()), moment, context)
        for place in (
            (ProfilePurpose.TRANSACTION, context.evse),
            (ProfilePurpose.DEFAULT, context.evse),
            (ProfilePurpose.DEFAULT, 0),
        )
    )
    above = {
        (ProfilePurpose.STATION, 0),
        (ProfilePurpose.EXTERNAL, 0),
        (ProfilePurpose.EXTERNAL, context.evse),
    }
    return lowest(own, *(_prevailing(tiers.get(place, ()), moment, context) for place in above))


def composite(
    profiles: Sequence[LimitProfile], start: float, duration_s: float, context: ScheduleContext
) -> tuple[LimitSpan, ...]:
    """What holds from `start` on for `duration_s`: spans of different limits, the first at `start`."""
    end = start + duration_s
    borders = {start}
    for profile in profiles:
        borders.update(border for border in _borders(profile, start, end, context) if start < border < end)
    spans: list[LimitSpan] = []
    for border in sorted(borders):
        limit = limit_at(profiles, border, context)
        if not spans or spans[-1].limit_a != limit:
            spans.append(LimitSpan(border, limit))
    return tuple(spans)


def lowest_to_come(profiles: Iterable[LimitProfile], moment: float, context: ScheduleContext) -> float | None:
    """A limit that these profiles never go below, from a moment on and for ever."""
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
    """The lowest of some limits, where None is no limit."""
    return min((limit for limit in limits if limit is not None), default=None)


def _first(limits: Iterable[float | None]) -> float | None:
    return next((limit for limit in limits if limit is not None), None)


def _prevailing(profiles: Iterable[LimitProfile], moment: float, context: ScheduleContext) -> float | None:
    ranked = sorted(profiles, key=lambda profile: -profile.stack_level)
    return _first(_limit(profile, moment, context) for profile in ranked)


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
    elapsed = moment - start
    if every_s is not None and elapsed >= 0:
        elapsed %= every_s
    if not 0 <= elapsed < schedule.duration_s:
        return None
    period = [period for period in schedule.periods if period.start_s <= elapsed][-1]
    return _amperes(period, schedule, context)


def _lowest_of(schedule: LimitSchedule, context: ScheduleContext) -> float:
    """The lowest of all periods that its duration does not cut off."""
    periods = [period for period in schedule.periods if period.start_s < schedule.duration_s]
    return min(_amperes(period, schedule, context) for period in periods)


def _amperes(period: LimitPeriod, schedule: LimitSchedule, context: ScheduleContext) -> float:
    if not schedule.watts:
        return period.limit
    return period.limit / (context.voltage * min(period.phases, context.phases))


def _borders(profile: LimitProfile, start: float, end: float, context: ScheduleContext) -> Iterator[float]:
    """Every moment between at which the profile may change its word, and some at which it does not."""
    yield profile.valid_from
    yield profile.valid_to
    for schedule in profile.schedules:
        first = context.since if schedule.start is None else schedule.start
        if first is None:
            continue
        for turn in _turns(first, profile.every_s, start, end):
            yield turn + schedule.duration_s
            for period in schedule.periods:
                yield turn + period.start_s


def _turns(first: float, every_s: float | None, start: float, end: float) -> Iterator[float]:
    """When a schedule begins, again and again if it recurs, as far as it matters between start and end."""
    if every_s is None:
        yield first
        return
    turn = first + max(0, math.floor((start - first) / every_s)) * every_s
    while turn < end:
        yield turn
        turn += every_s
