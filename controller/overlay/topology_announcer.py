"""When our neighbours are told what is reached through us: soon after each change, and before it ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from controller.overlay import overlay_frames
from controller.overlay.events import HERE, Action, LinkState, SendFrame
from controller.overlay.overlay_wire import TOPOLOGY, NetworkingMode, OverlayMessageKind
from controller.overlay.routes import Routes
from controller.overlay.topology import REFRESH_S, Signer, told

DEBOUNCE_S = 1.0
"""So long changes gather: a link that flaps is not told with each beat."""


class _Said(msgspec.Struct, frozen=True):
    """What a neighbour was told last, and when (monotonic s)."""

    reachable: dict[str, int]
    at: float


class TopologyAnnouncer:
    """One node's. Only links of the overlay are told. Times are monotonic s."""

    def __init__(
        self,
        own: str,
        routes: Routes,
        sign: Signer,
        utc_of: Callable[[float], float],
        new_id: Callable[[], str],
    ) -> None:
        self._own = own
        self._routes = routes
        self._sign = sign
        self._utc_of = utc_of
        self._new_id = new_id
        self._ways: dict[str, LinkState] = {}
        self._said: dict[str, _Said] = {}
        self._changed_at = math.inf
        self._began = -math.inf

    @property
    def due(self) -> float:
        """When somebody is to be told; infinity where there is nobody."""
        if not self._ways:
            return math.inf
        refresh = min((said.at + REFRESH_S for said in self._said.values()), default=math.inf)
        return min(refresh, self._changed_at + DEBOUNCE_S)

    def link_up(self, way: LinkState, now: float) -> None:
        """A link stands."""
        self.changed(now)
        if way.mode is NetworkingMode.OVERLAY:
            self._ways[way.link] = way

    def link_down(self, link: str, now: float) -> None:
        """A link is gone."""
        self.changed(now)
        self._ways.pop(link, None)
        self._said.pop(link, None)

    def changed(self, now: float) -> None:
        """What is reached may be another now."""
        self._changed_at = min(self._changed_at, now)

    def ticked(self, now: float) -> Iterator[Action]:
        """Tell whom there is news for, and whom it was told long ago."""
        if now < self.due:
            return
        self._changed_at = math.inf
        for link, way in self._ways.items():
            reachable = self._routes.reachable(now, link)
            said = self._said.get(link)
            if said is None or said.reachable != reachable or said.at + REFRESH_S <= now:
                self._said[link] = _Said(reachable, now)
                yield self._telling(way, reachable, now)

    def _telling(self, way: LinkState, reachable: dict[str, int], now: float) -> SendFrame:
        # To the millisecond, as it is written: what begins no later than the last would be a replay.
        self._began = max(round(self._utc_of(now), 3), self._began + 0.001)
        payload = self._sign(told(self._own, reachable, self._began))
        frame = overlay_frames.request(OverlayMessageKind.SEND, self._new_id(), TOPOLOGY, payload)
        return SendFrame(way.link, overlay_frames.to_overlay(frame, (way.peer,), (self._own,)), frame, HERE)
