"""Compares TOML data with the Structs of `config`: names, types and ranges, every mistake of them.

What is wrong or missing is stood in for, so that the rules between the parts can be looked at in the
same pass; findings at a place that was stood in for are left out by the caller.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from functools import cache
from typing import Any, get_args, get_origin, get_type_hints

import msgspec

from controller.tomlcheck.findings import Finding
from controller.tomlcheck.positions import Path
from controller.tomlcheck.type_names import alternatives, choices, in_words, shown

_STAND_INS: dict[str, object] = {
    "id": "?",
    "owner": "?",
    "driver": "?",
    "transport": "tcp",
    "kind": "signed",
    "limit_a": 10_000.0,
    "url": "ws://?/{station}",
    "site": {"id": "?"},
    "backend": [],
    "circuit": [],
    "station": [],
    "name": "?",
    "source": "?",
    "input": 0,
    "destination": "?",
    "via": "?",
    "members": ("?",),
    "holder": "?",
    "holders": ("?",),
    "actions": ("?",),
    "require": "reject",
    "version": 1,
}
"""For required keys that are wrong or missing."""


class SchemaCheck:
    """Compares data with the Structs: names, types and ranges. Goes on after each finding."""

    def __init__(self) -> None:
        self.found: list[Finding] = []
        self.stood_in: set[Path] = set()
        """The places whose value is not the file's: wrong there, or missing."""

    def table(self, kind: type[msgspec.Struct], data: object, path: Path) -> dict[str, object]:
        """The table with all wrong values left out or stood in for."""
        if not isinstance(data, dict):
            self._find(path, f"cannot be {shown(data)}", f"write it as a table: [{'.'.join(map(str, path))}]")
            self.stood_in.add(path)
            data = {}
        good: dict[str, object] = {}
        hints = _hints(kind)
        meant: set[str] = set()
        for key, value in data.items():
            if key in hints:
                good |= self._value(hints[key], key, value, path)
            else:
                near = difflib.get_close_matches(key, hints, 1)
                meant.update(near)
                self._find((*path, key), "is not a key that is known here", _instead(key, near, hints))
        for field in msgspec.structs.fields(kind):
            if not field.required or field.name in good:
                continue
            good[field.name] = _STAND_INS[field.name]
            self.stood_in.add((*path, field.name))
            # A key that is there, but misspelt, is one mistake; so is all that a table lacks that is none.
            if field.name not in data and field.name not in meant and path not in self.stood_in:
                self._find((*path, field.name), "is missing", _addition(field.name, hints[field.name]))
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
            self._find(place, f"cannot be {shown(value)}", f"write each as a table of its own: [[{key}]]")
            self.stood_in.add(place)
            return {}
        return {key: [self.table(struct, each, (*place, index)) for index, each in enumerate(value)]}

    def _fits(self, hint: Any, value: object, path: Path) -> bool:
        try:
            msgspec.convert(value, hint)
        except msgspec.ValidationError:
            self._find(path, *_misfit(hint, value))
            self.stood_in.add(path)
            return False
        return True

    def _find(self, path: Path, what: str, mend: str) -> None:
        self.found.append(Finding(path, what, mend))


@cache
def _hints(kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    """The types of a table's keys; cached, for a site has thousands of tables of few kinds."""
    return get_type_hints(kind, include_extras=True)


def _struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """The Struct that a field holds, if any, and whether it holds many."""
    for kind in alternatives(hint):
        many = get_origin(kind) is tuple
        element = get_args(kind)[0] if many else kind
        if isinstance(element, type) and issubclass(element, msgspec.Struct):
            return element, many
    return None, False


def _misfit(hint: Any, value: object) -> tuple[str, str]:
    """What is wrong with a value, and the mend; of a list, its first wrong element where that says it."""
    known = choices(hint)
    wrong = value
    if isinstance(value, list) and known:
        wrong = next((each for each in value if each not in known), value)
    if isinstance(wrong, str) and (near := difflib.get_close_matches(wrong, known, 1)):
        return f"cannot be {shown(wrong)}", f'did you mean "{near[0]}"?'
    return f"cannot be {shown(wrong)}", f"write {in_words(hint)}"


def _addition(key: str, hint: Any) -> str:
    struct, many = _struct_in(hint)
    if struct is None:
        return f"add {key} = ... ({in_words(hint)})"
    return f"add a table: [[{key}]]" if many else f"add a table: [{key}]"


def _instead(key: str, near: list[str], known: Mapping[str, Any]) -> str:
    if key == "password":
        return "secrets do not stand in this file: put it into one of its own, named in password_file"
    return f"did you mean {near[0]}?" if near else "remove it; known are " + ", ".join(known)
