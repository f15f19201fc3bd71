"""Signature policy on the site's own link to its backend, which also changes policies.

Received messages are checked like those of a station; messages that change policies and roles are answered
here (`signing.policy_messages`); sent messages are signed where the policy requires it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.ocpp.frames import Call, CallResult, Frame, Version, call_error, call_result, parse
from controller.relay.policy_check import CheckedFrame, PolicyCheck, SignedText, backend_peer
from controller.services.policy_service import PolicyService
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import POLICY_ACTIONS
from controller.store.state_journal import StoreError

log = logging.getLogger("controller.identity")

_NONE = ("", "")


class SiteLinkPolicy:
    """Checks and signs the messages of one link.

    `site`: our id on it; `backend`: its name; `put` sends a text.

    `utc_of` converts s, monotonic, to POSIX s.
    """

    def __init__(
        self,
        policy_service: PolicyService,
        version: Version,
        site: str,
        backend: str,
        put: Callable[[str], None],
        utc_of: Callable[[float], float],
    ) -> None:
        self._policy_service = policy_service
        self._put = put
        self._utc_of = utc_of
        self._policy = PolicyCheck(policy_service.gate, version, site)
        self._backend = backend_peer(backend)
        self._sent = _NONE
        """Id and action of our last CALL; one at most is without an answer."""
        self._received = _NONE
        """Id and action of the backend's last CALL, which is answered before the next is read."""

    def on_text(self, text: str, now: float) -> str | None:
        """Return the text of a message that passes to the identity; None: nothing passes.

        A message whose signature cannot be stored, or a policy that cannot be, is answered with an error.
        """
        frame = parse(text)
        if not isinstance(frame, Frame):
            return text  # the identity answers what is not a frame
        try:
            return self._pass_frame(frame, now)
        except StoreError as error:
            log.error("message to the site rejected, it cannot be stored reason=%s", error)
            if isinstance(frame, Call):
                self._put(call_error(frame.id, "InternalError", "the store cannot be written"))
            return None

    def _pass_frame(self, frame: Frame, now: float) -> str | None:
        action = self._sent[1] if isinstance(frame, CallResult) and frame.id == self._sent[0] else None
        decision = self._policy.decide(frame, self._backend, action, self._utc_of(now))
        checked = self._policy.follow(decision, frame, self._backend, action)
        self._carry_out(checked)
        passed = checked.frame
        if not isinstance(passed, Call):
            return None if passed is None else passed.text
        self._received = (passed.id, passed.action)
        if passed.action not in POLICY_ACTIONS:
            return passed.text
        answer = self._policy_service.answer_policy_message(passed.action, passed.payload, decision)
        self.send_text(call_result(passed.id, answer), now)
        return None

    def send_text(self, text: str, now: float) -> None:
        """Send a message of ours, signed if the policy requires it."""
        frame = parse(text)
        signed = SignedText(text)
        utc = self._utc_of(now)
        if isinstance(frame, Call):
            self._sent = (frame.id, frame.action)
            signed = self._policy.sign_own(self._backend, frame.action, text, frame.payload, utc)
        elif isinstance(frame, CallResult) and frame.id == self._received[0]:
            signed = self._policy.sign_own_answer(self._backend, self._received[1], frame, utc)
        self._log(signed.effects)
        self._put(signed.text)

    def _carry_out(self, checked: CheckedFrame) -> None:
        for effect in checked.effects:
            if isinstance(effect, Persist):
                kept = [record for record in effect.records if isinstance(record, ReplayRecord)]
                self._policy_service.store_replays(kept)
            else:
                self._log([effect])
        if checked.answer:
            self._put(checked.answer)

    def _log(self, entries: Iterable[LogEntry]) -> None:
        for entry in entries:
            log.log(entry.level, "%s", entry.text)
