"""The site's meters put to its circuits: base load everywhere, and where no meter can be trusted."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property

import msgspec

from controller.load_management.evse.consumption import OfferCredit
from controller.load_management.metering.base_load import BaseLoad
from controller.load_management.metering.plausibility import SignWatch, StillWatch, contradiction
from controller.load_management.sharing_settings import SiteSettings
from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps, SiteTree
from controller.model.observations import EvseRef
from drivers.errors import Cause
from drivers.reading import MeterState, Quality, Reading


def phase_currents(reading: Reading, voltage_v: float) -> PhaseAmps | None:
    """The reading's A per phase, from power where it has no current; None if a phase has neither."""
    amps = []
    for current, power, voltage in zip(reading.current_a, reading.power_w, reading.voltage_v, strict=True):
        if current is not None:
            amps.append(current)
        elif power is not None:
            amps.append(power / (voltage or voltage_v))
        else:
            return None
    return (amps[0], amps[1], amps[2])


class MeterProblem(msgspec.Struct, frozen=True):
    """Trouble of a meter: a sentence, and its cause as a label. The cause is NONE for a good meter."""

    text: str
    cause: Cause


NO_PROBLEM = MeterProblem("", Cause.NONE)
NOT_READ = MeterProblem("not read yet", Cause.NOT_READ)


class CircuitMetering:
    """What the meters say of each circuit."""

    def __init__(self, site: SiteTree, settings: SiteSettings, now: float) -> None:
        self._site = site
        self._settings = settings
        self._circuit_of = {circuit.meter: circuit for circuit in site.circuits if circuit.meter}
        self._loads = {
            c.id: BaseLoad(c.limit_a, c.fuse, now, self.margin_a(c)) for c in self._circuit_of.values()
        }
        self._signs = {circuit.id: SignWatch() for circuit in self._circuit_of.values()}
        self._still = {circuit.id: StillWatch() for circuit in self._circuit_of.values()}
        self._states: dict[str, MeterState] = {}
        self._heard_at = dict.fromkeys(self._loads, now)
        self._measured: dict[str, PhaseAmps | None] = {}
        self._used: dict[str, Reading] = {}

    def margin_a(self, circuit: CircuitNode) -> float:
        """What is kept free under the circuit's limit (A per phase)."""
        return self._settings.margin_a if circuit.margin_a is None else circuit.margin_a

    def crossed(self, circuit: CircuitNode) -> bool:
        """Whether the circuit's last good reading was above what was planned for it."""
        load = self._loads.get(circuit.id)
        return load is not None and load.crossed

    def circuit_of(self, meter: str) -> CircuitNode | None:
        """The circuit that a meter measures; None for a meter that measures none."""
        return self._circuit_of.get(meter)

    def see(
        self, state: MeterState, credits: Mapping[EvseRef, OfferCredit], now: float, slowest_s: float = 0.0
    ) -> bool:
        """One word of a meter that measures a circuit; whether the circuit is over its limit.

        `credits` holds at least the EVSEs below that circuit, of whom `slowest_s` is the longest reaction.
        """
        circuit = self._circuit_of[state.meter]
        self._heard_at[circuit.id] = now
        measured = phase_currents(state.reading, self._settings.voltage_v) if state.reading else None
        self._measured[circuit.id] = measured
        below = [credits[evse.ref] for evse in self._site.below[circuit.id]]
        state = self._states[circuit.id] = self._judged(circuit, state, measured, below)
        if state.quality is not Quality.GOOD or state.reading is None or measured is None:
            return False
        self._still[circuit.id].see(state.still_s)
        if state.reading == self._used.get(circuit.id):
            return False  # a poll was lost: an old reading beside today's draws would tell a wrong base load
        self._used[circuit.id] = state.reading
        too_much = circuit.limit_w is not None and self.power_w(circuit, measured) > circuit.limit_w
        return self._loads[circuit.id].measure(measured, below, now, cut=too_much, slowest_s=slowest_s)

    def surplus_a(self, now: float) -> float:
        """What the site feeds in besides our EVSEs, all phases added up (A); 0 where no meter tells."""
        grid = self._site.circuits[0]
        load = self._loads.get(grid.id)
        return 0.0 if load is None or self.trouble(grid, now) else max(0.0, load.fed_in_a(now))

    def _judged(
        self, circuit: CircuitNode, state: MeterState, measured: PhaseAmps | None, below: list[OfferCredit]
    ) -> MeterState:
        """The state, implausible where it is good by itself but cannot be on this site."""
        if state.quality is not Quality.GOOD or state.reading is None or measured is None:
            return state
        turned = self._signs[circuit.id].see(measured, below)
        problem = turned or contradiction(state.reading)
        return (
            msgspec.structs.replace(
                state, quality=Quality.IMPLAUSIBLE, problem=problem, cause=Cause.IMPOSSIBLE_VALUE
            )
            if problem
            else state
        )

    def power_w(self, circuit: CircuitNode, amps: PhaseAmps) -> float:
        """What these currents are at most, in W: at the circuit's own voltage, nothing of it reactive."""
        return sum(a * v for a, v in zip(amps, self._voltages(circuit), strict=True))

    def highest_v(self, circuit: CircuitNode) -> float:
        """The highest voltage of a phase to plan with (V): as measured there or above, else as declared."""
        return max(self._voltages(circuit))

    def _voltages(self, circuit: CircuitNode) -> PhaseAmps:
        declared = self._settings.voltage_v
        for each in self._site.path(circuit.id):
            state = self._states.get(each.id)
            if state is not None and state.reading is not None:
                first, second, third = (max(declared, volts or 0.0) for volts in state.reading.voltage_v)
                return (first, second, third)
        return (declared,) * 3

    def trouble(self, circuit: CircuitNode, now: float) -> str:
        """Why the circuit's meter cannot be planned with, in words; empty if it can or there is none."""
        if circuit.id not in self._loads:
            return ""
        quality = self.quality(circuit, now)
        if quality is not Quality.GOOD:
            return f"meter {circuit.meter} is {quality}"
        if self._measured.get(circuit.id) is None:
            return f"meter {circuit.meter} does not tell the current of each phase"
        return ""

    def doubted(self, circuit: CircuitNode) -> bool:
        """Whether the circuit's meter may have frozen: good as yet, and planned with at the worst."""
        watch = self._still.get(circuit.id)
        return watch is not None and watch.doubted

    def meter_problem(self, circuit: CircuitNode, now: float) -> MeterProblem:
        """Describe the trouble of the circuit's meter, or what its good readings lack; empty if nothing."""
        state = self._states.get(circuit.id)
        if circuit.id not in self._loads or state is None:
            return NO_PROBLEM if circuit.id not in self._loads else NOT_READ
        if now - self._heard_at[circuit.id] > self._settings.silence_s:
            return MeterProblem(f"no state for {now - self._heard_at[circuit.id]:.0f} s", Cause.NOT_READ)
        if state.quality is Quality.GOOD:
            if self._measured.get(circuit.id) is None:
                return MeterProblem("it does not measure the current of each phase", Cause.MISSING_VALUE)
            return MeterProblem(state.limitation, Cause.NONE)
        return MeterProblem(state.problem, state.cause)

    def quality(self, circuit: CircuitNode, now: float) -> Quality | None:
        """What the circuit's meter is worth now; None without a meter."""
        if circuit.id not in self._loads:
            return None
        state = self._states.get(circuit.id)
        if state is None or now - self._heard_at[circuit.id] > self._settings.silence_s:
            return Quality.DEAD
        return state.quality

    def troubles_above(self, now: float) -> dict[str, str]:
        """For every circuit, why EVSEs below it must keep to their fallback; empty where they need not.

        A meter that cannot be planned with is the trouble of everything below it.
        """
        found: dict[str, str] = {}
        for circuit in self._site.circuits:
            above = found[circuit.parent] if circuit.parent is not None else ""
            found[circuit.id] = self.trouble(circuit, now) or above
        return found

    @cached_property
    def covers(self) -> dict[str, bool]:
        """For every circuit, whether a meter measures it or one above it."""
        found: dict[str, bool] = {}
        for circuit in self._site.circuits:
            above = circuit.parent is not None and found[circuit.parent]
            found[circuit.id] = circuit.meter is not None or above
        return found

    def measured(self, circuit: CircuitNode) -> PhaseAmps | None:
        """The last currents that the circuit's meter told, however old."""
        return self._measured.get(circuit.id)

    def base(self, now: float) -> dict[str, PhaseAmps]:
        """For every circuit, what draws on it besides our EVSEs, in A per phase.

        Without a meter of its own a circuit is taken to carry what its children do, and what is declared.
        """
        base: dict[str, PhaseAmps] = {}
        carried: dict[str, PhaseAmps] = {}
        for circuit in reversed(self._site.circuits):  # children first
            own = self._own_base(circuit, now)
            if own is None:
                own = _plus(carried.get(circuit.id, ZERO), circuit.base_load_a)
            base[circuit.id] = own
            if circuit.parent is not None:
                so_far = carried.get(circuit.parent, ZERO)
                carried[circuit.parent] = _sum(so_far, base[circuit.id])
        return base

    def _own_base(self, circuit: CircuitNode, now: float) -> PhaseAmps | None:
        load = self._loads.get(circuit.id)
        if load is None:
            return None
        believed = load.believed(now)
        troubled = bool(self.trouble(circuit, now))
        if not troubled and not self.doubted(circuit):
            return believed
        declared = self._declared[circuit.id]
        first, second, third = map(max, load.worst(), ZERO if troubled else believed)
        return (max(first, declared), max(second, declared), max(third, declared))

    @cached_property
    def _declared(self) -> dict[str, float]:
        """For every circuit, the most that draws there beside our EVSEs (A on each phase), as declared."""
        found = {circuit.id: circuit.base_load_a for circuit in self._site.circuits}
        for circuit in reversed(self._site.circuits):  # children first
            if circuit.parent is not None:
                found[circuit.parent] += found[circuit.id]
        return found


def _plus(amps: PhaseAmps, more_a: float) -> PhaseAmps:
    return (amps[0] + more_a, amps[1] + more_a, amps[2] + more_a)


def _sum(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    return (one[0] + other[0], one[1] + other[1], one[2] + other[2])
