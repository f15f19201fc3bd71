"""What the signatures of a payload prove, in the words that dimming needs: a port to the signatures' room."""

from __future__ import annotations

from typing import Protocol

import msgspec


class ProofSigner(msgspec.Struct, frozen=True, kw_only=True):
    """Somebody whose key has signed validly, and may at this moment. `key` names the key in records."""

    holder: str
    key: str
    roles: frozenset[str]
    groups: frozenset[str] = frozenset()


class CommandProof(msgspec.Struct, frozen=True, kw_only=True):
    """What was found on a payload.

    `signatures` counts all; `signers` are the good ones. `problem` tells what is wrong with the first that
    is not; `off_duty` that a good one is of a key that is not valid yet, or no longer.
    """

    signatures: int = 0
    signers: tuple[ProofSigner, ...] = ()
    problem: str = ""
    off_duty: bool = False


class ProofVerifier(Protocol):
    """Verifies what came, and signs what the controller says."""

    def verify(self, received: bytes, utc: float) -> CommandProof:
        """What the signatures on these bytes prove at a moment (POSIX s)."""

    def sign(self, payload: bytes, utc: float) -> bytes:
        """The payload with the controller's own signature on it, no other byte changed."""
