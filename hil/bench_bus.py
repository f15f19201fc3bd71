"""The bus of the scenarios: hardware that a person handles, or meters simulated on a pseudo-terminal."""

from __future__ import annotations

import os
import tty
from pathlib import Path
from typing import Protocol

import trio

from drivers.simulated import Fault, SerialTiming, SimulatedUnit, serve_serial


class BenchBus(Protocol):
    """A bus with meters, whose adapter can be unplugged and whose cable can be disturbed."""

    device: str
    wait_s: float
    """Longest time of a step by hand (s)."""

    async def unplug(self) -> None:
        """Unplug the adapter."""

    async def plug(self) -> None:
        """Plug the adapter in again."""

    async def disturb(self) -> None:
        """Begin to disturb the answers."""

    async def calm(self) -> None:
        """End the disturbance."""

    def set_baud(self, baud: int) -> None:
        """Set the meters to a baud rate."""


class HandBus:
    """Real hardware: a person is asked for each step."""

    wait_s = 60.0

    def __init__(self, device: str) -> None:
        self.device = device

    async def unplug(self) -> None:
        """See `BenchBus`."""
        self._ask(f"unplug {self.device} now")

    async def plug(self) -> None:
        """See `BenchBus`."""
        self._ask(f"plug {self.device} in again now")

    async def disturb(self) -> None:
        """See `BenchBus`."""
        self._ask("disconnect A or B of the meter now")

    async def calm(self) -> None:
        """See `BenchBus`."""
        self._ask("connect A and B again now")

    def set_baud(self, baud: int) -> None:
        """See `BenchBus`; the scenario of the baud rates uses the one that is set in the meter."""

    def _ask(self, text: str) -> None:
        print(f">>> {text} (within {self.wait_s:.0f} s)", flush=True)


class SimulatedBenchBus:
    """Meters on a pseudo-terminal behind a name that outlives it, as udev's names do; comes plugged in.

    `nursery` carries the task of the meters.
    """

    wait_s = 20.0

    def __init__(self, meters: list[SimulatedUnit], folder: Path, nursery: trio.Nursery, baud: int) -> None:
        self._meters = meters
        self._link = folder / "adapter"
        self._nursery = nursery
        self._timing = SerialTiming(baud)
        self._served: tuple[trio.CancelScope, trio.Event] | None = None
        self.device = str(self._link)

    async def plug(self) -> None:
        """See `BenchBus`."""
        scope, gone = trio.CancelScope(), trio.Event()
        await self._nursery.start(self._serve, scope, gone)
        self._served = scope, gone

    async def unplug(self) -> None:
        """See `BenchBus`. Returns once the device is gone."""
        assert self._served is not None
        scope, gone = self._served
        scope.cancel()
        await gone.wait()

    async def disturb(self) -> None:
        """See `BenchBus`."""
        await trio.lowlevel.checkpoint()
        for meter in self._meters:
            meter.fault = Fault.BAD_CRC

    async def calm(self) -> None:
        """See `BenchBus`."""
        await trio.lowlevel.checkpoint()
        for meter in self._meters:
            meter.fault = None

    def set_baud(self, baud: int) -> None:
        """See `BenchBus`."""
        self._timing = SerialTiming(baud)

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
                await serve_serial(near, *self._meters, timing=self._timing)
        finally:
            self._link.unlink(missing_ok=True)
            os.close(near)
            os.close(far)
            gone.set()
