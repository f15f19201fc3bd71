"""Live stream of the status: server-sent events with the whole status first, then what has changed.

event: status   data: the whole status
event: change   data: members that changed; of lists of equal length only the changed elements, by index
event: alive    nothing has changed for a while: the connection stands, and the values are those of now
event: end      the login or token that opened the stream is no longer valid
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
import trio

from controller.web.status_model import ControllerStatus

PERIOD_S = 1.0
"""Interval of the events, at most."""
KEEP_ALIVE_S = 15.0
"""Longest time (s) without an event: proxies keep the connection, and a client can find that it is lost."""

_BY_INDEX = ("circuits", "evses", "stations", "backends", "meters")


class LiveStream:
    """Stream for one client.

    `read` returns the status at a monotonic time (s); `is_allowed`: True while its actor may see it.
    """

    def __init__(self, read: Callable[[float], ControllerStatus], is_allowed: Callable[[], bool]) -> None:
        self._read = read
        self._is_allowed = is_allowed
        self._sent: ControllerStatus | None = None
        self._has_ended = False

    async def next_chunk(self) -> bytes | None:
        """Wait for the next event; None after the end."""
        if self._has_ended:
            return None
        waited_s = 0.0
        while True:
            if self._sent is not None:
                await trio.sleep(PERIOD_S)
                waited_s += PERIOD_S
            if not self._is_allowed():
                self._has_ended = True
                return b"event: end\ndata: {}\n\n"
            before, after = self._sent, self._read(trio.current_time())
            self._sent = after
            if before is None:
                return b"event: status\ndata: " + msgspec.json.encode(after) + b"\n\n"
            changed = changes_between(before, after)
            if changed:
                return b"event: change\ndata: " + msgspec.json.encode(changed) + b"\n\n"
            if waited_s >= KEEP_ALIVE_S:
                return b"event: alive\ndata: {}\n\n"


def changes_between(before: ControllerStatus, after: ControllerStatus) -> dict[str, Any]:
    """Return the members of `after` that differ; without `time` and `tick_age_s` where nothing else does."""
    changed: dict[str, Any] = {}
    for field in msgspec.structs.fields(ControllerStatus):
        name, old, new = field.encode_name, getattr(before, field.name), getattr(after, field.name)
        if old == new or name in ("time", "tick_age_s"):
            continue
        if name in _BY_INDEX and len(old) == len(new):
            pairs = enumerate(zip(old, new, strict=True))
            changed[name] = {str(index): each for index, (last, each) in pairs if last != each}
        else:
            changed[name] = new
    if changed:
        changed |= {"time": after.time, "tick_age_s": after.tick_age_s}
    return changed
