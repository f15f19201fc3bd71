"""OpenAPI 3.1 document of the REST API, made from its table of routes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec

from controller.access.permissions import Actor
from controller.web.api_route import ApiRoute
from controller.web.api_routes import PREFIX
from controller.web.http_messages import JSON, PROBLEM


class ProblemDetails(msgspec.Struct, frozen=True, kw_only=True):
    """Reason why a request was not done (RFC 9457)."""

    title: str
    status: int
    detail: str
    coded: dict[str, Any] = {}
    """`template` and `values` of `detail` for another language; left out where it has none."""


_PROBLEMS = {
    401: "no valid login or token",
    403: "a permission is missing",
    404: "it does not exist",
    405: "another method",
    409: "it cannot be done now",
    413: "the body is too long",
    415: "the body is not JSON",
    422: "a member is wrong",
    429: "too many requests",
    503: "busy or not available",
}


_LOGINS: list[dict[str, list[str]]] = [{"token": []}, {"login": []}]
_ANONYMOUS = Actor("anonymous", "page", frozenset())


def render_openapi(
    routes: Sequence[ApiRoute], version: str, *, anonymous: Actor = _ANONYMOUS
) -> dict[str, Any]:
    """Return the document. `anonymous`: actor of requests without a login; what it may do needs none."""
    types = [ProblemDetails, *(kind for route in routes for kind in (route.result, route.body) if kind)]
    schemas, components = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    schema_of = dict(zip(map(repr, types), schemas, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        operation = _operation(route, schema_of, components)
        if route.permission is None or anonymous.allows(route.permission):
            operation["security"] = [*_LOGINS, {}]
        paths.setdefault(f"{PREFIX}{route.path}", {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": "local-controller", "version": version},
        "servers": [{"url": "/"}],
        "security": _LOGINS,
        "paths": paths,
        "components": {
            "schemas": components,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer"},
                "login": {"type": "apiKey", "in": "cookie", "name": "session"},
            },
        },
    }


def _operation(route: ApiRoute, schema_of: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    content = {route.content_type.partition(";")[0]: {"schema": schema_of[repr(route.result)]}}
    operation: dict[str, Any] = {
        "summary": route.text,
        "operationId": re.sub(r"[^a-z]+", "_", f"{route.method.lower()}{route.path}").strip("_"),
        "responses": {
            "200": {"description": "done", "content": content},
            **{str(status): _problem(text, schema_of) for status, text in _PROBLEMS.items()},
        },
    }
    if route.permission is not None:
        operation["description"] = f"Needs the permission {route.permission}."
    parameters = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "minLength": 1, "maxLength": 100},
        }
        for name in re.findall(r"\{([a-z]+)\}", route.path)
    ]
    parameters += [
        {"name": member.name, "in": "query", "schema": dict(member.schema), "description": member.text}
        for member in route.query
    ]
    if parameters:
        operation["parameters"] = parameters
    if route.body is not None:
        schema = schema_of[repr(route.body)]
        if route.path.startswith("/commands/"):  # the path names the command already
            name = schema["$ref"].rpartition("/")[2]
            full = components[name]
            full["required"] = [each for each in full.get("required", ()) if each != "command"]
        operation["requestBody"] = {"required": True, "content": {JSON: {"schema": schema}}}
    return operation


def _problem(text: str, schema_of: dict[str, Any]) -> dict[str, Any]:
    return {"description": text, "content": {PROBLEM: {"schema": schema_of[repr(ProblemDetails)]}}}
