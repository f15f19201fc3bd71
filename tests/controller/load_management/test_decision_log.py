"""Decisions of an EVSE that are logged, and how often."""

from __future__ import annotations

from controller.load_management.decision_log import QUIET_S, DecisionLog, LoggedDecision
from controller.model.observations import EvseRef
from tests.scenario.site_harness import Car, SiteHarness, make_grid, make_station

REF = EvseRef("A", 1)


def test_first_state_and_each_change_are_reported_once() -> None:
    news = DecisionLog()
    assert news.is_due(LoggedDecision(REF, 6.0, "grid L1 full"), 0.0)
    assert not news.is_due(LoggedDecision(REF, 6.0, "grid L1 full"), 100.0)
    assert news.is_due(LoggedDecision(REF, 6.0, "no car"), 200.0)


def test_decision_log_rise_waits_and_fall_does_not() -> None:
    news = DecisionLog()
    news.is_due(LoggedDecision(REF, 6.0, "grid L1 full"), 0.0)
    assert not news.is_due(LoggedDecision(REF, 7.0, "grid L1 full"), QUIET_S - 1)
    assert news.is_due(LoggedDecision(REF, 7.0, "grid L1 full"), QUIET_S)
    assert news.is_due(LoggedDecision(REF, 6.5, "grid L1 full"), QUIET_S + 1)


def test_decision_log_line_names_evse_current_and_why() -> None:
    assert str(LoggedDecision(REF, 19.5, "row-a L2 full")) == (
        "limit decided station=A evse=1 limit=19.5A reason=row-a L2 full"
    )


def test_decision_log_entry_is_returned_once() -> None:
    site = SiteHarness((make_grid(40.0),), [make_station("A", car=Car())])
    site.connect()
    site.wait(60)
    assert LoggedDecision(REF, 32.0, "all it can take") in site.decisions
    assert site.control.take_decisions() == []
    quiet = len(site.decisions)
    site.wait(600)
    assert len(site.decisions) == quiet
