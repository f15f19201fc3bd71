"""A command's bytes: what is read, what is refused, and how OCPP carries it."""

from __future__ import annotations

import json

import msgspec
import pytest

from controller.dimming import dimming_messages
from controller.dimming.dimming_messages import MOST_BYTES, CommandMalformedError, read_command
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from tests.controller.dimming.commands import NOON, command

VERSIONS = pytest.mark.parametrize("version", list(Version))


def read(payload: object) -> object:
    return read_command(msgspec.json.encode(payload))


def test_command_with_every_member_is_read() -> None:
    whole = command(
        7,
        limit_w=4200.0,
        limitPhasesW=[1400, 1400, 1400],
        failsafe={"limitW": 4200, "durationS": 7200},
        reason="feeder 7",
        customData={"vendorId": "x"},
        signatures=[{"value": "MEU"}],
    ) | {"@context": "urn:local-controller:dim:command:1"}
    got = read_command(msgspec.json.encode(whole))
    assert (got.command_id, got.sequence, got.issuer.role) == ("command-7", 7, "grid-operator")
    assert (got.begins, got.ends) == (NOON, NOON + 3600)
    assert got.limit_phases_w == (1400, 1400, 1400)
    assert got.failsafe is not None
    assert (got.failsafe.limit_w, got.failsafe.duration_s) == (4200, 7200)
    assert got.evses == frozenset()


def test_evse_names_are_parsed() -> None:
    got = read_command(msgspec.json.encode(command(evses=["CS01/1", "depot/7/2"])))
    assert got.evses == {EvseRef("CS01", 1), EvseRef("depot/7", 2)}


def test_dimming_command_without_limit_is_release_or_malformed() -> None:
    assert read_command(msgspec.json.encode(command(limit_w=None))).limit_w is None
    silent = command()
    del silent["limitW"]
    with pytest.raises(CommandMalformedError, match="limitW"):
        read(silent)


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"limitW": -1}, r"\$\.limitW"),
        ({"limitW": "4200"}, r"\$\.limitW"),
        ({"limitW": 1e10}, r"\$\.limitW"),
        ({"sequence": 0}, r"\$\.sequence"),
        ({"sequence": 2**53}, r"\$\.sequence"),
        ({"commandId": ""}, r"\$\.commandId"),
        ({"notBefore": "2026-11-21T12:00:00"}, r"\$\.notBefore"),
        ({"notAfter": "2026-11-21T12:00:00Z"}, "notAfter is not after"),
        ({"limitPhasesW": [1400, 1400]}, r"\$\.limitPhasesW"),
        ({"limitW": None, "limitPhasesW": [1, 1, 1]}, "limitPhasesW"),
        ({"scope": {"connectionPoint": "x", "evses": []}}, r"\$\.scope\.evses"),
        ({"scope": {"connectionPoint": "x", "evses": ["CS01"]}}, "names no EVSE"),
        ({"scope": {"connectionPoint": "x", "evses": ["CS01/²"]}}, "names no EVSE"),
        (
            {"scope": {"connectionPoint": "x", "evses": ["CS01/1"]}, "limitPhasesW": [1, 1, 1]},
            "limitPhasesW",
        ),
        ({"failsafe": {"limitW": 4200}}, "durationS"),
        ({"failsafe": {"limitW": 4200, "durationS": 90_000}}, "durationS"),
        ({"exceptOnSundays": True}, "exceptOnSundays"),
        ({"@context": "urn:something:else"}, "@context"),
    ],
)
def test_other_data_transfer_is_answered_as_unknown(change: dict[str, object], named: str) -> None:
    with pytest.raises(CommandMalformedError, match=named):
        read(command() | change)


@pytest.mark.parametrize("garbage", [b"", b"[]", b"null", b"\xff", b'{"a":' * 5000, b" " * (MOST_BYTES + 1)])
def test_dimming_command_garbage_is_malformed(garbage: bytes) -> None:
    with pytest.raises(CommandMalformedError):
        read_command(garbage)


@VERSIONS
def test_command_is_read_byte_for_byte_from_text_and_json(version: Version) -> None:
    odd = b'{ "limitW" : 4.2e3, "reason":"\\u00fc" }'
    transfer = {"vendorId": "org.local-controller", "messageId": "dim"}
    as_text = msgspec.json.encode({**transfer, "data": odd.decode()})
    as_json = msgspec.json.encode({**transfer, "data": msgspec.Raw(odd)})
    assert dimming_messages.command_in("DataTransfer", as_text) == odd
    assert dimming_messages.command_in("DataTransfer", as_json) == odd


@pytest.mark.parametrize(
    ("action", "payload"),
    [
        ("Heartbeat", b'{"vendorId":"org.local-controller","messageId":"dim","data":{}}'),
        ("DataTransfer", b'{"vendorId":"com.example","messageId":"dim","data":{}}'),
        ("DataTransfer", b'{"vendorId":"org.local-controller","messageId":"dimEffect","data":{}}'),
        ("DataTransfer", b'{"vendorId":"org.local-controller"}'),
        ("DataTransfer", b"[]"),
        ("DataTransfer", b"\xff"),
    ],
)
def test_other_data_transfers_are_not_commands(action: str, payload: bytes) -> None:
    assert dimming_messages.command_in(action, payload) is None


@pytest.mark.parametrize("data", [b"", b'"\xff"', b"null", b"7"])
def test_data_transfer_without_command_is_malformed(data: bytes) -> None:
    transfer = b'{"vendorId":"org.local-controller","messageId":"dim"'
    found = dimming_messages.command_in(
        "DataTransfer", transfer + (b',"data":' + data if data else b"") + b"}"
    )
    assert found is not None
    with pytest.raises(CommandMalformedError):
        read_command(found)


@VERSIONS
def test_signed_answer_is_sent_unchanged(version: Version) -> None:
    signed = b'{"b": 1.0, "a":"\\u00fc"}'
    answer = dimming_messages.answer(version, signed, accepted=True)
    notice = dimming_messages.effect(version, signed)
    assert json.loads(answer)["status"] == "Accepted"
    assert json.loads(dimming_messages.answer(version, signed, accepted=False))["status"] == "Rejected"
    assert json.loads(notice)["messageId"] == "dimEffect"
    for payload in (answer, notice):
        if version is Version.V16:
            assert json.loads(payload)["data"].encode() == signed
        else:
            assert signed in payload
