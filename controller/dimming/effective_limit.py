"""Effective limit: the lowest of all limits that apply at a moment.

A source's limits are its own: it replaces and lifts its own alone. No command of one source can therefore
raise what another has set; there is no rank among limits, only among those who may lift.

A limit is for all controllable EVSEs together, or for one EVSE (direct control). Both kinds hold at once.
Times are s on the caller's monotonic clock.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import msgspec

from controller.dimming.dimming_command import lowest
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

PhaseWatts = tuple[float | None, float | None, float | None]
"""W on the site's L1, L2, L3; None where there is no limit."""

NO_PHASES: PhaseWatts = (None, None, None)


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
