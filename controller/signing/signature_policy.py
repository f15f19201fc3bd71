"""Evaluation of a rule for a message: forward, refuse, drop, or forward and mark; with the reason."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum

import msgspec

from controller.signing.access_requests import AccessRequest
from controller.signing.payload_signatures import KeyId, SignatureReport
from controller.signing.policy_schema import SignerRole, SigningRule, VerificationMode, VerificationRule
from controller.signing.roles import RoleTable
from controller.signing.rule_set import RuleSet
from controller.signing.signing_keys import Keyring


class PolicyOutcome(StrEnum):
    """Treatment of a message."""

    FORWARD = "forward"
    REFUSE = "refuse"
    DROP = "drop"
    MARK = "mark"


class PolicyVerdict(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a rule, with the reason. `signers`: keys whose signatures counted."""

    outcome: PolicyOutcome
    rule: str
    reason: str
    signers: frozenset[KeyId] = frozenset()


class SignaturePolicy:
    """Keys, roles and rules together. Immutable: another policy is another object."""

    def __init__(
        self,
        *,
        keyring: Keyring,
        roles: Iterable[SignerRole] = (),
        verify: Iterable[VerificationRule] = (),
        sign: Iterable[SigningRule] = (),
        window_s: float = 300.0,
    ) -> None:
        self.keyring = keyring
        self.roles = RoleTable(roles)
        self.rules = RuleSet(verify, sign, self.roles)
        self.window_s = window_s

    def evaluate(
        self,
        rule: VerificationRule,
        report: SignatureReport | str,
        requests: Iterable[AccessRequest] | str,
        utc: float,
    ) -> PolicyVerdict:
        """Evaluate `rule` for a message received at `utc` (POSIX s).

        `report` and `requests`: what its signatures prove and what it asks for, or why that cannot be
        read. They are not used if the rule does not verify.
        """
        if not rule.require.verifies:
            reason = f"the rule requires {rule.require}"
            return PolicyVerdict(outcome=_UNVERIFIED_OUTCOMES[rule.require], rule=rule.id, reason=reason)
        holders = {} if isinstance(report, str) else self._valid_holders(report, utc)
        objection = report if isinstance(report, str) else _check_signatures(rule, report, holders)
        if objection is None:
            objection = self._check_permissions(rule, frozenset(holders.values()), requests)
        if objection is not None:
            return PolicyVerdict(outcome=PolicyOutcome(rule.failing), rule=rule.id, reason=objection)
        reason = f"signed by {', '.join(sorted(set(holders.values())))}"
        return PolicyVerdict(
            outcome=PolicyOutcome.FORWARD, rule=rule.id, reason=reason, signers=frozenset(holders)
        )

    def _valid_holders(self, report: SignatureReport, utc: float) -> dict[KeyId, str]:
        """Return the holders of valid signatures whose keys are valid at `utc`."""
        found = ((key, self.keyring.holder(key, utc)) for key in report.keys)
        return {key: holder for key, holder in found if holder is not None}

    def _check_permissions(
        self, rule: VerificationRule, signers: frozenset[str], requests: Iterable[AccessRequest] | str
    ) -> str | None:
        """Return why the signers may not ask for what the message asks; None if they may."""
        if rule.holders is not None and not signers.isdisjoint(rule.holders):
            return None
        if rule.holders is not None and rule.roles is None:
            return f"{', '.join(sorted(signers))} is not one of {', '.join(rule.holders)}"
        if isinstance(requests, str):
            return f"it cannot be read: {requests}"
        only = None if rule.roles is None else frozenset(rule.roles)
        return self.roles.find_objection(signers, requests, only)


_UNVERIFIED_OUTCOMES = {
    VerificationMode.UNVERIFIED: PolicyOutcome.FORWARD,
    VerificationMode.REJECT: PolicyOutcome.REFUSE,
    VerificationMode.DROP: PolicyOutcome.DROP,
}


def _check_signatures(
    rule: VerificationRule, report: SignatureReport, holders: Mapping[KeyId, str]
) -> str | None:
    """Return what is wrong with a message's signatures; None if they suffice."""
    if not report.signatures:
        return "it is not signed"
    wrong = [each.wrong for each in report.signatures if each.wrong is not None]
    if report.keys - holders.keys():
        wrong.append("its key is not valid at this time")
    if not holders:
        return f"it has no valid signature: {wrong[0]}"
    if rule.require is VerificationMode.ALL and wrong:
        return f"not all of its signatures are valid: {wrong[0]}"
    return None
