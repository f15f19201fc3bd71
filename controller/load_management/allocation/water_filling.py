"""Water filling on a tree: one common level rises until conductors are full. Integers only.

The level is swept upwards. How fast a conductor fills at a level is the number of claims on it (each
as often as it loads it) that are between where they stand and their top there, which changes only at
those two (the *bends*) and when an EVSE freezes. Between two bends each conductor's end is a division,
and a heap holds the ends. An end in the heap may be too early (claims stopped rising since it was pushed)
and is then pushed again at its right place; it is never too late, because every speeding up pushes anew.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from heapq import heappop, heappush


class ClaimGroup:
    """Claims that load the same conductors and therefore freeze together.

    `all_loads` pairs each conductor with how many times a claim's current it carries; `loads` are those of
    them that could get full. `contested`: those that have not room for all minima. `rising` counts those of
    its claims that are between their share and their top at the sweep's level.
    """

    __slots__ = (
        "all_loads",
        "contested",
        "frozen_at",
        "frozen_by",
        "least",
        "loads",
        "rising",
        "shared",
        "wanted",
    )

    def __init__(self, loads: list[tuple[int, int]]) -> None:
        self.all_loads = self.loads = loads
        self.wanted = self.least = self.shared = 0
        self.contested: list[tuple[int, int]] = []
        self.reset()

    def reset(self) -> None:
        """Prepare for a sweep."""
        self.rising = 0
        self.frozen_at: int | None = None
        self.frozen_by: int | None = None


class Claim:
    """One EVSE's bounds and, in the end, its share, in tenths of an ampere.

    `need` and `guaranteed` lie within the bounds: so much it gets before others rise further. `bound_by` is
    the conductor that kept it from more; None where its own maximum did.
    """

    __slots__ = (
        "admitted",
        "bound_by",
        "drawn",
        "group",
        "guaranteed",
        "is_served",
        "maximum",
        "minimum",
        "need",
        "share",
    )

    def __init__(
        self,
        group: ClaimGroup,
        minimum: int,
        maximum: int,
        need: int = 0,
        *,
        guaranteed: int = 0,
        is_served: bool = False,
        drawn: int | None = None,
    ) -> None:
        self.group = group
        self.drawn = maximum if drawn is None else drawn
        self.is_served = is_served
        self.minimum = minimum
        self.maximum = maximum
        self.need = max(minimum, min(need, maximum))
        self.guaranteed = max(minimum, min(guaranteed, maximum))
        self.clear()

    def clear(self) -> None:
        """Take back everything that was given."""
        self.share = 0
        self.admitted = False
        self.bound_by: int | None = None

    @property
    def is_by_need(self) -> bool:
        """Return True if its need above the minimum made its share."""
        return self.minimum < self.need and self.share <= self.need


def fill_guarantees(claims: Sequence[Claim], room: list[int]) -> None:
    """Raise those who are guaranteed more than their minimum to that at most."""
    guaranteed = [claim for claim in claims if claim.guaranteed > claim.minimum]
    if guaranteed:
        _raise(guaranteed, [claim.guaranteed for claim in guaranteed], room)


def fill_needs(claims: Sequence[Claim], room: list[int]) -> None:
    """Raise those who need more than the share that they stand at, to their needs at most."""
    needy = [claim for claim in claims if claim.need > claim.share]
    if needy:
        _raise(needy, [claim.need for claim in needy], room)


def fill(claims: Sequence[Claim], room: list[int]) -> None:
    """Raise the claims from where they stand, to their maxima at most."""
    _raise(claims, [claim.maximum for claim in claims], room)


def _raise(claims: Sequence[Claim], tops: Sequence[int], room: list[int]) -> None:
    """Raise the claims from their shares, max-min fairly; take what they get from `room`.

    `room` is per conductor what all shares leave. It is negative where minima were kept that the margin has
    to carry: no EVSE rises there.
    """
    bound = [pair for pair in zip(claims, tops, strict=True) if pair[0].group.loads]
    groups = dict.fromkeys(claim.group for claim, _ in bound)
    for group in groups:
        group.reset()
    _Sweep(list(groups), room).run(_bends(bound))
    if len(bound) < len(claims):  # nothing that the others load can get full
        for claim, top in zip(claims, tops, strict=True):
            if not claim.group.loads:
                claim.share = top
    for claim, top in bound:
        level = claim.group.frozen_at
        if level is None or level >= top or claim.share == top:
            claim.share = top
        else:
            claim.share = max(level, claim.share)
            claim.bound_by = claim.group.frozen_by


def _bends(claims: Sequence[tuple[Claim, int]]) -> list[tuple[int, dict[ClaimGroup, int]]]:
    """Return by rising level which groups get how many rising claims more (or fewer)."""
    changes: dict[int, dict[ClaimGroup, int]] = {}
    for claim, top in claims:
        share, group = claim.share, claim.group
        if share == top:
            continue
        begin = changes.get(share)
        if begin is None:
            begin = changes[share] = {}
        begin[group] = begin.get(group, 0) + 1
        end = changes.get(top)
        if end is None:
            end = changes[top] = {}
        end[group] = end.get(group, 0) - 1
    return sorted(changes.items(), key=lambda pair: pair[0])


class _Sweep:
    """One rise of the level over all conductors. `room[c]` is true at the level `at[c]`."""

    def __init__(self, groups: Sequence[ClaimGroup], room: list[int]) -> None:
        self._room = room
        self._at = [0] * len(room)
        self._speed = [0] * len(room)
        self._ends: list[tuple[int, int]] = []
        self._groups_on: defaultdict[int, list[ClaimGroup]] = defaultdict(list)
        for group in groups:
            for conductor, _ in group.loads:
                self._groups_on[conductor].append(group)

    def run(self, bends: Sequence[tuple[int, dict[ClaimGroup, int]]]) -> None:
        for level, changes in bends:
            self._freeze_below(level)
            change_on: dict[int, int] = {}
            for group, change in changes.items():
                if change and group.frozen_at is None:
                    group.rising += change
                    for conductor, times in group.loads:
                        change_on[conductor] = change_on.get(conductor, 0) + times * change
            self._bend(level, change_on)

    def _freeze_below(self, level: int) -> None:
        """Freeze what is full before the level is reached: `end` is the last level that fits."""
        ends = self._ends
        while ends and ends[0][0] < level:
            end, conductor = heappop(ends)
            speed = self._speed[conductor]
            if speed == 0:
                continue
            true_end = self._at[conductor] + max(0, self._room[conductor]) // speed
            if true_end > end:
                heappush(ends, (true_end, conductor))
            else:
                self._freeze(conductor, true_end)

    def _freeze(self, conductor: int, level: int) -> None:
        change_on: dict[int, int] = {}
        for group in self._groups_on[conductor]:
            if group.frozen_at is None:
                group.frozen_at = level
                group.frozen_by = conductor
                for shared, times in group.loads:
                    change_on[shared] = change_on.get(shared, 0) - times * group.rising
        self._bend(level, change_on)

    def _bend(self, level: int, change_on: dict[int, int]) -> None:
        at, speeds, room = self._at, self._speed, self._room
        for conductor, change in change_on.items():
            if not change:
                continue
            speed = speeds[conductor]
            room[conductor] -= speed * (level - at[conductor])
            at[conductor] = level
            speeds[conductor] = speed + change
            if change > 0:
                heappush(self._ends, (level + max(0, room[conductor]) // (speed + change), conductor))
