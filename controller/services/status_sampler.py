"""Status sampler: one status every few seconds, for all who look at each of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from controller.web.status_model import ControllerStatus, StatusParts

SAMPLE_S = 5.0

OnStatus = Callable[[ControllerStatus], object]


async def sample_status(read_parts: Callable[[], StatusParts], receivers: Sequence[OnStatus]) -> None:
    """Read the status every SAMPLE_S and pass it to each receiver, until cancelled.

    With hundreds of stations that takes as long as hundreds of messages: other tasks run between its parts.
    """
    while True:
        status = await _read(read_parts())
        for receive in receivers:
            receive(status)
            await trio.lowlevel.checkpoint()
        await trio.sleep(SAMPLE_S)


async def _read(parts: StatusParts) -> ControllerStatus:
    try:
        next(parts)
        while True:
            await trio.lowlevel.checkpoint()
            parts.send(trio.current_time())
    except StopIteration as ended:
        status: ControllerStatus = ended.value
        return status
