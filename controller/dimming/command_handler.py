"""Handling of dimming commands: verification, the limit that an accepted one sets, evidence and answer.

Refused commands are rate limited, for anybody on a link can send them and each record is a durable write:
beyond the rate they are answered and counted, and the count is recorded.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import msgspec

from controller.dimming import dimming_records
from controller.dimming.dimming_limits import (
    NO_PHASES,
    EffectiveLimit,
    LimitSource,
    SourceFailsafe,
    SourceLimit,
)
from controller.dimming.dimming_messages import ANSWER_CONTEXT, DimmingCommand
from controller.dimming.dimming_records import CommandMoments, CommandStanding, OpenCommand
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import CommandAnswer, CommandReceived, DimmingAction, RecordEvidence
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.limit_effect import Measurement
from controller.dimming.verification import (
    CommandContext,
    CommandVerdict,
    Issuers,
    ProofVerifier,
    Reason,
    Situation,
    Verification,
)
from controller.model.effects import LogEntry
from controller.model.rate_limits import TokenBucket

REFUSALS_A_MINUTE = 60
"""Refused commands and writes that are recorded."""
LOGGED_A_MINUTE = 6
"""Refusals that are logged."""


class HandledCommand(msgspec.Struct, frozen=True):
    """A command, its verdict and, if it is obeyed, the limit that it has set (monotonic times)."""

    event: CommandReceived
    verdict: CommandVerdict
    limit: SourceLimit | None = None

    @property
    def open_command(self) -> OpenCommand | None:
        """The command, whose effect is reported from the begin of its limit on; None if it is refused."""
        if self.limit is None or self.verdict.command is None:
            return None
        return OpenCommand(
            command_id=self.verdict.command.command_id,
            digest=self.event.digest,
            via=self.event.via,
            begins=self.limit.begins,
        )


class CommandHandler:
    """Commands of one grid connection. `limit_sources` take the limits of those that are accepted."""

    def __init__(
        self,
        settings: DimmingSettings,
        signatures: ProofVerifier,
        limit_sources: Mapping[str, LimitSource],
    ) -> None:
        self._settings = settings
        self._signatures = signatures
        self._limit_sources = limit_sources
        self._verification = _verification(settings, signatures)
        self.refusals = TokenBucket(REFUSALS_A_MINUTE / 60, burst=REFUSALS_A_MINUTE)
        """Rate of refusals that are recorded, those of other sources included."""
        self._logged = TokenBucket(LOGGED_A_MINUTE / 60, burst=LOGGED_A_MINUTE)

    @property
    def obeyed(self) -> Mapping[str, CommandContext]:
        """The last obeyed command of each issuer, to be stored."""
        return self._verification.obeyed

    @property
    def unknown_until(self) -> float | None:
        """When commands were obeyed that are not known, to be stored (`Verification.restore`)."""
        return self._verification.unknown_until

    def restore(self, obeyed: Mapping[str, CommandContext], unknown_until: float | None) -> None:
        """Restore what was obeyed before a restart."""
        self._verification.restore(obeyed, unknown_until)

    def confirm_loss(self, utc: float) -> bool:
        """Find the end of the unknown time by a trusted clock (POSIX s); return True if it was open."""
        return self._verification.confirm_loss(utc)

    def handle(
        self, event: CommandReceived, limiting: Sequence[str], at: CommandMoments, *, clock_trusted: bool
    ) -> HandledCommand:
        """Verify a command and set its limit. `limiting`: the sources of the limit that applies."""
        holding = {*limiting} | {name for name, each in self._limit_sources.items() if each.has_limit(at.now)}
        situation = Situation(
            utc=at.utc,
            clock_trusted=clock_trusted,
            memory_durable=event.is_durable,
            holding=holding,
        )
        verdict = self._verification.verify_command(event.received, situation)
        if verdict.reason is not None or verdict.command is None or verdict.source is None:
            return HandledCommand(event, verdict)
        return HandledCommand(event, verdict, self._obey(verdict.command, verdict.source, at))

    def answer(
        self,
        handled: HandledCommand,
        effective: EffectiveLimit,
        before: Measurement | None,
        at: CommandMoments,
    ) -> list[DimmingAction]:
        """Return evidence, answer and log entry of a command; `before`: the draw when it came."""
        event, verdict = handled.event, handled.verdict
        standing: CommandStanding | None = None
        if handled.limit is not None and verdict.command is not None:
            standing = dimming_records.standing(
                self._settings, effective, handled.limit, verdict.command, at.now
            )
        point = self._settings.connection_point
        body = dimming_records.acknowledgement(point, event, verdict, standing, before, at)
        answer = self._signatures.sign(body, ANSWER_CONTEXT, at.utc)
        return [
            *self._record_command(event, verdict, answer, at),
            CommandAnswer(event.token, answer, standing is not None, verdict.reason),
            *self._log_entry(event, verdict, at),
        ]

    def _log_entry(
        self, event: CommandReceived, verdict: CommandVerdict, at: CommandMoments
    ) -> list[DimmingAction]:
        """Return the line for the log; of refusals, not more than `LOGGED_A_MINUTE`."""
        if verdict.reason is None:
            return [LogEntry(logging.INFO, _log_text(event, verdict))]
        if not self._logged.try_take(at.now):
            return []
        unlogged = self._logged.pop_rejected()
        more = f" unlogged_refusals={unlogged}" if unlogged else ""
        return [LogEntry(logging.WARNING, _log_text(event, verdict) + more)]

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
        if verdict.reason is not None and not self.refusals.try_take(at.now):
            return []
        left_out = self.refusals.pop_rejected()
        return [
            RecordEvidence(EvidenceKind.COMMAND, dimming_records.received(event)),
            RecordEvidence(
                EvidenceKind.VERDICT, dimming_records.verdict_body(event, verdict, answer, left_out)
            ),
        ]


_REMEDIES = {
    Reason.UNSIGNED: "have the sender sign it with the key of a [[key]] in the policy",
    Reason.BAD_SIGNATURE: "compare the sender's key with its [[key]] in the policy; it may be forged",
    Reason.KEY_NOT_VALID: "add the sender's new [[key]] to the policy, and check the clock",
    Reason.WRONG_ROLE: "compare the [[role]] of its holder in the policy with role of the [[dimming.source]]",
    Reason.OUT_OF_SCOPE: "compare it with connection_point of [dimming] and the EVSEs with steuve",
    Reason.CLOCK: "check NTP",
    Reason.NO_MEMORY: "make room on the disk of the store",
}
"""Remedies at the site by the reason of a refusal; without one, the sender has to act."""


def _verification(settings: DimmingSettings, signatures: ProofVerifier) -> Verification:
    issuers = [
        Issuers(id=each.id, role=each.role, rank=each.rank, signed=each.signed)
        for each in settings.sources
        if each.kind == "signed"
    ]
    ranks = {each.id: each.rank for each in settings.sources}
    return Verification(settings.connection_point, settings.devices, issuers, ranks, signatures)


def _log_text(event: CommandReceived, verdict: CommandVerdict) -> str:
    """Return the line for the log about a command."""
    name = "" if verdict.command is None else verdict.command.command_id
    if verdict.reason is not None:
        remedy = _REMEDIES.get(verdict.reason)
        return (
            f"dimming command refused id={name} link={event.via} reason={verdict.reason} "
            f"detail={verdict.detail}" + ("" if remedy is None else f" remedy={remedy}")
        )
    return f"dimming command accepted id={name} source={verdict.source} link={event.via}"
