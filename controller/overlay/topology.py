"""Who is behind whom: what we tell our neighbours of it, and what we believe of what they tell.

A node tells each neighbour what is reached through it: its own neighbours, and what those have told, with a
priority that grows by one at each hop. So everybody hears only of what is next to come, from whom it would
send it to; a chain of controllers needs no more. Neighbours speak for themselves alone.

What is told has a beginning and an end, is told anew before it ends, and counts only while the link stands
over which it came. What began before something that the same link has brought already is a replay.
Whether a signature is needed, and whose, is for the verifier to say.
Source: WWCP OCPP, NotifyNetworkTopology; how it is written: see `wire`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.overlay.overlay_wire import BROADCAST, LONGEST_ID, MOST_HOPS, NOBODY
from controller.overlay.routes import Hop
from controller.signing.signature_format import format_time

VALID_S = 600.0
"""How long what we tell holds, and what others tell at most."""

REFRESH_S = VALID_S / 2

SKEW_S = 60.0
"""How far another's clock may be ahead of ours."""

MOST_ROUTES = 1000
"""In one message."""

Verifier = Callable[[str, bytes, bool], str | None]
"""(node, payload, whether it is a CALL) -> why it is not to be believed; None where it is."""

Signer = Callable[[bytes], bytes]
"""payload -> the payload, signed if the policy says so."""


class TopologyRejectedError(Exception):
    """What a neighbour tells changes nothing. The text says why."""

    def __init__(self, reason: str, *, forged: bool = False) -> None:
        super().__init__(reason)
        self.forged = forged


_Byte = Annotated[int, Meta(ge=0, le=255)]


class _Route(msgspec.Struct, rename="camel"):
    destination_id: str
    priority: _Byte = 0
    weight: _Byte = 1


class _Information(msgspec.Struct, rename="camel"):
    routing_node: str
    routes: list[_Route]
    not_before: datetime
    not_after: datetime | None = None


class _Told(msgspec.Struct, rename="camel"):
    network_topology_information: _Information


_decoder = msgspec.json.Decoder(_Told)


def told(own: str, reachable: Mapping[str, int], begins: float) -> bytes:
    """The payload that tells what is reached through us. Times are POSIX s."""
    routes = [
        {"destinationId": name, "uplink": {}, "downlink": {}, "priority": priority + 1, "weight": 1}
        for name, priority in reachable.items()
        if name != own and priority < MOST_HOPS
    ]
    information = {
        "routingNode": own,
        "routes": routes[:MOST_ROUTES],
        "notBefore": format_time(begins),
        "notAfter": format_time(begins + VALID_S),
    }
    return msgspec.json.encode({"networkTopologyInformation": information})


class TopologyReceived:
    """What neighbours tell, believed or not. `may_come(destination, link)`: whether a link may claim it."""

    def __init__(self, own: str, verify: Verifier, may_come: Callable[[str, str], bool]) -> None:
        self._own = own
        self._verify = verify
        self._may_come = may_come
        self._began: dict[str, float] = {}
        """By link, POSIX s: it outlives the link, so that nothing old is believed once it is back."""

    def take(
        self, link: str, peer: str, payload: bytes, now: float, utc: float, *, is_call: bool
    ) -> dict[str, Hop]:
        """The hops that follow from a message of the neighbour `peer`. Raises NotBelieved."""
        information = _read(payload)
        if information.routing_node != peer:
            raise TopologyRejectedError(
                f"{peer} tells of the routes of {information.routing_node!r}", forged=True
            )
        begins = _posix(information.not_before)
        ends = min(_ends(information), begins + VALID_S)
        if begins > utc + SKEW_S:
            raise TopologyRejectedError("it begins in the future: one of the two clocks is wrong")
        if ends <= utc:
            raise TopologyRejectedError("its time is over")
        # The signature is looked at before the memory is: who cannot sign cannot set the clock ahead.
        why = self._verify(peer, payload, is_call)
        if why is not None:
            raise TopologyRejectedError(why, forged=True)
        if begins <= self._began.get(link, -math.inf):
            raise TopologyRejectedError("it is not newer than what is known")
        self._began[link] = begins
        until = now + ends - utc
        return {
            route.destination_id: Hop(link, max(1, route.priority), route.weight, until)
            for route in information.routes
            if self._is_news(route.destination_id, link)
        }

    def _is_news(self, destination: str, link: str) -> bool:
        if not 0 < len(destination) <= LONGEST_ID or destination in (self._own, BROADCAST, NOBODY):
            return False
        return self._may_come(destination, link)


def _read(payload: bytes) -> _Information:
    try:
        information = _decoder.decode(payload).network_topology_information
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TopologyRejectedError("it cannot be read") from None
    if len(information.routes) > MOST_ROUTES:
        raise TopologyRejectedError(f"it has more than {MOST_ROUTES} routes")
    for said in (information.not_before, information.not_after):
        if said is not None and said.tzinfo is None:
            raise TopologyRejectedError("its times have no time zone")
    return information


def _ends(information: _Information) -> float:
    return math.inf if information.not_after is None else _posix(information.not_after)


def _posix(said: datetime) -> float:
    return said.timestamp()
