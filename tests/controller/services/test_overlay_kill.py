"""Three whole controllers in a chain; the middle one is killed and comes back."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from tests.controller.services.overlay.test_overlay_service import configuration, configured, station
from tests.controller.services.test_app import running
from tests.interop.programs import free_port
from tests.scenario.controller_process import ControllerProcess
from tests.scenario.link_harness import serve_csms

CONVERGED_S = 10.0
ROUNDS, EVENTS = 2, 4
WHOLE_S = 60.0


class End:
    """Either end of the chain: it answers each CALL and records what it receives.

    `asked`: how often each CALL came, by action and its distinguishing member; `answers` by message id.
    """

    def __init__(self, socket: WebSocketConnection) -> None:
        self.asked: Counter[tuple[str, Any]] = Counter()
        self.answers: dict[str, Any] = {}
        self.reachable: set[str] = set()
        self._socket = socket
        self._arrived = trio.Event()

    async def run(self) -> None:
        """Until the other side closes."""
        try:
            while True:
                await self._handle_frame(json.loads(await self._socket.get_message()))
                self._arrived.set()
                self._arrived = trio.Event()
        except ConnectionClosed:
            return

    async def _handle_frame(self, frame: list[Any]) -> None:
        is_overlay = isinstance(frame[2], list) or len(frame) == 6
        number, rest = (frame[3], frame[4:]) if is_overlay else (frame[1], frame[2:])
        if frame[0] == 6:
            self.reachable = {
                route["destinationId"] for route in rest[1]["networkTopologyInformation"]["routes"]
            }
        elif frame[0] != 2:
            self.answers[number] = rest[0]
        else:
            action, payload = rest
            self.asked[action, payload.get("seqNo", payload.get("type"))] += 1
            back = [_reversed(frame[2]), "CSMS"] if is_overlay else []
            await self._socket.send_message(json.dumps([3, *back, number, _answer(action)]))

    async def ask(self, *frame: Any) -> None:
        await self._socket.send_message(json.dumps(frame))

    async def until(self, condition: Any) -> None:
        """Wait until a condition holds; the caller bounds the wait."""
        while not condition():
            await self._arrived.wait()


def _reversed(path: str | list[str]) -> list[str]:
    return [path] if isinstance(path, str) else path[::-1]


def _answer(action: str) -> dict[str, Any]:
    if action == "BootNotification":
        return {"status": "Accepted", "interval": 300, "currentTime": "2026-11-21T12:00:00Z"}
    return {} if action in ("TransactionEvent", "StatusNotification") else {"status": "Accepted"}


def event(number: int) -> dict[str, Any]:
    return {
        "eventType": "Updated" if number else "Started",
        "timestamp": f"2026-11-21T12:00:{number:02}Z",
        "triggerReason": "MeterValuePeriodic",
        "seqNo": number,
        "transactionInfo": {"transactionId": "T1"},
    }


async def charge(served: End, first: int) -> None:
    """Send some events of a transaction, one after the other; each is answered."""
    for number in range(first, first + EVENTS):
        await served.ask(2, f"e{number}", "TransactionEvent", event(number))
        await served.until(lambda number=number: f"e{number}" in served.answers)


async def test_chain_with_killed_middle_loses_and_doubles_nothing(tmp_path: Path) -> None:
    port = free_port()
    for site in ("LC01", "LC02", "LC03"):
        (tmp_path / site).mkdir()
    with trio.fail_after(WHOLE_S):
        async with serve_csms() as backend, trio.open_nursery() as nursery:
            upper = configured(tmp_path, "LC01", backend.port, "CSMS", "LC02", "overlay")
            async with running(upper) as parent:
                csms = End(await backend.accept())
                nursery.start_soon(csms.run)
                text = configuration(
                    tmp_path, "LC02", parent.port, "LC01", "LC03", "overlay", "ocpp", listen=port
                )
                middle = ControllerProcess(tmp_path, text)
                await middle.start()
                try:
                    await middle.ready()
                    lower = configured(tmp_path, "LC03", port, "LC02", "CS01", "standard", "ocpp")
                    async with running(lower) as child, station(child) as socket:
                        served = End(socket)
                        nursery.start_soon(served.run)
                        await served.ask(2, "boot", "BootNotification", {"reason": "PowerUp"})
                        await served.until(lambda: "boot" in served.answers)
                        await charge(served, 0)
                        for number in range(1, ROUNDS + 1):
                            await die_and_come_back(middle, csms, served, number)
                finally:
                    await middle.kill()
            nursery.cancel_scope.cancel()
    received = {
        number: count for (action, number), count in csms.asked.items() if action == "TransactionEvent"
    }
    assert received == dict.fromkeys(range((ROUNDS + 1) * EVENTS), 1)
    assert list(received) == sorted(received), "in their order"
    assert served.asked["Reset", f"Round{ROUNDS}"] == 1
    assert [count for (action, _), count in served.asked.items() if action == "Reset"] == [1] * ROUNDS


async def die_and_come_back(middle: ControllerProcess, csms: End, served: End, number: int) -> None:
    """Messages of the outage are delivered, and commands arrive, soon after the middle is back."""
    first = number * EVENTS
    await csms.until(lambda: csms.asked["TransactionEvent", first - 1])
    await middle.kill()
    await csms.until(lambda: "CS01" not in csms.reachable)
    await charge(served, first)
    await middle.start()
    await middle.ready()
    with trio.fail_after(CONVERGED_S):
        await csms.until(lambda: csms.asked["TransactionEvent", first + EVENTS - 1])
        await csms.until(lambda: "CS01" in csms.reachable)
        await csms.ask(2, "CS01", "CSMS", f"r{number}", "Reset", {"type": f"Round{number}"})
        await csms.until(lambda: f"r{number}" in csms.answers)
    assert csms.answers[f"r{number}"] == {"status": "Accepted"}
