"""Energy budget of a quarter hour: keeps the mean power of each clock-aligned 15 minutes below a target.

Grid operators bill the highest mean of a quarter hour, measured by the import register of their meter. What
counts is energy: a moment of high power costs nothing as long as the quarter's mean stays below the target.

The energy of the quarter is followed by integrating the active power between readings, and corrected with
each rise of the import register, which also covers the time in which the meter was not read. Feed-in counts
as 0 and not as a credit. The *room* of the EVSEs is the energy that is left, less what the building is
expected to draw in the rest of the quarter, spread over that rest. The building is expected to draw its mean
of the last minutes. A part of the energy is kept in reserve for a surge to its highest recent draw at the end
of the quarter, when an error could not be made up for any more; it is released as the quarter ends. A surge
that has begun is expected to last as long as the longest recent one.

EVSEs that charge are kept at their minimum as long as a stop a little later would still save enough energy.

Unknown energy is counted at the worst case: time without readings at the power that the control gave as
the most possible in that time, unless the register shows what it was. After a restart the part of the quarter
that is not covered by a stored register counts in the same way.

Where the clock was set, the quarter hour begins at another moment: its energy is what has flowed since that
moment by the monotonic clock. Its mean is not noted as reached.
"""

from __future__ import annotations

import math
from collections import deque

import msgspec

from controller.load_management.metering.base_load import RollingMax

QUARTER_S = 900.0
LONGEST_STEP_S = 10.0
"""Readings further apart than this are a gap: what flowed between them is not known."""
SMOOTHING_S = 300.0
"""Time constant of the building's mean draw."""
SURGE_S = 100.0
"""Length of a surge of the building for which energy is kept in reserve, if none was longer (s)."""
LONGEST_SURGE_S = 450.0
"""Longest surge of the building (s): its mean follows a longer one."""
SURGES_KNOWN_S = 3600.0
"""Time for which the length of a surge is known (s)."""
SURGE_BEGINS = 0.5
SURGE_ENDS = 0.25
"""Parts of the way from the building's mean to its highest draw at which a surge begins and ends."""
SURGE_MEMORY_S = 900.0
"""Span in which the highest draw of the building counts (s)."""
REACTION_S = 15.0
"""Time that the EVSEs take to follow a lower budget (s)."""
KEPT_S = 60.0
"""The minima of EVSEs that charge are kept while there is energy for so long (s)."""
LEAST_REST_S = 30.0
"""Least time (s) over which the energy beyond the room of every quarter is spread."""
REGISTER_SLACK_WH = 2000.0
"""A register may rise by so much more than the power allows: its last digit may be as coarse as 1 kWh."""
REGISTER_PART = 0.5
"""Part of what the power shows that a register shows at least."""
LACKING_WH = 20.0
"""Energy below that part (Wh) by which a register is not the meter's, or has another ratio."""
COMPARED_WH = 500.0
"""Energy (Wh) after which the two are compared anew."""
MARK_S = 10.0
"""Interval at which the energy so far is kept, for a quarter hour whose begin moves (s)."""


class QuarterMemory(msgspec.Struct, frozen=True, kw_only=True):
    """State of a quarter hour for a restart: its number (POSIX s / 900) and the register at its begin (Wh).

    `register_wh` is None for a meter without a register.
    """

    quarter: int
    register_wh: float | None


class _UnreadEnergy(msgspec.Struct, frozen=True):
    """Most energy that can have flowed since the last reading (Wh): in all, and in the running quarter.

    `until`: POSIX time (s) up to which it is counted.
    """

    until: float
    wh: float = 0.0
    quarter_wh: float = 0.0

    def counted(self, worst_w: float, utc: float) -> _UnreadEnergy:
        """Return the energy until `utc`, with the most that can have flowed since `until` (W)."""
        begin = math.floor(utc / QUARTER_S) * QUARTER_S
        wh = self.wh + worst_w * max(0.0, utc - self.until) / 3600
        quarter_wh = worst_w * max(0.0, utc - max(self.until, begin)) / 3600
        if self.until >= begin:
            quarter_wh += self.quarter_wh
        return _UnreadEnergy(utc, wh, quarter_wh)

    def shifted(self, step_s: float, worst_w: float) -> _UnreadEnergy:
        """Return it after a step of the clock (s), by which the quarter has begun at another moment."""
        until = self.until + step_s
        return _UnreadEnergy(until, self.wh, min(self.wh, worst_w * (until % QUARTER_S) / 3600))


class QuarterPeak:
    """Energy of the running quarter hour at one metered circuit. Times in POSIX s.

    `highest_w`: the highest mean of a finished quarter hour since `take_finished` was called last.
    """

    def __init__(self) -> None:
        self._quarter: int | None = None
        self._wh = 0.0
        """Imported energy since the start (Wh)."""
        self._begin_wh = 0.0
        """The same at the begin of the quarter."""
        self._counted_until: float | None = None
        self._unread: _UnreadEnergy | None = None
        """Energy since the last reading; None before anything is known."""
        self._power_w = 0.0
        self._register_wh: float | None = None
        self._offset_wh = 0.0
        """Register less `_wh`."""
        self._compared_from = (0.0, 0.0)
        """Register and energy (`_wh`) from which on the two are compared."""
        self._measured_wh = 0.0
        """Energy that the power readings have shown since then, without gaps (Wh)."""
        self._is_whole = False
        """True if the whole quarter so far was measured without a gap."""
        self._mean_w: float | None = None
        self._mean_at = 0.0
        self._highest = RollingMax(SURGE_MEMORY_S)
        self._surge: tuple[float, float] | None = None
        """Begin of the surge of the building that lasts on, and the draw below which it ends (W)."""
        self._surge_lengths = RollingMax(SURGES_KNOWN_S)
        self._last_room: tuple[int, float, float] | None = None
        """Quarter and rooms of the last answer that could still take effect in that quarter."""
        self._finished_w: float | None = None
        self._marks: deque[tuple[float, float]] = deque(maxlen=math.ceil(QUARTER_S / MARK_S) + 1)
        """Times and energies so far (Wh) of the last quarter of an hour."""
        self._restored: QuarterMemory | None = None
        self._begin_register_wh: float | None = None

    # Measurement

    def restore(self, memory: QuarterMemory) -> None:
        """Take over the register at the begin of a quarter before a restart."""
        self._restored = memory

    def record(self) -> QuarterMemory | None:
        """Return what must survive a restart; None before the first reading."""
        if self._quarter is None:
            return None
        return QuarterMemory(quarter=self._quarter, register_wh=self._begin_register_wh)

    @property
    def quarter(self) -> int | None:
        """Return the number of the running quarter hour; None before the first reading."""
        return self._quarter

    def on_reading(
        self, power_w: float, base_w: float, register_wh: float | None, worst_w: float, utc: float
    ) -> None:
        """Process a good reading: the import's power, the building's part of it, the import register.

        `worst_w`: the most that can have flowed since `count_unread` was called last, or in all of the
        quarter before the first reading (W).
        """
        import_w = max(0.0, power_w)
        if self._counted_until is None:
            self._begin(register_wh, worst_w, utc)
        else:
            self._count(import_w, register_wh, worst_w, utc)
        self._power_w = import_w
        self._counted_until = utc
        self._unread = _UnreadEnergy(utc)
        if not self._marks or utc - self._marks[-1][0] >= MARK_S:
            self._marks.append((utc, self._wh))
        if self._mean_w is None:
            self._mean_w = base_w
        else:
            weight = 1 - math.exp(-max(0.0, utc - self._mean_at) / SMOOTHING_S)
            self._mean_w += weight * (base_w - self._mean_w)
        self._mean_at = utc
        self._highest.add(base_w, utc)
        self._follow_surge(base_w, self._mean_w, utc)

    def _follow_surge(self, base_w: float, mean_w: float, utc: float) -> None:
        """Find whether a surge of the building has begun or ended, and how long it was."""
        if self._surge is None:
            height_w = (self._highest.highest(utc) or base_w) - mean_w
            if base_w - mean_w > SURGE_BEGINS * height_w:
                self._surge = utc, mean_w + SURGE_ENDS * height_w
        elif (lasted_s := utc - self._surge[0]) > LONGEST_SURGE_S:
            self._surge = None
        elif base_w < self._surge[1]:
            self._surge_lengths.add(lasted_s, utc)
            self._surge = None

    def _begin(self, register_wh: float | None, worst_w: float, utc: float) -> None:
        """Begin to count in the middle of a quarter: its past is known by a stored register, or the worst.

        The register stored at the begin of this quarter or an earlier one bounds the energy from above.
        """
        self._quarter = math.floor(utc / QUARTER_S)
        past_wh = worst_w * (utc - self._quarter * QUARTER_S) / 3600
        self._is_whole = past_wh == 0
        memory, self._restored = self._restored, None
        if register_wh is not None:
            self._register_wh = register_wh
            if memory is not None and memory.register_wh is not None and memory.quarter <= self._quarter:
                since_wh = register_wh - memory.register_wh
                if 0 <= since_wh < past_wh:
                    past_wh = since_wh
                    self._is_whole = memory.quarter == self._quarter
            self._begin_register_wh = register_wh - past_wh
            self._offset_wh = register_wh
            self._compare_from(register_wh)
        self._begin_wh = -past_wh

    def _count(self, import_w: float, register_wh: float | None, worst_w: float, utc: float) -> None:
        """Add the energy since the last reading, and begin a new quarter where one has begun since."""
        assert self._counted_until is not None
        assert self._quarter is not None
        step_s = utc - self._counted_until
        is_gap = not 0 <= step_s <= LONGEST_STEP_S
        unread = self._unread_until(worst_w, utc)
        step_wh = unread.wh if is_gap else max(import_w, self._power_w) * step_s / 3600
        before_wh = self._wh
        self._wh += step_wh
        if not is_gap:
            self._measured_wh += step_wh
        if register_wh is not None:
            self._correct(register_wh)
        self._is_whole &= not is_gap
        quarter = math.floor(utc / QUARTER_S)
        if quarter != self._quarter:
            if is_gap:
                # When in the gap the energy flowed is unknown: all of it may have been in this quarter.
                begin_wh = max(before_wh, self._wh - unread.quarter_wh)
            else:
                begin_s = quarter * QUARTER_S - self._counted_until
                begin_wh = before_wh + (self._wh - before_wh) * begin_s / step_s
            self._begin_quarter(quarter, begin_wh, is_gap=is_gap)

    def _begin_quarter(self, quarter: int, begin_wh: float, *, is_gap: bool) -> None:
        assert self._quarter is not None
        if self._is_whole and quarter == self._quarter + 1:
            mean_w = (begin_wh - self._begin_wh) * 3600 / QUARTER_S
            self._finished_w = max(mean_w, self._finished_w or 0.0)
        self._is_whole = not is_gap
        self._quarter = quarter
        self._begin_wh = begin_wh
        if self._register_wh is not None:
            self._begin_register_wh = begin_wh + self._offset_wh

    def _correct(self, register_wh: float) -> None:
        """Take the energy from a register that has risen; another register's count begins again.

        At the moment of its rise a register is exact to its last digit. One that falls, or rises by more or
        by far less than can have flowed, is another meter's, or lacks the ratio of the current transformers.
        """
        before = self._register_wh
        self._register_wh = register_wh
        if before is None:
            self._follow_register(register_wh)
            return
        if register_wh == before:
            return
        counted_wh = register_wh - self._offset_wh
        most_wh = self._wh + REGISTER_SLACK_WH
        if register_wh < before or counted_wh > most_wh:
            self._follow_register(register_wh)
            return
        from_register_wh, from_wh = self._compared_from
        if REGISTER_PART * self._measured_wh - (register_wh - from_register_wh) > LACKING_WH:
            self._wh = max(self._wh, from_wh + self._measured_wh)
            self._follow_register(register_wh)
            return
        self._wh = max(counted_wh, self._begin_wh)
        if self._measured_wh >= COMPARED_WH:
            self._compare_from(register_wh)

    def _follow_register(self, register_wh: float) -> None:
        """Take the energy that was counted by power as what the register shows from now on."""
        self._offset_wh = register_wh - self._wh
        self._begin_register_wh = self._begin_wh + self._offset_wh
        self._compare_from(register_wh)

    def _compare_from(self, register_wh: float) -> None:
        """Compare what register and power show from now on."""
        self._compared_from, self._measured_wh = (register_wh, self._wh), 0.0

    def on_clock_set(self, step_s: float, worst_w: float, utc: float) -> None:
        """Follow a step of the clock to `utc` (s); what has flowed since the quarter's begin stays known.

        Time before the first reading counts at `worst_w`.
        """
        self._last_room = None
        if self._counted_until is None or self._quarter is None:
            self._unread = None
            return
        self._counted_until += step_s
        if self._unread is not None:
            self._unread = self._unread.shifted(step_s, worst_w)
        self._mean_at += step_s
        self._highest.shift(step_s)
        self._surge_lengths.shift(step_s)
        if self._surge is not None:
            self._surge = self._surge[0] + step_s, self._surge[1]
        self._marks = deque(((at + step_s, wh) for at, wh in self._marks), self._marks.maxlen)
        self._quarter = math.floor(utc / QUARTER_S)
        begin = self._quarter * QUARTER_S
        first_at, first_wh = self._marks[0]
        self._begin_wh = first_wh - worst_w * max(0.0, first_at - begin) / 3600
        for at, wh in self._marks:
            if at <= begin:
                self._begin_wh = min(wh, self._wh)
        self._is_whole = False
        if self._register_wh is not None:
            self._begin_register_wh = self._begin_wh + self._offset_wh

    def take_finished(self) -> float | None:
        """Return the highest mean (W) of the quarters that ended since the last call; None without one.

        Only quarters that were measured as a whole count.
        """
        finished, self._finished_w = self._finished_w, None
        return finished

    # Budget

    @property
    def is_whole(self) -> bool:
        """Return True if all of the running quarter so far was measured."""
        return self._counted_until is not None and self._is_whole

    def used_wh(self, worst_w: float, utc: float) -> float:
        """Return the energy of the running quarter so far (Wh).

        Unknown parts count at the most that could flow: since the last call of `count_unread` that is
        `worst_w`.
        """
        unread = self._unread_until(worst_w, utc)
        if self._counted_until is None or self._quarter is None:
            return unread.quarter_wh
        unread_s = utc - self._counted_until
        is_gap = not 0 <= unread_s <= LONGEST_STEP_S
        if math.floor(utc / QUARTER_S) != self._quarter:
            short_s = min(unread_s, utc % QUARTER_S)
            return unread.quarter_wh if is_gap else self._power_w * short_s / 3600
        return self._wh - self._begin_wh + (unread.wh if is_gap else self._power_w * unread_s / 3600)

    def count_unread(self, worst_w: float, utc: float) -> None:
        """Count the time since the last call or reading at the most that could flow in it (W).

        That counts for time without readings, whatever can flow later.
        """
        self._unread = self._unread_until(worst_w, utc)

    def _unread_until(self, worst_w: float, utc: float) -> _UnreadEnergy:
        """Return the energy since the last reading, or since the quarter's begin before the first one."""
        unread = self._unread or _UnreadEnergy(math.floor(utc / QUARTER_S) * QUARTER_S)
        return unread.counted(worst_w, utc)

    def rooms_w(
        self, target_w: float, base_w: float, worst_w: float, utc: float, *, is_trusted: bool
    ) -> tuple[float, float]:
        """Return the power that the EVSEs may draw on average for the rest of the quarter (W).

        Then that in which the minima of EVSEs that charge are kept. `base_w`: the building's highest recent
        draw, or its worst one where the meter is not good (not `is_trusted`). `worst_w`: the most that can
        flow (W), for time without readings.
        """
        rest_s = min(QUARTER_S, (math.floor(utc / QUARTER_S) + 1) * QUARTER_S - utc)
        quarter = math.floor(utc / QUARTER_S)
        if rest_s < REACTION_S and self._last_room is not None and self._last_room[0] == quarter:
            return self._last_room[1:]  # a stop now would take effect in the next quarter only
        left_ws = target_w * QUARTER_S - self.used_wh(worst_w, utc) * 3600
        expected_w, surge_w = self._expected(base_w, utc, is_trusted=is_trusted)
        # Half of the rest, and all of what is too short to react in, may be one surge.
        surge_s = min(max(rest_s / 2, min(rest_s, REACTION_S)), self._surge_s(utc))
        lasting_s = self._surge_rest_s(utc)
        reserve_ws = surge_w * max(surge_s, min(rest_s, SMOOTHING_S if lasting_s is None else lasting_s))
        spare_ws = left_ws - reserve_ws - expected_w * rest_s
        steady_w = spare_ws / max(rest_s, 1.0)
        lasting_w = self.lasting_w(target_w, base_w, utc, is_trusted=is_trusted)
        room_w = keep_w = min(steady_w, max(spare_ws / LEAST_REST_S, lasting_w))
        if is_trusted and lasting_s is not None:
            keep_w = max(room_w, steady_w, spare_ws / KEPT_S)
        self._last_room = quarter, room_w, keep_w
        return room_w, keep_w

    def lasting_w(self, target_w: float, base_w: float, utc: float, *, is_trusted: bool) -> float:
        """Return the power that the EVSEs may draw in every quarter (W): a car may start in no more."""
        expected_w, surge_w = self._expected(base_w, utc, is_trusted=is_trusted)
        return target_w - expected_w - surge_w * SURGE_S / QUARTER_S

    def _surge_rest_s(self, utc: float) -> float | None:
        """Return how long the surge that has begun is expected to last on (s); 0: none has, None: unknown."""
        if self._surge is None:
            return 0.0
        longest_s = self._surge_lengths.highest(utc) or 0.0
        rest_s = self._surge[0] + longest_s - utc
        return rest_s if rest_s >= 0 else None

    def _surge_s(self, utc: float) -> float:
        """Return how long a surge of the building is expected to be (s)."""
        return max(SURGE_S, self._surge_lengths.highest(utc) or 0.0)

    def _expected(self, base_w: float, utc: float, *, is_trusted: bool) -> tuple[float, float]:
        """Return the building's expected draw, and the height of a surge above it (W)."""
        if not is_trusted or self._mean_w is None:
            return base_w, 0.0
        highest_w = max(base_w, self._highest.highest(utc) or 0.0)
        return self._mean_w, max(0.0, highest_w - self._mean_w)
