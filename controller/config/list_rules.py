"""Rule of all lists of names: each stands in it once."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec

from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

_WITH_OWN_RULE = frozenset({"phases", "phase_order", "plus", "minus", "observers", "permissions"})
"""Keys whose repeated names are an error, or are compared by their meaning."""
_CASE_DOES_NOT_COUNT = frozenset({"names", "nts_servers", "cards"})


def find_repeated_names(config: Config) -> Iterator[Problem]:
    """Find names that stand twice in one list."""
    yield from _repeated(config, ())


def _repeated(value: Any, path: DataPath) -> Iterator[Problem]:
    """Find the names that stand twice in the lists of a table, and of the tables below it."""
    if isinstance(value, msgspec.Struct):
        for key in value.__struct_fields__:
            if key not in _WITH_OWN_RULE:
                yield from _repeated(getattr(value, key), (*path, key))
    elif isinstance(value, tuple):
        seen: set[str] = set()
        for index, each in enumerate(value):
            place: DataPath = (*path, index)
            if not isinstance(each, str):
                yield from _repeated(each, place)
                continue
            name = each.casefold() if path[-1] in _CASE_DOES_NOT_COUNT else each
            if name in seen:
                what = coded('"{name}" is listed twice', name=f"{each}")
                yield Problem(place, what, coded("remove one of the two"))
            seen.add(name)
