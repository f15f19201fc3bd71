"""The files of [signing]: their mistakes are reported with the configuration that names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath

from controller.config.schema import Config
from controller.signing.policy_file import PolicyFileError, read_policy
from controller.signing.policy_schema import SigningAction
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
            what, _, remedy = str(wrong).partition("; ")
            yield Problem(("signing", "key"), what, remedy or coded("name a key, or a folder of keys"))
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
    """Roles that may dim, and that the policy does not have. What is wrong in its file is a mistake."""
    signing, dimming = config.signing, config.dimming
    if signing is None or signing.policy is None or dimming is None:
        return
    try:
        roles = {role.id for role in read_policy(FilePath(signing.policy)).file.role}
    except (FileUnreadableError, PolicyFileError):
        return
    for index, source in enumerate(dimming.source):
        if source.kind == "signed" and source.signed and source.role is not None and source.role not in roles:
            yield Problem(
                ("dimming", "source", index, "role"),
                coded(
                    'no key has the role "{role}" in the policy: all its commands are rejected',
                    role=source.role,
                ),
                coded("add its [[role]] to {policy}", policy=signing.policy),
            )
