"""A node of the overlay network: routes requests from link to link, and their answers back.

A received frame is checked against its link (`source_check`), then
  - a CALL or a SEND goes to its destination: to this node (`DeliverFrame`), or on over the best open link,
    and over the next best one if it cannot be sent. A CALL is entered in the pending requests.
  - an answer goes back over the link of its CALL.
Before a frame is forwarded, the policy of signatures is applied (`transit_check`). On plain links frames
have no destination and path; the node takes both from the link and from the pending requests. The sender of
a CALL gets exactly one answer: its receiver's, or a CALLERROR of the node where it could not go on. A CALL
whose link is lost while it waits may have arrived: it is answered with an error, and not sent again.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

from controller.model.effects import LogEntry
from controller.ocpp.frames import MalformedFrame, UnknownMessageType
from controller.overlay import overlay_frames, source_check
from controller.overlay.events import (
    LOCAL,
    Action,
    DeliverFrame,
    Event,
    FrameHeld,
    FrameReceived,
    FrameReleased,
    LinkDown,
    LinkSide,
    LinkState,
    LinkUp,
    OverlayTick,
    OwnRequest,
    RequestUnreachable,
    SendFailed,
    SendFrame,
)
from controller.overlay.next_hop import ForwardingTable, NextHopSelector, addresses_of, onward_path
from controller.overlay.overlay_frames import Hops, Message, RoutedFrame
from controller.overlay.overlay_wire import (
    BROADCAST,
    CSMS,
    TOPOLOGY,
    TOPOLOGY_ANSWER,
    NetworkingMode,
    OverlayMessageKind,
)
from controller.overlay.pending_requests import CarriedPaths, ForwardedRequest, PendingRequests
from controller.overlay.routes import Hop, Routes
from controller.overlay.source_check import GENERIC_ERROR, SPOOFED_CODE, SourceCheck, SourceRefusal
from controller.overlay.topology import (
    Signer,
    TopologyAnnouncer,
    TopologyReceived,
    TopologyRejectedError,
    Verifier,
)
from controller.overlay.transit_check import TransitCheck
from controller.signing.policy_enforcer import DropDecision, PolicyEnforcer


class NodeSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of one node. `own`: its id.

    `routes`: configured hops by destination; `groups`: members by the name of the group. `homes`: by the id
    of each configured node the links that it may come over. `sign` and `verify` are for topology; `enforcer`
    is the policy of signatures for forwarded messages, if there is one. `utc_of` converts monotonic s to
    POSIX s; `new_id` makes unique message ids.
    """

    own: str
    routes: Mapping[str, Sequence[Hop]] = {}
    groups: Mapping[str, Sequence[str]] = {}
    homes: Mapping[str, frozenset[str]] = {}
    sign: Signer
    verify: Verifier
    utc_of: Callable[[float], float]
    new_id: Callable[[], str]
    dice: random.Random
    timeout_s: float = 60.0
    enforcer: PolicyEnforcer | None = None


MAX_BROADCASTS = 1000
"""Broadcasts that are recognized if they arrive over another link."""

_REQUESTS = (OverlayMessageKind.CALL, OverlayMessageKind.SEND)


class Node:
    """Overlay node. `counts`: rejected and dropped frames by kind of reason.

    `forwarding`: the short way of texts, to be tried before `handle`.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.counts: Counter[str] = Counter()
        self._own = settings.own
        self._timeout_s = settings.timeout_s
        self._utc_of = settings.utc_of
        self._routes = Routes(settings.routes, settings.groups, settings.dice)
        self._source_check = SourceCheck(settings.own, settings.homes)
        self._topology = TopologyReceived(settings.own, settings.verify, self._source_check.may_come)
        self._pending = PendingRequests(settings.timeout_s, settings.new_id)
        self._announcer = TopologyAnnouncer(
            settings.own, self._routes, settings.sign, settings.utc_of, settings.new_id
        )
        self._link_states: dict[str, LinkState] = {}
        self._next_hop = NextHopSelector(settings.own, self._link_states, self._routes)
        self._transit_check = TransitCheck(settings.enforcer, settings.utc_of)
        self.forwarding = ForwardingTable(
            settings.own,
            self._link_states,
            self._routes,
            self._source_check,
            self._next_hop,
            self._pending,
            self._transit_check,
        )
        self._broadcasts: dict[tuple[str, str], None] = {}
        self._carried = CarriedPaths()
        self._topology_due: float | None = None
        """Next time of routes and reports; None: to be found anew. Messages do not change it."""

    def set_routes(self, settings: NodeSettings) -> None:
        """Use the hops, groups and homes of other settings."""
        self._routes.set_configured(settings.routes, settings.groups)
        self._source_check.set_configured(settings.homes)
        self._mark_routes_changed()

    @property
    def wake_at(self) -> float:
        """Time of the next `OverlayTick` (monotonic s); infinity if nothing waits."""
        if self._topology_due is None:
            self._topology_due = min(self._routes.next_end, self._announcer.due)
        return min(self._pending.next_end, self._topology_due)

    def neighbors(self, now: float) -> dict[str, dict[str, int]]:
        """Return by link the best priority of each node that is reached over it."""
        return self._routes.neighbors(now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """Handle an event; returns the actions in their order."""
        match event:
            case FrameReceived(link, message):
                return list(self._on_frame(link, message, now))
            case OwnRequest(message, destination):
                return list(self._on_own_frame(message, destination, now))
            case SendFailed(sending):
                return list(self._on_send_failed(sending, now))
            case FrameReleased():
                return list(self._on_released(event, now))
            case LinkUp(state):
                self._mark_routes_changed()
                return list(self._on_link_up(state, now))
            case LinkDown(link):
                self._mark_routes_changed()
                return list(self._on_link_down(link, now))
            case OverlayTick():
                self._mark_routes_changed()
                return list(self._on_time(now))

    def _mark_routes_changed(self) -> None:
        self._topology_due = None
        self.forwarding.clear()

    # -- links and time -----------------------------------------------------------------------------

    def _on_link_up(self, state: LinkState, now: float) -> Iterator[Action]:
        if state.link in self._link_states:
            yield from self._on_link_down(state.link, now)
        self._link_states[state.link] = state
        self._source_check.link_up(state)
        self._routes.link_up(_hop(state), *addresses_of(state))
        self._announcer.link_up(state, now)

    def _on_link_down(self, link: str, now: float) -> Iterator[Action]:
        if self._link_states.pop(link, None) is None:
            return
        self._source_check.link_down(link)
        self._routes.link_down(link)
        self._announcer.link_down(link, now)
        for pending in self._pending.remove_link(link):
            yield from self._fail_request(pending, "the link was lost before an answer came", "unanswered")

    def _on_time(self, now: float) -> Iterator[Action]:
        if self._routes.drop_old(now):
            self._announcer.changed(now)
        for pending in self._pending.take_expired(now):
            yield from self._fail_request(pending, f"no answer within {self._timeout_s:g} s", "unanswered")
        yield from self._announcer.ticked(now)

    # -- received frames ------------------------------------------------------------------------------

    # What a frame passes calls the next step and returns its actions: a generator for each step would be a
    # third of a message's cost.

    def _on_frame(self, link: str, message: Message, now: float) -> Iterable[Action]:
        state = self._link_states.get(link)
        if state is None:
            self.counts["too late"] += 1
            return ()
        frame = overlay_frames.parse(message, is_overlay=state.mode is NetworkingMode.OVERLAY)
        if isinstance(frame, MalformedFrame | UnknownMessageType):
            return self._reject_unreadable(frame, state)
        state = self._with_learned_peer(state, frame, now)
        admitted = self._source_check.admit(frame, state)
        if isinstance(admitted, RoutedFrame) and state.serves is not None and state.is_channel:
            path = self._carried.restore(state.serves, admitted)
            admitted = admitted if path is None else msgspec.structs.replace(admitted, path=path)
        if isinstance(admitted, SourceRefusal):
            # The path may be forged: the error goes to the other end of the link.
            refused = msgspec.structs.replace(frame, path=(state.peer,))
            return self._reject(refused, link, admitted)
        if admitted.kind in _REQUESTS:
            return self._route_request(admitted, link, now)
        return self._route_answer(admitted, link, now)

    def _with_learned_peer(self, state: LinkState, frame: RoutedFrame, now: float) -> LinkState:
        """Return the link of a backend with the id that its frames name, if only its alias was known."""
        if state.peer != CSMS or state.mode is NetworkingMode.STANDARD:
            return state
        named = tuple(node for node in frame.path if node != CSMS)[-1:]
        if not named:
            return state
        if named[0] in (self._own, BROADCAST) or not self._source_check.may_come(named[0], state.link):
            return state
        self._mark_routes_changed()
        learned = msgspec.structs.replace(state, peer=named[0])
        self._link_states[state.link] = learned
        self._source_check.link_up(learned)
        self._routes.link_up(_hop(learned), *addresses_of(learned))
        self._announcer.link_up(learned, now)
        return learned

    def _on_own_frame(self, message: Message, destination: Hops, now: float) -> Iterable[Action]:
        frame = overlay_frames.parse(message)
        if not isinstance(frame, RoutedFrame) or frame.is_overlay:
            raise ValueError("our own messages are plain frames")
        if frame.kind in _REQUESTS:
            return self._route_request(msgspec.structs.replace(frame, destination=destination), LOCAL, now)
        return self._route_answer(frame, LOCAL, now)

    def _reject_unreadable(
        self, frame: MalformedFrame | UnknownMessageType, state: LinkState
    ) -> Iterator[Action]:
        self.counts["unreadable"] += 1
        if isinstance(frame, MalformedFrame):
            yield LogEntry(logging.WARNING, f"malformed frame peer={state.peer} reason={frame.reason}")
            if frame.id is not None:
                answer = overlay_frames.error(frame.id, "FormatViolation", frame.reason)
                yield self._write_frame(answer, state, (state.peer,), (), LOCAL)

    # -- requests -----------------------------------------------------------------------------------

    def _route_request(self, frame: RoutedFrame, origin: str, now: float) -> Iterable[Action]:
        """Route a CALL or a SEND."""
        destination = frame.destination
        while destination[:1] == (self._own,):
            destination = destination[1:]
        if not destination or (destination == (BROADCAST,) and frame.action == TOPOLOGY):
            return self._deliver_request(frame, origin, now)
        taken: Sequence[Action] = ()
        if destination == (CSMS,) and frame.action == TOPOLOGY and self._is_neighbors_own(frame, origin):
            # WWCP controllers address their topology to the backend: it goes on there, and is used here.
            taken = tuple(self._on_topology(frame, self._link_states[origin], now))
        if destination is not frame.destination:
            frame = msgspec.structs.replace(frame, destination=destination)
        source = self._link_states.get(origin)
        passed: Iterable[Action]
        if self._transit_check.applies_to(source):
            passed = self._check_request(frame, origin, source, now)
        else:
            passed = self._pass_request(frame, origin, now)
        return (*taken, *passed) if taken else passed

    def _check_request(
        self, frame: RoutedFrame, origin: str, source: LinkState | None, now: float
    ) -> Iterator[Action]:
        """Pass a request that the policy of signatures permits."""
        towards = self._next_hop.directions(frame, origin, now)
        decision = self._transit_check.request(frame, source, towards, now)
        yield from decision.effects
        match decision.outcome:
            case RoutedFrame() as cleared:
                yield from self._pass_request(cleared, origin, now)
            case FrameHeld() as held:
                yield held
            case SourceRefusal() as refusal if (
                frame.kind is OverlayMessageKind.CALL and self._pending.is_waiting(origin, frame)
            ):
                # The answer is still to come: it gets no other.
                about = f"link={origin} {frame.describe()}"
                yield LogEntry(
                    logging.INFO, f"request repeated before its answer {about} reason={refusal.reason!r}"
                )
            case SourceRefusal() as refusal:
                yield from self._reject(frame, origin, refusal)
            case DropDecision():
                self.counts["dropped"] += 1

    def _pass_request(self, frame: RoutedFrame, origin: str, now: float) -> Iterable[Action]:
        """Forward a request that the policy permits to each of its receivers."""
        if frame.destination[0] == BROADCAST:
            return self._send_broadcast(frame, origin, now)
        if frame.kind is OverlayMessageKind.SEND:
            return self._send_to_all(frame, origin, now)
        return self._pass_to_one(frame, origin, now)

    def _send_to_all(self, frame: RoutedFrame, origin: str, now: float) -> Iterator[Action]:
        """Forward a SEND to each node that its destination names."""
        for name in self._next_hop.names(frame):
            each = frame
            if name != frame.destination[0]:
                each = msgspec.structs.replace(frame, destination=(name, *frame.destination[1:]))
            yield from self._pass_to_one(each, origin, now)

    def _pass_to_one(self, frame: RoutedFrame, origin: str, now: float) -> Iterable[Action]:
        if frame.destination == (self._own,):
            return self._deliver_request(frame, origin, now)
        return self._forward_request(frame, origin, frozenset(), now)

    def _on_released(self, released: FrameReleased, now: float) -> Iterator[Action]:
        """Send on a signed message after its records are durable, or reject it."""
        held = released.held
        if held.pending is not None:
            error = overlay_frames.error(
                held.frame.id, source_check.NOT_SAVED.code, source_check.NOT_SAVED.reason, unreached=True
            )
            yield from self._send_answer(held.frame if released.done else error, held.pending)
        elif released.done:
            yield from self._pass_request(held.frame, held.origin, now)
        else:
            yield from self._reject(held.frame, held.origin, source_check.NOT_SAVED)

    def _forward_request(
        self, frame: RoutedFrame, origin: str, tried: frozenset[str], now: float
    ) -> Iterable[Action]:
        chosen = self._next_hop.choose(frame, origin, tried, now)
        if chosen is not None:
            return self._send_request(frame, *chosen, origin, tried, now)
        reason = f"there is no route to {frame.destination[0]!r}"
        return self._reject(frame, origin, SourceRefusal(GENERIC_ERROR, reason, "no route", unreached=True))

    def _send_request(
        self,
        frame: RoutedFrame,
        onward: RoutedFrame,
        state: LinkState,
        origin: str,
        tried: frozenset[str],
        now: float,
    ) -> Iterable[Action]:
        """Send `onward`; `frame` is kept for a retry over another link."""
        if frame.kind is OverlayMessageKind.CALL:
            pending = self._pending.add_request(
                origin, onward, state.link, now, keeps_id=state.mode is NetworkingMode.OVERLAY
            )
            if pending is None:
                return self._reject(frame, origin, source_check.TOO_MANY)
            if pending.out_id != frame.id:
                frame = msgspec.structs.replace(frame, id=pending.out_id)
                onward = msgspec.structs.replace(onward, id=pending.out_id)
        message = self._write_message(onward, state, onward.destination, onward.path)
        return (SendFrame(state.link, message, frame, origin, tried | {state.link}),)

    def _on_send_failed(self, sending: SendFrame, now: float) -> Iterator[Action]:
        frame = sending.frame
        if frame.kind is OverlayMessageKind.CALL:
            pending = self._pending.take_request(sending.link, frame.id, frame.path[:1] or (self._own,))
            if pending is None:
                return  # it was answered when its link was lost
            frame = msgspec.structs.replace(frame, id=pending.id)
        if sending.tried:
            yield from self._forward_request(frame, sending.origin, sending.tried, now)
        else:
            self.counts["not sent"] += 1

    def _send_broadcast(self, frame: RoutedFrame, origin: str, now: float) -> Iterator[Action]:
        """Send a broadcast once to every link that takes it."""
        if frame.kind is OverlayMessageKind.CALL:
            why = "a CALL to everybody would have many answers; use a SEND"
            yield from self._reject(frame, origin, SourceRefusal("NotSupported", why, "broadcast call"))
            return
        name = (frame.path[0] if frame.path else self._own, frame.id)
        if name in self._broadcasts:
            self.counts["seen before"] += 1
            return
        self._broadcasts[name] = None
        if len(self._broadcasts) > MAX_BROADCASTS:
            del self._broadcasts[next(iter(self._broadcasts))]
        for state in self._next_hop.everywhere(frame, origin):
            yield self._write_frame(frame, state, frame.destination, frame.path, origin)
        if origin != LOCAL:
            yield from self._deliver_request(frame, origin, now)

    # -- frames for this node -----------------------------------------------------------------------------

    def _deliver_request(self, frame: RoutedFrame, origin: str, now: float) -> Iterator[Action]:
        if origin == LOCAL:
            yield from self._reject(
                frame, origin, SourceRefusal(GENERIC_ERROR, "it is addressed to its sender", "no route")
            )
        elif frame.action == TOPOLOGY:
            yield from self._on_topology(frame, self._link_states[origin], now)
        elif self._link_states[origin].side is LinkSide.DOWN and frame.destination != (BROADCAST,):
            yield from self._reject(frame, origin, source_check.FROM_BELOW)
        elif frame.kind is OverlayMessageKind.SEND:
            yield DeliverFrame(overlay_frames.to_plain(frame), frame.path)
        else:
            pending = self._pending.add_request(origin, frame, LOCAL, now)
            if pending is None:
                yield from self._reject(frame, origin, source_check.TOO_MANY)
                return
            yield DeliverFrame(
                overlay_frames.to_plain(msgspec.structs.replace(frame, id=pending.out_id)), frame.path
            )

    def _is_neighbors_own(self, frame: RoutedFrame, origin: str) -> bool:
        """Return True if a neighbor in overlay mode reports its own topology in a SEND."""
        state = self._link_states.get(origin)
        return (
            frame.kind is OverlayMessageKind.SEND
            and state is not None
            and state.mode is NetworkingMode.OVERLAY
            and frame.path == (state.peer,)
        )

    def _on_topology(self, frame: RoutedFrame, state: LinkState, now: float) -> Iterator[Action]:
        """Take a neighbor's topology."""
        self._mark_routes_changed()
        is_call = frame.kind is OverlayMessageKind.CALL
        try:
            if state.mode is NetworkingMode.STANDARD or frame.path != (state.peer,):
                raise TopologyRejectedError(
                    "neighbors report themselves alone, over links of the overlay", forged=True
                )
            utc = self._utc_of(now)
            hops = self._topology.on_report(state.link, state.peer, frame.body[-1], now, utc, is_call=is_call)
            if not self._routes.learn(state.link, hops):
                raise TopologyRejectedError("there are too many routes")
        except TopologyRejectedError as no:
            why = f"topology of {state.peer!r} is not accepted: {no}"
            refusal = SourceRefusal(SPOOFED_CODE if no.forged else GENERIC_ERROR, why, "topology")
            yield from self._reject(frame, state.link, refusal)
            return
        self._announcer.changed(now)
        if is_call:
            answer = overlay_frames.result(frame.id, TOPOLOGY_ANSWER)
            yield self._write_frame(answer, state, (state.peer,), (), LOCAL)

    # -- answers ------------------------------------------------------------------------------------

    def _route_answer(self, frame: RoutedFrame, link: str, now: float) -> Iterable[Action]:
        """Route an answer to the link of its CALL, or an objection to the link of the answer."""
        if frame.kind is OverlayMessageKind.RESULT_ERROR:
            objected = self._pending.take_objected(link, frame.id, frame.path)
            if objected is not None:
                request, answered_by = objected
                onward = msgspec.structs.replace(frame, id=request.out_id)
                return self._send_back(onward, request.out, answered_by)
        else:
            pending = self._pending.take_request(link, frame.id, frame.destination)
            if pending is not None:
                answer = frame if frame.id == pending.id else msgspec.structs.replace(frame, id=pending.id)
                to = self._link_states.get(pending.origin)
                source = self._link_states.get(link)
                if not (self._transit_check.applies_to(source) and self._transit_check.applies_to(to)):
                    return self._send_answer(answer, pending)
                return self._check_answer(answer, source, to, pending, now)
        self.counts["unsolicited"] += 1
        return (LogEntry(logging.INFO, f"answer dropped, no request waits for it type={frame.kind.name}"),)

    def _check_answer(
        self,
        answer: RoutedFrame,
        source: LinkState | None,
        to: LinkState | None,
        pending: ForwardedRequest,
        now: float,
    ) -> Iterator[Action]:
        """Send an answer that the policy of signatures permits, or an error in its place."""
        decision = self._transit_check.answer(answer, source, to, pending, now)
        yield from decision.effects
        match decision.outcome:
            case RoutedFrame() as cleared:
                yield from self._send_answer(cleared, pending)
            case FrameHeld() as held:
                yield held
            case SourceRefusal(code, reason, kind):
                self.counts[kind] += 1
                about = f"link={pending.out} {answer.describe(pending.action)}"
                yield LogEntry(logging.WARNING, f"answer rejected {about} reason={reason!r}")
                error = overlay_frames.error(answer.id, code, reason)
                yield from self._send_answer(msgspec.structs.replace(error, path=answer.path), pending)
            case DropDecision():
                self.counts["dropped"] += 1

    def _send_answer(self, answer: RoutedFrame, pending: ForwardedRequest) -> Iterable[Action]:
        if answer.kind is OverlayMessageKind.RESULT:
            self._pending.keep_answered(pending, answer.path[:1])
        return self._send_back(answer, pending.origin, pending.path[:1])

    def _send_back(self, frame: RoutedFrame, link: str, destination: Hops) -> Iterable[Action]:
        """Send an answer to a link, or deliver it here."""
        state = self._link_states.get(link)
        if link == LOCAL:
            return (DeliverFrame(overlay_frames.to_plain(frame), frame.path),)
        if state is None:
            return ()
        if state.is_channel and state.side is LinkSide.DOWN and frame.reports_unreached:
            # Not an answer for a station: its relay keeps the message, as when any link is lost.
            return (RequestUnreachable(link, msgspec.json.decode(frame.body[1], type=str)),)
        if frame.kind is OverlayMessageKind.RESULT_ERROR and state.mode is NetworkingMode.OVERLAY:
            # WWCP nodes cannot read it in overlay form.
            self.counts["objections"] += 1
            line = f"objection to an answer not forwarded link={link} {frame.describe()}"
            return (LogEntry(logging.WARNING, line),)
        return (self._write_frame(frame, state, destination, frame.path, LOCAL),)

    def _fail_request(self, pending: ForwardedRequest, why: str, kind: str) -> Iterator[Action]:
        """Answer a CALL that has no answer with an error."""
        self.counts[kind] += 1
        error = overlay_frames.error(pending.id, GENERIC_ERROR, why, unreached=True)
        yield from self._send_back(error, pending.origin, pending.path[:1])

    def _reject(self, frame: RoutedFrame, origin: str, refusal: SourceRefusal) -> Iterator[Action]:
        """Reject a frame: a CALL gets an error, all are counted."""
        self.counts[refusal.kind] += 1
        level = logging.WARNING if refusal.code == SPOOFED_CODE else logging.INFO
        yield LogEntry(level, f"frame rejected {frame.describe()} reason={refusal.reason!r}")
        if frame.kind is OverlayMessageKind.CALL:
            answer = overlay_frames.error(frame.id, refusal.code, refusal.reason, unreached=refusal.unreached)
            yield from self._send_back(answer, origin, frame.path[:1])

    def _write_frame(
        self, frame: RoutedFrame, state: LinkState, destination: Hops, path: Hops, origin: str
    ) -> SendFrame:
        """Write a frame for a link, without another try."""
        return SendFrame(state.link, self._write_message(frame, state, destination, path), frame, origin)

    def _write_message(self, frame: RoutedFrame, state: LinkState, destination: Hops, path: Hops) -> Message:
        if state.mode is NetworkingMode.STANDARD:
            if self._next_hop.enters_relay(state):
                self._carried.record_frame(state.peer, msgspec.structs.replace(frame, path=path))
            return overlay_frames.to_plain(frame)
        return overlay_frames.to_overlay(frame, destination, onward_path(path, self._own))


def _hop(state: LinkState) -> Hop:
    return Hop(state.link, state.priority, state.weight, only=state.only or state.serves)
