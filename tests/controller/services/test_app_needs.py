"""A car's departure over a real socket and by the real clock."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

import trio
from trio_websocket import open_websocket_url

from tests.controller.services.test_app import running, site, until
from tests.scenario.link_harness import receive_text

IN_TWO_HOURS = timedelta(hours=2, minutes=5)


async def test_app_needs_departure_is_converted_by_wall_clock(tmp_path: Path) -> None:
    needs = {
        "requestedEnergyTransfer": "AC_three_phase",
        "departureTime": (datetime.now(UTC) + IN_TWO_HOURS).isoformat(),
        "acChargingParameters": {
            "energyAmount": 20_000,
            "evMinCurrent": 6,
            "evMaxCurrent": 32,
            "evMaxVoltage": 230,
        },
    }
    state = {
        "timestamp": datetime.now(UTC).isoformat(),
        "connectorStatus": "Occupied",
        "evseId": 1,
        "connectorId": 1,
    }
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        open_websocket_url(
            f"ws://127.0.0.1:{controller.port}/ocpp/CS01", subprotocols=["ocpp2.0.1"], disconnect_timeout=2
        ) as socket,
        trio.open_nursery() as nursery,
    ):

        async def obey() -> None:
            while True:
                frame = json.loads(await receive_text(socket))
                if frame[0] == 2:
                    await socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))

        nursery.start_soon(obey)
        await socket.send_message(json.dumps([2, "s", "StatusNotification", state]))
        started = {
            "eventType": "Started",
            "timestamp": datetime.now(UTC).isoformat(),
            "triggerReason": "Authorized",
            "seqNo": 0,
            "transactionInfo": {"transactionId": "t", "chargingState": "EVConnected"},
            "evse": {"id": 1, "connectorId": 1},
        }
        await socket.send_message(json.dumps([2, "t", "TransactionEvent", started]))
        needs_now = {"evseId": 1, "chargingNeeds": needs}
        await socket.send_message(json.dumps([2, "n", "NotifyEVChargingNeeds", needs_now]))
        await until(controller, "CS01", "leaves in 2 h 10 min, needs 14 A on average: grid L1 full")
        nursery.cancel_scope.cancel()
