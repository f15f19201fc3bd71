"""LPC as a conversation with a guard: every cell of the table, and the known mistakes of others."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.eebus_lpc import (
    FAILSAFE_LEAST_S,
    FRESH_S,
    OWN_HEARTBEAT_S,
    SILENCE_S,
    TRANSITIONS,
    Action,
    Answered,
    ControllableSystem,
    Cue,
    Event,
    Failsafe,
    FailsafeWritten,
    Heartbeat,
    Interrupted,
    LimitWritten,
    Moved,
    SaveFailsafe,
    SendHeartbeat,
    State,
    Tick,
)

ACTIVE = LimitWritten(watts=5000, active=True)
INACTIVE = LimitWritten(watts=5000, active=False)
REFUSED = LimitWritten(watts=-1, active=True)
H = FAILSAFE_LEAST_S


class Talk:
    """A machine from second 0 on, its guard's heartbeats as they are told."""

    def __init__(self, minimum_w: float = 0.0) -> None:
        self.system = ControllableSystem(Failsafe(4200), minimum_w, 0.0)
        self.now = 0.0
        self.moves: list[int] = []

    def on(self, event: Event, at: float | None = None) -> list[Action]:
        self.now = self.now if at is None else at
        actions = [each for each in self.system.handle(event, self.now) if each != SendHeartbeat()]
        self.moves += [each.number for each in actions if isinstance(each, Moved)]
        return actions

    def says(self, *events: Event) -> Talk:
        for event in events:
            self.on(event)
        return self

    def waits(self, seconds: float, *, heard: bool = False) -> Talk:
        """Time passes, second by second, with heartbeats or without."""
        for _ in range(int(seconds)):
            self.on(Heartbeat() if heard else Tick(), self.now + 1)
        return self


def init() -> Talk:
    return Talk()


def controlled() -> Talk:
    return Talk().says(Heartbeat(), INACTIVE)


def limited() -> Talk:
    return Talk().says(Heartbeat(), ACTIVE)


def failsafe() -> Talk:
    talk = controlled()
    talk.on(Tick(), SILENCE_S)
    return talk


def autonomous() -> Talk:
    talk = Talk()
    talk.on(Tick(), SILENCE_S)
    return talk


STATES: dict[State, Callable[[], Talk]] = {
    State.INIT: init,
    State.CONTROLLED: controlled,
    State.LIMITED: limited,
    State.FAILSAFE: failsafe,
    State.AUTONOMOUS: autonomous,
}

HAPPENINGS: dict[str, Callable[[Talk], object]] = {
    "heartbeat, inactive limit": lambda talk: talk.says(Heartbeat(), INACTIVE),
    "heartbeat, active limit": lambda talk: talk.says(Heartbeat(), ACTIVE),
    "heartbeat, refused limit": lambda talk: talk.says(Heartbeat(), REFUSED),
    "heartbeat alone": lambda talk: talk.says(Heartbeat()),
    "interrupted": lambda talk: talk.says(Interrupted()),
    "a limit for 100 s": lambda talk: talk.says(
        Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=100)
    ).waits(100, heard=True),
    "119 s of silence": lambda talk: talk.on(Tick(), talk.now + 119),
    "120 s of silence": lambda talk: talk.on(Tick(), talk.now + 120),
    "120 s of heartbeats": lambda talk: talk.says(Heartbeat()).waits(120, heard=True),
    "failsafe and its duration": lambda talk: talk.on(Tick(), talk.now + 120 + H),
}

N, C, L, F, A = State.INIT, State.CONTROLLED, State.LIMITED, State.FAILSAFE, State.AUTONOMOUS
TABLE = {
    #                              init           controlled     limited        failsafe       autonomous
    "heartbeat, inactive limit": ((C, [1]), (C, []), (C, [6]), (C, [8]), (C, [11])),
    "heartbeat, active limit": ((L, [2]), (L, [4]), (L, []), (L, [9]), (L, [12])),
    "heartbeat, refused limit": ((N, []), (C, []), (L, []), (F, []), (A, [])),
    "heartbeat alone": ((N, []), (C, []), (L, []), (F, []), (A, [])),
    "interrupted": ((N, []), (C, []), (C, [6]), (F, []), (A, [])),
    "a limit for 100 s": ((C, [2, 6]), (C, [4, 6]), (C, [6]), (C, [9, 6]), (C, [12, 6])),
    "119 s of silence": ((N, []), (C, []), (L, []), (F, []), (A, [])),
    "120 s of silence": ((A, [3]), (F, [5]), (F, [7]), (F, []), (A, [])),
    "120 s of heartbeats": ((A, [3]), (C, []), (L, []), (A, [10]), (A, [])),
    "failsafe and its duration": ((A, [3]), (A, [5, 10]), (A, [7, 10]), (A, [10]), (A, [])),
}

CELLS = [
    pytest.param(state, happening, *TABLE[happening][column], id=f"{state.value}: {happening}")
    for column, state in enumerate(STATES)
    for happening in TABLE
]


@pytest.mark.parametrize(("state", "happening", "then", "moves"), CELLS)
def test_every_cell(state: State, happening: str, then: State, moves: list[int]) -> None:
    talk = STATES[state]()
    assert talk.system.state is state
    talk.moves.clear()
    HAPPENINGS[happening](talk)
    assert talk.system.state is then
    assert talk.moves == moves


def test_the_cells_walk_all_twelve_transitions_and_every_cue() -> None:
    assert {number for row in TABLE.values() for _, moves in row for number in moves} == set(range(1, 13))
    assert {cue for cues in TRANSITIONS.values() for cue in cues} == set(Cue)


@pytest.mark.parametrize(
    ("state", "limit_w"),
    [(N, 4200), (C, None), (L, 5000), (F, 4200), (A, None)],
)
def test_what_limits_in_each_state(state: State, limit_w: float | None) -> None:
    assert STATES[state]().system.limit_w == limit_w


@pytest.mark.parametrize("state", [N, F, A])
def test_where_nobody_was_in_control_a_limit_counts_only_soon_after_a_heartbeat(state: State) -> None:
    talk = STATES[state]()
    assert talk.on(ACTIVE) == [Answered(False, "no heartbeat within the last 60 s")]
    talk.on(Heartbeat())
    talk.on(Tick(), talk.now + FRESH_S)
    assert talk.on(ACTIVE) == [Answered(False, "no heartbeat within the last 60 s")]
    assert talk.system.state is state
    talk.on(Heartbeat())
    assert Answered(True) in talk.on(ACTIVE, talk.now + FRESH_S - 1)
    assert talk.system.state is L


def test_in_control_a_limit_counts_without_a_new_heartbeat() -> None:
    talk = controlled()
    assert Answered(True) in talk.on(ACTIVE, 119)


def test_a_new_limit_takes_the_old_ones_place_with_its_duration() -> None:
    talk = Talk().says(Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=50))
    talk.on(LimitWritten(watts=6000, active=True), 10)
    assert talk.on(Tick(), 60) == []
    assert (talk.system.limit_w, talk.system.until) == (6000, None)
    assert talk.on(REFUSED) == [Answered(False, "-1 W is no limit of consumption")]
    assert talk.system.limit_w == 6000


# -- known mistakes of others ------------------------------------------------------------------------


def test_failsafe_does_not_come_soon_after_the_start() -> None:
    assert init().waits(119).system.state is N
    assert controlled().waits(119).system.state is C


def test_failsafe_is_left_even_if_nobody_ever_comes_back() -> None:
    assert failsafe().waits(H - 1).system.state is F
    assert failsafe().waits(H).system.state is A


def test_failsafe_is_not_left_without_a_new_limit() -> None:
    assert failsafe().waits(119, heard=True).system.state is F


def test_one_heartbeat_and_silence_do_not_end_a_failsafe() -> None:
    talk = failsafe().says(Heartbeat()).waits(1000)
    assert talk.system.state is F
    talk.says(Heartbeat()).waits(119, heard=True)
    assert talk.system.state is F
    talk.waits(1, heard=True)
    assert talk.system.state is A


def test_no_duration_is_not_a_duration_that_is_over() -> None:
    assert limited().waits(20_000, heard=True).system.state is L


@pytest.mark.parametrize("watts", [-1, -0.001, math.nan, math.inf])
def test_no_limit_of_consumption(watts: float) -> None:
    for active in (True, False):
        talk = controlled()
        [answer] = talk.on(LimitWritten(watts=watts, active=active))
        assert isinstance(answer, Answered)
        assert not answer.accepted


@pytest.mark.parametrize("duration_s", [0, -5, math.nan, math.inf])
def test_no_duration_at_all(duration_s: float) -> None:
    [answer] = controlled().on(LimitWritten(watts=5000, active=True, duration_s=duration_s))
    assert isinstance(answer, Answered)
    assert not answer.accepted


def test_below_the_minimum_is_refused_and_nothing_is_sent_to_devices() -> None:
    talk = Talk(minimum_w=4200).says(Heartbeat(), INACTIVE)
    assert talk.on(LimitWritten(watts=0, active=True)) == [
        Answered(False, "0 W is below the minimum of 4200 W")
    ]
    assert (talk.system.state, talk.system.limit_w) == (C, None)
    assert Answered(True) in talk.on(LimitWritten(watts=0, active=False))


# -- failsafe, heartbeats, time ----------------------------------------------------------------------


def test_the_guards_failsafe_holds_at_once_and_is_saved_before_it_is_accepted() -> None:
    talk = failsafe()
    written = Failsafe(6000, 3 * 3600)
    assert talk.on(FailsafeWritten(watts=6000, duration_s=3 * 3600)) == [
        SaveFailsafe(written),
        Answered(True),
    ]
    assert talk.system.limit_w == 6000
    assert talk.waits(3 * 3600 - 1).system.state is F
    assert talk.waits(1).system.state is A


@pytest.mark.parametrize(
    "written",
    [
        FailsafeWritten(watts=-1),
        FailsafeWritten(watts=4199),
        FailsafeWritten(watts=math.nan),
        FailsafeWritten(duration_s=7199),
        FailsafeWritten(duration_s=86_401),
        FailsafeWritten(watts=5000, duration_s=math.nan),
    ],
)
def test_a_failsafe_out_of_bounds_is_refused_whole(written: FailsafeWritten) -> None:
    talk = Talk(minimum_w=4200)
    [answer] = talk.on(written)
    assert isinstance(answer, Answered)
    assert not answer.accepted
    assert talk.system.failsafe == Failsafe(4200)


def test_a_restart_begins_in_init_with_the_guards_failsafe() -> None:
    system = ControllableSystem(Failsafe(6000, 3 * 3600), 0.0, now=500.0)
    assert (system.state, system.limit_w, system.until) == (State.INIT, 6000, 620.0)


def test_our_own_heartbeats_are_never_more_than_a_minute_apart() -> None:
    system = ControllableSystem(Failsafe(), 0.0, 0.0)
    sent: list[float] = []
    now = 0.0
    while now < 600:
        if SendHeartbeat() in system.handle(Tick(), now):
            sent.append(now)
        now = system.deadline
    gaps = [later - earlier for earlier, later in itertools.pairwise(sent)]
    assert sent[0] == 0
    assert set(gaps) == {OWN_HEARTBEAT_S}


def test_a_late_tick_catches_up_with_all_that_was_due() -> None:
    talk = Talk().says(Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=60))
    moved = [each for each in talk.on(Tick(), 100_000) if isinstance(each, Moved)]
    assert [each.number for each in moved] == [6, 5, 10]


events = st.one_of(
    st.just(Heartbeat()),
    st.builds(
        LimitWritten,
        watts=st.sampled_from([-5.0, 0.0, 3000.0, 9000.0]),
        active=st.booleans(),
        duration_s=st.sampled_from([None, 30.0, 1000.0]),
    ),
    st.just(Interrupted()),
    st.just(Tick()),
)


@given(st.lists(st.tuples(events, st.sampled_from([0.0, 1.0, 59.0, 61.0, 120.0, 5000.0])), max_size=30))
def test_it_moves_by_the_table_alone_and_stays_in_time(script: list[tuple[Event, float]]) -> None:
    system = ControllableSystem(Failsafe(), 0.0, 0.0)
    now, state = 0.0, State.INIT
    for event, wait in script:
        now += wait
        for action in system.handle(event, now):
            if isinstance(action, Moved):
                assert action.origin is state
                assert TRANSITIONS[state][action.cue] == (action.number, action.state)
                state = action.state
        assert system.state is state
        assert system.deadline > now
        assert (system.limit_w is None) == (state in (State.CONTROLLED, State.AUTONOMOUS))
