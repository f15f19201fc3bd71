"""From one session of a station to the next, which counts on what the one before has taken in."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, cast

import pytest
import trio
import trio.testing

from controller.model.journal import Persist, Record
from controller.model.rate_limits import TokenBucket
from controller.ocpp.frames import Version
from controller.offline.journal_records import LocalListVersion
from controller.relay.events import Action, Close, Event, FromStation, ToStation
from controller.stations.admission import Admission
from controller.stations.connection_stats import ConnectionStats
from controller.stations.registry import SessionRegistry
from controller.stations.session import SessionRules, StationSession
from controller.stations.session_host import SessionHost
from controller.stations.session_links import SessionLinks
from controller.store.state_journal import StoreError
from tests.bounds import HANG_S
from tests.scenario.link_harness import RecordingSite

# -- the switchboard ----------------------------------------------------------------------------------------


class Served:
    """A session that is there until it is replaced, and takes a moment to end."""

    is_present = True

    def mark_replaced(self) -> None:
        self.is_present = False

    def __init__(self, name: str, log: list[str]) -> None:
        self._name, self._log = name, log
        self._scope = trio.CancelScope()
        log.append(f"{name} is made")

    async def run(self, *_: object) -> None:
        with self._scope:
            try:
                await trio.sleep_forever()
            finally:
                with trio.CancelScope(shield=True):
                    await trio.sleep(1)
                self._log.append(f"{self._name} has ended")

    def cancel(self) -> None:
        self._scope.cancel()


def made(name: str, log: list[str]) -> Callable[[], StationSession]:
    return lambda: cast(StationSession, Served(name, log))


async def test_session_is_made_once_the_older_one_has_ended(
    autojump_clock: trio.testing.MockClock,
) -> None:
    board, log = SessionRegistry(), list[str]()
    async with trio.open_nursery() as nursery:
        for name in ("first", "second", "third"):
            nursery.start_soon(board.run_session, "CS01", made(name, log))
            await trio.sleep(0.1)
        await trio.sleep(10)
        assert log == ["first is made", "first has ended", "third is made"]
        assert board.find_session("CS01") is not None
        nursery.cancel_scope.cancel()
    assert not board.has_session("CS01")


async def test_handing_over_delivery_for_absent_station_ends_first(
    autojump_clock: trio.testing.MockClock,
) -> None:
    board, log = SessionRegistry(), list[str]()

    async def send_for() -> None:
        while not board.has_session("CS01"):
            await board.run_session("CS01", made("its speaker", log))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_for)
        await trio.sleep(5)
        nursery.start_soon(board.run_session, "CS01", made("the station", log))
        await trio.sleep(5)
        assert log == ["its speaker is made", "its speaker has ended", "the station is made"]
        nursery.cancel_scope.cancel()


# -- the session --------------------------------------------------------------------------------------------


class Relay:
    """Persist each message of the station before it is answered."""

    deadline, accepts_messages, is_open = math.inf, True, True

    def on_station_text(self, text: str, _now: float, _utc: float) -> list[Action]:
        return [Persist((word(text),)), ToStation(f"answer to {text}")]

    def handle(self, event: Event, now: float, utc: float) -> list[Action]:
        assert isinstance(event, FromStation)
        return self.on_station_text(event.text, now, utc)

    def close(self, reason: str, _now: float, _utc: float) -> list[Action]:
        was_open, self.is_open = self.is_open, False
        return [Close(1013, reason)] if was_open else []


class Link:
    """A channel of a station: it reads from `sends`, and its answers are in `received`."""

    def __init__(self) -> None:
        self.sends, self._receives = trio.open_memory_channel[str](10)
        self.received: list[str] = []

    async def read_messages(self, handler: Callable[[str], Callable[[], Awaitable[None]] | None]) -> None:
        async for text in self._receives:
            if (pause := handler(text)) is not None:
                await pause()

    def send_nowait(self, text: str) -> None:
        self.received.append(text)

    async def close(self, *_: object) -> None:
        await trio.lowlevel.checkpoint()


class SlowDisk:
    """Takes a second for each write, and no more than `room` of them."""

    def __init__(self, room: int) -> None:
        self.records: list[Record] = []
        self.dropped: list[str] = []
        self._room = room

    async def save(self, words: Sequence[Record]) -> None:
        await trio.sleep(1)
        if self._room == 0:
            raise StoreError("the disk is full")
        self._room -= 1
        self.records += words

    def drop_station(self, station: str) -> None:
        self.dropped.append(station)


def word(text: str) -> Record:
    return LocalListVersion(text, 1)


def session(link: Link, disk: SlowDisk) -> StationSession:
    rules = SessionRules(utc_of=lambda now: now, pace=TokenBucket(0).take, ping_s=0, backend_ping_s=0)
    admitted = Admission("CS01", Version.V16)
    links, host = SessionLinks(admitted, None), SessionHost(RecordingSite(), disk, ConnectionStats())
    parts: Any = (Relay(), link, links, host, rules)
    return StationSession(*parts)


@pytest.mark.parametrize("at_s", [0.5, 1.5, 2.5])
async def test_handing_over_cancelled_session_commits_what_it_received(
    autojump_clock: trio.testing.MockClock, at_s: float
) -> None:
    link, disk = Link(), SlowDisk(10)
    with trio.move_on_after(at_s):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session(link, disk).run)
            for text in ("a", "b", "c"):
                link.sends.send_nowait(text)
    assert disk.records == [word("a"), word("b"), word("c")]
    assert link.received == [f"answer to {text}" for text in ("a", "b", "c")[: int(at_s) + 1]]
    assert disk.dropped == []


async def test_handover_unsaved_state_is_not_used_by_the_next_session(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    link, disk = Link(), SlowDisk(1)
    with trio.move_on_after(0.5):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(session(link, disk).run)
            for text in ("a", "b"):
                link.sends.send_nowait(text)
    assert (disk.records, disk.dropped) == ([word("a")], ["CS01"])
    assert "last messages not stored station=CS01 reason=the disk is full" in caplog.text


async def test_handing_over_on_full_disk_closes_session_unanswered(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    link, disk = Link(), SlowDisk(0)
    link.sends.send_nowait("a")
    link.sends.send_nowait("b")
    with trio.fail_after(HANG_S):
        await session(link, disk).run()
    assert (disk.records, link.received, disk.dropped) == ([], [], ["CS01"])
    assert "its messages cannot be stored station=CS01 reason=the disk is full" in caplog.text
