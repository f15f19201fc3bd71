"""What a meter tells: one typed, timed reading, and what it is worth."""

from __future__ import annotations

import enum

import msgspec

PerPhase = tuple[float | None, float | None, float | None]
"""One value for each of L1, L2, L3; None where the meter does not measure it."""

NO_VALUES: PerPhase = (None, None, None)


class Quality(enum.StrEnum):
    """What the newest knowledge of a meter is worth."""

    GOOD = "good"
    """Read within its time, every value plausible."""
    STALE = "stale"
    """The last good reading is older than the meter's `stale_after_s`, or the meter repeats itself."""
    DEAD = "dead"
    """Never read, or not for several times `stale_after_s`: nothing is known."""
    IMPLAUSIBLE = "implausible"
    """It answers, but with values that cannot be (NaN, no-value pattern, out of any range)."""


class Reading(msgspec.Struct, frozen=True, kw_only=True):
    """One consistent set of values of one meter.

    `time` is on the caller's monotonic clock (s), taken when the answer arrived.
    Currents (A) and powers (W) are signed, positive = import from the grid.
    """

    time: float
    current_a: PerPhase = NO_VALUES
    voltage_v: PerPhase = NO_VALUES
    power_w: PerPhase = NO_VALUES
    power_total_w: float | None = None
    energy_import_wh: float | None = None
    energy_export_wh: float | None = None
    frequency_hz: float | None = None


class MeterState(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one meter now: its newest good reading, and how far to trust it.

    `problem` names in one sentence what is wrong while `quality` is not GOOD. `still_s`: for how long its
    readings have been the same to the last bit under load (s), which few meters are for more than some.
    """

    meter: str
    quality: Quality
    reading: Reading | None = None
    problem: str = ""
    still_s: float = 0.0
