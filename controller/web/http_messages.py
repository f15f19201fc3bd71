"""Requests and responses of the web server, and the error from which a problem response is made."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Protocol
from urllib.parse import parse_qsl, unquote

import msgspec

from drivers.coded_text import parts_of

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"
CSV = "text/csv; charset=utf-8"
JSON_LINES = "application/x-ndjson"
PROBLEM = "application/problem+json"

MOST_QUERY_MEMBERS = 20


class WebRequest(msgspec.Struct, frozen=True, kw_only=True):
    """A whole request: `path` decoded, header names in lower case, `now` in monotonic s.

    `peer`: the address that it came from. `is_secure`: over TLS.
    """

    method: str
    path: str
    query: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes = b""
    peer: str = ""
    is_secure: bool = False
    now: float = 0.0

    @property
    def cookies(self) -> Mapping[str, str]:
        """Return the cookies by name."""
        pairs = (part.strip().partition("=") for part in self.headers.get("cookie", "").split(";"))
        return {name: value for name, _, value in pairs if name}


def split_target(target: str) -> tuple[str, dict[str, str]]:
    """Split a request target into the decoded path and its query. Raises ValueError."""
    path, _, query = target.partition("?")
    members = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_QUERY_MEMBERS)
    return unquote(path, errors="strict"), dict(members)


class Response(msgspec.Struct, frozen=True):
    """A whole response. `headers` are those beside the content's type and length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


class EventSource(Protocol):
    """Source of a live stream."""

    async def next_chunk(self) -> bytes | None:
        """Wait for the next part of a stream of server-sent events; None: it has ended."""


class StreamResponse(msgspec.Struct, frozen=True):
    """A streamed response, until its source ends or the client disconnects."""

    source: EventSource
    content_type: str = "text/event-stream"


class WebError(Exception):
    """Base class of the errors of this package. Its text is for a person."""


class ProblemError(WebError):
    """A request that is not done: status, reason for a person, and headers (RFC 9457)."""

    def __init__(self, status: int, detail: str, headers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers

    def response(self) -> Response:
        """Return the response with the problem's details."""
        body: dict[str, object] = {
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": str(self),
        }
        if parts := parts_of(self.detail):
            body["coded"] = parts
        return Response(self.status, PROBLEM, msgspec.json.encode(body), self.headers)


def read_body(request: WebRequest, kind: Any) -> Any:
    """Read the JSON body of a request as `kind`. Raises ProblemError."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != JSON:
        raise ProblemError(415, f"send the body as {JSON}")
    try:
        return msgspec.json.decode(request.body, type=kind)
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise ProblemError(422, str(error)) from error
