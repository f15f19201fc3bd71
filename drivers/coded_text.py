"""Texts of findings in English, to be rendered in another language.

A rule writes its text where it is used: `coded("did you mean {meant}?", meant=name)` is the English text, and
carries its template and values for the page, whose catalogue has each template in German.
"""

from __future__ import annotations

from typing import LiteralString


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


def text_of(error: Exception) -> str:
    """Return the text of an error, with its template where it was raised with a coded text."""
    text = error.args[0] if error.args else ""
    return text if isinstance(text, str) else str(error)


def join_or(names: list[str]) -> str:
    """Return names as an enumeration: "a, b or c"."""
    if len(names) == 1:
        return names[0]
    return coded("{others} or {last}", others=", ".join(names[:-1]), last=names[-1])
