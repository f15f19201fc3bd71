"""Call queue: which CALL is sent when, and how each one ends."""

from __future__ import annotations

import math

import pytest

from controller.relay.call_queue import (
    COMMAND_WAIT_S,
    MOST_INVALID,
    MOST_OVERTAKEN,
    PAUSE_S,
    URGENT_WAIT_S,
    CallQueue,
    PendingCall,
    Rank,
)

TIMEOUT_S = 30.0


def a_call(name: str, rank: Rank = Rank.PEER, now: float = 0.0) -> PendingCall:
    token = None if rank is Rank.PEER else 1
    return PendingCall(name, "Reset", f"text {name}", b"{}", rank, token=token, queued_at=now)


def a_queue(*calls: PendingCall, overtakes: bool = True) -> CallQueue:
    queue = CallQueue(32, TIMEOUT_S, overtakes=overtakes)
    for call in calls:
        queue.push(call)
    return queue


def sent(queue: CallQueue, now: float, *, own: bool = True, peer: bool = True) -> str | None:
    call = queue.next_call(now, own=own, peer=peer)
    return None if call is None else call.id


def test_queue_sends_by_rank_one_at_time() -> None:
    queue = a_queue(a_call("peer"), a_call("own", Rank.OWN), a_call("urgent", Rank.URGENT))
    for name in ("urgent", "own", "peer"):
        assert sent(queue, 0.0) == name
        assert sent(queue, 1.0) is None
        answered = queue.on_answer(name)
        assert answered is not None
        assert answered.id == name
    assert queue.is_empty
    assert queue.deadline == math.inf


@pytest.mark.parametrize("rank", [Rank.PEER, Rank.OWN])
def test_urgent_limit_overtakes_outstanding_call_after_2_s(rank: Rank) -> None:
    queue = a_queue(a_call("slow", rank))
    assert sent(queue, 0.0) == "slow"
    queue.push(a_call("urgent", Rank.URGENT, now=10.0))
    assert sent(queue, 10.0) is None
    assert queue.deadline == 10.0 + URGENT_WAIT_S
    assert sent(queue, 12.0) == "urgent"
    assert queue.find_action("slow") == "Reset"
    late = queue.on_answer("slow")
    assert late is not None
    assert late.id == "slow"
    assert queue.on_answer("slow") is None


def test_command_overtakes_unanswered_call_of_own_after_5_s() -> None:
    queue = a_queue(a_call("limit", Rank.OWN), a_call("stop"))
    assert sent(queue, 0.0) == "limit"
    assert queue.deadline == COMMAND_WAIT_S
    assert sent(queue, 4.9) is None
    assert sent(queue, 5.0) == "stop"


def test_command_does_not_overtake_another_command() -> None:
    queue = a_queue(a_call("first"), a_call("second"))
    assert sent(queue, 0.0) == "first"
    assert sent(queue, 29.0) is None
    assert queue.deadline == TIMEOUT_S


def test_queue_to_backend_never_overtakes() -> None:
    queue = a_queue(a_call("kept", Rank.OWN), a_call("live"), overtakes=False)
    assert sent(queue, 0.0) == "kept"
    assert sent(queue, 29.0) is None


def test_overtaken_call_expires_at_own_time() -> None:
    queue = a_queue(a_call("slow"))
    assert sent(queue, 0.0) == "slow"
    queue.push(a_call("urgent", Rank.URGENT, now=1.0))
    assert sent(queue, 3.0) == "urgent"
    assert queue.on_answer("urgent") is not None
    assert queue.deadline == TIMEOUT_S
    late = queue.expire(TIMEOUT_S)
    assert late is not None
    assert late.id == "slow"
    assert queue.is_empty


def a_queue_with_overtaken_call(now: float = 10.0) -> CallQueue:
    """Return a queue in which `slow` (sent at 0 s) was overtaken by `urgent`."""
    queue = a_queue(a_call("slow"))
    assert sent(queue, 0.0) == "slow"
    queue.push(a_call("urgent", Rank.URGENT, now=now - URGENT_WAIT_S))
    assert sent(queue, now) == "urgent"
    return queue


@pytest.mark.parametrize("rank", [Rank.PEER, Rank.OWN])
def test_overtaken_call_is_outstanding_again_after_urgent(rank: Rank) -> None:
    queue = a_queue_with_overtaken_call()
    assert queue.on_answer("urgent") is not None
    queue.push(a_call("next", rank))
    assert sent(queue, 11.0) is None
    assert queue.deadline == TIMEOUT_S
    assert queue.on_answer("slow") is not None
    assert sent(queue, 12.0) == "next"


def test_call_queue_urgent_limit_overtakes_same_call_again() -> None:
    queue = a_queue_with_overtaken_call()
    assert queue.on_answer("urgent") is not None
    queue.push(a_call("again", Rank.URGENT, now=11.0))
    assert sent(queue, 12.9) is None
    assert sent(queue, 13.0) == "again"


def test_overtaken_call_is_outstanding_after_urgent_expired() -> None:
    queue = CallQueue(32, TIMEOUT_S, overtakes=True)
    queue.push(a_call("slow"))
    assert sent(queue, 0.0) == "slow"
    query = PendingCall("query", "GetConfiguration", "text", b"{}", Rank.URGENT, token=-1, queued_at=0.0)
    queue.push(query)
    assert sent(queue, 2.0) == "query"
    late = queue.expire(queue.deadline)
    assert late is query
    assert queue.outstanding is not None
    assert queue.outstanding.id == "slow"
    assert queue.deadline == TIMEOUT_S


def test_deadline_moves_once_overtaken_call_is_answered() -> None:
    queue = a_queue_with_overtaken_call()
    assert queue.deadline == TIMEOUT_S
    assert queue.on_answer("slow") is not None
    assert queue.deadline == 10.0 + TIMEOUT_S


def test_deadline_moves_once_overtaken_call_expires() -> None:
    queue = a_queue_with_overtaken_call()
    late = queue.expire(TIMEOUT_S)
    assert late is not None
    assert late.id == "slow"
    assert queue.deadline == 10.0 + TIMEOUT_S


def test_call_queue_deadline_moves_once_waiting_command_loses_backend() -> None:
    queue = a_queue(a_call("limit", Rank.OWN), a_call("stop"))
    assert sent(queue, 0.0) == "limit"
    assert queue.deadline == COMMAND_WAIT_S
    queue.remove_origin("")
    assert queue.deadline == TIMEOUT_S


def test_overtaken_calls_are_bounded() -> None:
    queue = a_queue()
    now = 0.0
    for number in range(MOST_OVERTAKEN + 1):
        queue.push(a_call(f"urgent {number}", Rank.URGENT, now=now))
        assert sent(queue, now + 2.0) == f"urgent {number}"
        now += 2.0
    queue.push(a_call("one more", Rank.URGENT, now=now))
    assert sent(queue, now + 20.0) is None


def an_invalid_text(name: str) -> PendingCall:
    return PendingCall(name, "Reset", f"text {name}", b"{}", is_valid=False)


def test_call_queue_invalid_text_does_not_hold_up_next_call() -> None:
    queue = a_queue(an_invalid_text("odd"), a_call("next"), overtakes=False)
    assert sent(queue, 0.0) == "odd"
    assert sent(queue, 0.0) == "next"
    assert queue.deadline == TIMEOUT_S
    assert queue.on_answer("next") is not None
    assert queue.outstanding is None
    answered = queue.on_answer("odd")
    assert answered is not None
    assert queue.is_empty


def test_call_queue_invalid_text_waits_for_calls_before_it() -> None:
    queue = a_queue(a_call("first"), an_invalid_text("odd"), overtakes=False)
    assert sent(queue, 0.0) == "first"
    assert sent(queue, 1.0) is None
    assert queue.on_answer("first") is not None
    assert sent(queue, 2.0) == "odd"


def test_call_queue_invalid_text_without_answer_expires() -> None:
    queue = a_queue(an_invalid_text("odd"), a_call("next"), overtakes=False)
    assert sent(queue, 0.0) == "odd"
    assert sent(queue, 5.0) == "next"
    late = queue.expire(TIMEOUT_S)
    assert late is not None
    assert late.id == "odd"
    assert queue.deadline == 5.0 + TIMEOUT_S


def test_call_queue_invalid_texts_without_answer_are_bounded() -> None:
    queue = a_queue(*(an_invalid_text(f"{n}") for n in range(MOST_INVALID + 2)), overtakes=False)
    for number in range(MOST_INVALID + 1):
        assert sent(queue, 0.0) == f"{number}"
    assert sent(queue, 0.0) is None


def test_rewound_queue_sends_all_again_in_order() -> None:
    queue = a_queue(an_invalid_text("odd"), a_call("next"), a_call("last"), overtakes=False)
    assert sent(queue, 0.0) == "odd"
    assert sent(queue, 0.0) == "next"
    queue.rewind()
    assert sent(queue, 1.0) == "odd"
    assert sent(queue, 1.0) == "next"
    assert sent(queue, 1.0) is None


def test_call_queue_command_goes_first_after_limit_expired() -> None:
    queue = a_queue(a_call("limit", Rank.OWN))
    assert sent(queue, 0.0) == "limit"
    queue.push(a_call("again", Rank.URGENT, now=29.5))
    queue.push(a_call("stop"))
    assert queue.expire(TIMEOUT_S) is not None
    assert sent(queue, TIMEOUT_S) == "stop"


def test_call_queue_limit_is_sent_again_after_pause() -> None:
    queue = a_queue(a_call("limit", Rank.OWN))
    assert sent(queue, 0.0) == "limit"
    assert queue.expire(TIMEOUT_S) is not None
    queue.push(a_call("again", Rank.OWN))
    assert sent(queue, TIMEOUT_S) is None
    assert queue.deadline == TIMEOUT_S + PAUSE_S
    assert sent(queue, TIMEOUT_S + PAUSE_S) == "again"


def test_call_queue_lost_backend_takes_commands_out_of_queue() -> None:
    queue = a_queue(a_call("sent"), a_call("waits"))
    assert sent(queue, 0.0) == "sent"
    assert {call.id for call in queue.remove_origin("")} == {"sent", "waits"}
    assert not queue.has_id("sent")
    answered = queue.on_answer("sent")
    assert answered is not None
    assert answered.origin not in ("", "cpo")


def test_drained_queue_returns_every_call_once() -> None:
    queue = a_queue(a_call("slow"))
    assert sent(queue, 0.0) == "slow"
    queue.push(a_call("urgent", Rank.URGENT))
    queue.push(a_call("peer"))
    assert sent(queue, 2.0) == "urgent"
    assert [call.id for call in queue.drain()] == ["slow", "urgent", "peer"]
    assert queue.is_empty
    assert queue.deadline == math.inf
