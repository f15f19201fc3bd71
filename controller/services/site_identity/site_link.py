"""Link of the site's own identity to its backend: dialed again and again, read one message at a time."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable

import trio

from controller.backends.pool import BackendPool, LinkRequest
from controller.model.effects import BackendLost, BackendUp, FromBackend
from controller.model.exception_groups import leaves
from controller.transport.channel import Channel
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller.identity")

FAULT_WAIT_S = 10.0
"""Time from the end of a link by an error of our own to the next one (s)."""

LinkEvent = BackendUp | FromBackend | BackendLost


class SiteLink:
    """The link of one station id through `pool`. `version` is the subprotocol that it offers."""

    def __init__(self, pool: BackendPool, station: str, version: str) -> None:
        self._pool = pool
        self._request = LinkRequest(station, (version,))
        self._channel: Channel | None = None
        self._lost_reasons = ""
        """Reasons of the last failure since the link was open: a warning is logged for each once."""
        self._scope = trio.CancelScope()

    @property
    def backend(self) -> str:
        """Name of the backend."""
        return self._pool.backend

    async def run(self, handle: Callable[[LinkEvent], Awaitable[None]]) -> None:
        """Keep the link open until cancelled, and pass on what happens on it.

        The next message is read once `handle` has returned. A message is handled to its end, even if its
        link ends meanwhile. An error of ours in a message ends the link, and nothing else of the site.
        """
        while True:
            self._scope = trio.CancelScope()
            with self._scope:
                await self._serve(handle)
            if self._scope.cancelled_caught:
                await self._on_lost("it does not read", handle)
            await self._pool.wait_ready(self._request)

    def send(self, text: str) -> None:
        """Send a text; without a link it is dropped, and a backend that does not read is disconnected."""
        if self._channel is None:
            return
        try:
            self._channel.send_nowait(text)
        except SendQueueFullError:
            self._scope.cancel()
        except ConnectionLostError:
            return  # its reader gets the same error

    async def _serve(self, handle: Callable[[LinkEvent], Awaitable[None]]) -> None:
        """Serve one link until it ends."""
        try:
            async with self._pool.hold_link(self._request, is_owner=True) as opened:
                self._channel = opened.channel
                self._lost_reasons = ""
                await self._pass_on(BackendUp(), handle)
                while True:
                    message = await opened.channel.receive()
                    if isinstance(message, str):
                        await self._pass_on(FromBackend(message), handle)
        except* (ConnectionLostError, DialError) as lost:
            await self._on_lost("; ".join(sorted({str(each) for each in leaves(lost)})), handle)
        except* Exception as error:
            log.exception("site link closed by an internal error", exc_info=error)
            await self._on_lost("internal error", handle)
            await trio.sleep(FAULT_WAIT_S)

    async def _on_lost(self, reasons: str, handle: Callable[[LinkEvent], Awaitable[None]]) -> None:
        self._channel = None
        log.log(
            logging.DEBUG if reasons == self._lost_reasons else logging.WARNING,
            "site link lost backend=%s id=%s protocol=%s reason=%s",
            self._pool.backend,
            self._request.station,
            self._request.versions[0],
            reasons,
        )
        self._lost_reasons = reasons
        await self._pass_on(BackendLost(reasons), handle)

    async def _pass_on(self, event: LinkEvent, handle: Callable[[LinkEvent], Awaitable[None]]) -> None:
        with trio.CancelScope(shield=True):  # bounded by the store: see `StateStore.persist`
            await handle(event)
