"""HTTP/1.1 server of the page under trio, plain or over TLS; the protocol is h11's.

An error of a client, or of one response, ends that connection and nothing else.
"""

from __future__ import annotations

import logging
import math
import ssl
from collections import Counter
from collections.abc import Callable, Sequence
from email.utils import formatdate
from typing import Protocol

import h11
import msgspec
import trio

from controller.web.http_messages import (
    TEXT,
    ProblemError,
    Response,
    StreamResponse,
    WebError,
    WebRequest,
    split_target,
)

log = logging.getLogger("controller.web")

MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 32
"""Open connections, of all addresses and of one. For one more, the longest silent one is closed."""

MOST_HEADER_BYTES = 16_384
MOST_BODY_BYTES = 65_536
MOST_FILE_BYTES = 1_500_000
"""Longest bodies: of all requests, and of those with a whole configuration file."""
FILE_PATHS = ("/api/v1/configuration/check", "/api/v1/commands/configuration.write")
MOST_STREAMS = 24
"""Live streams at a time; each is a connection of its own."""
TIMEOUT_S = 20.0
"""Time from one response of a connection to the next, its request included."""

REPORT_PERIOD_S = 60.0
"""Closed connections are logged at most once a period."""

CHUNK_BYTES = 4096

COMMON_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class WebServerError(WebError):
    """The page's port cannot be opened. Its text names the place and the remedy."""


class WebSettings(msgspec.Struct, frozen=True):
    """Address of the page; `tls` returns the context for a handshake at a monotonic time, None: plain."""

    host: str
    port: int
    tls: Callable[[float], ssl.SSLContext] | None = None


class Responder(Protocol):
    """Maker of responses: the WebRoutes."""

    async def respond(self, request: WebRequest) -> Response | StreamResponse:
        """Return the response to a request."""


async def serve_web(
    settings: WebSettings,
    responder: Responder,
    opened: Sequence[trio.SocketListener] | None = None,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Answer requests until cancelled; `opened`: listeners that exist already.

    Starts with the bound port. Raises WebServerError if the port cannot be opened.
    """
    listeners = list(opened or ())
    try:
        if not listeners:
            listeners = list(await trio.open_tcp_listeners(settings.port, host=settings.host))
    except OSError as error:
        raise WebServerError(
            f"web: {settings.host}:{settings.port} cannot be opened: {error.strerror or error}; "
            "stop what uses it or set another web.port"
        ) from error
    visitors = _Visitors(responder, settings.tls)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, visitors.accept, listeners)
        task_status.started(listeners[0].socket.getsockname()[1])


class _Visitors:
    """The open connections, in the order of their last response."""

    def __init__(self, responder: Responder, tls: Callable[[float], ssl.SSLContext] | None) -> None:
        self._responder = responder
        self._tls = tls
        self._streams = trio.CapacityLimiter(MOST_STREAMS)
        self._open: dict[_Connection, str] = {}
        self._closed = 0
        self._reported_at = -REPORT_PERIOD_S

    async def accept(self, stream: trio.SocketStream) -> None:
        try:
            address = str(stream.socket.getpeername()[0])
        except OSError:  # it has left already
            await trio.aclose_forcefully(stream)
            return
        transport: trio.abc.Stream = stream
        if self._tls is not None:
            context = self._tls(trio.current_time())
            transport = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        connection = _Connection(
            transport,
            self._responder,
            self._on_response,
            address,
            streams=self._streams,
            is_secure=self._tls is not None,
        )
        self._make_room(address)
        self._open[connection] = address
        try:
            await connection.serve()
            await trio.aclose_forcefully(transport)
        finally:
            self._open.pop(connection, None)

    def _on_response(self, connection: _Connection) -> None:
        """Move a connection behind those that are silent for longer."""
        if connection in self._open:
            self._open[connection] = self._open.pop(connection)

    def _make_room(self, address: str) -> None:
        """Close the longest silent connection, of this address if that has too many.

        So silent connections cannot lock a visitor out, wherever they come from.
        """
        of_address = Counter(self._open.values())[address]
        if of_address >= MOST_PER_ADDRESS:
            victim = next(each for each, owner in self._open.items() if owner == address)
        elif len(self._open) >= MOST_CONNECTIONS:
            victim = next(iter(self._open))
        else:
            return
        del self._open[victim]
        victim.close()
        self._closed += 1
        now = trio.current_time()
        if now - self._reported_at >= REPORT_PERIOD_S:
            log.warning(
                "web connections closed for newer ones count=%d most=%d address=%s",
                self._closed,
                MOST_CONNECTIONS,
                address,
            )
            self._closed, self._reported_at = 0, now


class _Connection:
    """One client's connection: requests one after the other until it ends or times out."""

    def __init__(
        self,
        stream: trio.abc.Stream,
        responder: Responder,
        on_response: OnResponse,
        peer: str = "",
        *,
        streams: trio.CapacityLimiter | None = None,
        is_secure: bool = False,
    ) -> None:
        self._stream = stream
        self._responder = responder
        self._on_response = on_response
        self._peer = peer
        self._streams = streams or trio.CapacityLimiter(1)
        self._is_secure = is_secure
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)
        self._scope = trio.CancelScope()

    def close(self) -> None:
        """End the connection at once."""
        self._scope.cancel()

    async def serve(self) -> None:
        """Answer until the client leaves, breaks the protocol, or is silent for TIMEOUT_S."""
        try:
            with self._scope as scope:
                scope.deadline = trio.current_time() + TIMEOUT_S
                while await self._answer_request():
                    self._on_response(self)
                    scope.deadline = trio.current_time() + TIMEOUT_S
        except (trio.BrokenResourceError, trio.ClosedResourceError, h11.LocalProtocolError) as error:
            log.debug("web connection lost reason=%s", error)

    async def _answer_request(self) -> bool:
        """Answer one request; returns whether another may follow."""
        try:
            request = await self._next_event()
            if not isinstance(request, h11.Request):
                return False
            try:
                response = await self._respond(request)
            except ProblemError as problem:
                response = problem.response()
            if isinstance(response, StreamResponse):
                await self._send_stream(response)
                return False
            await self._send(response, with_body=request.method != b"HEAD")
            if self._http.their_state is not h11.DONE:  # a body that was not read
                return False
        except h11.RemoteProtocolError as error:
            await self._reject(error)
            return False
        if self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    async def _respond(self, head: h11.Request) -> Response | StreamResponse:
        """Read the body and return the response. Raises ProblemError."""
        method, target = head.method.decode("ascii"), head.target.decode("ascii")
        try:
            path, query = split_target(target)
        except ValueError as error:
            raise ProblemError(400, f"the address cannot be read: {error}") from error
        headers = {name.decode("ascii"): value.decode("latin-1") for name, value in head.headers}
        request = WebRequest(
            method=method,
            path=path,
            query=query,
            headers=headers,
            body=await self._read_body(MOST_FILE_BYTES if path in FILE_PATHS else MOST_BODY_BYTES),
            peer=self._peer,
            is_secure=self._is_secure,
            now=trio.current_time(),
        )
        try:
            return await self._responder.respond(request)
        except ProblemError:
            raise
        except Exception:
            log.exception("web response failed method=%s target=%s", method, path)
            return Response(500, TEXT, b"the controller's log has the reason\n")

    async def _read_body(self, most: int) -> bytes:
        """Return the request's body. Raises ProblemError if it is too long."""
        body = bytearray()
        while True:
            event = await self._next_event()
            if isinstance(event, h11.Data):
                body += event.data
                if len(body) > most:
                    raise ProblemError(
                        413, f"the body is longer than {most} bytes", (("Connection", "close"),)
                    )
            elif isinstance(event, h11.EndOfMessage):
                return bytes(body)
            else:
                raise h11.RemoteProtocolError("the request is incomplete", error_status_hint=400)

    async def _reject(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(Response(error.error_status_hint, TEXT, f"{error}\n".encode()), with_body=True)

    async def _next_event(self) -> h11.Event | None:
        """Return the client's next event; None if it sends more before it has its response."""
        while True:
            event = self._http.next_event()
            if isinstance(event, h11.Event):
                return event
            if event is h11.PAUSED:
                return None
            if self._http.they_are_waiting_for_100_continue:
                await self._send_events([h11.InformationalResponse(status_code=100, headers=[])])
            self._http.receive_data(bytes(await self._stream.receive_some(CHUNK_BYTES)))

    async def _send(self, response: Response, *, with_body: bool) -> None:
        headers = [*self._headers(response.content_type), ("Content-Length", str(len(response.body)))]
        given = {name for name, _ in response.headers}
        headers = [each for each in headers if each[0] not in given] + list(response.headers)
        parts: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if with_body:
            parts.append(h11.Data(data=response.body))
        parts.append(h11.EndOfMessage())
        await self._send_events(parts)

    async def _send_stream(self, response: StreamResponse) -> None:
        """Send a stream until it ends, the client leaves, or the client does not read for TIMEOUT_S."""
        try:
            self._streams.acquire_on_behalf_of_nowait(self)
        except trio.WouldBlock:
            problem = ProblemError(503, "too many live streams are open", (("Retry-After", "30"),))
            await self._send(problem.response(), with_body=True)
            return
        try:
            headers = [*self._headers(response.content_type), ("Connection", "close")]
            await self._send_events([h11.Response(status_code=200, headers=headers)])
            while True:
                self._scope.deadline = math.inf
                chunk = await response.source.next_chunk()
                if chunk is None:
                    break
                self._scope.deadline = trio.current_time() + TIMEOUT_S
                self._on_response(self)
                await self._send_events([h11.Data(data=chunk)])
            self._scope.deadline = trio.current_time() + TIMEOUT_S
            await self._send_events([h11.EndOfMessage()])
        finally:
            self._streams.release_on_behalf_of(self)

    def _headers(self, content_type: str) -> list[tuple[str, str]]:
        return [("Date", formatdate(usegmt=True)), ("Content-Type", content_type), *COMMON_HEADERS]

    async def _send_events(self, events: Sequence[h11.Event]) -> None:
        await self._stream.send_all(b"".join(self._http.send(event) or b"" for event in events))


OnResponse = Callable[[_Connection], None]
