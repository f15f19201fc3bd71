"""The crash test for long: the daemon killed any number of times, and its ledgers compared.

Twice: with backends that answer each message or none, and with those that reject some and answer some late,
while the stations count their message ids anew at each boot.
"""

from __future__ import annotations

import tempfile
import time
from functools import partial
from pathlib import Path

import trio

from tests.scenario.busy_csms import NO_FAULTS, CsmsFaults
from tests.scenario.busy_site import run_kills

FAULTS = CsmsFaults(errors=0.05, late=0.03)


def bench(kills: int) -> list[dict[str, object]]:
    """Run both; exit with the names of lost or doubled messages of transactions."""
    return [
        _run(kills, "owner and observer, 3 stations of 1.6, 2 of 2.0.1", NO_FAULTS),
        _run(kills, "the same, with reused ids, CALLERRORs and late answers", FAULTS, reuses_ids=True),
    ]


def _run(kills: int, what: str, faults: CsmsFaults, *, reuses_ids: bool = False) -> dict[str, object]:
    with tempfile.TemporaryDirectory() as folder:
        seed = int(time.time())
        figures = trio.run(partial(run_kills, reuses_ids=reuses_ids), Path(folder), kills, seed, faults)
    # What has no answer in time, or an error, waits for its next try: others may overtake it then.
    if figures.lost or figures.doubled or (figures.disordered and faults == NO_FAULTS):
        raise AssertionError(f"the ledgers differ from the journals, seed {seed}: {figures.differences}")
    return {
        "what": what,
        "kills": figures.kills,
        "seconds": figures.seconds,
        "transactions": figures.transactions,
        "messages": figures.messages,
        "repeated by stations": figures.repeated_by_stations,
        "sent again, same id": figures.resent_same_id,
        "answered with errors": figures.rejected,
        "answered late": figures.late_answers,
        "lost": figures.lost,
        "still waiting": figures.still_waiting,
        "doubled": figures.doubled,
        "in another order": figures.disordered,
        "left": figures.left,
        "set aside": figures.set_aside,
    }
