"""Plan of a simulated station: identity, EVSEs and behavior."""

from __future__ import annotations

import msgspec

from controller.demo.demo_frames import FrameStyle
from controller.demo.site_physics import PhysicalEvsePlan
from controller.demo.station_messages import StationIdentity


class StationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Identity, EVSEs and behavior of a station.

    `counts` numbers its CALLs from 1 on each link; `slow_s` is the lag of its clock; `meter_s` is the
    interval of its meter values; `away` is when it disconnects, and for how long (s since the start),
    None for never.
    """

    identity: StationIdentity
    version: str
    evses: tuple[PhysicalEvsePlan, ...]
    style: FrameStyle
    counts: bool = False
    slow_s: float = 0.0
    meter_s: float = 8.0
    away: tuple[float, float] | None = None

    @property
    def id(self) -> str:
        """The station's OCPP identity."""
        return self.identity.station
