"""MQTT against mosquitto: password, TLS, commands, availability, alarms left by an earlier run."""

from __future__ import annotations

import getpass
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import paho.mqtt.client as mqtt
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from msgspec.structs import replace
from paho.mqtt.enums import CallbackAPIVersion

from controller.config.schema import MeterConfig, MqttConfig
from controller.services.app import App
from drivers.meter_model import load_model
from drivers.simulated import SimulatedMeter, serve_tcp
from tests.controller.services.test_app import running, site
from tests.interop.programs import PATIENCE_S, free_port

MOSQUITTO = shutil.which("mosquitto") or "/usr/sbin/mosquitto"


@asynccontextmanager
async def broker(folder: Path, *lines: str, port: int) -> AsyncIterator[subprocess.Popen[bytes]]:
    file = folder / "mosquitto.conf"
    file.write_text("\n".join([f"user {getpass.getuser()}", f"listener {port} 127.0.0.1", *lines, ""]))
    process = subprocess.Popen([MOSQUITTO, "-c", str(file)], stderr=subprocess.DEVNULL)  # noqa: ASYNC220
    try:
        await until(lambda: is_open(port))
        yield process
    finally:
        process.terminate()
        process.wait()


def is_open(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(PATIENCE_S):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.02)


class Subscriber:
    """A client that keeps the last message of each topic."""

    def __init__(self, port: int, **login: str) -> None:
        self.messages: dict[str, bytes] = {}
        self.client = mqtt.Client(CallbackAPIVersion.VERSION2)
        if login:
            self.client.username_pw_set(**login)
        self.client.on_message = self._on_message
        self.is_subscribed = False
        self.client.on_connect = lambda client, *_: client.subscribe("#", qos=1)
        self.client.on_subscribe = self._on_subscribe
        self.client.connect("127.0.0.1", port)
        self.client.loop_start()

    def _on_subscribe(self, *_: Any) -> None:
        self.is_subscribed = True

    def _on_message(self, _client: mqtt.Client, _userdata: Any, message: mqtt.MQTTMessage) -> None:
        self.messages[message.topic] = message.payload

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


async def subscribe_all(port: int, **login: str) -> Subscriber:
    """Return a client once the broker has confirmed its subscription: it misses no message from then on."""
    subscriber = Subscriber(port, **login)
    await until(lambda: subscriber.is_subscribed)
    return subscriber


@asynccontextmanager
async def publishing(folder: Path, settings: MqttConfig) -> AsyncIterator[App]:
    async with site(folder) as (config, _), running(replace(config, mqtt=settings)) as app:
        yield app


async def test_mqtt_broker_state_commands_and_availability_with_password(tmp_path: Path) -> None:
    port = free_port()
    (tmp_path / "passwords").write_text("lc:secret\n")
    subprocess.run(["mosquitto_passwd", "-U", str(tmp_path / "passwords")], check=True)  # noqa: ASYNC221
    (tmp_path / "passwords").chmod(0o644)
    (tmp_path / "mqtt-password").write_text("secret\n")
    settings = MqttConfig(
        host="127.0.0.1",
        port=port,
        username="lc",
        password_file=str(tmp_path / "mqtt-password"),
        interval_s=1.0,
        permissions=("stations:run",),
    )
    async with broker(tmp_path, f"password_file {tmp_path / 'passwords'}", port=port):
        subscriber = await subscribe_all(port, username="lc", password="secret")
        root = "local-controller/lc"
        device = b'{"availability": [{"topic": "%s/status"}]}'
        left = {
            f"{root}/alarms/meter-lost/old": b"{}",
            f"{root}/stations/CS99/connected": b"true",
            "homeassistant/device/lc_lc_CS99/config": device % root.encode(),
        }
        others = {"homeassistant/device/lc_other/config": device % b"local-controller/other"}
        for topic, payload in (left | others).items():
            subscriber.client.publish(topic, payload, qos=1, retain=True)
        await until(lambda: (left | others).keys() <= subscriber.messages.keys())
        async with publishing(tmp_path, settings):
            await until(lambda: subscriber.messages.get(f"{root}/status") == b"online")
            await until(lambda: f"{root}/stations/CS02/1/reason" in subscriber.messages)
            assert subscriber.messages[f"{root}/stations/CS01/connected"] == b"false"
            found = subscriber.messages["homeassistant/device/lc_lc_CS01/config"]
            assert msgspec.json.decode(found)["device"]["via_device"] == "lc_lc"
            await until(lambda: {subscriber.messages[topic] for topic in left} == {b""})
            assert [subscriber.messages[topic] for topic in others] == list(others.values())

            pause = b'{"command": "station.pause", "station": "CS01", "duration_s": 60, "request_id": "p1"}'
            subscriber.client.publish(f"{root}/command", pause)
            await until(lambda: f"{root}/result" in subscriber.messages)
            result = msgspec.json.decode(subscriber.messages.pop(f"{root}/result"))
            assert result["result"]["evses"] == ["CS01/1"]
            assert (result["command"], result["request_id"]) == ("station.pause", "p1")
            for text, names, problem in (
                (
                    b'{"command": "user.add", "user": "eve", "role": "viewer"}',
                    {"command": "user.add"},
                    "needs the permission users:edit",
                ),
                (b"nonsense", {}, "malformed"),
                (
                    b'{"command": "station.pause", "station": "CS99"}',
                    {"command": "station.pause"},
                    "not in the",
                ),
                (b'{"command": "pause", "request_id": 7}', {"command": "pause", "request_id": 7}, "unknown"),
                (b'{"command": "station.pause", "request_id": [7]}', {}, "request_id"),
                (b"x" * 10_000, {}, "longer than"),
            ):
                subscriber.client.publish(f"{root}/command", text)
                await until(lambda: f"{root}/result" in subscriber.messages)
                result = msgspec.json.decode(subscriber.messages.pop(f"{root}/result"))
                assert problem in result["error"]
                assert result.keys() - {"time", "error"} == names.keys()
                assert names.items() <= result.items()

            del subscriber.messages["homeassistant/device/lc_lc/config"]
            subscriber.client.publish("homeassistant/status", b"online")
            await until(lambda: "homeassistant/device/lc_lc/config" in subscriber.messages)
        await until(lambda: subscriber.messages[f"{root}/status"] == b"offline")
        subscriber.close()


async def test_mqtt_broker_gets_energies_and_voltages_of_meter(tmp_path: Path) -> None:
    port = free_port()
    settings = MqttConfig(host="127.0.0.1", port=port, interval_s=1.0)
    simulated = SimulatedMeter(load_model("eastron-sdm630-v2"))
    simulated.set_values({"energy_import_total": 1_234_000.0, "voltage_l1": 231.4, "current_l1": 5.0})
    root = "local-controller/lc/meters/grid"
    async with broker(tmp_path, "allow_anonymous true", port=port), trio.open_nursery() as nursery:
        subscriber = await subscribe_all(port)
        meter = MeterConfig(
            id="grid",
            driver="eastron-sdm630-v2",
            transport="tcp",
            host="127.0.0.1",
            port=await nursery.start(serve_tcp, simulated),
        )
        async with site(tmp_path) as (config, _):
            circuit = replace(config.circuit[0], meter="grid")
            metered = replace(config, mqtt=settings, meter=(meter,), circuit=(circuit,))
            async with running(metered):
                await until(lambda: subscriber.messages.get(f"{root}/energy_import_wh") == b"1234000")
                await until(lambda: subscriber.messages.get(f"{root}/voltage_l1_v") == b"231.4")
                await until(lambda: subscriber.messages.get(f"{root}/quality") == b"good")
                await until(lambda: "homeassistant/device/lc_lc/config" in subscriber.messages)
                device = msgspec.json.decode(subscriber.messages["homeassistant/device/lc_lc/config"])
                energy = device["components"]["meter_grid_energy_import"]
                assert energy["state_topic"] == f"{root}/energy_import_wh"
                assert (energy["device_class"], energy["state_class"]) == ("energy", "total_increasing")
                voltage = device["components"]["meter_grid_voltage_l1"]
                assert (voltage["device_class"], voltage["unit_of_measurement"]) == ("voltage", "V")
        nursery.cancel_scope.cancel()
        subscriber.close()


async def test_retained_command_is_never_executed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    port = free_port()
    settings = MqttConfig(host="127.0.0.1", port=port, interval_s=1.0, permissions=("stations:run",))
    async with broker(tmp_path, "allow_anonymous true", port=port):
        subscriber = await subscribe_all(port)
        pause = b'{"command": "station.pause", "station": "CS01"}'
        subscriber.client.publish("local-controller/lc/command", pause, qos=1, retain=True).wait_for_publish(
            5
        )
        async with publishing(tmp_path, settings) as app:
            await until(lambda: "reason=retained" in caplog.text)
            assert app._operations.audit.latest() == []
        subscriber.close()


async def test_commands_are_not_subscribed_without_permissions(tmp_path: Path) -> None:
    port = free_port()
    async with broker(tmp_path, "allow_anonymous true", port=port):
        subscriber = await subscribe_all(port)
        async with publishing(tmp_path, MqttConfig(host="127.0.0.1", port=port, interval_s=1.0)) as app:
            await until(lambda: "local-controller/lc/stations/CS01/1/state" in subscriber.messages)
            command = b'{"command": "station.pause", "station": "CS01"}'
            subscriber.client.publish("local-controller/lc/command", command, qos=1).wait_for_publish(5)
            await until(lambda: subscriber.messages.get("local-controller/lc/command") == command)
            assert app._operations.audit.latest() == []
        subscriber.close()


async def test_broker_that_connects_late_gets_whole_state(tmp_path: Path) -> None:
    port = free_port()
    async with publishing(tmp_path, MqttConfig(host="127.0.0.1", port=port, interval_s=1.0)):
        for _ in range(2):
            await read_state_once(tmp_path, port)


async def read_state_once(folder: Path, port: int) -> None:
    async with broker(folder, "allow_anonymous true", port=port):
        subscriber = await subscribe_all(port)
        await until(lambda: "local-controller/lc/stations/CS01/1/state" in subscriber.messages)
        subscriber.close()


def lose_broker(process: subprocess.Popen[bytes], client: mqtt.Client) -> None:
    """End the broker and return once the client's thread has closed its socket.

    Blocks the trio thread meanwhile, so that no event of the client is handled there.
    """
    process.kill()
    process.wait()
    end = time.monotonic() + PATIENCE_S
    while client.socket() is not None:
        assert time.monotonic() < end, "the client has not closed its socket"
        time.sleep(0.01)


async def test_mqtt_broker_that_rejects_is_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    settings = MqttConfig(host="127.0.0.1", port=port, username="eve", interval_s=1.0)
    (tmp_path / "passwords").write_text("")
    async with (
        broker(tmp_path, f"password_file {tmp_path / 'passwords'}", port=port),
        publishing(tmp_path, settings) as app,
    ):
        service = app._publishing._mqtt
        assert service is not None
        attempts: list[str] = []
        rejected = service._rejected
        service._rejected = lambda reason: (attempts.append(reason), rejected(reason))[1]  # type: ignore[method-assign]
        await until(lambda: len(attempts) >= 2)
    assert caplog.text.count("MQTT connection rejected") == 1


async def test_mqtt_broker_lost_before_stop_does_not_raise(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = free_port()
    settings = MqttConfig(host="127.0.0.1", port=port, interval_s=1.0)
    async with (
        broker(tmp_path, "allow_anonymous true", port=port) as process,
        publishing(tmp_path, settings) as app,
    ):
        service = app._publishing._mqtt
        assert service is not None
        await until(lambda: service._is_connected)
        lose_broker(process, service._client)
        assert service._is_connected
        service._stop()
        assert "MQTT status not published status=offline" in caplog.text


async def test_mqtt_own_topics_are_subscribed_after_whole_state(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    publish, subscribe = mqtt.Client.publish, mqtt.Client.subscribe

    def record_publish(client: mqtt.Client, topic: str, *rest: Any, **more: Any) -> mqtt.MQTTMessageInfo:
        calls.append(topic)
        return publish(client, topic, *rest, **more)

    def record_subscribe(client: mqtt.Client, topic: Any, *rest: Any, **more: Any) -> Any:
        calls.extend([topic] if isinstance(topic, str) else [each for each, _ in topic])
        return subscribe(client, topic, *rest, **more)

    monkeypatch.setattr(mqtt.Client, "publish", record_publish)
    monkeypatch.setattr(mqtt.Client, "subscribe", record_subscribe)
    port = free_port()
    root = "local-controller/lc"
    settings = MqttConfig(host="127.0.0.1", port=port, interval_s=1.0)
    async with broker(tmp_path, "allow_anonymous true", port=port), publishing(tmp_path, settings):
        await until(lambda: f"{root}/alarms/#" in calls)
    before = calls[: calls.index(f"{root}/alarms/#")]
    assert f"{root}/stations/CS02/1/power_w" in before


def make_certificates(folder: Path) -> None:
    """Write a CA and a certificate for 127.0.0.1 and localhost."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "broker")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "broker.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    (folder / "broker.key").write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    for name_of in ("broker.pem", "broker.key"):
        (folder / name_of).chmod(0o644)


async def test_mqtt_broker_with_revoked_certificate_is_left(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    port = free_port()
    make_certificates(tmp_path)
    lines = (
        f"certfile {tmp_path / 'broker.pem'}",
        f"keyfile {tmp_path / 'broker.key'}",
        "allow_anonymous true",
    )
    objections: list[str] = []

    def find_objection(certificate: bytes) -> str | None:
        assert x509.load_der_x509_certificate(certificate).serial_number == 1
        return objections[0] if objections else None

    monkeypatch.setattr("controller.services.app.make_server_check", lambda config: find_objection)
    monkeypatch.setattr("controller.services.publishing.mqtt_service.CERTIFICATE_CHECK_S", 0.1)
    settings = MqttConfig(
        host="localhost", port=port, tls=True, ca=str(tmp_path / "broker.pem"), interval_s=1.0
    )
    async with broker(tmp_path, *lines, port=port), publishing(tmp_path, settings) as app:
        service = app._publishing._mqtt
        assert service is not None
        await until(lambda: service._is_connected)
        objections.append("certificate 1 of broker is revoked")
        await until(lambda: "MQTT connection closed host=localhost reason=certificate 1" in caplog.text)
        await until(lambda: "MQTT connection failed" in caplog.text)
        assert "reason=certificate 1 of broker is revoked" in caplog.text.partition("failed")[2]


@pytest.mark.parametrize(("host", "connects"), [("localhost", True), ("127.0.0.1", False)])
async def test_mqtt_broker_tls_needs_certificate_for_host(
    tmp_path: Path, host: str, connects: bool, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    port, plain = free_port(), free_port()
    make_certificates(tmp_path)
    lines = (
        f"certfile {tmp_path / 'broker.pem'}",
        f"keyfile {tmp_path / 'broker.key'}",
        f"listener {plain} 127.0.0.1",
        "allow_anonymous true",
    )
    settings = MqttConfig(host=host, port=port, tls=True, ca=str(tmp_path / "broker.pem"), interval_s=1.0)
    async with broker(tmp_path, *lines, port=port):
        await until(lambda: is_open(plain))
        subscriber = await subscribe_all(plain)
        async with publishing(tmp_path, settings):
            if connects:
                await until(lambda: subscriber.messages.get("local-controller/lc/status") == b"online")
            else:
                await until(lambda: "certificate verify failed" in caplog.text)
                assert "local-controller/lc/status" not in subscriber.messages
        subscriber.close()
