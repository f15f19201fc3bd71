"""Policy check: messages of a station's links held against the policy of signatures.

A rejected CALL is answered with a CALLERROR that names the rule; in place of a rejected CALLRESULT, the
sender of the CALL gets such a CALLERROR; a rejected SEND is dropped. A dropped message is logged, and its
receiver waits as for a silent peer. What passes stays the text that arrived, unless the policy has it signed
by us, too: a CALL gets our signature when it leaves its queue, an answer when it passes.

Links and actions that no rule names cost one look into a table.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.model.peer_text import peer_word
from controller.ocpp.actions import SIGNED
from controller.ocpp.frames import Call, CallError, CallResult, Frame, Send, Version, call_error
from controller.signing.message_signer import SignedMessage
from controller.signing.policy_enforcer import (
    FORWARD,
    SECURITY_ERROR,
    Decision,
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction, MessageKind

MOST_CACHED_RULES = 1000
"""Kinds of messages for which it is cached whether there is a rule."""


class PolicyPeer(msgspec.Struct, frozen=True):
    """The other end of `link`, the id of a station or backend. `direction` is that of its messages."""

    direction: Direction
    link: str

    @property
    def name(self) -> str:
        """The peer as key=value, for the log."""
        return f"{'station' if self.direction is Direction.UP else 'backend'}={self.link}"


def station_peer(station: str) -> PolicyPeer:
    """Return the peer of a station's link."""
    return PolicyPeer(Direction.UP, station)


def backend_peer(backend: str) -> PolicyPeer:
    """Return the peer of a backend's link."""
    return PolicyPeer(Direction.DOWN, backend)


class CheckedFrame(msgspec.Struct, frozen=True):
    """The frame as it passes; None: it does not. `answer` is for its sender, if there is one."""

    frame: Frame | None
    effects: tuple[Persist | LogEntry, ...] = ()
    answer: str = ""


class SignedText(msgspec.Struct, frozen=True):
    """The text of a message that leaves, signed where the policy has it so."""

    text: str
    effects: tuple[LogEntry, ...] = ()


RuledKey = tuple[int, PolicyPeer, type[Frame], str | None]
"""Revision of the policy, sender, class of the frame, action: of a CALLRESULT that of its CALL."""

_KINDS: Mapping[type[Frame], MessageKind] = {
    Call: MessageKind.REQUEST,
    Send: MessageKind.SEND,
    CallResult: MessageKind.RESPONSE,
}


class RuledMessages(dict[RuledKey, bool]):
    """Table of the kinds of messages that some rule may be for: all others need no check.

    An entry is made when it is first looked up. The revision in the key makes those of an earlier policy
    unreachable; the bound removes them.
    """

    def __init__(self, enforcer: PolicyEnforcer, version: Version) -> None:
        super().__init__()
        self._enforcer = enforcer
        self._version = version

    def __missing__(self, key: RuledKey) -> bool:
        _, sender, frame_type, action = key
        kind = _KINDS.get(frame_type)
        if kind is None or action is None:
            return False  # an error has no payload that anybody signs
        if len(self) >= MOST_CACHED_RULES:
            self.clear()
        rule_key = RuleKey.of_message(self._version, action, sender.direction, kind, sender.link)
        found = self[key] = self._enforcer.has_rule_for(rule_key)
        return found


class PolicyCheck:
    """The policy of signatures on the links of one station.

    `ruled` shows at the cost of one look-up whether a message needs a check, with `enforcer.revision`.
    """

    def __init__(self, enforcer: PolicyEnforcer, version: Version, station: str) -> None:
        self.enforcer = enforcer
        self._version = version
        self._station = station
        self.ruled = RuledMessages(enforcer, version)

    # -- messages that arrive -------------------------------------------------------------------------

    def check(
        self, frame: Frame, sender: PolicyPeer, action: str | None, utc: float, *, is_repeated: bool = False
    ) -> CheckedFrame:
        """Check a frame. `action`: that of the CALL that it answers, if any.

        `is_repeated`: the sender repeats a CALL before its answer: a rejected one gets no other.
        """
        decision = self.decide(frame, sender, action, utc)
        checked = self.follow(decision, frame, sender, action, is_repeated=is_repeated)
        passed = checked.frame
        if isinstance(passed, CallResult):
            signed = self._sign_passing(sender, action or "", passed.text, passed.payload, utc, CallResult)
        elif isinstance(passed, Send):
            signed = self._sign_passing(sender, passed.action, passed.text, passed.payload, utc, Send)
        else:
            return checked
        if signed.text is passed.text and not signed.effects:
            return checked
        return CheckedFrame(
            msgspec.structs.replace(passed, text=signed.text), (*checked.effects, *signed.effects)
        )

    def decide(self, frame: Frame, sender: PolicyPeer, action: str | None, utc: float) -> Decision:
        """Return the policy's decision on a frame, for `follow`."""
        context = MessageContext(
            version=self._version,
            direction=sender.direction,
            link=sender.link,
            station=self._station,
            action=action if isinstance(frame, CallResult) else None,
        )
        return self.enforcer.decide(context, frame, utc)

    def follow(
        self,
        decision: Decision,
        frame: Frame,
        sender: PolicyPeer,
        action: str | None,
        *,
        is_repeated: bool = False,
    ) -> CheckedFrame:
        """Apply a decision."""
        if decision is FORWARD:
            return CheckedFrame(frame)
        named = action if isinstance(frame, CallResult) else getattr(frame, "action", "")
        what = f"{sender.name} action={peer_word(named or '')} id={peer_word(frame.id)}"
        match decision:
            case ForwardDecision():
                return CheckedFrame(frame, _effects_of(decision, what))
            case RejectDecision():
                return self._reject(frame, decision, what, is_repeated=is_repeated)
            case DropDecision(rule, reason):
                line = f"message dropped {what} rule={rule} reason={reason!r}"
                return CheckedFrame(None, (LogEntry(logging.WARNING, line),))

    def _reject(
        self, frame: Frame, decision: RejectDecision, what: str, *, is_repeated: bool
    ) -> CheckedFrame:
        if isinstance(frame, Call) and is_repeated:
            return CheckedFrame(None, (LogEntry(logging.INFO, f"repeated call sent once {what}"),))
        line = f"message rejected {what} rule={decision.rule} reason={decision.reason!r}"
        effects = (LogEntry(logging.WARNING, line),)
        text = call_error(frame.id, SECURITY_ERROR, decision.description)
        if isinstance(frame, CallResult):
            return CheckedFrame(CallError(text, frame.id, SECURITY_ERROR, decision.description), effects)
        return CheckedFrame(None, effects, text if isinstance(frame, Call) else "")

    # -- messages that leave --------------------------------------------------------------------------

    def sign_passing_call(
        self, sender: PolicyPeer, action: str, text: str, payload: bytes, utc: float
    ) -> SignedText:
        """Sign a CALL of `sender` that leaves its queue, beside the signatures that it has."""
        return self._sign_passing(sender, action, text, payload, utc, Call)

    def sign_own(
        self,
        receiver: PolicyPeer,
        action: str,
        text: str,
        payload: bytes,
        utc: float,
        frame_type: type[Frame] = Call,
    ) -> SignedText:
        """Sign a message of our own to `receiver`."""
        direction = Direction.UP if receiver.direction is Direction.DOWN else Direction.DOWN
        sender = PolicyPeer(direction, receiver.link)
        if not self.ruled[self.enforcer.revision, sender, frame_type, action]:
            return SignedText(text)
        facts = self._facts(sender, action, frame_type)
        return _replace_payload(text, payload, self.enforcer.sign_own(facts, payload, utc), facts)

    def sign_own_answer(self, receiver: PolicyPeer, action: str, frame: Frame, utc: float) -> SignedText:
        """Sign an answer of our own. An error has no payload that anybody signs."""
        if not isinstance(frame, CallResult):
            return SignedText(frame.text)
        return self.sign_own(receiver, action, frame.text, frame.payload, utc, CallResult)

    def _sign_passing(
        self,
        sender: PolicyPeer,
        action: str,
        text: str,
        payload: bytes,
        utc: float,
        frame_type: type[Frame],
    ) -> SignedText:
        is_ruled = self.ruled[self.enforcer.revision, sender, frame_type, action]
        if not is_ruled or action.endswith(SIGNED):
            return SignedText(text)
        facts = self._facts(sender, action, frame_type)
        return _replace_payload(text, payload, self.enforcer.sign_forwarded(facts, payload, utc), facts)

    def _facts(self, sender: PolicyPeer, action: str, frame_type: type[Frame]) -> RuleKey:
        return RuleKey(
            version=self._version,
            action=action,
            direction=sender.direction,
            kind=_KINDS[frame_type],
            link=sender.link,
        )


def _replace_payload(text: str, payload: bytes, signed: SignedMessage, facts: RuleKey) -> SignedText:
    """Return the frame with the signed payload; every other byte of it stays."""
    effects: tuple[LogEntry, ...] = ()
    if signed.unsigned_reason:
        line = (
            f"message sent without our signature action={peer_word(facts.action)} kind={facts.kind} "
            f"direction={facts.direction} link={facts.link} reason={signed.unsigned_reason!r}"
        )
        effects = (LogEntry(logging.WARNING, line),)
    if signed.payload is payload:
        return SignedText(text, effects)
    before, _, after = text.rpartition(payload.decode())  # a payload is the last element of its frame
    return SignedText(before + signed.payload.decode() + after, effects)


def _effects_of(decision: ForwardDecision, what: str) -> tuple[Persist | LogEntry, ...]:
    # The message must not count as new again after a crash: persist before it passes.
    persist = () if decision.record is None else (Persist((decision.record,)),)
    level, event = (
        (logging.WARNING, "message passed marked") if decision.marked else (logging.DEBUG, "message passed")
    )
    return (*persist, LogEntry(level, f"{event} {what} rule={decision.rule} reason={decision.reason!r}"))
