"""Dimming controller: from commands, sources and measurements to one effective limit and its evidence.

Pure: a service passes events with the time, and carries out the actions in their order. It is composed of
small machines: verification of commands, limit sources, the effective limit, and its measured outcome.

Refused commands are rate limited, for anybody on a link can send them and each record is a durable write:
beyond the rate they are answered and counted, and the count is recorded.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from controller.dimming import dimming_records
from controller.dimming.digital_inputs import ChatterReport, DigitalInputs
from controller.dimming.dimming_command import DimmingCommand
from controller.dimming.dimming_messages import digest
from controller.dimming.dimming_records import CommandMoments, CommandStanding, OpenCommand
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.eebus_source import EebusSource
from controller.dimming.effective_limit import NO_PHASES, EffectiveLimit, SourceLimit, effective
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    Decided,
    DimmingAction,
    DimmingChanged,
    DimmingEvent,
    DimmingLogEntry,
    DimmingMemory,
    DimmingTick,
    EebusAction,
    EebusReported,
    InputsRead,
    Measured,
    MemoryChecked,
    NotifyBackends,
    PersistDimming,
    RecordEvidence,
    SourceLimited,
    SourceReached,
    in_order,
)
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.key_proofs import ProofVerifier
from controller.dimming.limit_effect import EffectWatch, LimitOutcome, Measurement
from controller.dimming.limit_source import LimitSource, SourceFailsafe
from controller.dimming.verification import CommandVerdict, Issuers, Situation, Verification
from controller.model.observations import EvseRef
from controller.model.rate_limits import TokenBucket
from drivers.eebus import lpc

REFUSALS_A_MINUTE = 60
"""Refused commands that are recorded."""
LOGGED_A_MINUTE = 6
"""Refusals that are logged."""
MOST_OPEN = 16
"""Commands whose effect is reported; of more, the newest."""
DECISIONS_APART_S = 60.0
"""Shortest time between two records of decisions under one limit."""

_OUTCOMES = {"failed": EvidenceKind.FAILURE, "exceeded": EvidenceKind.FAILURE}


class DimmingController:
    """The dimming of one grid connection, from `now` on (s, monotonic)."""

    def __init__(self, settings: DimmingSettings, signatures: ProofVerifier, now: float) -> None:
        self._settings = settings
        self._signatures = signatures
        self._limit_sources = {
            each.id: LimitSource(each.id, settings.failsafe, each.lost_after_s, now)
            for each in settings.sources
            if each.kind in ("signed", "ocpp")
        }
        self._eebus_sources = _eebus_sources(settings, {}, now)
        self._inputs = {
            each.id: DigitalInputs(each.id, each.contacts)
            for each in settings.sources
            if each.contacts is not None
        }
        self._verification = _verification(settings, signatures)
        self._clock_trusted = False
        self._memory_durable = True
        self._to_restore: DimmingMemory | None = None
        """Stored state, to be restored again once the time is known."""
        self._effective = EffectiveLimit()
        self._dimmed_since = now
        self._watch: EffectWatch | None = None
        self._measurement: Measurement | None = None
        self._open: list[OpenCommand] = []
        self._refusals = TokenBucket(REFUSALS_A_MINUTE / 60, burst=REFUSALS_A_MINUTE)
        self._logged = TokenBucket(LOGGED_A_MINUTE / 60, burst=LOGGED_A_MINUTE)
        self._decisions: Mapping[EvseRef, tuple[float, str]] = {}
        self._decided_at = -math.inf

    @property
    def effective(self) -> EffectiveLimit:
        """The limit that applies."""
        return self._effective

    def deadline(self, now: float) -> float | None:
        """Return when the next DimmingTick is due; None: after the next event."""
        moments = [each.deadline(now) for each in self._sources]
        moments.append(None if self._watch is None else self._watch.deadline)
        return min((at for at in moments if at is not None), default=None)

    def restore(self, memory: DimmingMemory, now: float, utc: float, *, clock_trusted: bool) -> None:
        """Restore the state of before a restart, before any other event; a DimmingTick follows.

        Without a clock the duration is unknown: then everything still holds as long as when saved.
        """
        self._clock_trusted = clock_trusted
        self._to_restore = None if clock_trusted else memory
        self._verification.restore(memory.said)
        self._eebus_sources = _eebus_sources(self._settings, memory.failsafes, now)
        self._restore_limits(memory, now, utc if clock_trusted else memory.saved)

    def handle(self, event: DimmingEvent, now: float, utc: float) -> list[DimmingAction]:
        """Handle one event and return the actions in order. `utc` is POSIX s.

        Records are marked where their time may be wrong.
        """
        actions = in_order(self._handle(event, CommandMoments(now, utc)))
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
                actions += [self._persist(at)] if self._settings.can_be_lost(source) else []
            case EebusReported():
                actions += self._on_eebus(event, at)
            case InputsRead(source=source, levels=levels):
                self._inputs[source].read(levels, now)
                actions += [_chatter_entry(source, each) for each in self._inputs[source].take_reports()]
            case Measured(devices_w=devices_w, grid_w=grid_w):
                actions += self._on_measurement(_measurement(now, devices_w, grid_w), at)
            case Decided(decisions=decisions):
                self._decisions = decisions
            case ClockTrusted(trusted=trusted):
                self._set_clock_trusted(trusted, at)
            case MemoryChecked(durable=durable):
                self._memory_durable = durable
            case DimmingTick():
                for source in self._eebus_sources:
                    actions += self._on_eebus(EebusReported(source, lpc.Tick()), at)
        return actions + self._update_effective(at) + self._record_decisions(at)

    # -- what comes in --------------------------------------------------------------------------------

    def _on_command(self, event: CommandReceived, at: CommandMoments) -> list[DimmingAction]:
        before = self._measurement
        holding = {*self._effective.sources} | {
            name for name, each in self._limit_sources.items() if each.has_limit(at.now)
        }
        situation = Situation(
            utc=at.utc,
            clock_trusted=self._clock_trusted,
            memory_durable=self._memory_durable,
            holding=holding,
        )
        verdict = self._verification.verify_command(event.received, situation)
        done: list[DimmingAction] = []
        standing: CommandStanding | None = None
        if verdict.reason is None and verdict.command is not None and verdict.source is not None:
            limit = self._obey(verdict.command, verdict.source, at)
            self._open.append(
                OpenCommand(
                    command_id=verdict.command.command_id,
                    digest=digest(event.received),
                    via=event.via,
                    begins=limit.begins,
                )
            )
            del self._open[:-MOST_OPEN]
            done = [self._persist(at), *self._update_effective(at)]
            standing = dimming_records.standing(
                self._settings, self._effective, limit, verdict.command, at.now
            )
        answer = self._signatures.sign(
            dimming_records.acknowledgement(
                self._settings.connection_point, event, verdict, standing, before, at
            ),
            at.utc,
        )
        accepted = standing is not None
        return [
            *self._record_command(event, verdict, answer, at),
            *done,
            CommandAnswer(event.token, answer, accepted, verdict.reason),
            *self._log_entry(event, verdict, at),
        ]

    def _log_entry(
        self, event: CommandReceived, verdict: CommandVerdict, at: CommandMoments
    ) -> list[DimmingAction]:
        """Return the line for the log; of refusals, not more than `LOGGED_A_MINUTE`."""
        if verdict.reason is None:
            return [DimmingLogEntry(logging.INFO, _log_text(event, verdict))]
        if not self._logged.try_take(at.now):
            return []
        unlogged = self._logged.pop_rejected()
        more = f" ({unlogged} more refusals were not logged)" if unlogged else ""
        return [DimmingLogEntry(logging.WARNING, _log_text(event, verdict) + more)]

    def _obey(self, command: DimmingCommand, source: str, at: CommandMoments) -> SourceLimit:
        """Set the limit of a command; return it in monotonic time."""
        one, two, three = command.limit_phases_w or NO_PHASES
        limit = SourceLimit(
            source=source,
            watts=command.limit_w,
            begins=at.now + max(0.0, command.begins - at.utc),
            until=at.now + command.ends - at.utc,
            phases_w=(one, two, three),
            proof=f"command {command.command_id}",
        )
        limit_source = self._limit_sources[source]
        limit_source.set_limit(limit, command.evses, at.now)
        if command.failsafe is not None:
            failsafe = SourceFailsafe(command.failsafe.limit_w, command.failsafe.duration_s)
            limit_source.set_failsafe(failsafe)
        return limit

    def _record_command(
        self, event: CommandReceived, verdict: CommandVerdict, answer: bytes, at: CommandMoments
    ) -> list[DimmingAction]:
        if verdict.reason is not None and not self._refusals.try_take(at.now):
            return []
        left_out = self._refusals.pop_rejected()
        return [
            RecordEvidence(EvidenceKind.COMMAND, dimming_records.received(event)),
            RecordEvidence(
                EvidenceKind.VERDICT, dimming_records.verdict_body(event, verdict, answer, left_out)
            ),
        ]

    def _set_limit(self, event: SourceLimited, at: CommandMoments) -> list[DimmingAction]:
        limit = SourceLimit(
            source=event.source,
            watts=event.watts,
            begins=at.now,
            until=event.until,
            proof=event.proof,
        )
        self._limit_sources[event.source].set_limit(limit, (), at.now)
        body = {"source": event.source, "watts": event.watts, "proof": event.proof}
        return [RecordEvidence(EvidenceKind.COMMAND, body | {"until": at.text(event.until)})]

    def eebus_view(self, source: str) -> lpc.LpcView:
        """Return the state of the LPC machine of a source of kind "eebus"."""
        return self._eebus_sources[source].view

    def _on_eebus(self, report: EebusReported, at: CommandMoments) -> list[DimmingAction]:
        source, event = report.source, report.event
        actions: list[DimmingAction] = []
        if isinstance(event, lpc.ObedienceChanged):
            body = {"source": source, "obstacle": event.obstacle}
            actions.append(RecordEvidence(EvidenceKind.VERDICT, body))
            obeyed = f"refused reason={event.obstacle}" if event.obstacle else "obeyed"
            severity = logging.WARNING if event.obstacle else logging.INFO
            actions.append(DimmingLogEntry(severity, f"active limits {obeyed} source={source}"))
        for action in self._eebus_sources[source].handle(event, at.now):
            match action:
                case lpc.SaveFailsafe():
                    actions.append(self._persist(at))
                case lpc.Moved(number=number, origin=origin, state=state):
                    level = logging.WARNING if state is lpc.State.FAILSAFE else logging.INFO
                    remedy = "; check the control box and its connection" if level > logging.INFO else ""
                    text = (
                        f"LPC state changed source={source} from={origin.value} to={state.value} "
                        f"transition={number}{remedy}"
                    )
                    actions.append(DimmingLogEntry(level, text))
                case lpc.Answered():
                    answered = self._raised_answer(source, event, action)
                    actions += self._eebus_records(report, answered, at)
                    actions.append(EebusAction(source, answered))
        return actions

    def _raised_answer(self, source: str, event: lpc.Event, answered: lpc.Answered) -> lpc.Answered:
        """Return the answer with a note if an accepted limit is raised to the legal minimum."""
        if not answered.accepted or not isinstance(event, lpc.LimitWritten) or not event.active:
            return answered
        written = SourceLimit(source=source, watts=event.watts, begins=0.0)
        raised_w = self._settings.raised(written).watts
        if raised_w is None or raised_w <= event.watts:
            return answered
        return lpc.Answered(True, f"{event.watts:g} W is raised to the legal minimum of {raised_w:g} W")

    def _eebus_records(
        self, report: EebusReported, answered: lpc.Answered, at: CommandMoments
    ) -> list[DimmingAction]:
        """Return the evidence of a write and its answer; of refused ones, at a limited rate."""
        event = report.event
        if not isinstance(event, lpc.LimitWritten | lpc.FailsafeWritten):
            return []
        if not answered.accepted and not self._refusals.try_take(at.now):
            return []
        verdict = {
            "source": report.source,
            "accepted": answered.accepted,
            "reason": answered.reason,
            "state": self._eebus_sources[report.source].view.state.value,
        }
        return [
            RecordEvidence(EvidenceKind.COMMAND, dimming_records.written(report, event)),
            RecordEvidence(EvidenceKind.VERDICT, verdict),
        ]

    def _set_clock_trusted(self, trusted: bool, at: CommandMoments) -> None:
        self._clock_trusted = trusted
        if trusted and self._to_restore is not None:
            memory, self._to_restore = self._to_restore, None
            self._restore_limits(memory, at.now, at.utc)

    # -- what comes out -------------------------------------------------------------------------------

    def _update_effective(self, at: CommandMoments) -> list[DimmingAction]:
        """Compute the effective limit and its outcome so far."""
        limits = [limit for source in self._sources for limit in source.limits(at.now)]
        now_holds = effective(map(self._settings.raised, limits), at.now)
        if now_holds == self._effective:
            return [] if self._watch is None else self._outcomes(self._watch.pass_time(at.now), at)
        was, self._effective = self._effective, now_holds
        changed: list[DimmingAction] = [
            DimmingChanged(now_holds),
            DimmingLogEntry(
                logging.WARNING if now_holds.dimmed else logging.INFO, dimming_records.in_words(now_holds)
            ),
        ]
        self._decisions, self._decided_at = {}, -math.inf
        if not now_holds.dimmed:
            self._watch = None
            self._open = [each for each in self._open if each.begins > at.now]
            lasted = {"lastedS": round(at.now - self._dimmed_since, 3)}
            readings = dimming_records.readings("end", self._measurement, at)
            return [
                *changed,
                RecordEvidence(EvidenceKind.READINGS, readings),
                RecordEvidence(EvidenceKind.RELEASE, lasted),
            ]
        if not was.dimmed:
            self._dimmed_since = at.now
        self._watch = EffectWatch(now_holds, self._measurement, at.now)
        readings = dimming_records.readings("before", self._measurement, at)
        return [
            *changed,
            RecordEvidence(EvidenceKind.LIMIT, dimming_records.limit(now_holds, at)),
            RecordEvidence(EvidenceKind.READINGS, readings),
        ]

    def _on_measurement(self, measurement: Measurement, at: CommandMoments) -> list[DimmingAction]:
        self._measurement = measurement
        return [] if self._watch is None else self._outcomes(self._watch.on_measurement(measurement), at)

    def _outcomes(self, outcomes: list[LimitOutcome], at: CommandMoments) -> list[DimmingAction]:
        actions: list[DimmingAction] = []
        for outcome in outcomes:
            kind = _OUTCOMES.get(outcome.phase, EvidenceKind.READINGS)
            actions.append(RecordEvidence(kind, dimming_records.outcome(outcome, at)))
            if outcome.phase in ("reached", "failed"):
                actions += self._report_outcome(outcome, at)
        return actions

    def _report_outcome(self, outcome: LimitOutcome, at: CommandMoments) -> list[DimmingAction]:
        """Report the outcome of all commands that have begun; a reached one is reported once."""
        begun = [each for each in self._open if each.begins <= at.now]
        if outcome.phase == "reached":
            self._open = [each for each in self._open if each not in begun]
        before = None if self._watch is None else self._watch.before
        point = self._settings.connection_point
        return [
            NotifyBackends(
                each.via,
                self._signatures.sign(
                    dimming_records.effect(point, each, self._effective, before, outcome, at), at.utc
                ),
            )
            for each in begun
        ]

    def _record_decisions(self, at: CommandMoments) -> list[DimmingAction]:
        """Record the decision for each EVSE, once for each limit and then at intervals."""
        if not (self._effective.dimmed and self._decisions) or at.now - self._decided_at < DECISIONS_APART_S:
            return []
        self._decided_at = at.now
        body = {str(ref): {"a": a, "why": why} for ref, (a, why) in sorted(self._decisions.items())}
        self._decisions = {}
        return [RecordEvidence(EvidenceKind.DECISION, {"devices": body})]

    # -- memory ---------------------------------------------------------------------------------------

    def _persist(self, at: CommandMoments) -> PersistDimming:
        """Return the state to store; limits of kind "ocpp" are stored with their profiles."""
        signed = [each.id for each in self._settings.sources if each.kind == "signed"]
        return PersistDimming(
            DimmingMemory(
                saved=at.utc,
                words={name: self._limit_sources[name].memory(at.now, at.utc) for name in signed},
                said=self._verification.obeyed,
                failsafes={name: guard.failsafe for name, guard in self._eebus_sources.items()},
            )
        )

    def _restore_limits(self, memory: DimmingMemory, now: float, utc: float) -> None:
        for source, saved in memory.words.items():
            if source in self._limit_sources:
                self._limit_sources[source].restore(saved, now, max(utc, memory.saved))

    @property
    def _sources(self) -> tuple[LimitSource | EebusSource | DigitalInputs, ...]:
        return (*self._limit_sources.values(), *self._eebus_sources.values(), *self._inputs.values())


def _chatter_entry(source: str, report: ChatterReport) -> DimmingLogEntry:
    name = f"source={source} contact={report.contact} changes={report.changes}"
    if report.is_over:
        return DimmingLogEntry(logging.INFO, f"contact at rest again {name}")
    text = f"contact chatters {name}: it lifts only after a minute of rest; check its wiring and its relay"
    return DimmingLogEntry(logging.WARNING, text)


def _eebus_sources(
    settings: DimmingSettings, failsafes: Mapping[str, lpc.Failsafe], now: float
) -> dict[str, EebusSource]:
    """Return the EEBUS sources: after a start only their failsafe values are known."""
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


def _verification(settings: DimmingSettings, signatures: ProofVerifier) -> Verification:
    issuers = [
        Issuers(id=each.id, role=each.role, rank=each.rank, signed=each.signed)
        for each in settings.sources
        if each.kind == "signed"
    ]
    ranks = {each.id: each.rank for each in settings.sources}
    return Verification(settings.connection_point, settings.devices, issuers, ranks, signatures)


def _measurement(now: float, devices_w: Mapping[EvseRef, float | None], grid_w: float | None) -> Measurement:
    """Return a measurement without values that are not finite."""
    return Measurement(now, {ref: _finite(watts) for ref, watts in devices_w.items()}, _finite(grid_w))


def _finite(watts: float | None) -> float | None:
    return watts if watts is not None and math.isfinite(watts) else None


def _log_text(event: CommandReceived, verdict: CommandVerdict) -> str:
    """Return the line for the log about a command."""
    if verdict.reason is not None:
        return f"a dimming command by {event.via} is refused: {verdict.reason}: {verdict.detail}"
    name = "" if verdict.command is None else verdict.command.command_id
    return f"dimming command {name} of {verdict.source}, by {event.via}, is taken"
