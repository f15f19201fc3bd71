"""The gate: every message that comes in is looked at here, and everything of our own is signed here.

    look          may it go on? Only links and actions that a policy names cost more than a look into a table
    sign_own      the payload of a message of our own, signed where the policy has it so
    sign_passing  that of a message that goes on, with our signature beside those that it has

A policy is exchanged as a whole, while links stay. The answer to a refused CALL is a CALLERROR
`SecurityError` that names the rule.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import msgspec

from controller.ocpp.actions import SIGNED, plain
from controller.ocpp.frames import Call, CallResult, Frame, Send, Version
from controller.signing import access_request, keyring, signatures, signing_wire
from controller.signing.access_request import AccessRequest, UnreadableRequestError
from controller.signing.canonical import NotSignableError
from controller.signing.jws import Verifier
from controller.signing.keyring import OwnKey
from controller.signing.policy_schema import RuleAction, VerifyConfig
from controller.signing.replay import RememberText, ReplayCache
from controller.signing.rulebook import MessageFacts
from controller.signing.signature_policy import PolicyOutcome, PolicyVerdict, SignaturePolicy
from controller.signing.signatures import ExaminedMessage, KeyId
from controller.signing.signing_wire import Direction, SignatureKind

CODE = "SecurityError"
"""The CALLERROR's code (OCPP-J 1.6 section 4.2.3; 2.x Part 4, 4.3)."""


class ForwardDecision(msgspec.Struct, frozen=True):
    """It goes on. `remember`: save it first.

    With `rule` and `why` there is something for the log: who has signed, or, where it is `marked`, what
    the message lacks. `signers`: those whose signatures let it pass; none where nobody looked.
    """

    remember: RememberText | None = None
    rule: str = ""
    why: str = ""
    marked: bool = False
    signers: frozenset[KeyId] = frozenset()


class RejectDecision(msgspec.Struct, frozen=True):
    """It does not go on, and who waits for an answer is told so."""

    rule: str
    why: str

    @property
    def description(self) -> str:
        """Of the CALLERROR: OCPP allows 255 characters."""
        return f"signature policy, rule {self.rule}: {self.why}"[:255]


class DropDecision(msgspec.Struct, frozen=True):
    """It does not go on, and nobody is told but the log."""

    rule: str
    why: str


Ruling = ForwardDecision | RejectDecision | DropDecision
PASS = ForwardDecision()
_Carrier = Call | CallResult | Send
"""What has a payload that somebody may sign."""


class MessageContext(msgspec.Struct, frozen=True, kw_only=True):
    """On which way a frame is. `link` is the station or backend that it comes from, `station` whose it is.

    `action` is that of the CALL, where the frame is the answer to it.
    """

    version: Version
    direction: Direction
    link: str
    station: str
    action: str | None = None


class SignedMessage(msgspec.Struct, frozen=True):
    """A payload to be sent. `lacks` says why it is not signed, where it should be."""

    payload: bytes
    lacks: str = ""


class PolicyEnforcer:
    """A policy in force, with the controller's own keys and what it has seen. Times are POSIX s."""

    def __init__(
        self,
        policy: SignaturePolicy,
        own: Sequence[OwnKey] = (),
        seen: ReplayCache | None = None,
        jws: Verifier | None = None,
        name: str | None = None,
    ) -> None:
        self._policy = policy
        self._own = tuple(own)
        self._seen = ReplayCache(policy.window_s) if seen is None else seen
        self._jws = Verifier() if jws is None else jws
        self._name = name
        self.verdicts: Counter[tuple[str, PolicyOutcome]] = Counter()
        """How many messages each rule has let pass, marked, refused and dropped."""

    def exchange(self, policy: SignaturePolicy, own: Sequence[OwnKey], jws: Verifier) -> None:
        """From now on this policy is in force, with these keys. What has been seen stays seen."""
        self._policy, self._own, self._jws = policy, tuple(own), jws
        self._seen.window_s = policy.window_s

    def look(self, passage: MessageContext, frame: Frame, utc: float) -> Ruling:
        """What becomes of a frame that came in."""
        ruling = self._look(passage, frame, utc)
        if ruling is not PASS and ruling.rule:
            self.verdicts[ruling.rule, _outcome(ruling)] += 1
        return ruling

    def _look(self, passage: MessageContext, frame: Frame, utc: float) -> Ruling:
        if isinstance(frame, CallResult):
            if passage.action is None:
                return PASS
            action, kind = passage.action, SignatureKind.RESPONSE
        elif isinstance(frame, Call):
            action, kind = frame.action, SignatureKind.REQUEST
        elif isinstance(frame, Send):
            action, kind = frame.action, SignatureKind.SEND
        else:
            return PASS  # errors have no payload that anybody signs
        facts = MessageFacts(
            version=passage.version,
            action=plain(action),
            direction=passage.direction,
            kind=kind,
            link=passage.link,
        )
        if not self._policy.rules.needs_look(facts):
            return PASS
        rule = self._policy.rules.verification(facts, utc)
        return PASS if rule is None else self._verify(rule, facts, action, passage.station, frame, utc)

    def signers(self, facts: MessageFacts, payload: bytes, utc: float) -> frozenset[str]:
        """Whose valid signatures a payload bears, whatever the rules say. Raises NotSignable."""
        examined, _ = self._examined(facts, facts.action, payload)
        holders = (self._policy.keyring.holder(key, utc) for key in examined.keys)
        return frozenset(holder for holder in holders if holder is not None)

    def sign_own(self, facts: MessageFacts, payload: bytes, utc: float) -> SignedMessage:
        """A payload of our own; `facts.link` is where it goes. It is never held back: limits must go out."""
        return self._sign(facts, payload, utc, passing=False)

    def sign_passing(self, facts: MessageFacts, payload: bytes, utc: float) -> SignedMessage:
        """A payload that goes on; `facts` are those with which it came. What others have signed stays so."""
        return self._sign(facts, payload, utc, passing=True)

    def _verify(
        self, rule: VerifyConfig, facts: MessageFacts, action: str, station: str, frame: _Carrier, utc: float
    ) -> Ruling:
        if not rule.require.verifies:
            return _ruling(self._policy.judge(rule, "", "", utc))
        try:
            examined, payload = self._examined(facts, action, frame.payload)
        except NotSignableError as refused:
            return _ruling(self._policy.judge(rule, str(refused), "", utc))
        verdict = self._policy.judge(rule, examined, _asked(facts, payload, station), utc)
        if verdict.outcome is PolicyOutcome.FORWARD and rule.fresh:
            return self._if_new(rule, verdict, examined.digest, payload, utc)
        return _ruling(verdict)

    def _examined(self, facts: MessageFacts, action: str, payload: bytes) -> tuple[ExaminedMessage, bytes]:
        """What the signatures prove, and the payload that they are about. Raises NotSignable."""
        if action.endswith(SIGNED):
            return self._jws.examine(payload, action, facts.kind)
        return signatures.examine(payload, facts.context, self._policy.keyring.__contains__), payload

    def _if_new(
        self, rule: VerifyConfig, verdict: PolicyVerdict, digest: bytes, payload: bytes, utc: float
    ) -> Ruling:
        taken = self._seen.take(verdict.signers, digest, signing_wire.time_of(payload), utc)
        if isinstance(taken, RememberText):
            return ForwardDecision(
                remember=taken, rule=verdict.rule, why=verdict.why, signers=verdict.signers
            )
        return _ruling(PolicyVerdict(outcome=PolicyOutcome(rule.failing), rule=rule.id, why=taken))

    def _sign(self, facts: MessageFacts, payload: bytes, utc: float, *, passing: bool) -> SignedMessage:
        if not self._policy.rules.needs_look(facts):
            return SignedMessage(payload)
        rule = self._policy.rules.signing(facts, utc, passing=passing)
        if rule is None or rule.do is not RuleAction.SIGN:
            return SignedMessage(payload)
        key = keyring.signer(self._own, utc)
        if key is None:
            return SignedMessage(payload, "none of the controller's keys counts at this time")
        try:
            moment = signing_wire.moment(utc)
            return SignedMessage(signatures.sign(payload, key.private, facts.context, self._name, moment))
        except NotSignableError as refused:
            return SignedMessage(payload, f"it cannot be signed: {refused}")


def _asked(facts: MessageFacts, payload: bytes, station: str) -> list[AccessRequest] | str:
    if facts.kind is SignatureKind.RESPONSE:
        return [AccessRequest(action=facts.action, where=station)]
    try:
        return access_request.access_requests(facts.version, facts.action, payload, station)
    except UnreadableRequestError as unreadable:
        return str(unreadable)


def _outcome(ruling: Ruling) -> PolicyOutcome:
    match ruling:
        case ForwardDecision():
            return PolicyOutcome.MARK if ruling.marked else PolicyOutcome.FORWARD
        case RejectDecision():
            return PolicyOutcome.REFUSE
        case DropDecision():
            return PolicyOutcome.DROP


def _ruling(verdict: PolicyVerdict) -> Ruling:
    match verdict.outcome:
        case PolicyOutcome.FORWARD:
            if not verdict.signers:
                return PASS
            return ForwardDecision(rule=verdict.rule, why=verdict.why, signers=verdict.signers)
        case PolicyOutcome.MARK:
            return ForwardDecision(rule=verdict.rule, why=verdict.why, marked=True)
        case PolicyOutcome.REFUSE:
            return RejectDecision(verdict.rule, verdict.why)
        case PolicyOutcome.DROP:
            return DropDecision(verdict.rule, verdict.why)
