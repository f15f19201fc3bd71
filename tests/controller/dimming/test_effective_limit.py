"""Several sources, one effective limit."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controller.dimming.dimming_limits import EffectiveLimit, LimitBound, SourceLimit, effective
from controller.model.observations import EvseRef

ONE, TWO = EvseRef("CS01", 1), EvseRef("CS02", 1)


def limit(source: str, watts: float | None, **more: object) -> SourceLimit:
    return SourceLimit(source=source, watts=watts, **{"begins": 0.0, **more})  # type: ignore[arg-type]


def test_no_limits_make_no_effective_limit() -> None:
    assert effective([], 0) == EffectiveLimit()
    assert not effective([limit("dso", None)], 0).dimmed


def test_lowest_limit_is_named() -> None:
    got = effective([limit("dso", 9000, until=60), limit("box", 4200, proof="S1"), limit("cpo", 5000)], 1)
    assert got.total == LimitBound(watts=4200, source="box", proof="S1")
    assert got.sources == ("box", "cpo", "dso")


def test_longest_of_equal_limits_is_named() -> None:
    got = effective([limit("a", 4200, until=60), limit("b", 4200), limit("c", 4200, until=90)], 1)
    assert got.total is not None
    assert got.total.source == "b"


def test_limit_applies_from_begin_to_end() -> None:
    span = [limit("dso", 4200, begins=10, until=20)]
    assert [effective(span, at).dimmed for at in (9.9, 10, 19.9, 20)] == [False, True, True, False]


def test_effective_limit_phase_and_evse_limits_apply_beside_total() -> None:
    got = effective(
        [
            limit("dso", 4200, phases_w=(1400, None, 900)),
            limit("cpo", 9000, phases_w=(1500, 1000, 800)),
            limit("dso", 4200, evse=ONE),
            limit("cpo", 3000, evse=ONE),
            limit("cpo", 3700, evse=TWO),
        ],
        0,
    )
    assert got.phases_w == (1400, 1000, 800)
    assert {ref: bound.watts for ref, bound in got.evses.items()} == {ONE: 3000, TWO: 3700}


limits = st.builds(
    limit,
    st.sampled_from(["dso", "cpo", "box"]),
    st.none() | st.floats(0, 50_000),
    begins=st.integers(0, 20),
    until=st.none() | st.integers(0, 20),
    evse=st.sampled_from([None, ONE, TWO]),
)


@given(st.lists(limits, max_size=6), limits, st.integers(0, 20))
def test_limit_of_another_source_raises_nothing(
    present: list[SourceLimit], another: SourceLimit, now: int
) -> None:
    before, after = effective(present, now), effective([another, *present], now)
    assert after == effective([*reversed(present), another], now)
    if before.total is not None:
        assert after.total is not None
        assert after.total.watts <= before.total.watts
    for ref, bound in before.evses.items():
        assert after.evses[ref].watts <= bound.watts
