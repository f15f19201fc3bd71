"""Requests for the meter values of stations that report their draw too seldom.

An EVSE is *unreported* while it may draw and no recent report shows how much: its draw then counts as
anything up to its offer. An unreported EVSE is asked at most once in `ASK_EVERY_S`. A station that refuses
`REFUSALS` times is not asked again before its next connection. An EVSE that is unreported for `WARN_S` is
logged once, and so is its next report.
"""

from __future__ import annotations

from collections.abc import Collection

from controller.model.observations import EvseRef

ASK_EVERY_S = 60.0
SELDOM_S = 60.0
"""Age of a report (s) from which on another one is asked for where no meter shows what the car does."""
REFUSALS = 2
WARN_S = 300.0


class ReportRequests:
    """Unreported EVSEs of one site, and the requests to them. All times are monotonic s."""

    def __init__(self) -> None:
        self._unreported_since: dict[EvseRef, float] = {}
        self._asked_at: dict[EvseRef, float] = {}
        self._refusals: dict[str, int] = {}
        self._warned: set[EvseRef] = set()

    def set_unreported(
        self, unreported: Collection[EvseRef], now: float
    ) -> tuple[list[EvseRef], list[EvseRef]]:
        """Set which EVSEs are unreported; return those to warn of, and those that report again."""
        for ref in [ref for ref in self._unreported_since if ref not in unreported]:
            del self._unreported_since[ref]
            self._asked_at.pop(ref, None)
        for ref in unreported:
            self._unreported_since.setdefault(ref, now)
        begun = [
            ref
            for ref, since in self._unreported_since.items()
            if now >= since + WARN_S and ref not in self._warned
        ]
        ended = sorted(self._warned - self._unreported_since.keys())
        self._warned = self._warned.difference(ended).union(begun)
        return begun, ended

    def take_due(self, now: float, others: Collection[EvseRef] = ()) -> list[EvseRef]:
        """Return the unreported EVSEs, and of `others`, to ask now; they count as asked."""
        due = [
            ref
            for ref in dict.fromkeys((*self._unreported_since, *others))
            if now >= self._asked_at.get(ref, now - ASK_EVERY_S) + ASK_EVERY_S
            and self._refusals.get(ref.station, 0) < REFUSALS
        ]
        self._asked_at.update(dict.fromkeys(due, now))
        return due

    def on_answer(self, station: str, *, accepted: bool) -> None:
        """Note whether a station accepted a request."""
        self._refusals[station] = 0 if accepted else self._refusals.get(station, 0) + 1

    def on_connected(self, station: str) -> None:
        """Clear what a station refused: another firmware may have come with the new connection."""
        self._refusals.pop(station, None)
