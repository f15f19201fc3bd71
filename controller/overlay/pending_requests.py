"""Requests that were forwarded and wait for their answers, and paths through a station's relay.

An answer is routed back by the link that it comes over, its id and the node that it is for: ids are
counters that begin alike at every node of WWCP. A plain link has no destinations: where two requests with
the same id wait there, the later one goes under another id.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Callable

import msgspec

from controller.overlay.overlay_frames import Hops, RoutedFrame
from controller.overlay.overlay_wire import OverlayMessageKind

MAX_PENDING = 1000
"""Requests of one link. More are rejected."""

MAX_ANSWERED = 1000
"""Answers to which their receivers may still object (CALLRESULTERROR)."""


RequestKey = tuple[str, str, Hops]
"""Outgoing link, id there, and the requesting node; no node where the outgoing link is plain."""


class ForwardedRequest(msgspec.Struct, frozen=True):
    """A forwarded request. It was received over `origin` as `id`, by `path`, and sent over `out` as `out_id`.

    `action` is requested of the node `receiver`.
    """

    origin: str
    id: str
    path: Hops
    out: str
    out_id: str
    until: float
    action: str | None = None
    receiver: str = ""

    @property
    def author(self) -> tuple[str, str, Hops]:
        """Key that distinguishes the request from all others of the link that it was received over."""
        return self.origin, self.id, self.path[:1]


class CallRoute(msgspec.Struct, frozen=True):
    """Route of CALLs that are received over `origin` and sent over `out`, whatever their ids.

    `path` and `receiver` are those of each `ForwardedRequest`; `requester`: the requesting node, if the
    outgoing link distinguishes equal ids of several nodes.
    """

    origin: str
    out: str
    path: Hops
    receiver: str
    requester: Hops


class PendingRequests:
    """Pending requests of one node. `new_id` makes unique ids; times are monotonic s."""

    def __init__(self, timeout_s: float, new_id: Callable[[], str]) -> None:
        self._timeout_s = timeout_s
        self._new_id = new_id
        self._waiting: dict[RequestKey, ForwardedRequest] = {}
        """The oldest first."""
        self._per_link: Counter[str] = Counter()
        self._answered: OrderedDict[tuple[str, str, Hops], tuple[ForwardedRequest, Hops]] = OrderedDict()
        """By author, with the author of the answer. The first entry of a plain dict takes long to find
        after many removals."""

    def add_request(
        self, origin: str, frame: RoutedFrame, out: str, now: float, *, keeps_id: bool = False
    ) -> ForwardedRequest | None:
        """Add a request that is forwarded; None if too many of its link wait already.

        `keeps_id`: the link names the requesting node, so that equal ids of several nodes are distinguished.
        """
        if self._per_link[origin] >= MAX_PENDING:
            return None
        requester = frame.path[:1] if keeps_id else ()
        out_id = self._new_id() if (out, frame.id, requester) in self._waiting else frame.id
        until, receiver = now + self._timeout_s, frame.destination[-1] if frame.destination else ""
        request = ForwardedRequest(origin, frame.id, frame.path, out, out_id, until, frame.action, receiver)
        self._add((out, out_id, requester), request)
        return request

    def add_unchanged(
        self, route: CallRoute, message_id: str, action: str | None, now: float
    ) -> float | None:
        """Add a CALL that is forwarded as it is; returns the time until which it waits for its answer.

        None, with nothing added, if its id is taken or too many of its link wait already.
        """
        key = route.out, message_id, route.requester
        if key in self._waiting or self._per_link[route.origin] >= MAX_PENDING:
            return None
        until = now + self._timeout_s
        self._add(
            key,
            ForwardedRequest(
                route.origin, message_id, route.path, route.out, message_id, until, action, route.receiver
            ),
        )
        return until

    def _add(self, key: RequestKey, request: ForwardedRequest) -> None:
        self._waiting[key] = request
        self._per_link[request.origin] += 1

    def find_request(
        self, out: str, out_id: str, destination: Hops
    ) -> tuple[RequestKey, ForwardedRequest] | None:
        """Return the request that an answer to `destination` is for, for `remove`; None if there is none."""
        key = self._find(out, out_id, destination)
        return None if key is None else (key, self._waiting[key])

    def take_request(self, out: str, out_id: str, destination: Hops = ()) -> ForwardedRequest | None:
        """Take the request that an answer to `destination` is for; None if there is none."""
        key = self._find(out, out_id, destination)
        return None if key is None else self.remove(key)

    def _find(self, out: str, out_id: str, destination: Hops) -> RequestKey | None:
        for requester in (destination[:1], destination[-1:], ()):
            if (out, out_id, requester) in self._waiting:
                return out, out_id, requester
        # The destination is no requesting node: it is enough if no other request has this id.
        found = [key for key in self._waiting if key[:2] == (out, out_id)]
        return found[0] if len(found) == 1 else None

    def remove(self, key: RequestKey) -> ForwardedRequest:
        """Remove a request that waits; return it."""
        request = self._waiting.pop(key)
        self._per_link[request.origin] -= 1
        return request

    def is_waiting(self, origin: str, frame: RoutedFrame) -> bool:
        """Return True if a request of this author with this id waits already."""
        author = origin, frame.id, frame.path[:1]
        return any(request.author == author for request in self._waiting.values())

    def keep_answered(self, request: ForwardedRequest, answered_by: Hops) -> None:
        """Keep an answered request, to whose answer its author may still object."""
        author, answered = request.author, self._answered
        answered[author] = request, answered_by
        answered.move_to_end(author)
        if len(answered) > MAX_ANSWERED:
            answered.popitem(last=False)

    def take_objected(self, origin: str, message_id: str, path: Hops) -> tuple[ForwardedRequest, Hops] | None:
        """Take the request to whose answer its author objects, and the author of that answer."""
        return self._answered.pop((origin, message_id, path[:1]), None)

    def remove_link(self, link: str) -> list[ForwardedRequest]:
        """Remove what was received over a link; returns what waits for an answer over it."""
        for key in [key for key, request in self._waiting.items() if request.origin == link]:
            self.remove(key)
        lost = [self.remove(key) for key in list(self._waiting) if key[0] == link]
        for author, (request, _) in list(self._answered.items()):
            if link in (request.origin, request.out):
                del self._answered[author]
        return lost

    def take_expired(self, now: float) -> list[ForwardedRequest]:
        """Take the requests that have waited too long."""
        late = []
        for key, request in list(self._waiting.items()):
            if request.until > now:
                break
            late.append(self.remove(key))
        return late

    @property
    def next_end(self) -> float:
        """Time at which the first request has waited too long; infinity if none waits."""
        for first in self._waiting.values():
            return first.until
        return math.inf


MAX_CARRIED = 1000
"""Frames of all stations; the oldest are dropped."""

_REQUESTS = (OverlayMessageKind.CALL, OverlayMessageKind.SEND)


class CarriedPaths:
    """Paths of frames that pass through the relays of stations in overlay mode.

    Into the relay of such a station, and out of it, frames are plain. Their paths are recorded at the one
    end and restored at the other: the station reads the sender of a request or answer there.
    """

    def __init__(self) -> None:
        self._paths: dict[tuple[str, bool, str], Hops] = {}

    def record_frame(self, station: str, frame: RoutedFrame) -> None:
        """Keep the path of a frame that enters the relay of a station."""
        if frame.path:
            self._paths.pop(_key(station, frame), None)
            self._paths[_key(station, frame)] = frame.path
            if len(self._paths) > MAX_CARRIED:
                del self._paths[next(iter(self._paths))]

    def restore(self, station: str, frame: RoutedFrame) -> Hops | None:
        """Return the path of a frame that comes out of the relay; None: it is the relay's own."""
        return self._paths.pop(_key(station, frame), None)


def _key(station: str, frame: RoutedFrame) -> tuple[str, bool, str]:
    return station, frame.kind in _REQUESTS, frame.id
