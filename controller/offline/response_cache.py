"""Answers that were given to a station's transaction messages: a repeated message gets the same answer.

A station that has not received an answer repeats its message, with the same id or another, at once or after
its next start. A backend that counts it twice bills it twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.model.journal import Record
from controller.offline.journal_records import ResponseDropped, ResponseStored

MOST_REMEMBERED = 64
"""Answers of one station: it repeats its last message, or those that it stored while it was offline."""


class ResponseCache:
    """Payloads of the results given to one station, by the message's deduplication key."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._payloads: dict[str, bytes] = {}

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart, the oldest first."""
        for record in records:
            if isinstance(record, ResponseStored) and record.station == self._station:
                self._put(record)

    def get_response(self, fingerprint: str) -> bytes | None:
        """Return the payload of the result that this message was given, or None."""
        return self._payloads.get(fingerprint)

    def add_response(self, fingerprint: str, payload: bytes) -> list[Record]:
        """Note the result for a message; return the records to be persisted before it is sent."""
        record = ResponseStored(self._station, fingerprint, payload)
        return [record, *self._put(record)]

    def drop_response(self, fingerprint: str) -> list[Record]:
        """Forget the result for a message: the same message again is a new one."""
        if self._payloads.pop(fingerprint, None) is None:
            return []
        return [ResponseDropped(self._station, fingerprint)]

    def _put(self, record: ResponseStored) -> list[Record]:
        self._payloads.pop(record.fingerprint, None)
        self._payloads[record.fingerprint] = record.payload
        return self.drop_response(next(iter(self._payloads))) if len(self._payloads) > MOST_REMEMBERED else []
