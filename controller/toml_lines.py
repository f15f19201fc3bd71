"""On which line of a TOML text a key stands: `tomllib` reads values, but forgets where they were.

A locator for text that `tomllib` has already accepted, so it need not judge, only follow: it knows
headers, keys, strings and brackets well enough not to take one for another. (No kept library on PyPI
gives positions; TOML 1.0.0 is the grammar.)
"""

from __future__ import annotations

import re
import tomllib

Path = tuple[str | int, ...]
"""A place in the data: keys of tables and indices of arrays."""

_HEADER = re.compile(r"(\[\[?)(.*?)(\]\]?)\s*(#.*)?$")
_KEY = re.compile(
    r"""\s*((?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+)(?:\s*\.\s*(?:"(?:[^"\\]|\\.)*"|'[^']*'|[A-Za-z0-9_-]+))*)\s*="""
)
_TOKEN = re.compile(r'''"""|\'\'\'|"(?:[^"\\]|\\.)*"|'[^']*'|[\[\]{}]|\#''')


def locate(text: str) -> dict[Path, int]:
    """The line, from 1, of every table, array element and key of an accepted TOML text."""
    lines: dict[Path, int] = {}
    counts: dict[Path, int] = {}
    table: Path = ()
    depth, quote = 0, ""
    for number, line in enumerate(text.splitlines(), 1):
        if depth == 0 and not quote:
            stripped = line.strip()
            header = _HEADER.match(stripped) if stripped.startswith("[") else None
            if header:
                table = _enter(header, counts)
                lines.setdefault(table, number)
                if isinstance(table[-1], int):
                    lines.setdefault(table[:-1], number)
                continue
            key = _KEY.match(line)
            if key is None:
                continue  # blank, or a comment
            for length in range(1, len(parts := _split(key[1])) + 1):
                lines.setdefault((*table, *parts[:length]), number)
            line = line[key.end() :]
        depth, quote = _follow(line, depth, quote)
    return lines


def _enter(header: re.Match[str], counts: dict[Path, int]) -> Path:
    """The path of the table that a header opens; a [[header]] opens the next element of its array."""
    path: Path = ()
    parts = _split(header[2])
    for index, part in enumerate(parts):
        path = (*path, part)
        last = index == len(parts) - 1
        if last and header[1] == "[[":
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _split(dotted: str) -> Path:
    """The parts of a dotted key; the parser itself undoes quotes and escapes."""
    parts: list[str] = []
    value = tomllib.loads(f"{dotted} = 1")
    while isinstance(value, dict):
        key, value = next(iter(value.items()))
        parts.append(key)
    return tuple(parts)


def _follow(line: str, depth: int, quote: str) -> tuple[int, str]:
    """How deep in brackets, and in which multi-line string, the text is after this line."""
    position = 0
    while True:
        if quote:
            end = _closing(line, quote, position)
            if end < 0:
                return depth, quote
            position, quote = end, ""
        token = _TOKEN.search(line, position)
        if token is None or token[0] == "#":
            return depth, ""
        position = token.end()
        if token[0] in ('"""', "'''"):
            quote = token[0]
        elif token[0] in "[{":
            depth += 1
        elif token[0] in "]}":
            depth -= 1


def _closing(line: str, quote: str, position: int) -> int:
    """Just behind the closing quotes; -1 where the string goes on."""
    while (found := line.find(quote, position)) >= 0:
        backslashes = len(line[:found]) - len(line[:found].rstrip("\\"))
        if quote == "'''" or backslashes % 2 == 0:
            end = found + 3
            while end < found + 5 and line[end : end + 1] == quote[0]:
                end += 1  # up to two quotes may stand before the closing three
            return end
        position = found + 1
    return -1
