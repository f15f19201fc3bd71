"""How a backend is dialled: in turn, under the station's name, with the right secret, and what goes wrong."""

from __future__ import annotations

from collections.abc import AsyncIterator

import msgspec
import pytest
import trio

from controller.backends.endpoint import DIALS_PER_SECOND, Endpoint, dial_turns
from controller.model.exception_groups import leaves
from controller.ocpp.frames import Version
from controller.stations.admission import Admission, basic
from controller.transport.dial import DialError
from controller.transport.token_bucket import TokenBucket
from tests.controller.transport.rig import Backend

SENT = basic("CS 01", b"of the station")


@pytest.fixture
async def backend(nursery: trio.Nursery) -> AsyncIterator[Backend]:
    made = Backend()
    await nursery.start(made.run)
    yield made
    nursery.cancel_scope.cancel()


def uplink(port: int, password: bytes | None = None, turns: TokenBucket | None = None) -> Endpoint:
    url = f"ws://127.0.0.1:{port}/csms/{{station}}?site=a"
    return Endpoint(url, None, password, 1 << 20, 2.0, turns or TokenBucket(0))


@pytest.mark.parametrize(
    ("password", "presented"), [(None, SENT), (b"of the backend", basic("CS 01", b"of the backend"))]
)
async def test_a_station_is_presented_under_its_name(
    backend: Backend, password: bytes | None, presented: bytes
) -> None:
    async with uplink(backend.port, password).open(Admission("CS 01", Version.V16, SENT)):
        request = backend.requests[0]
        assert request.path == "/csms/CS%2001?site=a"
        assert dict(request.headers)[b"authorization"] == presented


async def test_what_every_request_is_to_say_is_said(backend: Backend) -> None:
    way = msgspec.structs.replace(
        uplink(backend.port), headers=(("X-OCPP-NetworkingMode", "OverlayNetwork"),)
    )
    async with way.open(Admission("CS01", Version.V21)):
        headers = dict(backend.requests[0].headers)
        assert headers[b"x-ocpp-networkingmode"] == b"OverlayNetwork"


async def test_dials_take_their_turns(backend: Backend) -> None:
    turns = TokenBucket(rate=0.001)
    way = uplink(backend.port, turns=turns)
    async with way.open(Admission("CS01", Version.V16)):
        pass
    with trio.move_on_after(0.05) as waiting:
        async with way.open(Admission("CS01", Version.V16)):
            pass
    assert waiting.cancelled_caught
    assert len(backend.requests) == 1


def test_as_many_dials_go_at_once_as_stations_may_come() -> None:
    turns = dial_turns()
    waits = [turns.take(0.0) for _ in range(2 * int(DIALS_PER_SECOND))]
    assert sum(wait < 1e-6 for wait in waits) == DIALS_PER_SECOND
    assert waits[-1] == pytest.approx(1.0)


async def refusal(way: Endpoint) -> str:
    return str(await refused(way))


async def refused(way: Endpoint) -> DialError:
    with pytest.raises((DialError, ExceptionGroup)) as refusal:
        async with way.open(Admission("CS01", Version.V16)):
            raise AssertionError("the link was made")
    (only,) = leaves(refusal.value)
    assert isinstance(only, DialError)
    return only


async def test_a_backend_that_refuses_is_told_with_its_status(backend: Backend) -> None:
    backend.refuse_with = 401
    said = await refused(uplink(backend.port))
    assert str(said) == "it refused the link with HTTP status 401"
    assert (said.status, said.retry_after_s) == (401, None)


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("120", 120, 120),
        ("Fri, 31 Dec 2100 23:59:59 GMT", 1e9, 1e10),
        ("Sat, 01 Jan 2000 00:00:00 GMT", 0, 0),
    ],
)
async def test_when_to_come_back_is_heard(backend: Backend, header: str, least: float, most: float) -> None:
    backend.refuse_with, backend.refuse_headers = 503, [(b"Retry-After", header.encode())]
    said = await refused(uplink(backend.port))
    assert said.retry_after_s is not None
    assert least <= said.retry_after_s <= most


@pytest.mark.parametrize("header", ["", "soon", "-5", "1e3", "\u00b2"])
async def test_a_time_to_come_back_that_is_none(backend: Backend, header: str) -> None:
    backend.refuse_with, backend.refuse_headers = 503, [(b"Retry-After", header.encode("latin-1"))]
    assert (await refused(uplink(backend.port))).retry_after_s is None


async def test_a_backend_that_closes_in_the_middle_is_told_at_once(nursery: trio.Nursery) -> None:
    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, trio.SocketStream.receive_some, listeners)
    said = await refusal(uplink(listeners[0].socket.getsockname()[1]))
    assert said == "the peer closed the connection during the handshake"
    nursery.cancel_scope.cancel()


async def test_a_backend_that_says_nothing_is_given_up(nursery: trio.Nursery) -> None:
    async def silent(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await nursery.start(trio.serve_listeners, silent, listeners)
    url = f"ws://127.0.0.1:{listeners[0].socket.getsockname()[1]}/{{station}}"
    said = await refusal(Endpoint(url, None, None, 1 << 20, 0.1, TokenBucket(0)))
    assert said == "it did not answer within 0.1 s"
    nursery.cancel_scope.cancel()


def test_the_password_is_not_shown() -> None:
    assert "geheim" not in repr(uplink(1, b"geheim"))
