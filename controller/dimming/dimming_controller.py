"""Dimming controller: from commands, sources and measurements to one effective limit and its evidence.

Sans-IO: a service passes events with the time, and carries out the actions in their order. It is composed of
small machines: the handling of commands, limit sources, the effective limit, and its measured outcome.
"""

from __future__ import annotations

import logging
import math

from controller.dimming import dimming_records
from controller.dimming.command_handler import CommandHandler
from controller.dimming.digital_inputs import ChatterReport, DigitalInputs
from controller.dimming.dimming_limits import (
    EffectiveLimit,
    LimitSource,
    LostSources,
    SourceLimit,
    effective,
    lost_sources,
)
from controller.dimming.dimming_records import CommandMoments
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.eebus_source import EebusSource, EebusSources
from controller.dimming.events import (
    ORDER,
    ClockTrusted,
    CommandReceived,
    DimmingAction,
    DimmingChanged,
    DimmingEvent,
    DimmingMemory,
    DimmingTick,
    EebusReported,
    InputsRead,
    Measured,
    ProductionAnswered,
    RecordEvidence,
    SourceLimited,
    SourceReached,
)
from controller.dimming.outcome_reports import OutcomeReporter
from controller.dimming.verification import ProofVerifier
from controller.model.effects import LogEntry
from controller.model.journal import Persist

SOURCES_REPORT_S = 5.0
"""Time after a restart within which the backend's limits are reported (s)."""


class DimmingController:
    """The dimming of one grid connection, from `now` on (s, monotonic)."""

    def __init__(self, settings: DimmingSettings, signatures: ProofVerifier, now: float) -> None:
        self._settings = settings
        self._limit_sources = {
            each.id: LimitSource(each.id, settings.failsafe, each.lost_after_s, now)
            for each in settings.sources
            if each.kind in ("signed", "ocpp")
        }
        self._signed_sources = [
            self._limit_sources[each.id] for each in settings.sources if each.kind == "signed"
        ]
        self._inputs = {
            each.id: DigitalInputs(each.id, each.contacts)
            for each in settings.sources
            if each.contacts is not None
        }
        self._commands = CommandHandler(settings, signatures, self._limit_sources)
        self._eebus = EebusSources(settings, self._commands.refusals, now)
        self._outcomes = OutcomeReporter(settings, signatures, now)
        self._clock_trusted = False
        self._to_restore: DimmingMemory | None = None
        """Stored state, to be restored again once the time is known."""
        self._restored_at = now
        self._is_changed = False
        """True if the stored state is to be replaced."""
        self._effective = EffectiveLimit()
        self._lost: LostSources = ()
        self._sources_change_at = -math.inf
        """Time (s) of the next change of a source by itself; until then only its own events change it."""

    @property
    def effective(self) -> EffectiveLimit:
        """The limit that applies."""
        return self._effective

    @property
    def lost(self) -> LostSources:
        """The sources that are lost, also where a lower limit of another one holds."""
        return self._lost

    @property
    def deadline(self) -> float:
        """Time of the next DimmingTick (s, monotonic; inf: not before another event)."""
        outcome = self._outcomes.deadline
        return self._sources_change_at if outcome is None else min(self._sources_change_at, outcome)

    def needs_decisions(self, now: float) -> bool:
        """Return True if the next `Measured` is to have the decision for each EVSE."""
        return self._outcomes.needs_decisions(now)

    def eebus_source(self, source: str) -> EebusSource:
        """Return a source of kind "eebus"."""
        return self._eebus.sources[source]

    def restore(self, memory: DimmingMemory, now: float, utc: float, *, clock_trusted: bool) -> None:
        """Restore the state of before a restart, before any other event; a DimmingTick follows.

        Without a clock the duration is unknown: then everything still holds as long as when saved.
        """
        self._clock_trusted = clock_trusted
        self._to_restore = None if clock_trusted else memory
        self._restored_at = now
        self._commands.restore(memory.obeyed, memory.unknown_until)
        self._eebus.restore(memory.failsafes, now)
        utc = max(utc, memory.saved) if clock_trusted else memory.saved
        for source in self._limit_sources.keys() & memory.limits:
            self._limit_sources[source].restore(memory.limits[source], now, utc)
        if memory.dimmed_since is not None:
            # The backend's limits are not among the stored ones: they are reported a moment later.
            is_backend_source = any(each.kind == "ocpp" for each in self._settings.sources)
            ended_at = now + SOURCES_REPORT_S if is_backend_source else now
            self._outcomes.restore(memory.dimmed_since + now - utc, ended_at, now)

    def handle(self, event: DimmingEvent, now: float, utc: float) -> list[DimmingAction]:
        """Handle one event and return the actions in order. `utc` is POSIX s.

        Records are marked where their time may be wrong.
        """
        at = CommandMoments(now, utc)
        dimmed_since = self._outcomes.dimmed_since
        found = self._handle(event, at)
        if self._is_changed or self._outcomes.dimmed_since != dimmed_since:
            self._is_changed = False
            found.append(self._persist(at))
        actions = [action for kind in ORDER for action in found if type(action) is kind]
        if self._clock_trusted:
            return actions
        return [
            RecordEvidence(each.kind, {**each.body, "clockTrusted": False})
            if isinstance(each, RecordEvidence)
            else each
            for each in actions
        ]

    def _handle(self, event: DimmingEvent, at: CommandMoments) -> list[DimmingAction]:
        now = at.now
        actions: list[DimmingAction] = []
        match event:
            case CommandReceived():
                return self._on_command(event, at)
            case SourceLimited():
                actions += self._set_limit(event, at)
            case SourceReached(source=source, there=there):
                self._limit_sources[source].set_reached(there, now)
                self._is_changed |= self._settings.can_be_lost(source)
            case EebusReported() | DimmingTick():
                actions += self._on_eebus(event, at)
            case ProductionAnswered():
                return self._eebus.record_production(event, now)
            case InputsRead(source=source, levels=levels):
                self._inputs[source].read(levels, now)
                actions += [_chatter_entry(source, each) for each in self._inputs[source].take_reports()]
            case Measured():
                actions += self._outcomes.on_measured(event, at)
            case ClockTrusted(trusted=trusted):
                self._set_clock_trusted(trusted, at)
        if isinstance(event, Measured) and now < self._sources_change_at:  # it changes no source
            return actions + self._outcomes.on_time(at) + self._outcomes.record_decisions(at)
        return actions + self._update_effective(at) + self._outcomes.record_decisions(at)

    # -- what comes in --------------------------------------------------------------------------------

    def _on_command(self, event: CommandReceived, at: CommandMoments) -> list[DimmingAction]:
        before = self._outcomes.measurement
        limiting = self._effective.sources
        handled = self._commands.handle(event, limiting, at, clock_trusted=self._clock_trusted)
        done: list[DimmingAction] = []
        if (command := handled.open_command) is not None:
            self._outcomes.add_command(command)
            self._is_changed = True
            done = self._update_effective(at)
        return [*self._commands.answer(handled, self._effective, before, at), *done]

    def _on_eebus(self, event: EebusReported | DimmingTick, at: CommandMoments) -> list[DimmingAction]:
        if isinstance(event, EebusReported):
            actions, changed = self._eebus.handle(event, at.now)
        else:
            actions, changed = self._eebus.on_tick(at.now)
        self._is_changed |= changed
        return actions

    def _set_limit(self, event: SourceLimited, at: CommandMoments) -> list[DimmingAction]:
        self._limit_sources[event.source].set_limit(event.begin_limit(at.now), (), at.now)
        return [dimming_records.limit_set(event, at)]

    def _set_clock_trusted(self, trusted: bool, at: CommandMoments) -> None:
        self._clock_trusted = trusted
        if not trusted:
            return
        self._is_changed |= self._commands.confirm_loss(at.utc)
        if self._to_restore is None:
            return
        memory, self._to_restore = self._to_restore, None
        utc = max(at.utc, memory.saved)
        for source in self._limit_sources.keys() & memory.limits:
            self._limit_sources[source].restore_times(memory.limits[source], at.now, utc)
        self._is_changed = True

    # -- what comes out -------------------------------------------------------------------------------

    def _update_effective(self, at: CommandMoments) -> list[DimmingAction]:
        """Compute the effective limit, the lost sources and the outcome so far."""
        limits: list[SourceLimit] = []
        self._sources_change_at = math.inf
        for source in self._sources:
            limits += source.limits(at.now)
            changes_at = source.deadline(at.now)
            if changes_at is not None and changes_at < self._sources_change_at:
                self._sources_change_at = changes_at
        now_holds = effective(map(self._settings.raised, limits), at.now)
        was_lost, self._lost = self._lost, lost_sources(limits, at.now)
        if now_holds == self._effective and self._lost == was_lost:
            return self._outcomes.on_time(at)
        level = logging.WARNING if now_holds.dimmed else logging.INFO
        entry = LogEntry(level, dimming_records.describe_limit(now_holds, self._lost))
        if now_holds == self._effective:
            # The limit holds on: its effect is watched as before, and nobody is notified of it again.
            return [entry, self._outcomes.record_limit(self._lost, at), *self._outcomes.on_time(at)]
        self._effective = now_holds
        return [DimmingChanged(now_holds), entry, *self._outcomes.on_limit(now_holds, self._lost, at)]

    # -- memory ---------------------------------------------------------------------------------------

    def _persist(self, at: CommandMoments) -> Persist:
        """Return the state to store; limits of kind "ocpp" are stored with their profiles.

        While the time of day is unknown, that of the restored state goes on: a limit keeps its end by it.
        """
        restored = self._to_restore
        utc = at.utc if restored is None else restored.saved + at.now - self._restored_at
        since = self._outcomes.dimmed_since
        memory = DimmingMemory(
            saved=utc,
            limits={each.source: each.memory(at.now, utc) for each in self._signed_sources},
            obeyed=self._commands.obeyed,
            failsafes=self._eebus.failsafes,
            dimmed_since=None if since is None else since + utc - at.now,
            unknown_until=self._commands.unknown_until,
        )
        return Persist((memory,))

    @property
    def _sources(self) -> tuple[LimitSource | EebusSource | DigitalInputs, ...]:
        return (*self._limit_sources.values(), *self._eebus.sources.values(), *self._inputs.values())


def _chatter_entry(source: str, report: ChatterReport) -> LogEntry:
    name = f"source={source} contact={report.contact} changes={report.changes}"
    if report.is_over:
        return LogEntry(logging.INFO, f"contact at rest again {name}")
    text = f"contact chatters {name}: it lifts only after a minute of rest; check its wiring and its relay"
    return LogEntry(logging.WARNING, text)
