from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from controller.model.expiry import Expiry
from controller.model.observations import EvseState
from controller.model.statements import Statement, StatementCode
from controller.web import alarm_model
from controller.web.alarm_model import DAY_S, AlarmBook, AlarmCondition, AlarmKind, Severity, find_conditions
from controller.web.status_model import (
    ClockOffsetStatus,
    ClockReport,
    ControllerStatus,
    SigningWaitStatus,
    SourceFaultStatus,
    StoreHealth,
)
from drivers.errors import Cause
from drivers.reading import Quality
from tests.controller.web.examples import STATUS, UNCONFIGURED

NOON = 1_795_262_400.0
FINE = replace(
    STATUS,
    circuits=(replace(STATUS.circuits[0], meter_quality=Quality.GOOD),),
    evses=(STATUS.evses[0],),
    backends=(replace(STATUS.backends[0], waiting=0, oldest_s=0.0, set_aside=0),),
    dimming=None,
    alarms=(),
)


def conditions(status: ControllerStatus) -> dict[tuple[str, str], AlarmCondition]:
    return {each.key: each for each in find_conditions(status, NOON)}


def test_site_without_fault_has_no_condition() -> None:
    assert conditions(FINE) == {}


ASSUMED = Statement(code=StatementCode.DIMMED_ASSUMED, name="dso", power_w=7560.0)


def with_faults(statement: Statement, *sources: str, **faults: str) -> ControllerStatus:
    """Return a site that `sources` limit as well as those with faults, with the reasons of these."""
    assert STATUS.dimming is not None
    lost = tuple(SourceFaultStatus(source=source, why=why) for source, why in sorted(faults.items()))
    limiting = tuple(sorted({*sources, *faults}))
    dimming = replace(STATUS.dimming, statement=statement, sources=limiting, source_faults=lost)
    return replace(FINE, dimming=dimming)


CASES: list[tuple[ControllerStatus, str, str, Severity]] = [
    (replace(FINE, healthy=False), "control-stalled", "lc-depot", Severity.CRITICAL),
    (replace(FINE, configuration_problem="x"), "configuration-invalid", "lc-depot", Severity.CRITICAL),
    (
        replace(FINE, store=StoreHealth(writable=False, error="disk full")),
        "store-not-writable",
        "lc-depot",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, store=StoreHealth(free_mb=96, size_mb=7600, low=True)),
        "disk-low",
        "lc-depot",
        Severity.WARNING,
    ),
    (replace(FINE, damaged=("state.corrupt-1",)), "store-damaged", "state.corrupt-1", Severity.WARNING),
    (
        replace(FINE, clock=ClockReport(state="unverified", reason="no server")),
        "clock-unverified",
        "lc-depot",
        Severity.WARNING,
    ),
    (
        replace(FINE, circuits=(replace(FINE.circuits[0], meter_quality=Quality.DEAD),)),
        "meter-lost",
        "grid",
        Severity.WARNING,
    ),
    (
        replace(
            FINE,
            circuits=(replace(FINE.circuits[0], meter_problem="no L2", meter_cause=Cause.MISSING_VALUE),),
        ),
        "meter-incomplete",
        "grid",
        Severity.WARNING,
    ),
    (
        replace(FINE, circuits=(replace(FINE.circuits[0], over_limit_s=12.0),)),
        "circuit-over-limit",
        "grid",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, circuits=(replace(FINE.circuits[0], excess_a=12.0, unlimited=("CS01/1",)),)),
        "circuit-not-protected",
        "grid",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, clock_offsets=(ClockOffsetStatus(kind="station", id="CS01", offset_s=7200.0),)),
        "clock-differs",
        "station CS01",
        Severity.WARNING,
    ),
    (
        replace(FINE, evses=(replace(FINE.evses[0], connected=False),)),
        "station-away",
        "CS01",
        Severity.WARNING,
    ),
    (
        replace(FINE, evses=(replace(FINE.evses[0], state=EvseState.FAULTED),)),
        "evse-faulted",
        "CS01/1",
        Severity.WARNING,
    ),
    (
        replace(FINE, evses=(replace(FINE.evses[0], obeys=False),)),
        "limit-not-followed",
        "CS01/1",
        Severity.WARNING,
    ),
    (
        replace(FINE, unconfigured=(UNCONFIGURED,)),
        "evse-not-configured",
        "CS01/3",
        Severity.WARNING,
    ),
    (
        replace(FINE, backends=(replace(FINE.backends[0], links={"main": 0}),)),
        "backend-away",
        "cpo",
        Severity.WARNING,
    ),
    (
        replace(FINE, backends=(replace(FINE.backends[0], unanswered=3, unanswered_action="Heartbeat"),)),
        "backend-silent",
        "cpo",
        Severity.WARNING,
    ),
    (
        replace(FINE, backends=(replace(FINE.backends[0], oldest_s=2 * DAY_S),)),
        "outbox-old",
        "cpo",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, backends=(replace(FINE.backends[0], set_aside=1),)),
        "messages-set-aside",
        "cpo",
        Severity.WARNING,
    ),
    (
        replace(FINE, signing_wait=SigningWaitStatus(until="2027-03-01T00:00:00Z", can_shorten=True)),
        "signing-waits",
        "lc-depot",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, signing_wait=SigningWaitStatus(until=None, can_shorten=True)),
        "signing-waits",
        "lc-depot",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, signing_wait=SigningWaitStatus(until="2026-11-21T12:05:00Z", can_shorten=False)),
        "signing-waits",
        "lc-depot",
        Severity.WARNING,
    ),
    (replace(FINE, dimming=STATUS.dimming), "dimming-active", "dso", Severity.INFO),
    (
        with_faults(ASSUMED, dso="its contacts cannot be read"),
        "dimming-source-lost",
        "dso",
        Severity.CRITICAL,
    ),
    (
        replace(FINE, expiries=(Expiry(name="server.pem", not_after=NOON + 20 * DAY_S),)),
        "certificate-ends",
        "server.pem",
        Severity.WARNING,
    ),
    (
        replace(FINE, expiries=(Expiry(name="server.pem", not_after=NOON - 1),)),
        "certificate-ends",
        "server.pem",
        Severity.CRITICAL,
    ),
]


@pytest.mark.parametrize(
    ("status", "kind", "subject", "severity"), CASES, ids=[f"{case[1]}-{case[3]}" for case in CASES]
)
def test_fault_is_one_condition_with_remedy(
    status: ControllerStatus, kind: str, subject: str, severity: Severity
) -> None:
    found = conditions(status)
    assert list(found) == [(kind, subject)]
    assert found[kind, subject].severity is severity
    assert found[kind, subject].remedy


def test_lost_source_is_named_alone_beside_active_limit() -> None:
    ordered = Statement(code=StatementCode.DIMMED, name="dso", power_w=8000.0)
    found = conditions(with_faults(ordered, "dso", box="its contacts cannot be read"))
    assert list(found) == [("dimming-source-lost", "box"), ("dimming-active", "dso")]
    lost, active = found.values()
    assert str(lost.statement).endswith("not ordered by the grid operator: its contacts cannot be read")
    assert str(active.statement) == "dimmed by dso to 8 kW"


def test_source_in_part_lost_is_named_as_lost_and_as_active() -> None:
    ordered = Statement(code=StatementCode.DIMMED, name="box", power_w=8000.0)
    found = conditions(with_faults(ordered, "dso", box="the state of S2 is unknown"))
    assert list(found) == [("dimming-source-lost", "box"), ("dimming-active", "box, dso")]


def test_lost_sources_are_one_condition_each_and_well_ones_none() -> None:
    lost = replace(ASSUMED, name="box")
    found = conditions(with_faults(lost, "dso", box="its contacts cannot be read", guard="failsafe"))
    assert list(found) == [("dimming-source-lost", "box"), ("dimming-source-lost", "guard")]


def test_away_station_with_several_evses_is_one_condition() -> None:
    away = tuple(replace(FINE.evses[0], evse=number, connected=False) for number in (1, 2, 3))
    assert list(conditions(replace(FINE, evses=away))) == [("station-away", "CS01")]


def test_unconfigured_evse_with_car_is_condition_with_the_table() -> None:
    [found] = conditions(replace(FINE, unconfigured=(UNCONFIGURED,))).values()
    assert str(found.statement).endswith("it is limited to its station's fallback; 6 A are kept free for it")
    assert str(found.remedy) == "add to the station, as it is wired: [[station.evse]]; id = 3; max_a = 32"
    assert not conditions(replace(FINE, unconfigured=(replace(UNCONFIGURED, has_car=False),)))


def condition(severity: Severity = Severity.WARNING, after_s: float = 0.0) -> AlarmCondition:
    return AlarmCondition(
        kind=AlarmKind.STATION_AWAY,
        subject="CS01",
        severity=severity,
        statement=Statement(code=StatementCode.STATION_AWAY, name="CS01"),
        remedy=Statement(code=StatementCode.CHECK_STATION_LINK),
        after_s=after_s,
    )


def test_alarm_begins_after_time_and_ends_once() -> None:
    book = AlarmBook()
    slow = condition(after_s=30.0)
    assert book.update(iter([slow]), 0.0, NOON) == []
    assert book.update(iter([slow]), 29.0, NOON + 29) == []
    [began] = book.update(iter([slow]), 30.0, NOON + 30)
    assert not began.has_ended
    assert began.alarm.since == "2026-11-21T12:00:00+00:00"
    assert book.update(iter([slow]), 31.0, NOON + 31) == []
    [ended] = book.update(iter([]), 32.0, NOON + 32)
    assert ended.has_ended
    assert book.present == ()


def test_short_fault_is_no_alarm_and_counts_anew() -> None:
    book, slow = AlarmBook(), condition(after_s=30.0)
    book.update(iter([slow]), 0.0, NOON)
    assert book.update(iter([]), 20.0, NOON) == []
    assert book.update(iter([slow]), 25.0, NOON) == []
    assert book.update(iter([slow]), 40.0, NOON) == []


def test_contacts_that_are_read_seconds_after_a_start_are_no_alarm() -> None:
    unread = with_faults(ASSUMED, dso="its contacts were not read yet")
    book = AlarmBook()
    assert book.update(find_conditions(unread, NOON), 0.0, NOON) == []
    assert book.update(find_conditions(FINE, NOON), 5.0, NOON + 5) == []
    assert book.update(find_conditions(unread, NOON), 6.0, NOON + 6) == []
    [began] = book.update(find_conditions(unread, NOON), 17.0, NOON + 17)
    assert began.alarm.kind == "dimming-source-lost"


def test_severity_of_present_alarm_follows_condition() -> None:
    book = AlarmBook()
    book.update(iter([condition()]), 0.0, NOON)
    assert book.update(iter([condition(Severity.CRITICAL)]), 1.0, NOON) == []
    assert [alarm.severity for alarm in book.present] == ["critical"]


def test_most_severe_alarm_is_first() -> None:
    book = AlarmBook()
    info = replace(condition(Severity.INFO), kind=AlarmKind.DIMMING_ACTIVE)
    critical = replace(condition(Severity.CRITICAL), kind=AlarmKind.CIRCUIT_OVER_LIMIT)
    book.update(iter([info, condition(), critical]), 0.0, NOON)
    assert [alarm.severity for alarm in book.present] == ["critical", "warning", "info"]


def test_alarm_of_meter_is_before_an_older_one_of_a_clock() -> None:
    book = AlarmBook()
    clock, meter = (
        replace(condition(), kind=AlarmKind.CLOCK_DIFFERS),
        replace(condition(), kind=AlarmKind.METER_LOST),
    )
    book.update(iter([clock]), 0.0, NOON)
    book.update(iter([clock, meter]), 60.0, NOON + 60)
    assert [alarm.kind for alarm in book.present] == ["meter-lost", "clock-differs"]


def test_alarm_of_each_kind_is_found_and_documented() -> None:
    module, docs = Path(alarm_model.__file__), Path(alarm_model.__file__).parents[2] / "docs/page.md"
    used = re.findall(r"AlarmKind\.([A-Z_]+)", module.read_text())
    assert sorted(used) == sorted(AlarmKind.__members__)
    assert [kind for kind in AlarmKind if f"`{kind}`" not in docs.read_text()] == []


def test_alarm_backend_away_with_a_wrong_clock_names_the_clock_first() -> None:
    gone = replace(FINE, backends=(replace(FINE.backends[0], links={"main": 0}),))
    [away] = conditions(gone).values()
    assert away.remedy.code is StatementCode.CHECK_BACKEND_LINK
    unset = replace(gone, clock=ClockReport(state="unverified", reason="it is not set"))
    assert conditions(unset)["backend-away", "cpo"].remedy.code is StatementCode.CHECK_CLOCK_THEN_LINK


def test_alarm_implausible_meter_names_its_wiring() -> None:
    circuit = replace(FINE.circuits[0], meter_quality=Quality.IMPLAUSIBLE, meter_problem="backwards")
    found = conditions(replace(FINE, circuits=(circuit,)))["meter-lost", "grid"]
    assert found.remedy.code is StatementCode.CHECK_METER_WIRING


@pytest.mark.parametrize("code", [StatementCode.LIMITS_REFUSED, StatementCode.LIMITS_UNCONFIRMED])
def test_alarm_station_without_limits_is_named(code: StatementCode) -> None:
    held = Statement(code=StatementCode.AT_FALLBACK, cause=Statement(code=code, detail="Rejected"))
    found = conditions(replace(FINE, evses=(replace(FINE.evses[0], statement=held),)))
    assert list(found) == [("evse-at-fallback", "CS01/1")]
    assert "may draw its fallback alone: its station " in str(found["evse-at-fallback", "CS01/1"].statement)


def test_alarm_fallback_for_another_reason_is_not_that_of_its_station() -> None:
    held = Statement(code=StatementCode.AT_FALLBACK, cause=Statement(code=StatementCode.OFFLINE))
    assert conditions(replace(FINE, evses=(replace(FINE.evses[0], statement=held),))) == {}


def test_alarm_clock_of_station_differs_from_one_that_is_not_set() -> None:
    differs = replace(FINE, clock_offsets=(ClockOffsetStatus(kind="station", id="CS01", offset_s=7200.0),))
    unset = replace(differs, clock=ClockReport(state="unverified", reason="it is not set"))
    remedies = [conditions(each)["clock-differs", "station CS01"].remedy.code for each in (differs, unset)]
    assert remedies == [StatementCode.SET_STATION_CLOCK, StatementCode.CHECK_TIME_SERVER]
