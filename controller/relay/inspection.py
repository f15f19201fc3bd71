"""What comes over a station's links is held against the policy of signatures before anything is made of it.

A refused CALL is answered by a CALLERROR that names the rule; in the place of a refused answer, whoever has
asked gets such a CALLERROR; a refused SEND goes no further. Of what is dropped nobody hears but the log: who
waits for it, waits as for a peer that is silent. Links and actions that no rule names cost one look into a
table, and what passes stays the text that came, unless the policy wants our signature beside the others.

What the controller says of itself is signed here, where the policy has it so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from controller.ocpp.frames import (
    Call,
    CallError,
    CallResult,
    Frame,
    Malformed,
    UnknownType,
    Version,
    call_error,
    call_result,
    parse,
)
from controller.relay.events import Action, Note
from controller.relay.saving import Save
from controller.signing.gate import CODE, PASS, Drop, Gate, Pass, Passage, Refuse, Ruling
from controller.signing.rules import Facts
from controller.signing.wire import Direction, Kind


def _nothing(_message_id: str) -> None:
    return None


class Peer(msgspec.Struct, frozen=True):
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


class Inspection:
    """The gate, if any, as the relay of one station asks it.

    `utc_of` turns s, monotonic, into POSIX s. What else is to be done, before whatever follows, goes to
    `do`: a note, an answer, something to be saved.
    """

    def __init__(
        self,
        gate: Gate | None,
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

    def look(self, frame: Frame, sender: Peer, now: float) -> Frame | None:
        """The frame as it goes on, if it does."""
        return self.follow(self.ruling(frame, sender, now), frame, sender)

    def ruling(self, frame: Frame, sender: Peer, now: float) -> Ruling:
        """What the gate says of a frame: to be followed."""
        if self._gate is None:
            return PASS
        passage = Passage(
            version=self._version,
            direction=sender.direction,
            link=sender.link,
            station=self._station,
            action=sender.asked(frame.id) if isinstance(frame, CallResult) else None,
        )
        return self._gate.look(passage, frame, self._utc_of(now))

    def follow(self, ruling: Ruling, frame: Frame, sender: Peer) -> Frame | None:
        """The frame as it goes on, if it does, and whatever else such a ruling wants done."""
        if ruling is PASS:
            return frame
        what = _in_words(frame, sender)
        match ruling:
            case Pass():
                return self._passed(frame, ruling, sender, what)
            case Refuse():
                return self._refused(frame, ruling, sender, what)
            case Drop(rule, why):
                self._note(logging.WARNING, f"{sender.name}: {what} dropped, rule {rule}: {why}")
                return None

    def look_at_command(self, text: str, sender: Peer, now: float) -> str | None:
        """The same for a text of a backend that observes: all but its CALLs is of no use to the station."""
        frame = None if self._gate is None else parse(text)
        if not isinstance(frame, Call):
            return text
        passed = self.look(frame, sender, now)
        return None if passed is None else passed.text

    def sign(self, to: Peer, action: str, payload: bytes, now: float, kind: Kind = Kind.REQUEST) -> bytes:
        """A payload of our own, signed where the policy has it so."""
        if self._gate is None:
            return payload
        there = Direction.UP if to.direction is Direction.DOWN else Direction.DOWN
        facts = Facts(version=self._version, action=action, direction=there, kind=kind, link=to.link)
        signed = self._gate.sign_own(facts, payload, self._utc_of(now))
        if signed.lacks:
            self._note(logging.WARNING, f"our {action} to {to.name} goes unsigned: {signed.lacks}")
        return signed.payload

    def sign_answer(self, to: Peer, action: str, text: str, now: float) -> str:
        """The same for the frame of an answer of our own. An error has nothing that anybody signs."""
        frame = None if self._gate is None else parse(text)
        if not isinstance(frame, CallResult):
            return text
        payload = self.sign(to, action, frame.payload, now, Kind.RESPONSE)
        return text if payload is frame.payload else call_result(frame.id, payload)

    def _passed(self, frame: Frame, ruling: Pass, sender: Peer, what: str) -> Frame | None:
        if ruling.remember is not None:
            self._do(Save((ruling.remember,)))  # it must not be new again after a crash: before it goes on
        if ruling.text is not None and isinstance(frame, Call) and sender.awaits(frame.id):
            self._repeated(sender, what)
            return None
        level, how = (logging.WARNING, "passes, marked") if ruling.marked else (logging.DEBUG, "passes")
        self._note(level, f"{sender.name}: {what} {how}, rule {ruling.rule}: {ruling.why}")
        if ruling.text is None:
            return frame
        signed = parse(ruling.text)
        assert not isinstance(signed, Malformed | UnknownType)
        return signed

    def _refused(self, frame: Frame, ruling: Refuse, sender: Peer, what: str) -> Frame | None:
        if isinstance(frame, Call) and sender.awaits(frame.id):
            self._repeated(sender, what)
            return None
        self._note(logging.WARNING, f"{sender.name}: {what} refused, rule {ruling.rule}: {ruling.why}")
        text = call_error(frame.id, CODE, ruling.description)
        if isinstance(frame, CallResult):
            return CallError(text, frame.id, CODE, ruling.description)
        if isinstance(frame, Call):
            self._do(sender.back(text))
        return None

    def _repeated(self, sender: Peer, what: str) -> None:
        """Its answer is still to come, so it gets no other; and what is signed anew would pass twice."""
        self._note(logging.INFO, f"{sender.name} repeats {what} before its answer: sent on once")

    def _note(self, level: int, text: str) -> None:
        self._do(Note(level, text))


def _in_words(frame: Frame, sender: Peer) -> str:
    if isinstance(frame, CallResult):
        return f"the answer to {sender.asked(frame.id)} {frame.id}"
    return f"{getattr(frame, 'action', 'a message')} {frame.id}"
