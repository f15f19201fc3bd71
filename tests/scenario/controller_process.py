"""The installed daemon as a process: it is started, killed and started again."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path

import trio

from tests.interop.programs import CONTROLLER

PATIENCE_S = 60.0


class ControllerProcess:
    """One daemon after the other on one configuration; `log` has the lines of all of them.

    `prefix`: a command that runs the next daemon, if any.
    """

    def __init__(self, folder: Path, configuration: str, prefix: Sequence[str] = ()) -> None:
        self._folder = folder
        self._file = folder / "controller.toml"
        self._file.write_text(configuration)
        self.prefix = prefix
        self._process: trio.Process | None = None
        self._systemd = trio.socket.socket(trio.socket.AF_UNIX, trio.socket.SOCK_DGRAM)
        self._notify = folder / "notify"

    @property
    def log(self) -> str:
        """Return all that was logged."""
        return (self._folder / "log").read_text()

    @property
    def pid(self) -> int:
        """Return the process id of the daemon that runs now."""
        assert self._process is not None
        return self._process.pid

    @property
    def is_running(self) -> bool:
        """Return False if the daemon has ended by itself."""
        return self._process is not None and self._process.poll() is None

    async def start(self) -> None:
        """Start the daemon without waiting until it is ready."""
        if not self._notify.exists():
            await self._systemd.bind(str(self._notify))
        with (self._folder / "log").open("ab") as log:
            self._process = await trio.lowlevel.open_process(
                [*self.prefix, str(CONTROLLER), "run", "-c", str(self._file)],
                env=os.environ | {"NOTIFY_SOCKET": str(self._notify)},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )

    async def ready(self) -> None:
        """Wait until the daemon is ready, or fail with its log."""
        with trio.move_on_after(PATIENCE_S):
            while self.is_running:
                with trio.move_on_after(0.5):
                    if b"READY=1" in await self._systemd.recv(1000):
                        return
        raise AssertionError(f"the daemon does not start: {self.log[-3000:]}")

    async def kill(self) -> None:
        """Kill the daemon with SIGKILL."""
        await self._end(signal.SIGKILL)

    async def stop(self) -> int:
        """Stop the daemon with SIGTERM; return its exit status."""
        return await self._end(signal.SIGTERM)

    async def _end(self, how: signal.Signals) -> int:
        assert self._process is not None
        if self._process.poll() is None:
            os.killpg(self._process.pid, how)
        with trio.CancelScope(shield=True, deadline=trio.current_time() + PATIENCE_S):
            return await self._process.wait()
        raise AssertionError(f"the daemon does not end: {self.log[-3000:]}")
