"""A controller without a link upwards rejects no message of its stations."""

from __future__ import annotations

import pytest

from controller.overlay.events import LinkSide, LinkState, LinkUp
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import MAX_PENDING
from tests.controller.overlay.net import Net

LEG = "CS01 at above"


def chain() -> Net:
    """CS01's leg in LC03; LC03, LC02, LC01, CSMS, in overlay mode."""
    net = Net()
    for name in ("LC01", "LC02", "LC03"):
        net.node(name)
    for lower, upper in (("LC03", "LC02"), ("LC02", "LC01"), ("LC01", "CSMS")):
        net.link(lower, upper)
    leg = LinkState(link=LEG, peer="CS01", mode=NetworkingMode.STANDARD, side=LinkSide.DOWN, only="LC02")
    net.got[LEG] = []
    net.feed("LC03", LinkUp(leg))
    net.run()
    return net


def ask(net: Net, number: str = "m1") -> None:
    net.send_frame(LEG, "LC03", 2, number, "TransactionEvent", {})


@pytest.mark.parametrize(("upper", "lower"), [("LC01", "LC02"), ("CSMS", "LC01")])
def test_unreached_unreachable_backend_ends_channel_unanswered(upper: str, lower: str) -> None:
    net = chain()
    net.cut(lower, upper)
    ask(net)
    assert net.received_from(LEG) == []
    assert net.unreached == [(LEG, "there is no route to 'CSMS'")]


def test_unreached_lost_link_ends_channel_unanswered() -> None:
    net = chain()
    ask(net)
    net.cut("LC02", "LC01")
    ask(net, "m2")
    net.link("LC02", "LC01")
    ask(net, "m3")
    net.wait(60)
    assert net.received_from(LEG) == []
    assert [leg for leg, _ in net.unreached] == [LEG] * 3


def test_unreached_full_node_on_way_ends_channel() -> None:
    net = chain()
    for number in range(MAX_PENDING + 1):
        ask(net, str(number))
    assert net.unreached == [(LEG, "too many requests wait for their answers")]


def test_unreached_rejection_of_backend_is_passed_on() -> None:
    net = chain()
    ask(net)
    net.send_frame("CSMS", "LC01", 4, "LC01", ["CSMS"], "m1", "GenericError", "no", {})
    assert net.received_from(LEG) == [[4, "m1", "GenericError", "no", {}]]
    assert net.unreached == []


def test_unreached_plain_link_gets_error_of_missing_route() -> None:
    net = chain()
    net.link("CS02", "LC02", NetworkingMode.STANDARD)
    net.cut("LC02", "LC01")
    net.send_frame("CS02", "LC02", 2, "m1", "Heartbeat", {})
    assert [frame[:3] for frame in net.received_from("CS02")] == [[4, "m1", "GenericError"]]
