"""Forged frames and topologies change nothing in a node."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.ocpp.frames import Version
from controller.overlay import overlay_frames
from controller.overlay.events import FrameReceived, SendFrame
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import MAX_HOPS, NetworkingMode, OverlayMessageKind
from controller.overlay.topology import write_topology
from controller.signing import payload_signatures, signature_format, signing_keys
from controller.signing.signature_format import Direction
from controller.signing.signature_format import MessageKind as Signed
from controller.signing.signed_text import SignedTextError
from controller.signing.signing_keys import Keyring, OwnKey
from tests.controller.overlay.net import UTC_S, Net

PLAIN = NetworkingMode.STANDARD


def make_net(**settings: Any) -> Net:
    """Plain CS01, controllers LC02 and LC03 below LC01; CS05 is a configured station that is away."""
    net = Net()
    net.node("LC01", homes={"CS01": frozenset({"CS01"}), "CS05": frozenset({"CS05"})}, **settings)
    net.link("CS01", "LC01", PLAIN)
    net.link("LC02", "LC01")
    net.link("LC03", "LC01")
    net.link("LC01", "CSMS")
    return net


LONG = [f"n{number}" for number in range(MAX_HOPS - 1)]

FALSE_PATHS = [
    ("LC02", ["CS01"], "spoofed"),  # a station that is connected to us
    ("LC02", ["CS05"], "spoofed"),  # a station that is ours, and away
    ("LC02", ["CS01", "LC02"], "spoofed"),
    ("LC02", ["LC03"], "spoofed"),  # another neighbor
    ("LC02", ["LC03", "LC02"], "spoofed"),
    ("LC02", ["CS09", "CS01"], "spoofed"),  # in the middle of the path
    ("LC02", ["CSMS"], "spoofed"),  # a backend, from below
    ("LC02", ["*"], "spoofed"),
    ("LC02", ["0"], "spoofed"),
    ("LC02", ["LC01"], "looped"),  # us
    ("LC02", ["CS09", "LC01", "LC02"], "looped"),
    ("LC02", LONG, "too many hops"),
    ("CS01", ["CS01"], "spoofed"),  # a plain link has no paths at all
    ("CS01", ["CS09"], "spoofed"),
]


@pytest.mark.parametrize(("link", "path", "kind"), FALSE_PATHS)
def test_hostile_forged_path_is_rejected_to_link(link: str, path: list[str], kind: str) -> None:
    net = make_net()
    net.send_frame(link, "LC01", 2, "CSMS", path, "m1", "StartTransaction", {})
    net.send_frame(link, "LC01", 6, "CSMS", path, "m2", "NotifyX", {})
    assert net.nodes["LC01"].counts == {kind: 2}
    code = "SecurityError" if kind == "spoofed" else "GenericError"
    (answer,) = net.received_from(link)
    assert (answer[0], answer[-4:-2]) == (4, ["m1", code])
    assert link == "CS01" or answer[1:3] == [link, ["LC01"]], "the node that it claims to be gets nothing"
    assert all(not net.received_from(other) for other in ("CS01", "LC02", "LC03", "CSMS") if other != link)


def test_hostile_alias_of_backend_from_below_is_rejected() -> None:
    net = make_net()
    net.cut("LC01", "CSMS")
    net.send_frame("LC02", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    assert net.nodes["LC01"].counts == {"spoofed": 1}


def test_longest_path_is_forwarded() -> None:
    net = make_net()
    net.send_frame("LC02", "LC01", 6, "CSMS", LONG[1:], "m1", "NotifyX", {})
    assert net.received_from("CSMS") == [[6, "CSMS", [*LONG[1:], "LC02", "LC01"], "m1", "NotifyX", {}]]


def test_hostile_configured_node_is_accepted_over_link_only() -> None:
    net = Net()
    net.node("LC01", homes={"CS09": frozenset({"LC03"})})
    net.link("LC02", "LC01")
    net.link("LC03", "LC01")
    net.link("LC01", "CSMS")
    for link in ("LC02", "LC03"):
        net.send_frame(link, "LC01", 6, "CSMS", "CS09", "m1", "NotifyX", {})
    assert net.received_from("CSMS") == [[6, "CSMS", ["CS09", "LC03", "LC01"], "m1", "NotifyX", {}]]


def test_answer_over_another_link_is_dropped() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    for link in ("LC02", "LC03"):
        net.send_frame(link, "LC01", 3, "CSMS", "CS01", "m1", {"status": "Accepted"})
    assert net.received_from("CSMS") == []
    net.send_frame("CS01", "LC01", 3, "m1", {"status": "Rejected"})
    assert net.received_from("CSMS") == [[3, "CSMS", ["CS01", "LC01"], "m1", {"status": "Rejected"}]]


def test_malformed_call_is_answered() -> None:
    net = make_net()
    net.send_frame("LC02", "LC01", 2, "CSMS", [7], "m1", "Reset", {})
    net.send_frame("CS01", "LC01", 2, "m2", 7, {})
    assert [(frame[3], frame[4]) for frame in net.received_from("LC02")] == [("m1", "FormatViolation")]
    assert [frame[:3] for frame in net.received_from("CS01")] == [[4, "m2", "FormatViolation"]]
    assert net.received_from("CSMS") == []


# -- topology -------------------------------------------------------------------------------------------


def own_key(holder: str) -> OwnKey:
    return signing_keys.parse_private_key(signing_keys.new_private_key("secp256r1", holder, 0.0, 2e9))


KEYS = {name: own_key(name) for name in ("LC02", "LC03")}


def context(is_call: bool) -> str:
    kind = Signed.REQUEST if is_call else Signed.SEND
    return signature_format.context(Version.V21, Direction.UP, kind, "NotifyNetworkTopology")


def verify(node: str, payload: bytes, is_call: bool) -> str | None:
    """Verify topologies as a policy with the key of each controller does."""
    known = Keyring([key.known for key in KEYS.values()])
    try:
        examined = payload_signatures.verify_payload(payload, context(is_call), known.__contains__)
    except SignedTextError as no:
        return str(no)
    if node in {known.holder(key, UTC_S) for key in examined.keys}:
        return None
    return f"it is not signed by {node}"


def signed(payload: bytes, holder: str, is_call: bool = False) -> bytes:
    return payload_signatures.add_signature(payload, KEYS[holder].private, context(is_call))


def topology(node: str = "LC02", *reached: str, at: float = 1000.0) -> bytes:
    return write_topology(node, dict.fromkeys(reached or ("CS09",), 0), UTC_S + at)


GOOD = signed(topology(), "LC02")

FORGED = [
    ("LC02", ["LC02"], topology()),  # it is not signed
    ("LC02", ["LC02"], signed(topology(), "LC03")),  # another controller has
    ("LC02", ["LC02"], GOOD.replace(b"CS09", b"CS08")),  # it was changed
    ("LC02", ["LC02"], GOOD.replace(b'"routes"', b'"routes":[],"routes"')),  # one name twice
    ("LC03", ["LC03"], GOOD),  # another node reports it
    ("LC03", ["LC02"], GOOD),  # through a neighbor that names a false path
    ("LC03", ["LC02", "LC03"], GOOD),
    ("LC02", ["LC09", "LC02"], GOOD),  # from afar
    ("LC02", ["LC02"], signed(topology("LC03"), "LC03")),  # of another's routes
]


@pytest.mark.parametrize("action_kind", [2, 6])
@pytest.mark.parametrize(("link", "path", "payload"), FORGED)
def test_forged_topology_changes_nothing(
    link: str, path: list[str], payload: bytes, action_kind: int
) -> None:
    net = make_net(verify=verify)
    before = json.dumps(net.reachable("LC01"))
    net.send(link, "LC01", frame(action_kind, path, payload))
    assert json.dumps(net.reachable("LC01")) == before
    answers = [answer[4] for answer in net.received_from(link)]
    assert answers == (["SecurityError"] if action_kind == 2 else [])
    assert sum(net.nodes["LC01"].counts.values()) == 1
    net.send_frame("CSMS", "LC01", 6, "CS09", "CSMS", "m", "NotifyX", {})
    assert net.nodes["LC01"].counts["no route"] == 1


def frame(kind: int, path: Any, payload: bytes) -> str:
    return f'[{kind},"LC01",{json.dumps(path)},"t1","NotifyNetworkTopology",{payload.decode()}]'


@pytest.mark.parametrize("is_call", [False, True])
def test_hostile_topology_signature_counts_for_kind(is_call: bool) -> None:
    net = make_net(verify=verify)
    net.send("LC02", "LC01", frame(2 if is_call else 6, "LC02", signed(topology(), "LC02", not is_call)))
    assert net.nodes["LC01"].counts == {"topology": 1}
    assert "CS09" not in net.reachable("LC01")


@pytest.mark.parametrize("is_call", [False, True])
def test_signed_topology_is_accepted(is_call: bool) -> None:
    net = make_net(verify=verify)
    net.send("LC02", "LC01", frame(2 if is_call else 6, "LC02", signed(topology(), "LC02", is_call)))
    assert [answer[:1] for answer in net.received_from("LC02")] == ([[3]] if is_call else [])
    net.send_frame("CSMS", "LC01", 6, "CS09", "CSMS", "m", "NotifyX", {})
    assert net.received_from("LC02") == [[6, "CS09", "LC01", "m", "NotifyX", {}]]


def test_signed_topology_replay_is_rejected() -> None:
    net = make_net(verify=verify)
    net.send("LC02", "LC01", frame(6, "LC02", GOOD))
    net.cut("LC02", "LC01")
    net.link("LC02", "LC01")
    net.send("LC02", "LC01", frame(6, "LC02", GOOD))
    assert net.nodes["LC01"].counts["topology"] == 1


@pytest.mark.parametrize("stolen", ["CS01", "CS05", "LC03", "CSMS", "LC01"])
def test_topology_cannot_claim_foreign_nodes(stolen: str) -> None:
    net = make_net()
    before = net.reachable("LC01")
    net.send("LC02", "LC01", frame(6, "LC02", topology("LC02", stolen)))
    assert net.reachable("LC01") == before


def test_broadcast_topology_is_used_and_not_forwarded() -> None:
    net = make_net()
    payload = json.loads(topology())
    net.send_frame("LC02", "LC01", 6, "*", "LC02", "m1", "NotifyNetworkTopology", payload)
    assert net.reachable("LC01")["CS09"] == 1
    assert net.got["LC03"] == net.got["CSMS"] == []


def test_routes_of_all_neighbors_are_bounded() -> None:
    net = make_net()
    net.link("LC04", "LC01")
    for name in ("LC02", "LC03", "LC04"):
        many = topology(name, *(f"{name}-{number}" for number in range(1000)))
        net.send(name, "LC01", frame(6, name, many))
    assert net.nodes["LC01"].counts == {"topology": 1}
    assert "LC04-0" not in net.reachable("LC01")


def test_hostile_topology_of_plain_backend_is_rejected() -> None:
    net = Net()
    net.node("LC01")
    net.link("LC01", "CSMS", PLAIN)
    net.send_frame("CSMS", "LC01", 2, "m1", "NotifyNetworkTopology", json.loads(topology("CSMS")))
    assert [json.loads(message)[:3] for message in net.got["CSMS"]] == [[4, "m1", "SecurityError"]]
    assert "CS09" not in net.reachable("LC01")


def test_hostile_topology_of_plain_station_is_rejected() -> None:
    net = make_net()
    payload = json.loads(topology("CS01"))
    net.send_frame("CS01", "LC01", 2, "m1", "NotifyNetworkTopology", payload)
    (to_backend,) = [json.loads(message) for message in net.got["CSMS"]]
    assert to_backend[2] == ["CS01", "LC01"], "it goes to the station's backend, as any message does"
    net.send_frame("CSMS", "LC01", 3, "LC01", "CSMS", "m1", {})
    assert "CS09" not in net.reachable("LC01")


# -- at random ------------------------------------------------------------------------------------------

ids = st.sampled_from(["CS01", "CS05", "LC01", "LC02", "LC03", "CSMS", "*", "0", "row", "CS09", "", "x" * 65])
hops = ids | st.lists(ids, max_size=4) | st.none() | st.integers()
words = st.sampled_from(["m1", "m2", "Reset", "NotifyNetworkTopology"])
elements = hops | words | st.dictionaries(words, st.integers(), max_size=1)
messages = st.one_of(
    st.tuples(st.integers(1, 7), hops, hops, words, words, st.just({})).map(json.dumps),
    st.tuples(st.integers(1, 7), words, words, st.just({})).map(json.dumps),
    st.lists(elements, max_size=8).map(json.dumps),
    st.binary(max_size=30),
    st.tuples(st.integers(2, 6), st.binary(max_size=20)).map(
        lambda each: bytes((each[0], 0, 0, 0)) + each[1]
    ),
)


@given(st.lists(st.tuples(st.sampled_from(["CS01", "LC02", "LC03", "CSMS"]), messages), max_size=12))
def test_random_frames_cause_no_endless_exchange(
    headers: list[tuple[str, str | bytes]],
) -> None:
    net = make_net(groups={"row": ("CS01", "LC02", "LC01", "row")})
    for link, message in headers:
        for action in net.nodes["LC01"].handle(FrameReceived(link, message), net.now):
            if isinstance(action, SendFrame) and action.frame.kind in (
                OverlayMessageKind.CALL,
                OverlayMessageKind.SEND,
            ):
                assert action.link != link
                written = overlay_frames.parse(action.message)
                assert isinstance(written, RoutedFrame)
                assert action.link == "CS01" or written.path[-2:] == (link, "LC01")
