"""How WWCP OCPP writes the overlay network: every name and every convention, in this one place.

Learnt by reading the project's source (2024 to 2026); nothing here is standardised. What is marked OPEN
was not proven by a message of a real implementation: should one disagree, this file is the one to mend.
"""

from __future__ import annotations

from enum import Enum, IntEnum
from typing import Literal

MODE_HEADER = "X-OCPP-NetworkingMode"
"""Of the upgrade request, said by the client. OPEN: whether a server that says nothing has agreed."""


class NetworkingMode(Enum):
    """How frames are written on a link."""

    STANDARD = "Standard"
    OVERLAY = "OverlayNetwork"


def mode_of(said: str) -> NetworkingMode | None:
    """What a header says; None where it is no mode. Letters may be capitals or not."""
    return next((mode for mode in NetworkingMode if mode.value.lower() == said.strip().lower()), None)


class OverlayMessageKind(IntEnum):
    """What a message is (OCPP-J: message type)."""

    CALL = 2
    RESULT = 3
    ERROR = 4
    RESULT_ERROR = 5
    SEND = 6


ERRORS = frozenset({OverlayMessageKind.ERROR, OverlayMessageKind.RESULT_ERROR})
"""Of these the destination is written as one string, the next hop, and the path always as an array."""

CSMS = "CSMS"
"""Whatever backend is nearest upwards."""

BROADCAST = "*"
"""OPEN: every node that hears it. Ours passes on only a SEND, for a CALL would have many answers."""

NOBODY = "0"
"""What a frame's destination is called where it names none: the frame goes where one without goes."""

TOPOLOGY = "NotifyNetworkTopology"
"""The action with which a node tells what is reached through it."""

TOPOLOGY_ANSWER = b'{"status":"Accepted"}'
"""OPEN: the names of a refusal; ours is a CALLERROR."""

UNREACHED = b'{"unreached":true}'
"""Details of a CALLERROR of a node on the way: whom the CALL was for may never have had it. Ours alone."""

MOST_HOPS = 16
"""Ids in a destination or in a path: longer ones are going round in circles."""

LONGEST_ID = 64
"""Characters."""

BYTE_ORDER: Literal["big", "little"] = "big"
"""OPEN: of the lengths in binary frames.

Such a frame is: message type (1 byte); destination (2 bytes of length, UTF-8); how many ids the path has
(1 byte) and each like the destination; message id and, of a CALL or a SEND, action (each with 2 bytes of
length, UTF-8); the rest. Where neither a destination nor a path is in it, the frame is a plain one.
"""
