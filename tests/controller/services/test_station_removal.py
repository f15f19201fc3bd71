"""Stations that are removed while the site runs: closed, booked until they are gone, their messages kept."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from controller.services.app import App
from controller.services.configuration import reload_service
from controller.stations.session import REMOVED
from tests.bounds import HANG_S
from tests.controller.services.test_station_adoption import command, is_rejected, running
from tests.scenario.daemon_driver import RealClock
from tests.scenario.daemon_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    SocketStation,
    connect_station,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)
from tests.scenario.link_harness import CsmsServer, receive_text

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
{backend}
[[circuit]]
id = "house"
limit_a = 40
[[station]]
id = "CS01"
circuit = "house"
"""
FURTHER = """
[[station]]
id = "CS02"
circuit = "house"
{keys}
"""


pytestmark = pytest.mark.usefixtures("log_levels")


@pytest.fixture
def short_removal(monkeypatch: pytest.MonkeyPatch) -> None:
    """Take removed stations to be gone at once."""
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)
    monkeypatch.setattr(reload_service, "find_booked_s", lambda _: 0.2)


def write(folder: Path, *stations: str, backend: str = "") -> Path:
    path = folder / "controller.toml"
    path.write_text(SITE.format(folder=folder, backend=backend) + "".join(stations))
    return path


def backend_table(csms: CsmsServer) -> str:
    return f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{csms.port}/cpo/{{station}}"\n'


async def wait_gone(controller: App, station: str) -> None:
    await RealClock().wait_until(
        lambda: all(each.ref.station != station for each in controller.view().evses), f"{station} is gone"
    )


async def charge(station: SocketStation) -> int:
    await station.request("BootNotification", BOOT)
    return int((await station.request("StartTransaction", START))["transactionId"])


async def test_removed_station_is_closed_and_booked_beside_session(tmp_path: Path) -> None:
    async with (
        running(write(tmp_path, FURTHER.format(keys=""))) as controller,
        connect_station(controller) as first,
        connect_station(controller, name="CS02") as second,
    ):
        await charge(first)
        await first.accept_until("SetChargingProfile")
        await charge(second)
        await second.accept_until("SetChargingProfile")
        write(tmp_path)
        result = await command(tmp_path, "configuration.reload")
        assert (result["applied"], result["needs_restart"]) == (["station CS02 (removed)"], [])
        assert "stay booked until it has not tried to connect for 30 min" in result["assumed"][0]
        assert await second.wait_close_reason() == (1008, REMOVED)
        assert await is_rejected(controller, "CS02")
        # Its last limit may be in force in the station: the other one gets no more than it leaves.
        offered = {evse.ref.station: evse.offered_a for evse in controller.view().evses}
        status = controller.status()
        [booked] = status.removed
        assert (booked.station, booked.evse, booked.circuit) == ("CS02", 1, "house")
        assert booked.booked_a >= 6.0
        assert offered["CS01"] + booked.booked_a <= 40.0
        assert [evse.station for evse in status.evses] == ["CS01"]
        assert [station.id for station in status.stations] == ["CS01"]
        assert [each.id for each in status.unknown_stations] == ["CS02"]
        sessions = await command(tmp_path, "sessions.running")
        assert [session["station"] for session in sessions] == ["CS01"]
        assert (await first.request("Heartbeat", {})).keys() == {"currentTime"}


@pytest.mark.usefixtures("short_removal")
async def test_removed_station_that_is_gone_frees_its_current(tmp_path: Path) -> None:
    async with (
        running(write(tmp_path, FURTHER.format(keys=""))) as controller,
        connect_station(controller) as first,
    ):
        await charge(first)
        await first.receive_limit(8.0)  # the other one is away and booked at its maximum
        write(tmp_path)
        await controller.reload()
        await wait_gone(controller, "CS02")
        await first.receive_limit(32.0)
        assert controller.status().removed == ()
        write(tmp_path, FURTHER.format(keys='label = "Again"'))
        await controller.reload()
        async with connect_station(controller, name="CS02") as second:
            await second.request("BootNotification", BOOT)
            await second.accept_until("SetChargingProfile")


async def test_removed_station_that_is_added_again_is_served(tmp_path: Path) -> None:
    async with running(write(tmp_path, FURTHER.format(keys=""))) as controller:
        write(tmp_path)
        await controller.reload()
        assert await is_rejected(controller, "CS02")
        write(tmp_path, FURTHER.format(keys='label = "Yard"'))
        result = await command(tmp_path, "configuration.reload")
        assert result == {
            "applied": ["station CS02 (added)", "station CS02 label"],
            "needs_restart": [],
            "waiting": [],
            "assumed": [],
        }
        assert controller.status().removed == ()
        async with connect_station(controller, name="CS02") as second:
            assert (await second.request("BootNotification", BOOT))["status"] == "Accepted"


@pytest.mark.usefixtures("short_removal")
async def test_messages_of_removed_station_are_delivered_before_it_is_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delays = trio.Event()
    has_waiting = App.has_waiting_messages

    def note_delay(controller: App, station: str) -> bool:
        if not has_waiting(controller, station):
            return False
        delays.set()
        return True

    monkeypatch.setattr(App, "has_waiting_messages", note_delay)
    keys = 'owner = "cpo"\nwhen_backend_away = "autonomous"'
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        path = write(tmp_path, FURTHER.format(keys=keys), backend=backend_table(csms))
        async with running(path) as controller:
            async with connect_station(controller, name="CS02") as station:
                link = await csms.accept()
                await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
                await station.forward_call(link, "StatusNotification", STATUS, {})
                await station.forward_call(link, "StartTransaction", START, start_result(7))
                csms.refuse_status = 503
                await link.aclose()
                await station.request("StopTransaction", stop_transaction(7))
                write(tmp_path, backend=backend_table(csms))
                await controller.reload()
                assert (await station.wait_close_reason())[0] == 1008
            await delays.wait()
            assert [each.ref.station for each in controller.view().evses] == ["CS01", "CS02"]
            csms.refuse_status = None
            with trio.fail_after(HANG_S):
                link = await csms.links.receive()
            while (frame := json.loads(await receive_text(link)))[2] != "StopTransaction":
                await link.send_message(json.dumps([3, frame[1], ACCEPTED if frame[2][0] == "B" else {}]))
            assert frame[3] == stop_transaction(7)
            await link.send_message(json.dumps([3, frame[1], {}]))
            await wait_gone(controller, "CS02")
