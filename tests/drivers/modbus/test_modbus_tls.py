"""Modbus/TCP Security: roles in certificates, files of a meter, handshakes that fail, renewal."""

from __future__ import annotations

import json
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from cryptography import x509

from drivers.errors import BusError, Cause, DeviceRefusedError, DriverError, ModbusAnswerError
from drivers.meter_model import load_model
from drivers.meter_reader import MeterReader
from drivers.meter_service import bus_settings_of
from drivers.modbus import tcp_bus
from drivers.modbus.modbus_tls import ModbusTlsError, RoleError, TlsFiles, find_file_problems, read_role
from drivers.modbus.pymodbus_frames import Registers
from drivers.modbus.tcp_bus import TcpBus
from drivers.read_plan import ReadRange
from drivers.settings import MeterSettings
from drivers.simulated import GatewayBehavior, SimulatedBus, SimulatedMeter, serve_tcp
from tests.controller.transport.certificates import DAY, Authority

PEM = Path(__file__).with_name("pem")
ROLES: dict[str, Any] = json.loads(Path(__file__).with_name("roles.json").read_text())
"""Role extensions, and which role another implementation (.NET) read from each."""
NOW = datetime(2027, 6, 1, tzinfo=UTC)
CURRENTS = ReadRange(4, 6, 6)
LONG_S = 10.0


def pem(name: str) -> str:
    return str(PEM / f"{name}.pem")


def certificate(name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificates((PEM / f"{name}.pem").read_bytes())[0]


@pytest.mark.parametrize("name", [name for name, role in ROLES.items() if role["peer_lets_read"]])
def test_role_that_another_server_accepts_is_read(name: str) -> None:
    assert read_role(certificate(name)) == ROLES[name]["peer_reads_role"]
    assert list(find_file_problems(TlsFiles(None, pem(name)), NOW)) == []


@pytest.mark.parametrize("name", [name for name, role in ROLES.items() if not role["peer_lets_read"]])
def test_modbus_tls_role_that_another_server_refuses_is_problem(name: str) -> None:
    problems = list(find_file_problems(TlsFiles(None, pem(name)), NOW))
    assert [key for key, _, _ in problems] == ["certificate"]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c-critical", "marked critical"),
        ("c-double-octet", "an octet string"),
        ("c-ia5", "an IA5String"),
        ("c-printable", "a PrintableString"),
        ("c-sequence", "a sequence"),
        ("c-raw", "something else"),
        ("c-two-strings", "more or less than one string"),
        ("c-trailing-nul", "control characters"),
        ("c-empty-role", "its role is ''"),
        ("c-comma", "without commas"),
    ],
)
def test_malformed_role_is_named(name: str, text: str) -> None:
    with pytest.raises(RoleError, match=text):
        read_role(certificate(name))


def test_certificate_without_role_has_none() -> None:
    assert read_role(certificate("client-NO-ROLE")) is None
    assert read_role(certificate("c-wrong-oid")) is None


@pytest.mark.parametrize(
    ("files", "key", "text"),
    [
        (TlsFiles(pem("nothing")), "ca", "cannot be read: No such file"),
        (TlsFiles(str(Path(__file__))), "ca", "is no PEM certificate"),
        (TlsFiles(pem("ca"), pem("nothing")), "certificate", "cannot be read"),
        (TlsFiles(pem("ca"), str(Path(__file__))), "certificate", "is no PEM certificate"),
        (TlsFiles(pem("ca"), pem("c-expired")), "certificate", "expired on"),
        (TlsFiles(pem("ca"), pem("client-ReadOnlySunSpec"), pem("c-new")), "key", "does not belong to"),
        (TlsFiles(pem("ca"), pem("client-ReadOnlySunSpec"), pem("nothing")), "key", "cannot be read"),
        (TlsFiles(pem("ca"), pem("client-ReadOnlySunSpec"), pem("ca")), "key", "no usable private key"),
        (TlsFiles(pem("ca"), pem("c-viewer")), "certificate", 'has the role "VIEWER", which is none'),
    ],
)
def test_file_problem_names_key_and_remedy(files: TlsFiles, key: str, text: str) -> None:
    problems = list(find_file_problems(files, NOW))
    assert any(found == key and text in problem and remedy for found, problem, remedy in problems), problems


def test_file_that_is_not_valid_yet_is_named() -> None:
    early = certificate("c-notyet").not_valid_before_utc - timedelta(days=1)
    problems = list(find_file_problems(TlsFiles(None, pem("c-notyet")), early))
    assert any("is not valid before" in problem for _, problem, _ in problems)


def test_file_that_expires_soon_is_named() -> None:
    soon = datetime(2028, 11, 1, tzinfo=UTC)
    problems = list(find_file_problems(TlsFiles(None, pem("client-ReadOnlySunSpec")), soon))
    assert any("expires on 2028-11" in problem for _, problem, _ in problems)


# -- sessions ----------------------------------------------------------------------------------------


def server_context(name: str, *, client: bool = True, newest: ssl.TLSVersion | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem(name))
    if client:
        context.verify_mode = ssl.CERT_REQUIRED
        for authority in ("ca", "issuing-clients-ca"):
            context.load_verify_locations(pem(authority))
    if newest is not None:
        context.maximum_version = newest
    return context


@contextmanager
def secured_meter(context: ssl.SSLContext, behavior: GatewayBehavior | None = None) -> Iterator[int]:
    """Serve a meter over TLS, as other servers do: with threads and blocking sockets; yield its port."""
    meter = SimulatedMeter(load_model("eastron-sdm630-v2"))
    meter.set_values({"current_l1": 1.0})
    gateway = behavior or GatewayBehavior()
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(plain: socket.socket) -> None:
        gateway.connections += 1
        bus = SimulatedBus(meter, rtu=False)
        bus.override = gateway.intercept
        with suppress(OSError), context.wrap_socket(plain, server_side=True) as secured:
            if gateway.connections <= gateway.close_first:
                return
            while data := secured.recv(1024):
                secured.sendall(bus.feed(data))

    def accept() -> None:
        with suppress(OSError):
            while True:
                plain, _ = listener.accept()
                plain.settimeout(LONG_S)
                threading.Thread(target=serve, args=(plain,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


def files_of(client: str | None = "client-ReadOnlySunSpec", ca: str = "device-bundle") -> TlsFiles:
    return TlsFiles(pem(ca), None if client is None else pem(client))


async def read_once(port: int, files: TlsFiles, timeout_s: float = LONG_S) -> object:
    bus = TcpBus("127.0.0.1", port, tls=files)
    try:
        return await bus.read(1, CURRENTS, timeout_s)
    finally:
        await bus.close()


@pytest.mark.parametrize("server", ["server", "s-ok", "s-rsa", "s-iponly"])
async def test_modbus_tls_mutual_authentication_reads(server: str) -> None:
    with secured_meter(server_context(server)) as port:
        assert await read_once(port, files_of()) == Registers((0x3F80, 0, 0, 0, 0, 0))


@pytest.mark.parametrize(
    ("server", "text"),
    [
        ("s-expired", "it has expired; renew it"),
        ("s-wrongca", "add the root to ca"),
        ("s-wrongip", "set host to a name or address in the certificate"),
        ("s-dnsonly", "set host to a name or address in the certificate"),
        ("s-nosan", "set host to a name or address in the certificate"),
        ("s-ip-as-dns", "set host to a name or address in the certificate"),
        ("s-clientauth", "not issued for a server"),
    ],
)
async def test_modbus_tls_certificate_of_meter_that_is_wrong_is_named(server: str, text: str) -> None:
    with secured_meter(server_context(server)) as port, pytest.raises(ModbusTlsError) as raised:
        await read_once(port, files_of())
    assert text in str(raised.value)
    assert raised.value.cause is Cause.TLS


async def test_modbus_tls_certificate_of_meter_not_valid_yet_is_named(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    early = authority.server(good_for=3 * DAY, begins_in=2 * DAY)  # one in a file is valid some day
    with (
        secured_meter(early.server()) as port,
        pytest.raises(ModbusTlsError, match="it is not valid yet; check the clock"),
    ):
        await read_once(port, TlsFiles(authority.ca, pem("client-ReadOnlySunSpec")))


async def test_missing_root_is_named() -> None:
    with (
        secured_meter(server_context("server")) as port,
        pytest.raises(ModbusTlsError, match="add the root to ca"),
    ):
        await read_once(port, files_of(ca="other-ca"))


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
@pytest.mark.parametrize(
    ("client", "text"),
    [
        (None, "certificate required|handshake failure|no shared cipher|demands a client certificate"),
        ("c-wrongca", "unknown ca"),
        ("c-expired", "certificate expired"),
        ("c-serverauth", "unsupported certificate|bad certificate"),
        ("c-critical", "unknown|unsupported|bad certificate|handshake"),
    ],
)
async def test_modbus_tls_refused_client_certificate_names_alert(
    client: str | None, text: str, version: ssl.TLSVersion
) -> None:
    with (
        secured_meter(server_context("server", newest=version)) as port,
        pytest.raises(BusError, match=text) as raised,
    ):
        await read_once(port, files_of(client))
    assert raised.value.cause is Cause.TLS


async def test_modbus_tls_end_before_first_answer_suspects_certificate() -> None:
    with (
        secured_meter(server_context("server"), GatewayBehavior(close_first=9)) as port,
        pytest.raises(BusError, match="it may not accept our certificate"),
    ):
        await read_once(port, files_of())


async def test_tls_to_plain_meter_is_named(nursery: trio.Nursery) -> None:
    async def answer_plain(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"\x00\x01\x00\x00\x00\x03\x01\x83\x01")

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, answer_plain, listeners)
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(ModbusTlsError, match='does not use TLS; set transport = "tcp"'):
        await read_once(port, files_of())
    nursery.cancel_scope.cancel()


async def test_plain_to_tls_meter_is_named() -> None:
    with (
        secured_meter(server_context("server")) as port,
        pytest.raises((ModbusAnswerError, BusError), match=r'set transport = "tls"|closed the connection'),
    ):
        await TcpBus("127.0.0.1", port).read(1, CURRENTS, LONG_S)


async def test_handshake_that_hangs_is_named(nursery: trio.Nursery) -> None:
    async def hang(stream: trio.SocketStream) -> None:
        await trio.sleep_forever()

    listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
    nursery.start_soon(trio.serve_listeners, hang, listeners)
    port = listeners[0].socket.getsockname()[1]
    with pytest.raises(ModbusTlsError, match=r"did not complete the TLS handshake within 0\.1 s"):
        await read_once(port, files_of(), 0.1)
    nursery.cancel_scope.cancel()


async def test_no_shared_cipher_is_named() -> None:
    context = server_context("server", newest=ssl.TLSVersion.TLSv1_2)
    context.set_ciphers("AES256-SHA:@SECLEVEL=0")
    with secured_meter(context) as port, pytest.raises(ModbusTlsError, match="share no cipher"):
        await read_once(port, files_of())


async def test_closed_port_is_named() -> None:
    with secured_meter(server_context("server")) as port:
        pass
    with pytest.raises(BusError, match="nothing listens there"):
        await read_once(port, files_of())


@pytest.mark.parametrize(
    ("client", "role"), [("c-viewer", 'role "VIEWER"'), ("client-NO-ROLE", "no role"), (None, "no role")]
)
@pytest.mark.parametrize("driver", ["eastron-sdm630-v2", "sunspec-203"])
async def test_exception_1_over_tls_names_role(client: str | None, role: str, driver: str) -> None:
    gateway = GatewayBehavior(exceptions=[1] * 99)
    with secured_meter(server_context("server", client=client is not None), gateway) as port:
        meter = MeterSettings(
            id="grid", driver=driver, transport="tls", host="127.0.0.1", port=port, ca=pem("device-bundle"),
            certificate=None if client is None else pem(client),
        )  # fmt: skip
        bus = TcpBus("127.0.0.1", port, tls=bus_settings_of(meter).tls)
        with pytest.raises(DeviceRefusedError, match=f"our certificate, with {role}, may not read") as raised:
            await MeterReader(meter).read(bus)
        await bus.close()
    assert raised.value.cause is Cause.ROLE


async def test_modbus_tls_renewed_files_are_used_by_connection_that_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tcp_bus, "RENEWAL_CHECK_S", 0.0)
    file = tmp_path / "client.pem"
    file.write_bytes((PEM / "client-ReadOnlySunSpec.pem").read_bytes())
    gateway = GatewayBehavior()
    with secured_meter(server_context("server"), gateway) as port:
        bus = TcpBus("127.0.0.1", port, tls=TlsFiles(pem("device-bundle"), str(file)))
        await bus.read(1, CURRENTS, LONG_S)
        await bus.read(1, CURRENTS, LONG_S)
        assert gateway.connections == 1
        file.write_text("half of a renewal")
        await bus.read(1, CURRENTS, LONG_S)
        assert gateway.connections == 1
        file.write_bytes((PEM / "c-new.pem").read_bytes())
        await bus.read(1, CURRENTS, LONG_S)
        assert gateway.connections == 2
        await bus.close()


@pytest.mark.parametrize(
    ("files", "text"),
    [
        (TlsFiles(pem("nothing")), "nothing.pem cannot be read"),
        (TlsFiles(pem("ca"), pem("client-ReadOnlySunSpec"), pem("c-new")), "do not belong together"),
    ],
)
async def test_unusable_files_are_named_before_connecting(files: TlsFiles, text: str) -> None:
    with pytest.raises(DriverError, match=text):
        await read_once(1, files)


async def test_plain_bus_has_no_role(nursery: trio.Nursery) -> None:
    port = await nursery.start(partial(serve_tcp, SimulatedMeter(load_model("eastron-sdm630-v2"))))
    bus = TcpBus("127.0.0.1", port)
    await bus.read(1, CURRENTS, LONG_S)
    assert bus.role == ""
    await bus.close()
    nursery.cancel_scope.cancel()
