"""A link to a backend: TCP, TLS and the upgrade, all within one time."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import trio
from trio_websocket import ConnectionRejected, WebSocketConnection, wrap_client_stream

from controller.groups import leaves
from controller.links.engine import Link
from controller.links.streams import StreamEnded, WatchedStream, cause

UPGRADED = 101
"""HTTP status (RFC 9110, 15.2.2): the backend is there, and took this link as far as that."""

NORMAL = 1000
"""WebSocket close code (RFC 6455, 7.4.1)."""


class LinkRefused(Exception):
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
) -> AsyncIterator[Link]:
    """A link upwards, open inside the block. Raises LinkRefused, alone or in a group, if it fails."""
    headers = [] if authorization is None else [(b"Authorization", authorization)]
    try:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(connect_timeout_s) as patience:
                socket = await _upgraded(nursery, url, version, tls, headers, max_message_bytes)
            if patience.cancelled_caught:
                raise LinkRefused(f"it did not answer within {connect_timeout_s:g} s")
            link = Link(socket)
            try:
                if socket.subprotocol != version:
                    raise LinkRefused(f"it does not speak {version}", status=UPGRADED)
                yield link
            finally:
                await link.close(NORMAL, "")  # cut short by a cancellation, which has ended its reader too
                nursery.cancel_scope.cancel()
    except* ConnectionRejected as rejected:
        (answer,) = (each for each in leaves(rejected) if isinstance(each, ConnectionRejected))
        raise LinkRefused(
            f"it refused the link with HTTP status {answer.status_code}",
            status=answer.status_code,
            retry_after_s=_retry_after_s(answer.headers or ()),
        ) from None


async def _upgraded(
    nursery: trio.Nursery,
    url: str,
    version: str,
    tls: ssl.SSLContext | None,
    headers: list[tuple[bytes, bytes]],
    max_message_bytes: int,
) -> WebSocketConnection:
    """The open WebSocket, whose reader runs in the nursery: there it raises ConnectionRejected."""
    parts = urlsplit(url)
    query = f"?{parts.query}" if parts.query else ""
    try:
        stream = WatchedStream(await _connected(parts.hostname or "", parts.port, tls))
        return await stream.unless_it_ends(
            wrap_client_stream(
                nursery,
                stream,  # type: ignore[arg-type]  # it is at home on any stream, as its server side says
                parts.netloc,
                f"{parts.path or '/'}{query}",
                subprotocols=[version],
                extra_headers=headers,
                max_message_size=max_message_bytes,
            )
        )
    except StreamEnded as ended:
        raise LinkRefused(str(ended)) from None
    except (OSError, trio.BrokenResourceError) as error:
        raise LinkRefused(cause(error)) from error


def _retry_after_s(headers: Iterable[tuple[bytes, bytes]]) -> float | None:
    """What a header Retry-After says (RFC 9110, 10.2.3): seconds, or a date; None without a good one."""
    said = next(
        (value.decode("ascii", "replace") for name, value in headers if name.lower() == b"retry-after"), ""
    )
    if said.isascii() and said.isdigit():
        return float(said)
    try:
        return max(0.0, (parsedate_to_datetime(said) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None


async def _connected(host: str, port: int | None, tls: ssl.SSLContext | None) -> trio.abc.Stream:
    """The stream to a backend. With TLS its certificate is good; before that, nothing is sent."""
    if tls is None:
        return await trio.open_tcp_stream(host, port or 80)
    stream = await trio.open_tcp_stream(host, port or 443)
    secure = trio.SSLStream(stream, tls, server_hostname=host, https_compatible=True)
    try:
        await secure.do_handshake()
    except BaseException:
        await trio.aclose_forcefully(stream)
        raise
    return secure
