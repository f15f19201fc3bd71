"""Checks of a request that no route may leave out: its host name, and the page that makes it."""

from __future__ import annotations

import ipaddress
from collections.abc import Container
from urllib.parse import urlsplit

from controller.web.http_messages import TEXT, ProblemError, Response, WebRequest
from drivers.coded_text import coded

COOKIE, SECURE_COOKIE = "session", "__Host-session"


def reject_foreign_name(request: WebRequest, names: Container[str]) -> Response | None:
    """Return the rejection of a request for a host name that is neither an IP address nor in `names`.

    With DNS rebinding a foreign page could otherwise use the site through the visitor's browser.
    """
    name = request.headers.get("host", "").lower()
    if name.startswith("["):
        name = name[1:].partition("]")[0]
    elif name.count(":") == 1:
        name = name.partition(":")[0]
    try:
        ipaddress.ip_address(name)
    except ValueError:
        if name.rstrip(".") not in names:
            body = "unknown host name; add it to names in [web], or use the gateway's IP address\n"
            return Response(421, TEXT, body.encode())
    return None


def require_own_origin(request: WebRequest) -> None:
    """Reject a request of a foreign page through the browser of a logged-in user (CSRF).

    Browsers send Sec-Fetch-Site or Origin with each request that is not a plain GET. Raises ProblemError.
    """
    site = request.headers.get("sec-fetch-site")
    origin = request.headers.get("origin")
    if site is not None:
        is_own = site in ("same-origin", "none")
    elif origin is not None:
        is_own = urlsplit(origin).netloc.lower() == request.headers.get("host", "").lower()
    else:
        is_own = request.path.endswith("/login")  # a program that logs in has no cookie to abuse yet
    if not is_own:
        raise ProblemError(403, coded("the request comes from another page; programs use a bearer token"))


def read_session_cookie(request: WebRequest) -> str:
    """Return the secret of the session that a request names; empty without one."""
    return request.cookies.get(SECURE_COOKIE if request.is_secure else COOKIE, "")


def session_cookie(secret: str, *, secure: bool) -> tuple[str, str]:
    """Return the header that sets the session's cookie, or removes it for an empty secret."""
    name = SECURE_COOKIE if secure else COOKIE
    end = "" if secret else "; Max-Age=0"
    return (
        "Set-Cookie",
        f"{name}={secret}; Path=/; HttpOnly; SameSite=Strict{'; Secure' if secure else ''}{end}",
    )
