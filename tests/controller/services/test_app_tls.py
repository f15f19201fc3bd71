"""The whole daemon with TLS below, above and for its stations' identity, from a configuration file."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio_websocket import ConnectionRejected, open_websocket_url

from controller.cli.main import main
from controller.config import Config
from controller.config.loader import read_config
from controller.services import app
from controller.transport.tls import TlsError
from tests.controller.transport.certificates import Authority
from tests.scenario.link_harness import CsmsServer, receive_text

CALL = '[2,"1","Heartbeat",{}]'


def configured(folder: Path, port: int) -> Config:
    file = folder / "controller.toml"
    file.write_text(
        f"""
        [site]
        id = "lc"
        [store]
        directory = "{folder}"
        [listen]
        host = "127.0.0.1"
        port = 0
        certificate = "server.pem"
        key = "server.key"
        client_ca = "ca.pem"
        [[backend]]
        id = "cpo"
        url = "wss://localhost:{port}/csms/{{station}}"
        ca = "ca.pem"
        certificate = "lc.pem"
        key = "lc.key"
        [[circuit]]
        id = "grid"
        limit_a = 40
        [[station]]
        id = "CS 01"
        circuit = "grid"
        owner = "cpo"
        [[station]]
        id = "CS02"
        circuit = "grid"
        owner = "cpo"
        """
    )
    for key in folder.glob("*.key"):
        key.chmod(0o600)
    config, _ = read_config(file)
    return config


async def test_profile_3_below_and_above(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.server()
    authority.issue("lc", "lc-depot")
    theirs = authority.client(authority.issue("cs", "CS 01"))
    async with trio.open_nursery() as nursery:
        backend = CsmsServer()
        backend.tls = authority.server("csms").server(client_ca=authority.ca)
        await nursery.start(backend.run)
        controller = await nursery.start(app.run, configured(tmp_path, backend.port))
        stations = f"wss://127.0.0.1:{controller.port}/ocpp"
        async with open_websocket_url(f"{stations}/CS%2001", theirs, subprotocols=["ocpp1.6"]) as station:
            link = await backend.accept()
            assert link.path == "/csms/CS%2001"
            await station.send_message(CALL)
            assert await receive_text(link) == CALL
        with pytest.raises(ConnectionRejected) as refused:
            async with open_websocket_url(f"{stations}/CS02", theirs, subprotocols=["ocpp1.6"]):
                pass
        assert refused.value.status_code == 403
        nursery.cancel_scope.cancel()


async def test_app_tls_unusable_certificate_is_reported_at_start(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    authority.server()
    authority.issue("lc", "lc-depot")
    config = configured(tmp_path, 1)
    (tmp_path / "server.pem").write_text("nonsense")
    with pytest.raises(TlsError, match=r"listen: .*server\.pem"):
        await app.run(config)


def test_app_tls_check_finds_unusable_certificate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    authority = Authority(tmp_path)
    pairs = authority.server(), authority.issue("lc", "lc-depot")
    configured(tmp_path, 1)
    file = tmp_path / "controller.toml"
    assert main(["check", "-c", str(file)]) == 0
    capsys.readouterr()
    for pair in pairs:
        Path(pair.certificate).write_bytes((tmp_path / "ca.pem").read_bytes())
    assert main(["check", "-c", str(file)]) == 1
    failures = capsys.readouterr().err.splitlines()
    unusable = [line.partition(" cannot be used: ")[0] for line in failures if " cannot be used: " in line]
    assert unusable == [
        f"{file}:9: listen: {tmp_path}/server.pem, {tmp_path}/server.key, {tmp_path}/ca.pem",
        f"{file}:16: backend cpo: {tmp_path}/ca.pem, {tmp_path}/lc.pem, {tmp_path}/lc.key",
    ]
