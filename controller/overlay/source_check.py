"""Check of the path of a frame against the link that it was received over.

The other end of the link has proven its id (by password or certificate); the rest of a path is not proven.
So the id of a neighbor, of a configured station, or of a destination with a configured route is accepted
over its own links only; a path with our own id is a loop.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import Hops, RoutedFrame
from controller.overlay.overlay_wire import BROADCAST, CSMS, MAX_HOPS, NO_DESTINATION, NetworkingMode

SPOOFED_CODE = "SecurityError"
GENERIC_ERROR = "GenericError"
"""Codes of CALLERRORs (OCPP-J 1.6 section 4.2.3; 2.x Part 4, 4.3)."""


class SourceRefusal(msgspec.Struct, frozen=True):
    """Rejection of a frame: code of the CALLERROR, reason, and the name that it is counted under.

    `unreached`: the frame itself is valid.
    """

    code: str
    reason: str
    kind: str
    unreached: bool = False


TOO_MANY = SourceRefusal(
    GENERIC_ERROR, "too many requests wait for their answers", "too many", unreached=True
)
NOT_SAVED = SourceRefusal(
    GENERIC_ERROR, "it cannot be put on record that it was here", "not saved", unreached=True
)
FROM_BELOW = SourceRefusal("NotSupported", "this node accepts this only from its backend", "from below")


class SourceCheck:
    """Links over which ids may come: configured ones, and those of the neighbors."""

    def __init__(self, own: str, configured: Mapping[str, frozenset[str]]) -> None:
        self._own = own
        self._configured = configured
        self._link_states: dict[str, LinkState] = {}

    def set_configured(self, configured: Mapping[str, frozenset[str]]) -> None:
        """Use other configured links of ids."""
        self._configured = configured

    def link_up(self, state: LinkState) -> None:
        """Add an open link."""
        self._link_states[state.link] = state

    def link_down(self, link: str) -> None:
        """Remove a link."""
        self._link_states.pop(link, None)

    def may_come(self, node: str, link: str) -> bool:
        """Return True if a link may send for a node, or report a route to it."""
        links = set(self._configured.get(node, ()))
        links.update(state.link for state in self._link_states.values() if state.peer == node)
        if node == CSMS:
            links.update(state.link for state in self._link_states.values() if state.side is LinkSide.UP)
            return link in links
        return not links or link in links

    def admit(self, frame: RoutedFrame, state: LinkState) -> RoutedFrame | SourceRefusal:
        """Return the frame with its whole path, and with a destination if it has none."""
        if frame.is_overlay and state.mode is NetworkingMode.STANDARD:
            return SourceRefusal(SPOOFED_CODE, "this link is a plain one: its frames have no path", "spoofed")
        # WWCP controllers append the alias of the backend to the path of binary frames: it is no node.
        path = frame.path
        if state.side is LinkSide.UP and CSMS in path:
            path = tuple(node for node in path if node != CSMS)
        if path[-1:] != (state.peer,) and (state.peer != CSMS or not path):
            path = (*path, state.peer)
        refusal = self._refused(path, state)
        if refusal is not None:
            return refusal
        destination = frame.destination
        if destination in ((), (NO_DESTINATION,)):
            destination = (CSMS,) if state.side is LinkSide.DOWN else (state.serves or self._own,)
        return msgspec.structs.replace(frame, destination=destination, path=path)

    def _refused(self, path: Hops, state: LinkState) -> SourceRefusal | None:
        if self._own in path:
            return SourceRefusal(
                GENERIC_ERROR, "it has been at this node before: its state is a loop", "looped"
            )
        if len(path) >= MAX_HOPS:
            return SourceRefusal(
                GENERIC_ERROR, f"its path has {MAX_HOPS} nodes, more than a path may have", "too many hops"
            )
        for node in path[:-1]:
            if node in (BROADCAST, NO_DESTINATION) or not self.may_come(node, state.link):
                return SourceRefusal(
                    SPOOFED_CODE, f"{node!r} is not reached through {state.peer!r}", "spoofed"
                )
        return None
