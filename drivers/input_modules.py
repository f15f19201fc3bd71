"""Modules with digital inputs as data: where the inputs are, and the serial settings on delivery.

One file in `drivers/inputs/` is one `InputModuleModel`. An input that is 1 has voltage: its contact is
closed.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from drivers.errors import ModelFileError
from drivers.read_plan import ReadRange

DISCRETE_INPUTS = 2
"""The Modbus function that reads them (application protocol 1.1b3, 6.2)."""

_FOLDER = "drivers.inputs"


class InputSerialDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the serial interface on delivery."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class InputModuleModel(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One module model: its inputs are discrete inputs from `address` on, `inputs` of them at most."""

    vendor: str
    model: str
    inputs: int
    sources: tuple[str, ...]
    address: int = 0
    serial: InputSerialDefaults = InputSerialDefaults()

    def range_of(self, inputs: tuple[int, ...]) -> ReadRange:
        """Return the one request that reads these inputs, counted from 0."""
        first, last = min(inputs), max(inputs)
        return ReadRange(DISCRETE_INPUTS, self.address + first, last - first + 1)


def list_input_modules() -> list[str]:
    """List the names of all modules that are known."""
    folder = resources.files(_FOLDER)
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


@cache
def load_input_module(name: str) -> InputModuleModel:
    """Load the model of a module. Raises ModelFileError for an unknown one."""
    if name not in list_input_modules():
        raise ModelFileError(f'module "{name}" is unknown; known are {", ".join(list_input_modules())}')
    text = resources.files(_FOLDER).joinpath(f"{name}.toml").read_text()
    return msgspec.convert(tomllib.loads(text), InputModuleModel)
