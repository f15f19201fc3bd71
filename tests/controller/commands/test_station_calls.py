from __future__ import annotations

import msgspec
import pytest

from controller.commands.station_calls import make_remote_start, make_remote_stop, make_reset
from controller.ocpp.frames import Version


@pytest.mark.parametrize(
    ("version", "hard", "kind"),
    [
        (Version.V16, False, "Soft"),
        (Version.V16, True, "Hard"),
        (Version.V201, False, "OnIdle"),
        (Version.V21, True, "Immediate"),
    ],
)
def test_station_calls_reset_names_kind_per_version(version: Version, hard: bool, kind: str) -> None:
    call = make_reset(version, hard=hard)
    assert (call.action, msgspec.json.decode(call.payload)) == ("Reset", {"type": kind})


def test_remote_start_and_stop_of_each_version() -> None:
    assert make_remote_start(Version.V16, 2, "CARD", 7).payload == b'{"connectorId":2,"idTag":"CARD"}'
    start = make_remote_start(Version.V201, 2, "CARD", 7)
    assert start.action == "RequestStartTransaction"
    assert msgspec.json.decode(start.payload) == {
        "evseId": 2,
        "remoteStartId": 7,
        "idToken": {"idToken": "CARD", "type": "Central"},
    }
    assert make_remote_stop(Version.V16, 12).payload == b'{"transactionId":12}'
    assert make_remote_stop(Version.V21, "t-1").payload == b'{"transactionId":"t-1"}'
