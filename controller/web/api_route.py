"""One route of the REST API, and the request to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec

from controller.access.permissions import AccessPermission, Actor
from controller.web.http_messages import JSON, WebRequest


class ApiCall(msgspec.Struct, frozen=True, kw_only=True):
    """A request to one route: who makes it, and the values of the route's path."""

    request: WebRequest
    actor: Actor
    values: Mapping[str, str]


class QueryMember(NamedTuple):
    """A member of a route's query, for the OpenAPI document."""

    name: str
    schema: Mapping[str, object]
    text: str


class ApiRoute(msgspec.Struct, frozen=True, kw_only=True):
    """One route. `permission` None: any actor; `body`, `result`: types of the JSON bodies; None: none."""

    method: str
    path: str
    text: str
    permission: AccessPermission | None
    handler: Callable[[ApiCall], Awaitable[object]]
    result: Any = None
    body: Any = None
    query: tuple[QueryMember, ...] = ()
    content_type: str = JSON
    """Type of the body that it returns."""
