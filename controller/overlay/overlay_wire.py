"""Names and conventions of WWCP's overlay network, in one place.

They are not standardized; they were taken from recorded traffic of WWCP nodes.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Literal

MODE_HEADER = "X-OCPP-NetworkingMode"
"""Header of the upgrade request, written in this case. A server that does not send it has agreed."""


class NetworkingMode(Enum):
    """Form of the frames on a link."""

    STANDARD = "Standard"
    OVERLAY = "OverlayNetwork"


_MODES = {mode.value.lower(): mode for mode in NetworkingMode} | {
    "1": NetworkingMode.STANDARD,
    "2": NetworkingMode.OVERLAY,
}


def mode_of(header: str) -> NetworkingMode | None:
    """Read the header, a name without regard to case or its number; None if it is no mode."""
    return _MODES.get(header.strip().lower())


class OverlayMessageKind(IntEnum):
    """Message type (OCPP-J)."""

    CALL = 2
    RESULT = 3
    ERROR = 4
    RESULT_ERROR = 5
    SEND = 6


ERRORS = frozenset({OverlayMessageKind.ERROR, OverlayMessageKind.RESULT_ERROR})
"""Types whose destination is written as one string and whose path is always an array."""

CSMS = "CSMS"
"""Alias of the nearest backend; no node: it stands in no path."""

BROADCAST = "*"
"""Every node that gets it. Only a SEND is passed on: a CALL would have many answers."""

NO_DESTINATION = "0"
"""Destination of a frame that names none: it is treated like one without destination."""

TOPOLOGY = "NotifyNetworkTopology"
"""Action that reports what is reachable over a node; a SEND."""

TOPOLOGY_ANSWER = b'{"status":"Accepted"}'
"""Answer to the CALL form, which only older controllers of this project send."""

UNREACHED = b'{"unreached":true}'
"""Details of a CALLERROR of a node on the way; only nodes of this project send them."""

MAX_HOPS = 16
"""Ids in a destination or in a path: longer ones are loops."""

MAX_ID_LENGTH = 64
"""Characters of an id."""

BYTE_ORDER: Literal["big", "little"] = "big"
"""Byte order of the lengths in binary frames.

Such a frame is: message type (1 byte); destination (2 bytes of length, UTF-8); number of ids in the path
(1 byte) and each like the destination; message id and, of a CALL or a SEND, action (each with 2 bytes of
length, UTF-8); payload with 8 bytes of length. A plain frame has an empty destination and no path.
"""
