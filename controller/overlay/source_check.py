"""What a frame may say of where it comes from, held against the link that brought it.

The link's other end has proven who it is (by password or certificate); all else in a path is hearsay. So
the id of a neighbour, of a configured station, or of a destination with a configured way comes over its own
links only; a path that has us in it is a loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import Hops, RoutedFrame
from controller.overlay.overlay_wire import BROADCAST, CSMS, MOST_HOPS, NOBODY, NetworkingMode

SPOOFED = "SecurityError"
OTHER = "GenericError"
"""Codes of CALLERRORs (OCPP-J 1.6 section 4.2.3; 2.x Part 4, 4.3)."""


class SourceRefusal(msgspec.Struct, frozen=True):
    """The frame goes nowhere: the CALLERROR's code, why, and the word that it is counted under.

    `unreached`: nothing is wrong with the frame.
    """

    code: str
    reason: str
    kind: str
    unreached: bool = False


TOO_MANY = SourceRefusal(OTHER, "too many requests wait for their answers", "too many", unreached=True)
NOT_SAVED = SourceRefusal(OTHER, "it cannot be put on record that it was here", "not saved", unreached=True)
FROM_BELOW = SourceRefusal("NotSupported", "this node hears only what comes from above", "from below")


class SourceCheck:
    """Which ids come over which links: configured ones, and those of the neighbours that there are."""

    def __init__(self, own: str, configured: Mapping[str, frozenset[str]]) -> None:
        self._own = own
        self._configured = configured
        self._ways: dict[str, LinkState] = {}

    def link_up(self, way: LinkState) -> None:
        """A link stands."""
        self._ways[way.link] = way

    def link_down(self, link: str) -> None:
        """A link is gone."""
        self._ways.pop(link, None)

    def may_come(self, node: str, link: str) -> bool:
        """Whether a link may speak, or tell the way, of a node."""
        links = set(self._configured.get(node, ()))
        links.update(way.link for way in self._ways.values() if way.peer == node)
        if node == CSMS:
            links.update(way.link for way in self._ways.values() if way.side is LinkSide.UP)
            return link in links
        return not links or link in links

    def admit(self, frame: RoutedFrame, way: LinkState) -> RoutedFrame | SourceRefusal:
        """The frame with its whole path, and a destination where it had none."""
        if frame.is_overlay and way.mode is NetworkingMode.STANDARD:
            return SourceRefusal(SPOOFED, "this link is a plain one: its frames have no path", "spoofed")
        # WWCP controllers append the alias of the backend to the path of binary frames: it is no node.
        path = frame.path
        if way.side is LinkSide.UP:
            path = tuple(node for node in path if node != CSMS)
        if path[-1:] != (way.peer,) and (way.peer != CSMS or not path):
            path = (*path, way.peer)
        refusal = self._refused(path, way)
        if refusal is not None:
            return refusal
        destination = frame.destination
        if destination in ((), (NOBODY,)):
            destination = (CSMS,) if way.side is LinkSide.DOWN else (way.serves or self._own,)
        return msgspec.structs.replace(frame, destination=destination, path=path)

    def _refused(self, path: Hops, way: LinkState) -> SourceRefusal | None:
        if self._own in path:
            return SourceRefusal(OTHER, "it has been at this node before: its way is a loop", "looped")
        if len(path) >= MOST_HOPS:
            return SourceRefusal(
                OTHER, f"it has come over {MOST_HOPS} nodes, more than any way is long", "too many hops"
            )
        for node in path[:-1]:
            if node in (BROADCAST, NOBODY) or not self.may_come(node, way.link):
                return SourceRefusal(SPOOFED, f"{node!r} does not speak through {way.peer!r}", "spoofed")
        return None
