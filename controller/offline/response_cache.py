"""What we have answered to a station's transaction messages: the same again gets the same answer.

A station that has not seen an answer says it again, with the same id or another, after a moment or after
its next start. Whoever counts it twice bills it twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.model.journal import Record
from controller.offline.journal_records import ResponseStored

MOST_REMEMBERED = 64
"""Of one station: it repeats its last message, or what it has kept while it was offline."""


class ResponseCache:
    """One station's: payloads of good answers by the message's fingerprint."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._payloads: dict[str, bytes] = {}

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was saved before a restart, the oldest first."""
        for word in records:
            if isinstance(word, ResponseStored) and word.station == self._station:
                self._put(word)

    def get_response(self, fingerprint: str) -> bytes | None:
        """The payload of the answer that this message has had."""
        return self._payloads.get(fingerprint)

    def add_response(self, fingerprint: str, payload: bytes) -> ResponseStored:
        """The message is answered so; the word to be saved before the answer goes."""
        word = ResponseStored(self._station, fingerprint, payload)
        self._put(word)
        return word

    def _put(self, word: ResponseStored) -> None:
        self._payloads.pop(word.fingerprint, None)
        self._payloads[word.fingerprint] = word.payload
        if len(self._payloads) > MOST_REMEMBERED:
            del self._payloads[next(iter(self._payloads))]
