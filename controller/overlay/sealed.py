"""Binary messages between a station and its owner: no relay reads them, but the policy has its say.

They pass as the same bytes. Where a rule is for their action, what it says of a message that nobody has
signed in a form that we know counts: so they are no way round it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

import msgspec

from controller.ocpp.frames import Version
from controller.overlay import frames
from controller.overlay.admission import Refusal
from controller.overlay.events import Side, Way
from controller.overlay.frames import Routed
from controller.overlay.transit import Looked, Transit
from controller.overlay.wire import Kind, Mode
from controller.signing.gate import Drop, Gate

log = logging.getLogger("controller.overlay")


class Sealed:
    """Those of one station. `utc_of` makes POSIX s of the monotonic clock."""

    def __init__(
        self, gate: Gate | None, utc_of: Callable[[float], float], version: Version, station: str, owner: str
    ) -> None:
        self._transit = Transit(gate, utc_of)
        self._station = station
        self._below, self._above = (
            Way(link=link, peer=link, mode=Mode.STANDARD, side=side, version=version)
            for link, side in ((station, Side.DOWN), (owner, Side.UP))
        )

    def goes_up(self, message: bytes, now: float) -> bool:
        """Whether a message of the station may go to its owner."""
        return self._passes(message, self._below, self._above, now)

    def goes_down(self, message: bytes, now: float) -> bool:
        """Whether a message of the owner may go to the station."""
        return self._passes(message, self._above, self._below, now)

    def _passes(self, message: bytes, source: Way, to: Way, now: float) -> bool:
        frame = frames.parse(message)
        if not isinstance(frame, Routed) or frame.kind not in (Kind.CALL, Kind.SEND):
            return True  # there is no action in it that a rule could be for
        routed = msgspec.structs.replace(frame, destination=(self._station,), path=(self._station,))
        looked = self._transit.request(routed, source, frozenset({to.direction}), now)
        for note in looked.notes:
            log.log(note.level, "%s", note.text)
        return _is_cleared(looked, source)


def _is_cleared(looked: Looked, source: Way) -> bool:
    match looked.outcome:
        case Refusal(reason=reason):
            log.warning("a binary message from %s goes no further: %s", source.peer, reason)
            return False
        case Drop():
            return False
        case _:
            return True
