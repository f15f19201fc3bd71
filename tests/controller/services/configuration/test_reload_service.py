"""Live reload of a whole daemon: links stay, limits change, a broken file changes nothing."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from controller.cli.main import main
from controller.services import app
from controller.services.app import App
from controller.services.configuration import reload_service
from controller.services.configuration.configuration import open_configuration
from controller.services.configuration.reload_service import ReloadRejectedError
from controller.services.machine.control_socket import ControlError, send_command
from tests.bounds import HANG_S
from tests.controller.transport.certificates import Authority
from tests.scenario.daemon_peers import (
    BOOT,
    START,
    SocketStation,
    connect_station,
    meter_values,
    stop_transaction,
)

SITE = """
[site]
id = "home"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = 0
[load_management]
tick_s = 0.1
[[card]]
token = "A"
[[circuit]]
id = "house"
limit_a = 40
[[station]]
id = "CS01"
circuit = "house"
"""


pytestmark = pytest.mark.usefixtures("log_levels")


def write(folder: Path, *edits: tuple[str, str]) -> Path:
    text = SITE.format(folder=folder)
    for before, after in edits:
        assert before in text
        text = text.replace(before, after, 1)
    path = folder / "controller.toml"
    path.write_text(text)
    return path


@asynccontextmanager
async def running(path: Path) -> AsyncIterator[App]:
    active = open_configuration(path)
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(app.run, active.config, active=active))
        nursery.cancel_scope.cancel()


async def test_reload_service_lower_limit_reaches_station_over_open_link(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        await station.request("StartTransaction", START)
        await station.receive_limit(32.0)
        write(tmp_path, ("limit_a = 40", "limit_a = 20"))
        await controller.reload()
        await station.receive_limit(19.0)
        assert controller.view().circuits[0].limit_a == (20.0, 20.0, 20.0)


async def test_added_card_may_charge_and_removed_one_may_not(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        write(tmp_path, ('token = "A"', 'token = "B"'))
        await controller.reload()
        answers = [await station.request("Authorize", {"idTag": token}) for token in ("A", "B")]
        assert [each["idTagInfo"]["status"] for each in answers] == ["Invalid", "Accepted"]


async def test_broken_file_changes_nothing(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with running(write(tmp_path)) as controller:
        write(tmp_path, ("limit_a = 40", "limit_a = -3"))
        with pytest.raises(ReloadRejectedError, match='circuit "house" limit_a'):
            await controller.reload()
        assert controller.view().circuits[0].limit_a == (40.0, 40.0, 40.0)
        assert "reload rejected" in caplog.text


async def test_reload_over_socket_names_what_waits_for_restart(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(write(tmp_path)) as controller:
        edits = (("port = 0", "port = 18999"), ("limit_a = 40", "limit_a = 30"))
        write(tmp_path, *edits, ("[[card]]", '[log]\nlevel = "error"\n[[card]]'))
        for applied in (["log level", "circuit house limit_a"], []):
            result = await trio.to_thread.run_sync(send_command, tmp_path, "configuration.reload")
            assert (result["applied"], result["needs_restart"]) == (applied, ["listen port"])
        assert controller.view().circuits[0].limit_a == (30.0, 30.0, 30.0)
        assert not logging.getLogger("controller").isEnabledFor(logging.WARNING)
        line = ["reload", "-c", str(tmp_path / "controller.toml")]
        assert await trio.to_thread.run_sync(main, line) == 0
        assert capsys.readouterr().out == "needs a restart: listen port\n"
        assert await trio.to_thread.run_sync(main, [*line, "--json"]) == 0
        assert json.loads(capsys.readouterr().out) == {
            "applied": [],
            "needs_restart": ["listen port"],
            "waiting": [],
            "assumed": [],
        }
        write(tmp_path, ("limit_a = 40", "limit_a = true"))
        with pytest.raises(ControlError, match="limit_a"):
            await trio.to_thread.run_sync(send_command, tmp_path, "configuration.reload")


async def test_reload_service_corrected_file_ends_problem_of_start(tmp_path: Path) -> None:
    async with running(write(tmp_path)):
        pass
    (tmp_path / "last-valid.toml").write_text((tmp_path / "controller.toml").read_text())
    async with running(write(tmp_path, ("limit_a = 40", "limit_a = 0"))) as controller:
        assert "limit_a" in controller.status().configuration_problem
        write(tmp_path)
        await controller.reload()
        assert controller.status().configuration_problem == ""


async def test_reload_service_energy_settings_apply_while_session_runs(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with running(write(tmp_path)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        await station.request("StartTransaction", START)
        await station.receive_limit(32.0)
        day = '[[calendar]]\nname = "day"\nend = "24:00"\ncircuit = "house"\nlimit_a = 21\n'
        goal = '[[departure]]\ncards = ["A"]\nready_by = "06:30"\nenergy_kwh = 30\n'
        write(tmp_path, ("[[card]]", f"{day}{goal}[[card]]"))
        await controller.reload()
        await station.receive_limit(20.0)
        assert controller.view().energy.calendar == ("day",)
        assert [each.evse for each in controller.sessions.running()] == [1]
    assert "applied='calendar,departure'" in caplog.text
    assert "restart needed" not in caplog.text


async def test_changed_evse_keeps_its_session_and_follows_other_currents(tmp_path: Path) -> None:
    async with running(write(tmp_path)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        transaction = (await station.request("StartTransaction", START))["transactionId"]
        await station.receive_limit(32.0)
        write(tmp_path, ('circuit = "house"', 'circuit = "house"\n[[station.evse]]\nid = 1\nmax_a = 16'))
        await controller.reload()
        await station.receive_limit(16.0)
        assert await station.request("MeterValues", meter_values(transaction)) == {}
        sessions = await trio.to_thread.run_sync(send_command, tmp_path, "sessions.running")
        assert [session["station"] for session in sessions] == ["CS01"]


async def reload_until_closed(folder: Path, station: SocketStation, transaction: int, waiting: str) -> None:
    """Reload a change that waits for the station's transaction, and end that: then its link is closed."""
    plan = await trio.to_thread.run_sync(send_command, folder, "configuration.reload")
    assert (plan["applied"], plan["waiting"]) == ([], [waiting])
    assert await station.request("MeterValues", meter_values(transaction)) == {}
    await station.request("StopTransaction", stop_transaction(transaction))
    with trio.fail_after(HANG_S):
        await station.wait_closed()


async def test_other_protocol_waits_for_the_transaction_and_closes_the_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)
    async with running(write(tmp_path)) as controller:
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            transaction = (await station.request("StartTransaction", START))["transactionId"]
            write(tmp_path, ('id = "CS01"', 'id = "CS01"\nprotocol = "ocpp1.6"'))
            await reload_until_closed(tmp_path, station, transaction, "station CS01 protocol")
        async with connect_station(controller) as station:
            assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"
        sessions = await trio.to_thread.run_sync(send_command, tmp_path, "sessions.running")
        assert sessions == []


async def test_other_quirk_waits_for_the_transaction_and_is_used_then(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)
    (tmp_path / "quirks.toml").write_text('[[quirk]]\nname = "in watts"\nvendor = "Nobody"\nunit = "W"\n')
    rows = ('id = "home"', 'id = "home"\nquirks_file = "quirks.toml"')
    async with running(write(tmp_path, rows)) as controller:
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            transaction = (await station.request("StartTransaction", START))["transactionId"]
            await station.receive_limit(32.0)
            write(tmp_path, rows, ('id = "CS01"', 'id = "CS01"\nquirk = "in watts"'))
            await reload_until_closed(tmp_path, station, transaction, "station CS01 quirk")
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            await station.request("StartTransaction", START)
            await station.receive_limit(32.0 * 230 * 3)
        assert len(await trio.to_thread.run_sync(send_command, tmp_path, "sessions.running")) == 1


async def test_changed_row_of_quirks_file_waits_for_transaction(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reload_service, "CHECK_S", 0.05)
    row = '[[quirk]]\nname = "of the site"\nvendor = "ACME"\n'
    (tmp_path / "quirks.toml").write_text(row)
    path = write(tmp_path, ('id = "home"', 'id = "home"\nquirks_file = "quirks.toml"'))
    async with running(path) as controller:
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            transaction = (await station.request("StartTransaction", START))["transactionId"]
            await station.receive_limit(32.0)
            (tmp_path / "quirks.toml").write_text(row + 'unit = "W"\n')
            await reload_until_closed(tmp_path, station, transaction, "station CS01 quirk (by its file)")
        async with connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            await station.request("StartTransaction", START)
            await station.receive_limit(32.0 * 230 * 3)


async def test_other_power_of_dc_station_reaches_it_while_its_session_runs(tmp_path: Path) -> None:
    evse = 'circuit = "house"\n[[station.evse]]\nid = 1\nfallback_a = 0\nmax_kw = {}'
    async with (
        running(write(tmp_path, ('circuit = "house"', evse.format(20)))) as controller,
        connect_station(controller) as station,
    ):
        await station.request("BootNotification", BOOT)
        transaction = (await station.request("StartTransaction", START))["transactionId"]
        await station.receive_limit(19978.0)
        write(tmp_path, ('circuit = "house"', evse.format(10)))
        await controller.reload()
        await station.receive_limit(9957.0)
        assert await station.request("MeterValues", meter_values(transaction)) == {}
        assert [each.evse for each in controller.sessions.running()] == [1]


async def test_status_of_page_is_closed_by_a_reload(tmp_path: Path) -> None:
    web = "[web]\nport = 0\nopen_status = {}\n[[card]]"

    def read_status(port: int | None) -> int:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status", timeout=5) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code

    async with running(write(tmp_path, ("[[card]]", web.format("true")))) as controller:
        assert await trio.to_thread.run_sync(read_status, controller.web_port) == 200
        write(tmp_path, ("[[card]]", web.format("false")))
        plan = await trio.to_thread.run_sync(send_command, tmp_path, "configuration.reload")
        assert (plan["applied"], plan["needs_restart"]) == (["web open_status"], [])
        assert await trio.to_thread.run_sync(read_status, controller.web_port) == 401
        write(tmp_path, ("[[card]]", web.format("true")))
        await controller.reload()
        assert await trio.to_thread.run_sync(read_status, controller.web_port) == 200


async def test_certificate_of_page_is_another_one_after_a_reload(tmp_path: Path) -> None:
    first, second = Authority(tmp_path, "first"), Authority(tmp_path, "second")
    pairs = {each: each.server(f"server-{number}") for number, each in enumerate((first, second))}

    def page(authority: Authority) -> tuple[str, str]:
        pair = pairs[authority]
        Path(pair.key).chmod(0o600)
        return (
            "[[card]]",
            f'[web]\nport = 0\ncertificate = "{pair.certificate}"\nkey = "{pair.key}"\n[[card]]',
        )

    def trusts(authority: Authority, port: int | None) -> bool:
        try:
            with (
                socket.create_connection(("127.0.0.1", port), timeout=HANG_S) as plain,
                authority.client().wrap_socket(plain, server_hostname="localhost"),
            ):
                return True
        except ssl.SSLCertVerificationError:
            return False

    async with running(write(tmp_path, page(first))) as controller:
        port = controller.web_port
        assert await trio.to_thread.run_sync(trusts, first, port)
        (tmp_path / "broken.key").write_text("nothing")
        before, after = page(second)
        write(tmp_path, (before, after.replace(str(pairs[second].key), str(tmp_path / "broken.key"))))
        with pytest.raises(ReloadRejectedError):
            await controller.reload()
        assert await trio.to_thread.run_sync(trusts, first, port)
        write(tmp_path, page(second))
        plan = await trio.to_thread.run_sync(send_command, tmp_path, "configuration.reload")
        assert (plan["applied"], plan["needs_restart"]) == (["web certificate", "web key"], [])
        assert await trio.to_thread.run_sync(trusts, second, port)
        assert not await trio.to_thread.run_sync(trusts, first, port)
