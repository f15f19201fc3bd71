"""Compares TOML data with the Structs of `config`: names, types and ranges, every mistake of them.

What is wrong or missing is stood in for, so that the rules between the parts can be looked at in the
same pass; findings at a place that was stood in for are left out by the caller.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Mapping
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from controller.config_rules import Finding
from controller.toml_lines import Path

_STAND_INS: dict[str, object] = {
    "id": "?", "owner": "?", "driver": "?", "transport": "tcp", "kind": "signed", "limit_a": 10_000.0,
    "url": "ws://?/{station}", "site": {"id": "?"}, "backend": [], "circuit": [], "station": [],
}  # fmt: skip
"""For required keys that are wrong or missing."""


class Shape:
    """Compares data with the Structs: names, types and ranges. Goes on after each finding."""

    def __init__(self) -> None:
        self.found: list[Finding] = []

    def table(self, kind: type[msgspec.Struct], data: object, path: Path) -> dict[str, object]:
        """The table with all wrong values left out or stood in for."""
        if not isinstance(data, dict):
            self._find(path, f"is {_kind_of(data)}", f"write it as a table: [{'.'.join(map(str, path))}]")
            data = {}
        good: dict[str, object] = {}
        hints = get_type_hints(kind, include_extras=True)
        for key, value in data.items():
            if key in hints:
                good |= self._value(hints[key], key, value, path)
            else:
                self._find((*path, key), "is not a key that is known here", _nearest(key, hints))
        for field in msgspec.structs.fields(kind):
            if field.required and field.name not in data:
                self._find((*path, field.name), "is missing", "add it")
            if field.required and field.name not in good:
                good[field.name] = _STAND_INS[field.name]
        return good

    def _value(self, hint: Any, key: str, value: object, path: Path) -> dict[str, object]:
        """The key with its good value; nothing where it has none."""
        place = (*path, key)
        struct, many = _struct_in(hint)
        if struct is None:
            return {key: value} if self._fits(hint, value, place) else {}
        if not many:
            return {key: self.table(struct, value, place)}
        if not isinstance(value, list):
            self._find(place, f"is {_kind_of(value)}", f"write each as a table of its own: [[{key}]]")
            return {}
        return {key: [self.table(struct, each, (*place, index)) for index, each in enumerate(value)]}

    def _fits(self, hint: Any, value: object, path: Path) -> bool:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError as error:
            what = str(error).replace("`", "")
            self._find(path, what[0].lower() + what[1:], _how(hint, value))
            return False
        return True

    def _find(self, path: Path, what: str, mend: str) -> None:
        self.found.append(Finding(path, what, mend))


def _struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The Struct that a field holds, if any, and whether it holds many."""
    if isinstance(hint, type) and issubclass(hint, msgspec.Struct):
        return hint, False
    arguments = get_args(hint)
    many = get_origin(hint) is tuple
    for argument in arguments:
        if isinstance(argument, type) and issubclass(argument, msgspec.Struct):
            return argument, many
    return None, False


def _how(hint: Any, value: object) -> str:
    choices = _choices(hint)
    if choices:
        if isinstance(value, str) and (near := difflib.get_close_matches(value, choices, 1)):
            return f'did you mean "{near[0]}"?'
        return "use one of " + ", ".join(choices)
    return "correct the value"


def _choices(hint: Any) -> list[str]:
    if isinstance(hint, type) and issubclass(hint, str) and hasattr(hint, "__members__"):
        return [member.value for member in hint]  # type: ignore[attr-defined]
    if get_origin(hint) in (Union, types.UnionType, Annotated, tuple):
        return [choice for argument in get_args(hint) for choice in _choices(argument)]
    return [str(choice) for choice in get_args(hint)] if "Literal" in str(get_origin(hint)) else []


def _nearest(key: str, known: Mapping[str, Any]) -> str:
    if key == "password":
        return (
            "secrets do not stand in this file: put it into a file of its own and name that in password_file"
        )
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else "remove it; known are " + ", ".join(known)


def _kind_of(value: object) -> str:
    names = {
        dict: "a table",
        list: "an array",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return names.get(type(value), type(value).__name__)
