"""Settings of the local CSMS, alike for all of its stations."""

from __future__ import annotations

import msgspec

from controller.ocpp.payloads import OWN_TIME, StationTime


class CsmsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the local CSMS.

    `heartbeat_s`: interval of the stations' heartbeats. `meter_values_s`: interval of meter values during a
    transaction that stations are set to; 0 leaves it, as it leaves a shorter one if
    `keeps_shorter`. `sends_local_list`: stations get the cards as their local authorization list.
    `call_timeout_s`: how long a station may take to answer.
    `station_time`: the time that stations are given.
    """

    heartbeat_s: int = 300
    meter_values_s: int = 60
    keeps_shorter: bool = False
    sends_local_list: bool = True
    call_timeout_s: float = 60.0
    station_time: StationTime = OWN_TIME
