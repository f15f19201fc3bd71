"""Bookkeeping of room: what is left on each phase of each circuit while EVSEs are booked one by one."""

from __future__ import annotations

from collections.abc import Mapping

from controller.site.allocator import PhaseFlags
from controller.site.tree import Evse, PhaseAmps, Site


class Ledger:
    """The room on every circuit, in A per phase; it may go below zero."""

    def __init__(self, site: Site, room: Mapping[str, PhaseAmps]) -> None:
        self._room = {circuit: list(amps) for circuit, amps in room.items()}
        self._paths: dict[str, list[list[float]]] = {}
        for circuit in site.circuits:
            above = self._paths[circuit.parent] if circuit.parent is not None else []
            self._paths[circuit.id] = [self._room[circuit.id], *above]

    def book(self, evse: Evse, phases: PhaseFlags, amps: float) -> None:
        """Take `amps` on the given site phases from every circuit above the EVSE; negative gives back."""
        for room in self._paths[evse.circuit]:
            for phase in range(3):
                if phases[phase]:
                    room[phase] -= amps

    def room(self, evse: Evse, phases: PhaseFlags) -> float:
        """The A per phase that the EVSE could take more: the least over its phases and circuits."""
        return min(room[p] for room in self._paths[evse.circuit] for p in range(3) if phases[p])

    def rooms(self) -> dict[str, PhaseAmps]:
        """What is left, per circuit."""
        return {circuit: (room[0], room[1], room[2]) for circuit, room in self._room.items()}
