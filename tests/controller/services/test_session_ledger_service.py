"""Retention of charging sessions: by the age of a session, and by a clock that is right."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio
import trio.testing

from controller.model.journal import Record
from controller.services.session_ledger_service import CLOCK_CHECK_S, SessionLedger
from controller.session_ledger.charging_session import ChargingSession, EndedSessionStored
from controller.store.state_store import StateStore
from tests.scenario.configuration import read_valid_config

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


class SynchronousStore(StateStore):
    """Store that writes at once: a thread would let the virtual clock jump."""

    async def persist(self, records: Sequence[Record]) -> None:
        self.persist_now(records)


def ended(month: str) -> EndedSessionStored:
    session = ChargingSession(station="CS01", evse=1, transaction="7", started_at=1.0, updated_at=1.0)
    return EndedSessionStored(month, "CS01", 1, session)


async def test_session_ledger_deletes_expired_once_clock_is_synchronised(
    tmp_path: Path, nursery: trio.Nursery, autojump_clock: trio.testing.MockClock
) -> None:
    store, clock = SynchronousStore(tmp_path), {"is_synchronised": False}
    store.persist_now([ended("2001-01"), ended("2999-01")])
    ledger = SessionLedger(read_valid_config(SITE), (), store, b"key", lambda: clock["is_synchronised"])
    nursery.start_soon(ledger.run)
    await trio.sleep(10 * CLOCK_CHECK_S + 1)
    assert [each.month for each in store.load(EndedSessionStored)] == ["2001-01", "2999-01"]
    clock["is_synchronised"] = True
    await trio.sleep(CLOCK_CHECK_S)
    assert [each.month for each in store.load(EndedSessionStored)] == ["2999-01"]
