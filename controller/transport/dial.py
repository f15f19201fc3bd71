"""A link to a backend: TCP, TLS and the upgrade, all within one time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import trio

from controller.transport.byte_transport import ByteTransport, cause
from controller.transport.http_upgrade import UpgradeError, UpgradeOffer
from controller.transport.websocket_connection import READ, WebSocketConnection

NORMAL = 1000
"""WebSocket close code (RFC 6455, 7.4.1)."""


class DialError(Exception):
    """The link could not be made. Its text is a person's sentence.

    `status`: that of the HTTP answer, where there was one; `retry_after_s`: when it said to come back.
    """

    def __init__(self, reason: str, *, status: int | None = None, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.status = status
        self.retry_after_s = retry_after_s


@asynccontextmanager
async def open_link(
    url: str,
    version: str,
    tls: ssl.SSLContext | None,
    authorization: bytes | None,
    max_message_bytes: int,
    connect_timeout_s: float,
    *,
    compression: bool = True,
    headers: Sequence[tuple[str, str]] = (),
) -> AsyncIterator[WebSocketConnection]:
    """A link upwards, open inside the block. Raises LinkRefused, alone or in a group, if it fails."""
    asking = UpgradeOffer(
        url, version, authorization, max_message_bytes, compression=compression, headers=headers
    )
    with trio.move_on_after(connect_timeout_s) as patience:
        transport = await _connected(url, tls, asking)
    if patience.cancelled_caught:
        raise DialError(f"it did not answer within {connect_timeout_s:g} s")
    async with trio.open_nursery() as nursery:
        link = WebSocketConnection(nursery, transport, asking.wire)
        try:
            yield link
        finally:
            await link.close(NORMAL, "")
            nursery.cancel_scope.cancel()


async def _connected(url: str, tls: ssl.SSLContext | None, asking: UpgradeOffer) -> ByteTransport:
    """Where the WebSocket is open. With TLS, nothing is said to who has no good certificate."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (80 if tls is None else 443)
    try:
        transport = ByteTransport(await trio.open_tcp_stream(host, port))
        try:
            if tls is not None:
                await transport.secure(tls, host=host)
            await transport.send_all(asking.wire.take())
            while not asking.is_complete:
                asking.feed(await transport.receive_some(READ))
        except BaseException:
            transport.close()
            raise
    except UpgradeError as failed:
        answer = failed.answer
        if answer is None:
            raise DialError(str(failed)) from None
        retry_after_s = _retry_after_s(answer.headers.get_all("Retry-After"))
        raise DialError(str(failed), status=answer.status_code, retry_after_s=retry_after_s) from None
    except OSError as error:
        raise DialError(cause(error)) from error
    return transport


def _retry_after_s(lines: list[str]) -> float | None:
    """What a header Retry-After says (RFC 9110, 10.2.3): seconds, or a date; None without a good one."""
    said = lines[0] if lines else ""
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
