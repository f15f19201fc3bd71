"""Evidence chain: signed lines, each with the hash of the one before.

One record is one line: JSON in the one form that RFC 8785 allows, and a line feed. It carries its number,
the SHA-256 of the whole line before it (`previous`; zeros for the first), and the signature of the
controller's own key over the record without its member `signature`. So each line proves itself, and where
it stands; taking one out, putting one in or changing their order breaks the next one's hash.

What a chain cannot show by itself is that its end was cut off. A *checkpoint* is a record like any other
that is handed to another party, a backend: the chain must then contain that very line.

    {"body":{...},"key":"<the public key's SHA-256>","kind":"verdict","number":12,
     "previous":"<SHA-256>","signature":"<base64>","time":"2026-11-21T12:00:00.000Z"}
"""

from __future__ import annotations

import base64
import enum
import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec
import rfc8785
from cryptography.hazmat.primitives.asymmetric import ec

from controller.dimming import DimmingError
from controller.signing import curves, payload_signatures, signing_keys
from controller.signing.hardware_keys import HardwareKeyError

BEGINNING = "0" * 64
"""Hash that the first record has as that of its predecessor."""


class EvidenceKind(enum.StrEnum):
    """Kind of a record."""

    COMMAND = "command"
    """Command as received, and its link."""
    VERDICT = "verdict"
    """Verdict about a command, and the answer."""
    LIMIT = "limit"
    """Effective limit from now on, and its source."""
    DECISION = "decision"
    """Limit of each device that follows."""
    READINGS = "readings"
    """Measurements: before, when the limit was reached, after."""
    RELEASE = "release"
    """End of all limits."""
    FAILURE = "failure"
    """Limit that was not obeyed, and by which devices."""
    CLOCK = "clock"
    """Change of the gateway's clock: its state, a step, its servers."""
    CERTIFICATE = "certificate"
    """Certificate of the site CA that was issued, installed or revoked."""
    KEY = "key"
    """Keys and roles of the policy that have come into force or ended."""
    CHECKPOINT = "checkpoint"
    ROTATION = "rotation"
    """Continuation of the chain in a new file."""
    TORN = "torn"
    """Unreadable end of a file after a crash, moved beside it; or a missing file."""


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Record in a line of evidence."""

    body: dict[str, Any]
    key: str
    kind: str
    number: int
    previous: str
    signature: str
    time: str


class ChainHead(msgspec.Struct, frozen=True):
    """End of a chain: the number of records, and the hash of the last line."""

    count: int = 0
    hash: str = BEGINNING


_decoder = msgspec.json.Decoder(EvidenceRecord)


class InvalidRecordError(DimmingError):
    """A line is not a record. The text states why."""


def read_record(line: bytes) -> EvidenceRecord:
    """Read the record of a line (without its line feed) in canonical form. Raises on other lines."""
    try:
        record = _decoder.decode(line)
        canonical = rfc8785.dumps(msgspec.structs.asdict(record))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise InvalidRecordError(f"it is no record: {error}") from error
    if canonical != line:
        raise InvalidRecordError("it is a record, but not in its one form (RFC 8785)")
    return record


def line_hash(line: bytes) -> str:
    """Return the hash of a line, as the next record has it."""
    return hashlib.sha256(line).hexdigest()


def key_name(key: ec.EllipticCurvePublicKey) -> str:
    """Return the fingerprint of a key, as `keys list` shows it."""
    return signing_keys.fingerprint(payload_signatures.key_id(key))


def is_signed(record: EvidenceRecord, key: ec.EllipticCurvePublicKey) -> bool:
    """Return True if the record is signed by this key."""
    try:
        signature = base64.b64decode(record.signature, validate=True)
    except ValueError:
        return False
    return curves.is_valid_signature(
        curves.curve_of(key), key, signature, _text(msgspec.structs.asdict(record))
    )


class EvidenceChain:
    """Writer of a chain; `head` is the end of what it has returned."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, head: ChainHead) -> None:
        self.use_key(key)
        self.head = head
        self.unsigned_reason = ""
        """Reason why the last record is not signed: its key is in a hardware module that failed."""

    def use_key(self, key: ec.EllipticCurvePrivateKey) -> None:
        """Sign the next records with this key."""
        public = key.public_key()
        self._key, self._curve = key, curves.curve_of(public)
        self._key_name = key_name(public)

    def add_record(self, kind: EvidenceKind, body: Mapping[str, Any], time: str) -> bytes:
        """Add a record of a `moment` and return its line, with its line feed. `body` is JSON.

        The next record follows it: the line has to be written before that of the next one.
        Where a hardware key does not sign, the signature is empty: the next signed record covers this one.
        """
        record = {
            "body": msgspec.to_builtins(body),
            "key": self._key_name,
            "kind": kind.value,
            "number": self.head.count,
            "previous": self.head.hash,
            "time": time,
        }
        signature, self.unsigned_reason = "", ""
        try:
            signed = curves.sign_text(self._key, rfc8785.dumps(record), self._curve)
            signature = base64.b64encode(signed).decode()
        except HardwareKeyError as error:
            self.unsigned_reason = str(error)
        line = rfc8785.dumps({**record, "signature": signature})
        self.head = ChainHead(self.head.count + 1, line_hash(line))
        return line + b"\n"


def _text(record: dict[str, Any]) -> bytes:
    """Return the signed text of a record."""
    return rfc8785.dumps({name: value for name, value in record.items() if name != "signature"})
