"""Limits of the sources, and the effective limit: the lowest of all that apply at a moment.

A source's limits are its own: it replaces and lifts its own alone. No command of one source can therefore
raise what another has set; there is no rank among limits, only among those who may lift.

A limit is for all controllable EVSEs together, or for one EVSE (direct control). Both kinds hold at once. A
newer one of the source takes the older one's place from its begin on: what it has replaced does not come back
when it ends. A limit that begins only after that is stored beside it.

A link to the source that is lost ends no limit: each carries its own end. Where the source has declared that
it must be received (`lost_after_s`), its failsafe holds beside them once it has not been for so long, until
its duration is over or the link is open again. Then the site is on its own, as EEBUS LPC has it.

Times are s on the caller's monotonic clock.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterable, Mapping

import msgspec
from msgspec.structs import replace

from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from drivers.coded_text import coded

PhaseWatts = tuple[float | None, float | None, float | None]
"""W on the site's L1, L2, L3; None where there is no limit."""

NO_PHASES: PhaseWatts = (None, None, None)

MOST_LATER = 24
"""Limits of a source whose time has not come, of each kind."""


def lowest(*watts: float | None) -> float | None:
    """Return the lowest of some limits (W), where None is no limit."""
    least = min((each for each in watts if each is not None), default=math.inf)
    return None if math.isinf(least) else least


class SourceLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limit of a source from `begins` until `until` (None: until its next one).

    `watts` None: it allows everything. `evse` None: all controllable EVSEs together.
    `proof` names what it rests on, as it stands on record: a command's id, a contact's state. `is_assumed`:
    it was not ordered, its source is lost.
    """

    source: str
    watts: float | None
    begins: float
    until: float | None = None
    evse: EvseRef | None = None
    phases_w: PhaseWatts = NO_PHASES
    proof: str = ""
    is_assumed: bool = False

    def holds(self, now: float) -> bool:
        """Return True if it limits anything now."""
        return self.watts is not None and self.begins <= now and (self.until is None or now < self.until)


class LimitBound(msgspec.Struct, frozen=True, kw_only=True):
    """Lowest limit, with its source."""

    watts: float
    source: str
    until: float | None = None
    proof: str = ""
    is_assumed: bool = False

    def explain(self, format_end: Callable[[float], str]) -> Statement:
        """Return it as a statement, in tenths of kW; `format_end` makes the time of day of its end."""
        power_w = round(self.watts, -2)
        if self.is_assumed:
            return Statement(code=StatementCode.DIMMED_ASSUMED, name=self.source, power_w=power_w)
        if self.until is None:
            return Statement(code=StatementCode.DIMMED, name=self.source, power_w=power_w)
        time = format_end(self.until)
        return Statement(code=StatementCode.DIMMED_UNTIL, name=self.source, power_w=power_w, time=time)


class LostSource(msgspec.Struct, frozen=True):
    """Source that is lost while a limit is assumed for it, and the reason; a lower limit may hold."""

    source: str
    why: str


LostSources = tuple[LostSource, ...]
"""Lost sources, each once, in the order of their ids."""


class EffectiveLimit(msgspec.Struct, frozen=True, kw_only=True):
    """Limits that apply: for all controllable EVSEs together (`total`), for each, and their sources."""

    total: LimitBound | None = None
    phases_w: PhaseWatts = NO_PHASES
    evses: Mapping[EvseRef, LimitBound] = msgspec.field(default_factory=dict)
    sources: tuple[str, ...] = ()

    @property
    def dimmed(self) -> bool:
        """True if anything is limited."""
        return bool(self.sources)

    def binding(self, devices: Collection[EvseRef]) -> EffectiveLimit:
        """Return the same without `total` where the limits of all controllable EVSEs add up to less."""
        if self.total is None or not devices or not self.evses.keys() >= set(devices):
            return self
        each_w = sum(self.evses[ref].watts for ref in devices)
        return replace(self, total=None) if each_w < self.total.watts else self

    def explain(self, format_end: Callable[[float], str]) -> Statement | None:
        """Return what holds for all EVSEs together, else who limits each of them; None: nobody does."""
        if self.total is not None:
            return self.total.explain(format_end)
        if not self.dimmed:
            return None
        return Statement(code=StatementCode.DIMMED_EACH, name=" and ".join(self.sources))


def effective(limits: Iterable[SourceLimit], now: float) -> EffectiveLimit:
    """Return the lowest of the limits; of equal ones, the longest."""
    holding = [limit for limit in limits if limit.holds(now)]
    lowest_of: dict[EvseRef | None, LimitBound] = {}
    phases_w = NO_PHASES
    for limit in holding:
        bound = _bound(limit)
        held = lowest_of.get(limit.evse)
        if held is None or _order(bound) < _order(held):
            lowest_of[limit.evse] = bound
        if limit.phases_w != NO_PHASES:
            one, two, three = map(lowest, phases_w, limit.phases_w)
            phases_w = (one, two, three)
    return EffectiveLimit(
        total=lowest_of.pop(None, None),
        phases_w=phases_w,
        evses={ref: bound for ref, bound in lowest_of.items() if ref is not None},
        sources=tuple(sorted({limit.source for limit in holding})),
    )


def lost_sources(limits: Iterable[SourceLimit], now: float) -> LostSources:
    """Return the sources for which a limit is assumed now."""
    reasons = {limit.source: limit.proof for limit in limits if limit.is_assumed and limit.holds(now)}
    return tuple(itertools.starmap(LostSource, sorted(reasons.items())))


def _bound(limit: SourceLimit) -> LimitBound:
    assert limit.watts is not None  # it holds
    return LimitBound(
        watts=limit.watts,
        source=limit.source,
        until=limit.until,
        proof=limit.proof,
        is_assumed=limit.is_assumed,
    )


def _order(bound: LimitBound) -> tuple[float, float, str]:
    return bound.watts, -(float("inf") if bound.until is None else bound.until), bound.source


class SourceFailsafe(msgspec.Struct, frozen=True):
    """Failsafe of a lost source: W for all controllable EVSEs together, and duration (s)."""

    watts: float
    duration_s: float


class LimitSourceMemory(msgspec.Struct, frozen=True, kw_only=True):
    """Stored state of a source. Times are POSIX s."""

    limits: tuple[SourceLimit, ...] = ()
    failsafe: SourceFailsafe | None = None
    away_since: float | None = None


class LimitSource:
    """One source, lost until it is reached. Times are s, monotonic."""

    def __init__(self, source: str, failsafe: SourceFailsafe, lost_after_s: float | None, now: float) -> None:
        self.source = source
        self._failsafe = failsafe
        self._lost_after_s = lost_after_s
        self._away_since: float | None = now
        self._was_reached = False
        self._limits: dict[EvseRef | None, tuple[SourceLimit, ...]] = {}

    def set_limit(self, limit: SourceLimit, evses: Iterable[EvseRef], now: float) -> None:
        """Set the limit of the source for these EVSEs each or, without any, for all together.

        Who lifts his limit for all together lifts all that he has set. Of limits whose time has not come,
        `MOST_LATER` are stored at most: those that begin first.
        """
        keys: set[EvseRef | None] = set(evses)
        if not keys:
            keys = {None} if limit.watts is not None else {None, *self._limits}
        limits = self._limits
        for key in keys:
            kept = [each for each in limits.get(key, ()) if not _replaces(limit, each)]
            ordered = sorted((*kept, replace(limit, evse=key)), key=lambda each: each.begins)
            limits[key] = tuple(ordered[: MOST_LATER + 1])
        self._limits = {key: each for key in limits if (each := self._standing(key, now))}

    def set_failsafe(self, failsafe: SourceFailsafe) -> None:
        """Set the failsafe of the source."""
        self._failsafe = failsafe

    def set_reached(self, there: bool, now: float) -> None:
        """Update whether the link to the source is open."""
        if there:
            self._away_since, self._was_reached = None, True
        elif self._away_since is None:
            self._away_since = now

    def has_limit(self, now: float) -> bool:
        """Return True if a limit applies now or later."""
        return any(map(self._standing, self._limits, itertools.repeat(now)))

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """Return the limits that apply now, with the failsafe."""
        current: list[SourceLimit] = []
        for key in self._limits:
            standing = self._standing(key, now)
            if standing and standing[0].begins <= now:
                current.append(standing[0])
        failsafe = self._lost()
        if failsafe is not None and failsafe.holds(now):
            current.append(failsafe)
        return tuple(current)

    def deadline(self, now: float) -> float | None:
        """Return when `limits` changes next by itself; None: never."""
        spans = [limit for limits in self._limits.values() for limit in limits]
        if (failsafe := self._lost()) is not None:
            spans.append(failsafe)
        moments = [at for span in spans for at in (span.begins, span.until) if at is not None and at > now]
        return min(moments, default=None)

    def memory(self, now: float, utc: float) -> LimitSourceMemory:
        """Return the state to store."""
        later = utc - now
        limits: list[SourceLimit] = []
        for key in self._limits:
            limits += map(_shifted, self._standing(key, now), itertools.repeat(later))
        return LimitSourceMemory(
            limits=tuple(limits),
            failsafe=self._failsafe,
            away_since=None if self._away_since is None else self._away_since + later,
        )

    def restore(self, memory: LimitSourceMemory, now: float, utc: float) -> None:
        """Restore the stored state; a source that was reached counts as lost from now on."""
        self._away_since = now
        if memory.failsafe is not None:
            self._failsafe = memory.failsafe
        self.restore_times(memory, now, utc)

    def restore_times(self, memory: LimitSourceMemory, now: float, utc: float) -> None:
        """Restore the stored limits, and since when the source is lost unless it has been reached again.

        To be repeated once the time of day is known.
        """
        earlier = now - utc
        self._limits = {}
        for limit in memory.limits:
            shifted = _shifted(limit, earlier)
            self._limits[limit.evse] = (*self._limits.get(limit.evse, ()), shifted)
        if memory.away_since is not None and self._away_since is not None and not self._was_reached:
            self._away_since = min(self._away_since, memory.away_since + earlier)

    def _lost(self) -> SourceLimit | None:
        """Return the failsafe of a source that stays lost."""
        if self._lost_after_s is None or self._away_since is None:
            return None
        begins = self._away_since + self._lost_after_s
        return SourceLimit(
            source=self.source,
            watts=self._failsafe.watts,
            begins=begins,
            until=begins + self._failsafe.duration_s,
            proof=coded("failsafe: the link to it is lost"),
            is_assumed=True,
        )

    def _standing(self, key: EvseRef | None, now: float) -> tuple[SourceLimit, ...]:
        """Return the limits that apply now or later; the one that applies now is the first.

        Only the newest of those that have begun counts: if it has ended, no older one comes back.
        """
        newest: SourceLimit | None = None
        waiting: list[SourceLimit] = []
        for limit in self._limits.get(key, ()):
            if limit.begins > now:
                waiting.append(limit)
            else:
                newest = limit
        return (*waiting,) if newest is None or not newest.holds(now) else (newest, *waiting)


def _replaces(newer: SourceLimit, older: SourceLimit) -> bool:
    """Return True if an older limit of the source begins while a newer one holds, or after it was lifted."""
    if older.begins < newer.begins:
        return False
    return newer.watts is None or newer.until is None or older.begins < newer.until


def _shifted(limit: SourceLimit, by_s: float) -> SourceLimit:
    until = None if limit.until is None else limit.until + by_s
    return replace(limit, begins=limit.begins + by_s, until=until)
