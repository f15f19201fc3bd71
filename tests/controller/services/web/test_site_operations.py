"""Commands to the whole daemon over its control socket, with a station that is really connected."""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection

from controller.access.permissions import LOCAL_ACTOR, Actor
from controller.commands.site_command import PauseEvse
from controller.model.statements import Statement, StatementCode
from controller.services.access.command_service import CommandForbiddenError
from controller.services.machine.control_socket import FILE, ControlError, send_command
from tests.bounds import HANG_S
from tests.controller.services.test_app import limits, profile_call, running, site, station, until
from tests.scenario.link_harness import receive_text


async def send(folder: Path, command: str, **members: object) -> Any:
    return await trio.to_thread.run_sync(lambda: send_command(folder, command, **members))


async def rejected(folder: Path, command: str, **members: object) -> str:
    with pytest.raises(ControlError) as failure:
        await send(folder, command, **members)
    return str(failure.value)


async def call(socket: WebSocketConnection, action: str, status: str = "Accepted") -> dict[str, Any]:
    """Answer the station's calls until one of `action` comes; return its payload."""
    while True:
        frame = json.loads(await receive_text(socket))
        if frame[0] != 2:
            continue
        if frame[2] == "GetConfiguration":
            await socket.send_message(f'[3,"{frame[1]}",{{"configurationKey":[]}}]')
            continue
        answer = status if frame[2] == action else "Accepted"
        await socket.send_message(f'[3,"{frame[1]}",{{"status":"{answer}"}}]')
        if frame[2] == action:
            payload: dict[str, Any] = frame[3]
            return payload


async def test_site_operations_pause_over_socket_reaches_station(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(config) as controller:
        async with station(controller, "CS01") as socket:
            await limits(socket, 2)
            result = await send(tmp_path, "station.pause", station="CS01", duration_s=60)
            assert result["evses"] == ["CS01/1"]
            with trio.fail_after(HANG_S):
                while (await limits(socket, 1))[0][1] != 0.0:
                    pass
            view = await until(controller, "CS01", "paused by local until")
            assert view.offered_a == 0.0
            assert (await send(tmp_path, "station.resume", station="CS01"))["evses"] == ["CS01/1"]
        assert [each.command for each in controller._operations.audit.latest()] == [
            "station.resume",
            "station.pause",
        ]


async def test_site_operations_pause_holds_over_restart(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _):
        async with running(config):
            await send(tmp_path, "station.pause", station="CS01", evse=1)
        async with running(config) as controller, station(controller, "CS01") as socket:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(limits, socket, 10)
                await until(controller, "CS01", "paused by local")
                nursery.cancel_scope.cancel()
            assert [each.command for each in controller._operations.audit.latest()] == ["station.pause"]


async def test_site_operations_reset_returns_status_of_station(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(config) as controller:
        payloads = []
        async with station(controller, "CS01") as socket, trio.open_nursery() as nursery:

            async def answer() -> None:
                payloads.append(await call(socket, "Reset"))
                payloads.append(await call(socket, "Reset", "Rejected"))

            nursery.start_soon(answer)
            assert await send(tmp_path, "station.reset", station="CS01") == {"status": "Accepted"}
            why = await rejected(tmp_path, "station.reset", station="CS01", mode="hard")
            assert "answered Reset with Rejected" in why
            assert payloads == [{"type": "Soft"}, {"type": "Hard"}]


async def test_remote_start_and_stop_name_card_and_transaction(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        assert "no transaction runs" in await rejected(tmp_path, "station.stop", station="CS01")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lambda: send(tmp_path, "station.start", station="CS01", id_token="04CARD99"))
            assert await call(socket, "RemoteStartTransaction") == {"connectorId": 1, "idTag": "04CARD99"}
    assert "04CARD99" not in caplog.text
    assert "command=station.start" in caplog.text


async def read_all(socket: WebSocketConnection) -> None:
    while True:
        await socket.get_message()


async def test_site_operations_reconnect_closes_connection(tmp_path: Path) -> None:
    async with (
        site(tmp_path) as (config, _),
        running(config) as controller,
        station(controller, "CS01") as socket,
    ):
        await profile_call(socket)
        await send(tmp_path, "station.reconnect", station="CS01")
        with pytest.raises(ConnectionClosed), trio.fail_after(HANG_S):
            await read_all(socket)
        assert socket.closed is not None
        assert socket.closed.code == 1012


@pytest.mark.parametrize(
    ("command", "members", "text"),
    [
        ("station.fly", {}, "unknown command; there are: configuration.reload"),
        ("station.pause", {"station": "CS99"}, "station 'CS99' is not in the configuration"),
        ("station.pause", {"station": "CS01", "evse": 7}, "has no EVSE 7; it has 1"),
        ("station.reset", {"station": "CS01"}, "is not connected"),
        ("station.reset", {"station": "CS99"}, "not in the configuration"),
        ("outbox.retry", {"station": "CS01", "backend": "cpo", "number": 5}, "no message 5"),
        ("eebus.pair", {"ski": "a" * 40}, "not available"),
    ],
)
async def test_site_operations_command_that_cannot_be_done_states_why(
    tmp_path: Path, command: str, members: dict[str, object], text: str
) -> None:
    async with site(tmp_path) as (config, _), running(config):
        assert text in await rejected(tmp_path, command, **members)


async def test_actor_without_permission_changes_nothing(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _), running(config) as controller:
        viewer = Actor("vera", "page", frozenset())
        with pytest.raises(CommandForbiddenError, match="stations:run"):
            await controller._operations.commands.execute(PauseEvse(station="CS01"), viewer)
        assert controller._operations.overrides._book.measure_next_end(0.0, 0.0) is None
        [entry] = controller._operations.audit.latest()
        assert (entry.actor, entry.origin, entry.outcome) == ("vera", "page", "lacks stations:run")


async def test_site_operations_socket_is_for_owner_alone_and_removed(tmp_path: Path) -> None:
    async with site(tmp_path) as (config, _):
        async with running(config):
            assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
        assert not (tmp_path / FILE).exists()


async def test_audit_log_entries_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("controller.services.access.audit_log.MOST_ENTRIES", 10)
    monkeypatch.setattr("controller.services.access.audit_log.TRIM_EVERY", 5)
    async with site(tmp_path) as (config, _), running(config) as controller:
        audit = controller._operations.audit
        for number in range(30):
            paused = Statement(code=StatementCode.PAUSED_BY_PERSON, name="CS01", duration_s=60.0)
            await audit.record(LOCAL_ACTOR, "station.pause", f"number={number}", paused)
    async with site(tmp_path) as (config, _), running(config) as controller:
        latest = controller._operations.audit.latest()
        assert len(latest) <= 15
        assert latest[0].subject == "number=29"
