"""`local-controller station` against a daemon with a connected station and no backend."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import pytest
import trio

from controller.cli.main import main
from tests.controller.services.test_app_local_csms import begin, home, running, stopped
from tests.scenario.daemon_peers import START, SocketStation, connect_station


async def command(folder: Path, *arguments: str) -> int:
    """Run the command line in a thread, as it waits for the daemon."""
    line = ["station", *arguments[:1], "-c", str(folder / "controller.toml"), *arguments[1:]]
    return await trio.to_thread.run_sync(partial(main, line))


async def obeying(station: SocketStation, folder: Path, *arguments: str) -> int:
    """Run the command line while the station answers what it gets."""
    status = -1
    async with trio.open_nursery() as nursery:
        nursery.start_soon(station.accept_commands)
        status = await command(folder, *arguments)
        nursery.cancel_scope.cancel()
    return status


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "controller.toml").write_text(f'[store]\ndirectory = "{tmp_path}"\n')
    return tmp_path


async def test_station_list_and_show_name_session_and_card(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(home(folder)) as controller, connect_station(controller) as station:
        await begin(station)
        assert await command(folder, "list") == 0
        listed = capsys.readouterr().out
        assert "CS01/1" in listed
        assert "Anna" in listed
        assert len(listed.splitlines()) == 2  # no cell is folded in a pipe
        assert await command(folder, "show", "CS01") == 0
        shown = capsys.readouterr().out
        assert "ACME One" in shown
        assert "card Anna" in shown
        assert await command(folder, "list", "--json") == 0
        [evse] = json.loads(capsys.readouterr().out)
        assert evse["session"]["card"] == "Anna"
        assert evse["status"]["station"] == "CS01"
        assert await command(folder, "show", "CS09") == 1
        assert "there is no station 'CS09'" in capsys.readouterr().err


async def test_station_start_uses_card_token_or_made_one(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    async with running(home(folder)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", {"chargePointVendor": "V", "chargePointModel": "M"})
        assert await obeying(station, folder, "start", "CS01", "--card", "anna") == 0
        assert station.payloads["RemoteStartTransaction"]["idTag"] == "A"
        assert await obeying(station, folder, "start", "CS01") == 0
        made = station.payloads["RemoteStartTransaction"]["idTag"]
        answer = await station.request("StartTransaction", START | {"idTag": made})
        assert answer["idTagInfo"] == {"status": "Accepted"}
        capsys.readouterr()
        assert await obeying(station, folder, "start", "CS01", "--card", "nobody") == 1
        assert "no card of the site" in capsys.readouterr().err


async def test_station_stop_reset_pause_and_limit(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    async with running(home(folder)) as controller, connect_station(controller) as station:
        number = await begin(station)
        assert await obeying(station, folder, "stop", "CS01", "--evse", "1") == 0
        assert station.payloads["RemoteStopTransaction"] == {"transactionId": number}
        await station.request("StopTransaction", stopped(number))
        assert await obeying(station, folder, "reset", "CS01", "--hard") == 0
        assert "CS01: reset Accepted" in capsys.readouterr().out
        assert station.payloads["Reset"] == {"type": "Hard"}
        assert await obeying(station, folder, "pause", "CS01", "--for", "2h") == 0
        assert await obeying(station, folder, "limit", "CS01", "--amps", "8", "--for", "30m") == 0
        assert await obeying(station, folder, "resume", "CS01/1") == 0, "as `station list` names it"
        assert await obeying(station, folder, "resume", "CS01/2") == 1
        assert "station 'CS01' has no EVSE 2; it has 1" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["pause", "CS01", "--for", "soon"], "write it like 45m, 2h or 1d"),
        (["limit", "CS01"], "--amps"),
        (["list"], "no controller answers at"),
    ],
)
def test_station_command_that_cannot_be_done_is_explained(
    folder: Path, arguments: list[str], error: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = ["station", arguments[0], "-c", str(folder / "controller.toml"), *arguments[1:]]
    try:
        status = main(line)
    except SystemExit as left:
        status = int(str(left.code))
    assert status != 0
    assert error in capsys.readouterr().err
