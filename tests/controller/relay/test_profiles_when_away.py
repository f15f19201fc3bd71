"""A backend's profiles for a transaction that began while it was away: 1.6, where it numbers it later."""

from __future__ import annotations

import json

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit, TransactionSeen
from controller.ocpp.frames import Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.offline_handler import OfflineHandler
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_memory import OwnerMemory
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from tests.scenario.backend_profiles import ACCEPTED, STARTED, profile_call
from tests.scenario.frames import result
from tests.scenario.relay_harness import UTC_0, RelayHarness

V16 = Version.V16
THEIRS = 70


def a_stead() -> OfflineHandler:
    """Serves CS01 while its backend is away, and authorizes every card."""
    snapshot, drivers = StationSnapshot("CS01"), AuthorizationCache("CS01", b"key")
    outbox, ids = Outbox("CS01", "cpo"), TransactionIdMap("CS01", "cpo")
    return OfflineHandler(
        V16,
        OfflineResponder("CS01", V16, drivers, ids, snapshot, OfflineRules(authorize="everyone")),
        OutboxSender(outbox, snapshot, ids, V16, "cpo"),
        OwnerMemory(
            snapshot=snapshot, authorizations=drivers, answers=ResponseCache("CS01"), outbox=outbox, ids=ids
        ),
        lambda now: UTC_0 + now,
    )


@pytest.fixture
def scenario() -> RelayHarness:
    """A car has begun to charge while the backend was away, which has numbered that since."""
    scenario = RelayHarness(V16, LimitScope.EVSE, up=False, offline=a_stead())
    scenario.make_commandable()
    scenario.csms.disconnect()
    scenario.station.send(STARTED[V16])
    scenario.expect_observation(TransactionSeen(1, True))
    scenario.take_records()
    _, _, started = json.loads(scenario.station.receive_text())
    assert started["transactionId"] != THEIRS
    scenario.csms.connect()
    scenario.take_records()
    received = scenario.csms.receive_call("StartTransaction")
    scenario.csms.send(
        result(received.id, json.dumps({"transactionId": THEIRS, "idTagInfo": {"status": "Accepted"}}))
    )
    scenario.take_records()
    return scenario


def test_profile_when_away_is_found_by_the_backends_transaction_id(scenario: RelayHarness) -> None:
    scenario.csms.send(profile_call(V16, (0, 20), named="TxProfile", evse=1, transactionId=THEIRS))
    scenario.csms.receive(ACCEPTED)
    scenario.expect_observation(BackendLimit(1, 20.0))
    scenario.expect_nothing()


def test_another_number_means_another_one(scenario: RelayHarness) -> None:
    scenario.csms.send(profile_call(V16, (0, 20), named="TxProfile", evse=1, transactionId=THEIRS + 1))
    scenario.csms.receive_rejection("b")
    scenario.expect_log(f"transaction {THEIRS + 1} does not run at EVSE 1")
