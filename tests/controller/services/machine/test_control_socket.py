"""Control socket: opened once its directory can be written, while the controller runs all the same."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio

from controller.access.permissions import Actor
from controller.commands.site_command import SiteCommand
from controller.services.machine import control_socket
from controller.services.machine.control_socket import FILE, send_command, serve_commands
from tests.bounds import HANG_S


class NoCommands:
    """Executor that is not used."""

    async def execute(self, command: SiteCommand, actor: Actor) -> object:
        raise AssertionError(command, actor)


async def test_control_socket_opens_once_directory_can_be_written(
    tmp_path: Path, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    monkeypatch.setattr(control_socket, "RETRY_S", 0.01)
    directory = tmp_path / "state"
    await nursery.start(serve_commands, directory, {"ping": lambda _: "pong"}, NoCommands())
    assert "control socket not opened" in caplog.messages[0]
    directory.mkdir()
    with trio.fail_after(HANG_S):
        while not (directory / FILE).exists():
            await trio.lowlevel.checkpoint()
        assert await trio.to_thread.run_sync(send_command, directory, "ping") == "pong"
    assert caplog.messages[1] == f"control socket opened path={directory / FILE}"
