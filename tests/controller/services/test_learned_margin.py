"""Learned margin of a circuit over a restart of the load management service."""

from __future__ import annotations

from pathlib import Path

import trio
import trio.testing

from controller.config import Config
from controller.config.loader import check_config
from controller.load_management.events import MeterUpdated
from controller.load_management.metering.margin_learning import DAY_S, RECURS, MarginStored
from controller.services.load_management.load_management_service import LoadManagementService
from controller.store.state_store import StateStore
from drivers.reading import MeterState, Quality, Reading
from tests.controller.store.synchronous_store import SynchronousStore

SITE = """
[site]
id = "lc"
[store]
directory = "."
[[circuit]]
id = "grid"
limit_a = 100
meter = "m"
margin_a = "auto"
[[meter]]
id = "m"
driver = "janitza-umg604"
transport = "tcp"
host = "192.0.2.20"
"""


def read_config() -> Config:
    config, errors, _ = check_config(SITE, "site.toml")
    assert config is not None, errors
    return config


def measure(service: LoadManagementService, load_a: float) -> None:
    reading = Reading(time=trio.current_time(), current_a=(load_a, 3.0, 3.0), voltage_v=(230.0,) * 3)
    service.handle_event(MeterUpdated(MeterState(meter="m", quality=Quality.GOOD, reading=reading)))


async def test_learned_margin_survives_restart(tmp_path: Path, mock_clock: trio.testing.MockClock) -> None:
    store = SynchronousStore(tmp_path)
    store.persist_now([MarginStored("grid", DAY_S, ((), ()), 0, 0, 0.0)])
    service = LoadManagementService(read_config(), store, {})
    assert service.view().circuits[0].margin_a == 1.0
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run, lambda limit: None)
        for _ in range(RECURS):
            for load_a in (20.0,) * 12 + (27.0,) * 6 + (20.0,) * 12:
                mock_clock.jump(5.0)
                measure(service, load_a)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    store.close()
    after = LoadManagementService(read_config(), StateStore(tmp_path), {})
    circuit = after.view().circuits[0]
    assert (circuit.margin_a, circuit.jump_a, circuit.jumps_beyond) == (7.0, 7.0, RECURS)
