"""Requests that have gone on and wait for their answers: each hop keeps its own book.

An answer finds its way back by the link that it comes over and its id, whatever it says of its
destination. Where two requests with the same id wait on one link, the later one goes under another id.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable

import msgspec

from controller.overlay.overlay_frames import Hops, RoutedFrame

MOST_WAITING = 1000
"""Requests of one link. More are refused."""

MOST_REMEMBERED = 1000
"""Answers whose receivers may yet object to them (CALLRESULTERROR)."""


class ForwardedRequest(msgspec.Struct, frozen=True):
    """A request on its way. It `came` over a link under an id, by a path, and went `out` under `out_id`.

    `action` it asks for, of the node `whom`. `to`: where the author of its answer is, once there is one.
    """

    came: str
    id: str
    path: Hops
    out: str
    out_id: str
    until: float
    action: str | None = None
    whom: str = ""
    to: Hops = ()

    @property
    def author(self) -> tuple[str, str, Hops]:
        """What tells it from all other requests on the side that it came from."""
        return self.came, self.id, self.path[:1]


class PendingRequests:
    """The book of one node. `new_id` makes ids that nobody else uses; times are monotonic s."""

    def __init__(self, timeout_s: float, new_id: Callable[[], str]) -> None:
        self._timeout_s = timeout_s
        self._new_id = new_id
        self._waiting: dict[tuple[str, str], ForwardedRequest] = {}
        """By link and id on the way out, the oldest first: all wait equally long."""
        self._per_link: Counter[str] = Counter()
        self._answered: dict[tuple[str, str, Hops], ForwardedRequest] = {}

    def ask(self, came: str, frame: RoutedFrame, out: str, now: float) -> ForwardedRequest | None:
        """Enter a request that goes on; None where too many of that link wait already."""
        if self._per_link[came] >= MOST_WAITING:
            return None
        out_id = self._new_id() if (out, frame.id) in self._waiting else frame.id
        until, whom = now + self._timeout_s, frame.destination[-1] if frame.destination else ""
        asked = ForwardedRequest(came, frame.id, frame.path, out, out_id, until, frame.action, whom)
        self._waiting[out, out_id] = asked
        self._per_link[came] += 1
        return asked

    def take(self, out: str, out_id: str) -> ForwardedRequest | None:
        """The request that waits under this id on this link; it waits no more."""
        asked = self._waiting.pop((out, out_id), None)
        if asked is not None:
            self._per_link[asked.came] -= 1
        return asked

    def awaits(self, came: str, frame: RoutedFrame) -> bool:
        """Whether a request of this author with this id waits already."""
        author = came, frame.id, frame.path[:1]
        return any(asked.author == author for asked in self._waiting.values())

    def remember(self, asked: ForwardedRequest) -> None:
        """The request is answered well, which its author may yet object to."""
        self._answered.pop(asked.author, None)
        self._answered[asked.author] = asked
        if len(self._answered) > MOST_REMEMBERED:
            del self._answered[next(iter(self._answered))]

    def objected(self, came: str, message_id: str, path: Hops) -> ForwardedRequest | None:
        """The request to whose answer its author objects: once."""
        return self._answered.pop((came, message_id, path[:1]), None)

    def link_down(self, link: str) -> list[ForwardedRequest]:
        """Forget what came over a link, and give back what waits for an answer over it."""
        for asked in [asked for asked in self._waiting.values() if asked.came == link]:
            self.take(asked.out, asked.out_id)
        lost = [asked for asked in self._waiting.values() if asked.out == link]
        for asked in lost:
            self.take(asked.out, asked.out_id)
        self._answered = {
            author: asked for author, asked in self._answered.items() if link not in (asked.came, asked.out)
        }
        return lost

    def expired(self, now: float) -> list[ForwardedRequest]:
        """What has waited for too long; it waits no more."""
        late = []
        for asked in list(self._waiting.values()):
            if asked.until > now:
                break
            late.append(asked)
            self.take(asked.out, asked.out_id)
        return late

    @property
    def next_end(self) -> float:
        """When the first of the waiting has waited for too long; infinity where none waits."""
        return next((asked.until for asked in self._waiting.values()), math.inf)
