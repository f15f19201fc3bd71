"""The serial cable between the program and its meter: one that a person pulls, or a simulated one."""

from __future__ import annotations

import os
import tty
from pathlib import Path
from typing import Protocol

import trio

from drivers.simulated import SimulatedMeter, serve_serial


class Cable(Protocol):
    """What a scenario may do with the line."""

    device: str
    patience_s: float
    """How long pulling out or putting back may take."""

    async def unplug(self) -> None:
        """Pull the adapter out."""

    async def plug(self) -> None:
        """Put it back."""


class PersonsCable:
    """Real hardware: it asks."""

    patience_s = 60.0

    def __init__(self, device: str) -> None:
        self.device = device

    async def unplug(self) -> None:
        """See `Cable`."""
        print(f">>> unplug {self.device} now (within {self.patience_s:.0f} s)")

    async def plug(self) -> None:
        """See `Cable`."""
        print(f">>> plug {self.device} in again (within {self.patience_s:.0f} s)")


class SimulatedCable:
    """A pseudo-terminal behind a name that outlives it, as udev's names do; comes plugged in.

    `nursery` carries the simulated meter's task.
    """

    patience_s = 15.0

    def __init__(self, meter: SimulatedMeter, folder: Path, nursery: trio.Nursery) -> None:
        self._meter = meter
        self._link = folder / "meter"
        self._nursery = nursery
        self._served: tuple[trio.CancelScope, trio.Event] | None = None
        self.device = str(self._link)

    async def plug(self) -> None:
        """See `Cable`."""
        scope, gone = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._serve, scope, gone)
        self._served = scope, gone

    async def unplug(self) -> None:
        """See `Cable`. Returns once the device is gone."""
        assert self._served is not None
        scope, gone = self._served
        scope.cancel()
        await gone.wait()

    async def _serve(
        self,
        scope: trio.CancelScope,
        gone: trio.Event,
        task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
    ) -> None:
        near, far = os.openpty()
        try:
            tty.setraw(far)
            self._link.symlink_to(os.ttyname(far))
            task_status.started()
            with scope:
                await serve_serial(near, self._meter)
        finally:
            self._link.unlink(missing_ok=True)
            os.close(near)
            os.close(far)
            gone.set()
