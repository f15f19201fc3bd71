"""A small coverage-guided fuzzer: inputs that reach new lines of the modules under test are kept and altered.

`FUZZ_SECONDS` sets how long each target runs: a second in the usual tests, minutes by `make fuzz`. A failure
names the input in hexadecimal.
"""

from __future__ import annotations

import os
import random
import sys
import time
from collections.abc import Callable, Sequence
from types import FrameType, ModuleType
from typing import Any

SECONDS = float(os.environ.get("FUZZ_SECONDS", "1"))
MAX_LENGTH = 600
_INTERESTING = (0, 1, 2, 0x7F, 0x80, 0xFE, 0xFF)


class Coverage:
    """Lines of some modules that are executed while it traces, as pairs of consecutive lines."""

    def __init__(self, modules: Sequence[ModuleType]) -> None:
        self._files = {module.__file__ for module in modules}
        self._previous = 0
        self.pairs: set[tuple[int, int]] = set()

    def run(self, target: Callable[[bytes], object], data: bytes) -> None:
        self._previous = 0
        sys.settrace(self._on_call)
        try:
            target(data)
        finally:
            sys.settrace(None)

    def _on_call(self, frame: FrameType, event: str, argument: Any) -> Any:
        return self._on_line if frame.f_code.co_filename in self._files else None

    def _on_line(self, frame: FrameType, event: str, argument: Any) -> Any:
        if event == "line":
            line = hash(frame.f_code) ^ frame.f_lineno
            self.pairs.add((self._previous, line))
            self._previous = line
        return self._on_line


def fuzz(
    target: Callable[[bytes], object], modules: Sequence[ModuleType], seeds: Sequence[bytes], seed: int = 1
) -> int:
    """Run a target with altered inputs for SECONDS; return how many pairs of lines were reached."""
    randomness = random.Random(seed)
    corpus = list(seeds)
    coverage = Coverage(modules)
    for data in corpus:
        _run(coverage, target, data)
    end = time.monotonic() + SECONDS
    while time.monotonic() < end:
        known = len(coverage.pairs)
        data = _alter(randomness, randomness.choice(corpus), corpus)
        _run(coverage, target, data)
        if len(coverage.pairs) > known:
            corpus.append(data)
    return len(coverage.pairs)


def _run(coverage: Coverage, target: Callable[[bytes], object], data: bytes) -> None:
    try:
        coverage.run(target, data)
    except Exception as error:
        raise AssertionError(f"input {data.hex()} fails: {error!r}") from error


def _alter(randomness: random.Random, data: bytes, corpus: Sequence[bytes]) -> bytes:
    altered = bytearray(data)
    for _ in range(randomness.choice((1, 1, 2, 4, 8))):
        at = randomness.randrange(len(altered) + 1)
        match randomness.randrange(6):
            case 0:
                altered[at:at] = randomness.randbytes(randomness.randrange(1, 5))
            case 1:
                del altered[at : at + randomness.randrange(1, 9)]
            case 2 if at < len(altered):
                altered[at] ^= 1 << randomness.randrange(8)
            case 3 if at < len(altered):
                altered[at] = randomness.choice(_INTERESTING)
            case 4:
                other = randomness.choice(corpus)
                altered[at:] = other[randomness.randrange(len(other) + 1) :]
            case _:
                altered[at:at] = altered[at : at + randomness.randrange(1, 20)]
    return bytes(altered[:MAX_LENGTH])
