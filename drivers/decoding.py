"""From registers to a reading: what to read in which requests, and what the answers mean. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import msgspec

from drivers.reading import PerPhase, Reading
from drivers.registers import Register, RegisterMap

MOST_AMPS = 20_000.0
MOST_VOLTS = 1_500.0
MOST_WATTS = 30_000_000.0
"""Beyond, a value is nonsense on any low-voltage connection."""


class Block(msgspec.Struct, frozen=True):
    """One read request: `count` registers from `address`, with function 3 or 4."""

    function: int
    address: int
    count: int

    def has(self, address: int, words: int) -> bool:
        """Whether the registers lie inside."""
        return self.address <= address and address + words <= self.address + self.count


class Implausible(msgspec.Struct, frozen=True):
    """The meter answered, but with values that cannot be. `why` is a person's sentence."""

    why: str


def plan(register_map: RegisterMap, base: int = 0, *, tight: bool = False) -> list[Block]:
    """The fewest requests that read everything: a gap is cheaper than a request.

    `tight` leaves no gaps and keeps optional registers apart, for meters that refuse to read registers
    which they do not have. `base` is added to all addresses (SunSpec: where the model's id stands).
    SunSpec models are read whole but for id and length, so that a value and its scale factor come from
    one answer.
    """
    if register_map.sunspec is not None:
        return [Block(register_map.register[0].function, base + 2, register_map.sunspec.length)]
    blocks: list[Block] = []
    before: Register | None = None
    for register in sorted(register_map.register, key=lambda each: (each.function, each.address)):
        joins = before is not None and before.function == register.function
        if tight and before is not None:
            adjacent = register.address == before.address + before.words
            joins = joins and adjacent and register.optional == before.optional
        start, end = base + register.address, base + register.address + register.words
        if joins and end - blocks[-1].address <= register_map.read.max_registers:
            blocks[-1] = Block(register.function, blocks[-1].address, end - blocks[-1].address)
        else:
            blocks.append(Block(register.function, start, register.words))
        before = register
    return blocks


def decode(
    register_map: RegisterMap,
    answers: Mapping[Block, Sequence[int]],
    time: float,
    *,
    base: int = 0,
    invert: bool = False,
) -> Reading | Implausible:
    """The reading that the blocks' registers make up, at the monotonic `time` (s).

    `invert` turns the sign of all currents and powers, and swaps the energy counters: for a meter
    whose current flows through it the other way round.
    """
    values: dict[str, float | None] = {}
    for register in register_map.register:
        values[register.quantity] = _value(register, answers, base)
    nonsense = _nonsense(register_map, values)
    if nonsense:
        return Implausible(nonsense)
    power = _phases(values, "power_active")
    current = _phases(values, "current")
    if register_map.current_sign == "magnitude":
        current = _directed(current, power)
    total = values.get("power_active_total")
    energy = (values.get("energy_import_total"), values.get("energy_export_total"))
    if invert:
        current, power = _turned(current), _turned(power)
        total, energy = None if total is None else -total, energy[::-1]
    return Reading(
        time=time,
        current_a=current,
        voltage_v=_phases(values, "voltage"),
        power_w=power,
        power_total_w=total,
        energy_import_wh=energy[0],
        energy_export_wh=energy[1],
        frequency_hz=values.get("frequency"),
    )


def _value(register: Register, answers: Mapping[Block, Sequence[int]], base: int) -> float | None:
    words = _words(answers, register.function, base + register.address, register.words)
    if words is None:
        return None
    if register.scale_register is None:
        return register.decode(words)
    scale = _words(answers, register.function, base + register.scale_register, 1)
    if scale is None:
        return None
    exponent = scale[0] - 0x10000 if scale[0] & 0x8000 else scale[0]
    return register.decode(words, exponent)


def _words(
    answers: Mapping[Block, Sequence[int]], function: int, address: int, count: int
) -> Sequence[int] | None:
    for block, words in answers.items():
        if block.function == function and block.has(address, count):
            return words[address - block.address : address - block.address + count]
    return None


def _nonsense(register_map: RegisterMap, values: Mapping[str, float | None]) -> str:
    for phase in range(1, register_map.phases + 1):
        if values.get(f"current_l{phase}") is None:
            return f"it has no value for current_l{phase}; check its driver and wiring"
    most = {"current": MOST_AMPS, "voltage": MOST_VOLTS, "power": MOST_WATTS}
    for quantity, value in values.items():
        bound = most.get(quantity.split("_")[0], math.inf)
        if value is not None and not abs(value) <= bound:
            return f"{quantity} is {value:g}, which cannot be; check its driver"
        if value is not None and math.isinf(value):
            return f"{quantity} is infinite"
    return ""


def _phases(values: Mapping[str, float | None], quantity: str) -> PerPhase:
    return (values.get(f"{quantity}_l1"), values.get(f"{quantity}_l2"), values.get(f"{quantity}_l3"))


def _directed(current: PerPhase, power: PerPhase) -> PerPhase:
    first, second, third = (
        amps if amps is None or watts is None else math.copysign(amps, watts if watts else 1.0)
        for amps, watts in zip(current, power, strict=True)
    )
    return (first, second, third)


def _turned(values: PerPhase) -> PerPhase:
    first, second, third = (None if value is None else -value for value in values)
    return (first, second, third)
