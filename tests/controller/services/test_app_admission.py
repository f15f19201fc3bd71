"""How stations come in at the whole daemon: by hashed passwords, and by what is known of them before."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import msgspec
import pytest
from trio_websocket import ConnectionRejected, WebSocketConnection, open_websocket_url

from controller.config import Config
from controller.config.password_files import hash_password
from controller.model.journal import BootStored
from controller.ocpp.frames import Version
from controller.services.app import App
from controller.store.state_store import StateStore
from controller.transport.http_upgrade import basic_authorization
from tests.controller.services.test_app import running, site
from tests.scenario.link_harness import receive_text


def with_first_station(config: Config, **keys: object) -> Config:
    """The configuration, other keys in its first station."""
    first, *others = config.station
    changed = msgspec.structs.replace(first, **keys)
    return msgspec.structs.replace(config, station=(changed, *others))


@asynccontextmanager
async def connected(
    controller: App, *offered: str, password: bytes | None = None
) -> AsyncIterator[WebSocketConnection]:
    headers = [] if password is None else [(b"Authorization", basic_authorization("CS01", password))]
    async with open_websocket_url(
        f"ws://127.0.0.1:{controller.port}/ocpp/CS01",
        subprotocols=offered,
        extra_headers=headers,
        disconnect_timeout=2,
    ) as socket:
        yield socket


async def test_app_admission_station_with_hashed_password_is_accepted(tmp_path: Path) -> None:
    kept = tmp_path / "CS01"
    kept.write_text(hash_password(b"correct horse", b"salt", log_n=4).line() + "\n")
    async with site(tmp_path) as (config, backend):
        config = with_first_station(config, password_file=str(kept))
        async with running(config) as controller:
            for password in (b"wrong", kept.read_bytes().strip(), None):
                with pytest.raises(ConnectionRejected) as refused:
                    async with connected(controller, "ocpp1.6", password=password):
                        pass
                assert refused.value.status_code == 401
            async with connected(controller, "ocpp1.6", password=b"correct horse") as socket:
                await backend.accept()
                assert socket.subprotocol == "ocpp1.6"
        assert b"authorization" not in {name.lower() for name, _ in backend.requests[-1].headers}


async def test_station_that_names_no_version_is_served_in_configured_one(
    tmp_path: Path,
) -> None:
    async with site(tmp_path) as (config, backend):
        config = with_first_station(config, protocol=Version.V16)
        async with running(config) as controller, connected(controller) as socket:
            up = await backend.accept()
            assert (socket.subprotocol, up.subprotocol) == (None, "ocpp1.6")
            await socket.send_message('[2,"1","Heartbeat",{}]')
            assert json.loads(await receive_text(up)) == [2, "1", "Heartbeat", {}]


async def test_app_admission_station_has_quirk_of_boot_before_restart(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    store.persist_now([BootStored("CS01", "FoxESS", "A022KP1", "1.10")])
    store.close()
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        connected(controller, "ocpp2.0.1", "ocpp1.6") as socket,
    ):
        assert socket.subprotocol == "ocpp1.6"
