"""Benches of the site's control: random sites in virtual time, its time by size, the time of an overload."""

from __future__ import annotations

from tests.bench.site import event_loop, overload, random_sites, scale

SEEDS = range(4)
HOURS = 0.5


def bench() -> list[dict[str, object]]:
    """Return the rows of all parts: times first, then a short run of random sites."""
    return [*overload.bench(), *scale.bench(), *event_loop.bench(), *random_sites.bench(SEEDS, HOURS)]
