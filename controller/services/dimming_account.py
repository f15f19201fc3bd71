"""What the status tells of dimming since the start: what held when, and what became of commands."""

from __future__ import annotations

from collections import Counter, deque

from msgspec.structs import replace

from controller.dimming.acknowledgement import moment
from controller.dimming.dimming_settings import DimmingSettings
from controller.dimming.effective_limit import EffectiveLimit
from controller.dimming.events import CommandAnswer
from controller.web.status_model import DimmingSpanStatus, DimmingStatus

SPANS_TOLD = 20
"""Limits that the status remembers."""


class DimmingHistory:
    """Counts and remembers. `drawn_w`, `grid_w`: what was measured last; `unwritten`: not on record."""

    def __init__(self, settings: DimmingSettings) -> None:
        self.drawn_w: float | None = None
        self.grid_w: float | None = None
        self.unwritten = 0
        self._settings = settings
        self._spans: deque[DimmingSpanStatus] = deque(maxlen=SPANS_TOLD)
        self._accepted = 0
        self._refused: Counter[str] = Counter()

    def answered(self, answer: CommandAnswer) -> None:
        """A command has its answer."""
        if answer.reason is None:
            self._accepted += 1
        else:
            self._refused[answer.reason] += 1

    def dimmed(self, effective: EffectiveLimit, utc: float) -> None:
        """This holds from now on (POSIX s)."""
        if self._spans and self._spans[-1].until is None:
            self._spans.append(replace(self._spans.pop(), until=moment(utc)))
        if effective.dimmed:
            total = effective.total
            limit_w = None if total is None else total.watts
            self._spans.append(
                DimmingSpanStatus(since=moment(utc), until=None, limit_w=limit_w, sources=effective.sources)
            )

    def status(self, effective: EffectiveLimit, why: str, records: int) -> DimmingStatus:
        """What people are told; `records` are those of the evidence."""
        total = effective.total
        return DimmingStatus(
            dimmed=effective.dimmed,
            why=why,
            limit_w=None if total is None else total.watts,
            phases_w=effective.phases_w,
            evses_w={str(ref): bound.watts for ref, bound in effective.evses.items()},
            sources=effective.sources,
            drawn_w=_rounded(self.drawn_w),
            grid_w=_rounded(self.grid_w),
            devices=len(self._settings.devices),
            minimum_w=round(self._settings.minimum_w, 1),
            spans=tuple(self._spans),
            accepted_total=self._accepted,
            refused_total=dict(self._refused),
            evidence_records=records,
            evidence_failed_total=self.unwritten,
        )


def _rounded(watts: float | None) -> float | None:
    return None if watts is None else round(watts, 1)
