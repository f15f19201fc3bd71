"""Each command as a sentence: complete, and without secrets."""

from __future__ import annotations

import msgspec
import pytest

from controller.access.access_records import AuditStored
from controller.commands.command_statements import describe_command
from controller.commands.site_command import (
    COMMANDS,
    AddUser,
    CreateToken,
    LimitEvse,
    PauseEvse,
    PrioritizeEvse,
    RegisterPartners,
    ResetStation,
    SiteCommand,
    StartTransaction,
    convert_command,
)

MEMBERS = {
    "station": "CS01",
    "evse": 2,
    "duration_s": 3600,
    "limit_a": 10,
    "priority": -5,
    "energy_kwh": 20,
    "leaves_in_s": 7200,
    "departures": [{"ready_by": "07:00", "energy_kwh": 5}],
    "prices": [{"begin": "2026-11-21T12:00:00Z", "price": 0.3}],
    "circuit": "grid",
    "text": "[site]",
    "base": "b",
    "version": "a" * 64,
    "backend": "cpo",
    "number": 7,
    "ski": "ab",
    "seconds": 120,
    "reason": "no fuse",
    "user": "anna",
    "role": "operator",
    "token": "grafana",
    "scopes": ["status:read"],
}


def make_command(kind: type[SiteCommand]) -> SiteCommand:
    """Return a command of a type with a value for each member that needs one."""
    known = {each.encode_name for each in msgspec.structs.fields(kind)}
    members = {name: value for name, value in MEMBERS.items() if name in known}
    return convert_command({"command": str(kind.__struct_config__.tag), **members})


@pytest.mark.parametrize("kind", list(COMMANDS.values()), ids=list(COMMANDS))
def test_command_statement_is_sentence_without_raw_members(kind: type[SiteCommand]) -> None:
    command = make_command(kind)
    text = str(describe_command(command))
    assert text
    assert not {"=", "_", "None"} & set(text.replace(" ", ""))
    assert command.name not in text
    assert "None" not in text


@pytest.mark.parametrize(
    ("command", "text"),
    [
        (PauseEvse(station="CS01", duration_s=14400.0), "CS01 paused for 4 h"),
        (
            LimitEvse(station="CS01", evse=2, limit_a=10.0, duration_s=3600.0),
            "CS01/2 limited to 10 A for 1 h",
        ),
        (
            PrioritizeEvse(station="CS01", evse=1, priority=0, duration_s=3600.0),
            "CS01/1 served with priority 0 for 1 h",
        ),
        (StartTransaction(station="CS01", id_token="04AABBCC"), "CS01/1: charging started"),
        (ResetStation(station="CS01", mode="hard"), "station CS01 reset (hard)"),
        (RegisterPartners(seconds=0), "no further EEBUS partner is accepted"),
        (
            AddUser(user="anna", role="viewer", password="a secret of hers"),
            "user anna added or changed, with the role viewer",
        ),
        (
            CreateToken(token="grafana", scopes=("status:read", "history:read")),
            "token grafana added for status:read history:read",
        ),
    ],
)
def test_command_statement_names_what_was_changed(command: SiteCommand, text: str) -> None:
    assert str(describe_command(command)) == text


def audit(outcome: str, what: object) -> AuditStored:
    return AuditStored(1, 0.0, "anna", "page", "station.pause", "station=CS01", outcome, None, what)  # type: ignore[arg-type]


def test_audit_entry_of_rejected_command_names_reason() -> None:
    what = msgspec.to_builtins(describe_command(PauseEvse(station="CS01", duration_s=14400.0)))
    assert str(audit("done", what)) == "CS01 paused for 4 h"
    rejected = str(audit("lacks stations:run", what))
    assert rejected == "not done: CS01 paused for 4 h (lacks stations:run)"


@pytest.mark.parametrize("what", [None, {"code": "of a later version"}])
def test_audit_entry_of_another_version_is_shown_as_stored(what: object) -> None:
    entry = audit("done", what)
    assert entry.statement is None
    assert str(entry) == "station.pause station=CS01"
