"""Commands in transit: a forged, altered or repeated one does not pass."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.overlay.events import FrameHeld, FrameReceived, LinkSide, LinkState, LinkUp
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.routes import Hop
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.policy_schema import (
    FailureAction,
    SigningAction,
    SigningRule,
    VerificationMode,
    VerificationRule,
)
from controller.signing.signature_format import Direction, MessageKind
from tests.controller.overlay.net import Net
from tests.controller.overlay.test_hostile import KEYS
from tests.controller.signing.policy_examples import MALLORY, NOW, OLGA, TOM, limit, make_enforcer, signed

V21: Any = {"version": "ocpp2.1"}


def make_net(enforcer: PolicyEnforcer, **settings: Any) -> Net:
    """LC01 with a policy; LC02, LC03 and CSMS are foreign nodes in overlay mode."""
    net = Net()
    net.node("LC01", enforcer=enforcer, utc_of=lambda now: NOW, **settings)
    for child in ("LC02", "LC03"):
        net.link(child, "LC01")
    net.link("LC01", "CSMS")
    return net


def a_limit(*authors: Any, amps: float = 16.0) -> str:
    return signed(limit(amps), *authors, **V21).decode()


def command(payload: str, number: str = "m1", to: str = '["LC02","CS01"]') -> str:
    return f'[2,{to},"CSMS","{number}","SetChargingProfile",{payload}]'


GOOD = a_limit(TOM)
SEEN = "signature policy, rule safe-profiles: it was received before"

FORGED = [
    (GOOD.replace("16.0", "15.9"), '["LC02","CS01"]', "it has no valid signature"),
    (GOOD.replace("16.0", "16.00"), '["LC02","CS01"]', "it has no valid signature"),
    (GOOD.replace('"evseId":1', '"evseId":1,"evseId":2'), '["LC02","CS01"]', "rule safe-profiles"),
    (json.dumps(limit()), '["LC02","CS01"]', "it is not signed"),
    (a_limit(MALLORY), '["LC02","CS01"]', "its key is unknown"),
    (a_limit(TOM, amps=17), '["LC02","CS01"]', "has no permission for SetChargingProfile 17 A at CS01/1"),
    (GOOD, '["LC02","CS02"]', "no permission"),  # meant for another station
    (a_limit(TOM).replace('"limit":16.0', '"limit":1e999'), '["LC02","CS01"]', "rule safe-profiles"),
]


@pytest.mark.parametrize(("payload", "to", "why"), FORGED)
def test_transit_check_forged_command_is_rejected_with_rule(payload: str, to: str, why: str) -> None:
    net = make_net(make_enforcer())
    net.send("CSMS", "LC01", command(payload, to=to))
    assert net.received_from("LC02") == []
    ((kind, destination, path, number, code, description, _),) = net.received_from("CSMS")
    assert (kind, destination, path, number, code) == (4, "CSMS", ["LC01"], "m1", "SecurityError")
    assert "rule safe-profiles" in description
    assert why in description
    assert net.nodes["LC01"].counts == {"refused": 1}


def test_signed_command_passes_unaltered_once_durable() -> None:
    net = make_net(make_enforcer())
    net.send("CSMS", "LC01", command(GOOD))
    (passed,) = [text for text in net.got["LC02"] if isinstance(text, str) and "SetCharging" in text]
    assert passed == f'[2,["LC02","CS01"],"LC01","m1","SetChargingProfile",{GOOD}]'
    assert net.saved == 1
    net.send_frame("LC02", "LC01", 3, "CSMS", "CS01", "m1", {"status": "Accepted"})
    assert net.received_from("CSMS") == [[3, "CSMS", ["CS01", "LC02", "LC01"], "m1", {"status": "Accepted"}]]


def test_replayed_command_is_rejected_under_any_id() -> None:
    net = make_net(make_enforcer(), routes={"CS01": [Hop("LC02")]})
    net.send("CSMS", "LC01", command(GOOD))
    net.received_from("LC02")
    net.send("CSMS", "LC01", command(GOOD, "m2"))
    net.send("CSMS", "LC01", command(GOOD, "m3", '"CS01"'))
    assert net.received_from("LC02") == []
    assert ["was received before" in answer[5] for answer in net.received_from("CSMS")] == [True, True]


def test_transit_check_repeated_command_before_answer_is_dropped() -> None:
    net = make_net(make_enforcer())
    net.send("CSMS", "LC01", command(GOOD))
    net.send("CSMS", "LC01", command(GOOD))
    assert net.received_from("CSMS") == []
    about = "link=CSMS type=CALL action=SetChargingProfile id=m1 from=CSMS"
    assert net.notes[1:] == [f"request repeated before its answer {about} reason={SEEN!r}"]
    net.send_frame("LC02", "LC01", 3, "CSMS", "CS01", "m1", {})
    assert len(net.received_from("CSMS")) == 1


FORGED_ID = "m1 rule=none reason=forged " + "x" * 100_000
"""A message id that would add fields to a log line, and is too long for one."""


def test_transit_check_log_lines_quote_and_cut_message_ids() -> None:
    net = make_net(make_enforcer())
    for _ in range(2):
        net.send("CSMS", "LC01", command(GOOD, FORGED_ID))
    words = [line.partition("id=")[2].split('"') for line in net.notes]
    assert [len(each[1]) for each in words] == [80, 80]
    assert [each[2].strip().partition("=")[0] for each in words] == ["from", "from"]


def test_command_that_cannot_be_stored_is_rejected() -> None:
    net = make_net(make_enforcer())
    net.disk_full = True
    net.send("CSMS", "LC01", command(GOOD))
    assert net.received_from("LC02") == []
    assert [answer[3:6] for answer in net.received_from("CSMS")] == [
        ["m1", "GenericError", "it cannot be put on record that it was here"]
    ]


def test_command_between_neighbors_is_verified() -> None:
    net = make_net(make_enforcer())
    payload = json.dumps(limit())
    net.send("LC03", "LC01", command(payload).replace('"CSMS"', '"LC03"'))
    assert net.received_from("LC02") == []
    assert [answer[4] for answer in net.received_from("LC03")] == ["SecurityError"]


def test_transit_check_each_controller_of_chain_verifies() -> None:
    """CSMS - LC01 - LC02 - CS01, with an attacker between the two controllers."""
    net = Net()
    for name in ("LC01", "LC02"):
        net.node(name, enforcer=make_enforcer(), utc_of=lambda now: NOW)
    net.link("CS01", "LC02", NetworkingMode.STANDARD)
    net.link("LC02", "LC01")
    net.link("LC01", "CSMS")
    net.send("CSMS", "LC01", command(GOOD))
    assert [frame[1:3] for frame in net.received_from("CS01")] == [["m1", "SetChargingProfile"]]
    net.send("LC01", "LC02", command(a_limit(TOM, amps=12).replace("12", "13"), "m2"))
    assert net.received_from("CS01") == []
    assert net.nodes["LC02"].counts["refused"] == 1


def test_retried_request_is_not_verified_again() -> None:
    net = make_net(make_enforcer(), routes={"CS01": [Hop("LC03", 1), Hop("LC02", 2)]})
    net.broken.add(("LC01", "LC03"))
    net.send("CSMS", "LC01", command(GOOD, to='"CS01"'))
    assert [frame[3] for frame in net.received_from("LC02")] == ["m1"]


def test_request_cleared_for_one_direction_takes_no_other() -> None:
    """Where the way down fails, another way that leads up was looked at by no rule of that direction."""
    net = make_net(make_enforcer(), routes={"CS01": [Hop("LC02", 1), Hop("up", 2)]})
    net.feed("LC01", LinkUp(LinkState(link="up", peer="LC00", mode=NetworkingMode.OVERLAY, side=LinkSide.UP)))
    net.broken.add(("LC01", "LC02"))
    net.send("CSMS", "LC01", command(GOOD, to='"CS01"'))
    assert "up" not in net.got
    assert [answer[4] for answer in net.received_from("CSMS")] == ["GenericError"]


def test_transit_check_virtual_channel_is_verified_by_relay() -> None:
    net = make_net(make_enforcer())
    leg = LinkState(link="leg", peer="CS01", mode=NetworkingMode.STANDARD, side=LinkSide.DOWN, only="CSMS")
    net.got["leg"] = []
    net.feed("LC01", LinkUp(leg))
    net.run()
    net.send("CSMS", "LC01", command(json.dumps(limit()), to='"CS01"'))
    assert len(net.received_from("leg")) == 1
    assert net.saved == 0


# -- conditions of rules ---------------------------------------------------------------------------------


def rule(name: str = "r", require: VerificationMode = VerificationMode.ANY, **more: Any) -> VerificationRule:
    return VerificationRule(id=name, require=require, **more)


def test_transit_check_report_is_verified_upwards_for_station() -> None:
    upwards = rule(actions=("NotifyX",), direction=Direction.UP, links=("LC02",))
    net = make_net(make_enforcer([upwards]))
    good = json.loads(signed({"a": 1}, OLGA, action="NotifyX", direction=Direction.UP, **V21))
    downwards = json.loads(signed({"a": 1}, OLGA, action="NotifyX", **V21))
    for number, (link, payload) in enumerate([("LC02", good), ("LC02", downwards), ("LC03", {})]):
        net.send_frame(link, "LC01", 2, "CSMS", f"CS0{number}", f"m{number}", "NotifyX", payload)
    assert [frame[3] for frame in net.received_from("CSMS")] == ["m0", "m2"]
    assert [answer[:5] for answer in net.received_from("LC02")] == [
        [4, "CS01", ["LC01"], "m1", "SecurityError"],
    ]


@pytest.mark.parametrize(
    ("failing", "answered"),
    [(FailureAction.REFUSE, True), (FailureAction.DROP, False), (FailureAction.MARK, False)],
)
def test_transit_decisions_are_applied(failing: FailureAction, answered: bool) -> None:
    net = make_net(make_enforcer([rule(actions=("Reset",), failing=failing)]))
    net.send_frame("CSMS", "LC01", 2, ["LC02", "CS01"], "CSMS", "m1", "Reset", {})
    assert len(net.received_from("CSMS")) == answered
    assert len(net.received_from("LC02")) == (failing is FailureAction.MARK)
    assert net.nodes["LC01"].counts == (
        {"refused": 1} if answered else {"dropped": 1} if failing is FailureAction.DROP else {}
    )
    assert len(net.notes) == 1
    assert net.notes[0].endswith(("rule=r reason='it is not signed'", "rule r: it is not signed'"))


RESPONSES = (MessageKind.RESPONSE,)


@pytest.mark.parametrize("fresh", [False, True])
@pytest.mark.parametrize("upwards", [False, True])
def test_transit_check_unsigned_answer_becomes_error(upwards: bool, fresh: bool) -> None:
    net = make_net(make_enforcer([rule(actions=("GetX",), kinds=RESPONSES, fresh=fresh)]))
    direction = Direction.UP if upwards else Direction.DOWN
    dated = {"customData": limit()["customData"]}
    good = signed(dated, OLGA, action="GetX", kind=MessageKind.RESPONSE, direction=direction, **V21)
    ask = ("CSMS", ["LC02", "CS01"], "CSMS") if upwards else ("LC02", "CSMS", "CS01")
    answer = ("LC02", "CSMS", "CS01") if upwards else ("CSMS", ["LC02", "CS01"], "CSMS")
    for number, payload in enumerate([{}, json.loads(good), json.loads(good)]):
        net.send_frame(ask[0], "LC01", 2, *ask[1:], f"m{number}", "GetX", {})
        net.send_frame(answer[0], "LC01", 3, *answer[1:], f"m{number}", payload)
    kinds = [frame[0] for frame in net.received_from(ask[0])]
    assert kinds == [4, 3, 4 if fresh else 3]
    assert net.saved == fresh


def test_transit_check_answer_that_cannot_be_stored_becomes_error() -> None:
    net = make_net(make_enforcer([rule(actions=("GetX",), kinds=RESPONSES, fresh=True)]))
    net.disk_full = True
    dated = {"customData": limit()["customData"]}
    good = signed(dated, OLGA, action="GetX", kind=MessageKind.RESPONSE, direction=Direction.UP, **V21)
    net.send_frame("CSMS", "LC01", 2, ["LC02", "CS01"], "CSMS", "m1", "GetX", {})
    net.send_frame("LC02", "LC01", 3, "CSMS", "CS01", "m1", json.loads(good))
    assert [frame[:1] + frame[3:5] for frame in net.received_from("CSMS")] == [[4, "m1", "GenericError"]]


def test_transit_check_dropped_answer_ends_request_by_timeout() -> None:
    net = make_net(make_enforcer([rule(actions=("GetX",), kinds=RESPONSES, require=VerificationMode.DROP)]))
    net.send_frame("CSMS", "LC01", 2, ["LC02", "CS01"], "CSMS", "m1", "GetX", {})
    net.send_frame("LC02", "LC01", 3, "CSMS", "CS01", "m1", {})
    assert net.received_from("CSMS") == []
    assert net.nodes["LC01"].counts == {"dropped": 1}


def test_fresh_group_message_counts_once() -> None:
    fresh = rule(actions=("NotifyX",), fresh=True, direction=Direction.DOWN)
    net = make_net(make_enforcer([fresh]), groups={"row": ("LC02", "LC03")})
    dated = {"customData": limit()["customData"]}
    payload = json.loads(signed(dated, OLGA, action="NotifyX", kind=MessageKind.SEND, **V21))
    for number in ("m1", "m2"):
        net.send_frame("CSMS", "LC01", 6, "row", "CSMS", number, "NotifyX", payload)
    assert (
        [frame[3] for frame in net.received_from("LC02")]
        == [frame[3] for frame in net.received_from("LC03")]
        == ["m1"]
    )
    assert net.saved == 1


def test_broadcast_rejected_in_one_direction_is_not_sent() -> None:
    net = make_net(make_enforcer([rule(actions=("NotifyX",), direction=Direction.UP)]))
    net.send_frame("LC02", "LC01", 6, "*", "LC02", "m1", "NotifyX", {})
    assert net.received_from("CSMS") == net.received_from("LC03") == []
    assert net.nodes["LC01"].counts == {"refused": 1}


def test_binary_message_without_signature_is_rejected() -> None:
    net = make_net(make_enforcer([rule(actions=("BinaryDataTransfer",))]))
    for action in (b"BinaryDataTransfer", b"BinaryOther"):
        frame = b"\x06\0\4LC02\1\0\4CSMS\0\1m" + len(action).to_bytes(2, "big") + action + b"\0\1\2"
        net.send("CSMS", "LC01", frame)
    (passed,) = [message for message in net.got["LC02"] if isinstance(message, bytes)]
    assert passed.endswith(b"BinaryOther\0\1\2")
    assert net.nodes["LC01"].counts == {"refused": 1}


def test_transit_check_forwarded_message_gets_own_signature() -> None:
    ours = SigningRule(
        id="s",
        actions=("SetChargingProfile", "GetX"),
        do=SigningAction.SIGN,
        passing=True,
        kinds=tuple(MessageKind),
    )
    net = make_net(make_enforcer(sign=[ours], own=[KEYS["LC02"]]))
    net.send("CSMS", "LC01", command(GOOD))
    (frame,) = net.received_from("LC02")
    before = json.loads(GOOD)
    assert frame[5].pop("signatures")[:1] == before.pop("signatures")
    assert frame[5] == before
    net.send_frame("LC03", "LC01", 2, "CSMS", "CS07", "m2", "GetX", {})
    assert len(net.received_from("CSMS")[0][5]["signatures"]) == 1
    net.send_frame("CSMS", "LC01", 3, ["LC03", "CS07"], "CSMS", "m2", {})
    assert len(net.received_from("LC03")[0][4]["signatures"]) == 1


def test_missing_key_is_logged() -> None:
    net = make_net(make_enforcer(sign=[SigningRule(id="s", do=SigningAction.SIGN, passing=True)]))
    net.send_frame("CSMS", "LC01", 6, "LC02", "CSMS", "m1", "NotifyX", {})
    assert net.received_from("LC02")[0][5] == {}
    assert "message forwarded unsigned" in net.notes[0]


def test_transit_check_message_waits_for_record() -> None:
    net = make_net(make_enforcer())
    actions = net.nodes["LC01"].handle(FrameReceived("CSMS", command(GOOD)), net.now)
    assert [type(action) for action in actions] == [LogEntry, Persist, FrameHeld]


def test_transit_check_command_from_below_to_node_is_rejected() -> None:
    net = make_net(make_enforcer())
    net.send_frame("LC02", "LC01", 2, "LC01", "LC02", "m1", "SetChargingProfile", {})
    assert net.delivered("LC01") == []
    assert [answer[3:5] for answer in net.received_from("LC02")] == [["m1", "NotSupported"]]
