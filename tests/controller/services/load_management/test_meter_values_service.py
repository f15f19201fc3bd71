"""Stations that report too seldom are asked for their meter values, or set to report them."""

from __future__ import annotations

import json
import logging
from collections.abc import Collection
from typing import cast

import pytest
import trio
from trio.testing import MockClock

from controller.load_management.evse.report_requests import WARN_S
from controller.model.observations import EvseRef
from controller.ocpp.frames import Version
from controller.services.load_management.meter_values_service import (
    CONFIGURED_S,
    MeterValuesMode,
    MeterValuesService,
)
from controller.stations.registry import SessionRegistry
from controller.stations.session import RequestResult


class AnsweringSession:
    """A session whose station answers with what `answers` has for an action."""

    is_open = True

    def __init__(self, version: Version, answers: dict[str, object]) -> None:
        self.version = version
        self._answers = answers
        self.calls: list[tuple[str, object]] = []

    async def request(self, action: str, payload: bytes) -> RequestResult:
        await trio.lowlevel.checkpoint()
        self.calls.append((action, json.loads(payload)))
        answer = self._answers.get(action)
        return RequestResult(None if answer is None else json.dumps(answer).encode())


class Registry:
    """A registry of one connected station."""

    def __init__(self, station: AnsweringSession) -> None:
        self._station = station

    def find_session(self, station: str) -> AnsweringSession | None:
        return self._station if station == "A" else None


async def serve(
    clock: MockClock,
    station: AnsweringSession,
    mode: MeterValuesMode,
    silent: list[EvseRef],
    seconds: float,
    seldom: Collection[EvseRef] = (),
) -> None:
    clock.autojump_threshold = 0
    registry = cast(SessionRegistry, Registry(station))
    service = MeterValuesService({"A": mode}, registry, lambda: silent, lambda: seldom)
    with trio.move_on_after(seconds):
        await service.run()


@pytest.mark.parametrize(
    ("version", "payload"),
    [
        (Version.V16, {"requestedMessage": "MeterValues", "connectorId": 2}),
        (Version.V201, {"requestedMessage": "MeterValues", "evse": {"id": 2}}),
    ],
)
async def test_meter_values_of_silent_evse_are_requested(
    version: Version, payload: object, autojump_clock: MockClock
) -> None:
    station = AnsweringSession(version, {"TriggerMessage": {"status": "Accepted"}})
    await serve(autojump_clock, station, "request", [EvseRef("A", 2)], 100)
    assert station.calls == [("TriggerMessage", payload)] * 2


async def test_meter_values_of_seldom_reports_are_requested_without_warning(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    station = AnsweringSession(Version.V16, {"TriggerMessage": {"status": "Accepted"}})
    with caplog.at_level(logging.WARNING):
        await serve(autojump_clock, station, "request", [], WARN_S + 50, seldom=[EvseRef("A", 1)])
    assert len(station.calls) == 6
    assert caplog.records == []


async def test_meter_values_refused_twice_are_requested_no_more(autojump_clock: MockClock) -> None:
    station = AnsweringSession(Version.V16, {"TriggerMessage": {"status": "Rejected"}})
    await serve(autojump_clock, station, "request", [EvseRef("A", 1)], 1000)
    assert len(station.calls) == 2


async def test_meter_values_off_sends_nothing_and_warns_with_remedy(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    station = AnsweringSession(Version.V16, {})
    with caplog.at_level(logging.WARNING):
        await serve(autojump_clock, station, "off", [EvseRef("A", 1)], WARN_S + 60)
    assert station.calls == []
    (record,) = caplog.records
    assert record.getMessage() == (
        "station reports too seldom evse=A/1: its draw counts as its whole offer; set "
        'meter_values = "request" or "configure" of [load_management]'
    )


async def test_meter_values_configure_keeps_shorter_interval(autojump_clock: MockClock) -> None:
    known = [
        {"key": "MeterValueSampleInterval", "readonly": False, "value": "10"},
        {"key": "MeterValuesSampledData", "readonly": False, "value": "Current.Import"},
    ]
    station = AnsweringSession(
        Version.V16,
        {"GetConfiguration": {"configurationKey": known}, "ChangeConfiguration": {"status": "Accepted"}},
    )
    await serve(autojump_clock, station, "configure", [], 100)
    changed = [call["key"] for action, call in station.calls[1:] if isinstance(call, dict)]
    assert changed == ["MeterValuesSampledData"]


async def test_meter_values_configure_sets_interval_and_measurands(autojump_clock: MockClock) -> None:
    known = [
        {"key": "MeterValueSampleInterval", "readonly": False, "value": "900"},
        {"key": "MeterValuesSampledData", "readonly": False, "value": "Energy.Active.Import.Register"},
    ]
    station = AnsweringSession(
        Version.V16,
        {"GetConfiguration": {"configurationKey": known}, "ChangeConfiguration": {"status": "Accepted"}},
    )
    await serve(autojump_clock, station, "configure", [], 100)
    changed = {call["key"]: call["value"] for action, call in station.calls[1:] if isinstance(call, dict)}
    assert changed["MeterValueSampleInterval"] == str(CONFIGURED_S)
    assert "Current.Import" in changed["MeterValuesSampledData"]
    assert len(station.calls) == 3
