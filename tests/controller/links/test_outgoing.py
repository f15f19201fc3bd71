"""What may wait for a reader, in messages and in characters."""

import pytest
import trio

from controller.links.outgoing import CHARACTERS, MESSAGES, Full, Outgoing


async def test_what_waits_is_read_in_its_order_to_the_end() -> None:
    outgoing = Outgoing()
    for text in ("a", "b"):
        outgoing.put(text)
    outgoing.close()
    assert [text async for text in outgoing] == ["a", "b"]
    with pytest.raises(trio.ClosedResourceError):
        outgoing.put("c")


def test_so_many_messages_may_wait_and_no_more() -> None:
    outgoing = Outgoing()
    for _ in range(MESSAGES):
        outgoing.put("x")
    with pytest.raises(Full, match=f"{MESSAGES} messages of {MESSAGES} characters wait"):
        outgoing.put("x")


async def test_so_many_characters_may_wait_and_room_comes_back_with_reading() -> None:
    outgoing = Outgoing()
    half = "x" * (CHARACTERS // 2)
    for _ in range(2):
        outgoing.put(half)
    with pytest.raises(Full, match=f"2 messages of {CHARACTERS} characters wait"):
        outgoing.put("x")
    assert await anext(outgoing) == half
    outgoing.put(half)
    with pytest.raises(Full):
        outgoing.put("x")


def test_a_message_that_is_longer_may_wait_alone() -> None:
    outgoing = Outgoing()
    outgoing.put("x" * (CHARACTERS + 1))
    with pytest.raises(Full):
        outgoing.put("")
