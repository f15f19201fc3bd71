"""What the dimming desk is told, what it wants done, and what it wants kept."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from controller.dimming.digital_inputs import Level
from controller.dimming.effective_limit import EffectiveLimit
from controller.dimming.evidence_chain import EvidenceKind
from controller.dimming.limit_source import LimitSourceMemory
from controller.dimming.verification import CommandContext
from controller.model.journal import Record
from controller.model.observations import EvseRef
from drivers.eebus import lpc


class CommandReceived(msgspec.Struct, frozen=True):
    """A command came, `via` a link; its bytes as they were received. Ends with one `Answer` of `token`."""

    token: int
    via: str
    received: bytes


class SourceLimited(msgspec.Struct, frozen=True, kw_only=True):
    """A source of kind "ocpp" limits all steerable devices from now on; None: no longer."""

    source: str
    watts: float | None
    until: float | None = None
    proof: str = ""


class SourceReached(msgspec.Struct, frozen=True):
    """The way to a source is there from now on, or is not."""

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


class InputsRead(msgspec.Struct, frozen=True):
    """The inputs of a source of kind "contact" were read: closed, open, or not to be read (None)."""

    source: str
    levels: tuple[Level, ...]


class Measured(msgspec.Struct, frozen=True):
    """What each steerable EVSE draws now (W; None: it does not tell), and the grid connection's meter."""

    devices_w: Mapping[EvseRef, float | None]
    grid_w: float | None


class Decided(msgspec.Struct, frozen=True):
    """What each steerable EVSE may take now (A per phase), and why."""

    decisions: Mapping[EvseRef, tuple[float, str]]


class ClockTrusted(msgspec.Struct, frozen=True):
    """Whether the wall clock is synchronised, from now on."""

    trusted: bool


class MemoryChecked(msgspec.Struct, frozen=True):
    """The store of obeyed commands can be written from now on, or cannot."""

    durable: bool


class DimmingTick(msgspec.Struct, frozen=True):
    """Time has passed."""


DimmingEvent = (
    CommandReceived
    | SourceLimited
    | SourceReached
    | EebusReported
    | InputsRead
    | Measured
    | Decided
    | ClockTrusted
    | MemoryChecked
    | DimmingTick
)


class DimmingMemory(Record, frozen=True, kw_only=True):
    """What must survive a restart. `saved` is POSIX s."""

    saved: float
    words: Mapping[str, LimitSourceMemory] = {}
    said: Mapping[str, CommandContext] = {}
    failsafes: Mapping[str, lpc.Failsafe] = {}


class PersistDimming(msgspec.Struct, frozen=True):
    """Keep this, durably, before anything that follows."""

    memory: DimmingMemory


class DimmingChanged(msgspec.Struct, frozen=True):
    """This limit holds from now on, on the grid draw of the steerable devices, or nothing (`dimmed`)."""

    effective: EffectiveLimit


class RecordEvidence(msgspec.Struct, frozen=True):
    """Put this on record."""

    kind: EvidenceKind
    body: Mapping[str, Any]


class CommandAnswer(msgspec.Struct, frozen=True):
    """The signed acknowledgement of a command; `reason`: why it is refused."""

    token: int
    payload: bytes
    accepted: bool
    reason: str | None = None


class NotifyBackends(msgspec.Struct, frozen=True):
    """A signed report of what a command has done, for the link that it came by."""

    via: str
    payload: bytes


class EebusAction(msgspec.Struct, frozen=True):
    """Answer to the write of the energy guard of a source."""

    source: str
    action: lpc.Answered


class DimmingLogEntry(msgspec.Struct, frozen=True):
    """A line for the log, of a level of `logging`."""

    level: int
    text: str


DimmingAction = (
    PersistDimming
    | DimmingChanged
    | RecordEvidence
    | CommandAnswer
    | NotifyBackends
    | EebusAction
    | DimmingLogEntry
)

ORDER: tuple[type[msgspec.Struct], ...] = (
    PersistDimming,
    DimmingChanged,
    RecordEvidence,
    CommandAnswer,
    EebusAction,
    NotifyBackends,
    DimmingLogEntry,
)
"""First what a restart needs, then what the grid needs, then the proof, and only then words about it."""


def in_order(actions: list[DimmingAction]) -> list[DimmingAction]:
    """The actions in the order in which they are to be done."""
    return sorted(actions, key=lambda action: ORDER.index(type(action)))
