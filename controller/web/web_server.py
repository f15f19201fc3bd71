"""HTTP/1.1 server of the page under trio; the protocol is h11's, the responses are those of `web_routes`.

An error of a client, or of one response, ends that connection and nothing else.
"""

from __future__ import annotations

import logging
import socket
from collections import Counter
from collections.abc import Callable
from email.utils import formatdate

import h11
import msgspec
import trio

from controller.web.web_routes import TEXT, ReadStatus, Response, WebRoutes

log = logging.getLogger("controller.web")

MOST_CONNECTIONS = 64
MOST_PER_ADDRESS = 32
"""Open connections, of all addresses and of one. For one more, the longest silent one is closed."""

MOST_HEADER_BYTES = 16_384
TIMEOUT_S = 20.0
"""How long a connection may take from one response to the next, its request included."""

REPORT_PERIOD_S = 60.0
"""Closed connections are logged at most once a period."""

CHUNK_BYTES = 4096

COMMON_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class WebServerError(Exception):
    """The page's port cannot be opened. Its text names the place and the remedy."""


class WebSettings(msgspec.Struct, frozen=True):
    """Address of the page, and the host names under which it is reached."""

    host: str
    port: int
    names: tuple[str, ...] = ()


async def serve_web(settings: WebSettings, read: ReadStatus, *, task_status: trio.TaskStatus[int]) -> None:
    """Answer requests until cancelled; `read` returns the controller's status.

    Starts with the bound port. Raises WebServerError if the port cannot be opened.
    """
    try:
        listeners = await trio.open_tcp_listeners(settings.port, host=settings.host)
    except OSError as error:
        raise WebServerError(
            f"web: {settings.host}:{settings.port} cannot be opened: {error.strerror or error}; "
            "stop what uses it or set another web.port"
        ) from error
    own_name = socket.gethostname()
    names = (*settings.names, settings.host, own_name, f"{own_name}.local")
    visitors = _Visitors(WebRoutes(read, names))
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, visitors.accept, listeners)
        task_status.started(listeners[0].socket.getsockname()[1])


class _Visitors:
    """The open connections, in the order of their last response."""

    def __init__(self, routes: WebRoutes) -> None:
        self._routes = routes
        self._open: dict[_Connection, str] = {}
        self._closed = 0
        self._reported_at = -REPORT_PERIOD_S

    async def accept(self, stream: trio.SocketStream) -> None:
        address = str(stream.socket.getpeername()[0])
        connection = _Connection(stream, self._routes, self._on_response)
        self._make_room(address)
        self._open[connection] = address
        try:
            async with stream:
                await connection.serve()
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

    def __init__(self, stream: trio.abc.Stream, routes: WebRoutes, on_response: OnResponse) -> None:
        self._stream = stream
        self._routes = routes
        self._on_response = on_response
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
        except (trio.BrokenResourceError, h11.LocalProtocolError) as error:
            log.debug("web connection lost reason=%s", error)

    async def _answer_request(self) -> bool:
        """Answer one request; returns whether another may follow."""
        try:
            request = await self._next_event()
            if not isinstance(request, h11.Request):
                return False
            method = request.method.decode("ascii")
            await self._send(self._respond(request), with_body=method != "HEAD")
            # A request body is never read: no address takes one.
            if not isinstance(await self._next_event(), h11.EndOfMessage):
                return False
        except h11.RemoteProtocolError as error:
            await self._reject(error)
            return False
        if self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _respond(self, request: h11.Request) -> Response:
        method, target = request.method.decode("ascii"), request.target.decode("ascii")
        host = next((value.decode("latin-1") for name, value in request.headers if name == b"host"), "")
        try:
            return self._routes.respond(method, target, host, trio.current_time())
        except Exception:
            log.exception("web response failed method=%s target=%s", method, target)
            return Response(500, TEXT, b"the controller's log has the reason\n")

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
            self._http.receive_data(bytes(await self._stream.receive_some(CHUNK_BYTES)))

    async def _send(self, response: Response, *, with_body: bool) -> None:
        headers = [
            ("Date", formatdate(usegmt=True)),
            ("Content-Type", response.content_type),
            ("Content-Length", str(len(response.body))),
            *COMMON_HEADERS,
            *response.headers,
        ]
        parts: list[h11.Event] = [h11.Response(status_code=response.status, headers=headers)]
        if with_body:
            parts.append(h11.Data(data=response.body))
        parts.append(h11.EndOfMessage())
        await self._stream.send_all(b"".join(self._http.send(part) or b"" for part in parts))


OnResponse = Callable[[_Connection], None]
