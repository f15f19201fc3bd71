"""Records and reports of what follows from the effective limit: begin, decisions, measured outcome, end."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from controller.dimming import dimming_records
from controller.dimming.dimming_limits import EffectiveLimit, LostSources
from controller.dimming.dimming_messages import EFFECT_CONTEXT
from controller.dimming.dimming_records import CommandMoments, OpenCommand
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import DimmingAction, Measured, NotifyBackends, RecordEvidence
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.limit_effect import EffectWatch, LimitOutcome, Measurement
from controller.dimming.verification import ProofVerifier
from controller.model.observations import EvseRef

MOST_OPEN = 16
"""Commands whose effect is reported; of more, the newest."""
DECISIONS_APART_S = 60.0
"""Shortest time between two records of decisions under one limit."""

_OUTCOMES = {"failed": EvidenceKind.FAILURE, "exceeded": EvidenceKind.FAILURE}


class OutcomeReporter:
    """Outcome of the limits of one grid connection, from `now` on (s, monotonic)."""

    def __init__(self, settings: DimmingSettings, signatures: ProofVerifier, now: float) -> None:
        self.measurement: Measurement | None = None
        self._settings = settings
        self._signatures = signatures
        self._effective = EffectiveLimit()
        self._dimmed_since = now
        self._ended_unless_at = math.inf
        """Time (s) from which on the limit of before a restart has ended if none applies; inf: none was."""
        self._watch: EffectWatch | None = None
        self._open: list[OpenCommand] = []
        self._decisions: Mapping[EvseRef, tuple[float, str]] = {}
        self._decided_at = -math.inf

    @property
    def deadline(self) -> float | None:
        """Time of the next outcome by time alone; None: there is none."""
        return None if self._watch is None else self._watch.deadline

    @property
    def dimmed_since(self) -> float | None:
        """Time from which on a limit has applied (s, monotonic); None: none applies."""
        return self._dimmed_since if self._effective.dimmed or self._is_restored else None

    def restore(self, dimmed_since: float, ended_at: float, now: float) -> None:
        """Restore that a limit applied before a restart, from `dimmed_since` on (s, monotonic).

        It has ended unless one applies at `ended_at`.
        """
        self._dimmed_since, self._ended_unless_at = min(now, dimmed_since), ended_at

    def add_command(self, command: OpenCommand) -> None:
        """Report the effect of this command, too."""
        self._open.append(command)
        del self._open[:-MOST_OPEN]

    @property
    def _is_restored(self) -> bool:
        return self._ended_unless_at < math.inf

    def on_limit(
        self, effective: EffectiveLimit, lost: LostSources, at: CommandMoments
    ) -> list[DimmingAction]:
        """Record that another limit applies, and the sources that are lost."""
        was, self._effective = self._effective, effective
        self._decisions, self._decided_at = {}, -math.inf
        if not effective.dimmed:
            self._watch = None
            self._open = [each for each in self._open if each.begins > at.now]
            lasted = {"lastedS": round(at.now - self._dimmed_since, 3)}
            readings = dimming_records.readings("end", self.measurement, at)
            return [
                RecordEvidence(EvidenceKind.READINGS, readings),
                RecordEvidence(EvidenceKind.RELEASE, lasted),
            ]
        if not was.dimmed and not self._is_restored:
            self._dimmed_since = at.now
        self._ended_unless_at = math.inf
        self._watch = EffectWatch(effective, self.measurement, at.now)
        readings = dimming_records.readings("before", self.measurement, at)
        return [self.record_limit(lost, at), RecordEvidence(EvidenceKind.READINGS, readings)]

    def record_limit(self, lost: LostSources, at: CommandMoments) -> RecordEvidence:
        """Return the record of the limit that applies, and of the sources that are lost."""
        return RecordEvidence(EvidenceKind.LIMIT, dimming_records.limit(self._effective, lost, at))

    def on_measured(self, event: Measured, at: CommandMoments) -> list[DimmingAction]:
        """Compare a measurement with the limit; values that are not finite are unknown."""
        devices_w = {ref: _finite(watts) for ref, watts in event.devices_w.items()}
        self._decisions = event.decisions or self._decisions
        self.measurement = Measurement(at.now, devices_w, _finite(event.grid_w))
        if self._watch is None:
            return []
        return self._report_all(self._watch.on_measurement(self.measurement), at)

    def on_time(self, at: CommandMoments) -> list[DimmingAction]:
        """Return what follows from the time that has passed."""
        if self._watch is not None:
            return self._report_all(self._watch.pass_time(at.now), at)
        if at.now < self._ended_unless_at:
            return []
        self._ended_unless_at = math.inf
        since = at.text(self._dimmed_since)
        return [RecordEvidence(EvidenceKind.RELEASE, {"since": since, "endedWhileStopped": True})]

    def needs_decisions(self, now: float) -> bool:
        """Return True if decisions are to be recorded: once for each limit, and then at intervals."""
        return self._effective.dimmed and now - self._decided_at >= DECISIONS_APART_S

    def record_decisions(self, at: CommandMoments) -> list[DimmingAction]:
        """Record the decision for each EVSE where that is due."""
        if not self._decisions or not self.needs_decisions(at.now):
            return []
        self._decided_at = at.now
        body = {str(ref): {"a": a, "why": why} for ref, (a, why) in sorted(self._decisions.items())}
        self._decisions = {}
        return [RecordEvidence(EvidenceKind.DECISION, {"devices": body})]

    def _report_all(self, outcomes: Sequence[LimitOutcome], at: CommandMoments) -> list[DimmingAction]:
        actions: list[DimmingAction] = []
        for outcome in outcomes:
            kind = _OUTCOMES.get(outcome.phase, EvidenceKind.READINGS)
            actions.append(RecordEvidence(kind, dimming_records.outcome(outcome, at)))
            if outcome.phase in ("reached", "failed"):
                actions += self._report(outcome, at)
        return actions

    def _report(self, outcome: LimitOutcome, at: CommandMoments) -> list[DimmingAction]:
        """Report the outcome of all commands that have begun; a reached one is reported once."""
        begun = [each for each in self._open if each.begins <= at.now]
        if outcome.phase == "reached":
            self._open = [each for each in self._open if each not in begun]
        before = None if self._watch is None else self._watch.before
        point = self._settings.connection_point
        actions: list[DimmingAction] = []
        for each in begun:
            report = dimming_records.effect(point, each, self._effective, before, outcome, at)
            actions.append(NotifyBackends(each.via, self._signatures.sign(report, EFFECT_CONTEXT, at.utc)))
        return actions


def _finite(watts: float | None) -> float | None:
    return watts if watts is not None and math.isfinite(watts) else None
