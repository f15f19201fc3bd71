"""Whether a peer is there at all, asked of TCP: also of stations that answer no WebSocket pings.

Empty segments keep the way open that routers on it forget after a minute of silence, and end the link
where nothing comes back: then its reader hears of it. They cost 100 bytes a minute.
"""

from __future__ import annotations

import socket
from typing import Protocol

IDLE_S = 50
"""After so much silence TCP asks for a sign of life."""

AGAIN_S = 15
"""How long until it asks again where none came."""

GONE_S = 120
"""What was sent and not acknowledged for so long ends the link (RFC 5482)."""


class TcpConnection(Protocol):
    """A TCP socket, or a stream over one."""

    def setsockopt(self, level: int, option: int, value: int, /) -> None:
        """See socket.socket."""


def keep_alive(tcp: TcpConnection) -> None:
    """Let the system watch over an open connection. Raises OSError where it is gone already."""
    tcp.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, IDLE_S)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, AGAIN_S)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, (GONE_S - IDLE_S) // AGAIN_S)
    tcp.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, GONE_S * 1000)
