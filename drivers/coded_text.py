"""Texts of findings in English, to be rendered in another language.

A rule writes its text where it is used: `coded("did you mean {meant}?", meant=name)` is the English text, and
carries its template and values for the page, whose catalog has each template in German.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import LiteralString

import msgspec


class CodedText(str):
    """English text that carries its template and values; a value may be a coded text itself."""

    template: str
    values: dict[str, str]


def coded(template: LiteralString, **values: object) -> CodedText:
    """Return the English text of a template, in which `{name}` stands for the value of that name."""
    texts = {name: value if isinstance(value, CodedText) else str(value) for name, value in values.items()}
    text = CodedText(template.format(**texts))
    text.template = template
    text.values = texts
    return text


def decimal(value: float, form: str = "g") -> str:
    """Return a number in a sentence, whose point is a comma in German. `form`: its format."""
    whole, point, fraction = format(value, form).partition(".")
    return coded("{whole}.{fraction}", whole=whole, fraction=fraction) if point else whole


def literal(value: float, form: str = "g") -> str:
    """Return a number that is to stand in a file, with a point in each language. `form`: its format."""
    return format(value, form)


def text_of(error: Exception) -> str:
    """Return the text of an error, with its template where it was raised with a coded text."""
    text = error.args[0] if error.args else ""
    return text if isinstance(text, str) else str(error)


def join_or(names: Sequence[str]) -> str:
    """Return names as alternatives: "a, b or c"."""
    if len(names) == 1:
        return names[0]
    return coded("{others} or {last}", others=", ".join(names[:-1]), last=names[-1])


def join_and(names: Sequence[str]) -> str:
    """Return names as an enumeration: "a, b and c"."""
    if len(names) == 1:
        return names[0]
    return coded("{others} and {last}", others=", ".join(names[:-1]), last=names[-1])


def join_texts(texts: Sequence[str]) -> str:
    """Return sentences in a row, each with its template; empty for none."""
    if len(texts) < 2:
        return texts[0] if texts else ""
    return coded("{text}; {others}", text=texts[0], others=join_texts(texts[1:]))


class TextParts(msgspec.Struct, frozen=True, kw_only=True):
    """A text as its English template and values, for another language.

    `{name}` in the template stands for the value of that name, which may have a template itself.
    """

    template: str
    values: dict[str, str | TextParts] = {}


def rebuild_text(parts: TextParts | str) -> str:
    """Return the English text of template and values; a plain text as it is."""
    if isinstance(parts, str):
        return parts
    values = {name: rebuild_text(value) for name, value in parts.values.items()}
    text = CodedText(parts.template.format(**values))
    text.template, text.values = parts.template, values
    return text


def parts_or_text(text: str) -> TextParts | str:
    """Return template and values of a text that has them, else the text; see `rebuild_text`."""
    return parts_of(text) or str(text)


def parts_of(text: str) -> TextParts | None:
    """Return template and values of a text that has them; None for a plain one."""
    if not isinstance(text, CodedText):
        return None
    return TextParts(
        template=text.template,
        values={name: parts_or_text(value) for name, value in text.values.items()},
    )
