"""`kill -9` at random moments of a busy day: every transaction is complete in both ledgers, none doubled."""

from __future__ import annotations

from pathlib import Path

from tests.scenario.busy_site import run_kills

KILLS = 25


async def test_kills_at_random_lose_and_double_nothing(tmp_path: Path) -> None:
    figures = await run_kills(tmp_path, KILLS, seed=1)
    assert figures.differences == {}
    assert (figures.left, figures.still_waiting, figures.set_aside, figures.calls_before_boot) == (
        0,
        0,
        0,
        [],
    )
    assert figures.transactions > KILLS  # else it has not been busy
    assert min(figures.repeated_by_stations, figures.resent_same_id) > 0  # nor cut off in the middle
