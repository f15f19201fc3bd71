"""From the file to a `Config`: every mistake at once, each with its place and its mend."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path as FilePath
from typing import Any, TypeVar

import msgspec

from controller.config import notes as config_notes
from controller.config import rules as config_rules
from controller.config.files import file_mistakes, with_absolute_paths
from controller.config.findings import Finding
from controller.config.lines import Path, locate
from controller.config.shape import Shape
from controller.config.tables import Config


class Remark(msgspec.Struct, frozen=True, kw_only=True):
    """What there is to say of a place in the file. `line` counts from 1, `key` is the place in words."""

    file: str
    line: int
    key: str
    what: str
    mend: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.what}; {self.mend}"


class Mistake(Remark, frozen=True, kw_only=True):
    """Something that must be mended before the file can be used."""


class Note(Remark, frozen=True, kw_only=True):
    """Something that a person should know, but that is no mistake."""


class ConfigMistakes(Exception):
    """The file can be read, but not used."""

    def __init__(self, mistakes: list[Mistake], notes: list[Note]) -> None:
        super().__init__(f"{len(mistakes)} mistakes")
        self.mistakes = mistakes
        self.notes = notes


class ConfigUnreadable(Exception):
    """The file cannot be read. Its text says why."""


def read_config(path: FilePath) -> tuple[Config, list[Note]]:
    """The configuration in a file, the files that it names included.

    Raises ConfigUnreadable where there is no text to read, ConfigMistakes where it has mistakes.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except IsADirectoryError:
        raise ConfigUnreadable(
            f"{path}: is a directory; name the file in it, e.g. {path}/controller.toml"
        ) from None
    except UnicodeDecodeError as error:
        raise ConfigUnreadable(f"{path}: is not UTF-8 text (byte {error.start}); TOML must be") from None
    except OSError as error:
        raise ConfigUnreadable(f"{path}: cannot be read: {error.strerror}") from None
    config, mistakes, notes = check_config(text, str(path), path.parent)
    if config is None:
        raise ConfigMistakes(mistakes, notes)
    return config, notes


def check_config(
    text: str, file: str, folder: FilePath | None = None
) -> tuple[Config | None, list[Mistake], list[Note]]:
    """All mistakes and notes of a configuration's text, in the file's order.

    The Config is None where there are mistakes. With `folder`, the files that it names are taken from
    there and looked at too.
    """
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return None, [_syntax_mistake(text, file, error)], []
    except RecursionError:
        return None, [_mistake(file, 1, "TOML", "nests too deep", "write it flatter")], []
    shape = Shape()
    config = msgspec.convert(shape.table(Config, data, ()), Config)
    found = config_rules.mistakes(config)
    if folder is not None:
        config = with_absolute_paths(config, folder)
        found += file_mistakes(config)
    found = shape.found + [finding for finding in found if finding.path not in shape.stood_in]
    lines = locate(text)
    mistakes = _placed(found, lines, data, file, Mistake)
    notes = _placed(config_notes.notes(config), lines, data, file, Note)
    return None if mistakes else config, mistakes, notes


def render(mistakes: list[Mistake], notes: list[Note]) -> str:
    """Mistakes and notes as a person reads them, a line each."""
    lines = [str(mistake) for mistake in mistakes]
    lines += [f"{note} (note)" for note in notes]
    if mistakes:
        lines.append(f"{len(mistakes)} mistake{'' if len(mistakes) == 1 else 's'}")
    return "\n".join(lines)


def _syntax_mistake(text: str, file: str, error: tomllib.TOMLDecodeError) -> Mistake:
    message = str(error)
    what, _, place = message.partition(" (at ")
    digits = place.removeprefix("line ").split(",")[0]
    line = int(digits) if digits.isdigit() else text.rstrip().count("\n") + 1
    mend = next((mend for start, mend in _SYNTAX_MENDS.items() if what.startswith(start)), _LEARN_TOML)
    return _mistake(file, line, "TOML", what, mend)


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


def _mistake(file: str, line: int, key: str, what: str, mend: str) -> Mistake:
    return Mistake(file=file, line=line, key=key, what=what, mend=mend)


_RemarkT = TypeVar("_RemarkT", Mistake, Note)


def _placed(
    findings: list[Finding],
    lines: Mapping[Path, int],
    data: dict[str, Any],
    file: str,
    kind: type[_RemarkT],
) -> list[_RemarkT]:
    placed = [
        kind(
            file=file,
            line=_line(found.path, lines),
            key=_in_words(found.path, data),
            what=found.what,
            mend=found.mend,
        )
        for found in findings
    ]
    return sorted(placed, key=lambda each: each.line)


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
