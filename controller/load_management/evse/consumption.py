"""What one EVSE draws at this moment, as an interval: reports are late, offers change in between.

A report is *settled* if it came after the station had `reaction_s` to follow its last offer. Then the
draw is known. Between a change and the next settled report the EVSE is *in transition*: it draws at
least the smaller of its last report and the new offer, at most the highest offer since that report.
No transition lasts longer than the EVSE's reports should take; an EVSE that has not reported by then
is *blind*: nothing is credited to it, all that it draws counts as base load, until it reports again.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from controller.load_management.evse.charger_response import OVERDRAW_A, REACTION_S
from controller.load_management.evse.learned_values import UNLOADED_A
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps
from drivers.reading import PerPhase

TRANSITION_S = 30.0
"""How long a transition may last if the EVSE reports often."""
PATIENCE = 1.5
"""Report intervals that are waited for the next report of an EVSE that reports seldom."""
LONGEST_TRANSITION_S = 150.0


class OfferCredit(msgspec.Struct, frozen=True):
    """What an EVSE draws on the site's phases, in A: from `low` to `high`.

    `unreacted` is the least that it draws if it has not yet followed a cut that is on its way to it.
    """

    low: PhaseAmps
    high: PhaseAmps
    unreacted: PhaseAmps


NOTHING = OfferCredit(ZERO, ZERO, ZERO)


def on_site_phases(evse: EvseNode, amps: Sequence[float]) -> PhaseAmps:
    """A station's A per phase on the phases of the site that it is wired to."""
    site = [0.0, 0.0, 0.0]
    for phase, value in zip(evse.phases, amps, strict=True):
        site[phase] += value
    return (site[0], site[1], site[2])


def on_wired_phases(evse: EvseNode, report: PerPhase) -> tuple[float | None, ...]:
    """A report's values for the phases that the station has; a one-phase station may use any column."""
    if len(evse.phases) == 1:
        told = [amps for amps in report if amps is not None]
        return (max(told) if told else None,)
    return report[: len(evse.phases)]


class ConsumptionTracker:
    """Keeps an EVSE's reports and offers. `report` holds the last A per wired phase, None if not told.

    `reaction_s`: how long its station takes to follow.

    `defiant_a` is what it drew at the last report if no limit in it allows that much, else 0.
    """

    def __init__(self, evse: EvseNode, now: float) -> None:
        self._evse = evse
        self.report: tuple[float | None, ...] = (None,) * len(evse.phases)
        self.blind = False
        self.reaction_s = REACTION_S
        self._reported_at: float | None = None
        self._interval_s = 0.0
        self._offered_a = evse.max_a
        self._highest_a = evse.max_a
        self._changed_at = now
        self._settled = False
        self._stopped = False
        self.defiant_a = 0.0

    @property
    def settled(self) -> bool:
        """Whether the last report shows what the car makes of its present offer."""
        return self._settled

    @property
    def unknown(self) -> bool:
        """Whether it may draw something, and nobody knows how much."""
        return self.blind or None in self.report

    @property
    def drawn(self) -> PhaseAmps:
        """The last report on the site's phases, silence as 0, for people."""
        return on_site_phases(self._evse, [amps or 0.0 for amps in self.report])

    @property
    def most_loaded_a(self) -> float:
        """The last report's most loaded phase."""
        return max((amps or 0.0 for amps in self.report), default=0.0)

    @property
    def overdraw_a(self) -> float:
        """What it draws beyond its offer (A on its most loaded phase), though no limit in it allows that."""
        return max(0.0, self.defiant_a - self._offered_a)

    def offer(self, limit_a: float, now: float) -> None:
        """The EVSE may take `limit_a` from now on."""
        if abs(limit_a - self._offered_a) < 0.05:
            return
        self._offered_a = limit_a
        self._highest_a = max(self._highest_a, limit_a)
        self._changed_at = now
        self._settled = False

    def start(self, now: float) -> None:
        """It may draw from now on, whatever the last report said (it charges, or its link is gone)."""
        self._stopped = False
        self._changed_at = now
        self._settled = False

    def stop(self) -> None:
        """It gives no current from now on, by its state; a report may say otherwise later."""
        self._stopped = True
        self.blind = False
        self.defiant_a = 0.0
        self._highest_a = self._offered_a
        self.report = (0.0,) * len(self._evse.phases)

    def see(self, report: PerPhase, now: float) -> bool:
        """One report; whether it is settled, i.e. shows what the car makes of its offer."""
        if self._reported_at is not None and now - self._reported_at <= 2 * LONGEST_TRANSITION_S:
            self._interval_s = max(0.9 * self._interval_s, now - self._reported_at)
        self.report = on_wired_phases(self._evse, report)
        self._reported_at = now
        self.blind = False
        if now >= self._changed_at + self.reaction_s:
            self._settled = True
            self._highest_a = self._offered_a
        return self._settled

    def judge(self, allowed_a: float) -> None:
        """Hold the report that was just seen against the highest limit that may be in the station."""
        drawn_a = self.most_loaded_a
        self.defiant_a = drawn_a if drawn_a > allowed_a + OVERDRAW_A else 0.0

    def credit(self, now: float, *, has_car: bool) -> OfferCredit:
        """What it draws now. Makes the EVSE blind when its report is overdue.

        An EVSE that gives no current but has a car may begin in this second: current flows a moment
        before a message tells so. Without a car it cannot.
        """
        if self._stopped and self.most_loaded_a < UNLOADED_A:
            may_begin = [self._highest_a if has_car else 0.0] * len(self.report)
            return OfferCredit(ZERO, on_site_phases(self._evse, may_begin), ZERO)
        since = self._reported_at if self._settled and self._reported_at is not None else self._changed_at
        patience = min(max(TRANSITION_S, PATIENCE * self._interval_s), LONGEST_TRANSITION_S)
        if now - since > patience + self.reaction_s - REACTION_S:
            self.blind = True
        if self.blind:
            return NOTHING
        told = [amps for amps in self.report if amps is not None]
        silent_high = max(told) if told and self._settled else self._highest_a
        obeyed = self._offered_a + self.overdraw_a
        before = self._highest_a if now < self._changed_at + self.reaction_s else obeyed
        low = [min(amps or 0.0, obeyed) for amps in self.report]
        unreacted = [min(amps or 0.0, before) for amps in self.report]
        if self._settled:
            high = [min(amps if amps is not None else silent_high, obeyed) for amps in self.report]
        else:
            high = [max(self._highest_a, self.defiant_a)] * len(self.report)
        return OfferCredit(
            on_site_phases(self._evse, low),
            on_site_phases(self._evse, high),
            on_site_phases(self._evse, unreacted),
        )
