"""`local-controller evidence` as a person or a regulator uses it: with files and a public key."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from controller.cli.evidence import LONGEST_SHOWN
from controller.cli.main import main
from controller.dimming.evidence_chain import EvidenceKind
from controller.store.state_store import StateStore
from tests.controller.cli.command_line import closed_folder, run_unprivileged
from tests.controller.dimming.commands import NOON
from tests.scenario.evidence import WrittenEvidenceLog

KEY = ec.derive_private_key(7, ec.SECP256R1())
DAY = 86_400.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A log of four records on three days, a checkpoint of the last, and its key."""
    log = WrittenEvidenceLog(tmp_path / "log", KEY, NOON, StateStore(tmp_path / "store"))
    log.append(EvidenceKind.COMMAND, {"received": "e30="}, NOON)
    log.append(EvidenceKind.LIMIT, {"w": 4200}, NOON + DAY)
    log.append(EvidenceKind.RELEASE, {}, NOON + 2 * DAY)
    (tmp_path / "checkpoint.json").write_bytes(log.checkpoint(NOON + 2 * DAY))
    log.close()
    pem = KEY.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    (tmp_path / "key.pem").write_bytes(pem)
    return tmp_path


def run(folder: Path, action: str, *words: str) -> int:
    """The command in `folder`; words that name a file there stand for it."""
    paths = (str(folder / word) if (folder / word).exists() else word for word in words)
    return main(["evidence", action, *paths])


def test_evidence_good_log_is_good(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify", "log", "--key", "key.pem", "--checkpoint", "checkpoint.json") == 0
    assert capsys.readouterr().out.startswith("good: records 0 to 3, the last one's hash is ")


def test_evidence_file_of_keys_has_those_of_before_and_after(folder: Path) -> None:
    other = ec.derive_private_key(8, ec.SECP256R1()).public_key()
    pem = other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    own = (folder / "key.pem").read_bytes()
    for text in (pem + b"\n" + own, own + pem):  # `keys export --pem` writes them in the order of the files
        (folder / "keys.pem").write_bytes(text)
        assert run(folder, "verify", "log", "--key", "keys.pem") == 0


def test_evidence_edit_is_named_with_file_and_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [path] = (folder / "log").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"w":4200', b'"w":4300'))
    assert run(folder, "verify", "log", "--key", "key.pem") == 1
    assert f"{path}:2: it was changed after it was signed" in capsys.readouterr().out


def test_evidence_of_another_key_is_one_finding_for_all_records(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = ec.derive_private_key(8, ec.SECP256R1()).public_key()
    (folder / "key.pem").write_bytes(other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert run(folder, "verify", "log", "--key", "key.pem") == 1
    [found, last] = capsys.readouterr().out.splitlines()
    assert ":1: it is signed with another key (" in found
    assert found.endswith("; 3 more like this, to line 4")
    assert last == "not as it was written: 4 findings in 4 records"


def test_evidence_verify_prints_json(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "verify", "--json", "log", "--key", "key.pem", "--checkpoint", "checkpoint.json") == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["good"], found["first"], found["last"], found["findings"]) == (True, 0, 3, [])
    assert found["finds_cut_end"]
    [path] = (folder / "log").iterdir()
    path.write_bytes(path.read_bytes().replace(b'"w":4200', b'"w":4300'))
    assert run(folder, "verify", "--json", "log", "--key", "key.pem") == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["good"]
    assert not found["finds_cut_end"]
    assert found["findings"][0].startswith(f"{path}:2: ")


def test_evidence_cut_end_is_found_with_checkpoint_alone(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    [path] = (folder / "log").iterdir()
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    assert run(folder, "verify", "log", "--key", "key.pem") == 0
    assert "an end that was cut off cannot be seen" in capsys.readouterr().out
    assert run(folder, "verify", "log", "--key", "key.pem", "--checkpoint", "checkpoint.json") == 1
    assert "the log's end is cut off" in capsys.readouterr().out


def test_evidence_list_has_line_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(folder, "list", "log", "--since", "2026-11-22", "--until", "2026-11-23") == 0
    assert capsys.readouterr().out == '       1  2026-11-22T12:00:00.000Z  limit       {"w":4200}\n'


def test_evidence_list_without_record_in_span_is_named(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(folder, "list", "log", "--since", "2027-01-01") == 0
    assert capsys.readouterr().out == "no record in this span\n"
    assert run(folder, "list", "--json", "log", "--since", "2027-01-01") == 0
    assert json.loads(capsys.readouterr().out) == []


def test_evidence_list_shows_received_command_readably(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    received = {"@context": "urn:x", "id": "r" * LONGEST_SHOWN, "signatures": [], "limitW": 4200}
    for name, body in (
        ("wired", {"sha256": "00", "received": base64.b64encode(json.dumps(received).encode()).decode()}),
        ("garbage", {"received": "no base64", "answer": base64.b64encode(b"no JSON").decode()}),
    ):
        log = WrittenEvidenceLog(folder / name, KEY, NOON, StateStore(folder / f"store-{name}"))
        log.append(EvidenceKind.COMMAND, body, NOON)
        log.close()
    assert run(folder, "list", "wired") == 0
    [line] = capsys.readouterr().out.splitlines()
    assert '{"received":{"limitW":4200,"id":"rrr' in line
    assert line.endswith("...")
    assert run(folder, "list", "--full", "wired") == 0
    assert capsys.readouterr().out.endswith('r","@context":"urn:x","signatures":[]},"sha256":"00"}\n')
    assert run(folder, "list", "garbage") == 0
    assert '{"received":"no base64","answer":"bm8gSlNPTg=="}' in capsys.readouterr().out


@pytest.mark.parametrize(
    ("since", "until", "numbers"),
    [
        ("2026-11-22T12:00Z", "2026-11-23T12:00Z", ["1"]),
        ("2026-11-22T12:00", "2026-11-23T12:00:01", ["1", "2", "3"]),
        ("2026-11-22T14:00+02:00", "2026-11-24", ["1", "2", "3"]),
        ("2026-11-22T12:00:01Z", "2026-11-24", ["2", "3"]),
    ],
)
def test_time_members_are_parsed_as_times(
    folder: Path, capsys: pytest.CaptureFixture[str], since: str, until: str, numbers: list[str]
) -> None:
    assert run(folder, "list", "log", "--since", since, "--until", until) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == numbers


def test_evidence_invalid_time_is_refused(folder: Path) -> None:
    with pytest.raises(SystemExit) as ended:
        run(folder, "list", "log", "--since", "yesterday")
    assert ended.value.code == 2


def test_evidence_list_continues_after_invalid_line(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    [path] = (folder / "log").iterdir()
    path.write_bytes(b"\x1b[2Jgarbage\n" + path.read_bytes())
    assert run(folder, "list", "log") == 1
    out = capsys.readouterr().out
    assert "\x1b" not in out
    assert len(out.splitlines()) == 5


def test_evidence_export_verifies_as_part(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = str(folder / "part.jsonl")
    assert run(folder, "export", "log", "--since", "2026-11-22", "--out", out) == 0
    assert "3 records" in capsys.readouterr().out
    assert run(folder, "verify", out, "--key", "key.pem") == 1
    assert run(folder, "verify", out, "--key", "key.pem", "--part") == 0


def test_evidence_export_of_no_record_makes_no_file(folder: Path) -> None:
    assert run(folder, "export", "log", "--since", "2027-01-01", "--out", str(folder / "part.jsonl")) == 1
    assert not (folder / "part.jsonl").exists()


def test_evidence_folder_without_read_permission_is_named(tmp_path: Path) -> None:
    with closed_folder(tmp_path / "log") as folder:
        done = run_unprivileged("evidence", "list", folder)
    assert done.returncode == 2
    remedy = "run the command with sudo, or give its user the right"
    assert done.stderr == f"{folder}: Permission denied; {remedy}\n"


def test_unreadable_files_are_reported(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "empty").mkdir()
    edwards = ed25519.Ed25519PrivateKey.generate().public_key()
    (folder / "ed.pem").write_bytes(edwards.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    for words in (
        ("list", "nothing.jsonl"),
        ("list", "empty"),
        ("verify", "log", "--key", "nothing.pem"),
        ("verify", "log", "--key", "checkpoint.json"),
        ("verify", "log", "--key", "ed.pem"),
        ("export", "log", "--out", str(folder / "empty")),
    ):
        assert run(folder, *words) == 2
        assert capsys.readouterr().err
    run(folder, "verify", "log", "--key", "checkpoint.json")
    assert "is not a public key in PEM; `local-controller keys export --pem`" in capsys.readouterr().err


def test_evidence_list_of_empty_file_has_no_record(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "new.jsonl").touch()
    assert run(folder, "list", "new.jsonl") == 0
    assert capsys.readouterr().out == "no record\n"
    assert run(folder, "list", "log", "new.jsonl") == 0
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert run(folder, "verify", "new.jsonl", "--key", "key.pem") == 1
    assert "there is no record in it" in capsys.readouterr().out
