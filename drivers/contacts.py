"""Polling contacts: one task a module. What cannot be read is not published, and told once."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import trio

from drivers.gpio import GpioFailed, GpioLines
from drivers.input_maps import load_input_map
from drivers.modbus.framing import DeviceException
from drivers.modbus.line import Line, LineLost, NoAnswer, SerialLine, TcpLine
from drivers.settings import ModuleSettings

log = logging.getLogger("drivers.contacts")

Publish = Callable[[str, tuple[bool, ...]], None]
"""Called with a module's id and, of each of its inputs, whether its contact is closed."""


class _Unreadable(Exception):
    """Nothing was read. Its text is a person's sentence."""


class _Reader(ABC):
    @abstractmethod
    async def read(self) -> tuple[bool, ...]:
        """Whether each contact is closed. Raises _Unreadable."""

    @abstractmethod
    async def close(self) -> None:
        """Let go of what was opened."""


class _ModbusReader(_Reader):
    def __init__(self, settings: ModuleSettings) -> None:
        self._settings = settings
        self._line = open_line(settings)
        self._block = load_input_map(settings.driver).block(settings.inputs)

    async def read(self) -> tuple[bool, ...]:
        settings = self._settings
        try:
            answer = await self._line.exchange(settings.unit, self._block, settings.timeout_s)
        except (LineLost, NoAnswer) as error:
            raise _Unreadable(str(error)) from error
        if isinstance(answer, DeviceException):
            raise _Unreadable(f'it answers {answer}; is "{settings.driver}" the right driver?')
        first = min(settings.inputs)
        return tuple(bool(answer.values[number - first]) for number in settings.inputs)

    async def close(self) -> None:
        await self._line.close()


class _GpioReader(_Reader):
    def __init__(self, settings: ModuleSettings) -> None:
        self._settings = settings
        self._lines: GpioLines | None = None

    async def read(self) -> tuple[bool, ...]:
        await trio.lowlevel.checkpoint()
        try:
            if self._lines is None:
                self._lines = GpioLines(self._settings.device, self._settings.inputs)
            return self._lines.closed()
        except GpioFailed as error:
            await self.close()
            raise _Unreadable(str(error)) from error

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._lines is not None:
            self._lines.close()
            self._lines = None


async def run_contacts(modules: Sequence[ModuleSettings], publish: Publish) -> None:
    """Poll all modules until cancelled. Raises KeyError for a driver that is not known."""
    async with trio.open_nursery() as nursery:
        for module in modules:
            reader = _GpioReader(module) if module.transport == "gpio" else _ModbusReader(module)
            nursery.start_soon(_poll, module, reader, publish)


async def _poll(module: ModuleSettings, reader: _Reader, publish: Publish) -> None:
    told = ""
    due = trio.current_time()
    try:
        while True:
            try:
                levels = await reader.read()
            except _Unreadable as error:
                if not told:
                    log.warning("contacts %s cannot be read: %s", module.id, error)
                told = str(error)
            else:
                if told:
                    log.warning("contacts %s are read again", module.id)
                told = ""
                publish(module.id, levels)
            due = max(due + module.interval_s, trio.current_time())
            await trio.sleep_until(due)
    finally:
        with trio.CancelScope(shield=True):
            await reader.close()


def open_line(settings: ModuleSettings) -> Line:
    """The line that a Modbus module hangs on; nothing is opened before the first exchange."""
    if settings.transport == "rtu":
        defaults = load_input_map(settings.driver).serial
        return SerialLine(
            settings.device,
            settings.baud or defaults.baud,
            settings.parity or defaults.parity,
            settings.stopbits or defaults.stopbits,
        )
    return TcpLine(settings.host, settings.port, rtu=settings.transport == "rtu-over-tcp")
