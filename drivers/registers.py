"""Meters as data: which register holds which quantity, of what type, scale and sign.

One file in `drivers/meters/` is one `RegisterMap`. Addresses are PDU addresses, counted from 0; for a
SunSpec model they count from the register that holds the model's id.
"""

from __future__ import annotations

import difflib
import math
import struct
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

Quantity = Literal[
    "voltage_l1",
    "voltage_l2",
    "voltage_l3",
    "current_l1",
    "current_l2",
    "current_l3",
    "power_active_l1",
    "power_active_l2",
    "power_active_l3",
    "power_active_total",
    "frequency",
    "energy_import_total",
    "energy_export_total",
]
"""What a register may hold, in V, A, W, Hz, Wh."""

_FORMATS = {
    "int16": ">h",
    "uint16": ">H",
    "int32": ">i",
    "uint32": ">I",
    "int64": ">q",
    "uint64": ">Q",
    "float32": ">f",
    "float64": ">d",
}

SCALE_UNKNOWN = -0x8000
"""A SunSpec scale factor that is not implemented."""


class RegisterFileWrong(Exception):
    """A register map that cannot be used. Its text names the file, the place and the mend."""


class Register(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Where one quantity stands: value = register * `scale`, or * 10 ** (register at `scale_register`).

    `no_value` is the pattern that means "not measured": the `max` or `min` of the type, `zero`, or
    `overflow` (a most significant word of 0x7FFF). NaN always does. `confirmed` false: one source only.
    """

    quantity: Quantity
    function: Literal[3, 4]
    address: int
    type: Literal["int16", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
    word_order: Literal["big", "little"] = "big"
    scale: float = 1.0
    scale_register: int | None = None
    no_value: Literal["max", "min", "zero", "overflow"] | None = None
    optional: bool = False
    confirmed: bool = True

    @property
    def words(self) -> int:
        """How many registers of 16 bits it takes."""
        return struct.calcsize(_FORMATS[self.type]) // 2

    def decode(self, words: Sequence[int], exponent: int | None = None) -> float | None:
        """The value in its unit; None where the meter says that it has none.

        `exponent` is what `scale_register` holds, as a signed number.
        """
        value = self._number(words)
        if self._says_nothing(value) or math.isnan(value):
            return None
        if self.scale_register is None:
            return float(value * self.scale)
        if exponent is None or exponent == SCALE_UNKNOWN or abs(exponent) > 10:  # SunSpec: -10 to 10
            return None
        return float(value * 10.0**exponent)

    def encode(self, value: float | None, exponent: int = 0) -> list[int]:
        """The inverse of `decode`, for simulated meters. None gives the no-value pattern."""
        pattern = _FORMATS[self.type]
        if value is None:
            raw = self._nothing()
        else:
            factor = self.scale if self.scale_register is None else 10.0**exponent
            raw = value / factor if "float" in self.type else round(value / factor)
        words = list(struct.unpack(f">{self.words}H", struct.pack(pattern, raw)))
        return words[::-1] if self.word_order == "little" else words

    def _number(self, words: Sequence[int]) -> float:
        ordered = words[::-1] if self.word_order == "little" else words
        number: float = struct.unpack(_FORMATS[self.type], struct.pack(f">{self.words}H", *ordered))[0]
        return number

    def _says_nothing(self, value: float) -> bool:
        if self.no_value is None:
            return False
        if self.no_value == "overflow":
            return value >= 0x7FFF << 16 * (self.words - 1)
        return value == self._nothing()

    def _nothing(self) -> float:
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


class Reads(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the meter wants to be read: registers in one request at most, and the pause before each (ms)."""

    max_registers: int = 125
    gap_ms: float = 0.0


class SerialDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How the meter's serial line is set when it comes from the factory."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class SunSpecModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which SunSpec models the map describes, the commonest first. `bases`: where "SunS" may stand."""

    models: tuple[int, ...]
    length: int
    bases: tuple[int, ...]


class RegisterMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One meter. `current_sign` magnitude: a current has no direction of its own, its phase's power has."""

    vendor: str
    model: str
    phases: Literal[1, 2, 3]
    transports: tuple[Literal["tcp", "rtu"], ...]
    current_sign: Literal["magnitude", "signed"]
    sources: tuple[str, ...]
    notes: tuple[str, ...] = ()
    read: Reads = Reads()
    serial: SerialDefaults = SerialDefaults()
    sunspec: SunSpecModel | None = None
    register: tuple[Register, ...]

    def at(self, quantity: str) -> Register | None:
        """The register of a quantity, if the meter has it."""
        return next((register for register in self.register if register.quantity == quantity), None)


def list_maps() -> list[str]:
    """The names of all meters that are known, e.g. `eastron-sdm630-v2`."""
    folder = resources.files("drivers.meters")
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


@cache
def load_map(name: str) -> RegisterMap:
    """The register map of a meter. Raises RegisterFileWrong for an unknown name or a bad file."""
    if name not in list_maps():
        near = difflib.get_close_matches(name, list_maps(), 1)
        mend = f'did you mean "{near[0]}"?' if near else f"known are {', '.join(list_maps())}"
        raise RegisterFileWrong(f'no meter "{name}" is known; {mend}')
    return parse_map(resources.files("drivers.meters").joinpath(f"{name}.toml").read_text(), f"{name}.toml")


def parse_map(text: str, file: str) -> RegisterMap:
    """A register map from its TOML text. Raises RegisterFileWrong with the file and the place."""
    try:
        found = msgspec.convert(tomllib.loads(text), RegisterMap)
    except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
        raise RegisterFileWrong(f"{file}: {error}") from error
    if mistakes := list(_mistakes(found)):
        raise RegisterFileWrong("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return found


def _mistakes(found: RegisterMap) -> Iterator[str]:
    quantities = [register.quantity for register in found.register]
    for quantity, times in Counter(quantities).items():
        if times > 1:
            yield f"{quantity} stands there twice; remove one"
    for phase in range(1, found.phases + 1):
        if f"current_l{phase}" not in quantities:
            yield f"current_l{phase} is missing; without it no circuit can be guarded"
    first, end = (2, 2 + found.sunspec.length) if found.sunspec is not None else (0, 0x10000)
    for register in found.register:
        if register.address < first or register.address + register.words > end:
            yield f"{register.quantity}: address {register.address} is not within {first} to {end - 1}"
        if (register.scale_register is not None) != (found.sunspec is not None and "int" in register.type):
            yield f"{register.quantity}: SunSpec integers need a scale_register, others have none"
        if register.scale_register is not None and not first <= register.scale_register < end:
            yield f"{register.quantity}: scale_register is not within {first} to {end - 1}"
        if register.words > found.read.max_registers:
            yield f"{register.quantity}: takes more than max_registers = {found.read.max_registers}"
