"""Responses of the web server: a request's method, target and Host header in, a response out. Sans-IO."""

from __future__ import annotations

import io
import ipaddress
import time
from collections.abc import Callable, Iterable

import msgspec
import segno

from controller.web.metrics import CONTENT_TYPE, render_metrics
from controller.web.page import PAGE, POLICY
from controller.web.status_model import ControllerStatus
from drivers.reading import Quality

JSON = "application/json"
TEXT = "text/plain; charset=utf-8"

STATUS_PERIOD_S = 1.0
"""Longest time for which one status is shown to all visitors (s)."""
STATUS_SHARE = 0.05
"""Highest share of the event loop's time that all visitors together take: stations come first.

A status that takes 2 ms is shown for 40 ms; one that takes 50 ms, at a site of 1000 EVSEs, for 1 s.
"""


class Response(msgspec.Struct, frozen=True):
    """A whole response. `headers` are those beside the content's type and length."""

    status: int
    content_type: str
    body: bytes
    headers: tuple[tuple[str, str], ...] = ()


DEGRADED_S = 10.0
"""How long (s) a circuit is above its limit until the site counts as degraded."""
ReadStatus = Callable[[], ControllerStatus]


class WebRoutes:
    """All addresses of the server. `names`: host names, beside IP addresses, under which it is reached.

    `clock` returns s of a fine clock: the effort of a status decides for how long it is shown. A request
    with another Host header is rejected: with DNS rebinding a foreign page could otherwise read the site
    through the visitor's browser.
    """

    def __init__(
        self,
        read: ReadStatus,
        names: Iterable[str] = (),
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._read = read
        self._clock = clock
        self._names = {"localhost", *(name.lower() for name in names)}
        self._status: ControllerStatus | None = None
        self._read_at = 0.0
        self._effort_s = 0.0
        """Time that reading and rendering the present status have taken."""
        self._bodies: dict[str, bytes] = {}
        self._routes: dict[str, Callable[[float], Response]] = {
            "/": self._page,
            "/api/status": self._json,
            "/api/eebus/qr.svg": self._eebus_qr,
            "/metrics": self._metrics,
            "/healthz": self._health,
        }

    def respond(self, method: str, target: str, host: str, now: float) -> Response:
        """Return the response to a request at `now` (monotonic s); `host` is its Host header."""
        if not self._is_own_name(host):
            body = "unknown host name; add it to names in [web], or use the gateway's IP address\n"
            return Response(421, TEXT, body.encode())
        route = self._routes.get(target.partition("?")[0])
        if route is None:
            return Response(404, TEXT, f"available: {' '.join(self._routes)}\n".encode())
        if method not in ("GET", "HEAD"):
            return Response(405, TEXT, b"read only\n", (("Allow", "GET, HEAD"),))
        return route(now)

    def _is_own_name(self, host: str) -> bool:
        name = host.lower()
        if name.startswith("["):
            name = name[1:].partition("]")[0]
        elif name.count(":") == 1:
            name = name.partition(":")[0]
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name.rstrip(".") in self._names
        return True

    def _current(self, now: float) -> ControllerStatus:
        age_s, shown_s = now - self._read_at, min(STATUS_PERIOD_S, self._effort_s / STATUS_SHARE)
        if self._status is None or age_s >= shown_s:
            begun = self._clock()
            self._status, self._read_at = self._read(), now
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

    def _page(self, _: float) -> Response:
        return Response(200, "text/html; charset=utf-8", PAGE, (("Content-Security-Policy", POLICY),))

    def _json(self, now: float) -> Response:
        return Response(200, JSON, self._body("/api/status", ControllerStatus.json, now))

    def _metrics(self, now: float) -> Response:
        return Response(200, CONTENT_TYPE, self._body("/metrics", render_metrics, now))

    def _eebus_qr(self, now: float) -> Response:
        """Return the QR code that a partner's user scans to trust our EEBUS node."""
        eebus = self._current(now).eebus
        if eebus is None:
            return Response(404, TEXT, b"there is no [eebus] in the configuration\n")
        image = io.BytesIO()
        segno.make(eebus.qr, error="m").save(image, kind="svg", scale=4, border=4)
        return Response(200, "image/svg+xml", image.getvalue())

    def _health(self, now: float) -> Response:
        """Return 503 while the control loop stands still, so that a supervisor restarts the process.

        `degraded` names circuits above their limit and circuits whose meter is not good.
        """
        status = self._current(now)
        degraded = [
            circuit.id
            for circuit in status.circuits
            if circuit.over_limit_s >= DEGRADED_S or circuit.meter_quality not in (None, Quality.GOOD)
        ]
        body = msgspec.json.encode(
            {"healthy": status.healthy, "degraded": degraded, "tick_age_s": status.tick_age_s}
        )
        return Response(200 if status.healthy else 503, JSON, body)
