"""`run` as systemd starts it."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from websockets.exceptions import InvalidStatus
from websockets.sync.client import connect
from websockets.typing import Subprotocol

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


def test_run_sighup_applies_what_can_be_and_names_rest(tmp_path: Path) -> None:
    path = write_config(tmp_path, port=0)
    with start_daemon(path) as daemon:
        read_until(daemon, "ready")
        write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit = 63"), port=0)
        daemon.send_signal(signal.SIGHUP)
        assert f"{path}:14" in read_until(daemon, "reload rejected")
        write_config(tmp_path, CONFIG.replace("limit_a = 63", "limit_a = 50") + "[web]\nport = 0\n", port=0)
        daemon.send_signal(signal.SIGHUP)
        log = read_until(daemon, "restart needed")
        assert "applied='circuit grid limit_a'" in log
        assert "changed='web'" in log
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


@contextmanager
def systemd_daemon(path: Path, listening: socket.socket, notify: Path) -> Iterator[subprocess.Popen[str]]:
    """Run the daemon as systemd does: with a listening socket as descriptor 3 and a notify socket."""
    command = f'LISTEN_PID=$$ exec "{COMMAND}" run -c "{path}" 3<&{listening.fileno()}'
    with subprocess.Popen(
        ["bash", "-c", command],
        env={**os.environ, "LISTEN_FDS": "1", "LISTEN_FDNAMES": "stations", "NOTIFY_SOCKET": str(notify)},
        pass_fds=[listening.fileno()],
    ) as daemon:
        try:
            yield daemon
        finally:
            daemon.terminate()
            assert daemon.wait(20) == 0


def test_with_inherited_socket_answers_who_waited(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as listening,
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd,
    ):
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(20)
        address = listening.getsockname()
        path = write_config(tmp_path, port=address[1])
        for _ in ("first start", "restart"):
            with socket.create_connection(address, timeout=20) as waiting:  # nothing serves the port yet
                waiting.sendall(b"GET /ocpp/UNKNOWN HTTP/1.1\r\nHost: gateway\r\n\r\n")
                with systemd_daemon(path, listening, tmp_path / "notify") as daemon:
                    assert waiting.recv(12) in (b"HTTP/1.1 400", b"HTTP/1.1 404", b"HTTP/1.1 426")
                    assert receive_state(systemd, "READY=1")
                    daemon.send_signal(signal.SIGHUP)
                    assert "MONOTONIC_USEC=" in receive_state(systemd, "RELOADING=1")
                    assert receive_state(systemd, "READY=1")
                assert receive_state(systemd, "STOPPING=1")


def receive_state(systemd: socket.socket, state: str) -> str:
    while True:
        text = systemd.recv(1000).decode()
        if state in text.splitlines():
            return text


@contextmanager
def stopped_at_the_end(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A daemon that ends with the block, also after an exception."""
    with start_daemon(path) as daemon:
        try:
            yield daemon
        finally:
            daemon.terminate()


def test_run_unknown_station_is_listed_and_adopted(tmp_path: Path) -> None:
    text = "\n".join(line for line in CONFIG.splitlines() if "cpo" not in line)
    path = write_config(
        tmp_path, text.replace("[[backend]]", "").replace('url = "ws://127.0.0.1:1/{{station}}"', ""), port=0
    )
    with stopped_at_the_end(path) as daemon:
        log = read_until(daemon, "ready")
        port = int(re.search(r" port=(\d+)", log)[1])  # type: ignore[index]
        assert connect_status(port) == 404
        listed = run_command("station", "list", "--unknown", "-c", path)
        assert "CS09" in listed.stdout
        assert "127.0.0.1" in listed.stdout
        times = re.findall(r"\d\d:\d\d:\d\d[+-]\d\d:\d\d", listed.stdout)  # each on one line of 80 columns
        assert len(times) == 2
        wrong = run_command("station", "adopt", "CS09", "--circuit", "moon", "-c", path)
        assert wrong.returncode == 1
        assert "moon" in wrong.stderr
        done = run_command("station", "adopt", "CS09", "--circuit", "grid", "--phases", "L2", "-c", path)
        assert done.returncode == 0, done.stderr
        assert "served from now on" in done.stdout
        assert connect_status(port) == 101
        answers = tmp_path / "answers.toml"
        answers.write_text("[connection]\nlimit = 50\nbase_load = 10\n")
        done = run_command("setup", "--answers", answers, "--yes", "-c", path)  # the daemon writes it
        assert done.returncode == 0, done.stderr
        assert "password of admin, shown this once" in done.stdout
        read_until(daemon, f"configuration reloaded file={path} applied='circuit grid")
    with stopped_at_the_end(path) as daemon:
        port = int(re.search(r" port=(\d+)", read_until(daemon, "ready"))[1])  # type: ignore[index]
        assert connect_status(port) == 101


def connect_status(port: int) -> int:
    """Open a WebSocket as CS09; return the HTTP status."""
    try:
        with connect(f"ws://127.0.0.1:{port}/ocpp/CS09", subprotocols=[Subprotocol("ocpp1.6")]):
            return 101
    except InvalidStatus as error:
        return error.response.status_code
