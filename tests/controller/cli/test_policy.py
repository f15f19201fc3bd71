"""`local-controller policy` as a person types it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from controller.cli.main import main
from controller.signing.signature_format import MessageKind
from tests.controller.signing.authors import compact
from tests.controller.signing.policy_examples import OLGA, limit, signed
from tests.controller.signing.test_policy_file import HEAD

POLICY = (
    HEAD
    + """
[[role]]
id = "operator"
holders = ["olga"]
[[role.may]]
actions = ["SetChargingProfile"]
max_a = 16
[[verify]]
id = "resets"
actions = ["Reset"]
links = ["fleet"]
require = "verifyAll"
roles = ["operator"]
failing = "mark"
priority = 3
[[sign]]
id = "ours"
actions = ["Reset"]
passing = true
"""
)
AT = "2026-11-21T14:00:00"


def typed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    status = main(["policy", *map(str, words)])
    output = capsys.readouterr()
    return status, output.out, output.err


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    file = tmp_path / "signing.toml"
    file.write_text(POLICY)
    return file


def test_policy_action_that_is_none_is_reported_with_nearest(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, _, err = typed(capsys, "explain", "--action", "SetChargingProfle", "--link", "cpo", policy)
    assert err == "SetChargingProfle is not an action of OCPP; did you mean SetChargingProfile?\n"
    for known in ("Heartbeat", "AddUserRole", "Reset-Signed", "TransactionEvent"):
        assert typed(capsys, "explain", "--action", known, "--link", "cpo", policy)[2] == ""


def test_policy_valid_file_is_accepted(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert typed(capsys, "check", policy) == (
        0,
        f"{policy}: good: 1 key, 1 role, 1 rule to verify, 1 rule to sign\n",
        "",
    )


def test_policy_check_reports_errors_and_missing_files(
    policy: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    policy.write_text(POLICY.replace("verifyAll", "verifyal"))
    for command in (["check"], ["explain", "--action", "Reset", "--link", "cpo"]):
        status, _, err = typed(capsys, *command, policy)
        assert status == 1
        assert f'{policy}:16: verify "resets" require: cannot be "verifyal"; did you mean "verifyAll"?' in err
        assert typed(capsys, *command, policy.with_name("other"))[0] == 2


@pytest.mark.parametrize(
    ("times", "hint"),
    [
        ("not_after = 2026-01-01T00:00:00Z", 'the key of "olga" has ended; replace it, or remove it'),
        (
            "not_before = 2999-01-01T00:00:00Z",
            'no key of "olga" is valid before 2999-01-01T00:00:00Z: until then its messages are rejected; '
            "keep the key that it has until then beside it, and check the clock here",
        ),
    ],
)
def test_policy_check_names_keys_that_are_not_valid(
    policy: Path, capsys: pytest.CaptureFixture[str], times: str, hint: str
) -> None:
    policy.write_text(POLICY.replace("[[role]]", f"{times}\n[[role]]", 1))
    status, _, err = typed(capsys, "check", policy)
    assert (status, err) == (0, f"{policy}: {hint} (hint)\n")
    status, out, _ = typed(capsys, "check", "--json", policy)
    [found] = json.loads(out)["diagnostics"]
    assert (status, found["severity"], f"{found['what']}; {found['remedy']}") == (0, "hint", hint)


def test_policy_explain_names_rule_and_reason(policy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, _ = typed(capsys, "explain", "--action", "Reset", "--link", "fleet", policy)
    assert status == 0
    assert out.splitlines() == [
        "context  https://open.charging.cloud/context/ocpp/v2.1/csms/ResetRequest",
        "rule     resets: verifyAll, of role operator, else mark, priority 3",
        "our own  sign by rule ours",
        "passing  sign by rule ours",
    ]
    _, out, _ = typed(capsys, "explain", "--action", "Reset", "--link", "cpo", policy)
    assert "rule     none: the message passes" in out
    _, out, _ = typed(capsys, "explain", "--action", "ClearChargingProfile", "--link", "cpo", policy)
    assert (
        "rule     safe-profiles: verifyAny, made within window_s and new, else refuse, safe by default" in out
    )
    assert "our own  as it is" in out


@pytest.mark.parametrize(
    ("payload", "status", "output"),
    [
        (signed(limit(), OLGA), 0, "forward, by rule safe-profiles: signed by olga"),
        (
            signed(limit(17), OLGA),
            1,
            "refuse, by rule safe-profiles: olga (operator) has no permission for "
            "SetChargingProfile 17 A at CS01/1",
        ),
        (compact(limit()), 1, "refuse, by rule safe-profiles: it is not signed"),
        (b'[2,"7","SetChargingProfile",' + signed(limit(), OLGA) + b"]", 0, "signed by olga"),
        (b'[4,"7","GenericError","",{}]', 2, ""),
        (b"\xff", 2, ""),
        (b"no JSON", 2, ""),
    ],
)
def test_policy_test_reports_the_decision_on_a_message(
    policy: Path, capsys: pytest.CaptureFixture[str], payload: bytes, status: int, output: str
) -> None:
    message = policy.with_name("message.json")
    message.write_bytes(payload + b"\n")
    done, out, err = typed(
        capsys,
        "explain",
        "--action",
        "SetChargingProfile",
        "--link",
        "cpo",
        "--station",
        "CS01",
        "--message",
        message,
        "--at",
        AT,
        policy,
    )
    assert done == status
    assert output in out
    assert (str(message) in err) == (status == 2)


@pytest.mark.parametrize("kind", list(MessageKind))
def test_answers_and_sends_are_messages_too(
    policy: Path, capsys: pytest.CaptureFixture[str], kind: MessageKind
) -> None:
    policy.write_text(
        HEAD + '[[verify]]\nid = "all"\nrequire = "verifyAny"\nholders = ["olga"]\n'
        'kinds = ["request", "response", "send"]\n'
    )
    message = policy.with_name("message.json")
    message.write_bytes(signed({}, OLGA, kind=kind))
    line = ["explain", "--action", "SetChargingProfile", "--link", "cpo", "--message", str(message)]
    status, out, _ = typed(capsys, *line, "--kind", kind, policy)
    assert status == 0
    assert "message  forward, by rule all: signed by olga" in out
