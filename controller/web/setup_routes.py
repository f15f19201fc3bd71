"""Addresses of the page in setup mode: its files, the code, and the setup behind it."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from typing import Annotated, Any

import msgspec
from msgspec import Meta

from controller.access.login_sessions import LoginSessions, LoginThrottle
from controller.access.permissions import AccessPermission, Actor, Resource, Verb
from controller.web.api_routes import PREFIX
from controller.web.http_messages import JSON, TEXT, ProblemError, Response, WebRequest, read_body
from controller.web.page import ASSETS, PAGE_HEADERS, SETUP_PAGE
from controller.web.request_checks import (
    read_session_cookie,
    reject_foreign_name,
    require_own_origin,
    session_cookie,
)
from controller.web.setup_interface import SearchRequest, SetupInterface, SetupRequest
from drivers.coded_text import coded

INSTALLER = Actor("setup", "page", frozenset({AccessPermission(Resource.CONFIGURATION, Verb.EDIT)}))
"""Visitor that has entered the code: it may write the first configuration."""


class CodeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The code that the service has printed."""

    code: Annotated[str, Meta(max_length=40)]


class SetupRoutes:
    """All addresses in setup mode.

    `on_written` is called once the configuration is written, `on_finished` when the person has noted the
    password: the site may be started.
    The code is good for any number of logins until then: a browser that loses its session asks again.
    """

    def __init__(
        self,
        setup: SetupInterface,
        code: str,
        on_written: Callable[[], None],
        on_finished: Callable[[], None],
    ) -> None:
        self._setup = setup
        self._code = _normal_code(code)
        self._on_written = on_written
        self._on_finished = on_finished
        self._sessions = LoginSessions()
        self._throttle = LoginThrottle()
        self._routes: Mapping[str, Callable[[WebRequest], Awaitable[Any]]] = {
            f"{PREFIX}/setup/next": self._advance,
            f"{PREFIX}/setup/search": self._search,
            f"{PREFIX}/setup/write": self._write,
            f"{PREFIX}/setup/finish": self._finish,
        }

    async def respond(self, request: WebRequest) -> Response:
        """Return the response to a request. Raises ProblemError."""
        rejection = reject_foreign_name(request, ("localhost",))
        if rejection is not None:
            return rejection
        if request.path == f"{PREFIX}/setup/login" and request.method == "POST":
            require_own_origin(request)
            return self._login(request)
        route = self._routes.get(request.path)
        if route is not None:
            if request.method != "POST":
                raise ProblemError(405, coded("{path} has POST", path=request.path), (("Allow", "POST"),))
            require_own_origin(request)
            if self._sessions.find_user(read_session_cookie(request), request.now) is None:
                raise ProblemError(401, coded("enter the code that the service has printed"))
            return Response(200, JSON, msgspec.json.encode(await route(request)))
        asset = ASSETS.get(SETUP_PAGE if request.path == "/" else request.path)
        if asset is None or request.method not in ("GET", "HEAD"):
            return Response(404, TEXT, b"setup mode: there is no configuration yet; open /\n")
        return Response(200, asset.content_type, asset.body, PAGE_HEADERS)

    def _login(self, request: WebRequest) -> Response:
        wait_s = self._throttle.wait_s(request.peer, request.now)
        if wait_s > 0:
            raise ProblemError(
                429, coded("too many wrong codes; wait and try again"), (("Retry-After", f"{wait_s:.0f}"),)
            )
        given: CodeRequest = read_body(request, CodeRequest)
        if not hmac.compare_digest(_normal_code(given.code).encode(), self._code.encode()):
            self._throttle.on_failure(request.peer, request.now)
            raise ProblemError(401, coded("the code is wrong"))
        self._throttle.on_success(request.peer)
        secret = self._sessions.open(INSTALLER.name, request.now)
        return Response(200, JSON, b"{}", (session_cookie(secret, secure=request.is_secure),))

    async def _advance(self, request: WebRequest) -> object:
        return await self._setup.advance_setup(read_body(request, SetupRequest))

    async def _search(self, request: WebRequest) -> object:
        return await self._setup.search_meter(read_body(request, SearchRequest))

    async def _write(self, request: WebRequest) -> object:
        result = await self._setup.write_setup(read_body(request, SetupRequest), INSTALLER)
        self._on_written()
        return result

    async def _finish(self, _: WebRequest) -> object:
        self._on_finished()
        return {}


def _normal_code(code: str) -> str:
    """Return a code as it is compared: case, blanks and dashes do not count."""
    return "".join(letter for letter in code.upper() if letter.isalnum())
