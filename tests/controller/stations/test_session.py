"""Sessions over loopback sockets, with peers on another WebSocket implementation."""

from __future__ import annotations

import contextlib
import itertools
import re
import socket as sockets
from contextlib import suppress

import pytest
import trio
from trio_websocket import ConnectionClosed

from controller.model.effects import OwnCall
from controller.ocpp.frames import Call, Version, call_result, parse
from controller.stations.listener import ListenError, ListenSettings, serve_stations
from controller.stations.session import RequestResult
from controller.transport.http_upgrade import basic_authorization
from tests.bounds import HANG_S
from tests.scenario.link_harness import link_harness, receive_text

ODD = '[2, "19223201" ,"SomethingNew",\n{"näme":"\\u00e4",  "big":123456789012345678901234567890,"f":1.0e0}]'


@pytest.mark.parametrize("version", list(Version))
async def test_messages_pass_byte_for_byte_both_ways(version: Version) -> None:
    async with link_harness() as site, site.connect_station("CS01", version) as station:
        backend = await site.csms.accept()
        assert backend.subprotocol == version
        await station.send_message(ODD)
        assert await receive_text(backend) == ODD
        answer = '[3,"19223201",{ "status" : "ok"}]'
        await backend.send_message(answer)
        assert await receive_text(station) == answer
        command = '[2,"b-1","Unheard",{"x":  [1,2]}]'
        await backend.send_message(command)
        assert await receive_text(station) == command
        error = '[4,"b-1","NotImplemented","nö", {}]'
        await station.send_message(error)
        assert await receive_text(backend) == error


async def test_session_keeps_latest_messages_over_reconnect() -> None:
    async with link_harness() as site:
        sent = []
        for number in range(2):
            async with site.connect_station() as station:
                backend = await site.csms.accept()
                for message in (
                    f'[2,"{number}","Heartbeat",{{}}]'.encode(),
                    f'[2,"x{number}","Heartbeat",{{}}]',
                ):
                    await station.send_message(message)
                    await receive_text(backend)
                await backend.send_message(f'[3,"{number}",{{}}]')
                answer = await receive_text(station)
            sent += [
                (True, f'[2,"{number}","Heartbeat",{{}}]'),
                (True, f'[2,"x{number}","Heartbeat",{{}}]'),
                (False, answer),
            ]
        kept = site.stats.recent["CS01"].messages
        assert [(each.is_from_station, each.text) for each in kept] == sent
        assert all(before.utc <= after.utc for before, after in itertools.pairwise(kept))


async def test_session_binary_message_passes_between_station_and_owner() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        for sender, hearer in ((station, backend), (backend, station)):
            await sender.send_message(b"\x02\x00any\xff bytes")
            with trio.fail_after(HANG_S):
                assert await hearer.get_message() == b"\x02\x00any\xff bytes"


async def test_session_relays_json_in_binary_frames_as_text() -> None:
    async with link_harness(binary=False) as site, site.connect_station() as station:
        backend = await site.csms.accept()
        call, answer = '[2,"1","Heartbeat",{"n":"\u00e4"}]', '[3,"1",{"currentTime":""}]'
        await station.send_message(call.encode())
        assert await receive_text(backend) == call
        await backend.send_message(answer.encode())
        assert await receive_text(station) == answer


async def test_session_binary_message_without_permission_is_ignored() -> None:
    async with link_harness(binary=False) as site, site.connect_station() as station:
        backend = await site.csms.accept()
        for sender, hearer in ((station, backend), (backend, station)):
            await sender.send_message(b"\x02\x00any\xff bytes")
            await sender.send_message('[2,"1","Heartbeat",{}]')
            assert await receive_text(hearer) == '[2,"1","Heartbeat",{}]'


async def test_session_message_before_the_backend_link_waits() -> None:
    async with link_harness() as site, site.connect_station() as station:
        await station.send_message('[2,"1","BootNotification",{}]')
        backend = await site.csms.accept()
        assert await receive_text(backend) == '[2,"1","BootNotification",{}]'


async def test_session_reports_password_command_with_its_station() -> None:
    payload = '{"key":"AuthorizationKey","value":"a-long-password-1"}'
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await backend.send_message(f'[2,"1","ChangeConfiguration",{payload}]')
        await receive_text(station)
        await station.send_message('[3,"1",{"status":"Accepted"}]')
        await receive_text(backend)
    assert site.passwords == [("CS01", "ChangeConfiguration", payload.encode(), b'{"status":"Accepted"}')]


async def test_session_result_of_own_call_goes_to_site_only() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await station.send_message('[2,"1","Heartbeat",{}]')
        assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'
        await site.site.wait_for("up")
        session = site.registry.find_session("CS01")
        assert session is not None
        session.call(OwnCall(7, "own-id", "SetChargingProfile", b'{"a":1}'))
        assert await receive_text(station) == '[2,"own-id","SetChargingProfile",{"a":1}]'
        await station.send_message('[3,"own-id",{"status":"Accepted"}]')
        await site.site.wait_for("answered")
        await station.send_message('[2,"2","Heartbeat",{}]')
        await backend.send_message('[3,"1",{}]')
        assert await receive_text(backend) == '[2,"2","Heartbeat",{}]'  # and nothing before it
        assert ("answered", "CS01", 7, b'{"status":"Accepted"}', "") in site.site.events


async def test_session_request_returns_result_of_station() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await station.send_message('[2,"1","Heartbeat",{}]')
        assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'
        await site.site.wait_for("up")
        session = site.registry.find_session("CS01")
        assert session is not None
        answers: list[RequestResult] = []

        async def ask() -> None:
            answers.append(await session.request("TriggerMessage", b'{"requestedMessage":"X"}'))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            asked = parse(await receive_text(station))
            assert isinstance(asked, Call)
            assert (asked.action, asked.payload) == ("TriggerMessage", b'{"requestedMessage":"X"}')
            await station.send_message(call_result(asked.id, b'{"status":"Accepted"}'))
        assert answers == [RequestResult(b'{"status":"Accepted"}')]
        assert not any(event[0] == "answered" for event in site.site.events)


async def test_session_request_ends_with_session() -> None:
    async with link_harness() as site:
        answers: list[RequestResult] = []
        async with trio.open_nursery() as nursery, site.connect_station() as station:
            await station.send_message('[2,"1","Heartbeat",{}]')
            await site.site.wait_for("up")
            session = site.registry.find_session("CS01")
            assert session is not None

            async def ask() -> None:
                answers.append(await session.request("Reset", b"{}"))

            nursery.start_soon(ask)
            await receive_text(station)
        assert answers[0].result is None


async def test_session_backend_that_drops_closes_station() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await backend.aclose()
        with pytest.raises(ConnectionClosed) as closed:
            await receive_text(station)
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1013
        assert "cpo" in str(closed.value.reason.reason)


@pytest.mark.parametrize(("status", "answered"), [(401, 401), (403, 403), (404, 404), (412, 412), (302, 403)])
async def test_session_upgrade_of_station_that_owner_rejects_gets_status(
    caplog: pytest.LogCaptureFixture, status: int, answered: int
) -> None:
    async with link_harness() as site:
        site.csms.refuse_status = status
        for _ in range(2):
            refused = await site.expect_rejection("CS01")
            assert refused.status_code == answered
            assert b"backend cpo rejected the station" in refused.body
        assert len(site.csms.requests) == 1  # the verdict holds for a while
    assert "backend rejected station backend=cpo station=CS01" in caplog.text


async def test_session_station_rejected_in_loop_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness() as site:
        for _ in range(5):
            assert (await site.expect_rejection("nobody")).status_code == 404
        assert (await site.expect_rejection("another")).status_code == 404
    rejections = [each.getMessage() for each in caplog.records if each.levelname == "WARNING"]
    assert [re.sub(r"peer=\S+ ", "", each).partition(" status")[0] for each in rejections] == [
        "upgrade rejected station=nobody",
        "upgrade rejected station=another",
    ]


async def test_session_backend_that_is_not_there_closes_station(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness() as site:
        site.csms.port = 1
        async with site.connect_station() as station:
            with pytest.raises(ConnectionClosed):
                await receive_text(station)
    warnings = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert warnings == [
        "backend unreachable backend=cpo reason=Connection refused "
        "remedy=check url, network and firewall, and the backend itself"
    ]


async def test_session_station_that_disconnects_ends_backend_link() -> None:
    async with link_harness() as site:
        async with site.connect_station():
            backend = await site.csms.accept()
        with pytest.raises(ConnectionClosed):
            await receive_text(backend)
        await site.site.wait_for("down")


async def test_session_stalling_backend_is_answered_for() -> None:
    async with link_harness() as site, site.connect_station() as station:
        await site.csms.accept()
        await station.send_message('[2,"1","Heartbeat",{}]')
        assert (await receive_text(station)).startswith('[4,"1","GenericError"')


async def test_session_stalling_backend_loses_no_transaction() -> None:
    """No error that counts as an attempt: the link closes and the station keeps its message."""
    async with link_harness() as site, site.connect_station() as station:
        await site.csms.accept()
        await station.send_message('[2,"1","StopTransaction",{}]')
        await station.send_message('[2,"2","Heartbeat",{}]')  # two actions without an answer: it is lost
        frames = []
        with contextlib.suppress(ConnectionClosed), trio.fail_after(HANG_S):
            while True:
                frames.append(await receive_text(station))
        assert not [each for each in frames if each.startswith('[4,"1"')]


async def test_session_station_that_never_answers_is_answered_for() -> None:
    async with link_harness() as site, site.connect_station() as station:
        backend = await site.csms.accept()
        await backend.send_message('[2,"b","Reset",{}]')
        assert await receive_text(station) == '[2,"b","Reset",{}]'
        assert (await receive_text(backend)).startswith('[4,"b","GenericError"')


async def test_session_newcomer_replaces_older_link() -> None:
    async with link_harness() as site, site.connect_station() as old:
        await site.csms.accept()
        async with site.connect_station() as new:
            with pytest.raises(ConnectionClosed):
                await receive_text(old)
            backend = await site.csms.accept()
            await new.send_message('[2,"1","Heartbeat",{}]')
            assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'


async def test_session_invalid_request_is_refused_before_upgrade(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness(CS03=b"secret") as site:
        assert (await site.expect_rejection("CS99")).status_code == 404
        assert (await site.expect_rejection("CS01", "ocpp1.5")).status_code == 400
        unauthorised = await site.expect_rejection("CS03")
        assert unauthorised.status_code == 401
        assert (b"www-authenticate", b'Basic realm="ocpp"') in unauthorised.headers
        async with site.connect_station(
            "CS03", headers=[(b"Authorization", basic_authorization("CS03", b"secret"))]
        ):
            await site.csms.accept()
        assert all(name.lower() != b"authorization" for name, _ in site.csms.requests[-1].headers)
    assert "secret" not in caplog.text


async def test_session_credentials_that_are_not_checked_reach_owner() -> None:
    header = basic_authorization("CS01", b"for the backend")
    async with link_harness() as site, site.connect_station(headers=[(b"Authorization", header)]):
        await site.csms.accept()
        assert (b"authorization", header) in [
            (name.lower(), value) for name, value in site.csms.requests[-1].headers
        ]


async def test_session_without_common_protocol_link_closes_after_handshake() -> None:
    async with link_harness() as site, site.connect_station("CS01", "ocpp9") as station:
        assert station.subprotocol is None
        with pytest.raises(ConnectionClosed) as closed:
            await receive_text(station)
        assert closed.value.reason is not None
        assert closed.value.reason.code == 1002


async def test_session_message_that_is_too_large_costs_only_own_link(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with link_harness(CS02=None) as site, site.connect_station("CS02") as bystander:
        other = await site.csms.accept()
        async with site.connect_station() as station:
            await site.csms.accept()
            await station.send_message("[" + " " * (1 << 20) + "]")
            with pytest.raises(ConnectionClosed) as closed:
                await receive_text(station)
            assert closed.value.reason is not None
            assert closed.value.reason.code == 1009
        await bystander.send_message('[2,"1","Heartbeat",{}]')
        assert await receive_text(other) == '[2,"1","Heartbeat",{}]'
    assert "CS01" in caplog.text


@pytest.mark.parametrize(
    "bytes_sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET /ocpp/CS01 HTTP/1.1\r\n\r\n",
        b"GET /ocpp/CS01 HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        b"Sec-WebSocket-Protocol: \xff\xfe\r\n\r\n",
        b"\x00" * 100_000,
    ],
)
async def test_session_garbage_instead_of_upgrade_costs_only_own_connection(bytes_sent: bytes) -> None:
    async with link_harness() as site:
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        with trio.fail_after(HANG_S), suppress(trio.BrokenResourceError):  # it may be cut off in the middle
            await stream.send_all(bytes_sent)
            await stream.send_eof()
            while await stream.receive_some():
                pass
        async with site.connect_station() as station:
            backend = await site.csms.accept()
            await station.send_message('[2,"1","Heartbeat",{}]')
            assert await receive_text(backend) == '[2,"1","Heartbeat",{}]'


async def test_session_tls_to_plain_port_is_rejected_with_remedy(caplog: pytest.LogCaptureFixture) -> None:
    async with link_harness() as site:
        for _ in range(3):
            stream = await trio.open_tcp_stream("127.0.0.1", site.port)
            await stream.send_all(b"\x16\x03\x01\x02\x00\x01\x00")
            with trio.fail_after(HANG_S):
                assert await stream.receive_some() == b""
        assert site.stats.refused == 3
    assert caplog.text.count("it uses TLS (wss://) on a plain port; set listen.certificate") == 1


async def test_port_monitor_leaves_no_log_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with link_harness() as site:
        stream = await trio.open_tcp_stream("127.0.0.1", site.port)
        await stream.send_eof()
        with trio.fail_after(HANG_S):
            assert await stream.receive_some() == b""
        assert site.stats.refused == 0
    assert caplog.messages == []


async def test_session_port_in_use_is_reported_with_remedy() -> None:
    with sockets.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        async with link_harness() as site, trio.open_nursery() as nursery:
            with pytest.raises(ListenError, match=f"127.0.0.1:{port} .*listen.port"):
                await nursery.start(
                    serve_stations,
                    ListenSettings("127.0.0.1", port, None, 1000),
                    site.rules,
                    None,
                    site.stats,
                )
