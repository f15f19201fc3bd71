"""`local-controller dim` as a grid operator uses it, checked with the site's verification."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from controller.cli.main import main
from controller.dimming import dimming_messages
from controller.dimming.verification import CommandVerdict, Issuers, KeyProofs, Situation, Verification
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.signing.policy_schema import SignerRole
from controller.signing.signing_keys import Keyring, new_private_key, read_key_files, write_key_file

CS01 = EvseRef("CS01", 1)


@pytest.fixture
def key(tmp_path: Path) -> Path:
    return write_key_file(tmp_path / "keys", "dso", new_private_key("secp256r1", "dso", 0, 4e9))


def typed(capsys: pytest.CaptureFixture[str], key: Path, *words: str) -> tuple[int, str, str]:
    status = main(["dim", "--key", str(key), "--connection-point", "DE01", *words])
    output = capsys.readouterr()
    return status, output.out.rstrip("\n"), output.err


def site(key: Path) -> Verification:
    """A site whose policy has the key."""
    [own] = read_key_files(key).values()
    role = SignerRole(id="grid-operator", holders=("dso",))
    signatures = KeyProofs(Keyring([own.known]), [role], ())
    return Verification("DE01", [CS01], [Issuers(id="dso", role="grid-operator")], {}, signatures)


def judged(verification: Verification, command: str) -> CommandVerdict:
    return verification.verify_command(command.encode(), Situation(utc=time.time(), clock_trusted=True))


def test_commands_in_sequence_are_each_applied(key: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verification = site(key)
    _, limit, _ = typed(capsys, key, "--limit-w", "4200", "--for", "15min", "--sequence", "1")
    verdict = judged(verification, limit)
    assert verdict.reason is None
    assert verdict.command is not None
    assert (verdict.command.limit_w, verdict.command.evses) == (4200, frozenset())
    assert verdict.command.ends - verdict.command.begins == pytest.approx(900)
    _, lift, _ = typed(capsys, key, "--lift", "--evse", "CS01/1")
    lifted = judged(verification, lift)
    assert lifted.reason is None
    assert lifted.command is not None
    assert (lifted.command.limit_w, lifted.command.evses) == (None, frozenset({CS01}))


def test_dim_whole_number_is_written_as_every_program_would(
    key: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert '"limitW":4200,' in typed(capsys, key, "--limit-w", "4200.0")[1]
    assert '"limitW":4200.5,' in typed(capsys, key, "--limit-w", "4200.5")[1]


@pytest.mark.parametrize("version", list(Version))
def test_dim_as_data_of_transfer(key: Path, capsys: pytest.CaptureFixture[str], version: Version) -> None:
    _, payload, _ = typed(capsys, key, "--limit-w", "4200", "--transfer", version)
    assert isinstance(json.loads(payload)["data"], str if version is Version.V16 else dict)
    carried = dimming_messages.command_in(dimming_messages.ACTION, payload.encode())
    assert carried is not None
    assert judged(site(key), carried.decode()).reason is None


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--lift", "--evse", "CS01"], 'write it like "CS01/1"'),
        (["--lift", "--sequence", "0"], "$.sequence"),
    ],
)
def test_dim_command_that_every_site_refuses_is_not_signed(
    key: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    status, out, err = typed(capsys, key, *words)
    assert (status, out) == (1, "")
    assert message in err


def test_dim_without_valid_key_signs_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    over = write_key_file(tmp_path, "old", new_private_key("secp256r1", "dso", 0, 1))
    for file, message in ((over, "no valid key"), (tmp_path / "none", "cannot be read")):
        status, out, err = typed(capsys, file, "--lift")
        assert (status, out) == (1, "")
        assert message in err


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["--limit-w", "-1"],
        ["--limit-w", "inf"],
        ["--limit-w", "1", "--lift"],
        ["--lift", "--for", "2"],
        ["--lift", "--for", "0h"],
        ["--lift", "--for", "200h"],
    ],
)
def test_dim_command_line_out_of_range_is_refused(key: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["dim", "--key", str(key), "--connection-point", "DE01", *words])
    assert ended.value.code == 2
