"""Where stations connect: listeners, TLS, the upgrade, and one link a station."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import msgspec
import trio
from trio_websocket import ConnectionClosed, WebSocketRequest, wrap_server_stream

from controller.links.engine import Link
from controller.links.handshake import Admitted, Door, NoCommonProtocol, Refused, Unproven, judge
from controller.links.identity import names_in
from controller.links.pacing import Addresses, Bucket
from controller.links.passwords import Passwords
from controller.links.streams import StreamEnded, WatchedStream, cause
from controller.links.tally import Tally
from controller.links.tls import RenewedContext

log = logging.getLogger("controller.links")

HANDSHAKE_S = 10.0
"""How long a peer may take for its TLS handshake and its upgrade request together, once it is its turn."""

LONGEST_TURN_S = 30.0
"""How long a connection may stand in line for its handshake: stations give up after about that."""

PROTOCOL_ERROR = 1002
"""WebSocket close code (RFC 6455, 7.4.1)."""


class ListenFailed(Exception):
    """The stations' port cannot be opened. Its text names the place and the mend."""


class Listening(msgspec.Struct, frozen=True):
    """Where stations connect; `tls` None for plain ws://. A limit of 0 is none."""

    host: str
    port: int
    tls: RenewedContext | None
    max_message_bytes: int
    connections_per_address: int = 0
    handshakes_per_second: float = 0


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
    reception = _Reception(listening, door, serve, tally)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, reception.receive, listeners)
        task_status.started(port)


class _Reception:
    """What becomes of each connection, up to the link that is served."""

    def __init__(self, listening: Listening, door: Door, serve: Serve, tally: Tally) -> None:
        self._listening = listening
        self._door = door
        self._serve = serve
        self._tally = tally
        self._passwords = Passwords()
        self._addresses = Addresses(listening.connections_per_address)
        rate = listening.handshakes_per_second
        self._turns = Bucket(rate, burst=max(1, int(rate)))

    async def receive(self, stream: trio.SocketStream) -> None:
        """One connection, from its acceptance to its end."""
        address, peer = _peer(stream)
        if not self._addresses.enter(address):
            self._tally.refused += 1
            if self._addresses.worth_a_complaint(address):
                limit = self._listening.connections_per_address
                log.warning(
                    "%s: closed, %s has %d connections already; "
                    "if these are all stations, raise listen.connections_per_address",
                    peer, address, limit,
                )  # fmt: skip
            await trio.aclose_forcefully(stream)
            return
        try:
            if await self._its_turn(peer):
                await self._guarded(stream, peer)
        finally:
            self._addresses.leave(address)
            with trio.move_on_after(1, shield=True):
                await trio.aclose_forcefully(stream)

    async def _its_turn(self, peer: str) -> bool:
        """Wait for the turn of its handshake; False where too many stand in line before it."""
        now = trio.current_time()
        if self._turns.wait_s(now) > LONGEST_TURN_S:
            self._tally.refused += 1
            log.warning(
                "%s: closed, its handshake would have to wait for more than %g s", peer, LONGEST_TURN_S
            )
            return False
        await trio.sleep(self._turns.take(now))
        return True

    async def _guarded(self, stream: trio.SocketStream, peer: str) -> None:
        """Behind a barrier: whatever a peer does wrong is not the site's trouble."""
        try:
            async with trio.open_nursery() as nursery:
                with trio.move_on_after(HANDSHAKE_S) as patience:
                    transport, certified = await self._secured(stream)
                    watched = WatchedStream(transport)
                    most = self._listening.max_message_bytes
                    request = await watched.unless_it_ends(
                        wrap_server_stream(nursery, watched, max_message_size=most)
                    )
                if patience.cancelled_caught:
                    log.info("%s: no upgrade request within %g s: closed", peer, HANDSHAKE_S)
                else:
                    await self._answer(request, peer, certified)
                nursery.cancel_scope.cancel()
        except* _TlsRefused as refused:
            self._tally.refused += 1
            log.warning("%s: no TLS: %s", peer, refused.exceptions[0])
        except* (ConnectionClosed, StreamEnded, OSError, trio.BrokenResourceError) as lost:
            log.info("%s: connection lost: %s", peer, lost.exceptions[0])
        except* Exception as error:  # the engine has exceptions of many kinds for what peers may send
            log.exception("%s: connection closed after an error", peer, exc_info=error)

    async def _secured(self, stream: trio.SocketStream) -> tuple[trio.abc.Stream, tuple[str, ...] | None]:
        """The stream to talk on; and the names of its peer's certificate, where it had to show one."""
        tls = self._listening.tls
        if tls is None:
            return stream, None
        context = tls.current(trio.current_time())
        asked = context.verify_mode is ssl.CERT_REQUIRED
        secure = trio.SSLStream(stream, context, server_side=True, https_compatible=True)
        try:
            await secure.do_handshake()
        except trio.BrokenResourceError as error:
            raise _TlsRefused(cause(error)) from error
        return secure, names_in(secure.getpeercert()) if asked else None

    async def _answer(self, request: WebSocketRequest, peer: str, certified: tuple[str, ...] | None) -> None:
        door = self._door
        verdict = judge(door, request.path, request.headers, request.proposed_subprotocols, certified)
        if isinstance(verdict, Unproven):
            verdict = await self._passwords.settle(verdict)
        if isinstance(verdict, Admitted):
            self._tally.accepted += 1
        else:
            self._tally.refused += 1
        match verdict:
            case Refused():
                await _refuse(request, peer, verdict)
            case NoCommonProtocol(station):
                ours = ", ".join(door.protocols)
                log.warning("%s: closed, station %s %s; we speak %s", peer, station, verdict.reason, ours)
                socket = await request.accept()
                await Link(socket).close(PROTOCOL_ERROR, f"no common OCPP version; offer one of {ours}")
            case Admitted(station, version):
                socket = await request.accept(subprotocol=verdict.subprotocol)
                log.info("station %s connected from %s with %s", station, peer, version.value)
                await self._serve(verdict, Link(socket))


class _TlsRefused(Exception):
    """The TLS handshake came to nothing. Its text says why."""


async def _refuse(request: WebSocketRequest, peer: str, refused: Refused) -> None:
    who = f"station {refused.station} " if refused.station else ""
    log.warning("%s: %srefused with %d: %s", peer, who, refused.status, refused.reason)
    headers = [(b"Content-Type", b"text/plain; charset=utf-8")]
    if refused.status == 401:
        headers.append((b"WWW-Authenticate", b'Basic realm="ocpp"'))
    await request.reject(refused.status, extra_headers=headers, body=f"{refused.reason}\n".encode())


def _peer(stream: trio.SocketStream) -> tuple[str, str]:
    """The address that a connection is from, and with its port."""
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "", "a peer that is gone"
    return host, f"{host}:{port}"
