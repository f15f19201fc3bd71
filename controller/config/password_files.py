"""Password files of stations: the password itself, or a hash that only verifies one.

A hash is one line in the PHC string format, with the function scrypt (RFC 7914) and base64 without
padding: `$scrypt$ln=12,r=8,p=1$SALT$HASH`. `local-controller password` writes it.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re

import msgspec

from drivers.coded_text import coded

SALT_BYTES = 16
"""Length of the random salt of a new hash."""

LOG_N = 12
"""Cost of a new hash: about 12 ms and 4 MB. Passwords of stations are random (OCPP 2.x Part 2,
A00.FR.205), and after a restart a thousand of them are verified at once."""

MOST_WORK = 1 << 21
"""Most N * r * p of one verification, 128 bytes each: 256 MB, and most of a second."""

_LINE = re.compile(rb"\$scrypt\$ln=(\d{1,2}),r=(\d{1,2}),p=(\d{1,2})\$([A-Za-z0-9+/]+)\$([A-Za-z0-9+/]+)")
_MEANT_AS_HASH = re.compile(rb"\$?scrypt\$|\$scrypt")
"""Begin of a hash, also of one whose first or second `$` was lost when it was copied."""
_REMEDY = coded("write what `local-controller password` makes")
_LEAST_HASH_BYTES = 16
_HASH_BYTES = 32


class ConfigError(Exception):
    """Base class of the errors of this package."""


class PasswordFileError(ConfigError):
    """A password file cannot be used; `what` is wrong and `remedy` helps."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


class HashedPassword(msgspec.Struct, frozen=True):
    """A password's scrypt hash; its cost is N = 2 ** `log_n`, r and p of RFC 7914."""

    log_n: int
    r: int
    p: int
    salt: bytes
    hash: bytes

    def __repr__(self) -> str:
        return f"Hashed(log_n={self.log_n})"

    def line(self) -> str:
        """Return the line of a password file."""
        cost = f"ln={self.log_n},r={self.r},p={self.p}"
        return f"$scrypt${cost}${_unpadded(self.salt)}${_unpadded(self.hash)}"

    def matches(self, password: bytes) -> bool:
        """Compare with a password in constant time; takes tens of milliseconds and some MB."""
        digest = _scrypt(password, self.salt, self.log_n, self.r, self.p, len(self.hash))
        return hmac.compare_digest(digest, self.hash)


StationSecret = bytes | HashedPassword
"""Secret that a station's password is compared with."""


def hash_password(password: bytes, salt: bytes, log_n: int = LOG_N) -> HashedPassword:
    """Return the hash of a password."""
    r, p = 8, 1
    return HashedPassword(log_n, r, p, salt, _scrypt(password, salt, log_n, r, p, _HASH_BYTES))


def _scrypt(password: bytes, salt: bytes, log_n: int, r: int, p: int, length: int) -> bytes:
    n, most = 1 << log_n, 2 * 128 * MOST_WORK
    return hashlib.scrypt(password, salt=salt, n=n, r=r, p=p, maxmem=most, dklen=length)


def parse_password_file(text: bytes) -> StationSecret:
    """Parse a password file, without a trailing line end. Raises PasswordFileError."""
    text = text.rstrip(b"\r\n")
    return _parsed(text) if _MEANT_AS_HASH.match(text) else text


def _parsed(line: bytes) -> HashedPassword:
    found = _LINE.fullmatch(line)
    if found is None:
        raise PasswordFileError(coded('is not a complete hash "$scrypt$ln=12,r=8,p=1$SALT$HASH"'), _REMEDY)
    log_n, r, p = (int(number) for number in found.groups()[:3])
    if not (log_n and 0 < r * p << log_n <= MOST_WORK):
        raise PasswordFileError(coded("has a hash with unusable cost parameters"), _REMEDY)
    try:
        salt, digest = (_bytes(text) for text in found.groups()[3:])
    except binascii.Error as error:
        raise PasswordFileError(coded("has a truncated hash"), _REMEDY) from error
    if len(digest) < _LEAST_HASH_BYTES:
        raise PasswordFileError(coded("has a hash of only {digest} bytes", digest=len(digest)), _REMEDY)
    return HashedPassword(log_n, r, p, salt, digest)


def _bytes(text: bytes) -> bytes:
    return base64.b64decode(text + b"=" * (-len(text) % 4), validate=True)


def _unpadded(data: bytes) -> str:
    return base64.b64encode(data).decode().rstrip("=")
