"""The estimate of a station's clock, and what limits make of it."""

from __future__ import annotations

import json
import logging

import pytest

from controller.ocpp.payloads import format_time
from controller.profiles.station_clock import ClockWatch, OwnClock, StationClock

NOW = 1_796_000_000.0


def status(sent: float, **more: object) -> bytes:
    return json.dumps({"connectorId": 1, "timestamp": format_time(sent), **more}).encode()


@pytest.mark.parametrize("offset_s", [-7200, 0, 7200, 300 - NOW])
def test_station_clock_offset_is_read_from_timestamp(offset_s: float) -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", status(NOW + offset_s), NOW)
    assert clock.offset_s == pytest.approx(offset_s, abs=1)


def test_station_clock_old_message_does_not_move_clock() -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", status(NOW), NOW)
    clock.on_call("StopTransaction", status(NOW - 5000), NOW)
    clock.on_call("TransactionEvent", status(NOW + 9000, offline=True), NOW)
    assert clock.offset_s == 0


def test_clock_that_is_set_back_is_followed_after_some_messages() -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", status(NOW + 7200), NOW)
    for _ in range(5):
        clock.on_call("StatusNotification", status(NOW), NOW)
    assert clock.offset_s == 0


def test_meter_values_count_only_where_nothing_else_is_known() -> None:
    clock = StationClock()
    assert clock.on_sampled(NOW - 540, NOW)
    assert clock.offset_s == -540
    clock.on_call("StatusNotification", status(NOW), NOW)
    assert clock.offset_s == 0
    assert not clock.on_sampled(NOW + 540, NOW)
    assert clock.offset_s == 0


def test_meter_values_of_impossible_time_do_not_count() -> None:
    clock = StationClock()
    assert not clock.on_sampled(-1.0, NOW)
    assert not clock.on_sampled(1e11, NOW)
    assert not clock.is_known


def test_station_that_boots_has_time_of_backend() -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", status(NOW - 1e6), NOW)
    result = json.dumps({"status": "Accepted", "currentTime": format_time(NOW - 300)}).encode()
    clock.on_result("BootNotification", result, NOW)
    assert (clock.offset_s, clock.backend_offset_s, clock.is_known) == (-300, -300, False)


@pytest.mark.parametrize("text", ["", "soon", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59Z", "7"])
def test_impossible_timestamp_is_ignored(text: str) -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", json.dumps({"timestamp": text}).encode(), NOW)
    assert not clock.is_known


def test_clock_step_is_detected_by_time_of_written_limits() -> None:
    clock = StationClock()
    clock.on_call("StatusNotification", status(NOW), NOW)
    assert not clock.has_moved
    assert clock.write_offset() == 0
    clock.on_call("StatusNotification", status(NOW + 20), NOW)
    assert not clock.has_moved
    clock.on_call("StatusNotification", status(NOW + 40), NOW)
    assert clock.has_moved
    clock.write_offset()
    assert not clock.has_moved


def right() -> OwnClock:
    return OwnClock.SYNCHRONISED


def test_clock_that_differs_is_warned_of_once_until_it_agrees() -> None:
    watch, clock = ClockWatch(), StationClock()
    clock.on_call("StatusNotification", status(NOW + 7200), NOW)
    result = json.dumps({"currentTime": format_time(NOW - 300)}).encode()
    clock.on_result("Heartbeat", result, NOW)
    found = watch.check("CS01", "cpo", clock, lambda: OwnClock.NOT_SYNCHRONISED)
    assert [entry.level for entry in found] == [logging.WARNING] * 2
    assert found[0].text.startswith("clock differs backend=cpo offset=-300s ntp=not-synchronised: check")
    assert found[1].text.startswith("clock differs station=CS01 offset=+7200s ntp=not-synchronised: check")
    assert found[1].text.endswith("then set the station's clock; its limits are written in its time")
    assert watch.check("CS01", "cpo", clock, right) == []
    assert watch.offsets() == {"backend=cpo": -300, "station=CS01": 7200}
    clock.on_result("BootNotification", json.dumps({"currentTime": format_time(NOW)}).encode(), NOW)
    clock.on_call("StatusNotification", status(NOW), NOW)
    assert [entry.level for entry in watch.check("CS01", "cpo", clock, right)] == [logging.INFO] * 2


def test_own_clock_that_is_set_is_no_clock_of_local_csms_that_differs() -> None:
    watch, clock = ClockWatch(), StationClock()
    clock.on_result("Heartbeat", json.dumps({"currentTime": format_time(NOW)}).encode(), NOW)
    clock.follow(10.0, NOW)
    clock.follow(20.0, NOW + 86_410.0)
    assert watch.check("CS01", None, clock, right) == []
    assert watch.offsets() == {}
    assert clock.offset_s == pytest.approx(-86_400.0, abs=1)


@pytest.mark.parametrize("step_s", [7200.0, -7200.0])
def test_own_clock_that_is_set_leaves_limits_in_station_time(step_s: float) -> None:
    clock = StationClock()
    clock.follow(10.0, NOW)
    clock.on_call("StatusNotification", status(NOW + 90), NOW)
    clock.on_result("Heartbeat", json.dumps({"currentTime": format_time(NOW)}).encode(), NOW)
    assert clock.write_offset() == pytest.approx(90, abs=1)
    clock.follow(20.0, NOW + 10.0 + step_s)
    assert not clock.has_moved
    assert clock.backend_offset_s == pytest.approx(-step_s, abs=1)
    assert NOW + 10.0 + step_s + clock.write_offset() == pytest.approx(NOW + 10.0 + 90, abs=1)


def test_own_clock_that_is_set_moves_limits_of_unknown_station_clock() -> None:
    clock = StationClock()
    clock.follow(10.0, NOW)
    clock.write_offset()
    clock.follow(20.0, NOW + 10.3)
    assert not clock.has_moved
    clock.follow(30.0, NOW + 7220.0)
    assert clock.has_moved
    assert clock.write_offset() == 0


def test_station_is_not_blamed_while_own_clock_is_unset() -> None:
    watch, clock = ClockWatch(), StationClock()
    clock.follow(10.0, 60.0)
    clock.on_call("StatusNotification", status(NOW), 60.0)
    assert watch.check("CS01", None, clock, lambda: OwnClock.UNSET) == []
    assert watch.offsets() == {}
    clock.follow(20.0, NOW - 86_400.0)
    [entry] = watch.check("CS01", None, clock, right)
    assert entry.text.startswith(
        "clock differs station=CS01 offset=+86410s ntp=synchronised: set the station's"
    )


def test_station_that_agrees_with_its_backend_is_not_blamed() -> None:
    watch, clock = ClockWatch(), StationClock()
    clock.on_result("Heartbeat", json.dumps({"currentTime": format_time(NOW)}).encode(), NOW + 7200)
    clock.on_call("StatusNotification", status(NOW + 20), NOW + 7200)
    [entry] = watch.check("CS01", "cpo", clock, lambda: OwnClock.NOT_SYNCHRONISED)
    assert entry.text.startswith("clock differs backend=cpo offset=-7200s ntp=not-synchronised: check")
    assert watch.offsets() == {"backend=cpo": -7200}
