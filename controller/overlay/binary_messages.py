"""Policy of signatures on binary messages between a station and its owner, which no relay reads.

They are forwarded byte for byte. A rule for their action is applied: signatures in them are verified where
WWCP writes some, and a message without one is rejected if the rule requires it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist
from controller.ocpp.frames import Version
from controller.overlay import overlay_frames
from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import NetworkingMode, OverlayMessageKind
from controller.overlay.source_check import SourceRefusal
from controller.overlay.transit_check import TransitCheck
from controller.signing.policy_enforcer import DropDecision, PolicyEnforcer


class ForwardBinary(msgspec.Struct, frozen=True):
    """Send a binary message to the station's owner (`is_up`) or to the station."""

    message: bytes
    is_up: bool


BinaryEffect = Persist | LogEntry | ForwardBinary


class BinaryMessages:
    """Check of the binary messages of one station. `utc_of` converts monotonic s to POSIX s.

    Of the effects, a `Persist` holds records of replay memory: without them a message could be sent once more
    after a restart. The `ForwardBinary` after it waits for them.
    """

    def __init__(
        self,
        enforcer: PolicyEnforcer | None,
        utc_of: Callable[[float], float],
        version: Version,
        station: str,
        owner: str,
    ) -> None:
        self._transit = TransitCheck(enforcer, utc_of)
        self._station = station
        self._below, self._above = (
            LinkState(link=link, peer=link, mode=NetworkingMode.STANDARD, side=side, version=version)
            for link, side in ((station, LinkSide.DOWN), (owner, LinkSide.UP))
        )

    def check_from_station(self, message: bytes, now: float) -> list[BinaryEffect]:
        """Return what follows from a message of the station to its owner."""
        return self._check(message, self._below, self._above, now)

    def check_from_owner(self, message: bytes, now: float) -> list[BinaryEffect]:
        """Return what follows from a message of the owner to the station."""
        return self._check(message, self._above, self._below, now)

    def _check(self, message: bytes, source: LinkState, to: LinkState, now: float) -> list[BinaryEffect]:
        forward = ForwardBinary(message, is_up=source is self._below)
        frame = overlay_frames.parse(message)
        if not isinstance(frame, RoutedFrame) or frame.kind not in (
            OverlayMessageKind.CALL,
            OverlayMessageKind.SEND,
        ):
            return [forward]  # answers and errors have no action of their own
        routed = msgspec.structs.replace(frame, destination=(self._station,), path=(self._station,))
        decision = self._transit.request(routed, source, frozenset({to.direction}), now)
        match decision.outcome:
            case SourceRefusal(reason=reason):
                line = f"binary message dropped peer={source.peer} reason={reason}"
                return [*decision.effects, LogEntry(logging.WARNING, line)]
            case DropDecision():
                return [*decision.effects]
            case _:
                return [*decision.effects, forward]
