"""Proofs of dimming commands: the signers of a payload, by the keys and roles of the signature policy.

The permissions of a role over OCPP do not count here: scope and rank of a command have their own rules. A
holder is his own key group: the keys that follow one another in his name.
"""

from __future__ import annotations

from collections.abc import Iterable
from operator import attrgetter, itemgetter
from typing import Protocol

import msgspec

from controller.dimming import dimming_command
from controller.signing import payload_signatures, signing_keys
from controller.signing.hardware_keys import HardwareKeyError
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import SignerRole
from controller.signing.signed_text import SignedTextError
from controller.signing.signing_keys import Keyring, OwnKey


class ProofSigner(msgspec.Struct, frozen=True, kw_only=True):
    """Signer with a valid signature and a key that is valid now. `key`: its fingerprint."""

    holder: str
    key: str
    roles: frozenset[str]
    groups: frozenset[str] = frozenset()


class CommandProof(msgspec.Struct, frozen=True, kw_only=True):
    """Result of the verification of a payload.

    `signatures` counts all; `signers` are the good ones. `problem`: what is wrong with the first that
    is not; `off_duty` that a good one is of a key that is not valid yet, or no longer.
    """

    signatures: int = 0
    signers: tuple[ProofSigner, ...] = ()
    problem: str = ""
    off_duty: bool = False


class ProofVerifier(Protocol):
    """Verifier of commands, and signer of our answers."""

    def verify(self, received: bytes, utc: float) -> CommandProof:
        """Verify the signatures on these bytes at a moment (POSIX s)."""

    def sign(self, payload: bytes, utc: float) -> bytes:
        """Return the payload with the controller's signature, no other byte changed."""


class KeyProofs:
    """Verification by the keyring, and signing with the newest own key."""

    def __init__(self, keyring: Keyring, roles: Iterable[SignerRole], own: Iterable[OwnKey]) -> None:
        self.replace_keys(keyring, roles, own)

    def replace_keys(self, keyring: Keyring, roles: Iterable[SignerRole], own: Iterable[OwnKey]) -> None:
        """Replace keys and roles."""
        self._keyring, self._roles, self._own = keyring, tuple(roles), tuple(own)

    def verify(self, received: bytes, utc: float) -> CommandProof:
        """Verify the signatures on a command at a moment (POSIX s)."""
        try:
            examined = payload_signatures.verify_payload(
                received, dimming_command.CONTEXT, self._keyring.__contains__
            )
        except SignedTextError as error:
            return CommandProof(signatures=1, problem=str(error))
        held: list[tuple[KeyId, str]] = []
        off_duty = False
        for key in sorted(examined.keys, key=attrgetter("curve", "point")):
            holder = self._keyring.holder(key, utc)
            if holder is None:
                off_duty = True
            else:
                held.append((key, holder))
        present = frozenset(map(itemgetter(1), held))
        signers = [
            ProofSigner(
                holder=holder,
                key=signing_keys.fingerprint(key),
                roles=self._roles_of(holder, present),
                groups=frozenset({holder}),
            )
            for key, holder in held
        ]
        wrong = [each.wrong for each in examined.signatures if each.wrong is not None]
        return CommandProof(
            signatures=len(examined.signatures),
            signers=tuple(signers),
            problem="its key does not count at this time" if off_duty else next(iter(wrong), ""),
            off_duty=off_duty,
        )

    def sign(self, payload: bytes, utc: float) -> bytes:
        """Return the payload with our signature; unsigned where no key is valid, or a hardware key fails."""
        own = signing_keys.select_signing_key(self._own, utc)
        if own is None:
            return payload
        context = msgspec.json.decode(payload)["@context"]
        try:
            return payload_signatures.add_signature(payload, own.private, context, own.known.holder or None)
        except HardwareKeyError:
            return payload  # the limit is obeyed all the same, and its evidence names the reason

    def _roles_of(self, holder: str, present: frozenset[str]) -> frozenset[str]:
        """Return the roles of a holder, given the other signers."""
        return frozenset(
            role.id
            for role in self._roles
            if holder in role.holders and len(present.intersection(role.holders)) >= role.approvals
        )
