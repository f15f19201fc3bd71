"""Water filling on a tree: one common level rises until conductors are full. Integers only.

The level is swept upwards. How fast a conductor fills at a level is the number of claims on it (each
as often as it loads it) that are between where they stand and their top there, which changes only at
those two (the *bends*) and when a group freezes. Between two bends each conductor's end is a division,
and a heap holds the ends. An end in the heap may be too early (claims stopped rising since it was pushed)
and is then pushed again at its right place; it is never too late, because every speeding up pushes anew.

The sweep works on groups, not on claims: a `Pool` keeps how many claims of each group begin and end to rise
at each level, so that a claim costs time only when it changes or when the level of its group does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from heapq import heapify, heappop, heappush

COST_CHANGE = 2
"""Work of a group that changes how fast conductors fill (about us of a small computer)."""
SWEPT_AT_ONCE = 1000
"""Work of a sweep that is done in one step."""

Loads = list[tuple[int, int]]
"""Conductors, each with how many times a claim's current it carries."""

SectionKey = tuple[bool, int, float, int, int]
"""Part of the order of admission, see `allocator.py`."""


class ClaimGroup:
    """Claims of one pool that load the same conductors and therefore freeze together.

    `loads` are those of `all_loads` that could get full; `contested`: those that have not room for all
    minima. `rising` counts those of its claims that are between their share and their top at the sweep's
    level. `frozen_at`: the level at which it froze, None if it did not, and `frozen_by` the conductor.
    """

    __slots__ = (
        "all_loads",
        "changed",
        "contested",
        "frozen_at",
        "frozen_by",
        "level",
        "loads",
        "members",
        "pool",
        "rising",
    )

    def __init__(self, pool: Pool, loads: Loads) -> None:
        self.pool = pool
        self.all_loads = loads
        self.loads: Loads = []
        self.contested: Loads = []
        self.members: dict[Claim, None] = {}
        self.changed: dict[Claim, None] = {}
        """Members whose share has to be computed again at any level."""
        self.level: tuple[int | None, int | None] = (None, None)
        """`frozen_at` and `frozen_by` with which the members' shares were found."""
        self.reset()

    def reset(self) -> None:
        """Prepare for a sweep."""
        self.rising = 0
        self.frozen_at: int | None = None
        self.frozen_by: int | None = None


class Claim:
    """Bounds and, as a result, share of one EVSE, in tenths of an ampere.

    `need` and `guaranteed` lie within the bounds: so much it gets before others rise further. `bound_by` is
    the conductor that kept it from more; None where its own maximum did. `drawn`: what it is known to draw.
    Minima are given in the order of `section`, then of `place`.
    """

    __slots__ = (
        "admitted",
        "bound_by",
        "drawn",
        "group",
        "guaranteed",
        "is_due",
        "is_served",
        "maximum",
        "minimum",
        "need",
        "place",
        "section",
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
        is_due: bool = False,
        drawn: int | None = None,
        section: SectionKey = (True, 0, 0.0, 0, 0),
        place: tuple[float, tuple[str, int]] = (0.0, ("", 0)),
    ) -> None:
        self.group = group
        self.drawn = maximum if drawn is None else drawn
        self.is_served = is_served
        self.is_due = is_due
        self.minimum = minimum
        self.maximum = maximum
        self.need = max(minimum, min(need, maximum))
        self.guaranteed = max(minimum, min(guaranteed, maximum))
        self.section = section
        self.place = place
        self.share = 0
        self.admitted = False
        self.bound_by: int | None = None

    @property
    def rises_early(self) -> bool:
        """Return True if it may rise before the others of its pool do."""
        return self.need > self.minimum or self.guaranteed > self.minimum

    @property
    def stands_at(self) -> int:
        """Return its share before all rise together, of one that was admitted."""
        return self.share if self.rises_early else self.minimum

    @property
    def is_by_need(self) -> bool:
        """Return True if its need above the minimum made its share."""
        return self.minimum < self.need and self.share <= self.need


Bends = dict[int, dict[ClaimGroup, int]]
"""By level: which groups get how many rising claims more (or fewer)."""


NO_STARTS: Mapping[int, Mapping[int, int]] = {}


class Pool:
    """Admitted claims of one priority: they rise together."""

    def __init__(self) -> None:
        self.groups: list[ClaimGroup] = []
        self.early: dict[Claim, None] = {}
        """Those with a need or a guarantee: where they stand is found anew in each pass."""
        self._bends: Bends = {}
        self._starts: dict[int, dict[int, int]] = {}
        """Claims that rise from each level on, on each conductor as often as they load it."""

    def set_early(self, claim: Claim, *, is_in: bool) -> None:
        """Take in a claim with a need or a guarantee that has its minimum from now on, or leave it out."""
        if is_in:
            self.early[claim] = None
        else:
            del self.early[claim]

    def count(self, group: ClaimGroup, minimum: int, maximum: int, number: int) -> None:
        """Take in so many other claims of a group that have this minimum from now on; negative: leave out."""
        _bend(self._bends, group, minimum, maximum, number)
        if minimum < maximum:
            starts = self._starts.setdefault(minimum, {})
            for conductor, times in group.all_loads:
                starts[conductor] = starts.get(conductor, 0) + number * times

    def fill_needs(self, room: list[int], groups_on: Sequence[Sequence[ClaimGroup]]) -> None:
        """Raise those who need more than the share that they stand at, to their needs at most."""
        needy = [claim for claim in self.early if claim.need > claim.share]
        if needy:
            raise_early(needy, [claim.need for claim in needy], room, groups_on)

    def fill(
        self, room: list[int], groups_on: Sequence[Sequence[ClaimGroup]], tight: Collection[int]
    ) -> Iterator[int]:
        """Raise all from where they stand, to their maxima at most; shares follow from the groups' levels.

        `tight`: the conductors that could get full. Yields the cost of each step.
        """
        bends, starts = self._bends, self._starts
        if self.early:
            bends = {level: dict(changes) for level, changes in bends.items()}
            starts = {}
            for claim in self.early:
                _bend(bends, claim.group, claim.share, claim.maximum, 1)
        yield from _sweep(self.groups, bends, room, groups_on, starts, tight)


def raise_early(
    claims: Sequence[Claim], tops: Sequence[int], room: list[int], groups_on: Sequence[Sequence[ClaimGroup]]
) -> None:
    """Raise some claims from their shares to these tops at most, max-min fairly."""
    bends: Bends = {}
    for claim, top in zip(claims, tops, strict=True):
        _bend(bends, claim.group, claim.share, top, 1)
    for _ in _sweep(list({claim.group: None for claim in claims}), bends, room, groups_on):
        pass
    for claim, top in zip(claims, tops, strict=True):
        claim.share, claim.bound_by = share_after(claim.group, claim.share, top)


def share_after(group: ClaimGroup, share: int, top: int) -> tuple[int, int | None]:
    """Return where a sweep brought a claim of this group, and the conductor that kept it below its top."""
    level = group.frozen_at
    if level is None or level >= top or share >= top:
        return top, None
    return max(level, share), group.frozen_by


def _bend(bends: Bends, group: ClaimGroup, share: int, top: int, number: int) -> None:
    """Count so many claims of a group that rise from this share to this top; negative: they no longer do."""
    if share >= top:
        return
    for level, change in ((share, number), (top, -number)):
        changes = bends.get(level)
        if changes is None:
            changes = bends[level] = {}
        total = changes.get(group, 0) + change
        if total:
            changes[group] = total
        else:
            del changes[group]
            if not changes:
                del bends[level]


def _sweep(
    groups: Iterable[ClaimGroup],
    bends: Bends,
    room: list[int],
    groups_on: Sequence[Sequence[ClaimGroup]],
    starts: Mapping[int, Mapping[int, int]] = NO_STARTS,
    tight: Collection[int] = (),
) -> Iterator[int]:
    """Raise the level of these groups, and take what they get from `room`; yield the cost of each step.

    `starts`: how many claims begin to rise at each level, on each conductor; empty: not known.
    """
    rising = set()
    for group in groups:
        group.reset()
        if group.loads:
            rising.add(group)
    if rising:
        sweep, levels = _Sweep(rising, room, groups_on), sorted(bends)
        if levels and levels[0] in starts:
            sweep.begin(bends[levels[0]], starts[levels[0]], tight, levels[0])
            yield len(tight) + len(groups_on)
            del levels[0]
        yield from sweep.run(bends, levels)


class _Sweep:
    """One rise of the level over all conductors. `room[c]` is true at the level `at[c]`.

    `room` is per conductor what all shares leave. It is negative where minima were kept that the margin has
    to carry: no EVSE rises there. `groups`: those that can freeze; `groups_on`: all, by their conductors.
    """

    def __init__(
        self, groups: set[ClaimGroup], room: list[int], groups_on: Sequence[Sequence[ClaimGroup]]
    ) -> None:
        self._room = room
        self._at = [0] * len(room)
        self._speed = [0] * len(room)
        self._ends: list[tuple[int, int]] = []
        self._groups = groups
        self._groups_on = groups_on
        self._left = len(groups)
        """Groups that are not frozen yet."""

    def begin(
        self,
        rising: Mapping[ClaimGroup, int],
        speeds: Mapping[int, int],
        tight: Collection[int],
        level: int,
    ) -> None:
        """Begin at the lowest level, from which on so many claims of each group rise.

        That is most of all groups. The conductors fill as fast as their `speeds`: those that are not `tight`
        never get full.
        """
        for group, number in rising.items():
            group.rising = number
        for conductor in tight:
            if speed := speeds.get(conductor):
                self._at[conductor], self._speed[conductor] = level, speed
                self._ends.append((self._end_of(conductor), conductor))
        heapify(self._ends)

    def run(self, bends: Bends, levels: Iterable[int]) -> Iterator[int]:
        """Raise the level to each of these in turn; yield the cost of each step."""
        ends = self._ends
        cost = 0
        for level in levels:
            # Freeze what is full before the level is reached: `end` is the last level that fits.
            while ends and ends[0][0] < level:
                end, conductor = heappop(ends)
                if self._speed[conductor] == 0:
                    continue
                true_end = self._end_of(conductor)
                if true_end > end:
                    heappush(ends, (true_end, conductor))
                    continue
                for group in self._groups_on[conductor]:
                    if group.frozen_at is not None or group not in self._groups:
                        continue
                    group.frozen_at = true_end
                    group.frozen_by = conductor
                    self._left -= 1
                    self._change(group, -group.rising, true_end)
                    cost += COST_CHANGE
                    if cost >= SWEPT_AT_ONCE:
                        yield cost
                        cost = 0
            if self._left == 0:
                break
            faster: set[int] = set()
            for group, change in bends[level].items():
                if group.frozen_at is not None:
                    continue
                group.rising += change
                self._change(group, change, level)
                if change > 0:
                    faster.update([conductor for conductor, _ in group.loads])
                cost += COST_CHANGE
                if cost >= SWEPT_AT_ONCE:
                    yield cost
                    cost = 0
            for conductor in faster:
                if self._speed[conductor]:
                    heappush(ends, (self._end_of(conductor), conductor))

    def _end_of(self, conductor: int) -> int:
        """Return the last level at which a conductor is not above its room, at its present speed."""
        return self._at[conductor] + max(0, self._room[conductor]) // self._speed[conductor]

    def _change(self, group: ClaimGroup, change: int, level: int) -> None:
        """Let so many more claims of a group rise from a level on."""
        at, speeds, room = self._at, self._speed, self._room
        for conductor, times in group.loads:
            if at[conductor] != level:
                room[conductor] -= speeds[conductor] * (level - at[conductor])
                at[conductor] = level
            speeds[conductor] += times * change
