"""Where stations connect: listeners, TLS, the upgrade, and one link a station."""

from __future__ import annotations

import logging
import ssl
from collections.abc import Awaitable, Callable

import msgspec
import trio

from controller.stations.admission import (
    Admission,
    AdmissionRules,
    NoCommonProtocol,
    PasswordUnverified,
    Rejection,
    judge,
)
from controller.stations.certificate_identity import names_in
from controller.stations.connection_stats import ConnectionStats
from controller.stations.password_verifier import PasswordVerifier
from controller.transport.byte_transport import ByteTransport, cause
from controller.transport.http_upgrade import SWITCHING, UpgradeError, UpgradeRequest
from controller.transport.tls import RenewedContext
from controller.transport.token_bucket import AddressCounter, TokenBucket
from controller.transport.websocket_connection import READ, ConnectionLostError, WebSocketConnection

log = logging.getLogger("controller.transport")

HANDSHAKE_S = 10.0
"""How long a peer may take for its TLS handshake and its upgrade request together, once it is its turn."""

LONGEST_TURN_S = 30.0
"""How long a connection may stand in line for its handshake: stations give up after about that."""

CHALLENGE = (("WWW-Authenticate", 'Basic realm="ocpp"'),)
"""What a 401 comes with (RFC 7617, 2)."""

PROTOCOL_ERROR = 1002
"""WebSocket close code (RFC 6455, 7.4.1)."""


class ListenError(Exception):
    """The stations' port cannot be opened. Its text names the place and the mend."""


class ListenSettings(msgspec.Struct, frozen=True):
    """Where stations connect; `tls` None for plain ws://. A limit of 0 is none."""

    host: str
    port: int
    tls: RenewedContext | None
    max_message_bytes: int
    connections_per_address: int = 0
    handshakes_per_second: float = 0
    compression: bool = True


Serve = Callable[[Admission, WebSocketConnection], Awaitable[None]]


async def serve_stations(
    listening: ListenSettings,
    door: AdmissionRules,
    serve: Serve,
    tally: ConnectionStats,
    *,
    task_status: trio.TaskStatus[int],
) -> None:
    """Accept stations until cancelled; `serve` runs for each, in its own task. `tally` counts them.

    Starts with the bound port. Raises ListenFailed where the port cannot be opened.
    """
    try:
        listeners = await trio.open_tcp_listeners(listening.port, host=listening.host)
    except OSError as error:
        place = f"{listening.host}:{listening.port}"
        raise ListenError(
            f"listen: {place} cannot be opened: {error.strerror or error}; "
            "stop what uses it or set another listen.port"
        ) from error
    port = listeners[0].socket.getsockname()[1]
    reception = _Listener(listening, door, serve, tally)
    async with trio.open_nursery() as nursery:
        await nursery.start(trio.serve_listeners, reception.receive, listeners)
        task_status.started(port)


class _Listener:
    """What becomes of each connection, up to the link that is served."""

    def __init__(
        self, listening: ListenSettings, door: AdmissionRules, serve: Serve, tally: ConnectionStats
    ) -> None:
        self._listening = listening
        self._door = door
        self._serve = serve
        self._tally = tally
        self._passwords = PasswordVerifier()
        self._addresses = AddressCounter(listening.connections_per_address)
        rate = listening.handshakes_per_second
        self._turns = TokenBucket(rate, burst=max(1, int(rate)))

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
                    peer,
                    address,
                    limit,
                )
            return
        try:
            if await self._its_turn(peer):
                await self._guarded(stream, peer)
        finally:
            self._addresses.leave(address)

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
            transport = ByteTransport(stream)
            try:
                with trio.move_on_after(HANDSHAKE_S) as patience:
                    certified = await self._secured(transport)
                    asked = await self._asked(transport)
                if patience.cancelled_caught:
                    log.info("%s: no upgrade request within %g s: closed", peer, HANDSHAKE_S)
                else:
                    await self._answer(transport, asked, peer, certified)
            finally:
                transport.close()
        except* _TlsHandshakeError as refused:
            self._tally.refused += 1
            log.warning("%s: no TLS: %s", peer, refused.exceptions[0])
        except* (UpgradeError, ConnectionLostError, OSError) as lost:
            log.info("%s: connection lost: %s", peer, lost.exceptions[0])
        except* Exception as error:  # one station's trouble is no other's, whatever it is
            log.exception("%s: connection closed after an error", peer, exc_info=error)

    async def _secured(self, transport: ByteTransport) -> tuple[str, ...] | None:
        """Through TLS, where we want it: the names of the peer's certificate, where it had to show one."""
        tls = self._listening.tls
        if tls is None:
            return None
        context = tls.current(trio.current_time())
        try:
            await transport.secure(context, server_side=True)
        except OSError as error:
            raise _TlsHandshakeError(cause(error)) from error
        return names_in(transport.certificate) if context.verify_mode is ssl.CERT_REQUIRED else None

    async def _asked(self, transport: ByteTransport) -> UpgradeRequest:
        """The whole upgrade request."""
        asked = UpgradeRequest(self._listening.max_message_bytes, compression=self._listening.compression)
        while not asked.is_complete:
            try:
                asked.feed(await transport.receive_some(READ))
            except UpgradeError:
                await transport.send_all(asked.wire.take())  # what the request is too long for is told
                raise
        return asked

    async def _answer(
        self, transport: ByteTransport, asked: UpgradeRequest, peer: str, certified: tuple[str, ...] | None
    ) -> None:
        door = self._door
        verdict = judge(door, asked.target, asked.headers, asked.offered, certified)
        if isinstance(verdict, PasswordUnverified):
            verdict = await self._passwords.settle(verdict)
        if isinstance(verdict, Rejection):
            answer = asked.reject(verdict.status, verdict.reason, CHALLENGE if verdict.status == 401 else ())
        else:
            answer = asked.accept(verdict.subprotocol if isinstance(verdict, Admission) else None)
        await transport.send_all(asked.wire.take())
        if answer.status_code == SWITCHING and not isinstance(verdict, Rejection):
            await self._open(verdict, transport, asked, peer)
            return
        self._tally.refused += 1
        named = isinstance(verdict, Rejection) and verdict.station
        who = f"station {named} " if named else ""
        reason = bytes(answer.body).decode().partition("\n")[0]
        log.warning("%s: %srefused with %d: %s", peer, who, answer.status_code, reason)
        transport.end()

    async def _open(
        self,
        verdict: Admission | NoCommonProtocol,
        transport: ByteTransport,
        asked: UpgradeRequest,
        peer: str,
    ) -> None:
        """Serve the open WebSocket, or close it where there is nothing to say over it."""
        async with trio.open_nursery() as nursery:
            link = WebSocketConnection(nursery, transport, asked.wire)
            match verdict:
                case Admission(station, version):
                    self._tally.accepted += 1
                    log.info("station %s connected from %s with %s", station, peer, version.value)
                    await self._serve(verdict, link)
                case NoCommonProtocol(station):
                    self._tally.refused += 1
                    ours = ", ".join(self._door.protocols)
                    log.warning("%s: closed, station %s %s; we speak %s", peer, station, verdict.reason, ours)
                    await link.close(PROTOCOL_ERROR, f"no common OCPP version; offer one of {ours}")
            nursery.cancel_scope.cancel()


class _TlsHandshakeError(Exception):
    """The TLS handshake came to nothing. Its text says why."""


def _peer(stream: trio.SocketStream) -> tuple[str, str]:
    """The address that a connection is from, and with its port."""
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "", "a peer that is gone"
    return host, f"{host}:{port}"
