"""Dials of one endpoint: in turn, under the station's name, with the right secret, and their failures."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import suppress

import pytest
import trio
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.http11 import Request
from websockets.server import ServerProtocol

from controller.backends.pool import DIALS_PER_SECOND, Endpoint, EndpointAnswer, LinkRequest
from controller.model.rate_limits import TokenBucket
from controller.transport.dial import DialError, DialStage
from controller.transport.http_upgrade import basic_authorization
from tests.bounds import HANG_S
from tests.scenario.link_harness import CsmsServer

SENT = basic_authorization("CS 01", b"of the station")
CS01 = LinkRequest("CS01", ("ocpp1.6",))


@pytest.fixture
async def backend(nursery: trio.Nursery) -> AsyncIterator[CsmsServer]:
    made = CsmsServer()
    await nursery.start(made.run)
    yield made
    nursery.cancel_scope.cancel()


def endpoint(port: int, password: bytes | None = None, turns: TokenBucket | None = None) -> Endpoint:
    url = f"ws://127.0.0.1:{port}/csms/{{station}}?site=a"
    return Endpoint(url, None, password, 1 << 20, 2.0, turns or TokenBucket(0))


async def opened(made: Endpoint, request: LinkRequest = CS01) -> EndpointAnswer:
    """Open a connection, and close it again."""
    async with trio.open_nursery() as nursery:
        answer = await made.open(request, nursery)
        await answer.channel.close(1000, "")
    return answer


async def failed(made: Endpoint) -> DialError:
    """Return the error of a dial."""
    async with trio.open_nursery() as nursery:
        try:
            await made.open(CS01, nursery)
        except DialError as error:
            return error
    raise AssertionError("the connection was opened")


@pytest.mark.parametrize(
    ("password", "presented"),
    [(None, SENT), (b"of the backend", basic_authorization("CS 01", b"of the backend"))],
)
async def test_endpoint_presents_station_with_name_and_password(
    backend: CsmsServer, password: bytes | None, presented: bytes
) -> None:
    await opened(endpoint(backend.port, password), LinkRequest("CS 01", ("ocpp1.6",), SENT))
    request = backend.requests[0]
    assert request.path == "/csms/CS%2001?site=a"
    assert dict(request.headers)[b"authorization"] == presented


@pytest.mark.parametrize(
    ("station", "segment", "path"),
    [
        ("DE*ABC*E0001", "DE*ABC*E0001", "DE*ABC*E0001"),
        ("DE*ABC*E0001", None, "DE*ABC*E0001"),
        ("CS!1", "CS%211", "CS%211"),
        ("Säule1", "S%c3%a4ule1", "S%c3%a4ule1"),
        ("Säule1", "S%E4ule1", "S%C3%A4ule1"),
        ("CS#3", "CS#3", "CS%233"),
        ("CS 02", "CS+02", "CS%2002"),
        ("CS 02", "CS%252002", "CS%2002"),
        ("a/b", "a%2Fb", "a%2Fb"),
        ("CS01", "CS01?x", "CS01"),
    ],
)
def test_link_request_path_keeps_valid_bytes_of_station(station: str, segment: str | None, path: str) -> None:
    assert LinkRequest(station, ("ocpp1.6",), None, segment).path_segment == path


def test_endpoint_link_request_claim_names_what_is_shown_without_secret() -> None:
    shown = [LinkRequest("CS01", ("ocpp1.6",), secret) for secret in (None, b"Basic a", b"Basic b")]
    shown.append(LinkRequest("CS01", ("ocpp1.6", "ocpp2.0.1"), b"Basic a"))
    assert len({each.claim for each in shown}) == 4
    assert "Basic" not in "".join(each.claim + repr(each) for each in shown)


async def test_endpoint_sends_configured_headers(backend: CsmsServer) -> None:
    url = f"ws://127.0.0.1:{backend.port}/{{station}}"
    headers = (("X-OCPP-NetworkingMode", "OverlayNetwork"),)
    await opened(Endpoint(url, None, None, 1 << 20, 2.0, TokenBucket(0), headers=headers))
    assert dict(backend.requests[0].headers)[b"x-ocpp-networkingmode"] == b"OverlayNetwork"


async def test_endpoint_returns_version_that_backend_chooses(backend: CsmsServer) -> None:
    answer = await opened(endpoint(backend.port), LinkRequest("CS01", ("ocpp2.0.1", "ocpp1.6")))
    assert answer.version == "ocpp2.0.1"


async def test_endpoint_dials_wait_for_their_turn(backend: CsmsServer) -> None:
    made = endpoint(backend.port, turns=TokenBucket(rate=0.001))
    await opened(made)
    with trio.move_on_after(0.05) as waiting:
        await opened(made)
    assert waiting.cancelled_caught
    assert len(backend.requests) == 1


def test_endpoint_dials_as_many_at_once_as_stations_connect() -> None:
    turns = Endpoint("ws://csms/{station}", None, None, 1, 1.0)._turns
    waits = [turns.take(0.0) for _ in range(2 * int(DIALS_PER_SECOND))]
    assert sum(wait < 1e-6 for wait in waits) == DIALS_PER_SECOND
    assert waits[-1] == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("status", "stage"),
    [
        *((status, DialStage.REFUSED) for status in (301, 400, 401, 403, 404, 412)),
        *((status, DialStage.UPGRADE) for status in (200, 408, 429, 500, 503)),
    ],
)
async def test_endpoint_dial_answered_with_status_names_it_and_stage(
    backend: CsmsServer, status: int, stage: DialStage
) -> None:
    backend.refuse_status = status
    error = await failed(endpoint(backend.port))
    assert str(error) == f"it refused the link with HTTP status {status}"
    assert (error.status, error.stage, error.retry_after_s) == (status, stage, None)


@pytest.mark.parametrize(
    ("header", "wait_s"),
    [
        ("120", 120),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 86_400),
        ("99999999999999999999", 86_400),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0),
        *((text, None) for text in ("", "soon", "-5", "1e3", "\u00b2", "Fri, 31 Dec 99999 23:59:59 GMT")),
    ],
)
async def test_dial_reads_retry_after_within_bounds(
    backend: CsmsServer, header: str, wait_s: float | None
) -> None:
    backend.refuse_status, backend.refuse_headers = 503, [(b"Retry-After", header.encode("latin-1"))]
    assert (await failed(endpoint(backend.port))).retry_after_s == wait_s


async def test_endpoint_dial_closed_in_upgrade_fails_at_once(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, trio.SocketStream.receive_some, listeners)
    error = await failed(endpoint(listeners[0].socket.getsockname()[1]))
    assert str(error) == "the peer closed the connection during the handshake"
    assert error.stage is DialStage.UPGRADE
    nursery.cancel_scope.cancel()


async def test_endpoint_dial_without_answer_ends_after_timeout(nursery: trio.Nursery) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, silent, listeners)
    url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/{{station}}"
    error = await failed(Endpoint(url, None, None, 1 << 20, 0.1, TokenBucket(0)))
    assert str(error) == "it did not answer within 0.1 s"
    assert error.stage is DialStage.UPGRADE
    nursery.cancel_scope.cancel()


def test_endpoint_repr_shows_no_password() -> None:
    assert "geheim" not in repr(endpoint(1, b"geheim"))


# -- permessage-deflate, as servers answer it ------------------------------------------------------------


ANSWERS: list[tuple[str, Callable[[str], str | None], list[bool]]] = [
    ("as offered", lambda offer: offer.split(",")[0], [True]),
    ("declined", lambda _: None, [True]),
    # Jetty (SteVe) drops the parameters of windows, which it does not support, and accepts.
    ("as Jetty", lambda offer: "; ".join(_without_windows(offer.split(",")[0])), [True, True]),
    ("all offers", lambda offer: offer, [True, True]),
    ("larger window", lambda _: "permessage-deflate; server_max_window_bits=15", [True, True, False]),
    ("another extension", lambda _: "x-webkit-deflate-frame", [True, True, False]),
]


def _without_windows(offer: str) -> list[str]:
    return [part.strip() for part in offer.split(";") if "window_bits" not in part]


@pytest.mark.parametrize(("name", "answer", "offers"), ANSWERS)
async def test_endpoint_opens_link_however_compression_is_answered(
    nursery: trio.Nursery,
    caplog: pytest.LogCaptureFixture,
    name: str,
    answer: Callable[[str], str | None],
    offers: list[bool],
) -> None:
    caplog.set_level("INFO", "controller.transport")
    server = DeflateServer(answer)
    port = await nursery.start(server.run)
    made = endpoint(port)
    for _ in range(2):
        async with trio.open_nursery() as links:
            opened_link = await made.open(CS01, links)
            opened_link.channel.send_nowait("x" * 500)
            with trio.fail_after(HANG_S):
                assert await opened_link.channel.receive() == "x" * 500
            await opened_link.channel.close(1000, "")
    assert [offer is not None for offer in server.offers] == [*offers, offers[-1]]
    assert len([line for line in caplog.messages if "compression" in line]) == len(offers) - 1
    nursery.cancel_scope.cancel()


class DeflateServer:
    """Echo server whose answer to the offered extensions is made by `answer`."""

    def __init__(self, answer: Callable[[str], str | None]) -> None:
        self.offers: list[str | None] = []
        self._answer = answer

    async def run(self, task_status: trio.TaskStatus[int]) -> None:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        task_status.started(listeners[0].socket.getsockname()[1])
        await trio.serve_listeners(self._serve, listeners)

    async def _serve(self, stream: trio.SocketStream) -> None:
        protocol = ServerProtocol(select_subprotocol=lambda _, offered: offered[0])
        while True:
            data = await stream.receive_some()
            if not data:
                return
            protocol.receive_data(data)
            for event in protocol.events_received():
                if isinstance(event, Request):
                    response = protocol.accept(event)
                    offer = event.headers.get("Sec-WebSocket-Extensions")
                    self.offers.append(offer)
                    chosen = None if offer is None else self._answer(offer)
                    if chosen is not None:
                        response.headers["Sec-WebSocket-Extensions"] = chosen
                        without_context = "server_no_context_takeover" in chosen
                        bits = 10 if "server_max_window_bits=10" in chosen else 15
                        protocol.extensions = [PerMessageDeflate(False, without_context, 15, bits)]
                    protocol.send_response(response)
                elif event.opcode in (1, 2):
                    protocol.send_text(event.data)
            for data in protocol.data_to_send():
                with suppress(trio.BrokenResourceError):
                    await stream.send_all(data)
