"""The port where stations connect: TLS, the upgrade, admission, and one WebSocket per station."""

from __future__ import annotations

import logging
import math
import ssl
import time
from collections.abc import Callable
from typing import Protocol

import msgspec
import trio

from controller.model.rate_limits import AddressCounter, RepeatFilter, TokenBucket
from controller.stations.admission import (
    Admission,
    AdmissionRules,
    Decision,
    NoCommonProtocol,
    PasswordUnverified,
    Rejection,
    certificate_names,
    decide_admission,
)
from controller.stations.connection_stats import ConnectionStats
from controller.stations.password_verifier import PasswordVerifier
from controller.transport.byte_transport import ByteTransport
from controller.transport.channel import Channel
from controller.transport.http_upgrade import SWITCHING, UpgradeError, UpgradeRequest
from controller.transport.tls import RenewedContext
from controller.transport.transport_errors import ConnectionLostError, describe_error
from controller.transport.websocket_connection import READ_BYTES, WebSocketConnection

CERTIFICATE_CHECK_S = 5.0
"""Interval at which the certificates of open connections are checked."""
POLICY_VIOLATION = 1008
CLOSE_REASON_CHARACTERS = 40
"""A close reason has at most 123 bytes of UTF-8 (RFC 6455, 5.5.1)."""

log = logging.getLogger("controller.transport")

UNKNOWN = 404
"""HTTP status of a rejection for an id that is not in the configuration."""

HANDSHAKE_TIMEOUT_S = 10.0
"""Time that a peer has for its TLS handshake and its upgrade request together, once it is its turn."""

REJECTION_PERIOD_S = 60.0
MOST_REJECTIONS = 1000
"""A rejection of one address, station and reason is logged once in this time, and so many in all."""

LONGEST_TURN_S = 30.0
"""Time that a connection may wait for its turn: stations give up after about that."""

BYTES_PER_MESSAGE = 16_384
"""Bytes that a station may send per message of listen.messages_per_second, on average."""

BURST_BYTES = 4 << 20
"""Bytes that a station may send at once, beside one message of the greatest length."""

TLS_HANDSHAKE = b"\x16\x03"
"""First bytes of a TLS ClientHello (RFC 8446, 5.1)."""

CHALLENGE = ("WWW-Authenticate", 'Basic realm="ocpp"')
"""Header of a 401 (RFC 7617, 2)."""

PROTOCOL_ERROR = 1002
"""WebSocket close code (RFC 6455, 7.4.1)."""


class ListenError(Exception):
    """The stations' port cannot be opened; its text names the address and the remedy."""


class ListenSettings(msgspec.Struct, frozen=True):
    """Settings of the stations' port; `tls` None for plain ws://. A limit of 0 is none."""

    host: str
    port: int
    tls: RenewedContext | None
    max_message_bytes: int
    connections_per_address: int = 0
    handshakes_per_second: float = 0
    compression: bool = True
    messages_per_second: float = 0
    find_objection: Callable[[str, bytes], str | None] | None = None
    """(station, certificate in DER) -> why it is not accepted now; None accepts all that TLS accepts."""


class StationHost(Protocol):
    """Serves the stations that connect."""

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        """Ask the station's owner before its upgrade is answered."""

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Serve a station until its connection or its session ends."""

    async def release_admission(self, admission: Admission) -> None:
        """Close what belongs to an admission and was not used."""


async def serve_stations(
    settings: ListenSettings,
    rules: AdmissionRules,
    host: StationHost,
    stats: ConnectionStats,
    *,
    sockets: list[trio.SocketListener] | None = None,
    accepting: trio.CancelScope | None = None,
    task_status: trio.TaskStatus[int],
) -> None:
    """Accept stations until cancelled, each served in a task of its own; `stats` counts them.

    `sockets`: listening sockets that are open already. Once `accepting` is cancelled, no more connections are
    accepted, and those that are open stay. Starts with the bound port. Raises ListenError.
    """
    if sockets is None:
        try:
            sockets = await trio.open_tcp_listeners(settings.port, host=settings.host)
        except OSError as error:
            address = f"{settings.host}:{settings.port}"
            raise ListenError(
                f"listen: {address} cannot be opened: {error.strerror or error}; "
                "stop the program that uses it or set another listen.port"
            ) from error
    port = sockets[0].socket.getsockname()[1]
    async with trio.open_nursery() as nursery:
        listener = StationListener(settings, rules, host, stats, nursery)
        if settings.find_objection is not None:
            nursery.start_soon(listener.watch_certificates)
        task_status.started(port)
        with accepting or trio.CancelScope():
            await trio.serve_listeners(listener.accept, sockets, handler_nursery=nursery)


class StationListener:
    """Handles each connection, from its acceptance to its end."""

    def __init__(
        self,
        settings: ListenSettings,
        rules: AdmissionRules,
        host: StationHost,
        stats: ConnectionStats,
        nursery: trio.Nursery,
    ) -> None:
        self._settings = settings
        self._rules = rules
        self._host = host
        self._stats = stats
        self._nursery = nursery
        self._passwords = PasswordVerifier()
        self._addresses = AddressCounter(settings.connections_per_address)
        rate = settings.handshakes_per_second
        self._turns = TokenBucket(rate, burst=max(1, int(rate)))
        self._rejections = RepeatFilter(REJECTION_PERIOD_S, MOST_REJECTIONS)
        self._certified: dict[WebSocketConnection, tuple[str, bytes]] = {}
        """By open connection the station and its certificate in DER."""

    async def accept(self, stream: trio.SocketStream) -> None:
        """Handle one accepted connection."""
        address, peer = _peer_address(stream)
        if not self._addresses.enter(address):
            self._stats.refused += 1
            if self._addresses.should_report(address):
                log.warning(
                    "connection rejected peer=%s reason=%d connections from this address are open; "
                    "if they are all stations, raise listen.connections_per_address",
                    peer,
                    self._settings.connections_per_address,
                )
            return
        try:
            if await self._wait_turn(peer):
                await self._handle_connection(stream, peer)
        finally:
            self._addresses.leave(address)

    async def _wait_turn(self, peer: str) -> bool:
        """Wait for the turn of a handshake; return False if too many wait already."""
        now = trio.current_time()
        if self._turns.wait_s(now) > LONGEST_TURN_S:
            self._stats.refused += 1
            log.warning(
                "connection rejected peer=%s reason=more than %g s of handshakes wait", peer, LONGEST_TURN_S
            )
            return False
        if wait_s := self._turns.take(now):
            await trio.sleep(wait_s)
        return True

    async def _handle_connection(self, stream: trio.SocketStream, peer: str) -> None:
        """Handle a connection so that no error that its peer causes reaches another one."""
        try:
            transport = ByteTransport(stream)
            try:
                certified, requests = await self._await_request(transport, peer)
                if requests:
                    # Popped, since this frame exists as long as the station's connection.
                    await self._answer(transport, requests.pop(), peer, certified)
            finally:
                transport.close()
        except* (UpgradeError, ConnectionLostError, OSError) as lost:
            log.info("connection lost peer=%s reason=%s", peer, describe_error(lost))
        except* Exception as error:
            log.exception("connection closed by an internal error peer=%s", peer, exc_info=error)

    async def _await_request(
        self, transport: ByteTransport, peer: str
    ) -> tuple[tuple[str, ...] | None, list[UpgradeRequest]]:
        """Return the names in the peer's certificate, and its request; none if there is nothing to answer."""
        with trio.move_on_after(HANDSHAKE_TIMEOUT_S):
            certified = await self._start_tls(transport, peer)
            return certified, await self._read_request(transport, peer)
        log.info("connection closed peer=%s reason=no upgrade request in %g s", peer, HANDSHAKE_TIMEOUT_S)
        return None, []

    async def _start_tls(self, transport: ByteTransport, peer: str) -> tuple[str, ...] | None:
        """Run the TLS handshake, if any; return the names in the certificate that was asked for."""
        tls = self._settings.tls
        if tls is None:
            return None
        context = tls.current(trio.current_time())
        try:
            await transport.start_tls(context, server_side=True)
        except ssl.SSLEOFError as error:  # connected and closed: a port monitor
            raise UpgradeError(describe_error(error)) from error
        except OSError as error:
            self._stats.refused += 1
            reason = describe_error(error)
            if self._count_repeats(peer, reason) is not None:
                log.warning("TLS handshake failed peer=%s reason=%s", peer, reason)
            raise UpgradeError(reason) from error
        if context.verify_mode is not ssl.CERT_REQUIRED:
            return None
        return certificate_names(transport.peer_certificate)

    def _find_objection(self, station: str, certificate: bytes | None) -> str | None:
        """Return why the certificate of a station is not accepted now; None if it is."""
        if self._settings.find_objection is None or certificate is None:
            return None
        return self._settings.find_objection(station, certificate)

    async def watch_certificates(self) -> None:
        """Close the connections of stations whose certificates are not accepted any more, until cancelled."""
        while True:
            await trio.sleep(CERTIFICATE_CHECK_S)
            for connection, (station, certificate) in list(self._certified.items()):
                objection = self._find_objection(station, certificate)
                if objection is not None:
                    log.warning("connection closed station=%s reason=%s", station, objection)
                    await connection.close(POLICY_VIOLATION, objection[:CLOSE_REASON_CHARACTERS])

    async def _read_request(self, transport: ByteTransport, peer: str) -> list[UpgradeRequest]:
        """Read the whole upgrade request; none if the peer closes without a byte, or sends TLS."""
        request = UpgradeRequest(self._settings.max_message_bytes, compression=self._settings.compression)
        is_first = True
        while not request.is_complete:
            data = await transport.receive_some(READ_BYTES)
            if is_first and not data:
                log.debug("connection closed without a byte peer=%s", peer)
                return []
            if is_first and data.startswith(TLS_HANDSHAKE):
                self._stats.refused += 1
                if self._count_repeats(peer, "TLS") is not None:
                    log.warning(
                        "connection rejected peer=%s reason=it uses TLS (wss://) on a plain port; "
                        "set listen.certificate and listen.key, or ws:// in the station",
                        peer,
                    )
                return []
            is_first = False
            try:
                request.receive_data(data)
            except UpgradeError:
                await transport.send_all(request.protocol.take_output())  # an error response
                raise
        return [request]

    async def _answer(
        self, transport: ByteTransport, request: UpgradeRequest, peer: str, certified: tuple[str, ...] | None
    ) -> None:
        """Decide on the request, answer it, and serve the station."""
        decision = await self._decide(request, peer, certified, transport.peer_certificate_der)
        try:
            rejected = self._respond(request, decision)
            await transport.send_all(request.protocol.take_output())
            if rejected is None and not isinstance(decision, Rejection):
                # Only what is needed stays: these frames live as long as the station's connection.
                connection = WebSocketConnection(
                    self._nursery, transport, request.protocol, self._byte_pace()
                )
                del request
                await self._serve(decision, connection, peer, transport.peer_certificate_der)
                return
        finally:
            if isinstance(decision, Admission):
                await self._host.release_admission(decision)
        self._stats.refused += 1
        station = decision.station if isinstance(decision, Rejection) else None
        if station is not None and isinstance(decision, Rejection) and decision.status == UNKNOWN:
            address = peer.rpartition(":")[0] or peer
            self._stats.unknown_stations.on_unknown(station, address, request.subprotocols, time.time())
        reason = str(rejected).partition(";")[0]  # without the time of the next try
        repeats = self._count_repeats(peer, reason, station)
        if repeats is not None:
            is_expected = isinstance(decision, Rejection) and decision.is_expected
            log.log(
                logging.INFO if is_expected else logging.WARNING,
                "upgrade rejected peer=%s%s%s %s",
                peer,
                f" station={station}" if station else "",
                f" repeats={repeats}" if repeats else "",
                rejected,
            )
        transport.shutdown_send()

    def _count_repeats(self, peer: str, reason: str, station: str | None = None) -> int | None:
        """Return the repeats of a rejection since it was logged last; None if it is not to be logged now."""
        key = peer.rpartition(":")[0], station, reason
        return self._rejections.count_repeats(key, trio.current_time())

    def _respond(self, request: UpgradeRequest, decision: Decision) -> str | None:
        """Queue the response; return its status and reason for the log, None if it opens the WebSocket."""
        if isinstance(decision, Rejection):
            answer = request.reject(decision.status, decision.reason, _headers_of(decision))
        else:
            answer = request.accept(decision.subprotocol if isinstance(decision, Admission) else None)
            if answer.status_code == SWITCHING:
                return None
        reason = bytes(answer.body).decode().partition("\n")[0]
        return f"status={answer.status_code} reason={reason}"

    async def _decide(
        self,
        request: UpgradeRequest,
        peer: str,
        certified: tuple[str, ...] | None,
        certificate: bytes | None,
    ) -> Decision:
        """Apply the rules, check certificate and password, and ask the station's owner."""
        decision = decide_admission(
            self._rules, request.target, request.headers, request.subprotocols, certified
        )
        if certified is not None and isinstance(decision, Admission | PasswordUnverified):
            objection = self._find_objection(decision.station, certificate)
            if objection is not None:
                return Rejection(403, objection, decision.station)
        if isinstance(decision, PasswordUnverified):
            decision = await self._passwords.decide(decision)
        if isinstance(decision, Admission):
            decision = await self._host.confirm_admission(msgspec.structs.replace(decision, peer=peer))
        return decision

    async def _serve(
        self,
        decision: Admission | NoCommonProtocol,
        connection: WebSocketConnection,
        peer: str,
        certificate: bytes | None,
    ) -> None:
        """Serve the open WebSocket, or close it where there is no common version."""
        if isinstance(decision, Admission) and decision.is_unknown:
            await self._host.serve_station(decision, connection)
            return
        if isinstance(decision, Admission):
            self._stats.accepted += 1
            log.info(
                "station connected station=%s peer=%s version=%s%s",
                decision.station,
                peer,
                decision.version.value,
                _choice_of(decision),
            )
            if certificate is None or self._settings.find_objection is None:
                await self._host.serve_station(decision, connection)
                return
            self._certified[connection] = (decision.station, certificate)
            try:
                await self._host.serve_station(decision, connection)
            finally:
                del self._certified[connection]
            return
        self._stats.refused += 1
        supported = ", ".join(self._rules.protocols)
        log.warning(
            "station rejected peer=%s station=%s reason=%s; supported are %s",
            peer,
            decision.station,
            decision.reason,
            supported,
        )
        await connection.close(PROTOCOL_ERROR, f"no common OCPP version; offer one of {supported}")

    def _byte_pace(self) -> TokenBucket | None:
        rate = self._settings.messages_per_second * BYTES_PER_MESSAGE
        return TokenBucket(rate, burst=self._settings.max_message_bytes + BURST_BYTES) if rate else None


def _headers_of(rejection: Rejection) -> list[tuple[str, str]]:
    headers = [CHALLENGE] if rejection.status == 401 else []
    if rejection.retry_after_s is not None:
        headers.append(("Retry-After", str(max(1, math.ceil(rejection.retry_after_s)))))
    return headers


def _choice_of(admission: Admission) -> str:
    """Describe the choice among several versions, for the log."""
    if len(admission.versions) < 2:
        return ""
    by = "its backend" if admission.owner_link is not None else "the station's order"
    return f" of={','.join(each.value for each in admission.versions)} chosen_by={by}"


def _peer_address(stream: trio.SocketStream) -> tuple[str, str]:
    """Return the peer's address, and the address with its port."""
    try:
        host, port = stream.socket.getpeername()[:2]
    except OSError:
        return "", "unknown"
    return host, f"{host}:{port}"
