"""Stations that are not in the configuration: their BootNotification is read and answered with Pending.

A pending station sends nothing but that (OCPP 1.6, 4.2; OCPP 2.0.1, B02), so that its vendor and model
are known before a person decides on it. No transaction, no authorization and no meter value is accepted.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Mapping

import msgspec
import trio

from controller.config.password_files import StationSecret
from controller.model.observations import Booted
from controller.model.peer_text import bounded_text
from controller.ocpp import v2, v16
from controller.ocpp.frames import (
    Call,
    MalformedFrame,
    Version,
    call_error,
    call_result,
    decode_binary,
    malformed_answer,
    parse,
)
from controller.ocpp.payloads import format_time, read_payload
from controller.stations.admission import Admission, Rejection
from controller.stations.knock_book import KnockBook
from controller.transport.channel import Channel
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller")

MOST_LINKS = 64
MOST_MESSAGES = 200
"""Messages of one connection: far more than a station sends that is pending."""
BOOT_INTERVAL_S = 30
"""Interval after which the station sends its BootNotification again."""
TRY_AGAIN_LATER = 1013
"""WebSocket close code (IANA registry of RFC 6455)."""


class AnyStation(Mapping[str, StationSecret | None]):
    """Passwords of the stations of AdmissionRules where every id is let in, and none has a password here."""

    def __getitem__(self, station: str) -> StationSecret | None:
        return None

    def __contains__(self, station: object) -> bool:
        return isinstance(station, str) and 0 < len(station) <= 48

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class UnregisteredStations:
    """A `listener.StationHost` that lists stations in `knocks` and serves none of them."""

    def __init__(self, knocks: KnockBook, utc: Callable[[], float] = time.time) -> None:
        self._knocks = knocks
        self._utc = utc
        self._links = trio.CapacityLimiter(MOST_LINKS)

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        """Let every station in: nothing is done for it."""
        return admission

    async def release_admission(self, admission: Admission) -> None:
        """Do nothing: no link to a backend belongs to it."""

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Answer the station until it leaves."""
        address = admission.peer.rpartition(":")[0] or admission.peer
        offered = [each.value for each in admission.versions or (admission.version,)]
        self._knocks.on_unknown(admission.station, address, offered, self._utc())
        try:
            self._links.acquire_on_behalf_of_nowait(channel)
        except trio.WouldBlock:
            await channel.close(TRY_AGAIN_LATER, "too many stations wait for their adoption")
            return
        try:
            await self._answer(admission, channel)
        except (ConnectionLostError, SendQueueFullError) as error:
            log.debug("pending station disconnected station=%s reason=%s", admission.station, error)
        finally:
            self._links.release_on_behalf_of(channel)

    async def _answer(self, admission: Admission, channel: Channel) -> None:
        for _ in range(MOST_MESSAGES):
            message = await channel.receive()
            text = decode_binary(message) if isinstance(message, bytes) else message
            if text is None:
                continue
            answer, boot = answer_unregistered(text, admission.version, self._utc())
            if boot is not None:
                self._knocks.on_boot(admission.station, boot)
                log.info(
                    "unknown station pending station=%s peer=%s vendor=%s model=%s",
                    admission.station,
                    admission.peer,
                    boot.vendor,
                    boot.model,
                )
            if answer is not None:
                channel.send_nowait(answer)
        await channel.close(TRY_AGAIN_LATER, "the station is not adopted yet")


def answer_unregistered(text: str, version: Version, utc: float) -> tuple[str | None, Booted | None]:
    """Return the answer to a message of a station that is not adopted, and what its boot reports.

    The answer is None for what is no CALL.
    """
    frame = parse(text)
    if isinstance(frame, MalformedFrame):
        return malformed_answer(version, frame), None
    if not isinstance(frame, Call):
        return None, None
    if frame.action != "BootNotification":
        code = "GenericError" if version is Version.V16 else "SecurityError"
        return call_error(frame.id, code, "the station is not adopted yet"), None
    result = {"status": "Pending", "currentTime": format_time(utc), "interval": BOOT_INTERVAL_S}
    return call_result(frame.id, msgspec.json.encode(result)), _read_boot(frame.payload, version)


def _read_boot(payload: bytes, version: Version) -> Booted:
    if version is Version.V16:
        boot = read_payload(v16.BootNotificationV16, payload) or v16.BootNotificationV16()
        serial_number = boot.charge_point_serial_number or boot.charge_box_serial_number
        texts = (boot.charge_point_vendor, boot.charge_point_model, boot.firmware_version, serial_number)
    else:
        station = (read_payload(v2.BootNotificationV2, payload) or v2.BootNotificationV2()).charging_station
        texts = (station.vendor_name, station.model, station.firmware_version, station.serial_number)
    vendor, model, firmware, serial_number = (bounded_text(each, 50) for each in texts)
    return Booted(vendor, model, firmware, serial_number)
