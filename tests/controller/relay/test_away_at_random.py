"""Random outages and crashes: each backend gets each transaction whole, in order, once.

The real machines around the real file. A life ends at one of its writes, before or after that is on disk, and
before anything that follows it. The station is as strict as OCPP wants it: one CALL at a time, repeated until
it has an answer, with the same id or another.
"""

from __future__ import annotations

import itertools
import json
import math
import tempfile
from collections import deque
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from controller.chargers.quirks import LimitScope
from controller.model.effects import BackendLost, BackendUp, FromBackend, TimePassed, ToBackend
from controller.model.journal import Persist
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.events import (
    Close,
    Event,
    FromObserver,
    FromStation,
    ObserverLost,
    ObserverUp,
    Redial,
    ToObserver,
    ToStation,
)
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from controller.store.state_store import StateStore
from tests.examples import examples
from tests.scenario.relay_harness import TIMEOUT_S, UTC_0, make_absorbed_profiles
from tests.scenario.stored_relay import StoredRelay
from tests.scenario.transaction_ledger import (
    COUNTED,
    Part,
    Payload,
    TransactionLedger,
    compare_parts,
    make_part,
    precedes_start,
)

V16, V201 = Version.V16, Version.V201
BOOT: dict[Version, Payload] = {
    V16: {"chargePointVendor": "V", "chargePointModel": "M"},
    V201: {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}},
}
ACCEPTED = {"status": "Accepted", "currentTime": "2027-01-15T08:00:00Z", "interval": 300}
MOVES = [
    "send",
    "send",
    "send anew",
    "owner",
    "owner",
    "fleet",
    "owner up",
    "owner lost",
    "fleet up",
    "fleet lost",
    "station lost",
    "tick",
    "crash before",
    "crash after",
]
OWNER, FLEET = "owner", "fleet"

Script = Generator[tuple[str, Payload], Payload, None]


class CrashedError(Exception):
    """The controller has crashed."""


def cars_16() -> Script:
    for number in itertools.count(1):
        start = {"connectorId": 1, "idTag": "A", "meterStart": 0, "timestamp": f"{number}"}
        own = (yield "StartTransaction", start)["transactionId"]
        value = [{"timestamp": f"{number}.5", "sampledValue": [{"value": "1"}]}]
        yield "MeterValues", {"connectorId": 1, "transactionId": own, "meterValue": value}
        yield "StopTransaction", {"transactionId": own, "meterStop": 9, "timestamp": f"{number}.9"}


def cars_2() -> Script:
    for number in itertools.count(1):
        for place, kind in enumerate(("Started", "Updated", "Ended")):
            event = {"eventType": kind, "timestamp": f"{number}.{place}", "seqNo": place}
            more = {"triggerReason": "CablePluggedIn", "transactionInfo": {"transactionId": f"t{number}"}}
            yield "TransactionEvent", event | more


class RandomStation:
    """A station that sends one CALL after the other, and unanswered ones again; it boots once."""

    def __init__(self, version: Version) -> None:
        self.journal: list[Part] = []
        self._script = cars_16() if version is V16 else cars_2()
        self._begun: dict[int, str] = {}
        self._ids = itertools.count(1)
        self._now: tuple[str, str, Payload] = (self._id(), "BootNotification", BOOT[version])

    def next_call(self, *, anew: bool) -> str:
        """Return the CALL that has no answer yet."""
        message_id, action, payload = self._now
        if anew:
            self._now = (message_id, action, payload) = (self._id(), action, payload)
        return json.dumps([2, message_id, action, payload])

    def receive(self, text: str) -> None:
        """Take an answer; errors and answers to other CALLs are ignored, and the CALL is repeated."""
        kind, message_id, *rest = json.loads(text)
        if (kind, message_id) != (3, self._now[0]) or rest[0].get("status", "Accepted") != "Accepted":
            return
        _, action, payload = self._now
        if action == "StartTransaction":
            self._begun[rest[0]["transactionId"]] = payload["timestamp"]
        members = next(self._script) if action == "BootNotification" else self._script.send(rest[0])
        self._now = (self._id(), *members)
        self.journal.append(make_part(*members, self._begun))

    def _id(self) -> str:
        return f"m{next(self._ids)}"


class RandomCsms:
    """A CSMS with its ledger and the unanswered CALLs of its link; `asked` is None without a link."""

    def __init__(self, first_number: int) -> None:
        self.ledger = TransactionLedger(first_number)
        self.asked: deque[list[Any]] | None = None
        self._asked_at = 0.0

    def receive(self, text: str, now: float) -> None:
        """Take a CALL; what has not been answered within the timeout is lost in the backend."""
        frame = json.loads(text)
        if frame[0] == 2 and self.asked is not None:
            assert not self.asked or now >= self._asked_at + TIMEOUT_S, "two are outstanding"
            self.asked.clear()
            self.asked.append(frame)
            self._asked_at = now

    def answer(self) -> str | None:
        if not self.asked:
            return None
        _, message_id, action, payload = self.asked.popleft()
        if action in COUNTED:
            return json.dumps([3, message_id, self.ledger.receive("CS01", message_id, action, payload)])
        return json.dumps([3, message_id, ACCEPTED if action == "BootNotification" else {}])


class World:
    """Station, controller, owner and observer, and the links between them."""

    def __init__(self, folder: Path, version: Version) -> None:
        self._folder, self._version = folder, version
        self.station = RandomStation(version)
        self.backends = {OWNER: RandomCsms(1), FLEET: RandomCsms(500)}
        self._now = 0.0
        self._crashes: str | None = None
        self._start()

    def move(self, name: str) -> None:
        """Something happens, if it can."""
        try:
            self._move(name)
        except CrashedError:
            self._store.close()
            self._start()

    def _move(self, name: str) -> None:
        self._now += 1.0
        what, _, how = name.partition(" ")
        match what:
            case "send":
                self._on(FromStation(self.station.next_call(anew=how == "anew")))
            case "owner" | "fleet":
                self._of_backend(what, how)
            case "station":
                self._connected()
            case "tick":
                if self._relay.deadline < math.inf:
                    self._now = max(self._now, self._relay.deadline)
                self._on(TimePassed())
            case "crash":
                self._crashes = how

    def _of_backend(self, name: str, how: str) -> None:
        backend = self.backends[name]
        if how == "up" and backend.asked is None:
            backend.asked = deque()
            self._on(BackendUp() if name == OWNER else ObserverUp(FLEET))
        elif how == "lost":
            backend.asked = None
            self._on(BackendLost("gone") if name == OWNER else ObserverLost(FLEET, "gone"))
        elif how == "" and (text := backend.answer()) is not None:
            self._on(FromBackend(text) if name == OWNER else FromObserver(FLEET, text))

    def _start(self) -> None:
        self._crashes = None
        self._stored = StoredRelay(self._folder, self._version, observed=True)
        self._store = StateStore(self._folder)
        self._connected()

    def _connected(self) -> None:
        """The station has a new link, and with it each backend."""
        for backend in self.backends.values():
            backend.asked = None
        self._relay = StationRelay(
            "CS01",
            self._version,
            OwnerSide("cpo", offline=self._stored.make_offline_handler(), snapshot=self._stored.snapshot),
            StationStateTracker(self._version, 230.0),
            ProfileArbiter(self._version, LimitScope.STATION, make_absorbed_profiles(LimitScope.STATION)),
            TIMEOUT_S,
            self._now,
            observers=self._stored.make_secondary_backends(),
        )

    def _on(self, event: Event) -> None:
        for action in self._relay.handle(event, self._now, UTC_0 + self._now):
            match action:
                case Persist(records):
                    if self._crashes == "before":
                        raise CrashedError
                    self._store.persist_now(records)
                    if self._crashes == "after":
                        raise CrashedError
                case ToStation(text):
                    self.station.receive(text)
                case ToBackend(text):
                    self.backends[OWNER].receive(text, self._now)
                case ToObserver(text=text):
                    self.backends[FLEET].receive(text, self._now)
                case Redial(backend):
                    self.move(f"{FLEET if backend == FLEET else OWNER} lost")
                case Close():
                    self._connected()

    def settle(self) -> None:
        """Keep all links open until the station has its answer and nothing waits for a backend."""
        self._crashes = None
        self.move("owner lost")
        self.move("fleet lost")
        members = len(self.station.journal)
        for _ in range(1000):
            for name in ("owner up", "fleet up", "owner", "fleet"):
                self.move(name)
            if not any(backend.asked for backend in self.backends.values()):
                self.move("tick")
            if len(self.station.journal) == members:
                self.move("send")
            elif not len(self._stored.outbox) + len(self._stored.copies):
                break
        self._store.close()


def run_moves(folder: Path, version: Version, moves: Sequence[str]) -> None:
    world = World(folder, version)
    for name in ("owner up", "send", "owner", *moves):
        world.move(name)
    world.settle()
    answered = world.station.journal[:-1]  # its next CALL was not sent yet
    for name, backend in world.backends.items():
        received = backend.ledger.parts["CS01"]
        wrong = compare_parts(answered, received)
        # What was not answered in time goes again later, and others of its transaction may go before it.
        assert (wrong.lost, wrong.doubled) == ([], []), (name, wrong)
        assert not precedes_start(answered, received), (name, received)


@pytest.mark.parametrize("version", [V16, V201])
@settings(max_examples=examples(150))
@given(moves=st.lists(st.sampled_from(MOVES), max_size=60))
@example(moves=["send", "send anew", "send", "send"])
def test_random_outages_deliver_each_transaction_once_in_order(version: Version, moves: list[str]) -> None:
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        run_moves(Path(folder), version, moves)
