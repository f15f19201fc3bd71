"""Arbitrary and altered frames of an EEBUS partner: nothing raises, and no invalid limit is obeyed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from drivers.eebus.lpc import State
from drivers.eebus.ship import Role
from tests.drivers.eebus.guard import ControlledSite, Guard

RECORDINGS = Path(__file__).parent.parent / "drivers" / "eebus" / "recordings"


def _frames() -> list[bytes]:
    """Frames of the guard in all recordings, the longest left out."""
    frames: set[bytes] = set()
    for file in RECORDINGS.glob("*.jsonl"):
        for line in file.read_text().splitlines():
            frame = json.loads(line)
            if frame["from"] == "guard" and "hex" in frame:
                frames.add(bytes.fromhex(frame["hex"]) + (frame["json"] or "").encode())
    return sorted(each for each in frames if len(each) < 2000)


FRAMES = _frames()

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=3),
    max_leaves=10,
)

NUMBERS = [0, 1, -1, 2**31, 2**63, 2**64, -(2**63), 10**30, 1.5, 1e308, "1", True, None, [], {}]


@st.composite
def altered_frames(draw: st.DrawFn) -> bytes:
    """A recorded frame with bytes cut, doubled or replaced."""
    frame = bytearray(draw(st.sampled_from(FRAMES)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, max(0, len(frame) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                del frame[at : at + draw(st.integers(1, 20))]
            case 1:
                frame[at:at] = frame[at : at + draw(st.integers(1, 20))]
            case 2:
                frame[at : at + 1] = draw(st.binary(min_size=1, max_size=3))
            case _:
                frame[at:at] = draw(st.sampled_from([b"[", b"]", b"{", b"}", b'"', b"\\", b"9" * 30]))
    return bytes(frame)


@st.composite
def altered_values(draw: st.DrawFn) -> bytes:
    """A recorded frame, still JSON, with one of its values exchanged."""
    frame = draw(st.sampled_from([each for each in FRAMES if each[0] == 2]))
    message = json.loads(frame[1:])
    places: list[tuple[Any, Any]] = []

    def collect(value: Any) -> None:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, inner in list(pairs):
            places.append((value, key))
            if isinstance(inner, dict | list):
                collect(inner)

    collect(message)
    container, key = draw(st.sampled_from(places))
    container[key] = draw(st.sampled_from(NUMBERS) | Json)
    return bytes([2]) + json.dumps(message).encode()


messages = st.one_of(st.binary(max_size=64), st.sampled_from(FRAMES), altered_frames(), altered_values())


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(Role),
    st.lists(st.tuples(messages, st.sampled_from([0.0, 1.0, 30.0, 70.0])), max_size=12),
    st.booleans(),
)
def test_ship_with_arbitrary_messages_never_raises(
    role: Role, script: list[tuple[bytes, float]], trusted: bool
) -> None:
    site = ControlledSite(trusted=None if trusted else {})
    site.open(role=role)
    for message, wait in script:
        site.receive(message)
        site.advance(wait)
    assert len(site.sent) < 200


@settings(max_examples=300, deadline=None)
@given(st.lists(messages, min_size=1, max_size=10), st.booleans())
def test_spine_with_arbitrary_datagrams_obeys_no_invalid_limit(script: list[bytes], production: bool) -> None:
    site = ControlledSite(production=production)
    guard = Guard(site).connect()
    guard.beat()
    for message in script:
        site.receive(message)
        for machine in site.machines.values():
            assert machine.limit_w is None or 0 <= machine.limit_w <= 1e12
            assert 7200 <= machine.failsafe.duration_s <= 86_400
            assert 0 <= machine.failsafe.watts <= 1e12
            assert (machine.limit_w is None) == (machine.state in (State.CONTROLLED, State.AUTONOMOUS))
    if "c1" not in site.closed:
        assert guard.read("nodeManagementDetailedDiscoveryData")["deviceInformation"]
