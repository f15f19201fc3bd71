"""Which meter hangs where, as its owner has set it."""

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
