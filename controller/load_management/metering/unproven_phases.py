"""Phases of a meter that no car has proven yet: what they may hide, and what is supplied meanwhile.

*Unseen*: a phase that has shown no current at all since the start may have a dead current transformer, and
nothing is known of the building there. Its circuit supplies one car, which shows itself where the building
takes nothing: that ends it. Where cars ask for current and none starts, one more is supplied each
`NEXT_CAR_S` (`NO_OFFER_S` if none is offered anything), and again one alone once one of them charges and no
current shows. Once that is named, their fallbacks are supplied, as below any meter that is not trusted.

A phase that falls silent is unseen again: it shows nothing, without any move, for `SILENT_S` while cars draw
`SILENT_DRAW_A` there. Until then the meter is doubted. Where feed-in has shown, it may balance the cars.

*Hidden*: a meter before the cars, with swapped phases or a transformer built in backwards shows less load
while cars draw. The highest lasting load from before them counts for as long as they do, up to the highest
current that any phase has shown of late: that of a meter before the cars is the load itself, that of another
phase and of a transformer built in backwards contains it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import msgspec

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.base_load import START_S, RollingMax
from controller.load_management.metering.meter_proof import DEAD_A, FLAT_A, list_phases
from controller.load_management.site_tree import LEAST_CAR_A, NOWHERE, ZERO, PhaseAmps
from controller.model.journal import Record
from drivers.coded_text import coded

MAY_DRAW_A = 0.5
"""EVSEs that may draw less together draw nothing."""
STARTING_A = 10.0
"""Current (A per phase) with which every car starts; some do not with the least of IEC 61851-1."""
NEXT_CAR_S = 10.0
"""Time (s) after which a car that was offered current has started, or does not."""
NO_OFFER_S = 75.0
"""Time (s) after which cars that ask are offered nothing because of the others, and not for their rest."""
NAMED_S = 120.0
"""Time (s) that cars are likely to draw on an unseen phase until that is named."""
PAUSE_S = 60.0
"""Time (s) for which a car that follows another offer may seem to draw nothing there."""
SILENT_S = 30.0
"""Time (s) after which a phase that shows nothing of what cars draw has fallen silent."""
SILENT_DRAW_A = 5.0
"""Draw of cars (A per phase) that a phase must show."""
SILENT_READINGS = 3
"""Readings in a row without current from which on that is looked at."""
STORED_A = 1.0
"""Change (A) of the hidden load that is stored."""


class HiddenLoadStored(Record, frozen=True):
    """Highest lasting load of a circuit from before its cars (A per phase); 0 where none draws unseen."""

    circuit: str
    load_a: PhaseAmps


class StartingCars(msgspec.Struct, frozen=True):
    """Cars below a circuit whose meter has shown no current yet.

    `is_asking`: one asks for current. `least_a`: the highest minimum of the EVSEs (A). `fallbacks_a`: the
    fallbacks of those that ask together, `others_a`: what is booked for EVSEs that do not ask, or cannot be
    commanded (A per phase).
    """

    is_asking: bool
    least_a: float
    fallbacks_a: PhaseAmps
    others_a: PhaseAmps


class _Silence:
    """Time for which a phase has shown nothing, without any move, of what cars draw there.

    `since` (s, monotonic): its begin, of `readings` in a row until now.
    """

    def __init__(self, now: float) -> None:
        self.readings = 0
        self.since = now
        self._shown_a = 0.0
        self._feeds_in = False

    def on_reading(self, shown_a: float, drawn_a: float, now: float) -> None:
        """Process one reading (A) beside the least that is drawn there (A)."""
        self._feeds_in |= shown_a < -DEAD_A
        moved = abs(shown_a - self._shown_a) > FLAT_A
        if moved or not self.readings:
            self._shown_a = shown_a
        if moved or abs(shown_a) > DEAD_A or drawn_a < SILENT_DRAW_A or self._feeds_in:
            self.readings, self.since = 0, now
        else:
            self.readings += 1


class UnseenPhases:
    """Phases of one meter that have shown no current since the start or a fault: `phases`, 0 to 2.

    `cars`: how many cars are supplied on each phase. `doubted`: another phase may just have failed.
    """

    def __init__(self, phases: tuple[int, ...], now: float) -> None:
        self.phases = phases
        self.doubted = False
        self._silent = [_Silence(now) for _ in range(3)]
        self.cars = (1, 1, 1)
        self._counted_at = [now] * 3
        self._is_asking = False
        self._drew_at = now
        self._missing_since: float | None = None
        """Time since when cars are likely to draw on such a phase; None: they are not."""

    def clear(self) -> None:
        """Take every phase as seen."""
        self.phases, self._missing_since, self.doubted = (), None, False

    def on_reading(self, measured_a: PhaseAmps, draw: OfferCredit, now: float) -> None:
        """Process one reading (A per phase) beside the draw of all EVSEs below."""
        self._find_silent(measured_a, draw, now)
        if not self.phases:
            return
        cars = [1, 1, 1]
        is_missing = False
        for phase in self.phases:
            draws = draw.likely_low[phase] > MAY_DRAW_A
            is_missing |= draws or draw.unreacted[phase] > MAY_DRAW_A
            if draws or not self._is_asking:
                self._counted_at[phase] = now
            elif now >= self._counted_at[phase] + (
                NEXT_CAR_S if draw.high[phase] >= LEAST_CAR_A else NO_OFFER_S
            ):
                self._counted_at[phase] = now
                cars[phase] = self.cars[phase] + 1
            else:
                cars[phase] = self.cars[phase]
        first, second, third = cars
        self.cars = (first, second, third)
        if is_missing:
            self._drew_at = now
            if self._missing_since is None:
                self._missing_since = now
        elif now > self._drew_at + PAUSE_S:
            self._missing_since = None

    def _find_silent(self, measured_a: PhaseAmps, draw: OfferCredit, now: float) -> None:
        """Find the phases that show nothing, and what they have to show."""
        unseen = []
        self.doubted = False
        for phase, silence in enumerate(self._silent):
            silence.on_reading(measured_a[phase], draw.likely_low[phase], now)
            if abs(measured_a[phase]) > DEAD_A:
                continue
            if phase in self.phases or now >= silence.since + SILENT_S:
                unseen.append(phase)
            else:
                self.doubted |= silence.readings >= SILENT_READINGS
        self.phases = tuple(unseen)

    def supplied_a(self, supply_a: PhaseAmps, starting: StartingCars, now: float) -> PhaseAmps:
        """Return what may be supplied of `supply_a` (A per phase): the fallbacks once a phase is named."""
        self._is_asking = starting.is_asking
        car_a = max(STARTING_A, starting.least_a)
        found = list(supply_a)
        for phase in self.phases:
            asking_a = self.cars[phase] * car_a
            if self._is_named(now):
                asking_a = max(asking_a, starting.fallbacks_a[phase])
            found[phase] = min(found[phase], asking_a + starting.others_a[phase])
        return (found[0], found[1], found[2])

    def _is_named(self, now: float) -> bool:
        """Return True if cars have been likely to draw on such a phase for so long that it is named."""
        since = self._missing_since
        return bool(self.phases) and since is not None and now >= since + NAMED_S

    def missing_current(self, now: float) -> str:
        """Return in words on which phases no current shows though cars draw; empty if there are none."""
        if not self._is_named(now):
            return ""
        return coded(
            "no current has shown yet on {phases}, although a car charges: one car at a time, or the "
            "fallbacks of all, are supplied; check the current transformers there, and whether the meter is "
            "placed before the cars",
            phases=list_phases(self.phases),
        )


class HiddenLoad:
    """Load that a meter has shown before cars drew on phases that none of them has proven.

    `load_a`: the highest lasting one where they do draw, as far as reports and offers show (A per phase;
    negative infinity elsewhere). `is_unsaved`: there is something new to record.
    """

    def __init__(self, circuit: str) -> None:
        self.load_a = NOWHERE
        self.is_unsaved = False
        self._circuit = circuit
        self._drew_at = [-math.inf] * 3
        """Time at which cars last drew on each phase (s, monotonic)."""
        self._lasting_a = NOWHERE
        """Highest lasting load since cars may draw there."""
        self._shown = RollingMax(START_S)
        """Highest current of any phase: none of them hides a load above that."""
        self._stored_a = ZERO

    def clear(self) -> None:
        """Drop the load: every phase is proven."""
        self.load_a = NOWHERE
        self._set_lasting(NOWHERE)

    def on_reading(
        self,
        unproven: Sequence[bool],
        draw: OfferCredit,
        remembered_a: PhaseAmps,
        worst_a: PhaseAmps,
        shown_a: float,
        now: float,
    ) -> None:
        """Process one reading; `remembered_a` has lasted, `worst_a` is planned with without one.

        `shown_a`: the highest current of any phase, in whatever direction, a battery's not taken off (A).
        A car that follows another offer draws for sure, and may only seem to draw before and after that.
        """
        may_draw = [flag and most_a > MAY_DRAW_A for flag, most_a in zip(unproven, draw.high, strict=True)]
        for phase in range(3):
            if max(draw.likely_low[phase], draw.unreacted[phase]) > MAY_DRAW_A:
                self._drew_at[phase] = now
        draws = [
            flag and is_able and now <= drew_at + PAUSE_S
            for flag, is_able, drew_at in zip(unproven, may_draw, self._drew_at, strict=True)
        ]
        lasting_a = highest_of([self._lasting_a, remembered_a])
        self._set_lasting(_only_on(lasting_a, may_draw))
        self._shown.add(shown_a, now)
        most_a = self._shown.highest(now) or 0.0
        first, second, third = highest_of([lasting_a, worst_a])
        self.load_a = _only_on((min(first, most_a), min(second, most_a), min(third, most_a)), draws)

    def _set_lasting(self, load_a: PhaseAmps) -> None:
        self._lasting_a = load_a
        self.is_unsaved = any(
            abs(max(0.0, amps) - stored) >= STORED_A
            for amps, stored in zip(load_a, self._stored_a, strict=True)
        )

    def take_record(self) -> HiddenLoadStored:
        """Return what has to be stored; it then counts as saved."""
        first, second, third = (max(0.0, amps) for amps in self._lasting_a)
        self._stored_a, self.is_unsaved = (first, second, third), False
        return HiddenLoadStored(self._circuit, self._stored_a)

    def restore(self, stored: HiddenLoadStored) -> None:
        """Take over what was stored before a restart."""
        first, second, third = (amps if amps > 0 else -math.inf for amps in stored.load_a)
        self._lasting_a, self._stored_a = (first, second, third), stored.load_a


def highest_of(loads: Sequence[PhaseAmps]) -> PhaseAmps:
    """Return the highest of several loads on each phase (A)."""
    first, second, third = (max(column) for column in zip(*loads, strict=True))
    return (first, second, third)


def _only_on(loads: PhaseAmps, flags: Sequence[bool]) -> PhaseAmps:
    """Return the loads (A) of these phases; negative infinity for the others."""
    first, second, third = (load if flag else -math.inf for load, flag in zip(loads, flags, strict=True))
    return (first, second, third)
