"""Counters of connections: what a backend has left without an answer of late."""

from __future__ import annotations

import logging

from controller.model.effects import LogEntry
from controller.relay.events import UnansweredCall
from controller.stations.connection_stats import MOST_UNANSWERED, UNANSWERED_S, ConnectionStats


def late(backend: str, action: str = "Heartbeat") -> UnansweredCall:
    return UnansweredCall(logging.WARNING, "call not answered", backend, action)


def test_unanswered_calls_count_for_their_time_alone() -> None:
    stats = ConnectionStats()
    for now in (0.0, 100.0, 200.0):
        stats.count_entry(late("cpo"), now)
    stats.count_entry(late("cpo", "Authorize"), 300.0)
    stats.count_entry(LogEntry(logging.WARNING, "another line"), 300.0)
    stats.count_entry(late("fleet"), 300.0)
    calls = stats.unanswered["cpo"]
    assert calls.action == "Authorize"
    assert [calls.count(now) for now in (300.0, UNANSWERED_S, UNANSWERED_S + 250.0)] == [4, 3, 1]
    assert calls.count(UNANSWERED_S + 300.0) == 0
    assert stats.unanswered["fleet"].count(300.0) == 1


def test_unanswered_calls_are_bounded() -> None:
    stats = ConnectionStats()
    for _ in range(3 * MOST_UNANSWERED):
        stats.count_entry(late("cpo"), 1.0)
    assert stats.unanswered["cpo"].count(1.0) == MOST_UNANSWERED
