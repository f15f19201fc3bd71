"""Messages of the controller over its own identity, and the backend's requests to it."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model.effects import BackendLost, BackendUp, TimePassed
from controller.ocpp.frames import Version
from controller.site_identity.identity import (
    MOST_MESSAGES,
    SiteBackendReached,
    SiteMessage,
    SiteReply,
    SiteRequest,
)
from tests.controller.site_identity.test_identity import VERSIONS, IdentityHarness, received

ANSWER = '{"status":"Accepted","data":"{}"}'


def word(number: int = 1) -> SiteMessage:
    return SiteMessage("DataTransfer", b'{"vendorId":"org.example","data":"%d"}' % number)


def actions_of(frames: list[list[Any]]) -> list[str]:
    return [frame[3].get("data", frame[2]) for frame in frames]


def answers(scenario: IdentityHarness, frame: list[Any], now: float = 0.0) -> list[list[Any]]:
    return scenario.handle(received(f'[3,"{frame[1]}",{ANSWER}]'), now)


@VERSIONS
def test_identity_messages_wait_for_link_and_previous_answer(version: Version) -> None:
    scenario = IdentityHarness(version)
    assert scenario.handle(word(1)) == []
    frames = scenario.boot("Accepted", 300)
    if version is Version.V16:
        frames = answers(scenario, frames[0])
    assert actions_of(frames) == ["1"]
    assert scenario.handle(word(2)) == []
    assert actions_of(answers(scenario, frames[0])) == ["2"]


@pytest.mark.parametrize("lost", [True, False])
def test_identity_messages_unanswered_one_is_sent_again(lost: bool) -> None:
    scenario = IdentityHarness(Version.V201)
    scenario.boot("Accepted", 300)
    [first] = scenario.handle(word(1))
    scenario.handle(word(2))
    if lost:
        scenario.handle(BackendLost("gone"))
        frames = scenario.boot("Accepted", 300)
    else:
        [heartbeat] = scenario.handle(TimePassed(), 300)
        assert actions_of(answers(scenario, first, 300)) == [], "too late: it counts as not answered"
        frames = answers(scenario, heartbeat, 301)
    assert actions_of(frames) == ["1"]
    assert frames[0][1] != first[1]
    assert actions_of(answers(scenario, frames[0], 302)) == ["2"]


def test_identity_messages_error_counts_as_answer() -> None:
    scenario = IdentityHarness(Version.V201)
    scenario.boot("Accepted", 300)
    [first] = scenario.handle(word(1))
    scenario.handle(word(2))
    frames = scenario.handle(received(f'[4,"{first[1]}","NotImplemented","",{{}}]'))
    assert actions_of(frames) == ["2"]


def test_identity_messages_oldest_are_dropped_beyond_bound() -> None:
    scenario = IdentityHarness(Version.V201)
    for number in range(MOST_MESSAGES + 2):
        scenario.handle(word(number))
    frames = scenario.boot("Accepted", 300)
    received = []
    while frames:
        received += actions_of(frames)
        frames = answers(scenario, frames[0])
    assert received == [str(number) for number in range(2, MOST_MESSAGES + 2)]


@VERSIONS
def test_data_transfer_is_answered_by_sender_understands_it(version: Version) -> None:
    scenario = IdentityHarness(version)
    scenario.boot("Accepted", 300)
    scenario.others.clear()
    assert scenario.handle(received('[2,"b","DataTransfer",{"vendorId":"org.example"}]')) == []
    assert scenario.others == [SiteRequest("b", b'{"vendorId":"org.example"}')]
    [reply] = scenario.handle(SiteReply("b", ANSWER.encode()))
    assert reply[:2] == [3, "b"]
    assert reply[2]["status"] == "Accepted"


def test_identity_reports_backend_reached_and_lost() -> None:
    scenario = IdentityHarness(Version.V201)
    scenario.boot("Pending", 10)
    scenario.handle(BackendLost("gone"))
    scenario.boot("Accepted", 10)
    scenario.handle(BackendLost("gone"))
    scenario.handle(BackendUp())
    scenario.handle(BackendLost("gone"))
    assert [each for each in scenario.others if isinstance(each, SiteBackendReached)] == [
        SiteBackendReached(True),
        SiteBackendReached(False),
    ]
