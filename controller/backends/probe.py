"""Whether a backend can be connected to: TCP and TLS, but no upgrade, which could end a station's link."""

from __future__ import annotations

import ssl

import trio

from controller.transport.byte_transport import cause
from controller.transport.dial import DialError


async def probe(host: str, port: int, tls: ssl.SSLContext | None, timeout_s: float) -> None:
    """Connect, and go. Raises LinkRefused where that fails or takes longer than `timeout_s`."""
    try:
        with trio.fail_after(timeout_s):
            async with await trio.open_tcp_stream(host, port) as stream:
                if tls is not None:
                    await trio.SSLStream(stream, tls, server_hostname=host).do_handshake()
    except trio.TooSlowError:
        raise DialError(f"it did not answer within {timeout_s:g} s") from None
    except (OSError, trio.BrokenResourceError) as error:
        raise DialError(cause(error)) from error
