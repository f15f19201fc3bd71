"""The files of [signing]: their mistakes are reported with the configuration that names them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from pathlib import Path as FilePath

from controller.config.schema import Config
from controller.signing.policy_file import PolicyFileError, read_policy
from controller.signing.policy_schema import PolicyFile, SigningAction
from controller.signing.roles import NamePatterns
from controller.signing.signing_keys import KeyFileError, read_key_files
from controller.tomlcheck.diagnostics import FileUnreadableError, Problem, in_other_file
from drivers.coded_text import coded


def check_signing(config: Config) -> Iterator[Problem]:
    """Find keys that cannot be used, and every error of the policy file."""
    signing = config.signing
    if signing is None:
        return
    if signing.key is not None:
        try:
            read_key_files(FilePath(signing.key))
        except KeyFileError as wrong:
            remedy = wrong.remedy or coded(
                "name a key or a folder of keys; `local-controller keys new` makes one"
            )
            yield Problem(("signing", "key"), wrong.what, remedy)
    if signing.policy is not None:
        try:
            policy = read_policy(FilePath(signing.policy)).file
            if signing.key is None and any(rule.do is SigningAction.SIGN for rule in policy.sign):
                what = coded("is missing, but the policy has something to sign")
                yield Problem(
                    ("signing", "key"), what, coded("make one with `local-controller keys new`, and name it")
                )
        except FileUnreadableError as unreadable:
            yield Problem(("signing", "policy"), str(unreadable), coded("name the policy's file"))
        except PolicyFileError as wrong:
            for mistake in wrong.errors:
                yield in_other_file(("signing", "policy"), mistake)


def find_signing_hints(config: Config) -> Iterator[Problem]:
    """Find what in a policy has no effect, and roles that may dim and are not in it.

    What is wrong in its file is an error.
    """
    signing, dimming = config.signing, config.dimming
    if signing is None or signing.policy is None:
        return
    try:
        policy = read_policy(FilePath(signing.policy)).file
    except (FileUnreadableError, PolicyFileError):
        return
    for what, remedy in _policy_hints(config, policy):
        yield Problem(("signing", "policy"), what, remedy)
    roles = {role.id for role in policy.role}
    for index, source in enumerate(() if dimming is None else dimming.source):
        if source.kind == "signed" and source.signed and source.role is not None and source.role not in roles:
            yield Problem(
                ("dimming", "source", index, "role"),
                coded(
                    'no key has the role "{role}" in the policy: all its commands are rejected',
                    role=source.role,
                ),
                coded("add its [[role]] to {policy}", policy=signing.policy),
            )


def find_ended(policy: PolicyFile, now: datetime) -> Iterator[tuple[str, str]]:
    """Find rules and keys of a policy that have ended, and holders whose keys have not begun."""
    for rule in (*policy.verify, *policy.sign):
        if rule.not_after is not None and rule.not_after <= now:
            yield coded('rule "{rule}" has ended', rule=rule.id), coded("remove it, or let it end later")
    ended = [key for key in policy.key if key.not_after is not None and key.not_after <= now]
    for key in ended:
        yield (
            coded('the key of "{holder}" has ended', holder=key.holder),
            coded("replace it, or remove it"),
        )
    begins: dict[str, datetime | None] = {}
    for key in policy.key:
        first = begins.get(key.holder, key.not_before)
        if key not in ended:
            begins[key.holder] = (
                None if first is None or key.not_before is None else min(first, key.not_before)
            )
    for holder, begin in begins.items():
        if begin is not None and begin > now:
            yield (
                coded(
                    'no key of "{holder}" is valid before {begin}: until then its messages are rejected',
                    holder=holder,
                    begin=f"{begin.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}",
                ),
                coded("keep the key that it has until then beside it, and check the clock here"),
            )


def _policy_hints(config: Config, policy: PolicyFile) -> Iterator[tuple[str, str]]:
    """Find links and EVSEs that match nothing, roles without permissions, keys without role or ended.

    In an overlay network a key needs no role if its holder is a neighbor, and each neighbor needs a key.
    """
    yield from find_ended(policy, datetime.now(UTC))
    links = {config.site.id, *(each.id for each in config.station)}
    links |= {name for each in config.backend for name in (each.id, each.name, each.node)}
    for rule in (*policy.verify, *policy.sign):
        for link in _unmatched(config, rule.links, links):
            yield (
                coded('rule "{rule}": "{link}" is no station and no backend', rule=rule.id, link=link),
                coded("write the id of a station or backend; * stands for any characters"),
            )
    holders = {name for role in policy.role for name in (*role.holders, *role.key_approvers)}
    holders |= {holder for rule in policy.verify for holder in rule.holders or ()}
    below: set[str] = set()
    if config.overlay is not None and config.overlay.learn == "signed":
        below = {station.id for station in config.station if station.mode == "overlay"}
        holders |= below | {backend.node for backend in config.backend if backend.mode == "overlay"}
    for node in sorted(below - {key.holder for key in policy.key}):
        yield (
            coded(
                'no key has the holder "{node}": its reports of the nodes behind it are rejected', node=node
            ),
            coded('add its [[key]], or write learn = "all" in [overlay] if all neighbors are trusted'),
        )
    for key in policy.key:
        if key.holder not in holders:
            yield (
                coded('the key of "{holder}" has no effect: its holder has no role', holder=key.holder),
                coded("add the holder to a [[role]], or remove the key"),
            )
    evses = {each.id for each in config.station}
    evses |= {f"{each.id}/{evse.id}" for each in config.station for evse in each.evse}
    dimming = {each.role for each in (() if config.dimming is None else config.dimming.source)}
    for role in policy.role:
        if not role.may and role.id not in dimming:
            yield (
                coded('role "{role}" permits nothing', role=role.id),
                coded("add a [[role.may]] with its actions, or remove it"),
            )
        for permission in role.may:
            for name in _unmatched(config, permission.evses, evses):
                yield (
                    coded('role "{role}": "{name}" is no station and no EVSE', role=role.id, name=name),
                    coded("write STATION or STATION/EVSE, as in the configuration"),
                )


def _unmatched(config: Config, patterns: Sequence[str] | None, names: set[str]) -> list[str]:
    """Return the patterns that match no name; in an overlay network names of other sites are not known."""
    if config.overlay is not None:
        return []
    return [each for each in patterns or () if not any(name in NamePatterns([each]) for name in names)]
