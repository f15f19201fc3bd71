"""A station is confirmed by its owner before its upgrade is answered; over sockets."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio
from trio_websocket import ConnectionClosed, ConnectionRejected, WebSocketConnection, WebSocketRequest

from controller.backends import failover
from controller.model.rate_limits import Backoff
from controller.ocpp.frames import Version
from controller.stations import registry
from controller.stations.admission import HandshakeQuirks
from controller.transport.http_upgrade import basic_authorization
from tests.bounds import HANG_S
from tests.scenario.link_harness import CsmsServer, LinkHarness, link_harness, receive_text

RIGHT = [(b"Authorization", basic_authorization("CS01", b"right"))]
WRONG = [(b"Authorization", basic_authorization("CS01", b"wrong"))]
HEARTBEAT = '[2,"1","Heartbeat",{}]'


class CheckingBackend(CsmsServer):
    """A backend that accepts one password, and only some versions."""

    versions: tuple[str, ...] = tuple(Version)
    authorization = RIGHT[0][1]

    async def _serve(self, request: WebSocketRequest) -> None:
        self.requests.append(request)
        if dict(request.headers).get(b"authorization") not in (None, self.authorization):
            await request.reject(401)
            return
        common = [each for each in request.proposed_subprotocols if each in self.versions]
        socket = await request.accept(subprotocol=common[0] if common else None)
        await self._arrive.send(socket)
        await trio.sleep_forever()


@asynccontextmanager
async def site(
    *, is_strict: bool = False, **secrets: None
) -> AsyncIterator[tuple[LinkHarness, CheckingBackend]]:
    """A rig whose backend checks passwords."""
    async with trio.open_nursery() as nursery:
        backend = CheckingBackend()
        await nursery.start(backend.run)
        made = LinkHarness(nursery, backend, **secrets)
        made.is_strict = is_strict
        await made.start()
        yield made, backend
        nursery.cancel_scope.cancel()


async def rejected(
    made: LinkHarness, headers: list[tuple[bytes, bytes]] | None, *offered: str
) -> ConnectionRejected:
    with pytest.raises(ConnectionRejected) as refused:
        async with made.connect_station("CS01", *offered, headers=headers):
            raise AssertionError("the station was accepted")
    return refused.value


async def assert_served(station: WebSocketConnection, backend: CsmsServer) -> None:
    link = await backend.accept()
    await station.send_message(HEARTBEAT)
    assert await receive_text(link) == HEARTBEAT


@pytest.fixture(autouse=True)
def _quick_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failover, "BACKOFF", Backoff(first_s=0.05, longest_s=0.05))


# -- a refusal is not an absence -------------------------------------------------------------------------


@pytest.mark.parametrize("is_strict", [True, False])
async def test_station_with_password_that_owner_rejects_gets_401(*, is_strict: bool) -> None:
    async with site(is_strict=is_strict) as (made, backend):
        for _ in range(3):
            refused = await rejected(made, WRONG)
            assert refused.status_code == 401
            assert (b"www-authenticate", b'Basic realm="ocpp"') in refused.headers
        assert len(backend.requests) == 1
        assert made.journal.records == []
        assert made.site.events == []
        async with made.connect_station(headers=RIGHT) as station:
            await assert_served(station, backend)


async def test_station_without_stored_password_gets_503_while_owner_away() -> None:
    async with site() as (made, backend):
        backend.port = 1
        refused = await rejected(made, RIGHT)
        assert refused.status_code == 503
        assert (b"retry-after", b"60") in refused.headers
        assert b"set password_file" in refused.body
        assert made.hashes.lines == {}


async def test_password_that_owner_accepted_is_served_while_owner_away() -> None:
    async with site() as (made, backend):
        async with made.connect_station(headers=RIGHT) as station:
            await assert_served(station, backend)
        (line,) = made.hashes.lines.values()
        assert line.startswith("$scrypt$")
        assert "right" not in line
        backend.port = 1
        async with made.connect_station(headers=RIGHT):
            pass
        for headers in (WRONG, None):
            refused = await rejected(made, headers)
            assert refused.status_code == 503
            assert b"differs from what backend cpo accepted last" in refused.body
        assert made.hashes.lines == {"CS01": line}


async def test_password_that_owner_accepts_anew_replaces_stored_one() -> None:
    async with site() as (made, backend):
        async with made.connect_station(headers=RIGHT) as station:
            await assert_served(station, backend)
        before = dict(made.hashes.lines)
        async with made.connect_station(headers=RIGHT) as station:
            await assert_served(station, backend)
        assert made.hashes.lines == before
        changed = [(b"Authorization", basic_authorization("CS01", b"changed"))]
        backend.authorization = changed[0][1]
        async with made.connect_station(headers=changed) as station:
            await assert_served(station, backend)
        assert made.hashes.lines != before


# -- displacing ------------------------------------------------------------------------------------------


async def test_newcomer_rejected_by_owner_replaces_no_connection() -> None:
    async with site() as (made, backend), made.connect_station(headers=RIGHT) as genuine:
        link = await backend.accept()
        for _ in range(3):
            assert (await rejected(made, WRONG)).status_code == 401
        await genuine.send_message(HEARTBEAT)
        assert await receive_text(link) == HEARTBEAT


async def test_newcomer_without_proof_is_rejected_while_owner_away() -> None:
    async with site() as (made, backend), made.connect_station(headers=RIGHT) as genuine:
        link = await backend.accept()
        backend.port = 1
        assert (await rejected(made, WRONG)).status_code == 503
        await genuine.send_message(HEARTBEAT)
        assert await receive_text(link) == HEARTBEAT


async def test_newcomer_that_owner_accepts_replaces_older_connection() -> None:
    async with site() as (made, backend), made.connect_station(headers=RIGHT) as older:
        await backend.accept()
        async with made.connect_station(headers=RIGHT) as newer:
            with pytest.raises(ConnectionClosed) as closed:
                await receive_text(older)
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1008
            assert "newer connection" in str(closed.value.reason.reason)
            await assert_served(newer, backend)


async def test_two_peers_with_one_id_are_slowed_down_and_named(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "TAKEOVERS_PER_S", 1.0)
    async with link_harness() as made:
        began = trio.current_time()
        for _ in range(5):
            async with made.connect_station():
                await made.csms.accept()
                async with made.connect_station():
                    await made.csms.accept()
        took_s = trio.current_time() - began
    assert took_s >= 5 - registry.TAKEOVERS_AT_ONCE
    warnings = [line for line in caplog.messages if "replace each other" in line]
    assert len(warnings) == 1
    assert re.search(r"station=CS01 peers=127\.0\.0\.1:\d+,127\.0\.0\.1:\d+;", warnings[0])


async def test_newcomer_that_would_wait_too_long_gets_503(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "TAKEOVERS_PER_S", 0.01)
    monkeypatch.setattr(registry, "TAKEOVERS_AT_ONCE", 1)
    async with link_harness() as made, made.connect_station() as first:
        await made.csms.accept()
        async with made.connect_station() as second:
            with pytest.raises(ConnectionClosed):
                await receive_text(first)
            link = await made.csms.accept()
            assert (await rejected(made, None)).status_code == 503
            await second.send_message(HEARTBEAT)
            assert await receive_text(link) == HEARTBEAT


# -- versions --------------------------------------------------------------------------------------------


async def test_owner_chooses_version_of_station(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "controller.transport")
    async with site() as (made, backend):
        backend.versions = ("ocpp1.6",)
        async with made.connect_station("CS01", "ocpp2.0.1", "OCPP1.6") as station:
            assert station.subprotocol == "OCPP1.6"
            link = await backend.accept()
            assert link.subprotocol == "ocpp1.6"
        assert list(backend.requests[0].proposed_subprotocols) == ["ocpp2.0.1", "ocpp1.6"]
    assert "version=ocpp1.6 of=ocpp2.0.1,ocpp1.6 chosen_by=its backend" in caplog.text


async def test_best_version_of_model_is_offered_alone_first() -> None:
    async with site() as (made, backend):
        made.quirks["CS01"] = HandshakeQuirks(likely=Version.V16)
        async with made.connect_station("CS01", "ocpp2.0.1", "ocpp1.6") as station:
            assert station.subprotocol == "ocpp1.6"
            await backend.accept()
        backend.versions = ("ocpp2.0.1",)
        async with made.connect_station("CS01", "ocpp2.0.1", "ocpp1.6") as station:
            assert station.subprotocol == "ocpp2.0.1"


async def test_station_without_version_of_owner_gets_400() -> None:
    async with site() as (made, backend):
        backend.versions = ("ocpp2.1",)
        refused = await rejected(made, RIGHT, "ocpp1.6")
        assert refused.status_code == 400
        assert b"it does not support ocpp1.6" in refused.body


# -- strict, while the owner is away ---------------------------------------------------------------------


async def test_strict_station_gets_503_while_owner_away_and_returns_with_it(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "controller.transport")
    async with site(is_strict=True) as (made, backend):
        async with made.connect_station() as station:
            await assert_served(station, backend)
            await made.site.wait_for("up")
        port, backend.port = backend.port, 1
        with pytest.raises(ConnectionClosed):
            async with made.connect_station() as station:  # that the owner is away is found out with this one
                await receive_text(station)
        for _ in range(3):
            refused = await rejected(made, None)
            assert refused.status_code == 503
            assert refused.body == b"backend cpo is away\n"
            assert int(dict(refused.headers)[b"retry-after"]) >= 1
        assert len([line for line in caplog.messages if "backend unreachable" in line]) == 1
        rejections = [each for each in caplog.records if "upgrade rejected" in each.getMessage()]
        assert [each.levelno for each in rejections] == [logging.INFO]  # the repeats are counted
        backend.port = port
        with trio.fail_after(HANG_S):
            while made.pool.is_down:
                await made.pool._timer.wait_updated()
        async with made.connect_station() as station:
            await assert_served(station, backend)
