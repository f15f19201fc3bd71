"""The types of the configuration's keys, and the values in its file, in words that a person reads."""

from __future__ import annotations

import enum
import types
from datetime import datetime
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from msgspec import Meta

_NAMES: dict[Any, str] = {
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    datetime: "a time with its zone, like 2026-11-21T12:00:00Z",
}


def in_words(hint: Any) -> str:
    """What a key wants, e.g. "a number from 0 to 60" or "one of N, E, O"."""
    return " or ".join(_one_in_words(kind) for kind in alternatives(hint))


def alternatives(hint: Any) -> list[Any]:
    """What a union is made of, None apart; a type that is no union is its only alternative."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for kind in get_args(hint) if kind is not type(None)]
    return [hint]


def choices(hint: Any) -> list[str]:
    """The texts that a key, or each element of its list, may be; empty where it is no such choice."""
    found: list[str] = []
    for kind in alternatives(hint):
        base, _ = _unwrapped(kind)
        if get_origin(base) is tuple:
            found += choices(get_args(base)[0])
        elif get_origin(base) is Literal:
            found += [str(choice) for choice in get_args(base)]
        elif isinstance(base, type) and issubclass(base, enum.Enum):
            found += [str(member.value) for member in base]
    return found


def shown(value: object) -> str:
    """A value as the file has it, cut where it is long; a table or a list by its name."""
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list" if value else "an empty list"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:50]}..." ({len(value)} characters)'
    return str(value)


def _one_in_words(hint: Any) -> str:
    base, meta = _unwrapped(hint)
    if meta.description is not None:
        return f"{_NAMES[base]}, and {meta.description}"
    if get_origin(base) is tuple:
        return (
            f"a list of {_count(meta.min_length, meta.max_length)}where each is {in_words(get_args(base)[0])}"
        )
    known = choices(base)
    if known:
        return "one of " + ", ".join(known)
    if base is str and meta.max_length is not None:
        return f"a text of {_count(meta.min_length, meta.max_length)}characters"
    return _NAMES[base] + _range(meta)


def _unwrapped(hint: Any) -> tuple[Any, Meta]:
    """A type, and the bounds that it is annotated with."""
    if get_origin(hint) is Annotated:
        base, meta = get_args(hint)
        return base, meta
    return hint, Meta()


def _count(least: int | None, most: int | None) -> str:
    if most is None:
        return f"at least {least} " if least else ""
    return f"{most} " if least == most else f"{least or 0} to {most} "


def _range(meta: Meta) -> str:
    if meta.ge is not None and meta.le is not None:
        return f" from {meta.ge:g} to {meta.le:g}"
    bounds = (("above", meta.gt), ("at least", meta.ge), ("below", meta.lt), ("at most", meta.le))
    return ",".join(f" {word} {bound:g}" for word, bound in bounds if bound is not None)
