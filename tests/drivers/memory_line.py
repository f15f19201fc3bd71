"""A Modbus line in memory, for hours of polling on a virtual clock."""

from __future__ import annotations

import trio

from drivers.decoding import Block
from drivers.modbus.framing import Exchange, RtuExchange
from drivers.modbus.line import Line, LineLost
from drivers.simulated import SimulatedLine, SimulatedMeter


class MemoryLine(Line):
    """A serial line with simulated meters at its far end. Set `plugged` to False to pull it out."""

    def __init__(self, *meters: SimulatedMeter) -> None:
        super().__init__("/dev/line", paced=True)
        self.plugged = True
        self.asked: list[tuple[int, int]] = []
        """Unit and first address of each request so far."""
        self.asked_at: list[float] = []
        self._far_end = SimulatedLine(*meters, rtu=True)
        self._answers = b""

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _open(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.plugged:
            raise LineLost(f"{self.name} is gone; plug it in again")
        self._answers = b""

    async def _after_silence(self, timeout_s: float) -> None:
        await trio.lowlevel.checkpoint()

    def _exchange(self, unit: int, block: Block) -> Exchange:
        self.asked.append((unit, block.address))
        return RtuExchange(unit, block.function, block.address, block.count)

    async def _write(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.asked_at.append(trio.current_time())
        self._answers += self._far_end.feed(data)

    async def _read(self) -> bytes:
        await trio.lowlevel.checkpoint()
        if not self._answers:
            await trio.sleep_forever()
        answers, self._answers = self._answers, b""
        return answers
