"""What is read and answered while a station's backend is away, or learnt for that time.

Only the members that we use. Sources: OCPP 1.6 edition 2, sections 6 and 7; OCPP 2.0.1 and 2.1 Part 2,
sections 1 and 2 of the messages' appendix.
"""

from __future__ import annotations

import msgspec

from controller.ocpp.frames import Version
from controller.ocpp.profile_messages import read


class _Message(msgspec.Struct, frozen=True, rename="camel", kw_only=True, omit_defaults=True):
    pass


class BootAnswer(_Message, frozen=True, kw_only=True):
    """To a BootNotification: `interval` (s) is that of the heartbeats, or until the next boot."""

    status: str
    interval: int = 0


class StationStatus(_Message, frozen=True, kw_only=True):
    """A StatusNotification of any version: whose it is. 1.6 has connectors alone, 2.x has them in EVSEs."""

    connector_id: int
    evse_id: int | None = None

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
        old = read(_Boot16, boot)
        if old is None:
            return None
        return old.charge_point_vendor, old.charge_point_model, old.charge_point_serial_number
    new = read(_Boot2, boot)
    if new is None:
        return None
    station = new.charging_station
    return station.vendor_name, station.model, station.serial_number
