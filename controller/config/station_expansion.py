"""Expansion of [station_defaults] and of ranges of ids ("CS[01-40]") into single [[station]] tables.

The expanded tables are checked like any others; what is found in them is reported at the table in the file
that they come from, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

MOST_IN_RANGE = 1000
"""Stations that one range may stand for."""

_RANGE = re.compile(r"(?P<head>[^\[\]]*)\[(?P<first>\d{1,9})-(?P<last>\d{1,9})\](?P<tail>[^\[\]]*)")

_ABBREVIATED = re.compile(
    r"([^{}()]*?[^{}()\d._-])(?:[{(](\d+)(?:-|\.\.)(\d+)[)}]"
    r"|(\d{2,})(?: ?(?:-|\u2013|\.{2,3}|:|/) ?| (?:to|bis) )\1?(\d{2,}))"
)
"""Several stations as other programs write them: CS{1-10}, CS(1-10), CS01-CS10, CS01..10, CS01 to CS10."""
_OTHER_RANGE = re.compile(
    r"([^\[\]]*)\[ ?(\d{1,9}) ?(?:-|\u2013|\.{2,3}|:|/|to|bis) ?(\d{1,9}) ?\]?([^\[\]]*)"
)
"""A range in brackets with another sign between its numbers, or without the last bracket."""
_ENUMERATED = re.compile(r"([^\d,;][^,;]*)([,;] ?[^,;]+)+")
"""Several ids in one text: CS01,CS02."""


def find_several_stations(path: DataPath, name: str) -> Problem | None:
    """Return the problem of an id that stands for several stations; None for that of a single one."""
    what = coded('"{name}" is the id of one station', name=name)
    if match := _ABBREVIATED.fullmatch(name):
        first, last = sorted((match[2] or match[4], match[3] or match[5]), key=int)
        several = f"{match[1]}[{first}-{last}]"
        return None if int(first) == int(last) else _suggest_range(path, what, several)
    if name.endswith("*"):
        return _suggest_range(path, what, f"{name.rstrip('*')}[01-10]")
    if _ENUMERATED.fullmatch(name):
        return Problem(path, what, coded("write a [[station]] for each"))
    return None


def _meant_range(name: str) -> str:
    """Return the remedy for an id with brackets that is no range."""
    if (match := _OTHER_RANGE.fullmatch(name)) is None:
        return coded('write it like "CS[01-40]"')
    first, last = sorted((match[2], match[3]), key=int)
    return coded("did you mean {meant}?", meant=f'"{match[1]}[{first}-{last}]{match[4]}"')


def _suggest_range(path: DataPath, what: str, several: str) -> Problem:
    return Problem(path, what, coded('for several stations write id = "{several}"', several=several))


class ExpandedStations:
    """The [[station]] tables of a file after expansion; `origins[i]` is the place of the i-th in the file."""

    def __init__(self, tables: Sequence[object], defaults: Mapping[str, object]) -> None:
        self.tables: list[object] = []
        self.origins: list[int] = []
        self.problems: list[Problem] = []
        """Errors of ranges, at their places in the file."""
        for index, table in enumerate(tables):
            for expanded in self._expand(index, table):
                self.tables.append(_complete(expanded, defaults))
                self.origins.append(index)

    def _expand(self, index: int, table: object) -> Iterable[object]:
        name = table.get("id") if isinstance(table, dict) else None
        match = _RANGE.fullmatch(name) if isinstance(name, str) else None
        if match is None or not isinstance(table, dict):
            if isinstance(name, str) and ("[" in name or "]" in name):
                self._add(index, coded('"{name}" is no range of ids', name=name), _meant_range(name))
            return [table]
        first, last = int(match["first"]), int(match["last"])
        if not first <= last < first + MOST_IN_RANGE:
            self._add(
                index,
                coded('"{name}" is a range of {count} ids', name=name, count=max(0, last - first + 1)),
                coded(
                    "write the lower number first, and at most {most} stations in one range",
                    most=MOST_IN_RANGE,
                ),
            )
            return [table]
        width = len(match["first"])
        return [
            {**table, "id": f"{match['head']}{number:0{width}d}{match['tail']}"}
            for number in range(first, last + 1)
        ]

    def fold_unknown(self, problems: Sequence[Problem]) -> list[Problem]:
        """Return problems without those that follow from the ids here.

        These are references to stations that do not exist because an id could not be expanded, or is one of
        a single station that stands for several; and what else is found at such an id.
        """
        own = {problem.path for problem in self.problems}
        left = [
            problem
            for problem in problems
            if problem.refers_to != "station"
            and (problem in self.problems or self._in_file(problem.path) not in own)
        ]
        if self.problems or len(left) == len(problems):
            return left
        several = [
            find_several_stations(("station", index, "id"), table["id"])
            for index, table in enumerate(self.tables)
            if isinstance(table, dict) and isinstance(table.get("id"), str)
        ]
        causes = [each for each in several if each is not None]
        return causes + left if causes else list(problems)

    def _add(self, index: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(("station", index, "id"), what, remedy))

    def _in_file(self, path: DataPath) -> DataPath:
        """Return the place in the file of a place in the expanded tables."""
        if (
            len(path) > 1
            and path[0] == "station"
            and isinstance(path[1], int)
            and path[1] < len(self.origins)
        ):
            return ("station", self.origins[path[1]], *path[2:])
        return path

    def to_file(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return problems of expanded tables at the places in the file, each place and text once."""
        found: dict[tuple[object, ...], Problem] = {}
        for problem in problems:
            placed = replace(problem, path=self._in_file(problem.path))
            found.setdefault((placed.path, placed.remedy), placed)
        return list(found.values())


def _complete(table: object, defaults: Mapping[str, object]) -> object:
    """Return a table with the defaults of the keys that it leaves out."""
    if not isinstance(table, dict):
        return table
    completed: dict[str, Any] = {**defaults, **table}
    file, name = completed.get("password_file"), completed.get("id")
    if isinstance(file, str) and isinstance(name, str):
        completed["password_file"] = file.replace("{station}", name)
    return completed
