"""The daemon as the CSMS of a site without backend: sessions, restarts, and a backend that is added."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio
from trio_websocket import open_websocket_url

from controller.config import Config
from controller.local_csms.csms_records import LocalTransactionStored
from controller.services import app
from controller.services.app import App
from controller.session_ledger.charging_session import month_of
from controller.store.session_store import open_session_file
from controller.store.state_journal import StoreError
from controller.store.state_store import StateStore
from tests.scenario.configuration import read_valid_config
from tests.scenario.daemon_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    SocketStation,
    answer_call,
    connect_station,
)
from tests.scenario.link_harness import CsmsServer

CARDS = """
[[priority_class]]
id = "vip"
priority = 1
[[card]]
token = "A"
label = "Anna"
priority_class = "vip"
"""


def home(folder: Path, station: str = "", more: str = CARDS) -> Config:
    return read_valid_config(
        f"""
        [site]
        id = "home"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        [load_management]
        tick_s = 0.1
        [[circuit]]
        id = "house"
        limit_a = 40
        {more}
        [[station]]
        id = "CS01"
        circuit = "house"
        {station}
        """,
        "test.toml",
    )


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[App]:
    async with trio.open_nursery() as nursery:
        controller = await nursery.start(app.run, config)
        yield controller
        nursery.cancel_scope.cancel()


async def begin(station: SocketStation) -> int:
    """Boot and start a transaction; return its number."""
    assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"
    await station.request("StatusNotification", STATUS)
    answer = await station.request("StartTransaction", START)
    assert answer["idTagInfo"]["status"] == "Accepted"
    number: int = answer["transactionId"]
    return number


def stopped(number: int) -> dict[str, Any]:
    return {"transactionId": number, "meterStop": 900, "timestamp": "2026-03-29T13:00:00Z"}


async def test_app_local_csms_transaction_over_restart_is_one_session(tmp_path: Path) -> None:
    config = home(tmp_path)
    async with running(config) as controller, connect_station(controller) as station:
        number = await begin(station)
        (found,) = controller.sessions.running()
        assert (found.card.label, found.card.priority_class) == ("Anna", "vip")
    async with running(config) as controller, connect_station(controller) as station:
        assert [each.transaction for each in controller.sessions.running()] == [str(number)]
        # The station repeats a message whose answer it did not get.
        assert (await station.request("StartTransaction", START))["transactionId"] == number
        assert len(controller.sessions.running()) == 1
        await station.request("StopTransaction", stopped(number))
        await station.request("StopTransaction", stopped(number))
        assert controller.sessions.running() == []
    [session] = open_session_file(tmp_path).ended("1970-01", month_of(2e9))
    assert (session.energy_wh, session.end_reason, session.card.label) == (900, "Local", "Anna")
    assert open_session_file(tmp_path).running() == []


async def test_app_local_csms_unknown_card_is_refused_and_transaction_stopped(tmp_path: Path) -> None:
    async with running(home(tmp_path)) as controller, connect_station(controller) as station:
        await station.request("BootNotification", BOOT)
        answer = await station.request("StartTransaction", START | {"idTag": "B"})
        assert answer["idTagInfo"] == {"status": "Invalid"}
        await station.accept_until("RemoteStopTransaction")


async def test_station_without_backend_gets_limits(tmp_path: Path) -> None:
    async with running(home(tmp_path)) as controller, connect_station(controller) as station:
        await begin(station)
        await station.accept_until("SetChargingProfile")


async def test_app_local_csms_does_not_answer_while_store_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = home(tmp_path)
    async with running(config) as controller:
        async with connect_station(controller) as station:
            assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"

            async def fail(self: StateStore, records: object) -> None:
                raise StoreError("disk full")

            with monkeypatch.context() as patched:
                patched.setattr(StateStore, "persist", fail)
                await station.send_call("StartTransaction", START)
                with pytest.raises(Exception, match="1013"):
                    await station.accept_until("never")
        async with connect_station(controller) as station:
            number = await begin(station)
            assert [each.transaction for each in controller.sessions.running()] == [str(number)]


async def test_app_local_csms_backend_added_later_gets_running_transaction(tmp_path: Path) -> None:
    async with running(home(tmp_path)) as controller, connect_station(controller) as station:
        number = await begin(station)
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        await nursery.start(backend.run)
        table = f'[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:{backend.port}/{{station}}"\n'
        config = home(tmp_path, 'owner = "cpo"\nwhen_backend_away = "autonomous"', CARDS + table)
        async with running(config) as controller:
            link = await backend.accept()
            frame = json.loads(await link.get_message())
            while frame[2] != "StartTransaction":
                await link.send_message(json.dumps([3, frame[1], ACCEPTED if "Boot" in frame[2] else {}]))
                frame = json.loads(await link.get_message())
            assert frame[3] == START
            given = {"transactionId": 5, "idTagInfo": {"status": "Accepted"}}
            await link.send_message(json.dumps([3, frame[1], given]))
            async with connect_station(controller) as station:
                link = await backend.accept()
                message_id = await station.send_call("StopTransaction", stopped(number))
                await answer_call(link, "StopTransaction", stopped(5), {})
                assert await station.receive_result(message_id) == {}
        nursery.cancel_scope.cancel()
    store = StateStore(tmp_path)
    assert store.load(LocalTransactionStored) == []
    store.close()
    [session] = open_session_file(tmp_path).ended("1970-01", month_of(2e9))
    assert session.transaction == str(number)


async def test_app_local_csms_strict_backend_added_later_gets_end_alone(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(home(tmp_path)) as controller, connect_station(controller) as station:
        number = await begin(station)
    table = '[[backend]]\nid = "cpo"\nurl = "ws://127.0.0.1:1/{station}"\n'
    async with running(home(tmp_path, 'owner = "cpo"', CARDS + table)):
        pass
    assert f"running transaction not handed over station=CS01 transaction={number}" in caplog.text
    store = StateStore(tmp_path)
    assert store.load(LocalTransactionStored) == []
    store.close()


async def test_app_local_csms_station_of_2x_charges_without_backend(tmp_path: Path) -> None:
    async with (
        running(home(tmp_path, more='[local_csms]\nauthorization = "free"\n')) as controller,
        open_websocket_url(
            f"ws://127.0.0.1:{controller.port}/ocpp/CS01", subprotocols=["ocpp2.0.1"], disconnect_timeout=2
        ) as socket,
    ):
        station = SocketStation(socket)
        boot = {"reason": "PowerUp", "chargingStation": {"vendorName": "V", "model": "M"}}
        assert (await station.request("BootNotification", boot))["status"] == "Accepted"
        event = {
            "eventType": "Started",
            "timestamp": "2026-03-29T12:00:00Z",
            "triggerReason": "Authorized",
            "seqNo": 0,
            "transactionInfo": {"transactionId": "T1"},
            "evse": {"id": 1},
            "idToken": {"idToken": "0011223344", "type": "ISO14443"},
        }
        assert await station.request("TransactionEvent", event) == {"idTokenInfo": {"status": "Accepted"}}
        assert [each.transaction for each in controller.sessions.running()] == ["T1"]
        assert await station.request("TransactionEvent", event | {"eventType": "Ended", "seqNo": 1}) == {
            "idTokenInfo": {"status": "Accepted"}
        }
        assert controller.sessions.running() == []


def test_app_local_csms_no_token_reaches_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def charge() -> None:
        cards = '[[card]]\ntoken = "SECRETTOKEN"\nlabel = "Anna"\n'
        async with running(home(tmp_path, more=cards)) as controller, connect_station(controller) as station:
            await station.request("BootNotification", BOOT)
            await station.request("StartTransaction", START | {"idTag": "SECRETTOKEN"})
            await station.request("StartTransaction", START | {"idTag": "OTHERSECRET", "connectorId": 2})

    caplog.set_level("DEBUG", "controller")
    trio.run(charge)
    assert "SECRET" not in "".join(r.getMessage() for r in caplog.records if r.name.startswith("controller"))
