"""Settings of meters, of modules with digital inputs, and of the buses that they share."""

from __future__ import annotations

from typing import Literal

import msgspec

from drivers.decoding import Wiring
from drivers.modbus.modbus_tls import TlsFiles
from drivers.sunspec import Selection

MODBUS_PORT, SECURE_PORT = 502, 802
TCP_TIMEOUT_S, SERIAL_TIMEOUT_S = 3.0, 1.0
"""Default time limits for an answer. Gateways pass a request on, and some answer only after 2 s."""

Transport = Literal["tcp", "rtu", "tls", "rtu-over-tcp", "udp", "virtual"]


class BusSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One bus: a serial port, or a host and port with what is used there."""

    transport: Transport
    device: str = ""
    baud: int = 9600
    parity: str = "N"
    stopbits: int = 1
    host: str = ""
    port: int = MODBUS_PORT
    tls: TlsFiles | None = None

    @property
    def key(self) -> tuple[object, ...]:
        """Identity of the bus: units with the same key share it."""
        if self.transport == "rtu":
            return (self.device,)
        return (self.transport, self.host, self.port)


class ShareSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Read-only server for a meter's registers. `max_age_s`: older readings are not given out (s)."""

    port: int
    host: str = "0.0.0.0"
    unit: int = 1
    max_age_s: float = 10.0
    max_clients: int = 4


class MeterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One meter. None for a serial setting means the model's default, for `port` the transport's.

    `driver` names its model. Times in s. `timeout_s` None: TCP_TIMEOUT_S, or SERIAL_TIMEOUT_S on a serial
    port. A higher `priority` is served first where units wait for the same bus. A virtual meter is the sum of
    the meters `plus`, less those in `minus`, or the sum of what the `stations` report; while that is not
    good, `backup` is the meter whose values stand in.
    """

    id: str
    driver: str
    transport: Transport
    host: str | None = None
    port: int | None = None
    device: str | None = None
    baud: int | None = None
    parity: str | None = None
    stopbits: int | None = None
    unit: int = 1
    interval_s: float = 1.0
    stale_after_s: float = 5.0
    frozen_after_s: float = 30.0
    timeout_s: float | None = None
    priority: int = 0
    invert: bool = False
    ct_ratio: float = 1.0
    phase_order: tuple[int, int, int] = (1, 2, 3)
    sunspec_instance: int | None = None
    sunspec_model: int | None = None
    sunspec_role: str | None = None
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None
    plus: tuple[str, ...] = ()
    minus: tuple[str, ...] = ()
    stations: tuple[str, ...] = ()
    backup: str | None = None
    share: tuple[ShareSettings, ...] = ()

    @property
    def answer_timeout_s(self) -> float:
        """Time limit for an answer (s)."""
        return self.timeout_s or default_timeout_s(self.transport)

    @property
    def wiring(self) -> Wiring:
        """Direction, transformer ratio and phase order of the installed meter."""
        return Wiring(self.invert, self.ct_ratio, self.phase_order)

    @property
    def selection(self) -> Selection:
        """Selection of one meter of a SunSpec device."""
        return Selection(self.sunspec_instance, self.sunspec_model, self.sunspec_role)


class InputModuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One module and the inputs of it that are wired (from 0), in the order in which they are published.

    `driver` names the model of a Modbus module; `device` is the serial port, or the GPIO chip. Times in s.
    """

    id: str
    transport: Literal["tcp", "rtu", "rtu-over-tcp", "gpio"]
    inputs: tuple[int, ...]
    driver: str = ""
    host: str = ""
    port: int = MODBUS_PORT
    device: str = ""
    baud: int | None = None
    parity: str | None = None
    stopbits: int | None = None
    unit: int = 1
    interval_s: float = 1.0
    timeout_s: float = 1.0


def default_timeout_s(transport: str) -> float:
    """Return the default time limit for an answer (s)."""
    return SERIAL_TIMEOUT_S if transport == "rtu" else TCP_TIMEOUT_S


def default_port(transport: str) -> int:
    """Return the default port (IANA: mbap 502, mbap-s 802)."""
    return SECURE_PORT if transport == "tls" else MODBUS_PORT
