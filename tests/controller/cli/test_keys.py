"""`local-controller keys` as a person types it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from controller.cli.main import main
from controller.signing.policy_file import check_policy
from controller.signing.signing_keys import read_key_files
from tests.controller.cli.command_line import closed_folder, run_unprivileged


def typed(capsys: pytest.CaptureFixture[str], *words: str | Path) -> tuple[int, str, str]:
    status = main(["keys", *map(str, words)])
    output = capsys.readouterr()
    return status, output.out, output.err


def new(capsys: pytest.CaptureFixture[str], folder: Path, *more: str) -> Path:
    status, out, _ = typed(capsys, "new", folder, "--holder", "lc", *more)
    assert status == 0
    return Path(out.splitlines()[0])


def test_keys_new_key_is_there_and_is_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = new(capsys, tmp_path, "--curve", "secp384r1", "--from", "2026-11-21", "--days", "30")
    assert re.fullmatch("lc-[0-9a-f]{8}", file.stem)
    status, out, _ = typed(capsys, "list", tmp_path)
    assert status == 0
    assert "holder lc, secp384r1" in out
    assert "from 2026-11-21T00:00:00Z until 2026-12-21T00:00:00Z" in out
    assert f"SHA-256 {file.stem[3:]}" in out


def test_keys_while_two_count_newer_signs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = new(capsys, tmp_path, "--from", "2020-01-01", "--days", "36000")
    young = new(capsys, tmp_path, "--from", "2021-01-01", "--days", "36000")
    over = new(capsys, tmp_path, "--from", "2022-01-01", "--days", "1")
    later = new(capsys, tmp_path, "--from", "2100-01-01")
    _, out, _ = typed(capsys, "list", tmp_path)
    lines = out.splitlines()
    assert [line for line in lines if "signs now" in line] == [f"{young}  (signs now)"]
    states = {file: lines[lines.index(str(file)) + 1] for file in (old, over, later)}
    assert [states[file].split(", ")[-1] for file in (old, over, later)] == [
        "valid",
        "expired",
        "not yet valid",
    ]


def test_rotate_overlaps_old_key(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old = new(capsys, tmp_path, "--curve", "secp384r1", "--days", "30")
    status, out, _ = typed(capsys, "rotate", tmp_path, "--holder", "lc", "--days", "100")
    assert status == 0
    keys = read_key_files(tmp_path)
    before, after = keys.pop(old).known, next(iter(keys.values())).known
    assert after.id.curve == "secp384r1"
    assert before.not_after - after.not_before == 14 * 86_400
    assert after.not_after - after.not_before == 100 * 86_400
    assert tomllib.loads(out)["key"][0]["holder"] == "lc", "it is as it is to be in the policy"


def test_keys_rotate_with_following_key_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(capsys, tmp_path, "--days", "30")
    assert typed(capsys, "rotate", tmp_path, "--holder", "lc")[0] == 0
    status, _, err = typed(capsys, "rotate", tmp_path, "--holder", "lc")
    assert status == 1
    assert "a key of lc already follows, from " in err
    assert len(read_key_files(tmp_path)) == 2


def test_keys_rotate_of_expired_key_begins_now(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(capsys, tmp_path, "--from", "2022-01-01", "--days", "1")
    status, _, err = typed(capsys, "rotate", tmp_path, "--holder", "lc")
    assert status == 0
    assert "the old key has expired at 2022-01-02T00:00:00Z" in err
    assert ", valid\n" in err


def test_keys_missing_file_is_named_with_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = typed(capsys, "list", tmp_path / "no")
    assert status == 1
    remedy = "name a key or a folder of keys; `local-controller keys new` makes one"
    assert err == f"{tmp_path / 'no'} cannot be read: No such file or directory; {remedy}\n"


def test_keys_rotate_without_key_fails(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new(capsys, tmp_path)
    status, _, err = typed(capsys, "rotate", tmp_path, "--holder", "other")
    assert status == 1
    assert "has no key of other" in err


def test_keys_export_prints_a_table_of_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = new(capsys, tmp_path, "--from", "2026-11-21", "--days", "30")
    _, out, _ = typed(capsys, "export", file)
    loaded, mistakes = check_policy("version = 1\n" + out, "signing.toml", tmp_path)
    assert mistakes == []
    assert loaded is not None
    assert loaded.keys == (read_key_files(file)[file].known,)
    assert "PRIVATE" not in out
    assert tomllib.loads(out)["key"][0]["holder"] == "lc"


def test_keys_public_half_as_pem(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = new(capsys, tmp_path)
    _, out, _ = typed(capsys, "export", "--pem", file)
    assert load_pem_public_key(out.encode()) == read_key_files(file)[file].private.public_key()


def test_keys_folder_that_only_others_may_look_into_is_not_empty(tmp_path: Path) -> None:
    with closed_folder(tmp_path / "keys") as folder:
        done = run_unprivileged("keys", "list", folder)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"{folder} cannot be read: Permission denied\n"


def test_keys_error_is_reported_with_the_remedy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for what in ("list", "export"):
        status, out, err = typed(capsys, what, tmp_path)
        assert (status, out) == (1, "")
        assert "local-controller keys new" in err
    (tmp_path / "file").touch()
    status, _, err = typed(capsys, "new", tmp_path / "file", "--holder", "lc")
    assert status == 1
    assert "file cannot be made: File exists" in err


@pytest.mark.parametrize(
    "words",
    [
        ["--holder", "../lc"],
        ["--holder", ""],
        ["--holder", "l c"],
        ["--holder", "lc", "--days", "0"],
        ["--holder", "lc", "--curve", "secp192r1"],
        ["--holder", "lc", "--from", "soon"],
        [],
    ],
)
def test_keys_command_line_that_cannot_be_meant(tmp_path: Path, words: list[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["keys", "new", str(tmp_path), *words])
    assert ended.value.code == 2
    assert list(tmp_path.iterdir()) == []
