"""The wall clock jumps, as on a gateway without a battery that gets the time by NTP."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta, tzinfo
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection

from tests.controller.services.test_app import limits, profile_call, running, site, station


class OffsetClock(datetime):
    """The clock on the wall, `ahead` of the real one."""

    ahead = timedelta(0)

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> Any:
        return datetime.now(tz) + cls.ahead


@pytest.mark.parametrize("jump", [timedelta(days=-20_000), timedelta(hours=-1), timedelta(days=365)])
async def test_app_clock_step_keeps_limits_and_stations(
    jump: timedelta, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("controller.services.machine.wall_clock.datetime", OffsetClock)
    monkeypatch.setattr(OffsetClock, "ahead", timedelta(0))
    async with site(tmp_path) as (config, _):
        async with running(config) as controller, station(controller, "CS01") as first:
            assert await limits(first, 2) == [(0, 6.0), (1, 7.0)]
            monkeypatch.setattr(OffsetClock, "ahead", jump)
            async with station(controller, "CS02") as second, trio.open_nursery() as nursery:
                nursery.start_soon(obey, second)
                schedule = (await profile_call(first))[3]["csChargingProfiles"]["chargingSchedule"]
                begins = datetime.fromisoformat(schedule["startSchedule"])
                assert abs(begins - (datetime.now(UTC) + jump)) < timedelta(minutes=2)
                assert schedule["duration"] > 0
                assert controller.status().healthy
                assert sum(controller.status().links.connected.values()) == 2
                nursery.cancel_scope.cancel()
        # What was saved at another time is still understood.
        async with running(config) as controller, station(controller, "CS01") as first:
            assert len(await limits(first, 2)) == 2


async def obey(socket: WebSocketConnection) -> None:
    while True:
        frame = await profile_call(socket)
        await socket.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
