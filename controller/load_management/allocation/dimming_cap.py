"""Current that the grid operator leaves the controllable EVSEs (section 14a EnWG).

What is limited is their draw from the grid: what the site's own generation supplies at the same moment comes
on top, as far as the meter of the grid connection proves it and no other EVSE draws it.

A limit in W is turned into A with the voltage that the grid connection has, so that the power stays below the
limit: 4.2 kW are 18.2 A on one phase of 230 V, 17.5 A of 240 V. The minima of cars that fit at the nominal
voltage are left all the same: 4.2 kW are 6 A on three phases of 230 V, and no car can use less.
"""

from __future__ import annotations

import math
from collections import Counter

from controller.load_management.allocation.constraints import TENTHS, DimmedGroup, tenths_down
from controller.load_management.events import SiteDimmed
from controller.load_management.site_tree import EvseNode, PhaseFlags
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

HOLD_S = 2 * 3600.0
"""Time that a station keeps to a limit without a message from us where its end is unknown: the least time
that a failsafe value holds by EEBUS LPC (s)."""
NOMINAL_V = 230.0
"""Highest voltage that decides whether a minimum is left (IEC 60038, line to neutral)."""
HIGHEST = 1.1
"""Highest multiple of the site's voltage (EN 50160)."""
VOLTAGE_STEP_V = 5.0
VOLTAGE_HELD_S = 900.0
"""Measured voltages are rounded up to steps and held for a time (s): each new limit is a write."""
Minimum = tuple[PhaseFlags, float]
"""Phases of the site on which a car draws, and the least that it can use on each (A)."""

DIMMED = Statement(code=StatementCode.DIMMED_EACH, name="the grid operator")
NO_CAR = Statement(code=StatementCode.NO_CAR)


class DimmingCap:
    """Limit of the grid operator that holds now, if one does. `voltage_v`: of the site, line to neutral."""

    def __init__(self, voltage_v: float) -> None:
        self._dimmed = SiteDimmed()
        self.bounds_all = False
        """True if the controllable EVSEs are limited together."""
        self.has_caps = False
        """True if single EVSEs are limited."""
        self._nominal_v = min(voltage_v, NOMINAL_V)
        self._highest_v = HIGHEST * voltage_v
        self._measured_v = self._nominal_v
        self._held_until = -math.inf
        self._minimum_of: dict[EvseRef, Minimum] = {}
        self._minima: Counter[Minimum] = Counter()
        """Number of EVSEs that take part with each minimum: counted as they change, not in each pass."""
        self.lifted_at = -math.inf
        """Time at which all limits ended last (s, monotonic)."""

    def dim(self, dimmed: SiteDimmed, now: float) -> bool:
        """Set the limit that holds from now on; return True if anything is lower than before."""
        was_dimmed = self.bounds_all or self.has_caps
        before, self._dimmed = self._dimmed, dimmed
        self.bounds_all = dimmed.total_w is not None or dimmed.phases_w != (None, None, None)
        self.has_caps = bool(dimmed.evses_w)
        if was_dimmed and not self.bounds_all and not self.has_caps:
            self.lifted_at = now
        pairs = [(before.total_w, dimmed.total_w), *zip(before.phases_w, dimmed.phases_w, strict=True)]
        pairs += [(before.evses_w.get(ref), watts) for ref, watts in dimmed.evses_w.items()]
        return any(new_w is not None and (old_w is None or new_w < old_w) for old_w, new_w in pairs)

    def set_voltage(self, measured_v: float, now: float) -> None:
        """Turn W into A with this voltage from now on (V, line to neutral), or with a higher one before."""
        rounded_v = math.ceil(min(measured_v, self._highest_v) / VOLTAGE_STEP_V) * VOLTAGE_STEP_V
        rounded_v = max(rounded_v, self._nominal_v)
        if rounded_v >= self._measured_v:
            self._held_until = now + VOLTAGE_HELD_S
        if rounded_v >= self._measured_v or now >= self._held_until:
            self._measured_v = rounded_v

    def set_minimum(self, ref: EvseRef, minimum: Minimum | None) -> None:
        """Note what a controllable EVSE takes at least, for a limit of all together; None: it has no car."""
        before = self._minimum_of.get(ref)
        if minimum == before:
            return
        if before is not None:
            self._minima[before] -= 1
            del self._minimum_of[ref]
        if minimum is not None:
            self._minima[minimum] += 1
            self._minimum_of[ref] = minimum

    def find_bound(self, own_a: float) -> DimmedGroup | None:
        """Return the bound on all of them together; None: there is none.

        `own_a`: own generation that they may use on top (A, all phases).
        """
        dimmed = self._dimmed
        if not self.bounds_all:
            return None
        minima = self._minima.items()
        bounds_a = [math.inf, math.inf, math.inf]
        for phase, watts in enumerate(dimmed.phases_w):
            if watts is not None:
                of_phase = [(min_a, count) for (phases, min_a), count in minima if phases[phase]]
                bounds_a[phase] = self._amps(watts, of_phase)
        first, second, third = bounds_a
        sum_a = math.inf
        if dimmed.total_w is not None:
            sum_a = self._amps(
                dimmed.total_w, [(sum(phases) * min_a, count) for (phases, min_a), count in minima]
            )
        return DimmedGroup(phases_a=(first, second, third), sum_a=sum_a + own_a, why=dimmed.why or DIMMED)

    def hold_s(self, evse: EvseNode, now: float) -> float:
        """Return how long the station keeps to its limit without a message from us (s); 0: as ever."""
        dimmed = self._dimmed
        if not evse.is_controllable or not (self.bounds_all or evse.ref in dimmed.evses_w):
            return 0.0
        return HOLD_S if dimmed.until is None else max(0.0, dimmed.until - now)

    def idle(self, evse: EvseNode) -> Statement | None:
        """Return why an EVSE without a car gives no current to one that comes; None: it may."""
        return self.explain(evse, NO_CAR) if evse.is_controllable and self.bounds_all else None

    def explain(self, evse: EvseNode, reason: Statement) -> Statement:
        """Return the reason why an EVSE has no current, with the limit that is behind it."""
        why = self._dimmed.why
        if not evse.is_controllable or why is None:
            return reason
        return Statement(code=StatementCode.UNDER, context=why, cause=reason)

    def cap(self, evse: EvseNode, phases: PhaseFlags) -> tuple[float, Statement] | None:
        """Return the most that one EVSE may take (A per phase), and why; None: it has no limit of its own."""
        watts = self._dimmed.evses_w.get(evse.ref) if evse.is_controllable else None
        if watts is None:
            return None
        amps = tenths_down(self._amps(watts / sum(phases), [(evse.min_a, 1)])) / TENTHS
        return amps, self._dimmed.whys.get(evse.ref) or self._dimmed.why or DIMMED

    def _amps(self, watts: float, minima: list[tuple[float, int]]) -> float:
        """Return these W in A, and no less than the minima that fit at the nominal voltage.

        `minima`: each (A) with the number of EVSEs that have it.
        """
        nominal_a, needed_a = watts / self._nominal_v, 0.0
        for min_a, count in sorted(minima):
            left_a = nominal_a - needed_a
            if count * min_a > left_a:
                needed_a += left_a // min_a * min_a  # only some of them fit, and none that is larger
                break
            needed_a += count * min_a
        return max(watts / self._measured_v, needed_a)
