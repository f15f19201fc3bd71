"""Endpoint of a backend that stations reach through the overlay: virtual channels over its one link."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack

import trio

from controller.backends.pool import EndpointAnswer, LinkRequest
from controller.config import BackendConfig
from controller.ocpp.frames import Version
from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_wire import NetworkingMode
from controller.services.overlay.overlay_links import OverlayLinks
from controller.transport.dial import DialError, DialStage

CHANNEL_PRIORITY = 0
"""Priority of a virtual channel: before links to children and to backends."""


class OverlayEndpoint:
    """Opens channels to one backend. `own`: id of the controller's own identity."""

    def __init__(self, links: OverlayLinks, backend: str, settings: BackendConfig, own: str) -> None:
        self._links = links
        self._backend = backend
        self.settings = settings
        self._own = own

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        """Open a station's channel; see DialableEndpoint.

        At a start, and after a loss, it waits for the link that carries it, for as long as for any dial.
        """
        with trio.move_on_after(self.settings.connect_timeout_s):
            await self._links.wait_open(self._backend)
        carrying = self._find_link().version
        version = _carried_version(carrying, request.versions)
        if version is None:
            raise DialError(
                f"its overlay link has agreed on {carrying} and cannot carry {' or '.join(request.versions)}",
                stage=DialStage.REFUSED,
                is_version=True,
            )
        stack = ExitStack()
        if request.station == self._own:
            opened = self._links.open_own_channel(self._backend)
        else:
            state = LinkState(
                link=f"{request.station} at {self._backend}",
                peer=request.station,
                mode=NetworkingMode.STANDARD,
                side=LinkSide.DOWN,
                priority=CHANNEL_PRIORITY,
                only=self._backend,
                version=version,
            )
            opened = self._links.open_channel(state)
        channel = stack.enter_context(opened)
        channel.on_ended = stack.close
        return EndpointAnswer(channel, version.value)

    async def probe(self) -> None:
        """Test whether the overlay link is open; see DialableEndpoint."""
        self._find_link()

    def _find_link(self) -> LinkState:
        """Return the state of the overlay link. Raises DialError if it is not open."""
        link = self._links.find_link(self._backend)
        if link is None:
            raise DialError("its overlay link is not open")
        return link


def _carried_version(link: Version, offered: Sequence[str]) -> Version | None:
    """Return the version in which a station is served over an overlay link; None if there is none.

    A node that has agreed on 2.1 reads messages of 2.0.1 as well.
    """
    carried = {link, Version.V201} if link is Version.V21 else {link}
    return next((version for version in map(Version, offered) if version in carried), None)
