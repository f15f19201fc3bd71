"""From a policy's file to a `SignaturePolicy`: every mistake at once, each with its line and its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

import msgspec

from controller.signing import name_patterns, signing_wire
from controller.signing.curves import CURVES, BadKeyError, public_key
from controller.signing.jws import Certificate, Verifier, read_certificate
from controller.signing.keyring import Keyring, KnownKey
from controller.signing.policy_schema import KeyConfig, PolicyFile, RuleConfig
from controller.signing.rulebook import since, until
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signatures import KeyId
from controller.tomlcheck.diagnostics import (
    ErrorDiagnostic,
    Problem,
    locate_problems,
    parse_toml,
    read_text,
    unknown_name,
)
from controller.tomlcheck.positions import DataPath
from controller.tomlcheck.schema_check import SchemaCheck

_KNOWN_ACTIONS = frozenset().union(
    signing_wire.POLICY_ACTIONS, name_patterns.CLASSES, *name_patterns.CLASSES.values()
)


PLACEHOLDERS: dict[str, object] = {
    "id": "?",
    "holder": "?",
    "holders": ("?",),
    "actions": ("?",),
    "require": "reject",
    "version": 1,
}
"""For required keys that are wrong or missing, so that the other rules can still be checked."""


class PolicyFileError(Exception):
    """The file can be read, but not used. Its text is all mistakes, a line each."""

    def __init__(self, errors: list[ErrorDiagnostic]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class LoadedPolicy(msgspec.Struct, frozen=True):
    """A good file, and the keys and certificates that it names."""

    file: PolicyFile
    keys: tuple[KnownKey, ...] = ()
    certificates: tuple[Certificate, ...] = ()

    def policy(self) -> SignaturePolicy:
        """Ready to judge."""
        file = self.file
        return SignaturePolicy(
            keyring=Keyring(self.keys),
            roles=file.role,
            verify=file.verify,
            sign=file.sign,
            window_s=file.window_s,
        )

    def verifier(self) -> Verifier:
        """For the signed messages of OCPP itself."""
        return Verifier(self.certificates)


def read_policy(path: FilePath) -> LoadedPolicy:
    """The policy in a file. Raises ConfigUnreadable and PolicyMistakes."""
    loaded, mistakes = check_policy(read_text(path), str(path), path.parent)
    if loaded is None:
        raise PolicyFileError(mistakes)
    return loaded


def check_policy(text: str, file: str, folder: FilePath) -> tuple[LoadedPolicy | None, list[ErrorDiagnostic]]:
    """All mistakes of a policy's text; the policy is None where there are some."""
    data = parse_toml(text, file)
    if isinstance(data, ErrorDiagnostic):
        return None, [data]
    schema = SchemaCheck(PLACEHOLDERS)
    policy = msgspec.convert(schema.check_table(PolicyFile, data, ()), PolicyFile)
    loaded, found = load(policy, folder)
    found = schema.problems + [each for each in found if not _stood_in(each.path, schema.replaced)]
    mistakes = locate_problems(found, text, data, file, ErrorDiagnostic)
    return (None if mistakes else loaded), mistakes


def load(policy: PolicyFile, folder: FilePath) -> tuple[LoadedPolicy, list[Problem]]:
    """The tables with their keys and certificates read; not to be used where something is found."""
    keys, certificates, found = _keys(policy, folder)
    found += [*_times(policy), *_names(policy), *_roles(policy), *_rules(policy)]
    return LoadedPolicy(policy, keys, certificates), found


def _stood_in(path: DataPath, stood_in: set[DataPath]) -> bool:
    return any(path[:length] in stood_in for length in range(len(path) + 1))


def _keys(
    policy: PolicyFile, folder: FilePath
) -> tuple[tuple[KnownKey, ...], tuple[Certificate, ...], list[Problem]]:
    known: dict[KeyId, KnownKey] = {}
    certificates: list[Certificate] = []
    found: list[Problem] = []
    for index, key in enumerate(policy.key):
        path: DataPath = ("key", index)
        try:
            read = _key(key, folder)
        except _Wrong as wrong:
            found.append(Problem((*path, *wrong.key), wrong.what, wrong.remedy))
            continue
        if isinstance(read, Certificate):
            certificates.append(read)
            begins, ends = read.not_before, read.not_after
            name = read.key
        else:
            begins, ends, name = since(None), until(None), read
        if name in known:
            found.append(Problem(path, f"is {known[name].holder}'s key, too", "remove one of the two"))
        known[name] = KnownKey(
            id=name,
            holder=key.holder,
            not_before=max(begins, since(key.not_before)),
            not_after=min(ends, until(key.not_after)),
        )
    return tuple(known.values()), tuple(certificates), found


class _Wrong(Exception):
    def __init__(self, key: DataPath, what: str, remedy: str) -> None:
        super().__init__(what)
        self.key, self.what, self.remedy = key, what, remedy


def _key(key: KeyConfig, folder: FilePath) -> KeyId | Certificate:
    if key.public is not None and key.certificate is None:
        return _public(key, key.public)
    if key.public is None and key.certificate is not None:
        return _certificate(folder / key.certificate)
    what = "has neither public nor certificate" if key.public is None else "has both public and certificate"
    raise _Wrong((), what, "give it one of them; `local-controller keys export` writes public")


def _public(key: KeyConfig, public: str) -> KeyId:
    point = signing_wire.decoded(public)
    if point is None:
        raise _Wrong(("public",), "is not base64", "copy it from `local-controller keys export`")
    try:
        public_key(CURVES[key.curve], point)
    except BadKeyError as bad:
        raise _Wrong(
            ("public",), str(bad), "copy key and curve from `local-controller keys export`"
        ) from None
    return KeyId(key.curve, point)


def _certificate(file: FilePath) -> Certificate:
    try:
        return read_certificate(file.read_bytes())
    except OSError as error:
        what = f"{file} cannot be read: {error.strerror}"
    except BadKeyError as bad:
        what = f"{file} {bad}"
    raise _Wrong(("certificate",), what, "name the signer's certificate, in PEM")


def _times(policy: PolicyFile) -> Iterator[Problem]:
    for name in ("key", "verify", "sign"):
        for index, each in enumerate(getattr(policy, name)):
            if since(each.not_before) >= until(each.not_after):
                yield Problem((name, index, "not_after"), "is not after not_before", "let it end later")


def _names(policy: PolicyFile) -> Iterator[Problem]:
    """Everything with an id must have its own: a refusal names the rule."""
    for kinds in (("role",), ("verify", "sign")):
        seen: set[str] = set()
        for kind in kinds:
            for index, each in enumerate(getattr(policy, kind)):
                if each.id in seen:
                    yield Problem(
                        (kind, index, "id"), f'"{each.id}" is already defined', "give each its own id"
                    )
                seen.add(each.id)


def _roles(policy: PolicyFile) -> Iterator[Problem]:
    holders = {key.holder for key in policy.key}
    for index, role in enumerate(policy.role):
        path: DataPath = ("role", index)
        yield from _unknown((*path, "holders"), role.holders, holders, "key")
        if role.approvals > len(set(role.holders)):
            yield Problem(
                (*path, "approvals"),
                f"cannot be had of {len(set(role.holders))} holders",
                "name more holders",
            )
        for number, grant in enumerate(role.may):
            place: DataPath = (*path, "may", number)
            yield from _actions((*place, "actions"), grant.actions)
            if None not in (grant.at_least, grant.at_most) and grant.at_least > grant.at_most:  # type: ignore[operator]
                yield Problem((*place, "at_most"), "is below at_least", "let it be higher")


def _rules(policy: PolicyFile) -> Iterator[Problem]:
    holders = {key.holder for key in policy.key}
    roles = {role.id for role in policy.role}
    for index, verify in enumerate(policy.verify):
        path: DataPath = ("verify", index)
        yield from _unknown((*path, "roles"), verify.roles or (), roles, "role")
        yield from _unknown((*path, "holders"), verify.holders or (), holders, "key")
    rules: tuple[tuple[str, tuple[RuleConfig, ...]], ...] = (("verify", policy.verify), ("sign", policy.sign))
    for name, each in rules:
        for index, rule in enumerate(each):
            yield from _actions((name, index, "actions"), rule.actions or ())


def _unknown(path: DataPath, listed: Iterable[str], known: set[str], kind: str) -> Iterator[Problem]:
    for number, name in enumerate(listed):
        if name not in known:
            yield unknown_name((*path, number), name, known, kind)


def _actions(path: DataPath, listed: Iterable[str]) -> Iterator[Problem]:
    """Names that are nearly those of actions or classes; others may be a vendor's."""
    for number, name in enumerate(listed):
        near = difflib.get_close_matches(name, _KNOWN_ACTIONS, 1, 0.8)
        if name not in _KNOWN_ACTIONS and name_patterns.ANY not in name and near:
            yield Problem((*path, number), f'"{name}" is not an action of OCPP', f'did you mean "{near[0]}"?')
