"""Arbitrary bytes for what peers send: frames, payloads, profiles, handshakes, overlay frames, signatures."""

from __future__ import annotations

import time
from contextlib import suppress
from functools import partial

import pytest

from controller.ocpp import energy_register, frames, id_tokens, payloads, station_state
from controller.ocpp.frames import Version, parse
from controller.ocpp.station_state import StationStateTracker
from controller.overlay import overlay_frames
from controller.profiles import profile_messages, schedule
from controller.profiles.profile_messages import ProfileError, accept_profile, read_profile_command
from controller.profiles.schedule import ScheduleContext, composite
from controller.session_ledger import session_recorder
from controller.session_ledger.charging_session import NO_CARD
from controller.session_ledger.session_recorder import SessionRecorder
from controller.signing import payload_signatures, signature_format, signed_text
from controller.signing.payload_signatures import verify_payload
from controller.signing.signed_text import SignedTextError
from controller.transport import http_upgrade
from controller.transport.http_upgrade import UpgradeError, UpgradeRequest
from tests.fuzz.coverage_guided import fuzz

UTC = 1_795_000_000.0
LONGEST_S = 2.0
"""Time of one evaluation under the tracer, which makes it some hundred times slower."""

METER_VALUES = (
    b'{"connectorId":1,"transactionId":7,"meterValue":[{"timestamp":"2026-11-18T11:06:00Z","sampledValue":'
    b'[{"value":"1.5","measurand":"Current.Import","phase":"L1","unit":"A"},{"value":9,"unit":"kWh"}]}]}'
)
EVENT = (
    b'{"eventType":"Started","timestamp":"2026-11-18T11:06:00Z","seqNo":0,"transactionInfo":{"transactionId":'
    b'"T","chargingState":"Charging"},"evse":{"id":1},"idToken":{"idToken":"A","type":"Local"},"meterValue":'
    b'[{"timestamp":"2026-11-18T11:06:00Z","sampledValue":[{"value":1e3,"unitOfMeasure":{"multiplier":1}}]}]}'
)
PROFILE_16 = (
    b'{"connectorId":1,"csChargingProfiles":{"chargingProfileId":7,"stackLevel":1,"chargingProfilePurpose":'
    b'"TxDefaultProfile","chargingProfileKind":"Recurring","recurrencyKind":"Daily","chargingSchedule":{'
    b'"startSchedule":"2026-11-18T00:00:00Z","duration":86400,"chargingRateUnit":"A",'
    b'"chargingSchedulePeriod":[{"startPeriod":0,"limit":16.0},{"startPeriod":3600,"limit":6}]}}}'
)
PROFILE_2 = (
    b'{"evseId":1,"chargingProfile":{"id":7,"stackLevel":1,"chargingProfilePurpose":"TxDefaultProfile",'
    b'"chargingProfileKind":"Absolute","chargingSchedule":[{"id":1,"startSchedule":"2026-11-18T00:00:00Z",'
    b'"chargingRateUnit":"W","chargingSchedulePeriod":[{"startPeriod":0,"limit":11000.0,"numberPhases":3}]}]}}'
)
UPGRADE = (
    b"GET /ocpp/CS01 HTTP/1.1\r\nHost: gateway\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Protocol: ocpp1.6, ocpp2.0.1\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
)
SIGNED = (
    b'{"connectorId":1,"timestamp":"2026-11-18T11:06:00Z","signatures":[{"keyId":"BGsX","value":"MEUC",'
    b'"signingMethod":"ECDSAP256SHA256","encodingMethod":"base64"}]}'
)


def feed_frame(data: bytes) -> None:
    frame = parse(data.decode(errors="replace"))
    if isinstance(frame, frames.MalformedFrame):
        for version in Version:
            frames.malformed_answer(version, frame)
        assert len(frame.reason) < 200


def feed_station(version: Version, data: bytes) -> None:
    """A message of the station for all that reads it; the action is chosen by the first byte."""
    tracker = StationStateTracker(version, 230.0)
    recorder = SessionRecorder("CS01", version, lambda _: NO_CARD, 1)
    actions = sorted(tracker.actions | recorder.actions | {"BootNotification"})
    action, payload = actions[data[0] % len(actions) if data else 0], data[1:]
    for _ in range(2):
        tracker.on_message(action, payload, UTC)
        tracker.on_call_result(action, payload, b'{"transactionId":7,"status":"Accepted"}')
        for record in recorder.on_message(action, payload, UTC):
            assert "idToken" not in repr(record)
    id_tokens.named_token(version, payload)


def feed_profile(version: Version, data: bytes) -> None:
    """Each profile that can be read can be evaluated in bounded time."""
    with suppress(ProfileError):
        command = read_profile_command(version, "SetChargingProfile", data)
        assert command is not None
        profile = accept_profile(version, command, UTC)
        context = ScheduleContext(evse=1, phases=3, voltage=230.0, since=UTC)
        began = time.thread_time()
        for moment in (UTC, 0.0, 4e9):
            found = composite([profile.profile], moment, 2**31, context)
            assert len(found.spans) <= schedule.MOST_STEPS + 1
        assert time.thread_time() - began < LONGEST_S


def feed_upgrade(data: bytes) -> None:
    """A request in pieces: it is complete, or raises UpgradeError."""
    request = UpgradeRequest(65_536, compression=True)
    step = 1 + (data[0] % 64 if data else 0)
    with suppress(UpgradeError):
        for at in range(0, len(data), step):
            request.receive_data(data[at : at + step])
            if request.is_complete:
                _ = (request.target, request.headers, request.subprotocols)
                request.accept("ocpp1.6")
                return
        request.receive_data(b"")


def feed_overlay(data: bytes) -> None:
    for message in (data, data.decode(errors="replace")):
        for is_overlay in (True, False):
            overlay_frames.parse(message, is_overlay=is_overlay)


def feed_signature(data: bytes) -> None:
    with suppress(SignedTextError):
        report = verify_payload(data, "https://open.charging.cloud/x", lambda _: True)
        assert not any(each.valid for each in report.signatures)


def test_fuzzed_frames_are_read_or_answered() -> None:
    seeds = [
        b'[2,"1","Heartbeat",{}]',
        b'[3,"1",{"a":[1,"x"]}]',
        b'[4,"1","GenericError","",{}]',
        b'[2,1,"A"]',
    ]
    assert fuzz(feed_frame, [frames], seeds) > 20


@pytest.mark.parametrize("version", [Version.V16, Version.V201])
def test_fuzz_ocpp_fuzzed_messages_of_station_are_read_leniently(version: Version) -> None:
    seeds = [bytes([index]) + payload for index in range(6) for payload in (METER_VALUES, EVENT)]
    modules = [station_state, energy_register, payloads, id_tokens, session_recorder]
    assert fuzz(partial(feed_station, version), modules, seeds) > 40


@pytest.mark.parametrize(("version", "seed"), [(Version.V16, PROFILE_16), (Version.V201, PROFILE_2)])
def test_fuzzed_profiles_are_rejected_or_evaluated_in_time(version: Version, seed: bytes) -> None:
    assert fuzz(partial(feed_profile, version), [profile_messages, schedule], [seed]) > 40


def test_fuzzed_upgrades_are_complete_or_rejected() -> None:
    assert fuzz(feed_upgrade, [http_upgrade], [UPGRADE, UPGRADE.replace(b"CS01", b"C%C3%BC")]) > 10


def test_fuzzed_overlay_frames_are_read_or_malformed() -> None:
    seeds = [b'[2,["CSMS"],["CS01"],"1","Heartbeat",{}]', b'[3,"1",{}]', b"\x02\x01A\x011\x09Heartbeat{}"]
    assert fuzz(feed_overlay, [overlay_frames], seeds) > 20


def test_fuzzed_signatures_are_never_valid() -> None:
    modules = [payload_signatures, signature_format, signed_text]
    assert fuzz(feed_signature, modules, [SIGNED, b'{"a":1.50,"b":[null,true,"x"]}']) > 20
