"""A CSMS that is away at random and records the transactions it receives, on `trio-websocket`."""

from __future__ import annotations

import json
import random
from contextlib import suppress
from typing import Any

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket
from wsproto.utilities import LocalProtocolError

from tests.scenario.transaction_ledger import COUNTED, TransactionLedger

NOW = "2027-01-15T08:00:00Z"


class CsmsFaults(msgspec.Struct, frozen=True):
    """Shares of the messages of transactions that are answered with a CALLERROR, and late.

    A late answer comes `late_s` after its CALL over the same link: behind others, or after its timeout.
    """

    errors: float = 0.0
    late: float = 0.0
    late_s: tuple[float, float] = (0.2, 1.5)


NO_FAULTS = CsmsFaults()


class BusyCsms:
    """Serves one port until cancelled; while it is not `steady` it is away at times, and fails at times.

    `up_s` and `away_s`: shortest and longest time for which it serves, and for which it is away.
    `calls_before_boot`: messages of stations whose boot it has not accepted yet. `faults`: how often it
    rejects messages of transactions and answers late while it is not `steady`.
    """

    def __init__(
        self,
        name: str,
        port: int,
        ledger: TransactionLedger,
        chance: random.Random,
        up_s: tuple[float, float] = (0.2, 2.5),
        away_s: tuple[float, float] = (0.05, 1.2),
        faults: CsmsFaults = NO_FAULTS,
    ) -> None:
        self.name = name
        self.ledger = ledger
        self.steady = False
        self.calls_before_boot: list[str] = []
        self._accepted: set[str] = set()
        self.received = trio.Event()
        self._port = port
        self._chance = chance
        self._up_s = up_s
        self._away_s = away_s
        self._faults = faults
        self.late_answers = 0
        self._may_serve = trio.Event()
        self._may_serve.set()
        self._serving: trio.CancelScope | None = None

    def leave(self) -> None:
        """Be away until `come_back`."""
        self._may_serve = trio.Event()
        if self._serving is not None:
            self._serving.cancel()

    def come_back(self) -> None:
        """Serve again."""
        self._may_serve.set()

    async def run(self) -> None:
        """Serve, and be away at times."""
        while True:
            await self._may_serve.wait()
            try:
                async with trio.open_nursery() as nursery:
                    self._serving = nursery.cancel_scope
                    nursery.start_soon(serve_websocket, self._serve, "127.0.0.1", self._port, None)
                    await trio.sleep(self._chance.uniform(*self._up_s))
                    while self.steady:
                        await self.received.wait()
                    nursery.cancel_scope.cancel()
            except* LocalProtocolError:
                pass  # trio-websocket answers a ping after it has sent its close: the CSMS starts again
            await trio.sleep(self._chance.uniform(*self._away_s))

    async def _serve(self, request: WebSocketRequest) -> None:
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        station = request.path.rsplit("/", 1)[-1]
        async with trio.open_nursery() as late:
            with suppress(ConnectionClosed):
                await self._answer_calls(station, socket, late)
            late.cancel_scope.cancel()

    async def _answer_calls(self, station: str, socket: WebSocketConnection, late: trio.Nursery) -> None:
        is_first = station not in self._accepted
        while True:
            frame = json.loads(await socket.get_message())
            if frame[0] != 2:
                continue
            if is_first and frame[2] != "BootNotification":
                self.calls_before_boot.append(f"{station} {frame[2]}")
            is_first = False
            if self._is_faulty(frame, self._faults.errors) and self.ledger.reject(station, *frame[1:]):
                await self._send(socket, json.dumps([4, frame[1], "InternalError", "", {}]))
                continue
            text = json.dumps([3, frame[1], self._answer(station, frame)])
            if not self.steady and self._chance.random() < 0.03:
                return  # received, and never answered
            if self._is_faulty(frame, self._faults.late):
                late.start_soon(self._send_late, socket, text)
            else:
                await self._send(socket, text)
            if frame[2] == "BootNotification":
                self._accepted.add(station)
            self._note_received()

    def _is_faulty(self, frame: list[Any], share: float) -> bool:
        return not self.steady and frame[2] in COUNTED and self._chance.random() < share

    async def _send_late(self, socket: WebSocketConnection, text: str) -> None:
        """Send an answer when others have been sent, if the link stays open for so long."""
        await trio.sleep(self._chance.uniform(*self._faults.late_s))
        with suppress(ConnectionClosed):
            await socket.send_message(text)
            self.late_answers += 1

    async def _send(self, socket: WebSocketConnection, text: str) -> None:
        if not self.steady and self._chance.random() < 0.2:
            await trio.sleep(self._chance.uniform(0, 0.05))
        await socket.send_message(text)

    def _answer(self, station: str, frame: list[Any]) -> dict[str, Any]:
        _, message_id, action, payload = frame
        if action in COUNTED:
            return self.ledger.receive(station, message_id, action, payload)
        if action == "BootNotification":
            return {"status": "Accepted", "currentTime": NOW, "interval": 300}
        if action == "Authorize":
            return {"idTagInfo": {"status": "Accepted"}}
        return {"currentTime": NOW} if action == "Heartbeat" else {}

    def _note_received(self) -> None:
        self.received.set()
        self.received = trio.Event()
