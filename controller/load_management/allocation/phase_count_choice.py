"""Who would do better with another number of phases: found by sharing the current once more as if.

*To one phase*: who has nothing, and gets something as a one-phase EVSE. *Back to all*: who gets his minimum
and `RETURN_A` more on all phases, and no less power than on the one; nobody who is served may go without
for it. Wishes only: `phase_switch` decides when they have lasted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Demand
from controller.load_management.evse.evse_controller import EvseController
from controller.model.observations import EvseRef

RETURN_A = 1.0
"""So much above the minimum must fit on all phases, for the next small rise of the building not to end it."""

Shares = Mapping[EvseRef, Allocation]
Share = Callable[[list[Demand]], Shares]


def consider(
    outlets: Sequence[EvseController], demands: Sequence[Demand], given: Shares, share: Share, now: float
) -> None:
    """Tell every outlet's switch what is wanted of it, with what was given for these demands.

    `share` allocates as if; it is asked only where somebody may change.
    """
    asking = {demand.ref: demand for demand in demands}
    able = [o for o in outlets if o.evse.ref in asking and o.model.switch.may_change(now)]
    narrow = [o for o in able if _unserved(o, given, now) and not o.model.switch.single]
    widen = [o for o in able if o.model.switch.single]
    wanted = _narrowing(narrow, asking, share) | _widening(widen, asking, given, share)
    for outlet in outlets:
        outlet.model.switch.want(outlet.evse.ref in wanted, now)


def consider_alone(
    outlets: Sequence[EvseController], demands: Sequence[Demand], share: Share, now: float
) -> None:
    """As `consider`, where what was given does not tell what would be: who began may yet be kept going."""
    able = any(outlet.model.switch.may_change(now) for outlet in outlets)
    consider(outlets, demands, share(list(demands)) if able else {}, share, now)


def _unserved(outlet: EvseController, given: Shares, now: float) -> bool:
    return given[outlet.evse.ref].limit_a == 0 and outlet.model.may_use_one_phase(now)


def _narrowing(
    outlets: Sequence[EvseController], asking: Mapping[EvseRef, Demand], share: Share
) -> set[EvseRef]:
    if not outlets:
        return set()
    changed = {
        o.evse.ref: structs.replace(asking[o.evse.ref], phases=o.one_phase, is_served=False) for o in outlets
    }
    trial = share([changed.get(ref, demand) for ref, demand in asking.items()])
    return {ref for ref in changed if trial[ref].limit_a > 0}


def _widening(
    outlets: Sequence[EvseController], asking: Mapping[EvseRef, Demand], given: Shares, share: Share
) -> set[EvseRef]:
    changed = {
        o.evse.ref: structs.replace(
            asking[o.evse.ref],
            phases=o.all_phases,
            min_a=asking[o.evse.ref].min_a + RETURN_A,
            is_served=False,
        )
        for o in outlets
    }
    while changed:
        trial = share([changed.get(ref, demand) for ref, demand in asking.items()])
        if any(trial[ref].limit_a == 0 < given[ref].limit_a for ref in asking if ref not in changed):
            return set()
        kept = {
            ref: demand
            for ref, demand in changed.items()
            if sum(demand.phases) * trial[ref].limit_a >= max(given[ref].limit_a, 1.0)
        }
        if len(kept) == len(changed):
            break
        changed = kept
    return set(changed)
