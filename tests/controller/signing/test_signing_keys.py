"""Keys: their files, their times, and who signs while one follows another."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from datetime import UTC, datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519

from controller.signing import payload_signatures, signing_keys
from controller.signing.curves import CURVES
from controller.signing.signing_keys import (
    KeyFileError,
    Keyring,
    KnownKey,
    OwnKey,
    read_key_files,
    write_key_file,
)
from tests.controller.signing.authors import Author

DAY = 86_400.0
BEGIN = datetime(2026, 11, 21, tzinfo=UTC).timestamp()


def own(begin: float, end: float, curve: str = "secp256r1") -> OwnKey:
    return signing_keys.parse_private_key(signing_keys.new_private_key(curve, "lc", begin, end))


@pytest.mark.parametrize("curve", CURVES)
def test_new_key_is_read_back(curve: str) -> None:
    key = own(BEGIN, BEGIN + 30 * DAY, curve).known
    assert (key.holder, key.not_before, key.not_after) == ("lc", BEGIN, BEGIN + 30 * DAY)
    assert key.id.curve == curve
    assert len(key.id.point) == CURVES[curve].point_bytes


def test_signing_keys_key_is_valid_until_before_end() -> None:
    key = own(BEGIN, BEGIN + DAY).known
    times = (BEGIN - 1, BEGIN, BEGIN + DAY - 1, BEGIN + DAY)
    assert [key.is_valid_at(time) for time in times] == [False, True, True, False]


def test_select_signing_key_takes_newest_valid_one() -> None:
    old, new = own(BEGIN, BEGIN + 10 * DAY), own(BEGIN + 7 * DAY, BEGIN + 20 * DAY)
    signers = [
        signing_keys.select_signing_key((new, old), BEGIN + day * DAY) for day in (-1, 0, 6, 7, 9, 12, 20)
    ]
    assert signers == [None, old, old, new, new, new, None]


def test_signing_keys_keyring_has_holders_of_valid_keys() -> None:
    one, two, foreign = Author(), Author("secp384r1"), Author()
    names = [payload_signatures.key_id(author.key.public_key()) for author in (one, two, foreign)]
    ring = Keyring(
        [
            KnownKey(id=names[0], holder="alice", not_after=BEGIN),
            KnownKey(id=names[1], holder="alice", not_before=BEGIN - DAY),
        ]
    )
    assert [name in ring for name in names] == [True, True, False]
    assert [ring.holder(name, BEGIN - 1) for name in names] == ["alice", "alice", None]
    assert [ring.holder(name, BEGIN) for name in names] == [None, "alice", None]


def test_fingerprint_is_that_of_openssl() -> None:
    program = shutil.which("openssl")
    assert program is not None, "the tests need openssl"
    key = own(BEGIN, BEGIN + DAY)
    pem = key.private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    der = subprocess.run(
        [program, "pkey", "-pubout", "-outform", "DER"], input=pem, capture_output=True, check=True
    ).stdout
    assert signing_keys.fingerprint(key.known.id) == hashlib.sha256(der).hexdigest()


def _pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey, password: bytes | None = None) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption(),
    )


def test_key_without_head_lines_is_always_valid() -> None:
    key = signing_keys.parse_private_key(_pem(Author().key)).known
    assert key.holder == ""
    assert key.is_valid_at(0)
    assert key.is_valid_at(4e9)


GOOD = _pem(Author().key)


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"", "must be PEM"),
        (b"\xff", "is not text"),
        (GOOD[:80], "is not a private key"),
        (GOOD.replace(b"PRIVATE", b"PUBLIC"), "is not a private key"),
        (_pem(Author().key, b"secret"), "is encrypted"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "not an ECC key"),
        (_pem(ec.generate_private_key(ec.SECP192R1())), "secp192r1 is not used"),
        (b"Not-After: tomorrow\n" + GOOD, "Not-After without a valid time; write it like"),
        (b"Not-Before: 2026-11-21T00:00:00\n" + GOOD, "Not-Before without a valid time"),
        (b"Not-Before: 2026-11-21T00:00:00Z\nNot-After: 2026-11-20T00:00:00Z\n" + GOOD, "ends before"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",  # keys are new in each run
)
def test_signing_keys_unusable_key_is_rejected_with_remedy(data: bytes, what: str) -> None:
    with pytest.raises(KeyFileError, match=what):
        signing_keys.parse_private_key(data)


def test_key_file_is_private_and_replaces_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    data = signing_keys.new_private_key("secp256r1", "lc", BEGIN, BEGIN + DAY)
    file = write_key_file(folder, "lc", data)
    assert file.stat().st_mode & 0o777 == 0o600
    assert folder.stat().st_mode & 0o077 == 0
    with pytest.raises(KeyFileError, match="exists already"):
        write_key_file(folder, "lc", b"other")
    assert file.read_bytes() == data


def test_key_folder_is_read_in_order(tmp_path: Path) -> None:
    for name in ("b", "a"):
        write_key_file(tmp_path, name, signing_keys.new_private_key("secp256r1", name, BEGIN, BEGIN + DAY))
    (tmp_path / "README").write_text("no key")
    assert [key.known.holder for key in read_key_files(tmp_path).values()] == ["a", "b"]
    assert [file.name for file in read_key_files(tmp_path / "a.pem")] == ["a.pem"]


def test_signing_keys_unusable_key_file_is_rejected_with_remedy(tmp_path: Path) -> None:
    with pytest.raises(KeyFileError, match="cannot be read: No such file"):
        read_key_files(tmp_path / "lc.pem")
    with pytest.raises(KeyFileError, match="local-controller keys new"):
        read_key_files(tmp_path)
    file = write_key_file(tmp_path, "lc", b"nothing")
    with pytest.raises(KeyFileError, match=r"lc\.pem has no line that begins"):
        read_key_files(file)
    file.chmod(0o604)
    with pytest.raises(KeyFileError, match=r"by everybody.*chmod"):
        read_key_files(file)
    with pytest.raises(KeyFileError, match="below cannot be made: Not a directory"):
        write_key_file(file / "below", "lc", b"")
    with pytest.raises(KeyFileError, match="cannot be written: File name too long"):
        write_key_file(tmp_path, "l" * 300, b"")
