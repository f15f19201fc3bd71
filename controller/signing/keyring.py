"""Keys and who holds them: files of private keys, and the ring of those that are known.

A private key is one PEM file (PKCS #8), so that it fits into one systemd credential. What else there is to
say of it stands before its first line of dashes, where RFC 7468 (section 2) has room for it:

    Holder: lc
    Not-Before: 2026-11-21T00:00:00Z
    Not-After: 2027-11-21T00:00:00Z
    -----BEGIN PRIVATE KEY-----

A holder may have several keys at once, so that one can follow another: those that verify learn of the new
one in time, the old one still counts until its end, and the newest that is valid signs.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.signing import curves, signatures
from controller.signing.curves import CURVES, BadKeyError
from controller.signing.signatures import KeyId

_BEGIN = "-----BEGIN"
_HOLDER, _NOT_BEFORE, _NOT_AFTER = "Holder", "Not-Before", "Not-After"


class KeyFormatError(Exception):
    """The bytes are no private key that can be used here. The text says why, and the mend."""


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A key, its holder, and from when until when (POSIX s) it counts; the end itself is outside."""

    id: KeyId
    holder: str
    not_before: float = -math.inf
    not_after: float = math.inf

    def counts(self, utc: float) -> bool:
        """Whether it counts at a time (POSIX s)."""
        return self.not_before <= utc < self.not_after


class OwnKey(msgspec.Struct, frozen=True):
    """A key with which the controller signs."""

    known: KnownKey
    private: ec.EllipticCurvePrivateKey


class Keyring:
    """The keys that are known, by themselves."""

    def __init__(self, keys: Iterable[KnownKey] = ()) -> None:
        self._keys: Mapping[KeyId, KnownKey] = {key.id: key for key in keys}

    def __contains__(self, key: KeyId) -> bool:
        return key in self._keys

    def holder(self, key: KeyId, utc: float) -> str | None:
        """Whose key it is; None where it is not known, or does not count at this time (POSIX s)."""
        known = self._keys.get(key)
        return known.holder if known is not None and known.counts(utc) else None


def signer(keys: Iterable[OwnKey], utc: float) -> OwnKey | None:
    """Of the keys that count at a time (POSIX s), the one that began last; None where none counts."""
    counting = (key for key in keys if key.known.counts(utc))
    return max(counting, key=lambda key: key.known.not_before, default=None)


def fingerprint(key: KeyId) -> str:
    """What persons compare: SHA-256 of the key in DER (RFC 5280 SubjectPublicKeyInfo), in hexadecimal.

    It is what `openssl pkey -pubin -outform DER | sha256sum` says. Raises BadKey.
    """
    if key.curve not in CURVES:
        return hashlib.sha256(key.point).hexdigest()
    public = curves.public_key(CURVES[key.curve], key.point)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def public_pem(key: OwnKey) -> str:
    """The public half of a key, in PEM."""
    public = key.private.public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def new_private(curve: str, holder: str, not_before: float, not_after: float) -> bytes:
    """A new private key, as its file has it. Times are POSIX s; `holder` is one line."""
    key = ec.generate_private_key(CURVES[curve].group)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    head = (
        f"{_HOLDER}: {holder}\n{_NOT_BEFORE}: {_written(not_before)}\n{_NOT_AFTER}: {_written(not_after)}\n"
    )
    return head.encode() + pem


def read_private(data: bytes) -> OwnKey:
    """The private key of a file's bytes. One without the lines in front counts always. Raises KeyWrong."""
    try:
        head, begin, _ = data.decode("utf-8").partition(_BEGIN)
    except UnicodeDecodeError:
        raise KeyFormatError("is no text; it must be PEM") from None
    if not begin:
        raise KeyFormatError(f"has no line that begins with {_BEGIN}; it must be PEM")
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyFormatError("is locked with a password; remove it: nobody is there to type it") from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFormatError("is no private key; make one with `local-controller keys new`") from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise KeyFormatError(f"is on no curve; known are {', '.join(CURVES)}")
    try:
        key = signatures.key_id(private.public_key())
    except BadKeyError as bad:
        raise KeyFormatError(str(bad)) from None
    lines = dict(_lines(head))
    known = KnownKey(
        id=key,
        holder=lines.get(_HOLDER, ""),
        not_before=_read(lines, _NOT_BEFORE, -math.inf),
        not_after=_read(lines, _NOT_AFTER, math.inf),
    )
    if known.not_before >= known.not_after:
        raise KeyFormatError(f"ends before it begins; mend its line {_NOT_AFTER}")
    return OwnKey(known, private)


def _lines(head: str) -> Iterable[tuple[str, str]]:
    for line in head.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _read(lines: Mapping[str, str], name: str, missing: float) -> float:
    if name not in lines:
        return missing
    try:
        read = datetime.fromisoformat(lines[name])
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise KeyFormatError(f"has a line {name} without a time; write it like 2026-11-21T00:00:00Z")
    return read.timestamp()


def _written(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
