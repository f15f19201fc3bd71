"""Jumps of a circuit's base load, and the margin that absorbs those which recur.

A *jump* is a rise of the base load on a phase within some seconds, which is faster than cars obey: only the
margin keeps the circuit below its limit until they do. A jump lasts until the load no longer rises, and its
highest rise counts. It is a rise of the readings, too: where the base load alone rises, cars have not
followed their limits yet. A car that draws more by itself is taken for the building until its station reports
that, so while cars may draw a jump counts only once reports had the time to explain it.

Of each day of observation the highest jumps are stored, of the last seven days. The learned margin is the
`RECURS`-th highest of them all: a jump as high came so many times in a week, while a single one (a welding
machine on a Saturday) reserves nothing for ever. Time without good readings is not observed.

Before the first day is over nothing is known of most loads, so that the greatest margin is planned with.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from controller.load_management.metering.base_load import JUMP_S, BaseLoad, RollingMax
from controller.load_management.metering.fuse_curve import needed_margin_a
from controller.load_management.site_tree import ZERO, CircuitNode, PhaseAmps
from controller.model.journal import Record

DIP_S = 6.0
"""Time (s) that a report is ahead of the readings of a late meter: the load falls, and rises again then."""
LEAST_JUMP_A = 1.0
"""Lower rises (A) are the noise of readings and of small loads."""
JUMP_LASTS_S = 60.0
"""Longest time (s) of one jump: a load that rises for longer counts as several."""
EXPLAINED_S = 330.0
"""Time (s) after a jump until no report explains it any more: stations report each 5 minutes or sooner."""
SAME_PART = 0.25
"""Part of a report's step by which the jump that it explains may differ: reports and readings come apart."""
LONGEST_GAP_S = 60.0
"""Longest time (s) between two readings that counts as observed."""
DAY_S = 86_400.0
DAYS = 7
RECURS = 3
"""Number of jumps in `DAYS` days that a margin is learned from."""
LEAST_MARGIN_A = 1.0
MOST_PART = 0.25
"""Part of the limit that is the greatest learned margin, and the margin until the first day is over."""
STEP_A = 0.5
"""Steps of the learned margin (A)."""
SAVED_EVERY_S = 3600.0


class MarginStored(Record, frozen=True):
    """Jumps of one circuit's base load before a restart, observed for `observed_s` (s).

    `days`: the highest jumps (A) of each of the last days, the present one last. `jumps` came in all,
    `beyond` of them above the margin; `highest_a` is the highest ever.
    """

    circuit: str
    observed_s: float
    days: tuple[tuple[float, ...], ...]
    jumps: int
    beyond: int
    highest_a: float


class _Jump(msgspec.Struct, frozen=True):
    """A jump by so much (A) that ended at `at` (s), beside the margin of its time (A)."""

    at: float
    rise_a: float
    margin_a: float


class SeenRises:
    """Rises of a circuit's base load within `JUMP_S` that the readings of its meter show as well."""

    def __init__(self) -> None:
        self._measured_a = ZERO
        self._negated_readings = (RollingMax(JUMP_S), RollingMax(JUMP_S), RollingMax(JUMP_S))
        self._lasting = (RollingMax(DIP_S), RollingMax(DIP_S), RollingMax(DIP_S))
        self._negated_lasting = (RollingMax(JUMP_S), RollingMax(JUMP_S), RollingMax(JUMP_S))

    def on_reading(
        self, measured_a: PhaseAmps, before_a: PhaseAmps, load: BaseLoad, now: float
    ) -> tuple[float, float]:
        """Return the highest rise of a phase, and the most that has turned out to be the cars' draw (A).

        `measured_a`: the reading (A per phase) that `load` has taken in just now; `before_a`: its likely load
        before. The end of a dip is no rise.
        """
        likely_a = load.likely_a
        lasting_a = RollingMax.add_all(zip(self._lasting, likely_a, strict=True), now)
        negated = [-amps for amps in (*measured_a, *lasting_a)]
        windows = zip((*self._negated_readings, *self._negated_lasting), negated, strict=True)
        highest = RollingMax.add_all(windows, now)
        last_a, self._measured_a = self._measured_a, measured_a
        seen_a = explained_a = -math.inf
        for phase, rise_a in enumerate(load.rises_a):
            shown_a, likely = measured_a[phase], likely_a[phase]
            seen_a = max(seen_a, min(rise_a, shown_a + highest[phase], likely + highest[3 + phase]))
            explained_a = max(explained_a, before_a[phase] - likely + min(0.0, shown_a - last_a[phase]))
        return seen_a, explained_a


class MarginLearning:
    """Jumps of one circuit's base load. Currents in A per phase, times in s.

    `jumps` counts all, `beyond` those above the margin of their time; `highest_a` is the highest ever.
    `auto_a`: margin where it is to be learned. `proposed_a`: the same for a person; None before the end of
    the first day. `is_unsaved`: there is something new to record. `seen_rises`: the rises to `add`, where the
    meter shows the cars, too.
    """

    def __init__(self, circuit: CircuitNode) -> None:
        self.jumps = self.beyond = 0
        self.highest_a = 0.0
        self.is_unsaved = False
        self.seen_rises = SeenRises()
        self._observed_s = 0.0
        self._saved_s = 0.0
        self._days: list[list[float]] = [[]]
        self._at: float | None = None
        self._jump_a = 0.0
        self._jump_since = 0.0
        self._open: deque[_Jump] = deque()
        """Jumps that reports may still explain, oldest first."""
        self.set_circuit(circuit)

    def set_circuit(self, circuit: CircuitNode) -> None:
        """Apply another limit of the same circuit."""
        limit_a = min(circuit.limit_a)
        self._circuit = circuit.id
        self._least_a = max(LEAST_MARGIN_A, _rounded_up(needed_margin_a(limit_a, circuit.fuse)))
        self._most_a = max(self._least_a, MOST_PART * limit_a)
        self._update()

    def add(
        self,
        rise_a: float,
        margin_a: float,
        now: float,
        explained_a: float = 0.0,
        *,
        may_be_explained: bool = False,
    ) -> None:
        """Add the present rise of the base load (the highest of the phases); `margin_a`: as planned with.

        `explained_a`: so much of the base load has turned out to be the draw of cars. `may_be_explained`: of
        this rise that may turn out yet.
        """
        if self._at is not None:
            self._observe(min(now - self._at, LONGEST_GAP_S))
        self._at = now
        if explained_a >= LEAST_JUMP_A:
            self._explain(explained_a)
        if self._jump_a and (rise_a < LEAST_JUMP_A or now >= self._jump_since + JUMP_LASTS_S):
            self._open.append(_Jump(now, self._jump_a, margin_a))
            self._jump_a = 0.0
        elif self._jump_a or rise_a >= LEAST_JUMP_A:
            if not self._jump_a:
                self._jump_since = now
            self._jump_a = max(self._jump_a, rise_a)
        while self._open and (not may_be_explained or now >= self._open[0].at + EXPLAINED_S):
            self._count(self._open.popleft())

    def _explain(self, amps: float) -> None:
        """Drop the last jump of this size (A)."""
        tolerance_a = max(LEAST_JUMP_A, SAME_PART * amps)
        if abs(self._jump_a - amps) <= tolerance_a:
            self._jump_a = 0.0
            return
        for jump in reversed(self._open):
            if abs(jump.rise_a - amps) <= tolerance_a:
                self._open.remove(jump)
                return

    def _observe(self, seconds: float) -> None:
        days = self._observed_s // DAY_S
        self._observed_s += seconds
        if self._observed_s // DAY_S > days:
            self._days = [*self._days[-(DAYS - 1) :], []]
            self.is_unsaved = True
            self._update()
        self.is_unsaved |= self._observed_s >= self._saved_s + SAVED_EVERY_S

    def _count(self, jump: _Jump) -> None:
        self.jumps += 1
        self.beyond += jump.rise_a > jump.margin_a
        self.highest_a = max(self.highest_a, jump.rise_a)
        today = self._days[-1]
        if len(today) < RECURS or jump.rise_a > today[-1]:
            today.append(jump.rise_a)
            today.sort(reverse=True)
            del today[RECURS:]
            self.is_unsaved = True
            self._update()

    def _update(self) -> None:
        known = sorted((jump for day in self._days for jump in day), reverse=True)
        learned_a = _rounded_up(known[RECURS - 1]) if len(known) >= RECURS else 0.0
        bounded_a = min(max(learned_a, self._least_a), self._most_a)
        self.proposed_a = bounded_a if self._observed_s >= DAY_S else None
        self.auto_a = self._most_a if self.proposed_a is None else self.proposed_a

    def take_record(self) -> MarginStored:
        """Return what has to be stored; it then counts as saved."""
        self.is_unsaved, self._saved_s = False, self._observed_s
        days = tuple(tuple(day) for day in self._days)
        return MarginStored(self._circuit, self._observed_s, days, self.jumps, self.beyond, self.highest_a)

    def restore(self, stored: MarginStored) -> None:
        """Take over what was stored before a restart."""
        self._observed_s = self._saved_s = stored.observed_s
        self._days = [sorted(day, reverse=True)[:RECURS] for day in stored.days[-DAYS:]] or [[]]
        self.jumps, self.beyond, self.highest_a = stored.jumps, stored.beyond, stored.highest_a
        self._update()


def _rounded_up(amps: float) -> float:
    return math.ceil(amps / STEP_A - 1e-9) * STEP_A
