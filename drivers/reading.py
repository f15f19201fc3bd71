"""Reading and state of a meter: typed, timed values, their quality and the cause of trouble."""

from __future__ import annotations

import enum

import msgspec

from drivers.coded_text import coded
from drivers.errors import Cause

PerPhase = tuple[float | None, float | None, float | None]
"""One value for each of L1, L2, L3; None where the meter does not measure it."""

NO_VALUES: PerPhase = (None, None, None)


class Quality(enum.StrEnum):
    """Quality of the newest state of a meter."""

    GOOD = "good"
    """Read within its time, every value plausible."""
    STALE = "stale"
    """The last good reading is older than the meter's `stale_after_s`, or the readings are frozen."""
    DEAD = "dead"
    """Never read, or not for several times `stale_after_s`."""
    IMPLAUSIBLE = "implausible"
    """The meter answers with values that cannot be (no value, out of any range, contradictory)."""


QUALITY_NAMES = {
    Quality.GOOD: coded("good"),
    Quality.STALE: coded("stale"),
    Quality.DEAD: coded("dead"),
    Quality.IMPLAUSIBLE: coded("implausible"),
}
"""Each quality as a text of a sentence."""


class Reading(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One consistent set of values of one meter.

    `time` is on the caller's monotonic clock (s), taken when the answer arrived.
    Currents (A) and powers (W) are signed, positive = import from the grid.
    `direction_unknown` names the phases (1 to 3) whose current has no known direction: their current is
    given as import, which is the worst case.
    """

    time: float
    current_a: PerPhase = NO_VALUES
    voltage_v: PerPhase = NO_VALUES
    power_w: PerPhase = NO_VALUES
    power_total_w: float | None = None
    energy_import_wh: float | None = None
    energy_export_wh: float | None = None
    frequency_hz: float | None = None
    direction_unknown: tuple[int, ...] = ()


class MeterIdentity(msgspec.Struct, frozen=True, kw_only=True):
    """Texts by which a device names itself; empty where it does not."""

    manufacturer: str = ""
    model: str = ""
    serial_number: str = ""
    firmware: str = ""


class MeterState(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """State of one meter: its newest good reading and the quality of what is known now.

    `problem` is a sentence about what is wrong while `quality` is not GOOD, `cause` the same as a label.
    `limitation` is a sentence about what a GOOD reading lacks; empty if it lacks nothing. `still_s`: for
    how long the readings have been the same to the last bit under load (s). `stations_alone`: the values are
    the stations' own, so they lack every other load.
    """

    meter: str
    quality: Quality
    reading: Reading | None = None
    problem: str = ""
    cause: Cause = Cause.NONE
    limitation: str = ""
    still_s: float = 0.0
    stations_alone: bool = False
