"""Policies and roles that come over the wire: Add, Update and Delete of SignaturePolicy and UserRole.

WWCP names the messages and the shape of a SignaturePolicy; of its user roles there is a name only (August
2026), so their shape is ours: that of the policy's file, its names in camelCase. What comes is added to
the file's tables and judged as a whole by the rules of the file, so that it means the same and its
mistakes are told in the same words.

Nothing of it is taken that is not signed by somebody whose role may ask for it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import msgspec

from controller.signing import signing_wire
from controller.signing.policy_enforcer import ForwardDecision, Ruling
from controller.signing.policy_file import PLACEHOLDERS, LoadedPolicy, load
from controller.signing.policy_schema import KeyConfig, PolicyFile, RoleConfig, SignConfig, VerifyConfig
from controller.signing.signing_wire import SignatureKind
from controller.tomlcheck.schema_check import SchemaCheck

MOST_KEPT = 256
"""Policies and roles together."""

_EVERY_KIND = tuple(SignatureKind)
_VERBS = ("Add", "Update", "Delete")
_MEMBERS = {"SignaturePolicy": "signaturePolicy", "UserRole": "userRole"}


class PolicyReceived(msgspec.Struct, frozen=True):
    """A policy or role that was received: `kind` is "SignaturePolicy" or "UserRole".

    `content` is its JSON; None: it is deleted.
    """

    kind: str
    id: str
    content: bytes | None


class PolicyAnswer(msgspec.Struct, frozen=True):
    """The response's payload; and what is to be on disk before it is sent, where something has changed."""

    payload: bytes
    changed: PolicyReceived | None = None


class _Refused(Exception):
    pass


class PolicyInbox:
    """The policy in force: that of the file, and what was received since. `folder` is the file's."""

    def __init__(self, file: PolicyFile, folder: Path, received: Iterable[PolicyReceived] = ()) -> None:
        self._file = file
        self._folder = folder
        self._received: dict[tuple[str, str], PolicyReceived] = {}
        self.loaded, _ = load(file, folder)
        self.forgotten: list[str] = []
        """What was received once and does not fit the file any more: it is not in force. A line each."""
        for each in received:
            self._recall(each)

    def handle(self, action: str, payload: bytes, ruling: Ruling) -> PolicyAnswer:
        """Answer one of `wire.POLICY_ACTIONS`, of which the gate has ruled so; `loaded` may be new then."""
        try:
            if not isinstance(ruling, ForwardDecision) or ruling.marked or not ruling.signers:
                raise _Refused("policies and roles are taken only from those who sign and may ask for it")
            changed = self._change(action, payload)
        except _Refused as refused:
            info = {"reasonCode": "InvalidValue", "additionalInfo": str(refused)[:512]}
            return PolicyAnswer(msgspec.json.encode({"status": "Rejected", "statusInfo": info}))
        return PolicyAnswer(b'{"status":"Accepted"}', changed)

    def _change(self, action: str, payload: bytes) -> PolicyReceived:
        verb = next(verb for verb in _VERBS if action.startswith(verb))
        kind = action.removeprefix(verb)
        message = msgspec.json.decode(payload)
        if verb == "Delete":
            named = message.get(f"{_MEMBERS[kind]}Id")
            changed = PolicyReceived(kind, named if isinstance(named, str) else "", None)
        else:
            content = _table(message, _MEMBERS[kind])
            named = content.get("id")
            if not isinstance(named, str) or not named:
                raise _Refused("it has no id")
            changed = PolicyReceived(kind, named, msgspec.json.encode(content))
        self._check_id(verb, changed)
        self._received, self.loaded = self._with(changed)
        return changed

    def _check_id(self, verb: str, changed: PolicyReceived) -> None:
        known = (changed.kind, changed.id) in self._received
        if verb == "Add" and known:
            raise _Refused("it is there already: update it")
        if verb != "Add" and not known:
            raise _Refused("none was received with this id; what the file says is changed in the file")
        if verb == "Add" and len(self._received) >= MOST_KEPT:
            raise _Refused(f"{MOST_KEPT} are kept at most")

    def _with(self, changed: PolicyReceived) -> tuple[dict[tuple[str, str], PolicyReceived], LoadedPolicy]:
        """All that is received with a change, and the policy that it makes. Raises _Refused."""
        after = {key: each for key, each in self._received.items() if key != (changed.kind, changed.id)}
        if changed.content is not None:
            after[changed.kind, changed.id] = changed
        parts = [self._file, *(_tables(each) for each in sorted(after.values(), key=_rank))]
        names = ("key", "role", "verify", "sign")
        merged = {name: tuple(row for part in parts for row in getattr(part, name)) for name in names}
        loaded, found = load(msgspec.structs.replace(self._file, **merged), self._folder)
        if found:
            raise _Refused(f"{found[0].what}; {found[0].remedy}")
        return after, loaded

    def _recall(self, received: PolicyReceived) -> None:
        try:
            after, loaded = self._with(received)
        except _Refused as refused:
            self.forgotten.append(f"{received.kind} {received.id}: {refused}")
        else:
            self._received, self.loaded = after, loaded


def _tables(received: PolicyReceived) -> PolicyFile:
    """A policy or role as tables of a file. Raises _Refused."""
    content = msgspec.json.decode(received.content or b"{}")
    return _of_policy(content) if received.kind == "SignaturePolicy" else _of_role(content)


def _of_role(content: Mapping[str, Any]) -> PolicyFile:
    """Ours: a [[role]] in camelCase, and with `keys` its [[key]] tables."""
    tables = _in_snake_case({**content})
    tables.pop(signing_wire.SIGNATURES, None)
    tables.pop("custom_data", None)
    keys = tables.pop("keys", [])
    if not isinstance(keys, list):
        raise _Refused("its keys are no list")
    return PolicyFile(
        version=1, key=tuple(_read(KeyConfig, each) for each in keys), role=(_read(RoleConfig, tables),)
    )


def _of_policy(content: Mapping[str, Any]) -> PolicyFile:
    """WWCP's SignaturePolicy: rules of contexts, each perhaps with the one key that is good for it."""
    name = str(content.get("id"))
    times = {
        ours: content[theirs]
        for ours, theirs in (("not_before", "notBefore"), ("not_after", "notAfter"))
        if theirs in content
    }
    keys: list[KeyConfig] = []
    verify: list[VerifyConfig] = []
    for number, rule in enumerate(_list(content, "verificationRules")):
        table = _rule(name, "verify", number, rule, times) | {"require": rule.get("action")}
        if "keyPair" in rule:
            keys.append(_key(f"{table['id']} key", rule))
            table["holders"] = [keys[-1].holder]
        verify.append(_read(VerifyConfig, table))
    sign = tuple(
        _read(SignConfig, _rule(name, "sign", number, rule, times) | {"do": rule.get("action")})
        for number, rule in enumerate(_list(content, "signingRules"))
    )
    return PolicyFile(version=1, key=tuple(keys), verify=tuple(verify), sign=sign)


def _rule(
    name: str, what: str, number: int, rule: Mapping[str, Any], times: dict[str, Any]
) -> dict[str, Any]:
    return {
        "id": f"{name}/{what}/{number}",
        "priority": rule.get("priority", 0),
        "contexts": [rule.get("context")],
        "kinds": list(_EVERY_KIND),
        **times,
    }


def _key(holder: str, rule: Mapping[str, Any]) -> KeyConfig:
    pair = _table(rule, "keyPair")
    if "private" in pair:
        raise _Refused("a private key is in it: it is nobody's secret any more; make another one")
    curve = str(pair.get("algorithm", signing_wire.DEFAULT_ALGORITHM)).lower()
    key: KeyConfig = _read(KeyConfig, {"holder": holder, "public": pair.get("public"), "curve": curve})
    return key


def _list(content: Mapping[str, Any], name: str) -> list[Mapping[str, Any]]:
    listed = content.get(name, [])
    if not isinstance(listed, list) or not all(isinstance(each, dict) for each in listed):
        raise _Refused(f"its {name} are no list of objects")
    return listed


def _table(message: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    table = message.get(name)
    if not isinstance(table, dict):
        raise _Refused(f"it has no object {name}")
    return table


def _read(kind: type[Any], table: object) -> Any:
    """A table by the rules of a file. Raises _Refused with what is wrong first."""
    schema = SchemaCheck(PLACEHOLDERS)
    valid = schema.check_table(kind, table, ())
    if schema.problems:
        first = schema.problems[0]
        raise _Refused(f"{'.'.join(map(str, first.path))}: {first.what}; {first.remedy}")
    return msgspec.convert(valid, kind)


def _in_snake_case(value: Any) -> Any:
    """JSON with the names of its members as the file has them."""
    if isinstance(value, list):
        return [_in_snake_case(each) for each in value]
    if isinstance(value, dict):
        return {_CAPITAL.sub(_lowered, name): _in_snake_case(each) for name, each in value.items()}
    return value


_CAPITAL = re.compile("[A-Z]")


def _lowered(capital: re.Match[str]) -> str:
    return "_" + capital[0].lower()


def _rank(received: PolicyReceived) -> int:
    """Policies by their priority, the highest first: of rules with the same priority the first one counts."""
    priority = msgspec.json.decode(received.content or b"{}").get("priority")
    return -priority if isinstance(priority, int) else 0
