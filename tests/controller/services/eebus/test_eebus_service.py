"""EEBUS node in the daemon: limits, trust and bad peers, over TLS, WebSockets and the control socket."""

from __future__ import annotations

import json
import logging
import socket
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from trio_websocket import ConnectionClosed
from wsproto.utilities import LocalProtocolError

from controller.dimming.events import DimmingTick
from controller.services.app import App
from controller.services.eebus import eebus_service
from controller.services.machine.control_socket import ControlError
from controller.store.evidence_files import evidence_files
from controller.store.store_files import FOLDER
from controller.web.status_model import EebusStatus
from tests.bounds import HANG_S
from tests.controller.services.test_app import running
from tests.scenario.eebus_guard import (
    Identity,
    SocketGuard,
    configure,
    connect_guard,
    open_websocket,
    read_first_answer,
    run_command,
    wait_logged,
)

LATE_S = 10.0
"""Less than the time to the next heartbeat of the site, which brings along what was not notified."""
PARTNER = '[[eebus.partner]]\nski = "{}"'


def status(app: App) -> EebusStatus:
    found = app.status().eebus
    assert found is not None
    return found


async def test_limit_written_is_effective_recorded_and_answered(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app, connect_guard(app, identity) as box:
        assert await box.write_limit(8000) == 0
        dimming = app.status().dimming
        assert dimming is not None
        assert (dimming.dimmed, dimming.limit_w, dimming.sources) == (True, 8000, ("box",))
        found = status(app)
        assert (found.consumption.state, found.consumption.limit_w) == ("limited", 8000)
        assert found.accepted_total == 1
        [partner] = found.partners
        assert (partner.ski, partner.guard, partner.ship_id) == (identity.ski, True, "Guard-1")
        notified = [each for each in box.datagrams if each["header"]["cmdClassifier"] == "notify"]
        assert "loadControlLimitListData" in notified[-1]["payload"]["cmd"][0]
        assert await box.write_limit(8000, active=False) == 0
        assert not app.status().dimming.dimmed  # type: ignore[union-attr]
    commands = [each["body"] for each in evidence_of(tmp_path) if each.get("kind") == "command"]
    assert commands[0]["ski"] == identity.ski
    assert '"isLimitActive"' in commands[0]["datagram"]
    assert commands[0]["heartbeatAgeS"] >= 0


def evidence_of(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in evidence_files(folder / "store" / FOLDER)
        for line in file.read_text().splitlines()
    ]


async def test_end_of_limit_is_notified_whichever_timer_is_first(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app, connect_guard(app, identity) as box:
        assert await box.write_limit(12_000, timePeriod={"endTime": "PT0.5S"}) == 0
        ended_at = end_limit_in_dimming(app)
        assert await next_limit(box) == {
            "limitId": 1,
            "isLimitChangeable": True,
            "isLimitActive": False,
            "value": {"number": 12_000, "scale": 0},
        }
        assert trio.current_time() - ended_at < LATE_S
        assert status(app).consumption.state == "unlimited/controlled"


async def test_write_after_end_of_limit_takes_no_duration_of_it(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app, connect_guard(app, identity) as box:
        assert await box.write_limit(12_000, timePeriod={"endTime": "PT0.5S"}) == 0
        box.datagrams.clear()
        end_limit_in_dimming(app)
        assert await box.write_limit(15_000) == 0
        limits = [limit for each in box.datagrams if (limit := limit_in(each)) is not None]
        assert [each["isLimitActive"] for each in limits] == [False, True]
        assert not any("timePeriod" in each for each in limits)
        found = status(app).consumption
        assert (found.state, found.limit_w, found.until_s) == ("limited", 15_000, None)


def end_limit_in_dimming(app: App) -> float:
    """Let the limit end in dimming first, and return when; no other task runs meanwhile."""
    dimming = app._dimming
    assert dimming is not None
    until = dimming.eebus_view("box").until
    assert until is not None
    time.sleep(max(0.0, until - trio.current_time()))
    dimming.handle_event(DimmingTick())
    assert dimming.eebus_view("box").until is None
    return until


async def next_limit(box: SocketGuard) -> dict[str, Any]:
    """Return the next limit that the guard is notified of."""
    while True:
        if (limit := limit_in(await box.next())) is not None:
            return limit


def limit_in(message: Any) -> dict[str, Any] | None:
    """Return the limit that a message notifies of; None: it is another one."""
    if not isinstance(message, dict) or message.get("header", {}).get("cmdClassifier") != "notify":
        return None
    data = message["payload"]["cmd"][0].get("loadControlLimitListData")
    return None if data is None else dict(data["loadControlLimitData"][0])


async def test_limit_of_production_is_recorded_and_dims_nothing(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    eebus = "production_w = 30000\n" + PARTNER.format(identity.ski)
    async with running(configure(tmp_path, eebus=eebus)) as app, connect_guard(app, identity) as box:
        assert await box.write_limit(8000, active=False) == 0
        assert await box.write_limit(5000, limitId=2) == 0
        found = status(app)
        assert found.production is not None
        assert (found.production.state, found.production.limit_w) == ("limited", 5000)
        dimming = app.status().dimming
        assert dimming is not None
        assert not dimming.dimmed
        assert await box.write_limit(-1, limitId=2) > 0
    bodies = [(each["kind"], each["body"]) for each in evidence_of(tmp_path)]
    records = [(kind, body) for kind, body in bodies if body.get("direction") == "produce"]
    written = [body for kind, body in records if kind == "command"]
    verdicts = [body for kind, body in records if kind == "verdict"]
    assert [(each["accepted"], each["state"]) for each in verdicts] == [(True, "limited"), (False, "limited")]
    assert written[0]["ski"] == identity.ski
    assert '"limitId"' in written[0]["datagram"]


async def test_replayed_connection_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        assert app.eebus_port is not None
        recorded: list[bytes] = []
        async with tap(app.eebus_port, recorded) as port, connect_guard(app, identity, port) as box:
            assert await box.write_limit(8000) == 0
            assert await box.write_limit(8000, active=False) == 0
        accepted = status(app).accepted_total
        stream = await trio.open_tcp_stream("127.0.0.1", app.eebus_port)
        with suppress(trio.BrokenResourceError), trio.fail_after(HANG_S):
            for data in recorded:
                await stream.send_all(data)
            while await stream.receive_some(4096):
                pass
        await trio.aclose_forcefully(stream)
        found = status(app)
        assert (found.accepted_total, found.consumption.limit_w) == (accepted, None)
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(9000) == 0


@asynccontextmanager
async def tap(port: int, recorded: list[bytes]) -> AsyncIterator[int]:
    """A port that passes on to another one, and records what is sent there."""

    async def serve(client: trio.SocketStream) -> None:
        server = await trio.open_tcp_stream("127.0.0.1", port)
        async with client, server, trio.open_nursery() as nursery:
            nursery.start_soon(copy, client, server, recorded)
            await copy(server, client, [])
            nursery.cancel_scope.cancel()

    async def copy(source: trio.SocketStream, target: trio.SocketStream, kept: list[bytes]) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                kept.append(bytes(data))
                await target.send_all(data)

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        yield listeners[0].socket.getsockname()[1]
        nursery.cancel_scope.cancel()


async def test_handshake_and_limit_are_fast(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        before = trio.current_time()
        async with connect_guard(app, identity) as box:
            assert trio.current_time() - before < 2
            before = trio.current_time()
            assert await box.write_limit(8000) == 0
            assert trio.current_time() - before < 1


async def test_eebus_service_failsafe_values_and_identity_survive_restart(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path)
    async with running(config) as app:
        await run_command(config, "eebus.pair", ski=identity.ski)
        own = status(app).ski
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(8000, active=False) == 0
            value = {"keyId": 1, "value": {"scaledNumber": {"number": 6500, "scale": 0}}}
            name = "deviceConfigurationKeyValueListData"
            command = {
                "function": name,
                "filter": [{"cmdControl": {"partial": {}}}],
                name: {"deviceConfigurationKeyValueData": [value]},
            }
            counter = await box.datagram("write", command, source=([1], 2), destination=([1], 2), ack=True)
            assert await box.result(counter) == 0
    async with running(configure(tmp_path)) as app:
        found = status(app)
        assert found.ski == own
        assert (found.consumption.state, found.consumption.limit_w) == ("init", 6500)
        assert [each.ship_id for each in found.partners] == ["Guard-1"]
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(9000) == 0


# -- trust --------------------------------------------------------------------------------------------


async def test_eebus_service_unknown_partner_waits_until_it_is_paired(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path)
    async with running(config) as app:
        assert app.eebus_port is not None
        async with open_websocket(app.eebus_port, identity) as connection:
            box = SocketGuard(connection)
            await box.send(b"\x00\x00")
            assert await box.next() == b"\x00\x00"
            assert (await box.next())["connectionHello"]["phase"] == "pending"
            [waiting] = status(app).partners
            assert (waiting.ski, waiting.trusted, waiting.phase) == (identity.ski, False, "hello")
            assert f"local-controller eebus pair {identity.ski}" in caplog.text
            await run_command(config, "eebus.pair", ski=identity.ski.upper())
            assert (await box.next())["connectionHello"]["phase"] == "ready"
        await run_command(config, "eebus.unpair", ski=identity.ski)
        assert status(app).partners == ()
        with pytest.raises(ControlError, match="not a partner"):
            await run_command(config, "eebus.unpair", ski=identity.ski)
        with pytest.raises(ControlError, match="40 hexadecimal digits"):
            await run_command(config, "eebus.pair", ski="12")


async def test_registration_accepts_one_partner_and_closes(tmp_path: Path) -> None:
    first, second = Identity(tmp_path, "first"), Identity(tmp_path, "second")
    config = configure(tmp_path)
    async with running(config) as app:
        await run_command(config, "eebus.register", seconds=60)
        assert status(app).register_s > 50
        assert app.eebus_port is not None
        async with open_websocket(app.eebus_port, first) as connection:
            box = SocketGuard(connection)
            await box.send(b"\x00\x00")
            assert await box.next() == b"\x00\x00"
            assert (await box.next())["connectionHello"]["phase"] == "pending"
            assert (await box.next())["connectionHello"]["phase"] == "ready"
            assert status(app).register_s == 0
            async with open_websocket(app.eebus_port, second) as other:
                late = SocketGuard(other)
                await late.send(b"\x00\x00")
                await late.next()
                assert (await late.next())["connectionHello"]["phase"] == "pending"
        with pytest.raises(ControlError):
            await run_command(config, "eebus.register", seconds=1e9)


async def test_eebus_service_unpaired_partner_is_reported_and_disconnected(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path)
    async with running(config) as app:
        await run_command(config, "eebus.pair", ski=identity.ski)
        async with connect_guard(app, identity) as box:
            await run_command(config, "eebus.unpair", ski=identity.ski)
            while "connectionClose" not in (message := await box.next()):
                pass
            assert message["connectionClose"]["reason"] == "removedConnection"
            await box.send(b'\x03{"connectionClose":[{"phase":"confirm"}]}')
            await box.until_closed()


async def test_suspended_obedience_refuses_active_limits(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app, connect_guard(app, identity) as box:
        await run_command(config, "eebus.suspend", reason="emergency supply")
        assert await box.write_limit(8000) == 7
        assert status(app).consumption.state == "unlimited/controlled"
        await run_command(config, "eebus.resume")
        assert await box.write_limit(8000) == 0


# -- bad peers ----------------------------------------------------------------------------------------


def certificate_with(folder: Path, extension: x509.SubjectKeyIdentifier | None, curve: Any) -> ssl.SSLContext:
    """A client whose certificate has this SubjectKeyIdentifier."""
    key = ec.generate_private_key(curve)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "guard")])
    now = datetime.now(UTC)
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
    )
    if extension is not None:
        builder = builder.add_extension(extension, critical=False)
    pem = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    pem += key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = folder / "bad.pem"
    file.write_bytes(pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.load_cert_chain(file)
    return context


@pytest.mark.parametrize("case", ["trusted SKI of another key", "no extension", "another curve", "none"])
async def test_eebus_service_tc_ship_sec_001_002_server_refuses_in_handshake(
    tmp_path: Path, case: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    trusted = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(trusted.ski))
    stolen = x509.SubjectKeyIdentifier(bytes.fromhex(trusted.ski))
    if case == "none":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    else:
        extension = None if case == "no extension" else stolen
        curve = ec.SECP384R1() if case == "another curve" else ec.SECP256R1()
        context = certificate_with(tmp_path, extension, curve)
    async with running(config) as app:
        assert app.eebus_port is not None
        assert await read_first_answer(app.eebus_port, context) == b""
        await wait_logged(caplog, "EEBUS connection refused")
        assert status(app).partners[0].phase == "away"
        async with connect_guard(app, trusted) as box:
            assert await box.write_limit(8000) == 0


async def test_eebus_service_tc_ship_sec_001_002_client_refuses_in_handshake(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trusted = Identity(tmp_path)
    stolen = x509.SubjectKeyIdentifier(bytes.fromhex(trusted.ski))
    certificate_with(tmp_path, stolen, ec.SECP256R1())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "bad.pem")
    received: list[bytes] = []

    async def serve(stream: trio.SSLStream[trio.SocketStream]) -> None:
        with suppress(trio.BrokenResourceError):
            received.append(bytes(await stream.receive_some()))

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(
            partial(trio.serve_ssl_over_tcp, serve, 0, context, host="127.0.0.1", https_compatible=True)
        )
        port = listeners[0].transport_listener.socket.getsockname()[1]
        place = f'host = "127.0.0.1"\nport = {port}'
        async with running(configure(tmp_path, eebus=f"{PARTNER.format(trusted.ski)}\n{place}")) as app:
            await wait_logged(caplog, "SubjectKeyIdentifier is not that of its key")
            assert status(app).partners[0].phase == "away"
        nursery.cancel_scope.cancel()
    assert b"".join(received) == b""


async def test_eebus_service_second_guard_is_refused_and_first_kept(tmp_path: Path) -> None:
    first, second = Identity(tmp_path, "first"), Identity(tmp_path, "second")
    partners = f"{PARTNER.format(first.ski)}\n{PARTNER.format(second.ski)}"
    async with running(configure(tmp_path, eebus=partners)) as app, connect_guard(app, first) as box:
        assert app.eebus_port is not None
        async with open_websocket(app.eebus_port, second) as connection:
            other = SocketGuard(connection)
            await other.handshake()
            link = {
                "clientAddress": {"entity": [1], "feature": 1},
                "serverAddress": {"entity": [1], "feature": 1},
            }
            call = {"nodeManagementBindingRequestCall": {"bindingRequest": link}}
            assert await other.result(await other.datagram("call", call, ack=True)) == 7
            await other.beat()
            assert await other.write_limit(0) == 9
        assert await box.write_limit(8000) == 0
        assert status(app).consumption.limit_w == 8000


async def test_guard_that_does_not_read_is_disconnected(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        assert app.eebus_port is not None
        async with open_websocket(app.eebus_port, identity) as connection:
            box = SocketGuard(connection)
            await box.handshake()
            stop = trio.Event()
            connection._stream.receive_some = lambda *_: stop.wait()
            with suppress(ConnectionClosed, trio.BrokenResourceError):
                for _ in range(3000):
                    await box.datagram("read", {"nodeManagementDetailedDiscoveryData": []})
            await wait_logged(caplog, "reason=peer does not read")
        async with connect_guard(app, identity) as again:
            assert await again.write_limit(8000) == 0


async def test_wrong_subprotocol_and_plain_text_are_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        assert app.eebus_port is not None
        assert await read_first_answer(app.eebus_port, identity.context(), "ocpp1.6") == b"HTTP/1.1 400"
        async with await trio.open_tcp_stream("127.0.0.1", app.eebus_port) as stream:
            await stream.send_all(b"GET /ship/ HTTP/1.1\r\n\r\n")
            with trio.fail_after(HANG_S), suppress(trio.BrokenResourceError):
                assert b"HTTP" not in await stream.receive_some()
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(8000) == 0
        assert caplog.text.count("EEBUS connection refused") == 2


async def test_eebus_service_bad_messages_are_counted_and_site_runs_on(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app, connect_guard(app, identity) as box:
        assert await box.write_limit(8000) == 0
        for message in (b"\x01", b"\xff\x00", b"\x02{", b"\x02[[[[", b"\x01{}", b"\x02" + b"[" * 200_000):
            await box.send(message)
        await box.connection.send_message("text")
        assert await box.write_limit(-1) == 7
        assert await box.write_limit(1, limitId=4711) == 7
        assert await box.write_limit(1, value={"number": 1, "scale": 99}) == 7
        found = status(app)
        assert (found.consumption.state, found.consumption.limit_w) == ("limited", 8000)
        assert found.messages_refused_total >= 6
        assert app.status().healthy


async def test_eebus_service_message_of_megabyte_ends_connection_alone(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(8000) == 0
            with suppress(ConnectionClosed):  # it may be closed before all is sent
                await box.send(b"\x02" + b" " * 1_000_000)
            await box.until_closed()
        assert status(app).consumption.limit_w == 8000  # until the heartbeat is lost
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(9000) == 0


async def test_eebus_service_reconnection_of_same_guard_replaces_old_one(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with (
        running(config) as app,
        connect_guard(app, identity) as first,
        connect_guard(app, identity) as second,
    ):
        assert await second.write_limit(8000) == 0
        await first.until_closed()
        assert len(status(app).partners) == 1


async def test_eebus_service_port_in_use_is_logged_and_site_runs_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eebus_service, "LISTEN_RETRY_S", 0.05)
    identity = Identity(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
        assert config.eebus is not None
        config = replace(config, eebus=replace(config.eebus, port=port))
        async with running(config) as app:
            assert f"eebus: 127.0.0.1:{port} cannot be opened" in caplog.text
            assert app.status().healthy
            taken.close()
            caplog.set_level(logging.INFO)
            await wait_logged(caplog, f"EEBUS node ready port={port}")
            async with connect_guard(app, identity) as box:
                assert await box.write_limit(8000) == 0


async def test_eebus_service_fragments_without_end_close_connection(tmp_path: Path) -> None:
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    async with running(config) as app:
        async with connect_guard(app, identity) as box:
            with suppress(ConnectionClosed, LocalProtocolError):
                for _ in range(1000):
                    await box.send_fragment(b" " * 1024)
            await box.until_closed()
        async with connect_guard(app, identity) as box:
            assert await box.write_limit(8000) == 0


async def test_one_address_with_many_connections_is_bounded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with running(configure(tmp_path)) as app:
        assert app.eebus_port is not None
        streams = [await trio.open_tcp_stream("127.0.0.1", app.eebus_port) for _ in range(12)]
        await wait_logged(caplog, "EEBUS connection closed")
        for stream in streams:
            await trio.aclose_forcefully(stream)


async def test_eebus_service_failed_step_is_logged_and_next_follows(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(eebus_service, "FAILED_STEP_S", 0.01)
    identity = Identity(tmp_path)
    config = configure(tmp_path, eebus=PARTNER.format(identity.ski))
    failures = iter([True])

    def fail_once(*_: object) -> list[object]:
        if next(failures, False):
            raise RuntimeError("unforeseen")
        return []

    monkeypatch.setattr("drivers.eebus.spine_device.HEARTBEAT_S", 0.05)
    monkeypatch.setattr("drivers.eebus.eebus_node.EebusNode.tick", fail_once)
    async with running(config) as app:
        await wait_logged(caplog, "EEBUS step failed")
        assert app.status().healthy


async def test_eebus_service_status_over_control_socket_is_complete(tmp_path: Path) -> None:
    config = configure(tmp_path, eebus="production_w = 30000")
    async with running(config) as app:
        found = await run_command(config, "eebus.status")
        assert found["ski"] == status(app).ski
        assert found["production"]["state"] == "init"
        assert found["qr"].startswith(f"SHIP;SKI:{found['ski']};ID:")
        assert found["qr"].endswith("ENDSHIP;")
        with pytest.raises(ControlError, match="unknown command"):
            await run_command(config, "eebus.nothing")
        assert (tmp_path / "store" / "control.sock").stat().st_mode & 0o077 == 0
