from __future__ import annotations

import msgspec
import pytest

from controller.access.permissions import AccessPermission, Resource, Verb
from controller.commands.site_command import (
    COMMANDS,
    CommandFormatError,
    LimitEvse,
    PauseEvse,
    SiteCommand,
    StartTransaction,
    convert_command,
    read_request,
)


def read_command(text: bytes) -> SiteCommand:
    return convert_command(read_request(text)[1])


def test_command_from_json_is_typed_with_defaults() -> None:
    command = read_command(b'{"command": "station.pause", "station": "CS01"}')
    assert command == PauseEvse(station="CS01")
    assert command.name == "station.pause"
    assert command.subject == "station=CS01 duration_s=86400.0"
    assert command.permission == AccessPermission(Resource.STATIONS, Verb.RUN)


def test_command_from_members_is_same() -> None:
    members = {"command": "station.limit", "station": "CS01", "evse": 2, "limit_a": 10, "duration_s": 60}
    assert convert_command(members) == LimitEvse(station="CS01", evse=2, limit_a=10.0, duration_s=60.0)


@pytest.mark.parametrize("request_id", ["p1", 7])
def test_command_from_json_has_the_names_of_its_request(request_id: str | int) -> None:
    text = msgspec.json.encode({"command": "station.pause", "station": "CS01", "request_id": request_id})
    request, members = read_request(text)
    assert (request.command, request.request_id) == ("station.pause", request_id)
    assert convert_command(members) == PauseEvse(station="CS01")


@pytest.mark.parametrize(
    ("text", "place"),
    [
        (b'{"command": "station.explode", "station": "CS01"}', "unknown command"),
        (b'{"station": "CS01"}', "command"),
        (b'{"command": "station.pause"}', "station"),
        (b'{"command": "station.pause", "station": ""}', "station"),
        (b'{"command": "station.pause", "station": "CS01", "duration": 5}', "duration"),
        (b'{"command": "station.pause", "station": "CS01", "duration_s": 1e9}', "duration_s"),
        (b'{"command": "station.pause", "station": "CS01", "evse": 0}', "evse"),
        (b'{"command": "station.limit", "station": "CS01", "limit_a": 10}', "duration_s"),
        (b'{"command": "station.limit", "station": "CS01", "limit_a": -1, "duration_s": 1}', "limit_a"),
        (b'{"command": "station.reset", "station": "CS01", "mode": "fierce"}', "mode"),
        (
            b'{"command": "energy.departures", "departures": [{"ready_by": "7", "energy_kwh": 20}]}',
            r"Expected a time like 06:30 - at `\$.departures\[0\].ready_by`",
        ),
        (
            b'{"command": "token.create", "token": "x y", "scopes": ["status:read"]}',
            r"Expected 1 to 48 letters, digits or . _ @ - that begin with a letter or digit - at `\$.token`",
        ),
        (b'{"command": "station.pause", "station": "CS01", "request_id": 1.5}', "request_id"),
        (b'{"command": "station.pause", "station": "CS01", "request_id": "%s"}' % (b"x" * 65), "request_id"),
        (b"[]", "object"),
        (b'{"command"', "truncated"),
    ],
)
def test_command_with_error_is_rejected_with_place(text: bytes, place: str) -> None:
    with pytest.raises(CommandFormatError, match=place):
        read_command(text)


def test_subject_has_no_card() -> None:
    command = StartTransaction(station="CS01", id_token="04A2B3C4")
    assert "04A2B3C4" not in command.subject


def test_every_command_has_permission_and_survives_json() -> None:
    assert len(COMMANDS) >= 20
    for kind in COMMANDS.values():
        assert isinstance(kind.permission, AccessPermission)
    command = PauseEvse(station="CS01")
    assert read_command(msgspec.json.encode(command)) == command
