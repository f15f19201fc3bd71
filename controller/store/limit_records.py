"""The stored limits of an EVSE, with times that outlive the process in place of the monotonic clock's.

A limit is stored before it is sent: after a crash the record may have more current than a station takes,
never less. It ends by the uptime of the machine, not by its wall clock: a clock that was set forward, by NTP
or by an empty battery, must not end a limit that a station still has.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec

from controller.load_management.events import SetLimit
from controller.load_management.evse.departure_goal import GoalMemory
from controller.load_management.evse.learned_values import LearnedResponse
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.journal import Record
from controller.model.observations import EvseRef

SHORTEST_LEASE_S = 30.0
"""No lease is sent that ends sooner."""


class StoredGoal(msgspec.Struct, frozen=True):
    """A departure goal; times are s relative to the moment of storing."""

    energy_wh: float
    leaves_in_s: float
    drawn_as: float
    current_a: float
    drawn_ago_s: float


class LimitStored(
    Record, frozen=True, kw_only=True, rename={"has_fallback": "floor", "fallback_a": "floor_a"}
):
    """The limits that a station was left with for one EVSE, and its learned response.

    `fallback_a` (A per phase) is in the station if `has_fallback`. `held_a` (A per phase) may be drawn until
    `until`. A lease of `lease_a`, below the fallback, lasts for `lease_left_s` after `saved` (0: there is
    none). `until` and `saved` are UTC; `written_ago_s` are s before `saved`. `saved_uptime_s`: uptime of
    the machine (s) at `saved`; None in records of earlier versions. `phases`: those of the station that the
    car uses; empty: unknown.
    """

    station: str
    evse: int
    has_fallback: bool
    fallback_a: float
    held_a: float
    until: datetime
    saved: datetime
    saved_uptime_s: float | None = None
    lease_a: float = 0.0
    lease_left_s: float = 0.0
    written_ago_s: tuple[float, ...] = ()
    goal: StoredGoal | None = None
    learned: LearnedResponse = msgspec.field(default=LearnedResponse(), name="habits")
    phases: tuple[bool, ...] = ()

    def measure_age(self, uptime: float) -> float:
        """Return the time (s) that has passed for certain since it was saved, at an uptime (s).

        In the same boot that is the difference of both. After another boot the machine has been up for
        longer than that since; how long it was off before is unknown.
        """
        if self.saved_uptime_s is None:
            return 0.0
        return uptime - self.saved_uptime_s if self.is_of_this_boot(uptime) else uptime

    def is_of_this_boot(self, uptime: float) -> bool:
        """Return True if the machine has not been restarted since it was saved, by its uptime (s)."""
        return self.saved_uptime_s is not None and uptime >= self.saved_uptime_s

    def measure_left(self, uptime: float) -> float:
        """Return the longest time (s) for which the limit may still hold, at an uptime (s)."""
        return (self.until - self.saved).total_seconds() - self.measure_age(uptime)

    def measure_lease_left(self, uptime: float) -> float:
        """Return for how long (s) at least the lease below the fallback lasts, at an uptime (s).

        It is 0 after another boot of the machine: how long that was off is unknown.
        """
        if not self.is_of_this_boot(uptime):
            return 0.0
        return max(0.0, self.lease_left_s - self.measure_age(uptime))


def limit_record(
    ref: EvseRef, memory: DeliveryMemory, wall: datetime, now: float, uptime: float
) -> LimitStored:
    """Return the record of an EVSE's limits; `now` (s, monotonic) is `wall` (UTC) and `uptime` (s)."""
    goal = memory.goal
    return LimitStored(
        station=ref.station,
        evse=ref.evse,
        has_fallback=memory.has_fallback,
        fallback_a=memory.fallback_a,
        held_a=memory.held_a,
        until=wall.astimezone(UTC) + timedelta(seconds=memory.until - now),
        saved=wall.astimezone(UTC),
        saved_uptime_s=uptime,
        lease_a=memory.lease_a,
        lease_left_s=max(0.0, memory.lease_until - now),
        written_ago_s=tuple(now - at for at in memory.written),
        goal=None
        if goal is None
        else StoredGoal(
            energy_wh=goal.energy_wh,
            leaves_in_s=goal.leaves_at - now,
            drawn_as=goal.drawn_as,
            current_a=goal.current_a,
            drawn_ago_s=now - goal.drawn_at,
        ),
        learned=memory.learned,
        phases=memory.phases,
    )


def delivery_memory(stored: LimitStored, wall: datetime, now: float, uptime: float) -> DeliveryMemory:
    """Return what an EVSE may be drawing, in times of `now` (s, monotonic).

    `now` is `wall` (UTC), and the machine has been up for `uptime` (s). Limits and writes end by the uptime.
    A departure goal follows the wall clock, as far as that runs forward. After another boot of the machine
    another car may have come meanwhile.
    """
    limited_at = now - stored.measure_age(uptime)
    saved_at = now - max(0.0, (wall - stored.saved).total_seconds())
    goal, lease_left_s = stored.goal, stored.measure_lease_left(uptime)
    return DeliveryMemory(
        has_fallback=stored.has_fallback,
        fallback_a=stored.fallback_a,
        held_a=stored.held_a,
        until=now + stored.measure_left(uptime),
        lease_a=stored.lease_a,
        lease_until=now + lease_left_s if lease_left_s > 0 else 0.0,
        written=tuple(limited_at - ago_s for ago_s in stored.written_ago_s),
        goal=None
        if goal is None
        else GoalMemory(
            energy_wh=goal.energy_wh,
            leaves_at=saved_at + goal.leaves_in_s,
            drawn_as=goal.drawn_as,
            current_a=goal.current_a,
            drawn_at=saved_at - goal.drawn_ago_s,
        ),
        learned=stored.learned,
        phases=stored.phases if stored.is_of_this_boot(uptime) else (),
    )


def covered_limit(limit: SetLimit, stored: LimitStored | None, uptime: float) -> SetLimit | None:
    """Return what of a limit may be sent if its record cannot be written; None: nothing.

    `uptime` is that of the machine (s). After a crash only `stored` is known. Without it, or without a
    confirmed fallback in it, an EVSE counts at its worst case, which covers every limit. Else a limit must
    not exceed the stored fallback, or end later than a stored limit that is as high: its duration is cut, and
    the station then falls to its fallback. While a stored lease is below that, no other may exceed it.
    """
    if stored is None or not stored.has_fallback:
        return limit
    is_lowered = limit.duration_s is not None and stored.measure_lease_left(uptime) > 0
    if limit.limit_a <= (stored.lease_a if is_lowered else stored.fallback_a):
        return limit
    left_s = stored.measure_left(uptime)
    if limit.duration_s is None or limit.limit_a > stored.held_a or left_s < SHORTEST_LEASE_S:
        return None
    return msgspec.structs.replace(limit, duration_s=min(limit.duration_s, left_s))
