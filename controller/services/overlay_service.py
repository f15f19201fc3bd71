"""Overlay service: the controller as a node of the overlay network, with its links and its clock.

    child controller --link in overlay mode--> node --leg--> the session of the child's own identity
    session of a station --leg--> node --link in overlay mode--> backend, one link for all stations

A leg is a link in standard mode inside this process, so that a station's relay is the same with and without
an overlay. All decisions are those of `overlay.node`, which is pure.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial

import msgspec
import trio

from controller.backends.backend_link import GOING_AWAY
from controller.backends.pool import BackendPool, EndpointAnswer, LinkRequest
from controller.config import Config
from controller.model.exception_groups import leaves
from controller.model.rate_limits import TokenBucket
from controller.ocpp.frames import Version, call_error
from controller.overlay.events import (
    LOCAL,
    DeliverFrame,
    Event,
    FrameReceived,
    LinkDown,
    LinkSide,
    LinkState,
    LinkUp,
    OverlayLogEntry,
    OverlayPersisted,
    OverlayTick,
    OwnRequest,
    PersistOverlay,
    RequestUnreachable,
    SendFailed,
    SendFrame,
)
from controller.overlay.node import Node
from controller.overlay.overlay_frames import Message, RoutedFrame, parse
from controller.overlay.overlay_wire import CSMS, NetworkingMode, OverlayMessageKind
from controller.services.overlay_settings import first_endpoints, node_settings
from controller.signing.policy_enforcer import PolicyEnforcer
from controller.signing.replay_cache import ReplayRecord
from controller.stations.admission import Admission
from controller.store.state_journal import StoreError
from controller.transport.channel import Channel, VirtualChannel, send_pings
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.dial import DialError, DialStage
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError
from controller.transport.websocket_connection import Pause
from controller.web.status_model import NeighbourStatus, OverlayStatus

log = logging.getLogger("controller.overlay")

Serve = Callable[[Admission, Channel], Awaitable[None]]

LEG, BELOW, ABOVE = 0, 1, 2
"""Priorities of links: a station's own leg first, then links to children, then links to backends."""


class _Carrier(msgspec.Struct, frozen=True):
    """Functions of one link: send a message, and end it; `only`: the overlay link that carries it, if any."""

    put: Callable[[Message], None]
    abandon: Callable[[str], None]
    only: str | None = None


class OverlayService:
    """Runs the controller's node with all its links. `uplinks` are those to backends in overlay mode.

    `save` makes the replay records of signed messages durable; it raises StoreError.
    """

    def __init__(
        self,
        config: Config,
        uplinks: Mapping[str, BackendPool],
        gate: PolicyEnforcer | None,
        save: Callable[[Sequence[ReplayRecord]], Awaitable[None]],
    ) -> None:
        self._save = save
        self._own = config.site.id
        self._offered = offered_versions(config.site.protocol)
        self._versions: dict[str, Version] = {}
        """By backend, the version that its overlay link has agreed on."""
        self._listen = config.listen
        self._uplinks = uplinks
        self._firsts = first_endpoints(config)
        self._node = Node(node_settings(config, gate))
        self._carriers: dict[str, _Carrier] = {}
        self._timer = DeadlineTimer(lambda: self._node.wake_at)

    def make_pool(self, backend: str) -> BackendPool:
        """Return the pool through which stations reach a backend in overlay mode."""
        return BackendPool(backend, {backend: (0, _LegEndpoint(self, backend))}, random.Random())

    def status(self) -> OverlayStatus:
        """Return the state of the overlay network for people and monitoring."""
        neighbours = self._node.neighbours(trio.current_time())
        return OverlayStatus(
            neighbours=tuple(
                NeighbourStatus(link=link, reached=reached) for link, reached in neighbours.items()
            ),
            dropped_total=dict(self._node.counts),
        )

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the links to backends open and the node's timers running, until cancelled."""
        async with trio.open_nursery() as nursery:
            task_status.started()
            for backend, uplinks in self._uplinks.items():
                await nursery.start(uplinks.run)
                nursery.start_soon(self._keep_link, backend, uplinks)
            while True:
                await self._timer.wait_due()
                self._feed(OverlayTick())

    # -- links to stations and children ----------------------------------------------------------------

    async def serve(self, admitted: Admission, link: Channel, serve: Serve) -> None:
        """Serve a station in overlay mode until its link or its session ends.

        `serve` runs the session of the station itself, over a leg; messages of nodes behind it are routed.
        """
        station = admitted.station
        state = LinkState(
            link=station,
            peer=station,
            mode=NetworkingMode.OVERLAY,
            side=LinkSide.DOWN,
            priority=BELOW,
            version=admitted.version,
        )
        itself = msgspec.structs.replace(admitted, mode=NetworkingMode.STANDARD)
        try:
            with self._relayed(station) as leg, self._use_link(state, _Carrier(link.send_nowait, leg.end)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_below, station, link, leg)
                    nursery.start_soon(self._ping_below, link, leg)
                    await serve(itself, leg)
                    nursery.cancel_scope.cancel()
        finally:
            await link.close(GOING_AWAY, "")

    async def _read_below(self, station: str, link: Channel, leg: VirtualChannel) -> None:
        """Read messages at the rate allowed to a station: more of them wait in its socket."""
        rate = self._listen.messages_per_second
        pace = TokenBucket(rate, burst=max(1, int(rate)))

        def handle(message: Message) -> Pause | None:
            wait_s = pace.take(trio.current_time())
            saves = self._feed(FrameReceived(station, message))
            return partial(self._store, station, saves, wait_s) if saves or wait_s > 0 else None

        try:
            await link.read_messages(handle)
        except ConnectionLostError as lost:
            leg.end(str(lost))

    async def _ping_below(self, link: Channel, leg: VirtualChannel) -> None:
        try:
            await send_pings(link, self._listen.ping_s)
        except ConnectionLostError as lost:
            leg.end(str(lost))

    @contextmanager
    def _relayed(self, station: str) -> Iterator[VirtualChannel]:
        """Open the leg of a station's own session: for the node it is the station's own backend."""
        name = f"session of {station}"
        state = LinkState(
            link=name,
            peer=CSMS,
            mode=NetworkingMode.STANDARD,
            side=LinkSide.UP,
            priority=LEG,
            serves=station,
            only=station,
        )
        with self._leg(state) as leg:
            yield leg

    # -- links to backends -----------------------------------------------------------------------------

    def require_link(self, backend: str) -> None:
        """Raise DialError if the overlay link to a backend is not open."""
        if backend not in self._carriers:
            raise DialError("its overlay link is not open")

    async def open_leg(self, backend: str, request: LinkRequest) -> EndpointAnswer:
        """Open a station's channel to a backend through the overlay link. Raises DialError.

        At a start, and after a loss, it waits for the link that carries it, for as long as for any dial.
        """
        with trio.move_on_after(self._firsts[backend].connect_timeout_s):
            while backend not in self._carriers:
                await self._timer.wait_updated()
        self.require_link(backend)
        version = _carried_version(self._versions[backend], request.versions)
        if version is None:
            raise DialError(
                f"its overlay link has agreed on {self._versions[backend]} and cannot carry "
                f"{' or '.join(request.versions)}",
                stage=DialStage.REFUSED,
                is_version=True,
            )
        stack = ExitStack()
        if request.station == self._own:
            leg = stack.enter_context(self._open_identity_leg(backend))
        else:
            state = LinkState(
                link=f"{request.station} at {backend}",
                peer=request.station,
                mode=NetworkingMode.STANDARD,
                side=LinkSide.DOWN,
                priority=LEG,
                only=backend,
                version=version,
            )
            leg = stack.enter_context(self._leg(state))
        leg.on_ended = stack.close
        return EndpointAnswer(leg, version.value)

    @contextmanager
    def _open_identity_leg(self, backend: str) -> Iterator[VirtualChannel]:
        """Open the channel of the controller's own identity: messages for the node itself come out of it."""
        peer = self._firsts[backend].node
        leg = VirtualChannel(lambda message: self._feed(OwnRequest(message, (peer,))))
        self._carriers[LOCAL] = carrier = _Carrier(leg.deliver, leg.end, backend)
        try:
            yield leg
        finally:
            if self._carriers.get(LOCAL) is carrier:
                del self._carriers[LOCAL]

    async def _keep_link(self, backend: str, uplinks: BackendPool) -> None:
        request = LinkRequest(self._own, tuple(version.value for version in self._offered))
        while True:
            try:
                async with (
                    uplinks.hold_link(request, is_owner=True) as opened,
                    trio.open_nursery() as nursery,
                ):
                    link, version = opened.channel, Version(opened.version)
                    self._versions[backend] = version
                    state = LinkState(
                        link=backend,
                        peer=self._firsts[backend].node,
                        mode=NetworkingMode.OVERLAY,
                        side=LinkSide.UP,
                        priority=ABOVE,
                        version=version,
                    )
                    carrier = _Carrier(link.send_nowait, partial(_cancel, nursery.cancel_scope))
                    with self._use_link(state, carrier):
                        nursery.start_soon(send_pings, link, self._listen.ping_s)
                        await link.read_messages(partial(self._on_message, backend))
            except* (ConnectionLostError, DialError) as lost:
                log.warning("overlay link lost backend=%s reason=%s", backend, _describe_loss(lost))
            await uplinks.wait_ready(request)

    # -- all links --------------------------------------------------------------------------------------

    @contextmanager
    def _leg(self, state: LinkState) -> Iterator[VirtualChannel]:
        leg = VirtualChannel(lambda message: self._feed(FrameReceived(state.link, message)))
        try:
            with self._use_link(state, _Carrier(leg.deliver, leg.end, state.only)):
                yield leg
        finally:
            leg.end("it is closed")

    @contextmanager
    def _use_link(self, state: LinkState, carrier: _Carrier) -> Iterator[None]:
        """Register a link with the node inside the block; an older one of the same name is ended."""
        older = self._carriers.get(state.link)
        self._carriers[state.link] = carrier
        if older is not None:
            older.abandon("another link has taken its place")
        self._feed(LinkUp(state))
        try:
            yield
        finally:
            if self._carriers.get(state.link) is carrier:
                del self._carriers[state.link]
                self._feed(LinkDown(state.link))
                for each in [each for each in self._carriers.values() if each.only == state.link]:
                    each.abandon("the link in overlay mode that carries it is gone")

    # -- the node -----------------------------------------------------------------------------------

    def _on_message(self, link: str, message: Message) -> Pause | None:
        """Process a message of a link. Only that link waits for what must be durable first."""
        saves = self._feed(FrameReceived(link, message))
        return partial(self._store, link, saves) if saves else None

    async def _store(self, link: str, saves: Sequence[PersistOverlay], wait_s: float = 0.0) -> None:
        """Store replay records, then let their messages go on; wait for the pace of the link."""
        await trio.sleep(wait_s)
        for save in saves:
            try:
                await self._save(save.records)
            except StoreError as failed:
                log.error(
                    "signed message dropped, its replay record cannot be stored link=%s reason=%s",
                    link,
                    failed,
                )
                self._feed(OverlayPersisted(save, done=False))
            else:
                self._feed(OverlayPersisted(save))

    def _feed(self, event: Event) -> list[PersistOverlay]:
        """Pass an event to the node and carry out its actions; return what has to be saved first."""
        saves: list[PersistOverlay] = []
        todo: deque[Event] = deque((event,))
        while todo:
            for action in self._node.handle(todo.popleft(), trio.current_time()):
                match action:
                    case SendFrame(link, message):
                        if not self._send(link, message):
                            todo.append(SendFailed(action))
                    case DeliverFrame(message):
                        if isinstance(message, bytes) or not self._send(LOCAL, message):
                            todo.extend(_reject_unreadable(message))
                    case RequestUnreachable(leg, reason) if leg in self._carriers:
                        self._carriers[leg].abandon(reason)
                    case PersistOverlay():
                        saves.append(action)
                    case OverlayLogEntry(level, text):
                        log.log(level, "%s", text)
        self._timer.update()
        return saves

    def _send(self, link: str, message: Message) -> bool:
        carrier = self._carriers.get(link)
        if carrier is None:
            return False
        try:
            carrier.put(message)
        except SendQueueFullError as full:
            log.warning(
                "overlay link ended, the peer does not read link=%s reason=%s", link or "own-identity", full
            )
            carrier.abandon("it does not read")
            return False
        except ConnectionLostError:
            return False  # its reader gets the same error
        return True


class _LegEndpoint:
    """Endpoint of a backend that stations reach through its overlay link."""

    def __init__(self, service: OverlayService, backend: str) -> None:
        self._service = service
        self._backend = backend

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Open a channel; see DialableEndpoint."""
        return await self._service.open_leg(self._backend, request)

    async def probe(self) -> None:
        """Test whether the overlay link is open; see DialableEndpoint."""
        self._service.require_link(self._backend)


def _reject_unreadable(message: Message) -> Iterator[OwnRequest]:
    """Yield the error answer to a CALL for this node that has no receiver, such as a binary message."""
    frame = parse(message)
    if isinstance(frame, RoutedFrame) and frame.kind is OverlayMessageKind.CALL:
        yield OwnRequest(call_error(frame.id, "NotSupported", "this node only passes on what is for others"))


def offered_versions(protocol: Version) -> tuple[Version, ...]:
    """Return the versions that an overlay link offers: as WWCP nodes do, unless the site uses OCPP 1.6."""
    return (Version.V16,) if protocol is Version.V16 else (Version.V21, Version.V201)


def _carried_version(link: Version, wanted: Sequence[str]) -> Version | None:
    """Return the version in which a station is served over an overlay link; None if there is none.

    A node that has agreed on 2.1 reads messages of 2.0.1 as well.
    """
    carried = {link, Version.V201} if link is Version.V21 else {link}
    return next((version for version in map(Version, wanted) if version in carried), None)


def _cancel(scope: trio.CancelScope, reason: str) -> None:
    log.warning("overlay link ended reason=%s", reason)
    scope.cancel()


def _describe_loss(lost: BaseExceptionGroup[BaseException]) -> str:
    return "; ".join(sorted({str(each) for each in leaves(lost)}))
