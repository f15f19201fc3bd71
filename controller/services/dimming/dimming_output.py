"""Output of dimming: the limit to load management, what is measured, and the status since the start."""

from __future__ import annotations

from collections import Counter, deque

from msgspec.structs import replace

from controller.dimming.dimming_limits import EffectiveLimit, LostSources
from controller.dimming.dimming_messages import moment
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import CommandAnswer, Measured
from controller.load_management import events as site_events
from controller.load_management.site_view import EvseDraws
from controller.model.observations import EvseRef
from controller.services.dimming.dimming_notifier import DimmingNotifier
from controller.services.load_management.load_management_service import LoadManagementService
from controller.services.stations.station_profiles import StationProfiles
from controller.web.status_model import DimmingSpanStatus, DimmingStatus, SourceFaultStatus
from drivers.coded_text import coded, join_texts, parts_of
from drivers.reading import NO_VALUES, MeterState, Quality, Reading

SPANS_KEPT = 20
"""Limits that are kept."""


class DimmingOutput:
    """Output of one site's dimming, with counters, limits and the last measured draw.

    `voltage` is the nominal one (V). `notifier` notifies the backend and displays.
    """

    def __init__(
        self,
        settings: DimmingSettings,
        voltage: float,
        load_management: LoadManagementService,
        profiles: StationProfiles,
        notifier: DimmingNotifier,
    ) -> None:
        self.notifier = notifier
        self._settings = settings
        self._voltage = voltage
        self._load_management = load_management
        self._profiles = profiles
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

    def on_meter_state(self, state: MeterState) -> bool:
        """Take the state of a meter; return True if it is that of the grid connection."""
        grid_meter = self._load_management.site.circuits[0].meter
        if grid_meter is None:
            self._reading = None
        if state.meter != grid_meter:
            return False
        self._reading = state.reading if state.quality is Quality.GOOD else None
        return True

    def measure(self, *, has_decisions: bool) -> Measured:
        """Return the draw of the controllable EVSEs, and their limits with reasons if `has_decisions`."""
        load_management, devices = self._load_management, self._settings.devices
        devices_w = draws_w(load_management.read_draws(devices), self._reading, self._voltage)
        known = [watts for watts in devices_w.values() if watts is not None]
        self._drawn_w = sum(known) if len(known) == len(devices_w) else None
        self._grid_w = None if self._reading is None else power_w(self._reading, self._voltage)
        views = load_management.view_evses(devices) if has_decisions else []
        decisions = {each.ref: (round(each.offered_a, 2), each.reason) for each in views}
        return Measured(devices_w, self._grid_w, decisions)

    def limit(self, effective: EffectiveLimit, wall: float) -> None:
        """Send the limit that applies from `wall` on (POSIX s) to load management."""
        total, format_end = effective.total, self.notifier.format_end
        self.mark_dimmed(effective)
        bounds = [*effective.evses.values(), *([] if total is None else [total])]
        self._load_management.handle_event(
            site_events.SiteDimmed(
                total_w=None if total is None else total.watts,
                phases_w=effective.phases_w,
                evses_w={ref: bound.watts for ref, bound in effective.evses.items()},
                why=effective.explain(format_end),
                whys={ref: bound.explain(format_end) for ref, bound in effective.evses.items()},
                until=min((bound.until for bound in bounds if bound.until is not None), default=None),
            )
        )
        self._keep_span(effective, wall)

    def mark_dimmed(self, effective: EffectiveLimit) -> None:
        """Mark the EVSEs that are limited: their backends are notified with that reason."""
        is_limited_together = effective.total is not None
        self._profiles.mark_dimmed(self._settings.devices if is_limited_together else effective.evses.keys())

    def _keep_span(self, effective: EffectiveLimit, wall: float) -> None:
        since = moment(wall)
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
        self, effective: EffectiveLimit, lost: LostSources, records: int, unwritten: int
    ) -> DimmingStatus:
        """Return the status; `records`: number of evidence records, `unwritten`: of those not written."""
        binding = effective.binding(self._settings.devices)
        why, total = binding.explain(self.notifier.format_end), binding.total
        fault = join_texts(
            [coded("{source}: {reason}", source=each.source, reason=each.why) for each in lost]
        )
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
            source_faults=tuple(
                SourceFaultStatus(source=each.source, why=str(each.why), why_parts=parts_of(each.why))
                for each in lost
            ),
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
