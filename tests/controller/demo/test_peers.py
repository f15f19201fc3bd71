"""Stations and backend directly at each other, over loopback, without a controller between them."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from controller.demo import demo_site as demo_site
from controller.demo.demo_report import DemoReport, site_report
from controller.demo.demo_world import DemoWorld
from controller.demo.message_ledger import MessageCounts


@pytest.fixture
def fast_clock() -> trio.testing.MockClock:
    """Ten times as fast as the wall's; it must not jump, as the sockets are real."""
    return trio.testing.MockClock(rate=10.0)


async def live(world: DemoWorld, seconds: float) -> DemoReport:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(world.backend.serve)
        nursery.start_soon(world.run, f"ws://127.0.0.1:{port}/ocpp")
        await trio.sleep(seconds)
        seen = site_report(world.site)
        await world.drain()
        nursery.cancel_scope.cancel()
    return world.report(seen)


async def test_busy_peers_without_controller_lose_nothing(fast_clock: trio.testing.MockClock) -> None:
    outage_ends = sum(demo_site.AWAY)
    report = await live(DemoWorld(7, {}), outage_ends + 15)
    assert report.stations == {"ocpp1.6": 4, "ocpp2.0.1": 4, "ocpp2.1": 4}
    assert report.messages.relayed > 400
    assert report.messages == MessageCounts(
        relayed=report.messages.relayed, own=0, lost=0, duplicated=0, altered=0
    )
    grid = report.circuits[0]
    assert grid.seconds_over_limit > 10, (
        "the cars must need more than the limits allow, or no limit is reached"
    )
    assert max(grid.peak_a) > grid.limit_a


async def test_no_backend_is_no_end(fast_clock: trio.testing.MockClock) -> None:
    world = DemoWorld(7, {})
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.run, "ws://127.0.0.1:1/ocpp")
        await trio.sleep(20)
        assert world.ledger.frames == 0
        assert world.site.energy_wh > 0, "cars charge without a link"
        nursery.cancel_scope.cancel()
