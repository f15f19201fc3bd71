"""Memory of the local CSMS of one station beyond a link: running transactions, and given answers."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Sequence

from controller.local_csms.csms_records import (
    LocalTransactionEnded,
    LocalTransactionStored,
    TransactionIdAllocated,
)
from controller.model.journal import Record
from controller.ocpp.frames import Call, Version
from controller.offline.journal_records import ResponseStored
from controller.offline.response_cache import ResponseCache
from controller.offline.transaction_id_map import FIRST_ID, MOST_ID

STORED: tuple[type[Record], ...] = (LocalTransactionStored, ResponseStored)
"""The records that `CsmsMemory.restore` takes."""
REMOTE_START_S = 600.0
"""Time that the token of a remote start without a card is accepted: until the car is plugged in."""
MOST_TRANSACTIONS = 64
"""Transactions of one station that run at a time; with more, the oldest counts as ended."""


class TransactionNumbers:
    """Ids of 1.6 transactions, unique over all stations: made of the time, above those that backends use.

    `allocated`: the stored id that was allocated last. The time alone is not enough after a restart: ids run
    ahead of it after several starts within a second, and the clock may have been set back.
    """

    def __init__(self, allocated: Iterable[TransactionIdAllocated] = ()) -> None:
        self._last = max((each.number for each in allocated), default=0)

    def skip(self, number: int) -> None:
        """Never return an id up to this one, unless the range begins anew."""
        self._last = max(self._last, number)

    def allocate(self, utc: float) -> int:
        """Return a new id; `utc` in POSIX s. The range lasts for four years."""
        number = max(FIRST_ID + int(utc) % (MOST_ID - FIRST_ID + 1), self._last + 1)
        self._last = number if number <= MOST_ID else FIRST_ID
        return self._last


class CsmsMemory:
    """Running transactions, given answers and tokens of remote starts of one station."""

    def __init__(self, station: str, numbers: TransactionNumbers | None = None) -> None:
        self._station = station
        self._numbers = numbers or TransactionNumbers()
        self.responses = ResponseCache(station)
        self._transactions: dict[str, LocalTransactionStored] = {}
        """The transactions that run, by the station's id, the oldest first."""
        self._remote_tokens: dict[str, float] = {}
        """Tokens of remote starts without a card, and until when each is accepted (s, monotonic)."""

    def restore(self, records: Sequence[Record]) -> None:
        """Take over what was stored, in place of what is here; records of other stations are ignored."""
        self.responses = ResponseCache(self._station)
        self.responses.restore(records)
        self._transactions = {
            record.transaction: record
            for record in records
            if isinstance(record, LocalTransactionStored) and record.station == self._station
        }
        for record in self._transactions.values():
            if record.version is Version.V16:
                self._numbers.skip(int(record.transaction))

    # -- transactions ---------------------------------------------------------------------------------

    @property
    def running(self) -> Iterable[LocalTransactionStored]:
        """Return the transactions that run, the oldest first."""
        return self._transactions.values()

    def is_running(self, transaction: str) -> bool:
        """Return True for a transaction that has begun and not ended."""
        return transaction in self._transactions

    def start_transaction(
        self, version: Version, transaction: str, evse: int | None, frame: Call, utc: float
    ) -> list[Record]:
        """Add a running transaction. An earlier one at its EVSE is over: its end was lost."""
        over = [each.transaction for each in self.running if each.evse == evse is not None]
        if not over and len(self._transactions) >= MOST_TRANSACTIONS:
            over = [next(iter(self._transactions))]
        records = [record for each in over for record in self.end_transaction(each)]
        started = LocalTransactionStored(
            self._station, transaction, version, evse, frame.action, frame.payload, utc
        )
        self._transactions[transaction] = started
        return [*records, started]

    def end_transaction(self, transaction: str) -> list[Record]:
        """Remove a transaction; return no records if it does not run."""
        if self._transactions.pop(transaction, None) is None:
            return []
        return [LocalTransactionEnded(self._station, transaction)]

    def allocate_id(self, utc: float) -> tuple[int, list[Record]]:
        """Return a new id for a 1.6 transaction, and the records to be persisted before it is sent."""
        number = self._numbers.allocate(utc)
        while self.is_running(str(number)) or self.responses.has_transaction(number):
            number = self._numbers.allocate(utc)
        return number, [TransactionIdAllocated(number)]

    # -- remote starts ----------------------------------------------------------------------------------

    def make_remote_token(self, now: float) -> str:
        """Return a token for a remote start without a card; it is accepted for REMOTE_START_S from `now`."""
        for old in [token for token, until in self._remote_tokens.items() if until <= now]:
            del self._remote_tokens[old]
        token = f"LC{uuid.uuid4().hex[:14].upper()}"
        self._remote_tokens[token.lower()] = now + REMOTE_START_S
        return token

    def is_remote_token(self, token: str, now: float) -> bool:
        """Return True for a token of a remote start that is still accepted."""
        return now < self._remote_tokens.get(token.lower(), -math.inf)
