"""A restart, and all stations come back at once: over real sockets, with the whole daemon."""

from __future__ import annotations

from pathlib import Path

import trio

from controller.config import Config
from controller.config.loader import check_config
from tests.controller.services.test_app import running
from tests.controller.transport.fleet import BusyBackend, Fleet
from tests.interop.programs import free_port

STATIONS = [f"CS{number:03}" for number in range(200)]


def a_site(folder: Path, port: int, backend_port: int, per_second: int) -> Config:
    stations = "".join(
        f'[[station]]\nid = "{name}"\ncircuit = "grid"\nowner = "cpo"\n[[station.evse]]\nfallback_a = 0\n'
        for name in STATIONS
    )
    config, mistakes, _ = check_config(
        f"""
        [site]
        id = "lc"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = {port}
        handshakes_per_second = {per_second}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend_port}/csms/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 10_000
        {stations}
        """,
        "storm.toml",
    )
    assert mistakes == []
    assert config is not None
    return config


async def test_all_are_back_after_a_restart_and_none_is_refused(tmp_path: Path) -> None:
    port = free_port()
    async with trio.open_nursery() as nursery:
        backend = BusyBackend()
        await nursery.start(backend.run)
        fleet = Fleet(f"ws://127.0.0.1:{port}/ocpp/{{station}}", {name: [] for name in STATIONS})
        with trio.fail_after(60):
            async with running(a_site(tmp_path, port, backend.port, 0)):
                nursery.start_soon(fleet.run)
                await fleet.all_served()
            await fleet.none_served()
            backend.boots.clear()
            async with running(a_site(tmp_path, port, backend.port, 100)) as controller:
                await fleet.all_served()
                links = controller.status().links
        assert (links.accepted_total, links.refused_total) == (len(STATIONS), 0)
        assert len(backend.boots) == len(STATIONS)
        nursery.cancel_scope.cancel()
