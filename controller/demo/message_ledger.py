"""Ledger of all frames: what became of each, counted by the two peers that the controller relays between.

Each end records the text of every frame that it sends and receives. A frame is *relayed* if the other end
received the same text. The rest is classified:

- *altered*: the other end received a frame of the same type and id with other bytes;
- *own*: a CALL or SEND that a station got and the backend never sent; the other way, one of the messages
  by which a controller sends messages of its own (OWN_ACTIONS). Its answer belongs to the controller: an
  answer that reaches the other end all the same counts as duplicated;
- a CALLERROR that is the only answer to a CALL comes from the controller, for an addressee without an
  answer: it settles the CALL, and counts as nothing;
- *lost*: a frame that never came and that was not answered, though its link lived for FLIGHT_S after it
  was sent (a frame may be on its way when a link ends; what a station then sends again is a new frame);
- *duplicated*: anything else that came without having been sent.
"""

from __future__ import annotations

import enum
import math
from collections import Counter, defaultdict
from collections.abc import Set

import msgspec

from controller.demo.demo_frames import ANSWERS, CALL_ERROR, FrameHead, read_frame, read_head

OWN_ACTIONS = {"NotifyChargingLimit", "ClearedChargingLimit", "ReportChargingProfiles"}
"""Actions that a local controller originates towards a backend (OCPP 2.0.1 Part 2, K09, K12, K13)."""

OWN_ANSWERS = {"GetCompositeSchedule"}
"""Actions of a backend that a local controller answers itself (OCPP 2.0.1 Part 2, K08)."""

FLIGHT_S = 3.0
"""A frame sent less than this before the end of its link may not have arrived."""


class End(enum.Enum):
    """The two ends that the controller stands between."""

    STATION = "station"
    BACKEND = "backend"


class MessageCounts(msgspec.Struct, frozen=True, kw_only=True):
    """The count of frames by result."""

    relayed: int
    own: int
    lost: int
    duplicated: int
    altered: int


class _Entry(msgspec.Struct, frozen=True):
    """A frame as one end recorded it; `link` is that end's."""

    text: str
    link: int
    at: float
    head: FrameHead


class _Journal(msgspec.Struct):
    """Frames that one end sent and received for one station."""

    sent: list[_Entry] = msgspec.field(default_factory=list)
    got: list[_Entry] = msgspec.field(default_factory=list)


class MessageLedger:
    """All frames of a run. It grows with the run, which ends."""

    def __init__(self) -> None:
        self.frames = 0
        """Number of frames that the two ends received."""
        self._journals: dict[End, defaultdict[str, _Journal]] = {end: defaultdict(_Journal) for end in End}
        self._ended: dict[int, float] = {}
        self._links = 0

    def new_link(self) -> int:
        """Return a number for a new link of either end."""
        self._links += 1
        return self._links

    def sent(self, end: End, station: str, link: int, text: str, at: float) -> None:
        """Record that `end` sends `text` at `at` (s) on its link for `station`."""
        self._journals[end][station].sent.append(_Entry(text, link, at, read_head(text)))

    def got(self, end: End, station: str, link: int, text: str, at: float) -> None:
        """Record that `end` received `text` on its link for `station`."""
        self._journals[end][station].got.append(_Entry(text, link, at, read_head(text)))
        self.frames += 1

    def link_ended(self, link: int, at: float) -> None:
        """Record the end of a link."""
        self._ended[link] = at

    def count(self) -> MessageCounts:
        """Classify all frames until now."""
        found: Counter[str] = Counter()
        for station in {name for journals in self._journals.values() for name in journals}:
            below, above = self._journals[End.STATION][station], self._journals[End.BACKEND][station]
            down = {own.head for own in _own(above, below)}
            up = {own.head for own in _own(below, above) if read_frame(own.text).action in OWN_ACTIONS}
            found += self._one_way(above, below, own=down, private={each.id for each in up})
            found += self._one_way(below, above, own=up, private={each.id for each in down})
        return MessageCounts(**{name: found[name] for name in MessageCounts.__struct_fields__})

    def _one_way(
        self, sender: _Journal, addressee: _Journal, own: Set[FrameHead], private: Set[str]
    ) -> Counter[str]:
        """Classify frames of one direction; answers to the `private` ids are for the controller only."""
        found: Counter[str] = Counter()
        arrived: defaultdict[str, list[_Entry]] = defaultdict(list)
        for got in addressee.got:
            arrived[got.text].append(got)
        missing: list[_Entry] = []
        # A text may be sent again on a second link: what came is then rather that one.
        for sent in sorted(sender.sent, key=self._in_flight):
            leak = sent.head.kind in ANSWERS and sent.head.id in private
            if arrived[sent.text]:
                arrived[sent.text].pop()
                found["duplicated" if leak else "relayed"] += 1
            elif not leak:
                missing.append(sent)
        surplus = [got for entries in arrived.values() for got in entries]
        found += self._missing(missing, surplus, sender)
        found += _surplus(surplus, addressee, own)
        return found

    def _missing(self, missing: list[_Entry], surplus: list[_Entry], sender: _Journal) -> Counter[str]:
        """Count altered and lost frames; the altered ones are removed from `surplus`."""
        found: Counter[str] = Counter()
        settled = {(got.link, got.head.id) for got in sender.got if got.head.kind in ANSWERS}
        for sent in missing:
            other = next((got for got in surplus if got.head == sent.head), None)
            if other is not None:
                surplus.remove(other)
                found["altered"] += 1
            elif not (sent.head.is_call and (sent.link, sent.head.id) in settled) and not self._in_flight(
                sent
            ):
                found["lost"] += 1
        return found

    def _in_flight(self, sent: _Entry) -> bool:
        return sent.at > self._ended.get(sent.link, math.inf) - FLIGHT_S


def _own(sender: _Journal, addressee: _Journal) -> list[_Entry]:
    """Return the calls that one end received and the other never sent."""
    asked = {sent.head for sent in sender.sent}
    return [got for got in addressee.got if got.head.is_call and got.head not in asked]


def _surplus(surplus: list[_Entry], addressee: _Journal, own: Set[FrameHead]) -> Counter[str]:
    """Classify frames that neither end sent: the controller's own, or duplicates."""
    found: Counter[str] = Counter()
    answers = Counter((got.link, got.head.id) for got in addressee.got if got.head.kind in ANSWERS)
    calls = (each for each in addressee.sent if each.head.is_call)
    answered = {(each.link, each.head.id) for each in calls if read_frame(each.text).action in OWN_ANSWERS}
    for got in surplus:
        place = (got.link, got.head.id)
        is_answer = got.head.kind in ANSWERS and place in answered and answers[place] == 1
        if got.head in own or is_answer:
            found["own"] += 1
        elif got.head.kind != CALL_ERROR or answers[got.link, got.head.id] > 1:
            found["duplicated"] += 1
    return found
