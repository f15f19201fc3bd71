"""What one EVSE's station is sent, and what is booked for it while answers are out."""

from __future__ import annotations

import itertools
import math
import random

import pytest
from msgspec.structs import replace

from controller.chargers.quirks import Quirk
from controller.load_management.events import SetLimit
from controller.load_management.evse.learned_values import REACTION_S
from controller.load_management.evse.limit_delivery import (
    ANSWER_S,
    BOOT_BACKOFF,
    CLOCK_SLACK_S,
    DOUBT_S,
    LOW_LEASE_S,
    MOST_PENDING,
    RAMP_S,
    REST_AFTER_CUT_S,
    RETRY,
    SMALL_CUT_A,
    STEP_A,
    CutTiming,
    LimitDelivery,
)
from controller.load_management.site_tree import EvseNode
from controller.model.deadlines import RENEW_AT
from controller.model.observations import EvseRef
from controller.profiles.limit_profiles import LimitKind

LEASE_S = 120.0
EVSE = EvseNode(ref=EvseRef("A", 1), circuit="grid", phases=(0, 1, 2), min_a=6, max_a=32, fallback_a=6)


def fresh() -> LimitDelivery:
    return LimitDelivery(EVSE, LEASE_S, itertools.count(1))


def confirmed(limit_a: float) -> LimitDelivery:
    """A station that took its fallback and a lease at the time 0."""
    delivery = fresh()
    delivery.on_connected(0)
    answer(delivery, send(delivery, limit_a, 0), 0)
    return delivery


def send(delivery: LimitDelivery, target_a: float, now: float, ceiling_a: float = 32.0) -> list[SetLimit]:
    return delivery.commands(target_a, ceiling_a, now)


def answer(delivery: LimitDelivery, commands: list[SetLimit], now: float, *, accepted: bool = True) -> None:
    for command in commands:
        assert delivery.on_answer(command.token, accepted, "Rejected", now)


def test_limit_delivery_new_station_gets_fallback_then_lease() -> None:
    delivery = fresh()
    assert send(delivery, 16, 0) == []
    delivery.on_connected(0)
    fallback, lease = send(delivery, 16, 0)
    assert (fallback.kind, fallback.limit_a, fallback.duration_s) == (LimitKind.FALLBACK, 6, None)
    assert (lease.kind, lease.limit_a, lease.duration_s) == (LimitKind.LEASE, 16, LEASE_S)
    assert send(delivery, 16, 1) == []  # unanswered, and nothing else to say


def test_limit_delivery_returning_station_rises_into_free_room_only() -> None:
    delivery = confirmed(9)
    delivery.on_disconnected(20)
    delivery.on_connected(40)
    assert delivery.standing(40).booked_a == 9
    _, lease = send(delivery, 20, 40, ceiling_a=9.0)
    assert lease.limit_a == 9


def test_limit_delivery_record_holds_latest_end_of_lease() -> None:
    delivery = confirmed(16)
    memory = delivery.record(50)
    assert (memory.has_fallback, memory.held_a, memory.until) == (True, 16, 50 + LEASE_S + CLOCK_SLACK_S)
    successor = fresh()
    successor.restore(memory)
    assert successor.standing(memory.until - 1).held_a == 16
    assert successor.standing(memory.until).held_a == 6


@pytest.mark.parametrize(
    ("quirk", "raised_a", "held_a"),
    [
        (Quirk(name="none"), 0.0, 0.0),
        (Quirk(name="none"), 16.0, 16.0),  # a higher lease is on its way
        (Quirk(name="one profile", max_stack_level=0), 0.0, 6.0),  # its fallback may have replaced the lease
    ],
)
def test_limit_delivery_record_holds_lease_below_fallback_until_its_end(
    quirk: Quirk, raised_a: float, held_a: float
) -> None:
    delivery = fresh()
    delivery.apply_quirk(quirk, 0)
    delivery.on_connected(0)
    answer(delivery, send(delivery, 0, 0), 0)
    if raised_a:
        send(delivery, raised_a, 50)
    successor = fresh()
    successor.restore(delivery.record(50))
    assert [successor.standing(at).held_a for at in (51, LOW_LEASE_S - 1)] == [held_a] * 2
    assert successor.standing(LOW_LEASE_S + CLOCK_SLACK_S).held_a == 6


@pytest.mark.parametrize("seed", range(40))
def test_limit_delivery_restored_holds_no_less_than_station_may_draw(seed: int) -> None:
    rng = random.Random(seed)
    delivery, now, waiting = fresh(), 0.0, list[int]()
    quirk = rng.choice([Quirk(name="none"), Quirk(name="one profile", max_stack_level=0)])
    delivery.apply_quirk(quirk, now)
    delivery.on_connected(now)
    for _ in range(60):
        sent = delivery.commands(rng.choice([0.0, 0.0, 4.0, 6.0, 9.5, 32.0]), rng.uniform(0, 32), now)
        waiting += [command.token for command in sent]
        if waiting and rng.random() < 0.8:
            delivery.on_answer(waiting.pop(0), rng.random() < 0.9, "", now)
        now += rng.choice([0.5, 5.0, 20.0, 300.0]) * rng.random()
    successor = fresh()
    successor.restore(delivery.record(now))
    delivery.on_disconnected(now)
    for later_s in (0.0, 1.0, 20.0, 100.0, 170.0, 400.0, 890.0, 970.0, 1100.0):
        assert successor.standing(now + later_s).held_a >= delivery.standing(now + later_s).held_a


def test_limit_delivery_reserves_maximum_until_both_answered() -> None:
    delivery = fresh()
    delivery.on_connected(0)
    fallback, lease = send(delivery, 16, 0)
    assert delivery.standing(0).held_a == 32
    answer(delivery, [lease], 1)
    assert str(delivery.standing(DOUBT_S + 1).problem) == "has not confirmed its limits"
    answer(delivery, [fallback], 2)
    assert delivery.standing(DOUBT_S + 1).problem is None
    assert delivery.standing(1 + REACTION_S).held_a == 16


def test_cut_is_sent_at_once_and_counts_once_followed() -> None:
    delivery = confirmed(16)
    (cut,) = send(delivery, 10, 20)
    assert (cut.kind, cut.limit_a) == (LimitKind.LEASE, 10)
    assert delivery.standing(21).offered_a == 10
    assert delivery.standing(21).held_a == 16
    answer(delivery, [cut], 22)
    assert delivery.standing(22 + REACTION_S - 0.1).held_a == 16
    assert delivery.standing(22 + REACTION_S).held_a == 10


def test_limit_delivery_second_cut_does_not_wait_for_answer_to_first() -> None:
    delivery = confirmed(16)
    send(delivery, 10, 20)
    (second,) = send(delivery, 8, 20.5)
    assert second.limit_a == 8


def test_limit_delivery_unanswered_calls_are_bounded_and_dropped() -> None:
    delivery = confirmed(32)
    sent = [command for n in range(20) for command in send(delivery, 30 - n, 20 + n / 10)]
    assert len(sent) == MOST_PENDING
    assert send(delivery, 6, 23 + ANSWER_S) == []
    assert str(delivery.standing(23 + ANSWER_S).problem) == f"refuses limits (no answer in {ANSWER_S:g} s)"


def test_delivery_rise_waits_for_step_and_for_last_rise() -> None:
    delivery = confirmed(10)
    least_a = math.ceil(delivery.least_rise_a(20) * 10) / 10  # limits have one decimal
    assert send(delivery, 10 + least_a - 0.1, 20) == []
    (first,) = send(delivery, 10 + least_a, 20)
    answer(delivery, [first], 21)
    assert send(delivery, 20, 20 + RAMP_S - 1) == []
    (second,) = send(delivery, 20, 20 + RAMP_S)
    assert second.limit_a == 20


def test_delivery_smallest_rise_falls_until_renewal() -> None:
    half_s = LEASE_S * RENEW_AT / 2
    assert confirmed(10).least_rise_a(half_s) == STEP_A / 2
    assert confirmed(10).rises_at(STEP_A / 2) == half_s
    assert send(confirmed(10), 10 + STEP_A / 2 - 0.1, half_s) == []
    (rise,) = send(confirmed(10), 10 + STEP_A / 2, half_s)
    assert rise.limit_a == 10 + STEP_A / 2


def test_delivery_car_that_was_cut_rests_before_rise() -> None:
    delivery = confirmed(20)
    answer(delivery, send(delivery, 10, 20), 21)
    assert send(delivery, 20, 20 + REST_AFTER_CUT_S - 1) == []
    (rise,) = send(delivery, 20, 20 + REST_AFTER_CUT_S)
    assert rise.limit_a == 20


def test_limit_delivery_rise_waits_for_answer_to_last_call() -> None:
    delivery = confirmed(16)
    send(delivery, 10, 20)
    assert send(delivery, 16, 25) == []


def test_limit_delivery_rise_uses_only_free_headroom() -> None:
    (rise,) = send(confirmed(10), 16, 20, ceiling_a=13)
    assert rise.limit_a == 13
    assert send(confirmed(10), 16, 20, ceiling_a=10) == []


def test_delivery_renews_at_two_thirds_of_lease_with_small_rises() -> None:
    delivery = confirmed(10)
    assert send(delivery, 10.1, LEASE_S * RENEW_AT - 10) == []
    (renewed,) = send(delivery, 10.5, LEASE_S * RENEW_AT)
    assert renewed.limit_a == 10.5


def test_delivery_small_cut_without_need_waits_for_renewal() -> None:
    delivery = confirmed(10)
    assert delivery.commands(9, 32, 20, timing=CutTiming.IF_LARGE) == []
    (cut,) = delivery.commands(9, 32, LEASE_S * RENEW_AT, timing=CutTiming.IF_LARGE)
    assert cut.limit_a == 9
    (large,) = confirmed(10).commands(10 - SMALL_CUT_A, 32, 20, timing=CutTiming.IF_LARGE)
    assert large.limit_a == 10 - SMALL_CUT_A
    (stop,) = confirmed(10).commands(0, 32, 20, timing=CutTiming.IF_LARGE)
    assert stop.limit_a == 0


def test_delivery_cut_at_renewal_waits_whatever_its_size() -> None:
    delivery = confirmed(20)
    assert delivery.commands(8, 32, 20, timing=CutTiming.AT_RENEWAL) == []
    (cut,) = delivery.commands(8, 32, LEASE_S * RENEW_AT, timing=CutTiming.AT_RENEWAL)
    assert cut.limit_a == 8
    (stop,) = confirmed(20).commands(0, 32, 20, timing=CutTiming.AT_RENEWAL)
    assert stop.limit_a == 0


@pytest.mark.parametrize("limit_a", [0.0, 6.0])
def test_delivery_lease_not_above_fallback_lasts_longer(limit_a: float) -> None:
    delivery = confirmed(10)
    (lease,) = send(delivery, limit_a, 20)
    assert lease.duration_s == LOW_LEASE_S
    answer(delivery, [lease], 21)
    assert send(delivery, limit_a, 20 + LOW_LEASE_S * RENEW_AT - 1) == []
    assert delivery.standing(20 + LOW_LEASE_S - 1).offered_a == limit_a
    assert delivery.standing(20 + LOW_LEASE_S).offered_a == 6


def test_delivery_long_lease_is_renewed_soon_where_it_is_not_obeyed() -> None:
    delivery = confirmed(10)
    answer(delivery, send(delivery, 0, 20), 21)
    delivery.is_obeyed = False
    assert send(delivery, 0, 20 + LEASE_S * RENEW_AT - 1) == []
    assert delivery.renews_at == 20 + LEASE_S * RENEW_AT
    (lease,) = send(delivery, 0, 20 + LEASE_S * RENEW_AT)
    assert lease.limit_a == 0


def test_delivery_lease_with_another_on_its_way_is_not_renewed() -> None:
    delivery = confirmed(10)
    assert delivery.renews_at == LEASE_S * RENEW_AT
    rise = send(delivery, 16, 60)
    assert delivery.renews_at == math.inf
    answer(delivery, rise, 61)
    assert delivery.renews_at == 60 + LEASE_S * RENEW_AT


def test_limit_delivery_urgent_pass_only_cuts() -> None:
    delivery = confirmed(10)
    assert delivery.commands(16, 32, 20, urgent=True) == []
    (cut,) = delivery.commands(8, 32, 20, urgent=True)
    assert cut.urgent


def test_limit_delivery_without_car_lease_is_not_renewed() -> None:
    delivery = confirmed(6)
    assert delivery.commands(6, 32, LEASE_S, idle=True) == []
    assert delivery.standing(LEASE_S).offered_a == 6


def test_limit_delivery_offline_station_keeps_lease_then_fallback() -> None:
    delivery = confirmed(16)
    delivery.on_disconnected(10)
    assert str(delivery.standing(10).problem) == "offline"
    assert delivery.standing(LEASE_S - 1).held_a == 16
    assert delivery.standing(LEASE_S + 1).held_a == 16  # its clock may be slow
    assert delivery.standing(LEASE_S + CLOCK_SLACK_S).held_a == 6
    assert delivery.standing(LEASE_S).offered_a == 6


def test_limit_delivery_offline_call_that_was_under_way_may_have_arrived() -> None:
    delivery = confirmed(10)
    send(delivery, 20, 20)
    delivery.on_disconnected(21)
    assert delivery.standing(22).held_a == 20


def test_limit_delivery_lease_below_fallback_ends_in_fallback() -> None:
    delivery = confirmed(0)
    delivery.on_disconnected(10)
    assert delivery.standing(LOW_LEASE_S - 1).held_a == 0
    assert delivery.standing(LOW_LEASE_S + 1).held_a == 6


def test_limit_delivery_unknown_station_counts_with_maximum() -> None:
    assert fresh().standing(0).held_a == 32
    assert str(fresh().standing(0).problem) == "offline"


def test_limit_delivery_refused_limit_is_retried_after_pause() -> None:
    delivery = fresh()
    delivery.on_connected(0)
    answer(delivery, send(delivery, 16, 0), 1, accepted=False)
    assert str(delivery.standing(2).problem) == "refuses limits (Rejected)"
    assert delivery.standing(2 + LEASE_S).held_a == 32
    assert send(delivery, 6, RETRY.first_s) == []
    commands = send(delivery, 6, 1 + RETRY.first_s)
    assert [command.kind for command in commands] == [LimitKind.FALLBACK, LimitKind.LEASE]
    answer(delivery, commands, 70)
    assert delivery.standing(70).problem is None


def test_limit_delivery_refused_again_books_fallback_once_it_ended() -> None:
    """Two leases of 16 A may be in force until 300 s after their refusals, and no longer."""
    delivery = confirmed(16)
    answer(delivery, send(delivery, 16, 20 + LEASE_S), 20 + LEASE_S, accepted=False)
    refused_at = 80 + LEASE_S
    answer(delivery, send(delivery, 16, refused_at), refused_at, accepted=False)
    for at in range(int(refused_at), int(refused_at) + 3600):
        for command in send(delivery, 16, at):
            assert command.limit_a == 6
            answer(delivery, [command], at, accepted=False)
        assert delivery.standing(at).held_a == (16 if at < refused_at + LEASE_S else 6)
    (lease,) = send(delivery, 16, refused_at + 3900)
    answer(delivery, [lease], refused_at + 3900)
    assert send(delivery, 16, refused_at + 3920)[0].limit_a == 16


def test_limit_delivery_refusing_station_is_sent_few_limits() -> None:
    delivery = confirmed(16)
    sent = 0
    for at in range(20, 3620):
        commands = send(delivery, 16, at)
        answer(delivery, commands, at, accepted=False)
        sent += len(commands)
    assert sent <= 15


def test_limit_delivery_refused_cut_leaves_old_lease_in_force() -> None:
    delivery = confirmed(16)
    answer(delivery, send(delivery, 8, 20), 21, accepted=False)
    assert delivery.standing(22).offered_a == 16
    assert delivery.standing(22).held_a == 16
    assert str(delivery.standing(22).problem) == "refuses limits (Rejected)"


def test_foreign_command_sends_both_again_and_books_held_limit() -> None:
    delivery = confirmed(10)
    delivery.on_profiles_touched(20)
    assert delivery.standing(20).held_a == 32
    assert delivery.standing(20).booked_a == 10
    assert delivery.standing(20 + DOUBT_S).booked_a == 32
    assert [c.kind for c in send(delivery, 10, 20)] == [LimitKind.FALLBACK, LimitKind.LEASE]


def test_limit_delivery_repeated_suspicion_keeps_worst_case_time() -> None:
    delivery = confirmed(10)
    for now in range(20, 30):
        delivery.on_profiles_touched(now)
    assert delivery.standing(29).booked_a == 32


def test_limit_delivery_overtaken_lease_that_is_taken_last_is_corrected() -> None:
    """Urgent calls overtake others in the station's line: the last one answered is in force."""
    delivery = confirmed(10)
    (rise,) = send(delivery, 20, 20)
    (cut,) = delivery.commands(8, 32, 20.5, urgent=True)
    answer(delivery, [cut], 21)
    assert delivery.standing(21 + REACTION_S).held_a == 20
    answer(delivery, [rise], 22)
    (again,) = send(delivery, 8, 23)
    assert again.limit_a == 8


def test_limit_delivery_answer_with_unknown_token_is_ignored() -> None:
    assert not confirmed(10).on_answer(999, True, "", 5)


def test_delivery_in_loop_of_boots_writes_limits_later_each_time() -> None:
    delivery = confirmed(16)
    written = [0.0]
    for second in range(1, 60):
        now = float(second)
        if second % 2 == 0:
            delivery.on_boot(now)
            delivery.on_connected(now)  # also where each boot comes over a new link
        if send(delivery, 16, now):
            written.append(now)
    assert written == [0.0, 2.0, 4.0]
    assert delivery.standing(59).held_a == EVSE.max_a
    assert not send(delivery, 16, 58.0 + BOOT_BACKOFF.longest_s - 1)
    assert [each.kind for each in send(delivery, 16, 58.0 + BOOT_BACKOFF.longest_s)] == [LimitKind.LEASE]


def test_delivery_station_that_boots_often_is_written_to_once_a_link() -> None:
    # It reports each boot over the new link on which it was sent its limits already.
    delivery = confirmed(16)
    written: list[int] = []
    for boot in range(1, 11):
        now = 120.0 * boot
        delivery.on_disconnected(now - 5)
        delivery.on_connected(now)
        leases = 0
        for at, boots in ((now, False), (now + 1, True)):
            if boots:
                delivery.on_boot(at)
            commands = send(delivery, 16, at)
            answer(delivery, commands, at)
            leases += sum(each.kind is LimitKind.LEASE for each in commands)
        written.append(leases)
    assert written == [2, 2, *[1] * 8]
    delivery.on_boot(1300.0)  # without a new link
    assert send(delivery, 16, 1300.0)


def test_delivery_station_that_boots_often_gets_fallback_once_it_stays_up() -> None:
    delivery = confirmed(16)
    kinds: list[LimitKind] = []
    for boot in range(1, 16):
        now = 120.0 * boot
        delivery.on_boot(now)
        assert delivery.standing(now).held_a == EVSE.max_a
        commands = send(delivery, 16, now)
        kinds += [each.kind for each in commands]
        answer(delivery, commands, now)
        assert delivery.standing(now + 10).problem is None
        assert delivery.standing(now + 10).held_a == 16.0
        assert delivery.has_fallback is (boot <= 2)
    assert kinds.count(LimitKind.LEASE) == 15
    assert kinds.count(LimitKind.FALLBACK) == 2
    ends_at = 1800.0 + LEASE_S
    assert delivery.standing(ends_at + 1).held_a == EVSE.max_a  # no fallback is below its lease
    sent: list[SetLimit] = []
    for second in range(1, 602):
        commands = send(delivery, 16, 1800.0 + second)
        answer(delivery, commands, 1800.0 + second)
        sent += commands
    assert LimitKind.FALLBACK in [each.kind for each in sent]
    assert delivery.has_fallback


def test_delivery_after_single_boot_writes_limits_at_once() -> None:
    delivery = confirmed(16)
    for hour in (1, 2, 3):
        delivery.on_boot(hour * 3600.0)
        commands = send(delivery, 16, hour * 3600.0)
        assert len(commands) == 2
        answer(delivery, commands, hour * 3600.0)


def test_delivery_site_bound_makes_leases_longer_and_rises_fewer() -> None:
    delivery = LimitDelivery(EVSE, LEASE_S, itertools.count(1), writes_per_day=100)
    delivery.on_connected(0)
    commands = send(delivery, 10, 0)
    answer(delivery, commands, 0)
    lease = next(each for each in commands if each.kind is LimitKind.LEASE)
    assert lease.duration_s == 3456.0
    (rise,) = send(delivery, 20, 300)
    answer(delivery, [rise], 300)
    assert send(delivery, 30, 300 + 431) == []
    assert [each.limit_a for each in send(delivery, 30, 300 + 433)] == [30]


def test_delivery_site_bound_never_delays_cut() -> None:
    delivery = LimitDelivery(EVSE, LEASE_S, itertools.count(1), writes_per_day=24)
    delivery.on_connected(0)
    answer(delivery, send(delivery, 20, 0), 0)
    for second in range(1, 40):
        answer(delivery, send(delivery, 20 - second / 4, second), second)
    (cut,) = send(delivery, 6, 41)
    assert cut.limit_a == 6


def test_limit_delivery_lower_maximum_counts_once_station_follows() -> None:
    delivery = confirmed(32)
    delivery.replace_evse(replace(EVSE, max_a=16), 10)
    assert delivery.standing(10).booked_a == 32
    commands = send(delivery, 16, 10)
    assert [each.kind for each in commands] == [LimitKind.FALLBACK, LimitKind.LEASE]
    assert delivery.standing(11).booked_a == 32
    answer(delivery, commands, 12)
    assert delivery.standing(12 + REACTION_S).booked_a == 16


def test_limit_delivery_lower_fallback_of_absent_station_is_not_assumed() -> None:
    delivery = confirmed(10)
    delivery.on_disconnected(10)
    delivery.replace_evse(replace(EVSE, fallback_a=0), 20)
    assert not delivery.has_fallback
    assert delivery.standing(20 + LEASE_S).held_a == EVSE.max_a
    delivery.on_connected(300)
    fallback = send(delivery, 10, 300)[0]
    assert (fallback.kind, fallback.limit_a) == (LimitKind.FALLBACK, 0)


def test_limit_delivery_other_priority_writes_nothing() -> None:
    delivery = confirmed(16)
    delivery.replace_evse(replace(EVSE, priority=5, circuit="row"), 10)
    assert send(delivery, 16, 10) == []


@pytest.mark.parametrize("seed", range(40))
def test_limit_delivery_standing_is_that_of_its_limits_at_any_time(seed: int) -> None:
    rng = random.Random(seed)
    delivery, now, waiting = fresh(), 0.0, list[int]()
    quirks = [
        Quirk(name="none"),
        Quirk(name="one profile", max_stack_level=0),
        Quirk(name="W", unit="W"),
        Quirk(name="slow", reaction_s=30.0),
    ]
    events = [
        lambda: delivery.on_connected(now),
        lambda: delivery.on_disconnected(now),
        lambda: delivery.on_boot(now),
        lambda: delivery.on_profiles_touched(now),
        lambda: delivery.on_followed(rng.choice([6.0, 10.0, 32.0])),
        lambda: delivery.set_phases(rng.choice([1, 3])),
        lambda: delivery.apply_quirk(rng.choice(quirks), now),
        lambda: delivery.replace_evse(replace(EVSE, max_a=rng.choice([16.0, 32.0])), now),
        lambda: delivery.restore(replace(delivery.record(now), held_a=rng.choice([8.0, 32.0]))),
    ]
    delivery.on_connected(now)
    for _ in range(400):
        kind = rng.random()
        if kind < 0.45:
            sent = delivery.commands(rng.choice([0.0, 6.0, 9.5, 16.0, 32.0]), rng.uniform(0, 32), now)
            waiting += [command.token for command in sent]
        elif kind < 0.8 and waiting:
            delivery.on_answer(waiting.pop(rng.randrange(len(waiting))), rng.random() < 0.8, "", now)
        elif kind > 0.93:
            rng.choice(events)()
        for _ in range(3):
            assert delivery.standing(now) == delivery._find_standing(now)
            now += rng.choice([0.0, 0.5, 4.0, 5.0, 20.0, 70.0]) * rng.random()
