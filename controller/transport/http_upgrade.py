"""How a WebSocket begins: the HTTP upgrade of either side (RFC 6455, 4), pure."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from http import HTTPStatus
from urllib.parse import quote_from_bytes

from websockets.client import ClientProtocol
from websockets.datastructures import Headers
from websockets.exceptions import InvalidStatus
from websockets.frames import CLOSE, Frame
from websockets.http11 import Request, Response
from websockets.protocol import Protocol
from websockets.server import ServerProtocol
from websockets.typing import Subprotocol
from websockets.uri import parse_uri

from controller.transport.deflate import ACCEPTED, OFFERED
from controller.transport.line_ends import LineEndReader
from controller.transport.websocket_protocol import WebSocketProtocol

_silent = logging.getLogger("controller.transport.protocol")
_silent.setLevel(logging.CRITICAL + 1)  # what it would say is said by those who know whose link it is

SWITCHING = HTTPStatus.SWITCHING_PROTOCOLS


class UpgradeError(Exception):
    """There is no WebSocket. Its text is a person's sentence; `answer` is the HTTP response, if one came."""

    def __init__(self, reason: str, answer: Response | None = None) -> None:
        super().__init__(reason)
        self.answer = answer


class UpgradeRequest:
    """A station asks for a WebSocket: feed it until `is_complete`, then accept or reject."""

    def __init__(self, max_message_bytes: int, *, compression: bool) -> None:
        self._protocol = ServerUpgrade(
            max_size=max_message_bytes, extensions=ACCEPTED if compression else None, logger=_silent
        )
        self._in_target = True
        self._line_ends = LineEndReader()
        self.wire = WebSocketProtocol(self._protocol)

    def feed(self, data: bytes) -> None:
        """What has come; no byte at all is the end. Raises UpgradeFailed where no request can come of it."""
        if self._in_target:
            # Stations in the field leave in their path what is not ASCII: the parser wants it encoded.
            target, newline, rest = data.partition(b"\n")
            data = quote_from_bytes(target, _ASCII).encode() + newline + rest
            self._in_target = not newline
        self.wire.feed(self._line_ends.convert(data))
        _raise_failure(self._protocol, data)

    @property
    def is_complete(self) -> bool:
        """Whether the whole request is there."""
        return self.wire.head is not None

    @property
    def target(self) -> str:
        """Path and query as they were sent."""
        return self._request.path

    @property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """Names and values as they were sent."""
        return [(name.encode(), value.encode("latin-1")) for name, value in self._request.headers.raw_items()]

    @property
    def offered(self) -> list[str]:
        """The subprotocols, the station's favourite first."""
        lines = self._request.headers.get_all("Sec-WebSocket-Protocol")
        return [name.strip() for line in lines for name in line.split(",")]

    @property
    def _request(self) -> Request:
        assert isinstance(self.wire.head, Request)
        return self.wire.head

    def accept(self, subprotocol: str | None) -> Response:
        """Open the WebSocket; or say, with another status than 101, why the request asks for none."""
        self._protocol.chosen = None if subprotocol is None else Subprotocol(subprotocol)
        answer = self._protocol.accept(self._request)
        if answer.status_code in (HTTPStatus.UPGRADE_REQUIRED, HTTPStatus.BAD_REQUEST):
            answer.headers["Sec-WebSocket-Version"] = "13"  # RFC 6455, 4.4
        self._protocol.send_response(answer)
        return answer

    def reject(self, status: int, reason: str, headers: Sequence[tuple[str, str]] = ()) -> Response:
        """Answer with this HTTP status and, as plain text, the reason."""
        answer = self._protocol.reject(HTTPStatus(status), f"{reason}\n")
        answer.headers.update(headers)
        self._protocol.send_response(answer)
        return answer


class UpgradeOffer:
    """We ask a backend for a WebSocket of one subprotocol: feed it until `is_complete`."""

    def __init__(
        self,
        url: str,
        subprotocol: str,
        authorization: bytes | None,
        max_message_bytes: int,
        *,
        compression: bool,
        headers: Sequence[tuple[str, str]] = (),
    ) -> None:
        self._protocol = ClientUpgrade(
            parse_uri(url),
            subprotocols=[Subprotocol(subprotocol)],
            max_size=max_message_bytes,
            extensions=OFFERED if compression else None,
            logger=_silent,
        )
        self._subprotocol = subprotocol
        request = self._protocol.connect()
        request.headers.update(headers)
        if authorization is not None:
            request.headers["Authorization"] = authorization.decode("latin-1")
        self._protocol.send_request(request)
        self._line_ends = LineEndReader()
        self.wire = WebSocketProtocol(self._protocol)

    def feed(self, data: bytes) -> None:
        """What has come; no byte at all is the end. Raises UpgradeFailed where it is no WebSocket of ours."""
        self.wire.feed(self._line_ends.convert(data))
        _raise_failure(self._protocol, data)
        if self.is_complete and self._protocol.subprotocol != self._subprotocol:
            raise UpgradeError(f"it does not speak {self._subprotocol}")

    @property
    def is_complete(self) -> bool:
        """Whether the WebSocket is open."""
        return self.wire.head is not None


class _MayCloseAnywhere(Protocol):
    """A peer may close in the middle of its message (RFC 6455, 5.4): it is answered as properly as others."""

    def recv_frame(self, frame: Frame) -> None:
        """See Protocol."""
        if frame.opcode is CLOSE:
            self.current_size = None
        super().recv_frame(frame)


class ServerUpgrade(_MayCloseAnywhere, ServerProtocol):
    """Answers with the subprotocol that was `chosen`: the names that stations send are not always tokens."""

    chosen: Subprotocol | None = None

    def process_subprotocol(self, headers: Headers) -> Subprotocol | None:
        """See ServerProtocol."""
        return self.chosen


class ClientUpgrade(_MayCloseAnywhere, ClientProtocol):
    """As the library has it."""


def _raise_failure(protocol: Protocol, data: bytes) -> None:
    failed = protocol.handshake_exc
    if isinstance(failed, InvalidStatus):
        status = failed.response.status_code
        raise UpgradeError(f"it refused the link with HTTP status {status}", failed.response)
    if failed is not None and not data:
        raise UpgradeError("the peer closed the connection during the handshake")
    if failed is not None:
        raise UpgradeError(str(failed.__cause__ or failed))


_ASCII = "".join(map(chr, range(128)))
