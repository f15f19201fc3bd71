"""Retention of charging sessions: by the age of a session, and by a clock that is right."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
import trio
import trio.testing
from msgspec.structs import replace

from controller.ocpp.frames import Version
from controller.services.session_ledger import session_ledger_service
from controller.services.session_ledger.session_ledger_service import (
    CLOCK_CHECK_S,
    CLOCK_STEP_CHECK_S,
    SessionLedger,
)
from controller.session_ledger.charging_session import (
    ChargingSession,
    EndedSessionStored,
    RunningSessionStored,
    month_of,
    months_before,
)
from controller.store.state_store import Stored
from tests.controller.store.synchronous_store import SynchronousStore
from tests.scenario.configuration import read_valid_config

MONTH_S = 30 * 86_400.0
SITE = """
[site]
id = "lc-test"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
"""


class CountedStore(SynchronousStore):
    """Store that counts its loads in `reads`."""

    reads = 0

    def load(self, record_type: type[Stored], *prefixes: str) -> list[Stored]:
        self.reads += 1
        return super().load(record_type, *prefixes)


def ended(month: str) -> EndedSessionStored:
    session = ChargingSession(station="CS01", evse=1, transaction="7", started_at=1.0, updated_at=1.0)
    return EndedSessionStored(month, "CS01", 1, session)


async def test_session_ledger_deletes_expired_once_clock_is_synchronised(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    store, clock = CountedStore(tmp_path), {"is_synchronised": False}
    store.persist_now([ended("2001-01"), ended("2999-01")])
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: clock["is_synchronised"])
    nursery.start_soon(ledger.run)
    await trio.sleep(10 * CLOCK_CHECK_S + 1)
    assert [each.month for each in store.load(EndedSessionStored)] == ["2001-01", "2999-01"]
    clock["is_synchronised"] = True
    await trio.sleep(CLOCK_CHECK_S)
    assert [each.month for each in store.load(EndedSessionStored)] == ["2999-01"]


async def test_session_ledger_keeps_session_that_a_wrong_clock_has_dated(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    this_month, expired = month_of(time.time()), months_before(month_of(time.time()), 25)
    misdated = ended("1970-01")
    misdated = replace(misdated, session=replace(misdated.session, clock_synchronised=False))
    kept_before = replace(misdated, month=expired, number=2)
    store = CountedStore(tmp_path)
    store.persist_now([misdated, kept_before])
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: True)
    nursery.start_soon(ledger.run)
    await trio.sleep(1)
    assert store.load(EndedSessionStored) == [replace(misdated, month=this_month)]
    assert ledger.ended(this_month, this_month) == [misdated.session]


async def test_session_ledger_corrects_running_session_when_clock_is_set(
    tmp_path: Path,
    nursery: trio.Nursery,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store = CountedStore(tmp_path)
    clock = {"offset": 0.0, "is_synchronised": False}
    monkeypatch.setattr(session_ledger_service, "_clock_offset", lambda: clock["offset"])
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: bool(clock["is_synchronised"]))
    begun_at = time.time() - 2 * MONTH_S
    recorder = ledger.find_recorder("CS01", Version.V16)
    recorder.on_call_result(
        "StartTransaction", b'{"connectorId":1,"idTag":"A","meterStart":0}', b'{"transactionId":7}', begun_at
    )
    nursery.start_soon(ledger.run)
    await trio.sleep(2.5 * CLOCK_STEP_CHECK_S)
    assert [each.clock_synchronised for each in ledger.running()] == [False]
    clock |= {"offset": 2 * MONTH_S - 60, "is_synchronised": True}
    await trio.sleep(2 * CLOCK_STEP_CHECK_S)
    (stored,) = store.load(RunningSessionStored)
    assert stored.session.clock_synchronised
    assert stored.session.started_at == begun_at + 2 * MONTH_S - 60


async def test_session_ledger_stores_energy_of_running_sessions_at_its_end(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    store = CountedStore(tmp_path)
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: True)
    recorder, begun_at = ledger.find_recorder("CS01", Version.V16), time.time()
    start, answer = b'{"connectorId":1,"idTag":"A","meterStart":0}', b'{"transactionId":7}'
    store.persist_now(recorder.on_call_result("StartTransaction", start, answer, begun_at))
    values = (
        b'{"connectorId":1,"transactionId":7,"meterValue":[{"timestamp":"2026-11-29T05:00:00Z","sampledValue":'
        b'[{"value":"750","measurand":"Energy.Active.Import.Register","unit":"Wh"}]}]}'
    )
    assert recorder.on_message("MeterValues", values, begun_at + 61) == []
    with trio.move_on_after(1):
        await ledger.run()
    (stored,) = store.load(RunningSessionStored)
    assert stored.session.energy_wh == 750


def test_session_ledger_reads_store_once_for_station_that_connects(tmp_path: Path) -> None:
    store = CountedStore(tmp_path)
    this_month = month_of(time.time())
    store.persist_now([ended(months_before(this_month, 1)), ended("2001-01")])
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: True)
    before = store.reads
    recorder = ledger.find_recorder("CS01", Version.V201)
    assert store.reads == before + 1
    event = b'{"eventType":"Ended","transactionInfo":{"transactionId":"7"},"evse":{"id":1},"seqNo":9}'
    assert recorder.on_message("TransactionEvent", event, time.time()) == []  # it has ended before


@pytest.mark.parametrize("is_configured", [True, False])
def test_session_ledger_restores_running_session_of_any_version(tmp_path: Path, is_configured: bool) -> None:
    store = CountedStore(tmp_path)
    session = ChargingSession(station="CS01", evse=1, transaction="7", started_at=1.0, updated_at=1.0)
    store.persist_now([RunningSessionStored("CS01", 1, session)])
    site = read_valid_config(SITE)
    other = read_valid_config(SITE.replace("CS01", "CS02"))
    ledger = SessionLedger(site if is_configured else other, (), store, b"key", lambda: True)
    ledger.replace_stations(site)
    assert ledger.find_recorder("CS01", Version.V201).running == (session,)
    ledger.drop_station("CS01")
    assert ledger.find_recorder("CS01", Version.V201).running == (session,)
