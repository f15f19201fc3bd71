"""Buses of the process: meters and digital inputs on the same port or connection share one bus."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from drivers.modbus.bus import Bus
from drivers.modbus.modbus_tls import FindObjection
from drivers.modbus.serial_bus import SerialBus
from drivers.modbus.tcp_bus import TcpBus, UdpBus
from drivers.settings import BusSettings

log = logging.getLogger("drivers.bus")


class BusRegistry:
    """Buses by their settings. Nothing is opened before the first exchange.

    `find_objection` returns why the certificate of a Modbus/TLS server is not accepted.
    """

    def __init__(self, find_objection: FindObjection | None = None) -> None:
        self._find_objection = find_objection
        self._buses: dict[tuple[object, ...], Bus] = {}
        self._users: dict[Bus, int] = {}

    @property
    def buses(self) -> Mapping[tuple[object, ...], Bus]:
        """All buses in use, by the key of their settings."""
        return self._buses

    def attach(self, settings: BusSettings) -> Bus:
        """Return the bus of these settings for one more user, who must `detach` from it."""
        bus = self._buses.get(settings.key)
        if bus is None:
            bus = self._buses[settings.key] = open_bus(settings, self._find_objection)
        elif isinstance(bus, SerialBus):
            _warn_of_other_settings(bus, settings)
        self._users[bus] = self._users.get(bus, 0) + 1
        return bus

    async def detach(self, bus: Bus) -> None:
        """End one use of a bus; the last one closes it."""
        self._users[bus] -= 1
        if self._users[bus] == 0:
            del self._users[bus]
            self._buses = {key: other for key, other in self._buses.items() if other is not bus}
            await bus.close()


def open_bus(settings: BusSettings, find_objection: FindObjection | None = None) -> Bus:
    """Build the bus of these settings; it opens its port or connection at the first exchange."""
    if settings.transport == "rtu":
        return SerialBus(settings.device, settings.baud, settings.parity, settings.stopbits)
    if settings.transport == "udp":
        return UdpBus(settings.host, settings.port)
    return TcpBus(
        settings.host,
        settings.port,
        rtu=settings.transport == "rtu-over-tcp",
        tls=settings.tls,
        find_objection=find_objection,
    )


def _warn_of_other_settings(bus: SerialBus, settings: BusSettings) -> None:
    ignored = SerialBus(settings.device, settings.baud, settings.parity, settings.stopbits).line_settings
    if ignored != bus.line_settings:
        log.warning(
            "serial settings differ on one bus device=%s used=%s ignored=%s remedy=%s",
            bus.name, bus.line_settings, ignored, "set all units of the bus to the same baud rate and parity",
        )  # fmt: skip
