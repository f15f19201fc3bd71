"""Replay memory of signed messages: its cache, its records in the store, and trust in the clock.

A clock that is not trusted drops nothing, and ends no wait after a loss (`signing.replay_cache`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from contextlib import suppress

from controller.access.permissions import Actor
from controller.commands.site_command import ResumeSigning
from controller.config import Config
from controller.services import ServiceError
from controller.services.machine.clock_state import is_synchronised
from controller.signing.replay_cache import NOTHING_FORGOTTEN, ReplayCache, ReplayRecord, ReplayWait, SeenText
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from controller.web.status_model import SigningWaitStatus

log = logging.getLogger("controller.signing")


class SigningWaitError(ServiceError):
    """A wait that cannot be shortened. The text states why."""


def choose_clock_trust(config: Config) -> Callable[[], bool]:
    """Return a check of the clock: whether it is synchronised, or configured as trusted."""
    if config.dimming is not None and config.dimming.clock == "believed":
        return _always
    return is_synchronised


class ReplayMemory:
    """Memory of the signed messages that were accepted within `window_s` (s) around their times.

    `cache` is that of the policy enforcer, which makes the records.
    """

    def __init__(self, store: StateStore, window_s: float, is_clock_trusted: Callable[[], bool]) -> None:
        self._store = store
        self._is_clock_trusted = is_clock_trusted
        self.cache = ReplayCache(window_s)
        self.cache.clock_trusted = is_clock_trusted()
        self.cache.load(self._load_records())
        if (ending := self.cache.confirm_wait(time.time())) is not None:
            with suppress(StoreError):  # after a restart it is found once more
                store.persist_now([ending])

    async def check_clock(self) -> None:
        """Take the state of the clock; the first trusted one finds the end of the wait after a loss."""
        self.cache.clock_trusted = self._is_clock_trusted()
        if (ending := self.cache.confirm_wait(time.time())) is None:
            return
        log.warning("clock trusted, signed messages are rejected until=%s", self.find_wait())
        with suppress(StoreError):  # after a restart it is found once more
            await self._store.persist([ending])

    def find_wait(self) -> ReplayWait | None:
        """Return until when all that is signed now is rejected; None: it is not."""
        return self.cache.find_wait(time.time())

    def wait_status(self) -> SigningWaitStatus | None:
        """Return the wait as people and monitoring see it; None without one."""
        if (wait := self.find_wait()) is None:
            return None
        return SigningWaitStatus(until=None if wait.end is None else str(wait), can_shorten=wait.can_shorten)

    async def on_resume(self, _: ResumeSigning, __: Actor) -> object:
        """Shorten a wait to one window; returns its end. Raises SigningWaitError."""
        if (ending := self.cache.end_wait(time.time())) is None:
            raise SigningWaitError(_explain_wait(self.find_wait()))
        until = str(self.find_wait())
        log.warning("wait for signed messages shortened by a person until=%s", until)
        try:
            await self._store.persist([ending])
        except StoreError as error:
            raise SigningWaitError(f"shortened until the next start alone: {error}") from error
        return {"rejected_until": until}

    def _load_records(self) -> ReplayRecord:
        """Return the signed messages that have been seen.

        If that memory is lost, or as old as a restored backup, every message made until the end of the window
        counts as seen: signed messages are rejected for so long, and until the clock is trusted.
        """
        forgotten = self._store.load(ReplayRecord)
        last = max(forgotten, key=lambda each: each.forgotten_until, default=NOTHING_FORGOTTEN)
        if last.provisional:
            log.error(
                "memory of signed messages lost or as old as a restored backup: signed messages are rejected "
                "for %.0f s%s, until none that may have been seen before can be accepted",
                2 * self.cache.window_s,
                "" if self.cache.clock_trusted else " from the moment when the clock is synchronised",
            )
        return ReplayRecord(tuple(self._store.load(SeenText)), last.forgotten_until, last.provisional)


def _always() -> bool:
    return True


def _explain_wait(wait: ReplayWait | None) -> str:
    if wait is None:
        return "nothing to resume: signed messages are accepted"
    return (
        f"signed messages are accepted again from {wait} on; this wait cannot be shortened: "
        "any made before may be a copy"
    )
