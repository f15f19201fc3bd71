"""Diagnostics of a TOML file that a person wrote: each problem with its line, its key and the remedy."""

from __future__ import annotations

import codecs
import difflib
import errno
from collections.abc import Iterable, Mapping
from functools import reduce
from pathlib import Path as FilePath
from typing import Any, TypeVar

import msgspec

from controller.tomlcheck.positions import DataPath, locate_lines
from drivers.coded_text import coded, join_or


class TomlCheckError(Exception):
    """Base class of the errors of this package."""


class FileUnreadableError(TomlCheckError):
    """The file cannot be read. Its text gives the reason."""


class NotTextError(TomlCheckError):
    """Bytes that are not UTF-8 text. `line` counts from 1; `what` names the column and the likely letter."""

    def __init__(self, data: bytes, position: int) -> None:
        before, letter = data[:position], data[position : position + 1].decode("cp1252", "replace")
        self.line = before.count(b"\n") + 1
        column = len(before.rpartition(b"\n")[2].decode("utf-8", "replace")) + 1
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)) or b"\0" in data:
            self.what: str = coded("is not UTF-8 text, but UTF-16 or no text at all")
        else:
            self.what = coded(
                'is not UTF-8 text at column {column}, where Windows-1252 has "{letter}"',
                column=column,
                letter=letter,
            )
        self.remedy: str = coded("save the file as UTF-8")
        super().__init__(f"line {self.line}: {self.what}; {self.remedy}")


class Problem(msgspec.Struct, frozen=True):
    """Mistake at a place in the data, with its remedy; not yet located in the file.

    `refers_to`: the array of tables that a dangling reference should lead to; empty for anything else.
    `depends_on`: another key, or table, without whose values there were no problem; empty for none.
    """

    path: DataPath
    what: str
    remedy: str
    refers_to: str = ""
    depends_on: DataPath = ()


class Diagnostic(msgspec.Struct, frozen=True, kw_only=True):
    """A problem located in a file. `line` counts from 1; `key` describes the place."""

    file: str
    line: int
    key: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.key}: {self.what}; {self.remedy}"


class ErrorDiagnostic(Diagnostic, frozen=True, kw_only=True):
    """A problem that has to be corrected before the file can be used."""


class HintDiagnostic(Diagnostic, frozen=True, kw_only=True):
    """A remark on a file that can be used as it is."""


_DiagnosticT = TypeVar("_DiagnosticT", ErrorDiagnostic, HintDiagnostic)


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that is spelt most alike; None if none is near. Case does not count."""
    by_lower = {each.lower(): each for each in known}
    near = difflib.get_close_matches(name.lower(), by_lower, 1)
    return by_lower[near[0]] if near else None


def nearest_names(name: str, known: Iterable[str]) -> list[str]:
    """Return the known names that may be meant, at most 6; none if none is near. Case does not count."""
    names = sorted(known)
    longer = [each for each in names if name and each.lower().startswith(f"{name.lower()}-")]
    if 1 <= len(longer) <= 6:
        return longer
    if near := nearest_name(name, names):
        return [near]
    parts = [each for each in names if name and name.lower() in each.lower()]
    return parts if len(parts) <= 3 else []


def unknown_name(path: DataPath, name: str, known: Iterable[str], kind: str) -> Problem:
    """Return the problem of a reference to a name that does not exist, with the nearest ones that do."""
    names = sorted(known)
    near = nearest_names(name, names)
    if near:
        remedy = coded("did you mean {meant}?", meant=join_or([f'"{each}"' for each in near]))
    elif names:
        remedy = coded("known are {names}", names=", ".join(names))
    else:
        remedy = coded("add a {table}", table=f"[[{kind}]]")
    return Problem(path, coded('{kind} "{name}" does not exist', kind=kind, name=name), remedy, kind)


def defined_already(path: DataPath, name: str) -> Problem:
    """Return the problem of an id that another table has."""
    return Problem(path, coded('"{name}" is already defined', name=name), coded("give each its own id"))


def without_blanks(url: str) -> str:
    """Return a URL without blanks, tabs and ends of lines."""
    return "".join(url.split())


def blank_in_url(path: DataPath, url: str) -> Problem:
    """Return the problem of a URL with a blank in it."""
    remedy = coded(
        'did you mean "{meant}"? A blank that belongs to the path is written %20', meant=without_blanks(url)
    )
    return Problem(path, coded("contains a blank"), remedy)


def decode_text(data: bytes) -> str:
    """Return bytes of UTF-8 as text without byte order mark, its lines ended by LF. Raises NotTextError."""
    try:
        return data.decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except UnicodeDecodeError as error:
        start = error.start + 3 * data.startswith(codecs.BOM_UTF8)
        raise NotTextError(data, start) from None


def read_text(path: FilePath) -> str:
    """Read a file of UTF-8 text; a byte order mark is skipped. Raises FileUnreadableError."""
    try:
        return decode_text(path.read_bytes())
    except IsADirectoryError:
        raise FileUnreadableError(
            f"{path}: is a directory; name the file in it, e.g. {path}/controller.toml"
        ) from None
    except NotTextError as error:
        raise FileUnreadableError(f"{path}:{error.line}: {error.what}; {error.remedy}") from None
    except OSError as error:
        raise FileUnreadableError(
            f"{path}: cannot be read: {error.strerror}; {remedy_for_file_error(error)}"
        ) from None


def remedy_for_file_error(error: OSError) -> str:
    """Return what a person does about a file that cannot be read or written."""
    return FILE_REMEDIES.get(error.errno or 0, "check the path and the disk")


FILE_REMEDIES = {
    errno.ENOENT: "check the path",
    errno.ENOTDIR: "check the path: a part of it is a file",
    errno.EISDIR: "name a file in the directory",
    errno.EEXIST: "name another file, or remove this one",
    errno.EACCES: "run the command with sudo, or give its user the right",
    errno.EPERM: "run the command with sudo, or give its user the right",
    errno.EROFS: "name a file on a disk that can be written",
    errno.ENOSPC: "make room on the disk",
    errno.EDQUOT: "make room on the disk",
}


def in_other_file(path: DataPath, mistake: Diagnostic) -> Problem:
    """Return the problem of a key that names a file with a mistake."""
    what = coded(
        "{file}:{line}: {key}: {problem}",
        file=mistake.file,
        line=mistake.line,
        key=mistake.key,
        problem=mistake.what,
    )
    return Problem(path, what, mistake.remedy)


def render_diagnostics(errors: list[ErrorDiagnostic], hints: list[HintDiagnostic]) -> str:
    """Return errors and hints as text, a line each, and the number of errors.

    A mistake that many tables share, e.g. all stations, is one line with the lines of the others.
    """
    lines = _render_shared(errors)
    lines += [f"{line} (hint)" for line in _render_shared(hints)]
    if errors:
        lines.append(f"{len(errors)} error{'' if len(errors) == 1 else 's'}")
    return "\n".join(lines)


def _render_shared(found: Iterable[Diagnostic]) -> list[str]:
    shared: dict[tuple[str, str], list[Diagnostic]] = {}
    for each in found:
        shared.setdefault((each.what, each.remedy), []).append(each)
    lines: list[tuple[int, str]] = []
    for same in shared.values():
        if len(same) <= MOST_ALIKE:
            lines += [(each.line, str(each)) for each in same]
            continue
        others = ", ".join(str(each.line) for each in same[1 : MOST_LINES + 1])
        others += ", ..." if len(same) > MOST_LINES + 1 else ""
        lines.append((same[0].line, f"{same[0]}; {len(same) - 1} more like this: lines {others}"))
    return [line for _, line in sorted(lines, key=lambda each: each[0])]


MOST_ALIKE = 3
MOST_LINES = 10
"""Equal problems that are written one by one, and lines of others that are listed for more."""


def locate_problems(
    problems: Iterable[Problem], text: str, data: dict[str, Any], file: str, kind: type[_DiagnosticT]
) -> list[_DiagnosticT]:
    """Return problems in the data of a text as diagnostics of the file, in the order of its lines."""
    lines = locate_lines(text)
    located = [
        kind(
            file=file,
            line=_line_of(problem.path, lines),
            key=_describe_path(problem.path, data),
            what=problem.what,
            remedy=problem.remedy,
        )
        for problem in problems
    ]
    return sorted(located, key=lambda each: each.line)


def name_letters(letters: Iterable[str]) -> str:
    """Name letters of a text for a message, each once, e.g. "- and a blank"."""
    named = [coded("a blank") if letter.isspace() else letter for letter in sorted(set(letters))]
    return reduce(lambda first, second: coded("{others} and {last}", others=first, last=second), named)


def _line_of(path: DataPath, lines: Mapping[DataPath, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _describe_path(path: DataPath, data: Any) -> str:
    """Return e.g. `station "CS01" evse[0].max_a`: an array's element by its id or name where it has one."""
    words = ""
    for part in path:
        if isinstance(part, int):
            element = data[part] if isinstance(data, list) and part < len(data) else None
            name = element.get("id", element.get("name")) if isinstance(element, dict) else None
            words += f' "{name}"' if isinstance(name, str) else f"[{part}]"
            data = element
        else:
            words += f".{part}" if words and not words.endswith('"') else (f" {part}" if words else part)
            data = data.get(part) if isinstance(data, dict) else None
    return words
