"""The connection to the owner: every cell of its table, and the ways through it that a station sees."""

from __future__ import annotations

import itertools

import pytest

from controller.offline.owner_states import TRANSITIONS, AwayMode, OwnerConnection, OwnerEvent, OwnerState

S, E = OwnerState, OwnerEvent

EXPECTED = {
    AwayMode.STRICT: {
        (S.CONNECTING, E.LINK_UP): S.ATTACHED,
        (S.CONNECTING, E.LINK_LOST): S.LOST,
        (S.ATTACHED, E.LINK_LOST): S.LOST,
    },
    AwayMode.GRACE: {
        (S.CONNECTING, E.LINK_UP): S.ATTACHED,
        (S.CONNECTING, E.LINK_LOST): S.WAITING,
        (S.ATTACHED, E.LINK_LOST): S.WAITING,
        (S.WAITING, E.LINK_UP): S.ATTACHED,
        (S.WAITING, E.GRACE_ENDED): S.LOST,
    },
    AwayMode.AUTONOMOUS: {
        (S.CONNECTING, E.LINK_UP): S.CATCHING_UP,
        (S.CONNECTING, E.LINK_LOST): S.AWAY,
        (S.ATTACHED, E.LINK_LOST): S.AWAY,
        (S.ATTACHED, E.BACKLOG_FOUND): S.CATCHING_UP,
        (S.CATCHING_UP, E.LINK_LOST): S.AWAY,
        (S.CATCHING_UP, E.BACKLOG_SENT): S.ATTACHED,
        (S.AWAY, E.LINK_UP): S.CATCHING_UP,
    },
}
"""The transitions that change the state; all others keep it."""


@pytest.mark.parametrize(
    ("mode", "state", "event"),
    [
        (mode, state, event)
        for mode, rows in TRANSITIONS.items()
        for state, event in itertools.product(rows, OwnerEvent)
    ],
)
def test_owner_connection_each_cell_leads_where_expected(
    mode: AwayMode, state: OwnerState, event: OwnerEvent
) -> None:
    connection = OwnerConnection(mode)
    connection.state = state
    expected = EXPECTED[mode].get((state, event), state)
    assert connection.on_event(event) is (expected is not state)
    assert connection.state is expected


@pytest.mark.parametrize("mode", AwayMode)
def test_owner_connection_rows_are_exactly_reachable_states(mode: AwayMode) -> None:
    reached, front = {S.CONNECTING}, [S.CONNECTING]
    while front:
        following = {EXPECTED[mode].get((front[-1], event), front[-1]) for event in OwnerEvent}
        front = [*front[:-1], *(following - reached)]
        reached |= following
    assert TRANSITIONS[mode].keys() == reached


@pytest.mark.parametrize("mode", AwayMode)
def test_owner_connection_rows_have_column_for_each_event(mode: AwayMode) -> None:
    assert {len(row) for row in TRANSITIONS[mode].values()} == {len(OwnerEvent)}


def test_owner_connection_lost_stays_lost_until_station_reconnects() -> None:
    connection = OwnerConnection(AwayMode.STRICT)
    connection.on_event(E.LINK_LOST)
    for event in OwnerEvent:
        assert not connection.on_event(event)
    assert not connection.is_up


def test_owner_connection_absence_in_autonomous_mode_is_caught_up() -> None:
    connection = OwnerConnection(AwayMode.AUTONOMOUS)
    ups = []
    for event in (E.LINK_UP, E.BACKLOG_SENT, E.LINK_LOST, E.LINK_UP, E.BACKLOG_SENT):
        connection.on_event(event)
        ups.append((connection.state, connection.is_up))
    assert ups == [
        (S.CATCHING_UP, True),
        (S.ATTACHED, True),
        (S.AWAY, False),
        (S.CATCHING_UP, True),
        (S.ATTACHED, True),
    ]
