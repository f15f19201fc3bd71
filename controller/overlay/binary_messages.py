"""Policy of signatures on binary messages between a station and its owner, which no relay reads.

They are forwarded byte for byte. A rule for their action is applied: signatures in them are verified where
WWCP writes some, and a message without one is rejected if the rule requires it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence

import msgspec

from controller.model.effects import LogEntry
from controller.model.journal import Persist, Record
from controller.ocpp.frames import Version
from controller.overlay import overlay_frames
from controller.overlay.events import LinkSide, LinkState
from controller.overlay.overlay_frames import RoutedFrame
from controller.overlay.overlay_wire import NetworkingMode, OverlayMessageKind
from controller.overlay.source_check import SourceRefusal
from controller.overlay.transit_check import TransitCheck, TransitDecision
from controller.signing.policy_enforcer import DropDecision, PolicyEnforcer

log = logging.getLogger("controller.overlay")


class BinaryMessages:
    """Check of the binary messages of one station. `utc_of` converts monotonic s to POSIX s.

    `store` makes records of replay memory durable before a message goes on, and returns False where it
    cannot: the message is then dropped, for after a restart it could be sent once more.
    """

    def __init__(
        self,
        enforcer: PolicyEnforcer | None,
        utc_of: Callable[[float], float],
        version: Version,
        station: str,
        owner: str,
        store: Callable[[Sequence[Record]], bool],
    ) -> None:
        self._store = store
        self._transit = TransitCheck(enforcer, utc_of)
        self._station = station
        self._below, self._above = (
            LinkState(link=link, peer=link, mode=NetworkingMode.STANDARD, side=side, version=version)
            for link, side in ((station, LinkSide.DOWN), (owner, LinkSide.UP))
        )

    def goes_up(self, message: bytes, now: float) -> bool:
        """Return True if a message of the station may go to its owner."""
        return self._passes(message, self._below, self._above, now)

    def goes_down(self, message: bytes, now: float) -> bool:
        """Return True if a message of the owner may go to the station."""
        return self._passes(message, self._above, self._below, now)

    def _passes(self, message: bytes, source: LinkState, to: LinkState, now: float) -> bool:
        frame = overlay_frames.parse(message)
        if not isinstance(frame, RoutedFrame) or frame.kind not in (
            OverlayMessageKind.CALL,
            OverlayMessageKind.SEND,
        ):
            return True  # answers and errors have no action of their own
        routed = msgspec.structs.replace(frame, destination=(self._station,), path=(self._station,))
        decision = self._transit.request(routed, source, frozenset({to.direction}), now)
        for effect in decision.effects:
            match effect:
                case LogEntry():
                    log.log(effect.level, "%s", effect.text)
                case Persist() if not self._store(effect.records):
                    log.warning("binary message dropped peer=%s reason=replay memory not stored", source.peer)
                    return False
        return _is_cleared(decision, source)


def _is_cleared(decision: TransitDecision, source: LinkState) -> bool:
    match decision.outcome:
        case SourceRefusal(reason=reason):
            log.warning("binary message dropped peer=%s reason=%s", source.peer, reason)
            return False
        case DropDecision():
            return False
        case _:
            return True
