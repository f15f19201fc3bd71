"""Policy enforcement: the decision about each message that is received, and the signing of our own.

    decide         forward, reject or drop; messages without a rule cost one look into a table
    sign_own       payload of a message of our own, signed if the policy requires it
    sign_forwarded payload of a message that is forwarded, with our signature beside those that it has

A policy is replaced as a whole while links stay. A rejected CALL gets a CALLERROR `SecurityError` with the
rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from controller.ocpp.frames import Call, CallResult, Frame, Send, Version
from controller.signing import signature_format
from controller.signing.jws import JwsVerifier
from controller.signing.message_signer import SignedMessage, sign_message
from controller.signing.message_verifier import verify_message, verify_signatures
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import SigningAction, VerificationRule
from controller.signing.replay_cache import ReplayCache, ReplayRecord
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind
from controller.signing.signature_policy import PolicyOutcome, PolicyVerdict, SignaturePolicy
from controller.signing.signing_keys import OwnKey

SECURITY_ERROR = "SecurityError"
"""Code of the CALLERROR (OCPP-J 1.6 section 4.2.3; 2.x Part 4, 4.3)."""


class ForwardDecision(msgspec.Struct, frozen=True):
    """Decision to forward a message. `record`: to be on disk before.

    `rule` and `reason` are for the log: the signers or, if the message is `marked`, what is wrong with
    it. `signers`: keys whose signatures were required and counted.
    """

    record: ReplayRecord | None = None
    rule: str = ""
    reason: str = ""
    marked: bool = False
    signers: frozenset[KeyId] = frozenset()


class RejectDecision(msgspec.Struct, frozen=True):
    """Decision not to forward a message; its sender gets an error."""

    rule: str
    reason: str

    @property
    def description(self) -> str:
        """Description of the CALLERROR: OCPP allows 255 characters."""
        return f"signature policy, rule {self.rule}: {self.reason}"[:255]


class DropDecision(msgspec.Struct, frozen=True):
    """Decision not to forward a message, without an answer."""

    rule: str
    reason: str


Decision = ForwardDecision | RejectDecision | DropDecision
FORWARD = ForwardDecision()
_Carrier = Call | CallResult | Send
"""Frames with a payload that can be signed."""


class MessageContext(msgspec.Struct, frozen=True, kw_only=True):
    """Facts about a frame that are not in it. `link`: station or backend that it comes from.

    `station`: whose it is. `action`: that of the CALL, if the frame is the answer to it. `binary`: its
    payload is that of a binary frame.
    """

    version: Version
    direction: Direction
    link: str
    station: str
    action: str | None = None
    binary: bool = False


class PolicyEnforcer:
    """The policy in force, with the controller's own keys and the replay memory. Times are POSIX s."""

    def __init__(
        self,
        policy: SignaturePolicy,
        own: Sequence[OwnKey] = (),
        seen: ReplayCache | None = None,
        jws: JwsVerifier | None = None,
        name: str | None = None,
    ) -> None:
        self._policy = policy
        self._own = tuple(own)
        self._seen = ReplayCache(policy.window_s) if seen is None else seen
        self._jws = JwsVerifier() if jws is None else jws
        self._name = name
        self.revision = 0
        """Number of times that the policy was replaced."""
        self.verdicts: Counter[tuple[str, PolicyOutcome]] = Counter()
        """Number of messages by rule and outcome."""

    def replace_policy(self, policy: SignaturePolicy, own: Sequence[OwnKey], jws: JwsVerifier) -> None:
        """Put another policy with its keys into force; the replay memory stays."""
        self._policy, self._own, self._jws = policy, tuple(own), jws
        self._seen.window_s = policy.window_s
        self.revision += 1

    def has_rule_for(self, key: RuleKey) -> bool:
        """Return True if some rule may be for such messages."""
        return self._policy.rules.has_rule_for(key)

    def decide(self, context: MessageContext, frame: Frame, utc: float) -> Decision:
        """Decide about a frame that was received."""
        decision = self._decide(context, frame, utc)
        if decision is not FORWARD and decision.rule:
            self.verdicts[decision.rule, _outcome(decision)] += 1
        return decision

    def _decide(self, context: MessageContext, frame: Frame, utc: float) -> Decision:
        if isinstance(frame, CallResult):
            if context.action is None:
                return FORWARD
            action, kind = context.action, MessageKind.RESPONSE
        elif isinstance(frame, Call):
            action, kind = frame.action, MessageKind.REQUEST
        elif isinstance(frame, Send):
            action, kind = frame.action, MessageKind.SEND
        else:
            return FORWARD  # errors have no payload that can be signed
        key = RuleKey.of_message(context.version, action, context.direction, kind, context.link)
        rule = self._policy.rules.verification_rule(key, utc)
        return FORWARD if rule is None else self._apply(rule, key, action, context, frame, utc)

    def valid_signers(self, key: RuleKey, payload: bytes, utc: float) -> frozenset[str]:
        """Return the holders of the valid signatures of a payload, independent of the rules.

        Raises SigningError.
        """
        known = self._policy.keyring.__contains__
        report, _ = verify_signatures(key, key.action, payload, known, self._jws)
        holders = (self._policy.keyring.holder(each, utc) for each in report.keys)
        return frozenset(holder for holder in holders if holder is not None)

    def sign_own(self, key: RuleKey, payload: bytes, utc: float) -> SignedMessage:
        """Sign a payload of our own if a rule requires it; `key.link` is its receiver.

        A payload that cannot be signed is returned as it is: limits must never wait for a signature.
        """
        return self._sign(key, payload, utc, passing=False)

    def sign_forwarded(self, key: RuleKey, payload: bytes, utc: float) -> SignedMessage:
        """Sign a payload that is forwarded; `key` is that of its arrival. Other signatures stay."""
        return self._sign(key, payload, utc, passing=True)

    def _apply(
        self,
        rule: VerificationRule,
        key: RuleKey,
        action: str,
        context: MessageContext,
        frame: _Carrier,
        utc: float,
    ) -> Decision:
        if not rule.require.verifies:
            return _to_decision(self._policy.evaluate(rule, "", "", utc))
        message = verify_message(
            key,
            action,
            frame.payload,
            context.station,
            self._policy.keyring.__contains__,
            self._jws,
            binary=context.binary,
        )
        verdict = self._policy.evaluate(rule, message.report, message.requests, utc)
        if verdict.outcome is not PolicyOutcome.FORWARD:
            return _to_decision(verdict)
        shared = signature_format.actions_sharing_context(key.version, key.kind, key.action)
        if shared and key.kind is not MessageKind.RESPONSE:
            # An answer is bound to its action by the request that it answers; a request is not.
            reason = f"its signature does not distinguish {key.action} from {', '.join(shared)}"
            return _to_decision(_failed(rule, reason))
        if rule.fresh and not isinstance(message.report, str):
            return self._check_replay(rule, verdict, message.report.digest, message.payload, utc)
        return _to_decision(verdict)

    def _check_replay(
        self, rule: VerificationRule, verdict: PolicyVerdict, digest: bytes, payload: bytes, utc: float
    ) -> Decision:
        added = self._seen.add(verdict.signers, digest, signature_format.creation_time(payload), utc)
        if isinstance(added, ReplayRecord):
            return ForwardDecision(
                record=added, rule=verdict.rule, reason=verdict.reason, signers=verdict.signers
            )
        return _to_decision(_failed(rule, added))

    def _sign(self, key: RuleKey, payload: bytes, utc: float, *, passing: bool) -> SignedMessage:
        rule = self._policy.rules.signing_rule(key, utc, passing=passing)
        if rule is None or rule.do is not SigningAction.SIGN:
            return SignedMessage(payload)
        return sign_message(key, payload, self._own, self._name, utc, is_own=not passing)


def _failed(rule: VerificationRule, reason: str) -> PolicyVerdict:
    return PolicyVerdict(outcome=PolicyOutcome(rule.failing), rule=rule.id, reason=reason)


def _outcome(decision: Decision) -> PolicyOutcome:
    match decision:
        case ForwardDecision():
            return PolicyOutcome.MARK if decision.marked else PolicyOutcome.FORWARD
        case RejectDecision():
            return PolicyOutcome.REFUSE
        case DropDecision():
            return PolicyOutcome.DROP


def _to_decision(verdict: PolicyVerdict) -> Decision:
    match verdict.outcome:
        case PolicyOutcome.FORWARD:
            if not verdict.signers:
                return FORWARD
            return ForwardDecision(rule=verdict.rule, reason=verdict.reason, signers=verdict.signers)
        case PolicyOutcome.MARK:
            return ForwardDecision(rule=verdict.rule, reason=verdict.reason, marked=True)
        case PolicyOutcome.REFUSE:
            return RejectDecision(verdict.rule, verdict.reason)
        case PolicyOutcome.DROP:
            return DropDecision(verdict.rule, verdict.reason)
