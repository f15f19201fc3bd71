"""Phase switch of an EVSE that can charge on one phase in place of three.

A *change to one phase* is decided where three times the minimum does not fit while once it would. It is
*wanted* for `SETTLE_S` before it is decided, and none is decided sooner than `DWELL_S` after the last:
contactors and cars stand few of them. What was decided is made when the EVSE holds nothing, so that it never
draws on its old phases and its new ones at once. An EVSE that was set to one phase and draws on several
cannot do it, even if its station reports otherwise, and is not asked again while its link lasts.
"""

from __future__ import annotations

SETTLE_S = 60.0
DWELL_S = 300.0
"""Times (s) of a change to one phase: from when it is wanted, and from the last one."""


class PhaseSwitch:
    """Phase switch of one EVSE. `single`: it was set to use one phase. `able`: it can be set so.

    `to_single`: it uses one phase, or will when the decided change is made. `changing`: a change was decided
    and is not made yet: it gets no current until then.
    """

    def __init__(self) -> None:
        self.able = False
        self.single = self.to_single = self.changing = False
        self._failed = False
        self._wanted_since: float | None = None
        self._changed_at: float | None = None

    @property
    def is_due(self) -> bool:
        """Return True if a change is wanted, or decided and not made yet."""
        return self.changing or self._wanted_since is not None

    @property
    def narrows(self) -> bool:
        """Return True if it will use one phase soon: that is wanted, or decided and not made yet."""
        return not self.single and (self.to_single or self._wanted_since is not None)

    def may_change(self, now: float) -> bool:
        """Return True if a change could be wanted now."""
        if self.changing or self._failed or not (self.able or self.single):
            return False
        return self._changed_at is None or now >= self._changed_at + DWELL_S

    def set_wanted(self, wanted: bool, now: float, settle_s: float = SETTLE_S) -> None:
        """Set whether the other number of phases is better now; it is decided after `settle_s`."""
        if not wanted:
            self._wanted_since = None
        elif self._wanted_since is None:
            self._wanted_since = now
        elif now >= self._wanted_since + settle_s and self.may_change(now):
            self.to_single = not self.single
            self.changing = True
            self._wanted_since = None

    def on_change_made(self, now: float) -> None:
        """Note that it holds no current: from now on it is sent the other number."""
        self.single = self.to_single
        self.changing = False
        self._changed_at = now

    def on_failure(self) -> None:
        """Note that it draws on several phases though it was set to one."""
        self._failed = True
        self.reset()

    def reset(self) -> None:
        """Go back to all phases, as without a car or a link the next one may draw on all."""
        self.single = self.to_single = self.changing = False
        self._wanted_since = None

    def on_link_lost(self) -> None:
        """Clear a failure: another firmware may come with the next link."""
        self._failed = False
        self.reset()
