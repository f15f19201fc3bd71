"""One backend with several endpoints: scripted endpoints on a virtual clock, and real sockets."""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncIterator
from functools import partial
from typing import cast

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from controller.backends.failover import FAILBACK_S, PROBE_INTERVAL_S, EndpointSelector
from controller.backends.pool import BackendPool, Endpoint, EndpointAnswer, LinkRequest
from controller.model.rate_limits import TokenBucket
from controller.transport.channel import Channel
from controller.transport.dial import DialError, DialStage
from controller.transport.http_upgrade import basic_authorization
from controller.transport.transport_errors import ConnectionLostError
from tests.scenario.link_harness import CsmsServer

CS01 = LinkRequest("CS01", ("ocpp1.6",), basic_authorization("CS01", b"of the station"))
CS02 = LinkRequest("CS02", ("ocpp1.6",))


class IdleChannel:
    """A channel that nothing comes from."""

    async def close(self, code: int, reason: str) -> None:
        await trio.lowlevel.checkpoint()


class ScriptedEndpoint:
    """An endpoint without a socket. `refusal`: why it gives no link; `hold`: dials wait for it."""

    def __init__(self) -> None:
        self.refusal: DialError | None = None
        self.hold: trio.Event | None = None
        self.dials: list[LinkRequest] = []
        self.probes = 0

    async def open(self, request: LinkRequest, nursery: trio.Nursery) -> EndpointAnswer:
        self.dials.append(request)
        await trio.lowlevel.checkpoint()
        if self.hold is not None:
            await self.hold.wait()
        if self.refusal is not None:
            raise self.refusal
        return EndpointAnswer(cast(Channel, IdleChannel()), request.versions[0])

    async def probe(self) -> None:
        self.probes += 1
        if self.refusal is not None:
            raise self.refusal


class Longest(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class TwoEndpoints:
    """A backend with a first and a second endpoint."""

    def __init__(self) -> None:
        self.first, self.second = ScriptedEndpoint(), ScriptedEndpoint()
        self.pool = BackendPool("csms", {"b": (5, self.second), "a": (1, self.first)}, Longest())

    async def reached(self, request: LinkRequest = CS01, *, is_owner: bool = True) -> str:
        """The endpoint that gives a link, which is closed again."""
        async with self.pool.hold_link(request, is_owner=is_owner) as opened:
            return opened.endpoint

    async def refused(self, request: LinkRequest = CS01) -> DialError:
        with pytest.raises(DialError) as raised:
            await self.reached(request)
        return raised.value


@pytest.fixture
async def site(nursery: trio.Nursery) -> TwoEndpoints:
    made = TwoEndpoints()
    await nursery.start(made.pool.run)
    return made


async def started(nursery: trio.Nursery, **endpoints: tuple[int, Endpoint]) -> BackendPool:
    pool = BackendPool("csms", endpoints)
    await nursery.start(pool.run)
    return pool


async def test_pool_dials_first_endpoint_alone_while_it_answers(site: TwoEndpoints) -> None:
    assert await site.reached() == "a"
    assert site.second.dials == []


async def test_pool_uses_second_endpoint_at_once_after_failure(
    site: TwoEndpoints, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    site.first.refusal = DialError("connection refused")
    assert await site.reached() == "b"
    assert await site.reached(CS02) == "b"
    assert len(site.first.dials) == 1
    assert caplog.messages == [
        "backend unreachable backend=csms endpoint=a reason=connection refused "
        "remedy=check url, network and firewall, and the backend itself"
    ]


async def test_open_link_without_endpoint_fails_at_once_with_retry_time(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    site.first.refusal = DialError("connection refused")
    site.second.refusal = DialError("timed out")
    error = await site.refused()
    assert (str(error), error.retry_after_s) == ("connection refused; timed out", 1)
    assert trio.current_time() == 0
    error = await site.refused(CS02)
    assert str(error) == "connection refused; timed out; next try in 1 s"
    assert (error.retry_after_s, error.stage) == (1, DialStage.CONNECT)
    assert (len(site.first.dials), len(site.second.dials)) == (1, 1)


async def test_pool_wait_ready_ends_when_endpoint_may_be_dialled(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    site.first.refusal = site.second.refusal = DialError(
        "overloaded", stage=DialStage.UPGRADE, status=429, retry_after_s=120
    )
    await site.refused()
    await site.pool.wait_ready(CS01)
    assert trio.current_time() == 120
    await site.pool.wait_ready(CS01)
    assert trio.current_time() == 120


async def test_pool_stations_wait_for_trial_of_another(site: TwoEndpoints, autojump_clock: MockClock) -> None:
    site.first.refusal = site.second.refusal = DialError("connection refused")
    await site.refused()
    await trio.sleep(1)
    site.first.refusal, site.first.hold = None, trio.Event()
    site.second.hold = trio.Event()
    reached: list[str] = []

    async def reach(number: int) -> None:
        reached.append(await site.reached(LinkRequest(f"CS{number}", ("ocpp1.6",))))

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(reach, number)
        await trio.sleep(5)
        assert (len(site.first.dials), len(site.second.dials)) == (2, 2)  # each has one who tries it
        site.first.hold.set()
        await trio.lowlevel.checkpoint()
        site.second.hold.set()
    assert reached == ["a"] * 10


async def test_pool_cancelled_trial_leaves_trial_to_others(
    site: TwoEndpoints, autojump_clock: MockClock
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


@pytest.mark.parametrize("status", [401, 403, 404])
async def test_refused_station_is_reported_once_and_delays_no_other(
    site: TwoEndpoints, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    site.first.refusal = DialError("no such station", stage=DialStage.REFUSED, status=status)
    for _ in range(3):
        assert await site.reached() == "b"
        await trio.sleep(100)
    assert [(record.levelno, record.getMessage()) for record in caplog.records] == [
        (
            logging.WARNING,
            "backend rejected station backend=csms endpoint=a station=CS01 reason=no such station; "
            "check the station's id, password and OCPP version at the backend",
        )
    ]
    assert len(site.first.dials) == 3
    site.first.refusal = None
    assert await site.reached(CS02) == "a"


async def test_pool_verdict_stays_reason_while_it_holds(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    verdict = DialError("HTTP status 401", stage=DialStage.REFUSED, status=401)
    site.first.refusal = site.second.refusal = verdict
    await site.refused()
    error = await site.refused()
    assert (error.stage, error.status) == (DialStage.REFUSED, 401)
    assert str(error) == "HTTP status 401; next try in 90 s"
    site.first.refusal = None
    other = LinkRequest("CS01", ("ocpp1.6",), basic_authorization("CS01", b"the right one"))
    assert await site.reached(other) == "a"


@pytest.mark.parametrize("status", [101, 429, 500, 503])
async def test_failed_upgrade_of_one_station_leaves_others_their_endpoint(
    site: TwoEndpoints, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    failure = DialError("HTTP status", stage=DialStage.UPGRADE, status=status)
    for _ in range(20):
        site.first.refusal = failure
        assert await site.reached(CS01) == "b"
        site.first.refusal = None
        assert await site.reached(CS02) == "a"
        await trio.sleep(1)
    assert not site.pool.is_down
    assert caplog.messages == ["link failed backend=csms endpoint=a station=CS01 reason=HTTP status"]


async def lose(site: TwoEndpoints, *, clean: bool) -> None:
    async def a_link() -> None:
        async with site.pool.hold_link(CS01, is_owner=True):
            await trio.sleep(100)
            raise ConnectionLostError("no answer to a ping", is_clean=clean)

    with pytest.raises((ConnectionLostError, ExceptionGroup)):
        await a_link()


async def test_link_closed_locally_counts_against_no_endpoint(site: TwoEndpoints) -> None:
    async def a_short_link() -> None:
        async with site.pool.hold_link(CS01, is_owner=True):
            raise ConnectionLostError("we have closed it", is_clean=True, is_local=True)

    for _ in range(2):
        with pytest.raises((ConnectionLostError, ExceptionGroup)):
            await a_short_link()
    assert await site.reached() == "a"


async def test_pool_lost_link_makes_others_use_second_during_trial(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    await lose(site, clean=False)
    site.first.hold, site.first.refusal = trio.Event(), DialError("it did not answer within 10 s")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(site.reached, CS02)
        await wait_all_tasks_blocked()
        assert await site.reached() == "b"
        site.first.hold.set()
    assert await site.reached() == "b"


async def test_pool_backend_without_answers_is_dialled_at_next_endpoint(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    async with site.pool.hold_link(CS01, is_owner=True) as opened:
        site.pool.report_unanswered(opened)
    assert await site.reached() == "b"
    await site.pool.wait_ready(CS01)
    assert trio.current_time() == 0  # it need not wait, for there is another


async def test_pool_older_link_waits_while_newer_link_of_station_is_open(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    ready: list[float] = []

    async def wait_ready() -> None:
        await site.pool.wait_ready(CS01)
        ready.append(trio.current_time())

    async with trio.open_nursery() as nursery:
        newer = await site.pool.open_link(CS01, is_owner=True)
        nursery.start_soon(wait_ready)
        await trio.sleep(30)
        assert ready == []
        site.pool.release(newer)
    assert ready == [30]


async def test_pool_turned_away_station_makes_only_endpoint_probed(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    only = ScriptedEndpoint()
    pool = BackendPool("csms", {"a": (1, only)}, Longest())
    await nursery.start(pool.run)
    only.refusal = DialError("connection refused")
    with pytest.raises(DialError):
        await pool.open_link(CS01, is_owner=True)
    assert pool.is_down
    assert pool.turn_away(CS01) == 1
    await trio.sleep(20)
    assert only.probes == 4  # after 1, 2, 4 and 8 s
    only.refusal = None
    await trio.sleep(20)
    assert not pool.is_down
    assert len(only.dials) == 1
    nursery.cancel_scope.cancel()


async def test_pool_station_turned_away_during_trial_gets_time_of_probe(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    only = ScriptedEndpoint()
    only.refusal = DialError("connection refused")
    pool = BackendPool("csms", {"a": (1, only)}, Longest())
    await nursery.start(pool.run)
    with pytest.raises(DialError):
        await pool.open_link(CS01, is_owner=True)
    await trio.sleep(1)
    only.refusal, only.hold = None, trio.Event()
    nursery.start_soon(partial(pool.open_link, CS01, is_owner=True))
    await trio.sleep(0.5)
    assert pool.is_down
    assert pool.turn_away(CS02) == PROBE_INTERVAL_S
    nursery.cancel_scope.cancel()


async def test_pool_reports_short_wait_in_tenths_of_a_second(
    nursery: trio.Nursery, autojump_clock: MockClock
) -> None:
    only = ScriptedEndpoint()
    only.refusal = DialError("connection refused")
    pool = BackendPool("csms", {"a": (1, only)}, Longest())
    await nursery.start(pool.run)
    for waited_s, shown in [(0.0, None), (0.75, "0.3 s"), (0.25, None), (0.5, "1.5 s")]:
        await trio.sleep(waited_s)
        with pytest.raises(DialError) as raised:
            await pool.open_link(CS01, is_owner=True)
        wait = "" if shown is None else f"; next try in {shown}"
        assert str(raised.value) == f"connection refused{wait}"
    nursery.cancel_scope.cancel()


async def test_pool_cleanly_closed_link_is_opened_at_same_endpoint(
    site: TwoEndpoints, autojump_clock: MockClock
) -> None:
    await lose(site, clean=True)
    assert await site.reached() == "a"


async def test_links_move_to_better_endpoint_that_is_back(
    site: TwoEndpoints, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "controller.transport")
    site.first.refusal = DialError("connection refused")
    opened = await site.pool.open_link(CS01, is_owner=True)
    assert opened.endpoint == "b"
    await trio.sleep(300)
    assert 5 < site.first.probes < 30  # 1, 2, 4 ... 60 s
    site.first.refusal, back_at = None, trio.current_time()
    assert await site.reached(CS02) == "b"
    await site.pool.wait_better_endpoint(opened)
    assert FAILBACK_S <= trio.current_time() - back_at <= 2 * FAILBACK_S + 10
    site.pool.release(opened)
    assert await site.reached() == "a"
    assert caplog.messages[1:] == ["backend reachable again backend=csms endpoint=a"]
    assert site.second.probes == 0


# -- over sockets --------------------------------------------------------------------------------------


@pytest.fixture
async def backends(nursery: trio.Nursery) -> AsyncIterator[tuple[CsmsServer, CsmsServer]]:
    made = CsmsServer(), CsmsServer()
    for backend in made:
        await nursery.start(backend.run)
    yield made
    nursery.cancel_scope.cancel()


def way(backend: CsmsServer, password: bytes | None = None) -> Endpoint:
    url = f"ws://127.0.0.1:{backend.port}/csms/{{station}}"
    return Endpoint(url, None, password, 1 << 20, 2.0, TokenBucket(0))


async def test_failed_upgrade_leads_to_second_backend(
    backends: tuple[CsmsServer, CsmsServer], nursery: trio.Nursery
) -> None:
    first, second = backends
    first.refuse_status, first.refuse_headers = 503, [(b"Retry-After", b"30")]
    pool = await started(nursery, a=(0, way(first)), b=(1, way(second)))
    for _ in range(2):
        async with pool.hold_link(CS01, is_owner=True) as opened:
            assert opened.endpoint == "b"
            opened.channel.send_nowait("hello")
            assert await (await second.accept()).get_message() == "hello"
    assert len(first.requests) == 1
    second.refuse_status = 503
    with pytest.raises(DialError, match=r"^it refused the link with HTTP status 503$"):
        await pool.open_link(CS01, is_owner=True)


async def test_probe_of_backend_opens_no_station_link(
    backends: tuple[CsmsServer, CsmsServer],
) -> None:
    await way(backends[0]).probe()
    assert backends[0].requests == []


async def test_probe_of_closed_port_fails() -> None:
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
        (True, b"of the backend", basic_authorization("CS01", b"of the backend")),
        (False, None, None),
        (False, b"of the backend", basic_authorization("CS01", b"of the backend")),
    ],
)
async def test_pool_authorization_of_station_goes_to_owner_alone(
    backends: tuple[CsmsServer, CsmsServer],
    nursery: trio.Nursery,
    owner: bool,
    password: bytes | None,
    presented: bytes | None,
) -> None:
    first, second = backends
    pool = await started(nursery, a=(0, way(first, password)), b=(1, way(second, password)))
    async with pool.hold_link(CS01, is_owner=owner):
        pass
    first.refuse_status = 500
    async with pool.hold_link(CS01, is_owner=owner):
        pass
    for backend in backends:
        assert {dict(request.headers).get(b"authorization") for request in backend.requests} == {presented}
    assert (len(first.requests), len(second.requests)) == (2, 1)


async def test_dial_with_unchanged_result_resumes_no_task(
    site: TwoEndpoints, nursery: trio.Nursery, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else each station of a storm would wake all that are connected already."""
    looks: list[str] = []
    better_at = EndpointSelector.better_at

    def counted(selector: EndpointSelector, claim: str, endpoint: str) -> float:
        looks.append(claim)
        return better_at(selector, claim, endpoint)

    monkeypatch.setattr(EndpointSelector, "better_at", counted)
    opened = await site.pool.open_link(CS01, is_owner=True)
    nursery.start_soon(site.pool.wait_better_endpoint, opened)
    await wait_all_tasks_blocked()
    before = len(looks)
    for _ in range(3):
        await site.pool.open_link(CS02, is_owner=True)
    await wait_all_tasks_blocked()
    assert len(looks) == before
    site.first.refusal = DialError("connection refused")
    await site.reached(CS02)
    await wait_all_tasks_blocked()
    assert len(looks) > before
    nursery.cancel_scope.cancel()
