"""The way to one backend, for all stations that it owns."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import quote, urlsplit

import msgspec
import trio

from controller.backends.probe import probe
from controller.stations.admission import Admission, basic
from controller.transport.dial import open_link
from controller.transport.tls import RenewedContext
from controller.transport.token_bucket import TokenBucket
from controller.transport.websocket_connection import WebSocketConnection

DIALS_PER_SECOND = 200.0
"""As many as stations may come in by default: a storm below goes on to the backend smoothed as it came."""


class Endpoint(msgspec.Struct, frozen=True):
    """How a backend is reached: `{station}` in `url` stands for the station's id.

    With `password`, stations are presented with it; else with what they have sent themselves. `headers`
    go into each request.
    """

    url: str
    tls: RenewedContext | None
    password: bytes | None
    max_message_bytes: int
    connect_timeout_s: float
    turns: TokenBucket
    compression: bool = True
    headers: tuple[tuple[str, str], ...] = ()

    def __repr__(self) -> str:
        return f"Uplink({self.url!r})"

    @asynccontextmanager
    async def open(self, admitted: Admission) -> AsyncIterator[WebSocketConnection]:
        """A link for a station that was admitted, open inside the block, when it is its turn.

        Raises LinkRefused, alone or in a group, if it fails.
        """
        await trio.sleep(self.turns.take(trio.current_time()))
        password = self.password
        authorization = admitted.authorization if password is None else basic(admitted.station, password)
        async with open_link(
            self.url.replace("{station}", quote(admitted.station, safe="")),
            admitted.version,
            self._context(),
            authorization,
            self.max_message_bytes,
            self.connect_timeout_s,
            compression=self.compression,
            headers=self.headers,
        ) as link:
            yield link

    async def probe(self) -> None:
        """See whether it can be connected to, as no station. Raises LinkRefused where it cannot."""
        parts = urlsplit(self.url)
        port = parts.port or (80 if self.tls is None else 443)
        await probe(parts.hostname or "", port, self._context(), self.connect_timeout_s)

    def _context(self) -> ssl.SSLContext | None:
        return None if self.tls is None else self.tls.current(trio.current_time())


def dial_turns() -> TokenBucket:
    """The turns of one backend's dials."""
    return TokenBucket(DIALS_PER_SECOND, burst=int(DIALS_PER_SECOND))
