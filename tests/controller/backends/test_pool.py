"""One backend over several uplinks: on a virtual clock with ways that do as a test says, and over sockets."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from controller.backends.endpoint import Endpoint
from controller.backends.failover import FAILBACK_S, EndpointSelector
from controller.backends.pool import BackendPool
from controller.model.exception_groups import leaves
from controller.ocpp.frames import Version
from controller.stations.admission import Admission, basic
from controller.transport.dial import DialError
from controller.transport.token_bucket import TokenBucket
from controller.transport.websocket_connection import ConnectionLostError, WebSocketConnection
from tests.controller.transport.rig import Backend

CS01 = Admission("CS01", Version.V16, basic("CS01", b"of the station"))
CS02 = Admission("CS02", Version.V16)


class Way:
    """An uplink without a socket. `refusal`: why it gives no link; `hold`: dials wait for it."""

    def __init__(self) -> None:
        self.refusal: DialError | None = None
        self.hold: trio.Event | None = None
        self.dials: list[Admission] = []
        self.probes = 0

    @asynccontextmanager
    async def open(self, admitted: Admission) -> AsyncIterator[WebSocketConnection]:
        self.dials.append(admitted)
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise ExceptionGroup("of its nursery", [self.refusal])
        yield None  # type: ignore[misc]  # nobody here uses the link

    async def probe(self) -> None:
        self.probes += 1
        if self.refusal is not None:
            raise self.refusal


class Longest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class Site:
    """A backend with a first and a second way."""

    def __init__(self) -> None:
        self.first, self.second = Way(), Way()
        self.uplinks = BackendPool("csms", {"b": (5, self.second), "a": (1, self.first)}, Longest())

    async def reached(self, admitted: Admission = CS01, *, owner: bool = True) -> str:
        """The uplink that gives a link, which is closed again."""
        async with self.uplinks.open(admitted, owner=owner) as (_, uplink):
            return uplink

    async def refused(self, admitted: Admission = CS01) -> DialError:
        with pytest.raises((DialError, ExceptionGroup)) as raised:
            await self.reached(admitted)
        (only,) = leaves(raised.value)
        assert isinstance(only, DialError)
        return only


@pytest.fixture
def site() -> Site:
    return Site()


async def test_the_first_gives_the_link_and_the_second_is_not_asked(site: Site) -> None:
    assert await site.reached() == "a"
    assert site.second.dials == []


async def test_one_dial_goes_on_to_the_second_and_the_next_asks_it_at_once(
    site: Site, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    site.first.refusal = DialError("connection refused")
    assert await site.reached() == "b"
    assert await site.reached(CS02) == "b"
    assert len(site.first.dials) == 1
    assert caplog.messages == ["backend csms (uplink a) cannot be reached: connection refused"]


async def test_where_none_answers_that_is_told_at_once_with_the_time_to_come_back(
    site: Site, autojump_clock: MockClock
) -> None:
    site.first.refusal = DialError("connection refused")
    site.second.refusal = DialError("overloaded", status=503, retry_after_s=120)
    said = await site.refused()
    assert (str(said), said.retry_after_s) == ("connection refused; overloaded", 1)
    assert trio.current_time() == 0
    said = await site.refused(CS02)
    assert (str(said), said.retry_after_s) == ("it did not answer a moment ago", 1)
    assert (len(site.first.dials), len(site.second.dials)) == (1, 1)


async def test_whoever_can_wait_is_told_when_to_ask_again(site: Site, autojump_clock: MockClock) -> None:
    site.first.refusal = site.second.refusal = DialError("overloaded", status=429, retry_after_s=120)
    await site.refused()
    await site.uplinks.ready("CS01")
    assert trio.current_time() == 120
    await site.uplinks.ready("CS01")
    assert trio.current_time() == 120


async def test_one_tries_and_the_others_wait_for_what_becomes_of_it(
    site: Site, autojump_clock: MockClock
) -> None:
    site.first.refusal = site.second.refusal = DialError("connection refused")
    await site.refused()
    await trio.sleep(1)
    site.first.refusal, site.first.hold = None, trio.Event()
    site.second.hold = trio.Event()
    reached: list[str] = []

    async def reach(number: int) -> None:
        reached.append(await site.reached(Admission(f"CS{number}", Version.V16)))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(reach, number)
        await trio.sleep(5)
        assert (len(site.first.dials), len(site.second.dials)) == (2, 2)  # each has one who tries it
        site.first.hold.set()
        await trio.lowlevel.checkpoint()
        site.second.hold.set()
    assert reached == ["a"] * 10


async def test_who_gives_up_in_the_middle_leaves_the_try_to_others(
    site: Site, autojump_clock: MockClock
) -> None:
    site.first.refusal = site.second.refusal = DialError("connection refused")
    await site.refused()
    await trio.sleep(1)
    site.first.refusal, site.first.hold = None, trio.Event()
    with trio.move_on_after(1) as given_up:
        await site.reached()
    assert given_up.cancelled_caught
    site.first.hold = None
    assert await site.reached(CS02) == "a"


@pytest.mark.parametrize("status", [101, 401, 403, 404])
async def test_a_station_that_is_not_wanted_is_told_loudly_once_and_holds_up_nobody(
    site: Site, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    site.first.refusal = DialError("no such station", status=status)
    for _ in range(3):
        assert await site.reached() == "b"
        await trio.sleep(100)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (logging.ERROR, "backend csms (uplink a) does not want station CS01: no such station")
    ]
    assert len(site.first.dials) == 3
    site.first.refusal = None
    assert await site.reached(CS02) == "a"


async def lose(site: Site, *, clean: bool) -> None:
    async def a_link() -> None:
        async with site.uplinks.open(CS01, owner=True):
            await trio.sleep(100)
            raise ConnectionLostError("no answer to a ping", clean=clean)

    with pytest.raises((ConnectionLostError, ExceptionGroup)):
        await a_link()


async def test_a_link_that_we_have_closed_is_held_against_nobody(site: Site) -> None:
    async def a_short_link() -> None:
        async with site.uplinks.open(CS01, owner=True):
            raise ConnectionLostError("we have closed it", clean=True, ours=True)

    for _ in range(2):
        with pytest.raises((ConnectionLostError, ExceptionGroup)):
            await a_short_link()
    assert await site.reached() == "a"


async def test_a_lost_link_leads_the_next_station_to_the_second_while_one_tries_the_first(
    site: Site, autojump_clock: MockClock
) -> None:
    await lose(site, clean=False)
    site.first.hold, site.first.refusal = trio.Event(), DialError("it did not answer within 10 s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.reached, CS02)
        await wait_all_tasks_blocked()
        assert await site.reached() == "b"
        site.first.hold.set()
    assert await site.reached() == "b"


async def test_a_backend_that_does_not_answer_over_its_first_uplink_is_asked_over_the_second(
    site: Site, autojump_clock: MockClock
) -> None:
    async with site.uplinks.open(CS01, owner=True) as (_, uplink):
        site.uplinks.unanswered("CS01", uplink)
    assert await site.reached() == "b"
    await site.uplinks.ready("CS01")
    assert trio.current_time() == 0  # it need not wait, for there is another


async def test_a_link_that_was_closed_properly_is_made_anew_over_the_same_uplink(
    site: Site, autojump_clock: MockClock
) -> None:
    await lose(site, clean=True)
    assert await site.reached() == "a"


async def test_when_the_first_is_back_links_go_there_and_those_that_stand_are_told_to_move(
    site: Site, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "controller.transport")
    site.first.refusal = DialError("connection refused")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.uplinks.run)
        assert await site.reached() == "b"
        await trio.sleep(300)
        assert 5 < site.first.probes < 30  # 1, 2, 4 ... 60 s
        site.first.refusal, back_at = None, trio.current_time()
        assert await site.reached() == "b"
        await site.uplinks.outdone("CS01", "b")
        assert FAILBACK_S <= trio.current_time() - back_at <= 2 * FAILBACK_S + 10
        assert await site.reached() == "a"
        nursery.cancel_scope.cancel()
    assert caplog.messages[1:] == ["backend csms (uplink a) is back"]
    assert site.second.probes == 0


# -- over sockets --------------------------------------------------------------------------------------


@pytest.fixture
async def backends(nursery: trio.Nursery) -> AsyncIterator[tuple[Backend, Backend]]:
    made = Backend(), Backend()
    for backend in made:
        await nursery.start(backend.run)
    yield made
    nursery.cancel_scope.cancel()


def way(backend: Backend, password: bytes | None = None) -> Endpoint:
    url = f"ws://127.0.0.1:{backend.port}/csms/{{station}}"
    return Endpoint(url, None, password, 1 << 20, 2.0, TokenBucket(0))


async def test_a_refused_upgrade_leads_to_the_second_backend(backends: tuple[Backend, Backend]) -> None:
    first, second = backends
    first.refuse_with, first.refuse_headers = 503, [(b"Retry-After", b"30")]
    uplinks = BackendPool("csms", {"a": (0, way(first)), "b": (1, way(second))})
    for _ in range(2):
        async with uplinks.open(CS01, owner=True) as (link, uplink):
            assert uplink == "b"
            await link.send("hello")
            assert await (await second.link()).get_message() == "hello"
    assert len(first.requests) == 1
    second.refuse_with = 503
    with pytest.raises((DialError, ExceptionGroup)) as raised:
        async with uplinks.open(CS01, owner=True):
            raise AssertionError("the link was made")
    (only,) = leaves(raised.value)
    assert isinstance(only, DialError)
    assert str(only) == "it refused the link with HTTP status 503"


async def test_a_backend_that_is_there_answers_a_probe_and_sees_no_station(
    backends: tuple[Backend, Backend],
) -> None:
    await way(backends[0]).probe()
    assert backends[0].requests == []


async def test_nobody_answers_a_probe() -> None:
    with trio.socket.socket() as bound:
        await bound.bind(("127.0.0.1", 0))  # bound and not listening: nobody else gets the port meanwhile
        port = bound.getsockname()[1]
        with pytest.raises(DialError, match="refused"):
            await Endpoint(
                f"ws://127.0.0.1:{port}/{{station}}", None, None, 1 << 20, 2.0, TokenBucket(0)
            ).probe()


@pytest.mark.parametrize(
    ("owner", "password", "presented"),
    [
        (True, None, CS01.authorization),
        (True, b"of the backend", basic("CS01", b"of the backend")),
        (False, None, None),
        (False, b"of the backend", basic("CS01", b"of the backend")),
    ],
)
async def test_what_the_station_showed_us_goes_to_its_owner_alone(
    backends: tuple[Backend, Backend], owner: bool, password: bytes | None, presented: bytes | None
) -> None:
    first, second = backends
    uplinks = BackendPool("csms", {"a": (0, way(first, password)), "b": (1, way(second, password))})
    async with uplinks.open(CS01, owner=owner):
        pass
    first.refuse_with = 500
    async with uplinks.open(CS01, owner=owner):
        pass
    for backend in backends:
        assert {dict(request.headers).get(b"authorization") for request in backend.requests} == {presented}
    assert (len(first.requests), len(second.requests)) == (2, 1)


async def test_a_dial_that_succeeds_as_those_before_wakes_nobody(
    site: Site, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each station of a storm would wake all that are there already."""
    looks: list[str] = []
    outdone_at = EndpointSelector.outdone_at

    def counted(failover: EndpointSelector, station: str, uplink: str) -> float:
        looks.append(station)
        return outdone_at(failover, station, uplink)

    monkeypatch.setattr(EndpointSelector, "outdone_at", counted)
    nursery.start_soon(site.uplinks.outdone, "CS01", "a")
    await wait_all_tasks_blocked()
    before = len(looks)
    for _ in range(3):
        await site.reached(CS02)
    await wait_all_tasks_blocked()
    assert len(looks) == before
    site.first.refusal = DialError("connection refused")
    await site.reached(CS02)
    await wait_all_tasks_blocked()
    assert len(looks) > before
