"""Values that people most likely mean by ones that a key does not accept."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from typing import Any, get_args, get_origin

from controller.tomlcheck.diagnostics import nearest_name
from controller.tomlcheck.key_types import (
    alternatives,
    choices,
    describe_range,
    describe_value,
    find_unit,
    format_number,
    is_valid,
    unwrap,
)

TRUTH_WORDS: dict[str, bool] = {
    **dict.fromkeys(("true", "yes", "on", "ja"), True),
    **dict.fromkeys(("false", "no", "off", "nein"), False),
}
"""Words that stand for true or false in files of other programs, in lower case."""
UNIT_FACTORS: dict[str, dict[str, float]] = {
    "s": {"s": 1, "sec": 1, "sek": 1, "ms": 0.001, "m": 60, "min": 60, "h": 3600, "std": 3600, "d": 86_400},
    "A": {"a": 1, "amp": 1, "amps": 1, "ma": 0.001},
    "V": {"v": 1, "volt": 1, "kv": 1000},
    "W": {"w": 1, "watt": 1, "kw": 1000, "mw": 1_000_000},
    "kW": {"kw": 1, "w": 0.001, "watt": 0.001, "mw": 1000},
    "kVA": {"kva": 1, "va": 0.001, "mva": 1000},
    "days": {
        **dict.fromkeys(("d", "day", "days", "tag", "tage"), 1),
        **dict.fromkeys(("week", "weeks"), 7),
        **dict.fromkeys(("year", "years", "jahr", "jahre"), 366),
    },
    "months": {
        **dict.fromkeys(("m", "month", "months", "monat", "monate"), 1),
        **dict.fromkeys(("y", "year", "years", "jahr", "jahre"), 12),
    },
    "kWh": {"kwh": 1, "wh": 0.001, "mwh": 1000},
}
"""By the unit of a key: units that people write, lower case, as multiples of it."""
_BITS = {"1": True, "0": False}
_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://+|(?:wss?|https?)(?::/*|/+)", re.IGNORECASE)
"""Begin of a URL, also where a colon or a slash is missing."""
_WRITTEN_DAY = re.compile(r"(\d{1,2})\.\s?(\d{1,2})\.\s?(\d{4})")
ALL_WORDS = frozenset({"*", "all", "alle", "any", "every"})
"""Words that stand for all choices where several are possible."""
_SHORT_TIME = re.compile(r"^(\d{1,2})(?:[:.](\d\d)(?::\d\d)?)?(?:\s*(?:Uhr|h|(am|pm)))?$", re.IGNORECASE)
_PERCENT = re.compile(r"(\d+(?:[.,]\d+)?)\s*%")
_NUMBER = re.compile(r"^(?:3\s*[x\u00d7*]\s*)?(-?\d+(?:[.,]\d+)?)(?:\s*[/:]\s*(\d+)|\s*([a-zA-Z]{0,6}))$")
_PARTS_OF_CURRENCY = frozenset({"cent", "cents", "ct"})
"""Units of a price that is not in the unit of the others."""


def find_wrong_element(hint: Any, value: list[object]) -> object:
    """Return the first wrong element of a list of a right length; the list itself where there is none."""
    for kind in alternatives(hint):
        inner, _ = unwrap(kind)
        elements = [each for each in get_args(inner) if each is not Ellipsis]
        if get_origin(inner) is tuple and (len(elements) == len(value) or Ellipsis in get_args(inner)):
            kinds = elements if len(elements) == len(value) else elements * len(value)
            return next(
                (each for kind, each in zip(kinds, value, strict=False) if not is_valid(kind, each)), value
            )
    return value


def find_meant_text(hint: Any, value: object, wrong: object, other_values: Mapping[str, str]) -> str | None:
    """Return the valid value that is likely meant, as the file has it; None if none is.

    `wrong`: the first wrong element of a list, else the value.
    """
    known = choices(hint)
    is_list = isinstance(value, list)
    if isinstance(value, int) and not isinstance(value, bool) and is_valid(hint, known[:1] or None):
        wrong = str(wrong)  # phases = 3
    several = _meant_choices(wrong, known, other_values) if isinstance(wrong, str) else []
    if several and is_valid(hint, several):
        return "[" + ", ".join(f'"{each}"' for each in several) + "]"
    if isinstance(wrong, int) and is_list:  # phases = [1, 2, 3]
        wrong = str(wrong)
    if isinstance(wrong, float) and known:  # protocol = 1.6
        wrong = str(wrong)
    if isinstance(wrong, str) and known and (meant := _meant_choice(wrong, known, other_values)):
        if meant.isdigit() and is_valid(hint, int(meant)):
            return meant
        in_list = not is_list and not is_valid(hint, meant) and is_valid(hint, [meant])
        return f'["{meant}"]' if in_list else f'"{meant}"'
    is_time = is_valid(hint, "07:00") and not is_valid(hint, "seven")
    if is_time and (meant_time := _meant_time(value)) is not None and is_valid(hint, meant_time):
        return f'"{meant_time}"'
    if isinstance(value, str) and is_valid(hint, [value]):
        return f'["{value}"]'
    if (number := _meant_number(hint, value)) is not None:
        return format_number(number)
    if (meant_value := _meant_value(hint, value)) is not None:
        return describe_value(meant_value)
    return None


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
    return next((each for each in candidates if each is not None and is_valid(hint, each)), None)


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


def find_number_in_unit(hint: Any, value: object) -> tuple[float, str, str] | None:
    """Return a number in the key's unit, the unit and its bounds, if it was written in another unit.

    Too large: in a thousandth of it. Too small: times in minutes or hours, currents without the last digit,
    others in the thousandfold.
    """
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for kind in alternatives(hint):
        meta = unwrap(kind)[1]
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
            if unit and is_valid(kind, _whole(float(number))):
                return number, unit, describe_range(meta)
    return None


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


def _meant_number(hint: Any, value: object) -> float | None:
    """Return the valid number that a value stands for; None if there is none.

    A text like "32 A", "3x32", "0,5", "200/5" or "95 %"; a percentage in place of a part of 1.
    """
    number: float | None = None
    match = _NUMBER.match(value.strip()) if isinstance(value, str) else None
    if match is not None and match[2] and find_unit(hint):
        return None  # "230/400" for V is no quotient
    if match is not None:
        unit = (match[3] or "").lower()
        factor = (
            UNIT_FACTORS.get(find_unit(hint), {}).get(unit)
            if unit and find_unit(hint) in UNIT_FACTORS
            else 1.0
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
    is_part = any(unwrap(kind)[1].le == 1 for kind in alternatives(hint))
    candidates = [number / 100] if is_part and number > 1 else [number]
    if isinstance(value, str) and value.strip().endswith("%") and not is_part:
        candidates = []
    return next((each for each in candidates if is_valid(hint, _whole(each))), None)


def _whole(number: float) -> float:
    """Return a number as a TOML file has it: without a fraction it is an integer."""
    return int(number) if number.is_integer() else number
