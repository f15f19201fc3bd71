"""The ids of 1.6 transactions: one at the station, another at a backend.

In 1.6 the backend numbers a transaction. Where it was away the controller has given the number in its
place, and where it only observes the owner has: so the station's number (`own`) and that backend's
(`theirs`) differ, and are exchanged in everything that passes between the two. Nothing else of a message
changes by a byte. A signed message cannot be changed without breaking its signature: it is left to the
caller what becomes of it. In 2.x the station numbers its transactions, and nothing is done here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable

import msgspec

from controller.model.journal import Record
from controller.ocpp import v16
from controller.ocpp.json_members import Path, has_member, integers_at, with_integers
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import NewestTransactionId, TransactionMapped, TransactionUnmapped

MOST_ID = 2**31 - 1
"""Stations keep the id in 32 bits, signed."""

FIRST_ID = 2**31 - 2**27
"""Ids of our own begin here (2 013 265 920): backends have been seen to count up to about 1.8e9."""

MOST_PAST = 32
"""Transactions that are over and still translated: some stations send a last meter value after the end."""

_TRANSACTION: Path = ("transactionId",)
_UP: dict[str, Path] = {"MeterValues": _TRANSACTION, "StopTransaction": _TRANSACTION}
_DOWN: dict[str, Path] = {
    "RemoteStopTransaction": _TRANSACTION,
    "SetChargingProfile": ("csChargingProfiles", "transactionId"),
    "RemoteStartTransaction": ("chargingProfile", "transactionId"),
}
SIGNED = "-Signed"
"""End of the action of a signed message (OCPP 2.x Part 4, section 7)."""


class IdRewriteError(msgspec.Struct, frozen=True):
    """The message must not pass as it is, and cannot be changed; `reason` in records."""

    reason: str


def is_signed(action: str, payload: bytes) -> bool:
    """Return True if a message carries a signature: of OCPP 2.x Part 4, or in a member `signatures`."""
    return action.endswith(SIGNED) or (b"signatures" in payload and has_member(payload, "signatures"))


class TransactionIdMap:
    """Transaction ids of one station at one backend."""

    def __init__(self, station: str, backend: str) -> None:
        self._station = station
        self._backend = backend
        self._theirs: dict[int, int | None] = {}
        """Own id to theirs; None: the backend has not answered the start yet."""
        self._own: dict[int, int] = {}
        self._past: list[int] = []
        """Own ids of transactions that are over, the oldest first."""
        self._over: set[int] = set()
        """Own ids of transactions whose end was delivered, and of which another message waits."""
        self._last_given = FIRST_ID - 1

    def restore(self, records: Iterable[Record]) -> None:
        """Restore what was stored before a restart; records of others are ignored."""
        for record in records:
            if not isinstance(record, TransactionMapped | NewestTransactionId):
                continue
            if (record.station, record.backend) != (self._station, self._backend):
                continue
            if isinstance(record, NewestTransactionId):
                newest = record.number
            else:
                self._map(record.own, record.theirs)
                if record.is_over:
                    self._over.add(record.own)
                newest = record.own
            if newest <= MOST_ID:
                self._last_given = max(self._last_given, newest)

    # -- the life of an id --------------------------------------------------------------------------

    def allocate_id(self, utc: float, taken: Collection[int] = ()) -> tuple[int, list[Record]]:
        """Return a new id for a transaction whose backend is away.

        Ids rise, also over a restart with a clock that was set back: the newest one is stored. They are not
        below the time, so that they rise where the store was lost. `taken` are ids that the station has from
        elsewhere. The range lasts for four years, after which no transaction of its beginning is in use any
        more.
        """
        clock = FIRST_ID + int(utc) % (MOST_ID - FIRST_ID + 1)
        own = max(clock, self._last_given + 1)  # several within a second
        if own > MOST_ID:
            own = clock
        while own in taken or own in self._theirs or own in self._own:
            own = own + 1 if own < MOST_ID else FIRST_ID
        self._last_given = own
        newest = NewestTransactionId(self._station, self._backend, own)
        return own, [newest, *self.expect_backend_id(own)]

    def expect_backend_id(self, own: int) -> list[Record]:
        """Note that the station has this id; the backend gives its own when it gets the start."""
        self._map(own, None)
        return [TransactionMapped(self._station, self._backend, own, None)]

    def set_backend_id(self, own: int, theirs: int) -> list[Record]:
        """Note the id that the backend has given."""
        self._map(own, theirs)
        return [TransactionMapped(self._station, self._backend, own, theirs)]

    def on_start_result(self, own: int, result: bytes) -> list[Record]:
        """Take the backend's result for the StartTransaction of this id; without a number there is none."""
        given = read_payload(v16.StartTransactionResultV16, result)
        return self.end_transaction(own) if given is None else self.set_backend_id(own, given.transaction_id)

    def mark_over(self, own: int) -> list[Record]:
        """Note that the end of a transaction was delivered, while another message of it waits."""
        if own not in self._theirs or own in self._past:
            return []
        self._over.add(own)
        return [TransactionMapped(self._station, self._backend, own, self._theirs[own], is_over=True)]

    def end_transaction(self, own: int) -> list[Record]:
        """Remove a transaction: its end was delivered or dropped, and no message of it is queued."""
        if own not in self._theirs or own in self._past:
            return []
        theirs = self._theirs[own]
        self._over.discard(own)
        self._drop(own)
        if theirs is not None:
            self._theirs[own] = theirs
            self._past.append(own)
        if len(self._past) > MOST_PAST:
            del self._theirs[self._past.pop(0)]
        return [TransactionUnmapped(self._station, self._backend, own)]

    def is_known(self, own: int) -> bool:
        """Return whether the controller or the backend has numbered a transaction so."""
        return own in self._theirs and own not in self._past

    @property
    def over(self) -> tuple[int, ...]:
        """Return the station's ids of the transactions that `mark_over` has noted."""
        return tuple(self._over)

    def station_id(self, theirs: int) -> int | None:
        """Return the station's id; None if it is not known."""
        return self._own.get(theirs)

    # -- messages -----------------------------------------------------------------------------------

    def translate_for_backend(self, action: str, payload: bytes) -> bytes | IdRewriteError:
        """Return a station's message with the backend's ids. An unknown id passes."""
        return self._exchanged(_UP.get(action), action, payload, self._theirs.get, self._own)

    def translate_for_station(self, action: str, payload: bytes) -> bytes | IdRewriteError:
        """Return a backend's command with the station's ids. An unknown id passes."""
        return self._exchanged(_DOWN.get(action), action, payload, self._own.get, self._theirs)

    def _exchanged(
        self,
        path: Path | None,
        action: str,
        payload: bytes,
        other: Callable[[int], int | None],
        foreign: Collection[int],
    ) -> bytes | IdRewriteError:
        """`other` translates; an id without an entry must not be one of `foreign`, the other side's."""
        if path is None or not self._theirs:
            return payload
        new_ids: dict[int, int] = {}
        for number in integers_at(payload, path):
            new = other(number)
            if new is None and number in foreign:
                return IdRewriteError(f"transaction {number} is another one on the other side")
            new_ids[number] = number if new is None else new
        if all(new == old for old, new in new_ids.items()):
            return payload
        if is_signed(action, payload):
            return IdRewriteError(f"{action} is signed, and names a transaction that has another id there")
        return with_integers(payload, path, new_ids.__getitem__)

    def _map(self, own: int, theirs: int | None) -> None:
        self._drop(own)
        self._over.discard(own)
        if own in self._past:  # a backend that always gives the same id
            self._past.remove(own)
        self._theirs[own] = theirs
        if theirs is not None:
            self._own[theirs] = own

    def _drop(self, own: int) -> None:
        theirs = self._theirs.pop(own, None)
        if theirs is not None and self._own.get(theirs) == own:
            del self._own[theirs]
