"""`local-controller policy`: check a policy file, explain its decision on a message, end a wait.

Exit status: 0 no errors, or the message is forwarded; 1 errors in the file, or the message is not forwarded;
2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    PrintedDiagnostic,
    Subcommands,
    add_config,
    add_json,
    count_of,
    file_error,
    moment,
    print_json,
    printed_diagnostic,
    read_store_directory,
)
from controller.ocpp.actions import plain
from controller.ocpp.frames import Call, CallResult, Frame, Send, Version, call, call_result, parse
from controller.services.configuration.signing_rules import find_ended
from controller.services.machine.control_socket import ControlError, send_command
from controller.signing.policy_enforcer import (
    Decision,
    DropDecision,
    ForwardDecision,
    MessageContext,
    PolicyEnforcer,
    RejectDecision,
)
from controller.signing.policy_file import LoadedPolicy, PolicyFileError, read_policy
from controller.signing.policy_schema import ACTION_CLASSES, VerificationRule
from controller.signing.rule_set import RuleKey, is_safe_rule
from controller.signing.signature_format import POLICY_ACTIONS, Direction, MessageKind
from controller.tomlcheck.diagnostics import ErrorDiagnostic, FileUnreadableError

_ACTIONS = frozenset({"Heartbeat"}).union(POLICY_ACTIONS, *ACTION_CLASSES.values())


class InvalidPolicyError(CommandError):
    """A policy file has errors. Its text has a line for each."""

    def __init__(self, errors: list[ErrorDiagnostic]) -> None:
        super().__init__("\n".join(map(str, errors)))
        self.errors = errors


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("policy", help="check a policy of signatures, and explain what it does")
    what = parser.add_subparsers(required=True, metavar="ACTION")

    check = what.add_parser("check", help="find every mistake in a policy file")
    check.set_defaults(run=_check)

    explain = what.add_parser("explain", help="show the rule for a message, why it applies, and the decision")
    explain.add_argument("--action", required=True, metavar="A", help="e.g. SetChargingProfile")
    explain.add_argument(
        "--link", required=True, metavar="L", help="the station or backend that it comes from"
    )
    explain.add_argument("--station", metavar="ID", help="whose message it is; default: the link")
    explain.add_argument(
        "--direction",
        type=Direction,
        choices=list(Direction),
        default=Direction.DOWN,
        help="up: from a station; down: to one; default: %(default)s",
    )
    explain.add_argument(
        "--version", type=Version, choices=list(Version), default=Version.V201, help="default: %(default)s"
    )
    explain.add_argument(
        "--kind",
        type=MessageKind,
        choices=list(MessageKind),
        default=MessageKind.REQUEST,
        help="default: %(default)s",
    )
    explain.add_argument("--message", type=Path, metavar="FILE", help="a payload, or a whole frame")
    explain.add_argument("--at", type=moment, metavar="TIME", help="UTC; default: now")
    explain.set_defaults(run=_explain)

    resume = what.add_parser("resume", help="shorten the wait of the alarm signing-waits to one window")
    add_config(resume)
    resume.set_defaults(run=_resume)
    for command in (check, explain):
        add_json(command)
        command.add_argument("file", type=Path, metavar="FILE", help="the policy, as in [signing] policy")


def _resume(options: argparse.Namespace) -> int:
    """Have the running controller accept signed messages again. Raises CommandError."""
    try:
        result = send_command(read_store_directory(options.config), "signing.resume")
    except ControlError as error:
        raise CommandError(str(error)) from error
    print(f"signed messages made after {result['rejected_until']} are accepted again")
    print("one that was signed with a later time before may be accepted once more when that time comes")
    return OK


def _print_unapproved(policy: LoadedPolicy) -> None:
    for each in policy.unapproved:
        print(
            f"key of {each.key.holder} not in force: {each.given} of {each.needed} approvals; "
            f"have it approved by {', '.join(each.approvers)} (`local-controller keys approve`)",
            file=sys.stderr,
        )


def _check(options: argparse.Namespace) -> int:
    try:
        loaded = _read(options.file)
    except InvalidPolicyError as error:
        if not options.json:
            raise
        print_json(_report(options.file, list(map(printed_diagnostic, error.errors)), None))
        return FAILED
    hints = [
        PrintedDiagnostic(
            severity="hint", file=str(options.file), line=None, key="", what=str(what), remedy=str(remedy)
        )
        for what, remedy in find_ended(loaded.file, datetime.now(UTC))
    ]
    if options.json:
        print_json(_report(options.file, hints, loaded))
        return OK
    file = loaded.file
    counts = (
        (len(file.key), "key"),
        (len(file.role), "role"),
        (len(file.verify), "rule to verify"),
        (len(file.sign), "rule to sign"),
    )
    print(f"{options.file}: good: " + ", ".join(count_of(*each) for each in counts))
    _print_unapproved(loaded)
    for hint in hints:
        print(f"{options.file}: {hint.what}; {hint.remedy} (hint)", file=sys.stderr)
    return OK


def _report(
    path: Path, diagnostics: list[PrintedDiagnostic], loaded: LoadedPolicy | None
) -> dict[str, object]:
    """Return what `check --json` prints; `loaded`: the policy, None where it has errors."""
    return {
        "file": str(path),
        "valid": loaded is not None,
        "diagnostics": diagnostics,
        "summary": None
        if loaded is None
        else {
            "keys": len(loaded.file.key),
            "roles": len(loaded.file.role),
            "rules_to_verify": len(loaded.file.verify),
            "rules_to_sign": len(loaded.file.sign),
        },
        "unapproved": []
        if loaded is None
        else [
            {
                "holder": each.key.holder,
                "given": each.given,
                "needed": each.needed,
                "approvers": list(each.approvers),
            }
            for each in loaded.unapproved
        ],
    }


def _read(path: Path) -> LoadedPolicy:
    try:
        return read_policy(path)
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    except PolicyFileError as error:
        raise InvalidPolicyError(error.errors) from error


def _explain(options: argparse.Namespace) -> int:
    loaded = _read(options.file)
    key = RuleKey(
        version=options.version,
        action=plain(options.action),
        direction=options.direction,
        kind=options.kind,
        link=options.link,
    )
    utc = time.time() if options.at is None else options.at
    rules = loaded.policy().rules
    rule = rules.verification_rule(key, utc)
    others = [each for each in rules.verification_rules(key) if rule is None or each.id != rule.id]
    signing = {
        name: rules.signing_rule(key, utc, passing=passing)
        for name, passing in (("our own", False), ("passing", True))
    }
    if key.action not in _ACTIONS:
        near = difflib.get_close_matches(key.action, _ACTIONS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"{key.action} is not an action of OCPP{hint}", file=sys.stderr)
    decision = None if options.message is None else _decide(options, loaded, utc)
    if options.json:
        print_json(
            {
                "context": key.context,
                "rule": None if rule is None else _rule_members(rule),
                "not_applied": list(map(_rule_members, others)),
                "signing": {
                    name.replace(" ", "_"): None if each is None else {"id": each.id, "do": each.do}
                    for name, each in signing.items()
                },
                "decision": None if decision is None else _decision_members(decision),
            }
        )
    else:
        print(f"context  {key.context}")
        print(f"rule     {_rule_in_words(rule)}")
        for other in others:
            print(f"not      {_rule_in_words(other)}")
        for name, each in signing.items():
            print(f"{name:<8} {'as it is' if each is None else f'{each.do} by rule {each.id}'}")
        if decision is not None:
            print(f"message  {_in_words(decision)}")
    return OK if decision is None or isinstance(decision, ForwardDecision) else FAILED


def _rule_members(rule: VerificationRule) -> dict[str, object]:
    return {**msgspec.to_builtins(rule), "safe_by_default": is_safe_rule(rule)}


def _decision_members(decision: Decision) -> dict[str, object]:
    """Return what `explain --json` prints about a decision. `rule`: "" where none is for the message."""
    match decision:
        case ForwardDecision():
            does, marked = "forward", decision.marked
        case RejectDecision():
            does, marked = "refuse", False
        case DropDecision():
            does, marked = "drop", False
    return {"do": does, "marked": marked, "rule": decision.rule, "reason": decision.reason}


def _decide(options: argparse.Namespace, loaded: LoadedPolicy, utc: float) -> Decision:
    """Return the decision on the message in the file. Raises CommandError."""
    try:
        text = options.message.read_text("utf-8").strip()
    except OSError as error:
        raise file_error(error, options.message) from error
    except UnicodeDecodeError as error:
        raise CommandError(
            f"{options.message}: is not UTF-8; name a file with the frame as JSON", UNREADABLE
        ) from error
    frame = _frame(options, text)
    if frame is None:
        raise CommandError(f"{options.message}: is neither a payload nor a frame of OCPP-J", UNREADABLE)
    context = MessageContext(
        version=options.version,
        direction=options.direction,
        link=options.link,
        station=options.station or options.link,
        action=options.action,
    )
    return PolicyEnforcer(loaded.policy(), jws=loaded.verifier()).decide(context, frame, utc)


def _frame(options: argparse.Namespace, text: str) -> Frame | None:
    if not text.startswith("["):
        payload = text.encode()
        if options.kind is MessageKind.RESPONSE:
            text = call_result("1", payload)
        else:
            text = call("1", options.action, payload)
        if options.kind is MessageKind.SEND:
            text = "[6" + text.removeprefix("[2")
    frame = parse(text)
    return frame if isinstance(frame, Call | CallResult | Send) else None


def _rule_in_words(rule: VerificationRule | None) -> str:
    if rule is None:
        return "none: the message passes, its signatures are not verified"
    words = [f"{rule.id}: {rule.require}"]
    words += [f"of role {' or '.join(rule.roles)}"] if rule.roles else []
    words += [f"of {' or '.join(rule.holders)}"] if rule.holders else []
    words += ["made within window_s and new"] if rule.fresh else []
    words += [f"else {rule.failing}"] if rule.require.verifies else []
    words += ["safe by default" if is_safe_rule(rule) else f"priority {rule.priority}"]
    return ", ".join(words)


def _in_words(decision: Decision) -> str:
    match decision:
        case ForwardDecision(marked=True):
            return f"forward and mark, by rule {decision.rule}: {decision.reason}"
        case ForwardDecision():
            return f"forward, by rule {decision.rule}: {decision.reason}" if decision.rule else "forward"
        case RejectDecision():
            return f"refuse, by rule {decision.rule}: {decision.reason}"
        case DropDecision():
            return f"drop, by rule {decision.rule}: {decision.reason}"
