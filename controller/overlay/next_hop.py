"""Choice of the link for a request, and the forwarding table, which holds what was chosen.

A request goes over no link that it has come over, and over a plain one only to its own end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from typing import TypeVar

import msgspec

from controller.overlay.events import LOCAL, LinkSide, LinkState, SendFrame
from controller.overlay.overlay_frames import (
    PLAIN_ROUTE,
    Hops,
    ReadRoute,
    RoutedFrame,
    as_hops,
    find_head,
    parse,
    read_compact,
    write_head,
    written_route,
)
from controller.overlay.overlay_wire import BROADCAST, CSMS, TOPOLOGY, NetworkingMode, OverlayMessageKind
from controller.overlay.pending_requests import CallRoute, PendingRequests
from controller.overlay.routes import Routes
from controller.overlay.source_check import SourceCheck
from controller.overlay.transit_check import TransitCheck
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

    def find_only(self, frame: RoutedFrame, origin: str, now: float) -> tuple[RoutedFrame, LinkState] | None:
        """Return what `choose` returns for each such CALL; None without a route, or with several."""
        for name in self.names(frame):
            onward = _addressed(frame, name)
            links = self._routes.best(name, now, partial(self._carries, onward, origin, frozenset()))
            if links:
                return (onward, self._link_states[links.pop()]) if len(links) == 1 else None
        return None

    def enters_relay(self, state: LinkState) -> bool:
        """Return True if frames over a link enter the relay of a station in overlay mode, as plain ones."""
        if not state.is_channel or state.side is LinkSide.UP:
            return False
        station = self._link_states.get(state.peer)
        return station is not None and station.mode is NetworkingMode.OVERLAY

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


def onward_path(path: Hops, own: str) -> Hops:
    """Return a path as it is sent on by the node `own`: the alias of a backend is no node."""
    nodes = tuple(node for node in path if node != CSMS) if CSMS in path else path
    return (*nodes, own)


MAX_FLOWS = 4000
"""Flows of each kind; all are found anew when there are more."""

K = TypeVar("K")
V = TypeVar("V")
_Flow = tuple[str, ReadRoute, ReadRoute]
"""Link, and destination and path as they were written."""


class ForwardedText(msgspec.Struct, frozen=True, gc=False):
    """A text to be sent over a link. `until`: end of the wait for its answer (s); infinity: none is due."""

    link: str
    text: str
    until: float


class _CallFlow(msgspec.Struct, frozen=True):
    head: str  # as most frames of the flow have it: peers differ in their spaces
    onward_head: str
    route: CallRoute


class _AnswerFlow(msgspec.Struct, frozen=True):
    head: str
    destination: Hops
    path: Hops
    onward_heads: dict[tuple[str, Hops], str | None] = {}
    """By link and path of the CALL that is answered; None: the answer takes the pipeline."""


class ForwardingTable:
    """Cache of what the checks and the choice of the next hop result in, for frames that only pass.

    Nearly all frames are of a few flows: a station calls its backend, and is answered. Source, link onward
    and head are the same for all frames of a flow. They are found once, by the checks that `Node` makes for
    each frame, and hold until a link or a route changes. Then only the head of a frame is exchanged:

        received over "CS01 at cpo"   [2,                        "m1","Heartbeat",{}]
        sent over "cpo"               [2,"CSMS",["CS01","LC01"], "m1","Heartbeat",{}]

    What follows the head is not written anew. Whatever is not usual takes the pipeline of `Node`: other types
    of messages, frames for this node or under another id, several routes to choose from, the policy of
    signatures, and channels whose paths are recorded by id.

    It uses the parts of its node; `states` are the open links by name.
    """

    def __init__(
        self,
        own: str,
        states: Mapping[str, LinkState],
        routes: Routes,
        source_check: SourceCheck,
        next_hop: NextHopSelector,
        pending: PendingRequests,
        transit_check: TransitCheck,
    ) -> None:
        self._own = own
        self._link_states = states
        self._routes = routes
        self._source_check = source_check
        self._next_hop = next_hop
        self._pending = pending
        self._transit_check = transit_check
        self._valid_until: float | None = None
        """End of the first route (s); None: to be found anew."""
        self._calls: dict[_Flow, _CallFlow | None] = {}
        self._answers: dict[_Flow, _AnswerFlow | None] = {}

    def clear(self) -> None:
        """Find all flows anew: a link or a route changes."""
        self._calls.clear()
        self._answers.clear()
        self._valid_until = None

    def forward_text(self, link: str, text: str, now: float) -> ForwardedText | None:
        """Forward a text that was received over a link; None, with nothing done, if more is to be done."""
        state = self._link_states.get(link)
        if self._valid_until is None:
            self._valid_until = self._routes.next_end
        if state is None or now >= self._valid_until:
            return None
        read = read_compact(text, is_overlay=state.mode is NetworkingMode.OVERLAY)
        if read is None:
            return None
        destination, path, message_id, action = read
        if action is None:
            return self._forward_answer((link, destination, path), message_id, text)
        return self._forward_call((link, destination, path), message_id, action, text, now)

    def describe_sending(self, sent: ForwardedText, link: str, text: str) -> SendFrame | None:
        """Return the effect that the pipeline would have had in the place of `forward_text`.

        None if the link over which the text was received is closed.
        """
        state = self._link_states.get(link)
        if state is None:
            return None
        frame = parse(text, is_overlay=state.mode is NetworkingMode.OVERLAY)
        assert isinstance(frame, RoutedFrame)  # it was read before
        admitted = self._source_check.admit(frame, state)
        assert isinstance(admitted, RoutedFrame)
        is_call = frame.kind is OverlayMessageKind.CALL
        return SendFrame(sent.link, sent.text, admitted, link, frozenset({sent.link} if is_call else ()))

    # -- CALLs --------------------------------------------------------------------------------------------

    def _forward_call(
        self, key: _Flow, message_id: str, action: str, text: str, now: float
    ) -> ForwardedText | None:
        try:
            flow = self._calls[key]
        except KeyError:
            flow = self._find_call_flow(*key, text, now)
            _add_flow(self._calls, key, flow)
        if flow is None or action == TOPOLOGY:
            return None
        until = self._pending.add_unchanged(flow.route, message_id, action, now)
        if until is None:
            return None
        head = flow.head if text.startswith(flow.head) else self._find_head(key[0], text)
        return ForwardedText(flow.route.out, flow.onward_head + text[len(head) :], until)

    def _find_call_flow(
        self, link: str, destination: ReadRoute, path: ReadRoute, text: str, now: float
    ) -> _CallFlow | None:
        source = self._link_states[link]
        frame = self._admit(source, destination, path)
        if frame is None or self._transit_check.applies_to(source):
            return None
        if frame.destination[0] in (self._own, BROADCAST):
            return None
        chosen = self._next_hop.find_only(frame, link, now)
        if chosen is None:
            return None
        onward, state = chosen
        is_overlay = state.mode is NetworkingMode.OVERLAY
        onward_head = self._write_head(OverlayMessageKind.CALL, state, onward.destination, onward.path)
        if onward_head is None:
            return None
        requester = onward.path[:1] if is_overlay else ()
        route = CallRoute(link, state.link, onward.path, onward.destination[-1], requester)
        return _CallFlow(self._find_head(link, text), onward_head, route)

    # -- answers ------------------------------------------------------------------------------------------

    def _forward_answer(self, key: _Flow, message_id: str, text: str) -> ForwardedText | None:
        try:
            flow = self._answers[key]
        except KeyError:
            flow = self._find_answer_flow(*key, text)
            _add_flow(self._answers, key, flow)
        if flow is None:
            return None
        found = self._pending.find_request(key[0], message_id, flow.destination)
        if found is None:
            return None
        request_key, request = found
        back = request.origin, request.path
        try:
            onward_head = flow.onward_heads[back]
        except KeyError:
            onward_head = self._find_onward_head(key[0], flow, *back)
            _add_flow(flow.onward_heads, back, onward_head)
        if onward_head is None or request.id != message_id:
            return None
        self._pending.remove(request_key)
        self._pending.keep_answered(request, flow.path[:1])
        head = flow.head if text.startswith(flow.head) else self._find_head(key[0], text)
        return ForwardedText(request.origin, onward_head + text[len(head) :], math.inf)

    def _find_answer_flow(
        self, link: str, destination: ReadRoute, path: ReadRoute, text: str
    ) -> _AnswerFlow | None:
        frame = self._admit(self._link_states[link], destination, path)
        if frame is None:
            return None
        return _AnswerFlow(self._find_head(link, text), frame.destination, frame.path)

    def _find_onward_head(self, link: str, flow: _AnswerFlow, origin: str, path: Hops) -> str | None:
        state = self._link_states.get(origin)
        if state is None or origin == LOCAL:
            return None
        source = self._link_states[link]
        if self._transit_check.applies_to(source) and self._transit_check.applies_to(state):
            return None
        return self._write_head(OverlayMessageKind.RESULT, state, path[:1], flow.path)

    # -- both ---------------------------------------------------------------------------------------------

    def _admit(self, source: LinkState, destination: ReadRoute, path: ReadRoute) -> RoutedFrame | None:
        """Return an admitted frame of a flow, without id and content; None: the flow takes the pipeline."""
        if source.is_channel and source.serves is not None:
            return None  # its path is restored by its id
        is_overlay = source.mode is NetworkingMode.OVERLAY
        if is_overlay and not destination:
            return None
        nodes = as_hops(path)
        if is_overlay and source.peer == CSMS and any(node != CSMS for node in nodes):
            return None  # the node learns from it who its backend is
        frame = RoutedFrame(OverlayMessageKind.CALL, "", (), as_hops(destination), nodes)
        admitted = self._source_check.admit(frame, source)
        return admitted if isinstance(admitted, RoutedFrame) else None

    def _find_head(self, link: str, text: str) -> str:
        return find_head(text, is_overlay=self._link_states[link].mode is NetworkingMode.OVERLAY)

    def _write_head(
        self, kind: OverlayMessageKind, state: LinkState, destination: Hops, path: Hops
    ) -> str | None:
        """Write the head of frames over a link; None: they take the pipeline."""
        if self._next_hop.enters_relay(state) or not destination:
            return None
        if state.mode is NetworkingMode.STANDARD:
            return write_head(kind, PLAIN_ROUTE, PLAIN_ROUTE)
        onward = onward_path(path, self._own)
        return write_head(kind, written_route(destination), written_route(onward))


def _add_flow(flows: dict[K, V], key: K, flow: V) -> None:
    if len(flows) >= MAX_FLOWS:
        flows.clear()
    flows[key] = flow
