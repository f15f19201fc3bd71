"""A network in memory: nodes of the controller, and foreign nodes that only record frames."""

from __future__ import annotations

import itertools
import json
import random
from collections import deque
from collections.abc import Sequence
from typing import Any

from controller.model.effects import LogEntry
from controller.overlay.events import (
    Action,
    DeliverFrame,
    Event,
    FrameHeld,
    FrameReceived,
    FrameReleased,
    LinkDown,
    LinkSide,
    LinkState,
    LinkUp,
    OverlayTick,
    OwnRequest,
    RequestUnreachable,
    SendFailed,
    SendFrame,
)
from controller.overlay.node import Node, NodeSettings
from controller.overlay.overlay_frames import Message
from controller.overlay.overlay_wire import NetworkingMode

UTC_S = 1_795_000_000.0
MOST_MESSAGES = 10_000


def unsigned(payload: bytes) -> bytes:
    return payload


def trusting(node: str, payload: bytes, is_call: bool) -> str | None:
    return None


class Net:
    """Nodes and their links; `got`: frames to each foreign node, `here`: messages that nodes delivered.

    `forwards`: texts take the short way of the forwarding table where they can, as in the daemon; they are
    counted in `forwarded`.
    """

    def __init__(self, *, forwards: bool = True) -> None:
        self.forwards = forwards
        self.forwarded = 0
        self.now = 1000.0
        self.nodes: dict[str, Node] = {}
        self.got: dict[str, list[Message]] = {}
        self.here: dict[str, list[DeliverFrame]] = {}
        self.notes: list[str] = []
        self.unreached: list[tuple[str, str]] = []
        self.saved = 0
        self.disk_full = False
        self.broken: set[tuple[str, str]] = set()
        """Links that take nothing, and whose node does not know yet."""
        self._links: set[tuple[str, str]] = set()
        self._ids = (f"new-{number}" for number in itertools.count(1))
        self._todo: deque[tuple[str, Event]] = deque()

    def node(self, name: str, **settings: Any) -> Node:
        usual: dict[str, Any] = {
            "own": name,
            "sign": unsigned,
            "verify": trusting,
            "dice": random.Random(1),
            "utc_of": lambda now: UTC_S + now,
            "new_id": lambda: next(self._ids),
        }
        made = NodeSettings(**(usual | settings))
        self.nodes[name], self.here[name] = Node(made), []
        return self.nodes[name]

    def link(
        self, lower: str, upper: str, mode: NetworkingMode = NetworkingMode.OVERLAY, **more: Any
    ) -> None:
        """Open a link between two, at least one of them a node; it has the name of the other end."""
        for one, other, side in ((lower, upper, LinkSide.UP), (upper, lower, LinkSide.DOWN)):
            self._links.add((one, other))
            if one in self.nodes:
                self.feed(one, LinkUp(LinkState(link=other, peer=other, mode=mode, side=side, **more)))
            else:
                self.got.setdefault(one, [])
        self.run()

    def cut(self, one: str, other: str) -> None:
        for here, there in ((one, other), (other, one)):
            self._links.discard((here, there))
            self.broken.discard((here, there))
            if here in self.nodes:
                self.feed(here, LinkDown(there))
        self.run()

    def send_frame(self, foreign: str, node: str, *frame: Any) -> None:
        """Send a frame of a foreign node, given element by element."""
        self.send(foreign, node, json.dumps(frame))

    def send(self, foreign: str, node: str, message: Message) -> None:
        self.feed(node, FrameReceived(foreign, message))
        self.run()

    def own(self, node: str, *frame: Any, to: Sequence[str] = ()) -> None:
        self.feed(node, OwnRequest(json.dumps(frame), tuple(to)))
        self.run()

    def feed(self, node: str, event: Event) -> None:
        self._todo.append((node, event))

    def run(self) -> None:
        """Until nothing moves."""
        for _ in range(MOST_MESSAGES):
            if not self._todo:
                return
            node, event = self._todo.popleft()
            if isinstance(event, FrameReceived) and self._forward(node, event):
                continue
            for action in self.nodes[node].handle(event, self.now):
                self._do(node, action)
        raise AssertionError("the network does not come to rest")

    def _forward(self, node: str, event: FrameReceived) -> bool:
        """Let the forwarding table send a text on; return False if it takes the pipeline."""
        if not self.forwards or isinstance(event.message, bytes):
            return False
        table = self.nodes[node].forwarding
        forwarded = table.forward_text(event.link, event.message, self.now)
        if forwarded is None:
            return False
        self.forwarded += 1
        sending = table.describe_sending(forwarded, event.link, event.message)
        assert sending is not None
        self._do(node, sending)
        return True

    def wait(self, seconds: float) -> None:
        """Let time pass, and every node have its ticks."""
        until = self.now + seconds
        for _ in range(MOST_MESSAGES):
            self.now = max(self.now, min(until, *(node.wake_at for node in self.nodes.values())))
            for name, node in self.nodes.items():
                if node.wake_at <= self.now:
                    self.feed(name, OverlayTick())
            self.run()
            if self.now >= until and all(node.wake_at > self.now for node in self.nodes.values()):
                return
        raise AssertionError("the network never sleeps")

    def _do(self, node: str, action: Action) -> None:
        match action:
            case DeliverFrame():
                self.here[node].append(action)
            case FrameHeld():
                self.saved += 1
                self.feed(node, FrameReleased(action, done=not self.disk_full))
            case RequestUnreachable(leg, reason):
                self.unreached.append((leg, reason))
            case LogEntry(text=text):
                self.notes.append(text)
            case SendFrame(link, message):
                if (node, link) in self.broken:
                    self.feed(node, SendFailed(action))
                elif link in self.nodes:
                    self.feed(link, FrameReceived(node, message))
                else:
                    self.got[link].append(message)

    def reachable(self, node: str) -> dict[str, int]:
        """Whom a node reaches, each with the best priority of a way there."""
        found: dict[str, int] = {}
        for reached in self.nodes[node].neighbors(self.now).values():
            for name, priority in reached.items():
                found[name] = min(priority, found.get(name, priority))
        return found

    # -- what was heard -----------------------------------------------------------------------------

    def received_from(self, foreign: str) -> list[Any]:
        """Return the frames to a foreign node since the last call, without topologies."""
        messages = [json.loads(message) for message in self.got[foreign]]
        self.got[foreign].clear()
        return [message for message in messages if "NotifyNetworkTopology" not in message]

    def delivered(self, node: str) -> list[tuple[Any, tuple[str, ...]]]:
        found = [(json.loads(each.message), each.path) for each in self.here[node]]
        self.here[node].clear()
        return found
