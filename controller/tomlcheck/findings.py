"""What the checks of a configuration find: a place in the data, what is wrong there, and the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

import msgspec

from controller.tomlcheck.positions import Path


class Finding(msgspec.Struct, frozen=True):
    """A mistake or a note: where in the data, what, and how to mend it."""

    path: Path
    what: str
    mend: str


def unknown(path: Path, name: str, known: Iterable[str], kind: str) -> Finding:
    """That nothing bears a name that is referred to, with the nearest one that something bears."""
    names = sorted(known)
    near = difflib.get_close_matches(name, names, 1)
    if near:
        mend = f'did you mean "{near[0]}"?'
    else:
        mend = f"known are {', '.join(names)}" if names else f"add a [[{kind}]]"
    return Finding(path, f'"{name}" is no {kind} that is known here', mend)
