"""A node of the overlay network: what comes over one link goes on over another, and answers come back.

A frame that comes in is held against its link (`admission`), then
  - a CALL or a SEND goes to its destination: here (`DeliverFrame`), or on over the best live link, and over
    the next best where it cannot be sent. A CALL is entered in the book of those who wait (`pending`).
  - an answer goes back the way that its CALL came.
Before it goes on, the policy of signatures looks at it (`transit`).
On plain links frames go without destination and path; the node knows both from the link and from its book.
Who sends a CALL gets exactly one answer: its receiver's, or a CALLERROR of the node where the way ended. A
CALL whose link is lost while it waits may have arrived: it is answered with an error, and not sent again.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator

import msgspec

from controller.ocpp.frames import MalformedFrame, UnknownMessageType
from controller.overlay import overlay_frames, source_check
from controller.overlay.events import (
    HERE,
    Action,
    DeliverFrame,
    Event,
    FrameReceived,
    LinkDown,
    LinkSide,
    LinkState,
    LinkUp,
    OverlayLogEntry,
    OverlayPersisted,
    OverlayTick,
    OwnRequest,
    PersistOverlay,
    RequestUnreachable,
    SendFailed,
    SendFrame,
)
from controller.overlay.next_hop import NextHopSelector, names_of
from controller.overlay.node_settings import NodeSettings
from controller.overlay.overlay_frames import Hops, Message, RoutedFrame
from controller.overlay.overlay_wire import (
    BROADCAST,
    CSMS,
    TOPOLOGY,
    TOPOLOGY_ANSWER,
    NetworkingMode,
    OverlayMessageKind,
)
from controller.overlay.pending_requests import ForwardedRequest, PendingRequests
from controller.overlay.routes import Hop, Routes
from controller.overlay.source_check import OTHER, SPOOFED, SourceCheck, SourceRefusal
from controller.overlay.topology import TopologyReceived, TopologyRejectedError
from controller.overlay.topology_announcer import TopologyAnnouncer
from controller.overlay.transit_check import TransitCheck, TransitDecision
from controller.signing.policy_enforcer import DropDecision

MOST_SEEN = 1000
"""Broadcasts that are known again when they come over another link."""

_REQUESTS = (OverlayMessageKind.CALL, OverlayMessageKind.SEND)


class Node:
    """One node. `counts` has what was dropped, by the kind of reason."""

    def __init__(self, settings: NodeSettings) -> None:
        self.counts: Counter[str] = Counter()
        self._own = settings.own
        self._timeout_s = settings.timeout_s
        self._utc_of = settings.utc_of
        self._routes = Routes(settings.routes, settings.groups, settings.dice)
        self._homes = SourceCheck(settings.own, settings.homes)
        self._heard = TopologyReceived(settings.own, settings.verify, self._homes.may_come)
        self._pending = PendingRequests(settings.timeout_s, settings.new_id)
        self._announcer = TopologyAnnouncer(
            settings.own, self._routes, settings.sign, settings.utc_of, settings.new_id
        )
        self._ways: dict[str, LinkState] = {}
        self._compass = NextHopSelector(settings.own, self._ways, self._routes)
        self._transit = TransitCheck(settings.gate, settings.utc_of)
        self._seen: dict[tuple[str, str], None] = {}

    @property
    def wake_at(self) -> float:
        """When the next `Tick` is due (monotonic s); infinity where nothing waits."""
        return min(self._pending.next_end, self._routes.next_end, self._announcer.due)

    def neighbours(self, now: float) -> dict[str, dict[str, int]]:
        """By link the best priority of each node that is reached over it."""
        return self._routes.neighbours(now)

    def handle(self, event: Event, now: float) -> list[Action]:
        """What is to be done about an event, in this order."""
        match event:
            case FrameReceived(link, message):
                return list(self._came(link, message, now))
            case OwnRequest(message, destination):
                return list(self._ours(message, destination, now))
            case SendFailed(sending):
                return list(self._not_sent(sending, now))
            case OverlayPersisted():
                return list(self._saved(event, now))
            case LinkUp(way):
                return list(self._up(way, now))
            case LinkDown(link):
                return list(self._down(link, now))
            case OverlayTick():
                return list(self._ticked(now))

    # -- links and time -----------------------------------------------------------------------------

    def _up(self, way: LinkState, now: float) -> Iterator[Action]:
        if way.link in self._ways:
            yield from self._down(way.link, now)
        self._ways[way.link] = way
        self._homes.link_up(way)
        self._routes.link_up(_hop(way), *names_of(way))
        self._announcer.link_up(way, now)

    def _down(self, link: str, now: float) -> Iterator[Action]:
        if self._ways.pop(link, None) is None:
            return
        self._homes.link_down(link)
        self._routes.link_down(link)
        self._announcer.link_down(link, now)
        for asked in self._pending.link_down(link):
            yield from self._fail(asked, "the link was lost before an answer came", "unanswered")

    def _ticked(self, now: float) -> Iterator[Action]:
        if self._routes.forget_old(now):
            self._announcer.changed(now)
        for asked in self._pending.expired(now):
            yield from self._fail(asked, f"no answer came within {self._timeout_s:g} s", "unanswered")
        yield from self._announcer.ticked(now)

    # -- what comes in ------------------------------------------------------------------------------

    def _came(self, link: str, message: Message, now: float) -> Iterator[Action]:
        way = self._ways.get(link)
        if way is None:
            self.counts["too late"] += 1
            return
        frame = overlay_frames.parse(message)
        if isinstance(frame, MalformedFrame | UnknownMessageType):
            yield from self._unreadable(frame, way)
            return
        way = self._with_learned_peer(way, frame, now)
        admitted = self._homes.admit(frame, way)
        if isinstance(admitted, SourceRefusal):
            # Who may have lied of the path is answered over the link that it came.
            refused = msgspec.structs.replace(frame, path=(way.peer,))
            yield from self._refuse(refused, link, admitted)
        elif admitted.kind in _REQUESTS:
            yield from self._on(admitted, link, now)
        else:
            yield from self._back(admitted, link, now)

    def _with_learned_peer(self, way: LinkState, frame: RoutedFrame, now: float) -> LinkState:
        """Return the link of a backend with the id that its frames name, if only its alias was known."""
        named = tuple(node for node in frame.path if node != CSMS)[-1:]
        if way.peer != CSMS or way.mode is NetworkingMode.STANDARD or not named:
            return way
        if named[0] in (self._own, BROADCAST) or not self._homes.may_come(named[0], way.link):
            return way
        learned = msgspec.structs.replace(way, peer=named[0])
        self._ways[way.link] = learned
        self._homes.link_up(learned)
        self._routes.link_up(_hop(learned), *names_of(learned))
        self._announcer.link_up(learned, now)
        return learned

    def _ours(self, message: Message, destination: Hops, now: float) -> Iterator[Action]:
        frame = overlay_frames.parse(message)
        if not isinstance(frame, RoutedFrame) or frame.is_overlay:
            raise ValueError("our own messages are plain frames")
        if frame.kind in _REQUESTS:
            yield from self._on(msgspec.structs.replace(frame, destination=destination), HERE, now)
        else:
            yield from self._back(frame, HERE, now)

    def _unreadable(self, frame: MalformedFrame | UnknownMessageType, way: LinkState) -> Iterator[Action]:
        self.counts["unreadable"] += 1
        if isinstance(frame, MalformedFrame):
            yield OverlayLogEntry(logging.WARNING, f"{way.peer!r} sent what is no frame: {frame.reason}")
            if frame.id is not None:
                answer = overlay_frames.error(frame.id, "FormatViolation", frame.reason)
                yield self._written(answer, way, (way.peer,), (), HERE)

    # -- requests -----------------------------------------------------------------------------------

    def _on(self, frame: RoutedFrame, came: str, now: float) -> Iterator[Action]:
        """A CALL or a SEND, to whom it is for."""
        destination = frame.destination
        while destination[:1] == (self._own,):
            destination = destination[1:]
        if not destination or (destination == (BROADCAST,) and frame.action == TOPOLOGY):
            yield from self._arrived(frame, came, now)
            return
        if destination == (CSMS,) and frame.action == TOPOLOGY and self._is_neighbours_own(frame, came):
            # WWCP controllers address what they tell to the backend: it goes on there, and is news here, too.
            yield from self._told(frame, self._ways[came], now)
        frame = msgspec.structs.replace(frame, destination=destination)
        towards = self._compass.directions(frame, came, now)
        looked = self._transit.request(frame, self._ways.get(came), towards, now)
        yield from looked.notes
        match looked.outcome:
            case RoutedFrame() as cleared:
                yield from self._pass(cleared, came, now)
            case PersistOverlay() as save:
                yield save
            case SourceRefusal() as refusal if frame.kind is OverlayMessageKind.CALL and self._pending.awaits(
                came, frame
            ):
                # The answer is still to come: it gets no other.
                yield OverlayLogEntry(
                    logging.INFO, f"{came!r} repeats {frame.id} before its answer: {refusal.reason}"
                )
            case SourceRefusal() as refusal:
                yield from self._refuse(frame, came, refusal)
            case DropDecision():
                self.counts["dropped"] += 1

    def _pass(self, frame: RoutedFrame, came: str, now: float) -> Iterator[Action]:
        """A request that may go on: to each that it is for."""
        if frame.destination[0] == BROADCAST:
            yield from self._broadcast(frame, came, now)
            return
        names = self._compass.names(frame) if frame.kind is OverlayMessageKind.SEND else frame.destination[:1]
        for name in names:
            each = msgspec.structs.replace(frame, destination=(name, *frame.destination[1:]))
            if each.destination == (self._own,):
                yield from self._arrived(each, came, now)
            else:
                yield from self._forward(each, came, frozenset(), now)

    def _saved(self, saved: OverlayPersisted, now: float) -> Iterator[Action]:
        """It is on disk, or cannot be, that a signed message was here."""
        save = saved.save
        if save.asked is not None:
            error = overlay_frames.error(
                save.frame.id, source_check.NOT_SAVED.code, source_check.NOT_SAVED.reason, unreached=True
            )
            yield from self._answered(save.frame if saved.done else error, save.asked)
        elif saved.done:
            yield from self._pass(save.frame, save.came, now)
        else:
            yield from self._refuse(save.frame, save.came, source_check.NOT_SAVED)

    def _forward(self, frame: RoutedFrame, came: str, tried: frozenset[str], now: float) -> Iterator[Action]:
        chosen = self._compass.choose(frame, came, tried, now)
        if chosen is not None:
            yield from self._send(frame, *chosen, came, tried, now)
            return
        reason = f"there is no way to {frame.destination[0]!r}"
        yield from self._refuse(frame, came, SourceRefusal(OTHER, reason, "no route", unreached=True))

    def _send(
        self,
        frame: RoutedFrame,
        onward: RoutedFrame,
        way: LinkState,
        came: str,
        tried: frozenset[str],
        now: float,
    ) -> Iterator[Action]:
        """`onward` is what goes out; `frame` is kept, should another way have to be found."""
        if frame.kind is OverlayMessageKind.CALL:
            asked = self._pending.ask(
                came, onward, way.link, now, keeps_id=way.mode is NetworkingMode.OVERLAY
            )
            if asked is None:
                yield from self._refuse(frame, came, source_check.TOO_MANY)
                return
            frame = msgspec.structs.replace(frame, id=asked.out_id)
            onward = msgspec.structs.replace(onward, id=asked.out_id)
        sending = self._written(onward, way, onward.destination, onward.path, came)
        yield msgspec.structs.replace(sending, frame=frame, tried=tried | {way.link})

    def _not_sent(self, sending: SendFrame, now: float) -> Iterator[Action]:
        frame = sending.frame
        if frame.kind is OverlayMessageKind.CALL:
            asked = self._pending.take(sending.link, frame.id, frame.path[:1] or (self._own,))
            if asked is None:
                return  # it was answered when its link was lost
            frame = msgspec.structs.replace(frame, id=asked.id)
        if sending.tried:
            yield from self._forward(frame, sending.came, sending.tried, now)
        else:
            self.counts["not sent"] += 1

    def _broadcast(self, frame: RoutedFrame, came: str, now: float) -> Iterator[Action]:
        """To every node that hears it, once."""
        if frame.kind is OverlayMessageKind.CALL:
            why = "a CALL to everybody would have many answers; use a SEND"
            yield from self._refuse(frame, came, SourceRefusal("NotSupported", why, "broadcast call"))
            return
        name = (frame.path[0] if frame.path else self._own, frame.id)
        if name in self._seen:
            self.counts["seen before"] += 1
            return
        self._seen[name] = None
        if len(self._seen) > MOST_SEEN:
            del self._seen[next(iter(self._seen))]
        for way in self._compass.everywhere(frame, came):
            yield self._written(frame, way, frame.destination, frame.path, came)
        if came != HERE:
            yield from self._arrived(frame, came, now)

    # -- what is for us -----------------------------------------------------------------------------

    def _arrived(self, frame: RoutedFrame, came: str, now: float) -> Iterator[Action]:
        if came == HERE:
            yield from self._refuse(
                frame, came, SourceRefusal(OTHER, "it is addressed to its sender", "no route")
            )
        elif frame.action == TOPOLOGY:
            yield from self._told(frame, self._ways[came], now)
        elif self._ways[came].side is LinkSide.DOWN and frame.destination != (BROADCAST,):
            yield from self._refuse(frame, came, source_check.FROM_BELOW)
        elif frame.kind is OverlayMessageKind.SEND:
            yield DeliverFrame(overlay_frames.to_plain(frame), frame.path)
        else:
            asked = self._pending.ask(came, frame, HERE, now)
            if asked is None:
                yield from self._refuse(frame, came, source_check.TOO_MANY)
                return
            yield DeliverFrame(
                overlay_frames.to_plain(msgspec.structs.replace(frame, id=asked.out_id)), frame.path
            )

    def _is_neighbours_own(self, frame: RoutedFrame, came: str) -> bool:
        """Return True if a neighbour in overlay mode tells of itself, in a SEND."""
        way = self._ways.get(came)
        return (
            frame.kind is OverlayMessageKind.SEND
            and way is not None
            and way.mode is NetworkingMode.OVERLAY
            and frame.path == (way.peer,)
        )

    def _told(self, frame: RoutedFrame, way: LinkState, now: float) -> Iterator[Action]:
        """A neighbour tells what is reached through it."""
        is_call = frame.kind is OverlayMessageKind.CALL
        try:
            if way.mode is NetworkingMode.STANDARD or frame.path != (way.peer,):
                raise TopologyRejectedError(
                    "neighbours speak for themselves alone, over links of the overlay", forged=True
                )
            utc = self._utc_of(now)
            hops = self._heard.take(way.link, way.peer, frame.body[-1], now, utc, is_call=is_call)
            if not self._routes.learn(way.link, hops):
                raise TopologyRejectedError("there are too many routes")
        except TopologyRejectedError as no:
            why = f"topology from {way.peer!r} is not believed: {no}"
            refusal = SourceRefusal(SPOOFED if no.forged else OTHER, why, "topology")
            yield from self._refuse(frame, way.link, refusal)
            return
        self._announcer.changed(now)
        if is_call:
            answer = overlay_frames.result(frame.id, TOPOLOGY_ANSWER)
            yield self._written(answer, way, (way.peer,), (), HERE)

    # -- answers ------------------------------------------------------------------------------------

    def _back(self, frame: RoutedFrame, link: str, now: float) -> Iterator[Action]:
        """An answer, the way that its CALL came; or the objection to one, the way that the CALL went."""
        if frame.kind is OverlayMessageKind.RESULT_ERROR:
            objected = self._pending.objected(link, frame.id, frame.path)
            if objected is not None:
                onward = msgspec.structs.replace(frame, id=objected.out_id)
                yield from self._hand(onward, objected.out, objected.to)
                return
        else:
            asked = self._pending.take(link, frame.id, frame.destination)
            if asked is not None:
                answer = msgspec.structs.replace(frame, id=asked.id)
                to = self._ways.get(asked.came)
                looked = self._transit.answer(answer, self._ways.get(link), to, asked, now)
                yield from self._answer(looked, answer, asked)
                return
        self.counts["unasked"] += 1
        yield OverlayLogEntry(logging.INFO, f"dropped a {frame.kind.name} that answers nothing")

    def _answer(
        self, looked: TransitDecision, answer: RoutedFrame, asked: ForwardedRequest
    ) -> Iterator[Action]:
        """What the policy makes of an answer; in the place of a refused one, whoever asked gets an error."""
        yield from looked.notes
        match looked.outcome:
            case RoutedFrame() as cleared:
                yield from self._answered(cleared, asked)
            case PersistOverlay() as save:
                yield save
            case SourceRefusal(code, reason, kind):
                self.counts[kind] += 1
                yield OverlayLogEntry(
                    logging.WARNING, f"refused the answer to {asked.action} of {asked.out!r}: {reason}"
                )
                error = overlay_frames.error(answer.id, code, reason)
                yield from self._answered(msgspec.structs.replace(error, path=answer.path), asked)
            case DropDecision():
                self.counts["dropped"] += 1

    def _answered(self, answer: RoutedFrame, asked: ForwardedRequest) -> Iterator[Action]:
        if answer.kind is OverlayMessageKind.RESULT:
            self._pending.remember(msgspec.structs.replace(asked, to=answer.path[:1]))
        yield from self._hand(answer, asked.came, asked.path[:1])

    def _hand(self, frame: RoutedFrame, link: str, destination: Hops) -> Iterator[Action]:
        """An answer to one link, or to us."""
        way = self._ways.get(link)
        if link == HERE:
            yield DeliverFrame(overlay_frames.to_plain(frame), frame.path)
        elif way is not None and way.is_leg and way.side is LinkSide.DOWN and frame.says_unreached:
            # For a station that is no answer: its relay keeps what it has said, as when any link is lost.
            yield RequestUnreachable(link, msgspec.json.decode(frame.body[1], type=str))
        elif (
            way is not None
            and frame.kind is OverlayMessageKind.RESULT_ERROR
            and way.mode is NetworkingMode.OVERLAY
        ):
            # WWCP nodes cannot read it in overlay form.
            self.counts["objections"] += 1
            yield OverlayLogEntry(
                logging.WARNING, f"{frame.path[:1]} objects to the answer {frame.id} of {destination}"
            )
        elif way is not None:
            yield self._written(frame, way, destination, frame.path, HERE)

    def _fail(self, asked: ForwardedRequest, why: str, kind: str) -> Iterator[Action]:
        """A CALL that waits no more, without an answer."""
        self.counts[kind] += 1
        error = overlay_frames.error(asked.id, OTHER, why, unreached=True)
        yield from self._hand(error, asked.came, asked.path[:1])

    def _refuse(self, frame: RoutedFrame, came: str, refusal: SourceRefusal) -> Iterator[Action]:
        """A frame goes nowhere: whoever waits for an answer gets one; else it is counted."""
        self.counts[refusal.kind] += 1
        level = logging.WARNING if refusal.code == SPOOFED else logging.INFO
        yield OverlayLogEntry(
            level, f"dropped a {frame.kind.name} from {frame.path[:1] or 'here'}: {refusal.reason}"
        )
        if frame.kind is OverlayMessageKind.CALL:
            answer = overlay_frames.error(frame.id, refusal.code, refusal.reason, unreached=refusal.unreached)
            yield from self._hand(answer, came, frame.path[:1])

    def _written(
        self, frame: RoutedFrame, way: LinkState, destination: Hops, path: Hops, came: str
    ) -> SendFrame:
        """A frame as it stands on a link."""
        if way.mode is NetworkingMode.STANDARD:
            message = overlay_frames.to_plain(frame)
        else:
            whole = (*(node for node in path if node != CSMS), self._own)
            message = overlay_frames.to_overlay(frame, destination, whole)
        return SendFrame(way.link, message, frame, came)


def _hop(way: LinkState) -> Hop:
    return Hop(way.link, way.priority, way.weight, only=way.only or way.serves)
