"""Policy of signatures on what is forwarded from link to link, as on what passes a station's relay.

A neighbor has proven its id, but not that what it forwards is unaltered: each frame is checked by its
direction, by the link that it was received over, and by the station at its end. What enters or leaves a
virtual channel is checked by the relay at its end: here it would be checked twice, and taken for a replay.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist, Record
from controller.ocpp.actions import SIGNED
from controller.ocpp.frames import Call, CallResult, Send
from controller.overlay.events import FrameHeld, LinkState
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import OverlayMessageKind
from controller.overlay.pending_requests import ForwardedRequest
from controller.overlay.source_check import SPOOFED_CODE, SourceRefusal
from controller.signing import signature_format
from controller.signing.policy_enforcer import (
    Decision,
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.rule_set import RuleKey
from controller.signing.signature_format import Direction

_KINDS = {
    OverlayMessageKind.CALL: signature_format.MessageKind.REQUEST,
    OverlayMessageKind.SEND: signature_format.MessageKind.SEND,
    OverlayMessageKind.RESULT: signature_format.MessageKind.RESPONSE,
}
EVERYWHERE = frozenset(Direction)


class TransitDecision(msgspec.Struct, frozen=True):
    """Decision about a frame: it is forwarded, at once or once stored, rejected, or dropped.

    `effects` come first: lines for the log, and the `Persist` that a `FrameHeld` waits for.
    """

    outcome: RoutedFrame | FrameHeld | SourceRefusal | DropDecision
    effects: tuple[LogEntry | Persist, ...] = ()


class TransitCheck:
    """Check with the policy in force, if there is one. `utc_of` converts monotonic s to POSIX s."""

    def __init__(self, enforcer: PolicyEnforcer | None, utc_of: Callable[[float], float]) -> None:
        self._enforcer = enforcer
        self._utc_of = utc_of

    def applies_to(self, state: LinkState | None) -> bool:
        """Return True if what comes or goes over a link is checked here."""
        return self._enforcer is not None and state is not None and not state.is_channel

    def request(
        self, frame: RoutedFrame, source: LinkState | None, towards: frozenset[Direction], now: float
    ) -> TransitDecision:
        """Check a CALL or a SEND that may leave in these directions."""
        if self._enforcer is None or source is None or source.is_channel:
            return TransitDecision(msgspec.structs.replace(frame, cleared=EVERYWHERE))
        contexts = [_context(source, direction, _station(frame, direction)) for direction in sorted(towards)]
        cleared = msgspec.structs.replace(frame, cleared=towards)
        return self._check_contexts(cleared, source, contexts, now)

    def answer(
        self,
        frame: RoutedFrame,
        source: LinkState | None,
        to: LinkState | None,
        pending: ForwardedRequest,
        now: float,
    ) -> TransitDecision:
        """Check an answer that is forwarded over another link."""
        if self._enforcer is None or source is None or to is None or source.is_channel or to.is_channel:
            return TransitDecision(frame)
        name = pending.receiver if to.direction is Direction.UP else pending.path[0]
        return self._check_contexts(
            frame, source, [_context(source, to.direction, name, pending.action)], now, pending
        )

    def _check_contexts(
        self,
        frame: RoutedFrame,
        source: LinkState,
        contexts: list[MessageContext],
        now: float,
        pending: ForwardedRequest | None = None,
    ) -> TransitDecision:
        carrier = _carrier(frame)
        if self._enforcer is None or carrier is None:
            return TransitDecision(frame)
        asked = None if pending is None else pending.action
        notes: list[LogEntry] = []
        records: list[Record] = []
        for context in contexts:
            context = msgspec.structs.replace(context, binary=frame.binary)
            decision = self._enforcer.decide(context, carrier, self._utc_of(now))
            subject = f"peer={source.peer} {frame.describe(asked, context.station)}"
            notes += _notes(decision, subject)
            match decision:
                case RejectDecision():
                    return TransitDecision(
                        SourceRefusal(SPOOFED_CODE, decision.description, "refused"), tuple(notes)
                    )
                case DropDecision():
                    return TransitDecision(decision, tuple(notes))
                case ForwardDecision(record=record) if record is not None:
                    records.append(record)
        if len(contexts) == 1:
            frame, lacks = self._signed(frame, contexts[0], carrier.payload, now)
            notes += lacks
        if not records:
            return TransitDecision(frame, tuple(notes))
        return TransitDecision(FrameHeld(frame, source.link, pending), (*notes, Persist(tuple(records))))

    def _signed(
        self, frame: RoutedFrame, context: MessageContext, payload: bytes, now: float
    ) -> tuple[RoutedFrame, list[LogEntry]]:
        """Add our signature if the policy requires it; returns also what belongs in the log."""
        action = context.action or frame.action or ""
        if self._enforcer is None or frame.binary or action.endswith(SIGNED):
            return frame, []
        facts = RuleKey(
            version=context.version,
            action=action,
            direction=context.direction,
            kind=_KINDS[frame.kind],
            link=context.link,
        )
        signed = self._enforcer.sign_forwarded(facts, payload, self._utc_of(now))
        if signed.unsigned_reason:
            line = f"message forwarded unsigned {frame.describe(action)} reason={signed.unsigned_reason!r}"
            return frame, [LogEntry(logging.WARNING, line)]
        return msgspec.structs.replace(frame, body=(*frame.body[:-1], signed.payload)), []


def _context(
    source: LinkState, direction: Direction, station: str, action: str | None = None
) -> MessageContext:
    return MessageContext(
        version=source.version, direction=direction, link=source.link, station=station, action=action
    )


def _station(frame: RoutedFrame, direction: Direction) -> str:
    """Return the station of a request: that at its end, or at its beginning."""
    return frame.path[0] if direction is Direction.UP else frame.destination[-1]


def _carrier(frame: RoutedFrame) -> Call | CallResult | Send | None:
    """Return the frame as the policy reads it, with its payload alone; None for errors."""
    payload = frame.payload
    match frame.kind:
        case OverlayMessageKind.CALL:
            return Call("", frame.id, frame.action or "", payload)
        case OverlayMessageKind.SEND:
            return Send("", frame.id, frame.action or "", payload)
        case OverlayMessageKind.RESULT:
            return CallResult("", frame.id, payload)
        case _:
            return None


def _notes(decision: Decision, subject: str) -> list[LogEntry]:
    match decision:
        case ForwardDecision(rule=rule, reason=why, marked=marked) if rule:
            level, event = (logging.WARNING, "passed, marked") if marked else (logging.DEBUG, "passed")
            return [LogEntry(level, f"message {event} {subject} rule={rule} reason={why!r}")]
        case DropDecision(rule, why):
            return [LogEntry(logging.WARNING, f"message dropped {subject} rule={rule} reason={why!r}")]
        case _:
            return []  # a rejection is logged where it is counted
