"""Limits of one source (replaced, lifted, over, lost, restored), and the effective limit of several."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.dimming.dimming_limits import (
    EffectiveLimit,
    LimitBound,
    LimitSource,
    LimitSourceMemory,
    LostSource,
    SourceFailsafe,
    SourceLimit,
    effective,
    lost_sources,
)
from controller.model.observations import EvseRef

ONE, TWO, THREE = (EvseRef(station, 1) for station in ("CS01", "CS02", "CS03"))
FAILSAFE = SourceFailsafe(4200, 7200)
UTC = 1_795_262_400.0


def dso_limit(watts: float | None, begins: float = 0, until: float | None = 1000) -> SourceLimit:
    return SourceLimit(source="dso", watts=watts, begins=begins, until=until)


class Source:
    """A source from second 0 on."""

    def __init__(self, lost_after_s: float | None = None) -> None:
        self.limit_source = LimitSource("dso", FAILSAFE, lost_after_s, 0)

    def receive_limit(self, limit: SourceLimit, *evses: EvseRef, at: float) -> None:
        self.limit_source.set_limit(limit, evses, at)

    def holds(self, at: float) -> dict[EvseRef | None, float | None]:
        return {each.evse: each.watts for each in self.limit_source.limits(at)}


def test_newer_limit_replaces_older() -> None:
    source = Source()
    source.receive_limit(dso_limit(4200), at=0)
    source.receive_limit(dso_limit(9000, 5), at=5)
    assert source.holds(5) == {None: 9000}
    source.receive_limit(dso_limit(None, 6), at=6)
    assert source.holds(6) == {}


def test_replaced_limit_does_not_return() -> None:
    source = Source()
    source.receive_limit(dso_limit(4200), at=0)
    source.receive_limit(dso_limit(9000, 100, 200), at=0)
    assert [source.holds(at) for at in (99, 100, 199, 200)] == [{None: 4200}, {None: 9000}, {None: 9000}, {}]
    assert source.limit_source.deadline(0) == 100
    assert source.limit_source.deadline(100) == 200


def test_newest_of_waiting_limits_applies() -> None:
    source = Source()
    source.receive_limit(dso_limit(9000, 100), at=0)
    source.receive_limit(dso_limit(4200, 50), at=1)
    assert source.holds(100) == {None: 4200}


def test_lift_in_the_future_waits() -> None:
    source = Source()
    source.receive_limit(dso_limit(4200), at=0)
    source.receive_limit(dso_limit(None, 50), at=1)
    assert [source.holds(at) for at in (49, 50)] == [{None: 4200}, {}]


def test_evses_have_limits_of_their_own() -> None:
    source = Source()
    source.receive_limit(dso_limit(4200), ONE, TWO, at=0)
    source.receive_limit(dso_limit(9000), at=0)
    assert source.holds(0) == {ONE: 4200, TWO: 4200, None: 9000}
    source.receive_limit(dso_limit(None), ONE, at=1)
    assert source.holds(1) == {TWO: 4200, None: 9000}
    source.receive_limit(dso_limit(None, 2), at=2)
    assert source.holds(2) == {}
    assert source.limit_source.deadline(2) is None


def test_source_without_watch_is_never_lost() -> None:
    source = Source()
    source.limit_source.set_reached(False, 1)
    assert source.holds(1e6) == {}


def test_lost_source_has_failsafe_for_time_then_no_limit() -> None:
    source = Source(lost_after_s=120)
    source.limit_source.set_reached(True, 0)
    source.limit_source.set_reached(False, 100)
    source.limit_source.set_reached(False, 200)  # still: the loss began at 100
    assert source.limit_source.deadline(200) == 220
    holds = [source.holds(at) for at in (219, 220, 220 + 7199, 220 + 7200)]
    assert holds == [{}, {None: 4200}, {None: 4200}, {}]
    source.limit_source.set_reached(True, 230)
    assert source.holds(230) == {}


def test_limit_and_failsafe_apply_together() -> None:
    source = Source(lost_after_s=120)
    source.receive_limit(dso_limit(3000, until=500), at=0)
    assert sorted(each.watts or 0 for each in source.limit_source.limits(120)) == [3000, 4200]
    assert source.holds(500) == {None: 4200}


def test_limit_source_command_sets_failsafe() -> None:
    source = Source(lost_after_s=10)
    source.limit_source.set_failsafe(SourceFailsafe(5000, 60))
    assert [source.holds(at) for at in (10, 69, 70)] == [{None: 5000}, {None: 5000}, {}]


@pytest.mark.parametrize("down_s", [0, 1, 30, 100, 150, 400, 900, 8000])
def test_limit_source_restart_in_any_state_restores_it(down_s: float) -> None:
    """The same source once without a restart and once with it, at every moment alike."""
    for at in (1.0, 60.0, 130.0, 450.0, 7500.0):
        steady = _talked(at)
        saved = msgspec.json.encode(steady.limit_source.memory(at, UTC + at))
        restarted = Source(lost_after_s=120)
        began = 3.0  # its own monotonic clock
        restarted.limit_source.restore(
            msgspec.json.decode(saved, type=LimitSourceMemory), began, UTC + at + down_s
        )
        for later in (0.0, 10.0, 100.0, 1000.0):
            assert restarted.holds(began + later) == steady.holds(at + down_s + later), (at, down_s, later)


def _talked(at: float) -> Source:
    source = Source(lost_after_s=120)
    source.limit_source.set_reached(True, 0)
    source.receive_limit(dso_limit(9000, 0, 400), at=0)
    source.receive_limit(dso_limit(4200, 100, 300), at=0.5)
    source.receive_limit(dso_limit(4200, 0, 800), ONE, at=0.5)
    if at > 1:
        source.limit_source.set_reached(False, 10)
    if at == 1.0:
        source.limit_source.set_reached(False, 1)
    return source


def test_known_source_has_time_to_reconnect_after_restart() -> None:
    source = Source(lost_after_s=120)
    source.limit_source.set_reached(True, 0)
    saved = source.limit_source.memory(50, UTC)
    source.limit_source.restore(saved, 7, UTC + 9000)
    assert [source.holds(at) for at in (7 + 119, 7 + 120)] == [{}, {None: 4200}]


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


def test_each_lost_source_is_named_beside_lower_limit() -> None:
    limits = [
        limit("dso", 4200, proof="17"),
        limit("guard", 9000, proof="failsafe", is_assumed=True),
        limit("box", 9000, proof="S1 on"),
        limit("box", 4200, proof="the state of S2 is unknown", is_assumed=True),
        limit("later", 9000, begins=2.0, is_assumed=True),
    ]
    assert lost_sources(limits, 1) == (
        LostSource("box", "the state of S2 is unknown"),
        LostSource("guard", "failsafe"),
    )


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


@pytest.mark.parametrize(
    ("total_w", "devices", "binds"),
    [(20_000, [ONE, TWO], False), (8400, [ONE, TWO], True), (20_000, [ONE, TWO, THREE], True)],
    ids=["more than their sum", "their sum", "one has no limit"],
)
def test_total_does_not_bind_above_sum_of_evses(total_w: float, devices: list[EvseRef], binds: bool) -> None:
    got = effective([limit("dso", total_w), limit("dso", 4200, evse=ONE), limit("dso", 4200, evse=TWO)], 0)
    binding = got.binding(devices)
    assert (binding.total is not None) is binds
    assert (binding.evses, binding.sources) == (got.evses, got.sources)


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
