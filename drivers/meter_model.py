"""Meter models as data: which register holds which quantity, of what type, scale and sign.

One file in `drivers/meters/` is one `MeterModel`; `docs/meter-models.md` describes the format. Addresses
are PDU addresses, counted from 0; in a SunSpec layout they count from the register of the model id.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from typing import Any, Literal, get_args

import msgspec

from drivers.errors import ModelFileError
from drivers.register import Quantity, Register

SUNSPEC_BASES = (40000, 0, 50000)
"""Where the SunSpec identifier may stand, in the order of the search."""


class ReadLimits(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Limits of reads: registers in one request, pause before each request on a serial bus (ms).

    `bridge_gaps` false: a read must not touch registers that hold no known quantity.
    """

    max_registers: int = 125
    gap_ms: float = 50.0
    bridge_gaps: bool = True
    confirmed: bool = True


class SerialDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the serial interface on delivery."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1
    unit: int = 1
    baud_options: tuple[int, ...] = ()
    confirmed: bool = True


class TcpDefaults(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Settings of the network interface on delivery."""

    port: int = 502
    unit: int = 1
    confirmed: bool = True


class SunSpecLayout(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """SunSpec models that the registers describe, with the length that they announce.

    `layouts` names other model files instead: the device's model id decides which one applies.
    """

    models: tuple[int, ...] = ()
    length: int = 0
    layouts: tuple[str, ...] = ()


class Probe(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Register that identifies the model: it holds one of `values` (ascii: begins with one)."""

    function: Literal[3, 4]
    address: int
    type: Literal["uint16", "uint32", "ascii"]
    registers: int | None = None
    values: tuple[int | str, ...] = ()

    @property
    def words(self) -> int:
        """Number of registers (16 bits each)."""
        return self.registers or (2 if self.type == "uint32" else 1)

    def decode(self, words: Sequence[int]) -> int | str:
        """Decode the registers to a number or a text."""
        data = b"".join(word.to_bytes(2, "big") for word in words)
        if self.type == "ascii":
            return data.decode("ascii", "replace").strip("\0 ")
        return int.from_bytes(data, "big")

    def matches(self, words: Sequence[int]) -> bool:
        """Compare the registers with the model's values."""
        found = self.decode(words)
        if isinstance(found, str):
            return any(found.lower().startswith(str(value).lower()) for value in self.values)
        return found in self.values


class Identification(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Registers by which the model and the single device are recognized."""

    probe: tuple[Probe, ...] = ()
    serial_number: Probe | None = None
    confirmed: bool = True


class MeterModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, dict=True):
    """One meter model.

    `current_sign`: `signed` currents carry their direction; `magnitude` and `unknown` currents get it
    from the active power of their phase. `sources`: where the facts are from, by key.
    """

    vendor: str
    model: str
    phases: Literal[1, 2, 3]
    transports: tuple[Literal["tcp", "rtu", "udp"], ...]
    current_sign: Literal["magnitude", "signed", "unknown"]
    sources: dict[str, str]
    aliases: tuple[str, ...] = ()
    oem_of: str = ""
    notes: tuple[str, ...] = ()
    read: ReadLimits = ReadLimits()
    serial: SerialDefaults = SerialDefaults()
    tcp: TcpDefaults = TcpDefaults()
    sunspec: SunSpecLayout | None = None
    identify: Identification = Identification()
    register: tuple[Register, ...] = ()

    @cached_property
    def by_quantity(self) -> Mapping[str, Register]:
        """The register that is read for each quantity."""
        return {register.quantity: register for register in self.register if not register.alternative}

    @property
    def measures_each_phase(self) -> bool:
        """Tell if a circuit can be guarded with it: a current or a power of every phase."""
        if self.sunspec is not None:
            return True
        return all(
            f"current_l{phase}" in self.by_quantity or self.has_power(f"l{phase}")
            for phase in range(1, self.phases + 1)
        )

    @property
    def confirmed(self) -> bool:
        """Tell if two independent sources confirm every current and active power that is read."""
        if not self.register:
            return self.tcp.confirmed and self.serial.confirmed
        return all(
            register.confirmed
            for quantity, register in self.by_quantity.items()
            if quantity.startswith(("current_l", "power_active", "power_import", "power_export"))
        )

    def has_power(self, suffix: str) -> bool:
        """Tell if the model measures the active power of "l1", "l2", "l3" or "total"."""
        found = self.by_quantity
        return (
            f"power_active_{suffix}" in found
            or {
                f"power_import_{suffix}",
                f"power_export_{suffix}",
            }
            <= found.keys()
        )


_user_models: dict[str, MeterModel] = {}


def register_user_model(name: str, model: MeterModel) -> None:
    """Add a model of the user's; it takes precedence over one of the same name that is delivered."""
    _user_models[name] = model


def list_models() -> list[str]:
    """List the names of all models that are known, e.g. `eastron-sdm630-v2`."""
    return sorted({*_delivered_models(), *_user_models})


@cache
def _delivered_models() -> frozenset[str]:
    folder = resources.files("drivers.meters")
    return frozenset(
        file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml")
    )


def load_model(name: str) -> MeterModel:
    """Load the model of a meter by name. Raises ModelFileError for an unknown name or an invalid file."""
    if name in _user_models:
        return _user_models[name]
    if name not in _delivered_models():
        longer = [each for each in list_models() if name and each.startswith(name)]
        near = longer[:1] or difflib.get_close_matches(name, list_models(), 1)
        remedy = (
            f'did you mean "{near[0]}"?' if near else "`local-controller meter list` lists the known models"
        )
        raise ModelFileError(f'meter model "{name}" is unknown; {remedy}')
    return _load_delivered(name)


@cache
def _load_delivered(name: str) -> MeterModel:
    return parse_model(resources.files("drivers.meters").joinpath(f"{name}.toml").read_text(), f"{name}.toml")


def parse_model(text: str, file: str) -> MeterModel:
    """Parse a model from its TOML text. Raises ModelFileError with all mistakes of the file."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ModelFileError(f"{file}: {error}") from error
    mistakes = list(find_mistakes(document))
    if mistakes:
        raise ModelFileError("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return msgspec.convert(document, MeterModel)


def find_mistakes(document: dict[str, Any]) -> Iterator[str]:
    """Find all mistakes of a model file's content, each with its place and the remedy."""
    registers = document.get("register", [])
    well_formed = True
    for mistake in _schema_mistakes(document):
        well_formed = False
        yield mistake
    if not well_formed:
        return
    model = msgspec.convert(document, MeterModel)
    yield from _content_mistakes(model, len(registers))


def _schema_mistakes(document: dict[str, Any]) -> Iterator[str]:
    """Find what does not fit the schema: one mistake for each register and one for the rest."""
    registers = document.get("register", [])
    if not isinstance(registers, list):
        yield "register: expected an array of tables; write [[register]] before each one"
        return
    try:
        msgspec.convert({**document, "register": []}, MeterModel)
    except msgspec.ValidationError as error:
        yield _with_suggestion(str(error), MeterModel.__struct_fields__)
    for number, each in enumerate(registers, start=1):
        try:
            msgspec.convert(each, Register)
        except msgspec.ValidationError as error:
            quantity = each.get("quantity", "?") if isinstance(each, dict) else "?"
            known = (*Register.__struct_fields__, *get_args(Quantity))
            yield f"register {number} ({quantity}): {_with_suggestion(str(error), known)}"


def _with_suggestion(text: str, known: Sequence[str]) -> str:
    """Add the nearest known word to a message that quotes an unknown one."""
    quoted = (
        text.split("`")[1] if text.count("`") >= 2 else text.split("'")[1] if text.count("'") >= 2 else ""
    )
    near = difflib.get_close_matches(quoted, known, 1) if quoted not in known else []
    return f'{text}; did you mean "{near[0]}"?' if near else text


def _content_mistakes(model: MeterModel, count: int) -> Iterator[str]:
    if model.sunspec is not None and model.sunspec.layouts:
        unknown = set(model.sunspec.layouts) - {*_delivered_models(), *_user_models}
        for name in sorted(unknown):
            yield f'sunspec.layouts: model "{name}" is unknown'
        if count:
            yield "sunspec.layouts: remove it, or remove the registers"
        return
    quantities = Counter(register.quantity for register in model.register if not register.alternative)
    for quantity, times in quantities.items():
        if times > 1:
            yield f"{quantity}: {times} registers; remove all but one, or mark the others alternative = true"
    if not count:
        yield "register: missing; add [[register]] for each quantity"
    first, end = (2, 2 + model.sunspec.length) if model.sunspec is not None else (0, 0x10000)
    for register in model.register:
        yield from _register_mistakes(register, model, first, end)


def _register_mistakes(register: Register, model: MeterModel, first: int, end: int) -> Iterator[str]:
    if register.address < first or register.address + register.words > end:
        yield f"{register.quantity}: address {register.address} is outside {first} to {end - 1}"
    if register.scale_register is not None:
        if not first <= register.scale_register < end:
            yield (
                f"{register.quantity}: scale_register {register.scale_register} is outside "
                f"{first} to {end - 1}"
            )
        if "int" not in register.type:
            yield f"{register.quantity}: a {register.type} has no scale_register; remove it"
    elif model.sunspec is not None and "int" in register.type:
        yield f"{register.quantity}: an integer of a SunSpec model needs a scale_register"
    if register.words > model.read.max_registers:
        yield f"{register.quantity}: needs {register.words} registers, read.max_registers is less"
    if not register.scale or not math.isfinite(register.scale):
        yield f"{register.quantity}: scale is {register.scale}; set the factor from the register to the unit"
    for key in register.sources:
        if key not in model.sources:
            yield f'{register.quantity}: source "{key}" is not in [sources]'
