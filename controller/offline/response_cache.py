"""Answers that were given to a station's transaction messages: a repeated message gets the same answer.

A station that has not received an answer repeats its message, with the same id or another, at once or after
its next start. A backend that counts it twice bills it twice.
"""

from __future__ import annotations

from collections.abc import Iterable

from controller.model.journal import Record
from controller.ocpp import v16
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import ResponseDropped, ResponseStored

MOST_RESPONSES = 64
"""Answers of one station: it repeats its last message, or those that it stored while it was offline."""


class ResponseCache:
    """Payloads of the results given to one station, by the message's deduplication key."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._payloads: dict[str, bytes] = {}
        self._starts: dict[int, str] = {}
        """Deduplication keys of the starts of running 1.6 transactions, by the station's id."""

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

    def has_transaction(self, transaction: int) -> bool:
        """Return whether a 1.6 transaction was started, and not stopped since."""
        return transaction in self._starts

    def end_transaction(self, transaction: int) -> list[Record]:
        """Drop the result for a transaction's start: an equal start is a new one."""
        fingerprint = self._starts.get(transaction)
        return [] if fingerprint is None else self.drop_response(fingerprint)

    def drop_response(self, fingerprint: str) -> list[Record]:
        """Drop the result for a message: the same message again is a new one."""
        payload = self._payloads.pop(fingerprint, None)
        if payload is None:
            return []
        started = _started_transaction(payload)
        if started is not None and self._starts.get(started) == fingerprint:
            del self._starts[started]
        return [ResponseDropped(self._station, fingerprint)]

    def _put(self, record: ResponseStored) -> list[Record]:
        self._payloads.pop(record.fingerprint, None)
        self._payloads[record.fingerprint] = record.payload
        started = _started_transaction(record.payload)
        if started is not None:
            self._starts[started] = record.fingerprint
        return self.drop_response(self._oldest()) if len(self._payloads) > MOST_RESPONSES else []

    def _oldest(self) -> str:
        """Return what is dropped first; the results of running transactions' starts go last."""
        running = set(self._starts.values())
        others = (fingerprint for fingerprint in self._payloads if fingerprint not in running)
        return next(others, next(iter(self._payloads)))


def _started_transaction(result: bytes) -> int | None:
    """Return the transaction id in the result of a 1.6 StartTransaction; None in any other result."""
    if b"transactionId" not in result:
        return None
    given = read_payload(v16.StartTransactionResultV16, result)
    return None if given is None else given.transaction_id
