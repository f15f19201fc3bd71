"""A backend's profiles for a transaction that began while it was away: 1.6, where it numbers it later."""

from __future__ import annotations

import json

import pytest

from controller.chargers.quirks import LimitScope
from controller.model.observations import BackendLimit, TransactionSeen
from controller.ocpp.frames import Version
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.offline_handler import OfflineHandler, OwnerMemory
from controller.offline.offline_responder import OfflineResponder, OfflineRules
from controller.offline.outbox import Outbox
from controller.offline.outbox_sender import OutboxSender
from controller.offline.response_cache import ResponseCache
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from tests.controller.relay.backend_profiles import ACCEPTED, STARTED, setting
from tests.controller.relay.playbook import UTC_0, Playbook, result

V16 = Version.V16
THEIRS = 70


def a_stead() -> OfflineHandler:
    """Serves CS01 while its backend is away, and lets everybody charge."""
    snapshot, drivers = StationSnapshot("CS01"), AuthorizationCache("CS01", b"key")
    outbox, ids = Outbox("CS01", "cpo"), TransactionIdMap("CS01", "cpo")
    return OfflineHandler(
        V16,
        OfflineResponder("CS01", V16, drivers, ids, snapshot, OfflineRules(authorise="everyone")),
        OutboxSender(outbox, snapshot, ids, V16, "cpo"),
        OwnerMemory(
            snapshot=snapshot, authorizations=drivers, answers=ResponseCache("CS01"), outbox=outbox, ids=ids
        ),
        lambda now: UTC_0 + now,
    )


@pytest.fixture
def talk() -> Playbook:
    """A car has begun to charge while the backend was away, which has numbered that since."""
    talk = Playbook(V16, LimitScope.EVSE, up=False, offline=a_stead())
    talk.commandable()
    talk.backend_lost()
    talk.station(STARTED[V16])
    talk.site_learns(TransactionSeen(1, True))
    talk.saves()
    _, _, started = json.loads(talk.station_hears_text())
    assert started["transactionId"] != THEIRS
    talk.backend_up()
    talk.saves()
    told = talk.backend_hears_call("StartTransaction")
    talk.backend(result(told.id, json.dumps({"transactionId": THEIRS, "idTagInfo": {"status": "Accepted"}})))
    talk.saves()
    return talk


def test_profile_when_away_is_found_by_the_backends_transaction_id(talk: Playbook) -> None:
    talk.backend(setting(V16, (0, 20), named="TxProfile", evse=1, transactionId=THEIRS))
    talk.backend_hears(ACCEPTED)
    talk.site_learns(BackendLimit(1, 20.0))
    talk.done()


def test_another_number_means_another_one(talk: Playbook) -> None:
    talk.backend(setting(V16, (0, 20), named="TxProfile", evse=1, transactionId=THEIRS + 1))
    talk.backend_hears_rejected("b")
    talk.noted(f"transaction {THEIRS + 1} does not run at EVSE 1")
