"""Stations that are added while the site runs: served at once, with all others untouched."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import trio
from trio_websocket import HandshakeError

from controller.services import app
from controller.services.app import App
from controller.services.configuration.configuration import open_configuration
from controller.services.configuration.reload_service import ReloadRejectedError
from controller.services.machine.control_socket import ControlError, send_command
from controller.services.stations.relay_memory import RelayJournals
from controller.signing.signing_keys import new_private_key
from controller.store.state_journal import StoreError
from tests.scenario.daemon_peers import BOOT, START, connect_station, meter_values, stop_transaction

SITE = """
[site]
id = "office"
{site}
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
[[station]]
id = "CS01"
circuit = "house"
{more}
"""


CONTROLLABLE = """
[[station.evse]]
id = 1
steuve = true
[[backend]]
id = "dso"
url = "ws://127.0.0.1:9/{station}"
[signing]
key = "key.pem"
[dimming]
[[dimming.source]]
id = "dso"
kind = "ocpp"
"""


pytestmark = pytest.mark.usefixtures("log_levels")


def write(folder: Path, more: str = "", site: str = "") -> Path:
    path = folder / "controller.toml"
    path.write_text(SITE.format(folder=folder, more=more, site=site))
    return path


@asynccontextmanager
async def running(path: Path, patience_s: float = 60) -> AsyncIterator[App]:
    active = open_configuration(path)
    with trio.fail_after(patience_s):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(partial(app.run, active.config, active=active))
            nursery.cancel_scope.cancel()


async def command(folder: Path, name: str, **members: Any) -> Any:
    return await trio.to_thread.run_sync(partial(send_command, folder, name, **members))


async def adopt(folder: Path, station: str, **members: Any) -> Any:
    return await command(folder, "station.adopt", station=station, circuit="house", **members)


async def is_rejected(controller: App, station: str) -> bool:
    try:
        async with connect_station(controller, name=station):
            return False
    except HandshakeError:
        return True


async def test_adopted_station_charges_beside_running_transaction(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as first:
        await first.request("BootNotification", BOOT)
        transaction = (await first.request("StartTransaction", START))["transactionId"]
        await first.receive_limit(32.0)
        assert await is_rejected(controller, "CS02")
        assert [unknown.id for unknown in controller.status().unknown_stations] == ["CS02"]

        result = await adopt(tmp_path, "CS02")
        assert (result["applied"], result["needs_restart"]) == (["station CS02 (added)"], [])
        assert controller.status().unknown_stations == ()
        # Nothing is known of the new station: its maximum is booked, and the other one keeps the rest.
        await first.receive_limit(8.0)
        async with connect_station(controller, name="CS02") as second:
            assert (await second.request("BootNotification", BOOT))["status"] == "Accepted"
            await second.accept_until("SetChargingProfile")
            await first.receive_limit(32.0)  # the new station has accepted its fallback, and has no car
            started = await second.request("StartTransaction", START)
            assert started["idTagInfo"]["status"] == "Accepted"
            # Its car begins with what is left; the shares are levelled some seconds later.
            offered = {evse.ref.station: evse.offered_a for evse in controller.view().evses}
            assert offered["CS01"] + offered["CS02"] <= 40.0
            assert offered["CS02"] >= 6.0
            assert await first.request("MeterValues", meter_values(transaction)) == {}
        await first.request("StopTransaction", stop_transaction(transaction))
        sessions = await command(tmp_path, "sessions.running")
        assert [session["station"] for session in sessions] == ["CS02"]
        for station in ("CS01", "CS02"):
            assert await command(tmp_path, "station.pause", station=station, duration_s=60)


async def test_adopted_station_is_target_of_start_and_messages(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller:
        await adopt(tmp_path, "CS02", label="Yard")
        async with connect_station(controller, name="CS02") as station:
            await station.request("BootNotification", BOOT)
            await station.accept_until("SetChargingProfile")
            async with trio.open_nursery() as nursery:
                nursery.start_soon(partial(command, tmp_path, "station.start", station="CS02", evse=1))
                await station.accept_until("RemoteStartTransaction")
            status = next(each for each in controller.status().stations if each.id == "CS02")
            assert (status.label, status.connected, status.vendor) == ("Yard", True, "ACME")


async def test_controllable_station_added_raises_minimum_under_dimming(tmp_path: Path) -> None:
    (tmp_path / "key.pem").write_bytes(new_private_key("secp256r1", "office", 0, 4e9))
    (tmp_path / "key.pem").chmod(0o600)
    async with running(write(tmp_path, CONTROLLABLE, 'backend = "dso"')) as controller:
        before = controller.status().dimming
        await adopt(tmp_path, "CS02", steuve=True)
        after = controller.status().dimming
        assert before is not None
        assert after is not None
        assert (before.devices, before.minimum_w) == (1, 4200.0)
        assert (after.devices, after.minimum_w) == (2, 7560.0)


async def test_station_added_with_password_is_admitted_with_it_alone(tmp_path: Path) -> None:
    (tmp_path / "cs02").write_text("correct horse battery")
    (tmp_path / "cs02").chmod(0o600)
    more = f'[[station]]\nid = "CS02"\ncircuit = "house"\npassword_file = "{tmp_path}/cs02"\n'
    async with running(write(tmp_path)) as controller:
        write(tmp_path, more)
        await controller.reload()
        assert await is_rejected(controller, "CS02")
        credentials = b64encode(b"CS02:correct horse battery")
        headers = [(b"Authorization", b"Basic " + credentials)]
        async with connect_station(controller, headers, name="CS02") as station:
            assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"


async def test_station_whose_state_cannot_be_read_is_not_admitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as first:
        await first.request("BootNotification", BOOT)
        with monkeypatch.context() as patch:
            error = StoreError("store cannot be read")
            patch.setattr(RelayJournals, "replace_stations", Mock(side_effect=error))
            with pytest.raises(ControlError, match="store cannot be read"):
                await adopt(tmp_path, "CS02")
        assert await is_rejected(controller, "CS02")
        assert (await first.request("Heartbeat", {})).keys() == {"currentTime"}
        await controller.reload()
        assert not await is_rejected(controller, "CS02")


async def test_station_whose_password_file_vanished_adds_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with running(write(tmp_path)) as controller:
        write(tmp_path, '[[station]]\nid = "CS02"\ncircuit = "house"\n')
        vanished = Mock(side_effect=FileNotFoundError(2, "No such file or directory", "/etc/cs02"))
        monkeypatch.setattr("controller.services.app.read_station_secrets", vanished)
        with pytest.raises(ReloadRejectedError, match="/etc/cs02 cannot be read: No such file"):
            await controller.reload()
        assert [station.id for station in controller.status().stations] == ["CS01"]


async def test_unknown_station_is_pending_with_model_until_adopted(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text().replace("port = 0", 'port = 0\nunknown_stations = "pending"'))
    async with running(path) as controller:
        async with connect_station(controller, name="CS02") as station:
            assert (await station.request("BootNotification", BOOT))["status"] == "Pending"
            [unknown] = controller.status().unknown_stations
            assert (unknown.id, unknown.peer, unknown.vendor, unknown.model) == (
                "CS02",
                "127.0.0.1",
                "ACME",
                "One",
            )
            assert not any(each.connected for each in controller.status().stations)
            await adopt(tmp_path, "CS02")
            await station.wait_closed()
        async with connect_station(controller, name="CS02") as station:
            assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"


async def test_unknown_stations_key_takes_effect_at_reload(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller:
        assert await is_rejected(controller, "CS02")
        path = write(tmp_path)
        path.write_text(path.read_text().replace("port = 0", 'port = 0\nunknown_stations = "pending"'))
        await controller.reload()
        async with connect_station(controller, name="CS02") as station:
            await station.send_call("StartTransaction", START)
            assert await station.receive_error() == "GenericError"
            assert controller.view().evses[0].ref.station == "CS01"
