"""One register of a meter: its quantity, type, scale and place, and the conversion of its value."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

Quantity = Literal[
    "voltage_l1", "voltage_l2", "voltage_l3",
    "current_l1", "current_l2", "current_l3", "current_n",
    "power_active_l1", "power_active_l2", "power_active_l3", "power_active_total",
    "power_import_l1", "power_import_l2", "power_import_l3", "power_import_total",
    "power_export_l1", "power_export_l2", "power_export_l3", "power_export_total",
    "power_reactive_l1", "power_reactive_l2", "power_reactive_l3", "power_reactive_total",
    "power_factor_l1", "power_factor_l2", "power_factor_l3", "power_factor_total",
    "frequency",
    "energy_import_total", "energy_import_l1", "energy_import_l2", "energy_import_l3",
    "energy_export_total", "energy_export_l1", "energy_export_l2", "energy_export_l3",
    "energy_import_tariff1", "energy_import_l1_tariff1", "energy_import_l2_tariff1",
    "energy_import_l3_tariff1", "energy_export_tariff1", "energy_export_l1_tariff1",
    "energy_export_l2_tariff1", "energy_export_l3_tariff1", "energy_total_import_plus_export",
]  # fmt: skip
"""Quantities that a register may hold. A phase's import and export power make its active power."""

UNITS = {
    "voltage": "V", "current": "A", "power_active": "W", "power_import": "W", "power_export": "W",
    "power_reactive": "var", "power_factor": "", "frequency": "Hz", "energy": "Wh",
}  # fmt: skip
"""Unit by the beginning of a quantity's name."""

_FORMATS = {
    "int16": ">h", "uint16": ">H", "int32": ">i", "uint32": ">I", "int64": ">q", "uint64": ">Q",
    "float32": ">f", "float64": ">d", "iskra_t5": ">I", "iskra_t6": ">I", "iskra_t7": ">I",
}  # fmt: skip
WORDS = {kind: struct.calcsize(text) // 2 for kind, text in _FORMATS.items()}
"""Number of registers (16 bits each) by type."""
_PACK_WORDS = {count: struct.Struct(f">{count}H") for count in (1, 2, 4)}

SCALE_NOT_IMPLEMENTED = -0x8000
"""SunSpec scale factor that is not implemented (Information Model, 6.4)."""
MAX_EXPONENT = 10


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Place of one quantity: value = register * `scale`, or * 10 ** (register at `scale_register`).

    `no_value` is the pattern that means "not measured": the `max` or `min` of the type, `zero`, or
    `overflow` (a most significant word of 0x7FFF). NaN always does. `optional`: some units lack it.
    `alternative`: a second place of the same quantity, which is not read. `confirmed` false: only one
    source was found. `sources`: keys of the model's sources.
    """

    quantity: Quantity
    function: Literal[3, 4]
    address: int
    type: Literal[
        "int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64",
        "iskra_t5", "iskra_t6", "iskra_t7",
    ]  # fmt: skip
    word_order: Literal["big", "little"] = "big"
    scale: float = 1.0
    scale_register: int | None = None
    no_value: Literal["max", "min", "zero", "overflow"] | None = None
    optional: bool = False
    alternative: bool = False
    confirmed: bool = True
    sources: tuple[str, ...] = ()

    @property
    def words(self) -> int:
        """Number of registers (16 bits each)."""
        return WORDS[self.type]

    @property
    def unit(self) -> str:
        """Unit of the decoded value, e.g. "V"; empty for a power factor."""
        return unit_of(self.quantity)

    def decode(self, words: Sequence[int], exponent: int | None = None) -> float | None:
        """Decode registers to the value in its unit; see `decode_registers`."""
        return decode_registers([(self, words, exponent)])[0]

    def encode(self, value: float | None, exponent: int = 0) -> list[int]:
        """Encode a value as registers, the inverse of `decode`. None gives the no-value pattern."""
        raw: float
        if value is None:
            raw = self._no_value_pattern()
        elif self.type.startswith("iskra"):
            raw = _encode_iskra(self.type, value / self.scale)
        else:
            factor = self.scale if self.scale_register is None else 10.0**exponent
            raw = value / factor if "float" in self.type else round(value / factor)
        words = list(_PACK_WORDS[self.words].unpack(struct.pack(_FORMATS[self.type], raw)))
        return words[::-1] if self.word_order == "little" else words

    def is_no_value(self, value: float) -> bool:
        """Return True if a content that is not scaled yet means "not measured"."""
        if self.no_value == "overflow":
            return value >= 0x7FFF << 16 * (self.words - 1)
        return value == self._no_value_pattern()

    def _no_value_pattern(self) -> float:
        bits = 16 * self.words
        signed = not self.type.startswith("u")
        match self.no_value:
            case "max" | "overflow":
                return (1 << bits - 1) - 1 if signed else (1 << bits) - 1
            case "min":
                return -(1 << bits - 1) if signed else 0
            case "zero":
                return 0
        return math.nan


def decode_registers(
    contents: Iterable[tuple[Register, Sequence[int], int | None]],
) -> list[float | None]:
    """Decode the contents of registers to values in their units; None where the meter has no value.

    The last of each row is the signed content of its `scale_register`.
    """
    values: list[float | None] = []
    for register, words, exponent in contents:
        ordered = words[::-1] if register.word_order == "little" else words
        raw: float = struct.unpack(_FORMATS[register.type], _PACK_WORDS[len(ordered)].pack(*ordered))[0]
        if raw != raw or (register.no_value is not None and register.is_no_value(raw)):
            values.append(None)
            continue
        if register.type.startswith("iskra"):
            raw = _decode_iskra(register.type, int(raw))
        if register.scale_register is None:
            values.append(raw * register.scale)
        elif exponent is None or abs(exponent) > MAX_EXPONENT:
            values.append(None)
        else:
            values.append(float(raw * 10.0**exponent))
    return values


def _decode_iskra(kind: str, raw: int) -> float:
    """Decode the measuring formats of Iskra.

    T5: signed decimal exponent in the high byte, unsigned mantissa in the lower three; T6: the same with
    a signed mantissa; T7: sign in the high byte (0 import), absolute value in the lower word.
    """
    high, mantissa = raw >> 24, raw & 0xFFFFFF
    if kind == "iskra_t7":
        return float(raw & 0xFFFF) * (-1.0 if high else 1.0)
    if kind == "iskra_t6" and mantissa & 0x800000:
        mantissa -= 0x1000000
    exponent = high - 0x100 if high & 0x80 else high
    return float(mantissa * 10.0**exponent)


def _encode_iskra(kind: str, value: float) -> int:
    if kind == "iskra_t7":
        return (0xFF000000 if value < 0 else 0) | round(abs(value)) & 0xFFFF
    exponent = -3
    while abs(value) / 10.0**exponent > 0x7FFFFF:
        exponent += 1
    return (exponent & 0xFF) << 24 | round(value / 10.0**exponent) & 0xFFFFFF


def unit_of(quantity: str) -> str:
    """Return the unit of a quantity; empty for a power factor."""
    return next(unit for beginning, unit in UNITS.items() if quantity.startswith(beginning))
