"""Rules of a policy's content: times, ids, references, and names of actions."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator

from controller.signing.policy_schema import ACTION_CLASSES, ANY, PolicyFile, Rule
from controller.signing.rule_set import begin_of, end_of
from controller.signing.signature_format import POLICY_ACTIONS
from controller.tomlcheck.diagnostics import Problem, defined_already, unknown_name
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

_KNOWN_ACTIONS = frozenset().union(POLICY_ACTIONS, ACTION_CLASSES, *ACTION_CLASSES.values())


def check_content(policy: PolicyFile) -> list[Problem]:
    """Return what contradicts itself in a policy, and names that do not exist."""
    return [*_check_times(policy), *_check_ids(policy), *_check_roles(policy), *_check_rules(policy)]


def _check_times(policy: PolicyFile) -> Iterator[Problem]:
    for name in ("key", "verify", "sign"):
        for index, each in enumerate(getattr(policy, name)):
            if begin_of(each.not_before) >= end_of(each.not_after):
                yield Problem(
                    (name, index, "not_after"), coded("is not after not_before"), coded("let it end later")
                )


def _check_ids(policy: PolicyFile) -> Iterator[Problem]:
    """Check that ids are unique: an error names the rule."""
    for kinds in (("role",), ("verify", "sign")):
        seen: set[str] = set()
        for kind in kinds:
            for index, each in enumerate(getattr(policy, kind)):
                if each.id in seen:
                    yield defined_already((kind, index, "id"), each.id)
                seen.add(each.id)


def _check_roles(policy: PolicyFile) -> Iterator[Problem]:
    holders = {key.holder for key in policy.key}
    for index, role in enumerate(policy.role):
        path: DataPath = ("role", index)
        yield from _check_known((*path, "holders"), role.holders, holders, "key")
        yield from _check_known((*path, "key_approvers"), role.key_approvers, holders, "key")
        if role.key_approvals > len(set(role.key_approvers)):
            what = coded("is more than the number of key_approvers")
            yield Problem((*path, "key_approvals"), what, coded("name more holders in key_approvers"))
        count = len(set(role.holders))
        if role.approvals > count:
            what = coded("is more than the number of holders, {count}", count=count)
            yield Problem((*path, "approvals"), what, coded("name more holders"))
        for number, permission in enumerate(role.may):
            place: DataPath = (*path, "may", number)
            yield from _check_actions((*place, "actions"), permission.actions)
            least, most = permission.at_least, permission.at_most
            if least is not None and most is not None and least > most:
                yield Problem((*place, "at_most"), coded("is below at_least"), coded("raise it"))


def _check_rules(policy: PolicyFile) -> Iterator[Problem]:
    holders = {key.holder for key in policy.key}
    roles = {role.id for role in policy.role}
    for index, verify in enumerate(policy.verify):
        path: DataPath = ("verify", index)
        yield from _check_known((*path, "roles"), verify.roles or (), roles, "role")
        yield from _check_known((*path, "holders"), verify.holders or (), holders, "key")
    rules: tuple[tuple[str, tuple[Rule, ...]], ...] = (("verify", policy.verify), ("sign", policy.sign))
    for name, each in rules:
        for index, rule in enumerate(each):
            yield from _check_actions((name, index, "actions"), rule.actions or ())


def _check_known(path: DataPath, names: Iterable[str], known: set[str], kind: str) -> Iterator[Problem]:
    for number, name in enumerate(names):
        if name not in known:
            yield unknown_name((*path, number), name, known, kind)


def _check_actions(path: DataPath, names: Iterable[str]) -> Iterator[Problem]:
    """Find names that are nearly those of actions or classes; others may be actions of a vendor."""
    for number, name in enumerate(names):
        near = difflib.get_close_matches(name, _KNOWN_ACTIONS, 1, 0.8)
        if name not in _KNOWN_ACTIONS and ANY not in name and near:
            yield Problem(
                (*path, number),
                coded('"{name}" is not an action of OCPP', name=name),
                coded("did you mean {meant}?", meant=f'"{near[0]}"'),
            )
