"""What the desk writes: bodies of records, acknowledgements and reports, out of what it knows.

`CommandMoments` turns the desk's monotonic times into those on the wall that people read.
"""

from __future__ import annotations

import base64
from typing import Any

import msgspec

from controller.dimming.dimming_command import DimmingCommand
from controller.dimming.dimming_messages import (
    ANSWER_CONTEXT,
    EFFECT_CONTEXT,
    Acknowledgement,
    CommandStatus,
    Effect,
    digest,
    moment,
)
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.effective_limit import EffectiveLimit, LimitBound, SourceLimit
from controller.dimming.events import CommandReceived, EebusReported
from controller.dimming.limit_effect import LimitOutcome, Measurement
from controller.dimming.verification import CommandVerdict
from drivers.eebus.lpc import FailsafeWritten, LimitWritten

LONGEST_DATAGRAM = 8192
"""Bytes of a datagram that stand in its record; of longer ones, which no write needs, the digest."""


class CommandMoments(msgspec.Struct, frozen=True):
    """Now, on both clocks (s)."""

    now: float
    utc: float

    def text(self, at: float | None) -> str | None:
        """A moment of the monotonic clock, as people write it."""
        return None if at is None else moment(self.utc + at - self.now)


class OpenCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command whose effect is to be told: its name, its bytes' digest, the link that it came by."""

    command_id: str
    digest: str
    via: str
    begins: float


class CommandStanding(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a command: it is taken, wholly or partly, and this holds because of it."""

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
    """What holds because of a command that was taken, and whether that is what it asked for."""
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
        why.append("nobody watches the way to its issuer here: its failsafe will not come")
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
    """The answer to a command, without its signature. `standing` None: it is refused."""
    told = Acknowledgement(
        context=ANSWER_CONTEXT,
        command=digest(event.received),
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
    return msgspec.json.encode(told)


def effect(
    point: str,
    opened: OpenCommand,
    effective: EffectiveLimit,
    before: Measurement | None,
    outcome: LimitOutcome,
    at: CommandMoments,
) -> bytes:
    """What came of a command, without its signature."""
    reached = outcome.phase == "reached"
    told = Effect(
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
    return msgspec.json.encode(told)


def received(event: CommandReceived) -> dict[str, Any]:
    """A command's bytes as they came."""
    return {
        "via": event.via,
        "sha256": digest(event.received),
        "received": base64.b64encode(event.received).decode(),
    }


def judged(event: CommandReceived, verdict: CommandVerdict, answer: bytes, left_out: int) -> dict[str, Any]:
    """What was found of a command, with the signed answer. `left_out`: refusals that have no record."""
    body = {
        "sha256": digest(event.received),
        "commandId": None if verdict.command is None else verdict.command.command_id,
        "source": verdict.source,
        "reason": verdict.reason,
        "detail": verdict.detail,
        "signers": [{"holder": each.holder, "key": each.key} for each in verdict.signers],
        "answer": base64.b64encode(answer).decode(),
    }
    return body | ({"refusalsWithoutRecord": left_out} if left_out else {})


def written(report: EebusReported, event: LimitWritten | FailsafeWritten) -> dict[str, Any]:
    """Write of an energy guard, with its datagram. Its numbers are texts: they may be NaN."""
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


def limit(effective: EffectiveLimit, at: CommandMoments) -> dict[str, Any]:
    """What holds, and whose it is."""
    return {
        "total": None if effective.total is None else _bound(effective.total, at),
        "phasesW": list(effective.phases_w),
        "evses": {str(ref): _bound(bound, at) for ref, bound in sorted(effective.evses.items())},
        "sources": list(effective.sources),
    }


def readings(phase: str, measurement: Measurement | None, at: CommandMoments) -> dict[str, Any]:
    """What was measured at a moment of a limit's life, and how old it is."""
    if measurement is None:
        return {"phase": phase, "measured": False}
    return {"phase": phase, "ageS": round(at.now - measurement.at, 3), **measurement.told()}


def outcome(what: LimitOutcome, at: CommandMoments) -> dict[str, Any]:
    """What came of a limit."""
    return {
        **readings(what.phase, what.measurement, at),
        "tookS": what.took_s,
        "mostW": what.most_w,
        "disobedient": [str(ref) for ref in what.disobedient],
    }


def in_words(effective: EffectiveLimit) -> str:
    """What holds, in a line for people."""
    if not effective.dimmed:
        return "nothing is dimmed any more"
    parts = [] if effective.total is None else [_bound_in_words("all devices", effective.total)]
    parts += [_bound_in_words(str(ref), bound) for ref, bound in sorted(effective.evses.items())[:3]]
    more = len(effective.evses) - 3
    return "dimmed: " + ", ".join(parts) + (f" and {more} more" if more > 0 else "")


def _bound(bound: LimitBound, at: CommandMoments) -> dict[str, Any]:
    return {
        "watts": bound.watts,
        "source": bound.source,
        "until": at.text(bound.until),
        "proof": bound.proof,
    }


def _bound_in_words(what: str, bound: LimitBound) -> str:
    return f"{what} to {bound.watts:g} W by {bound.source} ({bound.proof})"
