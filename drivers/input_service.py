"""Polling of digital inputs: one task per module. What cannot be read is not published."""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import trio

from drivers.bus_registry import BusRegistry
from drivers.coded_text import coded
from drivers.errors import DriverError, InputError
from drivers.gpio import GpioLines
from drivers.input_modules import load_input_module
from drivers.modbus.pymodbus_frames import DeviceException
from drivers.settings import BusSettings, InputModuleSettings

log = logging.getLogger("drivers.inputs")

PublishInputs = Callable[[str, tuple[bool, ...]], None]
"""Called with a module's id and, for each of its inputs, True if its contact is closed."""

INPUT_PRIORITY = 1
"""Inputs are read before meters where both wait for the same bus: one may be a dimming contact."""


class _InputReader(ABC):
    @abstractmethod
    async def read(self) -> tuple[bool, ...]:
        """Read for each contact if it is closed. Raises DriverError."""

    @abstractmethod
    async def close(self) -> None:
        """Release what was opened."""


class _ModbusReader(_InputReader):
    def __init__(self, settings: InputModuleSettings, buses: BusRegistry) -> None:
        self._settings = settings
        self._buses = buses
        self._bus = buses.attach(input_bus_settings(settings))
        self._range = load_input_module(settings.driver).range_of(settings.inputs)

    async def read(self) -> tuple[bool, ...]:
        settings = self._settings
        answer = await self._bus.read(settings.unit, self._range, settings.timeout_s, priority=INPUT_PRIORITY)
        if isinstance(answer, DeviceException):
            raise InputError(
                coded(
                    'it answers {answer}; is "{driver}" the right driver?',
                    answer=answer,
                    driver=settings.driver,
                )
            )
        first = min(settings.inputs)
        return tuple(bool(answer.values[number - first]) for number in settings.inputs)

    async def close(self) -> None:
        await self._buses.detach(self._bus)


class _GpioReader(_InputReader):
    def __init__(self, settings: InputModuleSettings) -> None:
        self._settings = settings
        self._lines: GpioLines | None = None

    async def read(self) -> tuple[bool, ...]:
        await trio.lowlevel.checkpoint()
        try:
            if self._lines is None:
                self._lines = GpioLines(self._settings.device, self._settings.inputs)
            return self._lines.read_closed()
        except InputError:
            await self.close()
            raise

    async def close(self) -> None:
        await trio.lowlevel.checkpoint()
        if self._lines is not None:
            self._lines.close()
            self._lines = None


async def run_digital_inputs(
    modules: Sequence[InputModuleSettings], publish: PublishInputs, registry: BusRegistry | None = None
) -> None:
    """Poll all modules until cancelled. Modules on buses of `registry` share them with its other users.

    Raises ModelFileError for a driver that is unknown.
    """
    buses = registry or BusRegistry()
    async with trio.open_nursery() as nursery:
        for module in modules:
            reader = _GpioReader(module) if module.transport == "gpio" else _ModbusReader(module, buses)
            nursery.start_soon(_poll, module, reader, publish)


async def _poll(module: InputModuleSettings, reader: _InputReader, publish: PublishInputs) -> None:
    failed_at: float | None = None
    due = trio.current_time()
    try:
        while True:
            try:
                levels = await reader.read()
            except DriverError as error:
                if failed_at is None:
                    log.warning("digital inputs failed module=%s problem=%s", module.id, error)
                    failed_at = trio.current_time()
            else:
                if failed_at is not None:
                    after_s = trio.current_time() - failed_at
                    log.info("digital inputs recovered module=%s after=%.0fs", module.id, after_s)
                failed_at = None
                publish(module.id, levels)
            due = max(due + module.interval_s, trio.current_time())
            await trio.sleep_until(due)
    finally:
        with trio.CancelScope(shield=True):
            await reader.close()


def input_bus_settings(settings: InputModuleSettings) -> BusSettings:
    """Return the settings of the bus that a Modbus module is connected to."""
    if settings.transport == "rtu":
        defaults = load_input_module(settings.driver).serial
        return BusSettings(
            transport="rtu",
            device=settings.device,
            baud=settings.baud or defaults.baud,
            parity=settings.parity or defaults.parity,
            stopbits=settings.stopbits or defaults.stopbits,
        )
    assert settings.transport != "gpio"
    return BusSettings(transport=settings.transport, host=settings.host, port=settings.port)
