"""Rows of the allocation problem: what can be full on a site, and what each demand loads.

Four kinds of rows, all counted in whole tenths of an ampere:

- a phase of a circuit, loaded by who may draw on it;
- all phases of a circuit together, where power is limited: loaded once for each phase;
- where the grid operator dims the site, each phase and all phases together of the grid connection once
  more, loaded by the *controllable* EVSEs alone;
- the *lead* of one phase of a circuit over another, where unbalance is limited: loaded by who draws on
  the first and not on the second, or may do so. A three-phase car loads no lead once its phases are known.

Leads are bounded in rounds, as draw on the lower phase helps. The first round has no bound. Where its shares
leave a lead that is too great, the next round bounds what loads it by what is allowed plus the help that the
other phase gives. Help is the lower of a share and of what its EVSE draws by its reports: a car that is full,
or not there yet, helps no EVSE. Bounds only fall, so the rounds end; if they take too long, the last bounds
count no help at all, which always holds.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from itertools import permutations

import msgspec

from controller.load_management.allocation.water_filling import Claim, ClaimGroup, Loads, Pool, share_after
from controller.load_management.site_tree import ZERO, PhaseAmps, PhaseFlags, SiteTree
from controller.model.statements import Statement, StatementCode

Place = tuple[str, PhaseFlags, PhaseFlags, bool]
"""The circuit where a demand hangs, the phases that it may draw on, those of them that it draws on in any
case, and whether it is controllable."""

LeadLoads = Mapping[str, tuple[Sequence[int], Sequence[int]]]
"""Tenths that load each pair's lead on a circuit: by the shares, and by what of them is drawn."""

GivenPhases = tuple[PhaseAmps, tuple[int, int, int]]
"""Room of a circuit on each phase: in A, and in whole tenths."""

TENTHS = 10
"""Parts of an ampere that a limit is made of."""
NO_BOUND = 10**9
"""Tenths that nothing reaches."""
UNNAMED = Statement(code=StatementCode.NOT_PLANNED)
"""Statement of a row before its room is set."""
PAIRS = list(permutations(range(3), 2))
"""A phase that may lead, and the one that it is held against."""
OPPOSITE = [PAIRS.index((low, high)) for high, low in PAIRS]
PairAmps = Sequence[float]
"""A for each of `PAIRS`."""
NO_LEADS: PairAmps = (0.0,) * len(PAIRS)
LEAD_LEFT = 3
"""Lead (tenths) that is left beyond the minimum of an EVSE that starts: readings flutter by as much."""


class DimmedGroup(msgspec.Struct, frozen=True):
    """Bound on the controllable EVSEs below a circuit together, in A; inf: no bound. `why` states it."""

    phases_a: PhaseAmps
    sum_a: float
    why: Statement


class JointConstraint(msgspec.Struct, frozen=True, kw_only=True):
    """Bounds on the phases of a circuit together, in A.

    `sum_a`: room of the EVSEs below, all phases added up; `sum_why` states that it is used up (None: by
    power). `unbalance_a`: the most that a phase may carry more than another, with at most `base_a` besides
    the EVSEs on each and at least `low_a` (None: the same; feed-in is negative), and `leads_a` by EVSEs that
    the room is not shared among. An EVSE that charges keeps its minimum beside `shown_a`, the load by the
    last reading (None: as others). `dimmed`: what bounds those of them that are controllable.
    """

    sum_a: float | None = None
    sum_why: Statement | None = None
    unbalance_a: float | None = None
    base_a: PhaseAmps = ZERO
    low_a: PhaseAmps | None = None
    shown_a: PhaseAmps | None = None
    leads_a: PairAmps = NO_LEADS
    dimmed: DimmedGroup | None = None


class AdmissionRooms(msgspec.Struct, frozen=True):
    """Room for minima alone, in A per phase of each circuit.

    `keep`: of EVSEs that charge, `start`: of EVSEs that would begin. A minimum is kept in room that no EVSE
    is raised into, and started only into room that has been free for minutes. `unlasting`: the part of the
    room of all phases together (A) in which no EVSE starts. `peaks`: the recent load of the building that
    makes a phase (circuit, 0 to 2) too full to start in. `sums`: `keep` and `start` of all phases together
    (A), where these are limited; without it, the room for shares.
    """

    keep: Mapping[str, PhaseAmps]
    start: Mapping[str, PhaseAmps]
    unlasting: Mapping[str, float] = {}
    peaks: Mapping[tuple[str, int], Statement] = {}
    sums: Mapping[str, tuple[float, float]] = {}


class Constraints:
    """Rows of the site: the room of each, and which of them a demand loads.

    `leads` has the room of each pair's lead on the circuits where unbalance is limited. The rows and the
    groups of demands stay while `has_rows_for` is True; `set_rooms` then sets what may change.
    """

    def __init__(self, site: SiteTree) -> None:
        self._site = site
        self._statements: list[Statement] = []
        self._lead_rows = range(0)
        """Rows of the leads."""
        self._phases_from = 0
        """First row of the circuits' phases: three for each circuit, behind all others."""
        self._first_of: dict[str, int] = {}
        self._sum_of: dict[str, int] = {}
        self._leads_of: dict[str, int] = {}
        self._dimmed_rows: dict[str, tuple[int, ...]] = {}
        self._loads_up: dict[Place, Loads] = {}
        self._groups: dict[tuple[Place, int], ClaimGroup] = {}
        self._leading: list[tuple[ClaimGroup, Loads]] = []
        """Groups that may load leads, as they draw on one phase more than on another, each with these."""
        self.pools: dict[int, Pool] = {}
        """Admitted claims by their priority."""
        self.groups_on: list[list[ClaimGroup]] = []
        self._given_roomy: dict[str, GivenPhases] = {}
        self._given_keep: dict[str, GivenPhases] = {}
        self._given_start: dict[str, GivenPhases] = {}
        self.given: list[int] = []
        """Minima of all admitted claims on each row."""
        self._wanted: list[int] = []
        self._least: list[int] = []
        self.tight: set[int] = set()
        """Rows that everybody's maximum would fill."""
        self._peaks: dict[int, Statement] = {}
        """Reason why no further car starts on a row although it is not full, by the number of the row."""
        self.changed_peaks: set[int] = set()
        """Rows of which that is another statement than before."""
        self.contested: set[int] = set()
        """Rows that have not room for everybody's minimum."""
        self._joint_rows: object = None

    def make_rows(self, joint: Mapping[str, JointConstraint], leads: PhaseLeads) -> None:
        """Make the rows that these bounds need; none has room before `set_rooms`."""
        self._joint_rows = _joint_rows(joint, leads)
        for circuit, bound in joint.items():
            if bound.dimmed is not None:
                self._dimmed_rows[circuit] = tuple(self._row(UNNAMED) for _ in range(4))
            if bound.sum_a is not None:
                self._sum_of[circuit] = self._row(UNNAMED)
        leads_from = len(self._statements)
        for circuit in leads.rooms:
            self._leads_of[circuit] = len(self._statements)
            for high, low in PAIRS:
                self._row(
                    Statement(
                        code=StatementCode.PHASE_LEADS, circuit=circuit, phase=high + 1, other_phase=low + 1
                    )
                )
        self._phases_from = len(self._statements)
        self._lead_rows = range(leads_from, self._phases_from)
        for each in self._site.circuits:
            self._first_of[each.id] = len(self._statements)
            for phase in range(3):
                self._row(Statement(code=StatementCode.PHASE_FULL, circuit=each.id, phase=phase + 1))

    def has_rows_for(self, joint: Mapping[str, JointConstraint], leads: PhaseLeads) -> bool:
        """Return True if these bounds have the rows that there are."""
        return self._joint_rows == _joint_rows(joint, leads)

    def set_rooms(
        self,
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint],
        leads: PhaseLeads,
        admission: AdmissionRooms | None,
    ) -> bool:
        """Set the room of every row; return True if a row has another statement than before."""
        room = self.room = [0] * len(self._statements)
        before = list(self._statements)
        for circuit, bound in joint.items():
            if bound.dimmed is not None:
                limits = (*bound.dimmed.phases_a, bound.dimmed.sum_a)
                for row, amps in zip(self._dimmed_rows[circuit], limits, strict=True):
                    self._statements[row] = bound.dimmed.why
                    room[row] = NO_BOUND if math.isinf(amps) else tenths_down(amps)
            if bound.sum_a is not None:
                row = self._sum_of[circuit]
                self._statements[row] = bound.sum_why or Statement(
                    code=StatementCode.POWER_FULL, circuit=circuit
                )
                room[row] = tenths_down(bound.sum_a)
        self._set_phases(room, capacity, self._given_roomy)
        self.keep_room, self.start_room = list(room), list(room)
        if admission is not None:
            self._set_phases(self.keep_room, admission.keep, self._given_keep)
            self._set_phases(self.start_room, admission.start, self._given_start)
            for circuit, (keep_a, start_a) in admission.sums.items():
                if circuit in self._sum_of:
                    row = self._sum_of[circuit]
                    self.keep_room[row], self.start_room[row] = tenths_down(keep_a), tenths_down(start_a)
        for circuit, amps in (admission.unlasting if admission else {}).items():
            if circuit in self._sum_of:
                self.start_room[self._sum_of[circuit]] -= tenths_up(amps)
        peaks = (
            {self._first_of[c] + phase: s for (c, phase), s in admission.peaks.items()} if admission else {}
        )
        self.changed_peaks = {
            row for row in self._peaks.keys() | peaks if self._peaks.get(row) != peaks.get(row)
        }
        self._peaks = peaks
        self.set_leads(leads)
        self._find_tight()
        return before != self._statements

    def _set_phases(
        self, room: list[int], capacity: Mapping[str, PhaseAmps], before: dict[str, GivenPhases]
    ) -> None:
        """Set the room on the circuits' phases; `before`: what was set last, which is often the same."""
        for circuit, first in self._first_of.items():
            amps = capacity[circuit]
            given = before.get(circuit)
            if given is None or given[0] != amps:
                given = before[circuit] = amps, phases_down(amps)
            room[first : first + 3] = given[1]

    def set_leads(self, leads: PhaseLeads) -> None:
        """Set the rooms of the leads."""
        for circuit, rooms in leads.rooms.items():
            place = slice(self._leads_of[circuit], self._leads_of[circuit] + len(PAIRS))
            self.room[place], self.keep_room[place] = rooms, leads.keep_rooms[circuit]
            self.start_room[place] = [room - LEAD_LEFT for room in rooms]

    def pools_in_order(self) -> list[Pool]:
        """Return the pools of all priorities, the most important first."""
        return [self.pools[priority] for priority in sorted(self.pools, reverse=True)]

    def room_to_fill(self) -> list[int]:
        """Return what the minima leave of each row."""
        return [room - given for room, given in zip(self.room, self.given, strict=True)]

    def lead_loads(self) -> LeadLoads:
        """Return what loads each lead (tenths), per circuit: by the shares, and by what of them is drawn.

        The shares are those that follow from the levels of the groups.
        """
        shared, drawn = [0] * len(self.given), [0] * len(self.given)
        for group, loads in self._leading:
            share = help_ = 0
            for claim in group.members:
                if claim.admitted:
                    taken, _ = share_after(group, claim.stands_at, claim.maximum)
                    share += taken
                    help_ += min(taken, claim.drawn)
            for row, times in loads if share else ():
                shared[row] += times * share
                drawn[row] += times * help_
        return {
            circuit: (shared[first : first + len(PAIRS)], drawn[first : first + len(PAIRS)])
            for circuit, first in self._leads_of.items()
        }

    def _row(self, statement: Statement) -> int:
        self._statements.append(statement)
        self.groups_on.append([])
        for column in (self.given, self._wanted, self._least):
            column.append(0)
        return len(self._statements) - 1

    def group(self, place: Place, priority: int) -> ClaimGroup:
        """Return the group of the demands of a place with this priority."""
        group = self._groups.get((place, priority))
        if group is None:
            pool = self.pools.setdefault(priority, Pool())
            group = self._groups[place, priority] = ClaimGroup(pool, self.loads_up(place))
            pool.groups.append(group)
            for row, _ in group.all_loads:
                self.groups_on[row].append(group)
            if loads := [load for load in group.all_loads if load[0] in self._lead_rows]:
                self._leading.append((group, loads))
            self._set_loads(group)
        return group

    def add(self, claim: Claim) -> None:
        """Count what a claim may load."""
        claim.group.members[claim] = None
        self._count(claim, 1)

    def remove(self, claim: Claim) -> None:
        """No longer count a claim that was added."""
        del claim.group.members[claim]
        claim.group.changed.pop(claim, None)
        self._count(claim, -1)

    def _count(self, claim: Claim, sign: int) -> None:
        for row, times in claim.group.all_loads:
            self._wanted[row] += sign * times * claim.maximum
            self._least[row] += sign * times * claim.minimum

    def set_admitted(self, claims: Iterable[Claim], *, admitted: bool) -> None:
        """Give claims their minima, or take them back: claims that are alike are counted together."""
        alike: dict[tuple[ClaimGroup, int, int], int] = {}
        for claim in claims:
            claim.admitted = admitted
            if claim.rises_early:
                claim.group.pool.set_early(claim, is_in=admitted)
                self._give(claim.group, claim.minimum if admitted else -claim.minimum)
            else:
                key = claim.group, claim.minimum, claim.maximum
                alike[key] = alike.get(key, 0) + (1 if admitted else -1)
        for (group, minimum, maximum), number in alike.items():
            group.pool.count(group, minimum, maximum, number)
            self._give(group, number * minimum)

    def _give(self, group: ClaimGroup, minima: int) -> None:
        """Count minima of a group's claims on all rows that they load."""
        for row, times in group.all_loads:
            self.given[row] += times * minima

    def loads_up(self, place: Place) -> Loads:
        """Return the rows of a circuit and of all above it that such a demand loads, and how many times."""
        found = self._loads_up.get(place)
        if found is None:
            circuit, phases, sure, controllable = place
            parent = self._site.circuit_by_id[circuit].parent
            above = [] if parent is None else self.loads_up((parent, phases, sure, controllable))
            found = self._loads_up[place] = [*self._loads(*place), *above]
        return found

    def _loads(
        self, circuit: str, phases: PhaseFlags, sure: PhaseFlags, controllable: bool
    ) -> Iterator[tuple[int, int]]:
        """Yield the rows of one circuit that such a demand loads, and how many times its current."""
        first = self._first_of[circuit]
        yield from ((first + phase, 1) for phase in range(3) if phases[phase])
        if (row := self._sum_of.get(circuit)) is not None:
            yield row, sum(phases)
        if controllable and (rows := self._dimmed_rows.get(circuit)) is not None:
            yield from ((rows[phase], 1) for phase in range(3) if phases[phase])
            yield rows[3], sum(phases)
        if (first_lead := self._leads_of.get(circuit)) is not None:
            yield from ((first_lead + pair, 1) for pair in leading(phases, sure))

    def _find_tight(self) -> None:
        """Find the rows that everybody's maximum would fill; only these can bound a share.

        `contested` are those of them that have not room for everybody's minimum. The leads are among both:
        their rooms change from round to round.
        """
        rooms = map(min, self.room, self.keep_room, self.start_room)
        tight = {first + pair for first in self._leads_of.values() for pair in range(len(PAIRS))}
        contested = set(tight)
        for row, (room, wanted, least) in enumerate(zip(rooms, self._wanted, self._least, strict=True)):
            if wanted > room:
                tight.add(row)
                if least > room:
                    contested.add(row)
        others = (tight ^ self.tight) | (contested ^ self.contested)
        self.tight, self.contested = tight, contested
        touched: dict[ClaimGroup, None] = {}
        for row in sorted(others):
            touched |= dict.fromkeys(self.groups_on[row])
        for group in touched:
            self._set_loads(group)

    def _set_loads(self, group: ClaimGroup) -> None:
        group.loads = [load for load in group.all_loads if load[0] in self.tight]
        group.contested = [load for load in group.loads if load[0] in self.contested]

    def statement(self, row: int) -> Statement:
        """Return that this row is full."""
        return self._statements[row]

    def named_row(self, group: ClaimGroup, left: Sequence[int]) -> int | None:
        """Return the row that is named as the one that keeps a group down; None: none does.

        Phases of a circuit that are full alike take turns with the noise of readings: the first of them is
        named. `left`: the room that all shares leave on each row (tenths).
        """
        row = group.frozen_by
        if row is None or row < self._phases_from:
            return row
        first = row - (row - self._phases_from) % 3
        if row == first:
            return row
        return min(
            (each for each, _ in group.loads if first <= each < row and left[each] <= left[row] + FULL_ALIKE),
            default=row,
        )

    def refusal(self, claim: Claim, row: int, *, is_served: bool) -> Statement:
        """Return why a row has no room for the minimum of a claim.

        Where the minimum fits beside those of all that are admitted, the row is full only for who starts.
        """
        peak = self._peaks.get(row)
        if peak is None or is_served or self.room[row] - self.given[row] < claim.minimum:
            return self._statements[row]
        return peak


def _joint_rows(
    joint: Mapping[str, JointConstraint], leads: PhaseLeads
) -> tuple[tuple[tuple[str, bool, bool], ...], tuple[str, ...]]:
    """Return which rows these bounds need, beside those of the circuits' phases."""
    bounds = tuple((circuit, b.dimmed is not None, b.sum_a is not None) for circuit, b in joint.items())
    return bounds, tuple(leads.rooms)


@cache
def leading(phases: PhaseFlags, sure: PhaseFlags) -> list[int]:
    """Return the pairs (numbers in `PAIRS`) of which a draw on some of these phases may load only the first.

    `sure`: those of the phases that it loads in any case.
    """
    return [number for number, (high, low) in enumerate(PAIRS) if phases[high] and not sure[low]]


def tenths_down(amps: float) -> int:
    """Return whole tenths, rounded down but for binary fractions (0.3 is three tenths)."""
    return math.floor(amps * TENTHS + 1e-6)


def phases_down(amps: PhaseAmps) -> tuple[int, int, int]:
    """Return `tenths_down` of each phase."""
    first, second, third = amps
    floor = math.floor
    return floor(first * TENTHS + 1e-6), floor(second * TENTHS + 1e-6), floor(third * TENTHS + 1e-6)


def tenths_up(amps: float) -> int:
    """Return whole tenths, rounded up."""
    return math.ceil(amps * TENTHS - 1e-6)


FULL_ALIKE = 5
"""Difference (tenths) up to which two phases of a circuit are full alike."""
ROUNDS = 4
"""Number of rounds after which the shares are near enough; each costs a pass of the allocator."""


class PhaseLeads:
    """Bound of each lead on the circuits where unbalance is limited, in tenths.

    `rooms`: for shares. `keep_rooms`: for the minima of EVSEs that charge. Room for shares is found with the
    highest load on one phase and the lowest on the other: what the building swings by stops no car as long as
    the meter does not show too great a lead.
    """

    def __init__(self, joint: Mapping[str, JointConstraint]) -> None:
        limited = {circuit: bound for circuit, bound in joint.items() if bound.unbalance_a is not None}
        self._allowed = {circuit: _find_allowed(bound) for circuit, bound in limited.items()}
        self._kept = {circuit: _find_allowed(bound, is_kept=True) for circuit, bound in limited.items()}
        self.rooms = {circuit: [NO_BOUND] * len(PAIRS) for circuit in limited}
        self.keep_rooms = {circuit: [NO_BOUND] * len(PAIRS) for circuit in limited}

    def tighten(self, loads: LeadLoads) -> bool:
        """Lower the bounds for what was shared; return True if a lead is too great."""
        too_great = False
        for circuit, (taken, helps) in loads.items():
            rooms, keep_rooms = self.rooms[circuit], self.keep_rooms[circuit]
            for pair, allowed in enumerate(self._allowed[circuit]):
                help_ = helps[OPPOSITE[pair]]
                room = max(0, allowed + help_)
                keep_room = max(room, self._kept[circuit][pair] + help_)
                # Minima that are kept may take more than the room for shares: no bound lowers them.
                if taken[pair] > room and (rooms[pair] > room or keep_rooms[pair] > keep_room):
                    too_great = True
                    rooms[pair] = min(rooms[pair], room)
                    keep_rooms[pair] = min(keep_rooms[pair], keep_room)
        return too_great

    def count_no_help(self) -> None:
        """Bound every lead so that it is small enough for any shares."""
        self.rooms = {
            circuit: [max(0, allowed) for allowed in pairs] for circuit, pairs in self._allowed.items()
        }
        self.keep_rooms = {
            circuit: [max(0, *each) for each in zip(self._allowed[circuit], kept, strict=True)]
            for circuit, kept in self._kept.items()
        }


def _find_allowed(bound: JointConstraint, *, is_kept: bool = False) -> list[int]:
    """Return the lead of each pair (tenths) that base load and other EVSEs leave.

    The base load counts as its highest here and its lowest there. `is_kept`: to minima that are kept, beside
    the load that is shown, where that leaves more.
    """
    low_a = bound.base_a if bound.low_a is None else bound.low_a
    allowed = []
    for (high, low), others_a in zip(PAIRS, bound.leads_a, strict=True):
        base_a = bound.base_a[high] - min(low_a[low], bound.base_a[low])
        if is_kept and bound.shown_a is not None:
            base_a = min(base_a, bound.shown_a[high] - bound.shown_a[low])
        allowed.append(tenths_down((bound.unbalance_a or 0.0) - base_a - others_a))
    return allowed
