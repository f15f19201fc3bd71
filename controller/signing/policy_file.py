"""Loading of a policy file: all errors at once, each with its line and its remedy."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Iterator
from pathlib import Path as FilePath

import msgspec

from controller.signing import SigningError
from controller.signing.jws import JwsCertificate, JwsVerifier, read_jws_certificate
from controller.signing.key_approvals import UnapprovedKey, find_unapproved
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import ACTION_CLASSES, ANY, KeyEntry, PolicyFile, Rule
from controller.signing.rule_set import begin_of, end_of
from controller.signing.signature_format import POLICY_ACTIONS
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey, read_public_point
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

_KNOWN_ACTIONS = frozenset().union(POLICY_ACTIONS, ACTION_CLASSES, *ACTION_CLASSES.values())


PLACEHOLDERS: dict[str, object] = {
    "id": "?",
    "holder": "?",
    "holders": ("?",),
    "actions": ("?",),
    "require": "reject",
    "version": 1,
}
"""For required keys that are wrong or missing, so that the other rules can still be checked."""


class PolicyFileError(SigningError):
    """A policy file has errors. Its text has a line for each."""

    def __init__(self, errors: list[ErrorDiagnostic]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


class LoadedPolicy(msgspec.Struct, frozen=True):
    """A valid policy file, and the keys and certificates that it names; without those not `unapproved`."""

    file: PolicyFile
    keys: tuple[KnownKey, ...] = ()
    certificates: tuple[JwsCertificate, ...] = ()
    unapproved: tuple[UnapprovedKey, ...] = ()

    def policy(self) -> SignaturePolicy:
        """Build the policy."""
        file = self.file
        return SignaturePolicy(
            keyring=Keyring(self.keys),
            roles=file.role,
            verify=file.verify,
            sign=file.sign,
            window_s=file.window_s,
        )

    def verifier(self) -> JwsVerifier:
        """Build the verifier of the signed messages of OCPP itself."""
        return JwsVerifier(self.certificates)


def read_policy(path: FilePath) -> LoadedPolicy:
    """Read a policy file. Raises FileUnreadableError and PolicyFileError."""
    loaded, errors = check_policy(read_text(path), str(path), path.parent)
    if loaded is None:
        raise PolicyFileError(errors)
    return loaded


def check_policy(text: str, file: str, folder: FilePath) -> tuple[LoadedPolicy | None, list[ErrorDiagnostic]]:
    """Check the text of a policy; returns the policy, None if there are errors, and all errors."""
    data = parse_toml(text, file)
    if isinstance(data, ErrorDiagnostic):
        return None, [data]
    schema = SchemaCheck(PolicyFile, PLACEHOLDERS)
    policy = msgspec.convert(schema.check_table(PolicyFile, data, ()), PolicyFile)
    loaded, found = load_policy(policy, folder)
    # A default stands in for what has the wrong type: what follows from the default is no error of its own.
    found = schema.problems + [each for each in found if not schema.is_consequence(each)]
    errors = locate_problems(found, text, data, file, ErrorDiagnostic)
    return (None if errors else loaded), errors


def load_policy(policy: PolicyFile, folder: FilePath) -> tuple[LoadedPolicy, list[Problem]]:
    """Load the keys and certificates of a policy and check it; not to be used if something is found."""
    keys, certificates, found = _load_keys(policy, folder)
    found += [*_check_times(policy), *_check_ids(policy), *_check_roles(policy), *_check_rules(policy)]
    unapproved = tuple(find_unapproved(policy, keys))
    withheld = {each.key.id for each in unapproved}
    loaded = LoadedPolicy(
        policy,
        tuple(key for _, key in keys if key.id not in withheld),
        tuple(each for each in certificates if each.key not in withheld),
        unapproved,
    )
    return loaded, found


def _load_keys(
    policy: PolicyFile, folder: FilePath
) -> tuple[list[tuple[KeyEntry, KnownKey]], list[JwsCertificate], list[Problem]]:
    known: dict[KeyId, tuple[KeyEntry, KnownKey]] = {}
    certificates: list[JwsCertificate] = []
    found: list[Problem] = []
    for index, entry in enumerate(policy.key):
        path: DataPath = ("key", index)
        try:
            loaded = _load_key(entry, folder)
        except _KeyEntryError as error:
            found.append(Problem((*path, *error.path), error.what, error.remedy))
            continue
        if isinstance(loaded, JwsCertificate):
            certificates.append(loaded)
            begin, end, key = loaded.not_before, loaded.not_after, loaded.key
        else:
            begin, end, key = begin_of(None), end_of(None), loaded
        if key in known:
            found.append(Problem(path, f"is {known[key][1].holder}'s key, too", "remove one of the two"))
        known[key] = (
            entry,
            KnownKey(
                id=key,
                holder=entry.holder,
                not_before=max(begin, begin_of(entry.not_before)),
                not_after=min(end, end_of(entry.not_after)),
            ),
        )
    return list(known.values()), certificates, found


class _KeyEntryError(SigningError):
    def __init__(self, path: DataPath, what: str, remedy: str) -> None:
        super().__init__(what)
        self.path, self.what, self.remedy = path, what, remedy


def _load_key(entry: KeyEntry, folder: FilePath) -> KeyId | JwsCertificate:
    if entry.public is not None and entry.certificate is None:
        return _load_public_key(entry, entry.public)
    if entry.public is None and entry.certificate is not None:
        return _load_certificate(folder / entry.certificate)
    what = "has neither public nor certificate" if entry.public is None else "has both public and certificate"
    raise _KeyEntryError((), what, "give it one of them; `local-controller keys export` writes public")


def _load_public_key(entry: KeyEntry, public: str) -> KeyId:
    try:
        return read_public_point(entry.curve, public)
    except SigningError as error:
        remedy = "copy key and curve from `local-controller keys export`"
        raise _KeyEntryError(("public",), str(error), remedy) from None


def _load_certificate(file: FilePath) -> JwsCertificate:
    try:
        return read_jws_certificate(file.read_bytes())
    except OSError as error:
        what = f"{file} cannot be read: {error.strerror}"
    except SigningError as error:
        what = f"{file} {error}"
    raise _KeyEntryError(("certificate",), what, "name the signer's certificate, in PEM")


def _check_times(policy: PolicyFile) -> Iterator[Problem]:
    for name in ("key", "verify", "sign"):
        for index, each in enumerate(getattr(policy, name)):
            if begin_of(each.not_before) >= end_of(each.not_after):
                yield Problem((name, index, "not_after"), "is not after not_before", "let it end later")


def _check_ids(policy: PolicyFile) -> Iterator[Problem]:
    """Check that ids are unique: an error names the rule."""
    for kinds in (("role",), ("verify", "sign")):
        seen: set[str] = set()
        for kind in kinds:
            for index, each in enumerate(getattr(policy, kind)):
                if each.id in seen:
                    yield Problem(
                        (kind, index, "id"), f'"{each.id}" is already defined', "give each its own id"
                    )
                seen.add(each.id)


def _check_roles(policy: PolicyFile) -> Iterator[Problem]:
    holders = {key.holder for key in policy.key}
    for index, role in enumerate(policy.role):
        path: DataPath = ("role", index)
        yield from _check_known((*path, "holders"), role.holders, holders, "key")
        yield from _check_known((*path, "key_approvers"), role.key_approvers, holders, "key")
        if role.key_approvals > len(set(role.key_approvers)):
            what = "is more than the number of key_approvers"
            yield Problem((*path, "key_approvals"), what, "name more holders in key_approvers")
        count = len(set(role.holders))
        if role.approvals > count:
            what = f"is more than the number of holders, {count}"
            yield Problem((*path, "approvals"), what, "name more holders")
        for number, permission in enumerate(role.may):
            place: DataPath = (*path, "may", number)
            yield from _check_actions((*place, "actions"), permission.actions)
            least, most = permission.at_least, permission.at_most
            if least is not None and most is not None and least > most:
                yield Problem((*place, "at_most"), "is below at_least", "raise it")


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
            yield Problem((*path, number), f'"{name}" is not an action of OCPP', f'did you mean "{near[0]}"?')
