"""Selection of the rule for a message. Nothing here reads signatures.

Rules are compared with a message's version, action, direction, kind and link once, and the result is
cached: a message without a rule costs one look into a table.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import Generic, TypeVar

import msgspec

from controller.ocpp.actions import COMMANDS, plain
from controller.ocpp.frames import Version
from controller.signing import signature_format
from controller.signing.policy_schema import Rule, SigningRule, VerificationMode, VerificationRule
from controller.signing.roles import NamePatterns, RoleTable, action_patterns
from controller.signing.signature_format import Direction, MessageKind

_LOWEST, _HIGHEST = -1_000_001, 1_000_001
"""Below and above the priority of every rule in a file."""

_SAFE: Mapping[str, tuple[frozenset[str], int]] = {
    "safe-profiles": (COMMANDS["profiles"], _LOWEST),
    "safe-firmware": (COMMANDS["firmware"], _LOWEST),
    "safe-certificates": (COMMANDS["certificates"], _LOWEST),
    "safe-policies": (signature_format.POLICY_ACTIONS, _HIGHEST),
}
"""Actions that need a signature by default.

Those that change policies need one whatever the file contains.
"""
_MAX_CACHED = 4096
"""Cached kinds of messages: peers choose the names of actions, so their number is bounded."""

_RuleT = TypeVar("_RuleT", bound=Rule)


class RuleKey(msgspec.Struct, frozen=True, kw_only=True):
    """Members of a message that rules are compared with. `link`: station or backend that it comes from.

    `action` of a signed message of OCPP itself is that of the message in it.
    """

    version: Version
    action: str
    direction: Direction
    kind: MessageKind
    link: str

    @classmethod
    def of_message(
        cls, version: Version, action: str, direction: Direction, kind: MessageKind, link: str
    ) -> RuleKey:
        """Build the key of a message with this action, which may be that of a signed message."""
        return cls(version=version, action=plain(action), direction=direction, kind=kind, link=link)

    @property
    def context(self) -> str:
        """`@context` of the message."""
        return signature_format.context(self.version, self.direction, self.kind, self.action)


class _CompiledRule(Generic[_RuleT]):
    """A rule, ready to be compared with messages."""

    def __init__(self, rule: _RuleT) -> None:
        self.rule = rule
        self._actions = action_patterns(rule.actions)
        self._links = NamePatterns(rule.links)
        self._contexts = NamePatterns(rule.contexts)
        self._begins = begin_of(rule.not_before)
        self._ends = end_of(rule.not_after)

    def matches(self, key: RuleKey) -> bool:
        """Return True if the rule is for such a message at some time."""
        rule = self.rule
        return (
            (rule.versions is None or key.version in rule.versions)
            and rule.direction in (None, key.direction)
            and key.kind in rule.kinds
            and key.action in self._actions
            and key.link in self._links
            and (rule.contexts is None or key.context in self._contexts)
        )

    def is_in_force(self, utc: float) -> bool:
        """Return True within the validity."""
        return self._begins <= utc < self._ends


class RuleSet:
    """All rules: those of verification with the safe ones, and those of signing; highest priority first.

    Of rules with the same priority the first one decides.
    """

    def __init__(
        self, verify: Iterable[VerificationRule], sign: Iterable[SigningRule], roles: RoleTable
    ) -> None:
        self._verify = _sort_rules([*verify, *safe_rules(roles)])
        self._sign = _sort_rules(sign)
        self._cache: dict[
            tuple[object, ...],
            tuple[tuple[_CompiledRule[VerificationRule], ...], tuple[_CompiledRule[SigningRule], ...]],
        ] = {}

    def has_rule_for(self, key: RuleKey) -> bool:
        """Return True if some rule may be for such messages."""
        verify, sign = self._rules_for(key)
        return bool(verify or sign)

    def verification_rule(self, key: RuleKey, utc: float) -> VerificationRule | None:
        """Return the rule that decides about a message received at `utc` (POSIX s); None if there is none."""
        return next((each.rule for each in self._rules_for(key)[0] if each.is_in_force(utc)), None)

    def signing_rule(self, key: RuleKey, utc: float, *, passing: bool) -> SigningRule | None:
        """Return the rule that decides if a message is signed: our own, or one that is only `passing`."""
        rules = (each.rule for each in self._rules_for(key)[1] if each.is_in_force(utc))
        return next((rule for rule in rules if rule.passing or not passing), None)

    def verification_rules(self, key: RuleKey) -> list[VerificationRule]:
        """Return the rules of verification for such messages at any time; the first in force decides."""
        return [each.rule for each in self._rules_for(key)[0]]

    def _rules_for(
        self, key: RuleKey
    ) -> tuple[tuple[_CompiledRule[VerificationRule], ...], tuple[_CompiledRule[SigningRule], ...]]:
        members = (key.version, key.action, key.direction, key.kind, key.link)
        cached = self._cache.get(members)
        if cached is None:
            if len(self._cache) >= _MAX_CACHED:
                self._cache.clear()
            cached = self._cache[members] = (
                tuple(each for each in self._verify if each.matches(key)),
                tuple(each for each in self._sign if each.matches(key)),
            )
        return cached


def is_safe_rule(rule: Rule) -> bool:
    """Return True for a rule that is not from a file."""
    return rule.priority in (_LOWEST, _HIGHEST)


def safe_rules(roles: RoleTable) -> Iterator[VerificationRule]:
    """Return the rules that apply by default: for each group of actions once a role has a permission."""
    for name, (actions, priority) in _SAFE.items():
        if any(roles.permits_action(action) for action in actions):
            yield VerificationRule(
                id=name,
                priority=priority,
                actions=tuple(sorted(actions)),
                direction=Direction.DOWN,
                require=VerificationMode.ANY,
                fresh=True,
            )


def begin_of(moment: datetime | None) -> float:
    """Return the begin of a validity (POSIX s); minus infinity if there is none."""
    return -math.inf if moment is None else moment.timestamp()


def end_of(moment: datetime | None) -> float:
    """Return the end of a validity (POSIX s); infinity if there is none."""
    return math.inf if moment is None else moment.timestamp()


def _sort_rules(rules: Iterable[_RuleT]) -> tuple[_CompiledRule[_RuleT], ...]:
    return tuple(_CompiledRule(rule) for rule in sorted(rules, key=lambda rule: -rule.priority))
