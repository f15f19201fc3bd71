"""REST API under /api/v1: a table of routes, each with the permission that it needs and what it returns.

The OpenAPI document is made from the same table (`openapi`), so that it cannot differ from the routes.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from controller.access.permissions import AccessPermission, Actor, Resource, Verb
from controller.commands.site_command import COMMANDS, CommandFormatError, convert_command
from controller.web.api_route import ApiCall, ApiRoute
from controller.web.configuration_routes import ConfigurationRoutes
from controller.web.http_messages import JSON, ProblemError, Response, WebRequest, read_body
from controller.web.record_routes import RecordRoutes
from controller.web.site_interface import (
    AccessInterface,
    MessageEntry,
    RoleEntry,
    SetAsideMessage,
    SiteInterface,
    TokenEntry,
    UserEntry,
)
from controller.web.status_model import (
    AlarmStatus,
    BackendStatus,
    ChargingStationStatus,
    CircuitStatus,
    ControllerStatus,
    EvseStatus,
    MeterStatus,
)
from drivers.coded_text import coded

PREFIX = "/api/v1"


class CommandResult(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a command; its members depend on the command."""

    result: dict[str, Any]


class ActorInfo(msgspec.Struct, frozen=True, kw_only=True):
    """The actor of the request and its permissions, and the commands that this site has."""

    name: str
    origin: str
    permissions: list[str]
    commands: list[str]
    has_users: bool


def _may(resource: Resource, verb: Verb = Verb.READ) -> AccessPermission:
    return AccessPermission(resource, verb)


_SET_ASIDE = list[SetAsideMessage]


class ApiRoutes:
    """All routes of the API."""

    def __init__(self, site: SiteInterface, access: AccessInterface) -> None:
        self._site = site
        self._access = access
        self.routes: tuple[ApiRoute, ...] = (
            *self._read_routes(),
            *RecordRoutes(site).make_routes(),
            *ConfigurationRoutes(site).make_routes(),
            *self._command_routes(),
        )
        self._patterns = [(route, _pattern(route.path)) for route in self.routes]

    async def respond(self, request: WebRequest, actor: Actor) -> Response:
        """Return the response to a request under PREFIX. Raises ProblemError."""
        path = request.path.removeprefix(PREFIX)
        found = [(route, match) for route, pattern in self._patterns if (match := pattern.fullmatch(path))]
        if not found:
            raise ProblemError(
                404,
                coded(
                    "there is no {path}; {prefix}/openapi.json lists what there is",
                    path=request.path,
                    prefix=PREFIX,
                ),
            )
        method = "GET" if request.method == "HEAD" else request.method
        for route, match in found:
            if route.method == method:
                return await self._respond(
                    route, ApiCall(request=request, actor=actor, values=match.groupdict())
                )
        allowed = ", ".join(sorted({route.method for route, _ in found}))
        raise ProblemError(
            405, coded("{path} has {allowed}", path=request.path, allowed=allowed), (("Allow", allowed),)
        )

    async def _respond(self, route: ApiRoute, call: ApiCall) -> Response:
        if route.permission is not None and not call.actor.allows(route.permission):
            raise ProblemError(
                403, coded("this needs the permission {permission}", permission=route.permission)
            )
        unknown = set(call.request.query) - {member.name for member in route.query}
        if unknown:
            raise ProblemError(
                422, coded("unknown member of the query: {names}", names=", ".join(sorted(unknown))[:80])
            )
        result = await route.handler(call)
        if isinstance(result, Response):
            return result
        return Response(200, JSON, msgspec.json.encode(result))

    # -- what is there ----------------------------------------------------------------------------------

    def _read_routes(self) -> tuple[ApiRoute, ...]:
        def get(
            path: str, text: str, resource: Resource | None, handler: Any, result: Any, **more: Any
        ) -> ApiRoute:
            permission = None if resource is None else _may(resource)
            return ApiRoute(
                method="GET",
                path=path,
                text=text,
                permission=permission,
                handler=handler,
                result=result,
                **more,
            )

        status, stations = Resource.STATUS, Resource.STATIONS
        return (
            get("/me", "Actor of this request and its permissions", None, self._me, ActorInfo),
            get("/status", "Whole status, as /api/status", status, self._status, ControllerStatus),
            get(
                "/circuits", "Circuits, parents first", status, self._member("circuits"), list[CircuitStatus]
            ),
            get("/evses", "EVSEs", stations, self._member("evses"), list[EvseStatus]),
            get("/stations", "Stations", stations, self._member("stations"), list[ChargingStationStatus]),
            get("/stations/{station}", "One station", stations, self._station, ChargingStationStatus),
            get(
                "/stations/{station}/messages",
                "Latest messages; identities of drivers only with the permission messages:read",
                Resource.SESSIONS,
                self._station_messages,
                list[MessageEntry],
            ),
            get("/backends", "Backends", status, self._member("backends"), list[BackendStatus]),
            get(
                "/outbox",
                "Messages of stations that backends reject",
                Resource.OUTBOX,
                self._outbox,
                _SET_ASIDE,
            ),
            get("/meters", "Meters", status, self._member("meters"), list[MeterStatus]),
            get("/alarms", "Alarms that are present", status, self._member("alarms"), list[AlarmStatus]),
            get("/users", "Users", Resource.USERS, self._users, list[UserEntry]),
            get("/roles", "Roles of users", Resource.USERS, self._roles, list[RoleEntry]),
            get("/tokens", "Bearer tokens", Resource.USERS, self._tokens, list[TokenEntry]),
        )

    def _member(self, name: str) -> Callable[[ApiCall], Awaitable[object]]:
        async def handler(_: ApiCall) -> object:
            return getattr(self._site.status(), name)

        return handler

    async def _status(self, _: ApiCall) -> object:
        return self._site.status()

    async def _me(self, call: ApiCall) -> object:
        return ActorInfo(
            name=call.actor.name,
            origin=call.actor.origin,
            permissions=sorted(map(str, call.actor.permissions)),
            commands=[name for name in self._site.commands() if call.actor.allows(COMMANDS[name].permission)],
            has_users=self._access.has_users,
        )

    async def _station(self, call: ApiCall) -> object:
        station = call.values["station"]
        found = next((each for each in self._site.status().stations if each.id == station), None)
        if found is None:
            raise ProblemError(
                404, coded("station {station} is not in the configuration", station=repr(station))
            )
        return found

    async def _station_messages(self, call: ApiCall) -> object:
        return self._site.station_messages(
            call.values["station"], show_identities=call.actor.allows(_may(Resource.MESSAGES))
        )

    async def _outbox(self, call: ApiCall) -> object:
        return self._site.set_aside()

    async def _users(self, _: ApiCall) -> object:
        return self._access.users()

    async def _roles(self, _: ApiCall) -> object:
        return self._access.roles()

    async def _tokens(self, _: ApiCall) -> object:
        return self._access.tokens()

    # -- commands ---------------------------------------------------------------------------------------

    def _command_routes(self) -> tuple[ApiRoute, ...]:
        return tuple(
            ApiRoute(
                method="POST",
                path=f"/commands/{name}",
                text=(kind.__doc__ or name).partition("\n")[0],
                permission=kind.permission,
                handler=self._command,
                result=CommandResult,
                body=kind,
            )
            for name, kind in COMMANDS.items()
        )

    async def _command(self, call: ApiCall) -> object:
        name = call.request.path.rpartition("/")[2]
        members = read_body(call.request, dict[str, Any])
        if members.setdefault("command", name) != name:
            raise ProblemError(422, coded("command: {name}, or leave it out", name=repr(name)))
        try:
            command = convert_command(members)
        except CommandFormatError as error:
            raise ProblemError(422, str(error)) from error
        return CommandResult(result=dict(await self._site.execute(command, call.actor)))


def _pattern(path: str) -> re.Pattern[str]:
    parts: Sequence[str] = re.split(r"\{([a-z]+)\}", path)
    texts = (
        f"(?P<{part}>[^/]{{1,100}})" if index % 2 else re.escape(part) for index, part in enumerate(parts)
    )
    return re.compile("".join(texts))
