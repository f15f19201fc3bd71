"""Room on each circuit, while EVSEs are booked one by one."""

from __future__ import annotations

import math
from collections.abc import Mapping

from msgspec.structs import replace

from controller.load_management.allocation.constraints import DimmedGroup
from controller.load_management.site_tree import EvseNode, PhaseAmps, PhaseFlags, SiteTree
from controller.model.observations import EvseRef

Booking = tuple[PhaseFlags, float]
"""Phases of the site on which an EVSE may draw, and the most that it may draw on each (A)."""

NO_BOOKING: Booking = ((False, False, False), 0.0)


class Bookings:
    """Sums of what all EVSEs may draw, kept per circuit: an update costs the path of one EVSE.

    `steered_a` is the sum of the steerable ones. Sums are in A: of each phase, and of all together.
    """

    def __init__(self, site: SiteTree) -> None:
        self._sums = {circuit.id: [0.0] * 4 for circuit in site.circuits}
        self._paths = {
            circuit.id: [self._sums[each.id] for each in site.path(circuit.id)] for circuit in site.circuits
        }
        self._by_ref: dict[EvseRef, Booking] = {}
        self.steered_a = [0.0] * 4

    def booked_a(self, circuit: str) -> list[float]:
        """Return what is booked on a circuit: on each phase, and on all together (A)."""
        return self._sums[circuit]

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
        sums = self._paths[evse.circuit]
        for each in [*sums, self.steered_a] if evse.steerable else sums:
            each[0] += first
            each[1] += second
            each[2] += third
            each[3] += first + second + third


class Headroom:
    """Room on every circuit, in A: on each phase, and on all together; it may go below zero.

    `room` is per phase; `sums` holds the room of all phases added up, for the circuits that limit it;
    `steered` that of the steerable EVSEs, where the grid operator limits them.
    """

    def __init__(
        self,
        site: SiteTree,
        room: Mapping[str, PhaseAmps],
        sums: Mapping[str, float] | None = None,
        steered: DimmedGroup | None = None,
    ) -> None:
        self._site = site
        self._found: dict[tuple[str, PhaseFlags, bool], float] = {}
        """Answers of `room` since the last booking."""
        self._steered = steered
        self._steered_room = [] if steered is None else [[*steered.phases_a, steered.sum_a]]
        self._sums = sums or {}
        sums_of = self._sums.get
        self._room = {
            circuit: [first, second, third, sums_of(circuit, math.inf)]
            for circuit, (first, second, third) in room.items()
        }
        self._paths: dict[str, list[list[float]]] = {}
        """Rooms of a circuit and of all above it, where they were needed so far."""

    def copy(self) -> Headroom:
        """Return another ledger with the same room."""
        return Headroom(self._site, self.rooms(), self.sums(), self.steered())

    def book(self, evse: EvseNode, phases: PhaseFlags, amps: float) -> None:
        """Take `amps` on the given site phases from every circuit above the EVSE; negative gives back."""
        self._found.clear()
        for room in self._rooms_of(evse):
            for phase in range(3):
                if phases[phase]:
                    room[phase] -= amps
                    room[3] -= amps

    def book_all(self, bookings: Bookings) -> None:
        """Take everything that is booked on the circuits of this site."""
        self._found.clear()
        for circuit, room in self._room.items():
            _subtract(room, bookings.booked_a(circuit))
        for room in self._steered_room:
            _subtract(room, bookings.steered_a)

    def is_full(self, least_a: float) -> bool:
        """Return True if the first circuit, which feeds all others, has not this much (A) on any phase."""
        return max(self._room[self._site.circuits[0].id][:3]) < least_a

    def circuits_with_room(self, least_a: float) -> list[str]:
        """Return the circuits where this much (A) is left on a phase, there and on all circuits above."""
        left: dict[str, list[float]] = {}
        for circuit in self._site.circuits:
            own = self._room[circuit.id]
            above = own if circuit.parent is None else left[circuit.parent]
            left[circuit.id] = [min(own[phase], above[phase]) for phase in range(3)]
        return [circuit for circuit, amps in left.items() if max(amps) >= least_a]

    def short_circuits(self) -> set[str]:
        """Return the circuits where more is booked than there is room."""
        short = {circuit for circuit, room in self._room.items() if min(room) < 0}
        if self._steered_room and min(self._steered_room[0]) < 0:
            short |= self._room.keys()
        return short

    def room(self, evse: EvseNode, phases: PhaseFlags) -> float:
        """Return the A per phase that the EVSE could take more: the least over its phases and circuits."""
        key = (evse.circuit, phases, evse.steerable)
        found = self._found.get(key)
        if found is None:
            first, second, third = phases
            used = first + second + third
            found = math.inf
            for room in self._rooms_of(evse):
                if first and room[0] < found:
                    found = room[0]
                if second and room[1] < found:
                    found = room[1]
                if third and room[2] < found:
                    found = room[2]
                if room[3] < found * used:
                    found = min(found, room[3] / used)
            self._found[key] = found
        return found

    def _rooms_of(self, evse: EvseNode) -> list[list[float]]:
        rooms = self._paths.get(evse.circuit)
        if rooms is None:
            rooms = [self._room[circuit.id] for circuit in self._site.path(evse.circuit)]
            self._paths[evse.circuit] = rooms
        return [*rooms, *self._steered_room] if evse.steerable and self._steered_room else rooms

    def steered(self) -> DimmedGroup | None:
        """Return what is left for the steerable EVSEs, where the grid operator limits them."""
        if self._steered is None:
            return None
        first, second, third, together = self._steered_room[0]
        return replace(self._steered, phases_a=(first, second, third), sum_a=together)

    def rooms(self) -> dict[str, PhaseAmps]:
        """Return what is left on each phase, per circuit."""
        return {circuit: (room[0], room[1], room[2]) for circuit, room in self._room.items()}

    def sums(self) -> dict[str, float]:
        """Return what is left on all phases together, for the circuits that limit it."""
        return {circuit: self._room[circuit][3] for circuit in self._sums}


def _subtract(room: list[float], booked_a: list[float]) -> None:
    first, second, third, together = booked_a
    room[0] -= first
    room[1] -= second
    room[2] -= third
    room[3] -= together
