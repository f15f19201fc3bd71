from __future__ import annotations

import base64
import hashlib
import re

import msgspec
import pytest
from msgspec.structs import replace

from controller.web.status_model import read_status
from controller.web.web_routes import Response, respond
from tests.controller.web.examples import STATUS


def answer(target: str, method: str = "GET") -> Response:
    return respond(method, target, lambda: STATUS)


def test_the_status_comes_back_as_it_was() -> None:
    response = answer("/api/status?now=1")
    assert (response.status, response.content_type) == (200, "application/json")
    assert read_status(response.body) == STATUS


def test_the_shape_that_scripts_rely_on() -> None:
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
        "signatures",
        "dimming",
        "timezone",
        "overlay",
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
def test_health_is_told_by_the_code(healthy: bool, code: int) -> None:
    response = respond("GET", "/healthz", lambda: replace(STATUS, healthy=healthy))
    assert response.status == code
    assert msgspec.json.decode(response.body) == {"healthy": healthy, "tick_age_s": 0.4}


def test_metrics_say_which_format_they_are() -> None:
    assert answer("/metrics").content_type == "text/plain; version=0.0.4; charset=utf-8"


def test_the_page_allows_its_own_style_and_script_and_nothing_else() -> None:
    page = answer("/")
    policy = dict(page.headers)["Content-Security-Policy"]
    assert policy.startswith("default-src 'none';")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        inline = re.findall(rb"<%b>(.*?)</%b>" % (tag.encode(), tag.encode()), page.body, re.DOTALL)
        assert len(inline) == 1
        digest = base64.b64encode(hashlib.sha256(inline[0]).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_the_page_writes_no_markup_and_asks_no_one_else() -> None:
    page = answer("/").body.decode()
    assert "innerHTML" not in page
    assert "insertAdjacentHTML" not in page
    assert " style=" not in page
    assert "http://" not in page
    assert "https://" not in page


def test_what_is_not_there_is_404_with_what_is() -> None:
    response = answer("/favicon.ico")
    assert response.status == 404
    assert b"/metrics" in response.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "OPTIONS"])
def test_nothing_can_be_changed(method: str) -> None:
    response = answer("/api/status", method)
    assert response.status == 405
    assert dict(response.headers) == {"Allow": "GET, HEAD"}
