"""Random sequences of station, observer and link events: what must always hold at an observer."""

from __future__ import annotations

import itertools
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from controller.model.effects import TimePassed
from controller.model.journal import Persist
from controller.ocpp.actions import OBSERVED, commands, reports
from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    Frame,
    Version,
    call,
    call_error,
    call_result,
    parse,
)
from controller.offline.journal_records import EntrySetAside
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
from tests.scenario.observer_harness import ACCEPTED, BOOT, START, TIMEOUT_S

MOVES = [
    "up",
    "lost",
    "boot",
    "status",
    "start",
    "answer",
    "error",
    "ask",
    "reset",
    "station",
    "wait",
    "stray",
]


def a_frame(text: str) -> Any:
    frame = parse(text)
    assert isinstance(frame, Frame)
    return frame


class Walk:
    """Holds the rules after each move."""

    def __init__(self) -> None:
        numbers = itertools.count(1)

        def new_id() -> str:
            return f"own-{next(numbers)}"

        self.snapshot = StationSnapshot("CS01")
        self.outbox = Outbox("CS01", "fleet")
        ids = TransactionIdMap("CS01", "fleet")
        sender = OutboxSender(self.outbox, self.snapshot, ids, Version.V16, "fleet", new_id)
        self.observing = SecondaryBackend(
            "CS01",
            Version.V16,
            CommandPermissions("fleet", commands(["reads"])),
            reports(OBSERVED),
            sender,
            self.outbox,
            ids,
            TIMEOUT_S,
            new_id,
        )
        self.now = 0.0
        self.is_up = False
        self.asked: Call | None = None
        self.commanded: list[Call] = []
        self.unanswered: set[str] = set()
        self.asks = itertools.count(1)
        self.starts = itertools.count(1)
        self.received: list[str] = []
        """The ids of the StartTransactions that it has answered."""
        self.set_aside = 0
        """How many it has refused too often."""

    def move(self, name: str) -> None:
        match name:
            case "up" if not self.is_up:
                self.is_up = True
                self.on(ObserverUp("fleet"))
            case "lost" if self.is_up:
                self.link_is_gone()
                self.on(ObserverLost("fleet", "gone"))
            case "boot":
                self.send("BootNotification", BOOT[Version.V16])
            case "status":
                self.send(
                    "StatusNotification", '{"connectorId":1,"errorCode":"NoError","status":"Available"}'
                )
            case "start":
                self.send("StartTransaction", START, next(self.starts))
            case "answer" if self.asked is not None:
                self.answer(self.asked)
            case "error" if self.asked is not None:
                asked, self.asked = self.asked, None
                self.on(ObserverFrame(a_frame(call_error(asked.id, "InternalError", ""))))
            case "ask" | "reset" if self.is_up:
                number = f"o{next(self.asks)}"
                self.unanswered.add(number)
                action = "TriggerMessage" if name == "ask" else "Reset"
                self.on(ObserverFrame(a_frame(call(number, action, b"{}"))))
            case "station" if self.commanded:
                self.on(AnswerToObserver(a_frame(call_result(self.commanded.pop(0).id, b"{}"))))
            case "wait" if self.observing.deadline is not None:
                self.now = max(self.now, self.observing.deadline)
                self.on(TimePassed())
            case "stray":
                self.on(ObserverFrame(a_frame(call_result("stray", b"{}"))))

    def send(self, action: str, payload: str, transaction: int | None = None) -> None:
        self.snapshot.on_station_call(Version.V16, action, payload.encode())
        frame = Call(call("s", action, payload.encode()), "s", action, payload.encode())
        self.on(ObserverCopy(frame, self.now, transaction))

    def answer(self, asked: Call) -> None:
        self.asked = None
        if asked.action == "StartTransaction":
            self.received.append(asked.id)
        result = (
            f'{{"transactionId":{1000 + len(self.received)}}}' if asked.action == "StartTransaction" else "{}"
        )
        result = ACCEPTED if asked.action == "BootNotification" else result
        self.on(ObserverFrame(a_frame(call_result(asked.id, result.encode()))))

    def link_is_gone(self) -> None:
        self.is_up, self.asked = False, None
        self.unanswered.clear()

    def on(self, event: ObserverEvent) -> None:
        for action in self.observing.handle(event, self.now):
            match action:
                case CallToObserver(sent):
                    assert self.is_up
                    self.receive(sent.text)
                case ToObserver(text=text):
                    assert self.is_up
                    self.receive(text)
                case ObserverCommand(call=asked):
                    assert asked.action == "TriggerMessage"
                    self.commanded.append(asked)
                case Redial():
                    self.link_is_gone()
                case Persist(words=words):
                    self.set_aside += sum(isinstance(word, EntrySetAside) for word in words)

    def receive(self, text: str) -> None:
        frame = parse(text)
        if isinstance(frame, Call):
            assert self.asked is None, "two are outstanding"
            self.asked = frame
        else:
            assert isinstance(frame, CallResult | CallError)
            self.unanswered.remove(frame.id)  # each has one answer, and only what was asked


@given(moves=st.lists(st.sampled_from(MOVES), max_size=60))
def test_transactions_arrive_once_or_aside_commands_answered_once(
    moves: list[str],
) -> None:
    walk = Walk()
    for name in moves:
        walk.move(name)
    if not walk.is_up:
        walk.move("up")
    for _ in range(400):
        walk.move("station")
        walk.move("answer" if walk.asked is not None else "wait")
    assert walk.unanswered == set()
    assert len(walk.outbox) == 0
    assert len(set(walk.received)) == len(walk.received)
    assert len(walk.received) + walk.set_aside == next(walk.starts) - 1
