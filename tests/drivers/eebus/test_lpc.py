"""LPC state machine: every state with every trigger, and mistakes that other implementations make."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.eebus.lpc import (
    FAILSAFE_LONGEST_S,
    FAILSAFE_SHORTEST_S,
    FRESH_HEARTBEAT_S,
    HEARTBEAT_TIMEOUT_S,
    TRANSITIONS,
    Action,
    Answered,
    ControllableSystem,
    Event,
    Failsafe,
    FailsafeWritten,
    Heartbeat,
    LimitWritten,
    Moved,
    ObedienceChanged,
    SaveFailsafe,
    State,
    Tick,
    Trigger,
)

ACTIVE = LimitWritten(watts=5000, active=True)
INACTIVE = LimitWritten(watts=5000, active=False)
NEGATIVE = LimitWritten(watts=-1, active=True)
H = FAILSAFE_SHORTEST_S


class Scenario:
    """A machine from second 0 on, and its transitions."""

    def __init__(self, minimum_w: float = 0.0) -> None:
        self.system = ControllableSystem(Failsafe(4200), minimum_w, 0.0)
        self.now = 0.0
        self.moves: list[int] = []

    def on(self, event: Event, at: float | None = None) -> list[Action]:
        self.now = self.now if at is None else at
        actions = self.system.handle(event, self.now)
        self.moves += [each.number for each in actions if isinstance(each, Moved)]
        return actions

    def handle(self, *events: Event) -> Scenario:
        for event in events:
            self.on(event)
        return self

    def wait(self, seconds: float, *, heartbeats: bool = False) -> Scenario:
        """Time passes, second by second."""
        for _ in range(int(seconds)):
            self.on(Heartbeat() if heartbeats else Tick(), self.now + 1)
        return self


def init() -> Scenario:
    return Scenario()


def controlled() -> Scenario:
    return Scenario().handle(Heartbeat(), INACTIVE)


def limited() -> Scenario:
    return Scenario().handle(Heartbeat(), ACTIVE)


def failsafe() -> Scenario:
    scenario = controlled()
    scenario.on(Tick(), HEARTBEAT_TIMEOUT_S)
    return scenario


def autonomous() -> Scenario:
    scenario = Scenario()
    scenario.on(Tick(), HEARTBEAT_TIMEOUT_S)
    return scenario


STATES: dict[State, Callable[[], Scenario]] = {
    State.INIT: init,
    State.CONTROLLED: controlled,
    State.LIMITED: limited,
    State.FAILSAFE: failsafe,
    State.AUTONOMOUS: autonomous,
}

EVENTS: dict[str, Callable[[Scenario], object]] = {
    "heartbeat, inactive limit": lambda it: it.handle(Heartbeat(), INACTIVE),
    "heartbeat, active limit": lambda it: it.handle(Heartbeat(), ACTIVE),
    "heartbeat, negative limit": lambda it: it.handle(Heartbeat(), NEGATIVE),
    "negative limit alone": lambda it: (it.on(Tick(), it.now + 61), it.handle(NEGATIVE)),
    "heartbeat alone": lambda it: it.handle(Heartbeat()),
    "unable to obey": lambda it: it.handle(ObedienceChanged("safety")),
    "a limit for 100 s": lambda it: it.handle(
        Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=100)
    ).wait(100, heartbeats=True),
    "119 s of silence": lambda it: it.on(Tick(), it.now + 119),
    "120 s of silence": lambda it: it.on(Tick(), it.now + 120),
    "120 s of heartbeats": lambda it: it.handle(Heartbeat()).wait(120, heartbeats=True),
    "failsafe and its duration": lambda it: it.on(Tick(), it.now + 120 + H),
}

N, C, L, F, A = State.INIT, State.CONTROLLED, State.LIMITED, State.FAILSAFE, State.AUTONOMOUS
TABLE = {
    #                              init           controlled     limited        failsafe       autonomous
    "heartbeat, inactive limit": ((C, [1]),      (C, []),       (C, [6]),      (C, [8]),      (C, [11])),
    "heartbeat, active limit":   ((L, [2]),      (L, [4]),      (L, []),       (L, [9]),      (L, [12])),
    "heartbeat, negative limit": ((C, [1]),      (C, []),       (L, []),       (C, [8]),      (C, [11])),
    "negative limit alone":      ((N, []),       (C, []),       (L, []),       (F, []),       (A, [])),
    "heartbeat alone":           ((N, []),       (C, []),       (L, []),       (F, []),       (A, [])),
    "unable to obey":            ((N, []),       (C, []),       (C, [6]),      (F, []),       (A, [])),
    "a limit for 100 s":         ((C, [2, 6]),   (C, [4, 6]),   (C, [6]),      (C, [9, 6]),   (C, [12, 6])),
    "119 s of silence":          ((N, []),       (C, []),       (L, []),       (F, []),       (A, [])),
    "120 s of silence":          ((A, [3]),      (F, [5]),      (F, [7]),      (F, []),       (A, [])),
    "120 s of heartbeats":       ((A, [3]),      (C, []),       (L, []),       (A, [10]),     (A, [])),
    "failsafe and its duration": ((A, [3]),      (A, [5, 10]),  (A, [7, 10]),  (A, [10]),     (A, [])),
}  # fmt: skip

CELLS = [
    pytest.param(state, event, *TABLE[event][column], id=f"{state.value}: {event}")
    for column, state in enumerate(STATES)
    for event in TABLE
]


@pytest.mark.parametrize(("state", "event", "then", "moves"), CELLS)
def test_lpc_machine_in_each_state_moves_as_table_states(
    state: State, event: str, then: State, moves: list[int]
) -> None:
    scenario = STATES[state]()
    assert scenario.system.state is state
    scenario.moves.clear()
    EVENTS[event](scenario)
    assert scenario.system.state is then
    assert scenario.moves == moves


def test_table_has_all_twelve_transitions_and_every_trigger() -> None:
    assert {number for row in TABLE.values() for _, moves in row for number in moves} == set(range(1, 13))
    assert {trigger for triggers in TRANSITIONS.values() for trigger in triggers} == set(Trigger)


@pytest.mark.parametrize(("state", "limit_w"), [(N, 4200), (C, None), (L, 5000), (F, 4200), (A, None)])
def test_limit_in_each_state(state: State, limit_w: float | None) -> None:
    system = STATES[state]().system
    assert system.limit_w == limit_w
    assert (system.view.state, system.view.limit_w, system.view.until) == (state, limit_w, system.until)


@pytest.mark.parametrize("state", [N, F, A])
def test_lpc_limit_out_of_control_counts_only_after_heartbeat(state: State) -> None:
    refused = [Answered(False, "no heartbeat within the last 60 s")]
    scenario = STATES[state]()
    scenario.system.heartbeat_at = None
    assert scenario.on(ACTIVE) == refused
    scenario.on(Heartbeat())
    scenario.on(Tick(), scenario.now + FRESH_HEARTBEAT_S + 1)
    assert scenario.on(ACTIVE) == refused
    assert scenario.system.state is state
    scenario.on(Heartbeat())
    assert Answered(True) in scenario.on(ACTIVE, scenario.now + FRESH_HEARTBEAT_S)
    assert scenario.system.state is L


def test_lpc_limit_in_control_counts_without_new_heartbeat() -> None:
    assert Answered(True) in controlled().on(ACTIVE, 119)


def test_lpc_new_limit_replaces_old_one_with_duration() -> None:
    scenario = Scenario().handle(Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=50))
    scenario.on(LimitWritten(watts=6000, active=True), 10)
    assert scenario.on(Tick(), 60) == []
    assert (scenario.system.limit_w, scenario.system.until) == (6000, None)
    assert scenario.on(NEGATIVE) == [Answered(False, "-1 W is not a limit of power")]
    assert scenario.system.limit_w == 6000


# -- mistakes of other implementations ----------------------------------------------------------------


def test_lpc_failsafe_does_not_come_soon_after_start() -> None:
    assert init().wait(119).system.state is N
    assert controlled().wait(119).system.state is C


def test_lpc_failsafe_ends_even_if_guard_never_returns() -> None:
    assert failsafe().wait(H - 1).system.state is F
    assert failsafe().wait(H).system.state is A


def test_lpc_failsafe_does_not_end_by_heartbeats_without_limit() -> None:
    assert failsafe().wait(119, heartbeats=True).system.state is F


def test_failsafe_does_not_end_by_one_heartbeat_and_silence() -> None:
    scenario = failsafe().handle(Heartbeat()).wait(1000)
    assert scenario.system.state is F
    scenario.handle(Heartbeat()).wait(119, heartbeats=True)
    assert scenario.system.state is F
    assert scenario.wait(1, heartbeats=True).system.state is A


def test_limit_without_duration_does_not_expire() -> None:
    assert limited().wait(20_000, heartbeats=True).system.state is L


@pytest.mark.parametrize("watts", [-1, -0.001, math.nan, math.inf, 1e99])
@pytest.mark.parametrize("active", [True, False])
def test_limit_that_is_not_power_is_refused(watts: float, active: bool) -> None:
    [answer] = controlled().on(LimitWritten(watts=watts, active=active))
    assert isinstance(answer, Answered)
    assert not answer.accepted


@pytest.mark.parametrize("duration_s", [0, -5, math.nan, math.inf])
def test_lpc_limit_with_invalid_duration_is_refused(duration_s: float) -> None:
    [answer] = controlled().on(LimitWritten(watts=5000, active=True, duration_s=duration_s))
    assert isinstance(answer, Answered)
    assert not answer.accepted


def test_limit_of_0_w_is_valid() -> None:
    assert Answered(True) in controlled().on(LimitWritten(watts=0, active=True))


def test_lpc_limit_below_minimum_is_refused_where_there_is_one() -> None:
    scenario = Scenario(minimum_w=4200).handle(Heartbeat(), INACTIVE)
    assert scenario.on(LimitWritten(watts=0, active=True)) == [
        Answered(False, "0 W is below the minimum of 4200 W")
    ]
    assert (scenario.system.state, scenario.system.limit_w) == (C, None)
    assert Answered(True) in scenario.on(LimitWritten(watts=0, active=False))


def test_lpc_obstacle_refuses_active_limits_alone_until_it_is_gone() -> None:
    scenario = limited().handle(ObedienceChanged("emergency supply"))
    assert scenario.system.state is C
    assert scenario.on(ACTIVE) == [Answered(False, "the limit cannot be obeyed: emergency supply")]
    assert Answered(True) in scenario.on(INACTIVE)
    scenario.on(ObedienceChanged())
    assert Answered(True) in scenario.on(ACTIVE)


# -- failsafe values, time ----------------------------------------------------------------------------


def test_failsafe_values_are_saved_before_they_are_accepted() -> None:
    scenario = controlled()
    assert scenario.on(FailsafeWritten(watts=6000, duration_s=3 * 3600)) == [
        SaveFailsafe(Failsafe(6000, 3 * 3600)),
        Answered(True),
    ]
    scenario.on(Tick(), HEARTBEAT_TIMEOUT_S)
    assert scenario.system.limit_w == 6000
    assert scenario.wait(3 * 3600 - 1).system.state is F
    assert scenario.wait(1).system.state is A


@pytest.mark.parametrize("state", [N, F, A])
def test_failsafe_values_are_locked_out_of_control(state: State) -> None:
    scenario = STATES[state]().handle(Heartbeat())
    for written in (
        FailsafeWritten(watts=6000),
        FailsafeWritten(duration_s=3 * 3600),
        FailsafeWritten(watts=6000, duration_s=3 * 3600, unlocked=True),
    ):
        [answer] = scenario.on(written)
        assert answer == Answered(False, f"failsafe values are locked in state {state.value}")
    assert Answered(True) in scenario.on(FailsafeWritten(duration_s=3 * 3600, unlocked=True))


@pytest.mark.parametrize(
    "written",
    [
        FailsafeWritten(watts=-1),
        FailsafeWritten(watts=4199),
        FailsafeWritten(watts=1e99),
        FailsafeWritten(watts=math.nan),
        FailsafeWritten(duration_s=7199),
        FailsafeWritten(watts=5000, duration_s=math.nan),
    ],
)
def test_lpc_failsafe_out_of_bounds_is_refused_as_whole(written: FailsafeWritten) -> None:
    scenario = Scenario(minimum_w=4200).handle(Heartbeat(), INACTIVE)
    [answer] = scenario.on(written)
    assert isinstance(answer, Answered)
    assert not answer.accepted
    assert scenario.system.failsafe == Failsafe(4200)


def test_lpc_failsafe_duration_above_day_is_refused_and_set_to_day() -> None:
    scenario = controlled()
    day = Failsafe(4200, FAILSAFE_LONGEST_S)
    assert scenario.on(FailsafeWritten(watts=5000, duration_s=86_401)) == [
        SaveFailsafe(day),
        Answered(False, "failsafe duration is above 24 h: set to 24 h"),
    ]
    assert scenario.system.failsafe == day


def test_lpc_restart_begins_in_init_with_guards_failsafe() -> None:
    system = ControllableSystem(Failsafe(6000, 3 * 3600), 0.0, now=500.0)
    assert (system.state, system.limit_w, system.until) == (State.INIT, 6000, 620.0)


def test_late_tick_catches_up_with_all_that_was_due() -> None:
    scenario = Scenario().handle(Heartbeat(), LimitWritten(watts=5000, active=True, duration_s=60))
    moved = [each for each in scenario.on(Tick(), 100_000) if isinstance(each, Moved)]
    assert [each.number for each in moved] == [6, 5, 10]


events = st.one_of(
    st.just(Heartbeat()),
    st.builds(
        LimitWritten,
        watts=st.sampled_from([-5.0, 0.0, 3000.0, 9000.0]),
        active=st.booleans(),
        duration_s=st.sampled_from([None, 30.0, 1000.0]),
    ),
    st.builds(FailsafeWritten, watts=st.sampled_from([None, -1.0, 5000.0])),
    st.builds(ObedienceChanged, st.sampled_from(["", "safety"])),
    st.just(Tick()),
)


@given(st.lists(st.tuples(events, st.sampled_from([0.0, 1.0, 59.0, 61.0, 120.0, 5000.0])), max_size=30))
def test_lpc_machine_moves_by_table_alone(script: list[tuple[Event, float]]) -> None:
    system = ControllableSystem(Failsafe(), 0.0, 0.0)
    now, state = 0.0, State.INIT
    for event, wait in script:
        now += wait
        for action in system.handle(event, now):
            if isinstance(action, Moved):
                assert action.origin is state
                assert TRANSITIONS[state][action.trigger] == (action.number, action.state)
                state = action.state
        assert system.state is state
        assert system.deadline is None or system.deadline > now
        assert (system.limit_w is None) == (state in (State.CONTROLLED, State.AUTONOMOUS))
