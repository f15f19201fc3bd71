"""Getting to know the stations: their quirks by their boot, their bounds by one question.

A station is asked before it is sent its first limit, and again when it boots as another. Its limits wait for
the answer, or for `capabilities.PATIENCE_S` of silence. Without an answer the row alone counts.
"""

from __future__ import annotations

import itertools

import msgspec

from controller.ocpp.capabilities import Capabilities, Question, narrowed, question, read_answer
from controller.ocpp.frames import Version
from controller.ocpp.observations import Booted
from controller.ocpp.quirks import NO_QUIRK, Quirk, find_quirk


class Asked(msgspec.Struct, frozen=True):
    """A question on its way. `token` is below 0, where no limit's is."""

    token: int
    question: Question


class _Waiting(msgspec.Struct, frozen=True):
    station: str
    version: Version


class Acquaintance:
    """What is known of all stations."""

    def __init__(self) -> None:
        self._rows: dict[str, Quirk] = {}
        self._said: dict[str, Capabilities] = {}
        self._waiting: dict[int, _Waiting] = {}
        self._tokens = itertools.count(-1, -1)

    def quirk(self, station: str) -> Quirk:
        """How the station wants its limits, as far as is known."""
        return narrowed(self._rows.get(station, NO_QUIRK), self._said.get(station, Capabilities()))

    def booted(self, station: str, boot: Booted) -> None:
        """It has told who it is. What it said before may be another firmware's word."""
        row = find_quirk(boot.vendor, boot.model, boot.firmware)
        if row != self._rows.get(station, NO_QUIRK):
            self._said.pop(station, None)
        self._rows[station] = row

    def ask(self, station: str, version: Version) -> Asked | None:
        """What to ask it before its first limit; None where it has been asked."""
        if station in self._said:
            return None
        asked = Asked(next(self._tokens), question(version))
        self._waiting[asked.token] = _Waiting(station, version)
        return asked

    def answered(self, token: int, result: bytes | None) -> None:
        """The end of a question: the answer's payload, or None for silence and refusal."""
        waiting = self._waiting.pop(token, None)
        if waiting is not None:
            self._said[waiting.station] = read_answer(waiting.version, result)

    def unanswered(self, token: int) -> None:
        """The link has ended before an answer: it will be asked again."""
        self._waiting.pop(token, None)
