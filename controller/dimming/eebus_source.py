"""Sources of kind "eebus": the LPC state machines of `drivers`, among several sources of limits.

Each write of an energy guard and its answer are recorded as evidence, with the datagram as received; so are
writes that limit production, which are answered elsewhere and reported, not enforced.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from controller.dimming import dimming_records
from controller.dimming.dimming_limits import SourceLimit
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import (
    DimmingAction,
    EebusAction,
    EebusReported,
    ProductionAnswered,
    RecordEvidence,
)
from controller.dimming.evidence_chain import EvidenceKind
from controller.model.effects import LogEntry
from controller.model.rate_limits import TokenBucket
from drivers.coded_text import coded
from drivers.eebus import lpc


class EebusSource:
    """One energy guard and its limit. Times are s, monotonic."""

    def __init__(self, source: str, failsafe: lpc.Failsafe, minimum_w: float, now: float) -> None:
        self.source = source
        self._system = lpc.ControllableSystem(failsafe, minimum_w, now)

    @property
    def failsafe(self) -> lpc.Failsafe:
        """Failsafe values that the guard has written."""
        return self._system.failsafe

    @property
    def view(self) -> lpc.LpcView:
        """State of the machine."""
        return self._system.view

    def handle(self, event: lpc.Event, now: float) -> list[lpc.Action]:
        """Process an event of the guard, or the passing of time."""
        return self._system.handle(event, now)

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """Limit that applies now."""
        if self._system.limit_w is None:
            return ()
        return (
            SourceLimit(
                source=self.source,
                watts=self._system.limit_w,
                begins=now,
                until=self._system.until,
                proof=coded("EEBUS LPC: {state}", state=self._system.state.value),
                is_assumed=self._system.state in (lpc.State.INIT, lpc.State.FAILSAFE),
            ),
        )

    def deadline(self, now: float) -> float | None:
        """Time of the next transition; None: there is none."""
        return self._system.deadline


class EebusSources:
    """All energy guards of a site. Refused writes are recorded as far as `refusals` allow."""

    def __init__(self, settings: DimmingSettings, refusals: TokenBucket, now: float) -> None:
        self._settings = settings
        self._refusals = refusals
        self.sources = _make_sources(settings, {}, now)
        """The guards by their id."""

    @property
    def failsafes(self) -> dict[str, lpc.Failsafe]:
        """Failsafe values to store, by the id of their guard."""
        return {name: source.failsafe for name, source in self.sources.items()}

    def restore(self, failsafes: Mapping[str, lpc.Failsafe], now: float) -> None:
        """Start again after a restart with the stored failsafe values."""
        self.sources = _make_sources(self._settings, failsafes, now)

    def on_tick(self, now: float) -> tuple[list[DimmingAction], bool]:
        """Process the passing of time, see `handle`."""
        actions: list[DimmingAction] = []
        changed = False
        for source in self.sources:
            more, changes = self.handle(EebusReported(source, lpc.Tick()), now)
            actions += more
            changed |= changes
        return actions, changed

    def handle(self, report: EebusReported, now: float) -> tuple[list[DimmingAction], bool]:
        """Process an event of a guard; return the actions, and True if its failsafe values have changed."""
        source, event = report.source, report.event
        actions: list[DimmingAction] = []
        changed = False
        if isinstance(event, lpc.ObedienceChanged):
            body = {"source": source, "obstacle": event.obstacle}
            actions.append(RecordEvidence(EvidenceKind.VERDICT, body))
            obeyed = f"refused reason={event.obstacle}" if event.obstacle else "obeyed"
            severity = logging.WARNING if event.obstacle else logging.INFO
            actions.append(LogEntry(severity, f"active limits {obeyed} source={source}"))
        for action in self.sources[source].handle(event, now):
            match action:
                case lpc.SaveFailsafe():
                    changed = True
                case lpc.Moved():
                    actions.append(_log_transition(source, action))
                case lpc.Answered():
                    answered = self._raised_answer(source, event, action)
                    state = self.sources[source].view.state
                    actions += self._records(report, answered, state, "consume", now)
                    actions.append(EebusAction(source, answered))
        return actions, changed

    def record_production(self, event: ProductionAnswered, now: float) -> list[DimmingAction]:
        """Return the evidence of a write that limits production, and of its answer."""
        return self._records(event.report, event.answered, event.state, "produce", now)

    def _raised_answer(self, source: str, event: lpc.Event, answered: lpc.Answered) -> lpc.Answered:
        """Return the answer with a note if an accepted limit is raised to the legal minimum."""
        if not answered.accepted or not isinstance(event, lpc.LimitWritten) or not event.active:
            return answered
        written = SourceLimit(source=source, watts=event.watts, begins=0.0)
        raised_w = self._settings.raised(written).watts
        if raised_w is None or raised_w <= event.watts:
            return answered
        return lpc.Answered(True, f"{event.watts:g} W is raised to the legal minimum of {raised_w:g} W")

    def _records(
        self, report: EebusReported, answered: lpc.Answered, state: lpc.State, direction: str, now: float
    ) -> list[DimmingAction]:
        """Return the evidence of a write and its answer; of refused ones, at a limited rate."""
        event = report.event
        if not isinstance(event, lpc.LimitWritten | lpc.FailsafeWritten):
            return []
        if not answered.accepted and not self._refusals.try_take(now):
            return []
        verdict: dict[str, Any] = {
            "source": report.source,
            "direction": direction,
            "accepted": answered.accepted,
            "reason": answered.reason,
            "state": state.value,
        }
        written = dimming_records.written(report, event) | {"direction": direction}
        return [
            RecordEvidence(EvidenceKind.COMMAND, written),
            RecordEvidence(EvidenceKind.VERDICT, verdict),
        ]


def _make_sources(
    settings: DimmingSettings, failsafes: Mapping[str, lpc.Failsafe], now: float
) -> dict[str, EebusSource]:
    """Return the sources: after a start only their failsafe values are known."""
    duration_s = max(settings.failsafe.duration_s, lpc.FAILSAFE_SHORTEST_S)
    default = lpc.Failsafe(settings.failsafe.watts, duration_s)
    return {
        each.id: EebusSource(
            each.id,
            failsafes.get(each.id, default),
            settings.minimum_w if each.refuses_below_minimum else 0.0,
            now,
        )
        for each in settings.sources
        if each.kind == "eebus"
    }


def _log_transition(source: str, moved: lpc.Moved) -> LogEntry:
    level = logging.WARNING if moved.state is lpc.State.FAILSAFE else logging.INFO
    remedy = "; check the control box and its connection" if level > logging.INFO else ""
    return LogEntry(
        level,
        f"LPC state changed source={source} from={moved.origin.value} to={moved.state.value} "
        f"transition={moved.number}{remedy}",
    )
