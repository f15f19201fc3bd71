"""CSV files that the energy plan is read from: their rows, and mistakes with line and remedy.

rows = read_rows("begin;price\n2026-11-27T06:00Z;0,25\n", ("begin", "price"))
rows[0].number("price")                 # 0.25
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Sequence

import msgspec

from drivers.coded_text import coded

MOST_MISTAKES = 20
"""Mistakes of one file that are named."""


class CsvMistake(msgspec.Struct, frozen=True):
    """Mistake in a file: what is wrong and the remedy; `line` counts from 1, 0 stands for the whole file."""

    line: int
    what: str
    remedy: str

    def __str__(self) -> str:
        place = f"line {self.line}: " if self.line else ""
        return f"{place}{self.what}; {self.remedy}"


class EnergyInputError(Exception):
    """Base class of the errors of prices and departures that are handed in."""


class EnergyFileError(EnergyInputError):
    """Mistakes in prices or departures, each with its place and the remedy."""

    def __init__(self, mistakes: Sequence[CsvMistake]) -> None:
        self.mistakes = list(mistakes[:MOST_MISTAKES])
        super().__init__("; ".join(map(str, self.mistakes)))


class ValueMistakeError(EnergyInputError):
    """A value that cannot be used: what is wrong, and the remedy."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


class CsvRow(msgspec.Struct, frozen=True):
    """One row: its line, from 1, and the text of each column. A decimal may have a comma if `has_commas`."""

    line: int
    cells: dict[str, str]
    has_commas: bool

    def number(self, column: str) -> float:
        """Return the number in a column. Raises ValueMistakeError."""
        text = self.cells[column]
        return parse_number(column, text.replace(",", ".") if self.has_commas else text)


def parse_number(name: str, text: str) -> float:
    """Return the finite number that a text is. Raises ValueMistakeError, which names the column."""
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        digits = _NUMBER.search(text)
        meant = digits[0].replace(",", ".") if digits else "30"
        raise ValueMistakeError(
            coded('{name}: "{value}" is not a number', name=name, value=text)
            if text
            else coded("{name}: is empty", name=name),
            coded("write the number alone, with a decimal point, like {meant}", meant=meant),
        )
    return number


def read_rows(text: str, columns: Sequence[str], optional: Sequence[str] = ()) -> list[CsvRow]:
    """Return the rows of a CSV text whose first line names `columns` in any order, and perhaps `optional`.

    Columns are separated by comma, semicolon or tab; case does not count in their names.
    Raises EnergyFileError.
    """
    lines = text.splitlines()
    header = lines[0] if lines else ""
    delimiter = next((each for each in ";\t" if each in header), ",")
    table = _split_cells(lines, delimiter)
    names = [name.strip().lower() for name in (table[0][1] if table else [])]
    remedy = coded("begin the file with {known}", known=",".join(columns))
    known = (*columns, *optional)
    odd = [name for name in names if name not in known or names.count(name) > 1]
    missing = [name for name in columns if name not in names]
    if not any(names):
        raise EnergyFileError([CsvMistake(1, coded("names no columns"), remedy)])
    if missing:
        what = coded("has no column {names}", names=", ".join(missing))
        raise EnergyFileError([CsvMistake(1, what, remedy)])
    if odd:
        what = coded('"{name}" is not one of the columns, or is there twice', name=odd[0])
        raise EnergyFileError([CsvMistake(1, what, coded("use {known}", known=", ".join(known)))])
    rows: list[CsvRow] = []
    mistakes: list[CsvMistake] = []
    for line, cells in table[1:]:
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(names):
            what = coded("has {cells} columns, line 1 names {names}", cells=len(cells), names=len(names))
            remedy = coded("write decimals with a point, or separate all columns by semicolons")
            mistakes.append(CsvMistake(line, what, remedy))
            continue
        texts = [cell.strip() for cell in cells] + [""] * (len(names) - len(cells))
        row = dict.fromkeys(known, "") | dict(zip(names, texts, strict=True))
        rows.append(CsvRow(line, row, has_commas=delimiter != ","))
    if mistakes:
        raise EnergyFileError(mistakes)
    return rows


def _split_cells(lines: Sequence[str], delimiter: str) -> list[tuple[int, list[str]]]:
    """Return the cells of each row with its line. Raises EnergyFileError."""
    reader = csv.reader(lines, delimiter=delimiter)
    try:
        return [(reader.line_num, cells) for cells in reader]
    except csv.Error as error:
        what, remedy = coded("{error}", error=error), coded("write it as CSV (RFC 4180)")
        raise EnergyFileError([CsvMistake(reader.line_num, what, remedy)]) from None


_NUMBER = re.compile(r"-?\d+(?:[.,]\d+)?")
