"""Syntax of TOML as people write it: the error of a line with the remedy, mostly the line that is meant."""

from __future__ import annotations

import re
import tomllib
from typing import Any

from controller.tomlcheck.diagnostics import ErrorDiagnostic
from controller.tomlcheck.meant_values import TRUTH_WORDS, UNIT_FACTORS
from drivers.coded_text import coded

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
