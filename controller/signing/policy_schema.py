"""Schema of the policy file: holders of keys, permissions of roles, rules of verification and signing.

Times are TOML's, with a time zone. Actions are named by themselves, by the classes of
`controller.ocpp.actions` ("profiles", "firmware"), or with `*` for any characters; links (the id of the
station or backend that a message comes from), variables and EVSEs with `*` as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.ocpp.actions import COMMANDS, REPORTS, SHARED
from controller.ocpp.frames import Version
from controller.signing.signature_format import Direction, MessageKind

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[tuple[Name, ...], Meta(min_length=1)]
Moment = Annotated[datetime, Meta(tz=True)]
ANY = "*"
ACTION_CLASSES: Mapping[str, frozenset[str]] = {
    name: frozenset().union(*(each.get(name, frozenset()) for each in (COMMANDS, SHARED, REPORTS)))
    for name in {*COMMANDS, *SHARED, *REPORTS}
}
"""Commands of a backend and reports of a station have one class if they are about the same matter."""

Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class VerificationMode(StrEnum):
    """Requirement on a message; the words are those of WWCP's verification rules."""

    UNVERIFIED = "acceptUnverified"
    ANY = "verifyAny"
    """Enough valid signatures of permitted signers; other signatures do not matter."""
    ALL = "verifyAll"
    """The same, and no signature that is invalid or of an unknown key."""
    REJECT = "reject"
    DROP = "drop"

    @property
    def verifies(self) -> bool:
        """True if signatures are verified."""
        return self in (VerificationMode.ANY, VerificationMode.ALL)


class FailureAction(StrEnum):
    """Treatment of a message that does not meet the requirement."""

    REFUSE = "refuse"
    """Its sender gets an error; a message without an answer is dropped."""
    DROP = "drop"
    """No answer is sent."""
    MARK = "mark"
    """Forward it with an entry in the log: for a trial of a policy."""


class SigningAction(StrEnum):
    """Treatment of a message that is sent; the words are those of WWCP's signing rules."""

    SIGN = "sign"
    FORWARD = "forwardUnsigned"


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    pass


class KeyApproval(_Table, frozen=True, kw_only=True):
    """Approval of a key `by` a holder: `value` is written by `local-controller keys approve`."""

    by: Name
    value: str


class KeyEntry(_Table, frozen=True, kw_only=True):
    """A public key: `public` (uncompressed point in base64) on `curve`, or that of a `certificate`.

    A `certificate` (PEM file) verifies the signed messages of OCPP itself as well. A holder may have
    several keys; each is valid from `not_before` until `not_after`. `approval`: who has approved it, where a
    role of the holder requires that.
    """

    holder: Name
    public: str | None = None
    certificate: str | None = None
    curve: Literal["secp256r1", "secp384r1", "secp521r1", "secp256k1"] = "secp256r1"
    not_before: Moment | None = None
    not_after: Moment | None = None
    approval: tuple[KeyApproval, ...] = ()


class Permission(_Table, frozen=True, kw_only=True):
    """One permission of a role; a missing member does not limit it.

    `variables`: of configuration, "Component.Variable", in OCPP 1.6 the key. `at_least` and `at_most`:
    bounds of their values. `max_a`, `max_w`: the highest limit of a charging profile in A and in W; then a
    message without a limit, or with one in the other unit, is not covered. `evses`: "STATION/EVSE", or
    "STATION" for what concerns it as a whole.
    """

    actions: Names
    variables: Names | None = None
    at_least: float | None = None
    at_most: float | None = None
    max_a: Annotated[float, Meta(ge=0, extra={"unit": "A"})] | None = None
    max_w: Annotated[float, Meta(ge=0, extra={"unit": "W"})] | None = None
    evses: Names | None = None


class SignerRole(_Table, frozen=True, kw_only=True):
    """Holders with the same permissions. `approvals`: number of holders who must have signed a message.

    `key_approvals` of `key_approvers` must have approved a key of a holder before it counts.
    """

    id: Name
    holders: Names
    approvals: Annotated[int, Meta(ge=1, le=16)] = 1
    key_approvals: Annotated[int, Meta(ge=0, le=16)] = 0
    key_approvers: tuple[Name, ...] = ()
    may: tuple[Permission, ...] = ()


class Rule(_Table, frozen=True, kw_only=True):
    """Messages that a rule is for; a missing member matches all. The highest `priority` decides."""

    id: Name
    priority: Priority = 0
    versions: Annotated[tuple[Version, ...], Meta(min_length=1)] | None = None
    actions: Names | None = None
    direction: Direction | None = None
    kinds: Annotated[tuple[MessageKind, ...], Meta(min_length=1)] = (MessageKind.REQUEST, MessageKind.SEND)
    links: Names | None = None
    contexts: Names | None = None
    not_before: Moment | None = None
    not_after: Moment | None = None


class VerificationRule(Rule, frozen=True, kw_only=True):
    """Requirement on messages that are received.

    Signers must have a role with a permission for what the message asks: one of `roles` if they are named.
    With `holders`, a valid signature of one of them is enough for anything. `fresh`: the signed part must
    state when it was made, within `window_s` of now, and the same text counts once.
    """

    require: VerificationMode
    failing: FailureAction = FailureAction.REFUSE
    roles: Names | None = None
    holders: Names | None = None
    fresh: bool = False


class SigningRule(Rule, frozen=True, kw_only=True):
    """Messages that get the controller's signature: its own, with `passing` also those it forwards."""

    do: SigningAction = SigningAction.SIGN
    passing: bool = False


class PolicyFile(_Table, frozen=True, kw_only=True):
    """The whole file. `version` is that of its format."""

    version: Literal[1]
    window_s: Annotated[float, Meta(gt=0, le=86_400, extra={"unit": "s"})] = 300.0
    key: tuple[KeyEntry, ...] = ()
    role: tuple[SignerRole, ...] = ()
    verify: tuple[VerificationRule, ...] = ()
    sign: tuple[SigningRule, ...] = ()
