"""Rules of a configuration that depend on the machine: addresses and ports that can be opened."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

from controller.config.schema import Config
from controller.tomlcheck.diagnostics import Problem
from controller.tomlcheck.positions import DataPath
from drivers.coded_text import coded

_UNPRIVILEGED = Path("/proc/sys/net/ipv4/ip_unprivileged_port_start")


def check_addresses(config: Config) -> Iterator[Problem]:
    """Find addresses to listen at that are not this machine's."""
    for table, host, _ in _listeners(config):
        if host and not _is_own_address(host):
            yield Problem(
                (*table, "host"),
                coded("{host} is not an address of this machine", host=host),
                coded('write one of its own, or "0.0.0.0"'),
            )


def find_port_hints(config: Config) -> Iterator[Problem]:
    """Find ports that the service's user may not open."""
    try:
        first = int(_UNPRIVILEGED.read_text())
    except (OSError, ValueError):
        first = 1024
    for table, _, port in _listeners(config):
        if table == ("listen",) and os.environ.get("LISTEN_FDS"):  # systemd has opened it
            continue
        if 0 < port < first and os.geteuid() != 0:
            yield Problem(
                (*table, "port"),
                coded("{port} is below {first}: the service's user may not open it", port=port, first=first),
                coded("use a higher port, or the package's local-controller.socket, which opens it"),
            )


def _listeners(config: Config) -> Iterator[tuple[DataPath, str, int]]:
    """Return table, host and port of all that the controller listens at."""
    yield ("listen",), config.listen.host, config.listen.port
    if config.web is not None:
        yield ("web",), config.web.host, config.web.port
    if config.eebus is not None:
        yield ("eebus",), config.eebus.host, config.eebus.port
    for index, meter in enumerate(config.meter):
        for number, share in enumerate(meter.share):
            yield ("meter", index, "share", number), share.host, share.port


def _is_own_address(host: str) -> bool:
    """Bind to any port at the address; a name that cannot be resolved is not this machine's either."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError):
        return False
    for family, kind, protocol, _, address in found:
        try:
            with socket.socket(family, kind, protocol) as trial:
                trial.bind(address)
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
    return True
