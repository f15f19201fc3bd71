"""Requests for meter values of EVSEs that do not report."""

from __future__ import annotations

from controller.load_management.evse.report_requests import ASK_EVERY_S, REFUSALS, WARN_S, ReportRequests
from controller.model.observations import EvseRef

A, B = EvseRef("A", 1), EvseRef("B", 1)


def test_requests_ask_silent_evse_at_most_once_minute() -> None:
    requests = ReportRequests()
    requests.set_unreported([A], 0)
    assert requests.take_due(0) == [A]
    assert requests.take_due(ASK_EVERY_S - 1) == []
    assert requests.take_due(ASK_EVERY_S) == [A]


def test_requests_ask_others_like_silent_evses() -> None:
    requests = ReportRequests()
    requests.set_unreported([A], 0)
    assert requests.take_due(0, [A, B]) == [A, B]
    assert requests.take_due(ASK_EVERY_S - 1, [B]) == []
    assert requests.take_due(ASK_EVERY_S, [B]) == [A, B]


def test_requests_end_after_two_refusals_until_next_connection() -> None:
    requests = ReportRequests()
    requests.set_unreported([A, B], 0)
    for _ in range(REFUSALS):
        requests.on_answer("A", accepted=False)
    assert requests.take_due(0) == [B]
    requests.on_connected("A")
    assert requests.take_due(1) == [A]


def test_requests_accepted_in_between_count_refusals_anew() -> None:
    requests = ReportRequests()
    requests.set_unreported([A], 0)
    for accepted in (False, True, False):
        requests.on_answer("A", accepted=accepted)
    assert requests.take_due(0) == [A]


def test_requests_warn_once_of_long_silence_and_report_end() -> None:
    requests = ReportRequests()
    assert requests.set_unreported([A], 0) == ([], [])
    assert requests.set_unreported([A], WARN_S) == ([A], [])
    assert requests.set_unreported([A], WARN_S + 60) == ([], [])
    assert requests.set_unreported([], WARN_S + 70) == ([], [A])
    assert requests.set_unreported([], WARN_S + 80) == ([], [])
