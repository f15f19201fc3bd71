"""Output of dimming: the limit to load management, notifications, measurements and the status."""

from __future__ import annotations

from controller.dimming.dimming_limits import EffectiveLimit
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import CommandAnswer, Measured
from controller.dimming.notifications import BACKEND, GRID_OPERATOR, DimmingSpan
from controller.load_management import events as site_events
from controller.services.dimming_history import DimmingHistory
from controller.services.dimming_notifier import DimmingNotifier
from controller.services.load_management_service import LoadManagementService
from controller.services.station_profiles import StationProfiles
from controller.services.wall_clock import utc
from controller.web.status_model import DimmingStatus
from drivers.reading import MeterState


class DimmingOutput:
    """Output of one site's dimming. `voltage` is the nominal one (V)."""

    def __init__(
        self,
        settings: DimmingSettings,
        voltage: float,
        load_management: LoadManagementService,
        profiles: StationProfiles,
        notifier: DimmingNotifier,
    ) -> None:
        self._settings = settings
        self._load_management = load_management
        self._profiles = profiles
        self._history = DimmingHistory(settings, voltage)
        self._notifier = notifier

    def status(self, effective: EffectiveLimit, records: int, unwritten: int) -> DimmingStatus:
        """Return the status; `records`: number of evidence records, `unwritten`: of those not written."""
        return self._history.status(effective, effective.explain(self._format_end), records, unwritten)

    def on_meter_state(self, state: MeterState) -> bool:
        """Take the state of a meter; return True if it is that of the grid connection."""
        return self._history.on_meter_state(state, self._load_management.site.circuits[0].meter)

    def measure(self, *, has_decisions: bool) -> Measured:
        """Return the draw of the controllable EVSEs, and their limits with reasons if `has_decisions`."""
        load_management, devices = self._load_management, self._settings.devices
        views = load_management.view_evses(devices) if has_decisions else []
        return self._history.measure(load_management.read_draws(devices), views)

    def count_answer(self, answer: CommandAnswer) -> None:
        """Count the answer to a command."""
        self._history.count_answer(answer)

    def report_effect(self, report: bytes) -> None:
        """Send the signed report of a command's effect to the backend."""
        self._notifier.report_effect(report)

    def send_checkpoint(self, line: bytes) -> None:
        """Send a line of the evidence log to the backend, as a witness."""
        self._notifier.send_checkpoint(line)

    def notify(self, effective: EffectiveLimit, now: float) -> None:
        """Notify the backend and displays of the limit that applies."""
        self._notifier.notify(self._span(effective, now))

    def update_displays(self) -> None:
        """Notify stations that have connected since."""
        self._notifier.update_displays()

    def repeat(self) -> None:
        """Notify the backend again: its link was opened."""
        self._notifier.repeat()

    def limit(self, effective: EffectiveLimit, wall: float) -> None:
        """Send the limit that applies from `wall` on (POSIX s) to load management."""
        total = effective.total
        self.mark_dimmed(effective)
        bounds = [*effective.evses.values(), *([] if total is None else [total])]
        self._load_management.handle_event(
            site_events.SiteDimmed(
                total_w=None if total is None else total.watts,
                phases_w=effective.phases_w,
                evses_w={ref: bound.watts for ref, bound in effective.evses.items()},
                why=effective.explain(self._format_end),
                whys={ref: bound.explain(self._format_end) for ref, bound in effective.evses.items()},
                until=min((bound.until for bound in bounds if bound.until is not None), default=None),
            )
        )
        self._history.on_limit(effective, wall)

    def mark_dimmed(self, effective: EffectiveLimit) -> None:
        """Mark the EVSEs that are limited: their backends are notified with that reason."""
        is_limited_together = effective.total is not None
        self._profiles.mark_dimmed(self._settings.devices if is_limited_together else effective.evses.keys())

    def _span(self, effective: EffectiveLimit, now: float) -> DimmingSpan | None:
        """Return the limit to notify: of all devices, or the sum where each has its own."""
        bounds = [effective.total] if effective.total else list(effective.evses.values())
        if not bounds or (effective.total is None and len(bounds) < len(self._settings.devices)):
            return None
        ends = [bound.until for bound in bounds]
        until = None if None in ends else max(each for each in ends if each is not None)
        kinds = {source.id: source.kind for source in self._settings.sources}
        by_backend = all(kinds[bound.source] == "ocpp" for bound in bounds)
        return DimmingSpan(
            watts=sum(bound.watts for bound in bounds),
            since=utc(now),
            until=None if until is None else utc(until),
            set_by=BACKEND if by_backend else GRID_OPERATOR,
        )

    def _format_end(self, until: float) -> str:
        return self._notifier.format_local_time(utc(until))
