"""Rows of the allocation problem: what can be full on a site, and what each demand loads.

Four kinds of rows, all counted in whole tenths of an ampere:

- a phase of a circuit, loaded by who may draw on it;
- all phases of a circuit together, where power is limited: loaded once for each phase;
- where the grid operator dims the site, each phase and all phases together of the grid connection once
  more, loaded by the *steerable* EVSEs alone;
- the *lead* of one phase of a circuit over another, where unbalance is limited: loaded by who draws on
  the first and not on the second. A three-phase car loads no lead.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations

import msgspec

from controller.load_management.allocation.water_filling import Claim, ClaimGroup
from controller.load_management.site_tree import ZERO, PhaseAmps, SiteTree

PhaseFlags = tuple[bool, bool, bool]
"""One yes or no for each of the site's L1, L2, L3."""

Place = tuple[str, PhaseFlags, bool]
"""The circuit where a demand hangs, the phases that it may draw on, and whether it is steerable."""

TENTHS = 10
"""Parts of an ampere that a limit is made of."""
NO_BOUND = 10**9
"""Tenths that nothing reaches."""
PAIRS = list(permutations(range(3), 2))
"""A phase that may lead, and the one that it is held against."""


class DimmedGroup(msgspec.Struct, frozen=True):
    """Bound on the steerable EVSEs below a circuit together, in A; inf: no bound. `name` states why."""

    phases_a: PhaseAmps
    sum_a: float
    name: str


class JointConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the phases of a circuit together, in A.

    `sum_a`: room of the EVSEs below, all phases added up; `sum_name` states in words that it is used up.
    `unbalance_a`: the most that a phase may carry more than another, with at most `base_a` besides the EVSEs
    on each and at least `low_a` (None: the same; feed-in is negative). `steered`: what bounds those of them
    that are steerable.
    """

    sum_a: float | None = None
    sum_name: str = "full (W)"
    unbalance_a: float | None = None
    base_a: PhaseAmps = ZERO
    low_a: PhaseAmps | None = None
    steered: DimmedGroup | None = None


class AdmissionRooms(msgspec.Struct, frozen=True):
    """Room for minima alone, in A per phase of each circuit.

    `keep`: of EVSEs that charge, `start`: of EVSEs that would begin. A minimum is kept in room that no EVSE
    is raised into, and started only into room that has been free for minutes. `unlasting`: the part of the
    room of all phases together (A) in which no EVSE starts.
    """

    keep: Mapping[str, PhaseAmps]
    start: Mapping[str, PhaseAmps]
    unlasting: Mapping[str, float] = {}


class Constraints:
    """Rows of the site: the room of each, and which of them a demand loads.

    `leads` gives, for the circuits where unbalance is limited, the room of each pair's lead in tenths. The
    rows and the groups of demands stay while `has_rows_for` is True; `set_rooms` then sets what may change.
    """

    def __init__(
        self,
        site: SiteTree,
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint],
        leads: Mapping[str, Sequence[int]],
        admission: AdmissionRooms | None = None,
    ) -> None:
        self._site = site
        self.room: list[int] = []
        self._names: list[str] = []
        self._first_of: dict[str, int] = {}
        self._sum_of: dict[str, int] = {}
        self._leads_of: dict[str, int] = {}
        self._steered_of: dict[str, tuple[int, ...]] = {}
        self._loads_up: dict[Place, list[tuple[int, int]]] = {}
        self._groups: dict[Place, ClaimGroup] = {}
        self._joint_rows = _joint_rows(joint, leads)
        for circuit, bound in joint.items():
            if bound.steered is not None:
                self._steered_of[circuit] = tuple(self._row("") for _ in range(4))
            if bound.sum_a is not None:
                self._sum_of[circuit] = self._row("")
        for circuit in leads:
            self._leads_of[circuit] = len(self.room)
            for high, low in PAIRS:
                self._row(f"{circuit} L{high + 1} too far above L{low + 1}")
        for each in site.circuits:
            self._first_of[each.id] = len(self.room)
            for phase in range(3):
                self._row(f"{each.id} L{phase + 1} full")
        self.set_rooms(capacity, joint, leads, admission)

    def has_rows_for(self, joint: Mapping[str, JointConstraint], leads: Mapping[str, Sequence[int]]) -> bool:
        """Return True if these bounds have the rows that there are."""
        return self._joint_rows == _joint_rows(joint, leads)

    def set_rooms(
        self,
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint],
        leads: Mapping[str, Sequence[int]],
        admission: AdmissionRooms | None,
    ) -> None:
        """Set the room of every row; nothing is shared yet."""
        room = self.room = [0] * len(self._names)
        for circuit, bound in joint.items():
            if bound.steered is not None:
                limits = (*bound.steered.phases_a, bound.steered.sum_a)
                for row, amps in zip(self._steered_of[circuit], limits, strict=True):
                    self._names[row] = bound.steered.name
                    room[row] = NO_BOUND if math.isinf(amps) else tenths_down(amps)
            if bound.sum_a is not None:
                row = self._sum_of[circuit]
                self._names[row] = f"{circuit} {bound.sum_name}"
                room[row] = tenths_down(bound.sum_a)
        for circuit, rooms in leads.items():
            first = self._leads_of[circuit]
            room[first : first + len(PAIRS)] = rooms
        for circuit, row in self._first_of.items():
            room[row : row + 3] = [tenths_down(amps) for amps in capacity[circuit]]
        self._roomy = tuple(room)
        self.keep_room = self._admission_room(admission.keep if admission else None)
        self.start_room = self._admission_room(admission.start if admission else None)
        for circuit, amps in (admission.unlasting if admission else {}).items():
            if circuit in self._sum_of:
                self.start_room[self._sum_of[circuit]] -= tenths_up(amps)

    def _admission_room(self, capacity: Mapping[str, PhaseAmps] | None) -> list[int]:
        """Return the room of every row for minima: another one on the circuits' phases, else as ever."""
        room = list(self.room)
        for circuit, amps in (capacity or {}).items():
            first = self._first_of[circuit]
            room[first : first + 3] = [tenths_down(a) for a in amps]
        return room

    def clear(self, leads: Mapping[str, Sequence[int]]) -> None:
        """Give all room back, and set the rooms of the leads."""
        self.room = list(self._roomy)
        for circuit, rooms in leads.items():
            first = self._leads_of[circuit]
            for room in (self.room, self.keep_room, self.start_room):
                room[first : first + len(PAIRS)] = rooms

    def shared(self, claims: Iterable[Claim], *, helping: bool = False) -> dict[tuple[str, PhaseFlags], int]:
        """Return what was shared (tenths), by home circuit and phases; `helping`: what of it is drawn."""
        for group in self._groups.values():
            group.shared = 0
        for claim in claims:
            claim.group.shared += min(claim.share, claim.drawn) if helping else claim.share
        shared: dict[tuple[str, PhaseFlags], int] = {}
        for (circuit, phases, _), group in self._groups.items():
            shared[circuit, phases] = shared.get((circuit, phases), 0) + group.shared
        return shared

    def _row(self, name: str) -> int:
        self._names.append(name)
        self.room.append(0)
        return len(self.room) - 1

    def group(self, circuit: str, phases: PhaseFlags, *, steerable: bool) -> ClaimGroup:
        """Return the group of the demands of a circuit with these phases, steerable or not."""
        place = (circuit, phases, steerable)
        group = self._groups.get(place)
        if group is None:
            group = self._groups[place] = ClaimGroup(self._all_loads(place))
        return group

    def _all_loads(self, place: Place) -> list[tuple[int, int]]:
        """Return the rows of a circuit and of all above it that such a demand loads."""
        found = self._loads_up.get(place)
        if found is None:
            circuit, phases, steerable = place
            parent = self._site.circuit_by_id[circuit].parent
            above = [] if parent is None else self._all_loads((parent, phases, steerable))
            found = self._loads_up[place] = [*self._loads(*place), *above]
        return found

    def _loads(self, circuit: str, phases: PhaseFlags, steerable: bool) -> Iterator[tuple[int, int]]:
        """Yield the rows of one circuit that such a demand loads, and how many times its current."""
        first = self._first_of[circuit]
        yield from ((first + phase, 1) for phase in range(3) if phases[phase])
        if (row := self._sum_of.get(circuit)) is not None:
            yield row, sum(phases)
        if steerable and (rows := self._steered_of.get(circuit)) is not None:
            yield from ((rows[phase], 1) for phase in range(3) if phases[phase])
            yield rows[3], sum(phases)
        if (first_lead := self._leads_of.get(circuit)) is not None:
            yield from ((first_lead + pair, 1) for pair in leading(phases))

    def find_tight(self, claims: Iterable[Claim]) -> None:
        """Drop from every group the rows that even everybody's maximum cannot fill.

        `contested` are those of them that have not room for everybody's minimum.
        """
        wanted = [0] * len(self.room)
        least = [0] * len(self.room)
        for group in self._groups.values():
            group.wanted = group.least = 0
        for claim in claims:
            group = claim.group
            group.wanted += claim.maximum
            group.least += claim.minimum
        used = [group for group in self._groups.values() if group.wanted]
        for group in used:
            for row, times in group.all_loads:
                wanted[row] += times * group.wanted
                least[row] += times * group.least
        rooms = [min(three) for three in zip(self.room, self.keep_room, self.start_room, strict=True)]
        for group in used:
            group.loads = [load for load in group.all_loads if wanted[load[0]] > rooms[load[0]]]
            group.contested = [load for load in group.loads if least[load[0]] > rooms[load[0]]]

    def name(self, row: int) -> str:
        """Return in words that this row is full."""
        return self._names[row]


def _joint_rows(
    joint: Mapping[str, JointConstraint], leads: Mapping[str, Sequence[int]]
) -> tuple[tuple[tuple[str, bool, bool], ...], tuple[str, ...]]:
    """Return which rows these bounds need, beside those of the circuits' phases."""
    bounds = tuple((circuit, b.steered is not None, b.sum_a is not None) for circuit, b in joint.items())
    return bounds, tuple(leads)


@cache
def leading(phases: PhaseFlags) -> list[int]:
    """Return the pairs (numbers in `PAIRS`) of which a draw on these phases loads only the first."""
    return [number for number, (high, low) in enumerate(PAIRS) if phases[high] and not phases[low]]


def tenths_down(amps: float) -> int:
    """Return whole tenths, rounded down but for binary fractions (0.3 is three tenths)."""
    return math.floor(amps * TENTHS + 1e-6)


def tenths_up(amps: float) -> int:
    """Return whole tenths, rounded up."""
    return math.ceil(amps * TENTHS - 1e-6)
