"""History of dimming since the start: limits, commands and the measured draw."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Sequence

from msgspec.structs import replace

from controller.dimming.dimming_limits import EffectiveLimit
from controller.dimming.dimming_messages import moment
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import CommandAnswer, Measured
from controller.load_management.site_view import EvseDraws, EvseView
from controller.model.observations import EvseRef
from controller.model.statements import Statement
from controller.web.status_model import DimmingSpanStatus, DimmingStatus
from drivers.coded_text import parts_of
from drivers.reading import NO_VALUES, MeterState, Quality, Reading

SPANS_KEPT = 20
"""Limits that are kept."""


class DimmingHistory:
    """Counters, limits and last measured draw. `voltage`: nominal (V)."""

    def __init__(self, settings: DimmingSettings, voltage: float) -> None:
        self._settings = settings
        self._voltage = voltage
        self._reading: Reading | None = None
        self._drawn_w: float | None = None
        self._grid_w: float | None = None
        self._spans: deque[DimmingSpanStatus] = deque(maxlen=SPANS_KEPT)
        self._accepted = 0
        self._refused: Counter[str] = Counter()

    def count_answer(self, answer: CommandAnswer) -> None:
        """Count the answer to a command."""
        if answer.reason is None:
            self._accepted += 1
        else:
            self._refused[answer.reason] += 1

    def on_meter_state(self, state: MeterState, grid_meter: str | None) -> bool:
        """Take the state of a meter; return True if it is that of the grid connection, `grid_meter`."""
        if grid_meter is None:
            self._reading = None
        if state.meter != grid_meter:
            return False
        self._reading = state.reading if state.quality is Quality.GOOD else None
        return True

    def measure(self, draws: EvseDraws, views: Sequence[EvseView]) -> Measured:
        """Return the draw of the controllable EVSEs at present, and the limits of those with a view."""
        devices_w = draws_w(draws, self._reading, self._voltage)
        known = [watts for watts in devices_w.values() if watts is not None]
        self._drawn_w = sum(known) if len(known) == len(devices_w) else None
        self._grid_w = None if self._reading is None else power_w(self._reading, self._voltage)
        decisions = {each.ref: (round(each.offered_a, 2), each.reason) for each in views}
        return Measured(devices_w, self._grid_w, decisions)

    def on_limit(self, effective: EffectiveLimit, utc: float) -> None:
        """Take the limit that applies from now on (POSIX s)."""
        since = moment(utc)
        if self._spans and self._spans[-1].until is None:
            self._spans.append(replace(self._spans.pop(), until=since))
        if effective.dimmed:
            total = effective.total
            limit_w = None if total is None else total.watts
            span = DimmingSpanStatus(
                since=since,
                until=None,
                limit_w=limit_w,
                sources=effective.sources,
                assumed=total is not None and total.is_assumed,
            )
            self._spans.append(span)

    def status(
        self, effective: EffectiveLimit, why: Statement | None, records: int, unwritten: int
    ) -> DimmingStatus:
        """Return the status; `records`: number of evidence records, `unwritten`: of those not written."""
        total = effective.total
        fault = total.proof if total is not None and total.is_assumed else ""
        return DimmingStatus(
            dimmed=effective.dimmed,
            why="" if why is None else str(why),
            statement=why,
            limit_w=None if total is None else total.watts,
            phases_w=effective.phases_w,
            evses_w={str(ref): bound.watts for ref, bound in effective.evses.items()},
            sources=effective.sources,
            drawn_w=_rounded(self._drawn_w),
            grid_w=_rounded(self._grid_w),
            devices=len(self._settings.devices),
            minimum_w=round(self._settings.minimum_w, 1),
            spans=tuple(self._spans),
            accepted_total=self._accepted,
            refused_total=dict(self._refused),
            evidence_records=records,
            evidence_failed_total=unwritten,
            source_fault=str(fault),
            source_fault_parts=parts_of(fault),
        )


def _rounded(watts: float | None) -> float | None:
    return None if watts is None else round(watts, 1)


def draws_w(draws: EvseDraws, reading: Reading | None, voltage: float) -> dict[EvseRef, float | None]:
    """Return the draw of each device (W), from that on each phase (A); None where it is unknown."""
    measured = NO_VALUES if reading is None else reading.voltage_v
    volts = [each or voltage for each in measured]
    return {
        ref: None if drawn is None else sum(amps * v for amps, v in zip(drawn, volts, strict=True))
        for ref, drawn in draws.items()
    }


def power_w(reading: Reading, voltage: float) -> float | None:
    """Return the power of all phases of a meter (W)."""
    if reading.power_total_w is not None:
        return reading.power_total_w
    powers = [
        power if power is not None or amps is None else amps * (volts or voltage)
        for power, amps, volts in zip(reading.power_w, reading.current_a, reading.voltage_v, strict=True)
    ]
    known = [power for power in powers if power is not None]
    return sum(known) if len(known) == len(powers) else None
