from __future__ import annotations

import hashlib
import hmac

import msgspec
import pytest
from msgspec.structs import replace

from controller.publishing.webhook import SIGNATURE_HEADER, is_wanted, make_webhook
from controller.web.alarm_model import AlarmChange
from tests.controller.web.examples import STATUS

CHANGE = AlarmChange(STATUS.alarms[0], has_ended=False)


def test_body_has_site_event_and_alarm() -> None:
    request = make_webhook("lc-depot", CHANGE, 1000.0, None)
    body = msgspec.json.decode(request.body)
    assert (body["site"], body["event"], body["time"]) == ("lc-depot", "alarm began", 1000.0)
    assert body["alarm"]["kind"] == "station-away"
    assert SIGNATURE_HEADER not in request.headers


def test_webhook_body_is_signed_with_secret() -> None:
    request = make_webhook("lc-depot", CHANGE, 1000.0, b"secret")
    expected = hmac.new(b"secret", request.body, hashlib.sha256).hexdigest()
    assert request.headers[SIGNATURE_HEADER] == f"sha256={expected}"


@pytest.mark.parametrize(
    ("severity", "least", "wanted"),
    [
        ("info", "warning", False),
        ("warning", "warning", True),
        ("critical", "warning", True),
        ("warning", "critical", False),
        ("info", "info", True),
    ],
)
def test_webhook_severity_decides_what_is_posted(severity: str, least: str, wanted: bool) -> None:
    change = AlarmChange(replace(STATUS.alarms[0], severity=severity), has_ended=False)
    assert is_wanted(change, least) is wanted
