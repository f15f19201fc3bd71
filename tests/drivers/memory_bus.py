"""Modbus bus in memory, for hours of polling on a virtual clock."""

from __future__ import annotations

import trio

from drivers.errors import BusError
from drivers.modbus.bus import Bus
from drivers.modbus.framing import Exchange, RtuExchange
from drivers.read_plan import ReadRange
from drivers.simulated import SimulatedBus, SimulatedMeter


class MemoryBus(Bus):
    """Serial bus with simulated meters. Set `plugged` to False to unplug it."""

    def __init__(self, *meters: SimulatedMeter) -> None:
        super().__init__("/dev/bus", serial_timing=True)
        self.plugged = True
        self.requested: list[tuple[int, int]] = []
        """Unit and first address of each request so far."""
        self.requested_at: list[float] = []
        self.far_end = SimulatedBus(*meters, rtu=True)
        self._answers = b""

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _open(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.plugged:
            raise BusError(f"{self.name} is gone; plug the adapter in again")
        self._answers = b""

    async def _drain(self, timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()

    def _new_exchange(self, unit: int, read_range: ReadRange) -> Exchange:
        self.requested.append((unit, read_range.address))
        return RtuExchange(unit, read_range.function, read_range.address, read_range.count)

    async def _write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.requested_at.append(trio.current_time())
        self._answers += self.far_end.feed(data)

    async def _read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._answers:
            await trio.sleep_forever()
        answers, self._answers = self._answers, b""
        return answers
