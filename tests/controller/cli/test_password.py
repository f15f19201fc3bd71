"""`password` at a terminal and in a pipe."""

from __future__ import annotations

import pytest

from controller.cli.main import main
from controller.config.password_files import HashedPassword, parse_password_file
from tests.controller.cli.command_line import run_command


def test_password_from_pipe_prints_matching_hash() -> None:
    done = run_command("password", stdin="correct horse\nnot this\n")
    secret = parse_password_file(done.stdout.encode())
    assert isinstance(secret, HashedPassword)
    assert secret.matches(b"correct horse")
    assert "correct" not in done.stdout + done.stderr
    assert run_command("password", stdin="correct horse\n").stdout != done.stdout


def test_password_empty_exits_1() -> None:
    done = run_command("password", stdin="\n")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(("repeated", "status"), [("correct horse", 0), ("correct hoarse", 1)])
def test_password_prompt_at_terminal_repeats_once(
    repeated: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["correct horse", repeated])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("controller.cli.password.getpass", lambda _: next(answers))
    assert main(["password"]) == status
    assert capsys.readouterr().out.startswith("$scrypt$") is (status == 0)
