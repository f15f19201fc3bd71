"""Room on each circuit, while EVSEs are booked one by one."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from copy import copy
from operator import add, sub
from typing import NamedTuple

from msgspec.structs import replace

from controller.load_management.allocation.constraints import (
    NO_LEADS,
    OPPOSITE,
    PAIRS,
    DimmedGroup,
    PairAmps,
    leading,
)
from controller.load_management.site_tree import COLUMNS, EvseNode, PhaseAmps, PhaseFlags, SiteTree
from controller.model.observations import EvseRef

Booking = tuple[PhaseFlags, float]
"""Phases of the site on which an EVSE may draw, and the most that it may draw on each (A)."""

NO_BOOKING: Booking = ((False, False, False), 0.0)


class Bookings:
    """Sums of what all EVSEs may draw, kept per circuit: an update costs the path of one EVSE.

    Sums are in A: of each phase, and of all together.
    """

    def __init__(self, site: SiteTree) -> None:
        self._site = site
        self._row = [0.0] * (COLUMNS * (len(site.circuits) + 1))
        self._by_ref: dict[EvseRef, Booking] = {}

    def booked_a(self, circuit: str) -> list[float]:
        """Return what is booked on a circuit: on each phase, and on all together (A)."""
        begin = COLUMNS * self._site.places_up[circuit][0]
        return self._row[begin : begin + COLUMNS]

    @property
    def controllable_a(self) -> list[float]:
        """Return the sums of the controllable EVSEs."""
        return self._row[-COLUMNS:]

    def row(self, site: SiteTree) -> list[float]:
        """Return what is booked on the circuits of this site, or of a part of it, in its order."""
        if site is self._site:
            return self._row
        row = [amps for circuit in site.circuits for amps in self.booked_a(circuit.id)]
        return row + self.controllable_a

    def booking_of(self, ref: EvseRef) -> Booking:
        """Return the booking of one EVSE."""
        return self._by_ref.get(ref, NO_BOOKING)

    def set(self, evse: EvseNode, booking: Booking) -> None:
        """Replace one EVSE's booking."""
        before = self._by_ref.get(evse.ref, NO_BOOKING)
        if booking == before:
            return
        self._by_ref[evse.ref] = booking
        (flags_before, amps_before), (flags, amps) = before, booking
        first = flags[0] * amps - flags_before[0] * amps_before
        second = flags[1] * amps - flags_before[1] * amps_before
        third = flags[2] * amps - flags_before[2] * amps_before
        together = first + second + third
        row = self._row
        for begin in self._site.columns_up[evse.circuit, evse.is_controllable]:
            row[begin] += first
            row[begin + 1] += second
            row[begin + 2] += third
            row[begin + 3] += together


class Headroom:
    """Room on every circuit, in A: on each phase, and on all together; it may go below zero.

    `room` is per phase; `sums` holds the room of all phases added up, for the circuits that limit it;
    `dimmed` that of the controllable EVSEs, where the grid operator limits them.
    """

    def __init__(
        self,
        site: SiteTree,
        room: Mapping[str, PhaseAmps],
        sums: Mapping[str, float] | None = None,
        dimmed: DimmedGroup | None = None,
    ) -> None:
        self._site = site
        self._found: dict[tuple[str, PhaseFlags, bool], float] = {}
        """Answers of `room` since the last booking."""
        self._rooms: dict[str, PhaseAmps] | None = None
        """Answer of `rooms` since the last booking."""
        self._dimmed = dimmed
        self._with_sums = tuple(sums or ())
        sum_of = {} if sums is None else sums
        self._row: list[float] = []
        """All circuits in the order of the site, each with `COLUMNS` numbers."""
        for circuit in site.circuits:
            self._row += room[circuit.id]
            self._row.append(sum_of.get(circuit.id, math.inf))
        self._row += (math.inf,) * COLUMNS if dimmed is None else (*dimmed.phases_a, dimmed.sum_a)

    def copy(self) -> Headroom:
        """Return a copy with the same room."""
        found = copy(self)
        found._found, found._row = {}, list(self._row)  # `_rooms` is replaced as a whole, never changed
        return found

    def book(self, evse: EvseNode, phases: PhaseFlags, amps: float) -> None:
        """Take `amps` on the given site phases from every circuit above the EVSE; negative gives back."""
        self._found.clear()
        self._rooms = None
        row = self._row
        for begin in self._site.columns_up[evse.circuit, evse.is_controllable]:
            for phase in range(3):
                if phases[phase]:
                    row[begin + phase] -= amps
                    row[begin + 3] -= amps

    def book_on(self, circuit: str, amps: float) -> None:
        """Take `amps` on each phase from one circuit alone, if it is one of the site."""
        if circuit not in self._site.circuit_by_id:
            return
        self._found.clear()
        self._rooms = None
        begin = COLUMNS * self._site.places_up[circuit][0]
        for phase in range(3):
            self._row[begin + phase] -= amps
        self._row[begin + 3] -= 3 * amps

    def least_on(self, circuit: str) -> float:
        """Return the A that are left on each phase of one circuit alone, infinite for one of another site."""
        if circuit not in self._site.circuit_by_id:
            return math.inf
        begin = COLUMNS * self._site.places_up[circuit][0]
        return min(*self._row[begin : begin + 3], self._row[begin + 3] / 3)

    def book_all(self, bookings: Bookings) -> None:
        """Take everything that is booked on the circuits of this site."""
        self._found.clear()
        self._rooms = None
        self._row = list(map(sub, self._row, bookings.row(self._site)))

    def beside(self, freed: Bookings) -> Headroom:
        """Return a copy with the room that is left once so much is freed."""
        found = copy(self)
        found._found, found._rooms = {}, None
        found._row = list(map(add, self._row, freed.row(self._site)))
        return found

    def is_full(self, least_a: float) -> bool:
        """Return True if the first circuit, which feeds all others, has not this much (A) on any phase."""
        return max(self._row[:3]) < least_a

    def short_circuits(self) -> set[str]:
        """Return the circuits where more is booked than there is room."""
        if min(self._row[-COLUMNS:]) < 0:
            return {circuit.id for circuit in self._site.circuits}
        short: set[str] = set()
        for place, circuit in enumerate(self._site.circuits):
            if min(self._row[COLUMNS * place : COLUMNS * (place + 1)]) < 0:
                short.add(circuit.id)
        return short

    def short_rooms(self) -> dict[str, PhaseAmps]:
        """Return what is left on each phase of a circuit, where that is less than nothing on one."""
        return {
            circuit.id: room
            for circuit, room in zip(self._site.circuits, _phases(self._row), strict=True)
            if room[0] < 0 or room[1] < 0 or room[2] < 0
        }

    def room(self, evse: EvseNode, phases: PhaseFlags) -> float:
        """Return the A per phase that the EVSE could take more: the least over its phases and circuits."""
        key = (evse.circuit, phases, evse.is_controllable)
        found = self._found.get(key)
        if found is None:
            row = self._row
            first, second, third = phases
            used = first + second + third
            found = math.inf
            for begin in self._site.columns_up[evse.circuit, evse.is_controllable]:
                if first and row[begin] < found:
                    found = row[begin]
                if second and row[begin + 1] < found:
                    found = row[begin + 1]
                if third and row[begin + 2] < found:
                    found = row[begin + 2]
                if row[begin + 3] < found * used:
                    found = min(found, row[begin + 3] / used)
            self._found[key] = found
        return found

    def dimmed(self) -> DimmedGroup | None:
        """Return what is left for the controllable EVSEs, where the grid operator limits them."""
        if self._dimmed is None:
            return None
        first, second, third, together = self._row[-COLUMNS:]
        return replace(self._dimmed, phases_a=(first, second, third), sum_a=together)

    def rooms(self) -> Mapping[str, PhaseAmps]:
        """Return what is left on each phase, per circuit."""
        if self._rooms is None:
            rooms = _phases(self._row)
            self._rooms = {c.id: room for c, room in zip(self._site.circuits, rooms, strict=True)}
        return self._rooms

    def sums(self) -> dict[str, float]:
        """Return what is left on all phases together, for the circuits that limit it."""
        if not self._with_sums:
            return {}
        places = self._site.places_up
        return {circuit: self._row[COLUMNS * places[circuit][0] + 3] for circuit in self._with_sums}


class Lead(NamedTuple):
    """Current by which an EVSE on a circuit may let phases lead others: its most on each of its phases (A).

    `sure`: those of them on which it draws in any case; `help_a`: what other phases may exceed by it (A), no
    more than its most.
    """

    circuit: str
    phases: PhaseFlags
    sure: PhaseFlags
    amps: float
    help_a: float


class FixedLeads:
    """Leads of phases that EVSEs make whose current is not shared now, where unbalance is limited."""

    def __init__(self, site: SiteTree) -> None:
        self._site = site
        self._leads_a: dict[str, list[float]] = {}
        self._leads: dict[EvseRef, Lead] = {}
        """Leads that were set, each for an EVSE."""

    def copy(self) -> FixedLeads:
        """Return a copy with the same leads."""
        found = FixedLeads(self._site)
        found._leads_a = {circuit: list(amps) for circuit, amps in self._leads_a.items()}
        return found

    def set(self, ref: EvseRef, lead: Lead | None) -> None:
        """Set what an EVSE leads by, in place of what was set for it before; None: nothing."""
        before = self._leads.pop(ref, None)
        if before is not None:
            self.add(before._replace(amps=-before.amps, help_a=-before.help_a))
        if lead is not None:
            self._leads[ref] = lead
            self.add(lead)

    def add(self, lead: Lead) -> None:
        """Add what an EVSE leads by."""
        for each in self._site.path(lead.circuit):
            if each.unbalance_a is None:
                continue
            leads_a = self._leads_a.setdefault(each.id, [0.0] * len(PAIRS))
            for pair in leading(lead.phases, lead.sure):
                leads_a[pair] += lead.amps
                leads_a[OPPOSITE[pair]] -= lead.help_a

    def of_circuit(self, circuit: str) -> PairAmps:
        """Return the lead of each pair on a circuit (A), less what the lower phase helps."""
        return self._leads_a.get(circuit, NO_LEADS)


def _phases(row: list[float]) -> Iterator[PhaseAmps]:
    """Yield the phases of each circuit in a row of all."""
    end = -COLUMNS
    return zip(row[0:end:COLUMNS], row[1:end:COLUMNS], row[2:end:COLUMNS], strict=True)
