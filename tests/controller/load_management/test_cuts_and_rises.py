"""EVSEs whose offers differ from their shares, as they are noted for the cuts of a pass."""

from __future__ import annotations

import itertools

import pytest

from controller.load_management.allocation.allocator import Allocation
from controller.load_management.cuts_and_rises import Group, OffShares, RoomGroups
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.limit_delivery import LimitDelivery
from controller.load_management.site_tree import EvseNode
from controller.model.observations import DrawSeen, EvseRef, EvseState, StateSeen
from controller.model.statements import Statement, StatementCode

EVSE = EvseNode(ref=EvseRef("A", 1), circuit="row", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)
ALL_PHASES = ((True, True, True), False)
FULL = Statement(code=StatementCode.PHASE_FULL, circuit="row", phase=1)


def offered(amps: float) -> EvseController:
    each = EvseController(EVSE, LimitDelivery(EVSE, 120.0, itertools.count(1)), 0.0)
    each.offer.offered_a = amps
    return each


def members(groups: RoomGroups[float]) -> dict[Group, dict[EvseRef, tuple[EvseController, float]]]:
    return {key: group.members for key, group in groups.by_circuit.get(EVSE.circuit, {}).items()}


@pytest.mark.parametrize(
    ("offered_a", "share_a", "is_off", "is_above", "is_below"),
    [
        (16.0, 10.0, True, True, False),
        (10.0, 10.0, False, False, False),
        (10.0, 12.0, True, False, False),
        (10.0, 13.0, True, False, True),
        (0.0, 6.0, True, False, True),
        (10.0, None, True, False, False),
        (6.0, None, False, False, False),
    ],
    ids=["above", "same", "a little below", "below", "to start", "without a share", "at fallback"],
)
def test_off_shares_has_evse_as_it_was_noted_last(
    offered_a: float, share_a: float | None, is_off: bool, is_above: bool, is_below: bool
) -> None:
    found = OffShares()
    for other in (Allocation(EVSE.ref, 0.0, FULL), Allocation(EVSE.ref, 32.0, FULL)):
        found.note(offered(16.0), other)
    each = offered(offered_a)
    found.note(each, None if share_a is None else Allocation(EVSE.ref, share_a, FULL))
    assert (EVSE.ref in found.refs) is is_off
    assert members(found.above) == ({ALL_PHASES: {EVSE.ref: (each, share_a)}} if is_above else {})
    assert found.below == ({EVSE.ref: (each, share_a)} if is_below else {})


def test_off_shares_moves_evse_whose_car_uses_other_phases() -> None:
    found, each = OffShares(), offered(16.0)
    found.note(each, Allocation(EVSE.ref, 10.0, FULL))
    on_one_phase = DrawSeen(1, (16.0, 0.0, 0.0))
    each.model.on_observation(StateSeen(1, EvseState.CHARGING), 16.0, 0.0)
    for now in (10.0, 20.0):
        each.model.on_observation(on_one_phase, 16.0, now)
    found.above.regroup(each)
    assert members(found.above) == {((True, False, False), False): {EVSE.ref: (each, 10.0)}}
