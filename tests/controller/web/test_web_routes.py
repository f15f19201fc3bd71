from __future__ import annotations

import base64
import hashlib
import re

import msgspec
import pytest
from msgspec.structs import replace

from controller.web.status_model import ControllerStatus, read_status
from controller.web.web_routes import STATUS_PERIOD_S, STATUS_SHARE, Response, WebRoutes
from tests.controller.web.examples import STATUS


def answer(target: str, method: str = "GET") -> Response:
    return WebRoutes(lambda: STATUS).respond(method, target, "127.0.0.1:8080", 0.0)


def test_status_is_read_back_unchanged() -> None:
    response = answer("/api/status?now=1")
    assert (response.status, response.content_type) == (200, "application/json")
    assert read_status(response.body) == STATUS


def test_status_members_are_those_that_scripts_rely_on() -> None:
    told = msgspec.json.decode(answer("/api/status").body)
    assert list(told) == [
        "site",
        "version",
        "time",
        "healthy",
        "tick_age_s",
        "circuits",
        "evses",
        "links",
        "backends",
        "damaged",
        "store",
        "signatures",
        "dimming",
        "timezone",
        "overlay",
        "eebus",
        "clock",
        "expiries",
        "configuration_problem",
        "meters",
        "buses",
        "station_devices",
    ]
    assert list(told["circuits"][0]) == [
        "id",
        "parent",
        "limit_a",
        "measured_a",
        "base_a",
        "booked_a",
        "meter_quality",
        "meter_problem",
        "meter_cause",
        "over_limit_s",
        "overloads",
        "margin_a",
        "jump_a",
    ]
    assert list(told["evses"][0]) == [
        "station",
        "evse",
        "circuit",
        "ocpp",
        "connected",
        "state",
        "offered_a",
        "drawn_a",
        "reason",
        "single_phase",
        "reaction_s",
        "step_a",
        "obeys",
    ]
    assert told["evses"][0]["state"] == "charging"
    assert told["circuits"][1]["meter_quality"] is None


@pytest.mark.parametrize(("healthy", "code"), [(True, 200), (False, 503)])
def test_health_is_the_status_code(healthy: bool, code: int) -> None:
    response = WebRoutes(lambda: replace(STATUS, healthy=healthy)).respond(
        "GET", "/healthz", "localhost", 0.0
    )
    assert response.status == code
    assert msgspec.json.decode(response.body) == {"healthy": healthy, "degraded": [], "tick_age_s": 0.4}


def test_metrics_name_their_format() -> None:
    assert answer("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_page_policy_allows_only_its_own_style_and_script() -> None:
    page = answer("/")
    policy = dict(page.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inline = re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), page.body, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0]).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_page_writes_no_markup_and_has_no_foreign_address() -> None:
    page = answer("/").body.decode()
    assert "innerHTML" not in page
    assert "insertAdjacentHTML" not in page
    assert " style=" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_unknown_address_is_404_with_the_known_ones() -> None:
    response = answer("/favicon.ico")
    assert response.status == 404
    assert b"/metrics" in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_other_methods_are_rejected(method: str) -> None:
    response = answer("/api/status", method)
    assert response.status == 405
    assert dict(response.headers) == {"Allow": "GET, HEAD"}


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "192.0.2.7:8080", "[::1]:8080", "localhost", "LC.Example.org:80"]
)
def test_own_host_name_or_address_is_served(host: str) -> None:
    assert WebRoutes(lambda: STATUS, ("lc.example.org",)).respond("GET", "/", host, 0.0).status == 200


@pytest.mark.parametrize(
    "host", ["", "evil.example", "lc.example.org.evil.example", "localhost.evil.example"]
)
def test_foreign_host_name_is_rejected(host: str) -> None:
    response = WebRoutes(lambda: STATUS, ("lc.example.org",)).respond("GET", "/api/status", host, 0.0)
    assert response.status == 421
    assert b"lc-depot" not in response.body


@pytest.mark.parametrize(
    ("effort_s", "shown_s"),
    [(0.002, 0.002 / STATUS_SHARE), (0.4, STATUS_PERIOD_S)],
    ids=["small site", "large site"],
)
def test_status_is_shown_to_all_for_as_long_as_it_costs(effort_s: float, shown_s: float) -> None:
    reads: list[float] = []
    now, spent_s = 0.0, 0.0

    def read() -> ControllerStatus:
        nonlocal spent_s
        spent_s += effort_s
        reads.append(now)
        return STATUS

    routes = WebRoutes(read, clock=lambda: spent_s)
    for now in (0.0, 0.2 * shown_s, 0.99 * shown_s, shown_s, 1.5 * shown_s):
        for target in ("/api/status", "/metrics", "/healthz"):
            routes.respond("GET", target, "localhost", now)
    assert reads == [0.0, shown_s]


def test_eebus_qr_code_is_an_image_where_there_is_a_node() -> None:
    routes = WebRoutes(lambda: STATUS)
    response = routes.respond("GET", "/api/eebus/qr.svg", "localhost", 0.0)
    assert (response.status, response.content_type) == (200, "image/svg+xml")
    assert b"<svg" in response.body
    without = WebRoutes(lambda: replace(STATUS, eebus=None))
    assert without.respond("GET", "/api/eebus/qr.svg", "localhost", 0.0).status == 404
