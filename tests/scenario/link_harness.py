"""The sessions of a controller over loopback sockets, with peers on `trio-websocket` at both ends."""

from __future__ import annotations

import random
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio
from trio_websocket import (
    ConnectionRejected,
    WebSocketConnection,
    WebSocketRequest,
    open_websocket_url,
    serve_websocket,
)

from controller.backends.pool import BackendPool, Endpoint, EndpointAnswer, LinkRequest
from controller.chargers.quirks import LimitScope
from controller.config.password_files import StationSecret
from controller.model.journal import Record
from controller.model.observations import Observation
from controller.model.rate_limits import TokenBucket
from controller.ocpp.frames import Version
from controller.ocpp.station_state import StationStateTracker
from controller.overlay.binary_messages import BinaryMessages
from controller.profiles.arbiter import ProfileArbiter
from controller.relay.station_relay import StationRelay
from controller.relay.upstream import OwnerSide
from controller.stations.admission import Admission, AdmissionRules, HandshakeQuirks, Rejection
from controller.stations.connection_stats import ConnectionStats
from controller.stations.credential_memory import CredentialMemory
from controller.stations.listener import ListenSettings, serve_stations
from controller.stations.owner_confirmation import OwnerConfirmation, OwnerRules
from controller.stations.registry import SessionRegistry
from controller.stations.session import SessionRules, StationSession
from controller.stations.session_host import SessionHost
from controller.stations.session_links import SessionLinks
from controller.store.state_journal import StoreError
from controller.transport.tls import RenewedContext
from controller.transport.websocket_connection import WebSocketConnection as ServedConnection
from tests.bounds import HANG_S
from tests.scenario.relay_harness import make_absorbed_profiles

CALL_TIMEOUT_S = 0.3


class RecordingSite:
    """Records the calls of the sessions to the load management."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []
        self.happened = trio.Event()

    def _record(self, *event: object) -> None:
        self.events.append(event)
        self.happened.set()
        self.happened = trio.Event()

    def on_station_up(self, station: str, version: Version) -> None:
        self._record("up", station, version)

    def on_station_down(self, station: str) -> None:
        self._record("down", station)

    def on_observation(self, station: str, observation: Observation) -> None:
        self._record("observed", station, observation)

    def on_call_answered(self, station: str, token: int, result: bytes | None, detail: str) -> None:
        self._record("answered", station, token, result, detail)

    async def wait_for(self, kind: str, count: int = 1) -> None:
        with trio.fail_after(HANG_S):
            while sum(event[0] == kind for event in self.events) < count:
                await self.happened.wait()


class RecordingJournal:
    """Records what is to be durable; with `full`, the disk is full."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.dropped: list[str] = []
        self.full = False

    async def save(self, records: Sequence[Record]) -> None:
        await trio.lowlevel.checkpoint()
        if self.full:
            raise StoreError("the disk is full")
        self.records += records

    def drop_station(self, station: str) -> None:
        self.dropped.append(station)


class MemoryHashes:
    """Hash lines of passwords, by station."""

    def __init__(self) -> None:
        self.lines: dict[str, str] = {}

    def find_hash(self, station: str) -> str | None:
        return self.lines.get(station)

    async def save_hash(self, station: str, line: str) -> None:
        self.lines[station] = line


class CsmsServer:
    """A CSMS on a loopback port: a test accepts its links with `accept` and holds their other ends."""

    def __init__(self) -> None:
        self._arrive, self.links = trio.open_memory_channel[ServedConnection](100)
        self.tls: ssl.SSLContext | None = None
        self.requests: list[WebSocketRequest] = []
        self.refuse_status: int | None = None
        self.refuse_headers: list[tuple[bytes, bytes]] = []
        self.port = 1  # no server listens before `run`

    async def run(self, task_status: trio.TaskStatus[None]) -> None:
        async with trio.open_nursery() as nursery:
            server = await nursery.start(partial(serve_websocket, self._serve, "127.0.0.1", 0, self.tls))
            self.port = server.port
            task_status.started()

    async def _serve(self, request: WebSocketRequest) -> None:
        self.requests.append(request)
        if self.refuse_status is not None:
            await request.reject(self.refuse_status, extra_headers=self.refuse_headers)
            return
        socket = await request.accept(subprotocol=request.proposed_subprotocols[0])
        await self._arrive.send(socket)
        await trio.sleep_forever()  # the engine reads in the background; a test holds the socket

    async def accept(self) -> ServedConnection:
        """Wait for the next link."""
        with trio.fail_after(HANG_S):
            return await self.links.receive()


@asynccontextmanager
async def serve_csms() -> AsyncIterator[CsmsServer]:
    """Run a CSMS inside the block."""
    async with trio.open_nursery() as nursery:
        csms = CsmsServer()
        await nursery.start(csms.run)
        yield csms
        nursery.cancel_scope.cancel()


class LinkHarness:
    """The controller's sessions between one CSMS and any stations."""

    def __init__(self, nursery: trio.Nursery, csms: CsmsServer, **secrets: StationSecret | None) -> None:
        self.nursery = nursery
        self.csms = csms
        self.site = RecordingSite()
        self.journal = RecordingJournal()
        self.registry = SessionRegistry()
        self.stats = ConnectionStats()
        self.quirks: dict[str, HandshakeQuirks] = {}
        self.rules = AdmissionRules("/ocpp", {"CS01": None, **secrets}, tuple(Version), self._quirks_of)
        self.port = 0
        self.scope = LimitScope.STATION
        self.ping_s = 0.0
        self.rate_limit = TokenBucket(0)
        self.tls: RenewedContext | None = None
        self.upstream_tls: RenewedContext | None = None
        self.limits: tuple[int, float] = (0, 0)
        self.binary = True
        self.passwords: list[tuple[object, ...]] = []
        """Commands of the owner that may set a station's password."""
        self.messages_per_second = 0.0
        self.pool = BackendPool("cpo", {"cpo": (0, self)}, random.Random(1))
        self.hashes = MemoryHashes()
        self.is_strict = True

    async def start(self, max_message_bytes: int = 1 << 20) -> None:
        await self.nursery.start(self.pool.run)
        owners = {station: OwnerRules(self.pool, self.is_strict) for station in self.rules.passwords}
        self.owners = OwnerConfirmation(owners, self.registry, CredentialMemory(self.hashes))
        listening = ListenSettings(
            "127.0.0.1",
            0,
            self.tls,
            max_message_bytes,
            *self.limits,
            messages_per_second=self.messages_per_second,
        )
        self.port = await self.nursery.start(partial(serve_stations, listening, self.rules, self, self.stats))

    def _quirks_of(self, station: str) -> HandshakeQuirks:
        return self.quirks.get(station, HandshakeQuirks())

    @property
    def endpoint(self) -> Endpoint:
        scheme = "ws" if self.upstream_tls is None else "wss"
        url = f"{scheme}://localhost:{self.csms.port}/csms/{{station}}"
        return Endpoint(url, self.upstream_tls, None, 1 << 20, 2.0, TokenBucket(0))

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Dial the backend where it is now; see DialableEndpoint."""
        return await self.endpoint.open(request, nursery)

    async def probe(self) -> None:
        await self.endpoint.probe()

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        return await self.owners.confirm(admission)

    async def release_admission(self, admission: Admission) -> None:
        await self.owners.release(admission)

    async def serve_station(self, admitted: Admission, link: ServedConnection) -> None:
        relay = StationRelay(
            admitted.station,
            admitted.version,
            OwnerSide("cpo"),
            StationStateTracker(admitted.version, 230),
            ProfileArbiter(admitted.version, self.scope, make_absorbed_profiles(self.scope)),
            CALL_TIMEOUT_S,
            trio.current_time(),
        )
        binary_messages = BinaryMessages(None, lambda now: now, admitted.version, admitted.station, "cpo")
        rules = SessionRules(
            utc_of=lambda now: now,
            pace=self.rate_limit.take,
            ping_s=self.ping_s,
            backend_ping_s=self.ping_s,
            binary_messages=binary_messages if self.binary else None,
            on_password_command=lambda *command: self.passwords.append(command),
        )
        links = SessionLinks(admitted, self.pool)
        host = SessionHost(self.site, self.journal, self.stats)
        session = StationSession(relay, link, links, host, rules)
        try:
            await self.registry.run_session(admitted.station, lambda: session, admitted.peer)
        finally:
            self.owners.on_session_ended(admitted.station, has_set_limits=session.has_set_limits)

    @asynccontextmanager
    async def connect_station(
        self,
        station: str = "CS01",
        *offered: str,
        headers: list[tuple[bytes, bytes]] | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> AsyncIterator[WebSocketConnection]:
        async with open_websocket_url(
            f"{'ws' if tls is None else 'wss'}://127.0.0.1:{self.port}/ocpp/{station}",
            tls,
            subprotocols=offered or ("ocpp1.6",),
            extra_headers=headers,
            disconnect_timeout=2,
        ) as socket:
            yield socket

    async def expect_rejection(
        self, station: str, *offered: str, tls: ssl.SSLContext | None = None
    ) -> ConnectionRejected:
        try:
            async with self.connect_station(station, *offered, tls=tls):
                raise AssertionError("the station was accepted")
        except ConnectionRejected as rejected:
            return rejected


@asynccontextmanager
async def link_harness(
    *,
    tls: RenewedContext | None = None,
    upstream_tls: RenewedContext | None = None,
    csms_tls: ssl.SSLContext | None = None,
    limits: tuple[int, float] = (0, 0),
    binary: bool = True,
    **secrets: StationSecret | None,
) -> AsyncIterator[LinkHarness]:
    """Run a harness inside the block.

    `tls` serves the stations, `upstream_tls` is the controller's towards the CSMS, `csms_tls` the server's.
    `limits`: connections per address, handshakes per second. `binary`: True if binary messages pass.
    `secrets`: the passwords of further stations by their ids.
    """
    async with trio.open_nursery() as nursery:
        csms = CsmsServer()
        csms.tls = csms_tls
        await nursery.start(csms.run)
        made = LinkHarness(nursery, csms, **secrets)
        made.tls, made.upstream_tls, made.limits, made.binary = tls, upstream_tls, limits, binary
        await made.start()
        yield made
        nursery.cancel_scope.cancel()


async def receive_text(socket: WebSocketConnection) -> str:
    with trio.fail_after(HANG_S):
        message = await socket.get_message()
    assert isinstance(message, str)
    return message
