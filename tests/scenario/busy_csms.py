"""A CSMS that is away at random and records the transactions it receives, on `trio-websocket`."""

from __future__ import annotations

import json
import random
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, WebSocketRequest, serve_websocket
from wsproto.utilities import LocalProtocolError

from tests.scenario.transaction_ledger import COUNTED, TransactionLedger

NOW = "2027-01-15T08:00:00Z"


class BusyCsms:
    """Serves one port until cancelled; while it is not `steady` it is away at times, and fails at times.

    `up_s` and `away_s`: shortest and longest time for which it serves, and for which it is away.
    `calls_before_boot`: messages of stations whose boot it has not accepted yet.
    """

    def __init__(
        self,
        name: str,
        port: int,
        ledger: TransactionLedger,
        chance: random.Random,
        up_s: tuple[float, float] = (0.2, 2.5),
        away_s: tuple[float, float] = (0.05, 1.2),
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

    async def run(self) -> None:
        """Serve, and be away at times."""
        while True:
            try:
                async with trio.open_nursery() as nursery:
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
        is_first = station not in self._accepted
        try:
            while True:
                frame = json.loads(await socket.get_message())
                if frame[0] != 2:
                    continue
                if is_first and frame[2] != "BootNotification":
                    self.calls_before_boot.append(f"{station} {frame[2]}")
                is_first = False
                answer = self._answer(station, frame)
                if not self.steady and self._chance.random() < 0.03:
                    return  # received, and never answered
                await self._send(socket, json.dumps([3, frame[1], answer]))
                if frame[2] == "BootNotification":
                    self._accepted.add(station)
                self._note_received()
        except ConnectionClosed:
            return

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
