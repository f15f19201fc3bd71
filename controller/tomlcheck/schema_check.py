"""Compare TOML data with msgspec Structs: names, types and ranges, all problems in one pass.

A value that is wrong or missing is replaced by a placeholder, so that the rules between the tables can be
checked in the same pass. The caller drops the problems that those rules find at replaced places.
"""

from __future__ import annotations

import difflib
import enum
import re
import types
from collections.abc import Mapping
from datetime import date, datetime, time
from functools import cache, reduce
from types import MappingProxyType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

import msgspec
from msgspec import Meta

from controller.tomlcheck.diagnostics import TRUTH_WORDS, UNIT_FACTORS, Problem, nearest_name
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
        if isinstance(value, str) and not value.strip() and _is_valid(hint, None):
            self._add(path, coded("is empty"), coded("write a value, or remove the key"))
            self.replaced.add(path)
            return False
        if _is_valid(hint, value):
            if (odd := _odd_letters(hint, value)) is None:
                return True
            self._add(path, *odd)
            self.replaced.add(path)
            return False
        what, remedy, is_meant = _describe_misfit(hint, value, self._values_of(path))
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


def struct_in(hint: Any) -> tuple[type[msgspec.Struct] | None, bool]:
    """Return the Struct that a field holds, if any, and whether it holds several."""
    for kind in alternatives(hint):
        many = get_origin(kind) is tuple
        element = get_args(kind)[0] if many else kind
        if isinstance(element, type) and issubclass(element, msgspec.Struct):
            return element, many
    return None, False


def _is_valid(hint: Any, value: object) -> bool:
    try:
        msgspec.convert(value, hint)
    except msgspec.ValidationError:
        return False
    return True


def _describe_misfit(hint: Any, value: object, other_values: Mapping[str, str]) -> tuple[str, str, bool]:
    """Return what is wrong with a value, the remedy, and whether it is a value that is likely meant.

    Of a list its first wrong element is described.
    """
    if any((_unwrap(kind)[1].extra or {}).get("personal") for kind in alternatives(hint)):
        # The value must not reach a log.
        in_quotes = coded("put it in quotes") if _is_valid(hint, str(value)) else _write(hint)
        return coded("has an invalid value"), in_quotes, True
    known = choices(hint)
    wrong = value
    if isinstance(value, list) and known:
        wrong = next((each for each in value if each not in known), value)
    elif isinstance(value, list):
        wrong = _find_wrong_element(hint, value)
    what = coded("cannot be {value}", value=describe_value(wrong))
    if meant := _meant_text(hint, value, wrong, other_values):
        return what, _did_you_mean(meant), True
    if (meant_number := _number_in_unit(hint, value)) is not None:
        number, unit, bounds = meant_number
        return (
            coded("cannot be {value} {unit}", value=describe_value(wrong), unit=unit),
            coded(
                "did you mean {meant}? The unit is {unit}, {bounds}",
                meant=_plain(number),
                unit=unit,
                bounds=bounds,
            ),
            True,
        )
    if isinstance(value, str) and value.strip().endswith("%") and (unit := _unit_of(hint)):
        return (
            what,
            coded("write it in {unit}, not in percent: {form}", unit=unit, form=describe_type(hint)),
            True,
        )
    return what, _write(hint), False


def _odd_letters(hint: Any, value: object) -> tuple[str, str] | None:
    """Return what is wrong with a text that has letters nobody sees, and the remedy; None for any other."""
    if not isinstance(value, str) or (_unwrap(hint)[1].extra or {}).get("personal"):
        return None
    if value != value.strip():
        return coded("has a blank at its begin or end"), _did_you_mean(describe_value(value.strip()))
    if hidden := next((each for each in value if not each.isprintable()), None):
        return (
            coded("has a character that is not shown ({code})", code=f"U+{ord(hidden):04X}"),
            coded("type the text anew"),
        )
    return None


def _find_wrong_element(hint: Any, value: list[object]) -> object:
    """Return the first wrong element of a list of a right length; the list itself where there is none."""
    for kind in alternatives(hint):
        inner, _ = _unwrap(kind)
        elements = [each for each in get_args(inner) if each is not Ellipsis]
        if get_origin(inner) is tuple and (len(elements) == len(value) or Ellipsis in get_args(inner)):
            kinds = elements if len(elements) == len(value) else elements * len(value)
            return next(
                (each for kind, each in zip(kinds, value, strict=False) if not _is_valid(kind, each)), value
            )
    return value


def _meant_text(hint: Any, value: object, wrong: object, other_values: Mapping[str, str]) -> str | None:
    """Return the valid value that is likely meant, as the file has it; None if none is.

    `wrong`: the first wrong element of a list, else the value.
    """
    known = choices(hint)
    is_list = isinstance(value, list)
    if isinstance(value, int) and not isinstance(value, bool) and _is_valid(hint, known[:1] or None):
        wrong = str(wrong)  # phases = 3
    several = _meant_choices(wrong, known, other_values) if isinstance(wrong, str) else []
    if several and _is_valid(hint, several):
        return "[" + ", ".join(f'"{each}"' for each in several) + "]"
    if isinstance(wrong, int) and is_list:  # phases = [1, 2, 3]
        wrong = str(wrong)
    if isinstance(wrong, float) and known:  # protocol = 1.6
        wrong = str(wrong)
    if isinstance(wrong, str) and known and (meant := _meant_choice(wrong, known, other_values)):
        if meant.isdigit() and _is_valid(hint, int(meant)):
            return meant
        in_list = not is_list and not _is_valid(hint, meant) and _is_valid(hint, [meant])
        return f'["{meant}"]' if in_list else f'"{meant}"'
    is_time = _is_valid(hint, "07:00") and not _is_valid(hint, "seven")
    if is_time and (meant_time := _meant_time(value)) is not None and _is_valid(hint, meant_time):
        return f'"{meant_time}"'
    if isinstance(value, str) and _is_valid(hint, [value]):
        return f'["{value}"]'
    if (number := _meant_number(hint, value)) is not None:
        return _plain(number)
    if (meant_value := _meant_value(hint, value)) is not None:
        return describe_value(meant_value)
    return None


def _did_you_mean(meant: str) -> CodedText:
    return coded("did you mean {meant}?", meant=meant)


def _write(hint: Any) -> str:
    """Return the remedy that describes a type."""
    form = describe_type(hint)
    return coded("write {form}", form=form)


def _meant_value(hint: Any, value: object) -> object | None:
    """Return the valid value that one of a wrong form stands for; None if unclear.

    A list of one, a number in place of a text, "yes", blanks around a text, a URL or path without its begin,
    a date as it is written in Germany.
    """
    candidates: list[object] = []
    if isinstance(value, list) and len(value) == 1:
        candidates = [value[0]]
    elif isinstance(value, int) and not isinstance(value, bool):
        candidates = [str(value)]
    elif isinstance(value, str) and (text := value.strip()):
        has_scheme = _SCHEME.match(text)
        rest = text[has_scheme.end() :] if has_scheme else ""
        path = "/" + rest.partition("/")[2]
        day = _WRITTEN_DAY.fullmatch(text)
        urls = [f"{scheme}://{rest or text}" for scheme in ("wss", "https")]
        candidates = [
            TRUTH_WORDS.get(text.lower(), _BITS.get(text)),
            text,
            f"{day[3]}-{int(day[2]):02}-{int(day[1]):02}" if day else None,
            *([*urls, path] if has_scheme else [f"/{text}", *urls]),
        ]
    return next((each for each in candidates if each is not None and _is_valid(hint, each)), None)


_BITS = {"1": True, "0": False}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://+|(?:wss?|https?)(?::/*|/+)", re.IGNORECASE)
"""Begin of a URL, also where a colon or a slash is missing."""
_WRITTEN_DAY = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")


def _meant_choice(text: str, known: list[str], other_values: Mapping[str, str]) -> str | None:
    """Return the choice that a text stands for, e.g. "C" for "c 16" or "E" for "even"; None if unclear."""
    lower = text.lower().strip()
    by_lower = {each.lower(): each for each in known}
    if joined := by_lower.get(re.sub(r"[\s_]+", "-", lower)):  # RTU over TCP
        return joined
    words = {by_lower.get(word) or other_values.get(word) for word in re.split(r"[\s/,;]+", lower)}
    named = [each for each in known if each in words]
    if len(named) == 1:
        return named[0]
    meant = by_lower.get(lower) or other_values.get(lower)
    if meant in known:
        return meant
    if lower:
        longer = [each for name, each in by_lower.items() if name.startswith(lower)]
        shorter = [each for name, each in by_lower.items() if lower.startswith(name)]
        for candidates in (longer, shorter):
            if len(candidates) == 1:
                return candidates[0]
    return nearest_name(lower, known)


def _meant_choices(text: str, known: list[str], other_values: Mapping[str, str]) -> list[str]:
    """Return the choices that a text lists without being a list, e.g. "L1L2L3", "L1, L2" or "Mo-Fr"."""
    if not known:
        return []
    if text.lower().strip() in ALL_WORDS:
        return known
    text = other_values.get(text.lower().strip(), text)
    begin, is_range, end = text.lower().replace("\u2013", "-").partition("-")
    first, last = (_meant_choice(each, known, other_values) for each in (begin, end))
    if is_range and first is not None and last is not None:
        return known[known.index(first) : known.index(last) + 1]
    pattern = "|".join(re.escape(each) for each in sorted(known, key=len, reverse=True))
    by_lower = {each.lower(): each for each in known}
    found = [by_lower[each.lower()] for each in re.findall(pattern, text, re.IGNORECASE)]
    rest = re.sub(pattern, "", text, flags=re.IGNORECASE)
    return found if len(found) > 1 and not rest.strip(" ,;+/&") else []


ALL_WORDS = frozenset({"*", "all", "alle", "any", "every"})
"""Words that stand for all choices where several are possible."""


def _number_in_unit(hint: Any, value: object) -> tuple[float, str, str] | None:
    """Return a number in the key's unit, the unit and its bounds, if it was written in another unit.

    Too large: in a thousandth of it. Too small: times in minutes or hours, currents without the last digit,
    others in the thousandfold.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for kind in alternatives(hint):
        meta = _unwrap(kind)[1]
        unit = (meta.extra or {}).get("unit")
        numbers: list[float] = []
        if meta.le is not None and value > meta.le:
            numbers = [value / 1000]
        elif meta.ge is not None and 0 < value < meta.ge:
            if unit == "s" and value >= 1:
                numbers = [value * 60, value * 3600]
            else:
                numbers = [value * 10] if unit == "A" else [value * 1000]
        for number in numbers:
            if unit and _is_valid(kind, _whole(float(number))):
                return number, unit, _bounds_of(meta)
    return None


def _bounds_of(meta: Meta) -> CodedText:
    """Return the bounds of a number that has both, without its unit."""
    most = _plain(meta.le or 0.0)
    if meta.gt is None:
        return coded("from {least} to {most}", least=_plain(meta.ge or 0.0), most=most)
    return coded("above {least}, at most {most}", least=_plain(meta.gt), most=most)


def _unit_of(hint: Any) -> str:
    """Return the unit of a number; empty without one."""
    units = ((_unwrap(kind)[1].extra or {}).get("unit", "") for kind in alternatives(hint))
    return next((str(unit) for unit in units if unit), "")


def _meant_time(value: object) -> str | None:
    """Return the time of day that a value stands for, e.g. "07:00" for 7, "7.00" or 07:00:00."""
    if isinstance(value, time):
        return f"{value:%H:%M}"
    match = None if isinstance(value, bool) else _SHORT_TIME.match(str(value).strip())
    if match is None:
        return None
    half = (match[3] or "").lower()
    hour = int(match[1]) if not half else int(match[1]) % 12 + (12 if half == "pm" else 0)
    return f"{hour:02}:{match[2] or '00'}"


_SHORT_TIME = re.compile(r"^(\d{1,2})(?:[:.](\d\d)(?::\d\d)?)?(?:\s*(?:Uhr|h|(am|pm)))?$", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*%")
_NUMBER = re.compile(r"^(?:3\s*[x\u00d7*]\s*)?(-?\d+(?:[.,]\d+)?)(?:\s*[/:]\s*(\d+)|\s*([a-zA-Z]{0,6}))$")
_PARTS_OF_CURRENCY = frozenset({"cent", "cents", "ct"})
"""Units of a price that is not in the unit of the others."""


def _meant_number(hint: Any, value: object) -> float | None:
    """Return the valid number that a value stands for; None if there is none.

    A text like "32 A", "3x32", "0,5", "200/5" or "95 %"; a percentage in place of a part of 1.
    """
    number: float | None = None
    match = _NUMBER.match(value.strip()) if isinstance(value, str) else None
    if match is not None and match[2] and _unit_of(hint):
        return None  # "230/400" for V is no quotient
    if match is not None:
        unit = (match[3] or "").lower()
        factor = (
            UNIT_FACTORS.get(_unit_of(hint), {}).get(unit) if unit and _unit_of(hint) in UNIT_FACTORS else 1.0
        )
        if factor is None or unit in _PARTS_OF_CURRENCY:
            return None  # "4.6 kVA" for A depends on the voltage
        number = round(float(match[1].replace(",", ".")) / (int(match[2] or 1) or 1) * factor, 6)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value)
    elif isinstance(value, str) and (percent := _PERCENT.fullmatch(value.strip())) is not None:
        number = float(percent[1].replace(",", "."))
    if number is None:
        return None
    is_part = any(_unwrap(kind)[1].le == 1 for kind in alternatives(hint))
    candidates = [number / 100] if is_part and number > 1 else [number]
    if isinstance(value, str) and value.strip().endswith("%") and not is_part:
        candidates = []
    return next((each for each in candidates if _is_valid(hint, _whole(each))), None)


def _whole(number: float) -> float:
    """Return a number as a TOML file has it: without a fraction it is an integer."""
    return int(number) if number.is_integer() else number


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


def _table_name(kind: type[msgspec.Struct], root: type[msgspec.Struct]) -> tuple[str, ...]:
    """Return the name of a table in the file, e.g. ("station",); empty for the file itself."""
    headers = (header for header, struct in _tables(root, ()).items() if struct is kind)
    return tuple(next(headers, "").strip("[]").split(".")) if kind is not root else ()


_TYPE_NAMES: dict[Any, CodedText] = {
    str: coded("a text"),
    int: coded("a whole number"),
    float: coded("a number"),
    bool: coded("true or false"),
    date: coded("a date, like 2027-12-31"),
    datetime: coded("a time with its zone, like 2026-11-21T12:00:00Z"),
}


def describe_type(hint: Any) -> str:
    """Return what a key accepts, e.g. "a number from 0 to 60" or "one of N, E, O"."""
    kinds = alternatives(hint)
    described = [_describe_alternative(kind) for kind in kinds]
    for index, kind in enumerate(kinds):
        base, meta = _unwrap(kind)
        if get_origin(base) is tuple and describe_type(get_args(base)[0]) in described:
            described[index] = coded(
                "a list of {count} of them", count=_describe_count(meta.min_length, meta.max_length)
            )
    return reduce(_alternatively, described)


def _alternatively(first: str, second: str) -> str:
    return coded("{first}, or {second}", first=first, second=second)


def alternatives(hint: Any) -> list[Any]:
    """Return the members of a union but None; a type that is not a union is its only alternative."""
    if get_origin(hint) in (Union, types.UnionType):
        return [kind for kind in get_args(hint) if kind is not type(None)]
    return [hint]


def choices(hint: Any) -> list[str]:
    """Return the texts that a key, or each element of its list, may be; empty where it is not a choice."""
    found: list[str] = []
    for kind in alternatives(hint):
        base, _ = _unwrap(kind)
        if get_origin(base) is tuple:
            found += choices(get_args(base)[0])
        elif get_origin(base) is Literal:
            found += [str(choice) for choice in get_args(base)]
        elif isinstance(base, type) and issubclass(base, enum.Enum):
            found += [str(member.value) for member in base]
    return found


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


def _describe_alternative(hint: Any) -> str:
    base, meta = _unwrap(hint)
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
        most = f"{_plain(meta.le)} {unit}".rstrip()
        return coded(
            "{kind} from {least} to {most}", kind=_TYPE_NAMES[base], least=_plain(meta.ge), most=most
        )
    bounds = _describe_bounds(meta)
    return coded("{kind} {bounds}", kind=_TYPE_NAMES[base], bounds=bounds) if bounds else _TYPE_NAMES[base]


def _unwrap(hint: Any) -> tuple[Any, Meta]:
    """Return a type and the bounds that it is annotated with."""
    if get_origin(hint) is Annotated:
        base, meta = get_args(hint)
        return base, meta
    return hint, Meta()


def _describe_count(least: int | None, most: int | None) -> str:
    if most is None:
        return coded("at least {bound}", bound=least) if least else ""
    return str(most) if least == most else coded("{least} to {most}", least=least or 0, most=most)


def _describe_bounds(meta: Meta) -> str:
    unit = (meta.extra or {}).get("unit", "")
    bounds: list[str] = []
    if meta.gt is not None:
        bounds.append(coded("above {bound}", bound=_plain(meta.gt)))
    if meta.ge is not None:
        bounds.append(coded("at least {bound}", bound=_plain(meta.ge)))
    if meta.lt is not None:
        bounds.append(coded("below {bound}", bound=_plain(meta.lt)))
    if meta.le is not None:
        bounds.append(coded("at most {bound}", bound=_plain(meta.le)))
    if not bounds:
        return ""
    described = reduce(lambda first, second: coded("{first}, {second}", first=first, second=second), bounds)
    return coded("{bounds} {unit}", bounds=described, unit=unit) if unit else described


def _plain(bound: float) -> str:
    """Return a number without an exponent."""
    return str(int(bound)) if float(bound).is_integer() else f"{bound:g}"
