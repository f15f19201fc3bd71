"""Payloads that are shown to people: secrets and identities of drivers are replaced, the rest stays."""

from __future__ import annotations

import msgspec
import pytest

from controller.ocpp.payload_redaction import redact_payload

START = {"connectorId": 1, "idTag": "04AABB", "meterStart": 1200, "timestamp": "2026-11-21T12:00:00Z"}
TOKEN = {"idToken": {"idToken": "04AABB", "type": "ISO14443", "additionalInfo": [{"additionalIdToken": "X"}]}}


@pytest.mark.parametrize(
    ("payload", "shown"),
    [
        (START, {**START, "idTag": "***"}),
        ({"idTag": 4711}, {"idTag": "***"}),
        (
            TOKEN,
            {
                "idToken": {
                    "idToken": "***",
                    "type": "ISO14443",
                    "additionalInfo": [{"additionalIdToken": "***"}],
                }
            },
        ),
        ({"vendorId": "acme", "data": "driver 04AABB"}, {"vendorId": "acme", "data": "***"}),
        (
            {"data": {"name": "Erika Mustermann", "rfid": 4711, "list": [{"key": "04AABB"}], "isVip": True}},
            {"data": {"name": "***", "rfid": "***", "list": [{"key": "***"}], "isVip": True}},
        ),
        (
            {"customData": {"vendorId": "acme", "status": "04AABB"}},
            {"customData": {"vendorId": "***", "status": "***"}},
        ),
        ({"status": "Faulted", "info": "card 04AABB"}, {"status": "Faulted", "info": "***"}),
        (
            {
                "sampledValue": [
                    {"value": "7200.5", "unit": "W"},
                    {"value": "OCMF|04AABB", "format": "SignedData"},
                ]
            },
            {"sampledValue": [{"value": "7200.5", "unit": "W"}, {"value": "***", "format": "SignedData"}]},
        ),
        ({"status": "x" * 65}, {"status": "***"}),
        ({"unknownMember": "04AABB"}, {"unknownMember": "***"}),
    ],
)
def test_redact_payload_hides_identities_of_drivers(payload: object, shown: object) -> None:
    assert redact_payload(payload, show_identities=False) == shown
    assert redact_payload(payload, show_identities=True) == payload


@pytest.mark.parametrize("show_identities", [True, False])
@pytest.mark.parametrize(
    "payload",
    [
        {"key": "AuthorizationKey", "value": "hunter2"},
        *({"key": key, "value": "hunter2"} for key in ("WifiPwd", "wlan_psk", "ApiKey", "SIM_PIN", "Passwd")),
        {"configurationKey": [{"key": "AuthorizationKey", "readonly": False, "value": "hunter2"}]},
        {
            "setVariableData": [
                {
                    "component": {"name": "SecurityCtrlr"},
                    "variable": {"name": "BasicAuthPassword"},
                    "attributeValue": "hunter2",
                }
            ]
        },
        {
            "reportData": [
                {"variable": {"name": "BasicAuthPassword"}, "variableAttribute": [{"value": "hunter2"}]}
            ]
        },
        {"connectionData": {"basicAuthPassword": "hunter2"}},
        {"connectionData": {"apn": {"apn": "internet", "apnUserName": "hunter2", "simPin": 2222}}},
        {"location": "ftp://anna:hunter2@files.example/log"},
    ],
)
def test_redact_payload_hides_secrets_from_everybody(payload: object, show_identities: bool) -> None:
    shown = msgspec.json.encode(redact_payload(payload, show_identities=show_identities)).decode()
    assert "hunter2" not in shown
    assert "2222" not in shown


def test_redact_payload_large_integer_is_shown_as_text() -> None:
    assert redact_payload({"transactionId": 1 << 70}, show_identities=True) == {"transactionId": str(1 << 70)}
