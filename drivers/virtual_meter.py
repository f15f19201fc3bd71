"""Virtual meters: sums and differences of other meters, with the worst quality of their sources. Sans-IO.

A virtual meter has a reading while each of its sources has one and none of them is older than its time
allows; its time is that of the oldest. A phase of which a source has no direction counts as
import: also that of a source which is subtracted, where the import would be the best case.

While that sum is not good, the values of its `backup` stand in, if that meter is good; the state shows it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import msgspec

from drivers.coded_text import coded, join_and, join_texts
from drivers.errors import Cause
from drivers.reading import QUALITY_NAMES, MeterState, PerPhase, Quality, Reading
from drivers.settings import MeterSettings

_ORDER = (Quality.GOOD, Quality.IMPLAUSIBLE, Quality.STALE, Quality.DEAD)
"""From best to worst."""


class VirtualMeter:
    """One virtual meter: the sum of the meters `plus`, less those in `minus`, or its `backup`."""

    def __init__(self, settings: MeterSettings) -> None:
        self.settings = settings
        self._sources = {**dict.fromkeys(settings.plus, 1), **dict.fromkeys(settings.minus, -1)}
        self._states: dict[str, MeterState] = {}
        self._backup: MeterState | None = None

    def on_state(self, state: MeterState, now: float) -> MeterState | None:
        """Take the state of a source at the monotonic `now` (s); return the new state of this meter.

        None if the meter is no source of this one, or before each source had its first state.
        """
        if state.meter == self.settings.backup:
            self._backup = state
        elif state.meter in self._sources:
            self._states[state.meter] = state
        else:
            return None
        if self._states.keys() != self._sources.keys():
            return None
        summed = self._sum(now)
        return summed if summed.quality is Quality.GOOD else self._with_backup(summed, now)

    def _with_backup(self, summed: MeterState, now: float) -> MeterState:
        """Return the state with the values of the backup, or `summed` if that meter is not good either.

        Stations report at long intervals; the meter that they make has judged their age by itself.
        """
        backup = self._backup
        if backup is None or backup.quality is not Quality.GOOD or backup.reading is None:
            return summed
        if now - backup.reading.time > self.settings.stale_after_s and not backup.stations_alone:
            return summed
        return msgspec.structs.replace(
            backup,
            meter=self.settings.id,
            limitation=coded(
                "the values of {meter} stand in: {problem}", meter=backup.meter, problem=summed.problem
            ),
            cause=summed.cause,
        )

    def _sum(self, now: float) -> MeterState:
        worst = max(self._states.values(), key=lambda each: _ORDER.index(each.quality))
        reading = self._combine()
        if worst.quality is not Quality.GOOD or reading is None:
            problem = coded(
                "its source {meter} is {quality}: {problem}",
                meter=worst.meter,
                quality=QUALITY_NAMES[worst.quality],
                problem=worst.problem,
            )
            quality = worst.quality if worst.quality is not Quality.GOOD else Quality.DEAD
            return self._state(quality, reading, problem)
        if now - reading.time > self.settings.stale_after_s:
            oldest = min(self._states.values(), key=lambda each: each.reading.time if each.reading else now)
            problem = coded(
                "its source {meter} has no reading for {duration} s",
                meter=oldest.meter,
                duration=f"{now - reading.time:.0f}",
            )
            return self._state(Quality.STALE, reading, problem)
        if missing := [phase for phase in (1, 2, 3) if self._lacks(phase)]:
            problem = coded(
                "not all of its sources measure the current of {phases}",
                phases=join_and([f"L{phase}" for phase in missing]),
            )
            return self._state(Quality.IMPLAUSIBLE, reading, problem)
        limited = [
            coded("meter {meter}: {problem}", meter=each.meter, problem=each.limitation)
            for each in self._states.values()
            if each.limitation
        ]
        alone = all(each.stations_alone for each in self._states.values())
        return MeterState(
            meter=self.settings.id,
            quality=Quality.GOOD,
            reading=reading,
            limitation=join_texts(limited),
            still_s=max(each.still_s for each in self._states.values()),
            stations_alone=alone,
        )

    def _state(self, quality: Quality, reading: Reading | None, problem: str) -> MeterState:
        return MeterState(
            meter=self.settings.id, quality=quality, reading=reading, problem=problem, cause=Cause.SOURCE
        )

    def _lacks(self, phase: int) -> bool:
        """Return True if some sources measure a phase and others do not."""
        known = {
            state.reading is not None and state.reading.current_a[phase - 1] is not None
            for state in self._states.values()
        }
        return len(known) == 2

    def _combine(self) -> Reading | None:
        parts = [
            (state.reading, self._sources[name]) for name, state in self._states.items() if state.reading
        ]
        if len(parts) < len(self._sources):
            return None
        unknown = sorted({phase for reading, _ in parts for phase in reading.direction_unknown})
        return Reading(
            time=min(reading.time for reading, _ in parts),
            current_a=_per_phase(_worst_currents(reading, sign) for reading, sign in parts),
            voltage_v=_voltages(reading for reading, _ in parts),
            power_w=_per_phase(_times(reading.power_w, sign) for reading, sign in parts),
            power_total_w=_sum([_scaled(reading.power_total_w, sign) for reading, sign in parts]),
            energy_import_wh=_sum([_scaled(reading.energy_import_wh, sign) for reading, sign in parts]),
            energy_export_wh=_sum([_scaled(reading.energy_export_wh, sign) for reading, sign in parts]),
            frequency_hz=next((reading.frequency_hz for reading, _ in parts if reading.frequency_hz), None),
            direction_unknown=tuple(unknown),
        )


class VirtualMeters:
    """All virtual meters of a site, those with virtual sources included."""

    def __init__(self, meters: Iterable[MeterSettings]) -> None:
        self._meters = [VirtualMeter(settings) for settings in meters if not settings.stations]

    def on_state(self, state: MeterState, now: float) -> Iterator[MeterState]:
        """Take the state of a meter; yield the states that follow from it, sources before their users."""
        for meter in self._meters:
            derived = meter.on_state(state, now)
            if derived is not None:
                yield derived
                yield from self.on_state(derived, now)


def _worst_currents(reading: Reading, sign: int) -> PerPhase:
    """Return the currents as they count in the sum; a phase of unknown direction counts as import."""
    first, second, third = (
        abs(amps) if amps is not None and phase in reading.direction_unknown else _scaled(amps, sign)
        for phase, amps in enumerate(reading.current_a, start=1)
    )
    return (first, second, third)


def _voltages(readings: Iterable[Reading]) -> PerPhase:
    """Return each phase's voltage from the first source that measures it."""
    every = [reading.voltage_v for reading in readings]
    first, second, third = (
        next((volts[phase] for volts in every if volts[phase] is not None), None) for phase in range(3)
    )
    return (first, second, third)


def _per_phase(parts: Iterable[PerPhase]) -> PerPhase:
    every = list(parts)
    first, second, third = (_sum([values[phase] for values in every]) for phase in range(3))
    return (first, second, third)


def _sum(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


def _times(values: PerPhase, sign: int) -> PerPhase:
    first, second, third = (_scaled(value, sign) for value in values)
    return (first, second, third)


def _scaled(value: float | None, sign: int) -> float | None:
    return None if value is None else value * sign


class SourceMistake(msgspec.Struct, frozen=True):
    """Mistake in the sources of a virtual meter: its id, the key, what is wrong, what to do."""

    meter: str
    key: str
    text: str
    remedy: str


def find_source_mistakes(meters: Sequence[MeterSettings]) -> Iterator[SourceMistake]:
    """Find sources that do not exist, that are named twice, and circles."""
    known = {meter.id for meter in meters}
    sources = {
        meter.id: (*meter.plus, *meter.minus, *([meter.backup] if meter.backup else [])) for meter in meters
    }
    for meter in meters:
        backup = () if meter.backup is None else (meter.backup,)
        for key, names in (("plus", meter.plus), ("minus", meter.minus), ("backup", backup)):
            for name in names:
                if name not in known:
                    yield SourceMistake(
                        meter.id,
                        key,
                        coded('{kind} "{name}" does not exist', kind="meter", name=name),
                        coded("name a meter"),
                    )
        if len({*sources[meter.id]}) < len(sources[meter.id]):
            yield SourceMistake(
                meter.id, "plus", coded("names a meter twice"), coded("name each source once")
            )
        reached: set[str] = set()
        waiting = [*sources[meter.id]]
        while waiting:
            name = waiting.pop()
            if name not in reached:
                reached.add(name)
                waiting += sources.get(name, ())
        if meter.id in reached:
            yield SourceMistake(meter.id, "plus", coded("is computed from itself"), coded("break the circle"))
