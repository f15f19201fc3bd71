"""A `SecondaryBackend` in virtual time, and the observer at its other end.

    scenario = ObserverHarness()
    scenario.introduce()
    scenario.send_station_call("MeterValues", '{"connectorId":1,"meterValue":[]}')
    scenario.receive_call("MeterValues")
    scenario.send_result()
    scenario.expect_nothing()

Texts to the observer are expected one by one; records and log lines are collected.
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


class ObserverHarness:
    """An observer that `may` send commands and gets copies of `observe`; its outbox holds `capacity`."""

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
        self.log: list[str] = []
        self._unread: deque[ToObserver | Redial | ObserverCommand] = deque()
        self._last: Call | None = None
        self._sent = 0
        self.snapshot = StationSnapshot("CS01")
        self.outbox = Outbox("CS01", "fleet", capacity)
        self.ids = TransactionIdMap("CS01", "fleet")
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"own-{next(numbers)}"

        self.backend = SecondaryBackend(
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

    # -- events -------------------------------------------------------------------------------------

    def handle(self, event: ObserverEvent) -> None:
        self.expect_nothing()
        for action in self.backend.handle(event, self.now):
            match action:
                case Persist(records):
                    self.records += records
                case LogEntry(text=text):
                    self.log.append(text)
                case CallToObserver(sent):
                    self._unread.append(ToObserver("fleet", sent.text))
                case _:
                    self._unread.append(action)

    def send_station_call(self, action: str, payload: str, transaction: int | None = None) -> None:
        """Send a CALL of the station, which others answer."""
        self._sent += 1
        number = f"s{self._sent}"
        if action == "BootNotification":
            self.snapshot.on_boot(self.version, payload.encode())
        self.snapshot.on_station_call(self.version, action, payload.encode())
        frame = Call(f'[2,"{number}","{action}",{payload}]', number, action, payload.encode())
        self.handle(ObserverCopy(frame, UTC_0 + self.now, transaction))

    def send_boot(self) -> None:
        self.send_station_call("BootNotification", BOOT[self.version])

    def send_status(self, connector: int, status: str) -> None:
        self.send_station_call("StatusNotification", self.status_payload(connector, status))

    def status_payload(self, connector: int, status: str) -> str:
        if self.version is Version.V16:
            return f'{{"connectorId":{connector},"errorCode":"NoError","status":"{status}"}}'
        time = '"timestamp":"2027-01-15T08:00:00Z"'
        return f'{{"evseId":{connector},"connectorId":1,{time},"connectorStatus":"{status}"}}'

    def connect(self) -> None:
        self.handle(ObserverUp("fleet"))

    def send_station_result(self, command: Call, payload: str = "{}") -> None:
        answer = parse(call_result(command.id, payload.encode()))
        assert isinstance(answer, CallResult)
        self.handle(AnswerToObserver(answer))

    def disconnect(self) -> None:
        self.handle(ObserverLost("fleet", "connection reset"))

    def send(self, text: str) -> None:
        frame = parse(text)
        assert isinstance(frame, Frame)
        self.handle(ObserverFrame(frame))

    def send_result(self, payload: str = "{}") -> None:
        """Answer the last CALL that the observer received."""
        assert self._last is not None
        self.send(call_result(self._last.id, payload.encode()))

    def send_call(self, action: str, payload: str = "{}", number: str = "o1") -> None:
        self.send(call(number, action, payload.encode()))

    def wait(self, seconds: float) -> None:
        self.expect_nothing()
        end = self.now + seconds
        for _ in range(1000):
            deadline = self.backend.deadline
            if deadline > end:
                self.now = end
                return
            self.now = max(self.now, deadline)
            self.handle(TimePassed())
            if self._unread:
                return
        raise AssertionError("the observer's deadline does not move")

    # -- effects ------------------------------------------------------------------------------------

    def receive_call(self, action: str, payload: str | None = None) -> Call:
        """Return the next text to the observer, a CALL."""
        sent = self._unread.popleft()
        assert isinstance(sent, ToObserver)
        frame = parse(sent.text)
        assert isinstance(frame, Call)
        assert (sent.backend, frame.action) == ("fleet", action)
        if payload is not None:
            assert json.loads(frame.payload) == json.loads(payload)
        self._last = frame
        return frame

    def receive_text(self) -> str:
        sent = self._unread.popleft()
        assert isinstance(sent, ToObserver)
        return sent.text

    def receive_frame(self) -> Any:
        return json.loads(self.receive_text())

    def take_command(self) -> Call:
        sent = self._unread.popleft()
        assert isinstance(sent, ObserverCommand)
        assert parse(sent.call.text) == sent.call
        return sent.call

    def expect_redial(self, word: str) -> None:
        sent = self._unread.popleft()
        assert isinstance(sent, Redial)
        assert sent.backend == "fleet"
        assert word in sent.reason

    def expect_nothing(self) -> None:
        assert list(self._unread) == []

    def introduce(self) -> None:
        """Connect the observer and send it the snapshot: a boot and one connector."""
        self.send_boot()
        self.send_status(1, "Available")
        self.connect()
        self.receive_call("BootNotification")
        self.send_result(ACCEPTED)
        self.receive_call("StatusNotification")
        self.send_result()
        self.expect_nothing()
