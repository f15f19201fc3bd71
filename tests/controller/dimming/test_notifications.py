"""Notices about dimming, checked by the official schemas of each version."""

from __future__ import annotations

import json
from typing import Any

import pytest

from controller.dimming.notifications import (
    BACKEND,
    DimmingNotice,
    DimmingSpan,
    off_display,
    on_display,
    to_backend,
    to_backend_no_more,
)
from controller.ocpp.frames import Version
from tests.controller.dimming.commands import NOON
from tests.controller.ocpp.schemas import check, request

VERSIONS = pytest.mark.parametrize("version", list(Version))
HOUR = DimmingSpan(watts=4200.04, since=NOON, until=NOON + 3600)
OPEN_END = DimmingSpan(watts=4200, since=NOON)
V2 = (Version.V201, Version.V21)


def payload(version: Version, notice: DimmingNotice) -> dict[str, Any]:
    """Payload of a notice; of a DataTransfer, its data."""
    check(version, request(version, notice.action), notice.payload)
    found: dict[str, Any] = json.loads(notice.payload)
    if notice.action == "DataTransfer":
        assert found["vendorId"] == "org.local-controller"
        found = json.loads(found["data"]) | {"messageId": found["messageId"]}
    return found


@VERSIONS
@pytest.mark.parametrize("span", [HOUR, OPEN_END])
@pytest.mark.parametrize("evse", [None, 2])
def test_notifications_notices_fit_schema_of_each_version(
    version: Version, span: DimmingSpan, evse: int | None
) -> None:
    for notice in (
        to_backend(version, span, evse),
        to_backend_no_more(version, evse=evse),
        on_display(version, 7, span, "en", ""),
        off_display(version, 7),
    ):
        assert payload(version, notice)
        assert (notice.action == "DataTransfer") == (version is Version.V16)


@pytest.mark.parametrize("version", V2)
def test_notice_has_limit_source_and_end(version: Version) -> None:
    members = payload(version, to_backend(version, HOUR, 2))
    assert members["chargingLimit"] == {"chargingLimitSource": "SO", "isGridCritical": True}
    assert members["evseId"] == 2
    [schedule] = members["chargingSchedule"]
    assert (schedule["duration"], schedule["chargingRateUnit"]) == (3600, "W")
    assert schedule["chargingSchedulePeriod"] == [{"startPeriod": 0, "limit": 4200.0}]
    assert "duration" not in payload(version, to_backend(version, OPEN_END))["chargingSchedule"][0]
    own = DimmingSpan(watts=1, since=NOON, set_by=BACKEND)
    limit = payload(version, to_backend(version, own))["chargingLimit"]
    assert limit == {"chargingLimitSource": "CSO", "isGridCritical": False}


def test_notifications_notice_to_1_6_backend_is_data_transfer() -> None:
    members = payload(Version.V16, to_backend(Version.V16, HOUR))
    assert members == {
        "messageId": "dimmed",
        "limitW": 4200.0,
        "from": "2026-11-21T12:00:00.000Z",
        "until": "2026-11-21T13:00:00.000Z",
        "setBy": "SO",
    }


@pytest.mark.parametrize("version", V2)
def test_display_message_lasts_from_begin_to_end(version: Version) -> None:
    message = payload(version, on_display(version, 7, HOUR, "de", "14:00"))["message"]
    assert message["message"]["content"] == "Der Netzbetreiber begrenzt die Ladeleistung bis 14:00 Uhr"
    assert (message["id"], message["message"]["language"]) == (7, "de")
    assert message["startDateTime"] == "2026-11-21T12:00:00.000Z"
    assert message["endDateTime"] == "2026-11-21T13:00:00.000Z"
    assert payload(version, off_display(version, 7)) == {"id": 7}


def test_notifications_text_for_1_6_display_is_data_transfer() -> None:
    members = payload(Version.V16, on_display(Version.V16, 7, OPEN_END, "en", ""))
    assert members["text"] == "The grid operator limits the charging power"
    assert "until" not in members
