"""When a 2.x backend is told that we hold one of its transactions back, and when no longer (K12, K13).

Only what lasts is told: a change of more than `CHANGE_A` that stood for `SETTLE_S`, so that a share on its
way from one value to the next makes one message and not ten.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

CHANGE_A = 1.0
SETTLE_S = 10.0


class _Told(msgspec.Struct):
    limit_a: float | None = None
    differs_since: float | None = None


class LimitNotices:
    """What the backend of one link was told about each EVSE."""

    def __init__(self) -> None:
        self._told: dict[int, _Told] = {}

    @property
    def deadline(self) -> float | None:
        """When a change will have settled (s, monotonic)."""
        since = [told.differs_since for told in self._told.values() if told.differs_since is not None]
        return min(since) + SETTLE_S if since else None

    def due(self, held_back_a: Mapping[int, float | None], now: float) -> list[tuple[int, float | None]]:
        """What to tell now, by EVSE: our limit (A per phase), or None where there is none any more."""
        due: list[tuple[int, float | None]] = []
        for evse, limit_a in held_back_a.items():
            told = self._told.setdefault(evse, _Told())
            if not _differ(told.limit_a, limit_a):
                told.differs_since = None
            elif told.differs_since is None:
                told.differs_since = now
            elif now >= told.differs_since + SETTLE_S:
                told.limit_a, told.differs_since = limit_a, None
                due.append((evse, limit_a))
        return due


def _differ(one: float | None, other: float | None) -> bool:
    if one is None or other is None:
        return one is not other
    return abs(one - other) > CHANGE_A
