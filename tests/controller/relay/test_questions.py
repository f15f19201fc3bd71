"""A question of ours to the station: its limits wait for the answer, and not for long."""

from __future__ import annotations

from controller.chargers.capability_discovery import ANSWER_WAIT_S
from controller.model.effects import OwnCall, TimePassed
from controller.relay.station_relay import DRAIN_S
from tests.controller.relay.playbook import Playbook, call, result

QUESTION_ID = "00000000-0000-4000-8000-000000000001"
QUESTION = call(QUESTION_ID, "GetConfiguration", "{}")


def ask(talk: Playbook) -> None:
    talk._happens(OwnCall(-1, QUESTION_ID, "GetConfiguration", b"{}"))
    talk.station_hears(QUESTION)


def own_ended(talk: Playbook, result_: bytes | None, detail: str = "") -> None:
    """The question's end, and not that of a limit."""
    ended = talk._unheard.popleft()
    assert (ended.token, ended.result, ended.detail) == (-1, result_, detail)  # type: ignore[union-attr]


def test_questions_station_that_does_not_answer_gets_limits_all_same() -> None:
    talk = Playbook()
    talk.commandable()
    ask(talk)
    talk.wait(ANSWER_WAIT_S - 0.001)
    talk.done()
    talk.wait(0.001)
    own_ended(talk, None, "no answer in time")
    talk.station_hears(talk.own())


def test_questions_late_answer_disturbs_no_one() -> None:
    talk = Playbook()
    talk.commandable()
    ask(talk)
    talk.wait(ANSWER_WAIT_S)
    own_ended(talk, None, "no answer in time")
    talk.station(result(QUESTION_ID))
    talk.done()
    talk.noted(f"answer dropped station=CS01 id={QUESTION_ID}")


def test_questions_farewell_waits_for_limits_that_follow_answer() -> None:
    talk = Playbook()
    talk.commandable()
    ask(talk)
    talk.backend_lost()
    talk.done()
    talk.station(result(QUESTION_ID))
    own_ended(talk, b"{}")
    own = talk.own()
    talk.station_hears(own)
    talk.station(result(own[4:40]))
    talk.own_answered(b"{}")
    talk.closes("backend cpo is away")


def test_questions_farewell_leaves_time_for_limits_after_silence() -> None:
    assert ANSWER_WAIT_S < DRAIN_S - 1
    talk = Playbook()
    talk.commandable()
    ask(talk)
    talk.backend_lost()
    talk.now += ANSWER_WAIT_S
    talk._happens(TimePassed())  # one: the site reacts before the next
    own_ended(talk, None, "no answer in time")
    talk.station_hears(talk.own())
