"""Events and actions of the dimming controller, and its stored state."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import Any

import msgspec

from controller.dimming import dimming_messages
from controller.dimming.digital_inputs import Level
from controller.dimming.dimming_limits import EffectiveLimit, LimitSourceMemory, SourceLimit
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.verification import CommandContext
from controller.model.effects import LogEntry
from controller.model.journal import Persist, Record
from controller.model.observations import EvseRef
from drivers.eebus import lpc


class CommandReceived(msgspec.Struct, frozen=True, dict=True):
    """A command was received `via` a link. One `CommandAnswer` of `token` answers it.

    `is_durable`: the store of obeyed commands can be written; without it a replay could not be detected.
    """

    token: int
    via: str
    received: bytes
    is_durable: bool = True

    @cached_property
    def digest(self) -> str:
        """The SHA-256 of the command's bytes: the name of the command in records and answers."""
        return dimming_messages.digest(self.received)


class SourceLimited(msgspec.Struct, frozen=True, kw_only=True):
    """A source of kind "ocpp" limits all controllable EVSEs from now on; None: no longer."""

    source: str
    watts: float | None
    until: float | None = None
    proof: str = ""

    def begin_limit(self, now: float) -> SourceLimit:
        """Return the limit that applies from `now` on (s, monotonic)."""
        return SourceLimit(
            source=self.source, watts=self.watts, begins=now, until=self.until, proof=self.proof
        )


class SourceReached(msgspec.Struct, frozen=True):
    """The link to a source was opened or lost."""

    source: str
    there: bool


class EebusProof(msgspec.Struct, frozen=True):
    """Datagram of an energy guard as received, and the SKI of its sender.

    `heartbeat_age_s`: age of its last heartbeat; None: there was none.
    """

    ski: str
    received: bytes
    heartbeat_age_s: float | None


class EebusReported(msgspec.Struct, frozen=True):
    """Event of the energy guard of a source of kind "eebus"; `proof`: the datagram of a write."""

    source: str
    event: lpc.Event
    proof: EebusProof | None = None


class ProductionAnswered(msgspec.Struct, frozen=True):
    """Write of an energy guard that limits production, its answer, and the state of that machine.

    Production is limited elsewhere: the write is recorded, and nothing else follows.
    """

    report: EebusReported
    answered: lpc.Answered
    state: lpc.State


class InputsRead(msgspec.Struct, frozen=True):
    """Levels of the inputs of a source of kind "contact"; None where one cannot be read."""

    source: str
    levels: tuple[Level, ...]


class Measured(msgspec.Struct, frozen=True):
    """Draw of each controllable EVSE (W; None: unknown), and of the grid connection.

    `decisions`: limit of each EVSE (A per phase), and its reason; needed if the controller `needs_decisions`.
    """

    devices_w: Mapping[EvseRef, float | None]
    grid_w: float | None
    decisions: Mapping[EvseRef, tuple[float, str]] = {}


class ClockTrusted(msgspec.Struct, frozen=True):
    """State of the wall clock from now on: synchronised or not."""

    trusted: bool


class DimmingTick(msgspec.Struct, frozen=True):
    """The deadline of the controller was reached."""


DimmingEvent = (
    CommandReceived
    | SourceLimited
    | SourceReached
    | EebusReported
    | ProductionAnswered
    | InputsRead
    | Measured
    | ClockTrusted
    | DimmingTick
)


class DimmingMemory(Record, frozen=True, kw_only=True, rename={"limits": "words", "obeyed": "said"}):
    """Stored state: limits and obeyed commands by source, failsafe values.

    `saved`, and `dimmed_since` (None: no limit applied) are POSIX s. `unknown_until`: when the commands that
    were obeyed before were no longer known (POSIX s); None: a moment that is found once the clock is trusted.

    The stored names are older than those of the members.
    """

    saved: float
    limits: Mapping[str, LimitSourceMemory] = {}
    obeyed: Mapping[str, CommandContext] = {}
    failsafes: Mapping[str, lpc.Failsafe] = {}
    dimmed_since: float | None = None
    unknown_until: float | None = 0.0


class DimmingChanged(msgspec.Struct, frozen=True):
    """The limit on the grid draw of the controllable EVSEs has changed."""

    effective: EffectiveLimit


class RecordEvidence(msgspec.Struct, frozen=True):
    """Append this to the evidence log."""

    kind: EvidenceKind
    body: Mapping[str, Any]


class CommandAnswer(msgspec.Struct, frozen=True):
    """Signed acknowledgement of a command; `reason`: why it is refused."""

    token: int
    payload: bytes
    accepted: bool
    reason: str | None = None


class NotifyBackends(msgspec.Struct, frozen=True):
    """Signed report of the effect of a command, for its link."""

    via: str
    payload: bytes


class EebusAction(msgspec.Struct, frozen=True):
    """Answer to the write of the energy guard of a source."""

    source: str
    action: lpc.Answered


DimmingAction = (
    Persist | DimmingChanged | RecordEvidence | CommandAnswer | NotifyBackends | EebusAction | LogEntry
)

ORDER: tuple[type[msgspec.Struct], ...] = (
    Persist,
    DimmingChanged,
    RecordEvidence,
    CommandAnswer,
    EebusAction,
    NotifyBackends,
    LogEntry,
)
"""Order: stored state, limit, evidence, answers, log."""
