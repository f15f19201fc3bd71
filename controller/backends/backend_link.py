"""One station's link to one of its backends: it dials again after each lost connection until it is closed."""

from __future__ import annotations

import logging
from collections.abc import Collection
from functools import partial
from typing import Protocol

import trio

from controller.backends.pool import BackendPool, LinkRequest, OpenedLink
from controller.model.exception_groups import leaves
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError, DialStage
from controller.transport.transport_errors import ConnectionLostError, find_connection_loss

log = logging.getLogger("controller.transport")

GOING_AWAY = 1001
"""WebSocket close code (RFC 6455, 7.4.1)."""

REPLACE_WAIT_S = 5.0
"""Time for which calls may be open on a connection that is to be replaced (s)."""

REOPENED = ("it is opened again",)
"""Reason for the end of a connection that the link itself has ended."""


class LinkUser(Protocol):
    """The session that a link belongs to."""

    def needs_link(self, backend: str) -> bool:
        """Return True while there should be a link to this backend."""

    def can_move_link(self, backend: str) -> bool:
        """Return True if its link may be closed and opened again without loss or delay."""

    def is_link_idle(self, backend: str) -> bool:
        """Return True if no call is open over its link, in either direction."""

    def on_link_opened(self, backend: str) -> None:
        """Take note that the link is open."""

    def on_link_lost(self, backend: str, reason: str) -> None:
        """Take note that the link is gone, or could not be opened."""

    def on_station_refused(self, backend: str, reason: str) -> None:
        """Take note of the backend's verdict on the station."""

    def on_backend_message(self, backend: str, message: str | bytes) -> None:
        """Take a message of the backend."""


class StationLink(Protocol):
    """A station's link to a backend, or to what stands in the place of one."""

    @property
    def backend(self) -> str:
        """The backend's name."""

    async def run(self) -> None:
        """Run the link until its user closes it."""

    def send_nowait(self, message: str | bytes) -> None:
        """Send a message, or queue it. Raises SendQueueFullError."""

    def keep_alive(self, silence_s: float) -> None:
        """Send a ping, or end the connection after `silence_s` without data."""

    def reopen(self) -> None:
        """End the connection, over which calls have no answer, and open another one."""

    async def close(self, reason: str) -> None:
        """Send what is queued and close the connection."""


class LinkMaker(Protocol):
    """An owner that is not reached through a pool: it makes the links itself."""

    backend: str

    def make_link(self, user: LinkUser) -> StationLink:
        """Return the link for a station's session."""


class BackendLink:
    """A station's link to one backend; `is_owner`: the backend owns the station.

    `adopted` is a link that is open already. `timer` is updated whenever the user's state changes. What is
    sent while there is no connection is dropped: the relay sends nothing then but answers that are
    no longer awaited.
    """

    __slots__ = ("_adopted", "_is_owner", "_opened", "_pool", "_request", "_scope", "_timer", "_user")

    def __init__(
        self,
        pool: BackendPool,
        request: LinkRequest,
        user: LinkUser,
        timer: DeadlineTimer,
        *,
        is_owner: bool,
        adopted: OpenedLink | None = None,
    ) -> None:
        self._pool = pool
        self._request = request
        self._user = user
        self._timer = timer
        self._is_owner = is_owner
        self._adopted = adopted
        self._opened: OpenedLink | None = None
        self._scope = trio.CancelScope()

    @property
    def backend(self) -> str:
        """The backend's name."""
        return self._pool.backend

    async def run(self) -> None:
        """Open connections until their user closes the link."""
        backend = self._pool.backend
        while self._user.needs_link(backend):
            reasons: Collection[str] = REOPENED
            self._scope = trio.CancelScope()
            try:
                with self._scope:
                    await self._run_connection()
                if self._adopted is not None:
                    continue  # the link goes on over the connection that replaces this one
            except* (ConnectionLostError, DialError) as lost:
                reasons = {str(each) for each in leaves(lost)}
                refusals = [each for each in leaves(lost) if _is_refusal(each)]
                if refusals:
                    self._user.on_station_refused(backend, str(refusals[0]))
            self._user.on_link_lost(backend, "; ".join(sorted(reasons)))
            if self._adopted is None and self._user.needs_link(backend):
                await self._pool.wait_ready(self._request)

    def send_nowait(self, message: str | bytes) -> None:
        """Send a message, or queue it for the backend. Raises SendQueueFullError."""
        if self._opened is not None:
            try:
                self._opened.channel.send_nowait(message)
            except ConnectionLostError:
                return  # the reading task raises it as well, and reports it

    def keep_alive(self, silence_s: float) -> None:
        """Send a ping if there is a connection, or end it after `silence_s` without data."""
        if self._opened is not None:
            self._opened.channel.keep_alive(silence_s)

    def reopen(self) -> None:
        """End the connection, over which calls have no answer, and open another one."""
        if self._opened is not None:
            self._pool.report_unanswered(self._opened)
        self._scope.cancel()

    async def close(self, reason: str) -> None:
        """Send what is queued and close the connection, if there is one."""
        for opened in (self._opened, self._adopted):
            if opened is not None:
                await opened.channel.close(GOING_AWAY, reason)
                opened.release()

    async def _run_connection(self) -> None:
        """Use one connection, from its dial to its end."""
        opened, self._adopted = self._adopted, None
        if opened is None:
            opened = await self._pool.open_link(self._request, is_owner=self._is_owner)
        lost: ConnectionLostError | None = None
        self._opened = opened
        opened.on_outdated = partial(self._pool.start_soon, partial(self._replace_connection, opened))
        if not self._pool.is_configured(opened):
            opened.on_outdated()  # since it was dialled
        try:
            self._user.on_link_opened(self._pool.backend)
            pass_message = partial(self._user.on_backend_message, self._pool.backend)
            if not self._pool.has_alternatives:  # a task less per station
                await opened.channel.read_messages(pass_message)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._move_to_better, opened)
                await opened.channel.read_messages(pass_message)
        except* ConnectionLostError as found:
            lost = find_connection_loss(found)
            raise
        finally:
            self._opened = None
            opened.on_outdated = None
            opened.release(lost)
            await opened.channel.close(GOING_AWAY, "")

    async def _replace_connection(self, opened: OpenedLink) -> None:
        """Go on over a connection as it is configured now, and close the one before once no call is open.

        Calls that are still open after `REPLACE_WAIT_S` are repeated, as after any lost connection.
        """
        backend, station = self._pool.backend, self._request.station
        replacement = None
        try:
            replacement = await self._pool.open_link(self._request, is_owner=self._is_owner)
        except DialError as failed:
            log.info("link as configured failed backend=%s station=%s reason=%s", backend, station, failed)
        with trio.move_on_after(REPLACE_WAIT_S):
            while self._opened is opened and not self._user.is_link_idle(backend):
                await self._timer.wait_updated()
        if self._opened is not opened:  # it has ended by itself, and a new one is opened
            if replacement is not None:
                await replacement.channel.close(GOING_AWAY, "")
                replacement.release()
            return
        log.info("link replaced backend=%s station=%s: its configuration has changed", backend, station)
        if self._user.is_link_idle(backend):
            self._adopted = replacement
        elif replacement is not None:
            await replacement.channel.close(GOING_AWAY, "")
            replacement.release()
        self._scope.cancel()

    async def _move_to_better(self, opened: OpenedLink) -> None:
        """Leave for a better endpoint when it is there, and no call is open that would have to wait."""
        await self._pool.wait_better_endpoint(opened)
        while not self._user.can_move_link(self._pool.backend):
            await self._timer.wait_updated()
        log.info(
            "link moved to a better endpoint backend=%s station=%s", self._pool.backend, self._request.station
        )
        self._scope.cancel()


def _is_refusal(error: BaseException) -> bool:
    return isinstance(error, DialError) and error.stage is DialStage.REFUSED
