"""Signature policy of a configuration: loaded from the files of [signing], and again when they change.

Open links stay, and so does the replay memory. Files that cannot be used are logged once, and the policy
before them stays in force. What backends add over OCPP (`signing.policy_messages`) is durable before it is in
force, and stays in force beside each new version of the file that it fits.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from copy import copy
from pathlib import Path

import trio

from controller.config import Config
from controller.model.peer_text import peer_word
from controller.services.clock_state import is_synchronised
from controller.services.service_error import ServiceError
from controller.signing.policy_enforcer import Decision, PolicyEnforcer
from controller.signing.policy_file import LoadedPolicy, PolicyFileError, read_policy
from controller.signing.policy_messages import ReceivedPolicies, ReceivedPolicy
from controller.signing.replay_cache import NOTHING_FORGOTTEN, ReplayCache, ReplayRecord, ReplayWait, SeenText
from controller.signing.signing_keys import KeyFileError, OwnKey, fingerprint, read_key_files
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.tomlcheck.diagnostics import FileUnreadableError

log = logging.getLogger("controller.signing")

POLL_S = 5.0
"""Interval (s) of checks for changed files."""

_Stamps = dict[Path, tuple[int, int, int] | None]
"""Inode, size and time of change (ns) of each file; None: it does not exist."""


class SigningSetupError(ServiceError):
    """A policy or keys that cannot be used. The text names the file and the remedy."""


def open_policy_service(config: Config, store: StateStore) -> PolicyService | None:
    """Return the service; None without a policy. Raises SigningSetupError."""
    signing = config.signing
    if signing is None or signing.policy is None:
        return None
    key = None if signing.key is None else Path(signing.key)
    believed = config.dimming is not None and config.dimming.clock == "believed"
    trusted = _always if believed else is_synchronised
    return PolicyService(config.site.id, Path(signing.policy), key, store, trusted)


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
        is_clock_trusted: Callable[[], bool] = is_synchronised,
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
        self._is_clock_trusted = is_clock_trusted
        self._seen = ReplayCache(loaded.policy().window_s)
        self._seen.clock_trusted = is_clock_trusted()
        self._seen.load(_stored_replays(store, self._seen))
        self.enforcer = PolicyEnforcer(loaded.policy(), self._own, self._seen, loaded.verifier(), name)
        self._log_policy()

    async def run(self) -> None:
        """Reload changed files until cancelled."""
        while True:
            await trio.sleep(POLL_S)
            async with self._changing:
                await self.reload_changed_files()
            await self.check_clock()

    async def check_clock(self) -> None:
        """Take the state of the clock; the first trusted one ends the wait after a lost memory in time."""
        self._seen.clock_trusted = self._is_clock_trusted()
        if (ending := self._seen.confirm_wait(time.time())) is None:
            return
        log.warning("clock trusted, signed messages are rejected until=%s", self.find_wait())
        with suppress(StoreError):  # kept in memory; after a restart it is found once more
            await self._store.persist([ending])

    def find_wait(self) -> ReplayWait | None:
        """Return until when all that is signed now is rejected; None: it is not."""
        return self._seen.find_wait(time.time())

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
        return {file: _stamp(file) for file in self._files()}

    def _files(self) -> Iterable[Path]:
        """Yield all files of the policy. A folder's own stamp changes when files are added or removed."""
        yield self._policy
        for key in self._received.loaded.file.key:
            if key.certificate is not None:
                yield self._policy.parent / key.certificate
        if self._key is not None:
            yield self._key
            yield from sorted([*self._key.glob("*.pem"), *self._key.glob("*.pkcs11")])


def _always() -> bool:
    return True


def _stored_replays(store: StateStore, seen: ReplayCache) -> ReplayRecord:
    """Return the signed messages that have been seen.

    If that memory is lost, every message made until the end of the window counts as seen: signed messages
    are rejected for so long, and until the clock is trusted.
    """
    forgotten = store.load(ReplayRecord)
    if store.status.was_lost:
        lost = ReplayRecord((), time.time() + seen.window_s, provisional=not seen.clock_trusted)
        log.error(
            "memory of signed messages lost: signed messages are rejected for %.0f s%s, until none that may "
            "have been seen before can be accepted",
            2 * seen.window_s,
            "" if seen.clock_trusted else " from the moment when the clock is synchronised",
        )
        store.persist_now([lost])
        forgotten.append(lost)
    last = max(forgotten, key=lambda each: each.forgotten_until, default=NOTHING_FORGOTTEN)
    return ReplayRecord(tuple(store.load(SeenText)), last.forgotten_until, last.provisional)


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
