"""Link of a station to the local CSMS, in place of the link to a backend."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Protocol

import trio

from controller.backends.backend_link import LinkUser
from controller.local_csms.csms import CsmsEffect, CsmsText, LocalCsms
from controller.model.effects import LogEntry
from controller.model.journal import JournalError, Persist, Record
from controller.transport.transport_errors import SendQueueFullError

log = logging.getLogger("controller")

QUEUE_DEPTH = 64
"""Texts of one station that wait for the local CSMS: far more than the relay sends at a time."""


class CsmsJournal(Protocol):
    """Durable records of the local CSMS."""

    async def save(self, records: Sequence[Record]) -> None:
        """Commit the records; durable when it returns. Raises JournalError."""

    def drop_station(self, station: str) -> None:
        """Restore the station's memory from what is durable."""


class LocalOwner:
    """The local CSMS as the owner of one station, for one connection of it. `backend` is its name."""

    def __init__(
        self,
        backend: str,
        station: str,
        csms: LocalCsms,
        journal: CsmsJournal,
        utc_of: Callable[[float], float],
    ) -> None:
        self.backend = backend
        self.station = station
        self.csms = csms
        self.journal = journal
        self.utc_of = utc_of

    def make_link(self, user: LinkUser) -> LocalLink:
        """Return the link for the station's session."""
        return LocalLink(self, user)


class LocalLink:
    """A station's link to the local CSMS; it has the methods of a `BackendLink`.

    An answer is sent once the records behind it are durable. If they cannot be stored, the link is
    lost: the station is closed, keeps its message and repeats it.
    """

    def __init__(self, owner: LocalOwner, user: LinkUser) -> None:
        self._owner = owner
        self._user = user
        self._sender, self._receiver = trio.open_memory_channel[str](QUEUE_DEPTH)

    @property
    def backend(self) -> str:
        """The name of the local CSMS."""
        return self._owner.backend

    async def run(self) -> None:
        """Pass texts between the station's session and the local CSMS until cancelled."""
        self._user.on_link_opened(self.backend)
        csms = self._owner.csms
        try:
            while True:
                text: str | None = None
                with trio.move_on_at(csms.deadline):
                    text = await self._receiver.receive()
                now = trio.current_time()
                if text is None:
                    await self._carry_out(csms.on_time(now))
                else:
                    await self._carry_out(csms.on_text(text, now, self._owner.utc_of(now)))
        except trio.EndOfChannel:
            return
        except JournalError as failed:
            log.error(
                "transaction not stored station=%s reason=%s: the station is closed and repeats its message",
                self._owner.station,
                failed,
            )
            self._owner.journal.drop_station(self._owner.station)
            self._user.on_link_lost(self.backend, f"the store cannot be written: {failed}")

    async def _carry_out(self, effects: list[CsmsEffect]) -> None:
        for effect in effects:
            match effect:
                case Persist(records):
                    with trio.CancelScope(shield=True):  # a commit that has begun ends with a known result
                        await self._owner.journal.save(records)
                case CsmsText(text):
                    self._user.on_backend_message(self.backend, text)
                case LogEntry(level, text):
                    log.log(level, "%s", text)

    def send_nowait(self, message: str | bytes) -> None:
        """Queue a text of the station. Raises SendQueueFullError."""
        if isinstance(message, str):
            try:
                self._sender.send_nowait(message)
            except trio.WouldBlock:
                raise SendQueueFullError(f"{QUEUE_DEPTH} messages wait for the local CSMS") from None

    def keep_alive(self, silence_s: float) -> None:
        """Do nothing: there is no connection that could be lost."""

    def reopen(self) -> None:
        """Do nothing: there is no connection to be opened again."""

    async def close(self, reason: str) -> None:
        """Do nothing: the task of the link ends with its session."""
