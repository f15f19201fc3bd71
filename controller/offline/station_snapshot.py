"""What a station last said of itself: its boot, and the state of each of its connectors.

A backend that attaches later has missed both, and a station does not say them again (OCPP-J 1.6,
section 5.4): so they are told to it in the station's own bytes, the boot first.
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
"""Connectors whose state is remembered; no station has more, and a mad one shall not fill the disk."""

USUAL_INTERVAL_S = 300
"""The heartbeat interval of a station whose backend has told us none."""

_BOOT = "boot"
_ACCEPTED = "accepted boot"
"""The boot with which the backend last accepted the station: it may be another than the last one."""
_STATUS = "status"


class StationSnapshot:
    """One station's. What it hears comes in by `saw` and `answered`, after a start by `recall`."""

    def __init__(self, station: str) -> None:
        self._station = station
        self._boot: SnapshotDelivered | None = None
        self._accepted: SnapshotDelivered | None = None
        self._statuses: dict[tuple[int, int], SnapshotDelivered] = {}
        self._interval_s = USUAL_INTERVAL_S

    @property
    def boot(self) -> SnapshotDelivered | None:
        """Its last BootNotification."""
        return self._boot

    @property
    def boot_payload(self) -> bytes | None:
        """The payload of its last BootNotification."""
        return None if self._boot is None else self._boot.payload

    @property
    def statuses(self) -> list[SnapshotDelivered]:
        """The last StatusNotification of each connector, by EVSE and connector."""
        return [self._statuses[place] for place in sorted(self._statuses)]

    @property
    def interval_s(self) -> int:
        """The heartbeat interval that its backend last told it (s)."""
        return self._interval_s

    def restore(self, records: Iterable[Record]) -> None:
        """Take over what was saved before a restart of ours; records about others are left alone."""
        for word in records:
            if isinstance(word, SnapshotDelivered) and word.station == self._station:
                self._take(word)

    def on_station_call(self, version: Version, action: str, payload: bytes) -> list[Record]:
        """The station has said this. What has to be saved of it: nothing, where it is as before."""
        if action == "BootNotification":
            return self._booted(SnapshotDelivered(self._station, _BOOT, version, action, payload))
        if action == "StatusNotification":
            return self._changed(version, payload)
        return []

    def on_boot_answer(self, version: Version, boot: bytes, result: bytes) -> list[Record]:
        """Its backend has answered a BootNotification: whether we may accept this station in its place."""
        answer = read_payload(BootAnswer, result)
        if answer is None:
            return []
        if answer.interval > 0:
            self._interval_s = answer.interval
        if answer.status == "Accepted":
            return self._put(SnapshotDelivered(self._station, _ACCEPTED, version, "BootNotification", boot))
        if answer.status == "Rejected" and self._accepted is not None:
            return self._put(msgspec.structs.replace(self._accepted, payload=None))
        return []

    def was_accepted(self, version: Version, boot: bytes) -> bool:
        """Whether its backend has accepted a station of this vendor, model and serial number."""
        known = self._accepted
        if known is None or known.payload is None:
            return False
        identity = boot_identity(version, boot)
        return identity is not None and identity == boot_identity(known.version, known.payload)

    def _booted(self, told: SnapshotDelivered) -> list[Record]:
        """A start makes all that was said before it untrue."""
        past = [msgspec.structs.replace(status, payload=None) for status in self.statuses]
        records = [word for status in past for word in self._put(status)]
        return records + self._put(told)

    def _changed(self, version: Version, payload: bytes) -> list[Record]:
        status = read_payload(StationStatus, payload)
        if status is None:
            return []
        place = (status.evse, status.connector_id)
        if place not in self._statuses and len(self._statuses) >= MOST_CONNECTORS:
            return []
        topic = f"{_STATUS} {status.evse} {status.connector_id}"
        return self._put(SnapshotDelivered(self._station, topic, version, "StatusNotification", payload))

    def _put(self, told: SnapshotDelivered) -> list[Record]:
        """Take a word, and give it back where it is news."""
        return [told] if self._take(told) else []

    def _take(self, told: SnapshotDelivered) -> bool:
        held = None if told.payload is None else told
        if told.topic == _BOOT:
            before, self._boot = self._boot, held
        elif told.topic == _ACCEPTED:
            before, self._accepted = self._accepted, held
        else:
            place = _place(told.topic)
            before = self._statuses.pop(place, None)
            if held is not None:
                self._statuses[place] = held
        return held != before


def _place(topic: str) -> tuple[int, int]:
    _, evse, connector = topic.split()
    return int(evse), int(connector)
