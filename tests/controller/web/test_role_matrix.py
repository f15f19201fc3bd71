"""Permissions of each role on each route of page and API; no route is left out of the table."""

from __future__ import annotations

import pytest

from controller.access.permissions import (
    BUILT_IN_ROLES,
    AccessPermission,
    Actor,
    Resource,
    Verb,
)
from controller.web.api_routes import PREFIX, ApiRoutes
from controller.web.http_messages import Response
from controller.web.page import ASSETS
from tests.controller.web.fake_site import FakeAccess, FakeSite, WebClient
from tests.controller.web.test_api_routes import VALUES, body_of

ANYBODY, VIEWER, OPERATOR, ADMINISTRATOR = "anybody", "viewer", "operator", "administrator"
RANKS = (ANYBODY, VIEWER, OPERATOR, ADMINISTRATOR)

LEAST_ROLE = {
    ANYBODY: ("GET /me",),
    VIEWER: (
        "GET /status",
        "GET /circuits",
        "GET /evses",
        "GET /stations",
        "GET /stations/{station}",
        "GET /backends",
        "GET /meters",
        "GET /alarms",
        "GET /history",
    ),
    OPERATOR: (
        "GET /stations/{station}/messages",
        "GET /outbox",
        "GET /events",
        "GET /sessions",
        "GET /sessions.csv",
        "GET /evidence.jsonl",
        "GET /evidence/verification",
        "POST /commands/station.pause",
        "POST /commands/station.resume",
        "POST /commands/station.limit",
        "POST /commands/station.prioritize",
        "POST /commands/station.boost",
        "POST /commands/energy.departure",
        "POST /commands/station.start",
        "POST /commands/station.stop",
        "POST /commands/station.reset",
        "POST /commands/station.reconnect",
        "POST /commands/outbox.retry",
    ),
    ADMINISTRATOR: (
        "GET /users",
        "GET /roles",
        "GET /tokens",
        "GET /configuration",
        "GET /configuration/versions",
        "GET /configuration/versions/{version}",
        "POST /configuration/check",
        "GET /configuration/fields",
        "POST /configuration/fields",
        "POST /setup/next",
        "POST /setup/search",
        "POST /setup/write",
        "POST /commands/energy.departures",
        "POST /commands/energy.prices",
        "POST /commands/station.adopt",
        "POST /commands/station.dismiss",
        "POST /commands/configuration.reload",
        "POST /commands/configuration.write",
        "POST /commands/configuration.rollback",
        "POST /commands/signing.resume",
        "POST /commands/outbox.drop",
        "POST /commands/eebus.pair",
        "POST /commands/eebus.unpair",
        "POST /commands/eebus.register",
        "POST /commands/eebus.suspend",
        "POST /commands/eebus.resume",
        "POST /commands/user.add",
        "POST /commands/user.remove",
        "POST /commands/token.create",
        "POST /commands/token.revoke",
    ),
}
"""The lowest built-in role that may use each route."""

PLAIN = {
    "/api/status": VIEWER,
    "/api/eebus/qr.svg": VIEWER,
    f"{PREFIX}/live": VIEWER,
    f"{PREFIX}/openapi.json": ANYBODY,
    "/metrics": ANYBODY,
    "/healthz": ANYBODY,
    **dict.fromkeys(ASSETS, ANYBODY),
}
"""The same for the addresses beside the API; all are read only."""

ROUTES = {f"{each.method} {each.path}": each for each in ApiRoutes(FakeSite(), FakeAccess()).routes}
LEAST = {route: role for role, routes in LEAST_ROLE.items() for route in routes}


def may(role: str, least: str) -> bool:
    return RANKS.index(role) >= RANKS.index(least)


async def client_of(role: str, *, open_status: bool = False) -> WebClient:
    client = WebClient(open_status=open_status)
    if role != ANYBODY:
        assert (await client.login(role)).status == 200
    return client


async def ask(client: WebClient, route: str, **headers: str) -> Response:
    method, _, path = route.partition(" ")
    target = PREFIX + path.format(**VALUES)
    body = body_of(PREFIX + path) if method == "POST" else b""
    return await (client.post(target, body, **headers) if body else client.get(target, **headers))


def test_role_matrix_has_every_route() -> None:
    assert sorted(LEAST) == sorted(ROUTES)
    assert sorted(PLAIN) == sorted({*WebClient().routes._routes, *ASSETS})


@pytest.mark.parametrize("route", sorted(ROUTES))
@pytest.mark.parametrize("role", RANKS)
async def test_role_has_route_from_its_rank_on(role: str, route: str) -> None:
    client = await client_of(role)
    response = await ask(client, route)
    denied = 401 if role == ANYBODY else 403
    assert response.status == (200 if may(role, LEAST[route]) else denied), response.body
    if response.status != 200:
        assert client.site.executed == []


@pytest.mark.parametrize("route", sorted(ROUTES))
async def test_open_status_shows_what_viewer_reads_and_takes_no_order(route: str) -> None:
    response = await ask(await client_of(ANYBODY, open_status=True), route)
    is_open = may(VIEWER, LEAST[route]) and route.startswith("GET")
    assert response.status == (200 if is_open else 401), response.body


@pytest.mark.parametrize("path", sorted(PLAIN))
@pytest.mark.parametrize("role", RANKS)
async def test_role_has_address_beside_api_from_its_rank_on(role: str, path: str) -> None:
    client = await client_of(role)
    response = await client.open("GET", path)
    status = response.status if isinstance(response, Response) else 200
    assert status == (200 if may(role, PLAIN[path]) else 401)
    changed = await client.post(path)
    assert changed.status == 405


EACH_PERMISSION = [AccessPermission(resource, verb) for resource in Resource for verb in Verb]


@pytest.mark.parametrize("permission", EACH_PERMISSION, ids=str)
async def test_token_of_one_permission_has_its_routes_alone(permission: AccessPermission) -> None:
    client = WebClient()
    client.access.tokens_valid["lc_one"] = Actor("one", "api", frozenset({permission}))
    for name, route in ROUTES.items():
        client.now += 1.0
        response = await ask(client, name, authorization="Bearer lc_one")
        is_allowed = route.permission in (None, permission)
        assert response.status == (200 if is_allowed else 403), (name, response.body)


async def test_token_of_all_permissions_but_one_lacks_its_routes() -> None:
    everything = BUILT_IN_ROLES[ADMINISTRATOR].permissions
    used = {route.permission for route in ROUTES.values()} - {None}
    for permission in used:
        assert permission is not None
        client = WebClient()
        client.access.tokens_valid["lc_most"] = Actor("most", "api", everything - {permission})
        for name, route in ROUTES.items():
            client.now += 1.0
            response = await ask(client, name, authorization="Bearer lc_most")
            assert (response.status == 403) is (route.permission == permission), name


def test_role_matrix_follows_from_permissions_of_routes() -> None:
    """A role of the configuration gets a route by its permission, built-in roles by the same."""
    for name, route in ROUTES.items():
        least = next(
            (
                role
                for role in RANKS[1:]
                if route.permission is not None and BUILT_IN_ROLES[role].allows(route.permission)
            ),
            ANYBODY,
        )
        assert LEAST[name] == least
