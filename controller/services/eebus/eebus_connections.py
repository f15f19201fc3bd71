"""WebSockets of SHIP: listening, dialing and TLS; each open one has a name, and the SKI of its peer.

A connection that fails ends by itself and is logged; it disturbs no other.
"""

from __future__ import annotations

import logging
import random
from collections.abc import Callable
from typing import Protocol

import msgspec
import trio
from cryptography import x509

from controller.model.exception_groups import leaves
from controller.model.peer_text import bounded_text
from controller.model.rate_limits import AddressCounter
from controller.services import ServiceError
from controller.transport.http_upgrade import (
    SWITCHING,
    CompressionOffer,
    UpgradeError,
    UpgradeOffer,
    UpgradeRequest,
)
from controller.transport.self_signed_tls import SelfSignedContext, SelfSignedTransport
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError, describe_error
from controller.transport.websocket_connection import READ_BYTES, WebSocketConnection
from drivers.eebus.array_json import EebusError
from drivers.eebus.certificates import ski_of
from drivers.eebus.ship import Role

log = logging.getLogger("controller.eebus")

SUBPROTOCOL = "ship"
FRAGMENT_BYTES = 1024
MOST_MESSAGE_BYTES = 256 * 1024
"""A whole message, its fragments together: a large discovery has a tenth of that."""
HANDSHAKE_S = 10.0
"""Time for TLS and the upgrade."""
PING_S = 50.0
PONG_S = 10.0
MOST_PER_ADDRESS = 8
"""Connections of one address: one that opens many keeps no other from connecting."""
BACK_OFF_S = ((0.0, 3.0), (3.0, 10.0), (10.0, 20.0))
"""Bounds of the random time before each attempt to dial; the last stays (SHIP 1.0.1, 12.2)."""

NORMAL = 1000
LONGEST_REASON = 120
"""Characters of a reason that are logged and sent in the close frame."""
CLOSE_S = 3.0


_FAILURES = (OSError, UpgradeError, EebusError, ConnectionLostError, trio.TooSlowError)
"""Errors that may end the handshake of a faulty peer."""


class EebusListenError(ServiceError):
    """The port of the EEBUS node cannot be opened. Its text names the place and the remedy."""


class Target(msgspec.Struct, frozen=True):
    """Place where a partner can be dialed."""

    host: str
    port: int
    path: str


class ConnectionHandler(Protocol):
    """Receiver of what happens on connections, each with its name."""

    def on_open(self, name: str, role: Role, ski: str) -> None:
        """Process a WebSocket that was opened with the peer of an SKI."""

    async def on_message(self, name: str, message: bytes) -> None:
        """Process a binary message; the next one of the connection is read once this returns."""

    def on_lost(self, name: str) -> None:
        """Process the end of a connection."""


class _Link:
    """One open WebSocket; its scope is cancelled to close it, with this code."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.scope = trio.CancelScope()
        self.code = NORMAL
        self.reason = ""


class EebusConnections:
    """Listener and dialer with one identity (PEM)."""

    def __init__(self, key: bytes, certificate: bytes, handler: ConnectionHandler) -> None:
        self._handler = handler
        self._links: dict[str, _Link] = {}
        self._opened = 0
        self._context = SelfSignedContext(key, certificate, refusal_of)
        self._addresses = AddressCounter(MOST_PER_ADDRESS)

    async def listen(self, host: str, port: int, on_bound: Callable[[int], None]) -> None:
        """Accept connections until cancelled; `on_bound` is called with the port. Raises EebusListenError."""
        try:
            listeners = await trio.open_tcp_listeners(port, host=host)
        except OSError as error:
            raise EebusListenError(
                f"eebus: {host}:{port} cannot be opened: {error.strerror or error}; "
                "stop what uses it or set another eebus.port"
            ) from error
        on_bound(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._accept, listeners)

    async def dial(self, ski: str, target: Target) -> str:
        """Dial a partner and serve the connection until it is lost; return why it was not made, or empty."""
        reason = ""
        try:
            await self._dial(ski, target)
        except* _FAILURES as failed:
            reason = _reasons(failed)
        except* Exception as error:
            log.exception("EEBUS connection closed after an error ski=%s", ski, exc_info=error)
            reason = "internal error"
        return reason

    async def _dial(self, ski: str, target: Target) -> None:
        url = f"wss://{_bracketed(target.host)}:{target.port}{target.path}"
        offer = UpgradeOffer(url, (SUBPROTOCOL,), None, MOST_MESSAGE_BYTES, compression=CompressionOffer.NONE)
        with trio.fail_after(HANDSHAKE_S):
            transport = SelfSignedTransport(await trio.open_tcp_stream(target.host, target.port))
        try:
            with trio.fail_after(HANDSHAKE_S):
                certificate = await transport.secure_mutually(self._context, server_side=False)
                if (found := ski_of(certificate)) != ski:
                    raise ConnectionError(f"the device there has the SKI {found}")
                await transport.send_all(offer.protocol.take_output())
                while not offer.is_complete:
                    offer.receive_data(await transport.receive_some(READ_BYTES))
            offer.protocol.fragment_bytes = FRAGMENT_BYTES
            await self._run(Role.CLIENT, ski, transport, offer)
        finally:
            transport.close()

    def send(self, name: str, message: bytes) -> None:
        """Send a message; a peer that does not read what waits for it is disconnected."""
        link = self._links.get(name)
        if link is None:
            return
        try:
            link.connection.send_nowait(message)
        except SendQueueFullError as full:
            log.warning("EEBUS connection closed name=%s reason=peer does not read: %s", name, full)
            link.scope.cancel()
        except ConnectionLostError:
            link.scope.cancel()

    def close(self, name: str, code: int, reason: str) -> None:
        """Close a connection, after what was sent on it."""
        link = self._links.get(name)
        if link is not None:
            reason = bounded_text(reason, LONGEST_REASON)
            log.info("EEBUS connection closed name=%s reason=%s", name, reason)
            link.code, link.reason = code, reason
            link.scope.cancel()

    @property
    def opened(self) -> int:
        """Connections opened since the start."""
        return self._opened

    async def _accept(self, stream: trio.SocketStream) -> None:
        """Serve one accepted connection behind a barrier: its faults end it alone."""
        address, peer = _peer(stream)
        if not self._addresses.enter(address):
            if self._addresses.should_report(address):
                log.warning("EEBUS connection closed peer=%s reason=%d are open", peer, MOST_PER_ADDRESS)
            await trio.aclose_forcefully(stream)
            return
        try:
            await self._upgrade(stream)
        except* _FAILURES as failed:
            log.warning("EEBUS connection refused peer=%s reason=%s", peer, _reasons(failed))
        except* Exception as error:
            log.exception("EEBUS connection closed after an error peer=%s", peer, exc_info=error)
        finally:
            self._addresses.leave(address)

    async def _upgrade(self, stream: trio.SocketStream) -> None:
        transport = SelfSignedTransport(stream)
        try:
            with trio.fail_after(HANDSHAKE_S):
                certificate = await transport.secure_mutually(self._context, server_side=True)
                request = UpgradeRequest(MOST_MESSAGE_BYTES, compression=False)
                while not request.is_complete:
                    request.receive_data(await transport.receive_some(READ_BYTES))
                if SUBPROTOCOL in request.subprotocols:
                    answer = request.accept(SUBPROTOCOL)
                else:
                    answer = request.reject(400, "the subprotocol ship is missing")
                await transport.send_all(request.protocol.take_output())
            if answer.status_code != SWITCHING:
                transport.shutdown_send()
                raise UpgradeError(f"HTTP status {answer.status_code}")
            request.protocol.fragment_bytes = FRAGMENT_BYTES
            await self._run(Role.SERVER, ski_of(certificate), transport, request)
        finally:
            transport.close()

    async def _run(
        self, role: Role, ski: str, transport: SelfSignedTransport, upgraded: UpgradeOffer | UpgradeRequest
    ) -> None:
        async with trio.open_nursery() as nursery:
            link = _Link(WebSocketConnection(nursery, transport, upgraded.protocol))
            self._opened += 1
            name = f"{ski[:8]}-{self._opened}"
            self._links[name] = link
            log.info("EEBUS connection opened name=%s ski=%s role=%s", name, ski, role.value)
            try:
                nursery.start_soon(_ping, link, name)
                self._handler.on_open(name, role, ski)
                with link.scope:
                    while True:
                        message = await link.connection.receive()
                        if isinstance(message, bytes):  # text is no message of SHIP
                            await self._handler.on_message(name, message)
            except ConnectionLostError as lost:
                log.info("EEBUS connection lost name=%s reason=%s", name, lost)
            finally:
                del self._links[name]
                self._handler.on_lost(name)
                with trio.CancelScope(shield=True, deadline=trio.current_time() + CLOSE_S):
                    await link.connection.close(link.code, link.reason)
            nursery.cancel_scope.cancel()


async def _ping(link: _Link, name: str) -> None:
    """End a connection whose peer does not answer pings."""
    try:
        while True:
            await trio.sleep(PING_S)
            await link.connection.ping(PONG_S)
    except ConnectionLostError as lost:
        log.info("EEBUS connection lost name=%s reason=%s", name, lost)
        link.scope.cancel()


def _reasons(failed: BaseExceptionGroup) -> str:
    return "; ".join(
        sorted(
            {
                "too slow" if isinstance(each, trio.TooSlowError) else describe_error(each)
                for each in leaves(failed)
            }
        )
    )


def back_off_s(attempt: int) -> float:
    """Return a random time (s) to wait before an attempt, counted from 0."""
    shortest, longest = BACK_OFF_S[min(attempt, len(BACK_OFF_S) - 1)]
    return random.uniform(shortest, longest)


def refusal_of(certificate: x509.Certificate) -> str:
    """Return the reason to refuse a certificate in the TLS handshake; empty: it is accepted."""
    try:
        ski_of(certificate)
    except EebusError as error:
        return f"certificate refused: {error}"
    return ""


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host


def _peer(stream: trio.SocketStream) -> tuple[str, str]:
    """Return the address of a peer, and with its port."""
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "", "unknown"
    return str(host), f"{host}:{port}"
