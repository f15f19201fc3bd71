"""Signing of a message with the controller's own newest key."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controller.signing import SigningError, payload_signatures, signature_format
from controller.signing.rule_set import RuleKey
from controller.signing.signing_keys import OwnKey, select_signing_key
from controller.signing.wwcp_form import write_payload


class SignedMessage(msgspec.Struct, frozen=True):
    """A payload to be sent. `unsigned_reason`: why it is not signed although a rule requires it."""

    payload: bytes
    unsigned_reason: str = ""


def sign_message(
    key: RuleKey, payload: bytes, own: Iterable[OwnKey], name: str | None, utc: float, *, is_own: bool
) -> SignedMessage:
    """Sign a payload at `utc` (POSIX s); `name` is that of the signer, which no signature covers.

    With `is_own` the payload is our own and written in WWCP's form, else its bytes stay.
    """
    signing_key = select_signing_key(own, utc)
    if signing_key is None:
        return SignedMessage(payload, "no key of the controller is valid at this time")
    try:
        text = write_payload(key.version, key.kind, key.action, payload) if is_own else payload
        timestamp = signature_format.format_time(utc)
        return SignedMessage(
            payload_signatures.add_signature(text, signing_key.private, key.context, name, timestamp)
        )
    except SigningError as error:
        return SignedMessage(payload, str(error))
