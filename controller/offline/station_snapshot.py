"""The last boot of a station, and the last state of each of its connectors.

A backend that attaches later has missed both, and a station does not repeat them (OCPP-J 1.6, section 5.4).
So they are sent to it in the station's own bytes. A boot counts once it has been answered, and is sent to
a backend until that one has accepted this very boot.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controller.model.journal import Record
from controller.ocpp.frames import Version
from controller.ocpp.payloads import read_payload
from controller.offline.journal_records import SnapshotDelivered
from controller.offline.offline_messages import BootAnswer, StationStatus, boot_identity

MOST_CONNECTORS = 100
"""Connectors whose state is stored; a station that reports more must not fill the disk."""

USUAL_INTERVAL_S = 300
"""Heartbeat interval of a station whose backend has named none."""

_BOOT = "boot"
_ACCEPTED = "accepted boot"
"""The boot with which the owner last accepted the station; it may be another than the last one."""
_STATUS = "status"
_ACCEPTED_BY = "boot accepted by "
"""Followed by a backend that has accepted the last boot."""


class StationSnapshot:
    """The last boot and states of one station."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._boot: SnapshotDelivered | None = None
        self._accepted: SnapshotDelivered | None = None
        self._statuses: dict[tuple[int, int], SnapshotDelivered] = {}
        self._accepted_by: dict[str, SnapshotDelivered] = {}
        self._interval_s = USUAL_INTERVAL_S

    @property
    def boot(self) -> SnapshotDelivered | None:
        """Return the last BootNotification, or None."""
        return self._boot

    @property
    def statuses(self) -> list[SnapshotDelivered]:
        """Return the last StatusNotification of each connector, by EVSE and connector."""
        return [self._statuses[place] for place in sorted(self._statuses)]

    @property
    def interval_s(self) -> int:
        """Return the heartbeat interval that the owner last named (s)."""
        return self._interval_s

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was stored before a restart; records of other stations are ignored."""
        for record in records:
            if isinstance(record, SnapshotDelivered) and record.station == self._station:
                self._apply(record)

    def on_station_call(self, version: Version, action: str, payload: bytes) -> list[Record]:
        """Take a CALL of the station; return what to persist: nothing if it is as before."""
        return self._on_status(version, payload) if action == "StatusNotification" else []

    def on_boot(self, version: Version, payload: bytes) -> list[Record]:
        """Take a boot that has been answered: states from before it are void, and no backend has it."""
        past = [*self.statuses, *self._accepted_by.values()]
        records = [
            record for each in past for record in self._put(msgspec.structs.replace(each, payload=None))
        ]
        boot = SnapshotDelivered(self._station, _BOOT, version, "BootNotification", payload)
        return records + self._put(boot)

    def on_boot_answer(self, version: Version, boot: bytes, result: bytes) -> list[Record]:
        """Take the owner's answer to a boot: it decides whether the station may be accepted in its place."""
        answer = read_payload(BootAnswer, result)
        if answer is None:
            return []
        if answer.interval_s > 0:
            self._interval_s = answer.interval_s
        if answer.status == "Accepted":
            return self._put(SnapshotDelivered(self._station, _ACCEPTED, version, "BootNotification", boot))
        if answer.status == "Rejected" and self._accepted is not None:
            return self._put(msgspec.structs.replace(self._accepted, payload=None))
        return []

    def is_boot_accepted_by(self, backend: str) -> bool:
        """Return whether a backend has accepted the last boot, so that it needs not get it again."""
        return backend in self._accepted_by

    def on_boot_accepted_by(self, backend: str) -> list[Record]:
        """Note that a backend has accepted the last boot; return what to persist."""
        if self._boot is None or backend in self._accepted_by:
            return []
        topic = f"{_ACCEPTED_BY}{backend}"
        return self._put(SnapshotDelivered(self._station, topic, self._boot.version, _BOOT, b"{}"))

    def was_accepted(self, version: Version, boot: bytes) -> bool:
        """Return whether the owner has accepted a station of this vendor, model and serial number."""
        known = self._accepted
        if known is None or known.payload is None:
            return False
        identity = boot_identity(version, boot)
        return identity is not None and identity == boot_identity(known.version, known.payload)

    def _on_status(self, version: Version, payload: bytes) -> list[Record]:
        status = read_payload(StationStatus, payload)
        if status is None:
            return []
        place = (status.evse, status.connector_id)
        if place not in self._statuses and len(self._statuses) >= MOST_CONNECTORS:
            return []
        topic = f"{_STATUS} {status.evse} {status.connector_id}"
        return self._put(SnapshotDelivered(self._station, topic, version, "StatusNotification", payload))

    def _put(self, record: SnapshotDelivered) -> list[Record]:
        """Apply a record, and return it if it changes anything."""
        return [record] if self._apply(record) else []

    def _apply(self, record: SnapshotDelivered) -> bool:
        value = None if record.payload is None else record
        before: SnapshotDelivered | None
        if record.topic == _BOOT:
            before, self._boot = self._boot, value
            return True  # an equal boot is another boot
        if record.topic == _ACCEPTED:
            before, self._accepted = self._accepted, value
        elif record.topic.startswith(_ACCEPTED_BY):
            backend = record.topic.removeprefix(_ACCEPTED_BY)
            before = self._accepted_by.pop(backend, None)
            if value is not None:
                self._accepted_by[backend] = value
        else:
            place = _place(record.topic)
            before = self._statuses.pop(place, None)
            if value is not None:
                self._statuses[place] = value
        return value != before


def _place(topic: str) -> tuple[int, int]:
    _, evse, connector = topic.split()
    return int(evse), int(connector)
