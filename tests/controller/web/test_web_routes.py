from __future__ import annotations

import re

import msgspec
import pytest
from msgspec.structs import replace

from controller.access.permissions import Actor, read_permissions
from controller.web.http_messages import StreamResponse, WebRequest
from controller.web.page import ASSETS, POLICY
from controller.web.status_model import ControllerStatus, read_status
from controller.web.web_routes import REQUEST_BURST, STATUS_PERIOD_S, STATUS_SHARE
from tests.controller.web.examples import STATUS
from tests.controller.web.fake_site import FakeSite, WebClient


def viewer_of(client: WebClient, secret: str = "lc_token", *scopes: str) -> None:
    permissions = read_permissions(scopes or ["status:read", "stations:read"])
    client.access.tokens_valid[secret] = Actor("grafana", "api", permissions)


async def test_status_is_read_back_unchanged() -> None:
    response = await WebClient(open_status=True).get("/api/status?now=1")
    assert (response.status, response.content_type) == (200, "application/json")
    assert read_status(response.body) == STATUS


async def test_status_members_are_those_that_scripts_rely_on() -> None:
    shown = msgspec.json.decode((await WebClient(open_status=True).get("/api/status")).body)
    assert list(shown)[:19] == [
        "site",
        "version",
        "time",
        "healthy",
        "tick_age_s",
        "circuits",
        "evses",
        "links",
        "backends",
        "damaged",
        "store",
        "signatures",
        "dimming",
        "timezone",
        "overlay",
        "eebus",
        "clock",
        "expiries",
        "configuration_problem",
    ]
    assert {"meters", "stations", "alarms", "knocks"} <= set(shown)
    assert list(shown["circuits"][0])[:13] == [
        "id",
        "parent",
        "limit_a",
        "measured_a",
        "base_a",
        "booked_a",
        "meter_quality",
        "meter_problem",
        "meter_cause",
        "over_limit_s",
        "overloads",
        "margin_a",
        "jump_a",
    ]
    assert list(shown["evses"][0])[:13] == [
        "station",
        "evse",
        "circuit",
        "ocpp",
        "connected",
        "state",
        "offered_a",
        "drawn_a",
        "reason",
        "single_phase",
        "reaction_s",
        "step_a",
        "obeys",
    ]
    assert shown["evses"][0]["state"] == "charging"
    assert shown["circuits"][1]["meter_quality"] is None


@pytest.mark.parametrize(("healthy", "code"), [(True, 200), (False, 503)])
async def test_web_routes_health_is_status_code(healthy: bool, code: int) -> None:
    response = await WebClient(FakeSite(lambda: replace(STATUS, healthy=healthy))).get("/healthz")
    assert response.status == code
    assert msgspec.json.decode(response.body) == {"healthy": healthy, "degraded": [], "tick_age_s": 0.4}


async def test_metrics_name_their_format_and_need_no_login() -> None:
    response = await WebClient().get("/metrics")
    assert response.content_type == "text/plain; version=0.0.4; charset=utf-8"


async def test_web_routes_page_policy_allows_only_own_files() -> None:
    page = await WebClient().get("/")
    headers = dict(page.headers)
    assert headers["Content-Security-Policy"] == POLICY
    assert POLICY.startswith("default-src 'none';")
    assert "unsafe" not in POLICY
    text = page.body.decode()
    assert "<style" not in text
    assert re.findall(r"<script(?! src)", text) == []
    for path in re.findall(r'(?:src|href)="([^"#]+)"', text):
        assert (await WebClient().get(path)).status == 200, path


def test_page_writes_no_markup_and_has_no_foreign_address() -> None:
    for path, asset in ASSETS.items():
        text = asset.body.decode().replace("http://www.w3.org/2000/svg", "")
        for forbidden in (
            "innerHTML",
            "insertAdjacentHTML",
            "outerHTML",
            " style=",
            "http://",
            "https://",
            "eval(",
        ):
            assert forbidden not in text, (path, forbidden)


async def test_web_routes_unknown_address_is_404_with_known_ones() -> None:
    response = await WebClient().get("/favicon.ico")
    assert response.status == 404
    assert b"/metrics" in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
async def test_other_methods_are_rejected(method: str) -> None:
    response = await WebClient(open_status=True).request(method, "/api/status")
    assert response.status == 405
    assert dict(response.headers) == {"Allow": "GET, HEAD"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "192.0.2.7:8080", "[::1]:8080", "localhost", "LC.Example.org:80"]
)
async def test_own_host_name_or_address_is_served(host: str) -> None:
    assert (await WebClient(names=("lc.example.org",)).get("/", host=host)).status == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "lc.example.org.evil.example", "localhost.evil.example"]
)
async def test_foreign_host_name_is_rejected(host: str) -> None:
    client = WebClient(names=("lc.example.org",), open_status=True)
    response = await client.get("/api/status", host=host)
    assert response.status == 421
    assert b"lc-depot" not in response.body


@pytest.mark.parametrize(
    ("effort_s", "shown_s"),
    [(0.002, 0.002 / STATUS_SHARE), (0.4, STATUS_PERIOD_S)],
    ids=["small site", "large site"],
)
async def test_web_routes_status_is_shown_to_all_for_as_long_as_it_costs(
    effort_s: float, shown_s: float
) -> None:
    reads: list[float] = []
    spent_s = 0.0

    def read() -> ControllerStatus:
        nonlocal spent_s
        spent_s += effort_s
        reads.append(client.now)
        return STATUS

    client = WebClient(FakeSite(read), open_status=True, clock=lambda: spent_s)
    for client.now in (0.0, 0.2 * shown_s, 0.99 * shown_s, shown_s, 1.5 * shown_s):
        for target in ("/api/status", "/metrics", "/healthz"):
            await client.get(target)
    assert reads == [0.0, shown_s]


async def test_web_routes_eebus_qr_code_is_image_where_there_is_node() -> None:
    response = await WebClient(open_status=True).get("/api/eebus/qr.svg")
    assert (response.status, response.content_type) == (200, "image/svg+xml")
    assert b"<svg" in response.body
    without = WebClient(FakeSite(lambda: replace(STATUS, eebus=None)), open_status=True)
    assert (await without.get("/api/eebus/qr.svg")).status == 404


# -- who may do what -----------------------------------------------------------------------------------


@pytest.mark.parametrize("target", ["/api/status", "/api/eebus/qr.svg", "/api/v1/status", "/api/v1/live"])
async def test_web_routes_status_needs_login_unless_it_is_open(target: str) -> None:
    response = await WebClient().open("GET", target)
    assert not isinstance(response, StreamResponse)
    assert response.status == 401
    assert "Bearer" in dict(response.headers)["WWW-Authenticate"]
    assert b"CS01" not in response.body
    opened = await WebClient(open_status=True).open("GET", target)
    assert isinstance(opened, StreamResponse) or opened.status == 200


@pytest.mark.parametrize(
    "target", ["/api/v1/sessions", "/api/v1/events", "/api/v1/configuration", "/api/v1/users"]
)
async def test_open_status_shows_nothing_else(target: str) -> None:
    assert (await WebClient(open_status=True).get(target)).status == 401


async def test_web_routes_login_sets_strict_cookie_and_opens_what_role_allows() -> None:
    client = WebClient()
    response = await client.login("operator")
    cookie = dict(response.headers)["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=Strict" in cookie
    assert (await client.get("/api/v1/sessions")).status == 200
    assert (await client.get("/api/v1/users")).status == 403
    assert (await client.get("/api/v1/configuration")).status == 403
    await client.post("/api/v1/logout")
    assert (await client.get("/api/v1/sessions")).status == 401


async def test_wrong_password_is_rejected() -> None:
    response = await WebClient().post("/api/v1/login", b'{"name": "operator", "password": "x"}')
    assert response.status == 401
    assert "Set-Cookie" not in dict(response.headers)


async def test_web_routes_cookie_over_tls_is_secure_and_bound_to_host() -> None:
    request = WebRequest(
        method="POST",
        path="/api/v1/login",
        headers={"host": "localhost", "content-type": "application/json", "sec-fetch-site": "same-origin"},
        body=b'{"name": "viewer", "password": "viewer"}',
        is_secure=True,
    )
    response = await WebClient().routes.respond(request)
    assert not isinstance(response, StreamResponse)
    cookie = dict(response.headers)["Set-Cookie"]
    assert cookie.startswith("__Host-session=")
    assert "; Secure" in cookie


async def test_web_routes_command_is_executed_for_actor() -> None:
    client = WebClient()
    await client.login("operator")
    response = await client.post("/api/v1/commands/station.pause", b'{"station": "CS01"}')
    assert response.status == 200
    assert msgspec.json.decode(response.body) == {"result": {"done": "station.pause"}}
    [(command, actor)] = client.site.executed
    assert (command.name, actor.name) == ("station.pause", "operator")


@pytest.mark.parametrize("role", ["viewer", ""])
async def test_command_without_permission_is_rejected(role: str) -> None:
    client = WebClient(open_status=True)
    if role:
        await client.login(role)
    response = await client.post("/api/v1/commands/station.pause", b'{"station": "CS01"}')
    assert response.status == (403 if role else 401)
    assert client.site.executed == []


@pytest.mark.parametrize(
    "headers",
    [
        {"sec_fetch_site": "cross-site"},
        {"sec_fetch_site": "same-site"},
        {"sec_fetch_site": "cross-site", "origin": "http://localhost"},
    ],
)
async def test_web_routes_command_of_foreign_page_is_rejected(headers: dict[str, str]) -> None:
    client = WebClient()
    await client.login("operator")
    response = await client.post("/api/v1/commands/station.pause", b'{"station": "CS01"}', **headers)
    assert response.status == 403
    assert client.site.executed == []


async def test_web_routes_origin_decides_where_browser_names_no_site() -> None:
    client = WebClient()
    await client.login("operator")
    for origin, status in (("http://localhost", 200), ("http://evil.example", 403), (None, 403)):
        headers = {"content_type": "application/json"} | ({} if origin is None else {"origin": origin})
        response = await client.request(
            "POST", "/api/v1/commands/station.resume", b'{"station": "CS01"}', **headers
        )
        assert response.status == status, origin


async def test_web_routes_form_of_foreign_page_is_no_command() -> None:
    client = WebClient()
    await client.login("operator")
    response = await client.post(
        "/api/v1/commands/station.pause", b'{"station": "CS01"}', content_type="text/plain"
    )
    assert response.status == 415


async def test_web_routes_token_has_scopes_alone() -> None:
    client = WebClient()
    viewer_of(client, "lc_token", "status:read")
    header = {"authorization": "Bearer lc_token"}
    assert (await client.get("/api/v1/status", **header)).status == 200
    assert (await client.get("/api/v1/stations", **header)).status == 403
    plain = {"content_type": "application/json"}
    response = await client.request(
        "POST", "/api/v1/commands/station.pause", b'{"station": "CS01"}', **header, **plain
    )
    assert response.status == 403


@pytest.mark.parametrize("target", ["/api/status", "/api/v1/live", "/api/eebus/qr.svg"])
async def test_web_routes_token_of_other_scope_reads_no_status(target: str) -> None:
    client = WebClient(open_status=True)
    viewer_of(client, "lc_token", "stations:run", "outbox:read")
    response = await client.open("GET", target, authorization="Bearer lc_token")
    assert not isinstance(response, StreamResponse)
    assert response.status == 403
    assert b"status:read" in response.body


async def test_web_routes_stream_ends_when_token_loses_scope() -> None:
    client = WebClient()
    viewer_of(client)
    response = await client.open("GET", "/api/v1/live", authorization="Bearer lc_token")
    assert isinstance(response, StreamResponse)
    viewer_of(client, "lc_token", "stations:read")
    assert await response.source.next_chunk() == b"event: end\ndata: {}\n\n"


async def test_token_needs_no_origin() -> None:
    client = WebClient()
    viewer_of(client, "lc_token", "stations:run")
    response = await client.request(
        "POST",
        "/api/v1/commands/station.pause",
        b'{"station": "CS01"}',
        authorization="Bearer lc_token",
        content_type="application/json",
    )
    assert response.status == 200


@pytest.mark.parametrize("value", ["Bearer wrong", "Basic YTpi", "Bearer", "x"])
async def test_invalid_token_is_not_ignored(value: str) -> None:
    assert (await WebClient(open_status=True).get("/api/v1/status", authorization=value)).status == 401


async def test_requests_of_one_actor_are_limited() -> None:
    client = WebClient(open_status=True)
    viewer_of(client)
    statuses = [(await client.get("/api/v1/status")).status for _ in range(REQUEST_BURST + 5)]
    assert statuses == [200] * REQUEST_BURST + [429] * 5
    assert (await client.get("/api/v1/status", authorization="Bearer lc_token")).status == 200
    client.now += 60.0
    assert (await client.get("/api/v1/status")).status == 200


async def test_web_routes_own_password_needs_login() -> None:
    client = WebClient(open_status=True)
    body = b'{"old": "viewer", "new": "something new"}'
    assert (await client.post("/api/v1/password", body)).status == 401
    await client.login("viewer")
    assert (await client.post("/api/v1/password", body)).status == 200
    assert client.access.passwords == [("viewer", "viewer", "something new")]


async def test_names_and_open_status_that_a_reload_changes_count_at_once() -> None:
    client = WebClient(open_status=True, names=("old.example",))
    stream = await client.open("GET", "/api/v1/live")
    assert isinstance(stream, StreamResponse)
    client.routes.set_access(("New.example",), open_status=True)
    assert (await client.get("/healthz", host="old.example")).status == 421
    assert (await client.get("/api/status", host="new.example")).status == 200
    assert (await stream.source.next_chunk() or b"").startswith(b"event: status")
    client.routes.set_access(("New.example",), open_status=False)
    assert (await client.get("/api/status", host="new.example")).status == 401
    assert await stream.source.next_chunk() == b"event: end\ndata: {}\n\n"
