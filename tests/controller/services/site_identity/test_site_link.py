"""Links of the site itself to a backend: errors of our own in a message end the link alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from types import SimpleNamespace
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from controller.backends.pool import BackendPool
from controller.config.schema import BackendConfig
from controller.model.effects import BackendLost, BackendUp, FromBackend
from controller.ocpp.frames import Version
from controller.services.overlay import overlay_uplink
from controller.services.overlay.overlay_links import OverlayLinks
from controller.services.overlay.overlay_uplink import OverlayUplink
from controller.services.site_identity.site_link import FAULT_WAIT_S, LinkEvent, SiteLink


class OneMessagePool:
    """A pool whose links each receive one message, and nothing else."""

    backend = "csms"

    def __init__(self, *messages: str) -> None:
        self._messages = list(messages)

    async def wait_ready(self, _: object) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def hold_link(self, _: object, *, is_owner: bool) -> AsyncIterator[SimpleNamespace]:
        assert is_owner
        yield SimpleNamespace(channel=self, version="ocpp2.1")

    def send_nowait(self, message: str) -> None:
        raise AssertionError(f"nothing is sent, {message} is")

    async def read_messages(self, receive: Callable[[str], Awaitable[None]]) -> None:
        while True:
            await receive(await self.receive())

    async def receive(self) -> str:
        if not self._messages:
            await trio.sleep_forever()
        return self._messages.pop(0)


async def test_site_link_error_in_message_ends_link_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    events: list[tuple[float, LinkEvent]] = []

    async def handle(event: LinkEvent) -> None:
        events.append((trio.current_time(), event))
        if event == FromBackend("bad"):
            raise OverflowError("date value out of range")

    began = trio.current_time()
    link = SiteLink(cast(BackendPool, OneMessagePool("bad", "good")), "lc", "ocpp2.0.1")
    with trio.move_on_after(2 * FAULT_WAIT_S):
        await link.run(handle)
    assert [(at - began, event) for at, event in events] == [
        (0, BackendUp()),
        (0, FromBackend("bad")),
        (0, BackendLost("internal error")),
        (FAULT_WAIT_S, BackendUp()),
        (FAULT_WAIT_S, FromBackend("good")),
    ]
    assert "site link closed by an internal error" in caplog.text


async def test_overlay_uplink_error_in_frame_ends_link_alone(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    received: list[tuple[float, str]] = []

    async def receive(_: str, message: str) -> None:
        received.append((trio.current_time() - began, message))
        if message == "bad":
            raise OverflowError("date value out of range")

    began = trio.current_time()
    links = cast(OverlayLinks, SimpleNamespace(use_link=lambda *_: nullcontext(), receive=receive))
    pool = cast(BackendPool, OneMessagePool("bad", "good"))
    settings = BackendConfig(id="csms", url="ws://127.0.0.1:1/{station}", node="CSMS")
    uplink = OverlayUplink(links, pool, settings, "lc", Version.V21, ping_s=1000)
    with trio.move_on_after(2 * overlay_uplink.FAULT_WAIT_S):
        await uplink.run()
    assert received == [(0, "bad"), (overlay_uplink.FAULT_WAIT_S, "good")]
    assert "overlay link closed by an internal error" in caplog.text
