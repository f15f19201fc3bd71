"""Durable records of the local CSMS."""

from __future__ import annotations

from controller.model.journal import Record
from controller.ocpp.frames import Version


class LocalTransactionStored(Record, frozen=True):
    """A transaction that runs at a station of the local CSMS.

    `transaction`: its id at the station. `payload`: the StartTransaction, or the first TransactionEvent, as
    the station sent it; a backend that is configured later gets it. `received`: POSIX s.
    """

    station: str
    transaction: str
    version: Version
    evse: int | None
    action: str
    payload: bytes
    received: float


class TransactionIdAllocated(Record, frozen=True):
    """The newest id that a 1.6 transaction of any station has been given; it replaces the one before."""

    number: int


class LocalTransactionEnded(Record, frozen=True):
    """The transaction has ended, or was handed over to a backend."""

    station: str
    transaction: str
