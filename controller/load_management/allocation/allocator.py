"""Allocator: minima first, then all rise together until a conductor is full.

The problem:

- A *conductor* is one phase of one circuit. An EVSE loads, on every circuit from its own up to the
  grid connection, each phase that it may draw on with its whole current (A per phase). Limits of
  power and of unbalance are conductors too, see `conductors.py`.
- An EVSE is *semi-continuous*: it takes nothing, or at least its minimum (6 A by IEC 61851-1).
- *Admission*: in the order of priority, then rank, each EVSE whose minimum still fits on all of its
  conductors gets that minimum. A minimum once given is never taken back by an EVSE that comes later
  in that order, so one who is left out really does not fit.
- *Filling*: inside one priority all admitted EVSEs rise with one common level over the whole tree at
  once, `x = clamp(level, minimum, maximum)`. When a conductor is full, everybody on it stays where he
  is and the others rise on. The result is max-min fair: no EVSE could get more but at the cost of one
  who has no more than he. The most important priority is filled first; the rest keep their minima.
- *Guarantees*: who is guaranteed a current rises to it before anybody else rises, whatever the priority, and
  is admitted before all others.
- *Needs*: who must have so much to leave in time rises before the others of his priority, max-min fairly
  among those who need, up to his need and no higher; then all rise together from where they stand.

All currents are whole tenths of an ampere inside (OCPP 1.6 allows a limit one decimal), so sums are
exact and the same demands in any order give the same answer. EVSEs of the same circuit and priority on the
same phases see the same conductors and move as one group.

An `Allocator` stays from pass to pass. Sums of minima and maxima, the groups' bends and the sections of the
order are kept up to date as demands change, so a pass costs the groups, and those EVSEs whose demand or whose
group's level changed. In the order of admission, a *section* is a run of EVSEs that differ in nothing but
their last place: where there is room for all of its minima, it is admitted whole.
"""

from __future__ import annotations

from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence

import msgspec

from controller.load_management.allocation.constraints import (
    ROUNDS,
    TENTHS,
    AdmissionRooms,
    Constraints,
    JointConstraint,
    PhaseLeads,
    tenths_down,
    tenths_up,
)
from controller.load_management.allocation.water_filling import (
    Claim,
    ClaimGroup,
    Loads,
    SectionKey,
    raise_early,
    share_after,
)
from controller.load_management.site_tree import EvseNode, PhaseAmps, PhaseFlags, SiteTree
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

NO_JOINT: Mapping[str, JointConstraint] = {}
Place = tuple[int, int, float]
"""Place in the order of service, the lower the earlier: the first two make the section."""
FIRST_PLACE: Place = (0, 0, 0.0)
ALL_IT_CAN_TAKE = Statement(code=StatementCode.ALL_IT_CAN_TAKE)
COST_DEMAND = 20
COST_CLAIM = 5
COST_GROUP = 1
COST_LEAD = 1
"""Work of one changed demand, claim, and group, and of a claim on leads (about us of a small computer)."""
ADMITTED_AT_ONCE = 500
"""Claims that are given their minima, or refused, in one step."""
MANY_GROUPS = 100
"""Groups of claims that are filled in a step of their own."""


class Demand(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """Demand of one EVSE. Currents in A per phase.

    `phases` are the site's phases on which it may draw: every wired one while that is unknown. `sure_phases`
    are those of them on which it draws in any case if it does at all; None: all.
    `max_a` holds everything that caps it (its rating, its cable, what its car was seen to need);
    `cap` states it. HIGHER `priority` is more important. Among equals the LOWER `rank` gets
    its minimum first when there is not room for all of them, then the lower `place`. `needs_a` is what it
    must have on average (0: no need), and `why` states it: inside its priority all needs come before what
    any EVSE could take beyond. `guaranteed_a` comes before both, of every priority (0: no guarantee).
    `is_served`: it charges, so its minimum is kept where another one would not start. `help_a`: the least
    that it draws, which is what it can help other phases with; None: all of its share. `is_due`: it has had a
    share for minutes and could not begin, so that no later one is kept in room beyond that of the plan.
    """

    ref: EvseRef
    phases: PhaseFlags
    min_a: float
    max_a: float
    sure_phases: PhaseFlags | None = None
    priority: int = 0
    rank: float = 0.0
    place: Place = FIRST_PLACE
    needs_a: float = 0.0
    why: Statement | None = None
    guaranteed_a: float = 0.0
    cap: Statement = ALL_IT_CAN_TAKE
    is_served: bool = False
    help_a: float | None = None
    is_due: bool = False


class Allocation(msgspec.Struct, frozen=True, gc=False):
    """Share of one EVSE: 0, or `min_a` to `max_a` in steps of 0.1 A, and the reason."""

    ref: EvseRef
    limit_a: float
    statement: Statement

    @property
    def lead(self) -> tuple[int, int] | None:
        """Return the two phases (0 to 2) of which the first would lead too far, where it is 0 for that."""
        cause = self.statement.cause
        if self.limit_a or cause is None or cause.code is not StatementCode.PHASE_LEADS:
            return None
        return cause.phase - 1, cause.other_phase - 1

    @property
    def reason(self) -> str:
        """Return the reason in English."""
        return str(self.statement)


def allocate(
    site: SiteTree,
    demands: Sequence[Demand],
    capacity: Mapping[str, PhaseAmps],
    joint: Mapping[str, JointConstraint] = NO_JOINT,
    admission: AdmissionRooms | None = None,
) -> dict[EvseRef, Allocation]:
    """Share the capacity among the demands, once; see `Allocator.steps`."""
    return Allocator(site).share(demands, capacity, joint, admission)


class _Section:
    """EVSEs that are next to each other in the order of admission. `out`: those that are not admitted."""

    __slots__ = ("_free", "due", "least", "members", "out", "served")

    def __init__(self) -> None:
        self.members: dict[Claim, None] = {}
        self.out: dict[Claim, None] = {}
        self.served = 0
        self._free = 0
        """Members whose minimum is 0: they have no room either where less than nothing is left."""
        self.least: dict[int, int] = {}
        """Minima of all members on each row."""
        self.due: dict[int, int] = {}
        """Number of members on each row that are due."""

    def add(self, claim: Claim) -> None:
        self.members[claim] = self.out[claim] = None
        self._count(claim, 1)

    def remove(self, claim: Claim) -> None:
        del self.members[claim]
        self.out.pop(claim, None)
        self._count(claim, -1)

    def _count(self, claim: Claim, sign: int) -> None:
        self.served += sign * claim.is_served
        self._free += sign * (claim.minimum == 0)
        least = self.least
        for row, times in claim.group.all_loads:
            least[row] = least.get(row, 0) + sign * times * claim.minimum
            if claim.is_due:
                self.due[row] = self.due.get(row, 0) + sign
        if sign < 0 and claim.minimum:
            for row, _ in claim.group.all_loads:
                if least[row] == 0 and not self._free:
                    del least[row]


class Allocator:
    """Allocator of one site. `set_demand` sets what has changed; `steps` shares anew."""

    def __init__(self, site: SiteTree) -> None:
        self._site = site
        self._constraints: Constraints | None = None
        self._demands: dict[EvseRef, Demand] = {}
        self._pending: dict[EvseRef, None] = {}
        """EVSEs whose demand has changed since their claim was made."""
        self._claims: dict[EvseRef, Claim] = {}
        self._ref_of: dict[Claim, EvseRef] = {}
        self._sections: dict[SectionKey, _Section] = {}
        self._moved: dict[Claim, None] = {}
        """Claims whose share or reason may be another than in `allocations`."""
        self._left: list[int] = []
        """Room that all shares leave on each row (tenths)."""
        self.allocations: dict[EvseRef, Allocation] = {}
        self._changed: dict[EvseRef, None] = {}

    def set_demand(self, ref: EvseRef, demand: Demand | None) -> None:
        """Set what an EVSE demands from now on; None: nothing."""
        before = self._demands.get(ref)
        if demand is before or demand == before:
            return
        if demand is None:
            del self._demands[ref]
        else:
            self._demands[ref] = demand
        self._pending[ref] = None

    def share(
        self,
        demands: Sequence[Demand],
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint] = NO_JOINT,
        admission: AdmissionRooms | None = None,
    ) -> dict[EvseRef, Allocation]:
        """Share the capacity among these demands and no others; see `steps`."""
        for ref in self._demands.keys() - {demand.ref for demand in demands}:
            self.set_demand(ref, None)
        for demand in demands:
            self.set_demand(demand.ref, demand)
        for _ in self.steps(capacity, joint, admission):
            pass
        return {demand.ref: self.allocations[demand.ref] for demand in demands}

    def would_start(self, ref: EvseRef, phases: PhaseFlags) -> bool:
        """Return True if a minimum on these phases alone would fit beside all that are given.

        False, too, where one of those could not start again: it charges in room that has not been free for
        minutes, on a phase that the EVSE may use.
        """
        constraints, demand, evse = self._constraints, self._demands.get(ref), self._site.evse_by_ref[ref]
        if constraints is None or demand is None:
            return False
        minimum, start, given = tenths_up(demand.min_a), constraints.start_room, constraints.given
        least = constraints.loads_up((evse.circuit, phases, phases, evse.is_controllable))
        most = constraints.loads_up(_place(evse, demand))
        return all(start[row] - given[row] >= times * minimum for row, times in least) and all(
            start[row] >= given[row] for row, _ in most
        )

    def take_changed(self) -> list[EvseRef]:
        """Return the EVSEs whose allocation has changed, come or gone since the last call."""
        changed, self._changed = list(self._changed), {}
        return changed

    def steps(
        self,
        capacity: Mapping[str, PhaseAmps],
        joint: Mapping[str, JointConstraint] = NO_JOINT,
        admission: AdmissionRooms | None = None,
    ) -> Iterator[int]:
        """Share the capacity among the demands; `allocations` then has the result.

        `capacity` is, for every circuit of the site, the A per phase that the EVSEs below it may take
        together; zero or less means nothing. `joint` holds what else bounds a circuit, if anything does:
        power, unbalance. `admission`: the room for minima where it is another than `capacity`.

        Yields the cost of each step, between which others may run that call nothing here but `set_demand`.
        Steps that are not taken to the end leave `allocations` incomplete; the next call makes up for it.
        Raises KeyError for an EVSE or a circuit that the site or `capacity` does not have.
        """
        leads = PhaseLeads(joint)
        constraints = self._constraints
        if constraints is None or not constraints.has_rows_for(joint, leads):
            constraints = self._constraints = Constraints(self._site)
            constraints.make_rows(joint, leads)
            self._pending = dict.fromkeys([*self._claims, *self._pending])
            self._claims.clear()
            self._ref_of.clear()
            self._sections.clear()
            self._moved.clear()
        for number, ref in enumerate(list(self._pending), 1):
            self._apply_demand(ref, constraints)
            if number % 50 == 0:
                yield 50 * COST_DEMAND
        if constraints.set_rooms(capacity, joint, leads, admission):
            self._moved = dict.fromkeys(self._ref_of)
        elif changed := constraints.changed_peaks:
            self._moved |= {
                claim: None for claim in self._ref_of if not claim.admitted and claim.bound_by in changed
            }
        yield from self._site.scan_costs
        for _ in range(ROUNDS):
            yield from self._rise(constraints)
            if not leads.rooms:
                break
            yield len(self._claims) * COST_LEAD
            if not leads.tighten(constraints.lead_loads()):
                break
            constraints.set_leads(leads)
        else:
            leads.count_no_help()
            constraints.set_leads(leads)
            yield from self._rise(constraints)
        yield from self._set_shares(constraints)
        for number, claim in enumerate(list(self._moved), 1):
            del self._moved[claim]
            self._note_allocation(self._ref_of[claim], claim, constraints)
            if number % 500 == 0:
                yield 500 * COST_CLAIM

    def _apply_demand(self, ref: EvseRef, constraints: Constraints) -> None:
        """Replace the claim of an EVSE by one for its present demand."""
        del self._pending[ref]
        claim, demand = self._claims.pop(ref, None), self._demands.get(ref)
        if claim is not None:
            self._sections[claim.section].remove(claim)
            if claim.admitted:
                constraints.set_admitted((claim,), admitted=False)
            constraints.remove(claim)
            self._moved.pop(claim, None)
            del self._ref_of[claim]
        if demand is None or tenths_up(demand.min_a) > tenths_down(demand.max_a):
            self._set_allocation(ref, None if demand is None else _refusal(demand))
            return
        evse = self._site.evse_by_ref[ref]
        group = constraints.group(_place(evse, demand), demand.priority)
        claim = self._claims[ref] = Claim(
            group,
            tenths_up(demand.min_a),
            tenths_down(demand.max_a),
            tenths_up(demand.needs_a),
            guaranteed=tenths_down(demand.guaranteed_a),
            is_served=demand.is_served,
            is_due=demand.is_due,
            drawn=None if demand.help_a is None else tenths_down(demand.help_a),
            section=_section(demand),
            place=(demand.place[2], ref),
        )
        self._ref_of[claim] = ref
        self._moved[claim] = None
        constraints.add(claim)
        section = self._sections.get(claim.section)
        if section is None:
            section = self._sections[claim.section] = _Section()
        section.add(claim)

    def _rise(self, constraints: Constraints) -> Iterator[int]:
        """Give minima in order, then let all groups rise, one priority after the other."""
        yield from self._admit(constraints)
        room, groups_on = constraints.room_to_fill(), constraints.groups_on
        pools = constraints.pools_in_order()
        guaranteed: list[Claim] = []
        for pool in pools:
            for claim in pool.early:
                claim.share, claim.bound_by = claim.minimum, None
                if claim.guaranteed > claim.minimum:
                    guaranteed.append(claim)
        if guaranteed:
            raise_early(guaranteed, [claim.guaranteed for claim in guaranteed], room, groups_on)
        for pool in pools:
            if pool.early:
                pool.fill_needs(room, groups_on)
            if len(pool.groups) >= MANY_GROUPS:
                yield len(pool.groups) * COST_GROUP
            yield from pool.fill(room, groups_on, constraints.tight)
        self._left = room

    def _set_shares(self, constraints: Constraints) -> Iterator[int]:
        """Set the shares of the claims by the levels to which their groups have risen at last."""
        for pool in constraints.pools_in_order():
            for claim in pool.early:
                claim.group.changed[claim] = None
            cost = 0
            for group in pool.groups:
                group.frozen_by = constraints.named_row(group, self._left)
                cost += self._apply_level(group)
                if cost > 1000:
                    yield cost
                    cost = 0

    def _apply_level(self, group: ClaimGroup) -> int:
        """Set the shares of a group's claims; return what that costs."""
        level = (group.frozen_at, group.frozen_by)
        claims = group.changed if level == group.level else group.members
        for claim in claims:
            if not claim.admitted:
                continue
            share, bound_by = share_after(group, claim.stands_at, claim.maximum)
            if share != claim.share or bound_by != claim.bound_by or claim.rises_early:
                claim.share, claim.bound_by = share, bound_by
                self._moved[claim] = None
        cost = len(claims) * COST_CLAIM
        group.level = level
        group.changed.clear()
        return cost

    def _admit(self, constraints: Constraints) -> Iterator[int]:
        """Give minima: to all of a section that fit in any order, then in order where its rows are short.

        Who charges fits into the room to keep, who would begin into the room to start; both count all minima
        given before. What is left to rise in is the room of the plan, which kept minima may exceed: but not
        those that come after one who is due to begin, for which they would never leave room.
        """
        keep, start = list(constraints.keep_room), constraints.start_room
        contested = constraints.contested
        taken = dict.fromkeys(contested, 0)  # by minima, of the conductors that have not room for all of them
        for key in sorted(self._sections):
            section = self._sections[key]
            if not section.members:
                del self._sections[key]
                continue
            short = _count_minima(section, taken, keep, start)
            concerned = dict.fromkeys(group for row in short for group in constraints.groups_on[row])
            if section.due:
                self._keep_within_plan(section, concerned, keep, constraints)
            fitting = [claim for claim in section.out if claim.group not in concerned]
            for claims in _in_parts(fitting):
                self._set_admitted(section, claims, constraints)
                if len(claims) == ADMITTED_AT_ONCE:
                    yield ADMITTED_AT_ONCE * COST_CLAIM
            if short:
                yield from self._admit_in_order(section, concerned, short, taken, keep, constraints)

    @staticmethod
    def _keep_within_plan(
        section: _Section, concerned: Collection[ClaimGroup], keep: list[int], constraints: Constraints
    ) -> None:
        """Lower the room to keep to that of the plan on rows where members are admitted that are due."""
        rows: Iterable[int] = section.due
        if concerned:
            due = (c for c in section.members if c.is_due and c.group not in concerned)
            rows = {row for claim in due for row, _ in claim.group.contested}
        for row in rows:
            if section.due[row]:
                keep[row] = min(keep[row], constraints.room[row])

    def _admit_in_order(
        self,
        section: _Section,
        concerned: Iterable[ClaimGroup],
        short: Collection[int],
        taken: dict[int, int],
        keep: list[int],
        constraints: Constraints,
    ) -> Iterator[int]:
        """Give minima to members of these groups of a section, in order, where they fit on the `short` rows.

        `taken` counts all minima of the section on its other rows: those that are not given are taken back.
        """
        start = constraints.start_room
        waiting, refused = yield from _find_waiting(section, concerned, short, taken, keep, start)
        admitted: list[Claim] = []
        for number, (claim, loads) in enumerate(waiting, 1):
            if number % ADMITTED_AT_ONCE == 0:
                yield ADMITTED_AT_ONCE * COST_CLAIM
            bound_by = _bound_by(claim, loads, keep if claim.is_served else start, taken)
            if bound_by is None:
                for row, times in loads:
                    taken[row] += times * claim.minimum
                    if claim.is_due:
                        keep[row] = min(keep[row], constraints.room[row])
                admitted.append(claim)
            else:
                refused[claim] = bound_by
        for claims in _in_parts(admitted):
            self._set_admitted(section, claims, constraints)
            if len(claims) == ADMITTED_AT_ONCE:
                yield ADMITTED_AT_ONCE * COST_CLAIM
        for claims in _in_parts(list(refused)):
            self._set_refused(section, claims, refused, constraints)
            if len(claims) == ADMITTED_AT_ONCE:
                yield ADMITTED_AT_ONCE * COST_CLAIM
        for claim in refused:
            for row, times in claim.group.contested:
                if row not in short:
                    taken[row] -= times * claim.minimum

    def _set_admitted(self, section: _Section, claims: Iterable[Claim], constraints: Constraints) -> None:
        """Give claims of a section their minima."""
        added = [claim for claim in claims if not claim.admitted]
        constraints.set_admitted(added, admitted=True)
        for claim in added:
            section.out.pop(claim, None)
            claim.share, claim.bound_by = claim.minimum, None
            claim.group.changed[claim] = None
            self._moved[claim] = None

    def _set_refused(
        self,
        section: _Section,
        claims: Sequence[Claim],
        bound_by: Mapping[Claim, int],
        constraints: Constraints,
    ) -> None:
        """Take the minima of claims of a section back, if they have them; each is bound by a row."""
        dropped = [claim for claim in claims if claim.admitted]
        self._moved |= {each: None for each in claims if each.admitted or each.bound_by != bound_by[each]}
        constraints.set_admitted(dropped, admitted=False)
        section.out |= dict.fromkeys(dropped)
        for claim in claims:
            claim.share, claim.bound_by = 0, bound_by[claim]

    def _note_allocation(self, ref: EvseRef, claim: Claim, constraints: Constraints) -> None:
        limit_a, statement = claim.share / TENTHS, _explain(self._demands[ref], claim, constraints)
        last = self.allocations.get(ref)
        if last is None or last.limit_a != limit_a or last.statement != statement:
            self._set_allocation(ref, Allocation(ref, limit_a, statement))

    def _set_allocation(self, ref: EvseRef, allocation: Allocation | None) -> None:
        if allocation is None:
            self.allocations.pop(ref, None)
        elif self.allocations.get(ref) != allocation:
            self.allocations[ref] = allocation
        else:
            return
        self._changed[ref] = None


def _in_parts(claims: Sequence[Claim]) -> Iterator[Sequence[Claim]]:
    """Yield claims in parts that are admitted, or refused, in one step each."""
    for begin in range(0, len(claims), ADMITTED_AT_ONCE):
        yield claims[begin : begin + ADMITTED_AT_ONCE]


def _section(demand: Demand) -> SectionKey:
    """Return what a demand has in common with its neighbors in the order of admission."""
    is_guaranteed = demand.guaranteed_a >= demand.min_a
    return (not is_guaranteed, -demand.priority, demand.rank, *demand.place[:2])


def _count_minima(
    section: _Section, taken: dict[int, int], keep: list[int], start: list[int]
) -> Collection[int]:
    """Count the minima of all members in `taken`, but on the rows without room for all; return these rows."""
    least = section.least
    rows = [row for row in taken if row in least] if len(taken) < len(least) else [*least.keys() & taken]
    some_start, some_keep = section.served < len(section.members), section.served > 0
    short: dict[int, None] = {}
    for row in rows:
        needed = taken[row] + least[row]
        if (some_keep and needed > keep[row]) or (some_start and needed > start[row]):
            short[row] = None
        else:
            taken[row] = needed
    return short


def _find_waiting(
    section: _Section,
    concerned: Iterable[ClaimGroup],
    short: Collection[int],
    taken: dict[int, int],
    keep: list[int],
    start: list[int],
) -> Generator[int, None, tuple[list[tuple[Claim, Loads]], dict[Claim, int]]]:
    """Find the members of these groups of a section that fit on the `short` rows, each alone, in order.

    Return them with their loads there, and the others with the row that is short: room only gets less, so who
    does not fit at the begin of its section does not fit later.
    """
    waiting: list[tuple[Claim, Loads]] = []
    refused: dict[Claim, int] = {}
    number = 0
    for group in concerned:
        loads = [load for load in group.contested if load[0] in short]
        for claim in group.members:
            if claim not in section.members:
                continue
            bound_by = _bound_by(claim, loads, keep if claim.is_served else start, taken)
            if bound_by is None:
                waiting.append((claim, loads))
            else:
                refused[claim] = bound_by
            number += 1
            if number % ADMITTED_AT_ONCE == 0:
                yield ADMITTED_AT_ONCE * COST_CLAIM
    waiting.sort(key=_place_of)
    return waiting, refused


def _bound_by(claim: Claim, loads: Loads, free: list[int], taken: dict[int, int]) -> int | None:
    """Return the first of these conductors that has not room for the minimum of a claim; None: it fits."""
    minimum = claim.minimum
    for row, times in loads:
        if free[row] - taken[row] < times * minimum:
            return row
    return None


def _place_of(waiting: tuple[Claim, Loads]) -> tuple[float, tuple[str, int]]:
    return waiting[0].place


def _place(evse: EvseNode, demand: Demand) -> tuple[str, PhaseFlags, PhaseFlags, bool]:
    """Return where a demand hangs, as `Constraints` has it."""
    return evse.circuit, demand.phases, demand.sure_phases or demand.phases, evse.is_controllable


def _refusal(demand: Demand) -> Allocation:
    statement = Statement(
        code=StatementCode.BELOW_MINIMUM, cause=demand.cap, current_a=demand.max_a, minimum_a=demand.min_a
    )
    return Allocation(demand.ref, 0.0, statement)


def _explain(demand: Demand, claim: Claim, constraints: Constraints) -> Statement:
    if claim.bound_by is None:
        return demand.cap
    if not claim.admitted:
        cause = constraints.refusal(claim, claim.bound_by, is_served=demand.is_served)
        return Statement(code=StatementCode.NO_ROOM, cause=cause, minimum_a=demand.min_a)
    full = constraints.statement(claim.bound_by)
    if claim.is_by_need and demand.why is not None:
        return Statement(code=StatementCode.UNDER, context=demand.why, cause=full)
    return full
