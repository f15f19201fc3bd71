"""Signature policy of a configuration: loaded from the files of [signing], and again when they change.

Open links stay, and so does the replay memory. Files that cannot be used are logged once, and the policy
before them stays in force. What backends add over OCPP (`signing.policy_messages`) is durable before it is in
force, and stays in force beside each new version of the file that it fits.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from copy import copy
from pathlib import Path

import trio

from controller.config import Config
from controller.model.peer_text import peer_word
from controller.services import ServiceError
from controller.services.signing.replay_memory import ReplayMemory, choose_clock_trust
from controller.signing.policy_enforcer import Decision, PolicyEnforcer
from controller.signing.policy_file import LoadedPolicy, PolicyFileError, read_policy
from controller.signing.policy_messages import ReceivedPolicies, ReceivedPolicy
from controller.signing.signing_keys import KeyFileError, OwnKey, fingerprint, key_file_stamps, read_key_files
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.tomlcheck.diagnostics import FileUnreadableError
from drivers.file_stamp import FileStamp, file_stamp

log = logging.getLogger("controller.signing")

POLL_S = 5.0
"""Interval (s) of checks for changed files."""

_Stamps = dict[Path, FileStamp]
"""Inode, size and time of change (ns) of each file; None: it does not exist."""


class SigningSetupError(ServiceError):
    """A policy or keys that cannot be used. The text names the file and the remedy."""


def open_policy_service(config: Config, store: StateStore) -> PolicyService | None:
    """Return the service; None without a policy. Raises SigningSetupError."""
    signing = config.signing
    if signing is None or signing.policy is None:
        return None
    key = None if signing.key is None else Path(signing.key)
    return PolicyService(config.site.id, Path(signing.policy), key, store, choose_clock_trust(config))


class PolicyService:
    """Maintains the policy enforcer from the files `policy` and `key` (a file or a folder).

    `name` is the signer in our signatures. `is_clock_trusted`: whether the clock is synchronised, or
    configured as trusted. Raises SigningSetupError.
    """

    def __init__(
        self,
        name: str,
        policy: Path,
        key: Path | None,
        store: StateStore,
        is_clock_trusted: Callable[[], bool],
    ) -> None:
        self._policy = policy
        self._key = key
        self._changing = trio.Lock()
        """Held while a change becomes durable: the files are not read meanwhile."""
        self._store = store
        loaded_file, self._own = self._read_files()
        self._received = self._add_received(loaded_file)
        self._stamps = self._file_stamps()
        loaded = self._received.loaded
        self.replays = ReplayMemory(store, loaded.policy().window_s, is_clock_trusted)
        self.enforcer = PolicyEnforcer(
            loaded.policy(), self._own, self.replays.cache, loaded.verifier(), name
        )
        self._log_policy()

    async def run(self) -> None:
        """Reload changed files until cancelled."""
        while True:
            await trio.sleep(POLL_S)
            async with self._changing:
                await self.reload_changed_files()
            await self.replays.check_clock()

    async def reload_changed_files(self) -> None:
        """Reload the files if one has changed; files that cannot be used change nothing."""
        if (stamps := self._file_stamps()) == self._stamps:
            return
        self._stamps = stamps
        try:
            # In a thread: a hardware module takes its time to open a key.
            loaded, self._own = await trio.to_thread.run_sync(self._read_files)
        except SigningSetupError as failed:
            log.error("signature policy not reloaded, the previous one stays in force reason=%s", failed)
            return
        self._received = self._add_received(loaded)
        self._stamps = self._file_stamps()  # the new policy may name other certificates
        self._apply_policy()
        self._log_policy()

    @property
    def in_force(self) -> tuple[LoadedPolicy, Sequence[OwnKey]]:
        """Return the policy in force with the keys that it names, and our own keys."""
        return self._received.loaded, self._own

    async def answer_policy_message(self, action: str, payload: bytes, decision: Decision) -> bytes:
        """Apply a policy message to the site's own identity and return its answer.

        `decision` is the policy enforcer's on the message. The change is durable and in force on return.
        Raises StoreError; then nothing has changed.
        """
        async with self._changing:
            before = copy(self._received)
            answer = self._received.handle_message(action, payload, decision)
            if answer.changed is None:
                return answer.payload
            try:
                await self._store.persist([answer.changed])
            except StoreError:
                self._received = before
                raise
            self._apply_policy()
        changed = peer_word(answer.changed.id)
        log.warning("policy changed action=%s id=%s reason=%r", action, changed, decision.reason)
        return answer.payload

    def _read_files(self) -> tuple[LoadedPolicy, Sequence[OwnKey]]:
        try:
            loaded = read_policy(self._policy)
            own = () if self._key is None else tuple(read_key_files(self._key).values())
        except (FileUnreadableError, PolicyFileError, KeyFileError) as wrong:
            raise SigningSetupError(str(wrong)) from wrong
        return loaded, own

    def _add_received(self, loaded: LoadedPolicy) -> ReceivedPolicies:
        return ReceivedPolicies(loaded.file, self._policy.parent, self._store.load(ReceivedPolicy))

    def _apply_policy(self) -> None:
        loaded = self._received.loaded
        self.enforcer.replace_policy(loaded.policy(), self._own, loaded.verifier())

    def _log_policy(self) -> None:
        file = self._received.loaded.file
        log.info(
            "signature policy loaded keys=%d roles=%d verify_rules=%d sign_rules=%d own_keys=%d",
            len(file.key),
            len(file.role),
            len(file.verify),
            len(file.sign),
            len(self._own),
        )
        self._log_unapproved()
        for each in self._received.not_applied:
            log.error(
                "received policy not in force, it does not fit the file path=%s reason=%s", self._policy, each
            )

    def _log_unapproved(self) -> None:
        for each in self._received.loaded.unapproved:
            log.warning(
                "key not in force holder=%s sha256=%s approvals=%d of %d remedy=have it approved by %s: "
                "`local-controller keys approve`",
                each.key.holder,
                fingerprint(each.key.id),
                each.given,
                each.needed,
                ", ".join(each.approvers),
            )

    def _file_stamps(self) -> _Stamps:
        certificates = (each.certificate for each in self._received.loaded.file.key)
        files = [self._policy, *(self._policy.parent / each for each in certificates if each is not None)]
        own = {} if self._key is None else key_file_stamps(self._key)
        return {file: file_stamp(file) for file in files} | own
