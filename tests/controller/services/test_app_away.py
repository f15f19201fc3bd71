"""The owner goes and comes back, and in between the daemon may start anew: what each side hears of it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed

from controller.model.effects import FromBackend
from controller.relay.events import Action, Event
from controller.relay.station_relay import StationRelay
from controller.services import app
from tests.controller.services.simple_peers import (
    ACCEPTED,
    BOOT,
    START,
    STATUS,
    Station,
    a_site,
    backends,
    connected,
    hears,
    meter,
    started,
    stop,
)
from tests.controller.services.test_app import running
from tests.controller.transport.rig import Backend, heard

AUTONOMOUS = """
owner = "cpo"
when_backend_away = "autonomous"
authorise_when_away = "everyone"
"""


async def goes_away(backend: Backend, link: Any) -> None:
    backend.refuse_with = 503
    await link.aclose(1011, "maintenance")


async def a_transaction(station: Station) -> int:
    """Served by the controller; the station's number."""
    own: int = (await station.asks("StartTransaction", START))["transactionId"]
    assert await station.asks("MeterValues", meter(own)) == {}
    assert await station.asks("StopTransaction", stop(own)) == {}
    return own


async def hears_of_it(link: Any, *statuses: dict[str, Any], boot: bool = True) -> None:
    """The owner gets a boot that it has not accepted yet, the states, then the transaction."""
    if boot:
        await hears(link, "BootNotification", BOOT, ACCEPTED)
    for status in statuses:
        await hears(link, "StatusNotification", status, {})
    await hears(link, "StartTransaction", START, started(70))
    await hears(link, "MeterValues", meter(70), {})
    await hears(link, "StopTransaction", stop(70), {})


async def test_station_charges_while_owner_is_away_who_receives_it_afterwards(tmp_path: Path) -> None:
    async with (
        backends("cpo") as made,
        running(a_site(tmp_path, made, {}, AUTONOMOUS)) as controller,
        connected(controller) as station,
    ):
        link = await made["cpo"].link()
        await station.told(link, "BootNotification", BOOT, ACCEPTED)
        await station.told(link, "StatusNotification", STATUS, {})
        await goes_away(made["cpo"], link)
        own = await a_transaction(station)
        assert own != 70
        made["cpo"].refuse_with = None
        back = await made["cpo"].link()
        await hears_of_it(back, STATUS, boot=False)
        await station.told(back, "Heartbeat", {}, {"currentTime": "2026-03-29T12:00:00Z"})


async def test_app_away_restart_loses_nothing_without_station(tmp_path: Path) -> None:
    async with backends("cpo") as made:
        config = a_site(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connected(controller) as station:
            link = await made["cpo"].link()
            await station.told(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        async with running(config) as controller:
            async with connected(controller) as station:  # the owner is still away
                assert (await station.asks("BootNotification", BOOT))["status"] == "Accepted"
            made["cpo"].refuse_with = None
            await hears_of_it(await made["cpo"].link())


async def test_message_delivered_before_stop_is_resent_under_same_id(tmp_path: Path) -> None:
    async with backends("cpo") as made:
        config = a_site(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connected(controller) as station:
            link = await made["cpo"].link()
            await station.told(link, "BootNotification", BOOT, ACCEPTED)
            await station.says("StartTransaction", START)
            live = json.loads(await heard(link))
        async with running(config) as controller:
            link = await made["cpo"].link()  # the station is not there yet
            assert json.loads(await heard(link)) == live  # the boot has been accepted before
            await link.send_message(json.dumps([3, live[1], started(70)]))
            with pytest.raises(ConnectionClosed):
                await heard(link)  # all is delivered
            async with connected(controller) as station:
                assert await station.asks("StartTransaction", START) == started(70)
                link = await made["cpo"].link()
                await station.told(link, "StopTransaction", stop(70), {})


async def test_stop_waits_for_answers_and_nothing_is_sent_twice(tmp_path: Path) -> None:
    async with backends("cpo") as made:
        config, stopping = a_site(tmp_path, made, {}, AUTONOMOUS), trio.Event()
        async with trio.open_nursery() as nursery:
            run = partial(app.run, config, stopping=stopping)
            controller = await nursery.start(run)
            async with connected(controller) as station:
                link = await made["cpo"].link()
                await station.told(link, "BootNotification", BOOT, ACCEPTED)
                asked = await station.says("StartTransaction", START)
                live = json.loads(await heard(link))
                stopping.set()
                await trio.testing.wait_all_tasks_blocked()
                await link.send_message(json.dumps([3, live[1], started(70)]))
                assert await station.hears(asked) == started(70)
                with pytest.raises(ConnectionClosed) as closed, trio.fail_after(10):
                    await station.hears("never")
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1001
        async with running(config) as controller, connected(controller) as station:
            link = await made["cpo"].link()
            await station.told(link, "StopTransaction", stop(70), {})  # and nothing before it


async def test_app_away_station_that_connects_waits_for_answer_to_delivery(tmp_path: Path) -> None:
    async with backends("cpo") as made:
        config = a_site(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connected(controller) as station:
            link = await made["cpo"].link()
            await station.told(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        made["cpo"].refuse_with = None
        async with running(config) as controller:
            link = await made["cpo"].link()
            delivered = json.loads(await heard(link))
            assert delivered[2] == "StartTransaction"
            async with connected(controller):
                await trio.testing.wait_all_tasks_blocked()
                await link.send_message(json.dumps([3, delivered[1], started(70)]))
                back = await made["cpo"].link()
                await hears(back, "MeterValues", meter(70), {})
                await hears(back, "StopTransaction", stop(70), {})


async def test_app_away_error_in_delivery_leaves_other_stations_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with backends("cpo") as made:
        config = a_site(tmp_path, made, {}, AUTONOMOUS)
        async with running(config) as controller, connected(controller) as station:
            link = await made["cpo"].link()
            await station.told(link, "BootNotification", BOOT, ACCEPTED)
            await goes_away(made["cpo"], link)
            await a_transaction(station)
        made["cpo"].refuse_with = None
        handle, failed = StationRelay.handle, trio.Event()

        def fail_once(relay: StationRelay, event: Event, now: float, utc: float) -> list[Action]:
            if isinstance(event, FromBackend) and not failed.is_set():
                failed.set()
                raise OverflowError("of one station's message")
            return handle(relay, event, now, utc)

        monkeypatch.setattr(StationRelay, "handle", fail_once)
        async with running(config) as controller:
            link = await made["cpo"].link()
            asked = json.loads(await heard(link))
            await link.send_message(json.dumps([3, asked[1], started(70)]))
            with trio.fail_after(10):
                await failed.wait()
            with pytest.raises(ConnectionClosed):
                await heard(link)
            async with connected(controller) as station:
                back = await made["cpo"].link()
                await hears_of_it(back, boot=False)
        assert "delivery ended by an internal error station=CS01" in caplog.text


async def test_app_away_within_grace_same_call_goes_again(tmp_path: Path) -> None:
    config_lines = 'owner = "cpo"\nwhen_backend_away = "grace"\ngrace_s = 20'
    async with (
        backends("cpo") as made,
        running(a_site(tmp_path, made, {}, config_lines)) as controller,
        connected(controller) as station,
    ):
        link = await made["cpo"].link()
        asked = await station.says("StartTransaction", START)
        await heard(link)
        await link.aclose(1011, "restarting")
        back = await made["cpo"].link()
        frame = json.loads(await heard(back))
        assert frame == [2, asked, "StartTransaction", START]
        await back.send_message(json.dumps([3, asked, started(70)]))
        assert await station.hears(asked) == started(70)


@pytest.mark.parametrize("mode", ["grace", "strict"])
async def test_app_away_station_that_is_closed_has_safe_limit(tmp_path: Path, mode: str) -> None:
    config_lines = f'owner = "cpo"\nwhen_backend_away = "{mode}"\ngrace_s = 0.3'
    async with (
        backends("cpo") as made,
        running(a_site(tmp_path, made, {}, config_lines)) as controller,
        connected(controller) as station,
    ):
        link = await made["cpo"].link()
        await station.told(link, "BootNotification", BOOT, ACCEPTED)
        await station.obeys("SetChargingProfile")
        await goes_away(made["cpo"], link)
        with pytest.raises(ConnectionClosed) as closed, trio.fail_after(10):
            await station.hears("never")
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1013
