"""`local-controller policy`: check a policy file and explain its decision on a message.

Exit status: 0 no errors, or the message is forwarded; 1 errors in the file, or the message is not forwarded;
2 a file that cannot be read.
"""

from __future__ import annotations

import argparse
import difflib
import sys
import time
from pathlib import Path

from controller.cli.arguments import (
    FAILED,
    OK,
    UNREADABLE,
    CommandError,
    Subcommands,
    count_of,
    moment,
)
from controller.ocpp.actions import plain
from controller.ocpp.frames import Call, CallResult, Frame, Send, Version, call, call_result, parse
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
from controller.tomlcheck.diagnostics import FileUnreadableError

_ACTIONS = frozenset({"Heartbeat"}).union(POLICY_ACTIONS, *ACTION_CLASSES.values())


def add_parser(commands: Subcommands) -> None:
    """Add the subcommand and its actions."""
    parser = commands.add_parser("policy", help="check a policy of signatures, and explain what it does")
    what = parser.add_subparsers(required=True, metavar="ACTION")

    check = what.add_parser("check", help="find every mistake in a policy's file")
    check.set_defaults(run=_check)

    explain = what.add_parser("explain", help="which rule is for a message, why, and what would become of it")
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
    for command in (check, explain):
        command.add_argument("file", type=Path, metavar="FILE", help="the policy, as in [signing] policy")


def _print_unapproved(policy: LoadedPolicy) -> None:
    for each in policy.unapproved:
        print(
            f"key of {each.key.holder} not in force: {each.given} of {each.needed} approvals; "
            f"have it approved by {', '.join(each.approvers)} (`local-controller keys approve`)",
            file=sys.stderr,
        )


def _check(options: argparse.Namespace) -> int:
    loaded = _read(options.file)
    file = loaded.file
    counts = (
        (len(file.key), "key"),
        (len(file.role), "role"),
        (len(file.verify), "rule to verify"),
        (len(file.sign), "rule to sign"),
    )
    print(f"{options.file}: good: " + ", ".join(count_of(*each) for each in counts))
    _print_unapproved(loaded)
    return OK


def _read(path: Path) -> LoadedPolicy:
    try:
        return read_policy(path)
    except FileUnreadableError as error:
        raise CommandError(str(error), UNREADABLE) from error
    except PolicyFileError as error:
        raise CommandError(str(error)) from error


def _explain(options: argparse.Namespace) -> int:
    loaded = _read(options.file)
    facts = RuleKey(
        version=options.version,
        action=plain(options.action),
        direction=options.direction,
        kind=options.kind,
        link=options.link,
    )
    utc = time.time() if options.at is None else options.at
    policy = loaded.policy()
    rule = policy.rules.verification_rule(facts, utc)
    if facts.action not in _ACTIONS:
        near = difflib.get_close_matches(facts.action, _ACTIONS, 1)
        hint = f"; did you mean {near[0]}?" if near else ""
        print(f"{facts.action} is not an action of OCPP{hint}", file=sys.stderr)
    print(f"context  {facts.context}")
    print(f"rule     {_rule_in_words(rule)}")
    for other in policy.rules.verification_rules(facts):
        if rule is None or other.id != rule.id:
            print(f"not      {_rule_in_words(other)}")
    for passing, whose in ((False, "our own"), (True, "passing")):
        signing = policy.rules.signing_rule(facts, utc, passing=passing)
        print(f"{whose:<8} {'as it is' if signing is None else f'{signing.do} by rule {signing.id}'}")
    if options.message is None:
        return OK
    return _judged(options, loaded, utc)


def _judged(options: argparse.Namespace, loaded: LoadedPolicy, utc: float) -> int:
    """Print the decision on the message in the file."""
    try:
        text = options.message.read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise CommandError(f"{options.message}: cannot be read: {error}", UNREADABLE) from error
    frame = _frame(options, text)
    if frame is None:
        raise CommandError(f"{options.message}: is neither a payload nor a frame of OCPP-J", UNREADABLE)
    passage = MessageContext(
        version=options.version,
        direction=options.direction,
        link=options.link,
        station=options.station or options.link,
        action=options.action,
    )
    ruling = PolicyEnforcer(loaded.policy(), jws=loaded.verifier()).decide(passage, frame, utc)
    print(f"message  {_in_words(ruling)}")
    return OK if isinstance(ruling, ForwardDecision) else FAILED


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


def _in_words(ruling: Decision) -> str:
    match ruling:
        case ForwardDecision(marked=True):
            return f"forward and mark, by rule {ruling.rule}: {ruling.reason}"
        case ForwardDecision():
            return f"forward, by rule {ruling.rule}: {ruling.reason}" if ruling.rule else "forward"
        case RejectDecision():
            return f"refuse, by rule {ruling.rule}: {ruling.reason}"
        case DropDecision():
            return f"drop, by rule {ruling.rule}: {ruling.reason}"
