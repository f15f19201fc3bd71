"""Diagnostics of a TOML file that a person wrote: each problem with its line, its key and the remedy."""

from __future__ import annotations

import codecs
import difflib
import errno
import re
import tomllib
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


def parse_toml(text: str, file: str) -> dict[str, Any] | ErrorDiagnostic:
    """Parse a TOML text; returns its syntax error as a diagnostic."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        return _syntax_error(text, file, error)
    except RecursionError:
        return ErrorDiagnostic(
            file=file,
            line=1,
            key="TOML",
            what=coded("is nested too deeply"),
            remedy=coded("write it flatter"),
        )


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


def _syntax_error(text: str, file: str, error: tomllib.TOMLDecodeError) -> ErrorDiagnostic:
    what, _, place = str(error).partition(" (at ")
    digits = place.removeprefix("line ").split(",")[0]
    line = int(digits) if digits.isdigit() else text.rstrip().count("\n") + 1
    remedies = (remedy for start, remedy in _SYNTAX_REMEDIES.items() if what.startswith(start))
    remedy: str = next(remedies, coded("see {address} for the syntax", address="https://toml.io"))
    if what == _UNCLOSED_LITERAL:
        line = next((n for n, each in enumerate(text.splitlines(), 1) if _OPEN_LITERAL.search(each)), line)
    raw = text.splitlines()[line - 1] if line <= text.count("\n") + 1 and text else ""
    written = raw.strip()
    if (meant_remedy := _remedy_for_line(raw, what)) is not None:
        remedy = meant_remedy
    if what.startswith("Cannot overwrite a value") and (table := _table_without_parent(text, written)):
        line, what, remedy = table
    return ErrorDiagnostic(file=file, line=line, key="TOML", what=_describe_syntax(what), remedy=remedy)


def _describe_syntax(message: str) -> str:
    """Return the parser's message as a coded text."""
    if message.startswith(("Cannot declare", "Cannot redefine", "Cannot mutate")):
        table = _KEY_TUPLE.search(message)
        name = ".".join(_QUOTED.findall(table[0])) if table else "?"
        return coded("Cannot declare {table} twice", table=f"[{name}]")
    if message.startswith("Illegal character") and not message.endswith(r"'\n'"):
        return coded("Illegal character {character}", character=message.removeprefix("Illegal character "))
    known = (text for start, text in _SYNTAX_TEXTS.items() if message.startswith(start))
    return next(known, coded("Invalid TOML: {message}", message=message))


def _remedy_for_line(line: str, message: str) -> str | None:
    """Return the remedy that a line with a syntax error itself suggests; None if it suggests none."""
    written = line.strip()
    if hidden := next((each for each in line if each in _HIDDEN_LETTERS), None):
        return coded(
            "the line has a character that is not shown ({code}): type it anew", code=f"U+{ord(hidden):04X}"
        )
    if message.startswith("Invalid statement") and _CONFLICT.match(written):
        return coded("remove the marks of the merge, and one of the two versions")
    is_unread = message.startswith(("Invalid statement", "Expected", *_OF_ASSIGNMENTS))
    if is_unread and (remedy := _remedy_for_comment(written)) is not None:
        return remedy
    if written.startswith("[") and message.startswith(("Expected", "Invalid initial")):
        return coded("close the name of the table: [table], or [[table]]")
    if message.startswith("Expected '='"):
        if header := _YAML_TABLE.fullmatch(written):
            return coded("did you mean {meant}?", meant=f"[{header[1]}]")
        key, colon, value = written.partition(":")
        if colon and "=" not in key:
            written = f"{key}={value}"
    if message.startswith(_OF_ASSIGNMENTS):
        return _remedy_for_assignment(written)
    return None


def _remedy_for_comment(line: str) -> str | None:
    """Return the remedy for a line with a comment of another language; None where it has none.

    What stands before the comment is valid by itself, so that no `//` of a URL is taken for one.
    """
    for sign in _FOREIGN_COMMENT.finditer(line):
        if "#" in (before := line[: sign.start()].rstrip()):
            return None
        comment = _FOREIGN_CLOSE.sub("", line[sign.end() :]).strip()
        try:
            tomllib.loads(before)
        except tomllib.TOMLDecodeError:
            continue
        if comment:
            meant = f"{before}  # {comment}" if before else f"# {comment}"
            return coded("a comment begins with #: {meant}", meant=meant)
        return coded("did you mean {meant}?", meant=before) if before else coded("a comment begins with #")
    return None


def _remedy_for_assignment(written: str) -> str | None:
    """Return the remedy for a line `key = value` that cannot be read; None if none is known."""
    key, equals, value = written.partition("=")
    key, value = key.strip(), value.partition("#")[0].strip()
    if not equals:
        return None
    if not _KEYS.fullmatch(key.rstrip(":=+ ")):
        return coded("the name of a key has only a to z, 0 to 9, - and _")
    if not value:
        return coded("write a value after =, or remove the line")
    if value.lower() in _NO_VALUE:
        return coded("remove the line: a key without a value is left out")
    if _PERCENTAGE.fullmatch(value):
        return coded("write the quantity itself, or a part of 1 like 0.8: percentages are not known here")
    if (match := _NUMBER.fullmatch(value)) and _factor_of(key, match[2]) is None:
        unit = _UNIT_OF_SUFFIX[key.rpartition("_")[2].lower()]
        return coded("write the number alone, in {unit}", unit=unit)
    if value == "{" or (value.lstrip("[ ")[:1] == "{" and "=" in value):
        return coded("write a table in braces on one line, without a comma at its end")
    if (meant := _meant_assignment(written)) and meant != written:
        return coded("did you mean {meant}?", meant=meant)
    return None


def _table_without_parent(text: str, header: str) -> tuple[int, str, str] | None:
    """Return line, problem and remedy of a table like `[[station.evse]]` above the first `[[station]]`.

    Or of a single table `[station]` above it.
    `header`: the line at which the parser found that the table is no array of tables.
    """
    if (match := _ARRAY_HEADER.match(header)) is None:
        return None
    above = ""
    for number, written in enumerate(map(str.strip, text.splitlines()), 1):
        if written == header:
            break
        if written.partition("#")[0].strip() == f"[{match[1]}]":
            what = coded("{table} is a single table, and there are several", table=f"[{match[1]}]")
            return number, what, coded("did you mean {meant}?", meant=header)
        if written.startswith((f"[[{match[1]}.", f"[{match[1]}.")):
            remedy = (
                coded("did you mean {header} in {above}?", header=header, above=above)
                if above
                else coded("write {header} above it", header=header)
            )
            return number, coded("{written} is not below a {header}", written=written, header=header), remedy
        if written.startswith("["):
            above = f"{written} (line {number})"
    return None


def name_letters(letters: Iterable[str]) -> str:
    """Name letters of a text for a message, each once, e.g. "- and a blank"."""
    named = [coded("a blank") if letter.isspace() else letter for letter in sorted(set(letters))]
    return reduce(lambda first, second: coded("{others} and {last}", others=first, last=second), named)


def _meant_assignment(line: str) -> str | None:
    """Return the assignment that a line most likely means, e.g. `owner = "cpo"` for `owner = cpo`."""
    key, equals, value = line.partition("=")
    key = key.strip()
    key, value = key.rstrip(":=+ "), value.lstrip("= ").partition("#")[0].strip()
    if not equals or not value:
        return None
    if listed := _LISTED.fullmatch(value):
        texts = re.findall(_QUOTED_TEXT, listed[0])
        return f"{key} = {texts[0]}" if len(texts) == 1 else f"{key} = [{', '.join(texts)}]"
    if value[0] in _CURLY_QUOTES:
        return f'{key} = "{value.strip(_CURLY_QUOTES)}"'
    if (truth := TRUTH_WORDS.get(value.lower())) is not None:
        return f"{key} = {str(truth).lower()}"
    if match := _DAY.fullmatch(value):
        year, month, day = (match[1], match[2], match[3]) if match[1] else (match[6], match[5], match[4])
        return f"{key} = {year}-{int(month):02}-{int(day):02}"
    if value[0] in "[({" and (inner := value.strip("[](){} ")):
        elements = (each.strip(" \"'") for each in _BETWEEN_ELEMENTS.split(inner))
        return f"{key} = [" + ", ".join(_quoted(each) for each in elements if each) + "]"
    if doubled := _DOUBLE_QUOTES.fullmatch(value):
        return f'{key} = "{doubled[1]}"'
    if value[0] in "\"'":
        return f"{key} = {value}"
    value = value.replace("\u2212", "-").replace("\u2013", "-")
    if match := _NUMBER.fullmatch(value):
        if (factor := _factor_of(key, match[2])) is None:
            return None
        if factor != 1:
            return f"{key} = {round(float(match[1].replace(',', '.')) * factor, 6):.12g}"
        number = match[1].replace(",", ".").rstrip(".")
        text = f'; as text: {key} = "{value}"' if value.isdigit() else ""
        sign, digits = ("-", number[1:]) if number[0] == "-" else ("", number)
        digits = f"0{digits}" if digits[0] == "." else digits.lstrip("0") or "0"
        return f"{key} = {sign}{f'0{digits}' if digits[0] == '.' else digits}{text}"
    return f'{key} = "{value}"' if _BARE_TEXT.fullmatch(value) else None


def _factor_of(key: str, unit: str) -> float | None:
    """Return what a number in a unit is multiplied by for a key; None for a unit of something else."""
    of_key = _UNIT_OF_SUFFIX.get(key.rpartition("_")[2].lower())
    if not unit or unit == "%" or of_key is None:
        return 1.0
    return UNIT_FACTORS[of_key].get(unit.lower())


def _quoted(element: str) -> str:
    return element if _NUMBER.fullmatch(element) else f'"{element}"'


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
_UNIT_OF_SUFFIX = {each.lower(): each for each in UNIT_FACTORS}
"""Units of keys by the end of their names, e.g. "kW" of peak_kw."""

_FOREIGN_COMMENT = re.compile(r";|//|--|/\*|<!--|^\*(?!\w)|^REM\b|^'(?=[^']*$)", re.IGNORECASE)
_FOREIGN_CLOSE = re.compile(r"(?:\*/|-->)$")
"""Begin and end of a comment in C, INI files, SQL, HTML and Basic."""
_CURLY_QUOTES = "`\u00b4\u201c\u201d\u201e\u201f\u2018\u2019\u00ab\u00bb"
_NUMBER = re.compile(r"(-?(?:\d*[.,]?\d+|\d+\.))\s*([a-zA-Z%]{0,3})")
_PERCENTAGE = re.compile(r"-?\d+(?:[.,]\d+)?\s*%")
_DOUBLE_QUOTES = re.compile(r'""([^"]+)""')
_QUOTED_TEXT = r"""\"[^\"]*\"|'[^']*'"""
_LISTED = re.compile(rf"(?:{_QUOTED_TEXT})(?:\s*[,;]\s*(?:{_QUOTED_TEXT}))*\s*,?")
"""Texts without the brackets of a list, or a single one with a comma at its end."""
_DAY = re.compile(r"(\d{4})[-./](\d{1,2})[-./](\d{1,2})|(\d{1,2})\.(\d{1,2})\.(\d{4})")
_BETWEEN_ELEMENTS = re.compile(r"\s*[,;]\s*|(?<=[\"'])\s+(?=[\"'])")
_KEYS = re.compile(r"""(?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*""", re.ASCII)
_YAML_TABLE = re.compile(r"([\w-]+)\s*:", re.ASCII)
_CONFLICT = re.compile(r"<{7}|={7}|>{7}")
_HIDDEN_LETTERS = "\u00a0\u200b\u200c\u200d\u202f\u2060\ufeff"
_NO_VALUE = frozenset({"null", "none", "nil", "~", "undefined"})
_OF_ASSIGNMENTS = (
    "Invalid value",
    "Invalid date",
    "Invalid initial character",
    "Expected newline",
    "Expected '='",
    "Unclosed",
)
"""Begins of the parser's messages about a line `key = value`."""
_BARE_TEXT = re.compile(r"[\w.:/@{}+-]+")

_ARRAY_HEADER = re.compile(r"\[\[([\w-]+)\]\]")

_UNCLOSED_LITERAL = 'Expected "\'"'
"""The parser's message about a text in '...' that is not closed, which it finds at the end of the file."""
_OPEN_LITERAL = re.compile(r"^[^#\"']*=\s*\[?\s*'[^']*$")
_KEY_TUPLE = re.compile(r"\((?:'[^']*',? ?)+\)")
_QUOTED = re.compile(r"'([^']*)'")
"""Name of a table as the parser writes it: a tuple of its keys."""

_SYNTAX_TEXTS = {
    "Invalid value": coded("Invalid value"),
    "Invalid date": coded("Invalid date or time"),
    "Invalid statement": coded("Invalid statement"),
    "Invalid initial character": coded("Invalid name of a key"),
    "Expected newline": coded("Expected the end of the line after the value"),
    "Expected '='": coded('Expected "=" after a key'),
    _UNCLOSED_LITERAL: coded("Unclosed text"),
    "Expected ']": coded("The name of the table is not closed"),
    "Cannot overwrite a value": coded("Cannot overwrite a value"),
    "Duplicate inline table key": coded("Cannot overwrite a value"),
    "Unclosed array": coded("Unclosed list"),
    "Unclosed inline table": coded("Unclosed table in braces"),
    "Unescaped": coded("Backslash that begins no known escape"),
    "Invalid hex value": coded("Backslash that begins no known escape"),
    "Escaped character": coded("Backslash that begins no known escape"),
    "Illegal character": coded("Unclosed text"),
    "Unterminated string": coded("Unclosed text"),
}
"""Texts of syntax errors, by how the parser's message begins."""

_SYNTAX_REMEDIES = {
    "Invalid value": coded('put text in quotes, key = "text"; true and false are lower case'),
    "Expected newline": coded("write one key = value per line; a decimal has a point, 1.5, and no leading 0"),
    "Invalid statement": coded("a line is [table], [[table]], key = value or # comment"),
    "Expected '=' after a key": coded("a line is key = value"),
    _UNCLOSED_LITERAL: coded("close the text with the quote that it begins with"),
    "Expected ']": coded("close the name of the table: [table], or [[table]]"),
    "Cannot overwrite a value": coded("the key is there twice: remove one"),
    "Cannot declare": coded("the table is there twice: remove one; one of several is written [[table]]"),
    "Unescaped": coded("write \\\\ for a backslash, or put the text in '...'"),
    r"Illegal character '\n'": coded("close the text with a quote on its line"),
    "Unterminated string": coded("close the text with a quote on its line"),
    "Illegal character": coded("remove the character"),
    "Invalid date": coded("write a day that there is, like 2027-12-31"),
    "Unclosed array": coded('separate by commas and close with ]: ["a", "b"]'),
}
"""Remedies of syntax errors, by how the parser's message begins."""


def _line_of(path: DataPath, lines: Mapping[DataPath, int]) -> int:
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


def _describe_path(path: DataPath, data: Any) -> str:
    """Return e.g. `station "CS01" evse[0].max_a`: an array's element by its id where it has one."""
    words = ""
    for part in path:
        if isinstance(part, int):
            element = data[part] if isinstance(data, list) and part < len(data) else None
            name = element.get("id") if isinstance(element, dict) else None
            words += f' "{name}"' if isinstance(name, str) else f"[{part}]"
            data = element
        else:
            words += f".{part}" if words and not words.endswith('"') else (f" {part}" if words else part)
            data = data.get(part) if isinstance(data, dict) else None
    return words
