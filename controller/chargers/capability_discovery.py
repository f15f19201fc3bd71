"""Getting to know the stations: their quirks by their boot, their bounds by one question.

A station is asked before it is sent its first limit, and again when it boots as another. Its limits wait for
the answer, or for `capabilities.PATIENCE_S` of silence. Without an answer the row alone counts.

A stranger may hold profiles of whoever commanded it before us, in the purpose that will be ours, at a stack
level above ours or without an end: they would prevail over our limits. So it is rid of them once. What its
backend sets through us in that purpose, we keep.
"""

from __future__ import annotations

import itertools

import msgspec

from controller.chargers.capabilities import Capabilities, Question, clearing, narrowed, question, read_answer
from controller.chargers.quirks import NO_QUIRK, Quirk, find_quirk
from controller.model.observations import Booted
from controller.ocpp.frames import Version
from controller.profiles.limit_profiles import purpose, scope_of


class DiscoveryQuestion(msgspec.Struct, frozen=True):
    """A question on its way. `token` is below 0, where no limit's is."""

    token: int
    question: Question


class _Waiting(msgspec.Struct, frozen=True):
    station: str
    version: Version
    clears: bool = False


class CapabilityDiscovery:
    """What is known of all stations."""

    def __init__(self) -> None:
        self._rows: dict[str, Quirk] = {}
        self._said: dict[str, Capabilities] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._cleared: set[str] = set()
        self._tokens = itertools.count(-1, -1)

    def quirk(self, station: str) -> Quirk:
        """How the station wants its limits, as far as is known."""
        return narrowed(self._rows.get(station, NO_QUIRK), self._said.get(station, Capabilities()))

    def told_before(self, station: str) -> None:
        """It is none of the strangers: before a restart of ours it was told our limits."""
        self._cleared.add(station)

    def booted(self, station: str, boot: Booted) -> None:
        """It has told who it is. What it said before may be another firmware's word."""
        row = find_quirk(boot.vendor, boot.model, boot.firmware)
        if row != self._rows.get(station, NO_QUIRK):
            self._said.pop(station, None)
        self._rows[station] = row

    def ask(self, station: str, version: Version, evses: int | None = None) -> DiscoveryQuestion | None:
        """What to ask of it next before its first limit; None where there is nothing any more.

        With the number of its `evses`, a stranger is rid of the profiles in our purpose, too.
        """
        if station not in self._said:
            return self._asking(_Waiting(station, version), question(version))
        if evses is None or station in self._cleared:
            return None
        ours = purpose(version, scope_of(self.quirk(station), evses))
        return self._asking(_Waiting(station, version, clears=True), clearing(version, ours))

    def _asking(self, waiting: _Waiting, asked: Question) -> DiscoveryQuestion:
        token = next(self._tokens)
        self._waiting[token] = waiting
        return DiscoveryQuestion(token, asked)

    def answered(self, token: int, result: bytes | None) -> None:
        """The end of a question: the answer's payload, or None for silence and refusal."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None and waiting.clears:
            self._cleared.add(waiting.station)
        elif waiting is not None:
            self._said[waiting.station] = read_answer(waiting.version, result)

    def unanswered(self, token: int) -> None:
        """The link has ended before an answer: it will be asked again."""
        self._waiting.pop(token, None)
