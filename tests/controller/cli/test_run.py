"""`run` as systemd starts it."""

from __future__ import annotations

import socket
from pathlib import Path

from tests.controller.cli.command_line import run_command, write_config


def test_run_port_in_use_is_one_error_line(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = run_command("run", "-c", write_config(tmp_path, port=port))
    assert done.returncode == 1
    assert f"127.0.0.1:{port} cannot be opened" in done.stderr
    assert "Traceback" not in done.stderr
