"""Word to systemd, on a socket like systemd's."""

from __future__ import annotations

import socket
import threading
from pathlib import Path

import pytest

from controller.services.systemd import notify


@pytest.mark.parametrize("abstract", [False, True])
def test_systemd_hears_the_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, abstract: bool) -> None:
    name = f"@{tmp_path}/notify" if abstract else f"{tmp_path}/notify"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(name.replace("@", "\0"))
        monkeypatch.setenv("NOTIFY_SOCKET", name)
        notify("WATCHDOG=1")
        assert systemd.recv(100) == b"WATCHDOG=1"


def test_without_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    notify("READY=1")


@pytest.mark.parametrize("there", [False, True])
def test_one_who_has_stopped_to_listen_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, there: bool
) -> None:
    name = f"{tmp_path}/notify"
    if there:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
            systemd.bind(name)
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    notify("WATCHDOG=1")


def test_one_who_listens_and_does_not_read_holds_nobody_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(f"{tmp_path}/notify")
        monkeypatch.setenv("NOTIFY_SOCKET", f"{tmp_path}/notify")
        saying = threading.Thread(target=lambda: [notify("WATCHDOG=1") for _ in range(1000)], daemon=True)
        saying.start()
        saying.join(5)
        assert not saying.is_alive()
