"""Recorded traffic of WWCP nodes, with a controller in each place: frame by frame the same."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.ocpp.frames import Call, CallResult, Version
from controller.ocpp.frames import parse as parse_frame
from controller.signing import signature_format
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_enforcer import Decision, ForwardDecision, MessageContext, PolicyEnforcer
from controller.signing.policy_schema import VerificationMode, VerificationRule
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey
from tests.controller.overlay.recording_player import (
    UTC_S,
    RecordedFrame,
    RecordingPlayer,
    keys_of,
    read_recording,
)

FOLDER = Path(__file__).parent / "recordings"
CHAINS = {
    "chain3-unsigned": ("CS01", "LC01", "csms01"),
    "chain3-signed": ("CS01", "LC01", "csms01"),
    "chain4-signed": ("CS01", "LC02", "LC01", "csms01"),
}
PLACES = [
    (name, ours)
    for name, chain in CHAINS.items()
    for ours in ([chain[1:-1], *((each,) for each in chain[1:-1])] if len(chain) > 3 else [chain[1:-1]])
]


def _verifier(
    recording: list[RecordedFrame], require: VerificationMode = VerificationMode.ALL
) -> PolicyEnforcer:
    """Every node verifies every signature of every kind of message."""
    known = [
        KnownKey(id=KeyId("secp256r1", signature_format.decode_base64(point) or b""), holder=holder)
        for holder, point in keys_of(recording)
    ]
    holders = tuple({key.holder for key in known})
    rule = VerificationRule(id="all", require=VerificationMode.ALL, kinds=tuple(MessageKind), holders=holders)
    return PolicyEnforcer(SignaturePolicy(keyring=Keyring(known), verify=[rule]))


@pytest.mark.parametrize(("name", "ours"), PLACES)
def test_recordings_frames_pass_controllers_unchanged(name: str, ours: tuple[str, ...]) -> None:
    player = RecordingPlayer(CHAINS[name], ours)
    assert player.play(read_recording(FOLDER / f"{name}.jsonl")) == []


@pytest.mark.parametrize(("name", "ours"), [each for each in PLACES if "unsigned" not in each[0]])
def test_recordings_frames_pass_verifying_controllers(name: str, ours: tuple[str, ...]) -> None:
    recording = [each for each in read_recording(FOLDER / f"{name}.jsonl") if each.kind != "binary"]
    player = RecordingPlayer(CHAINS[name], ours, _verifier(recording))
    assert player.play(recording) == []


def _surplus(name: str, ours: tuple[str, ...]) -> list[tuple[str, list[object]]]:
    """Return receiver and frame of what the controllers send beyond the recording, without answers."""
    player = RecordingPlayer(CHAINS[name], ours)
    player.play(read_recording(FOLDER / f"{name}.jsonl"))
    found = [(receiver, json.loads(text)) for _, receiver, text in player.surplus() if isinstance(text, str)]
    return [(receiver, frame) for receiver, frame in found if frame[0] in (2, 6)]


def test_recordings_broadcast_is_forwarded_to_station() -> None:
    ((receiver, frame),) = [
        (receiver, frame) for receiver, frame in _surplus("chain3-signed", ("LC01",)) if frame[0] == 6
    ]
    assert receiver == "CS01"
    assert frame[:3] == [6, "900007", "MessageTransfer"]


def test_recordings_source_route_is_forwarded() -> None:
    ((receiver, frame),) = _surplus("chain4-signed", ("LC01",))
    assert receiver == "LC02"
    assert frame[:5] == [2, ["LC02", "CS01"], ["csms01", "LC01"], "900005", "DataTransfer"]


def test_recordings_altered_message_is_refused_by_controller_that_verifies() -> None:
    """`between` alters a signed DataTransfer and a signed SEND on their way down; theirs act on the SEND."""
    recording = read_recording(FOLDER / "tampered.jsonl")
    enforcer = _verifier(recording)
    results = [
        (frame.data[:40], isinstance(_decide(enforcer, frame), ForwardDecision))
        for frame in recording
        if frame.source == "between" and frame.target == "CS01" and frame.data.startswith(("[2", "[6"))
    ]
    assert [good for _, good in results] == [False, False, True]


def _decide(enforcer: PolicyEnforcer, recorded: RecordedFrame) -> Decision:
    context = MessageContext(version=Version.V21, direction=Direction.DOWN, link="csms01", station="CS01")
    return enforcer.decide(context, parse_frame(recorded.data), UTC_S)


def test_recordings_overlay_station_with_empty_path_is_read() -> None:
    player = RecordingPlayer(("CS01", "csms01", "beyond"), ("csms01",), overlay_stations=True)
    recording = read_recording(FOLDER / "overlay-station.jsonl")
    player.play(frame for frame in recording if frame.source == "CS01")
    sent = [json.loads(text) for _, receiver, text in player.surplus() if receiver == "beyond"]
    assert [frame[:4] for frame in sent] == [
        [2, "CSMS", ["CS01", "csms01"], "900001"],
        [6, "CSMS", ["CS01", "csms01"], "900002"],
    ]


def test_recordings_central_system_of_1_6_and_station_are_verified() -> None:
    """Every signed frame of both sides, under the contexts of 1.6; some answers are never signed by them."""
    recording = read_recording(FOLDER / "ocpp16-signed.jsonl")
    enforcer = _verifier(recording, VerificationMode.ANY)
    asked: dict[tuple[str, str], str] = {}
    unsigned: list[str] = []
    for recorded in (frame for frame in recording if frame.kind == "text"):
        frame = parse_frame(recorded.data)
        if isinstance(frame, Call):
            asked[recorded.source, frame.id] = frame.action
        assert isinstance(frame, Call | CallResult)
        direction = Direction.UP if recorded.source == "CP01" else Direction.DOWN
        action = None if isinstance(frame, Call) else asked[recorded.target, frame.id]
        context = MessageContext(
            version=Version.V16, direction=direction, link="x", station="CP01", action=action
        )
        decision = enforcer.decide(context, frame, UTC_S)
        if not isinstance(decision, ForwardDecision):
            assert decision.reason == "it is not signed"
            unsigned.append(action or frame.action)  # type: ignore[union-attr]
    assert set(unsigned) == {"StatusNotification", "MeterValues", "DataTransfer"}
