from __future__ import annotations

import msgspec
import trio
from msgspec.structs import replace

from controller.web.live_stream import KEEP_ALIVE_S, LiveStream, changes_between
from controller.web.status_model import UnknownStationStatus
from tests.controller.web.examples import STATUS


def test_equal_statuses_have_no_changes() -> None:
    assert changes_between(STATUS, replace(STATUS, time="later", tick_age_s=2.0)) == {}


def test_changed_elements_are_named_by_index() -> None:
    evse = replace(STATUS.evses[1], offered_a=10.0)
    after = replace(STATUS, evses=(STATUS.evses[0], evse), time="later")
    assert changes_between(STATUS, after) == {"evses": {"1": evse}, "time": "later", "tick_age_s": 0.4}


def test_list_of_another_length_is_sent_whole() -> None:
    after = replace(STATUS, evses=STATUS.evses[:1])
    assert changes_between(STATUS, after)["evses"] == STATUS.evses[:1]


async def test_stream_without_changes_is_kept_alive(autojump_clock: trio.testing.MockClock) -> None:
    stream = LiveStream(lambda _: STATUS, lambda: True)
    first = await stream.next_chunk()
    assert first is not None
    assert first.startswith(b"event: status\ndata: {")
    assert msgspec.json.decode(first.partition(b"data: ")[2])["site"] == "lc-depot"
    begun = trio.current_time()
    assert await stream.next_chunk() == b"event: alive\ndata: {}\n\n"
    assert trio.current_time() - begun == KEEP_ALIVE_S


async def test_stream_ends_with_login_that_opened_it(autojump_clock: trio.testing.MockClock) -> None:
    is_allowed = True
    stream = LiveStream(lambda _: STATUS, lambda: is_allowed)
    await stream.next_chunk()
    is_allowed = False
    begun = trio.current_time()
    assert await stream.next_chunk() == b"event: end\ndata: {}\n\n"
    assert trio.current_time() - begun <= 1.0
    assert await stream.next_chunk() is None


def test_changes_between_statuses_have_names_of_the_api() -> None:
    unknown = UnknownStationStatus(id="CS99", peer="192.0.2.7", first_seen="", last_seen="", tries=1)
    after = replace(STATUS, unknown_stations=(unknown,))
    assert changes_between(STATUS, after)["knocks"] == (unknown,)
