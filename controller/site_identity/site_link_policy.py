"""Signature policy on the site's own link to its backend, which also changes policies.

Received messages are checked like those of a station; messages that change policies and roles are separated
from those for the identity (`PolicyRequest`); sent messages are signed where the policy requires it. `utc`
is POSIX s.
"""

from __future__ import annotations

import msgspec

from controller.model.effects import LogEntry, ToBackend
from controller.model.journal import Persist
from controller.ocpp.frames import (
    Call,
    CallResult,
    MalformedFrame,
    Send,
    UnknownMessageType,
    Version,
    call_error,
)
from controller.relay.policy_check import PolicyCheck, SignedText, backend_peer
from controller.signing.policy_enforcer import FORWARD, Decision, PolicyEnforcer
from controller.signing.signature_format import POLICY_ACTIONS
from controller.site_identity.identity import SiteFrame

_NONE = ("", "")


class PolicyRequest(msgspec.Struct, frozen=True):
    """A CALL of the backend that changes policies or roles, and the decision on it."""

    id: str
    action: str
    payload: bytes
    decision: Decision


LinkAction = SiteFrame | ToBackend | Persist | PolicyRequest | LogEntry


class SiteLinkPolicy:
    """Checks and signs the messages of the link. `site`: our id on it; `backend`: its name."""

    def __init__(self, enforcer: PolicyEnforcer, version: Version, site: str, backend: str) -> None:
        self._policy = PolicyCheck(enforcer, version, site)
        self._backend = backend_peer(backend)
        self._sent = _NONE
        """Id and action of our last CALL; one at most is without an answer."""
        self._received = _NONE
        """Id and action of the backend's last CALL, which is answered before the next is read."""

    def check_frame(self, received: SiteFrame, utc: float) -> list[LinkAction]:
        """Return the effects of a received frame in order; what passes is a SiteFrame or PolicyRequest.

        Where a `Persist` among them fails, those of `reject_unstored` replace the ones after it.
        """
        frame = received.frame
        if isinstance(frame, MalformedFrame | UnknownMessageType):
            return [received]  # the identity answers it
        action = self._sent[1] if isinstance(frame, CallResult) and frame.id == self._sent[0] else None
        named = frame.action if isinstance(frame, Call | Send) else action
        decision: Decision = FORWARD
        actions: list[LinkAction] = []
        if self._policy.ruled[self._policy.enforcer.revision, self._backend, type(frame), named]:
            decision = self._policy.decide(frame, self._backend, action, utc)
            checked = self._policy.follow(decision, frame, self._backend, action)
            actions += checked.effects
            if checked.answer:
                actions.append(ToBackend(checked.answer))
            if checked.frame is None:
                return actions
            frame = checked.frame
        if isinstance(frame, Call):
            self._received = (frame.id, frame.action)
            if frame.action in POLICY_ACTIONS:
                return [*actions, PolicyRequest(frame.id, frame.action, frame.payload, decision)]
        return [*actions, received if frame is received.frame else SiteFrame(frame)]

    def reject_unstored(self, received: SiteFrame) -> list[LinkAction]:
        """Return the answer to a received frame whose records cannot be stored."""
        frame = received.frame
        if not isinstance(frame, Call):
            return []
        return [ToBackend(call_error(frame.id, "InternalError", "the store cannot be written"))]

    def sign_frame(self, frame: Call | CallResult, utc: float) -> SignedText:
        """Return the text of a message of ours, signed if the policy requires it."""
        if isinstance(frame, Call):
            self._sent = (frame.id, frame.action)
            return self._policy.sign_own(self._backend, frame.action, frame.text, frame.payload, utc)
        if frame.id == self._received[0]:
            return self._policy.sign_own_answer(self._backend, self._received[1], frame, utc)
        return SignedText(frame.text)
