"""Absences of the owner, with restarts of the daemon in between: messages at both sides."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from controller.relay.events import Action
from controller.relay.station_relay import StationRelay
from controller.services import app
from tests.bounds import HANG_S
from tests.controller.services.test_app import running
from tests.scenario.daemon_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    SocketStation,
    answer_call,
    configure,
    connect_station,
    meter_values,
    serve_csms_by_name,
    start_result,
    stop_transaction,
)
from tests.scenario.link_harness import CsmsServer, receive_text

AUTONOMOUS = """
owner = "cpo"
when_backend_away = "autonomous"
authorise_when_away = "everyone"
"""


async def goes_away(backend: CsmsServer, link: Any) -> None:
    backend.refuse_status = 503
    await link.aclose(1011, "maintenance")


async def a_transaction(station: SocketStation) -> int:
    """Served by the controller; the station's number."""
    own: int = (await station.request("StartTransaction", START))["transactionId"]
    assert await station.request("MeterValues", meter_values(own)) == {}
    assert await station.request("StopTransaction", stop_transaction(own)) == {}
    return own


async def expect_statuses(link: Any, *statuses: dict[str, Any], boot: bool = True) -> None:
    """The owner gets a boot that it has not accepted yet, the states, then the transaction."""
    if boot:
        await answer_call(link, "BootNotification", BOOT, ACCEPTED)
    for status in statuses:
        await answer_call(link, "StatusNotification", status, {})
    await answer_call(link, "StartTransaction", START, start_result(70))
    await answer_call(link, "MeterValues", meter_values(70), {})
    await answer_call(link, "StopTransaction", stop_transaction(70), {})


async def test_app_away_transaction_is_delivered_when_owner_returns(tmp_path: Path) -> None:
    async with (
        serve_csms_by_name("cpo") as made,
        running(configure(tmp_path, made, {}, AUTONOMOUS)) as controller,
        connect_station(controller) as station,
    ):
        link = await made["cpo"].accept()
        await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
        await station.forward_call(link, "StatusNotification", STATUS, {})
        await goes_away(made["cpo"], link)
        own = await a_transaction(station)
        assert own != 70
        made["cpo"].refuse_status = None
        back = await made["cpo"].accept()
        await expect_statuses(back, STATUS, boot=False)
        await station.forward_call(back, "Heartbeat", {}, {"currentTime": "2026-03-29T12:00:00Z"})


async def test_app_away_restart_loses_nothing_without_station(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        config = configure(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connect_station(controller) as station:
            link = await made["cpo"].accept()
            await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        async with running(config) as controller:
            async with connect_station(controller) as station:  # the owner is still away
                assert (await station.request("BootNotification", BOOT))["status"] == "Accepted"
            made["cpo"].refuse_status = None
            await expect_statuses(await made["cpo"].accept())


async def test_message_delivered_before_stop_is_resent_under_same_id(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        config = configure(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connect_station(controller) as station:
            link = await made["cpo"].accept()
            await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
            await station.send_call("StartTransaction", START)
            live = json.loads(await receive_text(link))
        async with running(config) as controller:
            link = await made["cpo"].accept()  # the station is not there yet
            assert json.loads(await receive_text(link)) == live  # the boot has been accepted before
            await link.send_message(json.dumps([3, live[1], start_result(70)]))
            with pytest.raises(ConnectionClosed):
                await receive_text(link)  # all is delivered
            async with connect_station(controller) as station:
                assert await station.request("StartTransaction", START) == start_result(70)
                link = await made["cpo"].accept()
                await station.forward_call(link, "StopTransaction", stop_transaction(70), {})


async def test_stop_waits_for_answers_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        config, stopping = configure(tmp_path, made, {}, AUTONOMOUS), trio.Event()
        async with trio.open_nursery() as nursery:
            run = partial(app.run, config, stopping=stopping)
            controller = await nursery.start(run)
            async with connect_station(controller) as station:
                link = await made["cpo"].accept()
                await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
                asked = await station.send_call("StartTransaction", START)
                live = json.loads(await receive_text(link))
                stopping.set()
                await trio.testing.wait_all_tasks_blocked()
                await link.send_message(json.dumps([3, live[1], start_result(70)]))
                assert await station.receive_result(asked) == start_result(70)
                with pytest.raises(ConnectionClosed) as closed, trio.fail_after(HANG_S):
                    await station.receive_result("never")
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1001
        async with running(config) as controller, connect_station(controller) as station:
            link = await made["cpo"].accept()
            await station.forward_call(
                link, "StopTransaction", stop_transaction(70), {}
            )  # and nothing before it


async def test_app_away_station_that_connects_waits_for_answer_to_delivery(tmp_path: Path) -> None:
    async with serve_csms_by_name("cpo") as made:
        config = configure(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connect_station(controller) as station:
            link = await made["cpo"].accept()
            await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        made["cpo"].refuse_status = None
        async with running(config) as controller:
            link = await made["cpo"].accept()
            delivered = json.loads(await receive_text(link))
            assert delivered[2] == "StartTransaction"
            async with connect_station(controller):
                await trio.testing.wait_all_tasks_blocked()
                await link.send_message(json.dumps([3, delivered[1], start_result(70)]))
                back = await made["cpo"].accept()
                await answer_call(back, "MeterValues", meter_values(70), {})
                await answer_call(back, "StopTransaction", stop_transaction(70), {})


async def test_app_away_error_in_delivery_leaves_other_stations_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve_csms_by_name("cpo") as made:
        config = configure(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connect_station(controller) as station:
            link = await made["cpo"].accept()
            await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        made["cpo"].refuse_status = None
        read, failed = StationRelay.on_backend_text, trio.Event()

        def fail_once(relay: StationRelay, text: str, now: float, utc: float) -> list[Action] | None:
            if not failed.is_set():
                failed.set()
                raise OverflowError("of one station's message")
            return read(relay, text, now, utc)

        monkeypatch.setattr(StationRelay, "on_backend_text", fail_once)
        async with running(config) as controller:
            link = await made["cpo"].accept()
            asked = json.loads(await receive_text(link))
            await link.send_message(json.dumps([3, asked[1], start_result(70)]))
            with trio.fail_after(HANG_S):
                await failed.wait()
            with pytest.raises(ConnectionClosed):
                await receive_text(link)
            async with connect_station(controller) as station:
                back = await made["cpo"].accept()
                await expect_statuses(back, boot=False)
        assert "delivery ended by an internal error station=CS01" in caplog.text


async def test_app_away_within_grace_same_call_goes_again(tmp_path: Path) -> None:
    config_lines = 'owner = "cpo"\nwhen_backend_away = "grace"\ngrace_s = 20'
    async with (
        serve_csms_by_name("cpo") as made,
        running(configure(tmp_path, made, {}, config_lines)) as controller,
        connect_station(controller) as station,
    ):
        link = await made["cpo"].accept()
        asked = await station.send_call("StartTransaction", START)
        await receive_text(link)
        await link.aclose(1011, "restarting")
        back = await made["cpo"].accept()
        frame = json.loads(await receive_text(back))
        assert frame == [2, asked, "StartTransaction", START]
        await back.send_message(json.dumps([3, asked, start_result(70)]))
        assert await station.receive_result(asked) == start_result(70)


@pytest.mark.parametrize("mode", ["grace", "strict"])
async def test_app_away_station_that_is_closed_has_safe_limit(tmp_path: Path, mode: str) -> None:
    config_lines = f'owner = "cpo"\nwhen_backend_away = "{mode}"\ngrace_s = 0.3'
    async with (
        serve_csms_by_name("cpo") as made,
        running(configure(tmp_path, made, {}, config_lines)) as controller,
        connect_station(controller) as station,
    ):
        link = await made["cpo"].accept()
        await station.forward_call(link, "BootNotification", BOOT, ACCEPTED)
        await station.accept_until("SetChargingProfile")
        await goes_away(made["cpo"], link)
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(HANG_S):
            await station.receive_result("never")
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1013
