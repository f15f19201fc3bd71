"""Our own payloads in the form in which WWCP nodes verify them."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.frames import Version
from controller.signing.signature_format import MessageKind
from controller.signing.wwcp_form import WwcpFormError, write_payload

VECTORS: list[dict[str, Any]] = json.loads((Path(__file__).parent / "wwcp" / "own_payloads.json").read_text())
VERSIONS = {"2.1": Version.V21, "1.6": Version.V16}

NOT_WRITTEN = {
    "ours-21-signcert-id12": "requestId 1",
    "ours-21-signcert-newline": "white space",
    "ours-21-unknown-member": "members that WWCP does not have: foo",
    "ours-21-compsched-res": "members that WWCP does not have: chargingSchedulePeriod",
    "ours-21-topo-send": "needs uplink and downlink",
    "ours-21-afrr": "form of AFRRSignalRequest is unknown",
    "ours-21-naet": "form of NotifyAllowedEnergyTransferRequest is unknown",
    "ours-16-meter-full-strid": "transactionId cannot be written",
    "ours-16-meter-full-intid": "transactionId cannot be written",
    "ours-16-meter-bare": "transactionId cannot be written",
    "ours-16-scp-minrate-str": "minChargingRate cannot be written",
    "ours-16-scp-minrate-num": "minChargingRate cannot be written",
}
"""Payloads that the controller does not write in signed form, and why."""


def _write(vector: dict[str, Any]) -> str:
    payload = json.loads(vector["signedText"])
    del payload["@context"]
    text = json.dumps(payload, ensure_ascii=False).encode()
    version, kind = VERSIONS[vector["version"]], MessageKind(vector["kind"])
    return write_payload(version, kind, vector["action"], text).decode()


def _members(signed_text: str) -> str:
    return re.sub(r'^\{"@context":"[^"]*",?', "{", signed_text)


@pytest.mark.parametrize("vector", VECTORS, ids=lambda each: each["id"])
def test_wwcp_form_own_payload_is_written_as_wwcp_verifies_it(vector: dict[str, Any]) -> None:
    if vector["id"] in NOT_WRITTEN:
        with pytest.raises(WwcpFormError, match=NOT_WRITTEN[vector["id"]]):
            _write(vector)
        return
    # What they accept is written so; where they hash another text than was signed, theirs is written.
    expected = vector["signedText"] if vector["theirs"] else vector["written"] or vector["signedText"]
    if vector["action"] == "AddSignaturePolicy":
        expected = vector["signedText"]
    assert _write(vector).replace(" ", "") == _members(expected).replace(" ", "")


numbers = st.floats(0.0001, 1e15) | st.floats(-1e15, -0.0001) | st.just(0.0) | st.integers(-(10**15), 10**15)
times = st.datetimes(timezones=st.timezones()).map(lambda at: at.isoformat())
texts = st.text(st.characters(exclude_categories=("Cs",)), max_size=20)
periods = st.fixed_dictionaries(
    {"startPeriod": st.integers(0, 86_400), "limit": numbers},
    optional={"numberPhases": st.integers(1, 3), "phaseToUse": st.integers(1, 3), "setpoint": numbers},
)
schedules = st.fixed_dictionaries(
    {
        "chargingSchedulePeriod": st.lists(periods, min_size=1, max_size=3),
        "chargingRateUnit": st.sampled_from(["A", "W"]),
        "id": st.integers(1, 999),
    },
    optional={"duration": st.integers(1, 86_400), "minChargingRate": numbers, "startSchedule": times},
)
profiles = st.fixed_dictionaries(
    {
        "chargingSchedule": st.lists(schedules, min_size=1, max_size=3),
        "chargingProfileKind": st.sampled_from(["Absolute", "Relative"]),
        "chargingProfilePurpose": st.just("TxDefaultProfile"),
        "stackLevel": st.integers(0, 9),
        "id": st.integers(1, 999),
    },
    optional={"validFrom": times, "maxOfflineDuration": st.integers(1, 9999), "transactionId": st.just("T1")},
)
links = st.just({})
routes = st.fixed_dictionaries(
    {"destinationId": st.just("CS01"), "downlink": links, "uplink": links, "priority": st.integers(0, 255)},
    optional={"weight": st.integers(0, 255), "timeout": st.integers(1, 999)},
)
MESSAGES: dict[tuple[MessageKind, str], st.SearchStrategy[dict[str, Any]]] = {
    (MessageKind.REQUEST, "SetChargingProfile"): st.fixed_dictionaries(
        {"chargingProfile": profiles, "evseId": st.integers(0, 9)}
    ),
    (MessageKind.REQUEST, "BootNotification"): st.fixed_dictionaries(
        {
            "reason": st.just("PowerUp"),
            "chargingStation": st.fixed_dictionaries({"vendorName": texts, "model": texts}),
        }
    ),
    (MessageKind.REQUEST, "StatusNotification"): st.fixed_dictionaries(
        {
            "connectorId": st.just(1),
            "evseId": st.just(1),
            "connectorStatus": st.just("Available"),
            "timestamp": times,
        }
    ),
    (MessageKind.REQUEST, "SetVariables"): st.fixed_dictionaries(
        {
            "setVariableData": st.lists(
                st.fixed_dictionaries(
                    {
                        "variable": st.fixed_dictionaries({"name": texts}),
                        "component": st.fixed_dictionaries({"name": texts}),
                        "attributeValue": texts,
                    }
                ),
                min_size=1,
                max_size=3,
            )
        }
    ),
    (MessageKind.REQUEST, "TriggerMessage"): st.fixed_dictionaries(
        {"evse": st.fixed_dictionaries({"id": st.integers(1, 9)}), "requestedMessage": st.just("MeterValues")}
    ),
    (MessageKind.RESPONSE, "Reset"): st.fixed_dictionaries({"status": st.just("Accepted")}),
    (MessageKind.SEND, "NotifyNetworkTopology"): st.fixed_dictionaries(
        {
            "networkTopologyInformation": st.fixed_dictionaries(
                {"notBefore": times, "routes": st.lists(routes, max_size=3), "routingNode": st.just("LC01")}
            )
        }
    ),
    (MessageKind.REQUEST, "DataTransfer"): st.fixed_dictionaries(
        {"data": st.dictionaries(texts, numbers | texts | times | st.none() | st.booleans(), max_size=4)}
        | {"vendorId": texts}
    ),
}
"""Messages that the controller writes itself, with members in another order than WWCP's."""

_STRING = r'"(?:[^"\\]|\\["\\bfnrt]|\\u[0-9a-f]{4})*"'
_DECIMALS = ("limit", "setpoint", "minChargingRate", "maxOfflineDuration", "timeout")
_TIMES = ("startSchedule", "validFrom", "timestamp", "notBefore")
_ORDER = {
    "SetChargingProfile": ["evseId", "chargingProfile"],
    "BootNotification": ["chargingStation", "reason"],
    "StatusNotification": ["timestamp", "connectorStatus", "evseId", "connectorId"],
    "TriggerMessage": ["requestedMessage", "evse"],
    "DataTransfer": ["vendorId", "data"],
}


def _check_rules(action: str, text: str) -> None:
    """Hold a text against the rules by patterns of its own, apart from the writer."""
    assert not re.search(r"[{}\[\],:]\s|\s[{}\[\],:]", re.sub(_STRING, '""', text)), "white space"
    assert not re.search("[\x00-\x1f\x85\u2028\u2029]", text), "unescaped"
    assert "\\/" not in text
    for name in _DECIMALS:
        for number in re.findall(rf'"{name}":([^,}}\]]+)', text):
            assert re.fullmatch(r"-?(?:0|[1-9]\d*)\.(?:0|\d*[1-9])", number), number
            assert number != "-0.0"
    for name in _TIMES:
        for time in re.findall(rf'"{name}":("[^"]*")', text):
            assert re.fullmatch(r'"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"', time), time
    if action in _ORDER:
        assert list(json.loads(text)) == _ORDER[action]
    for profile in re.findall(r'"chargingProfile":\{(.*)\}', text):
        places = [profile.find(f'"{name}":') for name in ("id", "stackLevel", "chargingProfilePurpose")]
        assert places == sorted(places)


@pytest.mark.parametrize(("kind", "action"), MESSAGES, ids=lambda each: str(each))
@given(data=st.data())
def test_wwcp_form_own_message_with_random_values_follows_rules(
    kind: MessageKind, action: str, data: st.DataObject
) -> None:
    payload = data.draw(MESSAGES[kind, action])
    try:
        text = write_payload(Version.V21, kind, action, json.dumps(payload).encode()).decode()
    except WwcpFormError:
        # Only text that WWCP would change, and times before the year 1000 in some zone, are refused.
        assert re.search(r'"(?:\s|[^"]*\s")|\d{4}-\d\d-\d\dT|\\u', json.dumps(payload))
        return
    _check_rules(action, text)
    again = write_payload(Version.V21, kind, action, text.encode()).decode()
    assert again == text


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (" a", "white space"),
        ("a\n", "white space"),
        ("2026-08-11T08:00:00Z", "reads as a time"),
        ("/Date(1789)/", "reads as a time"),
        (7, "not text"),
    ],
)
def test_text_that_wwcp_would_change_is_refused(value: object, reason: str) -> None:
    payload = {"reason": "PowerUp", "chargingStation": {"model": value, "vendorName": "V"}}
    with pytest.raises(WwcpFormError, match=reason):
        write_payload(Version.V21, MessageKind.REQUEST, "BootNotification", json.dumps(payload).encode())


@pytest.mark.parametrize("limit", [0.00001, 1e16, -1e16])
def test_wwcp_form_decimal_that_needs_exponent_is_refused(limit: float) -> None:
    period = {"startPeriod": 0, "limit": limit}
    profile = {"id": 1, "chargingSchedule": [{"id": 1, "chargingSchedulePeriod": [period]}]}
    payload = json.dumps({"evseId": 1, "chargingProfile": profile}).encode()
    with pytest.raises(WwcpFormError, match="outside"):
        write_payload(Version.V21, MessageKind.REQUEST, "SetChargingProfile", payload)


@pytest.mark.parametrize("time", ["0001-01-01T00:00:00+23:59", "9999-12-31T23:59:59-23:59"])
def test_wwcp_form_time_whose_utc_has_no_date_is_refused(time: str) -> None:
    payload = {"timestamp": time, "connectorStatus": "Available", "evseId": 1, "connectorId": 1}
    with pytest.raises(WwcpFormError, match="timestamp is not a time"):
        write_payload(Version.V21, MessageKind.REQUEST, "StatusNotification", json.dumps(payload).encode())


def test_period_with_operation_mode_is_refused() -> None:
    period = {"startPeriod": 0, "operationMode": "ChargingOnly"}
    profile = {"id": 1, "chargingSchedule": [{"id": 1, "chargingSchedulePeriod": [period]}]}
    payload = json.dumps({"evseId": 1, "chargingProfile": profile}).encode()
    with pytest.raises(WwcpFormError, match="operationMode cannot be written"):
        write_payload(Version.V21, MessageKind.REQUEST, "SetChargingProfile", payload)


def test_wwcp_form_payload_of_action_unknown_to_wwcp_stays_as_it_is() -> None:
    assert write_payload(Version.V21, MessageKind.REQUEST, "VendorAction", b'{ "b":1, "a":2 }') == (
        b'{ "b":1, "a":2 }'
    )
