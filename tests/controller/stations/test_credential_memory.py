"""Stored hashes of passwords that backends have set or accepted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import trio

from controller.model.journal import JournalError
from controller.ocpp.frames import Version
from controller.stations.admission import Admission
from controller.stations.credential_memory import CredentialMemory
from controller.store.credential_store import CredentialOrigin, OriginHashes
from controller.store.state_store import StateStore
from controller.transport.http_upgrade import basic_authorization
from tests.scenario.link_harness import MemoryHashes

COMMAND = json.dumps({"key": "AuthorizationKey", "value": "0aff"}).encode()
RESULT = b'{"status":"Accepted"}'


def admission(password: bytes | None, station: str = "CS01") -> Admission:
    header = None if password is None else basic_authorization(station, password)
    return Admission(station, Version.V16, header)


async def test_rotated_password_matches_as_text_and_as_bytes() -> None:
    memory = CredentialMemory(MemoryHashes())
    await memory.record_rotated("CS01", "ChangeConfiguration", COMMAND, RESULT)
    for password in (b"0aff", b"\x0a\xff"):
        assert await memory.verify(admission(password)) is True
    assert await memory.verify(admission(b"0afe")) is False
    assert await memory.verify(admission(None)) is False
    assert await memory.verify(admission(b"0aff", "CS02")) is None


async def test_rejected_rotation_stores_nothing() -> None:
    hashes = MemoryHashes()
    memory = CredentialMemory(hashes)
    await memory.record_rotated("CS01", "ChangeConfiguration", COMMAND, b'{"status":"Rejected"}')
    assert hashes.lines == {}


async def test_password_that_cannot_be_stored_is_known_until_end(
    caplog: pytest.LogCaptureFixture,
) -> None:
    class FullDisk(MemoryHashes):
        async def save_hash(self, station: str, line: str) -> None:
            raise JournalError("the disk is full")

    memory = CredentialMemory(FullDisk())
    await memory.record("CS01", [b"secret"])
    assert await memory.verify(admission(b"secret")) is True
    assert "password hash not stored station=CS01 reason=the disk is full" in caplog.text
    assert "secret" not in caplog.text


async def test_unreadable_stored_hash_is_reported_and_matches_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    hashes = MemoryHashes()
    hashes.lines["CS01"] = "$scrypt$nonsense"
    memory = CredentialMemory(hashes)
    assert await memory.verify(admission(b"secret")) is None
    assert "stored password hash unusable station=CS01" in caplog.text


async def test_credential_hashes_keep_origins_apart_over_restart(tmp_path: Path) -> None:
    store = StateStore(tmp_path)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(store.run)
        await OriginHashes(store, CredentialOrigin.ACCEPTED).save_hash("CS01", "a")
        await OriginHashes(store, CredentialOrigin.ROTATED).save_hash("CS01", "b")
        await OriginHashes(store, CredentialOrigin.ROTATED).save_hash("CS01", "c")
        nursery.cancel_scope.cancel()
    store.close()
    again = StateStore(tmp_path)
    assert OriginHashes(again, CredentialOrigin.ACCEPTED).find_hash("CS01") == "a"
    assert OriginHashes(again, CredentialOrigin.ROTATED).find_hash("CS01") == "c"
    assert OriginHashes(again, CredentialOrigin.ROTATED).find_hash("CS02") is None
    again.close()
