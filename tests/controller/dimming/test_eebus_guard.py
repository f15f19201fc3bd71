"""Dimming controller with an energy guard as a source."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from controller.dimming.events import DimmingTick, EebusAction, EebusProof, EebusReported
from controller.dimming.evidence_chain import EvidenceKind
from drivers.eebus import lpc
from tests.scenario.dimming_harness import GUARDED, MINIMUM, DimmingHarness


def test_eebus_guard_limit_applies_from_write_to_end() -> None:
    scenario = DimmingHarness(GUARDED)
    assert scenario.total_w == MINIMUM  # init: the failsafe, and not less than the devices keep
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=9000, active=True, duration_s=60)))
    assert scenario.effects(EebusAction) == [EebusAction("box", lpc.Answered(True))]
    assert scenario.evidence_kinds() == ["command", "verdict", "limit", "readings"]
    assert scenario.total_w == 9000
    assert scenario.controller.eebus_source("box").view.state is lpc.State.LIMITED
    assert scenario.controller.deadline <= 61
    scenario.handle(DimmingTick(), 61)
    assert not scenario.controller.effective.dimmed
    assert scenario.effects(EebusAction) == []


@pytest.mark.parametrize("watts", [-1, 1e99, float("nan")])
def test_eebus_limit_refused_is_on_record_and_lifts_no_other(watts: float) -> None:
    scenario = DimmingHarness(GUARDED)
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=9000, active=True)))
    before = scenario.controller.effective
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=watts, active=True)))
    assert scenario.evidence_kinds() == ["command", "verdict"]
    assert scenario.evidence(EvidenceKind.VERDICT)[0]["accepted"] is False
    assert scenario.controller.effective == before


def test_eebus_guard_limit_below_minimum_is_raised_and_sent() -> None:
    scenario = DimmingHarness(GUARDED)
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=0, active=True)))
    [answer] = scenario.effects(EebusAction)
    assert answer.action == lpc.Answered(True, f"0 W is raised to the legal minimum of {MINIMUM:g} W")
    assert scenario.evidence(EvidenceKind.VERDICT)[0]["reason"] == answer.action.reason
    assert scenario.total_w == MINIMUM


def test_eebus_guard_limit_below_minimum_is_refused_if_configured() -> None:
    sources = tuple(replace(each, refuses_below_minimum=True) for each in GUARDED.sources)
    scenario = DimmingHarness(replace(GUARDED, sources=sources))
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=0, active=True)))
    [answer] = scenario.effects(EebusAction)
    assert not answer.action.accepted
    assert "below the minimum" in answer.action.reason


def test_eebus_guard_write_is_recorded_with_datagram() -> None:
    scenario = DimmingHarness(GUARDED)
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    proof = EebusProof("ab" * 20, b'{"data":"W\xc3\xa4rme"}', 0.5)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=9000, active=True), proof))
    [body] = scenario.evidence(EvidenceKind.COMMAND)
    assert (body["ski"], body["datagram"], body["heartbeatAgeS"]) == ("ab" * 20, '{"data":"W\u00e4rme"}', 0.5)
    assert scenario.evidence(EvidenceKind.VERDICT)[0]["state"] == "limited"


def test_eebus_guard_endless_refusals_do_not_fill_evidence() -> None:
    scenario = DimmingHarness(GUARDED)
    count = 0
    for _ in range(200):
        scenario.handle(EebusReported("box", lpc.LimitWritten(watts=-1, active=True)), 1)
        count += len(scenario.evidence_kinds())
    assert count < 150


def test_eebus_guard_failsafe_survives_restart() -> None:
    scenario = DimmingHarness(GUARDED)
    scenario.handle(EebusReported("box", lpc.Heartbeat()), 1)
    scenario.handle(EebusReported("box", lpc.LimitWritten(watts=9000, active=False)))
    scenario.handle(EebusReported("box", lpc.FailsafeWritten(watts=10_000, duration_s=10_000)))
    saved = scenario.take_memory()
    again = DimmingHarness(GUARDED, saved)
    again.handle(DimmingTick())
    assert again.total_w == 10_000
