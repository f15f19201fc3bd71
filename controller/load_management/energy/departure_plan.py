"""Planned departures of the cars that charge now: by station, by class of card, by card.

Rules come from the settings, from a file and from programs. Of all rules that match a car those that name its
card hold before those of its card's class, and these before those of its EVSE alone; of several equal ones
the next departure holds. A car gets its goal when its session begins, and another one when its card becomes
known or the rules change. A goal that the car itself or a person has set stays until the session's end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from controller.load_management.energy.departure_rules import (
    FindEvses,
    check_classes,
    check_date,
    next_departure,
    parse_departure,
    parse_departures,
)
from controller.load_management.energy.energy_csv import ValueMistakeError
from controller.load_management.energy.energy_records import DepartureRow
from controller.load_management.energy.energy_settings import DepartureRule, EnergySettings
from controller.model.observations import EvseRef, NeedsSeen


class CardInUse(msgspec.Struct, frozen=True):
    """Card of a running session: the names by which rules may name it, and its class (empty: none)."""

    names: frozenset[str]
    priority_class: str = ""


Rules = tuple[DepartureRule, ...]
NO_CARD_IN_USE = CardInUse(frozenset())


class DeparturePlan:
    """Departures of the cars with a running session. Times in POSIX s."""

    def __init__(self, settings: EnergySettings) -> None:
        self._zone = settings.zone
        self._classes = frozenset(settings.class_priorities)
        self._settings_rules: Rules = settings.departures
        self._file_rules: Rules = ()
        self._program_rules: Rules = ()
        self._cards: dict[EvseRef, CardInUse] = {}
        self._planned: dict[EvseRef, tuple[float, float] | None] = {}
        """Departure and energy (Wh) of each running session that the rules may give a goal; None: no rule."""
        self._stale: set[EvseRef] = set()
        self._moved: set[EvseRef] = set()
        """EVSEs whose goal was found by a clock that has been set since."""

    @property
    def _rules(self) -> Rules:
        return (*self._settings_rules, *self._file_rules, *self._program_rules)

    def _on_rules_set(self, before: Rules) -> None:
        """Have the goals of all running sessions found anew if the rules are others than `before`."""
        if self._rules != before:
            self._stale |= self._planned.keys()

    @property
    def card_names(self) -> frozenset[str]:
        """Return all names of cards in the rules."""
        return frozenset[str]().union(*(rule.cards for rule in self._rules))

    def replace_settings(self, settings: EnergySettings) -> None:
        """Apply other rules of the settings."""
        before, self._settings_rules = self._rules, settings.departures
        self._classes = frozenset(settings.class_priorities)
        self._on_rules_set(before)
        if settings.zone != self._zone:
            self._zone = settings.zone
            self._stale |= self._planned.keys()

    def read_file(self, text: str, find_evses: FindEvses) -> int:
        """Use the rules of a CSV text for the file; return their number. Raises EnergyFileError."""
        before, self._file_rules = self._rules, parse_departures(text, find_evses)
        self._on_rules_set(before)
        return len(self._file_rules)

    def remove_file(self) -> None:
        """Remove the rules of the file."""
        before, self._file_rules = self._rules, ()
        self._on_rules_set(before)

    def find_mistakes(
        self, rows: Sequence[DepartureRow], find_evses: FindEvses, utc: float | None
    ) -> list[str]:
        """Return what is wrong in departures of a program, each with its number and the remedy.

        Dates are compared with `utc`, where that is known.
        """

        def check(rule: DepartureRule) -> None:
            check_classes(rule, self._classes)
            if utc is not None:
                check_date(rule, utc, self._zone)

        return _parse_rows(rows, find_evses, check)[1]

    def set_rows(self, rows: Sequence[DepartureRow], find_evses: FindEvses) -> list[str]:
        """Replace the rules of programs; return why departures that cannot be used are left out."""
        rules, mistakes = _parse_rows(rows, find_evses)
        before, self._program_rules = self._rules, rules
        self._on_rules_set(before)
        return mistakes

    def set_cards(self, cards: Mapping[EvseRef, CardInUse]) -> None:
        """Set the cards that charge now; EVSEs without one are left out."""
        for ref in self._planned:
            if self._cards.get(ref) != cards.get(ref):
                self._stale.add(ref)
        self._cards = dict(cards)

    def on_transaction(self, ref: EvseRef, running: bool, utc: float | None) -> NeedsSeen | None:
        """Note that a session begins or ends; return the goal of a car with a planned departure."""
        self._cards.pop(ref, None)
        self._stale.discard(ref)
        self._moved.discard(ref)
        if not running:
            self._planned.pop(ref, None)
            return None
        self._planned[ref] = found = None if utc is None else self._find(ref, utc)
        return None if found is None or utc is None else _make_needs(ref, found, 0.0, utc)

    def on_clock_set(self) -> None:
        """Have the goals of all running sessions found anew: they were found by another time."""
        self._stale |= self._planned.keys()
        self._moved |= {ref for ref, found in self._planned.items() if found is not None}

    def has_goal(self, ref: EvseRef) -> bool:
        """Return True if the goal of the running session is that of a rule."""
        return self._planned.get(ref) is not None

    def on_goal_set(self, ref: EvseRef) -> None:
        """Note that a goal comes from elsewhere: the rules give this session none."""
        self._planned.pop(ref, None)
        self._stale.discard(ref)
        self._moved.discard(ref)

    def take_changes(
        self, received_wh: Mapping[EvseRef, float], utc: float
    ) -> list[tuple[EvseRef, NeedsSeen]]:
        """Return the goals that have changed since the last call.

        `received_wh`: energy of running sessions so far, as far as known: a rule counts from the begin.
        """
        changes: list[tuple[EvseRef, NeedsSeen]] = []
        for ref in sorted(self._stale):
            found = self._find(ref, utc)
            if found == self._planned[ref] and ref not in self._moved:
                continue
            self._planned[ref] = found
            if found is None:
                changes.append((ref, NeedsSeen(ref.evse, None, None, is_planned=True)))
            else:
                changes.append((ref, _make_needs(ref, found, received_wh.get(ref, 0.0), utc)))
        self._stale.clear()
        self._moved.clear()
        return changes

    def _find(self, ref: EvseRef, utc: float) -> tuple[float, float] | None:
        """Return the departure of the car at an EVSE, by the rules that name its card most closely."""
        card = self._cards.get(ref, NO_CARD_IN_USE)
        by_card = [rule for rule in self._rules if rule.cards & card.names]
        by_class = [rule for rule in self._rules if card.priority_class in rule.priority_classes]
        by_evse = [rule for rule in self._rules if not rule.cards and not rule.priority_classes]
        for rules in (by_card, by_class, by_evse):
            found = next_departure(rules, ref, utc, self._zone)
            if found is not None:
                return found
        return None


def _make_needs(ref: EvseRef, departure: tuple[float, float], received_wh: float, utc: float) -> NeedsSeen:
    leaves_at, energy_wh = departure
    return NeedsSeen(ref.evse, max(0.0, energy_wh - received_wh), leaves_at - utc, is_planned=True)


def _parse_rows(
    rows: Sequence[DepartureRow],
    find_evses: FindEvses,
    check: Callable[[DepartureRule], None] = lambda _: None,
) -> tuple[tuple[DepartureRule, ...], list[str]]:
    """Return the rules of departures, and the mistakes in others; `check` raises ValueMistakeError."""
    rules: list[DepartureRule] = []
    mistakes: list[str] = []
    for number, row in enumerate(rows, start=1):
        try:
            rule = parse_departure(row, find_evses)
            check(rule)
            rules.append(rule)
        except ValueMistakeError as error:
            mistakes.append(f"departure {number}: {error}")
    return tuple(rules), mistakes
