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
from drivers.coded_text import coded

MOST_IN_RANGE = 1000
"""Stations that one range may stand for."""

_RANGE = re.compile(r"(?P<head>[^\[\]]*)\[(?P<first>\d{1,9})-(?P<last>\d{1,9})\](?P<tail>[^\[\]]*)")


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
                self._add(
                    index, coded('"{name}" is no range of ids', name=name), coded('write it like "CS[01-40]"')
                )
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

    def _add(self, index: int, what: str, remedy: str) -> None:
        self.problems.append(Problem(("station", index, "id"), what, remedy))

    def to_file(self, problems: Iterable[Problem]) -> list[Problem]:
        """Return problems of expanded tables at the places in the file, each place and text once."""
        found: dict[tuple[object, ...], Problem] = {}
        for problem in problems:
            path = problem.path
            if len(path) > 1 and path[0] == "station" and isinstance(path[1], int):
                if path[1] < len(self.origins):
                    path = ("station", self.origins[path[1]], *path[2:])
                problem = replace(problem, path=path)
            found.setdefault((path, problem.remedy), problem)
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
