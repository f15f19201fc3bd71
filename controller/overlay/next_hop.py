"""Which ways a request may take now: not where it has been, and over a plain link only to that link's end."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import Hops, RoutedFrame
from controller.overlay.overlay_wire import BROADCAST, CSMS, NetworkingMode, OverlayMessageKind
from controller.overlay.routes import Routes
from controller.signing.signature_format import Direction


class NextHopSelector:
    """One node's. `ways` are the links that stand, by name."""

    def __init__(self, own: str, ways: Mapping[str, LinkState], routes: Routes) -> None:
        self._own = own
        self._ways = ways
        self._routes = routes

    def names(self, frame: RoutedFrame) -> Hops:
        """Whom a request is for next: of a group each member, else the next hop of its destination."""
        return tuple(self._routes.members(frame.destination[0])) or frame.destination[:1]

    def choose(
        self, frame: RoutedFrame, came: str, tried: frozenset[str], now: float
    ) -> tuple[RoutedFrame, LinkState] | None:
        """The way to take, and the frame as it is addressed there; None where there is no way.

        A CALL to a group goes to the first of its members that is reached.
        """
        names = self.names(frame) if frame.kind is OverlayMessageKind.CALL else frame.destination[:1]
        for name in names:
            onward = msgspec.structs.replace(frame, destination=(name, *frame.destination[1:]))
            hop = self._routes.choose(name, now, self._usable(onward, came, tried))
            if hop is not None:
                return onward, self._ways[hop.link]
        return None

    def everywhere(self, frame: RoutedFrame, came: str) -> list[LinkState]:
        """Return the links of a broadcast: in overlay mode, or of a station that takes a SEND."""
        return [
            way
            for way in self._ways.values()
            if way.peer not in frame.path
            and way.link != came
            and way.only in (None, came)
            and (way.mode is NetworkingMode.OVERLAY or (way.side is LinkSide.DOWN and way.sends))
        ]

    def directions(self, frame: RoutedFrame, came: str, now: float) -> frozenset[Direction]:
        """Where a request may go from here over links of its own: it may turn out later which it takes."""
        if frame.destination[0] == BROADCAST:
            return frozenset(way.direction for way in self.everywhere(frame, came) if not way.is_leg)
        links: set[str] = set()
        for name in self.names(frame):
            onward = msgspec.structs.replace(frame, destination=(name, *frame.destination[1:]))
            links |= self._routes.best(name, now, self._usable(onward, came, frozenset()))
        ways = (self._ways[link] for link in links)
        return frozenset(way.direction for way in ways if not way.is_leg)

    def _usable(self, frame: RoutedFrame, came: str, tried: frozenset[str]) -> set[str]:
        ways = (way for way in self._ways.values() if way.link not in tried)
        return {way.link for way in ways if self._carries(way, frame, came)}

    def _carries(self, way: LinkState, frame: RoutedFrame, came: str) -> bool:
        if way.peer in frame.path or way.only not in (None, came):
            return False
        source = self._ways.get(came)
        if source is not None and source.only not in (None, way.link):
            return False
        if not (way.is_leg or frame.cleared is None or way.direction in frame.cleared):
            return False
        if way.mode is NetworkingMode.OVERLAY:
            return True
        author = frame.path[0] if frame.path else self._own
        is_end = len(frame.destination) == 1 and frame.destination[0] in names_of(way)
        return is_end and way.serves in (None, author)


def names_of(way: LinkState) -> tuple[str, ...]:
    """How the other end of a way is addressed: whatever is upwards leads to a backend."""
    return (way.peer, CSMS) if way.side is LinkSide.UP and way.peer != CSMS else (way.peer,)
