"""A conversation about one station with a backend that observes it.

    talk = Talk()
    talk.introduced()
    talk.station("MeterValues", '{"connectorId":1,"meterValue":[]}')
    talk.hears("MeterValues")
    talk.answers()
    talk.done()

What the observer hears has to be asked for, one by one; words to be saved and notes are kept.
"""

from __future__ import annotations

import itertools
import json
from collections import deque
from typing import Any

from controller.model.effects import LogEntry, TimePassed
from controller.model.journal import Persist, Record
from controller.ocpp.actions import OBSERVED, commands, reports
from controller.ocpp.frames import Call, CallResult, Frame, Version, call, call_result, parse
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from controller.relay.events import ObserverLost, ObserverUp, Redial, ToObserver
from controller.relay.secondary_backend import (
    AnswerToObserver,
    CallToObserver,
    CommandPermissions,
    ObserverCommand,
    ObserverCopy,
    ObserverEvent,
    ObserverFrame,
    SecondaryBackend,
)

TIMEOUT_S = 30.0
UTC_0 = 1_800_000_000.0

BOOT = {
    Version.V16: '{"chargePointVendor":"V","chargePointModel":"M"}',
    Version.V201: '{"reason":"PowerUp","chargingStation":{"vendorName":"V","model":"M"}}',
    Version.V21: '{"reason":"PowerUp","chargingStation":{"vendorName":"V","model":"M"}}',
}
ACCEPTED = '{"status":"Accepted","interval":600,"currentTime":"2027-01-15T08:00:00Z"}'
START = '{"connectorId":1,"idTag":"ABC","meterStart":0,"timestamp":"2027-01-15T08:00:00Z"}'


class Talk:
    """An observer that `may` command and sees what it `observe`s; its outbox holds `capacity`."""

    def __init__(
        self,
        version: Version = Version.V16,
        *,
        may: tuple[str, ...] = (),
        observe: tuple[str, ...] = OBSERVED,
        capacity: int = 100,
    ) -> None:
        self.version = version
        self.now = 1000.0
        self.records: list[Record] = []
        self.notes: list[str] = []
        self._unheard: deque[ToObserver | Redial | ObserverCommand] = deque()
        self._last: Call | None = None
        self._sent = 0
        self.snapshot = StationSnapshot("CS01")
        self.outbox = Outbox("CS01", "fleet", capacity)
        self.ids = TransactionIdMap("CS01", "fleet")
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"own-{next(numbers)}"

        self.observing = SecondaryBackend(
            "CS01",
            version,
            CommandPermissions("fleet", commands(may)),
            reports(observe),
            OutboxSender(self.outbox, self.snapshot, self.ids, version, "fleet", new_id),
            self.outbox,
            self.ids,
            TIMEOUT_S,
            new_id,
        )

    # -- what is said -------------------------------------------------------------------------------

    def on(self, event: ObserverEvent) -> None:
        self.done()
        for action in self.observing.handle(event, self.now):
            match action:
                case Persist(records):
                    self.records += records
                case LogEntry(text=text):
                    self.notes.append(text)
                case CallToObserver(sent):
                    self._unheard.append(ToObserver("fleet", sent.text))
                case _:
                    self._unheard.append(action)

    def station(self, action: str, payload: str, transaction: int | None = None) -> None:
        """The station says something, and gets its answer from whoever answers."""
        self._sent += 1
        number = f"s{self._sent}"
        if action == "BootNotification":
            self.snapshot.on_boot(self.version, payload.encode())
        self.snapshot.on_station_call(self.version, action, payload.encode())
        frame = Call(f'[2,"{number}","{action}",{payload}]', number, action, payload.encode())
        self.on(ObserverCopy(frame, UTC_0 + self.now, transaction))

    def boots(self) -> None:
        self.station("BootNotification", BOOT[self.version])

    def status(self, connector: int, status: str) -> None:
        self.station("StatusNotification", self.a_status(connector, status))

    def a_status(self, connector: int, status: str) -> str:
        if self.version is Version.V16:
            return f'{{"connectorId":{connector},"errorCode":"NoError","status":"{status}"}}'
        time = '"timestamp":"2027-01-15T08:00:00Z"'
        return f'{{"evseId":{connector},"connectorId":1,{time},"connectorStatus":"{status}"}}'

    def up(self) -> None:
        self.on(ObserverUp("fleet"))

    def station_answers(self, command: Call, payload: str = "{}") -> None:
        answer = parse(call_result(command.id, payload.encode()))
        assert isinstance(answer, CallResult)
        self.on(AnswerToObserver(answer))

    def lost(self) -> None:
        self.on(ObserverLost("fleet", "connection reset"))

    def observer(self, text: str) -> None:
        frame = parse(text)
        assert isinstance(frame, Frame)
        self.on(ObserverFrame(frame))

    def answers(self, payload: str = "{}") -> None:
        """The observer answers the last CALL that it heard."""
        assert self._last is not None
        self.observer(call_result(self._last.id, payload.encode()))

    def asks(self, action: str, payload: str = "{}", number: str = "o1") -> None:
        self.observer(call(number, action, payload.encode()))

    def wait(self, seconds: float) -> None:
        self.done()
        end = self.now + seconds
        for _ in range(1000):
            deadline = self.observing.deadline
            if deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.on(TimePassed())
            if self._unheard:
                return
        raise AssertionError("it wants a Tick for ever")

    # -- what is heard ------------------------------------------------------------------------------

    def hears(self, action: str, payload: str | None = None) -> Call:
        """The observer hears a CALL."""
        told = self._unheard.popleft()
        assert isinstance(told, ToObserver)
        frame = parse(told.text)
        assert isinstance(frame, Call)
        assert (told.backend, frame.action) == ("fleet", action)
        if payload is not None:
            assert json.loads(frame.payload) == json.loads(payload)
        self._last = frame
        return frame

    def hears_text(self) -> str:
        told = self._unheard.popleft()
        assert isinstance(told, ToObserver)
        return told.text

    def hears_answer(self) -> Any:
        return json.loads(self.hears_text())

    def station_is_commanded(self) -> Call:
        told = self._unheard.popleft()
        assert isinstance(told, ObserverCommand)
        assert parse(told.call.text) == told.call
        return told.call

    def redials(self, word: str) -> None:
        told = self._unheard.popleft()
        assert isinstance(told, Redial)
        assert told.backend == "fleet"
        assert word in told.reason

    def done(self) -> None:
        assert list(self._unheard) == []

    def introduced(self) -> None:
        """Up, and the snapshot told: a boot and one connector."""
        self.boots()
        self.status(1, "Available")
        self.up()
        self.hears("BootNotification")
        self.answers(ACCEPTED)
        self.hears("StatusNotification")
        self.answers()
        self.done()
