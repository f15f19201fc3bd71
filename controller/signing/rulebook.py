"""Which rule is for a message. Nothing here knows of signatures.

Rules are compared with a message's version, action, direction, kind and link once, and what was found is
kept: a message that no rule is for costs one look into a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from controller.ocpp.actions import COMMANDS
from controller.ocpp.frames import Version
from controller.signing import name_patterns, signing_wire
from controller.signing.name_patterns import NamePatterns
from controller.signing.policy_schema import RequireConfig, RuleConfig, SignConfig, VerifyConfig
from controller.signing.roles import RoleTable
from controller.signing.signing_wire import Direction, SignatureKind

_LOWEST, _HIGHEST = -1_000_001, 1_000_001
"""Below and above every rule that somebody can write."""

_SAFE: Mapping[str, tuple[frozenset[str], int]] = {
    "safe-profiles": (COMMANDS["profiles"], _LOWEST),
    "safe-firmware": (COMMANDS["firmware"], _LOWEST),
    "safe-certificates": (COMMANDS["certificates"], _LOWEST),
    "safe-policies": (signing_wire.POLICY_ACTIONS, _HIGHEST),
}
"""What needs a signature without a word. What changes policies does so whatever they say."""
_MOST_KEPT = 4096
"""Kinds of messages whose rules are kept: peers choose the names of actions, so there is an end to it."""

_RuleT = TypeVar("_RuleT", bound=RuleConfig)


class MessageFacts(msgspec.Struct, frozen=True, kw_only=True):
    """What rules look at. `link` is the id of the station or backend that the message comes from.

    `action` of a signed message of OCPP itself is that of the message in it.
    """

    version: Version
    action: str
    direction: Direction
    kind: SignatureKind
    link: str

    @property
    def context(self) -> str:
        """The message's `@context`."""
        return signing_wire.context(self.version, self.direction, self.kind, self.action)


class _Ready(Generic[_RuleT]):
    """A rule, ready to be compared with messages."""

    def __init__(self, rule: _RuleT) -> None:
        self.rule = rule
        self._actions = name_patterns.actions(rule.actions)
        self._links = NamePatterns(rule.links)
        self._contexts = NamePatterns(rule.contexts)
        self._begins = since(rule.not_before)
        self._ends = until(rule.not_after)

    def is_for(self, facts: MessageFacts) -> bool:
        """Whether it is for such a message, whenever it comes."""
        rule = self.rule
        return (
            (rule.versions is None or facts.version in rule.versions)
            and rule.direction in (None, facts.direction)
            and facts.kind in rule.kinds
            and facts.action in self._actions
            and facts.link in self._links
            and (rule.contexts is None or facts.context in self._contexts)
        )

    def holds(self, utc: float) -> bool:
        """Whether it is in force."""
        return self._begins <= utc < self._ends


class Rulebook:
    """All rules: those of verification with the safe ones, and those of signing; first the highest priority.

    Of rules with the same priority the first one counts.
    """

    def __init__(self, verify: Iterable[VerifyConfig], sign: Iterable[SignConfig], roles: RoleTable) -> None:
        self._verify = _ordered([*verify, *safe_rules(roles)])
        self._sign = _ordered(sign)
        self._kept: dict[
            tuple[object, ...], tuple[tuple[_Ready[VerifyConfig], ...], tuple[_Ready[SignConfig], ...]]
        ] = {}

    def needs_look(self, facts: MessageFacts) -> bool:
        """Whether some rule may be for such messages."""
        verify, sign = self._for(facts)
        return bool(verify or sign)

    def verification(self, facts: MessageFacts, utc: float) -> VerifyConfig | None:
        """The rule that decides on a message that comes in at a time (POSIX s), if any."""
        return next((each.rule for each in self._for(facts)[0] if each.holds(utc)), None)

    def signing(self, facts: MessageFacts, utc: float, *, passing: bool) -> SignConfig | None:
        """The rule that decides whether a message is signed: our own, or one that is only `passing`."""
        rules = (each.rule for each in self._for(facts)[1] if each.holds(utc))
        return next((rule for rule in rules if rule.passing or not passing), None)

    def verifications(self, facts: MessageFacts) -> list[VerifyConfig]:
        """Every rule of verification that is for such messages at some time; the first in force decides."""
        return [each.rule for each in self._for(facts)[0]]

    def _for(
        self, facts: MessageFacts
    ) -> tuple[tuple[_Ready[VerifyConfig], ...], tuple[_Ready[SignConfig], ...]]:
        key = (facts.version, facts.action, facts.direction, facts.kind, facts.link)
        kept = self._kept.get(key)
        if kept is None:
            if len(self._kept) >= _MOST_KEPT:
                self._kept.clear()
            kept = self._kept[key] = (
                tuple(each for each in self._verify if each.is_for(facts)),
                tuple(each for each in self._sign if each.is_for(facts)),
            )
        return kept


def is_safe(rule: RuleConfig) -> bool:
    """Whether nobody has written it."""
    return rule.priority in (_LOWEST, _HIGHEST)


def safe_rules(roles: RoleTable) -> Iterator[VerifyConfig]:
    """The rules that hold without a word: of each kind of matter, once some role may ask for it."""
    for name, (actions, priority) in _SAFE.items():
        if any(roles.grant_any(action) for action in actions):
            yield VerifyConfig(
                id=name,
                priority=priority,
                actions=tuple(sorted(actions)),
                direction=Direction.DOWN,
                require=RequireConfig.ANY,
                fresh=True,
            )


def since(moment: datetime | None) -> float:
    """When something begins (POSIX s); without a word it always has."""
    return -math.inf if moment is None else moment.timestamp()


def until(moment: datetime | None) -> float:
    """When something ends (POSIX s); without a word it never does."""
    return math.inf if moment is None else moment.timestamp()


def _ordered(rules: Iterable[_RuleT]) -> tuple[_Ready[_RuleT], ...]:
    return tuple(_Ready(rule) for rule in sorted(rules, key=lambda rule: -rule.priority))
