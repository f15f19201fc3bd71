"""The REST API against its own OpenAPI document: each route, each answer, and what is not allowed."""

from __future__ import annotations

from typing import Any

import jsonschema
import msgspec
import pytest

from controller.commands.site_command import COMMANDS
from controller.web.api_routes import PREFIX, ApiRoutes
from controller.web.openapi import render_openapi
from tests.controller.web.fake_site import VERSION, FakeAccess, FakeSite, WebClient

DOCUMENT = msgspec.to_builtins(render_openapi(ApiRoutes(FakeSite(), FakeAccess()).routes, "1.2.3"))
OPERATIONS = [(path, method) for path, methods in DOCUMENT["paths"].items() for method in methods]
VALUES = {"station": "CS01", "version": VERSION}
BODIES: dict[str, dict[str, Any]] = {
    "station": {"station": "CS01"},
    "limit_a": {"limit_a": 10},
    "duration_s": {"duration_s": 60},
    "energy_kwh": {"energy_kwh": 10},
    "leaves_in_s": {"leaves_in_s": 3600},
    "prices": {"prices": [{"begin": "2026-03-29T12:00:00Z", "price": 25}]},
    "departures": {"departures": [{"card": "CARD", "ready_by": "06:30", "energy_kwh": 10}]},
    "priority": {"priority": 1},
    "id_token": {"id_token": "CARD"},
    "circuit": {"circuit": "grid"},
    "text": {"text": "[site]"},
    "base": {"base": VERSION},
    "version": {"version": VERSION},
    "backend": {"backend": "cpo"},
    "number": {"number": 1},
    "ski": {"ski": "ab" * 20},
    "seconds": {"seconds": 1},
    "reason": {"reason": "test"},
    "user": {"user": "anna"},
    "role": {"role": "viewer"},
    "token": {"token": "grafana"},
    "scopes": {"scopes": ["status:read"]},
    "answers": {"answers": {"site.id": "depot"}},
    "target": {"target": "192.0.2.20:502"},
    "changes": {"changes": [{"path": ["circuit", 0, "limit_a"], "value": "50"}]},
}


def schema_at(reference: dict[str, Any]) -> dict[str, Any]:
    return {**reference, "components": DOCUMENT["components"]}


def body_of(path: str) -> bytes:
    operation = DOCUMENT["paths"][path]["post"]
    schema = operation["requestBody"]["content"]["application/json"]["schema"]
    name = schema["$ref"].rpartition("/")[2]
    members: dict[str, Any] = {}
    for required in DOCUMENT["components"]["schemas"][name]["required"]:
        members |= BODIES[required]
    return msgspec.json.encode(members)


async def administrator() -> WebClient:
    client = WebClient()
    await client.login("administrator")
    return client


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_api_routes_route_answers_as_document_states(path: str, method: str) -> None:
    client = await administrator()
    target = path.format(**VALUES)
    response = await (client.post(target, body_of(path)) if method == "post" else client.get(target))
    assert response.status == 200, response.body
    [(content_type, content)] = DOCUMENT["paths"][path][method]["responses"]["200"]["content"].items()
    assert response.content_type.startswith(content_type)
    if content_type == "application/json":
        jsonschema.validate(msgspec.json.decode(response.body), schema_at(content["schema"]))


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
async def test_route_without_login_is_401(path: str, method: str) -> None:
    client = WebClient()
    target = path.format(**VALUES)
    response = await (client.post(target, body_of(path)) if method == "post" else client.get(target))
    is_own = path == f"{PREFIX}/me"
    assert response.status == (200 if is_own else 401)
    if not is_own:
        assert response.content_type == "application/problem+json"
        problem = DOCUMENT["components"]["schemas"]["ProblemDetails"]
        jsonschema.validate(msgspec.json.decode(response.body), problem)


def test_document_has_every_command_and_is_valid_itself() -> None:
    for name in COMMANDS:
        assert f"{PREFIX}/commands/{name}" in DOCUMENT["paths"]
    ids = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(ids)) == len(ids)
    for name, schema in DOCUMENT["components"]["schemas"].items():
        jsonschema.Draft202012Validator.check_schema(schema)
        assert "command" not in schema.get("required", ()), name


async def test_openapi_document_is_served() -> None:
    response = await WebClient().get(f"{PREFIX}/openapi.json")
    assert msgspec.json.decode(response.body)["openapi"] == "3.1.0"


async def test_openapi_document_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    client = WebClient()
    first = await client.get(f"{PREFIX}/openapi.json")
    monkeypatch.delattr("controller.web.web_routes.render_openapi")
    assert (await client.get(f"{PREFIX}/openapi.json")).body == first.body


async def test_openapi_document_states_what_needs_no_login() -> None:
    for is_open in (True, False):
        client = WebClient(open_status=is_open)
        paths = msgspec.json.decode((await client.get(f"{PREFIX}/openapi.json")).body)["paths"]
        assert ({} in paths[f"{PREFIX}/status"]["get"].get("security", ())) is is_open
        assert {} in paths[f"{PREFIX}/me"]["get"]["security"]
        assert "security" not in paths[f"{PREFIX}/sessions"]["get"], "that of the whole document"


@pytest.mark.parametrize(
    ("target", "status"),
    [
        ("/api/v1/stations/CS99", 404),
        ("/api/v1/moon", 404),
        ("/api/v1/configuration/versions/none", 404),
        ("/api/v1/sessions?first=2026-13", 422),
        ("/api/v1/sessions?month=2026-12", 422),
        ("/api/v1/history?start=-1", 422),
        ("/api/v1/history?start=20&end=10", 422),
        ("/api/v1/evidence.jsonl?since=20&until=10", 422),
        ("/api/v1/history?start=0&end=253402300799", 422),
        ("/api/v1/history?end=99999999999999999999", 422),
        (f"/api/v1/history?channel={'0' * 101}", 422),
    ],
)
async def test_api_routes_wrong_request_has_reason(target: str, status: int) -> None:
    response = await (await administrator()).get(target)
    assert response.status == status
    assert msgspec.json.decode(response.body)["detail"]


async def test_api_routes_wrong_method_names_right_one() -> None:
    response = await (await administrator()).request("DELETE", "/api/v1/status", sec_fetch_site="same-origin")
    assert (response.status, dict(response.headers)["Allow"]) == (405, "GET")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"null",
        b'{"station": 5}',
        b'{"station": "CS01", "evse": "1"}',
        b'{"station": "CS01", "duration_s": -1}',
        b'{"station": "CS01", "command": "station.reset"}',
        b"[" * 5000,
        b'{"station": "\xff"}',
    ],
)
async def test_wrong_body_is_422_and_no_command(body: bytes) -> None:
    client = await administrator()
    response = await client.post("/api/v1/commands/station.pause", body)
    assert response.status == 422
    assert client.site.executed == []


async def test_csv_guards_cells_against_formulas() -> None:
    response = await (await administrator()).get("/api/v1/sessions.csv?first=2026-01&last=2026-02")
    lines = response.body.decode().splitlines()
    assert lines[0] == "station,evse,transaction,started,ended,energy_wh,card,reason,clock_synchronised"
    assert lines[1] == "CS01,1,t1,2026-01-01T00:00:00Z,2026-02-01T01:00:00Z,1000.0,'=1+1,EVDisconnected,false"
    assert "sessions-2026-01-2026-02.csv" in dict(response.headers)["Content-Disposition"]


async def test_api_routes_me_lists_what_actor_may_do() -> None:
    client = WebClient()
    await client.login("operator")
    me = msgspec.json.decode((await client.get("/api/v1/me")).body)
    assert me["name"] == "operator"
    assert "station.pause" in me["commands"]
    assert "user.add" not in me["commands"]


@pytest.mark.parametrize(
    ("role", "status", "token"),
    [
        ("viewer", 403, b""),
        ("operator", 200, b'"idTag":"***"'),
        ("administrator", 200, b'"idTag":"04AABBCC"'),
    ],
)
async def test_station_messages_show_identities_by_permission(role: str, status: int, token: bytes) -> None:
    client = WebClient()
    await client.login(role)
    response = await client.get("/api/v1/stations/CS01/messages")
    assert response.status == status
    assert token in response.body
    assert status == 403 or (await client.get("/api/v1/stations/CS99/messages")).status == 404


@pytest.mark.parametrize("target", ["/api/v1/evidence.jsonl", "/api/v1/evidence/verification"])
async def test_evidence_needs_events_read_and_dimming(target: str) -> None:
    client = WebClient()
    await client.login("viewer")
    assert (await client.get(target)).status == 403
    await client.login("operator")
    assert (await client.get(target)).status == 200
    client.site.evidence = None
    assert (await client.get(target)).status == 404
