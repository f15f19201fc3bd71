"""Who sent what, who got what: the relay's honesty, counted by the two peers that it stands between.

Each end writes down the text of every frame that it sends and gets. A frame is *relayed* where the other
end got the same text. What is left over is told apart:

- *altered*: the other end got a frame of the same type and id with other bytes;
- *own*: a CALL or SEND that a station got and the backend never sent. Its answer is the controller's
  business: an answer that reaches the backend all the same counts as duplicated;
- a CALLERROR for a CALL that its addressee never answered is the controller's word in the addressee's
  stead: it settles the CALL, and counts as nothing;
- *lost*: a frame that never came and that nobody answered, though its link lived for FLIGHT_S after it
  was sent (a frame may be on its way when a link ends; what a station then sends again is a new frame);
- *duplicated*: whatever else came without having been sent.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, defaultdict
from collections.abc import Iterable

import msgspec

from controller.demo.wire import ANSWERS, CALL_ERROR, Head, head

FLIGHT_S = 3.0
"""So long before its link's end a frame may have been sent and not have arrived."""


class End(enum.Enum):
    """The two ends that the controller stands between."""

    STATION = "station"
    BACKEND = "backend"


class Messages(msgspec.Struct, frozen=True, kw_only=True):
    """The count of frames by what became of them."""

    relayed: int
    own: int
    lost: int
    duplicated: int
    altered: int


class _Sent(msgspec.Struct, frozen=True):
    text: str
    link: int
    at: float


class _Journal(msgspec.Struct):
    """What one end sent and got for one station."""

    sent: list[_Sent] = msgspec.field(default_factory=list)
    got: list[str] = msgspec.field(default_factory=list)


class Ledger:
    """All frames of a run. It grows with the run: that is its purpose, and runs end."""

    def __init__(self) -> None:
        self._journals: dict[End, defaultdict[str, _Journal]] = {end: defaultdict(_Journal) for end in End}
        self._ended: dict[int, float] = {}
        self._links = 0

    def new_link(self) -> int:
        """A number for a new link of either end."""
        self._links += 1
        return self._links

    def sent(self, end: End, station: str, link: int, text: str, at: float) -> None:
        """`end` sends `text` now, at `at` (s), on its link for `station`."""
        self._journals[end][station].sent.append(_Sent(text, link, at))

    def got(self, end: End, station: str, text: str) -> None:
        """`end` got `text` on its link for `station`."""
        self._journals[end][station].got.append(text)

    def link_ended(self, link: int, at: float) -> None:
        """A link is over."""
        self._ended[link] = at

    def count(self) -> Messages:
        """What became of all frames until now."""
        found: Counter[str] = Counter()
        for station in {name for journals in self._journals.values() for name in journals}:
            below, above = self._journals[End.STATION][station], self._journals[End.BACKEND][station]
            asked = {head(sent.text) for sent in above.sent}
            own = {frame for frame in map(head, below.got) if frame.asks and frame not in asked}
            own_ids = {frame.id for frame in own}
            found += self._one_way(above, below, own=own, ignored=frozenset())
            found += self._one_way(below, above, own=set(), ignored=own_ids)
        return Messages(**{name: found[name] for name in Messages.__struct_fields__})

    def _one_way(
        self, sender: _Journal, addressee: _Journal, own: set[Head], ignored: Iterable[str]
    ) -> Counter[str]:
        """The frames from one end to the other; answers to the `ignored` ids are for the controller only."""
        found: Counter[str] = Counter()
        arrived = Counter(addressee.got)
        missing: list[_Sent] = []
        for sent in sender.sent:
            frame = head(sent.text)
            private = frame.kind in ANSWERS and frame.id in ignored
            if arrived[sent.text] > 0:
                arrived[sent.text] -= 1
                found["duplicated" if private else "relayed"] += 1
            elif not private:
                missing.append(sent)
        surplus = Counter(map(head, arrived.elements()))
        settled = {frame.id for frame in map(head, sender.got) if frame.kind in ANSWERS}
        for sent in missing:
            frame = head(sent.text)
            if surplus[frame] > 0:
                surplus[frame] -= 1
                found["altered"] += 1
            elif not (frame.asks and frame.id in settled) and not self._in_flight(sent):
                found["lost"] += 1
        answered = {frame.id for frame in (head(sent.text) for sent in sender.sent) if frame.kind in ANSWERS}
        for frame in surplus.elements():
            if frame in own:
                found["own"] += 1
            elif frame.kind != CALL_ERROR or frame.id in answered:
                found["duplicated"] += 1
        return found

    def _in_flight(self, sent: _Sent) -> bool:
        return sent.at > self._ended.get(sent.link, math.inf) - FLIGHT_S
