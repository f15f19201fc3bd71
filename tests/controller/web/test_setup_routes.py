"""The page in setup mode: its files for everybody, all else for who has the code."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controller.web.http_messages import ProblemError, Response, WebRequest
from controller.web.setup_routes import SetupRoutes
from tests.controller.web.fake_setup import FakeSetup

CODE = "K7QM-2PXA-9DHT"


class SetupClient:
    """Client of the routes in setup mode, without a socket."""

    def __init__(self) -> None:
        self.setup, self.events = FakeSetup(), list[str]()
        self.routes = SetupRoutes(
            self.setup, CODE, lambda: self.events.append("written"), lambda: self.events.append("finished")
        )
        self.headers = {"host": "127.0.0.1:8080", "content-type": "application/json"}
        self.now = 0.0

    async def request(self, method: str, path: str, body: object = None, **headers: str) -> Response:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        request = WebRequest(
            method=method,
            path=path,
            query={},
            headers={"sec-fetch-site": "same-origin", **self.headers, **given},
            body=msgspec.json.encode(body if body is not None else {}),
            peer="192.0.2.9",
            now=self.now,
        )
        try:
            return await self.routes.respond(request)
        except ProblemError as problem:
            return problem.response()

    async def post(self, path: str, body: object = None, **headers: str) -> tuple[int, Any]:
        response = await self.request("POST", f"/api/v1/setup/{path}", body, **headers)
        return response.status, msgspec.json.decode(response.body)

    async def login(self, code: str = CODE) -> int:
        response = await self.request("POST", "/api/v1/setup/login", {"code": code})
        if response.status == 200:
            self.headers["cookie"] = dict(response.headers)["Set-Cookie"].partition(";")[0]
        return response.status


@pytest.mark.parametrize("path", ["/", "/setup", "/assets/setup.js", "/assets/page.css"])
async def test_setup_routes_files_need_no_code(path: str) -> None:
    response = await SetupClient().request("GET", path)
    assert response.status == 200
    assert "default-src 'none'" in dict(response.headers)["Content-Security-Policy"]


@pytest.mark.parametrize("path", ["next", "search", "write", "finish"])
async def test_setup_routes_without_code_are_401(path: str) -> None:
    client = SetupClient()
    status, _ = await client.post(path, {"answers": {"site.id": "x"}, "target": "/dev/ttyUSB0"})
    assert status == 401
    assert client.setup.written == client.events == []


async def test_setup_routes_code_is_read_without_regard_to_case() -> None:
    client = SetupClient()
    assert await client.login("k7qm2pxa 9dht") == 200
    status, progress = await client.post("next", {"answers": {}})
    assert (status, progress["section"]["name"]) == (200, "site")


async def test_setup_routes_wrong_codes_are_paused() -> None:
    client = SetupClient()
    statuses = [await client.login("AAAA-AAAA-AAAA") for _ in range(6)]
    assert statuses[0] == 401
    assert statuses[-1] == 429
    assert await client.login() == 429
    client.now = 120.0
    assert await client.login() == 200


async def test_setup_routes_write_shows_password_then_finishes() -> None:
    client = SetupClient()
    await client.login()
    assert (await client.post("write", {"answers": {}}))[0] == 409
    status, result = await client.post("write", {"answers": {"site.id": "depot"}})
    assert (status, result["password"]) == (200, "generated")
    assert client.setup.written == [({"site.id": "depot"}, "setup")]
    await client.post("finish")
    assert client.events == ["written", "finished"]


async def test_setup_routes_foreign_page_is_rejected() -> None:
    client = SetupClient()
    await client.login()
    status, _ = await client.post("write", {"answers": {"site.id": "x"}}, sec_fetch_site="cross-site")
    assert status == 403
    response = await client.request("GET", "/", host="rebound.example")
    assert response.status == 421


async def test_setup_routes_other_addresses_name_setup_mode() -> None:
    client = SetupClient()
    for path in ("/metrics", "/api/v1/status", "/api/v1/me"):
        response = await client.request("GET", path)
        assert response.status == 404
        assert b"setup mode" in response.body
    assert (await client.request("GET", "/api/v1/setup/next")).status == 405
