"""Render docs/configuration.md from the schema: every key with type, unit, default and example.

The text of a key is the string below its field in `schema`. Run as `python -m controller.config.reference`.
"""

from __future__ import annotations

import ast
import enum
import inspect
import re
import sys
import textwrap
from collections.abc import Iterator
from typing import get_type_hints

import msgspec

from controller.config.schema import Config
from controller.tomlcheck.key_types import describe_type, struct_in

_UNITS = {
    "_a": "A",
    "_w": "W",
    "_kw": "kW",
    "_kwh": "kWh",
    "_kva": "kVA",
    "_s": "s",
    "_bytes": "bytes",
    "_days": "days",
    "voltage": "V",
}
_EXAMPLE = re.compile(r"\s*Example: (.+)\.$")
REQUIRED = "required"
"""Default of a key that has none: it must be written."""

_INTRODUCTION = """# Configuration

One TOML file, checked as a whole: `local-controller check -c FILE` prints every error with its line and
remedy. `etc/controller.toml` is an example with every key. Units are in the names of the keys: `_a` ampere
per phase, `_w` watt, `_s` second. Names of files are relative to the directory of the file. Secrets are in
files of their own, which not everybody on the machine may read (`chmod o= FILE`).

`[table]` is written once, `[[table]]` once for each. Keys without a default are required.
"""


class ReferenceKey(msgspec.Struct, frozen=True):
    """A key of the file as its reference shows it.

    `unit`, `default` and `example` are empty where there is none; `default` is "required" for a key that
    must be written.
    """

    name: str
    kind: str
    unit: str
    default: str
    example: str
    text: str


class ReferenceTable(msgspec.Struct, frozen=True):
    """A table of the file: its heading as it is written, e.g. "[[station]]", its text and its keys."""

    heading: str
    text: str
    keys: tuple[ReferenceKey, ...]


def render_reference() -> str:
    """Return the whole page."""
    return "\n".join([_INTRODUCTION, *(_render_table(each) for each in reference_tables())])


def reference_tables() -> Iterator[ReferenceTable]:
    """Yield each table that the file may have, a table before those below it."""
    for name, kind, many in _tables(Config, ""):
        heading = f"[[{name}]]" if many else f"[{name}]"
        yield ReferenceTable(heading, inspect.getdoc(kind) or "", tuple(_keys(kind)))


def key_descriptions(kind: type[msgspec.Struct]) -> dict[str, str]:
    """Return the text below each field of a table; empty where there is none."""
    (definition,) = ast.parse(textwrap.dedent(inspect.getsource(kind))).body
    assert isinstance(definition, ast.ClassDef)
    found: dict[str, str] = {}
    for field, below in zip(definition.body, [*definition.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            text = below.value if isinstance(below, ast.Expr) else None
            is_text = isinstance(text, ast.Constant) and isinstance(text.value, str)
            found[field.target.id] = " ".join(text.value.split()) if is_text else ""  # type: ignore[union-attr]
    return found


def _tables(kind: type[msgspec.Struct], prefix: str) -> Iterator[tuple[str, type[msgspec.Struct], bool]]:
    """Yield name, Struct and whether there may be several, of each table below a table."""
    hints = get_type_hints(kind, include_extras=True)
    for field in msgspec.structs.fields(kind):
        table, many = struct_in(hints[field.name])
        if table is not None:
            name = f"{prefix}{field.name}"
            yield name, table, many
            yield from _tables(table, f"{name}.")


def _keys(kind: type[msgspec.Struct]) -> Iterator[ReferenceKey]:
    """Yield the keys of a table that are no tables themselves."""
    hints = get_type_hints(kind, include_extras=True)
    texts = key_descriptions(kind)
    for field in msgspec.structs.fields(kind):
        if struct_in(hints[field.name])[0] is not None:
            continue
        text = texts[field.name]
        example = _EXAMPLE.search(text)
        yield ReferenceKey(
            name=field.name,
            kind=describe_type(hints[field.name]),
            unit=_unit(field.name),
            default=_default(field),
            example="" if example is None else example[1],
            text=text if example is None else text[: example.start()],
        )


def _render_table(table: ReferenceTable) -> str:
    lines = [f"## `{table.heading}`", "", table.text, ""]
    rows = []
    for key in table.keys:
        default = key.default if key.default in ("", REQUIRED) else f"`{key.default}`"
        shown = f"`{key.example}`" if key.example else ""
        cells = (f"`{key.name}`", key.kind, key.unit, default, shown, key.text)
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    if rows:
        lines += ["| key | type | unit | default | example | |", "|---|---|---|---|---|---|", *rows, ""]
    return "\n".join(lines)


def _unit(key: str) -> str:
    return next((unit for end, unit in _UNITS.items() if key.endswith(end)), "")


def _default(field: msgspec.structs.FieldInfo) -> str:
    if field.required:
        return REQUIRED
    return "" if field.default is None else _toml(field.default)


def _toml(value: object) -> str:
    if isinstance(value, enum.Enum):
        return f'"{value.value}"'
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(each) for each in value) + "]"
    if isinstance(value, float):
        return f"{value:g}"
    return f'"{value}"' if isinstance(value, str) else str(value)


if __name__ == "__main__":
    sys.stdout.write(render_reference())
