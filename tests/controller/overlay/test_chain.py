"""Chains of controllers: station, controller, controller, backend; links that fall and come back."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.ocpp.frames import Version
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.topology import DEBOUNCE_S, REFRESH_S, VALID_S
from tests.controller.overlay.net import UTC_S, Net

PLAIN = NetworkingMode.STANDARD


def chain(**more: Any) -> Net:
    """CS01 - LC03 - LC02 - LC01 - CSMS, the station on a plain link, CS02 plain below LC02."""
    net = Net()
    for name in ("LC01", "LC02", "LC03"):
        net.node(name)
    net.link("CS01", "LC03", PLAIN)
    net.link("CS02", "LC02", PLAIN)
    net.link("LC03", "LC02", **more)
    net.link("LC02", "LC01", **more)
    net.link("LC01", "CSMS", **more)
    net.wait(5)
    return net


def routes(message: str | bytes) -> dict[str, int]:
    frame = json.loads(message)
    return {
        each["destinationId"]: each["priority"] for each in frame[-1]["networkTopologyInformation"]["routes"]
    }


def test_request_goes_up_chain_and_answer_down() -> None:
    net = chain()
    net.send_frame("CS01", "LC03", 2, "m1", "BootNotification", {"a": 1})
    path = ["CS01", "LC03", "LC02", "LC01"]
    assert net.received_from("CSMS") == [[2, "CSMS", path, "m1", "BootNotification", {"a": 1}]]
    net.send_frame("CSMS", "LC01", 3, "LC01", "CSMS", "m1", {"status": "Accepted"})
    assert net.received_from("CS01") == [[3, "m1", {"status": "Accepted"}]]


def test_chain_backend_reaches_end_of_chain_by_id() -> None:
    net = chain()
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    assert net.received_from("CS01") == [[2, "m1", "Reset", {}]]
    net.send_frame("CS01", "LC03", 3, "m1", {})
    assert net.received_from("CSMS") == [[3, "CSMS", ["CS01", "LC03", "LC02", "LC01"], "m1", {}]]


def test_chain_controller_reaches_another_one_in_chain() -> None:
    net = chain()
    net.own("LC01", 2, "m1", "SetChargingProfile", {"limit": 32}, to=["LC03"])
    (delivered,) = net.delivered("LC03")
    assert delivered == ([2, "m1", "SetChargingProfile", {"limit": 32}], ("LC01", "LC02"))
    net.own("LC03", 3, "m1", {"status": "Accepted"})
    assert net.delivered("LC01") == [([3, "m1", {"status": "Accepted"}], ("LC03", "LC02"))]


@pytest.mark.parametrize("sends", [True, False])
def test_chain_backend_gets_topology_of_chain(sends: bool) -> None:
    net = chain(version=Version.V21 if sends else Version.V201)
    report = net.got["CSMS"][-1]
    kind, destination, path, _, action, _ = json.loads(report)
    assert (kind, destination, path, action) == (6, "CSMS", "LC01", "NotifyNetworkTopology")
    assert routes(report) == {"CS01": 3, "CS02": 2, "LC02": 1, "LC03": 2}
    assert net.notes == []


def test_chain_recovers_when_middle_link_is_back() -> None:
    net = chain()
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    net.cut("LC03", "LC02")
    assert [frame[3:5] for frame in net.received_from("CSMS")] == [["m1", "GenericError"]]
    assert net.received_from("CS01") == [[2, "m1", "Reset", {}]]
    net.wait(2 * DEBOUNCE_S)
    assert routes(net.got["CSMS"][-1]) == {"CS02": 2, "LC02": 1}
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m2", "Reset", {})
    assert [frame[5] for frame in net.received_from("CSMS")] == ["there is no route to 'CS01'"]
    net.link("LC03", "LC02")
    net.wait(3 * DEBOUNCE_S)
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m3", "Reset", {})
    assert net.received_from("CS01") == [[2, "m3", "Reset", {}]], "once, and nothing of what failed"


def test_flapping_link_causes_one_report() -> None:
    net = chain()
    net.got["CSMS"].clear()
    for _ in range(20):
        net.cut("CS02", "LC02")
        net.link("CS02", "LC02", PLAIN)
        net.wait(DEBOUNCE_S / 40)
    net.wait(5 * DEBOUNCE_S)
    assert net.got["CSMS"] == [], "routes are as reported"
    net.cut("CS02", "LC02")
    net.wait(5 * DEBOUNCE_S)
    assert len(net.got["CSMS"]) == 1


def test_chain_topology_is_repeated_before_it_ends() -> None:
    net = chain()
    net.got["CSMS"].clear()
    net.wait(3 * REFRESH_S)
    assert 3 <= len(net.got["CSMS"]) <= 4
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    assert net.received_from("CS01") == [[2, "m1", "Reset", {}]]
    net.broken.add(("LC02", "LC01"))  # half open: not detected yet
    net.wait(VALID_S + 1)
    net.got["CSMS"].clear()
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m2", "Reset", {})
    assert [frame[5] for frame in net.received_from("CSMS")] == ["there is no route to 'CS01'"]


def ring() -> Net:
    """LC01, LC02 and LC03 all know each other; CS01 is below LC03, the backend above LC01."""
    net = Net()
    for name in ("LC01", "LC02", "LC03"):
        net.node(name)
    net.link("CS01", "LC03", PLAIN)
    net.link("LC03", "LC02")
    net.link("LC02", "LC01")
    net.link("LC03", "LC01")
    net.link("LC01", "CSMS")
    net.wait(5)
    return net


def test_chain_ring_uses_long_route_when_short_one_fails() -> None:
    net = ring()
    net.send_frame("CSMS", "LC01", 6, "CS01", "CSMS", "m1", "NotifyX", {})
    assert net.received_from("CS01") == [[6, "m1", "NotifyX", {}]]
    net.cut("LC03", "LC01")
    net.wait(5)
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m2", "Reset", {})
    net.send_frame("CS01", "LC03", 3, "m2", {})
    assert net.received_from("CS01") == [[2, "m2", "Reset", {}]]
    assert net.received_from("CSMS") == [[3, "CSMS", ["CS01", "LC03", "LC02", "LC01"], "m2", {}]]


def test_chain_ring_delivers_broadcast_once() -> None:
    net = ring()
    net.send_frame("CSMS", "LC01", 6, "*", "CSMS", "m1", "NotifyX", {})
    assert [len(net.delivered(name)) for name in ("LC01", "LC02", "LC03")] == [1, 1, 1]


def test_chain_ring_removes_lost_nodes() -> None:
    net = ring()
    net.cut("CS01", "LC03")
    net.wait(60)
    assert "CS01" not in routes(net.got["CSMS"][-1])
    net.send_frame("CSMS", "LC01", 2, "CS01", "CSMS", "m1", "Reset", {})
    assert [frame[5] for frame in net.received_from("CSMS")] == ["there is no route to 'CS01'"]


def test_chain_topology_begins_later_each_time_with_stopped_clock() -> None:
    signed: list[bytes] = []

    def sign(payload: bytes) -> bytes:
        signed.append(payload)
        return payload

    net = Net()
    net.node("LC02", utc_of=lambda now: UTC_S, sign=sign)
    net.node("LC01", utc_of=lambda now: UTC_S)
    net.link("LC02", "LC01", version=Version.V201)
    for name in ("CS01", "CS02", "CS03"):
        net.link(name, "LC02", PLAIN)
        net.wait(2)
    assert {"CS01", "CS02", "CS03"} <= net.reachable("LC01").keys()
    assert net.nodes["LC01"].counts == {}
    assert len(signed) == len(set(signed)) > 2
