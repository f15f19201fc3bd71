"""Decisions of an EVSE that are logged, and how often."""

from __future__ import annotations

from controller.load_management.events import LoggedDecision
from controller.load_management.evse.evse_offer import QUIET_S, DecisionLog
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode
from tests.scenario.site_harness import CarModel, SiteHarness, make_grid, make_station

REF = EvseRef("A", 1)
FULL = Statement(code=StatementCode.PHASE_FULL, circuit="grid", phase=1)
NO_CAR = Statement(code=StatementCode.NO_CAR)


def test_first_state_and_each_change_are_reported_once() -> None:
    decisions = DecisionLog()
    assert decisions.is_due(LoggedDecision(REF, 6.0, FULL), 0.0)
    assert not decisions.is_due(LoggedDecision(REF, 6.0, FULL), 100.0)
    assert decisions.is_due(LoggedDecision(REF, 6.0, NO_CAR), 200.0)


def test_decision_log_rise_waits_and_fall_does_not() -> None:
    decisions = DecisionLog()
    decisions.is_due(LoggedDecision(REF, 6.0, FULL), 0.0)
    assert not decisions.is_due(LoggedDecision(REF, 7.0, FULL), QUIET_S - 1)
    assert decisions.is_due(LoggedDecision(REF, 7.0, FULL), QUIET_S)
    assert decisions.is_due(LoggedDecision(REF, 6.5, FULL), QUIET_S + 1)


def test_decision_log_line_names_evse_current_and_why() -> None:
    assert str(
        LoggedDecision(REF, 19.5, Statement(code=StatementCode.PHASE_FULL, circuit="row-a", phase=2))
    ) == ("limit decided station=A evse=1 limit=19.5A reason=row-a L2 full")


def test_decision_log_entry_is_returned_once() -> None:
    site = SiteHarness((make_grid(80.0),), [make_station("A", car=CarModel())])
    site.connect()
    site.wait(60)
    assert LoggedDecision(REF, 32.0, Statement(code=StatementCode.ALL_IT_CAN_TAKE)) in site.decisions
    assert site.control.take_log() == []
    quiet = len(site.decisions)
    site.wait(600)
    assert len(site.decisions) == quiet
