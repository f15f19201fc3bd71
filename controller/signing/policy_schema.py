"""The file of policies as typed data: who holds which key, what each role may do, what must be signed.

Times are TOML's, with a time zone. Actions are named by themselves, by the classes of
`controller.ocpp.actions` ("profiles", "firmware"), or with `*` for any characters; links (the id of the
station or backend that a message comes from), variables and EVSEs with `*` as well.
"""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from controller.ocpp.frames import Version
from controller.signing.signing_wire import Direction, SignatureKind

Name = Annotated[str, Meta(min_length=1, max_length=128)]
Names = Annotated[tuple[Name, ...], Meta(min_length=1)]
Moment = Annotated[datetime, Meta(tz=True)]
Priority = Annotated[int, Meta(ge=-1_000_000, le=1_000_000)]


class RequireConfig(StrEnum):
    """What a message must have; the words are those of WWCP's verification rules."""

    UNVERIFIED = "acceptUnverified"
    ANY = "verifyAny"
    """Enough valid signatures of those who may say this; others beside them do no harm."""
    ALL = "verifyAll"
    """The same, and no signature beside them that is not valid, or of a key that is not known."""
    REJECT = "reject"
    DROP = "drop"

    @property
    def verifies(self) -> bool:
        """Whether it takes a look at the signatures."""
        return self in (RequireConfig.ANY, RequireConfig.ALL)


class FailureAction(StrEnum):
    """What becomes of a message that has not what it must have."""

    REFUSE = "refuse"
    """Its sender is told; a message that wants no answer is dropped."""
    DROP = "drop"
    """Nobody is told."""
    MARK = "mark"
    """It goes on, and the log says what it lacks: for the days before a policy is meant."""


class RuleAction(StrEnum):
    """What is done with a message that is sent; the words are those of WWCP's signing rules."""

    SIGN = "sign"
    FORWARD = "forwardUnsigned"


class _Table(msgspec.Struct, frozen=True, kw_only=True):
    pass


class KeyConfig(_Table, frozen=True, kw_only=True):
    """A public key: `public` (its point, uncompressed, in base64) on `curve`, or that of a `certificate`.

    A `certificate` (PEM file) verifies the signed messages of OCPP itself as well. A holder may have
    several keys; each counts from `not_before` until `not_after`.
    """

    holder: Name
    public: str | None = None
    certificate: str | None = None
    curve: Literal["secp256r1", "secp384r1", "secp521r1", "secp256k1"] = "secp256r1"
    not_before: Moment | None = None
    not_after: Moment | None = None


class GrantConfig(_Table, frozen=True, kw_only=True):
    """Something that a role may do; what is not said is not limited.

    `variables`: of configuration, "Component.Variable", in OCPP 1.6 the key. `at_least` and `at_most`: the
    values that these may be given. `max_a`, `max_w`: the highest limit of a charging profile in A and in
    W; then a message without a limit, or with one in the other unit, is not granted. `evses`: where,
    "STATION/EVSE", or "STATION" for what concerns it as a whole.
    """

    actions: Names
    variables: Names | None = None
    at_least: float | None = None
    at_most: float | None = None
    max_a: Annotated[float, Meta(ge=0)] | None = None
    max_w: Annotated[float, Meta(ge=0)] | None = None
    evses: Names | None = None


class RoleConfig(_Table, frozen=True, kw_only=True):
    """Who may do what. `approvals`: how many of the holders must have signed a message, each his own."""

    id: Name
    holders: Names
    approvals: Annotated[int, Meta(ge=1, le=16)] = 1
    may: tuple[GrantConfig, ...] = ()


class RuleConfig(_Table, frozen=True, kw_only=True):
    """Which messages a rule is for; what is not said is every. Of several, the highest `priority` decides."""

    id: Name
    priority: Priority = 0
    versions: Annotated[tuple[Version, ...], Meta(min_length=1)] | None = None
    actions: Names | None = None
    direction: Direction | None = None
    kinds: Annotated[tuple[SignatureKind, ...], Meta(min_length=1)] = (
        SignatureKind.REQUEST,
        SignatureKind.SEND,
    )
    links: Names | None = None
    contexts: Names | None = None
    not_before: Moment | None = None
    not_after: Moment | None = None


class VerifyConfig(RuleConfig, frozen=True, kw_only=True):
    """What messages must have that come in.

    Signers must bear a role that may say what the message says: one of `roles` where they are named.
    With `holders`, a valid signature of one of these is enough, whatever it says. `fresh`: the signed part
    must say when it was made, within `window_s` of now, and the same text counts once.
    """

    require: RequireConfig
    failing: FailureAction = FailureAction.REFUSE
    roles: Names | None = None
    holders: Names | None = None
    fresh: bool = False


class SignConfig(RuleConfig, frozen=True, kw_only=True):
    """What gets the controller's signature: its own messages, and with `passing` those that it passes on."""

    do: RuleAction = RuleAction.SIGN
    passing: bool = False


class PolicyFile(_Table, frozen=True, kw_only=True):
    """The whole file. `version` is that of its format."""

    version: Literal[1]
    window_s: Annotated[float, Meta(gt=0, le=86_400)] = 300.0
    key: tuple[KeyConfig, ...] = ()
    role: tuple[RoleConfig, ...] = ()
    verify: tuple[VerifyConfig, ...] = ()
    sign: tuple[SignConfig, ...] = ()
