"""One node between plain and overlay links: what goes in, and what comes out where."""

from __future__ import annotations

from typing import Any

import pytest

from controller.overlay.events import (
    FrameReceived,
    LinkDown,
    LinkSide,
    LinkState,
    LinkUp,
    SendFailed,
    SendFrame,
)
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import MAX_PENDING
from controller.overlay.routes import Hop
from tests.controller.overlay.net import Net

PLAIN = NetworkingMode.STANDARD
UNREACHED = {"unreached": True}


def make_net(**settings: Any) -> Net:
    """CS01, CS02 plain below LC01; LC02 and CSMS in overlay mode below and above."""
    net = Net()
    net.node("LC01", **settings)
    net.link("CS01", "LC01", PLAIN)
    net.link("CS02", "LC01", PLAIN)
    net.link("LC02", "LC01")
    net.link("LC01", "CSMS")
    return net


def test_node_plain_station_sends_and_gets_answer() -> None:
    net = make_net()
    net.send_frame("CS01", "LC01", 2, "m1", "BootNotification", {"a": 1})
    assert net.received_from("CSMS") == [[2, "CSMS", ["CS01", "LC01"], "m1", "BootNotification", {"a": 1}]]
    net.send_frame("CSMS", "LC01", 3, ["LC01", "CS01"], "CSMS", "m1", {"status": "Accepted"})
    assert net.received_from("CS01") == [[3, "m1", {"status": "Accepted"}]]
    assert net.received_from("CS02") == []


def test_node_backend_reaches_plain_station_and_gets_answer() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, ["LC01", "CS02"], "CSMS", "m1", "Reset", {})
    assert net.received_from("CS02") == [[2, "m1", "Reset", {}]]
    net.send_frame("CS02", "LC01", 4, "m1", "NotSupported", "no", {})
    assert net.received_from("CSMS") == [[4, "CSMS", ["CS02", "LC01"], "m1", "NotSupported", "no", {}]]


@pytest.mark.parametrize("destination", ["CS02", ["CS02"], ["LC01", "CS02"], ["LC01", "LC01", "CS02"]])
def test_node_backend_may_address_station_in_each_form(destination: Any) -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 6, destination, ["CSMS"], "m1", "NotifyX", {})
    assert net.received_from("CS02") == [[6, "m1", "NotifyX", {}]]


@pytest.mark.parametrize("path", [["CS09"], ["CS09", "LC02"], "CS09"])
def test_node_peer_is_added_to_path_once(path: Any) -> None:
    net = make_net()
    net.send_frame("LC02", "LC01", 6, "CSMS", path, "m1", "NotifyX", {})
    assert net.received_from("CSMS") == [[6, "CSMS", ["CS09", "LC02", "LC01"], "m1", "NotifyX", {}]]


@pytest.mark.parametrize("frame", [(6, "m1", "NotifyX", {}), (6, "0", "LC02", "m1", "NotifyX", {})])
def test_frame_from_below_without_destination_goes_up(frame: Any) -> None:
    net = make_net()
    net.send_frame("LC02", "LC01", *frame)
    assert net.received_from("CSMS") == [[6, "CSMS", ["LC02", "LC01"], "m1", "NotifyX", {}]]


def test_frame_from_above_without_destination_is_delivered() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, "m1", "SetChargingProfile", {"limit": 40})
    assert net.delivered("LC01") == [([2, "m1", "SetChargingProfile", {"limit": 40}], ("CSMS",))]
    net.own("LC01", 3, "m1", {"status": "Accepted"})
    assert net.received_from("CSMS") == [[3, "CSMS", "LC01", "m1", {"status": "Accepted"}]]


def test_node_own_request_gets_answer() -> None:
    net = make_net()
    net.own("LC01", 2, "m1", "Reset", {}, to=["LC02", "CS09"])
    assert net.received_from("LC02") == [[2, ["LC02", "CS09"], "LC01", "m1", "Reset", {}]]
    net.send_frame("LC02", "LC01", 3, "LC01", ["CS09", "LC02"], "m1", {})
    assert net.delivered("LC01") == [([3, "m1", {}], ("CS09", "LC02"))]


def test_equal_ids_of_two_stations_get_their_own_answers() -> None:
    net = make_net()
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    net.send_frame("CS02", "LC01", 2, "1", "Heartbeat", {})
    first, second = net.received_from("CSMS")
    assert (first[2:4], second[2]) == ([["CS01", "LC01"], "1"], ["CS02", "LC01"])
    assert second[3] == "1"
    net.send_frame("CSMS", "LC01", 3, "CS02", "csms01", "1", {"for": "CS02"})
    net.send_frame("CSMS", "LC01", 3, "CS01", "csms01", "1", {"for": "CS01"})
    assert net.received_from("CS01") == [[3, "1", {"for": "CS01"}]]
    assert net.received_from("CS02") == [[3, "1", {"for": "CS02"}]]


def test_node_plain_backend_link_serves_station_only() -> None:
    net = Net()
    node = net.node("LC01")
    net.link("CS01", "LC01", PLAIN)
    net.link("CS02", "LC01", PLAIN)
    net.link("LC01", "CSMS", PLAIN, serves="CS01")
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    net.send_frame("CS02", "LC01", 2, "2", "Heartbeat", {})
    assert net.received_from("CSMS") == [[2, "1", "Heartbeat", {}]]
    assert net.received_from("CS02") == [[4, "2", "GenericError", "there is no route to 'CSMS'", UNREACHED]]
    net.send_frame("CSMS", "LC01", 2, "7", "Reset", {})
    assert net.received_from("CS01") == [[2, "7", "Reset", {}]]
    assert node.counts["no route"] == 1


def test_node_two_channels_of_station_stay_with_backends() -> None:
    net = Net()
    net.node("LC01")
    for backend, priority in (("BE1", 0), ("BE2", 1)):
        net.link("LC01", backend, priority=priority)
        leg = LinkState(link=f"leg {backend}", peer="CS01", mode=PLAIN, side=LinkSide.DOWN, only=backend)
        net.feed("LC01", LinkUp(leg))
        net.got[leg.link] = []
    net.send_frame("leg BE2", "LC01", 2, "1", "Heartbeat", {})
    assert (net.received_from("BE1"), len(net.received_from("BE2"))) == ([], 1)
    net.send_frame("BE2", "LC01", 2, "CS01", "BE2", "7", "Reset", {})
    assert (net.received_from("leg BE1"), net.received_from("leg BE2")) == ([], [[2, "7", "Reset", {}]])
    for number in range(10):
        net.send_frame("BE1", "LC01", 6, "CS01", "BE1", str(number), "NotifyX", {})
    assert (len(net.received_from("leg BE1")), net.received_from("leg BE2")) == (10, [])
    net.cut("LC01", "BE2")
    net.send_frame("leg BE2", "LC01", 2, "2", "Heartbeat", {})
    assert net.received_from("BE1") == []


def test_node_child_frames_go_to_relay_others_go_on() -> None:
    net = make_net()
    relay = LinkState(
        link="relay", peer="CSMS", mode=PLAIN, side=LinkSide.UP, priority=-1, serves="LC02", only="LC02"
    )
    net.feed("LC01", LinkUp(relay))
    net.got["relay"] = []
    net.send_frame("LC02", "LC01", 2, "CSMS", "LC02", "1", "BootNotification", {})
    net.send_frame("LC02", "LC01", 2, "CSMS", ["CS09", "LC02"], "1", "BootNotification", {})
    assert net.received_from("relay") == [[2, "1", "BootNotification", {}]]
    assert [frame[2] for frame in net.received_from("CSMS")] == [["CS09", "LC02", "LC01"]]
    net.send_frame("relay", "LC01", 2, "9", "SetChargingProfile", {"limit": 32})
    assert net.received_from("LC02") == [[2, "LC02", "LC01", "9", "SetChargingProfile", {"limit": 32}]]
    net.send_frame("LC02", "LC01", 3, "LC01", ["LC02"], "9", {"status": "Accepted"})
    assert net.received_from("relay") == [[3, "9", {"status": "Accepted"}]]
    net.wait(2)
    assert '"CSMS"' not in str(net.got["CSMS"][-1]).partition("networkTopologyInformation")[2]


def test_missing_route_is_answered_or_counted() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, "CS77", "CSMS", "m1", "Reset", {})
    net.send_frame("CSMS", "LC01", 6, "CS77", "CSMS", "m2", "NotifyX", {})
    assert net.received_from("CSMS") == [
        [4, "CSMS", ["LC01"], "m1", "GenericError", "there is no route to 'CS77'", UNREACHED]
    ]
    assert net.nodes["LC01"].counts["no route"] == 2


@pytest.mark.parametrize("destination", [["CS01", "CS77"], ["CS01", "CS01"]])
def test_plain_station_forwards_nothing(destination: Any) -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 6, destination, "CSMS", "m1", "NotifyX", {})
    assert net.received_from("CS01") == []


def test_node_failed_send_tries_next_link_then_fails() -> None:
    net = Net()
    net.node("LC01")
    net.link("CS01", "LC01", PLAIN)
    net.link("LC01", "BE1", priority=0)
    net.link("LC01", "BE2", priority=1)
    net.broken = {("LC01", "BE1")}
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    assert net.received_from("BE2") == [[2, "CSMS", ["CS01", "LC01"], "1", "Heartbeat", {}]]
    net.send_frame("BE2", "LC01", 3, "CS01", "BE2", "1", {})
    assert net.received_from("CS01") == [[3, "1", {}]]
    net.broken = {("LC01", "BE1"), ("LC01", "BE2")}
    net.send_frame("CS01", "LC01", 2, "2", "Heartbeat", {})
    assert net.received_from("CS01") == [[4, "2", "GenericError", "there is no route to 'CSMS'", UNREACHED]]
    assert net.received_from("BE1") == []


def test_node_lost_link_answers_requests_with_errors() -> None:
    net = Net()
    net.node("LC01")
    net.link("CS01", "LC01", PLAIN)
    net.link("LC01", "BE1", priority=0)
    net.link("LC01", "BE2", priority=1)
    net.send_frame("CS01", "LC01", 2, "1", "TransactionEvent", {})
    net.cut("LC01", "BE1")
    assert net.received_from("CS01") == [
        [4, "1", "GenericError", "the link was lost before an answer came", UNREACHED]
    ]
    assert net.received_from("BE2") == []


def test_timed_out_request_fails_and_late_answer_is_dropped() -> None:
    net = make_net(timeout_s=5.0)
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    net.wait(4.9)
    assert net.received_from("CS01") == []
    net.wait(0.1)
    assert net.received_from("CS01") == [[4, "1", "GenericError", "no answer within 5 s", UNREACHED]]
    net.send_frame("CSMS", "LC01", 3, "CS01", "CSMS", "1", {})
    assert net.received_from("CS01") == []
    assert net.nodes["LC01"].counts["unsolicited"] == 1


def test_node_pending_requests_of_link_are_bounded() -> None:
    net = make_net()
    for number in range(MAX_PENDING + 1):
        net.send_frame("LC02", "LC01", 2, "CSMS", "LC02", str(number), "Heartbeat", {})
    assert [(frame[3], frame[5]) for frame in net.received_from("LC02")] == [
        (str(MAX_PENDING), "too many requests wait for their answers")
    ]
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    assert net.received_from("CS01") == []


def test_node_answer_counts_once_and_from_link() -> None:
    net = make_net()
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    net.send_frame("CS02", "LC01", 3, "1", {"status": "Accepted"})
    assert net.received_from("CS01") == []
    for _ in range(2):
        net.send_frame("CSMS", "LC01", 3, "CS01", "CSMS", "1", {})
    assert net.received_from("CS01") == [[3, "1", {}]]
    assert net.nodes["LC01"].counts["unsolicited"] == 2


def test_node_objection_to_answer_is_logged_on_overlay_link() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, ["LC02", "CS09"], "CSMS", "1", "Reset", {})
    net.send_frame("LC02", "LC01", 3, "LC01", ["CS09", "LC02"], "1", {"status": 7})
    for _ in range(2):
        net.send_frame("CSMS", "LC01", 5, "LC01", ["CSMS"], "1", "TypeConstraintViolation", "status", {})
    assert net.received_from("LC02")[1:] == []
    assert net.nodes["LC01"].counts == {"objections": 1, "unsolicited": 1}
    assert net.notes[0] == "objection to an answer not forwarded link=LC02 type=RESULT_ERROR id=1 from=CSMS"


def test_broadcast_reaches_each_child_and_plain_station_once() -> None:
    net = make_net()
    for _ in range(2):
        net.send_frame("CSMS", "LC01", 6, "*", "CSMS", "m1", "NotifyX", {})
    assert net.received_from("LC02") == [[6, "*", "LC01", "m1", "NotifyX", {}]]
    assert net.delivered("LC01") == [([6, "m1", "NotifyX", {}], ("CSMS",))]
    assert net.received_from("CS01") == [[6, "m1", "NotifyX", {}]]
    assert net.received_from("CSMS") == []


def test_broadcast_call_is_rejected() -> None:
    net = make_net()
    net.send_frame("CSMS", "LC01", 2, "*", "CSMS", "m1", "Reset", {})
    assert [frame[4] for frame in net.received_from("CSMS")] == ["NotSupported"]
    assert net.received_from("LC02") == []


def test_group_send_is_multicast_and_call_anycast() -> None:
    net = make_net(groups={"row": ("CS00", "CS01", "CS02")})
    net.send_frame("CSMS", "LC01", 6, "row", "CSMS", "m1", "NotifyX", {})
    assert net.received_from("CS01") == net.received_from("CS02") == [[6, "m1", "NotifyX", {}]]
    net.send_frame("CSMS", "LC01", 2, "row", "CSMS", "m2", "Reset", {})
    assert (net.received_from("CS01"), net.received_from("CS02")) == ([[2, "m2", "Reset", {}]], [])
    assert net.nodes["LC01"].counts["no route"] == 1, "CS00 is nowhere"
    net.broken = {("LC01", "CS01")}
    net.send_frame("CSMS", "LC01", 2, "row", "CSMS", "m3", "Reset", {})
    assert (net.received_from("CS01"), net.received_from("CS02")) == ([], [[2, "m3", "Reset", {}]])


def test_group_may_contain_this_node() -> None:
    net = make_net(groups={"row": ("LC01", "row", "CS01")})
    net.send_frame("CSMS", "LC01", 6, "row", "CSMS", "m1", "NotifyX", {})
    assert net.delivered("LC01") == [([6, "m1", "NotifyX", {}], ("CSMS",))]
    assert net.received_from("CS01") == [[6, "m1", "NotifyX", {}]]
    assert net.nodes["LC01"].counts == {"no route": 1}


def test_node_configured_route_goes_before_worse_one() -> None:
    net = make_net(routes={"CS09": [Hop("LC02", 5), Hop("CSMS", 1)]})
    net.own("LC01", 6, "m1", "NotifyX", {}, to=["CS09"])
    assert (len(net.received_from("CSMS")), len(net.received_from("LC02"))) == (1, 0)
    net.broken = {("LC01", "CSMS")}
    net.own("LC01", 6, "m2", "NotifyX", {}, to=["CS09"])
    assert len(net.received_from("LC02")) == 1


def test_binary_frame_passes_unaltered_in_both_modes() -> None:
    net = make_net()
    sealed = b"\x00\x12SecureDataTransfer" + bytes(7) + b"\x03\x00\xff\x01"
    net.send("CS01", "LC01", b"\x02\x00\x00\x00\x00\x02m1" + sealed)
    net.send("CSMS", "LC01", b"\x03\x00\x04LC01\x01\x00\x04CSMS\x00\x02m1" + bytes(8))
    assert net.got["CSMS"][-1] == b"\x02\x00\x04CSMS\x02\x00\x04CS01\x00\x04LC01\x00\x02m1" + sealed
    assert net.got["CS01"] == [b"\x03\x00\x00\x00\x00\x02m1" + bytes(8)]


def test_node_own_message_with_path_is_error() -> None:
    with pytest.raises(ValueError, match="plain"):
        make_net().own("LC01", 2, "CSMS", "LC01", "m", "Reset", {})


def test_node_retried_request_keeps_id() -> None:
    net = Net()
    net.node("LC01")
    net.link("CS01", "LC01", PLAIN)
    net.link("CS02", "LC01", PLAIN)
    net.link("LC01", "BE1", priority=0)
    net.link("LC01", "BE2", priority=1)
    net.send_frame("CS01", "LC01", 2, "1", "Heartbeat", {})
    net.broken = {("LC01", "BE1")}
    net.send_frame("CS02", "LC01", 2, "1", "Heartbeat", {})
    assert [frame[2:4] for frame in net.received_from("BE2")] == [[["CS02", "LC01"], "1"]]


def test_failed_send_on_lost_link_is_answered_once() -> None:
    net = make_net()
    node = net.nodes["LC01"]
    (sending,) = node.handle(FrameReceived("CS01", '[2,"1","Heartbeat",{}]'), net.now)
    assert isinstance(sending, SendFrame)
    (error,) = node.handle(LinkDown("CSMS"), net.now)
    assert isinstance(error, SendFrame)
    assert error.link == "CS01"
    assert node.handle(SendFailed(sending), net.now) == []


def test_node_second_link_of_neighbor_is_no_detour() -> None:
    net = make_net(routes={"CS77": [Hop("other")]})
    net.feed(
        "LC01", LinkUp(LinkState(link="other", peer="LC02", mode=NetworkingMode.OVERLAY, side=LinkSide.DOWN))
    )
    net.got["other"] = []
    net.send_frame("LC02", "LC01", 6, "CS77", "LC02", "m1", "NotifyX", {})
    net.send_frame("LC02", "LC01", 6, "*", "LC02", "m2", "NotifyX", {})
    assert net.received_from("other") == []
    assert net.nodes["LC01"].counts == {"no route": 1}
