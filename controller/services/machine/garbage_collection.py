"""Runs of Python's cyclic garbage collector, kept short: each holds the event loop from begin to end.

A full run looks at all objects but the frozen ones. On a site of 10 000 EVSEs that takes 60 to 100 ms, and
the sessions of its stations take more. What a full run has found in use is frozen here at its end, so that
the next one looks only at what was made since. An object that is no longer referenced is freed all the same;
frozen objects that refer to each other are not. Few of these are made. Once a day the frozen objects are
counted, and if they have become many more, a full run looks at all of them.
"""

from __future__ import annotations

import gc
import logging
import time
from typing import Self

import trio

THRESHOLDS = (250, 8, 3)
"""New objects between two runs over the youngest, and of these runs between two over older ones.

A run takes time by the objects made since the last one, whatever comes of them, and all runs together take as
long. Tuples that take the memory of former ones are not counted: a pass over 10 000 EVSEs makes 20 for each
that is, so that a run after 1000 looks at 24 000 objects."""
CHECKED_EACH_S = 86_400.0
"""Time between two counts of the frozen objects (s)."""
GROWTH = 1.5
"""Growth of their number after which a full run looks at all of them."""

log = logging.getLogger("controller")


class ShortCollections:
    """Context in which what full runs of the collector find in use is frozen."""

    def __init__(self) -> None:
        self._expected = 0
        """Frozen objects at the first count, or after the last run over all."""
        self._thresholds = gc.get_threshold()

    def __enter__(self) -> Self:
        gc.set_threshold(*THRESHOLDS)
        gc.callbacks.append(_freeze_after_full_run)
        return self

    def __exit__(self, *_: object) -> None:
        gc.callbacks.remove(_freeze_after_full_run)
        gc.unfreeze()
        gc.set_threshold(*self._thresholds)

    async def run(self) -> None:
        """Count the frozen objects once a day, and collect garbage among them; until cancelled."""
        while True:
            await trio.sleep(CHECKED_EACH_S)
            count = gc.get_freeze_count()
            self._expected = self._expected or count
            if count > GROWTH * self._expected:
                self._expected = collect_all()


def collect_all() -> int:
    """Collect garbage among all objects, frozen ones too; return how many are frozen after that.

    A full run comes by itself when a quarter is new of what the last one has looked at. After the second
    run, which looks at nothing, that is soon.
    """
    began = time.monotonic()
    gc.unfreeze()
    found = gc.collect() + gc.collect()
    log.info("garbage collected objects=%d took=%.2fs", found, time.monotonic() - began)
    return gc.get_freeze_count()


def _freeze_after_full_run(phase: str, info: dict[str, int]) -> None:
    if phase == "stop" and info["generation"] == 2:
        gc.freeze()
