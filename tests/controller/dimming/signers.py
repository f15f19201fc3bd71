"""Signatures that a test can read: `{"by": "alice"}`, good where the text was not changed since."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import msgspec

from controller.dimming.verification import CommandProof, ProofSigner

DSO = ProofSigner(
    holder="netz", key="k-dso", roles=frozenset({"grid-operator"}), groups=frozenset({"dso/limit"})
)
CPO = ProofSigner(holder="cpo", key="k-cpo", roles=frozenset({"operator"}))
RETIRED = ProofSigner(holder="old", key="k-old", roles=frozenset({"grid-operator"}))


class PlainSignatures:
    """Verifier with keys by their holders' names; RETIRED's is not valid any more."""

    known: Mapping[str, ProofSigner] = {"dso": DSO, "cpo": CPO}

    def verify(self, received: bytes, utc: float) -> CommandProof:
        payload = msgspec.json.decode(received)
        signatures = payload.pop("signatures", [])
        text = _text(payload)
        good = [each["by"] for each in signatures if each["text"] == text]
        signers = tuple(self.known[name] for name in good if name in self.known)
        return CommandProof(
            signatures=len(signatures),
            signers=signers,
            problem="" if len(signers) == len(signatures) else "no known key has signed these bytes",
            off_duty="old" in good,
        )

    def sign(self, payload: bytes, context: str, utc: float) -> bytes:
        return signed(msgspec.json.decode(payload), "controller")


def signed(payload: dict[str, Any], *names: str) -> bytes:
    """The payload, signed by each of them."""
    signatures = [{"by": name, "text": _text(payload)} for name in names]
    return msgspec.json.encode(payload | {"signatures": signatures})


def _text(payload: dict[str, Any]) -> str:
    return hashlib.sha256(msgspec.json.encode(payload, order="sorted")).hexdigest()
