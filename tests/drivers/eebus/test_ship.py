"""SHIP test cases for the device, on the pure node and a simulated clock, named by their identifiers."""

from __future__ import annotations

import json
from typing import Any

import pytest

from drivers.eebus.eebus_node import MOST_UNTRUSTED, DoubleConnection
from drivers.eebus.ship import Role
from tests.drivers.eebus.guard import GUARD_SKI, ControlledSite, Guard, control

CMI = b"\x00\x00"
READY = {"connectionHello": {"phase": "ready", "waiting": 60000}}
OFFER: dict[str, Any] = {"version": {"major": 1, "minor": 0}, "formats": {"format": ["JSON-UTF8"]}}
ANNOUNCE = control(messageProtocolHandshake={"handshakeType": "announceMax", **OFFER})
SELECT = control(messageProtocolHandshake={"handshakeType": "select", **OFFER})
PIN_NONE = control(connectionPinState={"pinState": "none"})
READ_ACCESS = control(accessMethodsRequest=[])


def served(site: ControlledSite) -> Guard:
    """A partner that has opened the WebSocket to the node."""
    guard = Guard(site)
    site.open()
    return guard


def dialed(site: ControlledSite) -> Guard:
    """A partner to which the node has opened the WebSocket and sent its CMI."""
    guard = Guard(site)
    site.open(role=Role.CLIENT)
    assert guard.take() == [CMI]
    return guard


def after_hello(site: ControlledSite, role: Role) -> Guard:
    guard = served(site) if role is Role.SERVER else dialed(site)
    guard.send(CMI)
    guard.send(control(**READY))
    return guard


def after_handshake(site: ControlledSite) -> Guard:
    guard = Guard(site)
    guard.handshake()
    return guard


# -- roles and connection mode ------------------------------------------------------------------------


def test_tc_ship_role_001_server_waits_for_cmi_then_sends_hello() -> None:
    guard = served(ControlledSite())
    assert guard.wait(7) == []
    assert guard.send(CMI) == [CMI, READY]


def test_tc_ship_role_002_client_sends_cmi_first_and_waits() -> None:
    site = ControlledSite()
    guard = dialed(site)
    assert guard.wait(7) == []
    assert guard.send(CMI) == [READY]


def test_tc_ship_role_003_server_and_client_at_same_time() -> None:
    other = "c" * 40
    site = ControlledSite(trusted={GUARD_SKI: "", other: ""})
    site.open("c1")
    site.open("c2", Role.CLIENT, other)
    site.receive(CMI, "c1")
    site.receive(CMI, "c2")
    hellos = [name for _, name, message in site.sent if b"ready" in message]
    assert hellos == ["c1", "c2"]
    assert site.closed == {}


@pytest.mark.parametrize(
    ("case", "message"), [("TC_SHIP_CMI_001", b"\x01\x00"), ("TC_SHIP_CMI_005", b"\x00\x01")]
)
def test_tc_ship_cmi_001_005_server_answers_invalid_cmi_then_closes(case: str, message: bytes) -> None:
    site = ControlledSite()
    guard = served(site)
    assert guard.send(message) == [CMI], case
    assert site.closed["c1"][0] == 0.0


@pytest.mark.parametrize(
    ("case", "message"), [("TC_SHIP_CMI_002", b"\x01\x00"), ("TC_SHIP_CMI_006", b"\x00\x01")]
)
def test_tc_ship_cmi_002_006_client_closes_without_message(case: str, message: bytes) -> None:
    site = ControlledSite()
    guard = dialed(site)
    assert guard.send(message) == [], case
    assert "c1" in site.closed


@pytest.mark.parametrize("role", [Role.SERVER, Role.CLIENT])
def test_tc_ship_cmi_003_004_closed_after_cmi_timeout(role: Role) -> None:
    site = ControlledSite()
    site.open(role=role)
    site.advance(40)
    assert 7 < site.closed["c1"][0] < 32


# -- hello --------------------------------------------------------------------------------------------


def test_tc_ship_hello_001_both_ready_leads_to_protocol() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    assert guard.send(control(**READY)) == []
    [select] = guard.send(ANNOUNCE)
    assert select["messageProtocolHandshake"]["handshakeType"] == "select"


def test_tc_ship_hello_002_each_prolongation_gives_full_minute() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    assert guard.wait(45) == []
    for _ in range(2):
        asked = control(connectionHello={"phase": "pending", "prolongationRequest": True})
        assert guard.send(asked) == [READY]
        assert guard.wait(60) == []
    guard.send(control(**READY))
    assert guard.send(ANNOUNCE) != []
    assert site.closed == {}


def test_tc_ship_hello_003_silent_partner_is_aborted_after_waiting() -> None:
    site = ControlledSite()
    guard = served(site)
    [_, hello] = guard.send(CMI)
    waiting = hello["connectionHello"]["waiting"]
    assert 58_000 <= waiting <= 240_000
    assert guard.wait(waiting / 1000) == []
    assert guard.wait(2) == [{"connectionHello": {"phase": "aborted"}}]
    assert "c1" in site.closed


def test_tc_ship_hello_004_pending_without_request_is_ignored() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    assert guard.send(control(connectionHello={"phase": "pending", "waiting": 60000})) == []
    guard.wait(30)
    guard.send(control(**READY))
    assert guard.send(ANNOUNCE) != []


def test_hello_of_untrusted_partner_is_prolonged_until_accepted() -> None:
    site = ControlledSite(trusted={})
    guard = served(site)
    [_, pending] = guard.send(CMI)
    assert pending == {"connectionHello": {"phase": "pending", "waiting": 60000}}
    assert site.trust_requests == [GUARD_SKI]
    assert guard.send(control(**READY)) == []
    request = {"connectionHello": {"phase": "pending", "prolongationRequest": True}}
    assert guard.wait(29) == []
    for _ in range(5):
        assert guard.wait(1) == [request]
        guard.send(control(**READY))
        assert guard.wait(29) == []
    site.do(site.node.trust(GUARD_SKI, site.now))
    assert json.loads(site.sent[-1][2][1:]) == {"connectionHello": [{"phase": "ready"}, {"waiting": 60000}]}
    assert guard.send(ANNOUNCE) != []


def test_hello_of_untrusted_partner_without_prolongation_is_aborted() -> None:
    site = ControlledSite(trusted={})
    guard = served(site)
    guard.send(CMI)
    guard.send(control(**READY))
    assert {"connectionHello": {"phase": "aborted"}} in guard.wait(61)
    assert site.closed["c1"][0] <= 61


def test_ship_hello_with_waiting_below_second_is_over() -> None:
    site = ControlledSite(trusted={})
    guard = served(site)
    guard.send(CMI)
    ready = control(connectionHello={"phase": "ready", "waiting": 999})
    assert guard.send(ready) == [{"connectionHello": {"phase": "aborted"}}]


def test_ship_hello_prolonged_forever_by_partner_ends() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    for _ in range(200):
        guard.wait(20)
        guard.send(control(connectionHello={"phase": "pending", "prolongationRequest": True}))
    assert site.closed["c1"][0] < 2000


def test_ship_hello_aborted_by_partner_ends_connection() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    assert guard.send(control(connectionHello={"phase": "aborted"})) == []
    assert "c1" in site.closed


def test_ship_hello_replaced_by_datagram_is_aborted() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    data = b'\x02{"data":[{"header":[{"protocolId":"ee1.0"}]},{"payload":[]}]}'
    assert guard.send(data) == [{"connectionHello": {"phase": "aborted"}}]
    assert "c1" in site.closed


# -- protocol handshake and PIN -----------------------------------------------------------------------


def test_tc_ship_prot_001_server_selects_and_continues_if_confirmed() -> None:
    guard = after_hello(ControlledSite(), Role.SERVER)
    [select] = guard.send(ANNOUNCE)
    assert select["messageProtocolHandshake"] == {"handshakeType": "select", **OFFER}
    assert guard.send(SELECT) == [{"connectionPinState": {"pinState": "none"}}]


def test_tc_ship_prot_001_newer_version_is_answered_by_own() -> None:
    guard = after_hello(ControlledSite(), Role.SERVER)
    newer = {"version": {"major": 1, "minor": 7}, "formats": {"format": ["JSON-UTF16", "JSON-UTF8"]}}
    [select] = guard.send(control(messageProtocolHandshake={"handshakeType": "announceMax", **newer}))
    assert select["messageProtocolHandshake"] == {"handshakeType": "select", **OFFER}


def test_tc_ship_prot_002_client_announces_and_echoes_selection() -> None:
    site = ControlledSite()
    guard = dialed(site)
    guard.send(CMI)
    [announce] = guard.send(control(**READY))
    assert announce["messageProtocolHandshake"] == {"handshakeType": "announceMax", **OFFER}
    assert guard.send(SELECT) == [
        {"messageProtocolHandshake": {"handshakeType": "select", **OFFER}},
        {"connectionPinState": {"pinState": "none"}},
    ]


@pytest.mark.parametrize("role", [Role.SERVER, Role.CLIENT])
def test_tc_ship_prot_003_004_silence_is_error_1(role: Role) -> None:
    site = ControlledSite()
    guard = after_hello(site, role)
    assert guard.wait(12) == [{"messageProtocolHandshakeError": {"error": 1}}]
    assert site.closed["c1"][0] <= 12


@pytest.mark.parametrize("role", [Role.SERVER, Role.CLIENT])
def test_tc_ship_prot_005_006_hello_is_error_2(role: Role) -> None:
    site = ControlledSite()
    guard = after_hello(site, role)
    assert guard.send(control(**READY)) == [{"messageProtocolHandshakeError": {"error": 2}}]
    assert "c1" in site.closed


@pytest.mark.parametrize(
    "offer",
    [
        {"version": {"major": 9, "minor": 0}, "formats": {"format": ["JSON-UTF16"]}},
        {"version": {"major": 0, "minor": 9}, "formats": {"format": ["JSON-UTF8"]}},
    ],
)
def test_protocol_without_common_version_or_format_is_error_3(offer: dict[str, Any]) -> None:
    site = ControlledSite()
    guard = after_hello(site, Role.SERVER)
    offered = control(messageProtocolHandshake={"handshakeType": "announceMax", **offer})
    assert guard.send(offered) == [{"messageProtocolHandshakeError": {"error": 3}}]
    assert "c1" in site.closed


def test_tc_ship_pin_001_none_leads_to_data() -> None:
    guard = after_hello(ControlledSite(), Role.SERVER)
    guard.send(ANNOUNCE)
    guard.send(SELECT)
    assert guard.send(PIN_NONE) == [{"accessMethodsRequest": []}]
    assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]


def test_ship_pin_required_closes_with_reason() -> None:
    site = ControlledSite()
    guard = after_hello(site, Role.SERVER)
    guard.send(ANNOUNCE)
    guard.send(SELECT)
    guard.send(control(connectionPinState={"pinState": "required", "inputPermission": "ok"}))
    assert "PIN" in site.closed["c1"][2]


def test_ship_pin_without_answer_times_out() -> None:
    site = ControlledSite()
    guard = after_hello(site, Role.SERVER)
    guard.send(ANNOUNCE)
    guard.send(SELECT)
    guard.wait(12)
    assert site.closed["c1"][0] <= 12


# -- messages -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("case", "message"),
    [
        ("TC_SHIP_MSG_001", b"\x01"),
        ("TC_SHIP_MSG_002", b"\xff\x00"),
        ("no JSON", b"\x01{"),
        ("no JSON in data", b"\x02[[["),
        ("unknown control message", control(accessMethodsPlease=[])),
    ],
)
def test_tc_ship_msg_001_002_odd_messages_are_ignored(case: str, message: bytes) -> None:
    site = ControlledSite()
    guard = after_handshake(site)
    assert guard.send(message) == [], case
    assert site.refused
    assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]
    assert site.closed == {}


def test_tc_ship_msg_003_blanks_around_structure_are_understood() -> None:
    site = ControlledSite()
    guard = served(site)
    guard.send(CMI)
    blank = ' \t\r\n[ \t\n{ "connectionHello"\r : [ {"phase" :\t"ready"} , \n{"waiting": 60000 } ] } ]'
    guard.send(b"\x01" + blank.strip()[1:-1].encode())
    assert guard.send(ANNOUNCE) != []


def test_ship_message_with_appended_zero_byte_is_understood() -> None:
    guard = after_handshake(ControlledSite())
    assert guard.send(READ_ACCESS + b"\x00") == [{"accessMethods": {"id": "Site-1"}}]


# -- access methods and data --------------------------------------------------------------------------


def test_tc_ship_am_001_repeated_request_is_answered_each_time() -> None:
    guard = after_handshake(ControlledSite())
    for _ in range(20):
        assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]


def test_tc_ship_amdata_001_all_questions_are_answered() -> None:
    guard = after_handshake(ControlledSite())
    discovery = guard.read("nodeManagementDetailedDiscoveryData")
    assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]
    assert discovery["deviceInformation"]
    assert guard.read("nodeManagementUseCaseData")["useCaseInformation"]


def test_tc_ship_amdata_002_data_before_partners_access_methods() -> None:
    guard = after_hello(ControlledSite(), Role.SERVER)
    guard.send(ANNOUNCE)
    guard.send(SELECT)
    assert guard.send(PIN_NONE) == [{"accessMethodsRequest": []}]
    assert guard.read("nodeManagementDetailedDiscoveryData")
    assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]
    guard.wait(8)
    assert guard.read("nodeManagementUseCaseData")


def test_tc_ship_amdata_003_discovery_read_at_once_and_access_answered() -> None:
    guard = after_handshake(ControlledSite())
    assert "nodeManagementDetailedDiscoveryData" in guard.received[0]["payload"]["cmd"][0]
    guard.wait(5)
    assert guard.send(READ_ACCESS) == [{"accessMethods": {"id": "Site-1"}}]


def test_ship_id_is_stored_once_and_another_id_closes() -> None:
    site = ControlledSite()
    guard = after_handshake(site)
    assert site.ship_ids == {GUARD_SKI: "Id-d:_n:Guard-1"}
    guard.send(control(accessMethods={"id": "somebody else"}))
    assert site.closed["c1"][1] == 4450


# -- end ----------------------------------------------------------------------------------------------


def test_tc_ship_term_001_revoked_trust_is_announced_and_closed() -> None:
    site = ControlledSite()
    guard = Guard(site).connect()
    before = len(site.sent)
    site.do(site.node.revoke(GUARD_SKI, site.now))
    [(_, _, message)] = site.sent[before:]
    assert message[0] == 3
    assert b'"removedConnection"' in message
    assert site.closed == {}
    guard.wait(6)
    assert 1 < site.closed["c1"][0] <= 6
    assert site.node.is_trusted(GUARD_SKI) is False


def test_tc_ship_term_001_confirmed_end_closes_at_once() -> None:
    site = ControlledSite()
    guard = after_handshake(site)
    site.do(site.node.revoke(GUARD_SKI, site.now))
    guard.send(control(3, connectionClose={"phase": "confirm"}))
    assert site.closed["c1"][0] == site.now


def test_ship_close_announced_by_partner_is_confirmed() -> None:
    site = ControlledSite()
    guard = after_handshake(site)
    announce = control(3, connectionClose={"phase": "announce", "maxTime": 500, "reason": "unspecific"})
    assert guard.send(announce) == [{"connectionClose": {"phase": "confirm"}}]
    assert site.closed["c1"][1] == 1000


def test_limit_written_after_revocation_does_not_count() -> None:
    site = ControlledSite()
    guard = Guard(site).connect()
    guard.beat()
    site.do(site.node.revoke(GUARD_SKI, site.now))
    before = len(site.requests)
    guard.datagram("write", {"loadControlLimitListData": {}}, source=([1], 1), destination=([1], 1))
    assert len(site.requests) == before


# -- double connections -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("our_ski", "rule", "kept"),
    [
        ("f" * 40, DoubleConnection.NEWEST, "c2"),  # TC_SHIP_CONN_001 as the text has it
        ("f" * 40, DoubleConnection.INITIATOR, "c1"),
        ("0" * 40, DoubleConnection.INITIATOR, "c2"),
    ],
)
def test_tc_ship_conn_001_one_of_two_connections_is_kept(
    our_ski: str, rule: DoubleConnection, kept: str
) -> None:
    site = ControlledSite(our_ski=our_ski, rule=rule)
    site.open("c1", Role.CLIENT)
    site.advance(1)
    site.open("c2", Role.SERVER)
    assert set(site.closed) == {"c1", "c2"} - {kept}
    assert site.receive(CMI, kept) != []


def test_tc_ship_conn_001_smaller_ski_leaves_decision_by_newest() -> None:
    site = ControlledSite(our_ski="0" * 40, rule=DoubleConnection.NEWEST)
    site.open("c1", Role.CLIENT)
    site.open("c2", Role.SERVER)
    assert site.closed == {}


@pytest.mark.parametrize("our_ski", ["f" * 40, "0" * 40])
def test_ship_reconnection_in_same_role_replaces_old_one(our_ski: str) -> None:
    site = ControlledSite(our_ski=our_ski)
    guard = Guard(site).connect()
    assert guard.read_limit()["isLimitActive"] is False
    again = Guard(site, "c2").connect()
    assert set(site.closed) == {"c1"}
    again.beat()
    assert again.write_limit(5000, active=True) == 0


def test_ship_untrusted_partners_beyond_limit_are_closed() -> None:
    site = ControlledSite(trusted={})
    for number in range(MOST_UNTRUSTED + 1):
        site.open(f"c{number}", ski=f"{number:040x}")
    assert set(site.closed) == {f"c{MOST_UNTRUSTED}"}
