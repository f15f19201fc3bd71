"""Interface to systemd: state notifications (sd_notify(3)) and inherited sockets (sd_listen_fds(3)).

Without systemd's variables in the environment nothing is sent and nothing is inherited.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import time

import trio

log = logging.getLogger("controller")

FIRST_DESCRIPTOR = 3
"""SD_LISTEN_FDS_START."""
MOST_DESCRIPTORS = 64


def notify(state: str) -> None:
    """Send one state, e.g. "WATCHDOG=1". Without NOTIFY_SOCKET in the environment nothing happens."""
    address = os.environ.get("NOTIFY_SOCKET")
    if not address:
        return
    if address.startswith("@"):  # Linux's abstract namespace
        address = "\0" + address[1:]
    with (
        contextlib.suppress(OSError),  # a receiver that is gone or full must not stop or delay the controller
        socket.socket(
            socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC | socket.SOCK_NONBLOCK
        ) as datagram,
    ):
        datagram.sendto(state.encode(), address)


def notify_ready(summary: str) -> None:
    """Send that the service works; `summary` is shown by `systemctl status`."""
    notify(f"READY=1\nSTATUS={summary}")


def notify_reloading() -> None:
    """Send that a reload begins; `notify_ready` ends it (Type=notify-reload of systemd 253)."""
    notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def take_listening_sockets() -> dict[str, list[socket.socket]]:
    """Return the inherited listening sockets by name (FileDescriptorName=), once.

    The variables are removed from the environment, so that no child process takes the sockets again.
    """
    names = os.environ.pop("LISTEN_FDNAMES", "").split(":")
    process, count = os.environ.pop("LISTEN_PID", ""), os.environ.pop("LISTEN_FDS", "")
    if process != str(os.getpid()) or not count.isdecimal():
        return {}
    sockets: dict[str, list[socket.socket]] = {}
    for index in range(min(int(count), MOST_DESCRIPTORS)):
        descriptor = FIRST_DESCRIPTOR + index
        try:
            os.set_inheritable(descriptor, False)
            inherited = socket.socket(fileno=descriptor)
        except OSError as error:
            log.error("inherited socket invalid descriptor=%d reason=%s", descriptor, error)
            continue
        name = names[index] if index < len(names) else "unknown"
        sockets.setdefault(name, []).append(inherited)
    return sockets


def select_listeners(
    inherited: dict[str, list[socket.socket]], name: str, host: str, port: int
) -> list[trio.SocketListener] | None:
    """Return the inherited sockets called `name` as listeners; None if there are none for `port`.

    Those for another port are closed; one for another host is used, as systemd holds its port. Both with a
    warning: the configuration and the socket unit differ.
    """
    listeners = []
    for each in inherited.get(name, []):
        bound = each.getsockname()
        if each.family in (socket.AF_INET, socket.AF_INET6) and bound[1] == port:
            if bound[0] != host and host != "localhost":
                log.warning(
                    "inherited socket has another address name=%s address=%s host=%s "
                    "remedy=run 'systemctl daemon-reload' and restart its .socket unit",
                    name, bound[0], host,
                )  # fmt: skip
            listeners.append(trio.SocketListener(trio.socket.from_stdlib_socket(each)))
            continue
        log.warning(
            "inherited socket not used name=%s address=%s port=%d "
            "remedy=run 'systemctl daemon-reload' and restart its .socket unit",
            name, bound, port,
        )  # fmt: skip
        each.close()
    return listeners or None
