"""The gate of a configuration: built of the files that [signing] names, and built anew when they change.

Open links stay, and what has been seen stays seen. Files that cannot be used are told once, and what was in
force before stays. What backends have added over the wire (`signing.policy_messages`) is on disk before it
holds, and is in force beside each new version of the file, where it fits.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

import trio

from controller.config import Config
from controller.services.service_error import ServiceError
from controller.signing.policy_enforcer import Decision, PolicyEnforcer
from controller.signing.policy_file import LoadedPolicy, PolicyFileError, read_policy
from controller.signing.policy_messages import ReceivedPolicies, ReceivedPolicy
from controller.signing.replay_cache import ReplayCache, ReplayRecord, SeenText
from controller.signing.signing_keys import KeyFileError, OwnKey, read_key_files
from controller.store.state_store import StateStore
from controller.tomlcheck.diagnostics import FileUnreadableError

log = logging.getLogger("controller.signing")

LOOK_S = 5.0
"""How often the files are looked at."""

_Stamps = dict[Path, tuple[int, int, int] | None]
"""Of each file its inode, size and time of change (ns); None where it is not there."""


class SigningSetupError(ServiceError):
    """A policy or keys that cannot be used. The text names the file and the mend."""


def open_policy_service(config: Config, store: StateStore) -> PolicyService | None:
    """Return the service; None without a policy. Raises SigningSetupError."""
    signing = config.signing
    if signing is None or signing.policy is None:
        return None
    key = None if signing.key is None else Path(signing.key)
    return PolicyService(config.site.id, Path(signing.policy), key, store)


class PolicyService:
    """Keeps the gate by the files `policy` and `key` (a file or a folder); `store` holds what must last.

    `name` stands in our signatures. Raises SigningSetupError.
    """

    def __init__(self, name: str, policy: Path, key: Path | None, store: StateStore) -> None:
        self._policy = policy
        self._key = key
        self._store = store
        self._desk, self._own = self._read()
        self._stamps = self._look()
        loaded = self._desk.loaded
        seen = ReplayCache(loaded.policy().window_s)
        seen.load(_stored_replays(store, loaded.policy().window_s))
        self.gate = PolicyEnforcer(loaded.policy(), self._own, seen, loaded.verifier(), name)
        self._tell()

    async def run(self) -> None:
        """Follow the files until cancelled."""
        while True:
            await trio.sleep(LOOK_S)
            self.follow()

    def follow(self) -> None:
        """Look at the files, and take them where they have changed."""
        if (stamps := self._look()) == self._stamps:
            return
        self._stamps = stamps
        try:
            self._desk, self._own = self._read()
        except SigningSetupError as failed:
            log.error("the policy of signatures before this change stays in force: %s", failed)
            return
        self._stamps = self._look()  # there may be other certificates now
        self._exchange()
        self._tell()

    @property
    def in_force(self) -> tuple[LoadedPolicy, Sequence[OwnKey]]:
        """The policy as it holds now, with the keys that it names, and our own keys."""
        return self._desk.loaded, self._own

    def answer(self, action: str, payload: bytes, ruling: Decision) -> bytes:
        """The answer to a change of policies that came to our own identity, of which the gate has ruled so.

        What it changes is on disk, and in force. Raises StoreFailed.
        """
        answer = self._desk.handle_message(action, payload, ruling)
        if answer.changed is not None:
            self._store.persist_now([answer.changed])
            self._exchange()
            log.warning("%s %s is in force: %s", action, answer.changed.id, ruling.reason)
        return answer.payload

    def remember(self, records: Sequence[ReplayRecord]) -> None:
        """Store which signed messages have been seen; durable on return. Raises StoreError."""
        self._store.persist_now(records)

    def _read(self) -> tuple[ReceivedPolicies, Sequence[OwnKey]]:
        try:
            loaded = read_policy(self._policy)
            own = () if self._key is None else tuple(read_key_files(self._key).values())
        except (FileUnreadableError, PolicyFileError, KeyFileError) as wrong:
            raise SigningSetupError(str(wrong)) from wrong
        return ReceivedPolicies(loaded.file, self._policy.parent, self._store.load(ReceivedPolicy)), own

    def _exchange(self) -> None:
        loaded = self._desk.loaded
        self.gate.replace_policy(loaded.policy(), self._own, loaded.verifier())

    def _tell(self) -> None:
        file = self._desk.loaded.file
        log.info(
            "signatures: keys %d, roles %d, rules to verify %d, to sign %d; own keys %d",
            len(file.key),
            len(file.role),
            len(file.verify),
            len(file.sign),
            len(self._own),
        )
        for each in self._desk.not_applied:
            log.error("received once, and not in force, because it does not fit %s: %s", self._policy, each)

    def _look(self) -> _Stamps:
        return {file: _stamp(file) for file in self._files()}

    def _files(self) -> Iterable[Path]:
        """All files that the policy is made of. A folder's own stamp says that files came or went."""
        yield self._policy
        for key in self._desk.loaded.file.key:
            if key.certificate is not None:
                yield self._policy.parent / key.certificate
        if self._key is not None:
            yield self._key
            yield from sorted(self._key.glob("*.pem"))


def _stored_replays(store: StateStore, window_s: float) -> ReplayRecord:
    """Return the signed messages that have been seen.

    If that memory is lost, every message made until the end of the window counts as seen: signed messages
    are rejected for so long.
    """
    forgotten = [each.forgotten_until for each in store.load(ReplayRecord)]
    if store.status.was_lost:
        until = time.time() + window_s
        log.error(
            "memory of signed messages lost: signed messages are rejected for %.0f s, until none that may "
            "have been seen before can be accepted",
            2 * window_s,
        )
        store.persist_now([ReplayRecord((), until)])
        forgotten.append(until)
    return ReplayRecord(tuple(store.load(SeenText)), max(forgotten, default=-math.inf))


def _stamp(file: Path) -> tuple[int, int, int] | None:
    try:
        found = file.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
