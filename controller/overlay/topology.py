"""Topology: what a node reports to its neighbors as reachable, and what it accepts from them.

A node reports to each neighbor what is reached through it: its own neighbors, and what those have reported,
with a priority that grows by one at each hop. A neighbor reports for itself alone. A report has a begin and
an end, is repeated before it ends, and is valid only while its link is open. One that begins before another
of the same link is a replay. The verifier decides which signature is needed. Source: WWCP OCPP,
NotifyNetworkTopology.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Annotated

import msgspec
from msgspec import Meta

from controller.overlay import OverlayError, overlay_frames
from controller.overlay.events import LOCAL, Action, LinkState, SendFrame
from controller.overlay.overlay_wire import (
    BROADCAST,
    MAX_HOPS,
    MAX_ID_LENGTH,
    NO_DESTINATION,
    TOPOLOGY,
    NetworkingMode,
    OverlayMessageKind,
)
from controller.overlay.routes import Hop, Routes
from controller.signing.signature_format import format_time

VALID_S = 600.0
"""Validity of our reports, and the longest one accepted."""

REFRESH_S = VALID_S / 2

SKEW_S = 60.0
"""Largest lead of another node's clock over ours."""

MAX_ROUTES = 1000
"""Routes in one message."""

Verifier = Callable[[str, bytes, bool], str | None]
"""(node, payload, is a CALL) -> reason why it is not accepted; None if it is."""

Signer = Callable[[bytes], bytes]
"""payload -> the payload, signed if the policy requires it."""


class TopologyRejectedError(OverlayError):
    """A report of a neighbor is not accepted."""

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


class _TopologyPayload(msgspec.Struct, rename="camel"):
    network_topology_information: _Information


_decoder = msgspec.json.Decoder(_TopologyPayload)


def write_topology(own: str, reachable: Mapping[str, int], begins: float) -> bytes:
    """Write the report of what is reached through this node. Times are POSIX s."""
    routes = [
        {"destinationId": name, "uplink": {}, "downlink": {}, "priority": priority + 1, "weight": 1}
        for name, priority in reachable.items()
        if name != own and priority < MAX_HOPS
    ]
    information = {
        "routingNode": own,
        "routes": routes[:MAX_ROUTES],
        "notBefore": format_time(begins),
        "notAfter": format_time(begins + VALID_S),
    }
    return msgspec.json.encode({"networkTopologyInformation": information})


class TopologyReceived:
    """Reports of neighbors. `may_come(destination, link)`: True if a link may report a destination."""

    def __init__(self, own: str, verify: Verifier, may_come: Callable[[str, str], bool]) -> None:
        self._own = own
        self._verify = verify
        self._may_come = may_come
        self._began: dict[str, float] = {}
        """By link, POSIX s; kept when a link is closed: no old report is accepted after it is open again."""

    def on_report(
        self, link: str, peer: str, payload: bytes, now: float, utc: float, *, is_call: bool
    ) -> dict[str, Hop]:
        """Return the hops of a report of the neighbor `peer`. Raises TopologyRejectedError."""
        information = _read(payload)
        if information.routing_node != peer:
            raise TopologyRejectedError(f"{peer} reports routes of {information.routing_node!r}", forged=True)
        begins = _posix(information.not_before)
        ends = min(_ends(information), begins + VALID_S)
        if begins > utc + SKEW_S:
            raise TopologyRejectedError("it begins in the future: one of the two clocks is wrong")
        if ends <= utc:
            raise TopologyRejectedError("its time is over")
        # The signature is verified first: without a valid one no node can move the time of the last report.
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
        if not 0 < len(destination) <= MAX_ID_LENGTH or destination in (self._own, BROADCAST, NO_DESTINATION):
            return False
        return self._may_come(destination, link)


def _read(payload: bytes) -> _Information:
    try:
        information = _decoder.decode(payload).network_topology_information
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise TopologyRejectedError("it cannot be read") from None
    if len(information.routes) > MAX_ROUTES:
        raise TopologyRejectedError(f"it has more than {MAX_ROUTES} routes")
    for moment in (information.not_before, information.not_after):
        if moment is not None and moment.tzinfo is None:
            raise TopologyRejectedError("its times have no time zone")
    return information


def _ends(information: _Information) -> float:
    return math.inf if information.not_after is None else _posix(information.not_after)


def _posix(moment: datetime) -> float:
    return moment.timestamp()


DEBOUNCE_S = 1.0
"""Time for which changes are collected: a link that flaps causes few reports."""


class _SentReport(msgspec.Struct, frozen=True):
    """Last report to a neighbor, and its time (monotonic s)."""

    reachable: dict[str, int]
    at: float


class TopologyAnnouncer:
    """Announcer of one node, for links in overlay mode. Times are monotonic s."""

    def __init__(
        self,
        own: str,
        routes: Routes,
        sign: Signer,
        utc_of: Callable[[float], float],
        new_id: Callable[[], str],
    ) -> None:
        self._own = own
        self._routes = routes
        self._sign = sign
        self._utc_of = utc_of
        self._new_id = new_id
        self._link_states: dict[str, LinkState] = {}
        self._sent_reports: dict[str, _SentReport] = {}
        self._changed_at = math.inf
        self._began = -math.inf

    @property
    def due(self) -> float:
        """Time of the next report; infinity if there is no neighbor."""
        if not self._link_states:
            return math.inf
        refresh = min((sent.at + REFRESH_S for sent in self._sent_reports.values()), default=math.inf)
        return min(refresh, self._changed_at + DEBOUNCE_S)

    def link_up(self, state: LinkState, now: float) -> None:
        """Add an open link."""
        self.changed(now)
        if state.mode is NetworkingMode.OVERLAY:
            self._link_states[state.link] = state

    def link_down(self, link: str, now: float) -> None:
        """Remove a link."""
        self.changed(now)
        self._link_states.pop(link, None)
        self._sent_reports.pop(link, None)

    def changed(self, now: float) -> None:
        """Note that what is reached may have changed."""
        self._changed_at = min(self._changed_at, now)

    def ticked(self, now: float) -> Iterator[Action]:
        """Report to neighbors with changes, and to those whose last report is old."""
        if now < self.due:
            return
        self._changed_at = math.inf
        for link, state in self._link_states.items():
            reachable = self._routes.reachable(now, link)
            sent = self._sent_reports.get(link)
            if sent is None or sent.reachable != reachable or sent.at + REFRESH_S <= now:
                self._sent_reports[link] = _SentReport(reachable, now)
                yield self._report_to(state, reachable, now)

    def _report_to(self, state: LinkState, reachable: dict[str, int], now: float) -> SendFrame:
        # In ms, as it is written: a report that begins no later than the last one would be a replay.
        self._began = max(round(self._utc_of(now), 3), self._began + 0.001)
        payload = self._sign(write_topology(self._own, reachable, self._began))
        frame = overlay_frames.request(OverlayMessageKind.SEND, self._new_id(), TOPOLOGY, payload)
        return SendFrame(
            state.link, overlay_frames.to_overlay(frame, (state.peer,), (self._own,)), frame, LOCAL
        )
