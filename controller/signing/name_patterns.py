"""Names as a policy lists them: each by itself, or with `*` for any characters."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

from controller.ocpp.actions import COMMANDS, REPORTS, SHARED

ANY = "*"


class NamePatterns:
    """A list of names; None lists every name."""

    def __init__(self, names: Iterable[str] | None) -> None:
        listed = None if names is None else frozenset(names)
        self._every = listed is None or ANY in listed
        self._plain = frozenset(name for name in listed or () if ANY not in name)
        patterns = [_pattern(name) for name in sorted(listed or ()) if ANY in name]
        self._patterns = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def __contains__(self, name: str) -> bool:
        if self._every or name in self._plain:
            return True
        return self._patterns is not None and self._patterns.fullmatch(name) is not None


def actions(listed: Iterable[str] | None) -> NamePatterns:
    """Actions, of which classes are listed as well."""
    if listed is None:
        return NamePatterns(None)
    return NamePatterns(frozenset().union(*(CLASSES.get(name, frozenset({name})) for name in listed)))


CLASSES: Mapping[str, frozenset[str]] = {
    name: frozenset().union(*(each.get(name, frozenset()) for each in (COMMANDS, SHARED, REPORTS)))
    for name in {*COMMANDS, *SHARED, *REPORTS}
}
"""What a backend commands and what a station reports bear the same name where it is the same matter."""


def _pattern(name: str) -> str:
    return "(?:" + ".*".join(re.escape(part) for part in name.split(ANY)) + ")"
