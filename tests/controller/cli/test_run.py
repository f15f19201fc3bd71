"""`run` as systemd starts it."""

from __future__ import annotations

import signal
import socket
import subprocess
from pathlib import Path

from tests.controller.cli.command_line import COMMAND, CONFIG, run_command, write_config


def test_run_port_in_use_is_one_error_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("run", "-c", write_config(tmp_path, port=port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr


def start_daemon(path: Path) -> subprocess.Popen[str]:
    return subprocess.Popen([COMMAND, "run", "-c", path], stderr=subprocess.PIPE, text=True)


def read_until(daemon: subprocess.Popen[str], words: str) -> str:
    assert daemon.stderr is not None
    lines = []
    for line in daemon.stderr:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError("".join(lines))


def test_run_sighup_checks_the_file_and_keeps_running(tmp_path: Path) -> None:
    path = write_config(tmp_path, port=0)
    with start_daemon(path) as daemon:
        read_until(daemon, "ready")
        write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit = 63"), port=0)
        daemon.send_signal(signal.SIGHUP)
        assert f"{path}:14" in read_until(daemon, "reload rejected")
        write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit_a = 50"), port=0)
        daemon.send_signal(signal.SIGHUP)
        assert "changed=circuit" in read_until(daemon, "reload checked")
        daemon.terminate()
        assert daemon.wait(10) == 0


def test_run_with_broken_file_uses_last_valid_copy(tmp_path: Path) -> None:
    path = write_config(tmp_path, port=0)
    with start_daemon(path) as daemon:
        read_until(daemon, "ready")
        daemon.terminate()
    write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit = 63"), port=0)
    with start_daemon(path) as daemon:
        log = read_until(daemon, "ready")
        daemon.terminate()
    assert "the last valid one is in use" in log
    assert f"{path}:14" in log
