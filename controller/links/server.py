"""Where stations connect: listeners, TLS, the upgrade, and one link a station."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, wrap_server_stream

from controller.links.engine import Link
from controller.links.handshake import Admitted, Door, NoCommonProtocol, Refused, judge
from controller.links.tally import Tally

log = logging.getLogger("controller.links")

HANDSHAKE_S = 10.0
"""How long a peer may take from its TCP connection to its upgrade request."""

PROTOCOL_ERROR = 1002
"""WebSocket close code (RFC 6455, 7.4.1)."""


class ListenFailed(Exception):
    """The stations' port cannot be opened. Its text names the place and the mend."""


class Listening(msgspec.Struct, frozen=True):
    """Where stations connect; `tls` None for plain ws://."""

    host: str
    port: int
    tls: ssl.SSLContext | None
    max_message_bytes: int


Serve = Callable[[Admitted, Link], Awaitable[None]]


async def serve_stations(
    listening: Listening, door: Door, serve: Serve, tally: Tally, *, task_status: trio.TaskStatus[int]
) -> None:
    """Accept stations until cancelled; `serve` runs for each, in its own task. `tally` counts them.

    Starts with the bound port. Raises ListenFailed where the port cannot be opened.
    """
    try:
        listeners = await trio.open_tcp_listeners(listening.port, host=listening.host)
    except OSError as error:
        place = f"{listening.host}:{listening.port}"
        raise ListenFailed(
            f"listen: {place} cannot be opened: {error.strerror or error}; "
            "stop what uses it or set another listen.port"
        ) from error
    port = listeners[0].socket.getsockname()[1]

    async def accept(stream: trio.SocketStream) -> None:
        await _accept(stream, listening, door, serve, tally)

    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, accept, listeners)
        task_status.started(port)


async def _accept(
    stream: trio.SocketStream, listening: Listening, door: Door, serve: Serve, tally: Tally
) -> None:
    """One connection, behind a barrier: whatever its peer does wrong is not the site's trouble."""
    peer = _peer(stream)
    transport: trio.abc.Stream = stream
    if listening.tls is not None:
        transport = trio.SSLStream(stream, listening.tls, server_side=True, https_compatible=True)
    try:
        async with trio.open_nursery() as nursery:
            with trio.move_on_after(HANDSHAKE_S) as patience:
                request = await wrap_server_stream(
                    nursery, transport, max_message_size=listening.max_message_bytes
                )
            if patience.cancelled_caught:
                log.info("%s: no upgrade request within %g s: closed", peer, HANDSHAKE_S)
            else:
                await _answer(request, peer, door, serve, tally)
            nursery.cancel_scope.cancel()
    except* (ConnectionClosed, OSError, trio.BrokenResourceError) as lost:
        log.info("%s: connection lost: %s", peer, lost.exceptions[0])
    except* Exception as error:  # the engine has exceptions of many kinds for what peers may send
        log.exception("%s: connection closed after an error", peer, exc_info=error)
    finally:
        with trio.move_on_after(1, shield=True):
            await trio.aclose_forcefully(transport)


async def _answer(request: WebSocketRequest, peer: str, door: Door, serve: Serve, tally: Tally) -> None:
    verdict = judge(door, request.path, request.headers, request.proposed_subprotocols)
    if isinstance(verdict, Admitted):
        tally.accepted += 1
    else:
        tally.refused += 1
    match verdict:
        case Refused(status, reason, station):
            log.warning(
                "%s: %srefused with %d: %s", peer, f"station {station} " if station else "", status, reason
            )
            headers = [(b"Content-Type", b"text/plain; charset=utf-8")]
            if status == 401:
                headers.append((b"WWW-Authenticate", b'Basic realm="ocpp"'))
            await request.reject(status, extra_headers=headers, body=f"{reason}\n".encode())
        case NoCommonProtocol(station, offered):
            ours = ", ".join(door.protocols)
            log.warning(
                "%s: station %s offers %s, we speak %s: closed",
                peer,
                station,
                ", ".join(offered) or "no OCPP version",
                ours,
            )
            socket = await request.accept()
            await Link(socket).close(PROTOCOL_ERROR, f"no common OCPP version; offer one of {ours}")
        case Admitted(station, version):
            socket = await request.accept(subprotocol=version)
            log.info("station %s connected from %s with %s", station, peer, version.value)
            await serve(verdict, Link(socket))


def _peer(stream: trio.SocketStream) -> str:
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "a peer that is gone"
    return f"{host}:{port}"
