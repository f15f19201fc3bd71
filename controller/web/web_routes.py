"""What each address answers, pure: a request's method and target in, a response out."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from controller.web.metrics import CONTENT_TYPE, exposition
from controller.web.page import PAGE, POLICY
from controller.web.status_model import ControllerStatus

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"


class Response(msgspec.Struct, frozen=True):
    """A whole answer. `headers` are those beside the content's type and length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


ReadStatus = Callable[[], ControllerStatus]


def respond(method: str, target: str, read: ReadStatus) -> Response:
    """The answer to one request; `read` tells the controller's status now."""
    route = _ROUTES.get(target.partition("?")[0])
    if route is None:
        return Response(404, TEXT, f"there is: {' '.join(_ROUTES)}\n".encode())
    if method not in ("GET", "HEAD"):
        return Response(405, TEXT, b"all here is to be read only\n", (("Allow", "GET, HEAD"),))
    return route(read)


def _page(_: ReadStatus) -> Response:
    return Response(200, "text/html; charset=utf-8", PAGE, (("Content-Security-Policy", POLICY),))


def _status(read: ReadStatus) -> Response:
    return Response(200, JSON, read().json())


def _metrics(read: ReadStatus) -> Response:
    return Response(200, CONTENT_TYPE, exposition(read()).encode())


def _health(read: ReadStatus) -> Response:
    """503 where the control loop stands still: who watches over the process restarts it."""
    status = read()
    body = msgspec.json.encode({"healthy": status.healthy, "tick_age_s": status.tick_age_s})
    return Response(200 if status.healthy else 503, JSON, body)


_ROUTES: dict[str, Callable[[ReadStatus], Response]] = {
    "/": _page,
    "/api/status": _status,
    "/metrics": _metrics,
    "/healthz": _health,
}
