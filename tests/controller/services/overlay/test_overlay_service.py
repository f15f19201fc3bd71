"""Whole daemons in an overlay network: station and backend at the ends of a chain of two."""

from __future__ import annotations

import itertools
import json
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.ocpp.frames import Version
from controller.services.app import App
from controller.services.overlay.overlay_uplink import offered_versions
from controller.signing.signature_format import format_time
from tests.bounds import HANG_S
from tests.controller.services.test_app import running
from tests.scenario.configuration import read_valid_config
from tests.scenario.link_harness import receive_text, serve_csms

MODE = b"x-ocpp-networkingmode"


def configuration(
    folder: Path,
    site: str,
    port: int,
    node: str,
    station: str,
    mode: str,
    path: str = "csms",
    more: str = "",
    listen: int = 0,
) -> str:
    return f"""
        [site]
        id = "{site}"
        {more}
        [store]
        directory = "{folder / site}"
        [listen]
        host = "127.0.0.1"
        port = {listen}
        [load_management]
        tick_s = 0.1
        [overlay]
        learn = "all"
        [[backend]]
        id = "above"
        url = "ws://127.0.0.1:{port}/{path}/{{station}}"
        mode = "overlay"
        node = "{node}"
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "{station}"
        circuit = "grid"
        owner = "above"
        mode = "{mode}"
        when_backend_away = "autonomous"
        """


def configured(*of: Any, **more: Any) -> Config:
    return read_valid_config(configuration(*of, **more), "test.toml")


@asynccontextmanager
async def chain(folder: Path) -> AsyncIterator[tuple[App, App, WebSocketConnection]]:
    """CS01 may connect to the child LC02, which is connected to LC01, which is connected to the backend."""
    for site in ("LC01", "LC02"):
        (folder / site).mkdir()
    async with serve_csms() as backend:
        upper = configured(folder, "LC01", backend.port, "CSMS", "LC02", "overlay")
        async with running(upper) as parent:
            link = await backend.accept()
            assert dict(backend.requests[0].headers)[MODE] == b"OverlayNetwork"
            assert backend.requests[0].path == "/csms/LC01"
            lower = configured(
                folder, "LC02", parent.port, "LC01", "CS01", "standard", "ocpp", 'backend = "above"'
            )
            async with running(lower) as child:
                yield parent, child, link


@asynccontextmanager
async def station(
    controller: App, name: str = "CS01", version: str = "ocpp2.1", **headers: str
) -> AsyncIterator[WebSocketConnection]:
    extra = [(key.encode(), value.encode()) for key, value in headers.items()]
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/{name}",
        subprotocols=[version],
        extra_headers=extra,
        disconnect_timeout=2,
    ) as socket:
        yield socket


async def receive_message(socket: WebSocketConnection, *wanted: str) -> Any:
    """The next frame that has these words in it."""
    with trio.fail_after(HANG_S):
        while True:
            text = await receive_text(socket)
            if all(word in text for word in wanted):
                return json.loads(text)


@pytest.mark.parametrize("version", ["ocpp2.1", "ocpp2.0.1"])
async def test_one_overlay_link_carries_stations_of_both_versions(tmp_path: Path, version: str) -> None:
    async with chain(tmp_path) as (_, child, backend), station(child, version=version) as socket:
        assert socket.subprotocol == version
        await socket.send_message(json.dumps([2, "m1", "Heartbeat", {}]))
        asked = await receive_message(backend, "Heartbeat", "CS01")
        await backend.send_message(json.dumps([3, "CS01", "csms01", asked[3], {"currentTime": "x"}]))
        assert await receive_message(socket, '"m1"') == [3, "m1", {"currentTime": "x"}]


def test_overlay_link_offers_what_wwcp_nodes_offer() -> None:
    assert offered_versions(Version.V201) == offered_versions(Version.V21) == (Version.V21, Version.V201)
    assert offered_versions(Version.V16) == (Version.V16,)


async def test_overlay_service_relays_through_two_controllers(tmp_path: Path) -> None:
    async with chain(tmp_path) as (_, child, backend), station(child) as socket:
        boot = {"reason": "PowerUp", "chargingStation": {"model": "M", "vendorName": "V"}}
        await socket.send_message(json.dumps([2, "m1", "BootNotification", boot]))
        asked = await receive_message(backend, "BootNotification", "CS01")
        assert asked == [2, "CSMS", ["CS01", "LC02", "LC01"], asked[3], "BootNotification", boot]
        answer = {"status": "Accepted", "interval": 300, "currentTime": "2026-11-21T12:00:00Z"}
        await backend.send_message(json.dumps([3, ["LC01", "LC02", "CS01"], "CSMS", asked[3], answer]))
        assert await receive_message(socket, "Accepted") == [3, "m1", answer]
        received = await receive_message(backend, "NotifyNetworkTopology", "CS01")
        routes = received[5]["networkTopologyInformation"]["routes"]
        assert {each["destinationId"] for each in routes} == {"CS01", "LC02"}
        await backend.send_message(json.dumps([2, "CS01", "CSMS", "c1", "TriggerMessage", {}]))
        command = await receive_message(socket, "TriggerMessage")
        await socket.send_message(json.dumps([3, command[1], {"status": "Accepted"}]))
        overlay = child.status().overlay
        assert overlay is not None
        assert [(each.link, each.reached) for each in overlay.neighbours] == [
            ("above", {"CSMS": 1, "LC01": 2})
        ]
        reply = await receive_message(backend, '"c1"')
        assert reply == [3, "CSMS", ["CS01", "LC02", "LC01"], "c1", {"status": "Accepted"}]


async def test_overlay_service_child_sends_for_itself_over_same_link(tmp_path: Path) -> None:
    """For its parent it is a station as any other, with a relay of its own, which limits it."""
    (tmp_path / "LC01").mkdir()
    async with serve_csms() as backend:
        config = configured(tmp_path, "LC01", backend.port, "CSMS", "LC02", "overlay")
        async with running(config) as parent:
            link = await backend.accept()
            async with station(parent, "LC02", **{MODE.decode(): "OverlayNetwork"}) as child:
                await child.send_message(json.dumps([2, "CSMS", "LC02", "m1", "Heartbeat", {}]))
                asked = await receive_message(link, "Heartbeat")
                assert asked[1:3] == ["CSMS", ["LC02", "LC01"]]
                await link.send_message(json.dumps([3, "LC02", "CSMS", asked[3], {"currentTime": "x"}]))
                assert await receive_message(child, '"m1"') == [3, "LC02", "LC01", "m1", {"currentTime": "x"}]


async def test_overlay_binary_message_passes_two_controllers(tmp_path: Path) -> None:
    action = b"\0\x12BinaryDataTransfer"
    async with chain(tmp_path) as (_, child, backend), station(child) as socket:
        await socket.send_message(b"\2\0\0\0\0\2b1" + action + b"\xff\0sealed")
        asked = await binary(backend)
        path = b"\3\0\4CS01\0\4LC02\0\4LC01"
        assert asked == b"\2\0\4CSMS" + path + b"\0\2b1" + action + b"\xff\0sealed"
        await backend.send_message(b"\3\0\4LC01\1\0\4CSMS\0\2b1\xfe")
        assert await binary(socket) == b"\3\0\0\0\0\2b1\xfe"
        # To the controller itself: it reads none, and says so.
        await backend.send_message(b"\2\0\4LC01\1\0\4CSMS\0\2b2" + action)
        assert (await receive_message(backend, '"b2"'))[0::4] == [4, "NotSupported"]


async def binary(socket: WebSocketConnection) -> bytes:
    with trio.fail_after(HANG_S):
        while True:
            message = await socket.get_message()
            if isinstance(message, bytes):
                return message


class RecordedLog(logging.Handler):
    """A log handler that waits for a text."""

    def __init__(self, words: str) -> None:
        super().__init__()
        self.words = words
        self.receive_message = trio.Event()

    def emit(self, record: logging.LogRecord) -> None:
        if self.words in record.getMessage():
            self.receive_message.set()


async def test_overlay_service_parent_limits_child_site_under_own_identity(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "controller.identity")
    limited = RecordedLog("limit of the site changed limit=32.0A")
    logging.getLogger("controller.identity").addHandler(limited)
    try:
        async with chain(tmp_path) as (_, _, backend):
            asked = await receive_message(backend, "BootNotification")
            assert asked[1:3] == ["CSMS", ["LC02", "LC01"]]
            answer = {"status": "Accepted", "interval": 300, "currentTime": format_time(time.time())}
            await backend.send_message(json.dumps([3, ["LC01", "LC02"], "CSMS", asked[3], answer]))
            with trio.fail_after(HANG_S):
                await limited.receive_message.wait()
    finally:
        logging.getLogger("controller.identity").removeHandler(limited)


async def test_station_is_notified_when_its_route_is_lost_and_restored(tmp_path: Path) -> None:
    (tmp_path / "LC01").mkdir()
    async with serve_csms() as backend:
        config = configured(tmp_path, "LC01", backend.port, "CSMS", "CS01", "standard")
        async with running(config) as controller:
            link = await backend.accept()
            async with station(controller) as socket, trio.open_nursery() as nursery:
                await socket.send_message(json.dumps([2, "m1", "Heartbeat", {}]))
                await receive_message(link, "Heartbeat")
                await link.aclose()
                await socket.send_message(json.dumps([2, "m2", "Heartbeat", {}]))
                answer = await receive_message(socket, '"m2"')
                assert answer[0] == 3, "the controller answers in the place of its backend"
                link = await backend.accept()
                nursery.start_soon(keep_asking, socket)
                await receive_message(link, "Heartbeat", "CS01")
                nursery.cancel_scope.cancel()


async def keep_asking(socket: WebSocketConnection) -> None:
    for number in itertools.count():
        await socket.send_message(json.dumps([2, f"h{number}", "Heartbeat", {}]))
        await trio.sleep(0.1)


async def test_overlay_service_station_that_may_not_is_refused_overlay_mode(tmp_path: Path) -> None:
    (tmp_path / "LC01").mkdir()
    async with serve_csms() as backend:
        config = configured(tmp_path, "LC01", backend.port, "CSMS", "CS01", "standard")
        async with running(config) as controller:
            with pytest.raises(ConnectionRejected) as refused:
                async with station(controller, **{MODE.decode(): "OverlayNetwork"}):
                    raise AssertionError("it was accepted")
            assert refused.value.status_code == 403
