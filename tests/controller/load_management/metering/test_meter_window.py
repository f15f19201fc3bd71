"""Changes of the EVSEs below a meter, within a span of its readings."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.load_management.evse.consumption import ReportedStep
from controller.load_management.metering.meter_window import LATE_S, MOST_OTHERS, SETTLED_S, MeterWindow
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)
MEMORY_S = 60.0
BEFORE, AFTER = (95.0, 100.0), (110.0, 114.0)


@given(
    st.lists(st.tuples(st.floats(0, 9), st.sampled_from([A, B]), st.integers(-20, 20)), max_size=40),
    st.floats(0, MEMORY_S),
    st.floats(0, 20),
)
def test_meter_window_sums_of_moves_are_those_of_the_changes(
    changes: list[tuple[float, EvseRef, int]], back_s: float, span_s: float
) -> None:
    window = MeterWindow(MEMORY_S)
    now, found = 0.0, []
    for wait_s, ref, delta_a in changes:
        now += wait_s
        window.add_reading((0.0, 0.0, 0.0), now)
        window.add_change(ref, (0.0, float(delta_a), 0.0), now)
        found.append((now, ref, delta_a))
    begin, end = now - back_s, now - back_s + span_s
    for ref in (A, B):
        for others in (False, True):
            deltas = [d for at, each, d in found if (each != ref) is others and begin <= at <= end]
            expected = sum(d for d in deltas if d > 0), -sum(d for d in deltas if d < 0)
            assert window.moves_of(ref, 1, begin, end, others=others) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("since", "at", "expected"),
    [
        (60.0, 90.0, (0.0, 0.0)),  # over before the first readings
        (100.0, 105.0, (-8.0, -8.0)),  # between them, for sure
        (80.0, 105.0, (-8.0, 0.0)),  # perhaps between them
        (114.0, 130.0, (0.0, 0.0)),  # after the last readings
    ],
)
def test_meter_window_reported_step_counts_when_it_happened(
    since: float, at: float, expected: tuple[float, float]
) -> None:
    window = MeterWindow(MEMORY_S)
    window.add_step(ReportedStep(ref=B, delta_a=(-8.0, 0.0, 0.0), since=since, at=at, reported_at=at))
    assert window.net_of_others(A, 0, BEFORE, AFTER) == expected


def test_meter_window_offer_that_a_report_has_followed_explains_nothing() -> None:
    window = MeterWindow(MEMORY_S)
    window.add_offer(B, (6.0, 0.0, 0.0), 101.0, (True, True, True))
    assert window.net_of_others(A, 0, BEFORE, AFTER) == (0.0, 6.0)
    window.add_report(B, 101.0 + SETTLED_S)
    assert window.net_of_others(A, 0, BEFORE, AFTER) == (0.0, 0.0)


def test_meter_window_offers_of_silent_station_count_from_one_to_the_next() -> None:
    window = MeterWindow(MEMORY_S)
    window.add_offer(B, (16.0, 0.0, 0.0), BEFORE[0] - LATE_S - SETTLED_S, (True, True, True))
    window.add_offer(B, (10.0, 0.0, 0.0), 104.0, (True, True, True))
    assert window.net_of_others(A, 0, BEFORE, AFTER) == (-6.0, 0.0)


def test_meter_window_drops_old_steps_while_the_meter_is_dead() -> None:
    window = MeterWindow(MEMORY_S)
    for number in range(MOST_OTHERS * 2):
        at = number * 10.0
        window.add_step(ReportedStep(ref=B, delta_a=(6.0, 0.0, 0.0), since=at - 10.0, at=at, reported_at=at))
    assert not window.is_crowded
