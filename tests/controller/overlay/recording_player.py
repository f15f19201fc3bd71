"""Player for recorded traffic of WWCP nodes around the controller's nodes: a new recording is a new test.

A recording has one frame a line: `from`, `to`, `kind` (`http`, `text`, `binary` in hex) and `data`. Nodes
named as `ours` are built anew; frames of all others are fed to them as recorded, and every frame that ours
send is compared with the recorded one. A recorded frame of ours that nothing has caused was that node's own:
it is handed to the node as its own message first.

Ours differ on purpose: a request with a list of nodes as destination goes on to the next, where WWCP
controllers answer it themselves; and the alias of the backend, which they append to the path of binary
frames, is left out.
"""

from __future__ import annotations

import json
import random
from collections import defaultdict, deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from controller.overlay.events import (
    DeliverFrame,
    Event,
    FrameHeld,
    FrameReceived,
    FrameReleased,
    LinkSide,
    LinkState,
    LinkUp,
    OwnRequest,
    SendFrame,
)
from controller.overlay.node import Node, NodeSettings
from controller.overlay.overlay_frames import Message, RoutedFrame, parse, to_overlay, to_plain
from controller.overlay.overlay_wire import BROADCAST, CSMS, NetworkingMode, OverlayMessageKind
from controller.signing.policy_enforcer import PolicyEnforcer

_REQUESTS = (OverlayMessageKind.CALL, OverlayMessageKind.SEND)
UTC_S = 1_795_733_380.0
"""Time of the recordings, within the validity of their topology."""


class RecordedFrame(msgspec.Struct, frozen=True, rename={"source": "from", "target": "to"}):
    """One line of a recording."""

    at_s: float
    source: str
    target: str
    kind: str
    data: str

    @property
    def message(self) -> Message:
        return bytes.fromhex(self.data) if self.kind == "binary" else self.data


def read_recording(file: Path) -> list[RecordedFrame]:
    return [msgspec.json.decode(line, type=RecordedFrame) for line in file.read_text().splitlines()]


class RecordingPlayer:
    """The controller's nodes in a chain, stations first; `chain`: all nodes of the recording in order."""

    def __init__(
        self,
        chain: Iterable[str],
        ours: Iterable[str],
        gate: PolicyEnforcer | None = None,
        *,
        overlay_stations: bool = False,
    ) -> None:
        self._station_mode = NetworkingMode.OVERLAY if overlay_stations else NetworkingMode.STANDARD
        self._chain = list(chain)
        self.nodes: dict[str, Node] = {}
        self._sent: dict[tuple[str, str], deque[Message]] = defaultdict(deque)
        self._beyond: set[tuple[str, str]] = set()
        """Author and id of requests that the controller forwards and the recorded node does not."""
        self._surplus: list[tuple[str, str, Message]] = []
        self.delivered: list[tuple[str, Message]] = []
        for name in ours:
            self.nodes[name] = self._node(name, gate)
        for name, node in self.nodes.items():
            self._do(name, node, [LinkUp(link) for link in self._links(name)])

    def play(self, recording: Iterable[RecordedFrame]) -> list[str]:
        """Play a recording; returns what differs, a line each."""
        return [line for frame in recording if frame.kind != "http" for line in self._play(frame)]

    def _play(self, frame: RecordedFrame) -> Iterator[str]:
        parsed = parse(frame.message)
        assert isinstance(parsed, RoutedFrame)
        if len(parsed.destination) > 1 or parsed.destination == (BROADCAST,):
            self._beyond.add((frame.source, parsed.id))
        elif parsed.kind is OverlayMessageKind.RESULT and (frame.target, parsed.id) in self._beyond:
            return
        if frame.source in self.nodes:
            yield from self._compare(frame)
        if frame.target in self.nodes:
            received = FrameReceived(frame.source, frame.message)
            self._do(frame.target, self.nodes[frame.target], [received])

    def _compare(self, frame: RecordedFrame) -> Iterator[str]:
        queue = self._sent[frame.source, frame.target]
        if not queue:
            self._do(frame.source, self.nodes[frame.source], [_own(frame)])
        if not queue:
            yield f"{frame.source} > {frame.target}: missing {frame.data}"
        elif (sent := queue.popleft()) != without_alias(frame.message):
            yield f"{frame.source} > {frame.target}: {sent!r} instead of {frame.data}"

    def surplus(self) -> list[tuple[str, str, Message]]:
        """Messages beyond the recording: sender, receiver, message."""
        waiting = [(*link, message) for link, queue in self._sent.items() for message in queue]
        return [*self._surplus, *waiting]

    def _node(self, name: str, gate: PolicyEnforcer | None) -> Node:
        return Node(
            NodeSettings(
                own=name,
                sign=lambda payload: payload,
                verify=lambda node, payload, is_call: None,
                utc_of=lambda now: UTC_S + now,
                new_id=lambda: "new",
                dice=random.Random(1),
                enforcer=gate,
            )
        )

    def _links(self, name: str) -> Iterator[LinkState]:
        place = self._chain.index(name)
        below, above = self._chain[place - 1], self._chain[place + 1]
        mode = self._station_mode if place == 1 else NetworkingMode.OVERLAY
        yield LinkState(link=below, peer=below, mode=mode, side=LinkSide.DOWN)
        # The backend's own id is learned from its frames.
        peer = "CSMS" if place == len(self._chain) - 2 else above
        yield LinkState(link=above, peer=peer, mode=NetworkingMode.OVERLAY, side=LinkSide.UP)

    def _do(self, name: str, node: Node, events: Iterable[Event]) -> None:
        todo = deque(events)
        while todo:
            for action in node.handle(todo.popleft(), 0.0):
                match action:
                    case SendFrame(link, message, frame):
                        author = frame.path[0] if frame.path else name
                        if frame.kind in _REQUESTS and (author, frame.id) in self._beyond:
                            self._surplus.append((name, link, message))
                        else:
                            self._sent[name, link].append(message)
                    case FrameHeld():
                        todo.append(FrameReleased(action))
                    case DeliverFrame(message):
                        self.delivered.append((name, message))


def without_alias(message: Message) -> Message:
    frame = parse(message)
    if isinstance(message, str) or not isinstance(frame, RoutedFrame) or CSMS not in frame.path:
        return message
    return to_overlay(frame, frame.destination, tuple(node for node in frame.path if node != CSMS))


def _own(recorded: RecordedFrame) -> OwnRequest:
    """Convert a recorded frame to one that its node sends for itself."""
    frame = parse(recorded.message)
    assert isinstance(frame, RoutedFrame)
    return OwnRequest(to_plain(frame), frame.destination or (recorded.target,))


def keys_of(recording: Iterable[RecordedFrame]) -> set[tuple[str, str]]:
    """Return holder and public key of all signatures in a recording."""
    found = set()
    for frame in recording:
        if frame.kind != "text":
            continue
        for element in json.loads(frame.data):
            signatures: list[dict[str, Any]] = (
                element.get("signatures", []) if isinstance(element, dict) else []
            )
            found |= {(each.get("name", "author"), each["keyId"]) for each in signatures}
    return found
