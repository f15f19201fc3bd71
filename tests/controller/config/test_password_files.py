"""Hash lines of passwords: they verify a password and reveal nothing of it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controller.config.password_files import (
    HashedPassword,
    PasswordFileError,
    hash_password,
    parse_password_file,
)

CHEAP = 4
"""log2 of N: what costs a station's guesser time costs the tests none."""
SALT, HASH = "c2FsdHNhbHRzYWx0c2FsdA", "A" * 43

RFC_7914 = HashedPassword(
    14,
    8,
    1,
    b"SodiumChloride",
    bytes.fromhex(
        "7023bdcb3afd7348461c06cd81fd38ebfda8fbba904f8e3ea9b543f6545da1f2"
        "d5432955613f0fcf62d49705242a9af9e61e85dc0d651e40dfcf017b45575887"
    ),
)


def test_password_hash_is_scrypt_of_rfc_7914() -> None:
    assert RFC_7914.matches(b"pleaseletmein")
    assert not RFC_7914.matches(b"pleaseletmeout")


@given(password=st.binary(max_size=72), salt=st.binary(min_size=1, max_size=32))
def test_password_files_line_read_back_is_same_hash(password: bytes, salt: bytes) -> None:
    made = hash_password(password, salt, CHEAP)
    read = parse_password_file(made.line().encode() + b"\r\n")
    assert read == made
    assert isinstance(read, HashedPassword)
    assert read.matches(password)
    assert not read.matches(password + b"x")
    assert "$" not in repr(read)


def test_password_files_line_is_in_phc_format() -> None:
    head, salt, digest = hash_password(b"secret", b"salt" * 4).line().rsplit("$", 2)
    assert (head, salt, len(digest)) == ("$scrypt$ln=12,r=8,p=1", SALT, 43)


@pytest.mark.parametrize(
    ("text", "password"),
    [(b"secret\n", b"secret"), (b" s p \r\n", b" s p "), (b"$2b$not-ours", b"$2b$not-ours"), (b"", b"")],
)
def test_password_file_text_without_hash_is_password(text: bytes, password: bytes) -> None:
    assert parse_password_file(text) == password


@pytest.mark.parametrize(
    ("line", "remedy"),
    [
        ("$scrypt$", "is not a complete hash"),
        ("scrypt$bad", "is not a complete hash"),
        (f"scrypt$ln=14,r=8,p=1${SALT}${HASH}", "is not a complete hash"),
        (f"$scryptln=14,r=8,p=1${SALT}${HASH}", "is not a complete hash"),
        (f"$scrypt$ln=14,r=8,p=1${SALT}", "is not a complete hash"),
        (f"$scrypt$ln=14,r=8,p=1${SALT}${HASH} # CS01", "is not a complete hash"),
        (f"$scrypt$ln=14,r=8,p=1${SALT}${HASH[:20]}", "only 15 bytes"),
        (f"$scrypt$ln=14,r=8,p=1${SALT}${HASH[:41]}", "truncated"),
        (f"$scrypt$ln=19,r=8,p=1${SALT}${HASH}", "unusable cost"),
        (f"$scrypt$ln=99,r=99,p=99${SALT}${HASH}", "unusable cost"),
        (f"$scrypt$ln=0,r=8,p=1${SALT}${HASH}", "unusable cost"),
        (f"$scrypt$ln=14,r=0,p=1${SALT}${HASH}", "unusable cost"),
    ],
)
def test_password_files_invalid_hash_is_refused_with_remedy(line: str, remedy: str) -> None:
    with pytest.raises(PasswordFileError, match=remedy):
        parse_password_file(line.encode())
