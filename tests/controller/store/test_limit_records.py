"""Stored limits of an EVSE: over a restart with another clock, and while the store cannot be written."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from controller.load_management.events import SetLimit
from controller.load_management.evse.departure_goal import GoalMemory
from controller.load_management.evse.learned_values import LearnedResponse
from controller.load_management.evse.limit_delivery import DeliveryMemory
from controller.model.observations import EvseRef
from controller.profiles.limit_profiles import LimitKind
from controller.store.limit_records import covered_limit, delivery_memory, limit_record

REF = EvseRef("CS01", 1)
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)
HELD = DeliveryMemory(has_fallback=True, fallback_a=6.0, held_a=16.0, until=1180.0)
UPTIME = 40_000.0
STORED = limit_record(REF, HELD, NOON, 1000.0, UPTIME)
LOWERED = limit_record(
    REF, msgspec.structs.replace(HELD, lease_a=4.0, lease_until=1500.0), NOON, 1000.0, UPTIME
)


@pytest.mark.parametrize(
    ("uptime", "left_s"),
    [
        (UPTIME + 60.0, 120.0),
        (UPTIME + 3600.0, 180.0 - 3600.0),
        (0.0, 180.0),  # the machine was restarted: how long it was off is unknown
        (30.0, 150.0),
    ],
)
@pytest.mark.parametrize(
    "clock_set", [timedelta(0), timedelta(hours=2), timedelta(days=5000), -timedelta(days=20_000)]
)
def test_delivery_memory_is_held_by_uptime_whatever_the_clock(
    uptime: float, left_s: float, clock_set: timedelta
) -> None:
    assert delivery_memory(STORED, NOON + clock_set, 5.0, uptime) == DeliveryMemory(
        has_fallback=True, fallback_a=6.0, held_a=16.0, until=pytest.approx(5.0 + left_s)
    )


def test_delivery_memory_of_earlier_version_is_held_for_as_long_again() -> None:
    stored = msgspec.structs.replace(STORED, saved_uptime_s=None)
    assert delivery_memory(stored, NOON + timedelta(hours=1), 5.0, UPTIME).until == 185.0


@pytest.mark.parametrize(
    ("uptime", "lease_until"),
    [
        (UPTIME + 60.0, 5.0 + 440.0),
        (UPTIME + 500.0, 0.0),  # it has ended
        (30.0, 0.0),  # the machine was restarted: how long it was off is unknown
    ],
)
def test_delivery_memory_has_lease_below_fallback_by_uptime(uptime: float, lease_until: float) -> None:
    memory = delivery_memory(LOWERED, NOON + timedelta(days=30), 5.0, uptime)
    assert (memory.lease_a, memory.lease_until) == (4.0, lease_until)


def test_limit_records_delivery_memory_moves_what_was_learned_to_new_clock() -> None:
    known = DeliveryMemory(
        has_fallback=True,
        fallback_a=6.0,
        held_a=16.0,
        until=1180.0,
        written=(400.0, 900.0),
        goal=GoalMemory(20_000.0, 8200.0, 360.0, 16.0, 990.0),
        learned=LearnedResponse(reaction_s=22.0, step_a=2.0, obeys=True),
        phases=(True, False, False),
    )
    stored = limit_record(REF, known, NOON, 1000.0, UPTIME)
    assert delivery_memory(stored, NOON + timedelta(seconds=60), 5.0, UPTIME + 60.0) == DeliveryMemory(
        has_fallback=True,
        fallback_a=6.0,
        held_a=16.0,
        until=125.0,
        written=(-655.0, -155.0),
        goal=GoalMemory(20_000.0, 7145.0, 360.0, 16.0, -65.0),
        learned=known.learned,
        phases=known.phases,
    )
    assert delivery_memory(stored, NOON + timedelta(seconds=60), 5.0, 60.0).phases == ()  # another boot


def lease(limit_a: float, duration_s: float | None = 600.0) -> SetLimit:
    kind = LimitKind.LEASE if duration_s is not None else LimitKind.FALLBACK
    return SetLimit(token=1, ref=REF, kind=kind, limit_a=limit_a, duration_s=duration_s)


@pytest.mark.parametrize(
    ("limit_a", "duration_s", "sent_for_s"),
    [
        (6.0, 600.0, 600.0),  # at or below the stored fallback: as it is
        (0.0, 600.0, 600.0),
        (10.0, 600.0, 180.0),  # below what is stored, and not longer than that holds
        (16.0, 60.0, 60.0),
    ],
)
def test_covered_limit_falls_within_what_is_stored(
    limit_a: float, duration_s: float, sent_for_s: float
) -> None:
    covered = covered_limit(lease(limit_a, duration_s), STORED, UPTIME)
    assert covered is not None
    assert (covered.limit_a, covered.duration_s) == (limit_a, sent_for_s)


@pytest.mark.parametrize(
    ("limit", "later_s"),
    [
        (lease(16.1), 0.0),  # above what is stored
        (lease(10.0), 160.0),  # what is stored ends too soon for another lease
        (lease(10.0), 10_000.0),
        (lease(8.0, None), 0.0),  # a higher fallback
    ],
)
def test_covered_limit_is_none_above_or_after_what_is_stored(limit: SetLimit, later_s: float) -> None:
    assert covered_limit(limit, STORED, UPTIME + later_s) is None


def test_covered_limit_does_not_exceed_stored_lease_below_fallback() -> None:
    assert covered_limit(lease(4.0), LOWERED, UPTIME + 300.0) == lease(4.0)
    assert covered_limit(lease(6.0), LOWERED, UPTIME + 300.0) is None
    assert covered_limit(lease(6.0, None), LOWERED, UPTIME + 300.0) == lease(6.0, None)  # beside the lease
    assert covered_limit(lease(6.0), LOWERED, UPTIME + 500.0) == lease(6.0)  # the lease has ended


def test_covered_limit_of_evse_that_counts_at_worst_case_is_itself() -> None:
    unconfirmed = limit_record(REF, DeliveryMemory(False, 6.0, 16.0, 1180.0), NOON, 1000.0, UPTIME)
    assert covered_limit(lease(32.0), None, UPTIME) == lease(32.0)
    assert covered_limit(lease(32.0), unconfirmed, UPTIME) == lease(32.0)
