"""Keep-alive options of a TCP connection."""

from __future__ import annotations

import socket

import pytest
import trio

from controller.transport.byte_transport import KEEPALIVE_IDLE_S, UNACKNOWLEDGED_S, enable_keepalive


async def test_tcp_keepalive_open_stream_is_watched_over() -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listeners[0], await trio.open_tcp_stream(*listeners[0].socket.getsockname()) as stream:
        enable_keepalive(stream)

        def option(number: int) -> int:
            value = stream.getsockopt(socket.IPPROTO_TCP, number)
            assert isinstance(value, int)
            return value

        assert stream.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert option(socket.TCP_KEEPIDLE) == KEEPALIVE_IDLE_S < 60
        asked_for_s = option(socket.TCP_KEEPIDLE) + option(socket.TCP_KEEPINTVL) * option(socket.TCP_KEEPCNT)
        assert KEEPALIVE_IDLE_S < asked_for_s <= UNACKNOWLEDGED_S
        assert option(socket.TCP_USER_TIMEOUT) == UNACKNOWLEDGED_S * 1000


def test_tcp_keepalive_connection_that_is_gone_is_reported() -> None:
    gone = socket.socket()
    gone.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        enable_keepalive(gone)
