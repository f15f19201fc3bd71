"""Forwarding table of a node: what passes in one step has the same effects as in the node's pipeline."""

from __future__ import annotations

import json
from typing import Any

import hypothesis.strategies as st
import pytest
from hypothesis import given

from controller.overlay.events import LinkDown, LinkSide, LinkState, LinkUp
from controller.overlay.overlay_wire import NetworkingMode
from controller.overlay.pending_requests import MAX_PENDING
from controller.overlay.routes import Hop
from tests.controller.overlay.net import Net

PLAIN = NetworkingMode.STANDARD
CHANNEL = "CS09 at CSMS"
COMPACT = '"CS09","csms01",'
CALL = '[2,"m1","Heartbeat",{"a": [1,  2.50] } ] '


def make_net(**settings: Any) -> Net:
    """CS01 and CS02 plain below LC01, LC02 and two ways to the backend in overlay mode, CS09 in a channel."""
    net = Net(forwards=settings.pop("forwards", True))
    net.node("LC01", **settings)
    net.link("CS01", "LC01", PLAIN)
    net.link("CS02", "LC01", PLAIN)
    net.link("LC02", "LC01")
    net.link("LC01", "csms01")
    open_channel(net)
    return net


def open_channel(net: Net) -> None:
    net.got.setdefault(CHANNEL, [])
    state = LinkState(link=CHANNEL, peer="CS09", mode=PLAIN, side=LinkSide.DOWN, only="csms01")
    net.feed("LC01", LinkUp(state))
    net.run()


def test_bytes_behind_the_head_pass_as_they_were_received() -> None:
    net = make_net()
    net.send(CHANNEL, "LC01", CALL)
    assert net.got["csms01"] == ['[2,"CSMS",["CS09","LC01"],"m1","Heartbeat",{"a": [1,  2.50] } ] ']
    net.send("csms01", "LC01", '[3,"CS09","csms01","m1",{ "t":1 }]')
    assert net.got[CHANNEL] == ['[3,"m1",{ "t":1 }]']
    assert net.forwarded == 2


@pytest.mark.parametrize(
    "route",
    [
        '"CS09","csms01",',
        ' "CS09", ["csms01"], ',
        '\t[ "CS09" ] ,\n["csms01"]\n,\r\n',
        '"CS\\u0030\\u0039",["csms01" ],',
    ],
)
def test_answer_passes_however_its_head_is_spaced(route: str) -> None:
    net = make_net()
    for number in range(3):
        net.send(CHANNEL, "LC01", f'[2,"m{number}","Heartbeat",{{}}]')
        net.send("csms01", "LC01", f'[3,{route if number else COMPACT}"m{number}", {{"t":1 }}]')
    assert net.got[CHANNEL] == [f'[3,"m{number}", {{"t":1 }}]' for number in range(3)]
    assert net.forwarded == 6


def test_backend_calls_station_in_one_step() -> None:
    net = make_net()
    net.send_frame("csms01", "LC01", 2, "x", "y", "m1", "Reset", {})
    net.got["csms01"].clear()
    net.send("csms01", "LC01", '[2,["LC01","CS02"],"csms01","m2","Reset",{"type" :"Hard"}]')
    net.send("csms01", "LC01", '[2,["CS02"],["csms01"],"m1","Reset",{"type" :"Hard"}]')
    assert net.got["CS02"] == ['[2,"m2","Reset",{"type" :"Hard"}]', '[2,"m1","Reset",{"type" :"Hard"}]']
    net.send("CS02", "LC01", '[3,"m1",{"status": "Accepted"}]')
    assert net.got["csms01"] == ['[3,"csms01",["CS02","LC01"],"m1",{"status": "Accepted"}]']
    assert net.forwarded == 2


def test_closed_link_takes_no_frame_of_a_known_flow() -> None:
    net = make_net()
    net.send(CHANNEL, "LC01", CALL)
    net.cut("LC01", "csms01")
    net.got["csms01"].clear()
    net.got[CHANNEL].clear()
    net.send(CHANNEL, "LC01", CALL)
    assert net.got["csms01"] == []
    assert net.forwarded == 1


def test_learned_route_ends_the_flow_over_it_in_time() -> None:
    net = make_net()
    net.node("LC03")
    net.link("LC03", "LC01")
    net.link("CS31", "LC03", PLAIN)
    net.wait(2.0)
    call = '[2,"CS31","csms01","m%d","Reset",{}]'
    net.send("csms01", "LC01", call % 1)
    assert net.got["CS31"] == ['[2,"m1","Reset",{}]']
    forwarded = net.forwarded
    net.cut("CS31", "LC03")
    net.wait(2.0)
    net.send("csms01", "LC01", call % 2)
    assert net.forwarded == forwarded
    assert net.received_from("csms01")[-1][0] == 4


def test_more_waiting_calls_than_allowed_are_rejected() -> None:
    net = make_net()
    for number in range(MAX_PENDING + 1):
        net.send(CHANNEL, "LC01", f'[2,"{number}","Heartbeat",{{}}]')
    assert net.forwarded == MAX_PENDING
    assert net.unreached == [(CHANNEL, "too many requests wait for their answers")]


IDS = st.sampled_from(["m1", "m2", "m\\u0031", "m\\\\1"])
NODES = ["CS01", "CS09", "CS02", "LC01", "LC02", "CS21", "csms01", "CSMS", "*", "0", "CS30", "grp"]
HOPS = st.one_of(st.sampled_from(NODES), st.lists(st.sampled_from(NODES), max_size=3))
LINKS = st.sampled_from(["CS01", CHANNEL, "LC02", "csms01", "csms01", CHANNEL])
ACTIONS = st.sampled_from(["Heartbeat", "NotifyNetworkTopology"])
SPACE = st.sampled_from(["", "", "", " "])


@st.composite
def texts(draw: st.DrawFn) -> str:
    """Draw frames in both forms, many of them with a destination that exists."""
    space = draw(SPACE)
    kind = draw(st.sampled_from([2, 2, 3, 3, 4, 6]))
    rest = [f'"{draw(IDS)}"']
    rest += [f'"{draw(ACTIONS)}"'] if kind in (2, 6) else []
    rest += ['"E"', '""'] if kind == 4 else []
    rest += [draw(st.sampled_from(["{}", '{"a":1.50}', '{"a":'] if draw(st.booleans()) else ["{}"]))]
    route = draw(
        st.one_of(
            st.just([]),
            st.sampled_from([["CS09", "csms01"], ["CSMS", "LC02"], ["CS01", ["csms01"]]]),
            st.tuples(HOPS, HOPS).map(list),
        )
    )
    return f"[{kind},{space}" + f",{space}".join([*(json.dumps(each) for each in route), *rest]) + "]"


STEPS = st.one_of(
    st.tuples(st.just("send"), LINKS, texts()),
    st.tuples(st.just("send"), LINKS, texts()),
    st.tuples(st.just("send"), LINKS, texts()),
    st.tuples(st.sampled_from(["down", "up", "break"]), st.just(""), st.just("")),
    st.tuples(st.just("wait"), st.just(""), st.just("")),
)


@given(
    st.lists(STEPS, max_size=25), st.sampled_from([{}, {"LC02": (Hop("LC02"),), "CS02": (Hop("csms01"),)}])
)
def test_forwarded_frames_have_the_effects_of_the_pipeline(steps: list[Any], routes: Any) -> None:
    """Two networks get the same frames; the one forwards where it can, the other never does."""
    nets = [
        make_net(forwards=forwards, routes=routes, groups={"grp": ("CS01", "CS02")})
        for forwards in (True, False)
    ]
    for net in nets:
        for what, link, text in steps:
            match what:
                case "send":
                    net.send(link, "LC01", text)
                case "down":
                    net.feed("LC01", LinkDown(CHANNEL))
                case "up":
                    open_channel(net)
                case "break":
                    net.broken ^= {("LC01", "csms01")}
                case "wait":
                    net.wait(31.0)
            net.run()
    short, long = nets
    assert [_read(short.got), short.notes, short.unreached] == [_read(long.got), long.notes, long.unreached]
    assert short.nodes["LC01"].counts == long.nodes["LC01"].counts
    assert short.nodes["LC01"].wake_at == long.nodes["LC01"].wake_at


def _read(got: dict[str, list[Any]]) -> dict[str, list[Any]]:
    return {link: [json.loads(text) for text in texts] for link, texts in got.items()}
