"""What a simulated station is: its identity, its outlets and its habits."""

from __future__ import annotations

import msgspec

from controller.demo.demo_frames import FrameStyle
from controller.demo.site_physics import OutletPlan
from controller.demo.station_messages import Make


class StationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A station: who it is, its outlets, and its habits.

    `counts` numbers its CALLs from 1 on each link; `slow_s` is how far its clock is behind; `meter_s` is
    between two reports of its meter; `away` is when it vanishes, and for how long (s since the start),
    None for never.
    """

    make: Make
    version: str
    outlets: tuple[OutletPlan, ...]
    hand: FrameStyle
    counts: bool = False
    slow_s: float = 0.0
    meter_s: float = 8.0
    away: tuple[float, float] | None = None

    @property
    def id(self) -> str:
        """The station's OCPP identity."""
        return self.make.station
