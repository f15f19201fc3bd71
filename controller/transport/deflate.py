"""What is agreed on where a WebSocket's messages are compressed (permessage-deflate, RFC 7692).

OCPP messages resemble each other: the window stays from one message to the next, and makes 43 B of
MeterValues of 300 B, in 5 us; where each message begins anew, it is 211 B and 10 us. A window of 1 KiB costs
9 kB a link and direction, one of 32 KiB 260 kB, to make 38 B of those 43.
"""

from __future__ import annotations

from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

WINDOW_BITS = 10
SETTINGS = {"memLevel": 3}

ACCEPTED = (
    ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        require_client_max_window_bits=True,
        compress_settings=SETTINGS,
    ),
    # A station whose window we may not choose begins each message anew: no 32 KiB are kept for it.
    ServerPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_no_context_takeover=True,
        compress_settings=SETTINGS,
    ),
)
"""As a server, the better agreement first."""

OFFERED = (
    ClientPerMessageDeflateFactory(
        server_max_window_bits=WINDOW_BITS,
        client_max_window_bits=WINDOW_BITS,
        compress_settings=SETTINGS,
    ),
    # A server that cannot choose its window must decline that offer (7.1.2.1).
    ClientPerMessageDeflateFactory(
        server_no_context_takeover=True,
        client_max_window_bits=WINDOW_BITS,
        compress_settings=SETTINGS,
    ),
)
"""As a client, the better agreement first."""
