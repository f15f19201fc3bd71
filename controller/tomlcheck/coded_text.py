"""Texts of findings as a code with values: English as they are, and to be rendered in another language.

A rule writes its text once: `coded(TextCode.DID_YOU_MEAN, meant='"grid"')` is the English text, and carries
code and values for the page. Texts of rules that are seldom seen are plain.
"""

from __future__ import annotations

import enum
from typing import Self


class TextCode(enum.StrEnum):
    """Code of a text, with its English template; `{name}` stands for a value."""

    template: str

    def __new__(cls, code: str, template: str) -> Self:
        """Make a code with its English template."""
        made = str.__new__(cls, code)
        made._value_ = code
        made.template = template
        return made

    # Problems
    UNKNOWN_KEY = "unknown-key", "is not a known key"
    MISSING = "missing", "is missing"
    CANNOT_BE = "cannot-be", "cannot be {value}"
    CANNOT_BE_IN_UNIT = "cannot-be-in-unit", "cannot be {value} {unit}"
    INVALID_VALUE = "invalid-value", "has an invalid value"
    DOES_NOT_EXIST = "does-not-exist", '{kind} "{name}" does not exist'
    DEFINED_ALREADY = "defined-already", '"{name}" is already defined'

    # Remedies
    DID_YOU_MEAN = "did-you-mean", "did you mean {meant}?"
    DID_YOU_MEAN_IN_UNIT = "did-you-mean-in-unit", "did you mean {meant}? The unit is {unit}, {bounds}"
    NOT_IN_PERCENT = "not-in-percent", "write it in {unit}, not in percent: {form}"
    WRITE = "write", "write {form}"
    PUT_IN_QUOTES = "put-in-quotes", "put it in quotes"
    WRITE_AS_TABLE = "write-as-table", "write it as a table: {table}"
    WRITE_AS_TABLES = "write-as-tables", "write {table} with two brackets: there may be several"
    WRITE_BELOW = "write-below", "write it below {table}"
    KEY_OF = "key-of", "it is a key of {tables}"
    REMOVE_KNOWN_ARE = "remove-known-are", "remove it; known are {names}"
    KNOWN_ARE = "known-are", "known are {names}"
    ADD_KEY = "add-key", "add {key} = ... ({form})"
    ADD_TABLE = "add-table", "add a table: {table}"
    ADD_A = "add-a", "add a {table}"
    GIVE_OWN_ID = "give-own-id", "give each its own id"

    # Values and forms
    ONE_OR_OTHER = "one-or-other", "{others} or {last}"
    A_TABLE = "a-table", "a table"
    EMPTY_LIST = "empty-list", "an empty list"
    LIST_OF = "list-of", "a list of {count}"
    TEXT = "text", "a text"
    WHOLE_NUMBER = "whole-number", "a whole number"
    NUMBER = "number", "a number"
    TRUE_OR_FALSE = "true-or-false", "true or false"
    DATE = "date", "a date, like 2027-12-31"
    TIME = "time", "a time with its zone, like 2026-11-21T12:00:00Z"
    ONE_OF = "one-of", "one of {names}"
    FROM_TO = "from-to", "{kind} from {least} to {most}"
    BOUNDS = "bounds", "from {least} to {most}"
    BOUNDS_ABOVE = "bounds-above", "above {least}, at most {most}"


class CodedText(str):
    """English text that carries its code and values; a value may be a coded text itself."""

    code: TextCode
    values: dict[str, str]


def coded(code: TextCode, **values: str) -> CodedText:
    """Return the English text of a code with its values."""
    text = CodedText(code.template.format(**values))
    text.code = code
    text.values = values
    return text


def join_or(names: list[str]) -> str:
    """Return names as an enumeration: "a, b or c"."""
    if len(names) == 1:
        return names[0]
    return coded(TextCode.ONE_OR_OTHER, others=", ".join(names[:-1]), last=names[-1])
