"""The page of the whole daemon: its view of real links, and its end with the daemon."""

from __future__ import annotations

import http.client
import socket
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import pytest
import trio
from msgspec.structs import replace
from trio_websocket import ConnectionRejected

from controller.access.permissions import LOCAL_ACTOR
from controller.commands.site_command import AddUser, PauseEvse
from controller.config import Config
from controller.config.schema import WebConfig
from controller.services.app import App
from controller.services.web.web_adapters import SiteData
from controller.session_ledger.charging_session import SessionsExpired
from controller.web.status_model import ControllerStatus, read_status
from controller.web.web_server import WebServerError
from tests.bounds import HANG_S
from tests.controller.services.test_app import limits, running, site, station, until


def with_page(config: Config, port: int = 0) -> Config:
    return replace(config, web=WebConfig(port=port))


def _get(port: int, target: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", target)
    answer = connection.getresponse()
    found = answer.status, answer.read()
    connection.close()
    return found


async def get(controller: App, target: str) -> tuple[int, bytes]:
    assert controller.web_port is not None
    return await trio.to_thread.run_sync(partial(_get, controller.web_port, target))


async def fetch_status(controller: App) -> ControllerStatus:
    """The next status that is made after this call: all visitors share one a second."""
    asked_at = datetime.now(UTC)
    with trio.fail_after(HANG_S):
        while True:
            status = read_status((await get(controller, "/api/status"))[1])
            if datetime.fromisoformat(status.time) >= asked_at:
                return status
            await trio.sleep(0.05)


async def test_app_page_connected_station_is_shown_with_limit(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        before = await fetch_status(controller)
        assert before.links.connected == {"ocpp2.1": 0, "ocpp2.0.1": 0, "ocpp1.6": 0}
        assert [(evse.station, evse.ocpp, evse.connected) for evse in before.evses] == [
            ("CS01", None, False),
            ("CS02", None, False),
        ]
        async with station(controller, "CS01") as socket:
            await limits(socket, 2)
            await until(controller, "CS01", "full")
            status = await fetch_status(controller)
    assert (status.site, status.healthy) == ("lc", True)
    assert status.links.connected["ocpp1.6"] == 1
    assert (status.links.accepted_total, status.links.refused_total) == (1, 0)
    assert status.links.from_stations_total >= 3, "a status, and two answers"
    assert status.links.limits_total >= 2
    assert status.links.limits_failed_total == 0
    evse = status.evses[0]
    assert (evse.ocpp, evse.connected, evse.circuit, evse.offered_a) == ("ocpp1.6", True, "grid", 7.0)
    assert "full" in evse.reason
    assert "kept free" in status.evses[1].reason


async def test_app_page_messages_of_station_are_kept(tmp_path: Path) -> None:
    started = datetime.now(UTC).isoformat(timespec="milliseconds")
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        async with station(controller, "CS01") as socket:
            await limits(socket, 2)
            await until(controller, "CS01", "full")
        messages = controller._web._parts.readers.messages("CS01", show_identities=False)[::-1]
        assert (await get(controller, "/api/v1/stations/CS01/messages"))[0] == 401
    first, found = messages[0], {(each.direction, each.kind, each.action) for each in messages}
    assert (first.direction, first.action) == ("from-station", "StatusNotification")
    assert first.payload == {"connectorId": 1, "status": "Charging"}
    assert ("to-station", "call", "SetChargingProfile") in found
    assert ("from-station", "result", "SetChargingProfile") in found
    assert started <= first.time <= datetime.now(UTC).isoformat(timespec="milliseconds")


async def test_app_page_unknown_stations_attempt_is_counted(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        with pytest.raises(ConnectionRejected):
            async with station(controller, "CS99"):
                pass
        status = await fetch_status(controller)
        assert (status.links.accepted_total, status.links.refused_total) == (0, 1)
        [unknown] = status.unknown_stations
        assert (unknown.id, unknown.peer, unknown.tries, unknown.ocpp) == (
            "CS99",
            "127.0.0.1",
            1,
            ("ocpp1.6",),
        )


async def test_app_page_stopped_control_loop_is_not_healthy(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        assert (await get(controller, "/healthz"))[0] == 200
        controller._status.ticked_at -= 60
        assert not controller.status().healthy


async def test_app_page_without_web_table_is_not_served(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(config) as controller:
        assert controller.web_port is None


async def test_page_ends_with_daemon(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        assert (await get(controller, "/"))[0] == 200
    with pytest.raises(OSError, match="refused"):
        await get(controller, "/")


async def test_app_page_port_in_use_prevents_start(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        async with site(tmp_path) as (config, _):
            with pytest.RaisesGroup(WebServerError, allow_unwrapped=True, flatten_subgroups=True):
                async with running(with_page(config, taken.getsockname()[1])):
                    pass


async def test_app_page_revisions_rise_with_what_is_recorded(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(with_page(config)) as controller:
        execute = controller._operations.commands.execute
        first = controller.status().revisions
        await execute(AddUser(user="anna", role="operator"), LOCAL_ACTOR)
        user_added = controller.status().revisions
        assert (user_added.users, user_added.events) == (first.users + 1, first.events + 1)
        await execute(PauseEvse(station="CS01", duration_s=60.0), LOCAL_ACTOR)
        paused = controller.status().revisions
        assert (paused.users, paused.events) == (user_added.users, user_added.events + 1)
        [event, *_] = SiteData(controller._web._parts).events(5)
        assert (event.text, event.actor) == ("CS01 paused for 60 s", "local (socket)")
        assert event.statement is not None
        assert paused.sessions == first.sessions
        await controller._store.persist([SessionsExpired("2001-01")])
        assert controller.status().revisions.sessions == first.sessions + 1
        controller.apply_configuration(controller._config)
        assert controller.status().revisions.configuration == paused.configuration + 1
