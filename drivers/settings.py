"""Which meter and which contacts hang where, as their owner has set it."""

from __future__ import annotations

from typing import Literal

import msgspec


class MeterSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One meter. None for a serial setting means the meter's own default, for `port` the transport's.

    `driver` names its register map. Times in s.
    """

    id: str
    driver: str
    transport: Literal["tcp", "rtu", "tls", "rtu-over-tcp"]
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
    timeout_s: float = 1.0
    invert: bool = False
    ca: str | None = None
    certificate: str | None = None
    key: str | None = None


class ModuleSettings(msgspec.Struct, frozen=True, kw_only=True):
    """One module and the inputs of it that are wired (from 0), in the order in which they are published.

    `driver` names the map of a Modbus module; `device` is the serial port, or the GPIO chip. Times in s.
    """

    id: str
    transport: Literal["tcp", "rtu", "rtu-over-tcp", "gpio"]
    inputs: tuple[int, ...]
    driver: str = ""
    host: str = ""
    port: int = 502
    device: str = ""
    baud: int | None = None
    parity: str | None = None
    stopbits: int | None = None
    unit: int = 1
    interval_s: float = 1.0
    timeout_s: float = 1.0
