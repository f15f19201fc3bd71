"""Messages of the controller's services to the backend of the site."""

from __future__ import annotations

from collections import deque

import trio

from controller.site_identity.identity import MOST_MESSAGES, SiteMessage


class SiteMailbox:
    """A bounded queue from the services that post messages to the one that sends them.

    The oldest message is dropped for a newer one; without a reader the newest are kept.
    """

    def __init__(self) -> None:
        self._messages: deque[SiteMessage] = deque(maxlen=MOST_MESSAGES)
        self._posted = trio.Event()

    def post(self, action: str, payload: bytes) -> None:
        """Post a CALL, to be sent now or once the backend is there."""
        self._messages.append(SiteMessage(action, payload))
        self._posted.set()

    async def take_messages(self) -> list[SiteMessage]:
        """Wait until there are messages, and take them all."""
        while not self._messages:
            self._posted = trio.Event()
            await self._posted.wait()
        messages = list(self._messages)
        self._messages.clear()
        return messages
