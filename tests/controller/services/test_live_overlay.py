"""Backends that change between standard and overlay mode while a transaction runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection

from controller.services.app import App
from tests.bounds import HANG_S
from tests.controller.services.test_live_backends import boot, owned_by, receive_action, table, write
from tests.controller.services.test_station_adoption import command, running
from tests.scenario.daemon_driver import RealClock
from tests.scenario.daemon_peers import (
    ACCEPTED,
    START,
    SocketStation,
    connect_station,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)
from tests.scenario.link_harness import receive_text

pytestmark = pytest.mark.usefixtures("log_levels")
OVERLAY = 'mode = "overlay"'
NETWORK = "[overlay]\n"


def write_site(folder: Path, *backends: str) -> Path:
    path = write(folder, owned_by("cpo"), NETWORK, *backends)
    path.write_text(path.read_text().replace('id = "office"', 'id = "office"\nprotocol = "ocpp1.6"'))
    return path


async def receive_routed(link: WebSocketConnection, action: str, result: dict[str, Any]) -> list[Any]:
    """Answer CALLs of nodes over an overlay link until one with this action has come; return it."""
    while True:
        frame = json.loads(await receive_text(link))
        if not isinstance(frame[2], list) or len(frame) < 6:
            continue
        answer = result if frame[4] == action else ACCEPTED if frame[4] == "BootNotification" else {}
        await link.send_message(json.dumps([3, frame[2][::-1], frame[1], frame[3], answer]))
        if frame[4] == action:
            return list(frame)


async def wait_links(controller: App, links: dict[str, int]) -> None:
    await RealClock().wait_until(lambda: controller.status().backends[0].links == links, f"links are {links}")


async def start(station: SocketStation, uplink: WebSocketConnection) -> list[Any]:
    """Start a transaction that the other end of the link answers; return what that got."""
    asked = await station.send_call("StartTransaction", START)
    routed = await receive_routed(uplink, "StartTransaction", start_result(7))
    assert await station.receive_result(asked) == start_result(7)
    return routed


async def stop(station: SocketStation) -> str:
    return await station.send_call("StopTransaction", stop_transaction(7))


async def test_backend_comes_to_overlay_mode_while_transaction_runs(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        async with (
            running(write_site(tmp_path, table("cpo", csms))) as controller,
            connect_station(controller) as station,
        ):
            former = await csms.accept()
            await boot(station, former)
            await station.forward_call(former, "StartTransaction", START, start_result(7))
            write_site(tmp_path, table("cpo", csms, OVERLAY))
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["backend cpo mode"], [])
            uplink = await csms.accept()
            assert csms.requests[-1].path == "/cpo/office"
            with trio.fail_after(HANG_S):
                await former._close_handshake.wait()  # the controller has closed it
            asked = await stop(station)
            routed = await receive_routed(uplink, "StopTransaction", {})
            assert (routed[2], routed[5]) == (["CS01", "office"], stop_transaction(7))
            assert await station.receive_result(asked) == {}


async def test_backend_leaves_overlay_mode_while_transaction_runs(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        async with (
            running(write_site(tmp_path, table("cpo", csms, OVERLAY))) as controller,
            connect_station(controller) as station,
        ):
            uplink = await csms.accept()
            routed = await start(station, uplink)
            assert routed[5] == START
            write_site(tmp_path, table("cpo", csms))
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["backend cpo mode"], [])
            link = await csms.accept()
            assert csms.requests[-1].path == "/cpo/CS01"
            asked = await stop(station)
            assert await receive_action(link, "StopTransaction") == stop_transaction(7)
            assert await station.receive_result(asked) == {}
            with trio.fail_after(HANG_S):
                await uplink._close_handshake.wait()
            await wait_links(controller, {"cpo": 1})


async def test_other_node_of_backend_leaves_its_link_open(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        async with (
            running(write_site(tmp_path, table("cpo", csms, OVERLAY))) as controller,
            connect_station(controller) as station,
        ):
            uplink = await csms.accept()
            await start(station, uplink)
            write_site(tmp_path, table("cpo", csms, f'{OVERLAY}\nnode = "LC00"'))
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["backend cpo node"], [])
            asked = await stop(station)
            routed = await receive_routed(uplink, "StopTransaction", {})
            assert (routed[2], routed[5]) == (["CS01", "office"], stop_transaction(7))
            assert await station.receive_result(asked) == {}
            assert len(csms.requests) == 1
            overlay = controller.status().overlay
            assert overlay is not None
            assert {each.link: "LC00" in each.reached for each in overlay.neighbours}["cpo"]


async def test_station_and_backend_are_added_to_overlay_site(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo", "other") as made:
        csms, other = made["cpo"], made["other"]
        first = table("cpo", csms, OVERLAY)
        async with (
            running(write_site(tmp_path, first)) as controller,
            connect_station(controller) as station,
        ):
            uplink = await csms.accept()
            await start(station, uplink)
            path = write_site(tmp_path, first, table("other", other, OVERLAY))
            added_station = '[[station]]\nid = "CS02"\ncircuit = "house"\nowner = "other"\n'
            path.write_text(path.read_text() + added_station)
            result = await command(tmp_path, "configuration.reload")
            assert result["needs_restart"] == []
            second = await other.accept()
            assert other.requests[-1].path == "/other/office"
            async with connect_station(controller, name="CS02") as added:
                asked = await added.send_call("Heartbeat", {})
                routed = await receive_routed(second, "Heartbeat", {"currentTime": "x"})
                assert routed[2] == ["CS02", "office"]
                assert await added.receive_result(asked) == {"currentTime": "x"}
            asked = await stop(station)
            await receive_routed(uplink, "StopTransaction", {})
            assert await station.receive_result(asked) == {}
            assert len(csms.requests) == 1
            write_site(tmp_path, first)
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["station CS02 (removed)"], [])
            assert result["waiting"] == ["backend other (removed)"]
