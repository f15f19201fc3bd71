"""Host of unknown stations: their BootNotification is read and answered with Pending.

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
from controller.model.rate_limits import RepeatFilter, TokenBucket
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
from controller.ocpp.payloads import OWN_TIME, StationTime, format_time, read_payload
from controller.stations.admission import Admission, Rejection, is_station_id
from controller.stations.unknown_stations import UnknownStations
from controller.transport.channel import Channel
from controller.transport.transport_errors import ConnectionLostError, SendQueueFullError

log = logging.getLogger("controller")

MOST_LINKS = 16
"""Connections of unknown stations that are open at a time, one of each station."""
MOST_MESSAGES = 200
"""Messages of one connection: far more than a station sends that is pending."""
MESSAGES_PER_S = 1.0
MESSAGES_AT_ONCE = 10
"""Rate at which messages of one connection are read: more wait in its socket."""
LONGEST_LINK_S = 600.0
"""Time after which a connection is closed; a station that is there connects again."""
REPORT_PERIOD_S = 3600.0
MOST_REPORTS = 100
"""The boot of one station is logged once in this time, and so many in all."""
BOOT_INTERVAL_S = 30
"""Interval after which the station sends its BootNotification again."""
TRY_AGAIN_LATER = 1013
"""WebSocket close code (IANA registry of RFC 6455)."""


class AnyStation(Mapping[str, StationSecret | None]):
    """Passwords of the stations of AdmissionRules where every id is let in, and none has a password here."""

    def __getitem__(self, station: str) -> StationSecret | None:
        return None

    def __contains__(self, station: object) -> bool:
        return isinstance(station, str) and is_station_id(station)

    def __iter__(self) -> Iterator[str]:
        return iter(())

    def __len__(self) -> int:
        return 0


class UnknownStationHost:
    """A `listener.StationHost` for unknown stations: it lists them in `unknown_stations` and serves none.

    At most `most_links` of them are connected at a time; further ones are listed with id and address alone.
    """

    def __init__(
        self,
        unknown_stations: UnknownStations,
        utc: Callable[[], float] = time.time,
        most_links: int = MOST_LINKS,
        station_time: StationTime = OWN_TIME,
    ) -> None:
        self._unknown_stations = unknown_stations
        self._station_time = station_time
        self._utc = utc
        self._most_links = most_links
        self._links: dict[str, trio.CancelScope] = {}
        """Open connections by station."""
        self._reports = RepeatFilter(REPORT_PERIOD_S, MOST_REPORTS)

    async def confirm_admission(self, admission: Admission) -> Admission | Rejection:
        """Let every station in: nothing is done for it."""
        return admission

    async def release_admission(self, admission: Admission) -> None:
        """Do nothing: no link to a backend belongs to it."""

    async def serve_station(self, admission: Admission, channel: Channel) -> None:
        """Answer the station until it leaves."""
        address = admission.peer.rpartition(":")[0] or admission.peer
        offered = [each.value for each in admission.versions or (admission.version,)]
        self._unknown_stations.on_unknown(admission.station, address, offered, self._utc())
        before = self._links.pop(admission.station, None)
        if before is not None:
            before.cancel()
        if len(self._links) >= self._most_links:
            await channel.close(TRY_AGAIN_LATER, "too many stations wait for their adoption")
            return
        scope = self._links[admission.station] = trio.CancelScope(
            deadline=trio.current_time() + LONGEST_LINK_S
        )
        try:
            with scope:
                await self._answer(admission, channel)
            await channel.close(TRY_AGAIN_LATER, "the station is not adopted yet")
        except (ConnectionLostError, SendQueueFullError) as error:
            log.debug("pending station disconnected station=%s reason=%s", admission.station, error)
        finally:
            if self._links.get(admission.station) is scope:
                del self._links[admission.station]

    def disconnect_station(self, station: str) -> None:
        """Close the connection of a station that has been adopted: it is served when it connects again."""
        scope = self._links.get(station)
        if scope is not None:
            scope.cancel()

    def _report(self, admission: Admission, boot: Booted) -> None:
        if self._reports.count_repeats(admission.station, trio.current_time()) is None:
            return
        log.info(
            "unknown station pending station=%s peer=%s vendor=%s model=%s",
            admission.station,
            admission.peer,
            boot.vendor,
            boot.model,
        )

    async def _answer(self, admission: Admission, channel: Channel) -> None:
        """Answer MOST_MESSAGES messages of a station."""
        pace = TokenBucket(MESSAGES_PER_S, burst=MESSAGES_AT_ONCE)
        for _ in range(MOST_MESSAGES):
            message = await channel.receive()
            await trio.sleep(pace.take(trio.current_time()))
            text = decode_binary(message) if isinstance(message, bytes) else message
            if text is None:
                continue
            answer, boot = answer_unknown_station(
                text, admission.version, self._station_time.given_at(self._utc())
            )
            if boot is not None:
                self._unknown_stations.on_boot(admission.station, boot)
                self._report(admission, boot)
            if answer is not None:
                channel.send_nowait(answer)


def answer_unknown_station(text: str, version: Version, utc: float) -> tuple[str | None, Booted | None]:
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
