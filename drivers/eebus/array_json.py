"""EEBUS JSON: each object is an array of one-member objects in the order of the schema (SHIP 1.0.1, 11.2).

`{"a": 1, "b": {}}` is written `[{"a": 1}, {"b": []}]`. Which arrays are objects and which are lists is
decided by the schema alone: by msgspec Structs, whose fields stand in the schema's order. Members that the
schema does not have are skipped, unless the Struct forbids them; a member may not occur twice.

>>> class Version(msgspec.Struct):
...     major: int
...     minor: int
>>> decode(b'[{"major":1},{"minor":0}]', Version)
Version(major=1, minor=0)
"""

from __future__ import annotations

from collections.abc import Hashable
from functools import cache
from typing import Any, TypeVar

import msgspec
from msgspec import inspect

from drivers.errors import DriverError

T = TypeVar("T", bound=msgspec.Struct)


class EebusError(DriverError):
    """Message of a partner that cannot be used. Its text states what is wrong."""


class _Schema(msgspec.Struct, frozen=True):
    """Shape of a type: an object with members, a list of something, or a plain value (neither)."""

    members: dict[str, _Schema] | None = None
    forbids_unknown: bool = False
    items: _Schema | None = None


_PLAIN = _Schema()


def decode(text: bytes, type_: type[T]) -> T:
    """Decode a JSON text to a Struct. Raises EebusError."""
    return convert(parse(text), type_)


def parse(text: bytes) -> Any:
    """Parse a JSON text, in array form still. Raises EebusError."""
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise EebusError(f"invalid JSON: {error}") from error


def convert(value: Any, type_: type[T]) -> T:
    """Convert parsed JSON in array form to a Struct. Raises EebusError."""
    try:
        return msgspec.convert(_to_object(value, _schema(type_), ""), type_)
    except msgspec.ValidationError as error:
        raise EebusError(str(error)) from error


def encode(value: msgspec.Struct) -> bytes:
    """Encode a Struct as JSON in array form; members that are None or empty lists are left out."""
    return msgspec.json.encode(to_array(value))


def to_array(value: Any) -> Any:
    """Return the array form of a Struct, of Structs in lists, or of plain values.

    Empty lists are left out: on the wire they are the same as empty objects, and partners without the
    schema take them for those.
    """
    if isinstance(value, msgspec.Struct):
        fields = msgspec.structs.fields(value)
        members = ((field.encode_name, getattr(value, field.name)) for field in fields)
        return [{name: to_array(member)} for name, member in members if member not in (None, ())]
    if isinstance(value, list | tuple):
        return [to_array(item) for item in value]
    return value


def members_of(value: Any, where: str = "") -> list[tuple[str, Any]]:
    """Return names and values of an object in array form. Raises EebusError.

    A plain JSON object is taken as well: an empty one occurs in place of `[]`.
    """
    if isinstance(value, dict):
        return list(value.items())
    if not isinstance(value, list):
        raise EebusError(f"expected an object in array form{_at(where)}")
    members: list[tuple[str, Any]] = []
    for each in value:
        if not isinstance(each, dict):
            raise EebusError(f"expected one-member objects{_at(where)}")
        members += each.items()
    if len({name for name, _ in members}) < len(members):
        raise EebusError(f"a member occurs twice{_at(where)}")
    return members


def _to_object(value: Any, schema: _Schema, where: str) -> Any:
    if schema.members is not None:
        converted: dict[str, Any] = {}
        for name, member in members_of(value, where):
            of_member = schema.members.get(name)
            if of_member is not None:
                converted[name] = _to_object(member, of_member, f"{where}.{name}")
            elif schema.forbids_unknown:
                raise EebusError(f"unknown element {name!r:.40}{_at(where)}")
        return converted
    if schema.items is not None and isinstance(value, list):
        return [_to_object(item, schema.items, where) for item in value]
    return value


def _at(where: str) -> str:
    return f" at {where.lstrip('.')}" if where else ""


@cache
def _schema(type_: Hashable) -> _Schema:
    return _of(inspect.type_info(type_))


def _of(info: inspect.Type) -> _Schema:
    match info:
        case inspect.StructType(fields=fields, forbid_unknown_fields=forbids_unknown):
            return _Schema({field.encode_name: _of(field.type) for field in fields}, forbids_unknown)
        case inspect.ListType(item_type=item) | inspect.VarTupleType(item_type=item):
            return _Schema(items=_of(item))
        case inspect.UnionType(types=types):
            return next((schema for each in types if (schema := _of(each)) != _PLAIN), _PLAIN)
        case inspect.Metadata(type=inner):
            return _of(inner)
        case _:
            return _PLAIN
