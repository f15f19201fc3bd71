"""A backend's charging profile over real sockets: accepted, obeyed, and kept over a restart."""

from __future__ import annotations

import json
from pathlib import Path

from trio_websocket import WebSocketConnection

from tests.controller.services.test_app import limits, running, site, station, until
from tests.scenario.link_harness import receive_text

SIX_AND_A_HALF = (
    '[2,"p","SetChargingProfile",{"connectorId":0,"csChargingProfiles":{"chargingProfileId":1,"stackLevel":0,'
    '"chargingProfilePurpose":"ChargePointMaxProfile","chargingProfileKind":"Absolute","chargingSchedule":{'
    '"startSchedule":"2020-01-01T00:00:00Z","chargingRateUnit":"W",'
    '"chargingSchedulePeriod":[{"startPeriod":0,"limit":4485}]}}}]'
)
"""6.5 A on each of three phases."""


async def answer_to(socket: WebSocketConnection, number: str) -> object:
    """The payload of the answer to this CALL."""
    while True:
        frame = json.loads(await receive_text(socket))
        if frame[:2] == [3, number]:
            return frame[2]


async def test_app_backend_limit_is_applied_and_survives_a_restart(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, backend):
        async with running(config) as controller, station(controller, "CS01") as socket:
            assert await limits(socket, 2) == [(0, 6.0), (1, 7.0)]
            link = await backend.accept()
            await link.send_message(SIX_AND_A_HALF)
            assert await limits(socket, 1) == [(1, 6.5)]  # accepted once the station has accepted it
            assert await answer_to(link, "p") == {"status": "Accepted"}
            await until(controller, "CS01", "its backend allows 6.5 A")
        async with running(config) as controller, station(controller, "CS01") as socket:
            assert await limits(socket, 2) == [(0, 6.0), (1, 6.5)]
            link = await backend.accept()
            await link.send_message('[2,"c","ClearChargingProfile",{"id":1}]')
            assert await answer_to(link, "c") == {"status": "Accepted"}
            await until(controller, "CS01", "grid L1 full")
