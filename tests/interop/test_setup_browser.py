"""From nothing to a running site on the setup's page in headless Chromium, with a station and a meter."""

from __future__ import annotations

import json
import os
import re
import subprocess
import tomllib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import ConnectionClosed, HandshakeError, open_websocket_url

from tests.controller.cli.command_line import COMMAND
from tests.controller.services.setup.test_setup_service import serve_meter
from tests.interop.programs import PATIENCE_S
from tests.interop.test_page_browser import CHROMIUM

SCRIPT = Path(__file__).parent / "browse_setup.mjs"
WALK = Path(__file__).parent / "walk_setup.mjs"
BOOT = {"chargePointVendor": "ACME", "chargePointModel": "Wallbox", "firmwareVersion": "1.2"}


class SetupDaemon:
    """The daemon without a configuration: address of its page, the code, the stations' port."""

    def __init__(self, process: trio.Process, url: str, code: str, port: int) -> None:
        self.process = process
        self.url, self.code, self.port = url, code, port


@asynccontextmanager
async def daemon_in_setup(folder: Path) -> AsyncIterator[SetupDaemon]:
    command = [COMMAND, "run", "-c", folder / "controller.toml"]
    options = ["--setup-page", "127.0.0.1:0", "--setup-stations", "127.0.0.1:0"]
    process = await trio.lowlevel.open_process(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env={**os.environ, "STATE_DIRECTORY": str(folder / "state")},
    )
    assert process.stdout is not None
    text = ""
    try:
        with trio.fail_after(PATIENCE_S):
            while (found := re.search(r"open (\S+) and enter the code (\S+)[^$]*port=(\d+)", text)) is None:
                text += (await process.stdout.receive_some()).decode()
        yield SetupDaemon(process, found[1], found[2], int(found[3]))
    finally:
        process.terminate()
        with trio.move_on_after(20, shield=True):
            await process.wait()


async def read_log(process: trio.Process) -> None:
    """Read the daemon's log on, so that it never waits for a reader."""
    assert process.stdout is not None
    async for _ in process.stdout:
        pass


async def keep_station(port: int) -> None:
    """A station that boots, answers what it is asked, and connects again when its link ends."""
    while True:
        try:
            async with open_websocket_url(
                f"ws://127.0.0.1:{port}/ocpp/CS01", subprotocols=["ocpp1.6"]
            ) as link:
                await link.send_message(json.dumps([2, "boot", "BootNotification", BOOT]))
                while True:
                    frame = json.loads(await link.get_message())
                    if frame[0] == 2:
                        await link.send_message(json.dumps([3, frame[1], {"status": "Accepted"}]))
        except (ConnectionClosed, HandshakeError, OSError):
            await trio.sleep(0.5)  # as a station does, which tries again after a while


@pytest.mark.parametrize(("width", "language", "scheme"), [(390, "de", "light"), (1280, "en", "dark")])
async def test_setup_in_chromium_leads_to_a_running_site(
    tmp_path: Path, width: int, language: str, scheme: str
) -> None:
    assert CHROMIUM is not None, "install chromium: the page is tested in it"
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    async with daemon_in_setup(tmp_path) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(read_log, daemon.process)
        meter = await nursery.start(serve_meter)
        nursery.start_soon(keep_station, daemon.port)
        arguments = [daemon.url, daemon.code, f"127.0.0.1:{meter}", folder, width, language, scheme]
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                ["node", SCRIPT, *map(str, arguments)],
                capture_stdout=True,
                env={**os.environ, "CHROMIUM": CHROMIUM},
            )
        nursery.cancel_scope.cancel()
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["problems"] == []
    assert found["foreign"] == []
    assert found["accessibility"] == []
    assert found["wide"] == []
    assert found["password"] >= 20
    assert found["wrong"] in [
        ["Not done: Circuit grid, Fuse, per phase (A): Write a number.", True],
        ["Nicht ausgeführt: Stromkreis grid, Sicherung, je Phase (A): Eine Zahl angeben.", True],
    ]
    assert [line[:14] for line in found["difference"]] == ["- limit_a = 63", "+ limit_a = 50"]
    assert found["proposed"] == "depot"
    assert f"ws://127.0.0.1:{daemon.port}/ocpp/" in found["hint"]
    text = (tmp_path / "controller.toml").read_text()
    assert f"ws://127.0.0.1:{daemon.port}/ocpp/" in text
    data = tomllib.loads(text)
    assert data["circuit"][0]["limit_a"] == 50
    assert data["meter"][0]["driver"] == "janitza-umg604"
    [station] = data["station"]
    assert (station["id"], station["evse"]) == ("CS01", [{"phases": ["L2", "L3", "L1"], "max_a": 16}])


@pytest.mark.parametrize("width", [390, 1280])
async def test_setup_in_chromium_is_answered_by_keyboard_alone(tmp_path: Path, width: int) -> None:
    assert CHROMIUM is not None, "install chromium: the page is tested in it"
    folder = Path(os.environ.get("SCREENSHOTS", tmp_path))
    async with daemon_in_setup(tmp_path) as daemon, trio.open_nursery() as nursery:
        nursery.start_soon(read_log, daemon.process)
        with trio.fail_after(PATIENCE_S):
            done = await trio.run_process(
                ["node", WALK, daemon.url, daemon.code, str(folder), str(width)],
                capture_stdout=True,
                env={**os.environ, "CHROMIUM": CHROMIUM},
            )
        nursery.cancel_scope.cancel()
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["unreached"] == []
    assert found["invisible"] == []
    assert found["lost"] == []
    assert min(found["stops"].values()) >= 2
    data = tomllib.loads((tmp_path / "controller.toml").read_text())
    assert (data["circuit"][0]["limit_a"], data["station"][0]["id"]) == (63, "CS01")
