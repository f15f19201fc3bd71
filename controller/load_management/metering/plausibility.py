"""Plausibility of single meters: readable values that are impossible on this site.

*Bounds*: a voltage that the site does not have, a frequency that no grid has, feed-in above the fuse's
rating where no generation is declared, nothing but zeros.

*Sign*: a current transformer that is put back the wrong way round shows a load as feed-in. Trusted, that
hands the site's whole limit to the cars once more. A phase whose current changes its sign while it keeps
its size is implausible for a few readings; then it is doubted (planned with at the worst of the last
quarter of an hour) until it shows a load again, a step of a car has proven it, or `SIGN_DOUBT_S` is over. A
heater that goes off beside a photovoltaic system looks the same, so a site does not lose its meter for it:
whether the meter is installed the right way is decided by the stations' next steps (`step_check.py`). No step
decides that of a meter which shows the building alone: its feed-in counts as a load unless generation is
declared.

*Stillness*: a meter that repeats itself may be frozen, and is stale in its time (`drivers.health`).
Until then it is doubted. Near no load a meter may repeat itself, unless stations report current there.

*Rest*: the last digits of a frozen meter may flutter. Where it shows no more than that, while the meters
below it show a rise that lasts, it is doubted until it moves.

*Spikes*: one reading far above the rating waits for the next one.
"""

from __future__ import annotations

import math

import msgspec

from controller.load_management.metering.sum_check import STEP_A, is_quiet
from controller.load_management.site_tree import CircuitNode, PhaseAmps
from drivers.coded_text import coded, decimal, join_and
from drivers.decoding import describe_contradiction
from drivers.reading import Reading

LOADED_A = 5.0
"""Below, a current may change its sign freely."""
SAME_SIZE = 0.25
"""Part of itself by which a current may change between two readings and still be the same one."""
SIGN_READINGS = 3
"""Readings with the changed sign that are implausible; the next ones are doubted."""
SIGN_DOUBT_S = 900.0
CONTRADICTIONS = 3
"""Readings in a row that must contradict themselves: loads change between two requests of one reading."""
SPIKE = 3.0
"""Multiple of the rating from which on a single reading waits for the next."""
SHORT_SPIKE = 1.7
NEXT_S = 2.0
"""The same where readings come within this time (s): a cut that is so much later is still one in time."""

VOLTAGE = 0.2
"""Part of the site's voltage by which a measured one may differ."""
FREQUENCY_HZ = (45.0, 65.0)
GENERATION = 1.2
"""Multiple of the declared generation that may be fed in."""

STILL_S = 5.0
"""Readings under load that are the same to the last bit for longer are doubted."""
USUALLY = 2.0
"""A coarse meter is doubted after this multiple of the time that it has repeated itself before."""
NEAR_ZERO_A = 0.5
"""Highest current at which `drivers.health` does not judge stillness."""
REPORTED_A = 2.0
"""Rise of the reported current that the meter has to show."""
FROZEN_S = 30.0
"""A meter that repeats itself for longer while stations report current is frozen."""


class PlausibilityBounds(msgspec.Struct, frozen=True):
    """Bounds of one circuit's readings: A per phase of feed-in, V line to neutral.

    `has_generation`: generation is declared there or below.
    """

    feed_in_a: PhaseAmps
    voltage_v: float
    has_generation: bool = False

    @classmethod
    def of_circuit(
        cls, circuit: CircuitNode, generation_a: float | None, voltage_v: float
    ) -> PlausibilityBounds:
        """Return the bounds for a circuit; `generation_a`: declared there and below, None: none."""
        declared_a = 0.0 if generation_a is None else GENERATION * generation_a
        first, second, third = (max(limit, declared_a) for limit in circuit.limit_a)
        return cls((first, second, third), voltage_v, generation_a is not None)

    def broken_by(self, reading: Reading, amps: PhaseAmps) -> str:
        """Return in words the bound that the reading breaks; empty if none."""
        for phase, volts in enumerate(reading.voltage_v, start=1):
            if volts is not None and abs(volts - self.voltage_v) > VOLTAGE * self.voltage_v:
                return coded(
                    "L{phase} shows {volts} V, the site has {voltage} V; check its wiring and its register "
                    "map",
                    phase=phase,
                    volts=f"{volts:.0f}",
                    voltage=f"{self.voltage_v:.0f}",
                )
        frequency = reading.frequency_hz
        if not frequency and _is_all_zero(reading):
            return coded("every value is 0; check its power supply and its gateway")
        if frequency is not None and not FREQUENCY_HZ[0] <= frequency <= FREQUENCY_HZ[1]:
            return coded("it shows {frequency} Hz; check its register map", frequency=decimal(frequency))
        for phase, (shown, most) in enumerate(zip(amps, self.feed_in_a, strict=True), start=1):
            if shown < -most:
                return coded(
                    "L{phase} shows {amps} A of feed-in, more than the fuse of {limit} A; check the "
                    "direction of its current transformers, or declare generation_a",
                    phase=phase,
                    amps=f"{-shown:.0f}",
                    limit=f"{most:.0f}",
                )
        return ""


def _is_all_zero(reading: Reading) -> bool:
    """Return True if all values are zero, and more than currents are among them."""
    others = [*reading.voltage_v, reading.frequency_hz, reading.energy_import_wh]
    known = [value for value in others if value is not None]
    powers = [*reading.current_a, *reading.power_w, reading.power_total_w]
    return bool(known) and not any(known) and not any(powers)


class ContradictionWatch:
    """Watch for a meter whose phases do not add up to its total, several readings in a row."""

    def __init__(self) -> None:
        self._times = 0

    def on_reading(self, reading: Reading) -> str:
        """Take in one reading; return the contradiction in words once it lasts, else nothing."""
        problem = describe_contradiction(reading.power_w, reading.power_total_w)
        self._times = self._times + 1 if problem else 0
        return problem if self._times >= CONTRADICTIONS else ""


class SpikeWatch:
    """Watch for single readings far above the rating of a circuit."""

    def __init__(self, limit_a: PhaseAmps) -> None:
        self._limit_a = limit_a
        self._seen = False
        self._read_at: float | None = None

    def set_limit(self, limit_a: PhaseAmps) -> None:
        """Apply another rating."""
        self._limit_a = limit_a

    def is_spike(self, amps: PhaseAmps, now: float) -> bool:
        """Take in one reading; return True if it has to wait for the next one."""
        before, self._read_at = self._read_at, now
        if before is None:
            return False
        multiple = SHORT_SPIKE if now <= before + NEXT_S else SPIKE
        high = False
        for shown_a, most_a in zip(amps, self._limit_a, strict=True):
            high |= abs(shown_a) > multiple * most_a
        first, self._seen = high and not self._seen, high
        return first


class RestWatch:
    """Watch for a meter that is at rest while the meters below it show a rise.

    A phase is at rest while it shows no more than the flutter of its last digits.
    """

    def __init__(self) -> None:
        self._phases = (_PhaseRest(), _PhaseRest(), _PhaseRest())
        self._below: dict[str, PhaseAmps] = {}
        """What each meter below shows (A per phase)."""

    @property
    def missed_a(self) -> PhaseAmps:
        """Return the rise that the meter has not shown (A per phase); 0 where none lasts."""
        first, second, third = self._phases
        return first.missed_a, second.missed_a, third.missed_a

    @property
    def doubted(self) -> bool:
        """Return True if the load may by now be another than the last reading showed."""
        return any(self.missed_a)

    def describe(self) -> str:
        """Return in words the rise that the meter has not shown; empty if none."""
        highest_a = max(self.missed_a)
        if not highest_a:
            return ""
        return coded(
            "L{phase} is at rest, while the meters below it show {amps} A more: until it moves, what they "
            "show counts; if it is frozen, restart it or its gateway",
            phase=self.missed_a.index(highest_a) + 1,
            amps=f"{highest_a:.0f}",
        )

    def on_reading(self, amps: PhaseAmps) -> None:
        """Take in one reading (A per phase)."""
        for phase, shown_a in zip(self._phases, amps, strict=True):
            phase.on_reading(shown_a)

    def on_reading_below(self, meter: str, amps: PhaseAmps, settled_s: float, now: float) -> None:
        """Take in one reading (A per phase) of a meter below.

        `settled_s`: time (s) after a change until both meters show it.
        """
        before, self._below[meter] = self._below.get(meter), amps
        for number, phase in enumerate(self._phases):
            if before is None:
                phase.add_below(amps[number])
            else:
                phase.change_below(amps[number] - before[number], settled_s, now)


class _PhaseRest:
    """The present rest of one phase."""

    def __init__(self) -> None:
        self.missed_a = 0.0
        self._lowest_a, self._highest_a = math.inf, -math.inf
        self._below_a = 0.0
        """Sum of what the meters below show (A), and the highest at the begin of the rest."""
        self._first_a = -math.inf
        self._settled_at: float | None = None
        """When the begin of the rest is over (s, monotonic); None until a reading below comes."""
        self._risen_at = math.inf
        """Since when the sum is higher (s); infinity while it is not."""

    def on_reading(self, shown_a: float) -> None:
        """Take in one reading of the phase; a rest ends with what is more than flutter."""
        lowest_a, highest_a = min(self._lowest_a, shown_a), max(self._highest_a, shown_a)
        if is_quiet(lowest_a, highest_a):
            self._lowest_a, self._highest_a = lowest_a, highest_a
            return
        self._lowest_a = self._highest_a = shown_a
        self._first_a, self._settled_at, self._risen_at = -math.inf, None, math.inf
        self.missed_a = 0.0

    def add_below(self, shown_a: float) -> None:
        """Count a meter below that is read for the first time: it has shown the same before."""
        self._below_a += shown_a
        self._first_a += shown_a

    def change_below(self, change_a: float, settled_s: float, now: float) -> None:
        """Take in a change of what a meter below shows (A)."""
        self._below_a += change_a
        if self._settled_at is None:
            self._settled_at = now + settled_s
        if now < self._settled_at:
            self._first_a = max(self._first_a, self._below_a)
        elif self._below_a < self._first_a + STEP_A:
            self._risen_at = math.inf
        else:
            self._risen_at = min(self._risen_at, now)
            if now >= self._risen_at + settled_s:
                self.missed_a = max(self.missed_a, self._below_a - self._first_a)


class StillWatch:
    """Watch for a meter that repeats itself for longer than usual, or is at rest where it should not be."""

    def __init__(self) -> None:
        self._usual_s = 0.0
        self._still_s = 0.0
        self._reported_s = 0.0
        self._last: Reading | None = None
        self._since: float | None = None
        self._first_a = 0.0
        self.rest = RestWatch()
        self._is_repeated = False
        self.frozen = False
        """True if the meter repeats itself for long while stations report current."""

    @property
    def doubted(self) -> bool:
        """Return True if the load may by now be another than the last reading showed."""
        return self._is_repeated or self.rest.doubted

    def on_reading(self, reading: Reading, still_s: float, reported_a: float, now: float) -> None:
        """Take in one reading that has repeated itself under load for `still_s` (s).

        `reported_a`: what stations below report on their most loaded phase (A). Where the meter shows next to
        nothing, its repetitions count once they report more than at the first of them. The end of a current
        contradicts nothing.
        """
        same = self._last is not None and msgspec.structs.replace(self._last, time=reading.time) == reading
        if not same:
            repeated_s = self._reported_s if self._reported_s < FROZEN_S else 0.0
            self._usual_s = max(self._usual_s, self._still_s, repeated_s)
        first_a, second_a, third_a = reading.current_a
        shown_a = max(abs(first_a or 0.0), abs(second_a or 0.0), abs(third_a or 0.0))
        shows_load = shown_a > NEAR_ZERO_A
        if not same or shows_load:
            self._since, self._first_a = None, reported_a
        elif self._since is None:
            self._first_a = min(self._first_a, reported_a)
            if reported_a > self._first_a + REPORTED_A:
                self._since = now
        self._last = reading
        self._still_s = still_s
        self._reported_s = 0.0 if self._since is None else now - self._since
        self._is_repeated = max(still_s, self._reported_s) > max(STILL_S, USUALLY * self._usual_s)
        self.frozen = self._reported_s > max(FROZEN_S, USUALLY * self._usual_s)


class SignWatch:
    """Watch for phases of one meter that change their sign under load."""

    def __init__(self) -> None:
        self._last: PhaseAmps | None = None
        self._turned = [0] * 3
        self._turned_at = [0.0] * 3
        self.doubted = False
        """True if a phase shows feed-in that may be a load."""
        self.turned_now: list[int] = []
        """Phases (0 to 2) that turned with the last reading."""

    def end_doubt(self, phase: int) -> None:
        """Take the sign of a phase (0 to 2) as right: a step of a car has proven it since it turned."""
        self._turned[phase] = 0
        self.doubted = any(self._turned)

    def on_reading(self, amps: PhaseAmps, stopped_a: PhaseAmps, now: float) -> str:
        """Take in one reading; return in words what cannot be, empty if all can.

        `stopped_a`: what the EVSEs below can have stopped to draw since the last reading (A per phase).
        """
        self.turned_now = []
        for phase in range(3):
            if amps[phase] > -LOADED_A:
                self._turned[phase] = 0
            elif self._turned[phase]:
                self._turned[phase] += 1
                if now >= self._turned_at[phase] + SIGN_DOUBT_S:
                    self._turned[phase] = 0
            elif self._last is not None and self._turns(self._last[phase], amps[phase], stopped_a[phase]):
                self._turned[phase], self._turned_at[phase] = 1, now
                self.turned_now.append(phase)
        self._last = amps
        self.doubted = any(self._turned)
        if not self.doubted:
            return ""
        turned = [f"L{phase + 1}" for phase in range(3) if 0 < self._turned[phase] <= SIGN_READINGS]
        if not turned:
            return ""
        return coded(
            "{phases} changed its sign under load; check its current transformers", phases=join_and(turned)
        )

    @staticmethod
    def _turns(before: float, after: float, stopped_a: float) -> bool:
        same_size = before > LOADED_A and abs(before + after) <= SAME_SIZE * before
        return same_size and before - after > stopped_a + LOADED_A
