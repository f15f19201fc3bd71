"""Messages that are read and answered while a station's backend is away, or learned for that time.

Only the members that we use. Sources: OCPP 1.6 edition 2, sections 6 and 7; OCPP 2.0.1 and 2.1 Part 2,
sections 1 and 2 of the messages' appendix.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version
from controller.ocpp.payloads import Int32, TransactionId, read_payload

MOST_INTERVAL_S = 2**31 - 1


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    pass


class BootAnswer(_Message, frozen=True, kw_only=True):
    """Answer to a BootNotification: `interval` (s) is that of the heartbeats, or until the next boot."""

    status: str
    interval: int = 0

    @property
    def interval_s(self) -> int:
        """The interval within OCPP's 32 bit (s); 0 or less: none was given."""
        return min(self.interval, MOST_INTERVAL_S)


class StationStatus(_Message, frozen=True, kw_only=True):
    """A StatusNotification of any version: whose it is. 1.6 has connectors alone, 2.x has them in EVSEs."""

    connector_id: Int32
    evse_id: Int32 | None = None

    @property
    def evse(self) -> int:
        """The EVSE; for 1.6 its connectors count as such."""
        return self.connector_id if self.evse_id is None else self.evse_id


class _Boot16(_Message, frozen=True, kw_only=True):
    charge_point_vendor: str
    charge_point_model: str
    charge_point_serial_number: str = ""


class _ChargingStation(_Message, frozen=True, kw_only=True):
    vendor_name: str
    model: str
    serial_number: str = ""


class _Boot2(_Message, frozen=True, kw_only=True):
    charging_station: _ChargingStation


def boot_identity(version: Version, boot: bytes) -> tuple[str, str, str] | None:
    """Vendor, model and serial number of a BootNotification; None where it cannot be read."""
    if version is Version.V16:
        old = read_payload(_Boot16, boot)
        if old is None:
            return None
        return old.charge_point_vendor, old.charge_point_model, old.charge_point_serial_number
    new = read_payload(_Boot2, boot)
    if new is None:
        return None
    station = new.charging_station
    return station.vendor_name, station.model, station.serial_number


class _Stop16(_Message, frozen=True, kw_only=True):
    transaction_id: TransactionId


class _TransactionInfo(_Message, frozen=True, kw_only=True):
    transaction_id: str


class TransactionPart(_Message, frozen=True, kw_only=True):
    """2.x: of a TransactionEvent, which transaction it is about, and whether it ends it."""

    event_type: str
    transaction_info: _TransactionInfo

    @property
    def id(self) -> str:
        """The station's id of the transaction."""
        return self.transaction_info.transaction_id

    @property
    def is_end(self) -> bool:
        """True if the transaction has ended."""
        return self.event_type == "Ended"


def ended_transaction(version: Version, action: str, payload: bytes) -> int | str | None:
    """Return the transaction that a message of a station ends; None if it ends none."""
    if version is Version.V16:
        stop = read_payload(_Stop16, payload) if action == "StopTransaction" else None
        return None if stop is None else stop.transaction_id
    part = read_payload(TransactionPart, payload) if action == "TransactionEvent" else None
    return part.id if part is not None and part.is_end else None


def named_transaction(version: Version, action: str, payload: bytes) -> int | str | None:
    """Return the transaction that a message of a station belongs to, by the station's id; None for none."""
    if version is Version.V16:
        if action not in ("MeterValues", "StopTransaction"):
            return None
        tied = read_payload(_Stop16, payload)
        return None if tied is None else tied.transaction_id
    part = read_payload(TransactionPart, payload) if action == "TransactionEvent" else None
    return None if part is None else part.id
