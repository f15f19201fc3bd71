"""Energy that EVSEs have received: in the running session, and of a group in a day.

The energy of a day is counted by the date of the site's clock. What was drawn in the last 25 hours is kept by
the monotonic clock, too: after a step of the clock the day has what was drawn since its midnight. Energy from
before a restart is known with its date alone. It counts until that day has ended.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Mapping

import msgspec

from controller.load_management.energy.energy_records import EnergyCounted, QuotaStored, SessionEnergyStored
from controller.load_management.energy.energy_settings import GroupSettings
from controller.load_management.events import EvseUse
from controller.model.observations import EvseRef
from controller.model.statements import Statement, StatementCode

LESS_ENERGY = Statement(code=StatementCode.LESS_ENERGY)
LONGEST_STEP_S = 60.0
"""A longer time between two passes counts as this long: the clock of the machine stood still."""
BEHIND_WH = 1000.0
"""An EVSE is behind others when it has received less than their mean by so much, until it has reached it."""
SWAP_WH = 2000.0
"""A charging car gives its place to a waiting car when it has received more by so much."""
STORED_PART = 0.01
"""Part of a quota after whose use the used energy is stored anew."""
STORED_WH = 500.0
"""Energy of a session after which it is stored anew."""
PART_S = 300.0
"""Length of the parts in which the energy of the last hours is kept (s)."""
KEPT_S = 25 * 3600.0
"""Time for which they are kept: the longest day (s)."""


class _Part(msgspec.Struct):
    """Energy (Wh) that a group has drawn from `began_at` on (s, monotonic), on one date of the clock."""

    began_at: float
    day: str
    drawn_wh: float = 0.0


class EnergyUse:
    """Energy of sessions and groups, integrated from pass to pass. All `now` are monotonic s.

    `records`: list to which what has to be stored is added. `stores_sessions`: energies of sessions outlive
    a restart.
    """

    def __init__(
        self,
        groups: Collection[GroupSettings],
        records: list[EnergyCounted],
        *,
        stores_sessions: bool = False,
    ) -> None:
        self.replace_groups(groups, stores_sessions=stores_sessions)
        self._session_wh: dict[EvseRef, float] = {}
        self._day = ""
        """Date of the last pass."""
        self._drawn_wh: dict[str, float] = {}
        """Energy of each group on that day, without what is known from before a restart."""
        self._parts: dict[str, deque[_Part]] = {}
        self._restored: dict[str, tuple[str, float]] = {}
        """Day and energy of each group before a restart, until the day has ended."""
        self._stored_day = ""
        self._stored_wh: dict[str, float] = {}
        self._stored_sessions_wh: dict[EvseRef, float] = {}
        self._resumed: set[EvseRef] = set()
        """EVSEs whose session ran before a restart and has not been reported since."""
        self._behind: set[EvseRef] = set()
        self._counted_at: float | None = None
        self._records = records

    def replace_groups(self, groups: Collection[GroupSettings], *, stores_sessions: bool) -> None:
        """Apply other groups; energies counted so far stay."""
        self._stores_sessions = stores_sessions
        self._groups = {group.id: group for group in groups if group.quota_wh is not None}
        self._group_of = {ref: group.id for group in self._groups.values() for ref in group.evses}

    @property
    def refs(self) -> frozenset[EvseRef]:
        """Return the EVSEs of groups with a quota."""
        return frozenset(self._group_of)

    def restore(self, record: QuotaStored | SessionEnergyStored) -> None:
        """Take over what was used before a restart; groups without a quota are ignored."""
        if isinstance(record, SessionEnergyStored):
            ref = EvseRef(record.station, record.evse)
            self._session_wh[ref] = self._stored_sessions_wh[ref] = record.received_wh
            if record.received_wh:
                self._resumed.add(ref)
        elif record.group in self._groups:
            self._restored[record.group] = record.day, record.used_wh
            self._stored_wh[record.group] = record.used_wh
            self._stored_day = max(self._stored_day, record.day)

    def on_transaction(self, ref: EvseRef, running: bool) -> None:
        """Count the energy of an EVSE from 0 again, unless its session is the one from before a restart."""
        is_resumed = ref in self._resumed
        self._resumed.discard(ref)
        if running and is_resumed:
            return
        self._session_wh[ref] = 0.0
        self._behind.discard(ref)
        if self._stored_sessions_wh.pop(ref, 0.0):
            self._records.append(SessionEnergyStored(ref.station, ref.evse, 0.0))

    def session_wh(self, ref: EvseRef) -> float:
        """Return the energy of the running session (Wh), as far as it was counted."""
        return self._session_wh.get(ref, 0.0)

    def count(self, uses: Mapping[EvseRef, EvseUse], day: str, now: float) -> None:
        """Add what was drawn since the last pass; `day`: the site's date ("2026-11-27")."""
        step_s = 0.0 if self._counted_at is None else min(now - self._counted_at, LONGEST_STEP_S)
        self._counted_at = now
        if day != self._day:
            self._begin_day(day)
        for ref, use in uses.items():
            added_wh = use.drawn_w * step_s / 3600
            if not added_wh:
                continue
            session_wh = self._session_wh[ref] = self._session_wh.get(ref, 0.0) + added_wh
            if self._stores_sessions and session_wh >= self._stored_sessions_wh.get(ref, 0.0) + STORED_WH:
                self._stored_sessions_wh[ref] = session_wh
                self._records.append(SessionEnergyStored(ref.station, ref.evse, session_wh))
            if (group := self._group_of.get(ref)) is not None:
                self._drawn_wh[group] = self._drawn_wh.get(group, 0.0) + added_wh
                self._add_part(group, added_wh, now)
        for group in self._groups:
            self._store(group, day)

    def _begin_day(self, day: str) -> None:
        """Count from 0 on another day; what was drawn before a restart ends with its day."""
        if self._day:
            self._restored.clear()
            self._stored_day = ""
        self._day = day
        self._drawn_wh.clear()

    def _add_part(self, group: str, drawn_wh: float, now: float) -> None:
        parts = self._parts.setdefault(group, deque())
        if not parts or parts[-1].day != self._day or now - parts[-1].began_at >= PART_S:
            while parts and now - parts[0].began_at > KEPT_S:
                parts.popleft()
            parts.append(_Part(now, self._day))
        parts[-1].drawn_wh += drawn_wh

    def on_clock_set(self, day: str, began_at: float, *, was_set_back: bool) -> None:
        """Count what was drawn since the begin of `day` (s, monotonic) by a clock that has been set."""
        self._day = day
        self._drawn_wh = {
            group: sum(part.drawn_wh for part in parts if part.began_at >= began_at)
            for group, parts in self._parts.items()
        }
        if was_set_back:
            self._stored_day = ""
        self._stored_wh.clear()

    def _store(self, group: str, day: str) -> None:
        """Store what was used, if that is much; not in place of a later day: the clock may be behind."""
        if day < self._stored_day:
            return
        used_wh = self.used_wh(group, day)
        quota_wh = self._groups[group].quota_wh or 0.0
        stored_wh = self._stored_wh.get(group, 0.0)
        if used_wh < stored_wh or used_wh >= stored_wh + STORED_PART * quota_wh:
            self._stored_wh[group], self._stored_day = used_wh, day
            self._records.append(QuotaStored(group, day, used_wh))

    def used_wh(self, group: str, day: str) -> float:
        """Return the energy that a group has used on a day (Wh)."""
        restored_day, restored_wh = self._restored.get(group, ("", 0.0))
        drawn_wh = self._drawn_wh.get(group, 0.0) if day == self._day else 0.0
        return drawn_wh + (restored_wh if day <= restored_day else 0.0)

    def exhausted(self, day: str) -> dict[EvseRef, Statement]:
        """Return the EVSEs of groups whose quota of the day is used up, and why."""
        return {
            ref: Statement(code=StatementCode.QUOTA_USED, name=group.id, energy_wh=group.quota_wh or 0.0)
            for group in self._groups.values()
            if self.used_wh(group.id, day) >= (group.quota_wh or 0.0)
            for ref in group.evses
        }

    def behind(self, uses: Mapping[EvseRef, EvseUse]) -> set[EvseRef]:
        """Return the EVSEs that have received less than the mean of their priority and need current."""
        by_priority: dict[int, list[EvseRef]] = {}
        for ref, use in uses.items():
            if use.has_demand:
                by_priority.setdefault(use.priority, []).append(ref)
        found: set[EvseRef] = set()
        for refs in by_priority.values():
            mean_wh = sum(self.session_wh(ref) for ref in refs) / len(refs)
            for ref in refs:
                least_wh = mean_wh if ref in self._behind else mean_wh - BEHIND_WH
                if self.session_wh(ref) < least_wh:
                    found.add(ref)
        self._behind = found
        return found

    def turn_energies(self, refs: Collection[EvseRef]) -> dict[EvseRef, float]:
        """Return the energies by which these EVSEs take turns (Wh), in steps of `SWAP_WH`."""
        return {ref: self.session_wh(ref) // SWAP_WH * SWAP_WH for ref in refs}
