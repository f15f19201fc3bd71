"""Dimming controller with an energy guard as a source."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from controller.dimming.events import DimmingTick, EebusAction, EebusProof, EebusReported
from controller.dimming.evidence_chain import EvidenceKind
from drivers.eebus import lpc
from tests.controller.dimming.talk import GUARDED, MINIMUM, Talk


def test_desk_guard_eebus_limit_holds_from_write_to_end() -> None:
    talk = Talk(GUARDED)
    assert talk.total_w == MINIMUM  # init: the failsafe, and not less than the devices keep
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=9000, active=True, duration_s=60)))
    assert talk.of(EebusAction) == [EebusAction("box", lpc.Answered(True))]
    assert talk.kinds() == ["command", "verdict", "limit", "readings"]
    assert talk.total_w == 9000
    assert talk.desk.eebus_source("box").view.state is lpc.State.LIMITED
    assert talk.desk.deadline(1) <= 61
    talk.on(DimmingTick(), 61)
    assert not talk.desk.effective.dimmed
    assert talk.of(EebusAction) == []


@pytest.mark.parametrize("watts", [-1, 1e99, float("nan")])
def test_eebus_limit_refused_is_on_record_and_lifts_no_other(watts: float) -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=9000, active=True)))
    before = talk.desk.effective
    talk.on(EebusReported("box", lpc.LimitWritten(watts=watts, active=True)))
    assert talk.kinds() == ["command", "verdict"]
    assert talk.recorded(EvidenceKind.VERDICT)[0]["accepted"] is False
    assert talk.desk.effective == before


def test_desk_guard_eebus_limit_below_minimum_is_raised_and_sent() -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=0, active=True)))
    [answer] = talk.of(EebusAction)
    assert answer.action == lpc.Answered(True, f"0 W is raised to the legal minimum of {MINIMUM:g} W")
    assert talk.recorded(EvidenceKind.VERDICT)[0]["reason"] == answer.action.reason
    assert talk.total_w == MINIMUM


def test_desk_guard_eebus_limit_below_minimum_is_refused_where_so_set() -> None:
    sources = tuple(replace(each, refuses_below_minimum=True) for each in GUARDED.sources)
    talk = Talk(replace(GUARDED, sources=sources))
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=0, active=True)))
    [answer] = talk.of(EebusAction)
    assert not answer.action.accepted
    assert "below the minimum" in answer.action.reason


def test_desk_guard_eebus_write_is_on_record_with_datagram() -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    proof = EebusProof("ab" * 20, b'{"data":"W\xc3\xa4rme"}', 0.5)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=9000, active=True), proof))
    [body] = talk.recorded(EvidenceKind.COMMAND)
    assert (body["ski"], body["datagram"], body["heartbeatAgeS"]) == ("ab" * 20, '{"data":"W\u00e4rme"}', 0.5)
    assert talk.recorded(EvidenceKind.VERDICT)[0]["state"] == "limited"


def test_desk_guard_eebus_refusals_without_end_do_not_fill_evidence() -> None:
    talk = Talk(GUARDED)
    count = 0
    for _ in range(200):
        talk.on(EebusReported("box", lpc.LimitWritten(watts=-1, active=True)), 1)
        count += len(talk.kinds())
    assert count < 150


def test_desk_guard_eebus_failsafe_survives_restart() -> None:
    talk = Talk(GUARDED)
    talk.on(EebusReported("box", lpc.Heartbeat()), 1)
    talk.on(EebusReported("box", lpc.LimitWritten(watts=9000, active=False)))
    talk.on(EebusReported("box", lpc.FailsafeWritten(watts=10_000, duration_s=10_000)))
    saved = talk.saved_memory()
    again = Talk(GUARDED, saved)
    again.on(DimmingTick())
    assert again.total_w == 10_000
