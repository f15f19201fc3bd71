"""Work in parts, between which an event loop runs what is due: a message waits for one part only."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

ItemT = TypeVar("ItemT")
ResultT = TypeVar("ResultT")

Parts = Generator[None, float, ResultT]
"""Yields after each part, is sent the time then (s, monotonic), and returns the result of all."""

AT_ONCE = 16
"""Stations or EVSEs of one part: some hundred us."""


def cut_in_parts(items: Sequence[ItemT]) -> Iterator[Sequence[ItemT]]:
    """Yield the items in runs of AT_ONCE."""
    for start in range(0, len(items), AT_ONCE):
        yield items[start : start + AT_ONCE]


def finish_parts(parts: Parts[ResultT], now: float) -> ResultT:
    """Do all parts at the time `now`; return their result."""
    try:
        next(parts)
        while True:
            parts.send(now)
    except StopIteration as ended:
        result: ResultT = ended.value
        return result
