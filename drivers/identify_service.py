"""Search for meters on a bus: line settings, unit numbers, models. Reads only, with pauses between."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence

import msgspec
import trio

from drivers.bus_registry import open_bus
from drivers.errors import DriverError, ModbusAnswerError, SunSpecError
from drivers.identification import Candidate, ModelTrial
from drivers.meter_model import list_models, load_model
from drivers.modbus.bus import Bus
from drivers.modbus.pymodbus_frames import Registers
from drivers.read_plan import ReadRange
from drivers.settings import BusSettings
from drivers.sunspec import SunSpecDiscovery, SunSpecMeter

BAUDS = (9600, 19200, 38400, 115200, 2400, 4800, 57600)
PARITIES = ("N", "E", "O")
SERIAL_UNITS = (1, 2, 3, 4, 5, 11, 33)
TCP_UNITS = (1, 2, 3, 71, 100, 247, 255)
"""Unit numbers on delivery, most frequent first."""
PRESENCE = (ReadRange(4, 0, 2), ReadRange(3, 0, 2))
"""Reads that every device answers, be it with an exception."""
PAUSE_S = 0.05
SERIAL_WAIT_S, TCP_WAIT_S = 0.3, 3.0

Report = Callable[[str], None]


class FoundMeter(msgspec.Struct, frozen=True):
    """A device that answers: where, its candidates (best first), its SunSpec meters."""

    settings: BusSettings
    unit: int
    candidates: tuple[Candidate, ...]
    sunspec: tuple[SunSpecMeter, ...]


async def identify_meters(
    settings: Sequence[BusSettings], units: Iterable[int], report: Report
) -> list[FoundMeter]:
    """Search all units with each of the bus settings, until a unit answers.

    `report` gets a line about each step. Raises BusError if the bus cannot be opened.
    """
    for each in settings:
        bus = open_bus(each)
        try:
            report(f"trying {_described(each)}")
            found = [await _identify(bus, each, unit, report) for unit in units if await _answers(bus, unit)]
        finally:
            with trio.CancelScope(shield=True):
                await bus.close()
        if found:
            return found
    return []


def serial_settings_to_try(device: str, baud: int | None, parity: str | None) -> list[BusSettings]:
    """List the settings of a serial port to try, most frequent first."""
    return [
        BusSettings(transport="rtu", device=device, baud=each, parity=kind)
        for each in ((baud,) if baud else BAUDS)
        for kind in ((parity,) if parity else PARITIES)
    ]


async def _answers(bus: Bus, unit: int) -> bool:
    wait_s = SERIAL_WAIT_S if bus.serial_timing else TCP_WAIT_S
    with contextlib.suppress(ModbusAnswerError):
        await bus.read(unit, PRESENCE[0], wait_s, gap_s=PAUSE_S)
        return True
    return False


async def _identify(bus: Bus, settings: BusSettings, unit: int, report: Report) -> FoundMeter:
    report(f"unit {unit} answers; comparing models")
    known: dict[ReadRange, tuple[int, ...] | None] = {}
    candidates: list[Candidate] = []
    for name in list_models():
        model = load_model(name)
        if model.sunspec is not None:
            continue
        trial = ModelTrial(name, model, known)
        while (read_range := trial.next_range) is not None:
            words = known[read_range] = await _read(bus, unit, read_range)
            trial.answer(words)
        if trial.candidate is not None and trial.candidate.score > 0:
            candidates.append(trial.candidate)
    candidates.sort(key=lambda each: -each.score)
    return FoundMeter(settings, unit, tuple(candidates), await _sunspec_meters(bus, unit))


async def _read(bus: Bus, unit: int, read_range: ReadRange) -> tuple[int, ...] | None:
    """Read registers; None if the device refuses them or does not answer."""
    wait_s = 2 * SERIAL_WAIT_S if bus.serial_timing else TCP_WAIT_S
    try:
        answer = await bus.read(unit, read_range, wait_s, gap_s=PAUSE_S)
    except DriverError:
        return None
    return answer.values if isinstance(answer, Registers) else None


async def _sunspec_meters(bus: Bus, unit: int) -> tuple[SunSpecMeter, ...]:
    discovery = SunSpecDiscovery()
    try:
        while (read_range := discovery.next_range()) is not None:
            words = await _read(bus, unit, read_range)
            if words is None:
                discovery.refuse("no registers")
            else:
                discovery.store(words)
    except SunSpecError:
        return ()
    return tuple(discovery.meters)


def _described(settings: BusSettings) -> str:
    if settings.transport == "rtu":
        return f"{settings.device} at {settings.baud} 8{settings.parity}{settings.stopbits}"
    return f"{settings.host}:{settings.port} ({settings.transport})"
