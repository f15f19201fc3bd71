"""Open a connection to a backend: TCP, TLS and the upgrade, within one time limit."""

from __future__ import annotations

import enum
import math
import socket
import ssl
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from http import HTTPStatus

import msgspec
import trio

from controller.transport.byte_transport import ByteTransport
from controller.transport.http_upgrade import CompressionOffer, UpgradeError, UpgradeOffer
from controller.transport.transport_errors import TransportError, describe_error, find_remedy
from controller.transport.websocket_connection import READ_BYTES, WebSocketConnection

ADDRESS_S = 30.0
"""Time for which the address of a server's name is used again."""

LONGEST_RETRY_AFTER_S = 86_400.0
"""Bound on a backend's Retry-After."""

TRANSIENT_STATUSES = frozenset(
    (HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS)
)
"""HTTP statuses below 500 that reject the moment, not the station (RFC 9110, 15.5; RFC 6585, 4)."""

VERDICT_ALERTS = ("CERTIFICATE", "UNKNOWN_CA", "ACCESS_DENIED")
"""TLS alerts of a server that rejects our certificate (RFC 8446, 6.2) contain one of these."""


class DialStage(enum.Enum):
    """The stage at which a dial failed.

    CONNECT  TCP or TLS: the backend is away, for every station
    UPGRADE  no answer, or one that blames the backend (5xx, 429): perhaps for this station only
    REFUSED  the backend's verdict on the station: status 3xx or 4xx, no common version, its certificate
    """

    CONNECT = "connect"
    UPGRADE = "upgrade"
    REFUSED = "refused"


class DialError(TransportError):
    """The connection could not be opened; its text is the reason.

    `status`: of the HTTP answer, if one came. `retry_after_s`: when the backend asks to be tried again.
    `is_version`: it supports none of the versions. `is_extension`: only the compression offer failed.
    """

    def __init__(
        self,
        reason: str,
        *,
        stage: DialStage = DialStage.CONNECT,
        status: int | None = None,
        retry_after_s: float | None = None,
        is_version: bool = False,
        is_extension: bool = False,
    ) -> None:
        super().__init__(reason)
        self.stage = stage
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_version = is_version
        self.is_extension = is_extension

    @property
    def remedy(self) -> str:
        """Return what a person can check, by the cause."""
        return find_remedy(self)


class ServerAddress:
    """Address at which a server was reached last: the resolver is asked once for all stations of a storm.

    A question to the resolver takes a thread, and with it a quarter of the CPU time of a connecting station.
    """

    def __init__(self) -> None:
        self._address = ""
        self._until = -math.inf

    async def connect(self, host: str, port: int) -> trio.SocketStream:
        """Open a TCP connection, to the address known since ADDRESS_S if there is one. Raises OSError."""
        if trio.current_time() < self._until:
            try:
                return await self._connect_address(port)
            except OSError:
                self._until = -math.inf  # the name may have moved to another address
        stream = await trio.open_tcp_stream(host, port)
        try:
            self._address = stream.socket.getpeername()[0]
        except OSError:  # the connection is gone again, which its user finds out
            return stream
        self._until = trio.current_time() + ADDRESS_S
        return stream

    async def _connect_address(self, port: int) -> trio.SocketStream:
        """Connect to the known address alone, without the tasks that try several in turn. Raises OSError."""
        family = socket.AF_INET6 if ":" in self._address else socket.AF_INET
        sock = trio.socket.socket(family, socket.SOCK_STREAM)
        try:
            await sock.connect((self._address, port))
            return trio.SocketStream(sock)
        except BaseException:
            sock.close()
            raise


class DialSettings(msgspec.Struct, frozen=True):
    """Settings of one dial: `versions` are offered in order, `headers` go into the request.

    `find_objection` returns why a server's certificate (DER) that TLS has verified is not accepted; None: it
    is. `server`: the address, known from earlier dials to the same host.
    """

    url: str
    versions: Sequence[str]
    tls: ssl.SSLContext | None
    authorization: bytes | None
    max_message_bytes: int
    connect_timeout_s: float
    compression: CompressionOffer = CompressionOffer.BEST
    headers: Sequence[tuple[str, str]] = ()
    find_objection: Callable[[bytes], str | None] = lambda certificate: None
    server: ServerAddress = msgspec.field(default_factory=ServerAddress)

    def __repr__(self) -> str:
        return f"DialSettings({self.url!r})"  # the authorization is a secret


async def dial_websocket(nursery: trio.Nursery, settings: DialSettings) -> tuple[WebSocketConnection, str]:
    """Open a WebSocket to a backend; return it with the version that the backend chose. Raises DialError.

    `nursery` runs the task that sends what the backend does not take at once.
    """
    offer = UpgradeOffer(
        settings.url,
        settings.versions,
        settings.authorization,
        settings.max_message_bytes,
        compression=settings.compression,
        headers=settings.headers,
    )
    stage = [DialStage.CONNECT]
    with trio.move_on_after(settings.connect_timeout_s):
        transport = await _connect(settings, offer, stage)
        return WebSocketConnection(nursery, transport, offer.protocol), offer.subprotocol
    raise DialError(f"it did not answer within {settings.connect_timeout_s:g} s", stage=stage[0])


async def probe_server(host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> None:
    """Connect with TCP and TLS, and close again: an upgrade might end a station's link. Raises DialError."""
    try:
        with trio.fail_after(timeout_s):
            async with await trio.open_tcp_stream(host, port) as stream:
                if tls is not None:
                    await trio.SSLStream(stream, tls, server_hostname=host).do_handshake()
    except trio.TooSlowError:
        raise DialError(f"it did not answer within {timeout_s:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise DialError(describe_error(error)) from error


async def _connect(settings: DialSettings, offer: UpgradeOffer, stage: list[DialStage]) -> ByteTransport:
    """Open TCP, TLS and the WebSocket; `stage` follows. Nothing is sent to an unverified server."""
    host, port = offer.server
    try:
        transport = ByteTransport(await settings.server.connect(host, port))
        try:
            if settings.tls is not None:
                await transport.start_tls(settings.tls, host=host)
                objection = settings.find_objection(transport.peer_certificate_der or b"")
                if objection is not None:
                    raise DialError(objection, stage=DialStage.REFUSED)
            stage[0] = DialStage.UPGRADE
            await transport.send_all(offer.protocol.take_output())
            transport.acknowledge_at_once()
            while not offer.is_complete:
                offer.receive_data(await transport.receive_some(READ_BYTES))
        except BaseException:
            transport.close()
            raise
    except UpgradeError as failed:
        raise _upgrade_error(failed) from None
    except OSError as error:
        is_verdict = isinstance(error, ssl.SSLError) and _is_certificate_alert(error)
        failed_at = DialStage.REFUSED if is_verdict else stage[0]
        raise DialError(describe_error(error), stage=failed_at) from error
    return transport


def _upgrade_error(failed: UpgradeError) -> DialError:
    answer = failed.answer
    if answer is None:
        stage = DialStage.REFUSED if failed.is_version else DialStage.UPGRADE
        return DialError(
            str(failed), stage=stage, is_version=failed.is_version, is_extension=failed.is_extension
        )
    status = answer.status_code
    is_verdict = 300 <= status < 500 and status not in TRANSIENT_STATUSES
    return DialError(
        str(failed),
        stage=DialStage.REFUSED if is_verdict else DialStage.UPGRADE,
        status=status,
        retry_after_s=_parse_retry_after(answer.headers.get_all("Retry-After")),
    )


def _is_certificate_alert(error: ssl.SSLError) -> bool:
    reason = error.reason or ""
    return "ALERT" in reason and any(word in reason for word in VERDICT_ALERTS)


def _parse_retry_after(values: list[str]) -> float | None:
    """Parse the header Retry-After (RFC 9110, 10.2.3): s or a date; None if missing or invalid."""
    value = values[0] if values else ""
    if value.isascii() and value.isdigit():
        return min(float(value[:9]), LONGEST_RETRY_AFTER_S)
    try:
        at = parsedate_to_datetime(value)
        return min(max(0.0, (at - datetime.now(UTC)).total_seconds()), LONGEST_RETRY_AFTER_S)
    except (ValueError, TypeError, OverflowError):
        return None
