"""Recorder of the history: samples go in every few seconds, records come out every quarter hour.

The quarter hours are aligned to UTC, so they are those of the grid operator's peak measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from controller.history.history_records import (
    BLOCK_S,
    MINUTE_S,
    HistoryMinutes,
    HistoryQuarter,
    HistoryTrimmed,
    Triple,
)
from controller.model.journal import Record

KEPT_IN_MINUTES = 14 * 86_400 // BLOCK_S
KEPT_QUARTERS = 731 * 86_400 // BLOCK_S
MOST_CHANNELS = 64
"""Channels that are recorded; the first ones of a sample."""

_MINUTES = BLOCK_S // MINUTE_S


class _Span(msgspec.Struct):
    """Lowest and highest value, and the sum of all, of one channel over some time."""

    low: float
    high: float
    total: float
    count: int

    def add(self, value: float) -> None:
        self.low, self.high = min(self.low, value), max(self.high, value)
        self.total += value
        self.count += 1

    @property
    def triple(self) -> Triple:
        return (round(self.low, 1), round(self.total / self.count, 1), round(self.high, 1))


class HistoryRecorder:
    """Collects samples of the present quarter hour."""

    def __init__(self) -> None:
        self._start: int | None = None
        self._minute = 0
        self._spans: dict[str, _Span] = {}
        self._minutes: dict[str, list[Triple | None]] = {}

    def restore(self, stored: HistoryMinutes) -> None:
        """Continue a quarter hour that was stored in part before a restart."""
        self._start = stored.start
        self._minute = 0
        self._spans = {}
        self._minutes = {name: list(values) for name, values in stored.channels.items()}

    def add(self, sample: Mapping[str, float], utc: float) -> list[Record]:
        """Take in a sample; return the records of a quarter hour that has ended with it.

        Samples of the quarter hour before the present one are dropped (the clock was set back by minutes).
        Where it was set back further, what there is of the present one is stored, and an earlier one begins.
        """
        start = int(utc // BLOCK_S) * BLOCK_S
        minute = int((utc - start) // MINUTE_S)
        records: list[Record] = []
        if self._start is None:
            self._start, self._minute = start, minute
        if start == self._start - BLOCK_S:
            return []
        if start != self._start:
            records = self.flush(is_complete=start > self._start)
            self._start, self._minute, self._minutes = start, minute, {}
        elif minute != self._minute:
            self._end_minute()
            self._minute = minute
        for name, value in sample.items():
            if name in self._spans:
                self._spans[name].add(value)
            elif len(self._minutes.keys() | self._spans.keys()) < MOST_CHANNELS or name in self._minutes:
                self._spans[name] = _Span(value, value, value, 1)
        return records

    def flush(self, *, is_complete: bool = False) -> list[Record]:
        """Return the records of the present quarter hour, as far as it goes; none if it is empty."""
        self._end_minute()
        if self._start is None or not self._minutes:
            return []
        records: list[Record] = [HistoryMinutes(self._start, self._minutes)]
        if is_complete:
            records.append(HistoryQuarter(self._start, {n: _over(v) for n, v in self._minutes.items()}))
            records.append(HistoryTrimmed(KEPT_IN_MINUTES, KEPT_QUARTERS))
        return records

    @property
    def present(self) -> HistoryMinutes | None:
        """Return the minutes of the present quarter hour that have ended; None before the first."""
        return None if self._start is None else HistoryMinutes(self._start, dict(self._minutes))

    def _end_minute(self) -> None:
        for name, span in self._spans.items():
            values = self._minutes.setdefault(name, [None] * _MINUTES)
            values[self._minute] = span.triple
        self._spans = {}


def _over(values: list[Triple | None]) -> Triple:
    """Return lowest, mean and highest over minutes."""
    known = [value for value in values if value is not None]
    mean = sum(value[1] for value in known) / len(known)
    return (min(v[0] for v in known), round(mean, 1), max(v[2] for v in known))
