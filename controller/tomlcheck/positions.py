"""Line numbers of the keys of a TOML text, which `tomllib` does not keep.

The text has already been accepted by `tomllib`, so the walker does not validate: it goes over headers, keys
and values token by token (TOML 1.0.0), skips values and records positions. No maintained library on PyPI
reports positions: tomlkit keeps the style of the text, but no line numbers.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right

DataPath = tuple[str | int, ...]
"""A place in the data: keys of tables and indices of arrays."""

_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_KEY = re.compile(r""""(?:\\.|[^"\\])*"|'[^']*'|[A-Za-z0-9_-]+""")
_STRING = re.compile(
    r'''"""(?:\\.|[^\\])*?"{3,5}'''  # up to two quotes may stand before the closing three
    r"""|'''.*?'{3,5}"""
    r"""|"(?:\\.|[^"\\])*"|'[^']*'""",
    re.DOTALL,
)
_SCALAR = re.compile(r"[^,\]}#\n]+")


def locate_lines(text: str) -> dict[DataPath, int]:
    """Return the line, from 1, of every table, array element and key of an accepted TOML text.

    A table that several places of the text define has the line of the first.
    """
    return _TomlWalker(text).document()


class _TomlWalker:
    """One pass over the text; `_at` is the position of the next token."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._newlines = [match.start() for match in re.finditer("\n", text)]
        self._lines: dict[DataPath, int] = {}
        self._newest: dict[DataPath, int] = {}
        """Index of the element that the last [[header]] of each array of tables opened."""

    def document(self) -> dict[DataPath, int]:
        table: DataPath = ()
        while self._next() < len(self._text):
            if self._text[self._at] == "[":
                table = self._header()
            else:
                self._assignment(table)
        return self._lines

    def _header(self) -> DataPath:
        start = self._at
        opens_element = self._text.startswith("[[", start)
        self._at += 2 if opens_element else 1
        keys = self._dotted_key()
        self._at = self._text.index("]", self._at) + (2 if opens_element else 1)
        path: DataPath = ()
        for left, key in reversed(list(enumerate(reversed(keys)))):
            path = (*path, key)
            self._mark(path, start)
            if opens_element and left == 0:
                self._newest[path] = self._newest.get(path, -1) + 1
            if path in self._newest:
                path = (*path, self._newest[path])
                self._mark(path, start)
        return path

    def _assignment(self, table: DataPath) -> None:
        start = self._at
        path = table
        for key in self._dotted_key():
            path = (*path, key)
            self._mark(path, start)
        self._at = self._text.index("=", self._at) + 1
        self._value(path)

    def _value(self, path: DataPath) -> None:
        self._skip(_SPACE)
        match self._text[self._at]:
            case "[":
                self._array(path)
            case "{":
                self._inline_table(path)
            case '"' | "'":
                self._skip(_STRING)
            case _:
                self._skip(_SCALAR)

    def _array(self, path: DataPath) -> None:
        self._at += 1
        index = 0
        while self._text[self._next()] != "]":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._mark((*path, index), self._at)
            self._value((*path, index))
            index += 1
        self._at += 1

    def _inline_table(self, path: DataPath) -> None:
        self._at += 1
        while self._text[self._next()] != "}":
            if self._text[self._at] == ",":
                self._at += 1
                continue
            self._assignment(path)
        self._at += 1

    def _dotted_key(self) -> list[str]:
        self._skip(_SPACE)
        keys = [self._key()]
        while self._skip(_DOT):
            keys.append(self._key())
        return keys

    def _key(self) -> str:
        written = self._skip(_KEY)
        if written[0] not in "\"'":
            return written
        return str(tomllib.loads(f"key = {written}")["key"])  # the parser itself undoes the escapes

    def _next(self) -> int:
        """Skip blanks and comments; returns the position of the next token."""
        self._skip(_BLANK)
        return self._at

    def _skip(self, pattern: re.Pattern[str]) -> str:
        """Consume what matches the pattern here; returns it, or an empty text."""
        match = pattern.match(self._text, self._at)
        if match is None:
            return ""
        self._at = match.end()
        return match[0]

    def _mark(self, path: DataPath, position: int) -> None:
        self._lines.setdefault(path, bisect_right(self._newlines, position) + 1)
