"""Links of the site itself to a backend: errors of our own in a message end the link alone."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, nullcontext
from functools import partial
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
from controller.transport.dial import DialError
from controller.transport.transport_errors import ConnectionLostError


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


class AwayPool(OneMessagePool):
    """A pool whose dials fail, but for one link, which is lost at once."""

    reasons = ("refused", "refused", "refused", "reset", "reset", "open", "reset", "reset")

    def __init__(self) -> None:
        super().__init__()
        self._left = list(self.reasons)

    @asynccontextmanager
    async def hold_link(self, _: object, *, is_owner: bool) -> AsyncIterator[SimpleNamespace]:
        if not self._left:
            await trio.sleep_forever()
        if (reason := self._left.pop(0)) != "open":
            raise DialError(reason)
        yield SimpleNamespace(channel=self, version="ocpp2.1")

    async def read_messages(self, _: object) -> None:
        raise ConnectionLostError("lost")

    async def receive(self) -> str:
        raise ConnectionLostError("lost")


async def test_links_of_site_warn_once_for_each_reason_of_a_failure(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async def handle(_: LinkEvent) -> None:
        await trio.lowlevel.checkpoint()

    links = cast(OverlayLinks, SimpleNamespace(use_link=lambda *_: nullcontext(), receive=print))
    settings = BackendConfig(id="csms", url="ws://127.0.0.1:1/{station}", node="CSMS")
    pool = cast(BackendPool, AwayPool())
    uplink = OverlayUplink(links, pool, settings, "lc", Version.V21, ping_s=1000)
    link = SiteLink(cast(BackendPool, AwayPool()), "lc", "ocpp2.0.1")
    for name, run in (("overlay link", uplink.run), ("site link", partial(link.run, handle))):
        with trio.move_on_after(1):
            await run()
        warned = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
        expected = ["refused", "reset", "lost", "reset"]
        assert [text.partition(" reason=")[2] for text in warned] == expected
        assert all(text.startswith(f"{name} lost backend=csms") for text in warned)
        caplog.clear()


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
