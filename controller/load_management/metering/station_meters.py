"""Meters made of the stations' own meter values: the last resort where no other meter shows the cars.

The current of an EVSE is known

    from its last report            until it is `stale_after_s` old
    as 0 A, from its state          while its station is connected, and `stale_after_s` longer

A meter is good while the current of each of its EVSEs is known, stale once one is not, and dead after
`DEAD_AFTER` times `stale_after_s`. Its readings show the cars alone: every other load is missing from them,
which its states show (`stations_alone`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from controller.load_management.evse.car_idleness import IDLE_A
from controller.load_management.evse.consumption import is_possible, on_site_phases, on_wired_phases
from controller.load_management.evse.evse_model import CONDUCTING
from controller.load_management.site_tree import ZERO, EvseNode, PhaseAmps, SiteTree
from controller.model.observations import (
    DrawSeen,
    EvseRef,
    EvseState,
    Observation,
    StateSeen,
    TransactionSeen,
)
from drivers.coded_text import coded
from drivers.errors import Cause
from drivers.health import DEAD_AFTER
from drivers.reading import MeterState, Quality, Reading
from drivers.settings import MeterSettings


class _ReportedCurrent:
    """Current of one EVSE (A on the site's phases), and since when it is not known any more."""

    def __init__(self, evse: EvseNode) -> None:
        self.evse = evse
        self.current_a: PhaseAmps = ZERO
        self._known_at: float | None = None
        self._state = EvseState.UNKNOWN
        self._is_idle = False
        self._is_connected = False

    def known_at(self, now: float) -> float | None:
        """Return when the current was last known (s, monotonic); None: never."""
        if self._is_idle and self._is_connected:
            self._known_at = now
        return self._known_at

    def on_link(self, now: float, *, is_connected: bool) -> None:
        """Process the connection or loss of its station."""
        self.known_at(now)  # an idle one is known up to this moment
        self._is_connected = is_connected
        if is_connected:
            self._is_idle = False  # the station reports its state anew

    def on_observation(self, observation: StateSeen | TransactionSeen | DrawSeen, now: float) -> None:
        """Take what its station reports."""
        self._is_connected = True
        if isinstance(observation, DrawSeen):
            self._on_draw(observation, now)
        elif isinstance(observation, StateSeen):
            self._state = observation.state
            self._set_idle(observation.state not in CONDUCTING, now)
        elif not observation.running:
            self._set_idle(True, now)

    def _set_idle(self, is_idle: bool, now: float) -> None:
        if is_idle:
            self.current_a, self._known_at = ZERO, now
        elif self._is_idle:
            self._known_at = None  # current may flow now, and none was reported yet
        self._is_idle = is_idle

    def _on_draw(self, draw: DrawSeen, now: float) -> None:
        if not is_possible(self.evse, draw.current_a):
            return
        reported = [amps for amps in draw.current_a if amps is not None]
        if not reported:
            return
        # A phase that the report leaves out carries at most what the others do: cars draw evenly.
        amps = [
            max(reported) if each is None else each for each in on_wired_phases(self.evse, draw.current_a)
        ]
        self.current_a, self._known_at = on_site_phases(self.evse, amps), now
        self._is_idle = self._state not in CONDUCTING and max(amps) <= IDLE_A


class StationMeter:
    """Meter made of its stations' reports; `former`: the one of the same name before."""

    def __init__(self, settings: MeterSettings, site: SiteTree, former: StationMeter | None = None) -> None:
        self.settings = settings
        self._began_at: float | None = None
        known = {} if former is None else former._currents
        self._currents: dict[EvseRef, _ReportedCurrent] = {
            evse.ref: known.get(evse.ref) or _ReportedCurrent(evse)
            for evse in site.evses
            if evse.ref.station in settings.stations
        }
        for evse in site.evses:
            if evse.ref in self._currents:
                self._currents[evse.ref].evse = evse

    def find_currents(self, station: str, evse: int | None = None) -> Iterator[_ReportedCurrent]:
        """Yield the currents of a station's EVSEs, or of one of them."""
        for ref, current in self._currents.items():
            if ref.station == station and evse in (None, ref.evse):
                yield current

    def state(self, now: float) -> MeterState:
        """Return the state at the monotonic `now` (s)."""
        if self._began_at is None:
            self._began_at = now
        times = {ref: current.known_at(now) for ref, current in self._currents.items()}
        oldest = min(times, key=lambda ref: -1.0 if times[ref] is None else times[ref] or 0.0, default=None)
        if oldest is None:
            return self._unknown(Quality.DEAD, coded("it has no stations"), None)
        known_at = times[oldest]
        age_s = now - (self._began_at if known_at is None else known_at)
        reading = None if None in times.values() else self._reading(now if known_at is None else known_at)
        if reading is not None and age_s <= self.settings.stale_after_s:
            return MeterState(
                meter=self.settings.id, quality=Quality.GOOD, reading=reading, stations_alone=True
            )
        quality = Quality.DEAD if age_s > DEAD_AFTER * self.settings.stale_after_s else Quality.STALE
        return self._unknown(quality, self._missing(oldest, known_at, now), reading)

    def _missing(self, ref: EvseRef, known_at: float | None, now: float) -> str:
        if known_at is None:
            return coded(
                "{evse} has reported no current yet; check its connection and its interval of meter values",
                evse=ref,
            )
        return coded(
            "{evse} has reported no current for {duration} s; check its connection and its interval of meter "
            "values",
            evse=ref,
            duration=f"{now - known_at:.0f}",
        )

    def _unknown(self, quality: Quality, problem: str, reading: Reading | None) -> MeterState:
        return MeterState(
            meter=self.settings.id,
            quality=quality,
            reading=reading,
            problem=problem,
            cause=Cause.NOT_REPORTED,
            stations_alone=True,
        )

    def _reading(self, time: float) -> Reading:
        first, second, third = (
            sum(each.current_a[phase] for each in self._currents.values()) for phase in range(3)
        )
        return Reading(time=time, current_a=(first, second, third))


class StationMeters:
    """All such meters of a site, fed with what its stations report."""

    def __init__(self, meters: Iterable[MeterSettings], site: SiteTree) -> None:
        self._meters = [StationMeter(settings, site) for settings in meters if settings.stations]

    def replace_meters(self, meters: Iterable[MeterSettings], site: SiteTree) -> None:
        """Make other meters, of the EVSEs of another tree; what is known of an EVSE stays."""
        former = {meter.settings.id: meter for meter in self._meters}
        self._meters = [
            StationMeter(settings, site, former.get(settings.id)) for settings in meters if settings.stations
        ]

    def on_link(self, station: str, now: float, *, is_connected: bool) -> None:
        """Process the connection or loss of a station."""
        for meter in self._meters:
            for current in meter.find_currents(station):
                current.on_link(now, is_connected=is_connected)

    def on_observation(self, station: str, observation: Observation, now: float) -> None:
        """Take an observation of a station."""
        if not isinstance(observation, StateSeen | TransactionSeen | DrawSeen):
            return
        for meter in self._meters:
            for current in meter.find_currents(station, observation.evse or None):
                current.on_observation(observation, now)

    def states(self, now: float) -> Iterator[MeterState]:
        """Yield the state of each meter at the monotonic `now` (s)."""
        return (meter.state(now) for meter in self._meters)
