"""Readiness once all meters have had a first state."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from controller.services.load_management.site_meters import MAX_WAIT_S, MeterReadiness
from drivers.reading import MeterState, Quality


async def test_meter_readiness_without_meters_is_immediate() -> None:
    assert await MeterReadiness([]).wait() == ()


@pytest.mark.parametrize("quality", [Quality.GOOD, Quality.DEAD])
async def test_meter_readiness_after_each_first_state(
    quality: Quality, autojump_clock: trio.testing.MockClock
) -> None:
    readiness = MeterReadiness(["grid", "pv"])

    async def publish() -> None:
        for meter in ("grid", "grid", "pv"):
            await trio.sleep(1)
            readiness.on_meter_state(MeterState(meter=meter, quality=quality))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(publish)
        assert await readiness.wait() == ()
    assert trio.current_time() == 3


async def test_meter_readiness_names_unread_meters_at_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    readiness = MeterReadiness(["grid", "pv"])
    readiness.on_meter_state(MeterState(meter="pv", quality=Quality.GOOD))
    assert await readiness.wait() == ("grid",)
    assert trio.current_time() == MAX_WAIT_S
