"""Stations and backend directly at each other, over loopback: the ledger must come out clean."""

from __future__ import annotations

import trio
import trio.testing

from controller.demo import site as demo_site
from controller.demo.backend import SimulatedBackend
from controller.demo.ledger import Ledger
from controller.demo.physics import SimulatedSite
from controller.demo.station import SimulatedStation


async def test_a_site_without_controller_loses_nothing() -> None:
    ledger = Ledger()
    plans = demo_site.stations(seed=7)
    site = SimulatedSite(
        demo_site.CIRCUITS, [outlet for plan in plans for outlet in plan.outlets], demo_site.loads(7)
    )
    backend = SimulatedBackend(ledger, seed=7)
    stations = [SimulatedStation(plan, site, ledger, 7) for plan in plans]
    async with trio.open_nursery() as nursery:
        port = await nursery.start(backend.serve)
        for station in stations:
            nursery.start_soon(station.run, f"ws://127.0.0.1:{port}/ocpp")
        for _ in range(120):
            await trio.sleep(0.5)
            site.advance(site.now + 0.5)
        backend.quiet = True
        for station in stations:
            station.outbox.closed = True
        for station in stations:
            await station.outbox.emptied()
        await trio.sleep(1)
        messages = ledger.count()
        nursery.cancel_scope.cancel()
    print(messages, site.energy_wh, site.records)
    assert messages.relayed > 500
    assert (messages.own, messages.lost, messages.duplicated, messages.altered) == (0, 0, 0, 0)
