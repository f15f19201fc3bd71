"""A simulated backend (CSMS): one WebSocket a station at ws://127.0.0.1:PORT/ocpp/{station}.

It answers every CALL of a station and sends a command now and then, in unusual formatting on purpose: the
controller in between has to relay every byte unchanged.
"""

from __future__ import annotations

import itertools
import json
import random
import uuid
from datetime import UTC, datetime
from urllib.parse import unquote

import trio
from trio_websocket import WebSocketRequest, serve_websocket

from controller.demo.demo_frames import STYLES, Payload, PeerFrame
from controller.demo.message_ledger import End, MessageLedger
from controller.demo.peer_connection import NoAnswerError, PeerConnection, closed_on_loss

VERSIONS = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
COMMAND_S = (4.0, 12.0)
"""Shortest and longest time between two commands to a station."""

HEARTBEAT_S = 30
SITE_S = 10.0
"""Timeout of the wait for the site's own link."""
_FIRST_TRANSACTION = 1_799_999_000
"""Near the highest 1.6 transaction ids that backends use."""


class SimulatedCsms:
    """CSMS that answers and commands all stations of a site."""

    def __init__(self, ledger: MessageLedger, seed: int, site_id: str) -> None:
        self.sends_no_commands = False
        """No new commands: the run is about to end."""
        self._ledger = ledger
        self._seed = seed
        self._transactions = itertools.count(_FIRST_TRANSACTION)
        self._known: dict[str, int] = {}
        """Answered StartTransactions of OCPP 1.6, which a station may send again."""
        self._connections: set[PeerConnection] = set()
        self._site_id = site_id
        self._site_connection: PeerConnection | None = None
        self._site_connected = trio.Event()

    async def call_site(self, action: str, payload: Payload) -> Payload:
        """Send a CALL to the controller itself over its own link. Raises NoAnswerError."""
        with trio.move_on_after(SITE_S):
            await self._site_connected.wait()
        answer = None if self._site_connection is None else await self._site_connection.ask(action, payload)
        if answer is None:
            raise NoAnswerError(f"{self._site_id} has no answer to {action}")
        return answer

    async def idle(self) -> None:
        """Wait until every command has its answer."""
        for connection in list(self._connections):
            await connection.idle()

    async def serve(self, *, task_status: trio.TaskStatus[int] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve until cancelled; starts with the bound port."""
        async with trio.open_nursery() as nursery:
            server = await nursery.start(serve_websocket, self._accept, "127.0.0.1", 0, None)
            task_status.started(server.port)

    async def _accept(self, request: WebSocketRequest) -> None:
        station = unquote(request.path.removeprefix("/ocpp/"))
        version = next((name for name in request.proposed_subprotocols if name in VERSIONS), None)
        if version is None:
            await request.reject(400, body=b"no OCPP version in common\n")
            return
        if station == self._site_id:
            await self._serve_site(request, version)
            return
        dice = random.Random(f"{self._seed}/backend/{station}")
        socket = await request.accept(subprotocol=version)
        connection = PeerConnection(
            End.BACKEND, station, socket, self._ledger, dice.choice(STYLES), counts=dice.random() < 0.5
        )
        self._connections.add(connection)
        try:
            async with closed_on_loss(connection, self._ledger) as nursery:

                async def answer(frame: PeerFrame) -> Payload | None:
                    await trio.sleep(dice.uniform(0.005, 0.08))
                    return self._answer(station, version, frame)

                nursery.start_soon(connection.listen, answer)
                nursery.start_soon(self._command, station, version, connection, dice)
        finally:
            self._connections.remove(connection)

    async def _serve_site(self, request: WebSocketRequest, version: str) -> None:
        """Serve the controller's own link, whose frames are not relayed and so not counted."""
        socket = await request.accept(subprotocol=version)
        aside = MessageLedger()
        connection = PeerConnection(End.BACKEND, self._site_id, socket, aside, STYLES[0], counts=False)
        self._site_connection = connection
        self._site_connected.set()

        async def answer(frame: PeerFrame) -> Payload | None:
            return self._answer(self._site_id, version, frame)

        async with closed_on_loss(connection, aside):
            await connection.listen(answer)

    def _answer(self, station: str, version: str, frame: PeerFrame) -> Payload | None:
        now = datetime.now(UTC).isoformat()
        match frame.action:
            case "BootNotification":
                return {"status": "Accepted", "currentTime": now, "interval": HEARTBEAT_S}
            case "Heartbeat":
                return {"currentTime": now}
            case "Authorize":
                info = {"status": "Accepted"}
                return {"idTagInfo": info} if version == "ocpp1.6" else {"idTokenInfo": info}
            case "StartTransaction":
                content = f"{station} {json.dumps(frame.payload)}"
                number = self._known.setdefault(content, next(self._transactions))
                return {"transactionId": number, "idTagInfo": {"status": "Accepted"}}
            case "TransactionEvent" if frame.payload["eventType"] == "Started":
                return {"idTokenInfo": {"status": "Accepted"}}
            case "DataTransfer":
                return {"status": "Accepted"}
            case "NotifyChargingLimit" | "ClearedChargingLimit":
                return {}
            case "StopTransaction" | "TransactionEvent" | "MeterValues" | "StatusNotification":
                return {}
        return None

    async def _command(
        self, station: str, version: str, connection: PeerConnection, dice: random.Random
    ) -> None:
        while True:
            await trio.sleep(dice.uniform(*COMMAND_S))
            if self.sends_no_commands:
                return
            action, payload = random_command(version, dice)
            try:
                await connection.ask(action, payload)
            except NoAnswerError:
                continue


def random_command(version: str, dice: random.Random) -> tuple[str, Payload]:
    """Return a random command, also of actions that the station does not implement."""
    commands: list[tuple[str, Payload]] = [
        ("TriggerMessage", {"requestedMessage": dice.choice(("Heartbeat", "StatusNotification", "Günther"))}),
        (
            "DataTransfer",
            {
                "vendorId": "com.example.demo",
                "messageId": "Zähler/π",
                "data": f'{{"raw" : "{uuid.uuid4()}", "half":\t0.10}}',
                "x-unknown": {"long": 12345678901234567890123, "tiny": 1e-300, "emoji": "⚡🚗"},
            },
        ),
        ("FrobnicateSocket", {"degree": [1, 2.50, None, True], "wo": "Straße"}),
    ]
    if version == "ocpp1.6":
        commands += [
            ("GetConfiguration", {"key": ["HeartbeatInterval", "Gibt es nicht"]}),
            ("GetConfiguration", {}),
            ("GetCompositeSchedule", {"connectorId": 1, "duration": 600, "chargingRateUnit": "A"}),
        ]
    else:
        variable = {"component": {"name": "SmartChargingCtrlr"}, "variable": {"name": "RateUnit"}}
        unknown = {"component": {"name": "Dämmerungsschalter"}, "variable": {"name": "Lux"}}
        commands += [
            ("GetVariables", {"getVariableData": [variable, unknown]}),
            ("GetCompositeSchedule", {"evseId": 1, "duration": 600}),
        ]
    return dice.choice(commands)
