"""What the controller says in its own name, and what it is asked, over its own identity."""

from __future__ import annotations

from typing import Any

import pytest

from controller.model.effects import BackendLost, BackendUp, FromBackend, TimePassed
from controller.ocpp.frames import Version
from controller.site_identity.identity import (
    MOST_MESSAGES,
    SiteBackendReached,
    SiteMessage,
    SiteReply,
    SiteRequest,
)
from tests.controller.site_identity.test_identity import VERSIONS, Talk

ANSWER = '{"status":"Accepted","data":"{}"}'


def word(number: int = 1) -> SiteMessage:
    return SiteMessage("DataTransfer", b'{"vendorId":"org.example","data":"%d"}' % number)


def said(frames: list[list[Any]]) -> list[str]:
    return [frame[3].get("data", frame[2]) for frame in frames]


def answers(talk: Talk, frame: list[Any], now: float = 0.0) -> list[list[Any]]:
    return talk.on(FromBackend(f'[3,"{frame[1]}",{ANSWER}]'), now)


@VERSIONS
def test_identity_messages_wait_for_link_and_previous_answer(version: Version) -> None:
    talk = Talk(version)
    assert talk.on(word(1)) == []
    frames = talk.booted("Accepted", 300)
    if version is Version.V16:
        frames = answers(talk, frames[0])
    assert said(frames) == ["1"]
    assert talk.on(word(2)) == []
    assert said(answers(talk, frames[0])) == ["2"]


@pytest.mark.parametrize("lost", [True, False])
def test_identity_messages_unanswered_one_is_sent_again(lost: bool) -> None:
    talk = Talk(Version.V201)
    talk.booted("Accepted", 300)
    [first] = talk.on(word(1))
    talk.on(word(2))
    if lost:
        talk.on(BackendLost("gone"))
        frames = talk.booted("Accepted", 300)
    else:
        [heartbeat] = talk.on(TimePassed(), 300)
        assert said(answers(talk, first, 300)) == [], "too late: it counts as not answered"
        frames = answers(talk, heartbeat, 301)
    assert said(frames) == ["1"]
    assert frames[0][1] != first[1]
    assert said(answers(talk, frames[0], 302)) == ["2"]


def test_identity_messages_error_counts_as_answer() -> None:
    talk = Talk(Version.V201)
    talk.booted("Accepted", 300)
    [first] = talk.on(word(1))
    talk.on(word(2))
    frames = talk.on(FromBackend(f'[4,"{first[1]}","NotImplemented","",{{}}]'))
    assert said(frames) == ["2"]


def test_identity_messages_oldest_are_dropped_beyond_bound() -> None:
    talk = Talk(Version.V201)
    for number in range(MOST_MESSAGES + 2):
        talk.on(word(number))
    frames = talk.booted("Accepted", 300)
    heard = []
    while frames:
        heard += said(frames)
        frames = answers(talk, frames[0])
    assert heard == [str(number) for number in range(2, MOST_MESSAGES + 2)]


@VERSIONS
def test_data_transfer_is_answered_by_sender_understands_it(version: Version) -> None:
    talk = Talk(version)
    talk.booted("Accepted", 300)
    talk.others.clear()
    assert talk.on(FromBackend('[2,"b","DataTransfer",{"vendorId":"org.example"}]')) == []
    assert talk.others == [SiteRequest("b", b'{"vendorId":"org.example"}')]
    [reply] = talk.on(SiteReply("b", ANSWER.encode()))
    assert reply[:2] == [3, "b"]
    assert reply[2]["status"] == "Accepted"


def test_identity_reports_backend_reached_and_lost() -> None:
    talk = Talk(Version.V201)
    talk.booted("Pending", 10)
    talk.on(BackendLost("gone"))
    talk.booted("Accepted", 10)
    talk.on(BackendLost("gone"))
    talk.on(BackendUp())
    talk.on(BackendLost("gone"))
    assert [each for each in talk.others if isinstance(each, SiteBackendReached)] == [
        SiteBackendReached(True),
        SiteBackendReached(False),
    ]
