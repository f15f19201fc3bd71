"""Whose turn it is."""

from __future__ import annotations

from controller.load_management.allocation.rotation import NEWCOMER_S, REST_S, Rotation
from controller.model.observations import EvseRef

ROTATION_S = 900.0
A, B, C = (EvseRef(name, 1) for name in "ABC")


def order(turns: Rotation, now: float) -> list[EvseRef]:
    ranks = turns.ranks(now)
    return sorted(ranks, key=ranks.__getitem__)


def plugged(*refs: EvseRef) -> Rotation:
    turns = Rotation(ROTATION_S)
    for count in range(1, len(refs) + 1):
        turns.set_wanting(refs[:count], float(count))
    return turns


def test_newcomers_go_in_the_order_in_which_they_came() -> None:
    assert order(plugged(B, A, C), 10) == [B, A, C]


def test_a_newcomer_goes_before_one_whose_turn_runs() -> None:
    turns = plugged(A)
    turns.set_served(A, True, 1)
    turns.set_wanting([A, B], 500)
    assert order(turns, 500) == [B, A]
    turns.set_served(B, True, 500)
    assert order(turns, 500 + NEWCOMER_S) == [B, A]


def test_while_turns_run_they_go_before_those_who_wait() -> None:
    turns = plugged(A, B)
    turns.set_served(B, True, 10)
    assert order(turns, 300) == [B, A]


def test_who_has_had_the_minimum_longest_yields_when_its_turn_is_over() -> None:
    turns = plugged(A, B, C)
    turns.set_served(A, True, 10)
    turns.set_served(B, True, 20)
    assert order(turns, 10 + ROTATION_S) == [B, C, A]
    assert order(turns, 20 + ROTATION_S) == [C, B, A]


def test_who_waits_longest_goes_first() -> None:
    turns = plugged(A, B)
    for ref in (A, B):
        turns.set_served(ref, True, 10)
    turns.set_served(B, False, 200)
    turns.set_served(A, False, 300)
    assert order(turns, 400) == [B, A]


def test_who_was_put_out_rests() -> None:
    turns = plugged(A)
    assert turns.resting_s(A, 1) == 0
    turns.set_served(A, True, 10)
    turns.set_served(A, False, 20)
    assert turns.resting_s(A, 20) == REST_S
    assert turns.resting_s(A, 20 + REST_S) == 0


def test_who_leaves_and_comes_back_is_a_newcomer() -> None:
    turns = plugged(A, B)
    turns.set_served(B, True, 10)
    turns.set_wanting([B], 500)
    turns.set_wanting([A, B], 600)
    assert order(turns, 600) == [A, B]
