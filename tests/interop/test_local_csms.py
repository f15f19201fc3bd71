"""The daemon without a backend, with third-party stations: PyPI `ocpp` and npm `ocpp-rpc`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from controller.session_ledger.charging_session import month_of
from controller.store.session_store import open_session_file
from tests.interop.programs import CONTROLLER, HERE, VERSIONS, free_port, listening, started

HOME = """
[site]
id = "home"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
[local_csms]
authorization = "free"
[[circuit]]
id = "house"
limit_a = 100
"""


@pytest.mark.parametrize("version", VERSIONS)
async def test_local_csms_serves_stations_of_other_programs(version: str, tmp_path: Path) -> None:
    port = free_port()
    stations = "".join(f'[[station]]\nid = "CS0{each}"\ncircuit = "house"\n' for each in (1, 2))
    config = tmp_path / "controller.toml"
    config.write_text(HOME.format(folder=tmp_path, port=port) + stations)
    url = f"ws://127.0.0.1:{port}/ocpp"
    async with started(CONTROLLER, "run", "-c", config):
        await listening(port)
        for command in (
            (sys.executable, HERE / "python_station.py", version, f"{url}/CS01"),
            ("node", HERE / "node_station.js", version, url, "CS02"),
        ):
            async with started(*command) as station:
                await station.until(lambda event: "charged" in event or "failed" in event)
                await station.finish()
                await station.until(lambda event: "done" in event or "failed" in event)
                assert {"got": "BootNotification", "status": "Accepted"} in station.events
                assert station.reports("failed") == station.reports("complaint") == []
    sessions = open_session_file(tmp_path)
    assert sessions.running() == []
    assert {each.station for each in sessions.ended("2000-01", month_of(4e9))} == {"CS01", "CS02"}
