"""A `DimmingController` in virtual time, and its grid operator: the core driver of dimming."""

from __future__ import annotations

from typing import Any

import msgspec

from controller.dimming.dimming_controller import DimmingController
from controller.dimming.dimming_limits import SourceFailsafe
from controller.dimming.dimming_settings import DimmingSettings, SourceSettings
from controller.dimming.events import (
    ClockTrusted,
    CommandAnswer,
    CommandReceived,
    DimmingAction,
    DimmingEvent,
    DimmingMemory,
    Measured,
    RecordEvidence,
    SourceReached,
)
from controller.dimming.evidence_chain import EvidenceKind
from controller.model.journal import Persist
from controller.model.observations import EvseRef
from tests.controller.dimming.commands import NOON, POINT
from tests.controller.dimming.signers import PlainSignatures, signed

ONE, TWO = EvseRef("CS01", 1), EvseRef("CS02", 1)
SETTINGS = DimmingSettings(
    connection_point=POINT,
    sources=(
        SourceSettings(id="dso", kind="signed", role="grid-operator", rank=10, lost_after_s=600),
        SourceSettings(id="cpo", kind="signed", role="operator", minimum=False),
        SourceSettings(id="csms", kind="ocpp", minimum=False),
    ),
    failsafe=SourceFailsafe(7560, 7200),
    devices={ONE: "grid", TWO: "grid"},
)
GUARDED = msgspec.structs.replace(SETTINGS, sources=(SourceSettings(id="box", kind="eebus", rank=5),))
MINIMUM = 7560.0
"""Least power of two controllable EVSEs (W)."""


class DimmingHarness:
    """A dimming controller whose second 0 is NOON; `actions`: the effects of the last event."""

    def __init__(self, settings: DimmingSettings = SETTINGS, memory: DimmingMemory | None = None) -> None:
        self.controller = DimmingController(settings, PlainSignatures(), 0.0)
        self.now = 0.0
        self.actions: list[DimmingAction] = []
        if memory is not None:
            self.controller.restore(memory, 0.0, NOON, clock_trusted=True)
        else:
            self.handle(ClockTrusted(True))
        for source in settings.sources:
            if source.kind == "signed":
                self.handle(SourceReached(source.id, True))

    def handle(self, event: DimmingEvent, at: float | None = None) -> list[DimmingAction]:
        self.now = self.now if at is None else at
        self.actions = self.controller.handle(event, self.now, NOON + self.now)
        return self.actions

    def send_command(
        self, payload: dict[str, Any], *signers: str, at: float | None = None, is_durable: bool = True
    ) -> dict[str, Any]:
        """Send a command and return its acknowledgement."""
        self.handle(CommandReceived(7, "cpo", signed(payload, *signers), is_durable), at)
        [answer] = [action for action in self.actions if isinstance(action, CommandAnswer)]
        assert answer.token == 7
        acknowledged: dict[str, Any] = msgspec.json.decode(answer.payload)
        assert answer.accepted == (acknowledged["status"] != "refused")
        assert acknowledged.pop("signatures")[0]["by"] == "controller"
        return acknowledged

    def measure(
        self, one: float | None, two: float | None = 0.0, grid: float | None = None, at: float | None = None
    ) -> list[DimmingAction]:
        return self.handle(Measured({ONE: one, TWO: two}, grid), at)

    def evidence(self, kind: EvidenceKind | None = None) -> list[dict[str, Any]]:
        found = [each for each in self.actions if isinstance(each, RecordEvidence)]
        return [dict(each.body) for each in found if kind in (None, each.kind)]

    def take_memory(self) -> DimmingMemory:
        """Return the one state that is to be durable after the last event."""
        [persist] = self.effects(Persist)
        [memory] = persist.records
        assert isinstance(memory, DimmingMemory)
        return memory

    def evidence_kinds(self) -> list[str]:
        return [each.kind.value for each in self.actions if isinstance(each, RecordEvidence)]

    def effects(self, kind: type[Any]) -> list[Any]:
        return [each for each in self.actions if isinstance(each, kind)]

    @property
    def total_w(self) -> float | None:
        total = self.controller.effective.total
        return None if total is None else total.watts
