"""Decoding of a meter's registers to a reading, and the checks that each reading must pass. Sans-IO.

A value that no low-voltage connection can have, a float of next to nothing (two registers in the wrong
order at a round value), and an active power above the apparent power of its phase (a wrong scale or word
order) make the reading implausible: such values are nowhere used.

Currents without a direction of their own get it from the power of their phase. Where that is missing,
the total power serves as far as it proves the direction: a phase feeds in if the others together could not
feed in what the total shows. A phase whose direction stays unknown counts as import, the worst case.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import msgspec

from drivers.coded_text import coded, decimal
from drivers.errors import Cause
from drivers.meter_model import MeterModel
from drivers.read_plan import RegisterImage
from drivers.reading import NO_VALUES, PerPhase, Reading
from drivers.register import WORDS, Register, decode_registers

MAX_AMPS = 20_000.0
MAX_VOLTS = 1_500.0
MAX_WATTS = 30_000_000.0
"""Beyond, a value is impossible on any low-voltage connection."""
MIN_FLOAT = 1e-25
"""A float that is not zero and smaller is made of registers in the wrong order (230.0 V: 2.4e-41)."""
APPARENT_TOLERANCE = 1.25
APPARENT_TOLERANCE_W = 150.0
TOTAL_TOLERANCE = 0.1
TOTAL_TOLERANCE_W = 200.0
"""Difference between the phases' powers and their total: so much, and this part of what flows."""
HIGHEST_PHASE_V = 265.0
"""Voltage of a phase that is not measured (230 V + 15 %), for the most that it may carry."""
TENFOLD_FREQUENCY_HZ = 100.0
"""Some firmware reports the frequency times ten."""
WORKING_AMPS = 1.0
"""A phase with less has no usable direction."""


class Implausible(msgspec.Struct, frozen=True):
    """Values of a meter that cannot be, in a sentence.

    `contradiction`: the values exclude each other. While the load changes they may do so for a moment,
    as a meter renews them at different times.
    """

    problem: str
    cause: Cause = Cause.IMPOSSIBLE_VALUE
    contradiction: bool = False


class Wiring(msgspec.Struct, frozen=True):
    """Installation of a meter.

    `invert`: the current flows through it in the other direction; the energy counters change places.
    `ct_ratio`: factor for currents, powers and energies of a meter that shows them secondary.
    `phase_order`: the site's phase (1 to 3) on each of the meter's phases.
    """

    invert: bool = False
    ct_ratio: float = 1.0
    phase_order: tuple[int, int, int] = (1, 2, 3)


def decode_values(model: MeterModel, image: RegisterImage, base: int = 0) -> dict[str, float | None]:
    """Decode all quantities whose registers were read; None where the meter has no value."""
    registers = model.by_quantity
    found = image.get_all(
        [(each.function, base + each.address, WORDS[each.type]) for each in registers.values()]
    )
    read: dict[str, tuple[Register, list[int], int | None]] = {}
    for (quantity, register), words in zip(registers.items(), found, strict=True):
        if words is None:
            continue
        scale = None
        if register.scale_register is not None:
            scale = image.get(register.function, base + register.scale_register, 1)
        exponent = None if scale is None else scale[0] - 0x10000 if scale[0] & 0x8000 else scale[0]
        read[quantity] = (register, words, exponent)
    values = dict(zip(read, decode_registers(read.values()), strict=True))
    for suffix in ("l1", "l2", "l3", "total"):
        if f"power_active_{suffix}" not in values and f"power_import_{suffix}" in values:
            imported, exported = values[f"power_import_{suffix}"], values.get(f"power_export_{suffix}")
            known = imported is not None and exported is not None
            values[f"power_active_{suffix}"] = (imported or 0.0) - (exported or 0.0) if known else None
    return values


def decode_reading(
    model: MeterModel,
    image: RegisterImage,
    time: float,
    *,
    base: int = 0,
    phases: int | None = None,
    wiring: Wiring | None = None,
) -> Reading | Implausible:
    """Decode the reading of the monotonic `time` (s). `phases`: how many must have a value."""
    values = decode_values(model, image, base)
    count = phases or model.phases
    if problem := _find_impossible(model, values, count):
        return problem
    current, voltage = _per_phase(values, "current", count), _per_phase(values, "voltage", count)
    power, total = _per_phase(values, "power_active", count), values.get("power_active_total")
    if count == 1 and power[0] is None and total is not None:
        power = (total, None, None)
    problem = _check_apparent_power(current, voltage, power) or _check_total(power, total)
    if problem:
        return problem
    unknown: tuple[int, ...] = ()
    if model.current_sign != "signed":
        current, unknown = _with_direction(current, voltage, power, total)
    frequency = values.get("frequency")
    reading = Reading(
        time=time,
        current_a=current,
        voltage_v=voltage,
        power_w=power,
        power_total_w=total,
        energy_import_wh=values.get("energy_import_total"),
        energy_export_wh=values.get("energy_export_total"),
        frequency_hz=frequency / 10 if frequency and frequency > TENFOLD_FREQUENCY_HZ else frequency,
        direction_unknown=unknown,
    )
    return reading if wiring is None or wiring == Wiring() else apply_wiring(reading, wiring)


def apply_wiring(reading: Reading, wiring: Wiring) -> Reading:
    """Convert a reading from the meter's terminals to the site's phases and directions."""
    factor = -wiring.ct_ratio if wiring.invert else wiring.ct_ratio
    energies = (
        _times(reading.energy_import_wh, wiring.ct_ratio),
        _times(reading.energy_export_wh, wiring.ct_ratio),
    )
    if wiring.invert:
        energies = energies[::-1]
    current = _scaled(reading.current_a, factor)
    if reading.direction_unknown:  # the worst case stays an import, in either direction of the meter
        first, second, third = (
            abs(amps) if amps is not None and phase in reading.direction_unknown else amps
            for phase, amps in enumerate(current, start=1)
        )
        current = (first, second, third)
    order = wiring.phase_order
    return msgspec.structs.replace(
        reading,
        current_a=_ordered(current, order),
        voltage_v=_ordered(reading.voltage_v, order),
        power_w=_ordered(_scaled(reading.power_w, factor), order),
        power_total_w=_times(reading.power_total_w, factor),
        energy_import_wh=energies[0],
        energy_export_wh=energies[1],
        direction_unknown=tuple(sorted(order[phase - 1] for phase in reading.direction_unknown)),
    )


def _find_impossible(
    model: MeterModel, values: Mapping[str, float | None], phases: int
) -> Implausible | None:
    for phase in range(1, phases + 1):
        quantity = f"current_l{phase}"
        if quantity not in model.by_quantity:
            quantity = f"power_active_l{phase}"
        if values.get(quantity) is None:
            return Implausible(
                coded("it has no value for {quantity}; check its model and wiring", quantity=quantity),
                Cause.MISSING_VALUE,
            )
    limits = {"current": MAX_AMPS, "voltage": MAX_VOLTS, "power": MAX_WATTS}
    for quantity, value in values.items():
        if value is None or value == 0.0:
            continue
        limit = limits.get(quantity.partition("_")[0], math.inf)
        if not abs(value) <= limit or math.isinf(value):
            return Implausible(
                coded(
                    "{quantity} is {value}, which is impossible; check its model",
                    quantity=quantity,
                    value=decimal(value),
                )
            )
        if abs(value) < MIN_FLOAT:
            return Implausible(
                coded(
                    "{quantity} is {value}: the registers of a value come in the wrong order; check its "
                    "model and the word order that its gateway is set to",
                    quantity=quantity,
                    value=decimal(value),
                )
            )
    return None


def _check_apparent_power(current: PerPhase, voltage: PerPhase, power: PerPhase) -> Implausible | None:
    for phase, (amps, volts, watts) in enumerate(zip(current, voltage, power, strict=True), start=1):
        if amps is None or volts is None or watts is None:
            continue
        if abs(watts) > APPARENT_TOLERANCE * abs(amps * volts) + APPARENT_TOLERANCE_W:
            return Implausible(
                coded(
                    "L{phase} shows {watts} W at {amps} A and {volts} V, which is impossible; check its "
                    "model, its scale factors and its transformers",
                    phase=phase,
                    watts=f"{watts:.0f}",
                    amps=decimal(amps, ".2f"),
                    volts=decimal(volts, ".1f"),
                ),
                contradiction=True,
            )
    return None


def describe_contradiction(power: PerPhase, total: float | None) -> str:
    """Describe that the powers of three phases do not make their total (W); empty if they do."""
    first, second, third = power
    if first is None or second is None or third is None or total is None:
        return ""
    tolerance_w = TOTAL_TOLERANCE_W + TOTAL_TOLERANCE * (abs(first) + abs(second) + abs(third))
    added_w = first + second + third
    if abs(added_w - total) <= tolerance_w:
        return ""
    return coded(
        "its phases add up to {added} W, its total is {total} W", added=f"{added_w:.0f}", total=f"{total:.0f}"
    )


def _check_total(power: PerPhase, total: float | None) -> Implausible | None:
    problem = describe_contradiction(power, total)
    if not problem:
        return None
    return Implausible(
        coded("{problem}; check its model and its transformers", problem=problem), contradiction=True
    )


def _with_direction(
    current: PerPhase, voltage: PerPhase, power: PerPhase, total: float | None
) -> tuple[PerPhase, tuple[int, ...]]:
    """Give each current the direction of its phase's power, else the direction of the total."""
    largest = [
        0.0 if amps is None else abs(amps) * (volts or HIGHEST_PHASE_V)
        for amps, volts in zip(current, voltage, strict=True)
    ]
    signed: list[float | None] = []
    unknown: list[int] = []
    for phase, (amps, watts) in enumerate(zip(current, power, strict=True)):
        if amps is None:
            signed.append(None)
        elif watts is not None:
            signed.append(-abs(amps) if watts < 0 else abs(amps))
        elif total is not None and total < 0 and -total > sum(largest) - largest[phase]:
            signed.append(-abs(amps))  # the other phases alone cannot feed in that much
        else:
            signed.append(abs(amps))
            if (total is None or total < 0) and abs(amps) >= WORKING_AMPS:
                unknown.append(phase + 1)
    return (signed[0], signed[1], signed[2]), tuple(unknown)


def _per_phase(values: Mapping[str, float | None], quantity: str, phases: int) -> PerPhase:
    first = values.get(f"{quantity}_l1")
    second = values.get(f"{quantity}_l2") if phases > 1 else None
    return (first, second, values.get(f"{quantity}_l3") if phases > 2 else None)


def _scaled(values: PerPhase, factor: float) -> PerPhase:
    first, second, third = (_times(value, factor) for value in values)
    return (first, second, third)


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _ordered(values: PerPhase, order: tuple[int, int, int]) -> PerPhase:
    if values == NO_VALUES or order == (1, 2, 3):
        return values
    placed: list[float | None] = [None, None, None]
    for value, phase in zip(values, order, strict=True):
        placed[phase - 1] = value
    return (placed[0], placed[1], placed[2])
