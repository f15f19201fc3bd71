"""A controller that has lost its own way up says no for nobody: what stations have said is not refused."""

from __future__ import annotations

import pytest

from controller.overlay.events import LinkSide, LinkState, LinkUp
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import MOST_WAITING
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
    net.say(LEG, "LC03", 2, number, "TransactionEvent", {})


@pytest.mark.parametrize(("upper", "lower"), [("LC01", "LC02"), ("CSMS", "LC01")])
def test_where_the_way_ends_on_the_way_the_leg_ends_and_the_message_is_not_refused(
    upper: str, lower: str
) -> None:
    net = chain()
    net.cut(lower, upper)
    ask(net)
    assert net.heard(LEG) == []
    assert net.unreached == [(LEG, "there is no way to 'CSMS'")]


def test_so_it_does_where_it_breaks_while_an_answer_is_awaited_or_none_comes() -> None:
    net = chain()
    ask(net)
    net.cut("LC02", "LC01")
    ask(net, "m2")
    net.link("LC02", "LC01")
    ask(net, "m3")
    net.wait(60)
    assert net.heard(LEG) == []
    assert [leg for leg, _ in net.unreached] == [LEG] * 3


def test_where_too_many_wait_on_the_way_it_is_not_refused_either() -> None:
    net = chain()
    for number in range(MOST_WAITING + 1):
        ask(net, str(number))
    assert net.unreached == [(LEG, "too many requests wait for their answers")]


def test_what_the_backend_itself_refuses_is_refused() -> None:
    net = chain()
    ask(net)
    net.say("CSMS", "LC01", 4, "LC01", ["CSMS"], "m1", "GenericError", "no", {})
    assert net.heard(LEG) == [[4, "m1", "GenericError", "no", {}]]
    assert net.unreached == []


def test_who_is_no_leg_hears_that_the_way_ends() -> None:
    net = chain()
    net.link("CS02", "LC02", NetworkingMode.STANDARD)
    net.cut("LC02", "LC01")
    net.say("CS02", "LC02", 2, "m1", "Heartbeat", {})
    assert [frame[:3] for frame in net.heard("CS02")] == [[4, "m1", "GenericError"]]
