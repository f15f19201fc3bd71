"""Types of the keys of a file: which values each accepts, in words for people."""

from __future__ import annotations

import enum
import types
from datetime import date, datetime
from functools import reduce
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from drivers.coded_text import CodedText, coded

_TYPE_NAMES: dict[Any, CodedText] = {
    str: coded("a text"),
    int: coded("a whole number"),
    float: coded("a number"),
    bool: coded("true or false"),
    date: coded("a date, like 2027-12-31"),
    datetime: coded("a time with its zone, like 2026-11-21T12:00:00Z"),
}


def alternatives(hint: Any) -> list[Any]:
    """Return the members of a union but None; a type that is not a union is its only alternative."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for kind in get_args(hint) if kind is not type(None)]
    return [hint]


def choices(hint: Any) -> list[str]:
    """Return the texts that a key, or each element of its list, may be; empty where it is not a choice."""
    found: list[str] = []
    for kind in alternatives(hint):
        base, _ = unwrap(kind)
        if get_origin(base) is tuple:
            found += choices(get_args(base)[0])
        elif get_origin(base) is Literal:
            found += [str(choice) for choice in get_args(base)]
        elif isinstance(base, type) and issubclass(base, enum.Enum):
            found += [str(member.value) for member in base]
    return found


def unwrap(hint: Any) -> tuple[Any, Meta]:
    """Return a type and the bounds that it is annotated with."""
    if get_origin(hint) is Annotated:
        base, meta = get_args(hint)
        return base, meta
    return hint, Meta()


def struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the Struct that a field holds, if any, and whether it holds several."""
    for kind in alternatives(hint):
        many = get_origin(kind) is tuple
        element = get_args(kind)[0] if many else kind
        if isinstance(element, type) and issubclass(element, msgspec.Struct):
            return element, many
    return None, False


def is_valid(hint: Any, value: object) -> bool:
    """Return True if a key of this type accepts a value."""
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def describe_type(hint: Any) -> str:
    """Return what a key accepts, e.g. "a number from 0 to 60" or "one of N, E, O"."""
    kinds = alternatives(hint)
    described = [_describe_alternative(kind) for kind in kinds]
    for index, kind in enumerate(kinds):
        base, meta = unwrap(kind)
        if get_origin(base) is tuple and describe_type(get_args(base)[0]) in described:
            described[index] = coded(
                "a list of {count} of them", count=_describe_count(meta.min_length, meta.max_length)
            )
    return reduce(_alternatively, described)


def _alternatively(first: str, second: str) -> str:
    return coded("{first}, or {second}", first=first, second=second)


def _describe_alternative(hint: Any) -> str:
    base, meta = unwrap(hint)
    if (form := (meta.extra or {}).get("form")) is not None:
        return coded("{kind} {form}", kind=_TYPE_NAMES[base], form=form)
    if get_origin(base) is tuple:
        element = describe_type(get_args(base)[0])
        count = _describe_count(meta.min_length, meta.max_length)
        if not count:
            return coded("a list, each {element}", element=element)
        return coded("a list of {count}, each {element}", count=count, element=element)
    if get_origin(base) is dict:
        return coded("a table")
    known = choices(base)
    if known:
        if len(known) > 1:
            return coded("one of {names}", names=", ".join(known))
        is_number = any(isinstance(each, int) for each in get_args(base))
        return known[0] if is_number else f'"{known[0]}"'
    if base is str and meta.max_length is not None:
        return coded("a text of {count} characters", count=_describe_count(meta.min_length, meta.max_length))
    if meta.ge is not None and meta.le is not None:
        unit = (meta.extra or {}).get("unit", "")
        most = f"{format_number(meta.le)} {unit}".rstrip()
        return coded(
            "{kind} from {least} to {most}", kind=_TYPE_NAMES[base], least=format_number(meta.ge), most=most
        )
    bounds = _describe_bounds(meta)
    return coded("{kind} {bounds}", kind=_TYPE_NAMES[base], bounds=bounds) if bounds else _TYPE_NAMES[base]


def describe_value(value: object) -> str:
    """Return a value as the file has it, shortened where it is long; of a table or a list the kind."""
    if isinstance(value, dict):
        return coded("a table")
    if isinstance(value, list):
        return coded("a list of {count}", count=str(len(value))) if value else coded("an empty list")
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return f'"{value}"' if len(value) <= 60 else f'"{value[:50]}..." ({len(value)} characters)'
    return str(value)


def _describe_count(least: int | None, most: int | None) -> str:
    if most is None:
        return coded("at least {bound}", bound=least) if least else ""
    return str(most) if least == most else coded("{least} to {most}", least=least or 0, most=most)


def _describe_bounds(meta: Meta) -> str:
    unit = (meta.extra or {}).get("unit", "")
    bounds: list[str] = []
    if meta.gt is not None:
        bounds.append(coded("above {bound}", bound=format_number(meta.gt)))
    if meta.ge is not None:
        bounds.append(coded("at least {bound}", bound=format_number(meta.ge)))
    if meta.lt is not None:
        bounds.append(coded("below {bound}", bound=format_number(meta.lt)))
    if meta.le is not None:
        bounds.append(coded("at most {bound}", bound=format_number(meta.le)))
    if not bounds:
        return ""
    described = reduce(lambda first, second: coded("{first}, {second}", first=first, second=second), bounds)
    return coded("{bounds} {unit}", bounds=described, unit=unit) if unit else described


def describe_range(meta: Meta) -> CodedText:
    """Return the bounds of a number that has both, without its unit."""
    most = format_number(meta.le or 0.0)
    if meta.gt is None:
        return coded("from {least} to {most}", least=format_number(meta.ge or 0.0), most=most)
    return coded("above {least}, at most {most}", least=format_number(meta.gt), most=most)


def find_unit(hint: Any) -> str:
    """Return the unit of a number; empty without one."""
    units = ((unwrap(kind)[1].extra or {}).get("unit", "") for kind in alternatives(hint))
    return next((str(unit) for unit in units if unit), "")


def format_number(bound: float) -> str:
    """Return a number without an exponent."""
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"


def write_remedy(hint: Any) -> str:
    """Return the remedy that describes a type."""
    form = describe_type(hint)
    return coded("write {form}", form=form)
