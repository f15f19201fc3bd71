"""Stationary battery at the grid connection, known by its meter alone.

What the battery delivers hides a part of the building's draw from the meter of the grid connection. It may
end at any moment, so it is no room for cars, and cars in surplus mode are not charged from it, unless the
site's owner allows that. While its meter is not good, the battery counts as delivering the most that it has
delivered in the last day. A current without a known direction counts as delivered, unless the power of all
phases shows the direction.
"""

from __future__ import annotations

from controller.load_management.energy.energy_settings import BatterySettings
from controller.load_management.site_tree import ZERO, PhaseAmps
from drivers.reading import MeterState, Quality

MEMORY_S = 86_400.0
SILENCE_S = 30.0
"""A meter without a good reading for so long is lost."""


class SiteBattery:
    """Last flow of the battery on each phase (A; positive: it charges). All `now` are monotonic s."""

    def __init__(self, settings: BatterySettings, voltage_v: float) -> None:
        self._settings = settings
        self._voltage_v = voltage_v
        self._flow_a: PhaseAmps | None = None
        self._good_at: float | None = None
        self._most_a: PhaseAmps = ZERO
        self._most_at = 0.0

    def replace_settings(self, settings: BatterySettings) -> None:
        """Apply other settings of a battery with the same meter."""
        self._settings = settings

    @property
    def meter(self) -> str:
        """Return the id of its meter."""
        return self._settings.meter

    def on_meter(self, state: MeterState, now: float) -> None:
        """Take in one state of its meter."""
        reading = state.reading
        if state.quality is not Quality.GOOD or reading is None:
            return
        amps = []
        total_w = reading.power_total_w
        pairs = zip(reading.current_a, reading.power_w, strict=True)
        for phase, (current, watts) in enumerate(pairs, start=1):
            if watts is not None:
                flow = watts / self._voltage_v
            elif current is None or (phase in reading.direction_unknown and total_w is not None):
                flow = (total_w or 0.0) / (3 * self._voltage_v)
            else:
                flow = -abs(current) if phase in reading.direction_unknown else current
            amps.append(flow)
        self._flow_a = (amps[0], amps[1], amps[2])
        self._good_at = now
        delivered_a = _delivered(self._flow_a)
        if sum(delivered_a) >= sum(self._most_a) or now - self._most_at > MEMORY_S:
            self._most_a, self._most_at = delivered_a, now

    def is_known(self, now: float) -> bool:
        """Return True if a recent good reading shows its flow."""
        return self._good_at is not None and now - self._good_at <= SILENCE_S

    def flow_a(self, now: float) -> PhaseAmps:
        """Return its flow (A per phase; positive: it charges), 0 while it is unknown."""
        return self._flow_a if self._flow_a is not None and self.is_known(now) else ZERO

    def hidden_a(self, now: float) -> PhaseAmps:
        """Return what it delivers on each phase (A) and no car may count on; 0 where cars may use it."""
        if self._settings.use_battery:
            return ZERO
        if not self.is_known(now) or self._flow_a is None:
            return self._most_a
        return _delivered(self._flow_a)

    def surplus_a(self, fed_in_a: float, now: float) -> float:
        """Return the surplus for cars (A, all phases) of what the site feeds in: less what it delivers.

        A negative `fed_in_a` is a draw: a part of it may be what charges the battery. While its meter is not
        good there is no surplus, unless cars may be charged from it.
        """
        if self._settings.use_battery:
            return max(0.0, fed_in_a)
        if not self.is_known(now) or self._flow_a is None:
            return 0.0
        flow_a = sum(self._flow_a)
        if flow_a > 0 and not self._settings.cars_first:
            flow_a = 0.0
        return max(0.0, fed_in_a + flow_a)


def _delivered(flow_a: PhaseAmps) -> PhaseAmps:
    return (max(0.0, -flow_a[0]), max(0.0, -flow_a[1]), max(0.0, -flow_a[2]))
