"""Meters and circuits that are added, changed and removed while the site runs."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from controller.services.app import App
from drivers.meter_model import load_model, read_user_model
from drivers.reading import Quality
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.controller.services.test_station_adoption import command, running
from tests.scenario.daemon_driver import RealClock
from tests.scenario.daemon_peers import BOOT, START, SocketStation, connect_station

SITE = """
[site]
id = "office"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = 0
[load_management]
tick_s = 0.1
margin_a = 0
fallback_a = 6
[[card]]
token = "A"
[[circuit]]
id = "house"
limit_a = 40
base_load_a = 20
{circuit}
[[station]]
id = "CS01"
circuit = "{placed}"
{more}
"""
METER = """
[[meter]]
id = "grid"
driver = "eastron-sdm630-v2"
transport = "tcp"
host = "127.0.0.1"
port = {port}
interval_s = 0.1
{keys}
"""
ROW = '[[circuit]]\nid = "row"\nparent = "house"\nlimit_a = 10\n'


pytestmark = pytest.mark.usefixtures("log_levels")


def write(folder: Path, circuit: str = "", more: str = "", placed: str = "house") -> Path:
    path = folder / "controller.toml"
    path.write_text(SITE.format(folder=folder, circuit=circuit, more=more, placed=placed))
    return path


def metered(folder: Path, port: int, keys: str = "") -> Path:
    return write(folder, 'meter = "grid"', METER.format(port=port, keys=keys))


def simulated(amps: float) -> SimulatedMeter:
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values({f"current_l{phase}": amps for phase in (1, 2, 3)})
    return meter


async def wait_measured(controller: App, amps: float) -> None:
    await RealClock().wait_until(
        lambda: controller.view().circuits[0].measured_a == (amps,) * 3, f"the meter shows {amps} A"
    )


async def charge(station: SocketStation) -> None:
    await station.request("BootNotification", BOOT)
    await station.request("StartTransaction", START)


def offered_a(controller: App) -> float:
    return controller.view().evses[0].offered_a


async def test_meter_is_added_changed_and_removed_while_station_charges(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        first, second = [await nursery.start(serve_tcp, simulated(amps)) for amps in (12.0, 14.0)]
        async with (
            running(write(tmp_path)) as controller,
            connect_station(controller) as station,
        ):
            await charge(station)
            await station.receive_limit(20.0)  # 40 A less the declared base load
            metered(tmp_path, first)
            result = await command(tmp_path, "configuration.reload")
            assert result["applied"] == ["circuit house meter", "meter grid (added)"]
            assert offered_a(controller) >= 20.0  # nothing is cut for it
            await wait_measured(controller, 12.0)
            metered(tmp_path, second)
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["meter grid port"], [])
            await wait_measured(controller, 14.0)
            await RealClock().wait_until(lambda: offered_a(controller) <= 40.0 - 14.0, "26 A are offered")
            metered(tmp_path, second, "ct_ratio = 2")
            await controller.reload()
            await wait_measured(controller, 28.0)
            await RealClock().wait_until(lambda: offered_a(controller) <= 40.0 - 28.0, "12 A are offered")
            write(tmp_path)
            result = await command(tmp_path, "configuration.reload")
            assert result["applied"] == ["circuit house meter", "meter grid (removed)"]
            assert controller.status().meters == ()
            assert controller.view().circuits[0].meter_quality is None
            assert offered_a(controller) <= 20.0
            assert (await station.request("Heartbeat", {})).keys() == {"currentTime"}
        nursery.cancel_scope.cancel()


async def test_virtual_meter_is_added_and_shows_sum_at_once(tmp_path: Path) -> None:
    virtual = '[[meter]]\nid = "sum"\ndriver = "virtual"\ntransport = "virtual"\nplus = ["grid"]\n'
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_tcp, simulated(12.0))
        async with running(metered(tmp_path, port)) as controller:
            await wait_measured(controller, 12.0)
            write(tmp_path, 'meter = "sum"', METER.format(port=port, keys="") + virtual)
            await controller.reload()
            await wait_measured(controller, 12.0)
            assert [each.id for each in controller.status().meters] == ["grid", "sum"]
        nursery.cancel_scope.cancel()


async def test_meter_at_wrong_address_is_declared_missing_after_reload(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_tcp, simulated(12.0))
        async with running(metered(tmp_path, port)) as controller:
            await wait_measured(controller, 12.0)
            metered(tmp_path, 9)
            await controller.reload()
            assert controller.view().circuits[0].meter_quality is Quality.DEAD
            assert controller.view().circuits[0].base_a >= (20.0,) * 3
            metered(tmp_path, port)
            await controller.reload()
            await wait_measured(controller, 12.0)
        nursery.cancel_scope.cancel()


async def test_circuit_is_added_for_station_and_removed_again(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as station:
        await charge(station)
        await station.receive_limit(20.0)
        write(tmp_path, more=ROW, placed="row")
        result = await command(tmp_path, "configuration.reload")
        assert result["applied"] == ["circuit row (added)", "station CS01 circuit"]
        assert offered_a(controller) == 10.0  # before the answer of the reload
        await station.receive_limit(10.0)
        write(tmp_path)
        await controller.reload()
        await station.receive_limit(20.0)
        assert [circuit.id for circuit in controller.view().circuits] == ["house"]


async def test_changed_file_of_driver_is_named_and_read_by_a_reload(tmp_path: Path) -> None:
    register = (
        '[[register]]\nquantity = "current_l{phase}"\nfunction = 3\naddress = {address}\ntype = "float32"\n'
    )
    head = (
        'vendor = "Own"\nmodel = "Meter"\nphases = 3\ntransports = ["tcp"]\ncurrent_sign = "signed"\n'
        '[sources]\nregisters = "a test"\n'
    )

    def write_model(first: int) -> None:
        registers = (register.format(phase=each, address=first + 2 * each) for each in (1, 2, 3))
        (tmp_path / "own.toml").write_text(head + "".join(registers))

    write_model(10)
    meter = SimulatedMeter(read_user_model(tmp_path / "own.toml"))
    meter.set_values({f"current_l{phase}": 5.0 for phase in (1, 2, 3)})
    async with trio.open_nursery() as nursery:
        port = await nursery.start(serve_tcp, meter)
        path = write(tmp_path, 'meter = "grid"', METER.format(port=port, keys=""))
        path.write_text(path.read_text().replace("eastron-sdm630-v2", "file:own.toml"))
        async with running(path) as controller:
            await wait_measured(controller, 5.0)
            assert (await command(tmp_path, "configuration.reload"))["applied"] == []
            write_model(20)
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["waiting"]) == (["meter grid driver (its file)"], [])
            await RealClock().wait_until(
                lambda: controller.status().meters[0].quality is not Quality.GOOD,
                "the former registers are not read",
            )
        nursery.cancel_scope.cancel()
