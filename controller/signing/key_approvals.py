"""Approval of new keys by several people: m of n holders sign a key before it counts.

A role names who approves keys of its holders, and how many must have (`key_approvers`, `key_approvals`). An
approval is a signature over the entry of the key; a key with too few counts as unknown. So one person, or
one stolen key, does not bring in a new key of a grid operator, and the key before it stays in force.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from controller.signing import curves
from controller.signing.payload_signatures import KeyId
from controller.signing.policy_schema import KeyEntry, PolicyFile
from controller.signing.signature_format import decode_base64, encode_base64
from controller.signing.signing_keys import KnownKey, OwnKey

_PREFIX = b"local-controller key approval 1\n"
"""Beginning that no message has: an approval is never taken for a signed message, nor the reverse."""


class UnapprovedKey(msgspec.Struct, frozen=True):
    """A key that does not count: `given` of `needed` approvals of `approvers` are valid."""

    entry: KeyEntry
    key: KnownKey
    given: int
    needed: int
    approvers: tuple[str, ...]


def approval_text(entry: KeyEntry, key: KeyId) -> bytes:
    """Return the text that an approver signs: the members of a key's entry, as JSON in one form."""
    members = {
        "curve": key.curve,
        "holder": entry.holder,
        "not_after": None if entry.not_after is None else entry.not_after.timestamp(),
        "not_before": None if entry.not_before is None else entry.not_before.timestamp(),
        "public": encode_base64(key.point),
    }
    return _PREFIX + msgspec.json.encode(members)


def sign_approval(entry: KeyEntry, key: KeyId, approver: OwnKey) -> str:
    """Return the value of an approval: the signature in base64."""
    signature = curves.sign_text(approver.private, approval_text(entry, key))
    return base64.b64encode(signature).decode()


def find_unapproved(policy: PolicyFile, keys: Sequence[tuple[KeyEntry, KnownKey]]) -> list[UnapprovedKey]:
    """Return the keys that have too few approvals, of all `keys` with their entries."""
    by_holder: dict[str, list[KeyId]] = {}
    for _, known in keys:
        by_holder.setdefault(known.holder, []).append(known.id)
    found = []
    for entry, known in keys:
        for role in policy.role:
            if role.key_approvals == 0 or entry.holder not in role.holders:
                continue
            approvers = set(role.key_approvers) - {entry.holder}
            given = _valid_approvers(entry, known.id, approvers, by_holder)
            if len(given) < role.key_approvals:
                found.append(UnapprovedKey(entry, known, len(given), role.key_approvals, role.key_approvers))
                break
    return found


def _valid_approvers(
    entry: KeyEntry, key: KeyId, approvers: Iterable[str], keys: Mapping[str, Sequence[KeyId]]
) -> set[str]:
    """Return the holders whose approval of a key is valid; each counts once, by any of its keys."""
    text = approval_text(entry, key)
    return {
        approval.by
        for approval in entry.approval
        if approval.by in approvers
        and any(_is_signed(approver, approval.value, text) for approver in keys.get(approval.by, ()))
    }


def _is_signed(key: KeyId, value: str, text: bytes) -> bool:
    signature, curve = decode_base64(value), curves.CURVES[key.curve]
    if signature is None:
        return False
    return curves.is_valid_signature(curve, curves.decode_point(curve, key.point), signature, text)
