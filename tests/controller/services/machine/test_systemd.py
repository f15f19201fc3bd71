"""States sent to a socket like systemd's, and sockets inherited as from a .socket unit."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from controller.services.machine.systemd import notify, notify_ready, notify_reloading, select_listeners


@pytest.mark.parametrize("abstract", [False, True])
def test_notify_state_reaches_systemd(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool
) -> None:
    name = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("WATCHDOG=1")
        assert systemd.recv(100) == b"WATCHDOG=1"
        notify_reloading()
        first, second = systemd.recv(100).decode().splitlines()
        assert first == "RELOADING=1"
        assert int(second.removeprefix("MONOTONIC_USEC=")) > 0
        notify_ready("1 station")
        assert systemd.recv(100) == b"READY=1\nSTATUS=1 station"


def test_notify_without_systemd_does_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize("there", [False, True])
def test_systemd_notify_to_closed_socket_does_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    name = f"{tmp_path}/notify"
    if there:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("WATCHDOG=1")


def test_systemd_notify_to_full_socket_does_not_block(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        sending = threading.Thread(target=lambda: [notify("WATCHDOG=1") for _ in range(1000)], daemon=True)
        sending.start()
        sending.join(5)
        assert not sending.is_alive()


TAKE = """
import os
from controller.services.machine.systemd import take_listening_sockets
os.environ["LISTEN_PID"] = os.environ.get("LISTEN_PID") or str(os.getpid())
for name, sockets in sorted(take_listening_sockets().items()):
    print(name, *(each.getsockname()[1] for each in sockets))
assert not any(name.startswith("LISTEN_") for name in os.environ)
"""


def take_in_child(listening: list[socket.socket], **environment: str) -> str:
    """Run `take_listening_sockets` in a process that inherits the sockets as 3, 4, ..."""

    def place() -> None:
        for index, each in enumerate(listening):
            os.dup2(each.fileno(), 3 + index)

    done = subprocess.run(
        [sys.executable, "-c", TAKE],
        env={**os.environ, "LISTEN_FDS": str(len(listening)), **environment},
        preexec_fn=place,
        close_fds=False,
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout


def test_take_listening_sockets_returns_them_by_name() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stations, socket.create_server(("127.0.0.1", 0)) as page:
        output = take_in_child([stations, page], LISTEN_FDNAMES="stations:page")
        ports = stations.getsockname()[1], page.getsockname()[1]
    assert output.splitlines() == [f"page {ports[1]}", f"stations {ports[0]}"]


def test_take_listening_sockets_of_another_process_are_left() -> None:
    with socket.create_server(("127.0.0.1", 0)) as stations:
        assert take_in_child([stations], LISTEN_FDNAMES="stations", LISTEN_PID="1") == ""


async def test_select_listeners_closes_those_of_another_port(caplog: pytest.LogCaptureFixture) -> None:
    right, wrong = socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))
    port = right.getsockname()[1]
    listeners = select_listeners({"stations": [right, wrong]}, "stations", "127.0.0.1", port)
    assert listeners is not None
    assert [each.socket.getsockname()[1] for each in listeners] == [port]
    await listeners[0].aclose()
    assert wrong.fileno() == -1
    assert "inherited socket not used name=stations" in caplog.text
    assert select_listeners({}, "stations", "127.0.0.1", port) is None


async def test_select_listeners_uses_port_of_another_host_with_remedy(
    caplog: pytest.LogCaptureFixture,
) -> None:
    inherited = socket.create_server(("127.0.0.1", 0))
    listeners = select_listeners({"web": [inherited]}, "web", "0.0.0.0", inherited.getsockname()[1])
    assert listeners is not None
    await listeners[0].aclose()
    assert "host=0.0.0.0 remedy=run 'systemctl daemon-reload'" in caplog.text
