"""Compare TOML data with msgspec Structs: names, types and ranges, all problems in one pass.

A value that is wrong or missing is replaced by a placeholder, so that the rules between the tables can be
checked in the same pass. The caller drops the problems that those rules find at replaced places.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from functools import cache
from types import MappingProxyType
from typing import Any, get_type_hints

import msgspec

from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.key_types import (
    alternatives,
    choices,
    describe_type,
    describe_value,
    find_unit,
    format_number,
    is_valid,
    struct_in,
    unwrap,
    write_remedy,
)
from controller.tomlcheck.meant_values import find_meant_text, find_number_in_unit, find_wrong_element
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import CodedText, coded, join_or

_SIMILAR = 0.6
_ALMOST_EQUAL = 0.8
"""Least ratio of difflib for a key that is meant; the higher one where the key exists below the table."""
_OF_SAME_CONTENT = 0.4
"""Least ratio for a table that has all keys of the unknown one."""


class SchemaCheck:
    """One pass over the data of a file. `placeholders` are values for required keys, by their names.

    `root`: the table that the whole file is.
    `other_names`: keys that people write instead of those of the schema, each with the keys that it may mean.
    `other_values`: choices that people write instead of those of the schema, lower case, with what they mean.
    An entry KEY.VALUE holds for that key alone.
    `key_remedies`: what to do about keys that there are on purpose not, by KEY or TABLE.KEY.
    `value_remedies`: what to write where a value has no likely meaning, by TABLE.KEY.
    """

    def __init__(
        self,
        root: type[msgspec.Struct],
        placeholders: Mapping[str, object],
        other_names: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
        other_values: Mapping[str, str] = MappingProxyType({}),
        key_remedies: Mapping[str, str] = MappingProxyType({}),
        value_remedies: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        self.problems: list[Problem] = []
        self.replaced: set[DataPath] = set()
        """Places whose value is a placeholder."""
        self.misspelt: set[DataPath] = set()
        """Places of keys that are most likely meant by misspelt ones."""
        self._placeholders = placeholders
        self._other_names = other_names
        self._other_values = other_values
        self._key_remedies = key_remedies
        self._value_remedies = value_remedies
        self._root = root

    def check_table(self, kind: type[msgspec.Struct], data: object, path: DataPath) -> dict[str, object]:
        """Return the table with wrong values left out or replaced, ready for `msgspec.convert`."""
        if not isinstance(data, dict):
            name = ".".join(str(part) for part in path if isinstance(part, str))
            form = f"[[{name}]]" if path and isinstance(path[-1], int) else f"[{name}]"
            self._add(
                path,
                coded("cannot be {value}", value=describe_value(data)),
                coded("write it as a table: {table}", table=form),
            )
            self.replaced.add(path)
            data = {}
        valid: dict[str, object] = {}
        hints = _type_hints(kind)
        meant: set[str] = set()
        for key in [each for each in data if each not in hints]:
            near = self._nearest_keys(key, kind, data)
            meant.update(near)
            self.misspelt.update((*path, each) for each in near)
            remedy = self._remedy_for_unknown_key(key, data[key], near, kind)
            self._add((*path, key), coded("is not a known key"), remedy)
        for key, hint in hints.items():
            if key in data:
                valid |= self._check_value(hint, key, data[key], path)
        for field in msgspec.structs.fields(kind):
            if not field.required or field.name in valid:
                continue
            valid[field.name] = self._placeholders[field.name]
            self.replaced.add((*path, field.name))
            # A misspelt key is one problem, not two; so is everything that a table of a wrong type lacks.
            if field.name not in data and field.name not in meant and path not in self.replaced:
                remedy = _remedy_for_missing(field.name, hints[field.name])
                self._add((*path, field.name), coded("is missing"), remedy)
        return valid

    def is_consequence(self, problem: Problem) -> bool:
        """Return whether a problem follows from one that this pass has found, and would only hide it.

        It is at or below a replaced or misspelt place, depends on one, names a misspelt key of its own table,
        or its reference leads to a misspelt table or id.
        """
        suspect = self.replaced | self.misspelt
        cause = problem.depends_on
        if self._refers_to_any(problem.refers_to, suspect) or self._names_misspelt_key(problem):
            return True
        if cause and any(place[: len(cause)] == cause for place in suspect):
            return True
        return any(problem.path[:length] in suspect for length in range(1, len(problem.path) + 1))

    def _refers_to_any(self, refers_to: str, suspect: set[DataPath]) -> bool:
        """Return whether a reference, to a table or a key of it, leads to a place without a valid value."""
        if not refers_to:
            return False
        target = tuple(refers_to.split("."))
        places = {tuple(part for part in path if isinstance(part, str)) for path in suspect}
        starts = {target[:length] for length in range(1, len(target) + 1)}
        return any(start in places or (*start, "id") in places for start in starts)

    def _names_misspelt_key(self, problem: Problem) -> bool:
        """Return whether a problem's text names a key of the same table that is misspelt."""
        table = problem.path[:-1]
        words = set(re.findall(r"\w+", f"{problem.what} {problem.remedy}"))
        return any(place[:-1] == table and place[-1] in words for place in self.misspelt)

    def _check_value(self, hint: Any, key: str, value: object, path: DataPath) -> dict[str, object]:
        """Return the key with its valid value; an empty dict where it has none."""
        place = (*path, key)
        struct, many = struct_in(hint)
        if struct is None:
            return {key: value} if self._fits(hint, value, place) else {}
        if not many:
            return {key: self.check_table(struct, value, place)}
        if not isinstance(value, list):
            name = ".".join(str(part) for part in place if isinstance(part, str))
            form = coded("write {table} with two brackets: there may be several", table=f"[[{name}]]")
            if place not in self.misspelt:  # [[stations]] with a [[station.evse]] below it is one mistake
                self._add(place, coded("cannot be {value}", value=describe_value(value)), form)
            self.replaced.add(place)
            return {}
        if len(value) > 1 and not any(isinstance(each, dict) for each in value):
            name = ".".join(str(part) for part in place if isinstance(part, str))
            what = coded("cannot be {value}", value=describe_value(value))
            self._add(place, what, coded("write each of them as a table: {table}", table=f"[[{name}]]"))
            self.replaced.add(place)
            return {}
        return {key: [self.check_table(struct, each, (*place, index)) for index, each in enumerate(value)]}

    def _fits(self, hint: Any, value: object, path: DataPath) -> bool:
        if isinstance(value, str) and not value.strip() and is_valid(hint, None):
            self._add(path, coded("is empty"), coded("write a value, or remove the key"))
            self.replaced.add(path)
            return False
        if is_valid(hint, value):
            if (odd := _odd_letters(hint, value)) is None:
                return True
            self._add(path, *odd)
            self.replaced.add(path)
            return False
        what, remedy, is_meant = _describe_misfit(hint, value, self._values_of(path))
        key = str(path[-1])
        if choices(hint) and not is_meant and (tables := _tables_with_value(key, value, self._root)):
            wrong = describe_value(value)
            remedy = coded(
                "{remedy}; {value} is for {tables}", remedy=remedy, value=wrong, tables=join_or(tables)
            )
        place = ".".join(part for part in path if isinstance(part, str))
        self._add(path, what, remedy if is_meant else self._value_remedies.get(place, remedy))
        self.replaced.add(path)
        return False

    def _values_of(self, path: DataPath) -> Mapping[str, str]:
        """Return the other names of the choices of a key: those of all keys, and its own before them."""
        begin = f"{path[-1]}."
        own = {
            name.removeprefix(begin): meant
            for name, meant in self._other_values.items()
            if name.startswith(begin)
        }
        return {**self._other_values, **own}

    def _nearest_keys(self, key: str, kind: type[msgspec.Struct], data: Mapping[str, object]) -> list[str]:
        """Return the keys of a table that an unknown one may mean: the first way that finds any counts."""
        known, lower = _type_hints(kind), key.lower()
        meant = [each for each in self._other_names.get(lower, ()) if each in known]
        required = {field.name for field in msgspec.structs.fields(kind) if field.required}
        if meant:
            return sorted(meant, key=lambda each: (each in data, each not in required))[:1]
        if lower in known:
            return [lower]
        same_stem = [each for each in known if each.rpartition("_")[0] == lower]  # the unit is missing
        if same_stem:
            return same_stem
        if isinstance(data[key], dict | list) and self._headers_meant(key, data[key]):
            return []
        if same_content := _tables_with_content(data[key], known):
            near = difflib.get_close_matches(lower, same_content, 1, _OF_SAME_CONTENT)
            if near:
                return near
        is_written_below = bool(self._tables_below(key, kind))
        near = difflib.get_close_matches(lower, known, 4, _ALMOST_EQUAL if is_written_below else _SIMILAR)
        # Of equally similar ones a required one that is missing: limit_ means limit_a before limit_w.
        likeness = {each: difflib.SequenceMatcher(None, each, lower).ratio() for each in near}
        return sorted(near, key=lambda each: (-likeness[each], each in data, each not in required))[:1]

    def _remedy_for_unknown_key(
        self, key: str, value: object, near: list[str], kind: type[msgspec.Struct]
    ) -> str:
        table = ".".join(_table_name(kind, self._root))
        if remedy := self._key_remedies.get(f"{table}.{key}") or self._key_remedies.get(key):
            return remedy
        if table and _is_named_element(value, _type_hints(kind)):
            return coded('did you mean {table} with id = "{id}"?', table=f"[[{table}]]", id=key)
        if near:
            return coded("did you mean {meant}?", meant=join_or(near))
        if headers := self._headers_meant(key, value):
            return coded("did you mean {meant}?", meant=join_or(headers))
        below = self._tables_below(key, kind)
        if below:
            return coded("write it below {table}", table=below[0])
        elsewhere = _tables_with_key(key, self._root, ())
        if 1 <= len(elsewhere) <= 6:
            return coded("it is a key of {tables}", tables=join_or(elsewhere))
        return coded("remove it; known are {names}", names=", ".join(_type_hints(kind)))

    def _headers_meant(self, key: str, value: object) -> list[str]:
        """Return the headers that an unknown table may mean: `[[station.evse]]` for `[[evse]]`, and so on."""
        headers = _tables(self._root, ())
        if isinstance(value, dict) and (inner := [f"[[{each}]]" for each in value]):
            written = [each if each in headers else each[1:-1] for each in inner]  # [[site.meter]]: [[meter]]
            if all(each in headers for each in written):
                return written
        elements = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in elements):
            return []
        return sorted((each for each in headers if each.strip("[]").endswith(f".{key}")), key=len)

    def _tables_below(self, key: str, kind: type[msgspec.Struct]) -> list[str]:
        """Return the headers of the tables below one kind of table that have a key."""
        return _tables_with_key(key, kind, _table_name(kind, self._root))

    def _add(self, path: DataPath, what: str, remedy: str) -> None:
        self.problems.append(Problem(path, what, remedy))


def _is_named_element(value: object, hints: Mapping[str, Any]) -> bool:
    """Return whether a table is one of an array whose name stands in its header, like [station.CS02]."""
    if not isinstance(value, dict) or "id" not in hints or "id" in value:
        return False
    return any(key in hints for key in value)


def _tables_with_content(value: object, hints: Mapping[str, Any]) -> list[str]:
    """Return the tables of `hints` that have every key of a table, or of all tables of an array."""
    elements = value if isinstance(value, list) else [value]
    tables = [each for each in elements if isinstance(each, dict) and each]
    if len(tables) < len(elements):
        return []
    keys = {key for each in tables for key in each}
    structs = {name: struct_in(hint)[0] for name, hint in hints.items()}
    return [name for name, kind in structs.items() if kind is not None and keys <= _type_hints(kind).keys()]


@cache
def _type_hints(kind: type[msgspec.Struct]) -> Mapping[str, Any]:
    """Return the types of a table's keys; cached, for a site has thousands of tables of few kinds."""
    return get_type_hints(kind, include_extras=True)


def _describe_misfit(hint: Any, value: object, other_values: Mapping[str, str]) -> tuple[str, str, bool]:
    """Return what is wrong with a value, the remedy, and whether it is a value that is likely meant.

    Of a list its first wrong element is described.
    """
    if any((unwrap(kind)[1].extra or {}).get("personal") for kind in alternatives(hint)):
        # The value must not reach a log.
        in_quotes = coded("put it in quotes") if is_valid(hint, str(value)) else write_remedy(hint)
        return coded("has an invalid value"), in_quotes, True
    known = choices(hint)
    wrong = value
    if isinstance(value, list) and known:
        wrong = next((each for each in value if each not in known), value)
    elif isinstance(value, list):
        wrong = find_wrong_element(hint, value)
    what = coded("cannot be {value}", value=describe_value(wrong))
    if meant := find_meant_text(hint, value, wrong, other_values):
        return what, _did_you_mean(meant), True
    if (meant_number := find_number_in_unit(hint, value)) is not None:
        number, unit, bounds = meant_number
        return (
            coded("cannot be {value} {unit}", value=describe_value(wrong), unit=unit),
            coded(
                "did you mean {meant}? The unit is {unit}, {bounds}",
                meant=format_number(number),
                unit=unit,
                bounds=bounds,
            ),
            True,
        )
    if isinstance(value, str) and value.strip().endswith("%") and (unit := find_unit(hint)):
        return (
            what,
            coded("write it in {unit}, not in percent: {form}", unit=unit, form=describe_type(hint)),
            True,
        )
    return what, write_remedy(hint), False


def _odd_letters(hint: Any, value: object) -> tuple[str, str] | None:
    """Return what is wrong with a text that has letters nobody sees, and the remedy; None for any other."""
    if not isinstance(value, str) or (unwrap(hint)[1].extra or {}).get("personal"):
        return None
    if value != value.strip():
        return coded("has a blank at its begin or end"), _did_you_mean(describe_value(value.strip()))
    if hidden := next((each for each in value if not each.isprintable()), None):
        return (
            coded("has a character that is not shown ({code})", code=f"U+{ord(hidden):04X}"),
            coded("type the text anew"),
        )
    return None


def _did_you_mean(meant: str) -> CodedText:
    return coded("did you mean {meant}?", meant=meant)


def _remedy_for_missing(key: str, hint: Any) -> str:
    struct, many = struct_in(hint)
    if struct is None:
        form = describe_type(hint)
        return coded("add {key} = ... ({form})", key=key, form=form)
    return coded("add a table: {table}", table=f"[[{key}]]" if many else f"[{key}]")


@cache
def _tables(kind: type[msgspec.Struct], place: tuple[str, ...]) -> Mapping[str, type[msgspec.Struct]]:
    """Return the tables below one, by their headers, e.g. `[[station.evse]]`."""
    found: dict[str, type[msgspec.Struct]] = {}
    for key, hint in _type_hints(kind).items():
        struct, many = struct_in(hint)
        if struct is not None:
            name = ".".join((*place, key))
            found[f"[[{name}]]" if many else f"[{name}]"] = struct
            found |= _tables(struct, (*place, key))
    return found


def _tables_with_key(key: str, kind: type[msgspec.Struct], place: tuple[str, ...]) -> list[str]:
    """Return the headers of the tables below one that have a key."""
    return [header for header, struct in _tables(kind, place).items() if key in _type_hints(struct)]


def _tables_with_value(key: str, value: object, root: type[msgspec.Struct]) -> list[str]:
    """Return the headers of the tables in which a key may have this value."""
    kinds = ((header, _type_hints(struct).get(key)) for header, struct in _tables(root, ()).items())
    return [header for header, hint in kinds if hint is not None and value in choices(hint)]


def _table_name(kind: type[msgspec.Struct], root: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the name of a table in the file, e.g. ("station",); empty for the file itself."""
    headers = (header for header, struct in _tables(root, ()).items() if struct is kind)
    return tuple(next(headers, "").strip("[]").split(".")) if kind is not root else ()
