"""Times at which neighbors get a topology report: soon after each change, and before it ends."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator

import msgspec

from controller.overlay import overlay_frames
from controller.overlay.events import LOCAL, Action, LinkState, SendFrame
from controller.overlay.overlay_wire import TOPOLOGY, NetworkingMode, OverlayMessageKind
from controller.overlay.routes import Routes
from controller.overlay.topology import REFRESH_S, Signer, write_topology

DEBOUNCE_S = 1.0
"""Time for which changes are collected: a link that flaps causes few reports."""


class _Said(msgspec.Struct, frozen=True):
    """Last report to a neighbor, and its time (monotonic s)."""

    reachable: dict[str, int]
    at: float


class TopologyAnnouncer:
    """Announcer of one node, for links in overlay mode. Times are monotonic s."""

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
        self._link_states: dict[str, LinkState] = {}
        self._said: dict[str, _Said] = {}
        self._changed_at = math.inf
        self._began = -math.inf

    @property
    def due(self) -> float:
        """Time of the next report; infinity if there is no neighbor."""
        if not self._link_states:
            return math.inf
        refresh = min((said.at + REFRESH_S for said in self._said.values()), default=math.inf)
        return min(refresh, self._changed_at + DEBOUNCE_S)

    def link_up(self, state: LinkState, now: float) -> None:
        """Add an open link."""
        self.changed(now)
        if state.mode is NetworkingMode.OVERLAY:
            self._link_states[state.link] = state

    def link_down(self, link: str, now: float) -> None:
        """Remove a link."""
        self.changed(now)
        self._link_states.pop(link, None)
        self._said.pop(link, None)

    def changed(self, now: float) -> None:
        """Note that what is reached may have changed."""
        self._changed_at = min(self._changed_at, now)

    def ticked(self, now: float) -> Iterator[Action]:
        """Report to neighbors with changes, and to those whose last report is old."""
        if now < self.due:
            return
        self._changed_at = math.inf
        for link, state in self._link_states.items():
            reachable = self._routes.reachable(now, link)
            said = self._said.get(link)
            if said is None or said.reachable != reachable or said.at + REFRESH_S <= now:
                self._said[link] = _Said(reachable, now)
                yield self._telling(state, reachable, now)

    def _telling(self, state: LinkState, reachable: dict[str, int], now: float) -> SendFrame:
        # In ms, as it is written: a report that begins no later than the last one would be a replay.
        self._began = max(round(self._utc_of(now), 3), self._began + 0.001)
        payload = self._sign(write_topology(self._own, reachable, self._began))
        frame = overlay_frames.request(OverlayMessageKind.SEND, self._new_id(), TOPOLOGY, payload)
        return SendFrame(
            state.link, overlay_frames.to_overlay(frame, (state.peer,), (self._own,)), frame, LOCAL
        )
