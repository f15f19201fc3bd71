"""Keys and their holders: the keys that are known, and the files of the controller's own private keys.

A private key is one PEM file (PKCS #8), so that it fits into one systemd credential. Holder and validity
stand before its first line of dashes, which RFC 7468 (section 2) allows:

    Holder: lc
    Not-Before: 2026-11-21T00:00:00Z
    Not-After: 2027-11-21T00:00:00Z
    -----BEGIN PRIVATE KEY-----

A holder may have several keys at once, so that one can follow another without a gap: the newest that is
valid signs, and all that are valid verify.
"""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import lru_cache
from itertools import chain
from pathlib import Path

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.signing import SigningError, curves, payload_signatures, signature_format
from controller.signing.curves import CURVES, CurveKeyError
from controller.signing.hardware_keys import SCHEME, HardwareKeyError, HardwarePrivateKey, parse_uri
from controller.signing.payload_signatures import KeyId
from drivers.coded_text import coded
from drivers.file_stamp import FileStamp, file_stamp

SUFFIX = ".pem"
HARDWARE_SUFFIX = ".pkcs11"
"""Files that name a key in a hardware module, see `hardware_keys`."""
_OTHERS = 0o007
"""Not the group: systemd gives a unit's user its credentials by an access list, shown as group bits."""

_BEGIN = "-----BEGIN"
_HOLDER, _NOT_BEFORE, _NOT_AFTER = "Holder", "Not-Before", "Not-After"


class KeyFileError(SigningError):
    """A file or folder of keys, or its content, cannot be used. `remedy`: empty where none is known."""

    def __init__(self, what: str, remedy: str = "") -> None:
        super().__init__(f"{what}; {remedy}" if remedy else what)
        self.what = what
        self.remedy = remedy


class KnownKey(msgspec.Struct, frozen=True, kw_only=True):
    """A public key, its holder and its validity (POSIX s; the end itself is outside)."""

    id: KeyId
    holder: str
    not_before: float = -math.inf
    not_after: float = math.inf

    def is_valid_at(self, utc: float) -> bool:
        """Return True within the validity."""
        return self.not_before <= utc < self.not_after


class OwnKey(msgspec.Struct, frozen=True):
    """A private key of the controller."""

    known: KnownKey
    private: ec.EllipticCurvePrivateKey


class Keyring:
    """The public keys that are known."""

    def __init__(self, keys: Iterable[KnownKey] = ()) -> None:
        self._keys: Mapping[KeyId, KnownKey] = {key.id: key for key in keys}

    def __contains__(self, key: KeyId) -> bool:
        return key in self._keys

    def holder(self, key: KeyId, utc: float) -> str | None:
        """Return the holder of a key; None if it is unknown or not valid at `utc`."""
        known = self._keys.get(key)
        return known.holder if known is not None and known.is_valid_at(utc) else None


def select_signing_key(keys: Iterable[OwnKey], utc: float) -> OwnKey | None:
    """Return the valid key that began last; None if no key is valid at `utc`."""
    valid = (key for key in keys if key.known.is_valid_at(utc))
    return max(valid, key=lambda key: key.known.not_before, default=None)


@lru_cache(maxsize=4096)
def fingerprint(key: KeyId) -> str:
    """Compute SHA-256 of a key in DER (RFC 5280 SubjectPublicKeyInfo), in hexadecimal. Raises CurveKeyError.

    `openssl pkey -pubin -outform DER | sha256sum` prints the same.
    """
    if key.curve not in CURVES:
        return hashlib.sha256(key.point).hexdigest()
    public = curves.decode_point(CURVES[key.curve], key.point)
    der = public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(der).hexdigest()


def read_public_point(curve: str, public: str) -> KeyId:
    """Read a public key, its uncompressed point in base64. Raises SigningError."""
    point = signature_format.decode_base64(public)
    if point is None:
        raise KeyFileError(coded("is not base64"))
    curves.decode_point(CURVES[curve], point)
    return KeyId(curve, point)


def public_pem(key: OwnKey) -> str:
    """Return the public half of a key in PEM."""
    public = key.private.public_key()
    return public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


def hardware_key_file(uri: str, holder: str, not_before: float, not_after: float) -> bytes:
    """Return the content of a file that names a key in a hardware module. Raises HardwareKeyError."""
    parse_uri(uri)
    return f"{_head(holder, not_before, not_after)}{uri.strip()}\n".encode()


def _head(holder: str, not_before: float, not_after: float) -> str:
    return (
        f"{_HOLDER}: {holder}\n{_NOT_BEFORE}: {_format_time(not_before)}\n"
        f"{_NOT_AFTER}: {_format_time(not_after)}\n"
    )


def new_private_key(curve: str, holder: str, not_before: float, not_after: float) -> bytes:
    """Generate a private key; returns the content of its file. Times are POSIX s; `holder` is one line."""
    key = ec.generate_private_key(CURVES[curve].group)
    pem = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return _head(holder, not_before, not_after).encode() + pem


def parse_private_key(data: bytes) -> OwnKey:
    """Parse the content of a key's file. A key without the lines in front is always valid.

    Raises KeyFileError.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise KeyFileError(coded("is not text"), coded("it must be PEM")) from None
    if f"\n{SCHEME}" in f"\n{text}":
        head, _, uri = f"\n{text}".partition(f"\n{SCHEME}")
        return _make_own_key(head, HardwarePrivateKey(parse_uri(SCHEME + uri.strip())))
    head, begin, _ = text.partition(_BEGIN)
    if not begin:
        raise KeyFileError(
            coded("has no line that begins with {begin}", begin=_BEGIN), coded("it must be PEM")
        )
    try:
        private = serialization.load_pem_private_key(data, password=None)
    except TypeError:
        raise KeyFileError(
            coded("is encrypted"), coded("remove the password, the controller cannot ask for it")
        ) from None
    except (ValueError, UnsupportedAlgorithm):
        raise KeyFileError(
            coded("is not a private key"), coded("make one with `local-controller keys new`")
        ) from None
    if not isinstance(private, ec.EllipticCurvePrivateKey):
        raise KeyFileError(
            coded("is not an ECC key"), coded("use one of the curves {curves}", curves=", ".join(CURVES))
        )
    return _make_own_key(head, private)


def _make_own_key(head: str, private: ec.EllipticCurvePrivateKey) -> OwnKey:
    """Make a key with the holder and validity of the lines in front of it. Raises KeyFileError."""
    try:
        key = payload_signatures.key_id(private.public_key())
    except CurveKeyError as error:
        raise KeyFileError(str(error)) from None
    lines = dict(_head_lines(head))
    known = KnownKey(
        id=key,
        holder=lines.get(_HOLDER, ""),
        not_before=_parse_time(lines, _NOT_BEFORE, -math.inf),
        not_after=_parse_time(lines, _NOT_AFTER, math.inf),
    )
    if known.not_before >= known.not_after:
        raise KeyFileError(coded("ends before it begins"), coded("correct its line {line}", line=_NOT_AFTER))
    return OwnKey(known, private)


def read_key_files(path: Path) -> dict[Path, OwnKey]:
    """Read the private keys of a file, or of a folder's files *.pem in the order of their names.

    Raises KeyFileError, also if there is no key.
    """
    try:
        # Not glob(): it returns nothing for a folder that must not be read.
        files = (
            sorted(file for file in path.iterdir() if file.suffix in (SUFFIX, HARDWARE_SUFFIX))
            if path.is_dir()
            else [path]
        )
    except OSError as error:
        raise _unreadable(path, error) from None
    if not files:
        raise KeyFileError(
            coded("{path} has no file *{suffix}", path=path, suffix=SUFFIX),
            coded("make one with `local-controller keys new`"),
        )
    return {file: _read_key_file(file) for file in files}


def key_file_stamps(path: Path) -> dict[Path, FileStamp]:
    """Return the stamps of what `read_key_files` reads, and of the folder, to which files may be added."""
    files = (path.glob(f"*{suffix}") for suffix in (SUFFIX, HARDWARE_SUFFIX))
    return {file: file_stamp(file) for file in sorted({path, *chain.from_iterable(files)})}


def write_key_file(folder: Path, name: str, data: bytes, suffix: str = SUFFIX) -> Path:
    """Write a new private key to a folder, readable by its owner alone. Raises KeyFileError.

    A file that exists is never replaced.
    """
    file = folder / f"{name}{suffix}"
    try:
        if not folder.is_dir():
            folder.mkdir(mode=0o700, parents=True)
    except OSError as error:
        raise KeyFileError(f"{folder} cannot be made: {error.strerror}") from None
    try:
        with open(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
            opened.write(data)
            opened.flush()
            os.fsync(opened.fileno())
    except FileExistsError:
        raise KeyFileError(f"{file} exists already; name another folder, or move it away") from None
    except OSError as error:
        raise KeyFileError(f"{file} cannot be written: {error.strerror}") from None
    return file


def _read_key_file(file: Path) -> OwnKey:
    try:
        data = file.read_bytes()
        mode = file.stat().st_mode
    except OSError as error:
        raise _unreadable(file, error) from None
    if mode & _OTHERS:
        raise KeyFileError(
            coded("{file} is readable or writable by everybody", file=file),
            coded("{command}", command=f"chmod o= {file}"),
        )
    try:
        return parse_private_key(data)
    except KeyFileError as error:
        raise KeyFileError(coded("{file} {problem}", file=file, problem=error.what), error.remedy) from None
    except HardwareKeyError as error:
        raise KeyFileError(coded("{file} {problem}", file=file, problem=error)) from None


def _unreadable(path: Path, error: OSError) -> KeyFileError:
    return KeyFileError(
        coded("{file} cannot be read: {reason}", file=path, reason=error.strerror or ""),
        coded("name a key or a folder of keys; `local-controller keys new` makes one")
        if isinstance(error, FileNotFoundError)
        else "",
    )


def _head_lines(head: str) -> Iterable[tuple[str, str]]:
    for line in head.splitlines():
        name, _, value = line.partition(":")
        yield name.strip(), value.strip()


def _parse_time(lines: Mapping[str, str], name: str, missing: float) -> float:
    if name not in lines:
        return missing
    try:
        read = datetime.fromisoformat(lines[name])
    except ValueError:
        read = None
    if read is None or read.tzinfo is None:
        raise KeyFileError(
            coded("has a line {name} without a valid time", name=name),
            coded("write it like {meant}", meant="2026-11-21T00:00:00Z"),
        )
    return read.timestamp()


def _format_time(utc: float) -> str:
    return datetime.fromtimestamp(utc, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
