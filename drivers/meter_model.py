"""Meter models as data: which register holds which quantity, of what type, scale and sign.

One file in `drivers/meters/` is one `MeterModel`; `docs/meter-models.md` describes the format. Addresses
are PDU addresses, counted from 0; in a SunSpec layout they count from the register of the model id.
"""

from __future__ import annotations

import difflib
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, cached_property
from importlib import resources
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from drivers.coded_text import coded, literal
from drivers.errors import ModelFileError
from drivers.register import Quantity, Register

SUNSPEC_BASES = (40000, 0, 50000)
"""Registers that may hold the SunSpec identifier, in the order of the search."""


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
    firmware: Probe | None = None
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
        """Return True if a circuit can be guarded with it: a current or a power of every phase."""
        if self.sunspec is not None:
            return True
        return all(
            f"current_l{phase}" in self.by_quantity or self.has_power(f"l{phase}")
            for phase in range(1, self.phases + 1)
        )

    @property
    def confirmed(self) -> bool:
        """Return True if two independent sources confirm every current and active power that is read."""
        if not self.register:
            return self.tcp.confirmed and self.serial.confirmed
        return all(
            register.confirmed
            for quantity, register in self.by_quantity.items()
            if quantity.startswith(("current_l", "power_active", "power_import", "power_export"))
        )

    def has_power(self, suffix: str) -> bool:
        """Return True if the model measures the active power of "l1", "l2", "l3" or "total"."""
        found = self.by_quantity
        return (
            f"power_active_{suffix}" in found
            or {
                f"power_import_{suffix}",
                f"power_export_{suffix}",
            }
            <= found.keys()
        )


USER_FOLDER = "meters"
"""Directory beside the configuration that holds the user's own model files."""

FILE_PREFIX = "file:"
"""Begins a driver that is the path of a model file."""

_user_models: dict[str, MeterModel] = {}


def set_user_models(models: Mapping[str, MeterModel]) -> None:
    """Replace the user's models; they take precedence over delivered ones of the same name."""
    _user_models.clear()
    _user_models.update(models)


def read_user_models(folder: Path) -> tuple[dict[str, MeterModel], dict[str, ModelFileError]]:
    """Read the model files of a directory; return the models and the errors, each by name."""
    models: dict[str, MeterModel] = {}
    errors: dict[str, ModelFileError] = {}
    for file in sorted(folder.glob("*.toml")):
        try:
            models[file.stem] = read_user_model(file)
        except ModelFileError as error:
            errors[file.stem] = error
    return models, errors


def read_user_model(file: Path) -> MeterModel:
    """Read a model file of the user's. Raises ModelFileError where it cannot be read or has mistakes."""
    try:
        return parse_model(file.read_text(encoding="utf-8-sig"), file.name)
    except OSError as error:
        raise ModelFileError(f"{file}: cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise ModelFileError(f"{file}: cannot be read ({error})") from error


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
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise ModelFileError(f"{file}: {error}") from error
    mistakes = list(find_mistakes(document))
    if mistakes:
        raise ModelFileError("\n".join(f"{file}: {mistake}" for mistake in mistakes))
    return msgspec.convert(document, MeterModel)


class ModelMistake(msgspec.Struct, frozen=True):
    """Mistake of a model file: the keys that lead to it, what is wrong, and what to do."""

    path: tuple[str | int, ...]
    text: str
    remedy: str = coded("correct it; docs/meter-models.md describes the format")

    def __str__(self) -> str:
        place = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in self.path)
        return f"{place.removeprefix('.') or 'file'}: {self.text}; {self.remedy}"


def find_mistakes(document: dict[str, Any]) -> Iterator[ModelMistake]:
    """Find all mistakes of a model file's content."""
    well_formed = True
    for mistake in _schema_mistakes(document):
        well_formed = False
        yield mistake
    if well_formed:
        yield from find_content_mistakes(msgspec.convert(document, MeterModel))


def _schema_mistakes(document: dict[str, Any]) -> Iterator[ModelMistake]:
    """Find what does not fit the schema: one mistake for each register and one for the rest."""
    registers = document.get("register", [])
    if not isinstance(registers, list):
        yield ModelMistake(
            ("register",), coded("is not an array of tables"), coded("write [[register]] before each one")
        )
        return
    try:
        msgspec.convert({**document, "register": []}, MeterModel)
    except msgspec.ValidationError as error:
        yield _schema_mistake((), str(error), MeterModel.__struct_fields__)
    for index, each in enumerate(registers):
        try:
            msgspec.convert(each, Register)
        except msgspec.ValidationError as error:
            known = (*Register.__struct_fields__, *get_args(Quantity))
            yield _schema_mistake(("register", index), str(error), known)


def _schema_mistake(path: tuple[str | int, ...], text: str, known: Sequence[str]) -> ModelMistake:
    """Convert a message of msgspec, e.g. "Expected `int`, got `str` - at `$.read.gap_ms`"."""
    text, _, place = text.partition(" - at `$")
    keys = tuple(
        int(part[1:-1]) if part.startswith("[") else part
        for part in re.findall(r"\[\d+\]|\w+", place.rstrip("`"))
    )
    words = re.findall(r"`([^`]+)`|'([^']+)'", text)
    unknown = next((one or two for one, two in words if (one or two) not in known), "")
    near = difflib.get_close_matches(unknown, known, 1)
    if near:
        return ModelMistake((*path, *keys), text, coded("did you mean {meant}?", meant=f'"{near[0]}"'))
    return ModelMistake((*path, *keys), text)


def find_content_mistakes(model: MeterModel) -> Iterator[ModelMistake]:
    """Find what contradicts itself, Modbus or the other keys in a model that fits the schema."""
    yield from _setting_mistakes(model)
    if model.sunspec is not None and model.sunspec.layouts:
        for name in sorted(set(model.sunspec.layouts) - {*_delivered_models(), *_user_models}):
            yield ModelMistake(
                ("sunspec", "layouts"), coded('model "{name}" is unknown', name=name), coded("name a model")
            )
        if model.register:
            yield ModelMistake(
                ("sunspec", "layouts"), coded("stands beside registers"), coded("remove it, or the registers")
            )
        return
    listed = [register.quantity for register in model.register if not register.alternative]
    for index, register in enumerate(model.register):
        before = [each.quantity for each in model.register[:index] if not each.alternative]
        if not register.alternative and register.quantity in before and before.count(register.quantity) == 1:
            yield ModelMistake(
                ("register", index, "quantity"),
                coded(
                    "{quantity} has {times} registers",
                    quantity=register.quantity,
                    times=listed.count(register.quantity),
                ),
                coded("remove all but one, or mark the others with alternative = true"),
            )
    if not model.register:
        yield ModelMistake(("register",), coded("is missing"), coded("add [[register]] for each quantity"))
    for index, register in enumerate(model.register):
        yield from _register_mistakes(register, model, ("register", index))


def _setting_mistakes(model: MeterModel) -> Iterator[ModelMistake]:
    """Find settings of bus and reads that Modbus does not have."""
    bounds: tuple[tuple[tuple[str, str], float, float, float], ...] = (
        (("read", "max_registers"), model.read.max_registers, 1, MOST_REGISTERS),
        (("read", "gap_ms"), model.read.gap_ms, 0, 10_000),
        (("serial", "baud"), model.serial.baud, 300, 1_000_000),
        (("serial", "unit"), model.serial.unit, 1, 247),
        (("tcp", "port"), model.tcp.port, 1, 65_535),
        (("tcp", "unit"), model.tcp.unit, 0, 255),
    )
    for path, value, least, most in bounds:
        if not least <= value <= most:
            yield ModelMistake(
                path,
                coded("cannot be {value}", value=literal(value)),
                coded("write a number from {least} to {most}", least=f"{least:.0f}", most=f"{most:.0f}"),
            )
    if not model.transports:
        yield ModelMistake(
            ("transports",), coded("is empty"), coded('name those that the meter has, e.g. ["tcp", "rtu"]')
        )
    for index, probe in enumerate(model.identify.probe):
        if not probe.values:
            yield ModelMistake(
                ("identify", "probe", index, "values"),
                coded("is missing: the model is never identified"),
                coded("write what the register holds, e.g. values = [112]"),
            )


def _register_mistakes(
    register: Register, model: MeterModel, path: tuple[str | int, ...]
) -> Iterator[ModelMistake]:
    first, end = (2, 2 + model.sunspec.length) if model.sunspec is not None else (0, 0x10000)
    bounds = coded("use {first} to {last}", first=first, last=end - 1)
    if register.address < first or register.address + register.words > end:
        yield ModelMistake(
            (*path, "address"),
            coded(
                "{quantity} at {address} does not exist", quantity=register.quantity, address=register.address
            ),
            bounds,
        )
    if register.scale_register is not None:
        if not first <= register.scale_register < end:
            yield ModelMistake(
                (*path, "scale_register"),
                coded("register {address} does not exist", address=register.scale_register),
                bounds,
            )
        if "int" not in register.type:
            yield ModelMistake(
                (*path, "scale_register"), coded("a {type} has none", type=register.type), coded("remove it")
            )
    elif model.sunspec is not None and "int" in register.type:
        yield ModelMistake(
            path,
            coded("{quantity} is an integer of SunSpec", quantity=register.quantity),
            coded("add scale_register"),
        )
    if register.words > model.read.max_registers:
        yield ModelMistake(
            (*path, "type"),
            coded(
                "{quantity} needs {words} registers in one read",
                quantity=register.quantity,
                words=register.words,
            ),
            coded("raise read.max_registers, which is {most}", most=model.read.max_registers),
        )
    if not register.scale or not math.isfinite(register.scale):
        yield ModelMistake(
            (*path, "scale"),
            coded("is {scale}", scale=register.scale),
            coded("set the factor from the register to the unit"),
        )
    for key in register.sources:
        if key not in model.sources:
            yield ModelMistake(
                (*path, "sources"),
                coded('"{key}" is not in [sources]', key=key),
                coded("add {key} to [sources]", key=key),
            )


def find_model_oddities(model: MeterModel) -> Iterator[ModelMistake]:
    """Find what is possible, but most likely another thing than was meant."""
    places: dict[tuple[int, int], Register] = {}
    for index, register in enumerate(model.register):
        if register.alternative:
            continue
        for address in range(register.address, register.address + register.words):
            other = places.setdefault((register.function, address), register)
            if (other.address, other.type) != (register.address, register.type):
                yield ModelMistake(
                    ("register", index, "address"),
                    coded("{quantity} overlaps {other}", quantity=register.quantity, other=other.quantity),
                    coded("compare address and type of both with the manual"),
                )
                break
    for index, register in enumerate(model.register):
        phase = register.quantity.rpartition("_l")[2]
        if phase.isdigit() and int(phase) > model.phases:
            yield ModelMistake(
                ("register", index, "quantity"),
                coded(
                    "{quantity} is of a phase that a meter of {phases} phases has not",
                    quantity=register.quantity,
                    phases=model.phases,
                ),
                coded("compare phases with the manual, or remove the register"),
            )
            break
    first = _MODICON.get(model.register[0].function, 0) if model.register else 0
    if (
        model.sunspec is None
        and first
        and all(first < register.address < first + 10_000 for register in model.register)
    ):
        address = model.register[0].address
        yield ModelMistake(
            ("register", 0, "address"),
            coded("{address} may be a register number, and addresses count from 0", address=address),
            coded("write {meant} if the manual counts so", meant=address - first - 1),
        )


MOST_REGISTERS = 125
"""Registers in one request (Modbus Application Protocol V1.1b3, 6.3)."""
_MODICON = {3: 40_000, 4: 30_000}
"""Number before the first register of a function, where manuals count as Modicon did."""
