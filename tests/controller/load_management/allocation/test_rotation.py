"""Whose turn it is."""

from __future__ import annotations

from controller.load_management.allocation.rotation import DUE_S, REST_S, STOPS_S, Rotation
from controller.model.observations import EvseRef

ROTATION_S = 900.0
A, B, C = (EvseRef(name, 1) for name in "ABC")


def order(turns: Rotation, now: float, *refs: EvseRef) -> list[EvseRef]:
    return sorted(refs, key=lambda ref: turns.turn_of(ref, now).place)


def plugged(*refs: EvseRef) -> Rotation:
    turns = Rotation(ROTATION_S)
    for count, ref in enumerate(refs, 1):
        turns.add(ref, float(count))
    return turns


def test_rotation_newcomers_go_in_order_in_which_they_came() -> None:
    assert order(plugged(B, A, C), 10, A, B, C) == [B, A, C]


def test_rotation_turn_that_runs_goes_before_newcomer() -> None:
    turns = plugged(A)
    turns.set_served(A, True, 1)
    turns.add(B, 500)
    assert order(turns, 500, A, B) == [A, B]


def test_rotation_newcomer_goes_before_those_that_wait_or_are_over() -> None:
    turns = plugged(A, B)
    turns.set_served(A, True, 1)
    turns.add(C, 1 + ROTATION_S)
    assert order(turns, 1 + ROTATION_S, A, B, C) == [C, B, A]


def test_rotation_car_that_cannot_wait_goes_first() -> None:
    turns = plugged(A, B)
    turns.set_served(A, True, 10)
    assert turns.turn_of(B, 300, is_first=True).place < turns.turn_of(A, 300).place


def test_rotation_running_turns_go_before_those_that_wait() -> None:
    turns = plugged(A, B)
    turns.set_served(B, True, 10)
    assert order(turns, 300, A, B) == [B, A]


def test_rotation_longest_served_yields_when_turn_is_over() -> None:
    turns = plugged(A, B, C)
    turns.set_served(A, True, 10)
    turns.set_served(B, True, 20)
    assert order(turns, 10 + ROTATION_S, A, B, C) == [B, C, A]
    assert order(turns, 20 + ROTATION_S, A, B, C) == [C, B, A]


def test_rotation_longest_waiting_goes_first() -> None:
    turns = plugged(A, B)
    for ref in (A, B):
        turns.set_served(ref, True, 10)
    turns.set_served(B, False, 200)
    turns.set_served(A, False, 300)
    assert order(turns, 400, A, B) == [B, A]


def test_rotation_stopped_car_rests() -> None:
    turns = plugged(A)
    assert not turns.is_resting(A, 1)
    turns.set_served(A, True, 10)
    turns.set_served(A, False, 20)
    assert turns.is_resting(A, 20)
    assert not turns.is_resting(A, 20 + REST_S)


def test_rotation_car_that_was_stopped_twice_rests_for_longer() -> None:
    turns = plugged(A)
    for begin in (10, 600):
        turns.set_served(A, True, begin)
        turns.set_served(A, False, begin + 300)
    assert turns.is_resting(A, 310 + STOPS_S - 1)
    assert turns.changes_at(A, 1900) == 310 + STOPS_S
    assert not turns.is_resting(A, 310 + STOPS_S)
    assert not turns.is_resting(A, 1000, lifted_at=950)  # that room does not come and go


def test_rotation_stops_at_end_of_turns_are_no_early_ones() -> None:
    turns = plugged(A)
    turns.set_turn(200)
    for begin in (10, 600):
        turns.set_served(A, True, begin)
        turns.set_served(A, False, begin + 300)
    assert not turns.is_resting(A, 900 + REST_S)


def test_rotation_car_that_comes_back_is_newcomer() -> None:
    turns = plugged(A, B)
    turns.set_served(B, True, 10)
    turns.remove(A)
    turns.add(A, 600)
    turns.set_served(B, False, 600)
    assert order(turns, 600, A, B) == [A, B]


def test_rotation_of_part_leaves_other_turns_alone() -> None:
    turns = plugged(A, B)
    turns.set_served(B, True, 10)
    turns.add(A, 20)
    assert turns.is_served(B)


def test_rotation_car_with_share_that_cannot_begin_is_due() -> None:
    turns = plugged(A)
    assert turns.set_admitted(A, True, 300)
    assert not turns.set_admitted(A, True, 310)
    assert turns.changes_at(A, 300) == 300 + DUE_S
    assert not turns.turn_of(A, 300 + DUE_S - 1).is_due
    assert turns.turn_of(A, 300 + DUE_S).is_due
    assert turns.set_admitted(A, False, 500)
    assert not turns.turn_of(A, 500 + DUE_S).is_due
