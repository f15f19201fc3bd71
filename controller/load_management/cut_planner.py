"""Cuts of a pass: which EVSEs come down now because others need their room, and how far."""

from __future__ import annotations

from collections.abc import Generator, Sequence

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.allocation.headroom import Headroom
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import NOISE_A
from controller.load_management.site_model import SiteModel
from controller.load_management.site_tree import PhaseFlags
from controller.model.observations import EvseRef

ASKED_A = 2.0
"""A rise by less does not make others come down before their renewal."""
DEEP_A = 3.0
DEEP = 0.5
"""Largest cut of an EVSE below its share until its renewal: so many A, or this part of it."""
EXCESS_A = 1.0
"""Offers less above their share than this do not come down for others that rise: renewals level them."""
CHUNK_A = 2.0
"""Smallest cut where a circuit is short of room: the next small shortage is then within it already."""

COST_CIRCUIT = 3
COST_SEARCH = 5
COST_CUT = 10
"""Work of one circuit, one EVSE that is searched, and one that is cut (about us of a small computer)."""

OffShare = tuple[EvseController, Allocation, float]
"""EVSE whose offer differs from its share, its allocation, and its offer (A per phase)."""


class CutPlanner:
    """Finds the EVSEs that are cut in a pass."""

    def __init__(self, model: SiteModel) -> None:
        self._model = model
        self._places_of: dict[tuple[str, PhaseFlags], list[tuple[str, int]]] = {}

    def plan_cuts(
        self, off_share: Sequence[OffShare], ledger: Headroom
    ) -> Generator[int, None, dict[EvseRef, float]]:
        """Return the limits (A per phase) of EVSEs that are cut now because their room is needed.

        Yields the cost of each step.
        Where a circuit is short of room or an EVSE cannot start, few are cut, and below their share, rather
        than many by a little, to spare writes: those first that obey fastest, then those whose lease would be
        renewed soonest. Where an EVSE cannot rise by `ASKED_A`, those that are far above their share come
        down to it. Renewals level the shares again.
        """
        short = self._shortage(ledger)
        yield len(self._model.site.circuits) * COST_CIRCUIT
        asked = yield from self._asked_room(off_share, ledger, short)
        cuts: dict[EvseRef, float] = {}
        if not short and not asked:
            return cuts
        shares = {controller.evse.ref: allocation.limit_a for controller, allocation, _ in off_share}
        above = [
            controller
            for controller, allocation, offered_a in off_share
            if offered_a > allocation.limit_a
            and any(place in short or place in asked for place in self._places(controller))
        ]
        yield len(off_share) * COST_SEARCH
        above.sort(
            key=lambda each: (
                shares[each.evse.ref] > 0,  # stops are decided: others get what they free
                each.delivery.reaction_s,
                each.delivery.written_at,
                each.evse.ref,
            )
        )
        yield len(above) * COST_SEARCH
        for number, controller in enumerate(above, 1):
            if number % 100 == 0:
                yield 100 * COST_CUT
            ref, min_a, places = controller.evse.ref, controller.evse.min_a, self._places(controller)
            offered_a, share_a = controller.offered_a, shares[ref]
            missing_a = max((short[place] for place in places if place in short), default=0.0)
            asked_a = max((asked[place] for place in places if place in asked), default=0.0)
            if missing_a <= 0 and (asked_a <= 0 or offered_a - share_a < EXCESS_A):
                continue
            cuts[ref] = share_a
            if missing_a > 0 and share_a > min_a:
                deepest_a = max(min_a, share_a - max(DEEP_A, DEEP * share_a))
                cuts[ref] = max(deepest_a, offered_a - max(missing_a, CHUNK_A))
            for needed in (short, asked):
                for place in places:
                    if place in needed:
                        needed[place] -= offered_a - cuts[ref]
        return cuts

    def _shortage(self, ledger: Headroom) -> dict[tuple[str, int], float]:
        """Return the room (A) that is missing on phases of circuits, beyond what the margin carries."""
        found: dict[tuple[str, int], float] = {}
        for circuit_id, room in ledger.rooms().items():
            carried_a = self._model.metering.carried_a(self._model.site.circuit_by_id[circuit_id])
            for phase in range(3):
                if room[phase] < -carried_a:
                    found[circuit_id, phase] = -room[phase]
        return found

    def _asked_room(
        self,
        off_share: Sequence[OffShare],
        ledger: Headroom,
        short: dict[tuple[str, int], float],
    ) -> Generator[int, None, dict[tuple[str, int], float]]:
        """Return the room (A) that rises of `ASKED_A` or more lack, on each phase of a circuit.

        Yields the cost of each step.
        `off_share`: EVSEs, their allocations and their offers (A) where these differ. What an EVSE lacks to
        start is added to `short` instead: it has nothing until it has its minimum.
        """
        found: dict[tuple[str, int], float] = {}
        for number, (controller, allocation, offered_a) in enumerate(off_share, 1):
            if number % 200 == 0:
                yield 200 * COST_SEARCH
            min_a = controller.evse.min_a
            starts = offered_a < min_a <= allocation.limit_a
            rise_a = min_a - offered_a if starts else allocation.limit_a - offered_a
            if not starts and rise_a < ASKED_A:
                continue
            lacking_a = rise_a - max(0.0, ledger.room(controller.evse, controller.model.phases))
            if lacking_a > NOISE_A:
                needed = short if starts else found
                for place in self._places(controller):
                    needed[place] = needed.get(place, 0.0) + lacking_a
        return found

    def _places(self, controller: EvseController) -> list[tuple[str, int]]:
        """Return the phases of circuits that an EVSE loads."""
        key = (controller.evse.circuit, controller.model.phases)
        found = self._places_of.get(key)
        if found is None:
            path = self._model.site.path(controller.evse.circuit)
            found = self._places_of[key] = [
                (circuit.id, phase)
                for circuit in path
                for phase in range(3)
                if controller.model.phases[phase]
            ]
        return found
