"""The dimming desk: commands, sources and measurements come in, one effective limit and its proof come out.

Pure: whoever runs it hands in events with the time, and does the actions in their order. The desk composes
small machines: *verification* judges commands, each source keeps its own words, *limit* makes one of all,
*effect* watches what comes of it.

What a refused command costs is rationed: anybody on a link can send what is refused, and each record is a
write that is waited for. Beyond the ration, refusals are answered and counted, and the count goes on record.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping

from controller.dimming import papers
from controller.dimming.acknowledgement import digest
from controller.dimming.command import Command
from controller.dimming.contacts import Contacts
from controller.dimming.effect import Measurement, Outcome, Watch
from controller.dimming.events import (
    Answer,
    ClockTrusted,
    CommandReceived,
    ContactsRead,
    Decided,
    DeskMemory,
    Dimmed,
    DimmingAction,
    DimmingEvent,
    GuardAction,
    GuardSaid,
    Measured,
    Note,
    Record,
    Save,
    SourceReached,
    SourceSaid,
    Tell,
    Tick,
    in_order,
)
from controller.dimming.evidence import Kind
from controller.dimming.guard import Guard
from controller.dimming.limit import NO_PHASES, Effective, Limit, effective
from controller.dimming.papers import Moments, Open, Standing
from controller.dimming.proof import Signatures
from controller.dimming.ration import Ration
from controller.dimming.settings import DeskSettings
from controller.dimming.verification import Issuers, Situation, Verdict, Verification
from controller.dimming.words import Failsafe, Words
from controller.ocpp.observations import EvseRef
from drivers import eebus_lpc

REFUSALS_A_MINUTE = 60
"""So many go on record."""
MOST_OPEN = 16
"""Commands whose effect is told; of more, the newest."""
DECISIONS_APART_S = 60.0
"""How often decisions that change go on record while a limit holds."""

_OUTCOMES = {"failed": Kind.FAILURE, "exceeded": Kind.FAILURE}


class Desk:
    """The desk of one grid connection, from `now` on (s, monotonic). Ids of sources are its own settings'."""

    def __init__(self, settings: DeskSettings, signatures: Signatures, now: float) -> None:
        self._settings = settings
        self._signatures = signatures
        self._words = {
            each.id: Words(each.id, settings.failsafe, each.lost_after_s, now)
            for each in settings.sources
            if each.kind in ("signed", "ocpp")
        }
        self._guards = _guards(settings, {}, now)
        self._contacts = {
            each.id: Contacts(each.id, each.contacts)
            for each in settings.sources
            if each.contacts is not None
        }
        self._verification = _verification(settings, signatures)
        self._clock_trusted = False
        self._recalled: DeskMemory | None = None
        """Taken over while the time was not known: once it is, it is looked at again."""
        self._effective = Effective()
        self._dimmed_since = now
        self._watch: Watch | None = None
        self._measurement: Measurement | None = None
        self._open: list[Open] = []
        self._refusals = Ration(REFUSALS_A_MINUTE)
        self._decisions: Mapping[EvseRef, tuple[float, str]] = {}
        self._decided_at = -math.inf

    @property
    def effective(self) -> Effective:
        """What holds."""
        return self._effective

    def deadline(self, now: float) -> float | None:
        """When a Tick is wanted; None: not before something happens."""
        moments = [each.deadline(now) for each in self._sources]
        moments.append(None if self._watch is None else self._watch.deadline)
        return min((at for at in moments if at is not None), default=None)

    def recall(self, memory: DeskMemory, now: float, utc: float, *, clock_trusted: bool) -> None:
        """Take over what was saved before a restart; to be told before anything else, and followed by a Tick.

        Without a clock nobody knows how long it took: then everything still holds as long as when saved.
        """
        self._clock_trusted = clock_trusted
        self._recalled = None if clock_trusted else memory
        self._verification.recall(memory.said)
        self._guards = _guards(self._settings, memory.failsafes, now)
        self._recall_words(memory, now, utc if clock_trusted else memory.saved)

    def handle(self, event: DimmingEvent, now: float, utc: float) -> list[DimmingAction]:
        """Take in one event; what is to be done because of it, in this order. `utc` is POSIX s.

        Records say so where nobody knows whether their time is right.
        """
        actions = in_order(self._handle(event, Moments(now, utc)))
        if self._clock_trusted:
            return actions
        return [
            Record(each.kind, {**each.body, "clockTrusted": False}) if isinstance(each, Record) else each
            for each in actions
        ]

    def _handle(self, event: DimmingEvent, at: Moments) -> list[DimmingAction]:
        now = at.now
        actions: list[DimmingAction] = []
        match event:
            case CommandReceived():
                return self._command(event, at)
            case SourceSaid():
                actions += self._said(event, at)
            case SourceReached(source=source, there=there):
                self._words[source].reach(there, now)
                actions += [self._save(at)] if self._settings.can_be_lost(source) else []
            case GuardSaid(source=source, event=said):
                actions += self._guard(source, said, at)
            case ContactsRead(source=source, levels=levels):
                self._contacts[source].read(levels, now)
            case Measured(devices_w=devices_w, grid_w=grid_w):
                actions += self._measured(_measurement(now, devices_w, grid_w), at)
            case Decided(decisions=decisions):
                self._decisions = decisions
            case ClockTrusted(trusted=trusted):
                self._trust(trusted, at)
            case Tick():
                for source in self._guards:
                    actions += self._guard(source, eebus_lpc.Tick(), at)
        return actions + self._settle(at) + self._decided(at)

    # -- what comes in --------------------------------------------------------------------------------

    def _command(self, event: CommandReceived, at: Moments) -> list[DimmingAction]:
        before = self._measurement
        holding = {*self._effective.sources} | {
            name for name, words in self._words.items() if words.stands(at.now)
        }
        situation = Situation(utc=at.utc, clock_trusted=self._clock_trusted, holding=holding)
        verdict = self._verification.judge(event.received, situation)
        done: list[DimmingAction] = []
        standing: Standing | None = None
        if verdict.reason is None and verdict.command is not None and verdict.source is not None:
            limit = self._obey(verdict.command, verdict.source, at)
            self._open.append(
                Open(
                    command_id=verdict.command.command_id,
                    digest=digest(event.received),
                    via=event.via,
                    begins=limit.begins,
                )
            )
            del self._open[:-MOST_OPEN]
            done = [self._save(at), *self._settle(at)]
            standing = papers.standing(self._settings, self._effective, limit, verdict.command, at.now)
        answer = self._signatures.sign(
            papers.acknowledgement(self._settings.connection_point, event, verdict, standing, before, at),
            at.utc,
        )
        accepted = standing is not None
        return [
            *self._on_record(event, verdict, answer, at),
            *done,
            Answer(event.token, answer, accepted, verdict.reason),
            Note(logging.INFO if accepted else logging.WARNING, _told(event, verdict)),
        ]

    def _obey(self, command: Command, source: str, at: Moments) -> Limit:
        """Take a command's word; what it asks for, on our clock."""
        one, two, three = command.limit_phases_w or NO_PHASES
        limit = Limit(
            source=source,
            watts=command.limit_w,
            begins=at.now + max(0.0, command.begins - at.utc),
            until=at.now + command.ends - at.utc,
            phases_w=(one, two, three),
            proof=f"command {command.command_id}",
        )
        words = self._words[source]
        words.say(limit, command.evses, at.now)
        if command.failsafe is not None:
            words.set_failsafe(Failsafe(command.failsafe.limit_w, command.failsafe.duration_s))
        return limit

    def _on_record(
        self, event: CommandReceived, verdict: Verdict, answer: bytes, at: Moments
    ) -> list[DimmingAction]:
        if verdict.reason is not None and not self._refusals.take(at.now):
            return []
        left_out = self._refusals.left_out()
        return [
            Record(Kind.COMMAND, papers.received(event)),
            Record(Kind.VERDICT, papers.judged(event, verdict, answer, left_out)),
        ]

    def _said(self, event: SourceSaid, at: Moments) -> list[DimmingAction]:
        limit = Limit(
            source=event.source,
            watts=event.watts,
            begins=at.now,
            until=event.until,
            proof=event.proof,
        )
        self._words[event.source].say(limit, (), at.now)
        body = {"source": event.source, "watts": event.watts, "proof": event.proof}
        return [Record(Kind.COMMAND, body | {"until": at.text(event.until)})]

    def _guard(self, source: str, said: eebus_lpc.Event, at: Moments) -> list[DimmingAction]:
        actions: list[DimmingAction] = []
        if isinstance(said, eebus_lpc.LimitWritten | eebus_lpc.FailsafeWritten):
            actions.append(Record(Kind.COMMAND, papers.written(source, said)))
        for action in self._guards[source].handle(said, at.now):
            match action:
                case eebus_lpc.SaveFailsafe():
                    actions.append(self._save(at))
                case eebus_lpc.Moved(number=number, origin=origin, state=state):
                    text = f"{source}: LPC {origin.value} -> {state.value} (transition {number})"
                    actions.append(Note(logging.INFO, text))
                case eebus_lpc.Answered(accepted=accepted, reason=reason):
                    body = {"source": source, "accepted": accepted, "reason": reason}
                    actions += [Record(Kind.VERDICT, body), GuardAction(source, action)]
                case eebus_lpc.SendHeartbeat():
                    actions.append(GuardAction(source, action))
        return actions

    def _trust(self, trusted: bool, at: Moments) -> None:
        self._clock_trusted = trusted
        if trusted and self._recalled is not None:
            memory, self._recalled = self._recalled, None
            self._recall_words(memory, at.now, at.utc)

    # -- what comes out -------------------------------------------------------------------------------

    def _settle(self, at: Moments) -> list[DimmingAction]:
        """Bring out what holds now, and what came of it so far."""
        limits = [limit for source in self._sources for limit in source.limits(at.now)]
        now_holds = effective(map(self._settings.raised, limits), at.now)
        if now_holds == self._effective:
            return [] if self._watch is None else self._outcomes(self._watch.pass_time(at.now), at)
        was, self._effective = self._effective, now_holds
        told: list[DimmingAction] = [
            Dimmed(now_holds),
            Note(logging.WARNING if now_holds.dimmed else logging.INFO, papers.in_words(now_holds)),
        ]
        self._decisions, self._decided_at = {}, -math.inf
        if not now_holds.dimmed:
            self._watch = None
            self._open = [each for each in self._open if each.begins > at.now]
            lasted = {"lastedS": round(at.now - self._dimmed_since, 3)}
            readings = papers.readings("end", self._measurement, at)
            return [*told, Record(Kind.READINGS, readings), Record(Kind.RELEASE, lasted)]
        if not was.dimmed:
            self._dimmed_since = at.now
        self._watch = Watch(now_holds, self._measurement, at.now)
        readings = papers.readings("before", self._measurement, at)
        return [*told, Record(Kind.LIMIT, papers.limit(now_holds, at)), Record(Kind.READINGS, readings)]

    def _measured(self, measurement: Measurement, at: Moments) -> list[DimmingAction]:
        self._measurement = measurement
        return [] if self._watch is None else self._outcomes(self._watch.measured(measurement), at)

    def _outcomes(self, outcomes: list[Outcome], at: Moments) -> list[DimmingAction]:
        actions: list[DimmingAction] = []
        for outcome in outcomes:
            kind = _OUTCOMES.get(outcome.phase, Kind.READINGS)
            actions.append(Record(kind, papers.outcome(outcome, at)))
            if outcome.phase in ("reached", "failed"):
                actions += self._tell(outcome, at)
        return actions

    def _tell(self, outcome: Outcome, at: Moments) -> list[DimmingAction]:
        """Report to those whose commands have begun; who was told that it is reached is done with."""
        begun = [each for each in self._open if each.begins <= at.now]
        if outcome.phase == "reached":
            self._open = [each for each in self._open if each not in begun]
        before = None if self._watch is None else self._watch.before
        point = self._settings.connection_point
        return [
            Tell(
                each.via,
                self._signatures.sign(
                    papers.effect(point, each, self._effective, before, outcome, at), at.utc
                ),
            )
            for each in begun
        ]

    def _decided(self, at: Moments) -> list[DimmingAction]:
        """Put on record what each device may take, once for each limit and then now and again."""
        if not (self._effective.dimmed and self._decisions) or at.now - self._decided_at < DECISIONS_APART_S:
            return []
        self._decided_at = at.now
        body = {str(ref): {"a": a, "why": why} for ref, (a, why) in sorted(self._decisions.items())}
        self._decisions = {}
        return [Record(Kind.DECISION, {"devices": body})]

    # -- memory ---------------------------------------------------------------------------------------

    def _save(self, at: Moments) -> Save:
        """A backend's own limits are kept with its profiles: they are said again after a restart."""
        signed = [each.id for each in self._settings.sources if each.kind == "signed"]
        return Save(
            DeskMemory(
                saved=at.utc,
                words={name: self._words[name].memory(at.now, at.utc) for name in signed},
                said=self._verification.said,
                failsafes={name: guard.failsafe for name, guard in self._guards.items()},
            )
        )

    def _recall_words(self, memory: DeskMemory, now: float, utc: float) -> None:
        for source, saved in memory.words.items():
            if source in self._words:
                self._words[source].recall(saved, now, max(utc, memory.saved))

    @property
    def _sources(self) -> tuple[Words | Guard | Contacts, ...]:
        return (*self._words.values(), *self._guards.values(), *self._contacts.values())


def _guards(
    settings: DeskSettings, failsafes: Mapping[str, eebus_lpc.Failsafe], now: float
) -> dict[str, Guard]:
    """The Energy Guards: after a start nothing but their failsafe is known."""
    duration_s = max(settings.failsafe.duration_s, eebus_lpc.FAILSAFE_LEAST_S)
    default = eebus_lpc.Failsafe(settings.failsafe.watts, duration_s)
    return {
        each.id: Guard(
            each.id, failsafes.get(each.id, default), settings.minimum_w if each.minimum else 0.0, now
        )
        for each in settings.sources
        if each.kind == "eebus"
    }


def _verification(settings: DeskSettings, signatures: Signatures) -> Verification:
    issuers = [
        Issuers(id=each.id, role=each.role, rank=each.rank, signed=each.signed)
        for each in settings.sources
        if each.kind == "signed"
    ]
    ranks = {each.id: each.rank for each in settings.sources}
    return Verification(settings.connection_point, settings.devices, issuers, ranks, signatures)


def _measurement(now: float, devices_w: Mapping[EvseRef, float | None], grid_w: float | None) -> Measurement:
    """What was measured; a value that is no number is none."""
    return Measurement(now, {ref: _finite(watts) for ref, watts in devices_w.items()}, _finite(grid_w))


def _finite(watts: float | None) -> float | None:
    return watts if watts is not None and math.isfinite(watts) else None


def _told(event: CommandReceived, verdict: Verdict) -> str:
    """A command and its verdict, in a line for people."""
    if verdict.reason is not None:
        return f"a dimming command by {event.via} is refused: {verdict.reason}: {verdict.detail}"
    name = "" if verdict.command is None else verdict.command.command_id
    return f"dimming command {name} of {verdict.source}, by {event.via}, is taken"
