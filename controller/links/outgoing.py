"""What waits for a reader: bounded, so that one who does not read costs its own link and no memory."""

from __future__ import annotations

import trio

MESSAGES = 256
CHARACTERS = 4 << 20
"""How much may wait for one reader; a single message may be longer, if it waits alone."""


class Full(Exception):
    """More would have to wait for the reader than may. Its text says what waits already."""


class Outgoing:
    """The messages to one peer, in order. One task puts, one reads them with `async for`."""

    def __init__(self) -> None:
        self._in, self._out = trio.open_memory_channel[str](MESSAGES)
        self._characters = 0

    def put(self, text: str) -> None:
        """Let a message wait. Raises Full; trio.ClosedResourceError after `close`."""
        waiting = self._out.statistics().current_buffer_used
        if waiting == MESSAGES or (waiting and self._characters + len(text) > CHARACTERS):
            raise Full(f"{waiting} messages of {self._characters} characters wait")
        self._in.send_nowait(text)
        self._characters += len(text)

    def close(self) -> None:
        """Let the reader come to an end, once it has read what waits."""
        self._in.close()

    def __aiter__(self) -> Outgoing:
        return self

    async def __anext__(self) -> str:
        try:
            text = await self._out.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        self._characters -= len(text)
        return text
