"""The one effect by which a core asks for something durable, and the base of all durable records.

Records that no core of its own defines stand here, too: what is stored of a station's boot, its charging
profiles and the limits of its EVSEs.
"""

from __future__ import annotations

import msgspec

from controller.model.observations import EvseRecord


class JournalError(Exception):
    """Records could not be committed or loaded; base class of the store's exceptions."""


class Record(msgspec.Struct, frozen=True):
    """Base of everything that outlives the process."""


class Persist(msgspec.Struct, frozen=True):
    """Commit all of `records` in one transaction, before the effects that come after this one."""

    records: tuple[Record, ...]


class StoreState:
    """State of the store that commits records; one object, changed by the store and read by the cores.

    `is_writable`: the last commit succeeded. A core that would do now what has to be durable afterwards waits
    while it is False.
    """

    __slots__ = ("is_writable",)

    def __init__(self) -> None:
        self.is_writable = True


class BootStored(Record, frozen=True):
    """Texts of a station's last BootNotification; vendor, model and firmware select its quirk."""

    station: str
    vendor: str
    model: str
    firmware: str
    serial_number: str = ""


class EvseStatesStored(Record, frozen=True):
    """States and running transactions of a station's EVSEs; `version`: the OCPP version of their ids."""

    station: str
    version: str
    evses: tuple[EvseRecord, ...]


class StoredProfile(msgspec.Struct, frozen=True):
    """One charging profile as its backend sent it (JSON); `evse` 0 is the whole station."""

    evse: int
    profile: bytes


class ProfilesStored(Record, frozen=True):
    """All profiles that are absorbed for a station's backend; `version` is the OCPP version of their text."""

    station: str
    version: str
    profiles: tuple[StoredProfile, ...]
