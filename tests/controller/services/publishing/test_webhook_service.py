"""Webhooks posted to a server on loopback: signed, tried again, given up."""

from __future__ import annotations

import http.server
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager, suppress
from pathlib import Path

import msgspec
import pytest
import trio
from msgspec.structs import replace

from controller.config.schema import WebhookConfig
from controller.model.rate_limits import Backoff
from controller.publishing.webhook import SIGNATURE_HEADER
from controller.services.publishing import webhook_service
from controller.services.publishing.webhook_service import MOST_TRIES, MOST_WAITING, WebhookService
from controller.web.alarm_model import AlarmChange
from tests.bounds import HANG_S
from tests.controller.web.examples import STATUS

BEGAN = AlarmChange(STATUS.alarms[0], has_ended=False)


class WebhookServer(http.server.ThreadingHTTPServer):
    """Server that answers with the given statuses, then with 200."""

    def __init__(self, *statuses: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.statuses = list(statuses)
        self.requests: list[tuple[dict[str, str], bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/hook"


class _Handler(http.server.BaseHTTPRequestHandler):
    server: WebhookServer

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((dict(self.headers), body))
        self.send_response(self.server.statuses.pop(0) if self.server.statuses else 200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def receiving(*statuses: int) -> Iterator[WebhookServer]:
    receiver = WebhookServer(*statuses)
    thread = threading.Thread(target=receiver.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        receiver.shutdown()
        thread.join()
        receiver.server_close()


@asynccontextmanager
async def sending(settings: WebhookConfig) -> AsyncIterator[WebhookService]:
    service = WebhookService("lc", settings, utc=lambda: 1000.0)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        yield service
        nursery.cancel_scope.cancel()


async def until_received(receiver: WebhookServer, count: int) -> None:
    with trio.fail_after(HANG_S):
        while len(receiver.requests) < count:  # noqa: ASYNC110
            await trio.sleep(0.01)


async def test_webhook_service_alarm_is_posted_with_signature(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s3cret\n")
    with receiving() as receiver:
        settings = WebhookConfig(url=receiver.url, secret_file=str(tmp_path / "secret"))
        async with sending(settings) as service:
            service.on_alarm(BEGAN)
            service.on_alarm(AlarmChange(STATUS.alarms[0], has_ended=True))
            await until_received(receiver, 2)
    headers, body = receiver.requests[0]
    assert headers[SIGNATURE_HEADER].startswith("sha256=")
    assert msgspec.json.decode(body)["event"] == "alarm began"
    assert msgspec.json.decode(receiver.requests[1][1])["event"] == "alarm ended"


async def test_webhook_service_failed_post_is_tried_again_with_same_body(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(webhook_service, "RETRIES", Backoff(first_s=0.01, longest_s=0.01))
    with receiving(500, 503) as receiver:
        async with sending(WebhookConfig(url=receiver.url)) as service:
            service.on_alarm(BEGAN)
            await until_received(receiver, 3)
    assert len({body for _, body in receiver.requests}) == 1


async def test_dead_url_is_given_up_and_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook_service, "RETRIES", Backoff(first_s=0.01, longest_s=0.01))
    with receiving(*[500] * MOST_TRIES) as receiver:
        async with sending(WebhookConfig(url=receiver.url)) as service:
            service.on_alarm(BEGAN)
            await until_received(receiver, MOST_TRIES)
            await until_logged("webhook failed", caplog)
    assert "reason=HTTP status 500" in caplog.text


@pytest.mark.parametrize("answer", [b"SSH-2.0-OpenSSH_9.2\r\n", b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200])
async def test_webhook_answer_that_is_no_http_is_given_up(
    answer: bytes, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The service goes on, and with it the daemon."""
    monkeypatch.setattr(webhook_service, "RETRIES", Backoff(first_s=0.01, longest_s=0.01))
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        threading.Thread(target=answer_all, args=(server, answer), daemon=True).start()
        url = f"http://127.0.0.1:{server.getsockname()[1]}/services/T0/s3cret"
        async with sending(WebhookConfig(url=url)) as service:
            service.on_alarm(BEGAN)
            await until_logged("webhook failed", caplog)
    assert "server=127.0.0.1" in caplog.text
    assert "s3cret" not in caplog.text


def answer_all(server: socket.socket, answer: bytes) -> None:
    """Answer each connection with these bytes, until the server is closed."""
    with suppress(OSError):
        while True:
            with server.accept()[0] as connection:
                connection.recv(65536)
                connection.sendall(answer)


async def test_webhook_answer_byte_by_byte_is_given_up(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(webhook_service, "MOST_TRIES", 1)
    monkeypatch.setattr(webhook_service, "ANSWER_TIMEOUT_S", 0.05)
    posted = threading.Event()
    monkeypatch.setattr(WebhookService, "_post", lambda *_: str(posted.wait(10)))
    async with sending(WebhookConfig(url="http://127.0.0.1:1/")) as service:
        service.on_alarm(BEGAN)
        await until_logged("webhook failed", caplog)
        posted.set()
    assert "reason=no whole answer" in caplog.text


async def until_logged(text: str, caplog: pytest.LogCaptureFixture) -> None:
    with trio.fail_after(HANG_S):
        while text not in caplog.text:  # noqa: ASYNC110
            await trio.sleep(0.01)


def test_webhook_service_alarm_below_severity_is_not_queued() -> None:
    service = WebhookService("lc", WebhookConfig(url="http://127.0.0.1:1/", severity="critical"))
    service.on_alarm(BEGAN)
    assert service._receive.statistics().current_buffer_used == 0


def test_webhook_service_queue_is_bounded(caplog: pytest.LogCaptureFixture) -> None:
    service = WebhookService("lc", WebhookConfig(url="http://127.0.0.1:1/"))
    for number in range(MOST_WAITING + 1):
        service.on_alarm(AlarmChange(replace(STATUS.alarms[0], subject=str(number)), has_ended=False))
    assert "webhook dropped" in caplog.text
