"""One source's limits: replaced, lifted, over, lost, and restored."""

from __future__ import annotations

import msgspec
import pytest

from controller.dimming.dimming_limits import LimitSource, LimitSourceMemory, SourceFailsafe, SourceLimit
from controller.model.observations import EvseRef

ONE, TWO = EvseRef("CS01", 1), EvseRef("CS02", 1)
FAILSAFE = SourceFailsafe(4200, 7200)
UTC = 1_795_262_400.0


def word(watts: float | None, begins: float = 0, until: float | None = 1000) -> SourceLimit:
    return SourceLimit(source="dso", watts=watts, begins=begins, until=until)


class Source:
    """A source from second 0 on."""

    def __init__(self, lost_after_s: float | None = None) -> None:
        self.words = LimitSource("dso", FAILSAFE, lost_after_s, 0)

    def receive_limit(self, limit: SourceLimit, *evses: EvseRef, at: float) -> None:
        self.words.set_limit(limit, evses, at)

    def holds(self, at: float) -> dict[EvseRef | None, float | None]:
        return {each.evse: each.watts for each in self.words.limits(at)}


def test_newer_limit_replaces_older() -> None:
    source = Source()
    source.receive_limit(word(4200), at=0)
    source.receive_limit(word(9000, 5), at=5)
    assert source.holds(5) == {None: 9000}
    source.receive_limit(word(None, 6), at=6)
    assert source.holds(6) == {}


def test_replaced_limit_does_not_return() -> None:
    source = Source()
    source.receive_limit(word(4200), at=0)
    source.receive_limit(word(9000, 100, 200), at=0)
    assert [source.holds(at) for at in (99, 100, 199, 200)] == [{None: 4200}, {None: 9000}, {None: 9000}, {}]
    assert source.words.deadline(0) == 100
    assert source.words.deadline(100) == 200


def test_newest_of_waiting_limits_applies() -> None:
    source = Source()
    source.receive_limit(word(9000, 100), at=0)
    source.receive_limit(word(4200, 50), at=1)
    assert source.holds(100) == {None: 4200}


def test_lift_in_the_future_waits() -> None:
    source = Source()
    source.receive_limit(word(4200), at=0)
    source.receive_limit(word(None, 50), at=1)
    assert [source.holds(at) for at in (49, 50)] == [{None: 4200}, {}]


def test_evses_have_limits_of_their_own() -> None:
    source = Source()
    source.receive_limit(word(4200), ONE, TWO, at=0)
    source.receive_limit(word(9000), at=0)
    assert source.holds(0) == {ONE: 4200, TWO: 4200, None: 9000}
    source.receive_limit(word(None), ONE, at=1)
    assert source.holds(1) == {TWO: 4200, None: 9000}
    source.receive_limit(word(None, 2), at=2)
    assert source.holds(2) == {}
    assert source.words.deadline(2) is None


def test_source_without_watch_is_never_lost() -> None:
    source = Source()
    source.words.set_reached(False, 1)
    assert source.holds(1e6) == {}


def test_lost_source_has_failsafe_for_time_then_no_limit() -> None:
    source = Source(lost_after_s=120)
    source.words.set_reached(True, 0)
    source.words.set_reached(False, 100)
    source.words.set_reached(False, 200)  # still: the loss began at 100
    assert source.words.deadline(200) == 220
    holds = [source.holds(at) for at in (219, 220, 220 + 7199, 220 + 7200)]
    assert holds == [{}, {None: 4200}, {None: 4200}, {}]
    source.words.set_reached(True, 230)
    assert source.holds(230) == {}


def test_limit_and_failsafe_apply_together() -> None:
    source = Source(lost_after_s=120)
    source.receive_limit(word(3000, until=500), at=0)
    assert sorted(each.watts or 0 for each in source.words.limits(120)) == [3000, 4200]
    assert source.holds(500) == {None: 4200}


def test_limit_source_command_sets_failsafe() -> None:
    source = Source(lost_after_s=10)
    source.words.set_failsafe(SourceFailsafe(5000, 60))
    assert [source.holds(at) for at in (10, 69, 70)] == [{None: 5000}, {None: 5000}, {}]


@pytest.mark.parametrize("down_s", [0, 1, 30, 100, 150, 400, 900, 8000])
def test_limit_source_restart_in_any_state_restores_it(down_s: float) -> None:
    """The same source once without a restart and once with it, at every moment alike."""
    for at in (1.0, 60.0, 130.0, 450.0, 7500.0):
        steady = _talked(at)
        saved = msgspec.json.encode(steady.words.memory(at, UTC + at))
        restarted = Source(lost_after_s=120)
        began = 3.0  # its own monotonic clock
        restarted.words.restore(msgspec.json.decode(saved, type=LimitSourceMemory), began, UTC + at + down_s)
        for later in (0.0, 10.0, 100.0, 1000.0):
            assert restarted.holds(began + later) == steady.holds(at + down_s + later), (at, down_s, later)


def _talked(at: float) -> Source:
    source = Source(lost_after_s=120)
    source.words.set_reached(True, 0)
    source.receive_limit(word(9000, 0, 400), at=0)
    source.receive_limit(word(4200, 100, 300), at=0.5)
    source.receive_limit(word(4200, 0, 800), ONE, at=0.5)
    if at > 1:
        source.words.set_reached(False, 10)
    if at == 1.0:
        source.words.set_reached(False, 1)
    return source


def test_known_source_has_time_to_reconnect_after_restart() -> None:
    source = Source(lost_after_s=120)
    source.words.set_reached(True, 0)
    saved = source.words.memory(50, UTC)
    source.words.restore(saved, 7, UTC + 9000)
    assert [source.holds(at) for at in (7 + 119, 7 + 120)] == [{}, {None: 4200}]
