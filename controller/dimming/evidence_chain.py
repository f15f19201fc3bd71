"""The record of what was commanded and what was done: a chain of signed lines that nobody mends unseen.

One record is one line: JSON in the one form that RFC 8785 allows, and a line feed. It carries its number,
the SHA-256 of the whole line before it (`previous`; zeros for the first), and the signature of the
controller's own key over the record without its member `signature`. So each line proves itself, and where
it stands; whoever takes one out, puts one in or changes their order breaks what the next one says.

What a chain cannot show by itself is that its end was cut off. A *checkpoint* is a record like any other
that is handed to somebody else, a backend: the chain must then contain that very line.

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

from controller.dimming.dimming_messages import moment
from controller.signing import curves, payload_signatures, signing_keys

BEGINNING = "0" * 64
"""What the first record names as the one before it."""


class EvidenceKind(enum.StrEnum):
    """What a record tells."""

    COMMAND = "command"
    """Bytes as they were received, and where from."""
    VERDICT = "verdict"
    """What was found of them, and what was answered."""
    LIMIT = "limit"
    """What holds from now on, and whose it is."""
    DECISION = "decision"
    """What each device may take because of it."""
    READINGS = "readings"
    """What was measured: before, when the limit was reached, after."""
    RELEASE = "release"
    """Nothing is limited any more."""
    FAILURE = "failure"
    """What was not kept, and by whom."""
    CHECKPOINT = "checkpoint"
    ROTATION = "rotation"
    """The chain goes on in a new file, after the one that it names."""
    TORN = "torn"
    """The end of a file could not be read after a crash, and is kept beside it; or a file is missing."""


class EvidenceRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One record as it stands in its line."""

    body: dict[str, Any]
    key: str
    kind: str
    number: int
    previous: str
    signature: str
    time: str


class ChainHead(msgspec.Struct, frozen=True):
    """The end of a chain: how many records there are, and the hash of the last one's line."""

    count: int = 0
    hash: str = BEGINNING


_decoder = msgspec.json.Decoder(EvidenceRecord)


class InvalidRecordError(Exception):
    """A line is no record. The text says why."""


def read_record(line: bytes) -> EvidenceRecord:
    """The record in a line (without its line feed), which is in its one form. Raises NoRecord."""
    try:
        record = _decoder.decode(line)
        canonical = rfc8785.dumps(msgspec.structs.asdict(record))
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, rfc8785.CanonicalizationError) as error:
        raise InvalidRecordError(f"it is no record: {error}") from error
    if canonical != line:
        raise InvalidRecordError("it is a record, but not in its one form (RFC 8785)")
    return record


def line_hash(line: bytes) -> str:
    """How the next record names this line."""
    return hashlib.sha256(line).hexdigest()


def key_name(key: ec.EllipticCurvePublicKey) -> str:
    """How records name the key that signs them: its fingerprint, as `keys list` shows it."""
    return signing_keys.fingerprint(payload_signatures.key_id(key))


def is_signed(record: EvidenceRecord, key: ec.EllipticCurvePublicKey) -> bool:
    """Whether the record is this key's."""
    try:
        signature = base64.b64decode(record.signature, validate=True)
    except ValueError:
        return False
    return curves.is_valid_signature(
        curves.curve_of(key), key, signature, _text(msgspec.structs.asdict(record))
    )


class EvidenceChain:
    """Where records are made, one after the other. What it makes must be written before the next one."""

    def __init__(self, key: ec.EllipticCurvePrivateKey, head: ChainHead) -> None:
        self._key = key
        self._key_name = key_name(key.public_key())
        self.head = head

    def record(self, kind: EvidenceKind, body: Mapping[str, Any], utc: float) -> bytes:
        """The next line, with its line feed. `body` is JSON; `utc` POSIX s. `written` makes it the last."""
        record = {
            "body": msgspec.to_builtins(body),
            "key": self._key_name,
            "kind": kind.value,
            "number": self.head.count,
            "previous": self.head.hash,
            "time": moment(utc),
        }
        signature = base64.b64encode(curves.sign_text(self._key, _text(record))).decode()
        return rfc8785.dumps({**record, "signature": signature}) + b"\n"

    def written(self, line: bytes) -> None:
        """The line is where it will stay: the next record comes after it."""
        self.head = ChainHead(self.head.count + 1, line_hash(line.removesuffix(b"\n")))


def _text(record: dict[str, Any]) -> bytes:
    """What is signed of a record."""
    return rfc8785.dumps({name: value for name, value in record.items() if name != "signature"})
