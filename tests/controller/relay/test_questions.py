"""Capability questions to a station: its limits wait for the answer, within a bound."""

from __future__ import annotations

from controller.chargers.capability_discovery import ANSWER_WAIT_S
from controller.model.effects import OwnCall, TimePassed
from controller.relay.events import OwnAnswered
from controller.relay.station_relay import DRAIN_S
from tests.scenario.frames import call, result
from tests.scenario.relay_harness import RelayHarness

QUESTION_ID = "00000000-0000-4000-8000-000000000001"
QUESTION = call(QUESTION_ID, "GetConfiguration", "{}")


def ask(scenario: RelayHarness) -> None:
    scenario.handle(OwnCall(-1, QUESTION_ID, "GetConfiguration", b"{}"))
    scenario.station.receive(QUESTION)


def own_ended(scenario: RelayHarness, result_: bytes | None, detail: str = "") -> None:
    """Expect the end of the question, not that of a limit."""
    ended = scenario.take(OwnAnswered)
    assert (ended.token, ended.result, ended.detail) == (-1, result_, detail)


def test_questions_unanswered_question_delays_no_limit() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    ask(scenario)
    scenario.wait(ANSWER_WAIT_S - 0.001)
    scenario.expect_nothing()
    scenario.wait(0.001)
    own_ended(scenario, None, "no answer in time")
    scenario.station.receive(scenario.send_own_call())


def test_questions_late_answer_is_dropped() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    ask(scenario)
    scenario.wait(ANSWER_WAIT_S)
    own_ended(scenario, None, "no answer in time")
    scenario.station.send(result(QUESTION_ID))
    scenario.expect_nothing()
    scenario.expect_log(f"answer dropped station=CS01 id={QUESTION_ID}")


def test_questions_drain_waits_for_limits_after_answer() -> None:
    scenario = RelayHarness()
    scenario.make_commandable()
    ask(scenario)
    scenario.csms.disconnect()
    scenario.expect_nothing()
    scenario.station.send(result(QUESTION_ID))
    own_ended(scenario, b"{}")
    own = scenario.send_own_call()
    scenario.station.receive(own)
    scenario.station.send(result(own[4:40]))
    scenario.expect_own_result(b"{}")
    scenario.expect_close("backend cpo is away")


def test_questions_drain_leaves_time_for_limits_after_timeout() -> None:
    assert ANSWER_WAIT_S < DRAIN_S - 1
    scenario = RelayHarness()
    scenario.make_commandable()
    ask(scenario)
    scenario.csms.disconnect()
    scenario.now += ANSWER_WAIT_S
    scenario.handle(TimePassed())  # one: the site reacts before the next
    own_ended(scenario, None, "no answer in time")
    scenario.station.receive(scenario.send_own_call())
