"""Webhooks at work: each alarm that begins or ends is posted to the configured URLs.

Requests are sent by a thread with a time limit, one after the other, and tried again a few times. The log
names the server of a URL alone: its path is a secret with many services.
"""

from __future__ import annotations

import http.client
import logging
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from urllib.parse import urlsplit

import trio

from controller.config.schema import WebhookConfig
from controller.model.peer_text import bounded_text
from controller.model.rate_limits import Backoff
from controller.publishing.webhook import WebhookRequest, is_wanted, make_webhook
from controller.transport.tls import make_checked_context
from controller.web.alarm_model import AlarmChange

log = logging.getLogger("controller.webhook")

TIMEOUT_S = 10.0
"""Longest silence of the server (s)."""
ANSWER_TIMEOUT_S = 30.0
"""Time for a whole answer (s): a server that sends byte by byte is not silent."""
MOST_WAITING = 100
MOST_TRIES = 5
RETRIES = Backoff(first_s=2.0, longest_s=60.0)


class WebhookService:
    """One URL that alarms are posted to.

    `find_objection` returns why the certificate of its server is not accepted.
    """

    def __init__(
        self,
        site: str,
        settings: WebhookConfig,
        find_objection: Callable[[bytes], str | None] | None = None,
        utc: Callable[[], float] = time.time,
    ) -> None:
        self._tls = make_checked_context(None, None, None, find_objection)
        self._site = site
        self._settings = settings
        self._server = urlsplit(settings.url).hostname or ""
        self._posting = trio.CapacityLimiter(1)  # a thread that is given up may go on for long
        self._utc = utc
        file = settings.secret_file
        self._secret = None if file is None else Path(file).read_bytes().strip()
        self._send, self._receive = trio.open_memory_channel[WebhookRequest](MOST_WAITING)

    def on_alarm(self, change: AlarmChange) -> None:
        """Queue the request for an alarm; one too many is dropped and logged."""
        if not is_wanted(change, self._settings.severity):
            return
        try:
            self._send.send_nowait(make_webhook(self._site, change, self._utc(), self._secret))
        except trio.WouldBlock:
            log.warning("webhook dropped server=%s remedy=check why it does not answer", self._server)

    async def run(self) -> None:
        """Send until cancelled."""
        async for request in self._receive:
            await self._deliver(request)

    async def _deliver(self, request: WebhookRequest) -> None:
        problem = ""
        for tries in range(1, MOST_TRIES + 1):
            problem = f"no whole answer within {ANSWER_TIMEOUT_S:g} s"
            with trio.move_on_after(ANSWER_TIMEOUT_S):
                problem = await trio.to_thread.run_sync(
                    self._post, request, abandon_on_cancel=True, limiter=self._posting
                )
            if not problem:
                return
            if tries < MOST_TRIES:
                await trio.sleep(RETRIES.wait_s(tries))
        log.warning(
            "webhook failed server=%s tries=%d reason=%s remedy=check the URL and its server",
            self._server,
            MOST_TRIES,
            problem,
        )

    def _post(self, request: WebhookRequest) -> str:
        """Send one request; return what went wrong, empty for success."""
        made = urllib.request.Request(self._settings.url, request.body, request.headers, method="POST")
        try:
            with urllib.request.urlopen(made, timeout=TIMEOUT_S, context=self._tls) as response:
                response.read(1024)
        except urllib.error.HTTPError as error:
            return f"HTTP status {error.code}"
        except (OSError, http.client.HTTPException, ValueError) as error:
            # What no HTTP server sends is no OSError, and a redirection may have an invalid address.
            return bounded_text(str(getattr(error, "reason", error)) or type(error).__name__)
        return ""
