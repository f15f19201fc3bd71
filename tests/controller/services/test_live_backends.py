"""Backends that are added, changed and removed, and owners that change, while the site runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import WebSocketConnection

from controller.cli.main import main
from controller.services.configuration import reload_service
from controller.stations.session import RENEWED
from tests.bounds import HANG_S
from tests.controller.services.test_station_adoption import command, running
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
[[circuit]]
id = "house"
limit_a = 63
{backends}
[[station]]
id = "CS01"
circuit = "house"
{station}
"""
AUTONOMOUS = 'owner = "{owner}"\nwhen_backend_away = "autonomous"\n{more}'


pytestmark = pytest.mark.usefixtures("log_levels")


@pytest.fixture
def short_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)


def table(name: str, csms: CsmsServer, more: str = "", path: str = "") -> str:
    url = f"ws://127.0.0.1:{csms.port}/{path or name}/{{station}}"
    return f'[[backend]]\nid = "{name}"\nurl = "{url}"\n{more}\n'


def write(folder: Path, station: str, *backends: str) -> Path:
    path = folder / "controller.toml"
    path.write_text(SITE.format(folder=folder, backends="".join(backends), station=station))
    return path


def owned_by(owner: str, more: str = "") -> str:
    return AUTONOMOUS.format(owner=owner, more=more)


async def boot(station: SocketStation, link: WebSocketConnection) -> None:
    await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
    await station.forward_call(link, "StatusNotification", STATUS, {})


async def receive_action(
    link: WebSocketConnection, action: str, result: dict[str, Any] | None = None
) -> dict[str, Any]:
    """Answer CALLs at a CSMS until one with this action has come, that with `result`; return its payload."""
    while True:
        frame = json.loads(await receive_text(link))
        if frame[0] != 2:
            continue
        answer = ACCEPTED if frame[2] == "BootNotification" else {}
        if frame[2] == action and result is not None:
            answer = result
        await link.send_message(json.dumps([3, frame[1], answer]))
        if frame[2] == action:
            payload: dict[str, Any] = frame[3]
            return payload


async def test_observer_is_added_and_removed_beside_owner(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo", "copy") as made:
        cpo = table("cpo", made["cpo"])
        path = write(tmp_path, owned_by("cpo"), cpo)
        async with running(path) as controller:
            async with connect_station(controller) as station:
                await boot(station, await made["cpo"].accept())
                write(tmp_path, owned_by("cpo", 'observers = ["copy"]'), cpo, table("copy", made["copy"]))
                result = await command(tmp_path, "configuration.reload")
                assert result["applied"] == ["backend copy (added)", "station CS01 observers"]
                assert (result["needs_restart"], result["waiting"]) == ([], [])
                assert await station.wait_close_reason() == (1012, RENEWED)
            async with connect_station(controller) as station:
                link = await made["cpo"].accept()
                observer = await made["copy"].accept()
                assert await receive_action(observer, "BootNotification") == BOOT
                await station.forward_call(link, "StartTransaction", START, start_result(7))
                assert await receive_action(observer, "StartTransaction") == START
                write(tmp_path, owned_by("cpo"), cpo)
                result = await command(tmp_path, "configuration.reload")
                assert "backend copy: messages that wait for it stay stored" in result["assumed"][0]
                assert await station.wait_close_reason() == (1012, RENEWED)
            assert [backend.id for backend in controller.status().backends] == ["cpo"]
            async with connect_station(controller) as station:
                await station.forward_call(
                    await made["cpo"].accept(), "StopTransaction", stop_transaction(7), {}
                )


@pytest.mark.parametrize("mode", ["autonomous", "strict"])
async def test_backend_with_another_url_is_dialled_and_station_stays(tmp_path: Path, mode: str) -> None:
    keys = f'owner = "cpo"\nwhen_backend_away = "{mode}"\n'
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        async with (
            running(write(tmp_path, keys, table("cpo", csms))) as controller,
            connect_station(controller) as station,
        ):
            former = await csms.accept()
            await boot(station, former)
            write(tmp_path, keys, table("cpo", csms, path="next"))
            result = await command(tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (["backend cpo url"], [])
            link = await csms.accept()
            assert csms.requests[-1].path == "/next/CS01"
            with trio.fail_after(HANG_S):
                await former._close_handshake.wait()  # the controller has closed it
            await station.forward_call(link, "StartTransaction", START, start_result(7))
            assert controller.status().backends[0].links == {"cpo": 1}


async def test_backend_with_another_password_is_dialled_anew(tmp_path: Path) -> None:
    secret = tmp_path / "cpo.password"
    secret.write_text("first-password-0\n")
    secret.chmod(0o600)
    async with serve_csms_by_name("cpo") as made:
        csms = made["cpo"]
        path = write(tmp_path, owned_by("cpo"), table("cpo", csms, f'password_file = "{secret}"'))
        async with running(path) as controller, connect_station(controller) as station:
            await boot(station, await csms.accept())
            secret.write_text("second-password-1\n")
            await controller.reload()
            link = await csms.accept()
            first, second = (dict(request.headers)[b"authorization"] for request in csms.requests)
            assert first != second
            await station.forward_call(link, "StartTransaction", START, start_result(7))


@pytest.mark.usefixtures("short_checks")
async def test_owner_changes_once_transaction_has_ended(tmp_path: Path) -> None:
    async with serve_csms_by_name("old", "new") as made:
        tables = [table(name, csms) for name, csms in made.items()]
        async with running(write(tmp_path, owned_by("old"), *tables)) as controller:
            async with connect_station(controller) as station:
                link = await made["old"].accept()
                await boot(station, link)
                await station.forward_call(link, "StartTransaction", START, start_result(7))
                write(tmp_path, owned_by("new"), tables[1])
                result = await command(tmp_path, "configuration.reload")
                assert result["applied"] == []
                assert result["waiting"] == ["station CS01 owner", "backend old (removed)"]
                await station.forward_call(link, "StopTransaction", stop_transaction(7), {})
                assert await station.wait_close_reason() == (1012, RENEWED)
            async with connect_station(controller) as station:
                link = await made["new"].accept()
                assert await receive_action(link, "BootNotification") == BOOT
                assert await receive_action(link, "StatusNotification") == STATUS
                await station.forward_call(link, "StartTransaction", START, start_result(3))
            assert [backend.id for backend in controller.status().backends] == ["new"]


async def test_messages_for_removed_backend_are_kept_and_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with serve_csms_by_name("old", "new") as made:
        old, new = (table(name, csms) for name, csms in made.items())
        async with running(write(tmp_path, owned_by("old"), old, new)) as controller:
            async with connect_station(controller) as station:
                link = await made["old"].accept()
                await boot(station, link)
                await station.forward_call(link, "StartTransaction", START, start_result(7))
                made["old"].refuse_status = 503
                await link.aclose()
                await station.request("StopTransaction", stop_transaction(7))
                write(tmp_path, owned_by("new"), new)
                result = await command(tmp_path, "configuration.reload")
                assert result["applied"] == ["backend old (removed)", "station CS01 owner"]
                assert await station.wait_close_reason() == (1012, RENEWED)
            async with connect_station(controller) as station:
                link = await made["new"].accept()
                assert await receive_action(link, "StatusNotification") == STATUS
                await station.forward_call(link, "Heartbeat", {}, {"currentTime": "x"})
                await trio.to_thread.run_sync(
                    main, ["outbox", "list", "-c", str(tmp_path / "controller.toml")]
                )
                assert "CS01  old: 1 waiting" in capsys.readouterr().out
                # Configured again it gets what has waited, although it has no part of the station any more.
                made["old"].refuse_status = None
                write(tmp_path, owned_by("new"), old, new)
                await controller.reload()
            link = await made["old"].accept()
            assert await receive_action(link, "StopTransaction") == stop_transaction(7)
            await RealClock().wait_until(
                lambda: all(each.waiting == 0 for each in controller.status().backends), "nothing waits"
            )


async def test_reload_with_missing_certificate_of_backend_changes_nothing(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        cpo = table("cpo", made["cpo"])
        async with (
            running(write(tmp_path, owned_by("cpo"), cpo)) as controller,
            connect_station(controller) as station,
        ):
            await boot(station, await made["cpo"].accept())
            other = cpo.replace("ws://", "wss://") + 'ca = "missing.pem"\n'
            write(tmp_path, owned_by("cpo", 'label = "Yard"'), other)
            with pytest.raises(reload_service.ReloadRejectedError, match="missing"):
                await controller.reload()
            assert controller.status().backends[0].links == {"cpo": 1}
