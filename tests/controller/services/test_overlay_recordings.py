"""Recorded traffic of WWCP nodes played over sockets around whole daemons, in each place of a controller.

What a daemon of ours passes on is compared frame by frame with the recording. Left out is what a node says
for itself: its application's messages in the recording, and of ours boots, topology and limits.
"""

from __future__ import annotations

import re
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from pathlib import Path

import pytest
import trio
from trio_websocket import WebSocketConnection

from controller.config import Config
from controller.overlay import overlay_frames
from controller.overlay.overlay_frames import Message, RoutedFrame, parse
from controller.overlay.overlay_wire import BROADCAST, OverlayMessageKind
from controller.services.app import App
from tests.bounds import HANG_S
from tests.controller.overlay.recording_player import (
    UTC_S,
    RecordedFrame,
    keys_of,
    read_recording,
    without_alias,
)
from tests.controller.services.overlay.test_overlay_service import configured, station
from tests.controller.services.test_app import running
from tests.controller.services.test_app_clock import OffsetClock
from tests.scenario.link_harness import serve_csms

FOLDER = Path(__file__).parent.parent / "overlay" / "recordings"
CHAINS = {
    "chain3-unsigned": ("CS01", "LC01", "csms01"),
    "chain3-signed": ("CS01", "LC01", "csms01"),
    "chain4-signed": ("CS01", "LC02", "LC01", "csms01"),
}
PLACES = [
    ("chain3-unsigned", ("LC01",), False),
    ("chain3-signed", ("LC01",), False),
    ("chain3-signed", ("LC01",), True),
    ("chain4-signed", ("LC02", "LC01"), False),
    ("chain4-signed", ("LC02", "LC01"), True),
    ("chain4-signed", ("LC02",), True),
    ("chain4-signed", ("LC01",), True),
]
OVERLAY = {"x-ocpp-networkingmode": "OverlayNetwork"}
_OWN_ID = re.compile(r"[0-9a-f]{8}-[0-9a-f-]{27}")
_REQUESTS = (OverlayMessageKind.CALL, OverlayMessageKind.SEND)


class SocketPlayer:
    """The recorded nodes around the daemons; `sockets`: to the node below and to the one above."""

    def __init__(self, ours: Sequence[str], sockets: dict[str, WebSocketConnection], uppermost: App) -> None:
        self._ours = set(ours)
        self._uppermost = uppermost
        self._has_controller_below = len(ours) > 1 or "CS01" not in sockets
        self._sockets = sockets
        self._bodies: set[tuple[bytes, ...]] = set()
        """What the recorded nodes have sent: only that can be passed on."""
        self._left_out: set[tuple[str, str]] = set()
        """Author and id of requests that are not played, or that the daemons forward."""
        self.compared = 0

    async def play(self, recording: Sequence[RecordedFrame]) -> list[str]:
        """Play the recording; returns what differs, a line each."""
        wrong: list[str] = []
        for recorded in recording:
            is_inner = recorded.source in self._ours and recorded.target in self._ours
            is_outer = not {recorded.source, recorded.target} & self._ours
            if recorded.kind == "http" or is_inner or is_outer:
                continue
            frame = parse(recorded.message)
            assert isinstance(frame, RoutedFrame)
            if recorded.target in self._ours:
                await self._send(recorded, frame)
            else:
                wrong += await self._compare(recorded, frame)
        return wrong

    async def _send(self, recorded: RecordedFrame, frame: RoutedFrame) -> None:
        if len(frame.destination) > 1 or frame.destination == (BROADCAST,):
            # WWCP controllers keep these for themselves, and their answer is that of their application.
            return
        if frame.kind is OverlayMessageKind.RESULT and (recorded.target, frame.id) in self._left_out:
            return
        self._bodies.add(frame.body)
        if recorded.source.startswith("csms") and self._has_controller_below:
            await self._wait_reached("CS01")
        await self._sockets[recorded.source].send_message(recorded.message)

    async def _wait_reached(self, node: str) -> None:
        """Wait until the upper daemon has a route: topology is announced with a short delay."""
        with trio.fail_after(HANG_S):
            while node not in self._reached():  # noqa: ASYNC110 the status is what a person sees
                await trio.sleep(0.05)

    def _reached(self) -> set[str]:
        overlay = self._uppermost.status().overlay
        return set() if overlay is None else {node for each in overlay.neighbours for node in each.reached}

    async def _compare(self, recorded: RecordedFrame, frame: RoutedFrame) -> list[str]:
        if frame.body not in self._bodies:  # of the recorded node's own application
            if frame.kind in _REQUESTS:
                self._left_out.add((recorded.source, frame.id))
            return []
        self.compared += 1
        expected = without_alias(recorded.message)
        with trio.move_on_after(5):
            while True:
                message = await self._sockets[recorded.target].get_message()
                if message == expected:
                    return []
                await self._refuse(recorded.target, message)
                if not _is_own(message, self._ours):
                    return [f"{recorded.source} > {recorded.target}: {message!r} instead of {expected!r}"]
        return [f"{recorded.source} > {recorded.target}: missing {expected!r}"]

    async def _refuse(self, receiver: str, message: Message) -> None:
        """Answer a request of a daemon itself as WWCP nodes do; its queue goes on."""
        frame = parse(message)
        assert isinstance(frame, RoutedFrame)
        if frame.kind is OverlayMessageKind.CALL and _OWN_ID.fullmatch(frame.id):
            error = overlay_frames.error(frame.id, "Filtered", "The request was REJECTED!")
            answer = overlay_frames.to_plain(error)
            if frame.path:
                answer = overlay_frames.to_overlay(error, frame.path[:1], (receiver,))
            await self._sockets[receiver].send_message(answer)


def _is_own(message: Message, ours: set[str]) -> bool:
    """Return True for a message that a daemon sends for itself."""
    frame = parse(message)
    assert isinstance(frame, RoutedFrame)
    if frame.kind in _REQUESTS:
        return _OWN_ID.fullmatch(frame.id) is not None
    return bool(frame.path) and frame.path[0] in ours


def configure(folder: Path, name: str, port: int, below: str, above: str, policy: str) -> Config:
    """Configure a daemon between two nodes; the WWCP backend is known by its alias only."""
    (folder / name).mkdir()
    mode = "standard" if below == "CS01" else "overlay"
    path, node = ("ocpp", above) if above in ("LC01", "LC02") else ("csms", "CSMS")
    return configured(folder, name, port, node, below, mode, path, more=policy)


def policy_of(folder: Path, recording: Sequence[RecordedFrame]) -> str:
    """Write a policy by which every signature of every message is verified, and the table that names it."""
    known = sorted(keys_of(recording))
    keys = "".join(f'[[key]]\nholder = "{holder}"\npublic = "{public}"\n' for holder, public in known)
    rule = (
        '[[verify]]\nid = "all"\nrequire = "verifyAll"\nkinds = ["request", "response", "send"]\n'
        f"holders = {sorted({holder for holder, _ in known})}\n"
    )
    (folder / "policy.toml").write_text(f"version = 1\n{keys}{rule}")
    return f'[signing]\npolicy = "{folder / "policy.toml"}"'


@asynccontextmanager
async def daemons(
    folder: Path, chain: Sequence[str], ours: Sequence[str], policy: str
) -> AsyncIterator[SocketPlayer]:
    """Run the daemons, the upper one first, and connect the recorded nodes to them."""
    first, last = chain.index(ours[0]), chain.index(ours[-1])
    async with serve_csms() as backend, AsyncExitStack() as stack:
        port = backend.port
        controllers: list[App] = []
        links: list[WebSocketConnection] = []
        for place in range(last, first - 1, -1):
            config = configure(folder, chain[place], port, chain[place - 1], chain[place + 1], policy)
            controllers.append(await stack.enter_async_context(running(config)))
            port = controllers[-1].port
            if not links:
                links.append(await backend.accept())
        below = chain[first - 1]
        headers = {} if below == "CS01" else OVERLAY
        links.append(await stack.enter_async_context(station(controllers[-1], below, **headers)))
        yield SocketPlayer(ours, {chain[last + 1]: links[0], below: links[1]}, controllers[0])


@pytest.mark.parametrize(("name", "ours", "verifies"), PLACES)
async def test_daemons_pass_recorded_frames_as_wwcp_nodes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, ours: tuple[str, ...], verifies: bool
) -> None:
    monkeypatch.setattr("controller.services.machine.wall_clock.datetime", OffsetClock)
    monkeypatch.setattr(OffsetClock, "ahead", timedelta(seconds=UTC_S - time.time()))
    recording = read_recording(FOLDER / f"{name}.jsonl")
    policy = policy_of(tmp_path, recording) if verifies else ""
    if verifies:
        recording = [each for each in recording if each.kind != "binary"]
    async with daemons(tmp_path, CHAINS[name], ours, policy) as player:
        assert await player.play(recording) == []
        assert player.compared > 10
