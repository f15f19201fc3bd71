"""The command as a person types it: exit status and words."""

from __future__ import annotations

import logging
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from controller.cli.main import OneLineFormatter, main
from controller.config.password_files import HashedPassword, secret_of

COMMAND = Path(sys.executable).with_name("local-controller")
GOOD = """
[site]
id = "lc"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = {port}
[[backend]]
id = "cpo"
url = "ws://127.0.0.1:1/{{station}}"
[[circuit]]
id = "grid"
limit_a = 63
[[station]]
id = "CS01"
circuit = "grid"
owner = "cpo"
"""


def typed(*arguments: str | Path, said: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [COMMAND, *arguments], input=said, capture_output=True, text=True, timeout=30, check=False
    )


def written(folder: Path, text: str, port: int = 8887) -> Path:
    path = folder / "controller.toml"
    path.write_text(text.format(folder=folder, port=port))
    return path


def test_check_of_a_good_file_says_what_is_in_it(tmp_path: Path) -> None:
    done = typed("check", "-c", written(tmp_path, GOOD))
    assert done.returncode == 0
    assert "1 station, 1 EVSE, 1 circuit, 0 meters, 1 backend" in done.stdout


@pytest.mark.parametrize("command", ["check", "run"])
def test_mistakes_are_told_with_their_line_and_end_with_1(tmp_path: Path, command: str) -> None:
    path = written(tmp_path, GOOD.replace("limit_a = 63", "limit = 63"))
    done = typed(command, "-c", path)
    assert done.returncode == 1
    assert f"{path}:14: " in done.stderr
    assert "limit_a" in done.stderr


@pytest.mark.parametrize("command", ["check", "run"])
@pytest.mark.parametrize("name", ["", "nothing.toml"])
def test_what_cannot_be_read_ends_with_2(tmp_path: Path, command: str, name: str) -> None:
    done = typed(command, "-c", tmp_path / name)
    assert done.returncode == 2
    assert str(tmp_path / name) in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = typed("run", "-c", written(tmp_path, GOOD, port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_example_for_installers_is_good() -> None:
    example = Path(__file__).parents[3] / "etc" / "controller.toml"
    done = typed("check", "-c", example)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_password_becomes_a_line_that_only_it_fits() -> None:
    done = typed("password", said="correct horse\nnot this\n")
    kept = secret_of(done.stdout.encode())
    assert isinstance(kept, HashedPassword)
    assert kept.matches(b"correct horse")
    assert "correct" not in done.stdout + done.stderr
    assert typed("password", said="correct horse\n").stdout != done.stdout


def test_no_password_ends_with_1() -> None:
    done = typed("password", said="\n")
    assert (done.returncode, done.stdout) == (1, "")


@pytest.mark.parametrize(("again", "status"), [("correct horse", 0), ("correct hoarse", 1)])
def test_at_a_terminal_a_password_is_asked_for_twice(
    again: str, status: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers = iter(["correct horse", again])
    monkeypatch.setattr("sys.stdin.isatty", lambda: True)
    monkeypatch.setattr("controller.cli.main.getpass", lambda _: next(answers))
    assert main(["password"]) == status
    assert capsys.readouterr().out.startswith("$scrypt$") is (status == 0)


def test_a_command_that_is_none_ends_with_2() -> None:
    assert typed("dance").returncode == 2


def test_a_peer_cannot_forge_a_line_of_the_log() -> None:
    record = logging.makeLogRecord(
        {"levelname": "INFO", "msg": "station %s", "args": ("Süd\n\x1bERROR forged",)}
    )
    assert (
        OneLineFormatter("%(levelname)s %(message)s").format(record) == "INFO station Süd\\n\\x1bERROR forged"
    )


@pytest.mark.parametrize("report", ["nowhere/report.json", "."])
def test_a_report_that_cannot_be_written_is_told_before_the_demo(tmp_path: Path, report: str) -> None:
    done = typed("demo", "--duration", "60", "--report", tmp_path / report)
    assert done.returncode == 2
    assert "cannot be written; name a file in a folder of yours" in done.stderr
