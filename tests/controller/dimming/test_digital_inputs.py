"""Contacts as they are wired, bounce, break, and fall silent."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Literal

import pytest

from controller.dimming.digital_inputs import (
    REST_S,
    DigitalInput,
    DigitalInputs,
    DigitalInputsSettings,
    Level,
)

OPEN, CLOSED, UNKNOWN = False, True, None
CLOSER = DigitalInput(name="S1", watts=4200, on_when="closed")
OPENER = DigitalInput(name="W3", watts=4200)
STAGES = tuple(
    DigitalInput(name=f"K{number}", watts=watts, on_when="closed")
    for number, watts in enumerate((None, 60_000, 30_000, 0.0), 1)
)


def contacts(*wired: DigitalInput, pattern: Literal["each", "one-of"] = "each") -> DigitalInputs:
    return DigitalInputs("box", DigitalInputsSettings(contacts=wired, pattern=pattern))


def holds(of: DigitalInputs, at: float) -> float | None:
    found = of.limits(at)
    assert len(found) <= 1
    return found[0].watts if found else None


@pytest.mark.parametrize(
    ("contact", "level", "limit_w"),
    [
        (CLOSER, OPEN, None),
        (CLOSER, CLOSED, 4200),
        (CLOSER, UNKNOWN, 4200),
        (OPENER, CLOSED, None),
        (OPENER, OPEN, 4200),  # a command, or a broken wire
        (OPENER, UNKNOWN, 4200),
    ],
)
def test_digital_inputs_contact_level_decides_limit(
    contact: DigitalInput, level: Level, limit_w: float | None
) -> None:
    source = contacts(contact)
    source.read([level], 0)
    assert holds(source, 0) == limit_w


def reasons(of: DigitalInputs, at: float) -> list[tuple[float | None, str, bool]]:
    return [(each.watts, each.proof, each.is_assumed) for each in of.limits(at)]


def test_contact_of_unknown_level_dims_and_is_not_recorded_as_on() -> None:
    source = contacts(OPENER)
    source.read([UNKNOWN], 0)
    assert reasons(source, 0) == [(4200, "the state of W3 is unknown", True)]


def test_contact_that_is_on_is_recorded_beside_unknown_one() -> None:
    high, low = DigitalInput(name="a", watts=30_000), DigitalInput(name="b", watts=4200)
    source = contacts(high, low)
    source.read([OPEN, UNKNOWN], 0)
    assert reasons(source, 0) == [(30_000, "a on", False), (4200, "the state of b is unknown", True)]
    source = contacts(high, low)
    source.read([UNKNOWN, OPEN], 0)
    assert reasons(source, 0) == [(4200, "b on", False), (30_000, "the state of a is unknown", True)]


def test_unknown_contact_without_limit_limits_nothing() -> None:
    source = contacts(DigitalInput(name="a", watts=None), OPENER)
    source.read([UNKNOWN, CLOSED], 0)
    assert source.limits(0) == ()


def test_unknown_stages_are_not_counted_as_on() -> None:
    source = contacts(*STAGES, pattern="one-of")
    source.read([CLOSED, UNKNOWN, OPEN, UNKNOWN], 0)
    assert reasons(source, 0) == [(0.0, "the state of K2 and K4 is unknown", True)]
    source = contacts(*STAGES, pattern="one-of")
    source.read([CLOSED, OPEN, OPEN, CLOSED], 0)
    assert reasons(source, 0) == [(0.0, "2 of its contacts are on, one should be", True)]


def test_contact_after_lost_module_is_unknown_until_it_is_settled() -> None:
    source = contacts(OPENER)
    source.read([CLOSED], 0)
    source.read([CLOSED], 10)
    assert reasons(source, 10) == [(4200, "the state of W3 is unknown", True)]
    source.read([OPEN], 10.2)
    source.read([OPEN], 10.5)
    assert reasons(source, 10.5) == [(4200, "W3 on", False)]


def test_contact_that_chatters_after_losses_is_unknown_until_rest() -> None:
    source = contacts(OPENER)
    source.read([CLOSED], 0)
    for loss in range(1, 7):
        source.read([CLOSED], 10 * loss)
        source.read([CLOSED], 10 * loss + 1)
    for second in range(61, 60 + int(REST_S)):
        source.read([CLOSED], second)
        assert reasons(source, second) == [(4200, "the state of W3 is unknown", True)]
    source.read([CLOSED], 60 + REST_S)
    assert reasons(source, 60 + REST_S) == []


def test_inputs_dim_before_first_reading() -> None:
    source = contacts(CLOSER, OPENER)
    assert holds(source, 0) == 4200
    assert source.limits(0)[0].proof == "its contacts were not read yet"
    assert source.deadline(0) == source.deadline(4) == 5
    assert holds(source, 5) == 4200
    assert source.limits(5)[0].proof == "its contacts cannot be read"
    assert source.deadline(5) is None


def test_lowest_of_several_contacts_applies() -> None:
    source = contacts(
        DigitalInput(name="a", watts=30_000),
        DigitalInput(name="b", watts=4200),
        DigitalInput(name="c", watts=None),
    )
    readings: list[tuple[list[Level], float | None, list[str]]] = [
        ([CLOSED, CLOSED, CLOSED], None, []),
        ([OPEN, CLOSED, CLOSED], 30_000, ["a on"]),
        ([OPEN, OPEN, CLOSED], 4200, ["a and b on"]),
        ([CLOSED, CLOSED, OPEN], None, []),
    ]
    for at, (levels, limit_w, why) in enumerate(readings):
        source.read(levels, at)
        source.read(levels, at + 0.5)
        assert holds(source, at + 0.5) == limit_w
        assert [each.proof for each in source.limits(at + 0.5)] == why


@pytest.mark.parametrize(
    ("levels", "limit_w"),
    [
        ([CLOSED, OPEN, OPEN, OPEN], None),
        ([OPEN, CLOSED, OPEN, OPEN], 60_000),
        ([OPEN, OPEN, CLOSED, OPEN], 30_000),
        ([OPEN, OPEN, OPEN, CLOSED], 0),
        ([OPEN, OPEN, OPEN, OPEN], 0),  # a broken wire
        ([CLOSED, CLOSED, OPEN, OPEN], 0),  # a fault
        ([CLOSED, UNKNOWN, OPEN, OPEN], 0),
        ([UNKNOWN, OPEN, OPEN, OPEN], 0),
    ],
)
def test_stages_need_exactly_one_contact(levels: list[Level], limit_w: float | None) -> None:
    source = contacts(*STAGES, pattern="one-of")
    source.read(levels, 0)
    assert holds(source, 0) == limit_w


def test_bouncing_contact_has_no_effect() -> None:
    source = contacts(CLOSER)
    source.read([OPEN], 0)
    for tenth in range(1, 20):
        source.read([CLOSED if tenth % 2 else OPEN], tenth / 10)
        assert holds(source, tenth / 10) is None


@pytest.mark.parametrize("level", [CLOSED, UNKNOWN])
def test_stable_contact_counts_in_both_directions(level: Level) -> None:
    source = contacts(CLOSER)
    source.read([OPEN], 0)
    counted = []
    for tenth in range(1, 12):
        source.read([level if tenth < 6 else OPEN], tenth / 10)
        counted.append(holds(source, tenth / 10))
    assert counted == [None] * 3 + [4200] * 5 + [None] * 3


def test_digital_inputs_missing_readings_dim_until_they_are_back() -> None:
    source = contacts(CLOSER)
    source.read([OPEN], 0)
    assert source.deadline(0) == 5
    assert [holds(source, at) for at in (4.9, 5)] == [None, 4200]
    assert source.limits(5)[0].proof == "its contacts cannot be read"
    assert source.deadline(5) is None
    assert holds(source, 1e6) == 4200  # it cannot be distinguished from a command
    source.read([OPEN], 1e6)
    source.read([OPEN], 1e6 + 1)
    assert holds(source, 1e6 + 1) is None


def test_reading_with_another_number_of_inputs_raises() -> None:
    with pytest.raises(ValueError, match="2 contacts, not 1"):
        contacts(CLOSER, OPENER).read([OPEN], 0)


def test_contact_that_chatters_lifts_only_after_minute_of_rest() -> None:
    source = contacts(CLOSER)
    source.read([OPEN], 0)
    lifted = []
    for second in range(1, 41):
        source.read([CLOSED if second % 4 < 2 else OPEN], second)
        lifted.append(holds(source, second) is None)
    assert sum(a and not b for a, b in pairwise(lifted)) <= 3
    assert holds(source, 40) == 4200
    [began] = source.take_reports()
    assert (began.contact, began.is_over) == ("S1", False)
    last = 40
    for second in range(41, 140):
        source.read([OPEN], second)
        if holds(source, second) is None:
            break
        last = second
    assert last + 1 - 41 >= REST_S
    for second in range(last + 1, last + 5):
        source.read([OPEN], second)
    [ended] = source.take_reports()
    assert ended.is_over
    assert ended.changes > 10


def test_contact_that_chatters_dims_at_once() -> None:
    source = contacts(CLOSER)
    source.read([OPEN], 0)
    for second in range(1, 21):
        source.read([CLOSED if second % 2 else OPEN], second)
    source.read([CLOSED], 21)
    source.read([CLOSED], 21.5)
    assert holds(source, 21.5) == 4200


def test_contact_that_chatters_lifts_no_sooner_after_lost_module() -> None:
    source = contacts(OPENER)
    for number in range(2 * 6 + 1):
        source.read([number % 2 == 0], number)
    source.read([CLOSED], 30)  # nothing was read for 18 s
    source.read([CLOSED], 32)
    assert holds(source, 32) == 4200


def test_contact_lifts_once_it_is_settled_after_lost_module() -> None:
    source = contacts(OPENER)
    source.read([CLOSED], 0)
    source.read([CLOSED], 10)
    assert holds(source, 5) == 4200
    source.read([CLOSED], 10.5)
    assert holds(source, 10.5) is None


def limits_of(
    source: DigitalInputs, levels: Callable[[float], list[Level]], seconds: int
) -> list[float | None]:
    """Read the contacts each quarter of a second, and return the limit after each reading."""
    limits = []
    for quarter in range(4 * seconds):
        source.read(levels(quarter / 4), quarter / 4)
        limits.append(holds(source, quarter / 4))
    return limits


@pytest.mark.parametrize("half_s", [2, 12, 29, 45])
@pytest.mark.parametrize("contact", [CLOSER, OPENER])
def test_contact_that_chatters_slowly_is_held_after_three_limits(contact: DigitalInput, half_s: int) -> None:
    limits = limits_of(contacts(contact), lambda at: [at // half_s % 2 == 0], 1200)
    assert sum(a != b for a, b in pairwise(limits)) <= 6
    assert set(limits[-1200:]) == {4200}


def test_contact_that_is_never_read_twice_alike_dims() -> None:
    limits = limits_of(contacts(CLOSER), lambda at: [at * 4 % 2 == 1], 60)
    assert limits[:16] == [None] * 16
    assert set(limits[4 * 8 :]) == {4200}


@pytest.mark.parametrize("half_s", [0.25, 1, 5, 15])
def test_stage_without_limit_that_chatters_dims_as_fault(half_s: float) -> None:
    source = contacts(*STAGES, pattern="one-of")
    limits = limits_of(source, lambda at: [at // half_s % 2 == 0, OPEN, OPEN, OPEN], 600)
    assert set(limits[-1200:]) == {0.0}


@pytest.mark.parametrize(("lost_s", "back_s"), [(6, 1), (6, 20), (10, 30)])
def test_module_that_is_lost_again_and_again_lifts_after_minute_of_rest(lost_s: int, back_s: int) -> None:
    source, limits = contacts(CLOSER), []
    for second in range(1200):
        if second % (lost_s + back_s) >= lost_s:
            source.read([OPEN], second)
        limits.append(holds(source, second))
    assert set(limits[-900:]) == {4200}
    for second in range(1200, 1300):
        source.read([OPEN], second)
    assert holds(source, 1299) is None
