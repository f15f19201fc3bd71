"""A daemon with an EEBUS node, and an energy guard over TLS and WebSocket on loopback."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509
from trio_websocket import (
    ConnectionClosed,
    WebSocketConnection,
    wrap_client_stream,
)
from wsproto.events import BytesMessage

from controller.config import Config
from controller.services.app import App
from controller.services.machine.control_socket import send_command
from controller.signing.signing_keys import new_private_key
from drivers.eebus.certificates import make_identity, ski_of
from tests.bounds import HANG_S
from tests.drivers.eebus.guard import to_array, to_object
from tests.scenario.configuration import read_valid_config

OFFER: dict[str, Any] = {"version": {"major": 1, "minor": 0}, "formats": {"format": ["JSON-UTF8"]}}


class Identity:
    """Key, certificate and SKI of a guard, in files."""

    def __init__(self, folder: Path, name: str = "guard") -> None:
        folder.mkdir(parents=True, exist_ok=True)
        key, certificate = make_identity(name, datetime.now(UTC))
        self.key, self.certificate = folder / f"{name}.key", folder / f"{name}.crt"
        self.key.write_bytes(key)
        self.certificate.write_bytes(certificate)
        self.ski = ski_of(x509.load_pem_x509_certificate(certificate))

    def context(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        context.load_cert_chain(self.certificate, self.key)
        return context


def configure(folder: Path, *, eebus: str = "", stations: int = 1, meter: str = "") -> Config:
    """Return the configuration of a site whose only limit source is a control box, and write `site.toml`."""
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "key.pem").exists():
        (folder / "key.pem").write_bytes(new_private_key("secp256r1", "lc", 0, 4e9))
        (folder / "key.pem").chmod(0o600)
    evses = "".join(
        f'[[station]]\nid = "CS{number:02}"\ncircuit = "grid"\nowner = "cpo"\n'
        "[[station.evse]]\nid = 1\nsteuve = true\n"
        for number in range(1, stations + 1)
    )
    text = f"""
        [site]
        id = "lc"
        [store]
        directory = "{folder / "store"}"
        [listen]
        host = "127.0.0.1"
        port = 0
        connections_per_address = 0
        [load_management]
        tick_s = 0.1
        [signing]
        key = "{folder / "key.pem"}"
        [dimming]
        clock = "believed"
        [[dimming.source]]
        id = "box"
        kind = "eebus"
        [eebus]
        host = "127.0.0.1"
        port = 0
        discovery = false
        {eebus}
        [[backend]]
        id = "cpo"
        url = "ws://127.0.0.1:1/{{station}}"
        {meter}
        [[circuit]]
        id = "grid"
        limit_a = {max(63, 40 * stations)}
        {'meter = "grid"' if meter else ""}
        {evses}
        """
    (folder / "site.toml").write_text(text)
    return read_valid_config(text, "test.toml", folder)


async def run_command(config: Config, command: str, **arguments: object) -> Any:
    """Return the result of a command over the control socket."""
    directory = Path(config.store.directory)
    with trio.fail_after(HANG_S):
        while not (directory / "control.sock").exists():  # noqa: ASYNC110
            await trio.sleep(0.01)
        return await trio.to_thread.run_sync(lambda: send_command(directory, command, **arguments))


@asynccontextmanager
async def open_websocket(
    port: int, identity: Identity | ssl.SSLContext, subprotocol: str = "ship"
) -> AsyncIterator[WebSocketConnection]:
    """Open a WebSocket to a node. Raises the errors of TLS and of the upgrade."""
    context = identity.context() if isinstance(identity, Identity) else identity
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), context, https_compatible=True)
    with trio.fail_after(HANG_S):
        await stream.do_handshake()
    async with trio.open_nursery() as nursery:
        connection = await wrap_client_stream(
            nursery, stream, "localhost", "/ship/", subprotocols=[subprotocol]
        )
        try:
            yield connection
        finally:
            with trio.move_on_after(1, shield=True), suppress(ConnectionClosed):
                await connection.aclose()
            nursery.cancel_scope.cancel()


async def read_first_answer(port: int, context: ssl.SSLContext, subprotocol: str = "ship") -> bytes:
    """Return the first bytes of the answer to an upgrade; empty if the connection was rejected before."""
    request = (
        "GET /ship/ HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        f"Sec-WebSocket-Protocol: {subprotocol}\r\n\r\n"
    )
    stream = trio.SSLStream(await trio.open_tcp_stream("127.0.0.1", port), context, https_compatible=True)
    try:
        with trio.fail_after(HANG_S):
            await stream.do_handshake()
            await stream.send_all(request.encode())
            return bytes(await stream.receive_some(12))
    except (trio.BrokenResourceError, ssl.SSLError):
        return b""
    finally:
        await trio.aclose_forcefully(stream)


async def wait_logged(caplog: pytest.LogCaptureFixture, text: str) -> None:
    """Wait until a text was logged."""
    with trio.fail_after(HANG_S):
        while text not in caplog.text:  # noqa: ASYNC110
            await trio.sleep(0.01)


class SocketGuard:
    """An energy guard over a WebSocket."""

    def __init__(self, connection: WebSocketConnection) -> None:
        self.connection = connection
        self.counter = 0
        self.controls: list[Any] = []
        self.datagrams: list[dict[str, Any]] = []
        self.device = "d:_n:Guard-1"
        self.their_device = ""

    async def send(self, message: bytes) -> None:
        await self.connection.send_message(message)

    async def send_fragment(self, data: bytes) -> None:
        """Send a frame of a message that is not finished."""
        await self.connection._send(BytesMessage(data, message_finished=False))

    async def send_control(self, **message: Any) -> None:
        await self.send(
            b"\x01" + json.dumps({name: to_array(each) for name, each in message.items()}).encode()
        )

    async def next(self) -> Any:
        """Return the next message: bytes, a control message or a datagram."""
        with trio.fail_after(HANG_S):
            message = await self.connection.get_message()
        if message[0] == 0:
            return message
        parsed = to_object(json.loads(message[1:]))
        return parsed["data"]["payload"]["datagram"] if message[0] == 2 else parsed

    async def until_closed(self) -> None:
        """Take messages until the connection is closed."""
        with suppress(ConnectionClosed):
            while True:
                await self.next()

    async def handshake(self) -> None:
        await self.send(b"\x00\x00")
        assert await self.next() == b"\x00\x00"
        assert (await self.next())["connectionHello"]["phase"] == "ready"
        await self.send_control(connectionHello={"phase": "ready", "waiting": 60000})
        await self.send_control(messageProtocolHandshake={"handshakeType": "announceMax", **OFFER})
        assert "messageProtocolHandshake" in await self.next()
        await self.send_control(messageProtocolHandshake={"handshakeType": "select", **OFFER})
        assert "connectionPinState" in await self.next()
        await self.send_control(connectionPinState={"pinState": "none"})
        assert await self.next() == {"accessMethodsRequest": []}
        await self.send_control(accessMethods={"id": "Guard-1"})
        read = await self.next()
        self.their_device = read["header"]["addressSource"]["device"]
        await self.datagram(
            "reply",
            {"nodeManagementDetailedDiscoveryData": self.discovery()},
            reference=read["header"]["msgCounter"],
        )

    def discovery(self) -> dict[str, Any]:
        address = {"device": self.device, "entity": [1], "feature": 5}
        feature = {"featureAddress": address, "featureType": "DeviceDiagnosis", "role": "server"}
        return {"featureInformation": [{"description": feature}]}

    async def bind(self) -> None:
        """Subscribe and bind to limits and configuration."""
        for kind in ("Subscription", "Binding"):
            for feature in (1, 2):
                name = kind.lower() + "Request"
                link = {
                    "clientAddress": {"device": self.device, "entity": [1], "feature": feature},
                    "serverAddress": {"device": self.their_device, "entity": [1], "feature": feature},
                }
                call = {f"nodeManagement{kind}RequestCall": {name: link}}
                assert await self.result(await self.datagram("call", call, ack=True)) == 0

    async def datagram(
        self,
        classifier: str,
        command: dict[str, Any],
        *,
        source: tuple[list[int], int] = ([0], 0),
        destination: tuple[list[int], int] = ([0], 0),
        reference: int | None = None,
        ack: bool = False,
    ) -> int:
        """Send a datagram; return its counter."""
        self.counter += 1
        header: dict[str, Any] = {
            "specificationVersion": "1.3.0",
            "addressSource": {"device": self.device, "entity": source[0], "feature": source[1]},
            "addressDestination": {"entity": destination[0], "feature": destination[1]},
            "msgCounter": self.counter,
        }
        header |= {} if reference is None else {"msgCounterReference": reference}
        header |= {"cmdClassifier": classifier} | ({"ackRequest": True} if ack else {})
        body = {"datagram": {"header": header, "payload": {"cmd": [command]}}}
        message = {"data": to_array({"header": {"protocolId": "ee1.0"}, "payload": body})}
        await self.send(b"\x02" + json.dumps(message).encode())
        return self.counter

    async def answer(self, reference: int) -> dict[str, Any]:
        """Return the datagram that answers the one with this counter; the others are collected."""
        while True:
            message = await self.next()
            if isinstance(message, dict) and "header" in message:
                self.datagrams.append(message)
                if message["header"].get("msgCounterReference") == reference:
                    return message

    async def result(self, reference: int) -> int:
        [command] = (await self.answer(reference))["payload"]["cmd"]
        return int(command["resultData"]["errorNumber"])

    async def beat(self) -> None:
        data = {"timestamp": "2026-11-26T23:22:17Z", "heartbeatCounter": self.counter}
        await self.datagram(
            "notify", {"deviceDiagnosisHeartbeatData": data}, source=([1], 5), destination=([1], 5)
        )

    async def write_limit(self, watts: float, *, active: bool = True, **more: Any) -> int:
        """Write a limit; return the result."""
        limit = {"limitId": 1, "isLimitActive": active, "value": {"number": int(watts), "scale": 0}}
        command = {
            "function": "loadControlLimitListData",
            "filter": [{"cmdControl": {"partial": {}}}],
            "loadControlLimitListData": {"loadControlLimitData": [limit | more]},
        }
        counter = await self.datagram("write", command, source=([1], 1), destination=([1], 1), ack=True)
        return await self.result(counter)


@asynccontextmanager
async def connect_guard(app: App, identity: Identity, port: int | None = None) -> AsyncIterator[SocketGuard]:
    """Connect and bind a guard, and send a heartbeat."""
    assert app.eebus_port is not None
    async with open_websocket(port or app.eebus_port, identity) as connection:
        guard = SocketGuard(connection)
        await guard.handshake()
        await guard.bind()
        await guard.beat()
        yield guard
