"""Choice of the link for a request: none that it has come over, and a plain one only to its own end."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import msgspec

from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import Hops, RoutedFrame
from controller.overlay.overlay_wire import BROADCAST, CSMS, NetworkingMode, OverlayMessageKind
from controller.overlay.routes import Routes
from controller.signing.signature_format import Direction


class NextHopSelector:
    """Selector of one node. `states` are the open links by name."""

    def __init__(self, own: str, states: Mapping[str, LinkState], routes: Routes) -> None:
        self._own = own
        self._link_states = states
        self._routes = routes

    def names(self, frame: RoutedFrame) -> Hops:
        """Return the next receivers of a request: each member of a group, else the next hop."""
        members = self._routes.members(frame.destination[0])
        return tuple(members) if members else frame.destination[:1]

    def choose(
        self, frame: RoutedFrame, origin: str, tried: frozenset[str], now: float
    ) -> tuple[RoutedFrame, LinkState] | None:
        """Return the link to take and the frame as it is addressed there; None if there is no route.

        A CALL to a group goes to the first of its members that is reachable.
        """
        names = self.names(frame) if frame.kind is OverlayMessageKind.CALL else frame.destination[:1]
        for name in names:
            onward = _addressed(frame, name)
            hop = self._routes.choose(name, now, partial(self._carries, onward, origin, tried))
            if hop is not None:
                return onward, self._link_states[hop.link]
        return None

    def everywhere(self, frame: RoutedFrame, origin: str) -> list[LinkState]:
        """Return the links of a broadcast: in overlay mode, or of a station that takes a SEND."""
        return [
            state
            for state in self._link_states.values()
            if state.peer not in frame.path
            and state.link != origin
            and state.only in (None, origin)
            and (state.mode is NetworkingMode.OVERLAY or (state.side is LinkSide.DOWN and state.sends))
        ]

    def directions(self, frame: RoutedFrame, origin: str, now: float) -> frozenset[Direction]:
        """Return the directions in which a request may leave; its link is chosen later."""
        if frame.destination[0] == BROADCAST:
            return frozenset(
                state.direction for state in self.everywhere(frame, origin) if not state.is_channel
            )
        links: set[str] = set()
        for name in self.names(frame):
            onward = _addressed(frame, name)
            links |= self._routes.best(name, now, partial(self._carries, onward, origin, frozenset()))
        states = (self._link_states[link] for link in links)
        return frozenset(state.direction for state in states if not state.is_channel)

    def _carries(self, frame: RoutedFrame, origin: str, tried: frozenset[str], link: str) -> bool:
        state = self._link_states.get(link)
        if state is None or link in tried:
            return False
        if state.peer in frame.path or state.only not in (None, origin):
            return False
        source = self._link_states.get(origin)
        if source is not None and source.only not in (None, state.link):
            return False
        if not (state.is_channel or frame.cleared is None or state.direction in frame.cleared):
            return False
        if state.mode is NetworkingMode.OVERLAY:
            return True
        author = frame.path[0] if frame.path else self._own
        is_end = len(frame.destination) == 1 and frame.destination[0] in addresses_of(state)
        return is_end and state.serves in (None, author)


def _addressed(frame: RoutedFrame, name: str) -> RoutedFrame:
    """Return a frame with `name` as its next receiver."""
    if frame.destination[0] == name:
        return frame
    return msgspec.structs.replace(frame, destination=(name, *frame.destination[1:]))


def addresses_of(state: LinkState) -> tuple[str, ...]:
    """Return the addresses of the other end of a link: every link upwards leads to a backend."""
    return (state.peer, CSMS) if state.side is LinkSide.UP and state.peer != CSMS else (state.peer,)
