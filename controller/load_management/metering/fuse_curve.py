"""Earliest trip of a circuit's protection, and so how long an overload may last.

A fuse and a breaker's bimetal are warmed by the square of the current and cooled by time. In this
module, with x the current as a multiple of the rated one:

    the heat runs towards x squared, `heat' = (x ** 2 - heat) / tau`;
    it trips where the heat reaches `holds ** 2`, the heat of the current that it carries without end.

The standards give bands, not curves. Each row of `CURVES` is the lower edge of its band: the current
that never trips it, and one gate, a current which the cold fuse carries for a time; `tau`
follows from the gate. What is found from it is never later than the real trip of a fuse within its
standard. A circuit's limit is taken for the rated current of what protects it.
"""

from __future__ import annotations

import enum
import math

import msgspec

from controller.load_management.site_tree import Fuse, PhaseAmps

WAY_S = 5.0
"""From the reading to the station's answer (s)."""
CUT_S = 30.0 + WAY_S
"""Longest time of a cut from the reading to the car (s): slow stations take 30 s, or what they have shown."""
GRACE_S = 10.0
"""Longest overload that the fuse carries (s): a lift or a compressor has started by then."""
INRUSH_S = 1.0
"""A current above the limit that the fuse carries is no inrush any more after this time: motors start
within a second, and each second more is one above the limit."""
MOTOR_S = 2.0
"""The same where a motor has been seen to start so slowly, for `MOTOR_SEEN_S`, and where nothing is known of
the protection. No car obeys so soon: an overload that ended within this time has ended by itself."""
MOTOR_SEEN_S = 3600.0
LASTING = 2
"""Overloads in a row that have lasted longer: the next one is taken to last as well, and for no inrush."""
OBEYED_S = 10.0
"""Time (s) in which cars obey a cut as a rule; until then the margin carries what is switched on."""
USUAL_LOAD_A = 10.0
"""Current (A) of a load that every building switches on: a kettle, a heater of 2.3 kW."""
WARM = 1.0
"""The heat at the start, when nothing is known: that of a circuit which was just full."""


class FuseCurve(msgspec.Struct, frozen=True):
    """Lower edge of a trip characteristic, currents as multiples of the rated one.

    `holds` is carried without end; cold, `gate` is carried for `gate_s` s; `instant` trips without delay.
    """

    holds: float
    gate: float
    gate_s: float
    instant: float

    @property
    def tau_s(self) -> float:
        """Return the time constant (s) with which the cold fuse reaches its trip at the end of the gate."""
        return self.gate_s / math.log(self.gate**2 / (self.gate**2 - self.holds**2))

    def heated(self, heat: float, load: float, seconds: float) -> float:
        """Return the heat after `seconds` at this load."""
        return load**2 + (heat - load**2) * math.exp(-seconds / self.tau_s)

    def trips_in_s(self, heat: float, load: float) -> float:
        """Return the earliest trip (s from now) if this load stays; infinite if it never comes."""
        if load >= self.instant or heat >= self.holds**2:
            return 0.0
        if load <= self.holds:
            return math.inf
        return self.tau_s * math.log((load**2 - heat) / (load**2 - self.holds**2))

    def carries(self, seconds: float) -> float:
        """Return the highest load that the warm fuse carries for a time (s)."""
        grown = math.exp(seconds / self.tau_s)
        return min(self.instant, math.sqrt((self.holds**2 * grown - WARM) / (grown - 1)))


CURVES = {
    # IEC 60898-1, table 7: no trip at 1.13 within the conventional time; at 2.55 not before 1 s;
    # the magnetic release not below 3 (B) and 5 (C).
    Fuse.B: FuseCurve(holds=1.13, gate=2.55, gate_s=1.0, instant=3.0),
    Fuse.C: FuseCurve(holds=1.13, gate=2.55, gate_s=1.0, instant=5.0),
    # IEC 60269-1, table 2: no trip at 1.25 within the conventional time (16 A and above); table 3: the
    # gate I_min (10 s) is 33 A for 16 A and relatively higher for every greater one: 2.0 is below all.
    Fuse.GG: FuseCurve(holds=1.25, gate=2.0, gate_s=10.0, instant=math.inf),
}
"""A protection without a row (`plain`) must never carry more than its limit."""


def needed_margin_a(limit_a: float, fuse: Fuse) -> float:
    """Return the margin (A) below which a usual load trips a full circuit before cars obey; 0: none needed.

    Of a protection without a curve nothing is known here: the margin is what its owner chooses.
    """
    curve = CURVES.get(fuse)
    return 0.0 if curve is None else max(0.0, USUAL_LOAD_A - (curve.carries(OBEYED_S) - 1) * limit_a)


class FuseLoad(enum.Enum):
    """Meaning of one phase's reading for the circuit's protection."""

    WITHIN = "within"
    WITHSTOOD = "withstood"
    """Above the limit, for a moment that the fuse carries easily."""
    OVER = "over"
    """To be cut now."""


class FuseWatch:
    """Heat in one phase of a circuit, followed from reading to reading. Currents in A.

    `over_s`: how long (s) the readings have been above the limit, until the last one; 0: it is not.
    `is_inrush`: they are, and the current may be that of a motor which starts; False where the last ones that
    were above it have lasted. `is_held`: the protection carries the last reading for an hour; False where no
    protection is known.
    """

    def __init__(self, limit_a: float, fuse: Fuse, now: float) -> None:
        self._limit_a = limit_a
        self._curve = CURVES.get(fuse)
        self._heat = WARM
        self._load = 0.0
        self._at = now
        self._over_since: float | None = None
        self._motor_at = -math.inf
        self._lasting = 0
        """Number of the last overloads in a row that have lasted."""
        self.over_s = 0.0
        self.is_inrush = self.is_held = False

    def set_limit(self, limit_a: float, fuse: Fuse) -> None:
        """Apply another limit and protection; the heat of the fuse stays as it is."""
        self._limit_a = limit_a
        self._curve = CURVES.get(fuse)

    def inrush_s(self, now: float) -> float:
        """Return for how long (s) a current above the limit may be that of a motor which starts."""
        is_slow = self._curve is None or now < self._motor_at + MOTOR_SEEN_S
        return MOTOR_S if is_slow else INRUSH_S

    def on_reading(self, measured_a: float, now: float, slowest_s: float = 0.0) -> FuseLoad:
        """Process one good reading: between two readings the higher current is assumed.

        `slowest_s`: how long the slowest station takes from its answer to its current.
        """
        load = abs(measured_a) / self._limit_a
        if self._curve is not None:
            self._heat = self._curve.heated(self._heat, max(load, self._load), now - self._at)
        self._load, self._at = load, now
        self.is_held = self._curve is not None and load < self._curve.holds
        if measured_a <= self._limit_a:
            if self._over_since is not None:
                self._on_overload_end(now - self._over_since, now)
            self._over_since, self.over_s, self.is_inrush = None, 0.0, False
            return FuseLoad.WITHIN
        if self._over_since is None:
            self._over_since = now
        self.over_s = now - self._over_since
        self.is_inrush = self._lasting < LASTING and self.over_s < self.inrush_s(now)
        if self._curve is None or now >= self._over_since + GRACE_S:
            return FuseLoad.OVER
        cut_s = max(CUT_S, slowest_s + WAY_S)
        return FuseLoad.OVER if self._curve.trips_in_s(self._heat, load) < cut_s else FuseLoad.WITHSTOOD

    def _on_overload_end(self, ended_s: float, now: float) -> None:
        """Note whether an overload that ended so long (s) after its first reading was that of a motor."""
        self._lasting = self._lasting + 1 if self.over_s >= self.inrush_s(now) else 0
        if INRUSH_S < ended_s <= MOTOR_S:
            self._motor_at = now


def watches(limit_a: PhaseAmps, fuse: Fuse, now: float) -> tuple[FuseWatch, FuseWatch, FuseWatch]:
    """Return one watch for each phase of a circuit."""
    first, second, third = limit_a
    return (FuseWatch(first, fuse, now), FuseWatch(second, fuse, now), FuseWatch(third, fuse, now))
