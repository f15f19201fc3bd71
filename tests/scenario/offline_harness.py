"""An `OfflineResponder` that answers a station whose backend is away: the core driver of offline answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from controller.ocpp.frames import CallError, CallResult, Version, parse
from controller.offline.authorization_cache import AuthorizationCache
from controller.offline.offline_responder import OfflineAnswer, OfflineResponder, OfflineRules
from controller.offline.station_snapshot import StationSnapshot
from controller.offline.transaction_id_map import TransactionIdMap
from tests.controller.ocpp.schemas import check

V16, V201, V21 = Version.V16, Version.V201, Version.V21
UTC = 1_800_000_000.0
NOW = "2027-01-15T08:00:00Z"
Payload = dict[str, Any]

TAG = "04A2B3C4"
TOKEN = {"idToken": TAG, "type": "ISO14443"}
BOOT_16: Payload = {"chargePointVendor": "ABL", "chargePointModel": "eMH3"}
BOOT_2: Payload = {"reason": "PowerUp", "chargingStation": {"vendorName": "ABL", "model": "eMH3"}}
START: Payload = {"connectorId": 1, "idTag": TAG, "meterStart": 0, "timestamp": NOW}
STOP: Payload = {"transactionId": -1, "meterStop": 9, "timestamp": NOW}
METER_16: Payload = {"connectorId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": "1"}]}]}
METER_2: Payload = {"evseId": 1, "meterValue": [{"timestamp": NOW, "sampledValue": [{"value": 1}]}]}
STATUS_16: Payload = {"connectorId": 1, "errorCode": "NoError", "status": "Available"}
STATUS_2: Payload = {"evseId": 1, "connectorId": 1, "connectorStatus": "Available", "timestamp": NOW}
HASHES = [
    {
        "hashAlgorithm": "SHA256",
        "issuerNameHash": "a",
        "issuerKeyHash": "b",
        "serialNumber": "c",
        "responderURL": "https://ocsp.example",
    }
]


def event(kind: str = "Updated", **members: Any) -> Payload:
    return {
        "eventType": kind,
        "timestamp": NOW,
        "triggerReason": "Authorized",
        "seqNo": 1,
        "transactionInfo": {"transactionId": "t1"},
    } | members


DEFAULT_RULES = OfflineRules()


class OfflineHarness:
    """The responder of one station, with the stored answers of its backend."""

    def __init__(self, version: Version, rules: OfflineRules = DEFAULT_RULES) -> None:
        self.version = version
        self.authorizations = AuthorizationCache("CS01", b"key")
        self.snapshot = StationSnapshot("CS01")
        self.ids = TransactionIdMap("CS01", "csms")
        self.responder = OfflineResponder(
            "CS01", version, self.authorizations, self.ids, self.snapshot, rules
        )

    def answer_call(self, action: str, payload: Payload) -> OfflineAnswer:
        """Return the answer to a CALL of the station: one valid frame with its id, or none."""
        sent = json.dumps(payload).encode()
        answer = self.responder.answer_call("id 1", action, sent, UTC)
        if answer.text is not None:
            frame = parse(answer.text)
            assert isinstance(frame, CallResult | CallError)
            assert frame.id == "id 1"
            assert answer.result == (frame.payload if isinstance(frame, CallResult) else None)
        if answer.result is not None:
            check(self.version, f"{action}Response", answer.result)
        return answer

    def remember_answer(self, status: str, until: str | None = None) -> None:
        """Store an earlier answer of the backend about the tag."""
        if self.version is V16:
            info: Payload = {"idTagInfo": {"status": status, "expiryDate": until}}
            asked: Payload = {"idTag": TAG}
        else:
            info = {"idTokenInfo": {"status": status, "cacheExpiryDateTime": until}}
            asked = {"idToken": TOKEN}
        self.authorizations.on_call_result(
            self.version, "Authorize", json.dumps(asked).encode(), json.dumps(info).encode()
        )


def result(answer: OfflineAnswer) -> Any:
    assert answer.result is not None
    return json.loads(answer.result)


def each_2x_version(cases: Callable[[Version], list[Any]]) -> list[Any]:
    return [case for version in (V201, V21) for case in cases(version)]
