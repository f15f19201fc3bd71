"""Policies and roles received as messages: Add, Update and Delete of SignaturePolicy and UserRole.

The messages and the form of a SignaturePolicy are WWCP's. WWCP has no usable form of a user role, so that
is ours: a table of the policy file, its names in camelCase. Received tables are added to those of the file
and checked together by the same rules.

Nothing is accepted that is not signed by a holder whose role permits it. WWCP writes policies without their
rules and contexts: those cannot be applied and are answered with Rejected and the reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from controller.model.journal import Record
from controller.model.peer_text import peer_word
from controller.signing import SigningError, signature_format
from controller.signing.policy_enforcer import Decision, ForwardDecision
from controller.signing.policy_file import PLACEHOLDERS, LoadedPolicy, load_policy
from controller.signing.policy_schema import (
    ANY,
    KeyEntry,
    PolicyFile,
    SignerRole,
    SigningRule,
    VerificationRule,
)
from controller.signing.signature_format import MessageKind
from controller.tomlcheck.schema_check import SchemaCheck

MAX_RECEIVED = 256
"""Policies and roles together."""

_VERBS = ("Add", "Update", "Delete")
_MEMBERS = {"SignaturePolicy": "signaturePolicy", "UserRole": "userRole"}
_DEFAULTS = ("defaultSigningAction", "defaultVerificationAction")
"""Actions of a WWCP policy for messages that no rule is for; a WWCP node reads neither of them."""
_PREFIX_MARK = "..."
"""End of a WWCP context that matches by prefix."""


class ReceivedPolicy(Record, frozen=True):
    """A received policy or role: `kind` is "SignaturePolicy" or "UserRole".

    `content` is its JSON; None: it is deleted.
    """

    kind: str
    id: str
    content: bytes | None


class PolicyAnswer(msgspec.Struct, frozen=True):
    """Payload of the response. `changed`: to be on disk before it is sent; None if nothing changed."""

    payload: bytes
    changed: ReceivedPolicy | None = None


class PolicyMessageError(SigningError):
    """A received policy or role is rejected."""


class ReceivedPolicies:
    """The policy in force: that of the file and those received since. `folder` is the file's."""

    def __init__(self, file: PolicyFile, folder: Path, received: Iterable[ReceivedPolicy] = ()) -> None:
        self._file = file
        self._folder = folder
        self._received: dict[tuple[str, str], ReceivedPolicy] = {}
        self.loaded, _ = load_policy(file, folder)
        self.not_applied: list[str] = []
        """Policies received once that no longer fit the file, and are not in force. A line each."""
        self._restore(tuple(received))

    def handle_message(self, action: str, payload: bytes, decision: Decision) -> PolicyAnswer:
        """Handle one of `signature_format.POLICY_ACTIONS` after its decision; `loaded` may be new then."""
        try:
            if not isinstance(decision, ForwardDecision) or decision.marked or not decision.signers:
                raise PolicyMessageError("policies and roles are accepted only with a permitted signature")
            changed = self._change(action, payload)
        except PolicyMessageError as error:
            info = {"reasonCode": "InvalidValue", "additionalInfo": str(error)[:512]}
            return PolicyAnswer(msgspec.json.encode({"status": "Rejected", "statusInfo": info}))
        return PolicyAnswer(b'{"status":"Accepted"}', changed)

    def _change(self, action: str, payload: bytes) -> ReceivedPolicy:
        verb = next(verb for verb in _VERBS if action.startswith(verb))
        kind = action.removeprefix(verb)
        message = msgspec.json.decode(payload)
        if verb == "Delete":
            named = message.get(f"{_MEMBERS[kind]}Id")
            changed = ReceivedPolicy(kind, named if isinstance(named, str) else "", None)
        else:
            content = _object(message, _MEMBERS[kind])
            named = content.get("id")
            if not isinstance(named, str) or not named:
                raise PolicyMessageError("it has no id")
            changed = ReceivedPolicy(kind, named, msgspec.json.encode(content))
        self._check_id(verb, changed)
        self._received, self.loaded = self._with_changes([changed])
        return changed

    def _check_id(self, verb: str, changed: ReceivedPolicy) -> None:
        is_known = (changed.kind, changed.id) in self._received
        if verb == "Add" and is_known:
            raise PolicyMessageError("its id is used already: update it")
        if verb != "Add" and not is_known:
            raise PolicyMessageError(
                "no received policy or role has this id; the file's are changed in the file"
            )
        if verb == "Add" and len(self._received) >= MAX_RECEIVED:
            raise PolicyMessageError(f"at most {MAX_RECEIVED} are accepted")

    def _with_changes(
        self, changes: Iterable[ReceivedPolicy]
    ) -> tuple[dict[tuple[str, str], ReceivedPolicy], LoadedPolicy]:
        """Return all that is received with changes, and the resulting policy. Raises PolicyMessageError."""
        after = dict(self._received)
        for changed in changes:
            after.pop((changed.kind, changed.id), None)
            if changed.content is not None:
                after[changed.kind, changed.id] = changed
        parts = [self._file, *(_to_tables(each) for each in sorted(after.values(), key=_rank))]
        names = ("key", "role", "verify", "sign")
        merged = {name: tuple(row for part in parts for row in getattr(part, name)) for name in names}
        loaded, found = load_policy(msgspec.structs.replace(self._file, **merged), self._folder)
        if found:
            raise PolicyMessageError(f"{found[0].what}; {found[0].remedy}")
        return after, loaded

    def _restore(self, received: tuple[ReceivedPolicy, ...]) -> None:
        """Put policies into force: all in one check, and one by one only where some do not fit the file."""
        try:
            self._received, self.loaded = self._with_changes(received)
        except PolicyMessageError as error:
            if len(received) == 1:
                self.not_applied.append(f"{received[0].kind} {peer_word(received[0].id)}: {error}")
                return
            for each in received:
                self._restore((each,))


def _to_tables(received: ReceivedPolicy) -> PolicyFile:
    """Convert a policy or role to tables of a file. Raises PolicyMessageError."""
    content = msgspec.json.decode(received.content or b"{}")
    return _policy_tables(content) if received.kind == "SignaturePolicy" else _role_tables(content)


def _role_tables(content: Mapping[str, Any]) -> PolicyFile:
    """Convert our form: a [[role]] in camelCase, with `keys` as its [[key]] tables."""
    table = _to_snake_case({**content})
    table.pop(signature_format.SIGNATURES, None)
    table.pop("custom_data", None)
    keys = table.pop("keys", [])
    if not isinstance(keys, list):
        raise PolicyMessageError("its keys are not a list")
    return PolicyFile(
        version=1,
        key=tuple(_check_table(KeyEntry, each) for each in keys),
        role=(_check_table(SignerRole, table),),
    )


def _policy_tables(content: Mapping[str, Any]) -> PolicyFile:
    """Convert WWCP's SignaturePolicy: rules with contexts, each perhaps with the only key that counts.

    Raises PolicyMessageError, also for what cannot be applied.
    """
    name = str(content.get("id"))
    for default in _DEFAULTS:
        if default in content:
            raise PolicyMessageError(
                f"its {default} cannot be applied; write a rule with the context * in its place"
            )
    if not content.get("verificationRules") and not content.get("signingRules"):
        raise PolicyMessageError(
            "it has no rules, so nothing would change; WWCP nodes write policies without them: "
            "write them into the policy file"
        )
    times = {
        ours: content[theirs]
        for ours, theirs in (("not_before", "notBefore"), ("not_after", "notAfter"))
        if theirs in content
    }
    keys: list[KeyEntry] = []
    verify: list[VerificationRule] = []
    for number, rule in enumerate(_objects(content, "verificationRules")):
        table = _rule_table(name, "verify", number, rule, times) | {"require": rule.get("action")}
        if "keyPair" in rule:
            keys.append(_key_entry(f"{table['id']} key", rule))
            table["holders"] = [keys[-1].holder]
        verify.append(_check_table(VerificationRule, table))
    sign: list[SigningRule] = []
    for number, rule in enumerate(_objects(content, "signingRules")):
        table = _rule_table(name, "sign", number, rule, times) | {"do": rule.get("action")}
        if "keyPair" in rule:
            raise PolicyMessageError(
                f"{table['id']}: it names a key to sign with; remove it, the controller signs with its own"
            )
        sign.append(_check_table(SigningRule, table))
    return PolicyFile(version=1, key=tuple(keys), verify=tuple(verify), sign=tuple(sign))


def _rule_table(
    name: str, section: str, number: int, rule: Mapping[str, Any], times: dict[str, Any]
) -> dict[str, Any]:
    """Convert the members that both kinds of rules have. Raises PolicyMessageError without a context."""
    if "context" not in rule:
        raise PolicyMessageError(
            f"{name}/{section}/{number}: it has no context, so it is for no message; WWCP nodes write rules "
            "without it: write them into the policy file"
        )
    return {
        "id": f"{name}/{section}/{number}",
        "priority": rule.get("priority", 0),
        "contexts": [_context_pattern(rule.get("context"))],
        "kinds": list(MessageKind),
        **times,
    }


def _context_pattern(context: object) -> object:
    """Convert a context of WWCP, where three dots at the end match any text."""
    if isinstance(context, str) and context.endswith(_PREFIX_MARK):
        return context.removesuffix(_PREFIX_MARK) + ANY
    return context


def _key_entry(holder: str, rule: Mapping[str, Any]) -> KeyEntry:
    pair = _object(rule, "keyPair")
    if "private" in pair:
        raise PolicyMessageError("it has a private key, which is no secret any more: make another one")
    curve = str(pair.get("algorithm", signature_format.DEFAULT_ALGORITHM)).lower()
    entry: KeyEntry = _check_table(KeyEntry, {"holder": holder, "public": pair.get("public"), "curve": curve})
    return entry


def _objects(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    found = content.get(name, [])
    if not isinstance(found, list) or not all(isinstance(each, dict) for each in found):
        raise PolicyMessageError(f"its {name} are not a list of objects")
    return found


def _object(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = message.get(name)
    if not isinstance(found, dict):
        raise PolicyMessageError(f"it has no object {name}")
    return found


def _check_table(kind: type[Any], table: object) -> Any:
    """Check a table by the schema of the file. Raises PolicyMessageError with the first error."""
    schema = SchemaCheck(kind, PLACEHOLDERS)
    checked = schema.check_table(kind, table, ())
    if schema.problems:
        first = schema.problems[0]
        raise PolicyMessageError(f"{'.'.join(map(str, first.path))}: {first.what}; {first.remedy}")
    return msgspec.convert(checked, kind)


def _to_snake_case(value: Any) -> Any:
    """Convert the names of JSON members to those of the file."""
    if isinstance(value, list):
        return [_to_snake_case(each) for each in value]
    if isinstance(value, dict):
        return {_CAPITAL.sub(_lower, name): _to_snake_case(each) for name, each in value.items()}
    return value


_CAPITAL = re.compile("[A-Z]")


def _lower(capital: re.Match[str]) -> str:
    return "_" + capital[0].lower()


def _rank(received: ReceivedPolicy) -> int:
    """Return the rank of a policy: highest priority first, since the first rule of a priority decides."""
    priority = msgspec.json.decode(received.content or b"{}").get("priority")
    return -priority if isinstance(priority, int) else 0
