"""The HTTP upgrade that opens a WebSocket, on either side, with its extensions and subprotocols; sans-IO.

Sources: RFC 6455, section 4; RFC 7692 (permessage-deflate).

OCPP messages resemble each other: a compression window that is kept from one message to the next makes 43 B
of MeterValues of 300 B, in 5 us; one that begins anew for each message makes 211 B in 10 us. A window of
1 KiB takes 9 kB a link and direction; one of 32 KiB takes 260 kB to make 38 B of those 43.
"""

from __future__ import annotations

import base64
import enum
import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote_from_bytes

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.extensions import Extension
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)
from websockets.frames import CLOSE, CloseCode, Frame
from websockets.http11 import Request, Response
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from controller.model.peer_text import bounded_text
from controller.transport.line_ends import LineEndReader
from controller.transport.transport_errors import TransportError
from controller.transport.websocket_protocol import WebSocketProtocol

_silent = logging.getLogger("controller.transport.protocol")
_silent.setLevel(logging.CRITICAL + 1)  # callers log with the name of the station or the backend

SWITCHING = HTTPStatus.SWITCHING_PROTOCOLS

WINDOW_BITS = 12
"""A message of 2 kB still refers to the one before it, which lies within 4 KiB."""
DEFLATE_SETTINGS = {"memLevel": 4, "level": 3}
"""A state of 24 KiB a direction. A slower level shortens what resembles the message before by little more."""

ACCEPTED = (
    ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        require_client_max_window_bits=True,
        compress_settings=DEFLATE_SETTINGS,
    ),
    # A station that cannot limit its window begins each message anew: no 32 KiB are kept for it.
    ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_no_context_takeover=True,
        compress_settings=DEFLATE_SETTINGS,
    ),
)
"""Agreements on a station's offer, the better one first."""

LIMITED_WINDOW = ClientPerMessageDeflateFactory(
    server_max_window_bits=WINDOW_BITS,
    client_max_window_bits=WINDOW_BITS,
    compress_settings=DEFLATE_SETTINGS,
)
NO_CONTEXT = ClientPerMessageDeflateFactory(
    server_no_context_takeover=True,
    client_max_window_bits=WINDOW_BITS,
    compress_settings=DEFLATE_SETTINGS,
)


class CompressionOffer(enum.Enum):
    """Offers of permessage-deflate to a backend, in the order in which they are tried.

    A server that cannot limit its window must decline LIMITED_WINDOW (RFC 7692, 7.1.2.1). Some accept it
    without the parameter instead (Jetty, under SteVe): they are offered NO_CONTEXT alone, then nothing.
    """

    BEST = (LIMITED_WINDOW, NO_CONTEXT)
    WITHOUT_CONTEXT = (NO_CONTEXT,)
    NONE = ()

    @property
    def next_offer(self) -> CompressionOffer | None:
        """The offer to try after this one was answered in an invalid way; None after the last."""
        offers = list(CompressionOffer)
        rest = offers[offers.index(self) + 1 :]
        return rest[0] if rest else None


class UpgradeError(TransportError):
    """No WebSocket was opened; its text is the reason.

    `answer`: the HTTP response, if one came. `is_extension`: only the answer to the compression offer was
    invalid. `is_version`: the server supports none of the offered subprotocols.
    """

    def __init__(
        self,
        reason: str,
        answer: Response | None = None,
        *,
        is_extension: bool = False,
        is_version: bool = False,
    ) -> None:
        super().__init__(reason)
        self.answer = answer
        self.is_extension = is_extension
        self.is_version = is_version


class UpgradeRequest:
    """A station's upgrade request: pass data until `is_complete`, then accept or reject it."""

    def __init__(self, max_message_bytes: int, *, compression: bool) -> None:
        self._protocol = ServerUpgrade(
            max_size=max_message_bytes, extensions=ACCEPTED if compression else None, logger=_silent
        )
        self._in_target = True
        self._line_ends = LineEndReader()
        self.protocol = WebSocketProtocol(self._protocol)

    def receive_data(self, data: bytes) -> None:
        """Pass received bytes, b"" at the end of the stream.

        Raises UpgradeError if it is no request, or if what follows it has already ended the connection: a
        client must wait for the response before it sends anything else (RFC 6455, 4.1).
        """
        if self._in_target:
            # Stations send paths that are not ASCII, which the parser rejects: percent-encode them.
            target, newline, rest = data.partition(b"\n")
            data = quote_from_bytes(target, _ASCII).encode() + newline + rest
            self._in_target = not newline
        self.protocol.receive_data(self._line_ends.convert(data))
        _raise_failure(self._protocol, data)
        if self.is_complete and self.protocol.is_send_closed:
            # The library reads what follows the request as frames: an invalid one, or a close frame, has
            # closed its sending side, so that it can send no response any more.
            raise UpgradeError("the peer sent data before the response to its upgrade request")

    @property
    def is_complete(self) -> bool:
        """True once the whole request has come."""
        return self.protocol.head is not None

    @property
    def target(self) -> str:
        """Path and query as sent, bytes above ASCII percent-encoded."""
        return self._request.path

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as sent."""
        return [(name.encode(), value.encode("latin-1")) for name, value in self._request.headers.raw_items()]

    @property
    def subprotocols(self) -> list[str]:
        """The offered subprotocols, the station's preferred one first."""
        lines = self._request.headers.get_all("Sec-WebSocket-Protocol")
        return [name.strip() for line in lines for name in line.split(",")]

    @property
    def _request(self) -> Request:
        assert isinstance(self.protocol.head, Request)
        return self.protocol.head

    def accept(self, subprotocol: str | None) -> Response:
        """Accept the request; the response has another status than 101 if it is no valid upgrade."""
        self._protocol.chosen = None if subprotocol is None else Subprotocol(subprotocol)
        answer = self._protocol.accept(self._request)
        if answer.status_code in (HTTPStatus.UPGRADE_REQUIRED, HTTPStatus.BAD_REQUEST):
            answer.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, 4.4
        self._protocol.send_response(answer)
        return answer

    def reject(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
        """Reject the request with an HTTP status and the reason as plain text."""
        answer = self._protocol.reject(HTTPStatus(status), f"{reason}\n")
        answer.headers.update(headers)
        self._protocol.send_response(answer)
        return answer


class UpgradeOffer:
    """Our upgrade request to a backend: pass its answer until `is_complete`.

    `subprotocols` are offered in this order; the backend chooses one.
    """

    def __init__(
        self,
        url: str,
        subprotocols: Sequence[str],
        authorization: bytes | None,
        max_message_bytes: int,
        *,
        compression: CompressionOffer,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._protocol = ClientUpgrade(
            parse_uri(url),
            subprotocols=[Subprotocol(each) for each in subprotocols],
            max_size=max_message_bytes,
            extensions=compression.value or None,
            logger=_silent,
        )
        self._subprotocols = subprotocols
        request = self._protocol.connect()
        request.headers.update(headers)
        if authorization is not None:
            request.headers["Authorization"] = authorization.decode("latin-1")
        self._protocol.send_request(request)
        self._line_ends = LineEndReader()
        self.protocol = WebSocketProtocol(self._protocol)

    def receive_data(self, data: bytes) -> None:
        """Pass received bytes, b"" at the end of the stream. Raises UpgradeError if it cannot succeed."""
        self.protocol.receive_data(self._line_ends.convert(data))
        is_extension = self._protocol.has_invalid_extension
        is_version = self._protocol.has_invalid_subprotocol
        if is_extension or is_version:
            reason = bounded_text(str(self._protocol.handshake_exc))
            raise UpgradeError(reason, is_extension=is_extension, is_version=is_version)
        _raise_failure(self._protocol, data)
        if self.is_complete and self._protocol.subprotocol not in self._subprotocols:
            raise UpgradeError(f"it does not support {' or '.join(self._subprotocols)}", is_version=True)

    @property
    def server(self) -> tuple[str, int]:
        """Host and port of the URL; the port is the one of its scheme where it names none."""
        uri = self._protocol.uri
        return uri.host, uri.port

    @property
    def is_complete(self) -> bool:
        """True once the WebSocket is open."""
        return self.protocol.head is not None

    @property
    def subprotocol(self) -> str:
        """The subprotocol that the backend has chosen."""
        return str(self._protocol.subprotocol)


def basic_authorization(user: str, password: bytes) -> bytes:
    """Return the value of an Authorization header of Basic authentication (RFC 7617)."""
    return b"Basic " + base64.b64encode(user.encode() + b":" + password)


class _UpgradedProtocol(Protocol):
    """Protocol in which a peer may close in the middle of its message (RFC 6455, 5.4).

    Its peer is sent the name of the key that bounds a message that was too long.
    """

    def fail(self, code: CloseCode | int, reason: str = "") -> None:
        """Fail the connection; see Protocol."""
        if code == CloseCode.MESSAGE_TOO_BIG:
            reason = f"message longer than {self.max_message_size} bytes (max_message_bytes)"
        super().fail(code, reason)

    def recv_frame(self, frame: Frame) -> None:
        """Clear the size of an unfinished message when a close frame comes."""
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class ServerUpgrade(_UpgradedProtocol, ServerProtocol):
    """Server that answers with the `chosen` subprotocol: names that stations send may not be tokens."""

    chosen: Subprotocol | None = None

    def process_subprotocol(self, headers: Headers) -> Subprotocol | None:
        """Return the chosen subprotocol."""
        return self.chosen


class ClientUpgrade(_UpgradedProtocol, ClientProtocol):
    """Client that stores which part of the answer it could not accept."""

    has_invalid_extension = False
    has_invalid_subprotocol = False

    def process_extensions(self, headers: Headers) -> list[Extension]:
        """Read the accepted extensions; see ClientProtocol."""
        self.has_invalid_extension = True
        extensions = super().process_extensions(headers)
        self.has_invalid_extension = False
        return extensions

    def process_subprotocol(self, headers: Headers) -> Subprotocol | None:
        """Read the chosen subprotocol; see ClientProtocol."""
        self.has_invalid_subprotocol = True
        subprotocol = super().process_subprotocol(headers)
        self.has_invalid_subprotocol = False
        return subprotocol


def _raise_failure(protocol: Protocol, data: bytes) -> None:
    failed = protocol.handshake_exc
    if isinstance(failed, InvalidStatus):
        status = failed.response.status_code
        raise UpgradeError(f"it refused the link with HTTP status {status}", failed.response)
    if failed is not None and not data:
        raise UpgradeError("the peer closed the connection during the handshake")
    if failed is not None:
        raise UpgradeError(bounded_text(str(failed.__cause__ or failed)))


_ASCII = "".join(map(chr, range(128)))
