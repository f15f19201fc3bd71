"""Notifications of dimming to the site's backend and on the displays of stations."""

from __future__ import annotations

import uuid
from zoneinfo import ZoneInfo

from controller.config import Config
from controller.config.schema import DimmingConfig
from controller.dimming import dimming_messages, notifications
from controller.dimming.dimming_limits import EffectiveLimit
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.notifications import BACKEND, GRID_OPERATOR, DimmingNotice, DimmingSpan
from controller.model.effects import UNTRACKED, OwnCall
from controller.services.machine.wall_clock import format_end, utc, utc_now
from controller.services.site_identity.site_mailbox import SiteMailbox
from controller.stations.registry import SessionRegistry
from controller.stations.session import StationSession

MESSAGE_ID = 140_001
"""Id of our message on every display: a newer one replaces it (2.0.1 Part 2, O01)."""


class DimmingNotifier:
    """Sends each change once; to a station that connects later, then. `mailbox`: to the site's backend."""

    def __init__(
        self,
        config: Config,
        dimming: DimmingConfig,
        settings: DimmingSettings,
        registry: SessionRegistry,
        mailbox: SiteMailbox,
    ) -> None:
        self._version = config.site.protocol
        self._language = dimming.language
        self._timezone = ZoneInfo(config.site.timezone)
        self._registry = registry
        self._settings = settings
        self._uses_displays = dimming.displays
        self._mailbox = mailbox
        self._span: DimmingSpan | None = None
        self._shown: dict[str, tuple[StationSession, DimmingSpan]] = {}

    def format_end(self, until: float) -> str:
        """Format the end of a limit (s, monotonic) in local time, with its date if it is not today."""
        return self._format_time(utc(until))

    def _format_time(self, moment: float) -> str:
        return format_end(moment, utc_now().timestamp(), self._timezone)

    def notify(self, effective: EffectiveLimit, now: float) -> None:
        """Notify the backend and displays of the limit that applies from now on."""
        before, self._span = self._span, self._find_span(effective, now)
        span = self._span
        notices: list[DimmingNotice] = []
        if before is not None and (span is None or span.set_by != before.set_by):
            # The backend has one limit of each source: that of another one does not replace it.
            notices.append(notifications.to_backend_no_more(self._version, before.set_by))
        if span is not None:
            notices.append(notifications.to_backend(self._version, span))
        for notice in notices:
            self._mailbox.post(notice.action, notice.payload)
        if notices:
            self.update_displays()

    def _find_span(self, effective: EffectiveLimit, now: float) -> DimmingSpan | None:
        """Return the limit to notify: that of all devices together, or the sum where each has its own."""
        effective = effective.binding(self._settings.devices)
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

    def repeat(self) -> None:
        """Repeat the last notice to a backend that is reached again."""
        notice = notifications.to_backend_no_more(self._version)
        if self._span is not None:
            notice = notifications.to_backend(self._version, self._span)
        self._mailbox.post(notice.action, notice.payload)

    def report_effect(self, report: bytes) -> None:
        """Send the signed report of a command's effect to the backend."""
        self._mailbox.post(dimming_messages.ACTION, dimming_messages.effect(self._version, report))

    def send_checkpoint(self, line: bytes) -> None:
        """Send a line of the evidence log to the backend, as a witness."""
        self._mailbox.post(dimming_messages.ACTION, dimming_messages.checkpoint(self._version, line))

    def update_displays(self) -> None:
        """Update the displays of the connected stations."""
        stations = {ref.station for ref in self._settings.devices} if self._uses_displays else ()
        for station in sorted(stations):
            session = self._registry.find_session(station)
            shown = self._shown.get(station)
            if session is None or not session.is_open:
                continue
            on_it = shown[1] if shown is not None and shown[0] is session else None
            if self._span is not None and on_it != self._span:
                self._shown[station] = (session, self._span)
                self._show(session, self._span)
            elif self._span is None and shown is not None:
                del self._shown[station]
                off = notifications.off_display(session.version, MESSAGE_ID)
                session.call(OwnCall(UNTRACKED, str(uuid.uuid4()), off.action, off.payload))

    def _show(self, session: StationSession, span: DimmingSpan) -> None:
        until = "" if span.until is None else self._format_time(span.until)
        on = notifications.on_display(session.version, MESSAGE_ID, span, self._language, until)
        session.call(OwnCall(UNTRACKED, str(uuid.uuid4()), on.action, on.payload))
