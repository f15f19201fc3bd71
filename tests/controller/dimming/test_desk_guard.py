"""The desk in conversation with an Energy Guard."""

from __future__ import annotations

import pytest

from controller.dimming.events import DimmingTick, EebusAction, EebusReported, PersistDimming
from controller.dimming.evidence_chain import EvidenceKind
from drivers import eebus_lpc
from tests.controller.dimming.talk import GUARDED, MINIMUM, Talk


def test_a_guard_limits_from_the_start_and_by_its_word() -> None:
    talk = Talk(GUARDED)
    assert talk.total_w == MINIMUM  # init: the failsafe, and not less than the devices keep
    talk.on(EebusReported("box", eebus_lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", eebus_lpc.LimitWritten(watts=9000, active=True, duration_s=60)))
    assert talk.of(EebusAction) == [EebusAction("box", eebus_lpc.Answered(True))]
    assert talk.kinds() == ["command", "verdict", "limit", "readings"]
    assert talk.total_w == 9000
    assert talk.desk.deadline(1) <= 61
    talk.on(DimmingTick(), 61)
    assert not talk.desk.effective.dimmed
    assert talk.of(EebusAction) == [EebusAction("box", eebus_lpc.SendHeartbeat())]


@pytest.mark.parametrize("watts", [-1, 100, float("nan")])
def test_a_guards_word_that_is_refused_is_on_record(watts: float) -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", eebus_lpc.Heartbeat()), 1)
    before = talk.desk.effective
    talk.on(EebusReported("box", eebus_lpc.LimitWritten(watts=watts, active=True)))
    assert talk.kinds() == ["command", "verdict"]
    assert talk.recorded(EvidenceKind.VERDICT)[0]["accepted"] is False
    assert talk.desk.effective == before


def test_a_guards_failsafe_outlives_a_restart() -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", eebus_lpc.FailsafeWritten(watts=10_000, duration_s=10_000)))
    [saved] = talk.of(PersistDimming)
    again = Talk(GUARDED, saved.memory)
    again.on(DimmingTick())
    assert again.total_w == 10_000
