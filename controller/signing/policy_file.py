"""Loading of a policy file: all errors at once, each with its line and its remedy."""

from __future__ import annotations

from pathlib import Path as FilePath

import msgspec

from controller.signing import SigningError
from controller.signing.jws import JwsCertificate, JwsVerifier
from controller.signing.key_approvals import UnapprovedKey, find_unapproved
from controller.signing.key_entries import load_keys
from controller.signing.policy_content import check_content
from controller.signing.policy_schema import PolicyFile
from controller.signing.signature_policy import SignaturePolicy
from controller.signing.signing_keys import Keyring, KnownKey
from controller.tomlcheck.diagnostics import (
    ErrorDiagnostic,
    Problem,
    locate_problems,
    read_text,
)
from controller.tomlcheck.schema_check import SchemaCheck
from controller.tomlcheck.toml_syntax import parse_toml

PLACEHOLDERS: dict[str, object] = {
    "id": "?",
    "holder": "?",
    "holders": ("?",),
    "actions": ("?",),
    "require": "reject",
    "version": 1,
}
"""For required keys that are wrong or missing, so that the other rules can still be checked."""


_OTHER_NAMES: dict[str, tuple[str, ...]] = {
    "action": ("actions",),
    "approved_by": ("approval",),
    "cert": ("certificate",),
    "keys": ("key",),
    "mode": ("require",),
    "name": ("id", "holder"),
    "owner": ("holder",),
    "permission": ("may",),
    "permissions": ("may",),
    "public_key": ("public",),
    "station": ("links",),
    "stations": ("links",),
    "valid_from": ("not_before",),
    "valid_until": ("not_after",),
}
_OTHER_VALUES: dict[str, str] = {
    **dict.fromkeys(("require.any", "require.signed", "require.required", "require.yes"), "verifyAny"),
    "require.all": "verifyAll",
    **dict.fromkeys(("require.none", "require.no", "require.off", "require.optional"), "acceptUnverified"),
    **dict.fromkeys(("require.deny", "require.forbid", "require.never"), "reject"),
    **dict.fromkeys(("failing.reject", "failing.deny"), "refuse"),
    **dict.fromkeys(("failing.log", "failing.warn", "failing.accept"), "mark"),
    **dict.fromkeys(("curve.p-256", "curve.prime256v1", "curve.p256"), "secp256r1"),
    **dict.fromkeys(("curve.p-384", "curve.p384"), "secp384r1"),
    **dict.fromkeys(("curve.p-521", "curve.p521"), "secp521r1"),
}


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
    schema = SchemaCheck(PolicyFile, PLACEHOLDERS, _OTHER_NAMES, _OTHER_VALUES)
    policy = msgspec.convert(schema.check_table(PolicyFile, data, ()), PolicyFile)
    loaded, found = load_policy(policy, folder)
    # A default stands in for what has the wrong type: what follows from the default is no error of its own.
    found = schema.problems + [each for each in found if not schema.is_consequence(each)]
    errors = locate_problems(found, text, data, file, ErrorDiagnostic)
    return (None if errors else loaded), errors


def load_policy(policy: PolicyFile, folder: FilePath) -> tuple[LoadedPolicy, list[Problem]]:
    """Load the keys and certificates of a policy and check it; not to be used if something is found."""
    keys, certificates, found = load_keys(policy, folder)
    found += check_content(policy)
    unapproved = tuple(find_unapproved(policy, keys))
    withheld = {each.key.id for each in unapproved}
    loaded = LoadedPolicy(
        policy,
        tuple(key for _, key in keys if key.id not in withheld),
        tuple(each for each in certificates if each.key not in withheld),
        unapproved,
    )
    return loaded, found
