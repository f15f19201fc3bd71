"""The files of [signing]: what is wrong in them is told with the configuration that names them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path as FilePath

from controller.config.findings import Finding
from controller.config.remarks import ConfigUnreadable
from controller.config.tables import Signing
from controller.signing.key_files import KeyFileWrong, read_keys
from controller.signing.policy_file import PolicyMistakes, read_policy
from controller.signing.tables import Do


def signing_mistakes(signing: Signing) -> Iterator[Finding]:
    """Keys that cannot be used, and every mistake of the policy."""
    if signing.key is not None:
        try:
            read_keys(FilePath(signing.key))
        except KeyFileWrong as wrong:
            what, _, mend = str(wrong).partition("; ")
            yield Finding(("signing", "key"), what, mend or "name a key, or a folder of keys")
    if signing.policy is not None:
        try:
            policy = read_policy(FilePath(signing.policy)).file
            if signing.key is None and any(rule.do is Do.SIGN for rule in policy.sign):
                what = "is missing, and the policy has something to sign"
                yield Finding(
                    ("signing", "key"), what, "make one with `local-controller keys new`, and name it"
                )
        except ConfigUnreadable as unreadable:
            yield Finding(("signing", "policy"), str(unreadable), "name the policy's file")
        except PolicyMistakes as wrong:
            for mistake in wrong.mistakes:
                what = f"{mistake.file}:{mistake.line}: {mistake.key}: {mistake.what}"
                yield Finding(("signing", "policy"), what, mistake.mend)
