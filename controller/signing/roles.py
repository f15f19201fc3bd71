"""What those who have signed a message may say, by the roles that they bear."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable

from controller.signing import name_patterns
from controller.signing.access_request import AccessRequest
from controller.signing.name_patterns import NamePatterns
from controller.signing.policy_schema import GrantConfig, RoleConfig

_DECIMAL = re.compile(r"-?[0-9]{1,15}(?:\.[0-9]{1,15})?")
"""A number as OCPP writes the value of a variable (2.0.1 Part 2, 2.1.3); nothing else is compared."""


class RoleGrants:
    """One grant, ready for use."""

    def __init__(self, grant: GrantConfig) -> None:
        self.actions = name_patterns.actions(grant.actions)
        self._evses = NamePatterns(grant.evses)
        self._variables = None if grant.variables is None else NamePatterns(grant.variables)
        self._grant = grant

    def covers(self, ask: AccessRequest) -> bool:
        """Whether it grants this."""
        grant = self._grant
        return (
            ask.action in self.actions
            and ask.where in self._evses
            and (self._variables is None or (ask.variable is not None and ask.variable in self._variables))
            and _in_range(ask.value, grant.at_least, grant.at_most)
            and _within(ask, grant.max_a, grant.max_w)
        )


class RoleTable:
    """All roles: who bears them and what they may do."""

    def __init__(self, roles: Iterable[RoleConfig]) -> None:
        self._roles = {role.id: role for role in roles}
        self._grants = {role.id: [RoleGrants(grant) for grant in role.may] for role in self._roles.values()}

    def grant_any(self, action: str) -> bool:
        """Whether some role may do an action at all."""
        return any(action in grant.actions for grants in self._grants.values() for grant in grants)

    def objection(
        self, holders: frozenset[str], asks: Iterable[AccessRequest], only: frozenset[str] | None
    ) -> str | None:
        """Why these holders together may not say all this; None where they may.

        With `only`, no other role counts. What one role may not do, another that they bear may.
        """
        borne = [
            role
            for role in self._roles.values()
            if (only is None or role.id in only) and not holders.isdisjoint(role.holders)
        ]
        if not borne:
            return f"{_listed(holders)} bears no role that counts here"
        full = [role for role in borne if len(holders.intersection(role.holders)) >= role.approvals]
        grants = [grant for role in full for grant in self._grants[role.id]]
        for ask in asks:
            if not any(grant.covers(ask) for grant in grants):
                return self._why(holders, borne, ask)
        return None

    def _why(self, holders: frozenset[str], borne: list[RoleConfig], ask: AccessRequest) -> str:
        for role in borne:
            signed = len(holders.intersection(role.holders))
            if signed < role.approvals and any(grant.covers(ask) for grant in self._grants[role.id]):
                return f"{ask} needs {role.approvals} of role {role.id} to sign, and {signed} did"
        roles = _listed(role.id for role in borne)
        return f"{_listed(holders)} ({roles}) may not ask for {ask}"


def _listed(words: Iterable[str]) -> str:
    return ", ".join(sorted(words))


def _in_range(value: str | None, least: float | None, most: float | None) -> bool:
    if least is None and most is None:
        return True
    if value is None or not _DECIMAL.fullmatch(value):
        return False
    low = -math.inf if least is None else least
    high = math.inf if most is None else most
    return low <= float(value) <= high


def _within(ask: AccessRequest, max_a: float | None, max_w: float | None) -> bool:
    if max_a is None and max_w is None:
        return True
    asked = [(ask.amps, max_a), (ask.watts, max_w)]
    if all(limit is None for limit, _ in asked):
        return False
    return all(limit is None or (most is not None and limit <= most) for limit, most in asked)
