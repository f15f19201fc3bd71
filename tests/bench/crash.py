"""The crash test for long: the daemon killed any number of times, and its ledgers compared."""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import trio

from tests.scenario.busy_site import run_kills


def bench(kills: int) -> list[dict[str, object]]:
    """Run once; exit with the names of lost or doubled messages of transactions."""
    with tempfile.TemporaryDirectory() as folder:
        figures = trio.run(run_kills, Path(folder), kills, int(time.time()))
    if figures.differences:
        raise AssertionError(f"the ledgers differ from the journals: {figures.differences}")
    return [
        {
            "what": "owner and observer, 3 stations of 1.6, 2 of 2.0.1",
            "kills": figures.kills,
            "seconds": figures.seconds,
            "transactions": figures.transactions,
            "messages": figures.messages,
            "repeated by stations": figures.repeated_by_stations,
            "sent again, same id": figures.resent_same_id,
            "lost": figures.lost,
            "still waiting": figures.still_waiting,
            "doubled": figures.doubled,
            "in another order": figures.disordered,
            "left": figures.left,
        }
    ]
