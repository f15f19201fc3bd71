"""A remote stop from the page and from a program, over HTTPS, to a station of a running daemon."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import trio

from controller.access.access_records import TokenStored
from controller.access.passwords import hash_secret
from controller.cli.main import main
from controller.config.loader import read_config
from controller.pki.certificate_profiles import Purpose
from controller.pki.issuance import Applicant
from controller.services import app
from controller.store.state_store import StateStore
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site
from tests.controller.services.test_app_outbox import Visitor
from tests.scenario.daemon_peers import (
    BOOT,
    START,
    SocketStation,
    connect_station,
    start_result,
    stop_transaction,
)

SITE = """
[site]
id = "home"
[store]
directory = "{folder}"
[listen]
host = "127.0.0.1"
port = 0
[web]
port = 0
certificate = "{page}"
key = "{page}"
[[circuit]]
id = "house"
limit_a = 40
[[card]]
token = "A"
label = "Anna"
[[station]]
id = "CS01"
circuit = "house"
"""
STOP = ("POST", "/commands/station.stop", {"station": "CS01"})
SECRET = "secret-of-the-program"


async def stop_remotely(visitor: Visitor, station: SocketStation, hour: int) -> None:
    """Start a transaction at the station, stop it through the API, and end it as the station does."""
    started = await station.request("StartTransaction", START | {"timestamp": f"2026-03-29T{hour}:00:00Z"})
    number = started["transactionId"]
    assert started["idTagInfo"] == start_result(number)["idTagInfo"]
    station.commands.clear()
    answers = []

    async def request_stop() -> None:
        answers.append(await visitor.request(*STOP))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(request_stop)
        await station.accept_until("RemoteStopTransaction")
    assert station.payloads["RemoteStopTransaction"] == {"transactionId": number}
    [(status, answer)] = answers
    assert (status, answer["result"]["status"]) == (200, "Accepted")
    ended = stop_transaction(number) | {"timestamp": f"2026-03-29T{hour}:30:00Z"}
    await station.request("StopTransaction", ended)


async def test_app_remote_stop_by_login_and_token_ends_transaction(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, file = write_site(tmp_path)
    page = issue_identity(ca, "page", Applicant(id="page", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",)))
    file.write_text(SITE.format(folder=tmp_path, page=page))
    store = StateStore(tmp_path)
    store.persist_now([TokenStored("program", hash_secret(SECRET), ("stations:run",), time.time())])
    store.close()
    assert main(["user", "add", "bert", "--role", "operator", "-c", str(file)]) == 0
    password = re.findall(r"\S{12,}", capsys.readouterr().out)[-1]
    async with trio.open_nursery() as nursery:
        controller = await nursery.start(app.run, read_config(file)[0])
        assert controller.web_port is not None
        trust = ca.path / "trust.pem"
        bert = Visitor(controller.web_port, trust)
        program = Visitor(controller.web_port, trust, token=SECRET)
        assert (await bert.request(*STOP))[0] == 401
        assert (await bert.request("POST", "/login", {"name": "bert", "password": password}))[0] == 200
        status, answer = await bert.request(*STOP)
        assert status == 409
        assert "is not connected" in answer["detail"]
        with trio.fail_after(60):
            async with connect_station(controller) as station:
                await station.request("BootNotification", BOOT)
                await stop_remotely(bert, station, 12)
                await stop_remotely(program, station, 13)
                assert controller.sessions.running() == []
        nursery.cancel_scope.cancel()
