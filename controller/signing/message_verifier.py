"""Verification of a message in whichever form it is signed, and what it asks for."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from controller.signing import SigningError
from controller.signing.access_requests import AccessRequest, AccessRequestError, read_access_requests
from controller.signing.binary_signatures import verify_binary_payload
from controller.signing.jws import JwsVerifier
from controller.signing.payload_signatures import KeyId, SignatureReport, verify_payload
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import MessageKind


class VerifiedMessage(msgspec.Struct, frozen=True):
    """Proven signers of a message and the access it requests; a text: why it cannot be read.

    `payload`: the values that are covered.
    """

    report: SignatureReport | str
    requests: list[AccessRequest] | str
    payload: bytes


def verify_message(
    key: RuleKey,
    action: str,
    payload: bytes,
    station: str,
    is_known: Callable[[KeyId], bool],
    jws: JwsVerifier,
    *,
    binary: bool,
) -> VerifiedMessage:
    """Verify a message of `station`; `action` is that of its frame, `binary` that of a binary frame."""
    try:
        report, covered = verify_signatures(key, action, payload, is_known, jws, binary=binary)
    except SigningError as error:
        return VerifiedMessage(str(error), "", payload)
    if binary or key.kind is MessageKind.RESPONSE:
        return VerifiedMessage(report, [AccessRequest(action=key.action, target=station)], covered)
    try:
        requests = read_access_requests(key.version, key.action, covered, station)
    except AccessRequestError as error:
        return VerifiedMessage(report, str(error), covered)
    return VerifiedMessage(report, requests, covered)


def verify_signatures(
    key: RuleKey,
    action: str,
    payload: bytes,
    is_known: Callable[[KeyId], bool],
    jws: JwsVerifier,
    *,
    binary: bool = False,
) -> tuple[SignatureReport, bytes]:
    """Verify the signatures of a payload; returns also the payload that they cover. Raises SigningError."""
    if binary:
        return verify_binary_payload(payload, action, key.kind, is_known), payload
    if action != key.action:
        return jws.verify(payload, action, key.kind)
    report = verify_payload(payload, key.context, is_known, free_data=key.action == "DataTransfer")
    return report, report.payload
