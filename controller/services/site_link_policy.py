"""The policy of signatures on the controller's own link to a backend, where policies come from, too.

What comes is held against the gate like a station's; the messages that change policies and roles are
answered here (`signing.policy_messages`); what goes is signed where the policy has it so.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from controller.model.effects import LogEntry, ToBackend
from controller.model.journal import Persist
from controller.ocpp.frames import Call, CallResult, Frame, Version, call_error, call_result, parse
from controller.relay.events import Action
from controller.relay.policy_check import PolicyPeer, RelayPolicyCheck
from controller.services.policy_service import PolicyService
from controller.signing.replay_cache import ReplayRecord
from controller.signing.signature_format import POLICY_ACTIONS, Direction
from controller.store.state_journal import StoreError

log = logging.getLogger("controller.identity")

_NONE = ("", "")


class SiteLinkPolicy:
    """One link's. `site` is our id on it, `backend` whose link it is; `put` sends a text there.

    `utc_of` turns s, monotonic, into POSIX s.
    """

    def __init__(
        self,
        keeper: PolicyService,
        version: Version,
        site: str,
        backend: str,
        put: Callable[[str], None],
        utc_of: Callable[[float], float],
    ) -> None:
        self._keeper = keeper
        self._put = put
        self._inspection = RelayPolicyCheck(keeper.gate, version, site, utc_of, self._do)
        self._backend = PolicyPeer(Direction.DOWN, backend, ToBackend, lambda _: False, self._asked)
        self._ours = _NONE
        """Id and action of the last CALL of ours: one at most is without its answer."""
        self._theirs = _NONE
        """Those of the last CALL of the backend: each is answered before the next is heard."""

    def heard(self, text: str, now: float) -> str | None:
        """Return what the identity gets of a text that came; None: nothing.

        A message whose signature cannot be stored, or a policy that cannot be, is answered with an error.
        """
        frame = parse(text)
        if not isinstance(frame, Frame):
            return text  # what is no frame is answered as that
        try:
            return self._pass_frame(frame, now)
        except StoreError as error:
            log.error("message to the site's own identity rejected, it cannot be stored: %s", error)
            if isinstance(frame, Call):
                self._put(call_error(frame.id, "InternalError", "the store cannot be written"))
            return None

    def _pass_frame(self, frame: Frame, now: float) -> str | None:
        ruling = self._inspection.ruling(frame, self._backend, now)
        passed = self._inspection.follow(ruling, frame, self._backend)
        if not isinstance(passed, Call):
            return None if passed is None else passed.text
        self._theirs = (passed.id, passed.action)
        if passed.action not in POLICY_ACTIONS:
            return passed.text
        answer = self._keeper.answer(passed.action, passed.payload, ruling)
        self.say(call_result(passed.id, answer), now)
        return None

    def say(self, text: str, now: float) -> None:
        """Send a text of ours, signed where the policy has it so."""
        frame = parse(text)
        if isinstance(frame, Call):
            self._ours = (frame.id, frame.action)
            text = self._inspection.sign(self._backend, frame.action, text, frame.payload, now)
        elif isinstance(frame, CallResult) and frame.id == self._theirs[0]:
            text = self._inspection.sign_answer(self._backend, self._theirs[1], text, now)
        self._put(text)

    def _asked(self, message_id: str) -> str | None:
        return self._ours[1] if message_id == self._ours[0] else None

    def _do(self, action: Action) -> None:
        match action:
            case Persist(records):
                self._keeper.remember([record for record in records if isinstance(record, ReplayRecord)])
            case LogEntry(level, text):
                log.log(level, "the site's own identity: %s", text)
            case ToBackend(text):
                self._put(text)
