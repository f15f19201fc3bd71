"""Crashes between any two commits: acknowledged messages reach the backend in order, once.

The real machines, the real file. A run ends when its writes are used up: before or after the last of them
is on disk, and so before or after anything that is done between two writes. The station repeats what was
not answered; the backend knows an id again, as OCPP-J asks of it.
"""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controller.model.journal import Record
from controller.ocpp.frames import Answer, CallError, CallResult, Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.offline_handler import OfflineHandler
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import LATE_ANSWER_S, OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_memory import STATION_RECORDS, OwnerMemory
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from controller.store.state_store import StateStore
from tests.examples import examples

V16 = Version.V16


class RunOverError(Exception):
    """The run is over."""


class NumberingCsms:
    """A CSMS that numbers transactions, recognizes repeated ids, and records what it receives."""

    def __init__(self, refuse: set[int]) -> None:
        self.ledger: list[tuple[str, Any, int]] = []
        """Action, timestamp and its own transaction id of each message, in order."""
        self._answers: dict[str, bytes] = {}
        self._refuse = refuse
        self._calls = itertools.count()
        self._numbers = itertools.count(1)

    def call(self, message_id: str, action: str, payload: bytes) -> Answer:
        if next(self._calls) in self._refuse:
            return CallError("", message_id, "InternalError")
        if message_id not in self._answers:
            self._answers[message_id] = self._record(action, json.loads(payload))
        return CallResult("", message_id, self._answers[message_id])

    def _record(self, action: str, members: dict[str, Any]) -> bytes:
        starts = action == "StartTransaction"
        number = next(self._numbers) if starts else members["transactionId"]
        self.ledger.append((action, members["timestamp"], number))
        info = {"idTagInfo": {"status": "Accepted"}}
        return json.dumps(info | {"transactionId": number} if starts else info).encode()


class TransactionStation:
    """A station that charges one car after the other and repeats each CALL until it is answered."""

    def __init__(self) -> None:
        self.acknowledged: list[tuple[str, int]] = []
        self._own: int | None = None
        self._sent = 0

    def next_call(self) -> tuple[str, bytes]:
        if self._own is None:
            start = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": self._sent}
            return "StartTransaction", json.dumps(start).encode()
        start = {"transactionId": self._own, "meterStop": 1, "timestamp": self._sent}
        return "StopTransaction", json.dumps(start).encode()

    def receive_result(self, action: str, result: bytes) -> None:
        self.acknowledged.append((action, self._sent))
        self._sent += 1
        self._own = json.loads(result)["transactionId"] if action == "StartTransaction" else None


class ControllerRun:
    """The controller from a start to its crash, after so many commits."""

    def __init__(self, folder: Path, writes: int | None, *, last_is_on_disk: bool) -> None:
        self._store = StateStore(folder)
        self._writes = writes
        self._last_is_on_disk = last_is_on_disk
        records = self._store.load_all(STATION_RECORDS, "CS01")
        snapshot, answers = StationSnapshot("CS01"), ResponseCache("CS01")
        drivers = AuthorizationCache("CS01", b"key")
        self.outbox, ids = Outbox("CS01", "csms"), TransactionIdMap("CS01", "csms")
        for part in (snapshot, answers, drivers, self.outbox, ids):
            part.restore(records)
        responder = OfflineResponder("CS01", V16, drivers, ids, snapshot, OfflineRules(authorize="everyone"))
        kept = OwnerMemory(
            snapshot=snapshot, authorizations=drivers, answers=answers, outbox=self.outbox, ids=ids
        )
        sender = OutboxSender(self.outbox, snapshot, ids, V16, "csms")
        self.offline = OfflineHandler(V16, responder, sender, kept, lambda now: 1_800_000_000.0 + now)
        self.offline.on_attached(was_away=True)

    def save(self, records: Sequence[Record]) -> None:
        if self._writes is None:
            self._store.persist_now(records)
        elif records:
            self._writes -= 1
            if self._writes > 0 or self._last_is_on_disk:
                self._store.persist_now(records)
            if self._writes <= 0:
                raise RunOverError

    def serve(self, station: TransactionStation, now: float) -> None:
        action, payload = station.next_call()
        served = self.offline.answer_call(f"s{now}", action, payload, None, now)
        self.save(served.records)
        assert served.result is not None or served.text is not None
        result = json.dumps(json.loads(served.text or "")[2]).encode()
        station.receive_result(action, result)

    def deliver(self, backend: NumberingCsms, now: float) -> None:
        following = self.offline.next_outbox_call(now)
        if following is None:
            return
        self.save(following.records)
        answer = backend.call(following.id, following.action, following.payload)
        self.save(self.offline.on_outbox_answer(answer, now).records)

    def close(self) -> None:
        self._store.close()


def play(folder: Path, steps: Sequence[bool], lives: Sequence[tuple[int, bool]], refused: set[int]) -> None:
    """Of each step, whether the station sends or the backend receives.

    `lives`: how many writes each run has, and whether the last is on disk; then comes one without end.
    `refused`: the calls that the backend answers with an error.
    """
    station, backend = TransactionStation(), NumberingCsms(refused)
    deaths, clock = iter(lives), itertools.count(0, 1000)

    def born() -> ControllerRun:
        writes, last_is_on_disk = next(deaths, (None, True))
        return ControllerRun(folder, writes, last_is_on_disk=last_is_on_disk)

    run = born()
    for sends in steps:
        try:
            if sends:
                run.serve(station, next(clock))
            else:
                run.deliver(backend, next(clock))
        except RunOverError:
            run.close()
            run = born()
    run.close()
    last = ControllerRun(folder, None, last_is_on_disk=True)
    for _ in range(len(steps) + 5):
        last.deliver(backend, next(clock))
    assert len(last.outbox) == 0
    last.close()
    start = [(action, members) for action, members, _ in backend.ledger]
    assert start[: len(station.acknowledged)] == station.acknowledged
    assert len(start) <= len(station.acknowledged) + 1  # at most the one whose answer was lost in the crash
    numbers = [number for _, _, number in backend.ledger]
    assert numbers == [1 + place // 2 for place in range(len(numbers))]  # each end is that of its beginning


SENDS, DELIVERED = True, False


@pytest.mark.parametrize("last_is_on_disk", [True, False])
@pytest.mark.parametrize("writes", range(1, 15))
@pytest.mark.parametrize("refused", [set(), {1}, {3}])
def test_crash_at_each_write_loses_nothing(
    tmp_path: Path, writes: int, last_is_on_disk: bool, refused: set[int]
) -> None:
    steps = [SENDS, SENDS, DELIVERED, SENDS, DELIVERED, DELIVERED, SENDS, DELIVERED, SENDS, DELIVERED]
    play(tmp_path, steps, [(writes, last_is_on_disk)], refused)


@settings(max_examples=examples(60))
@given(
    st.lists(st.booleans(), min_size=1, max_size=30),
    st.lists(st.tuples(st.integers(1, 8), st.booleans()), max_size=6),
    st.sets(st.integers(0, 10), max_size=3),
)
def test_crash_after_each_random_write_loses_nothing(
    steps: list[bool], lives: list[tuple[int, bool]], refused: set[int]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        play(Path(folder), steps, lives, refused)


@pytest.mark.parametrize("last_is_on_disk", [True, False])
def test_message_delivered_before_kill_is_resent_under_same_id(tmp_path: Path, last_is_on_disk: bool) -> None:
    station, backend = TransactionStation(), NumberingCsms(set())
    run = ControllerRun(tmp_path, 3, last_is_on_disk=last_is_on_disk)
    run.serve(station, 1)
    with pytest.raises(RunOverError):
        run.deliver(backend, 2)  # the third write is that of the answer
    run.close()
    again = ControllerRun(tmp_path, None, last_is_on_disk=True)
    assert again.offline.next_outbox_call(4) is None  # its answer may come over this link
    following = again.offline.next_outbox_call(4 + LATE_ANSWER_S)
    if last_is_on_disk:
        assert following is None
    else:
        assert following is not None
        assert "goes again" in following.notes[0].text
        backend.call(following.id, following.action, following.payload)
    again.close()
    assert len(backend.ledger) == 1
