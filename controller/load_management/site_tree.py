"""Wiring of the site: circuits from the grid connection down, and the EVSEs on them."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Mapping
from functools import cached_property

import msgspec

from controller.model.observations import EvseRef

PhaseAmps = tuple[float, float, float]
"""A on the site's L1, L2, L3."""

PhaseFlags = tuple[bool, bool, bool]
"""A flag for each of the site's L1, L2, L3."""

ZERO: PhaseAmps = (0.0, 0.0, 0.0)
NOWHERE: PhaseAmps = (-math.inf, -math.inf, -math.inf)
"""No load on any phase, where the highest of several counts."""
LEAST_CAR_A = 6.0
"""Least current of a car (A per phase): one that is offered less takes nothing (IEC 61851-1)."""

COLUMNS = 4
"""Numbers of each circuit in a row of all: A on each phase, and on all together."""
MANY_CIRCUITS = 20
"""Circuits of a large site: on a smaller one all of them together take less than a fraction of a ms."""
COST_CIRCUIT = 10
"""Work of one circuit where a step of a pass goes over all of them (about us of a small computer)."""


def subtract(one: PhaseAmps, other: PhaseAmps) -> PhaseAmps:
    """Return the difference of two currents on each phase."""
    return (one[0] - other[0], one[1] - other[1], one[2] - other[2])


def add_up(currents: Iterable[PhaseAmps]) -> PhaseAmps:
    """Return the sum of several currents on each phase."""
    first = second = third = 0.0
    for a, b, c in currents:
        first, second, third = first + a, second + b, third + c
    return (first, second, third)


def lower_of(limit_a: PhaseAmps, most_a: float | None) -> PhaseAmps:
    """Return the limit of each phase (A), or `most_a` where that is lower; None: it is not limited so."""
    if most_a is None:
        return limit_a
    return (min(limit_a[0], most_a), min(limit_a[1], most_a), min(limit_a[2], most_a))


class Fuse(enum.StrEnum):
    """Protection of a circuit; `PLAIN` must never carry more than the limit."""

    PLAIN = "plain"
    B = "B"
    C = "C"
    GG = "gG"


class CircuitNode(msgspec.Struct, frozen=True, kw_only=True):
    """One fuse and its place in the tree. `parent` is None for the grid connection only.

    `margin_a` is kept free under the limit of each phase, for what may be switched on beside our EVSEs;
    None: as everywhere on the site. `learns_margin`: it is learned from the circuit's meter instead.
    `limit_w` holds for the power of all phases together.
    `unbalance_a` is the most that one phase may carry more than another (A). `base_load_a` is the most that
    draws on each phase beside our EVSEs and the circuits below, which is counted where no meter shows it;
    `generation_a` the most that generation feeds in there on each phase, None: there is none.
    `measures_building`: the circuit's meter shows what flows besides our EVSEs, which are not behind it.
    """

    id: str
    parent: str | None
    limit_a: PhaseAmps
    meter: str | None = None
    margin_a: float | None = None
    learns_margin: bool = False
    limit_w: float | None = None
    unbalance_a: float | None = None
    base_load_a: float = 0.0
    generation_a: float | None = None
    measures_building: bool = False
    fuse: Fuse = Fuse.PLAIN


class EvseNode(msgspec.Struct, frozen=True, kw_only=True):
    """One EVSE and the circuit that feeds it.

    `phases[k]` is the site's phase (0, 1, 2) that the station's phase k sits on: one entry for a
    one-phase station, three for a three-phase one.
    Currents in A per phase; `fallback_a` is what the station takes by itself without us.
    `is_controllable`: the grid operator may dim it (EnWG section 14a).
    `surplus`: it charges from what the site would feed in, and from nothing else. `phase_switching`: whether
    it can be set to use one phase instead of three; None: as its station reports. `reports_on_grid`: its
    station reports currents on the phases of the site, not on its own. `is_dc`: it draws alike on all of its
    phases; `reserve_a` is kept free on each of them while it has no car. `is_site`: it is a whole site below
    another controller, which reports no state for it. `watts_per_a`: W for each A on one phase, in a limit of
    a station that accepts W only; `divides_watts`: it never gives one phase more than an equal part of it.
    """

    ref: EvseRef
    circuit: str
    phases: tuple[int, ...]
    min_a: float
    max_a: float
    fallback_a: float
    priority: int = 0
    surplus: bool = False
    is_controllable: bool = False
    phase_switching: bool | None = None
    reports_on_grid: bool = False
    is_dc: bool = False
    reserve_a: float = 0.0
    watts_per_a: float = 230.0
    divides_watts: bool = False
    is_site: bool = False

    @property
    def all_phases(self) -> PhaseFlags:
        """Return the site's phases that it is wired to."""
        return (0 in self.phases, 1 in self.phases, 2 in self.phases)

    @property
    def one_phase(self) -> PhaseFlags:
        """Return the site's phase that it uses when it is set to use one: its own L1."""
        first = self.phases[0]
        return (first == 0, first == 1, first == 2)


class SiteTree(msgspec.Struct, frozen=True, dict=True):
    """Whole tree. `circuits` are ordered parents first."""

    circuits: tuple[CircuitNode, ...]
    evses: tuple[EvseNode, ...]

    @cached_property
    def circuit_by_id(self) -> Mapping[str, CircuitNode]:
        """Return each circuit by its id."""
        return {circuit.id: circuit for circuit in self.circuits}

    @cached_property
    def evse_by_ref(self) -> Mapping[EvseRef, EvseNode]:
        """Return each EVSE by its reference."""
        return {evse.ref: evse for evse in self.evses}

    @cached_property
    def below(self) -> Mapping[str, tuple[EvseNode, ...]]:
        """Return the EVSEs below each circuit, at any depth."""
        found: dict[str, list[EvseNode]] = {circuit.id: [] for circuit in self.circuits}
        for evse in self.evses:
            for circuit in self.path(evse.circuit):
                found[circuit.id].append(evse)
        return {circuit: tuple(evses) for circuit, evses in found.items()}

    @cached_property
    def unbalance_a(self) -> Mapping[str, float]:
        """Return the least unbalance (A) that each circuit or one above it allows, where limited."""
        found: dict[str, float] = {}
        for circuit in self.circuits:
            for each in (circuit.unbalance_a, found.get(circuit.parent or "")):
                if each is not None:
                    found[circuit.id] = min(each, found.get(circuit.id, each))
        return found

    @cached_property
    def places_up(self) -> Mapping[str, tuple[int, ...]]:
        """Return the places in `circuits` of each circuit and of all above it."""
        found: dict[str, tuple[int, ...]] = {}
        for place, circuit in enumerate(self.circuits):
            found[circuit.id] = (place, *(() if circuit.parent is None else found[circuit.parent]))
        return found

    @cached_property
    def columns_up(self) -> Mapping[tuple[str, bool], tuple[int, ...]]:
        """Return where in a row of all circuits those above an EVSE begin, by circuit and `is_controllable`.

        The row has `COLUMNS` numbers of each circuit, and as many of all controllable EVSEs behind them.
        """
        found: dict[tuple[str, bool], tuple[int, ...]] = {}
        for circuit, places in self.places_up.items():
            begins = tuple(COLUMNS * place for place in places)
            found[circuit, False] = begins
            found[circuit, True] = (*begins, COLUMNS * len(self.circuits))
        return found

    @cached_property
    def partly_metered(self) -> frozenset[str]:
        """Return the circuits of which no meter shows the cars, or none does on one of those above."""
        found: set[str] = set()
        for circuit in self.circuits:
            if not circuit.meter or circuit.measures_building or circuit.parent in found:
                found.add(circuit.id)
        return frozenset(found)

    @cached_property
    def scan_costs(self) -> tuple[int, ...]:
        """Return the cost to yield before a step that goes over all circuits: none on a small site."""
        return (len(self.circuits) * COST_CIRCUIT,) if len(self.circuits) >= MANY_CIRCUITS else ()

    @cached_property
    def _paths(self) -> Mapping[str, tuple[CircuitNode, ...]]:
        found: dict[str, tuple[CircuitNode, ...]] = {}
        for circuit in self.circuits:
            found[circuit.id] = (circuit, *(() if circuit.parent is None else found[circuit.parent]))
        return found

    def path(self, circuit_id: str) -> tuple[CircuitNode, ...]:
        """Return the circuit and all above it, up to the grid connection."""
        return self._paths[circuit_id]
