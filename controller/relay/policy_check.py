"""What comes over a station's links is held against the policy of signatures before anything is made of it.

A refused CALL is answered by a CALLERROR that names the rule; in the place of a refused answer, whoever has
asked gets such a CALLERROR; a refused SEND goes no further. Of what is dropped nobody hears but the log: who
waits for it, waits as for a peer that is silent. Links and actions that no rule names cost one look into a
table, and what passes stays the text that came, unless the policy wants our signature beside the others.

What the controller says of itself is signed here, where the policy has it so. CALLs that pass get our
signature when they leave their line: until then they are what their author made them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.ocpp.actions import SIGNED
from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    Frame,
    MalformedFrame,
    Send,
    UnknownMessageType,
    Version,
    call_error,
    parse,
)
from controller.relay.call_queue import PendingCall
from controller.relay.downstream import OWNER
from controller.relay.events import Action
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


def _nothing(_message_id: str) -> None:
    return None


class PolicyPeer(msgspec.Struct, frozen=True):
    """The other end of `link`, the id of a station or backend. `back` makes an answer to it.

    `direction` is that of what it says. `awaits` says of a message id whether a CALL of the peer with it
    has no answer yet, `asked` what the peer was asked that an answer with this id would be for.
    """

    direction: Direction
    link: str
    back: Callable[[str], Action]
    awaits: Callable[[str], bool]
    asked: Callable[[str], str | None] = _nothing

    @property
    def name(self) -> str:
        """In words."""
        return f"{'station' if self.direction is Direction.UP else 'backend'} {self.link}"


class RelayPolicyCheck:
    """The gate, if any, as the relay of one station asks it.

    `utc_of` turns s, monotonic, into POSIX s. What else is to be done, before whatever follows, goes to
    `do`: a note, an answer, something to be saved.
    """

    def __init__(
        self,
        gate: PolicyEnforcer | None,
        version: Version,
        station: str,
        utc_of: Callable[[float], float],
        do: Callable[[Action], None],
    ) -> None:
        self._gate = gate
        self._version = version
        self._station = station
        self._utc_of = utc_of
        self._do = do
        self._above: Mapping[str, PolicyPeer] = {}

    def meet(self, station: PolicyPeer, backends: Mapping[str, PolicyPeer]) -> None:
        """These are at the other ends; backends by the origin of their commands."""
        self._below, self._above = station, backends

    # -- what comes ---------------------------------------------------------------------------------

    def look(self, frame: Frame, sender: PolicyPeer, now: float) -> Frame | None:
        """The frame as it goes on, if it does."""
        passed = self.follow(self.ruling(frame, sender, now), frame, sender)
        if self._gate is None or not isinstance(passed, CallResult | Send):
            return passed
        kind, action = MessageKind.SEND, getattr(passed, "action", "")
        if isinstance(passed, CallResult):
            kind, action = MessageKind.RESPONSE, sender.asked(passed.id) or ""
        text = self._pass_on(sender, action, passed.text, passed.payload, now, kind)
        return passed if text is passed.text else _read(text)

    def ruling(self, frame: Frame, sender: PolicyPeer, now: float) -> Decision:
        """What the gate says of a frame: to be followed."""
        if self._gate is None:
            return FORWARD
        passage = MessageContext(
            version=self._version,
            direction=sender.direction,
            link=sender.link,
            station=self._station,
            action=sender.asked(frame.id) if isinstance(frame, CallResult) else None,
        )
        return self._gate.decide(passage, frame, self._utc_of(now))

    def follow(self, ruling: Decision, frame: Frame, sender: PolicyPeer) -> Frame | None:
        """The frame as it goes on, if it does, and whatever else such a ruling wants done."""
        if ruling is FORWARD:
            return frame
        what = _in_words(frame, sender)
        match ruling:
            case ForwardDecision():
                return self._passed(frame, ruling, sender, what)
            case RejectDecision():
                return self._refused(frame, ruling, sender, what)
            case DropDecision(rule, why):
                self._note(logging.WARNING, f"{sender.name}: {what} dropped, rule {rule}: {why}")
                return None

    def look_at_command(self, text: str, sender: PolicyPeer, now: float) -> str | None:
        """The same for a text of a backend that observes: all but its CALLs is of no use to the station."""
        frame = None if self._gate is None else parse(text)
        if not isinstance(frame, Call):
            return text
        passed = self.look(frame, sender, now)
        return None if passed is None else passed.text

    # -- what goes ----------------------------------------------------------------------------------

    def seal_up(self, call: PendingCall, now: float) -> str:
        """The text of a CALL that leaves the line to the owner: the station's, or our own."""
        if call.token is None:
            return self._pass_on(self._below, call.action, call.text, call.payload, now)
        return self.sign(self._above[OWNER], call.action, call.text, call.payload, now)

    def seal_down(self, call: PendingCall, now: float) -> str:
        """The text of a CALL that leaves the line to the station: a backend's, or our own."""
        if call.ruling is not None:
            return self._pass_on(self._above[call.origin], call.action, call.text, call.payload, now)
        return self.sign(self._below, call.action, call.text, call.payload, now)

    def seal_copy(self, text: str, now: float) -> str:
        """The text of what an observer is told: CALLs that the station has said."""
        frame = None if self._gate is None else parse(text)
        if not isinstance(frame, Call):
            return text
        return self._pass_on(self._below, frame.action, text, frame.payload, now)

    def sign(
        self,
        to: PolicyPeer,
        action: str,
        text: str,
        payload: bytes,
        now: float,
        kind: MessageKind = MessageKind.REQUEST,
    ) -> str:
        """The text of a frame of our own, signed where the policy has it so."""
        if self._gate is None:
            return text
        there = Direction.UP if to.direction is Direction.DOWN else Direction.DOWN
        facts = RuleKey(version=self._version, action=action, direction=there, kind=kind, link=to.link)
        return self._written(text, payload, self._gate.sign_own(facts, payload, self._utc_of(now)), facts)

    def sign_answer(self, to: PolicyPeer, action: str, text: str, now: float) -> str:
        """The same for an answer of our own. An error has nothing that anybody signs."""
        frame = None if self._gate is None else parse(text)
        if not isinstance(frame, CallResult):
            return text
        return self.sign(to, action, text, frame.payload, now, MessageKind.RESPONSE)

    def _pass_on(
        self,
        sender: PolicyPeer,
        action: str,
        text: str,
        payload: bytes,
        now: float,
        kind: MessageKind = MessageKind.REQUEST,
    ) -> str:
        """A frame that only passes, with our signature beside the others where the policy has it so."""
        if self._gate is None or action.endswith(SIGNED):
            return text
        facts = RuleKey(
            version=self._version, action=action, direction=sender.direction, kind=kind, link=sender.link
        )
        return self._written(
            text, payload, self._gate.sign_forwarded(facts, payload, self._utc_of(now)), facts
        )

    def _written(self, text: str, payload: bytes, signed: SignedMessage, facts: RuleKey) -> str:
        """The frame with the signed payload; every other byte of it stays."""
        if signed.unsigned_reason:
            what = (
                f"{facts.action} ({facts.kind}, {facts.direction}, {facts.link}) goes without our signature"
            )
            self._note(logging.WARNING, f"{what}: {signed.unsigned_reason}")
        if signed.payload is payload:
            return text
        before, _, after = text.rpartition(payload.decode())  # a payload is the last element of its frame
        return before + signed.payload.decode() + after

    # -- rulings ------------------------------------------------------------------------------------

    def _passed(self, frame: Frame, ruling: ForwardDecision, sender: PolicyPeer, what: str) -> Frame:
        if ruling.record is not None:
            self._do(Persist((ruling.record,)))  # it must not be new again after a crash: before it goes on
        level, how = (logging.WARNING, "passes, marked") if ruling.marked else (logging.DEBUG, "passes")
        self._note(level, f"{sender.name}: {what} {how}, rule {ruling.rule}: {ruling.reason}")
        return frame

    def _refused(self, frame: Frame, ruling: RejectDecision, sender: PolicyPeer, what: str) -> Frame | None:
        if isinstance(frame, Call) and sender.awaits(frame.id):
            self._note(logging.INFO, f"{sender.name} repeats {what} before its answer: sent on once")
            return None  # the answer is still to come: it gets no other
        self._note(logging.WARNING, f"{sender.name}: {what} refused, rule {ruling.rule}: {ruling.reason}")
        text = call_error(frame.id, SECURITY_ERROR, ruling.description)
        if isinstance(frame, CallResult):
            return CallError(text, frame.id, SECURITY_ERROR, ruling.description)
        if isinstance(frame, Call):
            self._do(sender.back(text))
        return None

    def _note(self, level: int, text: str) -> None:
        self._do(LogEntry(level, text))


def _read(text: str) -> Frame:
    """A frame that we have written ourselves."""
    frame = parse(text)
    assert not isinstance(frame, MalformedFrame | UnknownMessageType)
    return frame


def _in_words(frame: Frame, sender: PolicyPeer) -> str:
    if isinstance(frame, CallResult):
        return f"the answer to {sender.asked(frame.id)} {frame.id}"
    return f"{getattr(frame, 'action', 'a message')} {frame.id}"
