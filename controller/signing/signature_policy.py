"""What a rule says of a message: forward, refuse, drop, or forward and mark; and why."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from controller.signing.access_request import AccessRequest
from controller.signing.keyring import Keyring
from controller.signing.policy_schema import RequireConfig, RoleConfig, SignConfig, VerifyConfig
from controller.signing.roles import RoleTable
from controller.signing.rulebook import Rulebook
from controller.signing.signatures import ExaminedMessage, KeyId


class PolicyOutcome(StrEnum):
    """What becomes of a message."""

    FORWARD = "forward"
    REFUSE = "refuse"
    DROP = "drop"
    MARK = "mark"


class PolicyVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of a message, by which rule, and why. `signers`: those whose signatures counted."""

    outcome: PolicyOutcome
    rule: str
    why: str
    signers: frozenset[KeyId] = frozenset()


class SignaturePolicy:
    """Keys, roles and rules as they hold together. It never changes: another policy is another object."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        roles: Iterable[RoleConfig] = (),
        verify: Iterable[VerifyConfig] = (),
        sign: Iterable[SignConfig] = (),
        window_s: float = 300.0,
    ) -> None:
        self.keyring = keyring
        self.roles = RoleTable(roles)
        self.rules = Rulebook(verify, sign, self.roles)
        self.window_s = window_s

    def judge(
        self,
        rule: VerifyConfig,
        examined: ExaminedMessage | str,
        asks: Iterable[AccessRequest] | str,
        utc: float,
    ) -> PolicyVerdict:
        """What `rule` says of a message that came in at `utc` (POSIX s).

        `examined` and `asks` are what its signatures prove and what it asks for, or why nobody can tell.
        Where the rule does not verify, nobody has looked at them.
        """
        if not rule.require.verifies:
            why = f"{rule.require} is what such messages get"
            return PolicyVerdict(outcome=_WITHOUT_A_LOOK[rule.require], rule=rule.id, why=why)
        holders = {} if isinstance(examined, str) else self._holders(examined, utc)
        objection = examined if isinstance(examined, str) else _forms(rule, examined, holders)
        if objection is None:
            objection = self._rights(rule, frozenset(holders.values()), asks)
        if objection is not None:
            return PolicyVerdict(outcome=PolicyOutcome(rule.failing), rule=rule.id, why=objection)
        why = f"signed by {', '.join(sorted(set(holders.values())))}"
        return PolicyVerdict(outcome=PolicyOutcome.FORWARD, rule=rule.id, why=why, signers=frozenset(holders))

    def _holders(self, examined: ExaminedMessage, utc: float) -> dict[KeyId, str]:
        """Who has signed validly, with a key that counts now."""
        found = ((key, self.keyring.holder(key, utc)) for key in examined.keys)
        return {key: holder for key, holder in found if holder is not None}

    def _rights(
        self, rule: VerifyConfig, signers: frozenset[str], asks: Iterable[AccessRequest] | str
    ) -> str | None:
        """Why the signers may not say what the message says; None where they may."""
        if rule.holders is not None and not signers.isdisjoint(rule.holders):
            return None
        if rule.holders is not None and rule.roles is None:
            return f"{', '.join(sorted(signers))} is none of {', '.join(rule.holders)}"
        if isinstance(asks, str):
            return f"nobody can tell what it asks for: {asks}"
        return self.roles.objection(signers, asks, None if rule.roles is None else frozenset(rule.roles))


_WITHOUT_A_LOOK = {
    RequireConfig.UNVERIFIED: PolicyOutcome.FORWARD,
    RequireConfig.REJECT: PolicyOutcome.REFUSE,
    RequireConfig.DROP: PolicyOutcome.DROP,
}


def _forms(rule: VerifyConfig, examined: ExaminedMessage, holders: Mapping[KeyId, str]) -> str | None:
    """What is wrong with a message's signatures themselves; None where they suffice."""
    if not examined.signatures:
        return "it is not signed"
    wrong = [each.wrong for each in examined.signatures if each.wrong is not None]
    if examined.keys - holders.keys():
        wrong.append("its key does not count at this time")
    if not holders:
        return f"no signature on it counts: {wrong[0]}"
    if rule.require is RequireConfig.ALL and wrong:
        return f"not all signatures on it count: {wrong[0]}"
    return None
