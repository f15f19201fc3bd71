"""`kill -9` of a controller without backend: each transaction is one session, none is lost or doubled."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from controller.session_ledger.charging_session import month_of
from controller.store.session_store import open_session_file
from tests.interop.programs import free_port
from tests.scenario.controller_process import ControllerProcess

KILLS = 6
PATIENCE_S = 60.0
BOOT = {"chargePointVendor": "V", "chargePointModel": "M"}


class RepeatingStation:
    """A station of OCPP 1.6 that repeats a message, as a new CALL, until it is answered."""

    def __init__(self, url: str) -> None:
        self.finished: list[int] = []
        """Numbers of the transactions whose stop was answered."""
        self.repeated = 0
        self.stopping = False
        self._url = url
        self._sent = 0

    async def run(self) -> None:
        """Charge again and again until `stopping`, over any number of links."""
        calls = self._transactions()
        action, payload = next(calls)
        while True:
            try:
                async with open_websocket_url(
                    self._url, subprotocols=["ocpp1.6"], disconnect_timeout=1
                ) as socket:
                    await self._ask(
                        socket, "BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"}
                    )
                    while True:
                        answer = await self._ask(socket, action, payload)
                        if action == "StopTransaction" and self.stopping:
                            self.finished.append(payload["transactionId"])
                            return
                        action, payload = calls.send(answer)
            except (ConnectionClosed, HandshakeError, OSError):
                self.repeated += 1
                await trio.sleep(0.05)  # as a station waits before it connects again

    def _transactions(self) -> Any:
        for number in range(10_000):
            stamp = f"2026-11-27T{number // 3600:02d}:{number // 60 % 60:02d}:{number % 60:02d}Z"
            start = {"connectorId": 1, "idTag": "A", "meterStart": number, "timestamp": stamp}
            answer = yield "StartTransaction", start
            transaction = answer["transactionId"]
            yield (
                "StopTransaction",
                {"transactionId": transaction, "meterStop": number + 5, "timestamp": stamp},
            )
            self.finished.append(transaction)

    async def _ask(self, socket: Any, action: str, payload: dict[str, Any]) -> dict[str, Any]:
        self._sent += 1
        await socket.send_message(json.dumps([2, f"m{self._sent}", action, payload]))
        while True:
            frame = json.loads(await socket.get_message())
            if frame[0] == 2:
                await socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
            elif frame[1] == f"m{self._sent}":
                assert frame[0] == 3, frame
                return dict(frame[2])


async def test_each_transaction_is_one_session_over_kills(tmp_path: Path) -> None:
    port, chance = free_port(), random.Random(1)
    controller = ControllerProcess(
        tmp_path,
        f"""
[site]
id = "home"
[store]
directory = "{tmp_path}"
[listen]
host = "127.0.0.1"
port = {port}
[local_csms]
authorization = "free"
[[circuit]]
id = "house"
limit_a = 100
[[station]]
id = "CS01"
circuit = "house"
""",
    )
    station = RepeatingStation(f"ws://127.0.0.1:{port}/ocpp/CS01")
    with trio.fail_after(PATIENCE_S * 2):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(station.run)
            for _ in range(KILLS):
                await controller.start()
                await controller.ready()
                await trio.sleep(chance.uniform(0.1, 0.8))
                await controller.kill()
            station.stopping = True
            await controller.start()
        await controller.stop()
    sessions = open_session_file(tmp_path)
    recorded = [int(each.transaction) for each in sessions.ended("2000-01", month_of(4e9))]
    assert sorted(recorded) == sorted(station.finished)
    assert len(set(recorded)) == len(recorded) > KILLS
    assert sessions.running() == []
    assert station.repeated >= KILLS
