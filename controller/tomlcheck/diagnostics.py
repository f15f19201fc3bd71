"""What is told of a file of TOML that a person wrote: each mistake and note with its line and its mend."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

import msgspec

from controller.tomlcheck.findings import Finding
from controller.tomlcheck.positions import Path, locate


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of a place in the file. `line` counts from 1, `key` is the place in words."""

    file: str
    line: int
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.what}; {self.mend}"


class ErrorDiagnostic(Diagnostic, frozen=True, kw_only=True):
    """Something that must be mended before the file can be used."""


class HintDiagnostic(Diagnostic, frozen=True, kw_only=True):
    """Something that a person should know, but that is no mistake."""


class FileUnreadableError(Exception):
    """The file cannot be read. Its text says why."""


def read_text(path: FilePath) -> str:
    """The text of a file. Raises ConfigUnreadable where there is none to read."""
    try:
        return path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise FileUnreadableError(
            f"{path}: is a directory; name the file in it, e.g. {path}/controller.toml"
        ) from None
    except UnicodeDecodeError as error:
        raise FileUnreadableError(f"{path}: is not UTF-8 text (byte {error.start}); TOML must be") from None
    except OSError as error:
        raise FileUnreadableError(f"{path}: cannot be read: {error.strerror}") from None


def parse(text: str, file: str) -> dict[str, Any] | ErrorDiagnostic:
    """The data of a TOML text, or why it is none."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_mistake(text, file, error)
    except RecursionError:
        return ErrorDiagnostic(file=file, line=1, key="TOML", what="nests too deep", mend="write it flatter")


def render(mistakes: list[ErrorDiagnostic], notes: list[HintDiagnostic]) -> str:
    """Mistakes and notes as a person reads them, a line each."""
    lines = [str(mistake) for mistake in mistakes]
    lines += [f"{note} (note)" for note in notes]
    if mistakes:
        lines.append(f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}")
    return "\n".join(lines)


def _syntax_mistake(text: str, file: str, error: tomllib.TOMLDecodeError) -> ErrorDiagnostic:
    message = str(error)
    what, _, place = message.partition(" (at ")
    digits = place.removeprefix("line ").split(",")[0]
    line = int(digits) if digits.isdigit() else text.rstrip().count("\n") + 1
    mend = next((mend for start, mend in _SYNTAX_MENDS.items() if what.startswith(start)), _LEARN_TOML)
    return ErrorDiagnostic(file=file, line=line, key="TOML", what=what, mend=mend)


_LEARN_TOML = "https://toml.io has the rules"
_SYNTAX_MENDS = {
    "Invalid value": 'a text stands in quotes, key = "text"; true and false are lower case',
    "Expected newline": "one key = value a line; a number has a point, 1.5, and no leading 0",
    "Invalid statement": "a line is [table], [[table]], key = value or # comment",
    "Expected '=' after a key": "a line is key = value",
    "Cannot overwrite a value": "the key stands there twice: remove one",
    "Cannot declare": "the table stands there twice: remove one; one of many is [[so]]",
    "Unescaped": r"write \\ for a backslash, or put the text in '...'",
    "Illegal character": "close the text with a quote on its line",
}
"""What helps, by how the parser's message begins."""


_RemarkT = TypeVar("_RemarkT", ErrorDiagnostic, HintDiagnostic)


def placed(
    findings: list[Finding], text: str, data: dict[str, Any], file: str, kind: type[_RemarkT]
) -> list[_RemarkT]:
    """Findings in the data of a text as remarks on the file, in the order of its lines."""
    lines = locate(text)
    remarks = [
        kind(
            file=file,
            line=_line(found.path, lines),
            key=_in_words(found.path, data),
            what=found.what,
            mend=found.mend,
        )
        for found in findings
    ]
    return sorted(remarks, key=lambda each: each.line)


def _line(path: Path, lines: Mapping[Path, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _in_words(path: Path, data: Any) -> str:
    """E.g. `station "CS01" evse[0].max_a`: an element of an array by its id where it has one."""
    words = ""
    for part in path:
        if isinstance(part, int):
            element = data[part] if isinstance(data, list) else None
            name = element.get("id") if isinstance(element, dict) else None
            words += f' "{name}"' if isinstance(name, str) else f"[{part}]"
            data = element
        else:
            words += f".{part}" if words and not words.endswith('"') else (f" {part}" if words else part)
            data = data.get(part) if isinstance(data, dict) else None
    return words
