"""State of energy over hours, for people."""

from __future__ import annotations

import msgspec

from controller.model.observations import EvseRef


class PeakView(msgspec.Struct, frozen=True, kw_only=True):
    """Quarter-hour peak of a circuit: target and use of the running quarter, and the month's highest mean.

    `target_w`: what holds now; `used_wh` since the quarter's begin, in which what is unknown counts at its
    worst unless all was measured (`is_measured`); `ends_in_s` until its end; `month_w`: 0 before the first
    whole quarter of the month.
    """

    circuit: str
    target_w: float
    used_wh: float
    is_measured: bool
    ends_in_s: float
    month_w: float


class GroupView(msgspec.Struct, frozen=True, kw_only=True):
    """Group of EVSEs: guaranteed current (A), and the energy of the day with its quota (Wh; None: none)."""

    id: str
    guaranteed_a: float
    used_wh: float
    quota_wh: float | None


class WaitView(msgspec.Struct, frozen=True, kw_only=True):
    """EVSE whose car waits for a cheaper quarter hour, and when that begins (POSIX s; None: unknown)."""

    ref: EvseRef
    begins_at: float | None


class EnergyView(msgspec.Struct, frozen=True, kw_only=True):
    """Whole energy plan at one moment.

    `calendar`: names of the entries that hold now. `price`: of a kWh now, None where unknown. `battery_a`:
    what the battery delivers on all phases and no car may use (A).
    """

    peaks: tuple[PeakView, ...] = ()
    calendar: tuple[str, ...] = ()
    groups: tuple[GroupView, ...] = ()
    waiting: tuple[WaitView, ...] = ()
    price: float | None = None
    battery_a: float = 0.0
