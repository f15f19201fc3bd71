"""The dimming controller with grid operators, devices and meters."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import pytest
from msgspec.structs import replace

from controller.dimming.command_handler import LOGGED_A_MINUTE, REFUSALS_A_MINUTE
from controller.dimming.digital_inputs import DigitalInput, DigitalInputsSettings
from controller.dimming.dimming_controller import DimmingController
from controller.dimming.dimming_settings import DimmingSettings, SourceSettings
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    DimmingChanged,
    DimmingMemory,
    DimmingTick,
    InputsRead,
    Measured,
    NotifyBackends,
    RecordEvidence,
    SourceLimited,
    SourceReached,
)
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.limit_effect import PATIENCE_S
from controller.dimming.outcome_reports import DECISIONS_APART_S, MOST_OPEN
from controller.model.effects import LogEntry
from controller.model.journal import Persist
from tests.controller.dimming.commands import NOON, POINT, command
from tests.controller.dimming.signers import PlainSignatures, signed
from tests.scenario.dimming_harness import MINIMUM, ONE, SETTINGS, TWO, DimmingHarness


def test_dimming_controller_command_effects_are_in_order() -> None:
    scenario = DimmingHarness()
    scenario.measure(22_000, 11_000, grid=50_000)
    answer = scenario.send_command(command(1, 9000.0), "dso", at=1.5)
    order = [type(action).__name__ for action in scenario.actions]
    assert order == [
        "Persist",
        "DimmingChanged",
        *["RecordEvidence"] * 4,
        "CommandAnswer",
        "LogEntry",
        "LogEntry",
    ]
    assert scenario.evidence_kinds() == ["command", "verdict", "limit", "readings"]
    assert answer | {"command": ""} == {
        "@context": "urn:local-controller:dim:acknowledgement:1",
        "command": "",
        "commandId": "command-1",
        "connectionPoint": POINT,
        "time": "2026-11-21T12:00:01.500Z",
        "status": "accepted",
        "limitW": 9000.0,
        "from": "2026-11-21T12:00:01.500Z",
        "until": "2026-11-21T13:00:00.000Z",
        "powerBeforeW": 33_000.0,
    }
    assert scenario.evidence(EvidenceKind.READINGS)[0]["phase"] == "before"
    assert scenario.total_w == 9000


def test_effect_is_measured_reported_and_recorded() -> None:
    scenario = DimmingHarness()
    scenario.measure(22_000, 11_000)
    scenario.send_command(command(1, 9000.0), "dso", at=1)
    scenario.measure(16_000, 0, at=2)
    assert scenario.actions == []
    scenario.measure(8500, 0, at=4.25)
    [notices] = scenario.effects(NotifyBackends)
    effect = msgspec.json.decode(notices.payload)
    assert notices.via == "cpo"
    assert (effect["reached"], effect["timeToEffectS"]) == (True, 3.25)
    assert (effect["powerBeforeW"], effect["powerAfterW"], effect["limitW"]) == (33_000, 8500, 9000)
    assert scenario.evidence()[0]["phase"] == "reached"
    scenario.measure(8400, 0, at=5)
    assert scenario.actions == []


def test_dimming_controller_missing_effect_is_reported_and_later_effect() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "dso")
    assert scenario.controller.deadline == PATIENCE_S
    scenario.handle(DimmingTick(), PATIENCE_S)
    assert scenario.evidence_kinds() == ["failure"]
    [notices] = scenario.effects(NotifyBackends)
    assert msgspec.json.decode(notices.payload)["reached"] is False
    scenario.measure(100, 100, at=70)
    [notices] = scenario.effects(NotifyBackends)
    assert msgspec.json.decode(notices.payload)["timeToEffectS"] == 70


def test_limit_ends_by_itself_and_is_recorded() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "dso")
    scenario.measure(8000, at=10)
    assert scenario.controller.deadline == 3600
    assert DimmingChanged(scenario.controller.effective) not in scenario.handle(DimmingTick(), 3599)
    scenario.handle(DimmingTick(), 3600)
    [dimmed] = scenario.effects(DimmingChanged)
    assert not dimmed.effective.dimmed
    assert scenario.evidence_kinds() == ["readings", "release"]
    assert scenario.evidence(EvidenceKind.RELEASE) == [{"lastedS": 3600.0}]


@pytest.mark.parametrize(
    ("payload", "signer", "reason"),
    [
        (command(2, 100.0), "mallory", "bad-signature"),
        (command(1, 9000.0), "dso", "replayed"),
        (command(2, None, role="operator"), "cpo", "lower-role"),
        (command(2, point="other"), "dso", "out-of-scope"),
    ],
)
def test_refusal_is_signed_recorded_and_without_effect(
    payload: dict[str, Any], signer: str, reason: str
) -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "dso")
    before = scenario.controller.effective
    answer = scenario.send_command(payload, signer)
    assert (answer["status"], answer["reason"]) == ("refused", reason)
    assert answer["detail"]
    assert scenario.controller.effective == before
    assert scenario.evidence_kinds() == ["command", "verdict"]
    assert scenario.effects(Persist) == scenario.effects(DimmingChanged) == []
    verdict = scenario.evidence(EvidenceKind.VERDICT)[0]
    assert (verdict["reason"], verdict["commandId"]) == (reason, payload["commandId"])


def test_dimming_controller_refusal_is_logged_with_command_and_remedy() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "mallory")
    [line] = scenario.effects(LogEntry)
    assert line.text.startswith("dimming command refused id=command-1 link=cpo reason=bad-signature detail=")
    assert line.text.endswith(
        " remedy=compare the sender's key with its [[key]] in the policy; it may be forged"
    )


def test_dimming_controller_command_without_trusted_clock_is_refused() -> None:
    scenario = DimmingHarness()
    scenario.handle(ClockTrusted(False))
    assert scenario.send_command(command(1), "dso")["reason"] == "clock-not-trusted"
    assert [body["clockTrusted"] for body in scenario.evidence()] == [False, False]
    scenario.handle(ClockTrusted(True))
    assert scenario.send_command(command(1), "dso")["status"] == "partly"
    assert not any("clockTrusted" in body for body in scenario.evidence())


def test_dimming_controller_lost_memory_ends_with_trusted_clock() -> None:
    scenario = DimmingHarness()
    scenario.handle(ClockTrusted(False))
    scenario.controller.restore(
        DimmingMemory(saved=NOON, unknown_until=None), 0.0, NOON - 1e6, clock_trusted=False
    )
    scenario.handle(ClockTrusted(False), 10)
    assert not scenario.effects(Persist)
    scenario.handle(ClockTrusted(True), 20)
    assert scenario.take_memory().unknown_until == NOON + 20
    assert scenario.send_command(command(1), "dso", at=30)["reason"] == "replayed"
    assert scenario.send_command(command(2, begins=25), "dso", at=30)["status"] == "partly"
    assert scenario.take_memory().unknown_until == NOON + 20
    scenario.handle(ClockTrusted(True), 40)
    assert not scenario.effects(Persist)


def test_dimming_controller_only_site_operator_goes_below_minimum() -> None:
    scenario = DimmingHarness()
    answer = scenario.send_command(command(1, 0.0), "dso")
    assert (answer["status"], answer["limitW"]) == ("partly", MINIMUM)
    assert "minimum" in answer["detail"]
    assert scenario.total_w == MINIMUM
    answer = scenario.send_command(command(1, 1000.0, role="operator"), "cpo")
    assert (answer["status"], scenario.total_w) == ("accepted", 1000)


def test_dimming_controller_limits_per_phase_go_up_with_minimum() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 3000.0, limitPhasesW=[1000, 500, 500]), "dso")
    assert scenario.controller.effective.phases_w == pytest.approx((MINIMUM / 2, MINIMUM / 4, MINIMUM / 4))
    scenario.send_command(command(2, 0.0, limitPhasesW=[0, 0, 0]), "dso")
    assert scenario.controller.effective.phases_w == (None, None, None)
    scenario.send_command(command(3, 9000.0, limitPhasesW=[3000, 3000, 3000]), "dso")
    assert scenario.controller.effective.phases_w == (3000, 3000, 3000)


def test_dimming_controller_lowest_limit_applies_and_each_source_lifts_own() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "dso")
    answer = scenario.send_command(command(1, 12_000.0, role="operator"), "cpo")
    assert (answer["status"], answer["limitW"]) == ("partly", 9000)
    assert answer["detail"] == "dso limits them to 9000 W"
    scenario.handle(SourceLimited(source="csms", watts=8000.0))
    assert scenario.total_w == 8000
    answer = scenario.send_command(command(2, None), "dso")
    assert answer["status"] == "partly"
    assert answer["detail"] == "lifted, and the site is still limited by cpo and csms"
    scenario.handle(SourceLimited(source="csms", watts=None))
    assert scenario.total_w == 12_000
    assert scenario.send_command(command(2, None, role="operator"), "cpo")["status"] == "accepted"
    assert not scenario.controller.effective.dimmed


def test_direct_control_limits_each_evse() -> None:
    scenario = DimmingHarness()
    scenario.measure(11_000, 11_000)
    answer = scenario.send_command(command(1, 4200.0, evses=["CS01/1"]), "dso")
    assert (answer["status"], answer["limitW"]) == ("accepted", 4200)
    assert {ref: bound.watts for ref, bound in scenario.controller.effective.evses.items()} == {ONE: 4200}
    assert scenario.total_w is None
    assert scenario.send_command(command(2, 100.0, evses=["CS01/1"]), "dso")["limitW"] == 4200
    scenario.measure(4100, 11_000, at=5)
    assert len(scenario.effects(NotifyBackends)) == 2


def test_command_for_later_waits() -> None:
    scenario = DimmingHarness()
    answer = scenario.send_command(command(1, 9000.0, begins=600, ends=1200), "dso")
    assert (answer["status"], answer["from"]) == ("accepted", "2026-11-21T12:10:00.000Z")
    assert not scenario.controller.effective.dimmed
    assert scenario.evidence_kinds() == ["command", "verdict"]
    assert scenario.controller.deadline == 600
    scenario.handle(DimmingTick(), 600)
    assert scenario.total_w == 9000
    scenario.measure(8000, at=602)
    [notices] = scenario.effects(NotifyBackends)
    assert msgspec.json.decode(notices.payload)["timeToEffectS"] == 2


def test_commands_for_later_hold_beside_others_that_they_do_not_meet() -> None:
    scenario = DimmingHarness()
    limits = [(600, 1200, 9000.0), (1800, 2400, 8500.0), (0, 120, 8000.0), (1300, 1500, 8200.0)]
    for number, (begins, ends, watts) in enumerate(limits, 1):
        scenario.send_command(command(number, watts, begins=begins, ends=ends), "dso")
    found = []
    for now in (10, 130, 700, 1250, 1400, 1600, 1900, 2500):
        scenario.handle(DimmingTick(), now)
        found.append(scenario.total_w)
    assert found == [8000.0, None, 9000.0, None, 8200.0, None, 8500.0, None]


def test_command_replaces_those_that_begin_within_its_time() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0, begins=600, ends=1200), "dso")
    scenario.send_command(command(2, 8000.0, begins=300, ends=900), "dso")
    found = []
    for now in (310, 700, 1000):
        scenario.handle(DimmingTick(), now)
        found.append(scenario.total_w)
    assert found == [8000.0, 8000.0, None]
    scenario.send_command(command(3, 9000.0, begins=2000, ends=2600), "dso")
    scenario.send_command(command(4, None, begins=1000, ends=1100), "dso")
    scenario.handle(DimmingTick(), 2100)
    assert not scenario.controller.effective.dimmed


def test_dimming_controller_lost_source_has_failsafe_until_reached() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0, failsafe={"limitW": 8000, "durationS": 3600}), "dso")
    scenario.handle(SourceReached("dso", False), 100)
    assert scenario.take_memory()
    scenario.handle(DimmingTick(), 699)
    assert scenario.total_w == 9000
    scenario.handle(DimmingTick(), 700)
    assert scenario.total_w == 8000
    scenario.handle(DimmingTick(), 3600)
    assert scenario.total_w == 8000
    scenario.handle(SourceReached("dso", True), 4000)
    assert not scenario.controller.effective.dimmed


def test_failsafe_of_unwatched_source_is_partly_accepted() -> None:
    failsafe = {"limitW": 8000, "durationS": 3600}
    answer = DimmingHarness().send_command(command(1, 9000.0, role="operator", failsafe=failsafe), "cpo")
    assert answer["status"] == "partly"
    assert answer["detail"] == "the link to its issuer is not monitored here: no failsafe will follow"
    assert DimmingHarness().send_command(command(1, 9000.0, failsafe=failsafe), "dso")["status"] == "accepted"


def test_dimming_controller_restart_restores_limit() -> None:
    before = DimmingHarness()
    before.send_command(command(1, 9000.0), "dso", at=10)
    saved = before.take_memory()
    memory = msgspec.json.decode(msgspec.json.encode(saved), type=DimmingMemory)
    after = DimmingController(SETTINGS, PlainSignatures(), 5.0)
    after.restore(memory, 5.0, NOON + 100, clock_trusted=True)
    [dimmed] = [
        each for each in after.handle(DimmingTick(), 5.0, NOON + 100) if isinstance(each, DimmingChanged)
    ]
    assert dimmed.effective.total is not None
    assert (dimmed.effective.total.watts, dimmed.effective.total.until) == (9000, 5 + 3500)
    replayed = after.handle(CommandReceived(1, "cpo", signed(command(1, 9000.0), "dso")), 6, NOON + 101)
    assert [each.accepted for each in replayed if isinstance(each, CommandAnswer)] == [False]


@pytest.mark.parametrize(("trusted_at", "holds"), [(NOON + 200, True), (NOON + 5000, False)])
def test_dimming_controller_restart_without_clock_keeps_limits(trusted_at: float, holds: bool) -> None:
    before = DimmingHarness()
    before.send_command(command(1, 9000.0), "dso", at=10)
    saved = before.take_memory()
    after = DimmingController(SETTINGS, PlainSignatures(), 0.0)
    after.restore(saved, 0.0, 0.0, clock_trusted=False)  # 1970
    after.handle(DimmingTick(), 0.0, 0.0)
    assert after.effective.dimmed
    after.handle(ClockTrusted(True), 30.0, trusted_at)
    assert after.effective.dimmed is holds


@pytest.mark.parametrize("wrong_by_s", [-200 * 86_400.0, 200 * 86_400.0])
@pytest.mark.parametrize("corrected", [False, True])
def test_limit_outlives_second_restart_after_wrong_clock(wrong_by_s: float, corrected: bool) -> None:
    before = DimmingHarness()
    before.send_command(command(1, 9000.0), "dso", at=10)
    memory = before.take_memory()
    wrong = DimmingController(SETTINGS, PlainSignatures(), 0.0)
    wrong.restore(memory, 0.0, NOON + wrong_by_s, clock_trusted=False)
    wrong.handle(DimmingTick(), 0.0, NOON + wrong_by_s)
    stored = wrong.handle(SourceReached("dso", False), 20.0, NOON + 20.0 + wrong_by_s)
    if corrected:
        stored = wrong.handle(ClockTrusted(True), 60.0, NOON + 90.0)
    [persist] = [each for each in stored if isinstance(each, Persist)]
    [memory] = persist.records
    assert isinstance(memory, DimmingMemory)
    right = DimmingController(SETTINGS, PlainSignatures(), 5.0)
    right.restore(memory, 5.0, NOON + 100.0, clock_trusted=True)
    right.handle(DimmingTick(), 5.0, NOON + 100.0)
    assert right.effective.total is not None
    assert (right.effective.total.watts, right.effective.total.until) == (9000, 5 + 3500)


@pytest.mark.parametrize("reached", [True, False])
def test_source_reached_before_clock_is_known_has_no_failsafe(reached: bool) -> None:
    before = DimmingHarness()
    before.send_command(command(1, None), "dso", at=10)
    after = DimmingController(SETTINGS, PlainSignatures(), 0.0)
    after.restore(before.take_memory(), 0.0, 0.0, clock_trusted=False)
    after.handle(SourceReached("dso", reached), 5.0, 5.0)
    after.handle(ClockTrusted(True), 30.0, NOON + 200.0)
    after.handle(DimmingTick(), 2000.0, NOON + 2170.0)
    assert after.effective.dimmed is not reached


@pytest.mark.parametrize(
    ("settings", "waits"),
    [(SETTINGS, True), (replace(SETTINGS, sources=SETTINGS.sources[:2]), False)],
    ids=["backend may limit", "signed only"],
)
def test_limit_that_ended_while_stopped_has_release_in_evidence(
    settings: DimmingSettings, waits: bool
) -> None:
    before = DimmingHarness()
    before.send_command(command(1, 9000.0), "dso", at=10)
    after = DimmingHarness(memory=before.take_memory())
    controller = DimmingController(settings, PlainSignatures(), 5.0)
    controller.restore(before.take_memory(), 5.0, NOON + 5000.0, clock_trusted=True)
    actions = controller.handle(DimmingTick(), 5.0, NOON + 5000.0)
    if waits:
        assert actions == []
        actions = controller.handle(ClockTrusted(True), 15.0, NOON + 5010.0)
    persist, release = actions
    assert isinstance(persist, Persist)
    assert release == RecordEvidence(
        EvidenceKind.RELEASE, {"since": "2026-11-21T12:00:10.000Z", "endedWhileStopped": True}
    )
    assert controller.handle(ClockTrusted(True), 25.0, NOON + 5020.0) == []
    after.handle(DimmingTick(), 100)
    assert "release" not in after.evidence_kinds()
    after.handle(DimmingTick(), 3600)
    assert after.evidence(EvidenceKind.RELEASE) == [{"lastedS": 3600.0}]


def test_limit_that_ended_before_stop_has_no_other_release() -> None:
    before = DimmingHarness()
    before.send_command(command(1, 9000.0), "dso", at=10)
    before.handle(DimmingTick(), 3600)
    after = DimmingHarness(memory=before.take_memory())
    after.handle(DimmingTick(), 20)
    assert after.evidence_kinds() == []


def test_ocpp_limit_is_not_stored_here() -> None:
    scenario = DimmingHarness()
    scenario.handle(SourceLimited(source="csms", watts=8000.0))
    scenario.send_command(command(1, 9000.0), "dso")
    saved = scenario.take_memory()
    assert sorted(saved.limits) == ["cpo", "dso"]


def test_flood_of_forged_commands_is_recorded_at_bounded_rate() -> None:
    scenario = DimmingHarness()
    kinds: Counter[str] = Counter()
    for number in range(REFUSALS_A_MINUTE + 40):
        assert scenario.send_command(command(number + 1), "mallory", at=1)["status"] == "refused"
        kinds.update(scenario.evidence_kinds())
    assert kinds == {"command": REFUSALS_A_MINUTE, "verdict": REFUSALS_A_MINUTE}
    scenario.send_command(command(1), "dso")
    assert scenario.evidence(EvidenceKind.VERDICT)[0]["refusalsWithoutRecord"] == 40
    scenario.send_command(command(1), "dso", at=62)
    assert "refusalsWithoutRecord" not in scenario.evidence(EvidenceKind.VERDICT)[0]


def test_dimming_controller_effect_is_reported_for_newest_commands() -> None:
    scenario = DimmingHarness()
    for number in range(1, MOST_OPEN + 5):
        scenario.send_command(command(number, 9000.0), "dso")
    scenario.measure(100)
    notices = [msgspec.json.decode(each.payload)["commandId"] for each in scenario.effects(NotifyBackends)]
    assert notices == [f"command-{number}" for number in range(5, MOST_OPEN + 5)]


def test_decisions_are_recorded_per_limit_and_at_intervals() -> None:
    scenario = DimmingHarness()
    decisions = {ONE: (16.0, "its share"), TWO: (0.0, "waits")}
    taken = Measured({ONE: 100.0, TWO: 0.0}, None, decisions)
    scenario.handle(taken, 0)
    assert scenario.evidence_kinds() == []  # nothing is dimmed
    assert not scenario.controller.needs_decisions(0)
    scenario.send_command(command(1, 9000.0), "dso", at=1)
    assert scenario.controller.needs_decisions(2)
    scenario.handle(taken, 2)
    assert not scenario.controller.needs_decisions(2)
    first, second = {"a": 16.0, "why": "its share"}, {"a": 0.0, "why": "waits"}
    assert scenario.evidence(EvidenceKind.DECISION) == [{"devices": {"CS01/1": first, "CS02/1": second}}]
    scenario.handle(taken, 3)
    assert scenario.evidence_kinds() == []
    scenario.handle(taken, 2 + DECISIONS_APART_S)
    assert scenario.evidence_kinds() == ["decision"]
    scenario.send_command(command(2, 8000.0), "dso")
    scenario.handle(taken, 64)
    assert scenario.evidence_kinds() == ["readings", "decision"]


def test_value_that_is_not_finite_counts_as_unknown() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 9000.0), "dso")
    scenario.measure(float("nan"), 0, grid=float("inf"), at=1)
    assert scenario.effects(NotifyBackends) == []
    scenario.measure(100, at=2)
    assert scenario.effects(NotifyBackends)


def test_contacts_dim_until_read_and_when_lost() -> None:
    wired = DigitalInputsSettings(contacts=(DigitalInput(name="S1", watts=9000, on_when="closed"),))
    box = SourceSettings(id="box", kind="contact", contacts=wired)
    scenario = DimmingHarness(msgspec.structs.replace(SETTINGS, sources=(box,)))
    assert scenario.total_w == 9000
    scenario.handle(InputsRead("box", (False,)), 1)
    assert not scenario.controller.effective.dimmed
    scenario.handle(InputsRead("box", (True,)), 2)
    scenario.handle(InputsRead("box", (True,)), 3)
    assert scenario.total_w == 9000
    assert scenario.evidence(EvidenceKind.LIMIT)[0]["total"]["proof"] == "S1 on"
    scenario.handle(InputsRead("box", (False,)), 4)
    scenario.handle(InputsRead("box", (False,)), 5)
    assert not scenario.controller.effective.dimmed
    assert scenario.controller.deadline == 10
    scenario.handle(DimmingTick(), 10)
    assert scenario.total_w == 9000


def test_lost_contact_is_recorded_while_lower_limit_holds() -> None:
    wired = DigitalInputsSettings(contacts=(DigitalInput(name="S1", watts=9000, on_when="closed"),))
    box = SourceSettings(id="box", kind="contact", contacts=wired)
    scenario = DimmingHarness(msgspec.structs.replace(SETTINGS, sources=(*SETTINGS.sources, box)))
    assert lost_of(scenario) == [("box", "its contacts were not read yet")]
    scenario.handle(InputsRead("box", (True,)), 1)
    assert lost_of(scenario) == []
    scenario.send_command(command(1, 8000.0), "dso")
    scenario.measure(7000, at=1.5)
    effective = scenario.controller.effective
    assert effective.sources == ("box", "dso")

    scenario.handle(DimmingTick(), 6)
    assert lost_of(scenario) == [("box", "its contacts cannot be read")]
    assert scenario.controller.effective == effective
    assert scenario.evidence_kinds() == ["limit"]
    [record] = scenario.evidence(EvidenceKind.LIMIT)
    assert (record["total"]["source"], record["sources"]) == ("dso", ["box", "dso"])
    assert record["lost"] == [{"source": "box", "why": "its contacts cannot be read"}]
    [line] = scenario.effects(LogEntry)
    assert line.text.endswith(", lost_source=box reason=its contacts cannot be read")
    assert scenario.handle(DimmingTick(), 7) == []

    scenario.handle(InputsRead("box", (True,)), 8)
    assert scenario.evidence(EvidenceKind.LIMIT)[0]["lost"][0]["why"] == "the state of S1 is unknown"
    scenario.handle(InputsRead("box", (True,)), 9)
    assert scenario.evidence(EvidenceKind.LIMIT)[0]["lost"] == lost_of(scenario) == []
    assert scenario.controller.effective == effective


def test_lost_link_of_one_source_is_recorded_for_that_source_alone() -> None:
    scenario = DimmingHarness()
    scenario.send_command(command(1, 20_000.0), "dso", at=1)
    scenario.handle(SourceReached("dso", False), 2)
    scenario.send_command(command(1, 5000.0, role="operator"), "cpo")
    scenario.handle(DimmingTick(), 602)
    assert scenario.controller.effective.sources == ("cpo", "dso")
    assert lost_of(scenario) == [("dso", "failsafe: the link to it is lost")]
    assert scenario.evidence(EvidenceKind.LIMIT)[0]["total"]["source"] == "cpo"
    scenario.handle(SourceReached("dso", True), 603)
    assert scenario.evidence(EvidenceKind.LIMIT)[0]["lost"] == lost_of(scenario) == []


def lost_of(scenario: DimmingHarness) -> list[tuple[str, str]]:
    return [(each.source, each.why) for each in scenario.controller.lost]


def test_dimming_controller_refusals_in_log_are_rationed_and_counted() -> None:
    scenario = DimmingHarness()
    lines = []
    for number in range(100):
        scenario.send_command(command(number + 1), "mallory", at=float(number))
        lines += scenario.effects(LogEntry)
    assert len(lines) <= 2 * LOGGED_A_MINUTE + 5
    assert any("unlogged_refusals=" in line.text for line in lines)
    assert scenario.send_command(command(200), "dso")["status"] == "partly"


def test_signed_command_is_refused_while_store_cannot_be_written() -> None:
    scenario = DimmingHarness()
    notices = scenario.send_command(command(1), "dso", is_durable=False)
    assert (notices["status"], notices["reason"]) == ("refused", "memory-unavailable")
    assert scenario.total_w is None
    assert scenario.send_command(command(1), "dso")["status"] != "refused"


def test_contact_that_chatters_is_logged_once() -> None:
    contact = DigitalInput(name="S1", watts=4200, on_when="closed")
    source = SourceSettings(id="box", kind="contact", contacts=DigitalInputsSettings(contacts=(contact,)))
    scenario = DimmingHarness(msgspec.structs.replace(SETTINGS, sources=(source,)))
    entries, records = [], 0
    for second in range(60):
        scenario.handle(InputsRead("box", (second % 4 < 2,)), float(second))
        entries += [entry for entry in scenario.effects(LogEntry) if "chatters" in entry.text]
        records += len(scenario.evidence(EvidenceKind.LIMIT))
    assert len(entries) == 1
    assert "source=box contact=S1" in entries[0].text
    assert records <= 4
