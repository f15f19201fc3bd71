"""Deduplication key: equal for a message and its repetition under another message id.

A station repeats a transaction message with the same id or another (OCPP leaves it open), and 2.x marks it
`offline` then. Where one message is taken for two, the backend has the transaction and corrects it; where two
are taken for one, a transaction is lost. So a transaction's id alone is not enough: -1 is that of all which
1.6 stations began by themselves, some backends give one id to all, and some stations count anew after each
start. A fingerprint is a SHA-256 over what identifies the event, so it discloses no idToken: only a reader
with all the rest can try tokens against it, and the file that it stands in is the controller's own.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from controller.ocpp.frames import Version

_IDENTIFYING_16: Mapping[str, tuple[str, ...]] = {
    "StartTransaction": ("connectorId", "idTag", "meterStart", "timestamp"),
    "StopTransaction": ("transactionId", "meterStop", "timestamp"),
}
_IDENTIFYING_2: Mapping[str, tuple[str, ...]] = {
    "TransactionEvent": ("transactionInfo.transactionId", "seqNo", "eventType", "timestamp"),
}


def dedup_key(version: Version, action: str, payload: bytes) -> str:
    """Return the key of a CALL, in hexadecimal digits.

    Without members that identify it, all of its bytes count.
    """
    members = (_IDENTIFYING_16 if version is Version.V16 else _IDENTIFYING_2).get(action)
    meaning: object = None
    if members is not None:
        meaning = _chosen(payload, members)
    content = payload if meaning is None else msgspec.json.encode(meaning)
    return hashlib.sha256(b"\0".join((action.encode(), content))).hexdigest()


def _chosen(payload: bytes, members: tuple[str, ...]) -> list[Any] | None:
    """Return the values of these members; None if one is missing."""
    try:
        message = msgspec.json.decode(payload)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return None
    values = [_at(message, member) for member in members]
    return None if None in values else values


def _at(message: Any, member: str) -> Any:
    for name in member.split("."):
        if not isinstance(message, dict):
            return None
        message = message.get(name)
    return message
