"""Frames, mode headers and topologies as WWCP nodes write and read them, each with the verdict.

`wwcp/frames.json`: frames that they have written, texts that they were given with their verdict, binary
frames (hexadecimal), and values of the header. `wwcp/topologies.json`: the same for routes and topologies.
"""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from controller.overlay import overlay_frames
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import NetworkingMode, mode_of
from controller.overlay.topology import TopologyReceived, TopologyRejectedError

FOLDER = Path(__file__).parent / "wwcp"
FRAMES: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "frames.json").read_text())
TOPOLOGIES: dict[str, list[dict[str, Any]]] = json.loads((FOLDER / "topologies.json").read_text())

ACCEPTED_HERE = {
    '[2,"CS01",[],"id-1","Reset",{"a":1}]': "an empty path is the node at the other end of the link",
    '[3,"CSMS",[],"id-1",{"a":1}]': "an empty path is the node at the other end of the link",
    '[6,"CSMS",[],"id-1","NotifyNetworkTopology",{}]': "an empty path is the node at the other end",
    '[2,"CS01","CSMS","","Reset",{}]': "an id is passed as it is",
    '[2,"","Reset",{}]': "an id is passed as it is",
    '[2,"2026-08-11T08:00:00Z","Reset",{}]': "an id may look like a time",
    '[2,"CS01","CSMS","2026-08-11T08:00:00Z","Reset",{}]': "an id may look like a time",
    '[2,"CS01","CSMS","id-1","",{}]': "an unknown action is its receiver's to reject",
    '[2,"CS01","CSMS","id-1","Reset",[]]': "a payload is its receiver's to judge",
    '[2,"CS01","CSMS","id-1","Reset",null]': "a payload is its receiver's to judge",
    '[2,"id-1","Reset",null]': "a payload is its receiver's to judge",
    '[2,"id-1","Reset",[]]': "a payload is its receiver's to judge",
    '[3,"id-1",null]': "a payload is its receiver's to judge",
    '[4,"CSMS","CS01","id-1","SecurityError","d",{}]': "an error ends its CALL in whatever form",
    '[4,["LC01","CSMS"],["CS01"],"id-1","SecurityError","d",{}]': "an error ends its CALL",
    '[4,["CSMS"],["CS01"],"id-1","SecurityError","d",{}]': "an error ends its CALL",
    '[4,"id-1","SecurityError",null,{}]': "an error ends its CALL, whatever it lacks",
    '[4,"id-1","SecurityError","d",null]': "an error ends its CALL, whatever it lacks",
    '[4,"id-1","SecurityError","d"]': "an error ends its CALL, whatever it lacks",
    '[4,"id-1","","d",{}]': "an error ends its CALL, whatever it lacks",
    '[5,"CSMS",["CS01"],"id-1","SecurityError","d",{}]': "they write it, but cannot read it",
    '[5,"CSMS","CS01","id-1","SecurityError","d",{}]': "read in both forms",
    '[5,["LC01","CSMS"],["CS01"],"id-1","SecurityError","d",{}]': "read in both forms",
    '[5,"id-1","SecurityError",null,{}]': "an error is passed, whatever it lacks",
}
"""Texts that only the controller reads, and why that is harmless."""
REJECTED_HERE = {'[2,[1,2],["CSMS"],"id-1","Reset",{"a":1}]': "ids are texts"}
OTHER_ROUTE = {
    '[2," CS01 "," CSMS ","id-1","Reset",{"a":1}]': ((" CS01 ",), (" CSMS ",)),
}
"""They cut the blanks around an id; here it is another id, which no node has."""


def convert(frame: RoutedFrame, row: dict[str, Any]) -> overlay_frames.Message:
    """Write a frame in the form of a row, as a node does that got it in the plain form."""
    plain = overlay_frames.parse(overlay_frames.to_plain(frame))
    assert isinstance(plain, RoutedFrame)
    if row["mode"] == "OverlayNetwork":
        return overlay_frames.to_overlay(plain, tuple(row["destination"]), tuple(row["path"]))
    return overlay_frames.to_plain(plain)


@pytest.mark.parametrize("row", FRAMES["written"], ids=lambda row: row["text"])
def test_wwcp_written_frame_is_read_and_written_alike(row: dict[str, Any]) -> None:
    frame = overlay_frames.parse(row["text"])
    if not row["destination"] and "[]" in row["text"]:
        # Written without a destination; they cannot read it either.
        assert not isinstance(frame, RoutedFrame)
        return
    assert isinstance(frame, RoutedFrame)
    assert convert(frame, row | {"destination": row["destination"] or ["0"]}) == row["text"]


@pytest.mark.parametrize("row", FRAMES["received"], ids=lambda row: row["text"])
def test_wwcp_received_text_has_own_verdict(row: dict[str, Any]) -> None:
    text = row["text"]
    frame = overlay_frames.parse(text)
    is_accepted = (row["theirs"] or text in ACCEPTED_HERE) and text not in REJECTED_HERE
    assert isinstance(frame, RoutedFrame) is is_accepted
    if isinstance(frame, RoutedFrame) and "destination" in row:
        expected = (tuple(row["destination"]), tuple(row["path"]))
        assert (frame.destination, frame.path) == OTHER_ROUTE.get(text, expected)


def test_wwcp_frames_every_difference_has_text() -> None:
    theirs = {row["text"]: row["theirs"] for row in FRAMES["received"]}
    assert [text for text in ACCEPTED_HERE if theirs[text]] == []
    assert [text for text in (*REJECTED_HERE, *OTHER_ROUTE) if not theirs[text]] == []


@pytest.mark.parametrize("row", FRAMES["binary"], ids=lambda row: f"{row['id']}-{row['mode']}")
def test_wwcp_binary_frame_is_read_and_written_alike(row: dict[str, Any]) -> None:
    data = bytes.fromhex(row["frame"])
    frame = overlay_frames.parse(data)
    if row["mode"] == "Unknown":
        # Destination and path are left out: unreadable for them, and never taken for another message here.
        assert not isinstance(frame, RoutedFrame) or not frame.payload
        return
    assert isinstance(frame, RoutedFrame)
    assert frame.payload.hex() == row["payload"]
    if row["id"] == "send-frame" and row["mode"] == "OverlayNetwork":
        # A SEND has the type of a CALL and names the first hop; ours names the last one, as in a CALL.
        row = row | {"destination": ["LC01"]}
    assert convert(frame, row) == data


@pytest.mark.parametrize("row", FRAMES["headers"], ids=lambda row: row["value"] or "empty")
def test_wwcp_mode_header_is_read_as_theirs_or_without_case(row: dict[str, Any]) -> None:
    theirs = None if row["theirs"] is None else NetworkingMode(row["theirs"])
    by_case = {mode.value.lower(): mode for mode in NetworkingMode}
    assert mode_of(row["value"]) is (theirs or by_case.get(row["value"].lower()))


# -- topologies -----------------------------------------------------------------------------------------


def take(information: dict[str, Any], link: str = "a") -> set[str]:
    """Return the nodes that a report of LC01 makes reachable. Raises TopologyRejectedError."""
    begins = datetime.fromisoformat("2026-08-11T00:00:00+00:00").timestamp()
    reader = TopologyReceived("LC09", lambda *_: None, lambda *_: True)
    payload = json.dumps({"networkTopologyInformation": information}).encode()
    return set(reader.on_report(link, "LC01", payload, 0.0, begins + 1, is_call=False))


def as_report(given: dict[str, Any], name: str) -> dict[str, Any]:
    if name.startswith("topology"):
        return given
    return {"routingNode": "LC01", "routes": [given], "notBefore": "2026-08-11T00:00:00.000Z"}


@pytest.mark.parametrize("row", TOPOLOGIES["parsed"], ids=lambda row: row["id"])
def test_wwcp_topology_has_own_verdict(row: dict[str, Any]) -> None:
    report = as_report(json.loads(row["given"]), row["id"])
    if row["theirs"] or row["id"] == "topology-6":
        assert take(report) == {each["destinationId"] for each in report["routes"]}
    else:
        with pytest.raises(TopologyRejectedError):
            take(report)


@pytest.mark.parametrize("row", TOPOLOGIES["written"], ids=lambda row: row["id"])
def test_wwcp_written_topology_is_read(row: dict[str, Any]) -> None:
    report = as_report(json.loads(row["text"]), row["id"])
    assert take(report) == {each["destinationId"] for each in report["routes"]}
