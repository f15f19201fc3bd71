"""Plans of requests: grouping, splitting at what a device refuses, and what is kept of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.meter_model import list_models, load_model
from drivers.read_plan import (
    MAX_REQUESTS,
    RETRY_REFUSED_S,
    Field,
    ReadPlan,
    ReadRange,
    fields_of,
)

SDM630 = load_model("eastron-sdm630-v2")


def plan_of(name: str, base: int = 0) -> ReadPlan:
    model = load_model(name)
    return ReadPlan(fields_of(model, base), model.read.max_registers, bridge_gaps=model.read.bridge_gaps)


def poll(plan: ReadPlan, accepts: object, now: float = 0.0) -> list[ReadRange] | Field:
    """Run a poll against a device that answers what `accepts` allows; return its requests."""
    assert callable(accepts)
    plan.begin(now)
    requests = []
    while (read_range := plan.next_range()) is not None:
        requests.append(read_range)
        if accepts(read_range):
            plan.store([0] * read_range.count)
        elif refused := plan.refuse():
            return refused
    plan.finish(now)
    return requests


@pytest.mark.parametrize("name", list_models())
def test_plan_covers_every_field_within_limit(name: str) -> None:
    model = load_model(name)
    if not model.register:
        return
    ranges = plan_of(name).ranges
    assert all(0 < each.count <= model.read.max_registers for each in ranges)
    for field in fields_of(model):
        covering = [
            each
            for each in ranges
            if each.function == field.function and each.covers(field.address, field.words)
        ]
        assert len(covering) == 1, field


def test_plan_needs_few_requests() -> None:
    assert plan_of("eastron-sdm630-v2").ranges == (ReadRange(4, 0, 18), ReadRange(4, 52, 24))
    assert len(plan_of("janitza-umg604").ranges) == 1
    assert len(plan_of("sunspec-203", 40070).ranges) == 1


def test_plan_without_bridging_reads_no_gap() -> None:
    ranges = plan_of("siemens-7kt-pac1600").ranges
    wanted = {
        address
        for field in fields_of(load_model("siemens-7kt-pac1600"))
        for address in range(field.address, field.address + field.words)
    }
    assert {
        address for each in ranges for address in range(each.address, each.address + each.count)
    } == wanted


def test_plan_refused_gap_is_split_and_recorded() -> None:
    plan = plan_of("eastron-sdm630-v2")

    def refuses_gaps(each: ReadRange) -> bool:
        return each.address < 52 or each.count <= 4

    first = poll(plan, refuses_gaps)
    assert first == [ReadRange(4, 0, 18), ReadRange(4, 52, 24), ReadRange(4, 52, 2), ReadRange(4, 70, 6),
                     ReadRange(4, 70, 4), ReadRange(4, 74, 2)]  # fmt: skip
    assert poll(plan, refuses_gaps) == [
        ReadRange(4, 0, 18), ReadRange(4, 52, 2), ReadRange(4, 70, 4), ReadRange(4, 74, 2),
    ]  # fmt: skip


@pytest.mark.parametrize("limit", [8, 16, 32, 64])
@pytest.mark.parametrize("name", list_models())
def test_plan_behind_limited_gateway_reads_every_field(name: str, limit: int) -> None:
    if not load_model(name).register:
        return
    plan = plan_of(name, 40070 if "sunspec" in name else 0)
    learning = poll(plan, lambda each: each.count <= limit)
    assert isinstance(learning, list)
    assert len(learning) <= MAX_REQUESTS
    settled = poll(plan, lambda each: each.count <= limit)
    assert isinstance(settled, list)
    assert all(each.count <= limit for each in settled)
    assert len(settled) < len(learning) or settled == learning


def test_plan_refused_optional_field_leaves_it_out_for_while() -> None:
    plan = plan_of("abb-b23")

    def lacks_export(each: ReadRange) -> bool:
        return not each.covers(0x5004, 4)

    assert isinstance(poll(plan, lacks_export, 0.0), list)
    settled = poll(plan, lacks_export, 1.0)
    assert isinstance(settled, list)
    assert ReadRange(3, 0x5004, 4) not in settled
    again = poll(plan, lambda each: True, RETRY_REFUSED_S)
    assert isinstance(again, list)
    assert ReadRange(3, 0x5004, 4) in again


def test_plan_refused_necessary_field_fails_and_learns_nothing() -> None:
    plan = plan_of("eastron-sdm630-v2")
    before = plan.ranges
    refused = poll(plan, lambda each: False)
    assert isinstance(refused, Field)
    assert refused.required
    assert plan.ranges == before


def test_read_plan_image_of_poll_holds_what_was_read() -> None:
    plan = ReadPlan([Field(3, 10, 2), Field(3, 12, 1)], 125)
    plan.begin(0.0)
    assert plan.next_range() == ReadRange(3, 10, 3)
    plan.store([7, 8, 9])
    assert plan.next_range() is None
    image = plan.finish(0.0)
    assert image.get(3, 10, 3) == [7, 8, 9]
    assert image.get(3, 11, 3) is None
    assert image.get(4, 10, 1) is None


fields = st.lists(
    st.builds(Field, st.sampled_from([3, 4]), st.integers(0, 400), st.sampled_from([1, 2, 4]), st.booleans()),
    min_size=1,
    max_size=40,
)


@given(fields, st.integers(8, 125), st.integers(4, 125))
def test_plan_of_any_fields_ends_and_keeps_within_limits(wanted: list[Field], most: int, limit: int) -> None:
    plan = ReadPlan(wanted, most)
    assert isinstance(poll(plan, lambda each: each.count <= max(limit, 8)), list | Field)
    assert all(each.count <= max(most, 12) for each in plan.ranges)
