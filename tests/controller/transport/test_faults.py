"""Peers that break OCPP-J's rules, over sockets: each costs at most its own message or its own link."""

from __future__ import annotations

import json
from contextlib import AsyncExitStack

import pytest
import trio
from trio_websocket import ConnectionClosed

from controller.config.password_files import hash_password
from controller.ocpp.frames import Version
from controller.transport.http_upgrade import basic_authorization
from tests.scenario.link_harness import LinkHarness, link_harness, receive_text

# -- message ids ---------------------------------------------------------------------------------------


async def test_one_id_of_many_stations_has_as_many_answers() -> None:
    """Stations begin to count at 1 after each start: an id is unique on its connection alone."""
    names = [f"CS1{number}" for number in range(5)]
    answers: dict[str, str] = {}

    async def station(site: LinkHarness, name: str) -> None:
        async with site.connect_station(name) as socket:
            await socket.send_message(f'[2,"1","DataTransfer",{{"data":"{name}"}}]')
            answers[name] = await receive_text(socket)

    async with link_harness(**dict.fromkeys(names)) as site, trio.open_nursery() as nursery:
        for name in names:
            nursery.start_soon(station, site, name)
        links = [await site.csms.accept() for _ in names]
        calls = [json.loads(await receive_text(link)) for link in links]
        for link, call in reversed(list(zip(links, calls, strict=True))):
            await link.send_message(f'[3,"1",{{"status":"{call[3]["data"]}"}}]')
    assert {name: json.loads(answer)[2]["status"] for name, answer in answers.items()} == {
        name: name for name in names
    }


async def test_faults_message_ids_start_anew_on_new_connection() -> None:
    async with link_harness() as site:
        for status in ("first", "second"):
            async with site.connect_station() as station:
                backend = await site.csms.accept()
                await station.send_message('[2,"1","Heartbeat",{}]')
                assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'
                await backend.send_message(f'[3,"1",{{"status":"{status}"}}]')
                assert await receive_text(station) == f'[3,"1",{{"status":"{status}"}}]'


async def test_faults_answer_for_previous_link_is_dropped() -> None:
    async with link_harness() as site:
        async with site.connect_station() as station:
            old = await site.csms.accept()
            await station.send_message('[2,"1","Heartbeat",{}]')
            await receive_text(old)
        async with site.connect_station() as station:
            new = await site.csms.accept()
            await station.send_message('[2,"1","DataTransfer",{"vendorId":"V"}]')
            await receive_text(new)
            with pytest.raises(ConnectionClosed):
                await old.send_message('[3,"1",{"currentTime":"of the old link"}]')
            await new.send_message('[3,"1",{"status":"Accepted"}]')
            assert await receive_text(station) == '[3,"1",{"status":"Accepted"}]'


@pytest.mark.parametrize("side", ["station", "backend"])
async def test_faults_same_id_in_both_directions_at_once(side: str) -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await station.send_message('[2,"7","Heartbeat",{}]')
        assert await receive_text(backend) == '[2,"7","Heartbeat",{}]'
        await backend.send_message('[2,"7","ClearCache",{}]')
        assert await receive_text(station) == '[2,"7","ClearCache",{}]'
        first, second = (station, backend) if side == "station" else (backend, station)
        await first.send_message('[3,"7",{"of":"first"}]')
        assert await receive_text(second) == '[3,"7",{"of":"first"}]'
        await second.send_message('[3,"7",{"of":"second"}]')
        assert await receive_text(first) == '[3,"7",{"of":"second"}]'


# -- answers -------------------------------------------------------------------------------------------

UNASKED = ['[3,"never",{}]', '[4,"never","GenericError","",{}]', '[3,"",null]', '[4,"never","","",{}]']


@pytest.mark.parametrize("text", UNASKED)
async def test_faults_answer_without_call_is_dropped(text: str) -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        for speaker, listener in ((station, backend), (backend, station)):
            await speaker.send_message(text)
            await speaker.send_message('[2,"1","DataTransfer",{"vendorId":"V"}]')
            assert await receive_text(listener) == '[2,"1","DataTransfer",{"vendorId":"V"}]'
            await listener.send_message('[3,"1",{"status":"Accepted"}]')
            assert await receive_text(speaker) == '[3,"1",{"status":"Accepted"}]'


async def test_faults_second_answer_is_dropped() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        for speaker, listener in ((station, backend), (backend, station)):
            await speaker.send_message('[2,"1","DataTransfer",{"vendorId":"V"}]')
            await receive_text(listener)
            await listener.send_message('[3,"1",{"status":"Accepted"}]')
            await listener.send_message('[3,"1",{"status":"Rejected"}]')
            await listener.send_message('[4,"1","GenericError","changed my mind",{}]')
            await listener.send_message('[2,"2","DataTransfer",{"vendorId":"W"}]')
            assert await receive_text(speaker) == '[3,"1",{"status":"Accepted"}]'
            assert await receive_text(speaker) == '[2,"2","DataTransfer",{"vendorId":"W"}]'
            await speaker.send_message('[3,"2",{"status":"Accepted"}]')
            assert await receive_text(listener) == '[3,"2",{"status":"Accepted"}]'


async def test_faults_late_answer_after_timeout_is_dropped() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await station.send_message('[2,"1","DataTransfer",{"vendorId":"V"}]')
        await receive_text(backend)
        assert json.loads(await receive_text(station))[:2] == [4, "1"]  # after the rig's CALL_TIMEOUT_S
        await backend.send_message('[3,"1",{"status":"Accepted"}]')
        await station.send_message('[2,"1","DataTransfer",{"vendorId":"W"}]')
        await receive_text(backend)
        await backend.send_message('[3,"1",{"status":"UnknownVendorId"}]')
        assert await receive_text(station) == '[3,"1",{"status":"UnknownVendorId"}]'


@pytest.mark.parametrize(
    ("version", "call", "answer"),
    [
        (
            Version.V16,
            '[2,"1","BootNotification",{"chargePointVendor":"V","chargePointModel":"M"}]',
            '[3,"1",{"status":"Accepted","currentTime":"2026-01-01T00:00:00Z","interval":60,'
            '"statusInfo":{"reasonCode":"of 2.0.1"},"customData":{"vendorId":"x"}}]',
        ),
        (
            Version.V201,
            '[2,"1","TransactionEvent",{"eventType":"Started"}]',
            '[3,"1",{"idTagInfo":{"status":"Accepted"},"transactionId":2147483648}]',
        ),
        (Version.V16, '[2,"1","Heartbeat",{}]', '[4,"1","FormatViolation","a code of 2.0.1",{}]'),
        (Version.V201, '[2,"1","Heartbeat",{}]', '[4,"1","OccurenceConstraintViolation","of 1.6",{}]'),
        (Version.V21, '[2,"1","Heartbeat",{}]', '[3,"1",[]]'),
    ],
)
async def test_faults_another_version_s_answer_passes_as_it_is(
    version: Version, call: str, answer: str
) -> None:
    async with link_harness() as site, site.connect_station("CS01", version) as station:
        backend = await site.csms.accept()
        await station.send_message(call)
        assert await receive_text(backend) == call
        await backend.send_message(answer)
        assert await receive_text(station) == answer


# -- stations that are lenient with themselves -----------------------------------------------------------


async def test_faults_text_too_long_for_the_schema_passes() -> None:
    """Schneider EVlink: serials of 26 and 34 characters, where OCPP 1.6 has 25."""
    boot = (
        '[2,"1","BootNotification",{"chargePointVendor":"Schneider Electric","chargePointModel":"MONOBLOCK",'
        f'"chargePointSerialNumber":"{"3" * 26}","chargeBoxSerialNumber":"{"E" * 34}"}}]'
    )
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await station.send_message(boot)
        assert await receive_text(backend) == boot


# -- two sockets with one identity -----------------------------------------------------------------------


async def test_faults_unproven_station_does_not_displace_the_genuine_one() -> None:
    async with link_harness(CS02=hash_password(b"correct horse", b"salt", log_n=4)) as site:
        header = [(b"Authorization", basic_authorization("CS02", b"correct horse"))]
        async with site.connect_station("CS02", headers=header) as station:
            backend = await site.csms.accept()
            for _ in range(2):
                assert (await site.expect_rejection("CS02")).status_code == 401
            await station.send_message('[2,"1","Heartbeat",{}]')
            assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'


async def test_two_sockets_of_one_identity_leave_one_link_open() -> None:
    """Each newcomer wins; the backend sees all links end but the last."""
    async with link_harness() as site, AsyncExitStack() as stack:
        stations, links = [], []
        for _ in range(5):
            stations.append(await stack.enter_async_context(site.connect_station()))
            links.append(await site.csms.accept())
        for socket in stations[:-1] + links[:-1]:
            with pytest.raises(ConnectionClosed):
                await receive_text(socket)
        await stations[-1].send_message('[2,"1","Heartbeat",{}]')
        assert await receive_text(links[-1]) == '[2,"1","Heartbeat",{}]'
        assert list(site.registry.connected_versions()) == ["CS01"]
