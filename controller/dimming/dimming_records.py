"""Bodies of evidence records, acknowledgements and reports of effect.

`CommandMoments` converts monotonic times into wall clock times.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from controller.dimming.dimming_limits import EffectiveLimit, LimitBound, LostSources, SourceLimit
from controller.dimming.dimming_messages import (
    ANSWER_CONTEXT,
    EFFECT_CONTEXT,
    Acknowledgement,
    CommandStatus,
    DimmingCommand,
    Effect,
    digest,
    moment,
)
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.events import CommandReceived, EebusReported, RecordEvidence, SourceLimited
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.limit_effect import LimitOutcome, Measurement
from controller.dimming.verification import CommandVerdict
from drivers.eebus.lpc import FailsafeWritten, LimitWritten

LONGEST_DATAGRAM = 8192
"""Longest datagram (bytes) that is recorded in full; of a longer one, its digest."""


class CommandMoments(msgspec.Struct, frozen=True):
    """The current time on both clocks (s)."""

    now: float
    utc: float

    def text(self, at: float | None) -> str | None:
        """Format a moment of the monotonic clock."""
        return None if at is None else moment(self.utc + at - self.now)


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command whose effect is to be reported: its id, its digest, and its link."""

    command_id: str
    digest: str
    via: str
    begins: float


class CommandStanding(msgspec.Struct, frozen=True, kw_only=True):
    """State of a command that was accepted, wholly or partly, with the limit that applies."""

    status: CommandStatus
    detail: str
    watts: float | None
    begins: float
    until: float


def standing(
    settings: DimmingSettings,
    effective: EffectiveLimit,
    limit: SourceLimit,
    command: DimmingCommand,
    now: float,
) -> CommandStanding:
    """Return the limit that applies after an accepted command, and if it is the requested one."""
    some = next(iter(command.evses), None)
    obeyed = settings.raised(msgspec.structs.replace(limit, evse=some)).watts
    bound = effective.total if some is None else effective.evses.get(some)
    waits = limit.begins > now
    holds = obeyed if waits else None if bound is None else bound.watts
    why = []
    if limit.watts is None:
        if effective.dimmed and not waits:
            why.append(f"lifted, and the site is still limited by {' and '.join(effective.sources)}")
    elif obeyed is not None and obeyed > limit.watts:
        why.append(f"raised to the minimum that the devices keep, {obeyed:g} W")
    elif bound is not None and holds is not None and obeyed is not None and holds < obeyed:
        why.append(f"{bound.source} limits them to {holds:g} W")
    if command.failsafe is not None and not settings.can_be_lost(limit.source):
        why.append("the link to its issuer is not monitored here: no failsafe will follow")
    return CommandStanding(
        status=CommandStatus.PARTLY if why else CommandStatus.ACCEPTED,
        detail="; ".join(why),
        watts=holds,
        begins=limit.begins,
        until=limit.begins if limit.until is None else limit.until,
    )


def acknowledgement(
    point: str,
    event: CommandReceived,
    verdict: CommandVerdict,
    standing: CommandStanding | None,
    before: Measurement | None,
    at: CommandMoments,
) -> bytes:
    """Return the unsigned acknowledgement of a command. `standing` None: it is refused."""
    message = Acknowledgement(
        context=ANSWER_CONTEXT,
        command=event.digest,
        command_id="" if verdict.command is None else verdict.command.command_id,
        connection_point=point,
        time=moment(at.utc),
        status=CommandStatus.REFUSED if standing is None else standing.status,
        reason=verdict.reason,
        detail=verdict.detail if standing is None else standing.detail,
        limit_w=None if standing is None else standing.watts,
        begins=None if standing is None else at.text(standing.begins),
        ends=None if standing is None else at.text(standing.until),
        power_before_w=None if before is None else before.drawn_w,
    )
    return msgspec.json.encode(message)


def effect(
    point: str,
    opened: OpenCommand,
    effective: EffectiveLimit,
    before: Measurement | None,
    outcome: LimitOutcome,
    at: CommandMoments,
) -> bytes:
    """Return the unsigned report of the effect of a command."""
    reached = outcome.phase == "reached"
    message = Effect(
        context=EFFECT_CONTEXT,
        command=opened.digest,
        command_id=opened.command_id,
        connection_point=point,
        time=moment(at.utc),
        reached=reached,
        limit_w=None if effective.total is None else effective.total.watts,
        power_before_w=None if before is None else before.drawn_w,
        power_after_w=None if outcome.measurement is None else outcome.measurement.drawn_w,
        time_to_effect_s=outcome.took_s if reached else None,
    )
    return msgspec.json.encode(message)


def received(event: CommandReceived) -> dict[str, Any]:
    """Return the record of a received command."""
    return {
        "via": event.via,
        "sha256": event.digest,
        "received": base64.b64encode(event.received).decode(),
    }


def verdict_body(
    event: CommandReceived, verdict: CommandVerdict, answer: bytes, left_out: int
) -> dict[str, Any]:
    """Return the record of a verdict with the signed answer. `left_out`: refusals without a record."""
    body = {
        "sha256": event.digest,
        "commandId": None if verdict.command is None else verdict.command.command_id,
        "source": verdict.source,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "signers": [{"holder": each.holder, "key": each.key} for each in verdict.signers],
        "answer": base64.b64encode(answer).decode(),
    }
    return body | ({"refusalsWithoutRecord": left_out} if left_out else {})


def written(report: EebusReported, event: LimitWritten | FailsafeWritten) -> dict[str, Any]:
    """Return the record of an energy guard's write with its datagram; numbers are texts, they may be NaN."""
    body: dict[str, Any] = {
        "source": report.source,
        "watts": str(event.watts),
        "durationS": str(event.duration_s),
    }
    body |= {"active": event.active} if isinstance(event, LimitWritten) else {"failsafe": True}
    proof = report.proof
    if proof is None:
        return body
    age_s = None if proof.heartbeat_age_s is None else round(proof.heartbeat_age_s, 3)
    body |= {"ski": proof.ski, "heartbeatAgeS": age_s}
    if len(proof.received) > LONGEST_DATAGRAM:
        return body | {"datagramSha256": digest(proof.received)}
    return body | {"datagram": proof.received.decode("utf-8", "backslashreplace")}


def limit_set(event: SourceLimited, at: CommandMoments) -> RecordEvidence:
    """Return the record of a limit that a source without signatures has set."""
    body = {"source": event.source, "watts": event.watts, "proof": event.proof}
    return RecordEvidence(EvidenceKind.COMMAND, body | {"until": at.text(event.until)})


def limit(effective: EffectiveLimit, lost: LostSources, at: CommandMoments) -> dict[str, Any]:
    """Return the record of the effective limit, its sources, and those that are lost."""
    return {
        "total": None if effective.total is None else _bound(effective.total, at),
        "phasesW": list(effective.phases_w),
        "evses": {str(ref): _bound(bound, at) for ref, bound in sorted(effective.evses.items())},
        "sources": list(effective.sources),
        "lost": [{"source": each.source, "why": str(each.why)} for each in lost],
    }


def readings(phase: str, measurement: Measurement | None, at: CommandMoments) -> dict[str, Any]:
    """Return the record of a measurement and its age."""
    if measurement is None:
        return {"phase": phase, "measured": False}
    return {"phase": phase, "ageS": round(at.now - measurement.at, 3), **measurement.record_body()}


def outcome(what: LimitOutcome, at: CommandMoments) -> dict[str, Any]:
    """Return the record of the outcome of a limit."""
    return {
        **readings(what.phase, what.measurement, at),
        "tookS": what.took_s,
        "mostW": what.most_w,
        "disobedient": [str(ref) for ref in what.disobedient],
    }


def describe_limit(effective: EffectiveLimit, lost: LostSources) -> str:
    """Return the log line of a new effective limit, or of a source that was lost or has recovered."""
    if not effective.dimmed:
        return "dimming ended"
    bounds = [] if effective.total is None else [("all", effective.total)]
    bounds += [(str(ref), bound) for ref, bound in sorted(effective.evses.items())[:3]]
    parts = [f"evse={name} {_describe_bound(bound)}" for name, bound in bounds]
    more = len(effective.evses) - 3
    parts[-1] += f" more_evses={more}" if more > 0 else ""
    parts += [f"lost_source={each.source} reason={each.why}" for each in lost]
    return "dimming limit changed " + ", ".join(parts)


def _bound(bound: LimitBound, at: CommandMoments) -> dict[str, Any]:
    return {
        "watts": bound.watts,
        "source": bound.source,
        "until": at.text(bound.until),
        "proof": str(bound.proof),
    }


def _describe_bound(bound: LimitBound) -> str:
    return f"limit={bound.watts:g}W source={bound.source} proof={bound.proof}"
