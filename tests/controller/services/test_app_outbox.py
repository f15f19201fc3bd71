"""Messages that a backend rejects, decided about on the page of a daemon, over HTTPS and with a login."""

from __future__ import annotations

import http.client
import json
import re
import ssl
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from controller.cli.main import main
from controller.config.loader import read_config
from controller.offline.journal_records import EntrySetAside
from controller.pki.certificate_profiles import Purpose
from controller.pki.issuance import Applicant
from controller.services import app
from controller.store.state_store import StateStore
from tests.bounds import HANG_S
from tests.controller.services.certificates.test_certificate_service import issue_identity, write_site
from tests.controller.services.web.test_record_readers import queued


class Visitor:
    """A browser: one login, whose cookie it sends; with a bearer token a program, which has no login."""

    def __init__(self, port: int, trust: Path, *, token: str = "") -> None:
        self._token = token
        self._port = port
        self._context = ssl.create_default_context(cafile=str(trust))
        self._cookie = ""

    async def request(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return await trio.to_thread.run_sync(partial(self._request, method, path, body))

    def _request(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        connection = http.client.HTTPSConnection("127.0.0.1", self._port, context=self._context, timeout=20)
        if self._token:
            headers = {"Authorization": f"Bearer {self._token}"}
        else:
            headers = {"Cookie": self._cookie, "Origin": f"https://127.0.0.1:{self._port}"}
        content = None
        if body is not None:
            content, headers["Content-Type"] = json.dumps(body), "application/json"
        connection.request(method, f"/api/v1{path}", content, headers)
        answer = connection.getresponse()
        text = answer.read()
        if cookie := answer.getheader("Set-Cookie"):
            assert "Secure" in cookie
            self._cookie = cookie.partition(";")[0]
        connection.close()
        return answer.status, json.loads(text) if text else None


async def test_message_set_aside_is_dropped_and_retried_on_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ca, file = write_site(tmp_path)
    page = issue_identity(ca, "page", Applicant(id="page", purpose=Purpose.CONTROLLER, hosts=("127.0.0.1",)))
    file.write_text(file.read_text() + f'\n[web]\nport = 0\ncertificate = "{page}"\nkey = "{page}"\n')
    store = StateStore(tmp_path)
    store.persist_now([queued(1), queued(2), queued(3)])
    store.persist_now([EntrySetAside("CS01", "cpo", number, "GenericError") for number in (1, 2)])
    store.close()
    passwords = {}
    for name, role in (("anna", "administrator"), ("bert", "operator")):
        assert main(["user", "add", name, "--role", role, "-c", str(file)]) == 0
        passwords[name] = re.findall(r"\S{12,}", capsys.readouterr().out)[-1]
    async with trio.open_nursery() as nursery:
        controller = await nursery.start(app.run, read_config(file)[0])
        assert controller.web_port is not None
        anna, bert = (Visitor(controller.web_port, ca.path / "trust.pem") for _ in range(2))
        assert (await anna.request("GET", "/outbox"))[0] == 401
        for visitor, name in ((anna, "anna"), (bert, "bert")):
            login = {"name": name, "password": passwords[name]}
            assert (await visitor.request("POST", "/login", login))[0] == 200
        _, found = await bert.request("GET", "/outbox")
        assert [(each["number"], each["action"], each["reason"]) for each in found] == [
            (1, "StopTransaction", "GenericError"),
            (2, "StopTransaction", "GenericError"),
        ]
        target = {"station": "CS01", "backend": "cpo"}
        first, second = target | {"number": 1}, target | {"number": 2}
        assert (await bert.request("POST", "/commands/outbox.drop", first))[0] == 403
        assert (await bert.request("POST", "/commands/outbox.retry", second))[0] == 200
        assert (await anna.request("POST", "/commands/outbox.drop", first))[0] == 200
        with trio.fail_after(HANG_S):
            while (await anna.request("GET", "/outbox"))[1]:  # noqa: ASYNC110
                await trio.sleep(0.1)
        status, answer = await anna.request("POST", "/commands/outbox.drop", first)
        assert status == 404
        assert "no message 1 of 'CS01' for 'cpo' is set aside" in answer["detail"]
        nursery.cancel_scope.cancel()
