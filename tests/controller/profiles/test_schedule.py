"""Composite schedules: worked cases, and the whole arithmetic against a model that looks at every second."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.profiles.schedule import (
    DAY_S,
    LimitPeriod,
    LimitProfile,
    LimitSchedule,
    LimitSpan,
    ProfilePurpose,
    ScheduleContext,
    composite,
    lowest_to_come,
)
from tests.examples import examples

MONDAY = 1_795_996_800.0
AT = ScheduleContext(evse=1, phases=3, voltage=230.0, since=MONDAY + 30)


def profile(*periods: Any, level: int = 0, **more: Any) -> LimitProfile:
    """A profile of amperes; what belongs to its schedule is named, the rest goes to the profile."""
    schedule: dict[str, Any] = {"start": MONDAY, "periods": tuple(LimitPeriod(*each) for each in periods)}
    schedule |= {key: more.pop(key) for key in ("start", "duration_s", "watts") if key in more}
    place: dict[str, Any] = {"id": level, "evse": 0, "purpose": ProfilePurpose.STATION, "stack_level": level}
    return LimitProfile(**place | {"schedules": (LimitSchedule(**schedule),)} | more)


def spans(
    *profiles: LimitProfile, start: float = 0, duration: float = 3600
) -> list[tuple[float, float | None]]:
    """The composite with times as seconds after MONDAY."""
    found = composite(profiles, MONDAY + start, duration, AT)
    return [(span.start - MONDAY, span.limit) for span in found.spans]


TX: dict[str, Any] = {"purpose": ProfilePurpose.TRANSACTION, "evse": 1}
DEFAULT: dict[str, Any] = {"purpose": ProfilePurpose.DEFAULT}

CASES = {
    "nothing installed": ([], [(0, None)]),
    "periods": ([profile((0, 16), (60, 10))], [(0, 16), (60, 10)]),
    "equal periods are one": ([profile((0, 16), (60, 16))], [(0, 16)]),
    "duration cuts": ([profile((0, 16), (60, 10), (90, 6), duration_s=80)], [(0, 16), (60, 10), (80, None)]),
    "before its start it has no limit": ([profile((0, 16), start=MONDAY + 5)], [(0, None), (5, 16)]),
    "validity": (
        [profile((0, 16), valid_from=MONDAY + 10, valid_to=MONDAY + 20)],
        [(0, None), (10, 16), (20, None)],
    ),
    "the higher level, then the next": (
        [profile((0, 16)), profile((0, 32), level=1, duration_s=60)],
        [(0, 32), (60, 16)],
    ),
    "watts over the phases": ([profile((0, 6900), watts=True)], [(0, 10)]),
    "watts on one phase": ([profile((0, 2300, 1), watts=True)], [(0, 10)]),
    "relative counts from the transaction": (
        [profile((0, 16), (60, 8), start=None)],
        [(0, None), (30, 16), (90, 8)],
    ),
    "a transaction's own for the default": (
        [profile((0, 6), **DEFAULT), profile((0, 20), duration_s=60, **TX)],
        [(0, 20), (60, 6)],
    ),
    "the default of the EVSE for that of all": (
        [profile((0, 6), **DEFAULT), profile((0, 20), evse=1, **DEFAULT)],
        [(0, 20)],
    ),
    "another EVSE's does not matter": ([profile((0, 6), evse=2, **DEFAULT)], [(0, None)]),
    "the station's beside them": ([profile((0, 10)), profile((0, 20), **TX)], [(0, 10)]),
    "the lowest of an EV's choices": (
        [
            LimitProfile(
                id=1,
                evse=0,
                purpose=ProfilePurpose.STATION,
                stack_level=0,
                schedules=(
                    LimitSchedule(start=MONDAY, periods=(LimitPeriod(0, 16),)),
                    LimitSchedule(start=MONDAY, periods=(LimitPeriod(0, 12),), duration_s=60),
                ),
            )
        ],
        [(0, 12), (60, 16)],
    ),
}


@pytest.mark.parametrize(("profiles", "expected"), CASES.values(), ids=CASES.keys())
def test_composite_of_worked_cases(
    profiles: list[LimitProfile], expected: list[tuple[float, float | None]]
) -> None:
    assert spans(*profiles) == expected


def test_recurring_profile_repeats_each_day() -> None:
    daily = profile((0, 16), (100, 8), duration_s=200, every_s=DAY_S)
    found = spans(daily, start=10 * DAY_S - 50, duration=300)
    assert found == [
        (10 * DAY_S - 50, None),
        (10 * DAY_S, 16),
        (10 * DAY_S + 100, 8),
        (10 * DAY_S + 200, None),
    ]


def test_schedule_recurring_profile_has_no_limit_before_start() -> None:
    assert spans(profile((0, 16), every_s=DAY_S, start=MONDAY + DAY_S)) == [(0, None)]


def test_schedule_relative_profile_without_start_has_lowest_limit() -> None:
    relative = profile((0, 16), (60, 8), (90, 12), start=None)
    unknown = ScheduleContext(evse=1, phases=3, voltage=230.0)
    assert composite([relative], MONDAY, 600, unknown).spans == (LimitSpan(MONDAY, 8),)


def test_lowest_to_come_is_not_above_later_limits() -> None:
    over = profile((0, 2), duration_s=10)
    beyond = profile((0, 9), (100, 3), duration_s=100)
    elsewhere = profile((0, 1), evse=2, **DEFAULT)
    assert lowest_to_come([over, beyond, elsewhere], MONDAY + 20, AT) == 9
    assert lowest_to_come([over], MONDAY + 20, AT) is None


# -- the model: one second after the other, written from the rules and not from the code ------------------


def _in_unit(period: LimitPeriod, schedule: LimitSchedule, at: ScheduleContext) -> float:
    watts_per_amp = 230.0 * min(period.phases, at.phases)
    if at.in_watts:
        return period.limit if schedule.watts else period.limit * watts_per_amp
    return period.limit / watts_per_amp if schedule.watts else period.limit


def naive_limit(
    one: LimitProfile, schedule: LimitSchedule, second: float, at: ScheduleContext
) -> float | None:
    """Return the limit of one schedule in one second."""
    values = [_in_unit(each, schedule, at) for each in schedule.periods]
    start = schedule.start if schedule.start is not None else at.since
    if start is None:
        return min(
            v for v, each in zip(values, schedule.periods, strict=True) if each.start_s < schedule.duration_s
        )
    if second < start:
        return None
    if one.every_s:
        while start + one.every_s <= second:
            start += one.every_s
    if second >= start + schedule.duration_s:
        return None
    last_limit = None
    for each, value in zip(schedule.periods, values, strict=True):
        if second >= start + each.start_s:
            last_limit = value
    return last_limit


def naive(profiles: list[LimitProfile], second: float, at: ScheduleContext) -> float | None:
    """What all of them allow in one second."""

    def best(purpose: ProfilePurpose, evse: int) -> float | None:
        found: float | None = None
        rank = -1
        for one in profiles:
            if one.purpose is not purpose or one.evse != evse or one.stack_level <= rank:
                continue
            if second < one.valid_from or second >= one.valid_to:
                continue
            last_limit = [naive_limit(one, schedule, second, at) for schedule in one.schedules]
            if any(each is not None for each in last_limit):
                found = min(each for each in last_limit if each is not None)
                rank = one.stack_level
        return found

    own = best(ProfilePurpose.TRANSACTION, at.evse)
    if own is None:
        own = best(ProfilePurpose.DEFAULT, at.evse)
    if own is None:
        own = best(ProfilePurpose.DEFAULT, 0)
    whole = best(ProfilePurpose.STATION, 0)
    return min((each for each in (own, whole) if each is not None), default=None)


NEAR = st.integers(-40, 160).map(lambda second: MONDAY + second)
WEEKS = st.sampled_from([0.0, -DAY_S, -3 * DAY_S, -7 * DAY_S, -14 * DAY_S, DAY_S])


@st.composite
def any_schedule(draw: st.DrawFn) -> LimitSchedule:
    starts = [0, *sorted(draw(st.sets(st.integers(1, 120), max_size=4)))]
    watts = draw(st.booleans())
    periods = tuple(
        LimitPeriod(
            start,
            draw(st.sampled_from([0, 6, 10, 16, 32])) * (690.0 if watts else 1.0),
            draw(st.integers(1, 3)),
        )
        for start in starts
    )
    start = draw(st.none() | NEAR)
    return LimitSchedule(
        start=None if start is None else start + draw(WEEKS),
        periods=periods,
        duration_s=draw(st.just(math.inf) | st.integers(1, 150).map(float)),
        watts=watts,
    )


@st.composite
def any_profiles(draw: st.DrawFn) -> list[LimitProfile]:
    places = draw(
        st.sets(
            st.tuples(
                st.sampled_from(
                    [
                        (ProfilePurpose.STATION, 0),
                        (ProfilePurpose.DEFAULT, 0),
                        (ProfilePurpose.DEFAULT, 1),
                        (ProfilePurpose.TRANSACTION, 1),
                    ]
                ),
                st.integers(0, 3),
            ),
            max_size=5,
        )
    )
    return [
        LimitProfile(
            id=index,
            evse=evse,
            purpose=purpose,
            stack_level=level,
            schedules=tuple(draw(st.lists(any_schedule(), min_size=1, max_size=2))),
            every_s=draw(st.sampled_from([None, DAY_S, 7 * DAY_S])),
            valid_from=draw(st.just(-math.inf) | NEAR),
            valid_to=draw(st.just(math.inf) | NEAR),
        )
        for index, ((purpose, evse), level) in enumerate(sorted(places, key=repr))
    ]


@settings(max_examples=examples(300), deadline=None)
@given(any_profiles(), st.none() | NEAR, st.integers(1, 3), st.booleans())
def test_schedule_composite_equals_limits_of_each_second(
    profiles: list[LimitProfile], since: float | None, phases: int, in_watts: bool
) -> None:
    at = ScheduleContext(evse=1, phases=phases, voltage=230.0, since=since, in_watts=in_watts)
    found = composite(profiles, MONDAY, 120, at).spans
    left = lowest_to_come(profiles, MONDAY, at)
    assert all(one.limit != next_.limit for one, next_ in pairwise(found))
    for second in range(120):
        holding = [span for span in found if span.start <= MONDAY + second][-1].limit
        assert holding == naive(profiles, MONDAY + second, at)
        assert holding is None or (left is not None and left <= holding)
