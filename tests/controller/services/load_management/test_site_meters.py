"""Meters of a site: polled over a socket, made of reports, and standing in for each other."""

from __future__ import annotations

import logging

import pytest
import trio

from controller.config.loader import check_config
from controller.load_management.metering.station_meters import StationMeters
from controller.load_management.site_builder import build_site
from controller.model.observations import DrawSeen, EvseState, StateSeen
from controller.services.load_management.site_meters import SiteMeters
from drivers.errors import Cause
from drivers.meter_model import load_model
from drivers.reading import MeterState, Quality
from drivers.simulated import Fault, SimulatedMeter, serve_tcp
from tests.bounds import HANG_S

SITE = """
[site]
id = "depot"
[[backend]]
id = "cpo"
url = "wss://cpo.example/{station}"
[[circuit]]
id = "grid"
limit_a = 63
meter = "row"
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
[[meter]]
id = "main"
driver = "eastron-sdm630-v2"
transport = "tcp"
host = "127.0.0.1"
port = PORT
interval_s = 0.05
stale_after_s = 0.5
timeout_s = 0.2
[[meter]]
id = "row"
driver = "virtual"
transport = "virtual"
plus = ["main"]
backup = "cars"
[[meter]]
id = "cars"
driver = "virtual"
transport = "virtual"
stations = ["CS01"]
stale_after_s = 60
"""


async def test_site_meters_fail_over_to_station_reports_and_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values(
        {"current_l1": 20.0, "power_active_l1": 4600.0, "voltage_l1": 230.0, "power_active_total": 4600.0}
    )
    published: dict[str, MeterState] = {}
    changed = trio.Event()

    def publish(state: MeterState) -> None:
        nonlocal changed
        published[state.meter] = state
        changed.set()
        changed = trio.Event()

    async def row_shows(amps: float) -> MeterState:
        while (
            (state := published.get("row")) is None
            or state.reading is None
            or (state.reading.current_a[0] != amps or state.quality is not Quality.GOOD)
        ):
            await changed.wait()
        return state

    with trio.fail_after(HANG_S):
        async with trio.open_nursery() as nursery:
            port = await nursery.start(serve_tcp, meter)
            config, errors, _ = check_config(SITE.replace("PORT", str(port)), "c.toml")
            assert not errors
            assert config is not None
            stations = StationMeters([each.settings() for each in config.meter], build_site(config))
            stations.on_observation("CS01", StateSeen(1, EvseState.CHARGING), trio.current_time())
            stations.on_observation("CS01", DrawSeen(1, (7.0, 7.0, 7.0)), trio.current_time())
            meters = SiteMeters(config, stations, publish)
            nursery.start_soon(meters.run)
            assert not (await row_shows(20.0)).stations_alone
            meter.fault = Fault.SILENT
            replaced = await row_shows(7.0)
            assert replaced.stations_alone
            assert replaced.limitation.startswith("the values of cars stand in: its source main is stale")
            by_id = {each.id: each for each in meters.meter_statuses()}
            assert (by_id["main"].quality, by_id["main"].cause) == (Quality.STALE, Cause.NO_ANSWER)
            assert by_id["main"].events_total["no_answer"] >= 1
            assert by_id["row"].problem == replaced.limitation
            (bus,) = meters.bus_statuses()
            assert bus.events_total["timeouts"] >= 1
            meter.fault = None
            assert not (await row_shows(20.0)).stations_alone
            text = "meter replaced meter=row by=cars problem=the values of cars stand in: its source main is"
            assert text in caplog.text
            assert "meter no longer replaced meter=row by=cars quality=good" in caplog.text
            nursery.cancel_scope.cancel()
