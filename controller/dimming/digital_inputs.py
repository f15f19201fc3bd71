"""Source of kind "contact": one to four inputs of a control box or ripple-control receiver.

Two patterns are in the field. *each*: every contact has its own limit, and the lowest of those that dim
holds. *one-of*: exactly one contact is on, and selects the stage (for example 100, 60, 30 and 0 %); none on,
or several, is a fault.

Any fault dims: an input that cannot be read, a module that does not answer, a fault of the pattern,
and all of it before the first reading. That limit is assumed, and its reason names the fault: a contact of
unknown level dims as one that is on, and is not recorded as on. Which way round a contact is wired is its
own: a contact that dims when it is open (normally closed) shows a broken wire as what it is, a limit; one
that dims when it is closed cannot. Because a broken wire and a command look the same, neither ends by itself.

A contact that changes counts once it was read the same for `settle_s`: they bounce. A contact that changes
`CHATTER_CHANGES` times in `CHATTER_S` chatters: it dims as before, and lifts only after `REST_S` without a
change. Its changes are counted, not recorded one by one; each loss of its module is one of them. While it is
never read the same for `settle_s`, its level is unknown after `lost_after_s`, as if it was not read at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import msgspec

from controller.dimming.dimming_limits import SourceLimit, lowest
from drivers.coded_text import coded, join_and

CHATTER_S = 300.0
CHATTER_CHANGES = 6
REST_S = 60.0

Level = bool | None
"""Level of an input: closed (True), open (False), or unknown (None)."""


class DigitalInput(msgspec.Struct, frozen=True, kw_only=True):
    """One input, the limit that it sets (W; None: no limit), and the level at which it is on."""

    name: str
    watts: float | None
    on_when: Literal["open", "closed"] = "open"

    def is_on(self, level: bool) -> bool:
        """Return True if it is on at a level."""
        return level is (self.on_when == "closed")


class DigitalInputsSettings(msgspec.Struct, frozen=True, kw_only=True):
    """Settings of the inputs of one source. Times in s."""

    contacts: tuple[DigitalInput, ...]
    pattern: Literal["each", "one-of"] = "each"
    settle_s: float = 0.3
    lost_after_s: float = 5.0


class ChatterReport(msgspec.Struct, frozen=True):
    """A contact that began to chatter, or is at rest again after so many changes."""

    contact: str
    changes: int
    is_over: bool


class _Position(msgspec.Struct):
    """The level of one contact that counts, and the newest one with the time since which it is read.

    `changes`: the times of the last changes of the newest level, of `CHATTER_S`. `count`: how often it
    changed while it chatters, else 0. `settled_at`: when it was last read the same for long enough.
    """

    level: Level
    newest: Level
    since: float
    settled_at: float
    changes: list[float] = []
    count: int = 0


class DigitalInputs:
    """State of the inputs of one source, unknown at first. Times are s, monotonic."""

    def __init__(self, source: str, settings: DigitalInputsSettings) -> None:
        self.source = source
        self._settings = settings
        self._positions: list[_Position] | None = None
        self._read_at: float | None = None
        self._asked_at: float | None = None
        """When the limits were asked for first: the module is polled from then on."""
        self._reports: list[ChatterReport] = []

    def read(self, levels: Sequence[Level], now: float) -> None:
        """Take a reading of all inputs."""
        if len(levels) != len(self._settings.contacts):
            raise ValueError(f"{self.source} has {len(self._settings.contacts)} contacts, not {len(levels)}")
        lost = self._lost(now)
        self._read_at = now
        if self._positions is None:
            # A contact that bounces now is corrected by the next readings.
            self._positions = [_Position(level, level, since=now, settled_at=now) for level in levels]
            return
        if lost:
            # Earlier levels are not used: each contact dims until it was read the same for long enough.
            for position in self._positions:
                position.level = position.newest = None
        for contact, position, level in zip(self._settings.contacts, self._positions, levels, strict=True):
            self._move(contact, position, level, now)

    def limits(self, now: float) -> tuple[SourceLimit, ...]:
        """Return the limits that apply now."""
        if self._asked_at is None:
            self._asked_at = now
        return tuple(
            SourceLimit(source=self.source, watts=watts, begins=now, proof=why, is_assumed=is_assumed)
            for watts, why, is_assumed in self._bounds(now)
            if watts is not None
        )

    def deadline(self, now: float) -> float | None:
        """Return when the last reading becomes too old, or the first one overdue."""
        since = self._asked_at if self._read_at is None else self._read_at
        if since is None or now - since >= self._settings.lost_after_s:
            return None
        return since + self._settings.lost_after_s

    def take_reports(self) -> list[ChatterReport]:
        """Return the contacts that began or ceased to chatter since the last call."""
        reports, self._reports = self._reports, []
        return reports

    def _move(self, contact: DigitalInput, position: _Position, level: Level, now: float) -> None:
        is_change = level is not position.newest
        if is_change:
            position.newest, position.since = level, now
        chatters = self._watch_chatter(contact, position, now, is_change=is_change)
        same_s = now - position.since
        if not is_change and same_s >= self._settings.settle_s:
            position.settled_at = now
            # To turn on the contact of a stage without a limit lifts, as to turn off any other one does.
            lifts = level is not None and contact.is_on(level) is (contact.watts is None)
            if same_s >= REST_S or not (chatters and lifts):
                position.level = level
        elif chatters and now - position.settled_at >= self._settings.lost_after_s:
            position.level = None

    def _watch_chatter(
        self, contact: DigitalInput, position: _Position, now: float, *, is_change: bool
    ) -> bool:
        """Count changes; return True from too many of them on until a minute without any."""
        position.changes = [at for at in position.changes if now - at < CHATTER_S]
        if is_change:
            position.changes.append(now)
            del position.changes[:-CHATTER_CHANGES]
            position.count += position.count > 0
        if position.count == 0 and len(position.changes) == CHATTER_CHANGES:
            position.count = CHATTER_CHANGES
            self._reports.append(ChatterReport(contact.name, CHATTER_CHANGES, is_over=False))
        elif position.count > 0 and now - position.since >= REST_S:
            self._reports.append(ChatterReport(contact.name, position.count, is_over=True))
            position.count, position.changes = 0, []
        return position.count > 0

    def _lost(self, now: float) -> bool:
        return self._read_at is None or now - self._read_at >= self._settings.lost_after_s

    def _bounds(self, now: float) -> list[tuple[float | None, str, bool]]:
        """Return limits (W), each with its reason, and True if it is assumed because of a fault."""
        contacts = self._settings.contacts
        everything = _lowest_of(contacts)
        is_overdue = self._asked_at is not None and now - self._asked_at >= self._settings.lost_after_s
        if self._positions is None and not is_overdue:
            return [(everything, coded("its contacts were not read yet"), True)]
        if self._positions is None or self._lost(now):
            return [(everything, coded("its contacts cannot be read"), True)]
        on: list[DigitalInput] = []
        unknown: list[DigitalInput] = []
        for contact, position in zip(contacts, self._positions, strict=True):
            if position.level is None:
                unknown.append(contact)
            elif contact.is_on(position.level):
                on.append(contact)
        if self._settings.pattern == "one-of" and (unknown or len(on) != 1):
            why = coded("{count} of its contacts are on, one should be", count=len(on))
            return [(everything, _state_unknown(unknown) if unknown else why, True)]
        bounds: list[tuple[float | None, str, bool]] = []
        if on:
            bounds.append((_lowest_of(on), f"{_names(on)} on", False))
        if unknown:
            bounds.append((_lowest_of(unknown), _state_unknown(unknown), True))
        return bounds


def _state_unknown(contacts: Sequence[DigitalInput]) -> str:
    return coded("the state of {contacts} is unknown", contacts=_names(contacts))


def _lowest_of(contacts: Sequence[DigitalInput]) -> float | None:
    return lowest(*(contact.watts for contact in contacts))


def _names(contacts: Sequence[DigitalInput]) -> str:
    return join_and([contact.name for contact in contacts])
