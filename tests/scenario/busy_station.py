"""Stations that send one CALL at a time and repeat each until it has an answer, on `trio-websocket`."""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Generator
from datetime import UTC, datetime, timedelta
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError, WebSocketConnection, open_websocket_url

from tests.scenario.transaction_ledger import Part, Payload, make_part

Script = Generator[tuple[str, Payload], Payload, None]
"""CALLs of a station, one after the other; the answers are sent into the generator."""

BEGAN = datetime(2027, 1, 15, 8, tzinfo=UTC)
CONNECT_S = 2.0
"""trio-websocket does not notice that a server ends in the middle of a handshake."""
ANSWER_S = 5.0
"""Wait for an answer after which a station closes its link."""


class LinkGoneError(Exception):
    """The link is lost, or has no answers."""


class BusyStation:
    """One station and its cars, until `finishing`: then it ends the running transaction, and is `finished`.

    `journal`: the parts of its transactions in order; `repeated`: number of repeated CALLs. `reuses_ids`: it
    counts its message ids from 1 again when it boots.
    """

    def __init__(
        self,
        name: str,
        protocol: str,
        url: str,
        chance: random.Random,
        pause_s: float = 0.03,
        *,
        reuses_ids: bool = False,
    ) -> None:
        self.name = name
        self._pause_s = pause_s
        self.journal: list[Part] = []
        self.repeated = 0
        self.transactions = 0
        self.finishing = False
        self.finished = trio.Event()
        self._protocol = protocol
        self._url = url
        self._chance = chance
        self._times = itertools.count(1)
        self._ids = itertools.count(1)
        self._reuses_ids = reuses_ids
        self._begun: dict[int, str] = {}
        self._script = self._cars_16() if protocol == "ocpp1.6" else self._cars_2()
        self._now: tuple[str, str, Payload] | None = None
        """The CALL without an answer: id, action, payload."""
        self._has_booted = False

    async def run(self) -> None:
        """Connect again and again, until cancelled."""
        while True:
            try:
                async with open_websocket_url(
                    self._url,
                    subprotocols=[self._protocol],
                    connect_timeout=CONNECT_S,
                    disconnect_timeout=0.5,
                ) as socket:
                    await _Link(socket).run(self)
            except* (HandshakeError, OSError, LinkGoneError, ConnectionClosed):
                await trio.sleep(self._chance.uniform(0.02, 0.2))

    async def send_all(self, link: _Link) -> None:
        """Send CALLs over one link, from its beginning."""
        if not self._has_booted or self._chance.random() < 0.3:
            await self._boot(link)
        status = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
        if self._protocol != "ocpp1.6":
            status = {
                "evseId": 1,
                "connectorId": 1,
                "connectorStatus": "Available",
                "timestamp": self._time(),
            }
        await link.request(self._id(), "StatusNotification", status)
        while True:
            await self._send_next(link)
            await trio.sleep(self._chance.uniform(0, self._pause_s))

    async def _boot(self, link: _Link) -> None:
        boot: Payload = {"chargePointVendor": "V", "chargePointModel": "M"}
        if self._protocol != "ocpp1.6":
            boot = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
        if self._reuses_ids:
            self._ids = itertools.count(1)
        answer = await link.request(self._id(), "BootNotification", boot)
        if answer is None or answer["status"] != "Accepted":
            raise LinkGoneError  # it comes back in a moment
        self._has_booted = True

    async def _send_next(self, link: _Link) -> None:
        if self._now is None:
            try:
                call = next(self._script)
            except StopIteration:
                self.finished.set()
                await trio.sleep_forever()
            self._put(*call)
        elif self._chance.random() < 0.3:
            self._now = (self._id(), *self._now[1:])
        assert self._now is not None
        self.repeated += 1
        answer = await link.request(*self._now, impatient=self._chance.random() < 0.02)
        if answer is None:
            return
        self.repeated -= 1
        self._now = None
        try:
            self._put(*self._script.send(answer))
        except StopIteration:
            self.finished.set()

    def _put(self, action: str, payload: Payload) -> None:
        self._now = (self._id(), action, payload)
        self.journal.append(make_part(action, payload, self._begun))

    # -- cars -----------------------------------------------------------------------------------------

    def _cars_16(self) -> Script:
        while not self.finishing:
            began = self._time()
            start = {"connectorId": 1, "idTag": "TAG", "meterStart": 0, "timestamp": began}
            number: int = (yield "StartTransaction", start)["transactionId"]
            self._begun[number] = began
            for _ in range(self._chance.randrange(5)):
                value = [{"timestamp": self._time(), "sampledValue": [{"value": "1"}]}]
                yield "MeterValues", {"connectorId": 1, "transactionId": number, "meterValue": value}
            yield "StopTransaction", {"transactionId": number, "meterStop": 9, "timestamp": self._time()}
            self.transactions += 1

    def _cars_2(self) -> Script:
        while not self.finishing:
            transaction = f"{self.name}-{self.transactions}"
            most = self._chance.randrange(2, 7)
            for number in range(most):
                kind = "Started" if number == 0 else "Ended" if number == most - 1 else "Updated"
                event: dict[str, Any] = {
                    "eventType": kind,
                    "timestamp": self._time(),
                    "triggerReason": "Authorized" if number == 0 else "MeterValuePeriodic",
                    "seqNo": number,
                    "transactionInfo": {"transactionId": transaction},
                }
                if number == 0:
                    event |= {"idToken": {"idToken": "TAG", "type": "ISO14443"}, "evse": {"id": 1}}
                yield "TransactionEvent", event
            self.transactions += 1

    def _time(self) -> str:
        return (BEGAN + timedelta(seconds=next(self._times))).isoformat().replace("+00:00", "Z")

    def _id(self) -> str:
        return f"{self.name}-{next(self._ids)}"


class _Link:
    """One connection of a station; limits are accepted, other commands answered with an error."""

    def __init__(self, socket: WebSocketConnection) -> None:
        self._socket = socket
        self._answers, self._answered = trio.open_memory_channel[list[Any]](10)

    async def run(self, station: BusyStation) -> None:
        """Send CALLs until the link is lost. Raises LinkGoneError or ConnectionClosed, also in a group."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._receive_frames)
            nursery.start_soon(station.send_all, self)

    async def request(
        self, message_id: str, action: str, payload: Payload, *, impatient: bool = False
    ) -> Payload | None:
        """Return the answer, None for an error; `impatient`: close the link without waiting for it."""
        await self._socket.send_message(json.dumps([2, message_id, action, payload]))
        if impatient:
            raise LinkGoneError
        with trio.move_on_after(ANSWER_S):
            while True:
                frame = await self._answered.receive()
                if frame[1] == message_id:
                    return frame[2] if frame[0] == 3 else None
        raise LinkGoneError

    async def _receive_frames(self) -> None:
        while True:
            frame = json.loads(await self._socket.get_message())
            if frame[0] in (3, 4):
                await self._answers.send(frame)
            elif frame[2] in ("SetChargingProfile", "ClearChargingProfile"):
                await self._socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
            else:
                await self._socket.send_message(json.dumps([4, frame[1], "NotSupported", "", {}]))
