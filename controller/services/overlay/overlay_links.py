"""Open links of the overlay node: messages go in, and what the node sends goes out on them.

All decisions are those of `overlay.node`, which is sans-IO. Links are registered by those that own them
(`OverlayUplink`, `OverlayDownlink`, `OverlayEndpoint`), each with a carrier.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial

import msgspec
import trio

from controller.model.effects import LogEntry
from controller.model.journal import Persist, Record
from controller.ocpp.frames import call_error
from controller.overlay.events import (
    LOCAL,
    DeliverFrame,
    Event,
    FrameHeld,
    FrameReceived,
    FrameReleased,
    LinkDown,
    LinkState,
    LinkUp,
    OverlayTick,
    OwnRequest,
    RequestUnreachable,
    SendFailed,
    SendFrame,
)
from controller.overlay.node import Node
from controller.overlay.overlay_frames import Message, RoutedFrame, parse
from controller.overlay.overlay_wire import CSMS, OverlayMessageKind
from controller.store.state_journal import StoreError
from controller.transport.channel import Pause, VirtualChannel
from controller.transport.deadline_timer import DeadlineTimer
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller.overlay")

SaveRecords = Callable[[Sequence[Record]], Awaitable[None]]
"""Makes records durable; raises StoreError."""


class LinkCarrier(msgspec.Struct, frozen=True):
    """Functions of one link: send a message, and end it for a reason.

    `only`: the link in overlay mode that carries a virtual channel to a backend.
    """

    put: Callable[[Message], None]
    end: Callable[[str], None]
    only: str | None = None


class OverlayLinks:
    """Links of one node."""

    def __init__(self, node: Node, save: SaveRecords) -> None:
        self._node = node
        self._save = save
        self._carriers: dict[str, LinkCarrier] = {}
        self._states: dict[str, LinkState] = {}
        self._timer = DeadlineTimer(lambda: node.wake_at)
        self._clock = trio.lowlevel.current_clock()

    async def run(self) -> None:
        """Keep the node's time, until cancelled."""
        while True:
            await self._timer.wait_due()
            self._pass_event(OverlayTick())

    def find_link(self, link: str) -> LinkState | None:
        """Return the state of a link; None if it is not open."""
        return self._states.get(link) if link in self._carriers else None

    async def wait_open(self, link: str) -> None:
        """Wait until a link is open."""
        while link not in self._carriers:
            await self._timer.wait_updated()

    async def wait_unused(self, link: str) -> None:
        """Wait until a link is closed, or carries no channel."""
        while link in self._carriers and any(each.only == link for each in self._carriers.values()):
            await self._timer.wait_updated()

    def set_peer(self, link: str, peer: str) -> None:
        """Give the other end of a link another id; an open link stays open."""
        state = self.find_link(link)
        if state is None or state.peer == peer:
            return
        self._states[link] = changed = msgspec.structs.replace(state, peer=peer)
        self._pass_event(LinkUp(changed))
        own = self._carriers.get(LOCAL)
        if own is not None and own.only == link:  # its requests go to the former id
            own.end("the other end has another id")

    def receive(self, link: str, message: Message, wait_s: float = 0.0) -> Pause | None:
        """Process a message of a link. Only that link waits, `wait_s` and for what must be durable first."""
        held = self._receive(link, message)
        return partial(self._store, link, held, wait_s) if held or wait_s > 0 else None

    def _receive(self, link: str, message: Message) -> Sequence[Persist | FrameHeld]:
        """Forward a message in one step where it only passes, else pass it to the node."""
        if isinstance(message, bytes):
            return self._pass_event(FrameReceived(link, message))
        table = self._node.forwarding
        forwarded = table.forward_text(link, message, self._clock.current_time())
        if forwarded is None:
            return self._pass_event(FrameReceived(link, message))
        self._timer.update(forwarded.until)
        if self._send(forwarded.link, forwarded.text):
            return ()
        sending = table.describe_sending(forwarded, link, message)
        return () if sending is None else self._pass_event(SendFailed(sending))

    @contextmanager
    def use_link(self, state: LinkState, carrier: LinkCarrier) -> Iterator[None]:
        """Register a link with the node inside the block; an older one of the same name is ended."""
        older = self._carriers.get(state.link)
        self._carriers[state.link], self._states[state.link] = carrier, state
        if older is not None:
            older.end("another link has taken its place")
        self._pass_event(LinkUp(state))
        try:
            yield
        finally:
            if self._carriers.get(state.link) is carrier:
                del self._carriers[state.link]
                self._pass_event(LinkDown(state.link))
                for each in [each for each in self._carriers.values() if each.only == state.link]:
                    each.end("the link in overlay mode that carries it is gone")

    @contextmanager
    def open_channel(self, state: LinkState) -> Iterator[VirtualChannel]:
        """Open a virtual channel: a link in standard mode to a session or relay in this process."""
        channel = VirtualChannel(partial(self._receive, state.link))
        try:
            with self.use_link(state, LinkCarrier(channel.deliver, channel.end, state.only)):
                yield channel
        finally:
            channel.end("it is closed")

    @contextmanager
    def open_own_channel(self, backend: str) -> Iterator[VirtualChannel]:
        """Open the channel of the controller's own identity: messages for the node itself come out of it.

        Its requests are for the backend of the chain, as those of stations: a controller that is the other
        end of the link accepts none of its own from below.
        """
        channel = VirtualChannel(lambda message: self._pass_event(OwnRequest(message, (CSMS,))))
        self._carriers[LOCAL] = carrier = LinkCarrier(channel.deliver, channel.end, backend)
        try:
            yield channel
        finally:
            if self._carriers.get(LOCAL) is carrier:
                del self._carriers[LOCAL]

    async def _store(self, link: str, held: Sequence[Persist | FrameHeld], wait_s: float) -> None:
        """Wait for the pace of the link, then store records and let the messages held for them go on."""
        await trio.sleep(wait_s)
        done = True
        for action in held:
            if isinstance(action, FrameHeld):
                self._pass_event(FrameReleased(action, done))
                continue
            try:
                await self._save(action.records)
                done = True
            except StoreError as failed:
                done = False
                log.error(
                    "signed message dropped, its replay record cannot be stored link=%s reason=%s",
                    link,
                    failed,
                )

    def _pass_event(self, event: Event) -> list[Persist | FrameHeld]:
        """Pass an event to the node and carry out its actions; return what has to be stored first."""
        held: list[Persist | FrameHeld] = []
        todo = [event]
        for each in todo:  # also those that are appended meanwhile
            for action in self._node.handle(each, trio.current_time()):
                match action:
                    case SendFrame(link, message):
                        if not self._send(link, message):
                            todo.append(SendFailed(action))
                    case DeliverFrame(message):
                        if isinstance(message, bytes) or not self._send(LOCAL, message):
                            todo.extend(_reject_undelivered(message))
                    case RequestUnreachable(link, reason) if link in self._carriers:
                        self._carriers[link].end(reason)
                    case Persist() | FrameHeld():
                        held.append(action)
                    case LogEntry(level, text):
                        log.log(level, "%s", text)
        self._timer.update(self._node.wake_at)
        return held

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
            carrier.end("it does not read")
            return False
        except ConnectionLostError:
            return False  # its reader gets the same error
        return True


def _reject_undelivered(message: Message) -> Iterator[OwnRequest]:
    """Yield the error answer to a CALL for this node that has no receiver, such as a binary message."""
    frame = parse(message)
    if isinstance(frame, RoutedFrame) and frame.kind is OverlayMessageKind.CALL:
        yield OwnRequest(call_error(frame.id, "NotSupported", "this node only passes on what is for others"))
