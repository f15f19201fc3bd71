"""Notifications to systemd: ready, watchdog, stopping (sd_notify(3)); none without NOTIFY_SOCKET."""

from __future__ import annotations

import contextlib
import os
import socket


def notify(state: str) -> None:
    """Send one state, e.g. "READY=1". Without NOTIFY_SOCKET in the environment nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # who does not listen any more must neither end us nor hold us up
        socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as datagram,
    ):
        datagram.sendto(state.encode(), address)
