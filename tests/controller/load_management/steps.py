"""Work of the control that is done in steps: without the other work between them."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeVar

ResultT = TypeVar("ResultT")


def finish_steps(steps: Generator[int, None, ResultT]) -> ResultT:
    """Do all steps at once; return their result."""
    try:
        while True:
            next(steps)
    except StopIteration as ended:
        result: ResultT = ended.value
        return result
