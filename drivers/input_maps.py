"""Modules with digital inputs as data: where the inputs stand, and how a module speaks as it is delivered.

One file in `drivers/inputs/` is one `InputMap`. An input that is 1 has voltage: its contact is closed.
"""

from __future__ import annotations

import tomllib
from functools import cache
from importlib import resources
from typing import Literal

import msgspec

from drivers.decoding import Block

DISCRETE_INPUTS = 2
"""The Modbus function that reads them (application protocol 1.1b3, 6.2)."""

_FOLDER = "drivers.inputs"


class SerialDefaults(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """How it speaks on a serial line when it leaves the factory."""

    baud: int = 9600
    parity: Literal["N", "E", "O"] = "N"
    stopbits: Literal[1, 2] = 1


class InputMap(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One kind of module: its inputs are discrete inputs from `address` on, `inputs` of them at most."""

    vendor: str
    model: str
    inputs: int
    sources: tuple[str, ...]
    address: int = 0
    serial: SerialDefaults = SerialDefaults()

    def block(self, inputs: tuple[int, ...]) -> Block:
        """The one request that reads these inputs, counted from 0."""
        first, last = min(inputs), max(inputs)
        return Block(DISCRETE_INPUTS, self.address + first, last - first + 1)


def list_input_maps() -> list[str]:
    """The names of all modules that are known."""
    folder = resources.files(_FOLDER)
    return sorted(file.name.removesuffix(".toml") for file in folder.iterdir() if file.name.endswith(".toml"))


@cache
def load_input_map(name: str) -> InputMap:
    """The map of a module. Raises KeyError for one that is not known."""
    if name not in list_input_maps():
        raise KeyError(name)
    text = resources.files(_FOLDER).joinpath(f"{name}.toml").read_text()
    return msgspec.convert(tomllib.loads(text), InputMap)
