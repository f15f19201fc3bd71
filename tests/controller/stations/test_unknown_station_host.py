"""Stations that are not adopted: listed with what they report, answered Pending, served in nothing."""

from __future__ import annotations

import json
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from controller.ocpp.frames import Version
from controller.stations import unknown_station_host
from controller.stations.admission import Admission
from controller.stations.unknown_station_host import AnyStation, UnknownStationHost, answer_unknown_station
from controller.stations.unknown_stations import UnknownStations
from controller.transport.transport_errors import ConnectionLostError

BOOT_16 = {
    "chargePointVendor": "ACME",
    "chargePointModel": "Wallbox",
    "firmwareVersion": "1.2",
    "chargeBoxSerialNumber": "S7",
}
BOOT_2 = {
    "reason": "PowerUp",
    "chargingStation": {"vendorName": "ACME", "model": "Two", "serialNumber": "S8"},
}


class ScriptedChannel:
    """A channel that delivers texts, then is lost."""

    def __init__(self, *texts: str | bytes) -> None:
        self._texts = list(texts)
        self.sent: list[str | bytes] = []
        self.closed: list[int] = []

    async def receive(self) -> str | bytes:
        if not self._texts:
            raise ConnectionLostError("the station has left")
        return self._texts.pop(0)

    def send_nowait(self, message: str | bytes) -> None:
        self.sent.append(message)

    async def close(self, code: int, reason: str) -> None:
        self.closed.append(code)


def call(action: str, payload: Any, number: str = "1") -> str:
    return json.dumps([2, number, action, payload])


@pytest.mark.parametrize(
    ("version", "payload", "model"),
    [(Version.V16, BOOT_16, "Wallbox"), (Version.V201, BOOT_2, "Two"), (Version.V21, BOOT_2, "Two")],
)
def test_unknown_station_boot_is_pending_and_read(version: Version, payload: Any, model: str) -> None:
    answer, boot = answer_unknown_station(call("BootNotification", payload), version, 0.0)
    assert answer is not None
    assert json.loads(answer)[2] == {
        "status": "Pending",
        "currentTime": "1970-01-01T00:00:00Z",
        "interval": unknown_station_host.BOOT_INTERVAL_S,
    }
    assert boot is not None
    assert (boot.vendor, boot.model) == ("ACME", model)


@pytest.mark.parametrize("action", ["StartTransaction", "Authorize", "MeterValues", "TransactionEvent"])
def test_unknown_station_other_call_is_answered_with_an_error(action: str) -> None:
    answer, boot = answer_unknown_station(call(action, {}), Version.V16, 0.0)
    assert answer is not None
    assert json.loads(answer)[:3] == [4, "1", "GenericError"]
    assert boot is None


@pytest.mark.parametrize("text", ["{", '[3,"1",{}]', "[2]", "[]", '[2,"1","BootNotification",[]]'])
def test_unknown_station_odd_text_ends_nothing(text: str) -> None:
    answer_unknown_station(text, Version.V16, 0.0)
    answer_unknown_station(text, Version.V201, 0.0)


def test_unknown_station_text_of_peer_is_escaped() -> None:
    payload = {**BOOT_16, "chargePointVendor": "\x1b[31mACME" + "x" * 1000}
    _, boot = answer_unknown_station(call("BootNotification", payload), Version.V16, 0.0)
    assert boot is not None
    assert "\x1b" not in boot.vendor
    assert len(boot.vendor) <= 50


async def test_unknown_station_is_listed_with_its_boot() -> None:
    unknown_stations = UnknownStations()
    channel = ScriptedChannel(b"\x00binary", call("BootNotification", BOOT_16), call("Heartbeat", {}, "2"))
    admission = Admission("CS01", Version.V16, peer="192.0.2.7:4711")
    await UnknownStationHost(unknown_stations, lambda: 5.0).serve_station(admission, channel)  # type: ignore[arg-type]
    [attempts] = unknown_stations.latest_first
    assert (attempts.station, attempts.peer, attempts.first_seen, attempts.tries) == (
        "CS01",
        "192.0.2.7",
        5.0,
        1,
    )
    assert attempts.boot is not None
    assert (attempts.boot.model, attempts.boot.serial_number, attempts.boot.firmware) == (
        "Wallbox",
        "S7",
        "1.2",
    )
    assert len(channel.sent) == 2


async def test_unknown_station_that_sends_without_end_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(unknown_station_host, "MOST_MESSAGES", 3)
    channel = ScriptedChannel(*[call("Heartbeat", {})] * 5)
    await UnknownStationHost(UnknownStations()).serve_station(Admission("CS01", Version.V16), channel)  # type: ignore[arg-type]
    assert (len(channel.sent), channel.closed) == (3, [1013])


class SilentChannel(ScriptedChannel):
    """A channel of a station that stays and sends nothing."""

    async def receive(self) -> str | bytes:
        await trio.sleep_forever()
        raise AssertionError


async def serve(host: UnknownStationHost, station: str, channel: ScriptedChannel) -> None:
    await host.serve_station(Admission(station, Version.V16), channel)  # type: ignore[arg-type]


async def test_unknown_station_links_are_bounded(autojump_clock: MockClock) -> None:
    host = UnknownStationHost(UnknownStations(), most_links=1)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, host, "CS01", SilentChannel())
        await trio.testing.wait_all_tasks_blocked()
        late = ScriptedChannel(call("BootNotification", BOOT_16))
        await serve(host, "CS02", late)
        assert (late.sent, late.closed) == ([], [1013])
        nursery.cancel_scope.cancel()


async def test_unknown_station_that_connects_again_replaces_itself(autojump_clock: MockClock) -> None:
    host, old = UnknownStationHost(UnknownStations(), most_links=1), SilentChannel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, host, "CS01", old)
        await trio.testing.wait_all_tasks_blocked()
        newer = ScriptedChannel(call("BootNotification", BOOT_16))
        await serve(host, "CS01", newer)
        await trio.testing.wait_all_tasks_blocked()  # the replaced link closes in its own task
        assert (old.closed, len(newer.sent)) == ([1013], 1)


async def test_unknown_station_is_disconnected_once_adopted(autojump_clock: MockClock) -> None:
    host, channel = UnknownStationHost(UnknownStations()), SilentChannel()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(serve, host, "CS01", channel)
        await trio.testing.wait_all_tasks_blocked()
        host.disconnect_station("CS01")
    assert channel.closed == [1013]
    assert trio.current_time() < unknown_station_host.LONGEST_LINK_S


async def test_unknown_station_that_sends_nothing_is_closed(autojump_clock: MockClock) -> None:
    channel, began = SilentChannel(), trio.current_time()
    await serve(UnknownStationHost(UnknownStations()), "CS01", channel)
    assert channel.closed == [1013]
    assert trio.current_time() - began == pytest.approx(unknown_station_host.LONGEST_LINK_S)


async def test_unknown_station_messages_are_read_at_a_rate(autojump_clock: MockClock) -> None:
    channel, began = ScriptedChannel(*[call("Heartbeat", {})] * 40), trio.current_time()
    await serve(UnknownStationHost(UnknownStations()), "CS01", channel)
    assert len(channel.sent) == 40
    assert trio.current_time() - began == pytest.approx(30.0, abs=1.5)


async def test_unknown_station_boots_of_one_station_are_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    boots = [call("BootNotification", {**BOOT_16, "firmwareVersion": str(number)}) for number in range(5)]
    await serve(UnknownStationHost(UnknownStations()), "CS01", ScriptedChannel(*boots))
    assert caplog.text.count("unknown station pending station=CS01") == 1


def test_any_station_has_every_id_of_ocpp_length() -> None:
    assert "CS01" in AnyStation()
    assert "x" * 49 not in AnyStation()
    assert "CS\x1b[31m" not in AnyStation()
    assert AnyStation()["CS01"] is None
