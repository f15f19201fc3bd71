"""The proofs of dimming by real keys: what `signing` finds on a payload, as `proof` has it.

A holder is his own key group: the keys that follow one another in his name.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from controller.dimming import command
from controller.dimming.proof import Proof, Signer
from controller.signing import keys, signatures
from controller.signing.canonical import NotSignable
from controller.signing.keys import Keyring, OwnKey


class Bearers(msgspec.Struct, frozen=True):
    """Who bears a role, and how many of them must have signed, each his own."""

    holders: frozenset[str]
    approvals: int = 1


class KeyedSignatures:
    """Verifies commands by the keyring, and signs with the controller's own newest key."""

    def __init__(self, keyring: Keyring, roles: Mapping[str, Bearers], own: Sequence[OwnKey]) -> None:
        self._keyring = keyring
        self._roles = roles
        self._own = tuple(own)

    def verify(self, received: bytes, utc: float) -> Proof:
        """What the signatures on a command prove at a moment (POSIX s)."""
        try:
            examined = signatures.examine(received, command.CONTEXT, self._keyring.__contains__)
        except NotSignable as error:
            return Proof(signatures=1, problem=str(error))
        held = [(key, self._keyring.holder(key, utc)) for key in sorted(examined.keys, key=str)]
        present = frozenset(holder for _, holder in held if holder is not None)
        wrong = [each.wrong for each in examined.signatures if each.wrong is not None]
        off_duty = any(holder is None for _, holder in held)
        return Proof(
            signatures=len(examined.signatures),
            signers=tuple(
                Signer(
                    holder=holder,
                    key=keys.fingerprint(key),
                    roles=self._borne(holder, present),
                    groups=frozenset({holder}),
                )
                for key, holder in held
                if holder is not None
            ),
            problem="its key does not count at this time" if off_duty else next(iter(wrong), ""),
            off_duty=off_duty,
        )

    def sign(self, payload: bytes, utc: float) -> bytes:
        """The payload with our signature on it; without a key that counts, as it is: told is better."""
        own = keys.signer(self._own, utc)
        if own is None:
            return payload
        context = msgspec.json.decode(payload)["@context"]
        return signatures.sign(payload, own.private, context, own.known.holder or None)

    def _borne(self, holder: str, present: frozenset[str]) -> frozenset[str]:
        """The roles that a holder bears in this company."""
        return frozenset(
            role
            for role, bearers in self._roles.items()
            if holder in bearers.holders and len(bearers.holders & present) >= bearers.approvals
        )
