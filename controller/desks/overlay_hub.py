"""The controller as a node of the overlay network: links of many stations, and the legs of each in them.

    child controller --link in overlay mode--> node --leg--> the session of the child's own identity
    session of a station --leg--> node --link in overlay mode--> backend, one link for all stations

A leg is a plain link of the node, so a station's relay need not know of any of this. What decides is
`overlay.node`; here are its links and its clock.
"""

from __future__ import annotations

import logging
import random
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial

import msgspec
import trio

from controller.config import Config
from controller.config.backends import uplinks_of
from controller.desks.limits import utc
from controller.desks.overlay_settings import Trust, node_settings
from controller.groups import leaves
from controller.links.alarm import Alarm
from controller.links.channel import Channel
from controller.links.dial import LinkRefused
from controller.links.engine import Full, LinkLost
from controller.links.handshake import Admitted
from controller.links.leg import Leg
from controller.links.pacing import Bucket
from controller.links.uplinks import Uplinks
from controller.links.way import GOING_AWAY, keep_pinging
from controller.ocpp.frames import call_error
from controller.overlay.events import (
    HERE,
    Came,
    Deliver,
    Event,
    LinkDown,
    LinkUp,
    Note,
    NotSent,
    Own,
    Save,
    Saved,
    Sending,
    Side,
    Tick,
    Unreached,
    Way,
)
from controller.overlay.frames import Message, Routed, parse
from controller.overlay.node import Node
from controller.overlay.wire import CSMS, Kind, Mode
from controller.signing.replay import Remember
from controller.store.database import StoreFailed
from controller.web.status import NeighbourStatus, OverlayStatus

log = logging.getLogger("controller.overlay")

Serve = Callable[[Admitted, Channel], Awaitable[None]]

LEG, BELOW, ABOVE = 0, 1, 2
"""Priorities of links: what is for a station goes into its leg, and a way down is shorter than one up."""


class _Carrier(msgspec.Struct, frozen=True):
    """How a link takes a message, and how it is given up; `only`: the link that carries it, if one does."""

    put: Callable[[Message], None]
    give_up: Callable[[str], None]
    only: str | None = None


class OverlayHub:
    """One controller's node, with all its links. `uplinks` are those of the backends in overlay mode.

    `save` makes durable which signed messages were here; it raises StoreFailed.
    """

    def __init__(
        self,
        config: Config,
        uplinks: Mapping[str, Uplinks],
        trust: Trust,
        save: Callable[[Sequence[Remember]], Awaitable[None]],
    ) -> None:
        self._save = save
        self._own = config.site.id
        self._version = config.site.protocol
        self._listen = config.listen
        self._uplinks = uplinks
        firsts = {name: tables[0] for name, tables in uplinks_of(config).items()}
        self._peers = {name: first.node for name, first in firsts.items()}
        self._patience_s = {name: first.connect_timeout_s for name, first in firsts.items()}
        self._node = Node(node_settings(config, trust, utc))
        self._carriers: dict[str, _Carrier] = {}
        self._alarm = Alarm(lambda: self._node.wake_at)

    def ways_to(self, backend: str) -> Uplinks:
        """The ways of single stations to a backend in overlay mode."""
        return Uplinks(backend, {backend: (0, _Through(self, backend))}, random.Random())

    def status(self) -> OverlayStatus:
        """What people and monitoring are told."""
        neighbours = self._node.neighbours(trio.current_time())
        return OverlayStatus(
            neighbours=tuple(
                NeighbourStatus(link=link, reached=reached) for link, reached in neighbours.items()
            ),
            dropped_total=dict(self._node.counts),
        )

    async def run(self) -> None:
        """Keep the links to backends and the node's time, until cancelled."""
        async with trio.open_nursery() as nursery:
            for backend, uplinks in self._uplinks.items():
                nursery.start_soon(uplinks.run)
                nursery.start_soon(self._keep_up, backend, uplinks)
            while True:
                await self._alarm.ring()
                self._feed(Tick())

    # -- links below ----------------------------------------------------------------------------------

    async def serve(self, admitted: Admitted, link: Channel, serve: Serve) -> None:
        """A station in overlay mode, until its link or its session ends.

        `serve` serves what it says for itself, over a leg; what is behind it goes through the node.
        """
        station = admitted.station
        way = Way(
            link=station, peer=station, mode=Mode.OVERLAY, side=Side.DOWN, priority=BELOW,
            version=admitted.version,
        )  # fmt: skip
        itself = msgspec.structs.replace(admitted, mode=Mode.STANDARD)
        try:
            with self._relayed(station) as leg, self._up(way, _Carrier(link.put, leg.end)):
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._read_below, station, link, leg)
                    nursery.start_soon(self._ping_below, link, leg)
                    await serve(itself, leg)
                    nursery.cancel_scope.cancel()
        finally:
            await link.close(GOING_AWAY, "")

    async def _read_below(self, station: str, link: Channel, leg: Leg) -> None:
        """As fast as stations may send: what waits in its socket fills nobody's memory."""
        rate = self._listen.messages_per_second
        pace = Bucket(rate, burst=max(1, int(rate)))
        try:
            while True:
                message = await link.receive()
                await trio.sleep(pace.take(trio.current_time()))
                await self._hear(station, message)
        except LinkLost as lost:
            leg.end(str(lost))

    async def _ping_below(self, link: Channel, leg: Leg) -> None:
        try:
            await keep_pinging(link, self._listen.ping_s)
        except LinkLost as lost:
            leg.end(str(lost))

    @contextmanager
    def _relayed(self, station: str) -> Iterator[Leg]:
        """The leg of a station's own session: for the node it is the station's own backend."""
        name = f"session of {station}"
        way = Way(
            link=name, peer=CSMS, mode=Mode.STANDARD, side=Side.UP, priority=LEG, serves=station, only=station
        )
        with self._leg(way) as leg:
            yield leg

    # -- links above ----------------------------------------------------------------------------------

    def stands(self, backend: str) -> None:
        """Raises LinkRefused where there is no link in overlay mode to a backend."""
        if backend not in self._carriers:
            raise LinkRefused("its link in overlay mode does not stand")

    @asynccontextmanager
    async def through(self, backend: str, admitted: Admitted) -> AsyncIterator[Channel]:
        """A station's leg to a backend, open inside the block. Raises LinkRefused where it cannot be.

        At a start, and after a loss, it waits for the link that carries it, for as long as for any dial.
        """
        with trio.move_on_after(self._patience_s[backend]):
            while backend not in self._carriers:
                await self._alarm.stirred()
        self.stands(backend)
        if admitted.version is not self._version:
            raise LinkRefused(
                f"its link in overlay mode speaks {self._version}, the station {admitted.version}; "
                "set site.protocol to what all its stations speak"
            )
        if admitted.station == self._own:
            with self._spoken_for(backend) as leg:
                yield leg
            return
        way = Way(
            link=f"{admitted.station} at {backend}", peer=admitted.station, mode=Mode.STANDARD,
            side=Side.DOWN, priority=LEG, only=backend,
        )  # fmt: skip
        with self._leg(way) as leg:
            yield leg

    @contextmanager
    def _spoken_for(self, backend: str) -> Iterator[Leg]:
        """The leg of the controller's own identity: what comes for the node itself comes out of it."""
        peer = self._peers[backend]
        leg = Leg(lambda message: self._feed(Own(message, (peer,))))
        self._carriers[HERE] = carrier = _Carrier(leg.pass_on, leg.end, backend)
        try:
            yield leg
        finally:
            if self._carriers.get(HERE) is carrier:
                del self._carriers[HERE]

    async def _keep_up(self, backend: str, uplinks: Uplinks) -> None:
        admitted = Admitted(self._own, self._version)
        way = Way(
            link=backend, peer=self._peers[backend], mode=Mode.OVERLAY, side=Side.UP, priority=ABOVE,
            version=self._version,
        )  # fmt: skip
        while True:
            try:
                async with uplinks.open(admitted, owner=True) as (link, _), trio.open_nursery() as nursery:
                    carrier = _Carrier(link.put, partial(_cancel, nursery.cancel_scope))
                    with self._up(way, carrier):
                        nursery.start_soon(keep_pinging, link, self._listen.ping_s)
                        while True:
                            await self._hear(backend, await link.receive())
            except* (LinkLost, LinkRefused) as lost:
                log.warning("the link in overlay mode to backend %s: %s", backend, _said(lost))
            await uplinks.ready(self._own)

    # -- all links --------------------------------------------------------------------------------------

    @contextmanager
    def _leg(self, way: Way) -> Iterator[Leg]:
        leg = Leg(lambda message: self._feed(Came(way.link, message)))
        try:
            with self._up(way, _Carrier(leg.pass_on, leg.end, way.only)):
                yield leg
        finally:
            leg.end("it is closed")

    @contextmanager
    def _up(self, way: Way, carrier: _Carrier) -> Iterator[None]:
        """The node uses a link inside the block; an older one of the same name is given up."""
        older = self._carriers.get(way.link)
        self._carriers[way.link] = carrier
        if older is not None:
            older.give_up("another link has taken its place")
        self._feed(LinkUp(way))
        try:
            yield
        finally:
            if self._carriers.get(way.link) is carrier:
                del self._carriers[way.link]
                self._feed(LinkDown(way.link))
                for each in [each for each in self._carriers.values() if each.only == way.link]:
                    each.give_up("the link in overlay mode that carries it is gone")

    # -- the node -----------------------------------------------------------------------------------

    async def _hear(self, link: str, message: Message) -> None:
        """What has come over a link. What must be on disk first lets nobody wait but who has sent it."""
        for save in self._feed(Came(link, message)):
            try:
                await self._save(save.words)
            except StoreFailed as failed:
                log.error("a signed message from %s goes no further: %s", link, failed)
                self._feed(Saved(save, done=False))
            else:
                self._feed(Saved(save))

    def _feed(self, event: Event) -> list[Save]:
        """Let the node do what follows, and give back what has to be saved before more does."""
        saves: list[Save] = []
        todo: deque[Event] = deque((event,))
        while todo:
            for action in self._node.handle(todo.popleft(), trio.current_time()):
                match action:
                    case Sending(link, message):
                        if not self._sent(link, message):
                            todo.append(NotSent(action))
                    case Deliver(message):
                        if isinstance(message, bytes) or not self._sent(HERE, message):
                            todo.extend(_nobody_there(message))
                    case Unreached(leg, reason) if leg in self._carriers:
                        self._carriers[leg].give_up(reason)
                    case Save():
                        saves.append(action)
                    case Note(level, text):
                        log.log(level, "%s", text)
        self._alarm.stir()
        return saves

    def _sent(self, link: str, message: Message) -> bool:
        carrier = self._carriers.get(link)
        if carrier is None:
            return False
        try:
            carrier.put(message)
        except Full as full:
            log.warning("the link of %s is given up, it does not read: %s", link or "our own identity", full)
            carrier.give_up("it does not read")
            return False
        except LinkLost:
            return False  # its reader hears of it in a moment
        return True


class _Through:
    """The way of single stations to a backend, through the link in overlay mode."""

    def __init__(self, hub: OverlayHub, backend: str) -> None:
        self._hub = hub
        self._backend = backend

    def open(self, admitted: Admitted) -> AbstractAsyncContextManager[Channel]:
        """See `uplinks.Way`."""
        return self._hub.through(self._backend, admitted)

    async def probe(self) -> None:
        """See `uplinks.Way`."""
        self._hub.stands(self._backend)


def _nobody_there(message: Message) -> Iterator[Own]:
    """What is answered where nobody here could: there is no identity, or it does not read binary messages."""
    frame = parse(message)
    if isinstance(frame, Routed) and frame.kind is Kind.CALL:
        yield Own(call_error(frame.id, "NotSupported", "this node only passes on what is for others"))


def _cancel(scope: trio.CancelScope, reason: str) -> None:
    log.warning("a link in overlay mode is given up: %s", reason)
    scope.cancel()


def _said(lost: BaseExceptionGroup[BaseException]) -> str:
    return "; ".join(sorted({str(each) for each in leaves(lost)}))
