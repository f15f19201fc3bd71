"""Response of a station to limits: its delay, its obedience, and the steps of its limits.

*Reaction*: from its acceptance of a lower limit until a report shows the draw below it. Reports are seldom,
so a station counts as slow only when one has shown it still above after `REACTION_S`; then the time of the
next one that shows it below counts. The slowest of the last `WINDOW` cuts counts.

*Step*: what it left of a limit when a higher limit later showed that its car would have taken more: a
station with steps of 6, 8, 10, 13 and 16 A only takes 13 A of 15 A. A station that draws whole amperes only
of several offers is given whole amperes.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

REACTION_S = 5.0
"""Longest normal time from the answer until the car obeys (s): IEC 61851-1 gives the car 5 s."""
SLOWEST_S = 60.0
"""A station that draws more than its limit for longer after its answer does not obey (s)."""
OVERDRAW_A = 1.0
"""Meters and pilots are not exact: a draw must be so far above the offer to count as disobedience."""
WINDOW = 8
STEP_A = 0.5
"""Draws that differ by less are the same."""
LEAST_FRACTION_A = 0.3
"""Offers with a smaller fraction of an ampere do not show how a station rounds."""
EXACT_A = 0.06
"""Error of a draw that is given with one decimal."""
WHOLE_OFFERS = 3
"""Number of different offers of which a station that rounds has drawn the whole amperes only."""


class LearnedResponse(msgspec.Struct, frozen=True):
    """`reaction_s`, from a yes to the draw (s); `step_a`, the most (A) it left of a limit by rounding.

    `obeys`: whether it followed its last cut; None before the first. `whole_amps`: it follows whole amperes
    only.
    """

    reaction_s: float = REACTION_S
    step_a: float = 0.0
    obeys: bool | None = None
    whole_amps: bool = False


class ChargerResponse:
    """Learns the response of one EVSE's station. It outlives its links, and a restart of ours."""

    def __init__(self) -> None:
        self._reactions: deque[float] = deque(maxlen=WINDOW)
        self._step_a = 0.0
        self._obeys: bool | None = None
        self._cut: tuple[float, float] | None = None  # the limit (A), and when the station accepted it
        self._late = False
        self._drawn_a = 0.0
        self._left: tuple[float, float] | None = None  # an offer, and the draw that stayed below it
        self.whole_amps = False
        """True if its station follows whole amperes only."""
        self._rounded: set[int] = set()  # whole amperes that it drew of an offer with more

    @property
    def learned(self) -> LearnedResponse:
        """Return what has been learned."""
        return LearnedResponse(
            max(self._reactions, default=REACTION_S), self._step_a, self._obeys, self.whole_amps
        )

    def restore(self, learned: LearnedResponse) -> None:
        """Take over what was learned before a restart."""
        if learned.reaction_s > REACTION_S:
            self._reactions.append(min(learned.reaction_s, SLOWEST_S))
        self._step_a, self._obeys, self.whole_amps = learned.step_a, learned.obeys, learned.whole_amps

    def reset_car(self) -> None:
        """Drop what the last car left of its offers."""
        self._cut = self._left = None
        self._drawn_a = 0.0

    def on_limit_accepted(self, limit_a: float, now: float) -> None:
        """Note a limit (A per phase) that the station accepted."""
        if self._drawn_a <= limit_a + OVERDRAW_A:
            self._cut = None
        elif self._cut is None or limit_a < self._cut[0]:
            self._cut, self._late = (limit_a, now), False

    def on_draw(self, drawn_a: float, now: float) -> None:
        """Take in one report: the draw on the most loaded phase (A)."""
        self._drawn_a = drawn_a
        if self._cut is None:
            return
        limit_a, since = self._cut
        waited_s = now - since
        if drawn_a <= limit_a + OVERDRAW_A:
            self._reactions.append(min(waited_s, SLOWEST_S) if self._late else REACTION_S)
            self._obeys, self._cut = True, None
        elif waited_s > SLOWEST_S:
            self._obeys, self._cut = False, None
        else:
            self._late |= waited_s > REACTION_S

    def on_settled_draw(self, offered_a: float, drawn_a: float) -> None:
        """Take in the draw of a car that had the time to follow its offer."""
        if self._left is not None:
            offer_a, draw_a = self._left
            if offered_a > offer_a and drawn_a > draw_a + STEP_A:
                self._step_a = max(self._step_a, round(offer_a - draw_a, 1))
        begun = drawn_a > STEP_A  # a car that has not begun leaves all of its offer, and that is no rounding
        self._left = (offered_a, drawn_a) if begun and drawn_a < offered_a - STEP_A else None
        self._learn_whole_amps(offered_a, drawn_a)

    def _learn_whole_amps(self, offered_a: float, drawn_a: float) -> None:
        """Learn whether it leaves what an offer has beyond whole amperes, at several offers.

        A car at its own limit of 16 A leaves as much, but at offers of 16 A only. One draw of a fraction
        shows that its station does follow fractions.
        """
        whole_a = math.floor(offered_a)
        if offered_a - whole_a < LEAST_FRACTION_A:
            return
        if abs(drawn_a - whole_a) <= EXACT_A:
            self._rounded.add(whole_a)
            self.whole_amps |= len(self._rounded) >= WHOLE_OFFERS
        elif drawn_a > whole_a + LEAST_FRACTION_A / 2:
            self._rounded.clear()
            self.whole_amps = False
