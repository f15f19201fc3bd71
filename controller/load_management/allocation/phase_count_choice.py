"""Choice of the number of phases, found by sharing the current once more with another one.

*To one phase*: an EVSE that has nothing, and gets something as a one-phase EVSE. Where that is not enough,
those that charge on all phases and can switch join in, if no EVSE loses its place by it. Where an EVSE that
cannot switch has nothing, one of them makes room for it, if that is enough.
*Back to all*: an EVSE that gets its minimum and `RETURN_A` more on all phases, and no less power than on the
one; no EVSE that is served may lose its place for it, or be left with less power than it had itself.
`PhaseSwitch` decides when a choice has lasted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from operator import and_

from msgspec import structs

from controller.load_management.allocation.allocator import Allocation, Demand
from controller.load_management.evse.evse_controller import EvseController
from controller.load_management.evse.phase_switch import SETTLE_S
from controller.model.observations import EvseRef

SURPLUS_SETTLE_S = 150.0
"""Time (s) for which another number of phases is wanted in surplus mode: each change is a stop."""
RETURN_A = 1.0
"""Current above the minimum that must fit on all phases, so that a small rise does not end it."""
ROUNDED_A = 0.5
"""Power that may be lost with it (A, all phases): shares are rounded down on each phase."""
TRIALS = 3
"""EVSEs that are tried in a pass for making room."""

Shares = Mapping[EvseRef, Allocation]
Share = Callable[[list[Demand]], Shares]


def consider(
    controllers: Sequence[EvseController],
    demands: Sequence[Demand],
    given: Shares,
    share: Share,
    now: float,
    settle_s: float = SETTLE_S,
) -> None:
    """Set for every EVSE whether another number of phases is wanted, with the shares of these demands.

    `share` makes a trial; it is called only where an EVSE may change. `settle_s`: so long one is wanted.
    """
    asking = {demand.ref: demand for demand in demands}
    able = [each for each in controllers if each.evse.ref in asking and each.model.switch.may_change(now)]
    narrow = [each for each in able if _unserved(each, given, now) and not each.model.switch.single]
    widen = [each for each in able if each.model.switch.single]
    join = [
        each
        for each in able
        if given[each.evse.ref].limit_a > 0
        and not each.model.switch.single
        and each.model.may_use_one_phase(now)
    ]
    wanted = _narrowing(narrow, join, asking, given, share) | _widening(widen, asking, given, share)
    for controller in controllers:
        controller.model.switch.set_wanted(controller.evse.ref in wanted, now, settle_s)


def consider_alone(
    controllers: Sequence[EvseController], demands: Sequence[Demand], share: Share, now: float
) -> None:
    """Do the same where the shares do not show what would be: those that began may be kept charging.

    They wait for surplus: a cloud, and a gap between two, is over before another number of phases is wanted.
    """
    able = any(controller.model.switch.may_change(now) for controller in controllers)
    given = share(list(demands)) if able else {}
    consider(controllers, demands, given, share, now, SURPLUS_SETTLE_S)


def _unserved(controller: EvseController, given: Shares, now: float) -> bool:
    return given[controller.evse.ref].limit_a == 0 and controller.model.may_use_one_phase(now)


def _narrowing(
    controllers: Sequence[EvseController],
    others: Sequence[EvseController],
    asking: Mapping[EvseRef, Demand],
    given: Shares,
    share: Share,
) -> set[EvseRef]:
    """Return the EVSEs that are to use one phase: of `controllers`, which have nothing, and of `others`."""
    if not controllers:
        return _making_room(others, asking, given, share) if others else set()
    trial = _trial_on_one_phase(controllers, asking, share)
    alone = {controller.evse.ref for controller in controllers if trial[controller.evse.ref].limit_a > 0}
    if alone or not others:
        return alone
    trial = _trial_on_one_phase([*controllers, *others], asking, share)
    if any(trial[ref].limit_a == 0 < given[ref].limit_a for ref in asking):
        return set()
    helped = {controller.evse.ref for controller in controllers if trial[controller.evse.ref].limit_a > 0}
    return helped | {controller.evse.ref for controller in others} if helped else set()


def _making_room(
    controllers: Sequence[EvseController],
    asking: Mapping[EvseRef, Demand],
    given: Shares,
    share: Share,
) -> set[EvseRef]:
    """Return one of the EVSEs on all phases that gives another its place if it uses one; empty: none does.

    It is looked for among those that draw on a phase for which an EVSE waits, the one with most first.
    """
    waiting = [demand for ref, demand in asking.items() if given[ref].limit_a == 0]
    able = [
        each
        for each in controllers
        if any(_leaves_phase(each, asking[each.evse.ref], demand) for demand in waiting)
    ]
    able.sort(key=lambda each: (-given[each.evse.ref].limit_a, each.evse.ref))
    for each in able[:TRIALS]:
        trial = _trial_on_one_phase([each], asking, share)
        if any(trial[demand.ref].limit_a > 0 for demand in waiting) and not any(
            trial[ref].limit_a == 0 < given[ref].limit_a for ref in asking
        ):
            return {each.evse.ref}
    return set()


def _leaves_phase(controller: EvseController, demand: Demand, waiting: Demand) -> bool:
    """Return True if an EVSE that uses one phase leaves all those that another one asks for."""
    after = controller.evse.one_phase
    return not any(map(and_, after, waiting.phases)) and any(map(and_, demand.phases, waiting.phases))


def _trial_on_one_phase(
    controllers: Sequence[EvseController], asking: Mapping[EvseRef, Demand], share: Share
) -> Shares:
    changed = {
        each.evse.ref: structs.replace(asking[each.evse.ref], phases=each.evse.one_phase, is_served=False)
        for each in controllers
    }
    return share([changed.get(ref, demand) for ref, demand in asking.items()])


def _widening(
    controllers: Sequence[EvseController], asking: Mapping[EvseRef, Demand], given: Shares, share: Share
) -> set[EvseRef]:
    changed = {
        each.evse.ref: structs.replace(
            asking[each.evse.ref],
            phases=each.evse.all_phases,
            min_a=asking[each.evse.ref].min_a + RETURN_A,
            is_served=False,
        )
        for each in controllers
    }
    while changed:
        trial = share([changed.get(ref, demand) for ref, demand in asking.items()])
        others = [ref for ref in asking if ref not in changed]
        if any(trial[ref].limit_a == 0 < given[ref].limit_a for ref in others):
            return set()
        least_a = min(given[ref].limit_a for ref in changed)
        if any(
            _power_a(asking[ref], trial) < min(_power_a(asking[ref], given), least_a) - ROUNDED_A
            for ref in others
        ):
            return set()
        kept = {
            ref: demand
            for ref, demand in changed.items()
            if _power_a(demand, trial) >= max(given[ref].limit_a - ROUNDED_A, 1.0)
        }
        if len(kept) == len(changed):
            break
        changed = kept
    return set(changed)


def _power_a(demand: Demand, shares: Shares) -> float:
    """Return what an EVSE gets on all of its phases together (A)."""
    return sum(demand.phases) * shares[demand.ref].limit_a
