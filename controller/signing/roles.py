"""Roles: what the signers of a message may ask for, and the patterns by which names are listed."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from controller.signing.access_requests import AccessRequest
from controller.signing.policy_schema import ACTION_CLASSES, ANY, Permission, SignerRole

_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
"""A number as OCPP writes the value of a variable (2.0.1 Part 2, 2.1.3); nothing else is compared."""


class NamePatterns:
    """Names, each by itself or with `*` for any characters; None matches every name."""

    def __init__(self, names: Iterable[str] | None) -> None:
        listed = None if names is None else frozenset(names)
        self._every = listed is None or ANY in listed
        self._plain = frozenset(name for name in listed or () if ANY not in name)
        patterns = [_pattern(name) for name in sorted(listed or ()) if ANY in name]
        self._patterns = re.compile("|".join(patterns), re.DOTALL) if patterns else None

    def __contains__(self, name: str) -> bool:
        if self._every or name in self._plain:
            return True
        return self._patterns is not None and self._patterns.fullmatch(name) is not None


def action_patterns(names: Iterable[str] | None) -> NamePatterns:
    """Build the patterns of actions, which may be listed by their classes too."""
    if names is None:
        return NamePatterns(None)
    return NamePatterns(frozenset().union(*(ACTION_CLASSES.get(name, frozenset({name})) for name in names)))


class PermissionCheck:
    """One permission, ready to be compared with requests."""

    def __init__(self, permission: Permission) -> None:
        self.actions = action_patterns(permission.actions)
        self._evses = NamePatterns(permission.evses)
        self._variables = None if permission.variables is None else NamePatterns(permission.variables)
        self._permission = permission

    def covers(self, request: AccessRequest) -> bool:
        """Return True if the permission covers a request."""
        permission = self._permission
        return (
            request.action in self.actions
            and request.target in self._evses
            and (
                self._variables is None
                or (request.variable is not None and request.variable in self._variables)
            )
            and _is_in_range(request.value, permission.at_least, permission.at_most)
            and _is_within_limits(request, permission.max_a, permission.max_w)
        )


class RoleTable:
    """All roles: their holders and their permissions."""

    def __init__(self, roles: Iterable[SignerRole]) -> None:
        self._roles = {role.id: role for role in roles}
        self._permissions = {
            role.id: [PermissionCheck(permission) for permission in role.may] for role in self._roles.values()
        }

    def permits_action(self, action: str) -> bool:
        """Return True if some role has a permission for an action."""
        return any(
            action in each.actions for permissions in self._permissions.values() for each in permissions
        )

    def find_objection(
        self, holders: frozenset[str], requests: Iterable[AccessRequest], only: frozenset[str] | None
    ) -> str | None:
        """Return why these holders together may not ask for all this; None if they may.

        With `only`, no other role counts. Permissions of all their roles add up.
        """
        held = [
            role for role in self._roles.values()
            if (only is None or role.id in only) and not holders.isdisjoint(role.holders)
        ]  # fmt: skip
        if not held:
            return f"{_join(holders)} has no role that counts here"
        approved = [role for role in held if len(holders.intersection(role.holders)) >= role.approvals]
        permissions = [each for role in approved for each in self._permissions[role.id]]
        for request in requests:
            if not any(each.covers(request) for each in permissions):
                return self._explain(holders, held, request)
        return None

    def _explain(self, holders: frozenset[str], held: list[SignerRole], request: AccessRequest) -> str:
        for role in held:
            signed = len(holders.intersection(role.holders))
            if signed < role.approvals and any(each.covers(request) for each in self._permissions[role.id]):
                return f"{request} needs {role.approvals} signatures of role {role.id}, it has {signed}"
        roles = _join(role.id for role in held)
        return f"{_join(holders)} ({roles}) has no permission for {request}"


def _pattern(name: str) -> str:
    return "(?:" + ".*".join(re.escape(part) for part in name.split(ANY)) + ")"


def _join(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _is_in_range(value: str | None, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    if value is None or not _DECIMAL.fullmatch(value):
        return False
    low = -math.inf if least is None else least
    high = math.inf if most is None else most
    return low <= float(value) <= high


def _is_within_limits(request: AccessRequest, max_a: float | None, max_w: float | None) -> bool:
    if max_a is None and max_w is None:
        return True
    pairs = [(request.amps, max_a), (request.watts, max_w)]
    if all(limit is None for limit, _ in pairs):
        return False
    return all(limit is None or (most is not None and limit <= most) for limit, most in pairs)
