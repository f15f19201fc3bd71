"""HTTP/1.1 under trio, in the controller's own nursery. The protocol is h11's, the answers are `routes`'.

Whatever a browser does wrong, and whatever goes wrong in an answer, is not the site's trouble: it ends
that connection, and nothing else.
"""

from __future__ import annotations

import logging
from email.utils import formatdate

import h11
import msgspec
import trio

from controller.web.web_routes import TEXT, ReadStatus, Response, respond

log = logging.getLogger("controller.web")

MOST_CONNECTIONS = 64
"""Open at once; one more is closed unheard."""

MOST_HEADER_BYTES = 16_384
PATIENCE_S = 20.0
"""How long a connection may take from one answer to the next, its request included."""

CHUNK_BYTES = 4096

COMMON_HEADERS = (
    ("Cache-Control", "no-store"),
    ("X-Content-Type-Options", "nosniff"),
    ("Referrer-Policy", "no-referrer"),
)


class WebServerError(Exception):
    """The page's port cannot be opened. Its text names the place and the mend."""


class WebSettings(msgspec.Struct, frozen=True):
    """Where the page is served."""

    host: str
    port: int


async def serve_web(serving: WebSettings, read: ReadStatus, *, task_status: trio.TaskStatus[int]) -> None:
    """Answer requests until cancelled; `read` tells the controller's status.

    Starts with the bound port. Raises WebFailed where the port cannot be opened.
    """
    try:
        listeners = await trio.open_tcp_listeners(serving.port, host=serving.host)
    except OSError as error:
        raise WebServerError(
            f"web: {serving.host}:{serving.port} cannot be opened: {error.strerror or error}; "
            "stop what uses it or set another web.port"
        ) from error
    room = trio.CapacityLimiter(MOST_CONNECTIONS)

    async def accept(stream: trio.SocketStream) -> None:
        async with stream:
            try:
                room.acquire_nowait()
            except trio.WouldBlock:
                log.warning("%d connections are open: one more is closed", MOST_CONNECTIONS)
                return
            try:
                await _Connection(stream, read).serve()
            finally:
                room.release()

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, accept, listeners)
        task_status.started(listeners[0].socket.getsockname()[1])


class _Connection:
    """One browser's connection: requests one after the other, until it or its time is over."""

    def __init__(self, stream: trio.abc.Stream, read: ReadStatus) -> None:
        self._stream = stream
        self._read = read
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MOST_HEADER_BYTES)

    async def serve(self) -> None:
        """Answer until the peer goes, breaks the protocol, or is silent for PATIENCE_S."""
        try:
            with trio.move_on_after(PATIENCE_S) as patience:
                while await self._answer_one():
                    patience.deadline = trio.current_time() + PATIENCE_S
        except (trio.BrokenResourceError, h11.LocalProtocolError) as lost:
            log.debug("a connection is gone: %s", lost)

    async def _answer_one(self) -> bool:
        """One request and its answer; whether there may be another."""
        try:
            request = await self._next_event()
            if not isinstance(request, h11.Request):
                return False
            method, target = request.method.decode("ascii"), request.target.decode("ascii")
            await self._send(self._respond(method, target), with_body=method != "HEAD")
            # A body is never asked for: whoever sends one is answered, and not read.
            if not isinstance(await self._next_event(), h11.EndOfMessage):
                return False
        except h11.RemoteProtocolError as error:
            await self._refuse(error)
            return False
        if self._http.our_state is not h11.DONE:
            return False
        self._http.start_next_cycle()
        return True

    def _respond(self, method: str, target: str) -> Response:
        try:
            return respond(method, target, self._read)
        except Exception:
            log.exception("no answer for %s %s", method, target)
            return Response(500, TEXT, b"the controller's log says why\n")

    async def _refuse(self, error: h11.RemoteProtocolError) -> None:
        if self._http.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            await self._send(Response(error.error_status_hint, TEXT, f"{error}\n".encode()), with_body=True)

    async def _next_event(self) -> h11.Event | None:
        """What the peer says next; None where it goes on before it has its answer."""
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
