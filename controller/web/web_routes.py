"""Addresses of the web server: page, status, metrics, health, and the API with its logins.

A request is checked in this order: its host name, who makes it, its origin if it changes anything, its rate,
and then, by the route, the permission of its actor.
"""

from __future__ import annotations

import io
import math
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Annotated

import msgspec
import segno
from msgspec import Meta

from controller.access.permissions import BUILT_IN_ROLES, VIEWER, AccessPermission, Actor, Resource, Verb
from controller.model.rate_limits import TokenBucket
from controller.web.api_routes import PREFIX, ApiRoutes
from controller.web.http_messages import (
    JSON,
    TEXT,
    ProblemError,
    Response,
    StreamResponse,
    WebRequest,
    read_body,
)
from controller.web.live_stream import LiveStream
from controller.web.metrics import CONTENT_TYPE, render_metrics
from controller.web.openapi import render_openapi
from controller.web.page import ASSETS, PAGE_HEADERS
from controller.web.request_checks import (
    read_session_cookie,
    reject_foreign_name,
    require_own_origin,
    session_cookie,
)
from controller.web.site_interface import AccessInterface, SiteInterface
from controller.web.status_model import ControllerStatus
from drivers.coded_text import coded, decimal
from drivers.reading import Quality

STATUS_PERIOD_S = 1.0
"""Longest time for which one status is shown to all visitors (s)."""
STATUS_SHARE = 0.05
"""Highest share of the event loop's time that all visitors together take: stations come first.

A status that takes 2 ms is shown for 40 ms; one that takes 50 ms, at a site of 1000 EVSEs, for 1 s.
"""

DEGRADED_S = 10.0
"""Time (s) that a circuit is above its limit until the site counts as degraded."""

REQUESTS_PER_S, REQUEST_BURST = 10.0, 60
"""Requests of one actor to the API; one more gets 429."""
MOST_BUCKETS = 256

_READ_STATUS = AccessPermission(Resource.STATUS, Verb.READ)

ReadStatus = Callable[[], ControllerStatus]
Route = Callable[[WebRequest], Awaitable[Response | StreamResponse]]


class LoginRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Name and password of a person."""

    name: Annotated[str, Meta(max_length=100)]
    password: Annotated[str, Meta(max_length=200)]


class PasswordRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A person's present password and the new one."""

    old: Annotated[str, Meta(max_length=200)]
    new: Annotated[str, Meta(max_length=200)]


class WebRoutes:
    """All addresses of the server. `names`: host names, beside IP addresses, under which it is reached.

    `open_status`: without a login the status may be read, nothing else. `clock` returns s of a fine clock:
    the effort of a status decides for how long it is shown.
    """

    def __init__(
        self,
        site: SiteInterface,
        access: AccessInterface,
        names: Iterable[str] = (),
        *,
        open_status: bool = False,
        version: str = "",
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._site = site
        self._access = access
        self._api = ApiRoutes(site, access)
        self._clock = clock
        self._version = version
        self._names = _lower_names(names)
        self._open_status = open_status
        self._anonymous = _make_anonymous(open_status=open_status)
        self._buckets: dict[str, TokenBucket] = {}
        self._status: ControllerStatus | None = None
        self._read_at = 0.0
        self._effort_s = 0.0
        """Time that reading and rendering the present status have taken."""
        self._bodies: dict[str, bytes] = {}
        self._document = b""
        """OpenAPI document, rendered at its first request: that takes tens of ms, and needs no login."""
        self._routes: Mapping[str, Route] = {
            "/api/status": self._json,
            "/api/eebus/qr.svg": self._eebus_qr,
            "/metrics": self._metrics,
            "/healthz": self._health,
            f"{PREFIX}/openapi.json": self._openapi,
            f"{PREFIX}/live": self._live,
        }
        self._login_routes: Mapping[str, Route] = {
            f"{PREFIX}/login": self._login,
            f"{PREFIX}/logout": self._logout,
            f"{PREFIX}/password": self._password,
        }

    async def respond(self, request: WebRequest) -> Response | StreamResponse:
        """Return the response to a request. Raises ProblemError."""
        rejection = reject_foreign_name(request, self._names)
        if rejection is not None:
            return rejection
        if request.path in self._login_routes:
            if request.method != "POST":
                raise ProblemError(405, coded("{path} has POST", path=request.path), (("Allow", "POST"),))
            require_own_origin(request)
            return await self._login_routes[request.path](request)
        route = self._routes.get(request.path)
        if route is None and request.path.startswith(f"{PREFIX}/"):
            return await self._respond_api(request)
        asset = ASSETS.get(request.path)
        if route is None and asset is None:
            known = ["/", *self._routes]
            return Response(404, TEXT, f"available: {' '.join(known)}\n".encode())
        if request.method not in ("GET", "HEAD"):
            return Response(405, TEXT, b"read only\n", (("Allow", "GET, HEAD"),))
        if asset is not None:
            return Response(200, asset.content_type, asset.body, PAGE_HEADERS)
        assert route is not None
        return await route(request)

    async def _respond_api(self, request: WebRequest) -> Response:
        actor = self._actor_of(request)
        if request.method not in ("GET", "HEAD"):
            if actor is not self._anonymous and actor.origin == "page":
                require_own_origin(request)
            if actor is self._anonymous:
                raise _unauthorized()
        self._count_request(actor, request)
        try:
            return await self._api.respond(request, actor)
        except ProblemError as problem:
            if problem.status == 403 and actor is self._anonymous:
                raise _unauthorized() from problem
            raise

    # -- who makes a request ----------------------------------------------------------------------------

    def _actor_of(self, request: WebRequest) -> Actor:
        """Return the actor of a request; the anonymous one without login and token.

        Raises ProblemError for a token that is not valid: to ignore it would hide the error.
        """
        scheme, _, secret = request.headers.get("authorization", "").partition(" ")
        if scheme:
            actor = self._access.find_token(secret.strip()) if scheme.lower() == "bearer" else None
            if actor is None:
                raise _unauthorized(coded("the bearer token is not valid"))
            return actor
        secret = read_session_cookie(request)
        return (self._access.find_login(secret) if secret else None) or self._anonymous

    def _count_request(self, actor: Actor, request: WebRequest) -> None:
        """Raise ProblemError for an actor that makes too many requests."""
        key = f"{actor.origin} {actor.name}" if actor is not self._anonymous else request.peer
        bucket = self._buckets.get(key)
        if bucket is None:
            while len(self._buckets) >= MOST_BUCKETS:
                del self._buckets[next(iter(self._buckets))]
            bucket = self._buckets[key] = TokenBucket(REQUESTS_PER_S, REQUEST_BURST)
        wait_s = bucket.wait_s(request.now)
        if wait_s > 0:
            raise ProblemError(
                429,
                coded("more than {count} requests a second", count=decimal(REQUESTS_PER_S)),
                (("Retry-After", str(math.ceil(wait_s))),),
            )
        bucket.take(request.now)

    # -- login ------------------------------------------------------------------------------------------

    async def _login(self, request: WebRequest) -> Response:
        members: LoginRequest = read_body(request, LoginRequest)
        secret = await self._access.login(members.name, members.password, request.peer)
        old = read_session_cookie(request)
        if old:
            self._access.logout(old)
        return Response(200, JSON, b"{}", (session_cookie(secret, secure=request.is_secure),))

    async def _logout(self, request: WebRequest) -> Response:
        self._access.logout(read_session_cookie(request))
        return Response(200, JSON, b"{}", (session_cookie("", secure=request.is_secure),))

    async def _password(self, request: WebRequest) -> Response:
        actor = self._actor_of(request)
        if actor.origin != "page" or actor is self._anonymous:
            raise _unauthorized()
        members: PasswordRequest = read_body(request, PasswordRequest)
        await self._access.change_password(actor, members.old, members.new, request.peer)
        return Response(200, JSON, b"{}", (session_cookie("", secure=request.is_secure),))

    # -- what is there ----------------------------------------------------------------------------------

    def _current(self, now: float) -> ControllerStatus:
        age_s, shown_s = now - self._read_at, min(STATUS_PERIOD_S, self._effort_s / STATUS_SHARE)
        if self._status is None or age_s >= shown_s:
            begun = self._clock()
            self._status, self._read_at = self._site.status(), now
            self._effort_s = self._clock() - begun
            self._bodies.clear()
        return self._status

    def _body(self, target: str, render: Callable[[ControllerStatus], bytes], now: float) -> bytes:
        status = self._current(now)
        if target not in self._bodies:
            begun = self._clock()
            self._bodies[target] = render(status)
            self._effort_s += self._clock() - begun
        return self._bodies[target]

    def _require_status(self, request: WebRequest) -> Actor:
        """Return the actor if it may read the status. Raises ProblemError."""
        actor = self._actor_of(request)
        if not actor.allows(_READ_STATUS):
            if actor is self._anonymous:
                raise _unauthorized()
            raise ProblemError(403, coded("this needs the permission {permission}", permission=_READ_STATUS))
        return actor

    async def _json(self, request: WebRequest) -> Response:
        self._require_status(request)
        return Response(200, JSON, self._body("/api/status", ControllerStatus.json, request.now))

    def set_access(self, names: Iterable[str], *, open_status: bool) -> None:
        """Use other names and another open status; streams without a login end where it is no longer open."""
        self._names = _lower_names(names)
        if open_status != self._open_status:
            self._open_status = open_status
            self._anonymous = _make_anonymous(open_status=open_status)
            self._document = b""

    async def _live(self, request: WebRequest) -> StreamResponse:
        """Open a live stream, which ends with the login or token that opened it, or with its permission."""
        actor = self._require_status(request)
        token = request.headers.get("authorization", "").partition(" ")[2].strip()
        secret = read_session_cookie(request)

        def is_allowed() -> bool:
            if actor is self._anonymous:
                return self._open_status
            if actor.origin == "page":
                present = self._access.find_login(secret, touch=False)
            else:
                present = self._access.find_token(token)
            return present is not None and present.allows(_READ_STATUS)

        return StreamResponse(LiveStream(self._current, is_allowed))

    async def _metrics(self, request: WebRequest) -> Response:
        return Response(200, CONTENT_TYPE, self._body("/metrics", render_metrics, request.now))

    async def _openapi(self, _: WebRequest) -> Response:
        if not self._document:
            document = render_openapi(self._api.routes, self._version, anonymous=self._anonymous)
            self._document = msgspec.json.encode(document)
        return Response(200, JSON, self._document)

    async def _eebus_qr(self, request: WebRequest) -> Response:
        """Return the QR code that a partner's user scans to trust our EEBUS node."""
        self._require_status(request)
        eebus = self._current(request.now).eebus
        if eebus is None:
            return Response(404, TEXT, b"there is no [eebus] in the configuration\n")
        image = io.BytesIO()
        segno.make(eebus.qr, error="m").save(image, kind="svg", scale=4, border=4)
        return Response(200, "image/svg+xml", image.getvalue())

    async def _health(self, request: WebRequest) -> Response:
        """Return 503 while the control loop stands still, so that a supervisor restarts the process.

        `degraded` names circuits above their limit and circuits whose meter is not good.
        """
        status = self._current(request.now)
        degraded = [
            circuit.id
            for circuit in status.circuits
            if circuit.over_limit_s >= DEGRADED_S or circuit.meter_quality not in (None, Quality.GOOD)
        ]
        body = msgspec.json.encode(
            {"healthy": status.healthy, "degraded": degraded, "tick_age_s": status.tick_age_s}
        )
        return Response(200 if status.healthy else 503, JSON, body)


def _lower_names(names: Iterable[str]) -> set[str]:
    return {"localhost", *(name.lower() for name in names)}


def _make_anonymous(*, open_status: bool) -> Actor:
    """Return the actor of requests without a login: it may read the status, or nothing."""
    return Actor("anonymous", "page", BUILT_IN_ROLES[VIEWER].permissions if open_status else frozenset())


def _unauthorized(detail: str = coded("log in, or send a bearer token")) -> ProblemError:
    return ProblemError(401, detail, (("WWW-Authenticate", 'Bearer realm="local-controller"'),))
