"""The whole daemon in process: station and backend over loopback sockets, files and restarts."""

from __future__ import annotations

import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.load_management.site_view import EvseView
from controller.model.journal import BootStored
from controller.services import app
from controller.services.app import App
from controller.store.sqlite_journal import FILE
from controller.store.state_store import StateStore
from controller.web.metrics import render_metrics
from tests.bounds import HANG_S
from tests.scenario.configuration import read_valid_config
from tests.scenario.link_harness import CsmsServer, receive_text


def configured(folder: Path, backend: CsmsServer, site: str = "") -> Config:
    return read_valid_config(
        f"""
        [site]
        id = "lc"
        {site}
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [load_management]
        tick_s = 0.1
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:{backend.port}/csms/{{station}}"
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS01"
        circuit = "grid"
        owner = "cpo"
        [[station]]
        id = "CS02"
        circuit = "grid"
        owner = "cpo"
        """,
        "test.toml",
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[App]:
    async with trio.open_nursery() as nursery:
        yield await nursery.start(app.run, config)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def site(folder: Path) -> AsyncIterator[tuple[Config, CsmsServer]]:
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        await nursery.start(backend.run)
        yield configured(folder, backend), backend
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def station(controller: App, name: str) -> AsyncIterator[WebSocketConnection]:
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}", subprotocols=["ocpp1.6"], disconnect_timeout=2
    ) as socket:
        await socket.send_message('[2,"s","StatusNotification",{"connectorId":1,"status":"Charging"}]')
        yield socket


async def profile_call(socket: WebSocketConnection, capabilities: str = "[]") -> Any:
    """Return the next SetChargingProfile; capability questions are answered with `capabilities`."""
    while True:
        frame = json.loads(await receive_text(socket))
        if frame[0] == 2 and frame[2] == "GetConfiguration":
            await socket.send_message(f'[3,"{frame[1]}",{{"configurationKey":{capabilities}}}]')
        elif frame[0] == 2 and frame[2] == "ClearChargingProfile":  # of other profiles, once
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"Unknown"}}]')
        elif frame[0] == 2:
            assert frame[2] == "SetChargingProfile"
            return frame


async def limits(socket: WebSocketConnection, count: int) -> list[tuple[int, float]]:
    """Take the next limits that the controller sets, as (stack level, A)."""
    taken: list[tuple[int, float]] = []
    while len(taken) < count:
        frame = await profile_call(socket)
        profile = frame[3]["csChargingProfiles"]
        period = profile["chargingSchedule"]["chargingSchedulePeriod"][0]
        taken.append((profile["stackLevel"], period["limit"]))
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
    return taken


async def until(controller: App, name: str, reason: str) -> EvseView:
    """Wait until the controller gives this reason for a station."""
    view = None
    with trio.move_on_after(5):
        while True:
            view = next(evse for evse in controller.view().evses if evse.ref.station == name)
            if reason in view.reason:
                return view
            await trio.sleep(0.02)
    raise AssertionError(f"not {reason!r}, but {None if view is None else view.reason!r}")


async def test_app_station_never_limited_is_booked_at_its_worst_case(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(config) as controller:
        await until(controller, "CS02", "offline: 32 A kept free")
        async with station(controller, "CS01") as socket:
            # 40 A less the margin and the 32 A of the other leave 7.
            assert await limits(socket, 2) == [(0, 6.0), (1, 7.0)]


async def test_station_without_registration_is_not_shown_as_away(tmp_path: Path) -> None:
    async with (
        site(tmp_path) as (config, backend),
        running(config) as controller,
        open_websocket_url(
            f"ws://127.0.0.1:{controller.port}/ocpp/CS01", subprotocols=["ocpp1.6"], disconnect_timeout=2
        ) as socket,
    ):
        link = await backend.accept()
        await socket.send_message('[2,"b","BootNotification",{}]')
        await receive_text(link)
        await link.send_message('[3,"b",{"status":"Pending","currentTime":"","interval":60}]')
        await receive_text(socket)
        reasons = {evse.station: evse.reason for evse in controller.status().evses}
    assert reasons["CS01"].startswith("connected, registration pending: ")
    assert reasons["CS02"].startswith("offline: ")


async def test_app_restart_restores_limits_of_stations(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _):
        async with running(config) as controller, station(controller, "CS02") as socket:
            assert await limits(socket, 2) == [(0, 6.0), (1, 7.0)]
            await until(controller, "CS02", "full")
        async with running(config) as controller:
            await until(controller, "CS02", "offline: 7 A kept free")
            async with station(controller, "CS01") as socket:
                assert await limits(socket, 2) == [(0, 6.0), (1, 32.0)]


async def test_app_damaged_store_is_moved_aside_logged_and_site_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / FILE).write_bytes(b"no database" * 1000)
    async with site(tmp_path) as (config, _), running(config) as controller, station(controller, "CS01"):
        pass
    assert f"store file damaged path={tmp_path / FILE}" in caplog.text
    assert any(name.startswith(f"{FILE}.corrupt-") for name in os.listdir(tmp_path))


async def test_app_unusable_store_at_start_leaves_current_shared(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        assert await limits(socket, 2) == [(0, 6.0), (1, 7.0)]  # nothing stored: the worst case, as ever
        store = controller.status().store
        assert not store.writable
        assert FILE in store.error


async def test_full_disk_allows_lower_limits_and_keeps_links(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        assert await limits(socket, 2) == [(0, 6.0), (1, 7.0)]
        full = controller._store._journal._connection
        full.execute("PRAGMA query_only = 1")
        async with station(controller, "CS02") as other:
            assert len(await limits(other, 2)) == 2  # nothing stored: it counts at its worst case
            assert not controller.status().store.writable
            assert "local_controller_store_writable 0.0" in render_metrics(controller.status()).decode()
            full.execute("PRAGMA query_only = 0")
            with trio.fail_after(HANG_S):
                while not controller.status().store.writable:  # noqa: ASYNC110  (a thread looks at the file)
                    await trio.sleep(0.05)
        await socket.send_message('[2,"1","Heartbeat",{}]')
    assert caplog.text.count("store cannot be written, state is kept in memory") == 1
    assert caplog.text.count("store written again") == 1


async def test_app_refused_limit_is_reported_and_reserved_at_worst(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        frame = await profile_call(socket)
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Rejected"}}]')
        await until(controller, "CS01", "refuses limits")
    assert "limit rejected station=CS01" in caplog.text


async def test_station_without_stacking_gets_lease_and_fallback_in_one(
    tmp_path: Path,
) -> None:
    capabilities = '[{"key":"ChargeProfileMaxStackLevel","readonly":true,"value":"0"}]'
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        frame = await profile_call(socket, capabilities)
        profile = frame[3]["csChargingProfiles"]
        limit, after = profile["chargingSchedule"]["chargingSchedulePeriod"]
        assert (profile["stackLevel"], limit["limit"], after["limit"]) == (0, 7.0, 6.0)
        assert after["startPeriod"] == 300 + 60
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"Accepted"}}]')
        await until(controller, "CS01", "full")


async def test_app_station_is_known_by_boot(tmp_path: Path) -> None:
    boot = '{"chargePointVendor":"EV-BOX","chargePointModel":"Elvi"}'
    accepted = '{"status":"Accepted","currentTime":"2026-03-29T12:00:00Z","interval":300}'
    async with (
        site(tmp_path) as (config, backend),
        running(config) as controller,
        station(controller, "CS01") as socket,
        await backend.accept() as link,
    ):
        await receive_text(link)  # its StatusNotification, which stands in line before
        await link.send_message('[3,"s",{}]')
        await socket.send_message(f'[2,"b",BOOT,{boot}]'.replace("BOOT", '"BootNotification"'))
        await receive_text(link)
        await link.send_message(f'[3,"b",{accepted}]')
        while True:
            frame = await profile_call(socket)
            if frame[3]["csChargingProfiles"]["chargingProfilePurpose"] == "TxDefaultProfile":
                break
            await socket.send_message(f'[3,"{frame[1]}",{{"status":"Rejected"}}]')
        assert frame[3]["connectorId"] == 1


async def test_app_restart_restores_boots_of_stations(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([BootStored(id, "EV-BOX", "Elvi", "") for id in ("CS01", "gone")])
    store.close()
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        frame = await profile_call(socket)
        assert frame[3]["csChargingProfiles"]["chargingProfilePurpose"] == "TxDefaultProfile"


async def sum_of_offers(controller: App) -> float:
    """Wait until both stations are connected; returns the sum of their offers (A)."""
    for name in ("CS01", "CS02"):
        await until(controller, name, "")
    assert all(evse.connected for evse in controller.view().evses)
    return sum(evse.offered_a for evse in controller.view().evses)


async def test_app_site_limit_reaches_stations_and_survives_restart(tmp_path: Path) -> None:
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        await nursery.start(backend.run)
        config = configured(tmp_path, backend, 'backend = "cpo"\nprotocol = "ocpp1.6"')
        async with running(config) as controller:
            csms = await backend.accept()
            boot = json.loads(await receive_text(csms))
            assert boot[2] == "BootNotification"
            answer = {"status": "Accepted", "interval": 300, "currentTime": "2026-01-01T00:00:00Z"}
            await csms.send_message(json.dumps([3, boot[1], answer]))
            assert json.loads(await receive_text(csms))[2] == "StatusNotification"
            await csms.send_message(json.dumps([2, "g", "SetChargingProfile", GROUP_LIMIT]))
            assert json.loads(await receive_text(csms)) == [3, "g", {"status": "Accepted"}]
            async with station(controller, "CS02") as first, station(controller, "CS01") as second:
                assert await limits(first, 1) == [(0, 6.0)]
                assert await limits(second, 1) == [(0, 6.0)]
                assert await sum_of_offers(controller) <= 20.0
        async with (
            running(config) as controller,
            station(controller, "CS02") as first,
            station(controller, "CS01") as second,
        ):
            assert (await limits(first, 1), await limits(second, 1)) == ([(0, 6.0)], [(0, 6.0)])
            assert await sum_of_offers(controller) <= 20.0
        nursery.cancel_scope.cancel()


GROUP_LIMIT = {
    "connectorId": 0,
    "csChargingProfiles": {
        "chargingProfileId": 1,
        "stackLevel": 0,
        "chargingProfilePurpose": "ChargePointMaxProfile",
        "chargingProfileKind": "Absolute",
        "chargingSchedule": {
            "chargingRateUnit": "A",
            "chargingSchedulePeriod": [{"startPeriod": 0, "limit": 20.0}],
        },
    },
}
